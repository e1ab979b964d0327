// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - loads and unloads the module.
 *
 * Owns the order. Loading: the table, the hooks' places, the reapers, and last the device, so that
 * whoever opens it finds all of it. Unloading: the device, and the hooks that modules held; those
 * of sessions went with them; nobody is in a probe; the reapers drain what is left; all memory
 * comes back.
 */
#include <linux/module.h>
#include <linux/tracepoint.h>

#include "engine.h"

static int __init knell_load(void)
{
	int error = knell_table_init();

	if (error)
		return error;
	error = knell_hooks_find();
	if (error)
		goto no_table;
	error = knell_roots_start();
	if (error)
		goto no_table;
	error = knell_calls_start();
	if (error)
		goto no_roots;
	error = knell_reapers_start();
	if (error)
		goto no_calls;
	error = knell_device_init();
	if (error)
		goto no_reapers;
	return 0;
no_reapers:
	knell_reapers_stop();
no_calls:
	knell_calls_stop();
no_roots:
	knell_roots_stop();
no_table:
	knell_table_exit();
	return error;
}

static void __exit knell_unload(void)
{
	knell_device_exit();
	knell_task_watches_stop();
	tracepoint_synchronize_unregister();
	knell_reapers_stop();
	knell_calls_stop();
	knell_roots_stop();
	knell_table_exit();
}

module_init(knell_load);
module_exit(knell_unload);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("The Knell authors");
MODULE_DESCRIPTION("Knell: tells of the births, execs and deaths of watched tasks, and loses none");
MODULE_VERSION(KNELL_VERSION);
