/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * one-line.c - runs a command and prints each death below it. One line attaches the watcher.
 *
 *   one-line make
 */
#include <knell/watcher.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static int print_death(const struct knell_event *event, void *userdata)
{
	(void)userdata;
	return printf("%u %s: status %#x\n", event->task.tgid, event->comm, event->u.exit.status);
}

KNELL_WATCHER(exit, print_death);

int main(int argc, char **argv)
{
	struct knell_engine *engine;

	if (argc < 2 || knell_open(&engine, NULL) < 0 ||
	    knell_table_join(engine, KNELL_TABLE, NULL) != 1)
		return 125;
	if (knell_fork(engine) == 0)
		_exit(execvp(argv[1], argv + 1));
	while (knell_dispatch(engine) >= 0 && knell_reap(engine, NULL, NULL) != -ECHILD)
		poll(&(struct pollfd){ .fd = knell_fd(engine), .events = POLLIN }, 1, 100);
	knell_dispatch(engine);
	knell_close(engine);
	return 0;
}
