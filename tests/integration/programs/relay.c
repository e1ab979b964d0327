/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * relay - copies stdin to stdout and exits with the number that is its first argument; a second
 * argument goes to stderr. Says by its own exit status 120 that copying failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	char buffer[65536];
	ssize_t got;

	if (argc > 2)
		fprintf(stderr, "%s\n", argv[2]);
	while ((got = read(STDIN_FILENO, buffer, sizeof(buffer))) > 0) {
		char *p = buffer;

		while (got > 0) {
			ssize_t put = write(STDOUT_FILENO, p, (size_t)got);

			if (put <= 0)
				return 120;
			p += put;
			got -= put;
		}
	}
	return got < 0 ? 120 : argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
}
