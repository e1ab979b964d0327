/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * support.c - files, processes and `knell run` for the integration tests; see support.h. The JSON
 * reader and the comparison with the truth are in records.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

/* What any one wait may take: far more than anything here needs. */
#define PATIENCE 30.0

bool test_source_is(const char *source)
{
	return !strcmp(test_source(), source);
}

bool test_source_in_kernel(void)
{
	return test_source_is("bpf") || test_source_is("kmod");
}

const char *test_knell(void)
{
	return getenv("KNELL_BIN");
}

/* The text lives as long as the test's process. */
const char *test_program(const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", getenv("KNELL_TEST_PROGRAMS"), name) < 0)
		ck_abort_msg("out of memory");
	ck_assert_msg(!access(path, X_OK), "%s: %s", path, strerror(errno));
	return path;
}

unsigned int test_scaled(unsigned int n)
{
	const char *scale = getenv("KNELL_TEST_SCALE");
	unsigned long percent = scale && *scale      ? strtoul(scale, NULL, 10)
				: getenv("KNELL_VM") ? 10
						     : 100;
	unsigned int scaled = (unsigned int)((unsigned long long)n * percent / 100);

	return scaled ? scaled : 1;
}

double test_seconds(double seconds)
{
	const char *text = getenv("CK_TIMEOUT_MULTIPLIER");
	double factor = text && *text ? strtod(text, NULL) : 1.0;

	return factor > 0 ? seconds * factor : seconds;
}

static bool others_may_enter(const char *path)
{
	char folder[4096];
	struct stat st;

	snprintf(folder, sizeof(folder), "%s", path);
	for (char *end = strrchr(folder, '/'); end; end = strrchr(folder, '/')) {
		*end = '\0';
		if (stat(*folder ? folder : "/", &st) == 0 && !(st.st_mode & S_IXOTH))
			return false;
	}
	return true;
}

void need_open_build(void)
{
	if (!others_may_enter(test_knell()) || !others_may_enter(test_program("tiny")))
		test_skip(
			"other users may not enter the folder of %s; build elsewhere to test this",
			test_knell());
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void sleep_ms(unsigned int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

void *grow(void *memory, size_t size)
{
	void *grown = realloc(memory, size);

	if (!grown)
		ck_abort_msg("out of memory");
	return grown;
}

char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 0, room = 65536;
	ssize_t got;
	char *text;

	if (fd < 0)
		return NULL;
	text = grow(NULL, room);
	while ((got = read(fd, text + size, room - size - 1)) > 0) {
		size += (size_t)got;
		if (room - size < 4096) {
			room *= 2;
			text = grow(text, room);
		}
	}
	close(fd);
	if (got < 0) { /* e.g. of a process in /proc that is gone */
		free(text);
		return NULL;
	}
	text[size] = '\0';
	return text;
}

void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	ck_assert_msg(file && fputs(text, file) >= 0 && !fclose(file), "%s: %s", path,
		      strerror(errno));
}

unsigned int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;

	ck_assert_msg(dir != NULL, "%s: %s", path, strerror(errno));
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

void await_threads(unsigned int most)
{
	double end = now() + test_seconds(PATIENCE);

	while (count_entries("/proc/self/task") > most) {
		ck_assert_msg(now() < end, "a thread is left behind");
		sleep_ms(5);
	}
}

bool file_exists(const char *path)
{
	return !access(path, F_OK);
}

/* Only whole lines count: another process may be writing. Returns how many numbers there were. */
static int scan_line(const char *text, const char *word, int numbers[], int count)
{
	size_t len = strlen(word);
	const char *line, *end;
	int n;

	for (line = text; (end = strchr(line, '\n')); line = end + 1) {
		const char *p = line + len;

		if (strncmp(line, word, len) != 0 || (*p != ' ' && *p != '\n'))
			continue;
		for (n = 0; n < count; n++) {
			char *rest;

			numbers[n] = (int)strtol(p, &rest, 10);
			if (rest == p || rest > end)
				break;
			p = rest;
		}
		return n;
	}
	return -1;
}

int await_line(const char *path, const char *word, int numbers[], int count)
{
	double end = now() + test_seconds(PATIENCE);
	int found = -1;

	for (;;) {
		char *text = read_file(path);

		if (text)
			found = scan_line(text, word, numbers, count);
		free(text);
		if (found >= 0)
			return found;
		ck_assert_msg(now() < end, "nobody wrote '%s' to %s", word, path);
		sleep_ms(2);
	}
}

int await_number(const char *path, const char *word)
{
	int number = -1;

	ck_assert_int_eq(await_line(path, word, &number, 1), 1);
	return number;
}

char process_state(pid_t pid)
{
	char path[64], *text, *p, state = '\0';

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	text = read_file(path);
	p = text ? strrchr(text, ')') : NULL;
	if (p && p[1] == ' ')
		state = p[2];
	free(text);
	return state;
}

char shown_state(pid_t pid)
{
	char state = process_state(pid);

	if (state)
		return state;
	return '-';
}

bool await_state(pid_t pid, const char *states)
{
	double end = now() + test_seconds(PATIENCE);

	while (now() < end) {
		char state = process_state(pid);

		if (state && strchr(states, state))
			return true;
		if (!state && !*states)
			return true;
		sleep_ms(2);
	}
	return false;
}

void await_name(pid_t pid, const char *name)
{
	double end = now() + test_seconds(PATIENCE);
	bool found = false;
	char path[64], *text;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	while (!found) {
		text = read_file(path);
		found = text && !strncmp(text, name, strlen(name)) && text[strlen(name)] == '\n';
		ck_assert_msg(found || now() < end, "process %d is not '%s', but '%s'", pid, name,
			      text ? text : "");
		free(text);
		if (!found)
			sleep_ms(2);
	}
}

void await_foreground(int terminal, pid_t pgid)
{
	double end = now() + test_seconds(PATIENCE);

	while (tcgetpgrp(terminal) != pgid) {
		ck_assert_msg(now() < end, "group %d is not in the foreground, but %d", pgid,
			      tcgetpgrp(terminal));
		sleep_ms(2);
	}
}

static void redirect(const char *path, int flags, int target)
{
	int fd = open(path, flags, 0644);

	if (fd < 0 || dup2(fd, target) < 0)
		_exit(199);
	if (fd != target)
		close(fd);
}

pid_t spawn(const struct spawn *how, const char *const argv[])
{
	static const struct spawn nothing;
	pid_t pid;

	if (!how)
		how = &nothing;
	pid = fork();
	if (pid) {
		/* Not in the child: another thread may have held a lock of Check's. */
		ck_assert_msg(pid > 0, "fork: %s", strerror(errno));
		return pid;
	}
	redirect(how->in ? how->in : "/dev/null", O_RDONLY, STDIN_FILENO);
	if (how->out)
		redirect(how->out, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
	if (how->err)
		redirect(how->err, O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
	if (how->prepare)
		how->prepare();
	execv(argv[0], (char *const *)argv);
	_exit(198);
}

/* Goes on in a child, which dies with its parent; that stays behind and ends as it does. */
static void go_on_in_child(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		_exit(199);
	if (pid) {
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 198);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void become_first_blind(void)
{
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
		_exit(199);
	go_on_in_child();
}

void become_blind(void)
{
	become_first_blind();
	go_on_in_child();
}

int await_exit_for(pid_t pid, double seconds)
{
	double end = now() + test_seconds(seconds);
	int status;
	pid_t got;

	while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		if (now() > end) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			ck_abort_msg("process %d did not end within %.0f s", pid,
				     test_seconds(seconds));
		}
		sleep_ms(1);
	}
	ck_assert_msg(got == pid, "waitpid(%d): %s", pid, strerror(errno));
	return status;
}

int await_exit(pid_t pid)
{
	return await_exit_for(pid, PATIENCE);
}

static char *path_of(const char *name, const char *suffix)
{
	char *path;

	if (asprintf(&path, "%s%s", name, suffix) < 0)
		ck_abort_msg("out of memory");
	return path;
}

/* But for those tests that are about the command as users have it. */
static bool run_verified(void)
{
	return strcmp(test_suite_name, "run") != 0 && strcmp(test_suite_name, "terminal") != 0;
}

void run_start(struct run *run)
{
	const char *argv[64];
	char *source, *json;
	size_t n = 0, i;

	if (!run->name)
		run->name = "run";
	if (!run->json)
		run->json = path_of(run->name, ".json");
	if (!run->how.out)
		run->how.out = path_of(run->name, ".out");
	if (!run->how.err)
		run->how.err = path_of(run->name, ".err");
	source = path_of("--source=", run->source ? run->source : test_source());
	json = path_of("--json=", run->json);
	argv[n++] = test_knell();
	argv[n++] = "run";
	argv[n++] = source;
	if (run_verified())
		argv[n++] = "--with=verify";
	if (*run->json)
		argv[n++] = json;
	for (i = 0; run->options && run->options[i]; i++)
		argv[n++] = run->options[i];
	argv[n++] = "--";
	for (i = 0; run->command && run->command[i]; i++) {
		argv[n++] = run->command[i];
		ck_assert_msg(n < 62, "more words than a test needs");
	}
	argv[n] = NULL;
	run->pid = spawn(&run->how, argv);
}

void run_wait(struct run *run)
{
	run->status = await_exit_for(run->pid, 120.0);
	run->err = read_file(run->how.err);
	if (!run->err)
		run->err = strdup("");
	ck_assert_msg(!strstr(run->err, "--with=verify: "), "%s", run->err);
	if (*run->json && strncmp(run->json, "/dev/", 5) != 0 && file_exists(run->json))
		read_records(&run->records, run->json);
}

void run_knell(struct run *run)
{
	run_start(run);
	run_wait(run);
}

void expect_status(const struct run *run, int status)
{
	ck_assert_msg(run->status == status,
		      "knell ended with wait status %#x, not %#x; it said:\n%s",
		      (unsigned int)run->status, (unsigned int)status, run->err);
}

void expect_exit(const struct run *run, int code)
{
	expect_status(run, W_EXITCODE(code, 0));
}

unsigned int count_of(const char *text, const char *pattern)
{
	unsigned int n = 0;
	const char *p;

	for (p = text; (p = strstr(p, pattern)); p += strlen(pattern))
		n++;
	return n;
}
