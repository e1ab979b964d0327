/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_read_fields.h - the fields that the reader of JSON Lines knows, as a line had them, and what
 * makes a record of them. Owns no state.
 */
#ifndef KNELL_WATCHERS_JSON_READ_FIELDS_H
#define KNELL_WATCHERS_JSON_READ_FIELDS_H

#include "json_read.h"
#include "json_scan.h"

/* The sender's fields under one prefix; json_read_event() relies on their order. */
#define JSON_READ_SENDER(X, P, prefix)                                                             \
	X(P##SENT, prefix "sent", JSON_TEXT)                                                       \
	X(P##CODE, prefix "si_code", JSON_NUMBER)                                                  \
	X(P##PID, prefix "sender.pid", JSON_NUMBER)                                                \
	X(P##UID, prefix "sender.uid", JSON_NUMBER)                                                \
	X(P##COMM, prefix "sender.comm", JSON_TEXT)                                                \
	X(P##COMM_HEX, prefix "sender.comm_hex", JSON_TEXT)                                        \
	X(P##CGROUP, prefix "sender.cgroup.id", JSON_NUMBER)                                       \
	X(P##PPID, prefix "sender.ppid", JSON_NUMBER)                                              \
	X(P##PCOMM, prefix "sender.pcomm", JSON_TEXT)                                              \
	X(P##PCOMM_HEX, prefix "sender.pcomm_hex", JSON_TEXT)

/* The same for the order of the ids, as struct knell_ids has them. */
#define JSON_READ_IDS(X, P, prefix)                                                                \
	X(P##REAL, prefix "real", JSON_NUMBER)                                                     \
	X(P##EFFECTIVE, prefix "effective", JSON_NUMBER)                                           \
	X(P##SAVED, prefix "saved", JSON_NUMBER)                                                   \
	X(P##FS, prefix "fs", JSON_NUMBER)                                                         \
	X(P##OLD_REAL, prefix "old_real", JSON_NUMBER)                                             \
	X(P##OLD_EFFECTIVE, prefix "old_effective", JSON_NUMBER)                                   \
	X(P##OLD_SAVED, prefix "old_saved", JSON_NUMBER)                                           \
	X(P##OLD_FS, prefix "old_fs", JSON_NUMBER)

/* JSON_PASSED: of any type; knell.reconciled is a flag, but a number in the summary. */
#define JSON_READ_FIELDS(X)                                                                        \
	X(F_TIME, "timestamp", JSON_TEXT)                                                          \
	X(F_EVENT, "knell.event", JSON_TEXT)                                                       \
	X(F_SCOPE, "knell.scope", JSON_TEXT)                                                       \
	X(F_RING, "knell.ring", JSON_NUMBER)                                                       \
	X(F_SEQ, "knell.seq", JSON_NUMBER)                                                         \
	X(F_CPU, "knell.cpu", JSON_NUMBER)                                                         \
	X(F_PID, "process.pid", JSON_NUMBER)                                                       \
	X(F_TID, "thread.id", JSON_NUMBER)                                                         \
	X(F_START, "process.creation.time", JSON_TEXT)                                             \
	X(F_THREAD_START, "knell.thread.creation.time", JSON_TEXT)                                 \
	X(F_PPID, "process.parent_pid", JSON_NUMBER)                                               \
	X(F_PARENT_START, "knell.parent.creation.time", JSON_TEXT)                                 \
	X(F_COMM, "process.executable.name", JSON_TEXT)                                            \
	X(F_COMM_HEX, "knell.comm_hex", JSON_TEXT)                                                 \
	X(F_UID, "process.user.id", JSON_NUMBER)                                                   \
	X(F_GID, "knell.group.id", JSON_NUMBER)                                                    \
	X(F_CGROUP, "knell.cgroup.id", JSON_NUMBER)                                                \
	X(F_COOKIE, "knell.cookie", JSON_NUMBER)                                                   \
	X(F_ROOT, "knell.root", JSON_BOOL)                                                         \
	X(F_REPLACED, "knell.replaced", JSON_BOOL)                                                 \
	X(F_TRUNCATED, "knell.truncated", JSON_BOOL)                                               \
	X(F_START_STAMP, "knell.start_stamp", JSON_BOOL)                                           \
	X(F_CLONE_FLAGS, "knell.clone.flags", JSON_NUMBER)                                         \
	X(F_EXIT_SIGNAL, "knell.clone.exit_signal", JSON_NUMBER)                                   \
	X(F_OLD_TID, "knell.exec.old_tid", JSON_NUMBER)                                            \
	X(F_PATH, "process.executable.path", JSON_TEXT)                                            \
	X(F_PATH_HEX, "knell.exec.path_hex", JSON_TEXT)                                            \
	X(F_ARGS, "process.command_args", JSON_ARRAY)                                              \
	X(F_ARGS_HEX, "knell.exec.args_hex", JSON_ARRAY)                                           \
	X(F_ARGS_TOTAL, "knell.exec.args_total", JSON_NUMBER)                                      \
	X(F_EXIT_CODE, "process.exit.code", JSON_NUMBER)                                           \
	X(F_SIGNAL, "knell.exit.signal", JSON_NUMBER)                                              \
	X(F_CORE, "knell.exit.core", JSON_BOOL)                                                    \
	X(F_REASON, "knell.exit.reason", JSON_TEXT)                                                \
	JSON_READ_SENDER(X, F_KILL_, "knell.exit.")                                                \
	X(F_TERM, "knell.exit.last_term.signal", JSON_NUMBER)                                      \
	X(F_TERM_REASON, "knell.exit.last_term.reason", JSON_TEXT)                                 \
	JSON_READ_SENDER(X, F_TERM_, "knell.exit.last_term.")                                      \
	X(F_FINAL, "knell.usage.final", JSON_BOOL)                                                 \
	X(F_UTIME, "knell.usage.utime_ns", JSON_NUMBER)                                            \
	X(F_STIME, "knell.usage.stime_ns", JSON_NUMBER)                                            \
	X(F_MAXRSS, "knell.usage.maxrss_bytes", JSON_NUMBER)                                       \
	X(F_MINFLT, "knell.usage.minflt", JSON_NUMBER)                                             \
	X(F_MAJFLT, "knell.usage.majflt", JSON_NUMBER)                                             \
	JSON_READ_IDS(X, F_UID_, "knell.uid.")                                                     \
	JSON_READ_IDS(X, F_GID_, "knell.gid.")                                                     \
	X(F_GAP_BIRTHS, "knell.gap.births", JSON_NUMBER)                                           \
	X(F_GAP_DEATHS, "knell.gap.deaths", JSON_NUMBER)                                           \
	X(F_GAP_OTHERS, "knell.gap.others", JSON_NUMBER)                                           \
	X(F_GAP_CAUSE, "knell.gap.cause", JSON_TEXT)                                               \
	X(F_BOOT_ID, "knell.boot_id", JSON_TEXT)                                                   \
	X(F_CONTINUED, "knell.continued", JSON_BOOL)                                               \
	X(F_SUPPRESSED, "knell.suppressed", JSON_NUMBER)                                           \
	X(F_UNWRITTEN, "knell.unwritten", JSON_NUMBER)                                             \
	X(F_RECONCILED, "knell.reconciled", JSON_PASSED)

enum {
	F_NONE, /* before the first */
#define X(field, name, type) field,
	JSON_READ_FIELDS(X)
#undef X
	F_COUNT
};

struct json_fields {
	bool has[F_COUNT];
	union {
		struct json_span text;
		uint64_t number;
	} value[F_COUNT];
	char *scratch; /* as long as the line was */
};

/* The number of a field; 0 if the line does not have it. */
static inline uint64_t json_field_number(const struct json_fields *f, unsigned int field)
{
	return f->has[field] ? f->value[field].number : 0;
}

/* The time of a field, in ns since 1970; 0 if the line does not have it. False: it is none. */
bool json_field_time(const struct json_fields *f, unsigned int field, __u64 *ret);

/* False: a field of it is not what it should be. The record has room for KNELL_EVENT_MAX bytes. */
bool json_read_event(const struct json_fields *f, unsigned int kind, struct knell_event *ret);

#endif
