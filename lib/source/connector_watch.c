/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_watch.c - whom the connector source is asked to watch: a child that knell_fork() makes,
 * a process that lives already, their descendants. And the reaping of children, which must not be
 * faster than the messages. Owns the list of children that were waited for but not told yet.
 *
 * A child needs no holding: its messages are queued in the socket from its birth on, and nobody
 * reads the socket before we have put the child into the table. A watched death must not depend on
 * the socket: each watch has a pidfd, which wakes us at once, and tells when the message was lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "connector.h"
#include "pidfd.h"

/* A child whose exit is not heard so long after it was waited for is reported all the same. */
#define REPORT_AFTER UINT64_C(3000000000)

void cn_release_pidfd(struct cn_source *s, struct cn_process *p)
{
	if (p->pidfd < 0)
		return;
	/* By hand: a copy that some child inherited would keep it in the set. */
	epoll_ctl(s->sleep.epoll_fd, EPOLL_CTL_DEL, p->pidfd, NULL);
	close(p->pidfd);
	p->pidfd = -1;
}

/* Takes the pidfd, which is ours. */
static int hear_pidfd(struct cn_source *s, struct cn_process *p, int pidfd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = p };
	int r;

	if (pidfd < 0)
		return pidfd;
	if (p->pidfd >= 0) {
		close(pidfd);
		return 0;
	}
	r = epoll_ctl(s->sleep.epoll_fd, EPOLL_CTL_ADD, pidfd, &event) < 0 ? -errno : 0;
	if (r < 0)
		close(pidfd);
	else
		p->pidfd = pidfd;
	return r;
}

/* Which of those we watch are dead; each tells it once. */
void cn_hear_pidfds(struct cn_source *s)
{
	struct epoll_event events[64];
	int n;

	do {
		n = epoll_wait(s->sleep.epoll_fd, events, 64, 0);
		for (int i = 0; i < n; i++) {
			struct cn_process *p = events[i].data.ptr;

			if (!p)
				continue; /* the socket or the timer */
			epoll_ctl(s->sleep.epoll_fd, EPOLL_CTL_DEL, p->pidfd, NULL);
			p->dying_since = clock_ns(CLOCK_MONOTONIC);
			cds_list_del_init(&p->dying);
			cds_list_add_tail(&p->dying, &s->dying);
		}
	} while (n == 64);
}

static void take_in_child(struct cn_source *s, struct cn_process *p, pid_t pid)
{
	struct cn_process *before = cn_find_process(s, (uint32_t)pid);
	struct cn_task *task = cn_find(s, (uint32_t)pid);

	if (before)
		cn_bury_quietly(s, before, p);
	else if (task)
		cn_remove_thread(s, task);
	cn_add_process(s, p, (uint32_t)pid);
	p->leader.start = knell_now(); /* until its birth is heard */
	p->parent = cn_identify(s, s->self);
	p->leader.uid = geteuid();
	p->leader.gid = getegid();
	cn_learn(s, &p->leader, CN_COMM | CN_UID | CN_GID);
	cn_check_filter(s, p);
	/* Without a pidfd (a host that reaps at once) the message alone has to do. */
	hear_pidfd(s, p, knell_pidfd_open(pid));
}

void cn_note_unreaped(struct cn_source *s, const struct cn_process *p)
{
	struct cn_reaped *note = calloc(1, sizeof(*note));

	if (!note)
		return;
	note->pid = (pid_t)p->leader.tid;
	cds_list_add_tail(&note->node, &s->unreaped);
}

static bool was_forked(struct cn_source *s, pid_t pid)
{
	struct cn_reaped *note, *next;
	bool found = false;

	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): who is freed was taken off the list */
	cds_list_for_each_entry_safe (note, next, &s->unreaped, node) {
		if (note->pid != pid)
			continue;
		cds_list_del(&note->node);
		free(note);
		found = true;
	}
	return found;
}

pid_t cn_fork(struct knell_source *source)
{
	struct cn_source *s = (struct cn_source *)source;
	struct cn_process *p = cn_make_process();
	pid_t pid;
	int r;

	if (!p)
		return knell_fail(-ENOMEM, "no memory for a process");
	p->root = true;
	p->subtree = true;
	p->expected = true;
	p->forked = true;
	p->since = clock_ns(CLOCK_MONOTONIC);
	prctl(PR_GET_NAME, p->leader.comm); /* the child has this thread's name */
	pid = fork();
	if (pid < 0) {
		r = -errno;
		free(p);
		return knell_fail(r, "cannot fork: %s", strerror(-r));
	}
	if (pid > 0) {
		was_forked(s, pid); /* the last one of this number: its parent was faster */
		take_in_child(s, p, pid);
	}
	return pid;
}

/* A process that is not in the table yet. */
static struct cn_process *take_in(struct cn_source *s, int pidfd, const struct knell_task_id *id)
{
	struct cn_process *p = cn_make_process(), *before = cn_find_process(s, id->tgid);
	struct cn_task *task = cn_find(s, id->tgid);
	struct cn_proc proc;

	if (!p)
		return NULL;
	if (before)
		cn_bury_quietly(s, before, p);
	else if (task)
		cn_remove_thread(s, task);
	cn_add_process(s, p, id->tgid);
	p->root = true;
	p->told = true;
	/*
	 * To a clock tick is not exact enough: who has the same number in the same tick would be
	 * the same. So each gets a nanosecond of its own in it.
	 */
	p->leader.start = id->start ? id->start + s->taken_in++ % cn_proc_tick() : knell_now();
	p->was_dead = knell_pidfd_dead(pidfd);
	if (!p->was_dead && cn_proc_stat(id->tgid, &proc) && proc.start == id->start)
		cn_refresh(s, p, &proc);
	p->seen = clock_ns(CLOCK_MONOTONIC);
	/*
	 * Alive now: whatever exit is older is another one's. Dead: its exit may be still to be
	 * read, but so may that of who had the number before, up to the end of this tick.
	 */
	p->since = clock_ns(CLOCK_MONOTONIC);
	if (!p->was_dead && knell_pidfd_dead(pidfd)) {
		p->was_dead = true;
		p->leader.alive = true;
		p->live = 1;
	}
	if (p->was_dead && id->start + cn_proc_tick() > s->boot_offset)
		p->since = id->start + cn_proc_tick() - s->boot_offset;
	return p;
}

/*
 * Does the pidfd name this process, or one that got its number after it? Without a pidfd of its own
 * /proc must say, which knows the start to a clock tick: no number comes round in one.
 */
static bool is_of(const struct cn_process *p, const struct knell_task_id *id)
{
	if (p->pidfd >= 0)
		return !knell_pidfd_reaped(p->pidfd);
	return !id->start || id->start <= p->leader.start;
}

static int set_watch(struct cn_source *s, struct cn_process *p, int pidfd, uint32_t flags,
		     uint64_t cookie)
{
	/* A copy: the owner may close his when he gives the watch up, or in its verdict. */
	int own = fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
	int r = own < 0 ? -errno : hear_pidfd(s, p, own);

	if (r < 0)
		return knell_fail(r, "cannot wait for the process: %s", strerror(-r));
	p->root = true;
	p->subtree |= (flags & KNELL_W_SUBTREE) != 0;
	if (cookie)
		p->cookie = cookie;
	cn_check_filter(s, p);
	if (!(flags & KNELL_W_SUBTREE))
		return 0;
	r = s->proc_works ? cn_adopt_subtree(s) : -ENOENT;
	return r < 0 ? knell_fail(r, "cannot look for the descendants in /proc: %s", strerror(-r))
		     : 0;
}

int cn_watch(struct knell_source *source, int pidfd, uint32_t flags, uint64_t cookie,
	     struct knell_task_id *ret_id)
{
	struct cn_source *s = (struct cn_source *)source;
	pid_t pid = knell_pidfd_pid(pidfd);
	struct knell_task_id id;
	struct cn_process *p;
	int r;

	if (pid <= 0)
		return -ESRCH;
	id = knell_pidfd_identity(pidfd, pid);
	if (knell_pidfd_reaped(pidfd))
		return -ESRCH;
	p = cn_find_process(s, (uint32_t)pid);
	if (p && !is_of(p, &id))
		p = NULL; /* who had the number before */
	if (p && p->ghost)
		return -EALREADY; /* its death was told before this watch was set */
	if (!p)
		p = take_in(s, pidfd, &id);
	if (!p)
		return knell_fail(-ENOMEM, "no memory for a process");
	r = set_watch(s, p, pidfd, flags, cookie);
	if (r < 0)
		return r;
	ret_id->tid = ret_id->tgid = p->leader.tid;
	ret_id->start = p->leader.start;
	return 0;
}

static void keep_reaped(struct cn_source *s, struct cn_reaped *reaped, pid_t pid, int status)
{
	struct cn_process *p = cn_find_process(s, (uint32_t)pid);

	reaped->pid = pid;
	reaped->status = status;
	reaped->time = clock_ns(CLOCK_MONOTONIC);
	if ((WIFEXITED(status) || WIFSIGNALED(status)) && p && cn_wanted(s, p) && !p->reaped) {
		reaped->process = p;
		reaped->root = p->forked;
		p->reaped = reaped;
	} else if (WIFEXITED(status) || WIFSIGNALED(status)) {
		reaped->root = was_forked(s, pid);
	}
	cds_list_add_tail(&reaped->node, &s->reaped);
}

/*
 * Is the exit of one who has been waited for still to be heard? An exit's message may come after
 * those of a parent that waited for it and ended, too.
 */
static bool exits_are_late(struct cn_source *s)
{
	struct cn_process *p;
	bool late = false;

	cds_list_for_each_entry (p, &s->processes, node) {
		if (!cn_wanted(s, p) || kill((pid_t)p->leader.tid, 0) == 0 || errno != ESRCH)
			continue;
		late = true;
		if (!cds_list_empty(&p->dying))
			continue;
		p->dying_since = clock_ns(CLOCK_MONOTONIC);
		cds_list_add_tail(&p->dying, &s->dying);
	}
	return late;
}

static int report_reaped(struct cn_source *s, knell_reap_fn fn, void *userdata)
{
	struct cn_reaped *reaped, *next;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	int reported = 0;

	cds_list_for_each_entry_safe (reaped, next, &s->reaped, node) {
		if (now < reaped->time + REPORT_AFTER &&
		    (reaped->process || (reaped->root && exits_are_late(s))))
			continue;
		cds_list_del(&reaped->node);
		if (reaped->process)
			reaped->process->reaped = NULL;
		reported++;
		if (fn)
			fn(reaped->pid, reaped->status, userdata);
		free(reaped);
	}
	return reported;
}

/*
 * A child can be waited for a moment before its exit is queued. It is reported only after that was
 * told: whoever sees the report has heard everything of the child.
 */
int cn_reap(struct knell_source *source, knell_reap_fn fn, void *userdata)
{
	struct cn_source *s = (struct cn_source *)source;
	struct cn_reaped *room;
	bool none = false;
	int reported;

	/* Room first: a child that was waited for cannot be put back. */
	while ((room = calloc(1, sizeof(*room)))) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED | __WALL);

		if (pid > 0)
			keep_reaped(s, room, pid, status);
		else
			free(room);
		none = pid < 0 && errno == ECHILD;
		if (pid == 0 || none)
			break;
	}
	reported = report_reaped(s, fn, userdata);
	if (reported || !none || !cds_list_empty(&s->reaped) || (!s->stream && exits_are_late(s)))
		return reported;
	return -ECHILD;
}
