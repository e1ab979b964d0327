/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_record.c - makes records out of what the connector source knows, and marks in each what
 * it does not. It owns nothing.
 */
#include <string.h>
#include <sys/wait.h>

#include "connector.h"

/* Known by number only is not known: a pid is no identity. */
struct knell_task_id cn_identify(const struct cn_source *s, uint32_t tgid)
{
	struct knell_task_id id = { .tid = tgid, .tgid = tgid };
	const struct cn_process *p = tgid ? cn_find_process(s, tgid) : NULL;

	if (p && !p->ghost)
		id.start = p->leader.start;
	else if (tgid == s->self)
		id.start = s->self_start;
	else if (tgid == 1 && s->init_start)
		id.start = s->init_start;
	else
		memset(&id, 0, sizeof(id));
	return id;
}

static void fill(const struct cn_source *s, struct knell_event *event, const struct cn_task *task,
		 enum knell_kind kind, size_t payload)
{
	const struct cn_process *p = task->process;
	const struct cn_task *leader = &p->leader;

	memset(event, 0, KNELL_EVENT_HEAD + payload);
	event->size = (uint32_t)(KNELL_EVENT_HEAD + payload);
	event->kind = (uint8_t)kind;
	event->scope = task == leader ? KNELL_PROCESS : KNELL_THREAD;
	event->flags = KNELL_F_START_STAMP;
	if (p->root && task == leader)
		event->flags |= KNELL_F_ROOT;
	event->unknown = KNELL_U_CGROUP;
	event->task.tid = task->tid;
	event->task.tgid = leader->tid;
	event->task.start = task->start;
	event->parent = p->parent;
	event->cookie = p->cookie;
	if (!p->parent.tid)
		event->unknown |= KNELL_U_PARENT;
	if (cn_knows(s, task, CN_UID))
		event->uid = task->uid;
	else
		event->unknown |= KNELL_U_UID;
	if (cn_knows(s, task, CN_GID))
		event->gid = task->gid;
	else
		event->unknown |= KNELL_U_GID;
	if (cn_knows(s, leader, CN_COMM))
		memcpy(event->comm, leader->comm, sizeof(event->comm));
	else
		event->unknown |= KNELL_U_COMM;
}

/* When and where, as the message has it; without one, now and nowhere. */
static void stamp(const struct cn_source *s, struct knell_event *event, const struct cn_message *m)
{
	if (m) {
		event->time = cn_boot(s, m);
		event->cpu = m->event.cpu;
		return;
	}
	event->time = knell_now();
	event->unknown |= KNELL_U_CPU;
}

void cn_tell_birth(struct cn_source *s, const struct cn_process *p, const struct cn_task *task,
		   const struct cn_message *m)
{
	struct knell_event event;

	if (task != &p->leader && !(s->options.flags & KNELL_O_THREADS))
		return;
	fill(s, &event, task, KNELL_CLONE, sizeof(event.u.clone));
	stamp(s, &event, m);
	event.unknown |= KNELL_U_FLAGS;
	if (knell_engine_wants(s->base.engine, KNELL_INIT)) {
		event.kind = KNELL_INIT;
		knell_engine_deliver(s->base.engine, &event);
		event.kind = KNELL_CLONE;
	}
	knell_engine_deliver(s->base.engine, &event);
}

void cn_tell_alive(struct cn_source *s, struct cn_process *p)
{
	struct knell_event event;

	p->told = true;
	fill(s, &event, &p->leader, KNELL_CLONE, sizeof(event.u.clone));
	stamp(s, &event, NULL);
	event.flags |= KNELL_F_RECONCILED;
	event.unknown |= KNELL_U_FLAGS;
	knell_engine_deliver(s->base.engine, &event);
}

void cn_tell_exec(struct cn_source *s, const struct cn_process *p, const struct cn_message *m,
		  uint32_t old_tid)
{
	union {
		struct knell_event event;
		char bytes[KNELL_EVENT_HEAD + sizeof(struct knell_exec) + 8];
	} u;

	/* The NUL of the file name that is not known, and what makes it a multiple of 8. */
	memset(&u, 0, sizeof(u));
	fill(s, &u.event, &p->leader, KNELL_EXEC, sizeof(struct knell_exec));
	stamp(s, &u.event, m);
	u.event.size += 8;
	u.event.unknown |= KNELL_U_FILE | KNELL_U_ARGS;
	u.event.u.exec.old_tid = old_tid;
	knell_engine_deliver(s->base.engine, &u.event);
}

void cn_tell_ids(struct cn_source *s, const struct cn_task *task, const struct cn_message *m)
{
	const struct id_proc_event *id = &m->event.event_data.id;
	bool uid = cn_kind(m) == PROC_EVENT_UID;
	struct knell_event event;

	if (!(s->options.flags & KNELL_O_IDS))
		return;
	if (task != &task->process->leader && !(s->options.flags & KNELL_O_THREADS))
		return;
	fill(s, &event, task, uid ? KNELL_UID : KNELL_GID, sizeof(event.u.ids));
	stamp(s, &event, m);
	event.unknown |= KNELL_U_SAVED | KNELL_U_OLD;
	event.u.ids.real = uid ? id->r.ruid : id->r.rgid;
	event.u.ids.effective = uid ? id->e.euid : id->e.egid;
	knell_engine_deliver(s->base.engine, &event);
}

/* Who the parent is at the end: the message says so, unless the task was released meanwhile. */
static void last_parent(const struct cn_source *s, struct knell_event *event,
			const struct cn_message *m)
{
	struct knell_task_id id = { 0 };

	if (m && m->event.event_data.exit.parent_tgid)
		id = cn_identify(s, (uint32_t)m->event.event_data.exit.parent_tgid);
	else if (event->parent.tid)
		id = cn_identify(s, event->parent.tgid);
	/* One who died since has given its children away. */
	if (!m || !m->event.event_data.exit.parent_tgid)
		if (id.start != event->parent.start)
			memset(&id, 0, sizeof(id));
	event->parent = id;
	event->unknown &= ~KNELL_U_PARENT;
	if (!id.tid)
		event->unknown |= KNELL_U_PARENT;
}

void cn_tell_exit(struct cn_source *s, const struct cn_process *p, const struct cn_task *task,
		  const struct cn_message *m, struct cn_status status)
{
	struct knell_event event;

	if (task != &p->leader && !(s->options.flags & KNELL_O_THREADS))
		return;
	fill(s, &event, task, KNELL_EXIT, sizeof(event.u.exit));
	stamp(s, &event, m);
	last_parent(s, &event, m);
	if (!m)
		event.flags |= KNELL_F_RECONCILED;
	event.unknown |= KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS | KNELL_U_TERM;
	if (!status.known) {
		event.unknown |= KNELL_U_STATUS | KNELL_U_CAUSE;
	} else {
		event.u.exit.status = status.status;
		if (WIFSIGNALED(status.status)) {
			event.unknown |= KNELL_U_CAUSE;
			event.u.exit.killer.signo = (uint8_t)WTERMSIG(status.status);
		}
	}
	knell_engine_deliver(s->base.engine, &event);
}

/* A thread that another one's exec ended, or whose number ended because it ran exec itself. */
void cn_tell_replaced(struct cn_source *s, const struct cn_task *task, const struct cn_message *m)
{
	struct knell_event event;

	if (!(s->options.flags & KNELL_O_THREADS))
		return;
	fill(s, &event, task, KNELL_EXIT, sizeof(event.u.exit));
	stamp(s, &event, m);
	event.flags |= KNELL_F_REPLACED;
	event.unknown |= KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS | KNELL_U_TERM |
			 KNELL_U_STATUS | KNELL_U_CAUSE;
	knell_engine_deliver(s->base.engine, &event);
}
