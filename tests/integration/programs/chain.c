/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * chain - makes a process and ends; that one does the same, and so on: as many as its argument
 * says, each the child of the one before, and two alive at a time.
 */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	long left = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

	while (left-- > 0) {
		pid_t pid = fork();

		if (pid != 0)
			_exit(pid < 0);
	}
	return 0;
}
