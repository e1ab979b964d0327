/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * spawn-all.c - runs each line of its input as a shell command, so many at once, and says how each
 * ended: without a SIGCHLD handler, without waiting for children, and without getting in the way of
 * anything else in the program that has children.
 *
 *   spawn-all [JOBS] <COMMANDS     (default: 4)
 */
#include <knell/knell.h>
#include <knell/spawn.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define STATUS_FAILED 125

static sem_t room; /* for another job */

/* On a thread of the library's; stdio locks by itself. */
static void on_death(const struct knell_death *death, void *userdata)
{
	char *command = userdata;

	if (death->flags & KNELL_DEATH_UNKNOWN)
		printf("%s: is dead\n", command);
	else if (WIFEXITED(death->status))
		printf("%s: exited %d\n", command, WEXITSTATUS(death->status));
	else
		printf("%s: died of signal %d\n", command, WTERMSIG(death->status));
	free(command);
	sem_post(&room);
}

static void start(struct knell_nursery *nursery, const char *line)
{
	char *command = strdup(line);
	char *argv[] = { (char *)"sh", (char *)"-c", command, NULL };
	struct knell_spawn_options options = {
		.size = sizeof(options),
		.argv = argv,
		.fn = on_death,
		.userdata = command,
	};

	if (!command || knell_spawn(nursery, NULL, &options) < 0) {
		printf("%s: %s\n", line, command ? knell_last_error() : "no memory");
		free(command);
		sem_post(&room);
	}
}

int main(int argc, char *argv[])
{
	int jobs = argc > 1 ? atoi(argv[1]) : 4;
	struct knell_nursery *nursery;
	char line[4096];

	if (jobs < 1 || knell_nursery_open(&nursery, NULL) < 0) {
		fprintf(stderr, "spawn-all: %s\n",
			jobs < 1 ? "at least one job" : knell_last_error());
		return STATUS_FAILED;
	}
	sem_init(&room, 0, (unsigned int)jobs);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		sem_wait(&room);
		start(nursery, line);
	}
	knell_nursery_drain(nursery, -1);
	knell_nursery_close(nursery);
	return 0;
}
