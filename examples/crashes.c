/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * crashes.c - a plugin: writes a line for each process that died of a signal, to the file that is
 * given after the colon, or to standard error.
 *
 *   cc -shared -fPIC -o crashes.so crashes.c $(pkg-config --cflags libknell)
 *   knell run --plugin=crashes.so:crashes.log make test
 *   knell trace --plugin=crashes.so:/var/log/crashes --kind=exit >/dev/null
 */
#include <knell/watcher.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int died_of_signal(const struct knell_event *event)
{
	return event->scope == KNELL_PROCESS && !(event->unknown & KNELL_U_STATUS) &&
	       WIFSIGNALED(event->u.exit.status);
}

/* The descriptor is the userdata. */
static int write_crash(const struct knell_event *event, void *userdata)
{
	int status = event->u.exit.status;

	if (dprintf((int)(intptr_t)userdata, "%u %s: signal %d (%s)%s\n", event->task.tgid,
		    event->comm, WTERMSIG(status), knell_reason_name(event->u.exit.reason),
		    WCOREDUMP(status) ? ", core dumped" : "") < 0)
		return -errno; /* counted as an error of this watcher */
	return 0;
}

static int init(struct knell_engine *engine, const char *args, void **ret_userdata)
{
	int fd = STDERR_FILENO;

	(void)engine;
	if (*args)
		fd = open(args, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	*ret_userdata = (void *)(intptr_t)fd;
	return 0;
}

static void fini(void *userdata)
{
	int fd = (int)(intptr_t)userdata;

	if (fd != STDERR_FILENO)
		close(fd);
}

KNELL_WATCHER_FILTER(exit, write_crash, 0, died_of_signal);
KNELL_PLUGIN_INIT("crashes", init, fini);
