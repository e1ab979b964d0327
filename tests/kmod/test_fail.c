/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_fail.c - memory runs out: each allocation of loading the module, of opening a session, of
 * setting a watch, also another module's, and of joining a table fails once. Then the call fails
 * with ENOMEM, nothing is left of it, and the next one works. It needs the debug build of the
 * module (kmod/fail.h), whose file is KNELL_KMOD_DEBUG.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

#define PARAMETERS "/sys/module/knell/parameters/"
#define MOST       100u /* allocations of one call */

static long parameter(const char *path)
{
	FILE *file = fopen(path, "re");
	long value;

	ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(fscanf(file, "%ld", &value), 1);
	fclose(file);
	return value;
}

static void fail_at(unsigned int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	write_text(PARAMETERS "fail_at", text);
}

/* Whatever was begun is given back, in the time that RCU and the work queue take. */
static void settled(long held)
{
	int i;

	for (i = 0; i < 3000 && parameter(PARAMETERS "held") != held; i++)
		usleep(10000);
	ck_assert_int_eq(parameter(PARAMETERS "held"), held);
}

/* Each test has the module freshly loaded, from the debug build. */
static void load_debug(void)
{
	const char *path = getenv("KNELL_KMOD_DEBUG");

	ck_assert_msg(path && access(path, R_OK) == 0, "KNELL_KMOD_DEBUG is not a module's file");
	setenv("KNELL_KMOD", path, 1);
	module_fresh("");
}

START_TEST(loading)
{
	unsigned int number;
	char options[32];
	int error;

	ck_assert_int_eq(module_unload(), 0);
	for (number = 1; number < MOST; number++) {
		snprintf(options, sizeof(options), "fail_at=%u", number);
		error = module_load(options);
		if (!error)
			break;
		ck_assert_int_eq(error, -ENOMEM);
		ck_assert(!module_loaded());
		ck_assert_int_eq(access(KNELL_KMOD_DEVICE, F_OK), -1);
	}
	/* The table, the work queue, the threads, hotplug and the device. */
	ck_assert_uint_gt(number, 5);
	ck_assert_uint_lt(number, MOST);
	ck_assert_int_gt(parameter(PARAMETERS "fail_at"), 0); /* it got through without this one */
	ck_assert_int_eq(module_unload(), 0);
	ck_assert_int_eq(module_load(""), 0);
}
END_TEST

START_TEST(opening)
{
	long held = parameter(PARAMETERS "held");
	unsigned int number;
	int fd = -1;

	for (number = 1; number < MOST && fd < 0; number++) {
		fail_at(number);
		fd = open(KNELL_KMOD_DEVICE, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			break;
		ck_assert_int_eq(errno, ENOMEM);
		ck_assert_int_eq(parameter(PARAMETERS "held"), held);
	}
	ck_assert_uint_gt(number, 3); /* the session, its lines, its scratch */
	ck_assert_uint_lt(number, MOST);
	fail_at(0);
	ck_assert_uint_eq(session_stats(fd).sessions, 1);
	close(fd);
	settled(held);
}
END_TEST

/* Sets a watch that wants everything (pidfd -1: of everybody), with the numberth allocation
 * failing. */
static int try_watch(int session, int pidfd, unsigned int number)
{
	const uint32_t whom = pidfd < 0 ? KNELL_KMOD_ALL : KNELL_KMOD_SUBTREE;
	int error;

	fail_at(number);
	error = session_watch_pidfd(session, pidfd, whom | KNELL_KMOD_DEAD, LIVES, number, 1000);
	ck_assert_int_eq(parameter(PARAMETERS "fail_at") > 0, error == 0);
	fail_at(0);
	return error;
}

/* Nothing was watched; the same session works on. */
static void works_on(int session, pid_t pid)
{
	ck_assert_uint_eq(session_stats(session).watches, 0);
	ck_assert_int_eq(session_watch(session, pid, KNELL_KMOD_SUBTREE, LIVES, 1000, 5), 0);
	ck_assert_int_eq(session_unwatch(session, 1000), 0);
}

/* All allocations of a watch fail, one after the other. Returns the session where none did. */
static int watch_at_last(int pidfd, pid_t pid)
{
	long held = parameter(PARAMETERS "held");
	unsigned int number;
	int session, error;

	for (number = 1; number < MOST; number++) {
		session = session_open(O_NONBLOCK);
		error = try_watch(session, pidfd, number);
		if (!error)
			break;
		ck_assert_int_eq(error, -ENOMEM);
		works_on(session, pid);
		close(session);
		settled(held);
	}
	/* Six hooks, the root, the bits of who is beyond its reserve, and the reserve. */
	ck_assert_uint_gt(number, 9);
	ck_assert_uint_lt(number, MOST);
	return session;
}

START_TEST(watching_everybody)
{
	long held = parameter(PARAMETERS "held");
	struct hearing hearing = { .next_seq = 0 };
	struct gate gate;
	int session;
	pid_t pid;

	gate_make(&gate);
	pid = spawn_at(&gate, 3);
	session = watch_at_last(-1, pid);
	gate_open(&gate);
	reap(pid);
	while (!heard_of(&hearing, pid, KNELL_EXIT))
		hear_until(&hearing, session, hearing.count + 1);
	hearing_end(&hearing);
	close(session);
	settled(held);
}
END_TEST

START_TEST(watching)
{
	long held = parameter(PARAMETERS "held");
	struct hearing hearing = { .next_seq = 0 };
	struct gate gate;
	int session, pidfd;
	pid_t pid;

	gate_make(&gate);
	pid = spawn_at(&gate, 3);
	pidfd = pidfd_of(pid);
	session = watch_at_last(pidfd, pid);
	close(pidfd);
	gate_open(&gate);
	reap(pid);
	hear_until(&hearing, session, 2); /* exit and free */
	hear_nothing(session);
	ck_assert_int_eq(hearing.all[0].event.u.exit.status, 3 << 8);
	hearing_end(&hearing);
	close(session);
	settled(held);
}
END_TEST

/* knell_watch_task(), through the module of tests/kmod/module. */
START_TEST(watching_from_a_module)
{
	long held = parameter(PARAMETERS "held");
	int error = -ENOMEM;
	unsigned int number;
	char text[32];
	pid_t pid;

	ck_assert_int_eq(other_load(TEST_KO, ""), 0);
	pid = spawn();
	if (!pid) {
		pause();
		_exit(0);
	}
	snprintf(text, sizeof(text), "%d d 0", (int)pid);
	for (number = 1; number < MOST; number++) {
		fail_at(number);
		error = write_error("/sys/module/knell_test/parameters/watch", text);
		if (!error)
			break;
		ck_assert_int_eq(error, -ENOMEM);
		settled(held);
	}
	ck_assert_uint_gt(number, 4); /* the watch, and three hooks */
	ck_assert_uint_lt(number, MOST);
	fail_at(0);
	kill(pid, SIGKILL);
	reap(pid);
	settled(held + 1); /* its handle is kept */
	others_unload();
	settled(held);
}
END_TEST

START_TEST(joining)
{
	long held = parameter(PARAMETERS "held");
	unsigned int number;
	int error;

	for (number = 1; number < MOST; number++) {
		fail_at(number);
		error = other_load(TEST_KO, "reserve=500");
		if (!error)
			break;
		ck_assert_int_eq(error, -ENOMEM);
		settled(held);
	}
	/* The table, a session's three, six hooks but one, the root, its bits and its reserve. */
	ck_assert_uint_gt(number, 11);
	ck_assert_uint_lt(number, MOST);
	fail_at(0);
	others_unload();
	settled(held);
}
END_TEST

void add_fail_tests(Suite *suite)
{
	TCase *tests = tcase_create("memory");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, load_debug, others_unload);
	tcase_add_test(tests, loading);
	tcase_add_test(tests, opening);
	tcase_add_test(tests, watching);
	tcase_add_test(tests, watching_from_a_module);
	tcase_add_test(tests, joining);
	tcase_add_test(tests, watching_everybody);
	suite_add_tcase(suite, tests);
}
