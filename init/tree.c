/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tree.c - signals for all descendants, or for all children, found in the children lists of /proc.
 *
 * Only a child of ours keeps its number until we reap it. A deeper one is held by a pidfd, and then
 * looked at: if it still has the parent on whose list it stood, and the pidfd takes the signal, it
 * is the one that was meant. It owns the set of those who were told, and what they were told.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "init.h"
#include "pidfd.h"

#define PID_LIMIT  4194304 /* the kernel's own */
#define MAX_PASSES 16      /* over a tree that grows while it is told */

/*
 * A bit for each number. Pages that nobody touched do not exist, and it is emptied by giving them
 * back: whole pages of zeros.
 */
static unsigned char told[PID_LIMIT / 8] __attribute__((aligned(65536)));
static int told_signal;

static bool was_told(pid_t pid)
{
	return told[pid / 8] >> (pid % 8) & 1;
}

static void set_told(pid_t pid)
{
	told[pid / 8] |= (unsigned char)(1u << (pid % 8));
}

void tree_forget(pid_t pid)
{
	told[pid / 8] &= (unsigned char)~(1u << (pid % 8));
}

/* From now on the set is of those who were told this one. */
static void forget_all(int signo)
{
	told_signal = signo;
	if (madvise(told, sizeof(told), MADV_DONTNEED) < 0)
		memset(told, 0, sizeof(told));
}

/* ---- lists ---- */

struct pids {
	pid_t *all;
	size_t count, room;
};

/* What does not fit is left out: a later pass finds it again. */
static void add(struct pids *pids, pid_t pid)
{
	pid_t *grown;

	if (pids->count == pids->room) {
		size_t room = pids->room ? 2 * pids->room : 256;

		grown = realloc(pids->all, room * sizeof(*grown));
		if (!grown)
			return;
		pids->all = grown;
		pids->room = room;
	}
	pids->all[pids->count++] = pid;
}

/* "12 345 6789 ": a number may be cut between two reads. */
static void read_list(struct pids *pids, int fd)
{
	char text[4096];
	pid_t pid = 0;
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				pid = pid * 10 + (text[i] - '0');
				continue;
			}
			if (pid > 0 && pid < PID_LIMIT)
				add(pids, pid);
			pid = 0;
		}
	}
}

/* "/proc/PID/task", and below it "/TID/children" */
static const char *path_of(struct init_line *line, pid_t pid, const char *tid)
{
	line->len = 0;
	line_text(line, "/proc/");
	line_number(line, (uint64_t)pid);
	line_text(line, "/task");
	if (tid) {
		line_text(line, "/");
		line_text(line, tid);
		line_text(line, "/children");
	}
	line->text[line->len] = '\0';
	return line->text;
}

/* Each thread has a list of its own. 0; -ENOENT: there is none, or the process is gone. */
static int children_of(pid_t pid, struct pids *pids)
{
	struct init_line path;
	DIR *tasks = opendir(path_of(&path, pid, NULL));
	struct dirent *task;
	int r = -ENOENT;

	while (tasks && (task = readdir(tasks)) != NULL) {
		int fd;

		if (task->d_name[0] == '.')
			continue;
		fd = open(path_of(&path, pid, task->d_name), O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		read_list(pids, fd);
		close(fd);
		r = 0;
	}
	if (tasks)
		closedir(tasks);
	return r;
}

/* A /proc of another pid namespace has other numbers: nobody on its lists is one of ours. */
static bool is_our_proc(void)
{
	char text[16] = "";

	return readlink("/proc/self", text, sizeof(text) - 1) > 0 &&
	       strtol(text, NULL, 10) == getpid();
}

static int our_children(struct pids *pids)
{
	return is_our_proc() ? children_of(getpid(), pids) : -ENOENT;
}

static pid_t parent_of(pid_t pid)
{
	char text[512], *field;

	if (knell_proc_read(pid, "stat", text, sizeof(text)) < 0)
		return -1;
	field = strrchr(text, ')'); /* "PID (NAME) STATE PPID": the name may have brackets */
	return field && strlen(field) > 4 ? (pid_t)strtol(field + 4, NULL, 10) : -1;
}

/* Was it the one that was meant? Not if its parent died meanwhile: then it is on another list. */
static bool tell(pid_t pid, pid_t parent, int signo)
{
	int pidfd = knell_pidfd_open(pid);
	bool meant = (pidfd >= 0 || pidfd == -ENOSYS) && parent_of(pid) == parent;

	if (meant && pidfd >= 0)
		knell_pidfd_send(pidfd, signo, 0);
	else if (meant)
		kill(pid, signo);
	if (pidfd >= 0)
		close(pidfd);
	return meant;
}

/*
 * One pass from the root of the tree, which is us, to its leaves: parents first, so that a shell
 * that ends on the signal sees no failed command before. How many were new, those too whom it
 * missed: only another pass finds them; or -errno.
 */
static int tell_all(int signo)
{
	struct pids queue = { 0 };
	pid_t parent = getpid();
	int fresh = 0;
	int r = our_children(&queue);

	for (size_t family = 0, i = 0; r == 0;) {
		/* Those from `family` on, up to what is known by now, are children of `parent`. */
		for (; family < queue.count; family++) {
			pid_t pid = queue.all[family];

			if (was_told(pid))
				continue;
			if (tell(pid, parent, signo))
				set_told(pid);
			fresh++;
		}
		if (i == queue.count)
			break;
		parent = queue.all[i++];
		children_of(parent, &queue);
	}
	free(queue.all);
	return r < 0 ? r : fresh;
}

int tree_signal_all(int signo)
{
	int passes = 0, r;

	forget_all(signo);
	/* Some are born meanwhile, to parents that had not heard of it yet. */
	do {
		r = tell_all(signo);
	} while (r > 0 && ++passes < MAX_PASSES);
	return r < 0 ? r : 0;
}

int tree_end_children(int signo, bool again)
{
	struct pids list = { 0 };
	int r = our_children(&list);

	if (told_signal != signo)
		forget_all(signo); /* what was passed on before did not end them */
	for (size_t i = 0; i < list.count; i++) {
		pid_t pid = list.all[i];

		if (!again && was_told(pid))
			continue;
		set_told(pid);
		kill(pid, signo);
		kill(pid, SIGCONT); /* a stopped one could not hear it */
	}
	free(list.all);
	return r;
}
