/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_lines.c - reads JSON Lines for tests; see json_lines.h.
 */
#include <stdlib.h>
#include <string.h>

#include "json_lines.h"
#include "main.h"

struct lines lines_read(const char *path)
{
	struct lines lines = { 0 };
	char *text = unit_read_file(path, NULL), *line = text, *end;

	for (; (end = strchr(line, '\n')); line = end + 1) {
		char error[256] = "";
		yajl_val value;

		*end = '\0';
		value = yajl_tree_parse(line, error, sizeof(error));
		ck_assert_msg(value, "not JSON: %s: %s", line, error);
		ck_assert(YAJL_IS_OBJECT(value));
		lines.values = reallocarray(lines.values, lines.count + 1, sizeof(yajl_val));
		lines.values[lines.count++] = value;
	}
	lines.torn = *line != '\0';
	free(text);
	return lines;
}

void lines_free(struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		yajl_tree_free(lines->values[i]);
	free(lines->values);
	*lines = (struct lines){ 0 };
}

bool has(yajl_val object, const char *name)
{
	const char *path[] = { name, NULL };

	return yajl_tree_get(object, path, yajl_t_any) != NULL;
}

yajl_val get(yajl_val object, const char *name)
{
	const char *path[] = { name, NULL };
	yajl_val value = yajl_tree_get(object, path, yajl_t_any);

	ck_assert_msg(value, "%s is missing", name);
	return value;
}

bool is_true(yajl_val object, const char *name)
{
	return has(object, name) && YAJL_IS_TRUE(get(object, name));
}

const char *text_of(yajl_val object, const char *name)
{
	yajl_val value = get(object, name);

	ck_assert_msg(YAJL_IS_STRING(value), "%s is not a string", name);
	return YAJL_GET_STRING(value);
}

const char *digits_of(yajl_val object, const char *name)
{
	yajl_val value = get(object, name);

	ck_assert_msg(YAJL_IS_NUMBER(value), "%s is not a number", name);
	return YAJL_GET_NUMBER(value);
}

long long number_of(yajl_val object, const char *name)
{
	return strtoll(digits_of(object, name), NULL, 10);
}
