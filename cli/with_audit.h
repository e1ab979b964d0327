/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * with_audit.h - what the table of with.c calls for --with=audit.
 */
#ifndef KNELL_CLI_WITH_AUDIT_H
#define KNELL_CLI_WITH_AUDIT_H

#include "with.h"

int with_audit_check(const char *options, uint32_t *ret_engine_flags);
int with_audit_open(void **ret, struct knell_engine *engine, const struct with_wish *wish,
		    const char *options);
void with_audit_flush(void *state);
void with_audit_reopen(void *state);
int with_audit_close(void *state, const char *options);

#endif
