/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * inherited.c - finds and closes descriptors that were there before us; see inherited.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "inherited.h"

#define MANY_FDS 65536 /* what is looked at one by one where /proc does not tell */

static int add(struct inherited *inherited, int fd)
{
	int *grown;

	if (fd <= STDERR_FILENO)
		return 0;
	/* At each power of two it is full. */
	if ((inherited->count & (inherited->count - 1)) == 0) {
		grown = reallocarray(inherited->fds, inherited->count ? 2 * inherited->count : 1,
				     sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		inherited->fds = grown;
	}
	inherited->fds[inherited->count++] = fd;
	return 0;
}

int inherited_find(struct inherited *ret)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int r = 0;

	*ret = (struct inherited){ 0 };
	while (r == 0 && dir && (entry = readdir(dir)) != NULL) {
		int fd = (int)strtol(entry->d_name, NULL, 10);

		if (fd != dirfd(dir))
			r = add(ret, fd);
	}
	for (int fd = 0; r == 0 && !dir && fd < MANY_FDS; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			r = add(ret, fd);
	}
	if (dir)
		closedir(dir);
	if (r < 0)
		inherited_free(ret);
	return r;
}

void inherited_close(const struct inherited *inherited)
{
	for (size_t i = 0; i < inherited->count; i++)
		close(inherited->fds[i]);
}

void inherited_free(struct inherited *inherited)
{
	free(inherited->fds);
	*inherited = (struct inherited){ 0 };
}
