/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * reap.h - knell_reap() where the source does not reap, for engine.c.
 */
#ifndef KNELL_REAP_H
#define KNELL_REAP_H

#include <knell/knell.h>

#include "source/source.h"

/* 0 or -errno, with the reason filled in. */
int knell_reap_open(struct knell_engine *engine, const struct knell_source_ops *ops);
void knell_reap_close(struct knell_engine *engine);

/* An exit record: is it that of a child? */
void knell_reap_hear(struct knell_engine *engine, const struct knell_event *event);

/* The engine's descriptor is not readable any more on account of a look that was due. */
void knell_reap_clear(struct knell_engine *engine);

void knell_reap_stats(const struct knell_engine *engine, struct knell_stats *stats);

#endif
