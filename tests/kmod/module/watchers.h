/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watchers.h - see watchers.c.
 */
#ifndef KNELL_TEST_WATCHERS_H
#define KNELL_TEST_WATCHERS_H

int watchers_join(void);
void watchers_leave(void);

#endif
