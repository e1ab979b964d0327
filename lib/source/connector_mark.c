/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_mark.c - makes CPUs send a message. A loss shows in the number of the next message of
 * the same CPU; when all is quiet after a storm, none follows. So a thread of ours goes to each CPU
 * that may have lost something and sets its own name, which is an event: the cheapest that there is
 * (no fork, no privilege, some 10 us a CPU). It is a thread of its own, because who goes to a busy
 * CPU may have to wait for it (behind a real-time task, for ever), and it changes its affinity.
 * A CPU that we may not run on (cpuset) stays uncertain until it sends something by itself.
 * Owns the thread.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "connector.h"

#define STACK (64u << 10)

static void *go_round(void *arg)
{
	struct cn_marker *marker = arg;
	cpu_set_t *set = CPU_ALLOC(marker->count);
	size_t size = CPU_ALLOC_SIZE(marker->count);

	for (uint32_t cpu = 0; set && cpu < marker->count; cpu++) {
		if (!marker->cpus[cpu] || __atomic_load_n(&marker->stop, __ATOMIC_RELAXED))
			continue;
		CPU_ZERO_S(size, set);
		CPU_SET_S(cpu, size, set);
		if (sched_setaffinity(0, size, set) == 0)
			prctl(PR_SET_NAME, "knell-mark");
	}
	CPU_FREE(set);
	return NULL;
}

static bool start(struct cn_marker *marker)
{
	pthread_attr_t attr;
	sigset_t every, old;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	/* No handler of the host's may run in it. */
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &old);
	r = pthread_create(&marker->thread, &attr, go_round, marker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r == 0;
}

/* All CPUs, or those that are suspect. Nothing happens while the last round is not over. */
void cn_mark(struct cn_marker *marker, const struct cn_sequence *sequence, bool all)
{
	bool *cpus;

	if (!cn_mark_wait(marker, 0))
		return;
	cpus = calloc(sequence->count, sizeof(*cpus));
	if (!cpus)
		return;
	for (uint32_t i = 0; i < sequence->count; i++)
		cpus[i] = all || sequence->cpus[i].suspect;
	marker->cpus = cpus;
	marker->count = sequence->count;
	marker->stop = false;
	marker->running = start(marker);
	if (!marker->running) {
		free(cpus);
		marker->cpus = NULL;
	}
}

/* Is the round over? Then its messages are in the socket. */
bool cn_mark_wait(struct cn_marker *marker, unsigned int ms)
{
	struct timespec end;
	int r;

	if (!marker->running)
		return true;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += (long)ms * 1000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	r = ms ? pthread_timedjoin_np(marker->thread, NULL, &end)
	       : pthread_tryjoin_np(marker->thread, NULL);
	if (r != 0)
		return false;
	marker->running = false;
	free(marker->cpus);
	marker->cpus = NULL;
	return true;
}

void cn_mark_close(struct cn_marker *marker)
{
	cpu_set_t every;

	if (!marker->running)
		return;
	__atomic_store_n(&marker->stop, true, __ATOMIC_RELAXED);
	/* It may wait for a CPU that it will not get: let it go on anywhere. */
	memset(&every, 0xff, sizeof(every));
	pthread_setaffinity_np(marker->thread, sizeof(every), &every);
	pthread_join(marker->thread, NULL);
	free(marker->cpus);
	memset(marker, 0, sizeof(*marker));
}
