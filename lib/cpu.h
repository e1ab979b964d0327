/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cpu.h - threads that belong to one CPU: reapers, of an engine's records and of spawned children.
 */
#ifndef KNELL_CPU_H
#define KNELL_CPU_H

#include <sched.h>
#include <stdbool.h>

/* Is this CPU, and no other one, in the set? */
bool cpu_is_alone(const cpu_set_t *set, unsigned int cpu);

/* Binds the calling thread to this CPU. False: it may not. */
bool cpu_pin(unsigned int cpu);

/*
 * The calling thread was bound to this CPU. The kernel moves it when the CPU goes offline or leaves
 * the cpuset, and somebody may who changes the mask of all threads. If it may still run there it is
 * bound again: true. False: the CPU is not ours any more. Where assertions are on it asserts that a
 * bound thread runs where it is bound.
 */
bool cpu_keep(unsigned int cpu);

#endif
