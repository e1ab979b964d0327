/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * threads - processes whose threads end in the ways that confuse those who watch processes.
 *
 *   threads [--truth FILE] leader-exits        the leader ends first; another thread exits with 7
 *   threads [--truth FILE] group N             N threads live; one of them calls exit_group(9)
 *   threads [--truth FILE] all-exit N          N threads end at once, each by itself; status 11
 *   threads [--truth FILE] exec PROGRAM [ARG]  a thread that is not the leader runs PROGRAM
 *   threads [--truth FILE] exec-last PROGRAM [ARG]  the same, some time after the leader has ended
 *   threads [--truth FILE] segv                a thread faults
 *
 * The truth file gets "pid P" and, with both execs, "old_tid T"; with group and all-exit "threads
 * N".
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_THREADS 1000

static pthread_barrier_t barrier;
static char **program;
static int truth = -1;

static void die(const char *what)
{
	perror(what);
	exit(125);
}

static void *run_late(void *unused)
{
	(void)unused;
	usleep(50000);
	syscall(SYS_exit_group, 7);
	return NULL;
}

static void *run_group(void *unused)
{
	(void)unused;
	/* One of them gets this, whichever. */
	if (pthread_barrier_wait(&barrier) != 0) {
		usleep(10000); /* let the others get to their pause, or on their way */
		syscall(SYS_exit_group, 9);
	}
	for (;;)
		pause();
	return NULL;
}

static void *run_exit(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&barrier);
	syscall(SYS_exit, 11);
	return NULL;
}

static void *run_exec(void *unused)
{
	(void)unused;
	if (truth >= 0)
		dprintf(truth, "old_tid %ld\n", syscall(SYS_gettid));
	execv(program[0], program);
	_exit(126);
}

static void *run_exec_late(void *unused)
{
	usleep(50000);
	return run_exec(unused);
}

static void *run_segv(void *unused)
{
	volatile int *nowhere = (volatile int *)unused;

	*nowhere = 1;
	return NULL;
}

static void start(void *(*run)(void *), long count)
{
	pthread_attr_t attr;
	pthread_t thread;
	long i;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64ul * 1024);
	for (i = 0; i < count; i++)
		if (pthread_create(&thread, &attr, run, NULL))
			die("threads: pthread_create");
}

static void wait_forever(void)
{
	alarm(60); /* whatever went wrong: not for ever */
	for (;;)
		pause();
}

int main(int argc, char *argv[])
{
	const char *mode;
	long count;

	if (argc > 2 && !strcmp(argv[1], "--truth")) {
		truth = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (truth < 0)
			die(argv[2]);
		argv += 2;
		argc -= 2;
	}
	if (argc < 2)
		return 125;
	mode = argv[1];
	count = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
	if (truth >= 0)
		dprintf(truth, "pid %d\n", getpid());

	if (!strcmp(mode, "leader-exits")) {
		start(run_late, 1);
		syscall(SYS_exit, 3);
	} else if (!strcmp(mode, "group") && count > 0 && count <= MAX_THREADS) {
		pthread_barrier_init(&barrier, NULL, (unsigned int)count + 1);
		start(run_group, count);
		if (truth >= 0)
			dprintf(truth, "threads %ld\n", count);
		if (pthread_barrier_wait(&barrier) != 0)
			syscall(SYS_exit_group, 9);
		wait_forever();
	} else if (!strcmp(mode, "all-exit") && count > 0 && count <= MAX_THREADS) {
		pthread_barrier_init(&barrier, NULL, (unsigned int)count + 1);
		start(run_exit, count);
		if (truth >= 0)
			dprintf(truth, "threads %ld\n", count);
		pthread_barrier_wait(&barrier);
		syscall(SYS_exit, 11);
	} else if (!strcmp(mode, "exec") && argc > 2) {
		program = argv + 2;
		start(run_exec, 1);
		wait_forever();
	} else if (!strcmp(mode, "exec-last") && argc > 2) {
		program = argv + 2;
		start(run_exec_late, 1);
		syscall(SYS_exit, 3);
	} else if (!strcmp(mode, "segv")) {
		start(run_segv, 1);
		wait_forever();
	}
	fprintf(stderr, "threads: what is '%s'?\n", mode);
	return 125;
}
