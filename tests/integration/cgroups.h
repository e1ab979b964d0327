/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cgroups.h - cgroups of our own for a test, wherever this machine lets us make them: version 2
 * where it has the controller, else version 1. Whoever makes one removes it.
 */
#ifndef KNELL_TEST_CGROUPS_H
#define KNELL_TEST_CGROUPS_H

#include <stdbool.h>

struct cgroup {
	char dir[512];
	char parent[400]; /* version 2: where a controller was switched on, else "" */
};

/* These return NULL, or the reason why there can be none. */
const char *cgroup_with_memory(struct cgroup *cgroup, unsigned int megabytes);
const char *cgroup_with_kill(struct cgroup *cgroup);

bool cgroup_write(const struct cgroup *cgroup, const char *file, const char *text);

/* Its processes are dead or dying. Puts everything back as it was. */
void cgroup_remove(struct cgroup *cgroup);

/* Removes what tests that failed or ran out of time could not remove. */
void cgroup_sweep(void);

#endif
