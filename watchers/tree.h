/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tree.h - the tree of a run: each process under the one that made it, with how long it lived, the
 * CPU time that it used, the programs that it ran and how it ended.
 *
 * Unlike the report it has to remember each process: 88 bytes a process and 8 in an index (room
 * doubles as it grows, so up to twice that), and a text for one that ran several programs, one with
 * a long name, or one whose arguments were recorded (at most 240 bytes), and 208 bytes for one that
 * died of a signal or was warned by one.
 */
#ifndef KNELL_WATCHERS_TREE_H
#define KNELL_WATCHERS_TREE_H

#include <stdbool.h>
#include <stdio.h>

#include <knell/knell.h>

struct tree;

/* Remembers from the next dispatch on. The engine calls it until it is closed: free it then. */
int tree_new(struct tree **ret_tree, struct knell_engine *engine);

/*
 * Draws it. Siblings whose whole subtrees are alike (same programs, same ends) are drawn as one,
 * with their number. `utf8`: with line-drawing characters; see tree_utf8(). -errno if memory or
 * writing failed.
 */
int tree_print(struct tree *tree, FILE *file, bool utf8);

/* Is the character set of the locale UTF-8? The program has to have called setlocale(3). */
bool tree_utf8(void);

/* Returns NULL. */
struct tree *tree_free(struct tree *tree);

#endif
