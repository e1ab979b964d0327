/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tool.c - runs `knell watch` and `knell trace` for tests, and processes for them to hear; see
 * tool.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

#define PATIENCE 30.0

static char *text_of(const char *format, const char *a, const char *b)
{
	char *text;

	if (asprintf(&text, format, a, b) < 0)
		ck_abort_msg("out of memory");
	return text;
}

void tool_start(struct tool *tool)
{
	const char *source = tool->source ? tool->source : test_source();
	const char *argv[64];
	size_t n = 0, i;

	if (!tool->name)
		tool->name = tool->command;
	if (!tool->how.out)
		tool->how.out = text_of("%s%s", tool->name, ".out");
	if (!tool->how.err)
		tool->how.err = text_of("%s%s", tool->name, ".err");
	argv[n++] = test_knell();
	argv[n++] = tool->command;
	if (*source)
		argv[n++] = text_of("%s%s", "--source=", source);
	if (strcmp(tool->command, "trace") == 0)
		argv[n++] = "--with=verify";
	for (i = 0; tool->args && tool->args[i]; i++) {
		argv[n++] = tool->args[i];
		ck_assert_msg(n < 62, "more words than a test needs");
	}
	argv[n] = NULL;
	tool->pid = spawn(&tool->how, argv);
}

/* The number of the system call that it sleeps in; -1: none, or it cannot be seen. */
static long sleeps_in(pid_t pid)
{
	char path[64], *text;
	long nr = -1;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	text = read_file(path);
	if (text && *text >= '0' && *text <= '9') /* else "running" */
		nr = strtol(text, NULL, 10);
	free(text);
	return nr;
}

/* It sleeps in poll(2). */
bool tool_is_listening(pid_t pid)
{
	long nr = sleeps_in(pid);

#ifdef SYS_poll
	if (nr == SYS_poll)
		return true;
#endif
	return nr == SYS_ppoll;
}

/* Where /proc does not tell: after what it takes to load BPF programs. */
void tool_await_listening(const struct tool *tool)
{
	double end = now() + test_seconds(PATIENCE);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/syscall", tool->pid);
	if (access(path, R_OK)) {
		sleep_ms((unsigned int)test_seconds(2000));
		return;
	}
	while (!tool_is_listening(tool->pid) && now() < end) {
		if (process_state(tool->pid) == 'Z')
			return; /* it ended: the test will say how */
		sleep_ms(2);
	}
}

static bool is_holding(pid_t holder, pid_t pid)
{
	char path[64], line[32];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(line, sizeof(line), "\nPid:\t%d\n", pid);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", holder);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		char file[400], *text;

		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		text = read_file(file);
		found = text && strstr(text, line);
		free(text);
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool is_held_up(pid_t pid)
{
	long nr = sleeps_in(pid);

	return nr == SYS_write || nr == SYS_openat;
}

void tool_await_holding(const struct tool *tool, pid_t pid)
{
	double end = now() + test_seconds(PATIENCE);

	while (!is_holding(tool->pid, pid) || !is_held_up(tool->pid)) {
		ck_assert_msg(now() < end && process_state(tool->pid) != 'Z',
			      "%d is not held, or knell goes on", pid);
		sleep_ms(2);
	}
}

void tool_wait(struct tool *tool)
{
	tool->status = await_exit_for(tool->pid, 60.0);
	tool->out = read_file(tool->how.out);
	tool->err = read_file(tool->how.err);
	if (!tool->out)
		tool->out = strdup("");
	if (!tool->err)
		tool->err = strdup("");
	ck_assert_msg(!strstr(tool->err, "--with=verify: "), "%s", tool->err);
}

void tool_run(struct tool *tool)
{
	tool_start(tool);
	tool_wait(tool);
}

void tool_expect_status(const struct tool *tool, int status)
{
	ck_assert_msg(tool->status == status,
		      "knell %s ended with wait status %#x, not %#x; it said:\n%.300s\n%.300s",
		      tool->command, (unsigned int)tool->status, (unsigned int)status, tool->err,
		      tool->out);
}

void tool_expect_exit(const struct tool *tool, int code)
{
	tool_expect_status(tool, W_EXITCODE(code, 0));
}

void tool_expect_refused(struct tool *tool, int code, const char *named)
{
	tool_run(tool);
	tool_expect_exit(tool, code);
	ck_assert_msg(strstr(tool->err, named), "'%s' is not named:\n%s", named, tool->err);
	ck_assert_msg(!*tool->out, "it wrote to stdout:\n%s", tool->out);
}

bool kernel_tells_status(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	uname(&name);
	sscanf(name.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 15);
}

pid_t start_victim(const char *name)
{
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert(!pipe(ready));
	pid = fork();
	ck_assert_msg(pid >= 0, "fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_NAME, name);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGTERM, SIG_DFL);
		close(ready[0]);
		close(ready[1]);
		alarm((unsigned int)test_seconds(120));
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert(read(ready[0], &byte, 1) == 0);
	close(ready[0]);
	return pid;
}

void kill_victim(pid_t pid, int signo)
{
	kill(pid, signo);
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(0, signo));
}

pid_t start_family(void)
{
	static const char script[] = "sh -c 'echo up $$ >child; read x <go; $0 3; exit 4' \"$0\" &"
				     " read x <go; exit 5";
	pid_t pid;

	ck_assert(!mkfifo("go", 0600));
	pid = spawn(NULL, LIST("/bin/sh", "-c", script, test_program("tiny")));
	await_number("child", "up");
	return pid;
}

/* Each takes one line, when it comes to it. */
void let_family_go(void)
{
	int fd = open("go", O_RDWR | O_CLOEXEC);

	/* Not closed: who comes late finds his line only while somebody has it open. */
	ck_assert(fd >= 0 && write(fd, "\n\n", 2) == 2);
}

unsigned int line_count(const char *text)
{
	return count_of(text, "\n");
}
