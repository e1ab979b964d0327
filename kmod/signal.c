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

#include <shared/reason.h>

#include "compat.h"
#include "engine.h"

static struct knell_sending sending_of(int signo, const struct kernel_siginfo *info,
				       struct task_struct *target)
{
	struct knell_sending sending = {
		.signo = signo,
		.code = info == SEND_SIG_NOINFO ? SI_USER : SI_KERNEL,
		.pdeath = target->pdeath_signal,
		.noinfo = info == SEND_SIG_NOINFO,
		.own = same_thread_group(target, current),
		.dying = current->flags & PF_EXITING,
		.cpu_hard = READ_ONCE(target->signal->rlim[RLIMIT_CPU].rlim_max) != RLIM_INFINITY,
	};

	if ((unsigned long)info > (unsigned long)SEND_SIG_PRIV)
		sending.code = info->si_code;
	return sending;
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
	const struct knell_sending sending = sending_of(signo, info, target);

	memset(to, 0, sizeof(*to));
	to->time = ktime_get_boottime_ns();
	to->code = sending.code;
	to->signo = signo;
	to->reason = knell_reason_of(&sending);
	if (knell_reason_has_sender(to->reason))
		take_sender(to, ns);
}

/* Where it is kept; KNELL_NOTES: nowhere, for it ends nobody. */
static enum knell_note_kind note_of(int signo, struct task_struct *target)
{
	if (signo == SIGKILL)
		return KNELL_NOTE_KILL;
	if (knell_signal_is_term(signo))
		return KNELL_NOTE_TERM;
	if (knell_signal_is_harmless(signo))
		return KNELL_NOTES;
	if (knell_signal_is_fault(signo) ||
	    rcu_dereference(target->sighand)->action[signo - 1].sa.sa_handler == SIG_DFL)
		return KNELL_NOTE_OTHER;
	return KNELL_NOTES;
}

/* In a probe, in an RCU section, with the target's siglock held. */
void knell_on_signal(struct task_struct *target, int signo, const struct kernel_siginfo *info)
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
	else if (!heard || watch->older_signals)
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
