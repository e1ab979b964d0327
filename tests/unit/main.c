/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * main.c - runs one suite of unit tests; see main.h. CK_FORK=no in the environment keeps all tests
 * in one process, for a debugger.
 */
#include <stdio.h>
#include <stdlib.h>

#include "main.h"

TCase *unit_case(Suite *suite, const char *name)
{
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 40);
	suite_add_tcase(suite, tcase);
	return tcase;
}

double unit_patience(void)
{
	const char *text = getenv("CK_TIMEOUT_MULTIPLIER");
	double factor = text ? strtod(text, NULL) : 1;

	return factor > 0 ? 20 * factor : 20;
}

char *unit_read_file(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "re");
	size_t size = 0, len;
	char *text = NULL;

	ck_assert_msg(file, "cannot open %s", path);
	len = (size_t)getdelim(&text, &size, -1, file);
	if (len == (size_t)-1) {
		ck_assert(!ferror(file));
		free(text);
		text = calloc(1, 1);
		len = 0;
	}
	fclose(file);
	if (ret_len)
		*ret_len = len;
	return text;
}

int main(void)
{
	SRunner *runner = srunner_create(unit_suite());
	int failed;

	if (!getenv("CK_FORK"))
		srunner_set_fork_status(runner, CK_FORK);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
