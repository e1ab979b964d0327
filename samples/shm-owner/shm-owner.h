/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * shm-owner.h - how a program talks to /dev/shm-owner.
 */
#ifndef SHM_OWNER_H
#define SHM_OWNER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SHM_OWNER_DEVICE "/dev/shm-owner"

/* A new segment of shared memory, which is there until its owner dies. */
struct shm_owner_register {
	__u64 bytes; /* in: at most 1 GiB */
	__u32 pid;   /* in: the owner; 0: the caller */
	__u32 reserved;
	__u64 id; /* out: never used again */
};

/* A descriptor of a segment, for mmap(2). What is mapped or open outlives the owner. */
struct shm_owner_open {
	__u64 id; /* in */
	__s32 fd; /* out */
	__u32 reserved;
};

struct shm_owner_counts {
	__u64 owners;     /* that have segments now */
	__u64 segments;   /* that are there now */
	__u64 registered; /* segments, since the module was loaded */
	__u64 freed;
};

/* EINVAL; ENOMEM; ESRCH: that process is dead, or was never there. */
#define SHM_OWNER_REGISTER _IOWR(0xd9, 1, struct shm_owner_register)
/* ENOENT: there is no such segment (any more). */
#define SHM_OWNER_OPEN   _IOWR(0xd9, 2, struct shm_owner_open)
#define SHM_OWNER_COUNTS _IOR(0xd9, 3, struct shm_owner_counts)

#endif
