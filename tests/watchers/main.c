/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * main.c - joins the watchers of here.c and there.c, however they were linked, and says how many
 * there are, in which order they stand, which of them the death of a child calls, and what happens
 * to who writes to their section.
 */
#include "watchers.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE 100 /* times 100 ms */

static void list(struct knell_engine *engine)
{
	struct knell_watcher_stats stats;
	unsigned int kind = 0, i;

	for (i = 0; knell_watcher_get_stats(engine, i, &stats) == 0; i++) {
		if (stats.kind != kind)
			printf("%s%s:", kind ? "\n" : "", knell_kind_name(stats.kind));
		kind = stats.kind;
		printf(" %s", stats.name);
	}
	printf("\n");
}

static void on_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
		       void *userdata)
{
	(void)watch;
	(void)verdict;
	(void)userdata;
}

static int hear_a_death(struct knell_engine *engine, const struct called *called)
{
	struct knell_watch_options options;
	pid_t pid = fork();
	int i;

	if (pid == 0)
		_exit(3);
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.fn = on_verdict;
	if (pid < 0 || knell_watch_pid(engine, NULL, pid, &options) < 0)
		return -1;
	for (i = 0; !called->names[0] && i < PATIENCE; i++) {
		struct pollfd fd;

		fd.fd = knell_fd(engine);
		fd.events = POLLIN;
		poll(&fd, 1, 100);
		if (knell_dispatch(engine) < 0)
			return -1;
	}
	waitpid(pid, NULL, 0);
	printf("called:%s\n", called->names);
	return 0;
}

static const char *write_to(const void *place)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		volatile char *byte = (volatile char *)(size_t)place;

		signal(SIGSEGV, SIG_DFL);
		*byte = 0;
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return "?";
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV ? "read-only" : "writable";
}

int main(void)
{
	const struct knell_table *table = table_here();
	struct knell_options options;
	struct knell_engine *engine;
	struct called called;
	int count;

	memset(&called, 0, sizeof(called));
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.source = "pidfd";
	if (knell_open(&engine, &options) < 0) {
		fprintf(stderr, "%s\n", knell_last_error());
		return 77;
	}
	count = knell_table_join(engine, table, &called);
	printf("joined: %d\n", count);
	list(engine);
	if (count < 0 || hear_a_death(engine, &called) < 0)
		fprintf(stderr, "%s\n", knell_last_error());
	printf("section: %s\n", write_to(table->of[KNELL_EXIT].first));
	knell_close(engine);
	return 0;
}
