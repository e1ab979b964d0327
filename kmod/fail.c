// SPDX-License-Identifier: GPL-2.0-only
/*
 * fail.c - counts for fail.h, in a debug build only.
 *
 * Owns the two parameters of it.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/spinlock.h>

static unsigned int fail_at;
module_param(fail_at, uint, 0644);
MODULE_PARM_DESC(fail_at, "debug: which allocation from now on fails, once (0: none)");

static atomic_t held;
module_param_named(held, held.counter, int, 0444);
MODULE_PARM_DESC(held, "debug: pieces of memory that the module has");

bool knell_fails(void)
{
	static DEFINE_SPINLOCK(lock);
	bool fails;

	spin_lock(&lock);
	fails = fail_at && --fail_at == 0;
	spin_unlock(&lock);
	return fails;
}

void *knell_taken(void *memory)
{
	if (memory)
		atomic_inc(&held);
	return memory;
}

const void *knell_given_back(const void *memory)
{
	if (memory)
		atomic_dec(&held);
	return memory;
}
