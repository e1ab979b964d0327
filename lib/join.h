/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * join.h - tables of watchers that the linker gathered, as plugins need them: checked, and taken
 * out of an engine without waiting.
 */
#ifndef KNELL_JOIN_H
#define KNELL_JOIN_H

#include <knell/watcher.h>

/* How many entries it has, and for which kinds (may be NULL); or -EINVAL. */
int join_check(const struct knell_table *table, uint32_t *ret_kinds);

/* How many left, or -ENOMEM: then they are still there. Follow it by table_settle(). */
int join_leave(struct knell_engine *engine, const struct knell_table *table);

#endif
