/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_read_event.c - makes a record of the fields of a line; see json_read_fields.h. It is the
 * mirror of json.c: what is not in the line was not known.
 */
#include <limits.h>
#include <string.h>

#include "json_read_fields.h"
#include "payload.h"

#define SECOND UINT64_C(1000000000)

/* ---- times ---- */

/* `count` digits at `s`; -1: something else is there. */
static int digits(const char *s, size_t count)
{
	int value = 0;

	for (size_t i = 0; i < count; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		value = value * 10 + (s[i] - '0');
	}
	return value;
}

/* Days from 1970-01-01 in the Gregorian calendar; `month` and `day` from 1. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
	int64_t era, of_era;
	int of_year;

	year -= month <= 2;
	era = year / 400;
	of_era = year - era * 400;
	of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* "Z", "+01:00" or "-0100", in seconds. */
static bool read_zone(const char *s, size_t len, int64_t *ret)
{
	int hours, minutes;

	if (len == 1 && (*s == 'Z' || *s == 'z')) {
		*ret = 0;
		return true;
	}
	if (len != 6 && len != 5)
		return false;
	hours = digits(s + 1, 2);
	minutes = digits(s + len - 2, 2);
	if ((*s != '+' && *s != '-') || (len == 6 && s[3] != ':') || hours < 0 || hours > 23 ||
	    minutes < 0 || minutes > 59)
		return false;
	*ret = (int64_t)(hours * 60 + minutes) * (*s == '-' ? -60 : 60);
	return true;
}

/* ".123456789", any number of digits. Returns its length. */
static size_t read_fraction(const char *s, size_t len, uint64_t *ret_ns)
{
	uint64_t unit = SECOND / 10;
	size_t i = 1;

	*ret_ns = 0;
	if (len < 2 || *s != '.')
		return 0;
	for (; i < len && s[i] >= '0' && s[i] <= '9'; i++, unit /= 10)
		*ret_ns += unit * (uint64_t)(s[i] - '0');
	return i > 1 ? i : 0;
}

bool json_read_time(const char *s, size_t len, __u64 *ret)
{
	int year, month, day, hour, minute, second;
	int64_t zone, time;
	uint64_t ns;
	size_t used;

	if (len < 20 || s[4] != '-' || s[7] != '-' || (s[10] != 'T' && s[10] != ' ') ||
	    s[13] != ':' || s[16] != ':')
		return false;
	year = digits(s, 4);
	month = digits(s + 5, 2);
	day = digits(s + 8, 2);
	hour = digits(s + 11, 2);
	minute = digits(s + 14, 2);
	second = digits(s + 17, 2);
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
	    hour > 24 || minute < 0 || minute > 59 || second < 0 || second > 60)
		return false;
	used = 19 + read_fraction(s + 19, len - 19, &ns);
	if (!read_zone(s + used, len - used, &zone))
		return false;
	time = days_from_civil(year, month, day) * 86400 + hour * INT64_C(3600) +
	       minute * INT64_C(60) + second - zone;
	if (time < 0 || (uint64_t)time > UINT64_MAX / SECOND - 1)
		return false;
	*ret = (uint64_t)time * SECOND + ns;
	return true;
}

bool json_field_time(const struct json_fields *f, unsigned int field, __u64 *ret)
{
	const struct json_span *text = &f->value[field].text;

	*ret = 0;
	return !f->has[field] || json_read_time(text->s, text->len, ret);
}

/* ---- small fields ---- */

static bool read_u32(const struct json_fields *f, unsigned int field, uint32_t *ret)
{
	uint64_t number = json_field_number(f, field);

	*ret = (uint32_t)number;
	return number <= UINT32_MAX;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Writes at most `size` bytes; returns how many they are, -1: this is no hexadecimal. */
static long read_hex(const struct json_span *text, char *to, size_t size)
{
	size_t count = text->len / 2;

	if (text->len % 2)
		return -1;
	for (size_t i = 0; i < count; i++) {
		int high = hex_digit(text->s[2 * i]), low = hex_digit(text->s[2 * i + 1]);

		if (high < 0 || low < 0)
			return -1;
		if (i < size)
			to[i] = (char)(high << 4 | low);
	}
	return (long)count;
}

/* `hex` comes after `field`, and is there if not all bytes are UTF-8. */
static bool read_comm(const struct json_fields *f, unsigned int field, unsigned int hex,
		      char comm[KNELL_COMM_LEN])
{
	const struct json_span *text = &f->value[field].text;

	if (f->has[hex])
		return read_hex(&f->value[hex].text, comm, KNELL_COMM_LEN - 1) >= 0;
	if (f->has[field])
		memcpy(comm, text->s, text->len < KNELL_COMM_LEN ? text->len : KNELL_COMM_LEN - 1);
	return true;
}

static bool read_reason(const struct json_span *text, uint8_t *ret)
{
	for (unsigned int reason = 0; reason < KNELL_REASON_MAX; reason++) {
		const char *name = knell_reason_name(reason);

		if (text->len == strlen(name) && memcmp(text->s, name, text->len) == 0) {
			*ret = (uint8_t)reason;
			return true;
		}
	}
	*ret = KNELL_REASON_MAX; /* of a later version: words say nothing about it */
	return true;
}

/* ---- the head ---- */

static void unknown_without(const struct json_fields *f, unsigned int field, uint32_t bit,
			    struct knell_event *e)
{
	if (!f->has[field])
		e->unknown |= bit;
}

static void flag(const struct json_fields *f, unsigned int field, uint32_t bit,
		 struct knell_event *e)
{
	if (json_field_number(f, field))
		e->flags |= bit;
}

static bool read_scope(const struct json_fields *f, struct knell_event *e)
{
	const struct json_span *text = &f->value[F_SCOPE].text;

	if (!f->has[F_SCOPE])
		return true;
	e->scope =
		text->len == 6 && memcmp(text->s, "thread", 6) == 0 ? KNELL_THREAD : KNELL_PROCESS;
	return true;
}

static bool read_tasks(const struct json_fields *f, struct knell_event *e)
{
	bool thread = e->scope == KNELL_THREAD;

	if (!read_u32(f, F_PID, &e->task.tgid) || !read_u32(f, F_PPID, &e->parent.tgid) ||
	    !read_u32(f, F_TID, &e->task.tid))
		return false;
	if (!thread)
		e->task.tid = e->task.tgid;
	e->parent.tid = e->parent.tgid;
	if (!f->has[F_PPID] && !f->has[F_PARENT_START])
		e->unknown |= KNELL_U_PARENT;
	return json_field_time(f, thread ? F_THREAD_START : F_START, &e->task.start) &&
	       json_field_time(f, F_PARENT_START, &e->parent.start);
}

static bool read_head(const struct json_fields *f, struct knell_event *e)
{
	unknown_without(f, F_UID, KNELL_U_UID, e);
	unknown_without(f, F_GID, KNELL_U_GID, e);
	unknown_without(f, F_CGROUP, KNELL_U_CGROUP, e);
	unknown_without(f, F_COMM, KNELL_U_COMM, e);
	unknown_without(f, F_CPU, KNELL_U_CPU, e);
	flag(f, F_ROOT, KNELL_F_ROOT, e);
	flag(f, F_REPLACED, KNELL_F_REPLACED, e);
	flag(f, F_RECONCILED, KNELL_F_RECONCILED, e);
	flag(f, F_TRUNCATED, KNELL_F_TRUNCATED, e);
	flag(f, F_START_STAMP, KNELL_F_START_STAMP, e);
	e->seq = json_field_number(f, F_SEQ);
	e->cgroup = json_field_number(f, F_CGROUP);
	e->cookie = json_field_number(f, F_COOKIE);
	return json_field_time(f, F_TIME, &e->time) && read_scope(f, e) && read_tasks(f, e) &&
	       read_u32(f, F_RING, &e->ring) && read_u32(f, F_CPU, &e->cpu) &&
	       read_u32(f, F_UID, &e->uid) && read_u32(f, F_GID, &e->gid) &&
	       read_comm(f, F_COMM, F_COMM_HEX, e->comm);
}

/* ---- payloads ---- */

static bool read_clone(const struct json_fields *f, struct knell_event *e)
{
	unknown_without(f, F_CLONE_FLAGS, KNELL_U_FLAGS, e);
	e->u.clone.flags = json_field_number(f, F_CLONE_FLAGS);
	return read_u32(f, F_EXIT_SIGNAL, &e->u.clone.exit_signal);
}

/* What data[] of an exec record is filled with. */
struct room {
	char *at;
	size_t left;
};

/* Cut where the record is full, as the writer of records would have done. */
static bool add_bytes(struct room *room, const struct json_span *text, bool hex, uint32_t *len)
{
	long count = (long)text->len;
	size_t fits;

	if (hex)
		count = read_hex(text, room->at, room->left ? room->left - 1 : 0);
	if (count < 0)
		return false;
	fits = (size_t)count < room->left ? (size_t)count : room->left ? room->left - 1 : 0;
	if (!hex)
		memcpy(room->at, text->s, fits);
	*len += (uint32_t)fits;
	if (room->left) {
		room->at[fits] = '\0';
		room->at += fits + 1;
		room->left -= fits + 1;
	}
	return true;
}

static bool read_args(const struct json_fields *f, struct room *room, struct knell_exec *exec)
{
	bool hex = f->has[F_ARGS_HEX];
	const struct json_span *array = &f->value[hex ? F_ARGS_HEX : F_ARGS].text;
	struct json_scan scan = {
		.p = array->s,
		.end = array->s + array->len,
		.scratch = f->scratch,
	};
	const char *begin = room->at;
	struct json_span arg;
	uint32_t len = 0;

	if (!json_scan_char(&scan, '['))
		return false;
	if (json_scan_char(&scan, ']'))
		return true;
	do {
		if (!json_scan_text(&scan, &arg) || !add_bytes(room, &arg, hex, &len))
			return false;
	} while (json_scan_char(&scan, ','));
	exec->args_len = (uint32_t)(room->at - begin);
	return json_scan_char(&scan, ']');
}

static bool read_exec(const struct json_fields *f, struct knell_event *e)
{
	struct knell_exec *exec = &e->u.exec;
	bool hex = f->has[F_PATH_HEX];
	struct room room = {
		.at = (char *)e + KNELL_EVENT_HEAD + sizeof(*exec),
		.left = KNELL_EVENT_MAX - KNELL_EVENT_HEAD - sizeof(*exec) - 8,
	};
	size_t before = room.left;

	unknown_without(f, F_PATH, KNELL_U_FILE, e);
	unknown_without(f, F_ARGS, KNELL_U_ARGS, e);
	*room.at = '\0';
	if (f->has[F_PATH]) {
		if (!add_bytes(&room, &f->value[hex ? F_PATH_HEX : F_PATH].text, hex,
			       &exec->file_len))
			return false;
	} else {
		room.at++;
		room.left--;
	}
	if (f->has[F_ARGS] && !read_args(f, &room, exec))
		return false;
	e->size += (uint32_t)(before - room.left);
	return read_u32(f, F_OLD_TID, &exec->old_tid) &&
	       read_u32(f, F_ARGS_TOTAL, &exec->args_total);
}

static bool read_ids(const struct json_fields *f, unsigned int first, struct knell_event *e)
{
	const unsigned int saved = F_UID_SAVED - F_UID_REAL, old = F_UID_OLD_REAL - F_UID_REAL;
	uint32_t *const ids[] = {
		&e->u.ids.real,     &e->u.ids.effective,     &e->u.ids.saved,     &e->u.ids.fs,
		&e->u.ids.old_real, &e->u.ids.old_effective, &e->u.ids.old_saved, &e->u.ids.old_fs,
	};

	unknown_without(f, first + saved, KNELL_U_SAVED, e);
	unknown_without(f, first + old, KNELL_U_OLD, e);
	for (unsigned int i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		if (!read_u32(f, first + i, ids[i]))
			return false;
	}
	return true;
}

static void read_usage(const struct json_fields *f, struct knell_event *e,
		       struct knell_usage *usage)
{
	unknown_without(f, F_UTIME, KNELL_U_TIMES, e);
	unknown_without(f, F_MAXRSS, KNELL_U_RSS, e);
	unknown_without(f, F_MINFLT, KNELL_U_FAULTS, e);
	usage->utime = json_field_number(f, F_UTIME);
	usage->stime = json_field_number(f, F_STIME);
	usage->maxrss = json_field_number(f, F_MAXRSS);
	usage->minflt = json_field_number(f, F_MINFLT);
	usage->majflt = json_field_number(f, F_MAJFLT);
}

/* `first`: F_KILL_SENT or F_TERM_SENT, where the fields of this sender begin. */
static bool read_sender(const struct json_fields *f, unsigned int first, struct knell_signal *to)
{
	const unsigned int pid = first + F_KILL_PID - F_KILL_SENT,
			   uid = first + F_KILL_UID - F_KILL_SENT,
			   comm = first + F_KILL_COMM - F_KILL_SENT,
			   cgroup = first + F_KILL_CGROUP - F_KILL_SENT,
			   ppid = first + F_KILL_PPID - F_KILL_SENT,
			   pcomm = first + F_KILL_PCOMM - F_KILL_SENT;

	to->code = (int32_t)json_field_number(f, first + F_KILL_CODE - F_KILL_SENT);
	to->cgroup = json_field_number(f, cgroup);
	to->known =
		(uint8_t)((f->has[pid] ? KNELL_S_PID : 0) | (f->has[uid] ? KNELL_S_UID : 0) |
			  (f->has[comm] ? KNELL_S_COMM : 0) | (f->has[pcomm] ? KNELL_S_PARENT : 0) |
			  (f->has[cgroup] ? KNELL_S_CGROUP : 0));
	return json_field_time(f, first, &to->time) && read_u32(f, pid, &to->pid) &&
	       read_u32(f, uid, &to->uid) && read_u32(f, ppid, &to->ppid) &&
	       read_comm(f, comm, comm + 1, to->comm) && read_comm(f, pcomm, pcomm + 1, to->pcomm);
}

static bool read_status(const struct json_fields *f, struct knell_event *e)
{
	struct knell_exit *death = &e->u.exit;
	uint64_t code = json_field_number(f, F_EXIT_CODE), signo = json_field_number(f, F_SIGNAL);

	if (code > 255 || signo > 127 || (f->has[F_SIGNAL] && signo == 0))
		return false;
	if (f->has[F_EXIT_CODE]) {
		death->status = (int32_t)code << 8;
		return true;
	}
	if (!f->has[F_SIGNAL]) {
		e->unknown |= KNELL_U_STATUS;
		return true;
	}
	death->status = (int32_t)signo | (json_field_number(f, F_CORE) ? 0x80 : 0);
	if (!f->has[F_REASON]) {
		e->unknown |= KNELL_U_CAUSE;
		return true;
	}
	if (!read_reason(&f->value[F_REASON].text, &death->reason))
		return false;
	if (f->has[F_KILL_CODE]) {
		death->killer.signo = (uint8_t)signo;
		death->killer.reason = death->reason;
	}
	return read_sender(f, F_KILL_SENT, &death->killer);
}

static bool read_exit(const struct json_fields *f, struct knell_event *e)
{
	struct knell_signal *term = &e->u.exit.last_term;
	uint64_t signo = json_field_number(f, F_TERM);

	flag(f, F_FINAL, KNELL_F_USAGE_FINAL, e);
	read_usage(f, e, &e->u.exit.usage);
	if (!f->has[F_TERM])
		return read_status(f, e);
	if (signo == 0 || signo > 127 ||
	    (f->has[F_TERM_REASON] && !read_reason(&f->value[F_TERM_REASON].text, &term->reason)))
		return false;
	term->signo = (uint8_t)signo;
	return read_sender(f, F_TERM_SENT, term) && read_status(f, e);
}

static bool read_gap(const struct json_fields *f, struct knell_event *e)
{
	static const char *const causes[] = {
		[KNELL_GAP_RING] = "ring",
		[KNELL_GAP_RESERVE] = "reserve",
		[KNELL_GAP_MISSED] = "missed",
	};
	const struct json_span *text = &f->value[F_GAP_CAUSE].text;

	e->unknown = 0;
	e->u.gap.births = json_field_number(f, F_GAP_BIRTHS);
	e->u.gap.deaths = json_field_number(f, F_GAP_DEATHS);
	e->u.gap.others = json_field_number(f, F_GAP_OTHERS);
	for (uint32_t i = KNELL_GAP_RING; f->has[F_GAP_CAUSE] && i <= KNELL_GAP_MISSED; i++) {
		if (text->len == strlen(causes[i]) && memcmp(text->s, causes[i], text->len) == 0)
			e->u.gap.cause = i;
	}
	return true;
}

static bool read_payload(const struct json_fields *f, struct knell_event *e)
{
	switch (e->kind) {
	case KNELL_INIT:
	case KNELL_CLONE:
		return read_clone(f, e);
	case KNELL_EXEC:
		return read_exec(f, e);
	case KNELL_UID:
		return read_ids(f, F_UID_REAL, e);
	case KNELL_GID:
		return read_ids(f, F_GID_REAL, e);
	case KNELL_EXIT:
		return read_exit(f, e);
	case KNELL_FREE:
		read_usage(f, e, &e->u.free.usage);
		return true;
	default:
		return read_gap(f, e);
	}
}

bool json_read_event(const struct json_fields *f, unsigned int kind, struct knell_event *e)
{
	memset(e, 0, sizeof(*e));
	e->size = KNELL_EVENT_HEAD + payload_size(kind);
	e->version = KNELL_EVENT_VERSION;
	e->kind = (uint8_t)kind;
	if (!read_head(f, e) || !read_payload(f, e))
		return false;
	e->size = (e->size + 7) & ~7u;
	return true;
}
