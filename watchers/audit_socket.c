/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_socket.c - an audit log to syslog, as syslog(3) sends it (RFC 3164), or to the journal, by
 * its native protocol: a datagram for each line, which is sent or not, and never waits. By hand:
 * the calls that libc and libsystemd have for it block while the daemon does not read.
 */
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "audit_out.h"

/* More than the longest line; the kernel gives as much of it as it allows everybody. */
#define SEND_BUFFER (8 << 20)

int audit_socket_open(struct audit_out *out)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, r, size = SEND_BUFFER;

	if (strlen(out->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, out->path, strlen(out->path));
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	out->fd = fd;
	return 0;
}

struct head {
	char text[512];
	size_t len;
};

static void print(struct head *head, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct head *head, const char *format, ...)
{
	size_t room = sizeof(head->text) - head->len;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(head->text + head->len, room, format, args);
	va_end(args);
	if (n > 0)
		head->len += (size_t)n < room ? (size_t)n : room - 1;
}

/* "<30>Jan 31 12:34:56 knell[123]: ", the month in English whatever the locale is. */
static void syslog_head(struct head *head, const struct audit_note *note)
{
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t now = time(NULL);
	struct tm tm = { 0 };

	localtime_r(&now, &tm);
	print(head,
	      "<%u>%s %2d %02d:%02d:%02d knell[%d]: ", (unsigned int)LOG_DAEMON | note->priority,
	      months[tm.tm_mon % 12], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, getpid());
}

/* A field of any bytes: its name, its length in 64 bits, little endian, and its value. */
static void journal_bytes(struct head *head, const char *name, const char *value, size_t len)
{
	uint64_t size = htole64(len);

	print(head, "%s\n", name);
	if (sizeof(head->text) - head->len < sizeof(size) + len + 1)
		return; /* it cannot be: all that is here is short */
	memcpy(head->text + head->len, &size, sizeof(size));
	memcpy(head->text + head->len + sizeof(size), value, len);
	head->len += sizeof(size) + len;
	head->text[head->len++] = '\n';
}

/* The line itself is the message, and comes last: JSON has no newline in it. */
static void journal_head(struct head *head, const struct audit_note *note)
{
	print(head, "PRIORITY=%u\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=knell\nKNELL_EVENT=%s\n",
	      note->priority, note->event);
	if (note->pid)
		print(head, "KNELL_PID=%u\n", note->pid);
	if (note->signal)
		print(head, "KNELL_SIGNAL=%u\n", note->signal);
	if (note->comm[0])
		journal_bytes(head, "KNELL_COMM", note->comm, strnlen(note->comm, KNELL_COMM_LEN));
	print(head, "MESSAGE=");
}

/* Who has to connect again: the daemon was restarted. */
static bool is_gone(int error)
{
	return error == ECONNREFUSED || error == ENOTCONN || error == ECONNRESET ||
	       error == EPIPE || error == ENOENT;
}

ssize_t audit_socket_write(struct audit_out *out, const char *line, size_t len,
			   const struct audit_note *note)
{
	bool journal = out->kind == AUDIT_JOURNAL;
	struct head head = { .len = 0 };
	struct iovec parts[] = {
		{ .iov_base = head.text },
		{ .iov_base = (char *)line, .iov_len = journal ? len : len - 1 },
	};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t n;
	int error;

	if (journal)
		journal_head(&head, note);
	else
		syslog_head(&head, note);
	parts[0].iov_len = head.len;
	do {
		n = sendmsg(out->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (ssize_t)len;
	error = errno;
	if (is_gone(error))
		audit_out_close(out);
	return -error;
}
