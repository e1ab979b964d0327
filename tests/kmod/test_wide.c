/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_wide.c - watches without a process of their own: filters; who is told of again because he
 * lives; the dead that nobody waits for.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define CLONES KNELL_MASK(KNELL_CLONE)
#define ALLOF  (EXITS | CLONES | KNELL_MASK(KNELL_INIT) | KNELL_MASK(KNELL_EXEC))

/* Whoever has waited for a child hears of its death at once, however busy reapers are. */
START_TEST(waited_for_and_read)
{
	int session = session_open(O_NONBLOCK), i;
	struct knell_event event;

	/* Few places: whoever is freed gives his back when it is needed. */
	ck_assert_int_eq(group_set(session, EXITS, 20), 0);
	for (i = 0; i < 500; i++) {
		pid_t pid;

		ck_assert_int_eq(group_arm(session, 1, 0), 0);
		pid = spawn();
		if (!pid)
			_exit(i % 100);
		reap(pid);
		ck_assert_msg(read(session, &event, sizeof(event)) > 0, "round %d: %s", i,
			      strerror(errno));
		ck_assert_uint_eq(event.kind, KNELL_EXIT);
		ck_assert_uint_eq(event.task.tgid, (uint32_t)pid);
		ck_assert_int_eq(event.u.exit.status, i % 100 << 8);
	}
	close(session);
}
END_TEST

/* ---- filters ---- */

static int filtered(int session, uint32_t match, uint32_t uid, const char *comm)
{
	struct knell_kmod_watch request = {
		.size = sizeof(request),
		.pidfd = -1,
		.flags = KNELL_KMOD_ALL,
		.mask = ALLOF,
		.reserve = 100,
		.match = match,
		.uid = uid,
	};

	snprintf(request.comm, sizeof(request.comm), "%s", comm);
	return ioctl(session, KNELL_IOC_WATCH, &request) ? -errno : 0;
}

START_TEST(by_user)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	pid_t other, root;

	ck_assert_int_eq(filtered(session, KNELL_KMOD_MATCH_UID, 4321, ""), 0);
	root = spawn_at(&(struct gate){ { -1, -1 } }, 0);
	reap(root);
	hear_nothing(session);
	other = spawn();
	if (!other) {
		if (setresuid(4321, 4321, 4321))
			_exit(1);
		if (!fork())
			_exit(7); /* born as that user */
		wait(NULL);
		execl("/bin/true", "true", (char *)NULL); /* seen to be that user's */
		_exit(2);
	}
	ck_assert_int_eq(reap(other), 0);
	drain(&hearing, session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 2);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), 2);
	ck_assert(heard_of(&hearing, other, KNELL_CLONE)->flags & KNELL_F_RECONCILED);
	ck_assert_ptr_nonnull(heard_of(&hearing, other, KNELL_EXEC));
	ck_assert(hearing.all[0].event.flags == 0 && hearing.all[0].event.uid == 4321);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Until a process has this name. */
static void await_name(pid_t pid, const char *name)
{
	char path[64], now[32];
	FILE *file;
	int i;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	for (i = 0; i < 3000; i++) {
		file = fopen(path, "r");
		ck_assert_ptr_nonnull(file);
		if (!fgets(now, sizeof(now), file))
			now[0] = '\0';
		fclose(file);
		now[strcspn(now, "\n")] = '\0';
		if (strcmp(now, name) == 0)
			return;
		usleep(10000);
	}
	ck_abort_msg("%d is called %s, not %s", (int)pid, now, name);
}

START_TEST(by_name)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	struct gate gate;
	pid_t living, renamed, ran;

	gate_make(&gate);
	living = spawn();
	if (!living) {
		prctl(PR_SET_NAME, "true");
		gate_wait(&gate);
		_exit(0);
	}
	await_name(living, "true");
	ck_assert_int_eq(filtered(session, KNELL_KMOD_MATCH_COMM, 0, "true"), 0);
	renamed = spawn();
	if (!renamed) {
		prctl(PR_SET_NAME, "tru");
		prctl(PR_SET_NAME, "true");
		prctl(PR_SET_NAME, "other"); /* told of until it dies */
		_exit(0);
	}
	reap(renamed);
	ran = spawn();
	if (!ran) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(2);
	}
	reap(ran);
	gate_open(&gate);
	reap(living);
	drain(&hearing, session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), 3);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 3);
	ck_assert_str_eq(heard_of(&hearing, renamed, KNELL_CLONE)->comm, "true");
	ck_assert_str_eq(heard_of(&hearing, renamed, KNELL_EXIT)->comm, "other");
	ck_assert_str_eq(heard_of(&hearing, ran, KNELL_CLONE)->comm, "true");
	ck_assert_ptr_nonnull(heard_of(&hearing, ran, KNELL_EXEC));
	ck_assert_ptr_nonnull(heard_of(&hearing, living, KNELL_EXIT));
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* ---- the living, and the dead ---- */

static int living(int session)
{
	struct knell_kmod_living request = { .size = sizeof(request) };

	return ioctl(session, KNELL_IOC_LIVING, &request) ? -errno : 0;
}

/* It has five children: two wait at one gate, three at the other. */
static void be_five(const struct gate *gate, const struct gate *other)
{
	int i;

	for (i = 0; i < 5; i++)
		if (!fork()) {
			close((i < 2 ? other : gate)->fds[1]);
			gate_wait(i < 2 ? gate : other);
			_exit(0);
		}
	close(gate->fds[1]);
	close(other->fds[1]);
	prctl(PR_SET_NAME, "renamed");
	while (wait(NULL) > 0 || errno == EINTR)
		;
	_exit(0);
}

START_TEST(who_lives_is_told_again)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), i;
	struct gate gate, other;
	pid_t name;

	gate_make(&gate);
	gate_make(&other);
	ck_assert_int_eq(group_set(session, EXITS | CLONES | KNELL_MASK(KNELL_FREE), 4), 0);
	/* Four have a watch; two are beyond the reserve, until two of the four are gone. */
	name = spawn();
	if (!name) {
		ck_assert_int_eq(group_arm(session, 1, 0), 0);
		if (!fork())
			be_five(&gate, &other);
		close(gate.fds[1]);
		close(other.fds[1]);
		wait(NULL);
		_exit(0);
	}
	hear_kind(&hearing, session, KNELL_CLONE, 4);
	await_name((pid_t)hearing.all[0].event.task.tgid, "renamed"); /* all are made */
	drain(&hearing, session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), 4);
	ck_assert_int_eq(living(session), 0);
	hear_until(&hearing, session, hearing.count + 4);
	hear_nothing(session);
	for (i = (int)hearing.count - 4; i < (int)hearing.count; i++) {
		ck_assert_uint_eq(hearing.all[i].event.kind, KNELL_CLONE);
		ck_assert(hearing.all[i].event.flags & KNELL_F_RECONCILED);
		ck_assert_int_eq(!!(hearing.all[i].event.flags & KNELL_F_ROOT),
				 strcmp(hearing.all[i].event.comm, "renamed") == 0);
	}
	gate_open(&gate);
	hear_kind(&hearing, session, KNELL_FREE, 2);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 2);
	ck_assert_int_eq(living(session), 0);
	drain(&hearing, session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_CLONE), 4 + 4 + 2 + 2);
	gate_open(&other);
	reap(name);
	drain(&hearing, session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 6);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Each makes the next one: the third when there is no watch left, the fourth when there is one. */
static void be_a_line(const struct gate *gate)
{
	if (!fork()) {
		if (fork())
			_exit(0);
		gate_wait(gate);
		if (!fork()) {
			if (!fork())
				_exit(0);
			wait(NULL);
			_exit(0);
		}
		wait(NULL);
		_exit(0);
	}
	wait(NULL);
	_exit(0);
}

START_TEST(children_of_one_beyond)
{
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK);
	uint64_t births, deaths;
	struct gate gate;
	pid_t first;

	gate_make(&gate);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ck_assert_int_eq(group_set(session, EXITS | CLONES, 2), 0);
	first = spawn();
	if (!first) {
		ck_assert_int_eq(group_arm(session, 1, 0), 0);
		if (!fork())
			be_a_line(&gate);
		wait(NULL);
		_exit(0);
	}
	reap(first);
	drain(&hearing, session);
	usleep(200000); /* they are freed, or not yet */
	gate_open(&gate);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	drain(&hearing, session);
	heard_gaps(&hearing, &births, &deaths);
	ck_assert_uint_ge(heard_count(&hearing, KNELL_CLONE), 2);
	births += heard_count(&hearing, KNELL_CLONE);
	deaths += heard_count(&hearing, KNELL_EXIT);
	ck_assert_uint_eq(births, 5);
	ck_assert_uint_eq(deaths, 5);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Zombies keep their watch until they are freed, but not more than half of the reserve. */
START_TEST(the_dead_that_nobody_waits_for)
{
	const uint32_t kinds = EXITS | CLONES | KNELL_MASK(KNELL_FREE);
	struct hearing hearing = { .next_seq = 0 };
	int session = session_open(O_NONBLOCK), i;
	size_t given_up = 0;
	pid_t pids[100];

	ck_assert_int_eq(group_set(session, kinds, 20), 0);
	for (i = 0; i < 100; i++) {
		ck_assert_int_eq(group_arm(session, 1, 0), 0);
		pids[i] = spawn();
		if (!pids[i])
			_exit(0);
		hear_until(&hearing, session, hearing.count + 1);
		while (!heard_of(&hearing, pids[i], KNELL_EXIT))
			hear_until(&hearing, session, hearing.count + 1);
	}
	drain(&hearing, session);
	for (i = 0; i < (int)hearing.count; i++) {
		const struct knell_event *event = &hearing.all[i].event;

		ck_assert_uint_ne(event->kind, KNELL_GAP);
		if (event->kind == KNELL_FREE) {
			ck_assert(event->flags & KNELL_F_GIVEN_UP);
			given_up++;
		}
	}
	ck_assert_uint_ge(given_up, 80);
	ck_assert_uint_le(given_up, 95);
	for (i = 0; i < 100; i++)
		reap(pids[i]);
	hear_kind(&hearing, session, KNELL_FREE, 100);
	hear_nothing(session);
	ck_assert_uint_eq(heard_count(&hearing, KNELL_EXIT), 100);
	hearing_end(&hearing);
	close(session);
}
END_TEST

START_TEST(bad_wide_watches)
{
	int session = session_open(O_NONBLOCK), own = pidfd_of(getpid());
	const uint32_t group = KNELL_KMOD_GROUP;
	struct knell_kmod_watch request = { .size = sizeof(request), .pidfd = -1 };

	ck_assert_int_eq(session_watch_pidfd(session, own, group, EXITS, 0, 9), -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, -1, group | KNELL_KMOD_ALL, EXITS, 0, 9),
			 -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, -1, group | KNELL_KMOD_DEAD, EXITS, 0, 9),
			 -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, own, KNELL_KMOD_JOIN, EXITS, 0, 0), -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, own, KNELL_KMOD_JOIN, 0, 0, 1), -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, -1, KNELL_KMOD_JOIN, 0, 0, 0), -EBADF);
	request.flags = KNELL_KMOD_ALL;
	request.match = 8;
	ck_assert_int_eq(ioctl(session, KNELL_IOC_WATCH, &request), -1);
	ck_assert_int_eq(errno, EINVAL);
	request.flags = group;
	request.match = KNELL_KMOD_MATCH_UID;
	ck_assert_int_eq(ioctl(session, KNELL_IOC_WATCH, &request), -1);
	ck_assert_int_eq(errno, EINVAL);
	close(own);
	close(session);
}
END_TEST

void add_wide_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "wide", 60);

	tcase_add_test(tests, waited_for_and_read);
	tcase_add_test(tests, by_user);
	tcase_add_test(tests, by_name);
	tcase_add_test(tests, who_lives_is_told_again);
	tcase_add_test(tests, children_of_one_beyond);
	tcase_add_test(tests, the_dead_that_nobody_waits_for);
	tcase_add_test(tests, bad_wide_watches);
}
