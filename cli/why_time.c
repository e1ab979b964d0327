/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_time.c - times as people write them, in the forms that journalctl(1) takes: absolute ones in
 * local time, and those that start from now. Owns no state.
 */
#include <ctype.h>
#include <string.h>
#include <time.h>

#include "watchers/clock.h"
#include "why.h"

/* More than since 1970, and twice of it fits 64 bits of ns. */
#define MAX_SECONDS UINT64_C(5000000000)

uint64_t why_now(void)
{
	return clock_ns(CLOCK_REALTIME);
}

uint64_t why_boot_time(void)
{
	return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
}

/* A number and what follows it; false: there is none, or it is too large for any time. */
static bool number(const char **at, uint64_t *ret)
{
	uint64_t value = 0;
	const char *p = *at;

	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		value = value * 10 + (uint64_t)(*p - '0');
		if (value > UINT64_C(100000000000))
			return false;
	}
	*at = p;
	*ret = value;
	return true;
}

/* ".345" after seconds; nothing there is 0. */
static uint64_t fraction(const char **at)
{
	uint64_t unit = WHY_SECOND / 10, ns = 0;
	const char *p = *at;

	if (*p != '.' || !isdigit((unsigned char)p[1]))
		return 0;
	for (p++; isdigit((unsigned char)*p); p++, unit /= 10)
		ns += unit * (uint64_t)(*p - '0');
	*at = p;
	return ns;
}

static void pass_blanks(const char **at)
{
	while (**at == ' ' || **at == '\t')
		(*at)++;
}

static bool word(const char **at, const char *name)
{
	size_t len = strlen(name);

	if (strncasecmp(*at, name, len) != 0 || isalpha((unsigned char)(*at)[len]))
		return false;
	*at += len;
	return true;
}

/* ---- "2h", "10 min", "1 day 3 hours" ---- */

static bool unit(const char **at, uint64_t *ret_seconds)
{
	static const struct {
		const char *name;
		uint32_t seconds;
	} units[] = {
		{ "seconds", 1 },   { "second", 1 },  { "sec", 1 },   { "s", 1 },
		{ "minutes", 60 },  { "minute", 60 }, { "min", 60 },  { "m", 60 },
		{ "hours", 3600 },  { "hour", 3600 }, { "hr", 3600 }, { "h", 3600 },
		{ "days", 86400 },  { "day", 86400 }, { "d", 86400 }, { "weeks", 604800 },
		{ "week", 604800 }, { "w", 604800 },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (word(at, units[i].name)) {
			*ret_seconds = units[i].seconds;
			return true;
		}
	}
	return false;
}

static bool span(const char **at, uint64_t *ret)
{
	uint64_t sum = 0, value, seconds;
	const char *p = *at;

	do {
		uint64_t ns;

		if (!number(&p, &value))
			return false;
		ns = fraction(&p);
		pass_blanks(&p);
		if (!unit(&p, &seconds) || value > MAX_SECONDS / seconds ||
		    sum > MAX_SECONDS * WHY_SECOND)
			return false;
		sum += value * seconds * WHY_SECOND + ns * seconds;
		pass_blanks(&p);
	} while (isdigit((unsigned char)*p));
	*at = p;
	*ret = sum;
	return true;
}

/* "-2h", "+5min", "10 min ago" */
static bool relative(const char *p, uint64_t now, uint64_t *ret)
{
	bool later = *p == '+', earlier = *p == '-';
	uint64_t ns;

	p += later || earlier;
	pass_blanks(&p);
	if (!span(&p, &ns))
		return false;
	if (!later && !earlier && !word(&p, "ago"))
		return false;
	if (*p || (!later && ns > now))
		return false;
	*ret = later ? now + ns : now - ns;
	return true;
}

/* ---- absolute ones ---- */

/* "10:00", "10:00:05.25" */
static bool time_of_day(const char **at, struct tm *tm, uint64_t *ret_ns)
{
	uint64_t hour, minute, second = 0;
	const char *p = *at;

	*ret_ns = 0;
	if (!number(&p, &hour) || *p++ != ':' || !number(&p, &minute))
		return false;
	if (*p == ':') {
		p++;
		if (!number(&p, &second))
			return false;
		*ret_ns = fraction(&p);
	}
	if (hour > 24 || minute > 59 || second > 60)
		return false;
	tm->tm_hour = (int)hour;
	tm->tm_min = (int)minute;
	tm->tm_sec = (int)second;
	*at = p;
	return true;
}

/* "2026-11-20" */
static bool date(const char **at, struct tm *tm)
{
	uint64_t year, month, day;
	const char *p = *at;

	if (!number(&p, &year) || *p++ != '-' || !number(&p, &month) || *p++ != '-' ||
	    !number(&p, &day))
		return false;
	if (year < 1970 || year > 2500 || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	tm->tm_year = (int)year - 1900;
	tm->tm_mon = (int)month - 1;
	tm->tm_mday = (int)day;
	*at = p;
	return true;
}

/* Midnight of that day, if no time of day follows. */
static bool day(const char **at, struct tm *tm)
{
	int days = 0;

	if (word(at, "yesterday"))
		days = -1;
	else if (word(at, "tomorrow"))
		days = 1;
	else if (!word(at, "today"))
		return date(at, tm);
	tm->tm_mday += days;
	return true;
}

static bool absolute(const char *p, uint64_t now, uint64_t *ret)
{
	time_t second = (time_t)(now / WHY_SECOND);
	struct tm tm;
	uint64_t ns = 0;

	localtime_r(&second, &tm);
	tm.tm_isdst = -1;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	if (day(&p, &tm)) {
		if (*p == 'T')
			p++;
		pass_blanks(&p);
		if (*p && !time_of_day(&p, &tm, &ns))
			return false;
	} else if (!time_of_day(&p, &tm, &ns)) {
		return false;
	}
	pass_blanks(&p);
	second = mktime(&tm);
	if (*p || second < 0)
		return false;
	*ret = (uint64_t)second * WHY_SECOND + ns;
	return true;
}

bool why_parse_time(const char *text, uint64_t now, uint64_t *ret)
{
	const char *p = text;
	__u64 stamp;

	pass_blanks(&p);
	if (*p == '@') {
		uint64_t second, ns;

		p++;
		if (!number(&p, &second) || second > UINT64_MAX / WHY_SECOND - 1)
			return false;
		ns = fraction(&p);
		*ret = second * WHY_SECOND + ns;
		return !*p;
	}
	if (word(&p, "now")) {
		*ret = now;
		return !*p;
	}
	if (json_read_time(p, strlen(p), &stamp)) {
		*ret = stamp;
		return true;
	}
	return relative(p, now, ret) || absolute(p, now, ret);
}
