/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * traps - families of processes that live and die in ways that are easy to miscount.
 *
 *   traps TRUTH group N          N children are killed at once, by their process group
 *   traps TRUTH spawner ROUNDS   children are killed while they fork
 *   traps TRUTH stopped N        children are killed while they are stopped
 *   traps TRUTH vfork PROGRAM N  children made by vfork: every second one runs PROGRAM
 *   traps TRUTH autoreap N       SIGCHLD is ignored: the kernel reaps
 *   traps TRUTH pidns N          N processes die because the init of their pid namespace does
 *   traps TRUTH ptracer N        children are traced by this process
 *
 * The truth file gets "pid ppid status name" for each process that was born, as storm has it: ppid
 * is the parent at birth; a pid of 0 (pidns) was not known here. All is bounded in number, and what
 * waits does not wait longer than a minute.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_N       4000
#define MAX_SPAWNED 300

static FILE *truth;
static char buffer[1 << 20];

static void tell(pid_t pid, pid_t ppid, int status, const char *name)
{
	fprintf(truth, "%d %d %d %s\n", pid, ppid, status, name);
}

static void wait_to_die(void)
{
	alarm(60);
	for (;;)
		pause();
}

static pid_t wait_for(pid_t pid, int *status, int flags)
{
	pid_t got;

	do
		got = waitpid(pid, status, flags);
	while (got < 0 && errno == EINTR);
	return got;
}

static int group(long n, const char *arg)
{
	pid_t *pids = calloc((size_t)n, sizeof(*pids));
	pid_t pgid = 0;
	int status;
	long i, made;

	(void)arg;
	if (!pids)
		return 1;
	for (made = 0; made < n; made++) {
		pids[made] = fork();
		if (pids[made] < 0)
			break;
		if (pids[made] == 0) {
			setpgid(0, pgid);
			wait_to_die();
		}
		setpgid(pids[made], pgid);
		if (!pgid)
			pgid = pids[0];
	}
	if (pgid)
		kill(-pgid, SIGKILL);
	for (i = 0; i < made; i++) {
		wait_for(pids[i], &status, 0);
		tell(pids[i], getpid(), status, "traps");
	}
	free(pids);
	return made != n;
}

static void spawn_until_killed(void)
{
	int i;

	for (i = 0; i < MAX_SPAWNED; i++)
		if (fork() == 0)
			_exit(3);
	wait_to_die();
}

/* Its children do not wait for theirs: as the subreaper this process gets all of them. */
static int spawner(long rounds, const char *arg)
{
	long i;

	(void)arg;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (i = 0; i < rounds; i++) {
		struct timespec ts = { .tv_nsec = 500000 + 100000 * (i % 20) };
		pid_t parent = fork(), pid;
		int status;

		if (parent < 0)
			return 1;
		if (parent == 0)
			spawn_until_killed();
		nanosleep(&ts, NULL);
		kill(parent, SIGKILL);
		while ((pid = wait_for(-1, &status, 0)) > 0)
			tell(pid, pid == parent ? getpid() : parent, status, "traps");
	}
	return 0;
}

static int stopped(long n, const char *arg)
{
	long i;

	(void)arg;
	for (i = 0; i < n; i++) {
		pid_t pid = fork();
		int status;

		if (pid < 0)
			return 1;
		if (pid == 0) {
			raise(SIGSTOP);
			wait_to_die();
		}
		if (wait_for(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
			return 1;
		/* Killed at once; or by a TERM that waits until somebody lets it go on. */
		kill(pid, i % 2 ? SIGTERM : SIGKILL);
		if (i % 2)
			kill(pid, SIGCONT);
		wait_for(pid, &status, 0);
		tell(pid, getpid(), status, "traps");
	}
	return 0;
}

/* By itself, because nothing that changes may live beside a vfork(). */
static pid_t vfork_one(const char *program)
{
	char *argv[] = { (char *)program, (char *)"6", NULL };
	pid_t pid = vfork(); /* NOLINT: the point of this mode */

	if (pid == 0) {
		if (program)
			execv(program, argv);
		_exit(5);
	}
	return pid;
}

static int vforks(long n, const char *program)
{
	const char *slash = strrchr(program, '/');
	long i;

	for (i = 0; i < n; i++) {
		pid_t pid = vfork_one(i % 2 ? program : NULL);
		int status;

		if (pid < 0)
			return 1;
		wait_for(pid, &status, 0);
		tell(pid, getpid(), status, i % 2 ? (slash ? slash + 1 : program) : "traps");
	}
	return 0;
}

static int autoreap(long n, const char *arg)
{
	long i;

	(void)arg;
	signal(SIGCHLD, SIG_IGN);
	for (i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (pid == 0)
			_exit((int)(i % 7));
		tell(pid, getpid(), W_EXITCODE((int)(i % 7), 0), "traps");
		if (i % 50 == 49)
			while (wait_for(-1, NULL, 0) > 0)
				; /* ends with ECHILD when all of them are gone */
	}
	while (wait_for(-1, NULL, 0) > 0)
		;
	return 0;
}

static int pidns(long n, const char *arg)
{
	int status;
	pid_t pid;
	long i;

	(void)arg;
	if (unshare(CLONE_NEWPID)) {
		perror("traps: unshare");
		return 77;
	}
	pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		for (i = 0; i < n; i++)
			if (fork() == 0)
				wait_to_die();
		_exit(4);
	}
	wait_for(pid, &status, 0);
	tell(pid, getpid(), status, "traps");
	for (i = 0; i < n; i++)
		tell(0, pid, W_EXITCODE(0, SIGKILL), "traps");
	return 0;
}

static int ptracer(long n, const char *arg)
{
	long i;

	(void)arg;
	for (i = 0; i < n; i++) {
		pid_t pid = fork();
		int status;

		if (pid < 0)
			return 1;
		if (pid == 0) {
			if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
				_exit(77); /* somebody else traces us: so be it, and so it is told
					    */
			raise(SIGSTOP);
			_exit(8);
		}
		if (wait_for(pid, &status, 0) == pid && WIFSTOPPED(status)) {
			ptrace(PTRACE_CONT, pid, NULL, NULL);
			wait_for(pid, &status, 0);
		}
		tell(pid, getpid(), status, "traps");
	}
	return 0;
}

int main(int argc, char *argv[])
{
	const char *mode = argc > 3 ? argv[2] : "";
	long n = argc > 3 ? strtol(argv[argc - 1], NULL, 10) : 0;
	int (*run)(long n, const char *arg) = !strcmp(mode, "group")      ? group
					      : !strcmp(mode, "spawner")  ? spawner
					      : !strcmp(mode, "stopped")  ? stopped
					      : !strcmp(mode, "vfork")    ? vforks
					      : !strcmp(mode, "autoreap") ? autoreap
					      : !strcmp(mode, "pidns")    ? pidns
					      : !strcmp(mode, "ptracer")  ? ptracer
									  : NULL;
	int status;

	if (!run || n <= 0 || n > MAX_N) {
		fprintf(stderr, "usage: traps TRUTH MODE [PROGRAM] N\n");
		return 2;
	}
	/* Written at the end: a fork must not copy lines that wait in the buffer. */
	truth = fopen(argv[1], "we");
	if (!truth || setvbuf(truth, buffer, _IOFBF, sizeof(buffer))) {
		perror(argv[1]);
		return 2;
	}
	status = run(n, argv[3]);
	if (fclose(truth))
		return 2;
	return status;
}
