/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * children.c - the ways of reaping; see children.h. It owns the table of announced deaths: an array
 * in the order in which they came, and an index by pid, so that none is in it twice and whoever was
 * reaped in another way is out of it before the kernel can use its number again for a child of
 * ours.
 *
 * Every wait is for a pid and asks for all that can be reported: a child that is stopped is found
 * by each peek until its report was taken. Whatever is reported comes from one wait of its own in
 * wait_for() or reap_any(), and the kernel gives a death away once.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"
#include "lists.h"

#define TASKS          "/proc/self/task"
#define PEEKS_IN_A_ROW 8    /* then a sweep, which costs as much as 36 peeks */
#define PENDING_MS     1000 /* how long an announced one that is not dead yet is asked for */
#define FIRST_SIZE     16   /* of the table: a power of two */

struct children {
	char *tasks; /* the folder of this process's threads; NULL: no children lists */
	bool all;
	bool owed;        /* a peek was put off */
	uint64_t peeked;  /* when the last one was: CLOCK_MONOTONIC, ms */
	uint64_t pending; /* until then announced ones are asked for without a signal */
	children_look_fn look;
	void *look_userdata;

	pid_t *pids;     /* announced */
	uint32_t *index; /* twice as many: place in pids + 1; 0: free. Open addressing */
	uint32_t count, size;

	uint64_t waited, reported; /* deaths */
	struct children_stats stats;
};

/* One children_reap(). */
struct call {
	struct children *children;
	children_fn fn;
	void *userdata;
	int reported;
};

/* What one wait told. */
enum outcome {
	NOT_OURS,
	NOTHING,
	CHANGED, /* stopped or continued */
	DIED
};

static uint64_t now_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

/* ---- the table of announced deaths ---- */

static uint32_t home_of(const struct children *c, pid_t pid)
{
	return ((uint32_t)pid * 2654435761u) >> 7 & (2 * c->size - 1);
}

/* Where the index has this pid, or where it would be put. The index is never full. */
static uint32_t find(const struct children *c, pid_t pid)
{
	uint32_t at = home_of(c, pid);

	while (c->index[at] && c->pids[c->index[at] - 1] != pid)
		at = (at + 1) & (2 * c->size - 1);
	return at;
}

static bool grow(struct children *c)
{
	uint32_t size = c->size ? c->size * 2 : FIRST_SIZE;
	uint32_t *index = calloc(2 * (size_t)size, sizeof(*index));
	pid_t *pids = index ? realloc(c->pids, size * sizeof(*pids)) : NULL;

	if (!pids) {
		free(index);
		return false;
	}
	free(c->index);
	c->index = index;
	c->pids = pids;
	c->size = size;
	for (uint32_t i = 0; i < c->count; i++)
		c->index[find(c, pids[i])] = i + 1;
	return true;
}

void children_announce(struct children *c, pid_t pid)
{
	uint32_t at;

	if (pid <= 0)
		return;
	c->pending = now_ms() + PENDING_MS;
	if (c->count == c->size && !grow(c)) {
		c->owed = true;
		return;
	}
	at = find(c, pid);
	if (c->index[at])
		return;
	c->pids[c->count++] = pid;
	c->index[at] = c->count;
}

void children_missed(struct children *c)
{
	c->owed = true;
}

/* Moves those that were put further on by this one: no search may end at its place too early. */
static void close_hole(struct children *c, uint32_t hole)
{
	uint32_t mask = 2 * c->size - 1;

	for (uint32_t at = (hole + 1) & mask; c->index[at]; at = (at + 1) & mask) {
		uint32_t home = home_of(c, c->pids[c->index[at] - 1]);

		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		c->index[hole] = c->index[at];
		hole = at;
	}
	c->index[hole] = 0;
}

static void forget(struct children *c, pid_t pid)
{
	uint32_t at, place;
	pid_t last;

	if (!c->count)
		return;
	at = find(c, pid);
	if (!c->index[at])
		return;
	place = c->index[at] - 1;
	close_hole(c, at);
	last = c->pids[c->count - 1];
	if (last != pid) {
		at = find(c, last);
		c->pids[place] = last;
		c->index[at] = place + 1;
	}
	c->count--;
}

/* ---- one child ---- */

static bool is_death(int status)
{
	return WIFEXITED(status) || WIFSIGNALED(status);
}

static void report(struct call *call, pid_t pid, int status)
{
	struct children *c = call->children;

	if (is_death(status)) {
		forget(c, pid);
		c->reported++;
		/* Once for each wait that gave a death away, and then it is not asked for again. */
		assert(c->reported == c->waited);
		assert(!c->count || !c->index[find(c, pid)]);
	}
	call->reported++;
	if (call->fn)
		call->fn(pid, status, call->userdata);
}

static void look_at(const struct children *c, pid_t pid)
{
	siginfo_t info = { 0 };
	int r;

	if (!c->look)
		return;
	do {
		r = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
	} while (r < 0 && errno == EINTR);
	if (r == 0 && info.si_pid)
		c->look(pid, c->look_userdata);
}

static pid_t wait_once(struct children *c, pid_t pid, int *ret_status)
{
	pid_t got;

	do {
		got = waitpid(pid, ret_status, WNOHANG | WUNTRACED | WCONTINUED | __WALL);
	} while (got < 0 && errno == EINTR);
	if (got > 0 && is_death(*ret_status))
		c->waited++;
	return got;
}

static enum outcome wait_for(struct call *call, pid_t pid, uint64_t *deaths)
{
	int status = 0;
	pid_t got;

	look_at(call->children, pid);
	got = wait_once(call->children, pid, &status);
	if (got <= 0)
		return got < 0 ? NOT_OURS : NOTHING;
	if (is_death(status))
		++*deaths;
	report(call, pid, status);
	return is_death(status) ? DIED : CHANGED;
}

/* ---- the announced ---- */

static void reap_announced(struct call *call)
{
	struct children *c = call->children;
	uint32_t i = 0;

	/* A place is looked at again when the last one was moved there. */
	while (i < c->count) {
		pid_t pid = c->pids[i];
		enum outcome outcome;

		do {
			outcome = wait_for(call, pid, &c->stats.directed);
		} while (outcome == CHANGED);
		if (outcome == NOT_OURS) {
			c->stats.not_ours++;
			forget(c, pid);
		}
		if (outcome == NOTHING)
			i++; /* it still clears away; or it was a record of long ago */
	}
}

/* ---- the sweep ---- */

static void sweep(struct call *call)
{
	struct children *c = call->children;
	struct pid_list list = { 0 };

	c->stats.sweeps++;
	lists_read(&list, c->tasks);
	for (size_t i = 0; i < list.count; i++)
		wait_for(call, list.all[i], &c->stats.swept);
	free(list.all);
}

/* ---- the unannounced ---- */

/* A child that has something to report; 0: none has; or -errno. */
static pid_t peek(struct children *c)
{
	siginfo_t info = { 0 };
	int r;

	c->stats.peeks++;
	do {
		r = waitid(P_ALL, 0, &info,
			   WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : info.si_pid;
}

/* Returns what the last wait said: 0 or -errno. */
static int reap_any(struct call *call)
{
	for (;;) {
		int status = 0;
		pid_t pid = wait_once(call->children, -1, &status);

		if (pid <= 0)
			return pid < 0 ? -errno : 0;
		if (is_death(status))
			call->children->stats.any++;
		report(call, pid, status);
	}
}

static int reap_unannounced(struct call *call)
{
	struct children *c = call->children;

	c->owed = false;
	c->peeked = now_ms();
	if (!c->tasks && !c->look)
		return reap_any(call);
	for (unsigned int row = 1;; row++) {
		pid_t pid = peek(c);

		if (pid <= 0)
			return pid;
		wait_for(call, pid, &c->stats.peeked);
		if (c->tasks && row % PEEKS_IN_A_ROW == 0)
			sweep(call);
	}
}

int children_reap(struct children *c, children_fn fn, void *userdata)
{
	struct call call = { .children = c, .fn = fn, .userdata = userdata };
	int r;

	reap_announced(&call);
	if (call.reported && c->all && now_ms() < c->peeked + CHILDREN_PEEK_MS) {
		c->owed = true;
		return call.reported;
	}
	r = reap_unannounced(&call);
	return call.reported ? call.reported : r;
}

int children_timeout(const struct children *c)
{
	uint64_t now;

	if (!c->owed && !c->count)
		return -1;
	now = now_ms();
	if (c->owed)
		return now < c->peeked + CHILDREN_PEEK_MS
			       ? (int)(c->peeked + CHILDREN_PEEK_MS - now)
			       : 0;
	/* A child may have been made to die without a signal. But a stale record never dies. */
	return now < c->pending ? CHILDREN_PEEK_MS : -1;
}

/* ---- all of it ---- */

/*
 * There may be no /proc, no lists in it (CONFIG_PROC_CHILDREN), or one of another pid namespace,
 * which has other numbers.
 */
static bool has_lists(void)
{
	char path[64];

	if (!lists_are_ours())
		return false;
	snprintf(path, sizeof(path), TASKS "/%d/children", (int)getpid());
	return access(path, R_OK) == 0;
}

int children_open_at(struct children **ret_children, const char *tasks)
{
	struct children *c = calloc(1, sizeof(*c));

	if (c && tasks) {
		c->tasks = strdup(tasks);
		if (!c->tasks)
			c = children_close(c);
	}
	if (!c)
		return -ENOMEM;
	*ret_children = c;
	return 0;
}

int children_open(struct children **ret_children)
{
	return children_open_at(ret_children, has_lists() ? TASKS : NULL);
}

struct children *children_close(struct children *c)
{
	if (c) {
		free(c->tasks);
		free(c->pids);
		free(c->index);
		free(c);
	}
	return NULL;
}

void children_all_announced(struct children *c, bool all)
{
	c->all = all;
}

void children_set_look(struct children *c, children_look_fn look, void *userdata)
{
	c->look = look;
	c->look_userdata = userdata;
}

void children_get_stats(const struct children *c, struct children_stats *ret_stats)
{
	*ret_stats = c->stats;
}
