/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_fields.h - writers of single JSON fields, over yajl's generator, and the state of struct
 * json, which they share with json.c.
 */
#ifndef KNELL_WATCHERS_JSON_FIELDS_H
#define KNELL_WATCHERS_JSON_FIELDS_H

#include <yajl/yajl_gen.h>

#include "json.h"
#include "json_out.h"

/* A constant name and its length, as the writers take them. */
#define KEY(name) (name), sizeof(name) - 1

/* A wall-clock second, as text: most records fall into one that was written before. */
struct json_second {
	uint64_t second;
	char text[24]; /* 2025-01-31T12:34:56. */
	size_t len;    /* 0: nothing here yet */
};

#define JSON_SECONDS 8u

_Static_assert(JSON_LINE_MAX == JSON_OUT_LINE_MAX, "one limit, told in both headers");

struct json {
	struct json_out out;
	yajl_gen gen;
	uint32_t flags;
	uint64_t offset; /* CLOCK_REALTIME minus CLOCK_BOOTTIME, ns */
	uint64_t events, lost, reconciled, suppressed;
	uint64_t *skipped; /* for each ring: records that were not written; by hand: the next number
			    */
	uint32_t ring_count;
	struct json_second seconds[JSON_SECONDS];
	char scratch[3 * KNELL_EVENT_MAX]; /* a text with U+FFFD in it, or hex */
};

int json_fields_init(struct json *j);
void json_fields_done(struct json *j);

/* A record, from its brace to the end of its line. 0 or -errno. */
void json_begin(struct json *j);
int json_end(struct json *j);

void json_number(struct json *j, const char *name, size_t len, uint64_t value);
void json_integer(struct json *j, const char *name, size_t len, int64_t value);
void json_bool(struct json *j, const char *name, size_t len, bool value);

/* A text of ours, which is UTF-8. */
void json_text(struct json *j, const char *name, size_t len, const char *value);

/* `boot`: CLOCK_BOOTTIME, ns; written as RFC 3339 in UTC. */
void json_time(struct json *j, const char *name, size_t len, uint64_t boot);

/*
 * Bytes of anybody's. If they are not UTF-8, U+FFFD stands for each bad byte and a second field,
 * `hex_name`, has all of them in hexadecimal.
 */
void json_bytes(struct json *j, const char *name, size_t len, const char *hex_name, size_t hex_len,
		const char *bytes, size_t count);
void json_comm(struct json *j, const char *name, size_t len, const char *hex_name, size_t hex_len,
	       const char comm[KNELL_COMM_LEN]);

/* process.command_args, and knell.exec.args_hex if one of them is not UTF-8. */
void json_args(struct json *j, const char *args, size_t count);

#endif
