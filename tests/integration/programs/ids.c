/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ids - changes its user and group ids, and knows what it did. As root:
 *
 *   ids TRUTH walk COPY   walks through setgid, setregid, setresgid, setfsgid, setreuid, setresuid,
 *                         setfsuid, runs COPY (a set-user-id copy of this program), which calls
 *                         setuid, and exits with 3
 *   ids TRUTH storm N     N children, one after the other, change their uid twice and exit
 *   ids TRUTH thread      a thread, not the leader, changes its uid for itself
 *
 * The truth file gets a line for each change: "uid REAL EFFECTIVE SAVED FS" (or "gid ..."), as the
 * kernel has them afterwards; with thread also "tid T".
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_N 100000

static int truth;

static void check(int failed, const char *what)
{
	if (!failed)
		return;
	perror(what);
	exit(125);
}

/* setfsuid(-1) changes nothing, and tells. */
static void tell_uid(void)
{
	uid_t real, effective, saved;

	check(getresuid(&real, &effective, &saved), "ids: getresuid");
	dprintf(truth, "uid %u %u %u %u\n", real, effective, saved,
		(unsigned int)setfsuid((uid_t)-1));
}

static void tell_gid(void)
{
	gid_t real, effective, saved;

	check(getresgid(&real, &effective, &saved), "ids: getresgid");
	dprintf(truth, "gid %u %u %u %u\n", real, effective, saved,
		(unsigned int)setfsgid((gid_t)-1));
}

static void walk_gids(void)
{
	check(setgid(10), "ids: setgid");
	tell_gid();
	check(setregid(11, 12), "ids: setregid");
	tell_gid();
	check(setresgid(13, 14, 15), "ids: setresgid");
	tell_gid();
	setfsgid(16);
	tell_gid();
}

/* The privilege is kept in the effective or the saved id until the end. */
static void walk_uids(void)
{
	check(setreuid(1, 0), "ids: setreuid");
	tell_uid();
	check(setresuid(3, 4, 0), "ids: setresuid");
	tell_uid();
	check(setresuid((uid_t)-1, 0, (uid_t)-1), "ids: setresuid");
	tell_uid();
	setfsuid(5);
	tell_uid();
}

static int walk(const char *copy, const char *truth_path)
{
	walk_gids();
	walk_uids();
	execl(copy, "ids", truth_path, "copy", NULL);
	perror(copy);
	return 125;
}

/* Running as the copy: exec changed the effective and the saved uid, and set the fs ids back. */
static int walk_on(void)
{
	tell_uid();
	tell_gid();
	check(setuid(getuid()), "ids: setuid");
	tell_uid();
	return 3;
}

static int storm(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t pid = fork();
		int status;

		check(pid < 0, "ids: fork");
		if (pid == 0) {
			if (setresuid(1, (uid_t)-1, (uid_t)-1) ||
			    setresuid((uid_t)-1, 2, (uid_t)-1))
				_exit(1);
			_exit(0);
		}
		check(waitpid(pid, &status, 0) != pid || status, "ids: a child");
	}
	return 0;
}

/* The C library would change all threads. */
static void *change(void *unused)
{
	dprintf(truth, "tid %ld\n", syscall(SYS_gettid));
	check(syscall(SYS_setresuid, 21, 22, 23) != 0, "ids: setresuid");
	return unused;
}

static int change_thread(void)
{
	pthread_t thread;

	check(pthread_create(&thread, NULL, change, NULL), "ids: pthread_create");
	pthread_join(thread, NULL);
	return 0;
}

int main(int argc, char *argv[])
{
	const char *mode = argc > 2 ? argv[2] : "";
	long n = argc > 3 ? strtol(argv[3], NULL, 10) : 0;

	truth = open(argc > 1 ? argv[1] : "", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (truth >= 0)
		(void)!fchmod(truth, 0666); /* other users write it, too */
	if (truth >= 0 && argc == 4 && !strcmp(mode, "walk"))
		return walk(argv[3], argv[1]);
	if (truth >= 0 && argc == 3 && !strcmp(mode, "copy"))
		return walk_on();
	if (truth >= 0 && argc == 4 && !strcmp(mode, "storm") && n > 0 && n <= MAX_N)
		return storm(n);
	if (truth >= 0 && argc == 3 && !strcmp(mode, "thread"))
		return change_thread();
	fprintf(stderr, "usage: ids TRUTH walk COPY | storm N | thread\n");
	return 2;
}
