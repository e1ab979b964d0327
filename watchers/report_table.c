/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * report_table.c - the report's table of processes; see report_table.h.
 */
#include <stdlib.h>
#include <string.h>

#include "report_table.h"

#define FIRST_POOL 256u

/*
 * By number alone, so that a process can be found without its start: the few with the same number
 * (one alive, the dead before it) are neighbours.
 */
static uint32_t home(const struct proc_table *table, uint32_t tgid)
{
	return (tgid * 0x9e3779b1u >> 7) & table->slot_mask;
}

void proc_table_done(struct proc_table *table)
{
	free(table->pool);
	free(table->slots);
	*table = (struct proc_table){ 0 };
}

static uint32_t find_slot(const struct proc_table *table, uint32_t tgid, uint64_t start)
{
	uint32_t i = home(table, tgid);

	for (; table->slots[i]; i = (i + 1) & table->slot_mask) {
		const struct proc *p = &table->pool[table->slots[i]];

		if (p->tgid == tgid && p->start == start)
			break;
	}
	return i;
}

struct proc *proc_find(const struct proc_table *table, uint32_t tgid, uint64_t start)
{
	proc_ref ref;

	if (!table->slots)
		return NULL;
	ref = table->slots[find_slot(table, tgid, start)];
	return ref ? &table->pool[ref] : NULL;
}

struct proc *proc_find_live(const struct proc_table *table, uint32_t tgid)
{
	struct proc *found = NULL;

	if (!table->slots)
		return NULL;
	for (uint32_t i = home(table, tgid); table->slots[i]; i = (i + 1) & table->slot_mask) {
		struct proc *p = &table->pool[table->slots[i]];

		if (p->tgid == tgid && !p->dead && (!found || p->start > found->start))
			found = p;
	}
	return found;
}

static int grow_pool(struct proc_table *table)
{
	uint32_t size = table->pool_size ? table->pool_size * 2 : FIRST_POOL;
	struct proc *pool = reallocarray(table->pool, size, sizeof(*pool));

	if (!pool)
		return -1;
	if (table->pool_used == 0)
		table->pool_used = 1;
	table->pool = pool;
	table->pool_size = size;
	return 0;
}

static int grow_slots(struct proc_table *table)
{
	uint32_t old_size = table->slots ? table->slot_mask + 1 : 0;
	uint32_t size = old_size ? old_size * 2 : FIRST_POOL * 2;
	proc_ref *old = table->slots;
	proc_ref *slots = calloc(size, sizeof(*slots));

	if (!slots)
		return -1;
	table->slots = slots;
	table->slot_mask = size - 1;
	for (uint32_t i = 0; i < old_size; i++) {
		const struct proc *p = &table->pool[old[i]];

		if (old[i])
			slots[find_slot(table, p->tgid, p->start)] = old[i];
	}
	free(old);
	return 0;
}

struct proc *proc_add(struct proc_table *table, uint32_t tgid, uint64_t start)
{
	proc_ref ref = table->free;
	struct proc *p;

	if ((!table->slots || table->count >= table->slot_mask / 2) && grow_slots(table) < 0)
		return NULL;
	if (!ref && table->pool_used == table->pool_size && grow_pool(table) < 0)
		return NULL;
	if (ref)
		table->free = table->pool[ref].next;
	else
		ref = table->pool_used++;
	p = &table->pool[ref];
	*p = (struct proc){ .tgid = tgid, .start = start };
	table->slots[find_slot(table, tgid, start)] = ref;
	table->count++;
	return p;
}

void proc_bury(struct proc_table *table, struct proc *proc)
{
	proc_ref ref = (proc_ref)(proc - table->pool);

	proc->dead = true;
	proc->next = 0;
	proc->prev = table->newest;
	if (table->newest)
		table->pool[table->newest].next = ref;
	else
		table->oldest = ref;
	table->newest = ref;
	table->dead++;
}

struct proc *proc_oldest_dead(const struct proc_table *table)
{
	return table->oldest ? &table->pool[table->oldest] : NULL;
}

/* Closes the hole, so that no search ends early: moves up whoever is not in its reach any more. */
static void empty_slot(struct proc_table *table, uint32_t hole)
{
	uint32_t mask = table->slot_mask;

	for (uint32_t i = (hole + 1) & mask; table->slots[i]; i = (i + 1) & mask) {
		uint32_t wants = home(table, table->pool[table->slots[i]].tgid);

		if (((i - wants) & mask) >= ((i - hole) & mask)) {
			table->slots[hole] = table->slots[i];
			hole = i;
		}
	}
	table->slots[hole] = 0;
}

void proc_remove(struct proc_table *table, struct proc *proc)
{
	proc_ref ref = (proc_ref)(proc - table->pool);

	if (proc->prev)
		table->pool[proc->prev].next = proc->next;
	else
		table->oldest = proc->next;
	if (proc->next)
		table->pool[proc->next].prev = proc->prev;
	else
		table->newest = proc->prev;
	empty_slot(table, find_slot(table, proc->tgid, proc->start));
	proc->next = table->free;
	table->free = ref;
	table->count--;
	table->dead--;
}
