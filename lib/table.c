/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * table.c - the dispatch table; see table.h. It owns the watchers, the pages that walks read, and
 * what is retired but may still be met by a walk.
 *
 * Nobody waits for walks while holding the lock: a watcher may take it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "clock.h"
#include "rcu.h"
#include "source/source.h"
#include "table.h"

#define SAMPLE_SHIFT 58 /* of 64 bits: one call of 64 is timed */
#define MAX_RETIRED  8  /* pages and watchers that may wait for a reason to wait */

/* What each walk needs of one watcher. */
struct call {
	knell_watcher_fn fn;
	void *userdata;
};

/* What a walk seldom needs. */
struct seldom {
	knell_filter_fn filter;
	struct watcher *watcher;
};

/* In sealed pages. */
struct dispatch {
	struct range {
		const struct call *first, *end;
		const struct seldom *seldom; /* one for each of these calls */
		bool filters;                /* some have one */
	} of[KNELL_KIND_MAX];
	struct call calls[]; /* then as many struct seldom */
};

/* Owns a struct dispatch, which cannot be written to when it is retired. */
struct page {
	struct retired retired;
	struct dispatch *dispatch;
	size_t size;
};

struct table {
	/* All that walks read; written only where somebody comes or leaves. */
	const struct dispatch *now; /* see rcu.h */
	uint32_t kinds;             /* atomic: KNELL_MASK() of those that have watchers */
	bool unsettled;             /* atomic: something was retired inside a watcher */

	_Alignas(TABLE_LINE) uint64_t errors; /* atomic */

	_Alignas(TABLE_LINE) pthread_mutex_t lock; /* for all that follows */
	struct watcher **watchers;                 /* sorted */
	size_t count;
	struct page *page; /* of `now`; NULL: it is `nobody` */
	struct retired *retired, **retired_end;
	unsigned int retired_count;
};

static const struct dispatch nobody;

#ifdef KNELL_RCU_TSAN
char knell_rcu_mark;
#endif

/* ---- walking ---- */

static inline bool wants(const struct table *table, unsigned int kind)
{
	return __atomic_load_n(&table->kinds, __ATOMIC_RELAXED) & KNELL_MASK(kind);
}

/* Not each 64th: kinds may alternate, and some would never be timed. */
static bool is_sampled(const struct knell_event *event)
{
	return (event->seq + 1) * UINT64_C(0x9e3779b97f4a7c15) >> SAMPLE_SHIFT == 0;
}

/*
 * A watcher that was removed inside this walk, or by another thread that waits for it, must not be
 * called. Pairs with the stores in remove_matches().
 */
static inline bool is_replaced(const struct table *table, const struct dispatch *dispatch)
{
	return __builtin_expect(rcu_get(&table->now) != dispatch, 0);
}

static bool is_gone(const struct watcher *watcher)
{
	return __atomic_load_n(&watcher->gone, __ATOMIC_RELAXED);
}

static __attribute__((noinline, cold)) void count_error(struct table *table,
							struct watcher *watcher)
{
	__atomic_fetch_add(&watcher->errors, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&table->errors, 1, __ATOMIC_RELAXED);
}

static void count_time(struct watcher *watcher, uint64_t ns)
{
	uint64_t slowest = __atomic_load_n(&watcher->slowest, __ATOMIC_RELAXED);

	__atomic_fetch_add(&watcher->sampled, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&watcher->ns, ns, __ATOMIC_RELAXED);
	while (ns > slowest && !__atomic_compare_exchange_n(&watcher->slowest, &slowest, ns, true,
							    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Where no watcher has a filter, which is usual, and the clock is not looked at. */
static inline void walk(struct table *table, const struct dispatch *dispatch,
			const struct knell_event *event)
{
	const struct range *range = &dispatch->of[event->kind];
	const struct call *end = range->end; /* the compiler cannot know that it is constant */

	for (const struct call *c = range->first; c < end; c++) {
		if (is_replaced(table, dispatch) &&
		    is_gone(range->seldom[c - range->first].watcher))
			continue;
		if (__builtin_expect(c->fn(event, c->userdata) < 0, 0))
			count_error(table, range->seldom[c - range->first].watcher);
	}
}

/* With filters, and with a look at the clock after each watcher if `timed`. */
static __attribute__((noinline)) void walk_all(struct table *table, const struct dispatch *dispatch,
					       const struct knell_event *event, bool timed)
{
	const struct range *range = &dispatch->of[event->kind];
	const struct seldom *s = range->seldom;
	uint64_t before = timed ? clock_ns(CLOCK_MONOTONIC) : 0, after;

	for (const struct call *c = range->first; c < range->end; c++, s++) {
		if ((is_replaced(table, dispatch) && is_gone(s->watcher)) ||
		    (s->filter && !s->filter(event)))
			continue;
		if (c->fn(event, c->userdata) < 0)
			count_error(table, s->watcher);
		if (!timed)
			continue;
		after = clock_ns(CLOCK_MONOTONIC);
		count_time(s->watcher, after - before);
		before = after;
	}
}

void table_tell(struct table *table, const struct knell_event *event)
{
	const struct dispatch *dispatch;
	bool timed = is_sampled(event);

	if (event->kind >= KNELL_KIND_MAX || !wants(table, event->kind))
		return;
	rcu_enter();
	dispatch = rcu_get(&table->now);
	if (__builtin_expect(timed || dispatch->of[event->kind].filters, 0))
		walk_all(table, dispatch, event, timed);
	else
		walk(table, dispatch, event);
	rcu_leave();
	if (__builtin_expect(__atomic_load_n(&table->unsettled, __ATOMIC_RELAXED), 0))
		table_settle(table);
}

void table_begin(void)
{
	rcu_enter();
}

void table_end(struct table *table)
{
	rcu_leave();
	if (__builtin_expect(__atomic_load_n(&table->unsettled, __ATOMIC_RELAXED), 0))
		table_settle(table);
}

bool table_wants(const struct table *table, unsigned int kind)
{
	return wants(table, kind);
}

uint64_t table_errors(const struct table *table)
{
	return __atomic_load_n(&table->errors, __ATOMIC_RELAXED);
}

/* ---- retiring ---- */

/* With the lock. */
static void retire(struct table *table, struct retired *retired)
{
	retired->next = NULL;
	*table->retired_end = retired;
	table->retired_end = &retired->next;
	table->retired_count++;
}

void table_retire(struct table *table, struct retired *retired)
{
	pthread_mutex_lock(&table->lock);
	retire(table, retired);
	pthread_mutex_unlock(&table->lock);
}

/* In the order in which they were retired: a plugin's code goes after its watchers. */
static void free_all(struct retired *list)
{
	while (list) {
		struct retired *next = list->next;

		list->free(list);
		list = next;
	}
}

bool table_is_inside(void)
{
	return rcu_inside();
}

void table_settle(struct table *table)
{
	struct retired *list;

	if (rcu_inside()) {
		__atomic_store_n(&table->unsettled, true, __ATOMIC_RELAXED);
		return;
	}
	pthread_mutex_lock(&table->lock);
	list = table->retired;
	table->retired = NULL;
	table->retired_end = &table->retired;
	table->retired_count = 0;
	__atomic_store_n(&table->unsettled, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&table->lock);
	/* Also if the list is empty: another thread may have taken what the caller retired. */
	rcu_wait();
	free_all(list);
}

static void free_watcher(struct retired *retired)
{
	free(retired); /* the first member of struct watcher */
}

static void free_page(struct retired *retired)
{
	struct page *page = (struct page *)retired;

	munmap(page->dispatch, page->size);
	rcu_gave_pages_back();
	free(page);
}

/* ---- replacing ---- */

static struct page *new_page(size_t calls)
{
	struct page *page = calloc(1, sizeof(*page));
	void *memory;

	if (!page)
		return NULL;
	page->retired.free = free_page;
	page->size =
		sizeof(struct dispatch) + calls * (sizeof(struct call) + sizeof(struct seldom));
	memory = mmap(NULL, page->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		free(page);
		return NULL;
	}
	page->dispatch = memory;
	return page;
}

/* False: it could not be sealed. */
static bool fill_page(struct page *page, struct watcher *const watchers[], size_t count)
{
	struct dispatch *d = page->dispatch;
	struct seldom *seldom = (struct seldom *)(d->calls + count);
	size_t n = 0;

	for (unsigned int kind = 0; kind < KNELL_KIND_MAX; kind++) {
		struct range *range = &d->of[kind];

		range->first = d->calls + n;
		range->seldom = seldom + n;
		for (; n < count && watchers[n]->kind == kind; n++) {
			d->calls[n] = (struct call){ watchers[n]->fn, watchers[n]->userdata };
			seldom[n] = (struct seldom){ watchers[n]->filter, watchers[n] };
			range->filters |= watchers[n]->filter != NULL;
		}
		range->end = d->calls + n;
	}
	return mprotect(d, page->size, PROT_READ) == 0;
}

/* With the lock. From here on walks see `count` watchers that are sorted. */
static int replace(struct table *table, struct watcher *const watchers[], size_t count)
{
	struct page *page = count ? new_page(count) : NULL;
	uint32_t kinds = 0;

	if (count && (!page || !fill_page(page, watchers, count))) {
		if (page)
			free_page(&page->retired);
		return knell_fail(-ENOMEM, "no memory for a table of %zu watchers", count);
	}
	for (size_t i = 0; i < count; i++)
		kinds |= KNELL_MASK(watchers[i]->kind);
	rcu_set(&table->now, page ? page->dispatch : &nobody);
	__atomic_store_n(&table->kinds, kinds, __ATOMIC_RELAXED);
	if (table->page)
		retire(table, &table->page->retired);
	table->page = page;
	return 0;
}

static int compare(const struct watcher *a, const struct watcher *b)
{
	int names;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	names = strcmp(a->name, b->name);
	return names ? names : strcmp(a->file, b->file);
}

static void insert(struct watcher *watchers[], size_t count, struct watcher *added)
{
	size_t at = count;

	while (at > 0 && compare(added, watchers[at - 1]) < 0)
		at--;
	memmove(watchers + at + 1, watchers + at, (count - at) * sizeof(struct watcher *));
	watchers[at] = added;
}

static size_t count_matches(const struct table *table, watcher_match match, const void *key)
{
	size_t n = 0;

	for (size_t i = 0; match && i < table->count; i++)
		n += match(table->watchers[i], key);
	return n;
}

/* With the lock. */
static int add(struct table *table, struct watcher *const added[], size_t count,
	       watcher_match match, const void *key)
{
	struct watcher **watchers;
	int r;

	if (count_matches(table, match, key))
		return knell_fail(-EEXIST, "these watchers are there already");
	watchers = calloc(table->count + count + 1, sizeof(struct watcher *));
	if (!watchers)
		return knell_fail(-ENOMEM, "no memory for another watcher");
	if (table->count)
		memcpy(watchers, table->watchers, table->count * sizeof(struct watcher *));
	for (size_t i = 0; i < count; i++)
		insert(watchers, table->count + i, added[i]);
	r = replace(table, watchers, table->count + count);
	if (r < 0) {
		free(watchers);
		return r;
	}
	free(table->watchers);
	table->watchers = watchers;
	table->count += count;
	return 0;
}

int table_add(struct table *table, struct watcher *const added[], size_t count, watcher_match match,
	      const void *key)
{
	bool many;
	int r;

	pthread_mutex_lock(&table->lock);
	r = add(table, added, count, match, key);
	many = table->retired_count > MAX_RETIRED;
	pthread_mutex_unlock(&table->lock);
	if (many)
		table_settle(table);
	return r;
}

/* With the lock. `kept` has room for all. */
static int remove_matches(struct table *table, struct watcher *kept[], watcher_match match,
			  const void *key)
{
	size_t count = 0, removed;
	int r;

	for (size_t i = 0; i < table->count; i++) {
		if (!match(table->watchers[i], key))
			kept[count++] = table->watchers[i];
	}
	removed = table->count - count;
	/* Before the new table is published: who sees that must see these. */
	for (size_t i = 0; i < table->count; i++) {
		if (match(table->watchers[i], key))
			__atomic_store_n(&table->watchers[i]->gone, true, __ATOMIC_RELAXED);
	}
	r = removed ? replace(table, kept, count) : 0;
	for (size_t i = 0; i < table->count; i++) {
		struct watcher *w = table->watchers[i];

		if (!match(w, key))
			continue;
		if (r < 0)
			__atomic_store_n(&w->gone, false, __ATOMIC_RELAXED);
		else
			retire(table, &w->retired);
	}
	if (r < 0)
		return r;
	memcpy(table->watchers, kept, count * sizeof(struct watcher *));
	table->count = count;
	return (int)removed;
}

int table_remove(struct table *table, watcher_match match, const void *key)
{
	struct watcher **kept;
	int r = -ENOMEM;

	pthread_mutex_lock(&table->lock);
	kept = calloc(table->count + 1, sizeof(struct watcher *));
	if (kept)
		r = table->count ? remove_matches(table, kept, match, key) : 0;
	else
		knell_fail(-ENOMEM, "no memory to remove a watcher");
	pthread_mutex_unlock(&table->lock);
	free(kept);
	return r;
}

/* ---- the rest ---- */

struct watcher *watcher_new(void)
{
	struct watcher *watcher = aligned_alloc(TABLE_LINE, sizeof(*watcher));

	if (!watcher)
		return NULL;
	memset(watcher, 0, sizeof(*watcher));
	watcher->retired.free = free_watcher;
	watcher->name = watcher->file = "";
	return watcher;
}

int table_get_stats(struct table *table, size_t index, struct knell_watcher_stats *ret)
{
	const struct watcher *w;
	int r = -ENOENT;

	pthread_mutex_lock(&table->lock);
	if (index < table->count) {
		w = table->watchers[index];
		*ret = (struct knell_watcher_stats){
			.kind = w->kind,
			.priority = w->priority,
			.errors = __atomic_load_n(&w->errors, __ATOMIC_RELAXED),
			.sampled = __atomic_load_n(&w->sampled, __ATOMIC_RELAXED),
			.ns = __atomic_load_n(&w->ns, __ATOMIC_RELAXED),
			.slowest = __atomic_load_n(&w->slowest, __ATOMIC_RELAXED),
		};
		memcpy(ret->name, w->name, strnlen(w->name, sizeof(ret->name) - 1));
		r = 0;
	}
	pthread_mutex_unlock(&table->lock);
	return r;
}

const void *table_page(const struct table *table)
{
	return rcu_get(&table->now);
}

int table_new(struct table **ret)
{
	struct table *table = aligned_alloc(TABLE_LINE, sizeof(*table));

	if (!table)
		return knell_fail(-ENOMEM, "no memory for a table of watchers");
	memset(table, 0, sizeof(*table));
	pthread_mutex_init(&table->lock, NULL);
	table->now = &nobody;
	table->retired_end = &table->retired;
	*ret = table;
	return 0;
}

struct table *table_free(struct table *table)
{
	if (!table)
		return NULL;
	free_all(table->retired);
	for (size_t i = 0; i < table->count; i++)
		free(table->watchers[i]);
	if (table->page)
		free_page(&table->page->retired);
	free(table->watchers);
	pthread_mutex_destroy(&table->lock);
	free(table);
	return NULL;
}
