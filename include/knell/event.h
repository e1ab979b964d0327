/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * event.h - the record that tells one event in a task's life.
 *
 * This is the wire format that the library, the BPF programs and the kernel module share: fixed
 * width, native endian, versioned, readable from C99, C++, BPF and kernel code. A record is the
 * head of struct knell_event, then the payload of its kind, then (exec only) a file name and
 * arguments; `size` counts all of it, so a record may be shorter than sizeof(struct knell_event):
 * copy `size` bytes, and read only the payload that its kind has. Numbers are in the units that
 * their comments name. A value that the source did not know is zero and has its bit in `unknown`:
 * zero without that bit is a true zero.
 */
#ifndef KNELL_EVENT_H
#define KNELL_EVENT_H

#include <linux/types.h>

#define KNELL_EVENT_VERSION 1u

/* TASK_COMM_LEN of every kernel that Knell supports. */
#define KNELL_COMM_LEN 16

/* What happened. */
enum knell_kind {
	KNELL_INIT = 1, /* the kernel made the task; it has not run */
	KNELL_CLONE,    /* the task is about to run for the first time */
	KNELL_EXEC,     /* the process runs another program */
	KNELL_UID,      /* a user id changed */
	KNELL_GID,      /* a group id changed */
	KNELL_EXIT,     /* the task died: for a process, its last thread */
	KNELL_FREE,     /* the kernel released the task: waited for, accounts are final */
	KNELL_GAP,      /* so many events were lost here */
	KNELL_KIND_MAX
};

/* A set of kinds, as a mask. */
#define KNELL_MASK(kind) (1u << (kind))
#define KNELL_MASK_ALL   ((1u << KNELL_KIND_MAX) - 2u)

/* Whose life the record tells. */
enum knell_scope {
	KNELL_PROCESS = 1, /* a thread group */
	KNELL_THREAD       /* one thread; only where threads were asked for */
};

/* knell_event.flags */
#define KNELL_F_ROOT        (1u << 0) /* the task that the watch was set on */
#define KNELL_F_REPLACED    (1u << 1) /* this thread ended because another one ran exec */
#define KNELL_F_RECONCILED  (1u << 2) /* found alive afterwards: not heard when it happened */
#define KNELL_F_TRUNCATED   (1u << 3) /* file name or arguments were cut */
#define KNELL_F_START_STAMP (1u << 4) /* task.start: when the source heard of the birth */
#define KNELL_F_USAGE_FINAL (1u << 5) /* exit: the usage is the kernel's final account */
#define KNELL_F_GIVEN_UP    (1u << 6) /* free: not heard; its slot was needed for another task */
#define KNELL_F_AT_LEAST    (1u << 7) /* gap: at least so many; the source cannot count them */

/* knell_event.unknown: the source does not know the field. */
#define KNELL_U_PARENT (1u << 0)
#define KNELL_U_UID    (1u << 1)
#define KNELL_U_GID    (1u << 2)
#define KNELL_U_CGROUP (1u << 3)
#define KNELL_U_COMM   (1u << 4)
#define KNELL_U_CPU    (1u << 5)
#define KNELL_U_FILE   (1u << 6)  /* exec: file name */
#define KNELL_U_ARGS   (1u << 7)  /* exec: arguments (also when they were not asked for) */
#define KNELL_U_STATUS (1u << 8)  /* exit: status */
#define KNELL_U_TIMES  (1u << 9)  /* usage: utime and stime */
#define KNELL_U_RSS    (1u << 10) /* usage: maxrss */
#define KNELL_U_FAULTS (1u << 11) /* usage: minflt and majflt */
#define KNELL_U_CAUSE  (1u << 12) /* exit: reason and killer */
#define KNELL_U_TERM   (1u << 13) /* exit: last_term: this source cannot hear signals */
#define KNELL_U_FLAGS  (1u << 14) /* clone: clone_flags */
#define KNELL_U_SAVED  (1u << 15) /* uid, gid: saved and file system ids */
#define KNELL_U_OLD    (1u << 16) /* uid, gid: the ids before the change */

/*
 * A task is never named by a bare pid: pids are used again. Within one boot these three together
 * are never used again. Pids are those of the pid namespace of the process that opened the engine;
 * 0 means that the task has no number there.
 */
struct knell_task_id {
	__u64 start; /* when it was made: CLOCK_BOOTTIME, ns */
	__u32 tid;
	__u32 tgid;
};

/* Why a process died, or why the kernel sent a signal. */
enum knell_reason {
	KNELL_R_NONE,     /* no signal: it exited */
	KNELL_R_USER,     /* a user sent the signal: knell_signal tells who */
	KNELL_R_KERNEL,   /* the kernel sent it, for a reason that is not known in more detail */
	KNELL_R_FAULT,    /* the task's own fault: segmentation, bus, arithmetic, illegal, trap */
	KNELL_R_OOM,      /* out-of-memory killer */
	KNELL_R_TIMER,    /* an interval or POSIX timer */
	KNELL_R_PDEATH,   /* parent-death signal (prctl PR_SET_PDEATHSIG) */
	KNELL_R_SECCOMP,  /* a seccomp filter or strict mode */
	KNELL_R_CGROUP,   /* cgroup.kill */
	KNELL_R_TERMINAL, /* terminal: interrupt key, hang-up */
	KNELL_R_PIPE,     /* wrote to a pipe that nobody reads */
	KNELL_R_RLIMIT,   /* CPU time or file size limit */
	KNELL_R_PIDNS,    /* the init process of its pid namespace died */
	KNELL_REASON_MAX
};

/*
 * One signal that a process received. The sender's fields are filled only where a user sent it
 * (reason user), or caused it (cgroup: who wrote to cgroup.kill; pdeath: the parent that died).
 */
struct knell_signal {
	__u64 time;   /* CLOCK_BOOTTIME, ns */
	__u64 cgroup; /* of the sender: cgroup v2 id */
	__u32 pid;    /* of the sender: process; 0: none, or outside of our pid namespace */
	__u32 ppid;   /* of the sender: its parent process */
	__u32 uid;    /* of the sender: real uid */
	__s32 code;   /* si_code */
	__u8 signo;   /* 0: no signal */
	__u8 reason;  /* enum knell_reason */
	__u8 known;   /* KNELL_S_*: which of the sender's fields are known */
	__u8 reserved;
	__u32 reserved2;
	char comm[KNELL_COMM_LEN];  /* of the sender */
	char pcomm[KNELL_COMM_LEN]; /* of the sender's parent */
};

#define KNELL_S_PID    (1u << 0)
#define KNELL_S_UID    (1u << 1)
#define KNELL_S_COMM   (1u << 2)
#define KNELL_S_PARENT (1u << 3) /* ppid and pcomm */
#define KNELL_S_CGROUP (1u << 4)

/* What a process used in its life: itself only, all its threads, without its children. */
struct knell_usage {
	__u64 utime;  /* user CPU time, ns */
	__u64 stime;  /* system CPU time, ns */
	__u64 maxrss; /* peak resident set, bytes */
	__u64 minflt; /* page faults without I/O */
	__u64 majflt; /* page faults with I/O */
};

struct knell_clone {
	__u64 flags;       /* clone(2) flags, without the exit signal */
	__u32 exit_signal; /* what the parent gets at death; 0: nothing */
	__u32 reserved;
};

/*
 * Followed by the file name as it was given to exec (file_len bytes and a NUL; any bytes: no
 * encoding is promised), then args_len bytes: the arguments, each ending in a NUL.
 */
struct knell_exec {
	/* The thread that called exec; its own identity ended here if not the leader. 0: unknown.
	 */
	__u32 old_tid;
	__u32 file_len;
	__u32 args_len;
	__u32 args_total; /* bytes of arguments before any truncation */
};

struct knell_ids {
	__u32 real, effective, saved, fs;
	__u32 old_real, old_effective, old_saved, old_fs;
};

struct knell_exit {
	__s32 status; /* as wait(2) has it: WIFEXITED(), WTERMSIG(), WCOREDUMP() ... apply */
	__u8 reason;  /* enum knell_reason: none if it exited by itself */
	__u8 reserved[3];
	struct knell_usage usage;
	struct knell_signal killer; /* the signal that it died of; signo 0: it exited */
	struct knell_signal
		last_term; /* the last TERM, INT or HUP that it received, caught or not */
};

struct knell_free {
	struct knell_usage usage; /* the final account */
};

/* Why events were lost. */
enum knell_gap_cause {
	KNELL_GAP_RING = 1, /* a ring was full */
	KNELL_GAP_RESERVE,  /* more descendants alive than slots reserved for them */
	KNELL_GAP_MISSED    /* the kernel skipped our program (counted by it, kind unknown) */
};

struct knell_gap {
	__u64 births; /* processes whose birth was not told */
	__u64 deaths; /* processes whose death was not told */
	__u64 others; /* exec, uid and gid events, and those of threads */
	__u32 cause;  /* enum knell_gap_cause */
	__u32 reserved;
};

struct knell_event {
	__u32 size;   /* of the whole record, data[] included; a multiple of 8 */
	__u8 version; /* KNELL_EVENT_VERSION */
	__u8 kind;    /* enum knell_kind */
	__u8 scope;   /* enum knell_scope; 0 in a gap */
	__u8 reserved;
	__u32 flags;   /* KNELL_F_* */
	__u32 unknown; /* KNELL_U_* */
	__u64 time;    /* when it happened: CLOCK_BOOTTIME, ns. For people; do not sort by it */
	__u64 seq; /* number within the ring: a jump is the number of records lost before this */
	__u32 ring;
	__u32 cpu; /* where it happened */
	struct knell_task_id task;
	struct knell_task_id parent; /* the real parent at that moment (not a tracer) */
	__u32 uid;                   /* effective ids, as the initial user namespace numbers them */
	__u32 gid;
	__u64 cgroup;              /* cgroup v2 id: the inode number of its directory */
	__u64 cookie;              /* the watch's, as given when it was set; 0 for streams */
	char comm[KNELL_COMM_LEN]; /* the process's name at that moment; NUL-terminated */
	union {
		struct knell_clone clone; /* init, clone */
		struct knell_exec exec;
		struct knell_ids ids; /* uid, gid */
		struct knell_exit exit;
		struct knell_free free;
		struct knell_gap gap;
	} u;
};

/* Bytes of a record before the payload of its kind. */
#define KNELL_EVENT_HEAD 112u

/* The longest record: a path and 16 KiB of arguments fit, longer ones are cut and flagged. */
#define KNELL_EVENT_MAX 24576u

/* A record written by one build is read by another: no size may change within a version. */
#define KNELL_ASSERT_SIZE(type, bytes)                                                             \
	typedef char knell_assert_##type[sizeof(struct type) == (bytes) ? 1 : -1]
KNELL_ASSERT_SIZE(knell_task_id, 16);
KNELL_ASSERT_SIZE(knell_signal, 72);
KNELL_ASSERT_SIZE(knell_usage, 40);
KNELL_ASSERT_SIZE(knell_clone, 16);
KNELL_ASSERT_SIZE(knell_exec, 16);
KNELL_ASSERT_SIZE(knell_ids, 32);
KNELL_ASSERT_SIZE(knell_exit, 192);
KNELL_ASSERT_SIZE(knell_free, 40);
KNELL_ASSERT_SIZE(knell_gap, 32);
KNELL_ASSERT_SIZE(knell_event, KNELL_EVENT_HEAD + 192u);

#endif
