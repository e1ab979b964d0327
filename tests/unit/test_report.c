/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_report.c - the report at the end of a run: its counts, its words, what losses do to them,
 * and that its memory is bounded.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_source.h"
#include "main.h"
#include "story.h"
#include "watchers/report.h"
#include "watchers/words.h"

static struct story *s;
static struct report *report;
static char *text;

/* A command as main() gets it, out of literals. */
#define COMMAND(...) ((char *const *)(const char *const[]){ __VA_ARGS__, NULL })

static struct report_end end;
static const char *const command[] = { "make", "-j4", NULL };

static void begin(void)
{
	s = story_begin();
	ck_assert_int_eq(report_new(&report, s->engine), 0);
	end = (struct report_end){
		.size = sizeof(end),
		.argv = (char *const *)command,
		.wall = 2000 * MS,
	};
}

static void print(void)
{
	size_t size = 0;
	FILE *file;

	free(text);
	text = NULL;
	story_dispatch(s);
	file = open_memstream(&text, &size);
	ck_assert_int_eq(report_print(report, file, &end), 0);
	fclose(file);
}

static void finish(void)
{
	free(text);
	text = NULL;
	report = report_free(report);
	story_end(s);
}

/* The report has this line, spaces not counted. */
static void says(const char *expected)
{
	char *copy = strdup(text), *rest = copy, *line;
	bool found = false;

	while (!found && (line = strsep(&rest, "\n"))) {
		const char *a = expected;

		for (const char *b = line; *b; b++) {
			if (*b == ' ')
				continue;
			while (*a == ' ')
				a++;
			if (*a++ != *b)
				goto next;
		}
		while (*a == ' ')
			a++;
		found = *a == '\0';
next:;
	}
	free(copy);
	ck_assert_msg(found, "no line \"%s\" in:\n%s", expected, text);
}

static void says_not(const char *unexpected)
{
	ck_assert_msg(!strstr(text, unexpected), "\"%s\" in:\n%s", unexpected, text);
}

START_TEST(test_a_small_build)
{
	begin();
	story_birth(s, 10, 1, "knell")->flags = KNELL_F_ROOT;
	story_tell(s, &s->record.event);
	story_tell(s, story_exec(s, 10, "/usr/bin/make"));
	story_tell(s, story_birth(s, 11, 10, "make"));
	story_tell(s, story_exec(s, 11, "/usr/bin/cc"));
	story_tell(s, story_birth(s, 12, 10, "make"));
	story_tell(s, story_exec(s, 12, "/usr/bin/cc"));
	story_exit(s, 11, 0)->u.exit.usage.maxrss = UINT64_C(412) << 20;
	story_tell(s, &s->record.event);
	story_tell(s, story_exit(s, 12, EXITED(1)));
	story_exit(s, 10, EXITED(2))->flags = KNELL_F_ROOT;
	story_tell(s, &s->record.event);
	end.status = EXITED(2);
	end.own_cpu = 90000;
	print();
	ck_assert_int_eq(strncmp(text, "knell: make -j4\n", 16), 0);
	says("command exited 2 after 2.00 s");
	says("processes 3 started, 3 at once, 3 execs");
	says("threads 3 started, 3 at once");
	says("CPU 12.0 ms (9.00 ms user, 3.00 ms system), 0.0 x wall");
	says("peak RSS 412 MiB in cc (pid 11)");
	says("failed 2");
	says("cc (pid 12) exited 1");
	says("make (pid 10) exited 2");
	says("programs 2 x cc 8.00 ms CPU");
	says("1 x make 4.00 ms CPU");
	says("8.00 ms make (10) 4.00 ms cc (11)");
	says("lost nothing");
	says("source fake, 9 events; Knell itself used 90 us CPU, 10.00 us an event");
	says_not("alive");
	says_not("unknown");
	finish();
}
END_TEST

START_TEST(test_threads)
{
	begin();
	story_tell(s, story_birth(s, 10, 1, "java"));
	for (uint32_t i = 0; i < 5; i++)
		story_tell(s, story_thread(s, 10, 20 + i, KNELL_CLONE));
	story_tell(s, story_thread(s, 10, 20, KNELL_EXIT));
	story_tell(s, story_thread(s, 10, 30, KNELL_CLONE));
	/* The leader is counted with its process, whatever the source says of it. */
	story_tell(s, story_thread(s, 10, 10, KNELL_CLONE));
	/* Exec ends all others. */
	story_tell(s, story_exec(s, 10, "/bin/x"));
	story_tell(s, story_birth(s, 11, 10, "x"));
	story_tell(s, story_thread(s, 11, 40, KNELL_CLONE));
	story_tell(s, story_exit(s, 11, 0));
	story_tell(s, story_exit(s, 10, 0));
	/* Nobody's. */
	story_tell(s, story_thread(s, 99, 98, KNELL_EXIT));
	print();
	says("threads 9 started, 6 at once");
	says("processes 2 started, 2 at once, 1 exec");
	finish();
}
END_TEST

/* Two rings are drained one after the other: the deaths of one come after the births of both. */
START_TEST(test_peak_is_in_order_of_time)
{
	struct knell_event deaths[50];

	begin();
	for (uint32_t i = 0; i < 50; i++) {
		story_tell(s, story_birth(s, 10 + i, 1, "a"));
		story_tell(s, story_thread(s, 10 + i, 1000 + i, KNELL_CLONE));
		deaths[i] = *story_exit(s, 10 + i, 0);
	}
	for (uint32_t i = 0; i < 50; i++)
		story_tell(s, &deaths[i]);
	print();
	says("processes 50 started, 1 at once, 0 execs");
	says("threads 100 started, 2 at once");
	finish();
}
END_TEST

START_TEST(test_causes_of_death)
{
	begin();
	story_tell(s, story_birth(s, 10, 1, "cc1"));
	story_exit(s, 10, KILLED(SIGKILL))->u.exit.reason = KNELL_R_USER;
	s->record.event.u.exit.killer = story_signal(SIGKILL, 99, "bash", 0, 88, "sshd");
	story_tell(s, &s->record.event);
	story_tell(s, story_birth(s, 11, 1, "ld"));
	story_exit(s, 11, DUMPED(SIGSEGV))->u.exit.reason = KNELL_R_FAULT;
	story_tell(s, &s->record.event);
	story_tell(s, story_birth(s, 12, 1, "ok"));
	story_exit(s, 12, 0)->u.exit.last_term = story_signal(SIGTERM, 5, "x", 0, 4, "y");
	story_tell(s, &s->record.event);
	story_tell(s, story_birth(s, 13, 1, "false"));
	story_tell(s, story_exit(s, 13, EXITED(1)));
	print();
	says("failed 3, of them 2 by a signal");
	/* In 80 columns: the end of a long line goes below. */
	says("cc1 (pid 10) killed by SIGKILL sent by bash (pid 99, uid 0, parent");
	says("sshd 88)");
	says("ld (pid 11) segmentation fault, core dumped");
	says("ok (pid 12) received SIGTERM from x (pid 5, uid 0, parent y 4), then");
	says("exited 0");
	says("false (pid 13) exited 1");
	ck_assert(strstr(text, "segmentation") < strstr(text, "false (pid"));
	finish();
}
END_TEST

static void kill_one(uint32_t pid, const char *comm, uint32_t killer_pid)
{
	story_tell(s, story_birth(s, pid, 1, comm));
	story_exit(s, pid, KILLED(SIGKILL))->u.exit.reason = KNELL_R_USER;
	s->record.event.u.exit.killer = story_signal(SIGKILL, killer_pid, "kill", 0, 88, "sh");
	story_tell(s, &s->record.event);
}

START_TEST(test_failures_are_grouped)
{
	begin();
	for (uint32_t i = 0; i < 37; i++) {
		story_tell(s, story_birth(s, 100 + i, 1, "conftest"));
		story_tell(s, story_exit(s, 100 + i, EXITED(1)));
	}
	/* Each by another kill(1), but all alike. */
	for (uint32_t i = 0; i < 5; i++)
		kill_one(200 + i, "sleep", 300 + i);
	/* Each by itself. */
	for (uint32_t i = 0; i < 3; i++)
		kill_one(210 + i, "abort", 210 + i);
	print();
	says("failed 45, of them 8 by a signal");
	says("37 x conftest (first: pid 100) exited 1");
	says("5 x sleep (first: pid 200) killed by SIGKILL sent by kill (uid 0,");
	says("3 x abort (first: pid 210) killed by SIGKILL sent by itself");
	finish();
}
END_TEST

START_TEST(test_failures_are_capped)
{
	char comm[KNELL_COMM_LEN];

	begin();
	for (uint32_t i = 0; i < 300; i++) {
		snprintf(comm, sizeof(comm), "prog%u", i);
		story_tell(s, story_birth(s, 100 + i, 1, comm));
		story_tell(s, story_exit(s, 100 + i, EXITED(i % 200 + 1)));
	}
	print();
	says("failed 300");
	says("prog0 (pid 100) exited 1");
	says("and 290 more");
	finish();
}
END_TEST

/* A configure script's failures must not hide a crash. */
START_TEST(test_exit_codes_do_not_hide_signals)
{
	char comm[KNELL_COMM_LEN];

	begin();
	for (uint32_t i = 0; i < 300; i++) {
		snprintf(comm, sizeof(comm), "prog%u", i);
		story_tell(s, story_birth(s, 100 + i, 1, comm));
		story_tell(s, story_exit(s, 100 + i, EXITED(1)));
	}
	kill_one(900, "victim", 901);
	print();
	says("failed 301, of them 1 by a signal");
	ck_assert_ptr_nonnull(strstr(text, "victim (pid 900) killed by SIGKILL"));
	finish();
}
END_TEST

START_TEST(test_final_account)
{
	begin();
	story_tell(s, story_birth(s, 10, 1, "a"));
	story_tell(s, story_birth(s, 11, 1, "b"));
	story_tell(s, story_exit(s, 10, 0));
	story_tell(s, story_exit(s, 11, 0));
	print();
	says("CPU 8.00 ms (6.00 ms user, 2.00 ms system), 0.0 x wall");
	finish();
	begin();
	story_tell(s, story_birth(s, 10, 1, "a"));
	story_tell(s, story_birth(s, 11, 1, "b"));
	story_tell(s, story_exit(s, 10, 0));
	story_exit(s, 11, 0)->flags = KNELL_F_USAGE_FINAL;
	story_tell(s, &s->record.event);
	/* The first amends, the second comes too late to change anything. */
	story_tell(s, story_free(s, 10));
	story_tell(s, story_free(s, 11));
	story_tell(s, story_free(s, 10));
	print();
	says("CPU 10.0 ms (7.00 ms user, 3.00 ms system), 0.0 x wall");
	says("peak RSS 11.0 MiB in a (pid 10)");
	says("processes 2 started, 2 at once, 0 execs");
	finish();
}
END_TEST

START_TEST(test_unknown_fields)
{
	begin();
	story_birth(s, 10, 1, "a")->unknown = KNELL_U_COMM;
	story_tell(s, &s->record.event);
	story_exit(s, 10, EXITED(1))->unknown = UINT32_MAX;
	story_tell(s, &s->record.event);
	end.wall = 0;
	print();
	says("command exited 0 after ?");
	says("CPU ?");
	says("peak RSS ?");
	says("failed none");
	finish();
	begin();
	story_birth(s, 10, 1, "a")->unknown = KNELL_U_COMM;
	story_tell(s, &s->record.event);
	story_exit(s, 10, EXITED(1))->unknown = KNELL_U_COMM;
	story_tell(s, &s->record.event);
	story_tell(s, story_birth(s, 11, 1, "b"));
	story_exit(s, 11, EXITED(0))->unknown = KNELL_U_TIMES;
	story_tell(s, &s->record.event);
	print();
	says("? (pid 10) exited 1");
	says("CPU 4.00 ms (3.00 ms user, 1.00 ms system), 0.0 x wall; unknown for 1");
	finish();
}
END_TEST

/* A birth in a gap, a death in a gap, and both heard in part. */
START_TEST(test_losses)
{
	begin();
	story_tell(s, story_birth(s, 10, 1, "heard"));
	story_tell(s, story_gap(s, 1200, 1199, 7, KNELL_GAP_RESERVE));
	story_tell(s, story_gap(s, 0, 0, 1, KNELL_GAP_RING));
	s->start[11] = s->now;
	story_tell(s, story_exit(s, 11, 0));
	s->start[12] = s->now;
	story_tell(s, story_free(s, 12));
	s->start[13] = s->now;
	story_tell(s, story_exec(s, 13, "/bin/late"));
	story_tell(s, story_exit(s, 13, 0));
	/* Twice dead is dead once. */
	story_tell(s, story_exit(s, 13, 0));
	story_tell(s, story_free(s, 10));
	print();
	says("processes 1,201 started, about 2 at once, 1 exec");
	says("lost 1,200 births, 1,199 deaths and 8 other events were not heard");
	says("1 because a ring was full");
	says("2,406 because more descendants were alive than were reserved for");
	says("failed none");
	says_not("unknown   ");
	finish();
}
END_TEST

START_TEST(test_death_not_heard)
{
	begin();
	story_tell(s, story_birth(s, 10, 1, "gone"));
	story_tell(s, story_gap(s, 0, 1, 0, KNELL_GAP_RING));
	print();
	says("unknown 1: no death was heard, and nobody found it alive");
	says("processes 1 started, about 1 at once, 0 execs");
	finish();
}
END_TEST

START_TEST(test_orphans)
{
	begin();
	story_birth(s, 10, 1, "sh")->flags = KNELL_F_ROOT;
	story_tell(s, &s->record.event);
	for (uint32_t i = 0; i < 15; i++)
		story_tell(s, story_birth(s, 11 + i, 10, "sleep"));
	/* Found alive before the command ended: says nothing about now. */
	story_tell(s, story_alive(s, 25, 10, "sleep"));
	story_exit(s, 10, 0)->flags = KNELL_F_ROOT;
	story_tell(s, &s->record.event);
	for (uint32_t i = 0; i < 14; i++)
		story_tell(s, story_alive(s, 11 + i, 1, "napping"));
	/* Its birth was never heard. */
	story_tell(s, story_alive(s, 50, 1, "stranger"));
	story_tell(s, story_exit(s, 12, 0));
	print();
	says("alive 14 outlived the command and still run");
	says("napping (pid 11)");
	says("and 4 more");
	says("unknown 1: no death was heard, and nobody found it alive");
	says_not("napping (pid 12)");
	says("processes 17 started, about 16 at once, 0 execs");
	finish();
}
END_TEST

START_TEST(test_orphans_waited_or_killed)
{
	begin();
	end.orphans = REPORT_ORPHANS_KILLED;
	end.orphan_count = 3;
	print();
	says("orphans 3 outlived the command and were killed");
	end.orphans = REPORT_ORPHANS_WAITED;
	end.orphan_count = 1;
	print();
	says("orphans 1 outlived the command and was waited for");
	end.orphans = REPORT_ORPHANS_LEFT;
	print();
	says_not("orphans");
	finish();
}
END_TEST

/* The command's own death, with its cause, is in the first line. */
START_TEST(test_command_killed)
{
	begin();
	story_birth(s, 10, 1, "sh")->flags = KNELL_F_ROOT;
	story_tell(s, &s->record.event);
	story_exit(s, 10, KILLED(SIGTERM))->flags = KNELL_F_ROOT;
	s->record.event.u.exit.reason = KNELL_R_USER;
	s->record.event.u.exit.killer = story_signal(SIGTERM, 9, "kill", 0, 8, "sh");
	story_tell(s, &s->record.event);
	end.status = KILLED(SIGTERM);
	print();
	says("command killed by SIGTERM sent by kill (pid 9, uid 0, parent sh 8) after");
	/* Where the two do not agree, wait(2) is right about the command. */
	end.status = EXITED(4);
	print();
	says("command exited 4 after 2.00 s");
	finish();
}
END_TEST

START_TEST(test_nothing_dangerous_reaches_a_terminal)
{
	begin();
	end.argv = COMMAND("a\033]0;x\a", "\xff");
	story_tell(s, story_birth(s, 10, 1, "\033[2J\xff"));
	story_exit(s, 10, KILLED(SIGKILL))->u.exit.reason = KNELL_R_USER;
	s->record.event.u.exit.killer = story_signal(SIGKILL, 9, "\r\x9b", 0, 8, "\n");
	story_tell(s, &s->record.event);
	story_tell(s, story_birth(s, 11, 1, "\t"));
	story_tell(s, story_exit(s, 11, 0));
	story_tell(s, story_alive(s, 12, 1, "\b"));
	print();
	for (const char *c = text; *c; c++)
		ck_assert(*c == '\n' || ((unsigned char)*c >= ' ' && (unsigned char)*c < 0x7f));
	finish();
}
END_TEST

START_TEST(test_fits_in_80_columns)
{
	static const char *const name = "a-long-name-123";
	begin();
	end.argv = COMMAND("make", "-j", "16", "a-target-with-quite-a-long-name-to-it",
			   "another-target-with-a-long-name");
	for (uint32_t i = 0; i < 12; i++) {
		story_tell(s, story_birth(s, 65000 + i, 1, name));
		story_exit(s, 65000 + i, KILLED(1 + i))->u.exit.reason = KNELL_R_USER;
		s->record.event.u.exit.killer =
			story_signal(1 + (int)i, 4194304, name, 4294967295, 4194303, name);
		s->record.event.u.exit.last_term =
			story_signal(20, 4194304, name, 4294967295, 4194303, name);
		story_tell(s, &s->record.event);
	}
	story_tell(s, story_gap(s, UINT64_MAX / 8, UINT64_MAX / 8, UINT64_MAX / 8, 1));
	print();
	for (char *line = text, *next; (next = strchr(line, '\n')); line = next + 1) {
		*next = '\0';
		ck_assert_msg(words_width(line) <= 80, "%zu columns: %s", words_width(line), line);
	}
	finish();
}
END_TEST

/* What a report printed to `fd` begins with. */
static void print_to_terminal(char *got, size_t size)
{
	int master, slave;
	FILE *file;
	ssize_t n;

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	file = fdopen(slave, "w");
	ck_assert_int_eq(report_print(report, file, &end), 0);
	n = read(master, got, size - 1);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	fclose(file);
	close(master);
}

START_TEST(test_colour)
{
	char got[4096];

	begin();
	unsetenv("NO_COLOR");
	print_to_terminal(got, sizeof(got));
	ck_assert_ptr_nonnull(strstr(got, "\033["));
	setenv("NO_COLOR", "1", 1);
	print_to_terminal(got, sizeof(got));
	ck_assert_ptr_null(strstr(got, "\033["));
	unsetenv("NO_COLOR");
	print();
	says_not("\033[");
	finish();
}
END_TEST

START_TEST(test_cannot_write)
{
	FILE *full = fopen("/dev/full", "we");

	begin();
	ck_assert_int_eq(report_print(report, full, &end), -ENOSPC);
	fclose(full);
	finish();
	ck_assert_ptr_null(report_free(NULL));
}
END_TEST

/* Under a sanitizer malloc's own counters are not kept: the test is then for speed and truth. */
static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/*
 * A million processes, 100 alive at once, with names and failures of all kinds; `frees`: with their
 * final accounts.
 */
static void storm(bool frees, size_t bound)
{
	const uint32_t total = 1000000, alive = 100;
	struct knell_event birth, death, release;
	size_t before;

	begin();
	before = allocated();
	birth = *story_birth(s, 1, 1, "x");
	death = *story_exit(s, 1, 0);
	release = *story_free(s, 1);
	for (uint32_t i = 0; i < total + alive; i++) {
		if (i < total) {
			birth.task.tgid = birth.task.tid = 300 + i % 32000;
			birth.task.start = birth.time = 1000 * MS + i;
			snprintf(birth.comm, sizeof(birth.comm), "p%u", i % 5000);
			fake_deliver(s->engine, &birth);
		}
		if (i < alive)
			continue;
		death.task.tgid = death.task.tid = 300 + (i - alive) % 32000;
		death.task.start = 1000 * MS + i - alive;
		death.time = death.task.start + alive;
		memcpy(death.comm, birth.comm, sizeof(death.comm));
		death.u.exit.status = (int)(i % 700 == 0 ? KILLED(i % 30 + 1) : EXITED(i % 3));
		fake_deliver(s->engine, &death);
		release.task = death.task;
		if (frees)
			fake_deliver(s->engine, &release);
	}
	ck_assert_uint_le(allocated() - before, bound);
	print();
	says("processes 1,000,000 started, 100 at once, 0 execs");
	says(frees ? "CPU 1h40m (1h06m user, 33m20s system), 3000.0 x wall"
		   : "CPU 1h06m (50m00s user, 16m40s system), 2000.0 x wall");
	says_not("alive");
	says_not("unknown");
	finish();
}

START_TEST(test_memory_is_bounded)
{
	storm(false, 1000 << 10);
}
END_TEST

START_TEST(test_memory_is_bounded_with_final_accounts)
{
	storm(true, 64 << 10);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("report");
	TCase *tc = unit_case(suite, "counts");

	tcase_set_timeout(tc, 60); /* a million processes, perhaps under a sanitizer */
	tcase_add_test(tc, test_a_small_build);
	tcase_add_test(tc, test_threads);
	tcase_add_test(tc, test_peak_is_in_order_of_time);
	tcase_add_test(tc, test_final_account);
	tcase_add_test(tc, test_unknown_fields);
	tcase_add_test(tc, test_losses);
	tcase_add_test(tc, test_death_not_heard);
	tcase_add_test(tc, test_orphans);
	tcase_add_test(tc, test_orphans_waited_or_killed);
	tcase_add_test(tc, test_memory_is_bounded);
	tcase_add_test(tc, test_memory_is_bounded_with_final_accounts);
	tc = unit_case(suite, "failures");
	tcase_add_test(tc, test_causes_of_death);
	tcase_add_test(tc, test_failures_are_grouped);
	tcase_add_test(tc, test_failures_are_capped);
	tcase_add_test(tc, test_exit_codes_do_not_hide_signals);
	tcase_add_test(tc, test_command_killed);
	tc = unit_case(suite, "text");
	tcase_add_test(tc, test_nothing_dangerous_reaches_a_terminal);
	tcase_add_test(tc, test_fits_in_80_columns);
	tcase_add_test(tc, test_colour);
	tcase_add_test(tc, test_cannot_write);
	return suite;
}
