/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * main.c - the knell command: finds the subcommand by its name and leaves the rest to it. By the
 * name of another init, which a symbolic link gives it, it is that init.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "init.h"
#include "watchers/clock.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "run", cmd_run, "run a command, hear all its descendants, report" },
	{ "watch", cmd_watch, "wait for the death of any process: when, how, by whom" },
	{ "trace", cmd_trace, "tell live what happens to the processes of this system" },
	{ "why", cmd_why, "why did it die? asks the audit log afterwards" },
	{ "init", cmd_init, "PID 1 of a container: run a command, pass signals on, reap orphans" },
	{ "doctor", cmd_doctor, "tell which sources of events work here, and why others do not" },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

void complain(const char *format, ...)
{
	char text[2048] = "knell: ";
	const size_t prefix = strlen(text);
	va_list args;
	size_t length;
	ssize_t n;

	va_start(args, format);
	vsnprintf(text + prefix, sizeof(text) - prefix - 1, format, args);
	va_end(args);
	length = strlen(text);
	text[length++] = '\n';
	n = write(STDERR_FILENO, text, length);
	(void)n; /* there is nobody left to tell */
}

int parse_number(const char *what, const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || end == text || text[0] == '-' || text[0] == '+' || value < min ||
	    value > max) {
		complain("%s: '%s' is not a number from %u to %u", what, text, min, max);
		return -EINVAL;
	}
	*ret = (uint32_t)value;
	return 0;
}

uint64_t monotonic_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t own_cpu(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void print_help(FILE *file)
{
	fprintf(file, "Usage: knell COMMAND [OPTION...]\n\n"
		      "Tells the moment a task is born, execs and dies, and says why it died.\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(file, "  %-8s %s\n", commands[i].name, commands[i].help);
	fprintf(file, "\n'knell COMMAND --help' tells more, as do the man pages: knell(1).\n");
}

/*
 * A descriptor that we open must never land on a number that stands for stdin, stdout or stderr and
 * was closed: messages would go into it. The fillers are open the wrong way round, so that reading
 * and writing fails as it would without them, and they close at exec, so the command sees what the
 * caller gave it.
 */
static int fill_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", mode | O_CLOEXEC) < 0)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	setlocale(LC_ALL, "");
	if (fill_standard_fds() < 0) {
		complain("cannot open /dev/null: %s", strerror(errno));
		return STATUS_FAILED;
	}
	if (argc > 0 && init_is_dialect(argv[0]))
		return cmd_init(argc, argv);
	if (argc < 2) {
		print_help(stderr);
		return STATUS_FAILED;
	}
	for (size_t i = 0; i < COMMANDS; i++) {
		static char program[32]; /* what getopt(3) begins its complaints with */

		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		snprintf(program, sizeof(program), "knell: %s", commands[i].name);
		argv[1] = program;
		return commands[i].run(argc - 1, argv + 1);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return end_stdout();
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("knell %s\n", KNELL_VERSION);
		return end_stdout();
	}
	complain("'%s' is not a command; 'knell --help' lists them", argv[1]);
	return STATUS_FAILED;
}
