/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * queue.h - a queue with many producers and one consumer, that neither side waits for: liburcu's
 * wfcqueue. This is the only place that knows it, because ThreadSanitizer does not see liburcu's
 * atomics (they are in a library that it did not instrument) and has to be told what the queue
 * promises: what was written before a node was pushed is seen by whoever pops it.
 */
#ifndef KNELL_QUEUE_H
#define KNELL_QUEUE_H

#include <urcu/wfcqueue.h>

#if defined(__SANITIZE_THREAD__)
#define KNELL_QUEUE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KNELL_QUEUE_TSAN 1
#endif
#endif

#ifdef KNELL_QUEUE_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define KNELL_QUEUE_ACQUIRE(address) __tsan_acquire(address)
#define KNELL_QUEUE_RELEASE(address) __tsan_release(address)
#else
#define KNELL_QUEUE_ACQUIRE(address) ((void)(address))
#define KNELL_QUEUE_RELEASE(address) ((void)(address))
#endif

/* Embed one in what is queued. */
struct knell_queue_node {
	struct cds_wfcq_node node;
};

struct knell_queue {
	struct __cds_wfcq_head head; /* the consumer's */
	char apart[64];              /* so that the two sides do not share a cache line */
	struct cds_wfcq_tail tail;   /* the producers' */
};

static inline void knell_queue_init(struct knell_queue *queue)
{
	__cds_wfcq_init(&queue->head, &queue->tail);
}

static inline void knell_queue_push(struct knell_queue *queue, struct knell_queue_node *node)
{
	cds_wfcq_node_init(&node->node);
	KNELL_QUEUE_RELEASE(node);
	cds_wfcq_enqueue(&queue->head, &queue->tail, &node->node);
}

/* Moves all that is queued now to `taken`, which was initialised and is the caller's alone. */
static inline void knell_queue_take(struct knell_queue *queue, struct knell_queue *taken)
{
	__cds_wfcq_splice_blocking(&taken->head, &taken->tail, &queue->head, &queue->tail);
}

/* The oldest node, or NULL. For the one consumer. */
static inline struct knell_queue_node *knell_queue_pop(struct knell_queue *queue)
{
	struct cds_wfcq_node *node = __cds_wfcq_dequeue_blocking(&queue->head, &queue->tail);

	if (!node)
		return NULL;
	KNELL_QUEUE_ACQUIRE(node);
	return (struct knell_queue_node *)(void *)node; /* its only member */
}

#endif
