/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * conformance_watch.c - the part of the conformance suite about watches: of strangers, children and
 * living trees, at each moment of death, in the window between look-up and watch, and while pids
 * are used again.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "claims.h"
#include "conformance.h"

START_TEST(stranger)
{
	static const int signals[] = { SIGTERM, SIGKILL, SIGUSR1 };
	struct verdict verdict, twice;
	struct nursery nursery;
	struct ear ear;

	nursery_open(&nursery);
	ear_open(&ear, NULL);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		pid_t pid = nursery_make(&nursery, 0, wait_to_be_killed, NULL);

		ck_assert_int_gt(pid, 0);
		ck_assert_int_eq(watch_pid(&ear, &verdict, pid, 0, KNELL_AT_ANY), 0);
		ck_assert_int_eq(watch_pid(&ear, &twice, pid, 0, KNELL_AT_DEAD), 0);
		turn_for(&ear, 20);
		ck_assert_uint_eq(verdict.count, 0);
		kill(pid, signals[i]);
		nursery_start_reaping(&nursery, pid);
		turn_until(&ear, &verdict.count, 1, "a verdict");
		turn_until(&ear, &twice.count, 1, "the second verdict");
		ck_assert_int_eq(nursery_reaped(&nursery), signals[i]);
		turn_for(&ear, 20);
		expect_verdict(&verdict, pid, signals[i]);
		expect_verdict(&twice, pid, signals[i]);
		expect_record(&ear, pid);
	}
	nursery_close(&nursery);
	ear_close(&ear);
}
END_TEST

/* Whoever has children can know how they ended, whatever the source. */
START_TEST(own_child)
{
	struct verdict verdict;
	struct ear ear;
	pid_t pid;

	ear_open(&ear, NULL);
	pid = fork();
	if (pid == 0) {
		begin_life();
		wait_to_be_killed(NULL);
	}
	ck_assert_int_eq(watch_pid(&ear, &verdict, pid, 0, KNELL_AT_ANY), 0);
	kill(pid, SIGKILL);
	turn_until(&ear, &verdict.count, 1, "a verdict");
	ck_assert_int_eq(await_exit(pid), SIGKILL);
	turn_for(&ear, 20);
	expect_verdict(&verdict, pid, SIGKILL);
	ck_assert_uint_eq(verdict.kind, KNELL_EXITED);
	expect_record(&ear, pid);
	ear_close(&ear);
}
END_TEST

void watch_a_zombie(void)
{
	struct verdict verdict;
	struct nursery nursery;
	struct ear ear;
	pid_t pid;

	nursery_open(&nursery);
	ear_open(&ear, NULL);
	pid = nursery_make(&nursery, 0, wait_to_be_killed, NULL);
	kill(pid, SIGTERM);
	ck_assert(await_state(pid, "Z"));
	ck_assert_int_eq(watch_pid(&ear, &verdict, pid, 0, KNELL_AT_ANY), 0);
	turn_until(&ear, &verdict.count, 1, "the verdict of a zombie");
	ck_assert_int_eq(nursery_reap(&nursery, pid), SIGTERM);
	turn_for(&ear, 200);
	expect_verdict(&verdict, pid, SIGTERM);
	expect_record(&ear, pid);
	nursery_close(&nursery);
	ear_close(&ear);
}

START_TEST(zombie)
{
	watch_a_zombie();
}
END_TEST

START_TEST(nobody)
{
	struct verdict verdict;
	struct nursery nursery;
	struct ear ear;
	pid_t pid;

	nursery_open(&nursery);
	ear_open(&ear, NULL);
	pid = nursery_make(&nursery, 0, wait_to_be_killed, NULL);
	kill(pid, SIGKILL);
	nursery_reap(&nursery, pid);
	ck_assert_int_eq(watch_pid(&ear, &verdict, pid, 0, KNELL_AT_ANY), 0);
	ck_assert_uint_eq(verdict.count, 0); /* never from inside the call */
	turn_until(&ear, &verdict.count, 1, "a verdict");
	turn_for(&ear, 20);
	ck_assert_uint_eq(verdict.count, 1);
	ck_assert_uint_eq(verdict.kind, KNELL_ABSENT);
	nursery_close(&nursery);
	ear_close(&ear);
}
END_TEST

/* ---- moments of death ---- */

START_TEST(moments)
{
	static const struct {
		uint32_t moment, bit;
		const char *name;
	} all[] = {
		{ KNELL_AT_EXIT, KNELL_CAN_EXIT, "the moment exit" },
		{ KNELL_AT_DEAD, 0, "the moment dead" },
		{ KNELL_AT_FREE, KNELL_CAN_FREE, "the moment free" },
	};
	struct knell_options options = { .flags = KNELL_O_FREE };
	struct verdict verdict;
	struct nursery nursery;
	struct ear ear;

	nursery_open(&nursery);
	ear_open(&ear, &options);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		pid_t pid = nursery_make(&nursery, 0, wait_to_be_killed, NULL);
		int r = watch_pid(&ear, &verdict, pid, 0, all[i].moment);

		if (all[i].bit && !can(all[i].bit)) {
			expect_refused(r, all[i].name);
			kill(pid, SIGKILL);
			nursery_reap(&nursery, pid);
			continue;
		}
		ck_assert_msg(r == 0, "%s: %s", all[i].name, knell_last_error());
		kill(pid, SIGTERM);
		ck_assert(await_state(pid, "Z"));
		if (all[i].moment == KNELL_AT_FREE) {
			turn_for(&ear, 300);
			ck_assert_msg(verdict.count == 0, "a zombie is not free");
		} else {
			turn_until(&ear, &verdict.count, 1, all[i].name);
		}
		ck_assert_int_eq(nursery_reap(&nursery, pid), SIGTERM);
		turn_until(&ear, &verdict.count, 1, all[i].name);
		turn_for(&ear, 50);
		expect_verdict(&verdict, pid, SIGTERM);
	}
	nursery_close(&nursery);
	ear_close(&ear);
}
END_TEST

/* ---- a living tree that keeps forking ---- */

#define MAX_BORN   20000
#define FIRST_TREE 7 /* root, two in the middle, four that fork */

struct forest {
	volatile int phase; /* 1: everybody born from now on must be told; 2: end */
	volatile int ready;
	pid_t first[FIRST_TREE];
	unsigned int born;
	struct {
		pid_t pid;
		int status;
		bool must;
	} all[MAX_BORN];
};

static void keep_forking(struct forest *forest)
{
	unsigned int n;
	bool must;
	pid_t pid;

	__atomic_add_fetch(&forest->ready, 1, __ATOMIC_SEQ_CST);
	while (forest->phase < 2) {
		struct timespec ts = { .tv_nsec = 300000 };

		n = __atomic_fetch_add(&forest->born, 1, __ATOMIC_SEQ_CST);
		if (n >= MAX_BORN)
			break;
		must = forest->phase == 1;
		pid = fork();
		if (pid == 0) {
			nanosleep(&ts, NULL);
			_exit((int)(n % 100));
		}
		forest->all[n].must = must;
		forest->all[n].pid = pid;
		waitpid(pid, &forest->all[n].status, 0);
	}
	_exit(12);
}

static void live_in_the_middle(struct forest *forest, int number)
{
	pid_t pids[2];

	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			keep_forking(forest);
		forest->first[3 + 2 * number + i] = pids[i];
	}
	for (int i = 0; i < 2; i++)
		waitpid(pids[i], NULL, 0);
	_exit(11);
}

static void plant(void *arg)
{
	struct forest *forest = arg;

	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (pid == 0)
			live_in_the_middle(forest, i);
		forest->first[1 + i] = pid; /* the page is shared: never in the child */
	}
	for (int i = 0; i < 2; i++)
		waitpid(forest->first[1 + i], NULL, 0);
	_exit(10);
}

/* A number may have been used twice meanwhile: the machine is not ours alone. */
static unsigned int entries_of(const struct forest *forest, pid_t pid, bool only_must)
{
	unsigned int n = 0;

	for (int i = 0; i < FIRST_TREE; i++)
		n += forest->first[i] == pid;
	for (unsigned int i = 0; i < forest->born && i < MAX_BORN; i++)
		n += forest->all[i].pid == pid && (forest->all[i].must || !only_must);
	return n;
}

static bool has_ended_so(const struct forest *forest, pid_t pid, int status)
{
	for (int i = 0; i < FIRST_TREE; i++)
		if (forest->first[i] == pid && status == W_EXITCODE(i == 0  ? 10
								    : i < 3 ? 11
									    : 12,
								    0))
			return true;
	for (unsigned int i = 0; i < forest->born && i < MAX_BORN; i++)
		if (forest->all[i].pid == pid && forest->all[i].status == status)
			return true;
	return false;
}

static void expect_told(const struct ear *ear, const struct forest *forest, pid_t pid)
{
	unsigned int least = entries_of(forest, pid, true), most = entries_of(forest, pid, false);
	unsigned int told = count_records(ear, KNELL_EXIT, pid);

	ck_assert_msg(told >= least && told <= most, "%u exits of %d, not %u to %u", told, pid,
		      least, most);
}

static void expect_forest(const struct ear *ear, const struct forest *forest)
{
	for (int i = 0; i < FIRST_TREE; i++)
		expect_told(ear, forest, forest->first[i]);
	for (unsigned int i = 0; i < forest->born && i < MAX_BORN; i++) {
		pid_t pid = forest->all[i].pid;

		if (!pid || !forest->all[i].must)
			continue;
		expect_told(ear, forest, pid);
		ck_assert_msg(count_records(ear, KNELL_CLONE, pid) >= entries_of(forest, pid, true),
			      "%u births of %d", count_records(ear, KNELL_CLONE, pid), pid);
	}
	/* And nobody else. */
	for (size_t i = 0; i < ear->count; i++) {
		const struct knell_event *event = &ear->all[i];
		bool known = !(event->unknown & KNELL_U_STATUS);

		if (event->kind != KNELL_EXIT)
			continue;
		claim_case(KNELL_CAN_STATUS, known, "of a descendant");
		ck_assert_msg(!known || has_ended_so(forest, (pid_t)event->task.tgid,
						     event->u.exit.status),
			      "%u did not end with %#x, or is not of this tree", event->task.tgid,
			      (unsigned int)event->u.exit.status);
	}
	ck_assert_uint_eq(ear->heard[KNELL_GAP], 0);
}

START_TEST(living_tree)
{
	struct forest *forest = shared_memory(sizeof(*forest));
	struct verdict verdict;
	struct nursery nursery;
	struct ear ear;
	int r;

	nursery_open(&nursery);
	ear_open(&ear, NULL);
	forest->first[0] = nursery_make(&nursery, 0, plant, forest);
	while (forest->ready < 4)
		sleep_ms(2);
	sleep_ms(20);
	r = watch_pid(&ear, &verdict, forest->first[0], KNELL_W_SUBTREE, KNELL_AT_ANY);
	forest->phase = 1;
	if (r == 0)
		turn_for(&ear, test_scaled(1500));
	forest->phase = 2;
	nursery_start_reaping(&nursery, forest->first[0]);
	if (!can(KNELL_CAN_SUBTREE)) {
		expect_refused(r, "a living subtree");
	} else {
		ck_assert_msg(r == 0, "a living subtree: %s", knell_last_error());
		turn_until(&ear, &verdict.count, 1, "the root's verdict");
		turn_for(&ear, 200);
	}
	ck_assert_int_eq(nursery_reaped(&nursery), W_EXITCODE(10, 0));
	if (can(KNELL_CAN_SUBTREE)) {
		expect_verdict(&verdict, forest->first[0], W_EXITCODE(10, 0));
		expect_forest(&ear, forest);
	}
	nursery_close(&nursery);
	ear_close(&ear);
}
END_TEST

/* ---- death between look-up and watch ---- */

struct aim {
	volatile int64_t when; /* CLOCK_MONOTONIC, ns; 0: not yet */
};

static int64_t nanoseconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void die_at(void *arg)
{
	struct aim *aim = arg;

	while (!aim->when || nanoseconds() < aim->when)
		if (!aim->when)
			sched_yield();
	_exit(7);
}

/* How long setting a watch takes here, ns. */
static int64_t cost_of_a_watch(struct ear *ear, struct nursery *nursery)
{
	pid_t pid = nursery_make(nursery, 0, wait_to_be_killed, NULL);
	struct verdict verdict;
	int64_t begin, cost;

	begin = nanoseconds();
	ck_assert_int_eq(watch_pid(ear, &verdict, pid, 0, KNELL_AT_ANY), 0);
	cost = nanoseconds() - begin;
	kill(pid, SIGKILL);
	nursery_reap(nursery, pid);
	turn_until(ear, &verdict.count, 1, "a verdict");
	return cost < 20000 ? 20000 : cost > 2000000 ? 2000000 : cost;
}

static void expect_one_of_all(struct ear *ear, const struct verdict *verdicts, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		const struct verdict *v = &verdicts[i];

		turn_until(ear, &v->count, 1, "the verdict of one that died meanwhile");
	}
	turn_for(ear, 300);
	for (unsigned int i = 0; i < n; i++) {
		const struct verdict *v = &verdicts[i];

		ck_assert_msg(v->count == 1, "%u verdicts for one watch", v->count);
		if (v->kind == KNELL_EXITED)
			ck_assert_int_eq(v->event.u.exit.status, W_EXITCODE(7, 0));
	}
}

START_TEST(death_in_the_window)
{
	unsigned int n = test_scaled(600), kinds[4] = { 0 };
	struct verdict *verdicts;
	struct nursery nursery;
	struct aim *aim = shared_memory(sizeof(*aim));
	struct ear ear;
	int64_t cost;

	n = n < 500 && !getenv("KNELL_VM") ? 500 : n;
	verdicts = calloc(n, sizeof(*verdicts));
	nursery_open(&nursery);
	ear_open(&ear, NULL);
	cost = cost_of_a_watch(&ear, &nursery);
	for (unsigned int i = 0; i < n; i++) {
		bool by_pidfd = i & 1, reap_at_once = i & 2;
		int pidfd = -1, r;
		pid_t pid;

		aim->when = 0;
		pid = nursery_make(&nursery, 0, die_at, aim);
		if (reap_at_once)
			nursery_start_reaping(&nursery, pid);
		if (by_pidfd)
			pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		/* From before the call until after it. */
		aim->when = nanoseconds() + (int64_t)(i % 50) * 2 * cost / 50 - cost / 4;
		r = by_pidfd ? watch_pidfd(&ear, &verdicts[i], pidfd, 0, KNELL_AT_ANY)
			     : watch_pid(&ear, &verdicts[i], pid, 0, KNELL_AT_ANY);
		ck_assert_msg(r == 0, "try %u: %s: %s", i, strerror(-r), knell_last_error());
		if (i % 3 == 0)
			turn(&ear);
		if (!reap_at_once)
			nursery_start_reaping(&nursery, pid);
		ck_assert_int_eq(nursery_reaped(&nursery), W_EXITCODE(7, 0));
		if (pidfd >= 0)
			close(pidfd);
	}
	expect_one_of_all(&ear, verdicts, n);
	for (unsigned int i = 0; i < n; i++)
		kinds[verdicts[i].kind]++;
	printf("# exited %u, gone %u, absent %u\n", kinds[KNELL_EXITED], kinds[KNELL_GONE],
	       kinds[KNELL_ABSENT]);
	nursery_close(&nursery);
	ear_close(&ear);
}
END_TEST

/* ---- pids that are used again ---- */

/* The verdict of the first is the first's, whoever has the number when it is told. */
static void use_again(struct ear *ear, struct nursery *nursery, pid_t *number, unsigned int round)
{
	pid_t first = nursery_make(nursery, *number, wait_to_be_killed, NULL), second;
	unsigned int before = count_records(ear, KNELL_EXIT, first);
	unsigned int records = can(KNELL_CAN_WATCH) ? 2 : 0;
	double end = now() + test_seconds(30);
	struct verdict one, two;
	unsigned int n;

	ck_assert_msg(first > 0, "process %d cannot be made: %s", *number, strerror(-first));
	ck_assert_int_eq(watch_pid(ear, &one, first, 0, KNELL_AT_ANY), 0);
	kill(first, SIGKILL);
	ck_assert_int_eq(nursery_reap(nursery, first), SIGKILL);
	if (round % 4 == 0)
		turn(ear);
	second = nursery_make(nursery, first, wait_to_be_killed, NULL);
	ck_assert_msg(second == first, "the number %d is not used again: %d", first, second);
	if (round % 4 == 1)
		turn(ear);
	ck_assert_int_eq(watch_pid(ear, &two, second, 0, KNELL_AT_ANY), 0);
	turn_until(ear, &one.count, 1, "the verdict of the first");
	if (round % 16 == 0)
		turn_for(ear, 30);
	expect_verdict(&one, first, SIGKILL);
	ck_assert_msg(two.count == 0, "round %u: the living got the verdict of the dead", round);
	kill(second, SIGTERM);
	ck_assert_int_eq(nursery_reap(nursery, second), SIGTERM);
	turn_until(ear, &two.count, 1, "the verdict of the second");
	expect_verdict(&one, first, SIGKILL);
	expect_verdict(&two, second, SIGTERM);
	/* Before 6.15 a pidfd alone may say no more than that it is gone: then there may be no
	 * record. */
	if (test_source_is("pidfd"))
		records = (one.kind == KNELL_EXITED) + (two.kind == KNELL_EXITED);
	/* A verdict may be faster than the record. */
	while (count_records(ear, KNELL_EXIT, first) - before < records && now() < end)
		turn(ear);
	n = count_records(ear, KNELL_EXIT, first) - before;
	ck_assert_msg(n >= records && n <= 2 && (n == records || test_source_is("pidfd")),
		      "round %u: %u exit records of two", round, n);
	*number = first;
}

/* The ear forgets: it would search all that it ever heard. */
static void forget(struct ear *ear)
{
	ear->count = 0;
}

static void use_again_often(unsigned int rounds)
{
	struct nursery nursery;
	pid_t number = 0, probe;
	struct ear ear;

	nursery_open(&nursery);
	probe = nursery_make(&nursery, 0, wait_to_be_killed, NULL);
	kill(probe, SIGKILL);
	nursery_reap(&nursery, probe);
	number = nursery_make(&nursery, probe, wait_to_be_killed, NULL);
	if (number < 0) {
		nursery_close(&nursery);
		test_skip("a number cannot be asked for here: %s", strerror(-number));
	}
	kill(number, SIGKILL);
	nursery_reap(&nursery, number);
	ear_open(&ear, NULL);
	for (unsigned int i = 0; i < rounds; i++) {
		use_again(&ear, &nursery, &number, i);
		forget(&ear);
	}
	nursery_close(&nursery);
	ear_close(&ear);
}

START_TEST(pid_used_again)
{
	use_again_often(test_scaled(500));
}
END_TEST

/* The same where Knell and all others live in a pid namespace of their own. */
START_TEST(pid_used_again_in_a_namespace)
{
	struct knell_engine *engine = NULL;
	struct knell_options options = { .size = sizeof(options), .source = test_source() };
	pid_t pid;

	if (unshare(CLONE_NEWPID | CLONE_NEWNS))
		test_skip("no pid namespace can be made here");
	pid = fork();
	if (pid == 0) {
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("proc", "/proc", "proc", 0, NULL))
			test_skip("/proc cannot be mounted here");
		if (knell_open(&engine, &options) == -ENOTSUP)
			test_skip("%.150s", knell_last_error());
		knell_close(engine);
		use_again_often(test_scaled(200));
		exit(0);
	}
	ck_assert_int_eq(await_exit_for(pid, 110), 0);
}
END_TEST

/* A number comes round by itself, 2,000 times, where there are ten. */
static void wrap(unsigned int wraps)
{
	struct verdict verdict, other;
	struct nursery nursery;
	unsigned int turns = 0, reused = 0;
	struct ear ear;

	nursery_open(&nursery);
	ear_open(&ear, NULL);
	/* The first 300 are given out once only. */
	for (pid_t pid = 0; pid < 300;) {
		pid = nursery_make(&nursery, 0, wait_to_be_killed, NULL);
		kill(pid, SIGKILL);
		nursery_reap(&nursery, pid);
	}
	while (reused < wraps) {
		pid_t watched = nursery_make(&nursery, 0, wait_to_be_killed, NULL), pid;

		ck_assert_int_eq(watch_pid(&ear, &verdict, watched, 0, KNELL_AT_ANY), 0);
		kill(watched, SIGKILL);
		nursery_reap(&nursery, watched);
		for (turns = 0, pid = 0; pid != watched && turns < 1000; turns++) {
			pid = nursery_make(&nursery, 0, wait_to_be_killed, NULL);
			if (pid == watched)
				break;
			kill(pid, SIGTERM);
			nursery_reap(&nursery, pid);
		}
		ck_assert_msg(pid == watched, "the number %d does not come round", watched);
		ck_assert_int_eq(watch_pid(&ear, &other, pid, 0, KNELL_AT_ANY), 0);
		turn_until(&ear, &verdict.count, 1, "the verdict of the dead");
		expect_verdict(&verdict, watched, SIGKILL);
		ck_assert_uint_eq(other.count, 0);
		kill(pid, SIGTERM);
		nursery_reap(&nursery, pid);
		turn_until(&ear, &other.count, 1, "the verdict of the other");
		expect_verdict(&other, pid, SIGTERM);
		reused++;
		forget(&ear);
	}
	nursery_close(&nursery);
	ear_close(&ear);
}

START_TEST(few_pids)
{
	struct knell_engine *engine = NULL;
	struct knell_options options = { .size = sizeof(options), .source = test_source() };
	char *before = read_file("/proc/sys/kernel/pid_max"), *after;
	int fd, major = 0, minor = 0;
	struct utsname name;
	pid_t pid;

	if (unshare(CLONE_NEWPID | CLONE_NEWNS))
		test_skip("no pid namespace can be made here");
	uname(&name);
	sscanf(name.release, "%d.%d", &major, &minor);
	if (!before || major * 100 + minor < 614)
		test_skip("pid_max is not each pid namespace's own before Linux 6.14");
	pid = fork();
	if (pid == 0) {
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("proc", "/proc", "proc", 0, NULL))
			test_skip("/proc cannot be mounted here");
		fd = open("/proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "310", 3) != 3)
			test_skip("pid_max cannot be made small here");
		if (knell_open(&engine, &options) == -ENOTSUP)
			test_skip("%.150s", knell_last_error());
		knell_close(engine);
		wrap(test_scaled(2000));
		exit(0);
	}
	ck_assert_int_eq(await_exit_for(pid, 110), 0);
	after = read_file("/proc/sys/kernel/pid_max");
	ck_assert_str_eq(before, after);
}
END_TEST

void add_watch_tests(TCase *tcase)
{
	tcase_add_test(tcase, stranger);
	tcase_add_test(tcase, own_child);
	tcase_add_test(tcase, zombie);
	tcase_add_test(tcase, nobody);
	tcase_add_test(tcase, moments);
	tcase_add_test(tcase, living_tree);
	tcase_add_test(tcase, death_in_the_window);
	tcase_add_test(tcase, pid_used_again);
	tcase_add_test(tcase, pid_used_again_in_a_namespace);
	tcase_add_test(tcase, few_pids);
}
