/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_audit.c - the audit log: its options, its lines and their order, its rate, and its queues
 * under several threads at once. How targets fail is in test_audit_errors.c.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_source.h"
#include "json_lines.h"
#include "main.h"
#include "story.h"
#include "watchers/audit.h"
#include "watchers/audit_queue.h"

static struct story *s;
static struct audit *audit;
static struct audit_result result;
static struct lines lines;
static char dir[32], path[64], options[128];

static void begin(const char *more, uint32_t flags)
{
	char why[AUDIT_WHY];

	strcpy(dir, "/tmp/knell-audit-XXXXXX");
	ck_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(options, sizeof(options), "file=%s%s", path, more);
	s = story_begin();
	ck_assert_msg(audit_open(&audit, s->engine, KNELL_MASK_ALL, flags, options, why) == 0, "%s",
		      why);
}

/* Delivers what was told, closes the log and reads it. */
static void finish(void)
{
	story_dispatch(s);
	audit_close(audit, &result);
	lines = lines_read(path);
	ck_assert(!lines.torn);
	unlink(path);
	rmdir(dir);
}

static void end(void)
{
	lines_free(&lines);
	story_end(s);
}

static const char *event_of(size_t line)
{
	return text_of(lines.values[line], "knell.event");
}

START_TEST(test_first_and_last_line)
{
	struct stat st;
	char boot_id[37];
	yajl_val v;

	begin("", 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777 & ~0640, 0);
	story_tell(s, story_birth(s, 11, 10, "make"));
	story_tell(s, story_exit(s, 11, EXITED(3)));
	finish();
	ck_assert_uint_eq(lines.count, 4);
	v = lines.values[0];
	ck_assert_str_eq(text_of(v, "knell.event"), "start");
	ck_assert_str_eq(text_of(v, "knell.source"), "fake");
	ck_assert_int_eq(knell_boot_id(boot_id), 0);
	ck_assert_str_eq(text_of(v, "knell.boot_id"), boot_id);
	ck_assert(has(v, "timestamp") && has(v, "host.name") && has(v, "knell.version"));
	ck_assert(!has(v, "knell.continued"));
	ck_assert_str_eq(event_of(1), "clone");
	ck_assert_int_eq(number_of(lines.values[2], "process.exit.code"), 3);
	ck_assert_str_eq(event_of(3), "summary");
	ck_assert_int_eq(number_of(lines.values[3], "knell.events"), 2);
	ck_assert_uint_eq(result.records, 2);
	ck_assert_uint_eq(result.lost, 0);
	ck_assert_int_eq(result.error, 0);
	ck_assert(!result.stuck);
	end();
}
END_TEST

/* Over all rings, known to the queues or not, the order of dispatch; in each ring no jump. */
START_TEST(test_order)
{
	uint64_t next[FAKE_RINGS + 1] = { 0 };

	begin("", 0);
	for (uint32_t i = 0; i < 20000; i++) {
		struct knell_event *e = story_birth(s, 100 + i, 10, "make");

		e->ring = i * 7 % 11 % FAKE_RINGS;
		story_tell(s, e);
	}
	finish();
	ck_assert_uint_eq(lines.count, 20002);
	for (uint32_t i = 0; i < 20000; i++) {
		yajl_val v = lines.values[i + 1];

		ck_assert_int_eq(number_of(v, "process.pid"), 100 + i);
		ck_assert_int_eq(number_of(v, "knell.seq"),
				 (long long)next[number_of(v, "knell.ring")]++);
	}
	end();
}
END_TEST

START_TEST(test_kinds)
{
	begin("", 0);
	story_tell(s, story_birth(s, 11, 10, "make"));
	s->record.event.kind = KNELL_INIT; /* never: its clone says the same */
	story_tell(s, &s->record.event);
	story_tell(s, story_thread(s, 11, 12, KNELL_CLONE));
	story_tell(s, story_gap(s, 1, 2, 3, KNELL_GAP_RING));
	story_tell(s, story_free(s, 11));
	finish();
	ck_assert_uint_eq(lines.count, 5);
	ck_assert_str_eq(event_of(1), "clone");
	ck_assert_str_eq(event_of(2), "gap");
	ck_assert_str_eq(text_of(lines.values[2], "knell.gap.cause"), "ring");
	ck_assert_str_eq(event_of(3), "free");
	ck_assert_int_eq(number_of(lines.values[4], "knell.lost"), 6);
	ck_assert_uint_eq(result.records, 2);
	end();

	begin("", AUDIT_THREADS);
	story_tell(s, story_thread(s, 11, 12, KNELL_CLONE));
	finish();
	ck_assert_str_eq(text_of(lines.values[1], "knell.scope"), "thread");
	end();
}
END_TEST

static void tell_exec(void)
{
	static const char args[] = "cc\0--secret=1\0x";

	story_tell(s, story_exec_args(s, 12, "/usr/bin/cc", 11, args, sizeof(args)));
}

/* Arguments may hold passwords: only who asks for them gets them into the log. */
START_TEST(test_args)
{
	begin("", 0);
	tell_exec();
	finish();
	ck_assert_str_eq(text_of(lines.values[1], "process.executable.path"), "/usr/bin/cc");
	ck_assert(!has(lines.values[1], "process.command_args"));
	ck_assert(!has(lines.values[1], "knell.exec.args_total"));
	end();
	begin(",args", 0);
	tell_exec();
	finish();
	ck_assert_uint_eq(get(lines.values[1], "process.command_args")->u.array.len, 3);
	end();
}
END_TEST

/* All that are heard are written or counted, however the seconds fall. */
START_TEST(test_rate)
{
	uint64_t suppressed = 0, told = 0;

	begin(",rate=100", 0);
	for (uint32_t i = 0; i < 5000; i++)
		story_tell(s, i % 2 ? story_exit(s, 1000, EXITED(0))
				    : story_birth(s, 1000, 10, "make"));
	story_dispatch(s);
	usleep(1100000);
	story_tell(s, story_birth(s, 77, 10, "late"));
	finish();
	for (size_t i = 1; i + 1 < lines.count; i++) {
		yajl_val v = lines.values[i];

		if (strcmp(event_of(i), "suppressed") != 0) {
			ck_assert_int_eq(number_of(v, "knell.seq"), (long long)told);
			told++;
			continue;
		}
		/* Right before the next one that passes. */
		ck_assert(has(lines.values[i + 1], "knell.scope"));
		suppressed += (uint64_t)number_of(v, "knell.suppressed");
		ck_assert_int_eq(number_of(v, "knell.suppressed"),
				 number_of(v, "knell.suppressed.births") +
					 number_of(v, "knell.suppressed.deaths"));
		ck_assert_int_eq(number_of(v, "knell.suppressed.others"), 0);
	}
	ck_assert_uint_ge(told, 101);
	ck_assert_uint_le(told, 1100); /* ten seconds for 5,000 records: a hang */
	ck_assert_uint_gt(suppressed, 0);
	ck_assert_uint_eq(told + suppressed, 5001);
	ck_assert_uint_eq(result.suppressed, suppressed);
	ck_assert_uint_eq(result.lost, 0);
	ck_assert_int_eq(number_of(lines.values[lines.count - 1], "knell.suppressed"),
			 (long long)suppressed);
	ck_assert_int_eq(number_of(lines.values[lines.count - 2], "process.pid"), 77);
	end();
}
END_TEST

/* What was suppressed is told also if nothing follows. */
START_TEST(test_rate_at_the_end)
{
	begin(",rate=1", 0);
	for (uint32_t i = 0; i < 1000; i++)
		story_tell(s, story_birth(s, 1000, 10, "make"));
	finish();
	ck_assert_str_eq(event_of(lines.count - 2), "suppressed");
	ck_assert_uint_ge(result.suppressed, 990);
	ck_assert_uint_eq(result.suppressed + lines.count - 2, 1000 + 1);
	end();
}
END_TEST

START_TEST(test_options)
{
	static const struct {
		const char *text, *named;
	} bad[] = {
		{ "nonsense", "nonsense" },
		{ "file", "path" },
		{ "file=", "path" },
		{ "file=/a,syslog", "one target" },
		{ "syslog,journal=/b", "one target" },
		{ "rate", "rate" },
		{ "rate=0", "rate" },
		{ "rate=-1", "rate" },
		{ "rate=4294967296", "rate" },
		{ "rate=1x", "rate" },
		{ "queue=1", "queue" },
		{ "queue=99G", "queue" },
		{ "queue=99999999999999999999999G", "queue" },
		{ "queue=16Q", "queue" },
		{ "fsync=0", "fsync" },
		{ "fsync=always", "fsync" },
		{ "fsync", "fsync" },
		{ "args=1", "args" },
		{ "=x", "none of" },
	};
	static const char *const good[] = {
		NULL,         "",
		"file=/a/b",  "journal",
		"syslog=/x",  "fsync=each,rate=5k",
		"queue=64k,", "queue=1G,fsync=never",
		"fsync=60",
	};
	char why[AUDIT_WHY];
	uint32_t flags = 99;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = '\0';
		ck_assert_msg(audit_check_options(bad[i].text, &flags, why) == -EINVAL, "%s",
			      bad[i].text);
		ck_assert_msg(strstr(why, bad[i].named), "%s: %s", bad[i].text, why);
		ck_assert_uint_eq(flags, 99);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(audit_check_options(good[i], &flags, why) == 0, "%s: %s", good[i],
			      why);
		ck_assert_uint_eq(flags, 0);
	}
	ck_assert_int_eq(audit_check_options("args", &flags, why), 0);
	ck_assert_uint_eq(flags, KNELL_O_ARGS);
}
END_TEST

/* ---- queues ---- */

#define THREADS 4u
#define EACH    UINT64_C(50000)

struct producer {
	struct audit_queues *queues;
	pthread_t thread;
	uint32_t ring, number;
	_Atomic uint32_t *running;
};

/* Births of numbers that grow, with others between them that are longer. */
static void *produce(void *arg)
{
	static const char path_text[] = "/usr/bin/something";
	struct producer *p = arg;
	union story_record r;

	memset(&r, 0, sizeof(r));
	for (uint32_t i = 0; i < EACH; i++) {
		bool exec = i % 3 == 0;

		r.event.kind = exec ? KNELL_EXEC : KNELL_CLONE;
		r.event.scope = KNELL_PROCESS;
		r.event.ring = p->ring;
		r.event.task.tgid = i + 1;
		r.event.cookie = p->number;
		r.event.size = KNELL_EVENT_HEAD + 16;
		if (exec) {
			r.event.u.exec.file_len = sizeof(path_text) - 1;
			memcpy(r.bytes + KNELL_EVENT_HEAD + 16, path_text, sizeof(path_text));
			r.event.size += (sizeof(path_text) + 7) & ~7u;
		}
		audit_queues_put(p->queues, &r.event, false);
	}
	atomic_fetch_sub(p->running, 1);
	return NULL;
}

struct seen {
	uint32_t last[THREADS]; /* the number that each producer was at; of rings with a queue exact
				 */
	uint64_t got, births, others;
};

/*
 * Everything that is there. Ring 0 has a queue wherever this runs: a jump in its numbers is exactly
 * what was lost before it. The others may share one.
 */
static void consume(struct audit_queues *queues, struct seen *seen)
{
	struct audit_item item;

	while (audit_queues_next(queues, &item)) {
		uint32_t *last;

		ck_assert_uint_eq(item.lost.deaths, 0);
		seen->births += item.lost.births;
		seen->others += item.lost.others;
		audit_queues_told(queues, &item);
		if (item.ring == 0)
			seen->last[0] += (uint32_t)(item.lost.births + item.lost.others);
		if (!item.event)
			continue;
		last = &seen->last[item.event->cookie];
		if (item.event->cookie == 0)
			ck_assert_uint_eq(item.event->task.tgid, *last + 1);
		else
			ck_assert_uint_gt(item.event->task.tgid, *last);
		if (item.event->kind == KNELL_EXEC)
			ck_assert_str_eq(knell_exec_file(item.event), "/usr/bin/something");
		*last = item.event->task.tgid;
		seen->got++;
		audit_queues_pop(queues);
	}
}

/* The last two have rings that the queues have none for. */
static void run_producers(size_t size, struct seen *seen)
{
	struct producer producers[THREADS];
	_Atomic uint32_t running = THREADS;
	struct audit_queues *queues;
	bool ended;

	ck_assert_int_eq(audit_queues_new(&queues, size), 0);
	for (uint32_t i = 0; i < THREADS; i++) {
		producers[i] = (struct producer){ .queues = queues, .running = &running };
		producers[i].ring = i + 2 >= THREADS ? 100000 + i : i;
		producers[i].number = i;
		ck_assert_int_eq(pthread_create(&producers[i].thread, NULL, produce, &producers[i]),
				 0);
	}
	/* With little room: not before there must have been too many. */
	while (size == AUDIT_QUEUE_MIN && audit_queues_offered(queues) < EACH)
		usleep(100);
	do {
		ended = atomic_load(&running) == 0;
		consume(queues, seen);
		usleep(100);
	} while (!ended);
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(producers[i].thread, NULL);
	consume(queues, seen);
	ck_assert_uint_eq(audit_queues_offered(queues), THREADS * EACH);
	audit_queues_free(queues);
	ck_assert_uint_eq(seen->last[0], EACH);
	ck_assert_uint_eq(seen->got + seen->births + seen->others, THREADS * EACH);
}

START_TEST(test_threads)
{
	struct seen seen = { 0 };

	run_producers((size_t)256 << 20, &seen);
	ck_assert_uint_eq(seen.births + seen.others, 0);
}
END_TEST

START_TEST(test_threads_and_little_room)
{
	struct seen seen = { 0 };

	run_producers(AUDIT_QUEUE_MIN, &seen);
	ck_assert_uint_gt(seen.births, 0);
	ck_assert_uint_gt(seen.others, 0);
}
END_TEST

/* Whoever puts something while the reader sleeps is told to wake it, and nobody else. */
START_TEST(test_sleep)
{
	struct knell_event e = { .size = KNELL_EVENT_HEAD + 16, .kind = KNELL_CLONE };
	struct audit_queues *queues;
	struct audit_item item;

	ck_assert_int_eq(audit_queues_new(&queues, AUDIT_QUEUE_MIN), 0);
	ck_assert(!audit_queues_put(queues, &e, false));
	ck_assert(!audit_queues_sleep(queues));
	ck_assert(!audit_queues_put(queues, &e, false));
	while (audit_queues_next(queues, &item))
		audit_queues_pop(queues);
	ck_assert(audit_queues_sleep(queues));
	ck_assert(audit_queues_put(queues, &e, false));
	ck_assert(!audit_queues_put(queues, &e, false));
	ck_assert(audit_queues_free(queues) == NULL);
	ck_assert(audit_queues_free(NULL) == NULL);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("audit");
	TCase *tcase = unit_case(suite, "lines");

	tcase_add_test(tcase, test_first_and_last_line);
	tcase_add_test(tcase, test_order);
	tcase_add_test(tcase, test_kinds);
	tcase_add_test(tcase, test_args);
	tcase_add_test(tcase, test_rate);
	tcase_add_test(tcase, test_rate_at_the_end);
	tcase_add_test(tcase, test_options);
	tcase = unit_case(suite, "queues");
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, test_threads);
	tcase_add_test(tcase, test_threads_and_little_room);
	tcase_add_test(tcase, test_sleep);
	return suite;
}
