/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_json.c - the JSON Lines output: what each kind of record becomes, parsed again with yajl's
 * own parser. How it fails is in test_json_errors.c; the schema is checked by a script.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "json_lines.h"
#include "main.h"
#include "story.h"
#include "watchers/json.h"

static struct story *s;
static struct json *json;
static struct lines lines;
static char path[32];

static void begin(uint32_t flags)
{
	int fd;

	strcpy(path, "/tmp/knell-json-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	s = story_begin();
	ck_assert_int_eq(json_open(&json, s->engine, path, flags | JSON_INIT), 0);
}

/* Delivers what was told, closes the output and reads it. */
static void finish(void)
{
	story_dispatch(s);
	ck_assert_int_eq(json_close(json, NULL), 0);
	lines = lines_read(path);
	unlink(path);
}

static void end(void)
{
	lines_free(&lines);
	story_end(s);
}

START_TEST(test_birth)
{
	yajl_val v;

	begin(0);
	s->start[10] = 900 * MS;
	story_birth(s, 11, 10, "make")->flags = KNELL_F_ROOT;
	s->record.event.u.clone.flags = UINT64_C(0x8000000000000001);
	s->record.event.cookie = 99;
	story_tell(s, &s->record.event);
	finish();
	ck_assert_uint_eq(lines.count, 2);
	v = lines.values[0];
	ck_assert_str_eq(text_of(v, "knell.event"), "clone");
	ck_assert_str_eq(text_of(v, "knell.scope"), "process");
	ck_assert_str_eq(text_of(v, "process.executable.name"), "make");
	ck_assert_int_eq(number_of(v, "knell.seq"), 0);
	ck_assert_int_eq(number_of(v, "knell.ring"), 0);
	ck_assert_int_eq(number_of(v, "knell.cpu"), 1);
	ck_assert_int_eq(number_of(v, "process.pid"), 11);
	ck_assert_int_eq(number_of(v, "process.parent_pid"), 10);
	ck_assert_int_eq(number_of(v, "process.user.id"), 1000);
	ck_assert_int_eq(number_of(v, "knell.group.id"), 100);
	ck_assert_int_eq(number_of(v, "knell.cgroup.id"), 4242);
	ck_assert_int_eq(number_of(v, "knell.cookie"), 99);
	ck_assert_int_eq(number_of(v, "knell.clone.exit_signal"), SIGCHLD);
	ck_assert_str_eq(digits_of(v, "knell.clone.flags"), "9223372036854775809");
	ck_assert(is_true(v, "knell.root"));
	ck_assert(!has(v, "knell.reconciled"));
	ck_assert(!has(v, "thread.id"));
	ck_assert_str_eq(text_of(v, "timestamp"), text_of(v, "process.creation.time"));
	ck_assert(has(v, "knell.parent.creation.time"));
	end();
}
END_TEST

/* 2025-01-31T12:34:56.123456789Z, and true to the clocks. */
START_TEST(test_timestamp)
{
	struct timespec boot, real, after, got = { 0 };
	const char *text;
	struct tm tm = { 0 };
	char *rest;

	begin(0);
	/* The same moment, unless somebody else had the CPU in between. */
	do {
		clock_gettime(CLOCK_BOOTTIME, &boot);
		clock_gettime(CLOCK_REALTIME, &real);
		clock_gettime(CLOCK_BOOTTIME, &after);
	} while ((after.tv_sec - boot.tv_sec) * 1000 + (after.tv_nsec - boot.tv_nsec) / 1000000 >
		 100);
	s->now = (uint64_t)boot.tv_sec * 1000 * MS + (uint64_t)boot.tv_nsec - MS;
	story_tell(s, story_birth(s, 11, 10, "make"));
	finish();
	text = text_of(lines.values[0], "timestamp");
	ck_assert_uint_eq(strlen(text), 30);
	rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	ck_assert_ptr_nonnull(rest);
	ck_assert_int_eq(rest[0], '.');
	got.tv_sec = timegm(&tm);
	got.tv_nsec = strtol(rest + 1, &rest, 10);
	ck_assert_str_eq(rest, "Z");
	/* The clocks may have been stepped or slewed since the start, but not by a second. */
	ck_assert_int_lt(
		labs((got.tv_sec - real.tv_sec) * 1000 + (got.tv_nsec - real.tv_nsec) / 1000000),
		1000);
	end();
}
END_TEST

START_TEST(test_exec)
{
	static const char args[] = "cc\0-c\0\0main file.c";
	yajl_val v, array;

	begin(0);
	story_birth(s, 11, 10, "make");
	story_tell(s, story_exec_args(s, 11, "/usr/bin/cc", 11, args, sizeof(args)));
	s->record.event.u.exec.old_tid = 12;
	s->record.event.flags |= KNELL_F_TRUNCATED;
	s->record.event.u.exec.args_total = 1000;
	story_tell(s, &s->record.event);
	story_exec(s, 11, "/bin/sh")->u.exec.old_tid = 0;
	story_tell(s, &s->record.event);
	finish();
	v = lines.values[0];
	ck_assert_str_eq(text_of(v, "process.executable.path"), "/usr/bin/cc");
	ck_assert_int_eq(number_of(v, "knell.exec.old_tid"), 11);
	ck_assert(!has(v, "knell.truncated"));
	ck_assert(!has(v, "knell.exec.path_hex"));
	ck_assert(!has(v, "knell.exec.args_hex"));
	array = get(v, "process.command_args");
	ck_assert(YAJL_IS_ARRAY(array));
	ck_assert_uint_eq(array->u.array.len, 4);
	ck_assert_str_eq(array->u.array.values[0]->u.string, "cc");
	ck_assert_str_eq(array->u.array.values[1]->u.string, "-c");
	ck_assert_str_eq(array->u.array.values[2]->u.string, "");
	ck_assert_str_eq(array->u.array.values[3]->u.string, "main file.c");
	v = lines.values[1];
	ck_assert_int_eq(number_of(v, "knell.exec.old_tid"), 12);
	ck_assert_int_eq(number_of(v, "knell.exec.args_total"), 1000);
	ck_assert(is_true(v, "knell.truncated"));
	v = lines.values[2];
	ck_assert(!has(v, "knell.exec.old_tid"));
	ck_assert(!has(v, "process.command_args"));
	ck_assert(!has(v, "knell.exec.args_total"));
	end();
}
END_TEST

START_TEST(test_bytes_that_are_not_utf8)
{
	static const char args[] = "a\"\\\n\x01\0\xff\xe2\x82";
	yajl_val v, array;

	begin(0);
	story_birth(s, 11, 10, "make");
	story_exec_args(s, 11, "/tmp/\xe9t\xe9", 8, args, sizeof(args));
	memcpy(s->record.event.comm, "\xe9t\xc3\xa9", 5);
	story_tell(s, &s->record.event);
	finish();
	v = lines.values[0];
	ck_assert_str_eq(text_of(v, "process.executable.path"), "/tmp/\xef\xbf\xbdt\xef\xbf\xbd");
	ck_assert_str_eq(text_of(v, "knell.exec.path_hex"), "2f746d702fe974e9");
	ck_assert_str_eq(text_of(v, "process.executable.name"), "\xef\xbf\xbdt\xc3\xa9");
	ck_assert_str_eq(text_of(v, "knell.comm_hex"), "e974c3a9");
	array = get(v, "process.command_args");
	ck_assert_uint_eq(array->u.array.len, 2);
	ck_assert_str_eq(array->u.array.values[0]->u.string, "a\"\\\n\x01");
	ck_assert_str_eq(array->u.array.values[1]->u.string,
			 "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	array = get(v, "knell.exec.args_hex");
	ck_assert_uint_eq(array->u.array.len, 2);
	ck_assert_str_eq(array->u.array.values[0]->u.string, "61225c0a01");
	ck_assert_str_eq(array->u.array.values[1]->u.string, "ffe282");
	end();
}
END_TEST

/* The longest lines that a record can become, many times the buffer. */
START_TEST(test_longest_records)
{
	static char args[KNELL_EVENT_MAX - KNELL_EVENT_HEAD - 64];
	size_t len = sizeof(args) & ~7ul;

	begin(0);
	story_birth(s, 11, 10, "make");
	for (int i = 0; i < 20; i++) {
		memset(args, i % 2 ? '\xff' : '\x01', len);
		if (i % 4 == 3)
			memset(args, 0, len);
		story_tell(s, story_exec_args(s, 11, "/bin/x", 6, args, len));
	}
	finish();
	ck_assert_uint_eq(lines.count, 21);
	for (size_t i = 0; i < 20; i++) {
		yajl_val array = get(lines.values[i], "process.command_args");

		ck_assert_uint_eq(array->u.array.len, i % 4 == 3 ? len : 1);
	}
	end();
}
END_TEST

START_TEST(test_exit_by_itself)
{
	yajl_val v;

	begin(0);
	story_birth(s, 11, 10, "make");
	story_exit(s, 11, EXITED(3))->flags = KNELL_F_USAGE_FINAL;
	s->record.event.u.exit.last_term = story_signal(SIGTERM, 5, "bash", 0, 4, "sshd");
	story_tell(s, &s->record.event);
	finish();
	v = lines.values[0];
	ck_assert_int_eq(number_of(v, "process.exit.code"), 3);
	ck_assert(!has(v, "knell.exit.signal"));
	ck_assert(!has(v, "knell.exit.reason"));
	ck_assert(!has(v, "knell.exit.core"));
	ck_assert(!has(v, "knell.exit.sender.pid"));
	ck_assert(is_true(v, "knell.usage.final"));
	ck_assert_int_eq(number_of(v, "knell.usage.utime_ns"), 3000000);
	ck_assert_int_eq(number_of(v, "knell.usage.stime_ns"), 1000000);
	ck_assert_int_eq(number_of(v, "knell.usage.maxrss_bytes"), 10 << 20);
	ck_assert_int_eq(number_of(v, "knell.usage.minflt"), 5);
	ck_assert_int_eq(number_of(v, "knell.usage.majflt"), 1);
	ck_assert_int_eq(number_of(v, "knell.exit.last_term.signal"), SIGTERM);
	ck_assert_str_eq(text_of(v, "knell.exit.last_term.reason"), "user");
	ck_assert_int_eq(number_of(v, "knell.exit.last_term.sender.pid"), 5);
	ck_assert_str_eq(text_of(v, "knell.exit.last_term.sender.comm"), "bash");
	ck_assert_int_eq(number_of(v, "knell.exit.last_term.sender.ppid"), 4);
	end();
}
END_TEST

START_TEST(test_exit_by_signal)
{
	yajl_val v;

	begin(0);
	story_birth(s, 11, 10, "make");
	story_exit(s, 11, DUMPED(SIGQUIT))->u.exit.reason = KNELL_R_USER;
	s->record.event.u.exit.killer = story_signal(SIGQUIT, 5, "bash", 7, 4, "\xff");
	s->record.event.u.exit.killer.code = -6;
	story_tell(s, &s->record.event);
	story_exit(s, 12, KILLED(SIGKILL))->u.exit.reason = KNELL_R_OOM;
	story_tell(s, &s->record.event);
	finish();
	v = lines.values[0];
	ck_assert_int_eq(number_of(v, "knell.exit.signal"), SIGQUIT);
	ck_assert(!has(v, "process.exit.code"));
	ck_assert(is_true(v, "knell.exit.core"));
	ck_assert(!is_true(v, "knell.exit.oom"));
	ck_assert_str_eq(text_of(v, "knell.exit.reason"), "user");
	ck_assert_int_eq(number_of(v, "knell.exit.si_code"), -6);
	ck_assert_int_eq(number_of(v, "knell.exit.sender.pid"), 5);
	ck_assert_int_eq(number_of(v, "knell.exit.sender.uid"), 7);
	ck_assert_str_eq(text_of(v, "knell.exit.sender.comm"), "bash");
	ck_assert_int_eq(number_of(v, "knell.exit.sender.ppid"), 4);
	ck_assert_str_eq(text_of(v, "knell.exit.sender.pcomm"), "\xef\xbf\xbd");
	ck_assert_str_eq(text_of(v, "knell.exit.sender.pcomm_hex"), "ff");
	ck_assert_int_eq(number_of(v, "knell.exit.sender.cgroup.id"), 77);
	ck_assert(has(v, "knell.exit.sent"));
	v = lines.values[1];
	ck_assert(is_true(v, "knell.exit.oom"));
	ck_assert(!is_true(v, "knell.exit.core"));
	ck_assert(!has(v, "knell.exit.sender.pid"));
	ck_assert(!has(v, "knell.exit.sender.comm"));
	end();
}
END_TEST

START_TEST(test_other_kinds)
{
	yajl_val v;

	begin(0);
	story_birth(s, 11, 10, "make");
	story_tell(s, story_ids(s, 11, KNELL_UID));
	story_tell(s, story_ids(s, 11, KNELL_GID));
	story_tell(s, story_free(s, 11));
	story_tell(s, story_gap(s, 3, 2, 1, KNELL_GAP_RESERVE));
	story_birth(s, 12, 11, "cc")->kind = KNELL_INIT;
	story_tell(s, &s->record.event);
	finish();
	v = lines.values[0];
	ck_assert_str_eq(text_of(v, "knell.event"), "uid");
	ck_assert_int_eq(number_of(v, "knell.uid.real"), 1);
	ck_assert_int_eq(number_of(v, "knell.uid.old_fs"), 8);
	v = lines.values[1];
	ck_assert_str_eq(text_of(v, "knell.event"), "gid");
	ck_assert_int_eq(number_of(v, "knell.gid.effective"), 2);
	v = lines.values[2];
	ck_assert_str_eq(text_of(v, "knell.event"), "free");
	ck_assert_int_eq(number_of(v, "knell.usage.utime_ns"), 4000000);
	v = lines.values[3];
	ck_assert_str_eq(text_of(v, "knell.event"), "gap");
	ck_assert(!has(v, "knell.scope"));
	ck_assert(!has(v, "process.pid"));
	ck_assert_int_eq(number_of(v, "knell.gap.lost"), 6);
	ck_assert_int_eq(number_of(v, "knell.gap.births"), 3);
	ck_assert_int_eq(number_of(v, "knell.gap.deaths"), 2);
	ck_assert_int_eq(number_of(v, "knell.gap.others"), 1);
	ck_assert_str_eq(text_of(v, "knell.gap.cause"), "reserve");
	ck_assert_str_eq(text_of(lines.values[4], "knell.event"), "init");
	end();
}
END_TEST

/* With every field unknown nothing but the event and the identity is left. */
START_TEST(test_unknown_fields_are_left_out)
{
	static const char *const left[] = {
		"timestamp", "knell.event", "knell.scope",          "knell.ring",
		"knell.seq", "process.pid", "process.creation.time"
	};
	static const int kinds[] = { KNELL_CLONE, KNELL_EXEC, KNELL_EXIT, KNELL_FREE };

	begin(0);
	s->start[11] = 7;
	for (size_t i = 0; i < 4; i++) {
		struct knell_event *e = story_exit(s, 11, KILLED(SIGKILL));

		e->kind = (uint8_t)kinds[i];
		e->unknown = UINT32_MAX;
		if (e->kind == KNELL_EXEC)
			memset(&e->u, 0, sizeof(e->u));
		story_tell(s, e);
	}
	finish();
	ck_assert_uint_eq(lines.count, 5);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_uint_eq(lines.values[i]->u.object.len, 7);
		for (size_t k = 0; k < 7; k++)
			ck_assert(has(lines.values[i], left[k]));
	}
	end();
}
END_TEST

/* Zero is a true zero where the field is known. */
START_TEST(test_true_zeros)
{
	yajl_val v;

	begin(0);
	story_exit(s, 11, EXITED(0))->u.exit.usage = (struct knell_usage){ 0 };
	s->record.event.uid = 0;
	s->record.event.cpu = 0;
	story_tell(s, &s->record.event);
	finish();
	v = lines.values[0];
	ck_assert_int_eq(number_of(v, "process.exit.code"), 0);
	ck_assert_int_eq(number_of(v, "process.user.id"), 0);
	ck_assert_int_eq(number_of(v, "knell.cpu"), 0);
	ck_assert_int_eq(number_of(v, "knell.usage.majflt"), 0);
	end();
}
END_TEST

static void tell_threads(void)
{
	story_tell(s, story_birth(s, 11, 10, "make"));
	story_tell(s, story_thread(s, 11, 12, KNELL_CLONE));
	story_tell(s, story_thread(s, 11, 13, KNELL_CLONE));
	story_tell(s, story_exec(s, 11, "/bin/x"));
	story_tell(s, story_thread(s, 11, 12, KNELL_EXIT));
	story_tell(s, story_exit(s, 11, 0));
}

/* Without them the numbers have no hole, which would mean loss. */
START_TEST(test_without_threads)
{
	begin(0);
	tell_threads();
	finish();
	ck_assert_uint_eq(lines.count, 4);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(number_of(lines.values[i], "knell.seq"), (long long)i);
		ck_assert_str_eq(text_of(lines.values[i], "knell.scope"), "process");
	}
	ck_assert_int_eq(number_of(lines.values[3], "knell.events"), 3);
	end();
}
END_TEST

START_TEST(test_with_threads)
{
	begin(JSON_THREADS);
	tell_threads();
	finish();
	ck_assert_uint_eq(lines.count, 7);
	ck_assert_str_eq(text_of(lines.values[1], "knell.scope"), "thread");
	ck_assert_int_eq(number_of(lines.values[1], "thread.id"), 12);
	ck_assert_int_eq(number_of(lines.values[1], "process.pid"), 11);
	ck_assert(has(lines.values[1], "knell.thread.creation.time"));
	ck_assert(!has(lines.values[1], "process.creation.time"));
	end();
}
END_TEST

START_TEST(test_summary)
{
	yajl_val v;

	begin(0);
	story_tell(s, story_birth(s, 11, 10, "make"));
	story_tell(s, story_gap(s, 3, 2, 1, KNELL_GAP_RING));
	story_tell(s, story_gap(s, 10, 0, 0, KNELL_GAP_RING));
	story_tell(s, story_exit(s, 11, 0));
	story_tell(s, story_alive(s, 12, 10, "sleep"));
	finish();
	ck_assert_uint_eq(lines.count, 6);
	ck_assert(is_true(lines.values[4], "knell.reconciled"));
	v = lines.values[5];
	ck_assert_str_eq(text_of(v, "knell.event"), "summary");
	ck_assert_int_eq(number_of(v, "knell.events"), 3);
	ck_assert_int_eq(number_of(v, "knell.lost"), 16);
	ck_assert_int_eq(number_of(v, "knell.reconciled"), 1);
	ck_assert(!has(v, "knell.unwritten"));
	ck_assert(has(v, "timestamp"));
	end();
}
END_TEST

START_TEST(test_summary_of_nothing)
{
	begin(0);
	finish();
	ck_assert_uint_eq(lines.count, 1);
	ck_assert_str_eq(text_of(lines.values[0], "knell.event"), "summary");
	end();
}
END_TEST

START_TEST(test_empties_the_file)
{
	struct story *other;
	struct json *second = NULL;

	begin(0);
	for (uint32_t i = 0; i < 100; i++)
		story_tell(s, story_birth(s, 11 + i, 10, "make"));
	story_dispatch(s);
	ck_assert_int_eq(json_close(json, NULL), 0);
	other = story_begin();
	ck_assert_int_eq(json_open(&second, other->engine, path, 0), 0);
	ck_assert_int_eq(json_close(second, NULL), 0);
	lines = lines_read(path);
	ck_assert_uint_eq(lines.count, 1);
	unlink(path);
	story_end(other);
	end();
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("json");
	TCase *tc = unit_case(suite, "records");

	tcase_add_test(tc, test_birth);
	tcase_add_test(tc, test_timestamp);
	tcase_add_test(tc, test_exec);
	tcase_add_test(tc, test_bytes_that_are_not_utf8);
	tcase_add_test(tc, test_longest_records);
	tcase_add_test(tc, test_exit_by_itself);
	tcase_add_test(tc, test_exit_by_signal);
	tcase_add_test(tc, test_other_kinds);
	tcase_add_test(tc, test_unknown_fields_are_left_out);
	tcase_add_test(tc, test_true_zeros);
	tc = unit_case(suite, "stream");
	tcase_add_test(tc, test_without_threads);
	tcase_add_test(tc, test_with_threads);
	tcase_add_test(tc, test_summary);
	tcase_add_test(tc, test_summary_of_nothing);
	tcase_add_test(tc, test_empties_the_file);
	return suite;
}
