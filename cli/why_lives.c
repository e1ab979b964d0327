/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_lives.c - the processes that a log tells of; see why.h. Owns the index by pid. What is kept
 * of a log of any length is bounded: those alive, the last few thousand dead, and the dead
 * ancestors of both, of which an endless line is cut.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "why.h"

/* Who is heard of after its death: a sender, the parent of a child that is told late. */
#define RECENT 8192u

/* Beyond this, dead ancestors are forgotten. */
#define MAX_DEPTH 64u

struct why_lives {
	struct why_life **buckets;
	uint32_t size; /* a power of 2 */
	uint32_t count;
	struct why_life *recent[RECENT];
	uint32_t next; /* of recent: the oldest, which goes next */
};

int why_lives_new(struct why_lives **ret)
{
	struct why_lives *lives = calloc(1, sizeof(*lives));

	if (!lives)
		return -ENOMEM;
	lives->size = 1024;
	lives->buckets = calloc(lives->size, sizeof(struct why_life *));
	if (!lives->buckets) {
		free(lives);
		return -ENOMEM;
	}
	*ret = lives;
	return 0;
}

struct why_lives *why_lives_free(struct why_lives *lives)
{
	if (!lives)
		return NULL;
	why_lives_forget_all(lives);
	free(lives->buckets);
	free(lives);
	return NULL;
}

struct why_life *why_life_ref(struct why_life *life)
{
	if (life)
		life->refs++;
	return life;
}

/* A loop, for a line of ancestors may be long. */
struct why_life *why_life_unref(struct why_life *life)
{
	while (life && --life->refs == 0) {
		struct why_life *parent = life->parent;

		free(life->path);
		free(life->args);
		free(life);
		life = parent;
	}
	return NULL;
}

static struct why_life **bucket(struct why_lives *lives, uint32_t pid)
{
	return &lives->buckets[(pid * 2654435761u >> 7) & (lives->size - 1)];
}

/* The buckets keep their order: the newest of a pid comes first. */
static void grow(struct why_lives *lives)
{
	uint32_t old_size = lives->size;
	struct why_life **old = lives->buckets;
	struct why_life **grown = calloc(2ul * old_size, sizeof(struct why_life *));

	if (!grown)
		return; /* slower, but right */
	lives->buckets = grown;
	lives->size = 2 * old_size;
	for (uint32_t i = 0; i < old_size; i++) {
		while (old[i]) {
			struct why_life *life = old[i], **end = bucket(lives, life->pid);

			old[i] = life->next;
			while (*end)
				end = &(*end)->next;
			life->next = NULL;
			*end = life;
		}
	}
	free(old);
}

static bool is_same(const struct why_life *life, uint64_t start, uint32_t run)
{
	uint64_t apart = life->start > start ? life->start - start : start - life->start;

	if (!start || !life->start)
		return true;
	return life->run == run ? apart == 0 : apart <= WHY_SAME_START;
}

struct why_life *why_lives_find(struct why_lives *lives, uint32_t pid, uint64_t start, uint32_t run)
{
	struct why_life *life;

	for (life = *bucket(lives, pid); life; life = life->next) {
		if (life->pid != pid || !is_same(life, start, run))
			continue;
		if (start)
			life->start = start;
		life->run = run;
		return life;
	}
	return NULL;
}

struct why_life *why_lives_at(struct why_lives *lives, uint32_t pid, uint64_t time)
{
	struct why_life *found = NULL;

	for (struct why_life *life = *bucket(lives, pid); life; life = life->next) {
		if (life->pid == pid && life->start <= time &&
		    (!life->died || life->died >= time) && (!found || life->start > found->start))
			found = life;
	}
	return found;
}

struct why_life *why_lives_superseded(struct why_lives *lives, uint32_t pid)
{
	uint64_t youngest = 0;

	for (struct why_life *life = *bucket(lives, pid); life; life = life->next) {
		if (life->pid == pid && life->start > youngest)
			youngest = life->start;
	}
	for (struct why_life *life = *bucket(lives, pid); life; life = life->next) {
		if (life->pid == pid && life->start < youngest &&
		    !(life->flags & (WHY_DEAD | WHY_DOUBTED)))
			return life;
	}
	return NULL;
}

struct why_life *why_lives_add(struct why_lives *lives, uint32_t pid, uint64_t start, uint32_t run)
{
	struct why_life *life = calloc(1, sizeof(*life)), **first;

	if (!life)
		return NULL;
	life->pid = pid;
	life->start = start;
	life->run = run;
	life->refs = 1;
	life->flags = WHY_INDEXED;
	if (lives->count >= lives->size)
		grow(lives);
	first = bucket(lives, pid);
	life->next = *first;
	*first = life;
	lives->count++;
	return life;
}

void why_lives_forget(struct why_lives *lives, struct why_life *life)
{
	struct why_life **at = bucket(lives, life->pid);

	if (!(life->flags & WHY_INDEXED))
		return;
	while (*at != life)
		at = &(*at)->next;
	*at = life->next;
	life->next = NULL;
	life->flags &= ~WHY_INDEXED;
	lives->count--;
	why_life_unref(life);
}

void why_lives_died(struct why_lives *lives, struct why_life *life)
{
	struct why_life **place = &lives->recent[lives->next];

	if (*place) {
		why_lives_forget(lives, *place);
		why_life_unref(*place);
	}
	*place = why_life_ref(life);
	lives->next = (lives->next + 1) % RECENT;
}

void why_lives_each(struct why_lives *lives, void (*fn)(struct why_life *life, void *userdata),
		    void *userdata)
{
	for (uint32_t i = 0; i < lives->size; i++) {
		for (struct why_life *life = lives->buckets[i]; life; life = life->next) {
			if (!(life->flags & WHY_DEAD))
				fn(life, userdata);
		}
	}
}

void why_lives_forget_all(struct why_lives *lives)
{
	for (uint32_t i = 0; i < lives->size; i++) {
		while (lives->buckets[i])
			why_lives_forget(lives, lives->buckets[i]);
	}
	for (uint32_t i = 0; i < RECENT; i++)
		lives->recent[i] = why_life_unref(lives->recent[i]);
	lives->next = 0;
}

/*
 * A damaged log could make somebody its own ancestor. And a process that forks and exits, over and
 * over, has endless ancestors.
 */
void why_life_set_parent(struct why_life *life, struct why_life *parent)
{
	struct why_life *above = parent;

	if (life->parent || !parent)
		return;
	for (uint32_t depth = 0; above; above = above->parent, depth++) {
		if (above == life)
			return;
		if (depth >= MAX_DEPTH && above->flags & WHY_DEAD && above->parent) {
			above->parent = why_life_unref(above->parent);
			above->flags |= WHY_CUT;
		}
		if (depth >= 2 * MAX_DEPTH)
			break;
	}
	life->parent = why_life_ref(parent);
}
