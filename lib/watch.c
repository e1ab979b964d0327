/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch.c - sets and cancels watches: by pidfd, pid and descriptor (by name and cgroup:
 * watch_find.c). Owns the memory and the descriptors of all of them. What is heard, and what
 * follows from it, is in watch_hear.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"
#include "pidfd.h"
#include "options.h"
#include "reapers.h"
#include "watch.h"

#define FIRST_TABLE 64u
#define ALL_FLAGS   (KNELL_W_SUBTREE | KNELL_W_FUTURE)

/* ---- targets ---- */

/* In front of its chain. */
static void chain(struct target *t)
{
	struct target **first = watches_chain(t->watch->watches, t->id.tgid);

	t->chain_next = *first;
	if (t->chain_next)
		t->chain_next->chain_link = &t->chain_next;
	t->chain_link = first;
	*first = t;
}

/* An older table serves as well, only slower: no memory is no error. */
static void grow_table(struct knell_watches *ws)
{
	uint32_t size = ws->table_size, count = 2 * size;
	struct target **old = ws->table, **table;

	table = count < size ? NULL : calloc(count, sizeof(struct target *));
	if (!table)
		return;
	ws->table = table;
	ws->table_size = count;
	for (uint32_t i = 0; i < size; i++) {
		while (old[i]) {
			struct target *t = old[i];

			old[i] = t->chain_next;
			chain(t);
		}
	}
	free(old);
}

void target_put_in_table(struct target *t, const struct knell_task_id *id)
{
	struct knell_watches *ws = t->watch->watches;

	t->id = *id;
	if (__atomic_fetch_add(&ws->table_count, 1, __ATOMIC_RELAXED) >= ws->table_size)
		grow_table(ws);
	chain(t);
}

static void take_out_of_table(struct target *t)
{
	if (!t->chain_link)
		return;
	*t->chain_link = t->chain_next;
	if (t->chain_next)
		t->chain_next->chain_link = t->chain_link;
	t->chain_link = NULL;
	__atomic_fetch_sub(&t->watch->watches->table_count, 1, __ATOMIC_RELAXED);
}

/* Waits for these events of its descriptor; for EPOLLHUP always. */
int target_arm(struct target *t, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = t };
	struct knell_watches *ws = t->watch->watches;
	int op = t->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (epoll_ctl(ws->engine->epoll_fd, op, t->fd, &event) < 0)
		return -errno;
	if (!t->armed)
		ws->armed++;
	t->armed = true;
	return 0;
}

void target_disarm(struct target *t)
{
	struct knell_watches *ws = t->watch->watches;

	if (!t->armed)
		return;
	/* Closing is not enough: the caller has the same open file. */
	epoll_ctl(ws->engine->epoll_fd, EPOLL_CTL_DEL, t->fd, NULL);
	t->armed = false;
	ws->armed--;
}

/* Moves it to this queue, wherever it was. */
void target_queue(struct target *t, struct cds_list_head *queue)
{
	cds_list_del(&t->in_queue);
	cds_list_add_tail(&t->in_queue, queue);
}

/* Takes the first one out; NULL: there is none. */
struct target *target_take(struct cds_list_head *queue)
{
	struct target *t;

	if (cds_list_empty(queue))
		return NULL;
	t = cds_list_first_entry(queue, struct target, in_queue);
	cds_list_del_init(&t->in_queue);
	return t;
}

struct target *target_new(struct knell_watch *w, enum target_kind kind, int fd, pid_t pid)
{
	struct target *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->watch = w;
	t->kind = kind;
	t->moment = w->options.moment;
	t->fd = fd;
	t->pid = pid;
	CDS_INIT_LIST_HEAD(&t->in_queue);
	cds_list_add_tail(&t->in_watch, &w->targets);
	return t;
}

/* From here on nobody finds it; its descriptor stays. */
void target_unlink(struct target *t)
{
	cds_list_del_init(&t->in_watch);
	take_out_of_table(t);
	cds_list_del_init(&t->in_queue);
}

void target_free(struct target *t)
{
	target_disarm(t);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

static int no_memory(void)
{
	return knell_fail(-ENOMEM, "no memory for a watch");
}

static int cannot_arm(int error)
{
	if (error == -ENOSPC)
		return knell_fail(error, "too many descriptors are waited for; raise "
					 "/proc/sys/fs/epoll/max_user_watches");
	return knell_fail(error, "cannot wait for the descriptor: %s", strerror(-error));
}

/*
 * Stored with the source first; the pidfd is armed already, so however the process stands by then,
 * one of the two will tell.
 */
static int ask_source(struct target *t)
{
	const struct knell_watch_options *o = &t->watch->options;
	struct knell_source *source = t->watch->watches->engine->source;
	uint32_t flags = o->flags & KNELL_W_SUBTREE;
	struct knell_task_id id = { 0 };
	int r = -EALREADY;

	if (o->moment == KNELL_AT_DEAD)
		flags |= KNELL_WATCH_QUIET;
	if (source->ops->watch)
		r = source->ops->watch(source, t->fd, flags, o->cookie, &id);
	if (r == 0) {
		t->heard = true;
		target_put_in_table(t, &id);
		return 0;
	}
	if (r == -ENOTSUP && !(o->flags & KNELL_W_SUBTREE) &&
	    (o->moment == KNELL_AT_ANY || o->moment == KNELL_AT_DEAD))
		r = -EALREADY;
	if (r != -ESRCH && r != -EALREADY)
		return r;
	t->moment = KNELL_AT_DEAD;
	if (id.start && knell_engine_split(source->engine)) {
		/* It died while it was asked for: a reaper may be about to look for us. */
		t->heard = true;
		t->has_status = knell_pidfd_status(t->fd, &t->status) == 0;
	} else {
		/* The source will say nothing: it is over, or cannot be heard. */
		id = knell_pidfd_identity(t->fd, t->pid);
	}
	target_put_in_table(t, &id);
	return target_arm(t, EPOLLIN);
}

/* Takes the pidfd over, also if it fails: then nothing is left behind. */
int target_new_task(struct knell_watch *w, int pidfd, pid_t pid)
{
	struct target *t = target_new(w, TARGET_TASK, pidfd, pid);
	int r;

	if (!t) {
		close(pidfd);
		return no_memory();
	}
	/* One that waits for the release has no use for the death. */
	r = target_arm(t, t->moment == KNELL_AT_FREE ? 0 : EPOLLIN);
	r = r < 0 ? cannot_arm(r) : ask_source(t);
	if (r < 0) {
		target_unlink(t);
		target_free(t);
	}
	return r;
}

/* The verdict "absent", from the next dispatch. */
int target_new_nobody(struct knell_watch *w, pid_t pid)
{
	struct target *t = target_new(w, TARGET_NOBODY, -1, pid);

	if (!t)
		return no_memory();
	target_queue(t, &w->watches->due);
	watches_set_timer(w->watches, 1);
	return 0;
}

/* ---- all watches of an engine ---- */

/* At this time of CLOCK_BOOTTIME; 0: never. A time that has passed is now. */
void watches_set_timer(struct knell_watches *ws, uint64_t at)
{
	uint64_t now, ns = 0;

	if (ws->timer_at == at)
		return;
	ws->timer_at = at;
	if (at) {
		now = at > 1 ? knell_now() : at;
		ns = at > now ? at - now : 1;
	}
	clock_set_timer(ws->timer_fd, 0, ns);
}

struct knell_watches *knell_watches_free(struct knell_watches *ws)
{
	if (!ws)
		return NULL;
	while (!cds_list_empty(&ws->all))
		knell_watch_cancel(cds_list_first_entry(&ws->all, struct knell_watch, in_all));
	if (ws->timer_fd >= 0)
		close(ws->timer_fd);
	pthread_mutex_destroy(&ws->lock);
	pthread_cond_destroy(&ws->called);
	free(ws->table);
	free(ws);
	return NULL;
}

static int open_timer(struct knell_watches *ws)
{
	/* Any address that is no target's. */
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = ws };

	ws->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (ws->timer_fd < 0 ||
	    epoll_ctl(ws->engine->epoll_fd, EPOLL_CTL_ADD, ws->timer_fd, &event) < 0)
		return knell_fail(-errno, "cannot make a timer for watches: %s", strerror(errno));
	return 0;
}

static int watches_new(struct knell_watches **ret, struct knell_engine *engine)
{
	struct knell_watches *ws = calloc(1, sizeof(*ws));
	int r;

	if (!ws)
		return no_memory();
	ws->engine = engine;
	pthread_mutex_init(&ws->lock, NULL);
	pthread_cond_init(&ws->called, NULL);
	ws->kinds = KNELL_MASK(KNELL_EXIT);
	ws->timer_fd = -1;
	CDS_INIT_LIST_HEAD(&ws->all);
	CDS_INIT_LIST_HEAD(&ws->future);
	CDS_INIT_LIST_HEAD(&ws->due);
	CDS_INIT_LIST_HEAD(&ws->grace);
	ws->table_size = FIRST_TABLE;
	ws->table = calloc(ws->table_size, sizeof(struct target *));
	r = ws->table ? open_timer(ws) : no_memory();
	if (r < 0) {
		knell_watches_free(ws);
		return r;
	}
	*ret = ws;
	return 0;
}

/* ---- watches ---- */

/* Frees it if it is over and not in use. */
void watch_settle(struct knell_watch *w)
{
	bool over =
		w->forget && cds_list_empty(&w->targets) && !(w->options.flags & KNELL_W_FUTURE);

	if (w->calls || w->waiters || (!over && !w->cancelled))
		return;
	cds_list_del(&w->in_all);
	cds_list_del(&w->in_future);
	finder_free(w->finder);
	free(w);
}

/* With the lock. */
static void cancel(struct knell_watch *w)
{
	struct target *t, *next;

	__atomic_store_n(&w->cancelled, true, __ATOMIC_RELAXED);
	cds_list_del_init(&w->in_future);
	cds_list_for_each_entry_safe (t, next, &w->targets, in_watch) {
		target_unlink(t);
		target_free(t);
	}
}

/*
 * Waits for a callback that another thread is in. Not from inside a callback: two might wait for
 * each other.
 */
struct knell_watch *knell_watch_cancel(struct knell_watch *w)
{
	struct knell_watches *ws;

	if (!w || w->cancelled)
		return NULL;
	ws = w->watches;
	knell_engine_enter(ws->engine);
	pthread_mutex_lock(&ws->lock);
	cancel(w);
	w->waiters++;
	while (w->calls && !watch_depth && !reapers_inside())
		pthread_cond_wait(&ws->called, &ws->lock);
	w->waiters--;
	watch_settle(w);
	pthread_mutex_unlock(&ws->lock);
	knell_engine_leave(ws->engine);
	return NULL;
}

/* What the source of this engine cannot do, and who can. */
static int check_source(const struct knell_engine *engine, const struct knell_watch_options *o)
{
	const struct knell_source_ops *ops = engine->source->ops;
	uint32_t can = ops->can;

	if (!ops->watch)
		can &= ~(KNELL_CAN_SUBTREE | KNELL_CAN_EXIT | KNELL_CAN_FREE);
	if (o->flags & KNELL_W_SUBTREE && !(can & KNELL_CAN_SUBTREE))
		return knell_fail(-ENOTSUP,
				  "the source %s cannot take in the descendants of a living "
				  "process; take the source bpf or kmod",
				  ops->name);
	if (o->moment == KNELL_AT_EXIT && !(can & KNELL_CAN_EXIT))
		return knell_fail(-ENOTSUP,
				  "the source %s hears of a death only when the process is dead, "
				  "not at its exit; take the source bpf or kmod",
				  ops->name);
	if (o->moment == KNELL_AT_FREE && !(can & KNELL_CAN_FREE))
		return knell_fail(-ENOTSUP,
				  "the source %s does not hear when a process is freed; take the "
				  "source bpf or kmod",
				  ops->name);
	if (o->moment == KNELL_AT_FREE && !(engine->flags & KNELL_O_FREE))
		return knell_fail(-ENOTSUP, "to be told when a process is freed, open the engine "
					    "with KNELL_O_FREE");
	if (o->flags & KNELL_W_FUTURE &&
	    !(can & KNELL_CAN_STREAM && engine->flags & KNELL_O_STREAM))
		return knell_fail(-ENOTSUP,
				  "those born later can be told only from a stream of all "
				  "processes; open the engine with KNELL_O_STREAM and the source "
				  "bpf or kmod");
	return 0;
}

static int complete_options(struct knell_watch_options *ret,
			    const struct knell_watch_options *given, uint32_t flags)
{
	struct knell_watch_options o = { 0 };
	int r = knell_take_options(&o, sizeof(o), given,
				   offsetof(struct knell_watch_options, fn) + sizeof(o.fn),
				   "knell_watch_options");

	if (r < 0)
		return r;
	if (!o.fn)
		return knell_fail(-EINVAL, "a watch needs a function for its verdict");
	if (o.flags & ~ALL_FLAGS)
		return knell_fail(-EINVAL, "knell_watch_options.flags has unknown bits %#x",
				  o.flags & ~ALL_FLAGS);
	if (o.flags & ~flags)
		return knell_fail(-EINVAL, "%s does not go with this kind of watch",
				  o.flags & ~flags & KNELL_W_FUTURE ? "KNELL_W_FUTURE"
								    : "KNELL_W_SUBTREE");
	if (o.moment > KNELL_AT_FREE)
		return knell_fail(-EINVAL, "there is no moment of death number %u", o.moment);
	*ret = o;
	return 0;
}

static int need_watches(struct knell_engine *engine)
{
	struct knell_watches *ws = NULL;
	int r = 0;

	pthread_mutex_lock(&engine->lock);
	if (!watches_of(engine))
		r = watches_new(&ws, engine);
	/* Sequentially consistent, as told in watches_of(). */
	if (ws)
		__atomic_store_n(&engine->watches, ws, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&engine->lock);
	return r;
}

/*
 * A watch without targets. `flags`: those that go with its kind. If there is one the watches are
 * locked until knell_watch_end().
 */
int knell_watch_begin(struct knell_engine *engine, struct knell_watch **ret,
		      const struct knell_watch_options *options, uint32_t flags)
{
	struct knell_watch_options o = { 0 };
	struct knell_watches *ws;
	struct knell_watch *w;
	int r = complete_options(&o, options, flags);

	if (r == 0)
		r = check_source(engine, &o);
	if (r == 0)
		r = need_watches(engine);
	ws = watches_of(engine);
	if (r < 0 || !ws)
		return r;
	w = calloc(1, sizeof(*w));
	if (!w)
		return no_memory();
	w->watches = ws;
	w->options = o;
	CDS_INIT_LIST_HEAD(&w->targets);
	CDS_INIT_LIST_HEAD(&w->in_future);
	knell_engine_enter(engine);
	pthread_mutex_lock(&ws->lock);
	cds_list_add(&w->in_all, &ws->all);
	if (o.moment == KNELL_AT_FREE)
		watches_hear_kinds(ws, KNELL_MASK(KNELL_FREE));
	*ret = w;
	return 0;
}

/* Hands the watch out, or ends it if there was an error, which is returned. Unlocks. */
int knell_watch_end(struct knell_watch *w, struct knell_watch **ret, int error)
{
	struct knell_watches *ws = w->watches;

	if (error < 0) {
		cancel(w);
		watch_settle(w);
	} else if (ret) {
		*ret = w;
	} else {
		w->forget = true;
	}
	pthread_mutex_unlock(&ws->lock);
	knell_engine_leave(ws->engine);
	return error < 0 ? error : 0;
}

static int copy_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy >= 0)
		return copy;
	if (errno == EBADF)
		return knell_fail(-EINVAL, "%d is not an open descriptor", fd);
	return knell_fail(-errno,
			  "cannot keep descriptor %d: %s; raise the limit of open files "
			  "(ulimit -n)",
			  fd, strerror(errno));
}

int knell_watch_pidfd(struct knell_engine *engine, struct knell_watch **ret_watch, int pidfd,
		      const struct knell_watch_options *options)
{
	struct knell_watch *w = NULL;
	int copy, r;

	if (knell_pidfd_check(pidfd) < 0)
		return knell_fail(-EINVAL, "%d is not the pidfd of a process", pidfd);
	r = knell_watch_begin(engine, &w, options, KNELL_W_SUBTREE);
	if (!w)
		return r;
	copy = copy_fd(pidfd);
	r = copy < 0 ? copy : target_new_task(w, copy, knell_pidfd_pid(copy));
	return knell_watch_end(w, ret_watch, r);
}

/* knell_pidfd_open() with an explanation. */
static int open_pid(pid_t pid)
{
	int fd = knell_pidfd_open(pid);

	switch (fd >= 0 ? 0 : fd) {
	case 0:
	case -ESRCH:
		return fd;
	case -EINVAL:
		return knell_fail(fd,
				  "%d is a thread, not a process; watch its process (Tgid in "
				  "/proc/%d/status)",
				  (int)pid, (int)pid);
	case -ENOSYS:
		return knell_fail(-ENOTSUP, "this kernel has no pidfd_open(2), which came with "
					    "Linux 5.3");
	case -EMFILE:
	case -ENFILE:
		return knell_fail(fd,
				  "no descriptor is left to watch process %d; raise the limit "
				  "of open files (ulimit -n)",
				  (int)pid);
	}
	return knell_fail(fd, "cannot open process %d: %s", (int)pid, strerror(-fd));
}

/* Another process of a watch that was found; one that is gone is none. */
int watch_add_pid(struct knell_watch *w, pid_t pid, int (*still)(struct knell_watch *, pid_t))
{
	int fd = open_pid(pid), r;

	if (fd == -ESRCH || fd == -EINVAL)
		return 0;
	if (fd < 0)
		return fd;
	r = still(w, pid);
	/* What /proc says of a pid that is not dead afterwards was said of this process. */
	if (r <= 0 || knell_pidfd_dead(fd)) {
		close(fd);
		return r < 0 ? r : 0;
	}
	return target_new_task(w, fd, pid);
}

int knell_watch_pid(struct knell_engine *engine, struct knell_watch **ret_watch, pid_t pid,
		    const struct knell_watch_options *options)
{
	struct knell_watch *w = NULL;
	int fd, r;

	if (pid < 1)
		return knell_fail(-EINVAL, "%d is not the pid of a process", (int)pid);
	r = knell_watch_begin(engine, &w, options, KNELL_W_SUBTREE);
	if (!w)
		return r;
	fd = open_pid(pid);
	if (fd >= 0)
		r = target_new_task(w, fd, pid);
	else
		r = fd == -ESRCH ? target_new_nobody(w, pid) : fd;
	return knell_watch_end(w, ret_watch, r);
}

/* Does the kernel tell when its other end is gone? */
static int check_fd(int fd, bool *ret_socket)
{
	socklen_t size = sizeof(int);
	int type = 0;

	if (knell_pidfd_check(fd) == 0)
		return knell_fail(-EINVAL, "descriptor %d is a pidfd: use knell_watch_pidfd()", fd);
	*ret_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
	if (*ret_socket && (type == SOCK_DGRAM || type == SOCK_RAW))
		return knell_fail(-ENOTSUP,
				  "descriptor %d is a datagram socket, which does not "
				  "tell the end of its peer; use a stream",
				  fd);
	return 0;
}

int knell_watch_fd(struct knell_engine *engine, struct knell_watch **ret_watch, int fd,
		   const struct knell_watch_options *options)
{
	struct knell_watch *w = NULL;
	struct target *t;
	bool socket = false;
	int r = check_fd(fd, &socket);

	if (r == 0)
		r = knell_watch_begin(engine, &w, options, 0);
	if (!w)
		return r;
	if (w->options.moment != KNELL_AT_ANY) {
		r = knell_fail(-ENOTSUP, "a descriptor hangs up at one moment only: ask for any");
		return knell_watch_end(w, NULL, r);
	}
	r = copy_fd(fd);
	if (r < 0)
		return knell_watch_end(w, NULL, r);
	t = target_new(w, TARGET_FD, r, 0);
	if (!t) {
		close(r);
		return knell_watch_end(w, NULL, no_memory());
	}
	t->socket = socket;
	/* By edges: EPOLLERR cannot be refused, and is not always an end. */
	r = target_arm(t, EPOLLRDHUP | EPOLLET);
	if (r == -EPERM)
		r = knell_fail(-EINVAL, "descriptor %d never hangs up: it is a file", fd);
	else if (r < 0)
		r = cannot_arm(r);
	return knell_watch_end(w, ret_watch, r);
}
