/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verified.c - a story that verify listens to; see verified.h.
 */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verified.h"

struct story *story;
struct verify *verify;
uint64_t numbers[4];

static char said[1 << 16];
static unsigned int times;
static bool is_gone[STORY_PIDS];

static void on_violation(const char *text, void *userdata)
{
	size_t used = strlen(said);

	(void)userdata;
	times++;
	ck_assert_int_lt(snprintf(said + used, sizeof(said) - used, "%s\n", text),
			 (int)(sizeof(said) - used));
}

static bool lives(const struct knell_task_id *task, void *userdata)
{
	(void)userdata;
	return !is_gone[task->tgid];
}

void begin_with(const struct verify_options *options)
{
	struct verify_options o = *options;

	o.fn = on_violation;
	o.lives = lives;
	if (!o.can)
		o.can = VERIFIED_CAN;
	if (!o.opened)
		o.opened = VERIFIED_ASKED;
	times = 0;
	said[0] = '\0';
	memset(numbers, 0, sizeof(numbers));
	memset(is_gone, 0, sizeof(is_gone));
	story = story_begin();
	story->now++; /* starts are no multiples of a clock tick */
	ck_assert_int_eq(verify_open(&verify, NULL, &o), 0);
}

void begin(void)
{
	begin_with(&(struct verify_options){ 0 });
}

void tell(struct knell_event *e)
{
	e->version = KNELL_EVENT_VERSION;
	e->seq = numbers[e->ring];
	numbers[e->ring]++;
	if (e->kind == KNELL_GAP)
		numbers[e->ring] += e->u.gap.births + e->u.gap.deaths + e->u.gap.others - 1;
	ck_assert_int_eq(verify_hear(verify, e), 0);
}

struct knell_event *birth_again(uint32_t pid, uint32_t parent, int kind)
{
	struct knell_event *e = story_alive(story, pid, parent, "sleep");

	e->flags = 0;
	e->kind = (uint8_t)kind;
	return e;
}

struct knell_event *set_uids(uint32_t pid, uint32_t old, uint32_t new)
{
	struct knell_event *e = story_ids(story, pid, KNELL_UID);

	e->uid = new;
	e->u.ids = (struct knell_ids){
		.real = new,
		.effective = new,
		.saved = new,
		.fs = new,
		.old_real = old,
		.old_effective = old,
		.old_saved = old,
		.old_fs = old,
	};
	return e;
}

void born(uint32_t pid, uint32_t parent)
{
	tell(story_birth(story, pid, parent, "sleep"));
}

void born_and_run(uint32_t pid, uint32_t parent)
{
	born(pid, parent);
	tell(story_exec(story, pid, "/bin/true"));
}

/* Its start is the same in both of its records. */
static uint64_t start_of_thread(uint32_t pid, uint32_t tid)
{
	return story->start[pid] + tid;
}

void thread_born(uint32_t pid, uint32_t tid)
{
	struct knell_event *e = story_thread(story, pid, tid, KNELL_CLONE);

	e->task.start = start_of_thread(pid, tid);
	tell(e);
}

void thread_dies(uint32_t pid, uint32_t tid)
{
	struct knell_event *e = story_thread(story, pid, tid, KNELL_EXIT);

	e->task.start = start_of_thread(pid, tid);
	tell(e);
}

void dies(uint32_t pid)
{
	tell(story_exit(story, pid, EXITED(0)));
}

void freed(uint32_t pid)
{
	tell(story_free(story, pid));
}

void gap(uint64_t births, uint64_t deaths, uint64_t others, unsigned int cause)
{
	struct knell_event *e = story_gap(story, births, deaths, others, cause);

	e->uid = e->gid = e->cpu = 0;
	e->cgroup = 0;
	tell(e);
}

void gone(uint32_t pid)
{
	is_gone[pid] = true;
}

void expect(unsigned int violations, const char *words)
{
	verify_check_end(verify);
	ck_assert_msg(times == violations, "%u violations instead of %u:\n%s", times, violations,
		      said);
	ck_assert_uint_eq(verify_violations(verify), violations);
	ck_assert_msg(!words || strstr(said, words), "it does not say '%s':\n%s", words, said);
	ck_assert_uint_eq(verify_unjudged(verify), 0);
	ck_assert_ptr_null(verify_close(verify));
	story_end(story);
}

void expect_fine(void)
{
	expect(0, NULL);
}
