/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * sleep.h - what the host of a source with one descriptor sleeps on. While nothing comes the
 * descriptor is in an epoll set, so that the first record wakes the host; in a burst it is taken
 * out, and a timer wakes the host, once a batch.
 */
#ifndef KNELL_SLEEP_H
#define KNELL_SLEEP_H

#include <stdbool.h>
#include <stdint.h>

struct source_sleep {
	int epoll_fd; /* what the host polls; the source may add descriptors of its own */
	int timer_fd;
	int heard_fd;   /* the source's */
	bool listening; /* it is in the epoll set */
	uint64_t wakeups;
};

/* So that it may be closed. */
void sleep_init(struct source_sleep *sleep);

/* Listens. 0, or -errno after knell_fail(). */
int sleep_open(struct source_sleep *sleep, int heard_fd);
void sleep_close(struct source_sleep *sleep);

/* The host called dispatch: was it woken? */
void sleep_count_wakeup(struct source_sleep *sleep);

/* Until the descriptor or, with `listen` false, the timer alone wakes the host. */
void sleep_listen(struct source_sleep *sleep, bool listen);

#endif
