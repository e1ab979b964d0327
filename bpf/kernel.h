/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kernel.h - the few fields of kernel types that the BPF programs read. libbpf finds each where the
 * running kernel has it (CO-RE), so only names and types matter here, not offsets or order.
 */
#ifndef KNELL_KERNEL_H
#define KNELL_KERNEL_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	long counter;
} atomic_long_t;

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	unsigned int val;
} kgid_t;

struct list_head {
	struct list_head *next;
	struct list_head *prev;
};

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct percpu_counter {
	long long count;
};

struct mm_rss_stat {
	atomic_long_t count[4];
};

struct mm_struct {
	unsigned long hiwater_rss;
	unsigned long arg_start;
	unsigned long arg_end;
	struct percpu_counter rss_stat[4]; /* since 6.2 */
};

struct mm_struct___before_6_2 {
	struct mm_rss_stat rss_stat;
};

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t suid;
	kgid_t sgid;
	kuid_t euid;
	kgid_t egid;
	kuid_t fsuid;
	kgid_t fsgid;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

struct seccomp {
	int mode;
};

struct rlimit {
	unsigned long rlim_max;
};

struct task_struct;

struct signal_struct {
	atomic_t live;
	int nr_threads;
	struct list_head thread_head;
	int group_exit_code;
	struct task_struct *group_exec_task;
	unsigned int flags;
	struct pid *pids[4];
	__u64 utime;
	__u64 stime;
	unsigned long min_flt;
	unsigned long maj_flt;
	unsigned long maxrss;
	unsigned long long sum_sched_runtime;
	struct rlimit rlim[16];
	struct mm_struct *oom_mm;
};

typedef void (*__sighandler_t)(int);

struct sigaction {
	__sighandler_t sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

struct kernel_siginfo {
	int si_signo;
	int si_code;
};

struct linux_binprm {
	const char *filename;
};

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	int exit_code;
	int exit_signal;
	int pdeath_signal;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct list_head thread_node;
	struct mm_struct *mm;
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	const struct cred *real_cred;
	const struct cred *cred;
	struct css_set *cgroups;
	struct sched_entity se;
	struct seccomp seccomp;
	__u64 utime;
	__u64 stime;
	__u64 start_boottime;
	unsigned long min_flt;
	unsigned long maj_flt;
	char comm[16];
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

/* The shape of the tracepoint since 6.16: with a third argument. */
typedef void (*btf_trace_sched_process_exit)(void *, struct task_struct *, bool);

/* The verifier's own list of kernel functions: it says which ones there are. */
enum special_kfunc_type {
	KF_bpf_rdonly_cast = 1
};

#pragma clang attribute pop

#define PF_EXITING          0x00000004u
#define SIGNAL_GROUP_EXIT   0x00000004u
#define SECCOMP_MODE_STRICT 1
#define SECCOMP_MODE_DEAD   3 /* kernel/seccomp.c: set before a strict task is killed */
#define PIDTYPE_TGID        1
#define RLIMIT_CPU          0

#endif
