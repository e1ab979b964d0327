/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_reconcile.c - finds out from /proc who lives: when a stream begins, after a loss, and
 * for those who ask. For a listener without privilege there is no other task iterator. Owns nothing
 * that lasts.
 *
 * A pass reads /proc, then the socket until it is empty, and only then compares: whatever was seen
 * in /proc has been told by then if it was heard. Who lives and is not known was born in the gap,
 * and is announced; who is known and does not live died in it, and that is told too, without a
 * status. Both are marked as reconciled. Lives that lie wholly in the gap are only counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "connector.h"

#define PASSES 64

/* Everybody who lives, as /proc had it. */
struct census {
	struct cn_proc *procs;
	size_t count;
	size_t room;
};

static int add_to_census(uint32_t pid, void *userdata)
{
	struct census *census = userdata;
	struct cn_proc proc;

	if (!cn_proc_stat(pid, &proc))
		return 0; /* it has died meanwhile */
	if (census->count == census->room) {
		size_t room = census->room ? 2 * census->room : 512;
		struct cn_proc *grown = realloc(census->procs, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		census->procs = grown;
		census->room = room;
	}
	census->procs[census->count++] = proc;
	return 0;
}

struct tids {
	uint32_t *all;
	size_t count;
	size_t room;
};

static int add_tid(uint32_t tid, void *userdata)
{
	struct tids *tids = userdata;

	if (tids->count == tids->room) {
		size_t room = tids->room ? 2 * tids->room : 64;
		uint32_t *grown = realloc(tids->all, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		tids->all = grown;
		tids->room = room;
	}
	tids->all[tids->count++] = tid;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void take_thread(struct cn_source *s, struct cn_process *p, uint32_t tid)
{
	struct cn_task *task = cn_find(s, tid);
	struct cn_proc proc;
	bool alive = cn_proc_stat(tid, &proc) && !cn_is_dead(proc.state);

	if (tid == p->leader.tid) {
		p->live += (unsigned int)alive - (unsigned int)p->leader.alive;
		p->leader.alive = alive;
		return;
	}
	if (!alive || (task && task->process == p))
		return;
	if (task && task != &task->process->leader)
		cn_remove_thread(s, task);
	else if (task)
		return;
	task = cn_add_thread(s, p, tid);
	if (task)
		task->start = proc.start;
}

/* Makes its threads those that /proc has. False: none lives. */
bool cn_refresh_threads(struct cn_source *s, struct cn_process *p)
{
	struct cn_task *task, *next;
	struct tids tids = { 0 };

	cn_proc_threads(p->leader.tid, add_tid, &tids);
	if (tids.count == 0) {
		free(tids.all);
		return false;
	}
	qsort(tids.all, tids.count, sizeof(*tids.all), by_number);
	for (size_t i = 0; i < tids.count; i++)
		take_thread(s, p, tids.all[i]);
	cds_list_for_each_entry_safe (task, next, &p->threads, sibling) {
		if (!bsearch(&task->tid, tids.all, tids.count, sizeof(*tids.all), by_number))
			cn_remove_thread(s, task);
	}
	free(tids.all);
	p->losses = s->losses;
	return p->live > 0;
}

/* What /proc has of it is what is known now. */
void cn_refresh(struct cn_source *s, struct cn_process *p, const struct cn_proc *proc)
{
	struct cn_task *leader = &p->leader;

	memcpy(leader->comm, proc->comm, sizeof(leader->comm));
	cn_learn(s, leader, CN_COMM);
	if (cn_proc_ids(leader->tid, &leader->uid, &leader->gid))
		cn_learn(s, leader, CN_UID | CN_GID);
	p->parent = cn_identify(s, proc->ppid);
	if (proc->threads != 1 || p->live != 1 || cn_is_dead(proc->state))
		cn_refresh_threads(s, p);
	p->losses = s->losses;
	p->mixed = cds_list_empty(&p->threads) ? 0 : CN_UID | CN_GID | CN_COMM;
}

static bool is_over(const struct cn_proc *proc)
{
	return cn_is_dead(proc->state) && proc->threads <= 1;
}

/* /proc knows the start to a clock tick, and rounds down. */
static bool is_same(const struct cn_process *p, const struct cn_proc *proc)
{
	return !p->ghost && (!p->leader.start || proc->start <= p->leader.start);
}

static struct cn_process *adopt(struct cn_source *s, const struct cn_proc *proc)
{
	const struct cn_process *parent = cn_find_process(s, proc->ppid);
	struct cn_process *p = cn_make_process(), *before;
	struct cn_task *task;

	if (!p)
		return NULL;
	before = cn_find_process(s, proc->pid);
	task = cn_find(s, proc->pid);
	if (before)
		cn_bury(s, before, p);
	else if (task)
		cn_remove_thread(s, task);
	cn_add_process(s, p, proc->pid);
	p->leader.start = proc->start;
	p->seen = clock_ns(CLOCK_MONOTONIC);
	/* Not before its start; the tick is rounded down. */
	p->since = proc->start > s->boot_offset ? proc->start - s->boot_offset : 0;
	p->pass = s->pass;
	if (parent && !parent->ghost && parent->subtree) {
		p->subtree = true;
		p->cookie = parent->cookie;
	}
	cn_refresh(s, p, proc);
	cn_check_filter(s, p);
	return p;
}

/* Still alive, and still the same? */
static bool lives(const struct cn_proc *proc)
{
	struct cn_proc now;

	return cn_proc_stat(proc->pid, &now) && now.start == proc->start && !is_over(&now);
}

static bool belongs_here(const struct cn_source *s, const struct cn_proc *proc)
{
	const struct cn_process *parent = cn_find_process(s, proc->ppid);

	return s->stream || (parent && !parent->ghost && parent->subtree);
}

/* Returns whether it was new. */
static bool compare(struct cn_source *s, const struct cn_proc *proc)
{
	struct cn_process *p = cn_find_process(s, proc->pid);

	if (is_over(proc))
		return false;
	if (p && is_same(p, proc)) {
		p->pass = s->pass;
		if (p->losses != s->losses && !p->expected)
			cn_refresh(s, p, proc);
		return false;
	}
	/* A ghost's number is not another's before its start is later. */
	if (p && p->ghost && proc->start <= p->leader.start)
		return false;
	if (!belongs_here(s, proc) || !lives(proc))
		return false;
	p = adopt(s, proc);
	if (p)
		cds_list_add_tail(&p->found, &s->found);
	return p != NULL;
}

/* Those who did not show up: died in the gap, if they are not just hard to see. */
static void tell_missing(struct cn_source *s, uint64_t begin)
{
	struct cn_process *p, *next;

	cds_list_for_each_entry_safe (p, next, &s->processes, node) {
		struct cn_proc proc;

		cn_presume_late(s, p);
		if (p->ghost && s->pass - p->pass > 1) {
			cn_remove_process(s, p);
			continue;
		}
		if (p->ghost || p->pass == s->pass || p->since >= begin || p->seen >= begin)
			continue;
		if (cn_proc_stat(p->leader.tid, &proc) && is_same(p, &proc) && !is_over(&proc))
			continue;
		p->pass = s->pass;
		cn_presume_dead(s, p);
	}
}

static void compare_all(struct cn_source *s, const struct census *census)
{
	bool again = true;

	/* A descendant may stand before its ancestor. */
	for (int i = 0; again && i < PASSES; i++) {
		again = false;
		for (size_t k = 0; k < census->count; k++)
			again |= compare(s, &census->procs[k]);
		again &= !s->stream;
	}
}

void cn_reconcile_pass(struct cn_source *s)
{
	uint64_t begin = clock_ns(CLOCK_MONOTONIC);
	struct census census = { 0 };

	s->reconciled_at = s->losses;
	if (!s->proc_works)
		return;
	s->pass++;
	if (cn_proc_each(add_to_census, &census) == 0) {
		/* If it does not come to an end, or more is lost, there will be another pass. */
		cn_drain(s);
		compare_all(s, &census);
		tell_missing(s, begin);
	}
	free(census.procs);
	s->pass_end = clock_ns(CLOCK_MONOTONIC);
	s->pass_cost = s->pass_end - begin;
}

/* When a stream begins. What happens meanwhile is in the socket, and corrects what is found. */
int cn_first_look(struct cn_source *s)
{
	struct census census = { 0 };
	struct cn_process *p;
	int r = cn_proc_each(add_to_census, &census);

	for (size_t i = 0; r == 0 && i < census.count; i++) {
		if (is_over(&census.procs[i]))
			continue;
		p = adopt(s, &census.procs[i]);
		if (!p)
			r = -ENOMEM;
		else
			p->told = true;
	}
	/* Now that all are known, so are the parents. */
	for (size_t i = 0; r == 0 && i < census.count; i++) {
		p = cn_find_process(s, census.procs[i].pid);
		if (p)
			p->parent = cn_identify(s, census.procs[i].ppid);
	}
	free(census.procs);
	return r;
}

/* Descendants who live already, of those whose subtree is watched; again until none is new. */
int cn_adopt_subtree(struct cn_source *s)
{
	int r = 0;

	for (int i = 0; r == 0 && i < PASSES; i++) {
		struct census census = { 0 };
		bool again = false;

		r = cn_proc_each(add_to_census, &census);
		for (size_t k = 0; r == 0 && k < census.count; k++) {
			struct cn_process *p = cn_find_process(s, census.procs[k].pid);
			const struct cn_process *parent = cn_find_process(s, census.procs[k].ppid);

			if (p && is_same(p, &census.procs[k]) && !p->subtree && parent &&
			    parent->subtree && !parent->ghost) {
				p->subtree = true; /* of a stream, or watched by itself */
				p->cookie = p->cookie ? p->cookie : parent->cookie;
				cn_check_filter(s, p);
				again = true;
			} else if (!p || !is_same(p, &census.procs[k])) {
				again |= compare(s, &census.procs[k]);
			}
		}
		free(census.procs);
		if (!again)
			break;
	}
	return r;
}

/* knell_reconcile(). */
int cn_reconcile(struct cn_source *s)
{
	struct cn_process *p, *next;
	int alive = 0;

	cn_drain(s);
	if (s->reconciled_at != s->losses)
		cn_reconcile_pass(s);
	cds_list_for_each_entry_safe (p, next, &s->processes, node) {
		struct cn_proc proc;

		if (!cn_wanted(s, p))
			continue;
		cds_list_del_init(&p->found);
		if (s->proc_works && cn_proc_stat(p->leader.tid, &proc) && is_same(p, &proc)) {
			memcpy(p->leader.comm, proc.comm, sizeof(p->leader.comm));
			cn_learn(s, &p->leader, CN_COMM);
		}
		cn_tell_alive(s, p);
		alive++;
	}
	return alive;
}
