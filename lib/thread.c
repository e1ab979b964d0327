/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * thread.c - starts the library's own threads; see thread.h. It owns nothing.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thread.h"

#define SHORTEST_SLICE_NS 100000u
#define RESET_ON_FORK     1u /* SCHED_FLAG_RESET_ON_FORK; <linux/sched.h> is not for <sched.h> */

/* struct sched_attr, as its first version has it: glibc 2.36 does not. */
struct scheduling {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime; /* of the usual policy: the slice */
	uint64_t deadline;
	uint64_t period;
};

int thread_start(pthread_t *ret_thread, size_t stack, void *(*main)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int r = pthread_attr_init(&attr);

	if (r)
		return -r;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_attr_setstacksize(&attr, stack);
	if (r == 0)
		r = pthread_create(ret_thread, &attr, main, arg);
	if (r == EINVAL)
		r = pthread_create(ret_thread, NULL, main, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

void thread_hurry(void)
{
	struct scheduling now = { 0 };

	if (syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0) < 0 || now.policy != SCHED_OTHER ||
	    now.nice < 0)
		return;
	now.size = sizeof(now);
	now.flags = RESET_ON_FORK;
	now.runtime = SHORTEST_SLICE_NS;
	syscall(SYS_sched_setattr, 0, &now, 0);
}
