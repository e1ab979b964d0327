/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_session.c - the device: bad input to each ioctl, who may watch whom, limits, readers of all
 * kinds, and that closing a session gives everything back.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static int try(int session, unsigned long command, void *argument)
{
	return ioctl(session, command, argument) ? -errno : 0;
}

/* Two pages, of which the second one cannot be touched: the end of the first. */
static char *edge(void)
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(pages, MAP_FAILED);
	ck_assert_int_eq(mprotect(pages + 4096, 4096, PROT_NONE), 0);
	return pages + 4096;
}

START_TEST(bad_sizes_and_pointers)
{
	const unsigned long commands[] = { KNELL_IOC_WATCH, KNELL_IOC_UNWATCH, KNELL_IOC_STATS,
					   KNELL_IOC_ARM, KNELL_IOC_LIVING };
	const uint32_t least[] = { KNELL_KMOD_WATCH_SIZE1, KNELL_KMOD_UNWATCH_SIZE1,
				   KNELL_KMOD_STATS_SIZE1, KNELL_KMOD_ARM_SIZE1,
				   KNELL_KMOD_LIVING_SIZE1 };
	const uint32_t known[] = { sizeof(struct knell_kmod_watch),
				   sizeof(struct knell_kmod_unwatch),
				   sizeof(struct knell_kmod_stats), sizeof(struct knell_kmod_arm),
				   sizeof(struct knell_kmod_living) };
	int session = session_open(0), i;
	char large[8192], *end = edge();
	uint32_t size;

	for (i = 0; i < 5; i++) {
		ck_assert_int_eq(try(session, commands[i], NULL), -EFAULT);
		ck_assert_int_eq(try(session, commands[i], (void *)ULONG_MAX), -EFAULT);
		ck_assert_int_eq(try(session, commands[i], (void *)0xffff888000000000ul), -EFAULT);
		for (size = 0; size < least[i]; size++) {
			memset(large, 0, sizeof(large));
			memcpy(large, &size, sizeof(size));
			ck_assert_int_eq(try(session, commands[i], large), -EINVAL);
		}
		size = 4097;
		memcpy(large, &size, sizeof(size));
		ck_assert_int_eq(try(session, commands[i], large), -E2BIG);
		size = UINT_MAX;
		memcpy(large, &size, sizeof(size));
		ck_assert_int_eq(try(session, commands[i], large), -E2BIG);
		/* Longer than known: zeros are fine to it, anything else is not. */
		size = known[i] + 8;
		memset(large, 0, sizeof(large));
		memcpy(large, &size, sizeof(size));
		large[known[i] + 7] = 1;
		ck_assert_int_eq(try(session, commands[i], large), -E2BIG);
		/* The end is out of reach. */
		size = least[i];
		memcpy(end - 4, &size, sizeof(size));
		ck_assert_int_eq(try(session, commands[i], end - 4), -EFAULT);
	}
	memset(large, 0, sizeof(large));
	size = sizeof(struct knell_kmod_stats) + 64;
	memcpy(large, &size, sizeof(size));
	ck_assert_int_eq(try(session, KNELL_IOC_STATS, large), 0);
	ck_assert_int_eq(try(session, _IO(0xd8, 0), large), -ENOTTY);
	ck_assert_int_eq(try(session, _IO(0xd8, 6), large), -ENOTTY);
	ck_assert_int_eq(try(session, TIOCGWINSZ, large), -ENOTTY);
	close(session);
}
END_TEST

START_TEST(bad_watches)
{
	const int extremes[] = { -1, INT_MIN, INT_MAX, 1 << 20 };
	int session = session_open(O_NONBLOCK), own = pidfd_of(getpid()), null, i;
	struct knell_kmod_watch request;

	for (i = 0; i < 4; i++)
		ck_assert_int_eq(session_watch_pidfd(session, extremes[i], 0, EXITS, 0, 0), -EBADF);
	null = open("/dev/null", O_RDONLY);
	ck_assert_int_eq(session_watch_pidfd(session, null, 0, EXITS, 0, 0), -EBADF);
	ck_assert_int_eq(session_watch_pidfd(session, session, 0, EXITS, 0, 0), -EBADF);
	close(null);
	ck_assert_int_eq(session_watch_pidfd(session, null, 0, EXITS, 0, 0), -EBADF);
	for (i = 4; i < 32; i++)
		if (1u << i != KNELL_KMOD_CAUSE)
			ck_assert_int_eq(session_watch_pidfd(session, own, 1u << i, EXITS, 0, 0),
					 -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, own, 0, KNELL_MASK(KNELL_GAP), 0, 0),
			 -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, own, 0, 1u << 31, 0, 0), -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, own, 0, 1, 0, 0), -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, own, 0, EXITS, 0, 1), -EINVAL);
	ck_assert_int_eq(session_watch_pidfd(session, own, KNELL_KMOD_SUBTREE, EXITS, 0, UINT_MAX),
			 -ENOSPC);
	ck_assert_int_eq(session_watch_pidfd(session, own, KNELL_KMOD_SUBTREE, EXITS, 0, INT_MAX),
			 -ENOSPC);
	memset(&request, 0, sizeof(request));
	request.size = sizeof(request);
	request.pidfd = own;
	request.reserved = 1;
	ck_assert_int_eq(try(session, KNELL_IOC_WATCH, &request), -EINVAL);
	request.reserved = 0;
	ck_assert_int_eq(try(session, KNELL_IOC_WATCH, &request), 0);
	ck_assert_uint_eq(request.tgid, (uint32_t)getpid());
	ck_assert_uint_ne(request.start, 0);
	ck_assert_uint_eq(session_stats(session).watches, 1);
	ck_assert_int_eq(session_unwatch(session, 1), -ENOENT);
	ck_assert_int_eq(session_unwatch(session, 0), 0);
	ck_assert_int_eq(session_unwatch(session, 0), -ENOENT);
	close(session);
}
END_TEST

START_TEST(the_dead_are_absent)
{
	int session = session_open(O_NONBLOCK), pidfd, zombie;
	siginfo_t info;
	pid_t pid = spawn();

	if (!pid)
		_exit(0);
	pidfd = pidfd_of(pid);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	zombie = session_watch_pidfd(session, pidfd, 0, LIVES, 1, 0);
	ck_assert_int_eq(zombie, -ESRCH);
	ck_assert_int_eq(session_watch_pidfd(session, pidfd, KNELL_KMOD_SUBTREE | KNELL_KMOD_DEAD,
					     LIVES, 1, 10),
			 -ESRCH);
	reap(pid);
	ck_assert_int_eq(session_watch_pidfd(session, pidfd, 0, LIVES, 1, 0), -ESRCH);
	hear_nothing(session);
	close(pidfd);
	close(session);
}
END_TEST

/* Each process is watched while it dies: it is told, or it was absent, and never neither or both.
 */
START_TEST(watched_while_dying)
{
	int session = session_open(O_NONBLOCK), i, error;
	struct hearing hearing = { .next_seq = 0 };
	size_t told = 0, absent = 0;

	for (i = 0; i < 3000; i++) {
		pid_t pid = spawn();
		int pidfd;

		if (!pid)
			_exit(0);
		pidfd = pidfd_of(pid);
		if (i % 3)
			sched_yield();
		error = session_watch_pidfd(session, pidfd, 0, EXITS, (uint64_t)i, 0);
		ck_assert(error == 0 || error == -ESRCH);
		told += error == 0;
		absent += error == -ESRCH;
		reap(pid);
		close(pidfd);
	}
	hear_until(&hearing, session, told);
	hear_nothing(session);
	ck_assert_uint_eq(hearing.count, told);
	ck_assert_uint_eq(told + absent, 3000);
	hearing_end(&hearing);
	close(session);
}
END_TEST

START_TEST(only_what_one_may_inspect)
{
	int session = session_open(O_NONBLOCK), own = pidfd_of(getpid()), status;
	pid_t pid = spawn();

	if (!pid) {
		int child = session_open(O_NONBLOCK), mine;

		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(1);
		if (open(KNELL_KMOD_DEVICE, O_RDONLY) >= 0 || errno != EACCES)
			_exit(2); /* 0600 */
		if (session_watch_pidfd(child, own, 0, EXITS, 0, 0) != -EPERM)
			_exit(3);
		/* Changing ids made us not dumpable; ourselves we may watch, others like us not. */
		mine = pidfd_of(getpid());
		if (session_watch_pidfd(child, mine, 0, EXITS, 0, 0))
			_exit(4);
		pid = fork();
		if (!pid) {
			pause();
			_exit(0);
		}
		if (session_watch(child, pid, 0, EXITS, 0, 0) != -EPERM)
			_exit(5);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		/* A program of one's own is dumpable again. */
		pid = fork();
		if (!pid) {
			execl("/bin/sleep", "sleep", "100", (char *)NULL);
			_exit(0);
		}
		for (status = 0; status < 3000; status++) {
			if (session_watch(child, pid, 0, EXITS, 0, 0) == 0)
				break;
			usleep(10000);
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		_exit(status == 3000 ? 6 : 0);
	}
	ck_assert_int_eq(reap(pid), 0);
	close(own);
	close(session);
}
END_TEST

START_TEST(limits)
{
	int sessions[64], i, extra;
	struct hearing hearing = { .next_seq = 0 };

	for (i = 0; i < 64; i++)
		sessions[i] = session_open(O_NONBLOCK);
	extra = open(KNELL_KMOD_DEVICE, O_RDONLY);
	ck_assert_int_eq(extra, -1);
	ck_assert_int_eq(errno, EMFILE);
	write_text("/sys/module/knell/parameters/max_watches", "10");
	ck_assert_int_eq(session_watch(sessions[0], getpid(), KNELL_KMOD_SUBTREE, EXITS, 1, 8), 0);
	ck_assert_int_eq(session_watch(sessions[0], getpid(), 0, EXITS, 2, 0), 0);
	ck_assert_int_eq(session_watch(sessions[0], getpid(), 0, EXITS, 3, 0), -ENOSPC);
	ck_assert_int_eq(session_watch(sessions[1], getpid(), 0, EXITS, 3, 0), 0);
	/* What is given up can be used again, when RCU's readers are gone. */
	ck_assert_int_eq(session_unwatch(sessions[0], 2), 0);
	for (i = 0; i < 3000 && session_watch(sessions[0], getpid(), 0, EXITS, 4, 0); i++)
		usleep(10000);
	ck_assert_int_lt(i, 3000);
	write_text("/sys/module/knell/parameters/max_watches", "65536");
	hearing_end(&hearing);
	for (i = 0; i < 64; i++)
		close(sessions[i]);
}
END_TEST

/* Three watches on one process: two in one session, one in another; each is told once, the same. */
START_TEST(many_watches_of_one)
{
	int one = session_open(O_NONBLOCK), two = session_open(O_NONBLOCK);
	struct hearing heard_one = { .next_seq = 0 }, heard_two = { .next_seq = 0 };
	struct gate gate;
	const struct knell_event *exit;
	pid_t pid;
	int i;

	gate_make(&gate);
	pid = spawn_at(&gate, 1);
	ck_assert_int_eq(session_watch(one, pid, 0, EXITS, 1, 0), 0);
	ck_assert_int_eq(session_watch(one, pid, KNELL_KMOD_DEAD, EXITS, 2, 0), 0);
	ck_assert_int_eq(session_watch(two, pid, 0, EXITS, 3, 0), 0);
	ck_assert_int_eq(session_watch(two, pid, 0, EXITS, 4, 0), 0);
	ck_assert_int_eq(session_unwatch(two, 4), 0);
	gate_open(&gate);
	reap(pid);
	hear_until(&heard_one, one, 2);
	hear_until(&heard_two, two, 1);
	hear_nothing(one);
	hear_nothing(two);
	exit = heard_of(&heard_two, pid, KNELL_EXIT);
	ck_assert_uint_eq(heard_one.all[0].event.cookie + heard_one.all[1].event.cookie, 3);
	ck_assert_uint_eq(heard_two.all[0].event.cookie, 3);
	for (i = 0; i < 2; i++) {
		ck_assert_mem_eq(&heard_one.all[i].event.u.exit, &exit->u.exit,
				 sizeof(exit->u.exit));
		ck_assert_uint_eq(heard_one.all[i].event.parent.tgid, (uint32_t)getpid());
	}
	hearing_end(&heard_one);
	hearing_end(&heard_two);
	close(one);
	close(two);
}
END_TEST

/* What a read could not take is there for the next one; a reader is killed while it waits. */
START_TEST(bad_reads)
{
	int session = session_open(0), status;
	struct hearing hearing = { .next_seq = 0 };
	char small[64], *end = edge();
	struct gate gate;
	pid_t pid, reader;

	ck_assert_int_eq(fcntl(session, F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(read(session, small, sizeof(small)), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(fcntl(session, F_SETFL, 0), 0);
	reader = spawn();
	if (!reader) {
		read(session, small, sizeof(small));
		_exit(1);
	}
	usleep(50000);
	kill(reader, SIGKILL);
	status = reap(reader);
	ck_assert(WIFSIGNALED(status));
	gate_make(&gate);
	pid = spawn_at(&gate, 1);
	ck_assert_int_eq(session_watch(session, pid, 0, EXITS, 1, 0), 0);
	gate_open(&gate);
	reap(pid);
	ck_assert_int_eq(read(session, small, sizeof(small)), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(read(session, end, 4096), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_int_eq(read(session, end - 16, 4096), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_int_eq(read(session, small, 0), 0);
	hear_until(&hearing, session, 1);
	ck_assert_int_eq((int)hearing.all[0].event.task.tgid, pid);
	ck_assert_int_eq(write(session, small, 1), -1);
	ck_assert_int_eq(lseek(session, 0, SEEK_SET), -1);
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* Several threads of control wait in read(2) on one session: each record goes to one of them. */
START_TEST(blocking_readers)
{
	int session = session_open(0), counts[2], i;
	struct gate gate;
	pid_t readers[4], pids[50];
	char one;

	ck_assert_int_eq(pipe(counts), 0);
	for (i = 0; i < 4; i++) {
		readers[i] = spawn();
		if (!readers[i]) {
			struct knell_event event;

			while (read(session, &event, sizeof(event)) == KNELL_EVENT_HEAD + 192)
				if (write(counts[1], "", 1) != 1)
					_exit(1);
			_exit(2);
		}
	}
	gate_make(&gate);
	for (i = 0; i < 50; i++) {
		pids[i] = spawn_at(&gate, 1);
		ck_assert_int_eq(session_watch(session, pids[i], 0, EXITS, (uint64_t)i, 0), 0);
	}
	gate_open(&gate);
	for (i = 0; i < 50; i++) {
		reap(pids[i]);
		ck_assert_int_eq(read(counts[0], &one, 1), 1);
	}
	usleep(100000);
	ck_assert_int_eq(fcntl(counts[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(read(counts[0], &one, 1), -1);
	for (i = 0; i < 4; i++) {
		kill(readers[i], SIGKILL);
		reap(readers[i]);
	}
	close(session);
}
END_TEST

/* A reader in a pid namespace is told the numbers that it has; 0 for who has none there. */
START_TEST(reader_in_a_namespace)
{
	int session = session_open(O_NONBLOCK);
	pid_t outer, helper;
	struct gate gate;

	gate_make(&gate);
	outer = spawn_at(&gate, 3);
	ck_assert_int_eq(session_watch(session, outer, 0, EXITS, 1, 0), 0);
	helper = spawn();
	if (!helper) {
		pid_t first;

		if (unshare(CLONE_NEWPID))
			_exit(90);
		first = fork();
		if (!first) { /* number 1 in there */
			struct hearing hearing = { .next_seq = 0 };
			pid_t inner = fork();

			if (!inner) {
				gate_wait(&gate);
				_exit(4);
			}
			ck_assert_int_eq(inner, 2);
			ck_assert_int_eq(session_watch(session, inner, 0, EXITS, 2, 0), 0);
			gate_open(&gate);
			hear_until(&hearing, session, 2);
			if (hearing.all[0].event.cookie == 2) {
				struct heard other = hearing.all[0];

				hearing.all[0] = hearing.all[1];
				hearing.all[1] = other;
			}
			ck_assert_uint_eq(hearing.all[0].event.task.tgid, 0);
			ck_assert_uint_ne(hearing.all[0].event.task.start, 0);
			ck_assert_uint_eq(hearing.all[1].event.task.tgid, 2);
			ck_assert_uint_eq(hearing.all[1].event.parent.tgid, 1);
			_exit(50);
		}
		gate_open(&gate); /* our ends of it */
		_exit(WEXITSTATUS(reap(first)));
	}
	gate_open(&gate);
	ck_assert_int_eq(reap(helper), 50 << 8);
	ck_assert_int_eq(reap(outer), 3 << 8);
	close(session);
}
END_TEST

/* Whatever a session was doing, closing it gives back every watch, and others go on. */
START_TEST(close_gives_all_back)
{
	int keeper = session_open(O_NONBLOCK), i, round;
	struct gate gate;
	pid_t pids[40];

	for (round = 0; round < 10; round++) {
		int session = session_open(O_NONBLOCK);

		gate_make(&gate);
		for (i = 0; i < 40; i++) {
			pids[i] = spawn_at(&gate, 1);
			ck_assert_int_eq(session_watch(session, pids[i],
						       i % 2 ? KNELL_KMOD_SUBTREE : 0, LIVES,
						       (uint64_t)i, i % 2 ? 50 : 0),
					 0);
		}
		if (round % 2)
			gate_open(&gate);
		close(session); /* while they die, or before */
		if (!(round % 2))
			gate_open(&gate);
		for (i = 0; i < 40; i++)
			reap(pids[i]);
	}
	for (i = 0; i < 3000 && session_stats(keeper).watches; i++)
		usleep(10000);
	ck_assert_uint_eq(session_stats(keeper).watches, 0);
	ck_assert_uint_eq(session_stats(keeper).sessions, 1);
	close(keeper);
}
END_TEST

void add_session_tests(Suite *suite)
{
	TCase *input = kmod_case(suite, "input", 30);
	TCase *readers = kmod_case(suite, "readers", 30);

	tcase_add_test(input, bad_sizes_and_pointers);
	tcase_add_test(input, bad_watches);
	tcase_add_test(input, the_dead_are_absent);
	tcase_add_test(input, watched_while_dying);
	tcase_add_test(input, only_what_one_may_inspect);
	tcase_add_test(input, limits);
	tcase_add_test(readers, many_watches_of_one);
	tcase_add_test(readers, bad_reads);
	tcase_add_test(readers, blocking_readers);
	tcase_add_test(readers, reader_in_a_namespace);
	tcase_add_test(readers, close_gives_all_back);
}
