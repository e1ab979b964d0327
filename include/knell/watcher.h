/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * watcher.h - watchers that one line attaches to the life of tasks, and the plugins that bring
 * them.
 *
 *   static int on_exit(const struct knell_event *event, void *userdata) { ... }
 *   KNELL_WATCHER(exit, on_exit);
 *
 * The line puts an entry into a section of its object file; nothing runs for it. The program hands
 * all entries that were linked into it to an engine by knell_table_join(engine, KNELL_TABLE, NULL).
 * An entry holds distances, not addresses, so that its section is read-only from the start, in a
 * shared object and in a PIE, too.
 *
 * A static archive loses an object that nobody refers to, and its watchers with it: link such an
 * archive whole (-Wl,--whole-archive, meson's link_whole), and look at what knell_table_join()
 * returns.
 *
 * In kernel modules the same line does it: one KNELL_MODULE() joins and leaves, and the module's
 * Makefile includes knell.mk.
 */
#ifndef KNELL_WATCHER_H
#define KNELL_WATCHER_H

#include <knell/event.h>
#ifdef __KERNEL__
#include <knell/kernel.h>
#include <linux/module.h>
#else
#include <knell/knell.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Entries and plugins of another number are refused. */
#define KNELL_WATCHER_ABI 1

/* Asked before the watcher: 0 spares it this record. May return a bool. */
typedef int (*knell_filter_fn)(const struct knell_event *event);

/* One line KNELL_WATCHER(). Each distance is from its own field. */
struct knell_watcher_entry {
	__u16 size; /* of this entry */
	__u8 abi;
	__u8 kind;
	__s32 priority;
	__s32 function;
	__s32 filter; /* 0: none */
	__s32 name;
	__s32 file; /* decides between watchers of one name */
};

/* What the macros have in mind; `event` is one of init, clone, exec, uid, gid, exit, free, gap. */
enum {
	KNELL_KIND_OF_init = KNELL_INIT,
	KNELL_KIND_OF_clone = KNELL_CLONE,
	KNELL_KIND_OF_exec = KNELL_EXEC,
	KNELL_KIND_OF_uid = KNELL_UID,
	KNELL_KIND_OF_gid = KNELL_GID,
	KNELL_KIND_OF_exit = KNELL_EXIT,
	KNELL_KIND_OF_free = KNELL_FREE,
	KNELL_KIND_OF_gap = KNELL_GAP
};

/*
 * At file scope. `function` is a knell_watcher_fn, static or not. Of the watchers of one event the
 * one with the lowest priority (an int; 0 where none is given) is called first, then by name: never
 * in the order of linking.
 */
#define KNELL_WATCHER(event, function)                                                             \
	KNELL_WATCHER_PLAIN_(__COUNTER__, KNELL_KIND_OF_##event, "knell_" #event, function,        \
			     #function, 0)

#define KNELL_WATCHER_PRIORITY(event, function, priority)                                          \
	KNELL_WATCHER_PLAIN_(__COUNTER__, KNELL_KIND_OF_##event, "knell_" #event, function,        \
			     #function, priority)

/* Called only for records that `filter`, a knell_filter_fn, lets pass. */
#define KNELL_WATCHER_FILTER(event, function, priority, filter)                                    \
	KNELL_WATCHER_FILTERED_(__COUNTER__, KNELL_KIND_OF_##event, "knell_" #event, function,     \
				#function, priority, filter)

/* ---- how it is done ---- */

/*
 * The distances are written by the assembler: no initializer of C may hold them. The compiler fills
 * in the symbols, so that it knows who is used, and by which name after mangling and LTO. It does
 * so for local symbols only; hence the thunk, into which a function of the same file is inlined,
 * and which makes one of the wrong type an error. The function that carries the assembler is never
 * called.
 */
#if defined(__x86_64__) || defined(__i386__)
#define KNELL_SYMBOL_ "i"
#else
#define KNELL_SYMBOL_ "S"
#endif

/* No linker drops sections of a module, and the kernel's tools do not know the flag for that. */
#ifdef __KERNEL__
#define KNELL_SECTION_FLAGS_ "a"
#define KNELL_TEXT_          __attribute__((section(".text.knell")))
#else
#define KNELL_SECTION_FLAGS_ "aR"
#define KNELL_TEXT_
#endif

#define KNELL_WATCHER_PLAIN_(id, kind, section, function, name, priority)                          \
	KNELL_WATCHER_THUNK_(id, function)                                                         \
	KNELL_WATCHER_CARRIER_(id, kind, section, name, priority, ".long 0\n\t",                   \
			       KNELL_THUNK_NAME_(id))

#define KNELL_WATCHER_FILTERED_(id, kind, section, function, name, priority, filter)               \
	KNELL_WATCHER_THUNK_(id, function)                                                         \
	KNELL_FILTER_THUNK_(id, filter)                                                            \
	KNELL_WATCHER_CARRIER_(id, kind, section, name, priority, ".long %c[filter] - .\n\t",      \
			       KNELL_FILTER_NAME_(id))

#define KNELL_THUNK_NAME_(id)  knell_watcher_##id
#define KNELL_FILTER_NAME_(id) knell_filter_##id

#define KNELL_WATCHER_THUNK_(id, function)                                                         \
	static int KNELL_TEXT_ knell_watcher_##id(const struct knell_event *knell_e_,              \
						  void *knell_u_)                                  \
	{                                                                                          \
		return function(knell_e_, knell_u_);                                               \
	}

#define KNELL_FILTER_THUNK_(id, filter)                                                            \
	static int KNELL_TEXT_ knell_filter_##id(const struct knell_event *knell_e_)               \
	{                                                                                          \
		return filter(knell_e_) ? 1 : 0;                                                   \
	}

#define KNELL_WATCHER_CARRIER_(id, kind_, section, name_, priority_, filter_line, filter_)         \
	__attribute__((__used__, __noinline__)) static void knell_carrier_##id(void)               \
	{                                                                                          \
		static const char knell_name_[] = name_;                                           \
		static const char knell_file_[] = __FILE__;                                        \
                                                                                                   \
		__asm__ volatile(                                                                  \
			".pushsection " section ",\"" KNELL_SECTION_FLAGS_ "\",%%progbits\n\t"     \
			".balign 4\n\t"                                                            \
			".2byte %c[size]\n\t"                                                      \
			".byte %c[abi], %c[kind]\n\t"                                              \
			".long %c[priority]\n\t"                                                   \
			".long %c[function] - .\n\t" filter_line ".long %c[name] - .\n\t"          \
			".long %c[file] - .\n\t"                                                   \
			".popsection"                                                              \
			:                                                                          \
			: [size] "i"(sizeof(struct knell_watcher_entry)),                          \
			  [abi] "i"(KNELL_WATCHER_ABI), [kind] "i"(kind_),                         \
			  [priority] "i"(priority_), [function] KNELL_SYMBOL_(knell_watcher_##id), \
			  [filter] KNELL_SYMBOL_(filter_), [name] KNELL_SYMBOL_(knell_name_),      \
			  [file] KNELL_SYMBOL_(knell_file_));                                      \
	}                                                                                          \
	struct knell_watcher_entry

/* ---- tables ---- */

/* All entries of one program or shared object. */
struct knell_table {
	__u32 size;
	__u32 abi;
	struct knell_table_part {
		const struct knell_watcher_entry *first, *end; /* NULL: none of this kind */
	} of[KNELL_KIND_MAX];
};

/* The linker defines them where there is such a section; in a module knell.lds does. */
#define KNELL_BOUNDS_(event)                                                                       \
	extern const struct knell_watcher_entry knell_first_##event[] __asm__(                     \
		"__start_knell_" #event) __attribute__((weak, visibility("hidden")));              \
	extern const struct knell_watcher_entry knell_end_##event[] __asm__(                       \
		"__stop_knell_" #event) __attribute__((weak, visibility("hidden")))

KNELL_BOUNDS_(init);
KNELL_BOUNDS_(clone);
KNELL_BOUNDS_(exec);
KNELL_BOUNDS_(uid);
KNELL_BOUNDS_(gid);
KNELL_BOUNDS_(exit);
KNELL_BOUNDS_(free);
KNELL_BOUNDS_(gap);

/* In the order of enum knell_kind, which begins with 1. */
__attribute__((unused)) static const struct knell_table knell_table_here = {
	sizeof(struct knell_table),
	KNELL_WATCHER_ABI,
	{
		{ NULL, NULL },
		{ knell_first_init, knell_end_init },
		{ knell_first_clone, knell_end_clone },
		{ knell_first_exec, knell_end_exec },
		{ knell_first_uid, knell_end_uid },
		{ knell_first_gid, knell_end_gid },
		{ knell_first_exit, knell_end_exit },
		{ knell_first_free, knell_end_free },
		{ knell_first_gap, knell_end_gap },
	},
};

/* The table of the program or shared object in which this is written. */
#define KNELL_TABLE (&knell_table_here)

#ifdef __KERNEL__

/*
 * The watchers of a module, each called with `userdata`, hear of every process of the system: of
 * those that live already (a clone record, reconciled) and of those that are born later. Of so many
 * at a time as `reserve` has places; what is beyond is told as a gap. They are called one after the
 * other, in the order of the records, on a worker of the kernel's; perhaps before this returns.
 *
 * Returns how many there are. -ENOENT: none; does the Makefile include knell.mk? -EINVAL: a table
 * of another ABI, or an entry without function. -EEXIST: they are there already. -ENOSPC, -EMFILE:
 * more than knell.ko's parameters allow. -ENOMEM. Both calls may sleep.
 */
int knell_table_join(const struct knell_table *table, __u32 reserve, void *userdata);

/*
 * When it returns none of them is running, and none will be called again: so before the module is
 * unloaded. In the file that has joined. -ENOENT: they were not there. -EDEADLK: called by one of
 * them.
 */
int knell_table_leave(const struct knell_table *table);

/* In one file of a module that does nothing else when it is loaded and unloaded. */
#define KNELL_MODULE(reserve)                                                                      \
	static int __init knell_module_load_(void)                                                 \
	{                                                                                          \
		int knell_count_ = knell_table_join(KNELL_TABLE, reserve, NULL);                   \
                                                                                                   \
		return knell_count_ < 0 ? knell_count_ : 0;                                        \
	}                                                                                          \
	static void __exit knell_module_unload_(void)                                              \
	{                                                                                          \
		knell_table_leave(KNELL_TABLE);                                                    \
	}                                                                                          \
	module_init(knell_module_load_);                                                           \
	module_exit(knell_module_unload_)

#else

/*
 * Adds all watchers of a table, each to be called with `userdata`; all or none. Returns how many
 * there are: 0 means that the linker left them out, or that there are none. -EINVAL: a table of
 * another ABI, or an entry without function. -EEXIST: they are there already. -ENOMEM.
 * The program or shared object must stay loaded until they leave. From any thread, also from inside
 * a callback.
 */
int knell_table_join(struct knell_engine *engine, const struct knell_table *table, void *userdata);

/*
 * Removes them. Outside of callbacks: when it returns none of them is running, and none will be
 * called again. Inside: see knell_watcher_remove(). -ENOENT: they were not there. -ENOMEM: they
 * still are.
 */
int knell_table_leave(struct knell_engine *engine, const struct knell_table *table);

/* ---- statistics ---- */

/* Of one watcher and one kind of event. */
struct knell_watcher_stats {
	char name[64]; /* "": it was added by knell_watcher_add() */
	uint32_t kind; /* enum knell_kind */
	int32_t priority;
	uint64_t errors;  /* negative returns */
	uint64_t sampled; /* calls that were timed: one of 64 */
	uint64_t ns;      /* what they took in all */
	uint64_t slowest; /* ... and the longest of them, ns */
};

/*
 * The statistics of the watcher number `index`: 0, 1, ..., by kind, then in the order in which they
 * are called. Whoever comes or leaves meanwhile moves the numbers. -ENOENT: there is no such
 * number.
 */
int knell_watcher_get_stats(struct knell_engine *engine, unsigned int index,
			    struct knell_watcher_stats *ret_stats);

/* ---- plugins ---- */

/* A shared object whose watchers have joined an engine. */
struct knell_plugin;

/* What a plugin exports, under the name knell_plugin_info. */
struct knell_plugin_info {
	__u32 size;
	__u32 abi;
	const char *name;
	const struct knell_table *table;
	int (*init)(struct knell_engine *engine, const char *args, void **ret_userdata);
	void (*fini)(void *userdata);
};

/*
 * In one file of the shared object. `name` is a string. `init` and `fini` may be NULL. init is
 * called before any of the watchers; `args` is never NULL; what it stores in ret_userdata, the
 * watchers and fini get; a negative return (-errno) means that the plugin is not loaded. fini is
 * called when none of the watchers is running any more.
 */
#define KNELL_PLUGIN(name) KNELL_PLUGIN_INIT(name, NULL, NULL)

#ifdef __cplusplus
#define KNELL_EXPORT_ extern "C"
#else
#define KNELL_EXPORT_ extern
#endif

#define KNELL_PLUGIN_INIT(name, init, fini)                                                        \
	KNELL_EXPORT_ __attribute__((visibility("default")))                                       \
	const struct knell_plugin_info knell_plugin_info;                                          \
	const struct knell_plugin_info knell_plugin_info = {                                       \
		sizeof(struct knell_plugin_info), KNELL_WATCHER_ABI, name, KNELL_TABLE, init, fini \
	}

/*
 * Loads a plugin: a path, whose watchers join the engine. `args` may be NULL. `ret_plugin` may be
 * NULL: then it stays until knell_close(). -EINVAL: no plugin, one of another ABI, without
 * watchers, or with an entry without function. -ENOEXEC: the loader refuses it. -EEXIST: it is
 * there already. Or what its init returned, or as open(2) has it.
 */
int knell_plugin_load(struct knell_engine *engine, struct knell_plugin **ret_plugin,
		      const char *file, const char *args);

/*
 * Which kinds of events (KNELL_MASK()) the watchers of a plugin are for, before there is an engine:
 * free, uid and gid need flags of knell_open(). Errors as above.
 */
int knell_plugin_kinds(const char *file, uint32_t *ret_kinds);

/*
 * Its watchers leave, then its fini is called, and it is unloaded: all of that before this returns,
 * but inside a callback after the callback. Returns NULL; without memory the plugin, which stays as
 * it is.
 */
struct knell_plugin *knell_plugin_unload(struct knell_plugin *plugin);

#endif

#ifdef __cplusplus
}
#endif

#endif
