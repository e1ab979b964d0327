/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * thread.h - a thread of the library's own.
 */
#ifndef KNELL_THREAD_H
#define KNELL_THREAD_H

#include <pthread.h>
#include <stddef.h>

/*
 * Starts it with every signal blocked from its first instruction. Its stack has so many bytes, or,
 * where thread-local storage leaves no room in that, as many as others have. 0 or -errno.
 */
int thread_start(pthread_t *ret_thread, size_t stack, void *(*main)(void *), void *arg);

#endif
