/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * with.h - --with=NAME[:OPTION,...]: watchers that come with Knell, attached by their names. A new
 * one is a line in the table of with.c.
 */
#ifndef KNELL_CLI_WITH_H
#define KNELL_CLI_WITH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <knell/knell.h>

/* What --help says of it. */
#define WITH_HELP                                                                                  \
	"  --with=NAME[:OPTION,...]  attach a watcher: audit (a log of all events), verify\n"

struct with;

struct with_list {
	struct with *all; /* in the order in which they were named */
	size_t count;
};

/* What the user wants to hear of. */
struct with_wish {
	uint32_t kinds; /* KNELL_MASK() */
	bool threads;
};

/*
 * Adds one, by the option's text, and adds to `engine_flags` (KNELL_O_*) what it needs of the
 * engine. 0, or -errno after a complaint: no such watcher, or options that make no sense to it.
 */
int with_add(struct with_list *list, const char *text, uint32_t *engine_flags);

/* Does SIGHUP mean that one of them opens its file again? */
bool with_takes_hangup(const struct with_list *list);

/* Attaches all to the engine. 0, or -errno after a complaint. */
int with_open(struct with_list *list, struct knell_engine *engine, const struct with_wish *wish);

/* After each knell_dispatch(). */
void with_flush(struct with_list *list);

void with_reopen(struct with_list *list);

/* When all is over; dispatches the engine for a moment, so whoever listens must still be there. */
void with_last_look(struct with_list *list);

/*
 * Closes those that are open, before the engine and after the last knell_dispatch(); what went
 * wrong is said on stderr. Returns nonzero if the command should end with 125, if it was to be 0.
 */
int with_close(struct with_list *list);

#endif
