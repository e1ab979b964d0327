/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * trace_loop.c - the life of a trace: opens engine and outputs, hears until Ctrl-C, a limit, a
 * reader that went away or the end of a subtree ends it, and sums up. Whatever ends it, what was
 * lost is counted and said.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "watchers/json.h"
#include "stop.h"
#include "task.h"
#include "trace.h"
#include "watchers/words.h"

/* ---- what the source cannot tell ---- */

static const struct {
	uint32_t bit;
	uint32_t kinds;
	uint32_t flag; /* only if this was asked for: KNELL_O_* */
	const char *what;
} tellable[] = {
	{ KNELL_U_ARGS, KNELL_MASK(KNELL_EXEC), KNELL_O_ARGS, "arguments" },
	{ KNELL_U_FILE, KNELL_MASK(KNELL_EXEC), 0, "the files that are executed" },
	{ KNELL_U_STATUS, KNELL_MASK(KNELL_EXIT), 0, "exit statuses" },
	{ KNELL_U_CAUSE, KNELL_MASK(KNELL_EXIT), 0, "who sent a signal that killed" },
};

#define TELLABLE (sizeof(tellable) / sizeof(tellable[0]))

/* Said once for each thing, when it is first missing: most columns then stay empty. */
static void notice_unknown(struct trace *trace, const struct knell_event *e)
{
	for (size_t i = 0; i < TELLABLE; i++) {
		uint32_t flag = tellable[i].flag;

		if (!(e->unknown & ~trace->unknown & tellable[i].bit) ||
		    !(KNELL_MASK(e->kind) & tellable[i].kinds) ||
		    (flag && !(trace->options.engine.flags & flag)))
			continue;
		trace->unknown |= tellable[i].bit;
		complain("the %s source does not always know %s; see 'knell doctor'",
			 knell_source(trace->engine), tellable[i].what);
	}
}

/* ---- hearing ---- */

static void tell(struct trace *trace, const struct knell_event *e)
{
	if (e->unknown & ~trace->unknown)
		notice_unknown(trace, e);
	trace->gaps |= e->kind == KNELL_GAP;
	if (e->kind == KNELL_GAP)
		trace->lost += e->u.gap.births + e->u.gap.deaths + e->u.gap.others;
	else
		trace->told++;
	trace->done = trace->options.count && trace->told >= trace->options.count;
	if (trace->json)
		json_write(trace->json, e);
	else if (trace->text)
		trace_print(trace, e);
}

static int on_event(const struct knell_event *e, void *userdata)
{
	struct trace *trace = userdata;

	if (trace->options.pid)
		lives_hear(&trace->lives, e);
	if (e->kind == KNELL_EXIT && e->scope == KNELL_PROCESS && e->flags & KNELL_F_ROOT)
		trace->root_told = true;
	if (trace->done || !(trace->options.kinds & KNELL_MASK(e->kind)))
		return 0;
	if (e->scope == KNELL_THREAD && !(trace->options.engine.flags & KNELL_O_THREADS))
		return 0;
	/* Who lived before us is no news; who was found after a loss is. */
	if (e->flags & KNELL_F_RECONCILED && !trace->gaps)
		return 0;
	tell(trace, e);
	return 0;
}

static void on_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
		       void *userdata)
{
	struct trace *trace = userdata;

	(void)watch;
	trace->root_dead = true;
	trace->root_absent = verdict->kind == KNELL_ABSENT;
	task_death(&trace->root, verdict->kind == KNELL_EXITED ? verdict->event : NULL,
		   trace->options.pid, trace->comm);
}

/* Of one that died before the source could hear of it, or whose record was lost: its verdict. */
static void tell_root(struct trace *trace)
{
	if (trace->root_dead && !trace->root_absent && !trace->root_told && !trace->done &&
	    trace->options.kinds & KNELL_MASK(KNELL_EXIT))
		tell(trace, &trace->root);
}

static bool is_over(struct trace *trace)
{
	if (trace->done || stop_signal())
		return true;
	if (!trace->root_dead)
		return false;
	/* A lost death must not keep us waiting for it. */
	if (trace->lives.unsure && trace->lives.count &&
	    lives_reconcile(&trace->lives, trace->engine) < 0)
		return true;
	return trace->lives.count == 0;
}

/* All of these: 0; -EPIPE, -EINTR: nobody reads; another -errno after a complaint. */

static int flush(struct trace *trace)
{
	int r = 0;

	if (trace->json)
		r = json_flush(trace->json);
	else if (trace->text)
		r = text_flush(trace->text);
	if (r < 0 && r != -EPIPE && r != -EINTR)
		complain("cannot write to %s: %s",
			 trace->json && strcmp(trace->options.json, "-") != 0 ? trace->options.json
									      : "standard output",
			 strerror(-r));
	return r;
}

static int hear(struct trace *trace)
{
	int heard = knell_dispatch(trace->engine), r = flush(trace);

	with_flush(&trace->options.with);
	if (heard < 0)
		complain("the %s source broke: %s", knell_source(trace->engine),
			 knell_last_error());
	return heard < 0 ? heard : r;
}

static int loop(struct trace *trace, int stop_fd)
{
	struct cgroup_life *cgroup = &trace->options.cgroup;
	uint64_t deadline = trace->options.duration ? trace->started + trace->options.duration : 0;
	int r = 0;

	while (r == 0 && !is_over(trace)) {
		struct pollfd fds[] = {
			{ .fd = stop_fd, .events = POLLIN },
			{ .fd = knell_fd(trace->engine), .events = POLLIN },
		};

		uint64_t until = deadline, now = monotonic_now();

		if ((deadline && now >= deadline) || cgroup_life_look(cgroup, now, false))
			break;
		if (cgroup->dir && (!until || cgroup->next < until))
			until = cgroup->next;
		if (poll(fds, 2, poll_until(until)) < 0 && errno != EINTR)
			return -errno;
		if (fds[0].revents)
			stop_drain();
		if (stop_hangup())
			with_reopen(&trace->options.with);
		r = hear(trace);
	}
	/* What is queued has happened before the end. */
	if (r == 0 && !trace->done)
		r = hear(trace);
	if (r < 0)
		return r;
	tell_root(trace);
	return flush(trace);
}

/* ---- opening ---- */

/* These hear what Knell starts, or nothing. */
static bool can_stream(const char *source)
{
	return strcmp(source, "ptrace") != 0 && strcmp(source, "none") != 0;
}

static int open_engine(struct trace *trace)
{
	struct knell_options *o = &trace->options.engine;
	uint32_t extra = trace->options.pid ? KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXIT) : 0;
	int r = plugins_flags(&trace->options.plugins, &o->flags);

	if (r < 0)
		return r;
	r = knell_open(&trace->engine, o);
	if (r == -ENOTSUP && o->flags & KNELL_O_IDS && !trace->options.ids_asked) {
		o->flags &= ~KNELL_O_IDS;
		r = knell_open(&trace->engine, o);
		if (r == 0)
			complain("the %s source does not hear changes of user and group",
				 knell_source(trace->engine));
	}
	if (r == 0 && !trace->options.pid && !can_stream(knell_source(trace->engine))) {
		complain("the %s source does not hear the whole system; bpf, kmod and connector do",
			 knell_source(trace->engine));
		return -ENOTSUP;
	}
	if (r == 0)
		r = knell_watcher_add(trace->engine, trace->options.kinds | extra, on_event, trace);
	if (r < 0)
		complain("%s", knell_last_error());
	return r < 0 ? r : plugins_load(&trace->options.plugins, trace->engine);
}

static int open_output(struct trace *trace)
{
	const struct trace_options *o = &trace->options;
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	int r;

	if (o->json) {
		r = json_open(&trace->json, NULL, o->json,
			      JSON_BY_HAND |
				      (o->engine.flags & KNELL_O_THREADS ? JSON_THREADS : 0));
		if (r < 0 && r != -EINTR) /* Ctrl-C, while a reader was waited for */
			complain_of_output("JSON", o->json, r);
		return r;
	}
	if (o->quiet)
		return 0;
	r = check_stdout();
	if (r < 0)
		return r;
	trace->text = malloc(sizeof(*trace->text));
	if (!trace->text) {
		complain("no memory for the table");
		return -ENOMEM;
	}
	text_init(trace->text);
	trace->columns = isatty(STDOUT_FILENO);
	trace->colour =
		trace->columns && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
	trace_print_header(trace);
	return text_flush(trace->text);
}

static int attach(struct trace *trace)
{
	const struct with_wish wish = {
		.kinds = trace->options.kinds,
		.threads = trace->options.engine.flags & KNELL_O_THREADS,
	};

	return with_open(&trace->options.with, trace->engine, &wish);
}

static int watch_subtree(struct trace *trace)
{
	struct knell_watch_options o = {
		.size = sizeof(o),
		.flags = KNELL_W_SUBTREE,
		.fn = on_verdict,
		.userdata = trace,
	};
	int r = knell_watch_pidfd(trace->engine, NULL, trace->pidfd, &o);

	if (r == 0)
		r = lives_reconcile(&trace->lives, trace->engine);
	if (r < 0)
		complain("cannot hear process %d: %s", trace->options.pid, knell_last_error());
	return r;
}

/* Held before the engine is opened, which takes a moment in which it may die. */
static int hold_process(struct trace *trace)
{
	trace->pidfd = task_hold(trace->options.pid, trace->comm);
	if (trace->pidfd >= 0)
		return 0;
	if (trace->pidfd == -ESRCH)
		complain("there is no process %d", trace->options.pid);
	return trace->pidfd;
}

/* ---- closing ---- */

static void sum_up(struct trace *trace)
{
	uint64_t lasted = monotonic_now() - trace->started;

	if (trace->json && strcmp(trace->options.json, "-") == 0)
		return; /* its last line says so */
	complain("%s event%s, %s lost, %s", words_count(trace->told).s, trace->told == 1 ? "" : "s",
		 words_count(trace->lost).s, words_duration(lasted).s);
}

static void close_all(struct trace *trace)
{
	struct json_result result;
	int r;

	trace->with_failed = with_close(&trace->options.with);
	trace->engine = knell_close(trace->engine);
	lives_free(&trace->lives);
	cgroup_life_end(&trace->options.cgroup);
	free(trace->text);
	if (trace->pidfd >= 0)
		close(trace->pidfd);
	if (!trace->json)
		return;
	r = json_close(trace->json, &result);
	if (r < 0 && r != -EPIPE)
		complain("--json: %llu records could not be written: %s%s",
			 (unsigned long long)result.unwritten, strerror(-r),
			 result.torn ? "; its last line is cut" : "");
}

static int status_of(int error)
{
	switch (error) {
	case 0:
	case -EPIPE:
	case -EINTR:
		return 0;
	case -EPERM:
	case -EACCES:
		return STATUS_NOT_KNOWN;
	case -ESRCH:
		return STATUS_NOT_FOUND;
	default:
		return STATUS_FAILED;
	}
}

int trace_run(struct trace *trace)
{
	int stop_fd = stop_open(false), r;

	if (stop_fd < 0 || (with_takes_hangup(&trace->options.with) && stop_keep_hangup() < 0))
		return STATUS_FAILED;
	r = trace->options.pid ? hold_process(trace) : 0;
	if (r == 0)
		r = open_engine(trace);
	if (r == 0)
		r = open_output(trace);
	if (r == 0)
		r = attach(trace);
	trace->started = monotonic_now();
	if (r == 0 && trace->options.pid)
		r = watch_subtree(trace);
	if (r == 0) {
		r = loop(trace, stop_fd);
		with_last_look(&trace->options.with);
		sum_up(trace);
	}
	if (r == 0 && trace->root_absent)
		r = -ESRCH;
	close_all(trace);
	if (r == 0 && trace->with_failed)
		return STATUS_FAILED;
	return status_of(r);
}
