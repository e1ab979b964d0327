/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * names.c - numbers to words, and the boot id: what people and JSON see of a record.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "source/source.h"

static const char *const kind_names[KNELL_KIND_MAX] = {
	[KNELL_INIT] = "init", [KNELL_CLONE] = "clone", [KNELL_EXEC] = "exec", [KNELL_UID] = "uid",
	[KNELL_GID] = "gid",   [KNELL_EXIT] = "exit",   [KNELL_FREE] = "free", [KNELL_GAP] = "gap",
};

static const char *const reason_names[KNELL_REASON_MAX] = {
	[KNELL_R_NONE] = "none",         [KNELL_R_USER] = "user",       [KNELL_R_KERNEL] = "kernel",
	[KNELL_R_FAULT] = "fault",       [KNELL_R_OOM] = "oom",         [KNELL_R_TIMER] = "timer",
	[KNELL_R_PDEATH] = "pdeath",     [KNELL_R_SECCOMP] = "seccomp", [KNELL_R_CGROUP] = "cgroup",
	[KNELL_R_TERMINAL] = "terminal", [KNELL_R_PIPE] = "pipe",       [KNELL_R_RLIMIT] = "rlimit",
	[KNELL_R_PIDNS] = "pidns",
};

const char *knell_kind_name(unsigned int kind)
{
	return kind < KNELL_KIND_MAX && kind_names[kind] ? kind_names[kind] : "?";
}

const char *knell_reason_name(unsigned int reason)
{
	return reason < KNELL_REASON_MAX ? reason_names[reason] : "?";
}

int knell_boot_id(char ret_id[37])
{
	char text[37] = "";
	ssize_t n;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return knell_fail(-errno, "cannot read the boot id: %s; is /proc mounted?",
				  strerror(errno));
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n != (ssize_t)sizeof(text) - 1)
		return knell_fail(-EIO, "the boot id in /proc has an unknown form");
	memcpy(ret_id, text, sizeof(text));
	return 0;
}
