/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_task.c - knell_watch_task(), through the module of tests/kmod/module: one verdict, whatever
 * comes first; the end of a watch; and which modules can be unloaded when.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define PARAMETERS "/sys/module/knell_test/parameters/"

static int watch(pid_t pid, const char *how, unsigned int ms)
{
	char text[64];

	snprintf(text, sizeof(text), "%d %s %u", (int)pid, how, ms);
	return write_error(PARAMETERS "watch", text);
}

static int unwatch(pid_t pid)
{
	char text[64];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return write_error(PARAMETERS "unwatch", text);
}

struct calls {
	unsigned int watches;
	unsigned int calls;
	int status;
	unsigned int cpu, here;
};

/* What watches of this process heard; of several that heard, the last one's. */
static struct calls calls_of(pid_t pid)
{
	FILE *stream = fopen(PARAMETERS "calls", "re");
	struct calls sum = { .status = -1 }, one;
	int who;

	ck_assert_ptr_nonnull(stream);
	while (fscanf(stream, "%d %u %d %u %u", &who, &one.calls, &one.status, &one.cpu,
		      &one.here) == 5) {
		if (who != pid)
			continue;
		sum.watches++;
		sum.calls += one.calls;
		if (one.calls) {
			sum.status = one.status;
			sum.cpu = one.cpu;
			sum.here = one.here;
		}
	}
	fclose(stream);
	return sum;
}

/* Waits until all watches of this process were told: its calls. */
static struct calls await(pid_t pid)
{
	struct calls calls;
	int tries;

	for (tries = 0; tries < 600; tries++) {
		calls = calls_of(pid);
		if (calls.watches && calls.calls >= calls.watches)
			break;
		usleep(50000);
	}
	ck_assert_uint_eq(calls.calls, calls.watches);
	return calls;
}

static void test_load(void)
{
	ck_assert_int_eq(other_load(TEST_KO, ""), 0);
}

/* Each way to set a watch and to be told. */
START_TEST(told_once)
{
	static const char *const ways[] = { "-", "d", "n", "u", "dn", "du" };
	const char *how = ways[_i];
	struct calls calls;
	struct gate gate;
	pid_t pid;

	test_load();
	gate_make(&gate);
	pid = spawn_at(&gate, 7);
	ck_assert_int_eq(watch(pid, how, 20), 0);
	ck_assert_int_eq(watch(pid, how, 20), 0);
	usleep(100000);
	ck_assert_uint_eq(calls_of(pid).calls, 0);
	gate_open(&gate);
	ck_assert_int_eq(reap(pid), 7 << 8);
	calls = await(pid);
	usleep(100000);
	ck_assert_uint_eq(calls_of(pid).calls, 2);
	ck_assert_int_eq(calls.status, 7 << 8);
	if (!strchr(how, 'd')) /* the moment `dead` may come on another CPU than the exit */
		ck_assert_uint_eq(calls.cpu, calls.here);
	if (strcspn(how, "nu") == strlen(how)) {
		ck_assert_int_eq(unwatch(pid), -EALREADY);
		ck_assert_int_eq(unwatch(pid), -EALREADY);
	}
	ck_assert_int_eq(unwatch(pid), -ENOENT);
}
END_TEST

/* A zombie is dead: nothing is called, nothing is held. */
START_TEST(absent)
{
	siginfo_t info;
	pid_t pid;

	test_load();
	pid = spawn();
	if (!pid)
		_exit(1);
	ck_assert_int_eq(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
	ck_assert_int_eq(watch(pid, "-", 0), -ESRCH);
	ck_assert_int_eq(watch(pid, "d", 0), -ESRCH);
	ck_assert_int_eq(watch(pid, "n", 0), -ESRCH);
	reap(pid);
	ck_assert_int_eq(watch(pid, "-", 0), -ENXIO); /* the module finds no such task */
	ck_assert_uint_eq(calls_of(pid).calls, 0);
	ck_assert_int_eq(other_unload("knell_test"), 0);
	ck_assert_int_eq(module_unload(), 0);
}
END_TEST

START_TEST(ended_before)
{
	struct gate gate;
	pid_t pid;
	int tries;

	test_load();
	gate_make(&gate);
	pid = spawn_at(&gate, 0);
	ck_assert_int_eq(watch(pid, "-", 0), 0);
	ck_assert_int_eq(other_unload("knell_test"), -EWOULDBLOCK);
	ck_assert_int_eq(unwatch(pid), 0);
	ck_assert_int_eq(other_unload("knell_test"), 0);
	test_load();
	ck_assert_int_eq(watch(pid, "d", 0), 0);
	ck_assert_int_eq(watch(pid, "-", 0), 0);
	ck_assert_int_eq(unwatch(pid), 0);
	gate_open(&gate);
	reap(pid);
	for (tries = 0; tries < 600 && !calls_of(pid).calls; tries++)
		usleep(50000);
	usleep(300000); /* for the other one, which is not to come */
	ck_assert_uint_eq(calls_of(pid).calls, 1);
	ck_assert_int_eq(unwatch(pid), -EALREADY);
}
END_TEST

/* False: on a busy machine we came too early, and it was not running yet, or too late. */
static bool end_while_running(void)
{
	struct gate gate;
	int unloaded, r;
	pid_t pid;

	gate_make(&gate);
	pid = spawn_at(&gate, 0);
	ck_assert_int_eq(watch(pid, "-", 1500), 0);
	gate_open(&gate);
	reap(pid);
	usleep(200000);
	if (calls_of(pid).calls)
		return false;
	unloaded = other_unload("knell_test");
	if (!unloaded) { /* it has returned in between */
		test_load();
		return false;
	}
	ck_assert_int_eq(unloaded, -EWOULDBLOCK);
	r = unwatch(pid);
	if (!r)
		return false;
	ck_assert_int_eq(r, -EALREADY);
	ck_assert_uint_eq(calls_of(pid).calls, 1);
	return true;
}

/* Whoever ends a watch whose function is running waits; and its module stays. */
START_TEST(ended_while_running)
{
	int tries = 0;

	test_load();
	while (!end_while_running())
		ck_assert_int_lt(++tries, 10);
}
END_TEST

static void *wait_forever(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

static void *end_all(void *unused)
{
	(void)unused;
	_exit(5);
}

/* Many that die at once, by themselves and by SIGKILL, alone and with threads. */
START_TEST(many_at_once)
{
	struct gate gate;
	pid_t pids[100];
	int i;

	test_load();
	gate_make(&gate);
	for (i = 0; i < 100; i++) {
		pids[i] = spawn();
		if (!pids[i]) {
			pthread_t thread;

			if (i % 3 == 0)
				pthread_create(&thread, NULL, wait_forever, NULL);
			gate_wait(&gate);
			if (i % 3 == 1)
				pthread_create(&thread, NULL, end_all, NULL);
			if (i % 2)
				wait_forever(NULL);
			_exit(5);
		}
		ck_assert_int_eq(watch(pids[i], i % 4 ? "-" : "d", i % 5), 0);
	}
	gate_open(&gate);
	for (i = 0; i < 100; i++)
		if (i % 2)
			kill(pids[i], SIGKILL);
	for (i = 0; i < 100; i++) {
		int status = reap(pids[i]);
		struct calls calls = await(pids[i]);

		ck_assert_uint_eq(calls.calls, 1);
		ck_assert_int_eq(calls.status, status);
	}
	for (i = 0; i < 100; i++)
		ck_assert_int_eq(unwatch(pids[i]), -EALREADY);
}
END_TEST

/* A watch that is set while its process dies gets the death, or is absent: never both or none. */
START_TEST(set_while_dying)
{
	unsigned int told = 0;
	int i;

	test_load();
	for (i = 0; i < 120; i++) {
		struct gate gate;
		int error;
		pid_t pid;

		gate_make(&gate);
		pid = spawn_at(&gate, 3);
		gate_open(&gate);
		usleep((useconds_t)i * 20);
		error = watch(pid, i % 2 ? "-" : "d", 0);
		reap(pid);
		if (error) {
			ck_assert_int_eq(error, -ESRCH);
			continue;
		}
		told++;
		ck_assert_uint_eq(await(pid).calls, 1);
		ck_assert_int_eq(unwatch(pid), -EALREADY);
	}
	ck_assert_uint_gt(told, 0);
}
END_TEST

static void set_online(unsigned int cpu, const char *online)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	write_text(path, online);
}

/* Takes one CPU after the other away, but the first, until it is killed. */
static void switch_cpus(unsigned int cpus)
{
	unsigned int i;

	for (i = 0;; i++) {
		unsigned int cpu = i % (cpus - 1) + 1;

		set_online(cpu, "0");
		usleep(20000);
		set_online(cpu, "1");
	}
}

/* CPUs go offline with functions that sleep on their reapers, and with deaths on their lists. */
START_TEST(cpus_come_and_go)
{
	unsigned int cpus = cpus_online(), i;
	pid_t pids[100], switcher;
	struct gate gate;

	if (cpus == 1)
		return; /* The machine with four runs this. */
	test_load();
	switcher = spawn();
	if (!switcher)
		switch_cpus(cpus);
	gate_make(&gate);
	for (i = 0; i < 100; i++) {
		pids[i] = spawn_at(&gate, (int)i);
		ck_assert_int_eq(watch(pids[i], i % 4 ? "-" : "d", 30), 0);
	}
	for (i = 0; i < 60; i++) {
		kill(pids[i], SIGKILL);
		usleep(10000);
	}
	gate_open(&gate);
	for (i = 0; i < 100; i++) {
		int status = reap(pids[i]);
		struct calls calls = await(pids[i]);

		ck_assert_uint_eq(calls.calls, 1);
		ck_assert_int_eq(calls.status, status);
		ck_assert_int_eq(unwatch(pids[i]), -EALREADY);
	}
	kill(switcher, SIGKILL);
	reap(switcher);
	for (i = 1; i < cpus; i++)
		set_online(i, "1");
	ck_assert_uint_eq(cpus_online(), cpus);
}
END_TEST

/* Its function arms a hook, for which all CPUs must be there, while its own one goes offline. */
START_TEST(hook_armed_by_a_function)
{
	unsigned int last = cpus_online() - 1;
	struct calls calls;
	struct gate gate;
	cpu_set_t cpus;
	pid_t pid;

	if (!last)
		return;   /* The machine with four runs this. */
	module_fresh(""); /* no hook is armed */
	test_load();
	gate_make(&gate);
	CPU_ZERO(&cpus);
	CPU_SET(last, &cpus);
	pid = spawn();
	if (!pid) {
		sched_setaffinity(0, sizeof(cpus), &cpus);
		gate_wait(&gate);
		_exit(6);
	}
	ck_assert_int_eq(watch(pid, "w", 500), 0);
	gate_open(&gate);
	ck_assert_int_eq(reap(pid), 6 << 8);
	usleep(100000); /* the function sleeps */
	set_online(last, "0");
	calls = await(pid);
	set_online(last, "1");
	ck_assert_int_eq(calls.status, 6 << 8);
	ck_assert_uint_eq(calls.cpu, last);
	ck_assert_int_eq(unwatch(pid), -EALREADY);
	ck_assert_uint_eq(cpus_online(), last + 1);
}
END_TEST

/* Modules come and go in one order only. */
START_TEST(load_order)
{
	ck_assert_int_eq(module_unload(), 0);
	ck_assert_int_eq(other_load(TEST_KO, ""), -ENOENT); /* unknown symbols */
	ck_assert_int_eq(module_load(""), 0);
	test_load();
	ck_assert_int_eq(module_unload(), -EWOULDBLOCK);
	ck_assert_int_eq(other_unload("knell_test"), 0);
	ck_assert_int_eq(module_unload(), 0);
}
END_TEST

void add_task_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "task", 60);

	tcase_add_loop_test(tests, told_once, 0, 6);
	tcase_add_test(tests, absent);
	tcase_add_test(tests, ended_before);
	tcase_add_test(tests, ended_while_running);
	tcase_add_test(tests, many_at_once);
	tcase_add_test(tests, set_while_dying);
	tcase_add_test(tests, cpus_come_and_go);
	tcase_add_test(tests, hook_armed_by_a_function);
	tcase_add_test(tests, load_order);
}
