/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cmd_init.c - `knell init`, and knell under the name of another init: the same core as
 * knell-init-static. With --log-orphans or --plugin it brings what the static program has not: the
 * engine, which hears the lives of all below the command, and knows the causes of deaths, where the
 * bpf source works. It owns the causes of those who died as our children and are not reaped yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <knell/knell.h>

#include "cli.h"
#include "inherited.h"
#include "init.h"
#include "plugins.h"
#include "watchers/words.h"

#define FIRST_SIZE 64 /* of the table: a power of two */

struct death {
	pid_t pid; /* 0: free; -1: was told */
	uint32_t unknown;
	char comm[KNELL_COMM_LEN];
	struct knell_exit exit;
};

struct causes {
	struct knell_engine *engine;
	struct children *children; /* while it hears */
	bool wanted;               /* the causes, for the log */
	struct death *deaths;      /* open addressing, emptied when all were told */
	size_t size, used, waiting;
	struct inherited inherited;
};

/* ---- the table ---- */

static struct death *place_of(const struct causes *causes, pid_t pid)
{
	size_t mask = causes->size - 1, at = ((uint32_t)pid * 2654435761u >> 7) & mask;

	while (causes->deaths[at].pid && causes->deaths[at].pid != pid)
		at = (at + 1) & mask;
	return &causes->deaths[at];
}

static bool grow(struct causes *causes)
{
	struct causes grown = *causes;

	grown.size = causes->size ? 2 * causes->size : FIRST_SIZE;
	grown.used = causes->waiting;
	grown.deaths = calloc(grown.size, sizeof(*grown.deaths));
	if (!grown.deaths)
		return false;
	for (size_t i = 0; i < causes->size; i++) {
		if (causes->deaths[i].pid > 0)
			*place_of(&grown, causes->deaths[i].pid) = causes->deaths[i];
	}
	free(causes->deaths);
	*causes = grown;
	return true;
}

/* Without memory the log has the status alone. */
static void keep(struct causes *causes, const struct knell_event *event)
{
	pid_t pid = (pid_t)event->task.tgid;
	struct death *death;

	if (2 * causes->used >= causes->size && !grow(causes))
		return;
	death = place_of(causes, pid);
	if (!death->pid) {
		causes->used++;
		causes->waiting++;
	}
	death->pid = pid;
	death->unknown = event->unknown;
	death->exit = event->u.exit;
	memcpy(death->comm, event->comm, sizeof(death->comm));
}

static int on_exit_record(const struct knell_event *event, void *userdata)
{
	struct causes *causes = userdata;

	/* Everybody else's parent is its own reaper. */
	if (event->scope != KNELL_PROCESS || (pid_t)event->parent.tgid != getpid())
		return 0;
	if (causes->wanted)
		keep(causes, event);
	if (causes->children)
		children_announce(causes->children, (pid_t)event->task.tgid);
	return 0;
}

/* ---- what the core calls ---- */

static pid_t source_fork(void *data)
{
	const struct causes *causes = data;

	return knell_fork(causes->engine);
}

static void source_hear(void *data, struct children *children)
{
	struct causes *causes = data;

	causes->children = children;
	if (knell_dispatch(causes->engine) < 0)
		children_all_announced(children, false); /* it broke */
	causes->children = NULL;
}

static bool source_tell(void *data, pid_t pid, char *name, size_t size, char cause[INIT_CAUSE_MAX])
{
	struct causes *causes = data;
	struct death *death = causes->waiting ? place_of(causes, pid) : NULL;

	if (!death || !death->pid)
		return false;
	words_escape(name, size, death->comm, strnlen(death->comm, sizeof(death->comm)));
	words_death(cause, INIT_CAUSE_MAX, (uint32_t)pid, &death->exit, death->unknown);
	death->pid = -1;
	if (--causes->waiting == 0) {
		free(causes->deaths); /* as large as the last storm */
		causes->deaths = NULL;
		causes->size = causes->used = 0;
	}
	return true;
}

/* ---- opening ---- */

static int load_plugins(struct causes *causes, const struct plugins *plugins)
{
	int r = knell_watcher_add(causes->engine, KNELL_MASK(KNELL_EXIT), on_exit_record, causes);

	if (r < 0)
		complain("init: %s", knell_last_error());
	return r < 0 ? r : plugins_load(plugins, causes->engine);
}

/*
 * Without plugins the log is complete without it, but for who sent the signals: -ENOTSUP. Plugins
 * must be loaded, else -errno after a complaint.
 */
static int open_causes(struct causes *causes, const struct plugins *plugins)
{
	struct knell_options options = { .size = sizeof(options), .source = "bpf" };
	int r = plugins_flags(plugins, &options.flags);

	if (r < 0)
		return r;
	r = inherited_find(&causes->inherited);
	if (r < 0 && plugins->count)
		complain("init: no memory for the descriptors that are open");
	if (r == 0 && (r = knell_open(&causes->engine, &options)) < 0 && plugins->count)
		complain("init: --plugin needs the source bpf: %s", knell_last_error());
	if (r < 0)
		return plugins->count ? r : -ENOTSUP;
	r = load_plugins(causes, plugins);
	if (r < 0)
		causes->engine = knell_close(causes->engine);
	return r;
}

static int run_with_engine(const struct init_options *options, const struct init_signals *signals,
			   const struct plugins *plugins)
{
	static struct causes causes;
	struct init_source source = {
		.data = &causes,
		.fork = source_fork,
		.hear = source_hear,
		.tell = source_tell,
	};
	int status;

	causes.wanted = options->log_orphans;
	if (open_causes(&causes, plugins) < 0) {
		inherited_free(&causes.inherited);
		if (plugins->count)
			return STATUS_FAILED;
		if (options->verbosity >= VERBOSE_INFO)
			init_say("causes are not known: ", knell_last_error());
		return init_run(options, signals, NULL);
	}
	source.fd = knell_fd(causes.engine);
	source.inherited = causes.inherited.fds;
	source.inherited_count = causes.inherited.count;
	status = init_run(options, signals, &source);
	knell_dispatch(causes.engine); /* the last deaths, for plugins */
	knell_close(causes.engine);
	free(causes.deaths);
	inherited_free(&causes.inherited);
	return status;
}

int cmd_init(int argc, char **argv)
{
	struct plugins plugins = { .count = 0 };
	struct init_options options;
	struct init_signals signals;
	int r = init_parse(&options, argc, argv);

	if (r != 0)
		return r > 0 ? 0 : STATUS_FAILED;
	for (size_t i = 0; i < options.plugin_count; i++) {
		if (plugins_option(&plugins, options.plugins[i]) < 0)
			return STATUS_FAILED;
	}
	if (init_begin(&signals) < 0)
		return STATUS_FAILED;
	if ((options.log_orphans && !options.pause) || plugins.count)
		return run_with_engine(&options, &signals, &plugins);
	return init_run(&options, &signals, NULL);
}
