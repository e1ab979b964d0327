/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * hint.h - the first question of every program: can this process be one that is watched? The
 * interest table knows, but it is large and shared with the library, so it lies in memory that is
 * mapped page by page: for a process that nobody watches the look there costs a miss of the cache
 * and one of the TLB, and to find its number when it is freed one more, 60 to 100 ns in all. Here
 * are 8 KiB of bits by number, and as many by the task's address, close together and rarely
 * written; a stream has all of them set, so that nobody has to ask whether there is one.
 *
 * Numbers come one after the other, and 512 of them share a line. The tasks that are freed lie
 * anywhere, and each look for one was a miss: so 64 bytes that stay in the cache while many are
 * freed are asked first. With a dozen watched they answer for nearly all others.
 *
 * A bit is set before the interest entry is, and stays: one that is set in vain costs a look into
 * the table.
 */
#ifndef KNELL_HINT_H
#define KNELL_HINT_H

#include "maps.h"

static __always_inline bool has_bit(const __u64 *word, __u32 bit)
{
	return *(const volatile __u64 *)word >> bit % 64 & 1;
}

static __always_inline void set_bit(__u64 *word, __u32 bit)
{
	if (!has_bit(word, bit))
		__sync_fetch_and_or(word, 1ull << bit % 64);
}

/*
 * A task fills a page and more, and those of a storm lie in few pages: one bit for each. The
 * verifier lets nobody calculate with a pointer, but makes a number of the difference of two; where
 * the other one points does not matter.
 */
static __always_inline __u32 address_bit(const void *task)
{
	return (__u32)(((unsigned long)task - (unsigned long)&own_tid) / 4096);
}

/* May the process with this number be watched? */
static __always_inline bool may_watch(__u32 tgid)
{
	return has_bit(&hints.numbers[tgid / 64 % HINT_WORDS], tgid);
}

static __always_inline __u64 *few_tasks_at(__u32 bit)
{
	return &hints.few_tasks[bit / 64 % FEW_WORDS];
}

static __always_inline __u64 *tasks_at(__u32 bit)
{
	return &hints.tasks[bit / 64 % HINT_WORDS];
}

/* May this task be the leader of a watched process? It is not looked into. */
static __always_inline bool may_watch_task(const void *task)
{
	__u32 bit = address_bit(task);

	return has_bit(few_tasks_at(bit), bit);
}

/* The same, with fewer in vain. */
static __always_inline bool may_well_watch_task(const void *task)
{
	__u32 bit = address_bit(task);

	return has_bit(tasks_at(bit), bit);
}

static __always_inline void hint_number(__u32 tgid)
{
	set_bit(&hints.numbers[tgid / 64 % HINT_WORDS], tgid);
}

static __always_inline void hint_leader(const void *task)
{
	__u32 bit = address_bit(task);

	set_bit(tasks_at(bit), bit);
	set_bit(few_tasks_at(bit), bit);
}

#endif
