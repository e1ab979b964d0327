/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify.h - the engine's conscience: a watcher that holds the order of lives to the contracts of
 * docs/design.md. It remembers who lives, and some of the recently dead, each with its last
 * records; whatever the contracts forbid is a violation, told as a text of several lines with that
 * history.
 *
 * What a source cannot see (KNELL_CAN_*, docs/sources.md) and what it marks as unknown is not
 * judged. What a gap may explain is held back until the end, or for ten seconds, and then told
 * unless a gap has counted it: each lost birth excuses one process without a birth, and so on, no
 * more than that.
 *
 * Several threads may hear at once, as long as the records of one process come in order and never
 * at the same time. Memory: 210 KB, and some 500 bytes for each process alive and each dead one
 * that is remembered, 48 for each thread alive where threads are asked for.
 */
#ifndef KNELL_WATCHERS_VERIFY_H
#define KNELL_WATCHERS_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <knell/knell.h>

struct verify;

/* verify_options.flags */
#define VERIFY_REAPERS    (1u << 0) /* several threads hear: numbers of a ring may come late */
#define VERIFY_MIXED_GAPS (1u << 1) /* `others` of a gap may be births and deaths, too */

/* Called for each violation, by one thread at a time. It must not call anything of verify's. */
typedef void (*verify_fn)(const char *text, void *userdata);

/* Is this process alive now? If that cannot be found out, say yes. */
typedef bool (*verify_lives_fn)(const struct knell_task_id *task, void *userdata);

struct verify_options {
	uint32_t flags;        /* VERIFY_* */
	uint32_t dead;         /* how many dead are remembered; 0: 16,384 */
	verify_fn fn;          /* may be NULL: see verify_text() */
	verify_lives_fn lives; /* NULL: /proc says so */
	void *userdata;        /* of both */

	/* Without an engine only, for whoever calls verify_hear() with records of its own. */
	uint32_t can;    /* KNELL_CAN_* */
	uint32_t opened; /* KNELL_O_* */
};

/*
 * Listens to this engine from the next dispatch on; with NULL to whoever calls verify_hear(). The
 * engine calls it until it is closed: close this one then. `options` may be NULL. -ENOMEM.
 */
int verify_open(struct verify **ret_verify, struct knell_engine *engine,
		const struct verify_options *options);

/* A record, of any kind. -ENOMEM: it was not judged, and from now on none is. */
int verify_hear(struct verify *verify, const struct knell_event *event);

/*
 * Looks who is dead by now without having been told so, while the engine is still open, on the
 * thread that dispatches. What has not been told yet gets two seconds, in which the engine is
 * dispatched: all its watchers must still be there.
 */
void verify_last_look(struct verify *verify);

/* The end: a last look, and all that was held back. Returns how many violations there were in all.
 */
uint64_t verify_check_end(struct verify *verify);

/* How many so far, without those that are held back. */
uint64_t verify_violations(const struct verify *verify);

/* The texts of the first 32 violations; NULL: there are not so many. Good until verify_close(). */
const char *verify_text(const struct verify *verify, size_t index);

/* Records that were not judged for want of memory. */
uint64_t verify_unjudged(const struct verify *verify);

/* Returns NULL. */
struct verify *verify_close(struct verify *verify);

/*
 * For a table of watchers that are chosen by name: opens one; `options` is NULL, empty or
 * "reapers". -EINVAL for anything else.
 */
int verify_with_open(void **ret_verify, struct knell_engine *engine, const char *options);

/*
 * Its end, before knell_close(): `say` for each text that was kept; then the memory is given back,
 * and nothing may be dispatched any more. It does not dispatch itself, so that other outputs may be
 * closed by then; who is dead but was never told so is missed only by verify_last_look(), to be
 * called before it. Returns the number of violations, or -ENOMEM if there were none but not all
 * was judged.
 */
int verify_with_close(void *verify, verify_fn say, void *userdata);

#endif
