/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace.h - what the files of the ptrace source share. ptrace.c is the side of the engine's
 * thread; everything else runs on the tracer thread, because ptrace(2) belongs to a thread:
 * ptrace_tracer.c waits and tells stops apart, ptrace_table.c knows who is alive, ptrace_life.c
 * turns births and deaths into records, ptrace_exec.c reads what only the stopped task knows,
 * ptrace_signal.c remembers who sent what, ptrace_record.c fills the queue between the two sides,
 * ptrace_proc.c asks /proc about tasks that cannot go away.
 */
#ifndef KNELL_SOURCE_PTRACE_H
#define KNELL_SOURCE_PTRACE_H

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "queue.h"
#include "source.h"

/* Waits for this thread's children and tracees only: other threads' children are not ours. */
#define PT_WAIT (__WALL | __WNOTHREAD)

/* Tasks that there was no memory for, so that their deaths can be counted. */
#define PT_BLIND_MAX 1024
/* Dead processes whose names are kept, for the signals that they sent. */
#define PT_GRAVES 128

/* The last signal of each number that a process received: who sent it is asked when it dies. */
struct pt_signal {
	struct pt_signal *next;
	struct knell_signal signal;
};

struct pt_task {
	pid_t tid;
	bool started;   /* its first stop is over */
	bool early;     /* its first stop came, and was looked up, before the parent's event */
	bool listening; /* in a group stop */
	uint64_t start;
	struct pt_process *process;
	struct pt_task *next_thread; /* of the process, but for the leader */
	struct pt_task **to_this;
};

/* Whose child a process is, as far as births tell. */
enum pt_parent {
	PT_PARENT_TRACEE, /* process->parent, until that dies */
	PT_PARENT_SELF,   /* ours */
	PT_PARENT_LOOKUP  /* only /proc knows */
};

struct pt_process {
	unsigned int references; /* itself while it lives, and one for each child */
	bool dead;
	bool root;
	bool told_stop;    /* its group stop was reported to knell_reap() */
	bool has_buried;   /* a child was waited for: rusage is no longer its own */
	bool lost_signals; /* no memory to remember one */
	bool asked_pid_ns; /* the next two are known: they cannot change */
	bool same_pid_ns;
	pid_t inner_tgid; /* its number in its own pid namespace */
	enum pt_parent parent_kind;
	struct pt_process *parent;
	uint64_t buried_maxrss; /* bytes, the most of any dead child */
	unsigned int listening;
	struct pt_task *threads; /* all but the leader */
	struct pt_signal *signals;
	struct knell_signal last_term;
	char comm[KNELL_COMM_LEN];
	struct pt_task leader;
};

/* Open addressing by tid; each entry is a task, a process its leader's. */
struct pt_table {
	struct pt_task **slots;
	size_t capacity; /* a power of two */
	size_t used;
};

/* A newcomer that nobody has named yet. */
struct pt_held {
	pid_t tid;
	uint64_t since;
};

/* A dead process's name. */
struct pt_grave {
	pid_t tgid;
	pid_t ppid;
	char comm[KNELL_COMM_LEN];
	char pcomm[KNELL_COMM_LEN];
};

/* See ptrace_tracer.c. */
struct pt_bell {
	pid_t pid;
	int event;
	void *stack;
};

struct pt_request {
	pid_t pid;
	char comm[KNELL_COMM_LEN];
	int result;
	bool done;
};

struct pt_source {
	struct knell_source base;
	uint32_t flags;
	uint64_t batch; /* ns */
	int timer;      /* polls readable when records wait */

	/* Between the two sides, without the lock. */
	struct knell_queue queue;
	size_t queued;       /* bytes of records in the queue or being delivered */
	unsigned int armed;  /* enum pt_armed */
	uint64_t dispatched; /* when the queue was last emptied */
	unsigned int alive;  /* processes */
	bool adopted;        /* there may be zombies that are ours, and that nobody traces */

	/* Between the two sides, under the lock; so is everything below it. */
	pthread_mutex_t lock;
	pthread_cond_t tracer_wakes; /* room in the queue, a request, or the end */
	pthread_cond_t caller_wakes; /* a request is done, the thread is up */
	bool up;
	bool stop;
	int up_error;
	bool no_room; /* the tracer waits for room */
	struct pt_request *request;
	struct knell_gap gap;
	unsigned int most_alive;
	struct pt_table table;

	/* The tracer's alone. */
	pthread_t thread;
	struct pt_bell bell;
	pid_t self;
	uint64_t self_start;
	bool proc_works;
	struct pt_held *held; /* newcomers in their first stop, the oldest first */
	size_t held_count;
	size_t held_room;
	unsigned int root_looks; /* at a dead root that waits for those that die with it */
	bool unsure;             /* an event may name a child that is dead already */
	pid_t blind[PT_BLIND_MAX];
	unsigned int blind_count;
	struct pt_grave graves[PT_GRAVES];
	unsigned int next_grave;
	unsigned int since_sweep;
	union {
		struct knell_event event;
		char bytes[KNELL_EVENT_MAX];
	} scratch; /* the record that is being made */

	/* The engine's thread's alone. */
	struct knell_queue reaped;
	uint64_t wakeups;
};

enum pt_armed {
	PT_UNARMED,
	PT_ARMED_BATCH,
	PT_ARMED_NOW
};

/* What the queue carries. */
enum pt_item_kind {
	PT_EVENT,
	PT_REAP
};

struct pt_item {
	struct knell_queue_node node; /* first: a node is its item */
	enum pt_item_kind kind;
	pid_t pid;
	int status;
	uint32_t bytes; /* of this item */
	struct knell_event event;
};

/* ptrace_tracer.c */
void *knell_pt_tracer(void *arg);
int knell_pt_bell_open(struct pt_bell *bell);
void knell_pt_bell_close(struct pt_bell *bell);
void knell_pt_bell_ring(const struct pt_bell *bell);
void knell_pt_resume(pid_t tid, int signo);
bool knell_pt_take_stop(pid_t tid);

/* ptrace_table.c */
int knell_pt_table_open(struct pt_table *table);
void knell_pt_table_close(struct pt_table *table);
struct pt_task *knell_pt_find(const struct pt_table *table, pid_t tid);
struct pt_process *knell_pt_find_process(const struct pt_table *table, pid_t tgid);
struct pt_process *knell_pt_add_process(struct pt_table *table, pid_t tgid, uint64_t start);
struct pt_task *knell_pt_add_thread(struct pt_table *table, struct pt_process *process, pid_t tid,
				    uint64_t start);
void knell_pt_set_parent(struct pt_process *process, enum pt_parent kind,
			 struct pt_process *parent);
void knell_pt_remove_thread(struct pt_table *table, struct pt_task *task);
void knell_pt_remove_process(struct pt_table *table, struct pt_process *process);
bool knell_pt_single(const struct pt_process *process);

/* ptrace_life.c */
int knell_pt_root(struct pt_source *source, const struct pt_request *request);
void knell_pt_born(struct pt_source *source, pid_t parent_tid, unsigned int event);
void knell_pt_hold(struct pt_source *source, pid_t tid);
void knell_pt_release_old(struct pt_source *source);
bool knell_pt_drop_stale(struct pt_source *source, struct pt_task *task);
void knell_pt_died(struct pt_source *source, pid_t tid, const siginfo_t *info);
void knell_pt_fill_parent(struct pt_source *source, const struct pt_process *process,
			  struct knell_event *event);

/* ptrace_exec.c */
bool knell_pt_clone_flags(pid_t tid, unsigned int event, uint64_t *ret_flags,
			  uint32_t *ret_exit_signal);
void knell_pt_execed(struct pt_source *source, pid_t tid);

/* ptrace_signal.c */
void knell_pt_signalled(struct pt_source *source, const struct pt_task *task, pid_t tid, int signo);
void knell_pt_fill_cause(const struct pt_process *process, struct knell_event *event);
void knell_pt_bury(struct pt_source *source, const struct pt_process *process);

/* ptrace_record.c */
struct knell_event *knell_pt_begin(struct pt_source *source, enum knell_kind kind,
				   enum knell_scope scope, const struct pt_task *task);
void knell_pt_fill_comm(const struct pt_process *process, struct knell_event *event);
void knell_pt_commit(struct pt_source *source);
void knell_pt_commit_now(struct pt_source *source);
void knell_pt_push_reap(struct pt_source *source, pid_t pid, int status, bool now);
void knell_pt_wake(struct pt_source *source, bool now);
void knell_pt_wait_for_room(struct pt_source *source);

/* ptrace_proc.c */
struct pt_status {
	pid_t tgid;
	pid_t ppid; /* the real parent's process */
	pid_t tracer;
	bool zombie;
	bool continuing;  /* SIGCONT is on its way to it */
	bool same_pid_ns; /* its numbers are ours */
	pid_t inner_tgid; /* its number in its own pid namespace */
};
bool knell_pt_proc_status(const struct pt_source *source, pid_t tid, struct pt_status *ret);
bool knell_pt_proc_start(pid_t pid, uint64_t *ret_start);
int knell_pt_proc_children(const struct pt_source *source, pid_t **ret_pids);
bool knell_pt_proc_comm(pid_t pid, char ret_comm[KNELL_COMM_LEN]);
void knell_pt_learn_name(const struct pt_source *source, struct pt_process *process, pid_t tid,
			 char ret_comm[KNELL_COMM_LEN]);
bool knell_pt_proc_same_user_ns(pid_t tid);
void knell_pt_explain(int error, struct knell_probe *probe);

#endif
