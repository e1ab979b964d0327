/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_table.c - the tasks that are alive, as far as the connector source has to know: all of
 * the system for a stream, else those that are watched. Owns every struct cn_process and struct
 * cn_task. What is known of a task (its name and ids) is known only while nothing is lost: a change
 * may have been among it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connector.h"

#define FIRST_SIZE 1024u

int cn_table_open(struct cn_table *table)
{
	table->used = 0;
	table->size = FIRST_SIZE;
	table->buckets = calloc(table->size, sizeof(struct cn_task *));
	return table->buckets ? 0 : -ENOMEM;
}

static struct cn_task **bucket_of(const struct cn_table *table, uint32_t tid)
{
	return &table->buckets[(size_t)(tid * 2654435761u) & (table->size - 1)];
}

/* Without memory it stays as it is, and gets slower. */
static void grow(struct cn_table *table)
{
	struct cn_table grown = { .size = table->size * 2, .used = table->used };

	grown.buckets = calloc(grown.size, sizeof(struct cn_task *));
	if (!grown.buckets)
		return;
	for (size_t i = 0; i < table->size; i++) {
		while (table->buckets[i]) {
			struct cn_task *task = table->buckets[i];
			struct cn_task **bucket = bucket_of(&grown, task->tid);

			table->buckets[i] = task->next;
			task->next = *bucket;
			*bucket = task;
		}
	}
	free(table->buckets);
	*table = grown;
}

static void put(struct cn_table *table, struct cn_task *task)
{
	struct cn_task **bucket;

	if (table->used >= table->size)
		grow(table);
	bucket = bucket_of(table, task->tid);
	task->next = *bucket;
	*bucket = task;
	table->used++;
}

static void take(struct cn_table *table, struct cn_task *task)
{
	for (struct cn_task **at = bucket_of(table, task->tid); *at; at = &(*at)->next) {
		if (*at != task)
			continue;
		*at = task->next;
		table->used--;
		return;
	}
}

struct cn_task *cn_find(const struct cn_source *s, uint32_t tid)
{
	struct cn_task *task = *bucket_of(&s->table, tid);

	while (task && task->tid != tid)
		task = task->next;
	return task;
}

struct cn_process *cn_find_process(const struct cn_source *s, uint32_t tgid)
{
	struct cn_task *task = cn_find(s, tgid);

	return task && task == &task->process->leader ? task->process : NULL;
}

struct cn_process *cn_make_process(void)
{
	struct cn_process *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->pidfd = -1;
	p->leader.process = p;
	CDS_INIT_LIST_HEAD(&p->node);
	CDS_INIT_LIST_HEAD(&p->threads);
	CDS_INIT_LIST_HEAD(&p->found);
	CDS_INIT_LIST_HEAD(&p->dying);
	CDS_INIT_LIST_HEAD(&p->leader.sibling);
	return p;
}

/* Into the table, alive. Whoever had the number before must be out of it. */
int cn_add_process(struct cn_source *s, struct cn_process *p, uint32_t tgid)
{
	p->leader.tid = tgid;
	p->leader.alive = true;
	p->leader.losses = s->losses;
	p->losses = s->losses;
	p->live = 1;
	put(&s->table, &p->leader);
	cds_list_add_tail(&p->node, &s->processes);
	return 0;
}

struct cn_task *cn_add_thread(struct cn_source *s, struct cn_process *p, uint32_t tid)
{
	struct cn_task *task = calloc(1, sizeof(*task));

	if (!task)
		return NULL;
	task->process = p;
	task->tid = tid;
	task->alive = true;
	task->losses = s->losses;
	put(&s->table, task);
	cds_list_add_tail(&task->sibling, &p->threads);
	p->live++;
	return task;
}

void cn_remove_thread(struct cn_source *s, struct cn_task *task)
{
	take(&s->table, task);
	cds_list_del(&task->sibling);
	task->process->live--;
	free(task);
}

static void remove_threads(struct cn_source *s, struct cn_process *p)
{
	struct cn_task *task, *next;

	cds_list_for_each_entry_safe (task, next, &p->threads, sibling) {
		cn_remove_thread(s, task);
	}
}

/* Out of the table, so that another one can have its number; it is not freed. */
void cn_detach(struct cn_source *s, struct cn_process *p)
{
	remove_threads(s, p);
	take(&s->table, &p->leader);
	cds_list_del_init(&p->node);
	cds_list_del_init(&p->found);
	cds_list_del_init(&p->dying);
	cn_release_pidfd(s, p);
}

/* Of one that is out of the table. */
void cn_free_process(struct cn_source *s, struct cn_process *p)
{
	while (p) {
		struct cn_process *late = p->late;

		if (p->counted)
			s->watched--;
		if (p->pidfd >= 0)
			close(p->pidfd);
		if (p->reaped)
			p->reaped->process = NULL;
		free(p);
		p = late;
	}
}

void cn_remove_process(struct cn_source *s, struct cn_process *p)
{
	cn_detach(s, p);
	cn_free_process(s, p);
}

void cn_table_close(struct cn_source *s)
{
	struct cn_process *p, *next;

	if (!s->table.buckets)
		return;
	cds_list_for_each_entry_safe (p, next, &s->processes, node) {
		cn_remove_process(s, p);
	}
	free(s->table.buckets);
	s->table.buckets = NULL;
}

bool cn_knows(const struct cn_source *s, const struct cn_task *task, uint8_t what)
{
	return task->losses == s->losses && (task->known & what) == what;
}

void cn_learn(const struct cn_source *s, struct cn_task *task, uint8_t what)
{
	if (task->losses != s->losses)
		task->known = 0;
	task->losses = s->losses;
	task->known |= what;
}

void cn_forget(struct cn_task *task, uint8_t what)
{
	task->known &= (uint8_t)~what;
}

void cn_inherit(const struct cn_source *s, struct cn_task *child, const struct cn_task *parent)
{
	child->known = parent->losses == s->losses ? parent->known : 0;
	child->losses = s->losses;
	child->uid = parent->uid;
	child->gid = parent->gid;
	memcpy(child->comm, parent->comm, sizeof(child->comm));
}
