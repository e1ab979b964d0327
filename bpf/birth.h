/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * birth.h - a process is born: it gets a slot if its creator is watched with all its descendants,
 * if it was armed for, or if the stream's filter lets it pass. Late in fork, when nothing can fail
 * any more, and before the child can run.
 */
#ifndef KNELL_BIRTH_H
#define KNELL_BIRTH_H

#include "maps.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <linux/sched.h>

#include "hint.h"
#include "record.h"

/* The number was used before by a process that the kernel has released, but not yet freed. */
static __always_inline void retire(__u64 entry)
{
	__u32 index = KNELL_INTEREST_SLOT(entry);
	struct knell_slot *slot = slot_at(index);

	if (!slot)
		return;
	if (__sync_val_compare_and_swap(&slot->state, SLOT_ALIVE, SLOT_DYING) == SLOT_ALIVE) {
		slot->flags |= SLOT_MISSED;
		slot->death = slot->birth;
		slot->death.time = bpf_ktime_get_boot_ns();
		slot->state = SLOT_DEAD;
		tell(index, SLOT_EXIT | SLOT_RETIRED);
	} else {
		tell(index, SLOT_RETIRED);
	}
}

static __always_inline void fill_birth(struct knell_slot *slot, struct task_struct *child,
				       __u64 clone_flags)
{
	process_id(&slot->task, child);
	take_moment(&slot->birth, child, child->start_boottime);
	slot->clone_flags = clone_flags;
	slot->exit_signal = child->exit_signal;
	leader_comm(slot->comm, child->group_leader);
	slot->signals = 0;
	slot->pending = 0;
	slot->execed = 0;
	slot->interest = child->tgid;
	hint_leader(child->group_leader);
}

/* Where a process gets its slot from, and what with it. */
struct origin {
	__u32 watch;
	__u32 slot_flags;
	__u32 root;    /* the slot that was kept for it; 0: any */
	__u32 creator; /* the slot of its creator; 0: not watched */
};

static __always_inline void count_birth_lost(__u32 watch_index, __u32 tgid)
{
	struct knell_watch_entry *watch = watch_at(watch_index);
	__u32 home = home_of(tgid);
	struct knell_head *head = head_at(home);

	if (watch)
		__sync_fetch_and_add(&watch->lost_births, 1);
	if (head)
		wake(home, head, false);
}

/* A slot for this process, filled in and alive; 0 if none is left. Nothing is allocated. */
static __always_inline __u32 settle(const struct origin *from, struct task_struct *child,
				    __u64 clone_flags)
{
	__u64 taken = from->root ? from->root : slot_take();
	struct knell_slot *slot = slot_at((__u32)taken);
	struct knell_slot *creator = slot_at(from->creator);

	if (!slot)
		return 0;
	slot->flags = from->slot_flags;
	slot->watch = from->watch;
	slot->home = bpf_get_smp_processor_id() % cpu_count;
	if (!from->root)
		slot->pool = taken >> 32;
	slot->creator_slot = creator ? from->creator : 0;
	slot->creator_start = creator ? creator->task.start : 0;
	fill_birth(slot, child, clone_flags);
	/* Whoever sees it alive sees its birth. */
	publish(&slot->state, SLOT_ALIVE);
	return (__u32)taken;
}

/* A child of a watched process, or one that the stream tells of. It cannot run before we return. */
static __always_inline int inherit(const struct origin *from, struct task_struct *child,
				   __u64 clone_flags)
{
	__u64 *place = interest_at(child->tgid);
	__u64 old, entry;
	__u32 index;

	if (!place) { /* pid_max was raised after we started */
		struct knell_watch_entry *watch = watch_at(from->watch);

		if (watch)
			__sync_fetch_and_add(&watch->lost_deaths, 1);
		count_birth_lost(from->watch, child->tgid);
		return 0;
	}
	/* The task iterator sees a child before we come, and may have taken it in. */
	old = *place;
	if (old && slot_of(start_of(child), old))
		return 0;
	if (old)
		retire(old);
	index = settle(from, child, clone_flags);
	hint_number(child->tgid);
	entry = KNELL_INTEREST(from->watch, index);
	if (__sync_val_compare_and_swap(place, old, entry) != old) {
		if (!from->root) { /* it did so meanwhile */
			struct knell_slot *slot = slot_at(index);

			if (slot) {
				slot->state = SLOT_FREE;
				slot_put(slot->pool, index);
			}
			return 0;
		}
		*place = entry;
	}
	if (index)
		tell(index, SLOT_BORN);
	else
		count_birth_lost(from->watch, child->tgid);
	return 0;
}

/* <knell/knell.h> is not for BPF. */
#define MATCH_UID    (1u << 0)
#define MATCH_CGROUP (1u << 1)
#define MATCH_COMM   (1u << 2)

/* Does the stream's filter let it pass, as it is now, with this name? */
static __always_inline bool passes(struct task_struct *task, const char *name)
{
	char comm[KNELL_COMM_LEN];

	if (filter.match & MATCH_UID && task->cred->euid.val != filter.uid)
		return false;
	if (filter.match & MATCH_CGROUP && cgroup_of(task) != filter.cgroup)
		return false;
	if (!(filter.match & MATCH_COMM))
		return true;
	copy_comm(comm, name);
	for (int i = 0; i < KNELL_COMM_LEN; i++) {
		if (comm[i] != filter.comm[i])
			return false;
		if (!comm[i])
			return true;
	}
	return true;
}

static __always_inline void tell_thread_birth(struct task_struct *task, __u64 entry,
					      __u64 clone_flags)
{
	struct knell_event *event;
	__u32 home;
	void *ring;

	event = thread_record(task, entry, &home, &ring, KNELL_CLONE,
			      KNELL_EVENT_HEAD + sizeof(struct knell_clone));
	if (!event)
		return;
	event->u.clone.flags = clone_flags;
	event->u.clone.exit_signal = 0;
	event->u.clone.reserved = 0;
	submit(event, home, ring);
}

/* The thread that forks now is the one that the root's slot is kept for. */
static __always_inline bool is_armed_for(__u64 entry, __u32 tid)
{
	struct knell_watch_entry *watch = watch_at(KNELL_INTEREST_WATCH(entry));

	return watch && watch->armed_tid == tid;
}

static __noinline int BPF_PROG(born_watched, struct task_struct *child, unsigned long clone_flags)
{
	__u64 ids = bpf_get_current_pid_tgid();
	__u64 *place = interest_at(ids >> 32);
	struct origin from = { 0 };
	struct knell_slot *creator;
	__u64 entry;

	if (!stream && (!place || !*place))
		return 0;
	child = followed(child);
	entry = place ? *place : 0;
	creator = slot_of(start_of(followed((struct task_struct *)bpf_get_current_task_btf())),
			  entry);
	if (child->pid != child->tgid) {
		if (want_threads && (creator || (entry && !KNELL_INTEREST_SLOT(entry))))
			tell_thread_birth(child, entry, clone_flags);
		return 0;
	}
	if (entry & KNELL_ARMED && is_armed_for(entry, (__u32)ids)) {
		from.watch = KNELL_INTEREST_WATCH(entry);
		from.root = KNELL_INTEREST_SLOT(entry);
		from.slot_flags = SLOT_ROOT | SLOT_INHERIT;
		*place = 0;
	} else if (creator && creator->flags & SLOT_INHERIT) {
		from.watch = creator->watch;
		from.creator = KNELL_INTEREST_SLOT(entry);
		from.slot_flags = SLOT_INHERIT;
	} else if (entry && !(entry & KNELL_ARMED) && !KNELL_INTEREST_SLOT(entry)) {
		from.watch = KNELL_INTEREST_WATCH(entry); /* its creator found no slot */
		from.slot_flags = SLOT_INHERIT;
	} else if (stream && passes(child, child->comm)) {
		from.watch = KNELL_WATCH_STREAM;
		from.creator = creator ? KNELL_INTEREST_SLOT(entry) : 0;
	} else {
		return 0;
	}
	return inherit(&from, child, clone_flags);
}

SEC("tp_btf/task_newtask")
int born(__u64 *ctx)
{
	struct task_struct *creator = followed((struct task_struct *)ctx[0])->real_parent;

	if (ctx[1] & (CLONE_PARENT | CLONE_THREAD)) /* it is a sibling of its creator */
		creator = (struct task_struct *)bpf_get_current_task_btf();
	return may_watch(creator->tgid) ? born_watched(ctx) : 0;
}

#endif
