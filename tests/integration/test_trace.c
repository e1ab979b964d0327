/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_trace.c - `knell trace`: filters, kinds, limits, both outputs, and each way to end it. The
 * rest of the machine goes on meanwhile, so tests look for their own processes in what is told.
 */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroups.h"
#include "tool.h"

const char test_suite_name[] = "trace";

static const char *number(long n)
{
	char *text;

	if (asprintf(&text, "%ld", n) < 0)
		ck_abort_msg("out of memory");
	return text;
}

/* Every test has its own name for what it runs. */
static const char *named_tiny(const char *name)
{
	char *path;

	if (asprintf(&path, "./%s", name) < 0)
		ck_abort_msg("out of memory");
	unlink(path);
	ck_assert(!symlink(test_program("tiny"), path));
	return path;
}

static pid_t run_tiny(const char *path, int code)
{
	pid_t pid = spawn(NULL, LIST(path, number(code), "an argument"));

	ck_assert_int_eq(await_exit(pid), W_EXITCODE(code, 0));
	return pid;
}

/* What happened is in the rings at most a batch later. */
static void end_trace(struct tool *trace)
{
	sleep_ms(200);
	kill(trace->pid, SIGINT);
	tool_wait(trace);
	tool_expect_exit(trace, 0);
}

static void start_json(struct tool *trace)
{
	trace->command = "trace";
	trace->how.out = "trace.json";
	tool_start(trace);
	tool_await_listening(trace);
}

static void end_json(struct tool *trace, struct records *records)
{
	end_trace(trace);
	read_records(records, "trace.json");
	expect_no_loss(records);
}

/* ---- what is told ---- */

START_TEST(whole_system)
{
	struct tool trace = { .args = LIST("--json") };
	const char *tiny = named_tiny("kn-whole");
	struct records records;
	const struct record *exit;
	pid_t pid;

	start_json(&trace);
	pid = run_tiny(tiny, 7);
	end_json(&trace, &records);
	exit = find_record(&records, "exit", pid);
	ck_assert(exit && find_record(&records, "clone", pid) &&
		  find_record(&records, "exec", pid));
	ck_assert_int_eq(exit->code, 7);
	if (test_source_in_kernel())
		ck_assert_str_eq(exit->name, "kn-whole");
	ck_assert_int_eq(find_record(&records, "clone", pid)->ppid, getpid());
	if (test_source_in_kernel())
		ck_assert_str_eq(find_record(&records, "exec", pid)->path, tiny);
}
END_TEST

START_TEST(kinds)
{
	struct tool trace = { .args = LIST("--json", "--kind=exit,exec") };
	struct records records;
	pid_t pid;

	start_json(&trace);
	pid = run_tiny(named_tiny("kn-kinds"), 7);
	end_json(&trace, &records);
	ck_assert(find_record(&records, "exit", pid) && find_record(&records, "exec", pid));
	ck_assert_uint_eq(count_events(&records, "clone"), 0);
}
END_TEST

START_TEST(of_a_name)
{
	struct tool trace = { .args = LIST("--json", "--comm=kn-comm") };
	struct records records;
	const struct record *record;
	const char *other = named_tiny("kn-other");
	pid_t pid;

	if (!test_source_in_kernel()) {
		trace.command = "trace";
		tool_expect_refused(&trace, 125, "bpf");
		return;
	}
	start_json(&trace);
	run_tiny(other, 8);
	pid = run_tiny(named_tiny("kn-comm"), 7);
	run_tiny(other, 8);
	end_json(&trace, &records);
	ck_assert(find_record(&records, "exit", pid));
	for (record = records.all; record < records_end(&records); record++) {
		if (record->pid)
			ck_assert_int_eq(record->pid, pid);
	}
}
END_TEST

static void become_4242(void)
{
	if (setgid(4242) || setuid(4242))
		_exit(197);
}

START_TEST(of_a_user)
{
	struct tool trace = { .args = LIST("--json", "--uid=4242") };
	struct spawn how = { .prepare = become_4242 };
	struct records records;
	const struct record *record;
	pid_t pid;

	if (getuid() != 0)
		test_skip("only root can become somebody else");
	need_open_build();
	start_json(&trace);
	run_tiny(named_tiny("kn-root"), 8);
	pid = spawn(&how, LIST(test_program("tiny"), "7"));
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(7, 0));
	end_json(&trace, &records);
	ck_assert(find_record(&records, "exit", pid));
	for (record = records.all; record < records_end(&records); record++) {
		if (record->pid)
			ck_assert_int_eq(record->pid, pid);
	}
}
END_TEST

START_TEST(of_a_cgroup)
{
	struct cgroup cgroup;
	const char *why = cgroup_with_kill(&cgroup), *option;
	struct tool trace = { 0 };
	struct records records;
	const struct record *record;
	pid_t pid;

	if (why)
		test_skip("%s", why);
	ck_assert(asprintf((char **)&option, "--cgroup=%s", cgroup.dir) > 0);
	trace.args = LIST("--json", option);
	if (!test_source_in_kernel()) {
		trace.command = "trace";
		tool_expect_refused(&trace, 125, "bpf");
		cgroup_remove(&cgroup);
		return;
	}
	start_json(&trace);
	run_tiny(named_tiny("kn-outside"), 8);
	pid = spawn(NULL, LIST("/bin/sh", "-c", "echo $$ >$0/cgroup.procs; exec $1 7", cgroup.dir,
			       test_program("tiny")));
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(7, 0));
	end_json(&trace, &records);
	cgroup_remove(&cgroup);
	ck_assert(find_record(&records, "exit", pid));
	for (record = records.all; record < records_end(&records); record++) {
		if (record->pid)
			ck_assert_int_eq(record->pid, pid);
	}
}
END_TEST

START_TEST(cgroup_vanishes)
{
	struct cgroup cgroup;
	const char *why, *option;
	struct tool trace = { .command = "trace" };
	pid_t pid;

	if (!test_source_is("bpf"))
		test_skip("the %s source tells no cgroups", test_source());
	why = cgroup_with_kill(&cgroup);
	if (why)
		test_skip("%s", why);
	ck_assert(asprintf((char **)&option, "--cgroup=%s", cgroup.dir) > 0);
	trace.args = LIST(option);
	tool_start(&trace);
	tool_await_listening(&trace);
	pid = spawn(NULL, LIST("/bin/sh", "-c", "echo $$ >$0/cgroup.procs; exec $1 7", cgroup.dir,
			       test_program("tiny")));
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(7, 0));
	cgroup_remove(&cgroup);
	tool_wait(&trace);
	tool_expect_exit(&trace, 0);
	ck_assert_msg(strstr(trace.err, "was removed"), "no notice: %s", trace.err);
	ck_assert_msg(strstr(trace.out, "exited 7"), "a death is missing: %s", trace.out);
}
END_TEST

START_TEST(of_a_subtree)
{
	struct tool trace = { .command = "trace" };
	pid_t pid;

	pid = start_family();
	trace.args = LIST("--pid", number(pid));
	tool_start(&trace);
	tool_await_listening(&trace);
	let_family_go();
	ck_assert_int_eq(await_exit(pid), W_EXITCODE(5, 0));
	tool_wait(&trace); /* it ends with the last of them */
	tool_expect_exit(&trace, 0);
	ck_assert_msg(strstr(trace.out, "exited 3") && strstr(trace.out, "exited 4") &&
			      strstr(trace.out, "exited 5"),
		      "a death is missing:\n%s", trace.out);
	ck_assert_uint_eq(count_of(trace.out, "\texit\t"), 3);
	ck_assert_uint_eq(count_of(trace.out, "\texec\t"), 1);
}
END_TEST

/*
 * It is held, dies and is waited for before its watch is set. What holds knell up in between is a
 * plugin that opens a FIFO for writing.
 */
static void trace_of_the_dead(struct tool *trace, const char *option)
{
	pid_t pid = start_victim("kn-window");
	const char *plugin;
	int fd;

	ck_assert(asprintf((char **)&plugin, "--plugin=%s:hold", test_program("teller.so")) > 0);
	mkfifo("hold", 0600);
	trace->command = "trace";
	trace->args = LIST(option, plugin, "--pid", number(pid));
	tool_start(trace);
	tool_await_holding(trace, pid);
	kill_victim(pid, SIGKILL);
	fd = open("hold", O_RDONLY | O_CLOEXEC); /* it goes on */
	tool_wait(trace);
	close(fd);
	tool_expect_exit(trace, 0);
	trace->pid = pid;
}

START_TEST(dead_while_opening)
{
	struct tool trace = { 0 }, json = { .name = "json" }, births = { .name = "births" };
	struct records records;
	const char *line;

	trace_of_the_dead(&trace, "--kind=clone,exit");
	ck_assert(asprintf((char **)&line, "\texit\t%d\t", trace.pid) > 0);
	ck_assert_msg(strstr(trace.out, line) && line_count(trace.out) == 1, "%s", trace.out);
	ck_assert_msg(strstr(trace.out, "\tkn-window\t"), "no name: %s", trace.out);
	ck_assert_msg(strstr(trace.err, "1 event, 0 lost"), "%s", trace.err);
	trace_of_the_dead(&json, "--json");
	read_records(&records, "json.out");
	ck_assert_uint_eq(count_events(&records, "exit"), 1);
	ck_assert(find_record(&records, "exit", json.pid));
	trace_of_the_dead(&births, "--kind=clone");
	ck_assert_msg(!*births.out, "%s", births.out);
}
END_TEST

START_TEST(arguments)
{
	struct tool trace = { .command = "trace", .args = LIST("--args", "--kind=exec") };
	const char *tiny = named_tiny("kn-args");

	tool_start(&trace);
	tool_await_listening(&trace);
	run_tiny(tiny, 7);
	end_trace(&trace);
	if (test_source_is("bpf"))
		ck_assert_msg(strstr(trace.out, "\t./kn-args 7 an argument\n"), "none:\n%s",
			      trace.out);
	else
		ck_assert_msg(strstr(trace.err, "arguments"), "nothing is said: %s", trace.err);
}
END_TEST

/* ---- the table ---- */

static const char *find_line(const char *text, pid_t pid, const char *event)
{
	char pattern[64];
	const char *p, *line;

	snprintf(pattern, sizeof(pattern), "\t%s\t%d\t", event, pid);
	p = strstr(text, pattern);
	ck_assert_msg(p, "no %s of %d in:\n%.2000s", event, pid, text);
	for (line = p; line > text && line[-1] != '\n'; line--)
		;
	return line;
}

static unsigned int tabs_in(const char *line)
{
	unsigned int tabs = 0;

	for (; *line && *line != '\n'; line++)
		tabs += *line == '\t';
	return tabs;
}

START_TEST(table_for_programs)
{
	struct tool trace = { .command = "trace" };
	const char *line;
	char name[32] = "", what[32] = "", summary[200];
	double lived = -1, began;
	int ppid = 0;
	pid_t pid, victim;

	victim = start_victim("kn-old");
	tool_start(&trace);
	tool_await_listening(&trace);
	began = now();
	pid = run_tiny(named_tiny("kn-table"), 7);
	kill_victim(victim, SIGKILL);
	end_trace(&trace);
	ck_assert_msg(trace.out[0] >= '0' && trace.out[0] <= '9', "a header: %.80s", trace.out);
	line = find_line(trace.out, pid, "exit");
	ck_assert_uint_eq(tabs_in(line), 7);
	ck_assert_int_eq(sscanf(line, "%*[0-9:.]\texit\t%*d\t%d\t%*[^\t]\t%lf\t%31[^\t]\t%31[^\n]",
				&ppid, &lived, name, what),
			 4);
	ck_assert_int_eq(ppid, getpid());
	ck_assert(lived >= 0 && lived < now() - began + 1);
	ck_assert_str_eq(name, test_source_in_kernel() ? "kn-table" : "?");
	ck_assert_str_eq(what, "exited 7");
	ck_assert_uint_eq(tabs_in(find_line(trace.out, pid, "clone")), 7);
	ck_assert_uint_eq(tabs_in(find_line(trace.out, pid, "exec")), 7);
	ck_assert(strstr(find_line(trace.out, victim, "exit"), "\tkilled by SIGKILL"));
	line = strstr(trace.err, " events, "); /* a notice may come first */
	ck_assert_msg(line && sscanf(line, " events, %199[^,]", summary) == 1, "%s", trace.err);
	ck_assert_str_eq(summary, "0 lost");
}
END_TEST

#define SCREEN 4000000u

/* Appends what the terminal shows within this time; false: nothing. */
static bool read_screen(int terminal, char *text, double seconds)
{
	struct pollfd p = { .fd = terminal, .events = POLLIN };
	size_t size = strlen(text);
	ssize_t n;

	if (poll(&p, 1, (int)(1000 * seconds)) <= 0)
		return false;
	n = read(terminal, text + size, SCREEN - size);
	return n > 0;
}

/* What a terminal shows until our process is told. */
static char *on_a_terminal(const char *source, const char *no_color, char line[32])
{
	char *text = calloc(1, SCREEN + 1), *tiny = strdup(named_tiny("kn-tty"));
	double end = now() + test_seconds(30);
	char rest[4096];
	int terminal;
	pid_t pid = forkpty(&terminal, NULL, NULL, NULL);

	ck_assert(text && pid >= 0);
	if (pid == 0) {
		setenv("NO_COLOR", no_color, 1);
		setenv("TERM", "xterm", 1);
		execl(test_knell(), "knell", "trace", source, "--kind=exit", NULL);
		_exit(198);
	}
	/* A full terminal would hold it up, and others die on this machine, too. */
	while (!tool_is_listening(pid) && now() < end)
		read_screen(terminal, text, 0.01);
	snprintf(line, 32, "exit  %7d ", run_tiny(tiny, 7));
	while (!strstr(text, line) || !strchr(strstr(text, line), '\n')) {
		if (!read_screen(terminal, text, test_seconds(30)))
			break;
	}
	ck_assert(write(terminal, "\3", 1) == 1); /* Ctrl-C */
	while (read(terminal, rest, sizeof(rest)) > 0)
		; /* a full terminal would hold it up */
	ck_assert_int_eq(await_exit(pid), 0);
	close(terminal);
	return text;
}

START_TEST(table_for_people)
{
	const char *source;
	char *colour, *plain, *what, line[32];

	ck_assert(asprintf((char **)&source, "--source=%s", test_source()) > 0);
	colour = on_a_terminal(source, "", line);
	ck_assert_msg(strstr(colour, line) && strstr(strstr(colour, line), "\x1b[0m\r\n"),
		      "no colour:\n%.2000s", colour);
	plain = on_a_terminal(source, "1", line);
	ck_assert_msg(strstr(plain, "TIME "), "no header:\n%.2000s", plain);
	ck_assert_msg(!strchr(plain, '\x1b'), "NO_COLOR is not heeded:\n%.2000s", plain);
	what = strstr(plain, line);
	ck_assert_msg(what, "our process is missing");
	what = strstr(what, test_source_in_kernel() ? " kn-tty          exited 7\r\n"
						    : " ?               exited 7\r\n");
	ck_assert_msg(what, "not aligned:\n%.200s", strstr(plain, line));
}
END_TEST

/* ---- the end ---- */

START_TEST(count)
{
	struct tool trace = { .command = "trace", .args = LIST("--count=5") };
	struct tool json = { .args = LIST("--count=5", "--json") };
	const char *tiny = named_tiny("kn-count");
	struct records records;
	size_t i;

	tool_start(&trace);
	start_json(&json);
	tool_await_listening(&trace);
	for (i = 0; i < 20; i++)
		run_tiny(tiny, 0);
	tool_wait(&trace);
	tool_expect_exit(&trace, 0);
	ck_assert_uint_eq(line_count(trace.out), 5);
	ck_assert_msg(strstr(trace.err, "knell: 5 events, 0 lost, "), "%s", trace.err);
	tool_wait(&json);
	tool_expect_exit(&json, 0);
	read_records(&records, "trace.json");
	ck_assert_uint_eq(records.count, 6);
}
END_TEST

START_TEST(duration)
{
	struct tool trace = { .command = "trace", .args = LIST("--duration=0.5s") };
	double began = now();

	tool_run(&trace);
	tool_expect_exit(&trace, 0);
	ck_assert(now() - began >= 0.5 && now() - began < 0.5 + test_seconds(30));
	ck_assert_msg(strstr(trace.err, " lost, "), "no summary: %s", trace.err);
}
END_TEST

static void close_stdout(void)
{
	close(STDOUT_FILENO);
}

START_TEST(stdout_is_closed)
{
	struct tool tool = { .command = "trace", .how.prepare = close_stdout };

	tool.args = LIST("--duration=0.2");
	tool_expect_refused(&tool, 125, "standard output");
	tool.args = LIST("--json", "--duration=0.2");
	tool_expect_refused(&tool, 125, "standard output");
}
END_TEST

START_TEST(nobody_reads)
{
	struct tool trace = { .command = "trace", .how.out = "pipe" };
	const char *tiny = named_tiny("kn-pipe");
	char line[64];
	int reader;

	mkfifo("pipe", 0600);
	reader = open("pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	tool_start(&trace);
	tool_await_listening(&trace);
	while (read(reader, line, sizeof(line)) <= 0) {
		run_tiny(tiny, 0);
		sleep_ms(20);
	}
	close(reader);
	while (process_state(trace.pid) != 'Z') {
		run_tiny(tiny, 0);
		sleep_ms(20);
	}
	trace.how.out = "/dev/null";
	tool_wait(&trace);
	tool_expect_exit(&trace, 0);
	ck_assert_msg(strstr(trace.err, " events, "), "no summary: %s", trace.err);
}
END_TEST

START_TEST(fifo_without_reader)
{
	struct tool trace = { .command = "trace", .args = LIST("--json=fifo") };

	mkfifo("fifo", 0600);
	tool_expect_refused(&trace, 125, "'fifo': nobody reads");
}
END_TEST

/* It hangs in a write; the second signal ends it at the latest. */
START_TEST(reader_hangs)
{
	struct tool trace = { .command = "trace", .how.out = "pipe" };
	const char *tiny = named_tiny("kn-hang");
	double end;
	int reader;

	mkfifo("pipe", 0600);
	reader = open("pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	fcntl(reader, F_SETPIPE_SZ, 4096);
	tool_start(&trace);
	tool_await_listening(&trace);
	for (int i = 0; i < 100; i++)
		run_tiny(tiny, 0);
	sleep_ms(200);
	kill(trace.pid, SIGINT);
	for (end = now() + test_seconds(1); process_state(trace.pid) != 'Z' && now() < end;)
		sleep_ms(10);
	if (process_state(trace.pid) != 'Z')
		kill(trace.pid, SIGINT);
	trace.how.out = "/dev/null";
	tool_wait(&trace);
	ck_assert_msg(trace.status == 0 || trace.status == W_EXITCODE(0, SIGINT), "wait status %#x",
		      (unsigned int)trace.status);
	close(reader);
}
END_TEST

START_TEST(full_disk)
{
	struct tool trace = { .command = "trace", .how.out = "/dev/full" };
	const char *tiny = named_tiny("kn-full");

	if (!file_exists("/dev/full"))
		test_skip("there is no /dev/full here");
	tool_start(&trace);
	tool_await_listening(&trace);
	run_tiny(tiny, 0);
	trace.how.out = "/dev/null";
	tool_wait(&trace);
	tool_expect_exit(&trace, 125);
	ck_assert_msg(strstr(trace.err, "standard output"), "no clear error: %s", trace.err);
}
END_TEST

START_TEST(terminated)
{
	static const int signos[] = { SIGTERM, SIGHUP, SIGINT };
	size_t i;

	for (i = 0; i < 3; i++) {
		struct tool trace = { .args = LIST("--json") };
		struct records records;

		start_json(&trace);
		kill(trace.pid, signos[i]);
		tool_wait(&trace);
		tool_expect_exit(&trace, 0);
		read_records(&records, "trace.json"); /* its last line is the summary */
	}
}
END_TEST

START_TEST(json_to_a_file)
{
	struct tool trace = { .command = "trace", .args = LIST("--json=file.json") };
	struct records records;
	pid_t pid;

	tool_start(&trace);
	tool_await_listening(&trace);
	pid = run_tiny(named_tiny("kn-file"), 7);
	end_trace(&trace);
	ck_assert_msg(!*trace.out, "it wrote to stdout: %s", trace.out);
	ck_assert_msg(strstr(trace.err, " lost, "), "no summary: %s", trace.err);
	read_records(&records, "file.json");
	ck_assert(find_record(&records, "exit", pid));
}
END_TEST

START_TEST(bad_input)
{
	static const struct {
		const char *option;
		int code;
		const char *named;
	} bad[] = {
		{ "--pid=0", 125, "0" },
		{ "--pid=-1", 125, "-1" },
		{ "--pid=abc", 125, "abc" },
		{ "--pid=99999999999", 125, "99999999999" },
		{ "--pid=2147483647", 127, "2147483647" },
		{ "--uid=kn-no-user", 127, "kn-no-user" },
		{ "--uid=-1", 127, "-1" },
		{ "--comm=", 125, "name" },
		{ "--cgroup=kn", 125, "kn" },
		{ "--kind=exit,birth", 125, "birth" },
		{ "--kind=", 125, "kind" },
		{ "--count=0", 125, "count" },
		{ "--count=x", 125, "x" },
		{ "--duration=0", 125, "0" },
		{ "--duration=x", 125, "x" },
		{ "--reserve=0", 125, "reserve" },
		{ "--source=nonsense", 125, "nonsense" },
		{ "--json=/no/such/folder/json", 125, "/no/such/folder/json" },
		{ "--nonsense", 125, "nonsense" },
		{ "make", 125, "knell run" },
	};
	struct tool trace = { .command = "trace" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		trace.args = LIST(bad[i].option);
		tool_expect_refused(&trace, bad[i].code, bad[i].named);
	}
	trace.args = LIST("--pid=1", "--uid=0");
	tool_expect_refused(&trace, 125, "--uid");
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "trace", 120);

	tcase_add_test(tcase, whole_system);
	tcase_add_test(tcase, kinds);
	tcase_add_test(tcase, of_a_name);
	tcase_add_test(tcase, of_a_user);
	tcase_add_test(tcase, of_a_cgroup);
	tcase_add_test(tcase, cgroup_vanishes);
	tcase_add_test(tcase, of_a_subtree);
	tcase_add_test(tcase, dead_while_opening);
	tcase_add_test(tcase, arguments);
	tcase_add_test(tcase, table_for_programs);
	tcase_add_test(tcase, table_for_people);
	tcase_add_test(tcase, count);
	tcase_add_test(tcase, duration);
	tcase_add_test(tcase, nobody_reads);
	tcase_add_test(tcase, reader_hangs);
	tcase_add_test(tcase, full_disk);
	tcase_add_test(tcase, terminated);
	tcase_add_test(tcase, json_to_a_file);
	tcase_add_test(tcase, fifo_without_reader);
	tcase_add_test(tcase, stdout_is_closed);
	tcase_add_test(tcase, bad_input);
}
