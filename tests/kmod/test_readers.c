/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_readers.c - readers that are killed in the middle of a read, and readers that crash: no
 * record is lost or told twice, and nothing of their sessions stays behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define ROUNDS  100
#define CROWD   20
#define READERS 2
#define ROOM    65536 /* for what one reader reads */
#define LONGEST 560   /* no record is longer */

/* A reader whose memory outlives it: what the kernel gave it can be looked at. */
static pid_t reader_at(int session, char *room, struct gate *gate)
{
	pid_t pid = spawn();
	size_t at = 0;
	ssize_t got;

	if (pid)
		return pid;
	gate_open(gate); /* our ends of it */
	/* All of it is mapped before, so that no copy is cut short by a page fault when we die. */
	for (at = 0; at < ROOM; at += 4096)
		*(volatile char *)(room + at) = 0;
	/* One record at a time, so that there are many moments to die at. */
	for (at = 0; at < ROOM - LONGEST; at += (size_t)got) {
		got = read(session, room + at, LONGEST);
		if (got <= 0)
			_exit(1);
	}
	_exit(2);
}

/* Adds what is in a reader's room: how many. */
static int look_at(const char *room, int *by_seq, int *by_cookie, size_t count)
{
	struct knell_event event;
	int found = 0;
	size_t at;

	for (at = 0; at < ROOM - sizeof(event); at += event.size) {
		memcpy(&event, room + at, sizeof(event));
		if (!event.size)
			break;
		ck_assert_uint_eq(event.version, KNELL_EVENT_VERSION);
		ck_assert_uint_eq(event.kind, KNELL_EXIT);
		ck_assert_uint_lt(event.seq, count);
		ck_assert_uint_lt(event.cookie, count);
		by_seq[event.seq]++;
		by_cookie[event.cookie]++;
		found++;
	}
	return found;
}

START_TEST(killed_mid_read)
{
	char *rooms = mmap(NULL, (size_t)READERS * ROOM, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static int by_seq[ROUNDS * CROWD], by_cookie[ROUNDS * CROWD];
	int session = session_open(0), round, i, all = 0, cut = 0, found;
	struct hearing rest = { .next_seq = 0 };
	size_t count = 0, left;

	ck_assert_ptr_ne(rooms, MAP_FAILED);
	for (round = 0; round < ROUNDS; round++) {
		pid_t crowd[CROWD], readers[READERS];
		struct gate gate;

		memset(rooms, 0, (size_t)READERS * ROOM);
		gate_make(&gate);
		for (i = 0; i < CROWD; i++) {
			crowd[i] = spawn_at(&gate, 1);
			ck_assert_int_eq(session_watch(session, crowd[i], 0, EXITS, count++, 0), 0);
		}
		for (i = 0; i < READERS; i++)
			readers[i] = reader_at(session, rooms + (size_t)i * ROOM, &gate);
		gate_open(&gate);
		for (i = 0; i < CROWD * (round % 8) / 8; i++)
			reap(crowd[i]);
		for (left = (size_t)i, i = 0; i < READERS; i++) {
			kill(readers[i], SIGKILL);
			ck_assert(WIFSIGNALED(reap(readers[i])));
		}
		for (; left < CROWD; left++)
			reap(crowd[left]);
		for (found = 0, i = 0; i < READERS; i++)
			found += look_at(rooms + (size_t)i * ROOM, by_seq, by_cookie,
					 (size_t)ROUNDS * CROWD);
		all += found;
		cut += found && all < (int)count; /* between two records */
	}
	ck_assert_int_gt(cut, 0);
	/* What no reader lived to take; numbered on from there. */
	rest.next_seq = (uint64_t)all;
	hear_until(&rest, session, (size_t)(ROUNDS * CROWD - all));
	fcntl(session, F_SETFL, O_NONBLOCK);
	hear_nothing(session);
	for (left = 0; left < rest.count; left++) {
		by_seq[rest.all[left].event.seq]++;
		by_cookie[rest.all[left].event.cookie]++;
	}
	for (i = 0; i < ROUNDS * CROWD; i++) {
		ck_assert_msg(by_cookie[i] == 1, "death %d came %d times", i, by_cookie[i]);
		ck_assert_msg(by_seq[i] == 1, "record %d came %d times", i, by_seq[i]);
	}
	hearing_end(&rest);
	munmap(rooms, (size_t)READERS * ROOM);
	close(session);
}
END_TEST

static void *wait_in_read(void *session)
{
	char buffer[4096];

	while (read(*(int *)session, buffer, sizeof(buffer)) > 0)
		;
	return NULL;
}

/* A process that has a session of its own on `target`, and ends badly while it reads. */
static void crash(pid_t target, int how)
{
	int session = session_open(0);
	char *volatile bad = NULL;
	pthread_t thread;

	signal(SIGABRT, SIG_DFL);
	if (session_watch(session, target, KNELL_KMOD_SUBTREE | (how & 1 ? KNELL_KMOD_DEAD : 0),
			  LIVES, 1, how & 2 ? 100 : 2))
		_exit(90);
	if (pthread_create(&thread, NULL, wait_in_read, &session))
		_exit(91);
	usleep(1000);
	switch (how % 5) {
	case 0:
		abort();
	case 1:
		__builtin_trap();
	case 2:
		*(volatile char *)bad = 0; /* NOLINT: it is NULL */
		break;
	case 3: /* another thread is waiting in read(2) */
		close(session);
		break;
	default: /* the session is close-on-exec */
		execl("/bin/true", "true", (char *)NULL);
	}
	_exit(92);
}

START_TEST(readers_that_crash)
{
	pid_t storm = spawn(), reader;
	int keeper, i, status;

	if (!storm)
		for (;;) {
			pid_t child = fork();

			if (!child)
				_exit(0);
			if (child > 0)
				waitpid(child, NULL, 0);
		}
	for (i = 0; i < 40; i++) {
		if (!module_loaded())
			ck_assert_int_eq(module_load(""), 0);
		reader = spawn();
		if (!reader)
			crash(storm, i);
		status = reap(reader);
		ck_assert_msg(WIFSIGNALED(status) || WEXITSTATUS(status) < 90 ||
				      WEXITSTATUS(status) == 92,
			      "the reader ended with %#x", (unsigned int)status);
		ck_assert_int_eq(WIFSIGNALED(status), i % 5 < 3);
		if (i % 4 == 3) { /* nobody has it open any more */
			ck_assert_int_eq(module_unload(), 0);
			continue;
		}
		keeper = session_open(0);
		for (status = 0; status < 1000 && session_stats(keeper).watches; status++)
			usleep(10000);
		ck_assert_uint_eq(session_stats(keeper).watches, 0);
		ck_assert_uint_eq(session_stats(keeper).sessions, 1);
		close(keeper);
	}
	kill(storm, SIGKILL);
	reap(storm);
}
END_TEST

void add_readers_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "readers", 60);

	tcase_add_test(tests, killed_mid_read);
}

/* They switch hooks on and off; see tests/vm/check. */
void add_crashes_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "crashes", 60);

	tcase_add_test(tests, readers_that_crash);
}
