/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf_ids.c - changes of ids that come through a socket (ids.h), put between what comes through the
 * rings. It owns those that wait for their place.
 *
 * One task's changes, execs and thread records are told by their stamps, for they come by two ways.
 * A round notes the time, then where each ring ends, then drains the socket: what happened before
 * that time is in its part of the rings. Later changes wait for the next round, for a record that
 * comes before them may be in that one's. No death waits for them: whoever dies in this round has
 * changed nothing since.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf.h"

static void keep(const struct ids_change *change, void *userdata)
{
	struct bpf_source *s = userdata;
	struct held_ids *held = &s->held;
	uint64_t entry;

	if (change->tgid >= s->interest_count ||
	    (change->tid != change->tgid && !(s->options.flags & KNELL_O_THREADS)))
		return;
	entry = __atomic_load_n(&s->interest[change->tgid], __ATOMIC_ACQUIRE);
	if (!KNELL_INTEREST_SLOT(entry) || KNELL_INTEREST_SLOT(entry) >= s->slot_count)
		return;
	if (held->count == held->room) {
		size_t room = held->room ? 2 * held->room : 64;
		struct held_change *grown = realloc(held->all, room * sizeof(*grown));

		if (!grown) {
			held->lost++;
			return;
		}
		held->all = grown;
		held->room = room;
	}
	held->all[held->count] = (struct held_change){
		.change = *change,
		.slot = KNELL_INTEREST_SLOT(entry),
		.number = held->next_number++,
	};
	held->count++;
}

static int by_time(const void *a, const void *b)
{
	const struct held_change *x = a, *y = b;

	if (x->change.time != y->change.time)
		return x->change.time < y->change.time ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

void bpf_ids_take(struct bpf_source *s)
{
	struct held_ids *held = &s->held;
	struct knell_gap gap = { .cause = KNELL_GAP_RING };

	if (!s->ids)
		return;
	if (ids_drain(s->ids, keep, s) == -ENOBUFS)
		gap.others++;
	gap.others += held->lost;
	held->lost = 0;
	if (held->count > 1)
		qsort(held->all, held->count, sizeof(*held->all), by_time);
	held->at = 0;
	if (gap.others)
		knell_engine_deliver_gap(s->base.engine, 0, &gap, KNELL_F_AT_LEAST);
}

/* A change that is older than the birth is that of an earlier process with this number. */
static void tell(struct bpf_round *r, const struct held_change *held)
{
	struct bpf_source *s = r->s;

	if (bpf_exit_told(s, held->slot) || held->change.time < s->slots[held->slot].birth.time)
		return;
	bpf_tell_birth(r, held->slot);
	deliver_ids(s, held->slot, &held->change);
}

void bpf_ids_tell(struct bpf_round *r, uint32_t home, uint64_t until)
{
	struct held_ids *held = &r->s->held;

	for (; held->at < held->count && held->all[held->at].change.time <= until; held->at++) {
		struct held_change *change = &held->all[held->at];

		if (change->told || r->s->slots[change->slot].home != home)
			continue;
		change->told = true;
		tell(r, change);
	}
}

void bpf_ids_next_home(struct bpf_source *s)
{
	s->held.at = 0;
}

void bpf_ids_end(struct bpf_source *s)
{
	struct held_ids *held = &s->held;
	size_t stay = 0;

	for (size_t i = 0; i < held->count; i++) {
		if (!held->all[i].told)
			held->all[stay++] = held->all[i];
	}
	held->count = stay;
	held->at = 0;
}
