/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * progress.c - the live line; see progress.h. Its counters are those of records heard: the report
 * at the end is the one that accounts for losses.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "progress.h"
#include "words.h"

#define INTERVAL      UINT64_C(100000000)
#define DEFAULT_WIDTH 80u

struct progress {
	int fd;
	bool terminal;
	bool drawn;
	uint64_t started_at, drawn_at;
	uint64_t births, deaths, failed;
};

static int on_event(const struct knell_event *e, void *userdata)
{
	struct progress *p = userdata;

	if (e->scope == KNELL_THREAD || e->flags & (KNELL_F_REPLACED | KNELL_F_RECONCILED))
		return 0;
	if (e->kind == KNELL_CLONE) {
		p->births++;
	} else if (e->kind == KNELL_EXIT) {
		p->deaths++;
		p->failed += words_failed(&e->u.exit, e->unknown);
	} else if (e->kind == KNELL_GAP) {
		p->births += e->u.gap.births;
		p->deaths += e->u.gap.deaths;
	}
	return 0;
}

int progress_new(struct progress **ret_progress, struct knell_engine *engine, int fd, uint64_t now)
{
	const uint32_t mask =
		KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXIT) | KNELL_MASK(KNELL_GAP);
	struct progress *p = calloc(1, sizeof(*p));
	const char *term = getenv("TERM");
	int r;

	if (!p)
		return -ENOMEM;
	p->fd = fd;
	p->terminal = isatty(fd) && !(term && strcmp(term, "dumb") == 0);
	p->started_at = now;
	r = knell_watcher_add(engine, mask, on_event, p);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret_progress = p;
	return 0;
}

/* A terminal that takes no more is not worth waiting for. */
static void put(const struct progress *p, const char *text, size_t len)
{
	ssize_t n = write(p->fd, text, len);

	(void)n;
}

/* One column less than there are: some terminals wrap when the last one is written. */
static size_t width(const struct progress *p)
{
	struct winsize size;

	if (ioctl(p->fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return DEFAULT_WIDTH - 1;
	return size.ws_col - 1u;
}

void progress_tick(struct progress *p, uint64_t now)
{
	uint64_t alive = p->births > p->deaths ? p->births - p->deaths : 0;
	char text[224], out[sizeof(text) + 16];
	int len;

	if (!p->terminal || (p->drawn_at && now - p->drawn_at < INTERVAL))
		return;
	snprintf(text, sizeof(text), "knell: %s alive, %s started, %s failed, %s",
		 words_count(alive).s, words_count(p->births).s, words_count(p->failed).s,
		 words_duration(now - p->started_at).s);
	len = snprintf(out, sizeof(out), "\r%.*s\033[K", (int)width(p), text);
	put(p, out, (size_t)len);
	p->drawn = true;
	p->drawn_at = now;
}

void progress_erase(struct progress *p)
{
	static const char erase[] = "\r\033[K";

	if (!p || !p->drawn)
		return;
	put(p, erase, sizeof(erase) - 1);
	p->drawn = false;
}

struct progress *progress_free(struct progress *p)
{
	if (!p)
		return NULL;
	progress_erase(p);
	free(p);
	return NULL;
}
