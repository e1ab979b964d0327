/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_table.c - watchers of modules (KNELL_WATCHER): their order, what they hear of whom, what is
 * counted beyond their reserve, where their code and their entries are, and that they leave safely.
 * The watchers are those of tests/kmod/module/watchers.c.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define MODULE "/sys/module/knell_test/"

/* The first line of a file. */
static const char *line_of(const char *path)
{
	static char line[256];
	FILE *stream = fopen(path, "re");

	ck_assert_msg(stream, "%s: %s", path, strerror(errno));
	if (!fgets(line, sizeof(line), stream))
		line[0] = '\0';
	fclose(stream);
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static void await_story(const char *wanted)
{
	int tries;

	for (tries = 0; tries < 600; tries++) {
		if (strcmp(line_of(MODULE "parameters/story"), wanted) == 0)
			break;
		usleep(50000);
	}
	ck_assert_str_eq(line_of(MODULE "parameters/story"), wanted);
}

struct sums {
	unsigned long long born, dead, lost_born, lost_dead, lost_others, filtered, errors;
};

static struct sums sums(void)
{
	const char *line = line_of(MODULE "parameters/sums");
	struct sums sums;

	ck_assert_int_eq(sscanf(line, "%llu %llu %llu %llu %llu %llu %llu", &sums.born, &sums.dead,
				&sums.lost_born, &sums.lost_dead, &sums.lost_others, &sums.filtered,
				&sums.errors),
			 7);
	return sums;
}

/* How many processes there are now, threads of the kernel too. No zombie is left by tests. */
static unsigned long long living(void)
{
	DIR *folder = opendir("/proc");
	unsigned long long count = 0;
	struct dirent *entry;

	ck_assert_ptr_nonnull(folder);
	while ((entry = readdir(folder)))
		count += isdigit((unsigned char)entry->d_name[0]) != 0;
	closedir(folder);
	return count;
}

/* Waits until who was told, or counted, as born and not as dead are those that live. */
static struct sums await_balance(void)
{
	struct sums now;
	int tries;

	for (tries = 0; tries < 1200; tries++) {
		now = sums();
		if (now.born + now.lost_born == now.dead + now.lost_dead + living())
			break;
		usleep(50000);
	}
	ck_assert_uint_eq(now.born + now.lost_born, now.dead + now.lost_dead + living());
	ck_assert_uint_eq(now.errors, 0);
	return now;
}

static void *tell_forever(void *gate)
{
	gate_wait(gate);
	return NULL;
}

/* Watched from its birth. 0: a thread of the kernel took the number that it was to have. */
static pid_t follow_a_birth(const struct gate *gate)
{
	pid_t pid;

	ck_assert_int_eq(other_load(TEST_KO, "reserve=4096 follow=20001"), 0);
	write_text("/proc/sys/kernel/ns_last_pid", "20000");
	pid = spawn();
	if (!pid) {
		gate_wait(gate);
		if (setgid(1000) || setuid(1000))
			_exit(98);
		execl("/bin/true", "true", (char *)NULL);
		_exit(99);
	}
	if (pid == 20001)
		return pid;
	kill(pid, SIGKILL);
	reap(pid);
	others_unload();
	return 0;
}

/* One life, from birth to free. Watchers of one kind come by priority, then by name. */
START_TEST(in_order)
{
	struct gate gate;
	int tries = 0;
	pid_t pid;

	gate_make(&gate);
	while ((pid = follow_a_birth(&gate)) == 0)
		ck_assert_int_lt(++tries, 10);
	await_story("IC");
	gate_open(&gate);
	ck_assert_int_eq(reap(pid), 0);
	await_story("ICGUE1234F");
	ck_assert_uint_eq(await_balance().lost_born, 0);
}
END_TEST

/* Who lives already is told as found; the filter lets deaths by a signal pass. */
START_TEST(found_and_filtered)
{
	struct gate gate;
	char options[64];
	pthread_t thread;
	pid_t pid;

	gate_make(&gate);
	pid = spawn();
	if (!pid) {
		pthread_create(&thread, NULL, tell_forever, &gate); /* a thread is not told */
		pause();
		_exit(0);
	}
	snprintf(options, sizeof(options), "reserve=4096 follow=%d", (int)pid);
	ck_assert_int_eq(other_load(TEST_KO, options), 0);
	await_story("R");
	kill(pid, SIGKILL);
	reap(pid);
	await_story("RS1234F");
	ck_assert_uint_eq(sums().filtered, 1);
	await_balance();
	gate_open(&gate);
}
END_TEST

/* `count` children, which die at once. */
static void burst(int count)
{
	static pid_t pids[1000];
	struct gate gate;
	int i;

	gate_make(&gate);
	for (i = 0; i < count; i++)
		pids[i] = spawn_at(&gate, 1);
	gate_open(&gate);
	for (i = 0; i < count; i++)
		reap(pids[i]);
}

START_TEST(nothing_is_lost)
{
	struct sums before, after;
	int i;

	ck_assert_int_eq(other_load(TEST_KO, "reserve=8192"), 0);
	before = await_balance();
	for (i = 0; i < 4; i++)
		burst(500);
	after = await_balance();
	ck_assert_uint_eq(after.lost_born + after.lost_dead, 0);
	ck_assert_uint_ge(after.dead - before.dead, 2000);
}
END_TEST

/* With few places and slow watchers most are only counted, but none is forgotten. */
START_TEST(beyond_the_reserve)
{
	char options[64];
	struct sums now;

	snprintf(options, sizeof(options), "reserve=%llu slow=5", living() + 20);
	ck_assert_int_eq(other_load(TEST_KO, options), 0);
	burst(300);
	burst(300);
	now = await_balance();
	ck_assert_uint_gt(now.lost_born, 0);
	ck_assert_uint_gt(now.lost_dead, 0);
	ck_assert_uint_gt(now.dead, 0);
	write_text(MODULE "parameters/slow", "0");
	burst(5);
	await_balance();
}
END_TEST

/* Code is in a section of its own, entries cannot be written to. */
START_TEST(sections)
{
	unsigned long long where, text, knell;
	pid_t pid;
	int fd;

	ck_assert_int_eq(other_load(TEST_KO, "reserve=4096"), 0);
	pid = spawn();
	if (!pid)
		_exit(0);
	reap(pid);
	do { /* 0: no watcher was called yet */
		usleep(10000);
		where = strtoull(line_of(MODULE "parameters/where"), NULL, 0);
	} while (!where);
	text = strtoull(line_of(MODULE "sections/.text"), NULL, 0);
	knell = strtoull(line_of(MODULE "sections/.text.knell"), NULL, 0);
	ck_assert_uint_ne(knell, 0);
	ck_assert_uint_ge(where, knell);
	ck_assert(where < text || text < knell); /* .text does not begin between them */
	fd = open(MODULE "parameters/scratch", O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "1", 1), -1);
	ck_assert_int_eq(errno, EROFS);
	close(fd);
	await_balance();
}
END_TEST

/* Whoever leaves waits for the watcher that runs, and for no more. */
START_TEST(leaves_while_running)
{
	ck_assert_int_eq(other_load(TEST_KO, "reserve=4096 slow=300"), 0);
	burst(100);
	usleep(100000);
	ck_assert_int_eq(other_unload("knell_test"), 0);
	ck_assert_int_eq(other_load(TEST_KO, "reserve=4096"), 0);
	burst(10);
	await_balance();
}
END_TEST

START_TEST(refused)
{
	ck_assert_int_eq(other_load(TEST_KO, "reserve=4000000"), -ENOSPC);
	ck_assert_int_eq(other_load(TEST_KO, "reserve=4294967295"), -ENOSPC);
	ck_assert_int_eq(other_load(TEST_KO, "reserve=4096"), 0);
	ck_assert_int_eq(module_unload(), -EWOULDBLOCK);
	await_balance();
}
END_TEST

/* The kernel's log from now on. */
static int log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(lseek(fd, 0, SEEK_END), 0);
	return fd;
}

static bool log_has(int fd, const char *text)
{
	char line[1024];
	ssize_t length;

	while ((length = read(fd, line, sizeof(line) - 1)) > 0) {
		line[length] = '\0';
		if (strstr(line, text))
			return true;
	}
	return false;
}

/* The sample, beside another module with watchers. */
START_TEST(hello)
{
	bool said = false;
	char wanted[64];
	pid_t pid;
	int log, tries;

	ck_assert_int_eq(other_load(HELLO, ""), 0);
	ck_assert_int_eq(other_load(TEST_KO, "reserve=4096"), 0);
	log = log_open();
	pid = spawn();
	if (!pid) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(99);
	}
	ck_assert_int_eq(reap(pid), 0);
	snprintf(wanted, sizeof(wanted), "hello: true (%d) died", (int)pid);
	for (tries = 0; tries < 600 && !said; tries++) {
		said = log_has(log, wanted);
		if (!said)
			usleep(50000);
	}
	ck_assert(said);
	close(log);
	ck_assert_int_eq(other_unload("hello_watcher"), 0);
	burst(5);
	await_balance();
}
END_TEST

void add_table_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "table", 60);

	tcase_add_test(tests, in_order);
	tcase_add_test(tests, found_and_filtered);
	tcase_add_test(tests, nothing_is_lost);
	tcase_add_test(tests, beyond_the_reserve);
	tcase_add_test(tests, sections);
	tcase_add_test(tests, leaves_while_running);
	tcase_add_test(tests, refused);
	tcase_add_test(tests, hello);
}
