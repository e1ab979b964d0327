/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * run-and-listen.c - runs a command and tells of each process below it: born, another program,
 * dead. Its exit status is the command's (128+n after a signal).
 *
 *   run-and-listen make -j2
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

struct command {
	pid_t pid;
	bool reaped;
	int status;
};

static void print_death(const struct knell_event *event)
{
	int status = event->u.exit.status;

	if (event->unknown & KNELL_U_STATUS)
		printf("%u %s died\n", event->task.tgid, event->comm);
	else if (WIFEXITED(status))
		printf("%u %s exited %d\n", event->task.tgid, event->comm, WEXITSTATUS(status));
	else
		printf("%u %s died of signal %d (%s)\n", event->task.tgid, event->comm,
		       WTERMSIG(status), knell_reason_name(event->u.exit.reason));
}

static int on_event(const struct knell_event *event, void *userdata)
{
	(void)userdata;
	switch (event->kind) {
	case KNELL_CLONE:
		printf("%u born, child of %u\n", event->task.tgid, event->parent.tgid);
		break;
	case KNELL_EXEC:
		printf("%u runs %s\n", event->task.tgid, knell_exec_file(event));
		break;
	case KNELL_EXIT:
		print_death(event);
		break;
	case KNELL_GAP:
		printf("not heard: %llu births, %llu deaths\n",
		       (unsigned long long)event->u.gap.births,
		       (unsigned long long)event->u.gap.deaths);
		break;
	}
	return 0;
}

static void on_child(pid_t pid, int status, void *userdata)
{
	struct command *command = userdata;

	if (pid != command->pid || WIFSTOPPED(status) || WIFCONTINUED(status))
		return;
	command->reaped = true;
	command->status = status;
}

/* SIGCHLD as a descriptor that polls readable. `ret_old`: the mask that the command must get. */
static int open_signals(sigset_t *ret_old)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, ret_old);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int listen_to(struct knell_engine *engine, struct command *command, int signals)
{
	struct signalfd_siginfo info;
	struct pollfd fds[] = {
		{ .fd = knell_fd(engine), .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};
	int r;

	while (!command->reaped) {
		poll(fds, 2, -1);
		while (read(signals, &info, sizeof(info)) > 0)
			; /* it has done its work: poll(2) returned */
		r = knell_dispatch(engine);
		if (r < 0)
			return r;
		knell_reap(engine, on_child, command);
	}
	return knell_dispatch(engine); /* what it did last */
}

int main(int argc, char **argv)
{
	const uint32_t mask = KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXEC) |
			      KNELL_MASK(KNELL_EXIT) | KNELL_MASK(KNELL_GAP);
	struct knell_options options = { .size = sizeof(options) };
	struct knell_engine *engine = NULL;
	struct command command = { 0 };
	sigset_t mask_of_command;
	int signals = open_signals(&mask_of_command);

	if (argc < 2 || signals < 0) {
		fprintf(stderr, "usage: run-and-listen COMMAND [ARG...]\n");
		return STATUS_FAILED;
	}
	if (knell_open(&engine, &options) < 0 ||
	    knell_watcher_add(engine, mask, on_event, NULL) < 0) {
		fprintf(stderr, "run-and-listen: %s\n", knell_last_error());
		knell_close(engine);
		return STATUS_FAILED;
	}
	fflush(stdout);
	command.pid = knell_fork(engine);
	if (command.pid == 0) {
		sigprocmask(SIG_SETMASK, &mask_of_command, NULL);
		execvp(argv[1], argv + 1);
		perror(argv[1]);
		_exit(127);
	}
	if (command.pid < 0 || listen_to(engine, &command, signals) < 0) {
		fprintf(stderr, "run-and-listen: %s\n", knell_last_error());
		knell_close(engine);
		return STATUS_FAILED;
	}
	knell_close(engine);
	return WIFEXITED(command.status) ? WEXITSTATUS(command.status)
					 : 128 + WTERMSIG(command.status);
}
