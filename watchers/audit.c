/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit.c - the audit log as the engine and its host see it; see audit.h. It owns the queues and
 * the writer's thread.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "audit_data.h"

static void wake(struct audit *a)
{
	(void)eventfd_write(a->wake_fd, 1); /* full: it is readable already */
}

static int on_event(const struct knell_event *e, void *userdata)
{
	struct audit *a = userdata;

	if (e->scope == KNELL_THREAD && !(a->flags & AUDIT_THREADS))
		return 0;
	if (audit_queues_put(a->queues, e, a->options.args))
		wake(a);
	return 0;
}

/* ---- opening ---- */

int audit_check_options(const char *options, uint32_t *ret_engine_flags, char why[AUDIT_WHY])
{
	struct audit_options o;
	int r = audit_parse(&o, options, why, AUDIT_WHY);

	if (r == 0)
		*ret_engine_flags = o.args ? KNELL_O_ARGS : 0;
	return r;
}

const char *audit_error_text(int error)
{
	switch (error) {
	case -ENXIO:
		return "nobody reads it";
	case -EPROTOTYPE:
		return "is no file, pipe or device, or no socket of datagrams";
	case 0:
		return "it is too slow";
	default:
		return strerror(-error);
	}
}

/* What can be mended while we run does not keep us from starting: a FIFO may get a reader. */
static int open_target(struct audit *a, char why[AUDIT_WHY])
{
	int r = audit_out_open(&a->out);

	if (r == 0 || (r == -ENXIO && a->options.kind == AUDIT_FILE))
		return 0;
	if (a->options.kind == AUDIT_FILE)
		snprintf(why, AUDIT_WHY, "cannot write to '%.300s': %s%s", a->options.path,
			 audit_error_text(r),
			 r == -ENOENT ? "; make its directory, or name another file with file=PATH"
				      : "");
	else
		snprintf(why, AUDIT_WHY, "nobody takes %s entries at '%.300s': %s",
			 a->options.kind == AUDIT_SYSLOG ? "syslog" : "journal", a->options.path,
			 strerror(-r));
	return r;
}

static void tell_where(struct audit *a, struct knell_engine *engine)
{
	if (knell_boot_id(a->boot_id) < 0)
		a->boot_id[0] = '\0';
	snprintf(a->source, sizeof(a->source), "%s", knell_source(engine));
	if (gethostname(a->host, sizeof(a->host) - 1) < 0)
		a->host[0] = '\0';
}

/* Every signal stays blocked in it: PIPE and XFSZ, too, so its writes fail with an error. */
static int start_thread(struct audit *a)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&a->thread, NULL, audit_writer, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

static void free_all(struct audit *a)
{
	audit_out_close(&a->out);
	audit_queues_free(a->queues);
	json_close(a->json, NULL);
	if (a->wake_fd >= 0)
		close(a->wake_fd);
	pthread_cond_destroy(&a->ended);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static int prepare(struct audit *a, char why[AUDIT_WHY])
{
	int r = open_target(a, why);

	if (r < 0)
		return r;
	snprintf(why, AUDIT_WHY, "no memory for a queue of %llu bytes",
		 (unsigned long long)a->options.queue);
	r = audit_queues_new(&a->queues, a->options.queue);
	if (r == 0)
		r = json_open(&a->json, NULL, NULL, JSON_MEMORY);
	if (r < 0)
		return r;
	snprintf(why, AUDIT_WHY, "cannot make an eventfd");
	a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return a->wake_fd < 0 ? -errno : 0;
}

static struct audit *allocate(void)
{
	struct audit *a = calloc(1, sizeof(*a));
	pthread_condattr_t attr;

	if (!a)
		return NULL;
	a->wake_fd = -1;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->ended, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&a->lock, NULL);
	return a;
}

int audit_open(struct audit **ret_audit, struct knell_engine *engine, uint32_t kinds,
	       uint32_t flags, const char *options, char why[AUDIT_WHY])
{
	uint32_t mask = (kinds & ~KNELL_MASK(KNELL_INIT)) | KNELL_MASK(KNELL_GAP);
	struct audit *a = allocate();
	int r;

	snprintf(why, AUDIT_WHY, "no memory");
	if (!a)
		return -ENOMEM;
	r = audit_parse(&a->options, options, why, AUDIT_WHY);
	audit_out_init(&a->out, &a->options);
	a->flags = flags;
	if (r == 0)
		r = prepare(a, why);
	if (r < 0) {
		free_all(a);
		return r;
	}
	tell_where(a, engine);
	snprintf(why, AUDIT_WHY, "cannot start a thread");
	r = start_thread(a);
	if (r < 0) {
		free_all(a);
		return r;
	}
	/* Last: a watcher cannot be taken back. */
	r = knell_watcher_add(engine, mask, on_event, a);
	if (r < 0) {
		snprintf(why, AUDIT_WHY, "%s", knell_last_error());
		audit_close(a, NULL);
		return r;
	}
	*ret_audit = a;
	return 0;
}

/* ---- while it is open ---- */

void audit_reopen(struct audit *audit)
{
	atomic_store(&audit->reopen, true);
	wake(audit);
}

int audit_error(const struct audit *audit)
{
	return atomic_load_explicit(&audit->error, memory_order_relaxed);
}

const char *audit_target(const struct audit *audit)
{
	return audit->options.path;
}

/* ---- closing ---- */

/* Until the thread has ended, or has not got on for longer than it would wait by itself. */
static bool await_end(struct audit *a)
{
	uint64_t seen = atomic_load(&a->progress), start = audit_now();
	bool done;

	pthread_mutex_lock(&a->lock);
	while (!a->done) {
		uint64_t end = audit_now() + AUDIT_STALL + AUDIT_SECOND, progress;
		struct timespec until = { .tv_sec = (time_t)(end / AUDIT_SECOND),
					  .tv_nsec = (long)(end % AUDIT_SECOND) };

		while (!a->done && pthread_cond_timedwait(&a->ended, &a->lock, &until) == 0)
			;
		progress = atomic_load(&a->progress);
		if (progress == seen || audit_now() - start > AUDIT_PATIENT + AUDIT_STALL)
			break;
		seen = progress;
	}
	done = a->done;
	pthread_mutex_unlock(&a->lock);
	return done;
}

void audit_close(struct audit *audit, struct audit_result *ret_result)
{
	struct audit *a = audit;
	struct audit_result result = { 0 };
	bool ended;

	if (!a)
		return;
	atomic_store(&a->closing, true);
	wake(a);
	ended = await_end(a);
	if (ended)
		pthread_join(a->thread, NULL);
	else
		pthread_detach(a->thread);
	result.records = audit_queues_offered(a->queues);
	result.suppressed = atomic_load(&a->suppressed);
	result.lost = result.records - result.suppressed - atomic_load(&a->written);
	result.error = atomic_load(&a->first_error);
	result.sync_error = atomic_load(&a->sync_error);
	result.stuck = !ended || a->stuck;
	if (ended)
		free_all(a);
	if (ret_result)
		*ret_result = result;
}
