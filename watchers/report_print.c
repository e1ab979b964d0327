/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report_print.c - the report as people read it: one label and one fact a line, in 80 columns.
 * Sums come first, then what failed, what was dear, what is left; a line that has nothing to say is
 * not printed, but losses are always mentioned.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report_data.h"
#include "words.h"

#define COLUMNS     80u
#define LABEL_WIDTH 12u
#define SHOWN       10u /* of each list of failures, and of what is left */
#define NAMES_SHOWN 8u

#define BOLD   "1"
#define RED    "31"
#define YELLOW "33"

struct page {
	FILE *file;
	bool colour;
};

/* Prints `text` from column `at` on, breaking lines at spaces; further lines begin at `indent`. */
static void print_wrapped(const struct page *page, const char *text, size_t at, size_t indent)
{
	bool first = true;

	while (*text) {
		size_t len = strcspn(text, " ");
		char word[WORDS_DEATH_MAX];
		size_t width;

		snprintf(word, sizeof(word), "%.*s", (int)len, text);
		width = words_width(word);
		if (!first && at + 1 + width > COLUMNS) {
			fprintf(page->file, "\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			fputc(' ', page->file);
			at++;
		}
		fputs(word, page->file);
		at += width;
		first = false;
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', page->file);
}

/* "  label     text"; further lines of the text stand below it. Label "": more of the one above. */
static void __attribute__((format(printf, 4, 5)))
line(const struct page *page, const char *label, const char *colour, const char *format, ...)
{
	size_t indent = LABEL_WIDTH + (*label ? 0 : 2);
	char text[2 * WORDS_DEATH_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(page->file, "  %-*s", (int)LABEL_WIDTH - 2, label);
	if (page->colour && colour)
		fprintf(page->file, "\033[%sm", colour);
	print_wrapped(page, text, LABEL_WIDTH, indent);
	if (page->colour && colour)
		fputs("\033[0m", page->file);
}

static const char *plural(uint64_t n, const char *one, const char *many)
{
	return n == 1 ? one : many;
}

/* The command in one line; a longer one is cut. */
static void print_title(const struct page *page, const struct report_end *end)
{
	static const char label[] = "knell: ";
	const size_t room = COLUMNS - (sizeof(label) - 1) - 3;
	char text[4 * COLUMNS] = "";
	const char *more = "";
	size_t used = 0;

	for (size_t i = 0; end->argv && end->argv[i]; i++) {
		if (i > 0 && used + 1 < sizeof(text))
			text[used++] = ' ';
		used += words_escape(text + used, sizeof(text) - used, end->argv[i],
				     strlen(end->argv[i]));
		text[used] = '\0';
	}
	if (words_width(text) > room + 3) {
		words_cut(text, room);
		more = "...";
	}
	fprintf(page->file, "%s%s%s%s%s\n", page->colour ? "\033[" BOLD "m" : "", label, text, more,
		page->colour ? "\033[0m" : "");
}

static void print_command(const struct page *page, const struct report *report,
			  const struct report_end *end)
{
	char death[WORDS_DEATH_MAX];
	bool good = end->status == 0;

	/* The record knows more than wait(2), if it is about the same death. */
	if (report->root_died && !(report->root_unknown & KNELL_U_STATUS) &&
	    report->root_death.status == end->status)
		words_death(death, sizeof(death), report->root_tgid, &report->root_death,
			    report->root_unknown);
	else
		words_status(death, sizeof(death), end->status);
	line(page, "command", good ? NULL : RED, "%s after %s", death,
	     end->wall ? words_duration(end->wall).s : "?");
}

/* Losses make the numbers of those alive at once an estimate. */
static void print_counts(const struct page *page, const struct report *report)
{
	uint64_t unheard = report->lost_births > report->late ? report->lost_births : report->late;
	uint64_t started = report->births + unheard;
	const char *about = unheard || report->lost_deaths ? "about " : "";

	if (!started) { /* not even the command's own: this source hears no births */
		line(page, "processes", NULL, "not heard");
		return;
	}
	line(page, "processes", NULL, "%s started, %s%s at once, %s %s", words_count(started).s,
	     about, words_count((uint64_t)report->peak.most_processes).s,
	     words_count(report->execs).s, plural(report->execs, "exec", "execs"));
	line(page, "threads", NULL, "%s started, %s%s at once",
	     words_count(started + report->thread_births).s, about,
	     words_count((uint64_t)report->peak.most_threads).s);
}

static void print_cost(const struct page *page, const struct report *report,
		       const struct report_end *end)
{
	const struct sums *sums = &report->sums;
	uint64_t cpu = sums->user + sums->system;
	const struct top_entry *largest = &sums->largest.list[0];
	char missing[64] = "";

	if (sums->times_unknown)
		snprintf(missing, sizeof(missing), "; unknown for %s",
			 words_count(sums->times_unknown).s);
	if (sums->times_unknown == sums->ended)
		line(page, "CPU", NULL, "?");
	else
		line(page, "CPU", NULL, "%s (%s user, %s system), %s x wall%s",
		     words_duration(cpu).s, words_duration(sums->user).s,
		     words_duration(sums->system).s, words_ratio(cpu, end->wall).s, missing);
	if (sums->largest.count)
		line(page, "peak RSS", NULL, "%s in %s (pid %u)", words_size(largest->value).s,
		     words_comm(largest->comm, true).s, largest->tgid);
	else
		line(page, "peak RSS", NULL, "?");
}

static void print_failures(const struct page *page, const struct failures *failures)
{
	uint32_t shown = failures->count < SHOWN ? failures->count : SHOWN;
	uint64_t left = failures->total;

	for (uint32_t i = 0; i < shown; i++) {
		const struct failure *f = &failures->list[i];
		struct words_name name = words_comm(f->comm, true);
		char death[WORDS_DEATH_MAX];

		left -= f->count;
		words_death(death, sizeof(death), f->tgid, &f->death, f->unknown);
		if (f->count == 1)
			line(page, "", NULL, "%s (pid %u) %s", name.s, f->tgid, death);
		else
			line(page, "", NULL, "%s x %s (first: pid %u) %s", words_count(f->count).s,
			     name.s, f->tgid, death);
	}
	if (left)
		line(page, "", NULL, "and %s more", words_count(left).s);
}

static void print_failed(const struct page *page, const struct report *report)
{
	uint64_t warned = report->by_signal.total - report->failed_by_signal;

	if (!report->failed && !warned) {
		line(page, "failed", NULL, "none");
		return;
	}
	if (report->failed_by_signal)
		line(page, "failed", RED, "%s, of them %s by a signal",
		     words_count(report->failed).s, words_count(report->failed_by_signal).s);
	else
		line(page, "failed", NULL, "%s", words_count(report->failed).s);
	print_failures(page, &report->by_signal);
	print_failures(page, &report->by_code);
}

/* One cell of the two lists that stand side by side. */
static void top_cell(char *cell, size_t size, const struct top *top, uint32_t i)
{
	const struct top_entry *entry = &top->list[i];

	cell[0] = '\0';
	if (i < top->count)
		snprintf(cell, size, "%8s %s (%u)", words_duration(entry->value).s,
			 words_comm(entry->comm, true).s, entry->tgid);
}

static void print_top(const struct page *page, const struct sums *sums)
{
	const struct top *slow = &sums->slowest, *dear = &sums->dearest;
	uint32_t rows = slow->count > dear->count ? slow->count : dear->count;
	const int half = 34;

	if (sums->ended < 2 || rows == 0)
		return;
	fprintf(page->file, "  %-*s%-*s%s\n", (int)LABEL_WIDTH - 2, "slowest", half,
		"by life (pid)", "by CPU (pid)");
	for (uint32_t i = 0; i < rows; i++) {
		char left[WORDS_COMM_MAX + 64], right[WORDS_COMM_MAX + 64];
		size_t width;

		top_cell(left, sizeof(left), slow, i);
		top_cell(right, sizeof(right), dear, i);
		width = words_width(left);
		fprintf(page->file, "%*s%s", (int)LABEL_WIDTH, "", left);
		if (*right)
			fprintf(page->file, "%*s%s", width < (size_t)half ? half - (int)width : 1,
				"", right);
		fputc('\n', page->file);
	}
}

/* By CPU time, then by number. */
static bool dearer(const struct name_sum *a, const struct name_sum *b)
{
	return a->cpu != b->cpu ? a->cpu > b->cpu : a->count > b->count;
}

static void print_name(const struct page *page, const char *label, const struct name_sum *sum,
		       const char *name)
{
	fprintf(page->file, "  %-*s%9s x %-16s %9s CPU\n", (int)LABEL_WIDTH - 2, label,
		words_count(sum->count).s, name, words_duration(sum->cpu).s);
}

static void print_names(const struct page *page, const struct names *names)
{
	const struct name_sum *best[NAMES_SHOWN];
	struct name_sum rest = names->others;
	uint32_t shown = 0;

	if (names->count < 2)
		return;
	for (uint32_t i = 0; i < names->count; i++) {
		const struct name_sum *sum = &names->list[i];
		uint32_t at;

		rest.count += sum->count;
		rest.cpu += sum->cpu;
		if (shown == NAMES_SHOWN && !dearer(sum, best[shown - 1]))
			continue;
		at = shown < NAMES_SHOWN ? shown++ : shown - 1;
		for (; at > 0 && dearer(sum, best[at - 1]); at--)
			best[at] = best[at - 1];
		best[at] = sum;
	}
	for (uint32_t i = 0; i < shown; i++) {
		print_name(page, i ? "" : "programs", best[i], words_comm(best[i]->comm, true).s);
		rest.count -= best[i]->count;
		rest.cpu -= best[i]->cpu;
	}
	if (rest.count)
		print_name(page, "", &rest, "others");
}

/* The oldest of those found alive after the command ended. */
struct left {
	uint64_t count, unaccounted;
	uint32_t shown;
	const struct proc *oldest[SHOWN];
};

static void left_add(struct left *left, const struct proc *p)
{
	uint32_t i;

	left->count++;
	if (left->shown == SHOWN && p->start >= left->oldest[SHOWN - 1]->start)
		return;
	i = left->shown < SHOWN ? left->shown++ : SHOWN - 1;
	for (; i > 0 && left->oldest[i - 1]->start > p->start; i--)
		left->oldest[i] = left->oldest[i - 1];
	left->oldest[i] = p;
}

static struct left find_left(const struct report *report)
{
	const struct proc_table *table = &report->table;
	struct left left = { 0 };

	for (uint32_t i = 0; table->slots && i <= table->slot_mask; i++) {
		const struct proc *p = &table->pool[table->slots[i]];

		if (!table->slots[i] || p->dead)
			continue;
		if (p->epoch == report->epoch)
			left_add(&left, p);
		else
			left.unaccounted++;
	}
	return left;
}

static void print_left(const struct page *page, const struct report *report,
		       const struct report_end *end)
{
	struct left left = find_left(report);

	if (end->orphans != REPORT_ORPHANS_LEFT && end->orphan_count)
		line(page, "orphans", NULL, "%s outlived the command and %s %s",
		     words_count(end->orphan_count).s, plural(end->orphan_count, "was", "were"),
		     end->orphans == REPORT_ORPHANS_KILLED ? "killed" : "waited for");
	if (left.count) {
		line(page, "alive", YELLOW, "%s outlived the command and still %s",
		     words_count(left.count).s, plural(left.count, "runs", "run"));
		for (uint32_t i = 0; i < left.shown; i++)
			line(page, "", NULL, "%s (pid %u)",
			     words_comm(left.oldest[i]->comm, true).s, left.oldest[i]->tgid);
		if (left.count > left.shown)
			line(page, "", NULL, "and %s more", words_count(left.count - left.shown).s);
	}
	if (left.unaccounted)
		line(page, "unknown", YELLOW, "%s: no death was heard, and nobody found %s alive",
		     words_count(left.unaccounted).s, plural(left.unaccounted, "it", "them"));
}

static void print_lost(const struct page *page, const struct report *report)
{
	static const char *const causes[] = {
		[0] = "for an unknown reason",
		[KNELL_GAP_RING] = "because a ring was full",
		[KNELL_GAP_RESERVE] = "because more descendants were alive than were reserved for",
		[KNELL_GAP_MISSED] = "because the kernel skipped a program",
	};
	bool any = false;

	for (size_t i = 0; i <= KNELL_GAP_MISSED; i++)
		any |= report->lost_by_cause[i] != 0;
	if (any)
		line(page, "lost", YELLOW, "%s %s, %s %s and %s other %s were not heard",
		     words_count(report->lost_births).s,
		     plural(report->lost_births, "birth", "births"),
		     words_count(report->lost_deaths).s,
		     plural(report->lost_deaths, "death", "deaths"),
		     words_count(report->lost_others).s,
		     plural(report->lost_others, "event", "events"));
	else
		line(page, "lost", NULL, "nothing");
	for (size_t i = 0; i <= KNELL_GAP_MISSED; i++) {
		if (report->lost_by_cause[i])
			line(page, "", NULL, "%s %s", words_count(report->lost_by_cause[i]).s,
			     causes[i]);
	}
	if (report->unkept)
		line(page, "", YELLOW,
		     "%s %s in none of these numbers: there was no memory for them",
		     words_count(report->unkept).s,
		     plural(report->unkept, "event is", "events are"));
}

static void print_knell(const struct page *page, const struct report *report,
			const struct report_end *end)
{
	uint64_t each = report->records ? end->own_cpu / report->records : 0;

	if (!end->own_cpu)
		line(page, "source", NULL, "%s, %s events", report->source,
		     words_count(report->records).s);
	else
		line(page, "source", NULL,
		     "%s, %s events; Knell itself used %s CPU, %s.%02u us an event", report->source,
		     words_count(report->records).s, words_duration(end->own_cpu).s,
		     words_count(each / 1000).s, (unsigned int)(each % 1000 / 10));
}

int report_print(struct report *report, FILE *file, const struct report_end *end)
{
	const char *no_color = getenv("NO_COLOR");
	struct report_end known = { 0 };
	const struct page page = {
		.file = file,
		.colour = !(no_color && *no_color) && isatty(fileno(file)),
	};

	memcpy(&known, end, end->size < sizeof(known) ? end->size : sizeof(known));
	report_settle(report);
	errno = 0;
	print_title(&page, &known);
	print_command(&page, report, &known);
	print_counts(&page, report);
	print_cost(&page, report, &known);
	print_failed(&page, report);
	print_names(&page, &report->sums.names);
	print_top(&page, &report->sums);
	print_left(&page, report, &known);
	print_lost(&page, report);
	print_knell(&page, report, &known);
	if (fflush(file) != 0 || ferror(file))
		return errno ? -errno : -EIO;
	return 0;
}
