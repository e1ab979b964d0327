/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * story.h - records for tests, told as a story: this process was born, it ran that program, it died
 * so. Each function returns a complete record that the test may change before it tells it. Time
 * passes by 1 ms with each record; a process is known by its number until that is born again.
 */
#ifndef KNELL_TESTS_UNIT_STORY_H
#define KNELL_TESTS_UNIT_STORY_H

#include <knell/knell.h>

#define STORY_PIDS 65536u

/* Longer records than struct knell_event: exec. */
union story_record {
	struct knell_event event;
	char bytes[KNELL_EVENT_MAX];
};

struct story {
	struct knell_engine *engine;
	uint64_t now;
	uint64_t start[STORY_PIDS];
	char comm[STORY_PIDS][KNELL_COMM_LEN];
	union story_record record; /* the one under construction */
};

/* With an engine on a fake source. */
struct story *story_begin(void);
struct story *story_end(struct story *story);

struct knell_event *story_birth(struct story *story, uint32_t pid, uint32_t parent,
				const char *comm);
struct knell_event *story_alive(struct story *story, uint32_t pid, uint32_t parent,
				const char *comm);
struct knell_event *story_thread(struct story *story, uint32_t pid, uint32_t tid, int kind);
struct knell_event *story_exec(struct story *story, uint32_t pid, const char *path);
struct knell_event *story_exec_args(struct story *story, uint32_t pid, const char *path,
				    size_t path_len, const char *args, size_t args_len);
struct knell_event *story_exit(struct story *story, uint32_t pid, int status);
struct knell_event *story_free(struct story *story, uint32_t pid);
struct knell_event *story_ids(struct story *story, uint32_t pid, int kind);
struct knell_event *story_gap(struct story *story, uint64_t births, uint64_t deaths,
			      uint64_t others, unsigned int cause);

/* A signal sent by a user. */
struct knell_signal story_signal(int signo, uint32_t pid, const char *comm, uint32_t uid,
				 uint32_t ppid, const char *pcomm);

/* Tells every kind of record, every flag, every field known and every field unknown. */
void story_tell_all(struct story *story);

/* Queues it, or the record under construction. */
void story_tell(struct story *story, const struct knell_event *event);

/* Delivers all that was told. */
void story_dispatch(struct story *story);

/* wait(2)'s statuses. */
#define EXITED(code)  ((code) << 8)
#define KILLED(signo) (signo)
#define DUMPED(signo) ((signo) | 0x80)

#define MS UINT64_C(1000000)

#endif
