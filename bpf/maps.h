/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * maps.h - the maps and settings of the BPF programs. Sizes that depend on the machine (pid_max,
 * CPUs, reserve) are set by the library before it loads them.
 */
#ifndef KNELL_MAPS_H
#define KNELL_MAPS_H

#include "kernel.h"

#include <bpf/bpf_helpers.h>

#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} interest SEC(".maps");

/*
 * Bits, set and never cleared: which numbers and which tasks may be watched. See hint.h. All are
 * static: so libbpf does not let user space map them, and the kernel puts them where nothing is
 * mapped page by page.
 */
#define HINT_WORDS 1024u
#define FEW_WORDS  8u

static struct {
	__u64 few_tasks[FEW_WORDS];
	__u64 tasks[HINT_WORDS];
	__u64 numbers[HINT_WORDS];
} hints SEC(".data.hints") = { 0 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct knell_slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct knell_head);
} heads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KNELL_MAX_WATCH);
	__type(key, __u32);
	__type(value, struct knell_watch_entry);
} watches SEC(".maps");

/* One ring for each CPU; the library makes them and puts them in. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_RINGBUF);
			__uint(max_entries, 4096);
		});
} rings SEC(".maps");

/* Carries nothing: a forced wake-up on it is heard even behind records that wait unread. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} bell SEC(".maps");

#define EXEC_FILE_MAX 4096u
#define EXEC_ARGS_MAX 16384u

/* An exec record of any length is put together here; the program cannot be interrupted by itself.
 */
struct exec_scratch {
	__u8 head[KNELL_EVENT_HEAD];
	struct knell_exec exec;
	char data[EXEC_FILE_MAX + EXEC_ARGS_MAX + 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_scratch);
} scratch SEC(".maps");

const volatile __u32 cpu_count = 1;
const volatile __u32 ring_size = 4096;
const volatile __u32 page_size = 4096;
const volatile bool want_threads = false;
const volatile bool want_args = false;
const volatile bool stream = false; /* tell of every process that the filter lets pass */
const volatile struct knell_pass filter = { 0 };

/* The pid namespace in whose numbers records speak: written by whoami(). */
__u32 ns_level = 0;
__u32 ns_inum = 0;
__u32 own_tid = 0;
__u32 own_tgid = 0;

/* Each home has a reaper of its own, who waits at its ring: see ring_bell(). */
__u32 own_bells = 0;

/* The order to adopt(), and its answer. */
struct knell_adopt order = { 0 };

#endif
