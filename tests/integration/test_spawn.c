/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_spawn.c - knell_spawn() with real programs: every death told once with its status, and the
 * application sees nothing of it; attributes; errors that leave nothing behind; reapers that run
 * where they belong; helpers that are killed. Most run twice: where the kernel reaps by itself (if
 * it can), and where the nursery waits.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/futex.h>
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
#include <knell/spawn.h>

#include "cgroups.h"
#include "support.h"

const char test_suite_name[] = "spawn";

#define MODES   2
#define DRAIN_S 30

static unsigned int entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;

	ck_assert(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* A thread that was joined may be seen for a moment. */
static void expect_threads(unsigned int most)
{
	double end = now() + test_seconds(5);

	while (entries("/proc/self/task") > most) {
		ck_assert_msg(now() < end, "a thread is left behind");
		sleep_ms(5);
	}
}

static int troubles;

static void on_trouble(const char *what, void *userdata)
{
	(void)what;
	(void)userdata;
	__atomic_add_fetch(&troubles, 1, __ATOMIC_SEQ_CST);
}

static struct knell_nursery *open_nursery(int mode)
{
	struct knell_nursery_options options = {
		.size = sizeof(options),
		.flags = mode ? KNELL_NURSERY_WAIT : 0,
		.trouble = on_trouble,
	};
	struct knell_nursery *nursery = NULL;

	ck_assert_msg(knell_nursery_open(&nursery, &options) == 0, "%s", knell_last_error());
	return nursery;
}

static void drain(struct knell_nursery *nursery)
{
	ck_assert_int_eq(knell_nursery_drain(nursery, (int)test_seconds(DRAIN_S) * 1000), 0);
}

/* What a callback heard. */
struct heard {
	int times;
	struct knell_death death;
	int cpu;
	bool all_blocked;
};

static void on_death(const struct knell_death *death, void *userdata)
{
	struct heard *heard = userdata;
	sigset_t mask;

	heard->death = *death;
	heard->cpu = sched_getcpu();
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	heard->all_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
	__atomic_add_fetch(&heard->times, 1, __ATOMIC_SEQ_CST);
}

static int try_run(struct knell_nursery *nursery, struct knell_spawn_options *o,
		   const char *const argv[], struct heard *heard)
{
	memset(heard, 0, sizeof(*heard));
	o->size = sizeof(*o);
	o->argv = (char *const *)(uintptr_t)argv;
	o->fn = on_death;
	o->userdata = heard;
	return knell_spawn(nursery, NULL, o);
}

/* Runs it to its end; returns the status. */
static int run(struct knell_nursery *nursery, struct knell_spawn_options *o,
	       const char *const argv[])
{
	struct heard heard;
	int r = try_run(nursery, o, argv, &heard);

	ck_assert_msg(r == 0, "%s: %s", argv[0], knell_last_error());
	drain(nursery);
	ck_assert_int_eq(heard.times, 1);
	ck_assert_uint_eq(heard.death.flags, 0);
	return heard.death.status;
}

static int run_shell(struct knell_nursery *nursery, struct knell_spawn_options *o,
		     const char *script)
{
	return run(nursery, o, LIST("sh", "-c", script));
}

static void await_word(uint32_t *word)
{
	double end = now() + test_seconds(DRAIN_S);
	const struct timespec second = { .tv_sec = 1 };

	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE)) {
		ck_assert_msg(now() < end, "the word is not set");
		syscall(SYS_futex, word, FUTEX_WAIT, 0, &second, NULL, 0);
	}
}

static int two_cpus(int ret[2])
{
	cpu_set_t own;
	int n = 0;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(own), &own), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++) {
		if (CPU_ISSET(cpu, &own))
			ret[n++] = cpu;
	}
	return n;
}

static void move_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

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

/* From many threads, each child with a status of its own. */
struct spawner {
	struct knell_nursery *nursery;
	unsigned int count, base;
	const bool *stop;
	unsigned int wrong, heard;
};

struct expected {
	struct spawner *spawner;
	int status;
};

static void on_expected(const struct knell_death *death, void *userdata)
{
	struct expected *expected = userdata;

	if (death->status != expected->status || death->flags)
		__atomic_add_fetch(&expected->spawner->wrong, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&expected->spawner->heard, 1, __ATOMIC_SEQ_CST);
	free(expected);
}

static void *spawn_many(void *arg)
{
	struct spawner *me = arg;
	char code[8];
	const char *argv[] = { test_program("tiny"), code, NULL };

	for (unsigned int i = 0; i < me->count; i++) {
		struct expected *expected = grow(NULL, sizeof(*expected));
		struct knell_spawn_options o = {
			.size = sizeof(o),
			.argv = (char *const *)(uintptr_t)argv,
			.fn = on_expected,
			.userdata = expected,
		};

		snprintf(code, sizeof(code), "%u", (me->base + i) % 200);
		expected->spawner = me;
		expected->status = (int)((me->base + i) % 200) << 8;
		if (knell_spawn(me->nursery, NULL, &o) < 0) {
			__atomic_add_fetch(&me->wrong, 1, __ATOMIC_SEQ_CST);
			free(expected);
		}
	}
	return NULL;
}

START_TEST(many_threads)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct spawner spawners[8];
	pthread_t threads[8];
	unsigned int fds = entries("/proc/self/fd");

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
	ck_assert_uint_eq(entries("/proc/self/fd"), fds);
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
	for (double end = now() + test_seconds(10); !file_exists("pid"); sleep_ms(5))
		ck_assert(now() < end);
	text = read_file("pid");
	child = (pid_t)atoi(text);
	free(text);
	ck_assert_int_gt(child, 0);
	kill(pid, SIGKILL);
	await_exit(pid);
	for (double end = now() + test_seconds(10);
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
	fds = entries("/proc/self/fd");
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
	ck_assert_uint_eq(entries("/proc/self/fd"), fds);
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
	int r = 0;

	if (!getenv("KNELL_VM"))
		test_skip("pids are used up in the virtual machine only (make vm-check)");
	before = read_file(PID_MAX);
	nursery = open_nursery(_i);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	write_file(PID_MAX, "600"); /* the first 300 are given to nobody, once all were used */
	while (r == 0 && n < 400) {
		r = try_run(nursery, &o, LIST("sleep", "2"), &live[n]);
		n += r == 0;
	}
	write_file(PID_MAX, before);
	free(before);
	ck_assert_int_eq(r, -EAGAIN);
	drain(nursery);
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

/* ---- helpers and reapers ---- */

/* A child of ours with this name: the helper. 0: none. */
static pid_t find_helper(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (!found && (entry = readdir(dir)) != NULL) {
		char path[300], *text;
		int pid, ppid;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !(text = read_file(path)))
			continue;
		if (sscanf(text, "%d (knell-nursery) %*c %d", &pid, &ppid) == 2 && ppid == getpid())
			found = pid;
		free(text);
	}
	closedir(dir);
	return found;
}

START_TEST(helper_is_killed)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { 0 };
	struct knell_nursery_stats stats;
	struct heard heard, later;
	double end = now() + test_seconds(10);
	pid_t helper;

	ck_assert_int_eq(try_run(nursery, &o, LIST("sleep", "0.3"), &heard), 0);
	helper = find_helper();
	ck_assert_int_gt(helper, 0);
	kill(helper, SIGKILL);
	while (!__atomic_load_n(&troubles, __ATOMIC_SEQ_CST)) {
		ck_assert(now() < end);
		sleep_ms(1);
	}
	ck_assert_int_eq(try_run(nursery, &o, LIST("sh", "-c", "exit 5"), &later), 0);
	drain(nursery);
	ck_assert_int_eq(later.death.status, 5 << 8);
	/* The orphan's death is told all the same; its status where the kernel keeps it. */
	ck_assert_int_eq(heard.times, 1);
	ck_assert_int_eq(heard.death.status, 0);
	knell_nursery_get_stats(nursery, &stats);
	ck_assert_int_eq(troubles, 1);
	knell_nursery_close(nursery);
	ck_assert_int_eq(find_helper(), 0);
}
END_TEST

/* Killed at any moment, also while it makes a child: each spawn that succeeded is told once. */
static void *kill_helpers(void *arg)
{
	bool *stop = arg;

	while (!__atomic_load_n(stop, __ATOMIC_SEQ_CST)) {
		pid_t helper = find_helper();

		if (helper)
			kill(helper, SIGKILL);
		sleep_ms(3);
	}
	return NULL;
}

static void count_death(const struct knell_death *death, void *userdata)
{
	unsigned int *deaths = userdata;

	(void)death;
	__atomic_add_fetch(deaths, 1, __ATOMIC_SEQ_CST);
}

START_TEST(helpers_are_killed_all_the_time)
{
	struct knell_nursery *nursery = open_nursery(_i);
	const char *argv[] = { test_program("tiny"), NULL };
	unsigned int deaths = 0, spawned = 0, n = test_scaled(300);
	struct knell_spawn_options o = { .size = sizeof(o),
					 .fn = count_death,
					 .userdata = &deaths };
	unsigned int fds = entries("/proc/self/fd");
	bool stop = false;
	pthread_t killer;

	o.argv = (char *const *)(uintptr_t)argv;
	ck_assert_int_eq(pthread_create(&killer, NULL, kill_helpers, &stop), 0);
	for (unsigned int i = 0; i < n || !__atomic_load_n(&troubles, __ATOMIC_SEQ_CST); i++) {
		int r = knell_spawn(nursery, NULL, &o);

		ck_assert_msg(r == 0 || r == -EAGAIN, "%s", knell_last_error());
		spawned += r == 0;
	}
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	pthread_join(killer, NULL);
	drain(nursery);
	ck_assert_uint_eq(deaths, spawned);
	ck_assert_uint_gt(spawned, n / 2);
	ck_assert_int_gt(__atomic_load_n(&troubles, __ATOMIC_SEQ_CST), 0);
	knell_nursery_close(nursery);
	ck_assert_uint_eq(entries("/proc/self/fd"), fds);
}
END_TEST

/* Who gives up his rights: no child has them any more. */
START_TEST(identity_is_followed)
{
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { 0 };
	struct knell_nursery_stats stats;
	struct heard old;
	int cpus[2];

	if (geteuid() != 0)
		test_skip("needs rights to give up, and so root");
	two_cpus(cpus);
	move_to(cpus[0]);
	nursery = open_nursery(_i);
	ck_assert_int_eq(try_run(nursery, &o, LIST("sh", "-c", "sleep 0.2; exit 6"), &old), 0);
	ck_assert_int_eq(setresgid(65534, 65534, 65534), 0);
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	ck_assert_int_eq(run_shell(nursery, &o,
				   "[ $(id -u) = 65534 ] && grep -q 'CapEff:.0000000000000000' "
				   "/proc/self/status"),
			 0);
	/* The older child keeps its parent, and its status. */
	ck_assert_int_eq(old.times, 1);
	ck_assert_int_eq(old.death.status, 6 << 8);
	knell_nursery_get_stats(nursery, &stats);
	ck_assert_uint_ge(stats.replaced, 1);
	knell_nursery_close(nursery);
}
END_TEST

/* How many helpers of ours have this effective user id. */
static unsigned int helpers_of(uid_t uid)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	unsigned int n = 0;

	while ((entry = readdir(dir)) != NULL) {
		char path[300], *text, *line;
		unsigned int real, effective;

		snprintf(path, sizeof(path), "/proc/%s/status", entry->d_name);
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !(text = read_file(path)))
			continue;
		line = strstr(text, "\nPPid:");
		if (strncmp(text, "Name:\tknell-nursery", 19) == 0 && line &&
		    atoi(line + 6) == getpid() && (line = strstr(text, "\nUid:")) != NULL &&
		    sscanf(line, "\nUid: %u %u", &real, &effective) == 2 && effective == uid)
			n++;
		free(text);
	}
	closedir(dir);
	return n;
}

/* Nor does a helper stay that has them, in memory that anybody may write to who takes us over. */
START_TEST(no_helper_keeps_rights)
{
	static const gid_t groups[] = { 7, 8 };
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { 0 };
	struct heard heard;
	int cpus[2];

	if (geteuid() != 0)
		test_skip("needs rights to give up, and so root");
	if (two_cpus(cpus) < 2)
		test_skip("needs two CPUs");
	ck_assert_int_eq(setgroups(2, groups), 0);
	nursery = open_nursery(_i);
	for (int i = 1; i >= 0; i--) {
		move_to(cpus[i]);
		ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), 0);
		drain(nursery);
	}
	ck_assert_uint_eq(helpers_of(0), 2);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(run_shell(nursery, &o, "[ \"$(id -G)\" = 0 ]"), 0);
	ck_assert_int_eq(setresgid(65534, 65534, 65534), 0);
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	ck_assert_uint_eq(helpers_of(0), 0);
	ck_assert_uint_eq(helpers_of(65534), 1);
	knell_nursery_close(nursery);
}
END_TEST

/* It is the parent of somebody who lives: it may stay until then, and no longer. */
START_TEST(retired_helper_ends_with_its_child)
{
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { 0 };
	struct heard old, other;
	double end = now() + test_seconds(10);
	int cpus[2];

	if (geteuid() != 0)
		test_skip("needs rights to give up, and so root");
	two_cpus(cpus);
	move_to(cpus[0]);
	nursery = open_nursery(_i);
	ck_assert_int_eq(try_run(nursery, &o, LIST("sleep", "0.5"), &old), 0);
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &other), 0);
	ck_assert_uint_eq(helpers_of(0), 1);
	drain(nursery);
	ck_assert_int_eq(old.death.status, 0);
	/* Nothing is spawned any more. */
	while (helpers_of(0)) {
		ck_assert_msg(now() < end, "a helper with old rights stays");
		sleep_ms(5);
	}
	knell_nursery_close(nursery);
}
END_TEST

/* Two at once, each with other ids: the application stays as dumpable as it was. */
static void *spawn_as_nobody(void *arg)
{
	struct knell_nursery *nursery = arg;
	const char *argv[] = { test_program("tiny"), NULL };
	struct knell_spawn_options o = { .size = sizeof(o),
					 .flags = KNELL_SPAWN_UID | KNELL_SPAWN_GID,
					 .uid = 65534,
					 .gid = 65534 };

	o.argv = (char *const *)(uintptr_t)argv;
	for (unsigned int i = 0; i < test_scaled(100); i++)
		knell_spawn(nursery, NULL, &o);
	return NULL;
}

START_TEST(dumpable_with_other_ids)
{
	struct knell_nursery *nursery;
	struct knell_nursery_stats stats;
	pthread_t threads[4];

	if (geteuid() != 0)
		test_skip("only root may start a child as somebody else");
	nursery = open_nursery(_i);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, spawn_as_nobody, nursery), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	drain(nursery);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	knell_nursery_get_stats(nursery, &stats);
	ck_assert_uint_eq(stats.spawned, UINT64_C(4) * test_scaled(100));
	knell_nursery_close(nursery);
}
END_TEST

static struct knell_nursery *troubled;
static struct heard in_trouble;

static void spawn_in_trouble(const char *what, void *userdata)
{
	struct knell_spawn_options o = { 0 };

	(void)what;
	(void)userdata;
	sleep_ms(100);
	if (try_run(troubled, &o, LIST("true"), &in_trouble) == 0)
		__atomic_add_fetch(&troubles, 1, __ATOMIC_SEQ_CST);
}

START_TEST(trouble_may_spawn)
{
	struct knell_nursery_options options = {
		.size = sizeof(options),
		.flags = _i ? KNELL_NURSERY_WAIT : 0,
		.trouble = spawn_in_trouble,
	};
	struct knell_spawn_options o = { 0 };
	double end = now() + test_seconds(10);
	int cpus[2];

	two_cpus(cpus);
	move_to(cpus[0]);
	ck_assert_int_eq(knell_nursery_open(&troubled, &options), 0);
	ck_assert_int_eq(run(troubled, &o, LIST("true")), 0);
	kill(find_helper(), SIGKILL);
	while (!__atomic_load_n(&troubles, __ATOMIC_SEQ_CST)) {
		ck_assert(now() < end);
		ck_assert_int_eq(run(troubled, &o, LIST("true")), 0);
	}
	drain(troubled);
	ck_assert_int_eq(in_trouble.times, 1);
	knell_nursery_close(troubled);
}
END_TEST

START_TEST(reapers_are_at_home)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_nursery_stats stats;
	int cpus[2], n = two_cpus(cpus);

	for (int i = 0; i < n; i++) {
		struct knell_spawn_options o = { 0 };
		struct heard heard;

		move_to(cpus[i]);
		ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), 0);
		drain(nursery);
		ck_assert_int_eq(heard.cpu, cpus[i]);
		ck_assert_uint_eq(heard.death.cpu, (unsigned int)cpus[i]);
		ck_assert(heard.all_blocked);
		ck_assert_int_eq(
			knell_nursery_get_cpu_stats(nursery, (unsigned int)cpus[i], &stats), 0);
		ck_assert_uint_eq(stats.spawned, 1);
	}
	knell_nursery_get_stats(nursery, &stats);
	ck_assert_uint_eq(stats.reapers, (unsigned int)n); /* not one for each CPU there is */
	ck_assert_int_eq(knell_nursery_get_cpu_stats(nursery, 100000, &stats), -ENOENT);
	knell_nursery_close(nursery);
}
END_TEST

static void be_slow(const struct knell_death *death, void *userdata)
{
	(void)death;
	(void)userdata;
	sleep_ms(1000);
}

START_TEST(slow_callback_delays_its_own_cpu)
{
	struct knell_nursery *nursery = open_nursery(_i);
	const char *argv[] = { test_program("tiny"), NULL };
	struct knell_spawn_options slow = { .size = sizeof(slow), .fn = be_slow };
	struct knell_spawn_options quick = { .size = sizeof(quick) };
	struct knell_nursery_stats stats;
	uint32_t word = 0;
	int cpus[2];

	if (two_cpus(cpus) < 2)
		test_skip("needs two CPUs");
	slow.argv = quick.argv = (char *const *)(uintptr_t)argv;
	quick.word = &word;
	move_to(cpus[0]);
	ck_assert_int_eq(knell_spawn(nursery, NULL, &slow), 0);
	move_to(cpus[1]);
	ck_assert_int_eq(knell_spawn(nursery, NULL, &quick), 0);
	await_word(&word);
	/* Told while the other one still sleeps. */
	knell_nursery_get_cpu_stats(nursery, (unsigned int)cpus[0], &stats);
	ck_assert_uint_eq(stats.children, 1);
	drain(nursery);
	knell_nursery_get_cpu_stats(nursery, (unsigned int)cpus[0], &stats);
	ck_assert_uint_ge(stats.slowest_ns, 1000000000u);
	knell_nursery_get_cpu_stats(nursery, (unsigned int)cpus[1], &stats);
	ck_assert_uint_lt(stats.slowest_ns, 900000000u);
	knell_nursery_close(nursery);
}
END_TEST

/* As `taskset -a -p` does to all our threads. */
static void move_all_threads(int cpu)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.')
			sched_setaffinity(atoi(entry->d_name), sizeof(set), &set);
	}
	closedir(dir);
}

START_TEST(mask_is_followed)
{
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_nursery_stats stats;
	struct knell_spawn_options o = { 0 };
	struct heard heard;
	double end = now() + test_seconds(20);
	int cpus[2];

	if (two_cpus(cpus) < 2)
		test_skip("needs two CPUs");
	move_to(cpus[1]);
	ck_assert_int_eq(try_run(nursery, &o, LIST("sleep", "0.2"), &heard), 0);
	move_all_threads(cpus[0]);
	/* The child is told; its reaper leaves then, and the other CPU has one. */
	do {
		ck_assert(now() < end);
		ck_assert_int_eq(run(nursery, &(struct knell_spawn_options){ 0 }, LIST("true")), 0);
		knell_nursery_get_stats(nursery, &stats);
		sleep_ms(100);
	} while (stats.reapers != 1);
	ck_assert_int_eq(heard.times, 1);
	/* And it is back when it is allowed again. */
	move_to(cpus[1]);
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &heard), 0);
	drain(nursery);
	ck_assert_int_eq(heard.cpu, cpus[1]);
	knell_nursery_close(nursery);
}
END_TEST

#define CPU_SWITCH "/sys/devices/system/cpu/cpu1/online"

static bool switch_cpu(const char *state)
{
	int fd = open(CPU_SWITCH, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, state, 1) == 1;

	if (fd >= 0)
		close(fd);
	return done;
}

static void *spawn_on(void *arg)
{
	struct spawner *me = arg;

	while (!__atomic_load_n(me->stop, __ATOMIC_SEQ_CST)) {
		struct spawner some = { .nursery = me->nursery,
					.count = me->count,
					.base = me->base };

		spawn_many(&some);
		drain(me->nursery);
		me->wrong += some.wrong + (some.heard != some.count);
		me->heard += some.heard;
	}
	return NULL;
}

/* A CPU goes and comes back during a storm. Only in a machine that is ours alone. */
START_TEST(hotplug)
{
	struct knell_nursery *nursery;
	struct knell_nursery_stats stats;
	struct spawner spawners[4];
	pthread_t threads[4];
	unsigned int before, told = 0;
	bool stop = false;

	if (!getenv("KNELL_VM"))
		test_skip("CPUs are switched off in the virtual machine only (make vm-check)");
	if (access(CPU_SWITCH, W_OK) < 0)
		test_skip("%s cannot be written: %s", CPU_SWITCH, strerror(errno));
	before = entries("/proc/self/task");
	nursery = open_nursery(_i);
	for (unsigned int i = 0; i < 4; i++) {
		spawners[i] = (struct spawner){
			.nursery = nursery, .count = 5, .base = 50 * i, .stop = &stop
		};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, spawn_on, &spawners[i]), 0);
	}
	for (int i = 0; i < 5; i++) {
		sleep_ms(300);
		ck_assert(switch_cpu("0"));
		sleep_ms(300);
		ck_assert(switch_cpu("1"));
	}
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_uint_eq(spawners[i].wrong, 0);
		told += spawners[i].heard;
	}
	drain(nursery);
	knell_nursery_get_stats(nursery, &stats);
	ck_assert_uint_eq(stats.spawned, told);
	ck_assert_uint_gt(told, 20);
	knell_nursery_close(nursery);
	expect_threads(before);
}
END_TEST

START_TEST(close_while_children_live)
{
	unsigned int fds = entries("/proc/self/fd"), threads;
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { 0 };
	const char *argv[] = { "sleep", "600", NULL };
	struct heard heard = { 0 };
	pid_t pid;

	/* A sanitizer has a thread of its own from our first one on. */
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	knell_nursery_close(nursery);
	threads = entries("/proc/self/task");
	nursery = open_nursery(_i);
	o.size = sizeof(o);
	o.argv = (char *const *)(uintptr_t)argv;
	o.fn = on_death;
	o.userdata = &heard;
	ck_assert_int_eq(knell_spawn(nursery, &pid, &o), 0);
	ck_assert_int_eq(knell_nursery_drain(nursery, 50), -ETIMEDOUT);
	knell_nursery_close(nursery);
	ck_assert(process_state(pid) != 0); /* it goes on */
	kill(pid, SIGKILL);
	sleep_ms(50);
	ck_assert_int_eq(heard.times, 0);
	ck_assert_uint_eq(entries("/proc/self/fd"), fds);
	expect_threads(threads);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "spawn", 60);

	tcase_add_loop_test(tcase, deaths_are_told, 0, MODES);
	tcase_add_loop_test(tcase, application_sees_nothing, 0, MODES);
	tcase_add_loop_test(tcase, many_threads, 0, MODES);
	tcase_add_loop_test(tcase, callbacks_may_spawn, 0, MODES);
	tcase = test_case(suite, "attributes", 30);
	tcase_add_loop_test(tcase, identity_and_limits, 0, MODES);
	tcase_add_loop_test(tcase, signals_are_as_they_were, 0, MODES);
	tcase_add_loop_test(tcase, affinity, 0, MODES);
	tcase_add_loop_test(tcase, files, 0, MODES);
	tcase_add_loop_test(tcase, path_is_searched, 0, MODES);
	tcase_add_loop_test(tcase, parent_death, 0, MODES);
	tcase_add_loop_test(tcase, born_in_a_cgroup, 0, MODES);
	tcase = test_case(suite, "errors", 30);
	tcase_add_loop_test(tcase, errors_leave_nothing, 0, MODES);
	tcase_add_loop_test(tcase, no_more_files, 0, MODES);
	tcase_add_loop_test(tcase, limits_and_pidfds, 0, MODES);
	tcase_add_loop_test(tcase, no_more_processes, 0, MODES);
	tcase_add_loop_test(tcase, no_more_pids, 0, MODES);
	tcase_add_loop_test(tcase, forked_child_may_not_spawn, 0, MODES);
	tcase_add_test(tcase, options_are_checked);
	tcase = test_case(suite, "helpers and reapers", 60);
	tcase_add_loop_test(tcase, helper_is_killed, 0, MODES);
	tcase_add_loop_test(tcase, helpers_are_killed_all_the_time, 0, MODES);
	tcase_add_loop_test(tcase, identity_is_followed, 0, MODES);
	tcase_add_loop_test(tcase, no_helper_keeps_rights, 0, MODES);
	tcase_add_loop_test(tcase, retired_helper_ends_with_its_child, 0, MODES);
	tcase_add_loop_test(tcase, dumpable_with_other_ids, 0, MODES);
	tcase_add_loop_test(tcase, trouble_may_spawn, 0, MODES);
	tcase_add_loop_test(tcase, reapers_are_at_home, 0, MODES);
	tcase_add_loop_test(tcase, slow_callback_delays_its_own_cpu, 0, MODES);
	tcase_add_loop_test(tcase, mask_is_followed, 0, MODES);
	tcase_add_loop_test(tcase, hotplug, 0, MODES);
	tcase_add_loop_test(tcase, close_while_children_live, 0, MODES);
}
