/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json.h - the JSON Lines output: one line for each record, a summary as the last. The lines are
 * described by docs/events.schema.json.
 */
#ifndef KNELL_WATCHERS_JSON_H
#define KNELL_WATCHERS_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include <knell/knell.h>

struct json;

/* json_open() flags */
#define JSON_THREADS (1u << 0) /* thread-level records too, if the engine has them */
#define JSON_INIT    (1u << 1) /* init records too: each comes right before its clone */
#define JSON_BY_HAND (1u << 2) /* only what is given to json_write(); `engine` is NULL */
#define JSON_MEMORY  (1u << 3) /* by hand, and into memory: `path` is NULL; see json_lines() */

/*
 * Opens `path` ("-": standard output; else created, or emptied as a shell's > does) and writes each
 * record of the engine to it. The engine calls it until it is closed: close the engine first, or
 * dispatch no more. -errno as open(2) gives it, -ENOMEM.
 */
int json_open(struct json **ret_json, struct knell_engine *engine, const char *path,
	      uint32_t flags);

/*
 * With JSON_BY_HAND: writes one record. Those that are not given are not missing: lines are
 * numbered by themselves, and a jump in knell.seq is still exactly what the gap before it lost.
 */
void json_write(struct json *json, const struct knell_event *event);

/*
 * Writes what has been collected. Call it after each knell_dispatch(), so that a reader sees a
 * batch as soon as it is there; a full buffer (64 KiB) is written in between. Returns 0 or the
 * -errno of this attempt.
 *
 * A failed write harms nothing: what could not be written stays in the buffer and is tried again
 * at the next flush (a disk may get room), except after EPIPE and EBADF. When the buffer is full
 * too, whole lines are dropped and counted; a line that is half written is kept until its rest is
 * out, so no line ever follows a torn one. SIGPIPE and SIGXFSZ are the caller's to block or ignore.
 */
int json_flush(struct json *json);

/*
 * With JSON_MEMORY: the lines so far, for the caller to write, and to take off when they are out.
 * There is room for 64 KiB and two more lines of any length (JSON_LINE_MAX); json_flush() is not
 * for these, and json_close() adds no summary.
 */
#define JSON_LINE_MAX (256u << 10)

const char *json_lines(const struct json *json, size_t *ret_len);
void json_take(struct json *json, size_t len);

/* Moves the last line before all others. */
void json_last_first(struct json *json);

/* The last line, of this record, was taken off unwritten: its number is the next one's. */
void json_unwrite(struct json *json, const struct knell_event *event);

/*
 * Lines that only a log has, which outlives those that write it. json_close() writes a summary by
 * itself, unless the lines are in memory. What they tell of stands in docs/json.md.
 */
struct json_start {
	const char *boot_id, *source, *host, *version; /* NULL: not known */
	bool continued;                                /* the same run goes on in another file */
};

struct json_count {
	uint64_t births, deaths, others;
};

void json_write_start(struct json *json, const struct json_start *start);
void json_write_lost(struct json *json, uint32_t ring, const struct json_count *lost);
void json_write_suppressed(struct json *json, const struct json_count *count);
void json_write_summary(struct json *json);

struct json_result {
	uint64_t lines;     /* written whole, the summary included */
	uint64_t unwritten; /* records that could not be written */
	int error;          /* -errno of the first failure, 0 if there was none */
	bool torn;          /* the output ends in the middle of a line */
};

/*
 * Writes the summary and what is left, closes the file and frees everything. Returns 0, or the
 * first failure, -errno. `ret_result` may be NULL. json_close(NULL, ...) is allowed.
 */
int json_close(struct json *json, struct json_result *ret_result);

#endif
