/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_edges.c - rare lives: a fork(2) that does not end, who is beyond a reserve and is asked for,
 * leaders that ended before their threads, and what is not known of who lived before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

#define CLONES KNELL_MASK(KNELL_CLONE)

/* ---- a fork that does not end ---- */

/* A page that nobody gives: whoever writes there waits until give_page(). */
static void *page_that_never_comes(int *ret_fd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	long size = sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	ck_assert_ptr_ne(page, MAP_FAILED);
	*ret_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	ck_assert_msg(*ret_fd >= 0, "userfaultfd: %s", strerror(errno));
	ck_assert_int_eq(ioctl(*ret_fd, UFFDIO_API, &api), 0);
	range.range.start = (uintptr_t)page;
	range.range.len = (uint64_t)size;
	ck_assert_int_eq(ioctl(*ret_fd, UFFDIO_REGISTER, &range), 0);
	return page;
}

static void give_page(int fd, void *page)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)page, .len = (uint64_t)sysconf(_SC_PAGESIZE) },
	};

	ck_assert_int_eq(ioctl(fd, UFFDIO_ZEROPAGE, &zero), 0);
	close(fd);
}

/* Its child is among all tasks, and new, as long as its number cannot be written. */
static void *fork_there(void *page)
{
	struct clone_args args = {
		.flags = CLONE_PARENT_SETTID,
		.parent_tid = (uintptr_t)page,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return NULL;
}

/* Who watches everybody does not wait for it; it is told once all the same. */
START_TEST(a_fork_that_does_not_end)
{
	struct knell_kmod_watch request = {
		.size = sizeof(request),
		.pidfd = -1,
		.flags = KNELL_KMOD_ALL,
		.mask = EXITS | CLONES,
		.reserve = 5000,
	};
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), uffd;
	void *page = page_that_never_comes(&uffd);
	struct pollfd fault = { .fd = uffd, .events = POLLIN };
	size_t clones = 0, exits = 0, i;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fork_there, page), 0);
	ck_assert_int_eq(poll(&fault, 1, 30000), 1);
	ck_assert_int_eq(fault.revents, POLLIN);
	ck_assert_int_eq(ioctl(session, KNELL_IOC_WATCH, &request), 0);
	give_page(uffd, page);
	pthread_join(thread, NULL);
	drain(&hearing, session);
	for (i = 0; i < hearing.count; i++) {
		const struct knell_event *event = &hearing.all[i].event;

		if (event->parent.tgid != (uint32_t)getpid())
			continue;
		clones += event->kind == KNELL_CLONE;
		exits += event->kind == KNELL_EXIT;
	}
	ck_assert_uint_eq(clones, 1);
	ck_assert_uint_eq(exits, 1);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* ---- beyond the reserve ---- */

static void count(const struct hearing *hearing, uint64_t *births, uint64_t *deaths)
{
	heard_gaps(hearing, births, deaths);
	*births += heard_count(hearing, KNELL_CLONE);
	*deaths += heard_count(hearing, KNELL_EXIT);
}

/* One line: each makes the next; the last one makes another when the gate is opened. */
static pid_t stand_line(const struct gate *gate, pid_t *ret_last)
{
	int said[2];
	pid_t first;

	ck_assert_int_eq(pipe(said), 0);
	first = spawn();
	if (!first) {
		if (!fork()) {
			pid_t last = fork();

			if (!last) {
				last = getpid();
				if (write(said[1], &last, sizeof(last)) != sizeof(last))
					_exit(1);
				gate_wait(gate);
				if (!fork())
					_exit(0);
			}
			close(gate->fds[1]);
			wait(NULL);
			_exit(0);
		}
		close(gate->fds[1]);
		wait(NULL);
		_exit(0);
	}
	ck_assert_int_eq(read(said[0], ret_last, sizeof(*ret_last)), sizeof(*ret_last));
	close(said[0]);
	close(said[1]);
	return first;
}

/* The first has a place, and the last; who is in between has none, but passes it on. */
START_TEST(below_one_beyond)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	uint64_t births, deaths;
	struct gate gate;
	pid_t first, last;

	gate_make(&gate);
	first = stand_line(&gate, &last);
	ck_assert_int_eq(group_set(session, EXITS | CLONES, 2), 0);
	ck_assert_int_eq(group_join(session, last, 0, 0), 0);
	ck_assert_int_eq(group_join(session, first, KNELL_KMOD_SUBTREE, 0), 0);
	gate_open(&gate);
	reap(first);
	drain(&hearing, session);
	count(&hearing, &births, &deaths);
	ck_assert_uint_eq(births, 4);
	ck_assert_uint_eq(deaths, 4);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Who does not pass the filter is not counted because of a parent who does, and has no place. */
START_TEST(filtered_and_beyond)
{
	struct knell_kmod_watch request = {
		.size = sizeof(request),
		.pidfd = -1,
		.flags = KNELL_KMOD_ALL,
		.mask = EXITS | CLONES,
		.match = KNELL_KMOD_MATCH_COMM,
		.comm = "one-of-it",
	};
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), said[2];
	uint64_t births, deaths;
	struct gate gate;
	pid_t pid;
	char byte;

	gate_make(&gate);
	ck_assert_int_eq(pipe(said), 0);
	pid = spawn();
	if (!pid) {
		if (!fork()) {
			prctl(PR_SET_NAME, "another");
			if (write(said[1], "", 1) != 1)
				_exit(1);
			gate_wait(&gate);
			_exit(0);
		}
		prctl(PR_SET_NAME, "one-of-it");
		if (write(said[1], "", 1) != 1)
			_exit(1);
		close(gate.fds[1]);
		wait(NULL);
		_exit(0);
	}
	ck_assert_int_eq(read(said[0], &byte, 1), 1);
	ck_assert_int_eq(read(said[0], &byte, 1), 1);
	ck_assert_int_eq(ioctl(session, KNELL_IOC_WATCH, &request), 0);
	gate_open(&gate);
	reap(pid);
	drain(&hearing, session);
	count(&hearing, &births, &deaths);
	ck_assert_uint_eq(births, 1);
	ck_assert_uint_eq(deaths, 1);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* It was counted as beyond; asked for when there is a place again, it has it. */
START_TEST(asked_for_and_beyond)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), said[2];
	uint64_t births, deaths;
	struct gate one, other;
	pid_t pid, late;

	gate_make(&one);
	gate_make(&other);
	ck_assert_int_eq(pipe(said), 0);
	ck_assert_int_eq(group_set(session, EXITS | CLONES | KNELL_MASK(KNELL_FREE), 2), 0);
	pid = spawn();
	if (!pid) {
		ck_assert_int_eq(group_arm(session, 1, 0), 0);
		if (!fork()) { /* the first place */
			pid_t second = fork();

			if (!second) { /* the other */
				close(other.fds[1]);
				gate_wait(&one);
				_exit(0);
			}
			late = fork();
			if (!late) { /* none */
				close(one.fds[1]);
				gate_wait(&other);
				_exit(0);
			}
			if (write(said[1], &late, sizeof(late)) != sizeof(late))
				_exit(1);
			close(one.fds[1]);
			close(other.fds[1]);
			waitpid(second, NULL, 0);
			waitpid(late, NULL, 0);
			_exit(0);
		}
		close(one.fds[1]);
		close(other.fds[1]);
		wait(NULL);
		_exit(0);
	}
	ck_assert_int_eq(read(said[0], &late, sizeof(late)), sizeof(late));
	ck_assert_int_eq(group_join(session, late, 0, 0), -ENOSPC);
	gate_open(&one);
	hear_kind(&hearing, session, KNELL_FREE, 1);
	ck_assert_int_eq(group_join(session, late, 0, 9), 0);
	gate_open(&other);
	reap(pid);
	drain(&hearing, session);
	ck_assert_uint_eq(heard_of(&hearing, late, KNELL_EXIT)->cookie, 9);
	count(&hearing, &births, &deaths);
	ck_assert_uint_eq(births, 4); /* one of them twice: as beyond, and as found */
	ck_assert_uint_eq(deaths, 3);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Of a reserve of one the dead keep nothing that somebody else needs. */
START_TEST(a_reserve_of_one)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), i;
	pid_t pids[5];

	ck_assert_int_eq(group_set(session, EXITS, 1), 0);
	for (i = 0; i < 5; i++) {
		ck_assert_int_eq(group_arm(session, 1, 0), 0);
		pids[i] = spawn();
		if (!pids[i])
			_exit(0);
		hear_kind(&hearing, session, KNELL_EXIT, (size_t)i + 1);
	}
	for (i = 0; i < 5; i++)
		reap(pids[i]);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* ---- leaders that end first ---- */

static const struct gate *thread_gate;

/* As another user, by itself: the process is its leader's. */
static void *wait_as_another(void *unused)
{
	(void)unused;
	syscall(SYS_setresuid, 4321, 4321, 4321);
	gate_wait(thread_gate);
	syscall(SYS_exit_group, 3);
	return NULL;
}

/* Its leader has ended, and a thread lives until the gate is opened. */
static pid_t spawn_without_leader(const struct gate *gate, bool dumpable)
{
	pid_t pid = spawn();
	pthread_t thread;

	if (pid)
		return pid;
	thread_gate = gate;
	if (!dumpable && (setresgid(4321, 4321, 4321) || setresuid(4321, 4321, 4321) ||
			  prctl(PR_SET_DUMPABLE, 0)))
		_exit(1);
	if (pthread_create(&thread, NULL, wait_as_another, NULL))
		_exit(1);
	syscall(SYS_exit, 0);
	return 0;
}

static void await_dead_leader(pid_t pid)
{
	char path[64], text[512], *end;
	int i, fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (i = 0; i < 3000; i++) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		ck_assert_int_gt(n, 0);
		text[n] = '\0';
		end = strrchr(text, ')');
		if (end && end[2] == 'Z')
			return;
		usleep(10000);
	}
	ck_abort_msg("the leader of %d lives", (int)pid);
}

/* The ids of an exit are the leader's, whoever was last. */
START_TEST(ids_of_the_leader)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	struct gate gate;
	pid_t pid;

	gate_make(&gate);
	pid = spawn_without_leader(&gate, true);
	await_dead_leader(pid);
	ck_assert_int_eq(session_watch(session, pid, 0, EXITS, 1, 0), 0);
	gate_open(&gate);
	ck_assert_int_eq(reap(pid), 3 << 8);
	hear_until(&hearing, session, 1);
	ck_assert_uint_eq(hearing.all[0].event.uid, 0);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Who is not to be looked at is not when his leader has given up its memory, either. */
START_TEST(not_dumpable_and_without_leader)
{
	int session = session_open(O_NONBLOCK), status;
	struct gate gate;
	pid_t pid, child;

	gate_make(&gate);
	pid = spawn_without_leader(&gate, false);
	await_dead_leader(pid);
	child = spawn();
	if (!child) {
		int pidfd;

		if (setresgid(4321, 4321, 4321) || setresuid(4321, 4321, 4321))
			_exit(1);
		pidfd = pidfd_of(pid);
		_exit(session_watch_pidfd(session, pidfd, 0, EXITS, 1, 0) == -EPERM ? 0 : 2);
	}
	status = reap(child);
	gate_open(&gate);
	reap(pid);
	ck_assert_int_eq(status, 0);
	close(session);
}
END_TEST

/* ---- what is not known ---- */

static volatile sig_atomic_t got;

static void take_note(int signo)
{
	got = signo;
}

/* Signals from before the watch, and how it was made, are unknown; not: there were none. */
START_TEST(before_the_watch)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	struct knell_kmod_living living = { .size = sizeof(living) };
	const struct knell_event *event;
	struct gate gate;
	pid_t pid;

	gate_make(&gate);
	pid = spawn();
	if (!pid) {
		signal(SIGTERM, take_note);
		gate_wait(&gate);
		_exit(0);
	}
	ck_assert_int_eq(session_watch(session, pid, KNELL_KMOD_CAUSE, EXITS | CLONES, 1, 0), 0);
	hear_nothing(session);
	ck_assert_int_eq(ioctl(session, KNELL_IOC_LIVING, &living), 0);
	hear_until(&hearing, session, 1);
	event = heard_of(&hearing, pid, KNELL_CLONE);
	ck_assert(event->unknown & KNELL_U_FLAGS);
	ck_assert_uint_eq(event->u.clone.exit_signal, SIGCHLD);
	gate_open(&gate);
	reap(pid);
	hear_until(&hearing, session, 2);
	ck_assert(heard_of(&hearing, pid, KNELL_EXIT)->unknown & KNELL_U_TERM);
	hearing_end(&hearing);
	close(session);
}
END_TEST

void add_edge_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "edges", 60);

	tcase_add_test(tests, below_one_beyond);
	tcase_add_test(tests, filtered_and_beyond);
	tcase_add_test(tests, asked_for_and_beyond);
	tcase_add_test(tests, a_reserve_of_one);
	tcase_add_test(tests, ids_of_the_leader);
	tcase_add_test(tests, not_dumpable_and_without_leader);
	tcase_add_test(tests, before_the_watch);
	tcase_add_test(tests, a_fork_that_does_not_end);
}
