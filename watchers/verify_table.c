/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify_table.c - verify's memory: who lives, and who died lately, with their threads. Each shard
 * owns its processes; one that is dead stays until so many others of its shard have died after it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verify_data.h"

#define FIRST_BUCKETS 64u

static uint32_t mix(uint32_t number)
{
	return number * 0x9e3779b1u;
}

int vf_table_open(struct verify *v)
{
	for (size_t i = 0; i < VF_SHARDS; i++) {
		struct vf_shard *s = &v->shards[i];

		pthread_mutex_init(&s->lock, NULL);
		s->buckets = calloc(FIRST_BUCKETS, sizeof(struct vf_life *));
		if (!s->buckets)
			return -ENOMEM;
		s->mask = FIRST_BUCKETS - 1;
	}
	return 0;
}

struct vf_shard *vf_shard_of(struct verify *v, uint32_t tgid)
{
	return &v->shards[mix(tgid) >> 26];
}

static struct vf_life **bucket_of(const struct vf_shard *s, uint32_t tgid)
{
	return &s->buckets[mix(tgid) >> 7 & s->mask];
}

struct vf_life *vf_find(const struct vf_shard *s, const struct knell_task_id *id)
{
	struct vf_life *life = *bucket_of(s, id->tgid);

	while (life && (life->tgid != id->tgid || life->start != id->start))
		life = life->next;
	return life;
}

/* Is `a` more likely than `b` to be the process of a thread? The living first, then the latest. */
static bool is_likelier(const struct vf_life *a, const struct vf_life *b)
{
	if (!b)
		return true;
	if ((a->state < VF_DEAD) != (b->state < VF_DEAD))
		return a->state < VF_DEAD;
	return a->start > b->start;
}

/* Who had this number when a thread of it began; `start` is 0 if that is not known. */
struct vf_life *vf_find_any(const struct vf_shard *s, uint32_t tgid, uint64_t start)
{
	struct vf_life *best = NULL;

	for (struct vf_life *life = *bucket_of(s, tgid); life; life = life->next) {
		if (life->tgid == tgid && (!start || life->start <= start) &&
		    is_likelier(life, best))
			best = life;
	}
	return best;
}

/* Longer chains are slower, and nothing else: to fail is no harm. */
static void grow(struct vf_shard *s)
{
	uint32_t size = (s->mask + 1) * 2, old = s->mask + 1;
	struct vf_life **buckets = calloc(size, sizeof(struct vf_life *)), **was = s->buckets;

	if (!buckets)
		return;
	s->buckets = buckets;
	s->mask = size - 1;
	for (uint32_t i = 0; i < old; i++) {
		for (struct vf_life *life = was[i], *next; life; life = next) {
			struct vf_life **to = bucket_of(s, life->tgid);

			next = life->next;
			life->next = *to;
			*to = life;
		}
	}
	free(was);
}

/* Without memory there is no judging: what we do not know would look like a violation. */
void vf_blind(struct verify *v)
{
	__atomic_fetch_add(&v->unjudged, 1, __ATOMIC_RELAXED);
}

struct vf_life *vf_add(struct verify *v, struct vf_shard *s, const struct knell_task_id *id)
{
	struct vf_life *life = calloc(1, sizeof(*life));
	struct vf_life **at;

	if (!life) {
		vf_blind(v);
		return NULL;
	}
	if (s->count > s->mask)
		grow(s);
	life->start = id->start;
	life->tgid = id->tgid;
	at = bucket_of(s, id->tgid);
	life->next = *at;
	*at = life;
	s->count++;
	return life;
}

static void leave_queue(struct vf_shard *s, struct vf_life *life)
{
	if (life->older)
		life->older->newer = life->newer;
	else
		s->oldest = life->newer;
	if (life->newer)
		life->newer->older = life->older;
	else
		s->newest = life->older;
	s->dead--;
}

static struct vf_thread **thread_bucket(struct vf_shard *s, uint32_t tid)
{
	return &s->threads[mix(tid) >> 8 & (VF_THREADS - 1)];
}

/* Out of its bucket, but not out of its process's list. */
static void drop_thread(struct vf_shard *s, struct vf_thread *thread)
{
	struct vf_thread **at = thread_bucket(s, thread->tid);

	while (*at != thread)
		at = &(*at)->next;
	*at = thread->next;
	free(thread);
}

void vf_remove_threads(struct vf_shard *s, struct vf_life *life)
{
	struct vf_thread *thread = life->threads, *after;

	life->threads = NULL;
	for (; thread; thread = after) {
		after = thread->after;
		drop_thread(s, thread);
	}
}

void vf_remove(struct vf_shard *s, struct vf_life *life)
{
	struct vf_life **at = bucket_of(s, life->tgid);

	while (*at != life)
		at = &(*at)->next;
	*at = life->next;
	if (life->state >= VF_DEAD)
		leave_queue(s, life);
	vf_remove_threads(s, life);
	s->count--;
	free(life);
}

static void forget_oldest(struct verify *v, struct vf_shard *s)
{
	struct vf_life *life = s->oldest;

	vf_check_last_threads(v, life);
	if (life->died > s->forgotten)
		s->forgotten = life->died;
	vf_remove(s, life);
}

/* It is dead: remembered for a while. */
void vf_bury(struct verify *v, struct vf_shard *s, struct vf_life *life, uint64_t time)
{
	life->state = VF_DEAD;
	/* Stamps are what they are; but it was not dead before it began. */
	life->died = time > life->start ? time : life->start;
	life->newer = NULL;
	life->older = s->newest;
	if (s->newest)
		s->newest->newer = life;
	else
		s->oldest = life;
	s->newest = life;
	s->dead++;
	while (s->dead > v->dead_max)
		forget_oldest(v, s);
}

struct vf_thread *vf_find_thread(const struct vf_shard *s, const struct vf_life *life, uint32_t tid)
{
	struct vf_thread *thread = s->threads[mix(tid) >> 8 & (VF_THREADS - 1)];

	while (thread && (thread->tid != tid || thread->life != life))
		thread = thread->next;
	return thread;
}

struct vf_thread *vf_add_thread(struct verify *v, struct vf_shard *s, struct vf_life *life,
				uint32_t tid, uint64_t start)
{
	struct vf_thread *thread = calloc(1, sizeof(*thread));
	struct vf_thread **at = thread_bucket(s, tid);

	if (!thread) {
		vf_blind(v);
		return NULL;
	}
	thread->life = life;
	thread->tid = tid;
	thread->start = start;
	thread->next = *at;
	*at = thread;
	thread->after = life->threads;
	if (life->threads)
		life->threads->before = thread;
	life->threads = thread;
	return thread;
}

void vf_remove_thread(struct vf_shard *s, struct vf_thread *thread)
{
	if (thread->before)
		thread->before->after = thread->after;
	else
		thread->life->threads = thread->after;
	if (thread->after)
		thread->after->before = thread->before;
	drop_thread(s, thread);
}

/* Dead, but the death of a thread, which should be told, was not. */
bool vf_threads_left(const struct vf_life *life)
{
	return life->state >= VF_DEAD && life->whole && !life->vague && life->threads;
}

/* `fn` may remove the one that it is called for. */
void vf_each(struct verify *v, void (*fn)(struct verify *, struct vf_shard *, struct vf_life *))
{
	for (size_t i = 0; i < VF_SHARDS; i++) {
		struct vf_shard *s = &v->shards[i];

		pthread_mutex_lock(&s->lock);
		for (uint32_t b = 0; s->buckets && b <= s->mask; b++) {
			for (struct vf_life *life = s->buckets[b], *next; life; life = next) {
				next = life->next;
				fn(v, s, life);
			}
		}
		pthread_mutex_unlock(&s->lock);
	}
}

static void drop(struct verify *v, struct vf_shard *s, struct vf_life *life)
{
	(void)v;
	vf_remove(s, life);
}

void vf_table_close(struct verify *v)
{
	vf_each(v, drop);
	for (size_t i = 0; i < VF_SHARDS; i++) {
		free(v->shards[i].buckets);
		pthread_mutex_destroy(&v->shards[i].lock);
	}
}
