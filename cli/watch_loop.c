/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch_loop.c - the life of a watch: opens an engine that can do what was asked, sets the watches,
 * hears until all or one have died or somebody ends it, waits for the commands of --exec.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "pidfd.h"
#include "watchers/json.h"
#include "stop.h"
#include "task.h"
#include "watch.h"

#define DEFAULT_RESERVE 32768u
#define MANY            400u /* times two descriptors is near the usual limit of 1,024 */
#define LATE_RECORDS    UINT64_C(100000000) /* ns */

/* ---- opening ---- */

/* -ENOTSUP: nothing is said, another source may be able to. */
static int refuse(struct watch *watch, const char *whom, int error)
{
	if (error == -ENOTSUP)
		return error;
	complain("cannot watch %s: %s", whom, knell_last_error());
	if (error != -EPERM && error != -EACCES)
		return error;
	watch->denied++; /* the others are watched all the same */
	return 0;
}

static int set_held(struct watch *watch, const struct knell_watch_options *given)
{
	struct knell_watch_options o = *given;
	int r = 0;

	o.fn = watch_on_verdict;
	for (size_t i = 0; r == 0 && i < watch->count; i++) {
		struct watched *watched = watch->list[i];
		char whom[32];

		o.userdata = watched;
		r = knell_watch_pidfd(watch->engine, NULL, watched->pidfd, &o);
		if (r >= 0)
			continue;
		snprintf(whom, sizeof(whom), "process %d", watched->pid);
		r = refuse(watch, whom, r);
		if (r == 0) {
			watch_let_go(watched);
			watch->waiting--;
		}
	}
	return r;
}

static int set_one_future(struct watch *watch, const char *target, struct watched *future,
			  const struct knell_watch_options *o)
{
	struct cgroup cgroup;
	int r = 0;

	future->watch = watch;
	if (*target == '@') {
		snprintf(future->comm, sizeof(future->comm), "%s", target + 1);
		r = knell_watch_name(watch->engine, NULL, future->comm, o);
		watch->coming++;
	} else if (*target == '/') {
		r = cgroup_find(&cgroup, target);
		if (r < 0) {
			watch->absent += r == -ENOENT;
			return r;
		}
		r = cgroup_life_begin(&future->cgroup, &cgroup);
		if (r < 0)
			return r;
		watch->coming++;
		r = knell_watch_cgroup(watch->engine, NULL, cgroup.path, o);
	}
	return r < 0 ? refuse(watch, target, r) : 0;
}

static void forget_future(struct watch *watch)
{
	for (int i = 0; watch->future && i < watch->options.target_count; i++)
		cgroup_life_end(&watch->future[i].cgroup);
	free(watch->future);
	watch->future = NULL;
	watch->coming = 0;
}

static int set_future(struct watch *watch, const struct knell_watch_options *given)
{
	size_t count = (size_t)watch->options.target_count;
	struct knell_watch_options o = *given;
	int r = 0;

	forget_future(watch); /* that of another source */
	watch->future = calloc(count, sizeof(*watch->future));
	if (!watch->future) {
		complain("no memory for so many targets");
		return -ENOMEM;
	}
	o.fn = watch_on_future;
	o.flags |= KNELL_W_FUTURE;
	for (size_t i = 0; r == 0 && i < count; i++) {
		o.userdata = &watch->future[i];
		r = set_one_future(watch, watch->options.targets[i], &watch->future[i], &o);
	}
	return r;
}

static bool is_auto(const char *source)
{
	return !source || strcmp(source, "auto") == 0;
}

static int set_all(struct watch *watch)
{
	struct knell_watch_options o = {
		.size = sizeof(o),
		.flags = watch->options.subtree ? KNELL_W_SUBTREE : 0,
		.moment = watch->options.moment,
		.cookie = 1, /* its records are not those of a stream */
	};
	int r = set_held(watch, &o);

	return r == 0 && watch->options.future ? set_future(watch, &o) : r;
}

/* `why`: what is to be said if no other source can do it either. */
static int open_with(struct watch *watch, const char *source, char *why, size_t size)
{
	struct knell_options o = watch->options.engine;
	bool opened;
	int r;

	o.source = source;
	r = knell_open(&watch->engine, &o);
	opened = r == 0;
	if (opened)
		r = set_all(watch);
	if (r < 0 && (!*why || opened))
		snprintf(why, size, "%s", knell_last_error());
	if (r < 0)
		watch->engine = knell_close(watch->engine);
	return r < 0 && !opened ? -ENOTSUP : r;
}

/*
 * The connector hears every process of the system. Of those whose end the kernel and /proc show us
 * a pidfd tells as much, but for what only records have.
 */
static bool pidfd_is_enough(const struct watch *watch)
{
	const struct watch_options *o = &watch->options;

	if (o->subtree || o->future || o->json || o->plugins.count || !knell_pidfd_tells_late())
		return false;
	for (size_t i = 0; i < watch->count; i++) {
		if (!task_shows_all(watch->list[i]->pid))
			return false;
	}
	return true;
}

/* Each is taken by its name: the library's `auto` may take ptrace, which watches nobody else. */
static int open_best(struct watch *watch, char *why, size_t size)
{
	const bool near = pidfd_is_enough(watch);
	const char *const order[] = { "bpf", "kmod", near ? "pidfd" : "connector",
				      near ? "connector" : "pidfd" };
	int r = -ENOTSUP;

	for (size_t i = 0; r == -ENOTSUP && i < sizeof(order) / sizeof(order[0]); i++)
		r = open_with(watch, order[i], why, size);
	return r;
}

static int open_engine(struct watch *watch)
{
	const char *source = watch->options.engine.source;
	char why[1024] = "";
	int r;

	if (watch->count > MANY)
		task_raise_limit(); /* the library has a descriptor for each, too */
	if (watch->count >= DEFAULT_RESERVE / 2)
		watch->options.engine.reserve = watch->count < MAX_RESERVE - DEFAULT_RESERVE
							? (uint32_t)watch->count + DEFAULT_RESERVE
							: MAX_RESERVE;
	r = is_auto(source) ? open_best(watch, why, sizeof(why))
			    : open_with(watch, source, why, sizeof(why));
	if (r == -ENOTSUP)
		complain("%s", why);
	return r;
}

static void tell_source(const struct watch *watch)
{
	const char *source = knell_source(watch->engine);

	if (!watch->options.quiet && !(knell_can(watch->engine) & KNELL_CAN_CAUSE))
		complain("hearing by %s: who sent a signal is not known%s", source,
			 strcmp(source, "pidfd") == 0
				 ? ", nor on Linux before 6.15 the status of others' children"
				 : "");
}

static int open_outputs(struct watch *watch)
{
	int r = plugins_load(&watch->options.plugins, watch->engine);

	if (r < 0)
		return r;
	if (watch->options.json)
		r = json_open(&watch->json, NULL, "-", JSON_BY_HAND);
	if (r < 0)
		complain_of_output("JSON", "-", r);
	else if (watch->options.subtree)
		r = knell_watcher_add(watch->engine,
				      KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXEC) |
					      KNELL_MASK(KNELL_EXIT) | KNELL_MASK(KNELL_GAP),
				      watch_on_event, watch);
	if (r == 0 && watch->options.subtree && (r = lives_reconcile(&watch->lives, watch->engine)))
		complain("cannot tell who is alive: %s", knell_last_error());
	return r;
}

static int prepare(struct watch *watch)
{
	int r = 0;

	if (!watch->options.json && !watch->options.quiet) {
		r = check_stdout();
		if (r < 0)
			return r;
		watch->text = malloc(sizeof(*watch->text));
		if (!watch->text) {
			complain("no memory for the output");
			return -ENOMEM;
		}
		text_init(watch->text);
	}
	r = plugins_flags(&watch->options.plugins, &watch->options.engine.flags);
	if (r == 0 && watch->options.exec)
		r = commands_new(&watch->commands, watch->options.exec);
	if (r == 0)
		r = watch_find(watch);
	if (r < 0 || (!watch->count && !watch->options.future))
		return r;
	r = open_engine(watch);
	if (r == 0)
		tell_source(watch);
	return r < 0 ? r : open_outputs(watch);
}

/* ---- hearing ---- */

static bool is_over(struct watch *watch)
{
	if (stop_signal() || (watch->options.any && watch->deaths))
		return true;
	if (watch->waiting || watch->coming || !watch->engine)
		return !watch->engine;
	/* A lost death must not keep us waiting for it. */
	if (watch->options.subtree && watch->lives.unsure && watch->lives.count &&
	    lives_reconcile(&watch->lives, watch->engine) < 0)
		return true;
	return watch->lives.count == 0;
}

/* Looks after cgroups that may be removed; returns when it is to be called again, 0: never. */
static uint64_t look_at_cgroups(struct watch *watch)
{
	uint64_t now = monotonic_now(), next = 0;

	for (int i = 0; watch->future && i < watch->options.target_count; i++) {
		struct cgroup_life *life = &watch->future[i].cgroup;

		if (cgroup_life_look(life, now, watch->options.quiet))
			watch->coming--;
		if (life->dir && (!next || life->next < next))
			next = life->next;
	}
	/* Nobody was ever there, and nobody comes. */
	if (watch->options.future && !watch->coming && !watch->deaths && !watch->waiting)
		watch->absent++;
	return next;
}

/* 0, or -errno after a complaint; -EPIPE and -EINTR without. */
static int hear(struct watch *watch)
{
	int heard = knell_dispatch(watch->engine), r = 0;

	if (watch->json)
		r = json_flush(watch->json);
	else if (watch->text)
		r = text_flush(watch->text);
	if (watch->commands)
		commands_tick(watch->commands);
	if (heard < 0) {
		complain("the %s source broke: %s", knell_source(watch->engine),
			 knell_last_error());
		return heard;
	}
	if (r < 0 && r != -EPIPE && r != -EINTR)
		complain("cannot write to standard output: %s", strerror(-r));
	return r;
}

static int loop(struct watch *watch, int stop_fd, uint64_t deadline)
{
	int r = 0;

	while (r == 0 && !is_over(watch)) {
		struct pollfd fds[] = {
			{ .fd = stop_fd, .events = POLLIN },
			{ .fd = knell_fd(watch->engine), .events = POLLIN },
		};
		uint64_t look = look_at_cgroups(watch);
		bool late;

		if (is_over(watch))
			break;
		if (poll(fds, 2,
			 poll_until(deadline && (!look || deadline < look) ? deadline : look)) <
			    0 &&
		    errno != EINTR)
			return -errno;
		late = deadline && monotonic_now() >= deadline;
		if (fds[0].revents)
			stop_drain();
		r = hear(watch);
		if (late && r == 0 && !is_over(watch)) {
			watch->timed_out = true;
			break;
		}
	}
	return r;
}

/*
 * Plugins hear records, not verdicts. A source that hears a death only when the process is dead may
 * tell it a moment after its pidfd, which was enough for the verdict.
 */
static int let_plugins_hear(struct watch *watch)
{
	uint64_t end = monotonic_now() + LATE_RECORDS;
	struct pollfd fd = { .events = POLLIN };
	int r = 0;

	if (!watch->engine || !watch->options.plugins.count ||
	    knell_can(watch->engine) & KNELL_CAN_EXIT)
		return 0;
	fd.fd = knell_fd(watch->engine);
	while (r >= 0 && monotonic_now() < end) {
		if (poll(&fd, 1, poll_until(end)) < 0 && errno != EINTR)
			return -errno;
		r = knell_dispatch(watch->engine);
	}
	return r < 0 ? r : 0;
}

/* Those that run are waited for; those that wait too, unless somebody wants us to end. */
static void wait_for_commands(struct watch *watch, int stop_fd)
{
	uint64_t left;

	if (!watch->commands)
		return;
	for (;;) {
		struct pollfd fd = { .fd = stop_fd, .events = POLLIN };

		left = stop_signal() ? commands_abandon(watch->commands) : 0;
		if (left)
			complain("--exec: %llu commands were not started",
				 (unsigned long long)left);
		commands_tick(watch->commands);
		if (commands_are_done(watch->commands))
			return;
		(void)poll(&fd, 1, -1);
		stop_drain();
	}
}

/* ---- closing ---- */

static int close_all(struct watch *watch)
{
	int r = 0;

	watch->engine = knell_close(watch->engine);
	if (watch->json)
		r = json_close(watch->json, NULL);
	if (r < 0 && r != -EPIPE)
		complain("cannot write JSON: %s", strerror(-r));
	for (size_t i = 0; i < watch->count; i++) {
		watch_let_go(watch->list[i]);
		free(watch->list[i]);
	}
	free(watch->list);
	forget_future(watch);
	free(watch->text);
	lives_free(&watch->lives);
	commands_free(watch->commands);
	return r;
}

static int exit_status(const struct watch *watch, int error)
{
	if (error == -EPERM || error == -EACCES)
		return STATUS_NOT_KNOWN;
	if (error < 0 && !(error == -ENOENT && watch->absent))
		return STATUS_FAILED;
	if (watch->timed_out)
		return STATUS_TIMEOUT;
	if (watch->options.any && watch->deaths)
		return watch->single ? watch->status : 0;
	if (watch->denied)
		return STATUS_NOT_KNOWN;
	if (watch->absent)
		return STATUS_NOT_FOUND;
	return watch->single ? watch->status : 0;
}

int watch_run(struct watch *watch)
{
	uint64_t deadline =
		watch->options.has_timeout ? monotonic_now() + watch->options.timeout : 0;
	int stop_fd = stop_open(watch->options.exec), r, closed;

	if (stop_fd < 0)
		return STATUS_FAILED;
	r = prepare(watch);
	if (r == 0)
		r = loop(watch, stop_fd, deadline);
	if (r == 0)
		r = let_plugins_hear(watch);
	wait_for_commands(watch, stop_fd);
	closed = close_all(watch);
	if (stop_signal())
		die_of(stop_signal());
	if (r == -EPIPE || closed == -EPIPE)
		die_of(SIGPIPE); /* nobody reads what we tell: end as any filter does */
	return exit_status(watch, r < 0 ? r : closed);
}
