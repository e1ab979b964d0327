/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * engine.c - the engine: owns one source and the table of watchers, and brings records from the one
 * to the others. What a source needs to know is in source/source.h; what a user needs, in
 * <knell/knell.h>.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "engine.h"
#include "options.h"
#include "plugin.h"
#include "reap/reap.h"
#include "reapers.h"
#include "table.h"
#include "watch.h"

#define DEFAULT_RESERVE  32768u
#define MAX_RESERVE      1048576u
#define MAX_RING_SIZE    (1u << 30)
#define DEFAULT_BATCH_MS 10u
#define MAX_BATCH_MS     1000u
#define CACHE_LINE       64u
#define ALL_FLAGS        (KNELL_O_THREADS | KNELL_O_ARGS | KNELL_O_FREE | KNELL_O_IDS | KNELL_O_STREAM)

const struct knell_source_ops *const knell_sources[] = {
	&knell_source_bpf,
	&knell_source_kmod,
	&knell_source_ptrace,
	&knell_source_connector,
	&knell_source_pidfd,
	&knell_source_none,
	NULL,
};

static int check_range(const char *name, uint32_t value, uint32_t max)
{
	if (value > max)
		return knell_fail(-EINVAL, "%s must be at most %u, not %u", name, max, value);
	return 0;
}

/* Copies what the caller gave, checks it, and puts the defaults in. */
static int complete_options(struct knell_options *ret, const struct knell_options *given)
{
	struct knell_options o = { 0 };
	int r;

	if (given) {
		r = knell_take_options(&o, sizeof(o), given, offsetof(struct knell_options, source),
				       "knell_options");
		if (r < 0)
			return r;
	}
	if (o.flags & ~ALL_FLAGS)
		return knell_fail(-EINVAL, "knell_options.flags has unknown bits %#x",
				  o.flags & ~ALL_FLAGS);
	r = check_range("reserve", o.reserve, MAX_RESERVE);
	if (r == 0)
		r = check_range("ring_size", o.ring_size, MAX_RING_SIZE);
	if (r == 0)
		r = check_range("batch_ms", o.batch_ms, MAX_BATCH_MS);
	if (r < 0)
		return r;

	o.size = sizeof(o);
	if (!o.reserve)
		o.reserve = DEFAULT_RESERVE;
	if (!o.batch_ms)
		o.batch_ms = DEFAULT_BATCH_MS;
	*ret = o;
	return 0;
}

/* The host gets one descriptor for the engine's life, whatever is watched later. */
static int open_epoll(struct knell_engine *engine)
{
	struct epoll_event event = { .events = EPOLLIN }; /* no pointer: the source */
	int fd = engine->source->ops->fd(engine->source);

	engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (engine->epoll_fd < 0 ||
	    (fd >= 0 && epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0))
		return knell_fail(-errno, "cannot make the engine's descriptor: %s",
				  strerror(errno));
	return 0;
}

/*
 * What a source cannot do at all is no use to who asks for it. What it merely cannot tell (ids,
 * arguments) is missing in its records, and does not keep `auto` from it: so a subtree that we
 * start goes to ptrace before the connector, which needs less but knows less, and a stream never.
 */
static bool can_do(const struct knell_source_ops *ops, const struct knell_options *o)
{
	return !(o->flags & KNELL_O_STREAM) || ops->can & KNELL_CAN_STREAM;
}

static void init_locks(struct knell_engine *engine)
{
	pthread_mutexattr_t recursive;

	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&engine->lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	pthread_mutex_init(&engine->heard_lock, NULL);
	pthread_mutex_init(&engine->plugin_lock, NULL);
}

/* `o` is complete. */
static int open_with(struct knell_engine **ret_engine, const struct knell_source_ops *ops,
		     const struct knell_options *o)
{
	struct knell_engine *engine;
	int r;

	if (!can_do(ops, o))
		return knell_fail(-ENOTSUP,
				  "%s cannot stream the whole system; bpf, kmod and connector can",
				  ops->name);
	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return knell_fail(-ENOMEM, "no memory for an engine");
	engine->epoll_fd = -1;
	engine->reap_fd = -1;
	engine->flags = o->flags;
	init_locks(engine);
	engine->options = *o;
	r = table_new(&engine->table);
	if (r == 0)
		r = ops->open(&engine->source, engine, o);
	if (r < 0) {
		knell_close(engine);
		return r;
	}
	if (engine->source->rings == 0)
		engine->source->rings = 1;
	engine->rings = aligned_alloc(CACHE_LINE, engine->source->rings * sizeof(*engine->rings));
	if (engine->rings)
		memset(engine->rings, 0, engine->source->rings * sizeof(*engine->rings));
	if (!engine->rings) {
		knell_close(engine);
		return knell_fail(-ENOMEM, "no memory for an engine");
	}
	r = open_epoll(engine);
	if (r == 0)
		r = knell_reap_open(engine, ops);
	if (r < 0) {
		knell_close(engine);
		return r;
	}
	*ret_engine = engine;
	return 0;
}

static int open_best(struct knell_engine **ret_engine, const struct knell_options *o)
{
	char reasons[512] = "";
	int r;

	for (size_t i = 0; knell_sources[i]; i++) {
		const struct knell_source_ops *ops = knell_sources[i];
		size_t used = strlen(reasons);

		if (ops->explicit_only || !can_do(ops, o))
			continue;
		r = open_with(ret_engine, ops, o);
		if (r == 0)
			return 0;
		snprintf(reasons + used, sizeof(reasons) - used, "%s%s: %s", used ? "; " : "",
			 ops->name, knell_last_error());
	}
	return knell_fail(-ENOTSUP, "no source of events works here (%s)", reasons);
}

static const struct knell_source_ops *find_source(const char *name)
{
	for (size_t i = 0; knell_sources[i]; i++) {
		if (strcmp(knell_sources[i]->name, name) == 0)
			return knell_sources[i];
	}
	return NULL;
}

int knell_open(struct knell_engine **ret_engine, const struct knell_options *options)
{
	const struct knell_source_ops *ops;
	struct knell_options o = { 0 };
	int r = complete_options(&o, options);

	if (r < 0)
		return r;
	if (!o.source || strcmp(o.source, "auto") == 0)
		return open_best(ret_engine, &o);
	ops = find_source(o.source);
	if (!ops)
		return knell_fail(-EINVAL, "there is no source '%s'; 'knell doctor' lists them",
				  o.source);
	return open_with(ret_engine, ops, &o);
}

int knell_open_source(struct knell_engine **ret_engine, const struct knell_source_ops *ops,
		      const struct knell_options *options)
{
	struct knell_options o = { 0 };
	int r = complete_options(&o, options);

	return r < 0 ? r : open_with(ret_engine, ops, &o);
}

struct knell_engine *knell_close(struct knell_engine *engine)
{
	if (!engine)
		return NULL;
	knell_reapers_stop(engine);
	plugins_close(engine);
	if (engine->source)
		engine->source->ops->close(engine->source);
	knell_watches_free(engine->watches);
	knell_reap_close(engine);
	if (engine->epoll_fd >= 0)
		close(engine->epoll_fd);
	table_free(engine->table);
	free(engine->rings);
	pthread_mutex_destroy(&engine->plugin_lock);
	pthread_mutex_destroy(&engine->heard_lock);
	pthread_mutex_destroy(&engine->lock);
	free(engine);
	return NULL;
}

const char *knell_source(const struct knell_engine *engine)
{
	return engine->source->ops->name;
}

uint32_t knell_can(const struct knell_engine *engine)
{
	return engine->source->ops->can;
}

void knell_get_options(const struct knell_engine *engine, struct knell_options *ret_options)
{
	struct knell_options o = engine->options;
	size_t size = ret_options->size;

	o.size = size;
	o.source = knell_source(engine);
	memset(ret_options, 0, size);
	memcpy(ret_options, &o, size < sizeof(o) ? size : sizeof(o));
}

int knell_fd(const struct knell_engine *engine)
{
	return engine->epoll_fd;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written by the builtin */
static void count(uint64_t *counter, uint64_t more)
{
	__atomic_fetch_add(counter, more, __ATOMIC_RELAXED);
}

/* Numbers the record: a gap takes as many numbers as it lost records. */
static void number(struct knell_engine *engine, struct knell_event *event)
{
	struct ring_count *ring =
		&engine->rings[event->ring < engine->source->rings ? event->ring : 0];
	const struct knell_gap *gap = &event->u.gap;

	if (event->kind != KNELL_GAP) {
		count(&ring->records, 1);
		event->seq = __atomic_fetch_add(&ring->next_seq, 1, __ATOMIC_RELAXED);
		return;
	}
	count(&ring->lost_births, gap->births);
	count(&ring->lost_deaths, gap->deaths);
	count(&ring->lost_others, gap->others);
	event->seq = __atomic_fetch_add(&ring->next_seq, gap->births + gap->deaths + gap->others,
					__ATOMIC_RELAXED);
}

void knell_engine_tell_watchers(struct knell_engine *engine, struct knell_event *event)
{
	event->version = KNELL_EVENT_VERSION;
	number(engine, event);
	table_tell(engine->table, event);
}

void knell_engine_deliver(struct knell_engine *engine, struct knell_event *event)
{
	struct knell_watches *watches;

	if (event->kind == KNELL_EXIT)
		knell_reap_hear(engine, event);
	knell_engine_tell_watchers(engine, event);
	watches = watches_of(engine);
	if (watches && watches_want(watches, event->kind))
		knell_watches_hear(watches, event);
}

void knell_engine_deliver_gap(struct knell_engine *engine, uint32_t ring,
			      const struct knell_gap *gap, uint32_t flags)
{
	struct knell_event event;

	memset(&event, 0, sizeof(event));
	event.size = KNELL_EVENT_HEAD + sizeof(event.u.gap);
	event.kind = KNELL_GAP;
	event.flags = flags;
	event.ring = ring;
	event.time = knell_now();
	event.unknown = KNELL_U_PARENT | KNELL_U_UID | KNELL_U_GID | KNELL_U_CGROUP | KNELL_U_COMM |
			KNELL_U_CPU;
	event.u.gap = *gap;
	knell_engine_deliver(engine, &event);
}

bool knell_engine_wants(const struct knell_engine *engine, enum knell_kind kind)
{
	const struct knell_watches *watches = watches_of(engine);

	if (watches && watches_want(watches, kind))
		return true;
	return table_wants(engine->table, kind);
}

uint64_t knell_now(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

static uint64_t records(const struct knell_engine *engine)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < engine->source->rings; i++)
		sum += __atomic_load_n(&engine->rings[i].records, __ATOMIC_RELAXED);
	return sum;
}

int knell_engine_dispatch(struct knell_engine *engine)
{
	uint64_t before = records(engine);
	int r = 0;

	knell_reap_clear(engine);
	table_begin();
	if (engine->source->ops->dispatch)
		r = engine->source->ops->dispatch(engine->source);
	if (engine->watches) {
		int w = knell_watches_dispatch(engine->watches);

		r = r < 0 ? r : w;
	}
	table_end(engine->table);
	return r < 0 ? r : (int)(records(engine) - before);
}

int knell_dispatch(struct knell_engine *engine)
{
	int r;

	if (engine->reapers)
		return knell_fail(-EBUSY,
				  "the engine's reapers dispatch; see knell_reapers_stop()");
	knell_engine_host_begins(engine);
	r = knell_engine_dispatch(engine);
	knell_engine_host_ends(engine);
	return r;
}

void knell_engine_host_begins(struct knell_engine *engine)
{
	if (!engine->reapers)
		engine->hosting++;
}

void knell_engine_host_ends(struct knell_engine *engine)
{
	if (!engine->reapers)
		engine->hosting--;
}

bool knell_engine_split(const struct knell_engine *engine)
{
	return engine->reapers && reapers_split(engine->reapers);
}

void knell_engine_enter(struct knell_engine *engine)
{
	if (engine->reapers && !reapers_split(engine->reapers))
		pthread_mutex_lock(&engine->lock);
}

void knell_engine_leave(struct knell_engine *engine)
{
	if (engine->reapers && !reapers_split(engine->reapers))
		pthread_mutex_unlock(&engine->lock);
}

pid_t knell_fork(struct knell_engine *engine)
{
	pid_t pid;

	knell_engine_enter(engine);
	if (engine->source->ops->fork) {
		pid = engine->source->ops->fork(engine->source);
	} else {
		pid = fork();
		if (pid < 0)
			pid = knell_fail(-errno, "cannot fork: %s", strerror(errno));
	}
	/* A child has no use for the lock. */
	if (pid != 0)
		knell_engine_leave(engine);
	return pid;
}

int knell_reconcile(struct knell_engine *engine)
{
	int r;

	if (!engine->source->ops->reconcile)
		return 0;
	knell_engine_enter(engine);
	knell_engine_host_begins(engine);
	r = engine->reapers ? reapers_reconcile(engine->reapers)
			    : engine->source->ops->reconcile(engine->source);
	knell_engine_host_ends(engine);
	knell_engine_leave(engine);
	return r;
}

void knell_get_stats(const struct knell_engine *engine, struct knell_stats *ret_stats)
{
	struct knell_stats stats = {
		.watcher_errors = __atomic_load_n(&engine->watcher_errors, __ATOMIC_RELAXED) +
				  table_errors(engine->table),
	};

	for (unsigned int i = 0; i < engine->source->rings; i++) {
		const struct ring_count *ring = &engine->rings[i];

		stats.records += __atomic_load_n(&ring->records, __ATOMIC_RELAXED);
		stats.lost_births += __atomic_load_n(&ring->lost_births, __ATOMIC_RELAXED);
		stats.lost_deaths += __atomic_load_n(&ring->lost_deaths, __ATOMIC_RELAXED);
		stats.lost_others += __atomic_load_n(&ring->lost_others, __ATOMIC_RELAXED);
	}
	knell_reap_stats(engine, &stats);
	if (engine->source->ops->stats)
		engine->source->ops->stats(engine->source, &stats);
	*ret_stats = stats;
}

int knell_probe(unsigned int index, struct knell_probe *ret_probe)
{
	struct knell_probe probe = { 0 };

	for (unsigned int i = 0; i <= index; i++) {
		if (!knell_sources[i])
			return -ENOENT;
	}
	probe.name = knell_sources[index]->name;
	probe.summary = knell_sources[index]->summary;
	probe.can = knell_sources[index]->can;
	probe.error = knell_sources[index]->probe(&probe);
	*ret_probe = probe;
	return 0;
}
