/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_read.h - the way back from a line of JSON Lines, as docs/json.md has them, to the record
 * that it was written of. What the line leaves out is marked unknown. Times are what the line says:
 * wall-clock time in ns since 1970, where a record of the engine has CLOCK_BOOTTIME.
 */
#ifndef KNELL_WATCHERS_JSON_READ_H
#define KNELL_WATCHERS_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <knell/knell.h>

enum json_line_kind {
	JSON_LINE_EVENT = 1,  /* `event` */
	JSON_LINE_START,      /* a writer begins: `boot_id` */
	JSON_LINE_SUPPRESSED, /* `count` records were left out, for there were too many */
	JSON_LINE_SUMMARY,    /* a writer ended: `count` records could not be written */
	JSON_LINE_OTHER       /* JSON, but of no kind that we know */
};

struct json_line {
	enum json_line_kind kind;
	__u64 time; /* 0: none */
	uint64_t count;
	char boot_id[40]; /* "": not told */
	bool continued;   /* a start: the writer of the file before goes on, nothing is missing */

	/* A gap's sequence number is that of the first record that it lost. */
	union {
		struct knell_event event;
		char bytes[KNELL_EVENT_MAX];
	};
};

struct json_reader;

/* -ENOMEM */
int json_reader_new(struct json_reader **ret_reader);
struct json_reader *json_reader_free(struct json_reader *reader);

/*
 * Reads a line, without its end. The result is the reader's, until the next call. -EBADMSG: this is
 * no JSON object, or a field of it is not what it should be; -ENOMEM.
 */
int json_read_line(struct json_reader *reader, const char *text, size_t len,
		   const struct json_line **ret_line);

/* "2026-11-20T10:11:12.5+01:00" in ns since 1970. False: it is none, or out of range. */
bool json_read_time(const char *text, size_t len, __u64 *ret);

#endif
