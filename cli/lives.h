/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * lives.h - the set of processes of a subtree that are alive, as far as was heard: who follows a
 * subtree knows from it when there is nobody left to follow.
 */
#ifndef KNELL_CLI_LIVES_H
#define KNELL_CLI_LIVES_H

#include <stdbool.h>
#include <stddef.h>

#include <knell/knell.h>

struct lives {
	struct knell_task_id *slots; /* open addressing; tgid 0: free */
	size_t size, count;
	bool unsure; /* deaths were lost, or there was no memory: ask knell_reconcile() again */
};

/* Takes in a record: a birth, a death, or a gap. Threads are left out. */
void lives_hear(struct lives *lives, const struct knell_event *event);

/* Forgets everybody and hears anew who is alive, from records that come while it runs. 0, -errno.
 */
int lives_reconcile(struct lives *lives, struct knell_engine *engine);

void lives_free(struct lives *lives);

#endif
