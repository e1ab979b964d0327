/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf_adopt.c - takes in processes that live already, by the kernel's own task iterator: the one
 * that a pidfd names, a subtree, all that a stream's filter lets pass, or those that found no slot
 * at their birth. The program (adopt() in bpf/adopt.h) stores first and checks then, so a
 * process that is dying meanwhile is told all the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "bpf.h"
#include "knell.skel.h"

/* A subtree that grows faster than this many passes take it in is as good as a fork bomb. */
#define PASSES 64

/* What the iterator wrote: whole records of processes for which there was no slot. */
struct written {
	char *data;
	size_t size;
	size_t room;
};

/* After the iterator is done: a watcher may have an order of its own. */
static void deliver_records(struct bpf_source *s, const struct written *w)
{
	size_t at = 0;

	while (w->size - at >= KNELL_EVENT_HEAD) {
		struct knell_event event;
		uint32_t size;

		memcpy(&size, w->data + at, sizeof(size));
		if (size < KNELL_EVENT_HEAD || size > w->size - at || size > sizeof(event))
			return;
		memcpy(&event, w->data + at, size);
		event.cookie = 0;
		knell_engine_deliver(s->base.engine, &event);
		at += size;
	}
}

static bool make_room(struct written *w)
{
	size_t room = w->room ? 2 * w->room : 16384;
	char *grown;

	if (w->room - w->size >= 4096)
		return true;
	grown = realloc(w->data, room);
	if (!grown)
		return false;
	w->data = grown;
	w->room = room;
	return true;
}

/* The kernel hands out whole records at each read, as many as fit. */
static int read_all(struct written *w, int fd)
{
	for (;;) {
		ssize_t n;

		if (!make_room(w))
			return -ENOMEM;
		n = read(fd, w->data + w->size, w->room - w->size);
		if (n == 0)
			return 0;
		if (n > 0)
			w->size += (size_t)n;
		else if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
}

/* The order is one for all programs: one thread at a time. */
static int run_iterator(struct bpf_source *s, struct knell_adopt *order, int pidfd,
			struct written *written)
{
	union bpf_iter_link_info which = { 0 };
	LIBBPF_OPTS(bpf_iter_attach_opts, options);
	struct bpf_link *link;
	int fd, r;

	if (pidfd >= 0) {
		which.task.pid_fd = (__u32)pidfd;
		options.link_info = &which;
		options.link_info_len = sizeof(which);
	}
	s->skel->bss->order = *order;
	link = bpf_program__attach_iter(s->skel->progs.adopt, &options);
	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link));
	r = fd < 0 ? -errno : read_all(written, fd);
	if (fd >= 0)
		close(fd);
	bpf_link__destroy(link);
	*order = s->skel->bss->order;
	return r;
}

int bpf_adopt(struct bpf_source *s, struct knell_adopt *order, int pidfd)
{
	struct written written = { 0 };
	int r;

	pthread_mutex_lock(&s->order_lock);
	r = run_iterator(s, order, pidfd, &written);
	pthread_mutex_unlock(&s->order_lock);
	deliver_records(s, &written);
	free(written.data);
	return r;
}

/* Those who live below what is watched with all its descendants; again, until none is new. */
static int adopt_children(struct bpf_source *s)
{
	for (int pass = 0; pass < PASSES; pass++) {
		struct knell_adopt order = { .mode = ADOPT_CHILDREN, .slot_flags = SLOT_INHERIT };
		int r = bpf_adopt(s, &order, -1);

		if (r < 0)
			return r;
		if (order.refused)
			return -ENOSPC;
		if (!order.adopted)
			return 0;
	}
	return 0;
}

/*
 * A zombie whose exit was told before this watch was set, or is being told now. Its slot may be
 * given back since the iterator saw it, and be another process's: then `told` speaks of that one.
 * If it is not told yet it stays so, and the slot what it is, while the caller has the lock of the
 * watches: its reaper asks them after it has said so.
 */
static bool was_told_before(const struct bpf_source *s, const struct knell_adopt *order)
{
	const struct knell_slot *slot = &s->slots[order->slot];
	uint32_t state;

	/* Sequentially consistent: pairs with say_once(). */
	if (__atomic_load_n(&s->told[order->slot], __ATOMIC_SEQ_CST) & TOLD_EXIT)
		return true;
	state = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
	return state == SLOT_FREE || state == SLOT_LEAVING || slot->task.start != order->start;
}

int bpf_watch(struct knell_source *source, int pidfd, uint32_t flags, uint64_t cookie,
	      struct knell_task_id *ret_id)
{
	struct bpf_source *s = (struct bpf_source *)source;
	struct knell_adopt order = {
		.mode = ADOPT_THIS,
		.watch = KNELL_WATCH_TREE,
		.slot_flags = SLOT_ROOT | (flags & KNELL_W_SUBTREE ? SLOT_INHERIT : 0) |
			      (flags & KNELL_WATCH_QUIET ? SLOT_QUIET : 0),
	};
	struct knell_task_id id;
	int r;

	r = bpf_adopt(s, &order, pidfd);
	if (r < 0)
		return r == -ESRCH ? r
				   : knell_fail(r, "cannot look at the process: %s", strerror(-r));
	if (!order.slot && order.refused)
		return knell_fail(-ENOSPC, "the reserve of %u is used up; ask for a larger one",
				  s->options.reserve);
	if (!order.slot)
		return -ESRCH;
	id = s->slots[order.slot].task;
	if (was_told_before(s, &order)) {
		/* Or it is being told now: then its reaper looks for us next. */
		if (id.start == order.start)
			*ret_id = id;
		return -EALREADY;
	}
	*ret_id = id;
	if (cookie)
		__atomic_store_n(&s->cookie[order.slot], cookie, __ATOMIC_RELEASE);
	if (!(flags & KNELL_W_SUBTREE))
		return 0;
	r = adopt_children(s);
	return r < 0 ? knell_fail(r, "cannot take in all descendants: %s", strerror(-r)) : 0;
}

int bpf_follow_stream(struct bpf_source *s)
{
	struct knell_adopt order = { .mode = ADOPT_STREAM, .watch = KNELL_WATCH_STREAM };

	return bpf_adopt(s, &order, -1);
}
