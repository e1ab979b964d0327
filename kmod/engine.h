/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * engine.h - what the files of the module share: watches, roots, sessions, and who owns them.
 *
 * Owns nothing. A root is one request to watch; it owns the watch of its process and the reserve of
 * watches for others: descendants, or everybody. A watch stands for one process of one root.
 * References: a watch counts its root, a root its session; the hash table, a reaper's list, a
 * session's queue and a child that is not told of yet each count a watch. What is freed waits for
 * RCU's readers first.
 *
 * Locks, outermost first: session->reading and ->setting (mutexes), session->lock, root->lock, a
 * bucket's lock; session->stream_lock and the lock of wide_roots inside of any. The raw ones are
 * taken in probes, the others never.
 */
#ifndef KNELL_ENGINE_H
#define KNELL_ENGINE_H

#include <linux/atomic.h>
#include <linux/hashtable.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <knell/event.h>
#include <knell/kmod.h>

struct knell_session;
struct knell_root;
struct knell_joined;

/* knell_watch.claimed: bits; whoever sets one first tells of that moment. */
enum knell_claim {
	KNELL_CLAIM_EXIT,
	KNELL_CLAIM_DEAD,
	KNELL_CLAIM_FREE
};

/* knell_watch.pending: a mask; whoever sets the first bit puts the watch on its CPU's list. */
enum knell_pending {
	KNELL_PENDING_BIRTH = 1,
	KNELL_PENDING_LINES = 2, /* the session's stream has lines */
	KNELL_PENDING_EXIT = 4,
	KNELL_PENDING_FREE = 8,
	KNELL_PENDING_GAP = 16
};

/* So many ticks at most fork(2) is waited for, until it is done with a process. */
#define KNELL_PATIENCE 25

/* How a watch comes into the table: a mask. */
enum knell_settle {
	KNELL_SETTLE_FOUND = 1,  /* its process was there before */
	KNELL_SETTLE_INHERIT = 2 /* its descendants are taken in, whoever made it */
};

/* What waits in a session's queue for its reader. */
enum knell_item_kind {
	KNELL_ITEM_INIT, /* these five are in the watch itself ... */
	KNELL_ITEM_CLONE,
	KNELL_ITEM_EXIT,
	KNELL_ITEM_LIVING,
	KNELL_ITEM_FREE,
	KNELL_ITEMS_OF_WATCH,
	KNELL_ITEM_LINE, /* ... this one in a line of the stream, */
	KNELL_ITEM_GAP   /* and this one in the session */
};

struct knell_item {
	struct list_head link;
	enum knell_item_kind kind;
};

/* How the process was at some moment. */
struct knell_moment {
	u64 time;
	u64 cgroup;
	u64 parent_start;
	struct pid *parent; /* counted; NULL: none */
	u32 cpu;
	u32 uid;
	u32 gid;
	char comm[KNELL_COMM_LEN];
};

/* Signals that a process got: the last of each kind is kept for its death. */
enum knell_note_kind {
	KNELL_NOTE_KILL,
	KNELL_NOTE_TERM,  /* TERM, INT, HUP */
	KNELL_NOTE_OTHER, /* what ends a process by default, and faults */
	KNELL_NOTES
};

struct knell_death {
	struct knell_moment at;
	s32 status;
	u32 unknown;
	u8 reason;                /* what the process itself shows; KNELL_R_NONE: nothing */
	struct knell_usage usage; /* times by ticks */
	u64 runtime;              /* their sum, exactly */
};

struct knell_watch {
	/* What a probe looks at, of each watch in a bucket. */
	struct hlist_node hash;
	struct signal_struct *signal; /* the key; not counted: only compared */
	struct pid *pid;              /* counted, so it cannot be another process's */
	unsigned long claimed;
	struct knell_root *root; /* counted */

	atomic_t pending;
	struct llist_node news; /* on a reaper's list while pending is not 0 */
	refcount_t refs;
	bool hashed; /* in the table and among root->members: root->lock */

	bool found;         /* it lived already when it was taken in, ... */
	bool late;          /* ... or was dead: when it died is not known */
	bool older_signals; /* it may have got some before it had this watch */

	/* Written under root->lock, and by a joiner later. */
	u64 cookie;
	bool inherit; /* its children are taken in */
	bool top;     /* someone asked for this very process */

	/* Under session->lock. */
	bool birth_told;
	bool exit_told;
	bool given_up;               /* its free is not waited for */
	struct knell_watch *creator; /* counted, until the birth is told */
	struct knell_watch *later;   /* next to tell of, while a line of creators is told */
	struct knell_item items[KNELL_ITEMS_OF_WATCH];

	struct list_head member; /* root->members, ->dead or ->reserve: root->lock */
	bool dead;               /* on root->dead */
	bool ran;                /* it ran exec: by the process itself */
	u64 start;
	struct knell_signal notes[KNELL_NOTES]; /* signo 0: none; under the process's siglock */
	u64 peak_before; /* pages: the peak of memory before it ran this program */
	struct knell_moment birth;
	struct knell_clone clone;
	struct knell_death death; /* written by who claimed the exit, before it is pending */
	u64 freed;                /* likewise, the free */
	u32 freed_cpu;
	struct knell_usage final;
	u64 final_runtime;
	struct rcu_head rcu;
};

/* Whom a root of everybody's takes in: KNELL_KMOD_MATCH_*. */
struct knell_match {
	u32 match;
	u32 uid;
	u64 cgroup;
	char comm[KNELL_COMM_LEN];
};

/* A thread whose next process joins. */
struct knell_armed {
	struct task_struct *task; /* only compared; NULL: none. It takes it back when it exits */
	u64 cookie;
	struct knell_watch *watch; /* of the reserve */
};

struct knell_root {
	refcount_t refs;
	struct knell_session
		*session; /* counted; NULL: the watch is a module's, see task_watch.c */
	u64 cookie;
	u32 mask;
	u32 flags;
	u32 places;                  /* watches that it holds: itself and its reserve */
	struct hlist_node by_cookie; /* session->roots: session->lock */
	bool ended;                  /* written under session->lock and root->lock */
	bool purge;                  /* what is unread of it is dropped: session->lock */
	bool inherits;               /* of everybody's: whoever joined is followed, too */

	raw_spinlock_t lock;
	struct list_head members;
	struct list_head dead; /* told so, and kept until they are freed; the oldest first */
	u32 dead_count;
	struct list_head reserve;
	u32 used, peak; /* of the reserve, now and at most */
	struct knell_armed armed;
	struct knell_match match;
	struct knell_watch *block; /* the reserve's memory */
	atomic_t alive;            /* processes of it that live, beyond the reserve, too, ... */
				   /* ... and who sets it; all, group: and one for ever */

	/* Those beyond the reserve: a bit for each process number. */
	unsigned long *beyond;
	struct list_head wide_link; /* knell_wide_roots; RCU */

	struct rcu_work free;
	struct knell_watch self;
};

#define KNELL_LINE_NAME  256u
#define KNELL_RECORD_MAX ALIGN(sizeof(struct knell_event) + KNELL_LINE_NAME, 8)

/* An event that the session's bounded stream holds: exec, uid, gid. */
struct knell_line {
	struct knell_item item;    /* stream_free, stream, or ready */
	struct knell_watch *watch; /* counted while it is in stream or ready */
	u8 kind;
	struct knell_moment at;
	union {
		struct knell_ids ids;
		struct {
			pid_t old_pid; /* the kernel's number */
			u32 name_len;
			bool cut;
			char name[KNELL_LINE_NAME];
		} exec;
	};
};

struct knell_session {
	refcount_t refs;
	struct mutex setting;        /* WATCH, one at a time */
	struct mutex reading;        /* read(2), calling watchers, UNWATCH, close, one at a time */
	struct knell_joined *joined; /* whose watchers are called; NULL: it is a device's */
	struct work_struct calls;    /* calls them; counts the session while it is queued */
	bool leaving;                /* they are not called any more */
	u64 seq;                     /* under reading */
	char *scratch;               /* where a record is put together: under reading */
	unsigned int armed;          /* hooks that it holds: under setting */
	atomic_t places;             /* watches that its roots hold */
	struct pid_namespace *ns;    /* of who opened it, counted: senders' numbers are its */
	atomic_t wide;               /* roots that may concern processes without a watch */

	spinlock_t lock;
	bool closed;
	struct list_head ready;
	struct knell_item gap;
	DECLARE_HASHTABLE(roots, 8);
	wait_queue_head_t wait;

	raw_spinlock_t stream_lock;
	struct list_head stream;
	struct list_head stream_free;
	struct knell_line *lines;

	/* Lost, and not told yet. */
	atomic64_t lost_births;
	atomic64_t lost_deaths;
	atomic64_t lost_others;
};

/* hooks.c */
enum knell_hook {
	KNELL_HOOK_NEWTASK,
	KNELL_HOOK_EXEC,
	KNELL_HOOK_EXIT,
	KNELL_HOOK_FREE,
	KNELL_HOOK_DEAD,
	KNELL_HOOK_IDS,
	KNELL_HOOK_RENAME,
	KNELL_HOOK_SIGNAL,
	KNELL_HOOKS
};
int knell_hooks_find(void);
int knell_hooks_arm(unsigned int wanted, unsigned int *armed);
void knell_hooks_disarm(unsigned int *armed);
u64 knell_hooks_missed(void);

/* task.c */
void knell_moment_take(struct knell_moment *moment, struct task_struct *task);
void knell_moment_drop(struct knell_moment *moment);
bool knell_group_is_dead(struct task_struct *task);
void knell_death_take(struct knell_death *death, struct task_struct *task);
void knell_death_copy(struct knell_death *death, const struct knell_death *from);
void knell_death_take_late(struct knell_death *death, struct task_struct *leader);
void knell_usage_final(struct knell_usage *usage, u64 *ret_runtime,
		       const struct signal_struct *signal);
void knell_usage_split(struct knell_usage *usage, u64 runtime);

/* watch.c */
extern struct hlist_head *knell_buckets;
extern unsigned int knell_hash_bits;

/* root.c */
extern atomic_t knell_wide;
extern struct list_head knell_wide_roots;

/* Has it no process of its own? Then it lasts until it is ended, and others join it. */
static inline bool knell_root_is_wide(const struct knell_root *root)
{
	return root->flags & (KNELL_KMOD_ALL | KNELL_KMOD_GROUP);
}

/* Are the dead kept in mind until they are freed, for who joins late? Nobody joins a table's. */
static inline bool knell_root_keeps_dead(const struct knell_root *root)
{
	return knell_root_is_wide(root) && !root->session->joined;
}

static inline bool knell_root_waits_for_free(const struct knell_root *root)
{
	return knell_root_keeps_dead(root) || root->mask & KNELL_MASK(KNELL_FREE);
}

/* Does a reaper queue a call to a module when it is delivered? */
static inline bool knell_watch_calls(const struct knell_watch *watch)
{
	return !watch->root->session || watch->root->session->joined;
}

static inline struct hlist_head *knell_bucket(const struct signal_struct *signal)
{
	return &knell_buckets[hash_ptr(signal, knell_hash_bits)];
}

/* Might a process with this signal_struct be watched, or be beyond a reserve, or is everybody? */
static inline bool knell_may_watch(const struct signal_struct *signal)
{
	return READ_ONCE(knell_bucket(signal)->first) || atomic_read(&knell_wide);
}

/* Each watch of the process that has this signal_struct now. */
#define for_each_watch(watch, signal_)                                                             \
	hlist_for_each_entry_rcu (watch, knell_bucket(signal_), hash)                              \
		if (watch->signal == (signal_) && watch->pid == knell_tgid_of(signal_))

/* watch.c: the table */
int knell_table_init(void);
void knell_table_exit(void);
void knell_watch_init(struct knell_watch *watch, struct knell_root *root,
		      struct task_struct *leader, struct pid *pid);
void knell_watch_hash(struct knell_watch *watch);
void knell_watch_unhash(struct knell_watch *watch);
void knell_watch_put(struct knell_watch *watch);
struct knell_watch *knell_watch_of(const struct knell_root *root,
				   const struct signal_struct *signal);

/* root.c */
int knell_roots_start(void);
void knell_roots_stop(void);
u64 knell_places(void);
void knell_root_init(struct knell_root *root, u32 flags, u32 mask, u32 wanted);
int knell_root_new(struct knell_root **ret_root, struct knell_session *session,
		   const struct knell_kmod_watch *request);
void knell_root_put(struct knell_root *root);
struct knell_watch *knell_reserve_take(struct knell_root *root);
int knell_root_begin(struct knell_root *root, struct task_struct *leader, struct pid *pid);
void knell_root_begin_wide(struct knell_root *root);
void knell_root_end(struct knell_root *root);

/* Probes call knell_on_*(), in an RCU section and with preemption off. */

/* birth.c */
u32 knell_exit_signal_of(const struct task_struct *task);
int knell_root_arm(struct knell_root *root, bool on, u64 cookie);
void knell_root_disarm(struct knell_root *root);
void knell_disarm_current(void); /* in a probe */
bool knell_passes_on(const struct knell_root *root, pid_t nr);
bool knell_root_has(const struct knell_root *root, const struct signal_struct *signal,
		    struct pid *pid);
struct knell_watch *knell_watch_settle(struct knell_root *root, struct knell_watch *creator,
				       struct task_struct *task, struct pid *pid, unsigned int how,
				       unsigned long clone_flags);
void knell_on_birth(struct task_struct *child, unsigned long clone_flags);

/* death.c: the first four in an RCU section */
void knell_watch_check(struct knell_watch *watch, struct task_struct *task, unsigned int pending);
bool knell_death_claim(struct knell_watch *watch);
unsigned int knell_death_tell(struct knell_watch *watch);
void knell_died_beyond(struct knell_root *root, pid_t nr);
void knell_on_exit(struct task_struct *task);
void knell_on_dead(struct task_struct *task);
void knell_on_free(struct task_struct *task);

/* change.c */
void knell_on_exec(struct task_struct *task, pid_t old_pid, const char *name);
void knell_on_ids(struct task_struct *task, const struct cred *new, const struct cred *old);

/* living.c: the first two in probes, too. */
bool knell_root_wants(const struct knell_root *root, struct task_struct *task, const char *comm);
void knell_follow(struct task_struct *task, const char *comm);
void knell_root_take_in(struct knell_root *root);
int knell_root_join(struct knell_root *root, struct pid *pid,
		    const struct knell_kmod_watch *request, bool patient);
bool knell_root_dead(struct knell_watch *watch);
struct knell_watch *knell_root_oldest_dead(struct knell_root *root);
void knell_session_living(struct knell_session *session);

/* signal.c */
void knell_on_signal(struct task_struct *target, int signo, const struct kernel_siginfo *info);
u8 knell_cause_of(struct task_struct *task);
void knell_fill_cause(struct knell_event *event, const struct knell_watch *watch,
		      struct pid_namespace *ns);

/* reap.c */
int knell_reapers_start(void);
void knell_reapers_stop(void);
void knell_reap_queue(struct knell_watch *watch, unsigned int pending);
void knell_reap_all(void);
void knell_reap_stats(struct knell_kmod_stats *stats);

/* deliver.c: from a reaper to a session's queue, and the stream. */
void knell_deliver(struct knell_watch *watch, unsigned int pending);
struct knell_line *knell_line_take(struct knell_watch *watch, u8 kind);
void knell_line_push(struct knell_line *line);
void knell_line_put(struct knell_session *session, struct knell_line *line);
bool knell_lost_any(const struct knell_session *session);
bool knell_root_detach(struct knell_root *root);
void knell_root_set(struct knell_root *root);
bool knell_tell_living(struct knell_watch *watch);
bool knell_exit_was_read(struct knell_watch *watch);
void knell_ready_purge(struct knell_session *session);
struct knell_watch *knell_item_watch(struct knell_item *item);

/* record.c */
u32 knell_record_make(char *buffer, struct knell_item *item, struct knell_session *session,
		      struct pid_namespace *ns);

void knell_record_exit(struct knell_event *event, const struct knell_watch *watch);

/* task_watch.c */
void knell_task_watch_deliver(struct knell_watch *self, unsigned int pending);
void knell_task_watch_free(struct knell_root *root);
void knell_task_watches_stop(void);

/* table.c */
void knell_table_deliver(struct knell_session *session);

/* call.c */
int knell_calls_start(void);
void knell_calls_stop(void);
void knell_call_function(struct work_struct *call);
bool knell_call_watchers(struct work_struct *calls);

/* session.c */
int knell_session_new(struct knell_session **ret_session);
void knell_session_put(struct knell_session *session);
void knell_session_end(struct knell_session *session);
void knell_session_close(struct knell_session *session);
void knell_places_give(struct knell_session *session, u32 places, u32 flags);
int knell_session_watch(struct knell_session *session, const struct knell_kmod_watch *request,
			struct task_struct *leader, struct pid *pid);
void knell_session_consumed(struct knell_session *session, struct knell_item *item,
			    const struct knell_event *event);
int knell_device_init(void);
void knell_device_exit(void);

#endif
