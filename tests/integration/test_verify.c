/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_verify.c - verify over real lives. Every ear is verified (ear.c); here are storms made for
 * it, with all that a source can tell, and with losses. Then what a source told truly is told once
 * more, each time with another thing wrong: verify finds each.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "claims.h"
#include "ear.h"
#include "support.h"

const char test_suite_name[] = "verify";

#define EVERYTHING (KNELL_O_THREADS | KNELL_O_FREE | KNELL_O_IDS)

static const char *number(unsigned int n)
{
	char *text;

	if (asprintf(&text, "%u", test_scaled(n)) < 0)
		ck_abort_msg("out of memory");
	return text;
}

static void run_to_its_end(struct ear *ear, const char *const argv[])
{
	pid_t pid = ear_start(ear, argv);

	ck_assert_int_ne(ear_serve(ear, pid), W_EXITCODE(198, 0));
}

/* Processes, programs, threads and ids, all told and all in one order. */
START_TEST(storm_of_everything)
{
	struct knell_options options = { .flags = EVERYTHING };
	const char *threads = test_program("threads"), *traps = test_program("traps");
	const char *tiny = test_program("tiny");
	struct ear ear;
	uint64_t lost;

	ear_open(&ear, &options);
	run_to_its_end(&ear,
		       LIST(test_program("storm"), "-j", "2", "-n", number(4000), "--exec", tiny));
	for (int i = 0; i < 5; i++) {
		run_to_its_end(&ear, LIST(threads, "leader-exits"));
		run_to_its_end(&ear, LIST(threads, "exec", tiny, "5"));
		run_to_its_end(&ear, LIST(threads, "group", "100"));
		run_to_its_end(&ear, LIST(threads, "all-exit", "100"));
	}
	run_to_its_end(&ear, LIST(traps, "truth", "group", number(500)));
	run_to_its_end(&ear, LIST(traps, "truth", "spawner", "10"));
	run_to_its_end(&ear, LIST(traps, "truth", "vfork", tiny, number(200)));
	run_to_its_end(&ear, LIST(traps, "truth", "autoreap", number(200)));
	if (geteuid() == 0)
		run_to_its_end(&ear, LIST(test_program("ids"), "truth", "storm", number(1000)));
	lost = ear.gap.deaths + ear.gap.others;
	ck_assert_uint_gt(ear.heard[KNELL_EXIT] + lost, test_scaled(4000));
	ck_assert_uint_ge(ear.threads[KNELL_EXIT] + lost, can(KNELL_CAN_THREADS) ? 1000 : 0);
	ck_assert_uint_eq(ear.threads[KNELL_UID], 0);
	ck_assert(!can(KNELL_CAN_IDS) || geteuid() || ear.heard[KNELL_UID] + lost > 0);
	/* A machine that is busy makes the connector's socket overflow: verify knows of gaps. */
	if (!test_source_is("connector"))
		ck_assert_uint_eq(ear.heard[KNELL_GAP], 0);
	ear_close(&ear);
}
END_TEST

/* Everybody on this machine, among them whoever was there before. */
START_TEST(storm_in_a_stream)
{
	struct knell_options options = { .flags = EVERYTHING | KNELL_O_STREAM };
	struct ear ear;
	pid_t pid;

	if (!can(KNELL_CAN_STREAM))
		test_skip("%s hears only what Knell starts", test_source());
	ear_open(&ear, &options);
	pid = spawn(&(struct spawn){ .out = "out" },
		    LIST(test_program("storm"), "-j", "2", "-n", number(4000)));
	while (process_state(pid) != 'Z')
		turn(&ear);
	ck_assert_int_eq(await_exit(pid), 0);
	ck_assert_int_ge(knell_reconcile(ear.engine), 1);
	turn_for(&ear, 300);
	ck_assert_uint_ge(ear.heard[KNELL_EXIT] + ear.gap.deaths + ear.gap.others,
			  test_scaled(4000));
	ear_close(&ear);
}
END_TEST

static void become_4242(void *unused)
{
	(void)unused;
	if (setuid(4242))
		_exit(1);
	execl("/bin/true", "true", NULL);
	_exit(1);
}

/* Who passes a filter only after its birth is found alive then, before anything else of it. */
START_TEST(passes_later)
{
	struct knell_options options = {
		.flags = KNELL_O_IDS | KNELL_O_STREAM,
		.filter = { .match = KNELL_MATCH_UID, .uid = 4242 },
	};
	const struct knell_event *birth;
	struct nursery nursery;
	struct ear ear;
	pid_t pid;

	if (!can(KNELL_CAN_STREAM))
		test_skip("%s hears only what Knell starts", test_source());
	if (geteuid() != 0)
		test_skip("only root can change ids");
	nursery_open(&nursery);
	ear_open(&ear, &options);
	pid = nursery_make(&nursery, 0, become_4242, NULL);
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(nursery_reap(&nursery, pid), 0);
	turn_until_heard(&ear, KNELL_EXIT, 1);
	turn_for(&ear, 100);
	birth = ear_find(&ear, KNELL_CLONE, pid);
	ck_assert(birth && birth->flags & KNELL_F_RECONCILED);
	ck_assert(birth < ear_find(&ear, KNELL_EXEC, pid));
	nursery_close(&nursery);
	ear_close(&ear);
}
END_TEST

/* Whatever is missing is what gaps counted, and no more. */
START_TEST(storm_with_losses)
{
	struct knell_options options = {
		.flags = KNELL_O_THREADS | KNELL_O_FREE,
		.ring_size = 4096,
		.reserve = 64,
	};
	struct ear ear;
	pid_t pid;

	ear_open(&ear, &options);
	/* Who traces has to go on for the storm to go on. */
	for (int i = 0; i < 3; i++) {
		pid = ear_start(&ear, LIST(test_program("traps"), "truth", "group", "300"));
		if (can(KNELL_CAN_STREAM))
			ear_serve_late(&ear, pid);
		else
			ear_serve(&ear, pid);
		ck_assert_int_ge(knell_reconcile(ear.engine), 0);
		pid = ear_start(&ear, LIST(test_program("threads"), "all-exit", "200"));
		ear_serve(&ear, pid);
	}
	turn_for(&ear, 1500);
	if (test_source_in_kernel())
		ck_assert_uint_gt(ear.gap.deaths, 0);
	ear_close(&ear);
}
END_TEST

/* ---- a true story, told wrong ---- */

struct tale {
	struct knell_event *all;
	size_t count;
};

static bool is_gone(const struct knell_task_id *task, void *userdata)
{
	(void)task;
	(void)userdata;
	return false;
}

/* What verify says of it; numbers are made anew, so that they are never what is wrong. */
static uint64_t violations_of(const struct tale *tale, uint32_t can_do)
{
	const struct verify_options options = {
		.lives = is_gone,
		.can = can_do,
		.opened = EVERYTHING,
	};
	struct verify *verify;
	uint64_t next = 0, n;

	ck_assert_int_eq(verify_open(&verify, NULL, &options), 0);
	for (size_t i = 0; i < tale->count; i++) {
		struct knell_event event = tale->all[i];

		event.seq = next++;
		event.ring = 0;
		ck_assert_int_eq(verify_hear(verify, &event), 0);
	}
	n = verify_check_end(verify);
	ck_assert_uint_eq(verify_unjudged(verify), 0);
	verify_close(verify);
	return n;
}

static void move(struct tale *tale, size_t from, size_t to)
{
	struct knell_event moved = tale->all[from];

	memmove(&tale->all[from], &tale->all[from + 1],
		(tale->count - from - 1) * sizeof(tale->all[0]));
	memmove(&tale->all[to + 1], &tale->all[to], (tale->count - 1 - to) * sizeof(tale->all[0]));
	tale->all[to] = moved;
}

/* The next record of this kind and scope, from here on. */
static size_t next_of(const struct tale *tale, size_t at, unsigned int kind)
{
	while (at < tale->count &&
	       (tale->all[at].kind != kind || tale->all[at].scope != KNELL_PROCESS))
		at++;
	return at;
}

enum lie {
	LEFT_OUT,
	TWICE,
	AT_THE_END,
	AT_THE_BEGINNING,
	ANOTHER_START,
	LIES
};

/* The copy has room for one more. */
static void tell_wrong(struct tale *tale, size_t at, enum lie lie)
{
	switch (lie) {
	case LEFT_OUT:
		move(tale, at, tale->count - 1);
		tale->count--;
		break;
	case TWICE:
		tale->all[tale->count] = tale->all[at];
		tale->count++;
		move(tale, tale->count - 1, at + 1);
		break;
	case AT_THE_END:
		move(tale, at, tale->count - 1);
		break;
	case AT_THE_BEGINNING:
		move(tale, at, 0);
		break;
	default:
		tale->all[at].task.start++;
	}
}

/* Whether each lie about a birth, an exec or a death is one. */
static const bool is_wrong[KNELL_KIND_MAX][LIES] = {
	[KNELL_CLONE] = { true, true, true, false, true },
	[KNELL_EXEC] = { false, false, true, true, true },
	[KNELL_EXIT] = { true, true, false, true, true },
};

static void tell_lies(const struct tale *truth, uint32_t can_do, unsigned int kind)
{
	struct tale tale = { .all = calloc(truth->count + 1, sizeof(*tale.all)) };
	size_t at = next_of(truth, truth->count / 2, kind);

	ck_assert(tale.all != NULL && at < truth->count);
	for (int lie = 0; lie < LIES; lie++) {
		memcpy(tale.all, truth->all, truth->count * sizeof(*tale.all));
		tale.count = truth->count;
		tell_wrong(&tale, at, (enum lie)lie);
		if (is_wrong[kind][lie])
			ck_assert_msg(violations_of(&tale, can_do) > 0,
				      "lie %d about %s is not found", lie, knell_kind_name(kind));
	}
	free(tale.all);
}

START_TEST(true_story_told_wrong)
{
	struct knell_options options = { .flags = KNELL_O_THREADS };
	struct tale truth;
	uint32_t can_do;
	struct ear ear;
	pid_t pid;

	ear_open(&ear, &options);
	pid = ear_start(&ear,
			LIST(test_program("storm"), "-n", "200", "--exec", test_program("tiny")));
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	turn_for(&ear, 50);
	truth = (struct tale){ .all = ear.all, .count = ear.count };
	can_do = knell_can(ear.engine);
	ck_assert_uint_eq(violations_of(&truth, can_do), 0);
	tell_lies(&truth, can_do, KNELL_CLONE);
	tell_lies(&truth, can_do, KNELL_EXEC);
	tell_lies(&truth, can_do, KNELL_EXIT);
	ear_close(&ear);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "verify", 120);

	tcase_add_test(tcase, storm_of_everything);
	tcase_add_test(tcase, storm_in_a_stream);
	tcase_add_test(tcase, passes_later);
	tcase_add_test(tcase, storm_with_losses);
	tcase_add_test(tcase, true_story_told_wrong);
}
