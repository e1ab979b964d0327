/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * clock.c - how far two clocks are apart, and timers; see clock.h. It owns nothing.
 */
#include <sys/timerfd.h>

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

void clock_set_timer(int timer_fd, int flags, uint64_t ns)
{
	struct itimerspec when = {
		.it_value = { .tv_sec = (time_t)(ns / 1000000000u),
			      .tv_nsec = (long)(ns % 1000000000u) },
	};

	timerfd_settime(timer_fd, flags, &when, NULL);
}
