/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * connector_proc.c - reads /proc for the connector source: who lives at the beginning, and who
 * lives after a loss. Never for an event. It owns nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connector.h"

static bool read_proc(uint32_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* Is /proc mounted, with our own numbers? */
bool cn_proc_works(void)
{
	char text[32];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	return strtol(text, NULL, 10) == (long)getpid();
}

uint64_t cn_proc_tick(void)
{
	long hz = sysconf(_SC_CLK_TCK);

	return 1000000000u / (uint64_t)(hz > 0 ? hz : 100);
}

static void copy_comm(char comm[KNELL_COMM_LEN], const char *name, const char *end)
{
	size_t length = (size_t)(end - name);

	if (length >= KNELL_COMM_LEN)
		length = KNELL_COMM_LEN - 1;
	memset(comm, 0, KNELL_COMM_LEN);
	memcpy(comm, name, length);
}

bool cn_proc_stat(uint32_t pid, struct cn_proc *ret_proc)
{
	struct cn_proc proc = { .pid = pid };
	char text[1024];
	unsigned long long start;
	const char *name, *end;

	if (!read_proc(pid, "stat", text, sizeof(text)))
		return false;
	/* The name may hold anything, parentheses and blanks too. */
	name = strchr(text, '(');
	end = strrchr(text, ')');
	if (!name || !end || end <= name)
		return false;
	copy_comm(proc.comm, name + 1, end);
	/* state ppid, then up to num_threads (20) and starttime (22). */
	if (sscanf(end + 1,
		   " %c %u %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %u %*d %llu",
		   &proc.state, &proc.ppid, &proc.threads, &start) != 4)
		return false;
	proc.start = (uint64_t)start * cn_proc_tick();
	*ret_proc = proc;
	return true;
}

/* The effective ids: each line has the real, effective, saved and fs id. */
bool cn_proc_ids(uint32_t pid, uint32_t *ret_uid, uint32_t *ret_gid)
{
	char text[1024];
	const char *uid, *gid;
	unsigned int u, g;

	if (!read_proc(pid, "status", text, sizeof(text)))
		return false;
	uid = strstr(text, "\nUid:");
	gid = strstr(text, "\nGid:");
	if (!uid || !gid || sscanf(uid + 5, "%*u %u", &u) != 1 ||
	    sscanf(gid + 5, "%*u %u", &g) != 1)
		return false;
	*ret_uid = u;
	*ret_gid = g;
	return true;
}

static int each(const char *path, int (*fn)(uint32_t number, void *userdata), void *userdata)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		char *end;
		unsigned long number = strtoul(entry->d_name, &end, 10);

		if (*end == '\0' && number > 0)
			r = fn((uint32_t)number, userdata);
	}
	closedir(dir);
	return r;
}

int cn_proc_each(int (*fn)(uint32_t pid, void *userdata), void *userdata)
{
	return each("/proc", fn, userdata);
}

int cn_proc_threads(uint32_t pid, int (*fn)(uint32_t tid, void *userdata), void *userdata)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/task", pid);
	return each(path, fn, userdata);
}
