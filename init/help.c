/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * help.c - what the init says of its options, in each dialect. It owns nothing.
 */
#include <string.h>

#include "init.h"

static const char knell_help[] =
	"Usage: knell init [OPTION...] [--] COMMAND [ARG...]\n"
	"\n"
	"Runs COMMAND, passes signals on to it and reaps every orphan: as PID 1 of a container,\n"
	"or as the subreaper of what it starts. Exits with COMMAND's status when it ends.\n"
	"\n"
	"  --forward=WHOM          pass signals to the child (default), its group, or the whole\n"
	"                          tree of descendants; -g: group\n"
	"  -r, --rewrite=FROM:TO   pass TO on in place of FROM; TO 0: nothing\n"
	"  -e, --map-exit=CODE[:TO]  exit with TO (default: 0) where CODE was due\n"
	"  -p, --parent-death=SIG  get this signal when the parent dies, and pass it on\n"
	"  --orphans=MODE          leave (default), wait for or kill what outlives COMMAND\n"
	"  --grace=SECONDS         with --orphans=kill: from TERM to KILL (default: 10)\n"
	"  -w, --log-orphans       a line on standard error for each orphan that dies\n"
	"  --plugin=FILE[:ARGS]    load watchers from a shared object (not knell-init-static)\n"
	"  --status-file=FILE      write how it ended, and what it cost, to FILE as JSON\n"
	"  -v, --verbose           say more; -vv: each signal, too\n"
	"  -s                      nothing: it is the subreaper anyhow\n"
	"  -l, --license           the licence\n"
	"  -V, --version           the version\n"
	"  -h, --help              this text\n"
	"\n"
	"By the name tini, docker-init, dumb-init, catatonit or podman-init (a symbolic link will\n"
	"do) it takes that program's options and environment.\n"
	"\n"
	"Exit status: COMMAND's own, 128+n if signal n killed it; 125 knell init failed,\n"
	"126 COMMAND cannot be executed, 127 COMMAND not found.\n";

static const char tini_help[] =
	"Usage: tini [OPTIONS] PROGRAM -- [ARGS] | --version\n"
	"\n"
	"knell init in the place of tini.\n"
	"\n"
	"  -s         be the subreaper, where it is not PID 1 (TINI_SUBREAPER)\n"
	"  -p SIGNAL  get SIGNAL when the parent dies\n"
	"  -v         say more; up to three times (TINI_VERBOSITY=N)\n"
	"  -w         tell of orphans that are reaped\n"
	"  -g         pass signals on to the process group (TINI_KILL_PROCESS_GROUP)\n"
	"  -e CODE    exit with 0 where CODE was due; more than once if need be\n"
	"  -l         the licence\n"
	"  --version  the version\n"
	"  -h         this text\n";

static const char dumb_init_help[] =
	"Usage: dumb-init [OPTION...] COMMAND [ARG...]\n"
	"\n"
	"knell init in the place of dumb-init.\n"
	"\n"
	"  -c, --single-child  no session for the command; signals go to it alone\n"
	"                      (DUMB_INIT_SETSID=0)\n"
	"  -r, --rewrite S:R   pass signal R on in place of S; R 0: nothing\n"
	"  -v, --verbose       say what happens (DUMB_INIT_DEBUG=1)\n"
	"  -V, --version       the version\n"
	"  -h, --help          this text\n";

static const char catatonit_help[] = "Usage: catatonit [-ghLPV] [--] PROGRAM [ARG...]\n"
				     "\n"
				     "knell init in the place of catatonit.\n"
				     "\n"
				     "  -g             pass signals on to the process group\n"
				     "  -P             run nothing; reap until INT or TERM\n"
				     "  -L             the licence\n"
				     "  -V, --version  the version\n"
				     "  -h             this text\n";

int init_help(enum init_dialect dialect)
{
	static const char *const texts[] = {
		[INIT_KNELL] = knell_help,
		[INIT_TINI] = tini_help,
		[INIT_DUMB_INIT] = dumb_init_help,
		[INIT_CATATONIT] = catatonit_help,
	};

	return init_print(texts[dialect], strlen(texts[dialect]));
}
