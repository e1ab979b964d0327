/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_out.h - where the lines of an audit log go: a file, pipe or terminal (audit_file.c), or a
 * datagram socket of syslog or the journal (audit_socket.c). None of them waits for a reader.
 */
#ifndef KNELL_WATCHERS_AUDIT_OUT_H
#define KNELL_WATCHERS_AUDIT_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <knell/event.h>

enum audit_kind {
	AUDIT_FILE,
	AUDIT_SYSLOG,
	AUDIT_JOURNAL
};

enum audit_sync {
	AUDIT_SYNC_NEVER,
	AUDIT_SYNC_SECONDS, /* not more often than that */
	AUDIT_SYNC_EACH     /* after each write, of all that has come by then */
};

#define AUDIT_PATH_MAX 4096u

struct audit_options {
	enum audit_kind kind;
	char path[AUDIT_PATH_MAX];
	enum audit_sync sync;
	uint32_t sync_seconds;
	uint32_t rate; /* records per second; 0: all */
	uint64_t queue;
	bool args;
};

/* 0, or -EINVAL with an explanation. */
int audit_parse(struct audit_options *ret_options, const char *text, char *why, size_t size);

/* What a line tells, for targets that want to know. */
struct audit_note {
	const char *event; /* its knell.event */
	uint32_t pid;      /* 0: none */
	uint32_t signal;   /* that killed it; 0: none */
	uint32_t priority; /* of syslog.h */
	char comm[KNELL_COMM_LEN];
};

struct audit_out {
	enum audit_kind kind;
	const char *path;
	int fd;           /* -1: it has to be opened */
	size_t torn;      /* bytes of the next line that are out */
	bool regular;     /* a file with contents, which can be synced */
	bool mend;        /* the file ends in the middle of somebody's line */
	bool kept;        /* the path cannot be opened again: this is the file that it had */
	int kept_error;   /* why */
	uint64_t kept_at; /* since when; monotonic ns */
	bool fresh;       /* opened since audit_out_take_fresh() */
};

void audit_out_init(struct audit_out *out, const struct audit_options *options);

/*
 * 0 or -errno. -ENXIO: a FIFO that nobody reads, which may change; -EPROTOTYPE: not what this kind
 * of target can write to, which does not.
 */
int audit_out_open(struct audit_out *out);
void audit_out_close(struct audit_out *out);

/*
 * Opens what is not open, and opens a file again whose path names another one by now, or none. Call
 * it before each write. 0 or -errno.
 */
int audit_out_prepare(struct audit_out *out);

/* True once after each open of a file: the log goes on in another one, or to another reader. */
bool audit_out_take_fresh(struct audit_out *out);

/*
 * Writes lines, of which the first may be torn: how many bytes of whole lines are out, or -errno.
 * -EAGAIN: wait until `fd` takes more. A socket takes one line, whole or not at all.
 */
ssize_t audit_out_write(struct audit_out *out, const char *lines, size_t len,
			const struct audit_note *note);

/* Brings a file to the disk. 0 or -errno. */
int audit_out_sync(struct audit_out *out);

/* audit_file.c and audit_socket.c */
int audit_file_open(struct audit_out *out);
int audit_file_follow(struct audit_out *out);
ssize_t audit_file_write(struct audit_out *out, const char *lines, size_t len);
int audit_socket_open(struct audit_out *out);
ssize_t audit_socket_write(struct audit_out *out, const char *line, size_t len,
			   const struct audit_note *note);

#endif
