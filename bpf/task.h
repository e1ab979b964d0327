/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * task.h - what the kernel knows of a task at this moment: numbers in the reader's pid namespace,
 * identity, credentials, cgroup, and what the whole process has used so far.
 *
 * Only the task's own plain fields are read directly. Pointers are followed by BPF_CORE_READ: some
 * nanoseconds slower, but for each one followed directly the verifier searches the kernel's whole
 * type information (2-3 ms each; 150 ms of start-up were spent so).
 */
#ifndef KNELL_TASK_H
#define KNELL_TASK_H

#include <bpf/bpf_core_read.h>

#include "maps.h"

/* Threads of one process that are counted one by one at its death; of more, usage is a minimum. */
#define USAGE_THREADS 65536

/* 0: it has no number in our namespace. */
static __always_inline __u32 pid_in_ns(struct pid *pid, __u32 global)
{
	struct upid number = { 0 };
	struct pid_namespace *ns;
	__u32 level = ns_level;

	if (level == 0)
		return global;
	if (!pid || BPF_CORE_READ(pid, level) < level || level > 32)
		return 0;
	bpf_probe_read_kernel(&number, bpf_core_type_size(struct upid),
			      (char *)pid + bpf_core_field_offset(struct pid, numbers) +
				      level * bpf_core_type_size(struct upid));
	ns = number.ns;
	return BPF_CORE_READ(ns, ns.inum) == ns_inum ? (__u32)number.nr : 0;
}

static __always_inline __u32 tgid_nr(struct task_struct *task)
{
	return pid_in_ns(ns_level ? BPF_CORE_READ(task, signal, pids[PIDTYPE_TGID]) : NULL,
			 (__u32)BPF_CORE_READ(task, tgid));
}

static __always_inline __u32 tid_nr(struct task_struct *task)
{
	return pid_in_ns(ns_level ? BPF_CORE_READ(task, thread_pid) : NULL,
			 (__u32)BPF_CORE_READ(task, pid));
}

/* The identity of the process that the task belongs to. */
static __always_inline void process_id(struct knell_task_id *id, struct task_struct *task)
{
	id->start = BPF_CORE_READ(task, group_leader, start_boottime);
	id->tgid = tgid_nr(task);
	id->tid = id->tgid;
}

static __always_inline void thread_id(struct knell_task_id *id, struct task_struct *task)
{
	id->start = BPF_CORE_READ(task, start_boottime);
	id->tgid = tgid_nr(task);
	id->tid = tid_nr(task);
}

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline void copy_comm(char *to, const char *from)
{
	bpf_probe_read_kernel(to, KNELL_COMM_LEN, from);
	to[KNELL_COMM_LEN - 1] = 0;
}

static __always_inline void take_moment(struct knell_moment *m, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	const struct cred *cred = BPF_CORE_READ(task, cred);

	m->time = bpf_ktime_get_boot_ns();
	m->cgroup = cgroup_of(task);
	process_id(&m->parent, BPF_CORE_READ(leader, real_parent));
	m->uid = BPF_CORE_READ(cred, euid.val);
	m->gid = BPF_CORE_READ(cred, egid.val);
	m->cpu = bpf_get_smp_processor_id();
	copy_comm(m->comm, leader->comm);
}

static __always_inline long long positive(long long n)
{
	return n > 0 ? n : 0;
}

/*
 * Peak resident set in bytes. From 6.16 on a process dies before its memory is given back, and the
 * peak so far is what mm says: its counters are per CPU, so it may be off by some dozen pages a
 * CPU.
 */
static __always_inline __u64 peak_rss(struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	__u64 now = 0, high;

	if (mm) {
		struct mm_struct___before_6_2 *old = (void *)mm;

		if (bpf_core_field_exists(old->rss_stat.count)) {
			now += positive(BPF_CORE_READ(old, rss_stat.count[0].counter));
			now += positive(BPF_CORE_READ(old, rss_stat.count[1].counter));
			now += positive(BPF_CORE_READ(old, rss_stat.count[3].counter));
		} else {
			now += positive(BPF_CORE_READ(mm, rss_stat[0].count));
			now += positive(BPF_CORE_READ(mm, rss_stat[1].count));
			now += positive(BPF_CORE_READ(mm, rss_stat[3].count));
		}
		high = BPF_CORE_READ(mm, hiwater_rss);
		if (high > now)
			now = high;
	}
	return now * page_size;
}

static __always_inline void add_thread(struct knell_raw_usage *usage, struct task_struct *thread)
{
	usage->utime += BPF_CORE_READ(thread, utime);
	usage->stime += BPF_CORE_READ(thread, stime);
	usage->runtime += BPF_CORE_READ(thread, se.sum_exec_runtime);
	usage->minflt += BPF_CORE_READ(thread, min_flt);
	usage->majflt += BPF_CORE_READ(thread, maj_flt);
}

/* What the threads that are released already have left behind. */
static __always_inline void take_usage(struct knell_raw_usage *usage, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);

	usage->utime = BPF_CORE_READ(signal, utime);
	usage->stime = BPF_CORE_READ(signal, stime);
	usage->runtime = BPF_CORE_READ(signal, sum_sched_runtime);
	usage->minflt = BPF_CORE_READ(signal, min_flt);
	usage->majflt = BPF_CORE_READ(signal, maj_flt);
	usage->maxrss = BPF_CORE_READ(signal, maxrss) * page_size;
}

struct walk {
	struct knell_raw_usage *usage;
	struct list_head *at;
	struct list_head *end;
};

static long walk_thread(__u32 i, void *context)
{
	struct walk *walk = context;
	struct list_head *at = walk->at;

	if (!at || at == walk->end)
		return 1;
	add_thread(walk->usage,
		   (void *)((char *)at - bpf_core_field_offset(struct task_struct, thread_node)));
	walk->at = BPF_CORE_READ(at, next);
	return 0;
}

/* And the threads that are not, the caller included. */
static __always_inline void add_threads(struct knell_raw_usage *usage, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct knell_raw_usage sum = *usage;
	struct walk walk = {
		.usage = &sum,
		.at = BPF_CORE_READ(signal, thread_head.next),
		.end = (void *)((char *)signal +
				bpf_core_field_offset(struct signal_struct, thread_head)),
	};

	bpf_loop(USAGE_THREADS, walk_thread, &walk, 0);
	*usage = sum;
}

#endif
