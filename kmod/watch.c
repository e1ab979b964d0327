// SPDX-License-Identifier: GPL-2.0-only
/*
 * watch.c - the watch table, and the roots and watches in it.
 *
 * Owns the hash table, the memory of roots and watches, and the work queue that frees them. The key
 * is the process's signal_struct, which all its threads have, through any exec, until the last of
 * them is freed; a match also needs the same struct pid, which the watch counts, so neither an
 * address nor a number that is used again is mistaken. Probes read it under RCU; they change it in
 * two ways: a birth moves a watch from its root's reserve into the table, and claims are bits.
 * Whoever sets a watch takes in those that live already, in the same way: stored first, then
 * checked.
 */
#include <linux/hash.h>
#include <linux/moduleparam.h>
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "engine.h"

unsigned int knell_hash_bits = 14;
module_param_named(hash_bits, knell_hash_bits, uint, 0444);
MODULE_PARM_DESC(hash_bits, "the watch table has 2^hash_bits buckets (6-20)");

#define BUCKET_LOCKS 64u /* a power of two */
static_assert((BUCKET_LOCKS & (BUCKET_LOCKS - 1)) == 0);
#define BUCKET_LOCK_MASK (BUCKET_LOCKS - 1)

struct hlist_head *knell_buckets;
static raw_spinlock_t bucket_locks[BUCKET_LOCKS];
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

static raw_spinlock_t *bucket_lock(const struct hlist_head *bucket)
{
	return &bucket_locks[(bucket - knell_buckets) & BUCKET_LOCK_MASK];
}

int knell_table_init(void)
{
	unsigned int i;

	if (knell_hash_bits < 6 || knell_hash_bits > 20) {
		pr_err("hash_bits=%u: it must be 6 to 20\n", knell_hash_bits);
		return -EINVAL;
	}
	for (i = 0; i < BUCKET_LOCKS; i++)
		raw_spin_lock_init(&bucket_locks[i]);
	knell_buckets = kvcalloc(BIT(knell_hash_bits), sizeof(*knell_buckets), GFP_KERNEL);
	freeing = alloc_workqueue("knell", WQ_UNBOUND, 0);
	if (!knell_buckets || !freeing) {
		knell_table_exit();
		return -ENOMEM;
	}
	return 0;
}

/* Nobody has a session, a hook or a list: what is left is on its way through RCU. */
void knell_table_exit(void)
{
	rcu_barrier(); /* watches go back to their reserve, and let go of their root */
	rcu_barrier(); /* roots queue their work */
	if (freeing)
		destroy_workqueue(freeing);
	WARN(atomic_long_read(&places), "knell: %ld watches leaked\n", atomic_long_read(&places));
	kvfree(knell_buckets);
	knell_buckets = NULL;
}

u64 knell_table_places(void)
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

/* Readers of the table may still stand on it: it may be used again when they are gone. */
static void watch_back(struct rcu_head *rcu)
{
	struct knell_watch *watch = container_of(rcu, struct knell_watch, rcu);
	struct knell_root *root = watch->root;
	unsigned long flags;

	knell_moment_drop(&watch->death.at);
	raw_spin_lock_irqsave(&root->lock, flags);
	list_add_tail(&watch->member, &root->reserve);
	root->used--;
	raw_spin_unlock_irqrestore(&root->lock, flags);
	knell_root_put(root);
}

/* Not in a probe: what it frees may take sleeping locks under PREEMPT_RT. */
void knell_watch_put(struct knell_watch *watch)
{
	struct knell_watch *creator;

	/* A loop, for a dropped watch may let go of its creator, and so on. */
	while (watch && refcount_dec_and_test(&watch->refs)) {
		creator = watch->creator;
		watch->creator = NULL;
		put_pid(watch->pid);
		knell_moment_drop(&watch->birth);
		/* Its exit probe may be writing its death yet: that is dropped after RCU. */
		if (watch == &watch->root->self)
			knell_root_put(watch->root);
		else
			call_rcu(&watch->rcu, watch_back);
		watch = creator;
	}
}

/* root->lock is held. */
static void hash_in(struct knell_watch *watch)
{
	struct hlist_head *bucket = knell_bucket(watch->signal);

	list_add_tail(&watch->member, &watch->root->members);
	watch->hashed = true;
	raw_spin_lock(bucket_lock(bucket));
	hlist_add_head_rcu(&watch->hash, bucket);
	raw_spin_unlock(bucket_lock(bucket));
}

void knell_watch_unhash(struct knell_watch *watch)
{
	struct hlist_head *bucket = knell_bucket(watch->signal);
	struct knell_root *root = watch->root;
	unsigned long flags;
	bool hashed;

	raw_spin_lock_irqsave(&root->lock, flags);
	hashed = watch->hashed;
	if (hashed) {
		watch->hashed = false;
		if (watch->dead)
			root->dead_count--;
		watch->dead = false;
		list_del(&watch->member);
		raw_spin_lock(bucket_lock(bucket));
		hlist_del_rcu(&watch->hash);
		raw_spin_unlock(bucket_lock(bucket));
	}
	raw_spin_unlock_irqrestore(&root->lock, flags);
	if (hashed)
		knell_watch_put(watch);
}

/* Makes a watch, new or used before, fit for a process. Its refs are the table's. */
static void watch_init(struct knell_watch *watch, struct knell_root *root,
		       struct task_struct *leader, struct pid *pid)
{
	int i;

	watch->signal = leader->signal;
	watch->pid = get_pid(pid);
	watch->claimed = 0;
	watch->root = root;
	watch->start = leader->start_boottime;
	watch->found = false;
	watch->late = false;
	watch->cookie = root->cookie;
	watch->inherit = root->flags & KNELL_KMOD_SUBTREE;
	watch->top = false;
	watch->birth_told = false;
	watch->exit_told = false;
	watch->given_up = false;
	watch->dead = false;
	watch->ran = false;
	memset(watch->notes, 0, sizeof(watch->notes));
	watch->peak_before = leader->signal->maxrss;
	watch->creator = NULL;
	watch->birth.parent = NULL;
	watch->death.at.parent = NULL;
	atomic_set(&watch->pending, 0);
	for (i = 0; i < KNELL_ITEMS_OF_WATCH; i++) {
		INIT_LIST_HEAD(&watch->items[i].link);
		watch->items[i].kind = i;
	}
	refcount_set(&watch->refs, 1);
}

/* Whoever asks for more than there is gets -ENOMEM; the kernel's log is not theirs to fill. */
#define GFP_RESERVE (GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN)

static u32 exit_signal_of(const struct task_struct *task)
{
	int signal = READ_ONCE(task->exit_signal);

	return signal > 0 ? signal : 0;
}

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
static struct knell_watch *reserve_take(struct knell_root *root)
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

/* As knell_reap_queue(), for who is not in a probe. */
void knell_watch_queue(struct knell_watch *watch, unsigned int pending)
{
	preempt_disable();
	knell_reap_queue(watch, pending);
	preempt_enable();
}

/*
 * Of the processes that had this signal_struct only the last one can have a claimed exit and an
 * unclaimed later moment: whoever had it before was freed, and that claimed all.
 */
static void claim_dead(struct knell_watch *watch)
{
	if (test_bit(KNELL_CLAIM_EXIT, &watch->claimed) && (watch->root->flags & KNELL_KMOD_DEAD) &&
	    !test_and_set_bit(KNELL_CLAIM_DEAD, &watch->claimed))
		knell_reap_queue(watch, KNELL_PENDING_EXIT);
}

/*
 * A thread is past the end of its files, and past telling its parent. The process is dead if no
 * thread is left, or the leader alone and it came so far, too: of two that go at the same time the
 * second one sees both, because the kernel's lock of all tasks lies before. A thread that a tracer
 * keeps never comes here: then the free tells. The leader is who leads it now: where another thread
 * runs exec, the one that this thread knows is released, and the one that is left lives.
 */
static bool all_told(const struct signal_struct *signal)
{
	int threads = READ_ONCE(signal->nr_threads);
	struct task_struct *leader;

	smp_rmb(); /* Who takes over is the leader before the old one leaves the count. */
	leader = pid_task(knell_tgid_of(signal), PIDTYPE_TGID);
	return threads <= 1 && (!leader || READ_ONCE(leader->exit_state));
}

/* Claims all before its free, for one moment. False: a probe was there before. */
bool knell_death_claim(struct knell_watch *watch)
{
	return !cmpxchg(&watch->claimed, 0, BIT(KNELL_CLAIM_EXIT) | BIT(KNELL_CLAIM_DEAD));
}

/*
 * A death that no probe will tell of may be told, as far as it has come: all before its free is
 * claimed, and its exit written. Returns what is pending.
 */
unsigned int knell_death_tell(struct knell_watch *watch)
{
	if (!(watch->root->flags & KNELL_KMOD_DEAD))
		return KNELL_PENDING_EXIT;
	smp_mb__before_atomic(); /* Who claims it now tells what we wrote. */
	clear_bit(KNELL_CLAIM_DEAD, &watch->claimed);
	smp_mb__after_atomic(); /* Pairs with the lock in exit_notify(), before that probe. */
	if (all_told(watch->signal))
		claim_dead(watch);
	return 0;
}

/*
 * The watch is stored, and its process lived before that, in this RCU section, led by `task`. Its
 * last thread leaves signal->live and gives up its memory before it comes to the exit probe. So if
 * we find that one lives or has memory, the probe will find the watch. If not, it may have come too
 * early: then we tell, rather than hide it, for a child may have told already of who made it. A
 * `dead` that has not come is left to its probe; a free always comes, for it waits for this
 * section.
 */
void knell_watch_check(struct knell_watch *watch, struct task_struct *task, unsigned int pending)
{
	struct signal_struct *signal = watch->signal;
	struct task_struct *leader;

	smp_mb(); /* Pairs with the atomic decrements of ->live and, in exit_mm(), of the memory. */
	preempt_disable();
	if (!atomic_read(&signal->live)) {
		smp_rmb(); /* Nobody runs exec any more: */
		leader = pid_task(watch->pid, PIDTYPE_TGID) ?: task;
		if (!READ_ONCE(leader->mm) && knell_group_is_dead(leader) &&
		    knell_death_claim(watch)) { /* else a probe does */
			knell_death_take(&watch->death, leader);
			pending |= knell_death_tell(watch);
		}
	}
	if (pending)
		knell_reap_queue(watch, pending);
	preempt_enable();
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
	watch_init(self, root, leader, pid); /* its refs are the table's, or ours */
	self->top = true;
	refcount_inc(&root->refs);
	task = pid_task(pid, PIDTYPE_TGID);
	if (!task || !atomic_read(&self->signal->live)) {
		rcu_read_unlock();
		return -ESRCH;
	}
	if (root->flags & KNELL_KMOD_FOUND) {
		self->found = true;
		self->clone.exit_signal = exit_signal_of(task);
		knell_moment_take(&self->birth, task);
	} else {
		self->birth_told = true;
	}
	refcount_inc(&self->refs); /* the root's, until it is ended */
	atomic_set(&root->alive, 2);
	root_store(root);
	raw_spin_lock_irqsave(&root->lock, flags);
	hash_in(self);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	knell_watch_check(self, task, self->found ? KNELL_PENDING_BIRTH : 0);
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

/* Is it the calling thread's next process that joins? */
static bool is_armed(const struct knell_root *root)
{
	return READ_ONCE(root->armed.task) == current;
}

static void disarm(struct knell_root *root)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&root->lock, flags);
	if (root->armed.task) {
		WRITE_ONCE(root->armed.task, NULL);
		list_add(&root->armed.watch->member, &root->reserve);
		root->used--;
		atomic_dec(&knell_wide);
	}
	raw_spin_unlock_irqrestore(&root->lock, flags);
}

/* It made no process. */
static void exit_armed(void)
{
	struct knell_root *root;

	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link)
		if (is_armed(root))
			disarm(root);
}

/* root->lock is held. */
static int arm(struct knell_root *root, u64 cookie)
{
	struct knell_armed *armed = &root->armed;

	if (root->ended || (armed->task && armed->task != current))
		return -EBUSY;
	if (!armed->task) {
		armed->watch = reserve_take(root);
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
			disarm(root);
		return 0;
	}
	raw_spin_lock_irqsave(&root->lock, flags);
	error = arm(root, cookie);
	raw_spin_unlock_irqrestore(&root->lock, flags);
	return error;
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
	disarm(root);
	knell_watch_put(&root->self);
	knell_root_put(root);
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
	watch_init(watch, root, task, pid);
	refcount_inc(&root->refs);
	if (creator) {
		watch->cookie = READ_ONCE(creator->cookie);
		watch->inherit = READ_ONCE(creator->inherit);
		if (refcount_inc_not_zero(&creator->refs))
			watch->creator = creator;
	}
	knell_moment_take(&watch->birth, task);
	watch->clone.exit_signal = exit_signal_of(task);
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
	watch = reserve_take(root);
	if (!watch) {
		settle_beyond(root, pid_nr(pid));
		return NULL;
	}
	settle_in(watch, root, creator, task, pid);
	watch->found = how & KNELL_SETTLE_FOUND;
	if (how & KNELL_SETTLE_INHERIT)
		watch->inherit = true;
	watch->clone.flags = clone_flags & ~(unsigned long)CSIGNAL;
	hash_in(watch);
	return watch;
}

/* This root's watch of the process; NULL: there is none. */
struct knell_watch *knell_watch_of(const struct knell_root *root,
				   const struct signal_struct *signal)
{
	struct knell_watch *watch;

	for_each_watch (watch, signal)
		if (watch->root == root)
			return watch;
	return NULL;
}

/* Is this process watched, or beyond the reserve? For sure if root->lock is held. */
bool knell_root_has(const struct knell_root *root, const struct signal_struct *signal,
		    struct pid *pid)
{
	return knell_watch_of(root, signal) || test_bit(pid_nr(pid), root->beyond);
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
	hash_in(watch);
	return watch;
}

/*
 * In the probe of a birth. A task can be found before: by who sets its name through /proc. Then it
 * was taken in as found.
 */
static void inherit(struct knell_root *root, struct knell_watch *creator, struct task_struct *child,
		    unsigned long clone_flags)
{
	/* Of one beyond the reserve: that passes it on as a watch would. */
	unsigned int how = creator || root->flags & KNELL_KMOD_ALL ? 0 : KNELL_SETTLE_INHERIT;
	struct knell_watch *watch;
	unsigned long flags;

	raw_spin_lock_irqsave(&root->lock, flags);
	if (root->ended || knell_root_has(root, child->signal, task_pid(child)))
		watch = NULL;
	else if (is_armed(root))
		watch = settle_armed(root, creator, child, clone_flags);
	else
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
		creator = knell_watch_of(root, signal);
		if (is_armed(root) || knell_root_wants(root, child, child->comm) ||
		    (creator && READ_ONCE(creator->inherit)) ||
		    test_bit(current->tgid, root->beyond))
			inherit(root, creator, child, clone_flags);
	}
}

void knell_table_birth(struct task_struct *child, unsigned long clone_flags)
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

/* One beyond the reserve of this root is dead. It may be told so more than once. */
void knell_died_beyond(struct knell_root *root, pid_t nr)
{
	if (!test_and_clear_bit(nr, root->beyond))
		return;
	atomic_dec(&knell_wide);
	atomic64_inc(&root->session->lost_deaths);
	atomic_dec(&root->alive);
	knell_reap_queue(&root->self, KNELL_PENDING_GAP);
}

static void exit_beyond(struct task_struct *task)
{
	struct knell_root *root;

	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link)
		if (test_bit(task->tgid, root->beyond) && knell_group_is_dead(task))
			knell_died_beyond(root, task->tgid);
}

/* To look at all threads takes long, so it is done once, not for each watch. */
static void tell_exit(struct task_struct *task)
{
	const struct knell_death *known = NULL;
	struct knell_watch *watch;
	bool dead = false;

	for_each_watch (watch, task->signal) {
		dead = dead || knell_group_is_dead(task);
		if (!dead)
			return;
		if (test_and_set_bit(KNELL_CLAIM_EXIT, &watch->claimed))
			continue;
		if (known)
			knell_death_copy(&watch->death, known);
		else
			knell_death_take(&watch->death, task);
		known = &watch->death; /* it stays as it is until RCU's readers are gone */
		if (!(watch->root->flags & KNELL_KMOD_DEAD))
			knell_reap_queue(watch, KNELL_PENDING_EXIT);
	}
}

void knell_table_exit_of(struct task_struct *task)
{
	bool wide = atomic_read(&knell_wide);

	if (wide)
		exit_armed();
	if (atomic_read(&task->signal->live))
		return;
	tell_exit(task);
	if (wide)
		exit_beyond(task);
}

void knell_table_dead(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct knell_watch *watch;

	if (!all_told(signal))
		return;
	hlist_for_each_entry_rcu (watch, knell_bucket(signal), hash)
		if (watch->signal == signal)
			claim_dead(watch);
}

void knell_table_free(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct knell_watch *watch;

	hlist_for_each_entry_rcu (watch, knell_bucket(signal), hash) {
		if (watch->signal != signal || !test_bit(KNELL_CLAIM_EXIT, &watch->claimed))
			continue;
		claim_dead(watch);
		if (test_and_set_bit(KNELL_CLAIM_FREE, &watch->claimed))
			continue;
		if (!knell_root_waits_for_free(watch->root))
			continue;
		knell_usage_final(&watch->final, &watch->final_runtime, signal);
		watch->freed = ktime_get_boottime_ns();
		watch->freed_cpu = raw_smp_processor_id();
		knell_reap_queue(watch, KNELL_PENDING_FREE);
	}
}

/* One that has no watch has no line either: that is lost, and counted. */
static void count_beyond(struct task_struct *task, u8 kind)
{
	struct knell_root *root;

	if (!atomic_read(&knell_wide))
		return;
	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link) {
		if (!(root->mask & KNELL_MASK(kind)) || !test_bit(task->tgid, root->beyond))
			continue;
		atomic64_inc(&root->session->lost_others);
		knell_reap_queue(&root->self, KNELL_PENDING_GAP);
	}
}

void knell_table_exec(struct task_struct *task, pid_t old_pid, const char *name)
{
	struct knell_watch *watch;
	struct knell_line *line;
	size_t length = strnlen(name, PATH_MAX);

	knell_follow(task, task->comm);
	count_beyond(task, KNELL_EXEC);
	for_each_watch (watch, task->signal) {
		if (!watch->ran)
			watch->peak_before = task->signal->maxrss;
		watch->ran = true;
		if (!(watch->root->mask & KNELL_MASK(KNELL_EXEC)))
			continue;
		line = knell_line_take(watch, KNELL_EXEC);
		if (!line)
			continue;
		knell_moment_take(&line->at, task);
		line->exec.old_pid = old_pid;
		line->exec.cut = length >= KNELL_LINE_NAME;
		line->exec.name_len = min_t(size_t, length, KNELL_LINE_NAME - 1);
		memcpy(line->exec.name, name, line->exec.name_len);
		line->exec.name[line->exec.name_len] = '\0';
		knell_line_push(line);
	}
}

#define IDS(what, new, old)                                                                        \
	{                                                                                          \
		(new)->what.val, (new)->e##what.val, (new)->s##what.val, (new)->fs##what.val,      \
			(old)->what.val, (old)->e##what.val, (old)->s##what.val,                   \
			(old)->fs##what.val                                                        \
	}

static void tell_ids(struct knell_watch *watch, struct task_struct *task, u8 kind,
		     const struct knell_ids *ids)
{
	struct knell_line *line;

	if (!(watch->root->mask & KNELL_MASK(kind)))
		return;
	line = knell_line_take(watch, kind);
	if (!line)
		return;
	knell_moment_take(&line->at, task);
	line->ids = *ids;
	/* The head has the ids as they are afterwards. */
	if (kind == KNELL_UID)
		line->at.uid = ids->effective;
	else
		line->at.gid = ids->effective;
	knell_line_push(line);
}

static void ids_changed(struct task_struct *task, u8 kind, const struct knell_ids *ids)
{
	struct knell_watch *watch;

	if (memcmp(&ids->real, &ids->old_real, 16) == 0)
		return;
	count_beyond(task, kind);
	for_each_watch (watch, task->signal)
		tell_ids(watch, task, kind, ids);
}

void knell_table_ids(struct task_struct *task, const struct cred *new, const struct cred *old)
{
	const struct knell_ids uids = IDS(uid, new, old);
	const struct knell_ids gids = IDS(gid, new, old);

	ids_changed(task, KNELL_UID, &uids);
	ids_changed(task, KNELL_GID, &gids);
}
