/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_alive.c - processes that live now, from /proc; see why.h. Owns no state. A number alone is
 * never taken for the process that had it: the start time has to be right, too.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watchers/words.h"
#include "why.h"

/* /proc counts in ticks of 10 ms, and the clock may have been set since the log was opened. */
#define SAME_START (2 * WHY_SECOND)

static ssize_t read_small(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

/* "PID (COMM) STATE PPID ...": the name may have blanks and brackets, so its end is sought last. */
bool why_process_read(uint32_t pid, struct why_process *ret)
{
	char path[64], stat[1024], *open, *close, state;
	unsigned long long start = 0;
	unsigned int ppid = 0;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	if (read_small(path, stat, sizeof(stat)) <= 0)
		return false;
	open = strchr(stat, '(');
	close = strrchr(stat, ')');
	if (!open || !close || close < open)
		return false;
	*close = '\0';
	if (sscanf(close + 1,
		   " %c %u %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
		   "%llu",
		   &state, &ppid, &start) != 3 ||
	    state == 'Z' || state == 'X')
		return false;
	*ret = (struct why_process){
		.pid = pid,
		.ppid = ppid,
		.start = why_boot_time() + start * (WHY_SECOND / (uint64_t)sysconf(_SC_CLK_TCK)),
	};
	words_copy_comm(ret->comm, open + 1);
	return true;
}

bool why_process_is(uint32_t pid, uint64_t start, struct why_process *ret)
{
	struct why_process process;
	uint64_t apart;

	if (!pid || !why_process_read(pid, &process))
		return false;
	apart = process.start > start ? process.start - start : start - process.start;
	if (start && apart > SAME_START)
		return false;
	*ret = process;
	return true;
}

static bool is_asked(const struct why *why, const struct why_process *process)
{
	char path[64], exe[PATH_MAX];
	ssize_t n;

	if (!why->options.name)
		return process->pid == why->options.pid;
	if (why_is_name(&why->options, process->comm))
		return true;
	snprintf(path, sizeof(path), "/proc/%u/exe", process->pid);
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return false;
	exe[n] = '\0';
	return why_is_path(&why->options, exe);
}

static void look_at(struct why *why, uint32_t pid)
{
	struct why_process process;
	struct why_living *living;

	if (pid == (uint32_t)getpid() || !why_process_read(pid, &process) ||
	    !is_asked(why, &process))
		return;
	if (why->alive_count < WHY_ALIVE) {
		living = &why->alive[why->alive_count];
		living->pid = pid;
		living->since = process.start;
		words_copy_comm(living->comm, process.comm);
	}
	why->alive_count++;
}

void why_find_alive(struct why *why)
{
	struct dirent *entry;
	DIR *proc;

	if (!why->options.name) {
		look_at(why, why->options.pid);
		return;
	}
	proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		if (isdigit((unsigned char)entry->d_name[0]))
			look_at(why, (uint32_t)strtoul(entry->d_name, NULL, 10));
	}
	if (proc)
		closedir(proc);
}
