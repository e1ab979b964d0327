/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * engine.h - the engine's own state, for the files of lib/ that make it up.
 */
#ifndef KNELL_ENGINE_H
#define KNELL_ENGINE_H

#include <knell/knell.h>

#include "source/source.h"

struct watcher {
	uint32_t mask;
	knell_watcher_fn fn;
	void *userdata;
};

struct children;
struct knell_watches;

struct knell_engine {
	struct knell_source *source;
	uint32_t flags; /* KNELL_O_* */
	int epoll_fd;   /* knell_fd(): of the source's descriptor and those of watches */
	struct knell_watches *watches; /* NULL before the first one: see watch.h */
	struct watcher *watchers;
	size_t watcher_count;
	uint64_t *next_seq; /* one for each ring of the source */
	struct knell_stats stats;

	/* see reap/reap.c */
	struct children *children; /* NULL: the source reaps */
	pid_t self;                /* our own process */
	int reap_fd;               /* a timer in epoll_fd; -1: not needed yet */
	bool reap_armed;
};

/* A record for the watchers alone: knell_engine_deliver() lets the watches hear it, too. */
void knell_engine_tell_watchers(struct knell_engine *engine, struct knell_event *event);

#endif
