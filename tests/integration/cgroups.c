/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cgroups.c - cgroups of our own for a test; see cgroups.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroups.h"
#include "support.h"

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Where this type of cgroup file system is mounted; `option` is a mount option or NULL. */
static bool find_mount(const char *type, const char *option, char *dir, size_t size)
{
	FILE *mounts = setmntent("/proc/mounts", "re");
	struct mntent *entry;
	bool found = false;

	while (mounts && !found && (entry = getmntent(mounts))) {
		found = !strcmp(entry->mnt_type, type) && (!option || hasmntopt(entry, option));
		if (found)
			snprintf(dir, size, "%s", entry->mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	return found;
}

static bool has_word(const char *path, const char *word)
{
	char *text = read_file(path), *rest = text, *token;
	bool found = false;

	while (rest && !found && (token = strsep(&rest, " \n")))
		found = !strcmp(token, word);
	free(text);
	return found;
}

static bool make(struct cgroup *cgroup, const char *mount)
{
	snprintf(cgroup->dir, sizeof(cgroup->dir), "%s/knell-test-%d", mount, getpid());
	return !mkdir(cgroup->dir, 0755);
}

bool cgroup_write(const struct cgroup *cgroup, const char *file, const char *text)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", cgroup->dir, file);
	return write_text(path, text);
}

static bool memory_v2(struct cgroup *cgroup, const char *limit)
{
	char mount[300], path[400];

	if (!find_mount("cgroup2", NULL, mount, sizeof(mount)))
		return false;
	snprintf(path, sizeof(path), "%s/cgroup.controllers", mount);
	if (!has_word(path, "memory"))
		return false;
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", mount);
	if (!has_word(path, "memory")) {
		if (!write_text(path, "+memory"))
			return false;
		snprintf(cgroup->parent, sizeof(cgroup->parent), "%s", path);
	}
	if (make(cgroup, mount) && cgroup_write(cgroup, "memory.max", limit)) {
		(void)cgroup_write(cgroup, "memory.swap.max", "0"); /* where there is swap */
		return true;
	}
	cgroup_remove(cgroup);
	return false;
}

static bool memory_v1(struct cgroup *cgroup, const char *limit)
{
	char mount[300];

	if (!find_mount("cgroup", "memory", mount, sizeof(mount)))
		return false;
	if (make(cgroup, mount) && cgroup_write(cgroup, "memory.limit_in_bytes", limit)) {
		(void)cgroup_write(cgroup, "memory.memsw.limit_in_bytes", limit);
		return true;
	}
	cgroup_remove(cgroup);
	return false;
}

const char *cgroup_with_memory(struct cgroup *cgroup, unsigned int megabytes)
{
	char limit[32];

	memset(cgroup, 0, sizeof(*cgroup));
	snprintf(limit, sizeof(limit), "%llu", (unsigned long long)megabytes << 20);
	if (memory_v2(cgroup, limit) || memory_v1(cgroup, limit))
		return NULL;
	return "no cgroup with a memory limit can be made here";
}

const char *cgroup_with_kill(struct cgroup *cgroup)
{
	char mount[300], path[600];

	memset(cgroup, 0, sizeof(*cgroup));
	if (!find_mount("cgroup2", NULL, mount, sizeof(mount)))
		return "no cgroup version 2 is mounted here";
	if (!make(cgroup, mount))
		return "no cgroup can be made here";
	snprintf(path, sizeof(path), "%s/cgroup.kill", cgroup->dir);
	if (file_exists(path))
		return NULL;
	cgroup_remove(cgroup);
	return "this kernel has no cgroup.kill";
}

void cgroup_remove(struct cgroup *cgroup)
{
	double end = now() + test_seconds(5);

	/* The last process may still be on its way out. */
	while (cgroup->dir[0] && rmdir(cgroup->dir) && errno == EBUSY && now() < end)
		sleep_ms(5);
	if (cgroup->parent[0])
		(void)write_text(cgroup->parent, "-memory");
	memset(cgroup, 0, sizeof(*cgroup));
}

/* Those whose name tells the pid of a test that is dead. */
static void sweep(const char *mount)
{
	DIR *dir = opendir(mount);
	struct dirent *entry;
	char path[600];

	while (dir && (entry = readdir(dir))) {
		long pid;

		if (strncmp(entry->d_name, "knell-test-", 11) != 0)
			continue;
		pid = strtol(entry->d_name + 11, NULL, 10);
		if (pid <= 0 || !kill((pid_t)pid, 0))
			continue;
		snprintf(path, sizeof(path), "%s/%s/cgroup.kill", mount, entry->d_name);
		(void)write_text(path, "1");
		snprintf(path, sizeof(path), "%s/%s", mount, entry->d_name);
		(void)rmdir(path);
	}
	if (dir)
		closedir(dir);
}

void cgroup_sweep(void)
{
	char mount[300];

	if (find_mount("cgroup2", NULL, mount, sizeof(mount)))
		sweep(mount);
	if (find_mount("cgroup", "memory", mount, sizeof(mount)))
		sweep(mount);
}
