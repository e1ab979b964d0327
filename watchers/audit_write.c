/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_write.c - the thread that writes an audit log: takes records from the queues, makes lines
 * of them and brings these to the target. While the target takes nothing it takes nothing from the
 * queues either: these fill up, and count what finds no room.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>

#include "audit_data.h"
#include "clock.h"

/* Lines are collected up to this size for one write. */
#define BATCH (64u << 10)

/* Records that are looked at for one. */
#define MOST_STEPS 4096u

/* Between two attempts where nothing tells us that the target takes something again. */
#define RETRY_MS 100

/* After a wake-up: what comes in this time costs its reaper no wake-up, and shares one write. */
#define LINGER_NS 5000000

uint64_t audit_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- lines ---- */

static void note_line(struct audit *a, const char *event, uint32_t priority)
{
	a->note = (struct audit_note){ .event = event, .priority = priority };
}

static void note_record(struct audit *a, const struct knell_event *e)
{
	memcpy(&a->last, e, KNELL_EVENT_HEAD);
	note_line(a, knell_kind_name(e->kind), e->kind == KNELL_GAP ? LOG_WARNING : LOG_INFO);
	if (e->kind == KNELL_GAP)
		return;
	a->note.pid = e->task.tgid;
	memcpy(a->note.comm, e->comm, sizeof(a->note.comm));
	if (e->kind != KNELL_EXIT || e->unknown & KNELL_U_STATUS || !WIFSIGNALED(e->u.exit.status))
		return;
	a->note.signal = (uint32_t)WTERMSIG(e->u.exit.status);
	a->note.priority = LOG_NOTICE;
}

static const char *known(const char *text)
{
	return *text ? text : NULL;
}

static void write_start(struct audit *a, bool continued)
{
	struct json_start start = {
		.boot_id = known(a->boot_id),
		.source = known(a->source),
		.host = known(a->host),
		.version = KNELL_VERSION,
		.continued = continued,
	};

	json_write_start(a->json, &start);
	note_line(a, "start", LOG_INFO);
}

static void count_record(struct json_count *count, const struct knell_event *e)
{
	if (e->scope == KNELL_PROCESS && e->kind == KNELL_CLONE)
		count->births++;
	else if (e->scope == KNELL_PROCESS && e->kind == KNELL_EXIT)
		count->deaths++;
	else
		count->others++;
}

/* In seconds of our own clock: after a pause it is the log that is to be spared. */
static bool is_above_rate(struct audit *a)
{
	uint64_t second;

	if (!a->options.rate)
		return false;
	second = audit_now() / AUDIT_SECOND;
	if (second != a->window) {
		a->window = second;
		a->in_window = 0;
	}
	return a->in_window++ >= a->options.rate;
}

static void suppress(struct audit *a, const struct knell_event *e)
{
	count_record(&a->above, e);
	atomic_fetch_add(&a->suppressed, 1);
}

/* What stands before a record: what is missing there. True: a line was written. */
static bool write_missing(struct audit *a, const struct audit_item *item)
{
	if (!audit_is_none(&a->dropped)) {
		json_write_lost(a->json, a->dropped_ring, &a->dropped);
		a->dropped = (struct json_count){ 0 };
	} else if (!audit_is_none(&item->lost)) {
		json_write_lost(a->json, item->ring, &item->lost);
		audit_queues_told(a->queues, item);
	} else {
		return false;
	}
	note_line(a, "gap", LOG_WARNING);
	return true;
}

static bool write_suppressed(struct audit *a)
{
	if (audit_is_none(&a->above))
		return false;
	json_write_suppressed(a->json, &a->above);
	a->above = (struct json_count){ 0 };
	note_line(a, "suppressed", LOG_WARNING);
	return true;
}

enum step {
	STEP_NOTHING, /* the queues are empty */
	STEP_LINE,
	STEP_SUPPRESSED /* a record was taken, but has no line */
};

/* At most one line: a datagram takes no more. */
static enum step write_next(struct audit *a)
{
	struct audit_item item;
	bool limited;

	if (!audit_queues_next(a->queues, &item)) {
		item = (struct audit_item){ 0 };
		return write_missing(a, &item) ? STEP_LINE : STEP_NOTHING;
	}
	if (write_missing(a, &item))
		return STEP_LINE;
	limited = item.event->kind != KNELL_GAP;
	/* With something to tell first there is room in this second: its record comes next. */
	if (limited && is_above_rate(a)) {
		suppress(a, item.event);
		audit_queues_pop(a->queues);
		return STEP_SUPPRESSED;
	}
	if (limited && write_suppressed(a)) {
		a->in_window--;
		return STEP_LINE;
	}
	json_write(a->json, item.event);
	note_record(a, item.event);
	a->batch += limited;
	audit_queues_pop(a->queues);
	return STEP_LINE;
}

/*
 * Makes lines, up to a batch. Returns false if there is nothing more to make lines of. Not for
 * ever, where records come as fast as they are suppressed.
 */
static bool fill(struct audit *a)
{
	bool single = a->options.kind != AUDIT_FILE;
	size_t len;

	for (unsigned int i = 0; i < MOST_STEPS; i++) {
		json_lines(a->json, &len);
		if (len >= (single ? 1 : BATCH))
			return true;
		if (write_next(a) == STEP_NOTHING)
			return false;
	}
	return true;
}

/* ---- writing ---- */

static void set_error(struct audit *a, int error)
{
	int none = 0;

	atomic_store_explicit(&a->error, error, memory_order_relaxed);
	if (error)
		atomic_compare_exchange_strong(&a->first_error, &none, error);
}

/* The records among lines that are left: no other line has a scope. */
static uint64_t records_in(const char *lines, size_t len)
{
	static const char mark[] = "\"knell.scope\":";
	const char *end = lines + len, *p = lines;
	uint64_t n = 0;

	while ((p = memmem(p, (size_t)(end - p), mark, sizeof(mark) - 1))) {
		p += sizeof(mark) - 1;
		n++;
	}
	return n;
}

static void took(struct audit *a, size_t bytes)
{
	uint64_t left;
	size_t len;
	const char *lines;

	json_take(a->json, bytes);
	lines = json_lines(a->json, &len);
	left = len ? records_in(lines, len) : 0;
	atomic_fetch_add(&a->written, a->batch - left);
	atomic_fetch_add(&a->progress, 1);
	a->batch = left;
	a->started = true;
	a->dirty = true;
}

/* A line that no datagram can hold. */
static void drop_line(struct audit *a, size_t len)
{
	json_take(a->json, len);
	if (!a->batch)
		return;
	json_unwrite(a->json, &a->last);
	count_record(&a->dropped, &a->last);
	a->dropped_ring = a->last.ring;
	a->batch = 0;
}

/* Opens what has to be, and begins a new file with a line that says where it comes from. */
static int prepare(struct audit *a)
{
	int r = audit_out_prepare(&a->out);

	if (r < 0 || !audit_out_take_fresh(&a->out) || !a->started)
		return r;
	write_start(a, true);
	json_last_first(a->json);
	return 0;
}

/* Writes the lines that there are. 0; -errno: some are left. */
static int flush(struct audit *a)
{
	const char *lines;
	ssize_t n = 0;
	size_t len;
	int r;

	json_lines(a->json, &len);
	r = len ? prepare(a) : 0;
	while (r == 0 && (lines = json_lines(a->json, &len), len)) {
		n = audit_out_write(&a->out, lines, len, &a->note);
		if (n > 0)
			took(a, (size_t)n);
		else if (n == -EMSGSIZE)
			drop_line(a, len);
		else
			r = (int)n;
	}
	if (r && r != -EAGAIN) /* which is slow, and no error */
		set_error(a, r);
	else
		set_error(a, a->out.kept ? a->out.kept_error : 0);
	return r;
}

/* When the next sync is due; 0: not at all. */
static uint64_t sync_due(const struct audit *a)
{
	if (!a->dirty || a->options.sync == AUDIT_SYNC_NEVER)
		return 0;
	if (a->options.sync == AUDIT_SYNC_EACH)
		return 1;
	return a->synced_at + a->options.sync_seconds * AUDIT_SECOND;
}

static void sync_if_due(struct audit *a, bool now)
{
	uint64_t due = sync_due(a);
	int r;

	if (!due || (!now && audit_now() < due))
		return;
	r = audit_out_sync(&a->out);
	if (r < 0)
		atomic_store(&a->sync_error, r);
	a->dirty = false;
	a->synced_at = audit_now();
}

static void reopen_if_asked(struct audit *a)
{
	int r;

	if (!atomic_exchange(&a->reopen, false) || a->options.kind != AUDIT_FILE)
		return;
	sync_if_due(a, true);
	a->out.kept = false; /* try at once */
	r = prepare(a);
	if (r < 0)
		set_error(a, r);
}

/* ---- waiting ---- */

static void drain_wake(struct audit *a)
{
	eventfd_t count;

	(void)eventfd_read(a->wake_fd, &count);
}

/* Until the target may take more, somebody asks for something, or it is time to try again. */
static void await_target(struct audit *a, int error)
{
	bool asked = atomic_load(&a->closing);
	struct pollfd fds[] = {
		{ .fd = error == -EAGAIN ? a->out.fd : -1, .events = POLLOUT },
		{ .fd = asked ? -1 : a->wake_fd, .events = POLLIN },
	};

	(void)poll(fds, 2, RETRY_MS);
	if (fds[1].revents)
		drain_wake(a);
}

static void await_records(struct audit *a)
{
	struct pollfd fd = { .fd = a->wake_fd, .events = POLLIN };
	struct timespec linger = { .tv_nsec = LINGER_NS };
	uint64_t due = sync_due(a), now = due ? audit_now() : 0;
	int timeout = !due ? -1 : due > now ? (int)((due - now) / 1000000 + 1) : 0;

	if (!audit_queues_sleep(a->queues))
		return;
	(void)poll(&fd, 1, timeout);
	audit_queues_awake(a->queues);
	if (!fd.revents)
		return;
	drain_wake(a);
	if (!atomic_load(&a->closing) && !atomic_load(&a->reopen))
		nanosleep(&linger, NULL);
}

/* ---- the end ---- */

/*
 * Writes what is left. A target that nobody reads, or that is full, is tried once more; one that is
 * slow as long as it gets on.
 */
static int finish_lines(struct audit *a)
{
	uint64_t start = audit_now(), since = start;
	uint64_t progress = atomic_load(&a->progress);

	for (;;) {
		bool more = fill(a);
		int r = flush(a);
		uint64_t now = audit_now(), seen = atomic_load(&a->progress);

		if (seen != progress)
			since = now;
		progress = seen;
		if (r == 0 && !more)
			return 0;
		if (r < 0 && r != -EAGAIN && r != -ENOBUFS)
			return r;
		if (now - since > AUDIT_STALL || now - start > AUDIT_PATIENT)
			return -EAGAIN;
		if (r < 0)
			await_target(a, r);
	}
}

static void finish(struct audit *a)
{
	int r = finish_lines(a);

	if (r == 0 && write_suppressed(a))
		r = finish_lines(a);
	if (r == 0) {
		json_write_summary(a->json);
		note_line(a, "summary", LOG_INFO);
		r = finish_lines(a);
	}
	a->stuck = r < 0;
	sync_if_due(a, true);
}

void *audit_writer(void *audit)
{
	struct audit *a = audit;

	a->synced_at = audit_now();
	write_start(a, false);
	while (!atomic_load(&a->closing)) {
		bool more;
		int r;

		reopen_if_asked(a);
		more = fill(a);
		r = flush(a);
		sync_if_due(a, false);
		if (r < 0)
			await_target(a, r);
		else if (!more)
			await_records(a);
	}
	finish(a);
	pthread_mutex_lock(&a->lock);
	a->done = true;
	pthread_cond_signal(&a->ended);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}
