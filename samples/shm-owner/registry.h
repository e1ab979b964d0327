/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * registry.h - owners and their segments; see registry.c.
 */
#ifndef SHM_OWNER_REGISTRY_H
#define SHM_OWNER_REGISTRY_H

#include <linux/types.h>

#include "shm-owner.h"

struct file;
struct pid;

void registry_init(void);
int registry_add(struct pid *pid, u64 bytes, u64 *ret_id);
struct file *registry_find(u64 id);
void registry_count(struct shm_owner_counts *ret_counts);

#endif
