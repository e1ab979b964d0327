/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * trace_text.c - the table of `knell trace`: one line for each record. On a terminal its columns
 * are aligned and failures are red; elsewhere fields are separated by one tab each, so that cut(1)
 * and awk(1) can take it apart, and there is no header.
 */
#include "trace.h"
#include "watchers/words.h"

#define RED    "\033[31m"
#define YELLOW "\033[33m"
#define PLAIN  "\033[0m"

void trace_print_header(struct trace *trace)
{
	if (!trace->columns)
		return;
	text_string(trace->text, "TIME            EVENT     PID    PPID    UID   LIVED NAME"
				 "            WHAT\n");
}

/* The end of a column that is `width` wide, and aligned left if that is negative. */
static void number_field(struct trace *trace, bool known, uint64_t value, int width)
{
	struct text *text = trace->text;

	text_char(text, trace->columns ? ' ' : '\t');
	if (known)
		text_number(text, value, trace->columns ? width : 0);
	else
		text_padded(text, "?", trace->columns ? width : 0);
}

static void empty_field(struct trace *trace, int width)
{
	text_char(trace->text, trace->columns ? ' ' : '\t');
	if (trace->columns)
		text_padded(trace->text, "", width);
}

/* For people as they say it; for programs in seconds. */
static void lived_field(struct trace *trace, const struct knell_event *e)
{
	struct text *text = trace->text;
	uint64_t lived = e->time - e->task.start, us = lived / 1000;
	char digits[7] = ".";

	if (e->kind != KNELL_EXIT) {
		empty_field(trace, 7);
		return;
	}
	if (!e->task.start || e->time < e->task.start) {
		number_field(trace, false, 0, 7);
		return;
	}
	text_char(text, trace->columns ? ' ' : '\t');
	if (trace->columns) {
		text_padded(text, words_duration(lived).s, 7);
		return;
	}
	text_number(text, us / 1000000, 0);
	us %= 1000000;
	for (size_t i = 7; i-- > 1; us /= 10)
		digits[i] = (char)('0' + us % 10);
	text_put(text, digits, sizeof(digits));
}

/* ---- what happened ---- */

static void put_thread(struct text *text, const struct knell_event *e)
{
	text_string(text, "thread ");
	text_number(text, e->task.tid, 0);
	if (e->kind == KNELL_EXIT)
		text_string(text, e->flags & KNELL_F_REPLACED ? " replaced by exec" : " ended");
}

static void put_exec(struct text *text, const struct knell_event *e)
{
	const struct knell_exec *exec = &e->u.exec;
	const char *args = knell_exec_args(e);

	if (e->unknown & KNELL_U_FILE)
		text_char(text, '?');
	else
		text_escaped(text, knell_exec_file(e), exec->file_len);
	if (e->unknown & KNELL_U_ARGS)
		return;
	/* The first is a name for the program that was said already. */
	for (size_t i = 0, len; i < exec->args_len; i += len + 1) {
		len = strnlen(args + i, exec->args_len - i);
		if (i == 0)
			continue;
		text_char(text, ' ');
		text_escaped(text, args + i, len);
	}
	if (e->flags & KNELL_F_TRUNCATED)
		text_string(text, " ...");
}

static void put_id(struct text *text, const char *name, bool old_known, uint32_t old, uint32_t id)
{
	text_string(text, name);
	if (old_known && old != id) {
		text_number(text, old, 0);
		text_string(text, " -> ");
	}
	text_number(text, id, 0);
}

static void put_ids(struct text *text, const struct knell_event *e)
{
	const struct knell_ids *ids = &e->u.ids;
	bool old = !(e->unknown & KNELL_U_OLD);

	put_id(text, "real ", old, ids->old_real, ids->real);
	put_id(text, ", effective ", old, ids->old_effective, ids->effective);
	if (e->unknown & KNELL_U_SAVED)
		return;
	put_id(text, ", saved ", old, ids->old_saved, ids->saved);
	put_id(text, ", fs ", old, ids->old_fs, ids->fs);
}

static void put_death(struct text *text, const struct knell_event *e)
{
	static const struct knell_signal none;
	const struct knell_exit *death = &e->u.exit;
	char words[WORDS_DEATH_MAX];

	/* Most exit by themselves, and printf(3) would be most of their cost. */
	if (!(e->unknown & KNELL_U_STATUS) && (death->status & 0x7f) == 0 &&
	    (e->unknown & KNELL_U_TERM || death->last_term.signo == none.signo)) {
		text_string(text, "exited ");
		text_number(text, (uint32_t)death->status >> 8 & 0xff, 0);
		return;
	}
	words_death(words, sizeof(words), e->task.tgid, death, e->unknown);
	text_string(text, words);
}

static void put_usage(struct text *text, const struct knell_event *e)
{
	text_string(text, "released");
	if (e->unknown & KNELL_U_TIMES)
		return;
	text_string(text, ", CPU ");
	text_string(text, words_duration(e->u.free.usage.utime + e->u.free.usage.stime).s);
}

static void put_gap(struct text *text, const struct knell_gap *gap)
{
	static const char *const causes[] = {
		[KNELL_GAP_RING] = ": a ring was full",
		[KNELL_GAP_RESERVE] = ": the reserve was used up, see --reserve",
		[KNELL_GAP_MISSED] = ": the kernel skipped our program",
	};

	text_string(text, "lost ");
	text_string(text, words_count(gap->births).s);
	text_string(text, " births, ");
	text_string(text, words_count(gap->deaths).s);
	text_string(text, " deaths, ");
	text_string(text, words_count(gap->others).s);
	text_string(text, " others");
	if (gap->cause >= KNELL_GAP_RING && gap->cause <= KNELL_GAP_MISSED)
		text_string(text, causes[gap->cause]);
}

static void put_what(struct text *text, const struct knell_event *e)
{
	if (e->kind == KNELL_GAP)
		put_gap(text, &e->u.gap);
	else if (e->scope == KNELL_THREAD && e->kind != KNELL_UID && e->kind != KNELL_GID)
		put_thread(text, e);
	else if (e->kind == KNELL_CLONE && e->flags & KNELL_F_RECONCILED)
		text_string(text, "found alive");
	else if (e->kind == KNELL_EXEC)
		put_exec(text, e);
	else if (e->kind == KNELL_UID || e->kind == KNELL_GID)
		put_ids(text, e);
	else if (e->kind == KNELL_EXIT)
		put_death(text, e);
	else if (e->kind == KNELL_FREE)
		put_usage(text, e);
}

static const char *colour_of(const struct knell_event *e)
{
	if (e->kind == KNELL_GAP)
		return YELLOW;
	if (e->kind == KNELL_EXIT && e->scope == KNELL_PROCESS &&
	    words_failed(&e->u.exit, e->unknown))
		return RED;
	return NULL;
}

static void put_task(struct trace *trace, const struct knell_event *e)
{
	struct text *text = trace->text;

	number_field(trace, e->task.tgid != 0, e->task.tgid, 7);
	number_field(trace, !(e->unknown & KNELL_U_PARENT) && e->parent.tgid, e->parent.tgid, 7);
	number_field(trace, !(e->unknown & KNELL_U_UID), e->uid, 6);
	lived_field(trace, e);
	text_char(text, trace->columns ? ' ' : '\t');
	text_comm(text, e->comm, !(e->unknown & KNELL_U_COMM), trace->columns ? -15 : 0);
}

static void put_no_task(struct trace *trace)
{
	empty_field(trace, 7);
	empty_field(trace, 7);
	empty_field(trace, 6);
	empty_field(trace, 7);
	empty_field(trace, 15);
}

int trace_print(struct trace *trace, const struct knell_event *e)
{
	struct text *text = trace->text;
	const char *colour = trace->colour ? colour_of(e) : NULL;

	if (colour)
		text_string(text, colour);
	text_clock(text, e->time ? e->time : boottime_now());
	text_char(text, trace->columns ? ' ' : '\t');
	text_padded(text, knell_kind_name(e->kind), trace->columns ? -5 : 0);
	if (e->kind == KNELL_GAP)
		put_no_task(trace);
	else
		put_task(trace, e);
	text_char(text, trace->columns ? ' ' : '\t');
	put_what(text, e);
	if (colour)
		text_string(text, PLAIN);
	text_char(text, '\n');
	return text_end_line(text);
}
