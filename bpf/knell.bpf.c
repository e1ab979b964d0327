/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * knell.bpf.c - the programs of the bpf source: one for each moment of a task's life. Each asks the
 * interest table first: for a process that nobody watches that is one indexed load and a test.
 *
 * They run with preemption off; none can be interrupted by itself, but freed() runs in a soft
 * interrupt and signalled() in any context, so whatever they share with the others is atomic.
 * `writers` of a slot is never reset: a program may leave it after the slot was taken again.
 */
#include "maps.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <linux/sched.h>

#include "hint.h"
#include "signal.h"
#include "slot.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void count_lost(__u32 home)
{
	struct knell_head *head = head_at(home);

	if (head)
		__sync_fetch_and_add(&head->lost, 1);
}

/* What every full record has. `task` is the thread or, for a process, any thread of it. */
static __always_inline void fill_head(struct knell_event *event, struct task_struct *task,
				      __u64 entry, __u32 home, __u8 kind, __u8 scope)
{
	const struct cred *cred = task->cred;
	struct task_struct *leader = task->group_leader;

	event->version = KNELL_EVENT_VERSION;
	event->kind = kind;
	event->scope = scope;
	event->reserved = 0;
	event->flags = 0;
	event->unknown = 0;
	event->time = bpf_ktime_get_boot_ns();
	event->seq = 0;
	event->ring = home;
	event->cpu = bpf_get_smp_processor_id();
	if (scope == KNELL_THREAD)
		thread_id(&event->task, task);
	else
		process_id(&event->task, task);
	process_id(&event->parent, leader->real_parent);
	event->uid = cred->euid.val;
	event->gid = cred->egid.val;
	event->cgroup = cgroup_of(task);
	event->cookie = KNELL_INTEREST_SLOT(entry); /* the library puts the watch's cookie here */
	copy_comm(event->comm, task->comm);
}

/* ---- births ---- */

/* The number was used before by a process that the kernel has released, but not yet freed. */
static __always_inline void retire(__u64 entry)
{
	__u32 index = KNELL_INTEREST_SLOT(entry);
	struct knell_slot *slot = slot_at(index);

	if (!slot)
		return;
	if (__sync_val_compare_and_swap(&slot->state, SLOT_ALIVE, SLOT_DYING) == SLOT_ALIVE) {
		slot->flags |= SLOT_MISSED;
		slot->death = slot->birth;
		slot->death.time = bpf_ktime_get_boot_ns();
		slot->state = SLOT_DEAD;
		tell(index, SLOT_EXIT | SLOT_RETIRED);
	} else {
		tell(index, SLOT_RETIRED);
	}
}

static __always_inline void fill_birth(struct knell_slot *slot, struct task_struct *child,
				       __u64 clone_flags)
{
	process_id(&slot->task, child);
	take_moment(&slot->birth, child, child->start_boottime);
	slot->clone_flags = clone_flags;
	slot->exit_signal = child->exit_signal;
	leader_comm(slot->comm, child->group_leader);
	slot->signals = 0;
	slot->pending = 0;
	slot->execed = 0;
	slot->interest = child->tgid;
	hint_leader(child->group_leader);
}

/* Where a process gets its slot from, and what with it. */
struct origin {
	__u32 watch;
	__u32 slot_flags;
	__u32 root;    /* the slot that was kept for it; 0: any */
	__u32 creator; /* the slot of its creator; 0: not watched */
};

static __always_inline void count_birth_lost(__u32 watch_index, __u32 tgid)
{
	struct knell_watch_entry *watch = watch_at(watch_index);
	struct knell_head *head = head_at(home_of(tgid));

	if (watch)
		__sync_fetch_and_add(&watch->lost_births, 1);
	if (head)
		wake(head, false);
}

/* A slot for this process, filled in and alive; 0 if none is left. Nothing is allocated. */
static __always_inline __u32 settle(const struct origin *from, struct task_struct *child,
				    __u64 clone_flags)
{
	__u64 taken = from->root ? from->root : slot_take();
	struct knell_slot *slot = slot_at((__u32)taken);
	struct knell_slot *creator = slot_at(from->creator);

	if (!slot)
		return 0;
	slot->flags = from->slot_flags;
	slot->watch = from->watch;
	slot->home = bpf_get_smp_processor_id() % cpu_count;
	if (!from->root)
		slot->pool = taken >> 32;
	slot->creator_slot = creator ? from->creator : 0;
	slot->creator_start = creator ? creator->task.start : 0;
	fill_birth(slot, child, clone_flags);
	/* Whoever sees it alive sees its birth. */
	publish(&slot->state, SLOT_ALIVE);
	return (__u32)taken;
}

/* A child of a watched process, or one that the stream tells of. It cannot run before we return. */
static __always_inline int inherit(const struct origin *from, struct task_struct *child,
				   __u64 clone_flags)
{
	__u64 *place = interest_at(child->tgid);
	__u32 index;

	if (!place) { /* pid_max was raised after we started */
		struct knell_watch_entry *watch = watch_at(from->watch);

		if (watch)
			__sync_fetch_and_add(&watch->lost_deaths, 1);
		count_birth_lost(from->watch, child->tgid);
		return 0;
	}
	if (*place)
		retire(*place);
	index = settle(from, child, clone_flags);
	hint_number(child->tgid);
	*place = KNELL_INTEREST(from->watch, index);
	if (index)
		tell(index, SLOT_BORN);
	else
		count_birth_lost(from->watch, child->tgid);
	return 0;
}

/* <knell/knell.h> is not for BPF. */
#define MATCH_UID    (1u << 0)
#define MATCH_CGROUP (1u << 1)
#define MATCH_COMM   (1u << 2)

/* Does the stream's filter let it pass, as it is now, with this name? */
static __always_inline bool passes(struct task_struct *task, const char *name)
{
	char comm[KNELL_COMM_LEN];

	if (filter.match & MATCH_UID && task->cred->euid.val != filter.uid)
		return false;
	if (filter.match & MATCH_CGROUP && cgroup_of(task) != filter.cgroup)
		return false;
	if (!(filter.match & MATCH_COMM))
		return true;
	copy_comm(comm, name);
	for (int i = 0; i < KNELL_COMM_LEN; i++) {
		if (comm[i] != filter.comm[i])
			return false;
		if (!comm[i])
			return true;
	}
	return true;
}

/* A record about one thread; its process is watched. */
static __always_inline struct knell_event *thread_record(struct task_struct *task, __u64 entry,
							 __u32 *ret_home, void **ret_ring,
							 __u8 kind, const __u32 size)
{
	struct knell_slot *slot = slot_of(start_of(task), entry);
	__u32 home = slot ? slot->home : home_of(task->tgid);
	void *ring = bpf_map_lookup_elem(&rings, &home);
	struct knell_event *event;

	if (!ring)
		return NULL;
	event = bpf_ringbuf_reserve(ring, size, 0);
	if (!event) {
		count_lost(home);
		return NULL;
	}
	fill_head(event, task, entry, home, kind, KNELL_THREAD);
	event->size = size;
	*ret_home = home;
	*ret_ring = ring;
	return event;
}

static __always_inline void submit(struct knell_event *event, __u32 home, void *ring)
{
	struct knell_head *head = head_at(home);

	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	if (head)
		wake_for_ring(head, ring);
}

static __always_inline void tell_thread_birth(struct task_struct *task, __u64 entry,
					      __u64 clone_flags)
{
	struct knell_event *event;
	__u32 home;
	void *ring;

	event = thread_record(task, entry, &home, &ring, KNELL_CLONE,
			      KNELL_EVENT_HEAD + sizeof(struct knell_clone));
	if (!event)
		return;
	event->u.clone.flags = clone_flags;
	event->u.clone.exit_signal = 0;
	event->u.clone.reserved = 0;
	submit(event, home, ring);
}

/* The thread that forks now is the one that the root's slot is kept for. */
static __always_inline bool is_armed_for(__u64 entry, __u32 tid)
{
	struct knell_watch_entry *watch = watch_at(KNELL_INTEREST_WATCH(entry));

	return watch && watch->armed_tid == tid;
}

static __noinline int BPF_PROG(born_watched, struct task_struct *child, unsigned long clone_flags)
{
	__u64 ids = bpf_get_current_pid_tgid();
	__u64 *place = interest_at(ids >> 32);
	struct origin from = { 0 };
	struct knell_slot *creator;
	__u64 entry;

	if (!stream && (!place || !*place))
		return 0;
	child = followed(child);
	entry = place ? *place : 0;
	creator = slot_of(start_of(followed((struct task_struct *)bpf_get_current_task_btf())),
			  entry);
	if (child->pid != child->tgid) {
		if (want_threads && (creator || (entry && !KNELL_INTEREST_SLOT(entry))))
			tell_thread_birth(child, entry, clone_flags);
		return 0;
	}
	if (entry & KNELL_ARMED && is_armed_for(entry, (__u32)ids)) {
		from.watch = KNELL_INTEREST_WATCH(entry);
		from.root = KNELL_INTEREST_SLOT(entry);
		from.slot_flags = SLOT_ROOT | SLOT_INHERIT;
		*place = 0;
	} else if (creator && creator->flags & SLOT_INHERIT) {
		from.watch = creator->watch;
		from.creator = KNELL_INTEREST_SLOT(entry);
		from.slot_flags = SLOT_INHERIT;
	} else if (entry && !(entry & KNELL_ARMED) && !KNELL_INTEREST_SLOT(entry)) {
		from.watch = KNELL_INTEREST_WATCH(entry); /* its creator found no slot */
		from.slot_flags = SLOT_INHERIT;
	} else if (stream && passes(child, child->comm)) {
		from.watch = KNELL_WATCH_STREAM;
		from.creator = creator ? KNELL_INTEREST_SLOT(entry) : 0;
	} else {
		return 0;
	}
	return inherit(&from, child, clone_flags);
}

SEC("tp_btf/task_newtask")
int born(__u64 *ctx)
{
	struct task_struct *creator = followed((struct task_struct *)ctx[0])->real_parent;

	if (ctx[1] & (CLONE_PARENT | CLONE_THREAD)) /* it is a sibling of its creator */
		creator = (struct task_struct *)bpf_get_current_task_btf();
	return may_watch(creator->tgid) ? born_watched(ctx) : 0;
}

/* ---- taking in those that live already ---- */

static __always_inline void tell_death(__u64 *place, __u64 entry, struct task_struct *task);

/*
 * Takes in a process that was born unwatched. Stored first, then checked: if it is dead by then its
 * exit program may have run before it could see the entry, and its death is told from here; the
 * slot's state decides who tells it.
 */
static __always_inline __u32 take_in(const struct origin *from, struct task_struct *task)
{
	__u64 *place = interest_at(task->tgid);
	struct knell_slot *slot;
	__u64 entry, old;
	__u32 index;

	if (!place)
		return 0;
	old = *place;
	if (KNELL_INTEREST_SLOT(old) && !(old & KNELL_ARMED))
		retire(old);
	index = settle(from, task, 0);
	slot = slot_at(index);
	if (!slot)
		return 0;
	entry = KNELL_INTEREST(from->watch, index);
	hint_number(task->tgid);
	if (__sync_val_compare_and_swap(place, old, entry) != old) {
		slot->state = SLOT_FREE;
		slot_put(slot->pool, index);
		return 0;
	}
	tell(index, SLOT_BORN);
	if (task->signal->live.counter == 0) {
		slot->flags |= SLOT_FOUND_DEAD;
		tell_death(place, entry, task);
	}
	return index;
}

/* The slot of a process that the stream tells of from now on, if it passes only now. */
static __always_inline struct knell_slot *follow(struct task_struct *task, const char *name)
{
	struct origin from = { .watch = KNELL_WATCH_STREAM, .slot_flags = SLOT_FOUND };

	if (!stream || !filter.match || !passes(task, name))
		return NULL;
	return slot_at(take_in(&from, task));
}

/* Tells of a process without a slot that it lives, through the iterator's own output. */
static __always_inline void tell_alive(struct bpf_iter__task *ctx, struct task_struct *task,
				       __u32 home);

SEC("iter/task")
int adopt(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task ? followed(ctx->task) : NULL;
	struct origin from = { .watch = order.watch, .slot_flags = order.slot_flags | SLOT_FOUND };
	struct knell_slot *slot;
	__u64 *place, entry;
	__u32 index;

	if (!task || task->pid != task->tgid)
		return 0;
	place = interest_at(task->tgid);
	if (!place)
		return 0;
	entry = *place;
	slot = slot_of(start_of(task), entry);
	if (slot) { /* it is in */
		slot->flags |= order.slot_flags & ~SLOT_QUIET;
		if (!(order.slot_flags & SLOT_QUIET))
			slot->flags &= ~SLOT_QUIET;
		order.slot = KNELL_INTEREST_SLOT(entry);
		return 0;
	}
	if (order.mode == ADOPT_CHILDREN) {
		struct task_struct *parent = task->real_parent;
		__u64 *above = interest_at(parent->tgid);

		slot = above ? slot_of(start_of(parent), *above) : NULL;
		if (!slot || !(slot->flags & SLOT_INHERIT))
			return 0;
		from.watch = slot->watch;
		from.creator = KNELL_INTEREST_SLOT(*above);
	} else if (order.mode == ADOPT_STREAM) {
		if (!passes(task, task->comm))
			return 0;
	} else if (order.mode == ADOPT_LOST) {
		if (!entry || KNELL_INTEREST_SLOT(entry))
			return 0;
		from.watch = KNELL_INTEREST_WATCH(entry);
	}
	index = take_in(&from, task);
	if (index) {
		order.slot = index;
		order.adopted++;
		return 0;
	}
	order.refused++;
	if (order.mode == ADOPT_LOST)
		tell_alive(ctx, task, home_of(task->tgid));
	return 0;
}

static __always_inline void tell_alive(struct bpf_iter__task *ctx, struct task_struct *task,
				       __u32 home)
{
	struct {
		__u8 head[KNELL_EVENT_HEAD];
		struct knell_clone clone;
	} record = { 0 };
	struct knell_event *event = (struct knell_event *)&record;

	fill_head(event, task, 0, home, KNELL_CLONE, KNELL_PROCESS);
	event->size = sizeof(record);
	event->flags = KNELL_F_RECONCILED;
	event->unknown = KNELL_U_FLAGS;
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
}

/* ---- exec and names ---- */

static __always_inline __u32 read_args(struct exec_scratch *record, __u32 at,
				       struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	unsigned long start = mm->arg_start;
	__u32 total = (__u32)(mm->arg_end - start);
	__u32 n = total;

	record->exec.args_total = total;
	if (n > EXEC_ARGS_MAX)
		n = EXEC_ARGS_MAX;
	if (at > EXEC_FILE_MAX)
		return 0;
	if (bpf_probe_read_user(record->data + at, n, (void *)start) < 0)
		return 0;
	return n;
}

static __noinline int BPF_PROG(execed_watched, struct task_struct *task, int old_pid,
			       struct linux_binprm *bprm)
{
	__u64 *place = interest_at(task->tgid);
	struct knell_event *event;
	struct exec_scratch *record;
	struct knell_slot *slot;
	__u32 zero = 0, home, size, args = 0;
	long file;
	void *ring;

	if (!place || (!stream && !*place))
		return 0;
	task = followed(task);
	hint_leader(task); /* it may have become the leader by this */
	slot = slot_of(start_of(task), *place);
	if (!slot && (!*place || KNELL_INTEREST_SLOT(*place)))
		slot = follow(task, task->comm);
	if (!slot && (!*place || KNELL_INTEREST_SLOT(*place)))
		return 0;
	if (slot && !slot->execed) {
		slot->execed = 1;
		slot->fork_rss = task->signal->maxrss * page_size;
	}
	home = slot ? slot->home : home_of(task->tgid);
	record = bpf_map_lookup_elem(&scratch, &zero);
	ring = bpf_map_lookup_elem(&rings, &home);
	if (!record || !ring)
		return 0;

	event = (struct knell_event *)record;
	fill_head(event, task, *place, home, KNELL_EXEC, KNELL_PROCESS);
	if (slot && slot->flags & SLOT_ROOT)
		event->flags |= KNELL_F_ROOT;
	/* Its number in another namespace went with the thread that exec replaced. */
	record->exec.old_tid = old_pid == task->pid ? tid_nr(task) : ns_level ? 0 : old_pid;
	record->exec.args_total = 0;
	file = bpf_probe_read_kernel_str(record->data, EXEC_FILE_MAX, bprm->filename);
	if (file <= 0 || file > EXEC_FILE_MAX) {
		record->data[0] = 0;
		file = 1;
		event->unknown |= KNELL_U_FILE;
	}
	record->exec.file_len = file - 1;
	if (want_args) {
		args = read_args(record, file, task);
		if (!args)
			event->unknown |= KNELL_U_ARGS;
		else if (args < record->exec.args_total)
			event->flags |= KNELL_F_TRUNCATED;
	} else {
		event->unknown |= KNELL_U_ARGS;
	}
	record->exec.args_len = args;
	size = (KNELL_EVENT_HEAD + sizeof(struct knell_exec) + file + args + 7) & ~7u;
	event->size = size;
	if (size > sizeof(*record))
		return 0;
	if (bpf_ringbuf_output(ring, record, size, BPF_RB_NO_WAKEUP) < 0) {
		count_lost(home);
	} else {
		struct knell_head *head = head_at(home);

		if (head)
			wake_for_ring(head, ring);
	}
	return 0;
}

SEC("tp_btf/sched_process_exec")
int execed(__u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];

	return may_watch(task->tgid) ? execed_watched(ctx) : 0;
}

/* Keeps the name in the slot, so that nobody needs to ask /proc for it. */
static __noinline int BPF_PROG(renamed_watched, struct task_struct *task, const char *comm)
{
	__u64 *place = interest_at(task->tgid);
	struct knell_slot *slot;

	if (!place || (!stream && !*place) || task->pid != task->tgid)
		return 0;
	task = followed(task);
	slot = slot_enter(start_of(task), *place, SLOT_ALIVE);
	if (slot) {
		copy_comm(slot->comm, comm);
		slot_leave(slot);
		return 0;
	}
	slot = filter.match & MATCH_COMM ? follow(task, comm) : NULL;
	if (slot)
		copy_comm(slot->comm, comm);
	return 0;
}

SEC("tp_btf/task_rename")
int renamed(__u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];

	return may_watch(task->tgid) ? renamed_watched(ctx) : 0;
}

/* ---- credentials ---- */

static __always_inline void tell_ids(struct task_struct *task, __u32 index, __u8 kind,
				     const struct knell_ids *ids)
{
	struct knell_slot *slot = slot_at(index);
	__u32 home = slot ? slot->home : 0;
	void *ring = bpf_map_lookup_elem(&rings, &home);
	const __u32 size = KNELL_EVENT_HEAD + sizeof(*ids);
	bool leader = task->pid == task->tgid;
	struct knell_event *event;

	if (!slot || !ring || (!leader && !want_threads))
		return;
	event = bpf_ringbuf_reserve(ring, size, 0);
	if (!event) {
		count_lost(home);
		return;
	}
	fill_head(event, task, index, home, kind, leader ? KNELL_PROCESS : KNELL_THREAD);
	event->size = size;
	event->u.ids = *ids;
	if (kind == KNELL_UID)
		event->uid = ids->effective;
	else
		event->gid = ids->effective;
	submit(event, home, ring);
}

#define IDS(what, new, old)                                                                        \
	{                                                                                          \
		new->what.val, new->e##what.val, new->s##what.val, new->fs##what.val,              \
			old->what.val, old->e##what.val, old->s##what.val, old->fs##what.val       \
	}

static __always_inline bool ids_differ(const struct knell_ids *ids)
{
	return ids->real != ids->old_real || ids->effective != ids->old_effective ||
	       ids->saved != ids->old_saved || ids->fs != ids->old_fs;
}

/* Loaded where the kernel allows BPF trampolines. The caller is the task whose ids change. */
SEC("fentry/commit_creds")
int BPF_PROG(recredited, struct cred *new)
{
	struct task_struct *task = followed((struct task_struct *)bpf_get_current_task_btf());
	__u64 *place = interest_at(task->tgid);
	const struct cred *old;
	struct knell_slot *slot;

	if (!place || !*place)
		return 0;
	slot = slot_of(start_of(task), *place);
	if (!slot)
		return 0;
	old = task->real_cred;
	struct knell_ids uids = IDS(uid, new, old);
	if (ids_differ(&uids))
		tell_ids(task, KNELL_INTEREST_SLOT(*place), KNELL_UID, &uids);
	struct knell_ids gids = IDS(gid, new, old);
	if (ids_differ(&gids))
		tell_ids(task, KNELL_INTEREST_SLOT(*place), KNELL_GID, &gids);
	return 0;
}

/* ---- signals ---- */

static __noinline int BPF_PROG(signalled_watched, int signo, struct kernel_siginfo *info,
			       struct task_struct *target, int group, int result)
{
	__u64 *place = interest_at(target->tgid);
	unsigned long given = 0;
	struct knell_slot *slot;

	if (!place || !*place)
		return 0;
	if (result != TRACE_SIGNAL_DELIVERED && result != TRACE_SIGNAL_LOSE_INFO)
		return 0;
	target = followed(target);
	slot = slot_enter(start_of(target), *place, SLOT_ALIVE);
	if (!slot)
		return 0;
	/* 0 and 1 stand for no siginfo; the verifier believes that a pointer of a tracepoint never
	 * is. */
	bpf_probe_read_kernel(&given, sizeof(given), &ctx[1]);
	note_signal(slot, target, signo, given);
	slot_leave(slot);
	return 0;
}

/* Most signals are a parent's SIGCHLD. */
SEC("tp_btf/signal_generate")
int signalled(__u64 *ctx)
{
	struct task_struct *target = (struct task_struct *)ctx[2];

	if ((int)ctx[0] == SIGCHLD || !may_watch(target->tgid))
		return 0;
	return signalled_watched(ctx);
}

/* ---- deaths ---- */

/* A leader that dies because another of its threads runs exec, and becomes the leader. */
static __always_inline bool is_replaced(struct task_struct *task)
{
	struct task_struct *heir = task->signal->group_exec_task;

	return task->pid == task->tgid && heir && heir != task;
}

static __always_inline void tell_thread_death(struct task_struct *task, __u64 entry)
{
	struct knell_event *event;
	struct knell_raw_usage usage = { 0 };
	__u32 home;
	void *ring;

	event = thread_record(task, entry, &home, &ring, KNELL_EXIT,
			      KNELL_EVENT_HEAD + sizeof(struct knell_exit));
	if (!event)
		return;
	__builtin_memset(&event->u.exit, 0, sizeof(event->u.exit));
	add_thread(&usage, task);
	event->u.exit.status = task->exit_code;
	event->u.exit.usage.utime = usage.utime;
	event->u.exit.usage.stime = usage.stime;
	event->u.exit.usage.minflt = usage.minflt;
	event->u.exit.usage.majflt = usage.majflt;
	event->unknown |= KNELL_U_RSS | KNELL_U_CAUSE | KNELL_U_TERM;
	if (is_replaced(task))
		event->flags |= KNELL_F_REPLACED;
	submit(event, home, ring);
}

/* Status of a process: what exit_group or a deadly signal set, else what its leader left. */
static __always_inline int status_of(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return task->group_leader->exit_code;
}

/*
 * The kernel's peak of a process counts the memory of what it was forked from: a shell's child
 * would seem as large as the shell. So a peak that is not above what it was at the first exec is
 * not this program's, and what its memory itself says now is taken; before 6.16 that is gone by
 * then.
 */
static __always_inline void better_peak(struct knell_slot *slot, struct knell_raw_usage *usage,
					__u64 now)
{
	if (slot->execed && usage->maxrss <= slot->fork_rss)
		usage->maxrss = now ? now : KNELL_RSS_UNKNOWN;
	else if (now > usage->maxrss)
		usage->maxrss = now;
}

static __always_inline void tell_death(__u64 *place, __u64 entry, struct task_struct *task)
{
	__u32 index = KNELL_INTEREST_SLOT(entry);
	struct knell_slot *slot;

	if (!index) {
		struct knell_watch_entry *watch = watch_at(KNELL_INTEREST_WATCH(entry));

		/* Before 6.16 several threads may come here: one of them counts. */
		if (watch && __sync_val_compare_and_swap(place, entry, 0) == entry) {
			struct knell_head *head = head_at(home_of(task->tgid));

			__sync_fetch_and_add(&watch->lost_deaths, 1);
			if (head)
				wake(head, false);
		}
		return;
	}
	slot = slot_of(start_of(task), entry);
	if (!slot)
		return;
	if (__sync_val_compare_and_swap(&slot->state, SLOT_ALIVE, SLOT_DYING) != SLOT_ALIVE)
		return;
	take_moment(&slot->death, task, bpf_ktime_get_boot_ns());
	slot->status = status_of(task);
	slot->cause = cause_of(task);
	take_usage(&slot->usage, task);
	add_threads(&slot->usage, task);
	better_peak(slot, &slot->usage, peak_rss(task));
	publish(&slot->state, SLOT_DEAD);
	tell(index, SLOT_EXIT);
}

static __always_inline int on_exit(struct task_struct *task, bool group_dead)
{
	__u64 *place = interest_at(task->tgid);
	__u64 entry;

	if (!place || !*place)
		return 0;
	entry = *place;
	if (entry & KNELL_ARMED)
		return 0;
	/* The leader's life is the process's, but for one that exec by another thread replaces. */
	if (want_threads && (task->pid != task->tgid || is_replaced(task)) &&
	    (!KNELL_INTEREST_SLOT(entry) || slot_of(start_of(task), entry)))
		tell_thread_death(task, entry);
	if (group_dead)
		tell_death(place, entry, task);
	return 0;
}

/*
 * From 6.16 on the tracepoint says which thread is the last. Before, each thread that finds no
 * other alive nominates the process, and tell_death() elects one. The kernel that loads the program
 * has one of the two: the other branch is never looked at.
 */
static __noinline int died_watched(__u64 *ctx)
{
	struct task_struct *task = followed((struct task_struct *)ctx[0]);

	if (bpf_core_type_exists(btf_trace_sched_process_exit))
		return on_exit(task, ctx[1] & 1);
	return on_exit(task, task->signal->live.counter == 0);
}

SEC("tp_btf/sched_process_exit")
int died(__u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];

	return may_watch(task->tgid) ? died_watched(ctx) : 0;
}

/* The kernel skipped our exit program: the death is certain all the same. */
static __always_inline void tell_missed(struct knell_slot *slot, __u32 index,
					struct task_struct *task)
{
	if (!slot ||
	    __sync_val_compare_and_swap(&slot->state, SLOT_ALIVE, SLOT_DYING) != SLOT_ALIVE)
		return;
	slot->death = slot->birth;
	slot->death.time = bpf_ktime_get_boot_ns();
	slot->status = status_of(task);
	slot->cause = cause_of(task);
	take_usage(&slot->usage, task);
	publish(&slot->state, SLOT_DEAD);
	tell(index, SLOT_EXIT);
}

static __noinline int BPF_PROG(freed_watched, struct task_struct *task)
{
	__u64 *place = interest_at(task->tgid);
	struct knell_slot *slot;
	__u64 entry, start, runtime;
	__u32 index;

	/* Cold by now, all of it: fetched before anything waits for something else. Every thread is
	 * released, and has left its time behind: the sum is final. */
	task = followed(task);
	start = task->start_boottime;
	runtime = task->signal->sum_sched_runtime;
	if (!place || !*place || task->pid != task->tgid)
		return 0;
	entry = *place;
	index = KNELL_INTEREST_SLOT(entry);
	if (entry & KNELL_ARMED)
		return 0;
	slot = slot_enter(start, entry, SLOT_DEAD);
	if (!slot) {
		tell_missed(slot_of(start, entry), index, task);
		slot = slot_enter(start, entry, SLOT_DEAD);
	}
	if (!slot)
		return 0;
	slot->freed.time = bpf_ktime_get_boot_ns();
	slot->freed.runtime = runtime;
	slot->flags |= SLOT_FREE_USAGE;
	tell(index, SLOT_FREED); /* the reaper clears the entry when it gives the slot back */
	slot_leave(slot);
	return 0;
}

SEC("tp_btf/sched_process_free")
int freed(__u64 *ctx)
{
	return may_watch_task((void *)ctx[0]) ? freed_watched(ctx) : 0;
}

/* ---- asked for by the library ---- */

/*
 * Says who calls, in the kernel's numbers, and from which pid namespace. The caller's own interest
 * entry may be written after this.
 */
SEC("syscall")
int whoami(void *ctx)
{
	struct task_struct *task = followed((struct task_struct *)bpf_get_current_task_btf());
	struct upid number = { 0 };
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct pid_namespace *ns;
	__u32 level = BPF_CORE_READ(pid, level);

	own_tid = task->pid;
	own_tgid = task->tgid;
	hint_number(own_tgid);
	if (level > 32)
		return -1;
	bpf_probe_read_kernel(&number, bpf_core_type_size(struct upid),
			      (char *)pid + bpf_core_field_offset(struct pid, numbers) +
				      level * bpf_core_type_size(struct upid));
	ns = number.ns;
	ns_inum = BPF_CORE_READ(ns, ns.inum);
	ns_level = level;
	return 0;
}
