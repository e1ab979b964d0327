/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * trace.h - one `knell trace`, for the files that make it up:
 *   cmd_trace.c     options
 *   trace_loop.c    opens engine and outputs, hears until somebody ends it, sums up
 *   trace_text.c    the table
 */
#ifndef KNELL_CLI_TRACE_H
#define KNELL_CLI_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <knell/knell.h>

#include "cgroup.h"
#include "lives.h"
#include "plugins.h"
#include "text.h"
#include "watchers/json.h"
#include "with.h"

struct trace_options {
	struct knell_options engine;
	uint32_t kinds;   /* KNELL_MASK() of those to tell */
	bool ids_asked;   /* uid or gid were asked for by name */
	pid_t pid;        /* its subtree; 0: the whole system */
	const char *json; /* NULL: the table */
	bool quiet;       /* no table */
	struct with_list with;
	struct cgroup_life cgroup;
	uint64_t count;    /* end after so many events; 0: never */
	uint64_t duration; /* end after so many ns; 0: never */

	struct plugins plugins;
};

struct trace {
	struct trace_options options;
	struct knell_engine *engine;
	struct json *json;
	struct text *text; /* NULL: JSON, or nothing */
	bool columns;      /* for a terminal: aligned, with a header */
	bool colour;
	int pidfd;

	uint64_t started; /* monotonic, ns */
	uint64_t told, lost;
	bool gaps;                 /* something was lost */
	struct lives lives;        /* of the subtree */
	char comm[KNELL_COMM_LEN]; /* of its root, when it was found */
	bool root_dead;
	bool root_absent;
	bool root_told;          /* its exit record was heard */
	struct knell_event root; /* ... or is made of its verdict */
	bool with_failed;        /* a watcher found fault */
	bool done;               /* --count is reached */
	uint32_t unknown;        /* what was said to be unknown: KNELL_U_* */
	int status;
};

/* trace_loop.c: everything after the options; returns the exit status. */
int trace_run(struct trace *trace);

/* trace_text.c */
void trace_print_header(struct trace *trace);
int trace_print(struct trace *trace, const struct knell_event *event);

#endif
