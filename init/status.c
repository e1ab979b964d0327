/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * status.c - the status file: JSON that is written beside its place and renamed there, so that
 * nobody reads half of it. It owns the name of that place, and the descriptor where there is one: a
 * FIFO or a device is never replaced, but opened before the command starts, and written to.
 *
 * Beside its place a file is made twice: at the start, to see that it can be, and at the end. So an
 * init that is killed leaves none behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h> /* rename(2) */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

#define MOST_LINKS 40 /* as the kernel has it */

static int complain_of(const struct init *init, int error)
{
	init_say("--status-file: cannot write '", init->options->status_file,
		 "': ", error == EPIPE ? "nobody reads from it" : strerror(error));
	return -error;
}

/* A link is replaced by what it says, in place. 0; 1: it was no link; or -errno. */
static int follow(char path[PATH_MAX])
{
	char target[PATH_MAX], *name = strrchr(path, '/');
	ssize_t n = readlink(path, target, sizeof(target));
	size_t folder = 0;

	if (n < 0)
		return errno == EINVAL || errno == ENOENT ? 1 : -errno;
	if (n > 0 && target[0] != '/' && name)
		folder = (size_t)(name + 1 - path);
	if (folder + (size_t)n >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path + folder, target, (size_t)n);
	path[folder + (size_t)n] = '\0';
	return 0;
}

/* What is to be replaced is the file, not a link to it. It need not be there yet. */
static int find_place(struct init *init)
{
	size_t length = strlen(init->options->status_file);
	char path[PATH_MAX];
	int r = 0;

	if (!length)
		return -ENOENT;
	if (length >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, init->options->status_file, length + 1);
	for (int i = 0; i < MOST_LINKS && r == 0; i++)
		r = follow(path);
	if (r <= 0)
		return r < 0 ? r : -ELOOP;
	init->status_place = strdup(path);
	return init->status_place ? 0 : -ENOMEM;
}

/* Its name, to be freed; NULL: none was made (errno). */
static char *make_beside(const struct init *init, int *ret_fd)
{
	static const char suffix[] = ".XXXXXX";
	size_t len = strlen(init->status_place);
	char *path = malloc(len + sizeof(suffix));

	if (!path)
		return NULL;
	memcpy(path, init->status_place, len);
	memcpy(path + len, suffix, sizeof(suffix));
	*ret_fd = mkostemp(path, O_CLOEXEC);
	if (*ret_fd < 0) {
		int error = errno;

		free(path);
		errno = error;
		return NULL;
	}
	return path;
}

static int try_place(struct init *init)
{
	int fd = -1, r = find_place(init);
	char *path;

	if (r < 0)
		return r;
	path = make_beside(init, &fd);
	if (!path)
		return -errno;
	close(fd);
	unlink(path);
	free(path);
	return 0;
}

/* Of our own three the one that leads there, to be written to: --status-file=/dev/stderr. */
static int standard_fd(const struct stat *file)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		int flags = fcntl(fd, F_GETFL);
		struct stat st;

		if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && fstat(fd, &st) == 0 &&
		    st.st_dev == file->st_dev && st.st_ino == file->st_ino)
			return fd;
	}
	return -1;
}

/* Without waiting for a reader, then or at the end. */
static int open_target(const char *file, const struct stat *st)
{
	int fd = standard_fd(st);

	if (fd >= 0)
		fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	else if (S_ISDIR(st->st_mode))
		return -EISDIR;
	else if (S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode))
		fd = open(file, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	else
		return -ENOTSUP; /* a disk, a socket */
	if (fd < 0)
		return S_ISFIFO(st->st_mode) && errno == ENXIO ? -EPIPE : -errno;
	return fd;
}

int status_open(struct init *init)
{
	const char *file = init->options->status_file;
	struct stat st;
	int r;

	if (!file)
		return 0;
	if (stat(file, &st) < 0)
		r = errno == ENOENT ? try_place(init) : -errno;
	else if (S_ISREG(st.st_mode) && standard_fd(&st) < 0)
		r = try_place(init);
	else
		r = init->status_fd = open_target(file, &st);
	return r < 0 ? complain_of(init, -r) : 0;
}

static void put_number(struct init_line *line, const char *name, uint64_t value)
{
	line_text(line, name);
	line_number(line, value);
}

static void put_command(struct init_line *line, const struct init *init)
{
	put_number(line, "{\n \"version\": 1,\n \"pid\": ", (uint64_t)init->root);
	if (WIFEXITED(init->status)) {
		put_number(line, ",\n \"exit_code\": ", (uint64_t)WEXITSTATUS(init->status));
		line_text(line, ",\n \"signal\": null");
	} else {
		line_text(line, ",\n \"exit_code\": null");
		put_number(line, ",\n \"signal\": ", (uint64_t)WTERMSIG(init->status));
	}
	line_text(line, ",\n \"core_dumped\": ");
	line_text(line, WCOREDUMP(init->status) ? "true" : "false");
}

static void put_orphans(struct init_line *line, const struct init *init, bool by_kernel)
{
	struct children_stats stats;

	children_get_stats(init->children, &stats);
	line_text(line, ",\n \"reaping\": ");
	line_text(line, by_kernel ? "\"kernel\"" : "\"directed\"");
	/* The kernel does not count. */
	if (by_kernel)
		line_text(line, ",\n \"orphans_reaped\": null");
	else
		put_number(line, ",\n \"orphans_reaped\": ", init->orphans);
	put_number(line, ",\n \"reaped\": {\"directed\": ", stats.directed);
	put_number(line, ", \"peeked\": ", stats.peeked);
	put_number(line, ", \"swept\": ", stats.swept);
	put_number(line, ", \"any\": ", stats.any);
	put_number(line, ", \"peeks\": ", stats.peeks);
	put_number(line, ", \"sweeps\": ", stats.sweeps);
	line_text(line, "}");
}

void status_discard(struct init *init)
{
	if (init->status_fd >= 0)
		close(init->status_fd);
	init->status_fd = -1;
	free(init->status_place);
	init->status_place = NULL;
}

/* At once: who looks sees the old file or the new one. */
static int replace(const struct init *init, struct init_line *line)
{
	int r, fd = -1;
	char *path = make_beside(init, &fd);
	mode_t mask;

	if (!path)
		return -errno;
	mask = umask(0);
	umask(mask);
	fchmod(fd, 0666 & ~mask); /* mkostemp(3) lets nobody else read it */
	r = line_write(line, fd);
	close(fd);
	if (r == 0 && rename(path, init->status_place) < 0)
		r = -errno;
	if (r < 0)
		unlink(path);
	free(path);
	return r;
}

void status_write(struct init *init, int exit_status)
{
	struct init_line line = { .len = 0 };
	int r;

	if (!init->options->status_file)
		return;
	put_command(&line, init);
	put_number(&line, ",\n \"exit_status\": ", (uint64_t)exit_status);
	line_text(&line, ",\n \"wall_seconds\": ");
	line_seconds(&line, init->ended - init->started);
	line_text(&line, ",\n \"own_cpu_seconds\": ");
	line_seconds(&line, init_cpu() - init->cpu);
	put_orphans(&line, init, init->reaped_by_kernel);
	put_number(&line, ",\n \"signals_forwarded\": ", init->forwarded);
	line_text(&line, "\n}\n");
	r = init->status_place ? replace(init, &line) : line_write(&line, init->status_fd);
	if (r < 0)
		complain_of(init, -r);
}
