/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ear.h - an engine that remembers what it heard, for tests that use the library itself.
 */
#ifndef KNELL_TEST_EAR_H
#define KNELL_TEST_EAR_H

#include <knell/knell.h>

#include "support.h"
#include "watchers/verify.h"

struct ear {
	struct knell_engine *engine;
	struct verify *verify;            /* its conscience */
	uint64_t heard[KNELL_KIND_MAX];   /* of processes, and gaps */
	uint64_t threads[KNELL_KIND_MAX]; /* of threads */
	struct knell_gap gap;             /* sums */
	struct knell_event *all;          /* in order; file names and arguments are left out */
	size_t count, room;
	pid_t awaited; /* ear_serve(): reaped? */
	int status;
};

/*
 * With the suite's source unless the options have one. All that it hears is verified: ear_close()
 * fails the test if the order of lives was not as the contracts have it, and shows how.
 */
void ear_open(struct ear *ear, const struct knell_options *options);
void ear_close(struct ear *ear);

/* Starts a program by knell_fork(). */
pid_t ear_start(struct ear *ear, const char *const argv[]);

/* Polls, dispatches and reaps until this child is reaped, then dispatches. Returns its status. */
int ear_serve(struct ear *ear, pid_t pid);

/* The same, but does nothing until the child is dead: whatever it did is queued by then. */
int ear_serve_late(struct ear *ear, pid_t pid);

/* The first record of this kind and process; NULL if there is none. */
const struct knell_event *ear_find(const struct ear *ear, unsigned int kind, pid_t pid);

/* Each birth has exactly one death of the same identity, after it; nobody else dies. */
void ear_expect_whole_lives(const struct ear *ear);

#endif
