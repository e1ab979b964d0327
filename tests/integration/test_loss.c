/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_loss.c - forces a source that reserves room (bpf, kmod) to lose, and adds up: what was told
 * and what was counted as lost is exactly what happened. Deaths within the reserve are never lost,
 * however full a ring is.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ear.h"
#include "support.h"

const char test_suite_name[] = "loss";

static const char *number(unsigned int n)
{
	char *text;

	if (asprintf(&text, "%u", n) < 0)
		ck_abort_msg("out of memory");
	return text;
}

static void expect_stats(const struct ear *ear)
{
	struct knell_stats stats;

	knell_get_stats(ear->engine, &stats);
	ck_assert_uint_eq(stats.lost_births, ear->gap.births);
	ck_assert_uint_eq(stats.lost_deaths, ear->gap.deaths);
	ck_assert_uint_eq(stats.lost_others, ear->gap.others);
	ck_assert_uint_eq(stats.records, ear->count - ear->heard[KNELL_GAP]);
}

START_TEST(run_with_a_small_reserve)
{
	unsigned int n = test_scaled(1000) + 200;
	struct run run = {
		.options = LIST("--reserve=64"),
		.command = LIST(test_program("traps"), "truth", "group", number(n)),
	};
	const struct record *record;
	uint64_t births = 0, deaths = 0, lost = 0;

	run_knell(&run);
	expect_exit(&run, 0);
	for (record = run.records.all; record < records_end(&run.records); record++) {
		births += is_event(record, "clone") + record->births;
		deaths += is_event(record, "exit") + record->deaths;
		lost += record->births + record->deaths + record->others;
		if (is_event(record, "exit") && record->ppid == run.pid)
			ck_assert_int_eq(record_status(record), 0); /* the root's own verdict */
	}
	ck_assert_uint_eq(births, n + 1);
	ck_assert_uint_eq(deaths, n + 1);
	ck_assert_uint_ge(lost, (uint64_t)2 * (n - 64));
	ck_assert_int_eq(run.records.all[run.records.count - 1].lost, (int64_t)lost);
	ck_assert_msg(strstr(run.err, "lost"), "the report does not say so:\n%s", run.err);
}
END_TEST

/* Of 50 and their parent, all; or some, and the rest is counted. */
static bool storm_is_told_whole(struct ear *ear)
{
	const struct ear before = *ear;
	uint64_t births, deaths;
	pid_t pid = knell_fork(ear->engine);

	if (pid == 0) {
		execl(test_program("storm"), "storm", "-n", "50", NULL);
		_exit(198);
	}
	if (pid < 0) { /* not even a slot for the root */
		ck_assert_int_ge(knell_dispatch(ear->engine), 0);
		sleep_ms(10);
		return false;
	}
	ck_assert_int_eq(ear_serve(ear, pid), 0);
	births = ear->gap.births - before.gap.births;
	deaths = ear->gap.deaths - before.gap.deaths;
	ck_assert_uint_eq(ear->heard[KNELL_CLONE] - before.heard[KNELL_CLONE] + births, 51);
	ck_assert_uint_eq(ear->heard[KNELL_EXIT] - before.heard[KNELL_EXIT] + deaths, 51);
	return !births && !deaths;
}

START_TEST(small_reserve)
{
	struct knell_options options = { .reserve = 64 };
	unsigned int n = test_scaled(1000) + 200;
	double end = now() + test_seconds(60);
	struct ear ear;
	pid_t pid;

	ear_open(&ear, &options);
	pid = ear_start(&ear, LIST(test_program("traps"), "truth", "group", number(n)));
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	ck_assert_uint_eq(ear.heard[KNELL_CLONE] + ear.gap.births, n + 1);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT] + ear.gap.deaths, n + 1);
	ck_assert_uint_gt(ear.gap.deaths, 0);
	ck_assert_uint_ge(ear.heard[KNELL_EXIT], 60); /* the reserve was used */
	ck_assert_ptr_nonnull(ear_find(&ear, KNELL_CLONE, pid));
	ck_assert_ptr_nonnull(ear_find(&ear, KNELL_EXIT, pid));
	expect_stats(&ear);

	/*
	 * A slot is in use until the kernel has let go of the task, which is a while after it was
	 * waited for. Then it is used again: what comes after is told whole.
	 */
	while (!storm_is_told_whole(&ear))
		ck_assert_msg(now() < end, "no slot is given back");
	ear_close(&ear);
}
END_TEST

/* One slot: the root's own. */
START_TEST(smallest_reserve)
{
	struct knell_options options = { .reserve = 1 };
	struct ear ear;
	pid_t pid;

	ear_open(&ear, &options);
	pid = ear_start(&ear, LIST(test_program("storm"), "-n", "200"));
	ck_assert_int_eq(ear_serve_late(&ear, pid), 0);
	ck_assert_uint_eq(ear.heard[KNELL_CLONE] + ear.gap.births, 201);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT] + ear.gap.deaths, 201);
	ck_assert_ptr_nonnull(ear_find(&ear, KNELL_EXIT, pid));
	expect_stats(&ear);
	ear_close(&ear);
}
END_TEST

/* Nobody dispatches until all is over. */
START_TEST(full_ring)
{
	struct knell_options options = { .ring_size = 4096 };
	unsigned int n = test_scaled(2000) + 100;
	struct ear ear;
	pid_t pid;

	ear_open(&ear, &options);
	pid = ear_start(&ear, LIST(test_program("storm"), "-j", "2", "-n", number(n), "--exec",
				   test_program("tiny")));
	ck_assert_int_eq(ear_serve_late(&ear, pid), 0);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT], n + 3);
	ck_assert_uint_eq(ear.gap.deaths, 0);
	ck_assert_uint_eq(ear.heard[KNELL_CLONE] + ear.gap.births, n + 3);
	ck_assert_uint_eq(ear.heard[KNELL_EXEC] + ear.gap.others, n + 1);
	/* How many kmod holds is the module's own affair. */
	ck_assert(test_source_is("kmod") || ear.gap.others > 0);
	expect_stats(&ear);
	ear_close(&ear);
}
END_TEST

/* The same while somebody dispatches, but is stopped now and then. */
START_TEST(stopped_consumer)
{
	struct run run = {
		.options = LIST("--reserve=256"),
		.command = LIST(test_program("storm"), "-j", "2", "-n",
				number(test_scaled(10000) + 1000), "--exec", test_program("tiny"),
				"--truth", "truth"),
	};
	const struct record *record;
	uint64_t births = 0, deaths = 0, execs = 0;
	size_t count;
	int i;

	run_start(&run);
	for (i = 0; i < 3; i++) {
		sleep_ms(50);
		kill(run.pid, SIGSTOP);
		sleep_ms(250);
		kill(run.pid, SIGCONT);
	}
	run_wait(&run);
	expect_exit(&run, 0);
	for (record = run.records.all; record < records_end(&run.records); record++) {
		births += is_event(record, "clone") + record->births;
		deaths += is_event(record, "exit") + record->deaths;
		execs += is_event(record, "exec") + record->others;
	}
	free(read_truth("truth", &count));
	ck_assert_uint_eq(births, count + 1);
	ck_assert_uint_eq(deaths, count + 1);
	ck_assert_uint_eq(execs, count - 2 + 1);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "loss", 90);

	tcase_add_test(tcase, run_with_a_small_reserve);
	tcase_add_test(tcase, small_reserve);
	tcase_add_test(tcase, smallest_reserve);
	tcase_add_test(tcase, full_ring);
	tcase_add_test(tcase, stopped_consumer);
}
