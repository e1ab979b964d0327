// SPDX-License-Identifier: GPL-2.0-only
/*
 * change.c - what happens to a process while it lives, in probes: exec, uid, gid.
 *
 * Owns nothing: each event needs a line of its session's stream (deliver.c).
 */
#include <linux/cred.h>
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/string.h>

#include "compat.h"
#include "engine.h"

/* One that has no watch has no line either: that is lost, and counted. */
static void count_beyond(struct task_struct *task, u8 kind)
{
	struct knell_root *root;

	if (!atomic_read(&knell_wide))
		return;
	list_for_each_entry_rcu (root, &knell_wide_roots, wide_link) {
		if (!(root->mask & KNELL_MASK(kind)) || !test_bit(task->tgid, root->beyond))
			continue;
		atomic64_inc(&root->session->lost_others);
		knell_reap_queue(&root->self, KNELL_PENDING_GAP);
	}
}

void knell_on_exec(struct task_struct *task, pid_t old_pid, const char *name)
{
	struct knell_watch *watch;
	struct knell_line *line;
	size_t length = strnlen(name, PATH_MAX);

	knell_follow(task, task->comm);
	count_beyond(task, KNELL_EXEC);
	for_each_watch (watch, task->signal) {
		if (!watch->ran)
			watch->peak_before = task->signal->maxrss;
		watch->ran = true;
		if (!(watch->root->mask & KNELL_MASK(KNELL_EXEC)))
			continue;
		line = knell_line_take(watch, KNELL_EXEC);
		if (!line)
			continue;
		knell_moment_take(&line->at, task);
		line->exec.old_pid = old_pid;
		line->exec.cut = length >= KNELL_LINE_NAME;
		line->exec.name_len = min_t(size_t, length, KNELL_LINE_NAME - 1);
		memcpy(line->exec.name, name, line->exec.name_len);
		line->exec.name[line->exec.name_len] = '\0';
		knell_line_push(line);
	}
}

#define IDS(what, new, old)                                                                        \
	{                                                                                          \
		(new)->what.val, (new)->e##what.val, (new)->s##what.val, (new)->fs##what.val,      \
			(old)->what.val, (old)->e##what.val, (old)->s##what.val,                   \
			(old)->fs##what.val                                                        \
	}

static void tell_ids(struct knell_watch *watch, struct task_struct *task, u8 kind,
		     const struct knell_ids *ids)
{
	struct knell_line *line;

	if (!(watch->root->mask & KNELL_MASK(kind)))
		return;
	line = knell_line_take(watch, kind);
	if (!line)
		return;
	knell_moment_take(&line->at, task);
	line->ids = *ids;
	/* The head has the ids as they are afterwards. */
	if (kind == KNELL_UID)
		line->at.uid = ids->effective;
	else
		line->at.gid = ids->effective;
	knell_line_push(line);
}

static void ids_changed(struct task_struct *task, u8 kind, const struct knell_ids *ids)
{
	struct knell_watch *watch;

	if (memcmp(&ids->real, &ids->old_real, 16) == 0)
		return;
	count_beyond(task, kind);
	for_each_watch (watch, task->signal)
		tell_ids(watch, task, kind, ids);
}

void knell_on_ids(struct task_struct *task, const struct cred *new, const struct cred *old)
{
	const struct knell_ids uids = IDS(uid, new, old);
	const struct knell_ids gids = IDS(gid, new, old);

	ids_changed(task, KNELL_UID, &uids);
	ids_changed(task, KNELL_GID, &gids);
}
