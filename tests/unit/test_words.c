/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_words.c - what people are told: durations, sizes, safe names, causes of death.
 */
#include <signal.h>
#include <string.h>

#include "main.h"
#include "story.h"
#include "watchers/words.h"

START_TEST(test_durations)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0 us" },
		{ 499, "0 us" },
		{ 350000, "350 us" },
		{ 999499, "999 us" },
		{ 999500, "1.00 ms" },
		{ 1234567, "1.23 ms" },
		{ 9994999, "9.99 ms" },
		{ 9995000, "10.0 ms" },
		{ 12345678, "12.3 ms" },
		{ 99949999, "99.9 ms" },
		{ 99950000, "100 ms" },
		{ 999499999, "999 ms" },
		{ 999500000, "1.00 s" },
		{ 1240000000, "1.24 s" },
		{ 59949999999, "59.9 s" },
		{ 59950000000, "1m00s" },
		{ 723000000000, "12m03s" },
		{ 3599400000000, "59m59s" },
		{ 3599500000000, "1h00m" },
		{ 11100000000000, "3h05m" },
		{ 187200000000000, "2d04h" },
		{ UINT64_MAX, "213503d23h" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_str_eq(words_duration(cases[i].ns).s, cases[i].text);
}
END_TEST

START_TEST(test_numbers)
{
	ck_assert_str_eq(words_count(0).s, "0");
	ck_assert_str_eq(words_count(999).s, "999");
	ck_assert_str_eq(words_count(1000).s, "1,000");
	ck_assert_str_eq(words_count(1234567).s, "1,234,567");
	ck_assert_str_eq(words_count(UINT64_MAX).s, "18,446,744,073,709,551,615");
	ck_assert_str_eq(words_size(0).s, "0.00 MiB");
	ck_assert_str_eq(words_size(12897485).s, "12.3 MiB");
	ck_assert_str_eq(words_size(UINT64_C(20480) << 20).s, "20,480 MiB");
	ck_assert_str_eq(words_ratio(39, 10).s, "3.9");
	ck_assert_str_eq(words_ratio(1, 0).s, "?");
	ck_assert_str_eq(words_signal(SIGKILL).s, "SIGKILL");
	ck_assert_str_eq(words_signal(SIGRTMIN + 3).s, "SIGRTMIN+3");
	ck_assert_str_eq(words_signal(33).s, "signal 33");
	ck_assert_str_eq(words_signal(200).s, "signal 200");
}
END_TEST

static const char *escaped(const char *s, size_t len)
{
	static char text[256];

	ck_assert_uint_eq(words_escape(text, sizeof(text), s, len), strlen(text));
	return text;
}

#define ESCAPED(literal) escaped(literal, sizeof(literal) - 1)

START_TEST(test_escape)
{
	ck_assert_str_eq(ESCAPED("plain name"), "plain name");
	ck_assert_str_eq(ESCAPED("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x90\xa7"),
			 "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x90\xa7");
	ck_assert_str_eq(ESCAPED("a\033[31mb\nc\x7f"), "a\\x1b[31mb\\x0ac\\x7f");
	/* C1 control characters are well-formed UTF-8, and some terminals obey them. */
	ck_assert_str_eq(ESCAPED("\xc2\x9b"), "\\xc2\\x9b");
	ck_assert_str_eq(ESCAPED("\xff\xfe"), "\\xff\\xfe");
	ck_assert_str_eq(ESCAPED("a\0b"), "a\\x00b");
	/* Overlong, surrogate, beyond Unicode, cut. */
	ck_assert_str_eq(ESCAPED("\xc0\xaf"), "\\xc0\\xaf");
	ck_assert_str_eq(ESCAPED("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");
	ck_assert_str_eq(ESCAPED("\xed\xa0\x80"), "\\xed\\xa0\\x80");
	ck_assert_str_eq(ESCAPED("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
	ck_assert_str_eq(ESCAPED("\xe2\x82"), "\\xe2\\x82");
}
END_TEST

START_TEST(test_escape_never_splits)
{
	static const char src[] = "a\xe2\x82\xac\x01z";
	char text[16];

	for (size_t size = 1; size < sizeof(text); size++) {
		memset(text, '#', sizeof(text));
		words_escape(text, size, src, sizeof(src) - 1);
		ck_assert_uint_lt(strlen(text), size);
		ck_assert(strcmp(text, "") == 0 || strcmp(text, "a") == 0 ||
			  strcmp(text, "a\xe2\x82\xac") == 0 ||
			  strcmp(text, "a\xe2\x82\xac\\x01") == 0 ||
			  strcmp(text, "a\xe2\x82\xac\\x01z") == 0);
	}
	ck_assert_uint_eq(words_escape(text, 0, "a", 1), 0);
}
END_TEST

START_TEST(test_small_helpers)
{
	static const char cc[KNELL_COMM_LEN] = "cc";
	char comm[KNELL_COMM_LEN], text[] = "a\xe2\x82\xacz";

	ck_assert_uint_eq(words_width("a\xe2\x82\xacz"), 3);
	words_cut(text, 5);
	ck_assert_str_eq(text, "a\xe2\x82\xacz");
	words_cut(text, 2);
	ck_assert_str_eq(text, "a\xe2\x82\xac");
	words_cut(text, 0);
	ck_assert_str_eq(text, "");
	ck_assert_str_eq(words_basename("/usr/bin/cc"), "cc");
	ck_assert_str_eq(words_basename("cc"), "cc");
	ck_assert_str_eq(words_basename("/"), "/");
	ck_assert_str_eq(words_comm(cc, true).s, "cc");
	ck_assert_str_eq(words_comm(cc, false).s, "?");
	words_copy_comm(comm, "a-name-that-is-longer-than-a-comm");
	ck_assert_str_eq(comm, "a-name-that-is-");
}
END_TEST

static struct knell_exit death(int status, unsigned int reason)
{
	struct knell_exit d = { .status = status, .reason = (uint8_t)reason };

	d.killer.signo = status & 0x7f;
	d.killer.reason = (uint8_t)reason;
	return d;
}

static const char *told(const struct knell_exit *d, uint32_t unknown)
{
	static char text[WORDS_DEATH_MAX];

	words_death(text, sizeof(text), 123, d, unknown);
	return text;
}

START_TEST(test_exits)
{
	struct knell_exit d = death(EXITED(0), KNELL_R_NONE);

	ck_assert_str_eq(told(&d, 0), "exited 0");
	ck_assert(!words_failed(&d, 0));
	d = death(EXITED(2), KNELL_R_NONE);
	ck_assert_str_eq(told(&d, 0), "exited 2");
	ck_assert(words_failed(&d, 0));
	ck_assert(!words_failed(&d, KNELL_U_STATUS));
	ck_assert_str_eq(told(&d, KNELL_U_STATUS), "ended, nobody knows how");
}
END_TEST

START_TEST(test_killed_by_a_user)
{
	struct knell_exit d = death(KILLED(SIGKILL), KNELL_R_USER);

	d.killer = story_signal(SIGKILL, 99, "bash", 0, 88, "sshd");
	ck_assert_str_eq(told(&d, 0),
			 "killed by SIGKILL sent by bash (pid 99, uid 0, parent sshd 88)");
	ck_assert_str_eq(told(&d, KNELL_U_CAUSE), "killed by SIGKILL");
	d.killer.known = KNELL_S_PID | KNELL_S_UID;
	ck_assert_str_eq(told(&d, 0), "killed by SIGKILL sent by a process (pid 99, uid 0)");
	d.killer.pid = 0;
	ck_assert_str_eq(told(&d, 0), "killed by SIGKILL sent by a process (outside of this pid "
				      "namespace, uid 0)");
	d.killer.known = KNELL_S_COMM;
	ck_assert_str_eq(told(&d, 0), "killed by SIGKILL sent by bash");
	d.killer.known = 0;
	ck_assert_str_eq(told(&d, 0), "killed by SIGKILL");
	d = death(DUMPED(SIGABRT), KNELL_R_USER);
	d.killer = story_signal(SIGABRT, 123, "me", 0, 88, "sshd");
	ck_assert_str_eq(told(&d, 0), "killed by SIGABRT sent by itself, core dumped");
	d = death(KILLED(SIGTERM), KNELL_R_USER);
	d.killer = story_signal(SIGTERM, 9, "\033[2J", 0, 8, "\xff");
	ck_assert_str_eq(told(&d, 0), "killed by SIGTERM sent by \\x1b[2J (pid 9, uid 0, parent "
				      "\\xff 8)");
}
END_TEST

START_TEST(test_killed_by_the_kernel)
{
	static const struct {
		int status;
		unsigned int reason;
		const char *text;
	} cases[] = {
		{ DUMPED(SIGSEGV), KNELL_R_FAULT, "segmentation fault, core dumped" },
		{ KILLED(SIGSEGV), KNELL_R_FAULT, "segmentation fault" },
		{ KILLED(SIGBUS), KNELL_R_FAULT, "bus error" },
		{ KILLED(SIGFPE), KNELL_R_FAULT, "arithmetic fault (SIGFPE)" },
		{ KILLED(SIGSYS), KNELL_R_FAULT, "killed by SIGSYS for a fault of its own" },
		{ KILLED(SIGKILL), KNELL_R_OOM, "out of memory (killed by the kernel)" },
		{ KILLED(SIGKILL), KNELL_R_KERNEL, "killed by SIGKILL sent by the kernel" },
		{ KILLED(SIGALRM), KNELL_R_TIMER, "killed by SIGALRM of a timer" },
		{ KILLED(SIGTERM), KNELL_R_PDEATH, "killed by SIGTERM: its parent died" },
		{ DUMPED(SIGSYS), KNELL_R_SECCOMP,
		  "killed by SIGSYS of a seccomp filter, core dumped" },
		{ KILLED(SIGKILL), KNELL_R_CGROUP, "killed by SIGKILL of cgroup.kill" },
		{ KILLED(SIGINT), KNELL_R_TERMINAL, "killed by SIGINT from the terminal" },
		{ KILLED(SIGPIPE), KNELL_R_PIPE,
		  "killed by SIGPIPE: it wrote to a pipe that nobody reads" },
		{ KILLED(SIGXCPU), KNELL_R_RLIMIT, "CPU time limit reached (SIGXCPU)" },
		{ KILLED(SIGXFSZ), KNELL_R_RLIMIT, "file size limit reached (SIGXFSZ)" },
		{ KILLED(SIGKILL), KNELL_R_PIDNS,
		  "killed by SIGKILL: the init process of its pid namespace died" },
		{ KILLED(SIGKILL), KNELL_R_NONE, "killed by SIGKILL" },
		{ KILLED(SIGKILL), 200, "killed by SIGKILL" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct knell_exit d = death(cases[i].status, cases[i].reason);

		ck_assert_str_eq(told(&d, 0), cases[i].text);
	}
}
END_TEST

START_TEST(test_warned)
{
	struct knell_exit d = death(EXITED(0), KNELL_R_NONE);

	ck_assert(!words_was_warned(&d, 0));
	d.last_term = story_signal(SIGTERM, 1, "systemd", 0, 0, "?");
	d.last_term.known &= (uint8_t)~KNELL_S_PARENT;
	ck_assert(words_was_warned(&d, 0));
	ck_assert_str_eq(told(&d, 0),
			 "received SIGTERM from systemd (pid 1, uid 0), then exited 0");
	ck_assert_str_eq(told(&d, KNELL_U_TERM), "exited 0");
	d.status = KILLED(SIGKILL);
	d.reason = KNELL_R_OOM;
	ck_assert_str_eq(told(&d, 0), "received SIGTERM from systemd (pid 1, uid 0), then out of "
				      "memory (killed by the kernel)");
	/* It died of it: said once. */
	d.status = KILLED(SIGTERM);
	d.reason = KNELL_R_NONE;
	ck_assert(!words_was_warned(&d, 0));
	ck_assert_str_eq(told(&d, 0), "killed by SIGTERM");
	d.status = EXITED(1);
	d.last_term.reason = KNELL_R_TERMINAL;
	d.last_term.signo = SIGINT;
	ck_assert_str_eq(told(&d, 0), "received SIGINT from the terminal, then exited 1");
}
END_TEST

START_TEST(test_death_fits)
{
	static const char bad[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
	struct knell_exit d = death(DUMPED(SIGKILL), KNELL_R_CGROUP);
	char text[WORDS_DEATH_MAX];

	d.killer = story_signal(SIGKILL, UINT32_MAX, bad, UINT32_MAX, UINT32_MAX, bad);
	d.killer.reason = KNELL_R_CGROUP;
	d.last_term = story_signal(SIGTERM, UINT32_MAX, bad, UINT32_MAX, UINT32_MAX, bad);
	for (size_t size = 0; size <= sizeof(text); size++) {
		memset(text, '#', sizeof(text));
		words_death(text, size, 1, &d, 0);
		if (size)
			ck_assert_uint_lt(strnlen(text, sizeof(text)), size);
	}
	ck_assert_uint_lt(strlen(text), sizeof(text) - 1);
	ck_assert_ptr_nonnull(strstr(text, ", core dumped"));
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("words");
	TCase *tc = unit_case(suite, "words");

	tcase_add_test(tc, test_durations);
	tcase_add_test(tc, test_numbers);
	tcase_add_test(tc, test_escape);
	tcase_add_test(tc, test_escape_never_splits);
	tcase_add_test(tc, test_small_helpers);
	tc = unit_case(suite, "death");
	tcase_add_test(tc, test_exits);
	tcase_add_test(tc, test_killed_by_a_user);
	tcase_add_test(tc, test_killed_by_the_kernel);
	tcase_add_test(tc, test_warned);
	tcase_add_test(tc, test_death_fits);
	return suite;
}
