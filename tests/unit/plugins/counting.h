/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * counting.h - what the tests and their plugins share: the plugin is told by its arguments where to
 * count. Both are in one process.
 */
#ifndef KNELL_TESTS_UNIT_COUNTING_H
#define KNELL_TESTS_UNIT_COUNTING_H

#include <stdint.h>

/* Plain stores of the plugin, read when it is gone; calls may be counted by several threads. */
struct counting {
	uint64_t inits, finis;
	uint64_t exits, frees;       /* atomic: calls */
	int refuse;                  /* what init returns */
	int in_fini;                 /* calls that came after fini: atomic */
	void (*on_exit)(void *data); /* called by the watcher of exit; NULL: nothing */
	void *data;
};

#endif
