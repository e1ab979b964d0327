/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * error.c - the explanation of this thread's last failed call: the library never prints, so it
 * leaves here what a program may want to print.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "source/source.h"

static _Thread_local char last_error[1024];

const char *knell_last_error(void)
{
	return last_error;
}

const char *knell_remedy(int error)
{
	switch (error) {
	case -EMFILE:
		return "raise the limit of open files (ulimit -n)";
	case -ENFILE:
		return "the whole machine has no more: raise fs.file-max";
	case -EAGAIN:
		return "raise the limit of processes and threads (ulimit -u; pids.max of the "
		       "cgroup)";
	}
	return NULL;
}

int knell_fail(int error, const char *format, ...)
{
	char text[sizeof(last_error)]; /* an argument may be the last error itself */
	const char *remedy = knell_remedy(error);
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(last_error, sizeof(last_error), "%s", text);
	/* The system's words name the cause alone; who has words of his own says more. */
	if (remedy && strstr(text, strerror(-error)) && !strstr(text, remedy)) {
		size_t length = strlen(text);

		snprintf(last_error + length, sizeof(last_error) - length, "; %s", remedy);
	}
	return error;
}
