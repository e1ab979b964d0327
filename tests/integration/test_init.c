/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_init.c - `knell init`, and knell-init-static where KNELL_TEST_INIT names it: the command's
 * status, signals, orphans, job control, and the dialects of other inits, as a subreaper and as PID
 * 1. No source of events has a part in it, but for the causes in --log-orphans.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "init_runs.h"
#include "support.h"

const char test_suite_name[] = "init";

#define LARGEST_STATIC 708080 /* Debian 12's tini-static */

/* ---- status ---- */

START_TEST(exit_statuses)
{
	RUN(0, .command = SHELL("exit 0"));
	RUN(1, .command = SHELL("exit 1"));
	RUN(255, .command = SHELL("exit 255"));
	RUN(128 + SIGTERM, .command = SHELL("kill -TERM $$"));
	RUN(128 + SIGKILL, .command = SHELL("kill -KILL $$"));
	RUN(128 + SIGINT, .command = SHELL("kill -INT $$"));
	/* The orphans' statuses are wanted: the other way of reaping. */
	RUN(7, .options = LIST("-w"), .command = SHELL("exit 7"));
	RUN(128 + SIGHUP, .options = LIST("-w"), .command = SHELL("kill -HUP $$"));
}
END_TEST

START_TEST(failures)
{
	write_file("plain", "no program\n");
	RUN(127, .command = LIST("./no-such-program"));
	RUN(126, .command = LIST("./plain"));
	RUN(125, .options = LIST("--nonsense"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--forward=all"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--rewrite=TERM"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--rewrite=TREM:INT"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--rewrite=KILL:INT"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--rewrite=STOP:0"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--rewrite=17:0"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("-e", "256"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("-p", "NONE"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--status-file=/no/such/folder/x"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--grace=-1"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("--grace"));
	RUN(125, .options = NULL);
	RUN(0, .options = LIST("--help"));
	RUN(0, .options = LIST("-V"));
	RUN(0, .options = LIST("-l"));
}
END_TEST

static void close_stdout(void)
{
	close(STDOUT_FILENO);
}

/* Closed or full: an answer that was not written is no success. */
static void expect_lost(const char *as, const char *option)
{
	static const struct spawn hows[] = {
		{ .prepare = close_stdout },
		{ .out = "/dev/full" },
	};

	for (size_t i = 0; i < sizeof(hows) / sizeof(hows[0]); i++) {
		struct init init = { .as = as, .options = LIST(option), .how = hows[i] };

		init_start(&init);
		init.how.out = "/dev/null";
		init_wait(&init);
		expect(&init, 125);
		ck_assert_msg(strstr(init.err, "cannot write to standard output"),
			      "no reason for '%s': %s", option, init.err);
		free(init.out);
		free(init.err);
	}
}

START_TEST(output_is_lost)
{
	if (!file_exists("/dev/full"))
		test_skip("there is no /dev/full here");
	expect_lost(NULL, "--help");
	expect_lost(NULL, "--version");
	expect_lost(NULL, "--license");
	expect_lost("tini", "--version");
	expect_lost("dumb-init", "--help");
	expect_lost("catatonit", "-L");
}
END_TEST

START_TEST(mapped_exits)
{
	RUN(0, .options = LIST("-e", "143"), .command = SHELL("kill -TERM $$"));
	RUN(7, .options = LIST("--map-exit=5:7", "--map-exit", "6"), .command = SHELL("exit 5"));
	RUN(0, .options = LIST("--map-exit=5:7", "--map-exit", "6"), .command = SHELL("exit 6"));
	RUN(4, .options = LIST("-e5"), .command = SHELL("exit 4"));
}
END_TEST

START_TEST(status_file)
{
	char *text;

	RUN(9, .options = LIST("--status-file=status", "-w", "--orphans=wait"),
	    .command = SHELL("(sleep 0.1; exit 3) & exit 9"));
	text = read_file("status");
	ck_assert(text != NULL);
	ck_assert_msg(strstr(text, "\"exit_code\": 9,") && strstr(text, "\"signal\": null"), "%s",
		      text);
	ck_assert_msg(strstr(text, "\"orphans_reaped\": 1,"), "%s", text);
	ck_assert_msg(strstr(text, "\"signals_forwarded\": 0"), "%s", text);
	RUN(128 + SIGKILL, .options = LIST("--status-file=status"),
	    .command = SHELL("kill -KILL $$"));
	text = read_file("status");
	ck_assert_msg(text && strstr(text, "\"exit_code\": null") &&
			      strstr(text, "\"signal\": 9,") &&
			      strstr(text, "\"exit_status\": 137"),
		      "%s", text);
}
END_TEST

/*
 * Nodes, links and FIFOs of this test's own: a link that leads to the machine's /dev would be
 * enough to destroy a device there, if what is tested did not work.
 */
static bool says(const char *text, const char *what)
{
	return text && strstr(text, what) && text[strlen(text) - 2] == '}';
}

static mode_t kind_of(const char *path)
{
	struct stat st;

	ck_assert_msg(!lstat(path, &st), "%s: %s", path, strerror(errno));
	return st.st_mode & S_IFMT;
}

/* A link to a file stays one, whether the file is there yet or not. */
START_TEST(status_file_behind_a_link)
{
	ck_assert(!mkdir("folder", 0755) && !symlink("real", "folder/second"));
	ck_assert(!symlink("folder/second", "first"));
	for (int code = 3; code < 5; code++) {
		char wanted[32];

		snprintf(wanted, sizeof(wanted), "\"exit_code\": %d,", code);
		RUN(code, .options = LIST("--status-file=first"),
		    .command = SHELL(code == 3 ? "exit 3" : "exit 4"));
		ck_assert_msg(says(read_file("folder/real"), wanted), "it is not there");
		ck_assert(kind_of("first") == S_IFLNK && kind_of("folder/second") == S_IFLNK);
	}
	ck_assert(!symlink("ring", "ring"));
	RUN(125, .options = LIST("--status-file=ring"), .command = SHELL("exit 3"));
	RUN(125, .options = LIST("--status-file=folder"), .command = SHELL("exit 3"));
	RUN(125, .options = LIST("--status-file="), .command = SHELL("exit 3"));
}
END_TEST

START_TEST(status_file_is_a_fifo)
{
	struct init deaf = { .options = LIST("--status-file=link"), .command = SHELL("exit 3") };
	char text[4096];
	ssize_t n;
	int fd;

	ck_assert(!mkfifo("fifo", 0600) && !symlink("fifo", "link"));
	run_expecting(&deaf, 125);
	ck_assert_msg(strstr(deaf.err, "'link': nobody reads from it"), "%s", deaf.err);
	fd = open("fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	RUN(3, .options = LIST("--status-file=link"), .command = SHELL("exit 3"));
	n = read(fd, text, sizeof(text) - 1);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert_msg(says(text, "\"exit_code\": 3,"), "%s", text);
	ck_assert(kind_of("fifo") == S_IFIFO && kind_of("link") == S_IFLNK);
	close(fd);
}
END_TEST

START_TEST(status_file_is_a_device)
{
	struct init full = { .options = LIST("--status-file=full"), .command = SHELL("exit 3") };
	int fd;

	if (mknod("full", S_IFCHR | 0666, makedev(1, 7)) < 0)
		test_skip("mknod: %s", strerror(errno));
	fd = open("full", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		test_skip("devices do not work in this folder: %s", strerror(errno));
	close(fd);
	run_expecting(&full, 3);
	ck_assert_msg(strstr(full.err, "'full': No space left"), "%s", full.err);
	ck_assert(kind_of("full") == S_IFCHR);
	ck_assert(!symlink("full", "link"));
	RUN(3, .options = LIST("--status-file=link"), .command = SHELL("exit 3"));
	ck_assert(kind_of("full") == S_IFCHR && kind_of("link") == S_IFLNK);
}
END_TEST

/* A descriptor's own file gets it at its end: it is not replaced behind whoever writes there. */
START_TEST(status_file_is_a_standard_one)
{
	struct init init = {
		.options = LIST("--status-file=/proc/self/fd/1"),
		.command = SHELL("echo first; exit 3"),
	};

	run_expecting(&init, 3);
	ck_assert_msg(strncmp(init.out, "first\n{", 7) == 0 && says(init.out, "\"exit_code\": 3,"),
		      "%s", init.out);
}
END_TEST

START_TEST(status_file_leaves_nothing_behind)
{
	struct init init = {
		.options = LIST("--status-file=folder/status"),
		.command = SHELL("echo main $$ >truth; exec sleep 600"),
	};
	pid_t command;

	ck_assert(!mkdir("folder", 0755));
	adopt();
	init_start(&init);
	command = await_number("truth", "main");
	kill(init.pid, SIGKILL);
	ck_assert_int_eq(await_exit(init.pid), SIGKILL);
	kill(command, SIGKILL);
	await_exit(command);
	ck_assert_uint_eq(count_entries("folder"), 2);
}
END_TEST

/* ---- signals ---- */

static const char family[] = "sh member kid & setsid sh member far & exec sh member main";

static void end_member(const char *name)
{
	kill(await_number("truth", name), SIGKILL);
}

/* TERM to the init; then who of the family has got it? */
static void expect_family(struct init *init, bool kid, bool far)
{
	char *got;

	unlink("truth");
	unlink("got");
	write_member();
	adopt();
	init->command = SHELL(family);
	init_start(init);
	await_number("truth", "kid");
	await_number("truth", "far");
	await_number("truth", "main");
	kill(init->pid, SIGTERM);
	init_wait(init);
	expect(init, 3);
	if (kid)
		await_text("got", "kid TERM");
	if (far)
		await_text("got", "far TERM");
	sleep_ms(100);
	got = read_file("got");
	ck_assert_msg(got && strstr(got, "main TERM"), "%s", got);
	ck_assert_msg(!!strstr(got, "kid TERM") == kid, "%s", got);
	ck_assert_msg(!!strstr(got, "far TERM") == far, "%s", got);
	end_member("kid");
	end_member("far");
	while (wait(NULL) > 0)
		;
}

START_TEST(forward_to_child)
{
	expect_family(&(struct init){ .options = LIST("--forward=child") }, false, false);
	expect_family(&(struct init){ .options = LIST("-w") }, false, false);
}
END_TEST

START_TEST(forward_to_group)
{
	expect_family(&(struct init){ .options = LIST("--forward=group") }, true, false);
	expect_family(&(struct init){ .options = LIST("-gw") }, true, false);
}
END_TEST

START_TEST(forward_to_tree)
{
	expect_family(&(struct init){ .options = LIST("--forward=tree") }, true, true);
	expect_family(&(struct init){ .options = LIST("--forward=tree", "-w") }, true, true);
}
END_TEST

/* The shell ends on the signal while its list of children is read: they are on ours then. */
START_TEST(tree_that_loses_its_root)
{
	for (unsigned int i = 0; i < 5; i++) {
		struct init init = {
			.options = LIST("--forward=tree", "--orphans=wait"),
			.command = SHELL("i=0; while [ $((i += 1)) -le 60 ]; do sleep 600 & done;"
					 " echo ready $$ >truth; wait"),
		};

		unlink("truth");
		init_start(&init);
		await_number("truth", "ready");
		kill(init.pid, SIGTERM);
		init_wait(&init); /* it fails where one had not heard of it */
		expect(&init, 128 + SIGTERM);
	}
}
END_TEST

static void expect_rewritten(const char *as, const char *const options[], int signo, int code)
{
	struct init init = {
		.as = as,
		.options = options,
		.command = LIST("/bin/sh", "member", "main"),
	};

	unlink("truth");
	write_member();
	init_start(&init);
	await_number("truth", "main");
	kill(init.pid, signo);
	if (!code) {
		sleep_ms(100);
		ck_assert_msg(process_state(init.pid), "it was not dropped");
		code = 4;
		kill(init.pid, SIGUSR1);
	}
	init_wait(&init);
	expect(&init, code);
}

START_TEST(rewritten_signals)
{
	expect_rewritten(NULL, LIST("--rewrite=TERM:USR1"), SIGTERM, 4);
	expect_rewritten(NULL, LIST("--rewrite", "15:SIGUSR1"), SIGTERM, 4);
	expect_rewritten(NULL, LIST("-rINT:TERM", "--rewrite=HUP:0"), SIGINT, 3);
	expect_rewritten(NULL, LIST("--rewrite=TERM:0"), SIGTERM, 0);
}
END_TEST

/* The numbers of shells, in the static program, too, whose C library counts from 35. */
START_TEST(real_time_signals)
{
	expect_rewritten(NULL, LIST("-rRTMIN:USR1"), 34, 4);
	expect_rewritten(NULL, LIST("-rSIGRTMIN+3:USR1"), 37, 4);
	expect_rewritten(NULL, LIST("-rRTMAX-1:USR1"), 63, 4);
	expect_rewritten(NULL, LIST("-rSIGRTMAX:USR1"), 64, 4);
	RUN(128 + 34, .command = SHELL("kill -34 $PPID; exec sleep 600"));
	RUN(125, .options = LIST("-rRTMIN-1:USR1"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("-rRTMIN+31:USR1"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("-rRTMAX+1:USR1"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("-rRTMAX-31:USR1"), .command = LIST("/bin/true"));
	RUN(125, .options = LIST("-rRTMAX-:USR1"), .command = LIST("/bin/true"));
}
END_TEST

START_TEST(parent_death)
{
	static const char script[] = "\"$@\" & while [ ! -e die ]; do sleep 0.02; done";
	struct init init = {
		.options = LIST("--parent-death=TERM"),
		.command = LIST("/bin/sh", "member", "main"),
	};
	const char *argv[MAX_WORDS + 4] = { "/bin/sh", "-c", script, "sh" };
	pid_t parent;

	adopt();
	write_member();
	build_argv(&init);
	memcpy(argv + 4, init.argv, sizeof(init.argv));
	parent = spawn(NULL, argv);
	await_number("truth", "main");
	write_file("die", "");
	ck_assert_int_eq(await_exit(parent), 0);
	await_text("got", "main TERM");
	while (wait(NULL) > 0)
		;
}
END_TEST

static void ignore_children(void)
{
	signal(SIGCHLD, SIG_IGN);
}

static void ignore_nothing(void)
{
	signal(SIGCHLD, SIG_DFL);
}

/* SIGCHLD is signal 17: bit 16 of the mask. */
static bool ignores_children(const struct init *init)
{
	const char *line = strstr(init->out, "SigIgn:");

	ck_assert(line != NULL);
	return strtoull(line + 7, NULL, 16) >> 16 & 1;
}

static void expect_disposition(const char *option, void (*prepare)(void), bool ignored)
{
	struct init init = {
		.options = LIST(option),
		.command = LIST("/bin/grep", "SigIgn", "/proc/self/status"),
		.how.prepare = prepare,
	};

	run_expecting(&init, 0);
	ck_assert_int_eq(ignores_children(&init), ignored);
}

START_TEST(children_ignored_on_entry)
{
	RUN(5, .command = SHELL("exit 5"), .how.prepare = ignore_children);
	RUN(5, .options = LIST("-w"), .command = SHELL("exit 5"), .how.prepare = ignore_children);
	expect_disposition("-s", ignore_children, true);
	expect_disposition("-w", ignore_children, true);
	expect_disposition("-s", ignore_nothing, false);
}
END_TEST

/* ---- orphans ---- */

/*
 * How soon is for the benchmark to say; here one that waits for something else to happen is found.
 * On a busy machine an innocent init may be late now and then: one good run of a few will do.
 */
static void expect_no_old_zombies(const char *option)
{
	unsigned int n = test_scaled(1000);
	int age = -1, limit = (int)(2000000 * test_seconds(1));
	char count[16];

	snprintf(count, sizeof(count), "%u", n);
	for (int i = 0; i < 5 && (age < 0 || age > limit); i++) {
		struct init init = {
			.options = LIST(option),
			.command = LIST(test_program("orphans"), "0", count, "watch"),
		};
		const char *found;

		run_expecting(&init, 0);
		found = strstr(init.out, "oldest_zombie_us=");
		ck_assert_msg(found != NULL, "%s", init.out);
		age = (int)strtol(found + strlen("oldest_zombie_us="), NULL, 10);
	}
	ck_assert_msg(age <= limit, "a zombie was %d us old", age);
}

START_TEST(orphans_are_reaped_soon)
{
	expect_no_old_zombies("-s");
	expect_no_old_zombies("-w");
}
END_TEST

START_TEST(orphans_are_logged)
{
	struct init init = {
		.options = LIST("--log-orphans", "--orphans=wait"),
		.command = SHELL("(sleep 0.05; exit 3) & (sleep 0.05; sh -c 'kill -KILL $$') &"
				 " sh -c 'sleep 0.05; kill -USR1 $$' & exit 0"),
	};

	run_expecting(&init, 0);
	ck_assert_msg(strstr(init.err, " (sh) exited 3\n"), "%s", init.err);
	ck_assert_msg(strstr(init.err, " (sh) killed by SIGUSR1"), "%s", init.err);
	ck_assert_uint_eq(count_of(init.err, "orphan "), 3);
}
END_TEST

/* Where the engine can tell it: who sent the signal. The static program has no engine. */
START_TEST(causes_are_logged)
{
	struct init init = {
		.options = LIST("-w", "--orphans=wait"),
		.command = SHELL("sh -c 'echo victim $$ >truth; exec sleep 600' &"
				 " while [ ! -s truth ]; do sleep 0.02; done; exit 0"),
	};
	char sender[32];

	need_engine();
	init_start(&init);
	await_number("truth", "victim");
	sleep_ms(200);
	kill(await_number("truth", "victim"), SIGKILL);
	init_wait(&init);
	expect(&init, 0);
	snprintf(sender, sizeof(sender), "(pid %d,", (int)getpid());
	ck_assert_msg(strstr(init.err, "killed by SIGKILL sent by ") && strstr(init.err, sender),
		      "%s", init.err);
}
END_TEST

START_TEST(orphans_are_waited_for)
{
	adopt();
	RUN(5, .options = LIST("--orphans=wait"),
	    .command = SHELL("(sleep 0.3; echo late >late) & exit 5"));
	ck_assert_msg(file_exists("late"), "it did not wait");
	RUN(5, .options = LIST("--orphans=wait", "-w"),
	    .command = SHELL("(sleep 0.3; echo late >late2) & exit 5"));
	ck_assert_msg(file_exists("late2"), "it did not wait");
	ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0);
}
END_TEST

START_TEST(orphans_are_left)
{
	pid_t left;

	adopt();
	RUN(5, .command = SHELL("sleep 600 & echo left $! >truth; exit 5")); /* without a wait */
	left = await_number("truth", "left");
	kill(left, SIGKILL);
	ck_assert_int_eq(await_exit(left), SIGKILL);
}
END_TEST

START_TEST(stubborn_orphans_are_killed)
{
	double start = now();

	adopt();
	RUN(5, .options = LIST("--orphans=kill", "--grace=1"),
	    .command = LIST(test_program("daemonize"), "--truth", "truth", "--delay", "600000",
			    "--ignore-term", "--exit", "5"));
	ck_assert_msg(now() - start > 0.9, "a grace of 1 s took %.1f s", now() - start);
	ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0);
	/* A grace that is waited for in vain is longer than our patience. */
	RUN(5, .options = LIST("--orphans=kill", "--grace=600"),
	    .command = SHELL("sleep 600 & exit 5"));
	ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0);
}
END_TEST

/* Who was told another signal before the end of the command is told TERM after it. */
START_TEST(orphans_that_heard_another_signal)
{
	struct init init = {
		.options = LIST("--forward=tree", "--orphans=kill", "--grace=600"),
		.command = SHELL("trap '' HUP; sleep 600 & echo ready $$ >truth;"
				 " while [ ! -e end ]; do sleep 0.02; done; exit 5"),
	};

	init_start(&init);
	await_number("truth", "ready");
	kill(init.pid, SIGHUP);
	sleep_ms(100);
	write_file("end", "");
	init_wait(&init); /* a grace in vain is longer than this */
	expect(&init, 5);
}
END_TEST

/* ---- descriptors ---- */

static int notify[2];

static void pass_notify(void)
{
	dup2(notify[1], 9); /* without close-on-exec */
}

/* Who waits for the end of a descriptor that the command closed does not wait for the init. */
START_TEST(inherited_descriptors_are_the_commands)
{
	struct init init = {
		.command = SHELL("echo up >&9; exec 9>&-; while [ ! -e end ]; do sleep 0.02; done"),
		.how.prepare = pass_notify,
	};
	struct pollfd pollfd;
	char text[8];

	ck_assert(!pipe2(notify, O_CLOEXEC));
	init_start(&init);
	close(notify[1]);
	ck_assert_int_eq(read(notify[0], text, sizeof(text)), 3);
	pollfd = (struct pollfd){ .fd = notify[0], .events = POLLIN };
	ck_assert_msg(poll(&pollfd, 1, (int)test_seconds(30000)) == 1 && pollfd.revents & POLLHUP,
		      "the init holds it open");
	write_file("end", "");
	init_wait(&init);
	expect(&init, 0);
}
END_TEST

static void name_socket(void)
{
	setenv("NOTIFY_SOCKET", "notify", 1);
}

/* systemd's readiness: the command finds the socket, and the init has no part in it. */
START_TEST(notify_socket_is_the_commands)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "notify" };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct init init = {
		.command = LIST(test_program("notify"), "READY=1"),
		.how.prepare = name_socket,
	};
	char text[64] = "";

	ck_assert(!bind(fd, (struct sockaddr *)&address, sizeof(address)));
	run_expecting(&init, 0);
	ck_assert_int_eq(recv(fd, text, sizeof(text), MSG_DONTWAIT), 7);
	ck_assert_str_eq(text, "READY=1");
	ck_assert_int_lt(recv(fd, text, sizeof(text), MSG_DONTWAIT), 0);
	close(fd);
}
END_TEST

/* ---- dialects ---- */

static void expect_text(const char *as, const char *option, int code, const char *text)
{
	struct init init = { .as = as, .options = LIST(option) };

	run_expecting(&init, code);
	ck_assert_msg(strstr(code ? init.err : init.out, text), "no '%s': %s%s", text, init.out,
		      init.err);
}

START_TEST(as_tini)
{
	struct init told = { .as = "tini", .options = LIST("-s", "-w") };
	struct init not_one = { .as = "tini", .command = SHELL("exit 0") };

	RUN(0, .as = "tini", .options = LIST("-s", "-e", "5"), .command = SHELL("exit 5"));
	RUN(0, .as = "docker-init", .options = LIST("-vvs", "-e5"), .command = SHELL("exit 5"));
	RUN(3, .as = "tini-static", .options = LIST("-sp", "SIGTERM"), .command = SHELL("exit 3"));
	expect_text("tini", "--version", 0, "tini version 0.19.0 (knell init ");
	expect_text("tini", "-e256", 125, "-e: ");
	expect_text("tini", "-pNONE", 125, "-p: ");
	expect_rewritten("tini", LIST("-s"), SIGTTIN, 0);
	expect_rewritten("tini", LIST("-s"), SIGTTOU, 0);
	RUN(0, .as = "tini", .options = LIST("-l"));
	RUN(0, .as = "tini", .options = LIST("-h"));
	RUN(125, .as = "tini", .options = LIST("--forward=tree"), .command = SHELL("exit 0"));
	told.command = SHELL("(sh -c 'echo $$ >orphan; exit 3' &); while [ ! -s orphan ] ||"
			     " kill -0 $(cat orphan) 2>/dev/null; do sleep 0.02; done");
	run_expecting(&told, 0);
	ck_assert_msg(strstr(told.err, "orphan "), "%s", told.err);
	run_expecting(&not_one, 0);
	ck_assert_msg(strstr(not_one.err, "TINI_SUBREAPER"), "%s", not_one.err);
	setenv("TINI_SUBREAPER", "", 1);
	run_expecting(&not_one, 0);
	ck_assert_msg(!*not_one.err, "%s", not_one.err);
	unsetenv("TINI_SUBREAPER");
	setenv("TINI_VERBOSITY", "0", 1);
	run_expecting(&not_one, 0);
	ck_assert_msg(!*not_one.err, "%s", not_one.err);
}
END_TEST

START_TEST(tini_group)
{
	expect_family(&(struct init){ .as = "tini", .options = LIST("-s") }, false, false);
	expect_family(&(struct init){ .as = "tini", .options = LIST("-sg") }, true, false);
	setenv("TINI_KILL_PROCESS_GROUP", "1", 1);
	expect_family(&(struct init){ .as = "tini", .options = LIST("-s") }, true, false);
}
END_TEST

static bool leads_session(const char *const options[])
{
	struct init init = {
		.as = "dumb-init",
		.options = options,
		.command = SHELL("read a b c d e f g </proc/$$/stat; echo $f $$"),
	};
	int session, pid;

	run_expecting(&init, 0);
	ck_assert_int_eq(sscanf(init.out, "%d %d", &session, &pid), 2); /* NOLINT: our own text */
	return session == pid;
}

START_TEST(as_dumb_init)
{
	struct init init = { .as = "dumb-init", .command = SHELL("exit 4") };

	expect_text("dumb-init", "--version", 0, "dumb-init v1.2.5 (knell init ");
	RUN(0, .as = "dumb-init", .options = LIST("-h"));
	RUN(125, .as = "dumb-init", .options = LIST("-s"), .command = SHELL("exit 0"));
	ck_assert(leads_session(NULL));
	ck_assert(!leads_session(LIST("-c")));
	ck_assert(!leads_session(LIST("--single-child")));
	expect_rewritten("dumb-init", LIST("-r", "15:10"), SIGTERM, 4);
	expect_rewritten("dumb-init", LIST("--rewrite=15:0"), SIGTERM, 0);
	setenv("DUMB_INIT_DEBUG", "1", 1);
	run_expecting(&init, 4);
	ck_assert_msg(strstr(init.err, "started"), "%s", init.err);
	setenv("DUMB_INIT_SETSID", "0", 1);
	ck_assert(!leads_session(NULL));
}
END_TEST

/* By default the whole session of the command hears of it, and of its end. */
START_TEST(dumb_init_group)
{
	expect_family(&(struct init){ .as = "dumb-init" }, true, false);
	expect_family(&(struct init){ .as = "dumb-init", .options = LIST("-c") }, false, false);
}
END_TEST

/* A signal that stops is for both, and so is the one that continues. */
START_TEST(dumb_init_stops)
{
	struct init init = {
		.as = "dumb-init",
		.command = SHELL("echo main $$ >truth; exec sleep 600"),
	};
	pid_t command;

	init_start(&init);
	command = await_number("truth", "main");
	for (int i = 0; i < 2; i++) {
		kill(init.pid, SIGTSTP);
		ck_assert(await_state(init.pid, "T"));
		ck_assert(await_state(command, "T"));
		kill(init.pid, SIGCONT);
		ck_assert(await_state(init.pid, "S"));
		ck_assert(await_state(command, "S"));
	}
	kill(init.pid, SIGTERM);
	init_wait(&init);
	expect(&init, 143);
}
END_TEST

START_TEST(as_catatonit)
{
	struct init pause = { .as = "catatonit", .options = LIST("-P") };

	RUN(4, .as = "catatonit", .command = SHELL("exit 4"));
	RUN(4, .as = "podman-init", .options = LIST("-g"), .command = SHELL("exit 4"));
	expect_text("catatonit", "-V", 0, "tini version 0.1.7_catatonit (knell init ");
	RUN(0, .as = "catatonit", .options = LIST("-L"));
	init_start(&pause);
	await_blocked(pause.pid, SIGTERM);
	kill(pause.pid, SIGTERM);
	init_wait(&pause);
	expect(&pause, 0);
	expect_family(&(struct init){ .as = "catatonit", .options = LIST("-g") }, true, false);
}
END_TEST

/* ---- PID 1 ---- */

static void expect_as_first(const char *const options[], const char *script, int code)
{
	RUN(code, .options = options, .command = SHELL(script), .how.prepare = become_first);
}

START_TEST(as_pid_1)
{
	need_first();
	expect_as_first(NULL, "[ $PPID = 1 ] && exit 6", 6);
	expect_as_first(LIST("-w"), "kill -KILL $$", 137);
	expect_as_first(NULL, "kill -TERM 1; sleep 600", 143);
	expect_as_first(LIST("--forward=tree"), "kill -TERM 1; sleep 600", 143);
	expect_as_first(NULL, "(sleep 600 &) ; sleep 0.1; exit 3", 3);
	expect_as_first(LIST("--orphans=kill"), "(sleep 600 &) ; exit 3", 3);
	expect_as_first(LIST("--orphans=wait"), "(sleep 0.2 &) ; exit 3", 3);
	/* More than once: the first may come before the stop. */
	expect_as_first(NULL, "while kill -CONT $$; do sleep 0.1; done & kill -STOP $$; exit 3", 3);
}
END_TEST

/* The numbers of a /proc of another pid namespace are those of others. */
START_TEST(proc_of_another_namespace)
{
	struct init init = {
		.options = LIST("--orphans=kill", "--grace=1"),
		.command = SHELL("sleep 600 & exit 3"),
		.how.prepare = become_first_blind,
	};

	need_first();
	run_expecting(&init, 3); /* it does not wait for the orphan, which it finds */
	/* Not even kill(-1) is there for this one: it says so, and ends. */
	init.how.prepare = become_blind;
	run_expecting(&init, 3);
	ck_assert_uint_eq(count_of(init.err, "/proc does not tell"), 1);
}
END_TEST

/* ---- job control, under a small shell of our own ---- */

static void become_foreground(pid_t pgid)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, &old);
	tcsetpgrp(STDIN_FILENO, pgid);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void say(const char *word, int number)
{
	int fd = open("job", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	dprintf(fd, "%s %d\n", word, number);
	close(fd);
}

static void be_shell(const char *const argv[])
{
	pid_t job = fork();
	int status;

	if (job == 0) {
		setpgid(0, 0);
		become_foreground(getpid());
		execv(argv[0], (char *const *)argv);
		_exit(198);
	}
	setpgid(job, job);
	say("started", job);
	for (;;) {
		if (waitpid(job, &status, WUNTRACED) != job)
			_exit(1);
		if (WIFEXITED(status) && tcgetpgrp(STDIN_FILENO) != job)
			say("taken", tcgetpgrp(STDIN_FILENO));
		become_foreground(getpgrp());
		if (!WIFSTOPPED(status))
			break;
		say("stopped", WSTOPSIG(status));
		while (!file_exists("fg"))
			sleep_ms(2);
		unlink("fg");
		become_foreground(job);
		kill(-job, SIGCONT);
		say("continued", job);
	}
	say("ended", status);
	_exit(0);
}

static int start_job(struct init *init, pid_t *ret_shell)
{
	struct winsize size = { .ws_row = 25, .ws_col = 80 };
	int fd;

	build_argv(init);
	*ret_shell = forkpty(&fd, NULL, NULL, &size);
	ck_assert_msg(*ret_shell >= 0, "forkpty: %s", strerror(errno));
	if (*ret_shell == 0)
		be_shell(init->argv);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	init->pid = await_number("job", "started");
	await_foreground(fd, getpgid(await_number("truth", "ready")));
	return fd;
}

static void type(int terminal, const char *keys)
{
	ck_assert_int_eq(write(terminal, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static void expect_job(pid_t shell, int code)
{
	ck_assert_int_eq(await_number("job", "ended"), W_EXITCODE(code, 0));
	ck_assert_int_eq(await_exit(shell), 0);
	/* The init gave the terminal back, though this shell would have taken it. */
	ck_assert(!strstr(read_file("job"), "taken"));
}

START_TEST(command_reads_the_terminal)
{
	struct init init = {
		.command = SHELL("echo ready $$ >truth; read line; echo \"$line\" >got; exit 3"),
	};
	pid_t shell;
	int terminal = start_job(&init, &shell);

	type(terminal, "hello\n");
	expect_job(shell, 3);
	ck_assert_str_eq(read_file("got"), "hello\n");
}
END_TEST

START_TEST(interrupt_key)
{
	struct init init = {
		.command = SHELL("trap 'echo INT >>got' INT; echo ready $$ >truth;"
				 " while [ ! -e end ]; do sleep 0.02; done; exit 3"),
	};
	pid_t shell;
	int terminal = start_job(&init, &shell);

	type(terminal, "\003");
	await_text("got", "INT\n");
	sleep_ms(100);
	write_file("end", "");
	expect_job(shell, 3);
	ck_assert_str_eq(read_file("got"), "INT\n"); /* once */
}
END_TEST

static void stop_and_continue(const char *as, const char *const options[], int signo)
{
	struct init init = {
		.as = as,
		.options = options,
		.command = SHELL("echo ready $$ >truth; exec sleep 600"),
	};
	pid_t shell, victim;
	int terminal = start_job(&init, &shell);

	victim = await_number("truth", "ready");
	for (int i = 0; i < 2; i++) {
		type(terminal, "\032");
		ck_assert_int_eq(await_number("job", "stopped"), signo);
		ck_assert(await_state(victim, "T"));
		ck_assert(await_state(init.pid, "T"));
		unlink("job");
		write_file("fg", "");
		await_number("job", "continued");
		ck_assert_msg(await_state(victim, "S"), "the command is in state '%c'",
			      shown_state(victim));
		await_foreground(terminal, getpgid(victim));
	}
	unlink("job");
	type(terminal, "\003");
	expect_job(shell, 130);
}

START_TEST(stop_key)
{
	stop_and_continue(NULL, NULL, SIGTSTP);
}
END_TEST

START_TEST(stop_key_while_reaping)
{
	stop_and_continue(NULL, LIST("-w"), SIGTSTP);
}
END_TEST

/* The kernel sends it to both: it is not passed on, but the init stops. */
START_TEST(stop_key_of_dumb_init)
{
	stop_and_continue("dumb-init", LIST("-c"), SIGSTOP);
}
END_TEST

static int wakeups(pid_t pid)
{
	static const char field[] = "\nvoluntary_ctxt_switches:";
	char path[64], *text, *found;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	text = read_file(path);
	ck_assert(text != NULL);
	found = strstr(text, field);
	return found ? (int)strtol(found + strlen(field), NULL, 10) : -1;
}

/* The deaths of orphans do not wake it for ever, nor does it follow a STOP: who would continue it?
 */
START_TEST(only_the_terminal_stops_us)
{
	struct init init = {
		.command = SHELL("(sleep 0.02 &); sleep 0.1; echo ready $$ >truth; exec sleep 600"),
	};
	pid_t shell, victim;
	int before;

	start_job(&init, &shell);
	victim = await_number("truth", "ready");
	before = wakeups(init.pid);
	sleep_ms(500);
	ck_assert_int_lt(wakeups(init.pid) - before, 20);
	kill(victim, SIGSTOP);
	ck_assert(await_state(victim, "T"));
	sleep_ms(100);
	ck_assert(await_state(init.pid, "S"));
	kill(victim, SIGCONT);
	ck_assert(await_state(victim, "S"));
	kill(init.pid, SIGTERM);
	expect_job(shell, 128 + SIGTERM);
}
END_TEST

/* ---- the static program ---- */

START_TEST(static_size)
{
	struct stat st;

	if (!static_init())
		test_skip("for knell-init-static only");
	ck_assert(!stat(static_init(), &st));
	ck_assert_msg(st.st_size <= LARGEST_STATIC, "it has %lld bytes, more than %d",
		      (long long)st.st_size, LARGEST_STATIC);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "init", 60);

	tcase_add_test(tcase, exit_statuses);
	tcase_add_test(tcase, failures);
	tcase_add_test(tcase, output_is_lost);
	tcase_add_test(tcase, mapped_exits);
	tcase_add_test(tcase, status_file);
	tcase_add_test(tcase, status_file_behind_a_link);
	tcase_add_test(tcase, status_file_is_a_fifo);
	tcase_add_test(tcase, status_file_is_a_device);
	tcase_add_test(tcase, status_file_is_a_standard_one);
	tcase_add_test(tcase, status_file_leaves_nothing_behind);
	tcase_add_test(tcase, forward_to_child);
	tcase_add_test(tcase, forward_to_group);
	tcase_add_test(tcase, forward_to_tree);
	tcase_add_test(tcase, tree_that_loses_its_root);
	tcase_add_test(tcase, rewritten_signals);
	tcase_add_test(tcase, real_time_signals);
	tcase_add_test(tcase, parent_death);
	tcase_add_test(tcase, children_ignored_on_entry);
	tcase_add_test(tcase, orphans_are_reaped_soon);
	tcase_add_test(tcase, orphans_are_logged);
	tcase_add_test(tcase, causes_are_logged);
	tcase_add_test(tcase, orphans_are_waited_for);
	tcase_add_test(tcase, orphans_are_left);
	tcase_add_test(tcase, stubborn_orphans_are_killed);
	tcase_add_test(tcase, orphans_that_heard_another_signal);
	tcase_add_test(tcase, inherited_descriptors_are_the_commands);
	tcase_add_test(tcase, notify_socket_is_the_commands);
	tcase_add_test(tcase, as_tini);
	tcase_add_test(tcase, tini_group);
	tcase_add_test(tcase, as_dumb_init);
	tcase_add_test(tcase, dumb_init_group);
	tcase_add_test(tcase, dumb_init_stops);
	tcase_add_test(tcase, as_catatonit);
	tcase_add_test(tcase, as_pid_1);
	tcase_add_test(tcase, proc_of_another_namespace);
	tcase_add_test(tcase, command_reads_the_terminal);
	tcase_add_test(tcase, interrupt_key);
	tcase_add_test(tcase, stop_key);
	tcase_add_test(tcase, stop_key_while_reaping);
	tcase_add_test(tcase, stop_key_of_dumb_init);
	tcase_add_test(tcase, only_the_terminal_stops_us);
	tcase_add_test(tcase, static_size);
	add_peer_tests(suite);
}
