/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * run.h - one `knell run`, for the files that make it up:
 *   cmd_run.c    options; opens engine and outputs, and closes them with the report
 *   run_child.c  starts the command as if Knell were not there
 *   run_loop.c   hears, reaps, passes signals on, until command and orphans are done
 */
#ifndef KNELL_CLI_RUN_H
#define KNELL_CLI_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <knell/knell.h>

#include "inherited.h"
#include "plugins.h"
#include "watchers/json.h"
#include "watchers/progress.h"
#include "watchers/report.h"
#include "watchers/tree.h"
#include "with.h"

enum orphan_policy {
	ORPHANS_LEAVE,
	ORPHANS_WAIT,
	ORPHANS_KILL
};

struct run_options {
	struct knell_options engine;
	enum orphan_policy orphans;
	uint32_t grace; /* seconds between TERM and KILL */
	struct plugins plugins;
	const char *report_path;
	const char *json_path;
	bool quiet;
	bool tree;
	bool threads;
	bool progress;
	struct with_list with;
	bool exit_status; /* 128+n instead of dying of the signal */
	char **command;
};

/* How the caller left signals to us, and so how the command gets them. */
struct saved_signals {
	sigset_t mask;
	struct sigaction child; /* SIGCHLD's disposition */
};

struct run {
	struct run_options options;
	struct knell_engine *engine;
	struct report *report;
	struct tree *tree;
	struct json *json;
	struct progress *progress;
	FILE *report_file;

	struct saved_signals signals;
	struct inherited inherited; /* for the command alone */
	int signal_fd;
	int exec_fd; /* what kept the command from starting; closed by a successful exec */

	pid_t root;
	int status; /* of the command, as wait(2) has it */
	bool dead;
	int exec_error;       /* errno of exec */
	uint64_t started;     /* monotonic, ns */
	uint64_t ended;       /* of the command; 0: it runs */
	uint64_t own_cpu;     /* ours, before the command started */
	uint64_t orphans_met; /* ended after the command, and waited for or killed */
	bool with_failed;     /* a watcher found fault */
	bool orphans_unseen;  /* those that are to be killed: we cannot find them */
};

/* run_child.c */
int run_take_signals(struct run *run);
void run_ignore_children(struct run *run);
void run_restore_signals(const struct run *run);
int run_start(struct run *run);

/* run_loop.c: 0, or -errno if the source broke; the command is dead in either case. */
int run_loop(struct run *run);

#endif
