// SPDX-License-Identifier: GPL-2.0-only
/*
 * signal.c - who or what sent a signal, kept in the watch of the process that gets it, so that its
 * death can say why.
 *
 * Owns nothing. The sender is the task that runs when the signal is made; what siginfo says of it
 * can be forged. The kernel holds the target's siglock here, so nobody else writes the same notes;
 * it refuses signals to a process that is dying, so they are final when its exit is claimed.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/pid_namespace.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/timekeeping.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "engine.h"

static bool is_fault(int signo)
{
	return signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL ||
	       signo == SIGTRAP;
}

/* KILL from the kernel: a pid namespace dies with its init, a process of its hard CPU limit. */
static u8 kill_reason(struct task_struct *target)
{
	if (!same_thread_group(target, current))
		return current->flags & PF_EXITING ? KNELL_R_PIDNS : KNELL_R_KERNEL;
	if (READ_ONCE(target->signal->rlim[RLIMIT_CPU].rlim_max) != RLIM_INFINITY)
		return KNELL_R_RLIMIT;
	return KNELL_R_KERNEL;
}

/* It came without a user's siginfo, or with one of the kernel's. */
static u8 kernel_reason(int signo, int code, struct task_struct *target)
{
	if (signo == SIGKILL)
		return kill_reason(target);
	if (signo == SIGSYS && code == SYS_SECCOMP)
		return KNELL_R_SECCOMP;
	if (code == SI_TIMER)
		return KNELL_R_TIMER;
	if (is_fault(signo))
		return KNELL_R_FAULT;
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

/*
 * Kernel code sent it in the name of the task that runs now: its own broken pipe or file size
 * limit, its death told to a child that asked for it, or its write to cgroup.kill.
 */
static u8 noinfo_reason(int signo, struct task_struct *target)
{
	if (same_thread_group(target, current)) {
		if (signo == SIGPIPE)
			return KNELL_R_PIPE;
		return signo == SIGXFSZ ? KNELL_R_RLIMIT : KNELL_R_KERNEL;
	}
	if (current->flags & PF_EXITING && target->pdeath_signal == signo)
		return KNELL_R_PDEATH;
	return signo == SIGKILL ? KNELL_R_CGROUP : KNELL_R_KERNEL;
}

static u8 reason_of(int signo, int code, const struct kernel_siginfo *info,
		    struct task_struct *target)
{
	if (info == SEND_SIG_NOINFO)
		return noinfo_reason(signo, target);
	if (code == SI_USER || code == SI_QUEUE || code == SI_TKILL)
		return KNELL_R_USER;
	return kernel_reason(signo, code, target);
}

/* The numbers are those of the session's namespace, for no struct pid can be let go of here. */
static void take_sender(struct knell_signal *to, struct pid_namespace *ns)
{
	struct task_struct *parent = rcu_dereference(current->real_parent);

	to->known = KNELL_S_PID | KNELL_S_UID | KNELL_S_COMM | KNELL_S_PARENT | KNELL_S_CGROUP;
	to->cgroup = cgroup_id(task_dfl_cgroup(current));
	to->pid = task_tgid_nr_ns(current, ns);
	to->ppid = task_tgid_nr_ns(parent, ns);
	to->uid = from_kuid(&init_user_ns, current_uid());
	memcpy(to->comm, current->group_leader->comm, sizeof(to->comm));
	memcpy(to->pcomm, READ_ONCE(parent->group_leader)->comm, sizeof(to->pcomm));
	to->comm[sizeof(to->comm) - 1] = '\0';
	to->pcomm[sizeof(to->pcomm) - 1] = '\0';
}

static void take_signal(struct knell_signal *to, int signo, const struct kernel_siginfo *info,
			struct task_struct *target, struct pid_namespace *ns)
{
	int code = info == SEND_SIG_NOINFO ? SI_USER : SI_KERNEL;

	if ((unsigned long)info > (unsigned long)SEND_SIG_PRIV)
		code = info->si_code;
	memset(to, 0, sizeof(*to));
	to->time = ktime_get_boottime_ns();
	to->code = code;
	to->signo = signo;
	to->reason = reason_of(signo, code, info, target);
	if (to->reason == KNELL_R_USER || to->reason == KNELL_R_CGROUP ||
	    to->reason == KNELL_R_PDEATH)
		take_sender(to, ns);
}

/* Where it is kept; KNELL_NOTES: nowhere, for it ends nobody. */
static enum knell_note_kind note_of(int signo, struct task_struct *target)
{
	switch (signo) {
	case SIGKILL:
		return KNELL_NOTE_KILL;
	case SIGTERM:
	case SIGINT:
	case SIGHUP:
		return KNELL_NOTE_TERM;
	case SIGCHLD:
	case SIGCONT:
	case SIGURG:
	case SIGWINCH:
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return KNELL_NOTES;
	default:
		if (is_fault(signo) ||
		    rcu_dereference(target->sighand)->action[signo - 1].sa.sa_handler == SIG_DFL)
			return KNELL_NOTE_OTHER;
		return KNELL_NOTES;
	}
}

/* In a probe, in an RCU section, with the target's siglock held. */
void knell_table_signal(struct task_struct *target, int signo, const struct kernel_siginfo *info)
{
	enum knell_note_kind kind = note_of(signo, target);
	struct knell_watch *watch;

	if (kind == KNELL_NOTES)
		return;
	for_each_watch (watch, target->signal) {
		if (!(watch->root->flags & KNELL_KMOD_CAUSE) ||
		    test_bit(KNELL_CLAIM_EXIT, &watch->claimed))
			continue;
		take_signal(&watch->notes[kind], signo, info, target, watch->root->session->ns);
	}
}

/* What the dying process itself shows of the reason. */
u8 knell_cause_of(struct task_struct *task)
{
	if (READ_ONCE(task->signal->oom_mm))
		return KNELL_R_OOM;
	if (task->seccomp.mode == KNELL_SECCOMP_MODE_DEAD)
		return KNELL_R_SECCOMP;
	return KNELL_R_NONE;
}

/* A sender as the reader's namespace has it: the numbers were taken for the session's. */
static void fill_signal(struct knell_signal *to, const struct knell_signal *note, bool same_ns)
{
	*to = *note;
	if (same_ns || !to->known)
		return;
	to->known &= ~(KNELL_S_PID | KNELL_S_PARENT);
	to->pid = to->ppid = 0;
	memset(to->pcomm, 0, sizeof(to->pcomm));
}

void knell_fill_cause(struct knell_event *event, const struct knell_watch *watch,
		      struct pid_namespace *ns)
{
	const struct knell_death *death = &watch->death;
	const bool heard = watch->root->flags & KNELL_KMOD_CAUSE && !watch->late;
	const struct knell_session *session = watch->root->session;
	const bool same_ns = session && ns == session->ns;
	const struct knell_signal *note = &watch->notes[KNELL_NOTE_TERM];
	struct knell_exit *exit = &event->u.exit;
	int signo = death->status & 0x7f, kind;

	if (heard && note->signo)
		fill_signal(&exit->last_term, note, same_ns);
	else if (!heard || watch->found)
		event->unknown |= KNELL_U_TERM;
	if (!signo)
		return;
	exit->killer.signo = signo;
	if (heard && death->reason) {
		exit->killer.reason = exit->reason = death->reason;
		return;
	}
	for (kind = 0; heard && kind < KNELL_NOTES; kind++) {
		note = &watch->notes[kind];
		if (note->signo != signo)
			continue;
		fill_signal(&exit->killer, note, same_ns);
		exit->reason = note->reason;
		return;
	}
	event->unknown |= KNELL_U_CAUSE;
}
