// SPDX-License-Identifier: GPL-2.0-only
/*
 * record.c - turns what waits in a session's queue into a record of event.h, for one reader.
 *
 * Owns nothing. Numbers of processes are made here, when somebody reads: those that the reader's
 * pid namespace has for them, 0 where it has none.
 */
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "engine.h"

static void fill_head(struct knell_event *event, const struct knell_watch *watch,
		      const struct knell_moment *at, struct pid_namespace *ns)
{
	event->scope = KNELL_PROCESS;
	event->time = at->time;
	event->cpu = at->cpu;
	event->uid = at->uid;
	event->gid = at->gid;
	event->cgroup = at->cgroup;
	memcpy(event->comm, at->comm, sizeof(event->comm));
	event->task.start = watch->start;
	event->task.tgid = pid_nr_ns(watch->pid, ns);
	event->task.tid = event->task.tgid;
	if (at->parent) {
		event->parent.start = at->parent_start;
		event->parent.tgid = pid_nr_ns(at->parent, ns);
		event->parent.tid = event->parent.tgid;
	} else {
		event->unknown |= KNELL_U_PARENT;
	}
	event->cookie = READ_ONCE(watch->cookie);
	if (READ_ONCE(watch->top))
		event->flags |= KNELL_F_ROOT;
}

static u32 fill_birth(struct knell_event *event, const struct knell_watch *watch, u8 kind,
		      struct pid_namespace *ns)
{
	event->kind = kind;
	fill_head(event, watch, &watch->birth, ns);
	event->u.clone = watch->clone;
	if (watch->found) {
		event->flags |= KNELL_F_RECONCILED;
		event->unknown |= KNELL_U_FLAGS;
	}
	return KNELL_EVENT_HEAD + sizeof(event->u.clone);
}

/* As it is now; nothing, if it was released since this was asked for: its exit comes next. */
static u32 fill_living(struct knell_event *event, const struct knell_watch *watch,
		       struct pid_namespace *ns)
{
	struct knell_moment now;
	struct task_struct *task;

	rcu_read_lock();
	task = pid_task(watch->pid, PIDTYPE_TGID);
	if (task)
		knell_moment_take(&now, task);
	rcu_read_unlock();
	if (!task)
		return 0;
	event->kind = KNELL_CLONE;
	fill_head(event, watch, &now, ns);
	knell_moment_drop(&now);
	event->flags |= KNELL_F_RECONCILED;
	event->u.clone = watch->clone;
	if (watch->found)
		event->unknown |= KNELL_U_FLAGS;
	return KNELL_EVENT_HEAD + sizeof(event->u.clone);
}

/*
 * The kernel's peak is that of all programs that the process ran, and begins at what it was forked
 * from. One that is not above what it was before the first exec is not this program's own.
 */
static void fill_peak(struct knell_event *event, struct knell_usage *usage,
		      const struct knell_watch *watch)
{
	if (!watch->peak_before || usage->maxrss > watch->peak_before << PAGE_SHIFT)
		return;
	event->unknown |= KNELL_U_RSS;
	usage->maxrss = 0;
}

static u32 fill_exit(struct knell_event *event, const struct knell_watch *watch,
		     struct pid_namespace *ns)
{
	const struct knell_death *death = &watch->death;

	event->kind = KNELL_EXIT;
	fill_head(event, watch, &death->at, ns);
	event->unknown |= death->unknown;
	if (watch->late)
		event->flags |= KNELL_F_RECONCILED;
	event->u.exit.status = death->status;
	knell_fill_cause(event, watch, ns);
	event->u.exit.usage = death->usage;
	knell_usage_split(&event->u.exit.usage, death->runtime);
	fill_peak(event, &event->u.exit.usage, watch);
	return KNELL_EVENT_HEAD + sizeof(event->u.exit);
}

/* The head is that of the exit: a task that is being freed has no ids any more. */
static u32 fill_free(struct knell_event *event, const struct knell_watch *watch,
		     struct pid_namespace *ns)
{
	event->kind = KNELL_FREE;
	fill_head(event, watch, &watch->death.at, ns);
	if (watch->given_up) {
		event->flags |= KNELL_F_GIVEN_UP;
		event->unknown |= KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;
		event->time = ktime_get_boottime_ns();
		return KNELL_EVENT_HEAD + sizeof(event->u.free);
	}
	event->time = watch->freed;
	event->cpu = watch->freed_cpu;
	event->u.free.usage = watch->final;
	knell_usage_split(&event->u.free.usage, watch->final_runtime);
	fill_peak(event, &event->u.free.usage, watch);
	return KNELL_EVENT_HEAD + sizeof(event->u.free);
}

static u32 fill_line(struct knell_event *event, const struct knell_line *line,
		     struct pid_namespace *ns)
{
	const struct knell_watch *watch = line->watch;
	char *name = (char *)event + KNELL_EVENT_HEAD + sizeof(event->u.exec);

	event->kind = line->kind;
	fill_head(event, watch, &line->at, ns);
	if (line->kind != KNELL_EXEC) {
		event->u.ids = line->ids;
		return KNELL_EVENT_HEAD + sizeof(event->u.ids);
	}
	/* The thread's own struct pid is gone: its number is known in the initial namespace. */
	if (line->exec.old_pid == pid_nr(watch->pid))
		event->u.exec.old_tid = event->task.tgid;
	else if (ns == &init_pid_ns)
		event->u.exec.old_tid = line->exec.old_pid;
	event->u.exec.file_len = line->exec.name_len;
	event->unknown |= KNELL_U_ARGS;
	if (line->exec.cut)
		event->flags |= KNELL_F_TRUNCATED;
	memcpy(name, line->exec.name, line->exec.name_len);
	return KNELL_EVENT_HEAD + sizeof(event->u.exec) + line->exec.name_len + 1;
}

static void finish(struct knell_event *event, u32 size, u64 seq)
{
	event->version = KNELL_EVENT_VERSION;
	event->seq = seq;
	event->size = ALIGN(size, 8);
}

/* The exit of a process, for a module. */
void knell_record_exit(struct knell_event *event, const struct knell_watch *watch)
{
	memset(event, 0, sizeof(*event));
	finish(event, fill_exit(event, watch, &init_pid_ns), 0);
}

/* One cause at a time. 0: there is no gap any more. */
static u32 fill_gap(struct knell_event *event, struct knell_session *session)
{
	event->kind = KNELL_GAP;
	event->time = ktime_get_boottime_ns();
	event->unknown = KNELL_U_PARENT | KNELL_U_UID | KNELL_U_GID | KNELL_U_CGROUP |
			 KNELL_U_COMM | KNELL_U_CPU;
	event->u.gap.births = atomic64_read(&session->lost_births);
	event->u.gap.deaths = atomic64_read(&session->lost_deaths);
	event->u.gap.cause = KNELL_GAP_RESERVE;
	if (!event->u.gap.births && !event->u.gap.deaths) {
		event->u.gap.others = atomic64_read(&session->lost_others);
		event->u.gap.cause = KNELL_GAP_RING;
		if (!event->u.gap.others)
			return 0;
	}
	return KNELL_EVENT_HEAD + sizeof(event->u.gap);
}

/* The buffer has KNELL_RECORD_MAX bytes. Returns how many the record has; 0: there is none. */
u32 knell_record_make(char *buffer, struct knell_item *item, struct knell_session *session,
		      struct pid_namespace *ns)
{
	struct knell_event *event = (struct knell_event *)buffer;
	const struct knell_watch *watch = knell_item_watch(item);
	u32 size = 0;

	memset(buffer, 0, KNELL_RECORD_MAX);
	switch (item->kind) {
	case KNELL_ITEM_INIT:
		size = fill_birth(event, watch, KNELL_INIT, ns);
		break;
	case KNELL_ITEM_CLONE:
		size = fill_birth(event, watch, KNELL_CLONE, ns);
		break;
	case KNELL_ITEM_LIVING:
		size = fill_living(event, watch, ns);
		break;
	case KNELL_ITEM_EXIT:
		size = fill_exit(event, watch, ns);
		break;
	case KNELL_ITEM_FREE:
		size = fill_free(event, watch, ns);
		break;
	case KNELL_ITEM_LINE:
		size = fill_line(event, container_of(item, struct knell_line, item), ns);
		break;
	case KNELL_ITEM_GAP:
		size = fill_gap(event, session);
		break;
	default:
		break;
	}
	finish(event, size, session->seq);
	return event->size;
}
