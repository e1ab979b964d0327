/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * sigstate - prints the signals that were ignored, blocked and pending when it was started, as
 * hexadecimal sets (bit 0 is signal 1). A command must get them as its starter's starter left them.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void print_set(const char *name, const sigset_t *set)
{
	unsigned long long bits = 0;
	int signo;

	for (signo = 1; signo <= 64; signo++)
		if (sigismember(set, signo) == 1)
			bits |= 1ULL << (signo - 1);
	printf("%s %016llx\n", name, bits);
}

int main(void)
{
	struct sigaction action;
	sigset_t ignored, set;
	int signo;

	sigemptyset(&ignored);
	for (signo = 1; signo <= 64; signo++)
		if (!sigaction(signo, NULL, &action) && action.sa_handler == SIG_IGN)
			sigaddset(&ignored, signo);
	print_set("ignored", &ignored);
	sigprocmask(SIG_SETMASK, NULL, &set);
	print_set("blocked", &set);
	sigpending(&set);
	print_set("pending", &set);
	return 0;
}
