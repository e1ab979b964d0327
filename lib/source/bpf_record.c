/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf_record.c - makes records out of slots. It owns nothing; each record lives on the stack until
 * the watchers have seen it.
 */
#include <string.h>
#include <sys/wait.h>

#include "bpf.h"

static void fill(const struct bpf_source *s, struct knell_event *event,
		 const struct knell_slot *slot, const struct knell_moment *moment,
		 enum knell_kind kind, size_t payload)
{
	memset(event, 0, KNELL_EVENT_HEAD + payload);
	event->size = (uint32_t)(KNELL_EVENT_HEAD + payload);
	event->kind = (uint8_t)kind;
	event->scope = KNELL_PROCESS;
	event->flags = slot->flags & SLOT_ROOT ? KNELL_F_ROOT : 0;
	event->ring = slot->home;
	event->task = slot->task;
	event->cookie = __atomic_load_n(&s->cookie[slot - s->slots], __ATOMIC_RELAXED);
	event->time = moment->time;
	event->cgroup = moment->cgroup;
	event->parent = moment->parent;
	event->uid = moment->uid;
	event->gid = moment->gid;
	event->cpu = moment->cpu;
	memcpy(event->comm, moment->comm, sizeof(event->comm));
}

/*
 * The kernel books user and system time by ticks, but the sum exactly. As its own cputime_adjust()
 * does for getrusage(2), the exact sum is divided in the ratio of the ticks.
 */
static void cpu_times(struct knell_usage *usage, const struct knell_raw_usage *raw,
		      uint64_t runtime)
{
	uint64_t ticks = raw->utime + raw->stime;

	if (raw->stime == 0)
		usage->stime = 0;
	else if (raw->utime == 0)
		usage->stime = runtime;
	else
		usage->stime = (uint64_t)((unsigned __int128)runtime * raw->stime / ticks);
	usage->utime = runtime - usage->stime;
}

static void fill_usage(struct knell_event *event, struct knell_usage *usage,
		       const struct knell_slot *slot, bool freed)
{
	const struct knell_raw_usage *raw = &slot->usage;

	cpu_times(usage, raw, freed ? slot->freed.runtime : raw->runtime);
	if (raw->maxrss == KNELL_RSS_UNKNOWN)
		event->unknown |= KNELL_U_RSS;
	else
		usage->maxrss = raw->maxrss;
	usage->minflt = raw->minflt;
	usage->majflt = raw->majflt;
}

/* Told again because it lives: by the name that it has now. What else may have changed is not
 * known. */
static void fill_alive(struct knell_event *event, const struct knell_slot *slot)
{
	memcpy(event->comm, slot->comm, sizeof(event->comm));
	if (slot->flags & SLOT_FOUND)
		return; /* as it was when it was found */
	event->time = knell_now();
	event->unknown |= KNELL_U_PARENT | KNELL_U_UID | KNELL_U_GID | KNELL_U_CGROUP | KNELL_U_CPU;
	memset(&event->parent, 0, sizeof(event->parent));
	event->uid = 0;
	event->gid = 0;
	event->cgroup = 0;
	event->cpu = 0;
}

void deliver_birth(struct bpf_source *s, uint32_t index, uint32_t flags)
{
	struct knell_slot *slot = &s->slots[index];
	struct knell_event event;

	fill(s, &event, slot, &slot->birth, KNELL_CLONE, sizeof(event.u.clone));
	if (slot->flags & SLOT_FOUND) {
		flags |= KNELL_F_RECONCILED;
		event.unknown |= KNELL_U_FLAGS;
	}
	event.flags |= flags;
	if (flags & KNELL_F_RECONCILED)
		fill_alive(&event, slot);
	event.u.clone.flags = slot->clone_flags & ~0xffull;
	event.u.clone.exit_signal = slot->exit_signal;
	if (!(flags & KNELL_F_RECONCILED) && knell_engine_wants(s->base.engine, KNELL_INIT)) {
		event.kind = KNELL_INIT;
		knell_engine_deliver(s->base.engine, &event);
		event.kind = KNELL_CLONE;
	}
	knell_engine_deliver(s->base.engine, &event);
}

/* The signal that the status names, if it is among those that we kept. */
static const struct knell_signal *find_killer(const struct knell_slot *slot, int signo)
{
	for (uint32_t i = 0; i < KNELL_SLOT_SIGNALS; i++)
		if (slot->signals & 1u << i && slot->signal[i].signo == signo)
			return &slot->signal[i];
	return NULL;
}

static void fill_cause(struct knell_event *event, const struct knell_slot *slot)
{
	struct knell_exit *exit = &event->u.exit;
	const struct knell_signal *killer;

	if (slot->signals & 1u << SIGNAL_TERM)
		exit->last_term = slot->signal[SIGNAL_TERM];
	if (!WIFSIGNALED(exit->status)) {
		exit->reason = KNELL_R_NONE;
		return;
	}
	killer = find_killer(slot, WTERMSIG(exit->status));
	if (killer)
		exit->killer = *killer;
	exit->killer.signo = (uint8_t)WTERMSIG(exit->status);
	if (slot->cause)
		exit->killer.reason = (uint8_t)slot->cause;
	else if (!killer)
		event->unknown |= KNELL_U_CAUSE; /* the kernel passed over its tracepoint */
	exit->reason = exit->killer.reason;
}

void deliver_exit(struct bpf_source *s, uint32_t index, bool freed)
{
	const struct knell_slot *slot = &s->slots[index];
	struct knell_event event;

	fill(s, &event, slot, &slot->death, KNELL_EXIT, sizeof(event.u.exit));
	if (slot->flags & SLOT_MISSED) {
		event.unknown |= KNELL_U_STATUS | KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS |
				 KNELL_U_CAUSE;
		knell_engine_deliver(s->base.engine, &event);
		return;
	}
	if (slot->flags & SLOT_FOUND_DEAD) { /* when and why, nobody heard */
		event.flags |= KNELL_F_RECONCILED;
		event.unknown |= KNELL_U_CAUSE | KNELL_U_TERM;
	}
	event.u.exit.status = slot->status;
	fill_cause(&event, slot);
	freed = freed && slot->flags & SLOT_FREE_USAGE;
	fill_usage(&event, &event.u.exit.usage, slot, freed);
	if (freed)
		event.flags |= KNELL_F_USAGE_FINAL;
	knell_engine_deliver(s->base.engine, &event);
}

void deliver_free(struct bpf_source *s, uint32_t index, uint32_t flags)
{
	const struct knell_slot *slot = &s->slots[index];
	struct knell_event event;

	fill(s, &event, slot, &slot->death, KNELL_FREE, sizeof(event.u.free));
	event.flags |= flags;
	event.unknown |= KNELL_U_PARENT | KNELL_U_CPU;
	memset(&event.parent, 0, sizeof(event.parent));
	event.cpu = 0;
	if (!(flags & KNELL_F_GIVEN_UP)) {
		event.time = slot->freed.time;
		fill_usage(&event, &event.u.free.usage, slot, true);
	} else {
		event.time = knell_now();
		event.unknown |= KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;
	}
	knell_engine_deliver(s->base.engine, &event);
}

/* What the connector says of a process that we know: the new real and effective ids, no more. */
void deliver_ids(struct bpf_source *s, uint32_t index, const struct ids_change *change)
{
	const struct knell_slot *slot = &s->slots[index];
	struct knell_event event;

	fill(s, &event, slot, &slot->birth, change->kind, sizeof(event.u.ids));
	event.time = change->time;
	event.cpu = change->cpu;
	event.cgroup = 0;
	event.unknown |= KNELL_U_CGROUP | KNELL_U_SAVED | KNELL_U_OLD |
			 (change->kind == KNELL_UID ? KNELL_U_GID : KNELL_U_UID);
	event.uid = change->kind == KNELL_UID ? change->effective : 0;
	event.gid = change->kind == KNELL_GID ? change->effective : 0;
	if (change->tid != change->tgid) {
		event.scope = KNELL_THREAD;
		event.task.tid = change->tid;
		event.task.start = 0; /* when the thread was made is not said */
		event.flags |= KNELL_F_START_STAMP;
	}
	memcpy(event.comm, slot->comm, sizeof(event.comm));
	event.u.ids.real = change->real;
	event.u.ids.effective = change->effective;
	knell_engine_deliver(s->base.engine, &event);
}
