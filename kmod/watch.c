// SPDX-License-Identifier: GPL-2.0-only
/*
 * watch.c - the watch table.
 *
 * Owns the hash table. The key is the process's signal_struct, which all its threads have, through
 * any exec, until the last of them is freed; a match also needs the same struct pid, which the
 * watch counts, so neither an address nor a number that is used again is mistaken. Probes read it
 * under RCU; they change it in two ways: a birth moves a watch from its root's reserve into the
 * table, and claims are bits. A watch's memory is its root's.
 */
#include <linux/hash.h>
#include <linux/moduleparam.h>
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

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
	return knell_buckets ? 0 : -ENOMEM;
}

/* No root is left. */
void knell_table_exit(void)
{
	kvfree(knell_buckets);
	knell_buckets = NULL;
}

/* Makes a watch, new or used before, fit for a process. Its refs are the table's. */
void knell_watch_init(struct knell_watch *watch, struct knell_root *root,
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
	watch->older_signals = false;
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

/* root->lock is held. */
void knell_watch_hash(struct knell_watch *watch)
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
