/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cmd_run.c - `knell run`: options, opening and closing. Everything that may fail fails before the
 * command starts; from then on the command's own run and status come first, and what Knell could
 * not do is said afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "run.h"
#include "watchers/out.h"

#define DEFAULT_GRACE 10
#define MAX_GRACE     86400

static void print_help(void)
{
	printf("Usage: knell run [OPTION...] [--] COMMAND [ARG...]\n\n"
	       "Runs COMMAND, hears every process that descends from it, and reports at its "
	       "end.\n\n"
	       "  --source=NAME     bpf, kmod, ptrace, connector or none; auto: the best that "
	       "works\n"
	       "                    (default)\n"
	       "  --orphans=MODE    leave (default), wait for or kill what outlives COMMAND\n"
	       "  --grace=SECONDS   with --orphans=kill: from TERM to KILL (default: %d)\n"
	       "  --report=FILE     write the report to FILE instead of standard error\n"
	       "  -q, --quiet       no report\n"
	       "  --tree            draw the tree of processes before the report\n"
	       "  --json=FILE       write a JSON Lines record for each event (-: standard output)\n"
	       "  --threads         with --json: records of threads, too\n"
	       "  --args            record command arguments\n" WITH_HELP
	       "  --progress        keep a live line on the terminal\n"
	       "  --exit-status     if COMMAND dies of a signal exit with 128+n, do not die of it, "
	       "too\n"
	       "  --reserve=N       descendants whose deaths cannot be lost (default: 32768)\n"
	       "  --plugin=FILE[:ARGS]  load watchers from a shared object; more than once if need "
	       "be\n"
	       "  -h, --help        this text\n\n"
	       "Exit status: COMMAND's own; 125 Knell failed, 126 COMMAND cannot be executed,\n"
	       "127 COMMAND not found.\n",
	       DEFAULT_GRACE);
}

enum {
	OPT_SOURCE = 256,
	OPT_ORPHANS,
	OPT_GRACE,
	OPT_REPORT,
	OPT_TREE,
	OPT_JSON,
	OPT_THREADS,
	OPT_ARGS,
	OPT_PROGRESS,
	OPT_EXIT_STATUS,
	OPT_RESERVE,
	OPT_WITH,
	OPT_PLUGIN
};

static const struct option long_options[] = {
	{ "source", required_argument, NULL, OPT_SOURCE },
	{ "orphans", required_argument, NULL, OPT_ORPHANS },
	{ "grace", required_argument, NULL, OPT_GRACE },
	{ "report", required_argument, NULL, OPT_REPORT },
	{ "quiet", no_argument, NULL, 'q' },
	{ "tree", no_argument, NULL, OPT_TREE },
	{ "json", required_argument, NULL, OPT_JSON },
	{ "threads", no_argument, NULL, OPT_THREADS },
	{ "args", no_argument, NULL, OPT_ARGS },
	{ "progress", no_argument, NULL, OPT_PROGRESS },
	{ "exit-status", no_argument, NULL, OPT_EXIT_STATUS },
	{ "reserve", required_argument, NULL, OPT_RESERVE },
	{ "with", required_argument, NULL, OPT_WITH },
	{ "plugin", required_argument, NULL, OPT_PLUGIN },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int parse_orphans(const char *text, enum orphan_policy *ret)
{
	static const char *const names[] = { "leave", "wait", "kill" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum orphan_policy)i;
			return 0;
		}
	}
	complain("--orphans: '%s' is none of leave, wait and kill", text);
	return -EINVAL;
}

static int parse_option(struct run_options *o, int option)
{
	switch (option) {
	case OPT_SOURCE:
		o->engine.source = optarg;
		return 0;
	case OPT_ORPHANS:
		return parse_orphans(optarg, &o->orphans);
	case OPT_GRACE:
		return parse_number("--grace", optarg, 0, MAX_GRACE, &o->grace);
	case OPT_REPORT:
		o->report_path = optarg;
		return 0;
	case 'q':
		o->quiet = true;
		return 0;
	case OPT_TREE:
		o->tree = true;
		return 0;
	case OPT_JSON:
		o->json_path = optarg;
		return 0;
	case OPT_THREADS:
		o->threads = true;
		return 0;
	case OPT_ARGS:
		o->engine.flags |= KNELL_O_ARGS;
		return 0;
	case OPT_PROGRESS:
		o->progress = true;
		return 0;
	case OPT_EXIT_STATUS:
		o->exit_status = true;
		return 0;
	case OPT_RESERVE:
		return parse_reserve(optarg, &o->engine.reserve);
	case OPT_WITH:
		return with_add(&o->with, optarg, &o->engine.flags);
	case OPT_PLUGIN:
		return plugins_option(&o->plugins, optarg);
	}
	return -EINVAL; /* getopt has complained */
}

/* 0: go on; 1: all is said; -EINVAL after a complaint. */
static int parse_options(struct run_options *o, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "+qh", long_options, NULL)) != -1) {
		if (option == 'h') {
			print_help();
			return end_stdout() == 0 ? 1 : -EINVAL;
		}
		if (parse_option(o, option) < 0)
			return -EINVAL;
	}
	if (optind == argc) {
		complain("run: no command given; 'knell run --help' shows how");
		return -EINVAL;
	}
	o->command = argv + optind;
	return 0;
}

/* ---- opening ---- */

static int open_engine(struct run *run)
{
	struct knell_options *o = &run->options.engine;
	int r;

	o->size = sizeof(*o);
	/* The report counts threads, and takes the final account of each process. */
	o->flags |= KNELL_O_THREADS | KNELL_O_FREE;
	r = plugins_flags(&run->options.plugins, &o->flags);
	if (r < 0)
		return r;
	r = knell_open(&run->engine, o);
	if (r < 0) {
		complain("%s%s", knell_last_error(),
			 r == -ENOTSUP ? "; --source=none runs the command unheard" : "");
		return r;
	}
	if (strcmp(knell_source(run->engine), "ptrace") != 0)
		return 0;
	run_ignore_children(run);
	if (!run->options.quiet)
		complain("hearing by ptrace: set-user-id programs gain no privileges, and "
			 "debuggers, "
			 "strace and LeakSanitizer do not work in the command; see knell-run(1)");
	return 0;
}

static int open_report(struct run *run)
{
	const char *path = run->options.report_path;
	int r;

	if (!path) {
		run->report_file = stderr;
		return 0;
	}
	r = out_open(path);
	run->report_file = r >= 0 ? fdopen(r, "w") : NULL;
	if (run->report_file)
		return 0;
	if (r >= 0) {
		int fd = r;

		r = -errno;
		close(fd);
	}
	complain_of_output("the report", path, r);
	return r;
}

static int attach(struct run *run)
{
	const struct with_wish wish = {
		.kinds = KNELL_MASK_ALL,
		.threads = run->options.threads,
	};

	return with_open(&run->options.with, run->engine, &wish);
}

static int open_outputs(struct run *run)
{
	const struct run_options *o = &run->options;
	int r = open_report(run);

	if (r < 0)
		return r;
	r = report_new(&run->report, run->engine);
	if (r == 0 && o->tree)
		r = tree_new(&run->tree, run->engine);
	if (r == 0 && o->progress && isatty(STDERR_FILENO))
		r = progress_new(&run->progress, run->engine, STDERR_FILENO, monotonic_now());
	if (r < 0) {
		complain("cannot prepare the report: %s", strerror(-r));
		return r;
	}
	if (o->json_path) {
		r = json_open(&run->json, run->engine, o->json_path, o->threads ? JSON_THREADS : 0);
		if (r < 0)
			complain_of_output("JSON", o->json_path, r);
	}
	return r < 0 ? r : attach(run);
}

static int prepare(struct run *run)
{
	int r = run_take_signals(run); /* first: nobody may read what we say, and SIGPIPE kills */

	if (r < 0) {
		complain("cannot take signals: %s", strerror(-r));
		return r;
	}
	r = open_engine(run);
	if (r == 0)
		r = plugins_load(&run->options.plugins, run->engine);
	if (r == 0)
		r = open_outputs(run);
	if (r < 0)
		return r;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
		complain("cannot become the subreaper of the command: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

/* ---- closing ---- */

static void print_report(struct run *run)
{
	struct report_end end = {
		.size = sizeof(end),
		.argv = run->options.command,
		.wall = run->ended - run->started,
		.status = run->status,
		.orphans = (enum report_orphans)run->options.orphans,
		.orphan_count = run->orphans_met,
		.own_cpu = own_cpu() - run->own_cpu,
	};
	FILE *file = run->report_file;
	int r = 0;

	if (run->options.quiet && !run->options.report_path && !run->tree)
		return;
	if (run->tree)
		r = tree_print(run->tree, file, tree_utf8());
	if (r == 0 && (!run->options.quiet || run->options.report_path))
		r = report_print(run->report, file, &end);
	if (file != stderr && fclose(file) != 0 && r == 0)
		r = -errno;
	run->report_file = NULL;
	if (r < 0)
		complain_of_output(
			"the report",
			run->options.report_path ? run->options.report_path : "standard error", r);
}

static void close_json(struct run *run)
{
	struct json_result result;
	int r;

	if (!run->json)
		return;
	r = json_close(run->json, &result);
	run->json = NULL;
	if (r < 0)
		complain("--json: %llu records could not be written to '%s': %s%s",
			 (unsigned long long)result.unwritten, run->options.json_path, strerror(-r),
			 result.torn ? "; its last line is cut" : "");
}

static void close_with(struct run *run)
{
	if (with_close(&run->options.with))
		run->with_failed = true;
}

static void complain_of_exec(const struct run *run)
{
	if (run->exec_error)
		complain("cannot run '%s': %s", run->options.command[0], strerror(run->exec_error));
}

static void finish(struct run *run)
{
	int r = knell_reconcile(
		run->engine); /* those that run on, by the names that they have now */

	if (r < 0)
		complain("cannot tell what still runs: %s", knell_last_error());
	with_last_look(&run->options.with);
	run->progress = progress_free(run->progress);
	complain_of_exec(run);
	print_report(run);
	close_json(run);
	close_with(run);
}

static void close_all(struct run *run)
{
	close_with(run);
	run->engine = knell_close(run->engine);
	run->progress = progress_free(run->progress);
	if (run->json)
		json_close(run->json, NULL);
	run->tree = tree_free(run->tree);
	run->report = report_free(run->report);
	inherited_free(&run->inherited);
}

static int exit_status(const struct run *run)
{
	if (WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0 && run->with_failed)
		return STATUS_FAILED;
	if (WIFEXITED(run->status))
		return WEXITSTATUS(run->status);
	if (!run->options.exit_status)
		die_of(WTERMSIG(run->status));
	return STATUS_SIGNAL + WTERMSIG(run->status);
}

int cmd_run(int argc, char **argv)
{
	struct run run = {
		.options = { .grace = DEFAULT_GRACE },
		.signal_fd = -1,
		.exec_fd = -1,
	};
	int r = parse_options(&run.options, argc, argv);

	if (r != 0) {
		with_close(&run.options.with);
		return r > 0 ? 0 : STATUS_FAILED;
	}
	r = inherited_find(&run.inherited);
	if (r < 0)
		complain("no memory for the descriptors that are open");
	if (r == 0)
		r = prepare(&run);
	if (r == 0)
		r = run_start(&run);
	if (r < 0) {
		close_all(&run);
		return STATUS_FAILED;
	}
	run_loop(&run);
	finish(&run);
	close_all(&run);
	return exit_status(&run);
}
