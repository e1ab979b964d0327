/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf_reap.c - the reaper's round: takes what the kernel has queued and tells it in an order that
 * is causal, without sorting what many CPUs wrote.
 *
 *   1. Take the lists of slots that have news, and tell the births among them. Only those that are
 *      dead by now stay for step 4.
 *   2. Read each ring up to where the kernel has written by now: execs, thread records.
 *   3. Where ids come from elsewhere, tell what has changed by now.
 *   4. Tell the deaths that step 1 found.
 *
 * Whatever a process did before it died was written before its slot said that it is dead, so step 2
 * has told it. A birth is told before all else of that process and after its creator's, wherever
 * that one waits: the slot knows its creator.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf.h"

static bool is_alive(const struct knell_slot *slot)
{
	/* Acquire: pairs with the publish() of SLOT_ALIVE in settle(). */
	return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == SLOT_ALIVE;
}

static void count_in_use(struct bpf_source *s)
{
	if (++s->in_use > s->in_use_peak)
		s->in_use_peak = s->in_use;
}

/* The slot of the process that made this one, if its birth is still to be told; else 0. */
static uint32_t untold_creator(const struct bpf_source *s, uint32_t index)
{
	const struct knell_slot *slot = &s->slots[index];
	uint32_t creator = slot->creator_slot;

	if (!creator || creator >= s->slot_count || s->told[creator] & TOLD_BIRTH)
		return 0;
	/* Given back and taken again: then the creator was told from birth to death. */
	if (s->slots[creator].task.start != slot->creator_start ||
	    __atomic_load_n(&s->slots[creator].state, __ATOMIC_ACQUIRE) == SLOT_FREE)
		return 0;
	return creator;
}

/* A child belongs to its creator's watch. */
static void take_cookie(struct bpf_source *s, uint32_t index)
{
	const struct knell_slot *slot = &s->slots[index];
	uint32_t creator = slot->creator_slot;

	if (creator && creator < s->slot_count && slot->flags & SLOT_INHERIT &&
	    s->slots[creator].task.start == slot->creator_start)
		s->cookie[index] = s->cookie[creator];
}

/* Tells a birth, and before it those of all its ancestors that are still to be told. */
static void tell_birth(struct bpf_source *s, uint32_t index)
{
	uint32_t below = 0, above;

	if (s->told[index] & TOLD_BIRTH)
		return;
	/* Up to the first who was told, leaving a way back in link[]. */
	while ((above = untold_creator(s, index)) != 0) {
		s->link[index] = below;
		below = index;
		index = above;
	}
	for (;;) {
		s->told[index] |= TOLD_BIRTH;
		count_in_use(s);
		take_cookie(s, index);
		deliver_birth(s, index, 0);
		if (!below)
			return;
		index = below;
		below = s->link[index];
	}
}

/*
 * A record of a process with a slot: the kernel put its number where the cookie goes. A thread's
 * last record may come when its process is told already, and the slot is another one's.
 */
static void tell_record(struct bpf_source *s, struct knell_event *event)
{
	uint64_t index = event->cookie;

	event->cookie = 0;
	if (index && index < s->slot_count && s->slots[index].task.tgid == event->task.tgid &&
	    __atomic_load_n(&s->slots[index].state, __ATOMIC_ACQUIRE) != SLOT_FREE) {
		tell_birth(s, (uint32_t)index);
		event->cookie = s->cookie[index];
	}
	knell_engine_deliver(s->base.engine, event);
}

static void read_ring(struct bpf_source *s, uint32_t home)
{
	struct ring *ring = &s->rings[home];
	unsigned long end = ring_end(ring);
	const void *record;
	union {
		struct knell_event event;
		char bytes[KNELL_EVENT_MAX];
	} copy;

	while ((record = ring_next(ring, end)) != NULL) {
		uint32_t size = *(const uint32_t *)record;

		memcpy(&copy, record, size);
		tell_record(s, &copy.event);
	}
	ring_release(ring);
}

/* What was queued first comes first. */
static void turn_around(uint32_t *first, size_t count)
{
	for (size_t i = 0; i < count / 2; i++) {
		uint32_t held = first[i];

		first[i] = first[count - 1 - i];
		first[count - 1 - i] = held;
	}
}

static void add_to_batch(struct bpf_source *s, uint32_t home)
{
	size_t before = s->batch_count;
	uint32_t index;

	/* Before the list is taken: what is urgent after this is on the next one. */
	__atomic_exchange_n(&s->heads[home].urgent, 0, __ATOMIC_SEQ_CST);
	index = news_take(s, home);

	/* A slot is on a list at most once before its pending bits are taken. */
	while (index && s->batch_count < s->slot_count) {
		s->batch[s->batch_count++] = index;
		index = __atomic_load_n(&s->slots[index].next, __ATOMIC_RELAXED);
	}
	turn_around(&s->batch[before], s->batch_count - before);
}

/* Lists were too busy: nothing is lost, the slots know it all. */
static void sweep(struct bpf_source *s)
{
	bool asked = false;

	for (uint32_t home = 0; home < s->cpus; home++)
		asked |= __atomic_exchange_n(&s->heads[home].sweep, 0, __ATOMIC_ACQ_REL) != 0;
	for (uint32_t i = 1; asked && i < s->slot_count; i++) {
		if (__atomic_exchange_n(&s->slots[i].unlisted, 0, __ATOMIC_ACQ_REL))
			s->batch[s->batch_count++] = i;
	}
}

/*
 * The births of the batch. From here on the living may be queued anew: only those whose death was
 * there before the rings are read stay in it.
 */
static void tell_births(struct bpf_source *s)
{
	size_t stay = 0;

	for (size_t i = 0; i < s->batch_count; i++) {
		uint32_t index = s->batch[i];
		/* Acquire: pairs with the or in tell(): the birth is filled in, and maybe the
		 * death. */
		uint32_t pending =
			__atomic_fetch_and(&s->slots[index].pending, ~SLOT_BORN, __ATOMIC_ACQ_REL);

		if (pending & SLOT_BORN)
			tell_birth(s, index);
		if (pending & ~SLOT_BORN)
			s->batch[stay++] = index;
	}
	s->batch_count = stay;
}

static int by_time(const void *a, const void *b, void *slots)
{
	const struct knell_slot *x = &((const struct knell_slot *)slots)[*(const uint32_t *)a];
	const struct knell_slot *y = &((const struct knell_slot *)slots)[*(const uint32_t *)b];

	return (x->death.time > y->death.time) - (x->death.time < y->death.time);
}

static void tell_free(struct bpf_source *s, uint32_t index, uint32_t flags)
{
	if (s->told[index] & TOLD_FREE)
		return;
	s->told[index] |= TOLD_FREE;
	if (s->options.flags & KNELL_O_FREE)
		deliver_free(s, index, flags);
}

static void tell_slot(struct bpf_source *s, uint32_t index)
{
	/* Acquire: as above. */
	uint32_t pending = __atomic_exchange_n(&s->slots[index].pending, 0, __ATOMIC_ACQ_REL);

	tell_birth(s, index);
	if (pending & SLOT_EXIT && !(s->told[index] & TOLD_EXIT)) {
		s->told[index] |= TOLD_EXIT;
		deliver_exit(s, index, pending & SLOT_FREED);
		waiting_add(s, index);
	}
	if (pending & SLOT_FREED)
		tell_free(s, index, 0);
	else if (pending & SLOT_RETIRED)
		tell_free(s, index, KNELL_F_GIVEN_UP);
	if (s->told[index] & TOLD_FREE) {
		waiting_remove(s, index);
		if (!slot_give_back(s, index))
			waiting_add(s, index);
	}
}

/*
 * A dead process keeps its slot until the kernel frees it, for the final account. But the kernel
 * frees late under a storm, and never while nobody waits for a zombie: when half of the slots are
 * in use, the oldest dead give theirs up.
 */
static void make_room(struct bpf_source *s)
{
	uint32_t index = s->newer[0];

	while (index && s->in_use > s->slot_count / 2) {
		uint32_t next = s->newer[index];

		/* Freed meanwhile: it is on a list, and told in the next round. */
		if (!__atomic_load_n(&s->slots[index].pending, __ATOMIC_ACQUIRE)) {
			tell_free(s, index, KNELL_F_GIVEN_UP);
			waiting_remove(s, index);
			if (!slot_give_back(s, index))
				waiting_add(s, index);
		}
		index = next;
	}
}

static void tell_lost_of_ring(struct bpf_source *s, uint32_t home)
{
	uint64_t lost = __atomic_load_n((uint64_t *)&s->heads[home].lost, __ATOMIC_ACQUIRE);
	struct knell_gap gap = { .cause = KNELL_GAP_RING, .others = lost - s->lost_seen[home] };

	s->lost_seen[home] = lost;
	if (!gap.others)
		return;
	s->reconcile_due = true;
	deliver_gap(s, home, &gap, 0);
}

static void tell_lost_of_watch(struct bpf_source *s, uint32_t watch)
{
	struct knell_watch_entry *entry = &s->watches[watch];
	struct knell_gap gap = { .cause = KNELL_GAP_RESERVE };
	uint64_t births, deaths;

	/* Deaths first: then no death is told whose birth was not counted. */
	deaths = __atomic_load_n((uint64_t *)&entry->lost_deaths, __ATOMIC_ACQUIRE);
	births = __atomic_load_n((uint64_t *)&entry->lost_births, __ATOMIC_ACQUIRE);
	gap.births = births - s->lost_births_seen[watch];
	gap.deaths = deaths - s->lost_deaths_seen[watch];
	s->lost_births_seen[watch] = births;
	s->lost_deaths_seen[watch] = deaths;
	if (!gap.births && !gap.deaths)
		return;
	s->reconcile_due = true;
	deliver_gap(s, 0, &gap, 0);
}

static void tell_lost_of_reserve(struct bpf_source *s)
{
	for (uint32_t watch = 1; watch < WATCHES; watch++)
		tell_lost_of_watch(s, watch);
}

static bool lost_waits(const struct bpf_source *s)
{
	for (uint32_t watch = 1; watch < WATCHES; watch++) {
		const struct knell_watch_entry *entry = &s->watches[watch];

		if (__atomic_load_n(&entry->lost_deaths, __ATOMIC_ACQUIRE) !=
			    s->lost_deaths_seen[watch] ||
		    __atomic_load_n(&entry->lost_births, __ATOMIC_ACQUIRE) !=
			    s->lost_births_seen[watch])
			return true;
	}
	return false;
}

static void tell_ids(const struct ids_change *change, void *userdata)
{
	struct bpf_source *s = userdata;
	uint32_t index;

	if (change->tgid >= s->interest_count)
		return;
	index = KNELL_INTEREST_SLOT(__atomic_load_n(&s->interest[change->tgid], __ATOMIC_ACQUIRE));
	if (!index || index >= s->slot_count)
		return;
	/* A change that is older than the birth is that of an earlier process with this number. */
	if (s->told[index] & TOLD_EXIT || change->time < s->slots[index].birth.time)
		return;
	if (change->tid != change->tgid && !(s->options.flags & KNELL_O_THREADS))
		return;
	tell_birth(s, index);
	deliver_ids(s, index, change);
}

/* After the lists were taken and before any death is told: see ids.h. */
static void drain_ids(struct bpf_source *s)
{
	const struct knell_gap gap = { .cause = KNELL_GAP_RING, .others = 1 };

	if (s->ids && ids_drain(s->ids, tell_ids, s) == -ENOBUFS)
		deliver_gap(s, 0, &gap, KNELL_F_AT_LEAST);
}

void bpf_reap_round(struct bpf_source *s)
{
	s->batch_count = 0;
	sweep(s);
	for (uint32_t home = 0; home < s->cpus; home++)
		add_to_batch(s, home);
	tell_births(s);
	for (uint32_t home = 0; home < s->cpus; home++) {
		read_ring(s, home);
		tell_lost_of_ring(s, home);
	}
	drain_ids(s);
	/* Stamps order deaths for people: a parent that waited comes after its child. */
	qsort_r(s->batch, s->batch_count, sizeof(*s->batch), by_time, s->slots);
	for (size_t i = 0; i < s->batch_count; i++)
		tell_slot(s, s->batch[i]);
	make_room(s);
	tell_lost_of_reserve(s);
}

bool bpf_anything_waits(const struct bpf_source *s)
{
	for (uint32_t home = 0; home < s->cpus; home++) {
		const struct knell_head *head = &s->heads[home];

		if (__atomic_load_n(&head->news, __ATOMIC_ACQUIRE) ||
		    ring_end(&s->rings[home]) != s->rings[home].at ||
		    __atomic_load_n(&head->lost, __ATOMIC_ACQUIRE) != s->lost_seen[home] ||
		    __atomic_load_n(&head->sweep, __ATOMIC_ACQUIRE))
			return true;
	}
	return lost_waits(s);
}

bool bpf_urgent_waits(const struct bpf_source *s)
{
	for (uint32_t home = 0; home < s->cpus; home++) {
		if (__atomic_load_n(&s->heads[home].urgent, __ATOMIC_ACQUIRE))
			return true;
	}
	return false;
}

/* The kernel counts how often it skipped a program that was already running on that CPU. */
void bpf_tell_missed(struct bpf_source *s)
{
	uint64_t missed = bpf_source_missed(s);
	struct knell_gap gap = { .cause = KNELL_GAP_MISSED, .others = missed - s->missed_seen };

	s->missed_seen = missed;
	if (gap.others)
		deliver_gap(s, 0, &gap, 0);
}

static bool lost_any(const struct bpf_source *s)
{
	for (uint32_t watch = 1; watch < WATCHES; watch++) {
		if (s->lost_births_seen[watch])
			return true;
	}
	return false;
}

/*
 * All that is watched and alive. Those that found no slot at their birth get one now, if there is
 * one, and are told at the end of the dispatch that follows; else the iterator tells them at once.
 */
int bpf_reconcile(struct bpf_source *s)
{
	struct knell_adopt order = { .mode = ADOPT_LOST };
	int alive = 0;
	int r = 0;

	s->reconcile_due = false;
	bpf_tell_missed(s);
	if (lost_any(s)) {
		r = bpf_adopt(s, &order, -1);
		alive += (int)order.refused;
	}
	for (uint32_t i = 1; i < s->slot_count; i++) {
		if (!is_alive(&s->slots[i]))
			continue;
		if (s->told[i] & TOLD_BIRTH)
			deliver_birth(s, i, KNELL_F_RECONCILED);
		else
			tell_birth(s, i);
		alive++;
	}
	return r < 0 ? knell_fail(r, "the task iterator failed: %s", strerror(-r)) : alive;
}
