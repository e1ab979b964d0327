/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * clock.c - how far two clocks are apart; see clock.h. It owns nothing.
 */
#include "clock.h"

#define TRIES 3

/* Of a few tries the one in which we were not interrupted. */
uint64_t clock_boot_offset(void)
{
	uint64_t best = UINT64_MAX, offset = 0;

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = clock_ns(CLOCK_MONOTONIC);
		uint64_t boot = clock_ns(CLOCK_BOOTTIME);
		uint64_t took = clock_ns(CLOCK_MONOTONIC) - before;

		if (took >= best)
			continue;
		best = took;
		offset = boot - before - took / 2;
	}
	return offset;
}
