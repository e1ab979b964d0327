/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report.h - the report at the end of a run: what ran, what it cost, what failed and why, what is
 * left, what was not heard.
 *
 * Memory is bounded however many processes run: 104 bytes for each process alive at once and for up
 * to 4,096 dead ones that wait for their final account, and 8 to 16 in an index; room doubles as it
 * grows, so a run with at most 4,000 alive at once takes less than 1 MB. Beside it 170 KB: the last
 * 8,192 births and deaths, which are put in the order of time, and sums: totals, the ten slowest
 * and the ten most expensive, 512 program names, 50 kinds of death by a signal and 50 failures by
 * exit code. What does not fit in those is still counted exactly. (A process whose death was lost
 * stays in the table: as many of them as gaps have lost deaths.)
 */
#ifndef KNELL_WATCHERS_REPORT_H
#define KNELL_WATCHERS_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <knell/knell.h>

struct report;

/* What became of those that outlived the command. */
enum report_orphans {
	REPORT_ORPHANS_LEFT,   /* they run on: ask knell_reconcile() before the report */
	REPORT_ORPHANS_WAITED, /* they were waited for */
	REPORT_ORPHANS_KILLED  /* they were killed */
};

/* What the one who ran the command knows and the records do not. Zero: not known. */
struct report_end {
	size_t size;                 /* of this struct */
	char *const *argv;           /* the command */
	uint64_t wall;               /* ns */
	int status;                  /* of the command, as wait(2) has it */
	enum report_orphans orphans; /* what was done with orphans */
	uint64_t orphan_count;       /* how many were waited for or killed */
	uint64_t own_cpu;            /* CPU time that Knell itself used, ns; 0: no such line */
};

/* Counts from the next dispatch on. The engine calls it until it is closed: free it after that. */
int report_new(struct report **ret_report, struct knell_engine *engine);

/*
 * Prints it, in 80 columns; in colour if `file` is a terminal and NO_COLOR is not set. May be
 * called more than once. -errno if writing failed.
 */
int report_print(struct report *report, FILE *file, const struct report_end *end);

/* Returns NULL. */
struct report *report_free(struct report *report);

#endif
