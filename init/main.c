/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * main.c - knell-init-static: the init alone, as a small static program of one thread, for images
 * that have nothing else.
 */
#include <fcntl.h>
#include <unistd.h>

#include "init.h"

/*
 * A descriptor that we open must not land on 0, 1 or 2: messages would go into it. The fillers are
 * open the wrong way round, so that reading and writing fails as it would without them, and they
 * close at exec, so the command sees what the caller gave it. Where there is no /dev/null the root
 * directory will do.
 */
static void fill_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", mode | O_CLOEXEC) < 0)
			open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
}

int main(int argc, char **argv)
{
	struct init_options options;
	struct init_signals signals;
	int r;

	fill_standard_fds();
	r = init_parse(&options, argc, argv);
	if (r != 0)
		return r > 0 ? 0 : INIT_FAILED;
	if (options.plugin_count) {
		init_say("--plugin: a static program cannot load it; 'knell init' can");
		return INIT_FAILED;
	}
	return init_begin(&signals) < 0 ? INIT_FAILED : init_run(&options, &signals, NULL);
}
