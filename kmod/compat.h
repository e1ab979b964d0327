/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * compat.h - all that the module knows about kernel versions, and about what a kernel does not
 * export.
 *
 * Owns nothing. Another version is added here, and nowhere else, once it is booted by a test: a
 * probe whose signature does not match its tracepoint's crashes the machine, so an untried kernel
 * is refused when the module is compiled.
 */
#ifndef KNELL_COMPAT_H
#define KNELL_COMPAT_H

#include <linux/binfmts.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/magic.h>
#include <linux/pid.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seccomp.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0) || LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#error "knell.ko was tried on Linux 6.1 (Debian 12) only; see docs/kmod.md"
#endif

/* The arguments of the tracepoints. From 6.16 on sched_process_exit has one more, group_dead. */
#define KNELL_PROBE_NEWTASK(name)                                                                  \
	void name(void *unused, struct task_struct *task, unsigned long clone_flags)
#define KNELL_PROBE_EXEC(name)                                                                     \
	void name(void *unused, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
#define KNELL_PROBE_EXIT(name)   void name(void *unused, struct task_struct *task)
#define KNELL_PROBE_FREE(name)   void name(void *unused, struct task_struct *task)
#define KNELL_PROBE_RENAME(name) void name(void *unused, struct task_struct *task, const char *comm)

#define KNELL_PROBE_SIGNAL(name)                                                                   \
	void name(void *unused, int signo, struct kernel_siginfo *info, struct task_struct *task,  \
		  int group, int result)

/* Of signal_generate's results, those that mean that the signal was queued. */
static inline bool knell_was_queued(int result)
{
	return result == 0 /* TRACE_SIGNAL_DELIVERED */ || result == 4 /* ..._LOSE_INFO */;
}

/* kernel/seccomp.c: a task that seccomp killed. */
#define KNELL_SECCOMP_MODE_DEAD (SECCOMP_MODE_FILTER + 1)

/*
 * The process of a pidfd, counted; NULL: the file is none. pidfd_pid() is not exported, nor is
 * pidfd_fops. But nobody outside of the kernel can make a file of this name in this file system.
 */
static inline struct pid *knell_pidfd_pid(struct file *file)
{
	if (file_inode(file)->i_sb->s_magic != ANON_INODE_FS_MAGIC ||
	    strcmp(file->f_path.dentry->d_name.name, "[pidfd]") != 0)
		return NULL;
	return get_pid(file->private_data);
}

/*
 * Was it dumpable when it gave up its memory? Since 6.1.176, or some time before,
 * ptrace_may_access() asks for it; older ones let pass who has no memory.
 */
static inline bool knell_was_dumpable(const struct task_struct *task)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 176)
	return task->user_dumpable;
#else
	return true;
#endif
}

/* The process that this signal_struct belongs to; NULL: it was released. */
static inline struct pid *knell_tgid_of(const struct signal_struct *signal)
{
	return READ_ONCE(signal->pids[PIDTYPE_TGID]);
}

/*
 * It is among all tasks, but fork(2) is not done with it: task_newtask may still come, and its
 * cgroup is not what it will be.
 */
static inline bool knell_is_new(const struct task_struct *task)
{
	return smp_load_acquire(&task->__state) == TASK_NEW;
}

/*
 * Sums up what all threads of a process used. The seqlock's own reader may take its lock, which
 * sleeps under PREEMPT_RT, so its count is read as it is. False: it was being changed.
 */
static inline bool knell_usage_begin(struct signal_struct *signal, unsigned int *ret_sequence)
{
	*ret_sequence = smp_load_acquire(&signal->stats_lock.seqcount.seqcount.sequence);
	return !(*ret_sequence & 1);
}

static inline bool knell_usage_end(struct signal_struct *signal, unsigned int sequence)
{
	smp_rmb(); /* Pairs with the barriers of write_seqlock() in __exit_signal(). */
	return READ_ONCE(signal->stats_lock.seqcount.seqcount.sequence) == sequence;
}

#endif
