/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_waves.c - a hundred thousand watched deaths in one session, in waves: each is told once,
 * with its status; those of as many more that nobody watches never are.
 *
 * The processes share the test's memory (CLONE_VM), which makes them cheap; to the kernel each is a
 * process of its own. They do nothing but raw system calls: errno is the test's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define WAVES   50
#define WATCHED 2000 /* of a wave; every tenth has a neighbour that nobody watches */
#define STACK   8192

static int gate; /* a futex: 1 when a wave may die */

static long raw(long number, long a, long b, long c)
{
	register long fourth __asm__("r10") = 0;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
			 : "rcx", "r11", "memory");
	return result;
}

static int live(void *status)
{
	raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
	while (!__atomic_load_n(&gate, __ATOMIC_ACQUIRE))
		raw(SYS_futex, (long)&gate, FUTEX_WAIT_PRIVATE, 0);
	raw(SYS_exit_group, (long)status, 0, 0);
	return 0;
}

/* pidfd: NULL if nobody wants one. */
static pid_t born(char *stack, int status, int *pidfd)
{
	int flags = CLONE_VM | SIGCHLD | (pidfd ? CLONE_PIDFD : 0);
	pid_t pid = clone(live, stack + STACK, flags, (void *)(long)status, pidfd);

	ck_assert_msg(pid > 0, "clone: %s", strerror(errno));
	return pid;
}

/* One wave: all of it lives at a time, and goes at once. */
static void wave(int session, char *stacks, pid_t *pids, uint64_t first)
{
	pid_t others[WATCHED / 10];
	int i, pidfd;

	__atomic_store_n(&gate, 0, __ATOMIC_RELEASE);
	for (i = 0; i < WATCHED; i++) {
		pids[i] = born(stacks, i % 256, &pidfd);
		stacks += STACK;
		ck_assert_int_eq(
			session_watch_pidfd(session, pidfd, 0, EXITS, first + (uint64_t)i, 0), 0);
		close(pidfd);
		if (i % 10 == 0) {
			others[i / 10] = born(stacks, 1, NULL);
			stacks += STACK;
		}
	}
	__atomic_store_n(&gate, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &gate, FUTEX_WAKE_PRIVATE, WATCHED * 2, NULL, NULL, 0);
	for (i = 0; i < WATCHED; i++)
		ck_assert_int_eq(reap(pids[i]), i % 256 << 8);
	for (i = 0; i < WATCHED / 10; i++)
		reap(others[i]);
}

START_TEST(a_hundred_thousand_deaths)
{
	size_t size = (size_t)STACK * (WATCHED + WATCHED / 10), i;
	char *stacks = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *told = calloc(WAVES, WATCHED);
	int session = session_open(O_NONBLOCK), number;
	struct hearing hearing = { .next_seq = 0 };
	pid_t pids[WATCHED];

	ck_assert(stacks != MAP_FAILED && told);
	for (number = 0; number < WAVES; number++) {
		uint64_t first = (uint64_t)number * WATCHED, seq = hearing.next_seq;

		wave(session, stacks, pids, first);
		hear_until(&hearing, session, WATCHED);
		for (i = 0; i < hearing.count; i++) {
			const struct knell_event *event = &hearing.all[i].event;
			uint64_t place = event->cookie - first;

			ck_assert_uint_eq(event->kind, KNELL_EXIT);
			ck_assert_uint_lt(place, WATCHED); /* of this wave */
			ck_assert_msg(!told[event->cookie], "%llu was told of twice",
				      (unsigned long long)event->cookie);
			told[event->cookie] = 1;
			ck_assert_int_eq((int)event->task.tgid, pids[place]);
			ck_assert_int_eq(event->u.exit.status, (int)(place % 256) << 8);
		}
		ck_assert_uint_eq(hearing.next_seq - seq, WATCHED);
		seq = hearing.next_seq;
		hearing_end(&hearing);
		hearing.next_seq = seq;
	}
	hear_nothing(session);
	for (i = 0; i < (size_t)WAVES * WATCHED; i++)
		ck_assert_msg(told[i], "%zu was never told of", i);
	free(told);
	munmap(stacks, size);
	close(session);
}
END_TEST

void add_waves_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "waves", 100);

	tcase_add_test(tests, a_hundred_thousand_deaths);
}
