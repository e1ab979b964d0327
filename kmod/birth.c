// SPDX-License-Identifier: GPL-2.0-only
/*
 * birth.c - how a process comes to have a watch because of who made it: in the probe of its birth.
 *
 * Owns who is armed. Nothing is allocated: a watch comes from its root's reserve, and who finds
 * none there is counted as beyond it.
 */
#include <linux/rculist.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "engine.h"

u32 knell_exit_signal_of(const struct task_struct *task)
{
	int signal = READ_ONCE(task->exit_signal);

	return signal > 0 ? signal : 0;
}

/* Signals of who forks reach the child before its birth is told: it has not run, so it has them. */
static bool has_term(const struct task_struct *task)
{
	const sigset_t *own = &task->pending.signal;
	const sigset_t *shared = &task->signal->shared_pending.signal;
	const unsigned long terms = sigmask(SIGTERM) | sigmask(SIGINT) | sigmask(SIGHUP);

	return (READ_ONCE(own->sig[0]) | READ_ONCE(shared->sig[0])) & terms;
}

/* No watch is left for a process: it is counted, and so will be its death. */
static void settle_beyond(struct knell_root *root, pid_t nr)
{
	set_bit(nr, root->beyond);
	atomic_inc(&knell_wide);
	atomic64_inc(&root->session->lost_births);
	knell_reap_queue(&root->self, KNELL_PENDING_GAP);
}

/* Makes a watch that was taken from the reserve one of this process. root->lock is held. */
static void settle_in(struct knell_watch *watch, struct knell_root *root,
		      struct knell_watch *creator, struct task_struct *task, struct pid *pid)
{
	knell_watch_init(watch, root, task, pid);
	refcount_inc(&root->refs);
	if (creator) {
		watch->cookie = READ_ONCE(creator->cookie);
		watch->inherit = READ_ONCE(creator->inherit);
		if (refcount_inc_not_zero(&creator->refs))
			watch->creator = creator;
	}
	knell_moment_take(&watch->birth, task);
	watch->clone.exit_signal = knell_exit_signal_of(task);
	watch->older_signals = has_term(task);
}

/*
 * Moves a watch from the reserve into the table. root->lock is held, interrupts are off. Creator:
 * NULL if that one has no watch. How: knell_settle bits. NULL: no watch is left.
 */
struct knell_watch *knell_watch_settle(struct knell_root *root, struct knell_watch *creator,
				       struct task_struct *task, struct pid *pid, unsigned int how,
				       unsigned long clone_flags)
{
	struct knell_watch *watch;

	atomic_inc(&root->alive);
	watch = knell_reserve_take(root);
	if (!watch) {
		settle_beyond(root, pid_nr(pid));
		return NULL;
	}
	settle_in(watch, root, creator, task, pid);
	watch->found = how & KNELL_SETTLE_FOUND;
	watch->older_signals |= watch->found;
	if (how & KNELL_SETTLE_INHERIT)
		watch->inherit = true;
	watch->clone.flags = clone_flags & ~(unsigned long)CSIGNAL;
	knell_watch_hash(watch);
	return watch;
}

/*
 * Is this process beyond the reserve, and its children are taken in? Who is beyond everybody's was
 * so for itself; unless descendants are, too: then it is not known which, and all are followed.
 */
bool knell_passes_on(const struct knell_root *root, pid_t nr)
{
	return test_bit(nr, root->beyond) &&
	       (!(root->flags & KNELL_KMOD_ALL) || READ_ONCE(root->inherits));
}

/* Is this process watched, or beyond the reserve? For sure if root->lock is held. */
bool knell_root_has(const struct knell_root *root, const struct signal_struct *signal,
		    struct pid *pid)
{
	return knell_watch_of(root, signal) || test_bit(pid_nr(pid), root->beyond);
}

/* Is it the calling thread's next process that joins? */
static bool is_armed(const struct knell_root *root)
{
	return READ_ONCE(root->armed.task) == current;
}

/* root->lock is held. */
static void disarm(struct knell_root *root)
{
	if (!root->armed.task)
		return;
	WRITE_ONCE(root->armed.task, NULL);
	list_add(&root->armed.watch->member, &root->reserve);
	root->used--;
	atomic_dec(&knell_wide);
}

void knell_root_disarm(struct knell_root *root)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&root->lock, flags);
	disarm(root);
	raw_spin_unlock_irqrestore(&root->lock, flags);
}

/* It made no process. */
void knell_disarm_current(void)
{
	struct knell_root *root;

	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link)
		if (is_armed(root))
			knell_root_disarm(root);
}

/* root->lock is held. */
static int arm(struct knell_root *root, u64 cookie)
{
	struct knell_armed *armed = &root->armed;

	if (root->ended || (armed->task && armed->task != current))
		return -EBUSY;
	if (!armed->task) {
		armed->watch = knell_reserve_take(root);
		if (!armed->watch)
			return -ENOSPC;
		atomic_inc(&knell_wide);
	}
	armed->cookie = cookie;
	WRITE_ONCE(armed->task, current);
	return 0;
}

/*
 * The next process that this thread makes joins, with all its descendants; its watch is taken from
 * the reserve already. -ENOSPC: none is left. -EBUSY: another thread is at it.
 */
int knell_root_arm(struct knell_root *root, bool on, u64 cookie)
{
	unsigned long flags;
	int error;

	if (!on) {
		if (is_armed(root))
			knell_root_disarm(root);
		return 0;
	}
	raw_spin_lock_irqsave(&root->lock, flags);
	error = arm(root, cookie);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	return error;
}

/* The child of the armed thread. root->lock is held. */
static struct knell_watch *settle_armed(struct knell_root *root, struct knell_watch *creator,
					struct task_struct *child, unsigned long clone_flags)
{
	struct knell_watch *watch = root->armed.watch;

	WRITE_ONCE(root->armed.task, NULL);
	atomic_dec(&knell_wide);
	atomic_inc(&root->alive);
	settle_in(watch, root, creator, child, task_pid(child));
	watch->top = true;
	watch->inherit = true;
	watch->cookie = root->armed.cookie;
	watch->clone.flags = clone_flags & ~(unsigned long)CSIGNAL;
	knell_watch_hash(watch);
	return watch;
}

/* The child of the armed thread was found before: it becomes what it would have been. */
static void armed_was_found(struct knell_root *root, struct task_struct *child)
{
	struct knell_watch *watch = knell_watch_of(root, child->signal);

	if (watch) {
		WRITE_ONCE(watch->top, true);
		WRITE_ONCE(watch->inherit, true);
		WRITE_ONCE(watch->cookie, root->armed.cookie);
	}
	disarm(root);
}

/*
 * In the probe of a birth. A task can be found before, by who lost patience with its fork(2). Then
 * it was taken in as found.
 */
static void inherit(struct knell_root *root, struct knell_watch *creator, struct task_struct *child,
		    unsigned long clone_flags)
{
	/* Of one beyond the reserve: that passes it on as a watch would. */
	unsigned int how = creator || root->flags & KNELL_KMOD_ALL ? 0 : KNELL_SETTLE_INHERIT;
	struct knell_watch *watch = NULL;
	unsigned long flags;
	bool has;

	raw_spin_lock_irqsave(&root->lock, flags);
	has = root->ended || knell_root_has(root, child->signal, task_pid(child));
	if (has && is_armed(root))
		armed_was_found(root, child);
	else if (!has && is_armed(root))
		watch = settle_armed(root, creator, child, clone_flags);
	else if (!has)
		watch = knell_watch_settle(root, creator, child, task_pid(child), how, clone_flags);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	if (watch)
		knell_reap_queue(watch, KNELL_PENDING_BIRTH);
}

/* A child of the current process, and roots that may concern it although that is not watched. */
static void birth_wide(struct task_struct *child, unsigned long clone_flags)
{
	struct signal_struct *signal = current->signal;
	struct knell_watch *creator;
	struct knell_root *root;

	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link) {
		bool beyond = knell_passes_on(root, current->tgid);

		smp_rmb(); /* Pairs with come_back(): a watch first, then no bit. */
		creator = knell_watch_of(root, signal);
		if (beyond || is_armed(root) || knell_root_wants(root, child, child->comm) ||
		    (creator && READ_ONCE(creator->inherit)))
			inherit(root, creator, child, clone_flags);
	}
}

void knell_on_birth(struct task_struct *child, unsigned long clone_flags)
{
	struct knell_watch *watch;

	/* Whoever has a watch that is inherited is of a root on that list, too. */
	if (atomic_read(&knell_wide)) {
		birth_wide(child, clone_flags);
		return;
	}
	for_each_watch (watch, current->signal)
		if (READ_ONCE(watch->inherit))
			inherit(watch->root, watch, child, clone_flags);
}
