/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * stop.c - signals that end a command that only listens; see stop.h. Handlers and not a signalfd: a
 * handler also interrupts a write, and may go back to the default after the first signal.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cli.h"
#include "stop.h"

static volatile sig_atomic_t asked, hung_up;
static int wake_fd = -1;
static sigset_t taken; /* those whose handling we changed; it was the default */
static sigset_t mask;

static void wake(void)
{
	const uint64_t one = 1;
	int error = errno;
	ssize_t n = write(wake_fd, &one, sizeof(one));

	(void)n; /* full: it is readable already */
	errno = error;
}

static void on_stop(int signo)
{
	asked = signo;
	wake();
}

static void on_hangup(int signo)
{
	(void)signo;
	hung_up = 1;
	wake();
}

static void on_child(int signo)
{
	(void)signo;
	wake();
}

static int take(int signo, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags }, old;

	if (sigaction(signo, NULL, &old) < 0)
		return -errno;
	if (old.sa_handler == SIG_IGN && signo != SIGCHLD)
		return 0;
	sigaddset(&taken, signo);
	return sigaction(signo, &action, NULL) < 0 ? -errno : 0;
}

static int take_all(bool children)
{
	static const int stops[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	sigset_t child;
	int r = 0;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigemptyset(&taken);
	for (size_t i = 0; r == 0 && i < sizeof(stops) / sizeof(stops[0]); i++)
		r = take(stops[i], on_stop, (int)SA_RESETHAND);
	if (r == 0)
		r = take(SIGPIPE, SIG_IGN, 0);
	if (r == 0)
		r = take(SIGXFSZ, SIG_IGN, 0);
	if (r == 0 && children)
		r = take(SIGCHLD, on_child, SA_NOCLDSTOP | SA_RESTART);
	if (r == 0 &&
	    sigprocmask(children ? SIG_UNBLOCK : SIG_BLOCK, children ? &child : NULL, &mask) < 0)
		r = -errno;
	return r;
}

int stop_open(bool children)
{
	int r;

	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake_fd < 0) {
		r = -errno;
		complain("cannot make an eventfd: %s", strerror(-r));
		return r;
	}
	r = take_all(children);
	if (r < 0) {
		complain("cannot take signals: %s", strerror(-r));
		return r;
	}
	return wake_fd;
}

int stop_keep_hangup(void)
{
	struct sigaction action = { .sa_handler = on_hangup, .sa_flags = SA_RESTART };
	int r;

	sigaddset(&taken, SIGHUP);
	if (sigaction(SIGHUP, &action, NULL) == 0)
		return 0;
	r = -errno;
	complain("cannot take SIGHUP: %s", strerror(-r));
	return r;
}

bool stop_hangup(void)
{
	if (!hung_up)
		return false;
	hung_up = 0;
	return true;
}

void stop_drain(void)
{
	uint64_t count;
	ssize_t n = read(wake_fd, &count, sizeof(count));

	(void)n;
}

int stop_signal(void)
{
	return asked;
}

void stop_undo(void)
{
	for (int signo = 1; signo < SIGRTMIN; signo++) {
		if (sigismember(&taken, signo))
			signal(signo, SIG_DFL);
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
}
