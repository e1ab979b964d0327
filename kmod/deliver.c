// SPDX-License-Identifier: GPL-2.0-only
/*
 * deliver.c - from a reaper to the queue of a session, in the order that is promised.
 *
 * Owns the order: a birth comes after its creator's, everything of a process after its birth, what
 * its session's stream holds before its death. A death needs no room: the watch itself is in the
 * queue. Exec, uid and gid need a line of the stream, of which a session has a fixed number; what
 * finds none is counted, and told as a gap.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "engine.h"

struct knell_watch *knell_item_watch(struct knell_item *item)
{
	if (item->kind == KNELL_ITEM_LINE)
		return container_of(item, struct knell_line, item)->watch;
	if (item->kind < KNELL_ITEMS_OF_WATCH)
		return container_of(item - item->kind, struct knell_watch, items[0]);
	return NULL;
}

/* In a probe. NULL: there is none, and that is counted. */
struct knell_line *knell_line_take(struct knell_watch *watch, u8 kind)
{
	struct knell_session *session = watch->root->session;
	struct knell_line *line;
	unsigned long flags;

	raw_spin_lock_irqsave(&session->stream_lock, flags);
	line = list_first_entry_or_null(&session->stream_free, struct knell_line, item.link);
	if (line && refcount_inc_not_zero(&watch->refs))
		list_del_init(&line->item.link);
	else if (line)
		line = NULL; /* Nobody wants to know any more. */
	else
		atomic64_inc(&session->lost_others);
	raw_spin_unlock_irqrestore(&session->stream_lock, flags);
	if (!line) {
		knell_reap_queue(watch, KNELL_PENDING_GAP);
		return NULL;
	}
	line->watch = watch;
	line->kind = kind;
	return line;
}

/* In a probe, in the RCU section in which the line was taken. */
void knell_line_push(struct knell_line *line)
{
	struct knell_watch *watch = line->watch;
	struct knell_session *session = watch->root->session;
	unsigned long flags;

	raw_spin_lock_irqsave(&session->stream_lock, flags);
	list_add_tail(&line->item.link, &session->stream);
	raw_spin_unlock_irqrestore(&session->stream_lock, flags);
	knell_reap_queue(watch, KNELL_PENDING_LINES);
}

/* The caller has a hold on the session. */
void knell_line_put(struct knell_session *session, struct knell_line *line)
{
	struct knell_watch *watch = line->watch;
	unsigned long flags;

	knell_moment_drop(&line->at);
	raw_spin_lock_irqsave(&session->stream_lock, flags);
	list_add(&line->item.link, &session->stream_free);
	raw_spin_unlock_irqrestore(&session->stream_lock, flags);
	knell_watch_put(watch);
}

static void ready_add(struct knell_session *session, struct knell_watch *watch,
		      enum knell_item_kind kind)
{
	refcount_inc(&watch->refs);
	list_add_tail(&watch->items[kind].link, &session->ready);
}

/* Puts births into the queue, first creators that are not told of yet, as long as the line is. */
static void tell_birth(struct knell_session *session, struct knell_watch *watch)
{
	struct knell_watch *creator;

	if (watch->birth_told)
		return;
	watch->later = NULL;
	for (creator = watch->creator; creator && !creator->birth_told; creator = watch->creator) {
		creator->later = watch;
		watch = creator;
	}
	while (watch) {
		struct knell_watch *later = watch->later;

		watch->birth_told = true;
		if ((watch->root->mask & KNELL_MASK(KNELL_INIT)) && !watch->found)
			ready_add(session, watch, KNELL_ITEM_INIT);
		if (watch->root->mask & KNELL_MASK(KNELL_CLONE))
			ready_add(session, watch, KNELL_ITEM_CLONE);
		creator = watch->creator;
		watch->creator = NULL;
		knell_watch_put(creator);
		watch = later;
	}
}

static void take_stream(struct knell_session *session)
{
	struct knell_line *line, *next;
	unsigned long flags;
	LIST_HEAD(lines);

	raw_spin_lock_irqsave(&session->stream_lock, flags);
	list_splice_init(&session->stream, &lines);
	raw_spin_unlock_irqrestore(&session->stream_lock, flags);
	list_for_each_entry_safe (line, next, &lines, item.link) {
		list_del_init(&line->item.link);
		if (line->watch->root->ended) {
			knell_line_put(session, line);
			continue;
		}
		tell_birth(session, line->watch);
		list_add_tail(&line->item.link, &session->ready);
	}
}

bool knell_lost_any(const struct knell_session *session)
{
	return atomic64_read(&session->lost_births) || atomic64_read(&session->lost_deaths) ||
	       atomic64_read(&session->lost_others);
}

static void tell_gap(struct knell_session *session)
{
	if (knell_lost_any(session) && list_empty(&session->gap.link))
		list_add_tail(&session->gap.link, &session->ready);
}

static void fill_queue(struct knell_session *session, struct knell_watch *watch,
		       unsigned int pending)
{
	take_stream(session);
	tell_birth(session, watch);
	/* Exit and free may be with two reapers, and the later one come first. */
	if ((pending & (KNELL_PENDING_EXIT | KNELL_PENDING_FREE)) && !watch->exit_told) {
		watch->exit_told = true;
		ready_add(session, watch, KNELL_ITEM_EXIT);
	}
	if (pending & KNELL_PENDING_FREE && watch->root->mask & KNELL_MASK(KNELL_FREE))
		ready_add(session, watch, KNELL_ITEM_FREE);
	tell_gap(session);
}

/* session->lock is held. True for who shall call knell_root_end() without it. */
bool knell_root_detach(struct knell_root *root)
{
	unsigned long flags;

	if (root->ended)
		return false;
	raw_spin_lock_irqsave(&root->lock, flags);
	root->ended = true; /* no more descendants */
	raw_spin_unlock_irqrestore(&root->lock, flags);
	hash_del(&root->by_cookie);
	return true;
}

/* Who has set a root up lets go of it: it is over if all of it died meanwhile. */
void knell_root_set(struct knell_root *root)
{
	struct knell_session *session = root->session;
	bool over;

	spin_lock(&session->lock);
	over = atomic_dec_and_test(&root->alive) && knell_root_detach(root);
	spin_unlock(&session->lock);
	if (over)
		knell_root_end(root);
}

/*
 * The process is told of again, because it lives: unless its exit is in the queue already. False:
 * it is, or nobody wants to know.
 */
bool knell_tell_living(struct knell_watch *watch)
{
	struct knell_session *session = watch->root->session;
	struct knell_item *item = &watch->items[KNELL_ITEM_LIVING];
	bool told = false;

	spin_lock(&session->lock);
	if (!session->closed && !watch->root->ended && !watch->exit_told &&
	    list_empty(&item->link)) {
		told = true;
		/* Told as found alive: that is enough. */
		if (watch->found && !watch->birth_told) {
			tell_birth(session, watch);
		} else {
			tell_birth(session, watch);
			ready_add(session, watch, KNELL_ITEM_LIVING);
		}
	}
	spin_unlock(&session->lock);
	return told;
}

/* Was this process's exit given to the reader? */
bool knell_exit_was_read(struct knell_watch *watch)
{
	struct knell_session *session = watch->root->session;
	bool was;

	spin_lock(&session->lock);
	was = watch->exit_told && list_empty(&watch->items[KNELL_ITEM_EXIT].link);
	spin_unlock(&session->lock);
	return was;
}

/*
 * The dead whose exit was told keep their watch until they are freed, for who joins them meanwhile,
 * and for the last account. Nobody may wait for them, so when they have half of the watches the
 * oldest give theirs back. session->lock is held.
 */
static void give_up_dead(struct knell_root *root)
{
	struct knell_watch *watch;

	while ((watch = knell_root_oldest_dead(root))) {
		/* Else its free is on its way. */
		if (!test_and_set_bit(KNELL_CLAIM_FREE, &watch->claimed)) {
			watch->given_up = true;
			if (root->mask & KNELL_MASK(KNELL_FREE) && !root->ended)
				ready_add(root->session, watch, KNELL_ITEM_FREE);
			atomic_dec(&root->alive); /* not the last one: it is wide */
			knell_watch_unhash(watch);
		}
		knell_watch_put(watch);
	}
}

/* Called by a reaper, with what was pending of a watch that it has a hold on. */
void knell_deliver(struct knell_watch *watch, unsigned int pending)
{
	struct knell_root *root = watch->root;
	struct knell_session *session = root->session;
	unsigned int last =
		knell_root_waits_for_free(root) ? KNELL_PENDING_FREE : KNELL_PENDING_EXIT;
	bool over = false;

	if (!session) {
		knell_task_watch_deliver(watch, pending);
		return;
	}
	/*
	 * All of it under one lock: who ends the root because nobody of it lives must not do so
	 * while another reaper is about to tell of one of its deaths.
	 */
	spin_lock(&session->lock);
	if (!session->closed && !root->ended) {
		fill_queue(session, watch, pending);
	} else if (!session->closed) {
		take_stream(session); /* a line that came after the purge holds its root */
		tell_gap(session);    /* the last one may die beyond while the root ends */
	}
	if (pending & last) {
		knell_watch_unhash(watch);
		over = atomic_dec_and_test(&root->alive);
	} else if (pending & KNELL_PENDING_GAP) {
		over = !atomic_read(&root->alive);
	} else if (pending & KNELL_PENDING_EXIT && knell_root_keeps_dead(root)) {
		if (knell_root_dead(watch))
			give_up_dead(root);
	}
	if (over)
		over = knell_root_detach(root);
	spin_unlock(&session->lock);
	if (over)
		knell_root_end(root);
	if (session->joined)
		knell_table_deliver(session);
	else
		wake_up_interruptible(&session->wait);
}

/*
 * Takes what is there of roots that were ended, or all if it is closed, out of the queue. One pass,
 * for they may be as many as what is there. session->lock is held.
 */
void knell_ready_purge(struct knell_session *session)
{
	struct knell_item *item, *next;

	take_stream(session);
	list_for_each_entry_safe (item, next, &session->ready, link) {
		struct knell_watch *watch = knell_item_watch(item);

		if (!session->closed && !(watch && watch->root->purge))
			continue;
		list_del_init(&item->link);
		if (item->kind == KNELL_ITEM_LINE)
			knell_line_put(session, container_of(item, struct knell_line, item));
		else
			knell_watch_put(watch);
	}
}
