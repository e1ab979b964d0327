/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cgroup.c - finds a version 2 cgroup by its name: see cgroup.h. Where version 1 is mounted too the
 * second version is somewhere below /sys/fs/cgroup, so the mount table is asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "cli.h"

/* From <linux/exportfs.h>, which is not for user space. */
#define FILEID_KERNFS 0xfe

#define LOOK UINT64_C(1000000000) /* ns */

/* "36 35 98:0 /root /mnt options - cgroup2 ...": the fifth field, if the type is ours. */
static bool mount_of_line(char *line, char *mount, size_t size)
{
	char *type = strstr(line, " - cgroup2 "), *field = line, *end;
	size_t used = 0;

	if (!type)
		return false;
	for (int i = 0; i < 4; i++) {
		field = strchr(field, ' ');
		if (!field)
			return false;
		field++;
	}
	end = field + strcspn(field, " ");
	/* A blank, a tab, a newline and a backslash are written as \ooo. */
	for (char *p = field; p < end && used < size - 1; p++) {
		unsigned int byte;

		if (*p == '\\' && sscanf(p, "\\%3o", &byte) == 1) {
			mount[used++] = (char)byte;
			p += 3;
		} else {
			mount[used++] = *p;
		}
	}
	mount[used] = '\0';
	return true;
}

/* 0, -ENODEV: there is none, or another -errno. */
static int read_mount(char *mount, size_t size)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[2 * PATH_MAX];
	bool found = false;

	if (!file)
		return -errno;
	while (!found && fgets(line, sizeof(line), file))
		found = mount_of_line(line, mount, size);
	fclose(file);
	return found ? 0 : -ENODEV;
}

static int find_mount(char *mount, size_t size)
{
	int error = read_mount(mount, size);

	if (error == -ENODEV)
		complain("no version 2 cgroup file system is mounted here; mount -t cgroup2 none "
			 "DIR");
	else if (error < 0)
		complain("cannot read /proc/self/mountinfo: %s", strerror(-error));
	return error;
}

/* The id is the file handle of its directory, which needs CAP_DAC_READ_SEARCH to be opened. */
bool cgroup_name(char *ret, size_t size, uint64_t id)
{
	union {
		struct file_handle handle;
		char bytes[sizeof(struct file_handle) + sizeof(id)];
	} u = { .handle = { .handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS } };
	char mount[PATH_MAX], name[PATH_MAX], link[64];
	size_t length;
	ssize_t n = -1;
	int root, fd;

	if (read_mount(mount, sizeof(mount)) < 0)
		return false;
	root = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return false;
	memcpy(u.handle.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(root, &u.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(root);
	if (fd >= 0) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, name, sizeof(name) - 1);
		close(fd);
	}
	if (n < 0)
		return false;
	name[n] = '\0';
	length = strlen(mount);
	if (strncmp(name, mount, length) != 0 || strstr(name, " (deleted)"))
		return false;
	snprintf(ret, size, "%s", name[length] ? name + length : "/");
	return true;
}

int cgroup_find(struct cgroup *ret, const char *name)
{
	char mount[PATH_MAX];
	size_t length;
	struct stat st;
	int r = find_mount(mount, sizeof(mount));

	if (r < 0)
		return r;
	length = strlen(mount);
	if (strncmp(name, mount, length) == 0 && (name[length] == '/' || !name[length]))
		name += length;
	r = snprintf(ret->dir, sizeof(ret->dir), "%s%s", mount, name);
	if (r < 0 || (size_t)r >= sizeof(ret->dir)) {
		complain("the name of cgroup '%s' is too long", name);
		return -ENAMETOOLONG;
	}
	for (size_t end = (size_t)r; end > length && ret->dir[end - 1] == '/'; end--)
		ret->dir[end - 1] = '\0';
	ret->path = ret->dir[length] ? ret->dir + length : "/";
	if (stat(ret->dir, &st) == 0 && S_ISDIR(st.st_mode)) {
		ret->id = st.st_ino;
		return 0;
	}
	complain("there is no cgroup '%s': '%s' is no directory", ret->path, ret->dir);
	return -ENOENT;
}

int cgroup_life_begin(struct cgroup_life *life, const struct cgroup *cgroup)
{
	*life = (struct cgroup_life){ .dir = strdup(cgroup->dir), .id = cgroup->id };
	if (life->dir)
		return 0;
	complain("no memory for the name of a cgroup");
	return -ENOMEM;
}

void cgroup_life_end(struct cgroup_life *life)
{
	free(life->dir);
	*life = (struct cgroup_life){ 0 };
}

bool cgroup_life_look(struct cgroup_life *life, uint64_t now, bool quiet)
{
	struct stat st;

	if (!life->dir || now < life->next)
		return false;
	life->next = now + LOOK;
	if (life->gone) {
		cgroup_life_end(life);
		return true;
	}
	/* One of the same name is another one. */
	life->gone = stat(life->dir, &st) < 0 ? errno == ENOENT || errno == ENODEV
					      : st.st_ino != life->id;
	if (life->gone && !quiet)
		complain("cgroup '%s' was removed: nobody can be born into it any more", life->dir);
	return false;
}
