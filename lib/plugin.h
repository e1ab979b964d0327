/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * plugin.h - what the engine does with its plugins; the rest is in <knell/watcher.h>.
 */
#ifndef KNELL_PLUGIN_H
#define KNELL_PLUGIN_H

struct knell_engine;

/* Unloads all that are left. Nobody may dispatch any more. */
void plugins_close(struct knell_engine *engine);

#endif
