/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * common.c - what several subcommands do alike: write to standard output, read times and reserves
 * from options, wait until a deadline, die of a signal. Owns no state.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli.h"

#define SECOND UINT64_C(1000000000)

/* Longer than anybody waits, and far from the end of 64 bits. */
#define MAX_SECONDS (UINT64_C(100) * 365 * 86400)

int check_stdout(void)
{
	int flags = fcntl(STDOUT_FILENO, F_GETFL);

	if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
		return 0;
	complain("cannot write to standard output: it is closed");
	return -EBADF;
}

int end_stdout(void)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	/* What failed before may have left no errno. */
	if (errno != EBADF || check_stdout() == 0)
		complain("cannot write to standard output: %s", strerror(errno ? errno : EIO));
	return STATUS_FAILED;
}

void complain_of_output(const char *what, const char *path, int error)
{
	if (error == -EBADF && strcmp(path, "-") == 0)
		complain("cannot write %s to standard output: it is closed", what);
	else if (error == -ENXIO)
		complain("cannot write %s to '%s': nobody reads from it; if it is a FIFO start its "
			 "reader first",
			 what, path);
	else
		complain("cannot write %s to '%s': %s", what, path, strerror(-error));
}

static uint64_t unit_seconds(const char *unit)
{
	static const struct {
		const char *name;
		uint32_t seconds;
	} units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i].name) == 0)
			return units[i].seconds;
	}
	return 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * "12.5" at `text`, in ns; returns what follows it, `text` if no digit is there. By hand: strtod(3)
 * takes the decimal point of the locale, and hexadecimal, and "inf".
 */
static const char *decimal(const char *text, uint64_t *ret)
{
	uint64_t whole = 0, ns = 0;
	const char *p = text;

	for (; is_digit(*p); p++)
		whole = whole <= MAX_SECONDS ? whole * 10 + (uint64_t)(*p - '0') : whole;
	if (*p == '.' && (p > text || is_digit(p[1]))) {
		uint64_t digit = SECOND / 10;

		for (p++; is_digit(*p); p++, digit /= 10)
			ns += digit * (uint64_t)(*p - '0');
	}
	*ret = whole > MAX_SECONDS ? UINT64_MAX : whole * SECOND + ns;
	return p;
}

int parse_duration(const char *option, const char *text, uint64_t *ret)
{
	uint64_t value, unit;
	const char *end = decimal(text, &value);

	unit = unit_seconds(end);
	if (end == text || !unit) {
		complain("--%s: '%s' is not a time such as 90, 1.5, 90s, 5m, 2h or 1d", option,
			 text);
		return -EINVAL;
	}
	if (value > MAX_SECONDS * SECOND / unit) {
		complain("--%s: '%s' is more than a hundred years; leave it out to wait forever",
			 option, text);
		return -EINVAL;
	}
	*ret = value * unit;
	return 0;
}

int parse_reserve(const char *text, uint32_t *ret)
{
	return parse_number("--reserve", text, 1, MAX_RESERVE, ret);
}

int poll_until(uint64_t deadline)
{
	uint64_t now, ms;

	if (!deadline)
		return -1;
	now = monotonic_now();
	ms = deadline > now ? (deadline - now + 999999) / 1000000 : 0;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

void die_of(int signo)
{
	struct rlimit no_core = { 0, 0 };
	sigset_t set;

	setrlimit(RLIMIT_CORE, &no_core); /* whoever died has left one, if one was wanted */
	signal(signo, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(signo);
}
