/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_tree.c - the tree of a run: who hangs under whom, what is folded, what is said of each.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "fake_source.h"
#include "main.h"
#include "story.h"
#include "watchers/tree.h"

static struct story *s;
static struct tree *tree;
static char *text;

static void begin(void)
{
	s = story_begin();
	ck_assert_int_eq(tree_new(&tree, s->engine), 0);
}

static void print(bool utf8)
{
	size_t size = 0;
	FILE *file;

	story_dispatch(s);
	free(text);
	text = NULL;
	file = open_memstream(&text, &size);
	ck_assert_int_eq(tree_print(tree, file, utf8), 0);
	fclose(file);
}

/* Prints it, without the columns before the names and the note on folding. */
static void draws(const char *expected)
{
	char *names, *to;

	print(true);
	to = names = calloc(1, strlen(text) + 1);
	for (const char *line = text, *next; (next = strchr(line, '\n')); line = next + 1) {
		if (line == text || strncmp(line, "x N", 3) == 0)
			continue;
		ck_assert_int_gt(next - line, 20);
		to = mempcpy(to, line + 20, (size_t)(next + 1 - line - 20));
	}
	ck_assert_str_eq(names, expected);
	free(names);
}

static void finish(void)
{
	free(text);
	text = NULL;
	ck_assert_ptr_null(tree_free(tree));
	story_end(s);
}

static void born(uint32_t pid, uint32_t parent, const char *path)
{
	story_tell(s, story_birth(s, pid, parent, "parent"));
	if (path)
		story_tell(s, story_exec(s, pid, path));
}

static void dies(uint32_t pid, int status)
{
	story_tell(s, story_exit(s, pid, status));
}

START_TEST(test_hangs_under_parents)
{
	begin();
	born(10, 1, "/usr/bin/make");
	born(11, 10, "/bin/sh");
	born(12, 11, "/usr/bin/cc");
	born(13, 12, "/usr/lib/cc1");
	born(14, 12, "/usr/bin/as");
	dies(13, 0);
	dies(14, 0);
	dies(12, 0);
	dies(11, 0);
	born(15, 10, "/usr/bin/ld");
	dies(15, EXITED(1));
	dies(10, EXITED(2));
	draws("make  [10] exited 2\n"
	      "├─ sh\n"
	      "│  └─ cc\n"
	      "│     ├─ cc1\n"
	      "│     └─ as\n"
	      "└─ ld  [15] exited 1\n");
	/* Born at 1,001 ms, dead at 1,018. */
	ck_assert_ptr_nonnull(strstr(text, " 17.0 ms   4.00 ms  make"));
	print(false);
	ck_assert_ptr_nonnull(strstr(text, "|- sh\n"));
	ck_assert_ptr_nonnull(strstr(text, "|  `- cc\n"));
	for (const char *c = text; *c; c++)
		ck_assert((unsigned char)*c < 0x80);
	finish();
}
END_TEST

/* The end of a parent may be delivered before its child's birth; adoption changes nothing. */
START_TEST(test_orphans_stay_where_they_were_born)
{
	begin();
	born(10, 1, "/bin/sh");
	dies(10, 0);
	born(11, 10, "/bin/daemon");
	story_tell(s, story_alive(s, 11, 1, "daemon"));
	draws("sh\n"
	      "└─ daemon  [11] still running\n");
	finish();
}
END_TEST

START_TEST(test_number_used_again)
{
	begin();
	born(10, 1, "/bin/one");
	born(11, 10, "/bin/child-of-one");
	dies(11, 0);
	dies(10, 0);
	born(10, 1, "/bin/two");
	born(11, 10, "/bin/child-of-two");
	/* The record's start is a thread's: the process that had the number then is meant. */
	story_birth(s, 12, 10, "parent")->parent.start += 1;
	story_tell(s, &s->record.event);
	dies(12, 0);
	dies(11, 0);
	dies(10, 0);
	draws("one\n"
	      "└─ child-of-one\n"
	      "two\n"
	      "├─ child-of-two\n"
	      "└─ (parent)\n");
	finish();
}
END_TEST

START_TEST(test_several_execs)
{
	static const char args[] = "cc\0-c\0na\xc3\xafve\033.c";

	begin();
	born(10, 1, "/bin/sh");
	story_tell(s, story_exec(s, 10, "/usr/bin/ccache"));
	story_tell(s, story_exec_args(s, 10, "/usr/bin/cc", 11, args, sizeof(args)));
	dies(10, 0);
	/* The kernel cuts names to 15 bytes. */
	born(11, 1, "/usr/lib/a-program-with-a-long-name");
	dies(11, 0);
	/* Run through a descriptor: the file name says nothing. */
	story_exec(s, 12, "/proc/self/fd/3");
	born(12, 1, NULL);
	memcpy(story_exec(s, 12, "/proc/self/fd/3")->comm, "runc", 5);
	story_tell(s, &s->record.event);
	dies(12, 0);
	draws("sh -> ccache -> cc -c na\xc3\xafve\\x1b.c\n"
	      "a-program-with-a-long-name\n"
	      "runc\n");
	finish();
}
END_TEST

START_TEST(test_long_arguments_are_cut)
{
	char args[1000];

	memset(args, 'x', sizeof(args));
	args[2] = '\0';
	begin();
	born(10, 1, NULL);
	story_tell(s, story_exec_args(s, 10, "/bin/xx", 7, args, sizeof(args)));
	dies(10, 0);
	born(11, 1, NULL);
	story_exec_args(s, 11, "/bin/cut", 8, "cut\0-a", 6)->flags = KNELL_F_TRUNCATED;
	story_tell(s, &s->record.event);
	dies(11, 0);
	print(true);
	ck_assert_ptr_nonnull(strstr(text, "  xx xxxxx"));
	ck_assert_ptr_nonnull(strstr(text, "xxxxx...\n"));
	ck_assert_ptr_nonnull(strstr(text, "  cut -a...\n"));
	ck_assert_uint_lt(strlen(text), 400);
	finish();
}
END_TEST

START_TEST(test_endless_execs)
{
	begin();
	born(10, 1, "/bin/sh");
	for (int i = 0; i < 1000; i++)
		story_tell(s, story_exec(s, 10, "/bin/a-rather-long-program-name-\xe2\x82\xac"));
	dies(10, 0);
	print(true);
	ck_assert_uint_lt(strlen(text), 600);
	ck_assert_ptr_nonnull(strstr(text, "sh -> a-rather"));
	ck_assert_ptr_nonnull(strstr(text, " ... -> a-rather"));
	ck_assert_ptr_null(strstr(text, "... -> a-rather-long-program-name-\xe2\x82\xac ..."));
	finish();
}
END_TEST

START_TEST(test_folds_what_is_alike)
{
	begin();
	born(10, 1, "/bin/make");
	for (uint32_t i = 0; i < 37; i++) {
		born(100 + i, 10, "/bin/conftest");
		dies(100 + i, 0);
	}
	/* Whole subtrees, not next to each other, children in another order. */
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t pid = 200 + 10 * i;

		born(pid, 10, "/bin/cc");
		born(pid + 1, pid, i % 2 ? "/bin/cc1" : "/bin/as");
		born(pid + 2, pid, i % 2 ? "/bin/as" : "/bin/cc1");
		dies(pid + 1, 0);
		dies(pid + 2, 0);
		dies(pid, 0);
		born(300 + i, 10, i == 3 ? "/bin/odd" : "/bin/even");
		dies(300 + i, i == 2 ? EXITED(1) : 0);
	}
	dies(10, 0);
	print(true);
	ck_assert_ptr_nonnull(strstr(text, " 2.00 ms    148 ms  ├─ conftest x 37\n"));
	ck_assert_ptr_nonnull(strstr(text, "16.0 ms  │  ├─ as x 4\n"));
	draws("make\n"
	      "├─ conftest x 37\n"
	      "├─ cc x 4\n"
	      "│  ├─ as x 4\n"
	      "│  └─ cc1 x 4\n"
	      "├─ even x 2\n"
	      "├─ even  [302] exited 1\n"
	      "└─ odd\n");
	finish();
}
END_TEST

START_TEST(test_says_how_they_ended)
{
	begin();
	born(10, 1, "/bin/a");
	story_exit(s, 10, KILLED(SIGKILL))->u.exit.reason = KNELL_R_USER;
	s->record.event.u.exit.killer = story_signal(SIGKILL, 99, "bash", 0, 88, "sshd");
	story_tell(s, &s->record.event);
	born(11, 1, "/bin/b");
	story_exit(s, 11, DUMPED(SIGSEGV))->u.exit.reason = KNELL_R_FAULT;
	story_tell(s, &s->record.event);
	born(12, 1, "/bin/c");
	story_exit(s, 12, 0)->u.exit.last_term = story_signal(SIGTERM, 5, "x", 0, 4, "y");
	story_tell(s, &s->record.event);
	born(13, 1, "/bin/d");
	story_exit(s, 13, 0)->unknown = UINT32_MAX;
	story_tell(s, &s->record.event);
	born(14, 1, "/bin/e");
	draws("a  [10] killed by SIGKILL sent by bash (pid 99, uid 0, parent sshd 88)\n"
	      "b  [11] segmentation fault, core dumped\n"
	      "c  [12] received SIGTERM from x (pid 5, uid 0, parent y 4), then exited 0\n"
	      "d  [13] ended, nobody knows how\n"
	      "e  [14] end not heard\n");
	finish();
}
END_TEST

START_TEST(test_losses)
{
	begin();
	story_tell(s, story_gap(s, 2, 1, 5, KNELL_GAP_RING));
	s->start[10] = 500 * MS;
	story_tell(s, story_exec(s, 10, "/bin/late"));
	born(11, 10, "/bin/child");
	story_tell(s, story_free(s, 11));
	/* Nothing of these two is news. */
	story_tell(s, story_free(s, 11));
	story_tell(s, story_free(s, 20));
	story_tell(s, story_exit(s, 10, 0));
	story_tell(s, story_exit(s, 10, EXITED(3)));
	print(true);
	ck_assert_ptr_nonnull(strstr(text, "late  (birth not heard)\n"));
	ck_assert_ptr_nonnull(strstr(text, "└─ child  [11] ended, nobody knows how\n"));
	ck_assert_ptr_nonnull(
		strstr(text, "not in it: 2 births and 1 deaths that were not heard\n"));
	finish();
}
END_TEST

START_TEST(test_final_account_and_threads)
{
	begin();
	born(10, 1, "/bin/a");
	story_tell(s, story_thread(s, 10, 11, KNELL_CLONE));
	story_tell(s, story_thread(s, 10, 11, KNELL_EXIT));
	dies(10, 0);
	story_tell(s, story_free(s, 10));
	draws("a\n");
	ck_assert_ptr_nonnull(strstr(text, " 4.00 ms   6.00 ms  a\n"));
	finish();
}
END_TEST

START_TEST(test_nothing)
{
	begin();
	draws("");
	finish();
	ck_assert_ptr_null(tree_free(NULL));
}
END_TEST

/* Each the child of the one before: no recursion, and no line beyond all screens. */
START_TEST(test_a_chain_of_forks)
{
	begin();
	for (uint32_t i = 0; i < 60000; i++)
		story_tell(s, story_birth(s, 10 + i, 9 + i, "bomb"));
	print(true);
	ck_assert_ptr_nonnull(strstr(text, "... and 59,952 deeper\n"));
	ck_assert_uint_lt(strlen(text), 14400);
	finish();
}
END_TEST

START_TEST(test_a_million)
{
	struct knell_event birth, death;

	begin();
	born(10, 1, "/bin/storm");
	story_dispatch(s);
	birth = *story_birth(s, 11, 10, "storm");
	death = *story_exit(s, 11, 0);
	for (uint32_t i = 0; i < 1000000; i++) {
		birth.task.tgid = birth.task.tid = 300 + i % 32000;
		birth.task.start = 1000 * MS + i;
		death.task = birth.task;
		death.time = birth.task.start + MS;
		fake_deliver(s->engine, &birth);
		fake_deliver(s->engine, &death);
	}
	draws("storm  [10] end not heard\n"
	      "└─ (storm) x 1,000,000\n");
	finish();
}
END_TEST

START_TEST(test_cannot_write)
{
	FILE *full = fopen("/dev/full", "we");

	begin();
	ck_assert_int_eq(tree_print(tree, full, true), -ENOSPC);
	fclose(full);
	finish();
}
END_TEST

START_TEST(test_character_set)
{
	setlocale(LC_ALL, "C");
	ck_assert(!tree_utf8());
	if (setlocale(LC_ALL, "C.UTF-8"))
		ck_assert(tree_utf8());
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("tree");
	TCase *tc = unit_case(suite, "shape");

	tcase_add_test(tc, test_hangs_under_parents);
	tcase_add_test(tc, test_orphans_stay_where_they_were_born);
	tcase_add_test(tc, test_number_used_again);
	tcase_add_test(tc, test_folds_what_is_alike);
	tcase_add_test(tc, test_a_chain_of_forks);
	tcase_add_test(tc, test_a_million);
	tcase_add_test(tc, test_nothing);
	tc = unit_case(suite, "text");
	tcase_add_test(tc, test_several_execs);
	tcase_add_test(tc, test_long_arguments_are_cut);
	tcase_add_test(tc, test_endless_execs);
	tcase_add_test(tc, test_says_how_they_ended);
	tcase_add_test(tc, test_losses);
	tcase_add_test(tc, test_final_account_and_threads);
	tcase_add_test(tc, test_cannot_write);
	tcase_add_test(tc, test_character_set);
	return suite;
}
