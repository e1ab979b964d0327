/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_plugin_storm.c - plugins and watchers come and leave 10,000 times while several threads tell
 * records, as the reapers of an engine do. It is for the sanitizers as much as for itself: a call
 * into an unloaded plugin, or a walk over freed memory, ends the test in each build.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <knell/watcher.h>

#include "engine.h"
#include "main.h"
#include "plugins/counting.h"
#include "story.h"
#include "table.h"

#define CYCLES  10000
#define TELLERS 2
#define BURST   32
#define LIMIT   900 /* seconds: only a hang reaches it */

struct storm {
	struct table *table;
	struct knell_engine *engine;
	int over;                 /* atomic */
	uint64_t told, heard;     /* atomic */
	uint64_t changes, failed; /* of the watcher that changes the table; atomic */
};

static void *tell_records(void *data)
{
	struct storm *storm = data;
	struct knell_event event = { .kind = KNELL_EXIT };

	while (!__atomic_load_n(&storm->over, __ATOMIC_ACQUIRE)) {
		for (int i = 0; i < BURST; i++, event.seq++) {
			event.kind = i % 2 ? KNELL_EXIT : KNELL_FREE;
			table_tell(storm->table, &event);
		}
		__atomic_fetch_add(&storm->told, BURST, __ATOMIC_RELAXED);
		sched_yield();
	}
	return NULL;
}

static int always_there(const struct knell_event *event, void *userdata)
{
	struct storm *storm = userdata;

	(void)event;
	__atomic_fetch_add(&storm->heard, 1, __ATOMIC_RELAXED);
	return 0;
}

static int comes_and_goes(const struct knell_event *event, void *userdata)
{
	(void)userdata;
	return event->kind == KNELL_FREE ? -EIO : 0;
}

/* Now and then the table changes inside a watcher, too. */
static int changes_the_table(const struct knell_event *event, void *userdata)
{
	static _Thread_local char mine; /* each teller adds and removes its own */
	struct storm *storm = userdata;

	if (event->seq % 500 != 1)
		return 0;
	__atomic_fetch_add(&storm->changes, 1, __ATOMIC_RELAXED);
	if (knell_watcher_add(storm->engine, KNELL_MASK(KNELL_FREE), comes_and_goes, &mine) < 0 ||
	    knell_watcher_remove(storm->engine, comes_and_goes, &mine) < 0)
		__atomic_fetch_add(&storm->failed, 1, __ATOMIC_RELAXED);
	return 0;
}

static void cycle(struct storm *storm, const char *path)
{
	struct counting *counting = calloc(1, sizeof(*counting)); /* each has its own: freed */
	struct knell_plugin *plugin = NULL;
	char args[64];

	ck_assert_ptr_nonnull(counting);
	snprintf(args, sizeof(args), "%p", (void *)counting);
	ck_assert_msg(knell_plugin_load(storm->engine, &plugin, path, args) == 0, "%s",
		      knell_last_error());
	ck_assert_int_eq(knell_watcher_add(storm->engine, KNELL_MASK_ALL, comes_and_goes, storm),
			 0);
	ck_assert_int_eq(knell_watcher_remove(storm->engine, comes_and_goes, storm), 0);
	ck_assert_ptr_null(knell_plugin_unload(plugin));
	ck_assert_uint_eq(counting->finis, 1);
	ck_assert_int_eq(counting->in_fini, 0);
	free(counting);
}

START_TEST(test_storm)
{
	const char *folder = getenv("KNELL_TEST_PLUGINS");
	struct story *s = story_begin();
	struct storm storm = { .engine = s->engine, .table = s->engine->table };
	pthread_t tellers[TELLERS];
	char path[4096];

	ck_assert_msg(folder, "KNELL_TEST_PLUGINS is not set");
	snprintf(path, sizeof(path), "%s/counting.so", folder);
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK_ALL, always_there, &storm), 0);
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK_ALL, changes_the_table, &storm),
			 0);
	for (int i = 0; i < TELLERS; i++)
		ck_assert_int_eq(pthread_create(&tellers[i], NULL, tell_records, &storm), 0);
	for (int i = 0; i < CYCLES; i++)
		cycle(&storm, path);
	__atomic_store_n(&storm.over, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < TELLERS; i++)
		pthread_join(tellers[i], NULL);
	/* Whoever stayed heard every record. */
	ck_assert_uint_eq(storm.heard, storm.told);
	ck_assert_uint_gt(storm.changes, 0);
	ck_assert_uint_eq(storm.failed, 0);
	story_end(s);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("plugin_storm");
	TCase *tcase = unit_case(suite, "storm");

	tcase_set_timeout(tcase, LIMIT);
	tcase_add_test(tcase, test_storm);
	return suite;
}
