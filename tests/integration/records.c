/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * records.c - reads what Knell wrote as JSON Lines, reads the truth that our programs wrote, and
 * compares the two; see support.h. The JSON library checks that each line is JSON and UTF-8.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <yajl/yajl_tree.h>

#include "support.h"

static yajl_val get(yajl_val object, const char *key)
{
	const char *path[] = { key, NULL };

	return yajl_tree_get(object, path, yajl_t_any);
}

static void get_text(yajl_val object, const char *key, char *text, size_t size)
{
	yajl_val value = get(object, key);

	snprintf(text, size, "%s", YAJL_IS_STRING(value) ? YAJL_GET_STRING(value) : "");
}

static int64_t get_number(yajl_val object, const char *key, int64_t missing)
{
	yajl_val value = get(object, key);

	if (!value)
		return missing;
	ck_assert_msg(YAJL_IS_INTEGER(value), "%s is not a whole number", key);
	return YAJL_GET_INTEGER(value);
}

static bool get_flag(yajl_val object, const char *key)
{
	return YAJL_IS_TRUE(get(object, key));
}

static void get_sender(yajl_val object, const char *prefix, struct sender *sender)
{
	char key[64];

	snprintf(key, sizeof(key), "%s.sender.pid", prefix);
	sender->known = get(object, key) != NULL;
	sender->pid = (int)get_number(object, key, 0);
	snprintf(key, sizeof(key), "%s.sender.uid", prefix);
	sender->uid = (int)get_number(object, key, -1);
	snprintf(key, sizeof(key), "%s.sender.comm", prefix);
	get_text(object, key, sender->comm, sizeof(sender->comm));
}

static void fill_record(struct record *record, yajl_val object)
{
	yajl_val path = get(object, "process.executable.path");
	const char *text;
	char scope[12];

	get_text(object, "knell.event", record->event, sizeof(record->event));
	ck_assert_msg(record->event[0], "a line without knell.event: %s", record->text);
	get_text(object, "knell.scope", scope, sizeof(scope));
	record->thread = !strcmp(scope, "thread");
	record->pid = (int)get_number(object, "process.pid", 0);
	record->ppid = (int)get_number(object, "process.parent_pid", 0);
	record->tid = (int)get_number(object, "thread.id", 0);
	get_text(object, "process.creation.time", record->start, sizeof(record->start));
	get_text(object, "process.executable.name", record->name, sizeof(record->name));
	text = YAJL_GET_STRING(path);
	record->path = text ? strdup(text) : NULL;
	record->has_code = get(object, "process.exit.code") != NULL;
	record->code = (int)get_number(object, "process.exit.code", 0);
	record->signal = (int)get_number(object, "knell.exit.signal", 0);
	get_text(object, "knell.exit.reason", record->reason, sizeof(record->reason));
	record->core = get_flag(object, "knell.exit.core");
	record->oom = get_flag(object, "knell.exit.oom");
	get_sender(object, "knell.exit", &record->sender);
	record->term_signal = (int)get_number(object, "knell.exit.last_term.signal", 0);
	get_text(object, "knell.exit.last_term.reason", record->term_reason,
		 sizeof(record->term_reason));
	get_sender(object, "knell.exit.last_term", &record->term_sender);
	record->old_tid = (int)get_number(object, "knell.exec.old_tid", 0);
	record->args_total = (int)get_number(object, "knell.exec.args_total", 0);
	record->root = get_flag(object, "knell.root");
	record->truncated = get_flag(object, "knell.truncated");
	record->births = (uint64_t)get_number(object, "knell.gap.births", 0);
	record->deaths = (uint64_t)get_number(object, "knell.gap.deaths", 0);
	record->others = (uint64_t)get_number(object, "knell.gap.others", 0);
	record->events = get_number(object, "knell.events", -1);
	record->lost = get_number(object, "knell.lost", -1);
}

void read_records(struct records *records, const char *path)
{
	char *text = read_file(path), *line, *end, error[256];
	size_t room = 0;

	ck_assert_msg(text != NULL, "%s cannot be read", path);
	records->all = NULL;
	records->count = 0;
	for (line = text; *line; line = end + 1) {
		struct record *record;
		yajl_val object;

		end = strchr(line, '\n');
		ck_assert_msg(end != NULL, "%s ends within a line: %s", path, line);
		*end = '\0';
		object = yajl_tree_parse(line, error, sizeof(error));
		ck_assert_msg(YAJL_IS_OBJECT(object), "not JSON: %s: %s", line, error);
		if (records->count == room) {
			room = room ? 2 * room : 1024;
			records->all = grow(records->all, room * sizeof(*records->all));
		}
		record = &records->all[records->count++];
		memset(record, 0, sizeof(*record));
		record->text = line;
		fill_record(record, object);
		yajl_tree_free(object);
	}
	ck_assert_msg(records->count && !strcmp(records->all[records->count - 1].event, "summary"),
		      "%s does not end in a summary", path);
}

const struct record *records_end(const struct records *records)
{
	return records->all + records->count;
}

bool is_event(const struct record *record, const char *event)
{
	return !record->thread && !strcmp(record->event, event);
}

size_t count_events(const struct records *records, const char *event)
{
	const struct record *record;
	size_t n = 0;

	for (record = records->all; record < records_end(records); record++)
		n += is_event(record, event);
	return n;
}

struct record *find_record(const struct records *records, const char *event, pid_t pid)
{
	struct record *record;

	for (record = records->all; record < records_end(records); record++)
		if (is_event(record, event) && record->pid == pid)
			return record;
	ck_abort_msg("no record of %s of process %d", event, pid);
	return NULL;
}

int record_status(const struct record *exit)
{
	return exit->signal ? W_EXITCODE(0, exit->signal) | (exit->core ? WCOREFLAG : 0)
			    : W_EXITCODE(exit->code, 0);
}

/* "pid ppid status name": returns false for anything else. */
static bool parse_life(char *line, struct life *life)
{
	char *words[4], *rest = line, *end;
	long numbers[3];
	size_t i;

	for (i = 0; i < 4; i++)
		words[i] = strsep(&rest, " \n");
	for (i = 0; i < 3; i++) {
		if (!words[i])
			return false;
		numbers[i] = strtol(words[i], &end, 10);
		if (*end || end == words[i])
			return false;
	}
	if (!words[3] || !*words[3])
		return false;
	life->pid = (pid_t)numbers[0];
	life->ppid = (pid_t)numbers[1];
	life->status = (int)numbers[2];
	snprintf(life->name, sizeof(life->name), "%s", words[3]);
	return true;
}

struct life *read_truth(const char *path, size_t *ret_count)
{
	FILE *file = fopen(path, "re");
	struct life *lives = NULL;
	size_t room = 0, count = 0, size = 0;
	char *line = NULL;

	ck_assert_msg(file != NULL, "there is no truth in %s", path);
	while (getline(&line, &size, file) > 0) {
		if (count == room) {
			room = room ? 2 * room : 1024;
			lives = grow(lives, room * sizeof(*lives));
		}
		ck_assert_msg(parse_life(line, &lives[count++]), "no truth: %s", line);
	}
	ck_assert_msg(count > 0, "%s is empty", path);
	free(line);
	fclose(file);
	*ret_count = count;
	return lives;
}

void expect_no_loss(const struct records *records)
{
	const struct record *summary, *record;

	ck_assert_msg(records->count > 0, "Knell wrote no JSON");
	summary = &records->all[records->count - 1];
	for (record = records->all; record < summary; record++)
		ck_assert_msg(strcmp(record->event, "gap") != 0, "a gap: %s", record->text);
	ck_assert_int_eq(summary->lost, 0);
	ck_assert_int_eq(summary->events, (int64_t)records->count - 1);
}

static int by_identity(const void *a, const void *b)
{
	const struct record *x = *(struct record *const *)a, *y = *(struct record *const *)b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return strcmp(x->start, y->start);
}

/* All process records of one event, in the order of the file. */
static struct record **select_events(const struct records *records, const char *event,
				     size_t *ret_count)
{
	struct record **selected = calloc(records->count + 1, sizeof(void *));
	struct record *record;
	size_t n = 0;

	ck_assert_msg(selected != NULL, "out of memory");
	for (record = records->all; record < records_end(records); record++)
		if (is_event(record, event))
			selected[n++] = record;
	*ret_count = n;
	return selected;
}

void expect_whole_lives(const struct records *records)
{
	size_t n_births, n_deaths, i;
	struct record **births = select_events(records, "clone", &n_births);
	struct record **deaths = select_events(records, "exit", &n_deaths);

	ck_assert_msg(records->count > 0, "Knell wrote no JSON");
	qsort(births, n_births, sizeof(void *), by_identity);
	qsort(deaths, n_deaths, sizeof(void *), by_identity);
	for (i = 0; i < n_births && i < n_deaths; i++) {
		ck_assert_msg(births[i]->start[0], "a birth without a time: %s", births[i]->text);
		ck_assert_msg(!by_identity(&births[i], &deaths[i]),
			      "a birth and a death do not match:\n%s\n%s", births[i]->text,
			      deaths[i]->text);
		ck_assert_msg(births[i] < deaths[i], "a death before its birth: %s",
			      deaths[i]->text);
	}
	ck_assert_msg(n_births == n_deaths, "%zu births, %zu deaths; the first too many: %s",
		      n_births, n_deaths, n_births > i ? births[i]->text : deaths[i]->text);
	free(births);
	free(deaths);
}

static int by_life(const void *a, const void *b)
{
	const struct life *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (x->ppid != y->ppid)
		return x->ppid < y->ppid ? -1 : 1;
	if (x->status != y->status)
		return x->status < y->status ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* What was heard, as the truth would have it. Birth and death are joined by their identity. */
static struct life *heard_lives(const struct run *run, size_t *ret_count)
{
	size_t n_births, n_deaths, i, n = 0;
	struct record **births = select_events(&run->records, "clone", &n_births);
	struct record **deaths = select_events(&run->records, "exit", &n_deaths);
	struct life *lives = calloc(n_births + 1, sizeof(*lives));
	unsigned int roots = 0;

	ck_assert_msg(lives != NULL, "out of memory");
	qsort(births, n_births, sizeof(void *), by_identity);
	qsort(deaths, n_deaths, sizeof(void *), by_identity);
	for (i = 0; i < n_births; i++) {
		if (births[i]->ppid == run->pid) {
			roots++;
			continue; /* the command: it does not know its own end */
		}
		lives[n].pid = births[i]->pid;
		lives[n].ppid = births[i]->ppid;
		lives[n].status = record_status(deaths[i]);
		snprintf(lives[n].name, sizeof(lives[n].name), "%s", deaths[i]->name);
		n++;
	}
	ck_assert_msg(roots == 1, "%u births whose parent is knell, not 1", roots);
	free(births);
	free(deaths);
	*ret_count = n;
	return lives;
}

void expect_truth(const struct run *run, const struct life *truth, size_t count)
{
	struct life *sorted = calloc(count, sizeof(*sorted)), *heard;
	size_t n, i;

	expect_whole_lives(&run->records);
	heard = heard_lives(run, &n);
	ck_assert_msg(sorted != NULL, "out of memory");
	memcpy(sorted, truth, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), by_life);
	qsort(heard, n, sizeof(*heard), by_life);
	for (i = 0; run->parents_may_be_unknown && i < n && i < count; i++)
		if (!heard[i].ppid && heard[i].pid == sorted[i].pid)
			heard[i].ppid = sorted[i].ppid;
	for (i = 0; i < n && i < count; i++)
		ck_assert_msg(!by_life(&heard[i], &sorted[i]),
			      "heard: pid %d, parent %d, status %#x, name %s;\n"
			      "truth: pid %d, parent %d, status %#x, name %s",
			      heard[i].pid, heard[i].ppid, (unsigned int)heard[i].status,
			      heard[i].name, sorted[i].pid, sorted[i].ppid,
			      (unsigned int)sorted[i].status, sorted[i].name);
	ck_assert_msg(n == count, "heard of %zu lives, but there were %zu", n, count);
	free(sorted);
	free(heard);
}
