/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * signals.c - takes every signal that can be passed on through a descriptor, rewrites and passes it
 * on, and gives the command the mask and the dispositions that the caller had.
 *
 * Not taken are those that the kernel raises for our own faults. PIPE and XFSZ may be our own, of a
 * message that nobody reads: then they are not the command's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"
#include "pidfd.h"

/*
 * As a shell's kill and glibc have them, and so systemd: musl, of which the static program is made,
 * begins one later.
 */
#define RT_MIN 34
#define RT_MAX 64

/* Of pidfd_send_signal(2), from Linux 6.9 on. */
#define TO_GROUP_OF_LEADER (1u << 2)

static const char *const names[] = {
	[SIGHUP] = "HUP",   [SIGINT] = "INT",       [SIGQUIT] = "QUIT", [SIGILL] = "ILL",
	[SIGTRAP] = "TRAP", [SIGABRT] = "ABRT",     [SIGBUS] = "BUS",   [SIGFPE] = "FPE",
	[SIGKILL] = "KILL", [SIGUSR1] = "USR1",     [SIGSEGV] = "SEGV", [SIGUSR2] = "USR2",
	[SIGPIPE] = "PIPE", [SIGALRM] = "ALRM",     [SIGTERM] = "TERM", [SIGCHLD] = "CHLD",
	[SIGCONT] = "CONT", [SIGSTOP] = "STOP",     [SIGTSTP] = "TSTP", [SIGTTIN] = "TTIN",
	[SIGTTOU] = "TTOU", [SIGURG] = "URG",       [SIGXCPU] = "XCPU", [SIGXFSZ] = "XFSZ",
	[SIGPROF] = "PROF", [SIGVTALRM] = "VTALRM", [SIGIO] = "IO",     [SIGWINCH] = "WINCH",
	[SIGPWR] = "PWR",   [SIGSYS] = "SYS",
};

#define SIGNAL_BIT(signo) (UINT64_C(1) << ((signo)-1)) /* in a set, as the kernel has it */

#define NAMES ((int)(sizeof(names) / sizeof(names[0])))

const char *signals_name(int signo)
{
	return signo > 0 && signo < NAMES ? names[signo] : NULL;
}

/* "RTMIN", "RTMIN+3", "RTMAX-3" */
static int real_time_number(const char *text)
{
	bool down = strncmp(text, "RTMAX", 5) == 0;
	uint32_t n = 0;

	if (!down && strncmp(text, "RTMIN", 5) != 0)
		return -1;
	if (text[5] &&
	    (text[5] != (down ? '-' : '+') || !init_number(text + 6, RT_MAX - RT_MIN, &n)))
		return -1;
	return down ? RT_MAX - (int)n : RT_MIN + (int)n;
}

int signals_number(const char *text)
{
	uint32_t n;

	if (init_number(text, INIT_SIGNALS - 1, &n))
		return n ? (int)n : -1;
	if (strncmp(text, "SIG", 3) == 0)
		text += 3;
	for (int i = 1; i < NAMES; i++) {
		if (names[i] && strcmp(text, names[i]) == 0)
			return i;
	}
	return real_time_number(text);
}

/*
 * Sets by hand, past the C library: of those that it keeps for itself musl lets nobody block one.
 * 32 and 33 are glibc's, too.
 */
static uint64_t taken_signals(void)
{
	static const int others[] = {
		SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP, SIGABRT,
		SIGSYS,  SIGKILL, SIGSTOP, SIGCHLD, 32,      33,
	};
	uint64_t taken = UINT64_MAX;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		taken &= ~SIGNAL_BIT(others[i]);
	return taken;
}

static int change_mask(int how, uint64_t set, uint64_t *ret_old)
{
	return (int)syscall(SYS_rt_sigprocmask, how, &set, ret_old, sizeof(set));
}

static int open_signalfd(uint64_t set)
{
	long fd = syscall(SYS_signalfd4, -1, &set, sizeof(set), SFD_CLOEXEC | SFD_NONBLOCK);

	return fd < 0 ? -errno : (int)fd;
}

/*
 * SIGCHLD is neither blocked nor caught here: where the kernel reaps, nothing is to wake us. But it
 * must not be ignored, for then the kernel would reap where it should not.
 */
int init_begin(struct init_signals *ret)
{
	struct sigaction heard = { .sa_handler = SIG_DFL };

	if (sigaction(SIGCHLD, &heard, &ret->child_action) < 0 ||
	    change_mask(SIG_BLOCK, taken_signals(), &ret->mask) < 0 ||
	    change_mask(SIG_UNBLOCK, SIGNAL_BIT(SIGCHLD), NULL) < 0) {
		init_say("cannot take signals: ", strerror(errno));
		return -errno;
	}
	return 0;
}

int signals_open(struct init *init)
{
	init->signal_fd = open_signalfd(taken_signals());
	return init->signal_fd < 0 ? init->signal_fd : 0;
}

int signals_hear_children(struct init *init)
{
	if (init->child_fd >= 0)
		return 0;
	if (change_mask(SIG_BLOCK, SIGNAL_BIT(SIGCHLD), NULL) < 0)
		return -errno;
	init->child_fd = open_signalfd(SIGNAL_BIT(SIGCHLD));
	return init->child_fd < 0 ? init->child_fd : 0;
}

void signals_restore(const struct init *init)
{
	sigaction(SIGCHLD, &init->signals->child_action, NULL);
	change_mask(SIG_SETMASK, init->signals->mask, NULL);
}

/* By its pidfd: where the kernel reaps, the number may be another's by now. */
void signals_send_root(const struct init *init, int signo)
{
	if (init->pidfd >= 0)
		knell_pidfd_send(init->pidfd, signo, 0);
	else if (!init->dead)
		kill(init->root, signo);
}

/*
 * The command's group; the command alone if it has not made it yet. Kernels that reap for us know
 * how to do it by the pidfd, and the others keep the number until we reap.
 */
void signals_send_group(const struct init *init, int signo)
{
	if (init->pidfd >= 0 && knell_pidfd_send(init->pidfd, signo, TO_GROUP_OF_LEADER) == 0)
		return;
	if (init->kernel_reaps || kill(-init->root, signo) < 0)
		signals_send_root(init, signo);
}

static void tell_forwarded(const struct init *init, int came, int sent)
{
	struct init_line line = { .len = 0 };

	if (init->options->verbosity < VERBOSE_DEBUG)
		return;
	line_text(&line, "knell init: ");
	line_signal(&line, came);
	if (!sent) {
		line_text(&line, " came, and is dropped\n");
	} else {
		line_text(&line, " came, ");
		line_signal(&line, sent);
		line_text(&line, " is passed on\n");
	}
	line_write(&line, STDERR_FILENO);
}

static void pass_on(struct init *init, int came)
{
	int signo = init->options->rewrite[came];

	tell_forwarded(init, came, signo);
	if (!signo)
		return;
	init->forwarded++;
	if (init->dead || init->options->forward == FORWARD_TREE) {
		/* Who outlives the command is whom the signal can be for. */
		if (tree_signal_all(signo) < 0 && !init->dead)
			signals_send_root(init, signo);
	} else if (init->options->forward == FORWARD_GROUP) {
		signals_send_group(init, signo);
	} else {
		signals_send_root(init, signo);
	}
}

/* One that stops is for us, too, whether it is passed on, dropped, or was sent to both of us. */
static void follow_stop(const struct init *init, int came)
{
	if (init->options->follow_stop && (came == SIGTSTP || came == SIGTTIN || came == SIGTTOU) &&
	    getpid() != 1)
		raise(SIGSTOP);
}

/*
 * The kernel's own (^C) went to the whole foreground group: if the command is in ours, to it, too.
 * A hang-up is for the leader of the session alone, and for that group.
 */
static bool is_for_command(const struct init *init, const struct signalfd_siginfo *info)
{
	int signo = (int)info->ssi_signo;

	if ((signo == SIGPIPE || signo == SIGXFSZ) && (pid_t)info->ssi_pid == getpid())
		return false;
	if (init->options->own_group || init->options->own_session)
		return true;
	return info->ssi_code <= 0 || signo == SIGCONT;
}

void signals_read(struct init *init)
{
	struct signalfd_siginfo info;

	while (read(init->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int signo = (int)info.ssi_signo;

		if (init->options->pause) {
			init->stop_asked |= signo == SIGINT || signo == SIGTERM;
			continue;
		}
		if (signo < INIT_SIGNALS && is_for_command(init, &info))
			pass_on(init, signo);
		follow_stop(init, signo);
	}
}
