/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * emit_json.c - writes a JSON Lines stream to standard output that has every kind of record, every
 * flag, every field known and every field unknown: for validate_json.py.
 */
#include <stdio.h>

#include "story.h"
#include "watchers/json.h"

int main(void)
{
	struct story *s = story_begin();
	struct json *json = NULL;

	if (json_open(&json, s->engine, "-", JSON_THREADS | JSON_INIT) < 0)
		return 1;
	story_tell_all(s);
	story_dispatch(s);
	if (json_close(json, NULL) < 0)
		return 1;
	story_end(s);
	return 0;
}
