/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_watch_heard.c - watches over a source that hears deaths: which of record and pidfd is told,
 * and at which moment. The source is fake and the processes are real, so that each can be first.
 * The records lie about the status: it shows where a verdict came from.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "fake_source.h"
#include "main.h"
#include "source/source.h"
#include "watch.h"

#define CAN                                                                                        \
	(KNELL_CAN_WATCH | KNELL_CAN_SUBTREE | KNELL_CAN_STREAM | KNELL_CAN_EXIT |                 \
	 KNELL_CAN_FREE | KNELL_CAN_COMM | KNELL_CAN_CGROUP)

static struct knell_engine *open_fake(uint32_t flags)
{
	struct knell_options o = { .size = sizeof(o), .flags = flags };
	struct knell_engine *engine = NULL;

	ck_assert_int_eq(fake_open_able(&engine, &o, CAN), 0);
	return engine;
}

static void push(struct knell_engine *engine, unsigned int kind, pid_t pid, const char *comm,
		 int status)
{
	struct knell_event e = { .size = KNELL_EVENT_HEAD + sizeof(e.u.exit) };

	e.kind = (uint8_t)kind;
	e.scope = KNELL_PROCESS;
	e.task = fake_id(pid);
	if (comm)
		memcpy(e.comm, comm, strlen(comm));
	if (kind == KNELL_EXIT)
		e.u.exit.status = status;
	else if (kind == KNELL_FREE)
		e.u.free.usage.utime = 12345;
	fake_push(engine, &e);
}

static void watch_at(struct told *told, struct knell_engine *engine, pid_t pid, unsigned int moment)
{
	struct knell_watch_options o = told_options(told, moment);

	ck_assert_msg(knell_watch_pid(engine, NULL, pid, &o) == 0, "%s", knell_last_error());
}

static void check_exited(const struct told *told, int i, int code)
{
	ck_assert_int_eq(told->kind[i], KNELL_EXITED);
	ck_assert_int_eq(told->event[i].u.exit.status, code << 8);
}

/* The record is told at once; the real death says nothing more. */
static void at_once(unsigned int moment)
{
	struct knell_engine *engine = open_fake(0);
	struct child child = child_start(NULL);
	struct told told = { 0 };

	watch_at(&told, engine, child.pid, moment);
	push(engine, KNELL_EXIT, child.pid, NULL, 42 << 8);
	push(engine, KNELL_EXIT, child.pid + 1, NULL, 43 << 8);
	told_wait(&told, engine, 1);
	check_exited(&told, 0, 42);
	child_exit(&child, 1);
	told_no_more(&told, engine, 20);
	child_reap(&child);
	told_no_more(&told, engine, 20);
	knell_close(engine);
}

START_TEST(test_at_once)
{
	at_once(KNELL_AT_ANY);
	at_once(KNELL_AT_EXIT);
}
END_TEST

START_TEST(test_dead)
{
	struct knell_engine *engine = open_fake(0);
	struct child child = child_start(NULL);
	struct told told = { 0 };

	watch_at(&told, engine, child.pid, KNELL_AT_DEAD);
	push(engine, KNELL_EXIT, child.pid, NULL, 42 << 8);
	told_no_more(&told, engine, 20);
	child_exit(&child, 1);
	told_wait(&told, engine, 1);
	check_exited(&told, 0, 42);
	told_no_more(&told, engine, 20);
	child_reap(&child);
	knell_close(engine);
}
END_TEST

START_TEST(test_free)
{
	struct knell_engine *engine = open_fake(KNELL_O_FREE);
	struct child child = child_start(NULL);
	struct told told = { 0 };

	watch_at(&told, engine, child.pid, KNELL_AT_FREE);
	push(engine, KNELL_EXIT, child.pid, NULL, 42 << 8);
	told_no_more(&told, engine, 20);
	child_exit(&child, 1);
	told_no_more(&told, engine, 150);
	push(engine, KNELL_FREE, child.pid, NULL, 0);
	told_wait(&told, engine, 1);
	check_exited(&told, 0, 42);
	ck_assert_uint_eq(told.event[0].u.exit.usage.utime, 12345);
	ck_assert_uint_ne(told.event[0].flags & KNELL_F_USAGE_FINAL, 0);
	child_reap(&child);
	told_no_more(&told, engine, 20);
	knell_close(engine);
}
END_TEST

/* False: so late that the watch did not have to wait for the record any more. */
static bool free_is_lost(void)
{
	struct knell_engine *engine = open_fake(KNELL_O_FREE);
	struct child child = child_start(NULL);
	struct told told = { 0 };
	uint64_t dead, took;

	watch_at(&told, engine, child.pid, KNELL_AT_FREE);
	dead = knell_now();
	child_exit(&child, 1);
	child_reap(&child);
	ck_assert_int_ge(knell_dispatch(engine), 0);
	poll(NULL, 0, 20);
	ck_assert_int_ge(knell_dispatch(engine), 0);
	push(engine, KNELL_EXIT, child.pid, NULL, 42 << 8);
	took = (knell_now() - dead) / 1000000;
	told_wait(&told, engine, 1);
	if (told.kind[0] == KNELL_EXITED) {
		check_exited(&told, 0, 42);
		ck_assert_uint_eq(told.event[0].flags & KNELL_F_USAGE_FINAL, 0);
	} else {
		ck_assert_uint_ge(took, WATCH_GRACE_MS);
	}
	knell_close(engine);
	return told.kind[0] == KNELL_EXITED;
}

/* Reaped before its exit is told; and nobody tells that it was freed. */
START_TEST(test_free_is_lost)
{
	/* A slow machine may be late in any round, but not in all. */
	for (int round = 0; !free_is_lost(); round++)
		ck_assert_int_lt(round, 50);
}
END_TEST

/* The source gave up: when it is released, only the pidfd knows. */
START_TEST(test_free_given_up)
{
	struct knell_engine *engine = open_fake(KNELL_O_FREE);
	struct knell_event e = { .size = KNELL_EVENT_HEAD + sizeof(e.u.free) };
	struct child child = child_start(NULL);
	struct told told = { 0 };

	watch_at(&told, engine, child.pid, KNELL_AT_FREE);
	push(engine, KNELL_EXIT, child.pid, NULL, 42 << 8);
	e.kind = KNELL_FREE;
	e.scope = KNELL_PROCESS;
	e.flags = KNELL_F_GIVEN_UP;
	e.task = fake_id(child.pid);
	fake_push(engine, &e);
	child_exit(&child, 1);
	told_no_more(&told, engine, 350);
	child_reap(&child);
	told_wait(&told, engine, 1);
	check_exited(&told, 0, 42);
	knell_close(engine);
}
END_TEST

START_TEST(test_free_needs_records)
{
	struct knell_engine *engine = open_fake(0);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_FREE);

	ck_assert_int_eq(knell_watch_pid(engine, NULL, getpid(), &o), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "KNELL_O_FREE"));
	knell_close(engine);
}
END_TEST

/* The source heard nothing of it: the pidfd tells. */
START_TEST(test_missed)
{
	struct knell_engine *engine = open_fake(0);
	struct child child = child_start(NULL);
	struct told told = { 0 };

	watch_at(&told, engine, child.pid, KNELL_AT_EXIT);
	child_exit(&child, 6);
	told_wait(&told, engine, 1);
	check_exited(&told, 0, 6);
	/* Too late: it has been told. */
	push(engine, KNELL_EXIT, child.pid, NULL, 42 << 8);
	told_no_more(&told, engine, 20);
	child_reap(&child);
	knell_close(engine);
}
END_TEST

struct late {
	struct told told;
	struct knell_engine *engine;
	pid_t pid;
};

static void push_late(struct knell_watch *watch, const struct knell_verdict *verdict,
		      void *userdata)
{
	struct late *late = userdata;

	(void)watch;
	ck_assert_int_eq(verdict->kind, KNELL_ABSENT);
	push(late->engine, KNELL_EXIT, late->pid, NULL, 42 << 8);
}

/* The pidfd is readable, and the record comes after the source was dispatched: ask it again. */
START_TEST(test_asked_again)
{
	struct late late = { .engine = open_fake(0) };
	struct knell_watch_options o = { .size = sizeof(o), .fn = push_late, .userdata = &late };
	struct child child = child_start(NULL);

	late.pid = child.pid;
	watch_at(&late.told, late.engine, child.pid, KNELL_AT_DEAD);
	ck_assert_int_eq(knell_watch_pid(late.engine, NULL, INT32_MAX, &o), 0);
	child_exit(&child, 6);
	ck_assert_int_eq(knell_dispatch(late.engine), 1);
	ck_assert_int_eq(late.told.n, 1);
	check_exited(&late.told, 0, 42);
	child_reap(&child);
	knell_close(late.engine);
}
END_TEST

/* A record that knows no status: its pidfd may, and is asked when it is dead. */
START_TEST(test_unknown_status)
{
	struct knell_engine *engine = open_fake(0);
	struct knell_event e = { .size = KNELL_EVENT_HEAD + sizeof(e.u.exit) };
	struct child child = child_start(NULL);
	struct told told = { 0 };

	watch_at(&told, engine, child.pid, KNELL_AT_ANY);
	e.kind = KNELL_EXIT;
	e.scope = KNELL_PROCESS;
	e.unknown = KNELL_U_STATUS;
	e.cpu = 5;
	e.task = fake_id(child.pid);
	fake_push(engine, &e);
	told_no_more(&told, engine, 20);
	child_exit(&child, 6);
	told_wait(&told, engine, 1);
	check_exited(&told, 0, 6);
	ck_assert_uint_eq(told.event[0].unknown, 0);
	ck_assert_uint_eq(told.event[0].cpu, 5);
	child_reap(&child);
	knell_close(engine);
}
END_TEST

START_TEST(test_refused)
{
	struct knell_engine *engine = open_fake(KNELL_O_FREE);
	const int gone[] = { -ESRCH, -EALREADY, -ENOTSUP };
	struct child child = child_start(NULL);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	int fds;

	/* The source does not have it: the pidfd does. */
	for (int i = 0; i < 3; i++) {
		fake_refuse(engine, gone[i]);
		watch_at(&told, engine, child.pid, KNELL_AT_ANY);
	}
	fake_refuse(engine, -EALREADY);
	watch_at(&told, engine, child.pid, KNELL_AT_FREE);
	/* But not for what only the source can tell. */
	fake_refuse(engine, -ENOTSUP);
	o.moment = KNELL_AT_EXIT;
	ck_assert_int_eq(knell_watch_pid(engine, NULL, child.pid, &o), -ENOTSUP);
	o.moment = KNELL_AT_ANY;
	o.flags = KNELL_W_SUBTREE;
	ck_assert_int_eq(knell_watch_pid(engine, NULL, child.pid, &o), -ENOTSUP);
	fake_refuse(engine, -ENOSPC);
	fds = count_fds();
	ck_assert_int_eq(knell_watch_pid(engine, NULL, child.pid, &o), -ENOSPC);
	ck_assert_int_eq(count_fds(), fds);
	child_exit(&child, 6);
	told_wait(&told, engine, 4);
	for (int i = 0; i < 4; i++)
		check_exited(&told, i, 6);
	told_no_more(&told, engine, 20);
	child_reap(&child);
	knell_close(engine);
}
END_TEST

/* One record for all who watch it, and the first may end the others. */
START_TEST(test_shared_record)
{
	struct knell_engine *engine = open_fake(0);
	struct child child = child_start(NULL);
	struct knell_watch *watch[8];
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);

	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(knell_watch_pid(engine, &watch[i], child.pid, &o), 0);
	/* The last that was set is found first; two of the others, and itself. */
	told.cancel[0] = watch[3];
	told.cancel[1] = watch[5];
	told.cancel[2] = watch[7];
	push(engine, KNELL_EXIT, child.pid, NULL, 42 << 8);
	told_wait(&told, engine, 6);
	for (int i = 0; i < 6; i++)
		check_exited(&told, i, 42);
	told_no_more(&told, engine, 20);
	child_end(&child);
	knell_close(engine);
}
END_TEST

/* More tasks than the table has at first, none found by the record of another. */
START_TEST(test_many_records)
{
	struct knell_engine *engine = open_fake(KNELL_O_STREAM);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);

	/* Beyond all pids: no pidfd says that they are dead long since. */
	const pid_t base = INT32_MIN;

	o.flags = KNELL_W_FUTURE;
	ck_assert_int_eq(knell_watch_name(engine, NULL, "many", &o), 0);
	for (int i = 0; i < 50000; i++)
		push(engine, KNELL_CLONE, base + i, "many", 0);
	ck_assert_int_eq(knell_dispatch(engine), 50000);
	for (int i = 0; i < 50000; i += 1000)
		push(engine, KNELL_EXIT, base + i, NULL, i / 1000 << 8);
	told_wait(&told, engine, 50);
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(told.pid[i], base + i * 1000);
		check_exited(&told, i, i);
	}
	knell_close(engine);
}
END_TEST

/* ---- those born later ---- */

START_TEST(test_future_name)
{
	struct knell_engine *engine = open_fake(KNELL_O_STREAM);
	struct knell_watch *watch;
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	const pid_t base = 5000000; /* higher than any pid: real ones do not matter here */

	o.flags = KNELL_W_FUTURE;
	ck_assert_int_eq(knell_watch_name(engine, &watch, "wanted", &o), 0);
	/* Nobody is there, and that is not the last word. */
	told_no_more(&told, engine, 20);
	push(engine, KNELL_CLONE, base, "shell", 0);
	push(engine, KNELL_EXEC, base, "wanted", 0);
	push(engine, KNELL_CLONE, base + 1, "wanted", 0); /* a child of its own, the same program */
	push(engine, KNELL_CLONE, base + 2, "wanted", 0); /* a child that runs another one */
	push(engine, KNELL_EXEC, base + 2, "other", 0);
	push(engine, KNELL_CLONE, base + 3, "other", 0);
	push(engine, KNELL_EXEC, base, "wanted", 0); /* once more: it is known */
	push(engine, KNELL_CLONE, base + 1, "wanted", 0);
	for (int i = 3; i >= 0; i--)
		push(engine, KNELL_EXIT, base + i, NULL, i << 8);
	told_wait(&told, engine, 2);
	ck_assert_int_eq(told.pid[0], base + 1);
	check_exited(&told, 0, 1);
	ck_assert_int_eq(told.pid[1], base);
	check_exited(&told, 1, 0);
	ck_assert_ptr_eq(told.watch[1], watch);
	told_no_more(&told, engine, 150);
	/* Until it is cancelled. */
	push(engine, KNELL_CLONE, base + 4, "wanted", 0);
	push(engine, KNELL_EXIT, base + 4, NULL, 0);
	told_wait(&told, engine, 3);
	push(engine, KNELL_CLONE, base + 5, "wanted", 0);
	knell_dispatch(engine);
	knell_watch_cancel(watch);
	push(engine, KNELL_EXIT, base + 5, NULL, 0);
	push(engine, KNELL_CLONE, base + 6, "wanted", 0);
	push(engine, KNELL_EXIT, base + 6, NULL, 0);
	told_no_more(&told, engine, 150);
	knell_close(engine);
}
END_TEST

/* It is dead and its exit record was lost: certain, but not with what status. */
START_TEST(test_future_lost)
{
	struct knell_engine *engine = open_fake(KNELL_O_STREAM);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_DEAD);

	o.flags = KNELL_W_FUTURE;
	ck_assert_int_eq(knell_watch_name(engine, NULL, "wanted", &o), 0);
	push(engine, KNELL_CLONE, 5000000, "wanted", 0);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], KNELL_GONE);
	ck_assert_int_eq(told.pid[0], 5000000);
	told_no_more(&told, engine, 20);
	knell_close(engine);
}
END_TEST

START_TEST(test_future_needs_stream)
{
	struct knell_engine *engine = open_fake(0);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);

	o.flags = KNELL_W_FUTURE;
	ck_assert_int_eq(knell_watch_name(engine, NULL, "wanted", &o), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "KNELL_O_STREAM"));
	knell_close(engine);
}
END_TEST

static void push_in_cgroup(struct knell_engine *engine, unsigned int kind, pid_t pid,
			   uint64_t cgroup)
{
	struct knell_event e = { .size = KNELL_EVENT_HEAD + sizeof(e.u.exit) };

	e.kind = (uint8_t)kind;
	e.scope = KNELL_PROCESS;
	e.task = fake_id(pid);
	e.cgroup = cgroup;
	fake_push(engine, &e);
}

START_TEST(test_future_cgroup)
{
	struct knell_engine *engine = open_fake(KNELL_O_STREAM);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	char directory[256], below[300];
	struct stat top, sub;
	const char *path;

	if (!cgroup_make(directory, sizeof(directory), &path)) {
		say_skipped("no cgroup can be made");
		knell_close(engine);
		return;
	}
	o.flags = KNELL_W_FUTURE;
	ck_assert_int_eq(knell_watch_cgroup(engine, NULL, path, &o), 0);
	/* One that is made below it is another one. */
	snprintf(below, sizeof(below), "%s/below", directory);
	ck_assert_int_eq(mkdir(below, 0700), 0);
	ck_assert_int_eq(stat(directory, &top), 0);
	ck_assert_int_eq(stat(below, &sub), 0);
	push_in_cgroup(engine, KNELL_CLONE, 5000000, top.st_ino);
	push_in_cgroup(engine, KNELL_CLONE, 5000001, top.st_ino ^ (1u << 20));
	push_in_cgroup(engine, KNELL_CLONE, 5000002, sub.st_ino);
	push_in_cgroup(engine, KNELL_CLONE, 5000003, 1);
	push_in_cgroup(engine, KNELL_EXEC, 5000003, top.st_ino); /* was moved there */
	for (int i = 0; i < 4; i++)
		push_in_cgroup(engine, KNELL_EXIT, 5000000 + i, 1);
	told_wait(&told, engine, 2);
	ck_assert_int_eq(told.pid[0], 5000000);
	ck_assert_int_eq(told.pid[1], 5000003);
	told_no_more(&told, engine, 20);
	knell_close(engine);
	rmdir(below);
	rmdir(directory);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("watch_heard");
	TCase *tc = unit_case(suite, "moments");

	tcase_add_test(tc, test_at_once);
	tcase_add_test(tc, test_dead);
	tcase_add_test(tc, test_free);
	tcase_add_test(tc, test_free_is_lost);
	tcase_add_test(tc, test_free_given_up);
	tcase_add_test(tc, test_free_needs_records);
	tc = unit_case(suite, "who_tells");
	tcase_add_test(tc, test_missed);
	tcase_add_test(tc, test_asked_again);
	tcase_add_test(tc, test_unknown_status);
	tcase_add_test(tc, test_refused);
	tcase_add_test(tc, test_shared_record);
	tcase_add_test(tc, test_many_records);
	tc = unit_case(suite, "future");
	tcase_add_test(tc, test_future_name);
	tcase_add_test(tc, test_future_lost);
	tcase_add_test(tc, test_future_needs_stream);
	tcase_add_test(tc, test_future_cgroup);
	return suite;
}
