/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * spawn.h - children that nobody has to wait for.
 *
 *   struct knell_nursery *nursery;
 *   struct knell_spawn_options child = { .size = sizeof(child), .argv = argv, .fn = on_death };
 *   knell_nursery_open(&nursery, NULL);
 *   r = knell_spawn(nursery, &pid, &child);  // from any thread
 *   ...
 *   nursery = knell_nursery_close(nursery);
 *
 * The children are not the application's but a helper's, the nursery: no SIGCHLD reaches the
 * application, its waitpid(-1) never sees one of them, and Knell never waits for one of the
 * application's. getppid(2) of a child is the nursery. It shares the application's memory, files
 * and current directory, but not its signal handlers, and dies with it.
 *
 * A death is told on the reaper thread of the CPU on which the child was spawned: pinned there,
 * every signal blocked. Between a death and its callback no lock is shared between CPUs.
 *
 * Functions return 0 or -errno; knell_last_error() explains. Everything here may be called from any
 * thread at any time, but for what knell_nursery_close() says.
 */
#ifndef KNELL_SPAWN_H
#define KNELL_SPAWN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct knell_nursery;

/* knell_nursery_options.flags */
#define KNELL_NURSERY_WAIT (1u << 0) /* wait for each child, even where the kernel can reap it */

struct knell_nursery_options {
	size_t size; /* sizeof(struct knell_nursery_options); zero elsewhere means the default */
	uint32_t flags;
	/*
	 * A helper died that should not have, and is replaced: `what` says so in words. Called on a
	 * thread of the library. Its children live on as orphans; their deaths are still told,
	 * where the kernel allows with their status (Linux 6.15).
	 */
	void (*trouble)(const char *what, void *userdata);
	void *userdata;
};

/*
 * Opens a nursery; `options` may be NULL. Threads and helpers are made when they are needed, one of
 * each for each CPU that knell_spawn() is called on. -EINVAL, -E2BIG, -ENOMEM, -ENOSYS (pidfds:
 * Linux 5.5).
 */
int knell_nursery_open(struct knell_nursery **ret_nursery,
		       const struct knell_nursery_options *options);

/*
 * Ends it: returns when every callback has returned, and none is called any more. Children that
 * live go on, as orphans. Not from a callback, and not while another thread spawns. Before the
 * application closes descriptors that it does not know: else no death is told any more, and a
 * thread that nobody can wake is left behind. NULL is allowed. Returns NULL.
 */
struct knell_nursery *knell_nursery_close(struct knell_nursery *nursery);

/*
 * Waits until no child is left whose death was not told, at most so many ms (-1: without end). Not
 * from a callback. 0, -ETIMEDOUT.
 */
int knell_nursery_drain(struct knell_nursery *nursery, int timeout_ms);

/* knell_death.flags */
#define KNELL_DEATH_UNKNOWN (1u << 0) /* it is dead; with what status cannot be known */

struct knell_death {
	pid_t pid;  /* where the kernel reaps it may be another's by now */
	int status; /* as wait(2) has it */
	uint32_t flags;
	uint32_t cpu;  /* of the reaper that tells it */
	uint64_t time; /* when it was heard: CLOCK_BOOTTIME, ns */
};

/*
 * Called once for each child that was spawned, on its reaper, also before knell_spawn() has
 * returned. It may spawn. While it runs, the deaths of this CPU's other children wait, and no
 * others.
 */
typedef void (*knell_death_fn)(const struct knell_death *death, void *userdata);

/* *knell_spawn_options.word at death. */
#define KNELL_WORD_DEAD    0x80000000u
#define KNELL_WORD_UNKNOWN 0x40000000u
#ifdef __cplusplus
#define KNELL_WORD_STATUS(w) (static_cast<int>((w)&0xffffu))
#else
#define KNELL_WORD_STATUS(w) ((int)((w)&0xffffu))
#endif

/* knell_spawn_options.flags: which of the fields below count. */
#define KNELL_SPAWN_PATH    (1u << 0)  /* look for `file` in the caller's PATH, as execvp(3) does */
#define KNELL_SPAWN_SESSION (1u << 1)  /* a new session */
#define KNELL_SPAWN_GROUP   (1u << 2)  /* process group `group`; 0: one of its own */
#define KNELL_SPAWN_MASK    (1u << 3)  /* signal mask `mask`; else that of the calling thread */
#define KNELL_SPAWN_DEFAULT (1u << 4)  /* the signals of `defaults` get their default action */
#define KNELL_SPAWN_CPUS    (1u << 5)  /* affinity `cpus`; else that of the calling thread */
#define KNELL_SPAWN_CGROUP  (1u << 6)  /* born in the cgroup that `cgroup_fd` names (v2) */
#define KNELL_SPAWN_NICE    (1u << 7)  /* nice value `nice` */
#define KNELL_SPAWN_UID     (1u << 8)  /* real, effective and saved user id `uid` */
#define KNELL_SPAWN_GID     (1u << 9)  /* the same of `gid` */
#define KNELL_SPAWN_GROUPS  (1u << 10) /* supplementary groups `groups` */

/* In a set of signals. */
#define KNELL_SIGNAL(signo) (UINT64_C(1) << ((signo)-1))

enum knell_file_action_kind {
	KNELL_FILE_DUP = 1, /* `fd` becomes a copy of `from`; the same: only close-on-exec ends */
	KNELL_FILE_CLOSE,   /* `fd`; it need not be open */
	KNELL_FILE_CLOSE_FROM, /* `fd` and all above */
	KNELL_FILE_OPEN        /* `fd` is `path`, opened with `flags` and `mode` */
};

struct knell_file_action {
	enum knell_file_action_kind kind;
	int fd;
	int from;
	int flags;
	mode_t mode;
	const char *path;
};

struct knell_spawn_rlimit {
	int resource; /* RLIMIT_* */
	struct rlimit limit;
};

/*
 * What to start and how. But for what is set here, the child has the caller's environment, files
 * that are not close-on-exec, current directory, umask, ids, capabilities, session, process group,
 * nice value, affinity, signal mask, and limits of files and processes. Other limits, ignored
 * signals, cgroup, namespaces and seccomp filters are those that the application had when a helper
 * was started: with the first child on this CPU, and anew when one of the ids, limits and so on is
 * another one.
 */
struct knell_spawn_options {
	size_t size; /* sizeof(struct knell_spawn_options); zero elsewhere means the default */
	uint32_t flags;
	int parent_death;  /* a signal that it gets when its helper dies, as with the application */
	const char *file;  /* NULL: argv[0], looked for in PATH */
	char *const *argv; /* ends in NULL */
	char *const *envp; /* NULL: environ */
	const char *directory;                   /* NULL: the caller's */
	const struct knell_file_action *actions; /* done in this order, in `directory` */
	size_t action_count;
	const struct knell_spawn_rlimit *rlimits;
	size_t rlimit_count;
	pid_t group;
	uint64_t mask; /* sets of signals: KNELL_SIGNAL(SIGINT) | ... */
	uint64_t defaults;
	const void *cpus; /* a cpu_set_t, or part of one */
	size_t cpus_size; /* bytes */
	int cgroup_fd;
	int nice;
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t group_count;
	uint32_t *word; /* set to KNELL_WORD_* and woken (futex(2)) at death, after `fn` */
	knell_death_fn fn;
	void *userdata;
};

/*
 * Starts a program. When this returns 0 the child runs it, and its death will be told: ret_pid
 * (may be NULL) is its pid. When it fails nothing was started and nothing is told: -ENOENT,
 * -EACCES, -E2BIG, ...: what exec or a step before it said; -EMFILE: each child needs a descriptor,
 * where the rights or the hard limit allow it one above RLIMIT_NOFILE, else, and if that is above
 * 65,536, one below; -EAGAIN: RLIMIT_NPROC, pids.max or no pid is left; -EPERM: in a child of the
 * application's own fork; -EBADF: the application has closed the nursery's descriptors; -EINVAL.
 */
int knell_spawn(struct knell_nursery *nursery, pid_t *ret_pid,
		const struct knell_spawn_options *options);

/* Sums over all CPUs since the nursery was opened. */
struct knell_nursery_stats {
	uint64_t spawned;
	uint64_t failed;     /* spawns that returned an error */
	uint64_t by_kernel;  /* deaths whose status the kernel kept after it had reaped by itself */
	uint64_t by_wait;    /* deaths that the nursery waited for, by pidfd */
	uint64_t unknown;    /* deaths without a status */
	uint64_t wakeups;    /* of reapers */
	uint64_t slowest_ns; /* of all callbacks */
	uint64_t replaced;   /* helpers that died, or had another identity than the caller */
	uint32_t reapers;    /* CPUs that have one now */
	uint32_t children;   /* whose death is still to be told */
};
void knell_nursery_get_stats(struct knell_nursery *nursery, struct knell_nursery_stats *ret_stats);

/* The same of one CPU; -ENOENT: knell_spawn() was never called on it. */
int knell_nursery_get_cpu_stats(struct knell_nursery *nursery, unsigned int cpu,
				struct knell_nursery_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
