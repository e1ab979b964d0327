/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * here.c - watchers of all kinds, static functions and others, in an order that is not the one in
 * which they are to be called.
 */
#include "watchers.h"

#include <string.h>

int called_add(void *userdata, const char *name)
{
	struct called *called = (struct called *)userdata;

	if (called && strlen(called->names) + strlen(name) + 2 < sizeof(called->names)) {
		strcat(called->names, " ");
		strcat(called->names, name);
	}
	return 0;
}

const struct knell_table *table_here(void)
{
	return KNELL_TABLE;
}

/* Not static, and defined behind its watcher. */
int zebra(const struct knell_event *event, void *userdata);

static int first(const struct knell_event *event, void *userdata)
{
	(void)event;
	return called_add(userdata, "first");
}

static int last(const struct knell_event *event, void *userdata)
{
	(void)event;
	return called_add(userdata, "last");
}

static int never(const struct knell_event *event, void *userdata)
{
	(void)event;
	return called_add(userdata, "never");
}

static int nobody(const struct knell_event *event)
{
	return event->task.tgid == 0;
}

static int filtered(const struct knell_event *event, void *userdata)
{
	(void)event;
	return called_add(userdata, "filtered");
}

static int of_a_process(const struct knell_event *event)
{
	return event->scope == KNELL_PROCESS;
}

KNELL_WATCHER_PRIORITY(exit, last, 2147483647);
KNELL_WATCHER(exit, zebra);
KNELL_WATCHER_FILTER(exit, never, -1, nobody);
KNELL_WATCHER_FILTER(exit, filtered, 1, of_a_process);
KNELL_WATCHER_PRIORITY(exit, first, -2147483647 - 1);
KNELL_WATCHER(init, zebra);
KNELL_WATCHER(clone, first);
KNELL_WATCHER(exec, first);
KNELL_WATCHER(uid, first);
KNELL_WATCHER(free, first);
KNELL_WATCHER(gap, first);

int zebra(const struct knell_event *event, void *userdata)
{
	(void)event;
	return called_add(userdata, "zebra");
}
