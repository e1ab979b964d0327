/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_msg.c - takes the connector's datagrams apart, and keeps the account of what was lost.
 * It believes no length: what does not fit is bad. Owns the sequence numbers of each CPU.
 *
 * The kernel numbers all messages of a CPU, before it tries to queue them, so a jump in the numbers
 * is exactly what was lost; but of what kind it was, nobody knows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/connector.h>
#include <linux/netlink.h>

#include "connector_msg.h"

/* Bytes of an event before what belongs to its kind. */
#define EVENT_HEAD offsetof(struct proc_event, event_data)

/* Bytes that each kind needs at least. Exit got its parent only in Linux 4.18. */
static size_t payload_of(uint32_t kind)
{
	switch (kind) {
	case PROC_EVENT_FORK:
		return sizeof(struct fork_proc_event);
	case PROC_EVENT_EXEC:
		return sizeof(struct exec_proc_event);
	case PROC_EVENT_UID:
	case PROC_EVENT_GID:
		return sizeof(struct id_proc_event);
	case PROC_EVENT_COMM:
		return sizeof(struct comm_proc_event);
	case PROC_EVENT_EXIT:
		return offsetof(struct exit_proc_event, parent_pid);
	case PROC_EVENT_NONE:
		return sizeof(__u32);
	default:
		return 0; /* not one that we look into */
	}
}

/* One connector message of `length` bytes. False: none of process events; or bad. */
static enum cn_read read_message(const unsigned char *data, size_t length,
				 struct cn_message *ret_message)
{
	struct cn_message message = { 0 };
	struct cn_msg head;

	if (length < sizeof(head))
		return CN_BAD;
	memcpy(&head, data, sizeof(head));
	data += sizeof(head);
	length -= sizeof(head);
	if (head.id.idx != CN_IDX_PROC || head.id.val != CN_VAL_PROC)
		return CN_END;
	if (head.len > length || head.len < EVENT_HEAD)
		return CN_BAD;
	memcpy(&message.event, data,
	       head.len < sizeof(message.event) ? head.len : sizeof(message.event));
	if (head.len < EVENT_HEAD + payload_of((uint32_t)message.event.what))
		return CN_BAD;
	if ((uint32_t)message.event.what == PROC_EVENT_COMM)
		message.event.event_data.comm.comm[15] = '\0';
	message.sequence = head.seq;
	message.ack = head.ack;
	*ret_message = message;
	return CN_MESSAGE;
}

enum cn_read cn_next(struct cn_reader *reader, struct cn_message *ret_message)
{
	while (reader->left > 0) {
		struct nlmsghdr head;
		const unsigned char *data = reader->at + NLMSG_HDRLEN;
		enum cn_read r = CN_END;
		size_t step;

		if (reader->left < sizeof(head)) {
			reader->left = 0;
			return CN_BAD;
		}
		memcpy(&head, reader->at, sizeof(head));
		if (head.nlmsg_len < NLMSG_HDRLEN || head.nlmsg_len > reader->left) {
			reader->left = 0;
			return CN_BAD;
		}
		step = NLMSG_ALIGN((size_t)head.nlmsg_len);
		if (step > reader->left)
			step = reader->left;
		reader->at += step;
		reader->left -= step;
		/* The connector's own are all of type "done"; netlink has errors and padding. */
		if (head.nlmsg_type >= NLMSG_MIN_TYPE || head.nlmsg_type == NLMSG_DONE)
			r = read_message(data, head.nlmsg_len - NLMSG_HDRLEN, ret_message);
		if (r == CN_BAD)
			reader->left = 0;
		if (r != CN_END)
			return r;
	}
	return CN_END;
}

static int grow(struct cn_sequence *sequence, uint32_t count)
{
	struct cn_cpu *grown = realloc(sequence->cpus, count * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	memset(grown + sequence->count, 0, (count - sequence->count) * sizeof(*grown));
	sequence->cpus = grown;
	sequence->count = count;
	return 0;
}

int cn_sequence_open(struct cn_sequence *sequence, uint32_t cpus)
{
	memset(sequence, 0, sizeof(*sequence));
	return grow(sequence, cpus > 0 ? cpus : 1);
}

void cn_sequence_close(struct cn_sequence *sequence)
{
	free(sequence->cpus);
	memset(sequence, 0, sizeof(*sequence));
}

uint32_t cn_sequence_heard(struct cn_sequence *sequence, uint32_t cpu, uint32_t number)
{
	struct cn_cpu *c;
	uint32_t lost = 0;

	if (cpu >= CN_MAX_CPUS || (cpu >= sequence->count && grow(sequence, cpu + 1) < 0))
		return 0;
	c = &sequence->cpus[cpu];
	if (c->known)
		lost = number - c->next; /* the numbers wrap, and so does this */
	c->known = true;
	c->suspect = false;
	c->next = number + 1;
	/* Backwards: a number that was heard already, or counters that began anew. */
	return lost < 0x80000000u ? lost : 0;
}

void cn_sequence_suspect(struct cn_sequence *sequence)
{
	for (uint32_t i = 0; i < sequence->count; i++)
		sequence->cpus[i].suspect = true;
}

bool cn_sequence_is_suspect(const struct cn_sequence *sequence)
{
	for (uint32_t i = 0; i < sequence->count; i++) {
		if (sequence->cpus[i].suspect)
			return true;
	}
	return false;
}
