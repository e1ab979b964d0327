/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf.c - the source that hears everything, from BPF programs on the kernel's tracepoints: opening
 * and closing, dispatching for a host without reapers, and starting a child that is watched from
 * birth. It owns the source, its timer and the descriptor that the host waits for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bpf.h"
#include "clock.h"

#define DEFAULT_RING_SIZE  (1u << 20)
#define DEFAULT_RINGS_SIZE (8u << 20) /* of all CPUs together, before each gets less than ... */
#define SMALLEST_RING_SIZE (256u << 10)

static uint32_t ring_size(uint32_t asked)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
	uint32_t size = page;
	long cpus = sysconf(_SC_NPROCESSORS_CONF);

	if (!asked) {
		asked = cpus > 0 ? DEFAULT_RINGS_SIZE / (uint32_t)cpus : DEFAULT_RING_SIZE;
		if (asked > DEFAULT_RING_SIZE)
			asked = DEFAULT_RING_SIZE;
		if (asked < SMALLEST_RING_SIZE)
			asked = SMALLEST_RING_SIZE;
	}
	while (size < asked)
		size *= 2;
	return size;
}

static int open_fds(struct bpf_source *s)
{
	struct epoll_event event = { .events = EPOLLIN };

	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->timer_fd < 0 ||
	    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->timer_fd, &event) < 0 ||
	    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->bell.fd, &event) < 0 ||
	    (s->ids && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, ids_fd(s->ids), &event) < 0))
		return knell_fail(-errno, "cannot make the reaper's descriptors: %s",
				  strerror(errno));
	return 0;
}

/* What reapers left is the host's now. */
void bpf_come_back(const struct bpf_source *s)
{
	clock_set_timer(s->timer_fd, 0, 1);
}

static void clear_timer(const struct bpf_source *s)
{
	uint64_t expirations;
	ssize_t n = read(s->timer_fd, &expirations, sizeof(expirations));

	(void)n; /* it has not expired: fine */
}

static void clear_bell(struct bpf_source *s)
{
	if (ring_end(&s->bell) == s->bell.at)
		return;
	ring_clear(&s->bell);
	__atomic_fetch_add(&s->wakeups, 1, __ATOMIC_RELAXED);
}

static int bpf_dispatch(struct knell_source *source)
{
	struct bpf_source *s = (struct bpf_source *)source;
	bool busy = false, asleep;

	clear_bell(s);
	clear_timer(s);
	asleep = bpf_rounds(&s->all, &busy);
	if (!busy && bpf_reconcile_due(source)) {
		bpf_reconcile(s);
		asleep = bpf_rounds(&s->all, &busy);
	}
	if (!asleep)
		clock_set_timer(s->timer_fd, 0, 1); /* still more: come back at once */
	else
		clock_set_timer(s->timer_fd, 0, busy ? s->options.batch_ms * UINT64_C(1000000) : 0);
	return 0;
}

/* With reapers: what is no home's. The bell rang for one whose ring is full. */
static bool bpf_rest(struct knell_source *source)
{
	struct bpf_source *s = (struct bpf_source *)source;
	bool rang = ring_end(&s->bell) != s->bell.at;

	clear_bell(s);
	clear_timer(s);
	return rang;
}

/* The child of the thread that calls this gets the root slot, whatever other threads fork. */
static int arm(struct bpf_source *s, uint32_t slot, uint32_t *ret_tgid)
{
	struct knell_watch_entry *watch = &s->watches[KNELL_WATCH_TREE];
	uint32_t tgid, tid;
	int r = bpf_source_whoami(s, &tgid, &tid);

	if (r < 0)
		return knell_fail(r, "cannot ask the kernel for our own pid: %s", strerror(-r));
	if (tgid >= s->interest_count)
		return knell_fail(-ENOSPC, "pid_max was raised while Knell ran; start it again");
	watch->armed_tid = tid;
	__atomic_store_n(&s->interest[tgid], KNELL_INTEREST(KNELL_WATCH_TREE, slot | KNELL_ARMED),
			 __ATOMIC_RELEASE);
	*ret_tgid = tgid;
	return 0;
}

static pid_t bpf_fork(struct knell_source *source)
{
	struct bpf_source *s = (struct bpf_source *)source;
	uint32_t slot = pool_take(s);
	uint32_t tgid = 0;
	pid_t pid = -1;
	int r;

	if (!slot)
		return knell_fail(-ENOSPC, "the reserve of %u is used up; ask for a larger one",
				  s->options.reserve);
	/* One thread at a time is armed. */
	pthread_mutex_lock(&s->order_lock);
	r = arm(s, slot, &tgid);
	if (r == 0) {
		pid = fork();
		r = pid < 0 ? -errno : 0;
		if (r < 0)
			__atomic_store_n(&s->interest[tgid], 0, __ATOMIC_RELEASE);
		if (r < 0)
			knell_fail(r, "cannot fork: %s", strerror(-r));
	}
	pthread_mutex_unlock(&s->order_lock);
	if (r < 0)
		pool_put(s, slot);
	return r < 0 ? r : pid;
}

static int bpf_source_reconcile(struct knell_source *source)
{
	return bpf_reconcile((struct bpf_source *)source);
}

static void bpf_stats(const struct knell_source *source, struct knell_stats *stats)
{
	const struct bpf_source *s = (const struct bpf_source *)source;

	stats->wakeups = __atomic_load_n(&s->wakeups, __ATOMIC_RELAXED);
	stats->reserve_used = __atomic_load_n(&s->in_use_peak, __ATOMIC_RELAXED);
}

static int bpf_fd(const struct knell_source *source)
{
	return ((const struct bpf_source *)source)->epoll_fd;
}

static void bpf_close(struct knell_source *source)
{
	struct bpf_source *s = (struct bpf_source *)source;

	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	if (s->timer_fd >= 0)
		close(s->timer_fd);
	ids_close(s->ids);
	free(s->held.all);
	bpf_source_unload(s);
	pthread_mutex_destroy(&s->order_lock);
	pthread_mutex_destroy(&s->lost_lock);
	free(s);
}

static int bpf_open(struct knell_source **ret_source, struct knell_engine *engine,
		    const struct knell_options *options)
{
	struct bpf_source *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return knell_fail(-ENOMEM, "no memory for a source");
	s->base.ops = &knell_source_bpf;
	s->base.engine = engine;
	s->options = *options;
	s->options.ring_size = ring_size(options->ring_size);
	s->epoll_fd = -1;
	s->timer_fd = -1;
	pthread_mutex_init(&s->order_lock, NULL);
	pthread_mutex_init(&s->lost_lock, NULL);
	r = bpf_source_load(s);
	/* Where neither way is open ids are not heard. */
	if (r == 0 && options->flags & KNELL_O_IDS && !s->hears_ids)
		ids_open(&s->ids, 0);
	if (r == 0)
		r = open_fds(s);
	if (r < 0) {
		bpf_close(&s->base);
		return r;
	}
	s->base.rings = s->cpus;
	if (options->flags & KNELL_O_STREAM)
		r = bpf_follow_stream(s);
	if (r < 0) {
		bpf_close(&s->base);
		return knell_fail(r, "the task iterator failed: %s", strerror(-r));
	}
	bpf_go_to_sleep(&s->all, false);
	*ret_source = &s->base;
	return 0;
}

const struct knell_source_ops knell_source_bpf = {
	.name = "bpf",
	.summary = "everything, from tracepoints; cause of death, resource use, exact loss counts",
	.probe = bpf_source_probe,
	.open = bpf_open,
	.close = bpf_close,
	.fd = bpf_fd,
	.dispatch = bpf_dispatch,
	.fork = bpf_fork,
	.watch = bpf_watch,
	.reconcile = bpf_source_reconcile,
	.can = KNELL_CAN_FORK | KNELL_CAN_WATCH | KNELL_CAN_SUBTREE | KNELL_CAN_STREAM |
	       KNELL_CAN_EXIT | KNELL_CAN_FREE | KNELL_CAN_STATUS | KNELL_CAN_CAUSE |
	       KNELL_CAN_IDS | KNELL_CAN_THREADS | KNELL_CAN_FILE | KNELL_CAN_ARGS |
	       KNELL_CAN_COMM | KNELL_CAN_USAGE | KNELL_CAN_CGROUP | KNELL_CAN_OWNER,
	.stats = bpf_stats,
	.split = bpf_split,
	.join = bpf_join,
	.home_fd = bpf_home_fd,
	.reap_home = bpf_reap_home,
	.rest = bpf_rest,
	.reconcile_due = bpf_reconcile_due,
};
