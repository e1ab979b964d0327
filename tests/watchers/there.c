/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * there.c - a file that nobody refers to: nothing but its watchers is in it.
 */
#include "watchers.h"

static int aardvark(const struct knell_event *event, void *userdata)
{
	(void)event;
	return called_add(userdata, "aardvark");
}

KNELL_WATCHER(exit, aardvark);
KNELL_WATCHER(exec, aardvark);
