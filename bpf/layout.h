/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * layout.h - the memory that the BPF programs and the library share: slots, heads, watches, and the
 * short record that tells of a birth. Everything here is mapped by both, so nothing may be moved
 * without the other side.
 *
 * Interest table: an array indexed by the kernel's tgid. An entry is 0 for a process that nobody
 * watches, else (watch << 32 | slot): slot 0 says that there was no slot left for it. The entry of
 * a process with a slot stays until the slot is given back; whether it speaks of the task at hand
 * or of an earlier one with the same number is told by the slot's start time.
 *
 * Who may touch a slot:
 *   SLOT_FREE     it is on a free list, or just taken from one: its taker's alone
 *   SLOT_ALIVE    birth fields are constant; name and signals are written by the kernel
 *   SLOT_DYING    one thread of the dead process fills in the death
 *   SLOT_DEAD     death fields are constant, `freed` is written when the kernel frees the task;
 *                 `pending` says what the reaper has not told yet
 *   SLOT_LEAVING  the reaper waits for the last writer, then it is free again
 * A program that runs on behalf of another task than the one it writes about counts itself in
 * `writers`, and looks at state and start time after that. The reaper sets SLOT_LEAVING, and looks
 * at `writers` after that. Both are full barriers: one of the two steps back.
 */
#ifndef KNELL_LAYOUT_H
#define KNELL_LAYOUT_H

#include <knell/event.h>

#define KNELL_CACHE_LINE 64
#define KNELL_MAX_WATCH  64 /* entries of the watch table; 0 is not used */

/* Watch number 1 is that of knell_fork() and of the single watches; 2 is that of the stream. */
#define KNELL_WATCH_TREE   1u
#define KNELL_WATCH_STREAM 2u

/* Interest entries. */
#define KNELL_ARMED              0x80000000u /* the next child of this thread gets this very slot */
#define KNELL_INTEREST(watch, s) ((__u64)(watch) << 32 | (s))
#define KNELL_INTEREST_SLOT(e)   ((__u32)(e) & ~KNELL_ARMED)
#define KNELL_INTEREST_WATCH(e)  ((__u32)((e) >> 32))

enum knell_slot_state {
	SLOT_FREE,
	SLOT_ALIVE,
	SLOT_DYING,
	SLOT_DEAD,
	SLOT_LEAVING
};

/* knell_slot.pending: the first bit that is set puts the slot on its home's list. */
#define SLOT_BORN    (1u << 0) /* the birth is to be told */
#define SLOT_EXIT    (1u << 1) /* the death is to be told */
#define SLOT_FREED   (1u << 2) /* the kernel freed the task */
#define SLOT_RETIRED (1u << 3) /* its pid was used again before we saw it freed */

/* knell_slot.flags */
#define SLOT_ROOT       (1u << 0) /* the watch was set on this task */
#define SLOT_MISSED     (1u << 1) /* its death was not seen: certain, but status unknown */
#define SLOT_FREE_USAGE (1u << 2) /* freed.runtime is filled in */
#define SLOT_INHERIT    (1u << 3) /* its children are watched, too */
#define SLOT_FOUND      (1u << 4) /* it was alive when it was taken in: its birth was not heard */
#define SLOT_FOUND_DEAD (1u << 5) /* and it was dead by then: when it died is not known */
#define SLOT_QUIET      (1u << 6) /* nobody waits for its exit itself: its pidfd wakes */

#define KNELL_RSS_UNKNOWN (~0ull)

/* CPU times as the kernel books them: see cpu_times() in lib/source/bpf_record.c. */
struct knell_raw_usage {
	__u64 utime;
	__u64 stime;
	__u64 runtime; /* exact sum of both */
	__u64 maxrss;  /* bytes, or KNELL_RSS_UNKNOWN */
	__u64 minflt;
	__u64 majflt;
};

/* What is known of a task at one moment of its life. */
struct knell_moment {
	__u64 time; /* CLOCK_BOOTTIME */
	__u64 cgroup;
	struct knell_task_id parent;
	__u32 uid;
	__u32 gid;
	__u32 cpu;
	__u32 reserved;
	char comm[KNELL_COMM_LEN];
};

/* knell_slot.signal */
enum knell_slot_signal {
	SIGNAL_KILL,  /* the KILL that ended it */
	SIGNAL_TERM,  /* the last TERM, INT or HUP */
	SIGNAL_OTHER, /* the last other signal that its default action made deadly */
	KNELL_SLOT_SIGNALS
};

/*
 * One group for each moment of its life, and each has cache lines of its own: when it comes, a line
 * is fetched from the CPU of the reaper that read it last.
 */
struct knell_slot {
	__u32 next; /* in a free list, or in that of its home */
	__u32 state;
	__u32 pending;
	__u32 flags;
	__u32 watch;
	__u32 home; /* the ring and the list that all events of this process go to */
	__u32 pool; /* the free list that it goes back to */
	__u32 creator_slot;
	__u32 writers;  /* programs that are in it now, on behalf of others */
	__u32 interest; /* where its interest entry is: the kernel's tgid */
	__u64 creator_start;
	struct knell_task_id task;

	struct knell_moment birth;

	__u64 clone_flags;
	__u64 fork_rss;            /* what the kernel had as its peak at the first exec, bytes */
	char comm[KNELL_COMM_LEN]; /* its name now */
	__u32 exit_signal;
	__u32 execed;   /* has it run exec? */
	__u32 signals;  /* which of signal[] are filled in */
	__u32 unlisted; /* pending, but on no list: found by a sweep */
	struct {
		__u64 time;
		__u64 runtime; /* all that its threads ran, the last steps of their deaths included
				*/
	} freed;

	struct knell_moment death;

	__s32 status;
	__u32 cause; /* enum knell_reason, where the death itself shows it */
	struct knell_raw_usage usage;
	__u64 pad1;

	struct knell_signal signal[KNELL_SLOT_SIGNALS];
	__u64 pad2[5]; /* neighbours die on other CPUs */
};

/* One for each CPU. Each group has a cache line: reapers and CPUs write to different ones. */
struct knell_head {
	__u64 news; /* first slot of those with something to tell; pushed one by one, taken whole */
	__u64 pad0[7];
	__u64 free; /* tag << 32 | first slot of the free list; the tag makes a pop safe */
	__u64 pad1[7];
	__u32 sleeping; /* enum knell_sleep; exchanged to 0 by whoever rings the bell */
	__u32 urgent;   /* a death that wakes even from SLEEP_BATCH is, or will be, on the list */
	__u32 sweep;    /* a slot could not be pushed: look at every one */
	__u32 reserved;
	__u64 pad2[6];
	__u64 lost; /* exec, id and thread records that the ring refused */
	__u64 bells;
	__u64 pad3[6];
};

/* How a reaper sleeps, and so what wakes it. */
enum knell_sleep {
	AWAKE,
	SLEEP_BATCH, /* a timer will wake it: only what is immediate rings the bell */
	SLEEP_IDLE   /* nothing else will: anything rings it */
};

/* A watch: what its whole subtree shares. */
struct knell_watch_entry {
	__u64 lost_births; /* born beyond the reserve */
	__u64 lost_deaths;
	__u32 armed_tid; /* the thread whose next child is the root (the kernel's number) */
	__u32 reserved;
	__u64 reserved2;
};

/* What the iterator over all tasks is to do with each process. */
enum knell_adopt_mode {
	ADOPT_THIS,     /* take it in */
	ADOPT_CHILDREN, /* take it in if its parent's children are watched */
	ADOPT_STREAM,   /* take it in if the stream's filter lets it pass */
	ADOPT_LOST      /* give it a slot if there was none at its birth; else tell that it lives */
};

struct knell_adopt {
	__u32 mode;
	__u32 slot_flags; /* for ADOPT_THIS: SLOT_INHERIT, SLOT_ROOT */
	__u32 watch;
	/* Answers. */
	__u32 adopted; /* how many were taken in by this pass */
	__u32 refused; /* for how many there was no slot */
	__u32 slot;    /* the last one that was taken in, or found to be in already */
	__u64 start;   /* whose it is: by now it may be another one's */
};

/* Which processes a stream tells of. A process that passes once is followed until its death. */
struct knell_pass {
	__u64 cgroup;
	__u32 match; /* KNELL_MATCH_* of <knell/knell.h> */
	__u32 uid;
	char comm[KNELL_COMM_LEN];
};

KNELL_ASSERT_SIZE(knell_head, 4 * KNELL_CACHE_LINE);
KNELL_ASSERT_SIZE(knell_slot, 9 * KNELL_CACHE_LINE);

#endif
