/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * init_runs.h - what the tests of `knell init` share: one run of it, or of knell-init-static where
 * KNELL_TEST_INIT names it, by its own name or by another init's.
 */
#ifndef KNELL_TEST_INIT_RUNS_H
#define KNELL_TEST_INIT_RUNS_H

#include <check.h>
#include <stdlib.h>
#include <sys/types.h>

#include "support.h"

void add_peer_tests(Suite *suite); /* init_peers.c */

#define MAX_WORDS 32

struct init {
	const char *as; /* the name of another init; NULL: its own */
	const char *const *options;
	const char *const *command;
	struct spawn how;
	const char *argv[MAX_WORDS];
	pid_t pid;
	int status;
	char *out, *err;
};

const char *static_init(void); /* NULL: it is `knell init` */
void build_argv(struct init *init);
void init_start(struct init *init);
void init_wait(struct init *init);
void expect(struct init *init, int code);
void run_expecting(struct init *init, int code);

#define RUN(code, ...)                                                                             \
	do {                                                                                       \
		struct init init_ = { __VA_ARGS__ };                                               \
		run_expecting(&init_, code);                                                       \
		free(init_.out);                                                                   \
		free(init_.err);                                                                   \
	} while (0)

#define SHELL(script) LIST("/bin/sh", "-c", script)

void adopt(void); /* orphans */
void await_text(const char *path, const char *text);

/*
 * A script, "member": says its argument and number to "truth"; on TERM or USR1 it writes to "got".
 * At the latest it ends with the test's folder.
 */
void write_member(void);

/*
 * It has taken the signal, which would have ended it before. Its C library may block signals for a
 * moment, too, but that blocks all of them.
 */
void await_blocked(pid_t pid, int signo);

/* For `prepare`: as PID 1, with a /proc of its own. */
void become_first(void);
void need_first(void); /* skips where that is refused */

/* Skips but for `knell init`, where the source bpf works. */
void need_engine(void);

#endif
