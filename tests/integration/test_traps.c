/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_traps.c - lives and deaths that are easy to miscount: threads that end in an odd order, exec
 * by a thread that is not the leader, pid namespaces, tasks that are killed while they fork or are
 * stopped, vfork, a thousand deaths at once.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "claims.h"
#include "ear.h"
#include "support.h"

const char test_suite_name[] = "traps";

/* The command has threads and is alone: one birth, one death with this status. */
static struct run *expect_one_life(int status, const char *const command[])
{
	static struct run run;
	const struct record *record;

	run = (struct run){ .options = LIST("--exit-status"), .command = command };
	run_knell(&run);
	expect_exit(&run, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	expect_whole_lives(&run.records);
	expect_no_loss(&run.records);
	ck_assert_uint_eq(count_events(&run.records, "clone"), 1);
	ck_assert_uint_eq(count_events(&run.records, "exit"), 1);
	record = find_record(&run.records, "exit", await_number("truth", "pid"));
	ck_assert_msg((record_status(record) & ~WCOREFLAG) == status, "not %#x: %s",
		      (unsigned int)status, record->text);
	return &run;
}

START_TEST(leader_exits_first)
{
	expect_one_life(W_EXITCODE(7, 0),
			LIST(test_program("threads"), "--truth", "truth", "leader-exits"));
}
END_TEST

START_TEST(exit_group_of_200)
{
	unsigned int i;

	for (i = 0; i < 5; i++) {
		unlink("truth");
		expect_one_life(W_EXITCODE(9, 0),
				LIST(test_program("threads"), "--truth", "truth", "group", "200"));
	}
}
END_TEST

START_TEST(all_200_exit_at_once)
{
	unsigned int i;

	for (i = 0; i < 5; i++) {
		unlink("truth");
		expect_one_life(W_EXITCODE(11, 0), LIST(test_program("threads"), "--truth", "truth",
							"all-exit", "200"));
	}
}
END_TEST

START_TEST(thread_faults)
{
	struct run *run = expect_one_life(W_EXITCODE(0, SIGSEGV), LIST(test_program("threads"),
								       "--truth", "truth", "segv"));
	const struct record *record =
		find_record(&run->records, "exit", await_number("truth", "pid"));

	ck_assert_str_eq(record->reason, "fault");
}
END_TEST

START_TEST(exec_by_another_thread)
{
	struct run *run =
		expect_one_life(W_EXITCODE(5, 0), LIST(test_program("threads"), "--truth", "truth",
						       "exec", test_program("tiny"), "5"));
	pid_t pid = await_number("truth", "pid"), old_tid = await_number("truth", "old_tid");
	const struct record *record, *found = NULL, *first = NULL;

	for (record = run->records.all; record < records_end(&run->records); record++) {
		if (is_event(record, "exec") && !strcmp(record->name, "tiny"))
			found = record;
		else if (is_event(record, "exec"))
			first = record;
	}
	ck_assert_msg(found && first, "no two execs were told");
	ck_assert_msg(first->old_tid == pid, "not by the leader: %s", first->text);
	ck_assert_msg(found->pid == pid && found->old_tid == old_tid,
		      "it was thread %d of process %d: %s", old_tid, pid, found->text);
	ck_assert_str_eq(found->start, find_record(&run->records, "clone", pid)->start);
}
END_TEST

START_TEST(threads_are_told_when_asked_for)
{
	struct run run = {
		.options = LIST("--threads"),
		.command = LIST(test_program("threads"), "--truth", "truth", "group", "200"),
	};
	const struct record *record;
	unsigned int births = 0, deaths = 0;

	if (!can(KNELL_CAN_THREADS))
		test_skip("%s tells no threads", test_source());
	run_knell(&run);
	expect_exit(&run, 9);
	expect_whole_lives(&run.records);
	expect_no_loss(&run.records);
	for (record = run.records.all; record < records_end(&run.records); record++) {
		births += record->thread && !strcmp(record->event, "clone");
		deaths += record->thread && !strcmp(record->event, "exit");
		ck_assert_msg(!record->thread || record->tid, "a thread without a number: %s",
			      record->text);
	}
	/* All but the leader, or the leader too: but as many deaths as births. */
	ck_assert_uint_ge(births, 200);
	ck_assert_uint_le(births, 201);
	ck_assert_uint_eq(deaths, births);
}
END_TEST

/* Runs `traps`, and compares all that it did with what was heard. */
static struct run *expect_family(const char *mode, const char *program, const char *n)
{
	static struct run run;
	struct life *truth;
	size_t count;

	/*
	 * A tracer is not told of a fork whose caller is killed in it; it meets the child, whose
	 * parent is another one by then.
	 */
	run.parents_may_be_unknown = test_source_is("ptrace") && !strcmp(mode, "spawner");
	/* Without a program the number comes earlier, and the list ends earlier. */
	run.command = LIST(test_program("traps"), "truth", mode, program ? program : n,
			   program ? n : NULL);
	run_knell(&run);
	expect_exit(&run, 0);
	expect_no_loss(&run.records);
	truth = read_truth("truth", &count);
	expect_truth(&run, truth, count);
	free(truth);
	return &run;
}

START_TEST(a_thousand_killed_at_once)
{
	char text[16];
	const struct record *record;
	struct run *run;
	unsigned int told = 0;

	snprintf(text, sizeof(text), "%u", test_scaled(1000));
	run = expect_family("group", NULL, text);
	for (record = run->records.all; record < records_end(&run->records); record++)
		told += is_event(record, "exit") && record->signal == SIGKILL &&
			(!strcmp(record->reason, "user") ||
			 (test_source_is("ptrace") && !record->reason[0]));
	ck_assert_uint_eq(told, test_scaled(1000));
}
END_TEST

START_TEST(killed_while_forking)
{
	expect_family("spawner", NULL, "20");
}
END_TEST

START_TEST(killed_while_stopped)
{
	expect_family("stopped", NULL, "20");
}
END_TEST

START_TEST(born_by_vfork)
{
	expect_family("vfork", test_program("tiny"), "40");
}
END_TEST

START_TEST(reaped_by_the_kernel)
{
	expect_family("autoreap", NULL, "200");
}
END_TEST

START_TEST(traced_by_another)
{
	expect_family("ptracer", NULL, "5");
}
END_TEST

START_TEST(pid_namespace)
{
	struct run run = { .command = LIST(test_program("traps"), "truth", "pidns", "8") };
	const struct record *record;
	unsigned int killed = 0;
	struct life *truth;
	size_t count;

	run_knell(&run);
	if (run.status == W_EXITCODE(77, 0))
		test_skip("no pid namespace can be made here");
	expect_exit(&run, 0);
	expect_no_loss(&run.records);
	expect_whole_lives(&run.records);
	truth = read_truth("truth", &count);
	ck_assert_uint_eq(count_events(&run.records, "clone"), count + 1);
	record = find_record(&run.records, "exit", truth[0].pid);
	ck_assert_int_eq(record_status(record), W_EXITCODE(4, 0));
	for (record = run.records.all; record < records_end(&run.records); record++) {
		if (!is_event(record, "exit") || !record->signal)
			continue;
		killed++;
		ck_assert_int_eq(record->signal, SIGKILL);
		ck_assert_msg(!strcmp(record->reason, "pidns") ||
				      (test_source_is("ptrace") && !record->reason[0]),
			      "%s", record->text);
	}
	ck_assert_uint_eq(killed, 8);
	free(truth);
}
END_TEST

/* Threads through the library: each has one birth and one death too. */
START_TEST(library_counts_threads)
{
	struct knell_options options = { .flags = KNELL_O_THREADS };
	struct ear ear;
	pid_t pid;

	ear_open(&ear, &options);
	pid = ear_start(&ear, LIST(test_program("threads"), "group", "200"));
	ck_assert_int_eq(ear_serve(&ear, pid), W_EXITCODE(9, 0));
	ck_assert_uint_eq(ear.heard[KNELL_CLONE], 1);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT], 1);
	ck_assert_uint_eq(ear.threads[KNELL_EXIT], ear.threads[KNELL_CLONE]);
	ck_assert_uint_ge(ear.threads[KNELL_CLONE], can(KNELL_CAN_THREADS) ? 200 : 0);
	ear_close(&ear);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "traps", 60);

	tcase_add_test(tcase, leader_exits_first);
	tcase_add_test(tcase, exit_group_of_200);
	tcase_add_test(tcase, all_200_exit_at_once);
	tcase_add_test(tcase, thread_faults);
	tcase_add_test(tcase, exec_by_another_thread);
	tcase_add_test(tcase, threads_are_told_when_asked_for);
	tcase_add_test(tcase, a_thousand_killed_at_once);
	tcase_add_test(tcase, killed_while_forking);
	tcase_add_test(tcase, killed_while_stopped);
	tcase_add_test(tcase, born_by_vfork);
	tcase_add_test(tcase, reaped_by_the_kernel);
	tcase_add_test(tcase, traced_by_another);
	tcase_add_test(tcase, pid_namespace);
	tcase_add_test(tcase, library_counts_threads);
}
