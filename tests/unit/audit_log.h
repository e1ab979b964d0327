/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_log.h - an audit log in a folder of its own, for the tests of what can go wrong with one. A
 * test has one at a time. Whatever does not come within seconds fails the test.
 */
#ifndef KNELL_TESTS_UNIT_AUDIT_LOG_H
#define KNELL_TESTS_UNIT_AUDIT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "story.h"
#include "watchers/audit.h"

struct audit_log {
	struct story *story;
	struct audit *audit;
	struct audit_result result; /* after log_finish() */
	char dir[32];
	char path[64], other[64]; /* DIR/log, DIR/log.1 */
};

extern struct audit_log alog;

/* Makes the folder, and a story. */
void log_make_dir(void);

/* Opens it with these options, in which %s stands for the path. */
void log_begin(const char *format);

/* Births and deaths in turn. Dispatch must not wait for anything. */
void log_tell(uint32_t count);

/* Closes it: that must give up in time, if it has to. */
void log_finish(void);

/* Removes the folder. */
void log_end(void);

/* What a log tells: records, and those that its own gaps count. */
struct log_sum {
	uint64_t records, lost, starts, summaries;
	bool torn;
};

/* Adds a file. `next` is the number that the next line has to have: there is one ring. */
void log_add_up(struct log_sum *sum, const char *file, uint64_t *next);

/* Until something is written to it. */
void log_await_file(const char *file);
void log_await_lines(const char *file, size_t count);

/* Until this keeps it from writing; 0: nothing. */
void log_await_error(int error);

#endif
