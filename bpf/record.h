/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * record.h - what goes into a ring: the head of every full record, and records about one thread.
 * Births and deaths of processes are in slots instead: see slot.h.
 */
#ifndef KNELL_RECORD_H
#define KNELL_RECORD_H

#include "slot.h"
#include "task.h"

static __always_inline void count_lost(__u32 home)
{
	struct knell_head *head = head_at(home);

	if (head)
		__sync_fetch_and_add(&head->lost, 1);
}

/* What every full record has. `task` is the thread or, for a process, any thread of it. */
static __always_inline void fill_head(struct knell_event *event, struct task_struct *task,
				      __u64 entry, __u32 home, __u8 kind, __u8 scope)
{
	const struct cred *cred = task->cred;
	struct task_struct *leader = task->group_leader;

	event->version = KNELL_EVENT_VERSION;
	event->kind = kind;
	event->scope = scope;
	event->reserved = 0;
	event->flags = 0;
	event->unknown = 0;
	event->time = bpf_ktime_get_boot_ns();
	event->seq = 0;
	event->ring = home;
	event->cpu = bpf_get_smp_processor_id();
	if (scope == KNELL_THREAD)
		thread_id(&event->task, task);
	else
		process_id(&event->task, task);
	process_id(&event->parent, leader->real_parent);
	event->uid = cred->euid.val;
	event->gid = cred->egid.val;
	event->cgroup = cgroup_of(task);
	event->cookie = KNELL_INTEREST_SLOT(entry); /* the library puts the watch's cookie here */
	copy_comm(event->comm, task->comm);
}

/* A record about one thread; its process is watched. */
static __always_inline struct knell_event *thread_record(struct task_struct *task, __u64 entry,
							 __u32 *ret_home, void **ret_ring,
							 __u8 kind, const __u32 size)
{
	struct knell_slot *slot = slot_of(start_of(task), entry);
	__u32 home = slot ? slot->home : home_of(task->tgid);
	void *ring = bpf_map_lookup_elem(&rings, &home);
	struct knell_event *event;

	if (!ring)
		return NULL;
	event = bpf_ringbuf_reserve(ring, size, 0);
	if (!event) {
		count_lost(home);
		return NULL;
	}
	fill_head(event, task, entry, home, kind, KNELL_THREAD);
	event->size = size;
	*ret_home = home;
	*ret_ring = ring;
	return event;
}

static __always_inline void submit(struct knell_event *event, __u32 home, void *ring)
{
	struct knell_head *head = head_at(home);

	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	if (head)
		wake_for_ring(home, head, ring);
}

#endif
