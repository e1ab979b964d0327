/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_scan.c - takes one JSON object apart; see json_scan.h. By hand, because a log of gigabytes
 * is read for the sake of one line, and half of a general parser's time is what we never ask for.
 */
#include <string.h>

#include "json_scan.h"

/* Objects within objects; no line of ours has any. */
#define MAX_DEPTH 64

static void pass_blanks(struct json_scan *scan)
{
	while (scan->p < scan->end &&
	       (*scan->p == ' ' || *scan->p == '\t' || *scan->p == '\r' || *scan->p == '\n'))
		scan->p++;
}

bool json_scan_at(struct json_scan *scan, char c)
{
	pass_blanks(scan);
	return scan->p < scan->end && *scan->p == c;
}

bool json_scan_char(struct json_scan *scan, char c)
{
	if (!json_scan_at(scan, c))
		return false;
	scan->p++;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits after \u. */
static bool scan_code(struct json_scan *scan, uint32_t *ret)
{
	uint32_t code = 0;

	if (scan->end - scan->p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(*scan->p++);

		if (digit < 0)
			return false;
		code = code << 4 | (uint32_t)digit;
	}
	*ret = code;
	return true;
}

/* At most three bytes for six of text, four for twelve: scratch cannot run out. */
static void put_utf8(struct json_scan *scan, uint32_t code)
{
	char *to = scan->scratch + scan->used;

	if (code < 0x80) {
		to[0] = (char)code;
		scan->used += 1;
	} else if (code < 0x800) {
		to[0] = (char)(0xc0 | code >> 6);
		to[1] = (char)(0x80 | (code & 0x3f));
		scan->used += 2;
	} else if (code < 0x10000) {
		to[0] = (char)(0xe0 | code >> 12);
		to[1] = (char)(0x80 | (code >> 6 & 0x3f));
		to[2] = (char)(0x80 | (code & 0x3f));
		scan->used += 3;
	} else {
		to[0] = (char)(0xf0 | code >> 18);
		to[1] = (char)(0x80 | (code >> 12 & 0x3f));
		to[2] = (char)(0x80 | (code >> 6 & 0x3f));
		to[3] = (char)(0x80 | (code & 0x3f));
		scan->used += 4;
	}
}

/* Half a pair of surrogates is no character: U+FFFD stands for it. */
static bool scan_unicode(struct json_scan *scan)
{
	uint32_t code, low;

	if (!scan_code(scan, &code))
		return false;
	if (code >= 0xd800 && code < 0xdc00 && scan->end - scan->p >= 6 && scan->p[0] == '\\' &&
	    scan->p[1] == 'u') {
		const char *before = scan->p;

		scan->p += 2;
		if (!scan_code(scan, &low))
			return false;
		if (low >= 0xdc00 && low < 0xe000)
			code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		else
			scan->p = before;
	}
	put_utf8(scan, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
	return true;
}

/* After a backslash. */
static bool scan_escape(struct json_scan *scan)
{
	static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	const char *name;

	if (scan->p == scan->end)
		return false;
	if (*scan->p == 'u') {
		scan->p++;
		return scan_unicode(scan);
	}
	name = *scan->p ? strchr(names, *scan->p) : NULL;
	if (!name)
		return false;
	scan->scratch[scan->used++] = bytes[name - names];
	scan->p++;
	return true;
}

static bool scan_escaped(struct json_scan *scan, struct json_span *ret)
{
	size_t begin = scan->used;

	while (scan->p < scan->end && *scan->p != '"') {
		if (*scan->p == '\\') {
			scan->p++;
			if (!scan_escape(scan))
				return false;
		} else {
			scan->scratch[scan->used++] = *scan->p++;
		}
	}
	if (scan->p == scan->end)
		return false;
	scan->p++;
	*ret = (struct json_span){ scan->scratch + begin, scan->used - begin };
	return true;
}

bool json_scan_text(struct json_scan *scan, struct json_span *ret)
{
	const char *quote;
	size_t len;

	if (!json_scan_char(scan, '"'))
		return false;
	quote = memchr(scan->p, '"', (size_t)(scan->end - scan->p));
	if (!quote)
		return false;
	len = (size_t)(quote - scan->p);
	if (memchr(scan->p, '\\', len))
		return scan_escaped(scan, ret);
	*ret = (struct json_span){ scan->p, len };
	scan->p = quote + 1;
	return true;
}

static bool is_digit(const struct json_scan *scan)
{
	return scan->p < scan->end && *scan->p >= '0' && *scan->p <= '9';
}

static bool scan_number(struct json_scan *scan, struct json_value *ret)
{
	bool negative = *scan->p == '-', whole = true;
	uint64_t number = 0;
	const char *first;

	scan->p += negative;
	for (first = scan->p; is_digit(scan); scan->p++) {
		uint64_t digit = (uint64_t)(*scan->p - '0');

		whole = whole && number <= (UINT64_MAX - digit) / 10;
		number = number * 10 + digit;
	}
	if (scan->p == first)
		return false;
	while (scan->p < scan->end && *scan->p && strchr("+-.eE0123456789", *scan->p)) {
		whole = false;
		scan->p++;
	}
	ret->type = whole ? JSON_NUMBER : JSON_PASSED;
	ret->number = negative ? 0 - number : number;
	return true;
}

static bool scan_word(struct json_scan *scan, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(scan->end - scan->p) < len || memcmp(scan->p, word, len) != 0)
		return false;
	scan->p += len;
	return true;
}

/* To the bracket that closes this one. Commas and colons in it are not looked at. */
static bool pass_nested(struct json_scan *scan)
{
	size_t used = scan->used;
	struct json_span text;
	int depth = 0;

	while (scan->p < scan->end) {
		switch (*scan->p) {
		case '"':
			if (!json_scan_text(scan, &text))
				return false;
			scan->used = used;
			continue;
		case '{':
		case '[':
			if (++depth > MAX_DEPTH)
				return false;
			break;
		case '}':
		case ']':
			depth--;
			break;
		default:
			break;
		}
		scan->p++;
		if (depth == 0)
			return true;
	}
	return false;
}

bool json_scan_value(struct json_scan *scan, struct json_value *ret)
{
	const char *begin;

	pass_blanks(scan);
	if (scan->p == scan->end)
		return false;
	begin = scan->p;
	switch (*begin) {
	case '"':
		ret->type = JSON_TEXT;
		return json_scan_text(scan, &ret->text);
	case 't':
	case 'f':
		ret->type = JSON_BOOL;
		ret->number = *begin == 't';
		return scan_word(scan, ret->number ? "true" : "false");
	case 'n':
		ret->type = JSON_PASSED;
		return scan_word(scan, "null");
	case '[':
	case '{':
		if (!pass_nested(scan))
			return false;
		ret->type = *begin == '[' ? JSON_ARRAY : JSON_PASSED;
		ret->text = (struct json_span){ begin, (size_t)(scan->p - begin) };
		return true;
	default:
		return scan_number(scan, ret);
	}
}
