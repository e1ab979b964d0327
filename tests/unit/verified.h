/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verified.h - a story that verify listens to, for the tests of verify: records get the numbers
 * that the engine would give them, and what verify says is kept. One at a time.
 */
#ifndef KNELL_TESTS_UNIT_VERIFIED_H
#define KNELL_TESTS_UNIT_VERIFIED_H

#include "story.h"
#include "watchers/verify.h"

/* What bpf can, as far as verify cares. */
#define VERIFIED_CAN                                                                               \
	(KNELL_CAN_FORK | KNELL_CAN_WATCH | KNELL_CAN_STREAM | KNELL_CAN_IDS | KNELL_CAN_OWNER |   \
	 KNELL_CAN_THREADS)
#define VERIFIED_ASKED (KNELL_O_THREADS | KNELL_O_FREE | KNELL_O_IDS)

extern struct story *story;
extern struct verify *verify;
extern uint64_t numbers[4]; /* the next one of each ring */

/* Begins with these; zero means the usual. */
void begin(void);
void begin_with(const struct verify_options *options);

/* Numbers it, and lets verify hear it. */
void tell(struct knell_event *event);

/* A birth or an init with the start that it had in an earlier record. */
struct knell_event *birth_again(uint32_t pid, uint32_t parent, int kind);

/* All its uids change from these to those. */
struct knell_event *set_uids(uint32_t pid, uint32_t old, uint32_t new);

void born(uint32_t pid, uint32_t parent);
void born_and_run(uint32_t pid, uint32_t parent); /* exec, too */
void thread_born(uint32_t pid, uint32_t tid);
void thread_dies(uint32_t pid, uint32_t tid);
void dies(uint32_t pid); /* exits 0 */
void freed(uint32_t pid);
void gap(uint64_t births, uint64_t deaths, uint64_t others, unsigned int cause);

/* From now on nobody with this number is alive, whatever the records say. */
void gone(uint32_t pid);

/*
 * The end: verify says so many times that something is wrong, and what it said contains `words`
 * (NULL: anything). Frees all.
 */
void expect(unsigned int violations, const char *words);
void expect_fine(void);

#endif
