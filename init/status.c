/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * status.c - the status file: JSON that is written beside its place and renamed there, so that
 * nobody reads half of it. It owns the temporary file, which is made before the command starts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* rename(2) */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

static int complain_of(const struct init *init, int error)
{
	init_say("--status-file: cannot write '", init->options->status_file,
		 "': ", strerror(error));
	return -error;
}

int status_open(struct init *init)
{
	static const char suffix[] = ".XXXXXX";
	const char *file = init->options->status_file;
	mode_t mask;
	size_t len;

	init->status_fd = -1;
	if (!file)
		return 0;
	len = strlen(file);
	init->status_temporary = malloc(len + sizeof(suffix));
	if (!init->status_temporary)
		return complain_of(init, ENOMEM);
	memcpy(init->status_temporary, file, len);
	memcpy(init->status_temporary + len, suffix, sizeof(suffix));
	init->status_fd = mkostemp(init->status_temporary, O_CLOEXEC);
	if (init->status_fd < 0)
		return complain_of(init, errno);
	mask = umask(0);
	umask(mask);
	fchmod(init->status_fd, 0666 & ~mask); /* mkostemp(3) lets nobody else read it */
	return 0;
}

static void put_number(struct init_line *line, const char *name, uint64_t value)
{
	line_text(line, name);
	line_number(line, value);
}

static void put_command(struct init_line *line, const struct init *init)
{
	put_number(line, "{\n \"version\": 1,\n \"pid\": ", (uint64_t)init->root);
	if (WIFEXITED(init->status)) {
		put_number(line, ",\n \"exit_code\": ", (uint64_t)WEXITSTATUS(init->status));
		line_text(line, ",\n \"signal\": null");
	} else {
		line_text(line, ",\n \"exit_code\": null");
		put_number(line, ",\n \"signal\": ", (uint64_t)WTERMSIG(init->status));
	}
	line_text(line, ",\n \"core_dumped\": ");
	line_text(line, WCOREDUMP(init->status) ? "true" : "false");
}

static void put_orphans(struct init_line *line, const struct init *init, bool by_kernel)
{
	struct children_stats stats;

	children_get_stats(init->children, &stats);
	line_text(line, ",\n \"reaping\": ");
	line_text(line, by_kernel ? "\"kernel\"" : "\"directed\"");
	/* The kernel does not count. */
	if (by_kernel)
		line_text(line, ",\n \"orphans_reaped\": null");
	else
		put_number(line, ",\n \"orphans_reaped\": ", init->orphans);
	put_number(line, ",\n \"reaped\": {\"directed\": ", stats.directed);
	put_number(line, ", \"peeked\": ", stats.peeked);
	put_number(line, ", \"swept\": ", stats.swept);
	put_number(line, ", \"any\": ", stats.any);
	put_number(line, ", \"peeks\": ", stats.peeks);
	put_number(line, ", \"sweeps\": ", stats.sweeps);
	line_text(line, "}");
}

void status_discard(struct init *init)
{
	if (init->status_fd >= 0) {
		close(init->status_fd);
		unlink(init->status_temporary);
	}
	init->status_fd = -1;
	free(init->status_temporary);
	init->status_temporary = NULL;
}

void status_write(struct init *init, int exit_status)
{
	struct init_line line = { .len = 0 };
	int r;

	if (init->status_fd < 0)
		return;
	put_command(&line, init);
	put_number(&line, ",\n \"exit_status\": ", (uint64_t)exit_status);
	line_text(&line, ",\n \"wall_seconds\": ");
	line_seconds(&line, init->ended - init->started);
	line_text(&line, ",\n \"own_cpu_seconds\": ");
	line_seconds(&line, init_cpu() - init->cpu);
	put_orphans(&line, init, init->reaped_by_kernel);
	put_number(&line, ",\n \"signals_forwarded\": ", init->forwarded);
	line_text(&line, "\n}\n");
	r = line_write(&line, init->status_fd);
	if (r == 0 && rename(init->status_temporary, init->options->status_file) < 0)
		r = -errno;
	if (r < 0) {
		complain_of(init, -r);
		status_discard(init);
		return;
	}
	close(init->status_fd);
	init->status_fd = -1;
	status_discard(init);
}
