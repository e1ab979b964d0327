/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report.c - the watcher behind the report: keeps the table of processes that are not over, and
 * passes on those that are. See report.h.
 *
 * Losses must not corrupt counts. A process that is first heard of by anything but its birth gets
 * an entry all the same, counted as `late`; one that is freed without a death heard is taken as
 * dead with a status that nobody knows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report_data.h"
#include "words.h"

#define USAGE_UNKNOWN (KNELL_U_TIMES | KNELL_U_RSS)

static struct proc *add(struct report *report, const struct knell_event *e)
{
	struct proc *p = proc_add(&report->table, e->task.tgid, e->task.start);

	if (!p) {
		report->unkept++;
		return NULL;
	}
	p->threads = 1;
	p->guessed_start = e->flags & KNELL_F_START_STAMP;
	peak_change(&report->peak, e->time, 1, 1);
	return p;
}

/* The process of a record that is not its birth. */
static struct proc *find(struct report *report, const struct knell_event *e)
{
	struct proc *p = proc_find(&report->table, e->task.tgid, e->task.start);

	if (p)
		return p;
	p = add(report, e);
	if (p) {
		report->late++;
		/* A stamp taken now says nothing about when it was born. */
		p->late_stamp = p->guessed_start;
	}
	return p;
}

static void set_name(struct proc *p, const struct knell_event *e)
{
	if (!(e->unknown & KNELL_U_COMM))
		words_copy_comm(p->comm, e->comm);
	else if (e->kind == KNELL_EXEC && !(e->unknown & KNELL_U_FILE))
		words_copy_comm(p->comm, words_basename(knell_exec_file(e)));
	else if (e->kind == KNELL_EXEC)
		memset(p->comm, 0, sizeof(p->comm)); /* it runs something else now: what? */
}

static int on_birth(struct report *report, const struct knell_event *e)
{
	struct proc *p;

	if (e->flags & KNELL_F_RECONCILED) {
		p = find(report, e);
		if (p)
			p->epoch = report->epoch;
	} else {
		report->births++;
		p = add(report, e);
	}
	if (!p)
		return -ENOMEM;
	set_name(p, e);
	return 0;
}

/* All other threads are gone when a process runs another program. */
static int on_exec(struct report *report, const struct knell_event *e)
{
	struct proc *p = find(report, e);

	report->execs++;
	if (!p)
		return -ENOMEM;
	set_name(p, e);
	if (!p->dead) {
		peak_change(&report->peak, e->time, 0, 1 - (int32_t)p->threads);
		p->threads = 1;
	}
	return 0;
}

static void settle(struct report *report, struct proc *p)
{
	sums_add(&report->sums, p);
	proc_remove(&report->table, p);
}

void report_settle(struct report *report)
{
	struct proc *p;

	while ((p = proc_oldest_dead(&report->table)))
		settle(report, p);
	peak_settle(&report->peak);
}

/* `died` is 0 if nobody knows when; `heard` is the time of the record that says so. */
static void die(struct report *report, struct proc *p, uint64_t died, uint64_t heard)
{
	p->died = died;
	peak_change(&report->peak, heard, -1, -(int32_t)p->threads);
	proc_bury(&report->table, p);
	if (report->table.dead > DEAD_WINDOW)
		settle(report, proc_oldest_dead(&report->table));
}

/* What the record knows of the usage replaces what was known before. */
static void set_usage(struct proc *p, const struct knell_usage *usage, uint32_t unknown)
{
	if (!(unknown & KNELL_U_TIMES)) {
		p->usage.utime = usage->utime;
		p->usage.stime = usage->stime;
	}
	if (!(unknown & KNELL_U_RSS))
		p->usage.maxrss = usage->maxrss;
	p->unknown &= unknown | ~USAGE_UNKNOWN;
}

static int on_exit_(struct report *report, const struct knell_event *e)
{
	struct proc *p = find(report, e);

	if (p && p->dead)
		return 0;
	if (e->flags & KNELL_F_ROOT) {
		report->epoch++;
		report->root_died = true;
		report->root_tgid = e->task.tgid;
		report->root_unknown = e->unknown;
		report->root_death = e->u.exit;
	}
	if (p)
		set_name(p, e);
	report_add_death(report, e, p ? p->comm : "");
	if (!p)
		return -ENOMEM;
	p->unknown = USAGE_UNKNOWN;
	set_usage(p, &e->u.exit.usage, e->unknown);
	die(report, p, e->time, e->time);
	if (e->flags & KNELL_F_USAGE_FINAL)
		settle(report, p);
	return 0;
}

/* The end of what can be heard of a process. Who is not in the table is settled already. */
static int on_free(struct report *report, const struct knell_event *e)
{
	struct proc *p = proc_find(&report->table, e->task.tgid, e->task.start);

	if (!p)
		return 0;
	if (!p->dead) {
		p->unknown = USAGE_UNKNOWN;
		die(report, p, 0, e->time);
	}
	set_usage(p, &e->u.free.usage, e->unknown);
	settle(report, p);
	return 0;
}

static void on_gap(struct report *report, const struct knell_gap *gap)
{
	uint32_t cause = gap->cause <= KNELL_GAP_MISSED ? gap->cause : 0;

	report->lost_births += gap->births;
	report->lost_deaths += gap->deaths;
	report->lost_others += gap->others;
	report->lost_by_cause[cause] += gap->births + gap->deaths + gap->others;
}

/* The leader is counted with its process. */
static void on_thread(struct report *report, const struct knell_event *e)
{
	struct proc *p;

	if (e->task.tid == e->task.tgid)
		return;
	if (e->kind != KNELL_CLONE && e->kind != KNELL_EXIT)
		return;
	p = proc_find_live(&report->table, e->task.tgid);
	if (e->kind == KNELL_CLONE) {
		report->thread_births += !(e->flags & KNELL_F_RECONCILED);
		if (!p || e->flags & KNELL_F_RECONCILED)
			return;
		p->threads++;
		peak_change(&report->peak, e->time, 0, 1);
	} else if (p && p->threads > 1) {
		p->threads--;
		peak_change(&report->peak, e->time, 0, -1);
	}
}

static int on_event(const struct knell_event *e, void *userdata)
{
	struct report *report = userdata;

	report->records++;
	if (e->scope == KNELL_THREAD) {
		on_thread(report, e);
		return 0;
	}
	if (e->flags & KNELL_F_REPLACED)
		return 0;
	switch (e->kind) {
	case KNELL_CLONE:
		return on_birth(report, e);
	case KNELL_EXEC:
		return on_exec(report, e);
	case KNELL_EXIT:
		return on_exit_(report, e);
	case KNELL_FREE:
		return on_free(report, e);
	case KNELL_GAP:
		on_gap(report, &e->u.gap);
		return 0;
	default:
		return 0;
	}
}

int report_new(struct report **ret_report, struct knell_engine *engine)
{
	const uint32_t mask = KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXEC) |
			      KNELL_MASK(KNELL_EXIT) | KNELL_MASK(KNELL_FREE) |
			      KNELL_MASK(KNELL_GAP);
	struct report *report = calloc(1, sizeof(*report));
	const char *source = knell_source(engine);
	int r;

	if (!report)
		return -ENOMEM;
	words_escape(report->source, sizeof(report->source), source, strlen(source));
	report->epoch = 1;
	r = knell_watcher_add(engine, mask, on_event, report);
	if (r < 0) {
		report_free(report);
		return r;
	}
	*ret_report = report;
	return 0;
}

struct report *report_free(struct report *report)
{
	if (!report)
		return NULL;
	proc_table_done(&report->table);
	free(report);
	return NULL;
}
