/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cmd_why.c - `knell why`: why did it die, afterwards, from the audit log. Options, and the way
 * from logs to an answer and an exit status.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "why.h"

/* Of `knell why`. */
#define STATUS_NOTHING 1

static void print_help(void)
{
	printf("Usage: knell why [OPTION...] PID|NAME\n\n"
	       "Tells afterwards, from the audit log, why a process died: who killed it, how, and "
	       "what it\n"
	       "was. NAME is that of a process, of its program, or the program's path; @NAME is a "
	       "name\n"
	       "also where it is a number. Several deaths are told in a table, the newest last.\n\n"
	       "  --since=TIME      only deaths since then, --until=TIME: until then: \"10:00\",\n"
	       "                    \"2026-11-20 10:00\", today, yesterday, -2h, \"10 min ago\",\n"
	       "                    @SECONDS since 1970, or as in the log\n"
	       "  -n, --lines=N     the newest N deaths (default: 10)\n"
	       "  -a, --all         those that exited 0, too\n"
	       "  --log=FILE        read this log, - is standard input; may be repeated, oldest "
	       "first\n"
	       "                    (default: %s and those\n"
	       "                    that rotation made of it, also compressed)\n"
	       "  --json            one JSON object instead\n"
	       "  -h, --help        this text\n\n"
	       "Exit status: 0 there is an answer, 1 nothing was found, 125 Knell failed.\n",
	       WHY_LOG);
}

enum {
	OPT_SINCE = 256,
	OPT_UNTIL,
	OPT_LOG,
	OPT_JSON
};

static const struct option long_options[] = {
	{ "since", required_argument, NULL, OPT_SINCE },
	{ "until", required_argument, NULL, OPT_UNTIL },
	{ "lines", required_argument, NULL, 'n' },
	{ "all", no_argument, NULL, 'a' },
	{ "log", required_argument, NULL, OPT_LOG },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct request {
	struct why_options options;
	const char *logs[WHY_LOGS];
	uint32_t log_count;
};

/* All of these return 0, or the exit status after a complaint. */

static int parse_time(const char *option, const char *text, uint64_t *ret)
{
	if (why_parse_time(text, why_now(), ret))
		return 0;
	complain("--%s: '%s' is not a time such as 10:00, '2026-11-20 10:00', today, -2h, "
		 "'10 min ago' or @1700000000",
		 option, text);
	return STATUS_FAILED;
}

static int parse_newest(struct request *request, const char *text)
{
	if (parse_number("--lines", text, 1, WHY_MAX, &request->options.newest) < 0)
		return STATUS_FAILED;
	return 0;
}

static int parse_log(struct request *request, const char *name)
{
	if (request->log_count == WHY_LOGS) {
		complain("--log: more than %u are too many; join them: cat LOG... | knell why "
			 "--log=- NAME",
			 WHY_LOGS);
		return STATUS_FAILED;
	}
	request->logs[request->log_count++] = name;
	return 0;
}

static int parse_option(struct request *request, int option)
{
	switch (option) {
	case OPT_SINCE:
		return parse_time("since", optarg, &request->options.since);
	case OPT_UNTIL:
		return parse_time("until", optarg, &request->options.until);
	case 'n':
		return parse_newest(request, optarg);
	case 'a':
		request->options.all = true;
		return 0;
	case OPT_LOG:
		return parse_log(request, optarg);
	case OPT_JSON:
		request->options.json = true;
		return 0;
	}
	return STATUS_FAILED; /* getopt has complained */
}

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

static int parse_target(struct request *request, int argc, char **argv)
{
	const char *target = optind < argc ? argv[optind] : NULL;

	if (!target || optind + 1 < argc || !*target) {
		complain("why: one PID or NAME is needed; 'knell why --help' tells more");
		return STATUS_FAILED;
	}
	request->options.target = target;
	if (!is_number(target)) {
		request->options.name = *target == '@' && target[1] ? target + 1 : target;
	} else if (parse_number("why", target, 1, INT_MAX, &request->options.pid) < 0) {
		return STATUS_FAILED;
	}
	if (request->options.since <= request->options.until)
		return 0;
	complain("why: --since is later than --until");
	return STATUS_FAILED;
}

/* ---- the answer ---- */

static int tell(const struct why *why, const char *searched)
{
	int status = why->options.json ? why_tell_json(why, searched, stdout)
				       : why_tell(why, searched, stdout);

	return end_stdout() == 0 ? status : STATUS_FAILED;
}

/* Who lives has no death that a log could tell. */
static int tell_without_log(struct why *why)
{
	why_find_alive(why);
	if (why->alive_count)
		return tell(why, NULL);
	complain("there is no audit log '%s', and '%s' is not alive; systemctl enable --now "
		 "knell-audit writes one from now on, --log=FILE names another",
		 why_usual_log(), why->options.target);
	return STATUS_FAILED;
}

/* "FILE", "FILE and 3 more" */
static void name_logs(char *dst, size_t size, const struct why_files *files)
{
	const char *name = files->at[files->count - 1].name;

	if (strcmp(name, "-") == 0)
		name = "standard input";
	if (files->count == 1)
		snprintf(dst, size, "%s", name);
	else
		snprintf(dst, size, "%s and %u more", name, files->count - 1);
}

static int answer(const struct request *request, struct why *why)
{
	struct why_files files = { 0 };
	char searched[PATH_MAX + 64];
	char boot_id[37];
	int error = why_files_open(&files, request->logs, request->log_count);

	if (error == -ENOENT && !request->log_count)
		return tell_without_log(why);
	if (error == 0) {
		name_logs(searched, sizeof(searched), &files);
		error = why_files_read(&files, why);
	}
	why_files_close(&files);
	if (error < 0)
		return STATUS_FAILED;
	error = knell_boot_id(boot_id);
	why_finish(why, error < 0 ? NULL : boot_id, why_boot_time());
	return tell(why, searched);
}

int cmd_why(int argc, char **argv)
{
	struct request request = { .options = { .newest = 10, .until = UINT64_MAX } };
	struct why why;
	int option, status;

	while ((option = getopt_long(argc, argv, "n:ah", long_options, NULL)) != -1) {
		if (option == 'h') {
			print_help();
			return end_stdout();
		}
		status = parse_option(&request, option);
		if (status)
			return status;
	}
	status = parse_target(&request, argc, argv);
	if (status)
		return status;
	if (why_open(&why, &request.options) < 0) {
		complain("not enough memory");
		return STATUS_FAILED;
	}
	status = answer(&request, &why);
	why_close(&why);
	return status;
}
