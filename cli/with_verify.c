/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * with_verify.c - --with=verify: says each violation on stderr. One makes the command's own status
 * 125, if it was to be 0.
 */
#include <string.h>

#include "cli.h"
#include "watchers/verify.h"
#include "with_verify.h"

/* All kinds, whatever the user wants to see: what is not heard cannot be judged. */
int with_verify_open(void **ret, struct knell_engine *engine, const struct with_wish *wish,
		     const char *options)
{
	int r = verify_with_open(ret, engine, options);

	(void)wish;
	if (r < 0)
		complain("--with=verify: %s", strerror(-r));
	return r;
}

void with_verify_last_look(void *state)
{
	verify_last_look(state);
}

static void say(const char *text, void *userdata)
{
	(void)userdata;
	complain("--with=verify: %s", text);
}

int with_verify_close(void *state, const char *options)
{
	int violations = verify_with_close(state, say, NULL);

	(void)options;
	if (violations < 0)
		complain("--with=verify: no memory: not all was judged");
	else if (violations)
		complain("--with=verify: %d violations", violations);
	return violations != 0;
}
