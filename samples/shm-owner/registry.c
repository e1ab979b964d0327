// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * registry.c - which process owns which segments of shared memory, and their end when it dies.
 *
 * Owns all of it. An owner is found by its struct pid, which it counts: a number that is used again
 * is another owner. Its first segment sets a watch on it; knell.ko then calls owner_died() once,
 * and that frees what it owns. Owners are in buckets, segments too, each with a lock of its own:
 * two that die at the same time meet at most in a bucket. A module with living owners cannot be
 * unloaded, for the watches hold it.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/sched/task.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include <knell/kernel.h>

#include "registry.h"

#define BUCKET_BITS 8

struct owner {
	struct hlist_node link;
	struct pid *pid;           /* counted */
	struct list_head segments; /* its bucket's lock */
};

struct segment {
	struct hlist_node link;
	struct list_head of_owner;
	u64 id;
	struct file *file; /* counted; its memory */
};

static struct owner_bucket {
	struct mutex lock;
	struct hlist_head owners;
} owner_buckets[1 << BUCKET_BITS];

static struct segment_bucket {
	spinlock_t lock;
	struct hlist_head segments;
} segment_buckets[1 << BUCKET_BITS];

static atomic64_t owners;
static atomic64_t registered; /* the last id that was given */
static atomic64_t freed;

void registry_init(void)
{
	int i;

	for (i = 0; i < 1 << BUCKET_BITS; i++) {
		mutex_init(&owner_buckets[i].lock);
		spin_lock_init(&segment_buckets[i].lock);
	}
}

static struct owner_bucket *owner_bucket(struct pid *pid)
{
	return &owner_buckets[hash_ptr(pid, BUCKET_BITS)];
}

static struct segment_bucket *segment_bucket(u64 id)
{
	return &segment_buckets[hash_64(id, BUCKET_BITS)];
}

static void segment_free(struct segment *segment)
{
	struct segment_bucket *bucket = segment_bucket(segment->id);

	spin_lock(&bucket->lock);
	hlist_del(&segment->link);
	spin_unlock(&bucket->lock);
	fput(segment->file);
	kfree(segment);
	atomic64_inc(&freed);
}

/* On a worker. After the bucket's lock nobody else finds this owner. */
static void owner_died(const struct knell_event *event, void *data)
{
	struct owner *owner = data;
	struct owner_bucket *bucket = owner_bucket(owner->pid);
	struct segment *segment, *next;

	mutex_lock(&bucket->lock);
	hlist_del(&owner->link);
	mutex_unlock(&bucket->lock);
	list_for_each_entry_safe (segment, next, &owner->segments, of_owner)
		segment_free(segment);
	put_pid(owner->pid);
	kfree(owner);
	atomic64_dec(&owners);
}

/* The bucket's lock is held: owner_died() waits until its owner is in there. */
static struct owner *owner_new(struct owner_bucket *bucket, struct pid *pid)
{
	struct task_struct *task = get_pid_task(pid, PIDTYPE_TGID);
	struct owner *owner = kzalloc(sizeof(*owner), GFP_KERNEL);
	int error = !task ? -ESRCH : !owner ? -ENOMEM : 0;

	if (!error) {
		owner->pid = get_pid(pid);
		INIT_LIST_HEAD(&owner->segments);
		error = knell_watch_task(NULL, task, 0, owner_died, owner, THIS_MODULE);
		if (error)
			put_pid(pid);
	}
	if (task)
		put_task_struct(task);
	if (error) {
		kfree(owner);
		return ERR_PTR(error);
	}
	hlist_add_head(&owner->link, &bucket->owners);
	atomic64_inc(&owners);
	return owner;
}

static struct owner *owner_get(struct owner_bucket *bucket, struct pid *pid)
{
	struct owner *owner;

	hlist_for_each_entry (owner, &bucket->owners, link)
		if (owner->pid == pid)
			return owner;
	return owner_new(bucket, pid);
}

static struct segment *segment_new(u64 bytes)
{
	struct segment *segment = kzalloc(sizeof(*segment), GFP_KERNEL);

	if (!segment)
		return ERR_PTR(-ENOMEM);
	segment->file = shmem_file_setup("shm-owner", PAGE_ALIGN(bytes), VM_NORESERVE);
	if (IS_ERR(segment->file)) {
		long error = PTR_ERR(segment->file);

		kfree(segment);
		return ERR_PTR(error);
	}
	return segment;
}

/* The owner cannot be freed meanwhile: the caller holds its bucket's lock. */
static void give(struct owner *owner, struct segment *segment)
{
	struct segment_bucket *bucket;

	segment->id = atomic64_inc_return(&registered);
	list_add(&segment->of_owner, &owner->segments);
	bucket = segment_bucket(segment->id);
	spin_lock(&bucket->lock);
	hlist_add_head(&segment->link, &bucket->segments);
	spin_unlock(&bucket->lock);
}

int registry_add(struct pid *pid, u64 bytes, u64 *ret_id)
{
	struct owner_bucket *bucket = owner_bucket(pid);
	struct segment *segment = segment_new(bytes);
	struct owner *owner;

	if (IS_ERR(segment))
		return PTR_ERR(segment);
	mutex_lock(&bucket->lock);
	owner = owner_get(bucket, pid);
	if (!IS_ERR(owner)) {
		give(owner, segment);
		*ret_id = segment->id;
	}
	mutex_unlock(&bucket->lock);
	if (!IS_ERR(owner))
		return 0;
	fput(segment->file);
	kfree(segment);
	return PTR_ERR(owner);
}

/* The memory of a segment, counted; NULL: there is none. */
struct file *registry_find(u64 id)
{
	struct segment_bucket *bucket = segment_bucket(id);
	struct segment *segment;
	struct file *file = NULL;

	spin_lock(&bucket->lock);
	hlist_for_each_entry (segment, &bucket->segments, link)
		if (segment->id == id)
			file = get_file(segment->file);
	spin_unlock(&bucket->lock);
	return file;
}

void registry_count(struct shm_owner_counts *ret_counts)
{
	ret_counts->owners = atomic64_read(&owners);
	ret_counts->freed = atomic64_read(&freed);
	ret_counts->registered = atomic64_read(&registered);
	ret_counts->segments = ret_counts->registered - ret_counts->freed;
}
