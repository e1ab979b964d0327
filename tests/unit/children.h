/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * children.h - processes that live until a test says so, and the verdicts that it gets of them.
 * Every child dies with the test.
 */
#ifndef KNELL_TESTS_UNIT_CHILDREN_H
#define KNELL_TESTS_UNIT_CHILDREN_H

#include <stdbool.h>

#include <knell/knell.h>

struct child {
	pid_t pid;
	int fd; /* written to, it exits with this byte as its code */
};

/* With this name, if it is not NULL. */
struct child child_start(const char *name);

/* Makes it exit with this code, and returns when it is a zombie. */
void child_exit(struct child *child, int code);

/* Waits for it as a parent does. */
void child_reap(const struct child *child);

/* Kills and reaps it, whatever it is. */
void child_end(struct child *child);

#define TOLD_MAX 64

struct told {
	int n;
	enum knell_verdict_kind kind[TOLD_MAX];
	pid_t pid[TOLD_MAX];
	uint64_t cookie[TOLD_MAX];
	struct knell_watch *watch[TOLD_MAX];
	struct knell_event event[TOLD_MAX];   /* size 0: none */
	struct knell_watch *cancel[TOLD_MAX]; /* by the next verdict; the first NULL ends it */
};

/* The verdict function; `userdata` is a struct told. */
void told_hear(struct knell_watch *watch, const struct knell_verdict *verdict, void *userdata);

/* Options with it. */
struct knell_watch_options told_options(struct told *told, unsigned int moment);

/* Polls and dispatches until so many verdicts are there, or fails the test after 5 s. */
void told_wait(struct told *told, struct knell_engine *engine, int n);

/* Goes on for some milliseconds: nothing may come. */
void told_no_more(struct told *told, struct knell_engine *engine, int ms);

/* How many descriptors this process has open. */
int count_fds(void);

/* An engine on the source pidfd. */
struct knell_engine *open_pidfd(void);

/* Does this kernel tell the status of a stranger's child once it is reaped? */
bool tells_late(void);

/*
 * Makes a cgroup, and says where: its directory, and its path below the mount. False if that is not
 * possible here. The test removes it.
 */
bool cgroup_make(char *directory, size_t size, const char **ret_path);

/* Says on standard error that, and why, a part of a test does not run here. */
void say_skipped(const char *why);

#endif
