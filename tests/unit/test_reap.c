/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_reap.c - the ways of reaping: announced children by number, others by peek, sweep or a wait
 * for any; and which of them knell_reap() takes. Each test is a process of its own, so whoever is a
 * child was made by the test.
 */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "fake_source.h"
#include "main.h"
#include "reap/children.h"

#define MANY      100
#define MANY_MORE 1000000
#define ROOM      200
#define ABSENT    20

struct reaped {
	int n;
	pid_t pid[ROOM];
	int status[ROOM];
};

static void on_reaped(pid_t pid, int status, void *userdata)
{
	struct reaped *reaped = userdata;

	ck_assert_int_lt(reaped->n, ROOM);
	reaped->pid[reaped->n] = pid;
	reaped->status[reaped->n++] = status;
}

/* In use; a sanitizer's allocator says 0. */
static size_t memory(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static struct children *opened(void)
{
	struct children *c = NULL;

	ck_assert_int_eq(children_open(&c), 0);
	return c;
}

static struct children_stats stats_of(const struct children *c)
{
	struct children_stats stats;

	children_get_stats(c, &stats);
	return stats;
}

/* Is dead, and exited with this code. */
static pid_t zombie(int code)
{
	struct child child = child_start(NULL);

	child_exit(&child, code);
	close(child.fd);
	return child.pid;
}

/* Where there are no children lists (CONFIG_PROC_CHILDREN) nothing can be swept. */
static bool has_lists(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	return access(path, R_OK) == 0;
}

static bool has(const struct reaped *reaped, pid_t pid)
{
	int n = 0;

	for (int i = 0; i < reaped->n; i++)
		n += reaped->pid[i] == pid;
	ck_assert_int_le(n, 1);
	return n;
}

START_TEST(test_announced)
{
	struct children *c = opened();
	struct reaped reaped = { 0 };
	pid_t first, second;

	zombie(1);
	zombie(2);
	children_all_announced(c, true);
	/* The first call of all peeks; then nothing needs to for a while. */
	ck_assert_int_eq(children_reap(c, NULL, NULL), 2);
	ck_assert_uint_eq(stats_of(c).peeked, 2);
	first = zombie(3);
	second = zombie(4);
	children_announce(c, first);
	children_announce(c, second);
	children_announce(c, first);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 2);
	ck_assert_int_eq(reaped.pid[0], first);
	ck_assert_int_eq(reaped.status[0], 3 << 8);
	ck_assert_int_eq(reaped.pid[1], second);
	ck_assert_int_eq(reaped.status[1], 4 << 8);
	ck_assert_uint_eq(stats_of(c).directed, 2);
	ck_assert_uint_eq(stats_of(c).not_ours, 0);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), -ECHILD);
	children_close(c);
}
END_TEST

START_TEST(test_announced_before_it_is_dead)
{
	struct children *c = opened();
	struct child child = child_start(NULL);
	struct reaped reaped = { 0 };

	children_announce(c, child.pid);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 0);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 0);
	/* Should no signal come. */
	ck_assert_int_eq(children_timeout(c), CHILDREN_PEEK_MS);
	child_exit(&child, 9);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 1);
	ck_assert_int_eq(reaped.status[0], 9 << 8);
	ck_assert_uint_eq(stats_of(c).directed, 1);
	ck_assert_int_eq(children_timeout(c), -1);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), -ECHILD);
	children_close(c);
}
END_TEST

/* A process that somebody else has to wait for, and numbers that nobody has. */
START_TEST(test_not_ours)
{
	struct children *c = opened();
	struct child mother = child_start(NULL);
	int pids[2];
	pid_t pid, theirs;
	char *state, path[64];

	ck_assert_int_eq(pipe(pids), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pid = fork();
		if (pid == 0)
			_exit(7);
		waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
		ck_assert_int_eq(write(pids[1], &pid, sizeof(pid)), sizeof(pid));
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(pids[0], &theirs, sizeof(theirs)), sizeof(theirs));
	children_announce(c, theirs);
	children_announce(c, 0);
	children_announce(c, -1);
	children_announce(c, 4194304 + 17);
	ck_assert_int_eq(children_reap(c, NULL, NULL), 0);
	ck_assert_uint_eq(stats_of(c).not_ours, 2);
	ck_assert_uint_eq(stats_of(c).directed, 0);
	ck_assert_int_eq(children_reap(c, NULL, NULL), 0);
	ck_assert_uint_eq(stats_of(c).not_ours, 2);
	/* It is still there, for its mother. */
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)theirs);
	state = unit_read_file(path, NULL);
	ck_assert_ptr_nonnull(strstr(state, ") Z "));
	free(state);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	child_end(&mother);
	children_close(c);
}
END_TEST

START_TEST(test_unannounced)
{
	struct children *c = opened();
	struct reaped reaped = { 0 };
	struct child child = child_start(NULL);
	pid_t first = zombie(1), second = zombie(2);

	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 2);
	ck_assert(has(&reaped, first) && has(&reaped, second));
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 0);
	ck_assert_uint_eq(stats_of(c).directed, 0);
	ck_assert_uint_eq(stats_of(c).sweeps, 0);
	ck_assert_uint_eq(has_lists() ? stats_of(c).peeked : stats_of(c).any, 2);
	child_end(&child);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), -ECHILD);
	children_close(c);
}
END_TEST

/* Among announced ones: not at once, but then, and the table says when. */
START_TEST(test_unannounced_among_announced)
{
	struct children *c = opened();
	struct reaped reaped = { 0 };
	pid_t quiet;
	int ms;

	children_all_announced(c, true);
	ck_assert_int_eq(children_reap(c, NULL, NULL), -ECHILD);
	ck_assert_int_eq(children_timeout(c), -1);
	quiet = zombie(1);
	children_announce(c, zombie(2));
	poll(NULL, 0, 2 * CHILDREN_PEEK_MS);
	/* The last look is long ago. */
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 2);
	ck_assert(has(&reaped, quiet));
	ck_assert_int_eq(children_timeout(c), -1);

	/* A slow machine may be late in any round, but not in all. */
	for (int round = 0;; round++) {
		ck_assert_int_lt(round, 50);
		ck_assert_int_eq(children_reap(c, NULL, NULL), -ECHILD);
		quiet = zombie(1);
		children_announce(c, zombie(2));
		if (children_reap(c, NULL, NULL) == 1)
			break;
	}
	ms = children_timeout(c);
	ck_assert_int_ge(ms, 0);
	ck_assert_int_le(ms, CHILDREN_PEEK_MS);
	reaped.n = 0;
	/* Who asks although nobody announced is dead looks at once. */
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 1);
	ck_assert_int_eq(reaped.pid[0], quiet);
	ck_assert_int_eq(children_timeout(c), -1);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), -ECHILD);
	children_close(c);
}
END_TEST

START_TEST(test_sweep)
{
	struct children *c = opened();
	struct reaped reaped = { 0 };
	struct child living = child_start(NULL);
	pid_t pids[MANY];

	if (!has_lists()) {
		say_skipped("this kernel has no children lists");
		children_close(c);
		child_end(&living);
		return;
	}
	for (int i = 0; i < MANY; i++)
		pids[i] = zombie(i);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert(has(&reaped, pids[i]));
	ck_assert_uint_eq(stats_of(c).sweeps, 1);
	ck_assert_uint_eq(stats_of(c).swept + stats_of(c).peeked, MANY);
	ck_assert_uint_lt(stats_of(c).peeked, 20);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 0);
	child_end(&living);
	children_close(c);
}
END_TEST

/* A list is longer than any buffer, and names whoever is gone by now, or is somebody else's. */
START_TEST(test_sweep_of_a_long_list)
{
	char dir[] = "/tmp/knell-reap-XXXXXX", path[64];
	struct children *c = NULL;
	struct reaped reaped = { 0 };
	pid_t pids[MANY];
	FILE *file;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	for (int i = 0; i < MANY; i++)
		pids[i] = zombie(i);
	snprintf(path, sizeof(path), "%s/1", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/1/children", dir);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	for (int i = 0; i < MANY; i++) {
		fprintf(file, "%d ", 4194304 + i);
		/* So that a buffer of 4096 bytes, or of twice as many, ends within it. */
		while (ftell(file) % 4096 != 4094)
			fputc(' ', file);
		fprintf(file, "%d ", pids[i]);
		if (i % 2)
			fprintf(file, "%d ", pids[i]);
	}
	fclose(file);

	ck_assert_int_eq(children_open_at(&c, dir), 0);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert(has(&reaped, pids[i]));
	ck_assert_uint_eq(stats_of(c).peeked, 8);
	ck_assert_uint_eq(stats_of(c).swept, MANY - 8);
	ck_assert_int_eq(children_reap(c, NULL, NULL), -ECHILD);
	children_close(c);

	unlink(path);
	snprintf(path, sizeof(path), "%s/1", dir);
	rmdir(path);
	rmdir(dir);
}
END_TEST

START_TEST(test_without_lists)
{
	struct children *c = NULL;
	struct reaped reaped = { 0 };
	struct child child;
	pid_t announced;

	ck_assert_int_eq(children_open_at(&c, NULL), 0);
	children_announce(c, announced = zombie(5));
	child = child_start(NULL);
	for (int i = 0; i < MANY; i++)
		zombie(i);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), MANY + 1);
	ck_assert_int_eq(reaped.pid[0], announced);
	ck_assert_uint_eq(stats_of(c).any, MANY);
	ck_assert_uint_eq(stats_of(c).directed, 1);
	ck_assert_uint_eq(stats_of(c).peeks, 0);
	ck_assert_int_eq(children_reap(c, NULL, NULL), 0);
	child_end(&child);
	ck_assert_int_eq(children_reap(c, NULL, NULL), -ECHILD);
	children_close(c);
}
END_TEST

static void until_state(pid_t pid, int options)
{
	siginfo_t info;

	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, options | WNOWAIT), 0);
}

/* Each once, in each way: a peek sees a stopped child for as long as its report was not taken. */
static void stop_and_continue(struct children *c, bool announce)
{
	struct child child = child_start(NULL);
	struct reaped reaped = { 0 };

	if (announce)
		children_announce(c, child.pid);
	kill(child.pid, SIGSTOP);
	until_state(child.pid, WSTOPPED);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 1);
	ck_assert(WIFSTOPPED(reaped.status[0]));
	ck_assert_int_eq(WSTOPSIG(reaped.status[0]), SIGSTOP);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 0);
	kill(child.pid, SIGCONT);
	until_state(child.pid, WCONTINUED);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 1);
	ck_assert(WIFCONTINUED(reaped.status[1]));
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 0);
	kill(child.pid, SIGKILL);
	until_state(child.pid, WEXITED);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), 1);
	ck_assert(WIFSIGNALED(reaped.status[2]));
	ck_assert_int_eq(reaped.n, 3);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), -ECHILD);
	close(child.fd);
}

START_TEST(test_stopped_and_continued)
{
	struct children *c = opened(), *any = NULL;

	stop_and_continue(c, false);
	stop_and_continue(c, true);
	ck_assert_uint_eq(stats_of(c).directed, 1);
	ck_assert_int_eq(children_open_at(&any, NULL), 0);
	stop_and_continue(any, false);
	ck_assert_uint_eq(stats_of(any).any, 1);
	children_close(c);
	children_close(any);
}
END_TEST

START_TEST(test_no_child)
{
	struct children *c = opened();

	ck_assert_int_eq(children_reap(c, NULL, NULL), -ECHILD);
	children_announce(c, getpid());
	ck_assert_int_eq(children_reap(c, NULL, NULL), -ECHILD);
	ck_assert_uint_eq(stats_of(c).not_ours, 1);
	ck_assert_ptr_null(children_close(c));
	ck_assert_ptr_null(children_close(NULL));
}
END_TEST

static void *fork_many(void *userdata)
{
	pid_t *pids = userdata;

	for (int i = 1; i < MANY; i++)
		pids[i] = zombie(i);
	__atomic_store_n(&pids[0], zombie(0), __ATOMIC_RELEASE);
	for (;;)
		pause();
	return NULL;
}

/* Whichever of our threads has forked it: its list is swept, too. */
START_TEST(test_fork_in_another_thread)
{
	static pid_t pids[MANY];
	struct children *c = opened();
	struct reaped reaped = { 0 };
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fork_many, pids), 0);
	while (!__atomic_load_n(&pids[0], __ATOMIC_ACQUIRE))
		poll(NULL, 0, 1);
	children_announce(c, pids[0]);
	ck_assert_int_eq(children_reap(c, on_reaped, &reaped), MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert(has(&reaped, pids[i]));
	ck_assert_uint_eq(stats_of(c).directed, 1);
	if (has_lists())
		ck_assert_uint_eq(stats_of(c).sweeps, 1);
	children_close(c);
}
END_TEST

/* Numbers that nobody has, far apart: their places in the table meet now and then. */
static pid_t absent(void)
{
	static uint32_t x = 1;

	x = x * 1103515245u + 12345u;
	return (pid_t)(4194304 + (x >> 4));
}

/* The table against a plain array: added, doubled, reaped from the middle. */
START_TEST(test_many_announced)
{
	struct children *c = opened();
	struct reaped reaped = { 0 };
	struct child children[MANY];
	int dead = 0, gone = ABSENT * MANY;

	for (int i = 0; i < MANY; i++) {
		children[i] = child_start(NULL);
		children_announce(c, children[i].pid);
		/* Many that are not there. */
		for (int k = 0; k < ABSENT; k++)
			children_announce(c, absent());
	}
	for (int step = 7; dead < MANY; step += 7) {
		gone += dead;
		for (int i = 0; i < MANY; i++)
			children_announce(c, children[(i + step) % MANY].pid);
		for (int i = step % 13; i < MANY; i += 13) {
			if (children[i].fd < 0)
				continue;
			child_exit(&children[i], i);
			close(children[i].fd);
			children[i].fd = -1;
			dead++;
		}
		children_reap(c, on_reaped, &reaped);
		ck_assert_int_eq(reaped.n, dead);
	}
	for (int i = 0; i < MANY; i++)
		ck_assert(has(&reaped, children[i].pid));
	ck_assert_uint_eq(stats_of(c).directed, MANY);
	/* Each once, however often it was announced. */
	ck_assert_uint_eq(stats_of(c).not_ours, gone);
	children_close(c);
}
END_TEST

static void on_look(pid_t pid, void *userdata)
{
	siginfo_t info = { 0 };

	/* It is still there. */
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	ck_assert_int_eq(info.si_pid, pid);
	++*(int *)userdata;
}

START_TEST(test_look)
{
	struct children *c = opened(), *none = NULL;
	struct child child = child_start(NULL);
	int looks = 0;

	ck_assert_int_eq(children_open_at(&none, NULL), 0);
	children_set_look(c, on_look, &looks);
	children_set_look(none, on_look, &looks);
	children_announce(c, child.pid);
	ck_assert_int_eq(children_reap(c, NULL, NULL), 0);
	ck_assert_int_eq(looks, 0);
	child_exit(&child, 1);
	zombie(2);
	ck_assert_int_eq(children_reap(c, NULL, NULL), 2);
	ck_assert_int_eq(looks, 2);
	zombie(3);
	ck_assert_int_eq(children_reap(none, NULL, NULL), 1);
	ck_assert_int_eq(looks, 3);
	for (int i = 0; i < MANY; i++)
		zombie(i);
	ck_assert_int_eq(children_reap(c, NULL, NULL), MANY);
	ck_assert_int_eq(looks, 3 + MANY);
	close(child.fd);
	children_close(c);
	children_close(none);
}
END_TEST

/* ---- knell_reap() ---- */

static struct knell_engine *open_fake(uint32_t can)
{
	struct knell_options o = { .size = sizeof(o) };
	struct knell_engine *engine = NULL;

	ck_assert_int_eq(fake_open_able(&engine, &o, can), 0);
	return engine;
}

static void tell_exit(struct knell_engine *engine, pid_t pid, pid_t parent, uint32_t scope)
{
	struct knell_event event = {
		.size = KNELL_EVENT_HEAD + sizeof(struct knell_exit),
		.kind = KNELL_EXIT,
		.scope = (uint8_t)scope,
		.task = fake_id(pid),
		.parent = fake_id(parent),
	};

	fake_deliver(engine, &event);
}

START_TEST(test_records_announce)
{
	struct knell_engine *engine = open_fake(KNELL_CAN_FORK);
	struct knell_stats stats;
	struct child living = child_start(NULL);
	pid_t pid;

	ck_assert_int_eq(knell_reap(engine, NULL, NULL), 0);
	pid = zombie(1);
	tell_exit(engine, pid, getpid(), KNELL_PROCESS);
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), 1);
	knell_get_stats(engine, &stats);
	ck_assert_uint_eq(stats.reaped_directed, 1);
	/* What is not our child's is for others to wait for, nor is a thread's end a death. */
	pid = zombie(2);
	tell_exit(engine, pid, 1, KNELL_PROCESS);
	tell_exit(engine, pid, getpid(), KNELL_THREAD);
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), 1);
	knell_get_stats(engine, &stats);
	ck_assert_uint_eq(stats.reaped_directed, 1);
	ck_assert_uint_eq(stats.reaped_peeked + stats.reaped_any, 1);
	ck_assert_uint_eq(stats.reaped_swept, 0);
	child_end(&living);
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), -ECHILD);
	knell_close(engine);
}
END_TEST

/* No signal comes for who was left out, but the engine's descriptor polls readable. */
START_TEST(test_descriptor_wakes_for_the_rest)
{
	struct knell_engine *engine = open_fake(KNELL_CAN_FORK);
	struct pollfd p = { .fd = knell_fd(engine), .events = POLLIN };
	struct reaped reaped = { 0 };
	int r = 0;

	for (int round = 0; r != 1; round++) {
		ck_assert_int_lt(round, 50);
		/* This one looks, so none is due. */
		ck_assert_int_eq(knell_reap(engine, NULL, NULL), -ECHILD);
		zombie(1);
		tell_exit(engine, zombie(2), getpid(), KNELL_PROCESS);
		r = knell_reap(engine, NULL, NULL);
	}
	ck_assert_int_eq(poll(&p, 1, (int)(1000 * unit_patience())), 1);
	ck_assert_int_eq(knell_dispatch(engine), 0);
	ck_assert_int_eq(knell_reap(engine, on_reaped, &reaped), 1);
	ck_assert_int_eq(reaped.status[0], 1 << 8);
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), -ECHILD);
	ck_assert_int_eq(poll(&p, 1, 3 * CHILDREN_PEEK_MS), 0);
	knell_close(engine);
}
END_TEST

/* A host that does not reap is woken once, not for ever. */
START_TEST(test_descriptor_is_cleared)
{
	struct knell_engine *engine = open_fake(KNELL_CAN_FORK);
	struct pollfd p = { .fd = knell_fd(engine), .events = POLLIN };
	int wakes = 0;

	knell_reap(engine, NULL, NULL);
	tell_exit(engine, zombie(2), getpid(), KNELL_PROCESS);
	ck_assert_int_eq(knell_reap(engine, NULL, NULL), 1);
	while (poll(&p, 1, 4 * CHILDREN_PEEK_MS) > 0) {
		ck_assert_int_lt(++wakes, 3);
		ck_assert_int_eq(knell_dispatch(engine), 0);
	}
	knell_close(engine);
}
END_TEST

/* With reapers, who never calls knell_reap() pays for no child; who does, misses none. */
START_TEST(test_never_reaped)
{
	struct knell_event e = { .size = KNELL_EVENT_HEAD + sizeof(e.u.exit),
				 .kind = KNELL_EXIT,
				 .scope = KNELL_PROCESS };
	struct knell_engine *engine = NULL;
	struct reaped reaped = { 0 };
	size_t before;
	pid_t pid;

	ck_assert_int_eq(fake_open(&engine, NULL), 0);
	ck_assert_int_eq(knell_reapers_start(engine), 0);
	e.parent.tgid = (uint32_t)getpid();
	before = memory();
	for (unsigned int i = 0; i < MANY_MORE; i++) {
		e.task.tgid = 1000000 + i % 100000;
		fake_deliver(engine, &e);
	}
	ck_assert_uint_lt(memory() - before, 1u << 20);
	pid = zombie(7);
	e.task.tgid = (uint32_t)pid;
	fake_deliver(engine, &e);
	while (reaped.n == 0)
		ck_assert_int_ge(knell_reap(engine, on_reaped, &reaped), 0);
	ck_assert_int_eq(reaped.pid[0], pid);
	ck_assert_int_eq(reaped.status[0], 7 << 8);
	knell_close(engine);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("reap");
	TCase *tc = unit_case(suite, "children");

	tcase_add_test(tc, test_announced);
	tcase_add_test(tc, test_announced_before_it_is_dead);
	tcase_add_test(tc, test_not_ours);
	tcase_add_test(tc, test_unannounced);
	tcase_add_test(tc, test_unannounced_among_announced);
	tcase_add_test(tc, test_sweep);
	tcase_add_test(tc, test_sweep_of_a_long_list);
	tcase_add_test(tc, test_without_lists);
	tcase_add_test(tc, test_stopped_and_continued);
	tcase_add_test(tc, test_no_child);
	tcase_add_test(tc, test_fork_in_another_thread);
	tcase_add_test(tc, test_many_announced);
	tcase_add_test(tc, test_look);
	tc = unit_case(suite, "engine");
	tcase_add_test(tc, test_records_announce);
	tcase_add_test(tc, test_descriptor_wakes_for_the_rest);
	tcase_add_test(tc, test_descriptor_is_cleared);
	tcase_add_test(tc, test_never_reaped);
	return suite;
}
