/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report_peak.c - the most that were alive at once; see report_peak.h.
 */
#include <stdbool.h>

#include "report_peak.h"

/* Of two at the same time, whoever goes makes room for whoever comes. */
static bool before(const struct change *a, const struct change *b)
{
	if (a->time != b->time)
		return a->time < b->time;
	return a->processes + a->threads < b->processes + b->threads;
}

static void count(struct peak *peak, const struct change *change)
{
	peak->processes += change->processes;
	peak->threads += change->threads;
	if (peak->processes > peak->most_processes)
		peak->most_processes = peak->processes;
	if (peak->threads > peak->most_threads)
		peak->most_threads = peak->threads;
}

/* Puts `change` where the first one was, or below. */
static void sift_down(struct peak *peak, struct change change)
{
	struct change *heap = peak->heap;
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < peak->waiting) {
		if (child + 1 < peak->waiting && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &change))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = change;
}

/* Most come in order already, and stay at the end. */
static void sift_up(struct peak *peak, struct change change)
{
	struct change *heap = peak->heap;
	uint32_t i = peak->waiting++;

	for (; i > 0 && before(&change, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = change;
}

void peak_change(struct peak *peak, uint64_t time, int32_t processes, int32_t threads)
{
	const struct change change = { time, processes, threads };

	if (peak->waiting < PEAK_WINDOW) {
		sift_up(peak, change);
	} else if (before(&change, &peak->heap[0])) {
		count(peak, &change);
	} else {
		count(peak, &peak->heap[0]);
		sift_down(peak, change);
	}
}

void peak_settle(struct peak *peak)
{
	while (peak->waiting > 0) {
		count(peak, &peak->heap[0]);
		peak->waiting--;
		sift_down(peak, peak->heap[peak->waiting]);
	}
}
