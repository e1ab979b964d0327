/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * counting.c - a plugin that counts calls where its arguments say, as "%p" writes it.
 */
#include <knell/watcher.h>

#include <errno.h>
#include <stdio.h>

#include "counting.h"

static int on_exit(const struct knell_event *event, void *userdata)
{
	struct counting *counting = userdata;

	(void)event;
	__atomic_fetch_add(&counting->exits, 1, __ATOMIC_RELAXED);
	if (counting->finis == counting->inits)
		__atomic_fetch_add(&counting->in_fini, 1, __ATOMIC_RELAXED);
	if (counting->on_exit)
		counting->on_exit(counting->data);
	return 0;
}

static int on_free(const struct knell_event *event, void *userdata)
{
	struct counting *counting = userdata;

	(void)event;
	__atomic_fetch_add(&counting->frees, 1, __ATOMIC_RELAXED);
	return -EIO;
}

static int init(struct knell_engine *engine, const char *args, void **ret_userdata)
{
	void *place = NULL;
	struct counting *counting;

	(void)engine;
	if (sscanf(args, "%p", &place) != 1)
		return -EINVAL;
	counting = place;
	if (counting->refuse)
		return counting->refuse;
	counting->inits++;
	*ret_userdata = counting;
	return 0;
}

static void fini(void *userdata)
{
	struct counting *counting = userdata;

	counting->finis++;
}

KNELL_WATCHER(exit, on_exit);
KNELL_WATCHER(free, on_free);
KNELL_PLUGIN_INIT("counting", init, fini);
