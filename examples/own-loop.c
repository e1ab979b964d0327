/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * own-loop.c - the engine as one descriptor among others, in a poll(2) loop that a program has
 * anyway. This one reads shell commands from its standard input, one a line, starts each at once,
 * and tells how each ended and what its whole tree used. It ends when the input has ended and all
 * commands have.
 *
 *   printf '%s\n' 'sleep 1' 'make -j2' | own-loop
 */
#include <knell/knell.h>

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct loop {
	struct knell_engine *engine;
	int signals;
	sigset_t command_mask;
	unsigned int running;
	unsigned int heard;    /* deaths of commands and of all below them */
	unsigned long long ns; /* CPU time of all of them */
	char line[4096];
	size_t length;
	bool input_ended;
};

static int on_exit(const struct knell_event *event, void *userdata)
{
	struct loop *loop = userdata;
	const struct knell_exit *exit = &event->u.exit;

	loop->heard++;
	if (!(event->unknown & KNELL_U_TIMES))
		loop->ns += exit->usage.utime + exit->usage.stime;
	if (!(event->flags & KNELL_F_ROOT))
		return 0;
	if (WIFSIGNALED(exit->status))
		printf("command %u: signal %d, %s", event->task.tgid, WTERMSIG(exit->status),
		       knell_reason_name(exit->reason));
	else
		printf("command %u: exit status %d", event->task.tgid, WEXITSTATUS(exit->status));
	if (exit->killer.known & KNELL_S_COMM)
		printf(", sent by %s", exit->killer.comm);
	printf("\n");
	return 0;
}

static void on_child(pid_t pid, int status, void *userdata)
{
	struct loop *loop = userdata;

	(void)pid;
	if (!WIFSTOPPED(status) && !WIFCONTINUED(status))
		loop->running--;
}

static void start(struct loop *loop, const char *command)
{
	pid_t pid;

	fflush(stdout);
	pid = knell_fork(loop->engine);
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &loop->command_mask, NULL);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (pid < 0) {
		fprintf(stderr, "own-loop: %s\n", knell_last_error());
		return;
	}
	loop->running++;
	printf("command %d: %s\n", pid, command);
}

/* Takes what there is of the input, and starts each line that is complete. */
static void read_input(struct loop *loop)
{
	ssize_t n = read(STDIN_FILENO, loop->line + loop->length,
			 sizeof(loop->line) - 1 - loop->length);
	char *end;

	if (n <= 0 || loop->length + (size_t)n == sizeof(loop->line) - 1) {
		loop->input_ended = true; /* or a line that is too long */
		return;
	}
	loop->length += (size_t)n;
	loop->line[loop->length] = '\0';
	while ((end = strchr(loop->line, '\n'))) {
		size_t taken = (size_t)(end + 1 - loop->line);

		*end = '\0';
		if (end > loop->line)
			start(loop, loop->line);
		loop->length -= taken;
		memmove(loop->line, loop->line + taken, loop->length + 1);
	}
}

static int run(struct loop *loop)
{
	while (!loop->input_ended || loop->running) {
		struct pollfd fds[] = {
			{ .fd = loop->input_ended ? -1 : STDIN_FILENO, .events = POLLIN },
			{ .fd = loop->signals, .events = POLLIN },
			{ .fd = knell_fd(loop->engine), .events = POLLIN },
		};
		struct signalfd_siginfo info;
		int r;

		poll(fds, 3, -1);
		if (fds[0].revents)
			read_input(loop);
		while (read(loop->signals, &info, sizeof(info)) > 0)
			;
		r = knell_dispatch(loop->engine);
		if (r < 0)
			return r;
		knell_reap(loop->engine, on_child, loop);
	}
	return knell_dispatch(loop->engine);
}

int main(void)
{
	struct knell_options options = { .size = sizeof(options) };
	struct loop loop = { 0 };
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &loop.command_mask);
	loop.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = knell_open(&loop.engine, &options);
	if (r == 0)
		r = knell_watcher_add(loop.engine, KNELL_MASK(KNELL_EXIT), on_exit, &loop);
	if (r == 0)
		r = run(&loop);
	if (r < 0) {
		fprintf(stderr, "own-loop: %s\n", knell_last_error());
		knell_close(loop.engine);
		return 125;
	}
	printf("%u processes in all, %llu ms CPU\n", loop.heard, loop.ns / 1000000);
	knell_close(loop.engine);
	return 0;
}
