/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector.h - the connector source's own state, for the files that make it up:
 *   connector.c            opens, closes, sleeps and wakes
 *   connector_socket.c     the netlink socket (used by ids.c, too)
 *   connector_msg.c        takes messages apart, counts what is missing
 *   connector_mark.c       makes every CPU send a message, so that the count is final
 *   connector_table.c      the tasks that are alive
 *   connector_life.c       births, exec, names and ids
 *   connector_death.c      exits, and what the status of a process is
 *   connector_record.c     makes records
 *   connector_proc.c       reads /proc
 *   connector_reconcile.c  finds out who lives: at the beginning, and after a loss
 *   connector_watch.c      watches: children of ours, and processes that live already
 */
#ifndef KNELL_CONNECTOR_H
#define KNELL_CONNECTOR_H

#include <pthread.h>
#include <sched.h>

#include <urcu/list.h>

#include "connector_socket.h"
#include "sleep.h"
#include "source.h"

/* liburcu's lists go from a member to its struct by way of char *. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wcast-align"
#endif

/* cn_task.known */
#define CN_UID  (1u << 0)
#define CN_GID  (1u << 1)
#define CN_COMM (1u << 2)

struct cn_task {
	struct cn_task *next;         /* in its bucket */
	struct cds_list_head sibling; /* of its process; not the leader */
	struct cn_process *process;
	uint64_t start; /* CLOCK_BOOTTIME, ns */
	uint32_t tid;
	bool alive;
	uint8_t known;     /* CN_*: what is known of ... */
	uint32_t losses;   /* ... if nothing was lost since */
	uint32_t uid, gid; /* effective */
	char comm[KNELL_COMM_LEN];
};

/* Exit codes of the threads that are dead, as far as they say what the process's status is. */
struct cn_codes {
	int signalled; /* that of a thread that a signal killed; 0: none */
	int leader;
	int early; /* that of a thread that ended before the leader, if it is not 0 */
	bool leader_known;
	bool odd; /* another thread's differs, so that it may be the process's */
};

struct cn_process {
	struct cn_task leader; /* first: a process is found by its leader */
	struct cds_list_head node;
	struct cds_list_head threads; /* without the leader */
	struct cds_list_head found;   /* in cn_source.found: to be announced */
	struct cds_list_head dying;   /* in cn_source.dying: its pidfd says that it is dead */
	unsigned int live;            /* threads alive, the leader among them */
	struct knell_task_id parent;  /* tid 0: not known */
	struct cn_codes codes;
	uint64_t cookie;
	uint64_t since;     /* CLOCK_MONOTONIC: events before this are another one's */
	uint64_t exec_time; /* CLOCK_MONOTONIC: of the last exec */
	uint64_t left_time; /* CLOCK_MONOTONIC: of the last exit of a thread, not the leader */
	uint64_t seen;      /* CLOCK_MONOTONIC: when /proc was read, for one that was found there */
	uint32_t losses;    /* its threads are all known, if nothing was lost since */
	uint32_t pass;      /* the pass that found it alive */
	bool root;
	bool forked;             /* by knell_fork() */
	bool subtree;            /* its children are watched, too */
	bool passes;             /* the stream's filter lets it pass */
	bool counted;            /* in cn_source.watched */
	bool taken;              /* exec: the new leader's ids are known already */
	uint8_t mixed;           /* CN_*: what is not the same for all of its threads */
	bool expected;           /* knell_fork() made it, and its birth is still to be heard */
	bool told;               /* its birth, or that it lives */
	bool ghost;              /* its death was told, but not heard yet */
	bool was_dead;           /* a zombie when the watch was set */
	int pidfd;               /* of a watch; ours */
	uint64_t dying_since;    /* CLOCK_MONOTONIC */
	struct cn_process *late; /* who had this pid before, and whose death is still to be heard */
	struct cn_reaped *reaped;
};

/* A child that knell_reap() waited for, but whose death was not told yet. */
struct cn_reaped {
	struct cds_list_head node;
	struct cn_process *process; /* NULL: told */
	pid_t pid;
	int status;
	bool root;
	uint64_t time; /* CLOCK_MONOTONIC */
};

struct cn_table {
	struct cn_task **buckets;
	size_t size; /* a power of two */
	size_t used;
};

/* See connector_mark.c. */
struct cn_marker {
	pthread_t thread;
	bool running;
	bool stop;
	uint32_t count;
	bool *cpus; /* which ones */
};

struct cn_source {
	struct knell_source base;
	struct knell_options options;
	bool stream;
	struct cn_socket socket;
	struct cn_sequence sequence;
	struct cn_marker marker;
	struct source_sleep sleep;
	uint64_t batch; /* ns */

	struct cn_table table;
	struct cds_list_head processes;
	struct cds_list_head found; /* processes that are to be announced */
	struct cds_list_head dying;
	struct cds_list_head reaped;
	struct cds_list_head unreaped; /* children of knell_fork() whose death was told before */
	uint32_t self;
	uint64_t self_start;
	uint64_t init_start;
	bool proc_works;
	uint64_t boot_offset; /* CLOCK_BOOTTIME - CLOCK_MONOTONIC */

	uint32_t losses;        /* how often something was lost */
	uint32_t reconciled_at; /* `losses` when the last pass began */
	uint32_t pass;
	uint64_t pass_cost; /* ns, of the last one */
	uint64_t pass_end;  /* CLOCK_MONOTONIC */
	uint64_t mark_due;  /* CLOCK_MONOTONIC; 0: no */
	uint64_t deadline;  /* CLOCK_MONOTONIC: dispatch wants to be called then; 0: no */

	uint64_t heard;    /* messages */
	uint64_t taken_in; /* processes that lived when their watch was set */
	uint64_t watched;  /* processes that are told of */
	uint64_t watched_peak;
};

/* When the message was sent, for a record. */
static inline uint64_t cn_boot(const struct cn_source *s, const struct cn_message *m)
{
	return m->event.timestamp_ns + s->boot_offset;
}

/* connector.c */
void cn_need_by(struct cn_source *s, uint64_t deadline);
bool cn_drain(struct cn_source *s);

/* connector_mark.c */
void cn_mark(struct cn_marker *marker, const struct cn_sequence *sequence, bool all);
bool cn_mark_wait(struct cn_marker *marker, unsigned int ms);
void cn_mark_close(struct cn_marker *marker);

/* connector_table.c */
int cn_table_open(struct cn_table *table);
void cn_table_close(struct cn_source *s);
struct cn_task *cn_find(const struct cn_source *s, uint32_t tid);
struct cn_process *cn_find_process(const struct cn_source *s, uint32_t tgid);
struct cn_process *cn_make_process(void);
int cn_add_process(struct cn_source *s, struct cn_process *p, uint32_t tgid);
struct cn_task *cn_add_thread(struct cn_source *s, struct cn_process *p, uint32_t tid);
void cn_remove_thread(struct cn_source *s, struct cn_task *task);
void cn_detach(struct cn_source *s, struct cn_process *p);
void cn_remove_process(struct cn_source *s, struct cn_process *p);
void cn_free_process(struct cn_source *s, struct cn_process *p);
bool cn_knows(const struct cn_source *s, const struct cn_task *task, uint8_t what);
void cn_learn(const struct cn_source *s, struct cn_task *task, uint8_t what);
void cn_forget(struct cn_task *task, uint8_t what);
void cn_inherit(const struct cn_source *s, struct cn_task *child, const struct cn_task *parent);

/* connector_life.c */
void cn_handle(struct cn_source *s, const struct cn_message *m);
bool cn_is_early(const struct cn_source *s, const struct cn_process *p);
bool cn_wanted(const struct cn_source *s, const struct cn_process *p);
void cn_check_filter(struct cn_source *s, struct cn_process *p);
void cn_announce_found(struct cn_source *s);
void cn_bury_quietly(struct cn_source *s, struct cn_process *p, struct cn_process *next);
void cn_bury(struct cn_source *s, struct cn_process *p, struct cn_process *next);

/* connector_death.c */
void cn_presume_late(struct cn_source *s, struct cn_process *p);
void cn_exited(struct cn_source *s, const struct cn_message *m);
void cn_presume_dead(struct cn_source *s, struct cn_process *p);
void cn_settle_dying(struct cn_source *s);

/* connector_record.c */
struct cn_status {
	bool known;
	int status;
};
void cn_tell_birth(struct cn_source *s, const struct cn_process *p, const struct cn_task *task,
		   const struct cn_message *m);
void cn_tell_alive(struct cn_source *s, struct cn_process *p);
void cn_tell_exec(struct cn_source *s, const struct cn_process *p, const struct cn_message *m,
		  uint32_t old_tid);
void cn_tell_ids(struct cn_source *s, const struct cn_task *task, const struct cn_message *m);
void cn_tell_exit(struct cn_source *s, const struct cn_process *p, const struct cn_task *task,
		  const struct cn_message *m, struct cn_status status);
void cn_tell_replaced(struct cn_source *s, const struct cn_task *task, const struct cn_message *m);
struct knell_task_id cn_identify(const struct cn_source *s, uint32_t tgid);

/* connector_proc.c */
struct cn_proc {
	uint32_t pid;
	uint32_t ppid;
	uint32_t threads;
	char state;
	uint64_t start; /* CLOCK_BOOTTIME, ns, to a clock tick */
	char comm[KNELL_COMM_LEN];
};
bool cn_proc_stat(uint32_t pid, struct cn_proc *ret_proc);
bool cn_proc_ids(uint32_t pid, uint32_t *ret_uid, uint32_t *ret_gid);
bool cn_proc_works(void);
uint64_t cn_proc_tick(void);
int cn_proc_each(int (*fn)(uint32_t pid, void *userdata), void *userdata);
int cn_proc_threads(uint32_t pid, int (*fn)(uint32_t tid, void *userdata), void *userdata);
static inline bool cn_is_dead(char state)
{
	return state == 'Z' || state == 'X' || state == 'x';
}

/* connector_reconcile.c */
int cn_first_look(struct cn_source *s);
void cn_reconcile_pass(struct cn_source *s);
int cn_reconcile(struct cn_source *s);
int cn_adopt_subtree(struct cn_source *s);
bool cn_refresh_threads(struct cn_source *s, struct cn_process *p);
void cn_refresh(struct cn_source *s, struct cn_process *p, const struct cn_proc *proc);

/* connector_watch.c */
pid_t cn_fork(struct knell_source *source);
int cn_watch(struct knell_source *source, int pidfd, uint32_t flags, uint64_t cookie,
	     struct knell_task_id *ret_id);
int cn_reap(struct knell_source *source, knell_reap_fn fn, void *userdata);
void cn_hear_pidfds(struct cn_source *s);
void cn_note_unreaped(struct cn_source *s, const struct cn_process *p);
void cn_release_pidfd(struct cn_source *s, struct cn_process *p);

#endif
