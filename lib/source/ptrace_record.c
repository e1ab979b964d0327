/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace_record.c - the tracer's end of the queue: makes records, pushes them, wakes the engine's
 * thread, and waits where that one does not keep up. Owns the accounts of what was lost: only for
 * want of memory can anything be.
 */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "ptrace.h"

/* What may wait in the queue. Beyond it the tasks wait: nothing is dropped. */
#define MAX_QUEUED (16u << 20)

static uint32_t payload_of(enum knell_kind kind)
{
	switch (kind) {
	case KNELL_CLONE:
		return sizeof(struct knell_clone);
	case KNELL_EXEC:
		return sizeof(struct knell_exec);
	case KNELL_EXIT:
		return sizeof(struct knell_exit);
	default:
		return 0;
	}
}

/* No name is kept as an empty one. */
void knell_pt_fill_comm(const struct pt_process *process, struct knell_event *event)
{
	memcpy(event->comm, process->comm, sizeof(event->comm));
	if (event->comm[0])
		event->unknown &= ~KNELL_U_COMM;
	else
		event->unknown |= KNELL_U_COMM;
}

/* Starts the next record in source->scratch: everything but its payload, which is zero. */
struct knell_event *knell_pt_begin(struct pt_source *source, enum knell_kind kind,
				   enum knell_scope scope, const struct pt_task *task)
{
	const struct pt_process *process = task->process;
	struct knell_event *event = &source->scratch.event;

	memset(event, 0, sizeof(*event));
	event->size = KNELL_EVENT_HEAD + payload_of(kind);
	event->kind = (__u8)kind;
	event->scope = (__u8)scope;
	event->flags = KNELL_F_START_STAMP;
	if (process->root && scope == KNELL_PROCESS)
		event->flags |= KNELL_F_ROOT;
	/* Ids may change unseen, and a cgroup and a CPU are nowhere in what ptrace tells. */
	event->unknown = KNELL_U_UID | KNELL_U_GID | KNELL_U_CGROUP | KNELL_U_CPU;
	event->time = knell_now();
	event->task.start = task->start;
	event->task.tid = (__u32)task->tid;
	event->task.tgid = (__u32)process->leader.tid;
	knell_pt_fill_comm(process, event);
	knell_pt_fill_parent(source, process, event);
	return event;
}

/*
 * Makes the timer fire: now, or for a stream when a batch has passed since the queue was last
 * emptied, which is at once after a quiet time. Call it after the push: the other side clears
 * `armed` before it empties the queue, so whatever it does not find there has armed the timer
 * again.
 */
void knell_pt_wake(struct pt_source *source, bool now)
{
	unsigned int was = __atomic_load_n(&source->armed, __ATOMIC_SEQ_CST);
	uint64_t due, time;

	if (was == PT_ARMED_NOW || (was == PT_ARMED_BATCH && !now))
		return;
	__atomic_store_n(&source->armed, now ? PT_ARMED_NOW : PT_ARMED_BATCH, __ATOMIC_SEQ_CST);
	time = knell_now();
	due = __atomic_load_n(&source->dispatched, __ATOMIC_RELAXED) + source->batch;
	clock_set_timer(source->timer, 0, now || due <= time ? 1 : due - time);
}

static bool push(struct pt_source *source, const struct pt_item *from, const void *event)
{
	struct pt_item *item = malloc(from->bytes);
	size_t queued;

	if (!item)
		return false;
	memcpy(item, from, offsetof(struct pt_item, event));
	if (event)
		memcpy(&item->event, event, from->bytes - offsetof(struct pt_item, event));
	queued = __atomic_add_fetch(&source->queued, from->bytes, __ATOMIC_SEQ_CST);
	knell_queue_push(&source->queue, &item->node);
	if (queued > MAX_QUEUED / 2)
		knell_pt_wake(source, true);
	return true;
}

static void count_lost(struct knell_gap *gap, const struct knell_event *event)
{
	gap->cause = KNELL_GAP_RING;
	if (event->scope == KNELL_PROCESS && event->kind == KNELL_CLONE)
		gap->births++;
	else if (event->scope == KNELL_PROCESS && event->kind == KNELL_EXIT)
		gap->deaths++;
	else
		gap->others++;
}

static void commit(struct pt_source *source, bool now)
{
	struct knell_event *event = &source->scratch.event;
	uint32_t size = (event->size + 7u) & ~7u;
	struct pt_item item = { .kind = PT_EVENT };

	memset(source->scratch.bytes + event->size, 0, size - event->size);
	event->size = size;
	item.bytes = (uint32_t)offsetof(struct pt_item, event) + size;
	if (!push(source, &item, event))
		count_lost(&source->gap, event);
	knell_pt_wake(source, now);
}

/* Hands over the record that knell_pt_begin() started. */
void knell_pt_commit(struct pt_source *source)
{
	commit(source, false);
}

void knell_pt_commit_now(struct pt_source *source)
{
	commit(source, true);
}

/*
 * In the same queue as the records, so that nobody is told of a child that was reaped before its
 * last record was delivered.
 */
void knell_pt_push_reap(struct pt_source *source, pid_t pid, int status, bool now)
{
	struct pt_item item = {
		.kind = PT_REAP,
		.pid = pid,
		.status = status,
		.bytes = (uint32_t)offsetof(struct pt_item, event),
	};

	if (!push(source, &item, NULL)) {
		source->gap.cause = KNELL_GAP_RING;
		source->gap.others++;
	}
	knell_pt_wake(source, now);
}

/*
 * With the lock held. Requests are served while the queue is full: who makes one is the thread that
 * would empty it.
 */
void knell_pt_wait_for_room(struct pt_source *source)
{
	if (__atomic_load_n(&source->queued, __ATOMIC_RELAXED) <= MAX_QUEUED)
		return;
	while (!source->stop && !(source->request && !source->request->done)) {
		/* Set before the look: who empties the queue looks the other way round. */
		__atomic_store_n(&source->no_room, true, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&source->queued, __ATOMIC_SEQ_CST) <= MAX_QUEUED)
			break;
		knell_pt_wake(source, true);
		pthread_cond_wait(&source->tracer_wakes, &source->lock);
	}
	__atomic_store_n(&source->no_room, false, __ATOMIC_SEQ_CST);
}
