// SPDX-License-Identifier: GPL-2.0-only
/*
 * table.c - the watchers of other modules (KNELL_WATCHER): their tables join and leave.
 *
 * Owns what has joined. Each table has a session of its own that watches everybody, with calls in
 * place of read(2): a reaper that put something into the queue queues the session's work, which
 * calls the watchers. So calls of one table never overlap, and come in the order of the queue.
 */
#include <linux/err.h>
#include <linux/export.h>
#include <linux/module.h>
#include <linux/pid_namespace.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>

#include <knell/watcher.h>

#include "engine.h"

/* So many records, then who leaves may come in between. */
#define CALL_BATCH 64

struct caller {
	const struct knell_watcher_entry *entry;
	knell_watcher_fn function;
	knell_filter_fn filter; /* NULL: none */
};

struct knell_joined {
	struct list_head link; /* tables */
	const struct knell_table *table;
	void *userdata;
	struct knell_session *session;
	struct task_struct *calling; /* who is in a watcher; compared only */
	u64 errors;                  /* under session->reading */
	unsigned int first[KNELL_KIND_MAX + 1];
	struct caller callers[]; /* by kind, then in the order of calls */
};

static LIST_HEAD(tables);
static DEFINE_MUTEX(tables_lock); /* tables; joining, one at a time */

/* ---- what is in a table ---- */

static const void *at_distance(const s32 *field)
{
	return (const char *)field + *field;
}

static bool is_valid(const struct knell_watcher_entry *entry, unsigned int kind)
{
	return entry->size == sizeof(*entry) && entry->abi == KNELL_WATCHER_ABI &&
	       entry->kind == kind && entry->function;
}

/* How many watchers there are, or -EINVAL. */
static int count_entries(const struct knell_table *table)
{
	const struct knell_watcher_entry *entry;
	unsigned int kind;
	int count = 0;

	if (!table || table->abi != KNELL_WATCHER_ABI || table->size != sizeof(*table))
		return -EINVAL;
	for (kind = 0; kind < KNELL_KIND_MAX; kind++)
		for (entry = table->of[kind].first; entry < table->of[kind].end; entry++) {
			if (!is_valid(entry, kind))
				return -EINVAL;
			count++;
		}
	return count;
}

static int compare(const void *left, const void *right)
{
	const struct knell_watcher_entry *a = ((const struct caller *)left)->entry;
	const struct knell_watcher_entry *b = ((const struct caller *)right)->entry;
	int order;

	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	order = strcmp(at_distance(&a->name), at_distance(&b->name));
	return order ?: strcmp(at_distance(&a->file), at_distance(&b->file));
}

/* Returns the kinds of which there are watchers. */
static u32 fill_callers(struct knell_joined *joined)
{
	const struct knell_table *table = joined->table;
	const struct knell_watcher_entry *entry;
	unsigned int kind, count = 0;
	u32 kinds = 0;

	for (kind = 0; kind < KNELL_KIND_MAX; kind++) {
		joined->first[kind] = count;
		for (entry = table->of[kind].first; entry < table->of[kind].end; entry++) {
			struct caller *caller = &joined->callers[count++];

			caller->entry = entry;
			caller->function = (knell_watcher_fn)at_distance(&entry->function);
			if (entry->filter)
				caller->filter = (knell_filter_fn)at_distance(&entry->filter);
			kinds |= KNELL_MASK(kind);
		}
		sort(&joined->callers[joined->first[kind]], count - joined->first[kind],
		     sizeof(*joined->callers), compare, NULL);
	}
	joined->first[KNELL_KIND_MAX] = count;
	return kinds;
}

/* ---- calls ---- */

static void call(struct knell_joined *joined, const struct knell_event *event)
{
	unsigned int i;

	for (i = joined->first[event->kind]; i < joined->first[event->kind + 1]; i++) {
		const struct caller *caller = &joined->callers[i];

		if (READ_ONCE(joined->session->leaving))
			return;
		if (caller->filter && !caller->filter(event))
			continue;
		if (caller->function(event, joined->userdata) < 0)
			joined->errors++;
	}
}

/* session->reading is held. True: there is more. */
static bool call_batch(struct knell_session *session)
{
	struct knell_event *event = (struct knell_event *)session->scratch;
	struct knell_item *item;
	int i;

	for (i = 0; i < CALL_BATCH && !READ_ONCE(session->leaving); i++) {
		spin_lock(&session->lock);
		item = list_first_entry_or_null(&session->ready, struct knell_item, link);
		spin_unlock(&session->lock);
		if (!item)
			return false;
		if (knell_record_make(session->scratch, item, session, &init_pid_ns))
			call(session->joined, event);
		knell_session_consumed(session, item, event);
		cond_resched();
	}
	return i == CALL_BATCH;
}

/* Somebody has put records into its queue, and has a hold on the session. */
void knell_table_deliver(struct knell_session *session)
{
	if (READ_ONCE(session->leaving) || list_empty_careful(&session->ready))
		return;
	refcount_inc(&session->refs); /* the work's */
	if (!knell_call_watchers(&session->calls))
		knell_session_put(session);
}

/* On a worker, one at a time. */
static void call_watchers(struct work_struct *work)
{
	struct knell_session *session = container_of(work, struct knell_session, calls);
	bool more = false;

	mutex_lock(&session->reading);
	if (!session->closed) { /* else who joined may be gone */
		WRITE_ONCE(session->joined->calling, current);
		more = call_batch(session);
		WRITE_ONCE(session->joined->calling, NULL);
	}
	mutex_unlock(&session->reading);
	if (more)
		knell_table_deliver(session);
	knell_session_put(session);
}

/* ---- joining and leaving ---- */

/* tables_lock is held. */
static struct knell_joined *joined_of(const struct knell_table *table)
{
	struct knell_joined *joined;

	list_for_each_entry (joined, &tables, link)
		if (joined->table == table)
			return joined;
	return NULL;
}

static int watch_all(struct knell_joined *joined, u32 reserve, u32 kinds)
{
	const struct knell_kmod_watch request = {
		.size = sizeof(request),
		.pidfd = -1,
		.flags = KNELL_KMOD_ALL,
		.mask = kinds & KNELL_KMOD_KINDS,
		.reserve = reserve,
	};
	struct knell_session *session;
	int error = knell_session_new(&session);

	if (error)
		return error;
	joined->session = session;
	session->joined = joined;
	INIT_WORK(&session->calls, call_watchers);
	mutex_lock(&session->setting);
	error = knell_session_watch(session, &request, NULL, NULL);
	mutex_unlock(&session->setting);
	if (error)
		knell_session_close(session);
	return error;
}

/* tables_lock is held. */
static int join(const struct knell_table *table, u32 reserve, void *userdata)
{
	int count = count_entries(table), error;
	struct knell_joined *joined;

	if (count <= 0)
		return count ?: -ENOENT;
	if (joined_of(table))
		return -EEXIST;
	joined = kzalloc(struct_size(joined, callers, count), GFP_KERNEL);
	if (!joined)
		return -ENOMEM;
	joined->table = table;
	joined->userdata = userdata;
	error = watch_all(joined, reserve, fill_callers(joined));
	if (error) {
		kfree(joined);
		return error;
	}
	list_add(&joined->link, &tables);
	return count;
}

int knell_table_join(const struct knell_table *table, u32 reserve, void *userdata)
{
	int count;

	mutex_lock(&tables_lock);
	count = join(table, reserve, userdata);
	mutex_unlock(&tables_lock);
	return count;
}
EXPORT_SYMBOL_GPL(knell_table_join);

/* It is not among the tables any more. Nobody's watchers wait for this, nor for tables_lock. */
static void leave(struct knell_joined *joined)
{
	struct knell_session *session = joined->session;

	WRITE_ONCE(session->leaving, true); /* the watcher that runs is the last one */
	mutex_lock(&session->reading);
	knell_session_end(session);
	mutex_unlock(&session->reading);
	knell_session_close(session);
	if (joined->errors)
		pr_warn("%llu calls of a module's watchers failed\n", joined->errors);
	kfree(joined);
}

int knell_table_leave(const struct knell_table *table)
{
	struct knell_joined *joined;
	int error = 0;

	mutex_lock(&tables_lock);
	joined = joined_of(table);
	if (!joined)
		error = -ENOENT;
	else if (READ_ONCE(joined->calling) == current)
		error = -EDEADLK;
	else
		list_del(&joined->link);
	mutex_unlock(&tables_lock);
	if (!error)
		leave(joined);
	return error;
}
EXPORT_SYMBOL_GPL(knell_table_leave);
