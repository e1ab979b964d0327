/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * home.c - the reaper of one CPU; see home.h. It sleeps in epoll_wait(2) on the pidfds of its
 * children. Where the kernel reaps by itself a pidfd hangs up when its process is gone, and keeps
 * the status; else it is readable when the process is a zombie, and the helper waits for that very
 * one. Either way it costs the same however many live.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"
#include "home.h"
#include "pidfd.h"
#include "source/source.h"
#include "thread.h"

#define BATCH       64           /* events taken by one system call */
#define LATE_MS     50           /* how often those are asked for that a stranger traces */
#define REAPER_SIZE (256u << 10) /* stack: callbacks are the application's */

enum reaper_state {
	REAPER_AWAKE,
	REAPER_ASLEEP, /* by itself: until it is awake it touches nothing of ours */
	REAPER_LEFT,   /* by who closes the nursery: it must not wake up any more */
	REAPER_ENDED
};

/* NOLINTNEXTLINE(readability-non-const-parameter): written by the builtin */
static void count(uint64_t *counter)
{
	/* One writer, and readers that want no more than a number. */
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* ---- descriptors ---- */

/*
 * The application may close what it does not know, and get the numbers for files of its own: these
 * we must not touch. A pipe's inode says whether it is ours; the epoll set is if our pipe is in it.
 */
static bool is_pipe(const struct home *home, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino == home->wake_ino && st.st_dev == home->wake_dev;
}

static bool still_ours(const struct home *home)
{
	struct epoll_event event = { .events = EPOLLIN };

	return is_pipe(home, home->wake_fds[0]) &&
	       epoll_ctl(home->epoll_fd, EPOLL_CTL_MOD, home->wake_fds[0], &event) == 0;
}

/* False: it cannot be woken any more. */
static bool wake(const struct home *home)
{
	ssize_t n;

	if (!is_pipe(home, home->wake_fds[0]) || !is_pipe(home, home->wake_fds[1]))
		return false;
	n = write(home->wake_fds[1], "", 1);
	(void)n; /* full: it is readable already */
	return true;
}

static void close_fds(struct home *home)
{
	if (home->epoll_fd >= 0 && still_ours(home))
		close(home->epoll_fd);
	for (int i = 0; i < 2; i++) {
		if (is_pipe(home, home->wake_fds[i]))
			close(home->wake_fds[i]);
		home->wake_fds[i] = -1;
	}
	home->epoll_fd = -1;
}

static int open_fds(struct home *home)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct stat st;
	int r;

	if (pipe2(home->wake_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	fstat(home->wake_fds[0], &st);
	home->wake_dev = st.st_dev;
	home->wake_ino = st.st_ino;
	home->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (home->epoll_fd >= 0 &&
	    epoll_ctl(home->epoll_fd, EPOLL_CTL_ADD, home->wake_fds[0], &event) == 0)
		return 0;
	r = -errno;
	if (home->epoll_fd >= 0)
		close(home->epoll_fd);
	home->epoll_fd = -1;
	close_fds(home);
	return r;
}

/* ---- helpers ---- */

static struct nest *open_nest(struct home *home, int *ret)
{
	struct nest *nest = NULL;

	*ret = nest_open(&nest, home->cpu, home->nursery->by_kernel, home->nursery->options.trouble,
			 home->nursery->options.userdata);
	return nest;
}

/*
 * A retired one is the parent of its children, and they name it. One whose keeper still tells the
 * application of the trouble is left for later: the application may wait for us there.
 */
static void end_old_nests(struct home *home, bool all)
{
	struct nest **at = &home->old_nests;

	while (*at) {
		struct nest *nest = *at;

		if (!all && (__atomic_load_n(&nest->children, __ATOMIC_ACQUIRE) ||
			     (nest_is_dead(nest) && !nest_is_gone(nest)))) {
			at = &nest->next;
			continue;
		}
		*at = nest->next;
		nest_close(nest);
	}
}

static void retire(struct home *home)
{
	if (!home->nest)
		return;
	home->nest->next = home->old_nests;
	home->old_nests = home->nest;
	home->nest = NULL;
}

/* One that was retired may be right again: threads of different nice values take turns. */
static struct nest *take_old_nest(struct home *home, const struct nest_identity *identity)
{
	for (struct nest **at = &home->old_nests; *at; at = &(*at)->next) {
		struct nest *nest = *at;

		if (!nest_is_dead(nest) && nest_same_identity(identity, &nest->identity)) {
			*at = nest->next;
			return nest;
		}
	}
	return NULL;
}

static int ready_nest(struct home *home, bool *ret_replaced)
{
	struct nest_identity identity;
	struct nest *fresh;
	bool had = home->nest != NULL;
	int r = 0;

	nest_identity(&identity);
	*ret_replaced = false;
	if (home->nest && !nest_is_dead(home->nest) &&
	    nest_same_identity(&identity, &home->nest->identity))
		return 0;
	fresh = take_old_nest(home, &identity);
	if (!fresh)
		fresh = open_nest(home, &r);
	if (!fresh)
		return r;
	retire(home);
	home->nest = fresh;
	end_old_nests(home, false);
	if (had)
		count(&home->replaced);
	*ret_replaced = had;
	return 0;
}

/* ---- children ---- */

/*
 * Pidfds are made in a task that no sanitizer knows. ThreadSanitizer would take them for whatever
 * had these numbers before: bare system calls only.
 */
static int watch_pidfd(const struct home *home, int op, const struct child *child,
		       struct epoll_event *event)
{
	return (int)syscall(SYS_epoll_ctl, home->epoll_fd, op, child->pidfd, event);
}

/* Under list_lock. */
static void list_add(struct home *home, struct child *child)
{
	child->prev = NULL;
	child->next = home->first;
	if (home->first)
		home->first->prev = child;
	home->first = child;
}

static void list_remove(struct home *home, struct child *child)
{
	pthread_mutex_lock(&home->list_lock);
	if (child->prev)
		child->prev->next = child->next;
	else
		home->first = child->next;
	if (child->next)
		child->next->prev = child->prev;
	pthread_mutex_unlock(&home->list_lock);
}

/* After the callback: whoever drains may end everything now. */
static void one_less(struct home *home)
{
	if (__atomic_sub_fetch(&home->children, 1, __ATOMIC_RELEASE) == 0)
		syscall(SYS_futex, &home->children, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL,
			NULL, 0);
}

int home_adopt(struct home *home, struct child *child)
{
	struct epoll_event event = {
		/* A hang-up is always told, and where the kernel reaps nothing else counts. */
		.events = home->nursery->by_kernel ? 0 : EPOLLIN,
		.data.ptr = child,
	};
	int r = 0;

	child->nest = home->nest;
	__atomic_add_fetch(&child->nest->children, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&home->children, 1, __ATOMIC_RELAXED);
	/* Its death may be told before we are back, but not before it is in the list. */
	pthread_mutex_lock(&home->list_lock);
	__atomic_store_n(&child->watched, true, __ATOMIC_RELEASE);
	if (watch_pidfd(home, EPOLL_CTL_ADD, child, &event) < 0)
		r = -errno;
	else
		list_add(home, child);
	pthread_mutex_unlock(&home->list_lock);
	if (r < 0) {
		__atomic_sub_fetch(&child->nest->children, 1, __ATOMIC_RELEASE);
		one_less(home);
	}
	return r;
}

/* ---- deaths ---- */

static void tell(struct home *home, const struct child *child, const struct knell_death *death)
{
	if (child->fn) {
		uint64_t took;

		child->fn(death, child->userdata);
		took = knell_now() - death->time;
		if (took > home->slowest_ns)
			__atomic_store_n(&home->slowest_ns, took, __ATOMIC_RELAXED);
	}
	if (child->word) {
		uint32_t word = KNELL_WORD_DEAD | ((uint32_t)death->status & 0xffffu) |
				(death->flags & KNELL_DEATH_UNKNOWN ? KNELL_WORD_UNKNOWN : 0);

		__atomic_store_n(child->word, word, __ATOMIC_RELEASE);
		/* Not private: it may be in memory that others share. */
		syscall(SYS_futex, child->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
}

/* A copy of the descriptor in somebody's fork would keep it in the epoll set. */
static void bury(struct home *home, struct child *child, struct knell_death *death)
{
	watch_pidfd(home, EPOLL_CTL_DEL, child, NULL);
	nest_close_pidfd(child->pidfd, child->moved);
	list_remove(home, child);
	if (child->late)
		home->late_count--;
	__atomic_sub_fetch(&child->nest->children, 1, __ATOMIC_RELEASE);
	death->pid = child->pid;
	death->cpu = home->cpu;
	death->time = knell_now();
	tell(home, child, death);
	free(child);
	one_less(home);
}

/* A zombie of our helper's. */
static int wait_directed(struct home *home, const struct child *child)
{
	int status;

	pthread_mutex_lock(&home->lock);
	status = nest_wait(child->nest, child->pid);
	pthread_mutex_unlock(&home->lock);
	return status;
}

/* It stays a zombie until its tracer lets it go, and nothing tells when. */
static void ask_later(struct home *home, struct child *child)
{
	struct epoll_event event = { .data.ptr = child };

	if (child->late)
		return;
	child->late = true;
	home->late_count++;
	watch_pidfd(home, EPOLL_CTL_MOD, child, &event);
}

static void died(struct home *home, struct child *child, bool released)
{
	struct knell_death death = { 0 };

	/* Acquire: pairs with home_adopt(); what goes through the kernel has no order of its own.
	 */
	if (!__atomic_load_n(&child->watched, __ATOMIC_ACQUIRE))
		return;
	if (!released && !nest_is_dead(child->nest)) {
		death.status = wait_directed(home, child);
		if (death.status == NEST_STATUS_LATER) {
			ask_later(home, child);
			return;
		}
		if (death.status >= 0) {
			count(&home->by_wait);
			bury(home, child, &death);
			return;
		}
		death.status = 0;
	}
	if (knell_pidfd_late_status(child->pidfd, &death.status) == 0) {
		count(&home->by_kernel);
	} else if (!released && knell_pidfd_tells_late()) {
		ask_later(home, child); /* an orphan that its new parent has not waited for yet */
		return;
	} else {
		death.flags |= KNELL_DEATH_UNKNOWN;
		count(&home->unknown);
	}
	bury(home, child, &death);
}

static void ask_again(struct home *home)
{
	struct child *child, *next;

	pthread_mutex_lock(&home->list_lock);
	child = home->first;
	pthread_mutex_unlock(&home->list_lock);
	/* Only we remove any, and new ones come first. */
	for (; child; child = next) {
		next = child->next;
		if (child->late)
			died(home, child, knell_pidfd_reaped(child->pidfd));
	}
}

/* ---- where the reaper runs ---- */

/* If the CPU is not ours any more we end with our last child; the next spawn finds another home. */
static void look_where_we_are(struct home *home)
{
	__atomic_store_n(&home->displaced, !cpu_keep(home->cpu), __ATOMIC_RELEASE);
}

void home_look(struct home *home, const struct nest_identity *now)
{
	cpu_set_t set;
	pid_t tid = __atomic_load_n(&home->tid, __ATOMIC_ACQUIRE);

	if (home->nest && !nest_same_rights(now, &home->nest->identity))
		retire(home);
	end_old_nests(home, false);
	if (tid && sched_getaffinity(tid, sizeof(set), &set) == 0 && !cpu_is_alone(&set, home->cpu))
		wake(home);
}

/* ---- the thread ---- */

static void take_events(struct home *home, const struct epoll_event *events, int n)
{
	char ignored[64];

	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr) {
			died(home, events[i].data.ptr, events[i].events & EPOLLHUP);
		} else {
			ssize_t got = read(home->wake_fds[0], ignored, sizeof(ignored));

			(void)got;
		}
	}
}

/* Nobody spawns here any more, and the last child is dead. */
static bool may_leave(struct home *home)
{
	bool leave;

	if (__atomic_load_n(&home->stop, __ATOMIC_ACQUIRE))
		return true;
	if (!home->displaced || __atomic_load_n(&home->children, __ATOMIC_ACQUIRE))
		return false;
	pthread_mutex_lock(&home->lock);
	leave = !__atomic_load_n(&home->children, __ATOMIC_ACQUIRE);
	home->ended = leave;
	pthread_mutex_unlock(&home->lock);
	return leave;
}

/*
 * A helper that was retired goes with its last child, which may have been among these. If a spawner
 * has the lock he or the next one does it.
 */
static void end_retired(struct home *home)
{
	if (pthread_mutex_trylock(&home->lock) != 0)
		return;
	end_old_nests(home, false);
	pthread_mutex_unlock(&home->lock);
}

/* False: the nursery was closed meanwhile, and nothing of it may be touched but this word. */
static bool doze(struct home *home, struct epoll_event *events, int *ret_n)
{
	uint32_t asleep = REAPER_ASLEEP;
	int epoll_fd = home->epoll_fd, timeout = home->late_count ? LATE_MS : -1;

	/* Release: what callbacks did. Pairs with leave_asleep(). */
	__atomic_store_n(&home->reaper, REAPER_ASLEEP, __ATOMIC_RELEASE);
	*ret_n = epoll_wait(epoll_fd, events, BATCH, timeout);
	return __atomic_compare_exchange_n(&home->reaper, &asleep, REAPER_AWAKE, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static void *reaper_main(void *arg)
{
	struct home *home = arg;
	struct epoll_event events[BATCH];
	char name[16];
	bool ours;
	int n;

	__atomic_store_n(&home->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	snprintf(name, sizeof(name), "knell-reap/%u", home->cpu % 10000u);
	pthread_setname_np(pthread_self(), name);
	home->displaced = !cpu_pin(home->cpu);
	do {
		if (!doze(home, events, &n))
			return NULL;
		count(&home->wakeups);
		/* To empty: what dies meanwhile needs no wake-up. */
		while ((ours = still_ours(home)) && n > 0) {
			take_events(home, events, n);
			n = epoll_wait(home->epoll_fd, events, BATCH, 0);
		}
		if (!ours)
			break;
		if (home->late_count)
			ask_again(home);
		end_retired(home);
		if (sched_getcpu() != (int)home->cpu || home->displaced)
			look_where_we_are(home);
	} while (!may_leave(home));
	__atomic_store_n(&home->tid, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&home->reaper, REAPER_ENDED, __ATOMIC_RELEASE);
	return NULL;
}

/* ---- starting and ending ---- */

static int start(struct home *home)
{
	int r = open_fds(home);

	__atomic_store_n(&home->reaper, REAPER_AWAKE, __ATOMIC_RELEASE);
	if (r < 0)
		return r;
	r = thread_start(&home->thread, REAPER_SIZE, reaper_main, home);
	if (r < 0)
		close_fds(home);
	home->running = r == 0;
	return r;
}

/*
 * It sleeps, and nothing can wake it: it never touches anything of ours again. True: it sleeps on
 * when we are gone. False: it has ended, for it was awake, and saw that its descriptors are lost.
 */
static bool leave_asleep(struct home *home)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	for (;;) {
		uint32_t state = REAPER_ASLEEP;

		/* Acquire: what its callbacks did. */
		if (__atomic_compare_exchange_n(&home->reaper, &state, REAPER_LEFT, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return true;
		if (state == REAPER_ENDED)
			return false;
		nanosleep(&moment, NULL); /* a callback runs */
	}
}

/* Its thread has ended, or ends now. */
static void end(struct home *home)
{
	if (!home->running)
		return;
	if (home->lost && leave_asleep(home))
		pthread_detach(home->thread);
	else
		pthread_join(home->thread, NULL);
	home->running = false;
	home->ended = false;
	home->displaced = false;
	end_old_nests(home, true);
	home->nest = nest_close(home->nest);
	close_fds(home);
}

int home_ready(struct home *home, bool *ret_replaced)
{
	int r = 0;

	if (home->ended)
		end(home);
	if (!home->running) {
		r = start(home);
	} else if (!still_ours(home)) {
		nest_forget_numbers();
		return -EBADF;
	}
	return r < 0 ? r : ready_nest(home, ret_replaced);
}

static struct home *make_home(struct knell_nursery *nursery, unsigned int cpu)
{
	struct home *home = calloc(1, sizeof(*home));

	if (!home)
		return NULL;
	home->nursery = nursery;
	home->cpu = cpu;
	home->epoll_fd = -1;
	home->wake_fds[0] = -1;
	home->wake_fds[1] = -1;
	pthread_mutex_init(&home->lock, NULL);
	pthread_mutex_init(&home->list_lock, NULL);
	return home;
}

struct home *home_of(struct knell_nursery *nursery, unsigned int cpu)
{
	struct home **place = &nursery->homes[cpu];
	struct home *home = __atomic_load_n(place, __ATOMIC_ACQUIRE);

	if (home)
		return home;
	pthread_mutex_lock(&nursery->lock);
	home = *place;
	if (!home) {
		home = make_home(nursery, cpu);
		__atomic_store_n(place, home, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&nursery->lock);
	return home;
}

void home_stop(struct home *home)
{
	if (!home)
		return;
	/* Whoever has the lock now may start something; whoever gets it later may not. */
	pthread_mutex_lock(&home->lock);
	pthread_mutex_unlock(&home->lock);
	if (home->running) {
		__atomic_store_n(&home->stop, true, __ATOMIC_RELEASE);
		home->lost = !wake(home);
		if (home->lost)
			nest_forget_numbers();
		end(home);
	}
}

void home_free(struct home *home)
{
	struct child *child;

	if (!home)
		return;
	while ((child = home->first) != NULL) {
		home->first = child->next;
		if (!home->lost)
			nest_close_pidfd(child->pidfd, child->moved);
		free(child);
	}
	if (home->reaper == REAPER_LEFT)
		return; /* it has this memory */
	pthread_mutex_destroy(&home->list_lock);
	pthread_mutex_destroy(&home->lock);
	free(home);
}
