/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace_table.c - the tasks that are alive under the ptrace source: owns every struct pt_process
 * and struct pt_task. A task is in the table from its birth until wait(2) told its death: until
 * then the kernel cannot give its number to another one. A process stays in memory, out of the
 * table and marked dead, while it has children that point to it.
 */
#include <stdlib.h>

#include "ptrace.h"

#define FIRST_CAPACITY 256u

static size_t home_of(const struct pt_table *table, pid_t tid)
{
	return (size_t)((uint32_t)tid * 2654435761u) & (table->capacity - 1);
}

static void place(struct pt_table *table, struct pt_task *task)
{
	size_t i = home_of(table, task->tid);

	while (table->slots[i])
		i = (i + 1) & (table->capacity - 1);
	table->slots[i] = task;
	table->used++;
}

/* Keeps at least half of the slots empty, or, without memory, at least one. */
static bool make_room(struct pt_table *table)
{
	struct pt_table grown = { .capacity = table->capacity * 2 };

	if (table->used * 2 < table->capacity)
		return true;
	grown.slots = calloc(grown.capacity, sizeof(struct pt_task *));
	if (!grown.slots)
		return table->used + 1 < table->capacity;
	for (size_t i = 0; i < table->capacity; i++) {
		if (table->slots[i])
			place(&grown, table->slots[i]);
	}
	free(table->slots);
	*table = grown;
	return true;
}

static void take_out(struct pt_table *table, const struct pt_task *task)
{
	size_t mask = table->capacity - 1;
	size_t hole = home_of(table, task->tid);

	while (table->slots[hole] != task) {
		if (!table->slots[hole])
			return;
		hole = (hole + 1) & mask;
	}
	table->used--;
	/* Closes the gap, so that no search ends at it before its time. */
	for (size_t i = (hole + 1) & mask; table->slots[i]; i = (i + 1) & mask) {
		size_t home = home_of(table, table->slots[i]->tid);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		table->slots[hole] = table->slots[i];
		hole = i;
	}
	table->slots[hole] = NULL;
}

struct pt_task *knell_pt_find(const struct pt_table *table, pid_t tid)
{
	size_t i = home_of(table, tid);

	while (table->slots[i]) {
		if (table->slots[i]->tid == tid)
			return table->slots[i];
		i = (i + 1) & (table->capacity - 1);
	}
	return NULL;
}

struct pt_process *knell_pt_find_process(const struct pt_table *table, pid_t tgid)
{
	struct pt_task *task = knell_pt_find(table, tgid);

	return task && task == &task->process->leader ? task->process : NULL;
}

static void init_task(struct pt_task *task, struct pt_process *process, pid_t tid, uint64_t start)
{
	task->tid = tid;
	task->start = start;
	task->process = process;
}

struct pt_process *knell_pt_add_process(struct pt_table *table, pid_t tgid, uint64_t start)
{
	struct pt_process *process;

	if (!make_room(table))
		return NULL;
	process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->references = 1;
	process->parent_kind = PT_PARENT_LOOKUP;
	init_task(&process->leader, process, tgid, start);
	place(table, &process->leader);
	return process;
}

struct pt_task *knell_pt_add_thread(struct pt_table *table, struct pt_process *process, pid_t tid,
				    uint64_t start)
{
	struct pt_task *task;

	if (!make_room(table))
		return NULL;
	task = calloc(1, sizeof(*task));
	if (!task)
		return NULL;
	init_task(task, process, tid, start);
	task->next_thread = process->threads;
	task->to_this = &process->threads;
	if (task->next_thread)
		task->next_thread->to_this = &task->next_thread;
	process->threads = task;
	place(table, task);
	return task;
}

static void unreference(struct pt_process *process)
{
	while (process && --process->references == 0) {
		struct pt_process *parent = process->parent;

		free(process);
		process = parent;
	}
}

void knell_pt_set_parent(struct pt_process *process, enum pt_parent kind, struct pt_process *parent)
{
	if (parent)
		parent->references++;
	unreference(process->parent);
	process->parent_kind = kind;
	process->parent = parent;
}

bool knell_pt_single(const struct pt_process *process)
{
	return !process->threads;
}

void knell_pt_remove_thread(struct pt_table *table, struct pt_task *task)
{
	take_out(table, task);
	*task->to_this = task->next_thread;
	if (task->next_thread)
		task->next_thread->to_this = task->to_this;
	if (task->listening)
		task->process->listening--;
	free(task);
}

/* Its threads are gone already, wait(2) sees to that; if one was missed, it goes here. */
void knell_pt_remove_process(struct pt_table *table, struct pt_process *process)
{
	while (process->threads)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): to_this takes it off the list */
		knell_pt_remove_thread(table, process->threads);
	take_out(table, &process->leader);
	while (process->signals) {
		struct pt_signal *signal = process->signals;

		process->signals = signal->next;
		free(signal);
	}
	process->dead = true;
	/* A dead process is nobody's way to its own parent: no chains of the dead. */
	knell_pt_set_parent(process, PT_PARENT_LOOKUP, NULL);
	unreference(process);
}

int knell_pt_table_open(struct pt_table *table)
{
	table->capacity = FIRST_CAPACITY;
	table->slots = calloc(table->capacity, sizeof(struct pt_task *));
	return table->slots ? 0 : -1;
}

void knell_pt_table_close(struct pt_table *table)
{
	size_t i = 0;

	if (!table->slots)
		return;
	while (table->used > 0 && i < table->capacity) {
		struct pt_task *task = table->slots[i];

		if (task)
			/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it leaves its slot */
			knell_pt_remove_process(table, task->process);
		else
			i++;
	}
	free(table->slots);
	table->slots = NULL;
}
