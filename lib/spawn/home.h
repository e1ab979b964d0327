/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * home.h - a CPU's share of a nursery: its reaper thread, its helper, its children. Spawners of
 * this CPU take turns (`lock`); the reaper never takes that lock where the kernel reaps by itself,
 * so no spawn delays a death. `list_lock` is held for some instructions only, by this CPU's
 * threads.
 */
#ifndef KNELL_HOME_H
#define KNELL_HOME_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <knell/spawn.h>

#include "nest.h"

struct knell_nursery {
	struct knell_nursery_options options;
	pid_t owner; /* a forked child has our memory, but not our threads */
	bool by_kernel;
	bool closing;         /* nothing is spawned any more */
	unsigned int cpus;    /* configured: the length of homes[] */
	struct home **homes;  /* made when first used, and kept; read without a lock */
	pthread_mutex_t lock; /* of making them */
	uint64_t next_look;   /* when to look after idle homes again */
};

struct child {
	struct child *next, *prev; /* of its home, under list_lock */
	struct nest *nest;         /* that is its parent */
	pid_t pid;
	int pidfd;
	bool moved;   /* as in struct birth */
	bool watched; /* set by the spawner when all else is: release, for the reaper */
	bool late;    /* dead, but a stranger traces it */
	knell_death_fn fn;
	void *userdata;
	uint32_t *word;
};

struct home {
	struct knell_nursery *nursery;
	unsigned int cpu;

	pthread_mutex_t lock; /* of spawners, and of starting and ending what is below */
	bool running;
	bool displaced; /* the CPU is gone, or no longer ours: the reaper ends with its children */
	bool ended;     /* it has: the next spawn joins it and starts another one */
	struct nest *nest;
	struct nest *old_nests; /* another identity's; each ends with its children */

	pthread_t thread;
	pid_t tid;
	int epoll_fd;
	int wake_fds[2]; /* a pipe: its inode is nobody else's, unlike an eventfd's */
	dev_t wake_dev;
	ino_t wake_ino;
	uint32_t reaper; /* enum reaper_state in home.c */
	bool stop;
	bool lost; /* the application closed our descriptors: their numbers are not ours */
	uint32_t late_count;

	pthread_mutex_t list_lock;
	struct child *first;
	uint32_t children; /* a futex word for those who drain */

	/* Written by the reaper, but the first two, under `lock`; read by anybody. */
	uint64_t spawned;
	uint64_t failed;
	uint64_t replaced;
	uint64_t by_kernel;
	uint64_t by_wait;
	uint64_t unknown;
	uint64_t wakeups;
	uint64_t slowest_ns;
};

/* The home of this CPU; made if it is new. NULL: no memory. */
struct home *home_of(struct knell_nursery *nursery, unsigned int cpu);

/*
 * Its reaper and a helper with the caller's identity are there afterwards; another one had to give
 * way for it. -EBADF: the application closed our descriptors. Under `lock`.
 */
int home_ready(struct home *home, bool *ret_replaced);

/* From now on its death is told. Under `lock`. On failure the child is nobody's. */
int home_adopt(struct home *home, struct child *child);

/*
 * No idle helper keeps other rights than these; and the reaper looks where it runs, if the kernel
 * has moved it. Under `lock`.
 */
void home_look(struct home *home, const struct nest_identity *now);

/*
 * Returns when all its threads and helpers are gone. No spawn may start them again:
 * nursery->closing is set. NULL is allowed.
 */
void home_stop(struct home *home);

/* After home_stop(). NULL is allowed. */
void home_free(struct home *home);

#endif
