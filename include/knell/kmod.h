/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kmod.h - how to talk to the kernel module: the ioctls of /dev/knell.
 *
 * An open file of the device is a session. It is given watches, and read(2) returns whole records
 * of event.h, as many as fit. Each ioctl takes a structure that begins with its own size: a longer
 * one than the module knows is accepted if what it does not know is zero (else E2BIG), a shorter
 * one means zeros. docs/kmod.md has the rest.
 */
#ifndef KNELL_KMOD_H
#define KNELL_KMOD_H

#include <linux/ioctl.h>
#include <linux/types.h>

#include <knell/event.h>

#define KNELL_KMOD_DEVICE "/dev/knell"

/* knell_kmod_watch.flags */
#define KNELL_KMOD_SUBTREE (1u << 0) /* also each descendant, living already or born later */
#define KNELL_KMOD_DEAD    (1u << 1) /* exits are told when memory and files are gone */
#define KNELL_KMOD_ALL     (1u << 2) /* everybody, living already or born later; pidfd is -1 */
#define KNELL_KMOD_FOUND   (1u << 3) /* tell that the process itself lives: a clone record */
#define KNELL_KMOD_GROUP   (1u << 4) /* nobody yet, but who joins it; pidfd is -1 */
#define KNELL_KMOD_JOIN    (1u << 5) /* the process joins a watch of flag ALL or GROUP */
#define KNELL_KMOD_CAUSE   (1u << 6) /* exits tell who sent the signal that killed */

/* knell_kmod_watch.match: whom ALL takes in, as struct knell_filter has it. 0: everybody. */
#define KNELL_KMOD_MATCH_UID    (1u << 0)
#define KNELL_KMOD_MATCH_CGROUP (1u << 1)
#define KNELL_KMOD_MATCH_COMM   (1u << 2)

/* What knell_kmod_watch.mask may ask for; the exit is told always. */
#define KNELL_KMOD_KINDS                                                                           \
	(KNELL_MASK(KNELL_INIT) | KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXEC) |               \
	 KNELL_MASK(KNELL_UID) | KNELL_MASK(KNELL_GID) | KNELL_MASK(KNELL_EXIT) |                  \
	 KNELL_MASK(KNELL_FREE))

/* KNELL_IOC_WATCH */
struct knell_kmod_watch {
	__u32 size;     /* in: sizeof(struct knell_kmod_watch) */
	__s32 pidfd;    /* in: of the process; -1: see KNELL_KMOD_ALL */
	__u32 flags;    /* in: KNELL_KMOD_* */
	__u32 mask;     /* in: KNELL_MASK() of the kinds wanted */
	__u64 cookie;   /* in: comes back in each record */
	__u32 reserve;  /* in: subtree, all, group: others that can be told of at a time */
	__u32 reserved; /* 0 */
	__u64 start;    /* out: the process's identity, as its records have it; all: 0 */
	__u32 tgid;     /* out */
	__u32 reserved2;
	__u64 group;  /* in: join: the cookie of the watch that is joined */
	__u64 cgroup; /* in: match: its id */
	__u32 match;  /* in: all: KNELL_KMOD_MATCH_* */
	__u32 uid;    /* in: match: effective, as the initial user namespace numbers it */
	char comm[KNELL_COMM_LEN];
};

/*
 * KNELL_IOC_ARM: the next process that the calling thread makes joins a watch, with its
 * descendants, before it runs. Or not, if `on` is 0.
 */
struct knell_kmod_arm {
	__u32 size;
	__u32 on;
	__u64 group;  /* the cookie of the watch that is joined: of flag ALL or GROUP */
	__u64 cookie; /* comes back in each record */
};

/* KNELL_IOC_LIVING: tells again of each process that is watched and lives: clone, reconciled. */
struct knell_kmod_living {
	__u32 size;
	__u32 reserved; /* 0 */
};

/* KNELL_IOC_UNWATCH: ends all watches of the session that have this cookie. */
struct knell_kmod_unwatch {
	__u32 size;
	__u32 reserved; /* 0 */
	__u64 cookie;
};

/* KNELL_IOC_STATS: of the whole module since it was loaded, but for `peak`. */
struct knell_kmod_stats {
	__u32 size;
	__u32 sessions; /* open now, or closed and not yet forgotten */
	__u64 watches;  /* places for watches: living, dead and unread, reserved */
	__u64 news;     /* times that a watch was put on a CPU's list */
	__u64 wakeups;  /* times that this woke a reaper */
	__u64 rounds;   /* times that a reaper took a list */
	__u64 longest;  /* the longest list that was taken */
	__u64 moved;    /* news that came from a CPU that went offline */
	__u64 missed;   /* probes of ids and of the moment `dead` that the kernel skipped */
	__u64 peak;     /* of this session: places of reserves in use, at most */
};

#define KNELL_IOC_WATCH   _IO(0xd8, 1)
#define KNELL_IOC_UNWATCH _IO(0xd8, 2)
#define KNELL_IOC_STATS   _IO(0xd8, 3)
#define KNELL_IOC_ARM     _IO(0xd8, 4)
#define KNELL_IOC_LIVING  _IO(0xd8, 5)

/* Sizes of the first version: never less. */
#define KNELL_KMOD_WATCH_SIZE1   48u
#define KNELL_KMOD_UNWATCH_SIZE1 16u
#define KNELL_KMOD_STATS_SIZE1   64u
#define KNELL_KMOD_ARM_SIZE1     24u
#define KNELL_KMOD_LIVING_SIZE1  8u

KNELL_ASSERT_SIZE(knell_kmod_watch, 88);
KNELL_ASSERT_SIZE(knell_kmod_arm, KNELL_KMOD_ARM_SIZE1);
KNELL_ASSERT_SIZE(knell_kmod_living, KNELL_KMOD_LIVING_SIZE1);
KNELL_ASSERT_SIZE(knell_kmod_unwatch, KNELL_KMOD_UNWATCH_SIZE1);
KNELL_ASSERT_SIZE(knell_kmod_stats, 72);

#endif
