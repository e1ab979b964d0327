/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_orphans.c - what the command leaves behind: daemons are heard, zombies are reaped, and what
 * still runs when the command ends is left alone, waited for or killed, as asked.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

const char test_suite_name[] = "orphans";

/* Children of a process that are zombies now. */
static unsigned int zombies_of(pid_t parent)
{
	DIR *proc = opendir("/proc");
	unsigned int n = 0;
	struct dirent *entry;

	ck_assert(proc != NULL);
	while ((entry = readdir(proc))) {
		char path[300], *text, *p;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !(text = read_file(path)))
			continue;
		p = strrchr(text, ')'); /* "PID (NAME) STATE PPID ..." */
		n += p && !strncmp(p, ") Z ", 4) && strtol(p + 4, NULL, 10) == parent;
		free(text);
	}
	closedir(proc);
	return n;
}

/* After knell ended nothing of its run is left, neither alive nor as a zombie. */
static void expect_nothing_left(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);

	ck_assert_msg(pid < 0, pid ? "a zombie was left behind" : "something still runs");
}

/* Orphans that knell leaves come to this process. */
static void adopt(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void expect_death_of(const struct run *run, pid_t pid, int status)
{
	const struct record *record;

	if (test_source_is("none"))
		return;
	record = find_record(&run->records, "exit", pid);
	ck_assert_msg(record_status(record) == status, "not %#x: %s", (unsigned int)status,
		      record->text);
	expect_whole_lives(&run->records);
}

START_TEST(daemon_is_heard_and_reaped)
{
	struct run run = {
		.command = LIST(test_program("daemonize"), "--truth", "truth", "--status", "6",
				"--delay", "100", "--until", "end", "--exit", "4"),
	};
	const struct record *record;
	int ended[2], made[2];

	adopt();
	run_start(&run);
	ck_assert_int_eq(await_line("truth", "ended", ended, 2), 2);
	ck_assert(await_state(ended[0], "")); /* reaped while the command goes on */
	ck_assert_uint_eq(zombies_of(run.pid), 0);
	ck_assert_msg(process_state(run.pid) != 'Z', "knell ended before its command");
	write_file("end", "");
	run_wait(&run);
	expect_exit(&run, 4);
	expect_nothing_left();
	expect_death_of(&run, ended[0], W_EXITCODE(6, 0));
	if (test_source_is("none"))
		return;
	ck_assert_int_eq(await_line("truth", "daemon", made, 2), 2);
	record = find_record(&run.records, "clone", made[0]);
	ck_assert_msg(record->ppid == made[1], "its parent is %d: %s", made[1], record->text);
	ck_assert_uint_eq(count_events(&run.records, "clone"), 3);
}
END_TEST

START_TEST(orphans_are_left)
{
	struct run run = {
		.command = LIST(test_program("daemonize"), "--truth", "truth", "--delay", "600000",
				"--exit", "5"),
	};
	char text[16];
	int made[2];

	adopt();
	run_knell(&run);
	expect_exit(&run, 5);
	ck_assert_int_eq(await_line("truth", "daemon", made, 2), 2);
	ck_assert_msg(await_state(made[0], "S"), "the orphan does not go on");
	snprintf(text, sizeof(text), "%d", made[0]);
	if (!test_source_is("none"))
		ck_assert_msg(strstr(run.err, "daemonize") && strstr(run.err, text),
			      "the report does not name daemonize (%s):\n%s", text, run.err);
	kill(made[0], SIGKILL);
	ck_assert_int_eq(await_exit(made[0]), W_EXITCODE(0, SIGKILL));
}
END_TEST

START_TEST(orphans_are_waited_for)
{
	struct run run = {
		.options = LIST("--orphans=wait"),
		.command = LIST(test_program("daemonize"), "--truth", "truth", "--delay", "400",
				"--status", "6", "--exit", "5"),
	};
	char *truth;

	adopt();
	run_knell(&run);
	truth = read_file("truth");
	expect_exit(&run, 5);
	ck_assert_msg(truth && strstr(truth, "ended "), "it did not wait: %s", truth);
	expect_nothing_left();
	expect_death_of(&run, await_number("truth", "ended"), W_EXITCODE(6, 0));
}
END_TEST

START_TEST(orphans_are_terminated)
{
	struct run run = {
		.options = LIST("--orphans=kill", "--grace=600"),
		.command = LIST(test_program("daemonize"), "--truth", "truth", "--delay", "600000",
				"--exit", "5"),
	};
	int made[2];

	adopt();
	run_knell(&run); /* a grace that is waited for in vain is longer than this waits */
	expect_exit(&run, 5);
	ck_assert_int_eq(await_line("truth", "daemon", made, 2), 2);
	expect_nothing_left();
	expect_death_of(&run, made[0], W_EXITCODE(0, SIGTERM));
}
END_TEST

START_TEST(stubborn_orphans_are_killed)
{
	struct run run = {
		.options = LIST("--orphans=kill", "--grace=1"),
		.command = LIST(test_program("daemonize"), "--truth", "truth", "--delay", "600000",
				"--ignore-term", "--exit", "5"),
	};
	double start = now();
	int made[2];

	adopt();
	run_knell(&run);
	ck_assert_msg(now() - start > 0.9, "a grace of 1 s took %.1f s", now() - start);
	expect_exit(&run, 5);
	ck_assert_int_eq(await_line("truth", "daemon", made, 2), 2);
	expect_nothing_left();
	expect_death_of(&run, made[0], W_EXITCODE(0, SIGKILL));
}
END_TEST

/* A stopped orphan can only be ended if it is also continued, or killed. */
START_TEST(stopped_orphans_are_ended)
{
	static const char script[] =
		"\"$0\" --truth truth --delay 600000;"
		" kill -STOP $(sed -n 's/^daemon \\([0-9]*\\) .*/\\1/p' truth); exit 5";
	struct run run = {
		.options = LIST("--orphans=kill", "--grace=1"),
		.command = LIST("/bin/sh", "-c", script, test_program("daemonize")),
	};

	adopt();
	run_knell(&run);
	expect_exit(&run, 5);
	expect_nothing_left();
}
END_TEST

/* A /proc of another pid namespace tells of others: nobody there is to be killed. */
START_TEST(orphans_in_a_foreign_proc)
{
	struct run run = {
		.source = "none",
		.options = LIST("--orphans=kill", "--grace=1"),
		.command = LIST("/bin/sh", "-c", "sleep 600 & exit 5"),
		.how.prepare = become_blind,
	};
	struct spawn how = { .prepare = become_blind };

	if (await_exit(spawn(&how, LIST("/bin/sh", "-c", "exit 0"))))
		test_skip("no pid namespace of one's own here: that needs root");
	run_knell(&run); /* which does not wait for the orphan */
	expect_exit(&run, 5);
	ck_assert_uint_eq(count_of(run.err, "/proc does not tell who they are"), 1);
}
END_TEST

START_TEST(command_that_dies_leaves_orphans)
{
	struct run run = {
		.options = LIST("--orphans=wait"),
		.command = LIST("/bin/sh", "-c",
				"\"$0\" --truth truth --delay 300 --status 6; kill -KILL $$",
				test_program("daemonize")),
	};

	adopt();
	run_knell(&run);
	expect_status(&run, W_EXITCODE(0, SIGKILL));
	expect_nothing_left();
	expect_death_of(&run, await_number("truth", "ended"), W_EXITCODE(6, 0));
}
END_TEST

START_TEST(many_orphans_leave_no_zombies)
{
	static const char script[] = "i=0; while [ $i -lt 60 ]; do"
				     " \"$0\" --delay $((i * 5)) --status 3; i=$((i + 1)); done";
	struct run run = {
		.options = LIST("--orphans=wait"),
		.command = LIST("/bin/sh", "-c", script, test_program("daemonize")),
	};

	adopt();
	run_knell(&run);
	expect_exit(&run, 0);
	expect_nothing_left();
	if (test_source_is("none"))
		return;
	expect_whole_lives(&run.records);
	expect_no_loss(&run.records);
	/* The shell, and three for each daemon. */
	ck_assert_uint_eq(count_events(&run.records, "exit"), 1 + 60 * 3);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "orphans", 90);

	tcase_add_test(tcase, daemon_is_heard_and_reaped);
	tcase_add_test(tcase, orphans_are_left);
	tcase_add_test(tcase, orphans_are_waited_for);
	tcase_add_test(tcase, orphans_are_terminated);
	tcase_add_test(tcase, stubborn_orphans_are_killed);
	tcase_add_test(tcase, stopped_orphans_are_ended);
	tcase_add_test(tcase, orphans_in_a_foreign_proc);
	tcase_add_test(tcase, command_that_dies_leaves_orphans);
	tcase_add_test(tcase, many_orphans_leave_no_zombies);
}
