/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ring.c - see ring.h. The layout (a consumer page, a producer page, the data twice; each record
 * behind a 64-bit header whose length word has a busy and a discard bit) is the kernel's ABI.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "ring.h"

/* After so many looks the writer's CPU has probably been taken away: let others run. */
#define SPINS_BEFORE_YIELD 1000

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int ring_map(struct ring *ring, int fd, size_t size)
{
	size_t page = page_size();
	void *map;

	ring->fd = fd;
	ring->size = size;
	map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	ring->consumer = map;
	map = mmap(NULL, page + 2 * size, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (map == MAP_FAILED) {
		int error = -errno;

		munmap(ring->consumer, page);
		ring->consumer = NULL;
		return error;
	}
	ring->producer = map;
	ring->data = (const char *)map + page;
	return 0;
}

int ring_create(struct ring *ring, size_t size)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "knell_ring", 0, 0, (__u32)size, NULL);
	int r;

	if (fd < 0)
		return fd;
	r = ring_map(ring, fd, size);
	if (r < 0) {
		close(fd);
		ring->fd = -1;
	}
	return r;
}

void ring_destroy(struct ring *ring, bool close_fd)
{
	size_t page = page_size();

	if (!ring->consumer)
		return;
	munmap(ring->consumer, page);
	munmap((void *)(uintptr_t)ring->producer, page + 2 * ring->size);
	ring->consumer = NULL;
	if (close_fd)
		close(ring->fd);
}

unsigned long ring_end(const struct ring *ring)
{
	/* Acquire: pairs with the kernel's release of the position after it claimed the record. */
	return __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
}

static uint32_t wait_committed(const uint32_t *length)
{
	for (unsigned int spins = 0;; spins++) {
		/* Acquire: pairs with the kernel's exchange when it commits the record. */
		uint32_t n = __atomic_load_n(length, __ATOMIC_ACQUIRE);

		if (!(n & BPF_RINGBUF_BUSY_BIT))
			return n;
		if (spins > SPINS_BEFORE_YIELD)
			sched_yield();
	}
}

const void *ring_next(struct ring *ring, unsigned long end)
{
	while (ring->at < end) {
		const char *header = ring->data + (ring->at & (ring->size - 1));
		uint32_t n = wait_committed((const uint32_t *)(const void *)header);
		uint32_t length = n & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		ring->at += (length + BPF_RINGBUF_HDR_SZ + 7) & ~7ul;
		if (!(n & BPF_RINGBUF_DISCARD_BIT))
			return header + BPF_RINGBUF_HDR_SZ;
	}
	return NULL;
}

void ring_release(struct ring *ring)
{
	/* Release: what we read is read before the kernel writes over it. */
	__atomic_store_n(ring->consumer, ring->at, __ATOMIC_RELEASE);
}

void ring_clear(struct ring *ring)
{
	ring->at = ring_end(ring);
	ring_release(ring);
}
