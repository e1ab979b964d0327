/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_why.h - what the parts of the unit test of `knell why` share: logs written line by line, and
 * what is made of them.
 */
#ifndef KNELL_TESTS_UNIT_TEST_WHY_H
#define KNELL_TESTS_UNIT_TEST_WHY_H

#include "cli/why.h"
#include "main.h"

/* Adds a line to the log of this test. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "2026-11-20T00:MM:SS.000000000Z", to be put into a line at once. */
const char *at(unsigned int second);
uint64_t at_ns(unsigned int second);

/* Lines of one process, each in ring 0 with the next number. */
void log_birth(unsigned int second, unsigned int pid, unsigned int parent, const char *comm);
void log_exec(unsigned int second, unsigned int pid, const char *path, const char *args);
void log_code(unsigned int second, unsigned int pid, const char *comm, int code);
void log_killed(unsigned int second, unsigned int pid, const char *comm, int signo,
		unsigned int sender, const char *sender_comm);
void log_gap(unsigned int second, unsigned int births, unsigned int deaths, unsigned int others);
void log_start(unsigned int second, const char *boot_id);
void log_summary(unsigned int second);

/* The next number; a jump is a loss. */
void log_set_number(unsigned int number);

/* What `knell why TARGET` says about the log; all if `all`. Free it. */
char *ask(const char *target, bool all, int *ret_status);

/* Fails the test, showing it, unless the answer has this text, has it not. */
void expect_text(const char *answer, const char *wanted);
void expect_no_text(const char *answer, const char *unwanted);

/* What was complained about last. */
const char *last_complaint(void);

void add_log_tests(TCase *tcase);
void add_time_tests(TCase *tcase);

#endif
