/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * main.h - what each file of unit tests has in common: it defines unit_suite(), and main.c runs it
 * with a process for each test and TAP on standard output.
 */
#ifndef KNELL_TESTS_UNIT_MAIN_H
#define KNELL_TESTS_UNIT_MAIN_H

#include <check.h>

Suite *unit_suite(void);

/* A group of tests with a time limit of 40 s each, in the suite. */
TCase *unit_case(Suite *suite, const char *name);

/* How long something may take that takes no time at all: more on a slow machine, as Check has it.
 */
double unit_patience(void);

/* The whole of a file, ending in a NUL; `ret_len` may be NULL. Fails the test if it cannot. */
char *unit_read_file(const char *path, size_t *ret_len);

#endif
