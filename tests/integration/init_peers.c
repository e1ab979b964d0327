/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * init_peers.c - what tini, dumb-init, catatonit and systemd's services count on, found where our
 * init was put in the place of another.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init_runs.h"

/* A signal that came while it made itself ready is the command's. PID 1 would not see it at all. */
START_TEST(signals_while_it_starts)
{
	struct init init = { .command = LIST("/bin/sleep", "10") };
	char plugin[4200];

	need_engine();
	snprintf(plugin, sizeof(plugin), "--plugin=%s:term", test_program("teller.so"));
	init.options = LIST(plugin);
	run_expecting(&init, 128 + SIGTERM);
	need_first();
	init.how.prepare = become_first;
	run_expecting(&init, 128 + SIGTERM);
}
END_TEST

static void pass_path(void)
{
	setenv("PATH", "/no/such/folder:folder:/bin:/usr/bin", 1);
}

static void pass_own_path(void)
{
	setenv("PATH", "/bin:", 1);
}

/* Whatever the C library: a file without "#!" is the shell's, wherever it was found. */
START_TEST(scripts_without_a_first_line)
{
	ck_assert(!mkdir("folder", 0755));
	write_file("folder/a-script", "[ \"$1 $2\" = 'a b c' ] && exit $3\n");
	ck_assert(!chmod("folder/a-script", 0755));
	RUN(5, .command = LIST("folder/a-script", "a", "b c", "5"));
	RUN(6, .command = LIST("a-script", "a", "b c", "6"), .how.prepare = pass_path);
	ck_assert(!rename("folder/a-script", "a-script"));
	RUN(7, .command = LIST("a-script", "a", "b c", "7"), .how.prepare = pass_own_path);
	RUN(127, .command = LIST("a-script"), .how.prepare = pass_path);
	ck_assert(!chmod("a-script", 0644));
	RUN(126, .command = LIST("a-script"), .how.prepare = pass_own_path);
}
END_TEST

/* The CPU time of a process so far, in seconds. */
static double cpu_time(pid_t pid)
{
	unsigned long user, system;
	char path[64], *text, *fields;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	text = read_file(path);
	fields = text ? strrchr(text, ')') : NULL;
	ck_assert_msg(fields && sscanf(fields, /* NOLINT: the kernel's own text */
				       ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				       &user, &system) == 2,
		      "%s", text ? text : path);
	free(text);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* Its death is seen, but it cannot be reaped before whoever traces it lets go of it. */
static void expect_patience(const char *option)
{
	struct init init = {
		.options = LIST(option),
		.command = SHELL("echo main $$ >truth; exec sleep 600"),
	};
	double before;
	pid_t command;

	unlink("truth");
	init_start(&init);
	command = await_number("truth", "main");
	if (ptrace(PTRACE_SEIZE, command, NULL, NULL) < 0) {
		kill(command, SIGKILL);
		init_wait(&init);
		test_skip("ptrace: %s", strerror(errno));
	}
	kill(command, SIGKILL);
	ck_assert(await_state(command, "Z"));
	before = cpu_time(init.pid);
	sleep_ms(500);
	before = cpu_time(init.pid) - before;
	ck_assert_int_eq(waitpid(command, NULL, 0), command);
	init_wait(&init);
	expect(&init, 128 + SIGKILL);
	ck_assert_msg(before <= 0.1, "it took %.2f s of CPU time to wait for 0.5 s", before);
}

START_TEST(traced_command)
{
	expect_patience("-s");
	expect_patience("-w");
}
END_TEST

static int passed[2];

static void pass_descriptor(void)
{
	dup2(passed[1], 9); /* without close-on-exec */
}

/* A pause holds nothing of its caller's: no pipe that somebody reads from, no folder. */
START_TEST(pause_holds_nothing)
{
	struct init init = {
		.as = "catatonit",
		.options = LIST("-P"),
		.how.prepare = pass_descriptor,
	};
	struct pollfd pollfd;
	char path[64], folder[16] = "";
	double end = now() + test_seconds(30);

	ck_assert(!pipe2(passed, O_CLOEXEC));
	init_start(&init);
	close(passed[1]);
	pollfd = (struct pollfd){ .fd = passed[0], .events = POLLIN };
	ck_assert_msg(poll(&pollfd, 1, (int)test_seconds(30000)) == 1 && pollfd.revents & POLLHUP,
		      "the pause holds it open");
	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)init.pid);
	while (readlink(path, folder, sizeof(folder)) != 1) {
		ck_assert_msg(now() < end, "it is not in /");
		sleep_ms(2);
	}
	kill(init.pid, SIGTERM);
	init_wait(&init);
	expect(&init, 0);
}
END_TEST

static void be_service(void)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_PIDFDID", "4711", 1);
	setenv("WATCHDOG_PID", pid, 1);
}

static void be_in_service_of_another(void)
{
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_PIDFDID", "4711", 1);
	setenv("WATCHDOG_PID", "1", 1);
}

/* What systemd gave to the init is the command's, and what is for another stays so. */
START_TEST(numbers_of_a_service)
{
	RUN(0, .command = SHELL("[ \"$LISTEN_PID/$WATCHDOG_PID/$LISTEN_PIDFDID\" = $$/$$/ ]"),
	    .how.prepare = be_service);
	RUN(0, .command = SHELL("[ \"$LISTEN_PID/$WATCHDOG_PID/$LISTEN_PIDFDID\" = 1/1/4711 ]"),
	    .how.prepare = be_in_service_of_another);
	RUN(0, .command = SHELL("[ -z \"$LISTEN_PID$WATCHDOG_PID$LISTEN_PIDFDID\" ]"));
}
END_TEST

/* A group of the command's own, by itself or with -c by setsid; then a member that outlives it. */
static const char *const leader[] = {
	"/usr/bin/setsid",
	"/bin/sh",
	"-c",
	"sh member kid & while [ ! -s truth ]; do sleep 0.02; done; exit 0",
	NULL,
};

/* What the member gets at the end; NULL: nothing. */
static void expect_last_signal(const char *const options[], const char *const command[],
			       const char *signal)
{
	struct init init = { .as = "dumb-init", .options = options, .command = command };
	pid_t kid;

	unlink("truth");
	unlink("got");
	adopt();
	run_expecting(&init, 0);
	kid = await_number("truth", "kid");
	if (signal) {
		await_text("got", signal);
	} else {
		sleep_ms(100);
		ck_assert_msg(!file_exists("got"), "it got %s", read_file("got"));
		kill(kid, SIGKILL);
	}
	await_exit(kid);
}

START_TEST(last_signal_of_dumb_init)
{
	write_member();
	expect_last_signal(NULL, leader + 1, "kid TERM\n");
	expect_last_signal(LIST("-r15:10"), leader + 1, "kid USR1\n");
	expect_last_signal(LIST("-r15:0"), leader + 1, NULL);
	expect_last_signal(LIST("-c"), leader, NULL);
	expect_last_signal(LIST("-c", "-r15:10"), leader, NULL);
	setenv("DUMB_INIT_SETSID", "0", 1);
	expect_last_signal(NULL, leader, NULL);
}
END_TEST

static void expect_ended(const char *grace, const char *script)
{
	RUN(3, .options = LIST("--orphans=kill", grace), .command = SHELL(script),
	    .how.prepare = become_first_blind);
}

/*
 * Without a /proc that tells who is left PID 1 sends to all: TERM once, to the stopped, too, and
 * KILL to the stubborn. A grace in vain is longer than our patience.
 */
START_TEST(all_are_told_once)
{
	need_first();
	write_file("member", "trap 'echo TERM >>got' TERM; echo kid $$ >truth; i=0\n"
			     "while [ ! -s got ]; do sleep 0.02; done\n"
			     "while [ $((i += 1)) -le 25 ]; do sleep 0.02; done\n");
	expect_ended("--grace=600",
		     "sh member & while [ ! -s truth ]; do sleep 0.02; done; exit 3");
	ck_assert_str_eq(read_file("got"), "TERM\n");
	expect_ended("--grace=600", "sh -c 'kill -STOP $$' & sleep 0.2; exit 3");
	expect_ended("--grace=1", "trap '' TERM; sleep 600 & exit 3");
}
END_TEST

void add_peer_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "peers", 60);

	tcase_add_test(tcase, signals_while_it_starts);
	tcase_add_test(tcase, scripts_without_a_first_line);
	tcase_add_test(tcase, traced_command);
	tcase_add_test(tcase, pause_holds_nothing);
	tcase_add_test(tcase, numbers_of_a_service);
	tcase_add_test(tcase, last_signal_of_dumb_init);
	tcase_add_test(tcase, all_are_told_once);
}
