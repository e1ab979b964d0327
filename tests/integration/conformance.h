/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * conformance.h - the parts of the suite that every source has to pass; see test_conformance.c.
 */
#ifndef KNELL_TEST_CONFORMANCE_H
#define KNELL_TEST_CONFORMANCE_H

#include <check.h>

void add_watch_tests(TCase *tcase); /* conformance_watch.c */
void add_loss_tests(TCase *tcase);  /* conformance_loss.c */

/* A stranger that is dead, but not waited for, when it is watched. */
void watch_a_zombie(void);

#endif
