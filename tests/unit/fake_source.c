/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * fake_source.c - the source of the unit tests; see fake_source.h. Its descriptor is an eventfd
 * that is readable while something is queued.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine.h"
#include "fake_source.h"
#include "pidfd.h"

struct queued {
	struct queued *next;
	struct knell_event event; /* with what follows it */
};

struct fake {
	struct knell_source source;
	struct knell_options options;
	struct queued *first, **end;
	int fd;
	int error;
	int watch_error;
};

unsigned int fake_count;

static const struct knell_source_ops fake_ops;
static struct knell_source_ops able_ops; /* of fake_open_able() */

static struct fake *fake_of(const struct knell_engine *engine)
{
	return (struct fake *)engine->source;
}

static int fake_probe(struct knell_probe *probe)
{
	(void)probe;
	return 0;
}

static int fake_source_open(struct knell_source **ret_source, struct knell_engine *engine,
			    const struct knell_options *options)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	if (!fake)
		return knell_fail(-ENOMEM, "no memory for a source");
	fake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fake->fd < 0) {
		free(fake);
		return knell_fail(-errno, "cannot make an eventfd");
	}
	fake->source.ops = &fake_ops;
	fake->source.engine = engine;
	fake->source.rings = FAKE_RINGS;
	fake->options = *options;
	fake->end = &fake->first;
	*ret_source = &fake->source;
	fake_count++;
	return 0;
}

static void drop_first(struct fake *fake)
{
	struct queued *q = fake->first;

	fake->first = q->next;
	if (!fake->first)
		fake->end = &fake->first;
	free(q);
}

static void fake_close(struct knell_source *source)
{
	struct fake *fake = (struct fake *)source;

	while (fake->first)
		drop_first(fake);
	close(fake->fd);
	free(fake);
	fake_count--;
}

static int fake_fd(const struct knell_source *source)
{
	return ((const struct fake *)source)->fd;
}

static int fake_dispatch(struct knell_source *source)
{
	struct fake *fake = (struct fake *)source;
	eventfd_t value;
	int r;

	(void)eventfd_read(fake->fd, &value);
	while (fake->first) {
		knell_engine_deliver(source->engine, &fake->first->event);
		drop_first(fake);
	}
	r = fake->error;
	fake->error = 0;
	return r;
}

static void fake_stats(const struct knell_source *source, struct knell_stats *stats)
{
	(void)source;
	stats->wakeups = 7;
	stats->reserve_used = 42;
}

static const struct knell_source_ops fake_ops = {
	.name = "fake",
	.summary = "what a test says",
	.explicit_only = true,
	.probe = fake_probe,
	.open = fake_source_open,
	.close = fake_close,
	.fd = fake_fd,
	.dispatch = fake_dispatch,
	.stats = fake_stats,
};

int fake_open(struct knell_engine **ret_engine, const struct knell_options *options)
{
	return knell_open_source(ret_engine, &fake_ops, options);
}

struct knell_task_id fake_id(pid_t pid)
{
	return (struct knell_task_id){ .start = (uint64_t)pid * 1000,
				       .tid = (uint32_t)pid,
				       .tgid = (uint32_t)pid };
}

static int fake_watch(struct knell_source *source, int pidfd, uint32_t flags, uint64_t cookie,
		      struct knell_task_id *ret_id)
{
	struct fake *fake = (struct fake *)source;

	(void)flags;
	(void)cookie;
	if (fake->watch_error == 0)
		*ret_id = fake_id(knell_pidfd_pid(pidfd));
	return fake->watch_error;
}

int fake_open_able(struct knell_engine **ret_engine, const struct knell_options *options,
		   uint32_t can)
{
	int r;

	able_ops = fake_ops;
	able_ops.watch = fake_watch;
	able_ops.can = can;
	r = knell_open_source(ret_engine, &able_ops, options);
	if (r == 0)
		(*ret_engine)->source->ops = &able_ops;
	return r;
}

void fake_refuse(struct knell_engine *engine, int error)
{
	fake_of(engine)->watch_error = error;
}

void fake_push(struct knell_engine *engine, const struct knell_event *event)
{
	struct fake *fake = fake_of(engine);
	struct queued *q = calloc(1, sizeof(*q) + event->size);

	if (!q)
		abort();
	memcpy(&q->event, event, event->size);
	*fake->end = q;
	fake->end = &q->next;
	eventfd_write(fake->fd, 1);
}

void fake_deliver(struct knell_engine *engine, struct knell_event *event)
{
	knell_engine_deliver(engine, event);
}

void fake_break(struct knell_engine *engine, int error)
{
	fake_of(engine)->error = error;
	eventfd_write(fake_of(engine)->fd, 1);
}

const struct knell_options *fake_options(const struct knell_engine *engine)
{
	return &fake_of(engine)->options;
}
