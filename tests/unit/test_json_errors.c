/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_json_errors.c - the JSON Lines output when writing fails: a full disk, a file size limit, a
 * reader that is gone or slow, no standard output. The run goes on, and each lost line is counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json_lines.h"
#include "main.h"
#include "story.h"
#include "watchers/json.h"

static void tell(struct story *s, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		story_tell(s, story_birth(s, 100 + i % 30000, 10, "make"));
	ck_assert_int_eq(knell_dispatch(s->engine), (int)count);
}

START_TEST(test_cannot_open)
{
	struct story *s = story_begin();
	static char untouched;
	struct json *json = (void *)&untouched;

	ck_assert_int_eq(json_open(&json, s->engine, "/nonexistent/x", 0), -ENOENT);
	ck_assert_int_eq(json_open(&json, s->engine, "/tmp", 0), -EISDIR);
	ck_assert_int_eq(json_open(&json, s->engine, "", 0), -ENOENT);
	ck_assert_ptr_eq(json, (void *)&untouched);
	ck_assert_int_eq(json_close(NULL, NULL), 0);
	story_end(s);
}
END_TEST

START_TEST(test_closed_stdout)
{
	struct story *s = story_begin();
	struct json *json = NULL;
	int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10), r;

	close(STDOUT_FILENO);
	r = json_open(&json, s->engine, "-", 0);
	dup2(saved, STDOUT_FILENO);
	ck_assert_int_eq(r, -EBADF);
	story_end(s);
}
END_TEST

START_TEST(test_full_disk)
{
	struct story *s = story_begin();
	struct json *json = NULL;
	struct json_result result;
	struct knell_stats stats;

	ck_assert_int_eq(json_open(&json, s->engine, "/dev/full", 0), 0);
	/* More than the buffer holds: lines are dropped, dispatch goes on. */
	tell(s, 2000);
	ck_assert_int_eq(json_flush(json), -ENOSPC);
	tell(s, 10);
	ck_assert_int_eq(json_flush(json), -ENOSPC);
	knell_get_stats(s->engine, &stats);
	ck_assert_uint_gt(stats.watcher_errors, 0);
	ck_assert_int_eq(json_close(json, &result), -ENOSPC);
	ck_assert_int_eq(result.error, -ENOSPC);
	ck_assert_uint_eq(result.lines, 0);
	ck_assert_uint_eq(result.unwritten, 2011);
	ck_assert(!result.torn);
	story_end(s);
}
END_TEST

static void limit_file_size(rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The file ends in the middle of a line; when there is room again, that line is finished first. */
START_TEST(test_room_comes_back)
{
	char path[] = "/tmp/knell-json-XXXXXX";
	struct story *s = story_begin();
	struct json *json = NULL;
	struct json_result result;
	struct lines lines;

	close(mkstemp(path));
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(json_open(&json, s->engine, path, 0), 0);
	limit_file_size(10000);
	tell(s, 5);
	ck_assert_int_eq(json_flush(json), 0);
	tell(s, 5000);
	ck_assert_int_eq(json_flush(json), -EFBIG);
	lines = lines_read(path);
	ck_assert(lines.torn);
	ck_assert_uint_gt(lines.count, 5);
	lines_free(&lines);

	limit_file_size(RLIM_INFINITY);
	ck_assert_int_eq(json_flush(json), 0);
	tell(s, 7);
	/* The first failure is what is reported, although later writes went well. */
	ck_assert_int_eq(json_close(json, &result), -EFBIG);
	lines = lines_read(path);
	ck_assert(!lines.torn);
	ck_assert(!result.torn);
	ck_assert_uint_gt(result.unwritten, 0);
	ck_assert_uint_eq(result.lines, lines.count);
	ck_assert_uint_eq(result.lines + result.unwritten, 5 + 5000 + 7 + 1);
	ck_assert_int_eq(number_of(lines.values[lines.count - 1], "knell.unwritten"),
			 (long long)result.unwritten);
	ck_assert_int_eq(number_of(lines.values[lines.count - 1], "knell.events"), 5012);
	/* What is missing shows as a jump of the numbers, in one place. */
	for (size_t i = 1, jumps = 0; i + 1 < lines.count; i++) {
		jumps += number_of(lines.values[i], "knell.seq") !=
			 number_of(lines.values[i - 1], "knell.seq") + 1;
		ck_assert_uint_le(jumps, 1);
	}
	lines_free(&lines);
	unlink(path);
	story_end(s);
}
END_TEST

START_TEST(test_no_room_till_the_end)
{
	char path[] = "/tmp/knell-json-XXXXXX";
	struct story *s = story_begin();
	struct json *json = NULL;
	struct json_result result;
	struct lines lines;

	close(mkstemp(path));
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(json_open(&json, s->engine, path, 0), 0);
	limit_file_size(10000);
	tell(s, 3000);
	ck_assert_int_eq(json_close(json, &result), -EFBIG);
	limit_file_size(RLIM_INFINITY);
	lines = lines_read(path);
	ck_assert(lines.torn);
	ck_assert(result.torn);
	ck_assert_uint_eq(result.lines, lines.count);
	ck_assert_uint_eq(result.lines + result.unwritten, 3001);
	lines_free(&lines);
	unlink(path);
	story_end(s);
}
END_TEST

/* With standard output as one end of a pipe; returns the other. */
static int pipe_stdout(int *saved, int flags)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	*saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
	fcntl(fds[1], F_SETFL, flags);
	dup2(fds[1], STDOUT_FILENO);
	close(fds[1]);
	return fds[0];
}

START_TEST(test_reader_is_gone)
{
	struct story *s = story_begin();
	struct json *json = NULL;
	struct json_result result;
	int saved, fd, r, first, second;

	signal(SIGPIPE, SIG_IGN);
	fd = pipe_stdout(&saved, 0);
	r = json_open(&json, s->engine, "-", 0);
	tell(s, 3);
	first = json_flush(json);
	close(fd);
	tell(s, 3000);
	json_flush(json);
	tell(s, 2);
	second = json_close(json, &result);
	dup2(saved, STDOUT_FILENO);
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(first, 0);
	ck_assert_int_eq(second, -EPIPE);
	ck_assert_uint_eq(result.lines, 3);
	ck_assert_uint_eq(result.unwritten, 3003);
	story_end(s);
}
END_TEST

/* A reader sees a batch when it is flushed. */
START_TEST(test_batch_is_seen)
{
	struct story *s = story_begin();
	struct json *json = NULL;
	char text[4096];
	ssize_t before, after;
	int saved, fd;

	fd = pipe_stdout(&saved, 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	json_open(&json, s->engine, "-", 0);
	tell(s, 2);
	before = read(fd, text, sizeof(text));
	json_flush(json);
	after = read(fd, text, sizeof(text));
	json_close(json, NULL);
	dup2(saved, STDOUT_FILENO);
	ck_assert_int_eq(before, -1);
	ck_assert_int_gt(after, 0);
	ck_assert_int_eq(text[after - 1], '\n');
	story_end(s);
}
END_TEST

/* Reads all, in small pieces, and exits with 0 if the number of lines is as expected. */
static void read_slowly(int fd, size_t expected)
{
	char text[1000];
	size_t lines = 0;
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
		usleep(50);
	}
	_exit(lines == expected ? 0 : 1);
}

/* Somebody made the pipe non-blocking: it is waited for, and nothing is lost. */
START_TEST(test_slow_reader)
{
	struct story *s = story_begin();
	struct json *json = NULL;
	struct json_result result;
	int saved, fd, status, r;
	pid_t pid;

	fd = pipe_stdout(&saved, O_NONBLOCK);
	pid = fork();
	if (pid == 0) {
		close(STDOUT_FILENO);
		read_slowly(fd, 3001);
	}
	close(fd);
	json_open(&json, s->engine, "-", 0);
	tell(s, 3000);
	r = json_close(json, &result);
	dup2(saved, STDOUT_FILENO);
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(result.lines, 3001);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	story_end(s);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("json errors");
	TCase *tc = unit_case(suite, "errors");

	tcase_add_test(tc, test_cannot_open);
	tcase_add_test(tc, test_closed_stdout);
	tcase_add_test(tc, test_full_disk);
	tcase_add_test(tc, test_room_comes_back);
	tcase_add_test(tc, test_no_room_till_the_end);
	tcase_add_test(tc, test_reader_is_gone);
	tcase_add_test(tc, test_batch_is_seen);
	tcase_add_test(tc, test_slow_reader);
	return suite;
}
