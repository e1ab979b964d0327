/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * fake_source.h - a source of events that a test writes itself: what it pushes is what the next
 * dispatch delivers. It needs no privilege and no process.
 */
#ifndef KNELL_TESTS_UNIT_FAKE_SOURCE_H
#define KNELL_TESTS_UNIT_FAKE_SOURCE_H

#include <knell/knell.h>

#define FAKE_RINGS 4u

/* Opens an engine on a fake source; knell_close() closes both. */
int fake_open(struct knell_engine **ret_engine, const struct knell_options *options);

/* Opens one that can do this, too (KNELL_CAN_*): it watches by pidfd. */
int fake_open_able(struct knell_engine **ret_engine, const struct knell_options *options,
		   uint32_t can);

/* What the op `watch` returns from now on: 0 or -errno. */
void fake_refuse(struct knell_engine *engine, int error);

/* The identity that a watched process has in the records of a fake source. */
struct knell_task_id fake_id(pid_t pid);

/* Queues a copy of a record, of event->size bytes. */
void fake_push(struct knell_engine *engine, const struct knell_event *event);

/* Delivers a record at once, without the queue: for millions of them. */
void fake_deliver(struct knell_engine *engine, struct knell_event *event);

/* The next dispatch delivers what is queued and then fails. */
void fake_break(struct knell_engine *engine, int error);

/* The options that the source was opened with. */
const struct knell_options *fake_options(const struct knell_engine *engine);

/* How many fake sources are open. */
extern unsigned int fake_count;

#endif
