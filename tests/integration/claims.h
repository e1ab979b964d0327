/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * claims.h - what a source says that it can do (KNELL_CAN_*, the one table), held against what it
 * does. With the bit it must know, every time. Without it, it may know now and then, but must have
 * said "unknown" at least once: else it does more than it claims, and the table is wrong. Also
 * here: processes that are not our children, for watches.
 */
#ifndef KNELL_TEST_CLAIMS_H
#define KNELL_TEST_CLAIMS_H

#include "ear.h"

/* Does the suite's source claim this? */
bool can(uint32_t bit);

/* One case in which it knew or not. */
void claim_case(uint32_t bit, bool known, const char *what);

/* It claims this bit, or did not know once. */
bool claim_holds(uint32_t bit);

/* After all cases of this bit. */
void claim_settle(uint32_t bit);

/* The call was refused with -ENOTSUP, and there is a text that says why. */
void expect_refused(int r, const char *what);

/* Dispatches once, after at most 10 ms of sleep. */
void turn(struct ear *ear);
/* The same for so long, whatever happens. */
void turn_for(struct ear *ear, unsigned int ms);
/* Until *count is at least `wanted`; else the test fails. */
void turn_until(struct ear *ear, const unsigned int *count, unsigned int wanted, const char *what);

/* Until so many of this kind were heard; else the test fails. */
void turn_until_heard(struct ear *ear, unsigned int kind, uint64_t wanted);

/* Records of this kind and process. */
unsigned int count_records(const struct ear *ear, unsigned int kind, pid_t pid);

/* Zeroed memory that children share. */
void *shared_memory(size_t size);

/* What one watch was told. */
struct verdict {
	unsigned int count;
	enum knell_verdict_kind kind; /* of the last */
	pid_t pid;
	uint64_t cookie;
	struct knell_event event; /* kind exited */
};

/* Sets a watch by pid whose verdict goes there. */
int watch_pid(struct ear *ear, struct verdict *verdict, pid_t pid, uint32_t flags, uint32_t moment);
int watch_pidfd(struct ear *ear, struct verdict *verdict, int pidfd, uint32_t flags,
		uint32_t moment);

/* The source tells the exits of strangers as records, too, if it claims so; else it tells none. */
void expect_record(struct ear *ear, pid_t pid);

/* Exactly one, and true: the status if it is known, which with KNELL_CAN_STATUS it must be. */
void expect_verdict(const struct verdict *verdict, pid_t pid, int status);

/* A process that makes children and waits for them when it is told to: strangers to us. */
struct nursery {
	pid_t pid;
	int socket;
};

void nursery_open(struct nursery *nursery);
void nursery_close(struct nursery *nursery);

/*
 * A child that lives this life; its argument must be shared memory, or older than the nursery. With
 * `wanted` it gets that number; -EPERM, -ENOSYS, ...: that cannot be had.
 */
pid_t nursery_make(struct nursery *nursery, pid_t wanted, void (*life)(void *), void *arg);

/* Waits for a child, in two steps or in one. */
void nursery_start_reaping(struct nursery *nursery, pid_t pid);
int nursery_reaped(struct nursery *nursery);
int nursery_reap(struct nursery *nursery, pid_t pid);

/* In a child that runs on: signals mean what they mean to others, and it does not live for ever. */
void begin_life(void);

/* Lives: waits to be killed. */
void wait_to_be_killed(void *arg);

#endif
