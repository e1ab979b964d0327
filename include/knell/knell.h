/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * knell.h - libknell: hear when tasks are born, exec, change identity and die.
 *
 *   struct knell_engine *engine;
 *   struct knell_options options = { .size = sizeof(options) };
 *   knell_open(&engine, &options);
 *   knell_watcher_add(engine, KNELL_MASK(KNELL_EXIT), on_exit, NULL);
 *   pid = knell_fork(engine);             // the child and all its descendants are watched
 *   ... poll(2) knell_fd(engine) for POLLIN, call knell_dispatch(engine) ...
 *   engine = knell_close(engine);
 *
 * Errors are returned as -errno; ret_* pointers are untouched on failure; knell_close(NULL) is
 * allowed. The library never prints, never exits and never aborts its host. An engine belongs to
 * one thread at a time: calls on the same engine must not overlap, but for those that say so, and
 * unless it has reapers (see knell_reapers_start()). Different engines are independent of each
 * other.
 */
#ifndef KNELL_KNELL_H
#define KNELL_KNELL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <knell/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct knell_engine;

/* knell_options.flags */
#define KNELL_O_THREADS (1u << 0) /* thread-level records too */
#define KNELL_O_ARGS    (1u << 1) /* arguments in exec records */
#define KNELL_O_FREE    (1u << 2) /* free records (and final accounts) */
#define KNELL_O_IDS     (1u << 3) /* uid and gid records */
#define KNELL_O_STREAM  (1u << 4) /* every process of the system that the filter lets pass */

/* knell_filter.match: which of its fields count. None: everything passes. */
#define KNELL_MATCH_UID    (1u << 0)
#define KNELL_MATCH_CGROUP (1u << 1)
#define KNELL_MATCH_COMM   (1u << 2)

/*
 * Which processes a stream tells of: those that match in all that counts. A process that matches
 * once, at its birth, at an exec or when its name changes, is told of until it dies.
 */
struct knell_filter {
	uint32_t match;  /* KNELL_MATCH_* */
	uint32_t uid;    /* effective user id, as the initial user namespace numbers it */
	uint64_t cgroup; /* cgroup v2 id */
	char comm[KNELL_COMM_LEN];
};

/*
 * How to open an engine. Set `size` to sizeof(struct knell_options) and everything that you do not
 * care about to zero: zero always means the default. Bytes beyond what this library knows must be
 * zero, else -E2BIG.
 */
struct knell_options {
	size_t size;
	const char *source; /* "bpf", "kmod", ...; NULL or "auto": the best that works */
	uint32_t flags;     /* KNELL_O_* */
	uint32_t reserve;   /* descendants whose death is never lost: 32,768; at most 1,048,576 */
	uint32_t ring_size; /* bytes of each CPU's ring: 1 MiB, less where there are many CPUs */
	uint32_t batch_ms;  /* how long a stream may wait before it wakes you: 10; at most 1,000 */
	struct knell_filter filter; /* with KNELL_O_STREAM */
};

/*
 * Opens an engine. -ENOTSUP: the source (with "auto": every source) is refused here; ask
 * knell_probe() why. -EINVAL: no such source, or an option out of range. -ENOMEM, -EMFILE, ...: as
 * the system says. On failure an explanation is in knell_last_error().
 */
int knell_open(struct knell_engine **ret_engine, const struct knell_options *options);

/* Closes it: unhears everything, frees everything. Watched tasks go on. Returns NULL. */
struct knell_engine *knell_close(struct knell_engine *engine);

/* What went wrong in this thread's last failed call, and what to do about it; "" if nothing did. */
const char *knell_last_error(void);

/* The name of the source in use, e.g. "bpf". */
const char *knell_source(const struct knell_engine *engine);

/* What that source can do: KNELL_CAN_*, as knell_probe() has it, without trying anything. */
uint32_t knell_can(const struct knell_engine *engine);

/*
 * How the engine was opened, defaults filled in, `source` as knell_source() has it. The caller sets
 * `size`; what this library does not know of it becomes zero.
 */
void knell_get_options(const struct knell_engine *engine, struct knell_options *ret_options);

/* A descriptor that polls readable (POLLIN) when knell_dispatch() has something to do. */
int knell_fd(const struct knell_engine *engine);

/*
 * Delivers all that has happened to the watchers, in order. Never blocks. Returns how many records
 * were delivered, or -errno if the source broke (what was heard before has been delivered).
 */
int knell_dispatch(struct knell_engine *engine);

/*
 * Called for each record of the kinds in its mask, on the thread that calls knell_dispatch() or on
 * a reaper. The record is valid until it returns. A negative return is counted as an error of the
 * watcher; it changes nothing else: a watcher cannot veto. It must not call knell_close() or
 * knell_dispatch() on its own engine, and knell_fork() on a reaper only.
 */
typedef int (*knell_watcher_fn)(const struct knell_event *event, void *userdata);

/*
 * Adds a watcher, called after those that were added before. From any thread, also from inside a
 * callback. -ENOMEM, -EINVAL: empty mask. Those that one line attaches are in <knell/watcher.h>.
 */
int knell_watcher_add(struct knell_engine *engine, uint32_t mask, knell_watcher_fn fn,
		      void *userdata);

/*
 * Removes all watchers that were added with this function and this userdata. From any thread. Once
 * it has returned the function is not running and is not called again. Inside a callback (also of
 * the watcher itself) it cannot wait: then the function is not called again on this thread, and may
 * be finishing on others. -ENOENT: there is none. -ENOMEM: it is still there.
 */
int knell_watcher_remove(struct knell_engine *engine, knell_watcher_fn fn, void *userdata);

/*
 * fork(2), with the child and all its descendants watched from birth: the child does not run one
 * instruction of the caller's before the watch is set. Returns as fork(2) does, but -errno on
 * failure. The child must end in exec or _exit; it must not use the engine.
 */
pid_t knell_fork(struct knell_engine *engine);

/*
 * A child of this process, dead and reaped, or stopped (WUNTRACED) or continued (WCONTINUED): its
 * status as wait(2) has it.
 */
typedef void (*knell_reap_fn)(pid_t pid, int status, void *userdata);

/*
 * Reaps children of this process that are dead, orphans that it adopted included (see
 * PR_SET_CHILD_SUBREAPER), and reports those that stopped or continued. It takes all of them: only
 * for programs whose every child is Knell's. Never blocks. With some sources (ptrace) the engine
 * has to wait for its tasks itself; this call then reports what it found. Call it on SIGCHLD and
 * after knell_dispatch(). Returns how many were reported, or -ECHILD when no child is left.
 *
 * Children whose death a record has told are waited for by number: that costs the same however many
 * live. To look for others it needs a call that finds none of these dead, or 20 ms since the last
 * look. Where one is due knell_fd() becomes readable: nothing is missed by who calls it as above.
 */
int knell_reap(struct knell_engine *engine, knell_reap_fn fn, void *userdata);

/*
 * Reports each watched process that is alive now as a clone record with KNELL_F_RECONCILED, with
 * the name it has now. Dispatch first. Returns how many there are, or -errno.
 */
int knell_reconcile(struct knell_engine *engine);

/* ---- reapers: threads that dispatch, one for each CPU ---- */

/*
 * From now on the engine dispatches itself, on threads of its own, and knell_dispatch() returns
 * -EBUSY. With the source bpf there is a reaper for each CPU of the calling thread's affinity mask:
 * pinned there, every signal blocked, started when something happens on that CPU for the first
 * time, and following when CPUs come, go, or are taken from the process. A process has one home,
 * the CPU on which it was born (for one that lived before: where it was taken in), and one reaper
 * tells all that happens to it, in its order; only its birth may be told by another one, before
 * that of a child. No lock is shared between CPUs on the way from a death to its watchers.
 *
 * Callbacks are called on reapers, of different processes at the same time; verdicts that come from
 * a descriptor, and everything where the source has one stream for all CPUs (other sources, and bpf
 * with KNELL_O_IDS where the kernel allows no trampolines), on one more thread. A callback may
 * block: what else that reaper has to tell waits, and what is born meanwhile goes on to be queued,
 * first in slots (deaths are never lost), then as counted gaps; other reapers go on, but for one
 * that needs a birth told that a callback has just got. Callbacks must not call
 * knell_reapers_stop(), knell_close() or knell_reconcile() on their own engine.
 *
 * While it has reapers, watches may be set and cancelled, watchers added and removed, and
 * knell_fork() called by any thread at any time. knell_watch_cancel() returns when no verdict of
 * that watch is being told any more, unless it was called from inside a callback. But while
 * reapers are started or stopped no other thread may use the engine.
 *
 * -EALREADY: it has reapers. -EDEADLK: from inside a callback of the host's dispatch. -EAGAIN,
 * -EMFILE, -ENOMEM: as the system says.
 */
int knell_reapers_start(struct knell_engine *engine);

/*
 * Returns when no callback runs any more; from then on the host dispatches again, and hears first
 * what the reapers left. Nothing is lost. -EDEADLK: from inside a callback.
 */
int knell_reapers_stop(struct knell_engine *engine);

struct knell_reaper_stats {
	uint32_t cpu;   /* where it is pinned; UINT32_MAX: nowhere */
	uint32_t homes; /* CPUs whose events it tells */
	uint64_t wakeups;
	uint64_t rounds;     /* times that it drained one home */
	uint64_t slowest_ns; /* the longest of them, callbacks included */
};

/* Of the reaper number `index` (0, 1, ...). -ENOENT: there are not so many. */
int knell_reapers_get_stats(struct knell_engine *engine, unsigned int index,
			    struct knell_reaper_stats *ret_stats);

/* ---- watches: one task's death, or a subtree's lives ---- */

/* One interest in one task, or in several that share a name or a cgroup. */
struct knell_watch;

/* How a watched task ended. */
enum knell_verdict_kind {
	KNELL_EXITED = 1, /* its status is known */
	KNELL_GONE,       /* it is certain that it died; with what status is not known here */
	KNELL_ABSENT      /* it was not there when the watch was set */
};

struct knell_verdict {
	enum knell_verdict_kind kind;
	pid_t pid;                       /* 0: see below */
	uint64_t cookie;                 /* of the watch */
	const struct knell_event *event; /* exited: the exit record; else NULL. Valid in the call */
};

/*
 * Called once for each watched task, from knell_dispatch(), after the watchers have had the record.
 * It may cancel this or any other watch, and set new ones; it must not call knell_close() or
 * knell_dispatch() on its own engine.
 */
typedef void (*knell_verdict_fn)(struct knell_watch *watch, const struct knell_verdict *verdict,
				 void *userdata);

/* knell_watch_options.flags */
#define KNELL_W_SUBTREE (1u << 0) /* its descendants, too: their records go to the watchers */
#define KNELL_W_FUTURE                                                                             \
	(1u << 1) /* name, cgroup: those that are born later, too; until cancelled                 \
		   */

/* knell_watch_options.moment: see "moments of death" in knell-sources(7) for who can tell which. */
enum knell_moment_of_death {
	KNELL_AT_ANY,  /* the first that the source tells */
	KNELL_AT_EXIT, /* last look: files are open, memory may be mapped */
	KNELL_AT_DEAD, /* memory and files are gone, the status is final */
	KNELL_AT_FREE  /* the kernel released the task */
};

struct knell_watch_options {
	size_t size;     /* sizeof(struct knell_watch_options); zero elsewhere means the default */
	uint32_t flags;  /* KNELL_W_* */
	uint32_t moment; /* enum knell_moment_of_death */
	uint64_t cookie; /* comes back in the verdict, and in the records of a subtree */
	knell_verdict_fn fn;
	void *userdata;
};

/*
 * Sets a watch. Each watched task gets exactly one verdict, also if it is dying or dead when the
 * watch is set, and never that of another task that uses its pid later. The verdict comes from
 * knell_dispatch(), never from inside these calls. ret_watch may be NULL: then the watch is
 * forgotten after its (last) verdict; else it is yours until knell_watch_cancel() or knell_close().
 *
 * A watch uses a descriptor for each task until its verdict. Where the source does not tell a
 * death, the pidfd does, when the process is dead, in a record that knows task, time and status
 * only. It has the status of this process's own children (before Linux 6.15 only until somebody
 * waits for them: knell_reap() looks first), and from 6.15 that of everybody who is reaped within
 * 100 ms. Else the verdict is gone.
 *
 * -EINVAL: no function, an unknown flag, a pid below 1, a pidfd that is none. -ENOTSUP: this source
 * cannot do it (subtree, moment, future): knell_last_error() says which can. -ENOENT: no such
 * cgroup. -EPERM. -ENOSPC: the reserve is used up. -EMFILE, -ENOMEM. After an error nobody is
 * watched, not even some of many.
 *
 * By pidfd (the caller keeps it) or pid: one process. A pid that does not exist: verdict absent; a
 * thread's tid that is no process: -EINVAL.
 * By name (comm, at most 15 bytes) or cgroup (an absolute path below the cgroup v2 mount, as in
 * /proc/PID/cgroup; those below it are others): each process that has it now, but neither
 * zombies nor the caller, and with KNELL_W_FUTURE each that gets it, as birth and exec records tell
 * it; one that has the name only from its parent is let go if it gets another one at exec. None now
 * and no future: one verdict absent.
 * The verdict has its pid; 0 by fd, absent by name or cgroup, if it has none in our pid namespace,
 * or by a pidfd of a process that was waited for before the watch was set: by then no pidfd knows
 * it. By fd: any descriptor whose hang-up or end means the death that you wait for, as a connected
 * Unix socket to a peer, or a pipe: verdict gone. Nothing is read from it. Not a datagram socket.
 * At KNELL_AT_ANY only. The caller keeps it open until the verdict or the cancel.
 */
int knell_watch_pidfd(struct knell_engine *engine, struct knell_watch **ret_watch, int pidfd,
		      const struct knell_watch_options *options);
int knell_watch_pid(struct knell_engine *engine, struct knell_watch **ret_watch, pid_t pid,
		    const struct knell_watch_options *options);
int knell_watch_name(struct knell_engine *engine, struct knell_watch **ret_watch, const char *comm,
		     const struct knell_watch_options *options);
int knell_watch_cgroup(struct knell_engine *engine, struct knell_watch **ret_watch,
		       const char *path, const struct knell_watch_options *options);
int knell_watch_fd(struct knell_engine *engine, struct knell_watch **ret_watch, int fd,
		   const struct knell_watch_options *options);

/* Ends a watch: no verdict comes from it any more. Also from inside a callback. Returns NULL. */
struct knell_watch *knell_watch_cancel(struct knell_watch *watch);

/* Counters since the engine was opened. */
struct knell_stats {
	uint64_t records;     /* delivered to watchers, gaps not counted */
	uint64_t lost_births; /* the sums of all gaps delivered */
	uint64_t lost_deaths;
	uint64_t lost_others;
	uint64_t watcher_errors;  /* negative returns of watchers */
	uint64_t wakeups;         /* times that the source woke us for an event */
	uint64_t reserve_used;    /* most slots in use at once */
	uint64_t reaped_directed; /* children that knell_reap() waited for by number at once */
	uint64_t reaped_peeked;   /* ... whose death no record had told: it looked for them */
	uint64_t reaped_swept;    /* ... of which there were many: from the list of all children */
	uint64_t reaped_any;      /* ... by a wait for any child: the kernel has no such list */
};
void knell_get_stats(const struct knell_engine *engine, struct knell_stats *ret_stats);

/* What a source can do: knell_probe.can. */
#define KNELL_CAN_FORK    (1u << 0)  /* watch a subtree from its birth: knell_fork() */
#define KNELL_CAN_WATCH   (1u << 1)  /* tell the exit of a process that somebody else started */
#define KNELL_CAN_SUBTREE (1u << 2)  /* ... and its descendants' lives */
#define KNELL_CAN_STREAM  (1u << 3)  /* every process of the system */
#define KNELL_CAN_EXIT    (1u << 4)  /* moments of death: before it is dead */
#define KNELL_CAN_FREE    (1u << 5)  /* ... after it is released */
#define KNELL_CAN_STATUS  (1u << 6)  /* the status of every death that it tells */
#define KNELL_CAN_CAUSE   (1u << 7)  /* who sent the signal that killed */
#define KNELL_CAN_IDS     (1u << 8)  /* uid and gid records */
#define KNELL_CAN_THREADS (1u << 9)  /* thread-level records */
#define KNELL_CAN_FILE    (1u << 10) /* exec: the file name */
#define KNELL_CAN_ARGS    (1u << 11) /* exec: the arguments */
#define KNELL_CAN_COMM    (1u << 12) /* the name at every moment */
#define KNELL_CAN_USAGE   (1u << 13) /* what a process used */
#define KNELL_CAN_CGROUP  (1u << 14)
#define KNELL_CAN_OWNER   (1u << 15) /* uid and gid of every record */

/* What a source needs and whether it works here: for "doctor" commands and error messages. */
struct knell_probe {
	const char *name;    /* "bpf" */
	const char *summary; /* one line: what it hears */
	uint32_t can;        /* KNELL_CAN_* */
	int error;           /* 0: works here; else -errno */
	char reason[256];    /* why not */
	char remedy[256];    /* what to do about it */
};

/*
 * Probes the source number `index` (0, 1, ... in the order in which "auto" tries them) by using it
 * for a moment. Returns 0, or -ENOENT when there is no such number.
 */
#if defined(__cplusplus) && defined(__GNUC__)
/* As stat(2): the structure has that name, too, and to C++ its constructor. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
int knell_probe(unsigned int index, struct knell_probe *ret_probe);
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* The boot id that goes with every task identity of this boot, 36 characters and a NUL. */
int knell_boot_id(char ret_id[37]);

/* The file name of an exec record; "" if unknown. */
static inline const char *knell_exec_file(const struct knell_event *event)
{
	const void *text = &event->u.exec + 1;

#ifdef __cplusplus
	return static_cast<const char *>(text);
#else
	return (const char *)text;
#endif
}

/* The first of the arguments of an exec record: args_len bytes, each argument ends in a NUL. */
static inline const char *knell_exec_args(const struct knell_event *event)
{
	return knell_exec_file(event) + event->u.exec.file_len + 1;
}

/* Names, as they appear in JSON and in reports: "exit", "oom", ...; "?" for a number without one.
 */
const char *knell_kind_name(unsigned int kind);
const char *knell_reason_name(unsigned int reason);

#ifdef __cplusplus
}
#endif

#endif
