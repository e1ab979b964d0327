/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_reapers.c - an engine that dispatches itself, on a reaper for each CPU: who is called where,
 * in which order, what a slow callback delays, that each verdict comes once, and that nothing is
 * lost while reapers come and go. With a source that has one stream for all CPUs the same is told
 * by one reaper.
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <knell/watcher.h>

#include "support.h"

const char test_suite_name[] = "reapers";

#define PATIENCE 60.0

/* What was heard, from all reapers. Its lock gives records one order. */
struct log {
	struct knell_engine *engine;
	pthread_mutex_t lock;
	struct heard {
		struct knell_event event;
		int cpu;
		pid_t tid;
	} * all;
	size_t count, room;
	uint64_t kinds[KNELL_KIND_MAX];
	uint64_t lost;
	unsigned int loose;    /* called on a thread that is bound to no CPU */
	unsigned int unmasked; /* called with a signal that is not blocked */
	unsigned int lazy;     /* called on a thread with the usual time slice */
};

static bool is_bound(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1;
}

static bool all_blocked(void)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	return sigismember(&mask, SIGTERM) && sigismember(&mask, SIGCHLD) &&
	       sigismember(&mask, SIGUSR1);
}

/* struct sched_attr: glibc 2.36 does not have it. */
struct scheduling {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* Before 6.12 the kernel tells of no slice; where we were made urgent by others it stays so. */
static bool has_usual_slice(void)
{
	struct scheduling now = { 0 };

	if (syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0) < 0 || now.policy != SCHED_OTHER ||
	    now.nice < 0 || !now.runtime)
		return false;
	return now.runtime > 100000 || !(now.flags & 1); /* 1: SCHED_FLAG_RESET_ON_FORK */
}

static int on_event(const struct knell_event *event, void *userdata)
{
	size_t size = event->size < sizeof(*event) ? event->size : sizeof(*event);
	struct log *log = userdata;
	struct heard *heard;

	pthread_mutex_lock(&log->lock);
	if (log->count == log->room) {
		log->room = log->room ? 2 * log->room : 4096;
		log->all = grow(log->all, log->room * sizeof(*log->all));
	}
	heard = &log->all[log->count++];
	memset(heard, 0, sizeof(*heard));
	memcpy(&heard->event, event, size);
	heard->cpu = sched_getcpu();
	heard->tid = (pid_t)syscall(SYS_gettid);
	log->loose += !is_bound();
	log->unmasked += !all_blocked();
	log->lazy += has_usual_slice();
	log->kinds[event->kind]++;
	if (event->kind == KNELL_GAP)
		log->lost += event->u.gap.births + event->u.gap.deaths + event->u.gap.others;
	pthread_mutex_unlock(&log->lock);
	return 0;
}

/* Until another thread says so. */
static void await_flag(const bool *flag, const char *what)
{
	double end = now() + test_seconds(PATIENCE);

	while (!__atomic_load_n(flag, __ATOMIC_SEQ_CST)) {
		ck_assert_msg(now() < end, "%s", what);
		sleep_ms(2);
	}
}

static uint64_t heard_of(struct log *log, unsigned int kind)
{
	uint64_t n;

	pthread_mutex_lock(&log->lock);
	n = log->kinds[kind];
	pthread_mutex_unlock(&log->lock);
	return n;
}

static bool is_split(void)
{
	return test_source_is("bpf");
}

static void log_open(struct log *log, struct knell_options options)
{
	int r;

	memset(log, 0, sizeof(*log));
	pthread_mutex_init(&log->lock, NULL);
	options.size = sizeof(options);
	options.source = test_source();
	r = knell_open(&log->engine, &options);
	ck_assert_msg(r == 0, "knell_open: %s", knell_last_error());
	ck_assert_int_eq(knell_watcher_add(log->engine, KNELL_MASK_ALL, on_event, log), 0);
}

static void start_reapers(struct log *log)
{
	int r = knell_reapers_start(log->engine);

	ck_assert_msg(r == 0, "knell_reapers_start: %s", knell_last_error());
}

static void log_close(struct log *log)
{
	knell_close(log->engine);
	pthread_mutex_destroy(&log->lock);
	free(log->all);
}

/* By knell_fork(), bound to this CPU from the start (-1: to none). Whoever it makes is born there.
 */
static pid_t start_on(struct log *log, int cpu, const char *const argv[])
{
	cpu_set_t before, one;
	pid_t pid;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&one);
	if (cpu >= 0) {
		CPU_SET((unsigned int)cpu, &one);
		ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	}
	pid = knell_fork(log->engine);
	if (pid == 0) {
		execv(argv[0], (char *const *)argv);
		_exit(126);
	}
	ck_assert_msg(pid > 0, "knell_fork: %s", knell_last_error());
	ck_assert_int_eq(sched_setaffinity(0, sizeof(before), &before), 0);
	return pid;
}

/* By knell_fork(), so many workers with n children in all. Returns how many deaths that makes. */
static unsigned int start_storm(struct log *log, unsigned int workers, unsigned int n)
{
	char number[16], jobs[16];

	snprintf(number, sizeof(number), "%u", n);
	snprintf(jobs, sizeof(jobs), "%u", workers);
	start_on(log, -1, LIST(test_program("storm"), "-n", number, "-j", jobs));
	return n + workers + 1;
}

static void ignore(pid_t pid, int status, void *userdata)
{
	(void)pid;
	(void)status;
	(void)userdata;
}

/* Where the source has to wait for its tasks itself, somebody must ask it to. */
static void reap(struct log *log)
{
	int r = knell_reap(log->engine, ignore, NULL);

	ck_assert_msg(r >= 0 || r == -ECHILD, "knell_reap: %s", strerror(-r));
}

static void await(struct log *log, unsigned int kind, uint64_t n)
{
	double end = now() + test_seconds(PATIENCE);

	while (heard_of(log, kind) < n) {
		ck_assert_msg(now() < end, "%llu of %llu '%s' are told; %llu births, %llu gaps",
			      (unsigned long long)heard_of(log, kind), (unsigned long long)n,
			      knell_kind_name(kind), (unsigned long long)heard_of(log, KNELL_CLONE),
			      (unsigned long long)heard_of(log, KNELL_GAP));
		reap(log);
		sleep_ms(2);
	}
}

/* ---- lives ---- */

static int by_identity(const void *a, const void *b)
{
	const struct heard *x = *(const struct heard *const *)a;
	const struct heard *y = *(const struct heard *const *)b;

	if (x->event.task.tgid != y->event.task.tgid)
		return x->event.task.tgid < y->event.task.tgid ? -1 : 1;
	if (x->event.task.start != y->event.task.start)
		return x->event.task.start < y->event.task.start ? -1 : 1;
	return x < y ? -1 : 1; /* as they were heard */
}

/* Each process has one birth first, one death, and after that its free only. */
static void expect_lives(const struct log *log, bool all_dead)
{
	const struct heard **sorted = calloc(log->count + 1, sizeof(void *));
	size_t n = 0;
	bool born = false, dead = false;

	ck_assert_ptr_nonnull(sorted);
	for (size_t i = 0; i < log->count; i++) {
		const struct knell_event *e = &log->all[i].event;

		if (e->kind != KNELL_GAP && e->scope == KNELL_PROCESS &&
		    !(e->flags & KNELL_F_RECONCILED))
			sorted[n++] = &log->all[i];
	}
	qsort(sorted, n, sizeof(void *), by_identity);
	for (size_t i = 0; i < n; i++) {
		const struct knell_event *e = &sorted[i]->event;
		const struct knell_event *last = i ? &sorted[i - 1]->event : NULL;

		if (!last || last->task.tgid != e->task.tgid || last->task.start != e->task.start) {
			ck_assert_msg(!born || dead || !all_dead, "%u was born and never died",
				      last ? last->task.tgid : 0);
			born = dead = false;
		}
		if (e->kind == KNELL_INIT)
			continue;
		ck_assert_msg(born == (e->kind != KNELL_CLONE), "%u: %s %s its birth", e->task.tgid,
			      knell_kind_name(e->kind), born ? "after" : "before");
		ck_assert_msg(!dead || e->kind == KNELL_FREE, "%u: %s after its death",
			      e->task.tgid, knell_kind_name(e->kind));
		born = true;
		dead |= e->kind == KNELL_EXIT;
	}
	ck_assert(!all_dead || !born || dead);
	free(sorted);
}

/* A child's birth is told after its creator's. */
static void expect_parents_first(const struct log *log)
{
	uint64_t *start = calloc(4u << 20, sizeof(*start));
	unsigned int orphans = 0;

	ck_assert_ptr_nonnull(start);
	for (size_t i = 0; i < log->count; i++) {
		const struct knell_event *e = &log->all[i].event;

		if (e->kind != KNELL_CLONE || e->scope != KNELL_PROCESS)
			continue;
		start[e->task.tgid] = e->task.start;
		if (!(e->flags & KNELL_F_ROOT) && start[e->parent.tgid] != e->parent.start)
			orphans++;
	}
	free(start);
	ck_assert_msg(orphans == 0, "%u births were told before their parents'", orphans);
}

/* A storm of workers on all CPUs; who tells what? */
START_TEST(whole_lives)
{
	struct knell_stats stats;
	unsigned int deaths;
	struct log log;

	log_open(&log, (struct knell_options){ .flags = KNELL_O_FREE, .reserve = 200000 });
	start_reapers(&log);
	deaths = start_storm(&log, 4, test_scaled(20000));
	await(&log, KNELL_EXIT, deaths);
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	expect_lives(&log, true);
	expect_parents_first(&log);
	ck_assert_uint_eq(log.kinds[KNELL_EXIT], deaths);
	ck_assert_uint_eq(log.lost, 0);
	ck_assert_uint_eq(log.loose, is_split() ? 0 : log.count);
	ck_assert_uint_eq(log.unmasked, 0);
	ck_assert_uint_eq(log.lazy, 0);
	knell_get_stats(log.engine, &stats);
	ck_assert_uint_eq(stats.records, log.count);
	log_close(&log);
}
END_TEST

/* Chains of births, from CPU to CPU: a child may have its own child before its parent is told. */
START_TEST(long_chains)
{
	unsigned int depth = test_scaled(3000), chains = 4;
	struct log log;
	char number[16];

	snprintf(number, sizeof(number), "%u", depth);
	log_open(&log, (struct knell_options){ .reserve = 200000 });
	start_reapers(&log);
	for (unsigned int i = 0; i < chains; i++)
		start_on(&log, -1, LIST(test_program("chain"), number));
	await(&log, KNELL_EXIT, (uint64_t)chains * (depth + 1));
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	expect_lives(&log, true);
	expect_parents_first(&log);
	log_close(&log);
}
END_TEST

static unsigned int reaper_count(struct log *log)
{
	struct knell_reaper_stats stats;
	unsigned int n = 0;

	while (knell_reapers_get_stats(log->engine, n, &stats) == 0)
		n++;
	return n;
}

static void need_two_cpus(void)
{
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	if (CPU_COUNT(&set) < 2 || !CPU_ISSET(0, &set) || !CPU_ISSET(1, &set))
		test_skip("CPUs 0 and 1 are needed");
	if (!is_split())
		test_skip("%s has one stream for all CPUs, so one reaper", test_source());
	/* Homes of others have their reapers on these two, then. */
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	CPU_SET(1, &set);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* Was the last death of this CPU's home told by its own reaper? From then on all are. */
static bool told_at_home(struct log *log, int cpu)
{
	bool at_home = false;

	pthread_mutex_lock(&log->lock);
	for (size_t i = 0; i < log->count; i++) {
		const struct heard *h = &log->all[i];

		if (h->event.kind == KNELL_EXIT && h->event.ring == (unsigned int)cpu)
			at_home = h->cpu == cpu;
	}
	pthread_mutex_unlock(&log->lock);
	return at_home;
}

/*
 * Something happens on this CPU, and again, until its home has its own reaper. Returns how many
 * deaths were told.
 */
static unsigned int warm_up(struct log *log, int cpu)
{
	double end = now() + test_seconds(PATIENCE);
	unsigned int deaths = 0;

	while (!told_at_home(log, cpu)) {
		uint64_t before = heard_of(log, KNELL_EXIT);

		ck_assert_msg(now() < end, "CPU %d has no reaper", cpu);
		start_on(log, cpu, LIST(test_program("tiny"), "0"));
		await(log, KNELL_EXIT, before + 1);
		deaths++;
		sleep_ms(30);
	}
	return deaths;
}

/* They come when something happens on their CPU, and tell what was born there, there. */
START_TEST(each_at_home)
{
	struct knell_reaper_stats stats;
	unsigned int n = test_scaled(1000), deaths;
	size_t first;
	struct log log;
	char number[16];

	need_two_cpus();
	snprintf(number, sizeof(number), "%u", n);
	log_open(&log, (struct knell_options){ 0 });
	start_reapers(&log);
	ck_assert_uint_eq(reaper_count(&log), 1);
	deaths = warm_up(&log, 0);
	deaths += warm_up(&log, 1);
	ck_assert_uint_eq(reaper_count(&log), 2);
	pthread_mutex_lock(&log.lock);
	first = log.count;
	pthread_mutex_unlock(&log.lock);
	start_on(&log, 0, LIST(test_program("storm"), "-n", number, "--cpu", "0"));
	start_on(&log, 1, LIST(test_program("storm"), "-n", number, "--cpu", "1"));
	await(&log, KNELL_EXIT, deaths + 2 * (n + 1));
	ck_assert_uint_eq(reaper_count(&log), 2);
	for (unsigned int i = 0; knell_reapers_get_stats(log.engine, i, &stats) == 0; i++) {
		ck_assert_uint_lt(stats.cpu, 2);
		ck_assert_uint_ge(stats.homes, 1);
		ck_assert_uint_gt(stats.wakeups, 0);
		ck_assert_uint_ge(stats.rounds, stats.wakeups);
	}
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	for (size_t i = first; i < log.count; i++) {
		const struct heard *h = &log.all[i];

		if (h->event.kind == KNELL_EXIT)
			ck_assert_msg(h->cpu == (int)h->event.ring,
				      "the death of one of home %u was told on CPU %d",
				      h->event.ring, h->cpu);
	}
	log_close(&log);
}
END_TEST

/* ---- slow callbacks ---- */

struct slow {
	bool in; /* atomic */
	bool go; /* atomic: it may return */
};

static int be_slow(const struct knell_event *event, void *userdata)
{
	struct slow *slow = userdata;

	if (event->kind != KNELL_EXIT || event->u.exit.status != W_EXITCODE(77, 0))
		return 0;
	__atomic_store_n(&slow->in, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&slow->go, __ATOMIC_SEQ_CST))
		sleep_ms(5);
	return 0;
}

START_TEST(slow_callback)
{
	struct slow slow = { 0 };
	struct knell_reaper_stats stats;
	uint64_t before;
	struct log log;

	need_two_cpus();
	log_open(&log, (struct knell_options){ 0 });
	ck_assert_int_eq(knell_watcher_add(log.engine, KNELL_MASK(KNELL_EXIT), be_slow, &slow), 0);
	start_reapers(&log);
	warm_up(&log, 0);
	warm_up(&log, 1);
	start_on(&log, 0, LIST(test_program("tiny"), "77"));
	await_flag(&slow.in, "the slow callback is not called");
	/* The other CPU's go on, and so does what has no home. */
	before = heard_of(&log, KNELL_EXIT);
	for (int i = 0; i < 20; i++)
		start_on(&log, 1, LIST(test_program("tiny"), "0"));
	await(&log, KNELL_EXIT, before + 20);
	/* Its own CPU's wait. */
	start_on(&log, 0, LIST(test_program("tiny"), "0"));
	sleep_ms(300);
	ck_assert_uint_eq(heard_of(&log, KNELL_EXIT), before + 20);
	__atomic_store_n(&slow.go, true, __ATOMIC_SEQ_CST);
	await(&log, KNELL_EXIT, before + 21);
	for (unsigned int i = 0; knell_reapers_get_stats(log.engine, i, &stats) == 0; i++) {
		if (stats.cpu == 0)
			ck_assert_uint_gt(stats.slowest_ns, 300000000);
	}
	log_close(&log);
}
END_TEST

/* ---- watches ---- */

#define SETTERS 3

struct setter {
	struct log *log;
	unsigned int count;
	unsigned int exited, gone, absent; /* atomic */
	unsigned int wrong;                /* atomic */
	bool cancels;
};

static void on_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
		       void *userdata)
{
	struct setter *me = userdata;

	(void)watch;
	if (verdict->kind == KNELL_EXITED) {
		__atomic_add_fetch(&me->exited, 1, __ATOMIC_RELAXED);
		if (!WIFEXITED(verdict->event->u.exit.status) ||
		    WEXITSTATUS(verdict->event->u.exit.status) != (int)(verdict->cookie % 7))
			__atomic_add_fetch(&me->wrong, 1, __ATOMIC_RELAXED);
	} else {
		__atomic_add_fetch(verdict->kind == KNELL_GONE ? &me->gone : &me->absent, 1,
				   __ATOMIC_RELAXED);
	}
}

/* Children that die at once, and after a moment: the watch is set while they do. */
static void *set_watches(void *arg)
{
	struct setter *me = arg;

	for (unsigned int i = 0; i < me->count; i++) {
		struct knell_watch_options options = { .size = sizeof(options),
						       .cookie = i,
						       .moment =
							       i % 2 ? KNELL_AT_DEAD : KNELL_AT_ANY,
						       .fn = on_verdict,
						       .userdata = me };
		struct knell_watch *watch = NULL;
		pid_t pid = fork();
		int r;

		if (pid == 0) {
			if (i % 3 == 0)
				usleep(i % 300);
			_exit((int)(i % 7));
		}
		r = pid < 0 ? -1
			    : knell_watch_pid(me->log->engine, me->cancels ? &watch : NULL, pid,
					      &options);
		if (r < 0)
			__atomic_add_fetch(&me->wrong, 1, __ATOMIC_RELAXED);
		else if (me->cancels)
			knell_watch_cancel(watch);
		/* The setter's own wait is the reaping. */
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	return NULL;
}

/* From several threads while reapers tell them: each has one verdict. */
START_TEST(one_verdict_each)
{
	struct setter setters[SETTERS];
	pthread_t threads[SETTERS];
	unsigned int n = test_scaled(600);
	double end;
	struct log log;

	if (!is_split())
		test_skip("a zombie's status is taken by the wait in this test: %s may not see it",
			  test_source());
	log_open(&log, (struct knell_options){ 0 });
	start_reapers(&log);
	for (unsigned int i = 0; i < SETTERS; i++) {
		setters[i] = (struct setter){ .log = &log, .count = n, .cancels = i == 2 };
		ck_assert_int_eq(pthread_create(&threads[i], NULL, set_watches, &setters[i]), 0);
	}
	for (unsigned int i = 0; i < SETTERS; i++)
		pthread_join(threads[i], NULL);
	end = now() + test_seconds(PATIENCE);
	for (unsigned int i = 0; i < 2; i++) {
		struct setter *s = &setters[i];

		while (__atomic_load_n(&s->exited, __ATOMIC_RELAXED) < n) {
			ck_assert_msg(now() < end, "%u of %u verdicts, %u gone, %u absent",
				      s->exited, n, s->gone, s->absent);
			sleep_ms(5);
		}
	}
	sleep_ms(300);
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	for (unsigned int i = 0; i < 2; i++) {
		ck_assert_uint_eq(setters[i].exited, n);
		ck_assert_uint_eq(setters[i].gone + setters[i].absent, 0);
	}
	ck_assert_uint_eq(setters[0].wrong + setters[1].wrong + setters[2].wrong, 0);
	log_close(&log);
}
END_TEST

struct held {
	bool in, go, out; /* atomic */
};

static void hold(struct knell_watch *watch, const struct knell_verdict *verdict, void *userdata)
{
	struct held *held = userdata;

	(void)watch;
	(void)verdict;
	__atomic_store_n(&held->in, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&held->go, __ATOMIC_SEQ_CST))
		sleep_ms(5);
	sleep_ms(50);
	__atomic_store_n(&held->out, true, __ATOMIC_SEQ_CST);
}

static void *let_go(void *arg)
{
	sleep_ms(200);
	__atomic_store_n(&((struct held *)arg)->go, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* When the cancel has returned the callback has, too. */
START_TEST(cancel_waits)
{
	struct held held = { 0 };
	struct knell_watch_options options = { .size = sizeof(options),
					       .fn = hold,
					       .userdata = &held };
	struct knell_watch *watch = NULL;
	pthread_t thread;
	struct log log;
	pid_t pid;

	log_open(&log, (struct knell_options){ 0 });
	start_reapers(&log);
	pid = spawn(&(struct spawn){ 0 }, LIST("/bin/sleep", "120"));
	ck_assert_int_eq(knell_watch_pid(log.engine, &watch, pid, &options), 0);
	kill(pid, SIGKILL);
	await_flag(&held.in, "no verdict");
	ck_assert_int_eq(pthread_create(&thread, NULL, let_go, &held), 0);
	knell_watch_cancel(watch);
	ck_assert(__atomic_load_n(&held.out, __ATOMIC_SEQ_CST));
	pthread_join(thread, NULL);
	await_exit(pid);
	log_close(&log);
}
END_TEST

/* ---- what may not be called, and by whom ---- */

struct forbidden {
	struct knell_engine *engine;
	int stop, reconcile, dispatch;
};

static int try_forbidden(const struct knell_event *event, void *userdata)
{
	struct forbidden *f = userdata;

	(void)event;
	f->stop = knell_reapers_stop(f->engine);
	f->reconcile = knell_reconcile(f->engine);
	f->dispatch = knell_dispatch(f->engine);
	return 0;
}

START_TEST(refused)
{
	struct forbidden f = { 0 };
	struct log log;
	unsigned int index = 1000;
	struct knell_reaper_stats stats;

	log_open(&log, (struct knell_options){ 0 });
	f.engine = log.engine;
	ck_assert_int_eq(knell_watcher_add(log.engine, KNELL_MASK(KNELL_EXIT), try_forbidden, &f),
			 0);
	ck_assert_int_eq(knell_reapers_get_stats(log.engine, 0, &stats), -ENOENT);
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	start_reapers(&log);
	ck_assert_int_eq(knell_reapers_start(log.engine), -EALREADY);
	ck_assert_int_eq(knell_dispatch(log.engine), -EBUSY);
	ck_assert(strstr(knell_last_error(), "knell_reapers_stop"));
	ck_assert_int_eq(knell_reapers_get_stats(log.engine, index, &stats), -ENOENT);
	start_on(&log, -1, LIST(test_program("tiny"), "0"));
	await(&log, KNELL_EXIT, 1);
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	ck_assert_int_eq(f.stop, -EDEADLK);
	ck_assert_int_eq(f.reconcile, -EDEADLK);
	ck_assert_int_eq(f.dispatch, -EBUSY);
	ck_assert_int_ge(knell_dispatch(log.engine), 0);
	log_close(&log);
}
END_TEST

/* ---- coming and going ---- */

/* Ours, by their names: a sanitizer may have threads of its own. */
static unsigned int reaper_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned int n = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL) {
		char path[300], *name;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		name = entry->d_name[0] == '.' ? NULL : read_file(path);
		n += name && strncmp(name, "knell-reap", 10) == 0;
		free(name);
	}
	closedir(dir);
	return n;
}

/* One that was joined may be seen for a moment. */
static void expect_no_reapers(void)
{
	double end = now() + test_seconds(PATIENCE);

	while (reaper_threads()) {
		ck_assert_msg(now() < end, "a reaper is left behind");
		sleep_ms(5);
	}
}

/* Reapers start and stop while it storms; between, the host dispatches. */
START_TEST(start_and_stop)
{
	unsigned int n = test_scaled(20000), rounds = 0, deaths;
	unsigned int fds = count_entries("/proc/self/fd");
	double end = now() + test_seconds(PATIENCE);
	struct log log;

	log_open(&log, (struct knell_options){ .reserve = 200000 });
	deaths = start_storm(&log, 2, n);
	while (heard_of(&log, KNELL_EXIT) < deaths || rounds < 6) {
		ck_assert_msg(now() < end, "%llu of %u deaths in %u rounds",
			      (unsigned long long)heard_of(&log, KNELL_EXIT), deaths, rounds);
		if (heard_of(&log, KNELL_EXIT) >= deaths)
			deaths += start_storm(&log, 2, n / 10 + 1);
		start_reapers(&log);
		sleep_ms(rounds++ % 20);
		reap(&log);
		ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
		if (rounds % 2)
			ck_assert_int_ge(knell_dispatch(log.engine), 0);
	}
	expect_lives(&log, true);
	expect_parents_first(&log);
	ck_assert_uint_eq(log.kinds[KNELL_EXIT], deaths);
	expect_no_reapers();
	/* What is left when they stop makes the host's descriptor readable. */
	start_reapers(&log);
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	start_on(&log, -1, LIST(test_program("tiny"), "0"));
	while (heard_of(&log, KNELL_EXIT) < deaths + 1) {
		struct pollfd pollfd = { .fd = knell_fd(log.engine), .events = POLLIN };

		ck_assert_msg(poll(&pollfd, 1, (int)(1000 * test_seconds(PATIENCE))) == 1,
			      "the host was not woken");
		ck_assert_int_ge(knell_dispatch(log.engine), 0);
		reap(&log);
	}
	log_close(&log);
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
}
END_TEST

/* Closed in the middle of it all. */
START_TEST(close_in_a_storm)
{
	unsigned int fds = count_entries("/proc/self/fd");
	struct log log;
	pid_t pid;

	for (int i = 0; i < 5; i++) {
		log_open(&log, (struct knell_options){ 0 });
		start_reapers(&log);
		pid = start_on(&log, -1, LIST(test_program("storm"), "-n", "1000", "-j", "2"));
		sleep_ms((unsigned int)i * 10);
		log_close(&log);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	expect_no_reapers();
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
}
END_TEST

static void set_all(const cpu_set_t *set)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.')
			sched_setaffinity((pid_t)strtol(entry->d_name, NULL, 10), sizeof(*set),
					  set);
	}
	closedir(dir);
}

static bool only_on(struct log *log, unsigned int cpu)
{
	struct knell_reaper_stats stats;
	unsigned int n = 0;
	bool there = true;

	while (knell_reapers_get_stats(log->engine, n, &stats) == 0) {
		there &= stats.cpu == cpu;
		n++;
	}
	return there && n == 1;
}

/* The process loses a CPU and gets it back, as by taskset -a or a cpuset. */
START_TEST(mask_is_followed)
{
	cpu_set_t before, one;
	double end = now() + test_seconds(PATIENCE);
	unsigned int started;
	struct log log;

	need_two_cpus();
	ck_assert_int_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	log_open(&log, (struct knell_options){ 0 });
	start_reapers(&log);
	started = warm_up(&log, 0);
	started += warm_up(&log, 1);
	ck_assert_uint_eq(reaper_count(&log), 2);
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	set_all(&one);
	while (!only_on(&log, 0)) {
		ck_assert_msg(now() < end, "there is still a reaper on the CPU that was taken");
		start_on(&log, -1, LIST(test_program("tiny"), "0"));
		started++;
		sleep_ms(20);
	}
	/* Its thread has gone, too. */
	while (reaper_threads() > 2) {
		ck_assert_msg(now() < end, "a thread was left behind");
		start_on(&log, -1, LIST(test_program("tiny"), "0"));
		started++;
		sleep_ms(20);
	}
	set_all(&before);
	while (reaper_count(&log) < 2) {
		ck_assert_msg(now() < end, "no reaper on the CPU that was given back");
		start_on(&log, 1, LIST(test_program("tiny"), "0"));
		started++;
		sleep_ms(20);
	}
	await(&log, KNELL_EXIT, started);
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	expect_lives(&log, true);
	ck_assert_uint_eq(log.kinds[KNELL_EXIT], started);
	log_close(&log);
}
END_TEST

static int count_one(const struct knell_event *event, void *userdata)
{
	(void)event;
	__atomic_add_fetch((uint64_t *)userdata, 1, __ATOMIC_RELAXED);
	return 0;
}

/* Plugins and watchers come and leave while reapers tell: who has left is not called any more. */
START_TEST(watchers_come_and_leave)
{
	unsigned int n = test_scaled(20000), rounds = 0, deaths;
	double end = now() + test_seconds(PATIENCE);
	uint64_t calls = 0, after;
	struct log log;

	log_open(&log, (struct knell_options){ .reserve = 200000 });
	start_reapers(&log);
	deaths = start_storm(&log, 2, n);
	/* Where a storm is over before they came and left this often there is another. */
	while (heard_of(&log, KNELL_EXIT) < deaths || rounds < 6 || !calls) {
		struct knell_plugin *plugin = NULL;

		ck_assert_msg(now() < end, "%llu of %u deaths, %llu calls in %u rounds",
			      (unsigned long long)heard_of(&log, KNELL_EXIT), deaths,
			      (unsigned long long)calls, rounds);
		if (heard_of(&log, KNELL_EXIT) >= deaths)
			deaths += start_storm(&log, 2, n / 10 + 1);
		ck_assert_msg(knell_plugin_load(log.engine, &plugin, test_program("teller.so"),
						"teller.txt") == 0,
			      "%s", knell_last_error());
		ck_assert_int_eq(knell_watcher_add(log.engine, KNELL_MASK_ALL, count_one, &calls),
				 0);
		sleep_ms(rounds++ % 5);
		ck_assert_int_eq(knell_watcher_remove(log.engine, count_one, &calls), 0);
		after = __atomic_load_n(&calls, __ATOMIC_RELAXED);
		ck_assert_ptr_null(knell_plugin_unload(plugin));
		ck_assert_uint_eq(__atomic_load_n(&calls, __ATOMIC_RELAXED), after);
		reap(&log);
	}
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	expect_lives(&log, true);
	ck_assert_uint_eq(log.kinds[KNELL_EXIT], deaths);
	log_close(&log);
}
END_TEST

#define CPU_SWITCH "/sys/devices/system/cpu/cpu1/online"

/* A CPU goes and comes back during a storm. Only in a machine that is ours alone. */
START_TEST(hotplug)
{
	unsigned int deaths;
	struct log log;

	if (!getenv("KNELL_VM"))
		test_skip("CPUs are switched off in the virtual machine only (make vm-check)");
	if (access(CPU_SWITCH, W_OK) < 0)
		test_skip("%s cannot be written: %s", CPU_SWITCH, strerror(errno));
	log_open(&log, (struct knell_options){ .reserve = 200000 });
	start_reapers(&log);
	deaths = start_storm(&log, 4, test_scaled(20000));
	for (int i = 0; i < 5; i++) {
		sleep_ms(300);
		write_file(CPU_SWITCH, "0");
		sleep_ms(300);
		write_file(CPU_SWITCH, "1");
	}
	await(&log, KNELL_EXIT, deaths);
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	expect_lives(&log, true);
	expect_parents_first(&log);
	ck_assert_uint_eq(log.kinds[KNELL_EXIT], deaths);
	ck_assert_uint_eq(log.lost, 0);
	expect_no_reapers();
	log_close(&log);
}
END_TEST

/* ---- too much ---- */

/* Births and deaths that were told or counted as lost. */
static void sum_up(struct log *log, uint64_t *ret_births, uint64_t *ret_deaths)
{
	pthread_mutex_lock(&log->lock);
	*ret_births = log->kinds[KNELL_CLONE];
	*ret_deaths = log->kinds[KNELL_EXIT];
	for (size_t i = 0; i < log->count; i++) {
		const struct knell_event *e = &log->all[i].event;

		if (e->kind == KNELL_GAP) {
			*ret_births += e->u.gap.births;
			*ret_deaths += e->u.gap.deaths;
		} else if (e->kind == KNELL_CLONE && e->flags & KNELL_F_RECONCILED) {
			--*ret_births;
		}
	}
	pthread_mutex_unlock(&log->lock);
}

/* A reserve that is too small: births and deaths that are told, and gaps, are the truth. */
START_TEST(loss_is_exact)
{
	unsigned int n = test_scaled(4000), truth;
	uint64_t births, deaths;
	double end = now() + test_seconds(PATIENCE);
	struct log log;

	if (!test_source_in_kernel())
		test_skip("%s has no reserve", test_source());
	log_open(&log, (struct knell_options){ .reserve = 8, .ring_size = 4096 });
	start_reapers(&log);
	truth = start_storm(&log, 4, n);
	/* Should reapers keep up with a whole storm there is another. */
	for (;;) {
		sum_up(&log, &births, &deaths);
		if (deaths >= truth && heard_of(&log, KNELL_GAP))
			break;
		if (deaths >= truth)
			truth += start_storm(&log, 4, n);
		ck_assert_msg(now() < end, "%llu deaths of %u", (unsigned long long)deaths, truth);
		reap(&log);
		sleep_ms(5);
	}
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	sum_up(&log, &births, &deaths);
	ck_assert_uint_eq(deaths, truth);
	ck_assert_uint_eq(births, truth);
	ck_assert_uint_gt(log.lost, 0);
	log_close(&log);
}
END_TEST

/* A stream of the whole system: those that live are told again after a loss. */
START_TEST(stream)
{
	unsigned int n = test_scaled(2000);
	struct log log;
	char number[16];
	pid_t pid;
	int r;

	if (test_source_is("ptrace"))
		test_skip("ptrace has no streams");
	snprintf(number, sizeof(number), "%u", n);
	log_open(&log, (struct knell_options){ .flags = KNELL_O_STREAM });
	start_reapers(&log);
	pid = spawn(&(struct spawn){ 0 }, LIST(test_program("storm"), "-n", number, "-j", "2"));
	ck_assert_int_eq(await_exit(pid), 0);
	await(&log, KNELL_EXIT, n + 3);
	r = knell_reconcile(log.engine);
	ck_assert_msg(r > 0, "knell_reconcile: %d %s", r, knell_last_error());
	ck_assert_int_eq(knell_reapers_stop(log.engine), 0);
	log_close(&log);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "lives", 120);

	tcase_add_test(tcase, whole_lives);
	tcase_add_test(tcase, long_chains);
	tcase_add_test(tcase, each_at_home);
	tcase_add_test(tcase, slow_callback);
	tcase_add_test(tcase, loss_is_exact);
	tcase_add_test(tcase, stream);

	tcase = test_case(suite, "watches", 120);
	tcase_add_test(tcase, one_verdict_each);
	tcase_add_test(tcase, cancel_waits);

	tcase = test_case(suite, "changes", 120);
	tcase_add_test(tcase, refused);
	tcase_add_test(tcase, start_and_stop);
	tcase_add_test(tcase, close_in_a_storm);
	tcase_add_test(tcase, watchers_come_and_leave);
	tcase_add_test(tcase, mask_is_followed);
	tcase_add_test(tcase, hotplug);
}
