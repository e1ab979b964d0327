/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_lines.h - reads JSON Lines for tests: each line parsed, and its members by name. A missing
 * or ill-typed member fails the test.
 */
#ifndef KNELL_TESTS_UNIT_JSON_LINES_H
#define KNELL_TESTS_UNIT_JSON_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include <yajl/yajl_tree.h>

struct lines {
	size_t count;
	yajl_val *values;
	bool torn; /* the last one has no end, and is not among them */
};

struct lines lines_read(const char *path);
void lines_free(struct lines *lines);

yajl_val get(yajl_val object, const char *name);
bool has(yajl_val object, const char *name);
bool is_true(yajl_val object, const char *name);
const char *text_of(yajl_val object, const char *name);
const char *digits_of(yajl_val object, const char *name);
long long number_of(yajl_val object, const char *name);

#endif
