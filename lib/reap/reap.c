/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * reap.c - knell_reap(): tells children.c which of our children the source has heard dying, lets
 * the watches look at a zombie before it is gone, and wakes the host when a look for others was put
 * off. It owns the engine's children and a timer in its epoll, which is made when it is first
 * needed.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "children.h"
#include "engine.h"
#include "reap.h"
#include "watch.h"

int knell_reap_open(struct knell_engine *engine, const struct knell_source_ops *ops)
{
	int r;

	if (ops->reap)
		return 0;
	engine->self = getpid();
	r = children_open(&engine->children);
	if (r < 0)
		return knell_fail(r, "no memory for the children");
	/* Whoever hears a subtree from its birth hears each death in it, but for gaps. */
	children_all_announced(engine->children, ops->can & KNELL_CAN_FORK);
	return 0;
}

void knell_reap_close(struct knell_engine *engine)
{
	engine->children = children_close(engine->children);
	free(engine->heard);
	if (engine->reap_fd >= 0)
		close(engine->reap_fd);
	engine->reap_fd = -1;
}

/* Nobody may ever call knell_reap(): then it is no use to remember each child. */
#define HEARD_MAX 65536u

/* From a reaper to the thread that calls knell_reap(). */
static void hand_over(struct knell_engine *engine, pid_t pid)
{
	pthread_mutex_lock(&engine->heard_lock);
	if (engine->heard_count == engine->heard_room && engine->heard_room < HEARD_MAX) {
		size_t room = engine->heard_room ? 2 * engine->heard_room : 64;
		pid_t *grown = realloc(engine->heard, room * sizeof(*grown));

		if (grown) {
			engine->heard = grown;
			engine->heard_room = room;
		}
	}
	if (engine->heard_count < engine->heard_room)
		engine->heard[engine->heard_count++] = pid;
	else
		engine->heard_missed = true;
	pthread_mutex_unlock(&engine->heard_lock);
}

/*
 * The parent is that of the moment of death. If it dies, too, before it has waited, its zombie
 * becomes ours: nobody announces that, but a peek finds it.
 */
void knell_reap_hear(struct knell_engine *engine, const struct knell_event *event)
{
	if (!engine->children || event->scope != KNELL_PROCESS)
		return;
	if (!(event->unknown & KNELL_U_PARENT) && event->parent.tgid != (uint32_t)engine->self)
		return;
	if (engine->reapers)
		hand_over(engine, (pid_t)event->task.tgid);
	else
		children_announce(engine->children, (pid_t)event->task.tgid);
}

/* What the reapers have heard. */
static void take_over(struct knell_engine *engine)
{
	pthread_mutex_lock(&engine->heard_lock);
	for (size_t i = 0; i < engine->heard_count; i++)
		children_announce(engine->children, engine->heard[i]);
	engine->heard_count = 0;
	if (engine->heard_missed)
		children_missed(engine->children);
	engine->heard_missed = false;
	pthread_mutex_unlock(&engine->heard_lock);
}

/* In the engine's epoll as the source is: knell_dispatch() has nothing else to do for it. */
static bool make_timer(struct knell_engine *engine)
{
	struct epoll_event event = { .events = EPOLLIN };

	engine->reap_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (engine->reap_fd >= 0 &&
	    epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, engine->reap_fd, &event) == 0)
		return true;
	if (engine->reap_fd >= 0)
		close(engine->reap_fd);
	engine->reap_fd = -1;
	return false;
}

/* False: nothing can wake the host. */
static bool set_timer(struct knell_engine *engine, int ms)
{
	struct itimerspec when = { .it_value = { .tv_nsec = ms > 0 ? ms * 1000000L : 1 } };

	/* With reapers the descriptor is not the host's. */
	if (engine->reapers)
		return false;
	/* It may be early: then that call puts the look off again. */
	if (engine->reap_armed)
		return true;
	if (engine->reap_fd < 0 && !make_timer(engine))
		return false;
	engine->reap_armed = timerfd_settime(engine->reap_fd, 0, &when, NULL) == 0;
	return engine->reap_armed;
}

void knell_reap_clear(struct knell_engine *engine)
{
	uint64_t expirations;

	if (engine->reap_armed &&
	    read(engine->reap_fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		engine->reap_armed = false;
}

/* An older kernel tells a status only once: watches look first. */
static void look(pid_t pid, void *userdata)
{
	knell_watches_before_reap(userdata, pid);
}

int knell_reap(struct knell_engine *engine, knell_reap_fn fn, void *userdata)
{
	struct children *children = engine->children;
	struct knell_watches *watches = watches_of(engine);
	bool watched = watches && __atomic_load_n(&watches->table_count, __ATOMIC_RELAXED);
	int r, more, ms;

	if (!children) {
		knell_engine_enter(engine);
		knell_engine_host_begins(engine);
		r = engine->source->ops->reap(engine->source, fn, userdata);
		knell_engine_host_ends(engine);
		knell_engine_leave(engine);
		return r;
	}
	take_over(engine);
	children_set_look(children, watched ? look : NULL, watches);
	r = children_reap(children, fn, userdata);
	ms = children_timeout(children);
	if (ms < 0 || set_timer(engine, ms) || r <= 0)
		return r;
	/* Nobody would come back for a look that was put off. */
	do {
		more = children_reap(children, fn, userdata);
		r += more > 0 ? more : 0;
	} while (more > 0);
	return r;
}

void knell_reap_stats(const struct knell_engine *engine, struct knell_stats *stats)
{
	struct children_stats reaped;

	if (!engine->children)
		return;
	children_get_stats(engine->children, &reaped);
	stats->reaped_directed = reaped.directed;
	stats->reaped_peeked = reaped.peeked;
	stats->reaped_swept = reaped.swept;
	stats->reaped_any = reaped.any;
}
