/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_audit_streams.c - the audit log to a FIFO without reader, with one that comes, sleeps and
 * goes, and to a syslog or a journal that does not read or is started again. Whatever happens, each
 * record is written or counted, and neither dispatch nor close hangs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "audit_log.h"
#include "json_lines.h"
#include "main.h"

/* ---- FIFOs ---- */

static void begin_fifo(const char *options)
{
	log_make_dir();
	ck_assert_int_eq(mkfifo(alog.path, 0600), 0);
	log_begin(options);
}

static void await_input(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, (int)(1000 * unit_patience())), 1);
}

/* Copies what comes until `limit` bytes, or until the writer has closed it. */
static void drain(int fd, const char *to, size_t limit)
{
	int out = open(to, O_WRONLY | O_CREAT | O_APPEND, 0600);
	char buf[4096];
	ssize_t n;

	while (limit && (n = read(fd, buf, limit < sizeof(buf) ? limit : sizeof(buf))) > 0) {
		ck_assert_int_eq(write(out, buf, (size_t)n), n);
		limit -= (size_t)n;
	}
	close(out);
}

START_TEST(test_nobody_reads)
{
	begin_fifo("file=%s,queue=64k");
	log_tell(5000);
	log_await_error(-ENXIO);
	log_finish();
	ck_assert_int_eq(alog.result.error, -ENXIO);
	ck_assert_uint_eq(alog.result.lost, 5000);
	ck_assert(alog.result.stuck);
	log_end();
}
END_TEST

struct reader {
	pthread_t thread;
	int fd;
};

static void *read_all(void *arg)
{
	struct reader *reader = arg;

	drain(reader->fd, alog.other, SIZE_MAX);
	close(reader->fd);
	return NULL;
}

static int open_reader(void)
{
	int fd = open(alog.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	log_await_error(0);
	fcntl(fd, F_SETFL, 0);
	return fd;
}

/* It gets the oldest first, and then what was lost while it was not there. */
START_TEST(test_reader_comes)
{
	struct reader reader;
	struct log_sum sum = { 0 };
	uint64_t next = 0;

	begin_fifo("file=%s,queue=64k");
	log_tell(5000);
	log_await_error(-ENXIO);
	reader.fd = open_reader();
	ck_assert_int_eq(pthread_create(&reader.thread, NULL, read_all, &reader), 0);
	log_tell(10);
	log_finish();
	pthread_join(reader.thread, NULL);
	ck_assert(!alog.result.stuck);
	log_add_up(&sum, alog.other, &next);
	ck_assert(!sum.torn);
	ck_assert_uint_gt(sum.lost, 0);
	ck_assert_uint_eq(sum.records + sum.lost, 5010);
	ck_assert_uint_eq(alog.result.lost, sum.lost);
	ck_assert_uint_eq(sum.summaries, 1);
	log_end();
}
END_TEST

/* The next one begins with a whole line, and is told where the log comes from. */
START_TEST(test_reader_goes)
{
	struct reader reader;
	struct lines lines;

	begin_fifo("file=%s,queue=1M");
	reader.fd = open(alog.path, O_RDONLY | O_NONBLOCK);
	log_tell(2000);         /* more than the pipe takes: the last line in it is torn */
	await_input(reader.fd); /* it does not go before something is written */
	fcntl(reader.fd, F_SETFL, 0);
	drain(reader.fd, alog.other, 5000);
	close(reader.fd);
	unlink(alog.other);
	log_await_error(-ENXIO); /* and no SIGPIPE */
	reader.fd = open_reader();
	ck_assert_int_eq(pthread_create(&reader.thread, NULL, read_all, &reader), 0);
	log_tell(10);
	log_finish();
	pthread_join(reader.thread, NULL);
	lines = lines_read(alog.other);
	ck_assert(!lines.torn);
	ck_assert(is_true(lines.values[0], "knell.continued"));
	for (size_t i = 2; i + 1 < lines.count; i++)
		ck_assert_int_eq(number_of(lines.values[i], "knell.seq"),
				 number_of(lines.values[i - 1], "knell.seq") + 1);
	ck_assert_str_eq(text_of(lines.values[lines.count - 1], "knell.event"), "summary");
	lines_free(&lines);
	ck_assert_uint_eq(alog.result.lost, 0); /* what lies in a pipe is its reader's to lose */
	log_end();
}
END_TEST

/* A reader that sleeps holds nobody up; close() does not wait for it for ever. */
START_TEST(test_reader_sleeps)
{
	struct log_sum sum = { 0 };
	uint64_t next = 0;
	int fd;

	log_make_dir();
	ck_assert_int_eq(mkfifo(alog.path, 0600), 0);
	fd = open(alog.path, O_RDONLY | O_NONBLOCK);
	log_begin("file=%s,queue=64k");
	log_tell(10000);
	log_tell(10000);
	log_finish();
	ck_assert(alog.result.stuck);
	ck_assert_int_eq(alog.result.error, 0); /* it is slow, that is all */
	fcntl(fd, F_SETFL, 0);
	drain(fd, alog.other, SIZE_MAX);
	close(fd);
	log_add_up(&sum, alog.other, &next);
	ck_assert_uint_gt(sum.records, 0);
	ck_assert_uint_eq(alog.result.records, 20000);
	ck_assert_uint_eq(sum.records + alog.result.lost, 20000);
	log_end();
}
END_TEST

/* ---- sockets ---- */

static int bind_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", alog.path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static char datagram[300000];

/* The next one and its length; waits a little for it. */
static size_t receive(int fd)
{
	ssize_t n;

	await_input(fd);
	n = recv(fd, datagram, sizeof(datagram) - 1, 0);
	ck_assert_int_gt(n, 0);
	datagram[n] = '\0';
	return (size_t)n;
}

static void expect_json(const char *json, const char *event)
{
	char error[256] = "";
	yajl_val value = yajl_tree_parse(json, error, sizeof(error));

	ck_assert_msg(value, "%s: %s", error, json);
	ck_assert_str_eq(text_of(value, "knell.event"), event);
	yajl_tree_free(value);
}

static void expect_syslog(int fd, int priority, const char *event)
{
	char expected[32], *json;

	receive(fd);
	snprintf(expected, sizeof(expected), "<%d>", priority);
	ck_assert_msg(!strncmp(datagram, expected, strlen(expected)), "%s", datagram);
	snprintf(expected, sizeof(expected), " knell[%d]: ", getpid());
	json = strstr(datagram, expected);
	ck_assert_msg(json, "%s", datagram);
	/* "Jan 31 12:34:56" */
	ck_assert_int_eq(json - strchr(datagram, '>') - 1, 15);
	expect_json(json + strlen(expected), event);
}

START_TEST(test_syslog)
{
	int fd;

	log_make_dir();
	fd = bind_socket();
	log_begin("syslog=%s");
	story_tell(alog.story, story_birth(alog.story, 11, 10, "make"));
	story_tell(alog.story, story_exit(alog.story, 11, KILLED(SIGTERM)));
	story_tell(alog.story, story_gap(alog.story, 1, 2, 3, KNELL_GAP_RING));
	story_dispatch(alog.story);
	expect_syslog(fd, 30, "start");
	expect_syslog(fd, 30, "clone");
	expect_syslog(fd, 29, "exit");
	expect_syslog(fd, 28, "gap");
	log_finish();
	expect_syslog(fd, 30, "summary");
	ck_assert_uint_eq(alog.result.lost, 0);
	close(fd);
	log_end();
}
END_TEST

/* One entry, and its message; each field is NAME=VALUE, or NAME, a length and any bytes. */
static size_t expect_journal(int fd, const char *event, const char *field)
{
	size_t len = receive(fd);
	const char *message = memmem(datagram, len, "\nMESSAGE=", 9);

	ck_assert(message && datagram[len - 1] == '\n');
	ck_assert(!memchr(message + 9, '\n', (size_t)(datagram + len - 1 - message - 9)));
	ck_assert(memmem(datagram, len, "\nSYSLOG_IDENTIFIER=knell\n", 25));
	ck_assert_msg(!field || memmem(datagram, len, field, strlen(field)), "%s", field);
	expect_json(message + 9, event);
	return len;
}

START_TEST(test_journal)
{
	int fd;

	log_make_dir();
	fd = bind_socket();
	log_begin("journal=%s");
	story_tell(alog.story, story_birth(alog.story, 11, 10, "ma\nke"));
	story_tell(alog.story, story_exit(alog.story, 11, KILLED(SIGTERM)));
	story_dispatch(alog.story);
	expect_journal(fd, "start", "PRIORITY=6\n");
	expect_journal(fd, "clone", "KNELL_COMM\n\x05");
	ck_assert(strstr(datagram, "KNELL_EVENT=clone\n"));
	expect_journal(fd, "exit", "KNELL_SIGNAL=15\n");
	ck_assert(strstr(datagram, "KNELL_PID=11\n") && strstr(datagram, "PRIORITY=5\n"));
	log_finish();
	expect_journal(fd, "summary", NULL);
	close(fd);
	log_end();
}
END_TEST

/* The longest line that there can be goes out, too. */
START_TEST(test_long_line)
{
	static char args[16384];
	int fd;

	log_make_dir();
	fd = bind_socket();
	log_begin("journal=%s,args");
	memset(args, 1, sizeof(args));
	args[sizeof(args) - 1] = '\0';
	story_tell(alog.story, story_exec_args(alog.story, 12, "/bin/cc", 7, args, sizeof(args)));
	story_dispatch(alog.story);
	expect_journal(fd, "start", NULL);
	ck_assert_uint_gt(expect_journal(fd, "exec", NULL), 90000);
	log_finish();
	ck_assert_uint_eq(alog.result.lost, 0);
	close(fd);
	log_end();
}
END_TEST

static _Atomic unsigned int send_fails; /* this call of them all; 0: none */

/* In place of libc's: a limit on datagrams, as other machines may have it. */
ssize_t sendmsg(int __fd, const struct msghdr *__message, int __flags) /* NOLINT: libc's names */
{
	if (send_fails && --send_fails == 0) {
		errno = EMSGSIZE;
		return -1;
	}
	return syscall(SYS_sendmsg, __fd, __message, __flags);
}

/* A line that no datagram holds is lost alone, and counted where it is missing. */
START_TEST(test_too_long)
{
	struct log_sum sum = { 0 };
	uint64_t next = 0;
	FILE *file;
	int fd;

	log_make_dir();
	fd = bind_socket();
	send_fails = 4;
	log_begin("journal=%s");
	log_tell(7);
	log_finish();
	file = fopen(alog.other, "we");
	while (recv(fd, datagram, sizeof(datagram) - 1, 0) > 0) {
		const char *message = memmem(datagram, sizeof(datagram), "\nMESSAGE=", 9);

		ck_assert(file && message);
		fprintf(file, "%.*s\n", (int)strcspn(message + 9, "\n"), message + 9);
	}
	ck_assert_int_eq(fclose(file), 0);
	log_add_up(&sum, alog.other, &next);
	ck_assert_uint_eq(sum.records, 6);
	ck_assert_uint_eq(sum.lost, 1);
	ck_assert_uint_eq(next, 7);
	ck_assert_uint_eq(sum.summaries, 1);
	ck_assert_uint_eq(alog.result.lost, 1);
	ck_assert(!alog.result.stuck);
	close(fd);
	log_end();
}
END_TEST

/* A daemon that hangs: what it has not taken is counted. */
START_TEST(test_daemon_sleeps)
{
	uint64_t records = 0;
	int fd;

	log_make_dir();
	fd = bind_socket();
	log_begin("syslog=%s,queue=64k");
	log_tell(20000);
	log_finish();
	ck_assert(alog.result.stuck);
	while (recv(fd, datagram, sizeof(datagram) - 1, 0) > 0) {
		records += strstr(datagram, "\"knell.scope\"") != NULL;
		memset(datagram, 0, 1024);
	}
	ck_assert_uint_gt(records, 0);
	ck_assert_uint_eq(records + alog.result.lost, 20000);
	close(fd);
	log_end();
}
END_TEST

/* A daemon that was started again: records wait for it. */
START_TEST(test_daemon_restarts)
{
	int fd;

	log_make_dir();
	fd = bind_socket();
	log_begin("journal=%s");
	log_tell(2);
	expect_journal(fd, "start", NULL);
	expect_journal(fd, "clone", NULL);
	expect_journal(fd, "exit", NULL);
	close(fd);
	log_tell(2);
	log_await_error(-ECONNREFUSED);
	unlink(alog.path);
	log_await_error(-ENOENT);
	fd = bind_socket();
	expect_journal(fd, "clone", NULL);
	expect_journal(fd, "exit", NULL);
	log_await_error(0);
	log_finish();
	ck_assert_uint_eq(alog.result.lost, 0);
	close(fd);
	log_end();
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("audit_streams");
	TCase *tcase = unit_case(suite, "fifos");
	tcase_set_timeout(tcase, 90);
	tcase_add_test(tcase, test_nobody_reads);
	tcase_add_test(tcase, test_reader_comes);
	tcase_add_test(tcase, test_reader_goes);
	tcase_add_test(tcase, test_reader_sleeps);
	tcase = unit_case(suite, "sockets");
	tcase_set_timeout(tcase, 90);
	tcase_add_test(tcase, test_syslog);
	tcase_add_test(tcase, test_journal);
	tcase_add_test(tcase, test_long_line);
	tcase_add_test(tcase, test_too_long);
	tcase_add_test(tcase, test_daemon_sleeps);
	tcase_add_test(tcase, test_daemon_restarts);
	return suite;
}
