/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_joining.c - who joins a group or everybody, dead or alive, or while it is made or dies; and
 * the child of an armed thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define CLONES KNELL_MASK(KNELL_CLONE)
#define ALLOF  (EXITS | CLONES | KNELL_MASK(KNELL_INIT) | KNELL_MASK(KNELL_EXEC))

/* Alone, then with its descendants, then again: one record of each event. */
START_TEST(joined_more_than_once)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), i;
	const struct knell_event *event;
	struct gate gate;
	pid_t pid, child;
	int ready[2];

	ck_assert_int_eq(pipe(ready), 0);
	gate_make(&gate);
	pid = spawn();
	if (!pid) {
		child = fork();
		if (!child) {
			gate_wait(&gate);
			_exit(3);
		}
		ck_assert_int_eq(write(ready[1], &child, sizeof(child)), sizeof(child));
		gate_wait(&gate);
		waitpid(child, NULL, 0);
		_exit(4);
	}
	ck_assert_int_eq(read(ready[0], &child, sizeof(child)), sizeof(child));
	ck_assert_int_eq(group_join(session, pid, 0, 1), -ENOENT);
	ck_assert_int_eq(group_set(session, ALLOF, 10), 0);
	ck_assert_int_eq(group_join(session, pid, 0, 0), 0);
	drain(&hearing, session);
	ck_assert_uint_eq(hearing.count, 1);
	ck_assert(heard_of(&hearing, pid, KNELL_CLONE)->flags & KNELL_F_RECONCILED);
	ck_assert(heard_of(&hearing, pid, KNELL_CLONE)->flags & KNELL_F_ROOT);
	for (i = 0; i < 2; i++)
		ck_assert_int_eq(group_join(session, pid, KNELL_KMOD_SUBTREE, 7), 0);
	ck_assert_int_eq(group_join(session, child, 0, 0), 0);
	drain(&hearing, session);
	ck_assert_uint_eq(hearing.count, 2);
	event = heard_of(&hearing, child, KNELL_CLONE);
	ck_assert(event->flags & KNELL_F_RECONCILED);
	ck_assert_uint_eq(event->cookie, 7);
	gate_open(&gate);
	ck_assert_int_eq(reap(pid), 4 << 8);
	drain(&hearing, session);
	ck_assert_uint_eq(hearing.count, 4);
	ck_assert_uint_eq(heard_of(&hearing, pid, KNELL_EXIT)->cookie, 7);
	ck_assert_int_eq(heard_of(&hearing, child, KNELL_EXIT)->u.exit.status, 3 << 8);
	hearing_end(&hearing);
	close(session);
}
END_TEST

START_TEST(the_dead_that_join)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), pidfd;
	const struct knell_event *event;
	siginfo_t info;
	pid_t pid;

	ck_assert_int_eq(group_set(session, ALLOF | KNELL_MASK(KNELL_FREE), 10), 0);
	pid = spawn();
	if (!pid)
		_exit(6);
	pidfd = pidfd_of(pid);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	ck_assert_int_eq(group_join_pidfd(session, pidfd, 0, 0), 0);
	ck_assert_int_eq(group_join_pidfd(session, pidfd, 0, 0), 0); /* its exit was not read yet */
	hear_until(&hearing, session, 2);
	event = heard_of(&hearing, pid, KNELL_EXIT);
	ck_assert(event->flags & KNELL_F_RECONCILED);
	ck_assert_int_eq(event->u.exit.status, 6 << 8);
	ck_assert_int_eq(group_join_pidfd(session, pidfd, 0, 0), -EALREADY);
	hear_nothing(session);
	reap(pid);
	hear_until(&hearing, session, 3);
	ck_assert_ptr_nonnull(heard_of(&hearing, pid, KNELL_FREE));
	ck_assert_int_eq(group_join_pidfd(session, pidfd, 0, 0), -ESRCH);
	hear_nothing(session);
	close(pidfd);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Joining while it dies: told once, or released before. */
START_TEST(joined_while_dying)
{
	int session = session_open(O_NONBLOCK), i, error;
	struct hearing hearing = { .next_seq = 0 };
	size_t told = 0;

	ck_assert_int_eq(group_set(session, EXITS, 2000), 0);
	for (i = 0; i < 2000; i++) {
		pid_t pid = spawn();
		int pidfd;

		if (!pid)
			_exit(9);
		pidfd = pidfd_of(pid);
		if (i % 2)
			sched_yield();
		if (i % 5 == 0)
			reap(pid);
		error = group_join_pidfd(session, pidfd, 0, (uint64_t)i + 1);
		ck_assert(error == 0 || error == -ESRCH);
		told += error == 0;
		if (i % 5)
			reap(pid);
		close(pidfd);
	}
	ck_assert_uint_ge(told, 1600);
	hear_until(&hearing, session, told);
	hear_nothing(session);
	for (i = 0; i < (int)hearing.count; i++)
		ck_assert_int_eq(hearing.all[i].event.u.exit.status, 9 << 8);
	hearing_end(&hearing);
	close(session);
}
END_TEST

static void *fork_beside(void *unused)
{
	(void)unused;
	reap(spawn_at(&(struct gate){ { -1, -1 } }, 0));
	return NULL;
}

START_TEST(child_of_an_armed_thread)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	const struct knell_event *event;
	pthread_t thread;
	pid_t pid;

	ck_assert_int_eq(group_arm(session, 1, 0), -ENOENT);
	ck_assert_int_eq(group_set(session, ALLOF, 6), 0);
	ck_assert_int_eq(group_arm(session, 2, 0), -EINVAL);
	ck_assert_int_eq(group_arm(session, 1, 7), 0);
	ck_assert_int_eq(group_arm(session, 1, 8), 0); /* it changes its mind */
	/* Another thread's child is not meant, and this thread's threads are no processes. */
	ck_assert_int_eq(pthread_create(&thread, NULL, fork_beside, NULL), 0);
	pthread_join(thread, NULL);
	hear_nothing(session);
	pid = spawn();
	if (!pid) {
		if (fork())
			wait(NULL);
		_exit(1);
	}
	reap(pid);
	hear_until(&hearing, session, 6);
	event = heard_of(&hearing, pid, KNELL_CLONE);
	ck_assert_uint_eq(event->flags, KNELL_F_ROOT);
	ck_assert_uint_eq(event->cookie, 8);
	ck_assert_uint_eq(event->u.clone.exit_signal, SIGCHLD);
	ck_assert_uint_eq(hearing.all[2].event.cookie, 8);
	ck_assert_uint_eq(hearing.all[2].event.flags, 0);
	/* It was for one child. */
	fork_beside(NULL);
	ck_assert_int_eq(group_arm(session, 0, 0), 0);
	ck_assert_int_eq(group_arm(session, 1, 0), 0);
	ck_assert_int_eq(group_arm(session, 0, 0), 0);
	fork_beside(NULL);
	hear_nothing(session);
	/* With nothing left in the reserve it is refused. */
	ck_assert_int_eq(session_unwatch(session, 5), 0);
	ck_assert_int_eq(group_set(session, ALLOF, 0), 0);
	ck_assert_int_eq(group_arm(session, 1, 0), -ENOSPC);
	ck_assert_int_eq(group_join(session, getpid(), 0, 0), -ENOSPC);
	hearing_end(&hearing);
	close(session);
}
END_TEST

static void *arm_and_end(void *session)
{
	return (void *)(intptr_t)-group_arm(*(int *)session, 1, 3);
}

/* The error of a thread that is armed, and ends without a child. */
static int arm_elsewhere(int session)
{
	pthread_t thread;
	void *error;

	ck_assert_int_eq(pthread_create(&thread, NULL, arm_and_end, &session), 0);
	pthread_join(thread, &error);
	return -(int)(intptr_t)error;
}

/* pthread_join() may return a moment before the thread has taken back what it had. */
static bool soon(int (*armed)(int session), int session)
{
	int i, error = -EBUSY;

	for (i = 0; i < 1500 && error == -EBUSY; i++) {
		error = armed(session);
		if (error)
			usleep(20000);
	}
	return error == 0;
}

static int arm_here(int session)
{
	return group_arm(session, 1, 8);
}

/* One thread at a time, as long as it lives: what it had is there for the next one. */
START_TEST(armed_threads_that_end)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), i;
	pid_t pid;

	ck_assert_int_eq(group_set(session, EXITS, 1), 0);
	for (i = 0; i < 20; i++)
		ck_assert(soon(arm_elsewhere, session));
	ck_assert(soon(arm_here, session));
	ck_assert_int_eq(arm_elsewhere(session), -EBUSY);
	pid = spawn();
	if (!pid)
		_exit(2);
	reap(pid);
	hear_until(&hearing, session, 1);
	ck_assert_uint_eq(heard_of(&hearing, pid, KNELL_EXIT)->cookie, 8);
	hear_nothing(session);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* A session that is closed while a thread is armed leaves nothing behind. */
START_TEST(closed_while_armed)
{
	int session, i;

	for (i = 0; i < 10; i++) {
		session = session_open(O_NONBLOCK);
		ck_assert_int_eq(group_set(session, ALLOF, 3), 0);
		ck_assert_int_eq(group_arm(session, 1, 0), 0);
		close(session);
		fork_beside(NULL);
	}
	session = session_open(O_NONBLOCK);
	for (i = 0; i < 100 && session_stats(session).watches; i++)
		usleep(20000);
	ck_assert_uint_eq(session_stats(session).watches, 0);
	close(session);
}
END_TEST

#define MADE 1000

struct joiner {
	int session;
	int pidfd; /* the number that each child's has */
	unsigned int joined;
	bool stop;
};

static void *join_at_once(void *userdata)
{
	struct joiner *joiner = userdata;

	while (!__atomic_load_n(&joiner->stop, __ATOMIC_RELAXED))
		joiner->joined += group_join_pidfd(joiner->session, joiner->pidfd, 0, 0) == 0;
	return NULL;
}

/* A child that has ended when this returns; its pidfd can be had before fork(2) is done with it. */
static void make_child(int wanted)
{
	int pidfd = -1;
	struct clone_args args = {
		.flags = CLONE_PIDFD,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(0);
	ck_assert_int_eq(pidfd, wanted);
	reap(pid);
	close(pidfd);
}

/* Joining while it is made, by one whose descendants are in: one birth and one death each. */
START_TEST(joined_while_it_is_made)
{
	struct joiner joiner = { .session = session_open(O_NONBLOCK) };
	struct hearing hearing = { .next_seq = 0 };
	pthread_t thread;
	int i;

	ck_assert_int_eq(group_set(joiner.session, EXITS | CLONES, 2 * MADE + 10), 0);
	ck_assert_int_eq(group_join(joiner.session, getpid(), KNELL_KMOD_SUBTREE, 0), 0);
	joiner.pidfd = dup(0);
	close(joiner.pidfd);
	ck_assert_int_eq(pthread_create(&thread, NULL, join_at_once, &joiner), 0);
	for (i = 0; i < MADE; i++)
		make_child(joiner.pidfd);
	__atomic_store_n(&joiner.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	hear_until(&hearing, joiner.session, 2 * MADE + 1);
	hear_nothing(joiner.session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), MADE + 1);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), MADE);
	for (i = 1; i < (int)hearing.count; i++)
		ck_assert_msg(!(hearing.all[i].event.flags & KNELL_F_RECONCILED),
			      "record %d is not of a birth", i);
	ck_assert_uint_gt(joiner.joined, 0);
	hearing_end(&hearing);
	close(joiner.session);
}
END_TEST

#define LARGE (32u << 20)

/* Has memory that takes a while to be freed, and a file. It waits to be killed. */
static void be_large(int ready)
{
	char *memory = malloc(LARGE);

	if (!memory)
		_exit(1);
	memset(memory, 1, LARGE);
	if (write(ready, memory, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/*
 * Joins everybody's watch of the moment `dead`, whose filter it does not pass, while it gives up
 * its memory: it is told when its files are closed.
 */
static void join_while_it_gives_up(int session, unsigned int wait_us)
{
	struct hearing hearing = { .next_seq = 0 };
	struct pollfd end;
	int files[2];
	pid_t pid;
	char byte;

	ck_assert_int_eq(pipe(files), 0);
	pid = spawn();
	if (!pid)
		be_large(files[1]);
	close(files[1]);
	ck_assert_int_eq(read(files[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	usleep(wait_us);
	ck_assert_int_eq(group_join(session, pid, 0, 0), 0);
	hear_until(&hearing, session, 1);
	end = (struct pollfd){ .fd = files[0], .events = POLLIN };
	ck_assert_int_eq(poll(&end, 1, 0), 1);
	ck_assert_msg(end.revents & POLLHUP, "told dead with files open");
	ck_assert_int_eq(heard_of(&hearing, pid, KNELL_EXIT)->u.exit.status, SIGKILL);
	ck_assert_int_eq(reap(pid), SIGKILL);
	close(files[0]);
	hearing_end(&hearing);
}

START_TEST(joined_before_it_is_dead)
{
	struct knell_kmod_watch request = {
		.size = sizeof(request),
		.pidfd = -1,
		.flags = KNELL_KMOD_ALL | KNELL_KMOD_DEAD,
		.mask = EXITS,
		.cookie = 5,
		.reserve = 50,
		.match = KNELL_KMOD_MATCH_COMM,
		.comm = "nobody",
	};
	unsigned int i;

	for (i = 0; i < 20; i++) {
		int session = session_open(O_NONBLOCK);

		ck_assert_int_eq(ioctl(session, KNELL_IOC_WATCH, &request), 0);
		join_while_it_gives_up(session, i * 500);
		hear_nothing(session);
		close(session);
	}
}
END_TEST

void add_joining_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "joining", 60);

	tcase_add_test(tests, joined_more_than_once);
	tcase_add_test(tests, the_dead_that_join);
	tcase_add_test(tests, joined_while_dying);
	tcase_add_test(tests, joined_while_it_is_made);
	tcase_add_test(tests, joined_before_it_is_dead);
	tcase_add_test(tests, child_of_an_armed_thread);
	tcase_add_test(tests, armed_threads_that_end);
	tcase_add_test(tests, closed_while_armed);
}
