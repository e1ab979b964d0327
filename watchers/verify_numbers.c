/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify_numbers.c - the numbers of each ring: each once and none missing, but for those that a gap
 * takes; and what gaps count. Owns the rings' states, made when a ring is first heard of.
 *
 * One reaper tells a ring's records in the order of their numbers. Of several, one may tell a birth
 * that belongs to another's ring, so there a number may come late, and what was heard ahead of it
 * is kept as ranges.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "verify_data.h"

/* NULL: no such ring, or no memory for it. */
static struct vf_ring *ring_of(struct verify *v, uint32_t number)
{
	struct vf_ring *ring, *first = NULL;

	if (number >= VF_RINGS)
		return NULL;
	/* Acquire: pairs with the exchange below. */
	ring = __atomic_load_n(&v->rings[number], __ATOMIC_ACQUIRE);
	if (ring)
		return ring;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return NULL;
	pthread_mutex_init(&ring->lock, NULL);
	if (__atomic_compare_exchange_n(&v->rings[number], &first, ring, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return ring;
	pthread_mutex_destroy(&ring->lock);
	free(ring);
	return first;
}

static uint64_t lost_in(const struct knell_gap *gap)
{
	return gap->births + gap->deaths + gap->others;
}

static void drop_ranges(struct vf_ring *ring, uint32_t at, uint32_t count)
{
	ring->ranges -= count;
	memmove(&ring->above[at], &ring->above[at + count],
		(ring->ranges - at) * sizeof(ring->above[0]));
}

/* Those that follow what was heard without a hole. */
static void catch_up(struct vf_ring *ring)
{
	uint32_t taken = 0;

	while (taken < ring->ranges && ring->above[taken].from <= ring->next)
		ring->next = ring->above[taken++].to;
	drop_ranges(ring, 0, taken);
}

static void put_range(struct vf_ring *ring, uint32_t at, struct vf_range range)
{
	struct vf_range *before = at ? &ring->above[at - 1] : NULL;
	struct vf_range *after = at < ring->ranges ? &ring->above[at] : NULL;

	if (before && before->to == range.from) {
		before->to = range.to;
		if (after && after->from == range.to) {
			before->to = after->to;
			drop_ranges(ring, at, 1);
		}
	} else if (after && after->from == range.to) {
		after->from = range.from;
	} else {
		memmove(&ring->above[at + 1], &ring->above[at],
			(ring->ranges - at) * sizeof(ring->above[0]));
		ring->above[at] = range;
		ring->ranges++;
	}
}

static void hear_ahead(struct verify *v, struct vf_ring *ring, struct vf_range range,
		       const struct knell_event *e)
{
	uint32_t at = 0;

	while (at < ring->ranges && ring->above[at].to <= range.from)
		at++;
	if (at < ring->ranges && ring->above[at].from < range.to) {
		vf_complain(v, VF_NEVER, NULL, e, "number %" PRIu64 " was told before", range.from);
		return;
	}
	put_range(ring, at, range);
	if (ring->ranges < VF_RANGES)
		return;
	vf_complain(v, VF_NEVER, NULL, e, "numbers %" PRIu64 " to %" PRIu64 " were never told",
		    ring->next, ring->above[0].from - 1);
	ring->next = ring->above[0].from;
	catch_up(ring);
}

void vf_check_number(struct verify *v, const struct knell_event *e)
{
	uint64_t count = e->kind == KNELL_GAP ? lost_in(&e->u.gap) : 1;
	const struct vf_range range = { .from = e->seq, .to = e->seq + count };
	struct vf_ring *ring = ring_of(v, e->ring);

	if (!ring) {
		if (e->ring >= VF_RINGS)
			vf_complain(v, VF_NEVER, NULL, e, "there is no ring %u", e->ring);
		else
			vf_blind(v);
		return;
	}
	pthread_mutex_lock(&ring->lock);
	if (!ring->begun && !v->fresh)
		ring->next = e->seq;
	ring->begun = true;
	if (e->seq < ring->next) {
		vf_complain(v, VF_NEVER, NULL, e, "its number is not new, %" PRIu64 " should come",
			    ring->next);
	} else if (e->seq == ring->next) {
		ring->next = range.to;
		catch_up(ring);
	} else if (v->options.flags & VERIFY_REAPERS) {
		hear_ahead(v, ring, range, e);
	} else {
		vf_complain(v, VF_NEVER, NULL, e,
			    "numbers %" PRIu64 " to %" PRIu64 " are missing, and no gap says so",
			    ring->next, range.from - 1);
		ring->next = range.to;
	}
	pthread_mutex_unlock(&ring->lock);
}

void vf_check_numbers_end(struct verify *v)
{
	for (uint32_t i = 0; i < VF_RINGS; i++) {
		struct vf_ring *ring = __atomic_load_n(&v->rings[i], __ATOMIC_ACQUIRE);

		if (!ring)
			continue;
		pthread_mutex_lock(&ring->lock);
		if (ring->ranges)
			vf_complain(v, VF_NEVER, NULL, NULL,
				    "ring %u: numbers %" PRIu64 " to %" PRIu64 " were never told",
				    i, ring->next, ring->above[0].from - 1);
		pthread_mutex_unlock(&ring->lock);
	}
}

void vf_numbers_close(struct verify *v)
{
	for (uint32_t i = 0; i < VF_RINGS; i++) {
		if (!v->rings[i])
			continue;
		pthread_mutex_destroy(&v->rings[i]->lock);
		free(v->rings[i]);
	}
}

void vf_hear_gap(struct verify *v, const struct knell_event *e)
{
	const struct knell_gap *gap = &e->u.gap;
	bool at_least = e->flags & KNELL_F_AT_LEAST;

	if (lost_in(gap) == 0)
		vf_complain(v, VF_NEVER, NULL, e, "a gap in which nothing was lost");
	if (gap->cause < KNELL_GAP_RING || gap->cause > KNELL_GAP_MISSED)
		vf_complain(v, VF_NEVER, NULL, e, "there is no cause %u of a gap", gap->cause);
	pthread_mutex_lock(&v->tell_lock);
	v->lost[VF_BIRTH] += gap->births;
	v->lost[VF_DEATH] += gap->deaths;
	/* What the kernel skipped, and the messages of some sources, may have been anything. */
	if (v->mixed || gap->cause == KNELL_GAP_MISSED) {
		v->lost[VF_NEVER] += gap->others;
		v->endless[VF_NEVER] |= at_least;
	} else {
		v->lost[VF_OTHER] += gap->others;
		v->endless[VF_OTHER] |= at_least;
	}
	v->endless[VF_BIRTH] |= at_least && gap->births;
	v->endless[VF_DEATH] |= at_least && gap->deaths;
	v->told_lost.births += gap->births;
	v->told_lost.deaths += gap->deaths;
	v->told_lost.others += gap->others;
	pthread_mutex_unlock(&v->tell_lock);
}

/* Nobody dies who was not born. */
static void check_deaths(struct verify *v)
{
	uint64_t met = __atomic_load_n(&v->met, __ATOMIC_RELAXED) + v->told_lost.births;
	uint64_t dead = __atomic_load_n(&v->deaths_told, __ATOMIC_RELAXED) + v->told_lost.deaths;

	/* A loss of any kind may have been a birth. */
	if (v->births && v->fresh && !v->lost[VF_NEVER] && !v->endless[VF_BIRTH] && dead > met)
		vf_complain(v, VF_NEVER, NULL, NULL,
			    "%" PRIu64 " deaths, told or lost, but %" PRIu64
			    " processes, told or lost",
			    dead, met);
}

/* The engine has counted what we heard. */
static void check_stats(struct verify *v)
{
	uint64_t heard = __atomic_load_n(&v->heard, __ATOMIC_RELAXED);
	const struct knell_gap *lost = &v->told_lost;
	struct knell_stats stats;

	knell_get_stats(v->engine, &stats);
	if (stats.records != heard)
		vf_complain(v, VF_NEVER, NULL, NULL,
			    "the engine counts %" PRIu64 " records, but told %" PRIu64,
			    stats.records, heard);
	if (stats.lost_births != lost->births || stats.lost_deaths != lost->deaths ||
	    stats.lost_others != lost->others)
		vf_complain(v, VF_NEVER, NULL, NULL,
			    "the engine counts %" PRIu64 " %" PRIu64 " %" PRIu64
			    " lost births, deaths and others, which is not what gaps told",
			    stats.lost_births, stats.lost_deaths, stats.lost_others);
}

void vf_check_balance(struct verify *v)
{
	check_deaths(v);
	if (v->engine && v->fresh)
		check_stats(v);
}
