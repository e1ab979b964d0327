/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify_data.h - verify's own state, for the files that make it up:
 *   verify.c          opens and closes, hears a record and hands it to the rules
 *   verify_table.c    who lives, and who died lately
 *   verify_process.c  the rules for records of processes
 *   verify_thread.c   ... of threads
 *   verify_fields.c   ... for what is in one record, and for ids
 *   verify_numbers.c  ... for the numbers of each ring, and what gaps count
 *   verify_tell.c     violations: their texts, and what is held back until gaps were heard
 *   verify_end.c      the last look
 *
 * Locks. The tasks are in shards by process number, so records of different processes seldom meet;
 * each ring has a lock for its numbers, and one is for telling. That of telling may be
 * taken while one of the others is held, and no other two are held at once.
 */
#ifndef KNELL_WATCHERS_VERIFY_DATA_H
#define KNELL_WATCHERS_VERIFY_DATA_H

#include <pthread.h>

#include "verify.h"

#define VF_SHARDS  64u
#define VF_RINGS   8192u /* CPUs of the largest kernel */
#define VF_RANGES  256u
#define VF_HISTORY 8u
#define VF_HELD    256u
#define VF_TEXTS   32u
#define VF_THREADS 256u /* buckets of a shard */

/* What kind of loss may explain a violation. */
enum vf_class {
	VF_NEVER, /* none */
	VF_BIRTH,
	VF_DEATH,
	VF_OTHER,
	VF_CLASSES
};

/* One record, as the history has it. */
struct vf_note {
	uint64_t time;
	uint64_t seq;
	uint32_t ring;
	uint32_t flags;
	uint32_t tid;
	uint32_t detail; /* by kind: the parent, the old thread, the status, the effective id */
	uint8_t kind;
	uint8_t scope;
	bool vague; /* the detail is not known */
};

enum vf_state {
	VF_INITED = 1,
	VF_ALIVE,
	VF_DEAD,
	VF_FREED
};

/* The ids that the records told last. */
struct vf_ids {
	bool known;     /* the effective one */
	bool all_known; /* the others, too */
	uint32_t real, effective, saved, fs;
	uint64_t time; /* of the last change */
};

struct vf_thread {
	struct vf_thread *next;           /* in its bucket */
	struct vf_thread *before, *after; /* of its process */
	struct vf_life *life;
	uint64_t start;
	uint32_t tid;
	bool inited; /* its clone is still to come */
};

struct vf_life {
	struct vf_life *next;          /* in its bucket */
	struct vf_life *older, *newer; /* in the queue of the dead */
	struct vf_thread *threads;     /* without the leader */
	uint64_t start;                /* 0: known from its threads only */
	uint64_t died;
	uint64_t missing_since; /* CLOCK_MONOTONIC; 0: it is not. The last look's */
	uint32_t tgid;
	uint32_t ring;
	uint32_t replaced; /* a thread whose exit said so: it may be the one that runs exec */
	uint8_t state;     /* enum vf_state */
	bool whole;        /* heard from its birth on: all its threads are known */
	bool several;      /* had other threads since it last ran exec */
	bool vague;        /* its death was found out: its threads' may not be told */
	struct vf_ids uid, gid;
	char comm[KNELL_COMM_LEN];
	uint64_t notes; /* how many there were; the last VF_HISTORY are kept */
	struct vf_note note[VF_HISTORY];
};

struct vf_shard {
	pthread_mutex_t lock;
	struct vf_life **buckets; /* by process number */
	uint32_t mask;
	uint32_t count;
	uint32_t dead;
	struct vf_life *oldest, *newest; /* dead */
	uint64_t forgotten;              /* the last death of those that are not remembered */
	struct vf_thread *threads[VF_THREADS];
};

/* Numbers that were heard, from `from` up to but not `to`. */
struct vf_range {
	uint64_t from, to;
};

struct vf_ring {
	pthread_mutex_t lock;
	bool begun;
	uint64_t next;                    /* all before it were heard */
	struct vf_range above[VF_RANGES]; /* several reapers: heard beyond it, in order */
	uint32_t ranges;
};

/* A violation that a gap may explain. */
struct vf_held {
	enum vf_class class;
	uint64_t time;
	char *text;
};

struct verify {
	struct verify_options options;
	struct knell_engine *engine;
	uint32_t can, flags;
	bool births;   /* the source tells each birth */
	bool filtered; /* not everybody's */
	bool fresh;    /* nothing was delivered before we came */
	bool ids;      /* ... each change of ids, and everybody's ids */
	bool mixed;    /* gaps do not tell what they lost */
	uint64_t opened_at;
	uint32_t dead_max; /* in a shard */

	struct vf_shard shards[VF_SHARDS];
	struct vf_ring *rings[VF_RINGS]; /* made when first heard of; atomic */

	/* Atomic. */
	uint64_t heard;       /* records, without gaps */
	uint64_t met;         /* processes */
	uint64_t deaths_told; /* of processes */
	uint64_t unjudged;
	uint32_t held_count;
	uint64_t held_since;

	pthread_mutex_t tell_lock;
	uint64_t violations; /* atomic, too: read without the lock */
	char *texts[VF_TEXTS];
	size_t text_count;
	struct vf_held held[VF_HELD];
	uint64_t held_more[VF_CLASSES]; /* without a text */
	uint64_t lost[VF_CLASSES];      /* what gaps counted; VF_NEVER: of any kind */
	uint64_t excused[VF_CLASSES];   /* ... and what was excused by it */
	bool endless[VF_CLASSES];       /* a gap of at least so many */
	struct knell_gap told_lost;     /* sums */

	uint64_t look;    /* when the last look began: CLOCK_MONOTONIC */
	uint64_t missing; /* who were missing then */
};

/* verify_table.c. All but the last two with the shard locked. */
int vf_table_open(struct verify *v);
void vf_table_close(struct verify *v);
struct vf_shard *vf_shard_of(struct verify *v, uint32_t tgid);
struct vf_life *vf_find(const struct vf_shard *s, const struct knell_task_id *id);
struct vf_life *vf_find_any(const struct vf_shard *s, uint32_t tgid, uint64_t start);
struct vf_life *vf_add(struct verify *v, struct vf_shard *s, const struct knell_task_id *id);
void vf_remove(struct vf_shard *s, struct vf_life *life);
void vf_bury(struct verify *v, struct vf_shard *s, struct vf_life *life, uint64_t time);
struct vf_thread *vf_find_thread(const struct vf_shard *s, const struct vf_life *life,
				 uint32_t tid);
struct vf_thread *vf_add_thread(struct verify *v, struct vf_shard *s, struct vf_life *life,
				uint32_t tid, uint64_t start);
void vf_remove_thread(struct vf_shard *s, struct vf_thread *thread);
void vf_remove_threads(struct vf_shard *s, struct vf_life *life);
bool vf_threads_left(const struct vf_life *life);
void vf_each(struct verify *v, void (*fn)(struct verify *, struct vf_shard *, struct vf_life *));
void vf_blind(struct verify *v);

/* verify_process.c */
void vf_hear_process(struct verify *v, const struct knell_event *e);
bool vf_before_our_time(const struct verify *v, const struct vf_shard *s,
			const struct knell_event *e, uint64_t start);

/* verify_thread.c */
void vf_hear_thread(struct verify *v, const struct knell_event *e);
void vf_check_exec(struct verify *v, struct vf_shard *s, struct vf_life *life,
		   const struct knell_event *e);
void vf_check_last_threads(struct verify *v, const struct vf_life *life);

/* verify_fields.c */
bool vf_check_shape(struct verify *v, const struct knell_event *e);
void vf_check_exit(struct verify *v, const struct vf_life *life, const struct knell_event *e);
void vf_check_ids(struct verify *v, struct vf_life *life, const struct knell_event *e);

/* verify_numbers.c */
void vf_check_number(struct verify *v, const struct knell_event *e);
void vf_check_numbers_end(struct verify *v);
void vf_hear_gap(struct verify *v, const struct knell_event *e);
void vf_check_balance(struct verify *v);
void vf_numbers_close(struct verify *v);

/* verify_end.c: verify_check_end() without a look */
uint64_t vf_end(struct verify *v);

/* verify_tell.c. `life` may be NULL; the record is the one that is not as it should be. */
void vf_complain(struct verify *v, enum vf_class class, const struct vf_life *life,
		 const struct knell_event *e, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
void vf_note(struct vf_life *life, const struct knell_event *e);
void vf_settle(struct verify *v, uint64_t before);
void vf_settle_old(struct verify *v, uint64_t now);

#endif
