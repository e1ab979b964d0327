/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace_signal.c - who sent what: at each signal-delivery-stop the kernel tells where the signal
 * came from, and the last of each number is kept with the process until it dies. Two deaths have no
 * such stop: SIGKILL, whose sender nobody can know here, and a signal that the kernel forces on a
 * task past its handlers and its tracer.
 *
 * A sender's name is taken from our own table, or from the last hundred dead of it, never from
 * /proc, where its number may be another's by now. A parent-death signal looks like one that the
 * parent sent, because the kernel says so. Numbers of another pid or user namespace are not
 * numbers of ours, so they are left out.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <shared/reason.h>

#include "ptrace.h"

static void fill_parent_of_sender(const struct pt_source *source, const struct pt_process *sender,
				  struct knell_signal *signal)
{
	const struct pt_process *parent = sender->parent;

	if (sender->parent_kind == PT_PARENT_TRACEE && parent && !parent->dead) {
		signal->ppid = (__u32)parent->leader.tid;
		memcpy(signal->pcomm, parent->comm, sizeof(signal->pcomm));
		signal->known |= KNELL_S_PARENT;
	} else if (sender->parent_kind == PT_PARENT_SELF &&
		   knell_pt_proc_comm(source->self, signal->pcomm)) {
		signal->ppid = (__u32)source->self;
		signal->known |= KNELL_S_PARENT;
	}
}

static const struct pt_grave *find_grave(const struct pt_source *source, pid_t tgid)
{
	for (unsigned int i = 1; i <= PT_GRAVES; i++) {
		const struct pt_grave *grave =
			&source->graves[(source->next_grave - i) % PT_GRAVES];

		if (grave->tgid == tgid)
			return grave;
	}
	return NULL;
}

/* Who `pid` is, if we follow it, did until a moment ago, or are it. */
static void fill_sender(const struct pt_source *source, pid_t pid, struct knell_signal *signal)
{
	const struct pt_process *sender = knell_pt_find_process(&source->table, pid);
	const struct pt_grave *grave;

	if (sender) {
		memcpy(signal->comm, sender->comm, sizeof(signal->comm));
		signal->known |= KNELL_S_COMM;
		fill_parent_of_sender(source, sender, signal);
		return;
	}
	if (pid == source->self) {
		if (knell_pt_proc_comm(pid, signal->comm))
			signal->known |= KNELL_S_COMM;
		return;
	}
	grave = find_grave(source, pid);
	if (!grave)
		return;
	memcpy(signal->comm, grave->comm, sizeof(signal->comm));
	signal->known |= KNELL_S_COMM;
	if (!grave->ppid)
		return;
	signal->ppid = (__u32)grave->ppid;
	memcpy(signal->pcomm, grave->pcomm, sizeof(signal->pcomm));
	signal->known |= KNELL_S_PARENT;
}

/* Keeps the name of a process that is about to leave the table. */
void knell_pt_bury(struct pt_source *source, const struct pt_process *process)
{
	struct pt_grave *grave = &source->graves[source->next_grave++ % PT_GRAVES];
	const struct pt_process *parent = process->parent;

	grave->tgid = process->leader.tid;
	memcpy(grave->comm, process->comm, sizeof(grave->comm));
	grave->ppid = 0;
	if (process->parent_kind == PT_PARENT_TRACEE && parent && !parent->dead) {
		grave->ppid = parent->leader.tid;
		memcpy(grave->pcomm, parent->comm, sizeof(grave->pcomm));
	}
}

/* Which pid namespace numbers the senders of its signals? One process has one for life. */
static void ask_pid_ns(const struct pt_source *source, struct pt_process *process)
{
	struct pt_status status;

	if (process->asked_pid_ns || !knell_pt_proc_status(source, process->leader.tid, &status))
		return;
	process->asked_pid_ns = true;
	process->same_pid_ns = status.same_pid_ns;
	process->inner_tgid = status.inner_tgid;
}

/*
 * The kernel says that a process sent these to itself when it wrote where it may not. As KILL is
 * not heard here, the rest of what the kernel knows has no say.
 */
static struct knell_sending sending_of(const struct pt_source *source, struct pt_process *process,
				       const siginfo_t *info)
{
	struct knell_sending sending = { .signo = info->si_signo, .code = info->si_code };

	if (info->si_code != SI_USER)
		return sending;
	ask_pid_ns(source, process);
	sending.own =
		info->si_pid == (process->asked_pid_ns ? process->inner_tgid : process->leader.tid);
	sending.noinfo = sending.own && knell_writer_reason(info->si_signo) != KNELL_R_KERNEL;
	return sending;
}

static void take_sender(const struct pt_source *source, struct pt_process *process, pid_t tid,
			const siginfo_t *info, struct knell_signal *signal)
{
	ask_pid_ns(source, process);
	if (source->proc_works && knell_pt_proc_same_user_ns(tid)) {
		signal->uid = info->si_uid;
		signal->known |= KNELL_S_UID;
	}
	if (!process->same_pid_ns || info->si_pid == 0)
		return;
	signal->pid = (__u32)info->si_pid;
	signal->known |= KNELL_S_PID;
	fill_sender(source, info->si_pid, signal);
}

static void fill_signal(const struct pt_source *source, struct pt_process *process, pid_t tid,
			const siginfo_t *info, struct knell_signal *signal)
{
	const struct knell_sending sending = sending_of(source, process, info);

	memset(signal, 0, sizeof(*signal));
	signal->time = knell_now();
	signal->signo = (__u8)info->si_signo;
	signal->code = info->si_code;
	signal->reason = knell_reason_of(&sending);
	if (knell_reason_has_sender(signal->reason))
		take_sender(source, process, tid, info, signal);
}

static void remember(struct pt_process *process, const struct knell_signal *signal)
{
	struct pt_signal *at = process->signals;

	while (at && at->signal.signo != signal->signo)
		at = at->next;
	if (!at) {
		at = malloc(sizeof(*at));
		if (!at) {
			process->lost_signals = true;
			return;
		}
		at->next = process->signals;
		process->signals = at;
	}
	at->signal = *signal;
}

/* A signal-delivery-stop: remembers where it came from and lets it through. */
void knell_pt_signalled(struct pt_source *source, const struct pt_task *task, pid_t tid, int signo)
{
	struct knell_signal signal;
	siginfo_t info;

	if (knell_signal_is_harmless(signo) || !task ||
	    ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) < 0) {
		knell_pt_resume(tid, signo);
		return;
	}
	fill_signal(source, task->process, tid, &info, &signal);
	knell_pt_resume(tid, signo);
	remember(task->process, &signal);
	if (knell_signal_is_term(signo))
		task->process->last_term = signal;
}

/* Of an exit record that has its status: why. */
void knell_pt_fill_cause(const struct pt_process *process, struct knell_event *event)
{
	struct knell_exit *payload = &event->u.exit;
	int signo = WIFSIGNALED(payload->status) ? WTERMSIG(payload->status) : 0;
	const struct pt_signal *at = process->signals;

	payload->last_term = process->last_term;
	if (signo == 0)
		return;
	while (at && at->signal.signo != signo)
		at = at->next;
	if (at) {
		payload->killer = at->signal;
		payload->reason = at->signal.reason;
		return;
	}
	payload->killer.signo = (__u8)signo;
	/* Without a stop the kernel forced it; of SIGSYS seccomp alone does so, from 5.16 on. */
	if (signo == SIGKILL || process->lost_signals)
		event->unknown |= KNELL_U_CAUSE;
	else
		payload->reason = signo == SIGSYS ? KNELL_R_SECCOMP : KNELL_R_KERNEL;
	payload->killer.reason = payload->reason;
}
