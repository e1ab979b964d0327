/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_watch_find.c - watches of what is found: by name, by cgroup, by the hang-up of a descriptor;
 * and of a pid that somebody else gets.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/mount.h>

#include "children.h"
#include "main.h"

START_TEST(test_name)
{
	struct knell_engine *engine = open_pidfd();
	struct child a = child_start("knell unit one"), b = child_start("knell unit one");
	struct child c = child_start("knell unit two");
	struct knell_watch *watch;
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);

	ck_assert_int_eq(knell_watch_name(engine, &watch, "knell unit one", &o), 0);
	child_exit(&c, 0);
	told_no_more(&told, engine, 20);
	child_exit(&a, 1);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.pid[0], a.pid);
	/* A zombie still has a name, but is none of those who live. */
	ck_assert_int_eq(knell_watch_name(engine, NULL, "knell unit two", &o), 0);
	told_wait(&told, engine, 2);
	ck_assert_int_eq(told.kind[1], KNELL_ABSENT);
	ck_assert_int_eq(told.pid[1], 0);
	child_exit(&b, 2);
	told_wait(&told, engine, 3);
	ck_assert_int_eq(told.pid[2], b.pid);
	ck_assert_ptr_eq(told.watch[2], watch);
	told_no_more(&told, engine, 20);
	knell_watch_cancel(watch);
	child_reap(&a);
	child_reap(&b);
	child_reap(&c);
	knell_close(engine);
}
END_TEST

START_TEST(test_bad_names)
{
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);

	ck_assert_int_eq(knell_watch_name(engine, NULL, NULL, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_name(engine, NULL, "", &o), -EINVAL);
	ck_assert_int_eq(knell_watch_name(engine, NULL, "sixteen bytes ..", &o), -EINVAL);
	ck_assert_int_eq(knell_watch_cgroup(engine, NULL, NULL, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_cgroup(engine, NULL, "", &o), -EINVAL);
	ck_assert_int_eq(knell_watch_cgroup(engine, NULL, "system.slice", &o), -EINVAL);
	/* Nobody hears their own death. */
	prctl(PR_SET_NAME, "knell unit self");
	ck_assert_int_eq(knell_watch_name(engine, NULL, "knell unit self", &o), 0);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], KNELL_ABSENT);
	knell_close(engine);
}
END_TEST

/* More of that name than descriptors: all or none. */
START_TEST(test_name_without_descriptors)
{
	struct knell_engine *engine = open_pidfd();
	struct child child[30];
	struct rlimit limit, small;
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	int fds;

	for (int i = 0; i < 30; i++)
		child[i] = child_start("knell unit many");
	getrlimit(RLIMIT_NOFILE, &limit);
	small = limit;
	fds = count_fds();
	small.rlim_cur = (rlim_t)fds + 20;
	setrlimit(RLIMIT_NOFILE, &small);
	ck_assert_int_eq(knell_watch_name(engine, NULL, "knell unit many", &o), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	/* The engine's timer for watches stays. */
	ck_assert_int_eq(count_fds(), fds + 1);
	ck_assert_int_eq(knell_watch_name(engine, NULL, "knell unit many", &o), 0);
	for (int i = 0; i < 30; i++)
		child_exit(&child[i], 0);
	told_wait(&told, engine, 30);
	for (int i = 0; i < 30; i++)
		child_reap(&child[i]);
	knell_close(engine);
}
END_TEST

static void move_to(const char *directory, pid_t pid)
{
	char path[320], text[16];
	int fd, n = snprintf(text, sizeof(text), "%d", (int)pid);

	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(write(fd, text, (size_t)n), n);
	close(fd);
}

START_TEST(test_cgroup)
{
	struct knell_engine *engine = open_pidfd();
	struct child a = child_start(NULL), b = child_start(NULL), c = child_start(NULL);
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	char directory[256] = "", below[300] = "", text[320];
	const char *path;

	ck_assert_int_eq(knell_watch_cgroup(engine, NULL, "/knell-no-such", &o), -ENOENT);
	ck_assert_ptr_nonnull(strstr(knell_last_error(), "/knell-no-such"));
	ck_assert_int_eq(knell_watch_cgroup(engine, NULL, "/../../../etc", &o), -ENOENT);
	if (!cgroup_make(directory, sizeof(directory), &path)) {
		say_skipped("no cgroup can be made");
		goto end;
	}
	ck_assert_int_eq(knell_watch_cgroup(engine, NULL, path, &o), 0);
	told_wait(&told, engine, 1);
	ck_assert_int_eq(told.kind[0], KNELL_ABSENT);
	snprintf(below, sizeof(below), "%s/below", directory);
	ck_assert_int_eq(mkdir(below, 0700), 0);
	move_to(directory, a.pid);
	move_to(below, b.pid);
	snprintf(text, sizeof(text), "%s/", path);
	ck_assert_int_eq(knell_watch_cgroup(engine, NULL, text, &o), 0);
	child_exit(&c, 0);
	child_exit(&b, 1);
	told_no_more(&told, engine, 20);
	child_exit(&a, 2);
	told_wait(&told, engine, 2);
	ck_assert_int_eq(told.pid[1], a.pid);
	told_no_more(&told, engine, 20);
end:
	child_end(&a);
	child_end(&b);
	child_end(&c);
	rmdir(below);
	rmdir(directory);
	knell_close(engine);
}
END_TEST

/* ---- descriptors ---- */

static void watch_fd(struct told *told, struct knell_engine *engine, int fd)
{
	struct knell_watch_options o = told_options(told, KNELL_AT_ANY);

	ck_assert_msg(knell_watch_fd(engine, NULL, fd, &o) == 0, "%s", knell_last_error());
}

static void check_gone(struct told *told, struct knell_engine *engine, int n)
{
	told_wait(told, engine, n);
	ck_assert_int_eq(told->kind[n - 1], KNELL_GONE);
	ck_assert_int_eq(told->pid[n - 1], 0);
	ck_assert_uint_eq(told->cookie[n - 1], 4711);
	told_no_more(told, engine, 20);
}

START_TEST(test_socket)
{
	const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };
	char byte;
	int pair[2];

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, pair), 0);
		watch_fd(&told, engine, pair[0]);
		/* News is no end, read or not. */
		ck_assert_int_eq(write(pair[1], "x", 1), 1);
		told_no_more(&told, engine, 20);
		ck_assert_int_eq(read(pair[0], &byte, 1), 1);
		ck_assert_int_eq(write(pair[1], "y", 1), 1);
		told_no_more(&told, engine, 20);
		close(pair[1]);
		check_gone(&told, engine, i + 1);
		/* The caller's descriptor is as it was. */
		ck_assert_int_eq(read(pair[0], &byte, 1), 1);
		ck_assert_int_eq(byte, 'y');
		close(pair[0]);
	}
	knell_close(engine);
}
END_TEST

/* What it is for: the peer dies, by whatever. */
START_TEST(test_socket_of_the_dead)
{
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };
	int pair[2];
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		pause();
	}
	close(pair[1]);
	watch_fd(&told, engine, pair[0]);
	watch_fd(&told, engine, pair[0]);
	told_no_more(&told, engine, 20);
	kill(pid, SIGKILL);
	told_wait(&told, engine, 2);
	waitpid(pid, NULL, 0);
	/* It has hung up already. */
	watch_fd(&told, engine, pair[0]);
	check_gone(&told, engine, 3);
	close(pair[0]);
	knell_close(engine);
}
END_TEST

START_TEST(test_pipe)
{
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };
	int ends[2];

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
		watch_fd(&told, engine, ends[i]);
		ck_assert_int_eq(write(ends[1], "x", 1), 1);
		told_no_more(&told, engine, 20);
		close(ends[!i]);
		check_gone(&told, engine, i + 1);
		close(ends[i]);
	}
	knell_close(engine);
}
END_TEST

START_TEST(test_bad_descriptors)
{
	struct knell_engine *engine = open_pidfd();
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);
	int pair[2], file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fds;
	struct child child = child_start(NULL);

	ck_assert_int_eq(knell_watch_fd(engine, NULL, file, &o), -EINVAL);
	fds = count_fds();
	ck_assert_int_eq(knell_watch_fd(engine, NULL, -1, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_fd(engine, NULL, 12345, &o), -EINVAL);
	ck_assert_int_eq(knell_watch_fd(engine, NULL, file, &o), -EINVAL);
	ck_assert_int_eq(count_fds(), fds);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(knell_watch_fd(engine, NULL, pair[0], &o), -ENOTSUP);
	o.moment = KNELL_AT_DEAD;
	ck_assert_int_eq(knell_watch_fd(engine, NULL, child.fd, &o), -ENOTSUP);
	o.moment = KNELL_AT_ANY;
	o.flags = KNELL_W_SUBTREE;
	ck_assert_int_eq(knell_watch_fd(engine, NULL, child.fd, &o), -EINVAL);
	child_end(&child);
	close(file);
	close(pair[0]);
	close(pair[1]);
	knell_close(engine);
}
END_TEST

/* ---- a pid that is used again ---- */

static bool next_pid(pid_t pid)
{
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)pid - 1);
	bool ok = fd >= 0 && write(fd, text, (size_t)n) == n;

	if (fd >= 0)
		close(fd);
	return ok;
}

/*
 * In a pid namespace of our own. The first life is watched, and ends unheard; the second gets its
 * pid before anybody looks, and is watched, too.
 */
static void two_lives(struct knell_engine *engine, int round)
{
	struct child first = child_start(NULL), second;
	struct told told = { 0 };
	struct knell_watch_options o = told_options(&told, KNELL_AT_ANY);

	o.cookie = 1;
	ck_assert_int_eq(knell_watch_pid(engine, NULL, first.pid, &o), 0);
	child_exit(&first, 21);
	child_reap(&first);
	close(first.fd);
	ck_assert(next_pid(first.pid));
	second = child_start(NULL);
	ck_assert_int_eq(second.pid, first.pid);
	o.cookie = 2;
	ck_assert_int_eq(knell_watch_pid(engine, NULL, second.pid, &o), 0);
	if (round % 2)
		child_exit(&second, 22); /* both at once */
	told_wait(&told, engine, 1 + round % 2);
	if (round % 2 == 0) {
		ck_assert_uint_eq(told.cookie[0], 1);
		told_no_more(&told, engine, 5);
		child_exit(&second, 22);
		told_wait(&told, engine, 2);
	}
	for (int i = 0; i < 2; i++) {
		int code = told.cookie[i] == 1 ? 21 : 22;

		if (code == 21 && !tells_late()) {
			ck_assert_int_eq(told.kind[i], KNELL_GONE);
			continue;
		}
		ck_assert_int_eq(told.kind[i], KNELL_EXITED);
		ck_assert_int_eq(told.event[i].u.exit.status, code << 8);
	}
	ck_assert_uint_ne(told.cookie[0], told.cookie[1]);
	child_reap(&second);
	close(second.fd);
}

static _Noreturn void be_init(void)
{
	struct knell_engine *engine;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    syscall(SYS_mount, "proc", "/proc", "proc", 0, NULL) < 0 || !next_pid(100))
		_exit(77);
	engine = open_pidfd();
	for (int round = 0; round < 200; round++)
		two_lives(engine, round);
	knell_close(engine);
	_exit(0);
}

START_TEST(test_reused_pid)
{
	pid_t outside = fork();
	int status = 0;

	/* In a process of its own: who has moved cannot fork any more when that init is dead. */
	if (outside == 0) {
		pid_t init;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0 &&
		    unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0)
			_exit(77);
		init = fork();
		if (init == 0)
			be_init();
		waitpid(init, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	ck_assert_int_eq(waitpid(outside, &status, 0), outside);
	if (status == 77 << 8)
		say_skipped("no pid namespace can be made, or pids cannot be chosen in it");
	else
		ck_assert_int_eq(status, 0);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("watch_find");
	TCase *tc = unit_case(suite, "find");

	tcase_add_test(tc, test_name);
	tcase_add_test(tc, test_bad_names);
	tcase_add_test(tc, test_name_without_descriptors);
	tcase_add_test(tc, test_cgroup);
	tc = unit_case(suite, "descriptors");
	tcase_add_test(tc, test_socket);
	tcase_add_test(tc, test_socket_of_the_dead);
	tcase_add_test(tc, test_pipe);
	tcase_add_test(tc, test_bad_descriptors);
	tc = unit_case(suite, "pids");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_reused_pid);
	return suite;
}
