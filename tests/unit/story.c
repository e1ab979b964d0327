/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * story.c - makes the records of unit tests; see story.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fake_source.h"
#include "story.h"

struct story *story_begin(void)
{
	struct story *story = calloc(1, sizeof(*story));
	int r;

	assert(story);
	r = fake_open(&story->engine, NULL);
	assert(r == 0);
	(void)r;
	story->now = 1000 * MS;
	return story;
}

struct story *story_end(struct story *story)
{
	story->engine = knell_close(story->engine);
	free(story);
	return NULL;
}

static void set_comm(char *comm, const char *name)
{
	memset(comm, 0, KNELL_COMM_LEN);
	memcpy(comm, name, strnlen(name, KNELL_COMM_LEN - 1));
}

static struct knell_event *head(struct story *story, int kind, uint32_t pid, size_t payload)
{
	struct knell_event *e = &story->record.event;

	memset(&story->record, 0, sizeof(story->record));
	story->now += MS;
	e->size = (uint32_t)((KNELL_EVENT_HEAD + payload + 7) & ~7ul);
	e->kind = (uint8_t)kind;
	e->scope = KNELL_PROCESS;
	e->time = story->now;
	e->uid = 1000;
	e->gid = 100;
	e->cgroup = 4242;
	e->cpu = 1;
	e->task = (struct knell_task_id){ .start = story->start[pid], .tid = pid, .tgid = pid };
	e->parent = (struct knell_task_id){ .start = 1, .tid = 1, .tgid = 1 };
	memcpy(e->comm, story->comm[pid], KNELL_COMM_LEN);
	return e;
}

struct knell_event *story_birth(struct story *story, uint32_t pid, uint32_t parent,
				const char *comm)
{
	struct knell_event *e = head(story, KNELL_CLONE, pid, sizeof(e->u.clone));

	story->start[pid] = e->task.start = story->now;
	set_comm(story->comm[pid], comm);
	set_comm(e->comm, comm);
	e->parent = (struct knell_task_id){
		.start = story->start[parent],
		.tid = parent,
		.tgid = parent,
	};
	e->u.clone.exit_signal = 17;
	return e;
}

struct knell_event *story_alive(struct story *story, uint32_t pid, uint32_t parent,
				const char *comm)
{
	uint64_t start = story->start[pid];
	struct knell_event *e = story_birth(story, pid, parent, comm);

	if (start)
		story->start[pid] = e->task.start = start;
	e->flags |= KNELL_F_RECONCILED;
	return e;
}

struct knell_event *story_thread(struct story *story, uint32_t pid, uint32_t tid, int kind)
{
	struct knell_event *e =
		head(story, kind, pid, kind == KNELL_EXIT ? sizeof(e->u.exit) : sizeof(e->u.clone));

	e->scope = KNELL_THREAD;
	e->task.tid = tid;
	e->task.start = story->now;
	return e;
}

struct knell_event *story_exec_args(struct story *story, uint32_t pid, const char *path,
				    size_t path_len, const char *args, size_t args_len)
{
	struct knell_event *e =
		head(story, KNELL_EXEC, pid, sizeof(e->u.exec) + path_len + 1 + args_len);
	const char *slash = memrchr(path, '/', path_len);
	char *data = story->record.bytes + KNELL_EVENT_HEAD + sizeof(e->u.exec);

	assert(e->size <= KNELL_EVENT_MAX);
	set_comm(story->comm[pid], slash ? slash + 1 : path);
	memcpy(e->comm, story->comm[pid], KNELL_COMM_LEN);
	e->u.exec.old_tid = pid;
	e->u.exec.file_len = (uint32_t)path_len;
	e->u.exec.args_len = (uint32_t)args_len;
	e->u.exec.args_total = (uint32_t)args_len;
	memcpy(data, path, path_len);
	memcpy(data + path_len + 1, args, args_len);
	return e;
}

struct knell_event *story_exec(struct story *story, uint32_t pid, const char *path)
{
	struct knell_event *e = story_exec_args(story, pid, path, strlen(path), "", 0);

	e->unknown |= KNELL_U_ARGS;
	return e;
}

struct knell_event *story_exit(struct story *story, uint32_t pid, int status)
{
	struct knell_event *e = head(story, KNELL_EXIT, pid, sizeof(e->u.exit));

	e->u.exit.status = status;
	if (status & 0x7f) {
		e->u.exit.reason = KNELL_R_KERNEL;
		e->u.exit.killer.signo = status & 0x7f;
		e->u.exit.killer.reason = KNELL_R_KERNEL;
	}
	e->u.exit.usage = (struct knell_usage){
		.utime = 3 * MS,
		.stime = 1 * MS,
		.maxrss = 10u << 20,
		.minflt = 5,
		.majflt = 1,
	};
	return e;
}

struct knell_event *story_free(struct story *story, uint32_t pid)
{
	struct knell_event *e = head(story, KNELL_FREE, pid, sizeof(e->u.free));

	e->u.free.usage = (struct knell_usage){
		.utime = 4 * MS,
		.stime = 2 * MS,
		.maxrss = 11u << 20,
		.minflt = 6,
		.majflt = 2,
	};
	return e;
}

struct knell_event *story_ids(struct story *story, uint32_t pid, int kind)
{
	struct knell_event *e = head(story, kind, pid, sizeof(e->u.ids));

	e->u.ids = (struct knell_ids){
		.real = 1,
		.effective = 2,
		.saved = 3,
		.fs = 4,
		.old_real = 5,
		.old_effective = 6,
		.old_saved = 7,
		.old_fs = 8,
	};
	return e;
}

struct knell_event *story_gap(struct story *story, uint64_t births, uint64_t deaths,
			      uint64_t others, unsigned int cause)
{
	struct knell_event *e = head(story, KNELL_GAP, 0, sizeof(e->u.gap));

	e->scope = 0;
	e->u.gap = (struct knell_gap){
		.births = births,
		.deaths = deaths,
		.others = others,
		.cause = cause,
	};
	return e;
}

struct knell_signal story_signal(int signo, uint32_t pid, const char *comm, uint32_t uid,
				 uint32_t ppid, const char *pcomm)
{
	struct knell_signal signal = {
		.time = 5,
		.cgroup = 77,
		.pid = pid,
		.ppid = ppid,
		.uid = uid,
		.signo = (uint8_t)signo,
		.reason = KNELL_R_USER,
		.known = KNELL_S_PID | KNELL_S_UID | KNELL_S_COMM | KNELL_S_PARENT | KNELL_S_CGROUP,
	};

	set_comm(signal.comm, comm);
	set_comm(signal.pcomm, pcomm);
	return signal;
}

void story_tell(struct story *story, const struct knell_event *event)
{
	fake_push(story->engine, event);
}

void story_dispatch(struct story *story)
{
	int r = knell_dispatch(story->engine);

	assert(r >= 0);
	(void)r;
}
