/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * tree.c - signals for all descendants, or for all children, found in the children lists of /proc.
 *
 * Only a child of ours keeps its number until we reap it. A deeper one is held by a pidfd, and then
 * looked at: if it still has the parent on whose list it stood, and the pidfd takes the signal, it
 * is the one that was meant. It owns the set of those who were told, and what they were told.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "init.h"
#include "pidfd.h"
#include "reap/lists.h"

#define MAX_PASSES 16 /* over a tree that grows while it is told */

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

static int children_of(pid_t pid, struct pid_list *list)
{
	char tasks[32];

	snprintf(tasks, sizeof(tasks), "/proc/%d/task", (int)pid);
	return lists_read(list, tasks);
}

static int our_children(struct pid_list *list)
{
	return lists_are_ours() ? children_of(getpid(), list) : -ENOENT;
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
	struct pid_list queue = { 0 };
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
	struct pid_list list = { 0 };
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
