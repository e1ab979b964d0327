/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cgroup.h - finds a version 2 cgroup that somebody named on the command line.
 */
#ifndef KNELL_CLI_CGROUP_H
#define KNELL_CLI_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cgroup {
	char dir[PATH_MAX]; /* its directory */
	const char *path;   /* in it: the part below the mount, as in /proc/PID/cgroup */
	uint64_t id;
};

/*
 * `name`: as in /proc/PID/cgroup, or with the mount point before it. 0, -ENOENT: there is none, or
 * another -errno; all but 0 after a complaint.
 */
int cgroup_find(struct cgroup *ret, const char *name);

/*
 * A cgroup that is listened to may be removed, and no record says so: it is looked at once in a
 * second.
 */
struct cgroup_life {
	char *dir; /* NULL: none, or it was seen to be gone */
	uint64_t id;
	uint64_t next; /* look: monotonic, ns */
	bool gone;     /* a look ago: what its processes did last is heard meanwhile */
};

/* 0, or -ENOMEM after a complaint. */
int cgroup_life_begin(struct cgroup_life *life, const struct cgroup *cgroup);

/* True, once: it is over. A moment before it is told, unless `quiet`. */
bool cgroup_life_look(struct cgroup_life *life, uint64_t now, bool quiet);

void cgroup_life_end(struct cgroup_life *life);

/* The name, as in /proc/PID/cgroup, of the cgroup with this id, if it is there and we may know. */
bool cgroup_name(char *ret, size_t size, uint64_t id);

#endif
