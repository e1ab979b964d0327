/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kmod_engines.c - see kmod_engines.h. Owns the session of the armed engine.
 */
#include "kmod_engines.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <knell/kmod.h>

#include "yardstick/yardstick.h"

static int session = -1;
static uint32_t flags_of_first, flags_of_others; /* the first watch of a session arms hooks */

noreturn void fail(const char *what)
{
	fprintf(stderr, "kmod-cost: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void load(const char *file, const char *options)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, options, 0))
		fail(file);
	close(fd);
}

void knell_load(const char *file)
{
	load(file, "");
}

static void open_session(uint32_t first, uint32_t others)
{
	session = open(KNELL_KMOD_DEVICE, O_RDONLY | O_CLOEXEC);
	if (session < 0)
		fail(KNELL_KMOD_DEVICE);
	flags_of_first = first;
	flags_of_others = others;
}

static void knell_arm(void)
{
	open_session(0, 0);
}

static void knell_dead_arm(void)
{
	open_session(KNELL_KMOD_DEAD, KNELL_KMOD_DEAD);
}

static void knell_subtree_arm(void)
{
	open_session(KNELL_KMOD_SUBTREE, 0);
}

static bool knell_watch(pid_t pid, int pidfd, uint64_t cookie)
{
	struct knell_kmod_watch request = {
		.size = sizeof(request),
		.pidfd = pidfd,
		.flags = flags_of_first,
		.cookie = cookie,
	};

	(void)pid;
	flags_of_first = flags_of_others;
	return ioctl(session, KNELL_IOC_WATCH, &request) == 0;
}

static unsigned int knell_drain(unsigned int deaths)
{
	static char buffer[65536] __attribute__((aligned(8)));
	const struct knell_event *event;
	unsigned int told = 0;
	ssize_t length, at;

	while (told < deaths) {
		length = read(session, buffer, sizeof(buffer));
		if (length <= 0)
			fail("read");
		for (at = 0; at < length; at += event->size) {
			event = (const void *)(buffer + at);
			told += event->kind == KNELL_EXIT;
		}
	}
	return told;
}

static void knell_disarm(void)
{
	close(session);
}

const struct engine knell = { "knell", knell_arm, knell_watch, knell_drain, knell_disarm };
const struct engine knell_dead = { "knell, moment dead", knell_dead_arm, knell_watch, knell_drain,
				   knell_disarm };
const struct engine knell_subtree = { "knell, a subtree elsewhere", knell_subtree_arm, knell_watch,
				      knell_drain, knell_disarm };

void knell_counts(uint64_t *ret_wakeups, uint64_t *ret_news)
{
	int fd = open(KNELL_KMOD_DEVICE, O_RDONLY | O_CLOEXEC);
	struct knell_kmod_stats stats = { .size = sizeof(stats) };

	if (fd < 0 || ioctl(fd, KNELL_IOC_STATS, &stats))
		fail("KNELL_IOC_STATS");
	close(fd);
	*ret_wakeups = stats.wakeups;
	*ret_news = stats.news;
}

const char *yardstick_file;
static int device = -1;
static struct yardstick_counts before;

static void yardstick_load(const char *options)
{
	load(yardstick_file, options);
	device = open(YARDSTICK_DEVICE, O_RDONLY | O_CLOEXEC);
	if (device < 0)
		fail(YARDSTICK_DEVICE);
	memset(&before, 0, sizeof(before));
}

static void yardstick_arm(void)
{
	yardstick_load("filter=0");
}

static void yardstick_filter_arm(void)
{
	yardstick_load("filter=1");
}

static bool yardstick_watch(pid_t pid, int pidfd, uint64_t cookie)
{
	(void)pidfd;
	(void)cookie;
	return ioctl(device, YARDSTICK_REGISTER, pid) == 0;
}

static unsigned int yardstick_drain(unsigned int deaths)
{
	struct yardstick_counts now;
	unsigned int told;

	(void)deaths;
	if (ioctl(device, YARDSTICK_WAIT) || ioctl(device, YARDSTICK_COUNTS, &now))
		fail("YARDSTICK_WAIT");
	told = (unsigned int)(now.handled - before.handled);
	before = now;
	return told;
}

static void yardstick_disarm(void)
{
	close(device);
	if (syscall(SYS_delete_module, "yardstick", O_NONBLOCK))
		fail("unload yardstick");
}

const struct engine yardstick = { "yardstick", yardstick_arm, yardstick_watch, yardstick_drain,
				  yardstick_disarm };
const struct engine yardstick_filter = { "yardstick, filter", yardstick_filter_arm, yardstick_watch,
					 yardstick_drain, yardstick_disarm };

long raw_call(long number, long a, long b, long c)
{
	register long fourth __asm__("r10") = 0;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
			 : "rcx", "r11", "memory");
	return result;
}

pid_t born(int (*life)(void *), void *argument, char *stack, int *pidfd)
{
	pid_t pid =
		clone(life, stack, CLONE_VM | CLONE_FILES | CLONE_PIDFD | SIGCHLD, argument, pidfd);

	if (pid < 0)
		fail("clone");
	return pid;
}

char *stacks_new(unsigned int count)
{
	char *stacks = mmap(NULL, (size_t)count * STACK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (stacks == MAP_FAILED)
		fail("memory");
	return stacks;
}
