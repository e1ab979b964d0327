/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace.c - the ptrace source, on the side of the engine's thread: hears a subtree that it starts,
 * without any privilege, at the price of two stops for each birth. Opens and closes the tracer
 * thread, forks for it, and delivers what it queued. What is different for a task that runs under
 * it is in docs/ptrace.md.
 *
 * Ids and cgroups are unknown in every record; a start time is when the source heard of the birth
 * (but our own, and that of a parent outside of the subtree, are /proc's). A task that renames
 * itself is not heard; its name is asked for when it forks, and when it dies after a millisecond or
 * more.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "ptrace.h"

/* How often the tracer is told of the room that deliveries make. */
#define FREE_EVERY 65536u

static struct pt_source *of(struct knell_source *source)
{
	return (struct pt_source *)source;
}

static int ptrace_probe(struct knell_probe *probe)
{
	struct pt_bell bell;
	int error = knell_pt_bell_open(&bell);

	if (error < 0) {
		knell_pt_explain(error, probe);
		return error;
	}
	knell_pt_bell_close(&bell);
	return 0;
}

static int fail_refused(int error)
{
	struct knell_probe probe = { 0 };

	knell_pt_explain(error, &probe);
	return knell_fail(error == -EPERM || error == -EACCES || error == -ENOSYS ? -ENOTSUP
										  : error,
			  "%s; %s", probe.reason, probe.remedy);
}

/* The tracer must not run a handler of the host's: it holds the lock. */
static int start_tracer(struct pt_source *source)
{
	sigset_t all, old;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&source->thread, NULL, knell_pt_tracer, source);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		return knell_fail(-error, "cannot start a thread: %s", strerror(error));
	pthread_setname_np(source->thread, "knell-ptrace");

	pthread_mutex_lock(&source->lock);
	while (!source->up)
		pthread_cond_wait(&source->caller_wakes, &source->lock);
	error = source->up_error;
	pthread_mutex_unlock(&source->lock);
	if (error == 0)
		return 0;
	pthread_join(source->thread, NULL);
	return fail_refused(error);
}

static void free_queue(struct knell_queue *queue)
{
	struct knell_queue_node *node;

	while ((node = knell_queue_pop(queue)))
		free(node); /* the first member of its item */
	;
}

static void free_source(struct pt_source *source)
{
	free_queue(&source->queue);
	free_queue(&source->reaped);
	knell_pt_table_close(&source->table);
	free(source->held);
	if (source->timer >= 0)
		close(source->timer);
	pthread_cond_destroy(&source->tracer_wakes);
	pthread_cond_destroy(&source->caller_wakes);
	pthread_mutex_destroy(&source->lock);
	free(source);
}

static struct pt_source *make_source(struct knell_engine *engine,
				     const struct knell_options *options)
{
	struct pt_source *source = calloc(1, sizeof(*source));
	struct pt_status status;

	if (!source)
		return NULL;
	source->base.ops = &knell_source_ptrace;
	source->base.engine = engine;
	source->flags = options->flags;
	source->batch = (uint64_t)options->batch_ms * 1000000u;
	source->self = getpid();
	knell_queue_init(&source->queue);
	knell_queue_init(&source->reaped);
	pthread_mutex_init(&source->lock, NULL);
	pthread_cond_init(&source->tracer_wakes, NULL);
	pthread_cond_init(&source->caller_wakes, NULL);
	source->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	/* A /proc of another pid namespace has other numbers than we have. */
	source->proc_works = true;
	source->proc_works = knell_pt_proc_status(source, source->self, &status) &&
			     status.tgid == source->self && status.same_pid_ns &&
			     knell_pt_proc_start(source->self, &source->self_start);
	return source;
}

static int ptrace_open(struct knell_source **ret_source, struct knell_engine *engine,
		       const struct knell_options *options)
{
	struct pt_source *source = make_source(engine, options);
	int error;

	if (!source)
		return knell_fail(-ENOMEM, "no memory for a source");
	if (source->timer < 0)
		error = knell_fail(-errno, "cannot create a timer: %s", strerror(errno));
	else if (knell_pt_table_open(&source->table) < 0)
		error = knell_fail(-ENOMEM, "no memory for a table of tasks");
	else
		error = start_tracer(source);
	if (error < 0) {
		free_source(source);
		return error;
	}
	*ret_source = &source->base;
	return 0;
}

/* The tracer's end detaches all tasks; they go on, and are the host's to wait for. */
static void ptrace_close(struct knell_source *base)
{
	struct pt_source *source = of(base);

	pthread_mutex_lock(&source->lock);
	source->stop = true;
	pthread_cond_signal(&source->tracer_wakes);
	knell_pt_bell_ring(&source->bell);
	pthread_mutex_unlock(&source->lock);
	pthread_join(source->thread, NULL);
	free_source(source);
}

static int ptrace_fd(const struct knell_source *source)
{
	return ((const struct pt_source *)source)->timer;
}

/* Gives room back; the tracer may wait for it. It looks after it has said so: see there. */
static void give_room(struct pt_source *source, size_t bytes)
{
	__atomic_sub_fetch(&source->queued, bytes, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&source->no_room, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&source->lock);
	pthread_cond_signal(&source->tracer_wakes);
	pthread_mutex_unlock(&source->lock);
}

static void deliver_gap(struct pt_source *source)
{
	struct knell_gap gap;

	pthread_mutex_lock(&source->lock);
	gap = source->gap;
	memset(&source->gap, 0, sizeof(source->gap));
	pthread_mutex_unlock(&source->lock);
	if (gap.cause)
		knell_engine_deliver_gap(source->base.engine, 0, &gap, 0);
}

static void deliver_all(struct pt_source *source, struct knell_queue *taken)
{
	struct knell_queue_node *node;
	size_t bytes = 0;

	while ((node = knell_queue_pop(taken))) {
		struct pt_item *item = (struct pt_item *)node;

		bytes += item->bytes;
		if (item->kind == PT_REAP) {
			knell_queue_push(&source->reaped, node);
			continue;
		}
		knell_engine_deliver(source->base.engine, &item->event);
		free(item);
		if (bytes >= FREE_EVERY) {
			give_room(source, bytes);
			bytes = 0;
		}
	}
	__atomic_store_n(&source->dispatched, knell_now(), __ATOMIC_RELAXED);
	give_room(source, bytes);
}

/* One pass over what was queued when it began: a tracer that adds more cannot keep it here. */
static int ptrace_dispatch(struct knell_source *base)
{
	struct pt_source *source = of(base);
	struct knell_queue taken;
	uint64_t expired;

	if (read(source->timer, &expired, sizeof(expired)) == (ssize_t)sizeof(expired))
		source->wakeups++;
	__atomic_store_n(&source->armed, PT_UNARMED, __ATOMIC_SEQ_CST);
	knell_queue_init(&taken);
	knell_queue_take(&source->queue, &taken);
	deliver_all(source, &taken);
	deliver_gap(source);
	return 0;
}

/* In the child: waits for the word that it is traced. Nothing of the caller's ran before. */
static void wait_for_go(int go)
{
	char word = 0;
	ssize_t n;

	do {
		n = read(go, &word, 1);
	} while (n < 0 && errno == EINTR);
	/* The end of the pipe: the tracer refused, or our parent died. */
	if (n != 1)
		_exit(127);
	close(go);
}

/* Has the tracer seize `pid`. */
static int ask_tracer(struct pt_source *source, pid_t pid)
{
	struct pt_request request = { .pid = pid };

	/* fork(2) copied the name of this thread, not that of its process. */
	prctl(PR_GET_NAME, request.comm);
	pthread_mutex_lock(&source->lock);
	source->request = &request;
	pthread_cond_signal(&source->tracer_wakes);
	knell_pt_bell_ring(&source->bell);
	while (!request.done)
		pthread_cond_wait(&source->caller_wakes, &source->lock);
	source->request = NULL;
	pthread_mutex_unlock(&source->lock);
	return request.result;
}

static pid_t fork_traced(struct pt_source *source, const int go[2], const sigset_t *mask)
{
	pid_t pid = fork();
	char word = 'g';
	int error;

	if (pid < 0)
		return knell_fail(-errno, "cannot fork: %s", strerror(errno));
	if (pid == 0) {
		close(go[1]);
		wait_for_go(go[0]);
		pthread_sigmask(SIG_SETMASK, mask, NULL);
		return 0;
	}
	error = ask_tracer(source, pid);
	if (error == 0) {
		if (write(go[1], &word, 1) == 1)
			return pid;
		return pid; /* it was killed: its death will be told */
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return fail_refused(error);
}

/*
 * The calling thread forks, so that the child is its child (a parent-death signal comes from the
 * thread that forked). Signals are blocked until the child is traced, or it would run the caller's
 * handlers before.
 */
static pid_t ptrace_fork(struct knell_source *base)
{
	sigset_t all, old;
	int go[2];
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		return knell_fail(-errno, "cannot make a pipe: %s", strerror(errno));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork_traced(of(base), go, &old);
	if (pid == 0)
		return 0;
	close(go[0]);
	close(go[1]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return pid;
}

static bool is_untraced_zombie(struct pt_source *source, pid_t pid)
{
	struct pt_status status;
	bool followed;

	pthread_mutex_lock(&source->lock);
	followed = pid == source->bell.pid || knell_pt_find(&source->table, pid);
	pthread_mutex_unlock(&source->lock);
	return !followed && knell_pt_proc_status(source, pid, &status) && status.zombie &&
	       status.tracer == 0;
}

/*
 * A task that died before its parent did is that one's to wait for once the tracer has seen it. If
 * the parent dies without having done so, the zombie becomes ours. No wait(2) could find it: one
 * for any child takes the stops of tracees away from the tracer, as it is a thread of ours.
 */
static int reap_adopted(struct pt_source *source, knell_reap_fn fn, void *userdata)
{
	pid_t *pids = NULL;
	int count = knell_pt_proc_children(source, &pids);
	int reported = 0;

	for (int i = 0; i < count; i++) {
		int status;

		if (!is_untraced_zombie(source, pids[i]) ||
		    waitpid(pids[i], &status, WNOHANG | __WALL) != pids[i])
			continue;
		if (fn)
			fn(pids[i], status, userdata);
		reported++;
	}
	free(pids);
	return reported;
}

/*
 * As wait(2) does, which forgets a stop when SIGCONT arrives: who is told of a stop may stop, too,
 * and must not when it is over. When a terminal stops and continues all of us, it often is.
 */
static bool is_over(struct pt_source *source, const struct pt_item *item)
{
	struct pt_process *process;
	struct pt_status status;
	bool over;

	if (!WIFSTOPPED(item->status))
		return false;
	pthread_mutex_lock(&source->lock);
	process = knell_pt_find_process(&source->table, item->pid);
	over = !process || !process->told_stop ||
	       (knell_pt_proc_status(source, item->pid, &status) && status.continuing);
	pthread_mutex_unlock(&source->lock);
	return over;
}

/* In this order: what the last task left was queued, or counted, before it was counted out. */
static bool nothing_left(struct pt_source *source)
{
	bool gap;

	if (__atomic_load_n(&source->alive, __ATOMIC_SEQ_CST) != 0 ||
	    __atomic_load_n(&source->queued, __ATOMIC_SEQ_CST) != 0 ||
	    __atomic_load_n(&source->adopted, __ATOMIC_SEQ_CST))
		return false;
	pthread_mutex_lock(&source->lock);
	gap = source->gap.cause != 0;
	pthread_mutex_unlock(&source->lock);
	return !gap;
}

static int ptrace_reap(struct knell_source *base, knell_reap_fn fn, void *userdata)
{
	struct pt_source *source = of(base);
	struct knell_queue_node *node;
	int reported = 0;

	while ((node = knell_queue_pop(&source->reaped))) {
		struct pt_item *item = (struct pt_item *)node;

		if (fn && !is_over(source, item))
			fn(item->pid, item->status, userdata);
		free(item);
		reported++;
	}
	/* Again until there is none: the list may change while it is read. */
	while (__atomic_exchange_n(&source->adopted, false, __ATOMIC_SEQ_CST)) {
		int adopted = reap_adopted(source, fn, userdata);

		if (adopted)
			__atomic_store_n(&source->adopted, true, __ATOMIC_SEQ_CST);
		reported += adopted;
	}
	if (reported)
		return reported;
	return nothing_left(source) ? -ECHILD : 0;
}

static void fill_alive(struct pt_source *source, struct pt_process *process,
		       struct knell_event *event)
{
	memset(event, 0, sizeof(*event));
	event->size = KNELL_EVENT_HEAD + sizeof(struct knell_clone);
	event->kind = KNELL_CLONE;
	event->scope = KNELL_PROCESS;
	event->flags =
		KNELL_F_RECONCILED | KNELL_F_START_STAMP | (process->root ? KNELL_F_ROOT : 0);
	event->unknown = KNELL_U_UID | KNELL_U_GID | KNELL_U_CGROUP | KNELL_U_CPU | KNELL_U_FLAGS;
	event->time = knell_now();
	event->task.start = process->leader.start;
	event->task.tid = event->task.tgid = (__u32)process->leader.tid;
	/* It cannot be another's: only the tracer waits for it, and that waits for the lock. */
	if (source->proc_works)
		knell_pt_proc_comm(process->leader.tid, process->comm);
	knell_pt_fill_comm(process, event);
	knell_pt_fill_parent(source, process, event);
}

/* A record for each process in the table; the lock is held. NULL: no memory, or none. */
static struct knell_event *list_alive(struct pt_source *source, int *ret_count)
{
	struct knell_event *events = calloc(source->table.used + 1, sizeof(*events));
	int count = 0;

	for (size_t i = 0; events && i < source->table.capacity; i++) {
		struct pt_task *task = source->table.slots[i];

		if (task && task == &task->process->leader)
			fill_alive(source, task->process, &events[count++]);
	}
	*ret_count = count;
	return events;
}

/* What was queued before the look comes before what was seen, what happens later, later. */
static int ptrace_reconcile(struct knell_source *base)
{
	struct pt_source *source = of(base);
	struct knell_event *events;
	struct knell_queue taken;
	int count;

	knell_queue_init(&taken);
	pthread_mutex_lock(&source->lock);
	knell_queue_take(&source->queue, &taken);
	events = list_alive(source, &count);
	pthread_mutex_unlock(&source->lock);
	deliver_all(source, &taken);
	if (!events)
		return knell_fail(-ENOMEM, "no memory for a list of tasks");
	for (int i = 0; i < count; i++)
		knell_engine_deliver(base->engine, &events[i]);
	free(events);
	return count;
}

static void ptrace_stats(const struct knell_source *base, struct knell_stats *stats)
{
	const struct pt_source *source = (const struct pt_source *)base;
	pthread_mutex_t *lock = (pthread_mutex_t *)&source->lock;

	pthread_mutex_lock(lock);
	stats->reserve_used = source->most_alive;
	pthread_mutex_unlock(lock);
	stats->wakeups = source->wakeups;
}

const struct knell_source_ops knell_source_ptrace = {
	.name = "ptrace",
	.summary = "a subtree that Knell starts; needs no privilege, slows births down",
	.probe = ptrace_probe,
	.open = ptrace_open,
	.close = ptrace_close,
	.fd = ptrace_fd,
	.dispatch = ptrace_dispatch,
	.can = KNELL_CAN_FORK | KNELL_CAN_STATUS | KNELL_CAN_THREADS | KNELL_CAN_FILE |
	       KNELL_CAN_ARGS | KNELL_CAN_COMM | KNELL_CAN_USAGE,
	.fork = ptrace_fork,
	.reap = ptrace_reap,
	.reconcile = ptrace_reconcile,
	.stats = ptrace_stats,
};
