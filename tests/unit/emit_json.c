/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * emit_json.c - writes a JSON Lines stream to standard output that has every kind of record, every
 * flag, every field known and every field unknown: for validate_json.py.
 */
#include <stdio.h>

#include "story.h"
#include "watchers/json.h"

/* What only an audit log has. */
static void tell_log(struct json *json)
{
	const struct json_start start = {
		.boot_id = "01234567-89ab-cdef-0123-456789abcdef",
		.source = "fake",
		.host = "here",
		.version = "1",
		.continued = true,
	};
	const struct json_start unknown = { .source = "fake", .version = "1" };
	const struct json_count some = { 1, 2, 3 };

	json_write_start(json, &start);
	json_write_start(json, &unknown);
	json_write_lost(json, 7, &some);
	json_write_suppressed(json, &some);
}

int main(void)
{
	struct story *s = story_begin();
	struct json *json = NULL;

	if (json_open(&json, s->engine, "-", JSON_THREADS | JSON_INIT) < 0)
		return 1;
	story_tell_all(s);
	story_dispatch(s);
	tell_log(json);
	if (json_close(json, NULL) < 0)
		return 1;
	story_end(s);
	return 0;
}
