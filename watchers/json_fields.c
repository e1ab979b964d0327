/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_fields.c - writers of single JSON fields; see json_fields.h. yajl does all quoting and
 * punctuation; numbers and times, which need none, are made here because they are most of a record
 * and printf(3) would be most of its cost.
 */
#include <errno.h>
#include <time.h>

#include "json_fields.h"
#include "words.h"

static void print(void *ctx, const char *s, size_t len)
{
	struct json_out *out = ctx;

	json_out_put(out, s, len);
}

int json_fields_init(struct json *j)
{
	j->gen = yajl_gen_alloc(NULL);
	if (!j->gen)
		return -ENOMEM;
	yajl_gen_config(j->gen, yajl_gen_print_callback, print, &j->out);
	return 0;
}

void json_fields_done(struct json *j)
{
	if (j->gen)
		yajl_gen_free(j->gen);
}

void json_begin(struct json *j)
{
	yajl_gen_reset(j->gen, NULL);
	yajl_gen_map_open(j->gen);
}

int json_end(struct json *j)
{
	yajl_gen_map_close(j->gen);
	json_out_put(&j->out, "\n", 1);
	return json_out_end_line(&j->out);
}

static void string(struct json *j, const char *s, size_t len)
{
	yajl_gen_string(j->gen, (const unsigned char *)s, len);
}

/* Writes `value` so that it ends before `end`; returns where it begins. */
static char *decimal(char *end, uint64_t value)
{
	do {
		*--end = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	return end;
}

void json_number(struct json *j, const char *name, size_t len, uint64_t value)
{
	char digits[24];
	char *end = digits + sizeof(digits);
	char *begin = decimal(end, value);

	string(j, name, len);
	yajl_gen_number(j->gen, begin, (size_t)(end - begin));
}

void json_integer(struct json *j, const char *name, size_t len, int64_t value)
{
	string(j, name, len);
	yajl_gen_integer(j->gen, value);
}

void json_bool(struct json *j, const char *name, size_t len, bool value)
{
	string(j, name, len);
	yajl_gen_bool(j->gen, value);
}

void json_text(struct json *j, const char *name, size_t len, const char *value)
{
	string(j, name, len);
	string(j, value, strlen(value));
}

static const struct json_second *second_text(struct json *j, uint64_t second)
{
	struct json_second *s = &j->seconds[second % JSON_SECONDS];
	time_t t = (time_t)second;
	struct tm tm;

	if (s->second == second && s->len)
		return s;
	s->second = second;
	gmtime_r(&t, &tm);
	s->len = strftime(s->text, sizeof(s->text), "%Y-%m-%dT%H:%M:%S.", &tm);
	return s;
}

/* Digits and punctuation only: nothing to escape, so the generator takes it as it is. */
void json_time(struct json *j, const char *name, size_t len, uint64_t boot)
{
	uint64_t time = boot + j->offset;
	uint64_t second = time / 1000000000u;
	uint32_t ns = (uint32_t)(time - second * 1000000000u);
	const struct json_second *s = second_text(j, second);
	char text[sizeof(s->text) + 12] = "\"";
	char *digits = text + 1 + s->len;

	memcpy(text + 1, s->text, sizeof(s->text));
	for (size_t i = 9; i-- > 0; ns /= 10)
		digits[i] = (char)('0' + ns % 10);
	digits[9] = 'Z';
	digits[10] = '"';
	string(j, name, len);
	yajl_gen_number(j->gen, text, s->len + 12);
}

static bool is_utf8(const char *s, size_t len)
{
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		n = (unsigned char)s[i] < 0x80 ? 1 : words_utf8(s + i, len - i);
		if (n == 0)
			return false;
	}
	return true;
}

static void hex_string(struct json *j, const char *bytes, size_t count)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < count; i++) {
		j->scratch[2 * i] = hex[(unsigned char)bytes[i] >> 4];
		j->scratch[2 * i + 1] = hex[(unsigned char)bytes[i] & 15];
	}
	string(j, j->scratch, 2 * count);
}

/* At most 3 * KNELL_EVENT_MAX bytes long: bytes are part of a record. */
static void mended_string(struct json *j, const char *bytes, size_t count)
{
	size_t used = 0;

	for (size_t i = 0; i < count;) {
		size_t n = words_utf8(bytes + i, count - i);

		memcpy(j->scratch + used, n ? bytes + i : "\xef\xbf\xbd", n ? n : 3);
		used += n ? n : 3;
		i += n ? n : 1;
	}
	string(j, j->scratch, used);
}

void json_bytes(struct json *j, const char *name, size_t len, const char *hex_name, size_t hex_len,
		const char *bytes, size_t count)
{
	string(j, name, len);
	if (is_utf8(bytes, count)) {
		string(j, bytes, count);
		return;
	}
	mended_string(j, bytes, count);
	string(j, hex_name, hex_len);
	hex_string(j, bytes, count);
}

void json_comm(struct json *j, const char *name, size_t len, const char *hex_name, size_t hex_len,
	       const char comm[KNELL_COMM_LEN])
{
	json_bytes(j, name, len, hex_name, hex_len, comm, strnlen(comm, KNELL_COMM_LEN));
}

/* Each argument to `write`, as one array. The last may lack its NUL: it was cut. */
static void array(struct json *j, const char *args, size_t count,
		  void (*write)(struct json *j, const char *bytes, size_t count))
{
	yajl_gen_array_open(j->gen);
	for (size_t i = 0, len; i < count; i += len + 1) {
		len = strnlen(args + i, count - i);
		write(j, args + i, len);
	}
	yajl_gen_array_close(j->gen);
}

void json_args(struct json *j, const char *args, size_t count)
{
	bool good = is_utf8(args, count);

	string(j, KEY("process.command_args"));
	array(j, args, count, good ? string : mended_string);
	if (good)
		return;
	string(j, KEY("knell.exec.args_hex"));
	array(j, args, count, hex_string);
}
