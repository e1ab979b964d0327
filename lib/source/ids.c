/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ids.c - changes of user and group ids by themselves; see ids.h. Owns a socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "connector_socket.h"
#include "ids.h"
#include "source.h"

#define DEFAULT_ROOM (16u << 20)
#define KINDS        ((uint32_t)PROC_EVENT_UID | (uint32_t)PROC_EVENT_GID)

struct ids {
	struct cn_socket socket;
};

int ids_open(struct ids **ret_ids, uint32_t bytes)
{
	struct ids *ids = calloc(1, sizeof(*ids));
	struct knell_probe probe = { 0 };
	int r;

	if (!ids)
		return knell_fail(-ENOMEM, "no memory for a socket");
	r = cn_socket_open(&ids->socket, bytes ? bytes : DEFAULT_ROOM, NULL);
	if (r < 0) {
		free(ids);
		cn_socket_explain(r, &probe);
		return knell_fail(-ENOTSUP, "changes of ids cannot be heard: %s; %s", probe.reason,
				  probe.remedy);
	}
	if (cn_socket_filter(&ids->socket, KINDS) < 0)
		ids->socket.filters = false;
	*ret_ids = ids;
	return 0;
}

struct ids *ids_close(struct ids *ids)
{
	if (!ids)
		return NULL;
	cn_socket_close(&ids->socket);
	free(ids);
	return NULL;
}

int ids_fd(const struct ids *ids)
{
	return ids->socket.fd;
}

bool ids_filtered(const struct ids *ids)
{
	return ids->socket.filters;
}

int ids_drain(struct ids *ids, void (*fn)(const struct ids_change *change, void *userdata),
	      void *userdata)
{
	uint64_t offset = clock_boot_offset();
	struct cn_message m;
	bool lost;

	while (cn_socket_next(&ids->socket, &m)) {
		const struct id_proc_event *id = &m.event.event_data.id;
		bool uid = cn_kind(&m) == PROC_EVENT_UID;
		struct ids_change change = {
			.time = m.event.timestamp_ns + offset,
			.kind = uid ? KNELL_UID : KNELL_GID,
			.cpu = m.event.cpu,
			.tid = (uint32_t)id->process_pid,
			.tgid = (uint32_t)id->process_tgid,
			.real = uid ? id->r.ruid : id->r.rgid,
			.effective = uid ? id->e.euid : id->e.egid,
		};

		if (cn_kind(&m) & KINDS)
			fn(&change, userdata);
	}
	lost = ids->socket.overflowed;
	ids->socket.overflowed = false;
	return lost ? -ENOBUFS : 0;
}
