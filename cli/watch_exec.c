/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch_exec.c - a shell command for each death, with what is known of it in the environment. They
 * run beside us, so that no death is heard later for their sake; a few at once, for a thousand may
 * die in the same moment; the others wait in the order of the deaths.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "stop.h"
#include "watch.h"
#include "watchers/words.h"

#define MAX_RUNNING 16
#define VARIABLES   9u

/* One death that waits for its command: VARIABLES strings, "KNELL_PID=1" and so on, with NULs. */
struct command {
	struct command *next;
	char variables[];
};

struct commands {
	const char *command;
	struct command *first, **last;
	pid_t running[MAX_RUNNING];
	size_t running_count;
	struct rlimit files;
};

int commands_new(struct commands **ret, const char *command)
{
	struct commands *c = calloc(1, sizeof(*c));

	if (!c) {
		complain("no memory for --exec");
		return -ENOMEM;
	}
	c->command = command;
	c->last = &c->first;
	getrlimit(RLIMIT_NOFILE, &c->files); /* holding many processes may raise it */
	*ret = c;
	return 0;
}

/* ---- what a command is told ---- */

static void __attribute__((format(printf, 3, 4)))
set(FILE *file, const char *name, const char *format, ...)
{
	va_list args;

	fprintf(file, "KNELL_%s=", name);
	va_start(args, format);
	vfprintf(file, format, args);
	va_end(args);
	fputc('\0', file);
}

static void set_number(FILE *file, const char *name, bool known, uint64_t value)
{
	if (known)
		set(file, name, "%llu", (unsigned long long)value);
	else
		set(file, name, "%s", "");
}

static void set_how(FILE *file, const struct knell_event *e)
{
	bool known = e && !(e->unknown & KNELL_U_STATUS);
	int status = known ? e->u.exit.status : 0;
	bool killed = known && WIFSIGNALED(status);
	struct words signal = words_signal(killed ? WTERMSIG(status) : 0);

	set_number(file, "STATUS", known && !killed, known ? (uint64_t)WEXITSTATUS(status) : 0);
	set(file, "SIGNAL", "%s",
	    !killed                            ? ""
	    : strncmp(signal.s, "SIG", 3) == 0 ? signal.s + 3
					       : signal.s + strcspn(signal.s, "0123456789"));
	set(file, "REASON", "%s",
	    e && !(e->unknown & KNELL_U_CAUSE) ? knell_reason_name(e->u.exit.reason) : "");
}

static void set_sender(FILE *file, const struct knell_event *e)
{
	static const struct knell_signal nobody;
	const struct knell_signal *s =
		e && !(e->unknown & KNELL_U_CAUSE) ? &e->u.exit.killer : &nobody;

	set_number(file, "SENDER_PID", s->known & KNELL_S_PID && s->pid, s->pid);
	set(file, "SENDER_NAME", "%.*s", KNELL_COMM_LEN, s->known & KNELL_S_COMM ? s->comm : "");
	set_number(file, "SENDER_UID", s->known & KNELL_S_UID, s->uid);
}

static const char *verdict_name(enum knell_verdict_kind kind)
{
	return kind == KNELL_EXITED ? "exited" : kind == KNELL_GONE ? "gone" : "absent";
}

static void set_all(FILE *file, const struct death *death)
{
	set_number(file, "PID", death->pid, (uint64_t)death->pid);
	set(file, "NAME", "%.*s", KNELL_COMM_LEN, death->comm ? death->comm : "");
	set_how(file, death->event);
	set_sender(file, death->event);
	set(file, "VERDICT", "%s", verdict_name(death->kind));
}

void commands_add(struct commands *c, const struct death *death)
{
	struct command *command;
	char text[512] = "";
	FILE *file = fmemopen(text, sizeof(text), "w");
	long length = -1;

	if (file) {
		set_all(file, death);
		length = ftell(file);
		fclose(file);
	}
	command = length > 0 ? malloc(sizeof(*command) + (size_t)length) : NULL;
	if (!command) {
		complain("--exec: no memory for the death of %d", death->pid);
		return;
	}
	memcpy(command->variables, text, (size_t)length);
	command->next = NULL;
	*c->last = command;
	c->last = &command->next;
}

/* ---- running them ---- */

/* The first of ours, or of the caller's, names a variable; ours come first. */
static bool is_ours(char *const *environment, const char *variable)
{
	size_t length = strcspn(variable, "=") + 1;

	for (size_t i = 0; i < VARIABLES; i++) {
		if (strncmp(environment[i], variable, length) == 0)
			return true;
	}
	return false;
}

static char **environment_of(struct command *command)
{
	char *p = command->variables, **environment;
	size_t count = 0, n = 0;

	while (environ[count])
		count++;
	environment = calloc(VARIABLES + count + 1, sizeof(*environment));
	if (!environment)
		return NULL;
	for (; n < VARIABLES; n++, p += strlen(p) + 1)
		environment[n] = p;
	for (size_t i = 0; i < count; i++) {
		if (!is_ours(environment, environ[i]))
			environment[n++] = environ[i];
	}
	return environment;
}

static _Noreturn void become(const struct commands *c, char **environment)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)c->command, NULL };
	int fd = open("/dev/null", O_RDONLY);

	if (fd >= 0)
		dup2(fd, STDIN_FILENO);
	if (fd > STDIN_FILENO)
		close(fd);
	stop_undo();
	setrlimit(RLIMIT_NOFILE, &c->files);
	execve("/bin/sh", argv, environment);
	_exit(STATUS_NOT_FOUND);
}

static void start(struct commands *c, struct command *command)
{
	char **environment = environment_of(command);
	pid_t pid = environment ? fork() : -1;

	if (pid == 0)
		become(c, environment);
	if (pid < 0)
		complain("--exec: cannot start a shell: %s", strerror(errno));
	else
		c->running[c->running_count++] = pid;
	free(environment);
}

/* By number: we may have children that we did not start, from before our own exec. */
static void reap(struct commands *c)
{
	for (size_t i = 0; i < c->running_count;) {
		pid_t r = waitpid(c->running[i], NULL, WNOHANG);

		if (r == 0 || (r < 0 && errno == EINTR)) {
			i++;
			continue;
		}
		c->running[i] = c->running[--c->running_count];
	}
}

void commands_tick(struct commands *c)
{
	reap(c);
	while (c->first && c->running_count < MAX_RUNNING) {
		struct command *command = c->first;

		c->first = command->next;
		if (!c->first)
			c->last = &c->first;
		start(c, command);
		free(command);
	}
}

bool commands_are_done(const struct commands *c)
{
	return !c->first && !c->running_count;
}

uint64_t commands_abandon(struct commands *c)
{
	uint64_t count = 0;

	while (c->first) {
		struct command *command = c->first;

		c->first = command->next;
		free(command);
		count++;
	}
	c->last = &c->first;
	return count;
}

struct commands *commands_free(struct commands *c)
{
	if (!c)
		return NULL;
	commands_abandon(c);
	free(c);
	return NULL;
}
