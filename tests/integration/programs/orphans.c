/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * orphans.c - many orphans for the init that runs this: orphans LIVE DYING [watch]
 *
 * LIVE processes are orphaned first, then DYING more. Then it prints "ready", and when standard
 * input has a line, or ends, the DYING ones die at once. When the last of them is gone (neither
 * alive nor a zombie) it prints what that took, and the CPU time that its parent used for it, all
 * threads:
 *     wall_us=N cpu_us=N oldest_zombie_us=N
 * The last only with `watch`, which looks for zombies all the time and so disturbs. It ends when
 * the LIVE ones have ended, too. All orphans wait for the end of a pipe, so none outlives this
 * program, however it ends.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ORPHANS 14000 /* of each kind: with all else below pid_max's default */
#define PATIENCE    30    /* seconds */

struct batch {
	pid_t *pids;
	size_t count;
	int fds[2]; /* nobody writes: its end is the word to die */
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

static void sleep_us(long us)
{
	struct timespec t = { .tv_nsec = us * 1000 };

	nanosleep(&t, NULL);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static _Noreturn void be_orphan(const struct batch *batch)
{
	struct pollfd p = { .fd = batch->fds[0] };

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	_exit(0);
}

/* The child in the middle makes them, and its death makes them orphans. */
static void make(struct batch *batch, size_t count, const struct batch *other)
{
	int status;
	pid_t middle;

	batch->count = count;
	batch->pids = mmap(NULL, (count + 1) * sizeof(pid_t), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (batch->pids == MAP_FAILED || pipe2(batch->fds, O_CLOEXEC) < 0)
		fail("orphans");
	middle = fork();
	if (middle < 0)
		fail("fork");
	if (middle == 0) {
		close(batch->fds[1]);
		if (other)
			close(other->fds[1]);
		for (size_t i = 0; i < count; i++) {
			pid_t pid = fork();

			if (pid == 0)
				be_orphan(batch);
			if (pid < 0)
				_exit(1);
			batch->pids[i] = pid; /* by this side alone: it is shared memory */
		}
		_exit(0);
	}
	if (waitpid(middle, &status, 0) != middle || status != 0) {
		fprintf(stderr, "orphans: cannot make %zu processes\n", count);
		exit(1);
	}
}

/* Of all threads, as the scheduler counts it. */
static uint64_t cpu_us_of(pid_t pid)
{
	char path[300], text[128];
	struct dirent *task;
	uint64_t ns = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && (task = readdir(tasks)) != NULL) {
		ssize_t n = -1;
		int fd;

		if (task->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, task->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			n = read(fd, text, sizeof(text) - 1);
		if (n > 0) {
			text[n] = '\0';
			ns += strtoull(text, NULL, 10);
		}
		if (fd >= 0)
			close(fd);
	}
	if (tasks)
		closedir(tasks);
	return ns / 1000;
}

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

static bool is_zombie(pid_t pid)
{
	char path[64], text[256], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	p = strrchr(text, ')');
	return p && p[1] == ' ' && p[2] == 'Z';
}

/* How old the oldest zombie became, as far as was seen. */
static uint64_t look_for_zombies(const struct batch *batch, uint64_t *since)
{
	uint64_t oldest = 0;

	for (size_t i = 0; i < batch->count; i++) {
		uint64_t now;

		if (since[i] == UINT64_MAX)
			continue;
		if (is_gone(batch->pids[i])) {
			since[i] = UINT64_MAX;
			continue;
		}
		if (!is_zombie(batch->pids[i]))
			continue;
		now = now_us();
		if (!since[i])
			since[i] = now;
		if (now - since[i] > oldest)
			oldest = now - since[i];
	}
	return oldest;
}

/* They get numbers once, and nobody is born beside them: who is gone does not come back. */
static uint64_t await_end(const struct batch *batch, bool watch)
{
	uint64_t limit = now_us() + PATIENCE * UINT64_C(1000000), oldest = 0;
	uint64_t *since = calloc(batch->count + 1, sizeof(*since));

	for (size_t gone = 0; gone < batch->count;) {
		uint64_t age = watch && since ? look_for_zombies(batch, since) : 0;

		if (age > oldest)
			oldest = age;
		while (gone < batch->count && is_gone(batch->pids[gone]))
			gone++;
		if (now_us() > limit) {
			fprintf(stderr, "orphans: process %d is not gone after %d s\n",
				(int)batch->pids[gone], PATIENCE);
			exit(1);
		}
		if (gone < batch->count)
			sleep_us(200);
	}
	free(since);
	return oldest;
}

static size_t number(const char *text)
{
	unsigned long n = strtoul(text, NULL, 10);

	if (n > MAX_ORPHANS) {
		fprintf(stderr, "orphans: %lu is more than %d\n", n, MAX_ORPHANS);
		exit(1);
	}
	return n;
}

int main(int argc, char *argv[])
{
	struct batch live, dying;
	uint64_t start, wall, cpu, oldest;
	char c;

	if (argc < 3) {
		fprintf(stderr, "usage: orphans LIVE DYING [watch]\n");
		return 1;
	}
	make(&live, number(argv[1]), NULL);
	make(&dying, number(argv[2]), &live);
	printf("ready\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		;
	cpu = cpu_us_of(getppid());
	start = now_us();
	close(dying.fds[1]);
	oldest = await_end(&dying, argc > 3);
	wall = now_us() - start;
	sleep_us(50000); /* what it does afterwards is also for them */
	cpu = cpu_us_of(getppid()) - cpu;
	printf("wall_us=%llu cpu_us=%llu oldest_zombie_us=%llu\n", (unsigned long long)wall,
	       (unsigned long long)cpu, (unsigned long long)oldest);
	fflush(stdout);
	close(live.fds[1]);
	await_end(&live, false);
	return 0;
}
