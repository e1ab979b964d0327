/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_verify.c - verify finds each kind of violation in the lives of processes: sequences that
 * break one contract each. What is odd but legal is in test_verify_legal.c.
 */
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>

#include "main.h"
#include "verified.h"

/* ---- birth before all else ---- */

START_TEST(test_nothing_is_wrong)
{
	struct knell_event *e;

	begin();
	born_and_run(10, 1);
	born(11, 10);
	e = set_uids(11, 1000, 5);
	tell(e);
	e = story_exit(story, 11, 0);
	e->uid = 5;
	tell(e);
	dies(10);
	freed(10);
	expect_fine();
}
END_TEST

/* Each kind of record, of one who was not born. */
START_TEST(test_before_the_birth)
{
	begin();
	story->start[10] = story->start[11] = story->start[12] = story->start[13] = story->now;
	tell(story_exec(story, 10, "/bin/true"));
	dies(11);
	freed(12);
	tell(set_uids(13, 1000, 5));
	dies(10); /* that it was not born has been said */
	expect(4, "its birth was not told");
}
END_TEST

START_TEST(test_another_start)
{
	begin();
	born(10, 1);
	story->start[10] += 5;
	dies(10);
	expect(1, "its start was");
}
END_TEST

START_TEST(test_born_twice)
{
	begin();
	born(10, 1);
	tell(birth_again(10, 1, KNELL_CLONE));
	expect(1, "born twice");
}
END_TEST

START_TEST(test_init)
{
	begin();
	story->start[10] = story->start[11] = story->start[12] = story->start[13] = story->now;
	tell(birth_again(10, 1, KNELL_INIT)); /* as it should be */
	tell(birth_again(10, 1, KNELL_CLONE));
	tell(birth_again(11, 1, KNELL_INIT));
	tell(birth_again(11, 1, KNELL_INIT));
	tell(birth_again(12, 1, KNELL_INIT));
	tell(story_exec(story, 12, "/bin/true"));
	tell(birth_again(13, 1, KNELL_INIT));
	dies(13);
	expect(3, "made twice");
}
END_TEST

START_TEST(test_init_after_clone)
{
	begin();
	born(10, 1);
	tell(birth_again(10, 1, KNELL_INIT));
	expect(1, "made twice");
}
END_TEST

/* ---- one death, and nothing after it ---- */

START_TEST(test_died_twice)
{
	begin();
	born(10, 1);
	dies(10);
	dies(10);
	expect(1, "died twice");
}
END_TEST

START_TEST(test_after_its_death)
{
	begin();
	born(10, 1);
	dies(10);
	tell(story_exec(story, 10, "/bin/true"));
	tell(set_uids(10, 1000, 1000));
	tell(birth_again(10, 1, KNELL_CLONE));
	tell(story_alive(story, 10, 1, "sleep"));
	expect(4, "found alive after its death");
}
END_TEST

START_TEST(test_freed)
{
	begin();
	born(10, 1);
	freed(10);
	born(11, 1);
	dies(11);
	freed(11);
	freed(11);
	expect(2, "freed before it died");
}
END_TEST

START_TEST(test_never_told_dead)
{
	begin();
	born(10, 1);
	born(11, 1);
	gone(11);
	expect(1, "process 11 (sleep)");
}
END_TEST

START_TEST(test_a_process_is_not_replaced)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	e = story_exit(story, 10, 0);
	e->flags |= KNELL_F_REPLACED;
	tell(e);
	expect(1, "not replaced");
}
END_TEST

/* Three that had the number before, and no death of any. */
START_TEST(test_too_many_of_a_number)
{
	begin();
	for (int i = 0; i < 4; i++)
		born(10, 1);
	expect(1, "none is told dead");
}
END_TEST

/* ---- parents ---- */

START_TEST(test_child_of_the_unborn)
{
	begin();
	story->start[10] = story->now;
	born(11, 10);
	born(12, 10); /* said once */
	expect(1, "no birth of its parent 10");
}
END_TEST

START_TEST(test_child_of_the_dead)
{
	begin();
	born(10, 1);
	dies(10);
	born(11, 10);
	expect(1, "its parent died before it was made");
}
END_TEST

START_TEST(test_child_of_one_that_does_not_run)
{
	begin();
	story->start[10] = story->now;
	tell(birth_again(10, 1, KNELL_INIT));
	born(11, 10);
	expect(1, "its parent has not begun to run");
}
END_TEST

START_TEST(test_its_own_parent)
{
	struct knell_event *e;

	begin();
	e = story_birth(story, 10, 1, "sleep");
	e->parent = e->task;
	tell(e);
	expect(1, "its own parent");
}
END_TEST

START_TEST(test_home)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	e = story_exit(story, 10, 0);
	e->ring = 3;
	tell(e);
	expect(1, "went to ring 0 before");
}
END_TEST

/* ---- what is in a record ---- */

static void dies_so(uint32_t pid, int status, unsigned int signo, unsigned int reason)
{
	struct knell_event *e;

	born(pid, 1);
	e = story_exit(story, pid, status);
	e->u.exit.killer.signo = (uint8_t)signo;
	e->u.exit.reason = (uint8_t)reason;
	tell(e);
}

START_TEST(test_status)
{
	begin();
	dies_so(10, 0x7f, 0, KNELL_R_NONE);
	dies_so(11, 0x10000, 0, KNELL_R_NONE);
	dies_so(12, EXITED(3) | 9, 9, KNELL_R_KERNEL);
	dies_so(13, KILLED(9), 15, KNELL_R_KERNEL);
	dies_so(14, EXITED(3), 9, KNELL_R_NONE);
	dies_so(15, KILLED(9), 9, KNELL_R_NONE);
	dies_so(16, EXITED(1), 0, KNELL_R_USER);
	dies_so(17, KILLED(65), 65, KNELL_R_KERNEL);
	expect(8, "no status of wait(2)");
}
END_TEST

START_TEST(test_reason)
{
	begin();
	dies_so(10, KILLED(9), 9, KNELL_REASON_MAX);
	expect(1, "there is no reason");
}
END_TEST

/* Each field, by itself. */
START_TEST(test_unknown_is_zero)
{
	static const uint32_t bits[] = { KNELL_U_PARENT, KNELL_U_UID, KNELL_U_GID,   KNELL_U_CGROUP,
					 KNELL_U_COMM,   KNELL_U_CPU, KNELL_U_STATUS };
	struct knell_event *e;

	begin();
	for (uint32_t i = 0; i < 7; i++) {
		born(10 + i, 1);
		e = story_exit(story, 10 + i, EXITED(3));
		e->unknown = bits[i];
		tell(e);
	}
	born(20, 1);
	e = story_ids(story, 20, KNELL_UID);
	e->uid = 2;
	e->unknown = KNELL_U_SAVED | KNELL_U_OLD;
	tell(e);
	expect(8, "unknown, but not zero");
}
END_TEST

START_TEST(test_shape)
{
	struct knell_event *e;

	begin();
	e = story_birth(story, 10, 1, "sleep");
	e->size = KNELL_EVENT_HEAD;
	tell(e);
	e = story_birth(story, 10, 1, "sleep");
	e->kind = KNELL_KIND_MAX;
	tell(e);
	e = story_birth(story, 10, 1, "sleep");
	e->scope = 3;
	tell(e);
	numbers[0] = 0;
	e = story_birth(story, 10, 1, "sleep");
	e->task.tid = 11;
	tell(e);
	expect(4, "not a record");
}
END_TEST

START_TEST(test_not_asked_for)
{
	begin_with(&(struct verify_options){ .opened = KNELL_O_ARGS });
	born(10, 1);
	thread_born(10, 11);
	tell(set_uids(10, 1000, 5));
	thread_dies(10, 11);
	dies(10);
	freed(10);
	expect(4, "nobody asked for threads");
}
END_TEST

/* ---- ids ---- */

START_TEST(test_ids_at_death)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	tell(set_uids(10, 1000, 5));
	tell(set_uids(10, 5, 6));
	e = story_exit(story, 10, 0);
	e->uid = 6;
	tell(e);
	born(11, 1);
	tell(set_uids(11, 1000, 5));
	e = story_exit(story, 11, 0);
	e->gid = 101;
	tell(e);
	expect(2, "its uid was 5 when it was last told");
}
END_TEST

START_TEST(test_old_ids)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	tell(set_uids(10, 999, 5));
	e = set_uids(10, 5, 6);
	e->u.ids.old_saved = 7;
	tell(e);
	e = story_exit(story, 10, 0);
	e->uid = 6;
	tell(e);
	expect(2, "the effective uid before was 1000, not 999");
}
END_TEST

START_TEST(test_head_of_ids)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	e = set_uids(10, 1000, 5);
	e->uid = 1000;
	tell(e);
	expect(1, "not the new one");
}
END_TEST

/* ---- threads ---- */

START_TEST(test_thread_of_nobody)
{
	begin();
	story->start[10] = story->now;
	thread_born(10, 11);
	thread_dies(10, 11); /* said once */
	expect(1, "the birth of its process was not told");
}
END_TEST

START_TEST(test_thread_twice)
{
	begin();
	born(10, 1);
	thread_born(10, 11);
	thread_born(10, 11);
	thread_dies(10, 11);
	thread_dies(10, 11);
	expect(2, "is born twice");
}
END_TEST

START_TEST(test_thread_of_the_dead)
{
	begin();
	born(10, 1);
	dies(10);
	thread_born(10, 11);
	thread_dies(10, 12);
	expect(2, "after the death of its process");
}
END_TEST

START_TEST(test_thread_never_dead)
{
	begin();
	born(10, 1);
	thread_born(10, 11);
	dies(10);
	expect(1, "thread 11 was never told dead");
}
END_TEST

START_TEST(test_thread_with_a_processs_number)
{
	begin();
	born(10, 1);
	thread_dies(10, 10);
	expect(1, "a thread has its process's number");
}
END_TEST

START_TEST(test_thread_of_the_unborn)
{
	begin();
	story->start[10] = story->now;
	tell(birth_again(10, 1, KNELL_INIT));
	thread_born(10, 11);
	expect(1, "has not begun to run");
}
END_TEST

START_TEST(test_number_of_a_living_thread)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	thread_born(10, 11);
	e = story_thread(story, 10, 11, KNELL_CLONE);
	e->task.start += 100 * MS;
	tell(e);
	expect(1, "thread 11 was not told dead before");
}
END_TEST

START_TEST(test_kinds_of_a_thread)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	thread_born(10, 11);
	e = story_exec(story, 10, "/bin/true");
	e->scope = KNELL_THREAD;
	e->task.tid = 11;
	tell(e);
	e = story_ids(story, 10, KNELL_UID);
	e->scope = KNELL_THREAD;
	e->task.tid = 12;
	tell(e);
	expect(2, "exec of a thread");
}
END_TEST

START_TEST(test_exec_by_a_stranger)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	e = story_exec(story, 10, "/bin/true");
	e->u.exec.old_tid = 12;
	tell(e);
	expect(1, "exec by thread 12, which does not live");
}
END_TEST

START_TEST(test_outlives_exec)
{
	begin();
	born(10, 1);
	thread_born(10, 11);
	tell(story_exec(story, 10, "/bin/true"));
	expect(1, "thread 11 outlives exec");
}
END_TEST

/* ---- what is said ---- */

START_TEST(test_history)
{
	begin();
	born(10, 1);
	for (int i = 0; i < 9; i++)
		tell(story_exec(story, 10, "/bin/true"));
	tell(story_exit(story, 10, EXITED(3)));
	dies(10);
	ck_assert_ptr_nonnull(strstr(verify_text(verify, 0), "process 10 (true) of start"));
	ck_assert_ptr_nonnull(strstr(verify_text(verify, 0), "number 11 at"));
	ck_assert_ptr_nonnull(strstr(verify_text(verify, 0), "before, of 10: 3 more"));
	ck_assert_ptr_nonnull(strstr(verify_text(verify, 0), "exec, old thread 10"));
	ck_assert_ptr_nonnull(strstr(verify_text(verify, 0), "exit, status 0x300"));
	ck_assert_ptr_null(verify_text(verify, 1));
	expect(1, NULL);
}
END_TEST

/* A gap that may explain it would have come by now. */
START_TEST(test_told_without_an_end)
{
	begin();
	story->start[10] = story->now;
	dies(10);
	ck_assert_uint_eq(verify_violations(verify), 0);
	story->now += 11000 * MS;
	born(11, 1);
	ck_assert_uint_eq(verify_violations(verify), 1);
	expect(1, "its birth was not told");
}
END_TEST

static void add_field_tests(TCase *tc)
{
	tcase_add_test(tc, test_status);
	tcase_add_test(tc, test_reason);
	tcase_add_test(tc, test_unknown_is_zero);
	tcase_add_test(tc, test_shape);
	tcase_add_test(tc, test_not_asked_for);
	tcase_add_test(tc, test_ids_at_death);
	tcase_add_test(tc, test_old_ids);
	tcase_add_test(tc, test_head_of_ids);
	tcase_add_test(tc, test_history);
	tcase_add_test(tc, test_told_without_an_end);
}

static void add_thread_tests(TCase *tc)
{
	tcase_add_test(tc, test_thread_of_nobody);
	tcase_add_test(tc, test_thread_twice);
	tcase_add_test(tc, test_thread_of_the_dead);
	tcase_add_test(tc, test_thread_never_dead);
	tcase_add_test(tc, test_thread_with_a_processs_number);
	tcase_add_test(tc, test_thread_of_the_unborn);
	tcase_add_test(tc, test_number_of_a_living_thread);
	tcase_add_test(tc, test_kinds_of_a_thread);
	tcase_add_test(tc, test_exec_by_a_stranger);
	tcase_add_test(tc, test_outlives_exec);
}

Suite *unit_suite(void)
{
	Suite *suite = suite_create("verify");
	TCase *tc = unit_case(suite, "order");

	tcase_add_test(tc, test_nothing_is_wrong);
	tcase_add_test(tc, test_before_the_birth);
	tcase_add_test(tc, test_another_start);
	tcase_add_test(tc, test_born_twice);
	tcase_add_test(tc, test_init);
	tcase_add_test(tc, test_init_after_clone);
	tcase_add_test(tc, test_died_twice);
	tcase_add_test(tc, test_after_its_death);
	tcase_add_test(tc, test_freed);
	tcase_add_test(tc, test_never_told_dead);
	tcase_add_test(tc, test_a_process_is_not_replaced);
	tcase_add_test(tc, test_too_many_of_a_number);
	tcase_add_test(tc, test_child_of_the_unborn);
	tcase_add_test(tc, test_child_of_the_dead);
	tcase_add_test(tc, test_child_of_one_that_does_not_run);
	tcase_add_test(tc, test_its_own_parent);
	tcase_add_test(tc, test_home);
	add_field_tests(unit_case(suite, "fields"));
	add_thread_tests(unit_case(suite, "threads"));
	return suite;
}
