/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * terminal.c - job control. The command has a process group of its own, so that a signal for it is
 * not one for us; where we were in the foreground it is from then on, and when it stops we stop our
 * own group, as the terminal would have done, so that the shell above gets its prompt back.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

/* The one on standard input, or else the one that controls us. Only if we are in its foreground. */
void terminal_open(struct init *init)
{
	int fd = STDIN_FILENO;

	init->terminal = -1;
	if (!init->options->own_group || init->options->pause)
		return;
	if (tcgetpgrp(fd) < 0)
		fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return;
	if (tcgetpgrp(fd) == getpgrp())
		init->terminal = fd;
	else if (fd != STDIN_FILENO)
		close(fd);
}

/* SIGTTOU is blocked: else it would stop us for this in the background. */
void terminal_give(const struct init *init)
{
	if (init->terminal >= 0 && tcgetpgrp(init->terminal) == getpgrp())
		tcsetpgrp(init->terminal, init->root);
}

/* Whoever shares our group goes on when we have ended, and may want to read. */
void terminal_take_back(const struct init *init)
{
	if (init->terminal >= 0 && tcgetpgrp(init->terminal) == init->root)
		tcsetpgrp(init->terminal, getpgrp());
}

/*
 * The leader of a session lets go of its terminal, so that the command's session may have it. The
 * kernel then sends HUP and CONT to the foreground, which are not meant for the command.
 */
void terminal_detach(void)
{
	static const struct timespec now;
	sigset_t hangup;

	if (getsid(0) != getpid() || ioctl(STDIN_FILENO, TIOCNOTTY) < 0)
		return;
	sigemptyset(&hangup);
	sigaddset(&hangup, SIGHUP);
	sigaddset(&hangup, SIGCONT);
	while (sigtimedwait(&hangup, NULL, &now) > 0)
		;
}

/* Is there somebody at a terminal, who has a shell to go back to when the command stops? */
bool terminal_has_job_control(void)
{
	int fd;

	if (getpid() == 1 || getsid(0) == getpid())
		return false;
	fd = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* Stops us by a signal that is blocked: now, and not when the rest of them comes. */
static void stop_by(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/*
 * The command stopped. A stop that the terminal makes is for a whole foreground group: before there
 * was a group of the command's own, that was ours. In a group that no shell continues the kernel
 * drops it, and then no CONT comes: the command remains stopped, and we go on. A SIGSTOP is no stop
 * of the terminal's: who sends it to the command continues the command, and not us.
 */
void terminal_stop_too(struct init *init, int signo)
{
	static const struct timespec now;
	sigset_t cont;

	if (signo != SIGTSTP && signo != SIGTTIN && signo != SIGTTOU)
		return;
	sigemptyset(&cont);
	sigaddset(&cont, SIGCONT);
	while (sigtimedwait(&cont, NULL, &now) > 0)
		; /* an old one; it was passed on by who sent it to the command */
	kill(0, signo);
	stop_by(signo);
	if (sigtimedwait(&cont, NULL, &now) < 0)
		return;
	terminal_give(init);
	signals_send_group(init, SIGCONT);
}
