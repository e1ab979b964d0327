/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * main.c - runs one suite of the tests of the kernel module: test-kmod SUITE. Each test is a
 * process of its own (Check forks). Loading a module changes the machine, so outside of the virtual
 * machine all is skipped.
 *
 * test-kmod hold loads the module, and leaves a process behind that keeps all its hooks armed: for
 * the tests of the library's source, which would switch them in each test.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

void others_unload(void)
{
	static const char *const names[] = { "knell_test", "shm_owner", "hello_watcher" };
	int error, tries;
	size_t i;

	/* A function that knell.ko called may still be at its end. */
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		error = other_unload(names[i]);
		for (tries = 0; error == -EWOULDBLOCK && tries < 100; tries++) {
			usleep(50000);
			error = other_unload(names[i]);
		}
		ck_assert_msg(!error || error == -ENOENT, "%s: %s", names[i], strerror(-error));
	}
}

/* Before each test. One that failed may have left a setting or a module behind. */
static void load(void)
{
	write_text("/proc/sys/kernel/pid_max", "32768");
	others_unload();
	if (!module_loaded())
		module_fresh("");
}

TCase *kmod_case(Suite *suite, const char *name, double seconds)
{
	TCase *tests = tcase_create(name);

	tcase_set_timeout(tests, seconds);
	tcase_add_checked_fixture(tests, load, others_unload);
	suite_add_tcase(suite, tests);
	return tests;
}

static const struct {
	const char *name;
	void (*add)(Suite *suite);
} suites[] = {
	{ "storm", add_storm_tests },     { "tree", add_tree_tests },
	{ "session", add_session_tests }, { "module", add_module_tests },
	{ "input", add_input_tests },     { "readers", add_readers_tests },
	{ "crashes", add_crashes_tests }, { "waves", add_waves_tests },
	{ "fail", add_fail_tests },       { "fuzz", add_fuzz_tests },
	{ "living", add_living_tests },   { "task", add_task_tests },
	{ "wide", add_wide_tests },       { "samples", add_sample_tests },
	{ "table", add_table_tests },     { "joining", add_joining_tests },
	{ "edges", add_edge_tests },
};

static int hold(void)
{
	const uint32_t kinds = LIVES;
	/* Some tests of the library ask for a reserve of 200,000. */
	int session, error = module_loaded() ? 0 : module_load("max_watches=300000");
	pid_t pid;

	if (error) {
		fprintf(stderr, "the module cannot be loaded: %s\n", strerror(-error));
		return 1;
	}
	session = open(KNELL_KMOD_DEVICE, O_RDONLY);
	error = session < 0 ? -errno
			    : session_watch_pidfd(session, -1, KNELL_KMOD_GROUP | KNELL_KMOD_CAUSE,
						  kinds, 0, 0);
	pid = error ? 1 : fork();
	if (pid < 0 || error) {
		fprintf(stderr, "its hooks cannot be armed: %s\n",
			strerror(error ? -error : errno));
		return 1;
	}
	if (pid)
		return 0;
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	SRunner *runner;
	Suite *suite;
	size_t i;
	int failed;

	if (!getenv("KNELL_VM") || !getenv("KNELL_KMOD")) {
		printf("1..0 # SKIP loads a kernel module: 'make vm-check' runs this\n");
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "hold") == 0)
		return hold();
	suite = suite_create("kmod");
	for (i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (argc == 2 && strcmp(argv[1], suites[i].name) == 0)
			suites[i].add(suite);
	runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (module_loaded() && module_unload()) {
		printf("Bail out! the module cannot be unloaded afterwards: %s\n", strerror(errno));
		return 1;
	}
	return failed ? 1 : 0;
}
