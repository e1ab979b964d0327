/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_table_other.c - a second file with watchers, one of them of a name that the first has, too.
 */
#include "test_table.h"

static int own_name(const struct knell_event *event, void *userdata)
{
	(void)event;
	return hear_letter(userdata, 'O');
}

KNELL_WATCHER(exit, own_name);

int added_a(const struct knell_event *event, void *userdata)
{
	(void)event;
	return hear_letter(userdata, '1');
}

int added_b(const struct knell_event *event, void *userdata)
{
	(void)event;
	return hear_letter(userdata, '2');
}

const struct knell_table *other_table(void)
{
	return KNELL_TABLE;
}
