/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * text.c - lines on standard output; see text.h.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "stop.h"
#include "text.h"
#include "watchers/clock.h"
#include "watchers/words.h"

uint64_t boottime_now(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

void text_init(struct text *text)
{
	text->len = 0;
	text->error = 0;
	text->offset = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
	text->minute = UINT64_MAX;
}

/* A descriptor that somebody made non-blocking is waited for, as a blocking one would be. */
static int wait_for_room(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

	return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

/* Whoever is asked to end does not wait for a reader that does not read. */
int text_flush(struct text *text)
{
	size_t done = 0;

	while (done < text->len && text->error == 0) {
		ssize_t n = write(STDOUT_FILENO, text->buf + done, text->len - done);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno == EINTR)
			text->error = stop_signal() ? -EINTR : 0;
		else if (n < 0 && errno == EAGAIN)
			text->error = stop_signal() ? -EINTR : wait_for_room();
		else
			text->error = n < 0 ? -errno : -EIO;
	}
	text->len = 0;
	return text->error;
}

static void fill(struct text *text, size_t used, size_t width)
{
	for (; used < width; used++)
		text_char(text, ' ');
}

void text_number(struct text *text, uint64_t value, int width)
{
	char digits[24], *end = digits + sizeof(digits), *p = end;

	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	if (width > 0)
		fill(text, (size_t)(end - p), (size_t)width);
	text_put(text, p, (size_t)(end - p));
	if (width < 0)
		fill(text, (size_t)(end - p), (size_t)-width);
}

void text_padded(struct text *text, const char *s, int width)
{
	size_t columns = words_width(s);

	if (width > 0)
		fill(text, columns, (size_t)width);
	text_string(text, s);
	if (width < 0)
		fill(text, columns, (size_t)-width);
}

/* Most are plain ASCII and harmless as they are. */
size_t text_escaped(struct text *text, const char *s, size_t len)
{
	size_t start = text->len, i;

	for (i = 0; i < len && s[i] >= ' ' && s[i] < 0x7f; i++)
		;
	text_put(text, s, i);
	if (i == len)
		return text->len - start;
	text->len +=
		words_escape(text->buf + text->len, sizeof(text->buf) - text->len, s + i, len - i);
	if (text->len == sizeof(text->buf))
		return 0; /* no room for a NUL, and nobody to align with */
	text->buf[text->len] = '\0';
	return words_width(text->buf + start);
}

void text_comm(struct text *text, const char comm[KNELL_COMM_LEN], bool known, int width)
{
	size_t used = known ? text_escaped(text, comm, strnlen(comm, KNELL_COMM_LEN)) : 1;

	if (!known)
		text_char(text, '?');
	if (width < 0)
		fill(text, used, (size_t)-width);
}

static void two_digits(char *to, int value)
{
	to[0] = (char)('0' + value / 10);
	to[1] = (char)('0' + value % 10);
}

/* Zones differ by whole minutes, and the local one may change: ask once a minute. */
static void take_minute(struct text *text, uint64_t minute)
{
	time_t t = (time_t)(minute * 60);
	struct tm tm = { 0 };

	localtime_r(&t, &tm);
	two_digits(text->clock, tm.tm_hour);
	text->clock[2] = ':';
	two_digits(text->clock + 3, tm.tm_min);
	text->clock[5] = ':';
	text->minute = minute;
}

void text_clock(struct text *text, uint64_t boot)
{
	uint64_t us = (boot + text->offset) / 1000, second = us / 1000000;
	char digits[9];

	if (second / 60 != text->minute)
		take_minute(text, second / 60);
	text_put(text, text->clock, 6);
	two_digits(digits, (int)(second % 60));
	digits[2] = '.';
	us -= second * 1000000;
	for (size_t i = 9; i-- > 3; us /= 10)
		digits[i] = (char)('0' + us % 10);
	text_put(text, digits, sizeof(digits));
}
