/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * clock.h - the kernel's clocks and timers in nanoseconds, and how far two clocks are apart.
 */
#ifndef KNELL_CLOCK_H
#define KNELL_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*
 * CLOCK_BOOTTIME - CLOCK_MONOTONIC, ns: what makes the connector's stamps those of all other
 * records, with which they are compared.
 */
uint64_t clock_boot_offset(void);

/* Of a timerfd: fires in so many ns, or with TFD_TIMER_ABSTIME at that time; 0: never. */
void clock_set_timer(int timer_fd, int flags, uint64_t ns);

#endif
