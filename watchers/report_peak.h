/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report_peak.h - how many processes and threads were alive at once, at most. Records of different
 * tasks come in causal order only: a death on one CPU may be told after births that came later on
 * another. So changes wait in a window, ordered by time, before they are counted.
 */
#ifndef KNELL_WATCHERS_REPORT_PEAK_H
#define KNELL_WATCHERS_REPORT_PEAK_H

#include <stdint.h>

/* More than come in one batch, but for one that had to wait until a ring was full. */
#define PEAK_WINDOW 8192u

struct change {
	uint64_t time;
	int32_t processes, threads;
};

struct peak {
	int64_t processes, threads; /* now: after the last change that was counted */
	int64_t most_processes, most_threads;
	uint32_t waiting;
	struct change heap[PEAK_WINDOW]; /* the earliest first: children of i are 2i+1 and 2i+2 */
};

void peak_change(struct peak *peak, uint64_t time, int32_t processes, int32_t threads);

/* Counts all that waits. */
void peak_settle(struct peak *peak);

#endif
