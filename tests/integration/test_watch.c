/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_watch.c - `knell watch`: each option, each exit status, each kind of target, with processes
 * that are not children of knell, and with one that is.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroups.h"
#include "tool.h"

const char test_suite_name[] = "watch";

static const char *number(long n)
{
	char *text;

	if (asprintf(&text, "%ld", n) < 0)
		ck_abort_msg("out of memory");
	return text;
}

/* What a watch of a stranger's child learns here. */
static int known_or_126(int status)
{
	return !test_source_is("pidfd") || kernel_tells_status() ? status : 126;
}

static void expect_line(const char *text, pid_t pid, const char *how)
{
	char pattern[200];

	snprintf(pattern, sizeof(pattern), " %d %s", pid, how);
	ck_assert_msg(strstr(text, pattern), "no '%s' in:\n%s", pattern, text);
}

/* ---- one process ---- */

START_TEST(status_of_a_stranger)
{
	static const int codes[] = { 0, 1, 7, 125, 255 };
	size_t i;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		const char *path = number((long)i);
		struct tool watch = { .command = "watch" };
		pid_t pid;

		mkfifo(path, 0600); /* opening it waits for us */
		pid = spawn(NULL,
			    LIST("/bin/sh", "-c", "read x <$0; exit $1", path, number(codes[i])));
		watch.args = LIST(number(pid));
		tool_start(&watch);
		tool_await_listening(&watch);
		close(open(path, O_WRONLY));
		ck_assert_int_eq(await_exit(pid), W_EXITCODE(codes[i], 0));
		tool_wait(&watch);
		tool_expect_exit(&watch, known_or_126(codes[i]));
		ck_assert_uint_eq(line_count(watch.out), 1);
		if (known_or_126(1) == 1)
			expect_line(watch.out, pid, "exited ");
		else
			expect_line(watch.out, pid, "is gone");
	}
}
END_TEST

START_TEST(signal_and_sender)
{
	pid_t pid = start_victim("kn-victim");
	struct tool watch = { .command = "watch", .args = LIST(number(pid)) };
	char sender[100];

	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(pid, SIGKILL);
	tool_wait(&watch);
	tool_expect_exit(&watch, known_or_126(128 + SIGKILL));
	ck_assert_msg(strstr(watch.out, "kn-victim "), "no name: %s", watch.out);
	if (known_or_126(0) == 0)
		expect_line(watch.out, pid, "killed by SIGKILL");
	snprintf(sender, sizeof(sender), "(pid %d, uid %u", getpid(), getuid());
	if (test_source_in_kernel())
		ck_assert_msg(strstr(watch.out, sender), "no '%s': %s", sender, watch.out);
}
END_TEST

/* After exec the watched is knell's own child: its status is known on any kernel. */
START_TEST(own_child)
{
	struct tool watch = { .command = "watch", .how = { .out = "out", .err = "err" } };
	const char *source;

	mkfifo("go", 0600);
	ck_assert(asprintf((char **)&source, "--source=%s", test_source()) > 0);
	watch.pid = spawn(&watch.how, LIST("/bin/sh", "-c",
					   "sh -c 'read x <go; exit 9' & exec \"$0\" watch $1 $!",
					   test_knell(), source));
	tool_await_listening(&watch);
	close(open("go", O_WRONLY));
	tool_wait(&watch);
	tool_expect_exit(&watch, 9);
}
END_TEST

START_TEST(dead_but_not_waited_for)
{
	pid_t pid = start_victim("kn-zombie");
	struct tool watch = { .command = "watch", .args = LIST(number(pid)) };

	kill(pid, SIGTERM);
	ck_assert(await_state(pid, "Z"));
	tool_run(&watch);
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(0, SIGTERM));
	ck_assert_msg(watch.status == W_EXITCODE(128 + SIGTERM, 0) ||
			      (!kernel_tells_status() && watch.status == W_EXITCODE(126, 0)),
		      "wait status %#x: %s", (unsigned int)watch.status, watch.err);
	ck_assert_uint_eq(line_count(watch.out), 1);
}
END_TEST

/* Its status is that of the thread that ended it, though the leader has one of its own. */
START_TEST(dead_after_its_leader)
{
	pid_t pid = spawn(NULL, LIST(test_program("threads"), "leader-exits"));
	struct tool watch = { .command = "watch", .args = LIST(number(pid)) };
	siginfo_t info;

	if (!kernel_tells_status())
		test_skip("before Linux 6.15 the status of a stranger's zombie is not known");
	ck_assert(!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
	tool_run(&watch);
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(7, 0));
	tool_expect_exit(&watch, 7);
}
END_TEST

static void become_nobody(void)
{
	if (setgid(65534) || setuid(65534))
		_exit(197);
}

/* From others /proc hides the status: then it is unknown, not 0. */
START_TEST(dead_and_another_users)
{
	pid_t pid;
	struct tool watch = { .command = "watch", .how.prepare = become_nobody };

	if (getuid())
		test_skip("only root can become nobody");
	if (!test_source_is("pidfd"))
		test_skip("other sources need privilege, or hear it another way");
	need_open_build();
	chmod(".", 0777);
	pid = start_victim("kn-zombie");
	watch.args = LIST(number(pid));
	kill(pid, SIGTERM);
	ck_assert(await_state(pid, "Z"));
	tool_run(&watch);
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(0, SIGTERM));
	tool_expect_exit(&watch, 126);
}
END_TEST

/* A pipe that is full: whoever writes into it waits until it is drained. */
static int full_pipe(const char *path)
{
	char bytes[4096] = "";
	int fd;

	mkfifo(path, 0600);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	ck_assert(fd >= 0);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	return fd;
}

static void drain(int fd)
{
	char bytes[4096];

	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

/*
 * It dies, and is waited for, after it was looked up and before its watch is set: by then no pidfd
 * knows its number any more. What holds knell up in between is its complaint about another one.
 */
START_TEST(dead_while_opening)
{
	static const char *const outputs[] = { "-q", "--json" };
	struct records records;
	const struct record *record;
	char *expected;
	size_t i;

	for (i = 0; i < 3; i++) {
		pid_t pid = start_victim("kn-window");
		struct tool watch = { .command = "watch", .how.err = "full" };
		int fd = full_pipe("full");

		watch.args = LIST("--exec=echo $KNELL_PID $KNELL_NAME >>told", number(pid),
				  "2147483647", i ? outputs[i - 1] : "--all");
		tool_start(&watch);
		tool_await_holding(&watch, pid);
		kill_victim(pid, SIGKILL);
		while (process_state(watch.pid) != 'Z') {
			drain(fd);
			sleep_ms(2);
		}
		close(fd);
		watch.how.err = "/dev/null";
		tool_wait(&watch);
		tool_expect_exit(&watch, 127); /* the other one */
		if (i == 0)
			expect_line(watch.out, pid, "");
		ck_assert(asprintf(&expected, "%d kn-window\n", pid) > 0);
		ck_assert_msg(strstr(read_file("told"), expected), "not told: %s",
			      read_file("told"));
		unlink("told");
		if (i < 2)
			continue;
		read_records(&records, "watch.out");
		record = find_record(&records, "exit", pid);
		ck_assert_msg(record && !strcmp(record->name, "kn-window"), "no record: %s",
			      watch.out);
	}
}
END_TEST

START_TEST(no_such_process)
{
	struct tool watch = { .command = "watch" };
	pid_t pid = start_victim("kn-dead");

	kill_victim(pid, SIGKILL);
	watch.args = LIST(number(pid));
	tool_expect_refused(&watch, 127, number(pid));
	watch.args = LIST("2147483647");
	tool_expect_refused(&watch, 127, "2147483647");
	watch.args = LIST("@kn-nobody");
	tool_expect_refused(&watch, 127, "kn-nobody");
}
END_TEST

START_TEST(nonsense)
{
	static const char *const bad[] = {
		"0",         "-5", "abc", "12x", "0x10",
		"+3",        " 1", "@",   "",    "99999999999999999999999",
		"2147483648"
	};
	struct tool watch = { .command = "watch" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		watch.args = LIST("--", bad[i]);
		tool_expect_refused(&watch, 125, bad[i]);
	}
	watch.args = NULL;
	tool_expect_refused(&watch, 125, "no process given");
	watch.args = LIST("--nonsense", "1");
	tool_expect_refused(&watch, 125, "nonsense");
	watch.args = LIST("--timeout=soon", "1");
	tool_expect_refused(&watch, 125, "soon");
	watch.args = LIST("--timeout=-1", "1");
	tool_expect_refused(&watch, 125, "-1");
	watch.args = LIST("--timeout=1e3", "1");
	tool_expect_refused(&watch, 125, "1e3");
	watch.args = LIST("--moment=soon", "1");
	tool_expect_refused(&watch, 125, "soon");
	watch.args = LIST("--future", "1");
	tool_expect_refused(&watch, 125, "future");
	watch.source = "nonsense";
	watch.args = LIST(number(getpid()));
	tool_expect_refused(&watch, 125, "nonsense");
}
END_TEST

static void *idle(void *userdata)
{
	__atomic_store_n((int *)userdata, (int)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

START_TEST(number_of_a_thread)
{
	struct tool watch = { .command = "watch" };
	pthread_t thread;
	int tid = 0;

	ck_assert_int_eq(pthread_create(&thread, NULL, idle, &tid), 0);
	while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST))
		sleep_ms(1);
	watch.args = LIST(number(tid));
	tool_expect_refused(&watch, 125, "thread");
	ck_assert_msg(strstr(watch.err, number(getpid())), "its process is not named: %s",
		      watch.err);
}
END_TEST

/* ---- time ---- */

START_TEST(timeout)
{
	pid_t pid = start_victim("kn-long");
	struct tool watch = { .command = "watch", .args = LIST("--timeout=0.5", number(pid)) };
	double began = now();

	tool_run(&watch);
	tool_expect_exit(&watch, 124);
	ck_assert_msg(now() - began >= 0.5, "too early");
	ck_assert_msg(now() - began < 0.5 + test_seconds(30), "too late");
	ck_assert_msg(!*watch.out, "it said: %s", watch.out);
	watch.args = LIST("--timeout=0", number(pid));
	tool_run(&watch);
	tool_expect_exit(&watch, 124);
	watch.args = LIST("--timeout=.001m", number(pid));
	tool_run(&watch);
	tool_expect_exit(&watch, 124);
	kill_victim(pid, SIGKILL);
}
END_TEST

/* ---- several ---- */

START_TEST(any_of_several)
{
	pid_t a = start_victim("kn-a"), b = start_victim("kn-b");
	struct tool watch = { .command = "watch", .args = LIST("--any", number(a), number(b)) };

	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(b, SIGKILL);
	tool_wait(&watch);
	tool_expect_exit(&watch, 0);
	ck_assert_uint_eq(line_count(watch.out), 1);
	expect_line(watch.out, b, "");
	kill_victim(a, SIGKILL);
}
END_TEST

START_TEST(all_of_several)
{
	pid_t a = start_victim("kn-a"), b = start_victim("kn-b");
	struct tool watch = { .command = "watch",
			      .args = LIST("--any", "--all", number(a), number(b), number(a)) };

	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(b, SIGKILL);
	sleep_ms(300);
	ck_assert_msg(process_state(watch.pid) != 'Z', "it ended after the first");
	kill_victim(a, SIGTERM);
	tool_wait(&watch);
	tool_expect_exit(&watch, 0);
	ck_assert_uint_eq(line_count(watch.out), 2);
}
END_TEST

START_TEST(one_is_absent)
{
	pid_t a = start_victim("kn-a"), gone = start_victim("kn-gone");
	struct tool watch = { .command = "watch", .args = LIST(number(gone), number(a)) };

	kill_victim(gone, SIGKILL);
	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(a, SIGKILL);
	tool_wait(&watch);
	tool_expect_exit(&watch, 127);
	expect_line(watch.out, a, "");
	ck_assert_msg(strstr(watch.err, number(gone)), "not named: %s", watch.err);
}
END_TEST

START_TEST(by_name)
{
	pid_t pids[20], other = start_victim("kn-name-2");
	struct tool watch = { .command = "watch", .args = LIST("@kn-name") };
	struct tool longer = { .command = "watch",
			       .args = LIST("--timeout=0", "@kn-0123456789ab_") };
	size_t i;

	for (i = 0; i < 20; i++)
		pids[i] = start_victim("kn-name");
	tool_start(&watch);
	tool_await_listening(&watch);
	for (i = 0; i < 20; i++)
		kill_victim(pids[i], SIGKILL);
	tool_wait(&watch);
	tool_expect_exit(&watch, 0);
	ck_assert_uint_eq(line_count(watch.out), 20);
	for (i = 0; i < 20; i++)
		expect_line(watch.out, pids[i], "");
	kill_victim(other, SIGKILL);

	other = start_victim("kn-0123456789ab"); /* 15 bytes: what the kernel keeps of it */
	tool_run(&longer);
	tool_expect_exit(&longer, 124);
	kill_victim(other, SIGKILL);
}
END_TEST

/* More than the usual limit of open files allows. */
START_TEST(thousands_of_a_name)
{
	unsigned int count = test_scaled(3000), i;
	pid_t *pids = calloc(count, sizeof(*pids));
	struct tool watch = { .command = "watch", .args = LIST("@kn-many") };

	for (i = 0; i < count; i++)
		pids[i] = start_victim("kn-many");
	tool_start(&watch);
	tool_await_listening(&watch);
	for (i = 0; i < count; i++)
		kill(pids[i], SIGKILL);
	for (i = 0; i < count; i++)
		ck_assert_int_eq(await_exit(pids[i]), W_EXITCODE(0, SIGKILL));
	tool_wait(&watch);
	tool_expect_exit(&watch, 0);
	ck_assert_uint_eq(line_count(watch.out), count);
}
END_TEST

/* ---- cgroups ---- */

static pid_t victim_in(const struct cgroup *cgroup, const char *name)
{
	pid_t pid = start_victim(name);

	ck_assert(cgroup_write(cgroup, "cgroup.procs", number(pid)));
	return pid;
}

START_TEST(by_cgroup)
{
	struct cgroup cgroup;
	const char *why = cgroup_with_kill(&cgroup), *below;
	struct tool watch = { .command = "watch" };
	pid_t a, b;

	if (why)
		test_skip("%s", why);
	a = victim_in(&cgroup, "kn-a");
	b = victim_in(&cgroup, "kn-b");
	below = strrchr(cgroup.dir, '/'); /* the test's are right below the mount */
	watch.args = LIST(below);
	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(a, SIGKILL);
	kill_victim(b, SIGKILL);
	tool_wait(&watch);
	tool_expect_exit(&watch, 0);
	ck_assert_uint_eq(line_count(watch.out), 2);

	watch.args = LIST(cgroup.dir); /* now empty */
	tool_expect_refused(&watch, 127, below);
	below = strdup(below);
	cgroup_remove(&cgroup);
	watch.args = LIST(below);
	tool_expect_refused(&watch, 127, below);
}
END_TEST

START_TEST(cgroup_vanishes)
{
	struct cgroup cgroup;
	const char *why = cgroup_with_kill(&cgroup);
	struct tool watch = { .command = "watch" };
	pid_t pid;

	if (why)
		test_skip("%s", why);
	pid = victim_in(&cgroup, "kn-cgroup");
	watch.args = LIST(strdup(strrchr(cgroup.dir, '/')));
	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(pid, SIGKILL);
	cgroup_remove(&cgroup);
	tool_wait(&watch);
	tool_expect_exit(&watch, known_or_126(128 + SIGKILL));
}
END_TEST

/* ---- those born later ---- */

START_TEST(future_name)
{
	struct tool watch = { .command = "watch", .args = LIST("--future", "--any", "@kn-later") };
	struct tool until = { .command = "watch",
			      .name = "until",
			      .args = LIST("--future", "--timeout=600", "@kn-later") };
	pid_t pid;

	if (test_source_is("pidfd")) {
		tool_expect_refused(&watch, 125, "stream");
		return;
	}
	if (test_source_is("connector"))
		test_skip("the connector tells no names, so later ones are not found");
	tool_start(&watch);
	tool_start(&until);
	tool_await_listening(&watch);
	tool_await_listening(&until);
	for (int i = 0; i < 2; i++) {
		pid = spawn(NULL, LIST(test_program("deaths"), "kill-self", "USR1"));
		await_exit(pid); /* another name */
		symlink(test_program("deaths"), "kn-later");
		pid = spawn(NULL, LIST("./kn-later", "wait"));
		await_name(pid, "kn-later");
		sleep_ms(300); /* not every source is told names with births */
		kill(pid, SIGUSR2);
		ck_assert_int_eq(await_exit(pid), W_EXITCODE(0, SIGUSR2));
	}
	tool_wait(&watch);
	tool_expect_exit(&watch, 0);
	ck_assert_uint_eq(line_count(watch.out), 1);
	ck_assert_msg(strstr(watch.out, "kn-later "), "no name: %s", watch.out);
	sleep_ms(300);
	kill(until.pid, SIGINT);
	tool_wait(&until);
	tool_expect_status(&until, W_EXITCODE(0, SIGINT));
	ck_assert_uint_eq(line_count(until.out), 2);
}
END_TEST

START_TEST(future_cgroup)
{
	struct cgroup cgroup;
	const char *why;
	struct tool watch = { .command = "watch" };
	pid_t pid;

	if (!test_source_in_kernel())
		test_skip("the %s source tells no cgroups", test_source());
	why = cgroup_with_kill(&cgroup);
	if (why)
		test_skip("%s", why);
	watch.args = LIST("--future", "--timeout=600", strdup(strrchr(cgroup.dir, '/')));
	tool_start(&watch);
	tool_await_listening(&watch);
	/* It enters the cgroup, and its child is born in it. */
	pid = spawn(NULL, LIST("/bin/sh", "-c", "echo $$ >$0/cgroup.procs; sleep 0.5; exec $1 6",
			       cgroup.dir, test_program("tiny")));
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(6, 0));
	kill(watch.pid, SIGINT);
	tool_wait(&watch);
	tool_expect_status(&watch, W_EXITCODE(0, SIGINT));
	ck_assert_msg(line_count(watch.out) >= 1, "nothing was heard; %s", watch.err);
	cgroup_remove(&cgroup);
}
END_TEST

START_TEST(future_cgroup_vanishes)
{
	struct cgroup cgroup;
	const char *why;
	struct tool watch = { .command = "watch" };
	pid_t pid;
	int i;

	if (!test_source_is("bpf"))
		test_skip("the %s source tells no cgroups", test_source());
	for (i = 0; i < 2; i++) {
		why = cgroup_with_kill(&cgroup);
		if (why)
			test_skip("%s", why);
		watch.args = LIST("--future", strdup(strrchr(cgroup.dir, '/')));
		tool_start(&watch);
		tool_await_listening(&watch);
		if (i == 1) {
			pid = spawn(NULL,
				    LIST("/bin/sh", "-c", "echo $$ >$0/cgroup.procs; $1 6; exit 7",
					 cgroup.dir, test_program("tiny")));
			ck_assert_int_eq(await_exit(pid), W_EXITCODE(7, 0));
		}
		cgroup_remove(&cgroup);
		tool_wait(&watch);
		tool_expect_exit(&watch, i == 0 ? 127 : 0);
		ck_assert_msg(strstr(watch.err, "was removed"), "no notice: %s", watch.err);
		ck_assert_int_eq(strstr(watch.out, "exited 6") != NULL, i == 1);
	}
}
END_TEST

/* With --future as without it, and as in knell trace: those below it are in other cgroups. */
START_TEST(cgroup_below)
{
	struct cgroup cgroup;
	const char *why;
	struct tool watch = { .command = "watch" };
	char below[600], procs[700];
	pid_t living, born, own;

	if (!test_source_is("bpf"))
		test_skip("the %s source tells no cgroups", test_source());
	why = cgroup_with_kill(&cgroup);
	if (why)
		test_skip("%s", why);
	snprintf(below, sizeof(below), "%s/below", cgroup.dir);
	ck_assert(!mkdir(below, 0755));
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", below);
	living = start_victim("kn-below");
	write_file(procs, number(living));
	watch.args = LIST("--future", strdup(strrchr(cgroup.dir, '/')));
	tool_start(&watch);
	tool_await_listening(&watch);
	born = spawn(NULL, LIST("/bin/sh", "-c", "echo $$ >$0; $1 6; exit 7", procs,
				test_program("tiny")));
	ck_assert_int_eq(await_exit(born), W_EXITCODE(7, 0));
	kill_victim(living, SIGKILL);
	/* What is told after all that shows that nothing of it was. */
	own = spawn(NULL, LIST("/bin/sh", "-c", "echo $$ >$0/cgroup.procs; $1 5; exit 4",
			       cgroup.dir, test_program("tiny")));
	ck_assert_int_eq(await_exit(own), W_EXITCODE(4, 0));
	sleep_ms(200);
	kill(watch.pid, SIGINT);
	tool_wait(&watch);
	rmdir(below);
	cgroup_remove(&cgroup);
	tool_expect_status(&watch, W_EXITCODE(0, SIGINT));
	ck_assert_msg(strstr(watch.out, "exited 5"), "nothing was heard: %s", watch.out);
	ck_assert_msg(!strstr(watch.out, "exited 6") && !strstr(watch.out, "kn-below "),
		      "of a cgroup below:\n%s", watch.out);
}
END_TEST

/* ---- descendants ---- */

START_TEST(subtree)
{
	struct tool watch = { .command = "watch" };
	pid_t pid;

	/* One child lives already, and its child comes later; the root does not wait for it. */
	pid = start_family();
	watch.args = LIST("--subtree", number(pid));
	if (test_source_is("pidfd")) {
		tool_expect_refused(&watch, 125, "descendants");
		let_family_go();
		await_exit(pid);
		return;
	}
	tool_start(&watch);
	tool_await_listening(&watch);
	let_family_go();
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(5, 0));
	tool_wait(&watch);
	tool_expect_exit(&watch, 5);
	expect_line(watch.out, pid, "exited 5");
	ck_assert_msg(strstr(watch.out, "exited 3"), "no grandchild:\n%s", watch.out);
	ck_assert_msg(strstr(watch.out, "exited 4"), "no child:\n%s", watch.out);
	ck_assert_uint_eq(count_of(watch.out, " is born of "), 1);
	ck_assert_uint_eq(count_of(watch.out, " runs "), 1);
	if (test_source_in_kernel())
		ck_assert_uint_eq(count_of(watch.out, "/tiny"), 1);
	ck_assert_uint_eq(count_of(watch.out, " exited "), 3);
}
END_TEST

/* ---- commands ---- */

START_TEST(exec_environment)
{
	pid_t pid = start_victim("kn name");
	struct tool watch = { .command = "watch" };
	bool bpf = test_source_in_kernel();
	char expected[300], *found;

	setenv("KNELL_PID", "not this", 1);
	watch.args = LIST(
		"--exec=env | grep ^KNELL_[PNSRV] | grep -v -e SOURCE= -e ^KNELL_VM= | sort >vars; "
		"readlink /proc/self/fd/0 >stdin",
		number(pid));
	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(pid, SIGKILL);
	tool_wait(&watch);
	tool_expect_exit(&watch, known_or_126(128 + SIGKILL));
	found = read_file("vars");
	snprintf(expected, sizeof(expected),
		 "KNELL_NAME=kn name\nKNELL_PID=%d\nKNELL_REASON=%s\nKNELL_SENDER_NAME=%s\n"
		 "KNELL_SENDER_PID=%s\nKNELL_SENDER_UID=%s\nKNELL_SIGNAL=%s\nKNELL_STATUS=\n"
		 "KNELL_VERDICT=%s\n",
		 pid, bpf ? "user" : "", bpf ? "test-watch" : "", bpf ? number(getpid()) : "",
		 bpf ? number(getuid()) : "", known_or_126(0) ? "" : "KILL",
		 known_or_126(0) ? "gone" : "exited");
	ck_assert_str_eq(found, expected);
	ck_assert_str_eq(read_file("stdin"), "/dev/null\n");
}
END_TEST

START_TEST(exec_for_each_death)
{
	pid_t pids[60];
	struct tool watch = { .command = "watch",
			      .args = LIST("-q", "--exec=sleep 0.2; echo $KNELL_PID >>told",
					   "@kn-exec") };
	char *told;
	size_t i;

	for (i = 0; i < 60; i++)
		pids[i] = start_victim("kn-exec");
	tool_start(&watch);
	tool_await_listening(&watch);
	for (i = 0; i < 60; i++)
		kill_victim(pids[i], SIGKILL);
	tool_wait(&watch);
	tool_expect_exit(&watch, 0);
	ck_assert_msg(!*watch.out, "it is not quiet: %s", watch.out);
	told = read_file("told");
	ck_assert_uint_eq(line_count(told), 60); /* it waited for the last */
	for (i = 0; i < 60; i++)
		ck_assert(strstr(told, number(pids[i])));
}
END_TEST

START_TEST(exec_for_the_absent)
{
	struct tool watch = { .command = "watch",
			      .args = LIST("--exec=echo $KNELL_PID $KNELL_VERDICT >told",
					   "2147483647") };

	tool_run(&watch);
	tool_expect_exit(&watch, 127);
	ck_assert_str_eq(read_file("told"), "2147483647 absent\n");
}
END_TEST

/* The command that runs is waited for; then knell dies of the signal. */
START_TEST(interrupted)
{
	pid_t a = start_victim("kn-a"), b = start_victim("kn-b");
	struct tool watch = { .command = "watch",
			      .args = LIST("--exec=touch began; sleep 1; touch ended", number(a),
					   number(b)) };

	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(a, SIGKILL);
	while (!file_exists("began"))
		sleep_ms(5);
	kill(watch.pid, SIGTERM);
	tool_wait(&watch);
	tool_expect_status(&watch, W_EXITCODE(0, SIGTERM));
	ck_assert_msg(file_exists("ended"), "the command was not waited for");
	ck_assert_uint_eq(line_count(watch.out), 1);
	kill_victim(b, SIGKILL);
}
END_TEST

/* ---- output ---- */

START_TEST(json)
{
	pid_t a = start_victim("kn-json"), b = start_victim("kn-json");
	struct tool watch = { .command = "watch",
			      .args = LIST("--json", "@kn-json"),
			      .how.out = "watch.json" };
	struct records records;
	struct record *record;

	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(a, SIGKILL);
	kill_victim(b, SIGTERM);
	tool_wait(&watch);
	tool_expect_exit(&watch, 0);
	read_records(&records, "watch.json");
	ck_assert_uint_eq(count_events(&records, "exit"), 2);
	ck_assert_uint_eq(records.count, 3);
	record = find_record(&records, "exit", a);
	ck_assert(record && find_record(&records, "exit", b));
	ck_assert_str_eq(record->name, "kn-json");
	ck_assert_int_eq(record->signal, known_or_126(0) ? 0 : SIGKILL);
	ck_assert_int_eq((int)records.all[2].events, 2);
}
END_TEST

static void close_stdout(void)
{
	close(STDOUT_FILENO);
}

START_TEST(stdout_is_closed)
{
	struct tool tool = { .command = "watch", .how.prepare = close_stdout };

	tool.args = LIST(number(getpid()));
	tool_expect_refused(&tool, 125, "standard output");
	tool.args = LIST("--json", number(getpid()));
	tool_expect_refused(&tool, 125, "standard output");
}
END_TEST

START_TEST(nobody_reads)
{
	pid_t pid = start_victim("kn-pipe");
	struct tool watch = { .command = "watch", .args = LIST(number(pid)) };
	int reader;

	mkfifo("pipe", 0600);
	watch.how.out = "pipe";
	reader = open("pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	tool_start(&watch);
	tool_await_listening(&watch);
	close(reader);
	kill_victim(pid, SIGKILL);
	watch.how.out = "/dev/null";
	tool_wait(&watch);
	tool_expect_status(&watch, W_EXITCODE(0, SIGPIPE));
}
END_TEST

START_TEST(moments_of_death)
{
	static const char *const moments[] = { "exit", "dead", "free" };
	size_t i;

	for (i = 0; i < 3; i++) {
		pid_t pid = start_victim("kn-moment");
		struct tool watch = { .command = "watch" };
		char option[32];

		snprintf(option, sizeof(option), "--moment=%s", moments[i]);
		watch.args = LIST(option, number(pid));
		if (i != 1 && !test_source_in_kernel()) {
			tool_expect_refused(&watch, 125, "bpf");
			kill_victim(pid, SIGKILL);
			continue;
		}
		tool_start(&watch);
		tool_await_listening(&watch);
		kill_victim(pid, SIGKILL);
		tool_wait(&watch);
		tool_expect_exit(&watch, known_or_126(128 + SIGKILL));
	}
}
END_TEST

/* Whoever may do nothing else still hears of the death, of whomever it is. */
START_TEST(without_privileges)
{
	struct tool watch = { .command = "watch", .source = "", .how.prepare = become_nobody };
	pid_t pid;

	if (getuid() != 0)
		test_skip("only root can become somebody else");
	need_open_build();
	ck_assert(!chmod(".", 0777));
	pid = start_victim("kn-root");
	watch.args = LIST(number(pid));
	tool_start(&watch);
	tool_await_listening(&watch);
	kill_victim(pid, SIGKILL);
	tool_wait(&watch);
	if (!kernel_tells_status() && strstr(watch.err, "hearing by pidfd"))
		tool_expect_exit(&watch, 126);
	else
		tool_expect_exit(&watch, 128 + SIGKILL);
	ck_assert_msg(strstr(watch.err, "hearing by "), "no notice: %s", watch.err);
}
END_TEST

static pid_t start_victim_of_nobody(void)
{
	const struct spawn how = { .prepare = become_nobody };
	pid_t pid = spawn(&how, LIST("/bin/sleep", "100"));
	double end = now() + test_seconds(20);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	for (;;) {
		char *comm = read_file(path);
		bool there = comm && !strcmp(comm, "sleep\n");

		free(comm);
		if (there)
			return pid;
		ck_assert(now() < end);
		sleep_ms(2);
	}
}

/* Nobody is listened to but the one that is asked for, where that tells as much. */
START_TEST(own_process_without_privileges)
{
	struct tool watch = { .command = "watch", .source = "", .how.prepare = become_nobody };
	pid_t pid;

	if (getuid() != 0)
		test_skip("only root can become somebody else");
	if (!kernel_tells_status())
		test_skip("pidfds tell no status of others' children before Linux 6.15");
	need_open_build();
	ck_assert(!chmod(".", 0777));
	pid = start_victim_of_nobody();
	watch.args = LIST(number(pid));
	tool_start(&watch);
	tool_await_listening(&watch);
	kill(pid, SIGKILL);
	tool_wait(&watch); /* nobody has waited for it */
	ck_assert_int_eq(await_exit(pid), SIGKILL);
	tool_expect_exit(&watch, 128 + SIGKILL);
	ck_assert_msg(strstr(watch.err, "hearing by pidfd"), "it listens to everybody: %s",
		      watch.err);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "watch", 120);

	tcase_add_test(tcase, status_of_a_stranger);
	tcase_add_test(tcase, signal_and_sender);
	tcase_add_test(tcase, own_child);
	tcase_add_test(tcase, dead_but_not_waited_for);
	tcase_add_test(tcase, dead_after_its_leader);
	tcase_add_test(tcase, dead_and_another_users);
	tcase_add_test(tcase, dead_while_opening);
	tcase_add_test(tcase, no_such_process);
	tcase_add_test(tcase, nonsense);
	tcase_add_test(tcase, number_of_a_thread);
	tcase_add_test(tcase, timeout);
	tcase_add_test(tcase, any_of_several);
	tcase_add_test(tcase, all_of_several);
	tcase_add_test(tcase, one_is_absent);
	tcase_add_test(tcase, by_name);
	tcase_add_test(tcase, thousands_of_a_name);
	tcase_add_test(tcase, by_cgroup);
	tcase_add_test(tcase, cgroup_vanishes);
	tcase_add_test(tcase, future_name);
	tcase_add_test(tcase, future_cgroup);
	tcase_add_test(tcase, future_cgroup_vanishes);
	tcase_add_test(tcase, cgroup_below);
	tcase_add_test(tcase, subtree);
	tcase_add_test(tcase, exec_environment);
	tcase_add_test(tcase, exec_for_each_death);
	tcase_add_test(tcase, exec_for_the_absent);
	tcase_add_test(tcase, interrupted);
	tcase_add_test(tcase, json);
	tcase_add_test(tcase, nobody_reads);
	tcase_add_test(tcase, moments_of_death);
	tcase_add_test(tcase, stdout_is_closed);
	tcase_add_test(tcase, without_privileges);
	tcase_add_test(tcase, own_process_without_privileges);
}
