/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * pidfd.c - the source that needs nothing: no privilege, no module. It hears nothing by itself. The
 * deaths of those that are watched are told by their pidfds, which the engine looks after
 * (lib/watch.c), and are this source's records. What is left to do here is to start a child, tell
 * its birth and have it watched. Owns births that are not told yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../pidfd.h"
#include "source.h"

struct birth {
	struct birth *next;
	struct knell_event event;
};

struct pidfd_source {
	struct knell_source base;
	struct birth *first, **end;
	int fd; /* an eventfd: readable while a birth is to be told */
};

static int pidfd_probe(struct knell_probe *probe)
{
	int fd = knell_pidfd_open(getpid());

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (fd == -ENOSYS) {
		strcpy(probe->reason, "the kernel has no pidfd_open(2)");
		strcpy(probe->remedy, "use Linux 5.4 or newer, or allow it in the seccomp profile");
	} else {
		strcpy(probe->reason, "pidfd_open(2) is refused");
		strcpy(probe->remedy, "allow it in the container's seccomp profile");
	}
	return fd;
}

static void pidfd_close(struct knell_source *source)
{
	struct pidfd_source *s = (struct pidfd_source *)source;

	while (s->first) {
		struct birth *b = s->first;

		s->first = b->next;
		free(b);
	}
	close(s->fd);
	free(s);
}

static int pidfd_source_open(struct knell_source **ret_source, struct knell_engine *engine,
			     const struct knell_options *options)
{
	struct knell_probe probe = { 0 };
	struct pidfd_source *s;
	int r;

	if (options->flags & KNELL_O_STREAM)
		return knell_fail(-ENOTSUP, "the source pidfd hears only of processes that it is "
					    "given; a stream needs bpf, kmod or connector");
	r = pidfd_probe(&probe);
	if (r < 0)
		return knell_fail(-ENOTSUP, "%s; %s", probe.reason, probe.remedy);
	s = calloc(1, sizeof(*s));
	if (!s)
		return knell_fail(-ENOMEM, "no memory for a source");
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->fd < 0) {
		r = -errno;
		free(s);
		return knell_fail(r, "cannot make an eventfd: %s", strerror(-r));
	}
	s->base.ops = &knell_source_pidfd;
	s->base.engine = engine;
	s->end = &s->first;
	*ret_source = &s->base;
	return 0;
}

static int pidfd_fd(const struct knell_source *source)
{
	return ((const struct pidfd_source *)source)->fd;
}

static int pidfd_dispatch(struct knell_source *source)
{
	struct pidfd_source *s = (struct pidfd_source *)source;
	eventfd_t value;

	if (!s->first)
		return 0;
	(void)eventfd_read(s->fd, &value);
	while (s->first) {
		struct birth *b = s->first;

		s->first = b->next;
		if (!s->first)
			s->end = &s->first;
		knell_engine_deliver(source->engine, &b->event);
		free(b);
	}
	return 0;
}

static void queue_birth(struct pidfd_source *s, struct birth *b, int pidfd, pid_t pid)
{
	struct knell_event *e = &b->event;

	e->size = KNELL_EVENT_HEAD + sizeof(e->u.clone);
	e->kind = KNELL_CLONE;
	e->scope = KNELL_PROCESS;
	e->flags = KNELL_F_ROOT;
	e->unknown = KNELL_U_PARENT | KNELL_U_UID | KNELL_U_GID | KNELL_U_CGROUP | KNELL_U_COMM |
		     KNELL_U_CPU | KNELL_U_FLAGS;
	e->time = knell_now();
	e->task = knell_pidfd_identity(pidfd, pid);
	*s->end = b;
	s->end = &b->next;
	eventfd_write(s->fd, 1);
}

static void ignore(struct knell_watch *watch, const struct knell_verdict *verdict, void *userdata)
{
	(void)watch;
	(void)verdict;
	(void)userdata;
}

/* The child waits meanwhile. Its record goes to the watchers; the verdict is nobody's. */
static int watch_child(struct pidfd_source *s, pid_t pid)
{
	const struct knell_watch_options options = { .size = sizeof(options), .fn = ignore };
	struct birth *b = calloc(1, sizeof(*b));
	int fd = b ? knell_pidfd_open(pid) : -ENOMEM, r;

	if (fd < 0) {
		free(b);
		return knell_fail(fd, "cannot watch the child: %s", strerror(-fd));
	}
	r = knell_watch_pidfd(s->base.engine, NULL, fd, &options);
	if (r == 0)
		queue_birth(s, b, fd, pid);
	else
		free(b);
	close(fd);
	return r;
}

static pid_t pidfd_fork(struct knell_source *source)
{
	int go[2], r;
	char byte = 0;
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		return knell_fail(-errno, "cannot make a pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		/* If the parent dies first nobody is there to hear: go on. */
		close(go[1]);
		while (read(go[0], &byte, 1) < 0 && errno == EINTR)
			;
		close(go[0]);
		return 0;
	}
	if (pid < 0) {
		r = knell_fail(-errno, "cannot fork: %s", strerror(errno));
	} else {
		r = watch_child((struct pidfd_source *)source, pid);
		if (r < 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, __WALL);
		} else {
			/* It cannot fail: we have the reading end, too. */
			r = write(go[1], &byte, 1) < 0 ? -errno : 0;
		}
	}
	close(go[0]);
	close(go[1]);
	return r < 0 ? r : pid;
}

const struct knell_source_ops knell_source_pidfd = {
	.name = "pidfd",
	.summary = "deaths of watched processes only; needs no privilege",
	.explicit_only = true,
	.deaths_by_pidfd = true,
	.probe = pidfd_probe,
	.open = pidfd_source_open,
	.close = pidfd_close,
	.fd = pidfd_fd,
	.dispatch = pidfd_dispatch,
	.fork = pidfd_fork,
	.can = KNELL_CAN_WATCH,
};
