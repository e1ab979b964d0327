/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_library.c - libknell in a program of its own: in a foreign poll loop, watching from the
 * first instruction, several engines, closing early, reconciling, and leaving nothing behind.
 */
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ear.h"
#include "support.h"

const char test_suite_name[] = "library";

/*
 * A loop that is not ours: a timer of its own and Knell's descriptor, level-triggered. The death
 * must make the descriptor readable by itself, and it must fall silent once all is dispatched.
 */
START_TEST(foreign_poll_loop)
{
	struct itimerspec spec = { .it_value.tv_nsec = 20000000, .it_interval.tv_nsec = 20000000 };
	struct ear ear;
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	double end = now() + test_seconds(50);
	unsigned int i;
	pid_t pid;

	ear_open(&ear, NULL);
	fds[0].fd = knell_fd(ear.engine);
	fds[1].fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	ck_assert_int_ge(fds[0].fd, 0);
	ck_assert_int_eq(timerfd_settime(fds[1].fd, 0, &spec, NULL), 0);
	pid = ear_start(&ear, LIST(test_program("storm"), "-n", "300"));
	while (ear.heard[KNELL_EXIT] < 301) {
		uint64_t expirations;

		ck_assert_msg(now() < end, "the descriptor did not wake us: %llu deaths",
			      (unsigned long long)ear.heard[KNELL_EXIT]);
		ck_assert_int_ge(poll(fds, 2, 1000), 0);
		if (fds[1].revents & POLLIN)
			ck_assert_int_eq(read(fds[1].fd, &expirations, 8), 8);
		if (fds[0].revents & POLLIN)
			ck_assert_int_ge(knell_dispatch(ear.engine), 0);
	}
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	ear_expect_whole_lives(&ear);
	/* What is batched may still come, and a reaper may look twice before it sleeps. */
	for (i = 0; i < 100 && poll(fds, 1, 200) > 0; i++)
		ck_assert_int_ge(knell_dispatch(ear.engine), 0);
	ck_assert_msg(i < 100, "readable again and again, but nothing happens any more");
	close(fds[1].fd);
	ear_close(&ear);
}
END_TEST

/* The child forks as its very first act: its children are heard, and it is known as the root. */
START_TEST(watched_from_the_first_instruction)
{
	unsigned int round, rounds = test_scaled(200), i;
	const struct knell_event *birth;
	struct ear ear;

	ear_open(&ear, NULL);
	for (round = 0; round < rounds; round++) {
		uint64_t births = ear.heard[KNELL_CLONE], deaths = ear.heard[KNELL_EXIT];
		pid_t pid = knell_fork(ear.engine);

		if (pid == 0) {
			for (i = 0; i < 3; i++)
				if (fork() == 0)
					_exit(4);
			while (wait(NULL) > 0)
				;
			_exit(5);
		}
		ck_assert_msg(pid > 0, "knell_fork: %s", knell_last_error());
		ck_assert_int_eq(ear_serve(&ear, pid), W_EXITCODE(5, 0));
		ck_assert_uint_eq(ear.heard[KNELL_CLONE] - births, 4);
		ck_assert_uint_eq(ear.heard[KNELL_EXIT] - deaths, 4);
		birth = ear_find(&ear, KNELL_CLONE, pid);
		ck_assert(birth && birth->flags & KNELL_F_ROOT);
		ck_assert_uint_eq(birth->parent.tgid, (uint32_t)getpid());
	}
	ear_expect_whole_lives(&ear);
	ear_close(&ear);
}
END_TEST

/* Children that were not made by knell_fork() are nobody's business. */
START_TEST(others_are_not_heard)
{
	struct ear ear;
	pid_t pid, other;

	ear_open(&ear, NULL);
	other = spawn(NULL, LIST(test_program("tiny"), "3"));
	ck_assert_int_eq(await_exit(other), W_EXITCODE(3, 0));
	pid = ear_start(&ear, LIST(test_program("tiny"), "4"));
	ck_assert_int_eq(ear_serve(&ear, pid), W_EXITCODE(4, 0));
	ck_assert_uint_eq(ear.heard[KNELL_CLONE], 1);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT], 1);
	ck_assert_ptr_null(ear_find(&ear, KNELL_EXIT, other));
	ear_close(&ear);
}
END_TEST

START_TEST(two_engines)
{
	struct ear one, two;
	pid_t first, second;

	ear_open(&one, NULL);
	ear_open(&two, NULL);
	first = ear_start(&one, LIST(test_program("storm"), "-n", "200"));
	ck_assert_int_eq(ear_serve(&one, first), 0);
	second = ear_start(&two, LIST(test_program("storm"), "-n", "100"));
	ck_assert_int_eq(ear_serve(&two, second), 0);
	ck_assert_int_ge(knell_dispatch(one.engine), 0);
	ck_assert_uint_eq(one.heard[KNELL_EXIT], 201);
	ck_assert_uint_eq(two.heard[KNELL_EXIT], 101);
	ear_expect_whole_lives(&one);
	ear_expect_whole_lives(&two);
	ear_close(&one);

	/* The end of one is not the end of the other. */
	second = ear_start(&two, LIST(test_program("storm"), "-n", "50"));
	ck_assert_int_eq(ear_serve(&two, second), 0);
	ck_assert_uint_eq(two.heard[KNELL_EXIT], 152);
	ear_close(&two);
}
END_TEST

START_TEST(close_with_tasks_alive)
{
	struct ear ear;
	pid_t pid, victim;

	ear_open(&ear, NULL);
	pid = ear_start(&ear, LIST(test_program("deaths"), "--truth", "truth", "wait"));
	victim = await_number("truth", "ready");
	ear_close(&ear);
	sleep_ms(50);
	ck_assert_msg(await_state(victim, "S"), "it is in state '%c'", shown_state(victim));
	ck_assert_msg(await_state(pid, "S"), "it is in state '%c'", shown_state(pid));
	kill(victim, SIGTERM);
	ck_assert_int_eq(await_exit(pid), 0);
}
END_TEST

START_TEST(reconcile_tells_who_lives)
{
	const struct knell_event *event;
	struct ear ear;
	pid_t pid, victim;
	uint64_t births;
	size_t i, found = 0;

	ear_open(&ear, NULL);
	pid = ear_start(&ear, LIST(test_program("deaths"), "--truth", "truth", "wait"));
	victim = await_number("truth", "ready");
	ck_assert_int_ge(knell_dispatch(ear.engine), 0);
	births = ear.heard[KNELL_CLONE];
	i = ear.count;
	ck_assert_int_eq(knell_reconcile(ear.engine), 2);
	ck_assert_uint_eq(ear.heard[KNELL_CLONE] - births, 2);
	for (; i < ear.count; i++) {
		event = &ear.all[i];
		ck_assert(event->flags & KNELL_F_RECONCILED);
		ck_assert_str_eq(event->comm, "deaths");
		found += event->task.tgid == (uint32_t)pid || event->task.tgid == (uint32_t)victim;
	}
	ck_assert_uint_eq(found, 2);
	kill(victim, SIGKILL);
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	ck_assert_int_eq(knell_reconcile(ear.engine), 0);
	ear_close(&ear);
}
END_TEST

static void live_and_close(void)
{
	struct ear ear;
	pid_t pid;

	ear_open(&ear, NULL);
	pid = ear_start(&ear, LIST(test_program("openfds"), "heard"));
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	ear_close(&ear);
}

/* Nothing stays open or allocated, no thread stays behind, and a child inherits none of it. */
START_TEST(nothing_is_left_behind)
{
	unsigned int before, n_threads, i;
	size_t allocated;
	char *bare, *heard;
	pid_t pid;

	/* What is made once and for all is made now, and malloc(3) fills its caches. */
	for (i = 0; i < 16; i++)
		live_and_close();
	before = count_entries("/proc/self/fd");
	n_threads = count_entries("/proc/self/task");
	allocated = mallinfo2().uordblks;
	for (i = 0; i < 8; i++)
		live_and_close();
	ck_assert_uint_eq(count_entries("/proc/self/fd"), before);
	await_threads(n_threads);
	/* This test itself keeps the names of programs. Sanitizers count elsewhere: 0. */
	allocated = mallinfo2().uordblks - allocated;
	ck_assert_msg(allocated < 3000 || allocated > SIZE_MAX / 2, "%zu bytes are still allocated",
		      allocated);
	pid = fork();
	if (pid == 0) {
		execl(test_program("openfds"), "openfds", "bare", NULL);
		_exit(198);
	}
	ck_assert_int_eq(await_exit(pid), 0);
	heard = read_file("heard");
	bare = read_file("bare");
	ck_assert_str_eq(heard, bare);
}
END_TEST

START_TEST(options_are_checked)
{
	struct knell_options options = { .size = sizeof(options), .source = "nonsense" };
	struct {
		struct knell_options known;
		uint64_t unknown;
	} newer = { { .size = sizeof(newer), .source = test_source() }, 0 };
	struct knell_engine *engine = (void *)&options;

	ck_assert_int_eq(knell_open(&engine, &options), -EINVAL);
	ck_assert_ptr_eq(engine, (void *)&options);
	ck_assert_str_ne(knell_last_error(), "");
	options.source = test_source();
	options.reserve = 2000000;
	ck_assert_int_eq(knell_open(&engine, &options), -EINVAL);
	ck_assert_int_eq(knell_open(&engine, &newer.known), 0);
	knell_close(engine);
	newer.unknown = 1;
	ck_assert_int_eq(knell_open(&engine, &newer.known), -E2BIG);
	ck_assert_ptr_null(knell_close(NULL));
}
END_TEST

/* What a record says of the process that made it is what this process knows. */
START_TEST(records_are_true)
{
	const struct knell_event *birth, *death;
	struct ear ear;
	pid_t pid;

	ear_open(&ear, NULL);
	pid = ear_start(&ear, LIST(test_program("tiny"), "6"));
	ck_assert_int_eq(ear_serve(&ear, pid), W_EXITCODE(6, 0));
	birth = ear_find(&ear, KNELL_CLONE, pid);
	death = ear_find(&ear, KNELL_EXIT, pid);
	ck_assert(birth && death);
	ck_assert_uint_eq(birth->task.tid, birth->task.tgid);
	ck_assert_uint_eq(birth->parent.tgid, (uint32_t)getpid());
	ck_assert_str_eq(death->comm, "tiny");
	ck_assert_int_eq(death->u.exit.status, W_EXITCODE(6, 0));
	ck_assert_uint_eq(death->u.exit.reason, KNELL_R_NONE);
	ck_assert_uint_eq(death->u.exit.killer.signo, 0);
	ck_assert(birth->unknown & KNELL_U_UID || birth->uid == getuid());
	ck_assert(birth->unknown & KNELL_U_GID || birth->gid == getgid());
	ck_assert_uint_ge(death->time, birth->time);
	ck_assert(!(birth->flags & KNELL_F_START_STAMP) || !test_source_in_kernel());
	if (!(death->unknown & KNELL_U_RSS)) {
		ck_assert_uint_gt(death->u.exit.usage.maxrss, 0);
		ck_assert_uint_lt(death->u.exit.usage.maxrss, 64u << 20);
	}
	ear_close(&ear);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "library", 60);

	tcase_add_test(tcase, foreign_poll_loop);
	tcase_add_test(tcase, watched_from_the_first_instruction);
	tcase_add_test(tcase, others_are_not_heard);
	tcase_add_test(tcase, two_engines);
	tcase_add_test(tcase, close_with_tasks_alive);
	tcase_add_test(tcase, reconcile_tells_who_lives);
	tcase_add_test(tcase, nothing_is_left_behind);
	tcase_add_test(tcase, options_are_checked);
	tcase_add_test(tcase, records_are_true);
}
