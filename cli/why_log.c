/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_log.c - the log's files: finds those that rotation renamed, opens all of them before any is
 * read, so that a rotation meanwhile takes nothing away, and gives their lines to why_hear(). zlib
 * reads compressed files and others alike.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "cli.h"
#include "why.h"

/* Longer than any line: see JSON_OUT_LINE_MAX. What is longer is damage. */
#define CHUNK (1u << 20)

const char *why_usual_log(void)
{
	const char *name = getenv("KNELL_AUDIT_LOG");

	return name && *name ? name : WHY_LOG;
}

static int add_file(struct why_files *files, const char *name, int fd, bool owned)
{
	struct why_file *grown = reallocarray(files->at, files->count + 1ul, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	files->at = grown;
	files->at[files->count++] = (struct why_file){ name, fd, owned };
	return 0;
}

static bool is_open_already(const struct why_files *files, int fd)
{
	struct stat st, other;

	if (fstat(fd, &st) < 0)
		return false;
	for (uint32_t i = 0; i < files->count; i++) {
		if (fstat(files->at[i].fd, &other) == 0 && other.st_ino == st.st_ino &&
		    other.st_dev == st.st_dev)
			return true;
	}
	return false;
}

/* A FIFO that nobody writes is no log; it is opened as it is, and waited for. */
static int open_log(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(fd);
		errno = EISDIR;
		return -1;
	}
	return fd;
}

static int open_named(struct why_files *files, const char *name)
{
	int fd = strcmp(name, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open_log(name);
	int error = -errno;

	if (fd < 0) {
		complain("cannot read the log '%s': %s", name, strerror(-error));
		return error;
	}
	error = add_file(files, name, fd, false);
	if (error < 0)
		close(fd);
	return error;
}

/* ---- what rotation left ---- */

/*
 * "audit.jsonl.2.gz" is number 2 of audit.jsonl; logrotate's dateext makes "audit.jsonl-20261120".
 * 0: neither. The larger number is the older one, but the larger date is the younger.
 */
static int64_t age_of(const char *name, const char *base)
{
	size_t len = strlen(base), digits = 0;
	int64_t number = 0;
	const char *p;

	if (strncmp(name, base, len) != 0 || (name[len] != '.' && name[len] != '-'))
		return 0;
	for (p = name + len + 1; isdigit((unsigned char)*p) && digits < 15; p++, digits++)
		number = number * 10 + (*p - '0');
	if (!digits || (*p && strcmp(p, ".gz") != 0))
		return 0;
	return name[len] == '.' ? number : INT64_MAX - number;
}

struct rotated {
	char *name;
	int64_t age;
};

static int oldest_first(const void *a, const void *b)
{
	const struct rotated *x = a, *y = b;

	return x->age > y->age ? -1 : x->age < y->age;
}

/* Their number, or -errno. A folder that cannot be read has none. */
static int find_rotated(const char *log, struct rotated **ret)
{
	const char *slash = strrchr(log, '/'), *base = slash ? slash + 1 : log;
	char *folder = slash ? strndup(log, (size_t)(slash - log) + 1) : strdup("./");
	struct rotated *found = NULL;
	struct dirent *entry;
	int count = 0;
	DIR *dir;

	if (!folder)
		return -ENOMEM;
	dir = opendir(folder);
	while (dir && (entry = readdir(dir))) {
		int64_t age = age_of(entry->d_name, base);
		struct rotated *grown;

		if (!age)
			continue;
		grown = reallocarray(found, (size_t)count + 1, sizeof(*grown));
		if (!grown)
			break;
		found = grown;
		found[count].age = age;
		if (asprintf(&found[count].name, "%s%s", folder, entry->d_name) < 0)
			break;
		count++;
	}
	if (dir)
		closedir(dir);
	free(folder);
	if (count)
		qsort(found, (size_t)count, sizeof(*found), oldest_first);
	*ret = found;
	return count;
}

/* A file that was removed meanwhile was the oldest; one that is there twice was just renamed. */
static int open_rotated(struct why_files *files, struct rotated *rotated, int count)
{
	int error = 0;

	for (int i = 0; i < count; i++) {
		int fd = error < 0 ? -1 : open_log(rotated[i].name);

		if (fd >= 0 && !is_open_already(files, fd))
			error = add_file(files, rotated[i].name, fd, true);
		else if (fd >= 0)
			close(fd);
		if (fd >= 0 && files->count && files->at[files->count - 1].fd == fd)
			continue;
		if (fd < 0 && error == 0 && errno != ENOENT) {
			error = -errno;
			complain("cannot read the log '%s': %s", rotated[i].name, strerror(errno));
		}
		free(rotated[i].name);
	}
	return error;
}

/* The log first, which may be renamed at any moment; but it is read last. */
static int open_usual(struct why_files *files)
{
	const char *log = why_usual_log();
	struct rotated *rotated = NULL;
	struct why_file newest;
	int count, error, fd = open_log(log);

	if (fd < 0 && errno != ENOENT) {
		error = -errno;
		complain("cannot read the log '%s': %s; be root, or name another with --log", log,
			 strerror(errno));
		return error;
	}
	if (fd >= 0 && add_file(files, log, fd, false) < 0) {
		close(fd);
		return -ENOMEM;
	}
	count = find_rotated(log, &rotated);
	error = count < 0 ? count : open_rotated(files, rotated, count);
	free(rotated);
	if (error < 0)
		return error;
	if (fd >= 0) {
		newest = files->at[0];
		memmove(files->at, files->at + 1, (files->count - 1) * sizeof(newest));
		files->at[files->count - 1] = newest;
	}
	return files->count ? 0 : -ENOENT;
}

int why_files_open(struct why_files *files, const char *const names[], uint32_t count)
{
	int error = count ? 0 : open_usual(files);

	for (uint32_t i = 0; i < count && error == 0; i++)
		error = open_named(files, names[i]);
	if (error < 0)
		why_files_close(files);
	return error;
}

void why_files_close(struct why_files *files)
{
	for (uint32_t i = 0; i < files->count; i++) {
		if (files->at[i].fd >= 0)
			close(files->at[i].fd);
		if (files->at[i].owned)
			free((char *)files->at[i].name);
	}
	free(files->at);
	*files = (struct why_files){ 0 };
}

/* ---- lines ---- */

struct feed {
	struct why *why;
	struct json_reader *reader;
	char *buf;
	size_t len;
	bool passing; /* the rest of a line that is too long */
};

static int take_line(struct feed *feed, const char *text, size_t len)
{
	const struct json_line *line;
	int error;

	feed->why->bytes += len + 1;
	if (feed->passing || len == 0) {
		feed->passing = false;
		return 0;
	}
	error = json_read_line(feed->reader, text, len, &line);
	if (error == -EBADMSG) {
		feed->why->damaged++;
		return 0;
	}
	return error < 0 ? error : why_hear(feed->why, line);
}

/* All whole lines of the buffer; the rest goes to its front. */
static int take_lines(struct feed *feed)
{
	const char *p = feed->buf, *end = feed->buf + feed->len, *newline;
	int error = 0;

	while (error == 0 && (newline = memchr(p, '\n', (size_t)(end - p)))) {
		error = take_line(feed, p, (size_t)(newline - p));
		p = newline + 1;
	}
	feed->len = (size_t)(end - p);
	memmove(feed->buf, p, feed->len);
	if (feed->len == CHUNK) {
		feed->why->damaged += !feed->passing;
		feed->passing = true;
		feed->len = 0;
	}
	return error;
}

/*
 * A last line without an end: its writer is about to finish it, or could not any more. It counts if
 * it is whole but for the newline; torn, it is damage only where nobody can finish it.
 */
static int take_rest(struct feed *feed, bool last)
{
	uint64_t damaged = feed->why->damaged;
	int error = take_line(feed, feed->buf, feed->len);

	if (last)
		feed->why->damaged = damaged;
	feed->len = 0;
	return error;
}

static int read_file(struct feed *feed, struct why_file *file, bool last)
{
	gzFile gz = gzdopen(file->fd, "rb");
	int error = 0, n = 0, code;

	if (!gz)
		return -ENOMEM;
	file->fd = -1; /* it is closed with gz */
	gzbuffer(gz, 256u << 10);
	while (error == 0 && (n = gzread(gz, feed->buf + feed->len, CHUNK - feed->len)) > 0) {
		feed->len += (size_t)n;
		error = take_lines(feed);
	}
	if (n < 0) {
		const char *what = gzerror(gz, &code);

		complain("cannot read the log '%s' to its end: %s", file->name,
			 code == Z_ERRNO ? strerror(errno) : what);
		if (code == Z_ERRNO)
			error = errno ? -errno : -EIO;
		else
			feed->why->damaged++;
	}
	if (error == 0 && feed->len)
		error = take_rest(feed, last);
	feed->passing = false;
	feed->len = 0;
	gzclose(gz);
	return error;
}

int why_files_read(struct why_files *files, struct why *why)
{
	struct feed feed = { .why = why, .buf = malloc(CHUNK) };
	int error = feed.buf ? json_reader_new(&feed.reader) : -ENOMEM;

	for (uint32_t i = 0; i < files->count && error == 0; i++)
		error = read_file(&feed, &files->at[i], i + 1 == files->count);
	if (error == -ENOMEM)
		complain("not enough memory to read the log; --since does not help, fewer logs do");
	json_reader_free(feed.reader);
	free(feed.buf);
	return error;
}
