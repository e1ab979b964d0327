/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_verify_legal.c - what verify must not call a violation: lives that are odd but legal, and
 * what a source cannot see. And verify with an engine, and heard by several reapers at once.
 */
#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fake_source.h"
#include "main.h"
#include "verified.h"

/* ---- odd, but legal ---- */

START_TEST(test_exec_by_another_thread)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	thread_born(10, 11);
	thread_born(10, 12);
	thread_dies(10, 12);
	e = story_thread(story, 10, 10, KNELL_EXIT);
	e->task.start = story->start[10];
	e->flags = KNELL_F_REPLACED;
	tell(e);
	e = story_exec(story, 10, "/bin/true");
	e->u.exec.old_tid = 11;
	tell(e);
	dies(10);
	/* The same where the one that calls it is told to be replaced, and not the leader. */
	born(15, 1);
	thread_born(15, 16);
	e = story_thread(story, 15, 16, KNELL_EXIT);
	e->flags = KNELL_F_REPLACED;
	tell(e);
	e = story_exec(story, 15, "/bin/true");
	e->u.exec.old_tid = 16;
	tell(e);
	dies(15);
	/* The same inside of a pid namespace, where nobody knows which thread it was. */
	born(20, 1);
	thread_born(20, 21);
	e = story_exec(story, 20, "/bin/true");
	e->u.exec.old_tid = 0;
	tell(e);
	dies(20);
	expect_fine();
}
END_TEST

/* Found alive, at once and again; with threads that nobody heard of. */
START_TEST(test_reconciled)
{
	begin();
	story->start[10] = story->now;
	tell(story_alive(story, 10, 9, "sleep"));
	tell(story_alive(story, 10, 9, "sleep"));
	thread_dies(10, 11);
	born(12, 10);
	tell(story_alive(story, 12, 10, "sleep"));
	dies(12);
	dies(10);
	expect_fine();
}
END_TEST

START_TEST(test_root)
{
	struct knell_event *e;

	begin();
	story->start[9] = story->now;
	e = story_birth(story, 10, 9, "sleep");
	e->flags |= KNELL_F_ROOT;
	tell(e);
	dies(10);
	expect_fine();
}
END_TEST

/* A sibling of its creator: their parent is nobody that is watched. */
START_TEST(test_clone_parent)
{
	struct knell_event *e;

	begin();
	story->start[9] = story->now;
	born(10, 1);
	e = story_birth(story, 11, 9, "sleep");
	e->u.clone.flags = CLONE_PARENT;
	tell(e);
	expect_fine();
}
END_TEST

/* The parent waits for its child's exec; the child may be told late, but it was born before. */
START_TEST(test_vfork_and_late_birth)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	e = story_birth(story, 11, 10, "sleep");
	e->u.clone.flags = CLONE_VM | CLONE_VFORK;
	tell(e);
	tell(story_exec(story, 11, "/bin/true"));
	story_birth(story, 12, 10, "sleep"); /* in time, but not told yet */
	dies(10);
	tell(birth_again(12, 10, KNELL_CLONE));
	expect_fine();
}
END_TEST

/* The death of the first comes after the birth of the second. */
START_TEST(test_number_used_again)
{
	uint64_t first;

	begin();
	born(10, 1);
	first = story->start[10];
	born(10, 1);
	thread_born(10, 11);
	story->start[10] = first;
	dies(10);
	freed(10);
	expect_fine();
}
END_TEST

START_TEST(test_deaths_that_were_missed)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	thread_born(10, 11);
	e = story_exit(story, 10, 0);
	e->unknown = KNELL_U_STATUS | KNELL_U_CAUSE | KNELL_U_TIMES;
	tell(e);
	e = story_free(story, 10);
	e->flags |= KNELL_F_GIVEN_UP;
	tell(e);
	expect_fine();
}
END_TEST

/* The leader ends first, and is a zombie while the others live; the last one is overtaken. */
START_TEST(test_threads_after_the_leader)
{
	begin();
	born(10, 1);
	thread_born(10, 11);
	thread_born(10, 12);
	thread_dies(10, 11);
	born(20, 10);
	dies(10);
	thread_dies(10, 12);
	freed(10);
	expect_fine();
}
END_TEST

/* Two threads have two sets of ids, and an exec may change them. */
START_TEST(test_ids_that_may_differ)
{
	struct knell_event *e;

	begin();
	born(10, 1);
	thread_born(10, 11);
	thread_dies(10, 11);
	e = story_exit(story, 10, 0);
	e->uid = 77;
	tell(e);
	born(12, 1);
	e = story_exec(story, 12, "/bin/su");
	e->uid = 0;
	tell(e);
	e = story_exit(story, 12, 0);
	e->uid = 0;
	tell(e);
	expect_fine();
}
END_TEST

/* The exec was before the change, but comes by another way. */
START_TEST(test_ids_beside_exec)
{
	struct knell_event *e;
	uint64_t time;

	begin();
	born(10, 1);
	time = story->now;
	tell(set_uids(10, 1000, 2));
	e = story_exec(story, 10, "/bin/true");
	e->time = time;
	tell(e);
	e = story_exit(story, 10, 0);
	e->uid = 2;
	tell(e);
	expect_fine();
}
END_TEST

/* More have died than are remembered: what may be theirs is not judged. */
START_TEST(test_forgotten)
{
	uint64_t start;

	begin_with(&(struct verify_options){ .dead = 1 });
	born(10, 1);
	dies(10);
	start = story->start[10];
	for (int i = 0; i < 64; i++) {
		born(10, 1);
		dies(10);
	}
	story->start[10] = start;
	freed(10);
	expect_fine();
}
END_TEST

START_TEST(test_not_forgotten)
{
	begin_with(&(struct verify_options){ .dead = 1 });
	for (int i = 0; i < 64; i++) {
		born(10, 1);
		dies(10);
	}
	story->start[10] = story->now;
	dies(10);
	expect(1, "its birth was not told");
}
END_TEST

/* ---- what a source cannot see ---- */

START_TEST(test_deaths_only)
{
	begin_with(&(struct verify_options){ .can = KNELL_CAN_WATCH });
	story->start[10] = story->now;
	dies(10);
	born(11, 9);
	expect_fine();
}
END_TEST

/* A stream that begins without a record of those who live. */
static void from_before(uint32_t opened)
{
	struct knell_event *e;

	begin_with(&(struct verify_options){ .opened = opened });
	story->start[10] = story->now;
	e = story_exec(story, 10, "/bin/true");
	e->flags |= KNELL_F_START_STAMP;
	tell(e);
	story->start[11] = story->now;
	e = story_birth(story, 12, 11, "sleep");
	e->flags |= KNELL_F_START_STAMP;
	tell(e);
}

START_TEST(test_from_before_a_stream)
{
	from_before(KNELL_O_STREAM);
	expect_fine();
	from_before(KNELL_O_ARGS);
	expect(2, "its birth was not told");
}
END_TEST

START_TEST(test_one_tick)
{
	struct knell_event *e;

	begin_with(&(struct verify_options){ .can = KNELL_CAN_WATCH });
	for (int i = 0; i < 2; i++) {
		e = story_exit(story, 10, 0);
		e->task.start = 40000000;
		tell(e);
	}
	expect_fine();
}
END_TEST

/* ---- with an engine ---- */

static void on_text(const char *text, void *userdata)
{
	ck_assert_ptr_nonnull(strstr(text, "twice"));
	(*(unsigned int *)userdata)++;
}

START_TEST(test_of_an_engine)
{
	struct knell_options options = { .size = sizeof(options), .flags = KNELL_O_FREE };
	struct story *s = story_begin();
	unsigned int texts = 0;
	void *with;

	knell_close(s->engine);
	s->now++;
	ck_assert_int_eq(fake_open_able(&s->engine, &options, KNELL_CAN_FORK), 0);
	ck_assert_int_eq(verify_with_open(&with, s->engine, "nonsense"), -EINVAL);
	ck_assert_int_eq(verify_with_open(&with, s->engine, NULL), 0);
	story_tell(s, story_birth(s, 10, 1, "a"));
	story_tell(s, story_exit(s, 10, 0));
	story_tell(s, story_free(s, 10));
	story_dispatch(s);
	story_tell(s, story_exit(s, 10, 0));
	story_tell(s, story_free(s, 10));
	ck_assert_int_eq(knell_dispatch(s->engine), 2);
	verify_last_look(with);
	ck_assert_int_eq(verify_with_close(with, on_text, &texts), 2);
	ck_assert_uint_eq(texts, 2);
	story_end(s);
}
END_TEST

/* What is on its way when the end comes is waited for. */
START_TEST(test_the_last_look_dispatches)
{
	struct knell_options options = { .size = sizeof(options) };
	struct story *s = story_begin();
	struct verify *v;
	const uint32_t nobody = STORY_PIDS - 1;
	const struct verify_options none = { 0 };

	knell_close(s->engine);
	s->now++;
	ck_assert_int_eq(fake_open_able(&s->engine, &options, KNELL_CAN_FORK), 0);
	ck_assert_int_eq(verify_open(&v, s->engine, &none), 0);
	story_tell(s, story_birth(s, nobody, 1, "a"));
	story_dispatch(s);
	story_tell(s, story_exit(s, nobody, 0));
	ck_assert_uint_eq(verify_check_end(v), 0);
	/* And one whose death does not come. */
	story_tell(s, story_birth(s, nobody, 1, "a"));
	story_dispatch(s);
	ck_assert_uint_eq(verify_check_end(v), 1);
	ck_assert_ptr_nonnull(strstr(verify_text(v, 0), "it is dead, but that was not told"));
	story_end(s);
	verify_close(v);
}
END_TEST

/* ---- several reapers ---- */

#define REAPERS 4
#define LIVES   4000u

struct reaper {
	struct verify *verify;
	uint64_t *next; /* of all rings; atomic */
	uint32_t number;
};

/* The record of a life, with a number of a ring that others use, too. */
static void reap(struct reaper *r, uint32_t pid, int kind)
{
	struct knell_event e = {
		.size = sizeof(e),
		.version = KNELL_EVENT_VERSION,
		.kind = (uint8_t)kind,
		.scope = KNELL_PROCESS,
		.time = pid,
		.ring = pid % REAPERS,
		.task = { .start = pid + 1u, .tid = pid, .tgid = pid },
	};

	if (kind == KNELL_CLONE && pid > REAPERS * LIVES / 2)
		e.parent = (struct knell_task_id){ .start = r->number + 2u,
						   .tid = r->number + 1u,
						   .tgid = r->number + 1u };
	e.seq = __atomic_fetch_add(&r->next[e.ring], 1, __ATOMIC_RELAXED);
	ck_assert_int_eq(verify_hear(r->verify, &e), 0);
}

/* The first one of each is the parent of the later ones. */
static void *reap_lives(void *arg)
{
	struct reaper *r = arg;

	for (uint32_t i = 0; i < LIVES; i++) {
		uint32_t pid = i * REAPERS + r->number + 1;

		reap(r, pid, KNELL_CLONE);
		reap(r, pid, KNELL_EXEC);
		if (i == 0)
			continue;
		reap(r, pid, KNELL_EXIT);
		if (pid % 100 == 0)
			reap(r, pid, KNELL_EXIT);
	}
	return NULL;
}

START_TEST(test_several_reapers)
{
	const struct verify_options options = { .flags = VERIFY_REAPERS, .can = KNELL_CAN_FORK };
	uint64_t next[REAPERS] = { 0 };
	struct reaper reapers[REAPERS];
	pthread_t threads[REAPERS];
	struct verify *v;

	ck_assert_int_eq(verify_open(&v, NULL, &options), 0);
	for (uint32_t i = 0; i < REAPERS; i++) {
		reapers[i] = (struct reaper){ .verify = v, .next = next, .number = i };
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reap_lives, &reapers[i]), 0);
	}
	for (uint32_t i = 0; i < REAPERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(verify_violations(v), REAPERS * LIVES / 100);
	ck_assert_ptr_nonnull(strstr(verify_text(v, 0), "died twice"));
	verify_close(v);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("verify_legal");
	TCase *tc = unit_case(suite, "legal");

	tcase_add_test(tc, test_exec_by_another_thread);
	tcase_add_test(tc, test_reconciled);
	tcase_add_test(tc, test_root);
	tcase_add_test(tc, test_clone_parent);
	tcase_add_test(tc, test_vfork_and_late_birth);
	tcase_add_test(tc, test_number_used_again);
	tcase_add_test(tc, test_deaths_that_were_missed);
	tcase_add_test(tc, test_threads_after_the_leader);
	tcase_add_test(tc, test_ids_that_may_differ);
	tcase_add_test(tc, test_ids_beside_exec);
	tcase_add_test(tc, test_forgotten);
	tcase_add_test(tc, test_not_forgotten);
	tcase_add_test(tc, test_deaths_only);
	tcase_add_test(tc, test_from_before_a_stream);
	tcase_add_test(tc, test_one_tick);
	tc = unit_case(suite, "engine");
	tcase_add_test(tc, test_of_an_engine);
	tcase_add_test(tc, test_the_last_look_dispatches);
	tcase_add_test(tc, test_several_reapers);
	return suite;
}
