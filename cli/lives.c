/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * lives.c - the set of living processes; see lives.h.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lives.h"

#define FIRST_SIZE 64u

static size_t home(const struct lives *lives, const struct knell_task_id *id)
{
	uint64_t hash = (id->start ^ id->tgid) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(hash >> 32) & (lives->size - 1);
}

/* Where it is, or the free place where it would be. The table is never full. */
static size_t place_of(const struct lives *lives, const struct knell_task_id *id)
{
	size_t i = home(lives, id);

	while (lives->slots[i].tgid &&
	       (lives->slots[i].tgid != id->tgid || lives->slots[i].start != id->start))
		i = (i + 1) & (lives->size - 1);
	return i;
}

static int grow(struct lives *lives)
{
	struct lives bigger = { .size = lives->size ? 2 * lives->size : FIRST_SIZE };

	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < lives->size; i++) {
		if (lives->slots[i].tgid)
			bigger.slots[place_of(&bigger, &lives->slots[i])] = lives->slots[i];
	}
	free(lives->slots);
	lives->slots = bigger.slots;
	lives->size = bigger.size;
	return 0;
}

static void add(struct lives *lives, const struct knell_task_id *id)
{
	size_t i;

	if (2 * (lives->count + 1) > lives->size && grow(lives) < 0) {
		lives->unsure = true;
		return;
	}
	i = place_of(lives, id);
	if (lives->slots[i].tgid)
		return;
	lives->slots[i] = *id;
	lives->count++;
}

/* Whoever follows in the same run moves up, unless it would then be before its home. */
static void drop(struct lives *lives, const struct knell_task_id *id)
{
	size_t free_place, i;

	if (!lives->size)
		return;
	free_place = place_of(lives, id);
	if (!lives->slots[free_place].tgid)
		return;
	lives->count--;
	for (i = (free_place + 1) & (lives->size - 1); lives->slots[i].tgid;
	     i = (i + 1) & (lives->size - 1)) {
		size_t from_home = (i - home(lives, &lives->slots[i])) & (lives->size - 1);
		size_t from_free = (i - free_place) & (lives->size - 1);

		if (from_home < from_free)
			continue;
		lives->slots[free_place] = lives->slots[i];
		free_place = i;
	}
	lives->slots[free_place].tgid = 0;
}

void lives_hear(struct lives *lives, const struct knell_event *event)
{
	if (event->kind == KNELL_GAP) {
		/* A death that was lost leaves one here; a birth that was lost may be alive. */
		lives->unsure |= event->u.gap.births || event->u.gap.deaths;
		return;
	}
	if (event->scope != KNELL_PROCESS || !event->task.tgid)
		return;
	if (event->kind == KNELL_CLONE)
		add(lives, &event->task);
	else if (event->kind == KNELL_EXIT)
		drop(lives, &event->task);
}

int lives_reconcile(struct lives *lives, struct knell_engine *engine)
{
	int r;

	if (lives->size)
		memset(lives->slots, 0, lives->size * sizeof(*lives->slots));
	lives->count = 0;
	lives->unsure = false;
	r = knell_reconcile(engine);
	return r < 0 ? r : 0;
}

void lives_free(struct lives *lives)
{
	free(lives->slots);
	*lives = (struct lives){ 0 };
}
