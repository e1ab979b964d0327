/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * out.c - opens a file that somebody named for output; see out.h. It owns nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "out.h"

#define PATIENCE_MS 3000 /* for a reader that is started beside us */
#define LOOK_MS     10

/* Only a FIFO gets a reader later: a socket, or a device without a driver, says ENXIO, too. */
static int is_fifo(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

int out_open(const char *path)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };
	int fd, flags;

	for (int waited = 0;; waited += LOOK_MS) {
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
			  0666);
		if (fd >= 0)
			break;
		if (errno != ENXIO || waited >= PATIENCE_MS || !is_fifo(path))
			return -errno;
		if (nanosleep(&pause, NULL) < 0)
			return -errno;
	}
	/* Only the opening was not to block. */
	flags = fcntl(fd, F_GETFL);
	if (flags >= 0)
		fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	return fd;
}
