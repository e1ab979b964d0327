/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * dispatch_watchers.c - see dispatch_watchers.h.
 */
#include "dispatch_watchers.h"

#include <string.h>

/* The part of this thread. */
static inline struct watched *mine(const struct knell_event *event, void *userdata)
{
	return (struct watched *)userdata + event->cpu;
}

static inline uint32_t hash_of(const struct knell_event *event)
{
	return event->task.tgid * 2654435761u;
}

static inline int count(const struct knell_event *event, struct watched *w)
{
	w->total++;
	w->failed += event->u.exit.status != 0;
	w->of[hash_of(event) >> 26]++;
	return 0;
}

static inline int find_life(const struct knell_event *event, struct watched *w)
{
	uint32_t at = hash_of(event) >> 22;

	for (unsigned int i = 0; i < LIVES; i++, at = (at + 1) % LIVES) {
		struct life *life = &w->lives[at];

		if (life->id.tgid == event->task.tgid && life->id.start == event->task.start) {
			life->deaths++;
			return count(event, w);
		}
		if (life->id.tgid == 0) {
			life->id = event->task;
			memcpy(life->comm, event->comm, sizeof(life->comm));
			return count(event, w);
		}
	}
	return -1;
}

#define WATCHER(n)                                                                                 \
	int lives_##n(const struct knell_event *event, void *userdata)                             \
	{                                                                                          \
		return find_life(event, mine(event, userdata));                                    \
	}                                                                                          \
	int count_##n(const struct knell_event *event, void *userdata)                             \
	{                                                                                          \
		return count(event, mine(event, userdata));                                        \
	}                                                                                          \
	int none_##n(const struct knell_event *event, void *userdata)                              \
	{                                                                                          \
		struct watched *w = mine(event, userdata);                                         \
                                                                                                   \
		w->total += (n) + 1;                                                               \
		return 0;                                                                          \
	}

EACH(WATCHER)
