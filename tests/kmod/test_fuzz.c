/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_fuzz.c - a small fuzzer: processes of several threads do whatever comes to the device, with
 * valid, half-valid and wild input, while they fork, exec and are killed. The kernel's log is the
 * judge (tests/vm/boot), and that nothing is left: no session, no watch, and the module unloads.
 *
 * KNELL_FUZZ_SECONDS says how long (10), KNELL_FUZZ_SEED repeats each thread's row of calls, if not
 * how they meet. KNELL_FUZZ_KEEP: two sessions keep all hooks armed (see tests/vm/check).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

#define WORKERS 4
#define THREADS 3
#define SLOTS   8 /* of each kind in a process */

/* What the threads of a worker share. Nothing guards it: calls that race are what we want. */
static volatile int sessions[SLOTS], pidfds[SLOTS], pids[SLOTS];
static char *pages; /* writable, read-only, untouchable */

static uint64_t next(uint64_t *state)
{
	uint64_t x = (*state += 0x9e3779b97f4a7c15ull);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint64_t below(uint64_t *state, uint64_t limit)
{
	return next(state) % limit;
}

static uint64_t wild(uint64_t *state)
{
	static const uint64_t ends[] = { 0,          1,           0x7fffffff, 0x80000000,
					 0xffffffff, 0x100000000, INT64_MAX,  UINT64_MAX };

	return below(state, 2) ? ends[below(state, 8)] : next(state);
}

/* Mostly one that there is. */
static int some_of(const volatile int *slots, uint64_t *state)
{
	int fd = slots[below(state, SLOTS)], tries;

	for (tries = 0; tries < SLOTS && fd < 0; tries++)
		fd = slots[below(state, SLOTS)];
	return fd;
}

static int some_session(uint64_t *state)
{
	return some_of(sessions, state);
}

/* Memory of all kinds, now and then so near to its end that not all of it is there. */
static void *some_memory(uint64_t *state)
{
	switch (below(state, 8)) {
	case 0:
		return (void *)wild(state);
	case 1:
		return pages + 4096 + below(state, 4096);
	case 2:
		return pages + 8192 - 8 * below(state, 16);
	default:
		return pages + 64 * below(state, 16);
	}
}

static void fill_slot(volatile int *slots, uint64_t *state, int fd)
{
	volatile int *slot = &slots[below(state, SLOTS)];

	if (*slot > 2)
		close(*slot);
	*slot = fd;
}

static void do_watch(uint64_t *state)
{
	static const uint32_t flags[] = { 0,
					  KNELL_KMOD_SUBTREE,
					  KNELL_KMOD_DEAD,
					  KNELL_KMOD_SUBTREE | KNELL_KMOD_DEAD,
					  KNELL_KMOD_ALL,
					  KNELL_KMOD_GROUP,
					  KNELL_KMOD_JOIN,
					  KNELL_KMOD_JOIN | KNELL_KMOD_SUBTREE };
	struct knell_kmod_watch request = { .size = sizeof(request) };
	struct knell_kmod_watch *at = &request;

	request.pidfd = some_of(pidfds, state);
	request.flags = below(state, 2) ? flags[below(state, 8)] : (uint32_t)below(state, 128);
	request.mask = below(state, 2) ? LIVES : (uint32_t)next(state) & KNELL_KMOD_KINDS;
	request.cookie = below(state, 8);
	if (request.flags & (KNELL_KMOD_ALL | KNELL_KMOD_GROUP) && below(state, 4)) {
		request.flags &= ~(uint32_t)KNELL_KMOD_SUBTREE; /* as it should be */
		request.pidfd = -1;
	}
	if (request.flags & KNELL_KMOD_ALL && below(state, 2))
		request.match = KNELL_KMOD_MATCH_COMM;
	if (request.flags & KNELL_KMOD_JOIN) {
		request.mask = 0;
		request.group = below(state, 8);
	} else if (request.flags & (KNELL_KMOD_SUBTREE | KNELL_KMOD_ALL | KNELL_KMOD_GROUP)) {
		request.reserve = (uint32_t)below(state, 60);
		request.flags |= below(state, 2) ? KNELL_KMOD_CAUSE : 0;
	}
	if (!below(state, 4)) /* one field that is not as it should be */
		((uint32_t *)&request)[below(state, sizeof(request) / 4)] = (uint32_t)wild(state);
	if (!below(state, 4)) {
		at = some_memory(state);
		if ((char *)at >= pages && (char *)at < pages + 2048)
			memcpy(at, &request, sizeof(request));
	}
	ioctl(some_session(state), KNELL_IOC_WATCH, at);
}

static void do_ioctl(uint64_t *state)
{
	static const unsigned long commands[] = { KNELL_IOC_WATCH, KNELL_IOC_UNWATCH,
						  KNELL_IOC_STATS, KNELL_IOC_ARM,
						  KNELL_IOC_LIVING };
	uint32_t *memory = some_memory(state);
	unsigned int i;

	if ((char *)memory >= pages && (char *)memory < pages + 2048) {
		for (i = 1; i < 20; i++)
			memory[i] = below(state, 3) ? 0 : (uint32_t)wild(state);
		memory[0] =
			below(state, 2) ? 8 * (uint32_t)below(state, 20) : (uint32_t)wild(state);
	}
	ioctl(some_session(state), below(state, 8) ? commands[below(state, 5)] : wild(state),
	      memory);
}

static void do_unwatch(uint64_t *state)
{
	struct knell_kmod_unwatch request = { .size = sizeof(request), .cookie = below(state, 8) };

	ioctl(some_session(state), KNELL_IOC_UNWATCH, &request);
}

/* The next child of this thread joins: each of them forks now and then. */
static void do_arm(uint64_t *state)
{
	struct knell_kmod_arm arm = {
		.size = sizeof(arm),
		.on = below(state, 4) > 0,
		.group = below(state, 8),
	};
	struct knell_kmod_living living = { .size = sizeof(living) };

	ioctl(some_session(state), KNELL_IOC_ARM, &arm);
	if (!below(state, 8))
		ioctl(some_session(state), KNELL_IOC_LIVING, &living);
}

static void do_read(uint64_t *state)
{
	size_t size = below(state, 8) ? below(state, 2048) : (size_t)wild(state);

	if (read(some_session(state), some_memory(state), size) < 0)
		return;
}

static void do_poll(uint64_t *state)
{
	struct pollfd ready[2] = { { .fd = some_session(state), .events = POLLIN },
				   { .fd = some_session(state), .events = (short)next(state) } };

	poll(ready, 2, (int)below(state, 2));
}

static void do_descriptor(uint64_t *state)
{
	int fd = some_session(state);

	switch (below(state, 7)) {
	case 0:
		fill_slot(sessions, state, dup(fd));
		break;
	case 1:
		fill_slot(sessions, state, -1);
		break;
	case 2:
		fcntl(fd, F_SETFL, below(state, 8) ? O_NONBLOCK : 0);
		break;
	case 3:
		lseek(fd, (off_t)wild(state), SEEK_SET);
		break;
	case 4:
		if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED)
			abort(); /* there is nothing to map */
		break;
	case 5:
		if (write(fd, pages, 16) >= 0)
			return;
		break;
	default:
		fill_slot(sessions, state,
			  open(KNELL_KMOD_DEVICE,
			       O_RDONLY | O_CLOEXEC | (below(state, 16) ? O_NONBLOCK : 0)));
	}
}

static void *short_life(void *unused)
{
	usleep(500);
	return unused;
}

/* A child of a worker, with the sessions that it had. It ends in a second at most. */
static void child(uint64_t state)
{
	char *const arguments[] = { (char *)"true", NULL };
	int generation = 0, i;
	pthread_t thread;

again:
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGALRM, SIG_DFL);
	setitimer(ITIMER_REAL, &(struct itimerval){ .it_value.tv_sec = 1 }, NULL);
	switch (below(&state, 8)) {
	case 0:
		execv("/bin/true", arguments);
		break;
	case 1:
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
			_exit(1);
		break;
	case 2:
		for (i = 0; i < 3 && generation < 3; i++) {
			next(&state);
			if (fork())
				continue;
			generation++;
			goto again;
		}
		break;
	case 3:
		for (i = 0; i < 4; i++)
			pthread_create(&thread, NULL, short_life, NULL);
		if (below(&state, 2))
			syscall(SYS_exit, 0);
		break;
	case 4:
		do_read(&state);
		break;
	case 5:
		do_watch(&state);
		break;
	case 6:
		for (;;)
			pause();
	default:
		break;
	}
	_exit((int)below(&state, 256));
}

static void do_process(uint64_t *state)
{
	volatile int *slot = &pids[below(state, SLOTS)];
	pid_t pid = *slot;

	if (pid > 0) { /* one of ours: who has waited for it is the one that took it out */
		if (!__sync_bool_compare_and_swap(slot, pid, 0))
			return;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return;
	}
	pid = fork();
	if (!pid)
		child(next(state));
	if (pid < 0)
		return;
	fill_slot(pidfds, state, (int)syscall(SYS_pidfd_open, pid, 0));
	if (!__sync_bool_compare_and_swap(slot, 0, pid))
		waitpid(pid, NULL, 0); /* another thread was faster; a second at most */
}

static void *fuzz(void *seed)
{
	static void (*const calls[])(
		uint64_t *) = { do_watch,   do_watch,      do_watch,   do_arm,     do_ioctl,
				do_unwatch, do_read,       do_read,    do_read,    do_poll,
				do_poll,    do_descriptor, do_process, do_process, do_process };
	uint64_t state = (uint64_t)seed;

	for (;;)
		calls[below(&state, sizeof(calls) / sizeof(calls[0]))](&state);
	return NULL;
}

static void nothing(int number)
{
	(void)number;
}

/* A process that fuzzes until it is killed. */
static pid_t worker(uint64_t seed)
{
	const struct itimerval often = { { 0, 5000 }, { 0, 5000 } };
	struct sigaction interrupt = { .sa_handler = nothing };
	pthread_t thread;
	pid_t pid = spawn();
	int i;

	if (pid)
		return pid;
	pages = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED || mprotect(pages + 4096, 4096, PROT_READ) ||
	    mprotect(pages + 8192, 4096, PROT_NONE))
		_exit(1);
	for (i = 0; i < SLOTS; i++)
		pidfds[i] = sessions[i] = -1;
	sessions[0] = open(KNELL_KMOD_DEVICE, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	pidfds[0] = (int)syscall(SYS_pidfd_open, getpid(), 0);
	/* Whatever waits for ever is interrupted. */
	sigaction(SIGALRM, &interrupt, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 1; i < THREADS; i++)
		if (pthread_create(&thread, NULL, fuzz, (void *)(seed + (uint64_t)i)))
			_exit(2);
	fuzz((void *)seed);
	_exit(3);
}

static uint64_t seed_of_this_run(void)
{
	const char *given = getenv("KNELL_FUZZ_SEED");
	struct timespec now;

	if (given)
		return strtoull(given, NULL, 0);
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double seconds(void)
{
	const char *given = getenv("KNELL_FUZZ_SECONDS");
	double wanted = given ? strtod(given, NULL) : 10;

	return wanted > 0 ? wanted : 10;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void reap_orphans(const pid_t *workers)
{
	int status, i;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (i = 0; i < WORKERS; i++)
			ck_assert_msg(pid != workers[i], "a worker ended by itself: %#x",
				      (unsigned int)status);
}

START_TEST(whatever_comes)
{
	uint64_t seed = seed_of_this_run(), state = seed;
	double end = now() + seconds();
	int keepers[2] = { -1, -1 }, i;
	pid_t workers[WORKERS];
	unsigned int started = WORKERS;
	struct knell_kmod_stats stats;

	printf("# KNELL_FUZZ_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (i = 0; i < 2 && getenv("KNELL_FUZZ_KEEP"); i++) {
		keepers[i] = session_open(O_NONBLOCK);
		ck_assert_int_eq(session_watch(keepers[i], getpid(),
					       KNELL_KMOD_SUBTREE | KNELL_KMOD_DEAD, LIVES, 1, 0),
				 0);
	}
	for (i = 0; i < WORKERS; i++)
		workers[i] = worker(next(&state));
	while (now() < end) {
		usleep(100000 + (useconds_t)below(&state, 200000));
		i = (int)below(&state, WORKERS);
		kill(workers[i], SIGKILL);
		reap(workers[i]);
		workers[i] = 0;
		reap_orphans(workers);
		workers[i] = worker(next(&state));
		started++;
	}
	for (i = 0; i < WORKERS; i++)
		kill(workers[i], SIGKILL);
	while (waitpid(-1, NULL, 0) > 0) /* orphans end in a second at most */
		;
	for (i = 0; i < 2; i++)
		if (keepers[i] >= 0)
			close(keepers[i]);
	keepers[0] = session_open(O_NONBLOCK);
	for (i = 0; i < 3000; i++) {
		stats = session_stats(keepers[0]);
		if (stats.sessions == 1 && !stats.watches)
			break;
		usleep(10000);
	}
	ck_assert_uint_eq(stats.sessions, 1);
	ck_assert_uint_eq(stats.watches, 0);
	ck_assert_uint_gt(stats.news, 0); /* it did watch something */
	printf("# %u workers, %llu watches told of\n", started, (unsigned long long)stats.news);
	close(keepers[0]);
	ck_assert_int_eq(module_unload(), 0);
}
END_TEST

void add_fuzz_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "fuzz", 60 + seconds());

	tcase_add_test(tests, whatever_comes);
}
