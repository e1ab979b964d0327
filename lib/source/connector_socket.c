/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_socket.c - the netlink socket of the process events connector: opening it, asking the
 * kernel to talk and making sure that it does, reading many datagrams at once, and saying in plain
 * words why it is refused. Owns the socket and the room for datagrams.
 *
 * A kernel that does not want us just says nothing: in another user or pid namespace, and (before
 * 6.6) without CAP_NET_ADMIN while nobody else listens. So opening asks and wants an answer, then
 * provokes an event and wants to see it, under our own number.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/connector.h>
#include <linux/netlink.h>

#include "connector_socket.h"
#include "source.h"

#define DATAGRAMS     128
#define DATAGRAM_SIZE 192 /* they have 76 bytes */
#define ATTEMPTS      20

/* Inode numbers of the initial namespaces: include/linux/proc_ns.h. */
#define INIT_USER_INO 0xEFFFFFFDu
#define INIT_PID_INO  0xEFFFFFFCu

struct cn_batch {
	struct mmsghdr headers[DATAGRAMS];
	struct iovec vectors[DATAGRAMS];
	struct sockaddr_nl senders[DATAGRAMS];
	unsigned char data[DATAGRAMS][DATAGRAM_SIZE];
};

/* struct proc_input of newer headers. */
struct input {
	uint32_t op;
	uint32_t kinds;
};

/* `kinds` 0: the short form, which older kernels understand. */
static int ask(int fd, uint32_t op, uint32_t kinds, uint32_t token)
{
	struct {
		struct nlmsghdr head;
		unsigned char payload[sizeof(struct cn_msg) + sizeof(struct input)];
	} request = { 0 };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct input input = { .op = op, .kinds = kinds };
	struct cn_msg msg = {
		.id = { .idx = CN_IDX_PROC, .val = CN_VAL_PROC },
		.ack = token,
		.len = kinds ? sizeof(input) : sizeof(input.op),
	};

	request.head.nlmsg_len = (uint32_t)NLMSG_LENGTH(sizeof(msg) + msg.len);
	request.head.nlmsg_type = NLMSG_DONE;
	memcpy(request.payload, &msg, sizeof(msg));
	memcpy(request.payload + sizeof(msg), &input, msg.len);
	if (sendto(fd, &request, request.head.nlmsg_len, MSG_NOSIGNAL, (struct sockaddr *)&kernel,
		   sizeof(kernel)) < 0)
		return -errno;
	return 0;
}

int cn_socket_filter(const struct cn_socket *socket, uint32_t kinds)
{
	return socket->filters ? ask(socket->fd, PROC_CN_MCAST_LISTEN, kinds, 0) : -EOPNOTSUPP;
}

/* Setting a name, even the same one, is an event of the thread that sets it; it changes nothing. */
void cn_socket_provoke(void)
{
	char name[16];

	if (prctl(PR_GET_NAME, name) == 0)
		prctl(PR_SET_NAME, name);
}

static bool refill(struct cn_socket *socket)
{
	struct cn_batch *b = socket->batch;

	socket->count = socket->index = 0;
	for (;;) {
		int n;

		/* The kernel writes how much it filled in. */
		for (int i = 0; i < DATAGRAMS; i++)
			b->headers[i].msg_hdr.msg_namelen = sizeof(b->senders[i]);
		n = recvmmsg(socket->fd, b->headers, DATAGRAMS, MSG_DONTWAIT, NULL);
		if (n > 0) {
			socket->count = n;
			return true;
		}
		if (n < 0 && errno == ENOBUFS)
			socket->overflowed = true;
		else if (n == 0 || errno != EINTR)
			return false;
	}
}

/* Begins with the next datagram: only the kernel's own, and only whole ones. */
static bool next_datagram(struct cn_socket *socket)
{
	struct cn_batch *b = socket->batch;

	for (;;) {
		const struct mmsghdr *header;

		if (socket->index >= socket->count && !refill(socket))
			return false;
		header = &b->headers[socket->index];
		socket->reader.at = b->data[socket->index];
		socket->reader.left = header->msg_len;
		if (b->senders[socket->index++].nl_pid == 0 &&
		    !(header->msg_hdr.msg_flags & MSG_TRUNC))
			return true;
	}
}

bool cn_socket_next(struct cn_socket *socket, struct cn_message *ret_message)
{
	for (;;) {
		if (cn_next(&socket->reader, ret_message) == CN_MESSAGE)
			return true;
		if (socket->reader.left == 0 && !next_datagram(socket))
			return false;
	}
}

static int make_batch(struct cn_socket *socket)
{
	struct cn_batch *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	for (int i = 0; i < DATAGRAMS; i++) {
		b->vectors[i].iov_base = b->data[i];
		b->vectors[i].iov_len = sizeof(b->data[i]);
		b->headers[i].msg_hdr.msg_iov = &b->vectors[i];
		b->headers[i].msg_hdr.msg_iovlen = 1;
		b->headers[i].msg_hdr.msg_name = &b->senders[i];
	}
	socket->batch = b;
	return 0;
}

/* Reads all that is queued now. Tells whether these answers, and our own event, were among it. */
static void look_for(struct cn_socket *socket, struct cn_sequence *sequence, uint32_t token,
		     bool *ret_long, bool *ret_short, int *ret_error)
{
	struct cn_message m;

	while (cn_socket_next(socket, &m)) {
		if (sequence)
			cn_sequence_heard(sequence, m.event.cpu, m.sequence);
		if (cn_kind(&m) != PROC_EVENT_NONE || (m.ack != token + 1 && m.ack != token + 2))
			continue;
		*(m.ack == token + 1 ? ret_long : ret_short) = true;
		if (m.event.event_data.ack.err)
			*ret_error = -(int)m.event.event_data.ack.err;
	}
}

/*
 * Asks in both forms; the kernel answers before sendto(2) returns, so that nothing has to be waited
 * for. The answer may not fit into a small buffer: then again.
 */
static int make_it_talk(struct cn_socket *socket, struct cn_sequence *sequence)
{
	for (int i = 0; i < ATTEMPTS; i++) {
		uint32_t token = (uint32_t)getpid() * 64 + 2 * (uint32_t)i;
		bool answered = false, filters = false;
		int error = 0, r;

		socket->overflowed = false;
		r = ask(socket->fd, PROC_CN_MCAST_LISTEN, CN_ALL_EVENTS, token);
		if (r == 0)
			r = ask(socket->fd, PROC_CN_MCAST_LISTEN, 0, token + 1);
		if (r < 0 && r != -ENOBUFS)
			return r;
		look_for(socket, sequence, token, &filters, &answered, &error);
		socket->filters |= filters;
		if (answered)
			return error;
		if (!socket->overflowed)
			break;
	}
	return socket->overflowed ? -ENOBUFS : -ENODATA;
}

/* Another pid namespace has other numbers; and somebody may filter what we hear. */
static int see_ourselves(struct cn_socket *socket, struct cn_sequence *sequence)
{
	__kernel_pid_t self = (__kernel_pid_t)syscall(SYS_gettid);

	for (int i = 0; i < ATTEMPTS; i++) {
		struct cn_message m;
		bool seen = false;

		socket->overflowed = false;
		cn_socket_provoke();
		while (cn_socket_next(socket, &m)) {
			if (sequence)
				cn_sequence_heard(sequence, m.event.cpu, m.sequence);
			seen |= cn_kind(&m) == PROC_EVENT_COMM &&
				m.event.event_data.comm.process_pid == self;
		}
		if (seen)
			return 0;
		if (!socket->overflowed)
			break;
	}
	return socket->overflowed ? -ENOBUFS : -ENODATA;
}

static void set_room(int fd, uint32_t bytes)
{
	int room = (int)(bytes / 2); /* the kernel doubles it */

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
}

uint32_t cn_socket_room(const struct cn_socket *socket)
{
	int room = 0;
	socklen_t length = sizeof(room);

	getsockopt(socket->fd, SOL_SOCKET, SO_RCVBUF, &room, &length);
	return room > 0 ? (uint32_t)room : 0;
}

int cn_socket_open(struct cn_socket *sock, uint32_t bytes, struct cn_sequence *sequence)
{
	struct sockaddr_nl all = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
	int r;

	memset(sock, 0, sizeof(*sock));
	sock->fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR);
	if (sock->fd < 0)
		return -errno;
	r = make_batch(sock);
	if (r == 0) {
		set_room(sock->fd, bytes);
		if (bind(sock->fd, (struct sockaddr *)&all, sizeof(all)) < 0)
			r = -errno;
	}
	if (r == 0)
		r = make_it_talk(sock, sequence);
	if (r == 0)
		r = see_ourselves(sock, sequence);
	sock->overflowed = false;
	if (r < 0)
		cn_socket_close(sock);
	return r;
}

/* The kernel talks while it believes that somebody listens: say that we do not. */
void cn_socket_close(struct cn_socket *socket)
{
	if (socket->fd >= 0) {
		ask(socket->fd, PROC_CN_MCAST_IGNORE, 0, 0);
		close(socket->fd);
	}
	free(socket->batch);
	memset(socket, 0, sizeof(*socket));
	socket->fd = -1;
}

static bool in_initial(const char *path, ino_t inode)
{
	struct stat st;

	return stat(path, &st) < 0 || st.st_ino == inode;
}

static bool hears_anybody(void)
{
	struct utsname name;
	unsigned int major = 0, minor = 0;

	return uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 6));
}

static void say(struct knell_probe *probe, const char *reason, const char *remedy)
{
	snprintf(probe->reason, sizeof(probe->reason), "%s", reason);
	snprintf(probe->remedy, sizeof(probe->remedy), "%s", remedy);
}

void cn_socket_explain(int error, struct knell_probe *probe)
{
	if (error == -EPROTONOSUPPORT || error == -EAFNOSUPPORT || error == -ESOCKTNOSUPPORT)
		say(probe, "the kernel has no connector (CONFIG_CONNECTOR, CONFIG_PROC_EVENTS)",
		    "use a kernel with CONFIG_CONNECTOR=y and CONFIG_PROC_EVENTS=y, as Debian's");
	else if (error == -ECONNREFUSED)
		say(probe, "the connector is only in the initial network namespace",
		    "run it in the host's network namespace (container: --network=host)");
	else if (!in_initial("/proc/self/ns/pid", INIT_PID_INO) ||
		 !in_initial("/proc/self/ns/user", INIT_USER_INO))
		say(probe,
		    "the kernel tells process events only to the initial user and pid namespaces",
		    "run it outside of the container, or with the host's (--pid=host "
		    "--userns=host)");
	else if (error == -EPERM || error == -EACCES || (error == -ENODATA && !hears_anybody()))
		say(probe, "before Linux 6.6 only root may hear process events",
		    "run as root, or give the program CAP_NET_ADMIN (setcap cap_net_admin+ep)");
	else if (error == -ENODATA)
		say(probe, "the kernel does not answer: it has no CONFIG_PROC_EVENTS",
		    "use a kernel with CONFIG_PROC_EVENTS=y, as Debian's");
	else if (error == -ENOBUFS)
		say(probe, "too much happens for the small buffer that is permitted",
		    "run as root, or raise net.core.rmem_max");
	else
		say(probe, strerror(-error),
		    knell_remedy(error) ? knell_remedy(error) : "see netlink(7)");
}
