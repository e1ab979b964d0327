/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * engine.c - the engine: owns one source and the list of watchers, and brings records from the one
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

#include "engine.h"
#include "options.h"
#include "reap/reap.h"
#include "watch.h"

#define DEFAULT_RESERVE  32768u
#define MAX_RESERVE      1048576u
#define MAX_RING_SIZE    (1u << 30)
#define DEFAULT_BATCH_MS 10u
#define MAX_BATCH_MS     1000u
#define ALL_FLAGS        (KNELL_O_THREADS | KNELL_O_ARGS | KNELL_O_FREE | KNELL_O_IDS | KNELL_O_STREAM)

const struct knell_source_ops *const knell_sources[] = {
	&knell_source_bpf,   &knell_source_ptrace, &knell_source_connector,
	&knell_source_pidfd, &knell_source_none,   NULL,
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

/* `o` is complete. */
static int open_with(struct knell_engine **ret_engine, const struct knell_source_ops *ops,
		     const struct knell_options *o)
{
	struct knell_engine *engine;
	int r;

	if (!can_do(ops, o))
		return knell_fail(-ENOTSUP,
				  "%s cannot stream the whole system; bpf and connector can",
				  ops->name);
	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return knell_fail(-ENOMEM, "no memory for an engine");
	engine->epoll_fd = -1;
	engine->reap_fd = -1;
	engine->flags = o->flags;
	r = ops->open(&engine->source, engine, o);
	if (r < 0) {
		free(engine);
		return r;
	}
	if (engine->source->rings == 0)
		engine->source->rings = 1;
	engine->next_seq = calloc(engine->source->rings, sizeof(*engine->next_seq));
	if (!engine->next_seq) {
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
	if (engine->source)
		engine->source->ops->close(engine->source);
	knell_watches_free(engine->watches);
	knell_reap_close(engine);
	if (engine->epoll_fd >= 0)
		close(engine->epoll_fd);
	free(engine->watchers);
	free(engine->next_seq);
	free(engine);
	return NULL;
}

const char *knell_source(const struct knell_engine *engine)
{
	return engine->source->ops->name;
}

int knell_fd(const struct knell_engine *engine)
{
	return engine->epoll_fd;
}

int knell_watcher_add(struct knell_engine *engine, uint32_t mask, knell_watcher_fn fn,
		      void *userdata)
{
	struct watcher *grown;

	if (!fn || !mask || mask & ~KNELL_MASK_ALL)
		return knell_fail(-EINVAL, "a watcher needs a function and a mask of event kinds");
	grown = realloc(engine->watchers, (engine->watcher_count + 1) * sizeof(*grown));
	if (!grown)
		return knell_fail(-ENOMEM, "no memory for another watcher");
	engine->watchers = grown;
	grown[engine->watcher_count++] =
		(struct watcher){ .mask = mask, .fn = fn, .userdata = userdata };
	return 0;
}

/* Numbers the record: a gap takes as many numbers as it lost records. */
static void number(struct knell_engine *engine, struct knell_event *event)
{
	uint64_t *next = &engine->next_seq[event->ring < engine->source->rings ? event->ring : 0];
	struct knell_stats *stats = &engine->stats;

	event->seq = *next;
	if (event->kind != KNELL_GAP) {
		stats->records++;
		(*next)++;
		return;
	}
	stats->lost_births += event->u.gap.births;
	stats->lost_deaths += event->u.gap.deaths;
	stats->lost_others += event->u.gap.others;
	*next += event->u.gap.births + event->u.gap.deaths + event->u.gap.others;
}

void knell_engine_tell_watchers(struct knell_engine *engine, struct knell_event *event)
{
	event->version = KNELL_EVENT_VERSION;
	number(engine, event);
	/* By index: a watcher may add a watcher, which moves the array. */
	for (size_t i = 0; i < engine->watcher_count; i++) {
		const struct watcher *w = &engine->watchers[i];

		if (w->mask & KNELL_MASK(event->kind) && w->fn(event, w->userdata) < 0)
			engine->stats.watcher_errors++;
	}
}

void knell_engine_deliver(struct knell_engine *engine, struct knell_event *event)
{
	if (event->kind == KNELL_EXIT)
		knell_reap_hear(engine, event);
	knell_engine_tell_watchers(engine, event);
	if (engine->watches && engine->watches->kinds & KNELL_MASK(event->kind))
		knell_watches_hear(engine->watches, event);
}

bool knell_engine_wants(const struct knell_engine *engine, enum knell_kind kind)
{
	if (engine->watches && engine->watches->kinds & KNELL_MASK(kind))
		return true;
	for (size_t i = 0; i < engine->watcher_count; i++) {
		if (engine->watchers[i].mask & KNELL_MASK(kind))
			return true;
	}
	return false;
}

uint64_t knell_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int knell_dispatch(struct knell_engine *engine)
{
	uint64_t before = engine->stats.records;
	int r = 0;

	knell_reap_clear(engine);
	if (engine->source->ops->dispatch)
		r = engine->source->ops->dispatch(engine->source);
	if (engine->watches) {
		int w = knell_watches_dispatch(engine->watches);

		r = r < 0 ? r : w;
	}
	return r < 0 ? r : (int)(engine->stats.records - before);
}

pid_t knell_fork(struct knell_engine *engine)
{
	pid_t pid;

	if (engine->source->ops->fork)
		return engine->source->ops->fork(engine->source);
	pid = fork();
	return pid < 0 ? knell_fail(-errno, "cannot fork: %s", strerror(errno)) : pid;
}

int knell_reconcile(struct knell_engine *engine)
{
	if (!engine->source->ops->reconcile)
		return 0;
	return engine->source->ops->reconcile(engine->source);
}

void knell_get_stats(const struct knell_engine *engine, struct knell_stats *ret_stats)
{
	*ret_stats = engine->stats;
	knell_reap_stats(engine, ret_stats);
	if (engine->source->ops->stats)
		engine->source->ops->stats(engine->source, ret_stats);
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
