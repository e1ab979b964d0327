/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * init.c - one init from its start to its end: everything that may fail fails before the command
 * starts; then it sleeps until a signal comes or the command dies, and ends as the command did.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

#define TICK_MS 100 /* of the look for orphans that are left */

static int become_subreaper(const struct init_options *o)
{
	if (getpid() == 1)
		return 0;
	if (o->subreaper && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
		init_say("cannot become the subreaper of the command: ", strerror(errno));
		return -errno;
	}
	if (!o->subreaper && o->dialect == INIT_TINI && o->verbosity >= VERBOSE_WARNINGS)
		init_say("neither PID 1 nor a subreaper, so orphans go elsewhere; -s or "
			 "TINI_SUBREAPER= mends that");
	return 0;
}

/* A parent that died before we asked is not told any more. */
static int ask_for_parent_death(int signo)
{
	pid_t parent = getppid();

	if (!signo)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, signo) < 0) {
		init_say("--parent-death: ", strerror(errno));
		return -errno;
	}
	if (getppid() != parent)
		kill(getpid(), signo);
	return 0;
}

static int prepare(struct init *init)
{
	const struct init_options *o = init->options;
	int r = status_open(init);

	if (r == 0)
		r = become_subreaper(o);
	if (r == 0)
		r = ask_for_parent_death(o->parent_death);
	if (r < 0)
		return r;
	terminal_open(init);
	init->watch_stops = !o->follow_stop && terminal_has_job_control();
	init->kernel_reaps =
		!o->log_orphans && !init->source && (o->pause || reap_by_kernel_works());
	return 0;
}

/* It may sleep for months: nobody is to wait for a pipe or a file system because of it. */
static void rest_lightly(const struct init *init)
{
	child_let_go(init);
	if (chdir("/") < 0 && init->options->verbosity >= VERBOSE_WARNINGS)
		init_say("cannot change to /: ", strerror(errno));
}

static int start(struct init *init)
{
	int r = 0;

	init->started = init_now();
	if (init->options->pause)
		rest_lightly(init);
	else
		r = child_start(init);
	if (r < 0)
		return r;
	init->reaped_by_kernel = init->kernel_reaps;
	r = signals_open(init);
	if (r == 0)
		r = reap_open(init);
	if (r < 0) {
		init_say("cannot wait for the command: ", strerror(-r));
		if (init->root > 0)
			kill(init->root, SIGKILL);
	}
	return r;
}

/* ---- the loop ---- */

/* A TERM that is heard again and again would begin its end anew each time. */
static void end_all(struct init *init, int signo)
{
	if (signo == init->told_all && signo != SIGKILL)
		return;
	init->told_all = signo;
	kill(-1, signo);
	kill(-1, SIGCONT); /* a stopped one could not hear it */
}

static void end_orphans(struct init *init)
{
	uint64_t grace = init->options->grace * UINT64_C(1000000000);
	bool over = init_now() - init->ended >= grace;

	if (tree_end_children(over ? SIGKILL : SIGTERM, over) == 0)
		return;
	/* Without /proc, PID 1 still knows a name for all of them. */
	if (getpid() == 1) {
		end_all(init, over ? SIGKILL : SIGTERM);
	} else if (over) {
		init_say("--orphans=kill: /proc does not tell who they are, so they are left");
		init->orphans_unseen = true;
	}
}

static bool is_done(struct init *init)
{
	if (init->options->pause)
		return init->stop_asked;
	if (!init->dead)
		return false;
	return init->options->orphans == INIT_ORPHANS_LEAVE || init->childless ||
	       init->orphans_unseen;
}

static int poll_timeout(const struct init *init)
{
	int ms = reap_timeout(init);

	if (init->dead && init->options->orphans == INIT_ORPHANS_KILL && (ms < 0 || ms > TICK_MS))
		return TICK_MS;
	return ms;
}

/* While it rests only signals and the command's own end wake it. */
static void sleep_once(struct init *init)
{
	bool rests = reap_rests(init), ended = init->dead || init->held;
	struct pollfd fds[] = {
		{ .fd = init->signal_fd, .events = POLLIN },
		/*
		 * Readable when it is dead; it hangs up when it was reaped, and tells its status.
		 * Not while it is held: then it is readable all the time, and cannot be reaped.
		 */
		{ .fd = ended ? -1 : init->pidfd, .events = init->kernel_reaps ? 0 : POLLIN },
		{ .fd = rests ? -1 : init->child_fd, .events = POLLIN },
		{ .fd = rests || !init->source ? -1 : init->source->fd, .events = POLLIN },
	};
	int ready = poll(fds, 4, poll_timeout(init));

	if (ready > 0 && fds[0].revents)
		signals_read(init);
	if (ready > 0 && fds[1].revents)
		reap_on_pidfd(init);
	if (ready == 0 || (ready > 0 && (fds[2].revents || fds[3].revents)))
		reap_on_signal(init);
}

static void loop(struct init *init)
{
	bool waits = false;

	while (!is_done(init)) {
		if (init->dead && !waits) {
			reap_wait_for_orphans(init);
			waits = true;
			continue;
		}
		if (init->dead && init->options->orphans == INIT_ORPHANS_KILL)
			end_orphans(init);
		sleep_once(init);
	}
}

static int exit_status(const struct init *init)
{
	int status = WIFEXITED(init->status) ? WEXITSTATUS(init->status)
					     : INIT_SIGNAL + WTERMSIG(init->status);

	return init->options->pause ? 0 : init->options->exit_map[status & 0xff];
}

static void finish(struct init *init)
{
	int last = init->options->rewrite[SIGTERM]; /* dumb-init's own TERM, too */

	if (init->options->pause)
		return;
	if (init->options->end_group && last)
		signals_send_group(init, last);
	terminal_take_back(init);
	status_write(init, exit_status(init));
}

int init_run(const struct init_options *options, const struct init_signals *signals,
	     const struct init_source *source)
{
	struct init init = {
		.options = options,
		.source = source,
		.signals = signals,
		.signal_fd = -1,
		.child_fd = -1,
		.terminal = -1,
		.status_fd = -1,
		.pidfd = -1,
		.cpu = init_cpu(),
	};
	int r = prepare(&init);

	if (r == 0)
		r = start(&init);
	if (r == 0) {
		loop(&init);
		finish(&init);
	}
	status_discard(&init);
	init.children = children_close(init.children);
	return r < 0 ? INIT_FAILED : exit_status(&init);
}
