/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_table.c - the dispatch table over a fake source: static and dynamic watchers, their order,
 * filters, coming and leaving at any moment, statistics, and that nobody can write to it. Watchers
 * of this file join by KNELL_TABLE; test_table_other.c has some more.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <knell/watcher.h>

#include "engine.h"
#include "main.h"
#include "story.h"
#include "table.h"
#include "test_table.h"

/* ---- static watchers ---- */

/* Which were called, one letter each, in this order. */
struct heard {
	char order[64];
	int n;
};

int hear_letter(void *userdata, char letter)
{
	struct heard *heard = userdata;

	ck_assert_int_lt(heard->n, (int)sizeof(heard->order) - 1);
	heard->order[heard->n++] = letter;
	return 0;
}

static int zebra(const struct knell_event *event, void *userdata)
{
	(void)event;
	return hear_letter(userdata, 'z');
}

static int aardvark(const struct knell_event *event, void *userdata)
{
	(void)event;
	return hear_letter(userdata, 'a');
}

static int first(const struct knell_event *event, void *userdata)
{
	(void)event;
	return hear_letter(userdata, 'f');
}

static int last(const struct knell_event *event, void *userdata)
{
	(void)event;
	hear_letter(userdata, 'l');
	return -EIO;
}

/* "own_name" of test_table_other.c is behind it: of one name, the file decides. */
static int own_name(const struct knell_event *event, void *userdata)
{
	(void)event;
	return hear_letter(userdata, 'o');
}

static int failures_only(const struct knell_event *event)
{
	return event->u.exit.status != 0;
}

static int on_failure(const struct knell_event *event, void *userdata)
{
	(void)event;
	return hear_letter(userdata, '!');
}

KNELL_WATCHER_PRIORITY(exit, last, 10);
KNELL_WATCHER(exit, zebra);
KNELL_WATCHER(exit, own_name);
KNELL_WATCHER_PRIORITY(exit, first, -10);
KNELL_WATCHER(exit, aardvark);
KNELL_WATCHER_FILTER(exit, on_failure, 20, failures_only);
KNELL_WATCHER(clone, zebra);
KNELL_WATCHER(exec, zebra);
KNELL_WATCHER(uid, aardvark);
KNELL_WATCHER(gid, aardvark);
KNELL_WATCHER(init, zebra);
KNELL_WATCHER(free, zebra);
KNELL_WATCHER(gap, aardvark);

#define OWN_WATCHERS 13
#define ALL_WATCHERS (OWN_WATCHERS + OTHER_WATCHERS)

static void tell_exit(struct story *s, struct heard *heard, int status, const char *expected)
{
	memset(heard, 0, sizeof(*heard));
	story_birth(s, 2, 1, "a");
	story_tell(s, story_exit(s, 2, status));
	story_dispatch(s);
	ck_assert_str_eq(heard->order, expected);
}

/* By priority, then name, then file; added ones are nameless and so the first of priority 0. */
START_TEST(test_order)
{
	struct story *s = story_begin();
	struct heard heard = { 0 };

	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &heard), ALL_WATCHERS);
	tell_exit(s, &heard, 0, "faoOzl");
	tell_exit(s, &heard, 1, "faoOzl!");
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_EXIT), added_b, &heard), 0);
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_EXIT), added_a, &heard), 0);
	tell_exit(s, &heard, 0, "f21aoOzl");
	story_end(s);
}
END_TEST

START_TEST(test_each_kind)
{
	struct story *s = story_begin();
	struct heard heard = { 0 };
	struct knell_event *e;

	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &heard), ALL_WATCHERS);
	for (unsigned int kind = KNELL_INIT; kind < KNELL_KIND_MAX; kind++) {
		ck_assert(knell_engine_wants(s->engine, kind));
		if (kind == KNELL_EXIT)
			continue;
		e = story_birth(s, 2, 1, "a");
		e->kind = (uint8_t)kind;
		story_tell(s, e);
	}
	story_dispatch(s);
	ck_assert_str_eq(heard.order, "zzzaaza");
	ck_assert_int_eq(knell_table_leave(s->engine, KNELL_TABLE), 0);
	for (unsigned int kind = KNELL_INIT; kind < KNELL_KIND_MAX; kind++)
		ck_assert(!knell_engine_wants(s->engine, kind));
	story_end(s);
}
END_TEST

START_TEST(test_join_and_leave)
{
	struct story *s = story_begin();
	struct heard heard = { 0 };

	ck_assert_int_eq(knell_table_leave(s->engine, KNELL_TABLE), -ENOENT);
	tell_exit(s, &heard, 0, "");
	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &heard), ALL_WATCHERS);
	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &heard), -EEXIST);
	ck_assert_int_eq(knell_table_join(s->engine, other_table(), &heard), -EEXIST);
	tell_exit(s, &heard, 0, "faoOzl");
	/* The table of another file of the same program is the same one. */
	ck_assert_int_eq(knell_table_leave(s->engine, other_table()), 0);
	tell_exit(s, &heard, 0, "");
	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &heard), ALL_WATCHERS);
	tell_exit(s, &heard, 0, "faoOzl");
	story_end(s);
}
END_TEST

/* Each engine has its own. */
START_TEST(test_two_engines)
{
	struct story *s = story_begin(), *t = story_begin();
	struct heard heard = { 0 }, other = { 0 };

	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &heard), ALL_WATCHERS);
	ck_assert_int_eq(knell_table_join(t->engine, KNELL_TABLE, &other), ALL_WATCHERS);
	ck_assert_int_eq(knell_table_leave(s->engine, KNELL_TABLE), 0);
	tell_exit(s, &heard, 0, "");
	tell_exit(t, &other, 0, "faoOzl");
	story_end(s);
	story_end(t);
}
END_TEST

static void expect_refused(struct story *s, const struct knell_table *table, const char *why)
{
	struct heard heard = { 0 };

	ck_assert_int_eq(knell_table_join(s->engine, table, &heard), -EINVAL);
	ck_assert_msg(strstr(knell_last_error(), why), "'%s' does not say '%s'", knell_last_error(),
		      why);
	tell_exit(s, &heard, 0, "");
}

START_TEST(test_bad_tables)
{
	struct story *s = story_begin();
	struct knell_table table = *KNELL_TABLE, empty = { 0 };
	struct knell_watcher_entry entry = { .size = sizeof(entry),
					     .abi = KNELL_WATCHER_ABI,
					     .kind = KNELL_UID };

	expect_refused(s, NULL, "KNELL_TABLE");
	table.abi++;
	expect_refused(s, &table, "ABI 2");
	table = *KNELL_TABLE;
	table.size += 8;
	expect_refused(s, &table, "size");
	/* One bad entry, and none of the others joins. */
	table = *KNELL_TABLE;
	table.of[KNELL_UID].first = &entry;
	table.of[KNELL_UID].end = &entry + 1;
	expect_refused(s, &table, "of uid has no function");
	entry.kind = KNELL_GID;
	expect_refused(s, &table, "says that it is of gid");
	entry.abi++;
	expect_refused(s, &table, "of ABI 2");
	empty.size = sizeof(empty);
	empty.abi = KNELL_WATCHER_ABI;
	ck_assert_int_eq(knell_table_join(s->engine, &empty, NULL), 0);
	ck_assert_int_eq(knell_table_leave(s->engine, &empty), 0);
	story_end(s);
}
END_TEST

/* ---- coming and leaving inside a watcher ---- */

struct changer {
	struct knell_engine *engine;
	struct heard heard;
	knell_watcher_fn removed;
	int result, calls;
};

static int remover(const struct knell_event *event, void *userdata)
{
	struct changer *changer = userdata;

	(void)event;
	changer->calls++;
	changer->result = knell_watcher_remove(changer->engine, changer->removed, changer);
	return 0;
}

static int victim(const struct knell_event *event, void *userdata)
{
	struct changer *changer = userdata;

	(void)event;
	return hear_letter(&changer->heard, 'v');
}

START_TEST(test_removes_itself)
{
	struct story *s = story_begin();
	struct changer changer = { .engine = s->engine, .removed = remover };

	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK_ALL, remover, &changer), 0);
	for (uint32_t i = 0; i < 5; i++)
		story_tell(s, story_birth(s, 10 + i, 1, "a"));
	ck_assert_int_eq(knell_dispatch(s->engine), 5);
	ck_assert_int_eq(changer.calls, 1);
	ck_assert_int_eq(changer.result, 0);
	ck_assert_int_eq(knell_watcher_remove(s->engine, remover, &changer), -ENOENT);
	story_end(s);
}
END_TEST

/* Who is removed by one before it is not called, not even for the record of this moment. */
START_TEST(test_removes_the_next)
{
	struct story *s = story_begin();
	struct changer changer = { .engine = s->engine, .removed = victim };

	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK_ALL, remover, &changer), 0);
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK_ALL, victim, &changer), 0);
	story_tell(s, story_birth(s, 2, 1, "a"));
	ck_assert_int_eq(knell_dispatch(s->engine), 1);
	ck_assert_int_eq(changer.calls, 1);
	ck_assert_int_eq(changer.result, 0);
	ck_assert_int_eq(changer.heard.n, 0);
	story_tell(s, story_birth(s, 3, 1, "a"));
	ck_assert_int_eq(knell_dispatch(s->engine), 1);
	ck_assert_int_eq(changer.result, -ENOENT);
	ck_assert_int_eq(changer.heard.n, 0);
	story_end(s);
}
END_TEST

static int leaver(const struct knell_event *event, void *userdata)
{
	struct changer *changer = userdata;

	(void)event;
	changer->calls++;
	changer->result = knell_table_leave(changer->engine, KNELL_TABLE);
	return 0;
}

START_TEST(test_table_leaves_inside)
{
	struct story *s = story_begin();
	struct changer changer = { .engine = s->engine };

	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &changer.heard), ALL_WATCHERS);
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_EXIT), leaver, &changer), 0);
	/* `first` was called before; all others are behind the leaver. */
	tell_exit(s, &changer.heard, 1, "f");
	ck_assert_int_eq(changer.result, 0);
	tell_exit(s, &changer.heard, 1, "");
	ck_assert_int_eq(changer.result, -ENOENT);
	story_end(s);
}
END_TEST

START_TEST(test_removes_by_userdata)
{
	struct story *s = story_begin();
	struct heard a = { 0 }, b = { 0 };

	knell_watcher_add(s->engine, KNELL_MASK_ALL, added_a, &a);
	knell_watcher_add(s->engine, KNELL_MASK_ALL, added_a, &b);
	knell_watcher_add(s->engine, KNELL_MASK(KNELL_EXIT), added_b, &a);
	ck_assert_int_eq(knell_watcher_remove(s->engine, added_a, &a), 0);
	ck_assert_int_eq(knell_watcher_remove(s->engine, added_a, &a), -ENOENT);
	ck_assert_int_eq(knell_watcher_remove(s->engine, added_b, &b), -ENOENT);
	ck_assert_str_ne(knell_last_error(), "");
	tell_exit(s, &a, 0, "2");
	ck_assert_str_eq(b.order, "1");
	story_end(s);
}
END_TEST

/* ---- and from another thread, while it runs ---- */

struct slow {
	int entered, may_end, ended; /* atomic */
};

static int slow_watcher(const struct knell_event *event, void *userdata)
{
	struct slow *slow = userdata;

	(void)event;
	__atomic_store_n(&slow->entered, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&slow->may_end, __ATOMIC_ACQUIRE))
		usleep(1000);
	usleep(20000); /* the remover is waiting by now, or it does not wait */
	__atomic_store_n(&slow->ended, 1, __ATOMIC_RELEASE);
	return 0;
}

static void *dispatch_thread(void *data)
{
	ck_assert_int_eq(knell_dispatch(data), 1);
	return NULL;
}

START_TEST(test_remove_waits)
{
	struct story *s = story_begin();
	struct slow slow = { 0 };
	pthread_t thread;

	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_CLONE), slow_watcher, &slow),
			 0);
	story_tell(s, story_birth(s, 2, 1, "a"));
	ck_assert_int_eq(pthread_create(&thread, NULL, dispatch_thread, s->engine), 0);
	while (!__atomic_load_n(&slow.entered, __ATOMIC_ACQUIRE))
		usleep(1000);
	__atomic_store_n(&slow.may_end, 1, __ATOMIC_RELEASE);
	ck_assert_int_eq(knell_watcher_remove(s->engine, slow_watcher, &slow), 0);
	ck_assert_int_eq(__atomic_load_n(&slow.ended, __ATOMIC_ACQUIRE), 1);
	pthread_join(thread, NULL);
	story_end(s);
}
END_TEST

/* ---- statistics ---- */

START_TEST(test_stats)
{
	struct story *s = story_begin();
	struct heard heard = { 0 };
	struct knell_watcher_stats stats;
	struct knell_stats sums;
	unsigned int index = 0, exits = 0, sampled = 0, nameless = 0;

	ck_assert_int_eq(knell_watcher_get_stats(s->engine, 0, &stats), -ENOENT);
	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &heard), ALL_WATCHERS);
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_EXIT), added_a, &heard), 0);
	for (int i = 0; i < 640; i++)
		tell_exit(s, &heard, 0, "f1aoOzl");
	for (; knell_watcher_get_stats(s->engine, index, &stats) == 0; index++) {
		ck_assert_uint_eq(stats.errors,
				  stats.kind == KNELL_EXIT && !strcmp(stats.name, "last") ? 640
											  : 0);
		nameless += !*stats.name;
		if (stats.kind != KNELL_EXIT) {
			ck_assert_uint_eq(stats.sampled, 0);
			continue;
		}
		exits++;
		if (!strcmp(stats.name, "on_failure")) {
			ck_assert_int_eq(stats.priority, 20);
			ck_assert_uint_eq(stats.sampled, 0);
			continue;
		}
		/* All are timed for the same records, one of 64 within what a hash makes of it. */
		ck_assert_uint_ge(stats.sampled, 5);
		ck_assert_uint_le(stats.sampled, 20);
		ck_assert(!sampled || stats.sampled == sampled);
		sampled = (unsigned int)stats.sampled;
		ck_assert_uint_ge(stats.ns, stats.slowest);
		ck_assert_uint_gt(stats.slowest, 0);
	}
	ck_assert_uint_eq(index, ALL_WATCHERS + 1);
	ck_assert_uint_eq(exits, 8);
	ck_assert_uint_eq(nameless, 1);
	/* The sum stays when they leave. */
	ck_assert_int_eq(knell_table_leave(s->engine, KNELL_TABLE), 0);
	knell_get_stats(s->engine, &sums);
	ck_assert_uint_eq(sums.watcher_errors, 640);
	ck_assert_int_eq(knell_watcher_get_stats(s->engine, 1, &stats), -ENOENT);
	story_end(s);
}
END_TEST

static int sleeper(const struct knell_event *event, void *userdata)
{
	(void)event;
	(void)userdata;
	usleep(2000);
	return 0;
}

/* Is the quick one's time less? It is not if somebody else had the CPU while it was called. */
static bool only_slow_shows(void)
{
	struct story *s = story_begin();
	struct heard heard = { 0 };
	struct knell_watcher_stats slow, quick;

	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_EXIT), sleeper, NULL), 0);
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_EXIT), added_a, &heard), 0);
	for (int i = 0; i < 256; i++)
		tell_exit(s, &heard, 0, "1");
	ck_assert_int_eq(knell_watcher_get_stats(s->engine, 0, &slow), 0);
	ck_assert_int_eq(knell_watcher_get_stats(s->engine, 1, &quick), 0);
	ck_assert_uint_gt(slow.sampled, 0);
	ck_assert_uint_ge(slow.ns, slow.sampled * 2000000);
	ck_assert_uint_ge(slow.slowest, 2000000);
	story_end(s);
	return quick.ns < slow.ns;
}

/* A slow watcher shows, and only that one. */
START_TEST(test_slow_shows)
{
	int tries = 0;

	while (!only_slow_shows())
		ck_assert_int_lt(++tries, 5);
}
END_TEST

/* ---- nobody can write to it ---- */

static void expect_fault(const void *place)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		volatile char *byte = (volatile char *)(uintptr_t)place;

		signal(SIGSEGV, SIG_DFL); /* a sanitizer may handle it */
		*byte = 0;
		_exit(0);
	}
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %#x", status);
}

START_TEST(test_section_is_read_only)
{
	for (unsigned int kind = KNELL_INIT; kind < KNELL_KIND_MAX; kind++) {
		ck_assert_ptr_nonnull(KNELL_TABLE->of[kind].first);
		expect_fault(KNELL_TABLE->of[kind].first);
	}
}
END_TEST

START_TEST(test_page_is_sealed)
{
	struct story *s = story_begin();
	struct heard heard = { 0 };

	expect_fault(table_page(s->engine->table));
	ck_assert_int_eq(knell_table_join(s->engine, KNELL_TABLE, &heard), ALL_WATCHERS);
	expect_fault(table_page(s->engine->table));
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_EXIT), added_a, &heard), 0);
	expect_fault(table_page(s->engine->table));
	ck_assert_int_eq(knell_watcher_remove(s->engine, added_a, &heard), 0);
	expect_fault(table_page(s->engine->table));
	tell_exit(s, &heard, 0, "faoOzl");
	story_end(s);
}
END_TEST

/* More than a page of them, in an order that is not that of adding. */
START_TEST(test_many)
{
	struct story *s = story_begin();
	static struct heard heard[300];
	uint64_t sum = 0;

	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK_ALL, added_a, &heard[i]),
				 0);
	story_tell(s, story_birth(s, 2, 1, "a"));
	story_dispatch(s);
	for (int i = 0; i < 300; i += 3)
		ck_assert_int_eq(knell_watcher_remove(s->engine, added_a, &heard[i]), 0);
	story_tell(s, story_birth(s, 3, 1, "a"));
	story_dispatch(s);
	for (int i = 0; i < 300; i++) {
		ck_assert_int_eq(heard[i].n, i % 3 ? 2 : 1);
		sum += (uint64_t)heard[i].n;
	}
	ck_assert_uint_eq(sum, 500);
	story_end(s);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("table");
	TCase *tcase = unit_case(suite, "static watchers");

	tcase_add_test(tcase, test_order);
	tcase_add_test(tcase, test_each_kind);
	tcase_add_test(tcase, test_join_and_leave);
	tcase_add_test(tcase, test_two_engines);
	tcase_add_test(tcase, test_bad_tables);
	tcase = unit_case(suite, "leaving");
	tcase_add_test(tcase, test_removes_itself);
	tcase_add_test(tcase, test_removes_the_next);
	tcase_add_test(tcase, test_table_leaves_inside);
	tcase_add_test(tcase, test_removes_by_userdata);
	tcase_add_test(tcase, test_remove_waits);
	tcase_add_test(tcase, test_many);
	tcase = unit_case(suite, "statistics");
	tcase_add_test(tcase, test_stats);
	tcase_add_test(tcase, test_slow_shows);
	tcase = unit_case(suite, "read-only");
	tcase_add_test(tcase, test_section_is_read_only);
	tcase_add_test(tcase, test_page_is_sealed);
	return suite;
}
