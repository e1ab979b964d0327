/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit.h - the audit log: a JSON line for each record, to a file, a pipe, syslog or the journal,
 * for as long as the machine runs. The watcher only copies a record into a queue of fixed size; a
 * thread of the log's own formats and writes. So no disk and no reader holds a reaper up, and what
 * they do not take is counted: in the log where it is missing, and in the result at the end.
 */
#ifndef KNELL_WATCHERS_AUDIT_H
#define KNELL_WATCHERS_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <knell/knell.h>

#define AUDIT_DEFAULT_PATH "/var/log/knell/audit.jsonl"

/* Room for an explanation. */
#define AUDIT_WHY 512u

struct audit;

/* audit_open() flags */
#define AUDIT_THREADS (1u << 0) /* thread-level records too, if the engine has them */

/*
 * What a text of options (as man knell-audit(7) has them; NULL: none) needs of the engine, as
 * KNELL_O_*; and whether it makes sense. 0, or -EINVAL with an explanation in `why`.
 */
int audit_check_options(const char *options, uint32_t *ret_engine_flags, char why[AUDIT_WHY]);

/*
 * Opens the target and writes each record of these kinds to it, and all gaps. The engine calls it
 * until it is closed: dispatch no more before audit_close(). Starts a thread. -errno with an
 * explanation in `why`.
 */
int audit_open(struct audit **ret_audit, struct knell_engine *engine, uint32_t kinds,
	       uint32_t flags, const char *options, char why[AUDIT_WHY]);

/* The file was renamed: soon opens its path again, if it was. Does not wait for that. */
void audit_reopen(struct audit *audit);

/* What keeps it from writing now, -errno; 0: nothing. Records wait in the queue meanwhile. */
int audit_error(const struct audit *audit);

/* Such an error in words, for this target. */
const char *audit_error_text(int error);

/* Where it writes to. */
const char *audit_target(const struct audit *audit);

struct audit_result {
	uint64_t records;    /* heard, without gaps */
	uint64_t suppressed; /* of them: above the rate */
	uint64_t lost;       /* of them: neither written nor suppressed */
	int error;           /* the first thing that kept it from writing, -errno; 0: it was slow */
	int sync_error;      /* of the last fsync that failed, -errno: all is written, but where? */
	bool stuck;          /* the target did not take the end of the log in time */
};

/*
 * Writes what waits and the summary, and closes. A target that takes nothing is given up after some
 * seconds; if it has caught the thread in a system call, thread and memory are left to the end of
 * the process. audit_close(NULL, ...) is allowed; `ret_result` may be NULL.
 */
void audit_close(struct audit *audit, struct audit_result *ret_result);

#endif
