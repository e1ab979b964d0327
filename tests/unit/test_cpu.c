/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_cpu.c - a thread that belongs to one CPU, and others who change its mask.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu.h"
#include "main.h"

#define FLIPS 20000

struct flipper {
	pid_t tid;
	unsigned int a, b; /* CPUs */
	bool seen, done;   /* atomic: it was seen here and there; no more flips */
};

static void move(pid_t tid, unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(tid, sizeof(set), &set);
}

static void *flip(void *arg)
{
	struct flipper *f = arg;

	for (int i = 0; i < FLIPS || !__atomic_load_n(&f->seen, __ATOMIC_RELAXED); i++) {
		move(f->tid, f->b);
		move(f->tid, f->a);
	}
	__atomic_store_n(&f->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Two CPUs of ours; false: there is one only. */
static bool two_cpus(struct flipper *f)
{
	unsigned int found = 0;
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		*(found++ ? &f->b : &f->a) = cpu;
	}
	return found == 2;
}

/* The mask is ours again, and the thread still elsewhere for a moment: that is no error. */
START_TEST(test_moved_to_and_fro)
{
	struct flipper f = { .tid = (pid_t)syscall(SYS_gettid) };
	unsigned int kept = 0, lost = 0;
	pthread_t thread;

	if (!two_cpus(&f)) {
		puts("# one CPU only: nobody can be moved");
		return;
	}
	ck_assert(cpu_pin(f.a));
	ck_assert(cpu_keep(f.a));
	ck_assert(!cpu_keep(f.b));
	ck_assert_int_eq(pthread_create(&thread, NULL, flip, &f), 0);
	move(0, f.a);
	while (!__atomic_load_n(&f.done, __ATOMIC_ACQUIRE)) {
		if (cpu_keep(f.a))
			kept++;
		else
			lost++;
		/* It goes on until then; the test's limit ends it. */
		__atomic_store_n(&f.seen, kept && lost, __ATOMIC_RELAXED);
	}
	pthread_join(thread, NULL);
	ck_assert(cpu_keep(f.a));
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("cpu");
	TCase *tc = unit_case(suite, "keep");

	tcase_add_test(tc, test_moved_to_and_fro);
	return suite;
}
