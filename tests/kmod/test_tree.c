/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_tree.c - subtrees, and the events between birth and death: order, the reserve and what is
 * beyond it, the stream and what it loses, ids, and the three moments of a death.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

/* Where in the hearing this task's record of this kind is; -1: nowhere. */
static long place_of(const struct hearing *hearing, uint32_t tgid, uint64_t start,
		     unsigned int kind)
{
	size_t i;

	for (i = 0; i < hearing->count; i++) {
		const struct knell_event *event = &hearing->all[i].event;

		if (event->kind == kind && event->task.tgid == tgid && event->task.start == start)
			return (long)i;
	}
	return -1;
}

/* Births come after their creator's, and all else of a process between birth and death. */
static void check_order(const struct hearing *hearing, pid_t root)
{
	size_t i;

	for (i = 0; i < hearing->count; i++) {
		const struct knell_event *event = &hearing->all[i].event;
		const struct knell_task_id *task = &event->task, *parent = &event->parent;
		long birth = place_of(hearing, task->tgid, task->start, KNELL_INIT);
		long death = place_of(hearing, task->tgid, task->start, KNELL_EXIT);

		if (event->kind == KNELL_GAP)
			continue;
		ck_assert_int_eq(!!(event->flags & KNELL_F_ROOT), task->tgid == (uint32_t)root);
		if (task->tgid != (uint32_t)root)
			ck_assert_int_ge(birth, 0);
		ck_assert_int_le(birth, (long)i);
		if (event->kind != KNELL_FREE)
			ck_assert_int_ge(death, (long)i);
		if (event->kind == KNELL_INIT && parent->tgid != (uint32_t)root)
			ck_assert_int_lt(place_of(hearing, parent->tgid, parent->start, KNELL_INIT),
					 birth);
	}
}

/* Each process makes `width` children, `depth` times over; each leaf runs a program. */
static void grow_tree(int depth, int width)
{
	pid_t pid;
	int i;

	for (i = 0; i < width; i++) {
		pid = fork();
		if (pid)
			continue;
		if (depth > 1)
			grow_tree(depth - 1, width);
		if (depth == 1)
			execl("/bin/true", "true", (char *)NULL);
		_exit(depth);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static pid_t spawn_tree(const struct gate *gate, int depth, int width)
{
	pid_t pid = spawn();

	if (pid)
		return pid;
	gate_wait(gate);
	grow_tree(depth, width);
	_exit(42);
}

START_TEST(a_tree_is_told_in_order)
{
	const uint32_t kinds = LIVES & ~KNELL_MASK(KNELL_FREE);
	/* 8 + 64 + 512 descendants, the last of which run a program. */
	const size_t all = 584, leaves = 512;
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	struct gate gate;
	size_t i;
	pid_t root;

	gate_make(&gate);
	root = spawn_tree(&gate, 3, 8);
	ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_SUBTREE, kinds, 77, 1000), 0);
	gate_open(&gate);
	ck_assert_int_eq(reap(root), 42 << 8);
	hear_until(&hearing, session, all * 3 + leaves + 1);
	hear_nothing(session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_INIT), all);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), all);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXEC), leaves);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), all + 1);
	check_order(&hearing, root);
	for (i = 0; i < hearing.count; i++) {
		ck_assert_uint_eq(hearing.all[i].event.cookie, 77);
		if (hearing.all[i].event.kind != KNELL_EXEC)
			continue;
		ck_assert_str_eq(hearing.all[i].name, "/bin/true");
		ck_assert_str_eq(hearing.all[i].event.comm, "true");
		ck_assert_uint_eq(hearing.all[i].event.u.exec.old_tid,
				  hearing.all[i].event.task.tgid);
	}
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Children that all live at the same time, then die; those beyond the reserve are counted. */
START_TEST(beyond_the_reserve)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), i;
	uint64_t births = 0, deaths = 0;
	struct gate gate, inner;
	pid_t root;

	gate_make(&gate);
	gate_make(&inner);
	root = spawn();
	if (!root) {
		gate_wait(&gate);
		for (i = 0; i < 100; i++)
			if (!fork()) {
				gate_wait(&inner);
				_exit(i % 10 ? 0 : fork() ? 1 : 2); /* ten have a child */
			}
		gate_open(&inner);
		while (wait(NULL) > 0 || errno == EINTR)
			;
		_exit(9);
	}
	gate_open(&inner);
	ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_SUBTREE,
				       EXITS | KNELL_MASK(KNELL_INIT), 5, 30),
			 0);
	gate_open(&gate);
	reap(root);
	/* Grandchildren are nobody's to wait for; they end soon. */
	for (i = 0; i < 300; i++) {
		hear(&hearing, session, 100);
		heard_gaps(&hearing, &births, &deaths);
		if (births + heard_count(&hearing, KNELL_INIT) == 110 &&
		    deaths + heard_count(&hearing, KNELL_EXIT) == 111)
			break;
	}
	hear_nothing(session);
	ck_assert_uint_eq(births + heard_count(&hearing, KNELL_INIT), 110);
	ck_assert_uint_eq(deaths + heard_count(&hearing, KNELL_EXIT), 111);
	ck_assert_uint_eq(births, deaths);
	ck_assert_uint_ge(births, 70);
	ck_assert_ptr_nonnull(heard_of(&hearing, root, KNELL_EXIT));
	hearing_end(&hearing);
	close(session);
}
END_TEST

static uint64_t lost_in_stream(const struct hearing *hearing)
{
	uint64_t lost = 0;
	size_t i;

	for (i = 0; i < hearing->count; i++)
		if (hearing->all[i].event.kind == KNELL_GAP) {
			ck_assert_uint_eq(hearing->all[i].event.u.gap.cause, KNELL_GAP_RING);
			lost += hearing->all[i].event.u.gap.others;
		}
	return lost;
}

/* Whoever does not read loses nothing but execs, and those are counted. */
START_TEST(beyond_the_stream)
{
	struct hearing hearing = { .next_seq = 0 };
	struct gate gate;
	int session;
	pid_t root;

	write_text("/sys/module/knell/parameters/lines", "16");
	session = session_open(O_NONBLOCK);
	write_text("/sys/module/knell/parameters/lines", "1024");
	gate_make(&gate);
	root = spawn_tree(&gate, 1, 100);
	ck_assert_int_eq(session_watch(session, root, KNELL_KMOD_SUBTREE,
				       EXITS | KNELL_MASK(KNELL_EXEC), 5, 200),
			 0);
	gate_open(&gate);
	reap(root);
	while (heard_count(&hearing, KNELL_EXIT) < 101 ||
	       heard_count(&hearing, KNELL_EXEC) + lost_in_stream(&hearing) < 100)
		hear_until(&hearing, session, hearing.count + 1);
	hear_nothing(session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXEC), 16);
	ck_assert_uint_eq(lost_in_stream(&hearing), 84);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 101);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Small trees, whose last processes die on different CPUs at the same moment. */
START_TEST(trees_end_at_once)
{
	int session = session_open(O_NONBLOCK), round, i;
	uint64_t seq = 0;

	for (round = 0; round < 15; round++) {
		struct hearing hearing = { .next_seq = seq };
		struct gate gate, born;
		pid_t roots[50];

		gate_make(&gate);
		gate_make(&born);
		for (i = 0; i < 50; i++) {
			roots[i] = spawn();
			if (!roots[i]) {
				gate_wait(&born);
				for (i = 0; i < 2 && fork(); i++)
					;
				gate_wait(&gate);
				_exit(0);
			}
			ck_assert_int_eq(session_watch(session, roots[i], KNELL_KMOD_SUBTREE,
						       EXITS | KNELL_MASK(KNELL_FREE), 1, 4),
					 0);
		}
		gate_open(&born);
		gate_open(&gate);
		for (i = 0; i < 50; i++)
			reap(roots[i]);
		/* A root and two children each. */
		hear_until(&hearing, session, (size_t)50 * 3 * 2);
		if (round == 14)
			hear_nothing(session);
		for (i = 0; i < 50; i++)
			ck_assert_ptr_nonnull(heard_of(&hearing, roots[i], KNELL_FREE));
		for (i = 0; i < (int)hearing.count; i++) {
			const struct knell_event *event = &hearing.all[i].event;

			if (event->kind == KNELL_FREE)
				ck_assert_int_lt(place_of(&hearing, event->task.tgid,
							  event->task.start, KNELL_EXIT),
						 i);
		}
		ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 150);
		seq = hearing.next_seq;
		hearing_end(&hearing);
	}
	close(session);
}
END_TEST

START_TEST(ids_before_the_death)
{
	const uint32_t kinds = EXITS | KNELL_MASK(KNELL_UID) | KNELL_MASK(KNELL_GID);
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	const struct knell_event *event;
	struct gate gate;
	pid_t pid;

	gate_make(&gate);
	pid = spawn();
	if (!pid) {
		gate_wait(&gate);
		_exit(setresgid(11, 12, 13) || setresuid(21, 22, 23));
	}
	ck_assert_int_eq(session_watch(session, pid, 0, kinds, 1, 0), 0);
	gate_open(&gate);
	ck_assert_int_eq(reap(pid), 0);
	hear_until(&hearing, session, 3);
	hear_nothing(session);
	ck_assert_uint_eq(hearing.all[0].event.kind, KNELL_GID);
	ck_assert_uint_eq(hearing.all[1].event.kind, KNELL_UID);
	ck_assert_uint_eq(hearing.all[2].event.kind, KNELL_EXIT);
	event = &hearing.all[0].event;
	ck_assert_uint_eq(event->u.ids.real, 11);
	ck_assert_uint_eq(event->u.ids.effective, 12);
	ck_assert_uint_eq(event->u.ids.saved, 13);
	ck_assert_uint_eq(event->u.ids.old_real, 0);
	event = &hearing.all[1].event;
	ck_assert_uint_eq(event->u.ids.real, 21);
	ck_assert_uint_eq(event->u.ids.effective, 22);
	ck_assert_uint_eq(event->uid, 22);
	ck_assert_uint_eq(hearing.all[2].event.uid, 22);
	ck_assert_uint_eq(hearing.all[2].event.gid, 12);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* At the moment `dead` its files are closed; `free` comes when it was waited for. */
START_TEST(moments_of_death)
{
	int session = session_open(O_NONBLOCK), held[2], i;

	for (i = 0; i < 100; i++) {
		struct pollfd gone = { .events = POLLIN };
		struct hearing hearing = { .next_seq = (uint64_t)i * 2 };
		struct gate gate;
		pid_t pid;

		gate_make(&gate);
		ck_assert_int_eq(pipe(held), 0);
		pid = spawn_at(&gate, i);
		close(held[1]);
		ck_assert_int_eq(session_watch(session, pid, KNELL_KMOD_DEAD,
					       EXITS | KNELL_MASK(KNELL_FREE), 3, 0),
				 0);
		gate_open(&gate);
		hear_until(&hearing, session, 1);
		ck_assert_uint_eq(hearing.all[0].event.kind, KNELL_EXIT);
		ck_assert_int_eq(hearing.all[0].event.u.exit.status, i << 8);
		gone.fd = held[0];
		ck_assert_int_eq(poll(&gone, 1, 0), 1); /* nobody holds the other end */
		ck_assert(gone.revents & POLLHUP);
		if (i == 0)
			hear_nothing(session); /* a zombie is not free */
		reap(pid);
		hear_until(&hearing, session, 2);
		ck_assert_uint_eq(hearing.all[1].event.kind, KNELL_FREE);
		ck_assert_int_eq((int)hearing.all[1].event.task.tgid, pid);
		hearing_end(&hearing);
		close(held[0]);
	}
	close(session);
}
END_TEST

static void *late_thread(void *unused)
{
	(void)unused;
	usleep(20000);
	syscall(SYS_exit, 0);
	return NULL;
}

/* A leader that went first is not dead while its thread lives: `dead` waits for that. */
START_TEST(dead_waits_for_all_threads)
{
	int session = session_open(O_NONBLOCK), i;
	struct hearing hearing = { .next_seq = 0 };

	for (i = 0; i < 20; i++) {
		int held[2], left;
		struct pollfd gone = { .events = POLLIN };
		struct gate gate;
		pthread_t thread;
		pid_t pid;

		gate_make(&gate);
		ck_assert_int_eq(pipe(held), 0);
		pid = spawn();
		if (!pid) {
			gate_wait(&gate);
			for (left = 0; left < 5; left++)
				pthread_create(&thread, NULL, late_thread, NULL);
			syscall(SYS_exit, 6);
		}
		close(held[1]);
		ck_assert_int_eq(session_watch(session, pid, KNELL_KMOD_DEAD, EXITS, 3, 0), 0);
		gate_open(&gate);
		hear_until(&hearing, session, (size_t)i + 1);
		gone.fd = held[0];
		ck_assert_int_eq(poll(&gone, 1, 0), 1);
		ck_assert_int_eq(hearing.all[i].event.u.exit.status, reap(pid));
		close(held[0]);
	}
	hear_nothing(session);
	hearing_end(&hearing);
	close(session);
}
END_TEST

static void *exec_thread(void *unused)
{
	(void)unused;
	execl("/bin/true", "true", (char *)NULL);
	_exit(99);
}

/* A thread that is not the leader runs exec: the process goes on under the leader's identity. */
START_TEST(exec_by_another_thread)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	const struct knell_event *exec;
	struct gate gate;
	pthread_t thread;
	pid_t pid;

	gate_make(&gate);
	pid = spawn();
	if (!pid) {
		gate_wait(&gate);
		pthread_create(&thread, NULL, exec_thread, NULL);
		for (;;)
			pause();
	}
	ck_assert_int_eq(session_watch(session, pid, 0, LIVES, 3, 0), 0);
	gate_open(&gate);
	ck_assert_int_eq(reap(pid), 0);
	hear_until(&hearing, session, 3);
	hear_nothing(session);
	exec = heard_of(&hearing, pid, KNELL_EXEC);
	ck_assert_ptr_nonnull(exec);
	ck_assert_uint_ne(exec->u.exec.old_tid, (uint32_t)pid);
	ck_assert_uint_ne(exec->u.exec.old_tid, 0);
	ck_assert_ptr_nonnull(heard_of(&hearing, pid, KNELL_EXIT));
	ck_assert_ptr_nonnull(heard_of(&hearing, pid, KNELL_FREE));
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Changes its ids all the time, until it is killed. */
static void change_ids(void)
{
	unsigned int i;

	for (i = 0;; i++)
		if (setresuid((uid_t)-1, (uid_t)-1, 1 + i % 2))
			_exit(1);
}

/*
 * A watch that ends while a probe is at a line for it gives back all, with no event to follow. The
 * first watch is there so that the hook is armed before anybody comes to it, and stays.
 */
START_TEST(ended_among_lines)
{
	int session = session_open(O_NONBLOCK), i, j, tries;
	const uint32_t mask = EXITS | KNELL_MASK(KNELL_UID);
	pid_t pids[3];

	ck_assert_int_eq(session_watch(session, getpid(), 0, mask, 2, 0), 0);
	for (j = 0; j < 3; j++) {
		pids[j] = spawn();
		if (!pids[j])
			change_ids();
	}
	for (i = 0; i < 150; i++) {
		for (j = 0; j < 3; j++)
			ck_assert_int_eq(session_watch(session, pids[j], 0, mask, 1, 0), 0);
		usleep(1000 + (useconds_t)i * 7);
		ck_assert_int_eq(session_unwatch(session, 1), 0);
		for (tries = 0; session_stats(session).watches > 1 && tries < 3000; tries++)
			usleep(10000);
		ck_assert_msg(tries < 3000, "round %d: %llu places are held", i,
			      (unsigned long long)session_stats(session).watches - 1);
	}
	for (j = 0; j < 3; j++) {
		kill(pids[j], SIGKILL);
		reap(pids[j]);
	}
	close(session);
}
END_TEST

void add_tree_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "trees", 60);

	tcase_add_test(tests, a_tree_is_told_in_order);
	tcase_add_test(tests, beyond_the_reserve);
	tcase_add_test(tests, beyond_the_stream);
	tcase_add_test(tests, trees_end_at_once);
	tcase_add_test(tests, ids_before_the_death);
	tcase_add_test(tests, moments_of_death);
	tcase_add_test(tests, dead_waits_for_all_threads);
	tcase_add_test(tests, exec_by_another_thread);
	tcase_add_test(tests, ended_among_lines);
}
