/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_file.c - an audit log in a file, or to a FIFO, a pipe or a device by its path. Lines are
 * appended. The path is followed: who renames or removes the file gets a new one, without a signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit_out.h"
#include "clock.h"

/* How long a file is kept whose path cannot be opened, before that is tried again. */
#define RETRY UINT64_C(1000000000)

/* Somebody's last line, which a crash has cut: ours must not become its end. */
static bool ends_in_a_line(const char *path, const struct stat *st)
{
	char last = '\n';
	int fd;

	if (!S_ISREG(st->st_mode) || st->st_size == 0)
		return true;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return true; /* we may append, but not read */
	if (pread(fd, &last, 1, st->st_size - 1) != 1)
		last = '\n';
	close(fd);
	return last == '\n';
}

/*
 * Without a reader a FIFO cannot be opened, and does not block. (Later it never blocks either: a
 * path like /dev/stdout gives us a description of our own, so nobody else sees O_NONBLOCK.)
 */
int audit_file_open(struct audit_out *out)
{
	struct stat st;
	int fd = open(out->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		      0640);
	int r = fd < 0 ? -errno : 0;

	/* A socket gives this, too. */
	if (r == -ENXIO && (stat(out->path, &st) < 0 || !S_ISFIFO(st.st_mode)))
		return -EPROTOTYPE;
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	out->fd = fd;
	out->torn = 0;
	out->regular = S_ISREG(st.st_mode);
	out->mend = !ends_in_a_line(out->path, &st);
	out->kept = false;
	out->fresh = true;
	return 0;
}

/* The path names another file than the one that is open, or none. */
static bool has_moved(const struct audit_out *out)
{
	struct stat here, there;

	if (fstat(out->fd, &here) < 0)
		return false;
	if (stat(out->path, &there) < 0)
		return errno == ENOENT || errno == ENOTDIR;
	return here.st_dev != there.st_dev || here.st_ino != there.st_ino;
}

static bool has_name(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* The old file is kept while the path cannot be opened, unless it has no name any more. */
int audit_file_follow(struct audit_out *out)
{
	int old = out->fd, r;

	if (!has_moved(out) || (out->kept && clock_ns(CLOCK_MONOTONIC) - out->kept_at < RETRY))
		return 0;
	r = audit_file_open(out);
	if (r == 0) {
		close(old);
		return 0;
	}
	if (!has_name(old)) {
		audit_out_close(out);
		return r;
	}
	out->kept = true;
	out->kept_error = r;
	out->kept_at = clock_ns(CLOCK_MONOTONIC);
	return 0;
}

/* Where the last whole line ends. */
static size_t whole_lines(const char *lines, size_t len)
{
	const char *end = memrchr(lines, '\n', len);

	return end ? (size_t)(end - lines) + 1 : 0;
}

static ssize_t write_some(int fd, const char *text, size_t len)
{
	ssize_t n;

	do {
		n = write(fd, text, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == 0 ? -EIO : n;
}

ssize_t audit_file_write(struct audit_out *out, const char *lines, size_t len)
{
	ssize_t n = out->mend ? write_some(out->fd, "\n", 1) : 1;
	size_t whole;

	if (n > 0) {
		out->mend = false;
		n = write_some(out->fd, lines + out->torn, len - out->torn);
	}
	if (n == -EPIPE) { /* the next reader gets whole lines */
		audit_out_close(out);
		return n;
	}
	if (n < 0)
		return n;
	out->torn += (size_t)n;
	whole = whole_lines(lines, out->torn);
	out->torn -= whole;
	return whole ? (ssize_t)whole : -EAGAIN;
}
