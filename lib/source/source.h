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

/*
 * A flag of the op `watch`, beside KNELL_W_*: the engine waits for the pidfd anyway, so the exit
 * need not wake it. Only what may be told late, not what may be left out; may be ignored.
 */
#define KNELL_WATCH_QUIET (1u << 31)

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
	 * True for a source that hears no death by itself ("pidfd"): then the exit records of
	 * watched processes, as the engine learns them from their pidfds, are its records.
	 */
	bool deaths_by_pidfd;

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
	 * will have it. -ESRCH: it is gone; -EALREADY: its exit was told before, or, with reapers,
	 * is being told: then the identity is filled in if it is known. -ENOTSUP, -ENOSPC, ...
	 * NULL: cannot.
	 */
	int (*watch)(struct knell_source *source, int pidfd, uint32_t flags, uint64_t cookie,
		     struct knell_task_id *ret_id);

	/* knell_reap(). NULL: the engine waits for children itself. */
	int (*reap)(struct knell_source *source, knell_reap_fn fn, void *userdata);

	/* knell_reconcile(). NULL: nobody is watched. */
	int (*reconcile)(struct knell_source *source);

	/*
	 * Reapers: a source may have several homes, as many as `rings`, and all records of a
	 * process come from one of them, but for its birth. NULL: it has one, and dispatch tells
	 * all.
	 *
	 * After split() each home is reaped by itself, by one thread at a time; after join() by
	 * dispatch again. -ENOTSUP: it has one home as it was opened. While it is split other ops
	 * but dispatch and reconcile may be called by any thread.
	 */
	int (*split)(struct knell_source *source);
	void (*join)(struct knell_source *source);

	/* Becomes readable (EPOLLIN, by edges only) when the sleeper of this home is woken. */
	int (*home_fd)(const struct knell_source *source, uint32_t home);

	/*
	 * Hands over what waits at this home. Returns after how many ms it wants to be called again
	 * at the latest; 0: at once, there is more; -1: when home_fd() says so.
	 */
	int (*reap_home)(struct knell_source *source, uint32_t home);

	/* fd() is readable: does what is no home's. True: each home is to be reaped now. */
	bool (*rest)(struct knell_source *source);

	/* Wants reconcile() when it is quiet. */
	bool (*reconcile_due)(const struct knell_source *source);

	/* KNELL_CAN_*: what it can do, for the engine and for docs/sources.md. */
	uint32_t can;

	/* Fills in what only the source knows (wakeups, reserve_used). May be NULL. */
	void (*stats)(const struct knell_source *source, struct knell_stats *stats);
};

/* NULL-terminated, in the order in which `auto` tries them. */
extern const struct knell_source_ops *const knell_sources[];

extern const struct knell_source_ops knell_source_bpf;
extern const struct knell_source_ops knell_source_kmod;
extern const struct knell_source_ops knell_source_connector;
extern const struct knell_source_ops knell_source_ptrace;
extern const struct knell_source_ops knell_source_pidfd;
extern const struct knell_source_ops knell_source_none;

/*
 * Hands one record to the watchers. The engine fills in `version` and `seq`; everything else is the
 * source's to fill in.
 */
void knell_engine_deliver(struct knell_engine *engine, struct knell_event *event);

/* The record of what was lost, now, in this ring. `flags`: KNELL_F_AT_LEAST or 0. */
void knell_engine_deliver_gap(struct knell_engine *engine, uint32_t ring,
			      const struct knell_gap *gap, uint32_t flags);

/* Does any watcher ask for this kind? */
bool knell_engine_wants(const struct knell_engine *engine, enum knell_kind kind);

/* CLOCK_BOOTTIME now, in ns. */
uint64_t knell_now(void);

/* Opens an engine on this source, whether it is in knell_sources[] or not: unit tests do so. */
int knell_open_source(struct knell_engine **ret_engine, const struct knell_source_ops *ops,
		      const struct knell_options *options);

/* What to do about an error (-errno) that means a limit, wherever it comes from; else NULL. */
const char *knell_remedy(int error);

/*
 * Sets knell_last_error() of this thread and returns `error` (-errno), so that it can be returned.
 * Where the text has strerror(3)'s words for it the remedy follows.
 */
int knell_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
