/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * death.h - a process dies, and later the kernel frees it: its slot says how and with what it used.
 * One thread wins the election by slot state, tells, and does not touch the slot any more.
 */
#ifndef KNELL_DEATH_H
#define KNELL_DEATH_H

#include "maps.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "hint.h"
#include "record.h"
#include "signal.h"

/* A leader that dies because another of its threads runs exec, and becomes the leader. */
static __always_inline bool is_replaced(struct task_struct *task)
{
	struct task_struct *heir = task->signal->group_exec_task;

	return task->pid == task->tgid && heir && heir != task;
}

static __always_inline void tell_thread_death(struct task_struct *task, __u64 entry)
{
	struct knell_event *event;
	struct knell_raw_usage usage = { 0 };
	__u32 home;
	void *ring;

	event = thread_record(task, entry, &home, &ring, KNELL_EXIT,
			      KNELL_EVENT_HEAD + sizeof(struct knell_exit));
	if (!event)
		return;
	__builtin_memset(&event->u.exit, 0, sizeof(event->u.exit));
	add_thread(&usage, task);
	event->u.exit.status = task->exit_code;
	event->u.exit.usage.utime = usage.utime;
	event->u.exit.usage.stime = usage.stime;
	event->u.exit.usage.minflt = usage.minflt;
	event->u.exit.usage.majflt = usage.majflt;
	event->unknown |= KNELL_U_RSS | KNELL_U_CAUSE | KNELL_U_TERM;
	if (is_replaced(task))
		event->flags |= KNELL_F_REPLACED;
	submit(event, home, ring);
}

/* Status of a process: what exit_group or a deadly signal set, else what its leader left. */
static __always_inline int status_of(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return task->group_leader->exit_code;
}

/*
 * The kernel's peak of a process counts the memory of what it was forked from: a shell's child
 * would seem as large as the shell. So a peak that is not above what it was at the first exec is
 * not this program's, and what its memory itself says now is taken; before 6.16 that is gone by
 * then.
 */
static __always_inline void better_peak(struct knell_slot *slot, struct knell_raw_usage *usage,
					__u64 now)
{
	if (slot->execed && usage->maxrss <= slot->fork_rss)
		usage->maxrss = now ? now : KNELL_RSS_UNKNOWN;
	else if (now > usage->maxrss)
		usage->maxrss = now;
}

static __always_inline void tell_death(__u64 *place, __u64 entry, struct task_struct *task)
{
	__u32 index = KNELL_INTEREST_SLOT(entry);
	struct knell_slot *slot;

	if (!index) {
		struct knell_watch_entry *watch = watch_at(KNELL_INTEREST_WATCH(entry));

		/* Before 6.16 several threads may come here: one of them counts. */
		if (watch && __sync_val_compare_and_swap(place, entry, 0) == entry) {
			__u32 home = home_of(task->tgid);
			struct knell_head *head = head_at(home);

			__sync_fetch_and_add(&watch->lost_deaths, 1);
			if (head)
				wake(home, head, false);
		}
		return;
	}
	slot = slot_of(start_of(task), entry);
	if (!slot)
		return;
	if (__sync_val_compare_and_swap(&slot->state, SLOT_ALIVE, SLOT_DYING) != SLOT_ALIVE)
		return;
	take_moment(&slot->death, task, bpf_ktime_get_boot_ns());
	slot->status = status_of(task);
	slot->cause = cause_of(task);
	take_usage(&slot->usage, task);
	add_threads(&slot->usage, task);
	better_peak(slot, &slot->usage, peak_rss(task));
	publish(&slot->state, SLOT_DEAD);
	tell(index, SLOT_EXIT);
}

static __always_inline int on_exit(struct task_struct *task, bool group_dead)
{
	__u64 *place = interest_at(task->tgid);
	__u64 entry;

	if (!place || !*place)
		return 0;
	entry = *place;
	if (entry & KNELL_ARMED)
		return 0;
	/* The leader's life is the process's, but for one that exec by another thread replaces. */
	if (want_threads && (task->pid != task->tgid || is_replaced(task)) &&
	    (!KNELL_INTEREST_SLOT(entry) || slot_of(start_of(task), entry)))
		tell_thread_death(task, entry);
	if (group_dead)
		tell_death(place, entry, task);
	return 0;
}

/*
 * From 6.16 on the tracepoint says which thread is the last. Before, each thread that finds no
 * other alive nominates the process, and tell_death() elects one. The kernel that loads the program
 * has one of the two: the other branch is never looked at.
 */
static __noinline int died_watched(__u64 *ctx)
{
	struct task_struct *task = followed((struct task_struct *)ctx[0]);

	if (bpf_core_type_exists(btf_trace_sched_process_exit))
		return on_exit(task, ctx[1] & 1);
	return on_exit(task, task->signal->live.counter == 0);
}

SEC("tp_btf/sched_process_exit")
int died(__u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];

	return may_watch(task->tgid) ? died_watched(ctx) : 0;
}

/* The kernel skipped our exit program: the death is certain all the same. */
static __always_inline void tell_missed(struct knell_slot *slot, __u32 index,
					struct task_struct *task)
{
	if (!slot ||
	    __sync_val_compare_and_swap(&slot->state, SLOT_ALIVE, SLOT_DYING) != SLOT_ALIVE)
		return;
	slot->death = slot->birth;
	slot->death.time = bpf_ktime_get_boot_ns();
	slot->status = status_of(task);
	slot->cause = cause_of(task);
	take_usage(&slot->usage, task);
	publish(&slot->state, SLOT_DEAD);
	tell(index, SLOT_EXIT);
}

static __noinline int BPF_PROG(freed_watched, struct task_struct *task)
{
	struct knell_slot *slot;
	__u64 *place, entry, start, runtime;
	__u32 index;

	if (!may_well_watch_task((const void *)task))
		return 0;
	place = interest_at(task->tgid);
	/* Cold by now, all of it: fetched before anything waits for something else. Every thread is
	 * released, and has left its time behind: the sum is final. */
	task = followed(task);
	start = task->start_boottime;
	runtime = task->signal->sum_sched_runtime;
	if (!place || !*place || task->pid != task->tgid)
		return 0;
	entry = *place;
	index = KNELL_INTEREST_SLOT(entry);
	if (entry & KNELL_ARMED)
		return 0;
	slot = slot_enter(start, entry, SLOT_DEAD);
	if (!slot) {
		tell_missed(slot_of(start, entry), index, task);
		slot = slot_enter(start, entry, SLOT_DEAD);
	}
	if (!slot)
		return 0;
	slot->freed.time = bpf_ktime_get_boot_ns();
	slot->freed.runtime = runtime;
	slot->flags |= SLOT_FREE_USAGE;
	tell(index, SLOT_FREED); /* the reaper clears the entry when it gives the slot back */
	slot_leave(slot);
	return 0;
}

SEC("tp_btf/sched_process_free")
int freed(__u64 *ctx)
{
	return may_watch_task((void *)ctx[0]) ? freed_watched(ctx) : 0;
}

#endif
