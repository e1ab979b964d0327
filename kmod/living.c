// SPDX-License-Identifier: GPL-2.0-only
/*
 * living.c - those who live already, or have died, when somebody asks for them: they are taken in,
 * join a wide root, are told again, and are kept in mind until they are freed.
 *
 * Owns nothing: the table is watch.c's. All is stored first, then checked; the claims of a watch
 * decide who tells of a death meanwhile.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "engine.h"

/* Is it one of those whom a root of everybody's tells of? In an RCU section. */
bool knell_root_wants(const struct knell_root *root, struct task_struct *task, const char *comm)
{
	const struct knell_match *match = &root->match;

	if (!(root->flags & KNELL_KMOD_ALL))
		return false;
	if (match->match & KNELL_KMOD_MATCH_UID &&
	    from_kuid(&init_user_ns, rcu_dereference(task->real_cred)->euid) != match->uid)
		return false;
	if (match->match & KNELL_KMOD_MATCH_CGROUP &&
	    cgroup_id(task_dfl_cgroup(task)) != match->cgroup)
		return false;
	return !(match->match & KNELL_KMOD_MATCH_COMM) ||
	       strncmp(comm, match->comm, KNELL_COMM_LEN) == 0;
}

/* Below whom it is, if that one's descendants are taken in. */
static struct knell_watch *above(const struct knell_root *root, struct task_struct *task)
{
	struct task_struct *parent = rcu_dereference(task->real_parent);
	struct knell_watch *watch = knell_watch_of(root, parent->signal);

	return watch && READ_ONCE(watch->inherit) ? watch : NULL;
}

/* Is its parent beyond the reserve, and passes on? */
static bool below_beyond(const struct knell_root *root, struct task_struct *task)
{
	return knell_passes_on(root, rcu_dereference(task->real_parent)->tgid);
}

static bool belongs(const struct knell_root *root, struct task_struct *task)
{
	return above(root, task) || knell_root_wants(root, task, task->comm) ||
	       below_beyond(root, task);
}

/* One that is in already, but for itself alone, is now below somebody. True: that is new. */
static bool hand_down(struct knell_root *root, struct task_struct *task)
{
	struct knell_watch *watch = knell_watch_of(root, task->signal);
	struct knell_watch *parent = above(root, task);

	if (!watch || READ_ONCE(watch->inherit) || !(parent || below_beyond(root, task)))
		return false;
	WRITE_ONCE(watch->inherit, true);
	if (parent && !watch->cookie)
		WRITE_ONCE(watch->cookie, READ_ONCE(parent->cookie));
	return true;
}

/* It was counted as beyond the reserve: did it die, too early for its probe? */
static void check_beyond(struct knell_root *root, struct signal_struct *signal, pid_t nr)
{
	smp_mb(); /* As in knell_watch_check(). */
	preempt_disable();
	if (!atomic_read(&signal->live))
		knell_died_beyond(root, nr);
	preempt_enable();
}

/*
 * Takes in one that lives, unless it is in. It must live under the lock: a watch of one that is
 * dead may have been told, and be out of the table. True: something is new. In an RCU section.
 * Name: what it is called in a moment.
 */
static bool take_in_one(struct knell_root *root, struct task_struct *task, const char *name)
{
	struct task_struct *parent = rcu_dereference(task->real_parent);
	struct signal_struct *signal = task->signal;
	struct pid *pid = knell_tgid_of(signal);
	unsigned int how = KNELL_SETTLE_FOUND;
	bool is_new = false, changed = false;
	struct knell_watch *watch = NULL;
	unsigned long flags;

	if (!pid)
		return false;
	raw_spin_lock_irqsave(&root->lock, flags);
	if (below_beyond(root, task) && !(root->flags & KNELL_KMOD_ALL))
		how |= KNELL_SETTLE_INHERIT;
	if (atomic_read(&signal->live)) {
		changed = hand_down(root, task);
		is_new = !root->ended && !knell_root_has(root, signal, pid);
	}
	if (is_new)
		watch = knell_watch_settle(root, knell_watch_of(root, parent->signal), task, pid,
					   how, 0);
	if (watch)
		strscpy(watch->birth.comm, name, sizeof(watch->birth.comm));
	raw_spin_unlock_irqrestore(&root->lock, flags);
	if (watch)
		knell_watch_check(watch, task, KNELL_PENDING_BIRTH);
	else if (is_new)
		check_beyond(root, signal, pid_nr(pid));
	return is_new || changed;
}

/*
 * Takes in all that live and belong to a root: it is stored, and its hooks are armed. A task is put
 * among all tasks before task_newtask tells of it, with locked instructions in between, so either
 * the probe sees what we stored before we looked, or we see the task. While it is new the probe may
 * still come: then it is left to it, and looked at again if it was begun before what is stored now.
 * Not for ever: fork(2) may wait for memory that a program of somebody else gives it. A pass that
 * finds nobody new is the last one. Who was reparented away before is not found.
 */
void knell_root_take_in(struct knell_root *root)
{
	struct task_struct *task;
	u64 stored = ktime_get_boottime_ns();
	unsigned int waited = 0;
	bool added, unsure;

	do {
		added = unsure = false;
		smp_mb(); /* Pairs with the locks between the list of tasks and task_newtask. */
		rcu_read_lock();
		for_each_process (task) {
			if (!belongs(root, task))
				continue;
			if (knell_is_new(task) && waited < KNELL_PATIENCE)
				unsure |= task->start_boottime <= stored;
			else
				added |= take_in_one(root, task, task->comm);
		}
		rcu_read_unlock();
		if (added)
			stored = ktime_get_boottime_ns();
		if (unsure) {
			schedule_timeout_uninterruptible(1);
			waited++;
		}
		cond_resched();
	} while ((added || unsure) && !READ_ONCE(root->ended) && !fatal_signal_pending(current));
}

/* In a probe: roots with a filter that this process passes only now take it in. */
void knell_follow(struct task_struct *task, const char *comm)
{
	struct knell_root *root;

	if (!atomic_read(&knell_wide))
		return;
	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link)
		if (root->match.match && knell_root_wants(root, task, comm))
			take_in_one(root, task, comm);
}

/*
 * It was stored. A living one is told alive; of a dead one the exit is told here, too: at once, or
 * when it has come so far.
 */
static int settle_joined(struct knell_watch *watch, struct task_struct *leader)
{
	unsigned int pending = KNELL_PENDING_BIRTH;

	smp_mb(); /* Pairs with atomic_dec_and_test(&signal->live) in do_exit(). */
	preempt_disable();
	if (!atomic_read(&watch->signal->live) && knell_death_claim(watch)) {
		/*
		 * If it has its number still, it is freed after the RCU section that we are in, and
		 * the free's probe finds the watch. Else it is gone, and must not be found for
		 * another one.
		 */
		if (knell_tgid_of(watch->signal) != watch->pid)
			goto gone;
		watch->late = true;
		knell_death_take_late(&watch->death, leader);
		pending |= knell_death_tell(watch);
	}
	knell_reap_queue(watch, pending);
	preempt_enable();
	return 0;

gone:
	preempt_enable();
	WRITE_ONCE(watch->claimed, ~0ul);
	atomic_dec(&watch->root->alive); /* not the last one: it is wide */
	knell_watch_unhash(watch);
	return -ESRCH;
}

/* root->lock is held. */
static void ask_more(struct knell_watch *watch, const struct knell_kmod_watch *request)
{
	WRITE_ONCE(watch->top, true);
	if (request->flags & KNELL_KMOD_SUBTREE) {
		WRITE_ONCE(watch->root->inherits, true);
		WRITE_ONCE(watch->inherit, true);
	}
	if (request->cookie)
		WRITE_ONCE(watch->cookie, request->cookie);
}

/*
 * One that is beyond the reserve, or was not in at all, gets a watch, as found alive: there is one
 * left. Of one that was counted before its bit goes last, so that whoever it makes finds one of
 * both; and the count of those alive never goes down. root->lock is held.
 */
static struct knell_watch *come_back(struct knell_root *root, struct task_struct *task,
				     struct pid *pid)
{
	bool inherit = knell_passes_on(root, pid_nr(pid)) && !(root->flags & KNELL_KMOD_ALL);
	struct knell_watch *watch =
		knell_watch_settle(root, NULL, task, pid,
				   KNELL_SETTLE_FOUND | (inherit ? KNELL_SETTLE_INHERIT : 0), 0);

	smp_mb__before_atomic(); /* Pairs with birth_wide(). */
	if (test_and_clear_bit(pid_nr(pid), root->beyond)) {
		atomic_dec(&knell_wide);
		atomic_dec(&root->alive);
	}
	return watch;
}

/*
 * Finds or makes the watch of who joins; it is counted for the caller. One that is new is left to
 * the probe of its birth, as in knell_root_take_in().
 */
static int join(struct knell_root *root, struct task_struct *leader, struct pid *pid,
		const struct knell_kmod_watch *request, bool patient,
		struct knell_watch **ret_watch, bool *ret_new)
{
	struct knell_watch *watch;
	unsigned long flags;
	int error = 0;

	raw_spin_lock_irqsave(&root->lock, flags);
	watch = knell_watch_of(root, leader->signal);
	*ret_new = !watch;
	if (root->ended)
		error = -ENOENT;
	else if (!watch && patient && knell_is_new(leader))
		error = -EAGAIN;
	else if (!watch && list_empty(&root->reserve))
		error = -ENOSPC;
	else if (!watch)
		watch = come_back(root, leader, pid);
	if (!error && !refcount_inc_not_zero(&watch->refs))
		error = -EALREADY; /* cannot be: the table counts it */
	if (!error)
		ask_more(watch, request);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	*ret_watch = watch;
	return error;
}

/*
 * A process joins a wide root, dead or alive: if it is not in, it is told alive, and dead if it is
 * a zombie. -EALREADY: its exit was read before. -ESRCH: it is released. -ENOSPC: no watch is left.
 * -EAGAIN: it is being made, and we are patient. Who leads it is asked here, for whoever did before
 * may be released, and its parent be freed.
 */
int knell_root_join(struct knell_root *root, struct pid *pid,
		    const struct knell_kmod_watch *request, bool patient)
{
	struct task_struct *leader;
	struct knell_watch *watch;
	bool is_new;
	int error = -ESRCH;

	rcu_read_lock();
	leader = pid_task(pid, PIDTYPE_TGID);
	if (leader)
		error = join(root, leader, pid, request, patient, &watch, &is_new);
	if (!error) {
		if (is_new)
			error = settle_joined(watch, leader);
		else if (knell_exit_was_read(watch))
			error = -EALREADY;
		knell_watch_put(watch);
	}
	rcu_read_unlock();
	return error;
}

/* Half of the reserve. */
static u32 most_dead(const struct knell_root *root)
{
	return (root->places - 1) / 2;
}

/* Its exit is told: it waits for its free. True: too many do. */
bool knell_root_dead(struct knell_watch *watch)
{
	struct knell_root *root = watch->root;
	unsigned long flags;
	bool many;

	raw_spin_lock_irqsave(&root->lock, flags);
	if (watch->hashed && !watch->dead) {
		watch->dead = true;
		root->dead_count++;
		list_move_tail(&watch->member, &root->dead);
	}
	many = root->dead_count > most_dead(root);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	return many;
}

/* Taken off the list of the dead, if that is too long, and counted for the caller. */
struct knell_watch *knell_root_oldest_dead(struct knell_root *root)
{
	struct knell_watch *watch = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&root->lock, flags);
	if (root->dead_count > most_dead(root)) {
		watch = list_first_entry(&root->dead, struct knell_watch, member);
		refcount_inc(&watch->refs); /* the table counts it */
		watch->dead = false;
		root->dead_count--;
		list_move(&watch->member, &root->members);
	}
	raw_spin_unlock_irqrestore(&root->lock, flags);
	return watch;
}

/* One that lives, and was beyond the reserve, gets a watch, if there is one now: found alive. */
static void rescue(struct knell_root *root, struct task_struct *task)
{
	struct pid *pid = knell_tgid_of(task->signal);
	struct knell_watch *watch = NULL;
	unsigned long flags;

	if (!pid)
		return;
	raw_spin_lock_irqsave(&root->lock, flags);
	if (!root->ended && !list_empty(&root->reserve) && atomic_read(&task->signal->live) &&
	    test_bit(pid_nr(pid), root->beyond))
		watch = come_back(root, task, pid);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	if (watch)
		knell_watch_check(watch, task, KNELL_PENDING_BIRTH);
}

/* Of this process, which lives: all watches of a session, and what it could not watch. */
static void living_one(struct knell_session *session, struct task_struct *task)
{
	struct knell_watch *watch;
	struct knell_root *root;

	for_each_watch (watch, task->signal)
		if (watch->root->session == session)
			knell_tell_living(watch);
	/* Later, for who is rescued is told by that, and not once more. */
	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link)
		if (root->session == session && test_bit(task->tgid, root->beyond))
			rescue(root, task);
}

/* session->setting is held. */
void knell_session_living(struct knell_session *session)
{
	struct task_struct *task;

	rcu_read_lock();
	for_each_process (task)
		if (atomic_read(&task->signal->live) && !knell_is_new(task))
			living_one(session, task);
	rcu_read_unlock();
}
