/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_reaper_edges.c - reapers at the edges: calls from inside callbacks, a cancel while another
 * verdict is told, a setter that is held up where its slot may become another process's, no
 * descriptor left, too many CPUs, a storm that loses, and silence. Two calls of the C library are
 * ours here: close(2), to hold up the setter, and sched_getaffinity(2).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <knell/knell.h>

#include "support.h"

const char test_suite_name[] = "reaper_edges";

#define PATIENCE 60.0
#define MAX_PID  (4u << 20)

/* Set while this thread sets a watch. */
static _Thread_local unsigned int nap_us;

/* As the C library's; but who has just asked the kernel's task iterator sleeps for a while. */
int close(int fd)
{
	char path[40], name[64] = "";
	ssize_t n = 0;

	if (nap_us) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, name, sizeof(name) - 1);
	}
	if (n > 0 && strstr(name, "bpf_iter"))
		usleep(nap_us);
	return (int)syscall(SYS_close, fd);
}

static bool too_many_cpus; /* atomic */

/* As the C library's; or as on a machine with more CPUs than a cpu_set_t has bits. */
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *ret) /* NOLINT: its names are reserved */
{
	long n;

	if (__atomic_load_n(&too_many_cpus, __ATOMIC_SEQ_CST)) {
		errno = EINVAL;
		return -1;
	}
	n = syscall(SYS_sched_getaffinity, pid, size, ret);
	if (n < 0)
		return -1;
	memset((char *)ret + n, 0, size - (size_t)n);
	return 0;
}

static struct knell_engine *open_engine(uint32_t flags, uint32_t reserve, knell_watcher_fn fn,
					void *userdata)
{
	struct knell_options options = {
		.size = sizeof(options), .source = test_source(), .flags = flags, .reserve = reserve
	};
	struct knell_engine *engine = NULL;
	int r = knell_open(&engine, &options);

	ck_assert_msg(r == 0, "knell_open: %s", knell_last_error());
	ck_assert_int_eq(knell_watcher_add(engine, KNELL_MASK_ALL, fn, userdata), 0);
	return engine;
}

static void start_reapers(struct knell_engine *engine)
{
	int r = knell_reapers_start(engine);

	ck_assert_msg(r == 0, "knell_reapers_start: %s", knell_last_error());
}

/* A watched child that ends at once with this code. */
static pid_t start_dying(struct knell_engine *engine, int code)
{
	pid_t pid = knell_fork(engine);

	if (pid == 0)
		_exit(code);
	return pid;
}

static pid_t start_storm(struct knell_engine *engine, const char *number)
{
	pid_t pid = knell_fork(engine);

	if (pid == 0) {
		execl(test_program("storm"), "storm", "-n", number, NULL);
		_exit(126);
	}
	ck_assert_msg(pid > 0, "knell_fork: %s", knell_last_error());
	return pid;
}

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written by the builtin */
static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_SEQ_CST);
}

/* False: the time is over. */
static bool await_flag(const bool *flag, double seconds)
{
	double end = now() + seconds;

	while (!is_set(flag) && now() < end)
		sleep_ms(2);
	return is_set(flag);
}

/* ---- inside callbacks ---- */

struct starter {
	struct knell_engine *engine;
	int r;
	unsigned int calls;
};

static int try_start(const struct knell_event *event, void *userdata)
{
	struct starter *me = userdata;

	(void)event;
	me->calls++;
	me->r = knell_reapers_start(me->engine);
	return 0;
}

/* They would drain what the host is just telling. */
START_TEST(not_from_a_callback)
{
	struct starter me = { 0 };
	pid_t pid;

	me.engine = open_engine(0, 0, try_start, &me);
	pid = start_dying(me.engine, 0);
	ck_assert_int_gt(pid, 0);
	await_exit(pid);
	ck_assert_int_ge(knell_dispatch(me.engine), 0);
	ck_assert_uint_gt(me.calls, 0);
	ck_assert_int_eq(me.r, -EDEADLK);
	ck_assert(strstr(knell_last_error(), "callback"));
	pid = knell_fork(me.engine);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	ck_assert_int_gt(pid, 0);
	me.r = 0;
	me.calls = 0;
	ck_assert_int_gt(knell_reconcile(me.engine), 0);
	ck_assert_uint_gt(me.calls, 0);
	ck_assert_int_eq(me.r, -EDEADLK);
	kill(pid, SIGKILL);
	await_exit(pid);
	/* Nor is anything left that would refuse it for ever. */
	start_reapers(me.engine);
	knell_close(me.engine);
}
END_TEST

struct canceller {
	struct knell_watch *watch;
	bool in, back; /* atomic */
	bool in_time;
};

static void hold_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
			 void *userdata)
{
	struct canceller *me = userdata;

	(void)watch;
	(void)verdict;
	set(&me->in);
	me->in_time = await_flag(&me->back, test_seconds(PATIENCE));
}

static int cancel_held(const struct knell_event *event, void *userdata)
{
	struct canceller *me = userdata;

	if (event->kind != KNELL_EXIT || event->u.exit.status != W_EXITCODE(7, 0))
		return 0;
	if (!await_flag(&me->in, test_seconds(PATIENCE)))
		return 0;
	knell_watch_cancel(me->watch);
	set(&me->back);
	return 0;
}

/* A watcher cancels a watch whose verdict is being told by another thread: it does not wait. */
START_TEST(watcher_cancels)
{
	struct canceller me = { 0 };
	struct knell_watch_options options = { .size = sizeof(options),
					       .fn = hold_verdict,
					       .userdata = &me };
	struct knell_engine *engine = open_engine(0, 0, cancel_held, &me);
	int ends[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	start_reapers(engine);
	ck_assert_int_eq(knell_watch_fd(engine, &me.watch, ends[0], &options), 0);
	pid = start_dying(engine, 7);
	ck_assert_int_gt(pid, 0);
	close(ends[1]);
	ck_assert_msg(await_flag(&me.back, test_seconds(PATIENCE)), "the watcher still waits");
	await_exit(pid);
	knell_close(engine);
	ck_assert_msg(me.in_time, "the watcher waited for the verdict");
	close(ends[0]);
}
END_TEST

struct pair {
	struct knell_watch *watch[2];
	bool in, cancelled; /* atomic */
	int first;          /* who is told; the other one is cancelled meanwhile */
	unsigned int told;
	bool in_time;
};

static void one_of_two(struct knell_watch *watch, const struct knell_verdict *verdict,
		       void *userdata)
{
	struct pair *pair = userdata;

	(void)watch;
	pair->told++;
	pair->first = (int)verdict->cookie;
	set(&pair->in);
	pair->in_time = await_flag(&pair->cancelled, test_seconds(PATIENCE));
}

static int hear(const struct knell_event *event, void *userdata)
{
	(void)event;
	(void)userdata;
	return 0;
}

/* Two watches on one process: a cancel waits for its own watch's verdict, not for the other's. */
START_TEST(cancel_of_the_other)
{
	struct pair pair = { 0 };
	struct knell_engine *engine = open_engine(0, 0, hear, NULL);
	pid_t pid;

	start_reapers(engine);
	pid = spawn(&(struct spawn){ 0 }, LIST("/bin/sleep", "600"));
	for (unsigned int i = 0; i < 2; i++) {
		struct knell_watch_options options = {
			.size = sizeof(options), .cookie = i, .fn = one_of_two, .userdata = &pair
		};

		ck_assert_int_eq(knell_watch_pid(engine, &pair.watch[i], pid, &options), 0);
	}
	kill(pid, SIGKILL);
	ck_assert(await_flag(&pair.in, test_seconds(PATIENCE)));
	knell_watch_cancel(pair.watch[1 - pair.first]);
	set(&pair.cancelled);
	await_exit(pid);
	knell_watch_cancel(pair.watch[pair.first]);
	ck_assert_msg(pair.in_time, "the cancel waited for the other watch's verdict");
	knell_close(engine);
	ck_assert_uint_eq(pair.told, 1);
}
END_TEST

/* ---- a slot that becomes another's ---- */

struct zombies {
	bool *told; /* by pid; atomic */
	unsigned int set, verdicts, wrong;
	unsigned int cookies; /* of a watch, in a record of another process */
};

static int note_death(const struct knell_event *event, void *userdata)
{
	struct zombies *z = userdata;

	if (event->cookie && event->cookie != event->task.tgid)
		__atomic_add_fetch(&z->cookies, 1, __ATOMIC_SEQ_CST);
	if (event->kind == KNELL_EXIT && event->task.tgid < MAX_PID)
		set(&z->told[event->task.tgid]);
	return 0;
}

static void check_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
			  void *userdata)
{
	struct zombies *z = userdata;

	(void)watch;
	if (verdict->kind == KNELL_EXITED && ((pid_t)verdict->event->task.tgid != verdict->pid ||
					      verdict->event->u.exit.status != W_EXITCODE(77, 0)))
		__atomic_add_fetch(&z->wrong, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&z->verdicts, 1, __ATOMIC_SEQ_CST);
}

/*
 * A zombie that was told before; its slot is given up and used again while the watch is set.
 * Returns false where no slot is left.
 */
static bool watch_zombie(struct knell_engine *engine, struct zombies *z)
{
	struct knell_watch_options options = { .size = sizeof(options),
					       .fn = check_verdict,
					       .userdata = z };
	pid_t pid = start_dying(engine, 77);

	if (pid < 0)
		return false;
	options.cookie = (uint64_t)pid;
	for (int i = 0; i < 1000 && !is_set(&z->told[pid]); i++)
		sleep_ms(1);
	for (int i = 0; i < 10; i++) {
		nap_us = 3000;
		if (knell_watch_pid(engine, NULL, pid, &options) == 0)
			z->set++;
		nap_us = 0;
	}
	await_exit(pid);
	__atomic_store_n(&z->told[pid], false, __ATOMIC_SEQ_CST);
	return true;
}

START_TEST(held_up_setter)
{
	unsigned int tries = test_scaled(60);
	double end = now() + test_seconds(PATIENCE / 2);
	struct zombies z = { .told = calloc(MAX_PID, sizeof(*z.told)) };
	struct knell_engine *engine = open_engine(0, 64, note_death, &z);
	pid_t storm;

	ck_assert_ptr_nonnull(z.told);
	start_reapers(engine);
	storm = start_storm(engine, "2000000");
	for (unsigned int i = 0; (i < tries || !z.set) && now() < end;) {
		if (watch_zombie(engine, &z))
			i++;
		else
			sleep_ms(1);
	}
	kill(storm, SIGKILL);
	await_exit(storm);
	end = now() + test_seconds(PATIENCE);
	while (__atomic_load_n(&z.verdicts, __ATOMIC_SEQ_CST) < z.set) {
		ck_assert_msg(now() < end, "%u verdicts of %u", z.verdicts, z.set);
		sleep_ms(5);
	}
	knell_close(engine);
	ck_assert_uint_gt(z.set, 0);
	ck_assert_msg(z.cookies == 0, "%u records of others have the cookie of a watch", z.cookies);
	ck_assert_msg(z.wrong == 0, "%u of %u verdicts told of another process", z.wrong, z.set);
	free(z.told);
}
END_TEST

/* ---- nothing left ---- */

static int count_deaths(const struct knell_event *event, void *userdata)
{
	if (event->kind == KNELL_EXIT)
		__atomic_add_fetch((unsigned int *)userdata, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static int lowest_free(void)
{
	int fd = dup(0);

	ck_assert_int_ge(fd, 0);
	close(fd);
	return fd;
}

/* Its death is told, by the host or by reapers. */
static void expect_death(struct knell_engine *engine, const unsigned int *deaths, bool host)
{
	unsigned int before = __atomic_load_n(deaths, __ATOMIC_SEQ_CST);
	double end = now() + test_seconds(PATIENCE);
	pid_t pid = start_dying(engine, 0);

	ck_assert_msg(pid > 0, "knell_fork: %s", knell_last_error());
	while (__atomic_load_n(deaths, __ATOMIC_SEQ_CST) == before) {
		struct pollfd pollfd = { .fd = knell_fd(engine), .events = POLLIN };

		ck_assert_msg(now() < end, "the death is not told");
		if (!host) {
			sleep_ms(2);
			continue;
		}
		poll(&pollfd, 1, 100);
		ck_assert_int_ge(knell_dispatch(engine), 0);
	}
	await_exit(pid);
}

/* Whichever descriptor cannot be had: nothing is left behind, and the host goes on. */
START_TEST(no_descriptor)
{
	unsigned int deaths = 0, refused = 0;
	struct knell_engine *engine = open_engine(0, 0, count_deaths, &deaths);
	int first = lowest_free();
	struct rlimit limit, low;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int room = 0; room < 8; room++) {
		int r;

		low = limit;
		low.rlim_cur = (rlim_t)first + (rlim_t)room;
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
		r = knell_reapers_start(engine);
		ck_assert(r == 0 || r == -EMFILE);
		refused += r < 0;
		/* A second reaper may find none either: the first one works for both. */
		expect_death(engine, &deaths, r < 0);
		ck_assert_int_eq(knell_reapers_stop(engine), 0);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_int_eq(lowest_free(), first);
	}
	ck_assert_uint_gt(refused, 0);
	ck_assert_uint_lt(refused, 8);
	knell_close(engine);
}
END_TEST

/* A mask that cannot be read: then one reaper, bound to no CPU, tells all. */
START_TEST(many_cpus)
{
	struct knell_reaper_stats stats;
	unsigned int deaths = 0;
	struct knell_engine *engine = open_engine(0, 0, count_deaths, &deaths);

	__atomic_store_n(&too_many_cpus, true, __ATOMIC_SEQ_CST);
	start_reapers(engine);
	expect_death(engine, &deaths, false);
	ck_assert_int_eq(knell_reapers_get_stats(engine, 0, &stats), 0);
	ck_assert_uint_eq(stats.cpu, UINT32_MAX);
	ck_assert_int_eq(knell_reapers_get_stats(engine, 1, &stats), -ENOENT);
	ck_assert_int_eq(knell_reapers_stop(engine), 0);
	expect_death(engine, &deaths, true);
	knell_close(engine);
}
END_TEST

struct told_again {
	unsigned int times; /* atomic */
	unsigned int lost;  /* atomic */
};

static int hear_reconciled(const struct knell_event *event, void *userdata)
{
	struct told_again *me = userdata;

	if (event->kind == KNELL_GAP)
		__atomic_add_fetch(&me->lost, 1, __ATOMIC_SEQ_CST);
	if (event->kind == KNELL_CLONE && event->flags & KNELL_F_RECONCILED)
		__atomic_add_fetch(&me->times, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void storm_over(unsigned int n)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", n);
	ck_assert_int_eq(await_exit(spawn(&(struct spawn){ 0 },
					  LIST(test_program("storm"), "-n", number, "-j", "2"))),
			 0);
}

/* A stream that has lost something tells who lives, when the storm is over. */
START_TEST(told_again_after_a_loss)
{
	double end = now() + test_seconds(PATIENCE);
	struct told_again me = { 0 };
	struct knell_engine *engine = open_engine(KNELL_O_STREAM, 16, hear_reconciled, &me);
	unsigned int before;

	start_reapers(engine);
	do {
		ck_assert_msg(now() < end, "nothing is lost, with a reserve of 16");
		storm_over(test_scaled(20000));
	} while (!__atomic_load_n(&me.lost, __ATOMIC_SEQ_CST));
	before = __atomic_load_n(&me.times, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; __atomic_load_n(&me.times, __ATOMIC_SEQ_CST) == before; i++) {
		ck_assert_msg(now() < end, "who lives is not told");
		sleep_ms(20);
		/* It may have been told at the very end of the storm: then one more loss. */
		if (i % 200 == 0)
			storm_over(test_scaled(2000));
	}
	knell_close(engine);
}
END_TEST

/* ---- silence ---- */

/* How often our threads went to sleep; by their names, for a sanitizer may have its own. */
static unsigned long sleeps(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned long sum = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL) {
		char path[300], *text;
		const char *line;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		text = entry->d_name[0] == '.' ? NULL : read_file(path);
		line = text ? strstr(text, "\nvoluntary_ctxt_switches:") : NULL;
		if (line && strncmp(text, "Name:\tknell-reap", 16) == 0)
			sum += strtoul(line + 25, NULL, 10);
		free(text);
	}
	closedir(dir);
	return sum;
}

/* Where nothing happens nobody wakes up: with a process that lives, and one that nobody reaps. */
START_TEST(silence)
{
	unsigned int deaths = 0;
	double end = now() + test_seconds(PATIENCE);
	struct knell_engine *engine = open_engine(KNELL_O_FREE, 0, count_deaths, &deaths);
	pid_t alive, zombie;
	unsigned long before;

	start_reapers(engine);
	expect_death(engine, &deaths, false);
	zombie = start_dying(engine, 0);
	alive = knell_fork(engine);
	if (alive == 0) {
		pause();
		_exit(0);
	}
	ck_assert(zombie > 0 && alive > 0);
	do {
		ck_assert_msg(now() < end, "reapers are never idle");
		before = sleeps();
		ck_assert_uint_gt(before, 0);
		sleep_ms(1000);
	} while (sleeps() != before);
	kill(alive, SIGKILL);
	await_exit(alive);
	await_exit(zombie);
	knell_close(engine);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "callbacks", 120);

	tcase_add_test(tcase, not_from_a_callback);
	tcase_add_test(tcase, watcher_cancels);
	tcase_add_test(tcase, cancel_of_the_other);

	tcase = test_case(suite, "edges", 120);
	tcase_add_test(tcase, held_up_setter);
	tcase_add_test(tcase, no_descriptor);
	tcase_add_test(tcase, many_cpus);
	tcase_add_test(tcase, told_again_after_a_loss);
	tcase_add_test(tcase, silence);
}
