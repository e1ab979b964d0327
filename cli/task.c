/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * task.c - holds processes by pidfd; see task.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli.h"
#include "task.h"
#include "text.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static void read_comm(pid_t pid, char ret_comm[KNELL_COMM_LEN])
{
	char path[64], text[64] = "";
	ssize_t n;
	int fd;

	memset(ret_comm, 0, KNELL_COMM_LEN);
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 0 && text[n - 1] == '\n')
		n--;
	if (n > 0)
		memcpy(ret_comm, text, (size_t)n < KNELL_COMM_LEN ? (size_t)n : KNELL_COMM_LEN - 1);
}

/* The process that a thread belongs to; 0: there is no such thread. */
static int process_of(pid_t tid)
{
	char path[64], line[128];
	int tgid = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	while (file && !tgid && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "Tgid:", 5) == 0)
			tgid = atoi(line + 5);
	}
	if (file)
		fclose(file);
	return tgid;
}

/* Linux says EINVAL for a thread, since 6.9 ENOENT. */
static int explain(pid_t pid, int error)
{
	int tgid;

	switch (error) {
	case ESRCH:
		return -ESRCH;
	case EINVAL:
	case ENOENT:
		tgid = process_of(pid);
		if (!tgid || tgid == pid)
			return -ESRCH; /* it ended meanwhile */
		complain("%d is a thread of process %d: name the process", pid, tgid);
		return -EINVAL;
	case EMFILE:
	case ENFILE:
		return -error; /* the caller may have a remedy */
	case ENOSYS:
		complain("this kernel has no pidfd_open(2): Linux 5.3 is needed");
		return -ENOSYS;
	default:
		complain("cannot hold process %d: %s", pid, strerror(error));
		return -error;
	}
}

/* The soft limit is low for the sake of select(2), which nobody here uses. */
bool task_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return false;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return true;
	errno = EMFILE;
	return false;
}

int task_hold(pid_t pid, char ret_comm[KNELL_COMM_LEN])
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0 && errno == EMFILE && task_raise_limit())
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return explain(pid, errno);
	read_comm(pid, ret_comm);
	return fd;
}

bool task_shows_all(pid_t pid)
{
	char path[64], target[2];

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return readlink(path, target, sizeof(target)) >= 0;
}

bool task_is_dead(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents;
}

void task_death(struct knell_event *ret, const struct knell_event *event, pid_t pid,
		const char *comm)
{
	*ret = (struct knell_event){
		.size = KNELL_EVENT_HEAD + sizeof(ret->u.exit),
		.version = KNELL_EVENT_VERSION,
		.kind = KNELL_EXIT,
		.scope = KNELL_PROCESS,
		.unknown = ~0u,
	};
	if (event)
		memcpy(ret, event, event->size < sizeof(*ret) ? event->size : sizeof(*ret));
	else
		ret->time = boottime_now();
	if (!ret->task.tgid)
		ret->task.tid = ret->task.tgid = (uint32_t)pid;
	if (ret->unknown & KNELL_U_COMM && comm && *comm) {
		memcpy(ret->comm, comm, KNELL_COMM_LEN);
		ret->unknown &= ~KNELL_U_COMM;
	}
}
