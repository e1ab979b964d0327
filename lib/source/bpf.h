/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf.h - the bpf source's own state, for the files that make it up:
 *   bpf.c         opens and closes; dispatch, for the host; starts watched children
 *   bpf_home.c    sleeps and wakes; reapers, one for each home
 *   bpf_load.c    loads the programs, and says what is missing if the kernel refuses
 *   bpf_slots.c   the slots: free lists, lists of news, what was told of each
 *   bpf_reap.c    drains lists and rings, in an order that is causal
 *   bpf_ids.c     changes of ids that come beside the rings
 *   bpf_record.c  turns a slot into records
 *   bpf_adopt.c   takes in processes that live already
 */
#ifndef KNELL_BPF_SOURCE_H
#define KNELL_BPF_SOURCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../bpf/layout.h"
#include "ids.h"
#include "ring.h"
#include "source.h"

struct knell_bpf; /* the skeleton */

/* Watches in use: see KNELL_WATCH_* in bpf/layout.h. */
#define WATCHES (KNELL_WATCH_STREAM + 1u)

/* What a round works with: all homes while the host dispatches, one home with reapers. */
struct bpf_round {
	struct bpf_source *s;
	uint32_t first, end; /* homes: from this one, before that one */
	uint32_t *batch;     /* slots with something to tell */
	size_t batch_count;
	uint32_t *link;      /* of each slot: the way back down a chain of births */
	unsigned long *ends; /* of each ring: how far this round reads it */
};

/* Changes of ids that wait for their place among the records of the rings; see bpf_ids.c. */
struct held_ids {
	struct held_change {
		struct ids_change change;
		uint64_t number; /* as they came */
		uint32_t slot;
		bool told;
	} * all; /* by time */
	size_t count, room;
	size_t at; /* how far this home's are told */
	uint64_t next_number;
	uint64_t lost; /* for want of memory */
};

struct bpf_source {
	struct knell_source base;
	struct knell_options options;
	struct knell_bpf *skel;
	int epoll_fd;
	int timer_fd;

	/* Shared with the kernel. */
	uint32_t cpus;
	uint32_t slot_count; /* slot 0 is not used */
	uint32_t interest_count;
	uint64_t *interest;
	struct knell_slot *slots;
	struct knell_head *heads;
	struct knell_watch_entry *watches;
	struct ring *rings;
	struct ring bell;

	/* Of one home each: its reaper's, or the host's. */
	uint8_t *told;   /* of each slot: TOLD_*; written for its home only */
	uint32_t *newer; /* of each slot: the dead that wait for their free, in both directions; */
	uint32_t *older; /* the head of a home's list is at waiting_head() */
	uint64_t *lost_seen;     /* of each ring: what gaps have told so far */
	struct bpf_round *homes; /* of each home, with reapers; else NULL */

	/* Whoever needs it. */
	uint8_t *birth;   /* of each slot: enum bpf_birth */
	uint64_t *cookie; /* of each slot: of the watch that its events belong to */
	uint64_t in_use;
	uint64_t in_use_peak;
	uint64_t wakeups;
	bool reconcile_due; /* a stream has lost something: tell who is alive when it is quiet */
	pthread_mutex_t order_lock; /* for knell_adopt's order, and arming a fork */
	pthread_mutex_t lost_lock;  /* for these: */
	uint64_t lost_births_seen[WATCHES];
	uint64_t lost_deaths_seen[WATCHES];
	uint64_t missed_seen;

	struct bpf_round all; /* for the host */
	struct ids *ids;      /* where the kernel refuses trampolines: changes of ids; else NULL */
	struct held_ids held;
	bool hears_ids; /* the kernel allows trampolines: ids come from commit_creds() */
};

/* bpf_source.birth: any reaper may tell a birth, because a child's comes after it. */
enum bpf_birth {
	BIRTH_UNTOLD,
	BIRTH_CLAIMED, /* somebody tells it now */
	BIRTH_TOLD
};

/* bpf_source.told */
#define TOLD_EXIT (1u << 0)
#define TOLD_FREE (1u << 1)

/* bpf_load.c */
int bpf_source_load(struct bpf_source *s);
void bpf_source_own_bells(struct bpf_source *s, bool own);
void bpf_source_unload(struct bpf_source *s);
int bpf_source_probe(struct knell_probe *probe);
uint64_t bpf_source_missed(const struct bpf_source *s);
int bpf_source_whoami(const struct bpf_source *s, uint32_t *ret_tgid, uint32_t *ret_tid);

/*
 * bpf_adopt.c: lets the kernel's task iterator take in living processes, see enum knell_adopt_mode.
 * `pidfd` -1: all processes. Answers are written into `order`. 0 or -errno.
 */
int bpf_adopt(struct bpf_source *s, struct knell_adopt *order, int pidfd);
int bpf_watch(struct knell_source *source, int pidfd, uint32_t flags, uint64_t cookie,
	      struct knell_task_id *ret_id);
int bpf_follow_stream(struct bpf_source *s);

/* bpf_slots.c */
int slots_init(struct bpf_source *s);
void slots_destroy(struct bpf_source *s);
uint32_t pool_take(struct bpf_source *s);
void pool_put(struct bpf_source *s, uint32_t index);
uint32_t news_take(struct bpf_source *s, uint32_t home);
uint32_t waiting_head(const struct bpf_source *s, uint32_t home);
void waiting_add(struct bpf_source *s, uint32_t index);
void waiting_remove(struct bpf_source *s, uint32_t index);
bool slot_give_back(struct bpf_source *s, uint32_t index);

/* bpf_reap.c: 0 or -ENOMEM */
int bpf_round_init(struct bpf_round *r, struct bpf_source *s, uint32_t first, uint32_t end);
void bpf_round_destroy(struct bpf_round *r);
void bpf_reap_round(struct bpf_round *r);
bool bpf_anything_waits(struct bpf_round *r);
bool bpf_urgent_waits(const struct bpf_round *r);
int bpf_reconcile(struct bpf_source *s);
void bpf_tell_missed(struct bpf_source *s);

/* bpf.c: the host is to dispatch soon */
void bpf_come_back(const struct bpf_source *s);

void bpf_tell_birth(struct bpf_round *r, uint32_t index);
bool bpf_exit_told(const struct bpf_source *s, uint32_t index);

/*
 * bpf_ids.c: takes what the socket has, tells those of one home up to a time (again from the first
 * after bpf_ids_next_home()), and forgets those that were told.
 */
void bpf_ids_take(struct bpf_source *s);
void bpf_ids_tell(struct bpf_round *r, uint32_t home, uint64_t until);
void bpf_ids_next_home(struct bpf_source *s);
void bpf_ids_end(struct bpf_source *s);

/* bpf_home.c */
bool bpf_go_to_sleep(struct bpf_round *r, bool busy);
bool bpf_rounds(struct bpf_round *r, bool *busy);
int bpf_split(struct knell_source *source);
void bpf_join(struct knell_source *source);
int bpf_home_fd(const struct knell_source *source, uint32_t home);
int bpf_reap_home(struct knell_source *source, uint32_t home);
bool bpf_reconcile_due(const struct knell_source *source);

/* bpf_record.c */
void deliver_birth(struct bpf_source *s, uint32_t index, uint32_t flags);
void deliver_exit(struct bpf_source *s, uint32_t index, bool freed);
void deliver_free(struct bpf_source *s, uint32_t index, uint32_t flags);
void deliver_ids(struct bpf_source *s, uint32_t index, const struct ids_change *change);

#endif
