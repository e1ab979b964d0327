/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * count-failures.c - runs a command and counts which programs below it failed, and how: what a
 * build or a test suite hides when it goes on after an error. Its exit status is 0 if nothing
 * failed, 1 if anything did.
 *
 *   count-failures make -k test
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

#define STATUS_FAILED 125
#define KINDS_MAX     256

/* Processes of one name that ended alike. */
struct kind {
	char name[KNELL_COMM_LEN];
	int status;
	unsigned int reason;
	unsigned long count;
};

struct count {
	struct kind kinds[KINDS_MAX];
	size_t used;
	unsigned long long others; /* of more kinds than there is room for */
	unsigned long long deaths, failures, unheard;
	bool over; /* the command itself is dead */
};

static void count_failure(struct count *count, const struct knell_event *event)
{
	int status = event->u.exit.status;

	count->failures++;
	for (size_t i = 0; i < count->used; i++) {
		struct kind *kind = &count->kinds[i];

		if (kind->status == status && kind->reason == event->u.exit.reason &&
		    strcmp(kind->name, event->comm) == 0) {
			kind->count++;
			return;
		}
	}
	if (count->used == KINDS_MAX) {
		count->others++;
		return;
	}
	count->kinds[count->used] = (struct kind){
		.status = status,
		.reason = event->u.exit.reason,
		.count = 1,
	};
	memcpy(count->kinds[count->used++].name, event->comm, KNELL_COMM_LEN);
}

static int on_exit(const struct knell_event *event, void *userdata)
{
	struct count *count = userdata;

	count->deaths++;
	if (event->unknown & KNELL_U_STATUS)
		count->unheard++;
	else if (event->u.exit.status != 0)
		count_failure(count, event);
	return 0;
}

/* Losses are told, never hidden: the counts are then too small by as many. */
static int on_gap(const struct knell_event *event, void *userdata)
{
	struct count *count = userdata;

	count->unheard += event->u.gap.deaths;
	return 0;
}

static void on_child(pid_t pid, int status, void *userdata)
{
	struct count *count = userdata;

	(void)pid; /* nobody but the command is a child of ours */
	if (!WIFSTOPPED(status) && !WIFCONTINUED(status))
		count->over = true;
}

static void print(const struct count *count)
{
	for (size_t i = 0; i < count->used; i++) {
		const struct kind *kind = &count->kinds[i];

		if (WIFEXITED(kind->status))
			printf("%6lu x %s exited %d\n", kind->count, kind->name,
			       WEXITSTATUS(kind->status));
		else
			printf("%6lu x %s died of signal %d (%s)\n", kind->count, kind->name,
			       WTERMSIG(kind->status), knell_reason_name(kind->reason));
	}
	if (count->others)
		printf("%6llu others\n", count->others);
	printf("%llu of %llu processes failed", count->failures, count->deaths);
	if (count->unheard)
		printf("; %llu deaths are not known", count->unheard);
	printf("\n");
}

static int run(struct knell_engine *engine, struct count *count, char **command)
{
	struct signalfd_siginfo info;
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	sigset_t set, old;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &old);
	fds[0].fd = knell_fd(engine);
	fds[1].fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	pid = knell_fork(engine);
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		execvp(command[0], command);
		perror(command[0]);
		_exit(127);
	}
	while (pid > 0 && !count->over) {
		poll(fds, 2, -1);
		while (read(fds[1].fd, &info, sizeof(info)) > 0)
			;
		if (knell_dispatch(engine) < 0)
			return -1;
		knell_reap(engine, on_child, count);
	}
	return pid < 0 ? -1 : knell_dispatch(engine);
}

int main(int argc, char **argv)
{
	static struct count count;
	struct knell_options options = { .size = sizeof(options) };
	struct knell_engine *engine = NULL;

	if (argc < 2) {
		fprintf(stderr, "usage: count-failures COMMAND [ARG...]\n");
		return STATUS_FAILED;
	}
	if (knell_open(&engine, &options) < 0 ||
	    knell_watcher_add(engine, KNELL_MASK(KNELL_EXIT), on_exit, &count) < 0 ||
	    knell_watcher_add(engine, KNELL_MASK(KNELL_GAP), on_gap, &count) < 0 ||
	    run(engine, &count, argv + 1) < 0) {
		fprintf(stderr, "count-failures: %s\n", knell_last_error());
		knell_close(engine);
		return STATUS_FAILED;
	}
	knell_close(engine);
	print(&count);
	return count.failures ? 1 : 0;
}
