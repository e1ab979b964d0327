/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ring.h - the reader's side of a BPF ring buffer. libbpf has one too, but it hides the positions:
 * a death that waits in a slot may be told only when its ring was read up to where the kernel
 * had written when the death was found, so the reaper needs to know where that is.
 */
#ifndef KNELL_RING_H
#define KNELL_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ring {
	int fd;
	size_t size;
	unsigned long *consumer;       /* ours, the kernel reads it to know what is free */
	const unsigned long *producer; /* the kernel's */
	const char *data;              /* mapped twice in a row, so that no record is cut */
	unsigned long at;              /* how far we have read */
};

/* Makes a ring of `size` bytes (a power of two, whole pages). 0 or -errno. */
int ring_create(struct ring *ring, size_t size);

/* Maps a ring that somebody else made; the caller keeps the fd. 0 or -errno. */
int ring_map(struct ring *ring, int fd, size_t size);

/* Unmaps it; closes the fd if ring_create() made it. Allowed on a zeroed or half-made ring. */
void ring_destroy(struct ring *ring, bool close_fd);

/* Where the kernel has written to. */
unsigned long ring_end(const struct ring *ring);

/*
 * The next record before `end`, NULL if there is none. Waits for one that is being written: its
 * writer runs with preemption off. Its memory is the kernel's again after ring_release().
 */
const void *ring_next(struct ring *ring, unsigned long end);

/* Gives back all that was read. */
void ring_release(struct ring *ring);

/* Forgets all that is unread. */
void ring_clear(struct ring *ring);

#endif
