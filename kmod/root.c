// SPDX-License-Identifier: GPL-2.0-only
/*
 * root.c - a request to watch, from its beginning to its end.
 *
 * Owns the memory of roots and of their watches, the work queue that frees it, and the list of
 * roots that may concern processes without a watch. Whoever sets a watch of a process stores it
 * first and then looks how that is (death.c); those of others that live already are living.c's.
 */
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "engine.h"

static struct workqueue_struct *freeing;
static atomic_long_t places; /* of all roots, until their memory is free */

/*
 * Roots that may concern processes which have no watch: subtrees and everybody's. And how many
 * processes are beyond a reserve and live, with one for each root of everybody's. It is read first,
 * so that the list costs nothing while it is 0.
 */
atomic_t knell_wide = ATOMIC_INIT(0);
LIST_HEAD(knell_wide_roots); /* RCU */
static DEFINE_RAW_SPINLOCK(wide_lock);

int knell_roots_start(void)
{
	freeing = alloc_workqueue("knell", WQ_UNBOUND, 0);
	return freeing ? 0 : -ENOMEM;
}

/* Nobody has a session, a hook or a list: what is left is on its way through RCU. */
void knell_roots_stop(void)
{
	rcu_barrier(); /* watches go back to their reserve, and let go of their root */
	rcu_barrier(); /* roots queue their work */
	destroy_workqueue(freeing);
	WARN(atomic_long_read(&places), "knell: %ld watches leaked\n", atomic_long_read(&places));
}

u64 knell_places(void)
{
	return atomic_long_read(&places);
}

static void root_free(struct work_struct *work)
{
	struct knell_root *root = container_of(to_rcu_work(work), struct knell_root, free);
	unsigned long nr;

	/* Those beyond the reserve that live still are not counted any more. */
	if (root->beyond)
		for_each_set_bit (nr, root->beyond, PID_MAX_LIMIT)
			atomic_dec(&knell_wide);
	atomic_long_sub(root->places, &places);
	knell_moment_drop(&root->self.death.at);
	if (!root->session) {
		knell_task_watch_free(root);
		return;
	}
	knell_places_give(root->session, root->places, root->flags);
	knell_session_put(root->session);
	vfree(root->block);
	vfree(root->beyond);
	kfree(root);
}

void knell_root_put(struct knell_root *root)
{
	if (refcount_dec_and_test(&root->refs))
		queue_rcu_work(freeing, &root->free);
}

/* Whoever asks for more than there is gets -ENOMEM; the kernel's log is not theirs to fill. */
#define GFP_RESERVE (GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN)

static int reserve_new(struct knell_root *root, u32 reserve)
{
	u32 i;

	root->beyond = __vmalloc(BITS_TO_LONGS(PID_MAX_LIMIT) * sizeof(long), GFP_RESERVE);
	root->block =
		reserve ? __vmalloc(array_size(reserve, sizeof(*root->block)), GFP_RESERVE) : NULL;
	if (!root->beyond || (reserve && !root->block))
		return -ENOMEM;
	for (i = 0; i < reserve; i++) {
		root->block[i].root = root;
		list_add_tail(&root->block[i].member, &root->reserve);
	}
	return 0;
}

/* The first reference is given up when it is ended. */
void knell_root_init(struct knell_root *root, u32 flags, u32 mask, u32 wanted)
{
	refcount_set(&root->refs, 1);
	root->mask = mask;
	root->flags = flags;
	root->places = wanted;
	raw_spin_lock_init(&root->lock);
	INIT_LIST_HEAD(&root->members);
	INIT_LIST_HEAD(&root->dead);
	INIT_LIST_HEAD(&root->reserve);
	INIT_LIST_HEAD(&root->wide_link);
	INIT_HLIST_NODE(&root->by_cookie);
	INIT_RCU_WORK(&root->free, root_free);
}

/* root->lock is held. NULL: none is left. */
struct knell_watch *knell_reserve_take(struct knell_root *root)
{
	struct knell_watch *watch =
		list_first_entry_or_null(&root->reserve, struct knell_watch, member);

	if (!watch)
		return NULL;
	list_del(&watch->member);
	root->peak = max(root->peak, ++root->used);
	return watch;
}

/* The places were taken from the session's limit; they are given back with the root. */
int knell_root_new(struct knell_root **ret_root, struct knell_session *session,
		   const struct knell_kmod_watch *request)
{
	struct knell_root *root = kzalloc(sizeof(*root), GFP_KERNEL_ACCOUNT);

	if (!root)
		return -ENOMEM;
	knell_root_init(root, request->flags, request->mask | KNELL_MASK(KNELL_EXIT),
			1 + request->reserve); /* of everybody's, the one is not used */
	root->session = session;
	root->cookie = request->cookie;
	root->match.match = request->match;
	root->match.uid = request->uid;
	root->match.cgroup = request->cgroup;
	memcpy(root->match.comm, request->comm, sizeof(root->match.comm));
	if ((root->flags & KNELL_KMOD_SUBTREE || knell_root_is_wide(root)) &&
	    reserve_new(root, request->reserve)) {
		vfree(root->block);
		vfree(root->beyond);
		kfree(root);
		return -ENOMEM;
	}
	refcount_inc(&session->refs);
	*ret_root = root;
	return 0;
}

/* Probes may see it from now on: root->lock is not held. */
static void root_store(struct knell_root *root)
{
	unsigned long flags;

	if (!root->beyond)
		return;
	raw_spin_lock_irqsave(&wide_lock, flags);
	list_add_tail_rcu(&root->wide_link, &knell_wide_roots);
	raw_spin_unlock_irqrestore(&wide_lock, flags);
	if (root->flags & KNELL_KMOD_ALL)
		atomic_inc(&knell_wide);
}

/*
 * Stores the watch of a root of a process that lives. -ESRCH: it was dead, and nothing is stored
 * (verdict `absent`). Else knell_root_set() follows.
 *
 * Leader: who leads it, or did before; it may be released since, and then its parent may be freed.
 * So who leads it is asked again here. If nobody does, all of it was released.
 */
int knell_root_begin(struct knell_root *root, struct task_struct *leader, struct pid *pid)
{
	struct knell_watch *self = &root->self;
	struct task_struct *task;
	unsigned long flags;

	atomic_long_add(root->places, &places);
	rcu_read_lock();
	knell_watch_init(self, root, leader, pid); /* its refs are the table's, or ours */
	self->top = true;
	self->found = true;
	self->older_signals = true;
	self->birth_told = !(root->flags & KNELL_KMOD_FOUND);
	refcount_inc(&root->refs);
	task = pid_task(pid, PIDTYPE_TGID);
	if (!task || !atomic_read(&self->signal->live)) {
		rcu_read_unlock();
		return -ESRCH;
	}
	self->clone.exit_signal = knell_exit_signal_of(task);
	if (!self->birth_told)
		knell_moment_take(&self->birth, task);
	refcount_inc(&self->refs); /* the root's, until it is ended */
	atomic_set(&root->alive, 2);
	root_store(root);
	raw_spin_lock_irqsave(&root->lock, flags);
	knell_watch_hash(self);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	knell_watch_check(self, task, self->birth_told ? 0 : KNELL_PENDING_BIRTH);
	rcu_read_unlock();
	return 0;
}

/* A wide root has no process: its own watch only carries news of what was lost. */
void knell_root_begin_wide(struct knell_root *root)
{
	struct knell_watch *self = &root->self;

	atomic_long_add(root->places, &places);
	self->root = root;
	self->birth_told = true;
	refcount_set(&self->refs, 1); /* the root's, until it is ended */
	refcount_inc(&root->refs);
	atomic_set(&root->alive, 2);
	root_store(root);
}

/* Ends a root that session->lock marked as ended and took out of session->roots. */
void knell_root_end(struct knell_root *root)
{
	struct knell_watch *watch;
	unsigned long flags;

	for (;;) {
		raw_spin_lock_irqsave(&root->lock, flags);
		list_splice_init(&root->dead, &root->members);
		watch = list_first_entry_or_null(&root->members, struct knell_watch, member);
		if (watch && !refcount_inc_not_zero(&watch->refs))
			watch = NULL; /* cannot be: the table counts it */
		raw_spin_unlock_irqrestore(&root->lock, flags);
		if (!watch)
			break;
		knell_watch_unhash(watch);
		knell_watch_put(watch);
	}
	if (root->beyond) {
		raw_spin_lock_irqsave(&wide_lock, flags);
		list_del_rcu(&root->wide_link);
		raw_spin_unlock_irqrestore(&wide_lock, flags);
		if (root->flags & KNELL_KMOD_ALL)
			atomic_dec(&knell_wide);
	}
	knell_root_disarm(root);
	knell_watch_put(&root->self);
	knell_root_put(root);
}
