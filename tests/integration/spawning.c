/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * spawning.c - what the tests of knell_spawn() share; see spawning.h.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <knell/knell.h>

#include "spawning.h"

int troubles;

static void on_trouble(const char *what, void *userdata)
{
	(void)what;
	(void)userdata;
	__atomic_add_fetch(&troubles, 1, __ATOMIC_SEQ_CST);
}

struct knell_nursery *open_nursery(int mode)
{
	struct knell_nursery_options options = {
		.size = sizeof(options),
		.flags = mode ? KNELL_NURSERY_WAIT : 0,
		.trouble = on_trouble,
	};
	struct knell_nursery *nursery = NULL;

	ck_assert_msg(knell_nursery_open(&nursery, &options) == 0, "%s", knell_last_error());
	return nursery;
}

void drain(struct knell_nursery *nursery)
{
	ck_assert_int_eq(knell_nursery_drain(nursery, (int)test_seconds(DRAIN_S) * 1000), 0);
}

void on_death(const struct knell_death *death, void *userdata)
{
	struct heard *heard = userdata;
	sigset_t mask;

	heard->death = *death;
	heard->cpu = sched_getcpu();
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	heard->all_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
	__atomic_add_fetch(&heard->times, 1, __ATOMIC_SEQ_CST);
}

int try_run(struct knell_nursery *nursery, struct knell_spawn_options *o, const char *const argv[],
	    struct heard *heard)
{
	memset(heard, 0, sizeof(*heard));
	o->size = sizeof(*o);
	o->argv = (char *const *)(uintptr_t)argv;
	o->fn = on_death;
	o->userdata = heard;
	return knell_spawn(nursery, NULL, o);
}

int run(struct knell_nursery *nursery, struct knell_spawn_options *o, const char *const argv[])
{
	struct heard heard;
	int r = try_run(nursery, o, argv, &heard);

	ck_assert_msg(r == 0, "%s: %s", argv[0], knell_last_error());
	drain(nursery);
	ck_assert_int_eq(heard.times, 1);
	ck_assert_uint_eq(heard.death.flags, 0);
	return heard.death.status;
}

int run_shell(struct knell_nursery *nursery, struct knell_spawn_options *o, const char *script)
{
	return run(nursery, o, LIST("sh", "-c", script));
}

void await_word(uint32_t *word)
{
	double end = now() + test_seconds(DRAIN_S);
	const struct timespec second = { .tv_sec = 1 };

	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE)) {
		ck_assert_msg(now() < end, "the word is not set");
		syscall(SYS_futex, word, FUTEX_WAIT, 0, &second, NULL, 0);
	}
}

int two_cpus(int ret[2])
{
	cpu_set_t own;
	int n = 0;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(own), &own), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++) {
		if (CPU_ISSET(cpu, &own))
			ret[n++] = cpu;
	}
	return n;
}

void move_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

struct expected {
	struct spawner *spawner;
	int status;
};

static void on_expected(const struct knell_death *death, void *userdata)
{
	struct expected *expected = userdata;

	if (death->status != expected->status || death->flags)
		__atomic_add_fetch(&expected->spawner->wrong, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&expected->spawner->heard, 1, __ATOMIC_SEQ_CST);
	free(expected);
}

void *spawn_many(void *arg)
{
	struct spawner *me = arg;
	char code[8];
	const char *argv[] = { test_program("tiny"), code, NULL };

	for (unsigned int i = 0; i < me->count; i++) {
		struct expected *expected = grow(NULL, sizeof(*expected));
		struct knell_spawn_options o = {
			.size = sizeof(o),
			.argv = (char *const *)(uintptr_t)argv,
			.fn = on_expected,
			.userdata = expected,
		};

		snprintf(code, sizeof(code), "%u", (me->base + i) % 200);
		expected->spawner = me;
		expected->status = (int)((me->base + i) % 200) << 8;
		if (knell_spawn(me->nursery, NULL, &o) < 0) {
			__atomic_add_fetch(&me->wrong, 1, __ATOMIC_SEQ_CST);
			free(expected);
		}
	}
	return NULL;
}
