/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_progress.c - the live line, on a pseudo-terminal: what it says, how often, and that it
 * leaves nothing behind.
 */
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "main.h"
#include "story.h"
#include "watchers/progress.h"

static struct story *s;
static struct progress *progress;
static int master, slave;
static char text[4096];

static void begin(void)
{
	setenv("TERM", "xterm", 1);
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	fcntl(master, F_SETFL, O_NONBLOCK);
	s = story_begin();
	ck_assert_int_eq(progress_new(&progress, s->engine, slave, 0), 0);
}

static void finish(void)
{
	progress = progress_free(progress);
	close(slave);
	close(master);
	story_end(s);
}

/* What was written to the terminal since the last call. */
static const char *written(void)
{
	ssize_t n = read(master, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(test_counts)
{
	begin();
	for (uint32_t i = 0; i < 1200; i++)
		story_tell(s, story_birth(s, 10 + i, 1, "a"));
	for (uint32_t i = 0; i < 1000; i++)
		story_tell(s, story_exit(s, 10 + i, EXITED(i < 3)));
	/* None of these is a birth or a death of a process. */
	story_tell(s, story_thread(s, 1100, 5000, KNELL_CLONE));
	story_tell(s, story_thread(s, 1100, 5000, KNELL_EXIT));
	story_tell(s, story_alive(s, 1101, 1, "a"));
	story_dispatch(s);
	progress_tick(progress, 12345 * MS);
	ck_assert_str_eq(written(), "\rknell: 200 alive, 1,200 started, 3 failed, 12.3 s\033[K");
	finish();
}
END_TEST

START_TEST(test_lost_ones_count)
{
	begin();
	story_tell(s, story_gap(s, 10, 4, 3, KNELL_GAP_RING));
	story_dispatch(s);
	progress_tick(progress, 500 * MS);
	ck_assert_str_eq(written(), "\rknell: 6 alive, 10 started, 0 failed, 500 ms\033[K");
	finish();
}
END_TEST

START_TEST(test_ten_times_a_second)
{
	int drawn = 0;

	begin();
	for (uint64_t ms = 1; ms <= 2000; ms++) {
		progress_tick(progress, ms * MS);
		drawn += *written() != '\0';
	}
	ck_assert_int_eq(drawn, 20);
	finish();
}
END_TEST

START_TEST(test_erased)
{
	begin();
	progress_erase(progress);
	ck_assert_str_eq(written(), "");
	progress_tick(progress, 100 * MS);
	ck_assert_str_ne(written(), "");
	progress_erase(progress);
	ck_assert_str_eq(written(), "\r\033[K");
	progress_erase(progress);
	ck_assert_str_eq(written(), "");
	progress_tick(progress, 300 * MS);
	ck_assert_str_ne(written(), "");
	progress = progress_free(progress);
	ck_assert_str_eq(written(), "\r\033[K");
	progress_erase(NULL);
	finish();
}
END_TEST

START_TEST(test_narrow_terminal)
{
	struct winsize size = { .ws_row = 24, .ws_col = 20 };

	begin();
	ioctl(slave, TIOCSWINSZ, &size);
	progress_tick(progress, 100 * MS);
	ck_assert_str_eq(written(), "\rknell: 0 alive, 0 s\033[K");
	finish();
}
END_TEST

START_TEST(test_not_a_terminal)
{
	struct progress *other = NULL;
	int fds[2];

	begin();
	ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
	ck_assert_int_eq(progress_new(&other, s->engine, fds[1], 0), 0);
	progress_tick(other, 100 * MS);
	progress_erase(other);
	progress_free(other);
	ck_assert_int_eq(read(fds[0], text, 1), -1);
	finish();
}
END_TEST

START_TEST(test_dumb_terminal)
{
	struct progress *other = NULL;

	begin();
	setenv("TERM", "dumb", 1);
	ck_assert_int_eq(progress_new(&other, s->engine, slave, 0), 0);
	progress_tick(other, 100 * MS);
	progress_free(other);
	ck_assert_str_eq(written(), "");
	finish();
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("progress");
	TCase *tc = unit_case(suite, "progress");

	tcase_add_test(tc, test_counts);
	tcase_add_test(tc, test_lost_ones_count);
	tcase_add_test(tc, test_ten_times_a_second);
	tcase_add_test(tc, test_erased);
	tcase_add_test(tc, test_narrow_terminal);
	tcase_add_test(tc, test_not_a_terminal);
	tcase_add_test(tc, test_dumb_terminal);
	return suite;
}
