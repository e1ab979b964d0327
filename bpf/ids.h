/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ids.h - a task's user and group ids change: old and new, in the record of the task that does it.
 */
#ifndef KNELL_IDS_H
#define KNELL_IDS_H

#include "maps.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "hint.h"
#include "record.h"

static __always_inline void tell_ids(struct task_struct *task, __u32 index, __u8 kind,
				     const struct knell_ids *ids)
{
	struct knell_slot *slot = slot_at(index);
	__u32 home = slot ? slot->home : 0;
	void *ring = bpf_map_lookup_elem(&rings, &home);
	const __u32 size = KNELL_EVENT_HEAD + sizeof(*ids);
	bool leader = task->pid == task->tgid;
	struct knell_event *event;

	if (!slot || !ring || (!leader && !want_threads))
		return;
	event = bpf_ringbuf_reserve(ring, size, 0);
	if (!event) {
		count_lost(home);
		return;
	}
	fill_head(event, task, index, home, kind, leader ? KNELL_PROCESS : KNELL_THREAD);
	event->size = size;
	event->u.ids = *ids;
	if (kind == KNELL_UID)
		event->uid = ids->effective;
	else
		event->gid = ids->effective;
	submit(event, home, ring);
}

#define IDS(what, new, old)                                                                        \
	{                                                                                          \
		new->what.val, new->e##what.val, new->s##what.val, new->fs##what.val,              \
			old->what.val, old->e##what.val, old->s##what.val, old->fs##what.val       \
	}

static __always_inline bool ids_differ(const struct knell_ids *ids)
{
	return ids->real != ids->old_real || ids->effective != ids->old_effective ||
	       ids->saved != ids->old_saved || ids->fs != ids->old_fs;
}

/* Loaded where the kernel allows BPF trampolines. The caller is the task whose ids change. */
SEC("fentry/commit_creds")
int BPF_PROG(recredited, struct cred *new)
{
	struct task_struct *task = followed((struct task_struct *)bpf_get_current_task_btf());
	__u64 *place = interest_at(task->tgid);
	const struct cred *old;
	struct knell_slot *slot;

	if (!place || !*place)
		return 0;
	slot = slot_of(start_of(task), *place);
	if (!slot)
		return 0;
	old = task->real_cred;
	struct knell_ids uids = IDS(uid, new, old);
	if (ids_differ(&uids))
		tell_ids(task, KNELL_INTEREST_SLOT(*place), KNELL_UID, &uids);
	struct knell_ids gids = IDS(gid, new, old);
	if (ids_differ(&gids))
		tell_ids(task, KNELL_INTEREST_SLOT(*place), KNELL_GID, &gids);
	return 0;
}

#endif
