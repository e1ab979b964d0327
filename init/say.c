/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * say.c - messages, numbers and clocks for the init: lines are put together by hand and written at
 * once, because stdio would be most of a static program. It owns nothing.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

void line_text(struct init_line *line, const char *text)
{
	size_t len = strlen(text);

	if (len > sizeof(line->text) - line->len)
		len = sizeof(line->text) - line->len;
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

static void line_digits(struct init_line *line, uint64_t value, unsigned int width)
{
	char digits[24], *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value || digits + sizeof(digits) - 1 - p < (ptrdiff_t)width);
	line_text(line, p);
}

void line_number(struct init_line *line, uint64_t value)
{
	line_digits(line, value, 1);
}

void line_seconds(struct init_line *line, uint64_t ns)
{
	line_digits(line, ns / 1000000000u, 1);
	line_text(line, ".");
	line_digits(line, ns % 1000000000u, 9);
}

void line_signal(struct init_line *line, int signo)
{
	const char *name = signals_name(signo);

	if (name) {
		line_text(line, "SIG");
		line_text(line, name);
		return;
	}
	line_text(line, "signal ");
	line_number(line, (uint64_t)signo);
}

void line_status(struct init_line *line, int status)
{
	if (WIFEXITED(status)) {
		line_text(line, "exited ");
		line_number(line, (uint64_t)WEXITSTATUS(status));
		return;
	}
	line_text(line, "killed by ");
	line_signal(line, WTERMSIG(status));
	if (WCOREDUMP(status))
		line_text(line, ", core dumped");
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int line_write(struct init_line *line, int fd)
{
	int r = write_all(fd, line->text, line->len);

	line->len = 0;
	return r;
}

int init_print(const char *text, size_t len)
{
	int r = write_all(STDOUT_FILENO, text, len);

	if (r < 0)
		init_say("cannot write to standard output: ",
			 r == -EBADF ? "it is closed" : strerror(-r));
	return r;
}

void init_say_all(const char *const texts[])
{
	struct init_line line = { .len = 0 };

	line_text(&line, "knell init: ");
	while (*texts)
		line_text(&line, *texts++);
	if (line.len == sizeof(line.text))
		line.len--;
	line_text(&line, "\n");
	line_write(&line, STDERR_FILENO); /* there is nobody left to tell if it fails */
}

bool init_number(const char *text, uint32_t max, uint32_t *ret)
{
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9' && value <= max; p++)
		value = value * 10 + (uint64_t)(*p - '0');
	if (*p || p == text || value > max)
		return false;
	*ret = (uint32_t)value;
	return true;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t = { 0 };

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t init_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t init_cpu(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}
