/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * reapers.c - dispatches an engine on threads of its own; see reapers.h. It owns the threads and
 * says which of them drains which home.
 *
 * A reaper is pinned to its CPU and drains that CPU's home. It is started when the home rings its
 * bell for the first time: until then, and for a CPU that is not ours, another reaper has the home
 * and its bell. A home has one drainer at a time: its lock is taken by its reaper alone, but while
 * it goes from one to another, and while everything has to stand still (reconcile).
 *
 * The manager is one more thread, bound to no CPU. It waits for what belongs to no home
 * (descriptors of watches, deadlines, the common bell) and decides who drains what: when a home
 * rings at a reaper that is not its own, and once a second while there is work, for CPUs come and
 * go. Where the source has one home only the manager is the reaper.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "cpu.h"
#include "engine.h"
#include "reap/reap.h"
#include "reapers.h"
#include "table.h"
#include "thread.h"
#include "watch.h"

#define BATCH        64
#define STACK_SIZE   (1u << 20) /* callbacks are the application's */
#define LOOK_NS      UINT64_C(1000000000)
#define WAKE         UINT64_MAX /* an event's data: our own descriptor; else a home */
#define NOT_PINNED   UINT_MAX
#define BROKEN_MS    1000 /* after the source broke, which it may say for ever */
#define RECONCILE_MS 20   /* before the next try */

struct reaper {
	struct reapers *all;
	unsigned int cpu;
	pthread_t thread;
	int epoll_fd;
	int wake_fd;
	bool stop;  /* atomic: drain no more */
	bool ended; /* atomic: the thread returns */
	bool busy;  /* atomic: there was something to tell, and more may come */
	struct reaper *next;
	uint64_t looked; /* atomic: the last kick before it began to drain; it is done since */

	/* Statistics: one writer. */
	uint64_t wakeups;
	uint64_t rounds;
	uint64_t slowest_ns;
};

struct home {
	pthread_mutex_t lock;
	struct reaper *reaper; /* atomic: who drains it */
	bool placed;           /* atomic: it has the reaper that it should have */
	bool rang;             /* atomic: it has not, and has something to tell */
};

struct reapers {
	struct knell_engine *engine;
	bool split;
	bool stop; /* atomic */
	pthread_t manager;
	int wake_fd; /* the manager's */
	int epoll_fd;
	unsigned int home_count;
	struct home *homes;

	uint64_t reconciled; /* the manager's: when it last did so by itself */

	/* The manager's, and those of whoever asks for statistics: */
	pthread_mutex_t lock;
	struct reaper *running;
	struct reaper *leaving; /* told to stop; their threads may be in a callback still */
	struct reaper self;     /* the manager as a reaper, where the source is not split */
	cpu_set_t mask;         /* CPUs that may be used */
	uint64_t kick;          /* atomic: the last one's number */
	uint64_t moved;         /* the last kick when a home went from one to another */
};

/* The engine whose record this thread tells now: it must not wait for its own reaper. */
static _Thread_local const struct reapers *inside;

bool reapers_inside(void)
{
	return inside;
}

bool reapers_split(const struct reapers *all)
{
	return all->split;
}

static const struct knell_source_ops *ops_of(const struct reapers *all)
{
	return all->engine->source->ops;
}

static void wake(int fd)
{
	const uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));

	(void)n; /* it cannot fail but for a full counter, which wakes as well */
}

static void clear(int fd)
{
	uint64_t ignored;
	ssize_t n = read(fd, &ignored, sizeof(ignored));

	(void)n;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written by the builtin */
static void count(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

/* ---- a reaper ---- */

static bool is_mine(const struct reaper *me, unsigned int home)
{
	return __atomic_load_n(&me->all->homes[home].reaper, __ATOMIC_ACQUIRE) == me;
}

static void note_time(struct reaper *me, uint64_t before)
{
	uint64_t took = clock_ns(CLOCK_MONOTONIC) - before;

	count(&me->rounds, me->rounds + 1);
	if (took > me->slowest_ns)
		count(&me->slowest_ns, took);
}

/* As the op reap_home: after how many ms it is to be drained again. */
static int drain(struct reaper *me, unsigned int number)
{
	struct home *home = &me->all->homes[number];
	struct knell_source *source = me->all->engine->source;
	uint64_t before;
	int r;

	pthread_mutex_lock(&home->lock);
	/* Given away meanwhile: its new reaper would not know how deep we let it sleep. */
	if (!is_mine(me, number)) {
		pthread_mutex_unlock(&home->lock);
		return -1;
	}
	before = clock_ns(CLOCK_MONOTONIC);
	inside = me->all;
	table_begin();
	r = source->ops->reap_home(source, number);
	inside = NULL;
	note_time(me, before);
	pthread_mutex_unlock(&home->lock);
	table_end(me->all->engine->table); /* may wait: not with a lock */
	return r;
}

/* Drains what is ours. Returns how long to sleep at most, as poll(2) has it. */
static int drain_all(struct reaper *me)
{
	struct reapers *all = me->all;
	int sleep = -1;

	for (unsigned int i = 0; i < all->home_count; i++) {
		int ms = is_mine(me, i) ? drain(me, i) : -1;

		if (ms >= 0 && (sleep < 0 || ms < sleep))
			sleep = ms;
	}
	__atomic_store_n(&me->busy, sleep >= 0, __ATOMIC_RELEASE);
	if (sleep < 0 && ops_of(all)->reconcile_due(all->engine->source))
		wake(all->wake_fd);
	return sleep;
}

/* A home that may have a reaper of its own gets it now: this one drains it until then. */
static void hear(struct reaper *me, const struct epoll_event *events, int n)
{
	for (int i = 0; i < n; i++) {
		uint64_t home = events[i].data.u64;

		if (home == WAKE) {
			clear(me->wake_fd);
		} else if (!__atomic_load_n(&me->all->homes[home].placed, __ATOMIC_RELAXED)) {
			__atomic_store_n(&me->all->homes[home].rang, true, __ATOMIC_RELEASE);
			wake(me->all->wake_fd);
		}
	}
}

static void *reaper_main(void *arg)
{
	struct reaper *me = arg;
	struct epoll_event events[BATCH];
	uint64_t looked = clock_ns(CLOCK_MONOTONIC_COARSE), now;
	char name[16];
	int n, sleep;

	snprintf(name, sizeof(name), "knell-reap/%u", me->cpu % 10000u);
	pthread_setname_np(pthread_self(), name);
	cpu_pin(me->cpu);
	thread_hurry();
	while (!__atomic_load_n(&me->stop, __ATOMIC_ACQUIRE)) {
		/* Acquire and release: pair with reapers_kick() and reapers_have_looked(). */
		uint64_t kick = __atomic_load_n(&me->all->kick, __ATOMIC_ACQUIRE);

		sleep = drain_all(me);
		__atomic_store_n(&me->looked, kick, __ATOMIC_RELEASE);
		n = epoll_wait(me->epoll_fd, events, BATCH, sleep);
		if (n > 0)
			count(&me->wakeups, me->wakeups + 1);
		hear(me, events, n);
		now = clock_ns(CLOCK_MONOTONIC_COARSE);
		if (sched_getcpu() != (int)me->cpu ? !cpu_keep(me->cpu) : now - looked > LOOK_NS) {
			looked = now;
			wake(me->all->wake_fd);
		}
	}
	__atomic_store_n(&me->ended, true, __ATOMIC_RELEASE);
	wake(me->all->wake_fd);
	return NULL;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int open_fds(int *ret_epoll, int *ret_wake)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = WAKE };

	*ret_epoll = epoll_create1(EPOLL_CLOEXEC);
	*ret_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (*ret_epoll < 0 || *ret_wake < 0 ||
	    epoll_ctl(*ret_epoll, EPOLL_CTL_ADD, *ret_wake, &event) < 0)
		return -errno;
	return 0;
}

static int reaper_start(struct reaper **ret, struct reapers *all, unsigned int cpu)
{
	struct reaper *reaper = calloc(1, sizeof(*reaper));
	int r;

	if (!reaper)
		return -ENOMEM;
	reaper->all = all;
	reaper->cpu = cpu;
	r = open_fds(&reaper->epoll_fd, &reaper->wake_fd);
	if (r == 0)
		r = thread_start(&reaper->thread, STACK_SIZE, reaper_main, reaper);
	if (r < 0) {
		close_fd(&reaper->epoll_fd);
		close_fd(&reaper->wake_fd);
		free(reaper);
		return r;
	}
	reaper->next = all->running;
	all->running = reaper;
	*ret = reaper;
	return 0;
}

/* ---- who drains what: the manager, with all->lock ---- */

static struct reaper *reaper_on(const struct reapers *all, unsigned int cpu)
{
	struct reaper *reaper = all->running;

	while (reaper && reaper->cpu != cpu)
		reaper = reaper->next;
	return reaper;
}

/* The home's own CPU, or, if we may not run there, always the same one of ours. */
static unsigned int cpu_for(const struct reapers *all, unsigned int home)
{
	unsigned int left = home % (unsigned int)CPU_COUNT(&all->mask);

	if (home < CPU_SETSIZE && CPU_ISSET(home, &all->mask))
		return home;
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &all->mask) && left-- == 0)
			return cpu;
	}
	return home;
}

/* From now on its bell rings there. By edges, and so it does not wake while records wait. */
static int move_bell(struct reapers *all, unsigned int home, const struct reaper *from,
		     const struct reaper *to)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = home };
	struct knell_source *source = all->engine->source;
	int fd = source->ops->home_fd(source, home);

	if (epoll_ctl(to->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	if (from)
		epoll_ctl(from->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	return 0;
}

/*
 * The bell first, then the home, then a kick: whatever is queued meanwhile is seen by one of the
 * two.
 */
static int give(struct reapers *all, unsigned int number, struct reaper *to)
{
	struct home *home = &all->homes[number];
	struct reaper *from = home->reaper;
	int r;

	if (from == to)
		return 0;
	r = move_bell(all, number, from, to);
	if (r < 0)
		return r;
	__atomic_store_n(&home->reaper, to, __ATOMIC_RELEASE);
	/* Both may have passed it by meanwhile. */
	all->moved = __atomic_add_fetch(&all->kick, 1, __ATOMIC_ACQ_REL);
	wake(to->wake_fd);
	return 0;
}

/*
 * To the reaper of its CPU. If there is none, and none can be had now, it stays where it is until
 * it rings again.
 */
static void place(struct reapers *all, unsigned int number)
{
	unsigned int cpu = cpu_for(all, number);
	struct reaper *reaper = reaper_on(all, cpu);
	bool placed =
		(reaper || reaper_start(&reaper, all, cpu) == 0) && give(all, number, reaper) == 0;

	__atomic_store_n(&all->homes[number].placed, placed, __ATOMIC_RELAXED);
}

static void dismiss(struct reapers *all, struct reaper *reaper)
{
	struct reaper **link = &all->running;

	while (*link != reaper)
		link = &(*link)->next;
	*link = reaper->next;
	reaper->next = all->leaving;
	all->leaving = reaper;
	__atomic_store_n(&reaper->stop, true, __ATOMIC_RELEASE);
	wake(reaper->wake_fd);
}

static void bury(struct reaper *reaper)
{
	pthread_join(reaper->thread, NULL);
	close_fd(&reaper->epoll_fd);
	close_fd(&reaper->wake_fd);
	free(reaper);
}

static void bury_ended(struct reapers *all)
{
	struct reaper **link = &all->leaving, *reaper;

	while ((reaper = *link) != NULL) {
		if (!__atomic_load_n(&reaper->ended, __ATOMIC_ACQUIRE)) {
			link = &reaper->next;
			continue;
		}
		*link = reaper->next;
		bury(reaper);
	}
}

static bool has_homes(const struct reapers *all, const struct reaper *reaper)
{
	for (unsigned int i = 0; i < all->home_count; i++) {
		if (all->homes[i].reaper == reaper)
			return true;
	}
	return false;
}

/* False: the machine has more CPUs than a cpu_set_t, or none is ours for a moment. */
static bool read_mask(cpu_set_t *ret)
{
	return sched_getaffinity(0, sizeof(*ret), ret) == 0 && CPU_COUNT(ret) > 0;
}

/* CPUs were taken from us or given to us. Homes that may move do so when they ring. */
static void follow_mask(struct reapers *all)
{
	struct reaper *reaper, *next;
	cpu_set_t now;

	if (!read_mask(&now) || CPU_EQUAL(&now, &all->mask))
		return;
	all->mask = now;
	for (unsigned int i = 0; i < all->home_count; i++) {
		__atomic_store_n(&all->homes[i].placed, false, __ATOMIC_RELAXED);
		if (!CPU_ISSET(all->homes[i].reaper->cpu, &now))
			place(all, i);
	}
	for (reaper = all->running; reaper; reaper = next) {
		next = reaper->next;
		if (!CPU_ISSET(reaper->cpu, &now) && !has_homes(all, reaper))
			dismiss(all, reaper);
	}
}

static void place_homes(struct reapers *all)
{
	for (unsigned int i = 0; i < all->home_count; i++) {
		if (__atomic_exchange_n(&all->homes[i].rang, false, __ATOMIC_ACQ_REL))
			place(all, i);
	}
}

static void look(struct reapers *all)
{
	pthread_mutex_lock(&all->lock);
	follow_mask(all);
	place_homes(all);
	bury_ended(all);
	pthread_mutex_unlock(&all->lock);
}

uint64_t reapers_kick(struct reapers *all)
{
	struct reaper *reaper;
	uint64_t kick;

	pthread_mutex_lock(&all->lock);
	kick = __atomic_add_fetch(&all->kick, 1, __ATOMIC_ACQ_REL);
	for (reaper = all->running; reaper; reaper = reaper->next)
		wake(reaper->wake_fd);
	pthread_mutex_unlock(&all->lock);
	return kick;
}

bool reapers_have_looked(struct reapers *all, uint64_t kick)
{
	const struct reaper *reaper;
	bool all_have;

	pthread_mutex_lock(&all->lock);
	all_have = all->moved <= kick;
	for (reaper = all->running; reaper; reaper = reaper->next)
		all_have &= __atomic_load_n(&reaper->looked, __ATOMIC_ACQUIRE) >= kick;
	pthread_mutex_unlock(&all->lock);
	return all_have;
}

/* ---- while everything stands still ---- */

static void unlock_homes(struct reapers *all, unsigned int count)
{
	while (count > 0)
		pthread_mutex_unlock(&all->homes[--count].lock);
}

/* With all homes locked. Who lives is told at once, who is taken in by the next round of his home.
 */
static int reconcile(struct reapers *all)
{
	struct knell_source *source = all->engine->source;
	const struct reapers *outside = inside;
	int r;

	inside = all;
	r = source->ops->reconcile(source);
	inside = outside;
	unlock_homes(all, all->home_count);
	reapers_kick(all);
	return r;
}

int reapers_reconcile(struct reapers *all)
{
	if (inside == all)
		return knell_fail(-EDEADLK, "knell_reconcile() from inside a callback");
	for (unsigned int i = 0; i < all->home_count; i++)
		pthread_mutex_lock(&all->homes[i].lock);
	return reconcile(all);
}

static bool is_quiet(struct reapers *all)
{
	bool quiet = true;

	pthread_mutex_lock(&all->lock);
	for (const struct reaper *reaper = all->running; reaper; reaper = reaper->next)
		quiet &= !__atomic_load_n(&reaper->busy, __ATOMIC_ACQUIRE);
	pthread_mutex_unlock(&all->lock);
	return quiet;
}

/* False: not now. A storm that loses again and again is held up by it once a second at most. */
static bool try_reconcile(struct reapers *all)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC_COARSE);

	if (!is_quiet(all) && now - all->reconciled < LOOK_NS)
		return false;
	for (unsigned int i = 0; i < all->home_count; i++) {
		if (pthread_mutex_trylock(&all->homes[i].lock) == 0)
			continue;
		unlock_homes(all, i);
		return false;
	}
	all->reconciled = now;
	reconcile(all);
	return true;
}

/* ---- the manager ---- */

static int dispatch_all(struct reapers *all)
{
	struct knell_engine *engine = all->engine;
	uint64_t before = clock_ns(CLOCK_MONOTONIC);
	int r;

	pthread_mutex_lock(&engine->lock);
	inside = all;
	r = knell_engine_dispatch(engine);
	inside = NULL;
	pthread_mutex_unlock(&engine->lock);
	note_time(&all->self, before);
	count(&all->self.wakeups, all->self.wakeups + 1);
	return r;
}

static void dispatch_rest(struct reapers *all)
{
	struct knell_source *source = all->engine->source;
	struct knell_watches *watches = watches_of(all->engine);

	knell_reap_clear(all->engine);
	if (source->ops->rest(source))
		reapers_kick(all);
	if (watches) {
		inside = all;
		knell_watches_dispatch(watches);
		inside = NULL;
	}
}

static void *manager_main(void *arg)
{
	struct reapers *all = arg;
	struct knell_source *source = all->engine->source;
	struct epoll_event events[2];
	int sleep = -1;

	pthread_setname_np(pthread_self(), "knell-reap");
	thread_hurry();
	while (!__atomic_load_n(&all->stop, __ATOMIC_ACQUIRE)) {
		int n = epoll_wait(all->epoll_fd, events, 2, sleep);

		sleep = -1;
		clear(all->wake_fd);
		if (!all->split) {
			if (dispatch_all(all) < 0)
				poll(NULL, 0, BROKEN_MS);
			continue;
		}
		look(all);
		if (n > 0)
			dispatch_rest(all);
		/* Not if a callback takes its time: what else we do must not wait for it. */
		if (source->ops->reconcile_due(source) && !try_reconcile(all))
			sleep = RECONCILE_MS;
	}
	return NULL;
}

/* ---- starting and stopping ---- */

/* Waits for their callbacks, which may still ask for statistics. */
static void end_reapers(struct reapers *all)
{
	struct reaper *reaper, *next;

	pthread_mutex_lock(&all->lock);
	while (all->running)
		dismiss(all, all->running);
	reaper = all->leaving;
	all->leaving = NULL;
	pthread_mutex_unlock(&all->lock);
	for (; reaper; reaper = next) {
		next = reaper->next;
		bury(reaper);
	}
}

static void reapers_free(struct reapers *all)
{
	for (unsigned int i = 0; i < all->home_count; i++)
		pthread_mutex_destroy(&all->homes[i].lock);
	free(all->homes);
	close_fd(&all->epoll_fd);
	close_fd(&all->wake_fd);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

/* The source is the host's again. */
static void end_all(struct knell_engine *engine)
{
	struct reapers *all = engine->reapers;

	end_reapers(all);
	if (all->split)
		engine->source->ops->join(engine->source);
	engine->reapers = NULL;
	reapers_free(all);
}

/* The first reaper is that of the CPU that we are on: it has all homes until they ring. */
static int start_first(struct reapers *all)
{
	struct knell_source *source = all->engine->source;
	unsigned int count = source->rings;
	struct reaper *first;
	int cpu = sched_getcpu();
	int r;

	all->homes = calloc(count, sizeof(*all->homes));
	if (!all->homes)
		return -ENOMEM;
	all->home_count = count;
	for (unsigned int i = 0; i < count; i++)
		pthread_mutex_init(&all->homes[i].lock, NULL);
	r = reaper_start(&first, all, cpu < 0 ? 0 : (unsigned int)cpu);
	pthread_mutex_lock(&all->lock);
	for (unsigned int i = 0; r == 0 && i < count; i++)
		r = give(all, i, first);
	pthread_mutex_unlock(&all->lock);
	return r;
}

/* Before the first reaper, who may wake the manager. */
static int prepare_manager(struct reapers *all)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 0 };
	int r = open_fds(&all->epoll_fd, &all->wake_fd);

	if (r == 0 && epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, all->engine->epoll_fd, &event) < 0)
		r = -errno;
	return r;
}

static int start_manager(struct reapers *all)
{
	int r = thread_start(&all->manager, STACK_SIZE, manager_main, all);

	/* What waited before is looked at. */
	if (r == 0)
		wake(all->wake_fd);
	return r;
}

int knell_reapers_start(struct knell_engine *engine)
{
	const struct knell_source_ops *ops = engine->source->ops;
	struct reapers *all;
	int r;

	if (engine->reapers)
		return knell_fail(-EALREADY, "the engine has reapers");
	/* They would drain what the host is about to tell. */
	if (engine->hosting)
		return knell_fail(-EDEADLK, "reapers cannot be started from inside a callback; "
					    "call knell_reapers_start() after it has returned");
	all = calloc(1, sizeof(*all));
	if (!all)
		return knell_fail(-ENOMEM, "no memory for reapers");
	all->engine = engine;
	all->epoll_fd = -1;
	all->wake_fd = -1;
	all->self.cpu = NOT_PINNED;
	pthread_mutex_init(&all->lock, NULL);
	engine->reapers = all;
	/* One home as it was opened, or CPUs whose numbers do not go into a mask: one reaper. */
	r = ops->split && read_mask(&all->mask) ? ops->split(engine->source) : -ENOTSUP;
	all->split = r == 0;
	if (r == 0 || r == -ENOTSUP)
		r = prepare_manager(all);
	if (r == 0 && all->split)
		r = start_first(all);
	if (r == 0)
		r = start_manager(all);
	if (r == 0)
		return 0;
	end_all(engine);
	return knell_fail(r, "cannot start reapers: %s", strerror(-r));
}

int knell_reapers_stop(struct knell_engine *engine)
{
	struct reapers *all = engine->reapers;

	if (!all)
		return 0;
	if (inside == all)
		return knell_fail(-EDEADLK, "a reaper cannot stop itself: not from a callback");
	__atomic_store_n(&all->stop, true, __ATOMIC_RELEASE);
	wake(all->wake_fd);
	pthread_join(all->manager, NULL);
	end_all(engine);
	return 0;
}

/* ---- statistics ---- */

static void fill(const struct reapers *all, const struct reaper *reaper,
		 struct knell_reaper_stats *stats)
{
	stats->cpu = reaper->cpu == NOT_PINNED ? UINT32_MAX : reaper->cpu;
	stats->homes = all->split ? 0 : 1;
	for (unsigned int i = 0; i < all->home_count; i++)
		stats->homes += all->homes[i].reaper == reaper;
	stats->wakeups = __atomic_load_n(&reaper->wakeups, __ATOMIC_RELAXED);
	stats->rounds = __atomic_load_n(&reaper->rounds, __ATOMIC_RELAXED);
	stats->slowest_ns = __atomic_load_n(&reaper->slowest_ns, __ATOMIC_RELAXED);
}

int knell_reapers_get_stats(struct knell_engine *engine, unsigned int index,
			    struct knell_reaper_stats *ret_stats)
{
	struct reapers *all = engine->reapers;
	struct knell_reaper_stats stats = { 0 };
	const struct reaper *reaper;

	if (!all)
		return -ENOENT;
	pthread_mutex_lock(&all->lock);
	reaper = all->split ? all->running : &all->self;
	while (reaper && index-- > 0)
		reaper = reaper->next;
	if (reaper)
		fill(all, reaper, &stats);
	pthread_mutex_unlock(&all->lock);
	if (!reaper)
		return -ENOENT;
	*ret_stats = stats;
	return 0;
}
