/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_life.c - what tasks do while they live: births, exec, changes of name and of ids. Takes
 * messages in the order of the socket, keeps the table, and tells.
 *
 * Order. The kernel queues a fork's message before it lets the child run, each other message on the
 * thread whose life it tells, and into a socket synchronously. So the order of the socket is causal
 * across all CPUs: a birth comes before anything that the child does, and a change of ids before
 * the exit. Only exits may be late: the message is sent after the parent was notified, so the
 * parent may have reaped the task, and (if the CPU is taken away there for long enough) the number
 * may be another's by then. Such an exit has no parent in its message: connector_death.c.
 *
 * What the message of a birth calls the parent is the real parent. With CLONE_PARENT that is not
 * the task that called clone(2): the child's name and ids are then those of the parent until
 * something is heard of them, and a child of the root of a watched subtree is not in the subtree.
 */
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "connector.h"

/* A task that was found in /proc is in there a little before its birth is told. */
#define BIRTH_SLACK UINT64_C(50000000)

/* So long after an exit of a thread it may have been the leader's, which exec replaced. */
#define SWAP_TIME UINT64_C(1000000000)

bool cn_wanted(const struct cn_source *s, const struct cn_process *p)
{
	return !p->ghost && (p->root || p->subtree || (s->stream && p->passes));
}

/* Once it passes, it does until it dies. */
void cn_check_filter(struct cn_source *s, struct cn_process *p)
{
	const struct knell_filter *filter = &s->options.filter;

	if (s->stream && !p->passes)
		p->passes = !(filter->match & KNELL_MATCH_UID) ||
			    (cn_knows(s, &p->leader, CN_UID) && p->leader.uid == filter->uid);
	if (p->counted || !cn_wanted(s, p))
		return;
	p->counted = true;
	if (++s->watched > s->watched_peak)
		s->watched_peak = s->watched;
}

/* Its birth is still to be heard, for sure: what is heard before is another one's. */
bool cn_is_early(const struct cn_source *s, const struct cn_process *p)
{
	return p->expected && p->losses == s->losses;
}

/* No memory for a process: it will not be known when it dies, either. */
static void tell_unknown_life(struct cn_source *s)
{
	struct knell_gap gap = { .cause = KNELL_GAP_RESERVE, .births = 1, .deaths = 1 };

	knell_engine_deliver_gap(s->base.engine, 0, &gap, 0);
}

/*
 * Who has this number now is another one; `p` is dead, but was not heard to die. If nothing was
 * lost, its exit is late, and is told when it comes.
 */
void cn_bury(struct cn_source *s, struct cn_process *p, struct cn_process *next)
{
	if (!p->ghost && (p->root || p->losses != s->losses))
		cn_presume_dead(s, p);
	cn_detach(s, p);
	if (p->ghost)
		cn_free_process(s, p);
	else
		next->late = p;
}

/* The same where nothing may be told now, because a watch is being set: its exit is to come. */
void cn_bury_quietly(struct cn_source *s, struct cn_process *p, struct cn_process *next)
{
	int pidfd = p->pidfd;

	if (pidfd >= 0)
		epoll_ctl(s->sleep.epoll_fd, EPOLL_CTL_DEL, pidfd, NULL);
	p->pidfd = -1;
	cn_detach(s, p);
	if (p->ghost) {
		cn_free_process(s, p);
		return;
	}
	p->pidfd = pidfd; /* it may still be asked for the status */
	next->late = p;
}

/* The number of a new process belongs to nobody else. */
static void clear_number(struct cn_source *s, uint32_t tid, struct cn_process *next)
{
	struct cn_task *task = cn_find(s, tid);

	if (!task)
		return;
	if (task == &task->process->leader)
		cn_bury(s, task->process, next);
	else
		cn_remove_thread(s, task); /* its exit is late, or was lost */
}

static void set_birth(struct cn_source *s, struct cn_process *p, const struct cn_message *m)
{
	p->leader.start = cn_boot(s, m);
	p->since = m->event.timestamp_ns;
	p->parent = cn_identify(s, (uint32_t)m->event.event_data.fork.parent_tgid);
	cds_list_del_init(&p->found);
	p->expected = false;
	p->seen = 0;
	cn_check_filter(s, p);
	/* One that passes only later is told then, as found alive. */
	p->told = cn_wanted(s, p);
	if (p->told)
		cn_tell_birth(s, p, &p->leader, m);
}

/* Is this the birth of one whom we know already? Then it is told, if that is still to be done. */
static bool is_known_birth(struct cn_source *s, struct cn_process *p, const struct cn_message *m)
{
	const struct fork_proc_event *fork = &m->event.event_data.fork;
	uint64_t time = m->event.timestamp_ns;

	if (p->expected) {
		/* Older messages are of those who had the number before. */
		if (time >= p->since && (uint32_t)fork->parent_tgid == s->self)
			set_birth(s, p, m);
		return true;
	}
	if (!p->seen || p->ghost || time > p->seen + BIRTH_SLACK)
		return false;
	/*
	 * It was found in /proc before we came here. What was told of it is not told again; and
	 * who watches it knows it by the start that /proc has.
	 */
	if (!p->root && (!p->told || !s->losses))
		set_birth(s, p, m);
	p->seen = 0;
	return true;
}

static void process_born(struct cn_source *s, const struct cn_message *m)
{
	const struct fork_proc_event *fork = &m->event.event_data.fork;
	struct cn_process *parent = cn_find_process(s, (uint32_t)fork->parent_tgid);
	const struct cn_task *forker = cn_find(s, (uint32_t)fork->parent_pid);
	struct cn_process *p = cn_find_process(s, (uint32_t)fork->child_tgid);

	if (p && is_known_birth(s, p, m))
		return;
	if (!s->stream && !(parent && parent->subtree))
		return;
	p = cn_make_process();
	if (!p) {
		tell_unknown_life(s);
		return;
	}
	clear_number(s, (uint32_t)fork->child_tgid, p);
	cn_add_process(s, p, (uint32_t)fork->child_tgid);
	if (forker && forker->process == parent)
		cn_inherit(s, &p->leader, forker);
	if (parent && parent->subtree) {
		p->subtree = true;
		p->cookie = parent->cookie;
	}
	set_birth(s, p, m);
}

static void thread_born(struct cn_source *s, const struct cn_message *m)
{
	const struct fork_proc_event *fork = &m->event.event_data.fork;
	struct cn_process *p = cn_find_process(s, (uint32_t)fork->child_tgid);
	struct cn_task *task = cn_find(s, (uint32_t)fork->child_pid);

	if (!p || p->ghost || m->event.timestamp_ns < p->since || (task && task->process == p))
		return;
	if (task && task == &task->process->leader) {
		cn_presume_dead(s, task->process);
		cn_remove_process(s, task->process);
	} else if (task) {
		cn_remove_thread(s, task);
	}
	task = cn_add_thread(s, p, (uint32_t)fork->child_pid);
	if (!task) {
		p->losses = s->losses - 1; /* then its death is looked at more closely */
		return;
	}
	/* Which thread made it is not said: it has what all have. */
	cn_inherit(s, task, &p->leader);
	cn_forget(task, p->mixed);
	task->start = cn_boot(s, m);
	if (cn_wanted(s, p) && p->told)
		cn_tell_birth(s, p, task, m);
}

/*
 * The process of a message; one that nobody has heard of, although everybody is heard of here, was
 * born while we lost messages, and is taken in now.
 */
static struct cn_process *process_of(struct cn_source *s, uint32_t tgid, const struct cn_message *m)
{
	struct cn_process *p = cn_find_process(s, tgid);
	struct cn_proc proc;

	if (p)
		return m->event.timestamp_ns < p->since || p->ghost || cn_is_early(s, p) ? NULL : p;
	if (!s->stream || !s->losses || !cn_proc_stat(tgid, &proc) || cn_is_dead(proc.state))
		return NULL;
	p = cn_make_process();
	if (!p)
		return NULL;
	clear_number(s, tgid, p);
	cn_add_process(s, p, tgid);
	p->seen = clock_ns(CLOCK_MONOTONIC);
	p->leader.start = proc.start;
	cn_refresh(s, p, &proc);
	cn_check_filter(s, p);
	return p;
}

/* That it lives is told before anything else of it. */
static bool may_tell(struct cn_source *s, struct cn_process *p)
{
	if (!cn_wanted(s, p))
		return false;
	if (!p->told) {
		cds_list_del_init(&p->found);
		cn_tell_alive(s, p);
	}
	return true;
}

/* Those that were found in /proc, and of whom nothing was heard meanwhile. */
void cn_announce_found(struct cn_source *s)
{
	struct cn_process *p, *next;

	cds_list_for_each_entry_safe (p, next, &s->found, found) {
		cds_list_del_init(&p->found);
		may_tell(s, p);
	}
}

/* The only thread besides the leader; NULL: there is none, or more. */
static struct cn_task *only_thread(struct cn_process *p)
{
	if (cds_list_empty(&p->threads) || p->threads.next->next != &p->threads)
		return NULL;
	/* cppcheck-suppress nullPointer ; it is how the macro finds an offset */
	return cds_list_entry(p->threads.next, struct cn_task, sibling);
}

/*
 * A thread that runs exec becomes the leader, with its own ids, when all others are dead; the
 * first that is heard of it in this guise may be its ids, because the file is set-user-id.
 */
static void take_over(struct cn_source *s, struct cn_process *p)
{
	const struct cn_task *thread = only_thread(p);

	if (p->taken || cds_list_empty(&p->threads))
		return;
	p->taken = true;
	if (thread && !p->leader.alive)
		cn_inherit(s, &p->leader, thread);
	else
		cn_forget(&p->leader, p->mixed);
}

/*
 * Exec ends all other threads; their exits are heard before it or after. Who ran it is only known
 * where nobody else was left. The leader that had to go may be heard with the number of the thread
 * that took its place, if they swapped before the kernel told its exit: so who alone is left right
 * after an exit is not certain. 0: not known.
 */
static uint32_t who_execed(struct cn_process *p, const struct cn_message *m)
{
	const struct cn_task *thread = only_thread(p);

	if (thread && !p->leader.alive)
		return thread->tid;
	if (cds_list_empty(&p->threads) &&
	    (!p->left_time || m->event.timestamp_ns - p->left_time > SWAP_TIME))
		return p->leader.tid;
	return 0;
}

static void execed(struct cn_source *s, const struct cn_message *m)
{
	struct cn_process *p = process_of(s, (uint32_t)m->event.event_data.exec.process_tgid, m);
	struct cn_task *task, *next;
	uint32_t old_tid;

	if (!p)
		return;
	old_tid = who_execed(p, m);
	take_over(s, p);
	cds_list_for_each_entry_safe (task, next, &p->threads, sibling) {
		if (may_tell(s, p))
			cn_tell_replaced(s, task, m);
		cn_remove_thread(s, task);
	}
	memset(&p->codes, 0, sizeof(p->codes));
	p->leader.alive = true;
	p->live = 1;
	p->losses = s->losses;
	p->exec_time = m->event.timestamp_ns;
	p->left_time = 0;
	p->taken = false;
	p->mixed = 0;
	cn_forget(&p->leader, CN_COMM);
	if (may_tell(s, p))
		cn_tell_exec(s, p, m, old_tid);
}

static void ids_changed(struct cn_source *s, const struct cn_message *m)
{
	const struct id_proc_event *id = &m->event.event_data.id;
	struct cn_process *p = process_of(s, (uint32_t)id->process_tgid, m);
	struct cn_task *task = cn_find(s, (uint32_t)id->process_pid);
	uint8_t what = cn_kind(m) == PROC_EVENT_UID ? CN_UID : CN_GID;

	if (!p || !task || task->process != p)
		return;
	if (task == &p->leader && !task->alive)
		take_over(s, p);
	if (!cds_list_empty(&p->threads))
		p->mixed |= what;
	if (what == CN_UID)
		task->uid = id->e.euid;
	else
		task->gid = id->e.egid;
	cn_learn(s, task, what);
	cn_check_filter(s, p);
	if (may_tell(s, p))
		cn_tell_ids(s, task, m);
}

static void renamed(struct cn_source *s, const struct cn_message *m)
{
	const struct comm_proc_event *comm = &m->event.event_data.comm;
	struct cn_task *task = cn_find(s, (uint32_t)comm->process_pid);

	if (!task || task->process->leader.tid != (uint32_t)comm->process_tgid ||
	    m->event.timestamp_ns < task->process->since)
		return;
	if (!cds_list_empty(&task->process->threads))
		task->process->mixed |= CN_COMM;
	memcpy(task->comm, comm->comm, sizeof(task->comm));
	cn_learn(s, task, CN_COMM);
}

void cn_handle(struct cn_source *s, const struct cn_message *m)
{
	switch (cn_kind(m)) {
	case PROC_EVENT_FORK:
		if (m->event.event_data.fork.child_pid == m->event.event_data.fork.child_tgid)
			process_born(s, m);
		else
			thread_born(s, m);
		break;
	case PROC_EVENT_EXEC:
		execed(s, m);
		break;
	case PROC_EVENT_UID:
	case PROC_EVENT_GID:
		ids_changed(s, m);
		break;
	case PROC_EVENT_COMM:
		renamed(s, m);
		break;
	case PROC_EVENT_EXIT:
		cn_exited(s, m);
		break;
	default:
		break; /* sessions, tracers, core dumps, answers: counted, but not told */
	}
}
