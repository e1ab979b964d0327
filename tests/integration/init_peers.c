/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * init_peers.c - what tini, dumb-init, catatonit and systemd's services count on, found where our
 * init was put in the place of another.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
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

void add_peer_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "peers", 60);

	tcase_add_test(tcase, signals_while_it_starts);
}
