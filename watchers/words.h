/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * words.h - how Knell says things to people: durations, sizes, signals, why a process died, and
 * names of any bytes made safe for a terminal. Shared by everything that prints; owns no state.
 */
#ifndef KNELL_WATCHERS_WORDS_H
#define KNELL_WATCHERS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <knell/knell.h>

/* A short text by value, to be used within one expression: printf("%s", words_count(n).s). */
struct words {
	char s[48];
};

struct words words_count(uint64_t n);     /* 1,234,567 */
struct words words_duration(uint64_t ns); /* 350 us, 12.3 ms, 1.24 s, 12m03s, 3h05m, 2d04h */
struct words words_size(uint64_t bytes);  /* 12.3 MiB */
struct words words_ratio(uint64_t a, uint64_t b); /* a / b: 3.9; ? if b is 0 */
struct words words_signal(int signo);             /* SIGKILL, SIGRTMIN+3 */

/* Room for words_escape() of a comm, however bad its bytes are. */
#define WORDS_COMM_MAX (4 * KNELL_COMM_LEN + 1)

/* Room for words_death(), whatever happened. */
#define WORDS_DEATH_MAX 512

/*
 * The length of the UTF-8 character at `s`, 1 to 4; 0 if the bytes there are not one (overlong
 * forms, surrogates and cut characters are not).
 */
size_t words_utf8(const char *s, size_t len);

/*
 * Copies `len` bytes to `dst` in a form that does no harm on a terminal: control characters and
 * bytes that are not UTF-8 become \xNN. Never splits a character or an escape; what does not fit is
 * left out. Always ends in a NUL. Returns the bytes written, without it.
 */
size_t words_escape(char *dst, size_t size, const char *src, size_t len);

/* A comm, escaped; "?" if it is not known. */
struct words_name {
	char s[WORDS_COMM_MAX];
};
struct words_name words_comm(const char comm[KNELL_COMM_LEN], bool known);

/* Copies a comm with every byte after its end zero, so that comms compare with memcmp(). */
void words_copy_comm(char dst[KNELL_COMM_LEN], const char *src);

/* How many columns an escaped text takes, as far as one per character is true. */
size_t words_width(const char *s);

/* Cuts a text after that many columns. */
void words_cut(char *s, size_t columns);

/* The part after the last slash. Returns a pointer into `path`. */
const char *words_basename(const char *path);

/* How a command ended, from its wait(2) status alone: "exited 2", "killed by SIGKILL". */
void words_status(char *dst, size_t size, int status);

/*
 * Why a process died, for a sentence that begins with its name: "killed by SIGKILL sent by bash
 * (pid 99, uid 0, parent sshd 88)", "segmentation fault, core dumped", "exited 2". `unknown` is the
 * record's, `tgid` the process that died.
 */
void words_death(char *dst, size_t size, uint32_t tgid, const struct knell_exit *death,
		 uint32_t unknown);

/* It died of a signal, or its exit code was not zero; false if nobody knows. */
bool words_failed(const struct knell_exit *death, uint32_t unknown);

/* It received a TERM, INT or HUP that is not the signal that it died of. */
bool words_was_warned(const struct knell_exit *death, uint32_t unknown);

#endif
