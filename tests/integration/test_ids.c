/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_ids.c - uid and gid records against what a program knows that it did: each change once, in
 * the task's order, with what the source knows of it and nothing else, and before the task's exit.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "claims.h"
#include "ear.h"
#include "support.h"

const char test_suite_name[] = "ids";

/* A line of the truth. */
struct truth {
	unsigned int kind; /* KNELL_UID, KNELL_GID */
	struct knell_ids ids;
};

static void expect_ability(void)
{
	struct knell_probe probe;

	for (unsigned int i = 0; knell_probe(i, &probe) == 0; i++) {
		if (!strcmp(probe.name, test_source()) && !(probe.can & KNELL_CAN_IDS))
			test_skip("source %s tells no ids", test_source());
	}
	if (geteuid() != 0)
		test_skip("only root can change ids");
}

static size_t read_truth_of_ids(struct truth *all, size_t room)
{
	FILE *file = fopen("truth", "re");
	char word[8];
	size_t n = 0;

	ck_assert_msg(file != NULL, "no truth was written");
	while (n < room && fscanf(file, "%7s", word) == 1) {
		struct knell_ids *ids = &all[n].ids;

		ck_assert_int_eq(fscanf(file, "%u %u %u %u", &ids->real, &ids->effective,
					&ids->saved, &ids->fs),
				 4);
		all[n++].kind = strcmp(word, "uid") ? KNELL_GID : KNELL_UID;
	}
	fclose(file);
	return n;
}

/* A set-user-id copy of the program, of user 7. */
static const char *make_copy(void)
{
	const char *program = test_program("ids");
	FILE *from = fopen(program, "re"), *to = fopen("copy", "we");
	char bytes[65536];
	size_t n;

	ck_assert_msg(from && to, "%s cannot be copied: %s", program, strerror(errno));
	while ((n = fread(bytes, 1, sizeof(bytes), from)) > 0)
		ck_assert_uint_eq(fwrite(bytes, 1, n, to), n);
	fclose(from);
	ck_assert_int_eq(fclose(to), 0);
	ck_assert_int_eq(chown("copy", 7, 7), 0);
	ck_assert_int_eq(chmod("copy", 04755), 0);
	return "./copy";
}

static bool is_change(const struct knell_event *event)
{
	return event->kind == KNELL_UID || event->kind == KNELL_GID;
}

/* `before` is the last truth of the same kind; the first time it is not known. */
static void compare(const struct knell_event *event, const struct truth *truth,
		    const struct truth *before)
{
	const struct knell_ids *ids = &event->u.ids;

	ck_assert_uint_eq(event->kind, truth->kind);
	ck_assert_uint_eq(ids->real, truth->ids.real);
	ck_assert_uint_eq(ids->effective, truth->ids.effective);
	ck_assert(event->unknown & KNELL_U_SAVED || ids->saved == truth->ids.saved);
	ck_assert(event->unknown & KNELL_U_SAVED || ids->fs == truth->ids.fs);
	ck_assert(!(event->unknown & KNELL_U_SAVED) || (ids->saved == 0 && ids->fs == 0));
	if (event->unknown & KNELL_U_OLD) {
		ck_assert(!ids->old_real && !ids->old_effective && !ids->old_saved && !ids->old_fs);
	} else if (before) {
		ck_assert_uint_eq(ids->old_real, before->ids.real);
		ck_assert_uint_eq(ids->old_effective, before->ids.effective);
		ck_assert_uint_eq(ids->old_saved, before->ids.saved);
		ck_assert_uint_eq(ids->old_fs, before->ids.fs);
	}
	if (event->kind == KNELL_UID && !(event->unknown & KNELL_U_UID))
		ck_assert_uint_eq(event->uid, truth->ids.effective);
	if (event->kind == KNELL_GID && !(event->unknown & KNELL_U_GID))
		ck_assert_uint_eq(event->gid, truth->ids.effective);
}

START_TEST(every_way_to_change)
{
	struct knell_options options = { .flags = KNELL_O_IDS };
	struct truth truth[32];
	const struct truth *last[KNELL_KIND_MAX] = { NULL };
	size_t count, n = 0;
	bool dead = false;
	struct ear ear;
	pid_t pid;

	expect_ability();
	ear_open(&ear, &options);
	pid = ear_start(&ear, LIST(test_program("ids"), "truth", "walk", make_copy()));
	ck_assert_int_eq(ear_serve(&ear, pid), W_EXITCODE(3, 0));
	count = read_truth_of_ids(truth, 32);
	if (count && truth[count - 1].ids.real == 0)
		test_skip("set-user-id programs do not work in this file system");
	for (size_t i = 0; i < ear.count; i++) {
		const struct knell_event *event = &ear.all[i];

		dead |= event->kind == KNELL_EXIT && event->task.tgid == (uint32_t)pid;
		if (!is_change(event))
			continue;
		ck_assert_msg(!dead, "a change after the exit");
		ck_assert_uint_eq(event->task.tgid, (uint32_t)pid);
		ck_assert_uint_eq(event->scope, KNELL_PROCESS);
		ck_assert_msg(n < count, "a change that the program knows nothing of");
		compare(event, &truth[n], last[truth[n].kind]);
		last[truth[n].kind] = &truth[n];
		n++;
	}
	ck_assert(dead);
	ck_assert_uint_eq(n, count);
	ck_assert_uint_eq(count, 11);
	ear_close(&ear);
}
END_TEST

START_TEST(only_when_asked_for)
{
	struct ear ear;
	pid_t pid;

	expect_ability();
	ear_open(&ear, NULL);
	pid = ear_start(&ear, LIST(test_program("ids"), "truth", "storm", "20"));
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	ck_assert_uint_eq(ear.heard[KNELL_UID] + ear.heard[KNELL_GID], 0);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT], 21);
	ear_close(&ear);
}
END_TEST

/* Births, two changes each and deaths, of tasks that live for some 100 microseconds. */
START_TEST(before_the_exit)
{
	struct knell_options options = { .flags = KNELL_O_IDS };
	unsigned int n = test_scaled(10000), changes;
	uint8_t *state = calloc(1 << 22, 1); /* by pid: how many changes since its birth */
	char number[16];
	struct ear ear;
	pid_t pid;

	expect_ability();
	ck_assert_ptr_nonnull(state);
	ear_open(&ear, &options);
	snprintf(number, sizeof(number), "%u", n);
	pid = ear_start(&ear, LIST(test_program("ids"), "truth", "storm", number));
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	for (size_t i = 0; i < ear.count; i++) {
		const struct knell_event *event = &ear.all[i];

		ck_assert_uint_lt(event->task.tgid, 1 << 22);
		if (event->kind == KNELL_CLONE) {
			state[event->task.tgid] = 1;
		} else if (event->kind == KNELL_UID) {
			changes = state[event->task.tgid]++;
			ck_assert_msg(changes == 1 || changes == 2,
				      "%u: a change before its birth, after its exit, or too many",
				      event->task.tgid);
			ck_assert_uint_eq(event->u.ids.real, 1);
			ck_assert_uint_eq(event->u.ids.effective, changes == 1 ? 0 : 2);
		} else if (event->kind == KNELL_EXIT) {
			ck_assert_msg(state[event->task.tgid] == 3 ||
					      event->task.tgid == (uint32_t)pid,
				      "%u: %u of 2 changes were told before its exit",
				      event->task.tgid, state[event->task.tgid] - 1);
			state[event->task.tgid] = 0;
		}
	}
	ck_assert_uint_eq(ear.heard[KNELL_UID], 2 * (size_t)n);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT], n + 1);
	ck_assert_uint_eq(ear.heard[KNELL_GAP], 0);
	ear_expect_whole_lives(&ear);
	ear_close(&ear);
	free(state);
}
END_TEST

/* A thread's own change is the thread's, and is told to those who asked for threads. */
/* Its birth, its change and its death come in this order, by whatever ways: the ear verifies it. */
START_TEST(of_a_thread)
{
	for (unsigned int round = 0; round < test_scaled(18) + 2; round++) {
		const int threads = can(KNELL_CAN_THREADS) ? (int)(round % 2) : 0;

		struct knell_options options = { .flags = KNELL_O_IDS |
							  (threads ? KNELL_O_THREADS : 0) };
		uint32_t tid = 0;
		struct ear ear;
		pid_t pid;

		expect_ability();
		unlink("truth");
		ear_open(&ear, &options);
		pid = ear_start(&ear, LIST(test_program("ids"), "truth", "thread"));
		ck_assert_int_eq(ear_serve(&ear, pid), 0);
		ck_assert_uint_eq(ear.heard[KNELL_UID], 0);
		ck_assert_uint_eq(ear.threads[KNELL_UID], threads);
		for (size_t i = 0; i < ear.count; i++) {
			if (ear.all[i].kind == KNELL_UID)
				tid = ear.all[i].task.tid;
		}
		ck_assert_int_eq(threads ? (int)tid : 0,
				 threads ? await_number("truth", "tid") : 0);
		ear_close(&ear);
	}
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "ids", 60);

	tcase_add_test(tcase, every_way_to_change);
	tcase_add_test(tcase, only_when_asked_for);
	tcase_add_test(tcase, before_the_exit);
	tcase_add_test(tcase, of_a_thread);
}
