/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify_process.c - the order of records within one process, and between parent and child: birth
 * before all else, one death, nothing after it but one free, no child of the unborn. It owns
 * nothing.
 *
 * Who has the number of one that is not told dead yet is no violation by itself: across processes
 * only causal order is promised, so the death of the first may come after the birth of the second.
 */
#include <inttypes.h>
#include <linux/sched.h>
#include <string.h>

#include "verify_data.h"

/* Alive and superseded, of one number: more than these cannot be waiting for their deaths. */
#define WAITING_MAX 2

/* Starts in /proc are multiples of it, ns: USER_HZ is 100 for every program. */
#define TICK 10000000u

static bool is_birth(const struct knell_event *e)
{
	return e->kind == KNELL_INIT || e->kind == KNELL_CLONE;
}

/*
 * May we not know of its birth, and it is nobody's fault? It may be one of the dead that we do not
 * remember; or it lived before we came; or before it was watched, where a source begins without a
 * record of that (those that stamp the start themselves do).
 */
bool vf_before_our_time(const struct verify *v, const struct vf_shard *s,
			const struct knell_event *e, uint64_t start)
{
	if (!v->births || (s->forgotten && start <= s->forgotten))
		return true;
	if (v->can & KNELL_CAN_WATCH && e->flags & KNELL_F_START_STAMP && e->flags & KNELL_F_ROOT)
		return true;
	if (start > v->opened_at)
		return false;
	return !v->fresh || (e->flags & KNELL_F_START_STAMP && v->flags & KNELL_O_STREAM);
}

/*
 * Starts that come from /proc are those of a clock tick, in which two processes may have had the
 * same number: the identity of both is the same.
 */
static bool may_be_another(const struct vf_life *life, const struct knell_event *e)
{
	return life->state >= VF_DEAD && e->kind != KNELL_FREE && life->start % TICK == 0;
}

/* The parent may be one that nobody watches. */
static bool may_be_unwatched(const struct verify *v, const struct vf_shard *s,
			     const struct knell_event *e)
{
	const uint64_t flags = e->unknown & KNELL_U_FLAGS ? 0 : e->u.clone.flags;

	/* A stream finds those that lived before while it hears new ones already. */
	if (v->flags & KNELL_O_STREAM && e->parent.start <= v->opened_at)
		return true;
	/* Its start is from /proc: it lived before it was watched, and has no record of that. */
	if (e->flags & KNELL_F_START_STAMP && e->parent.start % TICK == 0)
		return true;
	/* A parent that died and is not remembered lived when its child was made. */
	return flags & CLONE_PARENT || v->filtered ||
	       (s->forgotten && e->task.start <= s->forgotten) ||
	       vf_before_our_time(v, s, e, e->parent.start);
}

/* Once for each birth, before the child's own shard is looked at. */
static void check_parent(struct verify *v, const struct knell_event *e)
{
	struct vf_shard *s;
	struct vf_life *parent;

	if (e->flags & (KNELL_F_ROOT | KNELL_F_RECONCILED) || e->unknown & KNELL_U_PARENT ||
	    !e->parent.tgid || !e->parent.start)
		return;
	if (e->parent.tgid == e->task.tgid && e->parent.start == e->task.start) {
		vf_complain(v, VF_NEVER, NULL, e, "it is its own parent");
		return;
	}
	s = vf_shard_of(v, e->parent.tgid);
	pthread_mutex_lock(&s->lock);
	parent = vf_find(s, &e->parent);
	if (parent && parent->state == VF_INITED) {
		vf_complain(v, VF_NEVER, parent, e, "its parent has not begun to run");
	} else if (parent && parent->state >= VF_DEAD && e->task.start > parent->died) {
		vf_complain(v, VF_NEVER, parent, e,
			    "its parent died before it was made, at %" PRIu64, parent->died);
	} else if (!parent && !may_be_unwatched(v, s, e)) {
		vf_complain(v, VF_BIRTH, NULL, e, "no birth of its parent %u was told",
			    e->parent.tgid);
		parent = vf_add(v, s, &e->parent);
		if (parent)
			parent->state = VF_ALIVE;
	}
	pthread_mutex_unlock(&s->lock);
}

/* Those that had the number before and are not told dead: some may wait, but not ever more. */
static void check_waiting(struct verify *v, struct vf_shard *s, const struct vf_life *life,
			  const struct knell_event *e)
{
	struct vf_life *oldest = NULL;
	unsigned int waiting = 0;

	if (!life->tgid) /* everybody outside of our namespace */
		return;
	/* It was put in front of them. */
	for (struct vf_life *other = life->next; other; other = other->next) {
		if (other->tgid != life->tgid || other->state >= VF_DEAD)
			continue;
		waiting++;
		if (!oldest || other->start < oldest->start)
			oldest = other;
	}
	if (waiting <= WAITING_MAX)
		return;
	vf_complain(v, VF_DEATH, oldest, e, "%u had this number before, and none is told dead",
		    waiting);
	vf_remove(s, oldest);
}

/* A record of somebody who is not known: it should be a birth. */
static struct vf_life *meet(struct verify *v, struct vf_shard *s, const struct knell_event *e)
{
	struct vf_life *other = vf_find_any(s, e->task.tgid, 0);
	struct vf_life *life;

	/* Known from its threads only, and that it was not born has been said. */
	if (other && !other->start) {
		vf_remove(s, other);
		other = NULL;
	} else if (!is_birth(e) && !vf_before_our_time(v, s, e, e->task.start)) {
		if (other && other->state < VF_DEAD && e->task.tgid)
			vf_complain(v, VF_BIRTH, other, e, "its start was %" PRIu64 " before",
				    other->start);
		else
			vf_complain(v, VF_BIRTH, other, e, "its birth was not told");
	}
	life = vf_add(v, s, &e->task);
	if (!life)
		return NULL;
	life->state = e->kind == KNELL_INIT ? VF_INITED : VF_ALIVE;
	life->whole = is_birth(e) && !(e->flags & KNELL_F_RECONCILED);
	life->ring = e->ring;
	if (e->kind == KNELL_FREE)
		vf_bury(v, s, life, e->time);
	check_waiting(v, s, life, e);
	return life;
}

static void hear_clone(struct verify *v, struct vf_life *life, const struct knell_event *e)
{
	bool found = e->flags & KNELL_F_RECONCILED;

	if (life->state >= VF_DEAD)
		vf_complain(v, VF_NEVER, life, e, "%s after its death",
			    found ? "found alive" : "born");
	else if (life->state == VF_ALIVE && !found)
		vf_complain(v, VF_NEVER, life, e, "born twice");
	if (life->state == VF_INITED)
		life->state = VF_ALIVE;
}

static void hear_free(struct verify *v, struct vf_shard *s, struct vf_life *life,
		      const struct knell_event *e)
{
	if (life->state == VF_FREED)
		vf_complain(v, VF_NEVER, life, e, "freed twice");
	else if (life->state < VF_DEAD)
		vf_complain(v, VF_DEATH, life, e, "freed before it died");
	if (life->state < VF_DEAD)
		vf_bury(v, s, life, e->time);
	life->state = VF_FREED;
}

static void hear_exit(struct verify *v, struct vf_shard *s, struct vf_life *life,
		      const struct knell_event *e)
{
	if (e->flags & KNELL_F_REPLACED)
		vf_complain(v, VF_NEVER, life, e, "a process is not replaced, but a thread");
	if (life->state >= VF_DEAD) {
		vf_complain(v, VF_NEVER, life, e, "died twice");
		return;
	}
	if (life->state == VF_INITED)
		vf_complain(v, VF_NEVER, life, e, "died before it began to run");
	__atomic_fetch_add(&v->deaths_told, 1, __ATOMIC_RELAXED);
	vf_check_exit(v, life, e);
	life->vague = e->flags & KNELL_F_RECONCILED || e->unknown & KNELL_U_STATUS;
	vf_bury(v, s, life, e->time);
}

static void hear_known(struct verify *v, struct vf_shard *s, struct vf_life *life,
		       const struct knell_event *e)
{
	switch (e->kind) {
	case KNELL_INIT:
		vf_complain(v, VF_NEVER, life, e, "made twice");
		return;
	case KNELL_CLONE:
		hear_clone(v, life, e);
		return;
	case KNELL_EXIT:
		hear_exit(v, s, life, e);
		return;
	case KNELL_FREE:
		hear_free(v, s, life, e);
		return;
	default:
		if (life->state >= VF_DEAD)
			vf_complain(v, VF_NEVER, life, e, "%s after its death",
				    knell_kind_name(e->kind));
		else if (life->state == VF_INITED)
			vf_complain(v, VF_NEVER, life, e, "%s before it began to run",
				    knell_kind_name(e->kind));
		else if (e->kind == KNELL_EXEC)
			vf_check_exec(v, s, life, e);
	}
}

/* All records of one process go to one ring, but for one that was found again after a loss. */
static void check_home(struct verify *v, struct vf_life *life, const struct knell_event *e)
{
	if (life->ring != e->ring && !(e->flags & KNELL_F_RECONCILED))
		vf_complain(v, VF_BIRTH, life, e, "its records went to ring %u before", life->ring);
	life->ring = e->ring;
}

void vf_hear_process(struct verify *v, const struct knell_event *e)
{
	struct vf_shard *s = vf_shard_of(v, e->task.tgid);
	struct vf_life *life;
	bool met = false;

	/* Who has no start has no identity; a source that cannot ask /proc makes such records. */
	if (!e->task.start)
		return;
	if (e->task.tid != e->task.tgid)
		vf_complain(v, VF_NEVER, NULL, e, "a process has a thread's number %u",
			    e->task.tid);
	pthread_mutex_lock(&s->lock);
	life = vf_find(s, &e->task);
	if (life && may_be_another(life, e)) {
		vf_remove(s, life);
		life = NULL;
	}
	if (!life) {
		met = true;
		life = meet(v, s, e);
	} else {
		check_home(v, life, e);
	}
	if (life && !(met && (is_birth(e) || e->kind == KNELL_FREE)))
		hear_known(v, s, life, e);
	if (life) {
		vf_check_ids(v, life, e);
		vf_note(life, e);
	}
	pthread_mutex_unlock(&s->lock);
	if (met && is_birth(e))
		check_parent(v, e);
	__atomic_fetch_add(&v->met, met, __ATOMIC_RELAXED);
}
