/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fail.h - for tests: a module whose allocations fail when they are told to, and are counted. Read
 * before each file of a debug build (scripts/kmod OUT HEADERS debug), and of no other.
 *
 * Owns nothing. It stands in front of all that the module calls to get memory, and of what it
 * registers, for the kernel allocates there. Writing N to the parameter fail_at lets the Nth of
 * these calls from then on fail, once; `held` is how many pieces of memory the module has.
 */
#ifndef KNELL_FAIL_H
#define KNELL_FAIL_H

#include <linux/cpuhotplug.h>
#include <linux/kprobes.h>
#include <linux/miscdevice.h>
#include <linux/slab.h>
#include <linux/smpboot.h>
#include <linux/tracepoint.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

/* Is this call the one that fails? */
bool knell_fails(void);

/* Both count, and give back what they were given. */
void *knell_taken(void *memory);
const void *knell_given_back(const void *memory);

#define KNELL_TAKE(...)     knell_taken(knell_fails() ? NULL : (__VA_ARGS__))
#define KNELL_REGISTER(...) (knell_fails() ? -ENOMEM : (__VA_ARGS__))

#define kmalloc(...)         KNELL_TAKE((kmalloc)(__VA_ARGS__))
#define kzalloc(...)         KNELL_TAKE((kzalloc)(__VA_ARGS__))
#define kcalloc(...)         KNELL_TAKE((kcalloc)(__VA_ARGS__))
#define kmalloc_array(...)   KNELL_TAKE((kmalloc_array)(__VA_ARGS__))
#define kvcalloc(...)        KNELL_TAKE((kvcalloc)(__VA_ARGS__))
#define kvmalloc_array(...)  KNELL_TAKE((kvmalloc_array)(__VA_ARGS__))
#define __vmalloc(...)       KNELL_TAKE((__vmalloc)(__VA_ARGS__))
#define alloc_workqueue(...) KNELL_TAKE((alloc_workqueue)(__VA_ARGS__))

#define kfree(memory)            (kfree)(knell_given_back(memory))
#define vfree(memory)            (vfree)(knell_given_back(memory))
#define kvfree(memory)           (kvfree)(knell_given_back(memory))
#define destroy_workqueue(queue) (destroy_workqueue)((void *)knell_given_back(queue))

#define tracepoint_probe_register(...) KNELL_REGISTER((tracepoint_probe_register)(__VA_ARGS__))
#define register_kprobe(...)           KNELL_REGISTER((register_kprobe)(__VA_ARGS__))
#define smpboot_register_percpu_thread(...)                                                        \
	KNELL_REGISTER((smpboot_register_percpu_thread)(__VA_ARGS__))
#define cpuhp_setup_state(...)         KNELL_REGISTER((cpuhp_setup_state)(__VA_ARGS__))
#define cpuhp_setup_state_nocalls(...) KNELL_REGISTER((cpuhp_setup_state_nocalls)(__VA_ARGS__))
#define misc_register(...)             KNELL_REGISTER((misc_register)(__VA_ARGS__))

#endif
