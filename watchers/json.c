/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json.c - turns records into JSON Lines; see json.h. Names are OpenTelemetry's process attributes
 * where one exists and knell.* where none does. What a record does not know is left out: a reader
 * never has to ask whether a zero is one. json_fields.c has the writers of single fields.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "clock.h"
#include "json_fields.h"

static void flag(struct json *j, uint32_t set, const char *name, size_t len)
{
	if (set)
		json_bool(j, name, len, true);
}

/* The counter of this ring; NULL: no memory. */
static uint64_t *counter(struct json *j, uint32_t ring)
{
	if (ring >= j->ring_count) {
		uint64_t *grown = reallocarray(j->skipped, ring + 1ul, sizeof(*grown));

		if (!grown)
			return NULL;
		for (uint32_t i = j->ring_count; i <= ring; i++)
			grown[i] = 0;
		j->skipped = grown;
		j->ring_count = ring + 1;
	}
	return &j->skipped[ring];
}

static uint64_t lost_in(const struct knell_event *e)
{
	return e->kind == KNELL_GAP ? e->u.gap.births + e->u.gap.deaths + e->u.gap.others : 0;
}

/* Records that are left out take their numbers with them: a jump means loss, here too. */
static uint64_t sequence(struct json *j, const struct knell_event *e)
{
	uint64_t *next, seq;

	if (!(j->flags & JSON_BY_HAND))
		return e->ring < j->ring_count ? e->seq - j->skipped[e->ring] : e->seq;
	next = counter(j, e->ring);
	if (!next)
		return e->seq;
	seq = *next;
	*next += e->kind == KNELL_GAP ? lost_in(e) : 1;
	return seq;
}

static void write_task(struct json *j, const struct knell_event *e)
{
	bool thread = e->scope == KNELL_THREAD;

	if (e->task.tgid)
		json_number(j, KEY("process.pid"), e->task.tgid);
	if (thread && e->task.tid)
		json_number(j, KEY("thread.id"), e->task.tid);
	if (e->task.start && thread)
		json_time(j, KEY("knell.thread.creation.time"), e->task.start);
	else if (e->task.start)
		json_time(j, KEY("process.creation.time"), e->task.start);
	if (!(e->unknown & KNELL_U_PARENT)) {
		if (e->parent.tgid)
			json_number(j, KEY("process.parent_pid"), e->parent.tgid);
		if (e->parent.start)
			json_time(j, KEY("knell.parent.creation.time"), e->parent.start);
	}
	if (!(e->unknown & KNELL_U_COMM))
		json_comm(j, KEY("process.executable.name"), KEY("knell.comm_hex"), e->comm);
	if (!(e->unknown & KNELL_U_UID))
		json_number(j, KEY("process.user.id"), e->uid);
	if (!(e->unknown & KNELL_U_GID))
		json_number(j, KEY("knell.group.id"), e->gid);
	if (!(e->unknown & KNELL_U_CGROUP) && e->cgroup)
		json_number(j, KEY("knell.cgroup.id"), e->cgroup);
	if (e->cookie)
		json_number(j, KEY("knell.cookie"), e->cookie);
}

static void write_head(struct json *j, const struct knell_event *e)
{
	if (e->time)
		json_time(j, KEY("timestamp"), e->time);
	json_text(j, KEY("knell.event"), knell_kind_name(e->kind));
	if (e->kind != KNELL_GAP)
		json_text(j, KEY("knell.scope"), e->scope == KNELL_THREAD ? "thread" : "process");
	json_number(j, KEY("knell.ring"), e->ring);
	json_number(j, KEY("knell.seq"), sequence(j, e));
	if (e->kind == KNELL_GAP)
		return;
	if (!(e->unknown & KNELL_U_CPU))
		json_number(j, KEY("knell.cpu"), e->cpu);
	write_task(j, e);
	flag(j, e->flags & KNELL_F_ROOT, KEY("knell.root"));
	flag(j, e->flags & KNELL_F_REPLACED, KEY("knell.replaced"));
	flag(j, e->flags & KNELL_F_RECONCILED, KEY("knell.reconciled"));
	flag(j, e->flags & KNELL_F_TRUNCATED, KEY("knell.truncated"));
	flag(j, e->flags & KNELL_F_START_STAMP, KEY("knell.start_stamp"));
}

static void write_clone(struct json *j, const struct knell_event *e)
{
	if (e->unknown & KNELL_U_FLAGS)
		return;
	json_number(j, KEY("knell.clone.flags"), e->u.clone.flags);
	json_number(j, KEY("knell.clone.exit_signal"), e->u.clone.exit_signal);
}

static void write_exec(struct json *j, const struct knell_event *e)
{
	const struct knell_exec *exec = &e->u.exec;

	if (exec->old_tid)
		json_number(j, KEY("knell.exec.old_tid"), exec->old_tid);
	if (!(e->unknown & KNELL_U_FILE))
		json_bytes(j, KEY("process.executable.path"), KEY("knell.exec.path_hex"),
			   knell_exec_file(e), exec->file_len);
	if (e->unknown & KNELL_U_ARGS)
		return;
	json_args(j, knell_exec_args(e), exec->args_len);
	json_number(j, KEY("knell.exec.args_total"), exec->args_total);
}

/* The ids of a uid or gid record, under the one prefix or the other. */
#define WRITE_IDS(j, prefix, e)                                                                    \
	do {                                                                                       \
		bool saved = !((e)->unknown & KNELL_U_SAVED);                                      \
                                                                                                   \
		json_number(j, KEY(prefix "real"), (e)->u.ids.real);                               \
		json_number(j, KEY(prefix "effective"), (e)->u.ids.effective);                     \
		if (saved) {                                                                       \
			json_number(j, KEY(prefix "saved"), (e)->u.ids.saved);                     \
			json_number(j, KEY(prefix "fs"), (e)->u.ids.fs);                           \
		}                                                                                  \
		if ((e)->unknown & KNELL_U_OLD)                                                    \
			break;                                                                     \
		json_number(j, KEY(prefix "old_real"), (e)->u.ids.old_real);                       \
		json_number(j, KEY(prefix "old_effective"), (e)->u.ids.old_effective);             \
		if (saved) {                                                                       \
			json_number(j, KEY(prefix "old_saved"), (e)->u.ids.old_saved);             \
			json_number(j, KEY(prefix "old_fs"), (e)->u.ids.old_fs);                   \
		}                                                                                  \
	} while (0)

static void write_uid(struct json *j, const struct knell_event *e)
{
	WRITE_IDS(j, "knell.uid.", e);
}

static void write_gid(struct json *j, const struct knell_event *e)
{
	WRITE_IDS(j, "knell.gid.", e);
}

static void write_usage(struct json *j, const struct knell_usage *usage, uint32_t unknown)
{
	if (!(unknown & KNELL_U_TIMES)) {
		json_number(j, KEY("knell.usage.utime_ns"), usage->utime);
		json_number(j, KEY("knell.usage.stime_ns"), usage->stime);
	}
	if (!(unknown & KNELL_U_RSS))
		json_number(j, KEY("knell.usage.maxrss_bytes"), usage->maxrss);
	if (!(unknown & KNELL_U_FAULTS)) {
		json_number(j, KEY("knell.usage.minflt"), usage->minflt);
		json_number(j, KEY("knell.usage.majflt"), usage->majflt);
	}
}

/* What is known of who sent a signal, under one of two prefixes. */
#define WRITE_SENDER(j, prefix, signal)                                                            \
	do {                                                                                       \
		if ((signal)->time)                                                                \
			json_time(j, KEY(prefix "sent"), (signal)->time);                          \
		if ((signal)->signo)                                                               \
			json_integer(j, KEY(prefix "si_code"), (signal)->code);                    \
		if ((signal)->known & KNELL_S_PID && (signal)->pid)                                \
			json_number(j, KEY(prefix "sender.pid"), (signal)->pid);                   \
		if ((signal)->known & KNELL_S_UID)                                                 \
			json_number(j, KEY(prefix "sender.uid"), (signal)->uid);                   \
		if ((signal)->known & KNELL_S_COMM)                                                \
			json_comm(j, KEY(prefix "sender.comm"), KEY(prefix "sender.comm_hex"),     \
				  (signal)->comm);                                                 \
		if ((signal)->known & KNELL_S_CGROUP && (signal)->cgroup)                          \
			json_number(j, KEY(prefix "sender.cgroup.id"), (signal)->cgroup);          \
		if (!((signal)->known & KNELL_S_PARENT))                                           \
			break;                                                                     \
		if ((signal)->ppid)                                                                \
			json_number(j, KEY(prefix "sender.ppid"), (signal)->ppid);                 \
		json_comm(j, KEY(prefix "sender.pcomm"), KEY(prefix "sender.pcomm_hex"),           \
			  (signal)->pcomm);                                                        \
	} while (0)

static void write_killer(struct json *j, const struct knell_event *e)
{
	const struct knell_exit *death = &e->u.exit;

	json_number(j, KEY("knell.exit.signal"), (uint32_t)WTERMSIG(death->status));
	json_bool(j, KEY("knell.exit.core"), WCOREDUMP(death->status));
	if (e->unknown & KNELL_U_CAUSE)
		return;
	json_bool(j, KEY("knell.exit.oom"), death->reason == KNELL_R_OOM);
	json_text(j, KEY("knell.exit.reason"), knell_reason_name(death->reason));
	WRITE_SENDER(j, "knell.exit.", &death->killer);
}

static void write_exit(struct json *j, const struct knell_event *e)
{
	const struct knell_exit *death = &e->u.exit;

	if (!(e->unknown & KNELL_U_STATUS) && WIFSIGNALED(death->status))
		write_killer(j, e);
	else if (!(e->unknown & KNELL_U_STATUS))
		json_number(j, KEY("process.exit.code"), (uint32_t)WEXITSTATUS(death->status));
	if (!(e->unknown & KNELL_U_TERM) && death->last_term.signo) {
		json_number(j, KEY("knell.exit.last_term.signal"), death->last_term.signo);
		json_text(j, KEY("knell.exit.last_term.reason"),
			  knell_reason_name(death->last_term.reason));
		WRITE_SENDER(j, "knell.exit.last_term.", &death->last_term);
	}
	flag(j, e->flags & KNELL_F_USAGE_FINAL, KEY("knell.usage.final"));
	write_usage(j, &death->usage, e->unknown);
}

/* No cause of the engine's: json_write_lost(). */
#define GAP_AUDIT 0x100u

static void write_gap(struct json *j, const struct knell_event *e)
{
	static const char *const causes[] = {
		[KNELL_GAP_RING] = "ring",
		[KNELL_GAP_RESERVE] = "reserve",
		[KNELL_GAP_MISSED] = "missed",
	};
	const struct knell_gap *gap = &e->u.gap;

	json_number(j, KEY("knell.gap.lost"), gap->births + gap->deaths + gap->others);
	json_number(j, KEY("knell.gap.births"), gap->births);
	json_number(j, KEY("knell.gap.deaths"), gap->deaths);
	json_number(j, KEY("knell.gap.others"), gap->others);
	if (gap->cause >= KNELL_GAP_RING && gap->cause <= KNELL_GAP_MISSED)
		json_text(j, KEY("knell.gap.cause"), causes[gap->cause]);
	else if (gap->cause == GAP_AUDIT)
		json_text(j, KEY("knell.gap.cause"), "audit");
}

static void write_payload(struct json *j, const struct knell_event *e)
{
	switch (e->kind) {
	case KNELL_INIT:
	case KNELL_CLONE:
		write_clone(j, e);
		break;
	case KNELL_EXEC:
		write_exec(j, e);
		break;
	case KNELL_UID:
		write_uid(j, e);
		break;
	case KNELL_GID:
		write_gid(j, e);
		break;
	case KNELL_EXIT:
		write_exit(j, e);
		break;
	case KNELL_FREE:
		write_usage(j, &e->u.free.usage, e->unknown);
		break;
	case KNELL_GAP:
		write_gap(j, e);
		break;
	default:
		break;
	}
}

/* Counts a record of this ring that is not written. */
static int skip(struct json *j, uint32_t ring)
{
	uint64_t *count = counter(j, ring);

	if (!count)
		return -ENOMEM;
	(*count)++;
	return 0;
}

static int write_event(struct json *j, const struct knell_event *e)
{
	j->lost += lost_in(e);
	j->events += e->kind != KNELL_GAP;
	if (e->flags & KNELL_F_RECONCILED)
		j->reconciled++;
	json_begin(j);
	write_head(j, e);
	write_payload(j, e);
	return json_end(j);
}

static int on_event(const struct knell_event *e, void *userdata)
{
	struct json *j = userdata;

	if (e->scope == KNELL_THREAD && !(j->flags & JSON_THREADS))
		return skip(j, e->ring);
	return write_event(j, e);
}

void json_write(struct json *json, const struct knell_event *event)
{
	write_event(json, event);
}

/* Between two looks at one clock, so that a pause between the calls counts by half only. */
static uint64_t clock_offset(void)
{
	uint64_t before = clock_ns(CLOCK_BOOTTIME);
	uint64_t real = clock_ns(CLOCK_REALTIME);
	uint64_t after = clock_ns(CLOCK_BOOTTIME);

	return real - before - (after - before) / 2;
}

int json_open(struct json **ret_json, struct knell_engine *engine, const char *path, uint32_t flags)
{
	uint32_t mask = KNELL_MASK_ALL;
	struct json *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return -ENOMEM;
	if (!(flags & JSON_INIT))
		mask &= ~KNELL_MASK(KNELL_INIT);
	if (flags & JSON_MEMORY)
		flags |= JSON_BY_HAND;
	j->flags = flags;
	j->offset = clock_offset();
	r = json_out_open(&j->out, flags & JSON_MEMORY ? NULL : path);
	if (r < 0) {
		free(j);
		return r;
	}
	r = json_fields_init(j);
	if (r == 0 && !(flags & JSON_BY_HAND))
		r = knell_watcher_add(engine, mask, on_event, j);
	if (r < 0) {
		json_close(j, NULL);
		return r;
	}
	*ret_json = j;
	return 0;
}

int json_flush(struct json *json)
{
	return json_out_flush(&json->out);
}

const char *json_lines(const struct json *json, size_t *ret_len)
{
	*ret_len = json->out.len;
	return json->out.buf;
}

void json_take(struct json *json, size_t len)
{
	json_out_consume(&json->out, len);
}

void json_last_first(struct json *json)
{
	json_out_last_first(&json->out);
}

void json_unwrite(struct json *j, const struct knell_event *e)
{
	j->lost -= lost_in(e);
	j->events -= e->kind != KNELL_GAP;
	j->reconciled -= e->flags & KNELL_F_RECONCILED ? 1 : 0;
	if (e->ring < j->ring_count)
		j->skipped[e->ring] -= e->kind == KNELL_GAP ? lost_in(e) : 1;
}

/* A text of the system's; NULL: not known. */
static void told(struct json *j, const char *name, size_t len, const char *text)
{
	if (text)
		json_text(j, name, len, text);
}

void json_write_start(struct json *j, const struct json_start *start)
{
	json_begin(j);
	json_time(j, KEY("timestamp"), clock_ns(CLOCK_BOOTTIME));
	json_text(j, KEY("knell.event"), "start");
	told(j, KEY("knell.boot_id"), start->boot_id);
	told(j, KEY("knell.source"), start->source);
	told(j, KEY("knell.version"), start->version);
	told(j, KEY("host.name"), start->host);
	flag(j, start->continued, KEY("knell.continued"));
	json_end(j);
}

void json_write_lost(struct json *j, uint32_t ring, const struct json_count *lost)
{
	struct knell_event gap = {
		.kind = KNELL_GAP,
		.time = clock_ns(CLOCK_BOOTTIME),
		.ring = ring,
		.u.gap = {
			.births = lost->births,
			.deaths = lost->deaths,
			.others = lost->others,
			.cause = GAP_AUDIT,
		},
	};

	write_event(j, &gap);
}

void json_write_suppressed(struct json *j, const struct json_count *count)
{
	uint64_t sum = count->births + count->deaths + count->others;

	j->suppressed += sum;
	json_begin(j);
	json_time(j, KEY("timestamp"), clock_ns(CLOCK_BOOTTIME));
	json_text(j, KEY("knell.event"), "suppressed");
	json_number(j, KEY("knell.suppressed"), sum);
	json_number(j, KEY("knell.suppressed.births"), count->births);
	json_number(j, KEY("knell.suppressed.deaths"), count->deaths);
	json_number(j, KEY("knell.suppressed.others"), count->others);
	json_end(j);
}

void json_write_summary(struct json *j)
{
	json_begin(j);
	json_time(j, KEY("timestamp"), clock_ns(CLOCK_BOOTTIME));
	json_text(j, KEY("knell.event"), "summary");
	json_number(j, KEY("knell.events"), j->events);
	json_number(j, KEY("knell.lost"), j->lost);
	json_number(j, KEY("knell.reconciled"), j->reconciled);
	if (j->suppressed)
		json_number(j, KEY("knell.suppressed"), j->suppressed);
	if (j->out.unwritten)
		json_number(j, KEY("knell.unwritten"), j->out.unwritten);
	json_end(j);
}

int json_close(struct json *json, struct json_result *ret_result)
{
	struct json_out *out;
	struct json_result result;

	if (!json)
		return 0;
	out = &json->out;
	if (!(json->flags & JSON_MEMORY)) {
		if (json->gen)
			json_write_summary(json);
		json_out_flush(out);
		json_out_abandon(out);
		json_out_close(out);
	}
	result = (struct json_result){
		.lines = out->lines,
		.unwritten = out->unwritten,
		.error = out->error,
		.torn = out->torn,
	};
	json_fields_done(json);
	free(json->skipped);
	free(json);
	if (ret_result)
		*ret_result = result;
	return result.error;
}
