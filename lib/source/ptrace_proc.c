/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace_proc.c - what the ptrace source asks of /proc, always about itself or about a task that
 * is stopped or dead but not yet waited for, so that the number cannot have become another task's:
 * who the parent of an orphan is, which namespaces a task is in. Rare questions, each answered with
 * "unknown" where /proc is not mounted, hidden, or another namespace's. And why ptrace is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ptrace.h"

static bool read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return true;
}

static bool read_proc(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return read_file(path, text, size);
}

static const char *field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? at + strlen(name) : NULL;
}

/* The numbers of "NStgid:", from /proc's own namespace inwards: how many, and the last. */
static unsigned int count_tgids(const char *at, pid_t *ret_last)
{
	unsigned int count = 0;

	for (;;) {
		char *end;
		long number = strtol(at, &end, 10);

		if (end == at)
			return count;
		*ret_last = (pid_t)number;
		count++;
		at = end;
		if (*at == '\n')
			return count;
	}
}

static bool is_pending(const char *status, const char *name, int signo)
{
	const char *at = field(status, name);

	return at && strtoull(at, NULL, 16) >> (signo - 1) & 1;
}

bool knell_pt_proc_status(const struct pt_source *source, pid_t tid, struct pt_status *ret)
{
	struct pt_status status = { .same_pid_ns = true };
	char text[4096];
	const char *tgid, *ppid, *inner, *tracer, *state;

	if (!source->proc_works || !read_proc(tid, "status", text, sizeof(text)))
		return false;
	tgid = field(text, "\nTgid:");
	ppid = field(text, "\nPPid:");
	if (!tgid || !ppid)
		return false;
	status.tgid = status.inner_tgid = (pid_t)strtol(tgid, NULL, 10);
	status.ppid = (pid_t)strtol(ppid, NULL, 10);
	tracer = field(text, "\nTracerPid:");
	status.tracer = tracer ? (pid_t)strtol(tracer, NULL, 10) : -1;
	status.continuing =
		is_pending(text, "\nSigPnd:", SIGCONT) || is_pending(text, "\nShdPnd:", SIGCONT);
	state = field(text, "\nState:\t");
	status.zombie = state && *state == 'Z';
	/* Missing in a kernel that has no pid namespaces, and after a very long list of groups. */
	inner = field(text, "\nNStgid:");
	if (inner)
		status.same_pid_ns = count_tgids(inner, &status.inner_tgid) == 1;
	else
		status.same_pid_ns = strlen(text) < sizeof(text) - 1;
	*ret = status;
	return true;
}

/* CLOCK_BOOTTIME, as exactly as /proc has it: in clock ticks. */
bool knell_pt_proc_start(pid_t pid, uint64_t *ret_start)
{
	unsigned long long start;
	char text[1024];
	const char *at;

	if (!read_proc(pid, "stat", text, sizeof(text)))
		return false;
	/* The name may hold anything, parentheses and blanks too. Field 3 follows it. */
	at = strrchr(text, ')');
	for (int number = 2; at && number < 22; number++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%llu", &start) != 1)
		return false;
	*ret_start = start * (1000000000u / (unsigned long)sysconf(_SC_CLK_TCK));
	return true;
}

/* The children of our first thread, to whom orphans go. Returns how many, 0 if not known. */
int knell_pt_proc_children(const struct pt_source *source, pid_t **ret_pids)
{
	char path[64];
	FILE *file;
	pid_t pid, *pids = NULL;
	int count = 0, room = 0;

	if (!source->proc_works)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", source->self);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fscanf(file, "%d", &pid) == 1) {
		if (count == room) {
			pid_t *grown =
				realloc(pids, (size_t)(room = room * 2 + 16) * sizeof(*pids));

			if (!grown)
				break;
			pids = grown;
		}
		pids[count++] = pid;
	}
	fclose(file);
	*ret_pids = pids;
	return count;
}

bool knell_pt_proc_comm(pid_t pid, char ret_comm[KNELL_COMM_LEN])
{
	char text[64];
	size_t length;

	if (!read_proc(pid, "comm", text, sizeof(text)))
		return false;
	length = strlen(text);
	if (length > 0 && text[length - 1] == '\n')
		length--;
	if (length >= KNELL_COMM_LEN)
		length = KNELL_COMM_LEN - 1;
	memset(ret_comm, 0, KNELL_COMM_LEN);
	memcpy(ret_comm, text, length);
	return true;
}

/*
 * The name of a stopped task, which it may have changed. Without /proc it is that of the process at
 * its last exec.
 */
void knell_pt_learn_name(const struct pt_source *source, struct pt_process *process, pid_t tid,
			 char ret_comm[KNELL_COMM_LEN])
{
	bool known = source->proc_works && knell_pt_proc_comm(tid, ret_comm);

	if (!process)
		return;
	if (!known)
		memcpy(ret_comm, process->comm, sizeof(process->comm));
	else if (tid == process->leader.tid)
		memcpy(process->comm, ret_comm, sizeof(process->comm));
}

bool knell_pt_proc_same_user_ns(pid_t tid)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", tid);
	/* Without user namespaces there is no such file, and only one numbering. */
	if (stat("/proc/self/ns/user", &ours) < 0)
		return errno == ENOENT && access("/proc/self/stat", F_OK) == 0;
	return stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino &&
	       ours.st_dev == theirs.st_dev;
}

static long tracer_of_self(void)
{
	char text[4096];
	const char *at;

	if (!read_file("/proc/self/status", text, sizeof(text)))
		return 0;
	at = field(text, "\nTracerPid:");
	return at ? strtol(at, NULL, 10) : 0;
}

static void explain(struct knell_probe *probe, const char *reason, const char *remedy)
{
	snprintf(probe->reason, sizeof(probe->reason), "%s", reason);
	snprintf(probe->remedy, sizeof(probe->remedy), "%s", remedy);
}

static void explain_refusal(struct knell_probe *probe)
{
	long tracer = tracer_of_self();
	char text[160] = "";

	if (tracer > 0) {
		snprintf(text, sizeof(text),
			 "this process is itself traced, by process %ld, and so is all that it "
			 "starts",
			 tracer);
		explain(probe, text, "run it outside of strace, the debugger, or the other Knell");
		return;
	}
	read_file("/proc/sys/kernel/yama/ptrace_scope", text, sizeof(text));
	if (text[0] == '3')
		explain(probe,
			"the Yama security module forbids ptrace (kernel.yama.ptrace_scope=3)",
			"set kernel.yama.ptrace_scope to 1 at boot: 3 cannot be lowered later");
	else if (text[0] == '2')
		explain(probe,
			"the Yama security module keeps ptrace to administrators "
			"(kernel.yama.ptrace_scope=2)",
			"run as root, or: sysctl kernel.yama.ptrace_scope=1");
	else
		explain(probe,
			"ptrace is refused: by a seccomp filter, by a security module (SELinux "
			"deny_ptrace), or because this process is not dumpable",
			"container: --cap-add=SYS_PTRACE; SELinux: setsebool deny_ptrace off");
}

/* Why a process of ours could not be traced, with `error`, and what to do. */
void knell_pt_explain(int error, struct knell_probe *probe)
{
	char text[128];

	if (error == -EPERM || error == -EACCES) {
		explain_refusal(probe);
	} else if (error == -ENOSYS || error == -EINVAL || error == -EIO) {
		explain(probe,
			"this kernel, or the sandbox that stands for it, has no PTRACE_SEIZE",
			"use a sandbox that has it, or another source");
	} else {
		snprintf(text, sizeof(text), "cannot start a process to trace: %s",
			 strerror(-error));
		explain(probe, text, "raise the limit that this names (ulimit -u, -n; pids.max)");
	}
}
