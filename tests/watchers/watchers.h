/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watchers.h - what the files of the program have of each other, as C99 and as C++.
 */
#ifndef KNELL_TESTS_WATCHERS_H
#define KNELL_TESTS_WATCHERS_H

#include <knell/watcher.h>

/* The userdata: which watchers of exit were called, by name, in this order. */
struct called {
	char names[256];
};

int called_add(void *userdata, const char *name);

/* here.c: the table of the program or shared object that it is in. */
const struct knell_table *table_here(void);

#endif
