/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf_slots.c - the library's side of the slots: who takes one from a free list, who gives it back,
 * and who takes the list of those with news. The kernel's side is bpf/slot.h; what may touch a slot
 * in which state is told in bpf/layout.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf.h"

int slots_init(struct bpf_source *s)
{
	uint32_t links = s->slot_count + s->cpus;

	s->told = calloc(s->slot_count, sizeof(*s->told));
	s->birth = calloc(s->slot_count, sizeof(*s->birth));
	s->newer = calloc(links, sizeof(*s->newer));
	s->older = calloc(links, sizeof(*s->older));
	s->cookie = calloc(s->slot_count, sizeof(*s->cookie));
	s->lost_seen = calloc(s->cpus, sizeof(*s->lost_seen));
	if (!s->told || !s->birth || !s->newer || !s->older || !s->cookie || !s->lost_seen ||
	    bpf_round_init(&s->all, s, 0, s->cpus) < 0)
		return knell_fail(-ENOMEM, "no memory for a reserve of %u", s->options.reserve);
	for (uint32_t home = 0; home < s->cpus; home++) {
		uint32_t head = waiting_head(s, home);

		s->newer[head] = head;
		s->older[head] = head;
	}
	/* Nobody else is there yet: neighbours in memory go to the same CPU. */
	for (uint32_t i = 1; i < s->slot_count; i++) {
		uint32_t pool = (uint32_t)((uint64_t)i * s->cpus / s->slot_count);

		s->slots[i].pool = pool;
		s->slots[i].next = (uint32_t)s->heads[pool].free;
		s->heads[pool].free = i;
	}
	return 0;
}

void slots_destroy(struct bpf_source *s)
{
	bpf_round_destroy(&s->all);
	free(s->told);
	free(s->birth);
	free(s->newer);
	free(s->older);
	free(s->cookie);
	free(s->lost_seen);
	/* A load without trampolines may follow, and fail before it makes them anew. */
	s->told = NULL;
	s->birth = NULL;
	s->newer = NULL;
	s->older = NULL;
	s->cookie = NULL;
	s->lost_seen = NULL;
}

uint32_t pool_take(struct bpf_source *s)
{
	for (uint32_t pool = 0; pool < s->cpus; pool++) {
		uint64_t *head = (uint64_t *)&s->heads[pool].free;
		/* Acquire: pairs with pool_put(). The tag makes a stale `next` harmless. */
		uint64_t old = __atomic_load_n(head, __ATOMIC_ACQUIRE);

		while ((uint32_t)old) {
			uint32_t next =
				__atomic_load_n(&s->slots[(uint32_t)old].next, __ATOMIC_RELAXED);
			uint64_t new = ((old >> 32) + 1) << 32 | next;

			if (__atomic_compare_exchange_n(head, &old, new, false, __ATOMIC_ACQ_REL,
							__ATOMIC_ACQUIRE))
				return (uint32_t)old;
		}
	}
	return 0;
}

void pool_put(struct bpf_source *s, uint32_t index)
{
	struct knell_slot *slot = &s->slots[index];
	uint64_t *head = (uint64_t *)&s->heads[slot->pool].free;
	uint64_t old = __atomic_load_n(head, __ATOMIC_RELAXED);
	uint64_t new;

	do {
		__atomic_store_n(&slot->next, (uint32_t)old, __ATOMIC_RELAXED);
		new = ((old >> 32) + 1) << 32 | index;
		/* Release: the slot's state is SLOT_FREE for whoever takes it. */
	} while (!__atomic_compare_exchange_n(head, &old, new, false, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
}

uint32_t news_take(struct bpf_source *s, uint32_t home)
{
	/* Acquire: pairs with the compare-and-swap in push_news(). */
	return (uint32_t)__atomic_exchange_n((uint64_t *)&s->heads[home].news, 0, __ATOMIC_ACQUIRE);
}

/*
 * Slots whose exit was told and that wait for SLOT_FREED: of each home a ring with a head, oldest
 * first: newer[head] is the oldest.
 */
uint32_t waiting_head(const struct bpf_source *s, uint32_t home)
{
	return s->slot_count + home;
}

void waiting_add(struct bpf_source *s, uint32_t index)
{
	uint32_t head = waiting_head(s, s->slots[index].home);
	uint32_t last = s->older[head];

	s->older[index] = last;
	s->newer[index] = head;
	s->newer[last] = index;
	s->older[head] = index;
}

void waiting_remove(struct bpf_source *s, uint32_t index)
{
	s->newer[s->older[index]] = s->newer[index];
	s->older[s->newer[index]] = s->older[index];
}

/*
 * The slot goes back to its free list: true. False: a program is still in it, or has just queued
 * it; try again later. See bpf/layout.h for the handshake.
 */
bool slot_give_back(struct bpf_source *s, uint32_t index)
{
	struct knell_slot *slot = &s->slots[index];
	uint64_t entry = KNELL_INTEREST(slot->watch, index);

	__atomic_compare_exchange_n(&s->interest[slot->interest], &entry, 0, false,
				    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	/* A full barrier. Pairs with slot_enter(): it counts itself, then looks at the state. */
	__atomic_exchange_n(&slot->state, SLOT_LEAVING, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&slot->writers, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&slot->pending, __ATOMIC_SEQ_CST))
		return false;
	/* Release: pairs with was_told_before(), which finds it leaving. */
	__atomic_store_n(&s->told[index], 0, __ATOMIC_RELEASE);
	__atomic_store_n(&s->cookie[index], 0, __ATOMIC_RELAXED);
	/* Release: who claims it by mistake sees that it is leaving. */
	__atomic_store_n(&s->birth[index], BIRTH_UNTOLD, __ATOMIC_RELEASE);
	__atomic_fetch_sub(&s->in_use, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->state, SLOT_FREE, __ATOMIC_RELEASE);
	pool_put(s, index);
	return true;
}
