/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cmd_watch.c - `knell watch`: its options, and whether targets make sense as they are written.
 * What it does with them is in watch_loop.c.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "watch.h"

static void print_help(void)
{
	printf("Usage: knell watch [OPTION...] PID|@NAME|/CGROUP...\n\n"
	       "Waits until processes die, whoever started them, and tells when and how.\n\n"
	       "  --any             end after the first death\n"
	       "  --all             end when all have died (default)\n"
	       "  --timeout=TIME    end after TIME: seconds, or with s, m, h or d\n"
	       "  --subtree         also their descendants: births, execs and deaths\n"
	       "  --future          with @NAME and /CGROUP: also those that are born later;\n"
	       "                    until --any, --timeout or Ctrl-C\n"
	       "  --exec=CMD        run the shell command CMD for each death, with KNELL_PID,\n"
	       "                    KNELL_NAME, KNELL_STATUS, KNELL_SIGNAL, ... in its "
	       "environment\n"
	       "  --json            JSON Lines instead of text\n"
	       "  --moment=MOMENT   tell deaths at exit, when dead, or at free\n"
	       "                    (default: the first that the source hears of)\n"
	       "  --source=NAME     bpf, kmod, connector or pidfd; auto: the best that works "
	       "(default)\n"
	       "  --plugin=FILE[:ARGS]  load watchers from a shared object; more than once if need "
	       "be\n"
	       "  -q, --quiet       print nothing but errors\n"
	       "  -h, --help        this text\n\n"
	       "Exit status: of a single process its own (128+n: killed by signal n); of several "
	       "0;\n"
	       "124 timeout, 125 Knell failed, 126 not permitted or status not known,\n"
	       "127 no such process.\n");
}

enum {
	OPT_ANY = 256,
	OPT_ALL,
	OPT_TIMEOUT,
	OPT_SUBTREE,
	OPT_FUTURE,
	OPT_EXEC,
	OPT_JSON,
	OPT_MOMENT,
	OPT_SOURCE,
	OPT_PLUGIN
};

static const struct option long_options[] = {
	{ "any", no_argument, NULL, OPT_ANY },
	{ "all", no_argument, NULL, OPT_ALL },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "subtree", no_argument, NULL, OPT_SUBTREE },
	{ "future", no_argument, NULL, OPT_FUTURE },
	{ "exec", required_argument, NULL, OPT_EXEC },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "moment", required_argument, NULL, OPT_MOMENT },
	{ "source", required_argument, NULL, OPT_SOURCE },
	{ "plugin", required_argument, NULL, OPT_PLUGIN },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int parse_moment(const char *text, uint32_t *ret)
{
	static const struct {
		const char *name;
		uint32_t moment;
	} moments[] = {
		{ "exit", KNELL_AT_EXIT },
		{ "dead", KNELL_AT_DEAD },
		{ "free", KNELL_AT_FREE },
	};

	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
		if (strcmp(text, moments[i].name) == 0) {
			*ret = moments[i].moment;
			return 0;
		}
	}
	complain("--moment: '%s' is none of exit, dead and free", text);
	return -EINVAL;
}

static int parse_option(struct watch_options *o, int option)
{
	switch (option) {
	case OPT_ANY:
		o->any = true;
		return 0;
	case OPT_ALL:
		o->any = false;
		return 0;
	case OPT_TIMEOUT:
		o->has_timeout = true;
		return parse_duration("timeout", optarg, &o->timeout);
	case OPT_SUBTREE:
		o->subtree = true;
		return 0;
	case OPT_FUTURE:
		o->future = true;
		return 0;
	case OPT_EXEC:
		o->exec = optarg;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	case OPT_MOMENT:
		return parse_moment(optarg, &o->moment);
	case OPT_SOURCE:
		o->engine.source = optarg;
		return 0;
	case OPT_PLUGIN:
		return plugins_option(&o->plugins, optarg);
	case 'q':
		o->quiet = true;
		return 0;
	}
	return -EINVAL; /* getopt has complained */
}

/* Whether a process of this number exists is another question. */
static int check_pid(const char *text)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end) {
		complain("'%s' is no process: name a number, @NAME or /CGROUP", text);
		return -EINVAL;
	}
	if (errno || value == 0 || value > INT_MAX) {
		complain("no process can have the number %s", text);
		return -EINVAL;
	}
	return 0;
}

/* Returns 0, or -EINVAL after a complaint. */
static int check_targets(const struct watch_options *o)
{
	bool lasting = false;

	if (!o->target_count) {
		complain("watch: no process given; 'knell watch --help' shows how");
		return -EINVAL;
	}
	for (int i = 0; i < o->target_count; i++) {
		const char *target = o->targets[i];

		if (*target == '/') {
			lasting = true;
		} else if (*target == '@' && target[1]) {
			lasting = true;
		} else if (*target == '@') {
			complain("'@' needs the name of a program after it");
			return -EINVAL;
		} else if (check_pid(target) < 0) {
			return -EINVAL;
		}
	}
	if (o->future && !lasting) {
		complain("--future: a process number is never used again for what you mean; name "
			 "@NAME or /CGROUP");
		return -EINVAL;
	}
	return 0;
}

int cmd_watch(int argc, char **argv)
{
	struct watch watch = { .options.engine.size = sizeof(watch.options.engine) };
	struct watch_options *o = &watch.options;
	int option;

	while ((option = getopt_long(argc, argv, "qh", long_options, NULL)) != -1) {
		if (option == 'h') {
			print_help();
			return end_stdout();
		}
		if (parse_option(o, option) < 0)
			return STATUS_FAILED;
	}
	o->targets = argv + optind;
	o->target_count = argc - optind;
	if (check_targets(o) < 0)
		return STATUS_FAILED;
	if (o->future)
		o->engine.flags |= KNELL_O_STREAM;
	if (o->moment == KNELL_AT_FREE)
		o->engine.flags |= KNELL_O_FREE;
	return watch_run(&watch);
}
