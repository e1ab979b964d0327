/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * support.h - what the tests of the kernel module share: loading it, sessions and watches, records
 * as they are read, and children that wait until they may die.
 *
 * They run in the virtual machine only (KNELL_VM is set there). KNELL_KMOD is the module's file.
 */
#ifndef KNELL_KMOD_TEST_SUPPORT_H
#define KNELL_KMOD_TEST_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <knell/kmod.h>

#define EXITS KNELL_MASK(KNELL_EXIT)
#define LIVES (KNELL_MASK_ALL & ~KNELL_MASK(KNELL_GAP))

/* 0 or -errno, as the kernel says. */
int module_load(const char *options);
int module_unload(void);
bool module_loaded(void);

/* Loads it, if it is not, with these options; a loaded one is unloaded first. Fails the test. */
void module_fresh(const char *options);

/* A module that uses it: its file beside KNELL_KMOD, and its name. 0 or -errno. */
#define HELLO     "samples/hello-watcher/hello-watcher.ko"
#define SHM_OWNER "samples/shm-owner/shm-owner.ko"
#define TEST_KO   "tests/kmod/module/knell-test.ko"
int other_load(const char *path, const char *options);
int other_unload(const char *name);

int session_open(int flags);

/* 0 or -errno. `request` may be NULL; then these values are all of it. */
int session_watch_pidfd(int session, int pidfd, uint32_t flags, uint32_t mask, uint64_t cookie,
			uint32_t reserve);
int session_watch(int session, pid_t pid, uint32_t flags, uint32_t mask, uint64_t cookie,
		  uint32_t reserve);

/* Sets a watch of flag GROUP, whose cookie is 5, and joins it or arms this thread. */
int group_set(int session, uint32_t mask, uint32_t reserve);
int group_join_pidfd(int session, int pidfd, uint32_t flags, uint64_t cookie);
int group_join(int session, pid_t pid, uint32_t flags, uint64_t cookie);
int group_arm(int session, uint32_t on, uint64_t cookie);

int session_unwatch(int session, uint64_t cookie);
struct knell_kmod_stats session_stats(int session);

int pidfd_of(pid_t pid);

/* One record, with room for the longest. */
struct heard {
	struct knell_event event;
	char name[256]; /* exec: the file */
};

struct hearing {
	struct heard *all;
	size_t count;
	uint64_t next_seq; /* each record is checked to follow */
};

/* Reads what is there, waiting up to `ms` for the first. Returns how many records came. */
size_t hear(struct hearing *hearing, int session, int ms);

/* Reads until there are `count` records; fails the test if none comes for 30 s. */
void hear_until(struct hearing *hearing, int session, size_t count);

/* The same, until there are so many of one kind. */
void hear_kind(struct hearing *hearing, int session, unsigned int kind, size_t count);

/*
 * Reads until none comes for 500 ms, and none is on its way: whoever was waited for has been heard,
 * but for his free. The session does not block.
 */
void drain(struct hearing *hearing, int session);

/* Fails the test if a record comes in 300 ms. */
void hear_nothing(int session);
void hearing_end(struct hearing *hearing);
const struct knell_event *heard_of(const struct hearing *hearing, pid_t pid, unsigned int kind);
size_t heard_count(const struct hearing *hearing, unsigned int kind);

/* What the gaps of a reserve say in all; fails the test if there are others. */
void heard_gaps(const struct hearing *hearing, uint64_t *births, uint64_t *deaths);

/*
 * A gate: children read from it and go on when it is opened. They die with the test.
 */
struct gate {
	int fds[2];
};

void gate_make(struct gate *gate);
void gate_open(struct gate *gate);
void gate_wait(const struct gate *gate); /* in the child */

/* fork(2) that does not fail; the child is killed when the test ends. */
pid_t spawn(void);

/* A child that waits at the gate and exits with this status. */
pid_t spawn_at(const struct gate *gate, int status);

/* waitpid(2) that does not fail: the status. */
int reap(pid_t pid);
void write_text(const char *path, const char *text);

/* The same, but it may fail: 0 or -errno. */
int write_error(const char *path, const char *text);
unsigned int cpus_online(void);

void add_storm_tests(Suite *suite);
void add_tree_tests(Suite *suite);
void add_session_tests(Suite *suite);
void add_living_tests(Suite *suite);
void add_joining_tests(Suite *suite);
void add_edge_tests(Suite *suite);
void add_wide_tests(Suite *suite);
void add_module_tests(Suite *suite);
void add_input_tests(Suite *suite);
void add_readers_tests(Suite *suite);
void add_crashes_tests(Suite *suite);
void add_waves_tests(Suite *suite);
void add_fail_tests(Suite *suite);
void add_fuzz_tests(Suite *suite);
void add_table_tests(Suite *suite);
void add_task_tests(Suite *suite);
void add_sample_tests(Suite *suite);

/* The modules that use knell.ko, unless they are not there. Who is watched must be dead. */
void others_unload(void);

/* Adds a case with a limit for each of its tests; each begins with the module loaded. */
TCase *kmod_case(Suite *suite, const char *name, double seconds);

#endif
