/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kmod-cost.c - what an exit costs, in instructions, with the kernel module watching others, with
 * it watching the process itself, and without. It runs in a virtual machine whose time-stamp
 * counter counts instructions (tests/vm/boot --icount shift=0,sleep=off); bench/kmod-cost starts
 * it.
 *
 *   kmod-cost check                   the targets, as a test
 *   kmod-cost cost YARDSTICK.ko       all engines, on one CPU
 *   kmod-cost rate YARDSTICK.ko       the same on all CPUs at once, by the clock, without --icount
 *   kmod-cost outrun YARDSTICK.ko     70,000 deaths, and nobody runs who could take them
 *
 * A burst is a row of processes that have a CPU to themselves (SCHED_FIFO, in the order of their
 * birth): each reads the counter, and exits; the next one reads it. The differences are exits, from
 * the last instruction of one process to the first one of the next, and nothing else but a clock
 * tick now and then. They have a few values, by the ways that the kernel's allocators take. What is
 * compared are the lowest deciles of bursts in turns: all ways have the cheapest of these values.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod_engines.h"

#define BURST   64
#define ROUNDS  12
#define WARM_UP 3   /* rounds that do not count: the kernel's caches fill */
#define PARKED  100 /* processes that live, and are watched while those of a burst are not */
#define CPUS    8   /* at most */
#define REPEAT  2   /* bursts of a round, of `rate` */
#define FILES   (PARKED + 1000)

#define DEATHS 70000u
#define WAVE   500u

/* The targets of docs/kmod.md, which the test holds. */
#define FOREIGN_MOST 40
#define WATCHED_MOST 400

static char *stacks;
static volatile uint64_t stamps[BURST + 1];
static int gate, awake, parked_over; /* futexes */

/*
 * Figures of one way: exits on the first CPU, the first of each burst, which may wake somebody, and
 * for each round all that it took until nobody had anything to do any more.
 */
struct row {
	unsigned int count, firsts, rounds;
	uint64_t each[REPEAT * ROUNDS * BURST], first[REPEAT * ROUNDS], all[ROUNDS];
};

/* In memory that is shared. */
struct ways {
	struct row bare, foreign, watched, others /* what other CPUs measure */;
	int go; /* a futex */
};
static struct ways *ways;

static uint64_t instructions(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

static int one_of_a_burst(void *number)
{
	/* Closed only if whoever makes us had to sleep, as others on other CPUs make him. */
	while (!__atomic_load_n(&gate, __ATOMIC_ACQUIRE))
		raw_call(SYS_futex, (long)&gate, FUTEX_WAIT_PRIVATE, 0);
	stamps[(long)number] = instructions();
	if ((long)number == BURST) {
		awake = 1;
		raw_call(SYS_futex, (long)&awake, FUTEX_WAKE_PRIVATE, 1);
	}
	raw_call(SYS_exit_group, 0, 0, 0);
	return 0;
}

static int parked(void *unused)
{
	raw_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
	while (!__atomic_load_n(&parked_over, __ATOMIC_ACQUIRE))
		raw_call(SYS_futex, (long)&parked_over, FUTEX_WAIT_PRIVATE, 0);
	raw_call(SYS_exit_group, 0, 0, 0);
	return unused != NULL;
}

/* Of: who watches those of the burst; NULL: nobody. Drain: who is waited for until all is told. */
static void burst(struct row *row, const struct engine *of, const struct engine *drain)
{
	uint64_t began;
	pid_t pids[BURST + 1];
	int pidfds[BURST + 1];
	long i;

	awake = gate = 0;
	for (i = 0; i <= BURST; i++) {
		pids[i] = born(one_of_a_burst, (void *)i, stacks + (i + 1) * STACK, &pidfds[i]);
		if (of && !of->watch(pids[i], pidfds[i], (uint64_t)i))
			fail("watch");
	}
	__atomic_store_n(&gate, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &gate, FUTEX_WAKE_PRIVATE, BURST + 1, NULL, NULL, 0);
	began = instructions();
	while (!awake) /* they run while we sleep */
		syscall(SYS_futex, &awake, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	if (drain) {
		drain->drain(of ? BURST + 1 : 0);
		row->all[row->rounds] = instructions() - began;
	}
	row->first[row->firsts++] = stamps[1] - stamps[0];
	for (i = 1; i < BURST; i++)
		row->each[row->count++] = stamps[i + 1] - stamps[i];
	for (i = 0; i <= BURST; i++) {
		if (waitpid(pids[i], NULL, 0) != pids[i])
			fail("waitpid");
		close(pidfds[i]);
	}
}

static pid_t parked_pids[PARKED];
static int parked_pidfds[PARKED];

static void park(void)
{
	char *room = stacks_new(PARKED);
	int i;

	for (i = 0; i < PARKED; i++)
		parked_pids[i] =
			born(parked, NULL, room + (size_t)(i + 1) * STACK, &parked_pidfds[i]);
}

static void unpark(void)
{
	int i;

	parked_over = 1;
	syscall(SYS_futex, &parked_over, FUTEX_WAKE_PRIVATE, PARKED, NULL, NULL, 0);
	for (i = 0; i < PARKED; i++)
		waitpid(parked_pids[i], NULL, 0);
}

static void arm(const struct engine *engine)
{
	int i;

	engine->arm();
	for (i = 0; i < PARKED; i++)
		if (!engine->watch(parked_pids[i], parked_pidfds[i], 0))
			fail("watch");
}

static void own_the_cpu(int cpu)
{
	struct sched_param priority = { .sched_priority = 10 };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		fail("sched_setaffinity");
	if (sched_setscheduler(0, SCHED_FIFO, &priority))
		fail("sched_setscheduler");
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/* The value that so many hundredths of them are below. */
static double percentile(uint64_t *values, unsigned int count, unsigned int hundredths)
{
	unsigned int place = (count - 1) * hundredths / 100;

	qsort(values, count, sizeof(*values), compare);
	return (double)values[place];
}

static noreturn void worker(struct row *row, int cpu, int repeat, const struct engine *of,
			    const struct engine *drain)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stacks = stacks_new(BURST + 1);
	/* Processes that share a table of descriptors sleep when it has to grow. */
	if (dup2(STDERR_FILENO, FILES - 1) < 0)
		fail("dup2");
	own_the_cpu(cpu);
	while (!__atomic_load_n(&ways->go, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &ways->go, FUTEX_WAIT, 0, NULL, NULL, 0);
	while (repeat--)
		burst(row, of, drain);
	_exit(0);
}

/* Bursts on each CPU, at once, of processes that `of` watches. */
static void bursts(struct row *row, int cpus, const struct engine *armed, const struct engine *of)
{
	int repeat = cpus > 1 ? REPEAT : 1, cpu, status;
	pid_t workers[CPUS];
	uint64_t began;

	ways->go = 0;
	memset(&ways->others, 0, sizeof(ways->others));
	for (cpu = 0; cpu < cpus; cpu++) {
		workers[cpu] = fork();
		if (!workers[cpu])
			worker(cpu ? &ways->others : row, cpu, repeat, of, cpus > 1 ? NULL : armed);
	}
	began = instructions();
	__atomic_store_n(&ways->go, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &ways->go, FUTEX_WAKE, CPUS, NULL, NULL, 0);
	for (cpu = 0; cpu < cpus; cpu++)
		if (workers[cpu] < 0 || waitpid(workers[cpu], &status, 0) < 0 || status)
			fail("a worker");
	if (cpus > 1) {
		armed->drain(of ? (unsigned int)(cpus * repeat * (BURST + 1)) : 0);
		row->all[row->rounds] = instructions() - began;
	}
	row->rounds++;
}

static unsigned int drain_nothing(unsigned int deaths)
{
	return deaths;
}
static const struct engine nobody = { .name = "nobody", .drain = drain_nothing };

/* Bursts in turns: without the engine, of processes that it does not watch, of those that it does.
 */
static void compare_ways(const struct engine *engine, int cpus)
{
	int round;

	for (round = -WARM_UP; round < ROUNDS; round++) {
		if (round <= 0)
			memset(ways, 0, sizeof(*ways));
		bursts(&ways->bare, cpus, &nobody, NULL);
		arm(engine);
		bursts(&ways->foreign, cpus, engine, NULL);
		bursts(&ways->watched, cpus, engine, engine);
		engine->disarm();
	}
}

static void tell(const struct engine *engine, const char *what, double value)
{
	printf("%s\t%s\t%.3f\n", engine->name, what, value);
	fflush(stdout);
}

static double exit_of(struct row *row)
{
	return percentile(row->each, row->count, 10);
}

static double first_of(struct row *row)
{
	return percentile(row->first, row->firsts, 10);
}

static double all_of(struct row *row)
{
	return percentile(row->all, row->rounds, 10) / (BURST + 1);
}

/* What an engine adds, in instructions. */
static void cost(const struct engine *engine)
{
	compare_ways(engine, 1);
	tell(engine, "an exit without it", exit_of(&ways->bare));
	tell(engine, "unrelated exit", exit_of(&ways->foreign) - exit_of(&ways->bare));
	tell(engine, "watched exit", exit_of(&ways->watched) - exit_of(&ways->bare));
	tell(engine, "watched exit, the first of a burst",
	     first_of(&ways->watched) - first_of(&ways->bare));
	tell(engine, "unrelated exit, with all that follows",
	     all_of(&ways->foreign) - all_of(&ways->bare));
	tell(engine, "watched exit, with all that follows",
	     all_of(&ways->watched) - all_of(&ways->bare));
}

/* Deaths in a time, births included, to those without it: the median of the rounds. */
static double rate_of(const struct row *row)
{
	uint64_t ratios[ROUNDS];
	unsigned int i;

	for (i = 0; i < ROUNDS; i++)
		ratios[i] = ways->bare.all[i] * 1000 / row->all[i];
	return percentile(ratios, ROUNDS, 50) / 1000;
}

/* The time of an exit on the first CPU, to one without it: medians. */
static double time_of(struct row *row)
{
	return percentile(row->each, row->count, 50) /
	       percentile(ways->bare.each, ways->bare.count, 50);
}

static void rate(const struct engine *engine, int cpus)
{
	compare_ways(engine, cpus);
	tell(engine, "time of an unrelated exit, to that without it", time_of(&ways->foreign));
	tell(engine, "time of a watched exit, to that without it", time_of(&ways->watched));
	tell(engine, "lives in a second beside it, to those without it", rate_of(&ways->foreign));
	tell(engine, "watched lives in a second, to those without it", rate_of(&ways->watched));
}

/* The targets, and that a burst wakes the reaper once. */
static int check(void)
{
	uint64_t wakeups, news, wakeups_before, news_before;
	double foreign, watched;

	knell_counts(&wakeups_before, &news_before);
	compare_ways(&knell, 1);
	knell_counts(&wakeups, &news);
	foreign = exit_of(&ways->foreign) - exit_of(&ways->bare);
	watched = exit_of(&ways->watched) - exit_of(&ways->bare);
	wakeups -= wakeups_before;
	news -= news_before;
	printf("added to an unrelated exit: %.0f instructions, to a watched one: %.0f\n"
	       "%llu deaths in %d bursts woke reapers %llu times\n",
	       foreign, watched, (unsigned long long)news, WARM_UP + ROUNDS,
	       (unsigned long long)wakeups);
	if (news != (uint64_t)(WARM_UP + ROUNDS) * (BURST + 1) || wakeups != WARM_UP + ROUNDS)
		return 1;
	/* Nothing at all would mean that nothing was measured. */
	return foreign < 1 || foreign > FOREIGN_MOST || watched < 50 || watched > WATCHED_MOST;
}

/* Gives a thread of the kernel more than our priority; none of this name: nothing to do. */
static void raise_thread(const char *name)
{
	struct sched_param priority = { .sched_priority = 50 };
	char path[64], comm[64];
	pid_t pid;

	for (pid = 1; pid < 300; pid++) {
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(comm, sizeof(comm), file) && strcmp(strtok(comm, "\n"), name) == 0)
			sched_setscheduler(pid, SCHED_FIFO, &priority);
		fclose(file);
	}
}

static int short_life(void *unused)
{
	raw_call(SYS_exit_group, 0, 0, 0);
	return unused != NULL;
}

/* On one CPU, whose owner does not sleep: reapers and workers have to wait. */
static void outrun(const struct engine *engine)
{
	unsigned int watched = 0, told, i, refused = 0;
	pid_t pids[WAVE];
	int pidfd;

	engine->arm();
	while (watched + refused < DEATHS) {
		for (i = 0; i < WAVE; i++) {
			pids[i] = born(short_life, NULL, stacks + (size_t)(i + 1) * STACK, &pidfd);
			if (engine->watch(pids[i], pidfd, watched))
				watched++;
			else
				refused++;
			close(pidfd);
		}
		for (i = 0; i < WAVE; i++)
			if (waitpid(pids[i], NULL, 0) != pids[i])
				fail("waitpid");
	}
	told = engine->drain(watched);
	engine->disarm();
	tell(engine, "deaths, of 70,000, that it refused to watch", refused);
	tell(engine, "deaths that were lost", watched - told);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(path);
	close(fd);
}

static void outrun_all(void)
{
	/* Numbers are not used again, and there is room for all in one session. */
	write_text("/proc/sys/kernel/pid_max", "1000000");
	write_text("/proc/sys/kernel/sched_rt_runtime_us", "-1");
	write_text("/sys/module/knell/parameters/max_watches", "200000");
	stacks = stacks_new(WAVE);
	/* What gives memory back must run, or there will be none. */
	raise_thread("ksoftirqd/0");
	raise_thread("rcu_sched");
	raise_thread("rcu_preempt");
	own_the_cpu(0);
	outrun(&knell);
	outrun(&yardstick);
	outrun(&yardstick_filter);
}

static const struct engine *const engines[] = { &knell, &knell_dead, &knell_subtree, &yardstick,
						&yardstick_filter };

int main(int argc, char **argv)
{
	const struct rlimit files = { FILES, FILES };
	const char *mode = argc > 1 ? argv[1] : "";
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN), status = 0, i;

	if (argc < (strcmp(mode, "check") == 0 ? 2 : 3) || cpus > CPUS) {
		fprintf(stderr, "usage: kmod-cost check | cost|rate|outrun YARDSTICK.ko\n");
		return 2;
	}
	if (!getenv("KNELL_VM") || !getenv("KNELL_KMOD")) {
		printf("kmod-cost loads a kernel module: 'make vm-check' and 'make bench "
		       "BENCH=kmod-cost' run it\n");
		return 77;
	}
	knell_load(getenv("KNELL_KMOD"));
	yardstick_file = argv[2];
	if (setrlimit(RLIMIT_NOFILE, &files))
		fail("setrlimit");
	if (strcmp(mode, "outrun") == 0) {
		outrun_all();
		return 0;
	}
	ways = mmap(NULL, sizeof(*ways), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ways == MAP_FAILED)
		fail("memory");
	park();
	if (strcmp(mode, "check") == 0) {
		status = check();
	} else {
		for (i = 0; i < (int)(sizeof(engines) / sizeof(engines[0])); i++) {
			if (strcmp(mode, "cost") == 0)
				cost(engines[i]);
			else if (engines[i] != &knell_subtree)
				rate(engines[i], cpus);
		}
	}
	unpark();
	return status;
}
