/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * init_runs.c - runs of `knell init` or knell-init-static; see init_runs.h.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <knell/knell.h>

#include "init_runs.h"

const char *static_init(void)
{
	const char *path = getenv("KNELL_TEST_INIT");

	return path && *path ? path : NULL;
}

void build_argv(struct init *init)
{
	const char *program = static_init() ? static_init() : test_knell();
	size_t n = 0;

	if (init->as) {
		ck_assert(!symlink(program, init->as) || errno == EEXIST);
		if (asprintf((char **)&init->argv[n++], "./%s", init->as) < 0)
			ck_abort_msg("out of memory");
	} else {
		init->argv[n++] = program;
		if (!static_init())
			init->argv[n++] = "init";
	}
	for (size_t i = 0; init->options && init->options[i]; i++)
		init->argv[n++] = init->options[i];
	if (init->command)
		init->argv[n++] = "--";
	for (size_t i = 0; init->command && init->command[i]; i++)
		init->argv[n++] = init->command[i];
	ck_assert(n < MAX_WORDS);
	init->argv[n] = NULL;
}

void init_start(struct init *init)
{
	build_argv(init);
	if (!init->how.out)
		init->how.out = "init.out";
	init->how.err = "init.err";
	init->pid = spawn(&init->how, init->argv);
}

void init_wait(struct init *init)
{
	init->status = await_exit(init->pid);
	init->out = read_file(init->how.out);
	init->err = read_file(init->how.err);
	ck_assert(init->out && init->err);
}

void expect(struct init *init, int code)
{
	ck_assert_msg(init->status == W_EXITCODE(code, 0), "wait status %#x, not exit %d:\n%s",
		      (unsigned int)init->status, code, init->err);
}

void run_expecting(struct init *init, int code)
{
	init_start(init);
	init_wait(init);
	expect(init, code);
}

void adopt(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void await_text(const char *path, const char *text)
{
	double end = now() + test_seconds(30);

	for (;;) {
		char *all = read_file(path);
		bool found = all && strstr(all, text);

		free(all);
		if (found)
			return;
		ck_assert_msg(now() < end, "nobody wrote '%s' to %s", text, path);
		sleep_ms(2);
	}
}

void write_member(void)
{
	write_file("member", "trap 'echo \"$1 TERM\" >>got; exit 3' TERM\n"
			     "trap 'echo \"$1 USR1\" >>got; exit 4' USR1\n"
			     "echo $1 $$ >>truth\n"
			     "while [ -e member ]; do sleep 0.02; done\n");
}

void await_blocked(pid_t pid, int signo)
{
	double end = now() + test_seconds(30);
	unsigned long long mask = 0;

	while (!(mask >> (signo - 1) & 1) || mask >> (SIGSEGV - 1) & 1) {
		char path[64], *text, *line;

		ck_assert_msg(now() < end, "signal %d is not taken", signo);
		snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
		text = read_file(path);
		line = text ? strstr(text, "\nSigBlk:") : NULL;
		mask = line ? strtoull(line + 8, NULL, 16) : 0;
		free(text);
		sleep_ms(2);
	}
}

void become_first(void)
{
	become_first_blind();
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", 0, NULL) < 0)
		_exit(199);
}

void need_first(void)
{
	struct spawn how = { .prepare = become_first };

	if (await_exit(spawn(&how, LIST("/bin/true"))))
		test_skip("no pid namespace of one's own here: that needs root");
}

void need_engine(void)
{
	struct knell_probe probe = { 0 };

	for (unsigned int i = 0; !knell_probe(i, &probe) && strcmp(probe.name, "bpf") != 0; i++)
		;
	if (static_init() || strcmp(probe.name, "bpf") != 0 || probe.error)
		test_skip("it needs knell init with its engine, where the source bpf works");
}
