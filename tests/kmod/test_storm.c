/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_storm.c - many real processes die in many ways: each watched death is told once, with the
 * status that wait(2) has, and those of others never.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

/* Each exit has the status that wait(2) had. `pids` and `statuses` are by cookie. */
static void check_exits(const struct hearing *hearing, const pid_t *pids, const int *statuses,
			size_t count)
{
	bool *told = calloc(count, sizeof(*told));
	size_t i;

	ck_assert_ptr_nonnull(told);
	ck_assert_uint_eq(hearing->count, count);
	for (i = 0; i < count; i++) {
		const struct knell_event *event = &hearing->all[i].event;

		ck_assert_uint_eq(event->kind, KNELL_EXIT);
		ck_assert_uint_lt(event->cookie, count);
		ck_assert_msg(!told[event->cookie], "%d was told of twice", pids[event->cookie]);
		told[event->cookie] = true;
		/* Written by the thread that leaves last, whoever tells. */
		ck_assert_uint_gt(event->u.exit.usage.maxrss, 0);
		ck_assert_int_eq((int)event->task.tgid, pids[event->cookie]);
		ck_assert_msg(event->u.exit.status == statuses[event->cookie],
			      "%d: told %#x, wait has %#x", pids[event->cookie],
			      (unsigned int)event->u.exit.status,
			      (unsigned int)statuses[event->cookie]);
	}
	free(told);
}

/* `count` watched children and as many that nobody watches die at once. */
static void burst(int session, int count)
{
	pid_t *pids = calloc((size_t)count, sizeof(*pids));
	int *statuses = calloc((size_t)count, sizeof(*statuses));
	pid_t *others = calloc((size_t)count, sizeof(*others));
	struct hearing hearing = { .next_seq = 0 };
	static uint64_t seq;
	struct gate gate;
	int i;

	ck_assert(pids && statuses && others);
	hearing.next_seq = seq;
	gate_make(&gate);
	for (i = 0; i < count; i++) {
		pids[i] = spawn_at(&gate, i % 256);
		others[i] = spawn_at(&gate, 1);
		ck_assert_int_eq(session_watch(session, pids[i], 0, EXITS, (uint64_t)i, 0), 0);
	}
	gate_open(&gate);
	for (i = 0; i < count; i++) {
		statuses[i] = reap(pids[i]);
		reap(others[i]);
	}
	hear_until(&hearing, session, (size_t)count);
	hear_nothing(session);
	check_exits(&hearing, pids, statuses, (size_t)count);
	seq = hearing.next_seq;
	hearing_end(&hearing);
	free(pids);
	free(statuses);
	free(others);
}

START_TEST(ten_thousand_deaths)
{
	int session = session_open(O_NONBLOCK), bursts = getenv("KNELL_FEWER") ? 4 : 20, i;

	for (i = 0; i < bursts; i++)
		burst(session, 500);
	close(session);
}
END_TEST

START_TEST(a_thousand_at_once)
{
	struct knell_kmod_stats before, after;
	int session = session_open(O_NONBLOCK);

	before = session_stats(session);
	burst(session, 1000);
	after = session_stats(session);
	ck_assert_uint_eq(after.news - before.news, 1000);
	/* A list that is not empty has woken its reaper already. */
	ck_assert_uint_le(after.wakeups - before.wakeups, 1000);
	ck_assert_uint_ge(after.rounds, 1);
	close(session);
}
END_TEST

struct group {
	int threads;
	int leader_status; /* -1: the leader waits for a signal */
	bool together;     /* all go at the same time; else the leader goes first */
	int ready;         /* a pipe: all threads are there */
	pthread_barrier_t barrier;
};

static void *member(void *argument)
{
	struct group *group = argument;

	pthread_barrier_wait(&group->barrier);
	if (group->leader_status < 0)
		for (;;)
			pause();
	if (!group->together)
		usleep(2000);
	syscall(SYS_exit, 3); /* this thread's own; never the process's */
	return NULL;
}

/* A process of many threads. Never returns in the child. */
static pid_t spawn_group(struct group *group, const struct gate *gate)
{
	pid_t pid = spawn();
	pthread_t thread;
	int i;

	if (pid)
		return pid;
	pthread_barrier_init(&group->barrier, NULL, (unsigned int)group->threads);
	for (i = 1; i < group->threads; i++)
		if (pthread_create(&thread, NULL, member, group))
			_exit(98);
	if (write(group->ready, "", 1) != 1)
		_exit(97);
	gate_wait(gate);
	pthread_barrier_wait(&group->barrier);
	if (group->leader_status < 0)
		for (;;)
			pause();
	syscall(SYS_exit, group->leader_status);
	_exit(96);
}

/* Groups of threads die in the same way; `kill_them` by SIGKILL. */
static void groups(int count, struct group *group)
{
	int session = session_open(O_NONBLOCK), ready[2], i;
	struct hearing hearing = { .next_seq = 0 };
	pid_t *pids = calloc((size_t)count, sizeof(*pids));
	int *statuses = calloc((size_t)count, sizeof(*statuses));
	struct gate gate;
	char byte;

	ck_assert(pids && statuses && pipe(ready) == 0);
	group->ready = ready[1];
	gate_make(&gate);
	for (i = 0; i < count; i++) {
		pids[i] = spawn_group(group, &gate);
		ck_assert_int_eq(session_watch(session, pids[i], 0, EXITS, (uint64_t)i, 0), 0);
	}
	for (i = 0; i < count; i++)
		ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	gate_open(&gate);
	if (group->leader_status < 0) {
		usleep(20000);
		for (i = 0; i < count; i++)
			kill(pids[i], SIGKILL);
	}
	for (i = 0; i < count; i++) {
		statuses[i] = reap(pids[i]);
		if (group->leader_status < 0)
			ck_assert_int_eq(statuses[i], SIGKILL);
		else /* that of the thread that was last, who ever that is */
			ck_assert_int_lt(WEXITSTATUS(statuses[i]), 90);
	}
	hear_until(&hearing, session, (size_t)count);
	hear_nothing(session);
	check_exits(&hearing, pids, statuses, (size_t)count);
	hearing_end(&hearing);
	free(pids);
	free(statuses);
	close(ready[0]);
	close(ready[1]);
	close(session);
}

START_TEST(killed_groups)
{
	groups(50, &(struct group){ .threads = 20, .leader_status = -1 });
}
END_TEST

START_TEST(leader_first)
{
	groups(100, &(struct group){ .threads = 2, .leader_status = 7 });
}
END_TEST

/* Who is last, and who reads that all are gone, is a race. */
START_TEST(two_threads_race)
{
	groups(200, &(struct group){ .threads = 2, .leader_status = 7, .together = true });
}
END_TEST

START_TEST(two_hundred_threads)
{
	groups(10, &(struct group){ .threads = 200, .leader_status = 5, .together = true });
}
END_TEST

START_TEST(exit_group_of_two_hundred_threads)
{
	groups(5, &(struct group){ .threads = 200, .leader_status = -1 });
}
END_TEST

/* A death that nobody has read yet, while its number is used again, is not confused. */
START_TEST(number_used_again)
{
	int session = session_open(O_NONBLOCK), i;
	struct hearing hearing = { .next_seq = 0 };
	pid_t first, pid = 0;

	write_text("/proc/sys/kernel/pid_max", "400");
	first = spawn();
	if (!first)
		_exit(4);
	/* It may be dead by now: then that is what we are told. */
	ck_assert_int_eq(reap(first), 4 << 8);
	first = spawn();
	if (!first) {
		pause();
		_exit(0);
	}
	ck_assert_int_eq(session_watch(session, first, 0, EXITS, 1, 0), 0);
	kill(first, SIGKILL);
	reap(first);
	for (i = 0; i < 5000 && pid != first; i++) {
		pid = spawn();
		if (!pid)
			_exit(5);
		reap(pid);
	}
	ck_assert_int_eq(pid, first);
	write_text("/proc/sys/kernel/pid_max", "32768");
	hear_until(&hearing, session, 1);
	hear_nothing(session);
	ck_assert_int_eq(hearing.all[0].event.u.exit.status, SIGKILL);
	hearing_end(&hearing);
	close(session);
}
END_TEST

static volatile bool stop_switching;

/* Takes CPUs away and gives them back, all but the first. */
static void *switch_cpus(void *argument)
{
	unsigned int cpus = *(unsigned int *)argument, cpu, rounds = 0;
	char path[64];

	while (!stop_switching || rounds < 3) {
		for (cpu = 1; cpu < cpus; cpu++) {
			snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
			write_text(path, "0");
		}
		for (cpu = 1; cpu < cpus; cpu++) {
			snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
			write_text(path, "1");
		}
		rounds++;
		usleep(50000); /* each switch stops all CPUs: leave them some time */
	}
	return NULL;
}

START_TEST(cpus_come_and_go)
{
	unsigned int cpus = cpus_online();
	int session, i;
	pthread_t switcher;

	if (cpus == 1)
		return; /* The machine with four runs this. */
	session = session_open(O_NONBLOCK);
	ck_assert_int_eq(pthread_create(&switcher, NULL, switch_cpus, &cpus), 0);
	for (i = 0; i < 5; i++)
		burst(session, 200);
	stop_switching = true;
	pthread_join(switcher, NULL);
	ck_assert_uint_eq(cpus_online(), cpus);
	burst(session, 200);
	close(session);
}
END_TEST

void add_storm_tests(Suite *suite)
{
	TCase *storms = kmod_case(suite, "storms", 100);
	TCase *hotplug = kmod_case(suite, "hotplug", 100);
	TCase *groups_ = kmod_case(suite, "groups", 60);

	tcase_add_test(storms, ten_thousand_deaths);
	tcase_add_test(storms, a_thousand_at_once);
	tcase_add_test(storms, number_used_again);
	tcase_add_test(hotplug, cpus_come_and_go);
	tcase_add_test(groups_, killed_groups);
	tcase_add_test(groups_, leader_first);
	tcase_add_test(groups_, two_threads_race);
	tcase_add_test(groups_, two_hundred_threads);
	tcase_add_test(groups_, exit_group_of_two_hundred_threads);
}
