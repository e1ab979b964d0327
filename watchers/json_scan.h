/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_scan.h - takes one JSON object apart, value by value, without making a tree of it: for lines
 * that come by the gigabyte. Texts without escapes stay where they are; the others go into the
 * caller's scratch memory. What stands in a nested object is passed over.
 */
#ifndef KNELL_WATCHERS_JSON_SCAN_H
#define KNELL_WATCHERS_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_span {
	const char *s;
	size_t len;
};

struct json_scan {
	const char *p, *end; /* the text that is left */
	char *scratch;       /* at least as long as the whole text */
	size_t used;         /* of scratch */
};

enum json_type {
	JSON_TEXT = 1,
	JSON_NUMBER,
	JSON_BOOL,
	JSON_ARRAY,
	JSON_PASSED
};

struct json_value {
	enum json_type type;
	struct json_span text; /* JSON_TEXT: unescaped; JSON_ARRAY: as it is written, [ and ] too */
	uint64_t number;       /* JSON_NUMBER: two's complement if negative; JSON_BOOL: 0 or 1 */
};

/* All of these return false where the text is no JSON, or ends too early. */

/* Passes blanks, then this character. */
bool json_scan_char(struct json_scan *scan, char c);

/* Is this the next character after blanks? Stays before it. */
bool json_scan_at(struct json_scan *scan, char c);

bool json_scan_text(struct json_scan *scan, struct json_span *ret);

/* A whole number that fits 64 bits is JSON_NUMBER; another one, null and an object JSON_PASSED. */
bool json_scan_value(struct json_scan *scan, struct json_value *ret);

#endif
