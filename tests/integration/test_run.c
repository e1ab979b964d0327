/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_run.c - `knell run` is not there: what the command gets from its starter, and its starter
 * from the command, is the same as without it; and bad input harms nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

const char test_suite_name[] = "run";

/* What a program writes to stdout when it is run without Knell. */
static char *output_of(const struct spawn *how, const char *const argv[])
{
	struct spawn redirected = how ? *how : (struct spawn){ 0 };

	redirected.out = "bare.out";
	ck_assert_int_eq(await_exit(spawn(&redirected, argv)), 0);
	return read_file("bare.out");
}

START_TEST(every_exit_status)
{
	/* Starting bpf takes its time; which source it is makes no difference to the number. */
	unsigned int step = test_source_is("bpf") ? 15 : 1, code;
	char text[8];

	for (code = 0; code < 256; code += step) {
		struct run run = {
			.json = "",
			.options = LIST("--quiet"),
			.command = LIST(test_program("tiny"), text),
		};

		snprintf(text, sizeof(text), "%u", code);
		run_knell(&run);
		expect_exit(&run, (int)code);
		free(run.err);
	}
}
END_TEST

/* Check cannot carry messages as long as an environment: shows the first line that differs. */
static void expect_same(const char *text, const char *bare)
{
	size_t i, start = 0;

	ck_assert(text && bare);
	for (i = 0; text[i] && text[i] == bare[i]; i++)
		if (text[i] == '\n')
			start = i + 1;
	ck_assert_msg(text[i] == bare[i], "under Knell: %.200s\nwithout it: %.200s", text + start,
		      bare + start);
}

static const struct {
	const char *name;
	int signo;
} signals[] = {
	{ "TERM", SIGTERM }, { "INT", SIGINT },   { "HUP", SIGHUP },
	{ "KILL", SIGKILL }, { "SEGV", SIGSEGV }, { "QUIT", SIGQUIT },
	{ "USR1", SIGUSR1 }, { "PIPE", SIGPIPE }, { "ABRT", SIGABRT },
};

static void allow_core(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_CORE, &limit);
}

/* Shells stop their loops when they see this. Knell leaves no core of its own over the command's.
 */
START_TEST(dies_of_the_same_signal)
{
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct run run = {
			.json = "",
			.command = LIST(test_program("deaths"), "kill-self", signals[i].name),
			.how.prepare = allow_core,
		};

		run_knell(&run);
		expect_status(&run, W_EXITCODE(0, signals[i].signo));
	}
}
END_TEST

START_TEST(exit_status_instead_of_signal)
{
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct run run = {
			.json = "",
			.options = LIST("--exit-status"),
			.command = LIST(test_program("deaths"), "kill-self", signals[i].name),
		};

		run_knell(&run);
		expect_exit(&run, 128 + signals[i].signo);
	}
}
END_TEST

START_TEST(command_not_found)
{
	struct run run = { .command = LIST("./no-such-program") };
	struct run in_path = { .command = LIST("knell-test-no-such-program") };

	run_knell(&run);
	expect_exit(&run, 127);
	ck_assert_msg(strstr(run.err, "no-such-program"), "not named:\n%s", run.err);
	run_knell(&in_path);
	expect_exit(&in_path, 127);
}
END_TEST

START_TEST(command_not_executable)
{
	struct run file = { .command = LIST("./plain") };
	struct run folder = { .command = LIST("./folder") };

	write_file("plain", "no program\n");
	run_knell(&file);
	expect_exit(&file, 126);
	ck_assert_msg(strstr(file.err, "plain"), "not named:\n%s", file.err);
	mkdir("folder", 0755);
	run_knell(&folder);
	expect_exit(&folder, 126);
}
END_TEST

START_TEST(command_found_in_path)
{
	struct run run = { .command = LIST("tiny", "9") };
	const char *programs = getenv("KNELL_TEST_PROGRAMS");

	ck_assert_ptr_nonnull(programs);
	setenv("PATH", programs, 1);
	run_knell(&run);
	expect_exit(&run, 9);
}
END_TEST

/* Knell refuses with 125, says why, and has not started the command. */
static void expect_refused(const char *const argv[], const char *named)
{
	struct spawn how = { .out = "refused.out", .err = "refused.err" };
	int status = await_exit(spawn(&how, argv));
	char *err = read_file("refused.err"), *out = read_file("refused.out");

	if (!err || !out)
		ck_abort_msg("its output cannot be read");
	ck_assert_msg(status == W_EXITCODE(125, 0), "wait status %#x:\n%s", (unsigned int)status,
		      err);
	ck_assert_msg(strstr(err, named), "'%s' is not named:\n%s", named, err);
	ck_assert_msg(!*out, "it wrote to stdout:\n%s", out);
	ck_assert_msg(!file_exists("ran"), "the command was started");
	free(err);
	free(out);
}

START_TEST(bad_input)
{
	const char *knell = test_knell(), *command = test_program("openfds");
	char source[32];

	snprintf(source, sizeof(source), "--source=%s", test_source());
	expect_refused(LIST(knell, "run", source), "command");
	expect_refused(LIST(knell, "run", source, "--"), "command");
	expect_refused(LIST(knell, "run", source, "--nonsense", "--", command, "ran"), "nonsense");
	expect_refused(LIST(knell, "run", "--source=nonsense", "--", command, "ran"), "nonsense");
	expect_refused(LIST(knell, "run", source, "--report=/no/such/folder/report", "--", command,
			    "ran"),
		       "/no/such/folder/report");
	expect_refused(LIST(knell, "run", source, "--json=/no/such/folder/json", "--", command,
			    "ran"),
		       "/no/such/folder/json");
	expect_refused(LIST(knell, "run", source, "--orphans=maybe", "--", command, "ran"),
		       "maybe");
	expect_refused(LIST(knell, "run", source, "--grace=soon", "--", command, "ran"), "soon");
	expect_refused(LIST(knell, "run", source, "--grace=-1", "--", command, "ran"), "-1");
	expect_refused(LIST(knell, "run", source, "--reserve=0x", "--", command, "ran"), "0x");
	expect_refused(LIST(knell, "run", source, "--reserve=99999999999", "--", command, "ran"),
		       "99999999999");
}
END_TEST

START_TEST(unknown_subcommand)
{
	struct spawn how = { .out = "knell.out", .err = "knell.err" };
	int status = await_exit(spawn(&how, LIST(test_knell(), "nonsense")));
	char *err = read_file("knell.err");

	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	ck_assert_msg(strstr(err, "nonsense"), "not named:\n%s", err);
}
END_TEST

START_TEST(stdin_and_stdout_pass_through)
{
	struct run run = {
		.command = LIST(test_program("relay"), "7", "to stderr"),
		.how.in = "input",
	};
	char *input = malloc(300001), *output;
	size_t i;

	for (i = 0; i < 300000; i++)
		input[i] = (char)(i % 61 == 60 ? '\n' : 'A' + (char)(i % 26));
	input[i] = '\0';
	write_file("input", input);
	run_knell(&run);
	expect_exit(&run, 7);
	output = read_file("run.out");
	ck_assert_msg(!strcmp(input, output), "not the same as what went in");
	ck_assert_msg(strstr(run.err, "to stderr\n"), "lost:\n%s", run.err);
}
END_TEST

static void close_all(void)
{
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
}

/* Nothing of Knell's may land on these numbers, neither for the command nor under its writes. */
START_TEST(all_three_closed)
{
	struct run run = {
		.command = LIST(test_program("openfds"), "fds"),
		.how.prepare = close_all,
	};
	struct spawn how = { .prepare = close_all };
	char *fds, *bare;

	run_knell(&run);
	expect_exit(&run, 0);
	fds = read_file("fds");
	ck_assert_int_eq(await_exit(spawn(&how, LIST(test_program("openfds"), "bare"))), 0);
	bare = read_file("bare");
	ck_assert_str_eq(fds, bare);
}
END_TEST

static int pipe_to_command[2];

static void put_pipe_on_3(void)
{
	int fd = dup(pipe_to_command[1]);

	/* It survives exec, and is not one that the test keeps. */
	if (dup2(fd, 3) < 0)
		_exit(197);
	if (fd != 3)
		close(fd);
}

/* Who waits for the end of what the command closed (readiness) does not wait for Knell. */
START_TEST(closed_by_the_command)
{
	struct run run = {
		.options = LIST("-q"),
		.command = LIST("/bin/sh", "-c", "echo ready >&3; exec 3>&-; read x <go"),
		.how.prepare = put_pipe_on_3,
	};
	char text[16] = "";
	ssize_t n, got = 0;

	mkfifo("go", 0600);
	ck_assert(!pipe2(pipe_to_command, O_CLOEXEC));
	run_start(&run);
	close(pipe_to_command[1]);
	/* Does it end while the command lives? If not, the test runs out of time. */
	while ((n = read(pipe_to_command[0], text + got, sizeof(text) - (size_t)got)) > 0)
		got += n;
	ck_assert_str_eq(text, "ready\n");
	close(open("go", O_WRONLY | O_CLOEXEC));
	run_wait(&run);
	expect_exit(&run, 1); /* nothing to read */
}
END_TEST

static void close_stdout(void)
{
	close(STDOUT_FILENO);
}

/* What cannot be told to anybody is not heard for nothing. */
START_TEST(json_to_closed_stdout)
{
	struct run run = {
		.options = LIST("--json=-"),
		.json = "",
		.command = LIST("/bin/sh", "-c", "echo >started"),
		.how.prepare = close_stdout,
	};

	run_knell(&run);
	expect_exit(&run, 125);
	ck_assert_msg(strstr(run.err, "standard output"), "no reason: %s", run.err);
	ck_assert_msg(!file_exists("started"), "the command was started");
}
END_TEST

/* Closed, full, or to be read only: an answer that was not written is no success. */
START_TEST(output_is_lost)
{
	static const char *const commands[][2] = {
		{ "--help" },          { "--version" },
		{ "doctor" },          { "doctor", "--table" },
		{ "run", "--help" },   { "watch", "--help" },
		{ "trace", "--help" }, { "doctor", "--help" },
		{ "why", "--help" },   { "why", "1" },
	};
	static const struct spawn hows[] = {
		{ .err = "err", .prepare = close_stdout },
		{ .err = "err", .out = "/dev/full" },
	};
	size_t i, k;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		for (k = 0; k < sizeof(hows) / sizeof(hows[0]); k++) {
			pid_t pid =
				spawn(&hows[k], LIST(test_knell(), commands[i][0], commands[i][1]));
			int status = await_exit(pid);
			const char *err = read_file("err");

			ck_assert_msg(
				status == W_EXITCODE(125, 0) && strstr(err, "standard output"),
				"knell %s %s: wait status %#x, %s", commands[i][0],
				commands[i][1] ? commands[i][1] : "", (unsigned int)status, err);
		}
	}
}
END_TEST

START_TEST(report_with_stderr_closed)
{
	struct run run = {
		.options = LIST("--report=report"),
		.command = LIST(test_program("tiny"), "7"),
		.how.prepare = close_all,
	};
	char *report;

	run_knell(&run);
	expect_exit(&run, 7);
	report = read_file("report");
	ck_assert_msg(report && *report, "no report");
}
END_TEST

/* It must not wait for a reader that never comes, with signals that it does not hear. */
START_TEST(fifo_without_reader)
{
	static const char *const options[] = { "--json=fifo", "--report=fifo" };
	size_t i;

	mkfifo("fifo", 0600);
	for (i = 0; i < 2; i++) {
		struct run run = {
			.options = LIST("-q", options[i]),
			.json = "",
			.command = LIST("/bin/sh", "-c", "echo >started"),
		};

		run_knell(&run);
		expect_exit(&run, 125);
		ck_assert_msg(strstr(run.err, "'fifo': nobody reads"), "no reason: %s", run.err);
		ck_assert_msg(!file_exists("started"), "the command was started");
	}
}
END_TEST

/* False: the reader was later than knell waits. */
static bool run_before_reader(void)
{
	struct run run = {
		.options = LIST("--json=fifo"),
		.json = "",
		.command = LIST(test_program("tiny"), "7"),
	};
	pid_t reader = spawn(NULL, LIST("/bin/sh", "-c", "sleep 0.1; exec cat fifo >copy"));

	run_knell(&run);
	if (strstr(run.err, "nobody reads")) {
		kill(reader, SIGKILL);
		await_exit(reader);
		return false;
	}
	expect_exit(&run, 7);
	ck_assert_int_eq(await_exit(reader), 0);
	return true;
}

/* A reader that is started beside knell may be the later of the two; not by so much in each try. */
START_TEST(fifo_with_late_reader)
{
	struct records records;
	int tries = 0;

	mkfifo("fifo", 0600);
	while (!run_before_reader())
		ck_assert_int_lt(++tries, 5);
	read_records(&records, "copy");
	ck_assert_uint_eq(count_events(&records, "exit"), test_source_is("none") ? 0 : 1);
}
END_TEST

START_TEST(report_to_full_disk)
{
	struct run run = {
		.options = LIST("--report=/dev/full"),
		.command = LIST(test_program("tiny"), "7"),
	};

	if (!file_exists("/dev/full"))
		test_skip("there is no /dev/full here");
	run_knell(&run);
	expect_exit(&run, 7);
	ck_assert_msg(strstr(run.err, "/dev/full") && strstr(run.err, strerror(ENOSPC)),
		      "file or reason is missing: %s", run.err);
}
END_TEST

static void break_stderr(void)
{
	int pipefd[2];

	if (pipe(pipefd))
		_exit(197);
	dup2(pipefd[1], STDERR_FILENO);
	close(pipefd[0]);
	close(pipefd[1]);
}

START_TEST(nobody_reads_stderr)
{
	struct run run = {
		.command = LIST(test_program("tiny"), "7"),
		.how.prepare = break_stderr,
	};

	run_knell(&run);
	expect_exit(&run, 7);
}
END_TEST

static void break_stdout(void)
{
	int pipefd[2];

	if (pipe(pipefd))
		_exit(197);
	dup2(pipefd[1], STDOUT_FILENO);
	close(pipefd[0]);
	close(pipefd[1]);
}

START_TEST(nobody_reads_json)
{
	struct run run = {
		.json = "/dev/stdout",
		.command = LIST(test_program("tiny"), "7"),
		.how.prepare = break_stdout,
	};

	run_knell(&run);
	expect_exit(&run, 7);
}
END_TEST

/* Nothing that was heard is lost silently; the command is not harmed. */
START_TEST(full_disk)
{
	struct run run = {
		.json = "/dev/full",
		.command = LIST(test_program("storm"), "-n", "200"),
	};
	char *output;

	if (!file_exists("/dev/full"))
		test_skip("there is no /dev/full here");
	run_knell(&run);
	expect_exit(&run, 0);
	output = read_file("run.out");
	ck_assert_msg(!strncmp(output, "forks=200 ", 10), "the command said: %s", output);
	ck_assert_msg(strstr(run.err, "/dev/full") && strstr(run.err, strerror(ENOSPC)),
		      "no clear error:\n%s", run.err);
}
END_TEST

START_TEST(long_arguments)
{
	static char big[100001];
	struct run run = { .options = LIST("--args") };
	const struct record *record;
	char *bare, *heard;

	memset(big, 'x', sizeof(big) - 1);
	run.command = LIST(test_program("inherited"), big, big, big);
	bare = output_of(NULL, run.command);
	run_knell(&run);
	expect_exit(&run, 0);
	heard = read_file("run.out");
	expect_same(heard, bare);
	ck_assert(strstr(heard, "arguments 3 300003 "));
	if (test_source_is("none") || test_source_is("kmod"))
		return;
	for (record = run.records.all; record < records_end(&run.records); record++) {
		if (!is_event(record, "exec"))
			continue;
		ck_assert_msg(record->truncated, "not said to be cut: %.300s", record->text);
		ck_assert_int_ge(record->args_total, 300003);
		return;
	}
	ck_abort_msg("no exec record");
}
END_TEST

START_TEST(name_that_is_not_utf8)
{
	static const char name[] = "./t\xff\xfe\n\x1b[31mx";
	struct run run = { .options = LIST("--args"), .command = LIST(name, "5", "\xc3\x28") };

	ck_assert_msg(!symlink(test_program("tiny"), name), "symlink: %s", strerror(errno));
	run_knell(&run); /* its JSON is read, and must be UTF-8 */
	expect_exit(&run, 5);
	ck_assert_msg(!strstr(run.err, "\x1b[31m"), "the report lets an escape through");
	if (!test_source_is("none"))
		ck_assert_uint_eq(count_events(&run.records, "exit"), 1);
}
END_TEST

static void odd_signals(void)
{
	sigset_t set;

	signal(SIGUSR2, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

START_TEST(signal_state_is_restored)
{
	struct run odd = {
		.command = LIST(test_program("sigstate")),
		.how.prepare = odd_signals,
	};
	struct run plain = { .command = LIST(test_program("sigstate")) };
	char *bare = output_of(&odd.how, odd.command);

	run_knell(&odd);
	expect_exit(&odd, 0);
	expect_same(read_file("run.out"), bare);
	bare = output_of(NULL, plain.command);
	run_knell(&plain);
	expect_exit(&plain, 0);
	expect_same(read_file("run.out"), bare);
}
END_TEST

/* An init that relies on SIGCHLD hangs here. */
START_TEST(sigchld_ignored_on_entry)
{
	struct run run = {
		.command = LIST(test_program("storm"), "-n", "1"),
		.how.prepare = odd_signals,
	};
	struct run signalled = {
		.command = LIST(test_program("deaths"), "kill-self", "KILL"),
		.how.prepare = odd_signals,
	};

	run_knell(&run); /* storm itself cannot wait for its child then: ECHILD */
	ck_assert_msg(WIFEXITED(run.status), "wait status %#x", (unsigned int)run.status);
	run_knell(&signalled);
	expect_status(&signalled, W_EXITCODE(0, SIGKILL));
}
END_TEST

static void keep_an_fd(void)
{
	if (dup2(open("/dev/null", O_RDONLY), 9) != 9)
		_exit(197);
}

/* The numbers only: what is behind stdout differs. */
static void only_numbers(char *text)
{
	char *line, *next, *to = text;

	for (line = text; *line; line = next) {
		next = line + strcspn(line, "\n");
		next += *next == '\n';
		to += sprintf(to, "%ld\n",
			      strtol(line, NULL, 10)); /* shorter than the line: it had a target */
	}
	*to = '\0';
}

START_TEST(no_descriptor_leaks)
{
	struct run run = {
		.options = LIST("--report=report"),
		.command = LIST(test_program("openfds")),
		.how.prepare = keep_an_fd,
	};
	char *bare = output_of(&run.how, run.command), *heard;

	run_knell(&run);
	expect_exit(&run, 0);
	heard = read_file("run.out");
	only_numbers(bare);
	only_numbers(heard);
	ck_assert_msg(strstr(bare, "9\n"), "the test itself is wrong");
	ck_assert_str_eq(heard, bare);
}
END_TEST

static void odd_attributes(void)
{
	struct rlimit limit = { 100, 200 };

	umask(037);
	setrlimit(RLIMIT_NOFILE, &limit);
	if (nice(3) < 0)
		_exit(197);
	setenv("KNELL_TEST_ODD", "\xff odd =\n", 1);
}

START_TEST(everything_else_is_inherited)
{
	struct run plain = { .command = LIST(test_program("inherited"), "", "a b") };
	struct run odd = {
		.command = LIST(test_program("inherited"), "x"),
		.how.prepare = odd_attributes,
	};
	char *bare = output_of(NULL, plain.command);

	run_knell(&plain);
	expect_exit(&plain, 0);
	expect_same(read_file("run.out"), bare);
	bare = output_of(&odd.how, odd.command);
	run_knell(&odd);
	expect_exit(&odd, 0);
	expect_same(read_file("run.out"), bare);
}
END_TEST

START_TEST(signals_reach_the_command)
{
	static const int signos[] = { SIGTERM, SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGALRM };
	size_t i;

	for (i = 0; i < sizeof(signos) / sizeof(signos[0]); i++) {
		struct run run = {
			.command = LIST("/bin/sh", "-c", "echo ready $$ >truth; exec \"$0\" wait",
					test_program("deaths")),
			.json = "",
		};

		unlink("truth");
		run_start(&run);
		await_number("truth", "ready");
		kill(run.pid, signos[i]);
		run_wait(&run);
		expect_status(&run, W_EXITCODE(0, signos[i]));
	}
}
END_TEST

START_TEST(command_may_catch_a_signal)
{
	static const char script[] = "trap 'exit 42' TERM; echo ready $$ >truth;"
				     " while :; do \"$0\" </dev/null; done";
	struct run run = {
		.command = LIST("/bin/sh", "-c", script, test_program("relay")),
	};

	run_start(&run);
	await_number("truth", "ready");
	kill(run.pid, SIGTERM);
	run_wait(&run);
	expect_exit(&run, 42);
}
END_TEST

/* Nobody waits for the command then: this process does, as the nearest subreaper. */
START_TEST(knell_is_killed)
{
	struct run run = {
		.command = LIST("/bin/sh", "-c", "echo ready $$ >truth; exec \"$0\" wait",
				test_program("deaths")),
	};
	pid_t pid;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	run_start(&run);
	pid = await_number("truth", "ready");
	sleep_ms(100);
	kill(run.pid, SIGKILL);
	ck_assert_int_eq(await_exit(run.pid), W_EXITCODE(0, SIGKILL));
	sleep_ms(100); /* in vain, if all is well */
	ck_assert_msg(await_state(pid, "S"), "the command is in state '%c'", shown_state(pid));
	kill(pid, SIGUSR1);
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(0, SIGUSR1));
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "run", 90);

	tcase_add_test(tcase, every_exit_status);
	tcase_add_test(tcase, dies_of_the_same_signal);
	tcase_add_test(tcase, exit_status_instead_of_signal);
	tcase_add_test(tcase, command_not_found);
	tcase_add_test(tcase, command_not_executable);
	tcase_add_test(tcase, command_found_in_path);
	tcase_add_test(tcase, bad_input);
	tcase_add_test(tcase, unknown_subcommand);
	tcase_add_test(tcase, stdin_and_stdout_pass_through);
	tcase_add_test(tcase, all_three_closed);
	tcase_add_test(tcase, closed_by_the_command);
	tcase_add_test(tcase, json_to_closed_stdout);
	tcase_add_test(tcase, output_is_lost);
	tcase_add_test(tcase, report_with_stderr_closed);
	tcase_add_test(tcase, report_to_full_disk);
	tcase_add_test(tcase, fifo_without_reader);
	tcase_add_test(tcase, fifo_with_late_reader);
	tcase_add_test(tcase, nobody_reads_stderr);
	tcase_add_test(tcase, nobody_reads_json);
	tcase_add_test(tcase, full_disk);
	tcase_add_test(tcase, long_arguments);
	tcase_add_test(tcase, name_that_is_not_utf8);
	tcase_add_test(tcase, signal_state_is_restored);
	tcase_add_test(tcase, sigchld_ignored_on_entry);
	tcase_add_test(tcase, no_descriptor_leaks);
	tcase_add_test(tcase, everything_else_is_inherited);
	tcase_add_test(tcase, signals_reach_the_command);
	tcase_add_test(tcase, command_may_catch_a_signal);
	tcase_add_test(tcase, knell_is_killed);
}
