/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kernel.h - what knell.ko does for other kernel modules: it calls a function when a process is
 * dead. Watchers of everybody are in watcher.h. To programs this header declares nothing.
 *
 * The function runs in process context, on a worker of the CPU where the death happened: it may
 * sleep, allocate and take mutexes, and holds up only that CPU's other functions. A death is never
 * lost, however many come at once: the memory of the watch is its place in the queue. A module's
 * Makefile includes knell.mk; docs/kmod.md has the rest.
 */
#ifndef KNELL_KERNEL_H
#define KNELL_KERNEL_H

#include <knell/event.h>
#include <knell/kmod.h>

#ifdef __KERNEL__

struct knell_task_watch;
struct module;
struct task_struct;

/* `event` is of kind KNELL_EXIT, its numbers are those of the initial pid namespace. */
typedef void (*knell_task_fn)(const struct knell_event *event, void *data);

/*
 * Calls the function once, when the process of this task (any thread of it) is dead. `flags`: 0, or
 * KNELL_KMOD_DEAD: not before its memory and files are gone and the parent was told. `owner` is
 * THIS_MODULE: it is held, so that it cannot be unloaded, until the function has returned or the
 * watch was ended.
 *
 * `ret_watch` may be NULL; else the caller ends the watch with knell_unwatch_task(), also after the
 * function was called. It is stored before the function can be called, and NULL on failure: until
 * this returns only the function may use it.
 *
 * -ESRCH: the process was dead already (verdict `absent`), and the function is not called. -EINVAL,
 * -ENOMEM; -ENODEV: the owner is being unloaded. May sleep; not for interrupts or probes.
 */
int knell_watch_task(struct knell_task_watch **ret_watch, struct task_struct *task, __u32 flags,
		     knell_task_fn function, void *data, struct module *owner);

/*
 * Ends a watch. True: the function was not called, and will not be. False: it was called, and has
 * returned, for this waits until then; but inside of the function itself it does not wait. So hold
 * no lock that the function takes. May sleep. NULL is ignored.
 */
bool knell_unwatch_task(struct knell_task_watch *watch);

/*
 * knell.lds makes all sections for watchers of a module; without this those that are empty would
 * have the wrong flags.
 */
#define KNELL_EMPTY_SECTION_(event)                                                                \
	".pushsection knell_" #event ",\"a\",%progbits\n\t.popsection\n\t"
__asm__(KNELL_EMPTY_SECTION_(init) KNELL_EMPTY_SECTION_(clone) KNELL_EMPTY_SECTION_(exec)
		KNELL_EMPTY_SECTION_(uid) KNELL_EMPTY_SECTION_(gid) KNELL_EMPTY_SECTION_(exit)
			KNELL_EMPTY_SECTION_(free) KNELL_EMPTY_SECTION_(gap));

/* As a program's, see <knell/knell.h>, but it may sleep. The record is valid until it returns. */
typedef int (*knell_watcher_fn)(const struct knell_event *event, void *userdata);

#endif

#endif
