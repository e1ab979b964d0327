/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * exec.h - a process runs another program, or gets another name.
 */
#ifndef KNELL_EXEC_H
#define KNELL_EXEC_H

#include "maps.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "adopt.h"
#include "hint.h"
#include "record.h"

static __always_inline __u32 read_args(struct exec_scratch *record, __u32 at,
				       struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	unsigned long start = mm->arg_start;
	__u32 total = (__u32)(mm->arg_end - start);
	__u32 n = total;

	record->exec.args_total = total;
	if (n > EXEC_ARGS_MAX)
		n = EXEC_ARGS_MAX;
	if (at > EXEC_FILE_MAX)
		return 0;
	if (bpf_probe_read_user(record->data + at, n, (void *)start) < 0)
		return 0;
	return n;
}

static __noinline int BPF_PROG(execed_watched, struct task_struct *task, int old_pid,
			       struct linux_binprm *bprm)
{
	__u64 *place = interest_at(task->tgid);
	struct knell_event *event;
	struct exec_scratch *record;
	struct knell_slot *slot;
	__u32 zero = 0, home, size, args = 0;
	long file;
	void *ring;

	if (!place || (!stream && !*place))
		return 0;
	task = followed(task);
	hint_leader(task); /* it may have become the leader by this */
	slot = slot_of(start_of(task), *place);
	if (!slot && (!*place || KNELL_INTEREST_SLOT(*place)))
		slot = follow(task, task->comm);
	if (!slot && (!*place || KNELL_INTEREST_SLOT(*place)))
		return 0;
	if (slot && !slot->execed) {
		slot->execed = 1;
		slot->fork_rss = task->signal->maxrss * page_size;
	}
	home = slot ? slot->home : home_of(task->tgid);
	record = bpf_map_lookup_elem(&scratch, &zero);
	ring = bpf_map_lookup_elem(&rings, &home);
	if (!record || !ring)
		return 0;

	event = (struct knell_event *)record;
	fill_head(event, task, *place, home, KNELL_EXEC, KNELL_PROCESS);
	if (slot && slot->flags & SLOT_ROOT)
		event->flags |= KNELL_F_ROOT;
	/* Its number in another namespace went with the thread that exec replaced. */
	record->exec.old_tid = old_pid == task->pid ? tid_nr(task) : ns_level ? 0 : old_pid;
	record->exec.args_total = 0;
	file = bpf_probe_read_kernel_str(record->data, EXEC_FILE_MAX, bprm->filename);
	if (file <= 0 || file > EXEC_FILE_MAX) {
		record->data[0] = 0;
		file = 1;
		event->unknown |= KNELL_U_FILE;
	}
	record->exec.file_len = file - 1;
	if (want_args) {
		args = read_args(record, file, task);
		if (!args)
			event->unknown |= KNELL_U_ARGS;
		else if (args < record->exec.args_total)
			event->flags |= KNELL_F_TRUNCATED;
	} else {
		event->unknown |= KNELL_U_ARGS;
	}
	record->exec.args_len = args;
	size = (KNELL_EVENT_HEAD + sizeof(struct knell_exec) + file + args + 7) & ~7u;
	event->size = size;
	if (size > sizeof(*record))
		return 0;
	if (bpf_ringbuf_output(ring, record, size, BPF_RB_NO_WAKEUP) < 0) {
		count_lost(home);
	} else {
		struct knell_head *head = head_at(home);

		if (head)
			wake_for_ring(home, head, ring);
	}
	return 0;
}

SEC("tp_btf/sched_process_exec")
int execed(__u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];

	return may_watch(task->tgid) ? execed_watched(ctx) : 0;
}

/* Keeps the name in the slot, so that nobody needs to ask /proc for it. */
static __noinline int BPF_PROG(renamed_watched, struct task_struct *task, const char *comm)
{
	__u64 *place = interest_at(task->tgid);
	struct knell_slot *slot;

	if (!place || (!stream && !*place) || task->pid != task->tgid)
		return 0;
	task = followed(task);
	slot = slot_enter(start_of(task), *place, SLOT_ALIVE);
	if (slot) {
		copy_comm(slot->comm, comm);
		slot_leave(slot);
		return 0;
	}
	slot = filter.match & MATCH_COMM ? follow(task, comm) : NULL;
	if (slot)
		copy_comm(slot->comm, comm);
	return 0;
}

SEC("tp_btf/task_rename")
int renamed(__u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];

	return may_watch(task->tgid) ? renamed_watched(ctx) : 0;
}

#endif
