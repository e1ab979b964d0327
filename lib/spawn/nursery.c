/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * nursery.c - what runs in a nursery helper, and in a child until it execs: see nest.h. Both live
 * in the application's memory without being threads of it, so nothing here takes a lock, allocates,
 * or calls what might, nor what a sanitizer has put something else in the place of; errno is that
 * of the keeper, who sleeps. The helper is suspended while its child is not yet another program
 * (CLONE_VFORK), so they share one mailbox and never run at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nest.h"

/* No loop may become a call of memset or memcpy: a sanitizer has its own in their place. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ull
#endif

#define SIGNALS     64
#define IGNORED     1ul /* SIG_IGN, as the kernel has it */
#define NOT_STARTED 127
#define LEAST_FD    256 /* below, an application may well come to use them itself */

/* struct sigaction as the kernel has it, where handlers have a restorer: all that we build for. */
struct kernel_action {
	unsigned long handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

/* ---- system calls ---- */

/*
 * clone3(2) with a stack of its own; the new task calls fn(arg), which does not return. There is no
 * such function in the C library.
 */
static long clone_onto(struct clone_args *args, void (*fn)(void *), void *arg)
{
#if defined(__x86_64__)
	register long r8 __asm__("r8") = (long)fn;
	register long r9 __asm__("r9") = (long)arg;
	long r = SYS_clone3;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r9, %%rdi\n\t"
			 "call *%%r8\n\t"
			 "hlt\n"
			 "1:"
			 : "+a"(r)
			 : "D"(args), "S"(sizeof(*args)), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory", "cc");
	return r;
#elif defined(__aarch64__)
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = sizeof(*args);
	register long x8 __asm__("x8") = SYS_clone3;
	register long x9 __asm__("x9") = (long)fn;
	register long x10 __asm__("x10") = (long)arg;

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, xzr\n\t"
			 "mov x0, x10\n\t"
			 "blr x9\n\t"
			 "brk #0\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x1), "r"(x8), "r"(x9), "r"(x10)
			 : "memory", "cc");
	return x0;
#else
/* cppcheck-suppress preprocessorErrorDirective ; it looks at every branch */
#error "write clone_onto() for this architecture: clone3(2), then fn(arg) on the new stack"
#endif
}

static void futex(uint32_t *word, int op, uint32_t value)
{
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static unsigned long get_handler(int signo)
{
	struct kernel_action action = { 0 };

	syscall(SYS_rt_sigaction, signo, NULL, &action, sizeof(action.mask));
	return action.handler;
}

static void set_handler(int signo, unsigned long handler)
{
	struct kernel_action action = { .handler = handler };

	syscall(SYS_rt_sigaction, signo, &action, NULL, sizeof(action.mask));
}

static void set_mask(uint64_t mask)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

/* ---- in the child ---- */

/* Until now the files are the helper's, and so the application's. */
static int leave_files(const struct birth *birth)
{
	if (birth->first_fd > birth->last_fd)
		return 0; /* they were copied */
	if (syscall(SYS_close_range, birth->first_fd, birth->last_fd, CLOSE_RANGE_UNSHARE) == 0)
		return 0;
	return (int)syscall(SYS_unshare, CLONE_FILES); /* close_range() came with 5.9 */
}

/* Each step says where it is before it may fail: the memory is the application's, too. */
static int become(const struct nest *nest, struct birth *birth)
{
	const struct knell_spawn_options *o = birth->options;

	birth->step = BIRTH_FILES;
	if (nest->first_fd &&
	    syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &nest->identity.files, NULL) < 0)
		return -1;
	birth->step = BIRTH_SESSION;
	if (o->flags & KNELL_SPAWN_SESSION && syscall(SYS_setsid) < 0)
		return -1;
	birth->step = BIRTH_GROUP;
	if (o->flags & KNELL_SPAWN_GROUP && syscall(SYS_setpgid, 0, o->group) < 0)
		return -1;
	birth->step = BIRTH_NICE;
	if (o->flags & KNELL_SPAWN_NICE && syscall(SYS_setpriority, PRIO_PROCESS, 0, o->nice) < 0)
		return -1;
	birth->step = BIRTH_RLIMIT;
	for (size_t i = 0; i < o->rlimit_count; i++) {
		birth->index = i;
		if (syscall(SYS_prlimit64, 0, o->rlimits[i].resource, &o->rlimits[i].limit, NULL) <
		    0)
			return -1;
	}
	return 0;
}

static int do_file_action(const struct knell_file_action *action)
{
	long fd;

	switch (action->kind) {
	case KNELL_FILE_DUP:
		if (action->fd == action->from)
			return (int)syscall(SYS_fcntl, action->fd, F_SETFD, 0);
		return (int)syscall(SYS_dup3, action->from, action->fd, 0);
	case KNELL_FILE_CLOSE:
		syscall(SYS_close, action->fd);
		return 0;
	case KNELL_FILE_CLOSE_FROM:
		return (int)syscall(SYS_close_range, action->fd, ~0u, 0);
	case KNELL_FILE_OPEN:
		fd = syscall(SYS_openat, AT_FDCWD, action->path, action->flags, action->mode);
		if (fd < 0 || fd == action->fd)
			return (int)fd;
		if (syscall(SYS_dup3, fd, action->fd, action->flags & O_CLOEXEC) < 0)
			return -1;
		return (int)syscall(SYS_close, fd);
	}
	errno = EINVAL;
	return -1;
}

static int change_files(struct birth *birth)
{
	const struct knell_spawn_options *o = birth->options;

	birth->step = BIRTH_DIRECTORY;
	if (o->directory && syscall(SYS_chdir, o->directory) < 0)
		return -1;
	birth->step = BIRTH_ACTION;
	for (size_t i = 0; i < o->action_count; i++) {
		birth->index = i;
		if (do_file_action(&o->actions[i]) < 0)
			return -1;
	}
	return 0;
}

/* Groups first: afterwards we may not. The parent-death signal last: a change of ids clears it. */
static int change_ids(const struct nest *nest, struct birth *birth)
{
	const struct knell_spawn_options *o = birth->options;

	birth->step = BIRTH_GROUPS;
	if (o->flags & KNELL_SPAWN_GROUPS && syscall(SYS_setgroups, o->group_count, o->groups) < 0)
		return -1;
	birth->step = BIRTH_GID;
	if (o->flags & KNELL_SPAWN_GID && syscall(SYS_setresgid, o->gid, o->gid, o->gid) < 0)
		return -1;
	birth->step = BIRTH_UID;
	if (o->flags & KNELL_SPAWN_UID && syscall(SYS_setresuid, o->uid, o->uid, o->uid) < 0)
		return -1;
	if (!o->parent_death)
		return 0;
	birth->step = BIRTH_PARENT_DEATH;
	if (syscall(SYS_prctl, PR_SET_PDEATHSIG, o->parent_death, 0, 0, 0) < 0)
		return -1;
	if (syscall(SYS_getppid) == nest->self)
		return 0;
	errno = ESRCH; /* it died before it could be told */
	return -1;
}

/* SIGCHLD as the application has it, and the mask last: nothing is delivered before. */
static void change_signals(const struct nest *nest, const struct birth *birth)
{
	const struct knell_spawn_options *o = birth->options;

	set_handler(SIGCHLD, nest->chld_ignored ? IGNORED : 0);
	if (o->flags & KNELL_SPAWN_DEFAULT) {
		for (int signo = 1; signo <= SIGNALS; signo++) {
			if (o->defaults & KNELL_SIGNAL(signo))
				set_handler(signo, 0);
		}
	}
	set_mask(birth->mask);
}

/* As execvp(3): a file that may not be executed is remembered, one that is not there passed over.
 */
static int run_program(const struct birth *birth)
{
	int denied = 0;

	for (char *const *path = birth->paths; *path; path++) {
		syscall(SYS_execve, *path, birth->options->argv, birth->envp);
		if (errno == EACCES)
			denied = EACCES;
		else if (errno != ENOENT && errno != ENOTDIR)
			return errno;
	}
	return denied ? denied : ENOENT;
}

static void child_main(void *arg)
{
	const struct nest *nest = arg;
	struct birth *birth = nest->birth;
	int error = 0;

	birth->step = BIRTH_FILES;
	if (leave_files(birth) < 0 || become(nest, birth) < 0 || change_files(birth) < 0 ||
	    change_ids(nest, birth) < 0) {
		error = errno;
	} else {
		change_signals(nest, birth);
		birth->step = BIRTH_EXEC;
		error = run_program(birth);
	}
	birth->error = error;
	for (;;)
		syscall(SYS_exit_group, NOT_STARTED);
}

/* ---- in the helper ---- */

static int wait_for(pid_t pid, int flags)
{
	siginfo_t info;
	long r;

	do {
		info.si_pid = 0;
		r = syscall(SYS_waitid, P_PID, pid, &info, WEXITED | __WALL | flags, NULL);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return NEST_STATUS_UNKNOWN;
	if (!info.si_pid)
		return NEST_STATUS_LATER;
	return info.si_code == CLD_EXITED
		       ? (info.si_status & 0xff) << 8
		       : info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

/* To the CPU of those who order: to wake us is then a switch, not an interrupt elsewhere. */
static void pin(const struct nest *nest)
{
	unsigned long bits = 8 * sizeof(unsigned long);
	unsigned long cpus[64] = { 0 };

	if (nest->cpu >= 64 * bits)
		return;
	cpus[nest->cpu / bits] = 1ul << nest->cpu % bits;
	syscall(SYS_sched_setaffinity, 0, sizeof(cpus), cpus);
}

static bool is_same(const unsigned char *a, const unsigned char *b, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (a[i] != b[i])
			return false;
	}
	return true;
}

/*
 * The affinity that the child is to have. A mask that was never set follows the cpuset when that
 * grows, and one that was set does not: all CPUs are as good as none, if the caller may use them.
 */
static int go_anywhere(const struct birth *birth)
{
	unsigned char all[NEST_CPUS / 8], now[NEST_CPUS / 8];
	long n;

	if (birth->options->flags & KNELL_SPAWN_CPUS)
		return (int)syscall(SYS_sched_setaffinity, 0, birth->cpus_size, birth->cpus);
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = 0xff;
	syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
	n = syscall(SYS_sched_getaffinity, 0, sizeof(now), now);
	if (n == (long)birth->cpus_size && is_same(now, birth->cpus, (size_t)n))
		return 0;
	return (int)syscall(SYS_sched_setaffinity, 0, birth->cpus_size, birth->cpus);
}

/*
 * With the affinity that the child is to have: so it is born where there is room, and is not moved
 * there at exec, which takes as long as all the rest.
 *
 * Nothing is closed here: whoever closes a descriptor and is killed before he has said so leaves
 * others to close it again, when it may be somebody else's.
 */
static void make_child(struct nest *nest)
{
	struct birth *birth = nest->birth;
	const struct knell_spawn_options *o = birth->options;
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_PARENT_SETTID,
		.pidfd = (uintptr_t)&birth->pidfd,
		.parent_tid = (uintptr_t)&birth->pid,
		.exit_signal = SIGCHLD,
		.stack = (uintptr_t)nest->stack + NEST_STACK,
		.stack_size = NEST_STACK,
	};
	long r;

	if (birth->first_fd <= birth->last_fd)
		args.flags |= CLONE_FILES;
	if (o->flags & KNELL_SPAWN_CGROUP) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)o->cgroup_fd;
	}
	birth->step = BIRTH_CPUS;
	if (go_anywhere(birth) < 0) {
		birth->error = errno;
		pin(nest);
		return;
	}
	birth->step = BIRTH_FORK;
	r = clone_onto(&args, child_main, nest);
	pin(nest);
	if (r < 0) {
		birth->error = (int)-r;
	} else if (birth->error) {
		if (!nest->by_kernel)
			wait_for(birth->pid, 0);
	} else if (birth->high == birth->pidfd) {
		birth->moved = true;
	} else if (birth->high >= 0) {
		long fd = syscall(SYS_fcntl, birth->pidfd, F_DUPFD_CLOEXEC, birth->high);

		birth->moved = fd == birth->high;
		birth->clash = fd >= 0 && !birth->moved; /* somebody else has the number */
		if (birth->clash)
			syscall(SYS_close, fd);
	}
}

/* Handlers are the application's code: none must run in its memory in one of ours. */
static void forget_handlers(struct nest *nest)
{
	for (int signo = 1; signo <= SIGNALS; signo++) {
		if (get_handler(signo) > IGNORED)
			set_handler(signo, 0);
	}
	nest->chld_ignored = get_handler(SIGCHLD) == IGNORED;
	set_handler(SIGCHLD, nest->by_kernel ? IGNORED : 0);
}

/* Our limit is our own. Above the hard limit only with CAP_SYS_RESOURCE. */
static bool raise_limit(const struct rlimit *old)
{
	struct rlimit limit = { old->rlim_cur + NEST_ROOM, old->rlim_max };

	if (limit.rlim_max < limit.rlim_cur)
		limit.rlim_max = limit.rlim_cur;
	if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL) == 0)
		return true;
	limit.rlim_cur = limit.rlim_max = old->rlim_max;
	return old->rlim_max > old->rlim_cur &&
	       syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL) == 0;
}

/* The numbers above the application's limit; else those that it comes to last. */
static void find_room(struct nest *nest)
{
	const struct rlimit *limit = &nest->identity.files;

	nest->above = limit->rlim_cur <= NEST_ROOM && raise_limit(limit);
	if (nest->above)
		nest->first_fd = (unsigned int)limit->rlim_cur;
	else if (limit->rlim_cur / 2 >= LEAST_FD)
		nest->first_fd = limit->rlim_cur / 2 < NEST_MOST_FD
					 ? (unsigned int)(limit->rlim_cur / 2)
					 : NEST_MOST_FD;
}

static void settle(struct nest *nest)
{
	nest->self = (pid_t)syscall(SYS_getpid);
	syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (syscall(SYS_getppid) != nest->owner) /* too late */
		syscall(SYS_exit_group, 1);
	syscall(SYS_prctl, PR_SET_NAME, "knell-nursery", 0, 0, 0);
	forget_handlers(nest);
	find_room(nest);
	pin(nest);
}

static void helper_main(void *arg)
{
	struct nest *nest = arg;

	settle(nest);
	/* Release: what it has set. */
	__atomic_store_n(&nest->state, NEST_IDLE, __ATOMIC_RELEASE);
	futex(&nest->state, FUTEX_WAKE, 1);
	for (;;) {
		uint32_t state;

		/* Acquire: pairs with the order's release in nest.c. */
		while ((state = __atomic_load_n(&nest->state, __ATOMIC_ACQUIRE)) != NEST_ORDERED)
			futex(&nest->state, FUTEX_WAIT, state);
		if (nest->op == NEST_END)
			syscall(SYS_exit_group, 0);
		if (nest->op == NEST_SPAWN)
			make_child(nest);
		else
			nest->wait_status = wait_for(nest->wait_pid, WNOHANG);
		__atomic_store_n(&nest->state, NEST_DONE, __ATOMIC_RELEASE);
		futex(&nest->state, FUTEX_WAKE, 1);
	}
}

pid_t nursery_start(struct nest *nest)
{
	/* No exit signal: the application is not told, and plain waits do not see it. */
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_FILES | CLONE_FS,
		.stack = (uintptr_t)nest->stack,
		.stack_size = NEST_STACK,
	};

	return (pid_t)clone_onto(&args, helper_main, nest);
}
