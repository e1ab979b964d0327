/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * task.h - what the kernel knows of a task at this moment: numbers in the reader's pid namespace,
 * identity, credentials, cgroup, and what the whole process has used so far.
 *
 * Pointers are followed by plain loads, from a task that went through followed(): a load costs 1 to
 * 2 ns, where the helper behind BPF_CORE_READ() takes 17, and a death needs some forty.
 */
#ifndef KNELL_TASK_H
#define KNELL_TASK_H

#include <bpf/bpf_core_read.h>

#include "maps.h"

/* Since 6.2. Its calls cost nothing: the verifier puts a move in their place. */
extern void *bpf_rdonly_cast(void *at, __u32 type) __ksym __weak;

/*
 * The same pointer, trusted no more. For each step from a trusted one the verifier searches the
 * kernel's whole type information for what may be trusted after it, 2 to 3 ms each time: 150 ms of
 * start-up. Before 6.2 it did not, and has nothing to cast with.
 */
static __always_inline struct task_struct *followed(struct task_struct *task)
{
	if (!bpf_core_enum_value_exists(enum special_kfunc_type, KF_bpf_rdonly_cast))
		return task;
	return bpf_rdonly_cast(task, bpf_core_type_id_kernel(struct task_struct));
}

/* Threads of one process that are counted one by one at its death; of more, usage is a minimum. */
#define USAGE_THREADS 65536

/* 0: it has no number in our namespace. `pid` is a number to the verifier: it is calculated with.
 */
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
			 (__u32)task->tgid);
}

static __always_inline __u32 tid_nr(struct task_struct *task)
{
	return pid_in_ns(ns_level ? BPF_CORE_READ(task, thread_pid) : NULL, (__u32)task->pid);
}

/* The identity of the process that the task belongs to. */
static __always_inline void process_id(struct knell_task_id *id, struct task_struct *task)
{
	id->start = task->group_leader->start_boottime;
	id->tgid = tgid_nr(task);
	id->tid = id->tgid;
}

static __always_inline void thread_id(struct knell_task_id *id, struct task_struct *task)
{
	id->start = task->start_boottime;
	id->tgid = tgid_nr(task);
	id->tid = tid_nr(task);
}

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return task->cgroups->dfl_cgrp->kn->id;
}

static __always_inline void copy_comm(char *to, const char *from)
{
	bpf_probe_read_kernel(to, KNELL_COMM_LEN, from);
	to[KNELL_COMM_LEN - 1] = 0;
}

/* Its leader's name, in two steps: to[] is written once, so that what copies it need not wait. */
static __always_inline void leader_comm(char *to, struct task_struct *leader)
{
	__u64 *name = (__u64 *)leader->comm;

	((__u64 *)to)[0] = name[0];
	((__u64 *)to)[1] = name[1];
}

static __always_inline void take_moment(struct knell_moment *m, struct task_struct *task,
					__u64 time)
{
	struct task_struct *leader = task->group_leader;
	const struct cred *cred = task->cred;

	m->time = time;
	m->cgroup = cgroup_of(task);
	process_id(&m->parent, leader->real_parent);
	m->uid = cred->euid.val;
	m->gid = cred->egid.val;
	m->cpu = bpf_get_smp_processor_id();
	leader_comm(m->comm, leader);
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
	struct mm_struct *mm = task->mm;
	__u64 now = 0, high;

	if (mm) {
		struct mm_struct___before_6_2 *old = (void *)mm;

		/* Its verifier does not see through the names of types in arrays. */
		if (bpf_core_field_exists(old->rss_stat.count)) {
			now += positive(BPF_CORE_READ(old, rss_stat.count[0].counter));
			now += positive(BPF_CORE_READ(old, rss_stat.count[1].counter));
			now += positive(BPF_CORE_READ(old, rss_stat.count[3].counter));
		} else {
			now += positive(mm->rss_stat[0].count);
			now += positive(mm->rss_stat[1].count);
			now += positive(mm->rss_stat[3].count);
		}
		high = mm->hiwater_rss;
		if (high > now)
			now = high;
	}
	return now * page_size;
}

static __always_inline void add_thread(struct knell_raw_usage *usage, struct task_struct *thread)
{
	usage->utime += thread->utime;
	usage->stime += thread->stime;
	usage->runtime += thread->se.sum_exec_runtime;
	usage->minflt += thread->min_flt;
	usage->majflt += thread->maj_flt;
}

/* What the threads that are released already have left behind. */
static __always_inline void take_usage(struct knell_raw_usage *usage, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	usage->utime = signal->utime;
	usage->stime = signal->stime;
	usage->runtime = signal->sum_sched_runtime;
	usage->minflt = signal->min_flt;
	usage->majflt = signal->maj_flt;
	usage->maxrss = signal->maxrss * page_size;
}

/* What the verifier must take for a number, in place of a pointer that it knows. */
static __always_inline void add_thread_at(struct knell_raw_usage *usage, struct task_struct *thread)
{
	usage->utime += BPF_CORE_READ(thread, utime);
	usage->stime += BPF_CORE_READ(thread, stime);
	usage->runtime += BPF_CORE_READ(thread, se.sum_exec_runtime);
	usage->minflt += BPF_CORE_READ(thread, min_flt);
	usage->majflt += BPF_CORE_READ(thread, maj_flt);
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
	add_thread_at(walk->usage, (void *)((char *)at - bpf_core_field_offset(struct task_struct,
									       thread_node)));
	walk->at = BPF_CORE_READ(at, next);
	return 0;
}

/* And the threads that are not, the caller included: mostly it is the only one. */
static __always_inline void add_threads(struct knell_raw_usage *usage, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct list_head *first = signal->thread_head.next;
	struct knell_raw_usage sum = *usage;
	struct walk walk = {
		.usage = &sum,
		.at = first,
		.end = (void *)((char *)signal +
				bpf_core_field_offset(struct signal_struct, thread_head)),
	};

	if (first == signal->thread_head.prev && first == &task->thread_node) {
		add_thread(usage, task);
		return;
	}
	bpf_loop(USAGE_THREADS, walk_thread, &walk, 0);
	*usage = sum;
}

#endif
