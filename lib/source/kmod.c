/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kmod.c - the source that hears by the kernel module knell.ko, through /dev/knell. It owns a
 * session, a timer and the descriptor that the host waits for.
 *
 * The session has one watch, without a process of its own and with the engine's whole reserve:
 * everybody that a filter lets pass, or a group. Whoever is watched joins it, dead or alive, so
 * each process has one record of each event, however often it is asked for. A child joins before it
 * runs: the thread that forks it is armed. Which deaths are told, in which order, and what is
 * counted, is the module's business (docs/kmod.md); records are only handed on.
 *
 * Sleep. The module wakes us for each burst. So the session is in the epoll set in silence: its
 * first record wakes us, and then a timer does, once a batch, until nothing came in a batch.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <knell/kmod.h>

#include "clock.h"
#include "sleep.h"
#include "source.h"

#define BUFFER_SIZE 65536u
#define ROUNDS      64 /* of so many bytes, before the host gets its turn */

struct kmod_source {
	struct knell_source base;
	int session;
	struct source_sleep sleep;
	uint64_t batch;            /* ns */
	pthread_mutex_t fork_lock; /* one thread at a time is armed */
	uint64_t reconciled;       /* records of this kind */
	char *buffer;
	size_t at, end; /* what of it is not told yet */
};

static int order(int session, unsigned long command, void *argument)
{
	return ioctl(session, command, argument) < 0 ? -errno : 0;
}

/* ---- why not ---- */

static void explain(int error, struct knell_probe *probe)
{
	switch (error) {
	case -ENOENT:
	case -ENXIO:
	case -ENODEV:
		strcpy(probe->reason,
		       "the kernel module knell is not loaded: there is no " KNELL_KMOD_DEVICE);
		strcpy(probe->remedy, "build it for this kernel (make kmod; see docs/kmod.md) and "
				      "load it as root: insmod knell.ko");
		return;
	case -EACCES:
	case -EPERM:
		strcpy(probe->reason, "no permission to open " KNELL_KMOD_DEVICE);
		strcpy(probe->remedy, "run as root, or let root give the device to a group "
				      "(a stream also takes CAP_SYS_PTRACE)");
		return;
	case -EMFILE:
	case -ENFILE:
		strcpy(probe->reason, "no more sessions, or no more descriptors");
		strcpy(probe->remedy, "raise the module's parameter max_sessions, or ulimit -n");
		return;
	case -ENOTTY:
	case -E2BIG:
		strcpy(probe->reason,
		       "the kernel module knell that is loaded is of another version");
		strcpy(probe->remedy, "load the one that was built with this library");
		return;
	}
	snprintf(probe->reason, sizeof(probe->reason), KNELL_KMOD_DEVICE " fails: %s",
		 strerror(-error));
	strcpy(probe->remedy, "look into the kernel's log; see docs/kmod.md");
}

/* A session of a module that knows what we ask of it; -errno. */
static int open_session(void)
{
	struct knell_kmod_arm nothing = { .size = sizeof(nothing) };
	int session = open(KNELL_KMOD_DEVICE, O_RDONLY | O_NONBLOCK | O_CLOEXEC), r;

	if (session < 0)
		return -errno;
	/* There is nobody to join yet: the right answer. */
	r = order(session, KNELL_IOC_ARM, &nothing);
	if (r == -ENOENT)
		return session;
	close(session);
	return r ? r : -ENOTTY;
}

static int kmod_probe(struct knell_probe *probe)
{
	struct knell_kmod_watch nobody = {
		.size = sizeof(nobody),
		.pidfd = -1,
		.flags = KNELL_KMOD_GROUP,
		.mask = KNELL_MASK(KNELL_EXIT),
	};
	int session = open_session(), r = session;

	if (session >= 0) {
		r = order(session, KNELL_IOC_WATCH, &nobody);
		close(session);
	}
	if (r < 0)
		explain(r, probe);
	return r;
}

/* ---- reading ---- */

/* Each record is whole, and begins at a multiple of 8 bytes. */
static void tell_buffer(struct kmod_source *s)
{
	while (s->end - s->at >= KNELL_EVENT_HEAD) {
		void *at = s->buffer + s->at;
		struct knell_event *event = at;

		if (event->size < KNELL_EVENT_HEAD || event->size > s->end - s->at)
			break; /* cannot be */
		s->at += event->size;
		s->reconciled += (event->flags & KNELL_F_RECONCILED) != 0;
		if (event->kind != KNELL_INIT || knell_engine_wants(s->base.engine, KNELL_INIT))
			knell_engine_deliver(s->base.engine, event);
	}
	s->at = s->end = 0;
}

/* Takes what is there. -errno; 0: all of it; 1: there may be more. */
static int drain(struct kmod_source *s, bool *ret_busy)
{
	if (s->end)
		return -EDEADLK; /* from inside a callback */
	for (int i = 0; i < ROUNDS; i++) {
		ssize_t n = read(s->session, s->buffer, BUFFER_SIZE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		s->end = (size_t)n;
		*ret_busy = true;
		tell_buffer(s);
	}
	return 1;
}

static int kmod_dispatch(struct knell_source *source)
{
	struct kmod_source *s = (struct kmod_source *)source;
	bool busy = false;
	int r;

	sleep_count_wakeup(&s->sleep);
	r = drain(s, &busy);
	sleep_listen(&s->sleep, !busy);
	clock_set_timer(s->sleep.timer_fd, 0, r == 1 ? 1 : busy ? s->batch : 0);
	return r < 0 ? knell_fail(r, "cannot read from the kernel module: %s", strerror(-r)) : 0;
}

static int kmod_fd(const struct knell_source *source)
{
	return ((const struct kmod_source *)source)->sleep.epoll_fd;
}

/* ---- watching ---- */

static pid_t kmod_fork(struct knell_source *source)
{
	struct kmod_source *s = (struct kmod_source *)source;
	struct knell_kmod_arm arm = { .size = sizeof(arm), .on = 1 };
	pid_t pid;
	int r;

	pthread_mutex_lock(&s->fork_lock);
	r = order(s->session, KNELL_IOC_ARM, &arm);
	if (r < 0) {
		pthread_mutex_unlock(&s->fork_lock);
		return knell_fail(r,
				  r == -ENOSPC ? "the reserve is used up; ask for a larger one"
					       : "the kernel module refuses: %s",
				  strerror(-r));
	}
	pid = fork();
	if (pid < 0) {
		r = knell_fail(-errno, "cannot fork: %s", strerror(errno));
		arm.on = 0;
		order(s->session, KNELL_IOC_ARM, &arm);
		pid = r;
	}
	if (pid != 0) /* the child has no use for it */
		pthread_mutex_unlock(&s->fork_lock);
	return pid;
}

/* A record of this process's exit that was read, and is not told yet. */
static bool is_in_buffer(const struct kmod_source *s, const struct knell_task_id *id)
{
	const struct knell_event *event;

	for (size_t at = s->at; s->end - at >= KNELL_EVENT_HEAD; at += event->size) {
		const void *place = s->buffer + at;

		event = place;
		if (event->kind == KNELL_EXIT && event->task.tgid == id->tgid &&
		    event->task.start == id->start)
			return true;
	}
	return false;
}

static int kmod_watch(struct knell_source *source, int pidfd, uint32_t flags, uint64_t cookie,
		      struct knell_task_id *ret_id)
{
	struct kmod_source *s = (struct kmod_source *)source;
	struct knell_kmod_watch join = {
		.size = sizeof(join),
		.pidfd = pidfd,
		.flags = KNELL_KMOD_JOIN | (flags & KNELL_W_SUBTREE ? KNELL_KMOD_SUBTREE : 0),
		.cookie = cookie,
	};
	int r = order(s->session, KNELL_IOC_WATCH, &join);

	if (r < 0 && r != -EALREADY) {
		if (r == -ENOSPC)
			return knell_fail(r, "the reserve is used up; ask for a larger one");
		if (r == -EPERM)
			return knell_fail(r, "this process may not be looked at; root may, and who "
					     "has CAP_SYS_PTRACE");
		return r == -ESRCH ? r
				   : knell_fail(r, "the kernel module refuses: %s", strerror(-r));
	}
	ret_id->start = join.start;
	ret_id->tgid = ret_id->tid = join.tgid;
	return r == 0 || is_in_buffer(s, ret_id) ? 0 : r;
}

static int kmod_reconcile(struct knell_source *source)
{
	struct kmod_source *s = (struct kmod_source *)source;
	struct knell_kmod_living living = { .size = sizeof(living) };
	uint64_t before;
	bool busy;
	int r;

	do
		r = drain(s, &busy);
	while (r == 1);
	before = s->reconciled;
	if (r == 0)
		r = order(s->session, KNELL_IOC_LIVING, &living);
	while (r == 0 && (r = drain(s, &busy)) == 1)
		r = 0;
	return r < 0 ? knell_fail(r, "cannot ask the kernel module who lives: %s", strerror(-r))
		     : (int)(s->reconciled - before);
}

static void kmod_stats(const struct knell_source *source, struct knell_stats *stats)
{
	const struct kmod_source *s = (const struct kmod_source *)source;
	struct knell_kmod_stats all = { .size = sizeof(all) };

	stats->wakeups = s->sleep.wakeups;
	if (order(s->session, KNELL_IOC_STATS, &all) == 0)
		stats->reserve_used = all.peak;
}

/* ---- opening ---- */

static void set_filter(struct knell_kmod_watch *watch, const struct knell_filter *filter)
{
	if (filter->match & KNELL_MATCH_UID)
		watch->match |= KNELL_KMOD_MATCH_UID;
	if (filter->match & KNELL_MATCH_CGROUP)
		watch->match |= KNELL_KMOD_MATCH_CGROUP;
	if (filter->match & KNELL_MATCH_COMM)
		watch->match |= KNELL_KMOD_MATCH_COMM;
	watch->uid = filter->uid;
	watch->cgroup = filter->cgroup;
	memcpy(watch->comm, filter->comm, sizeof(watch->comm));
}

/* The one watch that everybody of this engine belongs to. */
static int set_watch(struct kmod_source *s, const struct knell_options *options)
{
	struct knell_kmod_watch watch = {
		.size = sizeof(watch),
		.pidfd = -1,
		.flags = KNELL_KMOD_CAUSE |
			 (options->flags & KNELL_O_STREAM ? KNELL_KMOD_ALL : KNELL_KMOD_GROUP),
		.mask = KNELL_MASK(KNELL_INIT) | KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXEC) |
			KNELL_MASK(KNELL_EXIT),
		.reserve = options->reserve,
	};
	int r;

	if (options->flags & KNELL_O_FREE)
		watch.mask |= KNELL_MASK(KNELL_FREE);
	if (options->flags & KNELL_O_IDS)
		watch.mask |= KNELL_MASK(KNELL_UID) | KNELL_MASK(KNELL_GID);
	if (options->flags & KNELL_O_STREAM)
		set_filter(&watch, &options->filter);
	r = order(s->session, KNELL_IOC_WATCH, &watch);
	if (r == -EPERM)
		return knell_fail(-ENOTSUP, "a stream of all processes takes root, or "
					    "CAP_SYS_PTRACE in the initial user namespace");
	if (r == -ENOSPC)
		return knell_fail(-EINVAL,
				  "a reserve of %u is more than the kernel module allows; ask for "
				  "less, or raise its parameter max_watches",
				  options->reserve);
	return r < 0 ? knell_fail(r, "the kernel module refuses: %s", strerror(-r)) : 0;
}

static void kmod_close(struct knell_source *source)
{
	struct kmod_source *s = (struct kmod_source *)source;

	sleep_close(&s->sleep);
	if (s->session >= 0)
		close(s->session);
	pthread_mutex_destroy(&s->fork_lock);
	free(s->buffer);
	free(s);
}

static int begin(struct kmod_source *s, const struct knell_options *options)
{
	struct knell_probe probe = { 0 };
	int r;

	s->session = open_session();
	if (s->session < 0) {
		explain(s->session, &probe);
		return knell_fail(-ENOTSUP, "%s; %s", probe.reason, probe.remedy);
	}
	s->buffer = malloc(BUFFER_SIZE);
	if (!s->buffer)
		return knell_fail(-ENOMEM, "no memory for a source");
	r = sleep_open(&s->sleep, s->session);
	return r < 0 ? r : set_watch(s, options);
}

static int kmod_open(struct knell_source **ret_source, struct knell_engine *engine,
		     const struct knell_options *options)
{
	struct kmod_source *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return knell_fail(-ENOMEM, "no memory for a source");
	s->base.ops = &knell_source_kmod;
	s->base.engine = engine;
	s->base.rings = 1;
	s->batch = options->batch_ms * UINT64_C(1000000);
	s->session = -1;
	sleep_init(&s->sleep);
	pthread_mutex_init(&s->fork_lock, NULL);
	r = begin(s, options);
	if (r < 0) {
		kmod_close(&s->base);
		return r;
	}
	*ret_source = &s->base;
	return 0;
}

const struct knell_source_ops knell_source_kmod = {
	.name = "kmod",
	.summary = "lives, cause of death, ids and resource use, from the module knell.ko; no "
		   "arguments",
	.can = KNELL_CAN_FORK | KNELL_CAN_WATCH | KNELL_CAN_SUBTREE | KNELL_CAN_STREAM |
	       KNELL_CAN_EXIT | KNELL_CAN_FREE | KNELL_CAN_STATUS | KNELL_CAN_CAUSE |
	       KNELL_CAN_IDS | KNELL_CAN_FILE | KNELL_CAN_COMM | KNELL_CAN_USAGE |
	       KNELL_CAN_CGROUP | KNELL_CAN_OWNER,
	.probe = kmod_probe,
	.open = kmod_open,
	.close = kmod_close,
	.fd = kmod_fd,
	.dispatch = kmod_dispatch,
	.fork = kmod_fork,
	.watch = kmod_watch,
	.reconcile = kmod_reconcile,
	.stats = kmod_stats,
};
