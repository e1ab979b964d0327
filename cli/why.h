/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why.h - one `knell why`, for the files that make it up:
 *   cmd_why.c      options; from logs to an exit status
 *   why_time.c     --since and --until
 *   why_log.c      finds and opens logs, gives their lines one by one
 *   why_lives.c    the processes of the log: those alive, the recent dead, their ancestors
 *   why_find.c     hears each line, keeps the deaths that are asked for
 *   why_losses.c   what the log lost, and when it stopped
 *   why_alive.c    those that live now, from /proc
 *   why_tell.c     the three lines, the table, what is missing
 *   why_words.c    times, commands and chains of ancestors in words
 *   why_json.c     the same for programs
 * Times are wall-clock time in ns since 1970.
 */
#ifndef KNELL_CLI_WHY_H
#define KNELL_CLI_WHY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <knell/knell.h>

#include "watchers/json_read.h"

#define WHY_LOG   "/var/log/knell/audit.jsonl"
#define WHY_LOGS  64u    /* the most --log options */
#define WHY_MAX   10000u /* the most deaths that -n may ask for */
#define WHY_HOLES 32u    /* stops of the log that are remembered: the newest */
#define WHY_ALIVE 16u    /* living ones that are named */

/* Two writers of one boot do not agree to the ns on when a process was made. */
#define WHY_SAME_START UINT64_C(100000000)

#define WHY_SECOND UINT64_C(1000000000)

/* How late a death may be told: births come first in a batch, of whoever has the number next, too.
 */
#define WHY_PATIENCE (10 * WHY_SECOND)

/* ---- why_time.c ---- */

/* A time as journalctl(1) takes it. False: it is none. `now` is what "today" and "-2h" start from.
 */
bool why_parse_time(const char *text, uint64_t now, uint64_t *ret);

uint64_t why_now(void);
uint64_t why_boot_time(void); /* when this machine was started */

/* ---- why_lives.c ---- */

struct why_losses {
	uint64_t births, deaths, others; /* gaps */
	uint64_t missing; /* numbers that the log passes over: a part of it is gone */
	uint64_t suppressed, unwritten;
};

/* why_life.flags */
#define WHY_HEARD     (1u << 0) /* its birth is in the log */
#define WHY_EXECED    (1u << 1) /* an exec is */
#define WHY_DEAD      (1u << 2) /* its death is */
#define WHY_NAMED     (1u << 3) /* comm is known */
#define WHY_MATCH     (1u << 4) /* it is asked for */
#define WHY_INHERITED (1u << 5) /* it was born under the name that is asked for */
#define WHY_INDEXED   (1u << 6)
#define WHY_CUT       (1u << 7) /* it has more ancestors */
#define WHY_UID       (1u << 8)
#define WHY_ARGS      (1u << 9)
#define WHY_DOUBTED   (1u << 10) /* a younger process has its number */

/* One process. It lives on as long as a child, a death that is kept, or the index needs it. */
struct why_life {
	struct why_life *next;   /* of this pid's bucket */
	struct why_life *doubt;  /* the next that is doubted */
	struct why_life *parent; /* at its birth, as far as the log knows */
	uint64_t start;          /* 0: not known */
	uint64_t died;
	uint64_t gone;   /* doubted: another had its number by then */
	uint64_t cgroup; /* 0: not known */
	uint32_t refs, flags;
	uint32_t pid, uid;
	uint32_t run; /* the last in which it was heard of */
	uint32_t args_len;
	char comm[KNELL_COMM_LEN];
	char born_as[KNELL_COMM_LEN];
	char *path;               /* of the last exec; NULL: none was told */
	char *args;               /* each ends in a NUL */
	struct why_losses losses; /* of the log, up to its birth */
};

struct why_lives;

int why_lives_new(struct why_lives **ret);
struct why_lives *why_lives_free(struct why_lives *lives);

/*
 * The process of this identity: NULL, or one that is alive or died recently. Of an earlier `run` of
 * the same boot it is found, too, and from then on has this one's start.
 */
struct why_life *why_lives_find(struct why_lives *lives, uint32_t pid, uint64_t start,
				uint32_t run);

/* The one that had this number at that time; NULL. */
struct why_life *why_lives_at(struct why_lives *lives, uint32_t pid, uint64_t time);

/* One whose death is not told, although a younger one has its number; not one that is doubted. */
struct why_life *why_lives_superseded(struct why_lives *lives, uint32_t pid);

/* NULL: no memory. */
struct why_life *why_lives_add(struct why_lives *lives, uint32_t pid, uint64_t start, uint32_t run);

/* It is found for a while yet. */
void why_lives_died(struct why_lives *lives, struct why_life *life);
void why_lives_forget(struct why_lives *lives, struct why_life *life);

/* Each that can be found and is not dead; `fn` may not change the table. */
void why_lives_each(struct why_lives *lives, void (*fn)(struct why_life *life, void *userdata),
		    void *userdata);
void why_lives_forget_all(struct why_lives *lives);

/* Sets its parent, unless it has one. */
void why_life_set_parent(struct why_life *life, struct why_life *parent);
struct why_life *why_life_ref(struct why_life *life);
struct why_life *why_life_unref(struct why_life *life);

/* ---- why_losses.c ---- */

struct why_hole {
	uint64_t from, to;
	bool reboot;
};

struct why_account {
	struct why_losses sum, span; /* all; and in the time that is asked for */
	struct why_hole holes[WHY_HOLES];
	uint64_t hole_count; /* all of them: only the newest are kept */
	uint64_t *next;      /* for each ring: the number that comes next, plus 1; 0: any */
	uint32_t ring_count;
};

void why_losses_add(struct why_losses *to, const struct why_losses *more);
struct why_losses why_losses_since(const struct why_losses *now, const struct why_losses *before);
uint64_t why_losses_sum(const struct why_losses *losses);

enum why_order {
	WHY_IN_ORDER,
	WHY_JUMP,
	WHY_NEW_RUN
};

/*
 * The number of a record: does it follow? `restarted`: the first of another writer. A jump is in
 * *ret_missing. enum why_order, or -ENOMEM.
 */
int why_account_number(struct why_account *account, const struct knell_event *e, bool restarted,
		       uint64_t *ret_missing);
void why_account_restart(struct why_account *account, uint64_t from, uint64_t to, bool reboot);
void why_account_done(struct why_account *account);

/* The newest stop of the log between these times; NULL: none. */
const struct why_hole *why_account_hole(const struct why_account *account, uint64_t from,
					uint64_t to);

/* ---- why_find.c ---- */

enum why_fate {
	WHY_DIED,   /* `event` tells how */
	WHY_REUSED, /* another process has its number: it died unheard */
	WHY_REBOOT, /* the machine was started again */
	WHY_STOPPED /* the log ends before, and it does not live any more */
};

struct why_death {
	enum why_fate fate;
	uint64_t time;   /* of its death; else when that was certain */
	uint64_t heard;  /* if not heard: it lived then */
	uint64_t number; /* deaths in the order of the log */
	struct knell_event event;
	struct why_life *life, *sender;
	struct why_losses losses; /* while it lived */
};

/* Deaths of one class: the newest of them, and how many there were. */
struct why_ring {
	struct why_death *at;
	uint32_t size;
	uint64_t total;
	uint64_t last; /* time */
};

enum why_class {
	WHY_NOTABLE,  /* failed, was asked to end, or nobody knows */
	WHY_CLEAN,    /* exited 0 by itself */
	WHY_ONLY_BORN /* born under the name, it ran something else */
};
#define WHY_CLASSES 3

struct why_options {
	const char *target; /* what was asked for, as it was written */
	const char *name;   /* NULL: `pid` */
	uint32_t pid;
	uint64_t since, until;
	uint32_t newest;
	bool all, json;
};

struct why_living {
	uint32_t pid;
	uint64_t since; /* 0: not known */
	char comm[KNELL_COMM_LEN];
};

struct why {
	struct why_options options;
	struct why_lives *lives;
	struct why_account account;
	struct why_ring rings[WHY_CLASSES];

	struct why_life *doubted, **doubted_end; /* a list, oldest first */

	/* The log so far. */
	uint64_t begin, end;   /* times of the first and the last line; 0: none */
	uint64_t lines, bytes; /* whole ones */
	uint64_t damaged;
	uint64_t deaths; /* of all processes, in the time that is asked for */
	uint64_t number;
	uint32_t run;
	bool restart;            /* the next record is another writer's */
	uint64_t stopped, began; /* then the last writer ended, the next one began; 0: not told */
	char boot_id[40];
	bool memory; /* there was not enough */

	/* Known at the end: why_finish(). */
	bool this_boot; /* the log's end is of this boot of this machine */
	uint64_t booted;
	struct why_living alive[WHY_ALIVE]; /* now */
	uint64_t alive_count;
	uint64_t unsettled; /* alive when the log of another boot ends */
};

int why_open(struct why *why, const struct why_options *options);
void why_close(struct why *why);

/* A line of the log, without its end. 0 or -ENOMEM. */
int why_hear(struct why *why, const struct json_line *line);

/* After the last line: looks at what lives. `boot_id` and `booted` are this machine's. */
void why_finish(struct why *why, const char *boot_id, uint64_t booted);

/* The deaths to show: the newest of the first class that has any. Returns how many, newest last. */
uint32_t why_select(const struct why *why, const struct why_death **ret, enum why_class *ret_class);

/* Was that on this machine, since it was started? Then /proc and cgroups may be asked. */
bool why_is_here(const struct why *why, uint64_t time);

/* Has this process the name that is asked for, now? */
bool why_is_name(const struct why_options *options, const char *comm);
bool why_is_path(const struct why_options *options, const char *path);

/* ---- why_log.c ---- */

struct why_file {
	const char *name;
	int fd;
	bool owned; /* the name is malloc'ed */
};

struct why_files {
	struct why_file *at;
	uint32_t count;
};

/*
 * Opens the logs that are named, or WHY_LOG and its predecessors, oldest first. 0, -ENOENT: the
 * usual log is not there; another -errno after a complaint.
 */
int why_files_open(struct why_files *files, const char *const names[], uint32_t count);
void why_files_close(struct why_files *files);

/* Reads all of them. 0, or -errno after a complaint. */
int why_files_read(struct why_files *files, struct why *why);

/* The usual log, or what KNELL_AUDIT_LOG names in its place. */
const char *why_usual_log(void);

/* ---- why_alive.c ---- */

/* A process of this machine. */
struct why_process {
	uint32_t pid, ppid;
	uint64_t start;
	char comm[KNELL_COMM_LEN];
};

bool why_process_read(uint32_t pid, struct why_process *ret);

/* Is it alive, and is it this one? A start of 0 is any. */
bool why_process_is(uint32_t pid, uint64_t start, struct why_process *ret);

/* Adds those that live and match to why->alive. */
void why_find_alive(struct why *why);

/* ---- why_words.c ---- */

struct why_text {
	char s[1024];
};

struct why_text why_time(uint64_t time); /* 2026-11-20 10:11:12.345 */
struct why_text
why_command(const struct why_life *life); /* as a shell would take it; "": unknown */
struct why_text why_name(const struct why_life *life);
struct why_text why_how(const struct why_death *death); /* "killed by SIGKILL sent by ..." */
struct why_text why_losses_words(const struct why_losses *losses);

/* The name of a process, from the log or /proc. */
struct why_ancestor {
	uint32_t pid;
	uint64_t start;
	char comm[KNELL_COMM_LEN]; /* "": not known */
	bool dead;                 /* before its descendant */
};

/* From the process itself upwards. `ret_whole`: the last is the first process of all. */
#define WHY_ANCESTORS 64u
uint32_t why_ancestors(const struct why *why, const struct why_life *life, uint64_t died,
		       struct why_ancestor ret[WHY_ANCESTORS], bool *ret_whole);

/* ---- why_tell.c, why_json.c ---- */

/* Returns 0, or 1: nothing was found. */
int why_tell(const struct why *why, const char *searched, FILE *out);
int why_tell_json(const struct why *why, const char *searched, FILE *out);

/* What is not in the log about this death: at most `max` sentences. */
#define WHY_NOTES 6u
uint32_t why_notes(const struct why *why, const struct why_death *death,
		   struct why_text ret[WHY_NOTES]);

#endif
