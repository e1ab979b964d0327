/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * slot.h - how the programs find, take and hand over slots, and how they wake the reaper. No locks:
 * every list is changed by one compare-and-swap, from any CPU and from soft interrupts.
 */
#ifndef KNELL_SLOT_H
#define KNELL_SLOT_H

#include "task.h"

/* Tries of all compare-and-swaps of one list operation. Each failed one is somebody's success. */
#define LIST_TRIES 256

/*
 * Stores what says that all that was stored before it may be looked at. On x86 every store does; to
 * exchange would wait for the line, which is still with the CPU of the reaper that had it last.
 */
static __always_inline void publish(__u32 *at, __u32 value)
{
#ifdef __TARGET_ARCH_x86
	asm volatile("" ::: "memory");
	*(volatile __u32 *)at = value;
#else
	__sync_lock_test_and_set(at, value);
#endif
}

static __always_inline struct knell_slot *slot_at(__u32 index)
{
	return index ? bpf_map_lookup_elem(&slots, &index) : NULL;
}

static __always_inline struct knell_head *head_at(__u32 cpu)
{
	return bpf_map_lookup_elem(&heads, &cpu);
}

static __always_inline struct knell_watch_entry *watch_at(__u32 watch)
{
	return bpf_map_lookup_elem(&watches, &watch);
}

static __always_inline __u64 *interest_at(__u32 tgid)
{
	return bpf_map_lookup_elem(&interest, &tgid);
}

/* Where the events of a process without a slot go. */
static __always_inline __u32 home_of(__u32 tgid)
{
	return tgid % cpu_count;
}

struct take {
	__u32 cpu; /* whose list is tried now */
	__u32 empty;
	__u32 index;
};

/* One try, as bpf_loop() wants it: 1 ends the loop. */
static long slot_try(__u32 i, void *context)
{
	struct take *take = context;
	struct knell_head *head = head_at(take->cpu % cpu_count);
	struct knell_slot *slot;
	__u64 old, new;

	if (!head)
		return 1;
	old = *(volatile __u64 *)&head->free;
	slot = slot_at((__u32)old);
	if (!slot) {
		take->cpu = (take->cpu + 1) % cpu_count;
		return ++take->empty >= cpu_count;
	}
	new = ((old >> 32) + 1) << 32 | *(volatile __u32 *)&slot->next;
	if (__sync_val_compare_and_swap(&head->free, old, new) != old)
		return 0;
	take->index = (__u32)old;
	return 1;
}

/*
 * Takes a slot from this CPU's free list, or from the next CPU's that has one. Returns
 * (pool << 32 | slot), 0 if there is none. Pairs with pool_put() in lib/source/bpf_slots.c.
 */
static __always_inline __u64 slot_take(void)
{
	struct take take = { .cpu = bpf_get_smp_processor_id() % cpu_count };

	bpf_loop(LIST_TRIES + cpu_count, slot_try, &take, 0);
	return take.index ? (__u64)take.cpu << 32 | take.index : 0;
}

/*
 * Gives back a slot that was taken in vain. Each failed try is another one's success, so that many
 * in a row do not happen; if they did, the reserve would be smaller by one slot. A global function:
 * the verifier looks at it once, not once on each way to it.
 */
__noinline int slot_put(__u32 pool, __u32 index)
{
	struct knell_head *head = head_at(pool);
	struct knell_slot *slot = slot_at(index);

	if (!head || !slot)
		return 0;
	for (int i = 0; i < LIST_TRIES; i++) {
		__u64 old = *(volatile __u64 *)&head->free;
		__u64 new = ((old >> 32) + 1) << 32 | index;

		*(volatile __u32 *)&slot->next = (__u32)old;
		if (__sync_val_compare_and_swap(&head->free, old, new) == old)
			return 0;
	}
	return 0;
}

/*
 * Where each home has a reaper its own ring is its bell: the reaper waits for edges, and only a
 * forced wake-up makes one. False: that ring is full, so who hears the common bell wakes all.
 */
static __always_inline bool ring_at_home(__u32 home)
{
	void *ring = bpf_map_lookup_elem(&rings, &home);
	void *record = ring ? bpf_ringbuf_reserve(ring, 8, 0) : NULL;

	if (!record)
		return false;
	bpf_ringbuf_discard(record, BPF_RB_FORCE_WAKEUP);
	return true;
}

/* Global: the verifier looks at it once, not once on each way to it. */
__noinline int ring_bell(__u32 home)
{
	void *record;

	if (own_bells && ring_at_home(home))
		return 0;
	record = bpf_ringbuf_reserve(&bell, 8, 0);
	if (record) /* else it rings already, unheard so far */
		bpf_ringbuf_discard(record, BPF_RB_FORCE_WAKEUP);
	return 0;
}

/*
 * Rings the bell if the reaper sleeps deeply enough. The exchange pairs with the exchange and
 * re-check in go_to_sleep() of lib/source/bpf_home.c: one of the two sees the other.
 */
static __always_inline void wake(__u32 home, struct knell_head *head, bool immediate)
{
	__u32 depth = *(volatile __u32 *)&head->sleeping;

	if (depth == AWAKE || (depth == SLEEP_BATCH && !immediate))
		return;
	if (!__sync_lock_test_and_set(&head->sleeping, AWAKE))
		return;
	__sync_fetch_and_add(&head->bells, 1);
	ring_bell(home);
}

/* After a record went into a ring: a batch may wait, but not until the ring is full. */
static __always_inline void wake_for_ring(__u32 home, struct knell_head *head, void *ring)
{
	if (*(volatile __u32 *)&head->sleeping != AWAKE)
		wake(home, head, bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > ring_size / 2);
}

/*
 * Puts the slot on its home's list. If that fails the reaper looks at every slot. A global
 * function: the verifier looks at it once, not once on each way to it.
 */
__noinline int push_news(__u32 home, __u32 index)
{
	struct knell_head *head = head_at(home);
	struct knell_slot *slot = slot_at(index);
	__u64 old;

	if (!head || !slot)
		return 0;
	old = *(volatile __u64 *)&head->news;
	for (int i = 0; i < LIST_TRIES; i++) {
		__u64 seen;

		*(volatile __u32 *)&slot->next = (__u32)old;
		seen = __sync_val_compare_and_swap(&head->news, old, index);
		if (seen == old)
			return 0;
		old = seen;
	}
	slot->unlisted = 1;
	head->sweep = 1;
	return 0;
}

/*
 * There is something to tell of this slot: the first bit that is set queues it. From then on the
 * reaper may give it back: nothing here touches it afterwards. Global, too.
 */
__noinline int tell(__u32 index, __u32 what)
{
	struct knell_slot *slot = slot_at(index);
	struct knell_head *head;
	__u32 home, flags;

	if (!slot)
		return 0;
	home = slot->home;
	flags = slot->flags;
	head = head_at(home);
	if (!head)
		return 0;
	/* Before the or: whoever looks for news after it was cleared finds the slot, or the bell.
	 */
	if (what & SLOT_EXIT && flags & SLOT_ROOT)
		head->urgent = 1;
	if (!__sync_fetch_and_or(&slot->pending, what))
		push_news(home, index);
	if (what == SLOT_EXIT && flags & SLOT_QUIET)
		return 0;
	wake(home, head, what & SLOT_EXIT && flags & SLOT_ROOT);
	return 0;
}

/* When this process started: with its number, what tells it from all others. */
static __always_inline __u64 start_of(struct task_struct *task)
{
	return task->group_leader->start_boottime;
}

/* The slot of the process that started then, if it is watched and has one. */
static __always_inline struct knell_slot *slot_of(__u64 start, __u64 entry)
{
	struct knell_slot *slot = slot_at(KNELL_INTEREST_SLOT(entry));

	if (!slot || *(volatile __u64 *)&slot->task.start != start)
		return NULL; /* an earlier process with the same number */
	return slot;
}

/*
 * As slot_of(), for a program that runs while the process may be dead and its slot given back: NULL
 * unless it is in this state, and stays so until slot_leave(). Pairs with slot_give_back() in
 * lib/source/bpf_slots.c.
 */
static __always_inline struct knell_slot *slot_enter(__u64 start, __u64 entry, __u32 state)
{
	struct knell_slot *slot = slot_of(start, entry);

	if (!slot)
		return NULL;
	__sync_fetch_and_add(&slot->writers, 1);
	if (*(volatile __u32 *)&slot->state == state && slot_of(start, entry) == slot)
		return slot;
	__sync_fetch_and_sub(&slot->writers, 1);
	return NULL;
}

/* As slot_enter(), alive or dead: NULL if the slot was given back, or is about to be. */
static __always_inline struct knell_slot *slot_enter_any(__u64 start, __u64 entry)
{
	struct knell_slot *slot = slot_of(start, entry);
	__u32 state;

	if (!slot)
		return NULL;
	__sync_fetch_and_add(&slot->writers, 1);
	state = *(volatile __u32 *)&slot->state;
	if (state != SLOT_FREE && state != SLOT_LEAVING && slot_of(start, entry) == slot)
		return slot;
	__sync_fetch_and_sub(&slot->writers, 1);
	return NULL;
}

static __always_inline void slot_leave(struct knell_slot *slot)
{
	__sync_fetch_and_sub(&slot->writers, 1);
}

#endif
