/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * payload.h - how large what follows the head of a record is, for its kind. (File name and
 * arguments of an exec come after that.)
 */
#ifndef KNELL_WATCHERS_PAYLOAD_H
#define KNELL_WATCHERS_PAYLOAD_H

#include <stddef.h>

#include <knell/event.h>

static inline size_t payload_size(unsigned int kind)
{
	switch (kind) {
	case KNELL_INIT:
	case KNELL_CLONE:
		return sizeof(struct knell_clone);
	case KNELL_EXEC:
		return sizeof(struct knell_exec);
	case KNELL_UID:
	case KNELL_GID:
		return sizeof(struct knell_ids);
	case KNELL_EXIT:
		return sizeof(struct knell_exit);
	case KNELL_FREE:
		return sizeof(struct knell_free);
	default:
		return sizeof(struct knell_gap);
	}
}

#endif
