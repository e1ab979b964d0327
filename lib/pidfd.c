/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * pidfd.c - asks the kernel about the process behind a pidfd; see pidfd.h. Where the C library's
 * headers are older than the kernel, the numbers are defined here. It owns nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pidfd.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* idtype_t of waitid(2); not in every C library. */
#define WAIT_BY_PIDFD ((idtype_t)3)

/* struct pidfd_info of <linux/pidfd.h> as Linux 6.13 has it; 6.15 gave exit_code its meaning. */
struct info {
	__u64 mask;
	__u64 cgroup;
	__u32 pid, tgid, ppid;
	__u32 ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	__s32 exit_code;
};

#define GET_INFO  _IOWR(0xff, 11, struct info)
#define INFO_PID  (1u << 0)
#define INFO_EXIT (1u << 3)

static bool kernel_is(unsigned long major, unsigned long minor)
{
	struct utsname name;
	unsigned long x, y;
	char *end;

	if (uname(&name) < 0)
		return false;
	x = strtoul(name.release, &end, 10);
	y = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
	return x > major || (x == major && y >= minor);
}

static int read_text(const char *path, char *text, size_t size)
{
	ssize_t n;
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	r = n < 0 ? -errno : 0;
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return r;
}

int knell_proc_read(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return read_text(path, text, size);
}

/* The process that this thread belongs to; 0: there is no such thread. */
static pid_t process_of(pid_t tid)
{
	char text[1024];
	const char *line;

	if (knell_proc_read(tid, "status", text, sizeof(text)) < 0)
		return 0;
	line = strstr(text, "\nTgid:");
	return line ? (pid_t)strtol(line + 6, NULL, 10) : 0;
}

int knell_pidfd_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	pid_t process;

	if (fd >= 0)
		return fd;
	/*
	 * A thread that leads no process: EINVAL at first, ENOENT later. But also a process that
	 * was reaped while the kernel looked.
	 */
	if (errno != EINVAL && errno != ENOENT)
		return -errno;
	process = process_of(pid);
	return process && process != pid ? -EINVAL : -ESRCH;
}

/* waitid(2) that leaves the child as it is. 0; -ECHILD: no child of ours; -EBADF: no pidfd. */
static int peek(int pidfd, siginfo_t *ret_info)
{
	int r;

	memset(ret_info, 0, sizeof(*ret_info));
	do {
		r = waitid(WAIT_BY_PIDFD, (id_t)pidfd, ret_info,
			   WEXITED | WNOHANG | WNOWAIT | __WALL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int knell_pidfd_check(int pidfd)
{
	siginfo_t info;
	int flags, r;

	flags = fcntl(pidfd, F_GETFL);
	if (flags < 0)
		return -EBADF;
	r = peek(pidfd, &info);
	if (r < 0 && r != -ECHILD)
		return -EBADF;
	/* PIDFD_THREAD is O_EXCL: it would tell the end of one thread. */
	return flags & O_EXCL ? -EBADF : 0;
}

/* From the descriptor's own page in /proc: older kernels have nothing else. */
static pid_t pid_of_fdinfo(int pidfd)
{
	char path[64], text[512];
	const char *line;
	long pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (read_text(path, text, sizeof(text)) < 0)
		return 0;
	line = strstr(text, "\nPid:");
	pid = line ? strtol(line + 5, NULL, 10) : 0;
	return pid > 0 ? (pid_t)pid : 0; /* -1: reaped */
}

pid_t knell_pidfd_pid(int pidfd)
{
	struct info info = { .mask = INFO_PID };

	if (ioctl(pidfd, GET_INFO, &info) == 0 && info.mask & INFO_PID)
		return (pid_t)info.pid;
	return pid_of_fdinfo(pidfd);
}

bool knell_pidfd_dead(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

bool knell_pidfd_same(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

int knell_pidfd_send(int pidfd, int signo, unsigned int flags)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, flags) < 0 ? -errno : 0;
}

bool knell_pidfd_reaped(int pidfd)
{
	return knell_pidfd_send(pidfd, 0, 0) == -ESRCH;
}

int knell_pidfd_late_status(int pidfd, int *ret_status)
{
	struct info info = { .mask = INFO_EXIT };

	/* Bare: see watch_pidfd() in spawn/home.c. */
	if (syscall(SYS_ioctl, pidfd, GET_INFO, &info) < 0 || !(info.mask & INFO_EXIT))
		return -EAGAIN;
	*ret_status = info.exit_code;
	return 0;
}

int knell_pidfd_status(int pidfd, int *ret_status)
{
	siginfo_t child;

	if (peek(pidfd, &child) == 0 && child.si_pid) {
		*ret_status = child.si_code == CLD_EXITED
				      ? (child.si_status & 0xff) << 8
				      : child.si_status | (child.si_code == CLD_DUMPED ? 0x80 : 0);
		return 0;
	}
	return knell_pidfd_late_status(pidfd, ret_status);
}

bool knell_pidfd_tells_late(void)
{
	/* Asked of a process that is not reaped, older and newer kernels give the same answer. */
	return kernel_is(6, 15);
}

/* Field n of /proc/PID/stat, from 3 on, with a space before it; NULL: there are not so many. */
static char *stat_field(char *text, int n)
{
	/* The name is in brackets and may have some itself; field 3 comes after the last. */
	char *field = strrchr(text, ')');

	for (int i = 2; field && i < n; i++)
		field = strchr(field + 1, ' ');
	return field;
}

/* A status that is hidden from us looks like 0; the link to the program says whether it is. */
static bool shows_status(pid_t pid)
{
	char path[64], target[2];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return readlink(path, target, sizeof(target)) < 0 && errno == ENOENT;
}

int knell_pidfd_zombie_status(int pidfd, int *ret_status)
{
	/* As /proc counts, whichever pid namespace it is of. */
	pid_t pid = pid_of_fdinfo(pidfd);
	char text[1024], *state, *code;

	if (!pid || !knell_pidfd_tells_late() || !knell_pidfd_dead(pidfd) ||
	    knell_proc_read(pid, "stat", text, sizeof(text)) < 0)
		return -EAGAIN;
	state = stat_field(text, 3);
	code = stat_field(text, 52);
	if (!state || !code || state[1] != 'Z' || !shows_status(pid))
		return -EAGAIN;
	/* If it is not reaped now, all that was its. */
	if (knell_pidfd_reaped(pidfd))
		return -EAGAIN;
	*ret_status = (int)strtol(code, NULL, 10);
	return 0;
}

struct knell_task_id knell_pidfd_identity(int pidfd, pid_t pid)
{
	struct knell_task_id id = { .tid = (__u32)pid, .tgid = (__u32)pid };
	unsigned long long start = 0;
	char text[1024], *field;

	if (pid <= 0 || knell_proc_read(pid, "stat", text, sizeof(text)) < 0)
		return id;
	field = stat_field(text, 22);
	if (field)
		start = strtoull(field, NULL, 10);
	/* If it is not reaped now, the file was its. */
	if (!knell_pidfd_reaped(pidfd))
		id.start = start * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
	return id;
}
