/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_tell.c - the answer for people: a table where there are several deaths, three lines for the
 * newest, and what is missing; see why.h.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "watchers/words.h"
#include "why.h"

/* Of a longer line of ancestors the first and the last of these are shown. */
#define SHOWN_FIRST 3u
#define SHOWN_LAST  8u

/* ---- three lines ---- */

/* "sleep (pid 12) died at ...: killed by SIGKILL sent by ..." */
static void tell_how(const struct why_death *death, FILE *out)
{
	const struct knell_event *e = &death->event;
	bool exited = death->fate == WHY_DIED && !(e->unknown & KNELL_U_STATUS) &&
		      WIFEXITED(e->u.exit.status);

	fprintf(out, "%s (pid %u) ", why_name(death->life).s, death->life->pid);
	if (death->fate == WHY_DIED)
		fprintf(out, "%s at %s: %s.\n", exited ? "ended" : "died", why_time(death->time).s,
			why_how(death).s);
	else
		fprintf(out, "%s, %s.\n", why_how(death).s, why_time(death->time).s);
}

static void tell_command(const struct why_life *life, FILE *out)
{
	const char *name = words_comm(life->born_as, true).s;

	if (*why_command(life).s)
		fprintf(out, " as \"%s\"", why_command(life).s);
	else if (life->flags & WHY_EXECED)
		fputs(" as a program whose name is not in the log", out);
	else if (life->flags & WHY_HEARD && *life->born_as)
		fprintf(out, " as a fork of %s, without a program of its own", name);
}

static void tell_place(const struct why *why, const struct why_death *death, FILE *out)
{
	const struct why_life *life = death->life;
	bool here = why_is_here(why, death->time);
	char name[512], safe[1024];

	if (life->flags & WHY_UID)
		fprintf(out, ", uid %u", life->uid);
	if (!life->cgroup)
		return;
	if (here && cgroup_name(name, sizeof(name), life->cgroup)) {
		words_escape(safe, sizeof(safe), name, strlen(name));
		fprintf(out, ", in cgroup %s", safe);
	} else {
		fprintf(out, ", in cgroup %" PRIu64 "%s", life->cgroup,
			here ? ", which is gone" : "");
	}
}

static void tell_usage(const struct why_death *death, FILE *out)
{
	const struct knell_usage *usage = &death->event.u.exit.usage;
	uint32_t unknown = death->event.unknown;

	if (!(unknown & KNELL_U_TIMES))
		fprintf(out, "; it used %s of CPU time",
			words_duration(usage->utime + usage->stime).s);
	if (!(unknown & KNELL_U_RSS))
		fprintf(out, "%s%s of memory", unknown & KNELL_U_TIMES ? "; it used " : ", ",
			words_size(usage->maxrss).s);
}

/* "It had run 3.20 s as "sleep 1000", uid 0, in cgroup /a; it used ..." */
static void tell_life(const struct why *why, const struct why_death *death, FILE *out)
{
	const struct why_life *life = death->life;

	if (life->start && life->start <= death->time)
		fprintf(out, "It had run %s%s", death->fate == WHY_DIED ? "" : "at most ",
			words_duration(death->time - life->start).s);
	else
		fputs("It had run", out);
	tell_command(life, out);
	tell_place(why, death, out);
	tell_usage(death, out);
	fputs(".\n", out);
}

static void tell_ancestor(const struct why_ancestor *a, FILE *out)
{
	fprintf(out, "%s (%u%s)", words_comm(a->comm, *a->comm).s, a->pid,
		a->dead ? ", dead by then" : "");
}

/* "Started by: systemd (1) > sshd (80) > sleep (12)" */
static void tell_ancestors(const struct why *why, const struct why_death *death, FILE *out)
{
	struct why_ancestor chain[WHY_ANCESTORS];
	bool whole;
	uint32_t count = why_ancestors(why, death->life, death->time, chain, &whole);

	fputs("Started by: ", out);
	if (count < 2) {
		fputs("not in the log\n", out);
		return;
	}
	if (!whole)
		fputs("... > ", out);
	for (uint32_t i = count; i-- > 0;) {
		if (i >= SHOWN_LAST && i + SHOWN_FIRST < count) {
			if (i == SHOWN_LAST)
				fputs(" > ...", out);
			continue;
		}
		fputs(i + 1 < count ? " > " : "", out);
		tell_ancestor(&chain[i], out);
	}
	fputc('\n', out);
}

/* ---- what is missing ---- */

static void __attribute__((format(printf, 3, 4)))
note(struct why_text *notes, uint32_t *count, const char *format, ...)
{
	va_list args;

	if (*count == WHY_NOTES)
		return;
	va_start(args, format);
	vsnprintf(notes[*count].s, sizeof(notes[*count].s), format, args);
	va_end(args);
	(*count)++;
}

/* Why its birth is not in the log, if it is not. */
static void note_birth(const struct why *why, const struct why_death *death, struct why_text *notes,
		       uint32_t *count)
{
	const struct why_life *life = death->life;
	const struct why_hole *hole;

	if (life->flags & WHY_HEARD)
		return;
	hole = life->start ? why_account_hole(&why->account, life->start, life->start + 1) : NULL;
	if (life->start && life->start < why->begin)
		note(notes, count,
		     "The log begins at %s, after it was started: what it was before is not known.",
		     why_time(why->begin).s);
	else if (hole)
		note(notes, count, "It was started while nobody wrote the log.");
	else if (why->account.sum.births || why->account.sum.missing ||
		 why->account.sum.suppressed || why->account.sum.unwritten)
		note(notes, count, "Its birth is not in the log, which has lost %s.",
		     why_losses_words(&why->account.sum).s);
	else
		note(notes, count, "Its birth is not in the log, which may have no births at all.");
}

uint32_t why_notes(const struct why *why, const struct why_death *death,
		   struct why_text ret[WHY_NOTES])
{
	const struct why_life *life = death->life;
	const struct why_hole *hole;
	uint32_t count = 0;

	note_birth(why, death, ret, &count);
	hole = why_account_hole(&why->account, life->start ? life->start : death->heard,
				death->time);
	if (hole && death->fate != WHY_REBOOT)
		note(ret, &count, "While it lived, nobody wrote the log from %s to %s.",
		     why_time(hole->from).s, why_time(hole->to).s);
	if (why_losses_sum(&death->losses))
		note(ret, &count,
		     "While it lived, the log lost %s: the command and the ancestors may be older "
		     "ones.",
		     why_losses_words(&death->losses).s);
	if (death->fate == WHY_STOPPED)
		note(ret, &count, "The log ends at %s; is it still written?", why_time(why->end).s);
	return count;
}

static void tell_notes(const struct why *why, const struct why_death *death, FILE *out)
{
	struct why_text notes[WHY_NOTES];
	uint32_t count = why_notes(why, death, notes);

	for (uint32_t i = 0; i < count; i++)
		fprintf(out, "Note: %s\n", notes[i].s);
}

/* ---- the table ---- */

static void tell_row(const struct why_death *death, FILE *out)
{
	const struct knell_usage *usage = &death->event.u.exit.usage;
	const struct why_life *life = death->life;
	uint32_t unknown = death->event.unknown;
	bool lived = life->start && life->start <= death->time;
	const char *name = why_name(life).s;

	fprintf(out, "%-23s %7u  %9s %9s %9s  %s%*s %s\n", why_time(death->time).s, life->pid,
		lived ? words_duration(death->time - life->start).s : "?",
		unknown & KNELL_U_TIMES ? "?" : words_duration(usage->utime + usage->stime).s,
		unknown & KNELL_U_RSS ? "?" : words_size(usage->maxrss).s, name,
		words_width(name) < 15 ? (int)(15 - words_width(name)) : 0, "", why_how(death).s);
}

static void tell_table(const struct why_death *const *deaths, uint32_t count, FILE *out)
{
	fprintf(out, "%-23s %7s  %9s %9s %9s  %-15s %s\n", "TIME", "PID", "LIVED", "CPU", "MEMORY",
		"NAME", "HOW");
	for (uint32_t i = 0; i < count; i++)
		tell_row(deaths[i], out);
	fputc('\n', out);
}

/* ---- the rest ---- */

static void tell_clean(const struct why *why, FILE *out)
{
	const struct why_ring *clean = &why->rings[WHY_CLEAN];

	if (clean->total)
		fprintf(out, "%s more exited 0, the last at %s: --all shows them.\n",
			words_count(clean->total).s, why_time(clean->last).s);
}

static void tell_older(const struct why *why, uint32_t shown, enum why_class class, FILE *out)
{
	uint64_t total = why->rings[class].total;

	if (total > shown)
		fprintf(out, "%s older ones are not shown: -n %" PRIu64 " shows all.\n",
			words_count(total - shown).s, total < WHY_MAX ? total : WHY_MAX);
	if (class == WHY_NOTABLE && !why->options.all)
		tell_clean(why, out);
	if (class == WHY_ONLY_BORN)
		fputs("They were born under that name, and ran another program then.\n", out);
}

static void tell_alive(const struct why *why, FILE *out)
{
	uint64_t now = why_now();

	for (uint32_t i = 0; i < why->alive_count && i < WHY_ALIVE; i++) {
		const struct why_living *living = &why->alive[i];

		if (why->alive_count > 3 && i == 1) {
			fprintf(out, "%s more of that name are alive.\n",
				words_count(why->alive_count - 1).s);
			break;
		}
		fprintf(out, "%s (pid %u) is alive, since %s (%s).\n",
			words_comm(living->comm, true).s, living->pid, why_time(living->since).s,
			words_duration(now > living->since ? now - living->since : 0).s);
	}
	if (why->unsettled && !why->options.name)
		fprintf(out, "It was alive when the log ended at %s.\n", why_time(why->end).s);
	else if (why->unsettled)
		fprintf(out, "%s of that name %s alive when the log ended at %s.\n",
			words_count(why->unsettled).s, why->unsettled == 1 ? "was" : "were",
			why_time(why->end).s);
}

static void tell_damage(const struct why *why, FILE *out)
{
	if (why->damaged)
		fprintf(out, "Note: %s of the log %s damaged and passed over.\n",
			why->damaged == 1 ? "a line" : words_count(why->damaged).s,
			why->damaged == 1 ? "is" : "lines are");
}

static void tell_searched(const struct why *why, const char *searched, FILE *out)
{
	const struct why_hole *hole =
		why_account_hole(&why->account, why->options.since, why->options.until);

	fprintf(out, "No death of '%s' is in %s", why->options.target, searched);
	if (why->begin)
		fprintf(out, ", from %s to %s",
			why_time(why->options.since > why->begin ? why->options.since : why->begin)
				.s,
			why_time(why->options.until < why->end ? why->options.until : why->end).s);
	fprintf(out, ": %s deaths were searched.\n", words_count(why->deaths).s);
	if (why_losses_sum(&why->account.span))
		fprintf(out, "Note: in that time the log lost %s: it may be among them.\n",
			why_losses_words(&why->account.span).s);
	if (hole)
		fprintf(out, "Note: nobody wrote the log from %s to %s.\n", why_time(hole->from).s,
			why_time(hole->to).s);
	if (why->begin > why->options.since && why->options.since)
		fprintf(out, "Note: the log begins at %s.\n", why_time(why->begin).s);
}

int why_tell(const struct why *why, const char *searched, FILE *out)
{
	const struct why_death **deaths =
		calloc(why->options.newest, sizeof(const struct why_death *));
	enum why_class class = WHY_NOTABLE;
	uint32_t count = deaths ? why_select(why, deaths, &class) : 0;

	if (count > 1)
		tell_table(deaths, count, out);
	if (count) {
		const struct why_death *newest = deaths[count - 1];

		tell_how(newest, out);
		tell_life(why, newest, out);
		tell_ancestors(why, newest, out);
		tell_notes(why, newest, out);
		tell_older(why, count, class, out);
	} else if (searched) {
		tell_searched(why, searched, out);
	}
	tell_damage(why, out);
	tell_alive(why, out);
	free(deaths);
	return count || why->alive_count || why->unsettled ? 0 : 1;
}
