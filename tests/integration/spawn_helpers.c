/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * spawn_helpers.c - the nursery's own processes and threads: helpers that are killed, or keep
 * rights that were given up; reapers that run where they belong, also when CPUs come and go.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
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

#define PATIENCE 30.0

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
	double end = now() + test_seconds(PATIENCE);
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

	for (unsigned int i = 0; !__atomic_load_n(stop, __ATOMIC_SEQ_CST); i++) {
		pid_t helper = find_helper();

		if (helper)
			kill(helper, SIGKILL);
		sleep_ms(i % 8 ? 3 : 100); /* a pause, for those to whom 3 ms are little */
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
	unsigned int fds = count_entries("/proc/self/fd");
	double end = now() + test_seconds(PATIENCE);
	bool stop = false;
	pthread_t killer;

	o.argv = (char *const *)(uintptr_t)argv;
	ck_assert_int_eq(pthread_create(&killer, NULL, kill_helpers, &stop), 0);
	while (spawned < n || !__atomic_load_n(&troubles, __ATOMIC_SEQ_CST)) {
		int r = knell_spawn(nursery, NULL, &o);

		ck_assert_msg(now() < end, "%u of %u are spawned", spawned, n);
		ck_assert_msg(r == 0 || r == -EAGAIN, "%s", knell_last_error());
		spawned += r == 0;
	}
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	pthread_join(killer, NULL);
	drain(nursery);
	ck_assert_uint_eq(deaths, spawned);
	knell_nursery_close(nursery);
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
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
	double end = now() + test_seconds(PATIENCE);
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
	/* One whose reaper looks after it just now is left to the next spawn. */
	do {
		ck_assert_msg(now() < end, "a helper with old rights stays");
		ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	} while (helpers_of(0));
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
	double end = now() + test_seconds(PATIENCE);
	int cpus[2], gate;

	if (geteuid() != 0)
		test_skip("needs rights to give up, and so root");
	two_cpus(cpus);
	move_to(cpus[0]);
	nursery = open_nursery(_i);
	/* It lives until there is a line for it. */
	ck_assert_int_eq(mkfifo("gate", 0600), 0);
	gate = open("gate", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(gate, 0);
	ck_assert_int_eq(try_run(nursery, &o, LIST("sh", "-c", "read line <gate"), &old), 0);
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	ck_assert_int_eq(try_run(nursery, &o, LIST("true"), &other), 0);
	ck_assert_uint_eq(helpers_of(0), 1);
	ck_assert_int_eq(write(gate, "\n", 1), 1);
	drain(nursery);
	close(gate);
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
	need_open_build();
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

/* Held up between birth and exec, for nobody writes to `gate` yet. */
static void *spawn_held_up(void *arg)
{
	struct knell_nursery *nursery = arg;
	const char *argv[] = { "true", NULL };
	struct knell_file_action actions[] = {
		{ KNELL_FILE_OPEN, 40, 0, O_WRONLY | O_CREAT, 0600, "here" },
		{ KNELL_FILE_OPEN, 41, 0, O_RDONLY, 0, "gate" },
	};
	struct knell_spawn_options o = { .size = sizeof(o),
					 .flags = KNELL_SPAWN_UID,
					 .uid = geteuid(),
					 .actions = actions,
					 .action_count = 2 };

	o.argv = (char *const *)(uintptr_t)argv;
	knell_spawn(nursery, NULL, &o);
	return NULL;
}

/* A forked child's own nursery; nothing of Check's is called in it. 0: all is well. */
static int spawn_after_fork(void)
{
	const char *argv[] = { "true", NULL };
	struct knell_spawn_options o = { .size = sizeof(o),
					 .flags = KNELL_SPAWN_UID,
					 .uid = geteuid() };
	struct knell_nursery *nursery;
	int r;

	o.argv = (char *const *)(uintptr_t)argv;
	if (knell_nursery_open(&nursery, NULL) < 0)
		return 1;
	r = knell_spawn(nursery, NULL, &o) == 0 && knell_nursery_drain(nursery, -1) == 0 ? 0 : 2;
	knell_nursery_close(nursery);
	return r;
}

/* What another thread holds when the application forks, the child waits for in vain. */
START_TEST(fork_while_ids_change)
{
	struct knell_nursery *nursery = open_nursery(_i);
	double end = now() + test_seconds(PATIENCE);
	pthread_t thread;
	int status;
	pid_t pid;

#ifdef __SANITIZE_THREAD__
	test_skip("ThreadSanitizer allows no threads in the fork of a program that has some");
#endif
	ck_assert_int_eq(mkfifo("gate", 0600), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, spawn_held_up, nursery), 0);
	while (!file_exists("here")) {
		ck_assert(now() < end);
		sleep_ms(1);
	}
	pid = fork();
	if (pid == 0)
		_exit(spawn_after_fork());
	status = await_exit(pid);
	close(open("gate", O_WRONLY | O_CLOEXEC));
	pthread_join(thread, NULL);
	ck_assert_int_eq(status, 0);
	drain(nursery);
	knell_nursery_close(nursery);
}
END_TEST

#define SUID_DUMPABLE "/proc/sys/fs/suid_dumpable"

/* One that must not be looked into stays so, also where who changes ids may be. */
START_TEST(undumpable_with_other_ids)
{
	struct knell_nursery *nursery;
	struct knell_spawn_options o = { .flags = KNELL_SPAWN_UID, .uid = 65534 };
	struct heard heard;
	char *before;
	int r, dumpable;

	if (!getenv("KNELL_VM"))
		test_skip("fs.suid_dumpable is set in the virtual machine only (make vm-check)");
	nursery = open_nursery(_i);
	before = read_file(SUID_DUMPABLE);
	ck_assert_ptr_nonnull(before);
	write_file(SUID_DUMPABLE, "2");
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 0), 0);
	r = try_run(nursery, &o, LIST("true"), &heard);
	dumpable = prctl(PR_GET_DUMPABLE);
	write_file(SUID_DUMPABLE, before);
	free(before);
	ck_assert_msg(r == 0, "%s", knell_last_error());
	ck_assert_int_eq(dumpable, 0);
	drain(nursery);
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
	double end = now() + test_seconds(PATIENCE);
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

struct slow {
	bool in, go; /* atomic */
};

static void be_slow(const struct knell_death *death, void *userdata)
{
	double end = now() + test_seconds(PATIENCE);
	struct slow *slow = userdata;

	(void)death;
	__atomic_store_n(&slow->in, true, __ATOMIC_SEQ_CST);
	sleep_ms(300);
	while (!__atomic_load_n(&slow->go, __ATOMIC_SEQ_CST) && now() < end)
		sleep_ms(2);
}

START_TEST(slow_callback_delays_its_own_cpu)
{
	struct knell_nursery *nursery = open_nursery(_i);
	const char *argv[] = { test_program("tiny"), NULL };
	struct slow in = { 0 };
	struct knell_spawn_options slow = { .size = sizeof(slow), .fn = be_slow, .userdata = &in };
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
	while (!__atomic_load_n(&in.in, __ATOMIC_SEQ_CST)) /* the test's limit ends this */
		sleep_ms(2);
	move_to(cpus[1]);
	ck_assert_int_eq(knell_spawn(nursery, NULL, &quick), 0);
	/* Told while the other one still waits for this. */
	await_word(&word);
	knell_nursery_get_cpu_stats(nursery, (unsigned int)cpus[0], &stats);
	ck_assert_uint_eq(stats.children, 1);
	__atomic_store_n(&in.go, true, __ATOMIC_SEQ_CST);
	drain(nursery);
	knell_nursery_get_cpu_stats(nursery, (unsigned int)cpus[0], &stats);
	ck_assert_uint_ge(stats.slowest_ns, 300000000u);
	knell_nursery_get_cpu_stats(nursery, (unsigned int)cpus[1], &stats);
	ck_assert_uint_eq(stats.slowest_ns, 0); /* it has no callback */
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
	double end = now() + test_seconds(PATIENCE);
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

	do {
		struct spawner some = { .nursery = me->nursery,
					.count = me->count,
					.base = me->base };

		spawn_many(&some);
		drain(me->nursery);
		me->wrong += some.wrong + (some.heard != some.count);
		me->heard += some.heard;
	} while (!__atomic_load_n(me->stop, __ATOMIC_SEQ_CST));
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
	before = count_entries("/proc/self/task");
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
	ck_assert_uint_ge(told, 20);
	knell_nursery_close(nursery);
	await_threads(before);
}
END_TEST

START_TEST(close_while_children_live)
{
	unsigned int fds = count_entries("/proc/self/fd"), threads;
	struct knell_nursery *nursery = open_nursery(_i);
	struct knell_spawn_options o = { 0 };
	const char *argv[] = { "sleep", "600", NULL };
	struct heard heard = { 0 };
	pid_t pid;

	/* A sanitizer has a thread of its own from our first one on. */
	ck_assert_int_eq(run(nursery, &o, LIST("true")), 0);
	knell_nursery_close(nursery);
	threads = count_entries("/proc/self/task");
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
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
	await_threads(threads);
}
END_TEST

#define MOST_FDS 30000

/* An application that closes all it does not know, and opens as much: files, or eventfds. */
static int close_what_is_unknown(int mode, bool files)
{
	static bool was[MOST_FDS];
	struct knell_nursery_options options = { .size = sizeof(options),
						 .flags = mode ? KNELL_NURSERY_WAIT : 0 };
	struct knell_spawn_options o = { .size = sizeof(o) };
	const char *argv[] = { "sh", "-c", "read line <gate", NULL };
	const char *argv_true[] = { "true", NULL };
	struct knell_nursery *nursery, *other;
	int mine;
	char c;

	o.argv = (char *const *)(uintptr_t)argv;
	if (knell_nursery_open(&nursery, &options) < 0 || knell_spawn(nursery, NULL, &o) < 0)
		return 1;
	for (int fd = 3; fd < MOST_FDS; fd++)
		was[fd] = fcntl(fd, F_GETFD) >= 0;
	if (syscall(SYS_close_range, 3, ~0u, 0) < 0)
		return 2;
	mine = files ? open("mine", O_RDWR | O_CREAT | O_CLOEXEC, 0600)
		     : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (int fd = 3; fd < MOST_FDS; fd++)
		was[fd] = fd == mine || (was[fd] && fcntl(mine, F_DUPFD_CLOEXEC, fd) == fd);
	if (knell_spawn(nursery, NULL, &o) != -EBADF)
		return 3;
	knell_nursery_close(nursery);
	for (int fd = 3; fd < MOST_FDS; fd++) {
		if (was[fd] && fcntl(fd, F_GETFD) < 0)
			return 4;
	}
	if (lseek(mine, 0, SEEK_SET) == 0 && read(mine, &c, 1) == 1)
		return 5;
	if (!files && read(mine, &(uint64_t){ 0 }, 8) >= 0)
		return 5;
	o.argv = (char *const *)(uintptr_t)argv_true;
	if (knell_nursery_open(&other, &options) < 0 || knell_spawn(other, NULL, &o) < 0 ||
	    knell_nursery_drain(other, -1) < 0)
		return 6;
	knell_nursery_close(other);
	return 0;
}

START_TEST(descriptors_are_closed_behind_its_back)
{
	int cpus[2], gate, status;
	pid_t pid;

	two_cpus(cpus);
	move_to(cpus[0]); /* another home has descriptors of its own */
	ck_assert_int_eq(mkfifo("gate", 0600), 0);
	gate = open("gate", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(gate, 0);
	pid = fork();
	if (pid == 0)
		_exit(close_what_is_unknown(_i % 2, _i / 2));
	status = await_exit(pid);
	ck_assert_int_eq(write(gate, "\n", 1), 1);
	close(gate);
	ck_assert_int_eq(status, 0);
}
END_TEST

void add_helper_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "helpers and reapers", 60);

	tcase_add_loop_test(tcase, helper_is_killed, 0, MODES);
	tcase_add_loop_test(tcase, helpers_are_killed_all_the_time, 0, MODES);
	tcase_add_loop_test(tcase, identity_is_followed, 0, MODES);
	tcase_add_loop_test(tcase, no_helper_keeps_rights, 0, MODES);
	tcase_add_loop_test(tcase, retired_helper_ends_with_its_child, 0, MODES);
	tcase_add_loop_test(tcase, dumpable_with_other_ids, 0, MODES);
	tcase_add_loop_test(tcase, fork_while_ids_change, 0, MODES);
	tcase_add_loop_test(tcase, undumpable_with_other_ids, 0, MODES);
	tcase_add_loop_test(tcase, trouble_may_spawn, 0, MODES);
	tcase_add_loop_test(tcase, reapers_are_at_home, 0, MODES);
	tcase_add_loop_test(tcase, slow_callback_delays_its_own_cpu, 0, MODES);
	tcase_add_loop_test(tcase, mask_is_followed, 0, MODES);
	tcase_add_loop_test(tcase, hotplug, 0, MODES);
	tcase_add_loop_test(tcase, close_while_children_live, 0, MODES);
	tcase_add_loop_test(tcase, descriptors_are_closed_behind_its_back, 0, 2 * MODES);
}
