/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_read.c - from a line of JSON to its fields, and from those to a record; see json_read.h. A
 * line is first taken apart into a table of fields, for their order is nobody's promise; but
 * because it hardly ever changes, each field remembers which one came after it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json_read.h"
#include "json_read_fields.h"
#include "json_scan.h"

struct json_reader {
	struct json_fields fields;
	uint8_t after[F_COUNT]; /* the field that followed this one in the last line */
	char *scratch;
	size_t scratch_size;
	struct json_line line;
};

static const struct {
	const char *name;
	uint8_t len;
	uint8_t type; /* enum json_type */
} known[F_COUNT] = { [F_NONE] = { "", 0, JSON_PASSED },
#define X(field, name, type) [field] = { name, sizeof(name) - 1, type },
		     JSON_READ_FIELDS(X)
#undef X
};

static bool is_field(unsigned int field, const struct json_span *name)
{
	return name->len == known[field].len && memcmp(name->s, known[field].name, name->len) == 0;
}

/* F_COUNT: no field of ours. */
static unsigned int find_field(struct json_reader *r, unsigned int before,
			       const struct json_span *name)
{
	unsigned int field = r->after[before];

	if (is_field(field, name))
		return field;
	for (field = 1; field < F_COUNT; field++) {
		if (is_field(field, name)) {
			r->after[before] = (uint8_t)field;
			return field;
		}
	}
	return F_COUNT;
}

static bool scan_fields(struct json_reader *r, struct json_scan *scan)
{
	struct json_fields *f = &r->fields;
	unsigned int before = 0;

	if (!json_scan_char(scan, '{'))
		return false;
	if (json_scan_char(scan, '}'))
		return true;
	do {
		struct json_value value;
		struct json_span name;
		unsigned int field;

		if (!json_scan_text(scan, &name) || !json_scan_char(scan, ':') ||
		    !json_scan_value(scan, &value))
			return false;
		field = find_field(r, before, &name);
		if (field == F_COUNT)
			continue;
		if (value.type != known[field].type && known[field].type != JSON_PASSED)
			return false;
		before = field;
		f->has[field] = true;
		if (value.type == JSON_TEXT || value.type == JSON_ARRAY)
			f->value[field].text = value.text;
		else
			f->value[field].number = value.number;
	} while (json_scan_char(scan, ','));
	return json_scan_char(scan, '}');
}

/* Twice the line: names, and once more the arguments, which are read again. */
static int make_room(struct json_reader *r, size_t len)
{
	size_t size = 2 * len + 16;
	char *grown;

	if (size <= r->scratch_size)
		return 0;
	grown = realloc(r->scratch, size);
	if (!grown)
		return -ENOMEM;
	r->scratch = grown;
	r->scratch_size = size;
	return 0;
}

static bool text_is(const struct json_span *text, const char *s)
{
	return text->len == strlen(s) && memcmp(text->s, s, text->len) == 0;
}

static enum json_line_kind kind_of(const struct json_span *name, uint8_t *ret_kind)
{
	for (unsigned int kind = KNELL_INIT; kind < KNELL_KIND_MAX; kind++) {
		if (text_is(name, knell_kind_name(kind))) {
			*ret_kind = (uint8_t)kind;
			return JSON_LINE_EVENT;
		}
	}
	if (text_is(name, "start"))
		return JSON_LINE_START;
	if (text_is(name, "suppressed"))
		return JSON_LINE_SUPPRESSED;
	return text_is(name, "summary") ? JSON_LINE_SUMMARY : JSON_LINE_OTHER;
}

static bool read_line(struct json_reader *r)
{
	struct json_fields *f = &r->fields;
	struct json_line *line = &r->line;
	const struct json_span *boot = &f->value[F_BOOT_ID].text;
	uint8_t kind = 0;

	line->kind = JSON_LINE_OTHER;
	line->boot_id[0] = '\0';
	line->count = 0;
	line->continued = json_field_number(f, F_CONTINUED);
	if (!json_field_time(f, F_TIME, &line->time))
		return false;
	if (!f->has[F_EVENT])
		return true;
	line->kind = kind_of(&f->value[F_EVENT].text, &kind);
	if (line->kind == JSON_LINE_SUPPRESSED)
		line->count = json_field_number(f, F_SUPPRESSED);
	else if (line->kind == JSON_LINE_SUMMARY)
		line->count = json_field_number(f, F_UNWRITTEN);
	if (f->has[F_BOOT_ID] && boot->len < sizeof(line->boot_id)) {
		memcpy(line->boot_id, boot->s, boot->len);
		line->boot_id[boot->len] = '\0';
	}
	return line->kind != JSON_LINE_EVENT || json_read_event(f, kind, &line->event);
}

int json_read_line(struct json_reader *r, const char *text, size_t len,
		   const struct json_line **ret_line)
{
	struct json_scan scan = { .p = text, .end = text + len };
	int error = make_room(r, len);

	if (error < 0)
		return error;
	scan.scratch = r->scratch;
	memset(r->fields.has, 0, sizeof(r->fields.has));
	if (!scan_fields(r, &scan) || (json_scan_at(&scan, '\0'), scan.p != scan.end))
		return -EBADMSG;
	r->fields.scratch = r->scratch + scan.used;
	if (!read_line(r))
		return -EBADMSG;
	*ret_line = &r->line;
	return 0;
}

int json_reader_new(struct json_reader **ret_reader)
{
	struct json_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	*ret_reader = reader;
	return 0;
}

struct json_reader *json_reader_free(struct json_reader *reader)
{
	if (reader)
		free(reader->scratch);
	free(reader);
	return NULL;
}
