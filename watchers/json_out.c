/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * json_out.c - the buffer in front of the JSON file; see json_out.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "json_out.h"
#include "out.h"

int json_out_open(struct json_out *out, const char *path)
{
	int fd = STDOUT_FILENO, flags = 0;

	if (!path) {
		out->fd = JSON_OUT_MEMORY;
		return 0;
	}
	out->owns_fd = strcmp(path, "-") != 0;
	if (out->owns_fd)
		fd = out_open(path);
	else
		flags = fcntl(fd, F_GETFL);
	if (fd < 0)
		return fd;
	if (flags < 0)
		return -errno;
	/* As the command fills it, if it was closed: nothing could ever be written. */
	if (!out->owns_fd && (flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	out->fd = fd;
	return 0;
}

/* close(2) is where some file systems tell of a failed write. */
void json_out_close(struct json_out *out)
{
	if (out->owns_fd && close(out->fd) < 0 && errno != EINTR && out->error == 0)
		out->error = -errno;
}

/* A descriptor that somebody made non-blocking is waited for, as a blocking one would be. */
static ssize_t write_some(int fd, const char *buf, size_t len)
{
	for (;;) {
		ssize_t n = write(fd, buf, len);

		if (n >= 0)
			return n;
		if (errno == EAGAIN) {
			struct pollfd p = { .fd = fd, .events = POLLOUT };

			(void)poll(&p, 1, -1);
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

static uint64_t count_lines(const char *buf, size_t len)
{
	const char *end = buf + len;
	uint64_t lines = 0;

	for (const char *p = buf; (p = memchr(p, '\n', (size_t)(end - p))); p++)
		lines++;
	return lines;
}

void json_out_consume(struct json_out *out, size_t n)
{
	if (n == 0)
		return;
	out->lines += count_lines(out->buf, n);
	out->torn = out->buf[n - 1] != '\n';
	memmove(out->buf, out->buf + n, out->len - n);
	out->len -= n;
}

/* There is room for one more line of any length behind it. */
void json_out_last_first(struct json_out *out)
{
	const char *end = out->len > 1 ? memrchr(out->buf, '\n', out->len - 1) : NULL;
	size_t before = end ? (size_t)(end - out->buf) + 1 : 0, len = out->len - before;

	if (before == 0 || len > sizeof(out->buf) - out->len)
		return;
	memmove(out->buf + len, out->buf, out->len);
	memcpy(out->buf, out->buf + out->len, len);
}

/* The rest of a torn line stays, so that it can be finished. */
static void drop(struct json_out *out)
{
	size_t keep = 0;

	if (out->torn && !out->broken)
		keep = (size_t)((char *)memchr(out->buf, '\n', out->len) - out->buf) + 1;
	out->unwritten += count_lines(out->buf + keep, out->len - keep);
	out->len = keep;
}

/* Called between lines only. */
int json_out_flush(struct json_out *out)
{
	size_t done = 0;
	int r = 0;

	if (out->broken)
		drop(out);
	while (done < out->len && r == 0) {
		ssize_t n = write_some(out->fd, out->buf + done, out->len - done);

		if (n > 0)
			done += (size_t)n;
		else
			r = n < 0 ? (int)n : -EIO;
	}
	json_out_consume(out, done);
	if (r < 0) {
		if (out->error == 0)
			out->error = r;
		out->broken = r == -EPIPE || r == -EBADF;
	}
	return r;
}

void json_out_abandon(struct json_out *out)
{
	out->broken = true;
	drop(out);
}

/* After a failed write the buffer fills up to a chunk before anything is dropped. */
int json_out_end_line(struct json_out *out)
{
	int r = 0;

	if (out->fd == JSON_OUT_MEMORY)
		return 0;
	if (out->len >= JSON_OUT_CHUNK)
		r = json_out_flush(out);
	if (r < 0 || out->broken)
		drop(out);
	return r;
}
