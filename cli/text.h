/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * text.h - lines on standard output for commands that print one for each event: collected in one
 * buffer, written at once. Numbers and times are made by hand, because printf(3) would be most of
 * what an event costs.
 */
#ifndef KNELL_CLI_TEXT_H
#define KNELL_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <knell/knell.h>

/* What is written at once, and the room beside it for one more line: 4 characters a byte. */
#define TEXT_CHUNK    (128u << 10)
#define TEXT_LINE_MAX (4u * KNELL_EVENT_MAX + 4096u)

struct text {
	size_t len;
	int error;       /* -errno of the first write that failed */
	uint64_t offset; /* CLOCK_REALTIME minus CLOCK_BOOTTIME, ns */
	uint64_t minute; /* the wall-clock minute that `clock` is of */
	char clock[8];   /* "HH:MM:" */
	char buf[TEXT_CHUNK + TEXT_LINE_MAX];
};

void text_init(struct text *text);

/* Whole lines only. 0, or the -errno of the first write that ever failed: nothing is tried after.
 */
int text_flush(struct text *text);

/* After each line: writes when a chunk is full. */
static inline int text_end_line(struct text *text)
{
	return text->len >= TEXT_CHUNK ? text_flush(text) : 0;
}

/* What does not fit into a line's room is left out. */
static inline void text_put(struct text *text, const char *s, size_t len)
{
	if (len > sizeof(text->buf) - text->len)
		len = sizeof(text->buf) - text->len;
	memcpy(text->buf + text->len, s, len);
	text->len += len;
}

static inline void text_char(struct text *text, char c)
{
	if (text->len < sizeof(text->buf))
		text->buf[text->len++] = c;
}

static inline void text_string(struct text *text, const char *s)
{
	text_put(text, s, strlen(s));
}

/* At least `width` columns: negative ones fill up after it, as in printf(3). */
void text_number(struct text *text, uint64_t value, int width);
void text_padded(struct text *text, const char *s, int width);

/* Bytes of anybody's, made safe for a terminal; returns the columns that they take. */
size_t text_escaped(struct text *text, const char *s, size_t len);
void text_comm(struct text *text, const char comm[KNELL_COMM_LEN], bool known, int width);

/* CLOCK_BOOTTIME, ns, as the time of day here: HH:MM:SS.uuuuuu. */
void text_clock(struct text *text, uint64_t boot);

/* CLOCK_BOOTTIME, ns. */
uint64_t boottime_now(void);

#endif
