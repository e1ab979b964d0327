/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ear.c - an engine that remembers what it heard; see ear.h.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ear.h"

#define PATIENCE 60.0

static int on_event(const struct knell_event *event, void *userdata)
{
	size_t size = event->size < sizeof(*event) ? event->size : sizeof(*event);
	struct ear *ear = userdata;

	ck_assert_uint_eq(event->version, KNELL_EVENT_VERSION);
	ck_assert_uint_ge(event->size, KNELL_EVENT_HEAD);
	ck_assert_uint_lt(event->kind, KNELL_KIND_MAX);
	if (event->scope == KNELL_THREAD)
		ear->threads[event->kind]++;
	else
		ear->heard[event->kind]++;
	if (event->kind == KNELL_GAP) {
		ear->gap.births += event->u.gap.births;
		ear->gap.deaths += event->u.gap.deaths;
		ear->gap.others += event->u.gap.others;
	}
	if (ear->count == ear->room) {
		ear->room = ear->room ? 2 * ear->room : 1024;
		ear->all = grow(ear->all, ear->room * sizeof(*ear->all));
	}
	memset(&ear->all[ear->count], 0, sizeof(*ear->all));
	memcpy(&ear->all[ear->count++], event, size);
	return 0;
}

void ear_open(struct ear *ear, const struct knell_options *options)
{
	struct knell_options complete = { .size = sizeof(complete) };
	int r;

	memset(ear, 0, sizeof(*ear));
	if (options)
		complete = *options;
	complete.size = sizeof(complete);
	if (!complete.source)
		complete.source = test_source();
	r = knell_open(&ear->engine, &complete);
	ck_assert_msg(r == 0, "knell_open: %s: %s", strerror(-r), knell_last_error());
	ck_assert_str_eq(knell_source(ear->engine), complete.source);
	ck_assert_int_eq(verify_open(&ear->verify, ear->engine, NULL), 0);
	ck_assert_int_eq(knell_watcher_add(ear->engine, KNELL_MASK_ALL, on_event, ear), 0);
}

void ear_close(struct ear *ear)
{
	uint64_t violations = verify_check_end(ear->verify);

	for (size_t i = 0; verify_text(ear->verify, i); i++)
		fprintf(stderr, "%s\n", verify_text(ear->verify, i));
	ck_assert_msg(violations == 0, "%llu violations: %s", (unsigned long long)violations,
		      verify_text(ear->verify, 0) ? verify_text(ear->verify, 0) : "no text");
	ck_assert_uint_eq(verify_unjudged(ear->verify), 0);
	ear->engine = knell_close(ear->engine);
	ear->verify = verify_close(ear->verify);
	ck_assert_ptr_null(ear->engine);
	free(ear->all);
	ear->all = NULL;
}

pid_t ear_start(struct ear *ear, const char *const argv[])
{
	pid_t pid = knell_fork(ear->engine);

	ck_assert_msg(pid >= 0, "knell_fork: %s", knell_last_error());
	if (pid == 0) {
		execv(argv[0], (char *const *)argv);
		_exit(198);
	}
	return pid;
}

static void dispatch(struct ear *ear)
{
	int r = knell_dispatch(ear->engine);

	ck_assert_msg(r >= 0, "knell_dispatch: %s: %s", strerror(-r), knell_last_error());
}

static void on_reaped(pid_t pid, int status, void *userdata)
{
	struct ear *ear = userdata;

	if (pid != ear->awaited || WIFSTOPPED(status) || WIFCONTINUED(status))
		return;
	ear->awaited = 0;
	ear->status = status;
}

int ear_serve(struct ear *ear, pid_t pid)
{
	double end = now() + test_seconds(PATIENCE);
	int r;

	ear->awaited = pid;
	while (ear->awaited) {
		struct pollfd pollfd = { .fd = knell_fd(ear->engine), .events = POLLIN };

		ck_assert_msg(now() < end, "process %d is not reported dead", pid);
		if (poll(&pollfd, 1, 10) < 0)
			ck_assert_int_eq(errno, EINTR);
		dispatch(ear);
		r = knell_reap(ear->engine, on_reaped, ear);
		ck_assert_msg(r >= 0 || r == -ECHILD, "knell_reap: %s", strerror(-r));
		ck_assert_msg(r != -ECHILD || !ear->awaited,
			      "no child is left, but %d was not told", pid);
	}
	dispatch(ear);
	return ear->status;
}

int ear_serve_late(struct ear *ear, pid_t pid)
{
	double end = now() + test_seconds(PATIENCE);
	siginfo_t info = { 0 };

	while (!info.si_pid) {
		ck_assert_msg(now() < end, "process %d does not end", pid);
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT))
			ck_assert_int_eq(errno, EINTR);
		sleep_ms(2);
	}
	return ear_serve(ear, pid);
}

const struct knell_event *ear_find(const struct ear *ear, unsigned int kind, pid_t pid)
{
	size_t i;

	for (i = 0; i < ear->count; i++)
		if (ear->all[i].kind == kind && ear->all[i].scope == KNELL_PROCESS &&
		    ear->all[i].task.tgid == (uint32_t)pid)
			return &ear->all[i];
	return NULL;
}

static int by_identity(const void *a, const void *b)
{
	const struct knell_event *x = *(struct knell_event *const *)a;
	const struct knell_event *y = *(struct knell_event *const *)b;

	if (x->task.tgid != y->task.tgid)
		return x->task.tgid < y->task.tgid ? -1 : 1;
	if (x->task.start != y->task.start)
		return x->task.start < y->task.start ? -1 : 1;
	return 0;
}

static struct knell_event **select_kind(const struct ear *ear, unsigned int kind, size_t *ret_count)
{
	struct knell_event **selected = calloc(ear->count + 1, sizeof(void *));
	size_t i, n = 0;

	ck_assert_msg(selected != NULL, "out of memory");
	for (i = 0; i < ear->count; i++)
		if (ear->all[i].kind == kind && ear->all[i].scope == KNELL_PROCESS)
			selected[n++] = &ear->all[i];
	qsort(selected, n, sizeof(void *), by_identity);
	*ret_count = n;
	return selected;
}

void ear_expect_whole_lives(const struct ear *ear)
{
	size_t n_births, n_deaths, i;
	struct knell_event **births = select_kind(ear, KNELL_CLONE, &n_births);
	struct knell_event **deaths = select_kind(ear, KNELL_EXIT, &n_deaths);

	for (i = 0; i < n_births && i < n_deaths; i++) {
		ck_assert_msg(!by_identity(&births[i], &deaths[i]),
			      "birth of %u (%llu) and death of %u (%llu) do not match",
			      births[i]->task.tgid, (unsigned long long)births[i]->task.start,
			      deaths[i]->task.tgid, (unsigned long long)deaths[i]->task.start);
		ck_assert_msg(births[i] < deaths[i], "the death of %u came before its birth",
			      births[i]->task.tgid);
	}
	ck_assert_uint_eq(n_births, n_deaths);
	free(births);
	free(deaths);
}
