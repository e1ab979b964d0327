/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_table.h - what the two files of test_table have of each other.
 */
#ifndef KNELL_TESTS_UNIT_TEST_TABLE_H
#define KNELL_TESTS_UNIT_TEST_TABLE_H

#include <knell/watcher.h>

#define OTHER_WATCHERS 1

/* Notes in the userdata of the test that a watcher was called. */
int hear_letter(void *userdata, char letter);

/* Watchers to be added: they note 1 and 2. */
int added_a(const struct knell_event *event, void *userdata);
int added_b(const struct knell_event *event, void *userdata);

/* KNELL_TABLE, as the other file has it. */
const struct knell_table *other_table(void);

#endif
