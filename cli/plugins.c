/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * plugins.c - --plugin=FILE[:ARGS]: plugins that join the engine of a subcommand. Whoever was named
 * must load, else nothing is started. It owns nothing: the engine owns what is loaded.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <knell/watcher.h>

#include "cli.h"
#include "plugins.h"

int plugins_option(struct plugins *plugins, const char *text)
{
	if (!*text || *text == ':') {
		complain("--plugin: '%s' names no file", text);
		return -EINVAL;
	}
	if (plugins->count == PLUGINS_MAX) {
		complain("--plugin: at most %d of them", PLUGINS_MAX);
		return -EINVAL;
	}
	plugins->given[plugins->count++] = text;
	return 0;
}

/* The file, to be freed, and what follows the first colon; NULL: no memory, after a complaint. */
static char *split(const char *given, const char **ret_args)
{
	size_t len = strcspn(given, ":");
	char *file = strndup(given, len);

	if (!file) {
		complain("no memory for a plugin");
		return NULL;
	}
	*ret_args = given[len] ? given + len + 1 : NULL;
	return file;
}

int plugins_flags(const struct plugins *plugins, uint32_t *flags)
{
	for (size_t i = 0; i < plugins->count; i++) {
		const char *args;
		char *file = split(plugins->given[i], &args);
		uint32_t kinds = 0;
		int r;

		if (!file)
			return -ENOMEM;
		r = knell_plugin_kinds(file, &kinds);
		free(file);
		if (r < 0) {
			complain("--plugin: %s", knell_last_error());
			return -EINVAL;
		}
		if (kinds & KNELL_MASK(KNELL_FREE))
			*flags |= KNELL_O_FREE;
		if (kinds & (KNELL_MASK(KNELL_UID) | KNELL_MASK(KNELL_GID)))
			*flags |= KNELL_O_IDS;
	}
	return 0;
}

int plugins_load(const struct plugins *plugins, struct knell_engine *engine)
{
	for (size_t i = 0; i < plugins->count; i++) {
		const char *args;
		char *file = split(plugins->given[i], &args);
		int r;

		if (!file)
			return -ENOMEM;
		r = knell_plugin_load(engine, NULL, file, args);
		free(file);
		if (r < 0) {
			complain("--plugin: %s", knell_last_error());
			return -EINVAL;
		}
	}
	return 0;
}
