/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * death.c - why a process died, in words that an operator understands; see words.h. Says no more
 * than the record knows: a sender only where a user sent the signal, a reason only where the source
 * had one.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "words.h"

/* A text under construction; what does not fit is cut. */
struct text {
	char *p;
	size_t left;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text->p, text->left, format, args);
	va_end(args);
	if (n < 0)
		return;
	if ((size_t)n >= text->left)
		n = text->left ? (int)text->left - 1 : 0;
	text->p += n;
	text->left -= (size_t)n;
}

/* "bash (pid 99, uid 0, parent sshd 88)" */
static void add_sender(struct text *text, const struct knell_signal *signal)
{
	const char *sep = " (";

	add(text, "%s",
	    signal->known & KNELL_S_COMM ? words_comm(signal->comm, true).s : "a process");
	if (signal->known & KNELL_S_PID) {
		if (signal->pid)
			add(text, "%spid %u", sep, signal->pid);
		else
			add(text, "%soutside of this pid namespace", sep);
		sep = ", ";
	}
	if (signal->known & KNELL_S_UID) {
		add(text, "%suid %u", sep, signal->uid);
		sep = ", ";
	}
	if (signal->known & KNELL_S_PARENT) {
		add(text, "%sparent %s", sep, words_comm(signal->pcomm, true).s);
		if (signal->ppid)
			add(text, " %u", signal->ppid);
		sep = ", ";
	}
	if (sep[0] == ',')
		add(text, ")");
}

/* Who sent it, for after the signal's name. Nothing when nobody is known. */
static void add_sent_by(struct text *text, const struct knell_signal *signal, uint32_t tgid)
{
	if (!signal->known)
		return;
	if (signal->known & KNELL_S_PID && signal->pid == tgid && tgid) {
		add(text, " sent by itself");
		return;
	}
	add(text, " sent by ");
	add_sender(text, signal);
}

static const char *fault_name(int signo)
{
	switch (signo) {
	case SIGSEGV:
		return "segmentation fault";
	case SIGBUS:
		return "bus error";
	case SIGFPE:
		return "arithmetic fault (SIGFPE)";
	case SIGILL:
		return "illegal instruction";
	case SIGTRAP:
		return "trap (SIGTRAP)";
	default:
		return NULL;
	}
}

static void add_fault(struct text *text, int signo)
{
	const char *name = fault_name(signo);

	if (name)
		add(text, "%s", name);
	else
		add(text, "killed by %s for a fault of its own", words_signal(signo).s);
}

static void add_rlimit(struct text *text, int signo)
{
	add(text, "%s limit reached (%s)", signo == SIGXFSZ ? "file size" : "CPU time",
	    words_signal(signo).s);
}

/* The reasons that are one fixed phrase after "killed by SIGx". */
static const char *const phrases[KNELL_REASON_MAX] = {
	[KNELL_R_KERNEL] = " sent by the kernel",
	[KNELL_R_TIMER] = " of a timer",
	[KNELL_R_SECCOMP] = " of a seccomp filter",
	[KNELL_R_TERMINAL] = " from the terminal",
	[KNELL_R_PIPE] = ": it wrote to a pipe that nobody reads",
	[KNELL_R_PIDNS] = ": the init process of its pid namespace died",
};

/* The signal and why it came; `reason` is enum knell_reason. */
static void add_signal(struct text *text, int signo, unsigned int reason,
		       const struct knell_signal *signal, uint32_t tgid)
{
	switch (reason) {
	case KNELL_R_FAULT:
		add_fault(text, signo);
		return;
	case KNELL_R_OOM:
		add(text, "out of memory (killed by the kernel)");
		return;
	case KNELL_R_RLIMIT:
		add_rlimit(text, signo);
		return;
	default:
		break;
	}
	add(text, "killed by %s", words_signal(signo).s);
	switch (reason) {
	case KNELL_R_USER:
		add_sent_by(text, signal, tgid);
		break;
	case KNELL_R_PDEATH:
		add(text, ": its parent died");
		if (signal->known) {
			add(text, ", ");
			add_sender(text, signal);
		}
		break;
	case KNELL_R_CGROUP:
		add(text, " of cgroup.kill");
		if (signal->known) {
			add(text, ", written by ");
			add_sender(text, signal);
		}
		break;
	default:
		if (reason < KNELL_REASON_MAX && phrases[reason])
			add(text, "%s", phrases[reason]);
	}
}

bool words_failed(const struct knell_exit *death, uint32_t unknown)
{
	return !(unknown & KNELL_U_STATUS) && death->status != 0;
}

bool words_was_warned(const struct knell_exit *death, uint32_t unknown)
{
	const struct knell_signal *last = &death->last_term;

	if (unknown & KNELL_U_TERM || last->signo == 0)
		return false;
	if (unknown & KNELL_U_STATUS || !WIFSIGNALED(death->status))
		return true;
	return WTERMSIG(death->status) != last->signo;
}

/* "received SIGTERM from systemd (pid 1), then " */
static void add_warning(struct text *text, const struct knell_signal *last, uint32_t tgid)
{
	add(text, "received %s", words_signal(last->signo).s);
	if (last->reason == KNELL_R_USER && last->known) {
		if (last->known & KNELL_S_PID && last->pid == tgid && tgid) {
			add(text, " from itself");
		} else {
			add(text, " from ");
			add_sender(text, last);
		}
	} else if (last->reason != KNELL_R_USER && last->reason < KNELL_REASON_MAX &&
		   phrases[last->reason]) {
		add(text, "%s", phrases[last->reason]);
	}
	add(text, ", then ");
}

void words_death(char *dst, size_t size, uint32_t tgid, const struct knell_exit *death,
		 uint32_t unknown)
{
	struct text text = { .p = dst, .left = size };

	if (size)
		dst[0] = '\0';
	if (words_was_warned(death, unknown))
		add_warning(&text, &death->last_term, tgid);
	if (unknown & KNELL_U_STATUS) {
		add(&text, "ended, nobody knows how");
	} else if (WIFSIGNALED(death->status)) {
		add_signal(&text, WTERMSIG(death->status),
			   unknown & KNELL_U_CAUSE ? KNELL_R_NONE : death->reason, &death->killer,
			   tgid);
		if (WCOREDUMP(death->status))
			add(&text, ", core dumped");
	} else {
		add(&text, "exited %d", WEXITSTATUS(death->status));
	}
}

void words_status(char *dst, size_t size, int status)
{
	const struct knell_exit death = { .status = status };

	words_death(dst, size, 0, &death, KNELL_U_CAUSE | KNELL_U_TERM);
}
