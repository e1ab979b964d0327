// SPDX-License-Identifier: GPL-2.0-only
/*
 * task.c - what a task tells about itself, read in a probe: how it is now, whether its process is
 * dead, how it died, what it used.
 *
 * Owns nothing but the counted parent in a struct knell_moment. Nothing here sleeps, allocates or
 * takes a lock.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "engine.h"

/* The task was not released when this RCU section began: that keeps its parent, too. */
void knell_moment_take(struct knell_moment *moment, struct task_struct *task)
{
	const struct cred *cred = rcu_dereference(task->real_cred);
	struct task_struct *parent = rcu_dereference(task->real_parent);
	struct pid *pid = knell_tgid_of(parent->signal);

	moment->time = ktime_get_boottime_ns();
	moment->cpu = raw_smp_processor_id();
	moment->uid = __kuid_val(cred->euid); /* the initial user namespace maps each to itself */
	moment->gid = __kgid_val(cred->egid);
	moment->cgroup = cgroup_id(task_dfl_cgroup(task));
	/* The parent may be dying: its struct pid lives as long as we are in an RCU section. */
	if (pid && !refcount_inc_not_zero(&pid->count))
		pid = NULL;
	moment->parent = pid;
	moment->parent_start = pid ? READ_ONCE(parent->group_leader)->start_boottime : 0;
	memcpy(moment->comm, task->comm, sizeof(moment->comm));
	moment->comm[sizeof(moment->comm) - 1] = '\0';
}

void knell_moment_drop(struct knell_moment *moment)
{
	put_pid(moment->parent);
	moment->parent = NULL;
}

/*
 * May this dying thread tell of its process's death? All threads have left the count of the living;
 * but who left it first may come here last, and the one that left it last may not have written
 * yet what is told: the leader's status, the peak of memory. That is done before a thread gives up
 * its memory. So a thread that still has it is left to do it: it comes here, too. More than one may
 * be told yes; the claim on the watch decides.
 */
bool knell_group_is_dead(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct task_struct *thread;

	if (atomic_read(&signal->live))
		return false;
	if (READ_ONCE(signal->nr_threads) > 1)
		for_each_thread (task, thread)
			if (thread != task && READ_ONCE(thread->mm))
				return false;
	smp_rmb(); /* Pairs with the barrier in exit_mm(), between what is told and mm = NULL. */
	return true;
}

/*
 * User and system time are counted by ticks, their sum exactly: so that is divided in their ratio,
 * as getrusage(2) has it. Not in a probe, which only takes what is there.
 */
void knell_usage_split(struct knell_usage *usage, u64 runtime)
{
	u64 ticks = usage->utime + usage->stime;

	if (!usage->stime)
		usage->stime = 0;
	else if (!usage->utime)
		usage->stime = runtime;
	else
		usage->stime = mul_u64_u64_div_u64(runtime, usage->stime, ticks);
	usage->utime = runtime - usage->stime;
}

static void usage_of_signal(struct knell_usage *usage, const struct signal_struct *signal)
{
	usage->utime = signal->utime;
	usage->stime = signal->stime;
	usage->minflt = signal->min_flt;
	usage->majflt = signal->maj_flt;
	usage->maxrss = (u64)signal->maxrss << PAGE_SHIFT;
}

/* Released threads are in the process's sums, the others are added. False: that just changed. */
static bool usage_now(struct knell_usage *usage, u64 *ret_runtime, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct task_struct *thread;
	unsigned int sequence;
	u64 runtime;

	if (!knell_usage_begin(signal, &sequence))
		return false;
	usage_of_signal(usage, signal);
	runtime = signal->sum_sched_runtime;
	for_each_thread (task, thread) {
		usage->utime += thread->utime;
		usage->stime += thread->stime;
		usage->minflt += thread->min_flt;
		usage->majflt += thread->maj_flt;
		runtime += thread->se.sum_exec_runtime;
	}
	*ret_runtime = runtime;
	return knell_usage_end(signal, sequence);
}

void knell_death_take(struct knell_death *death, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	const struct cred *cred;
	int tries = 3;

	knell_moment_take(&death->at, task);
	/* task may be any thread of the process; the name and the ids are the leader's. */
	memcpy(death->at.comm, task->group_leader->comm, sizeof(death->at.comm));
	death->at.comm[sizeof(death->at.comm) - 1] = '\0';
	cred = rcu_dereference(task->group_leader->real_cred);
	death->at.uid = __kuid_val(cred->euid);
	death->at.gid = __kgid_val(cred->egid);
	if (signal->flags & SIGNAL_GROUP_EXIT)
		death->status = signal->group_exit_code;
	else
		death->status = task->group_leader->exit_code;
	death->status &= 0xffff;
	death->unknown = 0;
	death->reason = knell_cause_of(task);
	while (tries && !usage_now(&death->usage, &death->runtime, task))
		tries--;
	if (!tries) {
		memset(&death->usage, 0, sizeof(death->usage));
		death->runtime = 0;
		death->usage.maxrss = (u64)signal->maxrss << PAGE_SHIFT;
		death->unknown |= KNELL_U_TIMES | KNELL_U_FAULTS;
	}
}

void knell_death_copy(struct knell_death *death, const struct knell_death *from)
{
	*death = *from;
	if (death->at.parent)
		get_pid(death->at.parent);
}

/*
 * Of a process that was dead when somebody asked for it, and is not released. Who sent the signal,
 * and when it died, is not known; nor what it used while a thread of it may still be dying.
 */
void knell_death_take_late(struct knell_death *death, struct task_struct *leader)
{
	knell_death_take(death, leader);
	if (READ_ONCE(leader->signal->nr_threads) == 1 && READ_ONCE(leader->exit_state))
		return;
	memset(&death->usage, 0, sizeof(death->usage));
	death->runtime = 0;
	death->unknown |= KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;
}

/* Of a process that was released: nobody changes it any more. */
void knell_usage_final(struct knell_usage *usage, u64 *ret_runtime,
		       const struct signal_struct *signal)
{
	usage_of_signal(usage, signal);
	*ret_runtime = signal->sum_sched_runtime;
}
