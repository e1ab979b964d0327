/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report_data.h - the report's own state, for the three files that make it up: report.c hears
 * records, report_sums.c adds up those that are over, report_print.c says it.
 */
#ifndef KNELL_WATCHERS_REPORT_DATA_H
#define KNELL_WATCHERS_REPORT_DATA_H

#include "report.h"
#include "report_peak.h"
#include "report_table.h"

#define TOP_MAX      10u
#define NAMES_MAX    512u
#define NAME_SLOTS   1024u
#define FAILURES_MAX 50u

/* One of the slowest, the most expensive or the largest. */
struct top_entry {
	uint64_t value;
	uint32_t tgid;
	char comm[KNELL_COMM_LEN];
};

/* The largest values so far, largest first. */
struct top {
	uint32_t count;
	struct top_entry list[TOP_MAX];
};

/* All processes that ended under one name. */
struct name_sum {
	uint64_t count, cpu;
	char comm[KNELL_COMM_LEN];
};

struct names {
	uint32_t count;
	uint16_t slots[NAME_SLOTS]; /* open addressing: index + 1 */
	struct name_sum list[NAMES_MAX];
	struct name_sum others; /* whoever found no room */
};

/*
 * Processes of one name that died alike. `death` is the first one's, without what differs between
 * them: the pid of the sender, if each had another.
 */
struct failure {
	uint64_t count;
	uint32_t hash;
	uint32_t tgid; /* of the first */
	uint32_t unknown;
	char comm[KNELL_COMM_LEN];
	struct knell_exit death;
};

struct failures {
	uint64_t total;
	uint64_t others; /* of them, not in the list */
	uint32_t count;
	struct failure list[FAILURES_MAX];
};

/* What is known of processes that are over. */
struct sums {
	uint64_t ended, user, system;
	uint64_t times_unknown; /* how many ended without a known CPU time */
	struct top slowest, dearest, largest;
	struct names names;
};

struct report {
	char source[32];
	struct proc_table table;
	struct sums sums;
	struct peak peak;
	struct failures by_signal; /* also: warned by a TERM, INT or HUP, and then exited */
	struct failures by_code;
	uint64_t failed, failed_by_signal;
	uint64_t records;
	uint64_t births; /* heard */
	uint64_t late;   /* first heard of after their birth */
	uint64_t unkept; /* events that found no memory */
	uint64_t execs, thread_births;
	uint64_t lost_births, lost_deaths, lost_others;
	uint64_t lost_by_cause[KNELL_GAP_MISSED + 1];

	/*
	 * Counts the deaths of the command. A process that was found alive has the epoch of that
	 * moment: only who has the present one has outlived the command.
	 */
	uint32_t epoch;

	bool root_died;
	uint32_t root_tgid, root_unknown;
	struct knell_exit root_death;
};

/* A process is over, and its usage will not change any more. */
void sums_add(struct sums *sums, const struct proc *proc);

/* A process died; failure or not. */
void report_add_death(struct report *report, const struct knell_event *event, const char *comm);

/* Takes all who wait for their final account as they are. */
void report_settle(struct report *report);

#endif
