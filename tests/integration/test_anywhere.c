/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_anywhere.c - `knell run` with the source that it chooses itself: as root, as nobody, and in
 * user, pid and mount namespaces of its own (what `unshare -Urpfn --mount-proc` makes). A fixed
 * workload gives the same numbers each time; what a source does not know is said to be unknown.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

const char test_suite_name[] = "anywhere";

#define NOBODY 65534u

/* A shell that starts five programs; two of them fail, one of these by a signal. */
static const char workload[] = "\"$0\" 0; \"$0\" 0; \"$0\" 3; \"$1\" kill-self TERM; "
			       "\"$0\" 0; exit 4";

struct numbers {
	size_t births, deaths, execs, failed, signalled;
};

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
		_exit(197);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(197);
	close(fd);
}

/* The first process of the new namespace is a child, which execs knell; this one waits for it. */
static void enter_namespaces(void)
{
	char map[64];
	unsigned int uid = geteuid(), gid = getegid();
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET))
		_exit(197);
	put("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	put("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	put("/proc/self/gid_map", map);
	pid = fork();
	if (pid == 0) {
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL))
			_exit(197);
		return;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			_exit(197);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 196);
}

static struct numbers count(const struct run *run)
{
	struct numbers n = {
		.births = count_events(&run->records, "clone"),
		.deaths = count_events(&run->records, "exit"),
		.execs = count_events(&run->records, "exec"),
	};
	const struct record *record;

	for (record = run->records.all; record < records_end(&run->records); record++) {
		n.failed += is_event(record, "exit") && (record->signal || record->code);
		n.signalled += is_event(record, "exit") && record->signal;
	}
	return n;
}

static void expect_line(const char *text, const char *line, unsigned int times)
{
	ck_assert_msg(count_of(text, line) == times, "'%s' is not %u times in:\n%s", line, times,
		      text);
}

/* Where nobody is let in, nobody cannot run it. */
static bool others_may_run(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		become_nobody();
		_exit(access(test_knell(), X_OK) || access(test_program("tiny"), X_OK));
	}
	return await_exit(pid) == 0;
}

static void run_workload(const char *name, void (*prepare)(void))
{
	struct run run = {
		.name = name,
		.source = "auto",
		.options = LIST("--exit-status"),
		.command = LIST("/bin/sh", "-c", workload, test_program("tiny"),
				test_program("deaths")),
		.how = { .prepare = prepare },
	};
	const struct record *record;
	struct numbers n;

	chmod(".", 0777);
	run_knell(&run);
	if (WIFEXITED(run.status) && WEXITSTATUS(run.status) == 197)
		test_skip("%s cannot be had here", name);
	expect_exit(&run, 4);
	expect_whole_lives(&run.records);
	expect_no_loss(&run.records);
	n = count(&run);
	ck_assert_uint_eq(n.births, 6);
	ck_assert_uint_eq(n.deaths, 6);
	ck_assert_uint_eq(n.execs, 6);
	ck_assert_uint_eq(n.failed, 3);
	ck_assert_uint_eq(n.signalled, 1);
	expect_line(run.err, "processes 6 started", 1);
	expect_line(run.err, "failed    3, of them 1 by a signal", 1);
	expect_line(run.err, "killed by SIGTERM", 1);
	expect_line(run.err, "exited 3", 1);
	expect_line(run.err, "lost      nothing", 1);
	/* What is not known is left out, not made up. */
	for (record = run.records.all; record < records_end(&run.records); record++) {
		bool died = is_event(record, "exit") && record->signal == SIGTERM;

		ck_assert(!died || !record->sender.known || record->sender.pid == record->pid);
		ck_assert(!is_event(record, "clone") || record->pid > 0);
	}
}

START_TEST(as_root)
{
	if (geteuid() != 0)
		test_skip("this is not root");
	run_workload("root", NULL);
}
END_TEST

START_TEST(as_nobody)
{
	if (geteuid() != 0)
		test_skip("only root can become another user");
	if (!others_may_run())
		test_skip("the build is in a folder that others may not enter");
	run_workload("nobody", become_nobody);
}
END_TEST

START_TEST(in_namespaces)
{
	run_workload("namespaces", enter_namespaces);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "anywhere", 60);

	tcase_add_test(tcase, as_root);
	tcase_add_test(tcase, as_nobody);
	tcase_add_test(tcase, in_namespaces);
}
