/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_death.c - exits of threads, and what they make of a process: dead, once, when its last
 * thread is.
 *
 * The status. The message has the thread's own code. The kernel's answer to wait(2) is the group's
 * code if exit_group(2) or a signal ended the process, else the leader's. A signal's code in any
 * thread is the group's. exit_group gives its code to every thread that lives then, the leader too
 * unless it ended by itself before; so if the leader was the last to go, or nobody after it has
 * another code, its code is the status. Else (the leader ended first, and the others differ) the
 * messages do not say whether they called exit_group or just ended: then a pidfd or wait(2) is
 * asked where we have one, and the status is unknown where not.
 *
 * Whose exit it is. A number may be used again before its last owner's exit is heard. Such an exit
 * is older than the birth of the new owner, or comes from a task that was released already, and
 * then the message has no parent. The old leader of a process where another thread ran exec is
 * heard before the exec (with the leader's number), or after it (with the other's); if it is heard
 * after with the leader's number, it is older than the exec.
 */
#include <unistd.h>

#include "clock.h"
#include "connector.h"
#include "pidfd.h"

/* How long to wait for the exit of one whose pidfd says that it is dead. */
#define PATIENCE         UINT64_C(2000000000)
#define PATIENCE_IF_LOST UINT64_C(100000000) /* ... if it may have been lost */

static void note_code(struct cn_codes *codes, int code, bool leader)
{
	if (code & 0x7f)
		codes->signalled = code;
	if (leader) {
		codes->leader = code;
		codes->leader_known = true;
		codes->odd |= codes->early && codes->early != code;
	} else if (codes->leader_known) {
		codes->odd |= code != codes->leader;
	} else if (code) {
		/* A thread that just ends has 0, in every C library. */
		codes->odd |= codes->early && codes->early != code;
		codes->early = code;
	}
}

/* Without its message: what wait(2) told us, or what the kernel tells of a pidfd. */
static struct cn_status ask_status(const struct cn_process *p)
{
	struct cn_status status = { 0 };

	if (p->reaped) {
		status.known = true;
		status.status = p->reaped->status;
	} else if (p->pidfd >= 0) {
		status.known = knell_pidfd_status(p->pidfd, &status.status) == 0;
	}
	return status;
}

static struct cn_status status_of(const struct cn_process *p)
{
	const struct cn_codes *codes = &p->codes;

	if (codes->signalled)
		return (struct cn_status){ .known = true, .status = codes->signalled };
	if (codes->leader_known && !codes->odd)
		return (struct cn_status){ .known = true, .status = codes->leader };
	return ask_status(p);
}

static void tell_death(struct cn_source *s, struct cn_process *p, const struct cn_message *m,
		       struct cn_status status)
{
	if (cn_wanted(s, p)) {
		if (!p->told) {
			cds_list_del_init(&p->found);
			cn_tell_alive(s, p);
		}
		cn_tell_exit(s, p, &p->leader, m, status);
	}
	if (p->reaped)
		p->reaped->process = NULL; /* knell_reap() may tell it now */
	else if (p->forked)
		cn_note_unreaped(s, p);
	p->reaped = NULL;
}

/* It is dead, and its exit was not heard. It stays as a ghost, for it may be heard later. */
void cn_presume_dead(struct cn_source *s, struct cn_process *p)
{
	struct cn_task *task, *next;

	if (p->ghost)
		return;
	tell_death(s, p, NULL, ask_status(p));
	cds_list_for_each_entry_safe (task, next, &p->threads, sibling) {
		cn_remove_thread(s, task);
	}
	cds_list_del_init(&p->found);
	cds_list_del_init(&p->dying);
	cn_release_pidfd(s, p);
	p->ghost = true;
	p->live = 0;
	if (p->counted)
		s->watched--;
	p->counted = false;
}

static void died(struct cn_source *s, struct cn_process *p, const struct cn_message *m)
{
	/* Threads may have been born unheard. */
	if (p->losses != s->losses && cn_refresh_threads(s, p))
		return;
	tell_death(s, p, m, status_of(p));
	cn_detach(s, p);
	cn_free_process(s, p);
}

/* Those whose exit was late, and may have been lost meanwhile. */
void cn_presume_late(struct cn_source *s, struct cn_process *p)
{
	struct cn_process *late = p->late;

	if (!late || late->losses == s->losses)
		return;
	p->late = NULL;
	for (p = late; p; p = p->late)
		tell_death(s, p, NULL, ask_status(p));
	cn_free_process(s, late);
}

/*
 * Whose exit is it, of those who had the number one after the other? The newest that it is not too
 * old for; but one without a parent is likely to be late, so the oldest. NULL: none of theirs.
 */
static struct cn_process *owner_of(struct cn_process *p, const struct cn_message *m)
{
	struct cn_process *owner = NULL;

	for (; p; p = p->late) {
		if (m->event.timestamp_ns < p->since)
			continue;
		if (m->event.event_data.exit.parent_tgid)
			return p;
		owner = p;
	}
	return owner;
}

/* `late` had the number before `p`. */
static void late_exit(struct cn_source *s, struct cn_process *p, struct cn_process *late,
		      const struct cn_message *m)
{
	while (p->late != late)
		p = p->late;
	p->late = late->late;
	late->late = NULL;
	note_code(&late->codes, (int)m->event.event_data.exit.exit_code, true);
	tell_death(s, late, m, status_of(late));
	cn_free_process(s, late);
}

/* No one knows it: it was born while we lost messages, and here it dies. */
static void unknown_exit(struct cn_source *s, const struct cn_message *m)
{
	const struct exit_proc_event *exit = &m->event.event_data.exit;
	const struct cn_process *parent = cn_find_process(s, (uint32_t)exit->parent_tgid);
	struct cn_process *p;
	struct cn_proc proc;

	if (!s->losses || exit->process_pid != exit->process_tgid ||
	    (!s->stream && !(parent && parent->subtree)))
		return;
	/* A leader that ended first: the pass that follows a loss takes its process in. */
	if (cn_proc_stat((uint32_t)exit->process_tgid, &proc) && proc.threads > 1)
		return;
	p = cn_make_process();
	if (!p)
		return;
	p->parent = cn_identify(s, (uint32_t)exit->parent_tgid);
	p->subtree = parent && parent->subtree;
	p->cookie = p->subtree ? parent->cookie : 0;
	cn_add_process(s, p, (uint32_t)exit->process_tgid);
	p->leader.start = cn_boot(s, m);
	cn_check_filter(s, p);
	note_code(&p->codes, (int)exit->exit_code, true);
	died(s, p, m);
}

/* Not the exit of the process that has this number now? */
static bool is_anothers(const struct cn_source *s, const struct cn_process *p,
			const struct cn_task *task, const struct cn_message *m)
{
	const struct exit_proc_event *exit = &m->event.event_data.exit;
	uint64_t time = m->event.timestamp_ns;

	if (time < p->since || p->ghost || cn_is_early(s, p))
		return true;
	if (task != &p->leader)
		return false;
	if (time < p->exec_time || !p->leader.alive)
		return true;
	return p->live == 1 && p->pidfd >= 0 && !exit->parent_tgid && !knell_pidfd_dead(p->pidfd);
}

void cn_exited(struct cn_source *s, const struct cn_message *m)
{
	const struct exit_proc_event *exit = &m->event.event_data.exit;
	struct cn_process *p = cn_find_process(s, (uint32_t)exit->process_tgid);
	struct cn_task *task = cn_find(s, (uint32_t)exit->process_pid);
	bool leader = exit->process_pid == exit->process_tgid;

	if (!p) {
		unknown_exit(s, m);
		return;
	}
	if (leader && p->late) {
		struct cn_process *owner = owner_of(p, m);

		if (owner && owner != p)
			late_exit(s, p, owner, m);
		if (owner != p)
			return;
	}
	/* A thread that we do not know ended by exec, and its exit is late. */
	if (!task || task->process != p || is_anothers(s, p, task, m))
		return;
	note_code(&p->codes, (int)exit->exit_code, leader);
	if (leader) {
		task->alive = false;
		p->live--;
	} else {
		if (cn_wanted(s, p) && p->told)
			cn_tell_exit(s, p, task, m,
				     (struct cn_status){ .known = true,
							 .status = (int)exit->exit_code });
		cn_remove_thread(s, task);
		p->left_time = m->event.timestamp_ns;
	}
	if (p->live == 0)
		died(s, p, m);
}

/*
 * Processes whose pidfds say that they are dead. The exit is heard a moment later; if messages were
 * lost, or the process was dead before we watched it, it may never be.
 */
void cn_settle_dying(struct cn_source *s)
{
	struct cn_process *p, *next;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	cds_list_for_each_entry_safe (p, next, &s->dying, dying) {
		bool lost = p->was_dead || p->losses != s->losses;
		uint64_t end = p->dying_since + (lost ? PATIENCE_IF_LOST : PATIENCE);

		if (now < end)
			cn_need_by(s, end);
		else
			cn_presume_dead(s, p);
	}
}
