/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_json.c - the answer for programs: one JSON object; knell-why(1) lists its fields. Those that
 * a log has, too, have the names that docs/json.md gives them.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <yajl/yajl_gen.h>

#include "cgroup.h"
#include "watchers/words.h"
#include "why.h"

static void text(yajl_gen gen, const char *s)
{
	yajl_gen_string(gen, (const unsigned char *)s, strlen(s));
}

static void field(yajl_gen gen, const char *name, const char *value)
{
	text(gen, name);
	text(gen, value);
}

/* Bytes of anybody's, escaped as for a terminal: JSON wants UTF-8. */
static void name_field(yajl_gen gen, const char *name, const char *value)
{
	char safe[4096];

	words_escape(safe, sizeof(safe), value, strlen(value));
	field(gen, name, safe);
}

static void number(yajl_gen gen, const char *name, uint64_t value)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);

	text(gen, name);
	yajl_gen_number(gen, digits, (size_t)len);
}

static void stamp(yajl_gen gen, const char *name, uint64_t time)
{
	time_t second = (time_t)(time / WHY_SECOND);
	char s[64], whole[32];
	struct tm tm;

	if (!time)
		return;
	gmtime_r(&second, &tm);
	strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(s, sizeof(s), "%s.%09uZ", whole, (unsigned int)(time % WHY_SECOND));
	field(gen, name, s);
}

static void ancestors(yajl_gen gen, const struct why *why, const char *name,
		      const struct why_life *life, uint64_t died)
{
	struct why_ancestor chain[WHY_ANCESTORS];
	bool whole;
	uint32_t count = why_ancestors(why, life, died, chain, &whole);

	text(gen, name);
	yajl_gen_array_open(gen);
	for (uint32_t i = count; i-- > 1;) {
		yajl_gen_map_open(gen);
		number(gen, "process.pid", chain[i].pid);
		stamp(gen, "process.creation.time", chain[i].start);
		if (*chain[i].comm)
			name_field(gen, "process.executable.name", chain[i].comm);
		if (chain[i].dead) {
			text(gen, "knell.why.dead");
			yajl_gen_bool(gen, 1);
		}
		yajl_gen_map_close(gen);
	}
	yajl_gen_array_close(gen);
}

static void command(yajl_gen gen, const struct why_life *life)
{
	char safe[4096];

	if (life->path)
		name_field(gen, "process.executable.path", life->path);
	if (!(life->flags & WHY_ARGS))
		return;
	text(gen, "process.command_args");
	yajl_gen_array_open(gen);
	for (uint32_t i = 0; i < life->args_len; i += (uint32_t)strlen(life->args + i) + 1) {
		words_escape(safe, sizeof(safe), life->args + i, strlen(life->args + i));
		text(gen, safe);
	}
	yajl_gen_array_close(gen);
}

static void process(yajl_gen gen, const struct why *why, const struct why_life *life, uint64_t died)
{
	char name[512];

	number(gen, "process.pid", life->pid);
	stamp(gen, "process.creation.time", life->start);
	if (*life->comm)
		name_field(gen, "process.executable.name", life->comm);
	command(gen, life);
	if (life->flags & WHY_UID)
		number(gen, "process.user.id", life->uid);
	if (!life->cgroup)
		return;
	number(gen, "knell.cgroup.id", life->cgroup);
	if (why_is_here(why, died) && cgroup_name(name, sizeof(name), life->cgroup))
		name_field(gen, "knell.why.cgroup", name);
}

static void sender(yajl_gen gen, const struct why *why, const struct why_death *death)
{
	if (!death->sender)
		return;
	text(gen, "knell.why.sender");
	yajl_gen_map_open(gen);
	process(gen, why, death->sender, death->time);
	ancestors(gen, why, "knell.why.ancestors", death->sender, death->time);
	yajl_gen_map_close(gen);
}

static void signal_fields(yajl_gen gen, const struct knell_signal *signal, bool term)
{
	if (signal->known & KNELL_S_PID)
		number(gen, term ? "knell.exit.last_term.sender.pid" : "knell.exit.sender.pid",
		       signal->pid);
	if (signal->known & KNELL_S_UID)
		number(gen, term ? "knell.exit.last_term.sender.uid" : "knell.exit.sender.uid",
		       signal->uid);
	if (signal->known & KNELL_S_COMM)
		name_field(gen,
			   term ? "knell.exit.last_term.sender.comm" : "knell.exit.sender.comm",
			   signal->comm);
}

static void how(yajl_gen gen, const struct why_death *death)
{
	const struct knell_exit *e = &death->event.u.exit;
	uint32_t unknown = death->event.unknown;

	field(gen, "knell.why.text", why_how(death).s);
	if (unknown & KNELL_U_STATUS)
		return;
	if (WIFSIGNALED(e->status)) {
		number(gen, "knell.exit.signal", (uint64_t)WTERMSIG(e->status));
		text(gen, "knell.exit.core");
		yajl_gen_bool(gen, !!WCOREDUMP(e->status));
		if (!(unknown & KNELL_U_CAUSE))
			field(gen, "knell.exit.reason", knell_reason_name(e->reason));
		signal_fields(gen, &e->killer, false);
	} else {
		number(gen, "process.exit.code", (uint64_t)WEXITSTATUS(e->status));
	}
	if (words_was_warned(e, unknown)) {
		number(gen, "knell.exit.last_term.signal", e->last_term.signo);
		signal_fields(gen, &e->last_term, true);
	}
}

static void usage(yajl_gen gen, const struct why_death *death)
{
	const struct knell_usage *used = &death->event.u.exit.usage;

	if (!(death->event.unknown & KNELL_U_TIMES)) {
		number(gen, "knell.usage.utime_ns", used->utime);
		number(gen, "knell.usage.stime_ns", used->stime);
	}
	if (!(death->event.unknown & KNELL_U_RSS))
		number(gen, "knell.usage.maxrss_bytes", used->maxrss);
}

static void death_object(yajl_gen gen, const struct why *why, const struct why_death *death)
{
	static const char *const fates[] = {
		[WHY_DIED] = "died",
		[WHY_REUSED] = "unheard",
		[WHY_REBOOT] = "reboot",
		[WHY_STOPPED] = "log_ended",
	};
	struct why_text notes[WHY_NOTES];
	uint32_t count = why_notes(why, death, notes);

	yajl_gen_map_open(gen);
	stamp(gen, "timestamp", death->time);
	field(gen, "knell.why.fate", fates[death->fate]);
	process(gen, why, death->life, death->time);
	how(gen, death);
	usage(gen, death);
	ancestors(gen, why, "knell.why.ancestors", death->life, death->time);
	sender(gen, why, death);
	text(gen, "knell.why.notes");
	yajl_gen_array_open(gen);
	for (uint32_t i = 0; i < count; i++)
		text(gen, notes[i].s);
	yajl_gen_array_close(gen);
	yajl_gen_map_close(gen);
}

static void alive(yajl_gen gen, const struct why *why)
{
	text(gen, "knell.why.alive");
	yajl_gen_array_open(gen);
	for (uint32_t i = 0; i < why->alive_count && i < WHY_ALIVE; i++) {
		yajl_gen_map_open(gen);
		number(gen, "process.pid", why->alive[i].pid);
		stamp(gen, "process.creation.time", why->alive[i].since);
		name_field(gen, "process.executable.name", why->alive[i].comm);
		yajl_gen_map_close(gen);
	}
	yajl_gen_array_close(gen);
}

static void log_object(yajl_gen gen, const struct why *why, const char *searched)
{
	text(gen, "knell.why.log");
	yajl_gen_map_open(gen);
	name_field(gen, "knell.why.files", searched);
	stamp(gen, "knell.why.begin", why->begin);
	stamp(gen, "knell.why.end", why->end);
	number(gen, "knell.why.lines", why->lines);
	number(gen, "knell.why.damaged", why->damaged);
	number(gen, "knell.why.searched", why->deaths);
	number(gen, "knell.why.stops", why->account.hole_count);
	number(gen, "knell.gap.births", why->account.span.births);
	number(gen, "knell.gap.deaths", why->account.span.deaths);
	number(gen, "knell.gap.others", why->account.span.others);
	number(gen, "knell.suppressed", why->account.span.suppressed);
	number(gen, "knell.unwritten", why->account.span.unwritten);
	number(gen, "knell.why.missing", why->account.span.missing);
	yajl_gen_map_close(gen);
}

static void print(void *ctx, const char *s, size_t len)
{
	fwrite(s, 1, len, ctx);
}

int why_tell_json(const struct why *why, const char *searched, FILE *out)
{
	const struct why_death **deaths =
		calloc(why->options.newest, sizeof(const struct why_death *));
	enum why_class class = WHY_NOTABLE;
	uint32_t count = deaths ? why_select(why, deaths, &class) : 0;
	yajl_gen gen = yajl_gen_alloc(NULL);

	if (gen) {
		yajl_gen_config(gen, yajl_gen_print_callback, print, out);
		yajl_gen_map_open(gen);
		name_field(gen, "knell.why.target", why->options.target);
		text(gen, "knell.why.deaths");
		yajl_gen_array_open(gen);
		for (uint32_t i = 0; i < count; i++)
			death_object(gen, why, deaths[i]);
		yajl_gen_array_close(gen);
		number(gen, "knell.why.total", why->rings[class].total);
		number(gen, "knell.why.clean", why->rings[WHY_CLEAN].total);
		alive(gen, why);
		number(gen, "knell.why.unsettled", why->unsettled);
		if (searched)
			log_object(gen, why, searched);
		yajl_gen_map_close(gen);
		yajl_gen_free(gen);
		fputc('\n', out);
	}
	free(deaths);
	return count || why->alive_count || why->unsettled ? 0 : 1;
}
