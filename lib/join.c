/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * join.c - how watchers get into an engine's dispatch table and out of it: one by one, or all
 * entries that the linker gathered in one program or shared object. Entries are checked here,
 * before anything trusts the distances in them. It owns nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine.h"
#include "join.h"
#include "table.h"

/* ---- one by one ---- */

struct function {
	knell_watcher_fn fn;
	void *userdata;
};

static bool is_function(const struct watcher *watcher, const void *key)
{
	const struct function *function = key;

	return !watcher->entry && watcher->fn == function->fn &&
	       watcher->userdata == function->userdata;
}

static void free_watchers(struct watcher *watchers[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(watchers[i]);
}

int knell_watcher_add(struct knell_engine *engine, uint32_t mask, knell_watcher_fn fn,
		      void *userdata)
{
	struct watcher *added[KNELL_KIND_MAX];
	size_t count = 0;
	int r;

	if (!fn || !mask || mask & ~KNELL_MASK_ALL)
		return knell_fail(-EINVAL, "a watcher needs a function and a mask of event kinds");
	for (unsigned int kind = 0; kind < KNELL_KIND_MAX; kind++) {
		if (!(mask & KNELL_MASK(kind)))
			continue;
		added[count] = watcher_new();
		if (!added[count]) {
			free_watchers(added, count);
			return knell_fail(-ENOMEM, "no memory for another watcher");
		}
		added[count]->kind = kind;
		added[count]->fn = fn;
		added[count++]->userdata = userdata;
	}
	r = table_add(engine->table, added, count, NULL, NULL);
	if (r < 0)
		free_watchers(added, count);
	return r;
}

int knell_watcher_remove(struct knell_engine *engine, knell_watcher_fn fn, void *userdata)
{
	struct function function = { fn, userdata };
	int r = table_remove(engine->table, is_function, &function);

	if (r < 0)
		return r;
	if (r == 0)
		return knell_fail(-ENOENT, "no watcher has this function and this userdata");
	table_settle(engine->table);
	return 0;
}

/* ---- a whole table ---- */

/* What is so far from one of the fields of an entry. */
static const void *at_distance(const int32_t *field)
{
	return (const char *)field + *field;
}

static const char *name_of(const struct knell_watcher_entry *entry)
{
	return entry->name ? at_distance(&entry->name) : "?";
}

static int check_entry(const struct knell_watcher_entry *entry, unsigned int kind)
{
	if (entry->size != sizeof(*entry) || entry->abi != KNELL_WATCHER_ABI)
		return knell_fail(-EINVAL,
				  "a watcher of %s is of ABI %u (size %u), this libknell knows %u "
				  "(%zu): compile it with this libknell's <knell/watcher.h>",
				  knell_kind_name(kind), entry->abi, entry->size, KNELL_WATCHER_ABI,
				  sizeof(*entry));
	if (entry->kind != kind)
		return knell_fail(
			-EINVAL,
			"the watcher '%s' is in the section of %s, but says that it is of "
			"%s: use KNELL_WATCHER()",
			name_of(entry), knell_kind_name(kind), knell_kind_name(entry->kind));
	if (!entry->function)
		return knell_fail(-EINVAL, "the watcher '%s' of %s has no function", name_of(entry),
				  knell_kind_name(kind));
	return 0;
}

int join_check(const struct knell_table *table, uint32_t *ret_kinds)
{
	uint32_t kinds = 0;
	int count = 0;

	if (!table)
		return knell_fail(-EINVAL, "there is no table of watchers; pass KNELL_TABLE");
	if (table->abi != KNELL_WATCHER_ABI || table->size != sizeof(*table))
		return knell_fail(-EINVAL,
				  "the table of watchers is of ABI %u (size %u), this libknell "
				  "knows %u (%zu): compile it with this libknell's "
				  "<knell/watcher.h>",
				  table->abi, table->size, KNELL_WATCHER_ABI, sizeof(*table));
	for (unsigned int kind = 0; kind < KNELL_KIND_MAX; kind++) {
		const struct knell_watcher_entry *e = table->of[kind].first;

		for (; e < table->of[kind].end; e++, count++) {
			int r = check_entry(e, kind);

			if (r < 0)
				return r;
			kinds |= KNELL_MASK(kind);
		}
	}
	if (ret_kinds)
		*ret_kinds = kinds;
	return count;
}

static bool is_of_table(const struct watcher *watcher, const void *key)
{
	const struct knell_table *table = key;
	const struct knell_table_part *part = &table->of[watcher->kind];

	return watcher->entry >= part->first && watcher->entry < part->end;
}

static struct watcher *watcher_of(const struct knell_watcher_entry *entry, void *userdata)
{
	struct watcher *watcher = watcher_new();

	if (!watcher)
		return NULL;
	watcher->kind = entry->kind;
	watcher->priority = entry->priority;
	watcher->name = name_of(entry);
	watcher->file = entry->file ? at_distance(&entry->file) : "";
	watcher->fn = (knell_watcher_fn)(uintptr_t)at_distance(&entry->function);
	watcher->filter =
		entry->filter ? (knell_filter_fn)(uintptr_t)at_distance(&entry->filter) : NULL;
	watcher->userdata = userdata;
	watcher->entry = entry;
	return watcher;
}

/* How many it made of the entries: less than there are without memory. */
static size_t make_watchers(struct watcher *made[], const struct knell_table *table, void *userdata)
{
	size_t n = 0;

	for (unsigned int kind = 0; kind < KNELL_KIND_MAX; kind++) {
		const struct knell_watcher_entry *e = table->of[kind].first;

		for (; e < table->of[kind].end; e++) {
			made[n] = watcher_of(e, userdata);
			if (!made[n++])
				return n - 1;
		}
	}
	return n;
}

int knell_table_join(struct knell_engine *engine, const struct knell_table *table, void *userdata)
{
	int count = join_check(table, NULL), r;
	struct watcher **added;
	size_t made;

	if (count <= 0)
		return count;
	added = calloc((size_t)count, sizeof(struct watcher *));
	if (!added)
		return knell_fail(-ENOMEM, "no memory for %d watchers", count);
	made = make_watchers(added, table, userdata);
	if (made == (size_t)count)
		r = table_add(engine->table, added, made, is_of_table, table);
	else
		r = knell_fail(-ENOMEM, "no memory for %d watchers", count);
	if (r < 0)
		free_watchers(added, made);
	free(added);
	return r < 0 ? r : count;
}

int join_leave(struct knell_engine *engine, const struct knell_table *table)
{
	return table_remove(engine->table, is_of_table, table);
}

int knell_table_leave(struct knell_engine *engine, const struct knell_table *table)
{
	int r = join_check(table, NULL);

	if (r <= 0)
		return r;
	r = join_leave(engine, table);
	if (r < 0)
		return r;
	if (r == 0)
		return knell_fail(-ENOENT, "this table of watchers has not joined this engine");
	table_settle(engine->table);
	return 0;
}

int knell_watcher_get_stats(struct knell_engine *engine, unsigned int index,
			    struct knell_watcher_stats *ret_stats)
{
	return table_get_stats(engine->table, index, ret_stats);
}
