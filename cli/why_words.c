/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_words.c - what `knell why` says, in pieces: times, commands, chains of ancestors, losses; see
 * why.h. Owns no state.
 */
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "watchers/words.h"
#include "why.h"

/* A command of more is cut: three lines are to stay three lines. */
#define COMMAND_MAX 240u

static void __attribute__((format(printf, 2, 3)))
add(struct why_text *text, const char *format, ...)
{
	size_t used = strlen(text->s);
	va_list args;

	va_start(args, format);
	vsnprintf(text->s + used, sizeof(text->s) - used, format, args);
	va_end(args);
}

struct why_text why_time(uint64_t time)
{
	struct why_text text = { "" };
	time_t second = (time_t)(time / WHY_SECOND);
	struct tm tm;

	localtime_r(&second, &tm);
	strftime(text.s, sizeof(text.s), "%Y-%m-%d %H:%M:%S", &tm);
	add(&text, ".%03u", (unsigned int)(time % WHY_SECOND / 1000000));
	return text;
}

struct why_text why_name(const struct why_life *life)
{
	struct why_text text = { "" };

	if (!*life->comm && life->path) {
		const char *base = words_basename(life->path);

		words_escape(text.s, sizeof(text.s), base, strlen(base));
	} else {
		add(&text, "%s", words_comm(life->comm, *life->comm).s);
	}
	return text;
}

/* ---- commands ---- */

static bool is_plain(const char *s)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-+=.,:/@%^";

	return *s && strspn(s, plain) == strlen(s);
}

/* One argument, in quotes where a shell needs them: '\'' ends and begins them around a quote. */
static void add_argument(struct why_text *text, const char *s)
{
	char safe[COMMAND_MAX + 8];

	words_escape(safe, sizeof(safe), s, strlen(s));
	add(text, "%s", *text->s ? " " : "");
	if (is_plain(s)) {
		add(text, "%s", safe);
		return;
	}
	add(text, "'");
	for (const char *p = safe; *p; p++)
		add(text, *p == '\'' ? "'\\''" : "%c", *p);
	add(text, "'");
}

struct why_text why_command(const struct why_life *life)
{
	struct why_text text = { "" };

	if (!(life->flags & WHY_ARGS)) {
		if (life->path)
			add_argument(&text, life->path);
		return text;
	}
	for (uint32_t i = 0; i < life->args_len; i += (uint32_t)strlen(life->args + i) + 1) {
		add_argument(&text, life->args + i);
		if (strlen(text.s) > COMMAND_MAX)
			break;
	}
	if (words_width(text.s) > COMMAND_MAX) {
		words_cut(text.s, COMMAND_MAX);
		add(&text, " ...");
	}
	return text;
}

/* ---- how it died ---- */

struct why_text why_how(const struct why_death *death)
{
	struct why_text text = { "" };

	switch (death->fate) {
	case WHY_DIED:
		words_death(text.s, sizeof(text.s), death->event.task.tgid, &death->event.u.exit,
			    death->event.unknown);
		break;
	case WHY_REUSED:
		add(&text, "died unheard; its number was given to another process by then");
		break;
	case WHY_REBOOT:
		add(&text, "was alive when the log ended before the machine was started again");
		break;
	case WHY_STOPPED:
		add(&text, "was alive when the log ended; it is not any more");
		break;
	}
	return text;
}

/* ---- losses ---- */

static void add_loss(struct why_text *text, uint64_t count, const char *one, const char *many)
{
	if (count)
		add(text, "%s%s %s", *text->s ? ", " : "", words_count(count).s,
		    count == 1 ? one : many);
}

struct why_text why_losses_words(const struct why_losses *l)
{
	struct why_text text = { "" };

	add_loss(&text, l->births, "birth", "births");
	add_loss(&text, l->deaths, "death", "deaths");
	add_loss(&text, l->others, "other event", "other events");
	add_loss(&text, l->suppressed, "event above its rate limit", "events above its rate limit");
	add_loss(&text, l->unwritten, "event that could not be written",
		 "events that could not be written");
	add_loss(&text, l->missing, "line that is missing", "lines that are missing");
	return text;
}

/* ---- ancestors ---- */

static void take_ancestor(struct why_ancestor *to, const struct why_life *life, uint64_t died)
{
	to->pid = life->pid;
	to->start = life->start;
	to->dead = life->died && life->died < died;
	words_copy_comm(to->comm, life->comm);
}

/* What the log does not have, /proc may: those that live yet, and theirs. */
static uint32_t add_living(struct why_ancestor *at, uint32_t count, bool *ret_whole)
{
	struct why_process process;
	uint32_t pid = at[count - 1].pid;
	uint64_t start = at[count - 1].start;

	while (why_process_is(pid, start, &process)) {
		struct why_ancestor *last = &at[count - 1];

		last->start = process.start;
		words_copy_comm(last->comm, process.comm);
		*ret_whole = process.ppid == 0;
		if (*ret_whole || count == WHY_ANCESTORS)
			break;
		pid = process.ppid;
		start = 0;
		at[count++] = (struct why_ancestor){ .pid = pid };
	}
	return count;
}

uint32_t why_ancestors(const struct why *why, const struct why_life *life, uint64_t died,
		       struct why_ancestor ret[WHY_ANCESTORS], bool *ret_whole)
{
	uint32_t count = 0;

	*ret_whole = false;
	for (; life && count < WHY_ANCESTORS; life = life->parent)
		take_ancestor(&ret[count++], life, died);
	if (life || !count)
		return count;
	*ret_whole = ret[count - 1].pid == 1;
	if (why_is_here(why, died) && count > 1 && count < WHY_ANCESTORS && !ret[count - 1].dead)
		count = add_living(ret, count, ret_whole);
	return count;
}
