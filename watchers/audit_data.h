/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_data.h - the audit log's own state, for the two files that make it up: audit.c is called by
 * the engine and its host, audit_write.c is the thread that formats and writes.
 */
#ifndef KNELL_WATCHERS_AUDIT_DATA_H
#define KNELL_WATCHERS_AUDIT_DATA_H

#include <pthread.h>
#include <stdatomic.h>

#include "audit.h"
#include "audit_out.h"
#include "audit_queue.h"

#define AUDIT_SECOND UINT64_C(1000000000)

/* A target that has taken nothing for so long is given up at the end; and in all after so long. */
#define AUDIT_STALL   (2 * AUDIT_SECOND)
#define AUDIT_PATIENT (10 * AUDIT_SECOND)

struct audit {
	struct audit_options options;
	uint32_t flags;
	struct audit_queues *queues;
	char boot_id[37], source[32], host[256];

	int wake_fd; /* an eventfd: for a writer that sleeps */
	pthread_t thread;
	_Atomic bool reopen, closing; /* asked for; pairs with the writer's look after each sleep */
	_Atomic int error;            /* what keeps us from writing now */
	_Atomic int first_error;
	_Atomic int sync_error;      /* the last */
	_Atomic uint64_t written;    /* records whose lines are out, without gaps */
	_Atomic uint64_t suppressed; /* above the rate */
	_Atomic uint64_t progress;   /* grows with each write that took something */

	pthread_mutex_t lock; /* of `done` */
	pthread_cond_t ended;
	bool done;

	/* The writer's. */
	struct json *json;
	struct audit_out out;
	struct audit_note note;     /* of the last line */
	struct knell_event last;    /* the head of the last record */
	uint64_t batch;             /* records in json's lines */
	bool started;               /* the first line is out */
	bool dirty;                 /* written, not synced */
	uint64_t synced_at;         /* when it was last synced; monotonic, as all times here */
	uint64_t window, in_window; /* the second that is counted, and records in it */
	struct json_count above;    /* suppressed, and not yet told */
	struct json_count dropped;  /* too long for the target, and not yet told */
	uint32_t dropped_ring;
	bool stuck;
};

/* audit_write.c: the thread. */
void *audit_writer(void *audit);

uint64_t audit_now(void);

#endif
