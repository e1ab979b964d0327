/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * source.h - what the engine asks of a source of events, and what it gives to one.
 *
 * A source owns whatever brings events in (maps and rings, a tracer thread, a socket) and turns
 * them into struct knell_event records, which it hands to knell_engine_deliver() on the thread that
 * called its dispatch. The engine knows sources only through this table, in the order of
 * knell_sources[]; nobody else knows them at all.
 */
#ifndef KNELL_SOURCE_H
#define KNELL_SOURCE_H

#include <stdbool.h>

#include <knell/knell.h>

/* knell_source_ops.can */
#define KNELL_CAN_FORK    (1u << 0)  /* watch a subtree from its birth: knell_fork() */
#define KNELL_CAN_WATCH   (1u << 1)  /* tell the exit of a process that somebody else started */
#define KNELL_CAN_SUBTREE (1u << 2)  /* ... and its descendants' lives */
#define KNELL_CAN_STREAM  (1u << 3)  /* every process of the system */
#define KNELL_CAN_EXIT    (1u << 4)  /* moments of death: before it is dead */
#define KNELL_CAN_FREE    (1u << 5)  /* ... after it is released */
#define KNELL_CAN_STATUS  (1u << 6)  /* the status of every death that it tells */
#define KNELL_CAN_CAUSE   (1u << 7)  /* who sent the signal that killed */
#define KNELL_CAN_IDS     (1u << 8)  /* uid and gid records */
#define KNELL_CAN_THREADS (1u << 9)  /* thread-level records */
#define KNELL_CAN_FILE    (1u << 10) /* exec: the file name */
#define KNELL_CAN_ARGS    (1u << 11) /* exec: the arguments */
#define KNELL_CAN_COMM    (1u << 12) /* the name at every moment */
#define KNELL_CAN_USAGE   (1u << 13) /* what a process used */
#define KNELL_CAN_CGROUP  (1u << 14)
#define KNELL_CAN_OWNER   (1u << 15) /* uid and gid of every record */

/* A source's own state: each embeds this first in its struct. */
struct knell_source {
	const struct knell_source_ops *ops;
	struct knell_engine *engine;
	unsigned int rings; /* how many sequences of numbers its records have; 0 counts as 1 */
};

struct knell_source_ops {
	const char *name;
	const char *summary;

	/*
	 * True for a source that `auto` must not take by itself ("none").
	 */
	bool explicit_only;

	/*
	 * Does it work here? Returns 0, or -errno with the reason and the remedy filled in. Tries
	 * the real thing, leaves nothing behind.
	 */
	int (*probe)(struct knell_probe *probe);

	/*
	 * Options are complete: the engine has replaced each zero by its default, but for
	 * ring_size, whose default is the source's own. On failure call
	 * knell_fail() with the reason and return -errno.
	 */
	int (*open)(struct knell_source **ret_source, struct knell_engine *engine,
		    const struct knell_options *options);
	void (*close)(struct knell_source *source);

	/* Polls readable when dispatch has something to do; -1: never. */
	int (*fd)(const struct knell_source *source);

	/* Hands over all that has happened. Never blocks. 0 or -errno. NULL: nothing ever happens.
	 */
	int (*dispatch)(struct knell_source *source);

	/* knell_fork(). NULL: plain fork. */
	pid_t (*fork)(struct knell_source *source);

	/*
	 * Takes in a living process that somebody else started: from now on its records are
	 * delivered, with this cookie (0: none), its exit exactly once; with KNELL_W_SUBTREE those
	 * of its descendants, too, also of those that live already. The pidfd is the caller's, and
	 * open until the verdict. Stored first, then checked: if it returns 0 the exit record will
	 * come, also of a process that is a zombie by now. Fills in its identity as its records
	 * will have it. -ESRCH: it is gone. -ENOTSUP, -ENOSPC, ... NULL: cannot.
	 */
	int (*watch)(struct knell_source *source, int pidfd, uint32_t flags, uint64_t cookie,
		     struct knell_task_id *ret_id);

	/* knell_reap(). NULL: the engine waits for children itself. */
	int (*reap)(struct knell_source *source, knell_reap_fn fn, void *userdata);

	/* knell_reconcile(). NULL: nobody is watched. */
	int (*reconcile)(struct knell_source *source);

	/* KNELL_CAN_*: what it can do, for the engine and for docs/sources.md. */
	uint32_t can;

	/* Fills in what only the source knows (wakeups, reserve_used). May be NULL. */
	void (*stats)(const struct knell_source *source, struct knell_stats *stats);
};

/* NULL-terminated, in the order in which `auto` tries them. */
extern const struct knell_source_ops *const knell_sources[];

extern const struct knell_source_ops knell_source_bpf;
extern const struct knell_source_ops knell_source_ptrace;
extern const struct knell_source_ops knell_source_none;

/*
 * Hands one record to the watchers. The engine fills in `version` and `seq`; everything else is the
 * source's to fill in.
 */
void knell_engine_deliver(struct knell_engine *engine, struct knell_event *event);

/* Does any watcher ask for this kind? */
bool knell_engine_wants(const struct knell_engine *engine, enum knell_kind kind);

/* CLOCK_BOOTTIME now, in ns. */
uint64_t knell_now(void);

/* Opens an engine on this source, whether it is in knell_sources[] or not: unit tests do so. */
int knell_open_source(struct knell_engine **ret_engine, const struct knell_source_ops *ops,
		      const struct knell_options *options);

/* Sets knell_last_error() of this thread and returns `error` (-errno), so that it can be returned.
 */
int knell_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
