/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * runner.c - main() of every integration test: test-NAME SOURCE.
 *
 * It asks Knell whether the source works here and skips everything with Knell's reason if not. Else
 * the suite runs in a child, forked per test by Check, whose TAP comes through here: Check knows no
 * skipped test, so a test that skips leaves its reason in shared memory and its line is completed
 * on the way out. The runner owns the scratch directory.
 */
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <knell/knell.h>

#include "cgroups.h"
#include "support.h"

/*
 * AddressSanitizer asks for this. A test's process ends with the test, and all its memory with it,
 * Check's own included; the processes of knell that it starts are looked at, and test_library.c
 * counts what the library leaves behind.
 */
const char *__asan_default_options(void); /* NOLINT: not our name */

const char *__asan_default_options(void) /* NOLINT */
{
	return "detect_leaks=0";
}

/* One test runs at a time, but lines are read later than they are written: a list, in order. */
#define MAX_TESTS 256

struct skips {
	unsigned int started; /* the number of the test that runs, from 1 */
	char reason[MAX_TESTS][200];
};

static struct skips *skips;
static char scratch[PATH_MAX];
static const char *source;

const char *test_source(void)
{
	return source;
}

void test_skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(skips->reason[skips->started % MAX_TESTS], sizeof(skips->reason[0]), format,
		  args);
	va_end(args);
	exit(0);
}

/* Runs in the process of each test, before it. */
static void set_up(void)
{
	char dir[PATH_MAX + 16];

	skips->started++;
	skips->reason[skips->started % MAX_TESTS][0] = '\0';
	snprintf(dir, sizeof(dir), "%s/%u", scratch, skips->started);
	if (mkdir(dir, 0755) || chdir(dir))
		ck_abort_msg("%s: %s", dir, strerror(errno));
}

TCase *test_case(Suite *suite, const char *name, double seconds)
{
	TCase *tcase = tcase_create(name);

	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_set_timeout(tcase, seconds);
	suite_add_tcase(suite, tcase);
	return tcase;
}

/*
 * A kernel that lets us load BPF programs and then takes none of ours is a defect, ours or its; and
 * so is a module that is loaded and of no use.
 */
static bool may_refuse(const char *name, int error)
{
	if (strcmp(name, "kmod") == 0)
		return access("/sys/module/knell", F_OK) < 0;
	return strcmp(name, "bpf") != 0 || error == -EPERM || error == -ENOSYS ||
	       access("/sys/kernel/btf/vmlinux", R_OK) < 0;
}

/* Returns false, with the reason, where the source is refused. */
static bool probe(const char *name, char *reason, size_t size)
{
	struct knell_probe result;
	unsigned int i;

	if (!strcmp(name, "none"))
		return true;
	for (i = 0; !knell_probe(i, &result); i++) {
		if (strcmp(result.name, name) != 0)
			continue;
		if (!result.error)
			return true;
		snprintf(reason, size, "source %s is refused here: %s", name, result.reason);
		if (may_refuse(name, result.error))
			return false;
		fprintf(stderr, "%s\n", reason);
		exit(2);
	}
	fprintf(stderr, "%s: Knell knows no such source\n", name);
	exit(2);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void make_scratch(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(scratch, sizeof(scratch), "%s/knell-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(scratch)) {
		perror(scratch);
		exit(2);
	}
	chmod(scratch, 0755); /* some tests become another user */
}

static void remove_scratch(void)
{
	if (getenv("KNELL_TEST_KEEP"))
		fprintf(stderr, "scratch files are in %s\n", scratch);
	else
		nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* What a test finds relative to where we were started it must find from its scratch directory. */
static void make_absolute(const char *variable)
{
	const char *path = getenv(variable);
	char absolute[PATH_MAX];

	if (!path || !realpath(path, absolute)) {
		fprintf(stderr, "%s must name what is to be tested\n", variable);
		exit(2);
	}
	setenv(variable, absolute, 1);
}

static void run_suite(void)
{
	Suite *suite = suite_create(test_suite_name);
	SRunner *runner = srunner_create(suite);
	int failed;

	add_tests(suite);
	setvbuf(stdout, NULL, _IOLBF, 0);
	srunner_set_fork_status(runner, CK_FORK);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	exit(failed ? 1 : 0);
}

/* TAP wants one line for each test: the rest of a long message becomes a comment. */
static void copy_line(char *line)
{
	bool passed = !strncmp(line, "ok ", 3);
	const char *reason = "";

	line[strcspn(line, "\n")] = '\0';
	if (passed)
		reason = skips->reason[strtoul(line + 3, NULL, 10) % MAX_TESTS];
	if (*reason) {
		char *message = strrchr(line, ':');

		if (message)
			*message = '\0';
		printf("%s # SKIP %s\n", line, reason);
	} else if (passed || !strncmp(line, "not ok ", 7) || !strncmp(line, "1..", 3)) {
		printf("%s\n", line);
	} else {
		printf("# %s\n", line);
	}
	fflush(stdout);
}

static int run_all(void)
{
	int output[2], status;
	char *line = NULL;
	size_t size = 0;
	FILE *file;
	pid_t pid;

	fflush(stdout);
	if (pipe(output) || (pid = fork()) < 0) {
		perror("runner");
		return 2;
	}
	if (pid == 0) {
		dup2(output[1], STDOUT_FILENO);
		close(output[0]);
		close(output[1]);
		run_suite();
	}
	close(output[1]);
	file = fdopen(output[0], "r");
	while (file && getline(&line, &size, file) > 0)
		copy_line(line);
	free(line);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (file)
		fclose(file);
	if (WIFSIGNALED(status))
		fprintf(stderr, "runner: the suite died of signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

/* What a shell ignores in what it starts in the background, or for nohup(1), tests send to theirs.
 */
static void hear_signals(void)
{
	signal(SIGHUP, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
}

int main(int argc, char *argv[])
{
	char reason[300];
	int status;

	hear_signals();
	source = argc > 1 ? argv[1] : getenv("KNELL_TEST_SOURCE");
	if (!source || !*source) {
		fprintf(stderr, "usage: %s SOURCE (or KNELL_TEST_SOURCE=SOURCE)\n", argv[0]);
		return 2;
	}
	if (!probe(source, reason, sizeof(reason))) {
		printf("1..0 # SKIP %s\n", reason);
		return 0;
	}
	make_absolute("KNELL_BIN");
	make_absolute("KNELL_TEST_PROGRAMS");
	skips = mmap(NULL, sizeof(*skips), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (skips == MAP_FAILED) {
		perror("runner");
		return 2;
	}
	make_scratch();
	status = run_all();
	remove_scratch();
	cgroup_sweep();
	return status;
}
