/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * reap.c - what it costs to reap one dead child while many others live: by number, as knell_reap()
 * does it when a source has announced the death, against waitpid(-1). Both in turns and in one run,
 * so that the machine is the same for them; a turn is some children long, because waitpid(-1)
 * leaves the caches full of all who live.
 *
 * The living are plain forks that wait for a signal, each with its parent's death as the last one;
 * they are ended by pid. The one that dies was forked last, as in a storm, so waitpid(-1) looks at
 * all others before it: the kernel keeps children in the order of their birth.
 *
 * Usage: reap [--rounds=N] [--json]
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reap/children.h"

#define SPARE_PIDS 2000 /* for everybody else */
#define FLAT       1.5
#define TURN       25 /* children */

enum way {
	BY_NUMBER,
	BY_ANY,
	WAYS
};

static const char *const way_keys[WAYS] = { "number", "any" };
static const unsigned int steps[] = { 0, 1000, 5000, 20000 };

#define STEPS (sizeof(steps) / sizeof(steps[0]))

struct row {
	unsigned int living;
	double median[WAYS], mean[WAYS]; /* ns */
};

struct bench {
	struct children *children;
	pid_t *living;
	unsigned int count;
	unsigned int rounds;
	uint64_t *times[WAYS]; /* ns */
};

static void end_living(struct bench *b);
static struct bench bench;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "reap: %s: %s\n", what, strerror(errno));
	end_living(&bench);
	exit(EXIT_FAILURE);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the living ---- */

static long number_in(const char *path, const char *format)
{
	FILE *file = fopen(path, "re");
	long number = -1;

	if (file && fscanf(file, format, &number) != 1)
		number = -1;
	if (file)
		fclose(file);
	return number;
}

/* How many of these more there is room for. */
static unsigned int room(unsigned int wanted)
{
	long pid_max = number_in("/proc/sys/kernel/pid_max", "%ld");
	long tasks = number_in("/proc/loadavg", "%*f %*f %*f %*d/%ld");
	long free_pids = pid_max - tasks - SPARE_PIDS;

	if (pid_max < 0 || tasks < 0 || free_pids >= (long)wanted)
		return wanted;
	return free_pids > 0 ? (unsigned int)free_pids : 0;
}

static _Noreturn void live(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (;;)
		pause();
}

/* Until so many live; fewer where pids, memory or a limit of ours do not suffice. */
static void start_living(struct bench *b, unsigned int wanted)
{
	pid_t self = getpid();

	while (b->count < wanted) {
		pid_t pid = fork();

		if (pid == 0)
			live(self);
		if (pid < 0)
			break;
		b->living[b->count++] = pid;
	}
}

static void end_living(struct bench *b)
{
	for (unsigned int i = 0; i < b->count; i++)
		kill(b->living[i], SIGKILL);
	for (unsigned int i = 0; i < b->count; i++)
		waitpid(b->living[i], NULL, 0);
	b->count = 0;
}

/* ---- the dead ---- */

/* After a fork(2) each first write to a page faults: that is not what is measured. */
static pid_t start_dead(void)
{
	siginfo_t info;
	pid_t pid = vfork(); /* NOLINT: see above */

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		fail("fork");
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0) {
		if (errno != EINTR)
			fail("waitid");
	}
	return pid;
}

static uint64_t reap_once(struct bench *b, enum way way)
{
	pid_t pid = start_dead();
	uint64_t start = now();
	bool reaped;

	if (way == BY_NUMBER) {
		children_announce(b->children, pid);
		reaped = children_reap(b->children, NULL, NULL) == 1;
	} else {
		reaped = waitpid(-1, NULL, WNOHANG) == pid;
	}
	start = now() - start;
	if (!reaped) {
		errno = ECHILD;
		fail("somebody else was dead");
	}
	return start;
}

static int by_size(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return (a > b) - (a < b);
}

static struct row measure(struct bench *b)
{
	struct row row = { .living = b->count };

	for (unsigned int first = 0; first < b->rounds; first += TURN) {
		for (unsigned int turn = 0; turn < WAYS; turn++) {
			enum way way = (enum way)((first / TURN + turn) % WAYS);

			for (unsigned int i = first; i < first + TURN && i < b->rounds; i++)
				b->times[way][i] = reap_once(b, way);
		}
	}
	for (enum way way = 0; way < WAYS; way++) {
		unsigned int middle = b->rounds / 2;

		for (unsigned int i = 0; i < b->rounds; i++)
			row.mean[way] += (double)b->times[way][i] / b->rounds;
		qsort(b->times[way], b->rounds, sizeof(*b->times[way]), by_size);
		row.median[way] = (double)b->times[way][middle];
	}
	return row;
}

static void print_row(const struct row *row, unsigned int wanted, bool json)
{
	for (enum way way = 0; json && way < WAYS; way++)
		printf("{\"way\": \"%s\", \"living\": %u, \"wanted\": %u, \"median_ns\": %.0f, "
		       "\"mean_ns\": %.0f}\n",
		       way_keys[way], row->living, wanted, row->median[way], row->mean[way]);
	if (!json)
		printf("%8u %12.0f %10.0f %14.0f %10.0f %8.1f\n", row->living,
		       row->median[BY_NUMBER], row->mean[BY_NUMBER], row->median[BY_ANY],
		       row->mean[BY_ANY], row->median[BY_ANY] / row->median[BY_NUMBER]);
	fflush(stdout);
}

static void print_target(const struct row rows[STEPS])
{
	double worst = 0;

	for (size_t i = 1; i < STEPS; i++) {
		double ratio = rows[i].median[BY_NUMBER] / rows[0].median[BY_NUMBER];

		worst = ratio > worst ? ratio : worst;
	}
	printf("\ntarget: by number flat within %.1fx from 0 to %u: %.2fx, %s\n", FLAT,
	       rows[STEPS - 1].living, worst, worst <= FLAT ? "met" : "missed");
}

/* The dead would be on this CPU in some runs and on another one in others. */
static void stay_here(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned int)(cpu < 0 ? 0 : cpu), &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fail("sched_setaffinity");
}

static void run(struct bench *b, bool json)
{
	struct row rows[STEPS];

	if (!json)
		printf("ns to reap one dead child; %u rounds\n"
		       "%8s %12s %10s %14s %10s %8s\n",
		       b->rounds, "living", "by number", "(mean)", "waitpid(-1)", "(mean)",
		       "ratio");
	measure(b); /* the first is about cold caches and a sleepy CPU */
	for (size_t i = 0; i < STEPS; i++) {
		start_living(b, b->count + room(steps[i] - b->count));
		if (b->count < steps[i])
			fprintf(stderr, "reap: room for %u instead of %u living children only\n",
				b->count, steps[i]);
		rows[i] = measure(b);
		print_row(&rows[i], steps[i], json);
	}
	if (!json)
		print_target(rows);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "rounds", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	bool json = false;
	int option;

	bench.rounds = 2000;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 'n')
			bench.rounds = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'j')
			json = true;
		else
			return 2;
	}
	if (!bench.rounds)
		return 2;
	bench.living = calloc(steps[STEPS - 1], sizeof(*bench.living));
	for (enum way way = 0; way < WAYS; way++)
		bench.times[way] = calloc(bench.rounds, sizeof(*bench.times[way]));
	if (!bench.living || !bench.times[BY_NUMBER] || !bench.times[BY_ANY] ||
	    children_open(&bench.children) < 0)
		fail("no memory");
	children_all_announced(bench.children, true);
	stay_here();
	run(&bench, json);
	end_living(&bench);
	children_close(bench.children);
	for (enum way way = 0; way < WAYS; way++)
		free(bench.times[way]);
	free(bench.living);
	return EXIT_SUCCESS;
}
