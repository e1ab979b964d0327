/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * nest.h - one nursery helper: a task that is no thread of the application, but shares its memory,
 * files and directory, and never execs. It makes children and, where the kernel cannot reap them by
 * itself, waits for them; one order at a time, through a mailbox.
 *
 * nest.c is the application's side. Each helper has a keeper, a thread that made it, lends it its
 * thread-local storage, and sleeps until it is dead. nursery.c is what runs in the helper and,
 * until exec, in its children: system calls only, no locks, nothing allocated, and built without
 * sanitizers, which do not know these tasks.
 */
#ifndef KNELL_NEST_H
#define KNELL_NEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <knell/spawn.h>

/* Numbers for pidfds, where there is room: as many children as most machines have pids. */
#define NEST_ROOM 65536u

/* Where they begin, at most, if they are among the application's: above, its table gets large. */
#define NEST_MOST_FD 16384u

#define NEST_STACK ((size_t)64 << 10) /* bytes: deep enough for a system call or two */
#define NEST_CPUS  8192u              /* CONFIG_NR_CPUS at most */

/* nest.state, a futex word. */
enum nest_state {
	NEST_IDLE,
	NEST_ORDERED, /* by us; the helper works */
	NEST_DONE,    /* by the helper; the answer is there */
	NEST_DEAD     /* by the keeper; for ever */
};

enum nest_op {
	NEST_SPAWN,
	NEST_WAIT,
	NEST_END
};

/*
 * What children inherit from a helper and should have from the calling thread: a helper serves one
 * identity. (All limits would be 3 us a spawn.)
 */
struct nest_identity {
	uid_t uid[3];
	gid_t gid[3];
	uint64_t groups; /* their number, and a sum of them */
	uint32_t caps[6];
	int no_new_privs;
	/* Up to here: rights. */
	int nice;
	pid_t group, session;
	struct rlimit files, processes; /* the limits that a spawn itself can meet */
};

/* What a child, or its helper, is at; a failure is told by it. */
enum birth_step {
	BIRTH_CPUS,
	BIRTH_FORK,
	BIRTH_FILES,
	BIRTH_SESSION,
	BIRTH_GROUP,
	BIRTH_NICE,
	BIRTH_RLIMIT,
	BIRTH_DIRECTORY,
	BIRTH_ACTION,
	BIRTH_GROUPS,
	BIRTH_GID,
	BIRTH_UID,
	BIRTH_PARENT_DEATH,
	BIRTH_EXEC
};

/* A child to be made, and what came of it. */
struct birth {
	const struct knell_spawn_options *options;
	char *const *paths; /* to be tried in this order; ends in NULL */
	char *const *envp;
	uint64_t mask; /* signals, as the kernel has them */
	const void *cpus;
	size_t cpus_size;
	/* Answers. */
	pid_t pid; /* 0: not made. The kernel writes it last, and pidfd also if it fails later */
	int pidfd;
	int high;   /* in: the number that its copy is to have; -1: none */
	bool moved; /* it has that number */
	bool clash; /* somebody else has it */
	/* Numbers that only pidfds of ours have: the child is born without them. */
	unsigned int first_fd, last_fd; /* first > last: none */
	int error;                      /* of exec or of a step before it; 0: it runs */
	enum birth_step step;           /* where */
	size_t index;                   /* of the limit or file action */
};

struct nest {
	uint32_t state; /* enum nest_state */
	enum nest_op op;
	struct birth *birth; /* of NEST_SPAWN */
	pid_t wait_pid;      /* of NEST_WAIT */
	int wait_status;     /* the answer: as wait(2) has it, or NEST_STATUS_* */

	/* Set before the helper starts. */
	bool by_kernel;    /* SIGCHLD is ignored: the kernel reaps the children */
	bool chld_ignored; /* set by the helper: the application ignores SIGCHLD */
	/*
	 * Set by the helper: pidfds get numbers from here on, above what the application's own
	 * limit lets it use, or where it comes last; 0: among its own. A child is born without
	 * them: to copy thousands, and to close them at exec, took longer than all the rest.
	 */
	unsigned int first_fd;
	bool above; /* that limit: none of these numbers is the application's */
	unsigned int cpu;
	pid_t owner;
	pid_t self;  /* the helper's pid; set by the helper */
	char *stack; /* of the helper, and above it of its child: NEST_STACK bytes each */

	/* The keeper's. */
	pthread_t keeper;
	int error; /* why it could not be made */
	bool ending;
	bool gone; /* set last by the keeper: it only has to be joined */
	void (*trouble)(const char *what, void *userdata);
	void *userdata;

	/* The home's. */
	struct nest *next; /* of those that another one took the place of */
	uint32_t children; /* alive */
	struct nest_identity identity;
};

/* Starts a helper on this CPU. 0 or -errno. */
int nest_open(struct nest **ret_nest, unsigned int cpu, bool by_kernel,
	      void (*trouble)(const char *what, void *userdata), void *userdata);

/* Ends the helper. Its children go on. NULL is allowed; returns NULL. */
struct nest *nest_close(struct nest *nest);

bool nest_is_dead(const struct nest *nest);

/* nest_close() will not wait: no callback of the application's runs any more. */
bool nest_is_gone(const struct nest *nest);

/*
 * Orders must not overlap. 0: done, see birth->error; -ESRCH: the helper died before it answered,
 * and the child, if there was one, was killed.
 */
int nest_spawn(struct nest *nest, struct birth *birth);

/* Kills a child, and returns when it is dead; false: that is not permitted. */
bool nest_kill(int pidfd);

/* Closes the pidfd of a child, and gives its number back. */
void nest_close_pidfd(int pidfd, bool moved);

/* For who knows that the application has closed pidfds of ours: children inherit what is there. */
void nest_forget_numbers(void);

/* Waits for a dead child. Its status, or NEST_STATUS_*. */
#define NEST_STATUS_UNKNOWN (-1) /* the helper is dead, or it is no child of it */
#define NEST_STATUS_LATER   (-2) /* a stranger traces it, and has not let it go yet */
int nest_wait(struct nest *nest, pid_t pid);

void nest_identity(struct nest_identity *ret_identity);
bool nest_same_identity(const struct nest_identity *a, const struct nest_identity *b);
bool nest_same_rights(const struct nest_identity *a, const struct nest_identity *b);

/* nursery.c. The helper: returns its pid or -errno. */
pid_t nursery_start(struct nest *nest);

#endif
