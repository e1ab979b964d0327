/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watch_find.c - watches by name and by cgroup: finds the processes that live, and with
 * KNELL_W_FUTURE picks those that are born later out of the source's stream. Owns what a watch
 * looks for.
 *
 * A pid that /proc or a cgroup lists may belong to another process a moment later. So each is
 * opened first, then looked at again, and then must not be dead: watch_add_pid().
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "pidfd.h"
#include "watch.h"

struct finder {
	char comm[KNELL_COMM_LEN]; /* by name; "": by cgroup */
	char *directory;           /* of the cgroup */
	char *path;                /* as /proc/PID/cgroup has it; "" for the root */
	uint64_t cgroup;           /* its id, which is never used again */
};

struct finder *finder_free(struct finder *f)
{
	if (!f)
		return NULL;
	free(f->directory);
	free(f->path);
	free(f);
	return NULL;
}

/* ---- what a process is now ---- */

/* No is for a process that is gone, or hidden from us; but without a descriptor nobody can say. */
static int not_read(int error)
{
	if (error != -EMFILE && error != -ENFILE && error != -ENOMEM)
		return 0;
	return knell_fail(error, "cannot read /proc: %s; raise the limit of open files (ulimit -n)",
			  strerror(-error));
}

/* 1: yes; 0: no; -errno. */
static int has_name(pid_t pid, const char *comm)
{
	char text[80]; /* the kernel's own threads have longer names */
	int r = knell_proc_read(pid, "comm", text, sizeof(text));

	if (r < 0 || !*text)
		return not_read(r);
	text[strlen(text) - 1] = '\0'; /* the newline; others are part of the name */
	return strcmp(text, comm) == 0;
}

static bool is_below(const char *path, const char *top)
{
	size_t length = strlen(top);

	return strncmp(path, top, length) == 0 &&
	       (path[length] == '/' || path[length] == '\n' || path[length] == '\0');
}

static int has_cgroup(pid_t pid, const char *top)
{
	char text[16384];
	const char *line;
	size_t length;
	int r = knell_proc_read(pid, "cgroup", text, sizeof(text));

	if (r < 0)
		return not_read(r);
	line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!line)
		return 0;
	line += line[0] == '\n' ? 4 : 3;
	length = strcspn(line, "\n");
	/* The root is "/" here, and "" to us. */
	return (length == strlen(top) && strncmp(line, top, length) == 0) ||
	       (!*top && length == 1 && *line == '/');
}

static int still_matches(struct knell_watch *w, pid_t pid)
{
	const struct finder *f = w->finder;

	if (*f->comm)
		return has_name(pid, f->comm);
	return f->path ? has_cgroup(pid, f->path) : 0;
}

static int add_found(struct knell_watch *w, pid_t pid)
{
	int r;

	/* Nobody hears their own death. */
	if (pid <= 0 || pid == getpid())
		return 0;
	r = still_matches(w, pid);
	return r > 0 ? watch_add_pid(w, pid, still_matches) : r;
}

/* A watch that is to look for processes; the source must know of each birth what is looked for. */
static int begin_find(struct knell_engine *engine, struct knell_watch **ret,
		      const struct knell_watch_options *options, uint32_t can, const char *what)
{
	const struct knell_source_ops *ops = engine->source->ops;
	struct knell_watch *w = NULL;
	int r = knell_watch_begin(engine, &w, options, KNELL_W_SUBTREE | KNELL_W_FUTURE);

	if (!w)
		return r;
	if (w->options.flags & KNELL_W_FUTURE && !(ops->can & can)) {
		r = knell_fail(-ENOTSUP,
			       "the source %s does not know the %s of those born later; take the "
			       "source bpf or kmod",
			       ops->name, what);
		return knell_watch_end(w, NULL, r);
	}
	w->finder = calloc(1, sizeof(*w->finder));
	if (!w->finder)
		return knell_watch_end(w, NULL, knell_fail(-ENOMEM, "no memory for a watch"));
	*ret = w;
	return 0;
}

/* Nobody there: that is a verdict, unless somebody may still come. */
static int end_find(struct knell_watch *w, struct knell_watch **ret, int r)
{
	if (r == 0 && w->options.flags & KNELL_W_FUTURE) {
		cds_list_add_tail(&w->in_future, &w->watches->future);
		watches_hear_kinds(w->watches, KNELL_MASK(KNELL_CLONE) | KNELL_MASK(KNELL_EXEC));
	} else if (r == 0 && cds_list_empty(&w->targets)) {
		r = target_new_nobody(w, 0);
	}
	return knell_watch_end(w, ret, r);
}

/* ---- by name ---- */

static int scan_processes(struct knell_watch *w)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int r = 0;

	if (!proc)
		return knell_fail(-errno, "cannot read /proc: %s", strerror(errno));
	while (r == 0 && (entry = readdir(proc)) != NULL) {
		if (isdigit((unsigned char)entry->d_name[0]))
			r = add_found(w, (pid_t)strtol(entry->d_name, NULL, 10));
	}
	closedir(proc);
	return r;
}

int knell_watch_name(struct knell_engine *engine, struct knell_watch **ret_watch, const char *comm,
		     const struct knell_watch_options *options)
{
	size_t length = comm ? strlen(comm) : 0;
	struct knell_watch *w = NULL;
	int r;

	if (length == 0 || length >= KNELL_COMM_LEN)
		return knell_fail(-EINVAL,
				  "a process name has 1 to %d bytes; the kernel cuts longer ones",
				  KNELL_COMM_LEN - 1);
	r = begin_find(engine, &w, options, KNELL_CAN_COMM, "name");
	if (!w)
		return r;
	memcpy(w->finder->comm, comm, length);
	return end_find(w, ret_watch, scan_processes(w));
}

/* ---- by cgroup ---- */

/* The kernel writes spaces and the like in /proc/self/mountinfo as \040. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (from[0] == '\\' && from[1] && from[2] && from[3]) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* Where the cgroup v2 hierarchy is mounted, and which cgroup is to be seen there. */
static int find_mount(char **ret_root, char **ret_point)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *root = NULL, *point = NULL;
	size_t size = 0;

	while (file && !point && getline(&line, &size, file) > 0) {
		const char *type = strstr(line, " - ");

		if (!type || strncmp(type, " - cgroup2 ", 11) != 0)
			continue;
		if (sscanf(line, "%*s %*s %*s %ms %ms", &root, &point) != 2) {
			free(root);
			root = point = NULL;
		}
	}
	free(line);
	if (file)
		fclose(file);
	if (!point)
		return knell_fail(-ENOTSUP, "no cgroup v2 hierarchy is mounted here; mount one "
					    "(mount -t cgroup2 none /sys/fs/cgroup)");
	unescape(root);
	unescape(point);
	*ret_root = root;
	*ret_point = point;
	return 0;
}

static int resolve(struct finder *f, const char *path)
{
	char *root = NULL, *point = NULL, *end;
	struct statfs fs;
	struct stat st = { 0 };
	const char *top;
	int r = find_mount(&root, &point);

	if (!root || !point)
		return r;
	/* A container may see a part of the hierarchy only, under names from its real root. */
	top = strcmp(root, "/") == 0 ? "" : root;
	if (*top && is_below(path, top))
		path += strlen(top);
	if (asprintf(&f->directory, "%s%s", point, path) < 0)
		f->directory = NULL;
	if (asprintf(&f->path, "%s%s", top, path) < 0)
		f->path = NULL;
	free(root);
	free(point);
	if (!f->directory || !f->path)
		return knell_fail(-ENOMEM, "no memory for a watch");
	for (end = f->path + strlen(f->path); end > f->path && end[-1] == '/';)
		*--end = '\0';
	if (statfs(f->directory, &fs) < 0 || stat(f->directory, &st) < 0)
		r = -errno;
	else
		r = (uint64_t)fs.f_type == CGROUP2_SUPER_MAGIC ? 0 : -ENOENT;
	if (r < 0)
		return knell_fail(r, "there is no cgroup %s (%s): %s", *path ? path : "/",
				  f->directory, strerror(-r));
	f->cgroup = st.st_ino; /* that is its id */
	return 0;
}

static int add_members(struct knell_watch *w)
{
	char *path, *line = NULL;
	size_t size = 0;
	FILE *file;
	int r = 0;

	if (asprintf(&path, "%s/cgroup.procs", w->finder->directory) < 0)
		return knell_fail(-ENOMEM, "no memory for a watch");
	file = fopen(path, "re");
	if (!file && (errno == EMFILE || errno == ENFILE || errno == EACCES))
		r = knell_fail(-errno, "cannot read %s: %s", path, strerror(errno));
	while (r == 0 && file && getline(&line, &size, file) > 0)
		r = add_found(w, (pid_t)strtol(line, NULL, 10));
	free(line);
	free(path);
	if (file)
		fclose(file);
	return r;
}

int knell_watch_cgroup(struct knell_engine *engine, struct knell_watch **ret_watch,
		       const char *path, const struct knell_watch_options *options)
{
	struct knell_watch *w = NULL;
	int r;

	if (!path || *path != '/')
		return knell_fail(-EINVAL, "a cgroup is named by its path from the root of the "
					   "hierarchy, as in /proc/PID/cgroup");
	r = begin_find(engine, &w, options, KNELL_CAN_CGROUP, "cgroup");
	if (!w)
		return r;
	r = resolve(w->finder, path);
	if (r == 0)
		r = add_members(w);
	return end_find(w, ret_watch, r);
}

/* ---- those born later ---- */

static bool record_matches(const struct finder *f, const struct knell_event *event)
{
	if (*f->comm)
		return !(event->unknown & KNELL_U_COMM) &&
		       strncmp(event->comm, f->comm, KNELL_COMM_LEN) == 0;
	return !(event->unknown & KNELL_U_CGROUP) && event->cgroup == f->cgroup;
}

static struct target *find_target(struct knell_watch *w, const struct knell_task_id *id)
{
	struct target *t;

	for (t = *watches_chain(w->watches, id->tgid); t; t = t->chain_next) {
		if (t->watch == w && target_is(t, id))
			return t;
	}
	return NULL;
}

/*
 * A pidfd for a process that a record told of, if it lives and has a number here: to know when it
 * is dead, and that it is dead if its exit record gets lost. Else fd stays -1.
 */
void target_open_born(struct target *t)
{
	uint64_t tick = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK);
	struct knell_task_id id;
	int fd = t->pid > 0 ? knell_pidfd_open(t->pid) : -1;

	if (fd == -ESRCH)
		t->dead = t->released = true;
	if (fd < 0)
		return;
	id = knell_pidfd_identity(fd, t->pid);
	/* Where the source stamps births itself, its stamp is a little later. */
	if (!id.start || id.start > t->id.start || t->id.start - id.start > tick * 100) {
		close(fd);
		return;
	}
	t->fd = fd;
	if (target_arm(t, t->moment == KNELL_AT_FREE ? 0 : EPOLLIN) < 0) {
		close(fd);
		t->fd = -1;
	}
}

static void add_born(struct knell_watch *w, const struct knell_event *event)
{
	struct knell_source *source = w->watches->engine->source;
	struct target *t = target_new(w, TARGET_TASK, -1, (pid_t)event->task.tgid);
	struct knell_task_id id;

	if (!t) {
		__atomic_fetch_add(&w->watches->engine->watcher_errors, 1, __ATOMIC_RELAXED);
		return;
	}
	t->heard = true;
	t->inherited = *w->finder->comm && event->kind == KNELL_CLONE;
	target_put_in_table(t, &event->task);
	target_open_born(t);
	if (t->fd >= 0 && w->options.flags & KNELL_W_SUBTREE)
		source->ops->watch(source, t->fd, KNELL_W_SUBTREE, w->options.cookie, &id);
	/* Reaped already: its exit is on its way, or was lost. */
	if (t->dead)
		target_wait(t);
}

/*
 * Until a process runs a program of its own it has its parent's name: a shell's child is called as
 * the shell. It is watched from birth, but if it gets another name at its first exec it was never
 * one of those that were meant.
 */
void knell_watches_hear_birth(struct knell_watches *ws, const struct knell_event *event)
{
	struct knell_watch *w;

	cds_list_for_each_entry (w, &ws->future, in_future) {
		bool matches = record_matches(w->finder, event);
		struct target *t = find_target(w, &event->task);

		if (!t) {
			if (matches)
				add_born(w, event);
			continue;
		}
		if (event->kind != KNELL_EXEC || !t->inherited)
			continue;
		t->inherited = false;
		if (!matches) {
			target_unlink(t);
			target_free(t);
		}
	}
}
