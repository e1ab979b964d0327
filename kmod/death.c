// SPDX-License-Identifier: GPL-2.0-only
/*
 * death.c - the moments of a death, in probes: exit, dead, free.
 *
 * Owns the claims: each moment of a watch is told once, by who claims it first: the probe, or who
 * sets a watch while its process dies and finds that no probe will come.
 */
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>

#include "compat.h"
#include "engine.h"

/*
 * Of the processes that had this signal_struct only the last one can have a claimed exit and an
 * unclaimed later moment: whoever had it before was freed, and that claimed all.
 */
static void claim_dead(struct knell_watch *watch)
{
	if (test_bit(KNELL_CLAIM_EXIT, &watch->claimed) && (watch->root->flags & KNELL_KMOD_DEAD) &&
	    !test_and_set_bit(KNELL_CLAIM_DEAD, &watch->claimed))
		knell_reap_queue(watch, KNELL_PENDING_EXIT);
}

/*
 * A thread is past the end of its files, and past telling its parent. The process is dead if no
 * thread is left, or the leader alone and it came so far, too: of two that go at the same time the
 * second one sees both, because the kernel's lock of all tasks lies before. A thread that a tracer
 * keeps never comes here: then the free tells. The leader is who leads it now: where another thread
 * runs exec, the one that this thread knows is released, and the one that is left lives.
 */
static bool all_told(const struct signal_struct *signal)
{
	int threads = READ_ONCE(signal->nr_threads);
	struct task_struct *leader;

	smp_rmb(); /* Who takes over is the leader before the old one leaves the count. */
	leader = pid_task(knell_tgid_of(signal), PIDTYPE_TGID);
	return threads <= 1 && (!leader || READ_ONCE(leader->exit_state));
}

/* Claims all before its free, for one moment. False: a probe was there before. */
bool knell_death_claim(struct knell_watch *watch)
{
	return !cmpxchg(&watch->claimed, 0, BIT(KNELL_CLAIM_EXIT) | BIT(KNELL_CLAIM_DEAD));
}

/*
 * A death that no probe will tell of may be told, as far as it has come: all before its free is
 * claimed, and its exit written. Returns what is pending.
 */
unsigned int knell_death_tell(struct knell_watch *watch)
{
	if (!(watch->root->flags & KNELL_KMOD_DEAD))
		return KNELL_PENDING_EXIT;
	smp_mb__before_atomic(); /* Who claims it now tells what we wrote. */
	clear_bit(KNELL_CLAIM_DEAD, &watch->claimed);
	smp_mb__after_atomic(); /* Pairs with the lock in exit_notify(); else the free tells. */
	if (all_told(watch->signal))
		claim_dead(watch);
	return 0;
}

/*
 * The watch is stored, and its process lived before that, in this RCU section, led by `task`. Its
 * last thread leaves signal->live and gives up its memory before it comes to the exit probe. So if
 * we find that one lives or has memory, the probe will find the watch. If not, it may have come too
 * early: then we tell, rather than hide it, for a child may have told already of who made it. A
 * `dead` that has not come is left to its probe; a free always comes, for it waits for this
 * section.
 */
void knell_watch_check(struct knell_watch *watch, struct task_struct *task, unsigned int pending)
{
	struct signal_struct *signal = watch->signal;
	struct task_struct *leader;

	smp_mb(); /* Pairs with the atomic decrements of ->live and, in exit_mm(), of the memory. */
	preempt_disable();
	if (!atomic_read(&signal->live)) {
		smp_rmb(); /* Nobody runs exec any more: */
		leader = pid_task(watch->pid, PIDTYPE_TGID) ?: task;
		if (!READ_ONCE(leader->mm) && knell_group_is_dead(leader) &&
		    knell_death_claim(watch)) { /* else a probe does */
			knell_death_take(&watch->death, leader);
			pending |= knell_death_tell(watch);
		}
	}
	if (pending)
		knell_reap_queue(watch, pending);
	preempt_enable();
}

/* One beyond the reserve of this root is dead. It may be told so more than once. */
void knell_died_beyond(struct knell_root *root, pid_t nr)
{
	unsigned long flags;
	bool was;

	raw_spin_lock_irqsave(&root->lock, flags); /* else it may come back meanwhile */
	was = test_and_clear_bit(nr, root->beyond);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	if (!was)
		return;
	atomic_dec(&knell_wide);
	atomic64_inc(&root->session->lost_deaths);
	atomic_dec(&root->alive);
	knell_reap_queue(&root->self, KNELL_PENDING_GAP);
}

static void exit_beyond(struct task_struct *task)
{
	struct knell_root *root;

	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link)
		if (test_bit(task->tgid, root->beyond) && knell_group_is_dead(task))
			knell_died_beyond(root, task->tgid);
}

/* To look at all threads takes long, so it is done once, not for each watch. */
static void tell_exit(struct task_struct *task)
{
	const struct knell_death *known = NULL;
	struct knell_watch *watch;
	bool dead = false;

	for_each_watch (watch, task->signal) {
		dead = dead || knell_group_is_dead(task);
		if (!dead)
			return;
		if (test_and_set_bit(KNELL_CLAIM_EXIT, &watch->claimed))
			continue;
		if (known)
			knell_death_copy(&watch->death, known);
		else
			knell_death_take(&watch->death, task);
		known = &watch->death; /* it stays as it is until RCU's readers are gone */
		if (!(watch->root->flags & KNELL_KMOD_DEAD))
			knell_reap_queue(watch, KNELL_PENDING_EXIT);
	}
}

void knell_on_exit(struct task_struct *task)
{
	bool wide = atomic_read(&knell_wide);

	if (wide)
		knell_disarm_current();
	if (atomic_read(&task->signal->live))
		return;
	tell_exit(task);
	if (wide)
		exit_beyond(task);
}

void knell_on_dead(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct knell_watch *watch;

	if (!all_told(signal))
		return;
	hlist_for_each_entry_rcu (watch, knell_bucket(signal), hash)
		if (watch->signal == signal)
			claim_dead(watch);
}

void knell_on_free(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct knell_watch *watch;

	hlist_for_each_entry_rcu (watch, knell_bucket(signal), hash) {
		if (watch->signal != signal || !test_bit(KNELL_CLAIM_EXIT, &watch->claimed))
			continue;
		claim_dead(watch);
		if (test_and_set_bit(KNELL_CLAIM_FREE, &watch->claimed))
			continue;
		if (!knell_root_waits_for_free(watch->root))
			continue;
		knell_usage_final(&watch->final, &watch->final_runtime, signal);
		watch->freed = ktime_get_boottime_ns();
		watch->freed_cpu = raw_smp_processor_id();
		knell_reap_queue(watch, KNELL_PENDING_FREE);
	}
}
