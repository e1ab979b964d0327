/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * wait-for.c - waits until a process dies that somebody else started, and says how: what a program
 * that shares memory with a peer needs to know, once, soon, and never about another process that
 * got the same number.
 *
 *   wait-for PID
 */
#include <knell/knell.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define STATUS_FAILED 125

static void on_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
		       void *userdata)
{
	bool *done = userdata;
	int status;

	(void)watch;
	*done = true;
	if (verdict->kind == KNELL_ABSENT) {
		printf("%d was not there\n", verdict->pid);
	} else if (verdict->kind == KNELL_GONE) {
		printf("%d is gone\n", verdict->pid);
	} else {
		status = verdict->event->u.exit.status;
		if (WIFEXITED(status))
			printf("%d exited %d\n", verdict->pid, WEXITSTATUS(status));
		else
			printf("%d died of signal %d\n", verdict->pid, WTERMSIG(status));
	}
}

/* The best source that can watch a stranger: some only hear what they start themselves. */
static int watch_by_the_best(struct knell_engine **ret_engine, pid_t pid,
			     const struct knell_watch_options *options)
{
	static const char *const sources[] = { "bpf", "kmod", "connector", "pidfd" };
	int r = -ENOTSUP;

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		struct knell_options how = { .size = sizeof(how), .source = sources[i] };

		r = knell_open(ret_engine, &how);
		if (r < 0)
			continue;
		r = knell_watch_pid(*ret_engine, NULL, pid, options);
		if (r == 0)
			return 0;
		knell_close(*ret_engine);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct knell_engine *engine;
	bool done = false;
	struct knell_watch_options options = {
		.size = sizeof(options),
		.fn = on_verdict,
		.userdata = &done,
	};

	if (argc != 2) {
		fprintf(stderr, "usage: wait-for PID\n");
		return STATUS_FAILED;
	}
	if (watch_by_the_best(&engine, (pid_t)strtol(argv[1], NULL, 10), &options) < 0) {
		fprintf(stderr, "wait-for: %s\n", knell_last_error());
		return STATUS_FAILED;
	}
	while (!done) {
		struct pollfd fd = { .fd = knell_fd(engine), .events = POLLIN };

		if (poll(&fd, 1, -1) < 0 && errno != EINTR)
			break;
		if (knell_dispatch(engine) < 0)
			break;
	}
	knell_close(engine);
	return done ? 0 : STATUS_FAILED;
}
