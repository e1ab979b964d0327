/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_audit.c - `--with=audit` of `knell run` and `knell trace`: every line against the schema; a
 * full disk, a file that is rotated in a storm, a FIFO whose reader sleeps or goes, syslog and the
 * journal. Lines and losses add up to what happened, which `--json` of the same run tells, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

const char test_suite_name[] = "audit";

#define MAX_RINGS 1024u

/* What files of a log tell together, in their order. */
struct log {
	uint64_t next[MAX_RINGS]; /* each ring's next number */
	uint64_t records, lost, suppressed, starts, summaries;
	bool torn; /* the end of the last file */
};

static const char *format(const char *text, ...) __attribute__((format(printf, 1, 2)));

static const char *format(const char *text, ...)
{
	va_list args;
	char *result;

	va_start(args, text);
	if (vasprintf(&result, text, args) < 0)
		ck_abort_msg("out of memory");
	va_end(args);
	return result;
}

/* The number after `key` in this line. */
static uint64_t number_in(const char *line, const char *key)
{
	const char *p = strstr(line, key);

	ck_assert_msg(p, "%s is missing in %s", key, line);
	return strtoull(p + strlen(key), NULL, 10);
}

static void add_line(struct log *log, const char *line)
{
	bool gap = strstr(line, "\"knell.event\":\"gap\"");
	uint64_t ring, size;

	log->starts += strstr(line, "\"knell.event\":\"start\"") != NULL;
	log->summaries += strstr(line, "\"knell.event\":\"summary\"") != NULL;
	if (strstr(line, "\"knell.event\":\"suppressed\""))
		log->suppressed += number_in(line, "\"knell.suppressed\":");
	if (!strstr(line, "\"knell.seq\":"))
		return;
	ring = number_in(line, "\"knell.ring\":");
	ck_assert_uint_lt(ring, MAX_RINGS);
	ck_assert_msg(number_in(line, "\"knell.seq\":") == log->next[ring], "not %llu: %s",
		      (unsigned long long)log->next[ring], line);
	size = gap ? number_in(line, "\"knell.gap.lost\":") : 1;
	log->next[ring] += size;
	if (gap && strstr(line, "\"knell.gap.cause\":\"audit\""))
		log->lost += size;
	log->records += !gap;
}

static void add_log(struct log *log, const char *path)
{
	char *text = read_file(path), *line, *end;

	ck_assert_msg(text, "%s: %s", path, strerror(errno));
	for (line = text; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		add_line(log, line);
	}
	log->torn = *line != '\0';
	free(text);
}

#define SAMPLE 150u

/* The script takes its time: of a long log the first lines and the last ones. */
static void write_sample(const char *path, const char *to)
{
	FILE *in = fopen(path, "re"), *out = fopen(to, "we");
	unsigned int count, number = 0;
	size_t size = 0;
	char *line = NULL, *text = read_file(path);

	ck_assert_msg(in && out && text, "%s: %s", path, strerror(errno));
	count = line_count(text);
	while (getline(&line, &size, in) > 0) {
		if (number < SAMPLE || number + SAMPLE >= count)
			ck_assert(fputs(line, out) >= 0);
		number++;
	}
	ck_assert(!fclose(out));
	fclose(in);
	free(line);
	free(text);
}

/* Against the schema, by a script. False: that cannot be asked here. */
static bool validate(const char *path)
{
	const char *script = getenv("KNELL_TEST_VALIDATE"), *schema = getenv("KNELL_TEST_SCHEMA");
	struct spawn how = { .out = "validate.out" };
	int status;

	if (!script || !schema)
		return false;
	write_sample(path, "sample");
	status = await_exit(
		spawn(&how, LIST("/usr/bin/env", "python3", script, schema, "--log", "sample")));
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127))
		return false;
	ck_assert_msg(status == 0, "%s", read_file("validate.out"));
	return true;
}

/* `knell run -q` with this audit log, and JSON, which tells the truth. */
static void start(struct run *run, const char *options, const char *const *command)
{
	const char **list = grow(NULL, 4 * sizeof(*list));

	list[0] = "-q";
	list[1] = format("--with=audit:%s", options);
	list[2] = "--args";
	list[3] = NULL;
	run->options = list;
	run->command = command;
	run_start(run);
}

/* Records that the run heard. */
static uint64_t heard(const struct run *run)
{
	const struct record *summary = records_end(&run->records) - 1;

	ck_assert_int_gt(summary->events, 0);
	return (uint64_t)summary->events;
}

/* "N of M records were WHAT" on stderr; 0: nothing of that. */
static uint64_t said(const struct run *run, const char *what)
{
	const char *end = strstr(run->err, what), *p = end;

	if (!p)
		return 0;
	while (p > run->err && p[-1] != '\n')
		p--;
	p = strstr(p, "--with=audit: ");
	ck_assert(p && p < end);
	ck_assert_uint_eq(number_in(p, " of "), heard(run));
	return number_in(p, "--with=audit: ");
}

static const char *storm_of(unsigned int n)
{
	return format("%u", test_scaled(n));
}

static void await_path(const char *path)
{
	double limit = now() + test_seconds(30);

	while (!file_exists(path) && now() < limit)
		sleep_ms(2);
	ck_assert_msg(file_exists(path), "%s never came", path);
}

static bool is_empty(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 || st.st_size == 0;
}

static void await_some(const char *path)
{
	double limit = now() + test_seconds(30);

	while (is_empty(path)) {
		ck_assert_msg(now() < limit, "nothing is in %s", path);
		sleep_ms(2);
	}
}

/* ---- lines ---- */

START_TEST(every_line)
{
	struct run run = { 0 };
	struct log log = { 0 };

	start(&run, "file=log,args",
	      LIST("/bin/sh", "-c",
		   "exec 2>/dev/null; $0 7; $1 caught-term & kill $!; wait; $1 segv; exit 3",
		   test_program("tiny"), test_program("deaths")));
	run_wait(&run);
	expect_exit(&run, 3);
	add_log(&log, "log");
	ck_assert_uint_eq(log.records, heard(&run));
	ck_assert_uint_eq(log.starts, 1);
	ck_assert_uint_eq(log.summaries, 1);
	ck_assert_uint_eq(log.lost + log.suppressed, 0);
	ck_assert(!log.torn && !*run.err);
	ck_assert(strstr(read_file("log"), format("\"knell.source\":\"%s\"", test_source())));
	if (!validate("log"))
		test_skip("python3-jsonschema, or the schema, is not here");
}
END_TEST

/* The second run goes on where the first one ended. */
START_TEST(appended)
{
	struct run first = { 0 }, second = { .name = "second" };

	start(&first, "file=log", LIST(test_program("tiny"), "0"));
	run_wait(&first);
	start(&second, "file=log", LIST(test_program("tiny"), "0"));
	run_wait(&second);
	validate("log");
	ck_assert_uint_eq(count_of(read_file("log"), "\"knell.event\":\"start\""), 2);
	ck_assert_uint_eq(count_of(read_file("log"), "\"knell.event\":\"summary\""), 2);
}
END_TEST

static void expect_refusal(const char *option, const char *named)
{
	struct run run = {
		.options = LIST("-q", option),
		.command = LIST("/bin/sh", "-c", "echo >started"),
		.json = "",
	};

	run_knell(&run);
	expect_exit(&run, 125);
	ck_assert_msg(strstr(run.err, named), "'%s' is not named: %s", named, run.err);
	ck_assert(!file_exists("started"));
}

START_TEST(refused)
{
	expect_refusal("--with=nonsense", "known are: audit, verify");
	expect_refusal("--with=audits", "known are: audit, verify");
	expect_refusal("--with=", "known are: audit, verify");
	expect_refusal("--with=audit:rate=fast", "rate");
	expect_refusal("--with=audit:file=/nonexistent/log", "/nonexistent/log");
	expect_refusal("--with=audit:file=/", "directory");
	expect_refusal("--with=audit:syslog=./nobody", "./nobody");
}
END_TEST

START_TEST(above_the_rate)
{
	struct run run = { 0 };
	struct log log = { 0 };

	start(&run, "file=log,rate=1", LIST(test_program("storm"), "-n", storm_of(2000)));
	run_wait(&run);
	expect_exit(&run, 0);
	validate("log");
	add_log(&log, "log");
	ck_assert_uint_gt(log.suppressed, 0);
	ck_assert_uint_eq(log.records + log.suppressed, heard(&run));
	ck_assert_uint_eq(said(&run, "suppressed"), log.suppressed);
	ck_assert_uint_eq(log.lost, 0);
}
END_TEST

/* ---- files ---- */

/* A disk of our own, which nobody else sees; false where that is refused. */
static bool mount_disk(const char *dir, const char *options)
{
	ck_assert(!mkdir(dir, 0700));
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("disk", dir, "tmpfs", 0, options) == 0;
}

static void write_ballast(const char *path)
{
	static char block[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	ck_assert_int_eq(errno, ENOSPC);
	close(fd);
}

/* It fills up in the middle, and later there is room: the log says what is missing. */
START_TEST(full_disk_and_room_again)
{
	struct run run = { 0 };
	struct log log = { 0 };

	if (!mount_disk("disk", "size=16M"))
		test_skip("cannot mount a disk: %s", strerror(errno));
	write_file("disk/log", "");
	write_ballast("disk/ballast");
	start(&run, "file=disk/log,queue=64k",
	      LIST("/bin/sh", "-c", "$0 -n $1; rm disk/ballast; exit 5", test_program("storm"),
		   storm_of(5000)));
	run_wait(&run);
	expect_exit(&run, 5);
	add_log(&log, "disk/log");
	validate("disk/log");
	ck_assert_uint_gt(log.lost, 0);
	ck_assert_uint_eq(log.records + log.lost, heard(&run));
	ck_assert_uint_eq(said(&run, "not written"), log.lost);
	ck_assert(strstr(run.err, "No space left"));
	ck_assert_uint_eq(log.summaries, 1);
	ck_assert(!log.torn);
}
END_TEST

/* Room never comes: the command's run and status are its own. */
START_TEST(full_disk)
{
	struct run run = { 0 };
	double before = now();

	start(&run, "file=/dev/full", LIST(test_program("storm"), "-n", storm_of(2000)));
	run_wait(&run);
	expect_exit(&run, 0);
	ck_assert_uint_eq(said(&run, "not written"), heard(&run));
	ck_assert(strstr(run.err, "No space left"));
	ck_assert(now() - before < test_seconds(60));
}
END_TEST

#define ROTATIONS 20

/* Signals and renames in the middle of a storm. The command hears none of the signals. */
START_TEST(rotation_loses_nothing)
{
	struct run run = { 0 };
	struct log log = { 0 };
	int i, files = 0;

	/* However late we are, it is not over before the first of them. */
	write_file("script", "trap 'echo >hangup' HUP; $0 -n $1; : >over\n"
			     "until test -e go; do sleep 0.01; done; $0 -n 50\n");
	start(&run, "file=log",
	      LIST("/bin/sh", "-c", read_file("script"), test_program("storm"), storm_of(30000)));
	await_some("log"); /* its first line */
	for (i = 0; i < ROTATIONS && (!i || !file_exists("over")); i++) {
		sleep_ms(20);
		/* One that was just made, and is empty, would remain so. */
		files += !is_empty("log") && rename("log", format("log.%d", files)) == 0;
		if (i % 3) /* it sees by itself, too */
			kill(run.pid, SIGHUP);
	}
	write_file("go", "");
	run_wait(&run);
	expect_exit(&run, 0);
	ck_assert(!file_exists("hangup"));
	ck_assert_int_gt(files, 0);
	for (i = 0; i < files; i++) {
		add_log(&log, format("log.%d", i));
		ck_assert(!log.torn);
		validate(format("log.%d", i));
	}
	/* Unless the last rename came when all was written but for the end. */
	if (file_exists("log")) {
		add_log(&log, "log");
		validate("log");
		files++;
	}
	ck_assert_uint_eq(log.lost, 0);
	ck_assert_uint_eq(log.records, heard(&run));
	ck_assert_uint_eq(log.starts, (uint64_t)files);
	ck_assert_uint_eq(log.summaries, 1);
	ck_assert(!*run.err);
}
END_TEST

/* ---- FIFOs ---- */

/* What lies in a pipe that nobody writes to any more. */
static void copy_all(int fd, const char *path)
{
	int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char buf[4096];
	ssize_t n;

	ck_assert(out >= 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		ck_assert(write(out, buf, (size_t)n) == n);
	ck_assert_int_eq(n, 0);
	close(out);
}

/* A storm, while the reader of the log sleeps. */
START_TEST(reader_sleeps)
{
	struct run run = { 0 };
	struct log log = { 0 };
	int fd;

	ck_assert(!mkfifo("fifo", 0600));
	fd = open("fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	start(&run, "file=fifo,queue=64k",
	      LIST("/bin/sh", "-c", "$0 -n $1; : >over", test_program("storm"), storm_of(5000)));
	while (!file_exists("over") && process_state(run.pid) != 'Z')
		sleep_ms(2);
	ck_assert(file_exists("over")); /* and the pipe is as full as it was */
	run_wait(&run);
	expect_exit(&run, 0);
	copy_all(fd, "log");
	close(fd);
	add_log(&log, "log");
	ck_assert_uint_gt(log.records, 0);
	ck_assert_uint_gt(said(&run, "not written"), 0);
	ck_assert_uint_eq(log.records + said(&run, "not written"), heard(&run));
	ck_assert(strstr(run.err, "too slow"));
}
END_TEST

START_TEST(nobody_reads)
{
	struct run run = { 0 };

	ck_assert(!mkfifo("fifo", 0600));
	start(&run, "file=fifo", LIST(test_program("storm"), "-n", storm_of(500)));
	run_wait(&run);
	expect_exit(&run, 0);
	ck_assert_uint_eq(said(&run, "not written"), heard(&run));
	ck_assert(strstr(run.err, "nobody reads"));
}
END_TEST

/*
 * The first reader leaves after three lines, and more is told while there is none. Then another one
 * comes, and begins with a whole line.
 */
START_TEST(readers_change)
{
	struct run run = { 0 };
	struct spawn head = { .out = "first" }, cat = { .out = "second" };
	pid_t reader;

	ck_assert(!mkfifo("fifo", 0600));
	reader = spawn(&head, LIST("/bin/sh", "-c", "head -n 3 <fifo"));
	write_file("script",
		   "$0 -n 50; until test -e alone; do sleep 0.01; done; $0 -n 50; : >more\n"
		   "until test -e go; do sleep 0.01; done; $0 -n 50\n");
	start(&run, "file=fifo", LIST("/bin/sh", "-c", read_file("script"), test_program("storm")));
	ck_assert_int_eq(await_exit(reader), 0);
	write_file("alone", "");
	await_path("more");
	sleep_ms(300);
	reader = spawn(&cat, LIST("/bin/sh", "-c", "cat <fifo"));
	await_some("second");
	write_file("go", "");
	run_wait(&run);
	expect_exit(&run, 0); /* it did not die of SIGPIPE */
	ck_assert_int_eq(await_exit(reader), 0);
	ck_assert_uint_eq(count_of(read_file("first"), "\n"), 3);
	ck_assert_uint_eq(count_of(read_file("second"), "\"knell.event\":\"summary\""), 1);
	validate("second");
}
END_TEST

/* ---- sockets ---- */

struct daemon {
	int fd;
	pthread_t thread;
	uint64_t records, all;
	char last[200]; /* the beginning of the last */
};

/* Until the summary; each datagram has one line. */
static void *receive(void *arg)
{
	static char text[300000];
	struct daemon *daemon = arg;
	ssize_t n;

	while ((n = recv(daemon->fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		daemon->all++;
		/* A journal field may have a NUL in its length. */
		daemon->records += memmem(text, (size_t)n, "\"knell.scope\":", 14) != NULL;
		snprintf(daemon->last, sizeof(daemon->last), "%.*s", (int)sizeof(daemon->last) - 1,
			 text);
		if (memmem(text, (size_t)n, "\"knell.event\":\"summary\"", 23))
			break;
	}
	return NULL;
}

static void start_daemon(struct daemon *daemon)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "./socket" };
	struct timeval patience = { .tv_sec = (time_t)test_seconds(60) };

	daemon->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert(daemon->fd >= 0);
	ck_assert(!bind(daemon->fd, (struct sockaddr *)&address, sizeof(address)));
	setsockopt(daemon->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	ck_assert(!pthread_create(&daemon->thread, NULL, receive, daemon));
}

static void to_a_daemon(const char *options, const char *expected)
{
	struct daemon daemon = { 0 };
	struct run run = { 0 };

	start_daemon(&daemon);
	start(&run, options, LIST(test_program("storm"), "-n", storm_of(1000)));
	run_wait(&run);
	pthread_join(daemon.thread, NULL);
	close(daemon.fd);
	expect_exit(&run, 0);
	ck_assert_msg(!*run.err, "%s", run.err);
	ck_assert_uint_eq(daemon.records, heard(&run));
	ck_assert_uint_eq(daemon.all, heard(&run) + 2);
	ck_assert_msg(strstr(daemon.last, expected), "%s", daemon.last);
}

START_TEST(to_syslog)
{
	to_a_daemon("syslog=./socket", " knell[");
}
END_TEST

START_TEST(to_the_journal)
{
	to_a_daemon("journal=./socket", "SYSLOG_IDENTIFIER=knell\n");
}
END_TEST

/* ---- trace ---- */

static pid_t run_tiny(const char *code)
{
	pid_t pid = spawn(NULL, LIST(test_program("tiny"), code));

	await_exit(pid);
	return pid;
}

static void start_trace(struct tool *trace)
{
	trace->command = "trace";
	tool_start(trace);
	tool_await_listening(trace);
}

static bool is_logged(const char *path, const char *event, pid_t pid)
{
	const char *kind = format("\"knell.event\":\"%s\"", event);
	const char *number = format("\"process.pid\":%d,", pid);
	char *text = read_file(path), *line, *end;
	bool found = false;

	ck_assert(text);
	for (line = text; !found && (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		found = strstr(line, kind) && strstr(line, number);
	}
	free(text);
	return found;
}

/* As the service runs it: nothing on stdout, HUP opens the file again, TERM ends it. */
START_TEST(traced)
{
	struct tool trace = {
		.args = LIST("-q", "--kind=exec,exit", "--with=audit:file=log,fsync=1"),
	};
	pid_t before, after;

	start_trace(&trace);
	before = run_tiny("7");
	while (!is_logged("log", "exit", before)) /* the test's limit ends this */
		sleep_ms(5);
	ck_assert(!rename("log", "log.1"));
	kill(trace.pid, SIGHUP);
	await_path("log");
	after = run_tiny("8");
	sleep_ms(200);
	kill(trace.pid, SIGTERM);
	tool_wait(&trace);
	tool_expect_exit(&trace, 0);
	ck_assert_str_eq(trace.out, "");
	validate("log.1");
	validate("log");
	ck_assert(is_logged("log", "exit", after) && is_logged("log", "exec", after));
	ck_assert(!is_logged("log", "clone", after)); /* nobody asked for it */
	ck_assert(!is_logged("log", "exit", before));
	ck_assert(is_logged("log.1", "exit", before));
	ck_assert(strstr(read_file("log"), "\"knell.continued\":true"));
}
END_TEST

/* Without a log to open again, HUP is the end that it always was. */
START_TEST(hangup_ends_a_trace)
{
	struct tool trace = { .args = LIST("-q") };

	start_trace(&trace);
	kill(trace.pid, SIGHUP);
	tool_wait(&trace);
	tool_expect_exit(&trace, 0);
	ck_assert_str_eq(trace.out, "");
}
END_TEST

/* Two logs, and the table as ever. */
START_TEST(several)
{
	struct tool trace = {
		.args = LIST("--kind=exit", "--with=audit:file=a", "--with=audit:file=b"),
	};
	pid_t pid;

	start_trace(&trace);
	pid = run_tiny("7");
	sleep_ms(200);
	kill(trace.pid, SIGINT);
	tool_wait(&trace);
	tool_expect_exit(&trace, 0);
	ck_assert(is_logged("a", "exit", pid) && is_logged("b", "exit", pid));
	ck_assert(strstr(trace.out, format("\t%d\t", pid)));
}
END_TEST

START_TEST(trace_refused)
{
	struct tool trace = {
		.command = "trace",
		.args = LIST("-q", "--with=audit:file=/nonexistent/log"),
	};

	tool_expect_refused(&trace, 125, "/nonexistent/log");
	trace.args = LIST("--with=nonsense");
	tool_expect_refused(&trace, 125, "audit");
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "run", 120);

	tcase_add_test(tcase, every_line);
	tcase_add_test(tcase, appended);
	tcase_add_test(tcase, refused);
	tcase_add_test(tcase, above_the_rate);
	tcase_add_test(tcase, full_disk_and_room_again);
	tcase_add_test(tcase, full_disk);
	tcase_add_test(tcase, rotation_loses_nothing);
	tcase_add_test(tcase, reader_sleeps);
	tcase_add_test(tcase, nobody_reads);
	tcase_add_test(tcase, readers_change);
	tcase_add_test(tcase, to_syslog);
	tcase_add_test(tcase, to_the_journal);
	if (!test_source_is("bpf"))
		return; /* ptrace does not hear the whole system */
	tcase = test_case(suite, "trace", 60);
	tcase_add_test(tcase, traced);
	tcase_add_test(tcase, hangup_ends_a_trace);
	tcase_add_test(tcase, several);
	tcase_add_test(tcase, trace_refused);
}
