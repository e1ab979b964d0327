/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * signal.h - who or what sent a signal, kept in the slot of the process that gets it, so that its
 * death can say why. The sender is the task that runs now; siginfo's own pid can be forged.
 */
#ifndef KNELL_SIGNAL_H
#define KNELL_SIGNAL_H

#include <asm-generic/siginfo.h>
#define sigaction user_sigaction /* the kernel's own is in kernel.h */
#include <asm/signal.h>
#undef sigaction

#include "maps.h"

#include <bpf/bpf_tracing.h>
#include <shared/reason.h>

#include "hint.h"
#include "slot.h"
#include "task.h"

/* include/linux/sched/signal.h: what the kernel passes in place of a siginfo. */
#define SEND_SIG_NOINFO 0ul
#define SEND_SIG_PRIV   1ul

/* include/trace/events/signal.h: results that mean that the signal was queued. */
#define TRACE_SIGNAL_DELIVERED 0
#define TRACE_SIGNAL_LOSE_INFO 4

/* `info` is SEND_SIG_NOINFO, SEND_SIG_PRIV (the kernel itself), or where a siginfo is. */
static __always_inline struct knell_sending
sending_of(int signo, unsigned long info, struct task_struct *target, struct task_struct *now)
{
	struct knell_sending sending = {
		.signo = signo,
		.code = info == SEND_SIG_NOINFO ? SI_USER : SI_KERNEL,
		.pdeath = target->pdeath_signal,
		.noinfo = info == SEND_SIG_NOINFO,
		.own = target->tgid == now->tgid,
		.dying = now->flags & PF_EXITING,
		.cpu_hard = target->signal->rlim[RLIMIT_CPU].rlim_max != ~0ul,
	};

	if (info > SEND_SIG_PRIV)
		bpf_probe_read_kernel(&sending.code, sizeof(sending.code),
				      (char *)info + bpf_core_field_offset(struct kernel_siginfo,
									   si_code));
	return sending;
}

static __always_inline void take_sender(struct knell_signal *to, struct task_struct *now)
{
	struct task_struct *parent = now->real_parent;
	struct task_struct *leader = now->group_leader;

	to->known = KNELL_S_PID | KNELL_S_UID | KNELL_S_COMM | KNELL_S_PARENT | KNELL_S_CGROUP;
	to->cgroup = cgroup_of(now);
	to->pid = tgid_nr(now);
	to->ppid = tgid_nr(parent);
	to->uid = now->cred->uid.val;
	copy_comm(to->comm, leader->comm);
	leader = parent->group_leader;
	copy_comm(to->pcomm, leader->comm);
}

static __always_inline void take_signal(struct knell_signal *to, int signo, unsigned long info,
					struct task_struct *target)
{
	struct task_struct *now = followed((struct task_struct *)bpf_get_current_task_btf());
	const struct knell_sending sending = sending_of(signo, info, target, now);

	__builtin_memset(to, 0, sizeof(*to));
	to->time = bpf_ktime_get_boot_ns();
	to->code = sending.code;
	to->reason = knell_reason_of(&sending);
	if (knell_reason_has_sender(to->reason))
		take_sender(to, now);
	to->signo = signo;
}

static __always_inline bool has_default_action(struct task_struct *target, int signo)
{
	unsigned long handler = 1;

	bpf_probe_read_kernel(&handler, sizeof(handler),
			      (char *)BPF_CORE_READ(target, sighand) +
				      bpf_core_field_offset(struct sighand_struct, action) +
				      (unsigned int)(signo - 1) *
					      bpf_core_type_size(struct k_sigaction) +
				      bpf_core_field_offset(struct k_sigaction, sa.sa_handler));
	return handler == 0;
}

/* The kernel holds the target's siglock here, so nobody else writes to these fields. */
static __always_inline void note_signal(struct knell_slot *slot, struct task_struct *target,
					int signo, unsigned long info)
{
	__u32 which;

	if (signo == SIGKILL)
		which = SIGNAL_KILL;
	else if (knell_signal_is_term(signo))
		which = SIGNAL_TERM;
	else if (signo > 0 && signo <= 64 && !knell_signal_is_harmless(signo) &&
		 (knell_signal_is_fault(signo) || has_default_action(target, signo)))
		which = SIGNAL_OTHER;
	else
		return;
	take_signal(&slot->signal[which], signo, info, target);
	slot->signals |= 1u << which;
}

/* What the dying process itself shows of the reason. */
static __always_inline __u32 cause_of(struct task_struct *task)
{
	if (task->signal->oom_mm)
		return KNELL_R_OOM;
	if (task->seccomp.mode == SECCOMP_MODE_DEAD)
		return KNELL_R_SECCOMP;
	return KNELL_R_NONE;
}

static __noinline int BPF_PROG(signalled_watched, int signo, struct kernel_siginfo *info,
			       struct task_struct *target, int group, int result)
{
	__u64 *place = interest_at(target->tgid);
	unsigned long given = 0;
	struct knell_slot *slot;

	if (!place || !*place)
		return 0;
	if (result != TRACE_SIGNAL_DELIVERED && result != TRACE_SIGNAL_LOSE_INFO)
		return 0;
	target = followed(target);
	slot = slot_enter(start_of(target), *place, SLOT_ALIVE);
	if (!slot)
		return 0;
	/* 0 and 1 stand for no siginfo; the verifier believes that a pointer of a tracepoint never
	 * is. */
	bpf_probe_read_kernel(&given, sizeof(given), &ctx[1]);
	note_signal(slot, target, signo, given);
	slot_leave(slot);
	return 0;
}

/* Most signals are a parent's SIGCHLD. */
SEC("tp_btf/signal_generate")
int signalled(__u64 *ctx)
{
	struct task_struct *target = (struct task_struct *)ctx[2];

	if ((int)ctx[0] == SIGCHLD || !may_watch(target->tgid))
		return 0;
	return signalled_watched(ctx);
}

#endif
