/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * options.c - takes a structure of options from a caller who may be older or newer than we are; see
 * options.h. It owns nothing.
 */
#include <errno.h>
#include <string.h>

#include "options.h"
#include "source/source.h"

int knell_take_options(void *to, size_t known, const void *given, size_t least, const char *name)
{
	const unsigned char *byte = given;
	size_t size = 0;

	if (given)
		memcpy(&size, given, sizeof(size));
	if (!given || size < least)
		return knell_fail(-EINVAL, "%s.size is not set", name);
	for (size_t i = known; i < size; i++) {
		if (byte[i])
			return knell_fail(-E2BIG,
					  "%s has fields that this libknell does not know; "
					  "install a newer one",
					  name);
	}
	memcpy(to, given, size < known ? size : known);
	return 0;
}
