/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * knell.h - libknell: hear when tasks are born, exec, change identity and die.
 *
 *   struct knell_engine *engine;
 *   struct knell_options options = { .size = sizeof(options) };
 *   knell_open(&engine, &options);
 *   knell_watcher_add(engine, KNELL_MASK(KNELL_EXIT), on_exit, NULL);
 *   pid = knell_fork(engine);             // the child and all its descendants are watched
 *   ... poll(2) knell_fd(engine) for POLLIN, call knell_dispatch(engine) ...
 *   engine = knell_close(engine);
 *
 * Errors are returned as -errno; ret_* pointers are untouched on failure; knell_close(NULL) is
 * allowed. The library never prints, never exits and never aborts its host. An engine belongs to
 * one thread at a time: calls on the same engine must not overlap. Different engines are
 * independent of each other.
 */
#ifndef KNELL_KNELL_H
#define KNELL_KNELL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <knell/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct knell_engine;

/* knell_options.flags */
#define KNELL_O_THREADS (1u << 0) /* thread-level records too */
#define KNELL_O_ARGS    (1u << 1) /* arguments in exec records */
#define KNELL_O_FREE    (1u << 2) /* free records (and final accounts) */

/*
 * How to open an engine. Set `size` to sizeof(struct knell_options) and everything that you do not
 * care about to zero: zero always means the default. Bytes beyond what this library knows must be
 * zero, else -E2BIG.
 */
struct knell_options {
	size_t size;
	const char *source; /* "bpf", "ptrace", "none"; NULL or "auto": the best that works */
	uint32_t flags;     /* KNELL_O_* */
	uint32_t reserve;   /* descendants whose death is never lost: 32,768; at most 1,048,576 */
	uint32_t ring_size; /* bytes of each CPU's ring: 1 MiB, less where there are many CPUs */
	uint32_t batch_ms;  /* how long a stream may wait before it wakes you: 10; at most 1,000 */
};

/*
 * Opens an engine. -ENOTSUP: the source (with "auto": every source) is refused here; ask
 * knell_probe() why. -EINVAL: no such source, or an option out of range. -ENOMEM, -EMFILE, ...: as
 * the system says. On failure an explanation is in knell_last_error().
 */
int knell_open(struct knell_engine **ret_engine, const struct knell_options *options);

/* Closes it: unhears everything, frees everything. Watched tasks go on. Returns NULL. */
struct knell_engine *knell_close(struct knell_engine *engine);

/* What went wrong in this thread's last failed call, and what to do about it; "" if nothing did. */
const char *knell_last_error(void);

/* The name of the source in use, e.g. "bpf". */
const char *knell_source(const struct knell_engine *engine);

/* A descriptor that polls readable (POLLIN) when knell_dispatch() has something to do. */
int knell_fd(const struct knell_engine *engine);

/*
 * Delivers all that has happened to the watchers, in order. Never blocks. Returns how many records
 * were delivered, or -errno if the source broke (what was heard before has been delivered).
 */
int knell_dispatch(struct knell_engine *engine);

/*
 * Called for each record of the kinds in its mask, on the thread that calls knell_dispatch(). The
 * record is valid until it returns. A negative return is counted as an error of the watcher; it
 * changes nothing else: a watcher cannot veto. It must not call knell_close(), knell_fork() or
 * knell_dispatch() on its own engine.
 */
typedef int (*knell_watcher_fn)(const struct knell_event *event, void *userdata);

/* Adds a watcher, called after those that were added before. -ENOMEM, -EINVAL: empty mask. */
int knell_watcher_add(struct knell_engine *engine, uint32_t mask, knell_watcher_fn fn,
		      void *userdata);

/*
 * fork(2), with the child and all its descendants watched from birth: the child does not run one
 * instruction of the caller's before the watch is set. Returns as fork(2) does, but -errno on
 * failure. The child must end in exec or _exit; it must not use the engine.
 */
pid_t knell_fork(struct knell_engine *engine);

/*
 * A child of this process, dead and reaped, or stopped (WUNTRACED) or continued (WCONTINUED): its
 * status as wait(2) has it.
 */
typedef void (*knell_reap_fn)(pid_t pid, int status, void *userdata);

/*
 * Reaps children of this process that are dead, orphans that it adopted included (see
 * PR_SET_CHILD_SUBREAPER), and reports those that stopped or continued. It takes all of them: only
 * for programs whose every child is Knell's. Never blocks. With some sources (ptrace) the engine
 * has to wait for its tasks itself; this call then reports what it found. Call it on SIGCHLD and
 * after knell_dispatch(). Returns how many were reported, or -ECHILD when no child is left.
 */
int knell_reap(struct knell_engine *engine, knell_reap_fn fn, void *userdata);

/*
 * Reports each watched process that is alive now as a clone record with KNELL_F_RECONCILED, with
 * the name it has now. Dispatch first. Returns how many there are, or -errno.
 */
int knell_reconcile(struct knell_engine *engine);

/* Counters since the engine was opened. */
struct knell_stats {
	uint64_t records;     /* delivered to watchers, gaps not counted */
	uint64_t lost_births; /* the sums of all gaps delivered */
	uint64_t lost_deaths;
	uint64_t lost_others;
	uint64_t watcher_errors; /* negative returns of watchers */
	uint64_t wakeups;        /* times that the source woke us for an event */
	uint64_t reserve_used;   /* most slots in use at once */
};
void knell_get_stats(const struct knell_engine *engine, struct knell_stats *ret_stats);

/* What a source needs and whether it works here: for "doctor" commands and error messages. */
struct knell_probe {
	const char *name;    /* "bpf" */
	const char *summary; /* one line: what it hears */
	int error;           /* 0: works here; else -errno */
	char reason[256];    /* why not */
	char remedy[256];    /* what to do about it */
};

/*
 * Probes the source number `index` (0, 1, ... in the order in which "auto" tries them) by using it
 * for a moment. Returns 0, or -ENOENT when there is no such number.
 */
int knell_probe(unsigned int index, struct knell_probe *ret_probe);

/* The boot id that goes with every task identity of this boot, 36 characters and a NUL. */
int knell_boot_id(char ret_id[37]);

/* The file name of an exec record; "" if unknown. */
static inline const char *knell_exec_file(const struct knell_event *event)
{
	return (const char *)(&event->u.exec + 1);
}

/* The first of the arguments of an exec record: args_len bytes, each argument ends in a NUL. */
static inline const char *knell_exec_args(const struct knell_event *event)
{
	return knell_exec_file(event) + event->u.exec.file_len + 1;
}

/* Names, as they appear in JSON and in reports: "exit", "oom", ...; "?" for a number without one.
 */
const char *knell_kind_name(unsigned int kind);
const char *knell_reason_name(unsigned int reason);

#ifdef __cplusplus
}
#endif

#endif
