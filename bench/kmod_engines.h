/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kmod_engines.h - what kmod-cost compares: engines in the kernel that hear of exits, behind one
 * front, and the processes that die for it.
 */
#ifndef KNELL_BENCH_KMOD_ENGINES_H
#define KNELL_BENCH_KMOD_ENGINES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

struct engine {
	const char *name;
	void (*arm)(void);
	/* False: it cannot take this one. */
	bool (*watch)(pid_t pid, int pidfd, uint64_t cookie);
	/* Waits until these deaths, of those that are watched, are told or lost. Returns how many
	 * were told. */
	unsigned int (*drain)(unsigned int deaths);
	void (*disarm)(void);
};

void knell_load(const char *file);
extern const struct engine knell, knell_dead, knell_subtree;

/* The yardstick's module must be named first. */
extern const struct engine yardstick, yardstick_filter;
extern const char *yardstick_file;

/* Of the module since it was loaded: times that its reapers were woken, and watches that were told.
 */
void knell_counts(uint64_t *ret_wakeups, uint64_t *ret_news);

noreturn void fail(const char *what);

/*
 * Processes that share our memory and descriptors: cheap, and to the kernel each is a process of
 * its own. errno is ours, so that they call the kernel by raw_call() only. `stack` is the end of
 * one.
 */
#define STACK 4096
pid_t born(int (*life)(void *), void *argument, char *stack, int *pidfd);
long raw_call(long number, long a, long b, long c);
char *stacks_new(unsigned int count);

#endif
