/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cli.h - what the files of the knell command share: subcommands, exit statuses, messages, options
 * that several of them have.
 */
#ifndef KNELL_CLI_H
#define KNELL_CLI_H

#include <stdint.h>

/* As env(1), nice(1), timeout(1) and the shells have them. */
#define STATUS_TIMEOUT        124
#define STATUS_FAILED         125 /* Knell itself failed; the command was not started */
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_KNOWN      126 /* watch: not permitted, or its status is not known */
#define STATUS_NOT_FOUND      127
#define STATUS_SIGNAL         128 /* plus the signal's number */

/* The most descendants that --reserve may ask for. */
#define MAX_RESERVE 1048576

int cmd_run(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_init(int argc, char **argv);

/* "knell: TEXT" on stderr, in one write. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Can standard output be written to? 0, or -EBADF after a complaint: it is closed. */
int check_stdout(void);

/* Writes what stdio still has. 0, or STATUS_FAILED after a complaint: not all of it was written. */
int end_stdout(void);

/* "cannot write WHAT to PATH" and why; "-": standard output. */
void complain_of_output(const char *what, const char *path, int error);

/* A number of at most `max` in `text`: 0, or -EINVAL after a complaint that names the option. */
int parse_number(const char *what, const char *text, uint32_t min, uint32_t max, uint32_t *ret);

/*
 * A time as timeout(1) takes it: seconds, which may have a fraction, or s, m, h or d after them; in
 * ns. 0, or -EINVAL after a complaint that names the option.
 */
int parse_duration(const char *option, const char *text, uint64_t *ret);

/* --reserve: at least one slot. 0, or -EINVAL after a complaint. */
int parse_reserve(const char *text, uint32_t *ret);

/*
 * Dies of a signal, without a core: a shell that ran us in a loop then stops the loop. Returns if
 * the signal does not kill.
 */
void die_of(int signo);

/* CLOCK_MONOTONIC, ns. */
uint64_t monotonic_now(void);

/* For poll(2): milliseconds until then, not one too early; -1: `deadline` is 0, which is never. */
int poll_until(uint64_t deadline);

/* CPU time that this process has used, ns. */
uint64_t own_cpu(void);

#endif
