/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * adopt.h - taking in those that live already, by the kernel's task iterator or because they pass a
 * stream's filter only now: stored first, then checked.
 */
#ifndef KNELL_ADOPT_H
#define KNELL_ADOPT_H

#include "maps.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "birth.h"
#include "death.h"
#include "record.h"

/*
 * Takes in a process that was born unwatched. Stored first, then checked: if it is dead by then its
 * exit program may have run before it could see the entry, and its death is told from here; the
 * slot's state decides who tells it.
 */
static __always_inline __u32 take_in(const struct origin *from, struct task_struct *task)
{
	__u64 *place = interest_at(task->tgid);
	struct knell_slot *slot;
	__u64 entry, old;
	__u32 index;

	if (!place)
		return 0;
	old = *place;
	/* It was born while the iterator looked: then it is in. */
	if (slot_of(start_of(task), old))
		return KNELL_INTEREST_SLOT(old);
	if (KNELL_INTEREST_SLOT(old) && !(old & KNELL_ARMED))
		retire(old);
	index = settle(from, task, 0);
	slot = slot_at(index);
	if (!slot)
		return 0;
	entry = KNELL_INTEREST(from->watch, index);
	hint_number(task->tgid);
	if (__sync_val_compare_and_swap(place, old, entry) != old) {
		slot->state = SLOT_FREE;
		slot_put(slot->pool, index);
		return 0;
	}
	tell(index, SLOT_BORN);
	if (task->signal->live.counter == 0) {
		slot->flags |= SLOT_FOUND_DEAD;
		tell_death(place, entry, task);
	}
	return index;
}

/* The slot of a process that the stream tells of from now on, if it passes only now. */
static __always_inline struct knell_slot *follow(struct task_struct *task, const char *name)
{
	struct origin from = { .watch = KNELL_WATCH_STREAM, .slot_flags = SLOT_FOUND };

	if (!stream || !filter.match || !passes(task, name))
		return NULL;
	return slot_at(take_in(&from, task));
}

/* Tells of a process without a slot that it lives, through the iterator's own output. */
static __always_inline void tell_alive(struct bpf_iter__task *ctx, struct task_struct *task,
				       __u32 home);

/* Unless its reaper gives the slot back meanwhile: then it is another process's soon. */
static __always_inline void change_flags(struct task_struct *task, __u64 entry)
{
	struct knell_slot *slot = slot_enter_any(start_of(task), entry);

	if (!slot)
		return;
	slot->flags |= order.slot_flags & ~SLOT_QUIET;
	if (!(order.slot_flags & SLOT_QUIET))
		slot->flags &= ~SLOT_QUIET;
	slot_leave(slot);
}

SEC("iter/task")
int adopt(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task ? followed(ctx->task) : NULL;
	struct origin from = { .watch = order.watch, .slot_flags = order.slot_flags | SLOT_FOUND };
	struct knell_slot *slot;
	__u64 *place, entry;
	__u32 index;

	if (!task || task->pid != task->tgid)
		return 0;
	place = interest_at(task->tgid);
	if (!place)
		return 0;
	entry = *place;
	if (slot_of(start_of(task), entry)) { /* it is in */
		change_flags(task, entry);
		order.slot = KNELL_INTEREST_SLOT(entry);
		order.start = start_of(task);
		return 0;
	}
	if (order.mode == ADOPT_CHILDREN) {
		struct task_struct *parent = task->real_parent;
		__u64 *above = interest_at(parent->tgid);

		slot = above ? slot_of(start_of(parent), *above) : NULL;
		if (!slot || !(slot->flags & SLOT_INHERIT))
			return 0;
		from.watch = slot->watch;
		from.creator = KNELL_INTEREST_SLOT(*above);
	} else if (order.mode == ADOPT_STREAM) {
		if (!passes(task, task->comm))
			return 0;
	} else if (order.mode == ADOPT_LOST) {
		if (!entry || KNELL_INTEREST_SLOT(entry))
			return 0;
		from.watch = KNELL_INTEREST_WATCH(entry);
	}
	index = take_in(&from, task);
	if (index) {
		order.slot = index;
		order.start = start_of(task);
		order.adopted++;
		return 0;
	}
	order.refused++;
	if (order.mode == ADOPT_LOST)
		tell_alive(ctx, task, home_of(task->tgid));
	return 0;
}

static __always_inline void tell_alive(struct bpf_iter__task *ctx, struct task_struct *task,
				       __u32 home)
{
	struct {
		__u8 head[KNELL_EVENT_HEAD];
		struct knell_clone clone;
	} record = { 0 };
	struct knell_event *event = (struct knell_event *)&record;

	fill_head(event, task, 0, home, KNELL_CLONE, KNELL_PROCESS);
	event->size = sizeof(record);
	event->flags = KNELL_F_RECONCILED;
	event->unknown = KNELL_U_FLAGS;
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
}

#endif
