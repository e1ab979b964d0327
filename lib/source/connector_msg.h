/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_msg.h - what the kernel's process events connector says, and how much of it was not
 * heard. Pure: no socket, no privilege; tests feed it what they like.
 */
#ifndef KNELL_CONNECTOR_MSG_H
#define KNELL_CONNECTOR_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/cn_proc.h>

/* All kinds of events, as PROC_EVENT_ALL of newer headers. */
#define CN_ALL_EVENTS 0xe00003c7u

/* A CPU number beyond this is not believed. */
#define CN_MAX_CPUS 65536u

struct cn_message {
	uint32_t sequence; /* of all messages that this CPU sent, whatever their kind */
	uint32_t ack;      /* of a request: its token + 1; else 0 */
	struct proc_event event;
};

/* One datagram that is being read. */
struct cn_reader {
	const unsigned char *at;
	size_t left;
};

enum cn_read {
	CN_END,
	CN_MESSAGE,
	CN_BAD /* not what the kernel writes; the rest of the datagram cannot be trusted */
};

enum cn_read cn_next(struct cn_reader *reader, struct cn_message *ret_message);

static inline uint32_t cn_kind(const struct cn_message *message)
{
	return (uint32_t)message->event.what;
}

/* What is known of the messages of one CPU. */
struct cn_cpu {
	uint32_t next; /* the sequence number that is due */
	bool known;    /* ... if any was heard */
	bool suspect;  /* the socket overflowed, and nothing was heard of this CPU since */
};

struct cn_sequence {
	struct cn_cpu *cpus;
	uint32_t count;
};

int cn_sequence_open(struct cn_sequence *sequence, uint32_t cpus);
void cn_sequence_close(struct cn_sequence *sequence);

/* A message was heard. Returns how many of the same CPU before it were not. */
uint32_t cn_sequence_heard(struct cn_sequence *sequence, uint32_t cpu, uint32_t number);

/* The socket overflowed: each CPU may have sent messages that nobody heard. */
void cn_sequence_suspect(struct cn_sequence *sequence);
bool cn_sequence_is_suspect(const struct cn_sequence *sequence);

#endif
