/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * task.h - processes that are named on a command line, held so that their number cannot come to
 * mean another.
 */
#ifndef KNELL_CLI_TASK_H
#define KNELL_CLI_TASK_H

#include <stdbool.h>
#include <sys/types.h>

#include <knell/event.h>

/*
 * A pidfd, and the name that the process has now ("" if it cannot be read). -ESRCH: there is none;
 * -EINVAL after a complaint: the number is that of a thread; another -errno after a complaint.
 */
int task_hold(pid_t pid, char ret_comm[KNELL_COMM_LEN]);

/*
 * An exit record for the verdict of a process that was held: what the library says of it, and the
 * number and the name from back then where it does not know them. A pidfd forgets its number when
 * the process is reaped. `event`: the verdict's, or NULL; `comm` may be NULL.
 */
void task_death(struct knell_event *ret, const struct knell_event *event, pid_t pid,
		const char *comm);

/* Allows as many open files as the hard limit does. False: that was so already. */
bool task_raise_limit(void);

/* May we see in /proc what is hidden from those who may not trace it? */
bool task_shows_all(pid_t pid);

/* Is it dead? A zombie is. */
bool task_is_dead(int pidfd);

#endif
