/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * dispatch.c - what it costs to tell one record to 1, 4, 8 and 16 watchers: through the dispatch
 * table, by calls written by hand one after the other, through a list under a mutex, and through a
 * list under RCU. All on one CPU, in turns, so that the machine is the same for them; a second row
 * of calls by hand shows what no difference looks like here.
 *
 * By default a watcher finds the life of the record's task in a table of its own, as those that
 * keep something for each task do. --work=count leaves watchers that count by pid, --work=none such
 * that count: then it is calls that are measured.
 *
 * With --threads=2 two threads do so at once, as the reapers of two CPUs do; each has its own part
 * of a watcher's data, so they have nothing in common but what is measured.
 *
 * Usage: dispatch [--threads=1|2] [--rounds=N] [--work=lives|count|none] [--json]
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <urcu/rculist.h>

#include "dispatch_watchers.h"
#include "rcu.h"
#include "table.h"

/* liburcu's lists go from a member to its struct by way of char *. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wcast-align"
#endif

#define MOST         16
#define MOST_THREADS 2
#define EVENTS       256 /* different records, told in turn */
#define TURN         20000
#define ROUND        64 /* records that a reaper tells at a time */
#define TARGET       1.1

enum way {
	BY_HAND,
	BY_HAND_AGAIN,
	BY_TABLE,
	BY_MUTEX,
	BY_RCU,
	WAYS
};

static const char *const way_names[WAYS] = { "by hand", "null", "table", "mutex", "rcu list" };
static const char *const way_keys[WAYS] = { "hand", "null", "table", "mutex", "rcu" };
static const unsigned int steps[] = { 1, 4, 8, 16 };

#define STEPS (sizeof(steps) / sizeof(steps[0]))

struct listed {
	struct cds_list_head node;
	uint32_t mask;
	knell_watcher_fn fn;
	void *userdata;
};

struct bench {
	unsigned int rounds, watchers;
	unsigned int work; /* place in `works` */
	struct table *table;
	struct cds_list_head list;
	pthread_mutex_t lock;
	struct watched watched[MOST][MOST_THREADS];
	struct knell_event events[MOST_THREADS][EVENTS];
	pthread_barrier_t begin;
	unsigned int threads;
	double *times[WAYS]; /* ns an event, of each round */
};

static struct bench bench;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "dispatch: %s\n", what);
	exit(EXIT_FAILURE);
}

/* ---- the ways ---- */

typedef void (*hand_fn)(const struct knell_event *event);

static uint64_t errors;

#define NAME_LIVES(n) lives_##n,
#define NAME_COUNT(n) count_##n,
#define NAME_NONE(n)  none_##n,

#define CALL_LIVES(n)                                                                              \
	if ((n) < count && lives_##n(event, bench.watched[n]) < 0)                                 \
		errors++;
#define CALL_COUNT(n)                                                                              \
	if ((n) < count && count_##n(event, bench.watched[n]) < 0)                                 \
		errors++;
#define CALL_NONE(n)                                                                               \
	if ((n) < count && none_##n(event, bench.watched[n]) < 0)                                  \
		errors++;

/* `count` is constant where these are inlined: no more is left of them than the calls. */
#define CALL_EACH(work, call)                                                                      \
	static inline __attribute__((always_inline)) void call_each_##work(                        \
		const struct knell_event *event, unsigned int count)                               \
	{                                                                                          \
		EACH(call)                                                                         \
	}

CALL_EACH(lives, CALL_LIVES)
CALL_EACH(count, CALL_COUNT)
CALL_EACH(none, CALL_NONE)

#define HAND(work, n)                                                                              \
	static __attribute__((noinline)) void hand_##work##_##n(const struct knell_event *event)   \
	{                                                                                          \
		if (event->kind == KNELL_EXIT) {                                                   \
			call_each_##work(event, n);                                                \
		}                                                                                  \
	}

#define HANDS(work) HAND(work, 1) HAND(work, 4) HAND(work, 8) HAND(work, 16)

HANDS(lives)
HANDS(count)
HANDS(none)

static const struct {
	const char *name;
	knell_watcher_fn watchers[MOST];
	hand_fn hands[STEPS];
} works[] = {
	{ "lives",
	  { EACH(NAME_LIVES) },
	  { hand_lives_1, hand_lives_4, hand_lives_8, hand_lives_16 } },
	{ "count",
	  { EACH(NAME_COUNT) },
	  { hand_count_1, hand_count_4, hand_count_8, hand_count_16 } },
	{ "none", { EACH(NAME_NONE) }, { hand_none_1, hand_none_4, hand_none_8, hand_none_16 } },
};

#define WORKS (sizeof(works) / sizeof(works[0]))

static hand_fn hand;

static __attribute__((noinline)) void tell_mutex(const struct knell_event *event)
{
	struct listed *l;

	pthread_mutex_lock(&bench.lock);
	cds_list_for_each_entry (l, &bench.list, node) {
		if (l->mask & KNELL_MASK(event->kind) && l->fn(event, l->userdata) < 0)
			errors++;
	}
	pthread_mutex_unlock(&bench.lock);
}

static __attribute__((noinline)) void tell_rcu(const struct knell_event *event)
{
	struct listed *l;

	rcu_enter();
	cds_list_for_each_entry_rcu(l, &bench.list, node)
	{
		if (l->mask & KNELL_MASK(event->kind) && l->fn(event, l->userdata) < 0)
			errors++;
	}
	rcu_leave();
}

static void tell(enum way way, const struct knell_event *event)
{
	switch (way) {
	case BY_HAND:
	case BY_HAND_AGAIN:
		hand(event);
		break;
	case BY_TABLE:
		table_tell(bench.table, event);
		break;
	case BY_MUTEX:
		tell_mutex(event);
		break;
	case BY_RCU:
		tell_rcu(event);
		break;
	case WAYS:
		break;
	}
}

/* ---- measuring ---- */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Around what a reaper tells in one round: readers of RCU enter once. */
static void begin_round(enum way way)
{
	if (way == BY_TABLE)
		table_begin();
	else if (way == BY_RCU)
		rcu_enter();
}

static void end_round(enum way way)
{
	if (way == BY_TABLE)
		table_end(bench.table);
	else if (way == BY_RCU)
		rcu_leave();
}

static void tell_all(enum way way, unsigned int thread)
{
	for (unsigned int i = 0; i < TURN; i++) {
		struct knell_event *event = &bench.events[thread][i % EVENTS];

		if (i % ROUND == 0)
			begin_round(way);
		event->seq = i;
		tell(way, event);
		if (i % ROUND == ROUND - 1 || i == TURN - 1)
			end_round(way);
	}
}

static void *other_thread(void *data)
{
	const enum way *way = data;

	pthread_barrier_wait(&bench.begin);
	tell_all(*way, 1);
	return NULL;
}

/* With two threads: until both are done. */
static double take_turn(enum way way)
{
	pthread_t other = pthread_self();
	uint64_t start;

	if (bench.threads > 1) {
		if (pthread_create(&other, NULL, other_thread, &way) != 0)
			fail("cannot start a thread");
		pthread_barrier_wait(&bench.begin);
	}
	start = now();
	tell_all(way, 0);
	if (bench.threads > 1)
		pthread_join(other, NULL);
	return (double)(now() - start) / TURN;
}

static int by_size(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

static double median(double *times, unsigned int count)
{
	qsort(times, count, sizeof(*times), by_size);
	return times[count / 2];
}

struct row {
	double ns[WAYS], ratio[WAYS]; /* to by hand, of the same round */
};

static struct row measure(void)
{
	double *ratios = calloc(bench.rounds, sizeof(*ratios));
	struct row row;

	if (!ratios)
		fail("no memory");
	for (unsigned int round = 0; round < bench.rounds; round++) {
		for (unsigned int turn = 0; turn < WAYS; turn++) {
			enum way way = (enum way)((round + turn) % WAYS);

			bench.times[way][round] = take_turn(way);
		}
	}
	for (enum way way = BY_HAND_AGAIN; way < WAYS; way++) {
		for (unsigned int i = 0; i < bench.rounds; i++)
			ratios[i] = bench.times[way][i] / bench.times[BY_HAND][i];
		row.ratio[way] = median(ratios, bench.rounds);
	}
	for (enum way way = BY_HAND; way < WAYS; way++)
		row.ns[way] = median(bench.times[way], bench.rounds);
	row.ratio[BY_HAND] = 1;
	free(ratios);
	return row;
}

/* Until there are so many, in each way. */
static void add_watchers(unsigned int count)
{
	for (; bench.watchers < count; bench.watchers++) {
		unsigned int i = bench.watchers;
		struct watcher *w = watcher_new();
		struct listed *l = calloc(1, sizeof(*l)); /* kept until the end */

		if (!w || !l)
			fail("no memory");
		l->mask = KNELL_MASK(KNELL_EXIT);
		l->fn = works[bench.work].watchers[i];
		l->userdata = bench.watched[i];
		cds_list_add_tail_rcu(&l->node, &bench.list);
		w->kind = KNELL_EXIT;
		w->fn = l->fn;
		w->userdata = l->userdata;
		if (table_add(bench.table, &w, 1, NULL, NULL) < 0)
			fail(knell_last_error());
	}
}

static void print_row(const struct row *row, bool json)
{
	for (enum way way = 0; json && way < WAYS; way++)
		printf("{\"work\": \"%s\", \"way\": \"%s\", \"watchers\": %u, \"threads\": %u, "
		       "\"ns\": %.2f, "
		       "\"ratio\": %.3f}\n",
		       works[bench.work].name, way_keys[way], bench.watchers, bench.threads,
		       row->ns[way], row->ratio[way]);
	if (!json) {
		printf("%8u", bench.watchers);
		for (enum way way = 0; way < WAYS; way++)
			printf(" %8.1f (%.2f)", row->ns[way], row->ratio[way]);
		printf("\n");
	}
	fflush(stdout);
}

static void run(bool json)
{
	double worst = 0, slower = 0;

	if (!json) {
		printf("ns to tell one record, medians of %u rounds (ratio to by hand), %u "
		       "thread%s\n%8s",
		       bench.rounds, bench.threads, bench.threads > 1 ? "s" : "", "watchers");
		for (enum way way = 0; way < WAYS; way++)
			printf(" %15s", way_names[way]);
		printf("\n");
	}
	for (size_t i = 0; i < STEPS; i++) {
		struct row row;
		double other;

		hand = works[bench.work].hands[i];
		add_watchers(steps[i]);
		row = measure();
		print_row(&row, json);
		other = row.ns[BY_MUTEX] < row.ns[BY_RCU] ? row.ns[BY_MUTEX] : row.ns[BY_RCU];
		worst = row.ratio[BY_TABLE] > worst ? row.ratio[BY_TABLE] : worst;
		slower = row.ns[BY_TABLE] / other > slower ? row.ns[BY_TABLE] / other : slower;
	}
	if (json)
		return;
	printf("\ntarget: table at most %.1f times by hand: %.2f, %s\n", TARGET, worst,
	       worst <= TARGET ? "met" : "missed");
	printf("target: table faster than both lists: %.2f of the faster one, %s\n", slower,
	       slower < 1 ? "met" : "missed");
}

static void stay_here(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned int)(cpu < 0 ? 0 : cpu), &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fail("cannot stay on one CPU");
}

static void make_events(void)
{
	for (unsigned int i = 0; i < MOST_THREADS * EVENTS; i++) {
		struct knell_event *event = &bench.events[i / EVENTS][i % EVENTS];

		event->kind = KNELL_EXIT;
		event->size = sizeof(*event);
		event->cpu = i / EVENTS;
		event->task.tgid = 1000 + i * 7;
		event->u.exit.status = i % 10 ? 0 : 256;
	}
}

static unsigned int work_of(const char *name)
{
	unsigned int i = 0;

	while (i < WORKS && strcmp(works[i].name, name) != 0)
		i++;
	return i;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "rounds", required_argument, NULL, 'n' },
		{ "work", required_argument, NULL, 'w' },
		{ "threads", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	bool json = false;
	int option;

	bench.rounds = 201;
	bench.threads = 1;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 'n')
			bench.rounds = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 't')
			bench.threads = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'w')
			bench.work = work_of(optarg);
		else if (option == 'j')
			json = true;
		else
			return 2;
	}
	if (!bench.rounds || bench.work == WORKS || !bench.threads || bench.threads > MOST_THREADS)
		return 2;
	for (enum way way = 0; way < WAYS; way++) {
		bench.times[way] = calloc(bench.rounds, sizeof(*bench.times[way]));
		if (!bench.times[way])
			fail("no memory");
	}
	CDS_INIT_LIST_HEAD(&bench.list);
	pthread_mutex_init(&bench.lock, NULL);
	if (table_new(&bench.table) < 0)
		fail(knell_last_error());
	make_events();
	pthread_barrier_init(&bench.begin, NULL, MOST_THREADS);
	if (bench.threads == 1)
		stay_here();
	run(json);
	table_free(bench.table);
	for (enum way way = 0; way < WAYS; way++)
		free(bench.times[way]);
	return EXIT_SUCCESS;
}
