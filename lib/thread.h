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

/*
 * For a thread that runs often and briefly, and is waited for. The kernel lets who is woken run at
 * once, in place of another thread on that CPU, only if its slice is shorter (Linux 6.12, where 3
 * ms are usual; before, nothing changes). The slice is not inherited. A thread of another policy
 * than the usual one, or with a negative nice value, which its children would lose, stays as it is.
 */
void thread_hurry(void);

#endif
