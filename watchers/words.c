/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * words.c - numbers and names in a form for people; see words.h. What a process died of is in
 * death.c.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "words.h"

#define US ((uint64_t)1000)
#define MS (1000 * US)
#define S  (1000 * MS)

struct words words_count(uint64_t n)
{
	struct words ret = { "" };
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	char *p = ret.s;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = '\0';
	return ret;
}

/* Three significant digits of value / unit, which is below 1,000. */
static struct words three_digits(uint64_t value, uint64_t unit, const char *name)
{
	struct words ret;
	uint64_t thousandths = value / unit * 1000 + value % unit * 1000 / unit;

	if (thousandths >= 99950)
		snprintf(ret.s, sizeof(ret.s), "%" PRIu64 " %s", (thousandths + 500) / 1000, name);
	else if (thousandths >= 9995)
		snprintf(ret.s, sizeof(ret.s), "%" PRIu64 ".%" PRIu64 " %s",
			 (thousandths + 50) / 1000, (thousandths + 50) / 100 % 10, name);
	else
		snprintf(ret.s, sizeof(ret.s), "%" PRIu64 ".%02" PRIu64 " %s",
			 (thousandths + 5) / 1000, (thousandths + 5) / 10 % 100, name);
	return ret;
}

/* Two units that fill each other: 12m03s. */
static struct words two_units(uint64_t high, char high_unit, uint64_t low, char low_unit)
{
	struct words ret;

	snprintf(ret.s, sizeof(ret.s), "%" PRIu64 "%c%02" PRIu64 "%c", high, high_unit, low,
		 low_unit);
	return ret;
}

/* The limits are where rounding would give 1,000 us, 1,000 ms or 60.0 s. */
struct words words_duration(uint64_t ns)
{
	uint64_t s = ns / S + (ns % S >= S / 2);
	struct words ret;

	if (ns < 999500) {
		snprintf(ret.s, sizeof(ret.s), "%" PRIu64 " us", (ns + US / 2) / US);
		return ret;
	}
	if (ns < 999500 * US)
		return three_digits(ns, MS, "ms");
	if (ns < 59950 * MS)
		return three_digits(ns, S, "s");
	if (s < 3600)
		return two_units(s / 60, 'm', s % 60, 's');
	if (s < 86400)
		return two_units(s / 3600, 'h', s / 60 % 60, 'm');
	return two_units(s / 86400, 'd', s / 3600 % 24, 'h');
}

struct words words_size(uint64_t bytes)
{
	const uint64_t mib = 1u << 20;
	struct words ret;

	if (bytes / mib < 999)
		return three_digits(bytes, mib, "MiB");
	snprintf(ret.s, sizeof(ret.s), "%.40s MiB", words_count((bytes + mib / 2) / mib).s);
	return ret;
}

struct words words_ratio(uint64_t a, uint64_t b)
{
	struct words ret = { "?" };

	if (b)
		snprintf(ret.s, sizeof(ret.s), "%.1f", (double)a / (double)b);
	return ret;
}

struct words words_signal(int signo)
{
	const char *name = sigabbrev_np(signo);
	struct words ret;

	if (name)
		snprintf(ret.s, sizeof(ret.s), "SIG%s", name);
	else if (signo >= SIGRTMIN && signo <= SIGRTMAX)
		snprintf(ret.s, sizeof(ret.s), "SIGRTMIN+%d", signo - SIGRTMIN);
	else
		snprintf(ret.s, sizeof(ret.s), "signal %d", signo);
	return ret;
}

size_t words_utf8(const char *s, size_t len)
{
	const unsigned char *b = (const unsigned char *)s;
	uint32_t code, least;
	size_t n;

	if (len == 0)
		return 0;
	if (b[0] < 0x80)
		return 1;
	if (b[0] < 0xc2 || b[0] > 0xf4)
		return 0;
	n = b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
	if (len < n)
		return 0;
	code = b[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (b[i] & 0x3fu);
	}
	least = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
	if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return n;
}

/* C0, DEL, and C1: U+0080 to U+009F are c2 80 to c2 9f. */
static bool is_control(const unsigned char *b, size_t n)
{
	return (n == 1 && (b[0] < 0x20 || b[0] == 0x7f)) || (n == 2 && b[0] == 0xc2 && b[1] < 0xa0);
}

size_t words_escape(char *dst, size_t size, const char *src, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *b = (const unsigned char *)src;
	size_t used = 0;

	if (size == 0)
		return 0;
	for (size_t i = 0; i < len;) {
		size_t n = words_utf8(src + i, len - i);
		bool raw = n && !is_control(b + i, n);
		size_t need = raw ? n : 4;

		if (used + need >= size)
			break;
		if (raw) {
			memcpy(dst + used, src + i, n);
			i += n;
		} else {
			memcpy(dst + used, "\\x", 2);
			dst[used + 2] = hex[b[i] >> 4];
			dst[used + 3] = hex[b[i] & 15];
			i++;
		}
		used += need;
	}
	dst[used] = '\0';
	return used;
}

struct words_name words_comm(const char comm[KNELL_COMM_LEN], bool known)
{
	struct words_name ret = { "?" };

	if (known && comm[0])
		words_escape(ret.s, sizeof(ret.s), comm, strnlen(comm, KNELL_COMM_LEN));
	return ret;
}

void words_copy_comm(char dst[KNELL_COMM_LEN], const char *src)
{
	size_t len = strnlen(src, KNELL_COMM_LEN - 1);

	memset(dst, 0, KNELL_COMM_LEN);
	memcpy(dst, src, len);
}

size_t words_width(const char *s)
{
	size_t width = 0;

	for (; *s; s++)
		width += ((unsigned char)*s & 0xc0) != 0x80;
	return width;
}

void words_cut(char *s, size_t columns)
{
	for (; *s; s++) {
		if (((unsigned char)*s & 0xc0) != 0x80 && columns-- == 0)
			break;
	}
	*s = '\0';
}

const char *words_basename(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}
