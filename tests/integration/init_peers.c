/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * init_peers.c - what tini, dumb-init, catatonit and systemd's services count on, found where our
 * init was put in the place of another.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init_runs.h"

/* A signal that came while it made itself ready is the command's. PID 1 would not see it at all. */
START_TEST(signals_while_it_starts)
{
	struct init init = { .command = SHELL("sleep 10; exit 3") };
	char plugin[4200];

	need_engine();
	snprintf(plugin, sizeof(plugin), "--plugin=%s:term", test_program("teller.so"));
	init.options = LIST(plugin);
	run_expecting(&init, 128 + SIGTERM);
	need_first();
	init.how.prepare = become_first;
	run_expecting(&init, 128 + SIGTERM);
}
END_TEST

static void pass_path(void)
{
	setenv("PATH", "/no/such/folder:folder:/bin:/usr/bin", 1);
}

static void pass_own_path(void)
{
	setenv("PATH", "/bin:", 1);
}

/* Whatever the C library: a file without "#!" is the shell's, wherever it was found. */
START_TEST(scripts_without_a_first_line)
{
	ck_assert(!mkdir("folder", 0755));
	write_file("folder/a-script", "[ \"$1 $2\" = 'a b c' ] && exit $3\n");
	ck_assert(!chmod("folder/a-script", 0755));
	RUN(5, .command = LIST("folder/a-script", "a", "b c", "5"));
	RUN(6, .command = LIST("a-script", "a", "b c", "6"), .how.prepare = pass_path);
	ck_assert(!rename("folder/a-script", "a-script"));
	RUN(7, .command = LIST("a-script", "a", "b c", "7"), .how.prepare = pass_own_path);
	RUN(127, .command = LIST("a-script"), .how.prepare = pass_path);
	ck_assert(!chmod("a-script", 0644));
	RUN(126, .command = LIST("a-script"), .how.prepare = pass_own_path);
}
END_TEST

void add_peer_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "peers", 60);

	tcase_add_test(tcase, signals_while_it_starts);
	tcase_add_test(tcase, scripts_without_a_first_line);
}
