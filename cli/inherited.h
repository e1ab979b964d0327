/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * inherited.h - the descriptors that our caller left open for the command that we start. We have no
 * use for them, but while we keep them the other end of a pipe is not told that the command closed
 * it.
 */
#ifndef KNELL_CLI_INHERITED_H
#define KNELL_CLI_INHERITED_H

#include <stddef.h>

struct inherited {
	int *fds; /* without standard input, output and error */
	size_t count;
};

/* Call it before anything is opened. 0, or -ENOMEM: then it has none. */
int inherited_find(struct inherited *ret);

void inherited_close(const struct inherited *inherited);
void inherited_free(struct inherited *inherited);

#endif
