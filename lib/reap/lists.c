/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * lists.c - reads the children lists of /proc; see lists.h. It owns nothing.
 *
 * A list is read to its end before anybody on it is waited for: the kernel finds its place again by
 * the child that it told last, and loses it when that one is gone.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lists.h"

#define CHUNK 4096

bool lists_are_ours(void)
{
	char text[16] = "";

	return readlink("/proc/self", text, sizeof(text) - 1) > 0 &&
	       strtol(text, NULL, 10) == getpid();
}

static bool add(struct pid_list *list, pid_t pid)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 256;
		pid_t *grown = realloc(list->all, room * sizeof(*grown));

		if (!grown)
			return false;
		list->all = grown;
		list->room = room;
	}
	list->all[list->count++] = pid;
	return true;
}

/* Numbers with a blank after each; one may be cut by the end of a chunk. */
static void read_list(struct pid_list *list, int fd)
{
	char text[CHUNK];
	pid_t pid = 0;
	ssize_t n;

	for (;;) {
		n = read(fd, text, sizeof(text));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				pid = pid < PID_LIMIT ? pid * 10 + (text[i] - '0') : PID_LIMIT;
				continue;
			}
			if (pid > 0 && pid < PID_LIMIT && !add(list, pid))
				return;
			pid = 0;
		}
	}
}

int lists_read(struct pid_list *list, const char *tasks)
{
	DIR *dir = opendir(tasks);
	struct dirent *task;
	int r = -ENOENT;

	while (dir && (task = readdir(dir)) != NULL) {
		char path[64];
		int fd;

		if (task->d_name[0] < '1' || task->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "%.20s/children", task->d_name);
		fd = openat(dirfd(dir), path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		read_list(list, fd);
		close(fd);
		r = 0;
	}
	if (dir)
		closedir(dir);
	return r;
}
