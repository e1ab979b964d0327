/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * engine.h - the engine's own state, for the files of lib/ that make it up.
 */
#ifndef KNELL_ENGINE_H
#define KNELL_ENGINE_H

#include <pthread.h>

#include <knell/knell.h>

#include "source/source.h"

struct children;
struct knell_watches;
struct reapers;

/*
 * Of each ring of the source: a cache line of its own. With reapers its home's writes it, but a
 * birth may be told by another one: atomic.
 */
struct ring_count {
	uint64_t next_seq;
	uint64_t records;
	uint64_t lost_births;
	uint64_t lost_deaths;
	uint64_t lost_others;
	uint64_t pad[3];
};
struct table;

struct knell_engine {
	struct knell_source *source;
	uint32_t flags;               /* KNELL_O_* */
	struct knell_options options; /* complete; the string of `source` is not ours */
	int epoll_fd; /* knell_fd(): of the source's descriptor and those of watches */
	struct knell_watches *watches; /* NULL before the first one: see watch.h */
	struct table *table;           /* the watchers */
	struct knell_plugin *plugins;  /* see plugin.c */
	pthread_mutex_t plugin_lock;   /* for the list of them */
	struct ring_count *rings;
	uint64_t watcher_errors; /* atomic: beside those that the table counts */

	/* Who dispatches: see reapers.c. */
	struct reapers *reapers; /* NULL: the host */
	unsigned int hosting;    /* the host is inside a call that calls back: see
				    knell_engine_host_begins() */
	pthread_mutex_t lock;    /* recursive: for what is not thread-safe by itself */

	/* see reap/reap.c */
	struct children *children; /* NULL: the source reaps */
	pid_t self;                /* our own process */
	int reap_fd;               /* a timer in epoll_fd; -1: not needed yet */
	bool reap_armed;
	pthread_mutex_t heard_lock;
	pid_t *heard; /* with reapers: announced, but not put with `children` yet */
	size_t heard_count, heard_room;
	bool heard_missed; /* no room for one: look for all */
};

/*
 * Around what the API does with a source that has one home only: then its reaper has the lock while
 * it dispatches. Costs nothing else.
 */
void knell_engine_enter(struct knell_engine *engine);
void knell_engine_leave(struct knell_engine *engine);

/*
 * Around a call of the host's that may call back: no reaper may be started from inside it. Nothing
 * while there are reapers, for then any thread may be the one that calls.
 */
void knell_engine_host_begins(struct knell_engine *engine);
void knell_engine_host_ends(struct knell_engine *engine);

/* Does each home have a reaper? */
bool knell_engine_split(const struct knell_engine *engine);

/* What knell_dispatch() does, whoever calls it. */
int knell_engine_dispatch(struct knell_engine *engine);

/* A record for the watchers alone: knell_engine_deliver() lets the watches hear it, too. */
void knell_engine_tell_watchers(struct knell_engine *engine, struct knell_event *event);

#endif
