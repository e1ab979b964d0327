/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cmd_trace.c - `knell trace`: its options. What it does with them is in trace_loop.c.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "cli.h"
#include "trace.h"

#define KINDS_OF_IDS (KNELL_MASK(KNELL_UID) | KNELL_MASK(KNELL_GID))

static void print_help(void)
{
	printf("Usage: knell trace [OPTION...]\n\n"
	       "Tells what happens to the processes of this system while it happens: births, "
	       "execs,\n"
	       "changes of user and group, deaths and why, and how much of it was lost.\n\n"
	       "  --pid=PID         only PID and its descendants\n"
	       "  --uid=USER        only processes of USER (name or number)\n"
	       "  --comm=NAME       only processes that have this name (or had it)\n"
	       "  --cgroup=PATH     only processes in this cgroup (version 2)\n"
	       "  --kind=LIST       of clone, exec, uid, gid, exit, free (default: all but free);\n"
	       "                    gaps are always told\n"
	       "  --threads         threads, too\n"
	       "  --args            arguments of exec, too\n"
	       "  --json[=FILE]     JSON Lines instead of a table\n"
	       "  -q, --quiet       no table\n" WITH_HELP "  --count=N         end after N events\n"
	       "  --duration=TIME   end after TIME: seconds, or with s, m, h or d\n"
	       "  --source=NAME     bpf, kmod or connector; auto: the best that works (default)\n"
	       "  --reserve=N       processes whose deaths cannot be lost (default: 32768)\n"
	       "  --plugin=FILE[:ARGS]  load watchers from a shared object; more than once if need "
	       "be\n"
	       "  -h, --help        this text\n\n"
	       "Exit status: 0, also after Ctrl-C; 125 Knell failed, 126 not permitted,\n"
	       "127 there is no process PID, no such user or cgroup.\n");
}

enum {
	OPT_PID = 256,
	OPT_UID,
	OPT_COMM,
	OPT_CGROUP,
	OPT_KIND,
	OPT_THREADS,
	OPT_ARGS,
	OPT_JSON,
	OPT_COUNT,
	OPT_DURATION,
	OPT_SOURCE,
	OPT_RESERVE,
	OPT_WITH,
	OPT_PLUGIN
};

static const struct option long_options[] = {
	{ "pid", required_argument, NULL, OPT_PID },
	{ "uid", required_argument, NULL, OPT_UID },
	{ "comm", required_argument, NULL, OPT_COMM },
	{ "cgroup", required_argument, NULL, OPT_CGROUP },
	{ "kind", required_argument, NULL, OPT_KIND },
	{ "threads", no_argument, NULL, OPT_THREADS },
	{ "args", no_argument, NULL, OPT_ARGS },
	{ "json", optional_argument, NULL, OPT_JSON },
	{ "count", required_argument, NULL, OPT_COUNT },
	{ "duration", required_argument, NULL, OPT_DURATION },
	{ "source", required_argument, NULL, OPT_SOURCE },
	{ "reserve", required_argument, NULL, OPT_RESERVE },
	{ "quiet", no_argument, NULL, 'q' },
	{ "with", required_argument, NULL, OPT_WITH },
	{ "plugin", required_argument, NULL, OPT_PLUGIN },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* All of these return 0, or the exit status after a complaint. */

static int parse_user(struct knell_filter *filter, const char *text)
{
	struct passwd *user;
	unsigned long value;
	char *end;

	filter->match |= KNELL_MATCH_UID;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && !errno && value < UINT32_MAX) {
		filter->uid = (uint32_t)value;
		return 0;
	}
	user = getpwnam(text);
	if (user) {
		filter->uid = user->pw_uid;
		return 0;
	}
	complain("--uid: there is no user '%s'", text);
	return STATUS_NOT_FOUND;
}

static int parse_comm(struct knell_filter *filter, const char *text)
{
	filter->match |= KNELL_MATCH_COMM;
	if (!*text) {
		complain("--comm: a name is needed");
		return STATUS_FAILED;
	}
	memset(filter->comm, 0, sizeof(filter->comm));
	memcpy(filter->comm, text, strnlen(text, sizeof(filter->comm) - 1));
	return 0;
}

static int parse_cgroup(struct trace_options *o, const char *text)
{
	struct knell_filter *filter = &o->engine.filter;
	struct cgroup cgroup;
	int r;

	filter->match |= KNELL_MATCH_CGROUP;
	if (*text != '/') {
		complain("--cgroup: '%s' does not begin with a /, as in /proc/PID/cgroup", text);
		return STATUS_FAILED;
	}
	r = cgroup_find(&cgroup, text);
	if (r == 0) {
		filter->cgroup = cgroup.id;
		cgroup_life_end(&o->cgroup);
		r = cgroup_life_begin(&o->cgroup, &cgroup);
	}
	return r == 0 ? 0 : r == -ENOENT ? STATUS_NOT_FOUND : STATUS_FAILED;
}

static uint32_t find_kind(const char *name, size_t len)
{
	for (unsigned int kind = KNELL_CLONE; kind < KNELL_KIND_MAX; kind++) {
		const char *known = knell_kind_name(kind);

		if (strlen(known) == len && memcmp(known, name, len) == 0)
			return KNELL_MASK(kind);
	}
	return 0;
}

static int parse_kinds(struct trace_options *o, const char *text)
{
	o->kinds = KNELL_MASK(KNELL_GAP);
	for (const char *p = text;; p++) {
		size_t len = strcspn(p, ",");
		uint32_t kind = find_kind(p, len);

		if (!kind) {
			complain("--kind: '%.*s' is none of clone, exec, uid, gid, exit, free and "
				 "gap",
				 (int)len, p);
			return STATUS_FAILED;
		}
		o->kinds |= kind;
		p += len;
		if (!*p)
			break;
	}
	o->ids_asked = o->kinds & KINDS_OF_IDS;
	return 0;
}

static int parse_count(struct trace_options *o, const char *text)
{
	uint32_t count;

	if (parse_number("--count", text, 1, UINT32_MAX, &count) < 0)
		return STATUS_FAILED;
	o->count = count;
	return 0;
}

static int parse_duration_option(struct trace_options *o, const char *text)
{
	if (parse_duration("duration", text, &o->duration) < 0)
		return STATUS_FAILED;
	if (o->duration)
		return 0;
	complain("--duration: longer than '%s'", text);
	return STATUS_FAILED;
}

static int parse_pid(struct trace_options *o, const char *text)
{
	uint32_t pid;

	if (parse_number("--pid", text, 1, INT_MAX, &pid) < 0)
		return STATUS_FAILED;
	o->pid = (pid_t)pid;
	return 0;
}

static int parse_option(struct trace_options *o, int option)
{
	switch (option) {
	case OPT_PID:
		return parse_pid(o, optarg);
	case OPT_UID:
		return parse_user(&o->engine.filter, optarg);
	case OPT_COMM:
		return parse_comm(&o->engine.filter, optarg);
	case OPT_CGROUP:
		return parse_cgroup(o, optarg);
	case OPT_KIND:
		return parse_kinds(o, optarg);
	case OPT_THREADS:
		o->engine.flags |= KNELL_O_THREADS;
		return 0;
	case OPT_ARGS:
		o->engine.flags |= KNELL_O_ARGS;
		return 0;
	case OPT_JSON:
		o->json = optarg ? optarg : "-";
		return 0;
	case OPT_COUNT:
		return parse_count(o, optarg);
	case OPT_DURATION:
		return parse_duration_option(o, optarg);
	case OPT_SOURCE:
		o->engine.source = optarg;
		return 0;
	case OPT_RESERVE:
		return parse_reserve(optarg, &o->engine.reserve) < 0 ? STATUS_FAILED : 0;
	case OPT_WITH:
		return with_add(&o->with, optarg, &o->engine.flags) < 0 ? STATUS_FAILED : 0;
	case 'q':
		o->quiet = true;
		return 0;
	case OPT_PLUGIN:
		return plugins_option(&o->plugins, optarg) < 0 ? STATUS_FAILED : 0;
	}
	return STATUS_FAILED; /* getopt has complained */
}

static int check(struct trace_options *o, int argc, char **argv)
{
	if (optind < argc) {
		complain("trace: '%s' is no option; to hear a command use 'knell run'",
			 argv[optind]);
		return STATUS_FAILED;
	}
	if (o->pid && o->engine.filter.match) {
		complain("trace: --pid takes a whole subtree; --uid, --comm and --cgroup do not go "
			 "with it");
		return STATUS_FAILED;
	}
	if (!o->pid)
		o->engine.flags |= KNELL_O_STREAM;
	if (o->kinds & KINDS_OF_IDS)
		o->engine.flags |= KNELL_O_IDS;
	if (o->kinds & KNELL_MASK(KNELL_FREE))
		o->engine.flags |= KNELL_O_FREE;
	return 0;
}

/* 0: go on; -1: all is said; else the exit status, after a complaint. */
static int parse_options(struct trace_options *o, int argc, char **argv)
{
	int option, status;

	while ((option = getopt_long(argc, argv, "qh", long_options, NULL)) != -1) {
		if (option == 'h') {
			print_help();
			return end_stdout() == 0 ? -1 : STATUS_FAILED;
		}
		status = parse_option(o, option);
		if (status)
			return status;
	}
	return check(o, argc, argv);
}

int cmd_trace(int argc, char **argv)
{
	struct trace trace = {
		.options.kinds = KNELL_MASK_ALL & ~KNELL_MASK(KNELL_INIT) & ~KNELL_MASK(KNELL_FREE),
		.options.engine.size = sizeof(trace.options.engine),
		.pidfd = -1,
	};
	int status = parse_options(&trace.options, argc, argv);

	if (status) {
		with_close(&trace.options.with);
		cgroup_life_end(&trace.options.cgroup);
		return status > 0 ? status : 0;
	}
	return trace_run(&trace);
}
