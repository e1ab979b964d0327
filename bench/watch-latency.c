/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch-latency.c - from a child's _exit() to the callback: a bare pidfd in an epoll, a watch at
 * the moment `exit`, and one at `dead`, in turns and in one run, so that the machine is the same
 * for all of them. The waiter is on CPU 0; the child dies on CPU 1, then on CPU 0, too.
 *
 * Those who die are children of a mother that knows nothing of the engine: forked by the waiter
 * they would have to give back its mappings first. How long a process takes from its exit to its
 * death depends on its memory: --touch says how much that is.
 *
 * The waiter dispatches the engine, or with --reapers sleeps until a reaper has told it. --slice
 * sets the time slice of the waiter, in us: with a short one the kernel (from 6.12 on) lets it run
 * as soon as it is woken, also where the dying child still does.
 *
 * Usage: watch-latency [--rounds=N] [--touch=MIB] [--slice=US] [--reapers] [--source=NAME] [--json]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <knell/knell.h>

#define TIMEOUT_MS 10000

enum way {
	WAY_PIDFD,
	WAY_EXIT,
	WAY_DEAD,
	WAYS
};

static const char *const way_names[WAYS] = { "pidfd and epoll", "watch at exit", "watch at dead" };
static const char *const way_keys[WAYS] = { "pidfd", "exit", "dead" };

/* Between the waiter and the child that is about to die. */
struct shared {
	unsigned int state; /* 1: the child is there; 2: it may go */
	uint64_t died;      /* CLOCK_MONOTONIC, ns: right before _exit() */
};

struct bench {
	struct knell_engine *engine;
	int orders, pids; /* to the mother: a CPU; from her: the child's pid */
	size_t touch;     /* bytes */
	struct shared *shared;
	unsigned int rounds;
	bool same_cpu, reapers;
	sem_t verdict;         /* with reapers */
	uint64_t *times[WAYS]; /* ns */
	unsigned int count[WAYS];
	unsigned int missed[WAYS];
	uint64_t told;
};

static void die(const char *what)
{
	fprintf(stderr, "watch-latency: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

/* struct sched_attr: glibc 2.36 does not have it. */
static void set_slice(uint64_t us)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} usual = { .size = 48, .runtime = us * 1000 };

	if (syscall(SYS_sched_setattr, 0, &usual, 0) < 0)
		die("sched_setattr");
}

static void wait_for(const struct shared *shared, unsigned int state)
{
	while (__atomic_load_n(&shared->state, __ATOMIC_ACQUIRE) != state)
		sched_yield();
}

/* Dies 300 us after it was let go: by then the waiter sleeps. */
static _Noreturn void be_the_child(struct shared *shared, unsigned int cpu, size_t touch)
{
	const struct timespec pause = { .tv_nsec = 300000 };
	char *memory = malloc(touch + 1);

	pin(cpu);
	if (memory)
		memset(memory, 1, touch + 1);
	__atomic_store_n(&shared->state, 1, __ATOMIC_RELEASE);
	wait_for(shared, 2);
	nanosleep(&pause, NULL);
	shared->died = now();
	_exit(0);
}

/* She ignores their deaths: the kernel reaps them, and wakes nobody but us. */
static _Noreturn void be_the_mother(int orders, int pids, struct shared *shared, size_t touch)
{
	unsigned int cpu;

	signal(SIGCHLD, SIG_IGN);
	while (read(orders, &cpu, sizeof(cpu)) == sizeof(cpu)) {
		pid_t pid = fork();

		if (pid == 0)
			be_the_child(shared, cpu, touch);
		if (write(pids, &pid, sizeof(pid)) != sizeof(pid))
			break;
	}
	_exit(0);
}

static void start_mother(struct bench *b)
{
	int orders[2], pids[2];
	pid_t pid;

	if (pipe2(orders, O_CLOEXEC) < 0 || pipe2(pids, O_CLOEXEC) < 0)
		die("pipe2");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(orders[1]);
		close(pids[0]);
		be_the_mother(orders[0], pids[1], b->shared, b->touch);
	}
	close(orders[0]);
	close(pids[1]);
	b->orders = orders[1];
	b->pids = pids[0];
}

/* Returns a pidfd of a child that waits to die. */
static int start_child(const struct bench *b)
{
	unsigned int cpu = b->same_cpu ? 0 : 1;
	pid_t pid = -1;
	int pidfd;

	__atomic_store_n(&b->shared->state, 0, __ATOMIC_RELEASE);
	if (write(b->orders, &cpu, sizeof(cpu)) != sizeof(cpu) ||
	    read(b->pids, &pid, sizeof(pid)) != sizeof(pid) || pid < 0)
		die("the mother");
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		die("pidfd_open");
	wait_for(b->shared, 1);
	return pidfd;
}

static uint64_t by_pidfd(const struct bench *b, int pidfd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = epoll_create1(EPOLL_CLOEXEC);
	uint64_t told = 0;

	if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, pidfd, &event) < 0)
		die("epoll");
	__atomic_store_n(&b->shared->state, 2, __ATOMIC_RELEASE);
	if (epoll_wait(fd, &event, 1, TIMEOUT_MS) > 0)
		told = now();
	close(fd);
	return told;
}

static void on_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
		       void *userdata)
{
	struct bench *b = userdata;

	(void)watch;
	b->told = now();
	if (verdict->kind == KNELL_ABSENT) {
		fprintf(stderr, "watch-latency: a wrong verdict\n");
		exit(EXIT_FAILURE);
	}
	if (b->reapers)
		sem_post(&b->verdict);
}

static void wait_for_reaper(struct bench *b)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += TIMEOUT_MS / 1000;
	while (sem_timedwait(&b->verdict, &end) < 0 && errno == EINTR)
		;
}

/* As a program with an event loop of its own would: its epoll has the engine's descriptor. */
static uint64_t by_watch(struct bench *b, int pidfd, enum way way)
{
	const struct knell_watch_options options = {
		.size = sizeof(options),
		.moment = way == WAY_EXIT ? KNELL_AT_EXIT : KNELL_AT_DEAD,
		.fn = on_verdict,
		.userdata = b,
	};
	struct epoll_event event = { .events = EPOLLIN };
	struct knell_watch *watch;
	uint64_t end;

	b->told = 0;
	if (knell_watch_pidfd(b->engine, &watch, pidfd, &options) < 0) {
		fprintf(stderr, "watch-latency: %s\n", knell_last_error());
		exit(EXIT_FAILURE);
	}
	/* The births and frees of the rounds before. */
	if (!b->reapers)
		knell_dispatch(b->engine);
	end = now() + TIMEOUT_MS * UINT64_C(1000000);
	__atomic_store_n(&b->shared->state, 2, __ATOMIC_RELEASE);
	if (b->reapers)
		wait_for_reaper(b);
	while (!b->reapers && !b->told && now() < end) {
		epoll_wait(knell_fd(b->engine), &event, 1, TIMEOUT_MS);
		knell_dispatch(b->engine);
	}
	knell_watch_cancel(watch);
	while (sem_trywait(&b->verdict) == 0) /* told, but too late */
		;
	return b->told;
}

static void measure(struct bench *b, enum way way)
{
	/* What the kernel still clears away of the round before is not this round's. */
	const struct timespec pause = { .tv_nsec = 2000000 };
	uint64_t told;
	int pidfd;

	nanosleep(&pause, NULL);
	pidfd = start_child(b);
	told = way == WAY_PIDFD ? by_pidfd(b, pidfd) : by_watch(b, pidfd, way);

	close(pidfd);
	if (told)
		b->times[way][b->count[way]++] = told - b->shared->died;
	else
		b->missed[way]++;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double percentile(const struct bench *b, enum way way, unsigned int percent)
{
	unsigned int n = b->count[way];

	if (!n)
		return 0;
	n = (n - 1) * percent / 100;
	return (double)b->times[way][n] / 1e3;
}

static void print(const struct bench *b, bool json, bool at_exit)
{
	for (enum way way = 0; way < WAYS; way++) {
		double p50 = percentile(b, way, 50), p99 = percentile(b, way, 99);

		if (way == WAY_EXIT && !at_exit)
			continue;
		if (json)
			printf("{\"way\": \"%s\", \"same_cpu\": %s, \"n\": %u, \"missed\": %u, "
			       "\"p50_us\": %.2f, \"p99_us\": %.2f}\n",
			       way_keys[way], b->same_cpu ? "true" : "false", b->count[way],
			       b->missed[way], p50, p99);
		else
			printf("%-16s %-11s %6u %6u %9.1f %9.1f   %5.2f %5.2f\n", way_names[way],
			       b->same_cpu ? "same CPU" : "other CPU", b->count[way],
			       b->missed[way], p50, p99, p50 / percentile(b, WAY_PIDFD, 50),
			       p99 / percentile(b, WAY_PIDFD, 99));
	}
}

static void run(struct bench *b, bool json, bool at_exit)
{
	for (enum way way = 0; way < WAYS; way++) {
		b->times[way] = calloc(b->rounds, sizeof(*b->times[way]));
		if (!b->times[way])
			die("calloc");
		b->count[way] = b->missed[way] = 0;
	}
	for (unsigned int i = 0; i < b->rounds; i++) {
		for (unsigned int turn = 0; turn < WAYS; turn++) {
			/* Nobody is always after the same one: CPUs learn how long to sleep. */
			enum way way = (enum way)((i + turn) % WAYS);

			if (way != WAY_EXIT || at_exit)
				measure(b, way);
		}
	}
	for (enum way way = 0; way < WAYS; way++)
		qsort(b->times[way], b->count[way], sizeof(*b->times[way]), by_size);
	print(b, json, at_exit);
	for (enum way way = 0; way < WAYS; way++)
		free(b->times[way]);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "rounds", required_argument, NULL, 'n' },
		{ "source", required_argument, NULL, 's' },
		{ "touch", required_argument, NULL, 't' },
		{ "slice", required_argument, NULL, 'l' },
		{ "reapers", no_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	struct knell_options options = { .size = sizeof(options) };
	struct bench b = { .rounds = 2000 };
	bool json = false, at_exit;
	unsigned long slice = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 'n')
			b.rounds = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 's')
			options.source = optarg;
		else if (option == 't')
			b.touch = strtoul(optarg, NULL, 10) << 20;
		else if (option == 'l')
			slice = strtoul(optarg, NULL, 10);
		else if (option == 'r')
			b.reapers = true;
		else if (option == 'j')
			json = true;
		else
			return 2;
	}
	b.shared = mmap(NULL, sizeof(*b.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (b.shared == MAP_FAILED)
		die("mmap");
	start_mother(&b);
	if (knell_open(&b.engine, &options) < 0) {
		fprintf(stderr, "watch-latency: %s\n", knell_last_error());
		return EXIT_FAILURE;
	}
	sem_init(&b.verdict, 0, 0);
	if (b.reapers && knell_reapers_start(b.engine) < 0) {
		fprintf(stderr, "watch-latency: %s\n", knell_last_error());
		return EXIT_FAILURE;
	}
	pin(0);
	if (slice)
		set_slice(slice);
	at_exit = strcmp(knell_source(b.engine), "bpf") == 0;
	if (!json)
		printf("source %s; _exit() to callback, us; ratios to pidfd and epoll\n"
		       "%-16s %-11s %6s %6s %9s %9s   %5s %5s\n",
		       knell_source(b.engine), "", "child on", "n", "missed", "p50", "p99", "p50",
		       "p99");
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		run(&b, json, at_exit);
	b.same_cpu = true;
	run(&b, json, at_exit);
	knell_close(b.engine);
	return EXIT_SUCCESS;
}
