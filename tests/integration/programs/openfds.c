/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * openfds - lists the file descriptors that it was started with, "FD TARGET" a line.
 *
 *   openfds [FILE]   writes to stdout, or to FILE if stdout may be closed
 *
 * It asks for each number, so that listing opens nothing that would be listed.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_FD 1024

int main(int argc, char *argv[])
{
	char path[64], target[4096];
	bool open_fds[MAX_FD];
	int fd, out = STDOUT_FILENO;

	for (fd = 0; fd < MAX_FD; fd++)
		open_fds[fd] = fcntl(fd, F_GETFD) >= 0;
	if (argc > 1)
		out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (out < 0)
		return 1;
	for (fd = 0; fd < MAX_FD; fd++) {
		ssize_t len;

		if (!open_fds[fd])
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = readlink(path, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = '\0';
		dprintf(out, "%d %s\n", fd, target);
	}
	return 0;
}
