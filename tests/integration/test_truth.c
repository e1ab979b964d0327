/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_truth.c - storms of processes: what `knell run` and the library tell of them equals what the
 * storm itself counted, process by process.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "ear.h"
#include "support.h"

const char test_suite_name[] = "truth";

static const char *number(unsigned int n)
{
	char *text;

	if (asprintf(&text, "%u", n) < 0)
		ck_abort_msg("out of memory");
	return text;
}

static void expect_storm(const struct run *run, const char *truth_path, size_t children)
{
	size_t count;
	struct life *truth = read_truth(truth_path, &count);

	expect_exit(run, 0);
	ck_assert_uint_ge(count, children);
	expect_no_loss(&run->records);
	expect_truth(run, truth, count);
	free(truth);
}

START_TEST(fork_storm)
{
	unsigned int n = test_scaled(20000);
	struct run run = {
		.command = LIST(test_program("storm"), "-n", number(n), "--truth", "truth"),
	};

	run_knell(&run);
	expect_storm(&run, "truth", n);
	ck_assert_uint_eq(count_events(&run.records, "exec"), 1);
}
END_TEST

START_TEST(exec_storm)
{
	unsigned int n = test_scaled(5000), right = 0;
	const char *tiny = test_program("tiny");
	struct run run = {
		.command = LIST(test_program("storm"), "-n", number(n), "--exec", tiny, "--truth",
				"truth"),
	};
	const struct record *record;

	run_knell(&run);
	expect_storm(&run, "truth", n);
	for (record = run.records.all; record < records_end(&run.records); record++)
		right += is_event(record, "exec") && record->path && !strcmp(record->path, tiny) &&
			 !strcmp(record->name, "tiny");
	ck_assert_uint_eq(right, n);
	ck_assert_uint_eq(count_events(&run.records, "exec"), n + 1);
}
END_TEST

START_TEST(two_storms_in_one_run)
{
	unsigned int n = test_scaled(20000);
	struct run run = {
		.command =
			LIST(test_program("storm"), "-j", "2", "-n", number(n), "--truth", "truth"),
	};

	run_knell(&run);
	expect_storm(&run, "truth", n + 2);
}
END_TEST

/* Neither run hears of the other's processes. */
START_TEST(two_runs_at_once)
{
	unsigned int n = test_scaled(5000);
	struct run one = {
		.name = "one",
		.command = LIST(test_program("storm"), "-n", number(n), "--truth", "truth-one"),
	};
	struct run two = {
		.name = "two",
		.command = LIST(test_program("storm"), "-n", number(n), "--cpu", "1", "--exec",
				test_program("tiny"), "--truth", "truth-two"),
	};

	run_start(&one);
	run_start(&two);
	run_wait(&one);
	run_wait(&two);
	expect_storm(&one, "truth-one", n);
	expect_storm(&two, "truth-two", n);
}
END_TEST

/* The report and --quiet change what is said, not what is written. */
START_TEST(quiet_says_nothing)
{
	struct run run = {
		.options = LIST("--quiet"),
		.command = LIST(test_program("storm"), "-n", "50", "--truth", "truth"),
	};

	run_knell(&run);
	expect_storm(&run, "truth", 50);
	/* Some sources warn once of what is different under them; that is no report. */
	ck_assert_msg(!strstr(run.err, "processes"), "a report in spite of --quiet:\n%s", run.err);
}
END_TEST

START_TEST(library_storm)
{
	unsigned int n = test_scaled(20000);
	struct ear ear;
	pid_t pid;
	size_t count;

	ear_open(&ear, NULL);
	pid = ear_start(&ear, LIST(test_program("storm"), "-j", "2", "-n", number(n), "--truth",
				   "truth"));
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	free(read_truth("truth", &count));
	ck_assert_uint_eq(count, n + 2);
	ck_assert_uint_eq(ear.heard[KNELL_CLONE], count + 1);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT], count + 1);
	ck_assert_uint_eq(ear.heard[KNELL_EXEC], 1);
	ck_assert_uint_eq(ear.heard[KNELL_GAP], 0);
	ear_expect_whole_lives(&ear);
	ear_close(&ear);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "truth", 120);

	tcase_add_test(tcase, fork_storm);
	tcase_add_test(tcase, exec_storm);
	tcase_add_test(tcase, two_storms_in_one_run);
	tcase_add_test(tcase, two_runs_at_once);
	tcase_add_test(tcase, quiet_says_nothing);
	tcase_add_test(tcase, library_storm);
}
