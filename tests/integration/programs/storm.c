/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * storm - starts many short-lived children, one after the other, and knows what it did.
 *
 *   storm [-n N] [-j WORKERS] [--cpu FIRST] [--exec PROGRAM] [--truth FILE] [--limit SECONDS]
 *
 * Each worker is pinned to a CPU of its own and does fork, _exit (or exec of PROGRAM with the exit
 * status as its argument) and wait, its share of N times. The truth is written after the storm, so
 * that writing it costs the storm nothing: one line for each child, "pid ppid status name", status
 * as wait(2) has it. The rate goes to stdout: the benchmark reads it. At most WORKERS children are
 * alive at once, and no storm lasts longer than its limit.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CHILDREN 2000000u
#define MAX_WORKERS  64u

struct child {
	pid_t pid;
	int status;
};

struct worker {
	pid_t pid;
	unsigned int planned;
	unsigned int done;
	struct child *children;
};

static const char *program;
static double limit = 120.0;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Shared pages are not copied by fork(): the account must not make the storm slower. */
static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("storm: mmap");
		exit(1);
	}
	return p;
}

static void pin(unsigned int nth)
{
	cpu_set_t allowed, one;
	unsigned int cpu, seen = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	nth %= (unsigned int)CPU_COUNT(&allowed);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || seen++ != nth)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static void child_life(unsigned int i)
{
	char number[16];
	char *argv[] = { (char *)program, number, NULL };

	if (!program)
		_exit((int)(i % 7));
	snprintf(number, sizeof(number), "%u", i % 7);
	execv(program, argv);
	_exit(126);
}

static int work(struct worker *worker)
{
	double end = now() + limit;
	unsigned int i;

	for (i = 0; i < worker->planned; i++) {
		struct child *child = &worker->children[i];
		pid_t pid;

		if (i % 64 == 0 && now() > end) {
			fprintf(stderr, "storm: stopped at its time limit\n");
			return 1;
		}
		pid = fork();
		if (pid < 0) {
			perror("storm: fork");
			return 1;
		}
		if (pid == 0)
			child_life(i);
		child->pid = pid; /* the page is shared: never in the child */
		while (waitpid(pid, &child->status, 0) < 0) {
			if (errno != EINTR) {
				perror("storm: waitpid");
				return 1;
			}
		}
		worker->done++;
	}
	return 0;
}

static void worker_name(char name[16], unsigned int w)
{
	snprintf(name, 16, "storm-%u", w % 1000);
}

/* One worker runs in this process itself, so that the storm alone is measured. */
static int run(struct worker *workers, unsigned int n_workers, unsigned int first_cpu,
	       int *statuses)
{
	unsigned int w;
	char name[16];
	int bad = 0;
	pid_t pid;

	for (w = 0; w < n_workers; w++) {
		worker_name(name, w);
		if (n_workers == 1) {
			prctl(PR_SET_NAME, name);
			pin(first_cpu);
			return work(&workers[0]);
		}
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_NAME, name);
			pin(first_cpu + w);
			_exit(work(&workers[w]));
		}
		if (pid < 0) {
			perror("storm: fork");
			return 1;
		}
		workers[w].pid = pid;
	}
	for (w = 0; w < n_workers; w++) {
		while (waitpid(workers[w].pid, &statuses[w], 0) < 0 && errno == EINTR)
			;
		bad |= statuses[w] != 0;
	}
	return bad;
}

static int write_truth(const char *path, const struct worker *workers, unsigned int n_workers,
		       const int *statuses)
{
	FILE *file = fopen(path, "we");
	unsigned int w, i;
	char name[16];

	if (!file) {
		fprintf(stderr, "storm: %s: %s\n", path, strerror(errno));
		return 1;
	}
	for (w = 0; w < n_workers; w++) {
		pid_t ppid = n_workers == 1 ? getpid() : workers[w].pid;

		worker_name(name, w);
		for (i = 0; i < workers[w].done; i++) {
			const char *slash = program ? strrchr(program, '/') : NULL;

			fprintf(file, "%d %d %d %s\n", workers[w].children[i].pid, ppid,
				workers[w].children[i].status,
				!program ? name
				: slash  ? slash + 1
					 : program);
		}
		if (n_workers > 1)
			fprintf(file, "%d %d %d %s\n", ppid, getpid(), statuses[w], name);
	}
	if (fclose(file)) {
		fprintf(stderr, "storm: %s: %s\n", path, strerror(errno));
		return 1;
	}
	return 0;
}

static double cpu_seconds(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static unsigned int number(const char *text, unsigned int max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || !*text || value == 0 || value > max) {
		fprintf(stderr, "storm: %s: not a number from 1 to %u\n", text, max);
		exit(2);
	}
	return (unsigned int)value;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "exec", required_argument, NULL, 'e' },
		{ "truth", required_argument, NULL, 't' },
		{ "limit", required_argument, NULL, 'l' },
		{ "cpu", required_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned int n = 1000, n_workers = 1, first_cpu = 0, total = 0, w;
	struct worker *workers;
	const char *truth = NULL;
	int statuses[MAX_WORKERS] = { 0 };
	double start, seconds;
	int c, bad;

	while ((c = getopt_long(argc, argv, "n:j:", options, NULL)) != -1) {
		if (c == 'n')
			n = number(optarg, MAX_CHILDREN);
		else if (c == 'j')
			n_workers = number(optarg, MAX_WORKERS);
		else if (c == 'e')
			program = optarg;
		else if (c == 't')
			truth = optarg;
		else if (c == 'l')
			limit = (double)number(optarg, 3600);
		else if (c == 'c')
			first_cpu = (unsigned int)strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	workers = shared(n_workers * sizeof(*workers));
	for (w = 0; w < n_workers; w++) {
		workers[w].planned = n / n_workers + (w < n % n_workers);
		workers[w].children =
			shared((size_t)(workers[w].planned + 1) * sizeof(struct child));
	}
	start = now();
	bad = run(workers, n_workers, first_cpu, statuses);
	seconds = now() - start;
	for (w = 0; w < n_workers; w++)
		total += workers[w].done;
	printf("forks=%u seconds=%.6f rate=%.1f cpu=%.6f\n", total, seconds, total / seconds,
	       cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN));
	if (truth)
		bad |= write_truth(truth, workers, n_workers, statuses);
	return bad;
}
