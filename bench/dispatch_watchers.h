/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * dispatch_watchers.h - the watchers of the benchmark dispatch. They are in a file of their own, as
 * those of an application or a plugin are: nobody who calls them knows what they do.
 */
#ifndef KNELL_BENCH_DISPATCH_WATCHERS_H
#define KNELL_BENCH_DISPATCH_WATCHERS_H

#include <knell/knell.h>

#define BUCKETS 64
#define LIVES   1024

struct life {
	struct knell_task_id id;
	uint64_t deaths;
	char comm[KNELL_COMM_LEN];
};

/* The userdata of a watcher. */
struct watched {
	_Alignas(64) uint64_t total;
	uint64_t failed;
	uint32_t of[BUCKETS];
	struct life lives[LIVES];
};

#define EACH(x)                                                                                    \
	x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12) x(13) x(14) x(15)

/*
 * lives_: finds the task's life in a table of its own, as whoever keeps something for each task
 * does; count_: counts by pid; none_: counts.
 */
#define DECLARE(n)                                                                                 \
	int lives_##n(const struct knell_event *event, void *userdata);                            \
	int count_##n(const struct knell_event *event, void *userdata);                            \
	int none_##n(const struct knell_event *event, void *userdata);
EACH(DECLARE)
#undef DECLARE

#endif
