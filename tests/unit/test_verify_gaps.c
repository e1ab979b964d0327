/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_verify_gaps.c - what gaps explain to verify, to the last loss that they count and no
 * further; and the numbers of rings, with one reaper and with several.
 */
#include <string.h>

#include "main.h"
#include "verified.h"

/* ---- gaps explain what they count, and no more ---- */

START_TEST(test_lost_births)
{
	begin();
	story->start[10] = story->start[11] = story->start[12] = story->now;
	dies(10);
	dies(11);
	tell(story_exec(story, 12, "/bin/true"));
	gap(2, 0, 0, KNELL_GAP_RESERVE); /* it comes afterwards */
	expect(1, "process 12");
}
END_TEST

START_TEST(test_lost_deaths)
{
	begin();
	born(10, 1);
	born(11, 1);
	gone(10);
	gone(11);
	gap(0, 1, 5, KNELL_GAP_RING);
	expect(1, "it is dead, but that was not told");
}
END_TEST

START_TEST(test_lost_others)
{
	begin();
	born(10, 1);
	for (uint32_t tid = 11; tid < 14; tid++)
		thread_dies(10, tid);
	gap(7, 7, 2, KNELL_GAP_RING);
	expect(1, "dies, but does not live");
}
END_TEST

/* What the kernel skipped may have been anything, and so may messages. */
static void lose_of_each(unsigned int cause)
{
	story->start[10] = story->now;
	dies(10);
	born(11, 1);
	gone(11);
	thread_dies(11, 12);
	gap(0, 0, 2, cause);
}

START_TEST(test_lost_of_any_kind)
{
	begin();
	lose_of_each(KNELL_GAP_MISSED);
	expect(1, NULL);
	begin_with(&(struct verify_options){ .flags = VERIFY_MIXED_GAPS });
	lose_of_each(KNELL_GAP_RING);
	expect(1, NULL);
	begin();
	lose_of_each(KNELL_GAP_RING);
	expect(2, NULL);
}
END_TEST

START_TEST(test_never_explained)
{
	begin();
	born(10, 1);
	dies(10);
	dies(10);
	gap(9, 9, 9, KNELL_GAP_MISSED);
	expect(1, "died twice");
}
END_TEST

START_TEST(test_at_least)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	for (uint32_t tid = 11; tid < 20; tid++)
		thread_dies(10, tid);
	e = story_gap(story, 0, 0, 1, KNELL_GAP_RING);
	e->flags |= KNELL_F_AT_LEAST;
	tell(e);
	expect_fine();
}
END_TEST

/* More than can be kept with their texts. */
START_TEST(test_many_are_held)
{
	begin();
	for (uint32_t pid = 100; pid < 400; pid++) {
		story->start[pid] = story->now;
		dies(pid);
	}
	gap(290, 0, 0, KNELL_GAP_RESERVE);
	expect(10, "more of the same");
}
END_TEST

START_TEST(test_more_deaths_than_births)
{
	begin();
	born(10, 1);
	dies(10);
	gap(2, 3, 0, KNELL_GAP_RESERVE);
	expect(1, "4 deaths, told or lost, but 3 processes");
}
END_TEST

START_TEST(test_bad_gaps)
{
	begin();
	gap(0, 0, 1, 0);
	gap(0, 0, 1, KNELL_GAP_MISSED + 1);
	expect(2, "there is no cause");
}
END_TEST

START_TEST(test_empty_gap)
{
	struct knell_event *e;

	begin();
	e = story_gap(story, 0, 0, 0, KNELL_GAP_RING);
	tell(e);
	expect(1, "nothing was lost");
}
END_TEST

/* ---- numbers ---- */

static void numbered(uint32_t pid, uint32_t ring, uint64_t number)
{
	struct knell_event *e = story_birth(story, pid, 1, "sleep");

	e->ring = ring;
	numbers[ring] = number;
	tell(e);
}

START_TEST(test_numbers)
{
	begin();
	numbered(10, 0, 0);
	numbered(11, 1, 0);
	numbered(12, 0, 1);
	gap(1, 1, 1, KNELL_GAP_RING);
	numbered(13, 0, 5);
	expect_fine();
}
END_TEST

START_TEST(test_wrong_numbers)
{
	begin();
	numbered(10, 0, 1); /* the first is 0 */
	numbered(11, 0, 3);
	numbered(12, 0, 3);
	numbered(13, 1, 0);
	gap(1, 0, 0, KNELL_GAP_RING);
	numbered(14, 0, 4);
	expect(4, "numbers 0 to 0 are missing, and no gap says so");
}
END_TEST

START_TEST(test_late_numbers)
{
	static const uint64_t order[] = { 3, 1, 0, 2, 4, 9, 7, 8, 5, 6 };

	begin_with(&(struct verify_options){ .flags = VERIFY_REAPERS });
	for (uint32_t i = 0; i < 10; i++)
		numbered(10 + i, 2, order[i]);
	expect_fine();
}
END_TEST

START_TEST(test_wrong_late_numbers)
{
	begin_with(&(struct verify_options){ .flags = VERIFY_REAPERS });
	numbered(10, 0, 2);
	numbered(11, 0, 2);
	numbered(12, 0, 0);
	numbered(13, 0, 0);
	expect(3, "numbers 1 to 1 were never told");
}
END_TEST

/* Every second number, and more of them than can be kept. */
START_TEST(test_too_late_numbers)
{
	begin_with(&(struct verify_options){ .flags = VERIFY_REAPERS });
	for (uint32_t i = 0; i < 256; i++)
		numbered(10 + i, 0, 2 * (uint64_t)i + 1);
	ck_assert_uint_eq(verify_violations(verify), 1);
	expect(2, "numbers 0 to 0 were never told");
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("verify_gaps");
	TCase *tc = unit_case(suite, "gaps");

	tcase_add_test(tc, test_lost_births);
	tcase_add_test(tc, test_lost_deaths);
	tcase_add_test(tc, test_lost_others);
	tcase_add_test(tc, test_lost_of_any_kind);
	tcase_add_test(tc, test_never_explained);
	tcase_add_test(tc, test_at_least);
	tcase_add_test(tc, test_many_are_held);
	tcase_add_test(tc, test_more_deaths_than_births);
	tcase_add_test(tc, test_bad_gaps);
	tcase_add_test(tc, test_empty_gap);
	tc = unit_case(suite, "numbers");
	tcase_add_test(tc, test_numbers);
	tcase_add_test(tc, test_wrong_numbers);
	tcase_add_test(tc, test_late_numbers);
	tcase_add_test(tc, test_wrong_late_numbers);
	tcase_add_test(tc, test_too_late_numbers);
	return suite;
}
