/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_terminal.c - job control: on a pseudo-terminal, under a small shell of our own, `knell run`
 * is interrupted, stopped and continued as the command alone would be.
 *
 * The small shell leads the session, starts the job in a process group of its own and makes it the
 * foreground; it writes what wait(2) tells of the job to "job", and continues it when "fg" exists.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "support.h"

const char test_suite_name[] = "terminal";

struct terminal {
	int fd;
	pid_t shell, job;
};

static void become_foreground(pid_t pgid)
{
	sigset_t set, old;

	/* A background process may only do this while SIGTTOU is blocked. */
	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, &old);
	tcsetpgrp(STDIN_FILENO, pgid);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void say(const char *word, int number)
{
	int fd = open("job", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	dprintf(fd, "%s %d\n", word, number);
	close(fd);
}

static void await_file(const char *path)
{
	while (!file_exists(path))
		sleep_ms(2);
	unlink(path);
}

static void be_shell(const char *const argv[])
{
	pid_t job = fork();
	int status;

	if (job == 0) {
		setpgid(0, 0);
		become_foreground(getpid());
		execv(argv[0], (char *const *)argv);
		_exit(198);
	}
	setpgid(job, job);
	say("started", job);
	for (;;) {
		if (waitpid(job, &status, WUNTRACED) != job)
			_exit(1);
		become_foreground(getpgrp());
		if (!WIFSTOPPED(status))
			break;
		say("stopped", WSTOPSIG(status));
		await_file("fg");
		become_foreground(job);
		kill(-job, SIGCONT);
		say("continued", job);
	}
	say("ended", status);
	_exit(0);
}

static void start_job(struct terminal *terminal, const char *const argv[])
{
	struct winsize size = { .ws_row = 25, .ws_col = 80 };

	terminal->shell = forkpty(&terminal->fd, NULL, NULL, &size);
	ck_assert_msg(terminal->shell >= 0, "forkpty: %s", strerror(errno));
	if (terminal->shell == 0)
		be_shell(argv);
	fcntl(terminal->fd, F_SETFD, FD_CLOEXEC);
	terminal->job = await_number("job", "started");
}

/* `deaths wait`, or what else, under `knell run`. */
static void start_run(struct terminal *terminal, const char *option, const char *mode)
{
	char *source;

	if (asprintf(&source, "--source=%s", test_source()) < 0)
		ck_abort_msg("out of memory");
	start_job(terminal, LIST(test_knell(), "run", source, option, "--", test_program("deaths"),
				 "--ready", "truth", mode));
}

/* Afterwards the job is in the foreground again. */
static void continue_job(const struct terminal *terminal)
{
	char *text;

	unlink("job");
	write_file("fg", "");
	ck_assert_int_eq(await_number("job", "continued"), terminal->job);
	sleep_ms(150); /* in vain, if all is well */
	text = read_file("job");
	ck_assert_msg(text && !strstr(text, "stopped"), "continued, it stopped again: %s", text);
	unlink("job");
}

static void type(const struct terminal *terminal, char key)
{
	ck_assert_int_eq(write(terminal->fd, &key, 1), 1);
}

/* What was written to the terminal so far, until it is silent. */
static char *screen(const struct terminal *terminal)
{
	static char text[65536];
	size_t len = strlen(text);
	struct pollfd pollfd = { .fd = terminal->fd, .events = POLLIN };

	while (len < sizeof(text) - 1 && poll(&pollfd, 1, 50) > 0) {
		ssize_t got = read(terminal->fd, text + len, sizeof(text) - 1 - len);

		if (got <= 0)
			break;
		len += (size_t)got;
	}
	return text;
}

static void expect_end(const struct terminal *terminal, int status)
{
	int ended = await_number("job", "ended");

	ck_assert_msg(ended == status, "the job ended with %#x, not %#x; the screen:\n%s",
		      (unsigned int)ended, (unsigned int)status, screen(terminal));
	ck_assert_int_eq(await_exit(terminal->shell), 0);
}

START_TEST(interrupt_key)
{
	struct terminal terminal;
	pid_t victim;

	start_run(&terminal, "--quiet", "wait");
	victim = await_number("truth", "ready");
	type(&terminal, '\003');
	expect_end(&terminal, W_EXITCODE(0, SIGINT));
	ck_assert_msg(await_state(victim, ""), "the command lives on");
}
END_TEST

START_TEST(quit_key)
{
	struct terminal terminal;

	start_run(&terminal, "--quiet", "wait");
	await_number("truth", "ready");
	type(&terminal, '\034');
	/* Knell itself dumps no core, whatever the command did. */
	expect_end(&terminal, W_EXITCODE(0, SIGQUIT));
}
END_TEST

START_TEST(interrupt_is_told_as_the_terminal)
{
	struct terminal terminal;
	struct records records;
	const struct record *record;

	if (test_source_is("none"))
		test_skip("source none hears nothing");
	start_run(&terminal, "--json=json", "wait");
	await_number("truth", "ready");
	type(&terminal, '\003');
	expect_end(&terminal, W_EXITCODE(0, SIGINT));
	read_records(&records, "json");
	record = find_record(&records, "exit", await_number("truth", "ready"));
	ck_assert_int_eq(record->signal, SIGINT);
	ck_assert_msg(!strcmp(record->reason, "terminal"), "%s", record->text);
	ck_assert_msg(!record->sender.known, "%s", record->text);
}
END_TEST

/* A command that handles ^C by itself and goes on is not ended by it. */
START_TEST(interrupt_that_is_caught)
{
	static const char script[] = "trap 'echo caught >caught' INT; echo ready $$ >truth;"
				     " while [ ! -e end ]; do \"$0\" </dev/null; done; exit 9";
	struct terminal terminal;
	char *source;

	if (asprintf(&source, "--source=%s", test_source()) < 0)
		ck_abort_msg("out of memory");
	start_job(&terminal, LIST(test_knell(), "run", source, "--quiet", "--", "/bin/sh", "-c",
				  script, test_program("relay")));
	await_number("truth", "ready");
	sleep_ms(50);
	type(&terminal, '\003');
	while (!file_exists("caught")) /* the test's limit ends this */
		sleep_ms(5);
	sleep_ms(50);
	ck_assert_msg(process_state(terminal.job), "knell ended before its command");
	write_file("end", "");
	expect_end(&terminal, W_EXITCODE(9, 0));
}
END_TEST

START_TEST(stop_and_continue)
{
	struct terminal terminal;
	pid_t victim;
	int round;

	start_run(&terminal, "--quiet", "wait");
	victim = await_number("truth", "ready");
	ck_assert(await_state(victim, "S"));
	for (round = 0; round < 2; round++) {
		type(&terminal, '\032');
		ck_assert_int_eq(await_number("job", "stopped"), SIGTSTP);
		ck_assert_msg(await_state(victim, "Tt"), "the command is in state '%c'",
			      shown_state(victim));
		ck_assert_msg(await_state(terminal.job, "T"), "knell is in state '%c'",
			      shown_state(terminal.job));
		continue_job(&terminal);
		ck_assert_msg(await_state(victim, "S"), "the command is in state '%c'",
			      shown_state(victim));
		await_foreground(terminal.fd, terminal.job);
	}
	type(&terminal, '\003');
	expect_end(&terminal, W_EXITCODE(0, SIGINT));
}
END_TEST

/* kill -TSTP and -CONT from elsewhere, to knell's pid only. */
START_TEST(stop_by_signal)
{
	struct terminal terminal;
	pid_t victim;

	start_run(&terminal, "--quiet", "wait");
	victim = await_number("truth", "ready");
	kill(terminal.job, SIGTSTP);
	ck_assert_int_eq(await_number("job", "stopped"), SIGTSTP);
	continue_job(&terminal);
	ck_assert(await_state(victim, "S"));
	type(&terminal, '\003');
	expect_end(&terminal, W_EXITCODE(0, SIGINT));
}
END_TEST

/* The command may read the terminal and change it: it is the foreground, or shares it. */
START_TEST(command_reads_the_terminal)
{
	static const char script[] = "echo ready $$ >truth; stty -echo; read line;"
				     " echo \"got $line\" >got; exit 3";
	struct terminal terminal;
	char *source;

	if (asprintf(&source, "--source=%s", test_source()) < 0)
		ck_abort_msg("out of memory");
	start_job(&terminal,
		  LIST(test_knell(), "run", source, "--quiet", "--", "/bin/sh", "-c", script));
	await_number("truth", "ready");
	ck_assert_int_eq(write(terminal.fd, "hello\n", 6), 6);
	expect_end(&terminal, W_EXITCODE(3, 0));
	ck_assert_str_eq(read_file("got"), "got hello\n");
}
END_TEST

START_TEST(progress_is_one_line)
{
	struct terminal terminal;
	const char *text;

	if (test_source_is("none"))
		test_skip("source none hears nothing");
	start_run(&terminal, "--progress", "xcpu"); /* takes a second */
	expect_end(&terminal, W_EXITCODE(0, SIGXCPU));
	text = screen(&terminal);
	ck_assert_msg(strchr(text, '\r') != NULL, "no live line on the screen:\n%s", text);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "terminal", 90);

	tcase_add_test(tcase, interrupt_key);
	tcase_add_test(tcase, quit_key);
	tcase_add_test(tcase, interrupt_is_told_as_the_terminal);
	tcase_add_test(tcase, interrupt_that_is_caught);
	tcase_add_test(tcase, stop_and_continue);
	tcase_add_test(tcase, stop_by_signal);
	tcase_add_test(tcase, command_reads_the_terminal);
	tcase_add_test(tcase, progress_is_one_line);
}
