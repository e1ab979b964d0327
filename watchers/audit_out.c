/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_out.c - what all targets of an audit log have in common; see audit_out.h. It owns the
 * descriptor.
 */
#include <errno.h>
#include <unistd.h>

#include "audit_out.h"

void audit_out_init(struct audit_out *out, const struct audit_options *options)
{
	*out = (struct audit_out){ .kind = options->kind, .path = options->path, .fd = -1 };
}

int audit_out_open(struct audit_out *out)
{
	return out->kind == AUDIT_FILE ? audit_file_open(out) : audit_socket_open(out);
}

void audit_out_close(struct audit_out *out)
{
	if (out->fd >= 0)
		close(out->fd);
	out->fd = -1;
	out->torn = 0;
}

int audit_out_prepare(struct audit_out *out)
{
	if (out->fd < 0)
		return audit_out_open(out);
	return out->kind == AUDIT_FILE ? audit_file_follow(out) : 0;
}

ssize_t audit_out_write(struct audit_out *out, const char *lines, size_t len,
			const struct audit_note *note)
{
	if (out->kind != AUDIT_FILE)
		return audit_socket_write(out, lines, len, note);
	return audit_file_write(out, lines, len);
}

bool audit_out_take_fresh(struct audit_out *out)
{
	bool fresh = out->fresh;

	out->fresh = false;
	return fresh;
}

int audit_out_sync(struct audit_out *out)
{
	if (out->fd < 0 || !out->regular)
		return 0;
	return fdatasync(out->fd) < 0 ? -errno : 0;
}
