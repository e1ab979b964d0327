/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ids.h - changes of user and group ids, from the process events connector, for a source that hears
 * everything else by other means but not these.
 *
 * The kernel queues a change in commit_creds(), on the thread that changes, before the system call
 * returns; so whatever the task does later, its exit above all, is later. Who drains this after it
 * has taken an exit from wherever exits come from, and before it delivers it, has all changes of
 * that task:
 *
 *   take the exits that are queued; ids_drain(); deliver the exits.
 *
 * Only the new real and effective ids are told. From Linux 6.6 on the kernel sends nothing else;
 * before, everything is sent and all else is dropped here.
 */
#ifndef KNELL_IDS_H
#define KNELL_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include <knell/knell.h>

struct ids;

struct ids_change {
	uint64_t time;        /* CLOCK_BOOTTIME, ns */
	enum knell_kind kind; /* KNELL_UID or KNELL_GID */
	uint32_t cpu;
	uint32_t tid; /* in the initial pid namespace */
	uint32_t tgid;
	uint32_t real, effective; /* in the initial user namespace */
};

/*
 * -ENOTSUP: refused here, with the reason and the remedy in knell_last_error(); `bytes` is the size
 * of the socket's buffer, 0: 16 MiB (less without privilege).
 */
int ids_open(struct ids **ret_ids, uint32_t bytes);

/* Closes it. Takes NULL, returns NULL. */
struct ids *ids_close(struct ids *ids);

/* Polls readable when there is something to drain. */
int ids_fd(const struct ids *ids);

/*
 * Calls `fn` for each change that is queued, in order; never blocks. Returns 0, or -ENOBUFS if some
 * were lost (how many is not known: the kernel's filter leaves holes in the numbers); all that were
 * queued have been told then, too.
 */
int ids_drain(struct ids *ids, void (*fn)(const struct ids_change *change, void *userdata),
	      void *userdata);

/* Does the kernel filter for us (Linux 6.6)? */
bool ids_filtered(const struct ids *ids);

#endif
