/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_losses.c - what a log lost, as far as it tells: gaps, numbers that do not follow each other,
 * records that its writer left out, times at which nobody wrote it; see why.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "why.h"

/* More CPUs than Linux can have: a larger number is damage, not a ring. */
#define MAX_RINGS 65536u

void why_losses_add(struct why_losses *to, const struct why_losses *more)
{
	to->births += more->births;
	to->deaths += more->deaths;
	to->others += more->others;
	to->missing += more->missing;
	to->suppressed += more->suppressed;
	to->unwritten += more->unwritten;
}

struct why_losses why_losses_since(const struct why_losses *now, const struct why_losses *before)
{
	return (struct why_losses){
		.births = now->births - before->births,
		.deaths = now->deaths - before->deaths,
		.others = now->others - before->others,
		.missing = now->missing - before->missing,
		.suppressed = now->suppressed - before->suppressed,
		.unwritten = now->unwritten - before->unwritten,
	};
}

uint64_t why_losses_sum(const struct why_losses *l)
{
	return l->births + l->deaths + l->others + l->missing + l->suppressed + l->unwritten;
}

static uint64_t *next_of(struct why_account *account, uint32_t ring)
{
	uint64_t *grown;

	if (ring < account->ring_count)
		return &account->next[ring];
	grown = reallocarray(account->next, ring + 1ul, sizeof(*grown));
	if (!grown)
		return NULL;
	for (uint32_t i = account->ring_count; i <= ring; i++)
		grown[i] = 0;
	account->next = grown;
	account->ring_count = ring + 1;
	return &account->next[ring];
}

/* A gap takes as many numbers as it lost records. */
static uint64_t numbers_of(const struct knell_event *e)
{
	return e->kind == KNELL_GAP ? e->u.gap.births + e->u.gap.deaths + e->u.gap.others : 1;
}

/* Nobody counts backwards but who begins again. */
int why_account_number(struct why_account *account, const struct knell_event *e, bool restarted,
		       uint64_t *ret_missing)
{
	uint64_t *next, expected;

	if (e->ring >= MAX_RINGS)
		return WHY_IN_ORDER;
	next = next_of(account, e->ring);
	if (!next)
		return -ENOMEM;
	expected = *next ? *next - 1 : e->seq;
	*next = e->seq + numbers_of(e) + 1;
	if (restarted || e->seq < expected)
		return WHY_NEW_RUN;
	*ret_missing = e->seq - expected;
	return *ret_missing ? WHY_JUMP : WHY_IN_ORDER;
}

void why_account_restart(struct why_account *account, uint64_t from, uint64_t to, bool reboot)
{
	account->holes[account->hole_count++ % WHY_HOLES] = (struct why_hole){
		.from = from,
		.to = to,
		.reboot = reboot,
	};
	for (uint32_t i = 0; i < account->ring_count; i++)
		account->next[i] = 0;
}

const struct why_hole *why_account_hole(const struct why_account *account, uint64_t from,
					uint64_t to)
{
	uint64_t kept = account->hole_count < WHY_HOLES ? account->hole_count : WHY_HOLES;

	for (uint64_t i = 1; i <= kept; i++) {
		const struct why_hole *hole =
			&account->holes[(account->hole_count - i) % WHY_HOLES];

		if (hole->from < to && hole->to > from)
			return hole;
	}
	return NULL;
}

void why_account_done(struct why_account *account)
{
	free(account->next);
	account->next = NULL;
	account->ring_count = 0;
}
