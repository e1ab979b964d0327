/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_module.c - loading and unloading: refused while a session is open, and again and again while
 * processes are born and die, and after readers that crashed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

START_TEST(not_while_in_use)
{
	int session;
	pid_t pid = spawn();

	if (!pid) {
		pause();
		_exit(0);
	}
	session = session_open(O_NONBLOCK);
	ck_assert_int_eq(module_unload(), -EWOULDBLOCK);
	ck_assert_int_eq(session_watch(session, pid, KNELL_KMOD_SUBTREE, LIVES, 1, 10), 0);
	ck_assert_int_eq(module_unload(), -EWOULDBLOCK);
	close(session);
	ck_assert_int_eq(module_unload(), 0);
	ck_assert_int_eq(access(KNELL_KMOD_DEVICE, F_OK), -1);
	kill(pid, SIGKILL);
	reap(pid);
}
END_TEST

START_TEST(bad_parameters)
{
	ck_assert_int_eq(module_unload(), 0);
	ck_assert_int_eq(module_load("hash_bits=5"), -EINVAL);
	ck_assert_int_eq(module_load("hash_bits=21"), -EINVAL);
	ck_assert(!module_loaded());
	ck_assert_int_eq(module_load("hash_bits=6 fifo=1"), 0);
}
END_TEST

/* Processes that are born and die until they are killed. */
static pid_t storm(void)
{
	pid_t pid = spawn();

	if (pid)
		return pid;
	for (;;) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		if (child > 0)
			waitpid(child, NULL, 0);
	}
}

/* One life of the module: a session on the storm, whose reader ends in one of several ways. */
static void live_once(pid_t target, int how)
{
	struct hearing hearing = { .next_seq = 0 };
	int session;
	pid_t reader;

	ck_assert_int_eq(module_load(""), 0);
	session = session_open(O_NONBLOCK);
	ck_assert_int_eq(session_watch(session, target,
				       KNELL_KMOD_SUBTREE | (how & 1 ? KNELL_KMOD_DEAD : 0), LIVES,
				       1, how & 2 ? 100 : 2),
			 0);
	ck_assert_int_eq(module_unload(), -EWOULDBLOCK); /* in use */
	if (how & 4) {
		hear_until(&hearing, session, 5);
	} else {
		reader = spawn();
		if (!reader) {
			char buffer[4096];

			fcntl(session, F_SETFL, 0);
			while (read(session, buffer, sizeof(buffer)) > 0)
				;
			_exit(1);
		}
		usleep(1000);
		kill(reader, SIGKILL);
		reap(reader);
	}
	hearing_end(&hearing);
	close(session);
	ck_assert_int_eq(module_unload(), 0);
}

START_TEST(two_hundred_lives)
{
	pid_t storms[2];
	int i;

	ck_assert_int_eq(module_unload(), 0);
	storms[0] = storm();
	storms[1] = storm();
	for (i = 0; i < 200; i++)
		live_once(storms[i % 2], i);
	for (i = 0; i < 2; i++) {
		kill(storms[i], SIGKILL);
		reap(storms[i]);
	}
}
END_TEST

/* Watchers of everybody join and leave while processes are born and die. */
START_TEST(tables_in_a_storm)
{
	pid_t storms[2];
	int i;

	storms[0] = storm();
	storms[1] = storm();
	for (i = 0; i < 50; i++) {
		ck_assert_int_eq(other_load(TEST_KO, i % 2 ? "reserve=4096" : "reserve=1"), 0);
		usleep((useconds_t)(i % 7) * 5000);
		ck_assert_int_eq(other_unload("knell_test"), 0);
	}
	for (i = 0; i < 2; i++) {
		kill(storms[i], SIGKILL);
		reap(storms[i]);
	}
}
END_TEST

void add_module_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "module", 100);
	TCase *tables = kmod_case(suite, "tables", 60);

	tcase_add_test(tests, not_while_in_use);
	tcase_add_test(tests, bad_parameters);
	tcase_add_test(tests, two_hundred_lives);
	tcase_add_test(tables, tables_in_a_storm);
}
