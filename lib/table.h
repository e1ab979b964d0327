/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * table.h - the dispatch table: all watchers of one engine, merged, sorted, and walked for each
 * record without a lock. What the walk reads is constant memory, in pages of its own that nobody
 * can write to; whoever comes or leaves replaces it as a whole, under RCU.
 *
 * table_tell() may be called from several threads at once; everything here may be called from any
 * thread, also from inside a watcher. Only there does nothing wait: what is retired there is freed
 * after the watcher.
 */
#ifndef KNELL_TABLE_H
#define KNELL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include <knell/watcher.h>

#define TABLE_LINE 64 /* of the cache */

struct table;
struct dispatch;

/* What is freed when no walk can meet it any more. Embed one. */
struct retired {
	struct retired *next;
	void (*free)(struct retired *retired);
};

/* One function for one kind of event. */
struct watcher {
	struct retired retired;
	uint32_t kind;
	int32_t priority;
	const char *name, *file; /* "": it has none */
	knell_watcher_fn fn;
	knell_filter_fn filter; /* NULL: none */
	void *userdata;
	const struct knell_watcher_entry *entry; /* NULL: knell_watcher_add() */
	bool gone;                               /* atomic: a walk that meets it must not call it */

	/* Written by walks, so on a line that no other walk reads. */
	_Alignas(TABLE_LINE) uint64_t errors;
	uint64_t sampled, ns, slowest;
};

typedef bool (*watcher_match)(const struct watcher *watcher, const void *key);

int table_new(struct table **ret);

/* Nobody may walk it any more. Returns NULL. */
struct table *table_free(struct table *table);

/* Calls the watchers of the record's kind. */
void table_tell(struct table *table, const struct knell_event *event);

bool table_wants(const struct table *table, unsigned int kind);

/* Negative returns of all watchers, also of those that left. */
uint64_t table_errors(const struct table *table);

/* A new one, all zero; NULL: no memory. Ends in table_add() or free(3). */
struct watcher *watcher_new(void);

/*
 * Adds these, all or none, behind those that have the same priority, name and file. -EEXIST: one
 * that `match` is true for is there already; -ENOMEM. After a failure they are the caller's still.
 */
int table_add(struct table *table, struct watcher *const added[], size_t count, watcher_match match,
	      const void *key);

/*
 * Around many records: to enter and leave a walk again and again costs more than to call a watcher.
 * In between this thread counts as inside a watcher.
 */
void table_begin(void);
void table_end(struct table *table);

/*
 * Those that match are not called from now on, but may be running: see table_settle(). Returns how
 * many, or -ENOMEM.
 */
int table_remove(struct table *table, watcher_match match, const void *key);

/* Frees it when no walk that goes on now does so any more; not before table_settle(). */
void table_retire(struct table *table, struct retired *retired);

/*
 * Waits for the walks that go on now, then frees what is retired. Inside a watcher it leaves that
 * to the end of the walk.
 */
void table_settle(struct table *table);

/* Is this thread inside a watcher, of whatever engine? Then it cannot wait for walks. */
bool table_is_inside(void);

/* The watcher number `index`: 0 or -ENOENT. */
int table_get_stats(struct table *table, size_t index, struct knell_watcher_stats *ret);

/* Where the constant memory begins: for tests, which write to it. */
const void *table_page(const struct table *table);

#endif
