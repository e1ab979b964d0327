/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * children.c - children that a test lets die when it wants, and what watches said of them; see
 * children.h.
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "children.h"
#include "main.h"
#include "pidfd.h"

struct child child_start(const char *name)
{
	struct child child;
	int ready[2], go[2];
	unsigned char code;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
	child.pid = fork();
	ck_assert_int_ge(child.pid, 0);
	if (child.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (name)
			prctl(PR_SET_NAME, name);
		close(go[1]);
		close(ready[0]);
		close(ready[1]);
		_exit(read(go[0], &code, 1) == 1 ? code : 99);
	}
	close(ready[1]);
	/* Closed by the child: it has its name. */
	ck_assert_int_eq(read(ready[0], &code, 1), 0);
	close(ready[0]);
	close(go[0]);
	child.fd = go[1];
	return child;
}

static void until_zombie(pid_t pid)
{
	siginfo_t info;

	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

void child_exit(struct child *child, int code)
{
	unsigned char byte = (unsigned char)code;

	ck_assert_int_eq(write(child->fd, &byte, 1), 1);
	until_zombie(child->pid);
}

void child_reap(const struct child *child)
{
	ck_assert_int_eq(waitpid(child->pid, NULL, 0), child->pid);
}

void child_end(struct child *child)
{
	kill(child->pid, SIGKILL);
	child_reap(child);
	close(child->fd);
}

void told_hear(struct knell_watch *watch, const struct knell_verdict *verdict, void *userdata)
{
	struct told *told = userdata;
	int i = told->n++;

	ck_assert_int_lt(i, TOLD_MAX);
	told->kind[i] = verdict->kind;
	told->pid[i] = verdict->pid;
	told->cookie[i] = verdict->cookie;
	told->watch[i] = watch;
	ck_assert_int_eq(verdict->event != NULL, verdict->kind == KNELL_EXITED);
	if (verdict->event) {
		ck_assert_uint_eq(verdict->event->kind, KNELL_EXIT);
		ck_assert_uint_eq(verdict->event->version, KNELL_EVENT_VERSION);
		ck_assert_uint_le(verdict->event->size, sizeof(told->event[i]));
		memcpy(&told->event[i], verdict->event, verdict->event->size);
	}
	for (int k = 0; k < TOLD_MAX && told->cancel[k]; k++) {
		ck_assert_ptr_null(knell_watch_cancel(told->cancel[k]));
		told->cancel[k] = NULL;
	}
}

struct knell_watch_options told_options(struct told *told, unsigned int moment)
{
	return (struct knell_watch_options){
		.size = sizeof(struct knell_watch_options),
		.moment = moment,
		.cookie = 4711,
		.fn = told_hear,
		.userdata = told,
	};
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void told_wait(struct told *told, struct knell_engine *engine, int n)
{
	struct pollfd p = { .fd = knell_fd(engine), .events = POLLIN };
	int64_t end = now_ms() + (int64_t)(1000 * unit_patience());

	while (told->n < n && now_ms() < end) {
		poll(&p, 1, 100);
		/* Whatever there is to say, the descriptor says so. */
		if (p.revents)
			ck_assert_int_ge(knell_dispatch(engine), 0);
	}
	ck_assert_int_eq(told->n, n);
}

void told_no_more(struct told *told, struct knell_engine *engine, int ms)
{
	struct pollfd p = { .fd = knell_fd(engine), .events = POLLIN };
	int64_t end = now_ms() + ms;
	int n = told->n, rounds = 0;

	ck_assert_int_ge(knell_dispatch(engine), 0);
	for (int64_t now = now_ms(); now < end; now = now_ms()) {
		if (poll(&p, 1, (int)(end - now)) > 0)
			rounds++;
		ck_assert_int_ge(knell_dispatch(engine), 0);
	}
	ck_assert_int_eq(told->n, n);
	/* Nothing to say, and no busy loop about it. */
	ck_assert_int_lt(rounds, 20);
}

int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

struct knell_engine *open_pidfd(void)
{
	struct knell_options o = { .size = sizeof(o), .source = "pidfd" };
	struct knell_engine *engine = NULL;

	ck_assert_msg(knell_open(&engine, &o) == 0, "%s", knell_last_error());
	return engine;
}

bool tells_late(void)
{
	return knell_pidfd_tells_late();
}

bool cgroup_make(char *directory, size_t size, const char **ret_path)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	bool made = false;

	ck_assert_ptr_nonnull(mounts);
	while ((mount = getmntent(mounts)) != NULL) {
		if (strcmp(mount->mnt_type, "cgroup2") != 0)
			continue;
		snprintf(directory, size, "%s/knell-unit-XXXXXX", mount->mnt_dir);
		made = mkdtemp(directory) != NULL;
		*ret_path = directory + strlen(mount->mnt_dir);
		break;
	}
	endmntent(mounts);
	return made;
}

void say_skipped(const char *why)
{
	fprintf(stderr, "skipped: %s\n", why);
}
