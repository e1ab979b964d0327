/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * run_child.c - starts the command: with the signals, descriptors and environment that the caller
 * gave us, watched from before its first instruction. Whatever keeps it from starting comes back
 * through a pipe that a successful exec closes.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli.h"
#include "run.h"

/*
 * Signals that we take and pass on. Not those that the kernel raises for our own faults, and not
 * those that stop: a stop from the terminal reaches us and the command alike. PIPE and XFSZ are
 * only blocked: our writes then fail with an error that we can report.
 */
static void taken_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGQUIT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGUSR2);
	sigaddset(set, SIGALRM);
	sigaddset(set, SIGCONT);
	sigaddset(set, SIGPWR);
	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
		sigaddset(set, signo);
}

int run_take_signals(struct run *run)
{
	struct sigaction heard = { .sa_handler = SIG_DFL };
	sigset_t taken, blocked;

	taken_signals(&taken);
	blocked = taken;
	sigaddset(&blocked, SIGPIPE);
	sigaddset(&blocked, SIGXFSZ);
	sigaddset(&blocked, SIGTTOU);
	/* Ignored, the kernel would reap our children before we learn their status. */
	if (sigaction(SIGCHLD, &heard, &run->signals.child) < 0 ||
	    sigprocmask(SIG_BLOCK, &blocked, &run->signals.mask) < 0)
		return -errno;
	run->signal_fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signal_fd < 0 ? -errno : 0;
}

/*
 * Under ptrace each stop of each task sends SIGCHLD, and the source waits for our children itself:
 * its descriptor says when there is something to reap.
 */
void run_ignore_children(struct run *run)
{
	sigset_t taken;

	taken_signals(&taken);
	sigdelset(&taken, SIGCHLD);
	signalfd(run->signal_fd, &taken, 0);
}

void run_restore_signals(const struct run *run)
{
	sigaction(SIGCHLD, &run->signals.child, NULL);
	sigprocmask(SIG_SETMASK, &run->signals.mask, NULL);
}

static _Noreturn void become_command(const struct run *run, int report_fd)
{
	char **command = run->options.command;
	int error;
	ssize_t n;

	run_restore_signals(run);
	execvp(command[0], command);
	error = errno;
	n = write(report_fd, &error, sizeof(error));
	(void)n;
	_exit(error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
}

int run_start(struct run *run)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		complain("cannot make a pipe: %s", strerror(errno));
		return -errno;
	}
	run->own_cpu = own_cpu();
	run->started = monotonic_now();
	pid = knell_fork(run->engine);
	if (pid == 0)
		become_command(run, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		complain("cannot start '%s': %s", run->options.command[0], knell_last_error());
		close(fds[0]);
		return pid;
	}
	/* The command has them: as if we were not there, it alone decides when they are closed. */
	inherited_close(&run->inherited);
	run->root = pid;
	run->exec_fd = fds[0];
	return 0;
}
