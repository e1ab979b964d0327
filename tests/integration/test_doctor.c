/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_doctor.c - `knell doctor` as root and as nobody, and what `knell run` does for a user who
 * may not use the source that he names. The suite's own source plays no part.
 */
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <knell/knell.h>

#include "support.h"

const char test_suite_name[] = "doctor";

#define NOBODY 65534

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
		_exit(197);
}

static void need_nobody(void)
{
	if (getuid())
		test_skip("only root can become nobody");
	need_open_build();
	chmod(".", 0777);
}

static void expect_table(const char *text)
{
	struct knell_probe probe;
	unsigned int i, rows = 0;

	for (i = 0; !knell_probe(i, &probe); i++, rows++)
		ck_assert_msg(strstr(text, probe.name), "no row for %s:\n%s", probe.name, text);
	ck_assert_uint_ge(rows, 2);
	ck_assert_msg(strstr(text, "bpf") && strstr(text, "ptrace"), "%s", text);
}

START_TEST(as_ourselves)
{
	struct spawn how = { .out = "doctor.out" };

	ck_assert_int_eq(await_exit(spawn(&how, LIST(test_knell(), "doctor"))), 0);
	expect_table(read_file("doctor.out"));
	ck_assert(strstr(read_file("doctor.out"), "\nreaping     by number; children list ") !=
		  NULL);
}
END_TEST

/* Without the module: why, what to do, and a clear error for who asks for it all the same. */
START_TEST(no_module)
{
	struct spawn how = { .out = "doctor.out" };
	struct run run = {
		.source = "kmod",
		.command = LIST(test_program("openfds"), "ran"),
		.json = "",
	};
	char *text;

	if (file_exists("/dev/knell"))
		test_skip("the kernel module is loaded here");
	ck_assert_int_eq(await_exit(spawn(&how, LIST(test_knell(), "doctor"))), 0);
	text = read_file("doctor.out");
	ck_assert_msg(strstr(text, "\nkmod      does not work ") &&
			      strstr(text, "no /dev/knell\n") && strstr(text, "insmod knell.ko"),
		      "%s", text);
	run_knell(&run);
	expect_exit(&run, 125);
	ck_assert_msg(!file_exists("ran"), "the command was started");
	ck_assert_msg(strstr(run.err, "knell is not loaded"), "no clear error:\n%s", run.err);
}
END_TEST

START_TEST(as_nobody)
{
	struct spawn how = { .out = "doctor.out", .prepare = become_nobody };

	need_nobody();
	ck_assert_int_eq(await_exit(spawn(&how, LIST(test_knell(), "doctor"))), 0);
	expect_table(read_file("doctor.out"));
}
END_TEST

/* Without any privilege there is still a real report. */
START_TEST(run_as_nobody)
{
	struct run run = {
		.source = "auto",
		.command = LIST(test_program("storm"), "-n", "20"),
		.how.prepare = become_nobody,
	};

	need_nobody();
	run_knell(&run);
	expect_exit(&run, 0);
	expect_no_loss(&run.records);
	expect_whole_lives(&run.records);
	ck_assert_uint_eq(count_events(&run.records, "exit"), 21);
}
END_TEST

START_TEST(bpf_refused_to_nobody)
{
	struct run run = {
		.source = "bpf",
		.command = LIST(test_program("openfds"), "ran"),
		.how.prepare = become_nobody,
		.json = "",
	};

	need_nobody();
	run_knell(&run);
	expect_exit(&run, 125);
	ck_assert_msg(!file_exists("ran"), "the command was started");
	ck_assert_msg(strstr(run.err, "bpf"), "no clear error:\n%s", run.err);
}
END_TEST

static void enter_user_namespace(void)
{
	if (unshare(CLONE_NEWUSER))
		_exit(197);
}

/* To be told to become root, or to take capabilities, would lead nowhere. */
START_TEST(in_a_user_namespace)
{
	struct spawn how = { .out = "doctor.out", .prepare = enter_user_namespace };
	int status = await_exit(spawn(&how, LIST(test_knell(), "doctor")));
	char *text;

	if (status == W_EXITCODE(197, 0))
		test_skip("user namespaces cannot be made here");
	ck_assert_int_eq(status, 0);
	text = read_file("doctor.out");
	ck_assert_msg(strstr(text, "outside of this user namespace"), "%s", text);
}
END_TEST

static rlim_t descriptors;

static void leave_few(void)
{
	struct rlimit limit = { descriptors, descriptors };

	if (setrlimit(RLIMIT_NOFILE, &limit))
		_exit(197);
}

/* libbpf has many words for it, some on standard error, and none of them is the limit. */
START_TEST(few_descriptors)
{
	static const rlim_t few[] = { 6, 8, 12, 16, 20, 26 };
	struct spawn how = { .out = "doctor.out", .err = "doctor.err", .prepare = leave_few };
	struct knell_probe probe;

	ck_assert(!knell_probe(0, &probe) && !strcmp(probe.name, "bpf"));
	if (probe.error)
		test_skip("bpf does not work here in any case: %.150s", probe.reason);
	for (size_t i = 0; i < sizeof(few) / sizeof(few[0]); i++) {
		char *text;

		descriptors = few[i];
		ck_assert_int_eq(await_exit(spawn(&how, LIST(test_knell(), "doctor"))), 0);
		text = read_file("doctor.out");
		ck_assert_msg(strstr(text,
				     "why: cannot load BPF programs: Too many open files\n") &&
				      strstr(text, "(ulimit -n)\n") && !strstr(text, "libbpf"),
			      "with %d descriptors:\n%s", (int)few[i], text);
		ck_assert_str_eq(read_file("doctor.err"), "");
	}
}
END_TEST

START_TEST(bad_option)
{
	struct spawn how = { .out = "doctor.out", .err = "doctor.err" };
	int status = await_exit(spawn(&how, LIST(test_knell(), "doctor", "--nonsense")));

	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	ck_assert(strstr(read_file("doctor.err"), "nonsense"));
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "doctor", 60);

	tcase_add_test(tcase, as_ourselves);
	tcase_add_test(tcase, no_module);
	tcase_add_test(tcase, as_nobody);
	tcase_add_test(tcase, run_as_nobody);
	tcase_add_test(tcase, bpf_refused_to_nobody);
	tcase_add_test(tcase, in_a_user_namespace);
	tcase_add_test(tcase, few_descriptors);
	tcase_add_test(tcase, bad_option);
}
