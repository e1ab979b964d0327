/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * reason.h - the rule that gives a signal its reason, by its number, its si_code and what the
 * kernel knows at the moment when it makes it. The BPF programs, the kernel module and the library
 * share it. It is not installed, and names no type of any of the three: who includes it has
 * included what declares signals, si_codes and bool for him.
 */
#ifndef KNELL_SHARED_REASON_H
#define KNELL_SHARED_REASON_H

#include <knell/event.h>

/* The kernel's SYS_SECCOMP, which libc does not have. */
#define KNELL_CODE_SECCOMP 1

/* A signal; the sender is the task that runs when it is made. */
struct knell_sending {
	int signo;
	int code;      /* si_code */
	int pdeath;    /* what the target wants to get when its parent dies; 0: nothing */
	bool noinfo;   /* SEND_SIG_NOINFO: kernel code sent it in the name of the sender */
	bool own;      /* the sender is a thread of the target */
	bool dying;    /* the sender exits */
	bool cpu_hard; /* the target has a hard limit of CPU time */
};

/* Signals whose default action ends no process: they are most of what there is. */
static __always_inline bool knell_signal_is_harmless(int signo)
{
	switch (signo) {
	case SIGCHLD:
	case SIGCONT:
	case SIGURG:
	case SIGWINCH:
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return true;
	default:
		return false;
	}
}

/* By which a process is asked to end: the last one is told with its death. */
static __always_inline bool knell_signal_is_term(int signo)
{
	return signo == SIGTERM || signo == SIGINT || signo == SIGHUP;
}

static __always_inline bool knell_signal_is_fault(int signo)
{
	return signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL ||
	       signo == SIGTRAP;
}

/* What the kernel sends to who writes where he may not, in his own name; else KERNEL. */
static __always_inline __u8 knell_writer_reason(int signo)
{
	if (signo == SIGPIPE)
		return KNELL_R_PIPE;
	return signo == SIGXFSZ ? KNELL_R_RLIMIT : KNELL_R_KERNEL;
}

/*
 * The writer's own; or a death that is told to a child that asked for it; or somebody wrote to
 * cgroup.kill.
 */
static __always_inline __u8 knell_noinfo_reason(const struct knell_sending *sending)
{
	if (sending->own)
		return knell_writer_reason(sending->signo);
	if (sending->dying && sending->pdeath == sending->signo)
		return KNELL_R_PDEATH;
	return sending->signo == SIGKILL ? KNELL_R_CGROUP : KNELL_R_KERNEL;
}

/* A pid namespace dies with its init, and a process of its hard limit of CPU time. */
static __always_inline __u8 knell_kill_reason(const struct knell_sending *sending)
{
	if (!sending->own)
		return sending->dying ? KNELL_R_PIDNS : KNELL_R_KERNEL;
	return sending->cpu_hard ? KNELL_R_RLIMIT : KNELL_R_KERNEL;
}

/*
 * The kernel's own. A number means what it says with the codes that its usual cause has. A file
 * whose owner asked for this signal (F_SETSIG) has others: POLL_IN and the like, and SI_SIGIO in
 * place of those that would look like a fault. A message queue has SI_MESGQ.
 */
static __always_inline __u8 knell_kernel_reason(int signo, int code)
{
	if (code == SI_TIMER)
		return KNELL_R_TIMER;
	if (code > 0 && knell_signal_is_fault(signo))
		return KNELL_R_FAULT;
	if (signo == SIGSYS && code == KNELL_CODE_SECCOMP)
		return KNELL_R_SECCOMP;
	if (code != SI_KERNEL)
		return KNELL_R_KERNEL;
	switch (signo) {
	case SIGALRM:
	case SIGVTALRM:
	case SIGPROF:
		return KNELL_R_TIMER;
	case SIGXCPU:
		return KNELL_R_RLIMIT;
	case SIGHUP:
	case SIGINT:
	case SIGQUIT:
		return KNELL_R_TERMINAL;
	default:
		return KNELL_R_KERNEL;
	}
}

static __always_inline __u8 knell_reason_of(const struct knell_sending *sending)
{
	const int code = sending->code;

	if (sending->noinfo)
		return knell_noinfo_reason(sending);
	if (code == SI_USER || code == SI_QUEUE || code == SI_TKILL)
		return KNELL_R_USER;
	if (sending->signo == SIGKILL)
		return knell_kill_reason(sending);
	return knell_kernel_reason(sending->signo, code);
}

/* Reasons that come with a sender: who did it, or caused it. */
static __always_inline bool knell_reason_has_sender(__u8 reason)
{
	return reason == KNELL_R_USER || reason == KNELL_R_CGROUP || reason == KNELL_R_PDEATH;
}

#endif
