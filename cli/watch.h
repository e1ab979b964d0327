/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch.h - one `knell watch`, for the files that make it up:
 *   cmd_watch.c     options and targets as they are written
 *   watch_find.c    targets to processes that are held
 *   watch_loop.c    opens engine and outputs, hears until it is over, ends
 *   watch_tell.c    what is said of each birth, exec and death
 *   watch_exec.c    a command for each death
 */
#ifndef KNELL_CLI_WATCH_H
#define KNELL_CLI_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <knell/knell.h>

#include "cgroup.h"
#include "lives.h"
#include "plugins.h"
#include "text.h"
#include "watchers/json.h"

struct watch_options {
	struct knell_options engine;
	bool any;
	bool future;
	bool subtree;
	bool quiet;
	bool json;
	uint64_t timeout; /* ns, if has_timeout: 0 looks once */
	bool has_timeout;
	uint32_t moment; /* enum knell_moment_of_death */
	const char *exec;
	struct plugins plugins;
	char **targets;
	int target_count;
};

/* A process that is watched. */
struct watched {
	struct watch *watch;
	pid_t pid;
	int pidfd;                 /* open until its verdict */
	struct cgroup_life cgroup; /* of those that are born into it later */
	char comm[KNELL_COMM_LEN];
};

/* One that died, as far as is known. */
struct death {
	enum knell_verdict_kind kind;
	pid_t pid;
	const char *comm;                /* KNELL_COMM_LEN bytes; NULL: not known */
	const struct knell_event *event; /* its exit record; NULL unless exited */
};

struct watch {
	struct watch_options options;
	struct knell_engine *engine;
	struct json *json;
	struct text *text;
	struct commands *commands; /* NULL without --exec */

	struct watched **list;
	size_t count, room;
	size_t waiting;         /* of them, without a verdict */
	struct watched *future; /* one for each target, with the name that was asked for */
	size_t coming;          /* of them, those that somebody may still be born to */
	struct lives lives;

	uint64_t deaths; /* that were told */
	uint64_t absent; /* that were not there */
	uint64_t denied; /* that we may not watch */
	bool single;     /* one process was asked for: its status is ours */
	int status;      /* of the last that died: exit code or 128+n; 126: not known */
	bool timed_out;
};

/* watch_find.c: fills the list. 0, or -errno after a complaint. */
int watch_find(struct watch *watch);
void watch_let_go(struct watched *watched);

/* watch_loop.c: everything after the options; returns the exit status. */
int watch_run(struct watch *watch);

/* watch_tell.c */
void watch_on_verdict(struct knell_watch *w, const struct knell_verdict *verdict, void *userdata);
void watch_on_future(struct knell_watch *w, const struct knell_verdict *verdict, void *userdata);
int watch_on_event(const struct knell_event *event, void *userdata);
void watch_tell_absent(struct watch *watch, pid_t pid);

/* watch_exec.c: commands that run beside us, some at once and the others queued. */
int commands_new(struct commands **ret, const char *command);
void commands_add(struct commands *commands, const struct death *death);
/* Takes those that ended, and starts others. Call it on SIGCHLD and after commands_add(). */
void commands_tick(struct commands *commands);
bool commands_are_done(const struct commands *commands);
/* Forgets those that were not started; returns how many. */
uint64_t commands_abandon(struct commands *commands);
struct commands *commands_free(struct commands *commands);

#endif
