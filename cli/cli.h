/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cli.h - what the files of the knell command share: subcommands, exit statuses, messages.
 */
#ifndef KNELL_CLI_H
#define KNELL_CLI_H

#include <stdint.h>

/* As env(1), nice(1), timeout(1) and the shells have them. */
#define STATUS_FAILED         125 /* Knell itself failed; the command was not started */
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND      127
#define STATUS_SIGNAL         128 /* plus the signal's number */

int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

/* "knell: TEXT" on stderr, in one write. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number of at most `max` in `text`: 0, or -EINVAL after a complaint that names the option. */
int parse_number(const char *option, const char *text, uint32_t max, uint32_t *ret);

/* CLOCK_MONOTONIC, ns. */
uint64_t monotonic_now(void);

/* CPU time that this process has used, ns. */
uint64_t own_cpu(void);

#endif
