// SPDX-License-Identifier: GPL-2.0-only
/*
 * call.c - where functions of other modules run: workers of the kernel, not reapers.
 *
 * Owns the two work queues. A reaper is parked when its CPU goes offline, and whoever does that
 * waits for it with the lock of all CPUs; but a function may wait for who arms a hook, and that
 * takes the same lock. Nobody waits for a worker. Each call's work is in what it is about, so none
 * is allocated: functions of watches run on the CPU of the death, one at a time and in its order;
 * each table's watchers wherever there is room. Not WQ_MEM_RECLAIM: functions may wait for work of
 * other queues.
 */
#include <linux/workqueue.h>

#include "engine.h"

static struct workqueue_struct *functions;
static struct workqueue_struct *watchers;

int knell_calls_start(void)
{
	functions = alloc_workqueue("knell_functions", 0, 1);
	watchers = alloc_workqueue("knell_watchers", WQ_UNBOUND, 0);
	if (functions && watchers)
		return 0;
	knell_calls_stop();
	return -ENOMEM;
}

/* Nothing is queued any more; what is left is done first. */
void knell_calls_stop(void)
{
	if (functions)
		destroy_workqueue(functions);
	if (watchers)
		destroy_workqueue(watchers);
}

void knell_call_function(struct work_struct *call)
{
	queue_work(functions, call);
}

/* False: it is queued already. */
bool knell_call_watchers(struct work_struct *calls)
{
	return queue_work(watchers, calls);
}
