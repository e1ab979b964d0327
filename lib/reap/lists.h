/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * lists.h - the children lists of /proc. As children.h, it depends on nothing but the C library.
 */
#ifndef KNELL_LISTS_H
#define KNELL_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PID_LIMIT 4194304 /* the kernel's own: every pid is below it */

struct pid_list {
	pid_t *all; /* free(3) it */
	size_t count, room;
};

/* /proc is that of our pid namespace: another one's has other numbers. */
bool lists_are_ours(void);

/*
 * Adds the children of a process, whose folder of threads (/proc/PID/task) this is: each thread has
 * a list of its own. Orphans are on the leader's, others on that of the thread that forked them.
 * What there is no memory for is left out. 0; -ENOENT: the kernel has no such lists, or the process
 * is gone.
 */
int lists_read(struct pid_list *list, const char *tasks);

#endif
