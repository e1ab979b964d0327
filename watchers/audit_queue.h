/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_queue.h - the way of records from the reapers to the writer of an audit log: one queue of
 * fixed size for each ring, so that reapers share no lock and nothing is allocated. What finds no
 * room is counted in its place.
 *
 * One thread at a time puts records of one ring. Each record takes a ticket, a number from one
 * counter, and the reader gets them in the order of tickets: the order in which watchers were
 * called, over all rings. So a birth comes before its child's if the engine told them so.
 */
#ifndef KNELL_WATCHERS_AUDIT_QUEUE_H
#define KNELL_WATCHERS_AUDIT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <knell/knell.h>

#include "json.h"

/* The least that all queues together can have: two of the longest records in each. */
#define AUDIT_QUEUE_MIN (64u << 10)

struct audit_queues;

/*
 * `size`: bytes, for all queues together; each gets at least AUDIT_QUEUE_MIN. Memory that was never
 * used is not taken from the machine. 0 or -ENOMEM.
 */
int audit_queues_new(struct audit_queues **ret_queues, size_t size);
struct audit_queues *audit_queues_free(struct audit_queues *queues);

/* ---- reapers ---- */

/*
 * Copies a record; of an exec without its arguments, unless `args`. Returns true if the reader
 * sleeps and has to be woken: it says so to one caller only.
 */
bool audit_queues_put(struct audit_queues *queues, const struct knell_event *event, bool args);

/* ---- the reader ---- */

struct audit_item {
	const struct knell_event
		*event; /* NULL: what was lost is the last that is known of `ring` */
	uint32_t ring;
	struct json_count lost; /* in this ring, right before the event */
};

bool audit_is_none(const struct json_count *count);

/* The oldest, until audit_queues_pop(). False: there is none now. */
bool audit_queues_next(struct audit_queues *queues, struct audit_item *ret_item);

/* The losses of this item were told. */
void audit_queues_told(struct audit_queues *queues, const struct audit_item *item);

/* The record that audit_queues_next() gave is done with. */
void audit_queues_pop(struct audit_queues *queues);

/* From now on a put wakes. Returns false, and nothing will, if there is something to read. */
bool audit_queues_sleep(struct audit_queues *queues);
void audit_queues_awake(struct audit_queues *queues);

/* ---- anybody ---- */

/* Records that were put or refused, gaps not counted. */
uint64_t audit_queues_offered(const struct audit_queues *queues);

#endif
