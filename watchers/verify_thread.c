/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify_thread.c - the rules for threads: born after their process, each dead once, ended by exec.
 * The leader's life is the process's own; only one that exec replaces has an exit record as a
 * thread. It owns nothing.
 *
 * A thread's exit may come after that of its process: the kernel counts the living first and tells
 * then, so the last one may overtake another.
 */
#include "verify_data.h"

static bool is_leader(const struct knell_event *e)
{
	return e->task.tid == e->task.tgid;
}

/* A thread of nobody. That is said once, and remembered by number. */
static void meet(struct verify *v, struct vf_shard *s, const struct knell_event *e)
{
	const struct knell_task_id id = { .tid = e->task.tgid, .tgid = e->task.tgid };
	struct vf_life *life;

	/* When its process began is not known: it may have been before anything that we heard. */
	if (vf_before_our_time(v, s, e, e->task.start) || !v->fresh ||
	    (e->flags & KNELL_F_START_STAMP && v->flags & KNELL_O_STREAM))
		return;
	vf_complain(v, VF_BIRTH, NULL, e, "the birth of its process was not told");
	life = vf_add(v, s, &id);
	if (!life)
		return;
	life->state = VF_ALIVE;
	life->ring = e->ring;
	vf_note(life, e);
}

static void hear_birth(struct verify *v, struct vf_shard *s, struct vf_life *life,
		       const struct knell_event *e)
{
	struct vf_thread *thread = vf_find_thread(s, life, e->task.tid);

	if (life->state >= VF_DEAD) {
		vf_complain(v, VF_NEVER, life, e,
			    "a thread is born after the death of its process");
		return;
	}
	life->several = true;
	if (thread && thread->start != e->task.start) {
		vf_complain(v, VF_OTHER, life, e, "thread %u was not told dead before",
			    e->task.tid);
		vf_remove_thread(s, thread);
		thread = NULL;
	}
	if (!thread) {
		thread = vf_add_thread(v, s, life, e->task.tid, e->task.start);
		if (thread)
			thread->inited = e->kind == KNELL_INIT;
		return;
	}
	if (e->kind != KNELL_CLONE || !thread->inited)
		vf_complain(v, VF_NEVER, life, e, "thread %u is born twice", e->task.tid);
	thread->inited = false;
}

static void hear_exit(struct verify *v, struct vf_shard *s, struct vf_life *life,
		      const struct knell_event *e)
{
	struct vf_thread *thread = vf_find_thread(s, life, e->task.tid);

	/* The leader lives on as another thread, which has taken its place. */
	if (is_leader(e)) {
		if (life->state >= VF_DEAD)
			vf_complain(v, VF_NEVER, life, e, "the leader is replaced after its death");
		return;
	}
	if (e->flags & KNELL_F_REPLACED)
		life->replaced = e->task.tid;
	if (thread)
		vf_remove_thread(s, thread);
	else if (life->whole)
		vf_complain(v, VF_OTHER, life, e, "thread %u dies, but does not live", e->task.tid);
}

static void hear_ids(struct verify *v, struct vf_shard *s, struct vf_life *life,
		     const struct knell_event *e)
{
	if (life->state >= VF_DEAD)
		vf_complain(v, VF_NEVER, life, e, "%s of a thread after the death of its process",
			    knell_kind_name(e->kind));
	else if (life->whole && !vf_find_thread(s, life, e->task.tid))
		vf_complain(v, VF_OTHER, life, e, "%s of thread %u, which does not live",
			    knell_kind_name(e->kind), e->task.tid);
}

static void hear_known(struct verify *v, struct vf_shard *s, struct vf_life *life,
		       const struct knell_event *e)
{
	if (life->state == VF_INITED)
		vf_complain(v, VF_NEVER, life, e,
			    "a thread of a process that has not begun to run");
	if (life->ring != e->ring)
		vf_complain(v, VF_BIRTH, life, e, "its records went to ring %u before", life->ring);
	switch (e->kind) {
	case KNELL_INIT:
	case KNELL_CLONE:
		hear_birth(v, s, life, e);
		break;
	case KNELL_EXIT:
		hear_exit(v, s, life, e);
		break;
	case KNELL_UID:
	case KNELL_GID:
		hear_ids(v, s, life, e);
		break;
	default:
		vf_complain(v, VF_NEVER, life, e, "%s of a thread", knell_kind_name(e->kind));
	}
	vf_note(life, e);
}

void vf_hear_thread(struct verify *v, const struct knell_event *e)
{
	struct vf_shard *s = vf_shard_of(v, e->task.tgid);
	struct vf_life *life;

	/* Outside of our namespace all have the number 0. */
	if (!e->task.tgid || !e->task.tid)
		return;
	if (is_leader(e) && !(e->kind == KNELL_EXIT && e->flags & KNELL_F_REPLACED))
		vf_complain(v, VF_NEVER, NULL, e, "a thread has its process's number");
	pthread_mutex_lock(&s->lock);
	life = vf_find_any(s, e->task.tgid, e->task.start);
	if (life)
		hear_known(v, s, life, e);
	else
		meet(v, s, e);
	pthread_mutex_unlock(&s->lock);
}

/*
 * Exec ends all other threads, and their deaths are told by then; the one that called it has no
 * death, for it is the leader now; but some sources tell that its number ended, as replaced. One
 * that does not know which one it was says 0.
 */
void vf_check_exec(struct verify *v, struct vf_shard *s, struct vf_life *life,
		   const struct knell_event *e)
{
	uint32_t old = e->u.exec.old_tid;
	struct vf_thread *thread = old == life->tgid ? NULL : vf_find_thread(s, life, old);

	life->several = false;
	if (!(v->flags & KNELL_O_THREADS) || !(v->can & KNELL_CAN_THREADS))
		return;
	if (thread)
		vf_remove_thread(s, thread);
	else if (old && old != life->tgid && old != life->replaced && life->whole)
		vf_complain(v, VF_OTHER, life, e, "exec by thread %u, which does not live", old);
	if (!old && life->threads && !life->threads->after)
		vf_remove_thread(s, life->threads);
	if (life->threads)
		vf_complain(v, VF_OTHER, life, e, "thread %u outlives exec", life->threads->tid);
	vf_remove_threads(s, life);
}

/* It is forgotten now, or this is the end. */
void vf_check_last_threads(struct verify *v, const struct vf_life *life)
{
	if (!vf_threads_left(life))
		return;
	for (const struct vf_thread *thread = life->threads; thread; thread = thread->after)
		vf_complain(v, VF_OTHER, life, NULL, "thread %u was never told dead", thread->tid);
}
