/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * knell.bpf.c - the programs of the bpf source, one for each moment of a task's life, are in the
 * files below; here is what makes one object of them, and what the library asks for.
 *
 * Each program is two: a short one asks the hints whether the process can be watched, and for
 * nearly all of them that is the end; the rest is behind a call.
 *
 * They run with preemption off; none can be interrupted by itself, but freed() runs in a soft
 * interrupt and signalled() in any context, so whatever they share with the others is atomic.
 * `writers` of a slot is never reset: a program may leave it after the slot was taken again.
 */
#include "adopt.h"
#include "birth.h"
#include "death.h"
#include "exec.h"
#include "ids.h"
#include "signal.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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
