/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tool.h - `knell watch` and `knell trace` as tests run them: with the suite's source, output and
 * errors in files, and a way to know that they listen.
 */
#ifndef KNELL_TEST_TOOL_H
#define KNELL_TEST_TOOL_H

#include "support.h"

struct tool {
	const char *command; /* "watch" */
	const char *name;    /* of its files: NAME.out and NAME.err; NULL: the command */
	const char *source;  /* NULL: the suite's; "": none is named */
	const char *const *args;
	struct spawn how;
	pid_t pid;
	int status; /* as wait(2) has it */
	char *out, *err;
};

void tool_start(struct tool *tool);
void tool_await_listening(const struct tool *tool); /* it waits for events */
bool tool_is_listening(pid_t pid);                  /* the same, as far as /proc tells */
/* It holds this process by a pidfd, and something holds it up: a write, or a FIFO that it opens. */
void tool_await_holding(const struct tool *tool, pid_t pid);
void tool_wait(struct tool *tool); /* and reads what it wrote */
void tool_run(struct tool *tool);

/* Fails the test, showing stderr, unless it ended with this wait status, this exit code. */
void tool_expect_status(const struct tool *tool, int status);
void tool_expect_exit(const struct tool *tool, int code);

/* Runs it and expects this exit code, and that stderr has this text. */
void tool_expect_refused(struct tool *tool, int code, const char *named);

/* Can this kernel tell the status of others' children, without BPF? */
bool kernel_tells_status(void);

/* A process of ours that waits to be killed, under this name. Not a child of any knell. */
pid_t start_victim(const char *name);
/* Kills it and waits for it. */
void kill_victim(pid_t pid, int signo);

/*
 * A shell that ends with 5, with a child that lives already, and ends with 4 after a child of its
 * own has ended with 3. Both wait until they are let go.
 */
pid_t start_family(void);
void let_family_go(void);

unsigned int line_count(const char *text);

#endif
