/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * records.h - JSON output for commands that choose what they tell: they hand over each record.
 */
#ifndef KNELL_CLI_RECORDS_H
#define KNELL_CLI_RECORDS_H

#include "watchers/json.h"

/* As json_open(), which see. */
static inline int records_open(struct json **ret_json, struct knell_engine *engine,
			       const char *path, uint32_t flags)
{
#ifdef JSON_BY_HAND
	(void)engine;
	return json_open(ret_json, NULL, path, flags | JSON_BY_HAND);
#else
	return json_open(ret_json, engine, path, flags);
#endif
}

static inline void records_write(struct json *json, const struct knell_event *event)
{
#ifdef JSON_BY_HAND
	json_write(json, event);
#else
	(void)json;
	(void)event;
#endif
}

#endif
