/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * run_loop.c - the life of a run after the command was started: brings events to the outputs, reaps
 * what dies, passes signals on, stops and continues with the command, and deals with those that
 * outlive it.
 *
 * When the command is dead and no child is left, nothing of its tree is: Knell is the subreaper, so
 * whoever loses its parent becomes a child of Knell's.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "init.h"
#include "run.h"

#define TICK_MS 100 /* of the progress line, and of the look for orphans that are left */

/*
 * The command stopped; the shell waits for us, so we stop, too. But what the terminal stops (^Z, or
 * reading in the background) is its whole process group, and we are in it unless the command made
 * one of its own: that stop is ours already, and may be over by now.
 */
static void stop_too(struct run *run, int signo)
{
	bool by_terminal = signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
	sigset_t pending;

	sigpending(&pending);
	if (sigismember(&pending, SIGCONT) || !terminal_has_job_control() ||
	    (by_terminal && getpgid(run->root) == getpgrp()))
		return;
	progress_erase(run->progress);
	raise(SIGSTOP);
}

static void on_child(pid_t pid, int status, void *userdata)
{
	struct run *run = userdata;

	if (WIFSTOPPED(status)) {
		if (pid == run->root)
			stop_too(run, WSTOPSIG(status));
		return;
	}
	if (WIFCONTINUED(status))
		return;
	if (pid == run->root) {
		run->status = status;
		run->dead = true;
		run->ended = monotonic_now();
		return;
	}
	if (run->dead && run->options.orphans != ORPHANS_LEAVE)
		run->orphans_met++;
	tree_forget(pid);
}

/* 0, -ECHILD when no child is left, or another -errno. */
static int hear(struct run *run)
{
	int r = knell_dispatch(run->engine);
	int reaped;

	/*
	 * When the command is dead, until it says that there is no child, or none that is ready:
	 * nothing wakes us for that. Before, the engine wakes us if there may be more, and to ask
	 * twice each time would be to look at all who live.
	 */
	do {
		reaped = knell_reap(run->engine, on_child, run);
	} while (reaped > 0 && run->dead);
	if (run->json)
		json_flush(run->json);
	with_flush(&run->options.with);
	if (run->progress)
		progress_tick(run->progress, monotonic_now());
	return r < 0 ? r : reaped == -ECHILD ? -ECHILD : 0;
}

/*
 * What a user sent to us is meant for the command. What the terminal sent (^C) went to its whole
 * foreground process group, and so to the command, too.
 */
static void pass_on(const struct run *run, const struct signalfd_siginfo *info)
{
	bool from_kernel = info->ssi_code > 0;

	if (run->dead || (from_kernel && info->ssi_signo != SIGCONT))
		return;
	/* It is our child and not waited for: its pid is its own. */
	kill(run->root, (int)info->ssi_signo);
}

/* A hang-up is for our own log, if there is one. */
static void take_signals(struct run *run)
{
	struct signalfd_siginfo info;

	while (read(run->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP && with_takes_hangup(&run->options.with))
			with_reopen(&run->options.with);
		else if (info.ssi_signo != SIGCHLD)
			pass_on(run, &info);
	}
}

/* exec has succeeded (the pipe is closed) or has failed (it says why). */
static void take_exec_result(struct run *run)
{
	int error;
	ssize_t n = read(run->exec_fd, &error, sizeof(error));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == (ssize_t)sizeof(error))
		run->exec_error = error;
	close(run->exec_fd);
	run->exec_fd = -1;
}

/* ---- orphans ---- */

/*
 * Our own children: unlike any other pid, theirs cannot be used again before we wait for them.
 * Their children come to us when they die.
 */
static void end_orphans(struct run *run)
{
	uint64_t grace = run->options.grace * UINT64_C(1000000000);
	bool over = monotonic_now() - run->ended >= grace;

	if (tree_end_children(over ? SIGKILL : SIGTERM, over) == 0 || !over)
		return;
	complain("--orphans=kill: /proc does not tell who they are, so they are left");
	run->orphans_unseen = true;
}

/* ---- the loop ---- */

static bool is_done(const struct run *run, int heard)
{
	if (!run->dead)
		return false;
	return run->options.orphans == ORPHANS_LEAVE || run->orphans_unseen || heard == -ECHILD;
}

static int poll_timeout(const struct run *run)
{
	return run->progress || (run->dead && run->options.orphans == ORPHANS_KILL) ? TICK_MS : -1;
}

int run_loop(struct run *run)
{
	int heard = 0;

	while (!is_done(run, heard)) {
		struct pollfd fds[] = {
			{ .fd = run->signal_fd, .events = POLLIN },
			{ .fd = knell_fd(run->engine), .events = POLLIN },
			{ .fd = run->exec_fd, .events = POLLIN },
		};

		if (run->dead && run->options.orphans == ORPHANS_KILL)
			end_orphans(run);
		if (poll(fds, 3, poll_timeout(run)) < 0 && errno != EINTR)
			return -errno;
		if (fds[0].revents)
			take_signals(run);
		if (fds[2].revents)
			take_exec_result(run);
		heard = hear(run);
		if (heard < 0 && heard != -ECHILD)
			complain("the %s source broke: %s; what follows is not heard",
				 knell_source(run->engine), knell_last_error());
	}
	if (run->exec_fd >= 0)
		take_exec_result(run);
	/* The command was reaped in the middle of a round: hear what it did last. */
	heard = knell_dispatch(run->engine);
	return heard < 0 ? heard : 0;
}
