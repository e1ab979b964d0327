/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace_life.c - births and deaths under the ptrace source: puts tasks into the table and takes
 * them out, finds out whose children they are, and makes the records.
 *
 * A birth is two stops: the parent's event, which names the child, and the child's own first one.
 * They arrive in either order, and a parent that is killed in between never stops. So a newcomer
 * that nobody has named yet is held in its stop until its parent is heard, but not for long: then
 * /proc says what it is, and its parent's event, should it still come, is ignored.
 *
 * Resource use at death. rusage of wait4(2) is that of the process and of the children that it
 * waited for. A process that had none dead (most) is told from it. For others the CPU time is read
 * from the process's own clock while it is a zombie, which costs four system calls more and is as
 * exact; the peak resident set is its own if it exceeds that of every dead child, else unknown; and
 * page faults are unknown. (An exit stop would tell them, at the price of a stop for each.)
 */
#include <linux/sched.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ptrace.h"

/* Without EXITKILL: if Knell dies, they go on. Without EXIT: it would cost a stop for each. */
#define TASK_OPTIONS                                                                               \
	(PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

/* A parent that is only waiting for a CPU is heard sooner than this. */
#define HOLD_NS 300000000u
/* Who lived for less is not asked for its name when it dies. */
#define NAME_LIFE_NS 1000000u

static void set_self(const struct pt_source *source, struct knell_task_id *parent)
{
	parent->tid = parent->tgid = (__u32)source->self;
	parent->start = source->self_start;
}

/* Of a task that is stopped or a zombie: who its parent is now. NULL and 0: not known. */
static struct pt_process *look_up_parent(const struct pt_source *source, pid_t tgid,
					 struct knell_task_id *ret)
{
	struct pt_process *parent;
	struct pt_status status, again;
	uint64_t start;

	memset(ret, 0, sizeof(*ret));
	if (!knell_pt_proc_status(source, tgid, &status) || status.ppid == 0)
		return NULL;
	if (status.ppid == source->self) {
		set_self(source, ret);
		return NULL;
	}
	parent = knell_pt_find_process(&source->table, status.ppid);
	if (parent) {
		ret->tid = ret->tgid = (__u32)parent->leader.tid;
		ret->start = parent->leader.start;
		return parent;
	}
	/* Init, or a stranger. If it is still the parent afterwards, its start was its own. */
	if (!knell_pt_proc_start(status.ppid, &start) ||
	    !knell_pt_proc_status(source, tgid, &again) || again.ppid != status.ppid)
		return NULL;
	ret->tid = ret->tgid = (__u32)status.ppid;
	ret->start = start;
	return NULL;
}

/* Fills in who the parent is now; returns it if we follow it. */
static struct pt_process *find_parent(const struct pt_source *source,
				      const struct pt_process *process, struct knell_task_id *ret)
{
	struct pt_process *parent = process->parent;

	memset(ret, 0, sizeof(*ret));
	if (process->parent_kind == PT_PARENT_SELF) {
		set_self(source, ret);
		return NULL;
	}
	if (process->parent_kind == PT_PARENT_LOOKUP || parent->dead)
		return look_up_parent(source, process->leader.tid, ret);
	ret->tid = ret->tgid = (__u32)parent->leader.tid;
	ret->start = parent->leader.start;
	return parent;
}

void knell_pt_fill_parent(struct pt_source *source, const struct pt_process *process,
			  struct knell_event *event)
{
	find_parent(source, process, &event->parent);
	/* Killed in the middle of its fork the parent was not heard; that we adopted the child
	 * since does not make us its parent at birth. */
	if (event->kind == KNELL_CLONE && process->parent_kind == PT_PARENT_LOOKUP &&
	    event->parent.tid == (__u32)source->self)
		memset(&event->parent, 0, sizeof(event->parent));
	if (event->parent.tid == 0)
		event->unknown |= KNELL_U_PARENT;
}

/* Who is forked by `forker` with these flags is its child, or its sibling. */
static void set_parent(struct pt_process *process, struct pt_process *forker, bool sibling)
{
	if (!forker)
		knell_pt_set_parent(process, PT_PARENT_LOOKUP, NULL);
	else if (!sibling)
		knell_pt_set_parent(process, PT_PARENT_TRACEE, forker);
	else if (forker->parent_kind == PT_PARENT_TRACEE && forker->parent->dead)
		knell_pt_set_parent(process, PT_PARENT_LOOKUP, NULL);
	else
		knell_pt_set_parent(process, forker->parent_kind, forker->parent);
}

static void count_alive(struct pt_source *source)
{
	unsigned int alive = __atomic_add_fetch(&source->alive, 1, __ATOMIC_SEQ_CST);

	if (alive > source->most_alive)
		source->most_alive = alive;
}

/* Call it after the pushes: who sees none alive finds all that was pushed. */
static void count_dead(struct pt_source *source)
{
	if (__atomic_sub_fetch(&source->alive, 1, __ATOMIC_SEQ_CST) == 0)
		knell_pt_wake(source, true);
	else
		knell_pt_wake(source, false);
}

/* What is known of a clone. */
struct birth {
	pid_t tid;
	bool is_thread;
	bool sibling; /* CLONE_PARENT */
	bool unheard; /* met by itself; the one that /proc shows as its parent may have adopted it
		       */
	bool flags_known;
	uint64_t flags;
	uint32_t exit_signal;
	struct pt_process *forker; /* may be NULL */
	char comm[KNELL_COMM_LEN]; /* of the thread that forked */
};

static void tell_birth(struct pt_source *source, const struct pt_task *task, enum knell_scope scope,
		       const struct birth *birth)
{
	struct knell_event *event;

	if (scope == KNELL_THREAD && !(source->flags & KNELL_O_THREADS))
		return;
	event = knell_pt_begin(source, KNELL_CLONE, scope, task);
	event->u.clone.flags = birth->flags;
	event->u.clone.exit_signal = birth->exit_signal;
	if (!birth->flags_known)
		event->unknown |= KNELL_U_FLAGS;
	if (birth->unheard && scope == KNELL_PROCESS) {
		memset(&event->parent, 0, sizeof(event->parent));
		event->unknown |= KNELL_U_PARENT;
	}
	knell_pt_commit(source);
}

/* No memory for a task: it runs on, and its birth and its death are counted. */
static void go_blind(struct pt_source *source, const struct birth *birth)
{
	source->unsure = true;
	source->gap.cause = KNELL_GAP_RING;
	if (birth->is_thread)
		source->gap.others += 2;
	else
		source->gap.births++;
	if (source->blind_count < PT_BLIND_MAX) {
		source->blind[source->blind_count++] = birth->tid;
		if (!birth->is_thread)
			count_alive(source);
	} else if (!birth->is_thread) {
		source->gap.deaths++; /* it will not be known when it dies */
	}
	knell_pt_wake(source, false);
}

/* One of those that there was no memory for? */
static bool is_blind(const struct pt_source *source, pid_t tid)
{
	for (unsigned int i = 0; i < source->blind_count; i++) {
		if (source->blind[i] == tid)
			return true;
	}
	return false;
}

static bool forget_blind(struct pt_source *source, pid_t tid)
{
	for (unsigned int i = 0; i < source->blind_count; i++) {
		if (source->blind[i] == tid) {
			source->blind[i] = source->blind[--source->blind_count];
			return true;
		}
	}
	return false;
}

/* Only a leader is a task of the group of its own number. It may be a zombie. */
static bool is_leader(pid_t tid)
{
	return syscall(SYS_tgkill, tid, tid, 0) == 0 || errno != ESRCH;
}

static struct pt_task *add_thread(struct pt_source *source, const struct birth *birth)
{
	struct pt_task *task =
		knell_pt_add_thread(&source->table, birth->forker, birth->tid, knell_now());

	if (task)
		tell_birth(source, task, KNELL_THREAD, birth);
	return task;
}

static struct pt_task *add_process(struct pt_source *source, const struct birth *birth)
{
	struct pt_process *process = knell_pt_add_process(&source->table, birth->tid, knell_now());

	if (!process)
		return NULL;
	set_parent(process, birth->forker, birth->sibling);
	memcpy(process->comm, birth->comm, sizeof(process->comm));
	count_alive(source);
	tell_birth(source, &process->leader, KNELL_PROCESS, birth);
	return &process->leader;
}

static struct pt_task *add(struct pt_source *source, const struct birth *birth)
{
	struct pt_task *task;

	if (birth->is_thread && birth->forker)
		task = add_thread(source, birth);
	else
		task = add_process(source, birth);
	if (!task)
		go_blind(source, birth);
	return task;
}

/*
 * The first task of a subtree, as knell_fork() made it: it waits, and so does its caller. It is in
 * the table before it is seized, so that nothing can fail once it is.
 */
int knell_pt_root(struct pt_source *source, const struct pt_request *request)
{
	struct pt_process *process =
		knell_pt_add_process(&source->table, request->pid, knell_now());
	struct birth birth = { .exit_signal = SIGCHLD };
	int error;

	if (!process)
		return -ENOMEM;
	if (ptrace(PTRACE_SEIZE, request->pid, NULL, (void *)TASK_OPTIONS) < 0) {
		error = -errno;
		knell_pt_remove_process(&source->table, process);
		return error;
	}
	process->root = true;
	process->leader.started = true;
	memcpy(process->comm, request->comm, sizeof(process->comm));
	knell_pt_set_parent(process, PT_PARENT_SELF, NULL);
	count_alive(source);
	tell_birth(source, &process->leader, KNELL_PROCESS, &birth);
	return 0;
}

/*
 * A number that we have as a thread's may be another task's: exec by a thread frees its number
 * before we hear of it. No other entry can be stale.
 */
bool knell_pt_drop_stale(struct pt_source *source, struct pt_task *task)
{
	struct pt_process *process = task->process;

	if (task == &process->leader ||
	    syscall(SYS_tgkill, process->leader.tid, task->tid, 0) == 0 || errno == EPERM)
		return false;
	knell_pt_remove_thread(&source->table, task);
	return true;
}

static void drop_held(struct pt_source *source, size_t index)
{
	struct pt_held *at = &source->held[index];

	source->held_count--;
	memmove(at, at + 1, (source->held_count - index) * sizeof(*at));
}

static bool unhold(struct pt_source *source, pid_t tid)
{
	for (size_t i = 0; i < source->held_count; i++) {
		if (source->held[i].tid == tid) {
			drop_held(source, i);
			return true;
		}
	}
	return false;
}

/* Is it ours to wait for? Not any more if it came and went before its parent was heard. */
static bool is_tracee(pid_t tid)
{
	siginfo_t info;

	return waitid(P_PID, (id_t)tid, &info, WEXITED | WSTOPPED | WNOWAIT | WNOHANG | PT_WAIT) ==
	       0;
}

/* Reads all that the parent's stop has to say, before it is let go. False: the parent is dying. */
static bool read_birth(struct pt_source *source, pid_t parent_tid, unsigned int event,
		       struct birth *ret)
{
	unsigned long child;
	struct pt_task *parent;
	struct pt_status status;

	if (ptrace(PTRACE_GETEVENTMSG, parent_tid, NULL, &child) < 0 || child == 0)
		return false;
	parent = knell_pt_find(&source->table, parent_tid);
	memset(ret, 0, sizeof(*ret));
	ret->tid = (pid_t)child;
	ret->forker = parent ? parent->process : NULL;
	knell_pt_learn_name(source, ret->forker, parent_tid, ret->comm);
	ret->flags_known = knell_pt_clone_flags(parent_tid, event, &ret->flags, &ret->exit_signal);
	if (ret->flags_known) {
		ret->is_thread = ret->flags & CLONE_THREAD;
		ret->sibling = ret->flags & CLONE_PARENT;
		return true;
	}
	ret->is_thread = !is_leader(ret->tid);
	if (ret->is_thread)
		return true;
	/* A sibling (CLONE_PARENT), or adopted since its parent was killed: nobody can say. */
	ret->unheard = ret->forker && knell_pt_proc_status(source, ret->tid, &status) &&
		       status.ppid != ret->forker->leader.tid;
	if (event != PTRACE_EVENT_CLONE)
		ret->exit_signal = SIGCHLD;
	return true;
}

/* The parent's event stop: fork, vfork or clone. */
void knell_pt_born(struct pt_source *source, pid_t parent_tid, unsigned int event)
{
	struct birth birth;
	struct pt_task *task;
	bool known = read_birth(source, parent_tid, event, &birth);

	knell_pt_resume(parent_tid, 0);
	if (!known)
		return;
	if (source->unsure && (is_blind(source, birth.tid) || !is_tracee(birth.tid)))
		return;
	task = knell_pt_find(&source->table, birth.tid);
	if (task && task->early) {
		task->early = false;
		return;
	}
	if (task && !knell_pt_drop_stale(source, task))
		return;
	task = add(source, &birth);
	if (!unhold(source, birth.tid))
		return;
	if (task)
		task->started = true;
	knell_pt_resume(birth.tid, 0);
}

/* A held task whose parent was not heard: births are told of whatever /proc shows it to be. */
static struct pt_task *resolve(struct pt_source *source, pid_t tid)
{
	struct birth birth = { .tid = tid, .unheard = true };
	struct pt_status status;
	struct pt_task *task;

	if (knell_pt_proc_status(source, tid, &status)) {
		birth.is_thread = status.tgid != tid;
		birth.forker = knell_pt_find_process(&source->table,
						     birth.is_thread ? status.tgid : status.ppid);
	} else {
		birth.is_thread = !is_leader(tid);
	}
	source->unsure = true;
	knell_pt_learn_name(source, birth.forker, tid, birth.comm);
	birth.flags_known = knell_pt_clone_flags(tid, 0, &birth.flags, &birth.exit_signal);
	task = add(source, &birth);
	if (task)
		task->early = task->started = true;
	return task;
}

/* Lets those go whose parent has not been heard for so long that it must have been killed. */
void knell_pt_release_old(struct pt_source *source)
{
	uint64_t now = knell_now();

	while (source->held_count > 0 && now - source->held[0].since > HOLD_NS) {
		pid_t tid = source->held[0].tid;

		drop_held(source, 0);
		resolve(source, tid);
		knell_pt_resume(tid, 0);
	}
}

static bool make_room_to_hold(struct pt_source *source)
{
	size_t room = source->held_room ? source->held_room * 2 : 16;
	struct pt_held *grown;

	if (source->held_count < source->held_room)
		return true;
	grown = realloc(source->held, room * sizeof(*grown));
	if (!grown)
		return false;
	source->held = grown;
	source->held_room = room;
	return true;
}

/* The first stop of a task that nobody has named yet. */
void knell_pt_hold(struct pt_source *source, pid_t tid)
{
	if (is_blind(source, tid)) {
		knell_pt_resume(tid, 0);
		return;
	}
	if (!make_room_to_hold(source)) {
		resolve(source, tid);
		knell_pt_resume(tid, 0);
		return;
	}
	if (!knell_pt_take_stop(tid))
		return;
	source->held[source->held_count++] = (struct pt_held){ .tid = tid, .since = knell_now() };
}

static uint64_t clock_of(pid_t tgid, unsigned int which)
{
	struct timespec time;

	/* As clock_getcpuclockid(3) makes it, which is for one clock of the three only. */
	if (clock_gettime((clockid_t)(~(unsigned int)tgid << 3 | which), &time) < 0)
		return 0;
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Splits the exact sum in the proportion of the sampled parts, as the kernel does for rusage. */
static void own_times(pid_t tgid, struct knell_usage *usage)
{
	enum {
		CLOCK_PROF,
		CLOCK_VIRT,
		CLOCK_SCHED
	};
	uint64_t both = clock_of(tgid, CLOCK_PROF);
	uint64_t user = clock_of(tgid, CLOCK_VIRT);
	uint64_t exact = clock_of(tgid, CLOCK_SCHED);

	if (user >= both)
		usage->utime = exact;
	else
		usage->utime = (uint64_t)((unsigned __int128)exact * user / both);
	usage->stime = exact - usage->utime;
}

static uint64_t ns_of(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_usec * 1000u;
}

static void fill_usage(const struct pt_process *process, const struct rusage *rusage,
		       struct knell_event *event)
{
	struct knell_usage *usage = &event->u.exit.usage;
	uint64_t maxrss = (uint64_t)rusage->ru_maxrss * 1024;

	event->flags |= KNELL_F_USAGE_FINAL;
	if (!process->has_buried) {
		usage->utime = ns_of(&rusage->ru_utime);
		usage->stime = ns_of(&rusage->ru_stime);
		usage->minflt = (uint64_t)rusage->ru_minflt;
		usage->majflt = (uint64_t)rusage->ru_majflt;
	} else {
		event->unknown |= KNELL_U_FAULTS;
	}
	if (!process->has_buried || maxrss > process->buried_maxrss)
		usage->maxrss = maxrss;
	else
		event->unknown |= KNELL_U_RSS;
}

/* As wait(2) has it, from what waitid(2) saw, in case that a thread of the host took the rest. */
static int status_of(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return info->si_status << 8;
	return info->si_status | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

static void thread_died(struct pt_source *source, struct pt_task *task, const siginfo_t *info)
{
	struct knell_event *event;
	int status;

	if (wait4(task->tid, &status, PT_WAIT, NULL) != task->tid)
		status = status_of(info);
	if (source->flags & KNELL_O_THREADS) {
		event = knell_pt_begin(source, KNELL_EXIT, KNELL_THREAD, task);
		event->u.exit.status = status;
		event->unknown |= KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;
		knell_pt_fill_cause(task->process, event);
		knell_pt_commit(source);
	}
	knell_pt_remove_thread(&source->table, task);
}

/* Waits for a dead process; `info` is what was seen of it. Returns its peak resident set, in bytes.
 */
static uint64_t take_body(const struct pt_process *process, const siginfo_t *info,
			  struct knell_event *event)
{
	pid_t tgid = process->leader.tid;
	struct rusage rusage;

	if (process->has_buried)
		own_times(tgid, &event->u.exit.usage);
	if (wait4(tgid, &event->u.exit.status, PT_WAIT, &rusage) == tgid) {
		fill_usage(process, &rusage, event);
		return (uint64_t)rusage.ru_maxrss * 1024;
	}
	/* Some thread of the host waits for whatever comes, and took it. */
	event->u.exit.status = status_of(info);
	event->unknown |= KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;
	memset(&event->u.exit.usage, 0, sizeof(event->u.exit.usage));
	return UINT64_MAX;
}

static void process_died(struct pt_source *source, struct pt_process *process,
			 const siginfo_t *info)
{
	struct knell_event *event;
	struct pt_process *parent;
	char comm[KNELL_COMM_LEN];
	uint64_t maxrss;
	bool ours;

	/* It may have renamed itself. To ask costs as much as all the rest: not for the shortest.
	 */
	if (knell_now() - process->leader.start > NAME_LIFE_NS)
		knell_pt_learn_name(source, process, process->leader.tid, comm);
	event = knell_pt_begin(source, KNELL_EXIT, KNELL_PROCESS, &process->leader);
	parent = knell_pt_find_process(&source->table, (pid_t)event->parent.tgid);
	ours = event->parent.tgid == (__u32)source->self;
	maxrss = take_body(process, info, event);
	if (parent) {
		parent->has_buried = true;
		if (maxrss > parent->buried_maxrss)
			parent->buried_maxrss = maxrss;
	}
	knell_pt_fill_cause(process, event);
	if (process->root)
		knell_pt_commit_now(source);
	else
		knell_pt_commit(source);
	if (ours)
		knell_pt_push_reap(source, process->leader.tid, event->u.exit.status,
				   process->root);
	if (process->has_buried)
		__atomic_store_n(&source->adopted, true, __ATOMIC_SEQ_CST);
	knell_pt_bury(source, process);
	knell_pt_remove_process(&source->table, process);
	count_dead(source);
}

/* One that there was no memory for, or no more than to count it. */
static void blind_died(struct pt_source *source, pid_t tid)
{
	bool counted = forget_blind(source, tid) && is_leader(tid);

	wait4(tid, NULL, PT_WAIT, NULL);
	if (!counted)
		return;
	source->gap.cause = KNELL_GAP_RING;
	source->gap.deaths++;
	count_dead(source);
}

/* A death that was seen, and not yet waited for: until then the number is its own. */
void knell_pt_died(struct pt_source *source, pid_t tid, const siginfo_t *info)
{
	struct pt_task *task = knell_pt_find(&source->table, tid);

	if (!task && !is_blind(source, tid)) {
		unhold(source, tid);
		task = resolve(source, tid);
	}
	if (!task)
		blind_died(source, tid);
	else if (task == &task->process->leader)
		process_died(source, task->process, info);
	else
		thread_died(source, task, info);
}
