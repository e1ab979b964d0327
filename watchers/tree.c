/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tree.c - the watcher behind the tree: one node for each process, hung once, at its birth, under
 * the parent that the record names; who is adopted later stays where it was born. A parent's node
 * always has a smaller index than its children's, which tree_print.c relies on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tree_data.h"
#include "words.h"

#define FIRST_NODES 256u
#define LABEL_MAX   240u

static uint32_t find_slot(const struct tree *tree, uint32_t tgid)
{
	uint32_t i = (tgid * 0x9e3779b1u >> 7) & tree->slot_mask;

	while (tree->slots[i] && tree->nodes[tree->slots[i]].tgid != tgid)
		i = (i + 1) & tree->slot_mask;
	return i;
}

static node_ref newest(const struct tree *tree, uint32_t tgid)
{
	return tree->slots[find_slot(tree, tgid)];
}

static struct node *find(const struct tree *tree, const struct knell_task_id *id)
{
	node_ref ref = newest(tree, id->tgid);

	while (ref && tree->nodes[ref].start != id->start)
		ref = tree->nodes[ref].older;
	return ref ? &tree->nodes[ref] : NULL;
}

/*
 * The parent of one born at `start`. Where the record's start of the parent is not that of a node
 * (it may be a thread's), the last one that had the number before this birth was it.
 */
static node_ref find_parent(const struct tree *tree, const struct knell_event *e)
{
	const struct node *exact;
	node_ref ref;

	if (e->unknown & KNELL_U_PARENT || e->parent.tgid == 0)
		return 0;
	exact = find(tree, &e->parent);
	if (exact)
		return (node_ref)(exact - tree->nodes);
	ref = newest(tree, e->parent.tgid);
	while (ref && tree->nodes[ref].start > e->task.start)
		ref = tree->nodes[ref].older;
	return ref;
}

static int grow_nodes(struct tree *tree)
{
	uint32_t size = tree->size ? tree->size * 2 : FIRST_NODES;
	struct node *nodes = reallocarray(tree->nodes, size, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	tree->nodes = nodes;
	tree->size = size;
	return 0;
}

static int grow_slots(struct tree *tree)
{
	uint32_t old_size = tree->slots ? tree->slot_mask + 1 : 0;
	uint32_t size = old_size ? old_size * 2 : 2 * FIRST_NODES;
	node_ref *old = tree->slots;
	node_ref *slots = calloc(size, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	tree->slots = slots;
	tree->slot_mask = size - 1;
	for (uint32_t i = 0; i < old_size; i++) {
		if (old[i])
			slots[find_slot(tree, tree->nodes[old[i]].tgid)] = old[i];
	}
	free(old);
	return 0;
}

static void set_name(struct node *node, const struct knell_event *e)
{
	if (!(e->unknown & KNELL_U_COMM))
		words_copy_comm(node->comm, e->comm);
}

static void hang(struct tree *tree, node_ref parent, node_ref child)
{
	struct node *p = &tree->nodes[parent];

	if (p->last_child)
		tree->nodes[p->last_child].next = child;
	else
		p->first_child = child;
	p->last_child = child;
}

static struct node *add(struct tree *tree, const struct knell_event *e)
{
	node_ref ref, parent;
	struct node *node;
	uint32_t slot;

	if ((tree->count == tree->size && grow_nodes(tree) < 0) ||
	    (tree->numbers >= tree->slot_mask / 2 && grow_slots(tree) < 0)) {
		tree->unkept++;
		return NULL;
	}
	parent = find_parent(tree, e);
	ref = tree->count++;
	node = &tree->nodes[ref];
	slot = find_slot(tree, e->task.tgid);
	*node = (struct node){
		.start = e->task.start,
		.tgid = e->task.tgid,
		.status = -1,
		.older = tree->slots[slot],
	};
	tree->numbers += tree->slots[slot] == 0;
	tree->slots[slot] = ref;
	set_name(node, e);
	hang(tree, parent, ref);
	return node;
}

static struct node *find_or_add(struct tree *tree, const struct knell_event *e)
{
	struct node *node = find(tree, &e->task);

	if (node)
		return node;
	node = add(tree, e);
	if (node)
		node->flags |= NODE_LATE;
	return node;
}

static int on_birth(struct tree *tree, const struct knell_event *e)
{
	struct node *node;

	if (!(e->flags & KNELL_F_RECONCILED))
		return add(tree, e) ? 0 : -ENOMEM;
	node = find_or_add(tree, e);
	if (!node)
		return -ENOMEM;
	node->flags |= NODE_ALIVE;
	return 0;
}

/*
 * The program that an exec record tells of: the name that the process has now, or the whole of it
 * where the kernel had to cut it.
 */
static const char *program(const struct knell_event *e)
{
	const char *base;

	if (e->unknown & KNELL_U_FILE || e->u.exec.file_len == 0)
		return e->unknown & KNELL_U_COMM ? "" : e->comm;
	base = words_basename(knell_exec_file(e));
	if (e->unknown & KNELL_U_COMM || strncmp(base, e->comm, strlen(e->comm)) == 0)
		return base;
	return e->comm;
}

/* " -c main.c": as typed, without quotes, in a form for terminals. */
static size_t put_arguments(char *dst, size_t size, const struct knell_event *e)
{
	const char *args = knell_exec_args(e);
	size_t used = 0;

	for (size_t i = 0, len; i < e->u.exec.args_len; i += len + 1) {
		len = strnlen(args + i, e->u.exec.args_len - i);
		/* The first is the program's name, which is there already. */
		if (i == 0)
			continue;
		if (used + 2 < size)
			dst[used++] = ' ';
		used += words_escape(dst + used, size - used, args + i, len);
	}
	return used;
}

/* What the node was called before, up to a length that leaves room for the next name. */
static size_t put_former(char *dst, const struct node *node)
{
	struct words_name name = words_comm(node->comm, true);
	const char *former = node->label ? node->label : name.s;
	const char *more = "";
	char text[LABEL_MAX];

	snprintf(text, sizeof(text), "%s", former);
	if (strlen(text) > LABEL_MAX / 2) {
		words_cut(text, LABEL_MAX / 8);
		more = " ...";
	}
	return (size_t)snprintf(dst, LABEL_MAX, "%.*s%s -> ", (int)LABEL_MAX / 2, text, more);
}

/* A process that runs one program after another is called a -> b -> c. */
static int on_exec(struct tree *tree, const struct knell_event *e)
{
	struct node *node = find_or_add(tree, e);
	const char *name = program(e);
	bool first, args = !(e->unknown & KNELL_U_ARGS);
	char text[LABEL_MAX + sizeof("...")];
	size_t used = 0;
	char *label;

	if (!node)
		return -ENOMEM;
	first = !(node->flags & NODE_EXECED);
	node->flags |= NODE_EXECED;
	if (first && !args && strlen(name) < KNELL_COMM_LEN) {
		words_copy_comm(node->comm, name);
		return 0;
	}
	if (!first)
		used = put_former(text, node);
	used += words_escape(text + used, LABEL_MAX - used, name, strlen(name));
	if (args)
		used += put_arguments(text + used, LABEL_MAX - used, e);
	/* The longest character, or an escape, did not fit in what is left. */
	if (used + 6 > LABEL_MAX || e->flags & KNELL_F_TRUNCATED)
		memcpy(text + used, "...", sizeof("..."));
	label = strdup(text);
	if (!label) {
		tree->unkept++;
		return -ENOMEM;
	}
	free(node->label);
	node->label = label;
	return 0;
}

static void set_cpu(struct node *node, const struct knell_usage *usage, uint32_t unknown)
{
	if (unknown & KNELL_U_TIMES)
		return;
	node->cpu = usage->utime + usage->stime;
	node->flags |= NODE_TIMES;
}

/* Everything but a plain exit is kept whole; without memory for it, its status is. */
static int keep_death(struct tree *tree, struct node *node, const struct knell_event *e)
{
	const struct knell_exit *death = &e->u.exit;

	if (e->unknown & KNELL_U_STATUS)
		return 0;
	node->status = death->status;
	if (!WIFSIGNALED(death->status) && !words_was_warned(death, e->unknown))
		return 0;
	node->death = malloc(sizeof(*node->death));
	if (!node->death) {
		tree->unkept++;
		return -ENOMEM;
	}
	node->death->unknown = e->unknown;
	node->death->exit = *death;
	return 0;
}

static int on_death(struct tree *tree, const struct knell_event *e)
{
	struct node *node = find_or_add(tree, e);

	if (!node)
		return -ENOMEM;
	if (node->flags & NODE_DEAD)
		return 0;
	node->flags = (node->flags & ~NODE_ALIVE) | NODE_DEAD;
	node->died = e->time;
	/* A stamp taken when it was first heard of says nothing about how long it lived. */
	if (node->flags & NODE_LATE && e->flags & KNELL_F_START_STAMP)
		node->died = 0;
	set_cpu(node, &e->u.exit.usage, e->unknown);
	return keep_death(tree, node, e);
}

static void on_free(struct tree *tree, const struct knell_event *e)
{
	struct node *node = find(tree, &e->task);

	if (!node)
		return;
	node->flags = (node->flags & ~NODE_ALIVE) | NODE_DEAD;
	set_cpu(node, &e->u.free.usage, e->unknown);
}

static int on_event(const struct knell_event *e, void *userdata)
{
	struct tree *tree = userdata;

	if (e->kind == KNELL_GAP) {
		tree->lost_births += e->u.gap.births;
		tree->lost_deaths += e->u.gap.deaths;
		return 0;
	}
	if (e->scope != KNELL_PROCESS || e->flags & KNELL_F_REPLACED)
		return 0;
	switch (e->kind) {
	case KNELL_CLONE:
		return on_birth(tree, e);
	case KNELL_EXEC:
		return on_exec(tree, e);
	case KNELL_EXIT:
		return on_death(tree, e);
	case KNELL_FREE:
		on_free(tree, e);
		return 0;
	default:
		return 0;
	}
}

int tree_new(struct tree **ret_tree, struct knell_engine *engine)
{
	const uint32_t mask = KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXEC) |
			      KNELL_MASK(KNELL_EXIT) | KNELL_MASK(KNELL_FREE) |
			      KNELL_MASK(KNELL_GAP);
	struct tree *tree = calloc(1, sizeof(*tree));
	int r = -ENOMEM;

	if (!tree)
		return -ENOMEM;
	if (grow_nodes(tree) < 0 || grow_slots(tree) < 0)
		goto fail;
	tree->nodes[0] = (struct node){ 0 };
	tree->count = 1;
	r = knell_watcher_add(engine, mask, on_event, tree);
	if (r < 0)
		goto fail;
	*ret_tree = tree;
	return 0;
fail:
	tree_free(tree);
	return r;
}

struct tree *tree_free(struct tree *tree)
{
	if (!tree)
		return NULL;
	for (uint32_t i = 0; i < tree->count; i++) {
		free(tree->nodes[i].label);
		free(tree->nodes[i].death);
	}
	free(tree->nodes);
	free(tree->slots);
	free(tree);
	return NULL;
}
