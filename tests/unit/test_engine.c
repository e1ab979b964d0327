/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_engine.c - the engine over a fake source: options, order, masks, numbers, counters.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_source.h"
#include "main.h"
#include "source/source.h"
#include "story.h"

struct seen {
	int n;
	int kinds[64];
	uint64_t seqs[64];
	int name; /* of the watcher, in `order` */
	int *order;
	int *order_n;
	int returns;
};

static int see(const struct knell_event *e, void *userdata)
{
	struct seen *seen = userdata;

	ck_assert_int_lt(seen->n, 64);
	ck_assert_uint_eq(e->version, KNELL_EVENT_VERSION);
	seen->kinds[seen->n] = e->kind;
	seen->seqs[seen->n++] = e->seq;
	if (seen->order)
		seen->order[(*seen->order_n)++] = seen->name;
	return seen->returns;
}

START_TEST(test_delivers_in_order)
{
	struct story *s = story_begin();
	struct seen seen = { 0 };

	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK_ALL, see, &seen), 0);
	story_tell(s, story_birth(s, 2, 1, "a"));
	story_tell(s, story_exec(s, 2, "/bin/b"));
	ck_assert_int_eq(seen.n, 0);
	ck_assert_int_eq(knell_dispatch(s->engine), 2);
	story_tell(s, story_exit(s, 2, 0));
	story_tell(s, story_free(s, 2));
	ck_assert_int_eq(knell_dispatch(s->engine), 2);
	ck_assert_int_eq(knell_dispatch(s->engine), 0);
	ck_assert_int_eq(seen.n, 4);
	ck_assert_int_eq(seen.kinds[0], KNELL_CLONE);
	ck_assert_int_eq(seen.kinds[1], KNELL_EXEC);
	ck_assert_int_eq(seen.kinds[2], KNELL_EXIT);
	ck_assert_int_eq(seen.kinds[3], KNELL_FREE);
	story_end(s);
}
END_TEST

START_TEST(test_masks)
{
	struct story *s = story_begin();
	struct seen births = { 0 }, deaths = { 0 };
	const uint32_t ends = KNELL_MASK(KNELL_EXIT) | KNELL_MASK(KNELL_FREE);

	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK(KNELL_CLONE), see, &births), 0);
	ck_assert_int_eq(knell_watcher_add(s->engine, ends, see, &deaths), 0);
	story_tell(s, story_birth(s, 2, 1, "a"));
	story_tell(s, story_exec(s, 2, "/bin/b"));
	story_tell(s, story_exit(s, 2, 0));
	story_tell(s, story_free(s, 2));
	story_dispatch(s);
	ck_assert_int_eq(births.n, 1);
	ck_assert_int_eq(deaths.n, 2);
	ck_assert_int_eq(deaths.kinds[0], KNELL_EXIT);
	ck_assert_int_eq(knell_watcher_add(s->engine, 0, see, &births), -EINVAL);
	ck_assert_int_eq(knell_watcher_add(s->engine, 1u << KNELL_KIND_MAX, see, &births), -EINVAL);
	ck_assert_int_eq(knell_watcher_add(s->engine, 1u, see, &births), -EINVAL);
	ck_assert_int_eq(knell_watcher_add(s->engine, ends, NULL, &births), -EINVAL);
	story_end(s);
}
END_TEST

START_TEST(test_numbers_and_gaps)
{
	struct story *s = story_begin();
	struct knell_stats stats;
	struct seen seen = { 0 };

	knell_watcher_add(s->engine, KNELL_MASK_ALL, see, &seen);
	story_tell(s, story_birth(s, 2, 1, "a"));
	story_tell(s, story_gap(s, 3, 2, 1, KNELL_GAP_RING));
	story_tell(s, story_exit(s, 2, 0));
	ck_assert_int_eq(knell_dispatch(s->engine), 2);
	ck_assert_int_eq(seen.n, 3);
	ck_assert_uint_eq(seen.seqs[0], 0);
	ck_assert_uint_eq(seen.seqs[1], 1);
	/* The gap stands for six. */
	ck_assert_uint_eq(seen.seqs[2], 7);
	knell_get_stats(s->engine, &stats);
	ck_assert_uint_eq(stats.records, 2);
	ck_assert_uint_eq(stats.lost_births, 3);
	ck_assert_uint_eq(stats.lost_deaths, 2);
	ck_assert_uint_eq(stats.lost_others, 1);
	ck_assert_uint_eq(stats.wakeups, 7);
	ck_assert_uint_eq(stats.reserve_used, 42);
	story_end(s);
}
END_TEST

START_TEST(test_each_ring_has_its_numbers)
{
	struct story *s = story_begin();
	struct seen seen = { 0 };

	knell_watcher_add(s->engine, KNELL_MASK_ALL, see, &seen);
	for (uint32_t i = 0; i < 8; i++) {
		struct knell_event *e = story_birth(s, 10 + i, 1, "a");

		e->ring = i % FAKE_RINGS;
		story_tell(s, e);
	}
	story_dispatch(s);
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_uint_eq(seen.seqs[i], i / FAKE_RINGS);
	story_end(s);
}
END_TEST

START_TEST(test_watchers_in_order_of_addition)
{
	struct story *s = story_begin();
	int order[8], n = 0;
	struct seen a = { .name = 1, .order = order, .order_n = &n, .returns = -EIO };
	struct seen b = { .name = 2, .order = order, .order_n = &n };
	struct seen c = { .name = 3, .order = order, .order_n = &n, .returns = 5 };
	struct knell_stats stats;

	knell_watcher_add(s->engine, KNELL_MASK_ALL, see, &a);
	knell_watcher_add(s->engine, KNELL_MASK_ALL, see, &b);
	knell_watcher_add(s->engine, KNELL_MASK_ALL, see, &c);
	story_tell(s, story_birth(s, 2, 1, "a"));
	story_tell(s, story_exit(s, 2, 0));
	ck_assert_int_eq(knell_dispatch(s->engine), 2);
	ck_assert_int_eq(n, 6);
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(order[i], i % 3 + 1);
	/* A watcher's error is counted and changes nothing. */
	knell_get_stats(s->engine, &stats);
	ck_assert_uint_eq(stats.watcher_errors, 2);
	story_end(s);
}
END_TEST

struct adder {
	struct knell_engine *engine;
	struct seen added[20];
	int n;
};

static int add_another(const struct knell_event *e, void *userdata)
{
	struct adder *adder = userdata;

	(void)e;
	return knell_watcher_add(adder->engine, KNELL_MASK_ALL, see, &adder->added[adder->n++]);
}

START_TEST(test_watcher_adds_watchers)
{
	struct story *s = story_begin();
	struct adder adder = { .engine = s->engine };
	struct knell_stats stats;

	knell_watcher_add(s->engine, KNELL_MASK_ALL, add_another, &adder);
	for (uint32_t i = 0; i < 20; i++)
		story_tell(s, story_birth(s, 10 + i, 1, "a"));
	ck_assert_int_eq(knell_dispatch(s->engine), 20);
	/* Whoever is added hears the record that is being delivered, or the next one at the latest.
	 */
	for (int i = 0; i < 20; i++)
		ck_assert(adder.added[i].n == 20 - i || adder.added[i].n == 19 - i);
	knell_get_stats(s->engine, &stats);
	ck_assert_uint_eq(stats.watcher_errors, 0);
	story_end(s);
}
END_TEST

START_TEST(test_broken_source)
{
	struct story *s = story_begin();
	struct seen seen = { 0 };

	knell_watcher_add(s->engine, KNELL_MASK_ALL, see, &seen);
	story_tell(s, story_birth(s, 2, 1, "a"));
	fake_break(s->engine, -EIO);
	ck_assert_int_eq(knell_dispatch(s->engine), -EIO);
	/* What was heard before has been delivered. */
	ck_assert_int_eq(seen.n, 1);
	story_tell(s, story_exit(s, 2, 0));
	ck_assert_int_eq(knell_dispatch(s->engine), 1);
	story_end(s);
}
END_TEST

START_TEST(test_descriptor_polls)
{
	struct story *s = story_begin();
	struct pollfd p = { .fd = knell_fd(s->engine), .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, 0), 0);
	story_tell(s, story_birth(s, 2, 1, "a"));
	ck_assert_int_eq(poll(&p, 1, 0), 1);
	story_dispatch(s);
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	ck_assert_str_eq(knell_source(s->engine), "fake");
	story_end(s);
	ck_assert_uint_eq(fake_count, 0);
}
END_TEST

static int try_open(const struct knell_options *options)
{
	static char untouched;
	struct knell_engine *engine = (void *)&untouched;
	int r = fake_open(&engine, options);

	if (r == 0) {
		ck_assert_ptr_null(knell_close(engine));
	} else {
		ck_assert_ptr_eq(engine, (void *)&untouched);
		ck_assert_str_ne(knell_last_error(), "");
	}
	ck_assert_uint_eq(fake_count, 0);
	return r;
}

START_TEST(test_options)
{
	struct knell_options o = { .size = sizeof(o) };

	ck_assert_int_eq(try_open(NULL), 0);
	ck_assert_int_eq(try_open(&o), 0);
	o.size = 0;
	ck_assert_int_eq(try_open(&o), -EINVAL);
	/* An older caller's struct ends earlier. */
	o.size = offsetof(struct knell_options, ring_size);
	o.ring_size = UINT32_MAX;
	ck_assert_int_eq(try_open(&o), 0);
	o = (struct knell_options){ .size = sizeof(o), .flags = 1u << 31 };
	ck_assert_int_eq(try_open(&o), -EINVAL);
	o = (struct knell_options){ .size = sizeof(o), .reserve = 1048577 };
	ck_assert_int_eq(try_open(&o), -EINVAL);
	o = (struct knell_options){ .size = sizeof(o), .reserve = 1048576 };
	ck_assert_int_eq(try_open(&o), 0);
	o = (struct knell_options){ .size = sizeof(o), .batch_ms = 1001 };
	ck_assert_int_eq(try_open(&o), -EINVAL);
	o = (struct knell_options){ .size = sizeof(o), .ring_size = UINT32_MAX };
	ck_assert_int_eq(try_open(&o), -EINVAL);
}
END_TEST

START_TEST(test_options_of_a_newer_caller)
{
	struct {
		struct knell_options o;
		char more[24];
	} newer;

	memset(&newer, 0, sizeof(newer));
	newer.o.size = sizeof(newer);
	ck_assert_int_eq(try_open(&newer.o), 0);
	newer.more[23] = 1;
	ck_assert_int_eq(try_open(&newer.o), -E2BIG);
}
END_TEST

START_TEST(test_defaults)
{
	struct knell_engine *engine;
	const struct knell_options *o;

	ck_assert_int_eq(fake_open(&engine, NULL), 0);
	o = fake_options(engine);
	ck_assert_uint_eq(o->reserve, 32768);
	ck_assert_uint_eq(o->batch_ms, 10);
	ck_assert_uint_eq(o->flags, 0);
	knell_close(engine);
}
END_TEST

/* What a watcher may ask of its engine; also one that was built when the struct was shorter. */
START_TEST(test_asked_how_it_was_opened)
{
	struct knell_options o = { .size = sizeof(o), .flags = KNELL_O_FREE, .reserve = 7 },
			     is = { 0 };
	struct {
		struct knell_options o;
		char more[8];
	} newer;
	struct knell_engine *engine;

	o.filter.match = KNELL_MATCH_UID;
	ck_assert_int_eq(fake_open_able(&engine, &o, KNELL_CAN_FORK | KNELL_CAN_IDS), 0);
	ck_assert_uint_eq(knell_can(engine), KNELL_CAN_FORK | KNELL_CAN_IDS);
	is.size = sizeof(is);
	knell_get_options(engine, &is);
	ck_assert_uint_eq(is.size, sizeof(is));
	ck_assert_str_eq(is.source, "fake");
	ck_assert_uint_eq(is.flags, KNELL_O_FREE);
	ck_assert_uint_eq(is.reserve, 7);
	ck_assert_uint_eq(is.batch_ms, 10);
	ck_assert_uint_eq(is.filter.match, KNELL_MATCH_UID);
	memset(&newer, 1, sizeof(newer));
	newer.o.size = sizeof(newer);
	knell_get_options(engine, &newer.o);
	ck_assert_mem_eq(newer.more, "\0\0\0\0\0\0\0", sizeof(newer.more));
	memset(&is, 1, sizeof(is));
	is.size = offsetof(struct knell_options, ring_size);
	knell_get_options(engine, &is);
	ck_assert_uint_eq(is.reserve, 7);
	ck_assert_uint_eq(is.ring_size, 0x01010101);
	knell_close(engine);
}
END_TEST

/* Once, and where the system's words are all that was said. */
START_TEST(test_limits_have_a_remedy)
{
	char once[200];

	ck_assert_int_eq(knell_fail(-EAGAIN, "cannot fork: %s", strerror(EAGAIN)), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "; raise the limit of processes"));
	knell_fail(-EMFILE, "cannot make a pipe: %s", strerror(EMFILE));
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "; raise the limit of open files"));
	snprintf(once, sizeof(once), "%s", knell_last_error());
	knell_fail(-EMFILE, "%s", knell_last_error());
	ck_assert_str_eq(knell_last_error(), once);
	knell_fail(-ENFILE, "cannot make a pipe: %s", strerror(ENFILE));
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "fs.file-max"));
	knell_fail(-EAGAIN, "helpers are killed faster than they start");
	ck_assert_ptr_null(strstr(knell_last_error(), "limit"));
	knell_fail(-ENOENT, "cannot open: %s", strerror(ENOENT));
	ck_assert_ptr_null(strstr(knell_last_error(), ";"));
}
END_TEST

START_TEST(test_unknown_source)
{
	struct knell_options o = { .size = sizeof(o), .source = "no-such" };
	struct knell_engine *engine = NULL;

	ck_assert_int_eq(knell_open(&engine, &o), -EINVAL);
	ck_assert_ptr_null(engine);
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "no-such"));
	ck_assert_ptr_null(knell_close(NULL));
}
END_TEST

/* The source "none" hears nothing; its engine forks and reaps. */
START_TEST(test_none)
{
	struct knell_options o = { .size = sizeof(o), .source = "none" };
	struct knell_engine *engine = NULL;
	pid_t pid;
	int r;

	ck_assert_int_eq(knell_open(&engine, &o), 0);
	ck_assert_str_eq(knell_source(engine), "none");
	ck_assert_int_eq(knell_dispatch(engine), 0);
	ck_assert_int_eq(knell_reconcile(engine), 0);
	pid = knell_fork(engine);
	if (pid == 0)
		_exit(3);
	ck_assert_int_gt(pid, 0);
	while ((r = knell_reap(engine, NULL, NULL)) == 0)
		poll(NULL, 0, 1);
	ck_assert_int_eq(r, 1);
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), -ECHILD);
	knell_close(engine);
}
END_TEST

START_TEST(test_names)
{
	char id[37];

	ck_assert_str_eq(knell_kind_name(KNELL_EXIT), "exit");
	ck_assert_str_eq(knell_kind_name(0), "?");
	ck_assert_str_eq(knell_kind_name(1000), "?");
	for (unsigned int i = 1; i < KNELL_KIND_MAX; i++)
		ck_assert_str_ne(knell_kind_name(i), "?");
	for (unsigned int i = 0; i < KNELL_REASON_MAX; i++)
		ck_assert_str_ne(knell_reason_name(i), "?");
	ck_assert_str_eq(knell_reason_name(KNELL_REASON_MAX), "?");
	ck_assert_int_eq(knell_boot_id(id), 0);
	ck_assert_uint_eq(strlen(id), 36);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("engine");
	TCase *tc = unit_case(suite, "delivery");

	tcase_add_test(tc, test_delivers_in_order);
	tcase_add_test(tc, test_masks);
	tcase_add_test(tc, test_numbers_and_gaps);
	tcase_add_test(tc, test_each_ring_has_its_numbers);
	tcase_add_test(tc, test_watchers_in_order_of_addition);
	tcase_add_test(tc, test_watcher_adds_watchers);
	tcase_add_test(tc, test_broken_source);
	tcase_add_test(tc, test_descriptor_polls);
	tc = unit_case(suite, "open");
	tcase_add_test(tc, test_options);
	tcase_add_test(tc, test_options_of_a_newer_caller);
	tcase_add_test(tc, test_defaults);
	tcase_add_test(tc, test_asked_how_it_was_opened);
	tcase_add_test(tc, test_unknown_source);
	tcase_add_test(tc, test_limits_have_a_remedy);
	tcase_add_test(tc, test_none);
	tcase_add_test(tc, test_names);
	return suite;
}
