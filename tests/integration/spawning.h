/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * spawning.h - what the tests of knell_spawn() share: a nursery for each mode, children that are
 * run to their end, and many children from many threads.
 */
#ifndef KNELL_TEST_SPAWNING_H
#define KNELL_TEST_SPAWNING_H

#include <knell/spawn.h>

#include "support.h"

/* 0: the kernel reaps by itself, if it can; 1: the nursery waits. */
#define MODES   2
#define DRAIN_S 30

extern int troubles; /* helpers that died; atomic */

struct knell_nursery *open_nursery(int mode);
void drain(struct knell_nursery *nursery);

/* What a callback heard. */
struct heard {
	int times;
	struct knell_death death;
	int cpu;
	bool all_blocked;
};

void on_death(const struct knell_death *death, void *userdata);

/* Starts it, to be heard; knell_spawn()'s own return. */
int try_run(struct knell_nursery *nursery, struct knell_spawn_options *o, const char *const argv[],
	    struct heard *heard);

/* Runs it to its end; returns the status. */
int run(struct knell_nursery *nursery, struct knell_spawn_options *o, const char *const argv[]);
int run_shell(struct knell_nursery *nursery, struct knell_spawn_options *o, const char *script);

void await_word(uint32_t *word);

/* How many CPUs we have, two at most, and which. */
int two_cpus(int ret[2]);
void move_to(int cpu);

/* From many threads, each child with a status of its own. */
struct spawner {
	struct knell_nursery *nursery;
	unsigned int count, base;
	const bool *stop;
	unsigned int wrong, heard;
};

void *spawn_many(void *arg); /* a struct spawner */

/* spawn_helpers.c */
void add_helper_tests(Suite *suite);

#endif
