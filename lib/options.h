/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * options.h - how every call of the library takes a structure of options.
 */
#ifndef KNELL_OPTIONS_H
#define KNELL_OPTIONS_H

#include <stddef.h>

/*
 * Copies options, which begin with their size, into `to`, which has `known` bytes and is zero.
 * -EINVAL: there are fewer than `least`. -E2BIG: the caller was built against a newer header, and
 * sets a field that this library does not know. Both with an explanation that has `name`.
 */
int knell_take_options(void *to, size_t known, const void *given, size_t least, const char *name);

#endif
