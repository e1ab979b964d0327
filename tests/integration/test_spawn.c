/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_spawn.c - knell_spawn() with real programs: every death told once with its status, and the
 * application sees nothing of it; attributes; errors that leave nothing behind. Helpers and reapers
 * are in spawn_helpers.c. Most run twice: where the kernel reaps by itself (if it can), and where
 * the nursery waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <knell/knell.h>

#include "cgroups.h"
#include "spawning.h"

const char test_suite_name[] = "spawn";

/* ---- deaths ---- */

START_TEST(deaths_are_told)
{
	static const struct {
		const char *script;
		int status;
	} lives[] = {
		{ "exit 0", 0 },
		{ "exit 7", 7 << 8 },
		{ "exit 255", 255 << 8 },
		{ "kill -KILL $$", SIGKILL },
		{ "kill -TERM $$", SIGTERM },
		{ "ulimit -c 0; kill -SEGV $$", SIGSEGV },
	};
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_nursery_stats stats;

	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		struct knell_spawn_options o = { 0 };
		uint32_t word = 0;

		o.word = &word;
		ck_assert_int_eq(run_shell(nursery, &o, lives[i].script), lives[i].status);
		await_word(&word);
		ck_assert_uint_eq(word, KNELL_WORD_DEAD | (uint32_t)lives[i].status);
	}
	knell_nursery_get_stats(nursery, &stats);
	ck_assert_uint_eq(stats.spawned, 6);
	ck_assert_uint_eq(stats.by_kernel + stats.by_wait, 6);
	ck_assert(_i == 0 || stats.by_wait == 6);
	ck_assert_uint_eq(stats.unknown + stats.failed + stats.children, 0);
	knell_nursery_close(nursery);
}
END_TEST

static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
	(void)signo;
	signals++;
}

START_TEST(application_sees_nothing)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { 0 };
	pid_t own, pid;
	int status;

	sigaction(SIGCHLD, &action, NULL);
	nursery = open_nursery(_i);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	errno = 0;
	ck_assert_int_eq(waitpid(-1, &status, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
	own = fork();
	if (own == 0)
		_exit(3);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	while ((pid = waitpid(-1, &status, 0)) < 0 && errno == EINTR)
		;
	ck_assert_int_eq(pid, own);
	ck_assert_int_eq(status, 3 << 8);
	ck_assert_int_eq(signals, 1);
	knell_nursery_close(nursery);
	ck_assert_int_eq(signals, 1);
}
END_TEST

START_TEST(many_threads)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct spawner spawners[8];
	pthread_t threads[8];
	unsigned int fds = count_entries("/proc/self/fd");

	for (unsigned int i = 0; i < 8; i++) {
		spawners[i] = (struct spawner){ .nursery = nursery,
						.count = test_scaled(300),
						.base = 25 * i };
		ck_assert_int_eq(pthread_create(&threads[i], NULL, spawn_many, &spawners[i]), 0);
	}
	for (unsigned int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	drain(nursery);
	for (unsigned int i = 0; i < 8; i++) {
		ck_assert_uint_eq(spawners[i].wrong, 0);
		ck_assert_uint_eq(spawners[i].heard, spawners[i].count);
	}
	knell_nursery_close(nursery);
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
}
END_TEST

static struct knell_nursery *chain_nursery;
static int chain_left;

static void spawn_next(const struct knell_death *death, void *userdata)
{
	struct knell_spawn_options o = { .size = sizeof(o), .fn = spawn_next };
	const char *const *argv = userdata;

	(void)death;
	if (chain_left-- <= 0)
		return;
	o.argv = (char *const *)(uintptr_t)argv;
	o.userdata = userdata;
	ck_assert_int_eq(knell_spawn(chain_nursery, NULL, &o), 0);
}

START_TEST(callbacks_may_spawn)
{
	const char *argv[] = { test_program("tiny"), NULL };
	struct knell_spawn_options o = { .size = sizeof(o), .fn = spawn_next };
	struct knell_nursery_stats stats;

	chain_nursery = open_nursery(_i);
	chain_left = 20;
	o.argv = (char *const *)(uintptr_t)argv;
	o.userdata = argv;
	ck_assert_int_eq(knell_spawn(chain_nursery, NULL, &o), 0);
	drain(chain_nursery);
	knell_nursery_get_stats(chain_nursery, &stats);
	ck_assert_uint_eq(stats.spawned, 21);
	knell_nursery_close(chain_nursery);
}
END_TEST

/* ---- attributes ---- */

START_TEST(identity_and_limits)
{
	struct knell_nursery *nursery = open_nursery(_i);
	static const gid_t groups[] = { 7, 8 };
	struct knell_spawn_rlimit limits[] = { { RLIMIT_NOFILE, { 50, 60 } } };
	struct knell_spawn_options o = {
		.flags = KNELL_SPAWN_SESSION | KNELL_SPAWN_NICE,
		.nice = 5,
		.rlimits = limits,
		.rlimit_count = 1,
		.directory = "/",
	};

	ck_assert_int_eq(run_shell(nursery, &o,
				   "[ $(cut -d' ' -f19 /proc/self/stat) = 5 ] && [ $(ulimit -n) = "
				   "50 ] && [ \"$PWD\" = / ] && "
				   "[ $(cut -d' ' -f6 /proc/self/stat) = $$ ]"),
			 0);
	if (geteuid() == 0) {
		o = (struct knell_spawn_options){
			.flags = KNELL_SPAWN_UID | KNELL_SPAWN_GID | KNELL_SPAWN_GROUPS,
			.uid = 65534,
			.gid = 65533,
			.groups = groups,
			.group_count = 2,
		};
		ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
		ck_assert_int_eq(run_shell(nursery, &o,
					   "[ $(id -u) = 65534 ] && [ $(id -g) = 65533 ] && "
					   "[ \"$(id -G)\" = '65533 7 8' ]"),
				 0);
		ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	}
	knell_nursery_close(nursery);
}
END_TEST

START_TEST(signals_are_as_they_were)
{
	struct sigaction handler = { .sa_handler = on_signal }, ignore = { .sa_handler = SIG_IGN };
	struct knell_spawn_options o = { 0 };
	struct knell_file_action out = { KNELL_FILE_OPEN, 1, 0, O_WRONLY | O_CREAT | O_TRUNC, 0644,
					 "state" };
	struct knell_nursery *nursery;
	sigset_t mask;
	char *text;

	sigaction(SIGUSR1, &handler, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	nursery = open_nursery(_i);
	o.actions = &out;
	o.action_count = 1;
	ck_assert_int_eq(run(nursery, &o, LIST(test_program("sigstate"))), 0);
	text = read_file("state");
	/* HUP is 1, USR2 12. */
	ck_assert_msg(strstr(text, "ignored 0000000000000001") != NULL, "%s", text);
	ck_assert_msg(strstr(text, "blocked 0000000000000800") != NULL, "%s", text);
	free(text);
	o.flags = KNELL_SPAWN_MASK | KNELL_SPAWN_DEFAULT;
	o.mask = KNELL_SIGNAL(SIGINT);
	o.defaults = KNELL_SIGNAL(SIGHUP);
	ck_assert_int_eq(run(nursery, &o, LIST(test_program("sigstate"))), 0);
	text = read_file("state");
	ck_assert_msg(strstr(text, "ignored 0000000000000000") != NULL, "%s", text);
	ck_assert_msg(strstr(text, "blocked 0000000000000002") != NULL, "%s", text);
	free(text);
	knell_nursery_close(nursery);
}
END_TEST

START_TEST(affinity)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { .flags = KNELL_SPAWN_CPUS };
	char script[200];
	cpu_set_t own, one;
	int cpu = 0;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(own), &own), 0);
	while (!CPU_ISSET(cpu, &own))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	o.cpus = &one;
	o.cpus_size = sizeof(one);
	snprintf(script, sizeof(script), "grep -qx 'Cpus_allowed_list:.%d' /proc/self/status", cpu);
	ck_assert_int_eq(run_shell(nursery, &o, script), 0);
	/* The helper is pinned; the child is where its caller may be. */
	snprintf(script, sizeof(script),
		 "[ \"$(grep Cpus_allowed: /proc/self/status)\" = "
		 "\"$(grep Cpus_allowed: /proc/%d/status)\" ]",
		 (int)getpid());
	o.flags = 0;
	ck_assert_int_eq(run_shell(nursery, &o, script), 0);
	knell_nursery_close(nursery);
}
END_TEST

START_TEST(files)
{
	struct knell_nursery *nursery = open_nursery(_i);
	int kept = open("/dev/null", O_RDONLY), shut = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct knell_file_action actions[] = {
		{ KNELL_FILE_OPEN, 1, 0, O_WRONLY | O_CREAT, 0600, "out" },
		{ KNELL_FILE_DUP, 2, 1, 0, 0, NULL },
		{ KNELL_FILE_DUP, 40, shut, 0, 0, NULL },
		{ KNELL_FILE_DUP, shut, shut, 0, 0, NULL },
		{ KNELL_FILE_CLOSE, kept, 0, 0, 0, NULL },
		{ KNELL_FILE_CLOSE, 99, 0, 0, 0, NULL },
		{ KNELL_FILE_CLOSE_FROM, 41, 0, 0, 0, NULL },
	};
	struct knell_spawn_options o = { .actions = actions, .action_count = 7 };
	char script[200], *text;

	snprintf(script, sizeof(script),
		 "echo out; echo err >&2; [ -e /proc/$$/fd/40 ] && [ -e /proc/$$/fd/%d ] && "
		 "[ ! -e /proc/$$/fd/%d ]",
		 shut, kept);
	ck_assert_int_eq(run_shell(nursery, &o, script), 0);
	text = read_file("out");
	ck_assert_str_eq(text, "out\nerr\n");
	free(text);
	knell_nursery_close(nursery);
	close(kept);
	close(shut);
}
END_TEST

static void expect_refusal(struct knell_nursery *nursery, struct knell_spawn_options o, int error,
			   const char *text)
{
	struct heard heard;

	ck_assert_int_eq(try_run(nursery, &o, LIST("/bin/true"), &heard), error);
	ck_assert_msg(strstr(knell_last_error(), text) != NULL, "'%s', not '%s'",
		      knell_last_error(), text);
}

#define REFUSED(error, text, ...)                                                                  \
	expect_refusal(nursery, (struct knell_spawn_options){ __VA_ARGS__ }, error, text)

/* What cannot be meant. */
START_TEST(malformed_wishes)
{
	struct knell_nursery *nursery = open_nursery(_i);
	static const struct knell_file_action bad[] = {
		{ KNELL_FILE_CLOSE, 99, 0, 0, 0, NULL },
		{ KNELL_FILE_OPEN, 5, 0, 0, 0, NULL },
	};

	REFUSED(-EINVAL, ".actions is", .action_count = 1);
	REFUSED(-EINVAL, "file action 1 is", .actions = bad, .action_count = 2);
	REFUSED(-EINVAL, ".rlimits is", .rlimit_count = 1);
	REFUSED(-EINVAL, ".groups is", .flags = KNELL_SPAWN_GROUPS, .group_count = 1);
	REFUSED(-EINVAL, ".cpus is", .flags = KNELL_SPAWN_CPUS, .cpus_size = 8);
	REFUSED(-EINVAL, "flags", .flags = 1u << 31);
	REFUSED(-EINVAL, "no uid or gid", .flags = KNELL_SPAWN_UID, .uid = (uid_t)-1);
	REFUSED(-EINVAL, "no uid or gid", .flags = KNELL_SPAWN_GID, .gid = (gid_t)-1);
	expect_refusal(NULL, (struct knell_spawn_options){ 0 }, -EINVAL, "no nursery");
	knell_nursery_close(nursery);
}
END_TEST

/* Each names the step that failed, not the program. */
START_TEST(wishes_that_fail)
{
	struct knell_nursery *nursery = open_nursery(_i);
	static const struct knell_file_action bad[] = {
		{ KNELL_FILE_CLOSE, 99, 0, 0, 0, NULL },
		{ KNELL_FILE_DUP, 5, 99, 0, 0, NULL },
	};
	static const struct knell_spawn_rlimit limits[] = { { .resource = 99 } };
	static const unsigned char none[8];

	REFUSED(-ENOENT, "directory '/nope': ", .directory = "/nope");
	REFUSED(-EBADF, "file action 1: ", .actions = bad, .action_count = 2);
	REFUSED(-EINVAL, "rlimits 0: ", .rlimits = limits, .rlimit_count = 1);
	REFUSED(-EINVAL, ": cpus: ", .flags = KNELL_SPAWN_CPUS, .cpus = none, .cpus_size = 8);
	REFUSED(-EBADF, "cgroup_fd: ", .flags = KNELL_SPAWN_CGROUP, .cgroup_fd = 99);
	REFUSED(-EINVAL, ": group: ", .flags = KNELL_SPAWN_GROUP, .group = -1);
	REFUSED(-ENOENT, "cannot run '/nope': ", .file = "/nope");
	knell_nursery_close(nursery);
}
END_TEST

START_TEST(path_is_searched)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { 0 };
	struct heard heard;

	ck_assert_int_eq(mkdir("a", 0755), 0);
	ck_assert_int_eq(mkdir("b", 0755), 0);
	write_file("a/prog", "#!/bin/sh\nexit 3\n"); /* may not be executed */
	write_file("b/prog", "#!/bin/sh\nexit 4\n");
	chmod("b/prog", 0755);
	setenv("PATH", "/nowhere:a:b:/usr/bin:/bin", 1);
	ck_assert_int_eq(run(nursery, &o, LIST("prog")), 4 << 8);
	setenv("PATH", "a:/usr/bin:/bin", 1);
	ck_assert_int_eq(try_run(nursery, &o, LIST("prog"), &heard), -EACCES);
	ck_assert_int_eq(try_run(nursery, &o, LIST("no-such-program"), &heard), -ENOENT);
	o.file = "prog"; /* not looked for */
	ck_assert_int_eq(try_run(nursery, &o, LIST("prog"), &heard), -ENOENT);
	ck_assert_int_eq(heard.times, 0);
	knell_nursery_close(nursery);
}
END_TEST

START_TEST(parent_death)
{
	char *text;
	pid_t child, pid;

	/* An application of its own, which is killed. */
	pid = fork();
	if (pid == 0) {
		struct knell_nursery *nursery = open_nursery(_i);
		struct knell_spawn_options o = { .size = sizeof(o), .parent_death = SIGTERM };
		const char *argv[] = { "sleep", "600", NULL };

		o.argv = (char *const *)(uintptr_t)argv;
		if (knell_spawn(nursery, &child, &o) < 0)
			_exit(1);
		{
			char number[16];

			snprintf(number, sizeof(number), "%d\n", (int)child);
			write_file("pid.new", number);
			rename("pid.new", "pid");
		}
		pause();
	}
	for (double end = now() + test_seconds(DRAIN_S); !file_exists("pid"); sleep_ms(5))
		ck_assert(now() < end);
	text = read_file("pid");
	child = (pid_t)atoi(text);
	free(text);
	ck_assert_int_gt(child, 0);
	kill(pid, SIGKILL);
	await_exit(pid);
	for (double end = now() + test_seconds(DRAIN_S);
	     shown_state(child) != '-' && shown_state(child) != 'Z'; sleep_ms(5))
		ck_assert_msg(now() < end, "the child outlives its application");
}
END_TEST

/* ---- errors ---- */

START_TEST(errors_leave_nothing)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { 0 };
	struct knell_file_action bad = { KNELL_FILE_DUP, 5, 900, 0, 0, NULL };
	struct knell_nursery_stats stats;
	char *huge = grow(NULL, (4u << 20) + 1);
	struct heard heard;
	unsigned int fds;
	int cpus[2];

	two_cpus(cpus);
	move_to(cpus[0]); /* another home would need descriptors of its own */
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	fds = count_entries("/proc/self/fd");
	memset(huge, 'x', 4u << 20);
	huge[4u << 20] = 0;
	ck_assert_int_eq(try_run(nursery, &o, LIST("/nonexistent"), &heard), -ENOENT);
	ck_assert_int_eq(try_run(nursery, &o, LIST("/etc/passwd"), &heard), -EACCES);
	ck_assert_int_eq(try_run(nursery, &o, LIST("/"), &heard), -EACCES);
	ck_assert_int_eq(try_run(nursery, &o, LIST("true", huge), &heard), -E2BIG);
	o.directory = "/nonexistent";
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), -ENOENT);
	o.directory = NULL;
	o.actions = &bad;
	o.action_count = 1;
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), -EBADF);
	o.action_count = 0;
	o.flags = 1u << 31;
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), -EINVAL);
	o.flags = 0;
	ck_assert_int_eq(heard.times, 0);

	knell_nursery_get_stats(nursery, &stats);
	ck_assert_uint_eq(stats.spawned, 1);
	ck_assert_uint_eq(stats.failed, 6);
	ck_assert_uint_eq(stats.children, 0);
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	knell_nursery_close(nursery);
	free(huge);
}
END_TEST

/* Who may raise limits needs no number of the application's own; others need one for each child. */
START_TEST(no_more_files)
{
	struct rlimit few;
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { 0 };
	struct heard heard;
	int cpus[2];

	two_cpus(cpus);
	move_to(cpus[0]); /* another home would need descriptors of its own */
	if (geteuid() == 0) {
		ck_assert_int_eq(setresgid(65534, 65534, 65534), 0);
		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	}
	nursery = open_nursery(_i);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	few.rlim_cur = few.rlim_max = (rlim_t)dup(0); /* the next one that is free */
	close((int)few.rlim_cur);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), -EMFILE);
	ck_assert_int_eq(heard.times, 0);
	knell_nursery_close(nursery);
}
END_TEST

/* What the child may open is what the application may, and it has none of the pidfds. */
START_TEST(limits_and_pidfds)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { 0 };
	struct heard live[10];
	struct rlimit limit;
	char script[200];

	getrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(try_run(nursery, &o, LIST("sleep", "0.5"), &live[i]), 0);
	snprintf(script, sizeof(script),
		 "[ $(ulimit -Sn) = %llu ] && [ $(ulimit -Hn) = %llu ] && "
		 "! ls -l /proc/self/fd | grep -q pidfd",
		 (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	ck_assert_int_eq(run_shell(nursery, &o, script), 0);
	knell_nursery_close(nursery);
}
END_TEST

/* Opens until a descriptor is at least this, and returns it; the last one alone is inherited. */
static int open_up_to(int least)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
	} while (fd < least);
	fcntl(fd, F_SETFD, 0);
	return fd;
}

/* The application comes to where pidfds are or were, for no limit leaves room above its own. */
START_TEST(pidfds_among_the_applications)
{
	enum {
		LIVE = 20,
		FIRST = 256 /* half of the limit */
	};
	struct rlimit few = { 2 * (rlim_t)FIRST, 2 * (rlim_t)FIRST };
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { 0 };
	struct heard live[LIVE];
	int cpus[2], gate, between, above, low;
	char script[200];

	two_cpus(cpus);
	move_to(cpus[0]);
	ck_assert_int_eq(mkfifo("gate", 0666), 0);
	gate = open("gate", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(gate, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(setresgid(65534, 65534, 65534), 0);
		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	}
	nursery = open_nursery(_i);
	low = open("/dev/null", O_RDONLY | O_CLOEXEC);
	/* One of the application's, where the fifth would be. */
	ck_assert_int_eq(dup2(low, FIRST + 4), FIRST + 4);
	for (int i = 0; i < LIVE; i++) {
		/* Each lives until there is a line for it. */
		ck_assert_int_eq(
			try_run(nursery, &o, LIST("sh", "-c", "read line <gate"), &live[i]), 0);
	}
	above = open_up_to(FIRST + LIVE);
	close(low); /* the next pidfd's own number is below */
	snprintf(script, sizeof(script),
		 "[ -e /proc/$$/fd/%d ] && [ -e /proc/$$/fd/%d ] && "
		 "! ls -l /proc/$$/fd | grep -q pidfd",
		 FIRST + 4, above);
	ck_assert_int_eq(try_run(nursery, &o, LIST("sh", "-c", script), &live[0]), 0);
	for (int i = 0; i < LIVE; i++)
		ck_assert_int_eq(write(gate, "\n", 1), 1);
	drain(nursery);
	ck_assert_int_eq(live[0].death.status, 0);
	/* Where they were. */
	between = open_up_to(FIRST + 10);
	close(gate);
	snprintf(script, sizeof(script), "[ -e /proc/$$/fd/%d ] && [ -e /proc/$$/fd/%d ]", between,
		 above);
	ck_assert_int_eq(run_shell(nursery, &o, script), 0);
	knell_nursery_close(nursery);
}
END_TEST

START_TEST(no_more_processes)
{
	struct rlimit none = { 1, 1 };
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { 0 };
	struct heard heard;

	if (geteuid() != 0)
		test_skip("needs another user's process limit, and so root");
	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		ck_abort_msg("cannot become nobody: %s", strerror(errno));
	nursery = open_nursery(_i);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	setrlimit(RLIMIT_NPROC, &none);
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), -EAGAIN);
	ck_assert_int_eq(heard.times, 0);
	knell_nursery_close(nursery);
	nursery = open_nursery(_i); /* now not even its threads can be */
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), -EAGAIN);
	knell_nursery_close(nursery);
}
END_TEST

#define PID_MAX "/proc/sys/kernel/pid_max"

/* Every number is taken. Only in a machine that is ours alone. */
START_TEST(no_more_pids)
{
	enum {
		LEFT = 40
	};
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { 0 };
	static struct heard live[400];
	unsigned int n = 0;
	char *before;
	int r = 0, gate;

	if (!getenv("KNELL_VM"))
		test_skip("pids are used up in the virtual machine only (make vm-check)");
	before = read_file(PID_MAX);
	nursery = open_nursery(_i);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	/* Each lives until there is a line for it. */
	ck_assert_int_eq(mkfifo("gate", 0600), 0);
	gate = open("gate", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(gate, 0);
	write_file(PID_MAX, "600"); /* the first 300 are given to nobody, once all were used */
	while (r == 0 && n < 400) {
		r = try_run(nursery, &o, LIST("sh", "-c", "read line <gate"), &live[n]);
		n += r == 0;
	}
	write_file(PID_MAX, before);
	free(before);
	ck_assert_int_eq(r, -EAGAIN);
	for (unsigned int i = 0; i < n; i++)
		ck_assert_int_eq(write(gate, "\n", 1), 1);
	drain(nursery);
	close(gate);
	for (unsigned int i = 0; i < n; i++)
		ck_assert_int_eq(live[i].times, 1);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	knell_nursery_close(nursery);
}
END_TEST

START_TEST(born_in_a_cgroup)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { .flags = KNELL_SPAWN_CGROUP };
	struct cgroup cgroup;
	const char *refusal = cgroup_with_kill(&cgroup);
	char script[700];
	const char *name;
	struct heard heard;
	int pids;

	if (refusal)
		test_skip("%s", refusal);
	o.cgroup_fd = open(cgroup.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(o.cgroup_fd, 0);
	name = strrchr(cgroup.dir, '/');
	snprintf(script, sizeof(script), "grep -q '%s$' /proc/self/cgroup", name);
	ck_assert_int_eq(run_shell(nursery, &o, script), 0);
	close(o.cgroup_fd);
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), -EBADF);
	pids = cgroup_write(&cgroup, "pids.max", "0");
	if (pids) {
		o.cgroup_fd = open(cgroup.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), -EAGAIN);
		close(o.cgroup_fd);
	}
	knell_nursery_close(nursery);
	cgroup_remove(&cgroup);
}
END_TEST

START_TEST(options_are_checked)
{
	struct knell_nursery_options options = { .size = sizeof(options), .flags = 8 };
	struct {
		struct knell_nursery_options known;
		unsigned long newer;
	} newer = { .known = { .size = sizeof(newer) }, .newer = 1 };
	struct knell_nursery *nursery = NULL;

	ck_assert_int_eq(knell_nursery_open(&nursery, &options), -EINVAL);
	options = (struct knell_nursery_options){ 0 };
	ck_assert_int_eq(knell_nursery_open(&nursery, &options), -EINVAL);
	ck_assert_int_eq(knell_nursery_open(&nursery, &newer.known), -E2BIG);
	ck_assert(nursery == NULL);
	ck_assert(knell_nursery_close(NULL) == NULL);
	/* One that never had a child. */
	ck_assert_int_eq(knell_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(knell_nursery_drain(nursery, 0), 0);
	ck_assert(knell_nursery_close(nursery) == NULL);
}
END_TEST

START_TEST(forked_child_may_not_spawn)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { 0 };
	struct heard heard;
	pid_t pid;

	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	pid = fork();
	if (pid == 0) {
		int r = try_run(nursery, &o, LIST("true"), &heard);

		knell_nursery_close(nursery);
		_exit(r == -EPERM ? 0 : 1);
	}
	ck_assert_int_eq(await_exit(pid), 0);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	knell_nursery_close(nursery);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "spawn", 60);

	tcase_add_loop_test(tcase, deaths_are_told, 0, MODES);
	tcase_add_loop_test(tcase, application_sees_nothing, 0, MODES);
	tcase_add_loop_test(tcase, many_threads, 0, MODES);
	tcase_add_loop_test(tcase, callbacks_may_spawn, 0, MODES);
	tcase = test_case(suite, "attributes", 60);
	tcase_add_loop_test(tcase, identity_and_limits, 0, MODES);
	tcase_add_loop_test(tcase, signals_are_as_they_were, 0, MODES);
	tcase_add_loop_test(tcase, affinity, 0, MODES);
	tcase_add_loop_test(tcase, files, 0, MODES);
	tcase_add_loop_test(tcase, path_is_searched, 0, MODES);
	tcase_add_loop_test(tcase, malformed_wishes, 0, MODES);
	tcase_add_loop_test(tcase, wishes_that_fail, 0, MODES);
	tcase_add_loop_test(tcase, parent_death, 0, MODES);
	tcase_add_loop_test(tcase, born_in_a_cgroup, 0, MODES);
	tcase = test_case(suite, "errors", 60);
	tcase_add_loop_test(tcase, errors_leave_nothing, 0, MODES);
	tcase_add_loop_test(tcase, no_more_files, 0, MODES);
	tcase_add_loop_test(tcase, limits_and_pidfds, 0, MODES);
	tcase_add_loop_test(tcase, pidfds_among_the_applications, 0, MODES);
	tcase_add_loop_test(tcase, no_more_processes, 0, MODES);
	tcase_add_loop_test(tcase, no_more_pids, 0, MODES);
	tcase_add_loop_test(tcase, forked_child_may_not_spawn, 0, MODES);
	tcase_add_test(tcase, options_are_checked);
	add_helper_tests(suite);
}
