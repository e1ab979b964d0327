/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector.c - the source that hears the kernel's process events connector: births, execs, changes
 * of ids and exits of the whole system, without BPF; from Linux 6.6 on without privilege. Opening
 * and closing, sleeping and waking, and what is done about losses.
 *
 * Sleep. The kernel queues a message for each event and would wake us for each. So the socket is in
 * the epoll set only in silence: its first message wakes us, and then a timer does, once a batch,
 * until nothing came in a batch. Deaths that are watched have pidfds there all the time.
 *
 * Loss. Messages that do not fit into the socket's buffer are gone. The kernel says so (ENOBUFS)
 * but not how many; the numbers of the messages do, at the next one of the same CPU. After an
 * overflow each CPU is suspect until it is heard again; those that stay silent for a batch are made
 * to send something (connector_mark.c). So the figure is exact and final also when nothing follows.
 * When it is, /proc says who lives (connector_reconcile.c).
 *
 * The kernel's own filter by kind is not used here: what it drops leaves holes in the numbers that
 * look like losses.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "connector.h"

/* Room for 87,000 messages: more than a second of a fork storm on two CPUs. */
#define DEFAULT_ROOM (64u << 20)
#define SMALL_ROOM   (256u << 10) /* for a probe */

/* Messages in one dispatch while the kernel keeps queueing, before the host gets its turn. */
#define MESSAGES (1u << 16)

/* Faster than this no machine sends: how long a small buffer lasts. */
#define MESSAGES_PER_MS 200u

/* Passes over /proc take at most this part of the time. */
#define PASS_SHARE 20u

#define MARK_WAIT_MS 250u

void cn_need_by(struct cn_source *s, uint64_t deadline)
{
	if (!s->deadline || deadline < s->deadline)
		s->deadline = deadline;
}

static void tell_lost(struct cn_source *s, uint32_t lost)
{
	struct knell_gap gap = { .cause = KNELL_GAP_RING, .others = lost };

	s->losses++;
	knell_engine_deliver_gap(s->base.engine, 0, &gap, 0);
}

/* Takes what is queued. False: there is still more. */
bool cn_drain(struct cn_source *s)
{
	struct cn_message m;

	for (unsigned int i = 0; i < MESSAGES; i++) {
		uint32_t lost;

		if (!cn_socket_next(&s->socket, &m))
			return true;
		lost = cn_sequence_heard(&s->sequence, m.event.cpu, m.sequence);
		if (lost)
			tell_lost(s, lost);
		s->heard++;
		cn_handle(s, &m);
	}
	return false;
}

/* The socket was emptied: what was lost before is known as soon as each CPU is heard once more. */
static void settle_losses(struct cn_source *s)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (s->socket.overflowed) {
		s->socket.overflowed = false;
		cn_sequence_suspect(&s->sequence);
		s->mark_due = now + s->batch;
	}
	cn_mark_wait(&s->marker, 0);
	if (s->mark_due && !cn_sequence_is_suspect(&s->sequence))
		s->mark_due = 0;
	if (s->mark_due && now >= s->mark_due) {
		cn_mark(&s->marker, &s->sequence, false);
		/* A CPU that cannot be reached is tried again, but not all the time. */
		s->mark_due = now + 1000 * s->batch;
	}
	if (s->mark_due)
		cn_need_by(s, s->mark_due);
	if (s->reconciled_at == s->losses || s->socket.overflowed)
		return;
	if (now >= s->pass_end + PASS_SHARE * s->pass_cost && !s->marker.running)
		cn_reconcile_pass(s);
	if (s->reconciled_at != s->losses)
		cn_need_by(s, s->pass_end + PASS_SHARE * s->pass_cost + s->batch);
}

static void set_offset(struct cn_source *s)
{
	s->boot_offset = clock_boot_offset();
}

static int cn_dispatch(struct knell_source *source)
{
	struct cn_source *s = (struct cn_source *)source;
	uint64_t records = s->heard;
	bool empty;

	sleep_count_wakeup(&s->sleep);
	set_offset(s);
	s->deadline = 0;
	cn_hear_pidfds(s);
	empty = cn_drain(s);
	if (empty) {
		cn_announce_found(s);
		settle_losses(s);
		cn_announce_found(s);
		cn_settle_dying(s);
	}
	if (!cds_list_empty(&s->reaped))
		cn_need_by(s, clock_ns(CLOCK_MONOTONIC) + 1000000000u);
	if (s->heard != records)
		cn_need_by(s, empty ? clock_ns(CLOCK_MONOTONIC) + s->batch : 1);
	sleep_listen(&s->sleep, s->heard == records);
	clock_set_timer(s->sleep.timer_fd, TFD_TIMER_ABSTIME, s->deadline);
	return 0;
}

static int cn_fd(const struct knell_source *source)
{
	return ((const struct cn_source *)source)->sleep.epoll_fd;
}

static int source_reconcile(struct knell_source *source)
{
	struct cn_source *s = (struct cn_source *)source;

	set_offset(s);
	return cn_reconcile(s);
}

static void cn_stats(const struct knell_source *source, struct knell_stats *stats)
{
	const struct cn_source *s = (const struct cn_source *)source;

	stats->wakeups = s->sleep.wakeups;
	stats->reserve_used = s->watched_peak;
}

static int fail_refused(int error)
{
	struct knell_probe probe = { 0 };

	cn_socket_explain(error, &probe);
	if (error == -ENOMEM || error == -EMFILE || error == -ENFILE)
		return knell_fail(error, "cannot open a socket: %s", strerror(-error));
	return knell_fail(-ENOTSUP, "%s; %s", probe.reason, probe.remedy);
}

static int cn_probe(struct knell_probe *probe)
{
	struct cn_socket socket;
	int r = cn_socket_open(&socket, SMALL_ROOM, NULL);

	if (r < 0)
		cn_socket_explain(r, probe);
	else
		cn_socket_close(&socket);
	return r;
}

static void cn_close(struct knell_source *source)
{
	struct cn_source *s = (struct cn_source *)source;
	struct cn_reaped *reaped, *next;

	cn_mark_close(&s->marker);
	cn_table_close(s);
	cds_list_splice(&s->unreaped, &s->reaped);
	cds_list_for_each_entry_safe (reaped, next, &s->reaped, node) {
		free(reaped);
	}
	cn_socket_close(&s->socket);
	cn_sequence_close(&s->sequence);
	sleep_close(&s->sleep);
	free(s);
}

/* What a stream's filter can ask of what the messages say. */
static int check_options(const struct knell_options *options)
{
	if (!(options->flags & KNELL_O_STREAM))
		return 0;
	if (options->filter.match & KNELL_MATCH_CGROUP)
		return knell_fail(-ENOTSUP, "the connector does not tell cgroups; the sources bpf "
					    "and kmod can filter by one");
	if (options->filter.match & KNELL_MATCH_COMM)
		return knell_fail(-ENOTSUP, "the connector does not tell the name that exec gives; "
					    "the sources bpf and kmod can filter by it");
	return 0;
}

/* Hears each CPU once, so that whatever is lost from now on is counted. */
static int open_socket(struct cn_source *s)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	uint64_t lasts;
	int r;

	r = cn_sequence_open(&s->sequence, cpus > 0 ? (uint32_t)cpus : 1);
	if (r < 0)
		return knell_fail(r, "no memory for a source");
	r = cn_socket_open(&s->socket, s->options.ring_size ? s->options.ring_size : DEFAULT_ROOM,
			   &s->sequence);
	if (r < 0)
		return fail_refused(r);
	cn_mark(&s->marker, &s->sequence, true);
	cn_mark_wait(&s->marker, MARK_WAIT_MS);
	/* A small buffer must be emptied before it is full. */
	lasts = UINT64_C(1000000) * cn_socket_room(&s->socket) / CN_MESSAGE_COST / MESSAGES_PER_MS;
	s->batch = (uint64_t)s->options.batch_ms * UINT64_C(1000000);
	if (s->batch > lasts / 2)
		s->batch = lasts / 2;
	return 0;
}

/* What was heard until now is of no interest, but its numbers are; then who lives. */
static int begin(struct cn_source *s)
{
	struct cn_message m;
	struct cn_proc proc;

	set_offset(s);
	s->self = (uint32_t)getpid();
	s->proc_works = cn_proc_works();
	if (s->proc_works && cn_proc_stat(s->self, &proc))
		s->self_start = proc.start;
	if (s->proc_works && cn_proc_stat(1, &proc))
		s->init_start = proc.start;
	for (unsigned int i = 0; i < MESSAGES && cn_socket_next(&s->socket, &m); i++)
		cn_sequence_heard(&s->sequence, m.event.cpu, m.sequence);
	if (!s->stream)
		return 0;
	if (!s->proc_works)
		return knell_fail(-ENOTSUP,
				  "the connector needs /proc to know who lives; mount it");
	if (cn_first_look(s) < 0)
		return knell_fail(-ENOMEM, "no memory for a list of all processes");
	return 0;
}

static int cn_open(struct knell_source **ret_source, struct knell_engine *engine,
		   const struct knell_options *options)
{
	struct cn_source *s;
	int r = check_options(options);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return knell_fail(-ENOMEM, "no memory for a source");
	s->base.ops = &knell_source_connector;
	s->base.engine = engine;
	s->base.rings = 1;
	s->options = *options;
	s->stream = options->flags & KNELL_O_STREAM;
	s->socket.fd = -1;
	sleep_init(&s->sleep);
	CDS_INIT_LIST_HEAD(&s->processes);
	CDS_INIT_LIST_HEAD(&s->found);
	CDS_INIT_LIST_HEAD(&s->dying);
	CDS_INIT_LIST_HEAD(&s->reaped);
	CDS_INIT_LIST_HEAD(&s->unreaped);
	r = open_socket(s);
	if (r == 0 && cn_table_open(&s->table) < 0)
		r = knell_fail(-ENOMEM, "no memory for a table of tasks");
	if (r == 0)
		r = sleep_open(&s->sleep, s->socket.fd);
	if (r == 0)
		r = begin(s);
	if (r < 0) {
		cn_close(&s->base);
		return r;
	}
	*ret_source = &s->base;
	return 0;
}

const struct knell_source_ops knell_source_connector = {
	.name = "connector",
	.summary = "births, execs, ids and exits, from netlink; exact loss counts, no names of "
		   "files, no causes",
	/* Not the status: of a stranger whose leader ended first it is not always known. */
	.can = KNELL_CAN_FORK | KNELL_CAN_WATCH | KNELL_CAN_SUBTREE | KNELL_CAN_STREAM |
	       KNELL_CAN_IDS | KNELL_CAN_THREADS | KNELL_CAN_OWNER,
	.probe = cn_probe,
	.open = cn_open,
	.close = cn_close,
	.fd = cn_fd,
	.dispatch = cn_dispatch,
	.fork = cn_fork,
	.watch = cn_watch,
	.reap = cn_reap,
	.reconcile = source_reconcile,
	.stats = cn_stats,
};
