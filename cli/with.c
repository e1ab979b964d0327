/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * with.c - the watchers that --with knows, and those that were asked for; see with.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "with.h"
#include "with_audit.h"
#include "with_verify.h"

/* All of these complain by themselves. `options` is NULL where none were given. */
struct watcher_type {
	const char *name;

	/* Before the engine is opened; may be NULL: then it has no options. 0 or -errno. */
	int (*check)(const char *options, uint32_t *ret_engine_flags);
	int (*open)(void **ret, struct knell_engine *engine, const struct with_wish *wish,
		    const char *options);
	void (*flush)(void *state);  /* after each dispatch; may be NULL */
	void (*reopen)(void *state); /* at SIGHUP; may be NULL */
	/* When all is over, but may still be dispatched; may be NULL. */
	void (*last_look)(void *state);
	/* Nonzero: the command ends with 125, if it was to be 0. */
	int (*close)(void *state, const char *options);
};

static const struct watcher_type types[] = {
	{ "audit", with_audit_check, with_audit_open, with_audit_flush, with_audit_reopen, NULL,
	  with_audit_close },
	{ "verify", NULL, with_verify_open, NULL, NULL, with_verify_last_look, with_verify_close },
};

#define TYPES (sizeof(types) / sizeof(types[0]))

struct with {
	const struct watcher_type *type;
	const char *options;
	void *state; /* NULL: it is not open */
};

static const struct watcher_type *find(const char *name, size_t len)
{
	for (size_t i = 0; i < TYPES; i++) {
		if (strlen(types[i].name) == len && memcmp(types[i].name, name, len) == 0)
			return &types[i];
	}
	return NULL;
}

static void complain_of_name(const char *name, size_t len)
{
	char known[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < TYPES && used < sizeof(known); i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
					 types[i].name);
	complain("--with: there is no watcher '%.*s'; known are: %s", (int)len, name, known);
}

static int check(const struct watcher_type *type, const char *options, uint32_t *engine_flags)
{
	uint32_t needed = 0;
	int r;

	if (!type->check && options) {
		complain("--with=%s: it has no options", type->name);
		return -EINVAL;
	}
	r = type->check ? type->check(options, &needed) : 0;
	*engine_flags |= needed;
	return r;
}

int with_add(struct with_list *list, const char *text, uint32_t *engine_flags)
{
	size_t len = strcspn(text, ":");
	const struct watcher_type *type = find(text, len);
	const char *options = text[len] ? text + len + 1 : NULL;
	struct with *grown;
	int r;

	if (!type) {
		complain_of_name(text, len);
		return -EINVAL;
	}
	r = check(type, options, engine_flags);
	if (r < 0)
		return r;
	grown = reallocarray(list->all, list->count + 1, sizeof(*grown));
	if (!grown) {
		complain("--with: no memory");
		return -ENOMEM;
	}
	list->all = grown;
	grown[list->count++] = (struct with){ .type = type, .options = options };
	return 0;
}

bool with_takes_hangup(const struct with_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->all[i].type->reopen)
			return true;
	}
	return false;
}

int with_open(struct with_list *list, struct knell_engine *engine, const struct with_wish *wish)
{
	for (size_t i = 0; i < list->count; i++) {
		struct with *w = &list->all[i];
		int r = w->type->open(&w->state, engine, wish, w->options);

		if (r < 0)
			return r;
	}
	return 0;
}

void with_flush(struct with_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->all[i].state && list->all[i].type->flush)
			list->all[i].type->flush(list->all[i].state);
	}
}

void with_reopen(struct with_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->all[i].state && list->all[i].type->reopen)
			list->all[i].type->reopen(list->all[i].state);
	}
}

void with_last_look(struct with_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->all[i].state && list->all[i].type->last_look)
			list->all[i].type->last_look(list->all[i].state);
	}
}

int with_close(struct with_list *list)
{
	int failed = 0;

	for (size_t i = 0; i < list->count; i++) {
		struct with *w = &list->all[i];

		if (w->state && w->type->close(w->state, w->options))
			failed = 1;
	}
	free(list->all);
	*list = (struct with_list){ 0 };
	return failed;
}
