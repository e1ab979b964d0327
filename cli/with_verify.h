/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * with_verify.h - --with=verify, for the table of with.c.
 */
#ifndef KNELL_CLI_WITH_VERIFY_H
#define KNELL_CLI_WITH_VERIFY_H

#include "with.h"

int with_verify_open(void **ret, struct knell_engine *engine, const struct with_wish *wish,
		     const char *options);
void with_verify_last_look(void *state);
int with_verify_close(void *state, const char *options);

#endif
