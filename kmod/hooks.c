// SPDX-License-Identifier: GPL-2.0-only
/*
 * hooks.c - where the kernel calls the module: tracepoints, and two kprobes for moments that have
 * none.
 *
 * Owns the registrations. Each hook is armed only while a session asks for it; while nobody does,
 * the tracepoint is a no-op in the kernel's code. The first test of each probe answers for a task
 * that nobody watches. Probes run with preemption off, also under PREEMPT_RT: they neither sleep
 * nor allocate, and take raw locks only.
 */
#include <linux/cred.h>
#include <linux/kprobes.h>
#include <linux/tracepoint.h>

#include "compat.h"
#include "engine.h"

static KNELL_PROBE_NEWTASK(on_newtask)
{
	if (!knell_may_watch(current->signal) || task->signal == current->signal)
		return;
	rcu_read_lock();
	knell_on_birth(task, clone_flags);
	rcu_read_unlock();
}

static KNELL_PROBE_EXEC(on_exec)
{
	if (!knell_may_watch(task->signal))
		return;
	rcu_read_lock();
	knell_on_exec(task, old_pid, bprm->filename);
	rcu_read_unlock();
}

static KNELL_PROBE_EXIT(on_exit)
{
	if (!knell_may_watch(task->signal))
		return;
	rcu_read_lock();
	knell_on_exit(task);
	rcu_read_unlock();
}

/* In an RCU callback, for a task that has no number any more. */
static KNELL_PROBE_FREE(on_free)
{
	/* Of a process, the leader goes last. */
	if (!knell_may_watch(task->signal) || task->group_leader != task)
		return;
	rcu_read_lock();
	knell_on_free(task);
	rcu_read_unlock();
}

/* The kernel holds the target's siglock. Most signals are a parent's SIGCHLD. */
static KNELL_PROBE_SIGNAL(on_signal)
{
	if (signo == SIGCHLD || !knell_may_watch(task->signal) || !knell_was_queued(result))
		return;
	rcu_read_lock();
	knell_on_signal(task, signo, info);
	rcu_read_unlock();
}

/* The name is not changed yet. A process's name is its leader's. */
static KNELL_PROBE_RENAME(on_rename)
{
	if (!knell_may_watch(task->signal) || task->group_leader != task)
		return;
	rcu_read_lock();
	knell_follow(task, comm);
	rcu_read_unlock();
}

/* proc_exit_connector(task) runs when memory and files are gone and the parent was told. */
static int on_dead(struct kprobe *probe, struct pt_regs *regs)
{
	if (!knell_may_watch(current->signal))
		return 0;
	rcu_read_lock();
	knell_on_dead(current);
	rcu_read_unlock();
	return 0;
}

/* commit_creds(new): a process's ids are its leader's. */
static int on_creds(struct kprobe *probe, struct pt_regs *regs)
{
	const struct cred *new = (const struct cred *)regs_get_kernel_argument(regs, 0);

	if (!knell_may_watch(current->signal) || !thread_group_leader(current))
		return 0;
	rcu_read_lock();
	knell_on_ids(current, new, current_real_cred());
	rcu_read_unlock();
	return 0;
}

static struct hook {
	const char *name;
	void *probe; /* of a tracepoint */
	struct tracepoint *point;
	kprobe_pre_handler_t handler; /* of a kprobe */
	struct kprobe kprobe;
	unsigned int users;
} hooks[KNELL_HOOKS] = {
	[KNELL_HOOK_NEWTASK] = { .name = "task_newtask", .probe = on_newtask },
	[KNELL_HOOK_EXEC] = { .name = "sched_process_exec", .probe = on_exec },
	[KNELL_HOOK_EXIT] = { .name = "sched_process_exit", .probe = on_exit },
	[KNELL_HOOK_FREE] = { .name = "sched_process_free", .probe = on_free },
	[KNELL_HOOK_RENAME] = { .name = "task_rename", .probe = on_rename },
	[KNELL_HOOK_SIGNAL] = { .name = "signal_generate", .probe = on_signal },
	[KNELL_HOOK_DEAD] = { .name = "proc_exit_connector", .handler = on_dead },
	[KNELL_HOOK_IDS] = { .name = "commit_creds", .handler = on_creds },
};
static DEFINE_MUTEX(hooks_lock); /* users, and arming */
static u64 missed_before;        /* by kprobes that were disarmed since: hooks_lock */

static void match(struct tracepoint *point, void *unused)
{
	int i;

	for (i = 0; i < KNELL_HOOKS; i++)
		if (hooks[i].probe && strcmp(hooks[i].name, point->name) == 0)
			hooks[i].point = point;
}

/* The tracepoints are not exported, so they are found by name. */
int knell_hooks_find(void)
{
	int i;

	for_each_kernel_tracepoint(match, NULL);
	for (i = 0; i < KNELL_HOOKS; i++)
		if (hooks[i].probe && !hooks[i].point) {
			pr_err("this kernel has no tracepoint %s; it needs CONFIG_TRACEPOINTS\n",
			       hooks[i].name);
			return -ENOENT;
		}
	return 0;
}

static int hook_on(struct hook *hook)
{
	int error;

	if (hook->probe) {
		error = tracepoint_probe_register(hook->point, hook->probe, NULL);
	} else {
		/* A kprobe must be clean each time that it is registered. */
		hook->kprobe =
			(struct kprobe){ .symbol_name = hook->name, .pre_handler = hook->handler };
		error = register_kprobe(&hook->kprobe);
	}
	if (error)
		pr_err("cannot hook %s (%d); has this kernel CONFIG_KPROBES, PROC_EVENTS?\n",
		       hook->name, error);
	return error;
}

static void hook_off(struct hook *hook)
{
	if (hook->probe) {
		tracepoint_probe_unregister(hook->point, hook->probe, NULL);
	} else {
		unregister_kprobe(&hook->kprobe);
		missed_before += hook->kprobe.nmissed;
	}
}

/* Arms what is wanted and is not in *armed; adds it there. */
int knell_hooks_arm(unsigned int wanted, unsigned int *armed)
{
	int error = 0, i;

	mutex_lock(&hooks_lock);
	for (i = 0; i < KNELL_HOOKS && !error; i++) {
		if (!(wanted & ~*armed & BIT(i)))
			continue;
		if (!hooks[i].users)
			error = hook_on(&hooks[i]);
		if (!error) {
			hooks[i].users++;
			*armed |= BIT(i);
		}
	}
	mutex_unlock(&hooks_lock);
	return error;
}

void knell_hooks_disarm(unsigned int *armed)
{
	int i;

	mutex_lock(&hooks_lock);
	for (i = 0; i < KNELL_HOOKS; i++)
		if ((*armed & BIT(i)) && !--hooks[i].users)
			hook_off(&hooks[i]);
	*armed = 0;
	mutex_unlock(&hooks_lock);
}

u64 knell_hooks_missed(void)
{
	u64 missed;
	int i;

	mutex_lock(&hooks_lock);
	missed = missed_before;
	for (i = 0; i < KNELL_HOOKS; i++)
		if (hooks[i].handler && hooks[i].users)
			missed += hooks[i].kprobe.nmissed;
	mutex_unlock(&hooks_lock);
	return missed;
}
