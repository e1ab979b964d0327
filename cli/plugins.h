/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * plugins.h - the --plugin options of a subcommand.
 */
#ifndef KNELL_CLI_PLUGINS_H
#define KNELL_CLI_PLUGINS_H

#include <stddef.h>

#include <knell/knell.h>

/* More than anybody has use for. */
#define PLUGINS_MAX 64

struct plugins {
	const char *given[PLUGINS_MAX]; /* FILE[:ARGS], as on the command line */
	size_t count;
};

/* One more --plugin. 0, or -EINVAL after a complaint. */
int plugins_option(struct plugins *plugins, const char *text);

/*
 * Before the engine is opened: the flags of knell_open() (KNELL_O_FREE, KNELL_O_IDS) without which
 * watchers of these plugins would hear nothing, added to `flags`. 0, or -EINVAL or -ENOMEM after a
 * complaint: whatever was wrong, Knell failed, and not the process that it is about.
 */
int plugins_flags(const struct plugins *plugins, uint32_t *flags);

/* They join the engine, which unloads them when it is closed. 0, or as above. */
int plugins_load(const struct plugins *plugins, struct knell_engine *engine);

#endif
