/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_why_log.c - logs that lack something: gaps, stops, other boots, torn and damaged lines; and
 * the files that rotation leaves.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "test_why.h"

static void expect_answer(const char *target, const char *wanted)
{
	int status;
	char *answer = ask(target, false, &status);

	ck_assert_int_eq(status, 0);
	expect_text(answer, wanted);
	free(answer);
}

/* ---- losses ---- */

START_TEST(gap_in_a_life)
{
	log_birth(1, 20, 10, "job");
	log_birth(1, 21, 10, "later");
	log_code(2, 21, "later", 1);
	log_gap(3, 0, 0, 7);
	log_code(4, 20, "job", 1);
	expect_answer("job", "Note: While it lived, the log lost 7 other events");
}
END_TEST

START_TEST(gap_beside_a_life)
{
	int status;
	char *answer;

	log_gap(1, 1, 1, 1);
	log_birth(2, 20, 10, "job");
	log_code(3, 20, "job", 1);
	log_gap(4, 2, 2, 2);
	answer = ask("job", false, &status);
	expect_no_text(answer, "Note");
	free(answer);
}
END_TEST

START_TEST(gap_where_nothing_is_found)
{
	int status;
	char *answer;

	log_gap(1, 0, 3, 0);
	answer = ask("job", false, &status);
	ck_assert_int_eq(status, 1);
	expect_text(answer, "Note: in that time the log lost 3 deaths: it may be among them.");
	free(answer);
}
END_TEST

/* A jump in the numbers that no gap explains: a file of the log was removed. */
START_TEST(missing_part)
{
	log_birth(1, 20, 10, "job");
	log_set_number(101);
	log_code(4, 20, "job", 1);
	expect_answer("job", "the log lost 100 lines that are missing");
}
END_TEST

START_TEST(suppressed)
{
	int status;
	char *answer;

	log_birth(1, 20, 10, "job");
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"suppressed\",\"knell.suppressed\":5}",
		 at(2));
	log_code(4, 20, "job", 1);
	answer = ask("job", false, &status);
	expect_text(answer, "the log lost 5 events above its rate limit:");
	expect_no_text(answer, "missing");
	free(answer);
}
END_TEST

START_TEST(alive_at_the_end)
{
	log_birth(5, 30, 10, "job");
	log_birth(100, 20, 10, "noise");
	expect_answer("job", "1 of that name was alive when the log ended at");
}
END_TEST

START_TEST(birth_before_the_log)
{
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"start\"}", at(50));
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"exit\",\"knell.scope\":\"process\","
		 "\"knell.ring\":0,\"knell.seq\":0,\"process.pid\":7,\"process.creation.time\":"
		 "\"%s\",\"process.executable.name\":\"job\",\"process.exit.code\":1}",
		 at(60), at(10));
	expect_answer("job", "Note: The log begins at 2026-11-20 00:00:50.000, after it was");
	expect_answer("job", "Started by: not in the log");
}
END_TEST

/* ---- several writers ---- */

START_TEST(stopped_log)
{
	log_start(0, "boot");
	log_birth(1, 20, 10, "job");
	log_birth(1, 21, 10, "job");
	log_summary(5);
	log_start(60, "boot");
	log_code(61, 20, "job", 1);
	expect_answer("job", "Note: While it lived, nobody wrote the log from 2026-11-20 "
			     "00:00:05.000 to 2026-11-20 00:01:00.000.");
	expect_answer("job", "1 of that name was alive when the log ended");
}
END_TEST

/* After a rotation the same writer goes on in another file. */
START_TEST(reopened_log)
{
	int status;
	char *answer;

	log_start(0, "boot");
	log_birth(1, 20, 10, "job");
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"start\",\"knell.boot_id\":\"boot\","
		 "\"knell.continued\":true}",
		 at(3));
	log_code(4, 20, "job", 1);
	answer = ask("job", false, &status);
	expect_no_text(answer, "Note");
	free(answer);
}
END_TEST

/* Another writer may go on where the numbers of the last one ended. */
START_TEST(killed_writer)
{
	log_start(0, "boot");
	log_birth(1, 20, 10, "job");
	log_start(60, "boot");
	log_code(61, 20, "job", 1);
	expect_answer("job", "nobody wrote the log from 2026-11-20 00:00:01.000 to 2026-11-20 "
			     "00:01:00.000.");
}
END_TEST

/* Without a line that says so: two logs, one after the other. */
START_TEST(counts_again)
{
	log_birth(1, 20, 10, "job");
	log_birth(2, 21, 10, "noise");
	log_set_number(0);
	log_code(61, 20, "job", 1);
	expect_answer("job", "nobody wrote the log from 2026-11-20 00:00:02.000 to 2026-11-20 "
			     "00:01:01.000.");
}
END_TEST

/* Writers of one boot differ by some ns, and a pid that died between them was used again. */
START_TEST(same_boot_other_clock)
{
	int status;
	char *answer;

	log_birth(1, 20, 10, "job");
	log_exec(2, 20, "/bin/job", NULL);
	log_summary(5);
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"exit\",\"knell.scope\":\"process\","
		 "\"knell.ring\":0,\"knell.seq\":0,\"process.pid\":20,\"process.creation.time\":"
		 "\"2026-11-20T00:00:01.000000123Z\",\"process.executable.name\":\"job\","
		 "\"process.exit.code\":1}",
		 at(10));
	answer = ask("job", false, &status);
	expect_text(answer, "as \"/bin/job\"");
	expect_no_text(answer, "TIME");
	expect_no_text(answer, "alive");
	free(answer);
}
END_TEST

START_TEST(another_boot)
{
	int status;
	char *answer;

	log_start(0, "boot-a");
	log_birth(1, 20, 10, "job");
	log_exec(2, 20, "/bin/old", NULL);
	log_set_number(0);
	log_start(100, "boot-b");
	log_line("{\"timestamp\":\"%s\",\"knell.event\":\"exit\",\"knell.scope\":\"process\","
		 "\"knell.ring\":0,\"knell.seq\":0,\"process.pid\":20,\"process.creation.time\":"
		 "\"%s\",\"process.executable.name\":\"job\",\"process.exit.code\":1}",
		 at(110), at(1));
	answer = ask("20", false, &status);
	expect_text(answer, "old             was alive when the log ended before the machine was "
			    "started again");
	expect_text(answer, "job (pid 20) ended at 2026-11-20 00:01:50.000: exited 1.");
	expect_no_text(answer, "It had run 1m49s as \"/bin/old\"");
	free(answer);
}
END_TEST

/* ---- damage ---- */

START_TEST(damaged_lines)
{
	log_birth(1, 20, 10, "job");
	log_line("{\"timestamp\":");
	log_line("%s", "");
	log_line("what is this?");
	log_code(4, 20, "job", 1);
	expect_answer("job", "Note: 2 of the log lines are damaged and passed over.");
}
END_TEST

static char *ask_files(const char *const names[], uint32_t count, const char *target,
		       uint64_t *ret_damaged)
{
	struct why_options options = { .target = target, .name = target, .newest = 3 };
	struct why_files files = { 0 };
	struct why why;
	char *answer = NULL;
	size_t size;
	FILE *out;

	options.until = UINT64_MAX;
	ck_assert_int_eq(why_open(&why, &options), 0);
	ck_assert_int_eq(why_files_open(&files, names, count), 0);
	ck_assert_int_eq(why_files_read(&files, &why), 0);
	why_files_close(&files);
	why_finish(&why, NULL, UINT64_MAX);
	out = open_memstream(&answer, &size);
	why_tell(&why, "files", out);
	fclose(out);
	*ret_damaged = why.damaged;
	why_close(&why);
	return answer;
}

static void put(const char *path, const char *content)
{
	FILE *file = fopen(path, "we");

	ck_assert(file);
	fputs(content, file);
	fclose(file);
}

static void put_compressed(const char *path, const char *content)
{
	gzFile file = gzopen(path, "wb");

	ck_assert(file);
	ck_assert_int_eq(gzputs(file, content), (int)strlen(content));
	gzclose(file);
}

#define HEAD(event)                                                                                \
	"{\"timestamp\":\"2026-11-20T00:00:01Z\",\"knell.event\":\"" event                         \
	"\",\"knell.scope\":\"process\",\"process.pid\":20,\"process.creation.time\":"             \
	"\"2026-11-20T00:00:01Z\",\"process.executable.name\":\"job\""

/* The writer is writing. */
START_TEST(torn_end)
{
	static const char *const names[] = { "why.torn" };
	uint64_t damaged;
	char *answer;

	put("why.torn", HEAD("clone") "}\n" HEAD("exit") ",\"process.exit.code\":3}\n{\"timest");
	answer = ask_files(names, 1, "job", &damaged);
	expect_text(answer, "exited 3");
	ck_assert_uint_eq(damaged, 0);
	free(answer);
	put("why.torn", HEAD("clone") "}\n" HEAD("exit") ",\"process.exit.code\":4}");
	answer = ask_files(names, 1, "job", &damaged);
	expect_text(answer, "exited 4");
	free(answer);
	unlink("why.torn");
}
END_TEST

START_TEST(endless_line)
{
	static const char *const names[] = { "why.long" };
	FILE *file = fopen("why.long", "we");
	uint64_t damaged;
	char *answer;

	ck_assert(file);
	for (int i = 0; i < 3 << 20; i++)
		fputc('x', file);
	fputs("\n" HEAD("exit") ",\"process.exit.code\":4}\n", file);
	fclose(file);
	answer = ask_files(names, 1, "job", &damaged);
	expect_text(answer, "exited 4");
	ck_assert_uint_eq(damaged, 1);
	free(answer);
	unlink("why.long");
}
END_TEST

/* ---- files ---- */

#define RUNS(path) HEAD("exec") ",\"process.executable.path\":\"" path "\"}\n"

/* Oldest first: the last program is that of the newest file. */
START_TEST(rotated)
{
	static const char *const left[] = {
		"why.d/log.10.gz", "why.d/log.2.gz",     "why.d/log.1.bak",
		"why.d/log.old",   "why.d/log-20261119", "why.d/log-20261120",
	};
	uint64_t damaged;
	char *answer;

	ck_assert_int_eq(mkdir("why.d", 0700), 0);
	ck_assert_int_eq(setenv("KNELL_AUDIT_LOG", "why.d/log", 1), 0);
	put_compressed("why.d/log.10.gz", HEAD("clone") "}\n");
	put_compressed("why.d/log.2.gz", RUNS("/a"));
	put("why.d/log.1", RUNS("/b"));
	put("why.d/log.1.bak", RUNS("/no"));
	put("why.d/log.old", RUNS("/no"));
	put("why.d/log", RUNS("/c") HEAD("exit") ",\"process.exit.code\":3}\n");
	ck_assert_int_eq(link("why.d/log", "why.d/log.3"), 0);
	answer = ask_files(NULL, 0, "job", &damaged);
	expect_text(answer, "as \"/c\"");
	expect_no_text(answer, "birth is not");
	free(answer);
	unlink("why.d/log.3");
	unlink("why.d/log");
	put("why.d/log-20261119", RUNS("/d"));
	put("why.d/log-20261120", RUNS("/e") HEAD("exit") ",\"process.exit.code\":3}\n");
	unlink("why.d/log.1");
	answer = ask_files(NULL, 0, "job", &damaged);
	expect_text(answer, "as \"/a\"");
	free(answer);
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++)
		ck_assert_int_eq(unlink(left[i]), 0);
	ck_assert_int_eq(rmdir("why.d"), 0);
}
END_TEST

START_TEST(no_log)
{
	static const char *const names[] = { "why.absent" };
	struct why_files files = { 0 };

	ck_assert_int_eq(setenv("KNELL_AUDIT_LOG", "./why.absent", 1), 0);
	ck_assert_int_eq(why_files_open(&files, NULL, 0), -ENOENT);
	ck_assert_int_eq(why_files_open(&files, names, 1), -ENOENT);
	ck_assert(strstr(last_complaint(), "why.absent"));
}
END_TEST

void add_log_tests(TCase *tcase)
{
	tcase_add_test(tcase, gap_in_a_life);
	tcase_add_test(tcase, gap_beside_a_life);
	tcase_add_test(tcase, gap_where_nothing_is_found);
	tcase_add_test(tcase, missing_part);
	tcase_add_test(tcase, suppressed);
	tcase_add_test(tcase, alive_at_the_end);
	tcase_add_test(tcase, birth_before_the_log);
	tcase_add_test(tcase, stopped_log);
	tcase_add_test(tcase, reopened_log);
	tcase_add_test(tcase, killed_writer);
	tcase_add_test(tcase, counts_again);
	tcase_add_test(tcase, same_boot_other_clock);
	tcase_add_test(tcase, another_boot);
	tcase_add_test(tcase, damaged_lines);
	tcase_add_test(tcase, torn_end);
	tcase_add_test(tcase, endless_line);
	tcase_add_test(tcase, rotated);
	tcase_add_test(tcase, no_log);
}
