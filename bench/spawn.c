/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * spawn.c - a real program is started, dies, and its starter learns of it: how often a second, by
 * knell_spawn() and by what people use instead, while no other child lives and while many do.
 *
 * Each way runs in a process of its own, in turns: it starts the children that live on, then so
 * many programs one after the other. The ways that scan (waitpid(-1), and libuv, which asks each of
 * its children) pay for those that live.
 *
 * Usage: spawn [--live=N] [--rounds=N] [--spawns=N] [--json]
 */
#include <errno.h>
#include <getopt.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef KNELL_BENCH_UV
#include <uv.h>
#endif

#include <knell/spawn.h>

#define MAX_ROUNDS  99
#define LIVE_TARGET 20.0 /* times the rate of those that scan */
#define BEST_TARGET 0.9  /* of the best of the others, without other children */

static const char *program; /* that ends at once */
static const char *self;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "spawn: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* One that lives until its starter dies. */
static _Noreturn void live_on(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

/* ---- the ways ---- */

#define MOST_FLIGHT 64

/* A child in flight has a place; begin() starts it there, finish() returns when its death is known.
 */
struct way {
	const char *name;
	bool scans;
	void (*open)(void);
	void (*begin)(unsigned int place, char *const argv[]);
	void (*finish)(unsigned int place);
	/* Instead: so many, always so many at once, each started by another one's callback. */
	void (*chain)(unsigned int count, unsigned int flight, char *const argv[]);
};

static void nothing(void)
{
}

/* knell_spawn */

static struct knell_nursery *nursery;
static uint32_t words[MOST_FLIGHT];

static void knell_way_open(void)
{
	if (knell_nursery_open(&nursery, NULL) < 0)
		fail("knell_nursery_open");
}

static void told(const struct knell_death *death, void *userdata)
{
	(void)userdata;
	if (death->status || death->flags)
		_exit(1);
}

static void knell_begin(unsigned int place, char *const argv[])
{
	struct knell_spawn_options o = {
		.size = sizeof(o), .file = argv[0], .argv = argv, .fn = told, .word = &words[place]
	};
	int r;

	words[place] = 0;
	r = knell_spawn(nursery, NULL, &o);
	if (r < 0) {
		errno = -r;
		fail("knell_spawn");
	}
}

static void knell_finish(unsigned int place)
{
	while (!__atomic_load_n(&words[place], __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &words[place], FUTEX_WAIT, 0, NULL, NULL, 0);
}

/* knell_spawn, the next one from the callback of the last, as event loops do it */

static uint32_t chain_left, chain_under_way; /* atomic */
static char *const *chain_argv;

static void chain_start(void);

static void chain_told(const struct knell_death *death, void *userdata)
{
	told(death, userdata);
	chain_start();
	if (__atomic_sub_fetch(&chain_under_way, 1, __ATOMIC_ACQ_REL) == 0)
		syscall(SYS_futex, &chain_under_way, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void chain_start(void)
{
	struct knell_spawn_options o = {
		.size = sizeof(o), .file = chain_argv[0], .argv = chain_argv, .fn = chain_told
	};
	int r;

	if ((int32_t)__atomic_sub_fetch(&chain_left, 1, __ATOMIC_RELAXED) < 0)
		return;
	__atomic_add_fetch(&chain_under_way, 1, __ATOMIC_RELAXED);
	r = knell_spawn(nursery, NULL, &o);
	if (r < 0) {
		errno = -r;
		fail("knell_spawn");
	}
}

static void knell_chain(unsigned int count, unsigned int flight, char *const argv[])
{
	uint32_t left;

	chain_argv = argv;
	chain_left = count;
	for (unsigned int i = 0; i < flight; i++)
		chain_start();
	while ((left = __atomic_load_n(&chain_under_way, __ATOMIC_ACQUIRE)) != 0)
		syscall(SYS_futex, &chain_under_way, FUTEX_WAIT, left, NULL, NULL, 0);
}

/* waitpid */

static pid_t pids[MOST_FLIGHT];

static void wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			fail("waitpid");
	}
}

static void posix_begin(unsigned int place, char *const argv[])
{
	int r = posix_spawn(&pids[place], argv[0], NULL, NULL, argv, environ);

	if (r) {
		errno = r;
		fail("posix_spawn");
	}
}

static void fork_begin(unsigned int place, char *const argv[])
{
	pid_t pid = fork();

	if (pid == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0)
		fail("fork");
	pids[place] = pid;
}

static void directed_finish(unsigned int place)
{
	wait_for(pids[place]);
}

/* Whichever it is. */
static void any_finish(unsigned int place)
{
	(void)place;
	wait_for(-1);
}

/* libuv */

#ifdef KNELL_BENCH_UV
struct uv_child {
	uv_process_t process;
	unsigned int place;
};

static bool uv_done[MOST_FLIGHT];

static void uv_closed(uv_handle_t *handle)
{
	free(handle);
}

static void uv_died(uv_process_t *process, int64_t status, int signo)
{
	(void)status;
	(void)signo;
	uv_done[((struct uv_child *)process)->place] = true;
	uv_close((uv_handle_t *)process, uv_closed);
}

static void uv_begin(unsigned int place, char *const argv[])
{
	struct uv_child *child = calloc(1, sizeof(*child));
	uv_process_options_t o = { .exit_cb = uv_died, .file = argv[0] };
	int r;

	if (!child)
		fail("calloc");
	child->place = place;
	uv_done[place] = false;
	o.args = (char **)(uintptr_t)argv;
	r = uv_spawn(uv_default_loop(), &child->process, &o);
	if (r < 0) {
		errno = -r;
		fail("uv_spawn");
	}
}

static void uv_finish(unsigned int place)
{
	while (!uv_done[place])
		uv_run(uv_default_loop(), UV_RUN_ONCE);
}
#endif

static const struct way ways[] = {
	{ "knell_spawn", false, knell_way_open, knell_begin, knell_finish, NULL },
	{ "knell_spawn, by callbacks", false, knell_way_open, knell_begin, knell_finish,
	  knell_chain },
	{ "posix_spawn, waitpid", false, nothing, posix_begin, directed_finish, NULL },
	{ "fork, exec, waitpid", false, nothing, fork_begin, directed_finish, NULL },
	{ "posix_spawn, waitpid(-1)", true, nothing, posix_begin, any_finish, NULL },
#ifdef KNELL_BENCH_UV
	{ "libuv", true, nothing, uv_begin, uv_finish, NULL },
#endif
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* ---- measuring ---- */

/* What one table is about. */
struct setting {
	unsigned int live;   /* other children */
	unsigned int flight; /* so many at once */
	unsigned int spawns;
};

static void run(const struct way *way, unsigned int count, unsigned int flight, char *const argv[])
{
	unsigned int begun = 0, place = 0;

	if (way->chain) {
		way->chain(count, flight, argv);
		return;
	}
	for (unsigned int finished = 0; finished < count;
	     place = place + 1 < flight ? place + 1 : 0) {
		if (begun >= flight) {
			way->finish(place);
			finished++;
		}
		if (begun < count)
			way->begin(place, argv);
		begun++;
	}
}

/* In a process of its own: the rate goes through the pipe. */
static _Noreturn void measure_here(const struct way *way, const struct setting *setting, int result)
{
	char *const living[] = { (char *)(uintptr_t)self, (char *)(uintptr_t) "--live-on", NULL };
	char *const dying[] = { (char *)(uintptr_t)program, NULL };
	double start, rate;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	way->open();
	for (unsigned int i = 0; i < setting->live; i++)
		way->begin(MOST_FLIGHT - 1, living);
	run(way, 20, 1, dying);
	start = seconds();
	run(way, setting->spawns, setting->flight, dying);
	rate = setting->spawns / (seconds() - start);
	if (write(result, &rate, sizeof(rate)) != (ssize_t)sizeof(rate))
		_exit(1);
	/* Those who live die with us. */
	_exit(0);
}

/* All of its descendants are gone when nobody holds the other end any more. */
static double measure(const struct way *way, const struct setting *setting)
{
	double rate = 0;
	int fds[2], gone[2];
	char byte;
	pid_t pid;

	if (pipe(fds) < 0 || pipe(gone) < 0)
		fail("pipe");
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0)
		measure_here(way, setting, fds[1]);
	close(fds[1]);
	close(gone[1]);
	if (read(fds[0], &rate, sizeof(rate)) != (ssize_t)sizeof(rate)) {
		errno = EIO;
		fail(way->name);
	}
	wait_for(pid);
	while (read(gone[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(fds[0]);
	close(gone[0]);
	return rate;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), by_value);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

#define OURS 2 /* ways: the first ones */

/* Rates, and of each round the ratio of each of our ways to each of all. */
struct table {
	double rate[WAYS][MAX_ROUNDS];
	double ratio[OURS][WAYS][MAX_ROUNDS];
};

static void fill(struct table *table, const struct setting *setting, unsigned int rounds)
{
	for (unsigned int round = 0; round < rounds; round++) {
		for (size_t i = 0; i < WAYS; i++) {
			/* Another one first in each round. */
			size_t w = (i + round) % WAYS;

			table->rate[w][round] = measure(&ways[w], setting);
		}
		for (size_t i = 0; i < OURS * WAYS; i++)
			table->ratio[i / WAYS][i % WAYS][round] =
				table->rate[i / WAYS][round] / table->rate[i % WAYS][round];
	}
}

static const char *verdict(const struct setting *setting, const struct way *way, double ratio)
{
	double target = setting->live ? LIVE_TARGET : BEST_TARGET;

	if (way < ways + OURS || (setting->live && !way->scans))
		return "";
	return ratio >= target ? " met" : " missed";
}

static void print_row(const struct setting *setting, const struct way *way, double rate,
		      const double ratio[OURS], bool json)
{
	if (json)
		printf("{\"live\":%u,\"flight\":%u,\"way\":\"%s\",\"scans\":%s,\"rate\":%.1f,"
		       "\"ratio\":%.3f,\"ratio_by_callbacks\":%.3f}\n",
		       setting->live, setting->flight, way->name, way->scans ? "true" : "false",
		       rate, ratio[0], ratio[1]);
	else
		printf("  %-26s %10.0f %8.2fx%-7s %8.2fx%s\n", way->name, rate, ratio[0],
		       verdict(setting, way, ratio[0]), ratio[1], verdict(setting, way, ratio[1]));
}

static void measure_all(const struct setting *setting, unsigned int rounds, bool json)
{
	static struct table table;

	fill(&table, setting, rounds);
	if (!json)
		printf("\n%u other children, %u at a time\n  %-26s %10s %16s %16s\n", setting->live,
		       setting->flight, "way", "per second", "knell_spawn is", "by callbacks is");
	for (size_t w = 0; w < WAYS; w++) {
		double ratio[OURS];

		for (size_t i = 0; i < OURS; i++)
			ratio[i] = median(table.ratio[i][w], rounds);
		print_row(setting, &ways[w], median(table.rate[w], rounds), ratio, json);
	}
	if (!json)
		printf("  target: at least %.1fx of each %s\n",
		       setting->live ? LIVE_TARGET : BEST_TARGET,
		       setting->live ? "that scans" : "other");
	fflush(stdout);
}

static unsigned int number(const char *text, unsigned int least, unsigned int most)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || n < least || n > most) {
		fprintf(stderr, "spawn: %s is not between %u and %u\n", text, least, most);
		exit(2);
	}
	return (unsigned int)n;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = { { "live", required_argument, NULL, 'l' },
						 { "flight", required_argument, NULL, 'f' },
						 { "rounds", required_argument, NULL, 'r' },
						 { "spawns", required_argument, NULL, 's' },
						 { "json", no_argument, NULL, 'j' },
						 { "live-on", no_argument, NULL, 'o' },
						 { 0 } };
	static char path[4096];
	struct setting setting = { 0, 1, 500 };
	unsigned int live = 5000, flight = 8, rounds = 7;
	bool json = false;
	ssize_t n;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			live = number(optarg, 0, 20000);
			break;
		case 'f':
			flight = number(optarg, 1, MOST_FLIGHT - 1);
			break;
		case 'r':
			rounds = number(optarg, 1, MAX_ROUNDS);
			break;
		case 's':
			setting.spawns = number(optarg, 10, 100000);
			break;
		case 'j':
			json = true;
			break;
		case 'o':
			live_on();
		default:
			return 2;
		}
	}
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n < 0)
		fail("/proc/self/exe");
	self = path;
	program = KNELL_BENCH_PROGRAM;
	measure_all(&setting, rounds, json);
	setting.flight = flight;
	measure_all(&setting, rounds, json);
	setting.live = live;
	if (live)
		measure_all(&setting, rounds, json);
	return 0;
}
