/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * children.h - reaps the children of this process at a cost that does not grow with how many
 * live. waitpid(-1) looks at every living child under the kernel's lock of all tasks: 1 us
 * without any, 0.5-1 ms with 20,000. Here a child is waited for by its number, 1-2 us always,
 * when somebody has said that it dies (a source's exit record); whoever is dead unannounced is
 * found by a peek (waitid with WNOWAIT) and, when many are, by one look through the children list
 * of /proc.
 *
 * One table belongs to one thread. It depends on nothing but the C library: `knell-init-static` has
 * it, too. No signal is touched here; the caller calls children_reap() on SIGCHLD.
 */
#ifndef KNELL_CHILDREN_H
#define KNELL_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct children;

/* How children were reaped so far: for statistics. Stops and continuations are not counted. */
struct children_stats {
	uint64_t directed; /* waited for by number, because a source had announced their death */
	uint64_t peeked;   /* found by a peek, then waited for by number */
	uint64_t swept;    /* found in the children list, then waited for by number */
	uint64_t any;      /* by a wait for any child: where there is no children list */
	uint64_t peeks;    /* looks for unannounced deaths */
	uint64_t sweeps;   /* looks through the whole children list */
	uint64_t not_ours; /* announced, but no child of this process */
};

/*
 * Called for each child: dead and reaped, or stopped or continued; `status` is as wait(2) has it.
 * It may announce, but must not call children_close().
 */
typedef void (*children_fn)(pid_t pid, int status, void *userdata);

/* 0 or -ENOMEM. */
int children_open(struct children **ret_children);

/*
 * The same with the tasks of this process in another folder than /proc/self/task; NULL: as where
 * the kernel has no children lists. For tests.
 */
int children_open_at(struct children **ret_children, const char *tasks);

/* Children that live go on. NULL is allowed; returns NULL. */
struct children *children_close(struct children *children);

/*
 * This process dies, or is dead: it will be waited for by number as soon as the kernel lets us. A
 * pid that turns out to be no child of ours is forgotten. Never fails: where memory is short the
 * peek finds it.
 */
void children_announce(struct children *children, pid_t pid);

/* Somebody was not announced for want of memory. */
void children_missed(struct children *children);

/*
 * From now on deaths are announced, but for few: a zombie that comes to us when its parent dies, a
 * record that was lost. So a call that has reaped announced ones peeks for others only when the
 * last peek is CHILDREN_PEEK_MS ago. One that has not found any announced one dead peeks at once.
 */
#define CHILDREN_PEEK_MS 20
void children_all_announced(struct children *children, bool all);

/*
 * When to call children_reap() again even without a signal, for no zombie to get older than 50 ms:
 * in so many ms; -1: not before the next signal.
 */
int children_timeout(const struct children *children);

/*
 * Called for a dead child before it is waited for: a source on an older kernel takes the status of
 * a watched process from its zombie. It costs a system call for each child; NULL: nobody looks.
 */
typedef void (*children_look_fn)(pid_t pid, void *userdata);
void children_set_look(struct children *children, children_look_fn look, void *userdata);

/*
 * Reaps what is dead now. Never blocks. Returns how many were reported; -ECHILD: no child is left
 * at all. 0 and -ECHILD are exact: nobody else was dead. After a number there may be more: see
 * children_all_announced().
 */
int children_reap(struct children *children, children_fn fn, void *userdata);

void children_get_stats(const struct children *children, struct children_stats *ret_stats);

#endif
