/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify_tell.c - makes the texts of violations, with the history of the process, and tells them;
 * or holds them back until the gaps were heard that may explain them. Owns the texts.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify_data.h"
#include "words.h"

/* A gap is told within a round, or once every CPU has been made to send a message. */
#define HOLD_NS UINT64_C(10000000000)

#define TEXT_MAX 2048

struct text {
	char s[TEXT_MAX];
	size_t used;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->s + t->used, sizeof(t->s) - t->used, format, args);
	va_end(args);
	if (n > 0)
		t->used += (size_t)n;
	if (t->used >= sizeof(t->s))
		t->used = sizeof(t->s) - 1;
}

/* What the detail of a note is, by kind. */
static struct vf_note note_of(const struct knell_event *e)
{
	struct vf_note note = {
		.time = e->time,
		.seq = e->seq,
		.ring = e->ring,
		.flags = e->flags,
		.tid = e->task.tid,
		.kind = e->kind,
		.scope = e->scope,
	};

	switch (e->kind) {
	case KNELL_INIT:
	case KNELL_CLONE:
		note.detail = e->parent.tgid;
		note.vague = e->unknown & KNELL_U_PARENT;
		break;
	case KNELL_EXEC:
		note.detail = e->u.exec.old_tid;
		break;
	case KNELL_UID:
	case KNELL_GID:
		note.detail = e->u.ids.effective;
		break;
	case KNELL_EXIT:
		note.detail = (uint32_t)e->u.exit.status;
		note.vague = e->unknown & KNELL_U_STATUS;
		break;
	default:
		note.vague = true;
	}
	return note;
}

void vf_note(struct vf_life *life, const struct knell_event *e)
{
	life->note[life->notes++ % VF_HISTORY] = note_of(e);
}

static void put_flags(struct text *t, uint32_t flags)
{
	static const char *const names[] = {
		"root",        "replaced",    "reconciled", "truncated",
		"start_stamp", "usage_final", "given_up",   "at_least",
	};

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (flags & 1u << i && 1u << i != KNELL_F_START_STAMP)
			put(t, " %s", names[i]);
	}
}

static void put_note(struct text *t, const char *what, const struct vf_note *note)
{
	static const char *const details[KNELL_KIND_MAX] = {
		[KNELL_INIT] = "parent",   [KNELL_CLONE] = "parent",  [KNELL_EXEC] = "old thread",
		[KNELL_UID] = "effective", [KNELL_GID] = "effective",
	};

	put(t, "\n  %s: ring %u number %" PRIu64 " at %" PRIu64 ".%09u: %s", what, note->ring,
	    note->seq, note->time / 1000000000, (unsigned int)(note->time % 1000000000),
	    knell_kind_name(note->kind));
	if (note->scope == KNELL_THREAD)
		put(t, " of thread %u", note->tid);
	if (note->kind == KNELL_EXIT && !note->vague)
		put(t, ", status %#x", note->detail);
	else if (details[note->kind] && !note->vague)
		put(t, ", %s %u", details[note->kind], note->detail);
	put_flags(t, note->flags);
}

static void put_history(struct text *t, const struct vf_life *life)
{
	uint64_t first = life->notes > VF_HISTORY ? life->notes - VF_HISTORY : 0;
	char label[64];

	snprintf(label, sizeof(label), "before, of %u", life->tgid);
	if (life->notes == 0)
		put(t, "\n  %s: nothing", label);
	else if (first)
		put(t, "\n  %s: %" PRIu64 " more", label, first);
	for (uint64_t i = first; i < life->notes; i++)
		put_note(t, label, &life->note[i % VF_HISTORY]);
}

static void put_name(struct text *t, uint32_t tgid, uint64_t start, const char *comm)
{
	put(t, "process %u", tgid);
	if (comm[0])
		put(t, " (%s)", words_comm(comm, true).s);
	put(t, " of start %" PRIu64 ": ", start);
}

/* With the lock of telling. */
static void tell(struct verify *v, const char *text)
{
	__atomic_fetch_add(&v->violations, 1, __ATOMIC_RELAXED);
	if (v->text_count < VF_TEXTS) {
		v->texts[v->text_count] = strdup(text);
		v->text_count += v->texts[v->text_count] != NULL;
	}
	if (v->options.fn)
		v->options.fn(text, v->options.userdata);
}

static void hold(struct verify *v, enum vf_class class, uint64_t time, const char *text)
{
	uint32_t count = v->held_count;
	char *copy = count < VF_HELD ? strdup(text) : NULL;

	if (!copy) {
		v->held_more[class]++;
		return;
	}
	v->held[count] = (struct vf_held){ .class = class, .time = time, .text = copy };
	if (count == 0)
		__atomic_store_n(&v->held_since, time, __ATOMIC_RELAXED);
	__atomic_store_n(&v->held_count, count + 1, __ATOMIC_RELEASE);
}

void vf_complain(struct verify *v, enum vf_class class, const struct vf_life *life,
		 const struct knell_event *e, const char *format, ...)
{
	struct text *t;
	char what[256];
	va_list args;

	/* What was not judged is missing in all that we know. */
	if (verify_unjudged(v))
		return;
	t = calloc(1, sizeof(*t));
	if (!t) {
		vf_blind(v);
		return;
	}
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (e && e->kind != KNELL_GAP)
		put_name(t, e->task.tgid, e->task.start, e->comm);
	else if (!e && life)
		put_name(t, life->tgid, life->start, life->comm);
	put(t, "%s", what);
	if (e) {
		struct vf_note note = note_of(e);

		put_note(t, "the record", &note);
	}
	if (life)
		put_history(t, life);
	pthread_mutex_lock(&v->tell_lock);
	if (class == VF_NEVER)
		tell(v, t->s);
	else
		hold(v, class, e ? e->time : 0, t->s);
	pthread_mutex_unlock(&v->tell_lock);
	free(t);
}

/* Each loss that a gap counted excuses one violation of its kind; one of any kind, one of any. */
static bool excuse(struct verify *v, enum vf_class class)
{
	const enum vf_class from[] = { class, VF_NEVER };

	for (size_t i = 0; i < 2; i++) {
		if (v->endless[from[i]])
			return true;
		if (v->excused[from[i]] < v->lost[from[i]]) {
			v->excused[from[i]]++;
			return true;
		}
	}
	return false;
}

static void settle_more(struct verify *v)
{
	for (int class = 0; class < VF_CLASSES; class ++) {
		for (; v->held_more[class]; v->held_more[class]--) {
			if (!excuse(v, (enum vf_class) class))
				tell(v, "more of the same");
		}
	}
}

/* Those that came before this moment are told, or excused. */
void vf_settle(struct verify *v, uint64_t before)
{
	uint32_t stay = 0;

	pthread_mutex_lock(&v->tell_lock);
	for (uint32_t i = 0; i < v->held_count; i++) {
		struct vf_held *held = &v->held[i];

		if (held->time >= before) {
			v->held[stay++] = *held;
			continue;
		}
		if (!excuse(v, held->class))
			tell(v, held->text);
		free(held->text);
	}
	if (stay == 0)
		settle_more(v);
	v->held_since = stay ? v->held[0].time : 0;
	__atomic_store_n(&v->held_count, stay, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&v->tell_lock);
}

void vf_settle_old(struct verify *v, uint64_t now)
{
	/* Acquire: pairs with the store in hold(), so the time is that of the first. */
	if (__atomic_load_n(&v->held_count, __ATOMIC_ACQUIRE) &&
	    now > __atomic_load_n(&v->held_since, __ATOMIC_RELAXED) + HOLD_NS)
		vf_settle(v, now - HOLD_NS / 2);
}
