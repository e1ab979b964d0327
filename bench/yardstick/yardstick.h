/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * yardstick.h - how bench/kmod-cost talks to the yardstick.
 */
#ifndef KNELL_BENCH_YARDSTICK_H
#define KNELL_BENCH_YARDSTICK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define YARDSTICK_DEVICE "/dev/yardstick"

/* The argument is a pid, as the caller's namespace has it. */
#define YARDSTICK_REGISTER _IO(0xd9, 1)

/* Waits until the worker has nothing to do. */
#define YARDSTICK_WAIT _IO(0xd9, 2)

struct yardstick_counts {
	__u64 queued;  /* exits */
	__u64 dropped; /* exits that found the queue full */
	__u64 handled; /* deaths of those that were registered */
};

#define YARDSTICK_COUNTS _IOR(0xd9, 3, struct yardstick_counts)

#endif
