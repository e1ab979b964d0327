/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch.h - the watches of an engine, for the files that make them up:
 *   watch.c       sets and cancels them; owns their memory and descriptors
 *   watch_hear.c  hears records and descriptors, and decides which verdict is due
 *   watch_find.c  finds processes by name and cgroup, those that live and those that are born
 *
 * A watch has a target for each process that waits for its verdict. A target is told once: whoever
 * has its verdict first takes it out of everything, and the others find it nowhere.
 */
#ifndef KNELL_WATCH_H
#define KNELL_WATCH_H

#include <stdbool.h>
#include <urcu/list.h>

#include <knell/knell.h>

#include "engine.h"

/* liburcu's own goes through char *, which clang takes for a cast to stricter alignment. */
#undef cds_list_entry
#define cds_list_entry(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* How long a zombie may take to be reaped, for its status' sake. Nobody may ever reap it. */
#define WATCH_GRACE_MS 100

enum target_kind {
	TARGET_TASK,
	TARGET_FD,    /* any descriptor; its hang-up is the death */
	TARGET_NOBODY /* was not there */
};

struct target {
	struct cds_list_head in_watch;
	struct target *chain_next;     /* tasks: in the table, by pid */
	struct target **chain_link;    /* what points here; NULL: not in the table */
	struct cds_list_head in_queue; /* due, grace, or a list of those at hand; or in none */
	struct knell_watch *watch;
	enum target_kind kind;
	uint32_t moment; /* enum knell_moment_of_death */
	pid_t pid;       /* for the verdict */
	int fd;          /* ours; -1: none */
	bool armed;      /* fd is in the engine's epoll */
	bool socket;     /* fd is one */
	bool heard;      /* the source tells its exit */
	bool held;       /* the exit record is in `event`, until the moment that was asked for */
	bool told;       /* its exit record went to the watchers */
	bool dead;       /* its pidfd was seen readable */
	bool released;   /* ... and hung up: it was reaped */
	bool inherited;  /* has its name only from its parent, and may get its own at exec */
	bool freed;      /* its free record was heard */
	bool has_status; /* `status` was seen before it was reaped */
	int status;
	uint64_t deadline;
	uint64_t
		kick; /* since it is dead its source was asked by this one: see reapers.h; 0: not */
	struct knell_task_id id;
	struct knell_event event; /* of its exit; no memory is asked for when it dies */
};

/* What a watch with KNELL_W_FUTURE looks for; see watch_find.c. */
struct finder;

struct knell_watch {
	struct knell_watches *watches;
	struct cds_list_head in_all;
	struct cds_list_head in_future; /* with KNELL_W_FUTURE, else in no list */
	struct cds_list_head targets;
	struct knell_watch_options options;
	struct finder *finder;
	unsigned int calls;   /* callbacks that run, or are about to: freed only after them */
	unsigned int waiters; /* threads in knell_watch_cancel(): freed only after them */
	bool forget;          /* nobody has a pointer to it: freed after its last verdict */
	bool cancelled;
};

/*
 * `lock` guards all of it, and is held by every function here but while a callback runs. Its place
 * is after the lock of a home (reapers.c) and before all locks of the source. A watch is set under
 * it, from asking the source to being in the table: no exit comes between.
 */
struct knell_watches {
	struct knell_engine *engine;
	pthread_mutex_t lock;
	pthread_cond_t called; /* a callback has returned, of a watch with waiters */
	uint32_t kinds;        /* mask of those that knell_watches_hear() wants; atomic */
	int timer_fd;          /* in the engine's epoll */
	struct cds_list_head all;
	struct cds_list_head future;
	struct cds_list_head due;   /* targets with nothing to wait for */
	struct cds_list_head grace; /* targets that wait for their deadline, in its order */
	struct target **table;
	uint32_t table_size; /* a power of two */
	uint32_t table_count;
	uint32_t armed;    /* targets in the engine's epoll */
	uint64_t timer_at; /* when timer_fd wakes us: CLOCK_BOOTTIME, ns; 0: never */
};

/* watch.c */
void target_put_in_table(struct target *t, const struct knell_task_id *id);
int target_arm(struct target *t, uint32_t events);
void target_disarm(struct target *t);
void target_queue(struct target *t, struct cds_list_head *queue);
struct target *target_take(struct cds_list_head *queue);
void target_unlink(struct target *t);
void target_free(struct target *t);
struct target *target_new(struct knell_watch *w, enum target_kind kind, int fd, pid_t pid);
int target_new_task(struct knell_watch *w, int pidfd, pid_t pid);
int target_new_nobody(struct knell_watch *w, pid_t pid);
int watch_add_pid(struct knell_watch *w, pid_t pid, int (*still)(struct knell_watch *, pid_t));
int knell_watch_begin(struct knell_engine *engine, struct knell_watch **ret,
		      const struct knell_watch_options *options, uint32_t flags);
int knell_watch_end(struct knell_watch *w, struct knell_watch **ret, int error);
void watch_settle(struct knell_watch *w);
void watches_set_timer(struct knell_watches *ws, uint64_t at);
struct knell_watches *knell_watches_free(struct knell_watches *ws);

/* Those of an engine; NULL: none was ever set. Sequentially consistent: pairs with bpf_watch(). */
static inline struct knell_watches *watches_of(const struct knell_engine *engine)
{
	return __atomic_load_n(&engine->watches, __ATOMIC_SEQ_CST);
}

static inline bool watches_want(const struct knell_watches *ws, enum knell_kind kind)
{
	return __atomic_load_n(&ws->kinds, __ATOMIC_RELAXED) & KNELL_MASK(kind);
}

static inline void watches_hear_kinds(struct knell_watches *ws, uint32_t kinds)
{
	__atomic_fetch_or(&ws->kinds, kinds, __ATOMIC_RELAXED);
}

/* The chain of the table that tasks with this pid are in. */
static inline struct target **watches_chain(const struct knell_watches *ws, uint32_t tgid)
{
	return &ws->table[(tgid * 2654435761u) >> 7 & (ws->table_size - 1)];
}

static inline bool target_is(const struct target *t, const struct knell_task_id *id)
{
	return t->id.tgid == id->tgid && t->id.start == id->start;
}

/* watch_hear.c: from outside, without the lock */
extern _Thread_local unsigned int watch_depth; /* callbacks that this thread is in */
void target_wait(struct target *t);
void knell_watches_hear(struct knell_watches *ws, const struct knell_event *event);
int knell_watches_dispatch(struct knell_watches *ws);
void knell_watches_before_reap(struct knell_watches *ws, pid_t pid);

/* watch_find.c */
void target_open_born(struct target *t);
void knell_watches_hear_birth(struct knell_watches *ws, const struct knell_event *event);
struct finder *finder_free(struct finder *finder);

#endif
