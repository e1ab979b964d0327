/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_plugin.c - a real plugin in `knell run`, trace, watch and init: it hears what they hear,
 * until the end; and one that is refused keeps the command from starting.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"
#include "tool.h"

const char test_suite_name[] = "plugin";

/* --plugin=, our plugin, and these arguments. */
static const char *plugin_option(const char *args)
{
	char *text;

	if (asprintf(&text, "--plugin=%s:%s", test_program("teller.so"), args) < 0)
		ck_abort_msg("out of memory");
	return text;
}

static char *told(const char *path)
{
	char *text = read_file(path);

	ck_assert_msg(text, "the plugin wrote nothing");
	return text;
}

static void expect_line(const char *text, const char *kind, pid_t pid, const char *name)
{
	char line[128];

	snprintf(line, sizeof(line), "%s %d %s\n", kind, pid, name);
	ck_assert_msg(strstr(text, line), "no line '%s' in:\n%s", line, text);
}

/* It calls the library that knell itself uses, and it was told to end. */
static void expect_whole(const char *text)
{
	ck_assert_msg(strncmp(text, "library ", 8) == 0 && strstr(text, "libknell.so") &&
			      strstr(text, "libknell.so") < strchr(text, '\n'),
		      "%s", text);
	ck_assert_msg(strlen(text) > 4 && strcmp(text + strlen(text) - 4, "end\n") == 0, "%s",
		      text);
}

START_TEST(run_with_plugin)
{
	struct run run = {
		.options = LIST(plugin_option("told")),
		.command = LIST("sh", "-c", "(exit 3); true"),
	};
	char *text;

	run_knell(&run);
	expect_exit(&run, 0);
	text = told("told");
	expect_whole(text);
	ck_assert_uint_eq(count_of(text, "\nexit "), count_events(&run.records, "exit"));
	ck_assert_uint_eq(count_of(text, "\nclone "), count_events(&run.records, "clone"));
	ck_assert_uint_eq(count_of(text, "\nexec "), count_events(&run.records, "exec"));
	ck_assert_uint_eq(count_of(text, "\nexit "), 2);
	ck_assert_uint_eq(count_of(text, "\nfailed "), 1);
}
END_TEST

/* What its watchers want to hear of needs flags of the engine, which nobody has to give. */
START_TEST(run_hears_ids_for_a_plugin)
{
	struct run run = {
		.options = LIST(plugin_option("told"), "-q"),
		.command = LIST(test_program("ids"), "truth", "storm", "5"),
	};
	char *text;

	if (geteuid() != 0)
		test_skip("only root can change ids");
	run_knell(&run);
	expect_exit(&run, 0);
	text = told("told");
	expect_whole(text);
	/* Each of the five children changes its uid twice. */
	ck_assert_uint_eq(count_of(text, "\nuid "), 10);
}
END_TEST

START_TEST(the_same_twice)
{
	struct run run = {
		.options = LIST(plugin_option("told"), plugin_option("again")),
		.command = LIST("touch", "started"),
	};

	run_knell(&run);
	expect_exit(&run, 125);
	ck_assert_msg(strstr(run.err, "loaded already"), "%s", run.err);
	ck_assert(!file_exists("started"));
	expect_whole(told("told"));
}
END_TEST

static const struct {
	const char *option, *why;
} refused[] = {
	{ "--plugin=not-there.so", "not-there.so" },
	{ "--plugin=", "names no file" },
	{ "--plugin=:args", "names no file" },
	{ "--plugin=/dev/null", "is not a file" },
	{ "--plugin=/bin/sh", "plugin" },
	{ "--plugin=./text", "the loader refuses" },
	{ NULL, "refuses to start" }, /* "refuse" */
};

START_TEST(refused_before_the_command)
{
	struct run run = {
		.options = LIST(refused[_i].option ? refused[_i].option : plugin_option("refuse")),
		.command = LIST("touch", "started"),
	};

	write_file("text", "no program\n");
	run_knell(&run);
	expect_exit(&run, 125);
	ck_assert_msg(strstr(run.err, refused[_i].why), "%s", run.err);
	ck_assert_msg(strstr(run.err, "--plugin"), "%s", run.err);
	ck_assert(!file_exists("started"));
}
END_TEST

START_TEST(trace_with_plugin)
{
	struct tool trace = { .command = "trace" };
	char pid_option[32];
	pid_t pid;
	char *text;

	pid = start_victim("kn-plugin");
	snprintf(pid_option, sizeof(pid_option), "--pid=%d", pid);
	trace.args = LIST(plugin_option("told"), pid_option);
	tool_start(&trace);
	tool_await_listening(&trace);
	kill_victim(pid, SIGKILL);
	tool_wait(&trace);
	tool_expect_exit(&trace, 0);
	text = told("told");
	expect_whole(text);
	expect_line(text, "exit", pid, "kn-plugin");
	ck_assert_uint_eq(count_of(text, "\nexit "), 1);
	trace.name = "refused";
	trace.how.out = trace.how.err = NULL;
	trace.args = LIST(plugin_option("refuse"));
	tool_expect_refused(&trace, 125, "refuses to start");
}
END_TEST

START_TEST(watch_with_plugin)
{
	struct tool watch = { .command = "watch" };
	char target[32];
	pid_t pid;
	char *text;

	pid = start_victim("kn-plugin");
	snprintf(target, sizeof(target), "%d", pid);
	watch.args = LIST(plugin_option("told"), target);
	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(pid, SIGKILL);
	tool_wait(&watch);
	tool_expect_exit(&watch, 128 + SIGKILL);
	text = told("told");
	expect_whole(text);
	expect_line(text, "exit", pid, "kn-plugin");
	watch.name = "refused";
	watch.how.out = watch.how.err = NULL;
	snprintf(target, sizeof(target), "%d", getpid());
	watch.args = LIST("--plugin=not-there.so", target);
	tool_expect_refused(&watch, 125, "not-there.so");
}
END_TEST

START_TEST(init_with_plugin)
{
	struct tool init = {
		.command = "init",
		.source = "",
		.args = LIST(plugin_option("told"), "--", "sh", "-c", "(exit 3); exit 4"),
	};
	char *text;

	tool_run(&init);
	tool_expect_exit(&init, 4);
	text = told("told");
	expect_whole(text);
	ck_assert_uint_eq(count_of(text, "\nexit "), 2);
	ck_assert_uint_eq(count_of(text, "\nfailed "), 2);
	init.name = "refused";
	init.how.out = init.how.err = NULL;
	init.args = LIST(plugin_option("refuse"), "--", "touch", "started");
	tool_expect_refused(&init, 125, "refuses to start");
	ck_assert(!file_exists("started"));
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "plugin", 60);

	/* Each subcommand with the sources that it can use. */
	if (!test_source_is("connector")) {
		tcase_add_test(tcase, run_with_plugin);
		tcase_add_test(tcase, the_same_twice);
		tcase_add_loop_test(tcase, refused_before_the_command, 0,
				    (int)(sizeof(refused) / sizeof(refused[0])));
	}
	if (!test_source_is("ptrace")) {
		tcase_add_test(tcase, trace_with_plugin);
		tcase_add_test(tcase, watch_with_plugin);
	}
	if (test_source_is("bpf")) {
		tcase_add_test(tcase, run_hears_ids_for_a_plugin);
		tcase_add_test(tcase, init_with_plugin);
	}
}
