/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_socket.h - a socket that hears the process events connector, for the connector source
 * and for ids.c.
 */
#ifndef KNELL_CONNECTOR_SOCKET_H
#define KNELL_CONNECTOR_SOCKET_H

#include <knell/knell.h>

#include "connector_msg.h"

/* What a message costs in the socket's buffer: the kernel counts its own structures, too. */
#define CN_MESSAGE_COST 768u

struct cn_batch; /* room for many datagrams */

struct cn_socket {
	int fd;
	bool filters; /* the kernel can filter by kind (Linux 6.6) */
	bool overflowed;
	struct cn_batch *batch;
	int count; /* datagrams in the batch */
	int index; /* the one that is being read */
	struct cn_reader reader;
};

/*
 * Opens it with a buffer of so many bytes (less, if that is not permitted) and makes sure that the
 * kernel answers us. `sequence` may be NULL. 0 or -errno, see cn_socket_explain(). What was heard
 * meanwhile is dropped, but its numbers are known.
 */
int cn_socket_open(struct cn_socket *socket, uint32_t bytes, struct cn_sequence *sequence);
void cn_socket_close(struct cn_socket *socket);

/* From now on only these kinds (PROC_EVENT_*): then the sequence has holes that are no loss. */
int cn_socket_filter(const struct cn_socket *socket, uint32_t kinds);

/* Bytes of its buffer, as the kernel counts them. */
uint32_t cn_socket_room(const struct cn_socket *socket);

/*
 * The next message. False: there is none now. Sets `overflowed` where the kernel says that it could
 * not queue one; everything that is queued is still read.
 */
bool cn_socket_next(struct cn_socket *socket, struct cn_message *ret_message);

/* Makes the kernel send a message from this thread, on the CPU where it runs: see there. */
void cn_socket_provoke(void);

/* Why cn_socket_open() failed, and what to do. */
void cn_socket_explain(int error, struct knell_probe *probe);

#endif
