/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_why.c - `knell why` on logs that are written here: who is who where numbers are used again,
 * what is told where the log lost something. What real deaths leave is in the integration test.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "test_why.h"

#define PID_MAX 65536

static char *text;
static size_t text_len, text_size;
static unsigned int seq;
static unsigned int born[PID_MAX], parents[PID_MAX];
static char complaint[1024];

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(complaint, sizeof(complaint), format, args);
	va_end(args);
}

const char *last_complaint(void)
{
	return complaint;
}

uint64_t at_ns(unsigned int second)
{
	return (UINT64_C(1795132800) + second) * WHY_SECOND; /* 2026-11-20 */
}

const char *at(unsigned int second)
{
	static char buf[8][40];
	static unsigned int next;
	char *s = buf[next++ % 8];

	snprintf(s, 40, "2026-11-20T%02u:%02u:%02u.000000000Z", second / 3600, second / 60 % 60,
		 second % 60);
	return s;
}

void log_line(const char *format, ...)
{
	char line[2048];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	ck_assert_int_lt(len, (int)sizeof(line) - 1);
	if (text_len + sizeof(line) > text_size) {
		char *grown = realloc(text, 2 * (text_len + sizeof(line)));

		ck_assert(grown);
		text = grown;
		text_size = 2 * (text_len + sizeof(line));
	}
	memcpy(text + text_len, line, (size_t)len);
	text_len += (size_t)len;
	text[text_len++] = '\n';
	text[text_len] = '\0';
}

void log_set_number(unsigned int number)
{
	seq = number;
}

static void log_process(unsigned int second, const char *event, unsigned int pid, const char *comm,
			const char *more)
{
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"%s\",\"knell.scope\":\"process\","
		 "\"knell.ring\":0,\"knell.seq\":%u,\"process.pid\":%u,"
		 "\"process.creation.time\":\"%s\",\"process.parent_pid\":%u,"
		 "\"knell.parent.creation.time\":\"%s\",\"process.executable.name\":\"%s\"%s}",
		 at(second), event, seq++, pid, at(born[pid]), parents[pid], at(born[parents[pid]]),
		 comm, more);
}

void log_birth(unsigned int second, unsigned int pid, unsigned int parent, const char *comm)
{
	born[pid] = second;
	parents[pid] = parent;
	log_process(second, "clone", pid, comm, "");
}

void log_exec(unsigned int second, unsigned int pid, const char *path, const char *args)
{
	const char *slash = strrchr(path, '/');
	char more[512];

	snprintf(more, sizeof(more), ",\"process.executable.path\":\"%s\"%s%s", path,
		 args ? ",\"process.command_args\":" : "", args ? args : "");
	log_process(second, "exec", pid, slash ? slash + 1 : path, more);
}

void log_code(unsigned int second, unsigned int pid, const char *comm, int code)
{
	char more[64];

	snprintf(more, sizeof(more), ",\"process.exit.code\":%d", code);
	log_process(second, "exit", pid, comm, more);
}

void log_killed(unsigned int second, unsigned int pid, const char *comm, int signo,
		unsigned int sender, const char *sender_comm)
{
	char more[512];

	snprintf(more, sizeof(more),
		 ",\"knell.exit.signal\":%d,\"knell.exit.core\":false,"
		 "\"knell.exit.reason\":\"user\",\"knell.exit.sent\":\"%s\","
		 "\"knell.exit.si_code\":0,\"knell.exit.sender.pid\":%u,"
		 "\"knell.exit.sender.uid\":5,\"knell.exit.sender.comm\":\"%s\"",
		 signo, at(second), sender, sender_comm);
	log_process(second, "exit", pid, comm, more);
}

void log_gap(unsigned int second, unsigned int births, unsigned int deaths, unsigned int others)
{
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"gap\",\"knell.ring\":0,\"knell.seq\":%u,"
		 "\"knell.gap.lost\":%u,\"knell.gap.births\":%u,\"knell.gap.deaths\":%u,"
		 "\"knell.gap.others\":%u,\"knell.gap.cause\":\"ring\"}",
		 at(second), seq, births + deaths + others, births, deaths, others);
	seq += births + deaths + others;
}

void log_start(unsigned int second, const char *boot_id)
{
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"start\",\"knell.boot_id\":\"%s\","
		 "\"knell.source\":\"bpf\"}",
		 at(second), boot_id);
}

void log_summary(unsigned int second)
{
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"summary\",\"knell.events\":1,"
		 "\"knell.lost\":0,\"knell.reconciled\":0}",
		 at(second));
	seq = 0;
}

static struct why_options options_of(const char *target, bool all)
{
	struct why_options options = {
		.target = target,
		.name = target,
		.until = UINT64_MAX,
		.newest = 3,
		.all = all,
	};

	if (*target >= '0' && *target <= '9') {
		options.name = NULL;
		options.pid = (uint32_t)strtoul(target, NULL, 10);
	}
	return options;
}

static char *ask_with(const struct why_options *options, int *ret_status)
{
	static const char *const names[] = { "why.log" };
	struct why_files files = { 0 };
	struct why why;
	char *answer = NULL;
	size_t size;
	FILE *out = fopen("why.log", "we");

	ck_assert(out);
	ck_assert_uint_eq(fwrite(text, 1, text_len, out), text_len);
	fclose(out);
	ck_assert_int_eq(why_open(&why, options), 0);
	ck_assert_int_eq(why_files_open(&files, names, 1), 0);
	ck_assert_int_eq(why_files_read(&files, &why), 0);
	why_files_close(&files);
	unlink("why.log");
	why_finish(&why, "another boot", UINT64_MAX);
	out = open_memstream(&answer, &size);
	*ret_status = options->json ? why_tell_json(&why, "why.log", out)
				    : why_tell(&why, "why.log", out);
	fclose(out);
	why_close(&why);
	return answer;
}

char *ask(const char *target, bool all, int *ret_status)
{
	struct why_options options = options_of(target, all);

	return ask_with(&options, ret_status);
}

void expect_text(const char *answer, const char *wanted)
{
	ck_assert_msg(strstr(answer, wanted), "'%s' is not in:\n%s", wanted, answer);
}

void expect_no_text(const char *answer, const char *unwanted)
{
	ck_assert_msg(!strstr(answer, unwanted), "'%s' is in:\n%s", unwanted, answer);
}

static void setup(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	text = NULL;
	text_len = text_size = 0;
	seq = 0;
}

static void teardown(void)
{
	free(text);
}

/* ---- one death ---- */

START_TEST(three_lines)
{
	static const char wanted[] =
		"napper (pid 30) died at 2026-11-20 00:00:09.000: killed by SIGKILL sent by bash "
		"(pid 20, uid 5).\n"
		"It had run 6.00 s as \"napper 1000 'a b'\".\n"
		"Started by: ... > shell (10) > bash (20) > napper (30)\n";
	int status;
	char *answer;

	log_birth(1, 20, 10, "shell");
	log_exec(2, 20, "/bin/bash", "[\"bash\"]");
	log_birth(3, 30, 20, "bash");
	log_exec(4, 30, "/bin/napper", "[\"napper\",\"1000\",\"a b\"]");
	log_killed(9, 30, "napper", 9, 20, "bash");
	answer = ask("napper", false, &status);
	ck_assert_int_eq(status, 0);
	ck_assert_str_eq(answer, wanted);
	free(answer);
	answer = ask("30", false, &status);
	ck_assert_int_eq(strncmp(answer, wanted, sizeof(wanted) - 1), 0);
	free(answer);
	answer = ask("/bin/napper", false, &status);
	ck_assert_str_eq(answer, wanted);
	free(answer);
	answer = ask("/sbin/napper", false, &status);
	ck_assert_int_eq(status, 1);
	free(answer);
}
END_TEST

/* Its daemon is long dead; the chain has it all the same. */
START_TEST(dead_ancestors)
{
	int status;
	char *answer;

	log_birth(1, 20, 10, "init");
	log_exec(1, 20, "/sbin/daemon", NULL);
	log_birth(2, 21, 20, "daemon");
	log_exec(2, 21, "/bin/worker", NULL);
	log_code(3, 20, "daemon", 0);
	for (unsigned int i = 0; i < 20000; i++) {
		log_birth(4, 100, 10, "noise");
		log_code(4, 100, "noise", 0);
		born[100] = 0;
	}
	log_birth(5, 22, 21, "worker");
	log_killed(6, 22, "worker", 11, 10, "x");
	answer = ask("22", false, &status);
	expect_text(answer, "> daemon (20, dead by then) > worker (21) > worker (22)\n");
	free(answer);
}
END_TEST

/* Who forks and exits over and over has endless ancestors. */
START_TEST(endless_ancestors)
{
	int status;
	char *answer;

	log_birth(1, 10, 1, "runner");
	for (unsigned int i = 0; i < 5000; i++) {
		log_birth(2 + i, 11 + i, 10 + i, "runner");
		log_code(2 + i, 10 + i, "runner", 0);
	}
	log_killed(6000, 5010, "runner", 9, 10, "x");
	answer = ask("5010", false, &status);
	expect_text(answer, "Started by: ... > ");
	expect_text(answer, "> ... > runner (5003, dead by then) >");
	expect_text(answer, "> runner (5010)\n");
	free(answer);
}
END_TEST

/* ---- several ---- */

static void log_life(unsigned int second, unsigned int pid, const char *path, int code)
{
	const char *slash = strrchr(path, '/');

	log_birth(second, pid, 10, "sh");
	log_exec(second, pid, path, NULL);
	log_code(second + 1, pid, slash + 1, code);
}

START_TEST(table)
{
	int status;
	char *answer, *row;

	for (unsigned int i = 0; i < 5; i++)
		log_life(10 * i, 100 + i, "/bin/job", 1 + (int)i);
	log_life(60, 200, "/bin/job", 0);
	log_life(70, 201, "/bin/other", 9);
	answer = ask("job", false, &status);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(strncmp(answer, "TIME ", 5), 0);
	expect_no_text(answer, "exited 2");
	row = strstr(answer, "exited 3");
	ck_assert(row && strstr(row, "exited 4") && strstr(strstr(row, "exited 4"), "exited 5"));
	expect_text(answer, "\njob (pid 104) ended at 2026-11-20 00:00:41.000: exited 5.\n");
	expect_text(answer, "2 older ones are not shown: -n 5 shows all.");
	expect_text(answer, "1 more exited 0, the last at 2026-11-20 00:01:01.000");
	expect_no_text(answer, "exited 9");
	free(answer);
	answer = ask("job", true, &status);
	expect_text(answer, "\njob (pid 200) ended at 2026-11-20 00:01:01.000: exited 0.\n");
	free(answer);
}
END_TEST

/* Every child of a shell is born under its name. */
START_TEST(inherited_names)
{
	int status;
	char *answer;

	log_life(10, 100, "/bin/job", 3);
	answer = ask("sh", false, &status);
	ck_assert_int_eq(status, 0);
	expect_text(answer, "job (pid 100)");
	expect_text(answer, "born under that name");
	free(answer);
	log_birth(20, 101, 10, "sh");
	log_code(21, 101, "sh", 4);
	answer = ask("sh", false, &status);
	expect_no_text(answer, "job");
	expect_text(answer, "sh (pid 101) ended at 2026-11-20 00:00:21.000: exited 4.");
	expect_text(answer, "as a fork of sh");
	free(answer);
}
END_TEST

START_TEST(reused_pid)
{
	int status;
	char *answer;

	log_life(10, 100, "/bin/first", 1);
	log_life(20, 100, "/bin/second", 2);
	log_birth(30, 100, 10, "third");
	log_birth(40, 100, 10, "fourth");
	log_killed(41, 100, "fourth", 15, 100, "fourth");
	answer = ask("100", false, &status);
	expect_no_text(answer, "first");
	expect_text(answer, "second          exited 2");
	expect_text(answer, "third           died unheard; its number was given to another");
	expect_text(answer, "fourth          killed by SIGTERM sent by itself");
	expect_text(answer, "It had run 1.00 s as a fork of fourth");
	free(answer);
	answer = ask("second", false, &status);
	expect_text(answer, "second (pid 100) ended at 2026-11-20 00:00:21.000: exited 2.");
	expect_text(answer, "It had run 1.00 s as \"/bin/second\"");
	free(answer);
}
END_TEST

/* In a batch births come first, then execs, then deaths: who is who is told by the start alone. */
START_TEST(reused_within_a_batch)
{
	int status;
	char *answer;

	log_birth(10, 100, 10, "sh");
	log_birth(12, 100, 10, "sh");
	born[100] = 10;
	log_exec(11, 100, "/bin/first", NULL);
	born[100] = 12;
	log_exec(13, 100, "/bin/second", NULL);
	born[100] = 10;
	log_code(11, 100, "first", 1);
	born[100] = 12;
	log_code(13, 100, "second", 2);
	answer = ask("100", false, &status);
	expect_text(answer, "first           exited 1\n");
	expect_text(answer, "second          exited 2\n");
	expect_text(answer, "\nsecond (pid 100) ended");
	expect_text(answer, "as \"/bin/second\"");
	expect_no_text(answer, "unheard");
	free(answer);
}
END_TEST

/* Its death is lost: that is certain once nothing of that time can come any more. */
START_TEST(died_unheard)
{
	int status;
	char *answer;

	log_birth(10, 100, 10, "job");
	log_birth(20, 100, 10, "other");
	log_code(25, 100, "other", 0);
	log_gap(26, 0, 1, 0);
	log_birth(60, 101, 10, "noise");
	answer = ask("job", false, &status);
	expect_text(answer,
		    "job (pid 100) died unheard; its number was given to another process by "
		    "then, 2026-11-20 00:00:20.000.");
	expect_text(answer, "It had run at most 10.0 s");
	free(answer);
}
END_TEST

START_TEST(since_and_until)
{
	struct why_options options = options_of("job", false);
	int status;
	char *answer;

	log_life(10, 100, "/bin/job", 1);
	log_life(20, 101, "/bin/job", 2);
	log_life(30, 102, "/bin/job", 3);
	options.since = at_ns(15);
	options.until = at_ns(25);
	answer = ask_with(&options, &status);
	expect_text(answer, "job (pid 101) ended");
	expect_no_text(answer, "TIME");
	free(answer);
	options.until = at_ns(16);
	answer = ask_with(&options, &status);
	ck_assert_int_eq(status, 1);
	expect_text(answer, "No death of 'job' is in why.log, from 2026-11-20 00:00:15.000 to "
			    "2026-11-20 00:00:16.000: 0 deaths were searched.");
	free(answer);
}
END_TEST

START_TEST(for_programs)
{
	struct why_options options = options_of("job", false);
	int status;
	char *answer;

	options.json = true;
	log_life(10, 100, "/bin/job", 1);
	log_birth(20, 101, 10, "sh");
	log_exec(21, 101, "/bin/job", "[\"job\",\"\\\"\"]");
	log_gap(22, 0, 0, 4);
	log_killed(23, 101, "job", 9, 10, "sh");
	answer = ask_with(&options, &status);
	ck_assert_int_eq(status, 0);
	expect_text(answer, "\"knell.why.text\":\"killed by SIGKILL sent by sh (pid 10, uid 5)\"");
	expect_text(answer, "\"process.command_args\":[\"job\",\"\\\"\"]");
	expect_text(answer, "\"knell.why.total\":2");
	expect_text(answer, "\"knell.gap.others\":4");
	expect_text(answer, "\"knell.why.notes\":[\"While it lived, the log lost 4 other events");
	free(answer);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("why");
	TCase *tcase = unit_case(suite, "deaths");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, three_lines);
	tcase_add_test(tcase, dead_ancestors);
	tcase_add_test(tcase, endless_ancestors);
	tcase_add_test(tcase, table);
	tcase_add_test(tcase, inherited_names);
	tcase_add_test(tcase, reused_pid);
	tcase_add_test(tcase, reused_within_a_batch);
	tcase_add_test(tcase, died_unheard);
	tcase_add_test(tcase, since_and_until);
	tcase_add_test(tcase, for_programs);
	tcase = unit_case(suite, "log");
	tcase_add_checked_fixture(tcase, setup, teardown);
	add_log_tests(tcase);
	tcase = unit_case(suite, "time");
	tcase_add_checked_fixture(tcase, setup, teardown);
	add_time_tests(tcase);
	return suite;
}
