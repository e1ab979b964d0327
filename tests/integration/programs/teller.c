/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * teller.c - a plugin for `knell --plugin=teller.so:FILE`: writes a line "KIND PID NAME" to FILE
 * for each record, first "library PATH", the object that a call of the library ends up in, and last
 * "end". With the argument "refuse" it does not want to start; with "term" it writes nowhere, and
 * somebody ends knell while it starts.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <knell/watcher.h>

struct teller {
	int fd;
};

static int tell(const struct knell_event *event, void *userdata)
{
	struct teller *teller = userdata;

	if (event->scope != KNELL_PROCESS && event->kind != KNELL_GAP)
		return 0;
	dprintf(teller->fd, "%s %u %s\n", knell_kind_name(event->kind), event->task.tgid,
		event->comm);
	return 0;
}

static int failed(const struct knell_event *event)
{
	return event->u.exit.status != 0;
}

static int tell_failure(const struct knell_event *event, void *userdata)
{
	struct teller *teller = userdata;

	dprintf(teller->fd, "failed %u %d\n", event->task.tgid, event->u.exit.status);
	return 0;
}

static int init(struct knell_engine *engine, const char *args, void **ret_userdata)
{
	struct teller *teller;
	Dl_info info;

	(void)engine;
	if (strcmp(args, "refuse") == 0)
		return -EACCES;
	if (strcmp(args, "term") == 0) {
		kill(getpid(), SIGTERM);
		args = "/dev/null";
	}
	if (!dladdr((void *)(uintptr_t)knell_kind_name, &info))
		return -ENOEXEC;
	teller = calloc(1, sizeof(*teller));
	if (!teller)
		return -ENOMEM;
	teller->fd = open(args, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (teller->fd < 0) {
		int error = errno;

		free(teller);
		return -error;
	}
	dprintf(teller->fd, "library %s\n", info.dli_fname);
	*ret_userdata = teller;
	return 0;
}

static void fini(void *userdata)
{
	struct teller *teller = userdata;

	dprintf(teller->fd, "end\n");
	close(teller->fd);
	free(teller);
}

KNELL_WATCHER(clone, tell);
KNELL_WATCHER(exec, tell);
KNELL_WATCHER(uid, tell);
KNELL_WATCHER(exit, tell);
KNELL_WATCHER_FILTER(exit, tell_failure, 5, failed);
KNELL_WATCHER(free, tell);
KNELL_PLUGIN_INIT("teller", init, fini);
