/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cmd_doctor.c - `knell doctor`: which sources work here, why the others do not and what to do
 * about it, and the facts of this machine that decide it. With --table: what each source claims,
 * as the table of docs/sources.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <knell/knell.h>

#include "cli.h"
#include "pidfd.h"

#define MAX_SOURCES 16

/* The first line of a small file, or `otherwise`. */
static const char *first_line(const char *path, char *text, size_t size, const char *otherwise)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return otherwise;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return text;
}

/* "none [integrity] confidentiality": what is in brackets. */
static const char *lockdown(char *text, size_t size)
{
	const char *line = first_line("/sys/kernel/security/lockdown", text, size, NULL);
	char *open, *close;

	if (!line)
		return "not known";
	open = strchr(text, '[');
	close = strchr(text, ']');
	if (!open || !close)
		return line;
	*close = 0;
	return open + 1;
}

static const char *capability(unsigned long long set, int bit)
{
	return set & 1ull << bit ? "yes" : "no";
}

static unsigned long long effective_capabilities(void)
{
	unsigned long long set = 0;
	char line[128];
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "CapEff:", 7) == 0)
			set = strtoull(line + 7, NULL, 16);
	}
	if (file)
		fclose(file);
	return set;
}

/* How knell_reap() can find children, and what a watch can learn of others' children. */
static void print_reaping(void)
{
	int pidfd = knell_pidfd_open(getpid());
	char path[64];

	if (pidfd >= 0)
		close(pidfd);
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	printf("reaping     by number; children list %s, pidfd %s, status of a stranger's child "
	       "%s\n",
	       access(path, R_OK) == 0 ? "yes" : "no", pidfd >= 0 ? "yes" : "no",
	       pidfd >= 0 && knell_pidfd_tells_late() ? "yes" : "no (Linux 6.15)");
}

static void print_machine(void)
{
	enum {
		CAP_SYS_PTRACE_BIT = 19,
		CAP_PERFMON_BIT = 38,
		CAP_BPF_BIT = 39
	};
	unsigned long long caps = effective_capabilities();
	struct utsname name;
	char text[256];

	if (uname(&name) == 0)
		printf("kernel      %s %s (%s)\n", name.sysname, name.release, name.machine);
	printf("BTF         %s\n", access("/sys/kernel/btf/vmlinux", R_OK) == 0
					   ? "yes"
					   : "no (/sys/kernel/btf/vmlinux is not readable)");
	printf("user        uid %u; CAP_BPF %s, CAP_PERFMON %s, CAP_SYS_PTRACE %s\n", geteuid(),
	       capability(caps, CAP_BPF_BIT), capability(caps, CAP_PERFMON_BIT),
	       capability(caps, CAP_SYS_PTRACE_BIT));
	printf("pid_max     %s\n",
	       first_line("/proc/sys/kernel/pid_max", text, sizeof(text), "not known"));
	printf("ptrace      Yama ptrace_scope %s\n",
	       first_line("/proc/sys/kernel/yama/ptrace_scope", text, sizeof(text), "none"));
	printf("lockdown    %s\n", lockdown(text, sizeof(text)));
	print_reaping();
}

/* Returns whether any source works that hears something. */
static bool print_sources(void)
{
	struct knell_probe probe;
	bool chosen = false;

	printf("\n%-9s %-14s %s\n", "SOURCE", "HERE", "HEARS");
	for (unsigned int i = 0; knell_probe(i, &probe) == 0; i++) {
		bool hears = strcmp(probe.name, "none") != 0;
		bool first = probe.error == 0 && hears && !chosen;

		printf("%-9s %-14s %s\n", probe.name,
		       first          ? "works, chosen"
		       : !probe.error ? "works"
				      : "does not work",
		       probe.summary);
		if (probe.error) {
			printf("%-9s why: %s\n", "", probe.reason);
			printf("%-9s do:  %s\n", "", probe.remedy);
		}
		chosen |= first;
	}
	return chosen;
}

/* The same on every machine: whether a source works here is not in it. */
static void print_table(void)
{
	static const struct {
		uint32_t can;
		const char *means;
	} rows[] = {
		{ KNELL_CAN_FORK, "a subtree that Knell starts, from birth" },
		{ KNELL_CAN_WATCH, "exit records of processes that somebody else started" },
		{ KNELL_CAN_SUBTREE, "descendants of a living process" },
		{ KNELL_CAN_STREAM, "every process of the system" },
		{ KNELL_CAN_EXIT, "moment of death `exit`" },
		{ KNELL_CAN_FREE, "moment of death `free`" },
		{ KNELL_CAN_STATUS, "exit: the status, always" },
		{ KNELL_CAN_CAUSE, "exit: who sent the signal that killed, always" },
		{ KNELL_CAN_IDS, "changes of uid and gid" },
		{ KNELL_CAN_THREADS, "threads" },
		{ KNELL_CAN_FILE, "exec: the file name" },
		{ KNELL_CAN_ARGS, "exec: the arguments" },
		{ KNELL_CAN_COMM, "the process's name at every moment" },
		{ KNELL_CAN_USAGE, "what a process used" },
		{ KNELL_CAN_CGROUP, "the cgroup" },
		{ KNELL_CAN_OWNER, "uid and gid in every record" },
	};
	struct knell_probe probes[MAX_SOURCES];
	unsigned int count = 0;

	while (count < MAX_SOURCES && knell_probe(count, &probes[count]) == 0)
		count++;
	printf("| a source that works tells |");
	for (unsigned int i = 0; i < count; i++)
		printf(" `%s` |", probes[i].name);
	printf("\n|---|");
	for (unsigned int i = 0; i < count; i++)
		printf("---|");
	printf("\n");
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		printf("| %s |", rows[row].means);
		for (unsigned int i = 0; i < count; i++)
			printf(" %s |", probes[i].can & rows[row].can ? "yes" : "-");
		printf("\n");
	}
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "table", no_argument, NULL, 't' },
		{ 0 },
	};
	int option = getopt_long(argc, argv, "h", options, NULL);
	bool works = true;

	if (option == 'h') {
		printf("Usage: knell doctor [--table]\n\n"
		       "Tells which sources of events work here, why others do not, and what to "
		       "do.\n"
		       "      --table  only what each source can do, as Markdown\n"
		       "Exit status: 0 if any works, 1 if none does.\n");
		return end_stdout();
	}
	if ((option != -1 && option != 't') || optind < argc) {
		if (option == -1 || option == 't')
			complain("doctor: takes no arguments, so not '%s' either", argv[optind]);
		return STATUS_FAILED;
	}
	if (option == 't') {
		print_table();
	} else {
		print_machine();
		works = print_sources();
	}
	if (end_stdout() != 0)
		return STATUS_FAILED;
	return works ? 0 : 1;
}
