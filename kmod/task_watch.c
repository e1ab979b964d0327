// SPDX-License-Identifier: GPL-2.0-only
/*
 * task_watch.c - watches of other modules: knell_watch_task().
 *
 * Owns those watches, and the hooks that they need. Such a watch has a root of its own and no
 * session: the reaper that finds its death queues the call to its CPU's worker (call.c), and
 * touches nothing before that another CPU has. The state decides between the call and who ends the
 * watch.
 */
#include <linux/completion.h>
#include <linux/export.h>
#include <linux/module.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include <knell/kernel.h>

#include "engine.h"

enum state {
	STATE_WAITING,
	STATE_CALLING,
	STATE_OVER /* it was called, or it will never be */
};

struct knell_task_watch {
	struct knell_root root; /* counts: one for who ends the watch, if somebody shall */
	knell_task_fn function;
	void *data;
	struct module *owner; /* counted until the state is over */
	atomic_t state;
	struct work_struct call;
	struct task_struct *caller; /* who is in the function; compared only */
	struct completion called;
};

/* How long hooks stay armed when no watch is left: arming patches the kernel's code. */
#define IDLE_HOOKS HZ

static DEFINE_MUTEX(arming);
static unsigned int armed; /* hooks that modules' watches hold: arming */
static atomic_t watching = ATOMIC_INIT(0);

static void disarm_idle(struct work_struct *work)
{
	mutex_lock(&arming);
	if (!atomic_read(&watching))
		knell_hooks_disarm(&armed);
	mutex_unlock(&arming);
}
static DECLARE_DELAYED_WORK(idle, disarm_idle);

static int hold_hooks(u32 flags)
{
	unsigned int hooks = BIT(KNELL_HOOK_EXIT);
	int error;

	if (flags & KNELL_KMOD_DEAD)
		hooks |= BIT(KNELL_HOOK_DEAD) | BIT(KNELL_HOOK_FREE);
	mutex_lock(&arming);
	error = knell_hooks_arm(hooks, &armed);
	if (!error)
		atomic_inc(&watching);
	else if (!atomic_read(&watching))
		knell_hooks_disarm(&armed); /* what was armed before it failed */
	mutex_unlock(&arming);
	return error;
}

static void release_hooks(void)
{
	if (atomic_dec_and_test(&watching))
		schedule_delayed_work(&idle, IDLE_HOOKS);
}

/* No module uses knell.ko any more, so no watch is left. */
void knell_task_watches_stop(void)
{
	cancel_delayed_work_sync(&idle);
	knell_hooks_disarm(&armed);
}

/* Its state was made over by the caller. The owner may be gone when this returns. */
static void is_over(struct knell_task_watch *watch)
{
	struct module *owner = watch->owner;

	knell_root_end(&watch->root);
	release_hooks();
	module_put(owner);
}

/* On a worker; it has a hold on the watch. */
static void call(struct work_struct *work)
{
	struct knell_task_watch *watch = container_of(work, struct knell_task_watch, call);
	struct knell_event event;

	if (atomic_cmpxchg(&watch->state, STATE_WAITING, STATE_CALLING) == STATE_WAITING) {
		knell_record_exit(&event, &watch->root.self);
		WRITE_ONCE(watch->caller, current);
		watch->function(&event, watch->data);
		WRITE_ONCE(watch->caller, NULL);
		atomic_set(&watch->state, STATE_OVER);
		complete_all(&watch->called);
		is_over(watch);
	}
	knell_watch_put(&watch->root.self);
}

/* Called by a reaper, which has a hold on this watch. */
void knell_task_watch_deliver(struct knell_watch *self, unsigned int pending)
{
	struct knell_task_watch *watch = container_of(self->root, struct knell_task_watch, root);

	if (!(pending & KNELL_PENDING_EXIT)) /* which comes once */
		return;
	refcount_inc(&self->refs);
	knell_call_function(&watch->call);
}

void knell_task_watch_free(struct knell_root *root)
{
	kfree(container_of(root, struct knell_task_watch, root));
}

/* The process of a task: its leader, and its struct pid; both counted. False: it is released. */
static bool process_of(struct task_struct *task, struct task_struct **ret_leader,
		       struct pid **ret_pid)
{
	struct pid *pid = get_task_pid(task, PIDTYPE_TGID);
	struct task_struct *leader = get_pid_task(pid, PIDTYPE_TGID);

	if (!leader) {
		put_pid(pid);
		return false;
	}
	*ret_leader = leader;
	*ret_pid = pid;
	return true;
}

static struct knell_task_watch *task_watch_new(u32 flags, knell_task_fn function, void *data,
					       struct module *owner)
{
	struct knell_task_watch *watch = kzalloc(sizeof(*watch), GFP_KERNEL);

	if (!watch)
		return NULL;
	knell_root_init(&watch->root, flags, KNELL_MASK(KNELL_EXIT), 1);
	watch->function = function;
	watch->data = data;
	watch->owner = owner;
	atomic_set(&watch->state, STATE_WAITING);
	INIT_WORK(&watch->call, call);
	init_completion(&watch->called);
	return watch;
}

static int hold_owner_and_hooks(struct module *owner, u32 flags)
{
	int error;

	if (!try_module_get(owner))
		return -ENODEV;
	error = hold_hooks(flags);
	if (error)
		module_put(owner);
	return error;
}

/* Takes over the owner, and the hooks, that are held. */
static int set_watch(struct knell_task_watch **ret_watch, struct knell_task_watch *watch,
		     struct task_struct *leader, struct pid *pid)
{
	int error;

	refcount_inc(&watch->root.refs);
	if (ret_watch)
		*ret_watch = watch;
	error = knell_root_begin(&watch->root, leader, pid);
	if (error) { /* dead, and no probe will tell of it */
		atomic_set(&watch->state, STATE_OVER);
		is_over(watch);
		if (ret_watch)
			*ret_watch = NULL;
	}
	if (error || !ret_watch)
		knell_root_put(&watch->root);
	return error;
}

int knell_watch_task(struct knell_task_watch **ret_watch, struct task_struct *task, u32 flags,
		     knell_task_fn function, void *data, struct module *owner)
{
	struct knell_task_watch *watch;
	struct task_struct *leader;
	struct pid *pid;
	int error = -ENOMEM;

	if (ret_watch)
		*ret_watch = NULL;
	if (!task || !function || (flags & ~KNELL_KMOD_DEAD))
		return -EINVAL;
	if (!process_of(task, &leader, &pid))
		return -ESRCH;
	watch = task_watch_new(flags, function, data, owner);
	if (watch)
		error = hold_owner_and_hooks(owner, flags);
	if (!error)
		error = set_watch(ret_watch, watch, leader, pid);
	else
		kfree(watch);
	put_task_struct(leader);
	put_pid(pid);
	return error;
}
EXPORT_SYMBOL_GPL(knell_watch_task);

bool knell_unwatch_task(struct knell_task_watch *watch)
{
	bool ended;

	if (!watch)
		return false;
	might_sleep();
	ended = atomic_cmpxchg(&watch->state, STATE_WAITING, STATE_OVER) == STATE_WAITING;
	if (ended)
		is_over(watch);
	else if (READ_ONCE(watch->caller) != current)
		wait_for_completion(&watch->called);
	knell_root_put(&watch->root);
	return ended;
}
EXPORT_SYMBOL_GPL(knell_unwatch_task);
