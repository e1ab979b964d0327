/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bad.c - plugins that must be refused, one for each macro that may be set: OTHER_ABI, OTHER_SIZE,
 * NO_INFO, NO_TABLE, NO_NAME, NO_WATCHER, NULL_ENTRY, OTHER_ENTRY, WRONG_KIND, OTHER_TABLE,
 * UNRESOLVED.
 */
#include <knell/watcher.h>

#include <stddef.h>

#if defined(NULL_ENTRY) || defined(OTHER_ENTRY) || defined(WRONG_KIND)
/* What no macro makes. */
#ifdef OTHER_ENTRY
#define ENTRY_ABI (KNELL_WATCHER_ABI + 1)
#else
#define ENTRY_ABI KNELL_WATCHER_ABI
#endif
#ifdef WRONG_KIND
#define ENTRY_KIND KNELL_EXEC
#else
#define ENTRY_KIND KNELL_EXIT
#endif
__attribute__((section("knell_exit"), used)) static const struct knell_watcher_entry entry = {
	.size = sizeof(entry),
	.abi = ENTRY_ABI,
	.kind = ENTRY_KIND,
};
#elif defined(UNRESOLVED)
int function_that_nobody_has(const struct knell_event *event, void *userdata);
KNELL_WATCHER(exit, function_that_nobody_has);
#elif !defined(NO_WATCHER)
static int on_exit(const struct knell_event *event, void *userdata)
{
	(void)event;
	(void)userdata;
	return 0;
}
KNELL_WATCHER(exit, on_exit);
#endif

#ifdef OTHER_TABLE
static const struct knell_table table = { .size = sizeof(table), .abi = KNELL_WATCHER_ABI + 1 };
#define TABLE (&table)
#elif defined(NO_TABLE)
#define TABLE NULL
#else
#define TABLE KNELL_TABLE
#endif

#ifndef NO_INFO
extern const struct knell_plugin_info knell_plugin_info;
__attribute__((visibility("default"))) const struct knell_plugin_info knell_plugin_info = {
#ifdef OTHER_SIZE
	.size = sizeof(knell_plugin_info) + 8,
#else
	.size = sizeof(knell_plugin_info),
#endif
#ifdef OTHER_ABI
	.abi = KNELL_WATCHER_ABI + 1,
#else
	.abi = KNELL_WATCHER_ABI,
#endif
#ifndef NO_NAME
	.name = "bad",
#endif
	.table = TABLE,
};
#endif
