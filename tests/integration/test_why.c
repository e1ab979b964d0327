/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_why.c - real deaths, recorded by `knell trace` or `knell run`, and what `knell why` says of
 * them afterwards. Each one who dies has a name of its own, so that what else happens on this
 * machine is not taken for it.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroups.h"
#include "tool.h"

const char test_suite_name[] = "why";

static const char *text_of(const char *format, int number)
{
	char *text;

	if (asprintf(&text, format, number) < 0)
		ck_abort_msg("out of memory");
	return text;
}

/* ---- recording ---- */

static struct tool trace;

static void start_trace(void)
{
	trace = (struct tool){
		.command = "trace",
		.args = LIST("--args", "--json=trace.json"),
	};
	tool_start(&trace);
	tool_await_listening(&trace);
}

static void end_trace(void)
{
	sleep_ms(200);
	kill(trace.pid, SIGINT);
	tool_wait(&trace);
	tool_expect_exit(&trace, 0);
}

/* ---- asking ---- */

static struct tool ask_log(const char *log, const char *target, int status)
{
	static int asked;
	struct tool why = {
		.command = "why",
		.name = text_of("why%d", ++asked),
		.source = "",
	};
	char *option;

	ck_assert_int_gt(asprintf(&option, "--log=%s", log), 0);
	why.args = LIST(option, target);
	tool_run(&why);
	tool_expect_exit(&why, status);
	return why;
}

static void expect_said(const struct tool *why, const char *text)
{
	ck_assert_msg(strstr(why->out, text), "'%s' is not in what it said:\n%s%s", text, why->out,
		      why->err);
}

/* One death: three lines, and of these the first says this of `name` with `pid`. */
static struct tool expect_death(const char *name, pid_t pid, const char *how)
{
	struct tool why = ask_log("trace.json", name, 0);
	char begin[64], *end = strchr(why.out, '\n'), *found;

	snprintf(begin, sizeof(begin), "%s (pid %d) ", name, pid);
	ck_assert_msg(!strncmp(why.out, begin, strlen(begin)), "not about %s:\n%s", begin, why.out);
	found = strstr(why.out, how);
	ck_assert_msg(found && found < end, "'%s' is not in the first line:\n%s", how, why.out);
	expect_said(&why, "\nIt had run ");
	expect_said(&why, "\nStarted by: ");
	return why;
}

/* The program that dies, under a name of this test's. */
static const char *named(const char *name)
{
	char *link;

	ck_assert_int_gt(asprintf(&link, "./%s", name), 0);
	unlink(link);
	ck_assert(!symlink(test_program("deaths"), link));
	return link;
}

static pid_t run_death(const char *name, const char *mode, const char *arg)
{
	pid_t pid = spawn(NULL, LIST(named(name), mode, arg));

	await_exit(pid);
	return pid;
}

static pid_t start_death(const char *name, const char *mode)
{
	pid_t pid = spawn(NULL, LIST(named(name), "--ready", "ready", mode, "0"));

	ck_assert_int_eq(await_number("ready", "ready"), pid);
	return pid;
}

static const char *by_us(const char *what)
{
	char *text;

	ck_assert_int_gt(
		asprintf(&text, "%s test-why (pid %d, uid %d", what, getpid(), (int)getuid()), 0);
	return text;
}

/* ---- deaths ---- */

START_TEST(killed_by_a_shell)
{
	struct tool why;
	pid_t victim, shell;

	start_trace();
	victim = start_death("why-shell", "wait");
	shell = spawn(NULL, LIST("/bin/sh", "-c", text_of("kill -KILL %d; exit 0", victim)));
	await_exit(shell);
	await_exit(victim);
	end_trace();
	why = expect_death("why-shell", victim,
			   text_of(": killed by SIGKILL sent by sh (pid %d, uid", shell));
	expect_said(&why, text_of("parent test-why %d).", getpid()));
	expect_said(&why, "as \"./why-shell --ready ready wait 0\"");
	expect_said(&why, text_of("> why-shell (%d)\n", victim));
	expect_said(&why, text_of("test-why (%d) > ", getpid()));
	ask_log("trace.json", "why-shel", 1);
	why = ask_log("trace.json", text_of("%d", victim), 0);
	expect_said(&why, "why-shell (pid ");
}
END_TEST

static void expect_mode(const char *name, const char *mode, const char *arg, const char *how)
{
	pid_t pid;

	start_trace();
	pid = run_death(name, mode, arg);
	end_trace();
	expect_death(name, pid, how);
}

START_TEST(exit_code)
{
	expect_mode("why-exit", "exit", "7", ": exited 7.");
}
END_TEST

START_TEST(segmentation_fault)
{
	expect_mode("why-segv", "segv", "0", ": segmentation fault");
}
END_TEST

START_TEST(aborted)
{
	expect_mode("why-abort", "abort", "0", ": killed by SIGABRT sent by itself");
}
END_TEST

START_TEST(broken_pipe)
{
	expect_mode("why-pipe", "pipe", "0",
		    ": killed by SIGPIPE: it wrote to a pipe that nobody reads.");
}
END_TEST

START_TEST(seccomp_filter)
{
	expect_mode("why-seccomp", "seccomp", "0", ": killed by SIGSYS of a seccomp filter");
}
END_TEST

START_TEST(file_size_limit)
{
	expect_mode("why-xfsz", "xfsz", "0", ": file size limit reached (SIGXFSZ)");
}
END_TEST

/* The kernel passes over its own tracepoint for one such signal in 200: see test_causes.c. */
START_TEST(alarm_clock)
{
	struct tool why;
	pid_t pid;

	for (int try = 0; try < 4; try++) {
		start_trace();
		pid = run_death("why-alarm", "alarm", "0");
		end_trace();
		why = expect_death("why-alarm", pid, ": killed by SIGALRM");
		if (strstr(why.out, "killed by SIGALRM of a timer"))
			return;
	}
	ck_abort_msg("the timer is not told:\n%s", why.out);
}
END_TEST

START_TEST(caught_term)
{
	struct tool why;
	pid_t pid;

	start_trace();
	pid = start_death("why-term", "caught-term");
	kill(pid, SIGTERM);
	ck_assert_int_eq(await_exit(pid), 0);
	end_trace();
	why = expect_death("why-term", pid, by_us(": received SIGTERM from"));
	expect_said(&why, ", then exited 0.\n");
	expect_said(&why, " ended at ");
}
END_TEST

/* It is a grandchild, and its parent is dead: the chain has it. */
START_TEST(parent_death)
{
	int victim[2], parent;
	struct tool why;
	pid_t pid;

	start_trace();
	pid = spawn(NULL, LIST(named("why-pdeath"), "--truth", "truth", "pdeath"));
	ck_assert_int_eq(await_line("truth", "victim", victim, 2), 2);
	parent = await_number("truth", "parent");
	await_exit(pid);
	end_trace();
	why = ask_log("trace.json", text_of("%d", victim[0]), 0);
	expect_said(&why,
		    text_of(": killed by SIGTERM: its parent died, short-lived (pid %d", parent));
	expect_said(&why, text_of(" > short-lived (%d, dead by then) > ", parent));
}
END_TEST

/* The daemon dies first, and then somebody kills its child. */
START_TEST(child_of_a_killed_daemon)
{
	char script[512];
	struct tool why;
	pid_t daemon, child;

	snprintf(script, sizeof(script), "%s --ready ready wait 0 & wait", named("why-orphan"));
	start_trace();
	daemon = spawn(NULL, LIST("/bin/sh", "-c", script));
	child = await_number("ready", "ready");
	kill(daemon, SIGKILL);
	await_exit(daemon);
	kill(child, SIGTERM);
	while (process_state(child) != 'Z' && process_state(child)) /* the test's limit ends this */
		sleep_ms(2);
	end_trace();
	why = expect_death("why-orphan", child, by_us(": killed by SIGTERM sent by"));
	expect_said(&why, text_of("> sh (%d, dead by then) > why-orphan (", daemon));
	why = ask_log("trace.json", text_of("%d", daemon), 0);
	expect_said(&why, by_us(": killed by SIGKILL sent by"));
	expect_said(&why, "as \"/bin/sh -c './why-orphan --ready ready wait 0 & wait'\"");
}
END_TEST

START_TEST(out_of_memory)
{
	struct cgroup cgroup;
	const char *reason = cgroup_with_memory(&cgroup, 24);
	pid_t pid;

	if (reason)
		test_skip("%s", reason);
	start_trace();
	pid = spawn(NULL, LIST(named("why-oom"), "--cgroup", cgroup.dir, "oom", "200"));
	await_exit(pid);
	cgroup_remove(&cgroup);
	end_trace();
	expect_death("why-oom", pid, ": out of memory (killed by the kernel).");
}
END_TEST

START_TEST(cgroup_killed)
{
	struct cgroup cgroup;
	const char *reason = cgroup_with_kill(&cgroup);
	struct tool why;
	pid_t pid;

	if (reason)
		test_skip("%s", reason);
	start_trace();
	pid = spawn(NULL,
		    LIST(named("why-cgroup"), "--ready", "ready", "--cgroup", cgroup.dir, "wait"));
	await_number("ready", "ready");
	cgroup_write(&cgroup, "cgroup.kill", "1");
	await_exit(pid);
	end_trace();
	why = expect_death("why-cgroup", pid,
			   by_us(": killed by SIGKILL of cgroup.kill, written by"));
	/* It is there yet: its name is asked for by its id, which takes a privilege. */
	if (!strstr(why.out, "which is gone"))
		expect_said(&why, strrchr(cgroup.dir, '/'));
	cgroup_remove(&cgroup);
}
END_TEST

/* ---- names and numbers ---- */

/* A name that it gave itself, the name of its program, and the path. */
START_TEST(all_its_names)
{
	struct tool why;
	pid_t pid;

	start_trace();
	pid = run_death("why-a-rather-long-name", "kill-self", "TERM");
	end_trace();
	why = ask_log("trace.json", "why-a-rather-long-name", 0);
	expect_said(&why, text_of("(pid %d) died at ", pid));
	why = ask_log("trace.json", "why-a-rather-lo", 0);
	expect_said(&why, text_of("(pid %d) died at ", pid));
	why = ask_log("trace.json", "./why-a-rather-long-name", 0);
	expect_said(&why, text_of("(pid %d) died at ", pid));
	ask_log("trace.json", "/bin/why-a-rather-long-name", 1);
}
END_TEST

/* fork(2) with a number of our choice; -1: not here. */
static pid_t fork_as(pid_t pid)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
		uint64_t set_tid, set_tid_size, cgroup;
	} args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&pid,
		.set_tid_size = 1,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

START_TEST(reused_number)
{
	struct tool why;
	pid_t pid, again;

	start_trace();
	pid = run_death("why-first", "exit", "3");
	again = fork_as(pid);
	if (again == 0) {
		execl(named("why-second"), "why-second", "kill-self", "KILL", NULL);
		_exit(127);
	}
	if (again < 0) {
		end_trace();
		test_skip("clone3(2) may not choose a pid here");
	}
	ck_assert_int_eq(again, pid);
	await_exit(pid);
	end_trace();
	why = ask_log("trace.json", text_of("%d", pid), 0);
	expect_said(&why, "why-first       exited 3\n");
	expect_said(&why, "why-second      killed by SIGKILL sent by itself\n");
	expect_said(&why, "\nwhy-second (pid ");
	expect_said(&why, "as \"why-second kill-self KILL\"");
	expect_death("why-first", pid, ": exited 3.");
	expect_death("why-second", pid, ": killed by SIGKILL sent by itself");
}
END_TEST

/* Failures first; who ended well is counted. */
START_TEST(several)
{
	struct tool why;
	pid_t killed;

	start_trace();
	run_death("why-many", "exit", "0");
	run_death("why-many", "exit", "9");
	killed = run_death("why-many", "kill-self", "HUP");
	run_death("why-many", "exit", "0");
	end_trace();
	why = ask_log("trace.json", "why-many", 0);
	expect_said(&why, "TIME ");
	expect_said(&why, "why-many        exited 9\n");
	expect_said(&why, text_of("\nwhy-many (pid %d) died at ", killed));
	expect_said(&why, "\n2 more exited 0, the last at ");
	ck_assert(!strstr(why.out, "why-many        exited 0\n"));
}
END_TEST

/* ---- other logs ---- */

/* What `knell run` writes is a log, too; the first process of it is found under /proc. */
START_TEST(of_a_run)
{
	struct run run = {
		.options = LIST("--args"),
	};
	char script[128];
	struct tool why;

	snprintf(script, sizeof(script), "%s kill-self KILL; exit 3", named("why-run"));
	run.command = LIST("/bin/sh", "-c", script);
	run_knell(&run);
	expect_exit(&run, 3);
	why = ask_log("run.json", "why-run", 0);
	expect_said(&why, ": killed by SIGKILL sent by itself");
	expect_said(&why, "as \"./why-run kill-self KILL\"");
	why = ask_log("run.json", "@sh", 0);
	expect_said(&why, ": exited 3.");
}
END_TEST

START_TEST(still_alive)
{
	struct tool why;
	pid_t pid;

	start_trace();
	pid = start_death("why-alive", "wait");
	end_trace();
	why = ask_log("trace.json", "why-alive", 0);
	expect_said(&why, text_of("why-alive (pid %d) is alive, since ", pid));
	kill(pid, SIGKILL);
	await_exit(pid);
	why = ask_log("trace.json", "why-alive", 0);
	expect_said(&why, text_of("why-alive (pid %d) was alive when the log ended; it is not any "
				  "more",
				  pid));
	expect_said(&why, "Note: The log ends at ");
}
END_TEST

/* Without a log: it lives, or the remedy is named. */
START_TEST(no_log)
{
	struct tool why = { .command = "why", .source = "", .args = LIST("why-nobody") };
	struct tool lives = { .command = "why", .source = "", .name = "lives" };
	struct tool absent = {
		.command = "why",
		.source = "",
		.name = "absent",
		.args = LIST("--log=absent.json", "sh"),
	};

	setenv("KNELL_AUDIT_LOG", "./absent.json", 1);
	tool_expect_refused(&why, 125, "systemctl enable --now knell-audit");
	lives.args = LIST(text_of("%d", getpid()));
	tool_run(&lives);
	tool_expect_exit(&lives, 0);
	expect_said(&lives, text_of("test-why (pid %d) is alive, since ", getpid()));
	tool_expect_refused(&absent, 125, "absent.json");
}
END_TEST

START_TEST(nothing_found)
{
	struct tool why;

	start_trace();
	run_death("why-other", "exit", "1");
	end_trace();
	why = ask_log("trace.json", "why-nobody", 1);
	expect_said(&why, "No death of 'why-nobody' is in trace.json, from 20");
	expect_said(&why, " deaths were searched.\n");
}
END_TEST

START_TEST(bad_options)
{
	static const char *const bad[][3] = {
		{ "--since=soon", "sh", "--since: 'soon' is not a time" },
		{ "--until=25:00", "sh", "--until" },
		{ "-n0", "sh", "not a number from 1" },
		{ "-nx", "sh", "is not a number" },
		{ "--log=.", "sh", "cannot read the log '.'" },
		{ "--what", "sh", "what" },
		{ "sh", "bash", "one PID or NAME" },
		{ "--all", "0", "not a number from 1" },
		{ "--all", "99999999999", "is not a number" },
		{ "--all", "", "one PID or NAME" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct tool why = {
			.command = "why",
			.name = text_of("bad%d", (int)i),
			.source = "",
			.args = LIST(bad[i][0], bad[i][1]),
		};

		tool_expect_refused(&why, 125, bad[i][2]);
	}
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "why", 60);

	tcase_add_test(tcase, killed_by_a_shell);
	tcase_add_test(tcase, exit_code);
	tcase_add_test(tcase, segmentation_fault);
	tcase_add_test(tcase, aborted);
	tcase_add_test(tcase, broken_pipe);
	tcase_add_test(tcase, seccomp_filter);
	tcase_add_test(tcase, file_size_limit);
	tcase_add_test(tcase, alarm_clock);
	tcase_add_test(tcase, caught_term);
	tcase_add_test(tcase, parent_death);
	tcase_add_test(tcase, child_of_a_killed_daemon);
	tcase_add_test(tcase, out_of_memory);
	tcase_add_test(tcase, cgroup_killed);
	tcase_add_test(tcase, all_its_names);
	tcase_add_test(tcase, reused_number);
	tcase_add_test(tcase, several);
	tcase_add_test(tcase, of_a_run);
	tcase_add_test(tcase, still_alive);
	tcase_add_test(tcase, no_log);
	tcase_add_test(tcase, nothing_found);
	tcase_add_test(tcase, bad_options);
}
