/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * child.c - starts the command with the signals, descriptors and environment that the caller gave
 * us, and lets go of the descriptors that are only its own: who waits for their end must not wait
 * for us.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"
#include "pidfd.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define MANY_FDS 65536 /* what is closed one by one where close_range(2) is not there */

/* If it says our number it was meant for us, and is the command's. */
static bool pass_number(const char *name, pid_t from)
{
	const char *value = getenv(name);
	struct init_line line = { .len = 0 };
	uint32_t pid;

	if (!value || !init_number(value, INT_MAX, &pid) || (pid_t)pid != from)
		return false;
	line_number(&line, (uint64_t)getpid());
	line.text[line.len] = '\0';
	setenv(name, line.text, 1);
	return true;
}

/* Of systemd: the sockets (LISTEN_FDS), and whose signs of life it waits for. */
static void pass_service(pid_t from)
{
	if (pass_number("LISTEN_PID", from))
		unsetenv("LISTEN_PIDFDID"); /* our pidfd's; it may be missing, but not another's */
	pass_number("WATCHDOG_PID", from);
}

/* A place for the shell is there: before the command's first word is one of our own. */
static void exec_by_shell(char *path, char **command)
{
	command[0] = path;
	command[-1] = (char *)"/bin/sh";
	execv(command[-1], command - 1);
}

/*
 * The command has no "#!", but may be a script: all but musl's execvp() then ask the shell. This
 * finds the file again that execvp() found.
 */
static void exec_script(char **command)
{
	const char *folder = getenv("PATH");
	size_t len, name_len = strlen(command[0]);
	char path[PATH_MAX];

	if (strchr(command[0], '/')) {
		exec_by_shell(command[0], command);
		return;
	}
	if (!folder)
		folder = "/usr/local/bin:/bin:/usr/bin";
	for (;; folder += len + 1) {
		size_t at = len = strcspn(folder, ":");

		if (len + name_len + 3 <= sizeof(path)) {
			memcpy(path, folder, len);
			if (!len)
				path[at++] = '.';
			path[at++] = '/';
			memcpy(path + at, command[0], name_len + 1);
			execv(path, command);
			if (errno == ENOEXEC) {
				exec_by_shell(path, command);
				return;
			}
		}
		if (!folder[len])
			return;
	}
}

static _Noreturn void become_command(const struct init *init, pid_t parent)
{
	const struct init_options *o = init->options;
	int error;

	if (o->parent_death == SIGKILL)
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* the one that we cannot pass on */
	if (o->own_session) {
		setsid();
		ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	} else if (o->own_group) {
		setpgid(0, 0);
		if (init->terminal >= 0)
			tcsetpgrp(init->terminal, getpid());
	}
	pass_service(parent);
	signals_restore(init);
	execvp(o->command[0], o->command);
	error = errno;
	if (error == ENOEXEC)
		exec_script(o->command);
	init_say("cannot run '", o->command[0], "': ", strerror(error));
	_exit(error == ENOENT ? INIT_NOT_FOUND : INIT_NOT_EXECUTABLE);
}

static void close_from_to(unsigned int first, unsigned int last)
{
	if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
		return;
	for (unsigned int fd = first; fd <= last && fd < MANY_FDS; fd++)
		close((int)fd);
}

/*
 * All but the first three, and the two of ours that are open at this time. A source has more of its
 * own, and knows which were there before.
 */
void child_let_go(const struct init *init)
{
	int low = init->terminal, high = init->status_fd;
	unsigned int next = STDERR_FILENO + 1;

	for (size_t i = 0; init->source && i < init->source->inherited_count; i++)
		close(init->source->inherited[i]);
	if (init->source)
		return;
	if (low > high) {
		low = init->status_fd;
		high = init->terminal;
	}
	if (low > STDERR_FILENO) {
		close_from_to(next, (unsigned int)low - 1);
		next = (unsigned int)low + 1;
	}
	if (high > STDERR_FILENO) {
		close_from_to(next, (unsigned int)high - 1);
		next = (unsigned int)high + 1;
	}
	close_from_to(next, UINT_MAX);
}

static void tell_start(const struct init *init)
{
	struct init_line line = { .len = 0 };

	if (init->options->verbosity < VERBOSE_INFO)
		return;
	line_text(&line, "knell init: started '");
	line_text(&line, init->options->command[0]);
	line_text(&line, "' as process ");
	line_number(&line, (uint64_t)init->root);
	line_text(&line, init->kernel_reaps ? "; the kernel reaps\n" : "\n");
	line_write(&line, STDERR_FILENO);
}

int child_start(struct init *init)
{
	pid_t self = getpid();

	if (init->options->own_session)
		terminal_detach();
	init->root = init->source ? init->source->fork(init->source->data) : fork();
	if (init->root == 0)
		become_command(init, self);
	if (init->root < 0) {
		int error = init->source ? -init->root : errno;

		init_say("cannot start '", init->options->command[0], "': ", strerror(error),
			 error == EAGAIN ? "; raise the limit of processes (ulimit -u; pids.max)"
					 : "");
		return -error;
	}
	if (init->options->own_group)
		setpgid(init->root, init->root); /* whoever of us is first */
	child_let_go(init);
	/* It cannot be reaped yet, so the number is its own. */
	init->pidfd = knell_pidfd_open(init->root);
	if (init->pidfd < 0) {
		init->pidfd = -1;
		init->kernel_reaps = false;
	}
	tell_start(init);
	return 0;
}
