/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_out.h - where JSON lines go: one buffer in front of one descriptor. It knows which bytes end
 * a line, so that after an error it can drop whole lines and still finish the one that is torn.
 * Without a descriptor the buffer is all there is: somebody else writes what is in it.
 */
#ifndef KNELL_WATCHERS_JSON_OUT_H
#define KNELL_WATCHERS_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What is written at once. */
#define JSON_OUT_CHUNK (64u << 10)

/*
 * The longest line: each byte of the longest record (24 KiB) takes at most 6 bytes as \uNNNN and,
 * where it is not UTF-8, 3 for U+FFFD and 2 in hex; the rest is names.
 */
#define JSON_OUT_LINE_MAX (256u << 10)

struct json_out {
	int fd; /* JSON_OUT_MEMORY: none */
	bool owns_fd;
	bool broken;        /* nobody reads any more: do not try again */
	bool torn;          /* the first line of the buffer is half written */
	int error;          /* the first failure, -errno */
	uint64_t lines;     /* written whole */
	uint64_t unwritten; /* dropped */
	size_t len;         /* bytes in the buffer: whole lines, then the one under way */

	/* At most a chunk or the rest of a torn line, then the line under way. */
	char buf[JSON_OUT_CHUNK + 2 * JSON_OUT_LINE_MAX];
};

#define JSON_OUT_MEMORY (-1)

/* `path` NULL: no descriptor. */
int json_out_open(struct json_out *out, const char *path);
void json_out_close(struct json_out *out);

/* Ends a line, and writes the buffer if it is full. 0 or -errno. */
int json_out_end_line(struct json_out *out);

/* Takes the first `n` bytes, which somebody has written, off the buffer. */
void json_out_consume(struct json_out *out, size_t n);

/* Moves the last line before all others. */
void json_out_last_first(struct json_out *out);

/* Writes the buffer. 0 or -errno. */
int json_out_flush(struct json_out *out);

/* Gives up what could not be written, the rest of a torn line too, and counts it. */
void json_out_abandon(struct json_out *out);

/*
 * Adds to the line under way; no line is longer than JSON_OUT_LINE_MAX. A record takes some 80 of
 * these, most of them of one byte or a name: copies of a fixed size, which may overlap, are worth
 * the trouble.
 */
static inline void json_out_put(struct json_out *out, const char *s, size_t len)
{
	char *to = out->buf + out->len;

	if (len > sizeof(out->buf) - out->len)
		len = sizeof(out->buf) - out->len;
	out->len += len;
	if (len == 1) {
		*to = *s;
	} else if (len >= 8 && len <= 16) {
		memcpy(to, s, 8);
		memcpy(to + len - 8, s + len - 8, 8);
	} else if (len > 16 && len <= 32) {
		memcpy(to, s, 16);
		memcpy(to + len - 16, s + len - 16, 16);
	} else {
		memcpy(to, s, len);
	}
}

#endif
