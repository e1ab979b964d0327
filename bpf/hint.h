/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * hint.h - the first question of every program: can this process be one that is watched? The
 * interest table knows, but it is large and shared with the library, so it lies in memory that is
 * mapped page by page: for a process that nobody watches the look there costs a miss of the cache
 * and one of the TLB, and to find its number when it is freed one more, 60 to 100 ns in all. Here
 * are 16 KiB of bits by number, and as many by the task's address, close together and rarely
 * written.
 *
 * A bit is set before the interest entry is, and stays: one that is set in vain costs a look into
 * the table.
 */
#ifndef KNELL_HINT_H
#define KNELL_HINT_H

#include "maps.h"

static __always_inline __u64 *hint_word(__u32 bit, __u32 base)
{
	__u32 at = base + bit / 64 % HINT_WORDS;

	return bpf_map_lookup_elem(&hints, &at);
}

static __always_inline bool hint_has(__u32 bit, __u32 base)
{
	__u64 *word = hint_word(bit, base);

	return word && *(volatile __u64 *)word >> bit % 64 & 1;
}

static __always_inline void hint_set(__u32 bit, __u32 base)
{
	__u64 *word = hint_word(bit, base);

	if (word && !(*(volatile __u64 *)word >> bit % 64 & 1))
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
	return stream || hint_has(tgid, 0);
}

/* May this task be the leader of a watched process? It is not looked into. */
static __always_inline bool may_watch_task(const void *task)
{
	return stream || hint_has(address_bit(task), HINT_WORDS);
}

static __always_inline void hint_number(__u32 tgid)
{
	hint_set(tgid, 0);
}

static __always_inline void hint_leader(const void *task)
{
	hint_set(address_bit(task), HINT_WORDS);
}

#endif
