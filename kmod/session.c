// SPDX-License-Identifier: GPL-2.0-only
/*
 * session.c - /dev/knell: an open file is a session, which is given watches and read.
 *
 * Owns sessions and their limits, who may watch whom, and all that comes from user space. A session
 * lives on after close(2) until its last watch is freed.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pid_namespace.h>
#include <linux/poll.h>
#include <linux/sched/coredump.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "engine.h"

static unsigned int max_sessions = 64;
module_param(max_sessions, uint, 0644);
MODULE_PARM_DESC(max_sessions, "sessions at a time");

static unsigned int max_watches = 65536;
module_param(max_watches, uint, 0644);
MODULE_PARM_DESC(max_watches, "watches of a session, reserves and unread deaths included");

static unsigned int max_wide = 1024;
module_param(max_wide, uint, 0644);
MODULE_PARM_DESC(max_wide, "watches of a session that are of a subtree, a group or everybody");

static unsigned int lines = 1024;
module_param(lines, uint, 0644);
MODULE_PARM_DESC(lines, "exec, uid and gid events that a session can hold (1-65536)");

static atomic_t sessions;

/* Numbers of watches are added up as int. */
static u32 watch_limit(void)
{
	return min(READ_ONCE(max_watches), 1u << 24);
}

static void session_free(struct knell_session *session)
{
	put_pid_ns(session->ns);
	kvfree(session->lines);
	kfree(session->scratch);
	kfree(session);
	atomic_dec(&sessions);
}

void knell_session_put(struct knell_session *session)
{
	if (refcount_dec_and_test(&session->refs))
		session_free(session);
}

static void session_init(struct knell_session *session, unsigned int count)
{
	unsigned int i;

	refcount_set(&session->refs, 1);
	mutex_init(&session->setting);
	mutex_init(&session->reading);
	spin_lock_init(&session->lock);
	raw_spin_lock_init(&session->stream_lock);
	INIT_LIST_HEAD(&session->ready);
	INIT_LIST_HEAD(&session->gap.link);
	INIT_LIST_HEAD(&session->stream);
	INIT_LIST_HEAD(&session->stream_free);
	session->gap.kind = KNELL_ITEM_GAP;
	hash_init(session->roots);
	init_waitqueue_head(&session->wait);
	for (i = 0; i < count; i++) {
		session->lines[i].item.kind = KNELL_ITEM_LINE;
		list_add_tail(&session->lines[i].item.link, &session->stream_free);
	}
}

int knell_session_new(struct knell_session **ret_session)
{
	unsigned int count = clamp(READ_ONCE(lines), 1u, 65536u);
	struct knell_session *session;

	if ((u32)atomic_inc_return(&sessions) > READ_ONCE(max_sessions)) {
		atomic_dec(&sessions);
		return -EMFILE;
	}
	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session) {
		atomic_dec(&sessions);
		return -ENOMEM;
	}
	session->ns = get_pid_ns(task_active_pid_ns(current));
	session->lines = kvcalloc(count, sizeof(*session->lines), GFP_KERNEL_ACCOUNT);
	session->scratch = kmalloc(KNELL_RECORD_MAX, GFP_KERNEL_ACCOUNT);
	if (!session->lines || !session->scratch) {
		session_free(session);
		return -ENOMEM;
	}
	session_init(session, count);
	*ret_session = session;
	return 0;
}

static int knell_open(struct inode *inode, struct file *file)
{
	struct knell_session *session;
	int error = knell_session_new(&session);

	if (error)
		return error;
	file->private_data = session;
	return stream_open(inode, file);
}

/* Ends the roots that have this cookie, or all (NULL). False: there was none. */
static bool end_roots(struct knell_session *session, const u64 *cookie)
{
	struct knell_root *root;
	struct hlist_node *next;
	HLIST_HEAD(ended);
	int bucket;

	spin_lock(&session->lock);
	hash_for_each_safe (session->roots, bucket, next, root, by_cookie)
		if ((!cookie || root->cookie == *cookie) && knell_root_detach(root)) {
			root->purge = true;
			hlist_add_head(&root->by_cookie, &ended);
		}
	if (!cookie)
		session->closed = true;
	knell_ready_purge(session);
	spin_unlock(&session->lock);
	if (hlist_empty(&ended))
		return false;
	hlist_for_each_entry_safe (root, next, &ended, by_cookie)
		knell_root_end(root);
	return true;
}

/* What its watches tell from now on is dropped. Nobody is at a record: session->reading is held. */
void knell_session_end(struct knell_session *session)
{
	end_roots(session, NULL);
}

/* Nobody reads any more. */
void knell_session_close(struct knell_session *session)
{
	end_roots(session, NULL);
	knell_hooks_disarm(&session->armed);
	/* Probes that were under way when the last watch left the table may have added lines. */
	synchronize_rcu();
	spin_lock(&session->lock);
	knell_ready_purge(session);
	spin_unlock(&session->lock);
	knell_session_put(session);
}

static int knell_release(struct inode *inode, struct file *file)
{
	knell_session_close(file->private_data);
	return 0;
}

/*
 * Takes out of the queue what the reader has now. A gap stays while more was lost meanwhile: what
 * a probe counts, a reaper sees under the lock that we have when we look, and leaves it to us as
 * long as the gap is there.
 */
void knell_session_consumed(struct knell_session *session, struct knell_item *item,
			    const struct knell_event *event)
{
	const struct knell_gap *gap = &event->u.gap;

	if (item->kind == KNELL_ITEM_GAP && event->size) {
		session->seq += gap->births + gap->deaths + gap->others;
		atomic64_sub(gap->births, &session->lost_births);
		atomic64_sub(gap->deaths, &session->lost_deaths);
		atomic64_sub(gap->others, &session->lost_others);
	} else if (event->size) {
		session->seq++;
	}
	spin_lock(&session->lock);
	if (item->kind == KNELL_ITEM_GAP && knell_lost_any(session)) {
		spin_unlock(&session->lock);
		return;
	}
	list_del_init(&item->link);
	spin_unlock(&session->lock);
	if (item->kind == KNELL_ITEM_LINE)
		knell_line_put(session, container_of(item, struct knell_line, item));
	else
		knell_watch_put(knell_item_watch(item));
}

/* session->reading is held, so nobody else takes an item out of the queue. */
static ssize_t read_ready(struct knell_session *session, char __user *buffer, size_t size)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct knell_item *item;
	ssize_t done = 0;
	u32 length;

	for (;;) {
		spin_lock(&session->lock);
		item = list_first_entry_or_null(&session->ready, struct knell_item, link);
		spin_unlock(&session->lock);
		if (!item)
			return done;
		length = knell_record_make(session->scratch, item, session, ns);
		if (length > size - done)
			return done ?: -EINVAL;
		/* What could not be copied is still there for the next reader. */
		if (copy_to_user(buffer + done, session->scratch, length))
			return done ?: -EFAULT;
		knell_session_consumed(session, item, (struct knell_event *)session->scratch);
		done += length;
	}
}

static ssize_t knell_read(struct file *file, char __user *buffer, size_t size, loff_t *unused)
{
	struct knell_session *session = file->private_data;
	ssize_t done;

	if (!size)
		return 0;
	size = min_t(size_t, size, MAX_RW_COUNT);
	for (;;) {
		if (mutex_lock_interruptible(&session->reading))
			return -ERESTARTSYS;
		done = read_ready(session, buffer, size);
		if (!done) {
			knell_reap_all();
			done = read_ready(session, buffer, size);
		}
		mutex_unlock(&session->reading);
		if (done)
			return done;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(session->wait, !list_empty_careful(&session->ready)))
			return -ERESTARTSYS;
	}
}

static __poll_t knell_poll(struct file *file, poll_table *wait)
{
	struct knell_session *session = file->private_data;

	poll_wait(file, &session->wait, wait);
	return list_empty_careful(&session->ready) ? 0 : EPOLLIN | EPOLLRDNORM;
}

/*
 * May we look at this process? As ptrace_may_access(PTRACE_MODE_READ_REALCREDS), which is not
 * exported: the same user and group in all their ids, no more capabilities than we have, and
 * dumpable; or CAP_SYS_PTRACE over it. Other security modules are not asked.
 */
static bool may_inspect(struct task_struct *task)
{
	const struct cred *ours = current_cred(), *theirs;
	struct mm_struct *mm;
	bool may;

	if (same_thread_group(task, current))
		return true;
	theirs = get_task_cred(task);
	may = uid_eq(ours->uid, theirs->euid) && uid_eq(ours->uid, theirs->suid) &&
	      uid_eq(ours->uid, theirs->uid) && gid_eq(ours->gid, theirs->egid) &&
	      gid_eq(ours->gid, theirs->sgid) && gid_eq(ours->gid, theirs->gid) &&
	      ours->user_ns == theirs->user_ns &&
	      cap_issubset(theirs->cap_permitted, ours->cap_permitted);
	may = may || ns_capable(theirs->user_ns, CAP_SYS_PTRACE);
	put_cred(theirs);
	task_lock(task);
	mm = task->mm;
	if (may && mm && get_dumpable(mm) != SUID_DUMP_USER)
		may = ns_capable(mm->user_ns, CAP_SYS_PTRACE);
	else if (may && !mm && !knell_was_dumpable(task))
		may = capable(CAP_SYS_PTRACE);
	task_unlock(task);
	return may;
}

/* The process behind a descriptor, and its leader, both counted. */
static int process_of(int fd, struct pid **ret_pid, struct task_struct **ret_leader)
{
	struct task_struct *leader;
	struct file *file = fget(fd);
	struct pid *pid;
	bool thread;

	if (!file)
		return -EBADF;
	pid = knell_pidfd_pid(file);
	fput(file);
	if (!pid)
		return -EBADF;
	leader = get_pid_task(pid, PIDTYPE_TGID);
	if (!leader) {
		rcu_read_lock();
		thread = pid_task(pid, PIDTYPE_PID);
		rcu_read_unlock();
		put_pid(pid);
		return thread ? -EINVAL : -ESRCH;
	}
	*ret_pid = pid;
	*ret_leader = leader;
	return 0;
}

static unsigned int hooks_for(const struct knell_session *session,
			      const struct knell_kmod_watch *request)
{
	unsigned int hooks = BIT(KNELL_HOOK_EXIT);

	if (request->flags & (KNELL_KMOD_SUBTREE | KNELL_KMOD_ALL | KNELL_KMOD_GROUP))
		hooks |= BIT(KNELL_HOOK_NEWTASK);
	/* The dead are kept in mind until they are freed, for who joins late. */
	if (request->flags & (KNELL_KMOD_ALL | KNELL_KMOD_GROUP) && !session->joined)
		hooks |= BIT(KNELL_HOOK_FREE);
	if (request->flags & KNELL_KMOD_CAUSE)
		hooks |= BIT(KNELL_HOOK_SIGNAL);
	if (request->match)
		hooks |= BIT(KNELL_HOOK_EXEC);
	if (request->match & KNELL_KMOD_MATCH_COMM)
		hooks |= BIT(KNELL_HOOK_RENAME);
	if (request->flags & KNELL_KMOD_DEAD)
		hooks |= BIT(KNELL_HOOK_DEAD) | BIT(KNELL_HOOK_FREE);
	if (request->mask & KNELL_MASK(KNELL_FREE))
		hooks |= BIT(KNELL_HOOK_FREE);
	if (request->mask & KNELL_MASK(KNELL_EXEC))
		hooks |= BIT(KNELL_HOOK_EXEC);
	if (request->mask & (KNELL_MASK(KNELL_UID) | KNELL_MASK(KNELL_GID)))
		hooks |= BIT(KNELL_HOOK_IDS);
	return hooks;
}

static bool is_wide(u32 flags)
{
	return flags & (KNELL_KMOD_SUBTREE | KNELL_KMOD_ALL | KNELL_KMOD_GROUP);
}

/*
 * Takes places from the session's limit. A wide root costs 512 KiB more, and each birth and death
 * beyond a reserve looks at it, so there is a limit of those, too.
 */
static int take_places(struct knell_session *session, u32 wanted, u32 flags)
{
	if (atomic_add_return(wanted, &session->places) > (int)watch_limit()) {
		atomic_sub(wanted, &session->places);
		return -ENOSPC;
	}
	if (is_wide(flags) && (u32)atomic_inc_return(&session->wide) > READ_ONCE(max_wide)) {
		knell_places_give(session, wanted, flags);
		return -ENOSPC;
	}
	return 0;
}

void knell_places_give(struct knell_session *session, u32 places, u32 flags)
{
	atomic_sub(places, &session->places);
	if (is_wide(flags))
		atomic_dec(&session->wide);
}

/*
 * Takes places from the session's limit, arms hooks, and sets the watch. Leader: NULL if wide.
 * session->setting is held.
 */
int knell_session_watch(struct knell_session *session, const struct knell_kmod_watch *request,
			struct task_struct *leader, struct pid *pid)
{
	const u32 wanted = 1 + request->reserve;
	struct knell_root *root;
	bool absent;
	int error;

	if (request->reserve >= watch_limit())
		return -ENOSPC;
	error = take_places(session, wanted, request->flags);
	if (error)
		return error;
	error = knell_hooks_arm(hooks_for(session, request), &session->armed);
	if (!error)
		error = knell_root_new(&root, session, request);
	if (error) {
		knell_places_give(session, wanted, request->flags);
		return error;
	}
	refcount_inc(&root->refs); /* ours: UNWATCH may end it before we are done */
	if (leader)
		error = knell_root_begin(root, leader, pid);
	else
		knell_root_begin_wide(root);
	spin_lock(&session->lock);
	if (!error)
		hash_add(session->roots, &root->by_cookie, root->cookie);
	absent = error && knell_root_detach(root);
	spin_unlock(&session->lock);
	if (!error && root->beyond)
		knell_root_take_in(root);
	if (absent)
		knell_root_end(root);
	else
		knell_root_set(root);
	knell_root_put(root);
	return error;
}

#define KNOWN_FLAGS                                                                                \
	(KNELL_KMOD_SUBTREE | KNELL_KMOD_DEAD | KNELL_KMOD_ALL | KNELL_KMOD_FOUND |                \
	 KNELL_KMOD_GROUP | KNELL_KMOD_JOIN | KNELL_KMOD_CAUSE)
#define KNOWN_MATCH (KNELL_KMOD_MATCH_UID | KNELL_KMOD_MATCH_CGROUP | KNELL_KMOD_MATCH_COMM)

static bool valid_flags(const struct knell_kmod_watch *request)
{
	const u32 one = KNELL_KMOD_SUBTREE | KNELL_KMOD_FOUND; /* for those with a process */

	if (request->flags & ~KNOWN_FLAGS)
		return false;
	switch (request->flags & (KNELL_KMOD_ALL | KNELL_KMOD_GROUP | KNELL_KMOD_JOIN)) {
	case 0:
		return !request->reserve || request->flags & KNELL_KMOD_SUBTREE;
	case KNELL_KMOD_ALL:
		return request->pidfd == -1 && !(request->flags & one);
	case KNELL_KMOD_GROUP:
		return request->pidfd == -1 && !(request->flags & (one | KNELL_KMOD_DEAD));
	case KNELL_KMOD_JOIN: /* the rest is as the joined one has it */
		return !request->mask && !request->reserve &&
		       !(request->flags & (KNELL_KMOD_FOUND | KNELL_KMOD_DEAD | KNELL_KMOD_CAUSE));
	}
	return false;
}

static bool valid(const struct knell_kmod_watch *request)
{
	if (request->mask & ~KNELL_KMOD_KINDS || request->reserved || request->reserved2)
		return false;
	if (request->match & ~KNOWN_MATCH || (request->match && !(request->flags & KNELL_KMOD_ALL)))
		return false;
	if (request->group && !(request->flags & KNELL_KMOD_JOIN))
		return false;
	return valid_flags(request);
}

/* The session's wide root of this cookie, counted. */
static struct knell_root *wide_root(struct knell_session *session, u64 cookie)
{
	struct knell_root *root, *found = NULL;

	spin_lock(&session->lock);
	hash_for_each_possible (session->roots, root, by_cookie, cookie)
		if (root->cookie == cookie && knell_root_is_wide(root) &&
		    refcount_inc_not_zero(&root->refs)) {
			found = root;
			break;
		}
	spin_unlock(&session->lock);
	return found;
}

/*
 * Watches that are on their way back to a reserve are there afterwards: deaths are delivered, the
 * freed come through RCU, are delivered, and come back through RCU.
 */
static void make_room(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		knell_reap_all();
		rcu_barrier();
	}
}

/* Whoever is being made is waited for, for a while: fork(2) is about to return. */
static int join_made(struct knell_root *root, const struct knell_kmod_watch *request,
		     struct pid *pid)
{
	unsigned int waited = 0;
	int error;

	while ((error = knell_root_join(root, pid, request, waited < KNELL_PATIENCE)) == -EAGAIN) {
		schedule_timeout_killable(1);
		waited++;
		if (fatal_signal_pending(current))
			return -ERESTARTSYS;
	}
	return error;
}

static int join_root(struct knell_session *session, const struct knell_kmod_watch *request,
		     struct pid *pid)
{
	struct knell_root *root = wide_root(session, request->group);
	int error;

	if (!root)
		return -ENOENT;
	error = join_made(root, request, pid);
	if (error == -ENOSPC) {
		make_room();
		error = join_made(root, request, pid);
	}
	if (!error && request->flags & KNELL_KMOD_SUBTREE)
		knell_root_take_in(root);
	knell_root_put(root);
	return error;
}

/* Who watches everybody sees what ptrace_may_access() would not let him see otherwise. */
static int may_watch_all(void)
{
	return capable(CAP_SYS_PTRACE) || capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

/* One process: what is told of it at once, so that nothing fails when the watch is set. */
static int tell_identity(struct task_struct *leader, struct pid *pid,
			 struct knell_kmod_watch __user *user)
{
	if (!may_inspect(leader))
		return -EPERM;
	if (put_user(leader->start_boottime, &user->start) ||
	    put_user((u32)pid_vnr(pid), &user->tgid))
		return -EFAULT;
	return 0;
}

static int ioctl_watch(struct knell_session *session, struct knell_kmod_watch *request,
		       struct knell_kmod_watch __user *user)
{
	struct task_struct *leader = NULL;
	struct pid *pid = NULL;
	int error;

	if (!valid(request))
		return -EINVAL;
	if (request->flags & KNELL_KMOD_ALL)
		error = may_watch_all();
	else if (request->flags & KNELL_KMOD_GROUP)
		error = 0;
	else
		error = process_of(request->pidfd, &pid, &leader);
	if (error)
		return error;
	if (leader)
		error = tell_identity(leader, pid, user);
	if (!error)
		error = mutex_lock_interruptible(&session->setting) ? -ERESTARTSYS : 0;
	if (!error) {
		error = request->flags & KNELL_KMOD_JOIN
				? join_root(session, request, pid)
				: knell_session_watch(session, request, leader, pid);
		mutex_unlock(&session->setting);
	}
	if (leader)
		put_task_struct(leader);
	put_pid(pid);
	return error;
}

static int ioctl_unwatch(struct knell_session *session, const struct knell_kmod_unwatch *request)
{
	bool found;

	if (request->reserved)
		return -EINVAL;
	/* A reader must not be at a record of what is taken out of the queue. */
	if (mutex_lock_interruptible(&session->reading))
		return -ERESTARTSYS;
	found = end_roots(session, &request->cookie);
	mutex_unlock(&session->reading);
	return found ? 0 : -ENOENT;
}

static int ioctl_arm(struct knell_session *session, const struct knell_kmod_arm *request)
{
	struct knell_root *root;
	int error;

	if (request->on > 1)
		return -EINVAL;
	root = wide_root(session, request->group);
	if (!root)
		return -ENOENT;
	error = knell_root_arm(root, request->on, request->cookie);
	if (error == -ENOSPC) {
		make_room();
		error = knell_root_arm(root, request->on, request->cookie);
	}
	knell_root_put(root);
	return error;
}

static int ioctl_living(struct knell_session *session, const struct knell_kmod_living *request)
{
	if (request->reserved)
		return -EINVAL;
	if (atomic_read(&knell_wide))
		make_room(); /* for those who are beyond a reserve */
	if (mutex_lock_interruptible(&session->setting))
		return -ERESTARTSYS;
	knell_session_living(session);
	mutex_unlock(&session->setting);
	wake_up_interruptible(&session->wait);
	return 0;
}

static int ioctl_stats(struct knell_session *session, void __user *user, u32 size)
{
	struct knell_kmod_stats stats = { .size = sizeof(stats) };
	struct knell_root *root;
	int bucket;

	stats.sessions = atomic_read(&sessions);
	stats.watches = knell_places();
	stats.missed = knell_hooks_missed();
	knell_reap_stats(&stats);
	spin_lock(&session->lock);
	hash_for_each (session->roots, bucket, root, by_cookie)
		stats.peak = max_t(u64, stats.peak, READ_ONCE(root->peak));
	spin_unlock(&session->lock);
	size = min_t(u32, size, sizeof(stats));
	return copy_to_user(user, &stats, size) ? -EFAULT : 0;
}

static long knell_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct knell_session *session = file->private_data;
	void __user *user = (void __user *)argument;
	union {
		struct knell_kmod_watch watch;
		struct knell_kmod_unwatch unwatch;
		struct knell_kmod_stats stats;
		struct knell_kmod_arm arm;
		struct knell_kmod_living living;
	} request;
	size_t known, least;
	u32 size;
	int error;

	switch (command) {
	case KNELL_IOC_WATCH:
		known = sizeof(request.watch);
		least = KNELL_KMOD_WATCH_SIZE1;
		break;
	case KNELL_IOC_UNWATCH:
		known = sizeof(request.unwatch);
		least = KNELL_KMOD_UNWATCH_SIZE1;
		break;
	case KNELL_IOC_STATS:
		known = sizeof(request.stats);
		least = KNELL_KMOD_STATS_SIZE1;
		break;
	case KNELL_IOC_ARM:
		known = sizeof(request.arm);
		least = KNELL_KMOD_ARM_SIZE1;
		break;
	case KNELL_IOC_LIVING:
		known = sizeof(request.living);
		least = KNELL_KMOD_LIVING_SIZE1;
		break;
	default:
		return -ENOTTY;
	}
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < least)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	error = copy_struct_from_user(&request, known, user, size);
	if (error)
		return error;
	if (command == KNELL_IOC_WATCH)
		return ioctl_watch(session, &request.watch, user);
	if (command == KNELL_IOC_UNWATCH)
		return ioctl_unwatch(session, &request.unwatch);
	if (command == KNELL_IOC_ARM)
		return ioctl_arm(session, &request.arm);
	if (command == KNELL_IOC_LIVING)
		return ioctl_living(session, &request.living);
	return ioctl_stats(session, user, size);
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = knell_open,
	.release = knell_release,
	.read = knell_read,
	.poll = knell_poll,
	.unlocked_ioctl = knell_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = no_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "knell",
	.fops = &operations,
	.mode = 0600,
};

int knell_device_init(void)
{
	return misc_register(&device);
}

/* The module cannot be unloaded while a session is open: this comes when there is none. */
void knell_device_exit(void)
{
	misc_deregister(&device);
}
