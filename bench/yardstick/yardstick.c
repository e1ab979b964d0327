// SPDX-License-Identifier: GPL-2.0-only
/*
 * yardstick.c - for bench/kmod-cost: how a module learns of the deaths of processes in the obvious
 * way, written from a description of such a module. An exit hook puts the pid into a queue of
 * 65,536 places under one lock, and drops it if the queue is full; one worker takes pids out, one
 * at a time, and for each takes a global lock for writing and looks it up in a hash of those that
 * registered. Parameter filter: the hook looks it up first, under RCU, and leaves strangers alone.
 *
 * Owns the hash, the queue and the worker. Not a part of Knell.
 */
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rwsem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/wait.h>

#include "yardstick.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0) || LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#error "the signature of its probe is that of Linux 6.1"
#endif

#define QUEUE_SIZE 65536u
#define QUEUE_MASK (QUEUE_SIZE - 1)
static_assert((QUEUE_SIZE & QUEUE_MASK) == 0);

static bool filter;
module_param(filter, bool, 0444);

struct process {
	struct hlist_node node; /* changed under the global lock; read under RCU, too */
	pid_t pid;
	struct rcu_head rcu;
};

static DEFINE_HASHTABLE(processes, 10);
static DECLARE_RWSEM(global_lock);

static pid_t queue[QUEUE_SIZE];
static unsigned int head, tail; /* added so far, taken so far: queue_lock */
static DEFINE_SPINLOCK(queue_lock);
static DECLARE_WAIT_QUEUE_HEAD(worker_wait);
static DECLARE_WAIT_QUEUE_HEAD(idle_wait);
static struct yardstick_counts counts;
static bool busy;

static struct tracepoint *exit_point;
static struct task_struct *worker;

static struct process *find(pid_t pid)
{
	struct process *process;

	hash_for_each_possible_rcu(processes, process, node, pid,
				   lockdep_is_held(&global_lock)) if (process->pid ==
								      pid) return process;
	return NULL;
}

static void on_exit(void *unused, struct task_struct *task)
{
	unsigned long flags;
	bool known;

	if (filter) {
		rcu_read_lock();
		known = find(task->pid);
		rcu_read_unlock();
		if (!known)
			return;
	}
	spin_lock_irqsave(&queue_lock, flags);
	if (head - tail == QUEUE_SIZE) {
		counts.dropped++;
		spin_unlock_irqrestore(&queue_lock, flags);
		return;
	}
	queue[head++ & QUEUE_MASK] = task->pid;
	counts.queued++;
	spin_unlock_irqrestore(&queue_lock, flags);
	wake_up_interruptible(&worker_wait);
}

static bool take(pid_t *ret_pid)
{
	unsigned long flags;
	bool any;

	spin_lock_irqsave(&queue_lock, flags);
	any = head != tail;
	if (any)
		*ret_pid = queue[tail++ & QUEUE_MASK];
	busy = any;
	spin_unlock_irqrestore(&queue_lock, flags);
	return any;
}

static void bury(pid_t pid)
{
	struct process *process;

	down_write(&global_lock);
	process = find(pid);
	if (process) {
		hash_del_rcu(&process->node);
		kfree_rcu(process, rcu);
		counts.handled++;
	}
	up_write(&global_lock);
}

static int work(void *unused)
{
	pid_t pid;

	while (!kthread_should_stop()) {
		wait_event_interruptible(worker_wait, READ_ONCE(head) != READ_ONCE(tail) ||
							      kthread_should_stop());
		while (take(&pid))
			bury(pid);
		wake_up_all(&idle_wait);
	}
	return 0;
}

static int add(pid_t number)
{
	struct process *process = kzalloc(sizeof(*process), GFP_KERNEL);
	struct pid *pid;

	if (!process)
		return -ENOMEM;
	pid = find_get_pid(number);
	process->pid = pid_nr(pid);
	put_pid(pid);
	down_write(&global_lock);
	if (!process->pid || find(process->pid)) {
		up_write(&global_lock);
		kfree(process);
		return -EINVAL;
	}
	hash_add_rcu(processes, &process->node, process->pid);
	up_write(&global_lock);
	return 0;
}

static long yardstick_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	switch (command) {
	case YARDSTICK_REGISTER:
		return add((pid_t)argument);
	case YARDSTICK_WAIT:
		return wait_event_interruptible(idle_wait, READ_ONCE(head) == READ_ONCE(tail) &&
								   !READ_ONCE(busy));
	case YARDSTICK_COUNTS:
		return copy_to_user((void __user *)argument, &counts, sizeof(counts)) ? -EFAULT : 0;
	default:
		return -ENOTTY;
	}
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = yardstick_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "yardstick",
	.fops = &operations,
	.mode = 0600,
};

static void match(struct tracepoint *point, void *unused)
{
	if (strcmp(point->name, "sched_process_exit") == 0)
		exit_point = point;
}

static int __init yardstick_load(void)
{
	int error;

	for_each_kernel_tracepoint(match, NULL);
	if (!exit_point)
		return -ENOENT;
	worker = kthread_run(work, NULL, "yardstick");
	if (IS_ERR(worker))
		return PTR_ERR(worker);
	error = tracepoint_probe_register(exit_point, on_exit, NULL);
	if (!error) {
		error = misc_register(&device);
		if (!error)
			return 0;
		tracepoint_probe_unregister(exit_point, on_exit, NULL);
		tracepoint_synchronize_unregister();
	}
	kthread_stop(worker);
	return error;
}

static void __exit yardstick_unload(void)
{
	struct process *process;
	struct hlist_node *next;
	int bucket;

	misc_deregister(&device);
	tracepoint_probe_unregister(exit_point, on_exit, NULL);
	tracepoint_synchronize_unregister();
	kthread_stop(worker);
	hash_for_each_safe (processes, bucket, next, process, node)
		kfree(process);
	rcu_barrier();
}

module_init(yardstick_load);
module_exit(yardstick_unload);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("yardstick of Knell's benchmarks: a queue, a worker, a lock");
