/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report_sums.c - what remains of processes that are over: totals, the extreme ones, sums by name,
 * and failures grouped by name and cause. All of fixed size; see report.h for the bounds.
 */
#include <string.h>
#include <sys/wait.h>

#include "report_data.h"
#include "words.h"

static void top_add(struct top *top, uint64_t value, const struct proc *proc)
{
	uint32_t i;

	if (top->count == TOP_MAX && value <= top->list[TOP_MAX - 1].value)
		return;
	i = top->count < TOP_MAX ? top->count++ : TOP_MAX - 1;
	for (; i > 0 && top->list[i - 1].value < value; i--)
		top->list[i] = top->list[i - 1];
	top->list[i].value = value;
	top->list[i].tgid = proc->tgid;
	memcpy(top->list[i].comm, proc->comm, KNELL_COMM_LEN);
}

/* Comms have zeros after their end: see words_copy_comm(). */
static uint32_t comm_hash(const char comm[KNELL_COMM_LEN])
{
	uint64_t half[2];

	memcpy(half, comm, sizeof(half));
	half[0] = (half[0] ^ half[1] * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
	return (uint32_t)(half[0] >> 32);
}

static struct name_sum *find_name(struct names *names, const char comm[KNELL_COMM_LEN])
{
	uint32_t i = comm_hash(comm) % NAME_SLOTS;
	struct name_sum *name;

	for (; names->slots[i]; i = (i + 1) % NAME_SLOTS) {
		name = &names->list[names->slots[i] - 1];
		if (memcmp(name->comm, comm, KNELL_COMM_LEN) == 0)
			return name;
	}
	if (names->count == NAMES_MAX)
		return &names->others;
	name = &names->list[names->count++];
	memcpy(name->comm, comm, KNELL_COMM_LEN);
	names->slots[i] = (uint16_t)names->count;
	return name;
}

void sums_add(struct sums *sums, const struct proc *proc)
{
	struct name_sum *name = find_name(&sums->names, proc->comm);
	uint64_t cpu = proc->usage.utime + proc->usage.stime;

	sums->ended++;
	name->count++;
	if (proc->unknown & KNELL_U_TIMES) {
		sums->times_unknown++;
	} else {
		sums->user += proc->usage.utime;
		sums->system += proc->usage.stime;
		name->cpu += cpu;
		top_add(&sums->dearest, cpu, proc);
	}
	if (!(proc->unknown & KNELL_U_RSS))
		top_add(&sums->largest, proc->usage.maxrss, proc);
	if (proc->died > proc->start && proc->start && !proc->late_stamp)
		top_add(&sums->slowest, proc->died - proc->start, proc);
}

static bool sent_by_itself(const struct knell_signal *signal, uint32_t tgid)
{
	return signal->known & KNELL_S_PID && signal->pid == tgid;
}

/* Two signals that differ at most in the numbers of those who sent them. */
static bool same_signal(const struct knell_signal *a, uint32_t a_tgid, const struct knell_signal *b,
			uint32_t b_tgid)
{
	if (a->signo != b->signo || a->reason != b->reason)
		return false;
	if (sent_by_itself(a, a_tgid) || sent_by_itself(b, b_tgid))
		return sent_by_itself(a, a_tgid) && sent_by_itself(b, b_tgid);
	if ((a->known ^ b->known) & ~KNELL_S_PID || a->uid != b->uid)
		return false;
	return strncmp(a->comm, b->comm, KNELL_COMM_LEN) == 0 &&
	       strncmp(a->pcomm, b->pcomm, KNELL_COMM_LEN) == 0;
}

static bool same_failure(const struct failure *a, const struct failure *b)
{
	const struct knell_exit *x = &a->death, *y = &b->death;

	if (a->hash != b->hash || memcmp(a->comm, b->comm, KNELL_COMM_LEN) != 0 ||
	    a->unknown != b->unknown || x->status != y->status || x->reason != y->reason)
		return false;
	return same_signal(&x->killer, a->tgid, &y->killer, b->tgid) &&
	       same_signal(&x->last_term, a->tgid, &y->last_term, b->tgid);
}

/* `into` tells of all of them: forgets the numbers that are not the same. */
static void merge_signal(struct knell_signal *into, uint32_t into_tgid,
			 const struct knell_signal *other)
{
	if (sent_by_itself(into, into_tgid))
		return;
	if (into->pid != other->pid)
		into->known &= (uint8_t)~KNELL_S_PID;
	if (into->ppid != other->ppid)
		into->ppid = 0;
}

static void failures_add(struct failures *failures, const struct failure *new)
{
	failures->total++;
	for (uint32_t i = 0; i < failures->count; i++) {
		struct failure *old = &failures->list[i];

		if (!same_failure(old, new))
			continue;
		old->count++;
		merge_signal(&old->death.killer, old->tgid, &new->death.killer);
		merge_signal(&old->death.last_term, old->tgid, &new->death.last_term);
		return;
	}
	if (failures->count < FAILURES_MAX)
		failures->list[failures->count++] = *new;
	else
		failures->others++;
}

void report_add_death(struct report *report, const struct knell_event *event, const char *comm)
{
	const struct knell_exit *death = &event->u.exit;
	bool failed = words_failed(death, event->unknown);
	bool by_signal = failed && WIFSIGNALED(death->status);
	bool warned = words_was_warned(death, event->unknown);
	struct failure new;

	report->failed += failed;
	report->failed_by_signal += by_signal;
	if (!failed && !warned)
		return;
	new = (struct failure){
		.count = 1,
		.tgid = event->task.tgid,
		.unknown = event->unknown & (KNELL_U_STATUS | KNELL_U_CAUSE | KNELL_U_TERM),
		.death = *death,
	};
	words_copy_comm(new.comm, comm);
	new.hash = comm_hash(new.comm) ^ (uint32_t)death->status;
	failures_add(by_signal || warned ? &report->by_signal : &report->by_code, &new);
}
