/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_living.c - those who live already when a watch is set: the descendants of a process, and
 * everybody. Each is told of once, also while trees grow and die; beyond the reserve all is
 * counted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define CLONES KNELL_MASK(KNELL_CLONE)
#define BIRTHS (CLONES | KNELL_MASK(KNELL_INIT))

static int watch_all(int session, uint32_t flags, uint32_t mask, uint64_t cookie, uint32_t reserve)
{
	return session_watch_pidfd(session, -1, KNELL_KMOD_ALL | flags, mask, cookie, reserve);
}

static void *shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

static int by_life(const void *a, const void *b)
{
	const struct knell_event *x = a, *y = b;

	if (x->task.tgid != y->task.tgid)
		return x->task.tgid < y->task.tgid ? -1 : 1;
	if (x->task.start != y->task.start)
		return x->task.start < y->task.start ? -1 : 1;
	return x->kind < y->kind ? -1 : x->kind > y->kind;
}

/* No kind of event of a process was told twice, and no exit before its clone. Sorts. */
static void check_once(struct hearing *hearing)
{
	size_t i;

	qsort(hearing->all, hearing->count, sizeof(*hearing->all), by_life);
	for (i = 1; i < hearing->count; i++) {
		const struct knell_event *event = &hearing->all[i].event;
		const struct knell_event *before = &hearing->all[i - 1].event;

		if (event->kind == KNELL_GAP || event->task.start != before->task.start ||
		    event->task.tgid != before->task.tgid)
			continue;
		ck_assert_msg(event->kind != before->kind, "%u was told of twice (kind %u)",
			      event->task.tgid, event->kind);
		ck_assert_msg(event->seq > before->seq, "%u: kind %u came before kind %u",
			      event->task.tgid, event->kind, before->kind);
	}
}

/* A process that makes `width` children, `depth` times over; all wait at the gate, then end. */
static void stand(const struct gate *gate, int depth, int width, volatile int *standing)
{
	int i;

	for (i = 0; depth && i < width; i++)
		if (!fork()) {
			stand(gate, depth - 1, width, standing);
			_exit(depth);
		}
	__atomic_fetch_add(standing, 1, __ATOMIC_SEQ_CST);
	gate_wait(gate);
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static pid_t stand_tree(const struct gate *gate, int depth, int width, int count)
{
	volatile int *standing = shared(sizeof(int));
	pid_t pid = spawn();

	if (!pid) {
		stand(gate, depth, width, standing);
		_exit(42);
	}
	while (*standing < count)
		usleep(1000);
	return pid;
}

START_TEST(descendants_that_live)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	struct gate gate;
	size_t i, j;
	pid_t root;

	gate_make(&gate);
	root = stand_tree(&gate, 3, 4, 1 + 4 + 16 + 64);
	ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_SUBTREE | KNELL_KMOD_FOUND,
				       EXITS | BIRTHS, 7, 100),
			 0);
	hear_until(&hearing, session, 85);
	hear_nothing(session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), 85); /* and nobody is told born */
	for (i = 0; i < 85; i++) {
		const struct knell_event *event = &hearing.all[i].event;

		ck_assert_uint_eq(event->cookie, 7);
		ck_assert(event->flags & KNELL_F_RECONCILED);
		ck_assert(event->unknown & KNELL_U_FLAGS);
		ck_assert_uint_eq(event->u.clone.flags, 0);
		ck_assert_int_eq(!!(event->flags & KNELL_F_ROOT),
				 event->task.tgid == (uint32_t)root);
		for (j = 0; j < i; j++)
			if (hearing.all[j].event.task.start == event->parent.start)
				break;
		ck_assert(j < i || event->task.tgid == (uint32_t)root);
	}
	gate_open(&gate);
	reap(root);
	hear_until(&hearing, session, 170);
	hear_nothing(session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 85);
	check_once(&hearing);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* The root itself is not told alive unless that was asked for; kinds are as asked for. */
START_TEST(only_what_was_asked_for)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	struct gate gate;
	pid_t root;

	gate_make(&gate);
	root = stand_tree(&gate, 1, 3, 4);
	ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_SUBTREE, EXITS | CLONES, 1, 10),
			 0);
	ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_FOUND, EXITS | CLONES, 2, 0), 0);
	ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_SUBTREE, EXITS, 3, 10), 0);
	hear_until(&hearing, session, 4);
	hear_nothing(session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), 4);
	gate_open(&gate);
	reap(root);
	hear_until(&hearing, session, 4 + 4 + 1 + 4);
	hear_nothing(session);
	hearing_end(&hearing);
	close(session);
}
END_TEST

START_TEST(more_than_the_reserve)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	uint64_t births, deaths;
	struct gate gate;
	pid_t root;

	gate_make(&gate);
	root = stand_tree(&gate, 3, 3, 1 + 3 + 9 + 27);
	ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_SUBTREE, EXITS | CLONES, 1, 10),
			 0);
	drain(&hearing, session);
	heard_gaps(&hearing, &births, &deaths);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), 10);
	ck_assert_uint_eq(births, 29);
	ck_assert_uint_eq(deaths, 0);
	gate_open(&gate);
	reap(root);
	drain(&hearing, session);
	heard_gaps(&hearing, &births, &deaths);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 11);
	ck_assert_uint_eq(births, 29);
	ck_assert_uint_eq(deaths, 29);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/*
 * A session that keeps the hooks armed, so that a test of many rounds does not switch them in a
 * storm: emulated CPUs do not always survive that (see tests/vm/check).
 */
static int hold_hooks(void)
{
	int session = session_open(O_NONBLOCK);
	pid_t pid = spawn();

	if (!pid) {
		pause();
		_exit(0);
	}
	ck_assert_int_eq(session_watch(session, pid, KNELL_KMOD_SUBTREE, EXITS | CLONES, 1, 1), 0);
	return session;
}

/* ---- while it grows and dies ---- */

enum {
	FORKERS = 4,
	LATE = 4000
};

struct forest {
	volatile int set, end, standing;
	volatile int late; /* forked when the watch was set: they must be told born */
	pid_t forkers[FORKERS];
	pid_t pids[LATE];
};

static void live_shortly(int n)
{
	pid_t pid = n % 3 ? 0 : fork();

	if (pid > 0)
		waitpid(pid, NULL, 0);
	_exit(n % 7);
}

static void fork_on(struct forest *forest)
{
	int n, late;
	pid_t pid;

	__atomic_fetch_add(&forest->standing, 1, __ATOMIC_SEQ_CST);
	for (n = 0; !forest->end; n++) {
		int set = forest->set;

		pid = fork();
		if (!pid)
			live_shortly(n);
		late = set ? __atomic_fetch_add(&forest->late, 1, __ATOMIC_SEQ_CST) : LATE;
		if (late < LATE)
			forest->pids[late] = pid;
		waitpid(pid, NULL, 0);
	}
	_exit(0);
}

static pid_t plant(struct forest *forest)
{
	pid_t root = spawn();
	int i;

	if (!root) {
		for (i = 0; i < FORKERS; i++) {
			pid_t pid = fork();

			if (!pid)
				fork_on(forest);
			forest->forkers[i] = pid; /* shared: never in the child */
		}
		while (wait(NULL) > 0 || errno == EINTR)
			;
		_exit(0);
	}
	while (forest->standing < FORKERS)
		usleep(1000);
	return root;
}

/* Of everyone told born one death was told, and the other way round, but for who lives on. */
static void check_lives(struct hearing *hearing, bool all_died)
{
	size_t i;

	check_once(hearing); /* and sorts */
	for (i = 0; i < hearing->count; i++) {
		const struct knell_event *event = &hearing->all[i].event;
		const struct knell_event *next =
			i + 1 < hearing->count ? &hearing->all[i + 1].event : event;

		ck_assert_uint_ne(event->kind, KNELL_GAP);
		if (event->kind != KNELL_CLONE)
			continue;
		if (next->kind != KNELL_EXIT || next->task.start != event->task.start)
			ck_assert_msg(!all_died, "%u was told born and never dead",
				      event->task.tgid);
		else
			i++;
	}
	if (all_died)
		ck_assert_uint_eq(heard_count(hearing, KNELL_CLONE),
				  heard_count(hearing, KNELL_EXIT));
}

static void check_found(const struct hearing *hearing, pid_t pid)
{
	const struct knell_event *event = heard_of(hearing, pid, KNELL_CLONE);

	ck_assert_msg(event && event->flags & KNELL_F_RECONCILED, "%d was not found alive",
		      (int)pid);
}

START_TEST(a_forest_that_grows)
{
	int round, i, hooks = hold_hooks();

	for (round = 0; round < 20; round++) {
		struct hearing hearing = { .next_seq = 0 };
		struct forest *forest = shared(sizeof(*forest));
		int session = session_open(O_NONBLOCK);
		pid_t root = plant(forest);

		usleep((useconds_t)round * 200);
		ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_SUBTREE | KNELL_KMOD_FOUND,
					       EXITS | CLONES, 1, 4000),
				 0);
		forest->set = 1;
		while (forest->late < 20)
			usleep(2000);
		forest->end = 1;
		reap(root);
		drain(&hearing, session);
		for (i = 0; i < FORKERS; i++)
			check_found(&hearing, forest->forkers[i]);
		for (i = 0; i < forest->late && i < LATE; i++) {
			const struct knell_event *event =
				heard_of(&hearing, forest->pids[i], KNELL_CLONE);

			ck_assert_msg(event && !(event->flags & KNELL_F_RECONCILED),
				      "%d was not told born", (int)forest->pids[i]);
		}
		check_lives(&hearing, true);
		hearing_end(&hearing);
		close(session);
		munmap(forest, sizeof(*forest));
	}
	close(hooks);
}
END_TEST

/* ---- everybody ---- */

static size_t processes(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	size_t count = 0;

	ck_assert_ptr_nonnull(proc);
	while ((entry = readdir(proc)))
		count += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
	closedir(proc);
	return count;
}

START_TEST(everybody)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), i;
	const struct knell_event *event;
	size_t least = processes(), found;
	pid_t pids[50];

	ck_assert_int_eq(watch_all(session, 0, EXITS | BIRTHS, 9, 2000), 0);
	hear_until(&hearing, session, least - 2);
	found = heard_count(&hearing, KNELL_CLONE);
	ck_assert_uint_ge(found + 2, least); /* a thread of the kernel may end at any time */
	event = heard_of(&hearing, 1, KNELL_CLONE);
	ck_assert_ptr_nonnull(event);
	ck_assert(event->flags & KNELL_F_RECONCILED);
	ck_assert(!(event->flags & KNELL_F_ROOT));
	ck_assert_ptr_nonnull(heard_of(&hearing, getpid(), KNELL_CLONE));
	ck_assert_ptr_nonnull(heard_of(&hearing, 2, KNELL_CLONE)); /* kthreadd */
	for (i = 0; i < 50; i++) {
		pids[i] = spawn();
		if (!pids[i])
			_exit(i);
	}
	for (i = 0; i < 50; i++)
		reap(pids[i]);
	drain(&hearing, session);
	for (i = 0; i < 50; i++) {
		event = heard_of(&hearing, pids[i], KNELL_CLONE);
		ck_assert_ptr_nonnull(event);
		ck_assert_uint_eq(event->flags, 0);
		ck_assert_uint_eq(event->parent.tgid, (uint32_t)getpid());
		ck_assert_uint_eq(event->u.clone.exit_signal, SIGCHLD);
		ck_assert_ptr_nonnull(heard_of(&hearing, pids[i], KNELL_INIT));
		event = heard_of(&hearing, pids[i], KNELL_EXIT);
		ck_assert_ptr_nonnull(event);
		ck_assert_int_eq(event->u.exit.status, i << 8);
	}
	check_once(&hearing);
	ck_assert_int_eq(session_unwatch(session, 9), 0);
	reap(spawn_at(&(struct gate){ { -1, -1 } }, 0));
	hear_nothing(session);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Everybody, while there is a storm, and a subtree of it by another session. */
START_TEST(everybody_in_a_storm)
{
	int round, i, hooks = hold_hooks();

	for (round = 0; round < 10; round++) {
		struct hearing hearing = { .next_seq = 0 }, part = { .next_seq = 0 };
		struct forest *forest = shared(sizeof(*forest));
		int session = session_open(O_NONBLOCK), other = session_open(O_NONBLOCK);
		pid_t root = plant(forest);

		ck_assert_int_eq(session_watch(other, root, KNELL_KMOD_SUBTREE | KNELL_KMOD_FOUND,
					       EXITS | CLONES, 1, 4000),
				 0);
		usleep((useconds_t)round * 300);
		ck_assert_int_eq(watch_all(session, 0, EXITS | CLONES, 1, 6000), 0);
		forest->set = 1;
		while (forest->late < 20)
			usleep(2000);
		forest->end = 1;
		reap(root);
		drain(&hearing, session);
		drain(&part, other);
		check_found(&hearing, root);
		for (i = 0; i < forest->late && i < LATE; i++) {
			const struct knell_event *event =
				heard_of(&hearing, forest->pids[i], KNELL_CLONE);

			ck_assert_msg(event && !(event->flags & KNELL_F_RECONCILED),
				      "%d was not told born", (int)forest->pids[i]);
			ck_assert_ptr_nonnull(heard_of(&hearing, forest->pids[i], KNELL_EXIT));
			ck_assert_ptr_nonnull(heard_of(&part, forest->pids[i], KNELL_EXIT));
		}
		check_lives(&hearing, false);
		check_lives(&part, true);
		hearing_end(&hearing);
		hearing_end(&part);
		close(session);
		close(other);
		munmap(forest, sizeof(*forest));
	}
	close(hooks);
}
END_TEST

/* All that have no watch are counted, and so is each later death; whoever dies gives his back. */
START_TEST(everybody_beyond_the_reserve)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), i;
	uint64_t births, deaths;
	size_t before, after;
	struct gate gate;
	pid_t pids[200];

	gate_make(&gate);
	for (i = 0; i < 100; i++)
		pids[i] = spawn_at(&gate, 0);
	before = processes();
	ck_assert_int_eq(watch_all(session, 0, EXITS | CLONES, 1, 20), 0);
	after = processes();
	for (i = 100; i < 200; i++)
		pids[i] = spawn_at(&gate, 0);
	gate_open(&gate);
	for (i = 0; i < 200; i++)
		reap(pids[i]);
	drain(&hearing, session);
	heard_gaps(&hearing, &births, &deaths);
	/* Threads of the kernel come and go by themselves. */
	ck_assert_uint_ge(births + heard_count(&hearing, KNELL_CLONE) + 5, before + 100);
	ck_assert_uint_le(births + heard_count(&hearing, KNELL_CLONE), after + 100 + 5);
	ck_assert_uint_ge(deaths + heard_count(&hearing, KNELL_EXIT), 200);
	ck_assert_uint_le(deaths + heard_count(&hearing, KNELL_EXIT), 200 + 5);
	ck_assert_uint_ge(births, 180);
	ck_assert_uint_ge(deaths, 180);
	hearing_end(&hearing);
	close(session);
}
END_TEST

START_TEST(who_may_watch_everybody)
{
	int session = session_open(O_NONBLOCK), own = pidfd_of(getpid());
	const uint32_t all = KNELL_KMOD_ALL;
	pid_t pid;

	ck_assert_int_eq(session_watch_pidfd(session, own, all, EXITS, 0, 9), -EINVAL);
	ck_assert_int_eq(watch_all(session, KNELL_KMOD_SUBTREE, EXITS, 0, 9), -EINVAL);
	ck_assert_int_eq(watch_all(session, KNELL_KMOD_FOUND, EXITS, 0, 9), -EINVAL);
	ck_assert_int_eq(watch_all(session, 0, EXITS, 0, UINT32_MAX), -ENOSPC);
	ck_assert_int_eq(session_watch_pidfd(session, -1, 0, EXITS, 0, 0), -EBADF);
	pid = spawn();
	if (!pid) {
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(1);
		_exit(watch_all(session, 0, EXITS, 0, 9) == -EPERM ? 0 : 2);
	}
	ck_assert_int_eq(reap(pid), 0);
	/* Without a reserve it counts. */
	ck_assert_int_eq(watch_all(session, 0, EXITS, 0, 0), 0);
	close(own);
	close(session);
}
END_TEST

void add_living_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "living", 60);

	tcase_add_test(tests, descendants_that_live);
	tcase_add_test(tests, only_what_was_asked_for);
	tcase_add_test(tests, more_than_the_reserve);
	tcase_add_test(tests, a_forest_that_grows);
	tcase_add_test(tests, everybody);
	tcase_add_test(tests, everybody_in_a_storm);
	tcase_add_test(tests, everybody_beyond_the_reserve);
	tcase_add_test(tests, who_may_watch_everybody);
}
