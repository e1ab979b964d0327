/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * with_audit.c - --with=audit: says on stderr what the audit log has to say.
 */
#include <stdlib.h>

#include "cli.h"
#include "watchers/audit.h"
#include "with_audit.h"

/* Between two complaints while it runs: what is broken may come and go. */
#define PAUSE UINT64_C(10000000000)

struct with_audit {
	struct audit *audit;
	int error; /* that was said last */
	uint64_t said_at;
};

int with_audit_check(const char *options, uint32_t *ret_engine_flags)
{
	char why[AUDIT_WHY];
	int r = audit_check_options(options, ret_engine_flags, why);

	if (r < 0)
		complain("--with=audit: %s", why);
	return r;
}

int with_audit_open(void **ret, struct knell_engine *engine, const struct with_wish *wish,
		    const char *options)
{
	struct with_audit *w = calloc(1, sizeof(*w));
	char why[AUDIT_WHY] = "no memory";
	int r = -1;

	if (w)
		r = audit_open(&w->audit, engine, wish->kinds, wish->threads ? AUDIT_THREADS : 0,
			       options, why);
	if (r < 0) {
		complain("--with=audit: %s", why);
		free(w);
		return r;
	}
	*ret = w;
	return 0;
}

/* An operator wants to know while it can be mended. */
void with_audit_flush(void *state)
{
	struct with_audit *w = state;
	int error = audit_error(w->audit);
	uint64_t now;

	if (error == w->error)
		return;
	now = monotonic_now();
	if (error && w->said_at && now - w->said_at < PAUSE)
		return;
	if (error)
		complain("--with=audit: cannot write to '%s': %s; records wait, and what finds no "
			 "room is counted",
			 audit_target(w->audit), audit_error_text(error));
	else
		complain("--with=audit: '%s' can be written again", audit_target(w->audit));
	w->error = error;
	w->said_at = now;
}

void with_audit_reopen(void *state)
{
	struct with_audit *w = state;

	audit_reopen(w->audit);
}

/* A log with a gap says so itself, and is no failure of the command. */
int with_audit_close(void *state, const char *options)
{
	struct with_audit *w = state;
	struct audit_result result;
	const char *target = options && *options ? options : AUDIT_DEFAULT_PATH;

	audit_close(w->audit, &result);
	free(w);
	if (result.lost)
		complain("--with=audit: %llu of %llu records were not written (%s): %s%s",
			 (unsigned long long)result.lost, (unsigned long long)result.records,
			 target, audit_error_text(result.error),
			 result.stuck ? "; the end of the log is missing" : "");
	else if (result.stuck)
		complain("--with=audit: the end of the log is missing (%s): %s", target,
			 audit_error_text(result.error));
	if (result.suppressed)
		complain("--with=audit: %llu of %llu records were suppressed (%s): above the rate",
			 (unsigned long long)result.suppressed, (unsigned long long)result.records,
			 target);
	if (result.sync_error)
		complain("--with=audit: not all may have reached the disk (%s): %s", target,
			 audit_error_text(result.sync_error));
	return 0;
}
