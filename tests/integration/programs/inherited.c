/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * inherited - prints what a program inherits from the one that started it, so that two runs can be
 * compared: arguments (number, bytes, a checksum), environment, directory, umask, limits, priority,
 * OOM score, and the attributes that prctl(2) knows.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void print_file(const char *path)
{
	char text[128];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[len < 0 ? 0 : len] = '\0';
	printf("%s %s\n", path, text);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char *argv[])
{
	unsigned long bytes = 0, sum = 5381;
	char cwd[4096];
	char **variable;
	mode_t mask;
	int i, value = 0;

	for (i = 1; i < argc; i++) {
		const char *c;

		bytes += strlen(argv[i]) + 1;
		for (c = argv[i]; *c; c++)
			sum = sum * 33 + (unsigned char)*c;
		sum = sum * 33;
	}
	printf("arguments %d %lu %lx\n", argc - 1, bytes, sum);
	for (variable = environ; *variable; variable++)
		printf("environment %s\n", *variable);
	printf("directory %s\n", getcwd(cwd, sizeof(cwd)) ? cwd : "?");
	mask = umask(0);
	printf("umask %o\n", mask);
	for (i = 0; i < RLIMIT_NLIMITS; i++) {
		struct rlimit limit = { 0, 0 };

		getrlimit(i, &limit);
		printf("limit %d %llu %llu\n", i, (unsigned long long)limit.rlim_cur,
		       (unsigned long long)limit.rlim_max);
	}
	printf("priority %d policy %d\n", getpriority(PRIO_PROCESS, 0), sched_getscheduler(0));
	print_file("/proc/self/oom_score_adj");
	prctl(PR_GET_CHILD_SUBREAPER, &value);
	printf("subreaper %d\n", value);
	prctl(PR_GET_PDEATHSIG, &value);
	printf("pdeathsig %d\n", value);
	printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
	printf("no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	printf("timerslack %d\n", prctl(PR_GET_TIMERSLACK));
	printf("seccomp %d\n", prctl(PR_GET_SECCOMP));
	printf("uid %d %d gid %d %d\n", getuid(), geteuid(), getgid(), getegid());
	return 0;
}
