/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf_reap.c - the reaper's round: takes what the kernel has queued and tells it in an order that
 * is causal, without sorting what many CPUs wrote.
 *
 *   1. Take the lists of slots that have news, and tell the births among them. Only those that are
 *      dead by now stay for step 3.
 *   2. Read each ring up to where the kernel has written by now: execs, thread records. Where ids
 *      come from elsewhere, tell what has changed by now between them: see bpf_ids.c.
 *   3. Tell the deaths that step 1 found.
 *
 * Whatever a process did before it died was written before its slot said that it is dead, so step 2
 * has told it. A birth is told before all else of that process and after its creator's, wherever
 * that one waits: the slot knows its creator.
 *
 * With reapers there is a round for each home, and rounds of different homes run at once. What a
 * process does is told by its home's; but its birth by whoever comes first, its own reaper or that
 * of a child, which tells its parent's before: a claim decides, and the other one waits.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf.h"

/* Looks at a claim before we sleep between two: most births are told in a moment. */
#define CLAIM_YIELDS 100
#define CLAIM_NAP_NS 50000

int bpf_round_init(struct bpf_round *r, struct bpf_source *s, uint32_t first, uint32_t end)
{
	r->s = s;
	r->first = first;
	r->end = end;
	r->batch_count = 0;
	/* Large: what is never used of them is never there. */
	r->batch = calloc(s->slot_count, sizeof(*r->batch));
	r->link = calloc(s->slot_count, sizeof(*r->link));
	r->ends = calloc(end, sizeof(*r->ends));
	return r->batch && r->link && r->ends ? 0 : -ENOMEM;
}

void bpf_round_destroy(struct bpf_round *r)
{
	free(r->batch);
	free(r->link);
	free(r->ends);
	r->ends = NULL;
	r->batch = NULL;
	r->link = NULL;
}

static bool is_alive(const struct knell_slot *slot)
{
	/* Acquire: pairs with the publish() of SLOT_ALIVE in settle(). */
	return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == SLOT_ALIVE;
}

/* ---- births ---- */

static void count_in_use(struct bpf_source *s)
{
	uint64_t now = __atomic_add_fetch(&s->in_use, 1, __ATOMIC_RELAXED);
	uint64_t peak = __atomic_load_n(&s->in_use_peak, __ATOMIC_RELAXED);

	while (now > peak && !__atomic_compare_exchange_n(&s->in_use_peak, &peak, now, true,
							  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static bool birth_told(const struct bpf_source *s, uint32_t index)
{
	/* Acquire: pairs with end_claim(). */
	return __atomic_load_n(&s->birth[index], __ATOMIC_ACQUIRE) == BIRTH_TOLD;
}

/* True: the birth is the caller's to tell. False: it is told; if another reaper did, we waited. */
static bool claim_birth(struct bpf_source *s, uint32_t index)
{
	const struct timespec nap = { .tv_nsec = CLAIM_NAP_NS };

	for (unsigned int tries = 0;; tries++) {
		uint8_t seen = BIRTH_UNTOLD;

		if (__atomic_compare_exchange_n(&s->birth[index], &seen, BIRTH_CLAIMED, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return true;
		if (seen == BIRTH_TOLD)
			return false;
		if (tries < CLAIM_YIELDS)
			sched_yield();
		else
			nanosleep(&nap, NULL);
	}
}

static void end_claim(struct bpf_source *s, uint32_t index, enum bpf_birth birth)
{
	/* Release: whoever sees it told comes after all that telling it did. */
	__atomic_store_n(&s->birth[index], birth, __ATOMIC_RELEASE);
}

/* The slot of the process that made this one, if its birth is still to be told; else 0. */
static uint32_t untold_creator(const struct bpf_source *s, uint32_t index)
{
	const struct knell_slot *slot = &s->slots[index];
	uint32_t creator = slot->creator_slot;

	if (!creator || creator >= s->slot_count || birth_told(s, creator))
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
	uint64_t cookie;

	if (!creator || creator >= s->slot_count || !(slot->flags & SLOT_INHERIT))
		return;
	/* Acquire: the start is looked at after it. A slot that was given away has another one. */
	cookie = __atomic_load_n(&s->cookie[creator], __ATOMIC_ACQUIRE);
	if (cookie && s->slots[creator].task.start == slot->creator_start)
		__atomic_store_n(&s->cookie[index], cookie, __ATOMIC_RELAXED);
}

/* Is this slot still that of who made the child? A claim keeps it from being given back. */
static bool is_creator(const struct bpf_source *s, uint32_t index, uint32_t child)
{
	uint32_t state = __atomic_load_n(&s->slots[index].state, __ATOMIC_ACQUIRE);

	return state != SLOT_FREE && state != SLOT_LEAVING &&
	       s->slots[index].task.start == s->slots[child].creator_start;
}

/*
 * Tells this birth unless it was told. `child` is the slot that named this one as its creator, or
 * 0: by now the creator may have been told from birth to death, and its slot be another one's.
 */
static void tell_one_birth(struct bpf_source *s, uint32_t index, uint32_t child)
{
	if (!claim_birth(s, index))
		return;
	if (child && !is_creator(s, index, child)) {
		end_claim(s, index, BIRTH_UNTOLD);
		return;
	}
	count_in_use(s);
	take_cookie(s, index);
	deliver_birth(s, index, 0);
	end_claim(s, index, BIRTH_TOLD);
}

/* Tells a birth, and before it those of all its ancestors that are still to be told. */
void bpf_tell_birth(struct bpf_round *r, uint32_t index)
{
	struct bpf_source *s = r->s;
	uint32_t below = 0, above;

	if (birth_told(s, index))
		return;
	/* Up to the first who was told, leaving a way back in link[]. */
	while ((above = untold_creator(s, index)) != 0) {
		r->link[index] = below;
		below = index;
		index = above;
	}
	for (;;) {
		tell_one_birth(s, index, below);
		if (!below)
			return;
		index = below;
		below = r->link[index];
	}
}

/* ---- rings ---- */

/*
 * A record of a process with a slot: the kernel put its number where the cookie goes. A thread's
 * last record may come when its process is told already, and the slot is another one's.
 */
static void tell_record(struct bpf_round *r, struct knell_event *event)
{
	struct bpf_source *s = r->s;
	uint64_t index = event->cookie;

	event->cookie = 0;
	if (index && index < s->slot_count && s->slots[index].task.tgid == event->task.tgid &&
	    __atomic_load_n(&s->slots[index].state, __ATOMIC_ACQUIRE) != SLOT_FREE) {
		bpf_tell_birth(r, (uint32_t)index);
		event->cookie = __atomic_load_n(&s->cookie[index], __ATOMIC_RELAXED);
	}
	knell_engine_deliver(s->base.engine, event);
}

static void read_ring(struct bpf_round *r, uint32_t home, unsigned long end)
{
	struct ring *ring = &r->s->rings[home];
	bool ids = r->s->held.count;
	const void *record;
	union {
		struct knell_event event;
		char bytes[KNELL_EVENT_MAX];
	} copy;

	while ((record = ring_next(ring, end)) != NULL) {
		uint32_t size = *(const uint32_t *)record;

		memcpy(&copy, record, size);
		if (ids)
			bpf_ids_tell(r, home, copy.event.time);
		tell_record(r, &copy.event);
	}
	ring_release(ring);
}

/* ---- news ---- */

/* What was queued first comes first. */
static void turn_around(uint32_t *first, size_t count)
{
	for (size_t i = 0; i < count / 2; i++) {
		uint32_t held = first[i];

		first[i] = first[count - 1 - i];
		first[count - 1 - i] = held;
	}
}

static void add_to_batch(struct bpf_round *r, uint32_t home)
{
	struct bpf_source *s = r->s;
	size_t before = r->batch_count;
	uint32_t index;

	/* Before the list is taken: what is urgent after this is on the next one. */
	__atomic_exchange_n(&s->heads[home].urgent, 0, __ATOMIC_SEQ_CST);
	index = news_take(s, home);

	/* A slot is on a list at most once before its pending bits are taken. */
	while (index && r->batch_count < s->slot_count) {
		r->batch[r->batch_count++] = index;
		index = __atomic_load_n(&s->slots[index].next, __ATOMIC_RELAXED);
	}
	turn_around(&r->batch[before], r->batch_count - before);
}

static bool is_of(const struct bpf_round *r, uint32_t home)
{
	return home >= r->first && home < r->end;
}

/* Lists were too busy: nothing is lost, the slots know it all. */
static void sweep(struct bpf_round *r)
{
	struct bpf_source *s = r->s;
	bool asked = false;

	for (uint32_t home = r->first; home < r->end; home++)
		asked |= __atomic_exchange_n(&s->heads[home].sweep, 0, __ATOMIC_ACQ_REL) != 0;
	for (uint32_t i = 1; asked && i < s->slot_count; i++) {
		struct knell_slot *slot = &s->slots[i];

		/* Acquire: an unlisted slot is nobody's but its home's. */
		if (__atomic_load_n(&slot->unlisted, __ATOMIC_ACQUIRE) && is_of(r, slot->home) &&
		    __atomic_exchange_n(&slot->unlisted, 0, __ATOMIC_ACQ_REL))
			r->batch[r->batch_count++] = i;
	}
}

/*
 * The births of the batch. From here on the living may be queued anew: only those whose death was
 * there before the rings are read stay in it.
 */
static void tell_births(struct bpf_round *r)
{
	size_t stay = 0;

	for (size_t i = 0; i < r->batch_count; i++) {
		uint32_t index = r->batch[i];
		/* Acquire: pairs with the or in tell(): the birth is filled in, and maybe the
		 * death. */
		uint32_t pending = __atomic_fetch_and(&r->s->slots[index].pending, ~SLOT_BORN,
						      __ATOMIC_ACQ_REL);

		if (pending & SLOT_BORN)
			bpf_tell_birth(r, index);
		if (pending & ~SLOT_BORN)
			r->batch[stay++] = index;
	}
	r->batch_count = stay;
}

static int by_time(const void *a, const void *b, void *slots)
{
	const struct knell_slot *x = &((const struct knell_slot *)slots)[*(const uint32_t *)a];
	const struct knell_slot *y = &((const struct knell_slot *)slots)[*(const uint32_t *)b];

	return (x->death.time > y->death.time) - (x->death.time < y->death.time);
}

/*
 * The exchange is sequentially consistent: who sets a watch stores it, then looks here; we say so
 * here, then look for watches.
 */
static bool say_once(struct bpf_source *s, uint32_t index, uint8_t what)
{
	return !(__atomic_fetch_or(&s->told[index], what, __ATOMIC_SEQ_CST) & what);
}

static bool was_told(const struct bpf_source *s, uint32_t index, uint8_t what)
{
	return __atomic_load_n(&s->told[index], __ATOMIC_RELAXED) & what;
}

bool bpf_exit_told(const struct bpf_source *s, uint32_t index)
{
	return was_told(s, index, TOLD_EXIT);
}

static void tell_free(struct bpf_source *s, uint32_t index, uint32_t flags)
{
	if (say_once(s, index, TOLD_FREE) && s->options.flags & KNELL_O_FREE)
		deliver_free(s, index, flags);
}

static void tell_slot(struct bpf_round *r, uint32_t index)
{
	struct bpf_source *s = r->s;
	/* Acquire: as above. */
	uint32_t pending = __atomic_exchange_n(&s->slots[index].pending, 0, __ATOMIC_ACQ_REL);

	bpf_tell_birth(r, index);
	if (pending & SLOT_EXIT && say_once(s, index, TOLD_EXIT)) {
		deliver_exit(s, index, pending & SLOT_FREED);
		waiting_add(s, index);
	}
	if (pending & SLOT_FREED)
		tell_free(s, index, 0);
	else if (pending & SLOT_RETIRED)
		tell_free(s, index, KNELL_F_GIVEN_UP);
	if (was_told(s, index, TOLD_FREE)) {
		waiting_remove(s, index);
		if (!slot_give_back(s, index))
			waiting_add(s, index);
	}
}

/*
 * A dead process keeps its slot until the kernel frees it, for the final account. But the kernel
 * frees late under a storm, and never while nobody waits for a zombie: when half of the slots are
 * in use, the oldest dead of each home give theirs up.
 */
static void make_room(struct bpf_source *s, uint32_t home)
{
	uint32_t head = waiting_head(s, home);
	uint32_t index = s->newer[head];

	while (index != head && __atomic_load_n(&s->in_use, __ATOMIC_RELAXED) > s->slot_count / 2) {
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

/* ---- what was lost ---- */

static void want_reconcile(struct bpf_source *s)
{
	__atomic_store_n(&s->reconcile_due, true, __ATOMIC_RELEASE);
}

static void tell_lost_of_ring(struct bpf_source *s, uint32_t home)
{
	uint64_t lost = __atomic_load_n((uint64_t *)&s->heads[home].lost, __ATOMIC_ACQUIRE);
	struct knell_gap gap = { .cause = KNELL_GAP_RING, .others = lost - s->lost_seen[home] };

	s->lost_seen[home] = lost;
	if (!gap.others)
		return;
	want_reconcile(s);
	knell_engine_deliver_gap(s->base.engine, home, &gap, 0);
}

static void take_lost_of_watch(struct bpf_source *s, uint32_t watch, struct knell_gap *gap)
{
	struct knell_watch_entry *entry = &s->watches[watch];
	uint64_t births, deaths;

	pthread_mutex_lock(&s->lost_lock);
	/* Deaths first: then no death is told whose birth was not counted. */
	deaths = __atomic_load_n((uint64_t *)&entry->lost_deaths, __ATOMIC_ACQUIRE);
	births = __atomic_load_n((uint64_t *)&entry->lost_births, __ATOMIC_ACQUIRE);
	gap->births = births - s->lost_births_seen[watch];
	gap->deaths = deaths - s->lost_deaths_seen[watch];
	__atomic_store_n(&s->lost_births_seen[watch], births, __ATOMIC_RELAXED);
	__atomic_store_n(&s->lost_deaths_seen[watch], deaths, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&s->lost_lock);
}

/* As records of this ring: whoever finds it tells it. */
static void tell_lost_of_reserve(struct bpf_source *s, uint32_t ring)
{
	for (uint32_t watch = 1; watch < WATCHES; watch++) {
		struct knell_gap gap = { .cause = KNELL_GAP_RESERVE };

		take_lost_of_watch(s, watch, &gap);
		if (!gap.births && !gap.deaths)
			continue;
		want_reconcile(s);
		knell_engine_deliver_gap(s->base.engine, ring, &gap, 0);
	}
}

/* In each round of each home, so without the lock: a loss that another one tells now may wait. */
static bool lost_waits(const struct bpf_source *s)
{
	bool waits = false;

	for (uint32_t watch = 1; watch < WATCHES; watch++) {
		const struct knell_watch_entry *entry = &s->watches[watch];

		waits |= __atomic_load_n(&entry->lost_deaths, __ATOMIC_ACQUIRE) !=
				 __atomic_load_n(&s->lost_deaths_seen[watch], __ATOMIC_RELAXED) ||
			 __atomic_load_n(&entry->lost_births, __ATOMIC_ACQUIRE) !=
				 __atomic_load_n(&s->lost_births_seen[watch], __ATOMIC_RELAXED);
	}
	return waits;
}

/* ---- the round ---- */

static void read_rings(struct bpf_round *r)
{
	for (uint32_t home = r->first; home < r->end; home++) {
		read_ring(r, home, ring_end(&r->s->rings[home]));
		tell_lost_of_ring(r->s, home);
	}
}

/* Where a socket tells of ids; then one round is for all homes, and nothing else runs. */
static void read_rings_and_ids(struct bpf_round *r)
{
	struct bpf_source *s = r->s;
	uint64_t until = knell_now();

	for (uint32_t home = r->first; home < r->end; home++)
		r->ends[home] = ring_end(&s->rings[home]);
	bpf_ids_take(s);
	for (uint32_t home = r->first; home < r->end; home++) {
		bpf_ids_next_home(s);
		read_ring(r, home, r->ends[home]);
		bpf_ids_tell(r, home, until);
		tell_lost_of_ring(s, home);
	}
	bpf_ids_end(s);
}

void bpf_reap_round(struct bpf_round *r)
{
	struct bpf_source *s = r->s;

	r->batch_count = 0;
	sweep(r);
	for (uint32_t home = r->first; home < r->end; home++)
		add_to_batch(r, home);
	tell_births(r);
	if (s->ids)
		read_rings_and_ids(r);
	else
		read_rings(r);
	/* Stamps order deaths for people: a parent that waited comes after its child. */
	qsort_r(r->batch, r->batch_count, sizeof(*r->batch), by_time, s->slots);
	for (size_t i = 0; i < r->batch_count; i++)
		tell_slot(r, r->batch[i]);
	for (uint32_t home = r->first; home < r->end; home++)
		make_room(s, home);
	if (lost_waits(s))
		tell_lost_of_reserve(s, r->first);
}

bool bpf_anything_waits(struct bpf_round *r)
{
	struct bpf_source *s = r->s;

	for (uint32_t home = r->first; home < r->end; home++) {
		const struct knell_head *head = &s->heads[home];

		if (__atomic_load_n(&head->news, __ATOMIC_ACQUIRE) ||
		    ring_end(&s->rings[home]) != s->rings[home].at ||
		    __atomic_load_n(&head->lost, __ATOMIC_ACQUIRE) != s->lost_seen[home] ||
		    __atomic_load_n(&head->sweep, __ATOMIC_ACQUIRE))
			return true;
	}
	return s->held.count || lost_waits(s);
}

bool bpf_urgent_waits(const struct bpf_round *r)
{
	for (uint32_t home = r->first; home < r->end; home++) {
		if (__atomic_load_n(&r->s->heads[home].urgent, __ATOMIC_ACQUIRE))
			return true;
	}
	return false;
}

/* The kernel counts how often it skipped a program that was already running on that CPU. */
void bpf_tell_missed(struct bpf_source *s)
{
	uint64_t missed = bpf_source_missed(s);
	struct knell_gap gap = { .cause = KNELL_GAP_MISSED };

	pthread_mutex_lock(&s->lost_lock);
	gap.others = missed - s->missed_seen;
	s->missed_seen = missed;
	pthread_mutex_unlock(&s->lost_lock);
	if (gap.others)
		knell_engine_deliver_gap(s->base.engine, 0, &gap, 0);
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
 * All that is watched and alive. The caller sees to it that no round runs meanwhile. Those that
 * found no slot at their birth get one now, if there is one, and are told at the end of the
 * dispatch that follows; else the iterator tells them at once.
 */
int bpf_reconcile(struct bpf_source *s)
{
	struct knell_adopt order = { .mode = ADOPT_LOST };
	int alive = 0;
	int r = 0;

	__atomic_store_n(&s->reconcile_due, false, __ATOMIC_RELEASE);
	bpf_tell_missed(s);
	if (lost_any(s)) {
		r = bpf_adopt(s, &order, -1);
		alive += (int)order.refused;
	}
	for (uint32_t i = 1; i < s->slot_count; i++) {
		if (!is_alive(&s->slots[i]))
			continue;
		if (birth_told(s, i))
			deliver_birth(s, i, KNELL_F_RECONCILED);
		else
			bpf_tell_birth(&s->all, i);
		alive++;
	}
	return r < 0 ? knell_fail(r, "the task iterator failed: %s", strerror(-r)) : alive;
}
