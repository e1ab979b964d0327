/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * nest.c - the application's side of a nursery helper: its keeper, its mailbox, its end. See
 * nest.h.
 */
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nest.h"
#include "pidfd.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

#define STACK_SIZE  (64u << 10) /* deep enough for a system call or two */
#define KEEPER_SIZE (64u << 10)

static void futex_wait(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

bool nest_is_dead(const struct nest *nest)
{
	return __atomic_load_n(&nest->state, __ATOMIC_ACQUIRE) == NEST_DEAD;
}

/* Sleeps until the helper is dead: until then it uses our thread-local storage. */
static void outlive(struct nest *nest)
{
	siginfo_t info;
	int r;

	do {
		r = waitid(P_PID, (id_t)nest->helper, &info, WEXITED | __WCLONE);
	} while (r < 0 && errno == EINTR);
}

static void *keeper_main(void *arg)
{
	struct nest *nest = arg;
	pid_t pid = nursery_start(nest);

	nest->helper = pid;
	if (pid > 0)
		outlive(nest);
	else
		nest->error = pid;
	/* Release: why there is none, for nest_open(); else no more than that it is dead. */
	__atomic_store_n(&nest->state, NEST_DEAD, __ATOMIC_RELEASE);
	futex_wake(&nest->state);
	if (pid > 0 && !__atomic_load_n(&nest->ending, __ATOMIC_ACQUIRE) && nest->trouble)
		nest->trouble("a nursery helper was killed; the next spawn starts another one",
			      nest->userdata);
	return NULL;
}

/* With every signal blocked, from its first instruction, in it and in the helper. */
static int start_keeper(struct nest *nest)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int r = pthread_attr_init(&attr);

	if (r)
		return -r;
	pthread_attr_setstacksize(&attr, KEEPER_SIZE < (size_t)PTHREAD_STACK_MIN
						 ? (size_t)PTHREAD_STACK_MIN
						 : KEEPER_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&nest->keeper, &attr, keeper_main, nest);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

static void nest_free(struct nest *nest)
{
	munmap(nest->stack, 2 * nest->stack_size);
	free(nest);
}

int nest_open(struct nest **ret_nest, unsigned int cpu, bool by_kernel,
	      void (*trouble)(const char *what, void *userdata), void *userdata)
{
	struct nest *nest = calloc(1, sizeof(*nest));
	int r;

	if (!nest)
		return -ENOMEM;
	nest->stack_size = STACK_SIZE;
	nest->stack = mmap(NULL, 2 * nest->stack_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (nest->stack == MAP_FAILED) {
		free(nest);
		return -ENOMEM;
	}
	nest->cpu = cpu;
	nest->by_kernel = by_kernel;
	nest->owner = getpid();
	nest->trouble = trouble;
	nest->userdata = userdata;
	nest_identity(&nest->identity);
	nest->state = NEST_DONE; /* until the helper is ready for orders, or dead */
	r = start_keeper(nest);
	if (r < 0) {
		nest_free(nest);
		return r;
	}
	while (__atomic_load_n(&nest->state, __ATOMIC_ACQUIRE) == NEST_DONE)
		futex_wait(&nest->state, NEST_DONE);
	if (nest->error < 0) {
		r = nest->error;
		pthread_join(nest->keeper, NULL);
		nest_free(nest);
		return r;
	}
	*ret_nest = nest;
	return 0;
}

/* Puts the order into the mailbox, and waits for the answer. -ESRCH: the helper is dead. */
static int order(struct nest *nest, enum nest_op op)
{
	uint32_t state = NEST_IDLE;

	nest->op = op;
	/* Release: the order. It fails only if the keeper has set NEST_DEAD. */
	if (!__atomic_compare_exchange_n(&nest->state, &state, NEST_ORDERED, false,
					 __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
		return -ESRCH;
	futex_wake(&nest->state);
	/* Acquire: pairs with the helper's or the keeper's release. */
	while ((state = __atomic_load_n(&nest->state, __ATOMIC_ACQUIRE)) == NEST_ORDERED)
		futex_wait(&nest->state, NEST_ORDERED);
	/* It fails if the helper died since. */
	if (state == NEST_DONE &&
	    __atomic_compare_exchange_n(&nest->state, &state, NEST_IDLE, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return 0;
	return -ESRCH;
}

struct nest *nest_close(struct nest *nest)
{
	if (!nest)
		return NULL;
	__atomic_store_n(&nest->ending, true, __ATOMIC_RELEASE);
	order(nest, NEST_END);
	pthread_join(nest->keeper, NULL);
	nest_free(nest);
	return NULL;
}

/*
 * Numbers of this process's pidfds, for all nurseries: bit n for all numbers that are n modulo
 * NEST_ROOM. A number is known before the helper uses it: it may be killed at any moment.
 */
static uint64_t taken[NEST_ROOM / 64];

/* The lowest that is free; -1: none. */
static int take_number(unsigned int first)
{
	for (unsigned int n = first; n < first + NEST_ROOM; n++) {
		uint64_t *word = &taken[n % NEST_ROOM / 64], bit = UINT64_C(1) << n % 64;
		uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

		if (seen == UINT64_MAX)
			n |= 63; /* to the next word */
		else if (!(seen & bit) && !(__atomic_fetch_or(word, bit, __ATOMIC_ACQ_REL) & bit))
			return (int)n;
	}
	return -1;
}

static void give_number_back(int fd)
{
	unsigned int n = (unsigned int)fd;

	__atomic_fetch_and(&taken[n % NEST_ROOM / 64], ~(UINT64_C(1) << n % 64), __ATOMIC_RELEASE);
}

void nest_close_pidfd(int pidfd, bool moved)
{
	syscall(SYS_close, pidfd); /* bare: see watch_pidfd() in home.c */
	if (moved)
		give_number_back(pidfd);
}

/*
 * Was the copy made? Nobody else should have this number; if he has, then hardly for a pidfd. (By
 * now the process may be reaped, and older kernels know nothing of it any more.)
 */
static bool is_copy(const struct birth *birth)
{
	return birth->high >= 0 && knell_pidfd_check(birth->high) == 0;
}

/* The helper was killed while it made this child: it is not to be there, half started. */
static void undo(struct birth *birth)
{
	struct pollfd dead = { .fd = birth->pidfd, .events = POLLIN };

	if (birth->pid) {
		birth->moved = is_copy(birth);
		syscall(SYS_pidfd_send_signal, birth->pidfd, SIGKILL, NULL, 0);
		/* It may still be on the helper's stack, with our options in its hands. */
		while (poll(&dead, 1, -1) < 0 && errno == EINTR)
			;
		nest_close_pidfd(birth->pidfd, false);
	}
	if (birth->moved)
		nest_close_pidfd(birth->high, true);
	else if (birth->high >= 0)
		give_number_back(birth->high);
}

/* The child has one descriptor from here on, or none. */
static void settle_pidfd(struct birth *birth)
{
	if (birth->pid && (birth->error || birth->moved))
		nest_close_pidfd(birth->pidfd, false);
	if (birth->moved)
		birth->pidfd = birth->high;
	else if (birth->high >= 0)
		give_number_back(birth->high);
}

int nest_spawn(struct nest *nest, struct birth *birth)
{
	int r;

	birth->pid = 0;
	birth->pidfd = -1;
	birth->high = nest->first_fd ? take_number(nest->first_fd) : -1;
	birth->moved = false;
	birth->error = 0;
	nest->birth = birth;
	r = order(nest, NEST_SPAWN);
	if (r == -ESRCH)
		undo(birth);
	else
		settle_pidfd(birth);
	return r;
}

int nest_wait(struct nest *nest, pid_t pid)
{
	nest->wait_pid = pid;
	return order(nest, NEST_WAIT) < 0 ? NEST_STATUS_UNKNOWN : nest->wait_status;
}

void nest_identity(struct nest_identity *ret_identity)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct nest_identity *now = ret_identity;

	_Static_assert(sizeof(now->caps) ==
			       _LINUX_CAPABILITY_U32S_3 * sizeof(struct __user_cap_data_struct),
		       "capabilities are of another size");
	memset(now, 0, sizeof(*now));
	getresuid(&now->uid[0], &now->uid[1], &now->uid[2]);
	getresgid(&now->gid[0], &now->gid[1], &now->gid[2]);
	syscall(SYS_capget, &header, now->caps);
	now->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	now->nice = getpriority(PRIO_PROCESS, 0);
	now->group = getpgrp();
	now->session = getsid(0);
	getrlimit(RLIMIT_NOFILE, &now->files);
	getrlimit(RLIMIT_NPROC, &now->processes);
}

bool nest_same_identity(const struct nest_identity *a, const struct nest_identity *b)
{
	return memcmp(a, b, sizeof(*a)) == 0; /* padding was set to 0 */
}
