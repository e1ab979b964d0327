/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_json_read.c - lines of JSON back to records: what the writer wrote comes back as it was, but
 * for what a line leaves out; what is no line of ours is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "main.h"
#include "story.h"
#include "watchers/json.h"
#include "watchers/json_read.h"

#define PATH "json_read.tmp"

static struct json_reader *reader;

static void setup(void)
{
	ck_assert_int_eq(json_reader_new(&reader), 0);
}

static void teardown(void)
{
	reader = json_reader_free(reader);
}

/* In memory of its exact length, so that a sanitizer sees a look beyond its end. */
static int read_text(const char *text, const struct json_line **ret)
{
	size_t len = strlen(text);
	char *copy = malloc(len + 1), *end = copy + 1;
	int r;

	ck_assert(copy);
	for (size_t i = 0; i < len; i++)
		end[i] = text[i];
	r = json_read_line(reader, end, len, ret);
	free(copy);
	return r;
}

/* ---- round trip ---- */

static struct {
	union story_record *all;
	size_t count;
} told;

static int remember(const struct knell_event *e, void *userdata)
{
	(void)userdata;
	told.all = realloc(told.all, (told.count + 1) * sizeof(*told.all));
	memset(&told.all[told.count], 0, sizeof(*told.all));
	memcpy(&told.all[told.count++], e, e->size);
	return 0;
}

static void normalise_signal(struct knell_signal *signal, int signo, uint8_t reason, uint64_t shift)
{
	if (signal->signo) {
		signal->signo = (uint8_t)signo;
		signal->reason = reason;
	}
	if (signal->time)
		signal->time += shift;
}

static void normalise_exit(struct knell_event *e, uint64_t shift, uint32_t *allowed)
{
	struct knell_exit *death = &e->u.exit;
	bool signalled = !(e->unknown & KNELL_U_STATUS) && WIFSIGNALED(death->status);

	*allowed |= KNELL_U_STATUS | KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;
	if (e->unknown & KNELL_U_STATUS)
		death->status = 0;
	if (signalled)
		*allowed |= KNELL_U_CAUSE;
	if (!signalled || e->unknown & KNELL_U_CAUSE) {
		death->reason = 0;
		memset(&death->killer, 0, sizeof(death->killer));
	}
	if (e->unknown & KNELL_U_TERM)
		memset(&death->last_term, 0, sizeof(death->last_term));
	normalise_signal(&death->killer, WTERMSIG(death->status), death->reason, shift);
	normalise_signal(&death->last_term, death->last_term.signo, death->last_term.reason, shift);
}

static void normalise_usage(const struct knell_event *e, struct knell_usage *usage)
{
	if (e->unknown & KNELL_U_TIMES)
		usage->utime = usage->stime = 0;
	if (e->unknown & KNELL_U_RSS)
		usage->maxrss = 0;
	if (e->unknown & KNELL_U_FAULTS)
		usage->minflt = usage->majflt = 0;
}

static void normalise_ids(struct knell_event *e, uint32_t *allowed)
{
	struct knell_ids *ids = &e->u.ids;

	*allowed |= KNELL_U_SAVED | KNELL_U_OLD;
	if (e->unknown & KNELL_U_SAVED)
		ids->saved = ids->fs = ids->old_saved = ids->old_fs = 0;
	if (e->unknown & KNELL_U_OLD)
		ids->old_real = ids->old_effective = ids->old_saved = ids->old_fs = 0;
}

static void drop_file(struct knell_event *e)
{
	char *data = (char *)(&e->u.exec + 1);

	memmove(data + 1, knell_exec_args(e), e->u.exec.args_len);
	*data = '\0';
	e->u.exec.file_len = 0;
}

/* What a line leaves out, and what times are written as. File and arguments are compared apart. */
static void normalise_payload(struct knell_event *e, uint64_t shift, uint32_t *allowed)
{
	switch (e->kind) {
	case KNELL_INIT:
	case KNELL_CLONE:
		*allowed |= KNELL_U_FLAGS;
		if (e->unknown & KNELL_U_FLAGS)
			memset(&e->u.clone, 0, sizeof(e->u.clone));
		break;
	case KNELL_EXEC:
		*allowed |= KNELL_U_FILE | KNELL_U_ARGS;
		if (e->unknown & KNELL_U_FILE)
			drop_file(e);
		if (e->unknown & KNELL_U_ARGS)
			e->u.exec.args_len = e->u.exec.args_total = 0;
		break;
	case KNELL_UID:
	case KNELL_GID:
		normalise_ids(e, allowed);
		break;
	case KNELL_EXIT:
		normalise_usage(e, &e->u.exit.usage);
		normalise_exit(e, shift, allowed);
		break;
	case KNELL_FREE:
		*allowed |= KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;
		normalise_usage(e, &e->u.free.usage);
		break;
	default:
		break;
	}
}

static void normalise_head(struct knell_event *e, uint64_t shift)
{
	if (e->unknown & KNELL_U_PARENT)
		memset(&e->parent, 0, sizeof(e->parent));
	if (e->unknown & KNELL_U_UID)
		e->uid = 0;
	if (e->unknown & KNELL_U_GID)
		e->gid = 0;
	if (e->unknown & KNELL_U_CGROUP)
		e->cgroup = 0;
	if (e->unknown & KNELL_U_COMM)
		memset(e->comm, 0, sizeof(e->comm));
	if (e->unknown & KNELL_U_CPU)
		e->cpu = 0;
	e->time += e->time ? shift : 0;
	e->task.start += e->task.start ? shift : 0;
	e->parent.start += e->parent.start ? shift : 0;
}

static void normalise_gap(struct knell_event *e, uint64_t shift)
{
	struct knell_event gap = {
		.size = e->size,
		.version = e->version,
		.kind = e->kind,
		.time = e->time + shift,
		.seq = e->seq,
		.ring = e->ring,
		.u.gap = e->u.gap,
	};

	if (gap.u.gap.cause > KNELL_GAP_MISSED)
		gap.u.gap.cause = 0;
	*e = gap;
}

static void normalise(struct knell_event *e, uint64_t shift)
{
	uint32_t allowed = KNELL_U_PARENT | KNELL_U_UID | KNELL_U_GID | KNELL_U_CGROUP |
			   KNELL_U_COMM | KNELL_U_CPU;

	if (e->kind == KNELL_GAP) {
		normalise_gap(e, shift);
		return;
	}
	e->flags &= ~(KNELL_F_GIVEN_UP | KNELL_F_AT_LEAST);
	if (e->kind != KNELL_EXIT)
		e->flags &= ~KNELL_F_USAGE_FINAL;
	normalise_head(e, shift);
	normalise_payload(e, shift, &allowed);
	e->unknown &= allowed;
}

static void expect_same(const struct knell_event *was, const struct knell_event *is,
			const char *text)
{
	size_t payload = was->kind == KNELL_EXEC ? sizeof(was->u.exec) : sizeof(was->u);

	ck_assert_msg(was->kind == is->kind, "kind: %s", text);
	if (was->kind == KNELL_EXEC) {
		ck_assert_uint_eq(is->u.exec.file_len, was->u.exec.file_len);
		ck_assert_uint_eq(is->u.exec.args_len, was->u.exec.args_len);
		if (!(was->unknown & KNELL_U_FILE))
			ck_assert_mem_eq(knell_exec_file(is), knell_exec_file(was),
					 was->u.exec.file_len + 1);
		if (was->u.exec.args_len)
			ck_assert_mem_eq(knell_exec_args(is), knell_exec_args(was),
					 was->u.exec.args_len);
	} else {
		ck_assert_msg(was->size == is->size, "size: %s", text);
	}
	ck_assert_msg(memcmp((const char *)was + 4, (const char *)is + 4,
			     KNELL_EVENT_HEAD + payload - 4) == 0,
		      "%s", text);
}

START_TEST(round_trip)
{
	struct story *s = story_begin();
	struct json *json = NULL;
	const struct json_line *line;
	uint64_t shift = 0;
	char *text, *p, *end;

	ck_assert_int_eq(json_open(&json, s->engine, PATH, JSON_THREADS | JSON_INIT), 0);
	ck_assert_int_eq(knell_watcher_add(s->engine, KNELL_MASK_ALL, remember, NULL), 0);
	story_tell_all(s);
	story_dispatch(s);
	ck_assert_int_eq(json_close(json, NULL), 0);
	text = unit_read_file(PATH, NULL);
	unlink(PATH);
	p = text;
	for (size_t i = 0; i < told.count; i++, p = end + 1) {
		struct knell_event *was = &told.all[i].event;

		end = strchr(p, '\n');
		ck_assert(end);
		ck_assert_msg(json_read_line(reader, p, (size_t)(end - p), &line) == 0, "%.*s",
			      (int)(end - p), p);
		ck_assert_int_eq(line->kind, JSON_LINE_EVENT);
		if (i == 0)
			shift = line->event.time - was->time;
		normalise(was, shift);
		*end = '\0';
		expect_same(was, &line->event, p);
	}
	ck_assert_uint_gt(told.count, 100);
	end = strchr(p, '\n');
	ck_assert_int_eq(json_read_line(reader, p, (size_t)(end - p), &line), 0);
	ck_assert_int_eq(line->kind, JSON_LINE_SUMMARY);
	free(text);
	free(told.all);
	story_end(s);
}
END_TEST

/* ---- other lines ---- */

START_TEST(lines_of_a_writer)
{
	const struct json_line *line;

	ck_assert_int_eq(read_text("{\"timestamp\":\"1970-01-01T00:00:01.5Z\",\"knell.event\":"
				   "\"start\",\"knell.boot_id\":\"abc\",\"host.name\":[{}]}",
				   &line),
			 0);
	ck_assert_int_eq(line->kind, JSON_LINE_START);
	ck_assert_str_eq(line->boot_id, "abc");
	ck_assert(!line->continued);
	ck_assert_uint_eq(line->time, 1500000000);
	ck_assert_int_eq(read_text("{\"knell.event\":\"start\",\"knell.continued\":true}", &line),
			 0);
	ck_assert(line->continued);
	ck_assert_int_eq(
		read_text("{\"knell.event\":\"suppressed\",\"knell.suppressed\":12}", &line), 0);
	ck_assert_int_eq(line->kind, JSON_LINE_SUPPRESSED);
	ck_assert_uint_eq(line->count, 12);
	ck_assert_int_eq(read_text("{\"knell.event\":\"summary\",\"knell.unwritten\":3,"
				   "\"knell.reconciled\":4}",
				   &line),
			 0);
	ck_assert_int_eq(line->kind, JSON_LINE_SUMMARY);
	ck_assert_uint_eq(line->count, 3);
}
END_TEST

/* Nobody promises an order, and a later version may have more. */
START_TEST(any_order_and_unknown_fields)
{
	const struct json_line *line;

	ck_assert_int_eq(
		read_text(" { \"x\" : { \"y\" : [ 1, \"}\", null ] } , \"process.pid\" : 7 , "
			  "\"z\":-1.5e3, \"knell.scope\":\"process\", "
			  "\"process.executable.name\":\"a\\u00e9\\ud83d\\ude00\\n\\\"\", "
			  "\"process.exit.code\":3, \"knell.event\":\"exit\"} ",
			  &line),
		0);
	ck_assert_int_eq(line->kind, JSON_LINE_EVENT);
	ck_assert_uint_eq(line->event.task.tgid, 7);
	ck_assert_int_eq(line->event.u.exit.status, 3 << 8);
	ck_assert_str_eq(line->event.comm, "a\xc3\xa9\xf0\x9f\x98\x80\n\"");
	ck_assert_int_eq(read_text("{\"knell.event\":\"something new\"}", &line), 0);
	ck_assert_int_eq(line->kind, JSON_LINE_OTHER);
	ck_assert_int_eq(read_text("{}", &line), 0);
	ck_assert_int_eq(line->kind, JSON_LINE_OTHER);
}
END_TEST

START_TEST(damaged)
{
	static const char *const lines[] = {
		"",
		"{",
		"nonsense",
		"[1]",
		"{\"knell.event\":\"exit\"",
		"{\"knell.event\":\"exit\"}}",
		"{\"knell.event\":\"exit\"}{",
		"{\"knell.event\":exit}",
		"{\"knell.event\":7}",
		"{\"knell.event\"\"exit\"}",
		"{\"knell.event\":\"exit\",}",
		"{\"knell.event\":\"exit\" \"process.pid\":1}",
		"{\"knell.event\":\"exit\",\"process.pid\":\"1\"}",
		"{\"knell.event\":\"exit\",\"process.pid\":4294967296}",
		"{\"knell.event\":\"exit\",\"process.pid\":1.5}",
		"{\"knell.event\":\"exit\",\"process.exit.code\":256}",
		"{\"knell.event\":\"exit\",\"knell.exit.signal\":0}",
		"{\"knell.event\":\"exit\",\"timestamp\":\"yesterday\"}",
		"{\"knell.event\":\"exit\",\"timestamp\":\"2026-13-01T00:00:00Z\"}",
		"{\"knell.event\":\"exit\",\"knell.comm_hex\":\"f\"}",
		"{\"knell.event\":\"exit\",\"knell.comm_hex\":\"fg\"}",
		"{\"knell.event\":\"exit\",\"a\":\"\\u12",
		"{\"knell.event\":\"exit\",\"a\":\"\\q\"}",
		"{\"knell.event\":\"exec\",\"process.command_args\":[1]}",
		"{\"knell.event\":\"exec\",\"process.command_args\":[\"a\" \"b\"]}",
		"{\"knell.event\":\"exec\",\"process.command_args\":[\"a\"",
	};
	const struct json_line *line;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ck_assert_msg(read_text(lines[i], &line) == -EBADMSG, "%s", lines[i]);
}
END_TEST

/* Every beginning of a line, and every line with one byte changed, is refused or read: no more. */
START_TEST(torn_and_scratched)
{
	static const char text[] =
		"{\"timestamp\":\"2026-11-20T10:11:12.345678901Z\",\"knell.event\":\"exec\","
		"\"knell.scope\":\"process\",\"process.pid\":12,\"knell.root\":true,"
		"\"process.executable.path\":\"/\\ufffd\",\"knell.exec.path_hex\":\"2fff\","
		"\"process.command_args\":[\"a\\\"\",\"b\"],\"knell.exec.args_total\":5}";
	const struct json_line *line;
	char copy[sizeof(text)] = "";

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		memcpy(copy, text, len);
		copy[len] = '\0';
		ck_assert_int_eq(read_text(copy, &line), -EBADMSG);
	}
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		for (int byte = 1; byte < 256; byte++) {
			memcpy(copy, text, sizeof(text));
			copy[i] = (char)byte;
			ck_assert_int_le(read_text(copy, &line), 0);
		}
	}
}
END_TEST

/* A line may have more than a record can. */
START_TEST(more_than_fits)
{
	const size_t arg = 3000;
	char *text = calloc(20, arg), *p = text;
	const struct json_line *line;

	p += sprintf(p, "{\"knell.event\":\"exec\",\"process.command_args\":[");
	for (int i = 0; i < 12; i++) {
		*p++ = '"';
		memset(p, 'x', arg);
		p += arg;
		p += sprintf(p, "\"%s", i < 11 ? "," : "]}");
	}
	ck_assert_int_eq(read_text(text, &line), 0);
	ck_assert_uint_le(line->event.size, KNELL_EVENT_MAX);
	ck_assert_uint_gt(line->event.u.exec.args_len, 6 * arg);
	ck_assert_int_eq(knell_exec_args(&line->event)[line->event.u.exec.args_len - 1], '\0');
	free(text);
}
END_TEST

START_TEST(times)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2000-02-29T12:00:00.000000001Z", UINT64_C(951825600000000001) },
		{ "2026-11-20T10:11:12.345Z", UINT64_C(1795169472345000000) },
		{ "2026-11-20T11:11:12.345+01:00", UINT64_C(1795169472345000000) },
		{ "2026-11-20T04:41:12.345-0530", UINT64_C(1795169472345000000) },
	};
	static const char *const bad[] = {
		"",
		"2026-11-20",
		"2026-11-20T10:11:12",
		"2026-11-20T10:11:12.Z",
		"2026-11-20T10:61:12Z",
		"2026-11-20T10:11:12+1:00",
		"1969-12-31T23:59:59Z",
	};
	__u64 ns;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert(json_read_time(good[i].text, strlen(good[i].text), &ns));
		ck_assert_msg(ns == good[i].ns, "%s: %llu", good[i].text, ns);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!json_read_time(bad[i], strlen(bad[i]), &ns), "%s", bad[i]);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("json_read");
	TCase *tcase = unit_case(suite, "json_read");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, round_trip);
	tcase_add_test(tcase, lines_of_a_writer);
	tcase_add_test(tcase, any_order_and_unknown_fields);
	tcase_add_test(tcase, damaged);
	tcase_add_test(tcase, torn_and_scratched);
	tcase_add_test(tcase, more_than_fits);
	tcase_add_test(tcase, times);
	return suite;
}
