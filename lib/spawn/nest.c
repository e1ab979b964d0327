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
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nest.h"
#include "pidfd.h"
#include "thread.h"

#define KEEPER_SIZE (64u << 10)
#define HOLES       64u /* between pidfds: asked for by one system call */

static void futex_wait(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

/* ---- numbers of pidfds ---- */

/*
 * Numbers of this process's pidfds, for all nurseries: bit n for all numbers that are n modulo
 * NEST_ROOM. A number is known before the helper uses it: it may be killed at any moment.
 */
static uint64_t taken[NEST_ROOM / 64];
static unsigned int last_taken; /* the highest that ever was */

/*
 * Where a pidfd of ours is for certain, bit n for n; set when it is there, and taken back before it
 * goes. (A number that is taken may be somebody else's: he was first.) Only as far as numbers are
 * the application's, too.
 */
static uint64_t ours[(NEST_MOST_FD + NEST_ROOM) / 64];
static pid_t ours_of; /* whose; a forked child may have closed them all */

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

static void remember_number(unsigned int n)
{
	unsigned int last = __atomic_load_n(&last_taken, __ATOMIC_RELAXED);

	if (n / 64 < sizeof(ours) / sizeof(ours[0]))
		__atomic_fetch_or(&ours[n / 64], UINT64_C(1) << n % 64, __ATOMIC_RELEASE);
	while (n > last && !__atomic_compare_exchange_n(&last_taken, &last, n, false,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static void give_number_back(int fd)
{
	unsigned int n = (unsigned int)fd;

	__atomic_fetch_and(&taken[n % NEST_ROOM / 64], ~(UINT64_C(1) << n % 64), __ATOMIC_RELEASE);
}

static void forget_number(unsigned int n)
{
	if (n / 64 < sizeof(ours) / sizeof(ours[0]))
		__atomic_fetch_and(&ours[n / 64], ~(UINT64_C(1) << n % 64), __ATOMIC_RELEASE);
}

void nest_forget_numbers(void)
{
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		__atomic_store_n(&ours[i], 0, __ATOMIC_RELAXED);
}

void nest_close_pidfd(int pidfd, bool moved)
{
	if (moved)
		forget_number((unsigned int)pidfd);
	syscall(SYS_close, pidfd); /* bare: see watch_pidfd() in home.c */
	if (moved)
		give_number_back(pidfd);
}

/* ---- the helper ---- */

bool nest_is_dead(const struct nest *nest)
{
	return __atomic_load_n(&nest->state, __ATOMIC_ACQUIRE) == NEST_DEAD;
}

bool nest_is_gone(const struct nest *nest)
{
	return __atomic_load_n(&nest->gone, __ATOMIC_ACQUIRE);
}

/* Sleeps until the helper is dead: until then it uses our thread-local storage. */
static void outlive(pid_t helper)
{
	siginfo_t info;
	int r;

	do {
		r = waitid(P_PID, (id_t)helper, &info, WEXITED | __WCLONE);
	} while (r < 0 && errno == EINTR);
}

static void *keeper_main(void *arg)
{
	struct nest *nest = arg;
	pid_t pid = nursery_start(nest);

	if (pid > 0)
		outlive(pid);
	else
		nest->error = pid;
	/* Release: why there is none, for nest_open(); else no more than that it is dead. */
	__atomic_store_n(&nest->state, NEST_DEAD, __ATOMIC_RELEASE);
	futex_wake(&nest->state);
	if (pid > 0 && !__atomic_load_n(&nest->ending, __ATOMIC_ACQUIRE) && nest->trouble)
		nest->trouble("a nursery helper was killed; the next spawn starts another one",
			      nest->userdata);
	__atomic_store_n(&nest->gone, true, __ATOMIC_RELEASE);
	return NULL;
}

static void nest_free(struct nest *nest)
{
	munmap(nest->stack, NEST_STACK * 2);
	free(nest);
}

int nest_open(struct nest **ret_nest, unsigned int cpu, bool by_kernel,
	      void (*trouble)(const char *what, void *userdata), void *userdata)
{
	struct nest *nest = calloc(1, sizeof(*nest));
	int r;

	if (!nest)
		return -ENOMEM;
	nest->stack = mmap(NULL, NEST_STACK * 2, PROT_READ | PROT_WRITE,
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
	if (__atomic_exchange_n(&ours_of, nest->owner, __ATOMIC_ACQ_REL) != nest->owner)
		nest_forget_numbers();
	nest->state = NEST_DONE; /* until the helper is ready for orders, or dead */
	/* Every signal is blocked in it, and so in the helper. */
	r = thread_start(&nest->keeper, KEEPER_SIZE, keeper_main, nest);
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

/* ---- children ---- */

/*
 * Was the copy made? Nobody else should have this number; if he has, then hardly for a pidfd. (By
 * now the process may be reaped, and older kernels know nothing of it any more.)
 */
static bool is_copy(const struct birth *birth)
{
	return birth->high >= 0 &&
	       (birth->high == birth->pidfd || knell_pidfd_check(birth->high) == 0);
}

static void close_number(struct birth *birth)
{
	if (birth->moved)
		nest_close_pidfd(birth->high, true);
	else if (birth->high >= 0 && !birth->clash) /* else it stays taken: it is somebody's */
		give_number_back(birth->high);
}

bool nest_kill(int pidfd)
{
	struct pollfd dead = { .fd = pidfd, .events = POLLIN };

	if (knell_pidfd_send(pidfd, SIGKILL, 0) < 0)
		return false;
	while (poll(&dead, 1, -1) < 0 && errno == EINTR)
		;
	return true;
}

/* The helper was killed while it made this child: it is not to be there, half started. */
static void undo(struct birth *birth)
{
	if (birth->pid) {
		birth->moved = is_copy(birth);
		/* It may still be on the helper's stack, with our options in its hands. */
		nest_kill(birth->pidfd);
		if (!birth->moved || birth->pidfd != birth->high)
			nest_close_pidfd(birth->pidfd, false);
	}
	close_number(birth);
}

/* The child has one descriptor from here on, or none. */
static void settle_pidfd(struct birth *birth)
{
	if (!birth->pid || birth->error) {
		if (birth->pid)
			nest_close_pidfd(birth->pidfd, false);
		birth->moved = false;
		close_number(birth);
	} else if (birth->moved) {
		if (birth->pidfd != birth->high)
			nest_close_pidfd(birth->pidfd, false);
		birth->pidfd = birth->high;
		remember_number((unsigned int)birth->high);
	} else {
		close_number(birth);
	}
}

static bool uses_numbers(const struct birth *birth)
{
	const struct knell_spawn_options *o = birth->options;

	for (size_t i = 0; i < o->action_count; i++) {
		if (o->actions[i].kind == KNELL_FILE_DUP &&
		    (unsigned int)o->actions[i].from >= birth->first_fd)
			return true;
	}
	return false;
}

static bool is_ours(unsigned int n)
{
	return __atomic_load_n(&ours[n / 64], __ATOMIC_ACQUIRE) & UINT64_C(1) << n % 64;
}

/*
 * The uppermost numbers where there is nothing but pidfds of ours: only what is above all others is
 * not copied. A number between them that is not ours may be the application's; one that it takes
 * from now on it takes while this child is made, who need not have that. 0: none.
 */
static unsigned int find_last(unsigned int first)
{
	unsigned int n = __atomic_load_n(&last_taken, __ATOMIC_RELAXED);

	if (n >= sizeof(ours) * 8)
		n = sizeof(ours) * 8 - 1;
	while (n >= first && !is_ours(n))
		n = __atomic_load_n(&ours[n / 64], __ATOMIC_RELAXED) ? n - 1 : (n & ~63u) - 1;
	return n >= first ? n : 0;
}

/* The first of these that somebody has opened; -1: none. */
static int find_open(struct pollfd *fds, unsigned int count)
{
	const struct timespec none = { 0 };

	syscall(SYS_ppoll, fds, count, &none, NULL, 0);
	for (unsigned int i = 0; i < count; i++) {
		if (!(fds[i].revents & POLLNVAL))
			return fds[i].fd;
	}
	return -1;
}

static unsigned int find_first(unsigned int first, unsigned int last)
{
	struct pollfd holes[HOLES];
	unsigned int n, count = 0, budget = HOLES;
	int open = -1;

	for (n = last; n > first && budget && open < 0; n--) {
		if (n % 64 == 0 && n >= first + 64 &&
		    __atomic_load_n(&ours[n / 64 - 1], __ATOMIC_ACQUIRE) == UINT64_MAX) {
			n -= 63;
			budget += 128;
		} else if (is_ours(n - 1)) {
			budget += 2; /* to copy it costs more than to ask for two */
		} else {
			budget--;
			holes[count++] = (struct pollfd){ .fd = (int)n - 1 };
		}
		if (count == HOLES) {
			open = find_open(holes, count);
			count = 0;
		}
	}
	if (open < 0 && count)
		open = find_open(holes, count);
	return open < 0 ? n : (unsigned int)open + 1;
}

/* What the child is to leave behind; all is copied if the application's own may be among it. */
static void set_numbers(const struct nest *nest, struct birth *birth)
{
	birth->high = nest->first_fd ? take_number(nest->first_fd) : -1;
	birth->first_fd = nest->first_fd;
	if (nest->above) {
		birth->last_fd = __atomic_load_n(&last_taken, __ATOMIC_RELAXED);
	} else if (nest->first_fd) {
		birth->last_fd = find_last(nest->first_fd);
		birth->first_fd = find_first(nest->first_fd, birth->last_fd);
	}
	if (!nest->first_fd || !birth->last_fd || uses_numbers(birth)) {
		birth->first_fd = 1;
		birth->last_fd = 0;
	}
}

/*
 * A child that changes its ids before exec takes PR_SET_DUMPABLE from the memory that we all share:
 * it is given back when the child has left that memory, and by one spawner at a time, or one would
 * take for the application's what another one's child has done.
 *
 * The word is the owner's pid. Another process's is that of a parent which forked just then: it
 * unlocks its own copy.
 */
static uint32_t ids_lock;

static void lock_ids(void)
{
	uint32_t self = (uint32_t)getpid(), seen = 0;

	while (!__atomic_compare_exchange_n(&ids_lock, &seen, self, false, __ATOMIC_ACQUIRE,
					    __ATOMIC_RELAXED)) {
		if (seen != self)
			continue; /* now it may be taken from him */
		futex_wait(&ids_lock, self);
		seen = 0;
	}
}

static void unlock_ids(void)
{
	__atomic_store_n(&ids_lock, 0, __ATOMIC_RELEASE);
	futex_wake(&ids_lock);
}

static int order_birth(struct nest *nest, const struct birth *birth)
{
	int dumpable, r;

	if (!(birth->options->flags & (KNELL_SPAWN_UID | KNELL_SPAWN_GID)))
		return order(nest, NEST_SPAWN);
	lock_ids();
	dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
	r = order(nest, NEST_SPAWN);
	if (dumpable == 0 || dumpable == 1) /* 2 cannot be set, and is what came by such a change */
		prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0);
	unlock_ids();
	return r;
}

int nest_spawn(struct nest *nest, struct birth *birth)
{
	int r;

	birth->pid = 0;
	birth->pidfd = -1;
	birth->moved = false;
	birth->clash = false;
	birth->error = 0;
	set_numbers(nest, birth);
	nest->birth = birth;
	r = order_birth(nest, birth);
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

/* FNV-1a, and how many there are; many are rare. */
static uint64_t sum_of_groups(void)
{
	gid_t groups[256];
	int n = getgroups(256, groups);
	uint64_t sum = UINT64_C(14695981039346656037);

	for (int i = 0; i < n; i++)
		sum = (sum ^ groups[i]) * UINT64_C(1099511628211);
	return n < 0 ? (uint64_t)getgroups(0, NULL) : sum ^ (uint64_t)n << 48;
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
	now->groups = sum_of_groups();
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

bool nest_same_rights(const struct nest_identity *a, const struct nest_identity *b)
{
	return memcmp(a, b, offsetof(struct nest_identity, nice)) == 0;
}
