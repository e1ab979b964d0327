/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_coexist.c - knell_spawn() in a program that has children of its own, by every means that
 * programs use: a SIGCHLD handler, system(), popen(), posix_spawn() and fork() with directed waits,
 * libuv. Each child is a real program with a status of its own; nobody may get another one's, lose
 * one, or leave a zombie or a descriptor. KNELL_TEST_SPAWNS makes it as long as you like: so many
 * children for each test.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <knell/knell.h>
#include <knell/spawn.h>

#include "support.h"

const char test_suite_name[] = "coexist";

#define CODES       200 /* exit codes in turn */
#define MOST_SPAWNS 10000000u
#define SLOWEST     100 /* children a second */

/* 0: as many as usual. */
static unsigned int wanted_spawns(void)
{
	const char *text = getenv("KNELL_TEST_SPAWNS");
	unsigned long n = text ? strtoul(text, NULL, 10) : 0;

	return n < MOST_SPAWNS ? (unsigned int)n : MOST_SPAWNS;
}

/* For each of so many workers. */
static unsigned int share(unsigned int workers)
{
	unsigned int n = wanted_spawns();

	return n ? (n + workers - 1) / workers : test_scaled(200);
}

struct worker {
	struct knell_nursery *nursery;
	unsigned int count;
	unsigned int done;
	unsigned int wrong;
	char first[200]; /* what went wrong first */
};

static void note(struct worker *w, int got, int wanted, const char *what)
{
	__atomic_add_fetch(&w->done, 1, __ATOMIC_SEQ_CST);
	if (got == wanted)
		return;
	if (__atomic_fetch_add(&w->wrong, 1, __ATOMIC_SEQ_CST) == 0)
		snprintf(w->first, sizeof(w->first), "%s: status %#x, not %#x", what,
			 (unsigned int)got, (unsigned int)wanted);
}

/* A program that ends with this code; the text stays. */
struct command {
	char code[8];
	const char *argv[3];
	int status;
};

static void make_command(struct command *command, unsigned int i)
{
	snprintf(command->code, sizeof(command->code), "%u", i % CODES);
	command->argv[0] = test_program("tiny");
	command->argv[1] = command->code;
	command->argv[2] = NULL;
	command->status = (int)(i % CODES) << 8;
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return status;
}

/* ---- who has children ---- */

struct expected {
	struct worker *worker;
	struct command command;
};

static void on_death(const struct knell_death *death, void *userdata)
{
	struct expected *expected = userdata;

	note(expected->worker, death->flags ? -1 : death->status, expected->command.status,
	     "knell_spawn");
	free(expected);
}

static void *by_knell(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < w->count; i++) {
		struct expected *expected = grow(NULL, sizeof(*expected));
		struct knell_spawn_options o = { .size = sizeof(o),
						 .fn = on_death,
						 .userdata = expected };
		int r;

		expected->worker = w;
		make_command(&expected->command, i);
		o.argv = (char *const *)(uintptr_t)expected->command.argv;
		r = knell_spawn(w->nursery, NULL, &o);
		if (r < 0) {
			note(w, r, 0, knell_last_error());
			free(expected);
		}
		/* So that there are never many at once. */
		if (i % 50 == 49)
			knell_nursery_drain(w->nursery, 10000);
	}
	return NULL;
}

static void *by_posix_spawn(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < w->count; i++) {
		struct command command = { 0 };
		pid_t pid;
		int r;

		make_command(&command, i);
		r = posix_spawn(&pid, command.argv[0], NULL, NULL,
				(char *const *)(uintptr_t)command.argv, environ);
		note(w, r ? -r : wait_for(pid), command.status, "posix_spawn");
	}
	return NULL;
}

static void *by_fork(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < w->count; i++) {
		struct command command = { 0 };
		pid_t pid;

		make_command(&command, i);
		pid = fork();
		if (pid == 0) {
			execv(command.argv[0], (char *const *)(uintptr_t)command.argv);
			_exit(127);
		}
		note(w, pid < 0 ? -errno : wait_for(pid), command.status, "fork");
	}
	return NULL;
}

static void *by_system(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < w->count; i++) {
		char text[32];

		snprintf(text, sizeof(text), "exit %u", i % CODES);
		/* NOLINTNEXTLINE(cert-env33-c): what programs do */
		note(w, system(text), (int)(i % CODES) << 8, "system");
	}
	return NULL;
}

static void *by_popen(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < w->count; i++) {
		char text[64], line[16] = "";
		FILE *pipe;

		snprintf(text, sizeof(text), "echo %u; exit %u", i, i % CODES);
		/* NOLINTNEXTLINE(cert-env33-c): what programs do */
		pipe = popen(text, "re");
		if (!pipe || !fgets(line, sizeof(line), pipe) ||
		    strtoul(line, NULL, 10) != (unsigned long)i)
			note(w, -1, 0, "popen");
		note(w, pipe ? pclose(pipe) : -1, (int)(i % CODES) << 8, "pclose");
	}
	return NULL;
}

static int signals;

static void on_child(int signo)
{
	(void)signo;
	__atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED);
}

static void expect_right(const struct worker *w, unsigned int done, const char *who)
{
	ck_assert_msg(w->wrong == 0, "%s: %u of %u wrong, first: %s", who, w->wrong, w->done,
		      w->first);
	ck_assert_msg(w->done == done, "%s: %u of %u", who, w->done, done);
}

/* No zombie, no child: neither ours nor anybody's. */
static void expect_no_child_left(void)
{
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

START_TEST(everybody_at_once)
{
	static void *(*const bodies[])(void *) = { by_knell, by_knell,  by_posix_spawn,
						   by_fork,  by_system, by_popen };
	enum {
		BODIES = sizeof(bodies) / sizeof(bodies[0])
	};
	struct sigaction handler = { .sa_handler = on_child, .sa_flags = SA_RESTART };
	struct worker workers[BODIES] = { 0 };
	struct knell_nursery_options options = { .size = sizeof(options),
						 .flags = _i ? KNELL_NURSERY_WAIT : 0 };
	struct knell_nursery *nursery;
	pthread_t threads[BODIES];
	unsigned int fds = count_entries("/proc/self/fd"), n = share(BODIES);

	sigaction(SIGCHLD, &handler, NULL);
	ck_assert_int_eq(knell_nursery_open(&nursery, &options), 0);
	for (int i = 0; i < BODIES; i++) {
		workers[i].nursery = nursery;
		workers[i].count = n;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, bodies[i], &workers[i]), 0);
	}
	for (int i = 0; i < BODIES; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(knell_nursery_drain(nursery, (int)test_seconds(60000)), 0);
	for (int i = 0; i < BODIES; i++)
		expect_right(&workers[i], n, "worker");
	ck_assert_int_gt(__atomic_load_n(&signals, __ATOMIC_RELAXED), 0);
	expect_no_child_left();
	knell_nursery_close(nursery);
	expect_no_child_left();
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
}
END_TEST

/* ---- libuv: it takes SIGCHLD for itself, and asks all its children at each ---- */

struct uv_child {
	uv_process_t process;
	struct worker *worker;
	struct command command;
};

static void uv_next(struct worker *w);

static void uv_closed(uv_handle_t *handle)
{
	free(handle);
}

static void uv_died(uv_process_t *process, int64_t status, int signo)
{
	struct uv_child *child = (struct uv_child *)process;
	struct worker *w = child->worker;

	note(w, (int)status << 8 | signo, child->command.status, "libuv");
	uv_close((uv_handle_t *)process, uv_closed);
	uv_next(w);
}

static void uv_next(struct worker *w)
{
	uv_process_options_t o = { .exit_cb = uv_died };
	struct uv_child *child;

	if (!w->count)
		return;
	w->count--;
	child = calloc(1, sizeof(*child));
	ck_assert(child != NULL);
	child->worker = w;
	make_command(&child->command, w->count);
	o.file = child->command.argv[0];
	o.args = (char **)(uintptr_t)child->command.argv;
	ck_assert_int_eq(uv_spawn(uv_default_loop(), &child->process, &o), 0);
}

START_TEST(beside_libuv)
{
	struct worker uv = { 0 }, knell[2] = { { 0 }, { 0 } };
	struct knell_nursery *nursery;
	pthread_t threads[2];
	unsigned int n = share(3);

	ck_assert_int_eq(knell_nursery_open(&nursery, NULL), 0);
	uv.count = n;
	for (int i = 0; i < 2; i++) {
		knell[i].nursery = nursery;
		knell[i].count = n;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, by_knell, &knell[i]), 0);
	}
	for (int i = 0; i < 3; i++)
		uv_next(&uv);
	ck_assert_int_eq(uv_run(uv_default_loop(), UV_RUN_DEFAULT), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(knell_nursery_drain(nursery, (int)test_seconds(60000)), 0);
	expect_right(&uv, n, "libuv");
	expect_right(&knell[0], n, "knell");
	expect_right(&knell[1], n, "knell");
	expect_no_child_left();
	knell_nursery_close(nursery);
	uv_loop_close(uv_default_loop());
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "coexist", 120 + (double)wanted_spawns() / SLOWEST);

	tcase_add_loop_test(tcase, everybody_at_once, 0, 2);
	tcase_add_test(tcase, beside_libuv);
}
