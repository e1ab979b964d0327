/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * log.h - read before each file: messages of the module begin with its name.
 */
#define pr_fmt(fmt) "knell: " fmt
