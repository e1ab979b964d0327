/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_why_time.c - times as people write them. Now is 2026-11-20 12:00:00.5 UTC.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "test_why.h"

#define HALF (WHY_SECOND / 2)

static uint64_t now(void)
{
	return at_ns(12 * 3600) + HALF;
}

static void expect_time(const char *text, uint64_t wanted)
{
	uint64_t is = 0;

	ck_assert_msg(why_parse_time(text, now(), &is), "'%s' is a time", text);
	ck_assert_msg(is == wanted, "'%s' is %" PRIu64 ", not %" PRIu64, text, is, wanted);
}

START_TEST(absolute_times)
{
	expect_time("2026-11-20 10:00", at_ns(36000));
	expect_time("2026-11-20 10:00:07", at_ns(36007));
	expect_time("2026-11-20 10:00:07.5", at_ns(36007) + HALF);
	expect_time("2026-11-20T10:00:07", at_ns(36007));
	expect_time("2026-11-20", at_ns(0));
	expect_time("10:00", at_ns(36000));
	expect_time("00:00:01", at_ns(1));
	expect_time("today", at_ns(0));
	expect_time("today 10:00", at_ns(36000));
	expect_time("yesterday", at_ns(0) - 86400 * WHY_SECOND);
	expect_time("Yesterday 23:59", at_ns(0) - 60 * WHY_SECOND);
	expect_time("tomorrow", at_ns(86400));
	expect_time("now", now());
	expect_time("@1795132800", at_ns(0));
	expect_time("@1795132800.5", at_ns(0) + HALF);
	expect_time("2026-11-20T10:00:00.000000001Z", at_ns(36000) + 1);
	expect_time("2026-11-20T10:00:00+01:00", at_ns(32400));
}
END_TEST

START_TEST(relative_times)
{
	expect_time("-2h", now() - 7200 * WHY_SECOND);
	expect_time("- 2 hours", now() - 7200 * WHY_SECOND);
	expect_time("10 min ago", now() - 600 * WHY_SECOND);
	expect_time("10min ago", now() - 600 * WHY_SECOND);
	expect_time("1 day 3 hours ago", now() - 97200 * WHY_SECOND);
	expect_time("-1.5h", now() - 5400 * WHY_SECOND);
	expect_time("-1h30m", now() - 5400 * WHY_SECOND);
	expect_time("-1w", now() - 604800 * WHY_SECOND);
	expect_time("+5s", now() + 5 * WHY_SECOND);
}
END_TEST

/* Local time is meant, and summer time is known. */
START_TEST(local_times)
{
	setenv("TZ", "Europe/Berlin", 1);
	tzset();
	if (!localtime(&(time_t){ 0 })->tm_gmtoff)
		setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	expect_time("10:00", at_ns(32400));
	expect_time("2026-07-01 10:00", UINT64_C(1782892800) * WHY_SECOND);
}
END_TEST

START_TEST(no_times)
{
	static const char *const texts[] = {
		"",
		"soon",
		"2h",
		"10",
		"-2",
		"-2x",
		"25:00",
		"10:60",
		"2026-13-01",
		"2026-11-20 10",
		"10:00 noon",
		"@",
		"@12x",
		"ago",
		"2 hours before",
		"todayish",
		"2026-11-20x",
		"-99999999999999h",
		"-900000000h",
		"10:00:00:00",
	};
	uint64_t ns;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_msg(!why_parse_time(texts[i], now(), &ns), "'%s' is none", texts[i]);
}
END_TEST

void add_time_tests(TCase *tcase)
{
	tcase_add_test(tcase, absolute_times);
	tcase_add_test(tcase, relative_times);
	tcase_add_test(tcase, local_times);
	tcase_add_test(tcase, no_times);
}
