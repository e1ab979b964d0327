// SPDX-License-Identifier: GPL-2.0-only
/*
 * reap.c - from a probe to a reaper: one list of watches and one kernel thread for each CPU.
 *
 * Owns the lists, the threads and the state of CPU hotplug. A probe adds to the list of the CPU
 * that it runs on, without a lock; the first of a burst wakes that CPU's reaper, which takes the
 * whole list, again and again until it is empty. A watch is on one list at a time: whoever sets the
 * first bit of its pending mask adds it, and the reaper takes the mask when it is off the list.
 *
 * A reader who finds nothing drains all lists himself: what he knows to have happened, because he
 * has waited for a child, say, is told to him then.
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/kthread.h>
#include <linux/llist.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/smpboot.h>

#include "engine.h"

static bool fifo;
module_param(fifo, bool, 0444);
MODULE_PARM_DESC(fifo, "reapers have a (low) real-time priority");

struct reaper {
	struct llist_head news;
	struct mutex draining; /* from before the list is taken until it is delivered */
	/* For people. On this CPU only, or when it is gone: */
	u64 queued;
	u64 wakeups;
	u64 moved;
	/* under `draining`: */
	u64 rounds;
	u64 longest;
};

static DEFINE_PER_CPU_ALIGNED(struct reaper, reapers);
static DEFINE_PER_CPU(struct task_struct *, reaper_threads);
static enum cpuhp_state moving, parking;

static void wake(void)
{
	struct task_struct *thread = __this_cpu_read(reaper_threads);

	/* A parked one is not woken: its CPU is going offline, and the list will be moved. */
	if (thread && wake_up_process(thread))
		this_cpu_inc(reapers.wakeups);
}

/* In an RCU section, with preemption off; the watch was found in the table, or is a root's own. */
void knell_reap_queue(struct knell_watch *watch, unsigned int pending)
{
	if (atomic_fetch_or(pending, &watch->pending))
		return; /* It is on a list: its reaper will see the bit. */
	if (!refcount_inc_not_zero(&watch->refs))
		return; /* Nobody wants to know any more. */
	this_cpu_inc(reapers.queued);
	if (llist_add(&watch->news, this_cpu_ptr(&reapers.news)))
		wake();
}

/* From here on it may be added to a list again. */
static void deliver(struct knell_watch *watch)
{
	knell_deliver(watch, atomic_xchg(&watch->pending, 0));
	knell_watch_put(watch);
}

/*
 * Takes one list, and delivers what readers are told, oldest first. What modules are told is put
 * aside for the CPU's own reaper, which queues it to a worker of that CPU. False: it was empty.
 */
static bool take_list(struct reaper *reaper, struct llist_head *of_modules)
{
	struct llist_node *list = llist_del_all(&reaper->news);
	struct knell_watch *watch, *next;
	u64 length = 0;

	if (!list)
		return false;
	llist_for_each_entry_safe (watch, next, llist_reverse_order(list), news) {
		if (knell_watch_calls(watch))
			__llist_add(&watch->news, of_modules);
		else
			deliver(watch);
		length++;
		cond_resched();
	}
	reaper->rounds++;
	reaper->longest = max(reaper->longest, length);
	return true;
}

/* As take_list(); one at a time. */
static bool drain_once(struct reaper *reaper, struct llist_head *of_modules)
{
	bool more;

	mutex_lock(&reaper->draining);
	more = take_list(reaper, of_modules);
	mutex_unlock(&reaper->draining);
	return more;
}

/* By the reaper itself. */
static bool reap_once(struct reaper *reaper)
{
	LLIST_HEAD(of_modules);
	struct knell_watch *watch, *next;
	bool more = drain_once(reaper, &of_modules);
	struct llist_node *list = llist_reverse_order(__llist_del_all(&of_modules));

	llist_for_each_entry_safe (watch, next, list, news) {
		deliver(watch);
		cond_resched();
	}
	return more;
}

/* Adds to a list all that is linked to `first`. True: it was empty. */
static bool add_all(struct llist_node *first, struct llist_head *list, u64 *ret_length)
{
	struct llist_node *last, *node;

	*ret_length = 0;
	llist_for_each (node, first) {
		last = node;
		++*ret_length;
	}
	return *ret_length && llist_add_batch(first, last, list);
}

static void reap_for_reader(unsigned int cpu)
{
	struct reaper *reaper = per_cpu_ptr(&reapers, cpu);
	LLIST_HEAD(of_modules); /* the reaper's to deliver */
	u64 length;

	if (llist_empty(&reaper->news)) {
		smp_rmb(); /* Who emptied it has had the lock since before. */
		if (!mutex_is_locked(&reaper->draining))
			return;
	}
	drain_once(reaper, &of_modules);
	if (add_all(__llist_del_all(&of_modules), &reaper->news, &length))
		wake_up_process(per_cpu(reaper_threads, cpu));
}

/* All that was added to a list for a session before this is delivered afterwards. */
void knell_reap_all(void)
{
	unsigned int cpu;

	cpus_read_lock(); /* the list of one that is offline was moved */
	for_each_online_cpu (cpu)
		reap_for_reader(cpu);
	cpus_read_unlock();
}

static int reaper_should_run(unsigned int cpu)
{
	return !llist_empty(&per_cpu(reapers, cpu).news);
}

static void reaper_run(unsigned int cpu)
{
	WARN_ON_ONCE(cpu != raw_smp_processor_id());
	while (reap_once(per_cpu_ptr(&reapers, cpu)))
		;
}

static void reaper_setup(unsigned int cpu)
{
	if (fifo)
		sched_set_fifo_low(current);
}

static struct smp_hotplug_thread reaper_hotplug = {
	.store = &reaper_threads,
	.thread_should_run = reaper_should_run,
	.thread_fn = reaper_run,
	.setup = reaper_setup,
	.thread_comm = "knell/%u",
	.selfparking = true, /* by the two functions below */
};

/*
 * A reaper may have to sleep for a lock, and cannot park before it has it. The kernel parks such
 * threads in the order in which they came, under PREEMPT_RT those that run timers first; whoever
 * waits for a timer then sleeps for ever, and the CPU never goes offline. This comes before.
 */
static int reaper_park(unsigned int cpu)
{
	kthread_park(per_cpu(reaper_threads, cpu));
	return 0;
}

static int reaper_unpark(unsigned int cpu)
{
	kthread_unpark(per_cpu(reaper_threads, cpu));
	return 0;
}

/* Runs on another CPU when this one is dead: nothing is added to its list any more. */
static int move_news(unsigned int dead)
{
	struct llist_node *first = llist_del_all(&per_cpu(reapers, dead).news);
	u64 moved;

	preempt_disable();
	if (add_all(first, this_cpu_ptr(&reapers.news), &moved))
		wake();
	this_cpu_add(reapers.moved, moved);
	preempt_enable();
	return 0;
}

int knell_reapers_start(void)
{
	unsigned int cpu;
	int error;

	for_each_possible_cpu (cpu)
		mutex_init(&per_cpu(reapers, cpu).draining);
	error = smpboot_register_percpu_thread(&reaper_hotplug);
	if (error)
		return error;
	error = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "knell:prepare", NULL, move_news);
	if (error < 0) {
		smpboot_unregister_percpu_thread(&reaper_hotplug);
		return error;
	}
	moving = error;
	error = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "knell:online", reaper_unpark, reaper_park);
	if (error < 0) {
		cpuhp_remove_state_nocalls(moving);
		smpboot_unregister_percpu_thread(&reaper_hotplug);
		return error;
	}
	parking = error;
	return 0;
}

/* The hooks are off: nothing is added any more. What is left is delivered to nobody. */
void knell_reapers_stop(void)
{
	unsigned int cpu;

	cpuhp_remove_state(parking);
	cpuhp_remove_state_nocalls(moving);
	smpboot_unregister_percpu_thread(&reaper_hotplug);
	for_each_possible_cpu (cpu)
		while (reap_once(per_cpu_ptr(&reapers, cpu)))
			;
}

void knell_reap_stats(struct knell_kmod_stats *stats)
{
	unsigned int cpu;

	for_each_possible_cpu (cpu) {
		const struct reaper *reaper = per_cpu_ptr(&reapers, cpu);

		stats->news += READ_ONCE(reaper->queued);
		stats->wakeups += READ_ONCE(reaper->wakeups);
		stats->rounds += READ_ONCE(reaper->rounds);
		stats->longest = max_t(u64, stats->longest, READ_ONCE(reaper->longest));
		stats->moved += READ_ONCE(reaper->moved);
	}
}
