/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * deaths - dies in the way that its argument names.
 *
 *   deaths [--truth FILE | --ready FILE] [--cgroup DIR] MODE [ARG]
 *
 * Without --truth this process itself dies. With it a child dies, and the truth file gets "ready
 * PID" from the child when it has prepared everything (and from those that wait to be killed only
 * then), and "dead PID PPID STATUS" from its parent, which waited for it; the parent then exits
 * with 0. With --ready there is no child, but "ready PID" is written all the same. --cgroup moves
 * the one that dies into that cgroup first.
 *
 *   exit N         exits
 *   segv abort     faults, aborts
 *   kill-self SIG  sends itself a signal by name (TERM, KILL, ...)
 *   wait           waits to be killed
 *   caught-term    catches SIGTERM and exits with 0
 *   ignored-hup    ignores SIGHUP, waits to be killed otherwise
 *   pdeath         dies of its parent's death signal, which is SIGTERM
 *   alarm          dies of its interval timer
 *   posix-timer    dies of a POSIX timer that sends SIGTERM
 *   pipe           writes to a pipe that nobody reads
 *   seccomp        is killed by a seccomp filter
 *   seccomp-strict is killed in seccomp's strict mode
 *   xcpu xfsz      exceeds its CPU time, its file size
 *   xcpu-hard      exceeds its hard limit of CPU time
 *   file SIG       dies of a signal by name that a file of its own sends when there is input
 *   oom MB         touches that much memory
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* No mode waits longer than this: a test that went wrong leaves nothing behind. */
#define LIMIT_SECONDS 120

static int truth = -1;

static void tell_ready(void)
{
	if (truth >= 0)
		dprintf(truth, "ready %d\n", getpid());
}

static void die_exit(const char *arg)
{
	tell_ready();
	_exit((int)strtol(arg, NULL, 10));
}

static void die_segv(const char *arg)
{
	volatile int *nowhere = NULL;

	(void)arg;
	tell_ready();
	__asm__("" : "+r"(nowhere)); /* a compiler that sees the fault may make it a trap */
	*nowhere = 1;
}

static void die_abort(const char *arg)
{
	(void)arg;
	tell_ready();
	abort();
}

static int signal_number(const char *name)
{
	int signo;

	for (signo = 1; signo < 32; signo++)
		if (sigabbrev_np(signo) && !strcmp(sigabbrev_np(signo), name))
			return signo;
	return (int)strtol(name, NULL, 10);
}

static void die_kill_self(const char *arg)
{
	tell_ready();
	kill(getpid(), signal_number(arg));
}

static void wait_for_death(const char *arg)
{
	(void)arg;
	tell_ready();
	alarm(LIMIT_SECONDS);
	for (;;)
		pause();
}

static void on_term(int signo)
{
	(void)signo;
	_exit(0);
}

static void catch_term(const char *arg)
{
	signal(SIGTERM, on_term);
	wait_for_death(arg);
}

static void ignore_hup(const char *arg)
{
	signal(SIGHUP, SIG_IGN);
	wait_for_death(arg);
}

/*
 * The one that dies is a child of a short-lived parent, and has to be waited for by this process:
 * it becomes the subreaper.
 */
static void die_pdeath(const char *arg)
{
	int ready[2], status;
	pid_t pid;
	char byte;

	(void)arg;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe2(ready, O_CLOEXEC))
		_exit(125);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NAME, "short-lived");
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			tell_ready();
			if (write(ready[1], "", 1) != 1)
				_exit(125);
			alarm(LIMIT_SECONDS);
			for (;;)
				pause();
		}
		if (read(ready[0], &byte, 1) != 1)
			_exit(125);
		if (truth >= 0)
			dprintf(truth, "parent %d\n", getpid());
		_exit(0);
	}
	while ((pid = wait(&status)) > 0 || errno == EINTR)
		if (pid > 0 && WIFSIGNALED(status) && truth >= 0)
			dprintf(truth, "victim %d %d\n", pid, status);
	_exit(0);
}

static void die_alarm(const char *arg)
{
	struct itimerval timer = { .it_value = { .tv_usec = 10000 } };

	(void)arg;
	tell_ready();
	setitimer(ITIMER_REAL, &timer, NULL);
	for (;;)
		pause();
}

static void die_posix_timer(const char *arg)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM };
	struct itimerspec spec = { .it_value = { .tv_nsec = 10000000 } };
	timer_t timer;

	(void)arg;
	tell_ready();
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &spec, NULL))
		_exit(125);
	for (;;)
		pause();
}

static void die_pipe(const char *arg)
{
	int pipefd[2];

	(void)arg;
	tell_ready();
	if (pipe(pipefd))
		_exit(125);
	close(pipefd[0]);
	if (write(pipefd[1], "x", 1) == 1)
		_exit(124);
}

static void die_seccomp(const char *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog fprog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	(void)arg;
	tell_ready();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &fprog))
		_exit(123);
	syscall(SYS_getpgid, 0);
}

static void die_seccomp_strict(const char *arg)
{
	(void)arg;
	tell_ready();
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		_exit(123);
	syscall(SYS_getpgid, 0);
}

static void burn(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = { .rlim_cur = soft, .rlim_max = hard };
	volatile unsigned long spin = 0;

	tell_ready();
	if (setrlimit(RLIMIT_CPU, &limit))
		_exit(125);
	for (;;)
		spin++;
}

static void die_xcpu(const char *arg)
{
	(void)arg;
	burn(1, 10);
}

static void die_xcpu_hard(const char *arg)
{
	(void)arg;
	signal(SIGXCPU, SIG_IGN);
	burn(1, 1);
}

static void die_xfsz(const char *arg)
{
	struct rlimit limit = { .rlim_cur = 4, .rlim_max = 4 };
	FILE *file = tmpfile();

	(void)arg;
	tell_ready();
	if (!file || setrlimit(RLIMIT_FSIZE, &limit))
		_exit(125);
	if (pwrite(fileno(file), "12345678", 8, 4) < 0)
		_exit(124);
}

static void die_file(const char *arg)
{
	int pipefd[2];

	tell_ready();
	if (pipe(pipefd) || fcntl(pipefd[0], F_SETOWN, getpid()) ||
	    fcntl(pipefd[0], F_SETSIG, signal_number(arg)) || fcntl(pipefd[0], F_SETFL, O_ASYNC) ||
	    write(pipefd[1], "x", 1) != 1)
		_exit(125);
}

static void die_oom(const char *arg)
{
	size_t size = (size_t)(int)strtol(arg, NULL, 10) << 20, i;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	tell_ready();
	if (memory == MAP_FAILED)
		_exit(125);
	for (i = 0; i < size; i += 4096)
		memory[i] = 1;
	_exit(124);
}

static const struct mode {
	const char *name;
	void (*run)(const char *arg);
} modes[] = {
	{ "exit", die_exit },
	{ "segv", die_segv },
	{ "abort", die_abort },
	{ "kill-self", die_kill_self },
	{ "wait", wait_for_death },
	{ "caught-term", catch_term },
	{ "ignored-hup", ignore_hup },
	{ "pdeath", die_pdeath },
	{ "alarm", die_alarm },
	{ "posix-timer", die_posix_timer },
	{ "pipe", die_pipe },
	{ "seccomp", die_seccomp },
	{ "seccomp-strict", die_seccomp_strict },
	{ "xcpu", die_xcpu },
	{ "xcpu-hard", die_xcpu_hard },
	{ "xfsz", die_xfsz },
	{ "file", die_file },
	{ "oom", die_oom },
};

static void enter_cgroup(const char *dir)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || dprintf(fd, "%d\n", getpid()) < 0) {
		perror(path);
		_exit(125);
	}
	close(fd);
}

static const struct mode *find_mode(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(modes[i].name, name))
			return &modes[i];
	fprintf(stderr, "deaths: what is '%s'?\n", name);
	exit(125);
}

int main(int argc, char *argv[])
{
	const struct mode *mode;
	const char *cgroup = NULL;
	bool by_child = false;
	pid_t pid = 0;
	int status;

	for (; argc > 2 && argv[1][0] == '-'; argc -= 2, argv += 2) {
		if (!strcmp(argv[1], "--cgroup"))
			cgroup = argv[2];
		else if (!strcmp(argv[1], "--truth") || !strcmp(argv[1], "--ready"))
			truth = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		else
			return 125;
		by_child = by_child || !strcmp(argv[1], "--truth");
	}
	if (argc < 2)
		return 125;
	mode = find_mode(argv[1]);
	if (by_child)
		pid = fork();
	if (pid < 0)
		return 125;
	if (pid == 0) {
		if (cgroup)
			enter_cgroup(cgroup);
		mode->run(argc > 2 ? argv[2] : "0");
		_exit(124); /* it should have died */
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 125;
	dprintf(truth, "dead %d %d %d\n", pid, getpid(), status);
	return 0;
}
