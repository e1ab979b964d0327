/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tree_data.h - the tree's own state: tree.c builds it out of records, tree_print.c draws it.
 */
#ifndef KNELL_WATCHERS_TREE_DATA_H
#define KNELL_WATCHERS_TREE_DATA_H

#include "tree.h"

/* An index into the nodes. Node 0 is nobody: its children are those whose parent is not known. */
typedef uint32_t node_ref;

#define NODE_EXECED (1u << 0) /* ran another program; else it is named as its parent was */
#define NODE_DEAD   (1u << 1)
#define NODE_ALIVE  (1u << 2) /* found alive after its last event */
#define NODE_LATE   (1u << 3) /* its birth was not heard */
#define NODE_TIMES  (1u << 4) /* `cpu` is known */

/* A death that takes more than a status to tell. */
struct tree_death {
	uint32_t unknown;
	struct knell_exit exit;
};

struct node {
	uint64_t start;           /* identity: CLOCK_BOOTTIME, ns */
	uint64_t died;            /* 0: not known */
	uint64_t cpu;             /* ns */
	char *label;              /* NULL: `comm` says it all */
	struct tree_death *death; /* NULL: `status` says it all */
	uint32_t tgid;            /* identity */
	int status;               /* -1: not known */
	node_ref next;            /* sibling, in the order of birth */
	node_ref first_child, last_child;
	node_ref older; /* the one that had this number before */
	uint32_t flags;
	char comm[KNELL_COMM_LEN];
};

struct tree {
	struct node *nodes;
	uint32_t count, size;
	node_ref *slots; /* the newest with each number: open addressing, at most half full */
	uint32_t slot_mask, numbers;
	uint64_t lost_births, lost_deaths;
	uint64_t unkept; /* events that found no memory */
};

#endif
