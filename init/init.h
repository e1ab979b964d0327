/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * init.h - the core of `knell init` and of knell-init-static: PID 1 of a container, or a subreaper
 * elsewhere. One for each process. It needs the C library, lib/pidfd.c and lib/reap, and neither
 * libbpf nor stdio, so that it stays small and starts fast as a static program.
 *   options.c   the words of the command line, in four dialects
 *   help.c      what --help says in each
 *   say.c       messages and numbers without stdio
 *   signals.c   takes signals, and passes them on
 *   tree.c      finds all descendants
 *   terminal.c  job control
 *   child.c     starts the command
 *   reap.c      the two ways of reaping
 *   status.c    the status file
 *   init.c      the loop
 */
#ifndef KNELL_INIT_H
#define KNELL_INIT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "reap/children.h"

#define INIT_FAILED         125 /* the command was not started */
#define INIT_NOT_EXECUTABLE 126
#define INIT_NOT_FOUND      127
#define INIT_SIGNAL         128 /* plus the signal's number */

#define INIT_PLUGINS 16
#define INIT_SIGNALS 65 /* their numbers are below it */

/* ---- options.c ---- */

enum init_dialect {
	INIT_KNELL,
	INIT_TINI,
	INIT_DUMB_INIT,
	INIT_CATATONIT
};

enum init_forward {
	FORWARD_CHILD,
	FORWARD_GROUP,
	FORWARD_TREE
};

enum init_orphans {
	INIT_ORPHANS_LEAVE,
	INIT_ORPHANS_WAIT,
	INIT_ORPHANS_KILL
};

/* Of messages, as tini counts. */
enum init_verbosity {
	VERBOSE_ERRORS,
	VERBOSE_WARNINGS,
	VERBOSE_INFO,
	VERBOSE_DEBUG
};

struct init_options {
	enum init_dialect dialect;
	enum init_forward forward;
	enum init_orphans orphans;
	uint32_t grace;                      /* seconds between TERM and KILL */
	int parent_death;                    /* a signal; 0: none */
	int verbosity;                       /* enum init_verbosity, or more */
	unsigned char rewrite[INIT_SIGNALS]; /* what is passed on in its place; 0: nothing */
	bool rewritten[INIT_SIGNALS];        /* by the user */
	unsigned char exit_map[256];
	bool log_orphans;
	bool subreaper;
	bool own_session; /* the command gets one */
	bool own_group;   /* the command gets a process group, and the terminal */
	bool end_group; /* TERM, as rewritten, for the command's group when the command has ended */
	bool follow_stop; /* stop when a signal to stop came, and not when the command stops */
	bool pause;       /* no command: reap until INT or TERM */
	const char *status_file;
	const char *plugins[INIT_PLUGINS]; /* FILE[:ARGS]: `knell init` only */
	size_t plugin_count;
	char **command;
};

/* Does a program of this name (argv[0]) speak another init's dialect? */
bool init_is_dialect(const char *argv0);

/* 0: go on; 1: all is said; -EINVAL after a complaint. */
int init_parse(struct init_options *ret, int argc, char **argv);

/* help.c: to standard output; 0 or -errno after a complaint. */
int init_help(enum init_dialect dialect);

/* ---- say.c ---- */

struct init_line {
	size_t len;
	char text[2048];
};

/* What does not fit is left out. */
void line_text(struct init_line *line, const char *text);
void line_number(struct init_line *line, uint64_t value);
void line_seconds(struct init_line *line, uint64_t ns);
void line_signal(struct init_line *line, int signo);
void line_status(struct init_line *line, int status); /* "exited 3" */
int line_write(struct init_line *line, int fd);       /* and empties it; 0 or -errno */

/* To standard output; 0 or -errno after a complaint. */
int init_print(const char *text, size_t len);

/* "knell init: " and all these texts, in one line on standard error. */
#define init_say(...) init_say_all((const char *const[]){ __VA_ARGS__, NULL })
void init_say_all(const char *const texts[]);

/* A decimal number of at most `max`, and nothing else. */
bool init_number(const char *text, uint32_t max, uint32_t *ret);

/* CLOCK_MONOTONIC, and the CPU time of this process, ns. */
uint64_t init_now(void);
uint64_t init_cpu(void);

/* ---- where deaths are heard with their causes ---- */

#define INIT_CAUSE_MAX 512

/* Each function gets `data`. */
struct init_source {
	void *data;
	int fd;               /* readable: there is something to hear */
	const int *inherited; /* the descriptors that were open before the source was */
	size_t inherited_count;
	pid_t (*fork)(void *data);
	/* Announces those that died as our children. */
	void (*hear)(void *data, struct children *children);
	/* Of one that was announced, once: its name and why it died. */
	bool (*tell)(void *data, pid_t pid, char *name, size_t size, char cause[INIT_CAUSE_MAX]);
};

/* ---- one init ---- */

/* What the command gets back: as the caller left it. */
struct init_signals {
	uint64_t mask;
	struct sigaction child_action; /* SIGCHLD's */
};

struct init {
	const struct init_options *options;
	const struct init_source *source; /* NULL: none */
	const struct init_signals *signals;

	int signal_fd;
	int child_fd;       /* for SIGCHLD; -1: it is not heard */
	int terminal;       /* whose foreground we hand to the command; -1: none */
	int status_fd;      /* where the status file is a FIFO or a device; -1: it is none */
	char *status_place; /* where it is a file: its name, no link; NULL: it is none */

	pid_t root;
	int pidfd;             /* of the root; -1: this kernel has none */
	bool dead;             /* the root */
	bool held;             /* it is dead, but who traces it has not let go of it yet */
	int status;            /* its, as wait(2) has it */
	bool stop_asked;       /* pause: INT or TERM came */
	bool kernel_reaps;     /* now */
	bool reaped_by_kernel; /* it did, so nobody counted */
	bool watch_stops;
	bool childless;
	bool orphans_unseen; /* those that are to be killed: we cannot find them */
	int told_all;        /* what they were all sent, by PID 1, that cannot find them */

	struct children *children;
	struct init_line log;
	pid_t looked; /* whose name is in `name` */
	char name[64];
	char cause[INIT_CAUSE_MAX]; /* "": it has no more than a status */

	uint64_t started, ended; /* monotonic, ns */
	uint64_t cpu;            /* ours, before the command started */
	uint64_t rest_until;     /* for that long deaths are left to pile up */
	uint64_t orphans;        /* that we reaped */
	uint64_t forwarded;
};

/*
 * signals.c: from then on signals wait for init_run(). To be called before anything that takes its
 * time: PID 1 does not die of a signal that it has not taken, but the kernel throws it away. 0 or
 * -errno after a complaint.
 */
int init_begin(struct init_signals *ret);

/* init.c: runs it all; the exit status. */
int init_run(const struct init_options *options, const struct init_signals *signals,
	     const struct init_source *source);

/* signals.c */
int signals_open(struct init *init);           /* the descriptor */
int signals_hear_children(struct init *init);  /* SIGCHLD comes through one of its own */
void signals_restore(const struct init *init); /* in the command, before it execs */
void signals_read(struct init *init);          /* passes on what has come */
const char *signals_name(int signo);           /* "TERM"; NULL: it has none */
int signals_number(const char *text);          /* of "TERM", "SIGTERM", "15"; -1: none */
void signals_send_root(const struct init *init, int signo);
void signals_send_group(const struct init *init, int signo);

/* tree.c: 0; -ENOENT: /proc does not tell. */
int tree_signal_all(int signo);
int tree_end_children(int signo, bool again);
void tree_forget(pid_t pid);

/* terminal.c */
void terminal_open(struct init *init);
void terminal_give(const struct init *init); /* to the command, if it is ours */
void terminal_take_back(const struct init *init);
void terminal_detach(void);
bool terminal_has_job_control(void);
void terminal_stop_too(struct init *init, int signo);

/* child.c: 0 or -errno after a complaint. */
int child_start(struct init *init);
void child_let_go(const struct init *init); /* of the descriptors that were passed to us */

/* reap.c */
bool reap_by_kernel_works(void);
int reap_open(struct init *init); /* after the start; it may find the root dead */
int reap_wait_for_orphans(struct init *init);
void reap_on_signal(struct init *init); /* or when something was heard */
void reap_on_pidfd(struct init *init);
int reap_timeout(const struct init *init); /* ms, or -1 */
bool reap_rests(const struct init *init);

/* status.c */
int status_open(struct init *init);
void status_write(struct init *init, int exit_status);
void status_discard(struct init *init);

#endif
