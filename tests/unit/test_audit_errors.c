/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_audit_errors.c - the audit log in a file that fails: a full disk, one that hangs or breaks,
 * a path that is renamed or removed. Whatever happens, each record is written or counted, and
 * neither dispatch nor close hangs. FIFOs and sockets are in test_audit_streams.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "audit_log.h"
#include "json_lines.h"
#include "main.h"

/* ---- files ---- */

START_TEST(test_cannot_open)
{
	static char untouched;
	struct audit *a = (void *)&untouched;
	char why[AUDIT_WHY];

	log_make_dir();
	ck_assert_int_eq(audit_open(&a, alog.story->engine, KNELL_MASK_ALL, 0,
				    "file=/nonexistent/x", why),
			 -ENOENT);
	ck_assert(strstr(why, "/nonexistent/x") && strstr(why, "directory"));
	ck_assert_int_eq(audit_open(&a, alog.story->engine, KNELL_MASK_ALL, 0, "file=/tmp", why),
			 -EISDIR);
	ck_assert_int_eq(audit_open(&a, alog.story->engine, KNELL_MASK_ALL, 0,
				    "journal=/nonexistent/x", why),
			 -ENOENT);
	ck_assert(strstr(why, "/nonexistent/x"));
	ck_assert_int_eq(audit_open(&a, alog.story->engine, KNELL_MASK_ALL, 0, "rate=x", why),
			 -EINVAL);
	ck_assert_ptr_eq(a, (void *)&untouched);
	audit_close(NULL, NULL);
	log_end();
}
END_TEST

START_TEST(test_full_disk)
{
	log_make_dir();
	strcpy(alog.path, "/dev/full");
	log_begin("file=%s,queue=64k");
	log_tell(5000);
	log_await_error(-ENOSPC);
	log_tell(11);
	log_finish();
	ck_assert_int_eq(alog.result.error, -ENOSPC);
	ck_assert(alog.result.stuck);
	ck_assert_uint_eq(alog.result.records, 5011);
	ck_assert_uint_eq(alog.result.lost, 5011);
	snprintf(alog.path, sizeof(alog.path), "%s/log", alog.dir);
	log_end();
}
END_TEST

static void limit_file_size(rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* What finds no room in the queue meanwhile is told where it is missing; no line is torn. */
START_TEST(test_room_comes_back)
{
	struct log_sum sum = { 0 };
	uint64_t next = 0;

	log_make_dir();
	log_begin("file=%s,queue=64k");
	limit_file_size(10000);
	log_tell(5000);
	log_await_error(-EFBIG);
	log_tell(5000);
	log_add_up(&sum, alog.path, &next);
	ck_assert(sum.torn);
	limit_file_size(RLIM_INFINITY);
	log_await_error(0);
	log_tell(7);
	log_finish();
	ck_assert_int_eq(alog.result.error, -EFBIG);
	ck_assert(!alog.result.stuck);
	sum = (struct log_sum){ 0 };
	next = 0;
	log_add_up(&sum, alog.path, &next);
	ck_assert(!sum.torn);
	ck_assert_uint_gt(sum.lost, 0);
	ck_assert_uint_eq(sum.records + sum.lost, 10007);
	ck_assert_uint_eq(alog.result.lost, sum.lost);
	ck_assert_uint_eq(sum.summaries, 1);
	log_end();
}
END_TEST

/* Somebody else's torn line, after a crash, does not swallow our first. */
START_TEST(test_torn_before)
{
	char *log;
	int fd;

	log_make_dir();
	fd = open(alog.path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "{\"torn", 6), 6);
	close(fd);
	log_begin("file=%s");
	log_tell(1);
	log_finish();
	log = unit_read_file(alog.path, NULL);
	ck_assert(!strncmp(log, "{\"torn\n{", 8));
	free(log);
	log_end();
}
END_TEST

/* By a signal or by itself: what was written is in the one file or in the other. */
static void rotate(bool asked)
{
	struct log_sum sum = { 0 };
	uint64_t next = 0;

	log_make_dir();
	log_begin("file=%s");
	log_tell(1000);
	log_await_file(alog.path);
	ck_assert_int_eq(rename(alog.path, alog.other), 0);
	if (asked) {
		audit_reopen(alog.audit);
		log_await_file(alog.path);
	}
	log_tell(1000);
	log_finish();
	ck_assert_uint_eq(alog.result.lost, 0);
	log_add_up(&sum, alog.other, &next);
	ck_assert_uint_eq(sum.starts, 1);
	ck_assert_uint_eq(sum.summaries, 0);
	log_add_up(&sum, alog.path, &next);
	ck_assert_uint_eq(sum.starts, 2);
	ck_assert_uint_eq(sum.summaries, 1);
	ck_assert_uint_eq(sum.records, 2000);
	log_end();
}

START_TEST(test_rotation)
{
	rotate(true);
	rotate(false);
}
END_TEST

/* A file without a name takes nothing any more. */
START_TEST(test_unlinked)
{
	struct log_sum sum = { 0 };
	struct lines lines;
	uint64_t next = 100;

	log_make_dir();
	log_begin("file=%s");
	log_tell(100);
	log_await_lines(alog.path, 101); /* all of it goes with the file */
	unlink(alog.path);
	log_tell(100);
	log_finish();
	ck_assert_uint_eq(alog.result.lost, 0);
	log_add_up(&sum, alog.path, &next);
	ck_assert_uint_eq(sum.records, 100);
	lines = lines_read(alog.path);
	ck_assert(is_true(lines.values[0], "knell.continued"));
	lines_free(&lines);
	log_end();
}
END_TEST

START_TEST(test_directory_vanishes)
{
	struct log_sum sum = { 0 };
	uint64_t next = 10;

	log_make_dir();
	log_begin("file=%s");
	log_tell(10);
	log_await_lines(alog.path, 11);
	unlink(alog.path);
	ck_assert_int_eq(rmdir(alog.dir), 0);
	log_tell(500);
	log_await_error(-ENOENT);
	ck_assert_int_eq(mkdir(alog.dir, 0700), 0);
	log_await_file(alog.path);
	log_tell(500);
	log_finish();
	ck_assert_int_eq(alog.result.error, -ENOENT);
	ck_assert_uint_eq(alog.result.lost, 0);
	log_add_up(&sum, alog.path, &next);
	ck_assert_uint_eq(sum.records, 1000);
	log_end();
}
END_TEST

/* Its old file still has a name, so nothing has to wait. */
START_TEST(test_cannot_open_again)
{
	struct log_sum sum = { 0 };
	uint64_t next = 0;

	log_make_dir();
	log_begin("file=%s");
	log_tell(10);
	log_await_file(alog.path);
	ck_assert_int_eq(rename(alog.path, alog.other), 0);
	ck_assert_int_eq(mkdir(alog.path, 0700), 0);
	log_tell(10);
	log_await_error(-EISDIR);
	log_finish();
	ck_assert_uint_eq(alog.result.lost, 0);
	log_add_up(&sum, alog.other, &next);
	ck_assert_uint_eq(sum.records, 20);
	ck_assert_uint_eq(sum.summaries, 1);
	rmdir(alog.path);
	log_end();
}
END_TEST

START_TEST(test_sync)
{
	static const char *const how[] = { "file=%s,fsync=each", "file=%s,fsync=1" };

	for (size_t i = 0; i < 2; i++) {
		struct log_sum sum = { 0 };
		uint64_t next = 0;

		log_make_dir();
		log_begin(how[i]);
		log_tell(100);
		usleep(i ? 1200000 : 0);
		log_tell(100);
		log_finish();
		ck_assert_int_eq(alog.result.sync_error, 0);
		log_add_up(&sum, alog.path, &next);
		ck_assert_uint_eq(sum.records, 200);
		log_end();
	}
}
END_TEST

/* ---- a disk that hangs ---- */

static _Atomic int sync_hangs, sync_error;
static _Atomic bool hanging;

/* In place of libc's: a disk can hang or break here, and nowhere else. */
int fdatasync(int __fildes) /* NOLINT: the name that libc has for it */
{
	while (atomic_load(&sync_hangs)) {
		atomic_store(&hanging, true);
		usleep(1000);
	}
	if (atomic_load(&sync_error)) {
		errno = atomic_load(&sync_error);
		return -1;
	}
	return (int)syscall(SYS_fdatasync, __fildes);
}

/* The thread is caught in a call that does not return: close() does, and counts what is left. */
START_TEST(test_disk_hangs)
{
	struct log_sum sum = { 0 };
	uint64_t next = 0;

	log_make_dir();
	log_begin("file=%s,fsync=each");
	log_await_file(alog.path);
	atomic_store(&sync_hangs, 1);
	log_tell(10);
	while (!atomic_load(&hanging))
		usleep(1000);
	log_tell(100);
	log_finish();
	ck_assert(alog.result.stuck);
	ck_assert_uint_eq(alog.result.records, 110);
	ck_assert_uint_ge(alog.result.lost, 100);
	log_add_up(&sum, alog.path, &next);
	ck_assert_uint_eq(sum.records + alog.result.lost, 110);
	log_end();
	_exit(0); /* it still hangs, and its memory is its own */
}
END_TEST

START_TEST(test_disk_breaks)
{
	struct log_sum sum = { 0 };
	uint64_t next = 0;

	log_make_dir();
	log_begin("file=%s,fsync=1");
	atomic_store(&sync_error, EIO);
	log_tell(10);
	log_finish();
	ck_assert_int_eq(alog.result.sync_error, -EIO);
	ck_assert_uint_eq(alog.result.lost, 0); /* as far as anybody can say */
	log_add_up(&sum, alog.path, &next);
	ck_assert_uint_eq(sum.records, 10);
	log_end();
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("audit_errors");
	TCase *tcase = unit_case(suite, "files");

	tcase_set_timeout(tcase, 90);
	tcase_add_test(tcase, test_cannot_open);
	tcase_add_test(tcase, test_full_disk);
	tcase_add_test(tcase, test_room_comes_back);
	tcase_add_test(tcase, test_torn_before);
	tcase_add_test(tcase, test_rotation);
	tcase_add_test(tcase, test_unlinked);
	tcase_add_test(tcase, test_directory_vanishes);
	tcase_add_test(tcase, test_cannot_open_again);
	tcase_add_test(tcase, test_sync);
	tcase_add_test(tcase, test_disk_hangs);
	tcase_add_test(tcase, test_disk_breaks);
	return suite;
}
