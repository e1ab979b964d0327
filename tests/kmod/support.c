/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * support.c - see support.h. Owns nothing beyond what its callers hold.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int load_file(const char *path, const char *options)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), error;

	if (fd < 0)
		return -errno;
	error = syscall(SYS_finit_module, fd, options, 0) ? -errno : 0;
	close(fd);
	return error;
}

int module_load(const char *options)
{
	const char *path = getenv("KNELL_KMOD");

	return load_file(path ? path : "", options);
}

int other_load(const char *path, const char *options)
{
	const char *knell = getenv("KNELL_KMOD");
	char file[4096];

	ck_assert_ptr_nonnull(knell);
	snprintf(file, sizeof(file), "%.*s%s", (int)(strrchr(knell, '/') + 1 - knell), knell, path);
	return load_file(file, options);
}

int other_unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

int module_unload(void)
{
	return other_unload("knell");
}

bool module_loaded(void)
{
	return access("/sys/module/knell/refcnt", F_OK) == 0;
}

void module_fresh(const char *options)
{
	if (module_loaded())
		ck_assert_int_eq(module_unload(), 0);
	ck_assert_int_eq(module_load(options), 0);
}

int session_open(int flags)
{
	int session = open(KNELL_KMOD_DEVICE, O_RDONLY | O_CLOEXEC | flags);

	ck_assert_msg(session >= 0, "%s: %s", KNELL_KMOD_DEVICE, strerror(errno));
	return session;
}

int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	ck_assert_msg(fd >= 0, "pidfd_open(%d): %s", (int)pid, strerror(errno));
	return fd;
}

int session_watch_pidfd(int session, int pidfd, uint32_t flags, uint32_t mask, uint64_t cookie,
			uint32_t reserve)
{
	struct knell_kmod_watch request = {
		.size = sizeof(request),
		.pidfd = pidfd,
		.flags = flags,
		.mask = mask,
		.cookie = cookie,
		.reserve = reserve,
	};

	return ioctl(session, KNELL_IOC_WATCH, &request) ? -errno : 0;
}

int session_watch(int session, pid_t pid, uint32_t flags, uint32_t mask, uint64_t cookie,
		  uint32_t reserve)
{
	int pidfd = pidfd_of(pid);
	int error = session_watch_pidfd(session, pidfd, flags, mask, cookie, reserve);

	close(pidfd);
	return error;
}

int group_set(int session, uint32_t mask, uint32_t reserve)
{
	return session_watch_pidfd(session, -1, KNELL_KMOD_GROUP, mask, 5, reserve);
}

int group_join_pidfd(int session, int pidfd, uint32_t flags, uint64_t cookie)
{
	struct knell_kmod_watch request = {
		.size = sizeof(request),
		.pidfd = pidfd,
		.flags = KNELL_KMOD_JOIN | flags,
		.cookie = cookie,
		.group = 5,
	};

	return ioctl(session, KNELL_IOC_WATCH, &request) ? -errno : 0;
}

int group_join(int session, pid_t pid, uint32_t flags, uint64_t cookie)
{
	int pidfd = pidfd_of(pid), r = group_join_pidfd(session, pidfd, flags, cookie);

	close(pidfd);
	return r;
}

int group_arm(int session, uint32_t on, uint64_t cookie)
{
	struct knell_kmod_arm request = {
		.size = sizeof(request),
		.on = on,
		.group = 5,
		.cookie = cookie,
	};

	return ioctl(session, KNELL_IOC_ARM, &request) ? -errno : 0;
}

int session_unwatch(int session, uint64_t cookie)
{
	struct knell_kmod_unwatch request = { .size = sizeof(request), .cookie = cookie };

	return ioctl(session, KNELL_IOC_UNWATCH, &request) ? -errno : 0;
}

struct knell_kmod_stats session_stats(int session)
{
	struct knell_kmod_stats stats = { .size = sizeof(stats) };

	ck_assert_msg(ioctl(session, KNELL_IOC_STATS, &stats) == 0, "stats: %s", strerror(errno));
	return stats;
}

/* Adds one record; it must be as event.h says, and the next in the session's row. */
static void hear_one(struct hearing *hearing, const char *at, size_t size)
{
	struct heard *heard;

	hearing->all = realloc(hearing->all, (hearing->count + 1) * sizeof(*heard));
	ck_assert_ptr_nonnull(hearing->all);
	heard = &hearing->all[hearing->count++];
	memset(heard, 0, sizeof(*heard));
	memcpy(&heard->event, at, size < sizeof(heard->event) ? size : sizeof(heard->event));
	ck_assert_uint_eq(heard->event.version, KNELL_EVENT_VERSION);
	ck_assert_uint_eq(heard->event.size % 8, 0);
	ck_assert_uint_eq(heard->event.seq, hearing->next_seq);
	hearing->next_seq++;
	if (heard->event.kind == KNELL_GAP)
		hearing->next_seq += heard->event.u.gap.births + heard->event.u.gap.deaths +
				     heard->event.u.gap.others - 1;
	if (heard->event.kind != KNELL_EXEC)
		return;
	ck_assert_uint_lt(heard->event.u.exec.file_len, sizeof(heard->name));
	memcpy(heard->name, at + KNELL_EVENT_HEAD + sizeof(heard->event.u.exec),
	       heard->event.u.exec.file_len);
}

/* Returns how many records came; none if there is nothing, and the session does not block. */
static size_t take(struct hearing *hearing, int session)
{
	static char buffer[65536] __attribute__((aligned(8)));
	size_t before = hearing->count;
	ssize_t length, at;
	uint32_t size;

	length = read(session, buffer, sizeof(buffer));
	if (length < 0 && errno == EAGAIN)
		return 0;
	ck_assert_msg(length > 0, "read: %s", length ? strerror(errno) : "nothing");
	for (at = 0; at < length; at += size) {
		memcpy(&size, buffer + at, sizeof(size));
		ck_assert_uint_ge(size, KNELL_EVENT_HEAD);
		ck_assert_int_le(at + size, length); /* whole records only */
		hear_one(hearing, buffer + at, size);
	}
	return hearing->count - before;
}

size_t hear(struct hearing *hearing, int session, int ms)
{
	struct pollfd ready = { .fd = session, .events = POLLIN };

	return poll(&ready, 1, ms) > 0 ? take(hearing, session) : 0;
}

void hear_until(struct hearing *hearing, int session, size_t count)
{
	while (hearing->count < count)
		ck_assert_msg(hear(hearing, session, 30000) > 0, "%zu records of %zu came",
			      hearing->count, count);
}

void hear_kind(struct hearing *hearing, int session, unsigned int kind, size_t count)
{
	while (heard_count(hearing, kind) < count)
		ck_assert_msg(hear(hearing, session, 30000) > 0, "%zu records of kind %u of %zu",
			      heard_count(hearing, kind), kind, count);
}

void drain(struct hearing *hearing, int session)
{
	while (hear(hearing, session, 500) || take(hearing, session))
		;
}

void hear_nothing(int session)
{
	struct pollfd ready = { .fd = session, .events = POLLIN };

	ck_assert_int_eq(poll(&ready, 1, 300), 0);
}

void hearing_end(struct hearing *hearing)
{
	free(hearing->all);
	memset(hearing, 0, sizeof(*hearing));
}

const struct knell_event *heard_of(const struct hearing *hearing, pid_t pid, unsigned int kind)
{
	const struct knell_event *found = NULL;
	size_t i;

	for (i = 0; i < hearing->count; i++) {
		const struct knell_event *event = &hearing->all[i].event;

		if (event->kind != kind || event->task.tgid != (uint32_t)pid)
			continue;
		ck_assert_msg(!found, "%d was told of twice (kind %u)", (int)pid, kind);
		found = event;
	}
	return found;
}

void heard_gaps(const struct hearing *hearing, uint64_t *births, uint64_t *deaths)
{
	size_t i;

	*births = *deaths = 0;
	for (i = 0; i < hearing->count; i++) {
		const struct knell_event *event = &hearing->all[i].event;

		if (event->kind != KNELL_GAP)
			continue;
		ck_assert_uint_eq(event->u.gap.cause, KNELL_GAP_RESERVE);
		*births += event->u.gap.births;
		*deaths += event->u.gap.deaths;
	}
}

size_t heard_count(const struct hearing *hearing, unsigned int kind)
{
	size_t i, count = 0;

	for (i = 0; i < hearing->count; i++)
		count += hearing->all[i].event.kind == kind;
	return count;
}

void gate_make(struct gate *gate)
{
	ck_assert_int_eq(pipe2(gate->fds, O_CLOEXEC), 0);
}

void gate_open(struct gate *gate)
{
	close(gate->fds[1]);
	close(gate->fds[0]);
}

void gate_wait(const struct gate *gate)
{
	char byte;

	close(gate->fds[1]);
	while (read(gate->fds[0], &byte, 1) < 0 && errno == EINTR)
		;
}

pid_t spawn(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid) {
		/* Not in the child: another thread may have held a lock of Check's. */
		ck_assert_msg(pid > 0, "fork: %s", strerror(errno));
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(99);
	return 0;
}

pid_t spawn_at(const struct gate *gate, int status)
{
	pid_t pid = spawn();

	if (pid)
		return pid;
	gate_wait(gate);
	_exit(status);
}

int reap(pid_t pid)
{
	int status;

	ck_assert_msg(waitpid(pid, &status, 0) == pid, "waitpid(%d): %s", (int)pid,
		      strerror(errno));
	return status;
}

void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	ck_assert_msg(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s: %s", path,
		      strerror(errno));
	close(fd);
}

int write_error(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error;

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	error = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return error;
}

unsigned int cpus_online(void)
{
	return (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
}
