/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * reap.c - the two ways in which the init reaps.
 *
 * The kernel does it by itself for a process that wants no zombies (SA_NOCLDWAIT): no orphan wakes
 * us, or costs us anything. The command's own status then reaches us through its pidfd, which Linux
 * 6.15 and later keep it in. Not when somebody wants the orphans' statuses, or waits for orphans:
 * then each is waited for by number, see lib/reap/children.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"
#include "pidfd.h"

#define PROBE_STATUS 42
#define MANY         4                  /* orphans in one round: more are coming */
#define REST_NS      UINT64_C(10000000) /* then they are left to pile up */

#define HELD_MS 50 /* how often a command that a stranger traces is asked for */

#define PROBE_MS 1000 /* only a kernel that has another idea of it needs them */

#define WAIT_BY_PIDFD ((idtype_t)3) /* not in every C library */

static int set_child_action(int flags)
{
	struct sigaction action = { .sa_handler = SIG_DFL, .sa_flags = flags };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGCHLD, &action, NULL) < 0 ? -errno : 0;
}

/* ---- does the kernel do it here? ---- */

static _Noreturn void wait_and_exit(const int fds[2])
{
	char c;

	close(fds[1]);
	while (read(fds[0], &c, 1) < 0 && errno == EINTR)
		;
	_exit(PROBE_STATUS);
}

static bool status_comes(int pidfd)
{
	struct pollfd p = { .fd = pidfd }; /* POLLHUP: reaped */
	int status = 0;

	return poll(&p, 1, PROBE_MS) == 1 && knell_pidfd_status(pidfd, &status) == 0 &&
	       WIFEXITED(status) && WEXITSTATUS(status) == PROBE_STATUS;
}

/* A child that dies when we have its pidfd and want no zombies. */
static bool probe(int fds[2])
{
	pid_t pid = fork();
	bool works;
	int pidfd;

	if (pid == 0)
		wait_and_exit(fds);
	if (pid < 0) {
		close(fds[1]);
		return false;
	}
	pidfd = knell_pidfd_open(pid);
	set_child_action(SA_NOCLDWAIT);
	close(fds[1]);
	works = pidfd >= 0 && status_comes(pidfd);
	set_child_action(0);
	if (pidfd >= 0)
		close(pidfd);
	if (!works)
		waitpid(pid, NULL, 0); /* it has ended, or does; there may be nobody to wait for */
	return works;
}

bool reap_by_kernel_works(void)
{
	bool works;
	int fds[2];

	if (!knell_pidfd_tells_late() || pipe2(fds, O_CLOEXEC) < 0)
		return false;
	works = probe(fds);
	close(fds[0]);
	return works;
}

/* ---- what came ---- */

static void on_end(struct init *init, int status)
{
	init->status = status;
	init->dead = true;
	init->ended = init_now();
}

static void on_stop(struct init *init, int signo)
{
	if (init->watch_stops)
		terminal_stop_too(init, signo);
}

static void log_orphan(struct init *init, pid_t pid, int status)
{
	struct init_line *log = &init->log;
	bool looked = init->looked == pid;

	if (log->len > sizeof(log->text) - INIT_CAUSE_MAX - 128)
		line_write(log, STDERR_FILENO);
	line_text(log, "knell init: orphan ");
	line_number(log, (uint64_t)pid);
	if (looked && init->name[0]) {
		line_text(log, " (");
		line_text(log, init->name);
		line_text(log, ")");
	}
	line_text(log, " ");
	if (looked && init->cause[0])
		line_text(log, init->cause);
	else
		line_status(log, status);
	line_text(log, "\n");
}

static void on_child(pid_t pid, int status, void *userdata)
{
	struct init *init = userdata;

	if (WIFCONTINUED(status))
		return;
	if (WIFSTOPPED(status)) {
		if (pid == init->root && !init->dead)
			on_stop(init, WSTOPSIG(status));
		return;
	}
	tree_forget(pid);
	if (pid == init->root && !init->dead) {
		on_end(init, status);
		return;
	}
	init->orphans++;
	if (init->options->log_orphans)
		log_orphan(init, pid, status);
}

static bool ask_source(struct init *init, pid_t pid)
{
	const struct init_source *source = init->source;

	return source &&
	       source->tell(source->data, pid, init->name, sizeof(init->name), init->cause);
}

/*
 * Name and cause of one that is dead, before it is reaped. If it died after the last hearing there
 * is a record by now; not if it died as the child of another, whose death made it ours.
 */
static void look(pid_t pid, void *userdata)
{
	struct init *init = userdata;
	char *p;

	init->looked = pid;
	if (ask_source(init, pid))
		return;
	if (init->source)
		init->source->hear(init->source->data, init->children);
	if (ask_source(init, pid))
		return;
	init->cause[0] = '\0';
	if (knell_proc_read(pid, "comm", init->name, sizeof(init->name)) < 0)
		init->name[0] = '\0';
	/* Bytes that a terminal might obey are not shown. */
	for (p = init->name; *p && *p != '\n'; p++) {
		if (*p < ' ' || *p > '~')
			*p = '?';
	}
	*p = '\0';
}

static void reap_children(struct init *init)
{
	const struct init_source *source = init->source;
	struct signalfd_siginfo info;
	uint64_t before = init->orphans;
	int r;

	while (init->child_fd >= 0 && read(init->child_fd, &info, sizeof(info)) > 0)
		; /* before the look: whoever dies after it wakes us again */
	if (source)
		source->hear(source->data, init->children);
	do {
		r = children_reap(init->children, on_child, init);
	} while (r > 0);
	if (init->orphans - before >= MANY)
		init->rest_until = init_now() + REST_NS;
	init->childless = r == -ECHILD;
	if (init->log.len)
		line_write(&init->log, STDERR_FILENO);
}

/* Where the kernel reaps, SIGCHLD comes for this alone. */
static void take_stops(struct init *init)
{
	struct signalfd_siginfo signal;
	siginfo_t info;
	bool heard = false;

	while (init->child_fd >= 0 && read(init->child_fd, &signal, sizeof(signal)) > 0)
		heard = true;
	/* It comes for each death, too. The end of a rest is no reason for another one. */
	init->rest_until = heard ? init_now() + REST_NS : 0;
	memset(&info, 0, sizeof(info));
	while (!init->dead &&
	       waitid(WAIT_BY_PIDFD, (id_t)init->pidfd, &info, WSTOPPED | WNOHANG) == 0 &&
	       info.si_pid) {
		on_stop(init, info.si_status);
		info.si_pid = 0;
	}
}

void reap_on_signal(struct init *init)
{
	if (init->kernel_reaps)
		take_stops(init);
	else
		reap_children(init);
}

void reap_on_pidfd(struct init *init)
{
	int status;

	if (!init->kernel_reaps) {
		children_announce(init->children, init->root);
		reap_children(init);
		init->held = !init->dead;
	} else if (knell_pidfd_status(init->pidfd, &status) == 0) {
		on_end(init, status);
	}
}

bool reap_rests(const struct init *init)
{
	return init->rest_until && init_now() < init->rest_until;
}

int reap_timeout(const struct init *init)
{
	uint64_t now;
	int ms;

	if (!init->rest_until || (now = init_now()) >= init->rest_until) {
		ms = init->kernel_reaps ? -1 : children_timeout(init->children);
		return init->held && !init->dead && (ms < 0 || ms > HELD_MS) ? HELD_MS : ms;
	}
	return (int)((init->rest_until - now + 999999) / 1000000);
}

/* ---- opening ---- */

/*
 * Who died before the kernel was told to reap is a zombie: one look takes those, the command too if
 * it is among them.
 */
int reap_open(struct init *init)
{
	int r = children_open(&init->children);

	if (r < 0)
		return r;
	if (init->source)
		children_all_announced(init->children, true);
	if (init->options->log_orphans)
		children_set_look(init->children, look, init);
	if (init->kernel_reaps)
		r = set_child_action(SA_NOCLDWAIT | (init->watch_stops ? 0 : SA_NOCLDSTOP));
	if (r == 0 && (!init->kernel_reaps || init->watch_stops))
		r = signals_hear_children(init);
	if (r == 0)
		reap_children(init);
	return r;
}

/* The command is dead, and we want to know when the last of the others is. */
int reap_wait_for_orphans(struct init *init)
{
	int r = 0;

	if (init->kernel_reaps) {
		init->kernel_reaps = false;
		r = signals_hear_children(init);
		if (r == 0)
			r = set_child_action(0);
	}
	reap_children(init);
	return r;
}
