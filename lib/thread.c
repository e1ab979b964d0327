/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * thread.c - starts the library's own threads; see thread.h. It owns nothing.
 */
#include <errno.h>
#include <signal.h>

#include "thread.h"

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
