/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch_tell.c - says of each death when, who and how: as a line, as a JSON record, to --exec; and
 * with --subtree of births and execs too. It is also where a death becomes an exit status.
 */
#include <string.h>
#include <sys/wait.h>

#include "cli.h"
#include "watchers/json.h"
#include "task.h"
#include "watch.h"
#include "watchers/words.h"

static bool is_ended(const struct watch *watch)
{
	return watch->options.any && watch->deaths;
}

static void begin_line(struct watch *watch, uint64_t time, const char *comm, pid_t pid)
{
	struct text *text = watch->text;

	text_clock(text, time ? time : boottime_now());
	text_char(text, ' ');
	text_comm(text, comm ? comm : "", comm && *comm, -15);
	text_char(text, ' ');
	text_number(text, (uint64_t)pid, 7);
	text_char(text, ' ');
}

static void end_line(struct watch *watch)
{
	text_char(watch->text, '\n');
	text_end_line(watch->text);
}

static void write_death(struct watch *watch, const struct death *death)
{
	const struct knell_event *e = death->event;
	char words[WORDS_DEATH_MAX];

	if (watch->json) {
		struct knell_event event;

		task_death(&event, e, death->pid, death->comm); /* what is not known is left out */
		json_write(watch->json, &event);
	}
	if (!watch->text)
		return;
	begin_line(watch, e ? e->time : 0, death->comm, death->pid);
	if (e) {
		words_death(words, sizeof(words), (uint32_t)death->pid, &e->u.exit, e->unknown);
		text_string(watch->text, words);
	} else {
		text_string(watch->text, "is gone; how it ended is not known here");
	}
	end_line(watch);
}

static int status_of(const struct death *death)
{
	int status;

	if (!death->event || death->event->unknown & KNELL_U_STATUS)
		return STATUS_NOT_KNOWN;
	status = death->event->u.exit.status;
	return WIFSIGNALED(status) ? STATUS_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static void tell_death(struct watch *watch, const struct death *death)
{
	watch->deaths++;
	write_death(watch, death);
	if (watch->commands)
		commands_add(watch->commands, death);
}

void watch_tell_absent(struct watch *watch, pid_t pid)
{
	const struct death death = { .kind = KNELL_ABSENT, .pid = pid };

	if (pid)
		complain("there is no process %d", pid);
	watch->absent++;
	if (watch->commands)
		commands_add(watch->commands, &death);
}

/* `pid`, `comm`: as they were when it was found; 0 and NULL: it was not we who found it. */
static void tell_verdict(struct watch *watch, const struct knell_verdict *verdict, pid_t pid,
			 const char comm[KNELL_COMM_LEN])
{
	struct death death = {
		.kind = verdict->kind,
		.pid = verdict->pid ? verdict->pid : pid,
		.comm = comm,
		.event = verdict->kind == KNELL_EXITED ? verdict->event : NULL,
	};

	if (is_ended(watch))
		return;
	if (verdict->kind == KNELL_ABSENT) {
		watch_tell_absent(watch, verdict->pid);
		return;
	}
	if (death.event) {
		if (death.event->task.tgid)
			death.pid = (pid_t)death.event->task.tgid;
		if (!(death.event->unknown & KNELL_U_COMM))
			death.comm = death.event->comm;
	}
	watch->status = status_of(&death);
	tell_death(watch, &death);
}

void watch_on_verdict(struct knell_watch *w, const struct knell_verdict *verdict, void *userdata)
{
	struct watched *watched = userdata;

	(void)w;
	watch_let_go(watched);
	watched->watch->waiting--;
	tell_verdict(watched->watch, verdict, watched->pid, watched->comm);
}

/* One of those that share a name or a cgroup; more may come. */
void watch_on_future(struct knell_watch *w, const struct knell_verdict *verdict, void *userdata)
{
	struct watched *future = userdata;

	(void)w;
	tell_verdict(future->watch, verdict, 0, *future->comm ? future->comm : NULL);
}

/* ---- a subtree ---- */

static void tell_life(struct watch *watch, const struct knell_event *e)
{
	struct text *text = watch->text;
	const char *comm = e->unknown & KNELL_U_COMM ? NULL : e->comm;

	if (watch->json)
		json_write(watch->json, e);
	if (!text)
		return;
	begin_line(watch, e->time, comm, (pid_t)e->task.tgid);
	if (e->kind == KNELL_EXEC && e->unknown & KNELL_U_FILE) {
		text_string(text, "runs another program");
	} else if (e->kind == KNELL_EXEC) {
		text_string(text, "runs ");
		text_escaped(text, knell_exec_file(e), e->u.exec.file_len);
	} else if (e->unknown & KNELL_U_PARENT) {
		text_string(text, "is born");
	} else {
		text_string(text, "is born of ");
		text_number(text, e->parent.tgid, 0);
	}
	end_line(watch);
}

static void tell_gap(struct watch *watch, const struct knell_event *e)
{
	if (watch->json)
		json_write(watch->json, e);
	if (!watch->options.quiet)
		complain("lost %s births, %s deaths and %s others of descendants",
			 words_count(e->u.gap.births).s, words_count(e->u.gap.deaths).s,
			 words_count(e->u.gap.others).s);
}

/* Of those that are watched as descendants; the deaths of the others come as verdicts. */
int watch_on_event(const struct knell_event *e, void *userdata)
{
	struct watch *watch = userdata;
	struct death death = {
		.kind = KNELL_EXITED,
		.pid = (pid_t)e->task.tgid,
		.comm = e->unknown & KNELL_U_COMM ? NULL : e->comm,
		.event = e,
	};

	if (is_ended(watch))
		return 0;
	if (e->kind == KNELL_GAP) {
		lives_hear(&watch->lives, e);
		tell_gap(watch, e);
		return 0;
	}
	if (!e->cookie || e->scope != KNELL_PROCESS)
		return 0;
	lives_hear(&watch->lives, e);
	if (e->flags & KNELL_F_RECONCILED)
		return 0;
	if (e->kind != KNELL_EXIT)
		tell_life(watch, e);
	else if (!(e->flags & KNELL_F_ROOT))
		tell_death(watch, &death);
	return 0;
}
