// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * main.c - a module that does with knell.ko what a test tells it, by writing to its parameters:
 *
 * watch: "PID HOW MS": knell_watch_task(); in the function it sleeps for MS. HOW is a sum of the
 * letters d: KNELL_KMOD_DEAD, n: no handle, u: ends the watch inside of the function, w: sets one
 * more there, of process 1 with KNELL_KMOD_DEAD, and ends it.
 *
 * unwatch: "PID": knell_unwatch_task(); EALREADY: the function was called, EBUSY: and is running.
 *
 * calls, when it is read: a line for each watch that was set: PID CALLS STATUS CPU HERE.
 *
 * Owns its watches; they are never more than WATCHES in one life of the module.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/string.h>

#include <knell/kernel.h>

#include "watchers.h"

#define WATCHES 128

static struct test_watch {
	struct knell_task_watch *handle;
	int pid;
	char how[8];
	unsigned int ms;
	int calls;
	bool running;
	int status;
	unsigned int cpu;
	unsigned int here;
} watches[WATCHES];
static unsigned int count;

static void not_called(const struct knell_event *event, void *data)
{
	WARN(1, "process 1 is dead");
}

/* Arms hooks that were not armed. */
static bool watch_one_more(void)
{
	struct pid *pid = find_get_pid(1);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_PID);
	struct knell_task_watch *watch;
	int error = knell_watch_task(&watch, task, KNELL_KMOD_DEAD, not_called, NULL, THIS_MODULE);

	put_task_struct(task);
	put_pid(pid);
	return !error && knell_unwatch_task(watch);
}

static void called(const struct knell_event *event, void *data)
{
	struct test_watch *watch = data;

	WRITE_ONCE(watch->running, true);
	watch->status = event->u.exit.status;
	watch->cpu = event->cpu;
	watch->here = raw_smp_processor_id();
	if (event->kind != KNELL_EXIT || event->size != KNELL_EVENT_HEAD + sizeof(event->u.exit) ||
	    event->task.tgid != watch->pid || !(current->flags & PF_KTHREAD) || in_atomic())
		watch->status = -1;
	msleep(watch->ms);
	if (strchr(watch->how, 'w') && !watch_one_more())
		watch->status = -3;
	if (strchr(watch->how, 'u')) {
		if (knell_unwatch_task(watch->handle))
			watch->status = -2;
		watch->handle = NULL;
	}
	watch->calls++;
	smp_store_release(&watch->running, false);
}

static int set_watch(const char *text, const struct kernel_param *param)
{
	struct test_watch *watch = &watches[count];
	struct task_struct *task;
	int error;

	if (count == WATCHES)
		return -ENOSPC;
	memset(watch, 0, sizeof(*watch));
	if (sscanf(text, "%d %7s %u", &watch->pid, watch->how, &watch->ms) != 3)
		return -EINVAL;
	rcu_read_lock();
	task = pid_task(find_vpid(watch->pid), PIDTYPE_PID);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return -ENXIO;
	count++;
	error = knell_watch_task(strchr(watch->how, 'n') ? NULL : &watch->handle, task,
				 strchr(watch->how, 'd') ? KNELL_KMOD_DEAD : 0, called, watch,
				 THIS_MODULE);
	if (error) {
		count--;
		if (watch->handle)
			error = -EILSEQ; /* it must be NULL on failure */
	}
	put_task_struct(task);
	return error;
}

static int end_watch(const char *text, const struct kernel_param *param)
{
	unsigned int i;
	int pid;

	if (kstrtoint(text, 0, &pid))
		return -EINVAL;
	for (i = 0; i < count; i++) {
		struct test_watch *watch = &watches[i];
		struct knell_task_watch *handle = watch->handle;

		if (watch->pid != pid || !handle)
			continue;
		watch->handle = NULL;
		if (knell_unwatch_task(handle))
			return 0;
		return smp_load_acquire(&watch->running) ? -EBUSY : -EALREADY;
	}
	return -ENOENT;
}

static int print_calls(char *buffer, const struct kernel_param *param)
{
	unsigned int i;
	int length = 0;

	for (i = 0; i < count; i++)
		length += scnprintf(buffer + length, PAGE_SIZE - length, "%d %d %d %u %u\n",
				    watches[i].pid, READ_ONCE(watches[i].calls), watches[i].status,
				    watches[i].cpu, watches[i].here);
	return length;
}

static const struct kernel_param_ops watch_ops = { .set = set_watch };
static const struct kernel_param_ops unwatch_ops = { .set = end_watch };
static const struct kernel_param_ops calls_ops = { .get = print_calls };
module_param_cb(watch, &watch_ops, NULL, 0200);
MODULE_PARM_DESC(watch, "PID HOW MS");
module_param_cb(unwatch, &unwatch_ops, NULL, 0200);
MODULE_PARM_DESC(unwatch, "PID");
module_param_cb(calls, &calls_ops, NULL, 0400);
MODULE_PARM_DESC(calls, "what the watches' functions heard");

static int __init test_load(void)
{
	return watchers_join();
}

/* All functions were called, or this module would be held. */
static void __exit test_unload(void)
{
	unsigned int i;

	watchers_leave();
	for (i = 0; i < count; i++)
		WARN_ON(knell_unwatch_task(watches[i].handle));
}

module_init(test_load);
module_exit(test_unload);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_AUTHOR("The Knell authors");
MODULE_DESCRIPTION("Does with knell.ko what a test tells it");
MODULE_VERSION("1");
