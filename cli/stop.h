/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * stop.h - how signals end a command that only listens. The first HUP, INT, QUIT or TERM asks it to
 * end by itself; a second one ends it at once, as if nobody had caught it: also if it hangs in a
 * write that nobody reads. One for each process; stop.c owns the state.
 */
#ifndef KNELL_CLI_STOP_H
#define KNELL_CLI_STOP_H

#include <stdbool.h>

/*
 * Takes the signals, but for those that the caller has ignored (nohup). Ignores PIPE and XFSZ: our
 * writes then fail with an error. With `children` SIGCHLD wakes, too. Returns a descriptor that
 * polls readable after a signal, or -errno after a complaint.
 */
int stop_open(bool children);

/*
 * From now on HUP does not ask us to end, also if the caller has ignored it: stop_hangup() is true
 * once after each. 0, or -errno after a complaint.
 */
int stop_keep_hangup(void);
bool stop_hangup(void);

/* Makes the descriptor silent until the next signal. Look at what has happened after it. */
void stop_drain(void);

/* The signal that asks us to end; 0: none so far. */
int stop_signal(void);

/* In a child, before it execs: all is as it was before stop_open(). */
void stop_undo(void);

#endif
