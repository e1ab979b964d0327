/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * out.h - opens a file that somebody named for output.
 */
#ifndef KNELL_WATCHERS_OUT_H
#define KNELL_WATCHERS_OUT_H

/*
 * As a shell's > does: created, or emptied; close-on-exec. But a FIFO that nobody opens for reading
 * within three seconds is no target: -ENXIO, as open(2) gives it, or -EINTR, and never a wait that
 * only SIGKILL ends. Returns the descriptor, or -errno.
 */
int out_open(const char *path);

#endif
