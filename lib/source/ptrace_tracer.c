/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace_tracer.c - the thread that traces: waits for the next stop or death of any task, tells
 * what it is, has it handled, and lets the task go on. It runs with all signals blocked and waits
 * for its own tracees only, so the host's other children are not touched.
 *
 * Nothing but a child or a tracee ends a wait(2), since a library may not take a signal handler
 * for itself. So the tracer has one tracee of its own, the bell: a task that shares our memory,
 * sleeps in read(2) on an eventfd, and for each number that arrives there sends itself a signal,
 * which stops it as any traced task stops. It cannot outlive the tracer (PTRACE_O_EXITKILL; the
 * others are traced without it: if Knell dies, they go on).
 *
 * Each stop is looked at with WNOWAIT: a stop ends when the task is let go, and a zombie stays
 * until its own CPU clock has been read. That costs a system call more for each death, none for
 * each stop.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ptrace.h"

#define STACK_SIZE  16384u
#define BELL_SIGNAL SIGURG
/* The kernel offers stops newest task first; this often, everybody is asked in turn. */
#define SWEEP_EVERY 512u
/* How long a root that was killed waits for the next of its children to die, and how often. */
#define ROOT_POLL_NS 100000
#define ROOT_LOOKS   100u
/* How long the tracer sleeps when nothing happens while somebody is held. */
#define HELD_POLL_NS 100000

#if defined(__clang__)
#define NO_SANITIZER __attribute__((disable_sanitizer_instrumentation))
#else
#define NO_SANITIZER                                                                               \
	__attribute__((no_sanitize("address", "undefined", "thread"), no_stack_protector))
#endif

/*
 * The bell. It has the tracer's memory, thread-local storage included, so it calls nothing but
 * system calls that succeed: a failing one would write the tracer's errno.
 */
NO_SANITIZER static int bell_main(void *event)
{
	int fd = (int)(intptr_t)event;
	long pid = syscall(SYS_getpid);
	uint64_t count;

	while (syscall(SYS_read, fd, &count, sizeof(count)) == (long)sizeof(count))
		syscall(SYS_tgkill, pid, pid, BELL_SIGNAL);
	syscall(SYS_exit, 0);
	return 0;
}

/*
 * No exit signal: it is not a child that the host's wait(2) or SIGCHLD would tell of. It shares the
 * memory, because a copy would cost a large host much, and keep what that has long given back. But
 * ThreadSanitizer's state is in that memory, and it takes every clone for a fork: there it is one.
 */
static pid_t clone_bell(void *stack, int event)
{
#ifdef KNELL_QUEUE_TSAN
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES, NULL, NULL, NULL, NULL);

	(void)stack;
	if (pid == 0)
		bell_main((void *)(intptr_t)event);
	return pid;
#else
	return clone(bell_main, (char *)stack + STACK_SIZE,
		     CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND, (void *)(intptr_t)event);
#endif
}

/* Blocks all but the bell's signal around the clone: the bell inherits that. */
static pid_t start_bell(void *stack, int event)
{
	sigset_t bell_mask, old;
	pid_t pid;

	sigfillset(&bell_mask);
	sigdelset(&bell_mask, BELL_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &bell_mask, &old);
	pid = clone_bell(stack, event);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return pid;
}

/* Starts the bell of this thread. -errno: ptrace does not work here, or a resource is short. */
int knell_pt_bell_open(struct pt_bell *bell)
{
	struct pt_bell b = { .event = eventfd(0, EFD_CLOEXEC) };
	int error;

	if (b.event < 0)
		return -errno;
	b.stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (b.stack == MAP_FAILED) {
		error = -errno;
		close(b.event);
		return error;
	}
	b.pid = start_bell(b.stack, b.event);
	error = b.pid < 0 ? b.pid : 0;
	if (error == 0 && ptrace(PTRACE_SEIZE, b.pid, NULL, (void *)PTRACE_O_EXITKILL) < 0)
		error = -errno;
	if (error < 0) {
		knell_pt_bell_close(&b);
		return error;
	}
	*bell = b;
	return 0;
}

void knell_pt_bell_close(struct pt_bell *bell)
{
	if (bell->pid > 0) {
		kill(bell->pid, SIGKILL);
		while (waitpid(bell->pid, NULL, PT_WAIT) != bell->pid && errno == EINTR)
			;
	}
	munmap(bell->stack, STACK_SIZE);
	close(bell->event);
}

void knell_pt_bell_ring(const struct pt_bell *bell)
{
	uint64_t one = 1;

	while (write(bell->event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* ESRCH is nothing: the task was killed in its stop, and its death will be told. */
void knell_pt_resume(pid_t tid, int signo)
{
	ptrace(PTRACE_CONT, tid, NULL, (void *)(intptr_t)signo);
}

/* Takes a stop that was only looked at, so that it is not told again. */
bool knell_pt_take_stop(pid_t tid)
{
	siginfo_t info;

	info.si_pid = 0;
	return waitid(P_PID, (id_t)tid, &info, WSTOPPED | WNOHANG | PT_WAIT) == 0 &&
	       info.si_pid == tid;
}

static bool is_ours(struct pt_source *source, const struct pt_process *process)
{
	struct knell_event parent = { 0 };

	knell_pt_fill_parent(source, process, &parent);
	return parent.parent.tgid == (__u32)source->self;
}

/* The kernel hides from a parent the stops of children that its own process traces. */
static void tell_stop(struct pt_source *source, struct pt_process *process, int signo)
{
	process->told_stop = is_ours(source, process);
	if (process->told_stop)
		knell_pt_push_reap(source, process->leader.tid, signo << 8 | 0x7f, true);
}

static void tell_continue(struct pt_source *source, struct pt_process *process)
{
	if (process->told_stop)
		knell_pt_push_reap(source, process->leader.tid, 0xffff, true);
	process->told_stop = false;
}

/* Leaves the task stopped, but so that SIGCONT wakes it. */
static void group_stopped(struct pt_source *source, struct pt_task *task, pid_t tid, int signo)
{
	ptrace(PTRACE_LISTEN, tid, NULL, NULL);
	if (!task || task->listening)
		return;
	task->listening = true;
	if (task->process->listening++ == 0)
		tell_stop(source, task->process, signo);
}

static void no_longer_stopped(struct pt_source *source, struct pt_task *task)
{
	task->listening = false;
	task->process->listening--;
	tell_continue(source, task->process);
}

/* PTRACE_EVENT_STOP: the first stop of a newcomer, or a group stop, or the end of one. */
static void event_stopped(struct pt_source *source, struct pt_task *task, pid_t tid, int signo)
{
	if (task && task->started && !task->listening && signo == SIGTRAP &&
	    knell_pt_drop_stale(source, task))
		task = NULL;
	if (!task && signo == SIGTRAP) {
		knell_pt_hold(source, tid);
		return;
	}
	if (task)
		task->started = true;
	if (signo != SIGTRAP) {
		group_stopped(source, task, tid, signo);
		return;
	}
	knell_pt_resume(tid, 0);
	if (task->listening)
		no_longer_stopped(source, task);
}

static void stopped(struct pt_source *source, pid_t tid, int code)
{
	struct pt_task *task = knell_pt_find(&source->table, tid);
	unsigned int event = (unsigned int)code >> 8;
	int signo = code & 0x7f;

	if (event == PTRACE_EVENT_STOP) {
		event_stopped(source, task, tid, signo);
		return;
	}
	if (task && task->listening)
		no_longer_stopped(source, task);
	switch (event) {
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		knell_pt_born(source, tid, event);
		break;
	case PTRACE_EVENT_EXEC:
		knell_pt_execed(source, tid);
		break;
	case 0:
		knell_pt_signalled(source, task, tid, signo);
		break;
	default:
		knell_pt_resume(tid, 0);
	}
}

static void serve(struct pt_source *source)
{
	struct pt_request *request = source->request;

	if (!request || request->done)
		return;
	request->result = knell_pt_root(source, request);
	request->done = true;
	pthread_cond_broadcast(&source->caller_wakes);
}

/* Only who kills whatever it finds can end the bell. */
static void revive_bell(struct pt_source *source)
{
	struct timespec moment = { .tv_nsec = 1000000 };

	knell_pt_bell_close(&source->bell);
	source->bell = (struct pt_bell){ .event = -1, .stack = NULL };
	while (!source->stop && knell_pt_bell_open(&source->bell) < 0) {
		serve(source);
		pthread_mutex_unlock(&source->lock);
		nanosleep(&moment, NULL);
		pthread_mutex_lock(&source->lock);
	}
}

/*
 * What the terminal kills (^C) is a root and its children at once, but we hear one after the other,
 * and whoever runs the root may want no more when it is dead. So those that are dying are heard
 * first: the kernel offers the newest first, and the root again when there is no other.
 */
static bool let_others_die(struct pt_source *source, const siginfo_t *info)
{
	struct timespec moment = { .tv_nsec = ROOT_POLL_NS };
	const struct pt_process *process = knell_pt_find_process(&source->table, info->si_pid);

	if (!process || !process->root || info->si_code == CLD_EXITED)
		return false;
	if (process->references == 1 || source->root_looks == ROOT_LOOKS) {
		source->root_looks = 0;
		return false;
	}
	source->root_looks++;
	pthread_mutex_unlock(&source->lock);
	nanosleep(&moment, NULL);
	pthread_mutex_lock(&source->lock);
	return true;
}

static void happened(struct pt_source *source, const siginfo_t *info)
{
	bool is_stop = info->si_code == CLD_TRAPPED || info->si_code == CLD_STOPPED;

	if (info->si_pid == source->bell.pid) {
		if (is_stop)
			knell_pt_resume(info->si_pid, 0);
		else
			revive_bell(source);
	} else if (is_stop) {
		stopped(source, info->si_pid, info->si_status);
	} else if (!let_others_die(source, info)) {
		knell_pt_died(source, info->si_pid, info);
	}
}

static bool look(idtype_t type, pid_t pid, int flags, siginfo_t *info)
{
	info->si_pid = 0;
	return waitid(type, (id_t)pid, info, WEXITED | WSTOPPED | WNOWAIT | PT_WAIT | flags) == 0 &&
	       info->si_pid != 0;
}

/*
 * On a machine with many CPUs the newest tasks may keep the tracer busy for so long that an old one
 * that stopped is not seen. One directed look at each, now and then, costs less than one at all.
 */
static void sweep(struct pt_source *source)
{
	size_t count = 0;
	pid_t *tids;
	siginfo_t info;

	if (++source->since_sweep < SWEEP_EVERY || source->since_sweep < source->table.used)
		return;
	source->since_sweep = 0;
	tids = malloc(source->table.used * sizeof(*tids));
	if (!tids)
		return;
	for (size_t i = 0; i < source->table.capacity; i++) {
		if (source->table.slots[i])
			tids[count++] = source->table.slots[i]->tid;
	}
	for (size_t i = 0; i < count; i++) {
		if (look(P_PID, tids[i], WNOHANG, &info))
			happened(source, &info);
	}
	free(tids);
}

/* The next stop or death, but not for ever while somebody is held. */
static bool wait_for_any(bool holding, siginfo_t *info)
{
	struct timespec moment = { .tv_nsec = HELD_POLL_NS };

	if (look(P_ALL, 0, holding ? WNOHANG : 0, info))
		return true;
	if (holding)
		nanosleep(&moment, NULL);
	return false;
}

static void trace(struct pt_source *source)
{
	siginfo_t info;

	while (!source->stop) {
		bool holding = source->held_count > 0;
		bool seen;

		pthread_mutex_unlock(&source->lock);
		seen = wait_for_any(holding, &info);
		pthread_mutex_lock(&source->lock);
		if (seen) {
			happened(source, &info);
			sweep(source);
		}
		if (holding)
			knell_pt_release_old(source);
		serve(source);
		knell_pt_wait_for_room(source);
	}
}

void *knell_pt_tracer(void *arg)
{
	struct pt_source *source = arg;
	int error = knell_pt_bell_open(&source->bell);

	pthread_mutex_lock(&source->lock);
	source->up = true;
	source->up_error = error;
	pthread_cond_broadcast(&source->caller_wakes);
	if (error == 0) {
		trace(source);
		if (source->bell.event >= 0)
			knell_pt_bell_close(&source->bell);
	}
	pthread_mutex_unlock(&source->lock);
	/* With the thread ends its tracing: the kernel lets every task go. */
	return NULL;
}
