/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tree_print.c - draws the tree. Each subtree gets a hash of its programs and ends; siblings with
 * the same hash are one group, drawn as one line "x N" with the longest life and the CPU time of
 * all, and the children of all of a group's members are grouped again below it. No recursion over
 * the input: a chain of forks may be as deep as there are pids.
 */
#include <errno.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>

#include "tree_data.h"
#include "words.h"

/* Deeper ones are counted, not drawn: they would be off any screen. */
#define DEPTH_MAX 48u

struct glyphs {
	const char *branch, *last, *pass, *none;
};

static const struct glyphs utf8_glyphs = { "├─ ", "└─ ", "│  ", "   " };
static const struct glyphs ascii_glyphs = { "|- ", "`- ", "|  ", "   " };

/* What a subtree is like. */
struct shape {
	uint64_t hash;
	uint32_t size; /* processes in it */
};

/* Members of `refs` from `from` to `to`: siblings, or cousins, that are alike. */
struct group {
	uint32_t from, to;
};

/* One level of the way from the root to the line that is drawn: groups still to draw. */
struct level {
	node_ref *refs;
	struct group *groups;
	uint32_t count, next;
};

struct drawing {
	const struct tree *tree;
	struct shape *shapes;
	FILE *file;
	const struct glyphs *glyphs;
	bool folded;
	uint32_t depth;
	struct level levels[DEPTH_MAX];
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15u;
	return a ^ a >> 32;
}

static uint64_t hash_text(uint64_t hash, const char *s)
{
	for (; *s; s++)
		hash = (hash ^ (unsigned char)*s) * 0x100000001b3u;
	return mix(hash, 1);
}

/* What a process ended of, or "" if there is nothing to say. */
static void describe_end(char *text, size_t size, const struct node *node)
{
	text[0] = '\0';
	if (node->flags & NODE_ALIVE)
		snprintf(text, size, "still running");
	else if (!(node->flags & NODE_DEAD))
		snprintf(text, size, "end not heard");
	else if (node->death)
		words_death(text, size, node->tgid, &node->death->exit, node->death->unknown);
	else if (node->status == -1)
		snprintf(text, size, "ended, nobody knows how");
	else if (node->status != 0)
		words_status(text, size, node->status);
}

static uint64_t hash_node(const struct node *node)
{
	char end[WORDS_DEATH_MAX];
	uint64_t hash = hash_text(0xcbf29ce484222325u, node->label ? node->label : node->comm);

	describe_end(end, sizeof(end), node);
	hash = hash_text(hash, end);
	return mix(hash, node->flags & (NODE_EXECED | NODE_LATE));
}

/*
 * From the last node to the first: children come after their parents. Children are added up, so
 * that their order does not matter.
 */
static int make_shapes(struct drawing *d)
{
	const struct tree *tree = d->tree;

	d->shapes = calloc(tree->count, sizeof(*d->shapes));
	if (!d->shapes)
		return -ENOMEM;
	for (node_ref i = tree->count; i-- > 1;) {
		struct shape *s = &d->shapes[i];

		s->size = 1;
		for (node_ref c = tree->nodes[i].first_child; c; c = tree->nodes[c].next) {
			s->hash += mix(d->shapes[c].hash, 2);
			s->size += d->shapes[c].size;
		}
		s->hash = mix(hash_node(&tree->nodes[i]), s->hash);
	}
	return 0;
}

static int by_shape(const void *a, const void *b, void *shapes)
{
	const node_ref *x = a, *y = b;
	const struct shape *s = shapes;

	if (s[*x].hash != s[*y].hash)
		return s[*x].hash < s[*y].hash ? -1 : 1;
	return *x < *y ? -1 : *x > *y;
}

static int by_birth(const void *a, const void *b, void *refs)
{
	const struct group *x = a, *y = b;
	const node_ref *r = refs;

	return r[x->from] < r[y->from] ? -1 : r[x->from] > r[y->from];
}

/* Sorts the children of `count` members of a group, which have so many in all, into groups. */
static int make_level(const struct drawing *d, struct level *ret, const node_ref *members,
		      uint32_t count, uint32_t children)
{
	struct level level = { 0 };
	uint32_t n = 0;

	level.refs = reallocarray(NULL, children, sizeof(*level.refs));
	level.groups = reallocarray(NULL, children, sizeof(*level.groups));
	if (!level.refs || !level.groups) {
		free(level.refs);
		free(level.groups);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++) {
		node_ref c = d->tree->nodes[members[i]].first_child;

		for (; c; c = d->tree->nodes[c].next)
			level.refs[n++] = c;
	}
	qsort_r(level.refs, n, sizeof(*level.refs), by_shape, d->shapes);
	for (uint32_t i = 0; i < n; i++) {
		if (i == 0 || d->shapes[level.refs[i]].hash != d->shapes[level.refs[i - 1]].hash)
			level.groups[level.count++].from = i;
		level.groups[level.count - 1].to = i + 1;
	}
	qsort_r(level.groups, level.count, sizeof(*level.groups), by_birth, level.refs);
	*ret = level;
	return 0;
}

static uint32_t count_children(const struct drawing *d, const node_ref *parents, uint32_t count)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < count; i++) {
		node_ref c = d->tree->nodes[parents[i]].first_child;

		for (; c; c = d->tree->nodes[c].next)
			n++;
	}
	return n;
}

/* The longest life and the CPU time of all members, as two columns. */
static void draw_columns(const struct drawing *d, const node_ref *refs, uint32_t count)
{
	uint64_t longest = 0, cpu = 0;
	bool lived = false, times = false;

	for (uint32_t i = 0; i < count; i++) {
		const struct node *node = &d->tree->nodes[refs[i]];

		if (node->died > node->start && node->start) {
			lived = true;
			if (node->died - node->start > longest)
				longest = node->died - node->start;
		}
		times |= node->flags & NODE_TIMES;
		cpu += node->cpu;
	}
	fprintf(d->file, "%8s  ", lived ? words_duration(longest).s : "?");
	fprintf(d->file, "%8s  ", times ? words_duration(cpu).s : "?");
}

static void draw_branches(const struct drawing *d)
{
	for (uint32_t i = 1; i < d->depth; i++) {
		const struct level *level = &d->levels[i];
		bool last = level->next == level->count;

		if (i + 1 < d->depth)
			fputs(last ? d->glyphs->none : d->glyphs->pass, d->file);
		else
			fputs(last ? d->glyphs->last : d->glyphs->branch, d->file);
	}
}

static void draw_group(struct drawing *d, const node_ref *refs, uint32_t count)
{
	const struct node *node = &d->tree->nodes[refs[0]];
	struct words_name comm = words_comm(node->comm, true);
	const char *name = node->label ? node->label : comm.s;
	char end[WORDS_DEATH_MAX];

	draw_columns(d, refs, count);
	draw_branches(d);
	/* A shell's own notation for a fork that runs no program of its own. */
	fprintf(d->file, node->flags & NODE_EXECED ? "%s" : "(%s)", name);
	if (count > 1) {
		fprintf(d->file, " x %s", words_count(count).s);
		d->folded = true;
	}
	describe_end(end, sizeof(end), node);
	if (*end && count == 1)
		fprintf(d->file, "  [%u] %s", node->tgid, end);
	else if (*end)
		fprintf(d->file, "  %s", end);
	if (node->flags & NODE_LATE)
		fputs("  (birth not heard)", d->file);
	fputc('\n', d->file);
}

static void pop(struct drawing *d)
{
	struct level *level = &d->levels[--d->depth];

	free(level->refs);
	free(level->groups);
}

static void draw_too_deep(struct drawing *d, const node_ref *refs, uint32_t count)
{
	uint64_t below = 0;

	for (uint32_t i = 0; i < count; i++)
		below += d->shapes[refs[i]].size - 1;
	fprintf(d->file, "%20s", "");
	draw_branches(d);
	fprintf(d->file, "   ... and %s deeper\n", words_count(below).s);
}

/* Draws the next group of the deepest level, and goes into its children. */
static int draw_next(struct drawing *d)
{
	struct level *level = &d->levels[d->depth - 1];
	const struct group *group = &level->groups[level->next++];
	const node_ref *refs = level->refs + group->from;
	uint32_t count = group->to - group->from, children;

	draw_group(d, refs, count);
	children = count_children(d, refs, count);
	if (children == 0)
		return 0;
	if (d->depth == DEPTH_MAX) {
		draw_too_deep(d, refs, count);
		return 0;
	}
	if (make_level(d, &d->levels[d->depth], refs, count, children) < 0)
		return -ENOMEM;
	d->depth++;
	return 0;
}

static int draw(struct drawing *d)
{
	const node_ref nobody = 0;
	uint32_t roots = count_children(d, &nobody, 1);
	int r = 0;

	if (roots == 0)
		return 0;
	if (make_level(d, &d->levels[0], &nobody, 1, roots) < 0)
		return -ENOMEM;
	d->depth = 1;
	while (d->depth > 0 && r == 0) {
		const struct level *level = &d->levels[d->depth - 1];

		if (level->next == level->count)
			pop(d);
		else
			r = draw_next(d);
	}
	while (d->depth > 0)
		pop(d);
	return r;
}

static void draw_notes(const struct drawing *d)
{
	const struct tree *tree = d->tree;

	if (d->folded)
		fprintf(d->file, "x N: N of a kind; the longest life, the CPU time of all\n");
	if (tree->lost_births || tree->lost_deaths)
		fprintf(d->file, "not in it: %s births and %s deaths that were not heard\n",
			words_count(tree->lost_births).s, words_count(tree->lost_deaths).s);
	if (tree->unkept)
		fprintf(d->file, "not in it: %s events for which there was no memory\n",
			words_count(tree->unkept).s);
}

int tree_print(struct tree *tree, FILE *file, bool utf8)
{
	struct drawing d = {
		.tree = tree,
		.file = file,
		.glyphs = utf8 ? &utf8_glyphs : &ascii_glyphs,
	};
	int r = make_shapes(&d);

	if (r < 0)
		return r;
	errno = 0;
	fprintf(file, "%8s  %8s  %s\n", "lived", "CPU", "process");
	r = draw(&d);
	if (r == 0)
		draw_notes(&d);
	free(d.shapes);
	if (fflush(file) != 0 || ferror(file))
		return errno ? -errno : -EIO;
	return r;
}

bool tree_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}
