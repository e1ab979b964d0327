/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * progress.h - one live line on a terminal: how many are alive, started, failed, and for how long
 * it has been running. Nothing is ever written to what is not a terminal.
 */
#ifndef KNELL_WATCHERS_PROGRESS_H
#define KNELL_WATCHERS_PROGRESS_H

#include <stdint.h>

#include <knell/knell.h>

struct progress;

/*
 * `fd` stays the caller's; `now` is CLOCK_MONOTONIC, ns, as all times here. The engine calls it
 * until it is closed: free it then. A caller in a background process group of its terminal blocks
 * or ignores SIGTTOU, if it does not want to be stopped by it.
 */
int progress_new(struct progress **ret_progress, struct knell_engine *engine, int fd, uint64_t now);

/* Redraws the line if it has changed, at most ten times a second. Call it as often as you like. */
void progress_tick(struct progress *progress, uint64_t now);

/*
 * Erases the line: call it before you write anything else to the terminal. The next tick brings it
 * back. progress_erase(NULL) is allowed.
 */
void progress_erase(struct progress *progress);

/* Erases the line. Returns NULL. */
struct progress *progress_free(struct progress *progress);

#endif
