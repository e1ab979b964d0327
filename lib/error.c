/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * error.c - the explanation of this thread's last failed call: the library never prints, so it
 * leaves here what a program may want to print.
 */
#include <stdarg.h>
#include <stdio.h>

#include "source/source.h"

static _Thread_local char last_error[1024];

const char *knell_last_error(void)
{
	return last_error;
}

int knell_fail(int error, const char *format, ...)
{
	char text[sizeof(last_error)]; /* an argument may be the last error itself */
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(last_error, sizeof(last_error), "%s", text);
	return error;
}
