/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * reapers.h - the threads that dispatch an engine in place of its host: one for each CPU where the
 * source has homes, else one for all. For engine.c and the watches.
 */
#ifndef KNELL_REAPERS_H
#define KNELL_REAPERS_H

#include <stdbool.h>
#include <stdint.h>

struct reapers;

/* Is this thread in a callback of some engine's reapers? */
bool reapers_inside(void);

/* Is each home reaped by itself? Else one thread dispatches, with the engine's lock. */
bool reapers_split(const struct reapers *all);

/* Each home is looked at soon. Never blocks. Returns the number of this kick, never 0. */
uint64_t reapers_kick(struct reapers *all);

/* Was all told that waited at that kick? If it takes long: a home went to another reaper; kick
 * again. */
bool reapers_have_looked(struct reapers *all, uint64_t kick);

/* knell_reconcile(), while no home is reaped. -EDEADLK: from inside a callback. */
int reapers_reconcile(struct reapers *all);

#endif
