/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_input.c - more bad input: descriptors that look like a pidfd, structures of later versions,
 * memory that cannot be written to, or only after a long wait, numbers at their ends, module
 * parameters at theirs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

#define PARAMETERS "/sys/module/knell/parameters/"

START_TEST(what_is_no_pidfd)
{
	int session = session_open(O_NONBLOCK), fds[16], count = 0, pair[2], i;
	sigset_t none;

	sigemptyset(&none);
	fds[count++] = eventfd(0, 0);
	fds[count++] = timerfd_create(CLOCK_MONOTONIC, 0);
	fds[count++] = epoll_create1(0);
	fds[count++] = signalfd(-1, &none, 0);
	fds[count++] = inotify_init();
	fds[count++] = (int)syscall(SYS_memfd_create, "[pidfd]", 0);
	fds[count++] = open("/tmp/[pidfd]", O_RDWR | O_CREAT, 0600);
	fds[count++] = open("/proc/self", O_RDONLY | O_DIRECTORY);
	fds[count++] = open("/proc/self/status", O_RDONLY);
	fds[count++] = open("/proc/self/ns/pid", O_RDONLY);
	fds[count++] = open("/dev/null", O_PATH);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fds[count++] = pair[0];
	fds[count++] = pair[1];
	for (i = 0; i < count; i++) {
		ck_assert_msg(fds[i] >= 0, "descriptor %d cannot be made: %s", i, strerror(errno));
		ck_assert_msg(session_watch_pidfd(session, fds[i], 0, EXITS, 0, 0) == -EBADF,
			      "descriptor %d is taken for a pidfd", i);
		close(fds[i]);
	}
	unlink("/tmp/[pidfd]");
	ck_assert_uint_eq(session_stats(session).watches, 0);
	close(session);
}
END_TEST

static int ready[2], over[2];

static void *one_thread(void *tid)
{
	char byte;

	*(pid_t *)tid = (pid_t)syscall(SYS_gettid);
	ck_assert_int_eq(write(ready[1], "", 1), 1);
	ck_assert_int_eq(read(over[0], &byte, 1), 1);
	return NULL;
}

/* Linux has pidfds of threads from 6.9 on (O_EXCL); until then it gives none. */
START_TEST(pidfd_of_a_thread)
{
	int session = session_open(O_NONBLOCK), fd;
	pthread_t thread;
	char path[64], byte;
	pid_t tid;

	ck_assert(pipe(ready) == 0 && pipe(over) == 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, one_thread, &tid), 0);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_ne(tid, getpid());
	fd = (int)syscall(SYS_pidfd_open, tid, O_EXCL);
	if (fd >= 0)
		ck_assert_int_eq(session_watch_pidfd(session, fd, 0, EXITS, 0, 0), -EINVAL);
	else
		ck_assert_int_eq(errno, EINVAL);
	snprintf(path, sizeof(path), "/proc/self/task/%d", (int)tid);
	fd = open(path, O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(session_watch_pidfd(session, fd, 0, EXITS, 0, 0), -EBADF);
	close(fd);
	ck_assert_int_eq(write(over[1], "", 1), 1);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(session_stats(session).watches, 0);
	close(session);
}
END_TEST

/* A caller of a later version: what we do not know is zero, so it asks for nothing new. */
START_TEST(later_versions)
{
	int session = session_open(O_NONBLOCK), own = pidfd_of(getpid());
	union {
		uint32_t size;
		struct knell_kmod_watch watch;
		struct knell_kmod_unwatch unwatch;
		struct knell_kmod_stats stats;
		char room[4096];
	} request;

	memset(&request, 0, sizeof(request));
	request.size = sizeof(request);
	request.watch.pidfd = own;
	request.watch.cookie = 7;
	ck_assert_int_eq(ioctl(session, KNELL_IOC_WATCH, &request), 0);
	memset(&request, 0, sizeof(request));
	request.size = sizeof(request);
	ck_assert_int_eq(ioctl(session, KNELL_IOC_STATS, &request), 0);
	ck_assert_uint_eq(request.size, sizeof(request.stats)); /* as much as is known */
	ck_assert_uint_eq(request.stats.watches, 1);
	memset(&request, 0, sizeof(request));
	request.size = sizeof(request);
	request.unwatch.cookie = 7;
	ck_assert_int_eq(ioctl(session, KNELL_IOC_UNWATCH, &request), 0);
	close(own);
	close(session);
}
END_TEST

/* The request can be read, the answer cannot be written: then nothing was done. */
START_TEST(answers_nowhere)
{
	struct knell_kmod_watch *request =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int session = session_open(O_NONBLOCK);

	ck_assert_ptr_ne(request, MAP_FAILED);
	request->size = sizeof(*request);
	request->pidfd = pidfd_of(getpid());
	ck_assert_int_eq(mprotect(request, 4096, PROT_READ), 0);
	ck_assert_int_eq(ioctl(session, KNELL_IOC_WATCH, request), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_uint_eq(session_stats(session).watches, 0);
	ck_assert_int_eq(mprotect(request, 4096, PROT_READ | PROT_WRITE), 0);
	request->size = sizeof(struct knell_kmod_stats);
	memset((char *)request + 4, 0, sizeof(struct knell_kmod_stats) - 4);
	ck_assert_int_eq(mprotect(request, 4096, PROT_READ), 0);
	ck_assert_int_eq(ioctl(session, KNELL_IOC_STATS, request), -1);
	ck_assert_int_eq(errno, EFAULT);
	close(session);
}
END_TEST

START_TEST(extreme_cookies)
{
	const uint64_t cookies[] = { 0, 1, INT64_MAX, (uint64_t)INT64_MIN, UINT64_MAX };
	int session = session_open(O_NONBLOCK), i;
	struct hearing hearing = { .next_seq = 0 };
	unsigned int told = 0;
	struct gate gate;
	pid_t pid;

	gate_make(&gate);
	pid = spawn_at(&gate, 1);
	for (i = 0; i < 5; i++)
		ck_assert_int_eq(session_watch(session, pid, 0, EXITS, cookies[i], 0), 0);
	ck_assert_int_eq(session_unwatch(session, 2), -ENOENT);
	ck_assert_int_eq(session_unwatch(session, INT64_MAX), 0);
	ck_assert_int_eq(session_unwatch(session, INT64_MAX), -ENOENT);
	gate_open(&gate);
	reap(pid);
	hear_until(&hearing, session, 4);
	hear_nothing(session);
	for (i = 0; i < 5; i++) {
		size_t at;

		for (at = 0; at < hearing.count; at++)
			if (hearing.all[at].event.cookie == cookies[i])
				told |= 1u << i;
	}
	ck_assert_uint_eq(told, 1 | 2 | 8 | 16); /* all but INT64_MAX */
	hearing_end(&hearing);
	close(session);
}
END_TEST

/* A limit below what there is stops all that come later. */
START_TEST(extreme_parameters)
{
	int sessions[4], own = pidfd_of(getpid()), i;

	for (i = 0; i < 3; i++)
		sessions[i] = session_open(O_NONBLOCK);
	write_text(PARAMETERS "max_sessions", "2");
	ck_assert_int_eq(open(KNELL_KMOD_DEVICE, O_RDONLY), -1);
	ck_assert_int_eq(errno, EMFILE);
	write_text(PARAMETERS "max_sessions", "0");
	ck_assert_int_eq(open(KNELL_KMOD_DEVICE, O_RDONLY), -1);
	ck_assert_int_eq(errno, EMFILE);
	write_text(PARAMETERS "max_sessions", "4294967295");
	write_text(PARAMETERS "lines", "0");
	sessions[3] = session_open(O_NONBLOCK);
	close(sessions[3]);
	write_text(PARAMETERS "lines", "4294967295");
	sessions[3] = session_open(O_NONBLOCK);
	write_text(PARAMETERS "lines", "1024");
	write_text(PARAMETERS "max_sessions", "64");

	write_text(PARAMETERS "max_watches", "0");
	ck_assert_int_eq(session_watch_pidfd(sessions[0], own, 0, EXITS, 1, 0), -ENOSPC);
	write_text(PARAMETERS "max_watches", "4294967295");
	ck_assert_int_eq(session_watch_pidfd(sessions[0], own, KNELL_KMOD_SUBTREE, EXITS, 1,
					     UINT_MAX),
			 -ENOSPC);
	/* More than the machine has: refused, and no word in the kernel's log. */
	ck_assert_int_eq(session_watch_pidfd(sessions[0], own, KNELL_KMOD_SUBTREE, EXITS, 1,
					     (1u << 24) - 1),
			 -ENOMEM);
	write_text(PARAMETERS "max_watches", "65536");
	ck_assert_int_eq(session_watch_pidfd(sessions[0], own, 0, EXITS, 1, 0), 0);
	ck_assert_uint_eq(session_stats(sessions[0]).watches, 1);
	for (i = 0; i < 4; i++)
		close(sessions[i]);
	close(own);
}
END_TEST

/* Watches of subtrees and of everybody: so many, and the place of one that is ended is free. */
START_TEST(wide_watches)
{
	int session = session_open(O_NONBLOCK), own = pidfd_of(getpid()), i, error = 0;

	write_text(PARAMETERS "max_wide", "3");
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(session_watch_pidfd(session, i ? own : -1,
						     i ? KNELL_KMOD_SUBTREE : KNELL_KMOD_ALL, EXITS,
						     1, 1),
				 0);
	ck_assert_int_eq(session_watch_pidfd(session, own, KNELL_KMOD_SUBTREE, EXITS, 2, 1),
			 -ENOSPC);
	ck_assert_int_eq(session_watch_pidfd(session, -1, KNELL_KMOD_ALL, EXITS, 2, 1), -ENOSPC);
	ck_assert_int_eq(session_watch_pidfd(session, -1, KNELL_KMOD_GROUP, EXITS, 2, 1), -ENOSPC);
	ck_assert_int_eq(session_watch_pidfd(session, own, 0, EXITS, 2, 0), 0);
	ck_assert_int_eq(session_unwatch(session, 1), 0);
	for (i = 0; i < 3000; i++) {
		error = session_watch_pidfd(session, own, KNELL_KMOD_SUBTREE, EXITS, 2, 1);
		if (error != -ENOSPC)
			break;
		usleep(10000); /* RCU */
	}
	ck_assert_int_eq(error, 0);
	write_text(PARAMETERS "max_wide", "1024");
	close(own);
	close(session);
}
END_TEST

/* So many watches that end at once, unread: in seconds. */
static double end_many(int session, int own, int count)
{
	struct timespec before, after;
	double seconds;
	int i;

	for (i = 0; i < count; i++)
		ck_assert_int_eq(session_watch_pidfd(session, own, KNELL_KMOD_FOUND,
						     EXITS | KNELL_MASK(KNELL_CLONE), 1, 0),
				 0);
	usleep(300000); /* all are in the queue */
	clock_gettime(CLOCK_MONOTONIC, &before);
	ck_assert_int_eq(session_unwatch(session, 1), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	seconds = (double)(after.tv_sec - before.tv_sec) +
		  (double)(after.tv_nsec - before.tv_nsec) / 1e9;
	printf("# %d watches ended in %.3f s\n", count, seconds);
	return seconds;
}

/*
 * They take time as they are many, and not as their square. Whoever is left without a CPU for a
 * while is so in one try, and not in each.
 */
START_TEST(many_end_at_once)
{
	int session = session_open(O_NONBLOCK), own = pidfd_of(getpid()), tries;

	for (tries = 0; tries < 5; tries++)
		if (end_many(session, own, 20000) < 1)
			break;
	ck_assert_int_lt(tries, 5);
	hear_nothing(session);
	close(own);
	close(session);
}
END_TEST

#define GROUP 5u /* a cookie */

/* The first of two is a watch of its own, the second one joins a group. */
static int session_for(int way)
{
	int session = session_open(O_NONBLOCK);

	if (way)
		ck_assert_int_eq(session_watch_pidfd(session, -1, KNELL_KMOD_GROUP,
						     EXITS | KNELL_MASK(KNELL_CLONE), GROUP, 10),
				 0);
	return session;
}

/* A WATCH that sleeps half-way, where the kernel writes its answer, until it is let go. */
struct held_watch {
	int session, faults;
	struct knell_kmod_watch *request; /* in a page of its own */
	pthread_t thread;
	int error;
};

static void *watch_held(void *argument)
{
	struct held_watch *held = argument;

	held->error = ioctl(held->session, KNELL_IOC_WATCH, held->request) ? -errno : 0;
	return NULL;
}

static void hold_page(struct held_watch *held, bool hold)
{
	struct uffdio_writeprotect protect = {
		.range = { .start = (uintptr_t)held->request, .len = 4096 },
		.mode = hold ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	ck_assert_int_eq(ioctl(held->faults, UFFDIO_WRITEPROTECT, &protect), 0);
}

static void watch_until_answer(struct held_watch *held, int session, pid_t pid, int way)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register all = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct pollfd fault = { .events = POLLIN };

	held->session = session;
	held->request =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(held->request, MAP_FAILED);
	*held->request = (struct knell_kmod_watch){
		.size = sizeof(*held->request),
		.pidfd = pidfd_of(pid),
		.flags = way ? KNELL_KMOD_JOIN : KNELL_KMOD_FOUND,
		.mask = way ? 0 : EXITS | KNELL_MASK(KNELL_CLONE),
		.group = way ? GROUP : 0,
	};
	held->faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	ck_assert_msg(held->faults >= 0, "userfaultfd: %s", strerror(errno));
	ck_assert_int_eq(ioctl(held->faults, UFFDIO_API, &api), 0);
	all.range = (struct uffdio_range){ .start = (uintptr_t)held->request, .len = 4096 };
	ck_assert_int_eq(ioctl(held->faults, UFFDIO_REGISTER, &all), 0);
	hold_page(held, true);
	ck_assert_int_eq(pthread_create(&held->thread, NULL, watch_held, held), 0);
	fault.fd = held->faults;
	ck_assert_int_eq(poll(&fault, 1, 60000), 1);
}

static int let_go(struct held_watch *held)
{
	hold_page(held, false);
	pthread_join(held->thread, NULL);
	close(held->faults);
	close(held->request->pidfd);
	munmap(held->request, 4096);
	return held->error;
}

static void *exec_cat(void *unused)
{
	(void)unused;
	execl("/bin/cat", "cat", "/dev/zero", (char *)NULL);
	_exit(99);
}

static void await_name(pid_t pid, const char *name)
{
	char path[64], comm[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	while (strncmp(comm, name, strlen(name)) != 0) {
		usleep(10000);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ck_assert_int_gt(read(fd, comm, sizeof(comm)), 0);
		close(fd);
	}
}

/* Another thread takes over while the watch is set: what is told is how that one is. */
START_TEST(exec_before_the_answer)
{
	int session = session_for(_i), out[2];
	struct hearing hearing = { .next_seq = 0 };
	const struct knell_event *clone;
	struct held_watch held;
	struct gate gate;
	pid_t pid;

	gate_make(&gate);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0); /* nobody reads it: cat waits */
	pid = spawn();
	if (!pid) {
		pthread_t thread;

		dup2(out[1], STDOUT_FILENO);
		gate_wait(&gate);
		pthread_create(&thread, NULL, exec_cat, NULL);
		pthread_join(thread, NULL);
	}
	watch_until_answer(&held, session, pid, _i);
	gate_open(&gate);
	await_name(pid, "cat\n");
	ck_assert_int_eq(let_go(&held), 0);
	hear_until(&hearing, session, 1);
	clone = heard_of(&hearing, pid, KNELL_CLONE);
	ck_assert_ptr_nonnull(clone);
	ck_assert_str_eq(clone->comm, "cat");
	ck_assert_uint_eq(clone->u.clone.exit_signal, SIGCHLD);
	ck_assert_uint_eq(clone->parent.tgid, (uint32_t)getpid());
	kill(pid, SIGKILL);
	reap(pid);
	hear_until(&hearing, session, 2);
	hearing_end(&hearing);
	close(out[0]);
	close(out[1]);
	close(session);
}
END_TEST

/* It is reaped, and its parent is, while the watch is set: it is absent, and nothing is told. */
START_TEST(reaped_before_the_answer)
{
	int session = session_for(_i), born[2];
	struct held_watch held;
	struct gate gate;
	pid_t parent, pid;

	gate_make(&gate);
	ck_assert_int_eq(pipe2(born, O_CLOEXEC), 0);
	parent = spawn();
	if (!parent) {
		pid = spawn_at(&gate, 0);
		if (write(born[1], &pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
		close(gate.fds[1]);
		_exit(waitpid(pid, NULL, 0) == pid ? 0 : 2);
	}
	ck_assert_int_eq(read(born[0], &pid, sizeof(pid)), sizeof(pid));
	watch_until_answer(&held, session, pid, _i);
	gate_open(&gate);
	ck_assert_int_eq(reap(parent), 0);
	usleep(300000); /* RCU: its memory is free */
	ck_assert_int_eq(let_go(&held), -ESRCH);
	hear_nothing(session);
	close(born[0]);
	close(born[1]);
	close(session);
}
END_TEST

void add_input_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "input", 60);

	tcase_add_test(tests, what_is_no_pidfd);
	tcase_add_test(tests, pidfd_of_a_thread);
	tcase_add_test(tests, later_versions);
	tcase_add_test(tests, answers_nowhere);
	tcase_add_test(tests, extreme_cookies);
	tcase_add_test(tests, extreme_parameters);
	tcase_add_test(tests, wide_watches);
	tcase_add_test(tests, many_end_at_once);
	tcase_add_loop_test(tests, exec_before_the_answer, 0, 2);
	tcase_add_loop_test(tests, reaped_before_the_answer, 0, 2);
}
