/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report_table.h - the processes that the report has to remember one by one: those alive, and the
 * last few that died and whose final account may still come. A hash table by process number and
 * start over a pool of entries; it grows to the most that were in it at once and never shrinks.
 */
#ifndef KNELL_WATCHERS_REPORT_TABLE_H
#define KNELL_WATCHERS_REPORT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <knell/knell.h>

/* How many dead processes wait for their final account. */
#define DEAD_WINDOW 4096u

/* An index into the pool; entry 0 is never used. */
typedef uint32_t proc_ref;

struct proc {
	uint64_t start; /* identity: CLOCK_BOOTTIME, ns */
	uint32_t tgid;  /* identity */
	uint32_t threads;
	uint64_t died;
	struct knell_usage usage;
	uint32_t unknown; /* KNELL_U_TIMES, _RSS: of the usage; _STATUS */
	int status;
	uint32_t epoch;      /* when it was last found alive, see struct report */
	proc_ref next, prev; /* in the queue of the dead; next: in the free list */
	bool dead;
	bool guessed_start; /* `start` is when the source heard of its birth ... */
	bool late_stamp;    /* ... or of it at all */
	char comm[KNELL_COMM_LEN];
};

struct proc_table {
	struct proc *pool;
	uint32_t pool_size, pool_used;
	proc_ref free;
	proc_ref *slots; /* open addressing, at most half full; 0: empty */
	uint32_t slot_mask;
	uint32_t count;          /* entries in use */
	uint32_t dead;           /* of them, dead */
	proc_ref oldest, newest; /* queue of the dead */
};

void proc_table_done(struct proc_table *table);

/* The process with this identity, or NULL. Good until the next proc_add(). */
struct proc *proc_find(const struct proc_table *table, uint32_t tgid, uint64_t start);

/* The live process that has this number now: for threads, which know no more of it. */
struct proc *proc_find_live(const struct proc_table *table, uint32_t tgid);

/* A new entry, zero but for its identity; NULL: no memory. */
struct proc *proc_add(struct proc_table *table, uint32_t tgid, uint64_t start);

/* Puts it at the end of the queue of the dead. */
void proc_bury(struct proc_table *table, struct proc *proc);

/* The dead process that has waited longest, or NULL. */
struct proc *proc_oldest_dead(const struct proc_table *table);

/* Forgets a dead process. */
void proc_remove(struct proc_table *table, struct proc *proc);

#endif
