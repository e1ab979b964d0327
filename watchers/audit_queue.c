/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_queue.c - the queues between reapers and the writer; see audit_queue.h. Each is a ring of
 * bytes with one producer and one consumer, whose two positions only grow.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "audit_queue.h"

#define LINE 64u

/* Before each record. The counts are the producer's at that moment: what is new in them is lost. */
struct entry {
	uint32_t size; /* with this head; a multiple of 8 */
	uint32_t skip; /* nothing here: go on at the start of the ring */
	uint64_t ticket;
	struct json_count lost;
};

#define ENTRY_MAX (sizeof(struct entry) + KNELL_EVENT_MAX)

_Static_assert(2 * ENTRY_MAX <= AUDIT_QUEUE_MIN, "the longest record fits wherever the ring ends");

struct queue {
	/* The producer's: the reader looks at them, and at nothing else of it. */
	_Alignas(LINE) _Atomic uint64_t end;
	_Atomic uint64_t births, deaths, others; /* lost; pairs with read_lost() */
	_Atomic uint64_t offered;
	uint64_t begin_seen; /* `begin` as it was: looked at again when there seems to be no room */

	/* The reader's. */
	_Alignas(LINE) _Atomic uint64_t begin; /* pairs with has_room() */
	struct json_count told;
	char *data;
};

struct audit_queues {
	uint32_t count; /* of rings that have a queue; one more is for all others */
	uint64_t size;  /* of each, a power of two */
	char *data;
	size_t data_size;
	pthread_mutex_t others; /* of those who put into the last queue */

	/* The reader's. */
	struct queue *current; /* of the record that is next; NULL: not known */
	uint64_t next;         /* its ticket */

	_Alignas(LINE) _Atomic uint64_t tickets;
	_Alignas(LINE) _Atomic bool sleeping;
	_Alignas(LINE) struct queue queues[];
};

static uint64_t queue_size(size_t all, uint32_t count)
{
	uint64_t size = AUDIT_QUEUE_MIN;

	while (size * 2 <= all / count)
		size *= 2;
	return size;
}

int audit_queues_new(struct audit_queues **ret_queues, size_t size)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	uint32_t count = cpus > 0 ? (uint32_t)cpus : 1;
	struct audit_queues *q;
	size_t bytes = sizeof(*q) + (count + 1) * sizeof(struct queue);

	q = aligned_alloc(LINE, (bytes + LINE - 1) & ~(size_t)(LINE - 1));
	if (!q)
		return -ENOMEM;
	memset(q, 0, bytes);
	q->count = count;
	q->size = queue_size(size, count);
	q->data_size = q->size * (count + 1);
	q->data = mmap(NULL, q->data_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (q->data == MAP_FAILED) {
		free(q);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i <= count; i++)
		q->queues[i].data = q->data + i * q->size;
	pthread_mutex_init(&q->others, NULL);
	*ret_queues = q;
	return 0;
}

struct audit_queues *audit_queues_free(struct audit_queues *q)
{
	if (!q)
		return NULL;
	pthread_mutex_destroy(&q->others);
	munmap(q->data, q->data_size);
	free(q);
	return NULL;
}

/* ---- reapers ---- */

/*
 * Only the producer writes it, so this is no read-modify-write. Pairs with read_lost(): who sees it
 * sees what was put before it; and in full order with audit_queues_sleep().
 */
static void add(_Atomic uint64_t *count, uint64_t n)
{
	if (n)
		atomic_store(count, atomic_load_explicit(count, memory_order_relaxed) + n);
}

/* A gap that finds no room takes what it tells of with it. */
static void lose(struct queue *queue, const struct knell_event *e)
{
	if (e->kind == KNELL_GAP) {
		add(&queue->births, e->u.gap.births);
		add(&queue->deaths, e->u.gap.deaths);
		add(&queue->others, e->u.gap.others);
	} else if (e->scope == KNELL_PROCESS && e->kind == KNELL_CLONE) {
		add(&queue->births, 1);
	} else if (e->scope == KNELL_PROCESS && e->kind == KNELL_EXIT) {
		add(&queue->deaths, 1);
	} else {
		add(&queue->others, 1);
	}
}

static bool has_room(struct queue *queue, uint64_t size, uint64_t end)
{
	if (end - queue->begin_seen <= size)
		return true;
	/* Pairs with audit_queues_pop(): what is overwritten was read. */
	queue->begin_seen = atomic_load_explicit(&queue->begin, memory_order_acquire);
	return end - queue->begin_seen <= size;
}

/* What of a record is copied: not the arguments, if nobody asked for them. */
static uint32_t wanted_size(const struct knell_event *e, bool args)
{
	uint32_t size = e->size;

	if (e->kind == KNELL_EXEC && !args && e->u.exec.args_len)
		size = (uint32_t)(KNELL_EVENT_HEAD + sizeof(e->u.exec)) + e->u.exec.file_len + 1;
	return (size + 7) & ~7u;
}

static void copy_event(char *to, const struct knell_event *e, uint32_t size)
{
	struct knell_event *copy = (void *)to;

	/* What follows a record is not ours to read. */
	memcpy(to, e, size < e->size ? size : e->size);
	if (e->kind != KNELL_EXEC || size >= e->size)
		return;
	copy->size = size;
	copy->unknown |= KNELL_U_ARGS;
	copy->u.exec.args_len = copy->u.exec.args_total = 0;
}

static void put(struct audit_queues *q, struct queue *queue, const struct knell_event *e, bool args)
{
	uint32_t size = wanted_size(e, args);
	uint32_t need = (uint32_t)sizeof(struct entry) + size;
	uint64_t end = atomic_load_explicit(&queue->end, memory_order_relaxed);
	uint64_t left = q->size - (end & (q->size - 1)), skip = left < need ? left : 0;
	struct entry *entry = (void *)(queue->data + (end & (q->size - 1)));

	if (e->kind != KNELL_GAP)
		atomic_store_explicit(&queue->offered,
				      atomic_load_explicit(&queue->offered, memory_order_relaxed) +
					      1,
				      memory_order_relaxed);
	if (size > KNELL_EVENT_MAX || !has_room(queue, q->size, end + skip + need)) {
		lose(queue, e);
		return;
	}
	if (skip) {
		/* There is room for these two numbers: all sizes are multiples of 8. */
		entry->size = (uint32_t)skip;
		entry->skip = 1;
		entry = (void *)queue->data;
	}
	entry->size = need;
	entry->skip = 0;
	/* Not before there is room: each ticket is one record, which the reader waits for. */
	entry->ticket = atomic_fetch_add_explicit(&q->tickets, 1, memory_order_relaxed);
	entry->lost.births = atomic_load_explicit(&queue->births, memory_order_relaxed);
	entry->lost.deaths = atomic_load_explicit(&queue->deaths, memory_order_relaxed);
	entry->lost.others = atomic_load_explicit(&queue->others, memory_order_relaxed);
	copy_event((char *)(entry + 1), e, size);
	/* Pairs with has_entry(), and by its full order with audit_queues_sleep(). */
	atomic_store(&queue->end, end + skip + need);
}

bool audit_queues_put(struct audit_queues *q, const struct knell_event *event, bool args)
{
	bool others = event->ring >= q->count;

	if (others)
		pthread_mutex_lock(&q->others);
	put(q, &q->queues[others ? q->count : event->ring], event, args);
	if (others)
		pthread_mutex_unlock(&q->others);
	/* Also after a loss, which is told when nothing follows. */
	return atomic_load(&q->sleeping) && atomic_exchange(&q->sleeping, false);
}

/* ---- the reader ---- */

static struct entry *has_entry(const struct audit_queues *q, struct queue *queue)
{
	uint64_t begin = atomic_load_explicit(&queue->begin, memory_order_relaxed);
	struct entry *entry;

	/* Pairs with put(). */
	if (atomic_load(&queue->end) == begin)
		return NULL;
	entry = (void *)(queue->data + (begin & (q->size - 1)));
	return entry->skip ? (void *)queue->data : entry;
}

static struct json_count read_lost(const struct queue *queue)
{
	/* Each pairs with add(). */
	return (struct json_count){
		.births = atomic_load(&queue->births),
		.deaths = atomic_load(&queue->deaths),
		.others = atomic_load(&queue->others),
	};
}

static struct json_count minus(const struct json_count *a, const struct json_count *b)
{
	return (struct json_count){ a->births - b->births, a->deaths - b->deaths,
				    a->others - b->others };
}

bool audit_is_none(const struct json_count *c)
{
	return !c->births && !c->deaths && !c->others;
}

/*
 * The queue whose first record has the next ticket. NULL also if that record is being copied right
 * now, by somebody who then wakes us: see audit_queues_sleep().
 */
static struct queue *find_next(struct audit_queues *q)
{
	for (uint32_t i = 0; i <= q->count; i++) {
		struct entry *entry = has_entry(q, &q->queues[i]);

		if (entry && entry->ticket == q->next)
			return &q->queues[i];
	}
	return NULL;
}

/*
 * Losses that no record follows. They are read before the queue is seen to be empty: so all that
 * was put before them has been read, and they are not told too early.
 */
static bool find_losses(struct audit_queues *q, struct audit_item *ret_item)
{
	for (uint32_t i = 0; i <= q->count; i++) {
		struct json_count lost = read_lost(&q->queues[i]);

		if (has_entry(q, &q->queues[i]))
			continue;
		lost = minus(&lost, &q->queues[i].told);
		if (audit_is_none(&lost))
			continue;
		*ret_item = (struct audit_item){ .ring = i, .lost = lost };
		return true;
	}
	return false;
}

bool audit_queues_next(struct audit_queues *q, struct audit_item *ret_item)
{
	struct entry *entry = q->current ? has_entry(q, q->current) : NULL;

	if (!entry || entry->ticket != q->next) { /* most often it is the same ring's again */
		q->current = find_next(q);
		entry = q->current ? has_entry(q, q->current) : NULL;
	}
	if (!entry)
		return find_losses(q, ret_item);
	*ret_item = (struct audit_item){
		.event = (const void *)(entry + 1),
		.ring = (uint32_t)(q->current - q->queues),
		.lost = minus(&entry->lost, &q->current->told),
	};
	return true;
}

void audit_queues_told(struct audit_queues *q, const struct audit_item *item)
{
	struct json_count *told = &q->queues[item->ring].told;

	told->births += item->lost.births;
	told->deaths += item->lost.deaths;
	told->others += item->lost.others;
}

void audit_queues_pop(struct audit_queues *q)
{
	struct queue *queue = q->current;
	uint64_t begin = atomic_load_explicit(&queue->begin, memory_order_relaxed);
	struct entry *entry = (void *)(queue->data + (begin & (q->size - 1)));

	if (entry->skip) {
		begin += entry->size;
		entry = (void *)queue->data;
	}
	q->next++;
	/* Pairs with has_room(). */
	atomic_store_explicit(&queue->begin, begin + entry->size, memory_order_release);
}

bool audit_queues_sleep(struct audit_queues *q)
{
	struct audit_item item;

	/* In full order with put(): either we see the record here, or its producer sees this. */
	atomic_store(&q->sleeping, true);
	if (!audit_queues_next(q, &item))
		return true;
	atomic_store(&q->sleeping, false);
	return false;
}

void audit_queues_awake(struct audit_queues *q)
{
	atomic_store(&q->sleeping, false);
}

/* ---- anybody ---- */

uint64_t audit_queues_offered(const struct audit_queues *q)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i <= q->count; i++)
		sum += atomic_load_explicit(&q->queues[i].offered, memory_order_relaxed);
	return sum;
}
