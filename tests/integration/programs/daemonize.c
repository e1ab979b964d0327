/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * daemonize - leaves a daemon behind: double fork, setsid; its parents end before it.
 *
 *   daemonize [--truth FILE] [--status N] [--delay MS] [--until FILE] [--exit N] [--ignore-term]
 *
 * The daemon lives for --delay ms (100 by default) and exits with --status. This program itself
 * goes on after the daemon was made until the file --until is there, if one is named, and exits
 * with --exit (0). With --ignore-term the daemon ignores SIGTERM. The truth file gets "daemon PID
 * MIDDLE-PID" before this program goes on, and "ended PID STATUS" from the daemon as its last act.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_MS 1000000

static int truth = -1;
static int status, delay_ms = 100, own_status;
static const char *until;
static int ignore_term;

static void sleep_ms(int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static void be_daemon(int ready)
{
	if (ignore_term)
		signal(SIGTERM, SIG_IGN);
	if (truth >= 0)
		dprintf(truth, "daemon %d %d\n", getpid(), getppid());
	/* The middle one waits for this, so that it is our parent until here. */
	close(ready);
	sleep_ms(delay_ms);
	if (truth >= 0)
		dprintf(truth, "ended %d %d\n", getpid(), status);
	_exit(status);
}

static void be_middle(void)
{
	int pipefd[2];
	char byte;
	pid_t pid;

	setsid();
	if (pipe2(pipefd, O_CLOEXEC))
		_exit(125);
	pid = fork();
	if (pid < 0)
		_exit(125);
	if (pid == 0) {
		close(pipefd[0]);
		be_daemon(pipefd[1]);
	}
	close(pipefd[1]);
	if (read(pipefd[0], &byte, 1) != 0)
		_exit(125);
	_exit(0);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "truth", required_argument, NULL, 't' },
		{ "status", required_argument, NULL, 's' },
		{ "delay", required_argument, NULL, 'd' },
		{ "until", required_argument, NULL, 'u' },
		{ "exit", required_argument, NULL, 'e' },
		{ "ignore-term", no_argument, NULL, 'i' },
		{ NULL, 0, NULL, 0 },
	};
	int c, middle_status;
	pid_t middle;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 't')
			truth = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		else if (c == 's')
			status = (int)strtol(optarg, NULL, 10) & 255;
		else if (c == 'd')
			delay_ms = (int)strtol(optarg, NULL, 10) % MAX_MS;
		else if (c == 'u')
			until = optarg;
		else if (c == 'e')
			own_status = (int)strtol(optarg, NULL, 10) & 255;
		else if (c == 'i')
			ignore_term = 1;
		else
			return 125;
	}
	middle = fork();
	if (middle < 0)
		return 125;
	if (middle == 0)
		be_middle();
	while (waitpid(middle, &middle_status, 0) < 0 && errno == EINTR)
		;
	for (int i = 0; until && access(until, F_OK) < 0 && i < MAX_MS / 10; i++)
		sleep_ms(10);
	return middle_status ? 125 : own_status;
}
