/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_log.c - audit logs for tests; see audit_log.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit_log.h"
#include "json_lines.h"
#include "main.h"

struct audit_log alog;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void log_make_dir(void)
{
	strcpy(alog.dir, "/tmp/knell-audit-XXXXXX");
	ck_assert(mkdtemp(alog.dir));
	snprintf(alog.path, sizeof(alog.path), "%s/log", alog.dir);
	snprintf(alog.other, sizeof(alog.other), "%s/log.1", alog.dir);
	alog.story = story_begin();
}

void log_begin(const char *format)
{
	char why[AUDIT_WHY], text[256];

	snprintf(text, sizeof(text), format, alog.path);
	ck_assert_msg(audit_open(&alog.audit, alog.story->engine, KNELL_MASK_ALL, 0, text, why) ==
			      0,
		      "%s", why);
}

void log_tell(uint32_t count)
{
	double before;

	for (uint32_t i = 0; i < count; i++)
		story_tell(alog.story, i % 2 ? story_exit(alog.story, 1000, EXITED(0))
					     : story_birth(alog.story, 1000, 10, "make"));
	before = seconds();
	story_dispatch(alog.story);
	ck_assert_msg(seconds() - before < unit_patience(), "dispatch took %.1f s",
		      seconds() - before);
}

void log_finish(void)
{
	double before = seconds();

	audit_close(alog.audit, &alog.result);
	ck_assert_msg(seconds() - before < 2 * unit_patience(), "close took %.1f s",
		      seconds() - before);
}

void log_end(void)
{
	unlink(alog.path);
	unlink(alog.other);
	rmdir(alog.dir);
	story_end(alog.story);
}

void log_add_up(struct log_sum *sum, const char *file, uint64_t *next)
{
	struct lines lines = lines_read(file);

	sum->torn = lines.torn;
	for (size_t i = 0; i < lines.count; i++) {
		yajl_val v = lines.values[i];
		const char *event = text_of(v, "knell.event");
		uint64_t size = 1;

		sum->starts += !strcmp(event, "start");
		sum->summaries += !strcmp(event, "summary");
		if (!has(v, "knell.seq"))
			continue;
		if (!strcmp(event, "gap")) {
			ck_assert_str_eq(text_of(v, "knell.gap.cause"), "audit");
			size = (uint64_t)number_of(v, "knell.gap.lost");
			sum->lost += size;
		} else {
			sum->records++;
		}
		ck_assert_int_eq(number_of(v, "knell.seq"), (long long)*next);
		*next += size;
	}
	lines_free(&lines);
}

/* 0 also where there is no such file. */
static size_t lines_in(const char *file)
{
	size_t lines = 0;
	char *text, *p;

	if (access(file, R_OK) < 0)
		return 0;
	text = unit_read_file(file, NULL);
	for (p = text; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	free(text);
	return lines;
}

void log_await_lines(const char *file, size_t count)
{
	double limit = seconds() + unit_patience();

	while (lines_in(file) < count && seconds() < limit)
		usleep(1000);
	ck_assert_msg(lines_in(file) >= count, "%zu lines of %zu are in %s", lines_in(file), count,
		      file);
}

void log_await_file(const char *file)
{
	log_await_lines(file, 1);
}

void log_await_error(int error)
{
	double limit = seconds() + unit_patience();

	while (audit_error(alog.audit) != error && seconds() < limit)
		usleep(1000);
	ck_assert_int_eq(audit_error(alog.audit), error);
}
