/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf_home.c - how those who drain homes sleep and are woken: the host, who drains all of them, or
 * with reapers each one's own. It owns the rounds of single homes.
 *
 * A reaper sleeps in two depths. After a round that found something it sleeps for a batch: a timer
 * wakes it, and only immediate deaths and half-full rings ring the bell. After a round that found
 * nothing it sleeps until the bell: the next event of any kind rings it. So a storm costs one
 * wake-up per batch, and silence costs nothing.
 *
 * With reapers the bell of a home is its ring: see ring_bell() in bpf/slot.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "bpf.h"

/* Rounds at a time while the kernel keeps queueing, before others get their turn. */
#define ROUNDS 4

/*
 * The exchange is a full barrier, as that in wake() is: it sees the flag, or we see what it queued.
 * (A fence would say so more plainly, but ThreadSanitizer knows none.)
 */
static void set_sleeping(struct bpf_round *r, enum knell_sleep depth)
{
	for (uint32_t home = r->first; home < r->end; home++)
		__atomic_exchange_n(&r->s->heads[home].sleeping, depth, __ATOMIC_SEQ_CST);
}

/*
 * Goes to sleep, unless something came meanwhile: then false. What the sleeper does between our
 * return and its poll(2) does not matter: a bell that rang meanwhile is still to be heard.
 */
bool bpf_go_to_sleep(struct bpf_round *r, bool busy)
{
	set_sleeping(r, busy ? SLEEP_BATCH : SLEEP_IDLE);
	return busy ? !bpf_urgent_waits(r) : !bpf_anything_waits(r);
}

/*
 * Rounds until nothing is left to do now: true, and it sleeps; if `busy`, a timer has to wake it.
 * False: there is more.
 */
bool bpf_rounds(struct bpf_round *r, bool *busy)
{
	for (int round = 0; round < ROUNDS; round++) {
		bool waits = bpf_anything_waits(r);

		set_sleeping(r, AWAKE);
		bpf_reap_round(r);
		*busy |= waits;
		if (bpf_go_to_sleep(r, *busy))
			return true;
	}
	return false;
}

void bpf_join(struct knell_source *source)
{
	struct bpf_source *s = (struct bpf_source *)source;

	bpf_source_own_bells(s, false);
	for (uint32_t home = 0; s->homes && home < s->cpus; home++)
		bpf_round_destroy(&s->homes[home]);
	free(s->homes);
	s->homes = NULL;
	bpf_come_back(s);
}

int bpf_split(struct knell_source *source)
{
	struct bpf_source *s = (struct bpf_source *)source;
	int r = 0;

	if (s->ids)
		return knell_fail(-ENOTSUP, "changes of ids come through one socket for all CPUs");
	s->homes = calloc(s->cpus, sizeof(*s->homes));
	if (!s->homes)
		r = -ENOMEM;
	for (uint32_t home = 0; r == 0 && home < s->cpus; home++)
		r = bpf_round_init(&s->homes[home], s, home, home + 1);
	if (r < 0) {
		bpf_join(source);
		return knell_fail(r, "no memory for reapers");
	}
	bpf_source_own_bells(s, true);
	return 0;
}

int bpf_home_fd(const struct knell_source *source, uint32_t home)
{
	return ((const struct bpf_source *)source)->rings[home].fd;
}

int bpf_reap_home(struct knell_source *source, uint32_t home)
{
	struct bpf_source *s = (struct bpf_source *)source;
	bool busy = false;

	if (!bpf_rounds(&s->homes[home], &busy))
		return 0;
	return busy ? (int)s->options.batch_ms : -1;
}

bool bpf_reconcile_due(const struct knell_source *source)
{
	const struct bpf_source *s = (const struct bpf_source *)source;

	return s->options.flags & KNELL_O_STREAM &&
	       __atomic_load_n(&s->reconcile_due, __ATOMIC_ACQUIRE);
}
