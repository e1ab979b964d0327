/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watchers-tax.c - what watchers cost those who fork: forks a second of a storm, as the author of
 * task watchers measured it: bare, with an empty table, then with one watcher more at a time, and
 * at last with all of them called by hand instead. Mean and noise of so many samples each, taken in
 * turns, and the ratios of samples of the same turn.
 *
 * The storm runs on one CPU, and the thread that dispatches on another one where there is one.
 *
 * Usage: watchers-tax [--samples=N] [--storm=N] [--json]
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <knell/watcher.h>

#define MAX_SAMPLES 1000
#define ALL_TARGET  0.97 /* of bare, with all watchers */
#define HAND_TARGET 1.0  /* of the same watchers called by hand */

/* ---- the watchers: each adds up what it sees of its kind ---- */

static uint64_t seen[KNELL_KIND_MAX];

/* Something that a watcher may do: look at the record, and keep a figure. */
static int add_up(const struct knell_event *event)
{
	seen[event->kind] += event->task.start ^ event->time;
	return 0;
}

#define WATCHER(kind)                                                                              \
	static int see_##kind(const struct knell_event *event, void *userdata)                     \
	{                                                                                          \
		(void)userdata;                                                                    \
		return add_up(event);                                                              \
	}                                                                                          \
	KNELL_WATCHER(kind, see_##kind)

WATCHER(init);
WATCHER(clone);
WATCHER(exit);
WATCHER(free);
WATCHER(exec);
WATCHER(uid);
WATCHER(gid);
WATCHER(gap);

/* In the order in which they are added: those that a storm of forks calls come first. */
static const unsigned int order[] = { KNELL_INIT, KNELL_CLONE, KNELL_EXIT, KNELL_FREE,
				      KNELL_EXEC, KNELL_UID,   KNELL_GID,  KNELL_GAP };

#define WATCHERS (sizeof(order) / sizeof(order[0]))

/* The same, without a table. */
static int by_hand(const struct knell_event *event, void *userdata)
{
	switch (event->kind) {
	case KNELL_INIT:
		return see_init(event, userdata);
	case KNELL_CLONE:
		return see_clone(event, userdata);
	case KNELL_EXEC:
		return see_exec(event, userdata);
	case KNELL_UID:
		return see_uid(event, userdata);
	case KNELL_GID:
		return see_gid(event, userdata);
	case KNELL_EXIT:
		return see_exit(event, userdata);
	case KNELL_FREE:
		return see_free(event, userdata);
	default:
		return see_gap(event, userdata);
	}
}

/* ---- one sample ---- */

enum {
	BARE,
	EMPTY, /* and EMPTY + n: n watchers */
	ALL = EMPTY + (int)WATCHERS,
	HAND,
	ROWS
};

static const char *storm_size = "2000";

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "watchers-tax: %s: %s\n", what, knell_last_error());
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned int)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static _Noreturn void be_storm(int out)
{
	pin(0);
	dup2(out, STDOUT_FILENO);
	execl(KNELL_BENCH_STORM, "storm", "-n", storm_size, (char *)NULL);
	_exit(127);
}

static double read_rate(int fd)
{
	char text[200] = "";
	const char *rate;
	size_t size = 0;
	ssize_t n;

	while ((n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)n;
	close(fd);
	rate = strstr(text, "rate=");
	if (!rate) {
		fprintf(stderr, "watchers-tax: the storm failed\n");
		exit(1);
	}
	return strtod(rate + 5, NULL);
}

static double bare(void)
{
	int fds[2];
	double rate;
	pid_t pid;

	if (pipe(fds) < 0)
		exit(1);
	pid = fork();
	if (pid == 0)
		be_storm(fds[1]);
	close(fds[1]);
	rate = read_rate(fds[0]);
	waitpid(pid, NULL, 0);
	return rate;
}

static void dispatch_until_done(struct knell_engine *engine)
{
	struct pollfd pollfd = { .fd = knell_fd(engine), .events = POLLIN };

	do {
		poll(&pollfd, 1, 100);
		if (knell_dispatch(engine) < 0)
			fail("knell_dispatch");
	} while (knell_reap(engine, NULL, NULL) != -ECHILD);
}

static void add_watchers(struct knell_engine *engine, int row)
{
	struct knell_table some = *KNELL_TABLE;

	if (row == HAND) {
		if (knell_watcher_add(engine, KNELL_MASK_ALL, by_hand, NULL) < 0)
			fail("knell_watcher_add");
		return;
	}
	for (size_t i = (size_t)(row - EMPTY); i < WATCHERS; i++)
		memset(&some.of[order[i]], 0, sizeof(some.of[0]));
	/* The linker must not have lost one. */
	if (knell_table_join(engine, &some, NULL) != row - EMPTY)
		fail("knell_table_join");
}

static double heard(int row)
{
	struct knell_options options = {
		.size = sizeof(options), .source = "bpf", .flags = KNELL_O_FREE, .reserve = 100000
	};
	struct knell_engine *engine;
	int fds[2];
	pid_t pid;

	if (knell_open(&engine, &options) < 0)
		fail("knell_open");
	add_watchers(engine, row);
	if (pipe(fds) < 0)
		exit(1);
	pid = knell_fork(engine);
	if (pid < 0)
		fail("knell_fork");
	if (pid == 0)
		be_storm(fds[1]);
	close(fds[1]);
	dispatch_until_done(engine);
	knell_close(engine);
	return read_rate(fds[0]);
}

/* ---- the table ---- */

static double rates[ROWS][MAX_SAMPLES];

static double mean(const double *values, unsigned int n)
{
	double sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sum += values[i];
	return sum / n;
}

/* The standard deviation, of the mean. */
static double noise(const double *values, unsigned int n)
{
	double m = mean(values, n), sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sum += (values[i] - m) * (values[i] - m);
	return n > 1 ? sqrt(sum / (n - 1)) / m : 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The median of the ratios of samples of one turn. */
static double ratio(int row, int of, unsigned int n)
{
	static double values[MAX_SAMPLES];

	for (unsigned int i = 0; i < n; i++)
		values[i] = rates[row][i] / rates[of][i];
	qsort(values, n, sizeof(*values), by_value);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void row_name(char name[40], int row)
{
	if (row <= EMPTY || row == HAND)
		snprintf(name, 40, "%s",
			 row == BARE    ? "bare"
			 : row == EMPTY ? "empty table"
					: "all, called by hand");
	else
		snprintf(name, 40, "+ %s (%d)", knell_kind_name(order[row - EMPTY - 1]),
			 row - EMPTY);
}

static void print(unsigned int n, bool json)
{
	double all = ratio(ALL, BARE, n), table = ratio(ALL, HAND, n);
	char name[40];

	if (!json)
		printf("%-22s %10s %8s %8s\n", "watchers", "forks/s", "noise", "of bare");
	for (int row = 0; row < ROWS; row++) {
		row_name(name, row);
		printf(json ? "{\"row\":\"%s\",\"rate\":%.1f,\"noise\":%.4f,\"ratio\":%.4f}\n"
			    : "%-22s %10.0f %7.1f%% %8.3f\n",
		       name, mean(rates[row], n), noise(rates[row], n) * (json ? 1 : 100),
		       ratio(row, BARE, n));
	}
	if (json) {
		printf("{\"target\":\"all\",\"ratio\":%.4f}\n{\"target\":\"hand\",\"ratio\":%.4f}"
		       "\n",
		       all, table);
		return;
	}
	printf("\nall watchers, of bare: %.3f, target %.2f, %s\n", all, ALL_TARGET,
	       all >= ALL_TARGET ? "met" : "missed");
	printf("table, of called by hand: %.3f, target %.2f, %s\n", table, HAND_TARGET,
	       table >= HAND_TARGET ? "met" : "missed");
}

static unsigned int number(const char *text, unsigned int most)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || n < 1 || n > most) {
		fprintf(stderr, "watchers-tax: %s is not between 1 and %u\n", text, most);
		exit(2);
	}
	return (unsigned int)n;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = { { "samples", required_argument, NULL, 'n' },
						 { "storm", required_argument, NULL, 's' },
						 { "json", no_argument, NULL, 'j' },
						 { 0 } };
	unsigned int samples = 100;
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'n')
			samples = number(optarg, MAX_SAMPLES);
		else if (option == 's' && number(optarg, 100000))
			storm_size = optarg;
		else if (option == 'j')
			json = true;
		else
			return 2;
	}
	pin(sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 1 : 0);
	for (unsigned int i = 0; i < samples; i++) {
		/* Another one first in each turn. */
		for (int k = 0; k < ROWS; k++) {
			int row = (k + (int)i) % ROWS;

			rates[row][i] = row == BARE ? bare() : heard(row);
		}
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\r%u of %u", i + 1, samples);
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%20s\r", "");
	print(samples, json);
	return 0;
}
