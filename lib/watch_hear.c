/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch_hear.c - hears records of the source, pidfds and other descriptors, and tells verdicts. It
 * owns nothing but the order of things:
 *
 *   A record of the source is heard while the source delivers it, without a look at any descriptor.
 *   A pidfd that is readable comes after a source that is dispatched once more: most know of a
 *   death before its pidfd does. The connector's message comes a moment later, and is waited for
 *   if the pidfd itself does not know the status.
 *
 * A callback may cancel any watch, and runs without the lock. So every list that is walked while
 * callbacks run is taken from its front, and a target leaves all lists before its callback is
 * called: whoever takes it out has its verdict.
 */
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "pidfd.h"
#include "reapers.h"
#include "watch.h"

#define BATCH  64
#define ROUNDS 16 /* of so many descriptors, before the host gets its turn */

_Thread_local unsigned int watch_depth;

/* What a pidfd can tell of a death, in addition to what is held. */
static void fill_exit(struct target *t, bool known, int status)
{
	struct knell_event *e = &t->event;

	if (!t->held) {
		e->size = KNELL_EVENT_HEAD + sizeof(e->u.exit);
		e->version = KNELL_EVENT_VERSION;
		e->kind = KNELL_EXIT;
		e->scope = KNELL_PROCESS;
		e->flags = KNELL_F_ROOT;
		e->unknown = KNELL_U_PARENT | KNELL_U_UID | KNELL_U_GID | KNELL_U_CGROUP |
			     KNELL_U_COMM | KNELL_U_CPU | KNELL_U_STATUS | KNELL_U_TIMES |
			     KNELL_U_RSS | KNELL_U_FAULTS | KNELL_U_CAUSE | KNELL_U_TERM;
		e->time = knell_now();
		e->task = t->id;
		e->cookie = t->watch->options.cookie;
	}
	t->held = true;
	if (!known)
		return;
	e->unknown &= ~KNELL_U_STATUS;
	e->u.exit.status = status;
	if (WIFSIGNALED(status))
		e->u.exit.killer.signo = (uint8_t)WTERMSIG(status);
	else
		e->unknown &= ~KNELL_U_CAUSE; /* it exited: there is none */
}

/* A source that hears nothing by itself: its records are made here, one for each process. */
static bool is_record(struct target *t)
{
	struct knell_watches *ws = t->watch->watches;
	struct target *other;

	if (!ws->engine->source->ops->deaths_by_pidfd || t->told)
		return false;
	for (other = *watches_chain(ws, t->id.tgid); other; other = other->chain_next) {
		if (t->id.start && target_is(other, &t->id) && other->fd >= 0 &&
		    knell_pidfd_same(other->fd, t->fd))
			other->told = true;
	}
	return true;
}

/*
 * The one place that calls back, without the lock. Afterwards the target is gone, and perhaps its
 * watch.
 */
static void tell(struct target *t, enum knell_verdict_kind kind, const struct knell_event *event)
{
	struct knell_watch *w = t->watch;
	struct knell_watches *ws = w->watches;
	const struct knell_verdict verdict = {
		.kind = kind,
		.pid = t->pid,
		.cookie = w->options.cookie,
		.event = event,
	};
	bool record = t->held && is_record(t);

	/* From here on the verdict is ours alone to tell: nobody finds it any more. */
	target_unlink(t);
	target_disarm(t); /* while it is told its descriptor may become ready */
	w->calls++;
	watch_depth++;
	pthread_mutex_unlock(&ws->lock);
	if (record)
		knell_engine_tell_watchers(ws->engine, &t->event);
	/* Who cancels now waits until we are back. */
	if (!__atomic_load_n(&w->cancelled, __ATOMIC_RELAXED))
		w->options.fn(w, &verdict, w->options.userdata);
	pthread_mutex_lock(&ws->lock);
	watch_depth--;
	w->calls--;
	target_free(t);
	if (w->waiters)
		pthread_cond_broadcast(&ws->called);
	watch_settle(w);
}

/* Until its deadline it may still be reaped, or freed. */
void target_wait(struct target *t)
{
	struct knell_watches *ws = t->watch->watches;

	if (t->released)
		target_disarm(t); /* it would be ready for ever */
	else if (t->armed)
		target_arm(t, 0); /* for EPOLLHUP */
	t->deadline = knell_now() + WATCH_GRACE_MS * UINT64_C(1000000);
	target_queue(t, &ws->grace);
	/* Who dispatches sets it anew at the end; a reaper does not. */
	if (!ws->timer_at)
		watches_set_timer(ws, t->deadline);
}

/* It is dead. Tells with what status, if that can be known or if there is nothing to wait for. */
static void conclude(struct target *t, bool final)
{
	int status = t->status;
	bool known = t->has_status;

	if (t->held && !(t->event.unknown & KNELL_U_STATUS)) {
		tell(t, KNELL_EXITED, &t->event);
		return;
	}
	/* Its reaper has the record, or will: it says more than the pidfd. */
	if (!final && t->heard && !t->held && knell_engine_split(t->watch->watches->engine)) {
		target_wait(t);
		return;
	}
	if (!known && t->fd >= 0)
		known = knell_pidfd_status(t->fd, &status) == 0;
	/* The connector's message comes a moment after the pidfd is readable. */
	if (!known && !final &&
	    ((t->heard && !t->held) || (!t->released && knell_pidfd_tells_late()))) {
		target_wait(t);
		return;
	}
	/* Nobody waits for it, so it may stay as it is for ever. */
	if (!known && t->fd >= 0 && !t->released)
		known = knell_pidfd_zombie_status(t->fd, &status) == 0;
	fill_exit(t, known, status);
	tell(t, known ? KNELL_EXITED : KNELL_GONE, known ? &t->event : NULL);
}

/* ---- records ---- */

/* Those that wait for this task, moved to a list of their own. */
static void find_targets(struct knell_watches *ws, const struct knell_task_id *id,
			 struct cds_list_head *found)
{
	struct target *t;

	for (t = *watches_chain(ws, id->tgid); t; t = t->chain_next) {
		if (target_is(t, id))
			target_queue(t, found);
	}
}

/* To know when it is dead. Without a pidfd it was born while we listened; see watch_find.c. */
static bool can_wait(struct target *t)
{
	if (t->fd < 0)
		target_open_born(t);
	return t->fd >= 0;
}

/* Only who cancels finds it: he need not wait while others are told before it. */
static void set_aside(struct target *t)
{
	target_unlink(t);
	cds_list_add_tail(&t->in_watch, &t->watch->targets);
	target_disarm(t);
}

/* Notes what the record says; calls nobody back. True: its verdict is due, and ours to tell. */
static bool note_exit(struct target *t, const struct knell_event *event)
{
	bool known = !(event->unknown & KNELL_U_STATUS);

	if (t->held)
		return false;
	t->told = true;
	if (known && (t->moment == KNELL_AT_ANY || t->moment == KNELL_AT_EXIT)) {
		set_aside(t);
		return true;
	}
	memcpy(&t->event, event, event->size < sizeof(t->event) ? event->size : sizeof(t->event));
	t->held = true;
	return false;
}

static void follow_exit(struct target *t)
{
	if (t->moment == KNELL_AT_FREE) {
		/* It waited for its deadline already, and does again: its free may be lost. */
		if (t->released)
			target_wait(t);
		return;
	}
	if (t->dead || (!can_wait(t) && t->released))
		conclude(t, true);
	else if (t->fd < 0)
		target_wait(t); /* no descriptor left: it is as good as dead by then */
}

static void note_free(struct target *t, const struct knell_event *event)
{
	struct knell_exit *exit = &t->event.u.exit;
	const uint32_t account = KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;

	if (t->moment != KNELL_AT_FREE || event->flags & KNELL_F_GIVEN_UP)
		return;
	t->freed = true;
	if (t->held && !(event->unknown & account)) {
		exit->usage = event->u.free.usage;
		t->event.unknown &= ~account;
		t->event.flags |= KNELL_F_USAGE_FINAL;
	}
}

static void follow_free(struct target *t, bool given_up)
{
	if (t->moment != KNELL_AT_FREE)
		return;
	/* The source will not tell when: the pidfd does, if only when it is asked. */
	if (given_up && can_wait(t))
		target_wait(t);
	else
		conclude(t, true);
}

/*
 * All is noted before the first callback: while that runs the others are not locked, and whoever
 * finds one of them must know what we know.
 */
static void hear_death(struct knell_watches *ws, const struct knell_event *event)
{
	CDS_LIST_HEAD(found);
	CDS_LIST_HEAD(rest);
	CDS_LIST_HEAD(aside);
	struct target *t;

	find_targets(ws, &event->task, &found);
	while ((t = target_take(&found)) != NULL) {
		if (event->kind == KNELL_FREE)
			note_free(t, event);
		else if (note_exit(t, event)) {
			target_queue(t, &aside);
			continue;
		}
		target_queue(t, &rest);
	}
	while ((t = target_take(&aside)) != NULL)
		tell(t, KNELL_EXITED, event);
	while ((t = target_take(&rest)) != NULL) {
		if (event->kind == KNELL_EXIT)
			follow_exit(t);
		else
			follow_free(t, event->flags & KNELL_F_GIVEN_UP);
	}
}

void knell_watches_hear(struct knell_watches *ws, const struct knell_event *event)
{
	if (event->scope != KNELL_PROCESS)
		return;
	pthread_mutex_lock(&ws->lock);
	if (event->kind == KNELL_EXIT || event->kind == KNELL_FREE)
		hear_death(ws, event);
	else
		knell_watches_hear_birth(ws, event);
	pthread_mutex_unlock(&ws->lock);
}

/* A child of ours that is about to be waited for: afterwards an older kernel has forgotten it. */
void knell_watches_before_reap(struct knell_watches *ws, pid_t pid)
{
	struct target *t;

	pthread_mutex_lock(&ws->lock);
	for (t = *watches_chain(ws, (uint32_t)pid); t; t = t->chain_next) {
		if (t->id.tgid != (uint32_t)pid || t->fd < 0 || t->has_status)
			continue;
		t->has_status = knell_pidfd_status(t->fd, &t->status) == 0;
	}
	pthread_mutex_unlock(&ws->lock);
}

/* ---- descriptors ---- */

/* Notes what the kernel reports; calls nobody back. True: the source may know more of it. */
static bool note_ready(struct target *t, uint32_t events, struct cds_list_head *ready)
{
	if (t->kind == TARGET_FD) {
		/* A socket's error may be one of a packet, or news of its queue. */
		if (events & (EPOLLHUP | EPOLLRDHUP) || (events & EPOLLERR && !t->socket))
			target_queue(t, ready);
		return false;
	}
	t->dead = true;
	if (events & EPOLLHUP)
		t->released = true;
	target_queue(t, ready);
	return t->heard && (!t->held || t->moment == KNELL_AT_FREE);
}

static void tell_ready(struct target *t)
{
	if (t->kind == TARGET_FD)
		tell(t, KNELL_GONE, NULL);
	else if (t->moment == KNELL_AT_FREE && !t->freed)
		target_wait(t); /* released; its record is on its way */
	else
		conclude(t, false);
}

/* Their reapers may know more of them. */
static void kick_for(struct knell_watches *ws, struct cds_list_head *ready)
{
	uint64_t kick = reapers_kick(ws->engine->reapers);
	struct target *t;

	cds_list_for_each_entry (t, ready, in_queue)
		t->kick = kick;
}

/* Returns whether there may be more. */
static bool hear_descriptors(struct knell_watches *ws, int *ret_error)
{
	struct knell_source *source = ws->engine->source;
	struct epoll_event events[BATCH];
	CDS_LIST_HEAD(ready);
	struct target *t;
	bool ask = false;
	int n, r;

	n = epoll_wait(ws->engine->epoll_fd, events, BATCH, 0);
	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr && events[i].data.ptr != ws)
			ask |= note_ready(events[i].data.ptr, events[i].events, &ready);
	}
	if (ask && knell_engine_split(ws->engine)) {
		kick_for(ws, &ready);
	} else if (ask) {
		pthread_mutex_unlock(&ws->lock);
		r = source->ops->dispatch(source);
		if (r < 0)
			*ret_error = r;
		pthread_mutex_lock(&ws->lock);
	}
	while ((t = target_take(&ready)) != NULL)
		tell_ready(t);
	return n == BATCH;
}

/*
 * However long a reaper takes, it has the record: it was queued before the pidfd was readable. Only
 * when each of them has looked since, there is none.
 */
static bool record_may_come(struct knell_watches *ws, struct target *t)
{
	if (!knell_engine_split(ws->engine) || !t->heard)
		return false;
	if (t->held && (t->moment != KNELL_AT_FREE || t->freed))
		return false;
	if (t->kick && reapers_have_looked(ws->engine->reapers, t->kick))
		return false;
	t->kick = reapers_kick(ws->engine->reapers);
	return true;
}

static void hear_deadlines(struct knell_watches *ws)
{
	uint64_t now;

	if (cds_list_empty(&ws->grace))
		return;
	now = knell_now();
	while (!cds_list_empty(&ws->grace)) {
		struct target *t = cds_list_first_entry(&ws->grace, struct target, in_queue);

		if (t->deadline > now)
			return;
		cds_list_del_init(&t->in_queue);
		if (record_may_come(ws, t))
			target_wait(t);
		else if (t->moment == KNELL_AT_FREE && !t->freed && t->fd >= 0 && !t->released &&
			 !knell_pidfd_reaped(t->fd))
			target_wait(t);
		else
			conclude(t, true);
	}
}

static void tell_due(struct knell_watches *ws)
{
	CDS_LIST_HEAD(due);
	struct target *t;

	/* Those that a callback adds are for the next time. */
	cds_list_splice(&ws->due, &due);
	CDS_INIT_LIST_HEAD(&ws->due);
	while ((t = target_take(&due)) != NULL)
		tell(t, KNELL_ABSENT, NULL);
}

int knell_watches_dispatch(struct knell_watches *ws)
{
	uint64_t at = 0;
	int r = 0;

	pthread_mutex_lock(&ws->lock);
	tell_due(ws);
	for (int round = 0; round < ROUNDS && ws->armed; round++) {
		if (!hear_descriptors(ws, &r))
			break;
	}
	hear_deadlines(ws);
	if (!cds_list_empty(&ws->due))
		at = 1;
	else if (!cds_list_empty(&ws->grace))
		at = cds_list_first_entry(&ws->grace, struct target, in_queue)->deadline;
	watches_set_timer(ws, at);
	pthread_mutex_unlock(&ws->lock);
	return r;
}
