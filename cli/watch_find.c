/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch_find.c - finds the processes that were asked for and holds each by a pidfd: from then on
 * its number cannot come to mean another, and its death cannot be missed while the engine is being
 * opened.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "task.h"
#include "watch.h"

static int no_memory(void)
{
	complain("no memory for so many processes");
	return -ENOMEM;
}

/* One target alone, which may be thousands of a name, has nobody twice. */
static bool is_listed(const struct watch *watch, pid_t pid)
{
	for (size_t i = 0; watch->options.target_count > 1 && i < watch->count; i++) {
		if (watch->list[i]->pid == pid)
			return true;
	}
	return false;
}

static int add(struct watch *watch, pid_t pid, int pidfd, const char comm[KNELL_COMM_LEN])
{
	struct watched *watched;

	if (watch->count == watch->room) {
		size_t room = watch->room ? 2 * watch->room : 16;
		struct watched **grown = reallocarray(watch->list, room, sizeof(struct watched *));

		if (!grown)
			return no_memory();
		watch->list = grown;
		watch->room = room;
	}
	watched = calloc(1, sizeof(*watched));
	if (!watched)
		return no_memory();
	*watched = (struct watched){ .watch = watch, .pid = pid, .pidfd = pidfd };
	memcpy(watched->comm, comm, KNELL_COMM_LEN);
	watch->list[watch->count++] = watched;
	return 0;
}

void watch_let_go(struct watched *watched)
{
	if (watched->pidfd >= 0)
		close(watched->pidfd);
	watched->pidfd = -1;
}

static int too_many(const struct watch *watch, int error)
{
	complain("only %zu processes can be watched at once here: %s; raise 'ulimit -n'",
		 watch->count, strerror(-error));
	return error;
}

/* Holds it and adds it. `comm`: only if it has this name. -ESRCH: not there; nothing is said. */
static int take(struct watch *watch, pid_t pid, const char *comm)
{
	char has[KNELL_COMM_LEN];
	int fd, r = -ESRCH;

	fd = task_hold(pid, has);
	if (fd == -EMFILE || fd == -ENFILE)
		return too_many(watch, fd);
	if (fd < 0)
		return fd;
	/* A number that was reused between our two looks has the first process dead. */
	if (!comm || (memcmp(has, comm, KNELL_COMM_LEN) == 0 && !task_is_dead(fd)))
		r = add(watch, pid, fd, has);
	if (r < 0)
		close(fd);
	return r;
}

static int take_pid(struct watch *watch, const char *text)
{
	pid_t pid = (pid_t)strtol(text, NULL, 10); /* it was checked */
	int r;

	if (is_listed(watch, pid))
		return 0;
	r = take(watch, pid, NULL);
	if (r != -ESRCH)
		return r;
	watch_tell_absent(watch, pid);
	return 0;
}

/* By many numbers at once: whoever is gone meanwhile, is gone. Ourselves we cannot outlive. */
static int take_one_of(struct watch *watch, pid_t pid, const char *comm, size_t *found)
{
	int r;

	if (pid <= 0 || pid == getpid())
		return 0;
	r = take(watch, pid, comm);
	if (r == 0)
		(*found)++;
	return r == -ESRCH ? 0 : r;
}

static bool has_name(const char *pid, const char comm[KNELL_COMM_LEN])
{
	char path[300], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	/* A name may hold a newline; the last one is not its own. */
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return strncmp(text, comm, strlen(comm)) == 0 && strcmp(text + strlen(comm), "\n") == 0;
}

static int take_name(struct watch *watch, const char *name)
{
	char comm[KNELL_COMM_LEN] = "";
	struct dirent *entry;
	size_t found = 0;
	DIR *proc = opendir("/proc");
	int r = 0;

	if (!proc) {
		complain("cannot read /proc: %s; is it mounted?", strerror(errno));
		return -ENOENT;
	}
	memcpy(comm, name, strnlen(name, KNELL_COMM_LEN - 1));
	while (r == 0 && (entry = readdir(proc)) != NULL) {
		pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;

		if (pid && has_name(entry->d_name, comm) && !is_listed(watch, pid))
			r = take_one_of(watch, pid, comm, &found);
		else if (pid && is_listed(watch, pid))
			found += has_name(entry->d_name, comm);
	}
	closedir(proc);
	if (r < 0 || found)
		return r;
	complain("there is no process named '%s'", name);
	watch_tell_absent(watch, 0);
	return 0;
}

static int take_cgroup(struct watch *watch, const char *name)
{
	struct cgroup cgroup;
	size_t found = 0;
	char path[PATH_MAX + 16];
	FILE *file;
	int pid, error, r;

	r = cgroup_find(&cgroup, name);
	if (r == -ENOENT) {
		watch_tell_absent(watch, 0);
		return 0;
	}
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup.dir);
	errno = 0;
	file = fopen(path, "re");
	while (r == 0 && file && fscanf(file, "%d", &pid) == 1) {
		if (is_listed(watch, pid))
			found++;
		else
			r = take_one_of(watch, pid, NULL, &found);
	}
	error = file && !ferror(file) ? 0 : errno;
	if (file)
		fclose(file);
	if (error && error != ENOENT && error != ENODEV) { /* those: it vanished meanwhile */
		complain("cannot read '%s': %s", path, strerror(error));
		return error == EACCES || error == EPERM ? -EPERM : -EIO;
	}
	if (r < 0 || found)
		return r;
	complain("there is no process in cgroup '%s'", cgroup.path);
	watch_tell_absent(watch, 0);
	return 0;
}

int watch_find(struct watch *watch)
{
	const struct watch_options *o = &watch->options;
	int r = 0;

	for (int i = 0; r == 0 && i < o->target_count; i++) {
		const char *target = o->targets[i];

		if (isdigit((unsigned char)*target))
			r = take_pid(watch, target);
		else if (o->future)
			continue; /* the library finds those that are alive, too */
		else if (*target == '@')
			r = take_name(watch, target + 1);
		else
			r = take_cgroup(watch, target);
	}
	watch->single = !o->future && watch->count + watch->absent == 1;
	watch->waiting = watch->count;
	return r;
}
