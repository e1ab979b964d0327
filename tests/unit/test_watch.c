/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_watch.c - watches of real processes and descriptors where no source hears of them: exactly
 * one verdict each, whatever the process does, and nothing left behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "main.h"
#include "pidfd.h"

static void watch_pid(struct told *told, struct knell_engine *engine, struct knell_watch **ret,
		      pid_t pid)
{
	struct knell_watch_options o = told_options(told, KNELL_AT_ANY);

	ck_assert_msg(knell_watch_pid(engine, ret, pid, &o) == 0, "%s", knell_last_error());
}

START_TEST(test_exit)
{
	struct knell_engine *engine = open_pidfd();
	struct child child = child_start(NULL);
	struct knell_watch *watch = NULL;
	struct told told = { 0 };

	watch_pid(&told, engine, &watch, child.pid);
	told_no_more(&told, engine, 20);
	child_exit(&child, 7);
	ck_assert_int_eq(told.n, 0);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], KNELL_EXITED);
	ck_assert_int_eq(told.pid[0], child.pid);
	ck_assert_uint_eq(told.cookie[0], 4711);
	ck_assert_ptr_eq(told.watch[0], watch);
	ck_assert_int_eq(told.event[0].u.exit.status, 7 << 8);
	ck_assert_uint_eq(told.event[0].unknown & (KNELL_U_STATUS | KNELL_U_CAUSE), 0);
	ck_assert_uint_eq(told.event[0].task.tgid, (uint32_t)child.pid);
	ck_assert_uint_ne(told.event[0].task.start, 0);
	told_no_more(&told, engine, 150);
	child_reap(&child);
	told_no_more(&told, engine, 20);
	knell_watch_cancel(watch);
	knell_close(engine);
}
END_TEST

START_TEST(test_signal)
{
	struct knell_engine *engine = open_pidfd();
	struct child child = child_start(NULL);
	struct told told = { 0 };

	watch_pid(&told, engine, NULL, child.pid);
	kill(child.pid, SIGUSR1);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], KNELL_EXITED);
	ck_assert_int_eq(told.event[0].u.exit.status, SIGUSR1);
	ck_assert_uint_ne(told.event[0].unknown & KNELL_U_CAUSE, 0);
	child_reap(&child);
	knell_close(engine);
}
END_TEST

START_TEST(test_zombie)
{
	struct knell_engine *engine = open_pidfd();
	struct child child = child_start(NULL);
	struct told told = { 0 };

	child_exit(&child, 3);
	watch_pid(&told, engine, NULL, child.pid);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], KNELL_EXITED);
	ck_assert_int_eq(told.event[0].u.exit.status, 3 << 8);
	child_reap(&child);
	/* Now the pid is nobody's. */
	watch_pid(&told, engine, NULL, child.pid);
	ck_assert_int_eq(told.n, 1);
	told_wait(&told, engine, 2);
	ck_assert_int_eq(told.kind[1], KNELL_ABSENT);
	ck_assert_int_eq(told.pid[1], child.pid);
	told_no_more(&told, engine, 20);
	knell_close(engine);
}
END_TEST

START_TEST(test_reaped_pidfd)
{
	struct knell_engine *engine = open_pidfd();
	struct child child = child_start(NULL);
	int fd = knell_pidfd_open(child.pid);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_DEAD);

	child_exit(&child, 5);
	child_reap(&child);
	ck_assert_int_eq(knell_watch_pidfd(engine, NULL, fd, &o), 0);
	/* The caller's descriptor is its own. */
	ck_assert_int_eq(close(fd), 0);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], tells_late() ? KNELL_EXITED : KNELL_GONE);
	if (tells_late())
		ck_assert_int_eq(told.event[0].u.exit.status, 5 << 8);
	knell_close(engine);
}
END_TEST

/* The host's own wait(2) may come first: knell_reap() sees to it that nothing is lost. */
START_TEST(test_reaped_by_us)
{
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };

	for (int i = 0; i < 3; i++) {
		struct child child = child_start(NULL);

		watch_pid(&told, engine, NULL, child.pid);
		child_exit(&child, i);
		close(child.fd);
	}
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), 3);
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), -ECHILD);
	told_wait(&told, engine, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(told.kind[i], KNELL_EXITED);
	knell_close(engine);
}
END_TEST

/* A grandchild: returns its pid; a byte on the descriptor lets it exit with this code. */
static pid_t start_stranger(int *ret_fd, bool reaped, pid_t *ret_parent)
{
	int pids[2], go[2];
	pid_t pid, parent;

	ck_assert_int_eq(pipe2(pids, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
	parent = fork();
	if (parent == 0) {
		unsigned char code = 0;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(read(go[0], &code, 1) == 1 ? code : 99);
		}
		if (write(pids[1], &pid, sizeof(pid)) < 0)
			_exit(1);
		if (reaped)
			waitpid(pid, NULL, 0);
		pause();
	}
	ck_assert_int_eq(read(pids[0], &pid, sizeof(pid)), sizeof(pid));
	close(pids[0]);
	close(pids[1]);
	close(go[0]);
	*ret_fd = go[1];
	*ret_parent = parent;
	return pid;
}

static void stranger(bool reaped, enum knell_verdict_kind kind)
{
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };
	int fd;
	pid_t parent, pid = start_stranger(&fd, reaped, &parent);

	watch_pid(&told, engine, NULL, pid);
	ck_assert_int_eq(write(fd, "\5", 1), 1);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], kind);
	if (kind == KNELL_EXITED)
		ck_assert_int_eq(told.event[0].u.exit.status, 5 << 8);
	told_no_more(&told, engine, 150);
	kill(parent, SIGKILL);
	waitpid(parent, NULL, 0);
	close(fd);
	knell_close(engine);
}

START_TEST(test_stranger)
{
	stranger(true, tells_late() ? KNELL_EXITED : KNELL_GONE);
}
END_TEST

/* Its parent never waits: only /proc has its status, and we do not wait for ever. */
START_TEST(test_stranger_zombie)
{
	stranger(false, tells_late() ? KNELL_EXITED : KNELL_GONE);
}
END_TEST

static void *be_a_thread(void *tid)
{
	__atomic_store_n((pid_t *)tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	pause();
	return NULL;
}

START_TEST(test_bad_tasks)
{
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	pid_t tid = 0;
	pthread_t thread;
	int fd;

	ck_assert_int_eq(knell_watch_pid(engine, NULL, 0, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_pid(engine, NULL, -1, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_pid(engine, NULL, INT32_MIN, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_pidfd(engine, NULL, -1, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_pidfd(engine, NULL, 12345, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_pidfd(engine, NULL, knell_fd(engine), &o), -EINVAL);
	ck_assert_int_eq(pthread_create(&thread, NULL, be_a_thread, &tid), 0);
	while (!__atomic_load_n(&tid, __ATOMIC_ACQUIRE))
		usleep(1000);
	ck_assert_int_eq(knell_watch_pid(engine, NULL, tid, &o), -EINVAL);
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "thread"));
	fd = (int)syscall(SYS_pidfd_open, tid, O_EXCL); /* PIDFD_THREAD, Linux 6.9 */
	if (fd >= 0)
		ck_assert_int_eq(knell_watch_pidfd(engine, NULL, fd, &o), -EINVAL);
	ck_assert_int_eq(knell_dispatch(engine), 0);
	ck_assert_int_eq(told.n, 0);
	/* Larger than any. */
	watch_pid(&told, engine, NULL, INT32_MAX);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], KNELL_ABSENT);
	ck_assert_int_eq(told.pid[0], INT32_MAX);
	knell_close(engine);
	_exit(0); /* the thread stays */
}
END_TEST

static int try_options(struct knell_engine *engine, struct knell_watch_options o)
{
	static char untouched;
	struct knell_watch *watch = (void *)&untouched;
	int r = knell_watch_pid(engine, &watch, getpid(), &o);

	if (r < 0) {
		ck_assert_ptr_eq(watch, (void *)&untouched);
		ck_assert_str_ne(knell_last_error(), "");
	} else {
		ck_assert_ptr_null(knell_watch_cancel(watch));
	}
	return r;
}

START_TEST(test_options)
{
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };
	const struct knell_watch_options good = told_options(&told, KNELL_AT_ANY);
	struct knell_watch_options o = good;
	struct {
		struct knell_watch_options o;
		char more[24];
	} newer = { .o = good };

	ck_assert_int_eq(try_options(engine, o), 0);
	o.moment = KNELL_AT_DEAD;
	ck_assert_int_eq(try_options(engine, o), 0);
	/* This source hears nothing of these. */
	o.moment = KNELL_AT_EXIT;
	ck_assert_int_eq(try_options(engine, o), -ENOTSUP);
	o.moment = KNELL_AT_FREE;
	ck_assert_int_eq(try_options(engine, o), -ENOTSUP);
	o.moment = KNELL_AT_FREE + 1;
	ck_assert_int_eq(try_options(engine, o), -EINVAL);
	o = good;
	o.flags = KNELL_W_SUBTREE;
	ck_assert_int_eq(try_options(engine, o), -ENOTSUP);
	o.flags = KNELL_W_FUTURE;
	ck_assert_int_eq(try_options(engine, o), -EINVAL);
	ck_assert_int_eq(knell_watch_name(engine, NULL, "x", &o), -ENOTSUP);
	o.flags = 1u << 31;
	ck_assert_int_eq(try_options(engine, o), -EINVAL);
	o = good;
	o.fn = NULL;
	ck_assert_int_eq(try_options(engine, o), -EINVAL);
	o = good;
	o.size = 0;
	ck_assert_int_eq(try_options(engine, o), -EINVAL);
	ck_assert_int_eq(knell_watch_pid(engine, NULL, getpid(), NULL), -EINVAL);
	newer.o.size = sizeof(newer);
	ck_assert_int_eq(knell_watch_pid(engine, NULL, getpid(), &newer.o), 0);
	newer.more[23] = 1;
	ck_assert_int_eq(knell_watch_pid(engine, NULL, getpid(), &newer.o), -E2BIG);
	ck_assert_ptr_null(knell_watch_cancel(NULL));
	knell_close(engine);
}
END_TEST

struct records {
	int n;
	struct knell_event event[8];
};

static int record(const struct knell_event *event, void *userdata)
{
	struct records *records = userdata;

	ck_assert_int_lt(records->n, 8);
	memcpy(&records->event[records->n++], event, event->size);
	return 0;
}

/* The source's own records: one for each process, however many watch it. */
START_TEST(test_records)
{
	struct knell_engine *engine = open_pidfd();
	struct child child = child_start(NULL);
	struct records records = { 0 };
	struct told told = { 0 };

	knell_watcher_add(engine, KNELL_MASK_ALL, record, &records);
	for (int i = 0; i < 3; i++)
		watch_pid(&told, engine, NULL, child.pid);
	child_exit(&child, 9);
	told_wait(&told, engine, 3);
	ck_assert_int_eq(records.n, 1);
	ck_assert_uint_eq(records.event[0].kind, KNELL_EXIT);
	ck_assert_uint_eq(records.event[0].flags & KNELL_F_ROOT, KNELL_F_ROOT);
	ck_assert_int_eq(records.event[0].u.exit.status, 9 << 8);
	child_reap(&child);
	knell_close(engine);
}
END_TEST

START_TEST(test_fork)
{
	struct knell_engine *engine = open_pidfd();
	struct pollfd p = { .fd = knell_fd(engine), .events = POLLIN };
	struct records records = { 0 };
	pid_t pid;

	knell_watcher_add(engine, KNELL_MASK_ALL, record, &records);
	pid = knell_fork(engine);
	if (pid == 0)
		_exit(11);
	ck_assert_int_gt(pid, 0);
	while (records.n < 2) {
		ck_assert_int_gt(poll(&p, 1, (int)(1000 * unit_patience())), 0);
		ck_assert_int_ge(knell_dispatch(engine), 0);
	}
	ck_assert_uint_eq(records.event[0].kind, KNELL_CLONE);
	ck_assert_uint_eq(records.event[0].flags, KNELL_F_ROOT);
	ck_assert_uint_eq(records.event[0].task.tgid, (uint32_t)pid);
	ck_assert_uint_eq(records.event[1].kind, KNELL_EXIT);
	ck_assert_uint_eq(records.event[1].task.start, records.event[0].task.start);
	ck_assert_int_eq(records.event[1].u.exit.status, 11 << 8);
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), 1);
	ck_assert_int_eq(knell_dispatch(engine), 0);
	knell_close(engine);
}
END_TEST

/* ---- cancel ---- */

START_TEST(test_cancel)
{
	struct knell_engine *engine = open_pidfd();
	struct knell_watch *watch[3];
	struct child child[3];
	struct told told = { 0 };
	int fds = 0;

	for (int i = 0; i < 3; i++)
		child[i] = child_start(NULL);
	for (int i = 0; i < 3; i++) {
		watch_pid(&told, engine, &watch[i], child[i].pid);
		fds = i == 0 ? count_fds() : fds;
	}
	knell_watch_cancel(watch[1]);
	ck_assert_int_eq(count_fds(), fds + 1);
	for (int i = 0; i < 3; i++)
		child_exit(&child[i], i);
	told_wait(&told, engine, 2);
	ck_assert_int_ne(told.pid[0], child[1].pid);
	ck_assert_int_ne(told.pid[1], child[1].pid);
	told_no_more(&told, engine, 20);
	knell_watch_cancel(watch[0]);
	knell_watch_cancel(watch[2]);
	for (int i = 0; i < 3; i++)
		child_reap(&child[i]);
	knell_close(engine);
}
END_TEST

#define MANY 20

/* Whoever is told first ends so many of the others, and itself or not. */
static void cancel_in_callback(int others, bool itself)
{
	struct knell_engine *engine = open_pidfd();
	struct knell_watch *watch[MANY + 1];
	struct child child[MANY];
	struct told told = { 0 };
	int left = MANY - others;

	/* All are dead before the first dispatch: they are told in one go. */
	for (int i = 0; i < MANY; i++)
		child[i] = child_start(NULL);
	for (int i = 0; i < MANY; i++)
		watch_pid(&told, engine, &watch[i], child[i].pid);
	for (int i = 0; i < MANY; i++)
		child_exit(&child[i], 0);
	/* The epoll tells in the order in which they died: the first is the first. */
	for (int i = 0; i < others; i++)
		told.cancel[i] = watch[MANY - 1 - i];
	if (itself)
		told.cancel[others] = watch[0];
	told_wait(&told, engine, left);
	told_no_more(&told, engine, 20);
	ck_assert_ptr_eq(told.watch[0], watch[0]);
	for (int i = itself; i < left; i++)
		knell_watch_cancel(watch[i]);
	for (int i = 0; i < MANY; i++)
		child_reap(&child[i]);
	knell_close(engine);
}

START_TEST(test_cancel_in_callback)
{
	cancel_in_callback(0, true);
	cancel_in_callback(1, false);
	cancel_in_callback(7, true);
	cancel_in_callback(MANY - 1, false);
	cancel_in_callback(MANY - 1, true);
}
END_TEST

struct chain {
	struct knell_engine *engine;
	int n;
};

static void set_another(struct knell_watch *watch, const struct knell_verdict *verdict,
			void *userdata)
{
	struct chain *chain = userdata;
	const struct knell_watch_options o = { .size = sizeof(o),
					       .fn = set_another,
					       .userdata = chain };

	(void)watch;
	(void)verdict;
	if (++chain->n < 100)
		ck_assert_int_eq(knell_watch_pid(chain->engine, NULL, INT32_MAX, &o), 0);
}

START_TEST(test_set_in_callback)
{
	struct chain chain = { .engine = open_pidfd() };
	const struct knell_watch_options o = { .size = sizeof(o),
					       .fn = set_another,
					       .userdata = &chain };
	struct pollfd p = { .fd = knell_fd(chain.engine), .events = POLLIN };

	ck_assert_int_eq(knell_watch_pid(chain.engine, NULL, INT32_MAX, &o), 0);
	while (chain.n < 100) {
		int n = chain.n;

		ck_assert_int_eq(poll(&p, 1, (int)(1000 * unit_patience())), 1);
		ck_assert_int_eq(knell_dispatch(chain.engine), 0);
		/* Each dispatch ends. */
		ck_assert_int_eq(chain.n, n + 1);
	}
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	knell_close(chain.engine);
}
END_TEST

START_TEST(test_nothing_left)
{
	int fds = count_fds();
	struct knell_engine *engine = open_pidfd();
	struct child child = child_start(NULL);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	int pair[2];

	/* With watches of every kind, told and untold, kept and forgotten. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	for (int i = 0; i < 100; i++) {
		struct knell_watch *watch;

		watch_pid(&told, engine, i % 2 ? &watch : NULL, i % 3 ? child.pid : INT32_MAX);
		ck_assert_int_eq(knell_watch_fd(engine, i % 2 ? &watch : NULL, pair[0], &o), 0);
	}
	knell_dispatch(engine);
	child_exit(&child, 0);
	knell_close(engine);
	child_reap(&child);
	close(child.fd);
	close(pair[0]);
	close(pair[1]);
	ck_assert_int_eq(count_fds(), fds);
}
END_TEST

/* ---- numbers ---- */

START_TEST(test_no_descriptor_left)
{
	struct knell_engine *engine = open_pidfd();
	struct child child = child_start(NULL);
	struct rlimit limit, small;
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	int fds, r, n = 0;

	watch_pid(&told, engine, NULL, child.pid);
	getrlimit(RLIMIT_NOFILE, &limit);
	small = limit;
	small.rlim_cur = 40;
	setrlimit(RLIMIT_NOFILE, &small);
	while ((r = knell_watch_pid(engine, NULL, child.pid, &o)) == 0)
		n++;
	ck_assert_int_eq(r, -EMFILE);
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "limit of open files"));
	ck_assert_int_eq(knell_watch_fd(engine, NULL, 0, &o), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	fds = count_fds();
	setrlimit(RLIMIT_NOFILE, &small);
	ck_assert_int_eq(knell_watch_pid(engine, NULL, child.pid, &o), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	ck_assert_int_eq(count_fds(), fds);
	/* Those that were set are as good as ever. */
	child_exit(&child, 1);
	told_wait(&told, engine, n + 1);
	child_reap(&child);
	knell_close(engine);
}
END_TEST

struct tally {
	int n;
	unsigned char seen[3000];
};

static void count_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
			  void *userdata)
{
	struct tally *tally = userdata;

	(void)watch;
	ck_assert_int_eq(verdict->kind, KNELL_EXITED);
	ck_assert_int_eq(verdict->event->u.exit.status, (int)(verdict->cookie % 100) << 8);
	ck_assert_uint_eq(tally->seen[verdict->cookie]++, 0);
	tally->n++;
}

/* All die at once, before anybody looks. */
START_TEST(test_many)
{
	struct knell_engine *engine = open_pidfd();
	struct pollfd p = { .fd = knell_fd(engine), .events = POLLIN };
	struct rlimit limit = { 4096, 4096 };
	struct tally tally = { 0 };
	int go[2];

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
		say_skipped("no permission for 4,096 open files");
		return;
	}
	ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
	for (int i = 0; i < 3000; i++) {
		const struct knell_watch_options o = { .size = sizeof(o),
						       .fn = count_verdict,
						       .cookie = (uint64_t)i,
						       .userdata = &tally };
		pid_t pid = fork();
		char byte;

		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			close(go[1]);
			_exit(read(go[0], &byte, 1) == 0 ? i % 100 : 255);
		}
		ck_assert_int_eq(knell_watch_pid(engine, NULL, pid, &o), 0);
	}
	close(go[1]);
	while (tally.n < 3000) {
		ck_assert_int_eq(poll(&p, 1, (int)(1000 * unit_patience())), 1);
		ck_assert_int_ge(knell_dispatch(engine), 0);
	}
	while (knell_reap(engine, NULL, NULL) >= 0)
		;
	knell_close(engine);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("watch");
	TCase *tc = unit_case(suite, "verdicts");

	tcase_add_test(tc, test_exit);
	tcase_add_test(tc, test_signal);
	tcase_add_test(tc, test_zombie);
	tcase_add_test(tc, test_reaped_pidfd);
	tcase_add_test(tc, test_reaped_by_us);
	tcase_add_test(tc, test_stranger);
	tcase_add_test(tc, test_stranger_zombie);
	tcase_add_test(tc, test_bad_tasks);
	tcase_add_test(tc, test_options);
	tc = unit_case(suite, "records");
	tcase_add_test(tc, test_records);
	tcase_add_test(tc, test_fork);
	tc = unit_case(suite, "cancel");
	tcase_add_test(tc, test_cancel);
	tcase_add_test(tc, test_cancel_in_callback);
	tcase_add_test(tc, test_set_in_callback);
	tcase_add_test(tc, test_nothing_left);
	tc = unit_case(suite, "numbers");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_no_descriptor_left);
	tcase_add_test(tc, test_many);
	return suite;
}
