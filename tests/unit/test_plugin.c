/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_plugin.c - plugins over a fake source: what they are given, when they leave, and everything
 * that must be refused with a reason and leave nothing behind. The folder of the plugins is in
 * KNELL_TEST_PLUGINS.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <knell/watcher.h>

#include "engine.h"
#include "main.h"
#include "plugins/counting.h"
#include "story.h"

static const char *plugin_path(const char *name)
{
	static char path[4096];
	const char *folder = getenv("KNELL_TEST_PLUGINS");

	ck_assert_msg(folder, "KNELL_TEST_PLUGINS is not set");
	snprintf(path, sizeof(path), "%s/%s.so", folder, name);
	return path;
}

static const char *args_of(struct counting *counting)
{
	static char args[64];

	snprintf(args, sizeof(args), "%p", (void *)counting);
	return args;
}

static void expect_loaded(const char *name, bool expected)
{
	void *handle = dlopen(plugin_path(name), RTLD_NOW | RTLD_NOLOAD);

	ck_assert_msg(!handle == !expected, "%s is %sloaded", name, handle ? "" : "not ");
	if (handle)
		dlclose(handle);
}

static void tell_death(struct story *s)
{
	story_birth(s, 2, 1, "a");
	story_tell(s, story_exit(s, 2, 0));
	story_tell(s, story_free(s, 2));
	story_dispatch(s);
}

START_TEST(test_loads_and_unloads)
{
	struct story *s = story_begin();
	struct counting counting = { 0 };
	struct knell_plugin *plugin = NULL;
	struct knell_stats stats;

	ck_assert_int_eq(knell_plugin_load(s->engine, &plugin, plugin_path("counting"),
					   args_of(&counting)),
			 0);
	ck_assert_ptr_nonnull(plugin);
	ck_assert_uint_eq(counting.inits, 1);
	tell_death(s);
	tell_death(s);
	ck_assert_uint_eq(counting.exits, 2);
	ck_assert_uint_eq(counting.frees, 2);
	knell_get_stats(s->engine, &stats);
	ck_assert_uint_eq(stats.watcher_errors, 2);
	expect_loaded("counting", true);
	ck_assert_ptr_null(knell_plugin_unload(plugin));
	expect_loaded("counting", false);
	ck_assert_uint_eq(counting.finis, 1);
	tell_death(s);
	ck_assert_uint_eq(counting.exits, 2);
	ck_assert_ptr_null(knell_plugin_unload(NULL));
	story_end(s);
}
END_TEST

START_TEST(test_close_unloads)
{
	struct story *s = story_begin();
	struct counting counting = { 0 };

	ck_assert_int_eq(
		knell_plugin_load(s->engine, NULL, plugin_path("counting"), args_of(&counting)), 0);
	tell_death(s);
	story_end(s);
	ck_assert_uint_eq(counting.exits, 1);
	ck_assert_uint_eq(counting.finis, 1);
	expect_loaded("counting", false);
}
END_TEST

/* Two engines may have it at once, each with its own userdata; one may not have it twice. */
START_TEST(test_in_two_engines)
{
	struct story *s = story_begin(), *t = story_begin();
	struct counting a = { 0 }, b = { 0 };
	struct knell_plugin *plugin, *other;

	ck_assert_int_eq(
		knell_plugin_load(s->engine, &plugin, plugin_path("counting"), args_of(&a)), 0);
	ck_assert_int_eq(knell_plugin_load(t->engine, &other, plugin_path("counting"), args_of(&b)),
			 0);
	ck_assert_int_eq(knell_plugin_load(s->engine, NULL, plugin_path("counting"), args_of(&b)),
			 -EEXIST);
	ck_assert_uint_eq(b.inits, 1);
	tell_death(s);
	tell_death(t);
	knell_plugin_unload(plugin);
	ck_assert_uint_eq(a.finis, 1);
	tell_death(t);
	ck_assert_uint_eq(a.exits, 1);
	ck_assert_uint_eq(b.exits, 2);
	story_end(s);
	story_end(t);
	ck_assert_uint_eq(b.finis, 1);
}
END_TEST

struct unloader {
	struct knell_plugin *plugin;
	struct counting counting;
	uint64_t finis_inside;
};

static void unload_inside(void *data)
{
	struct unloader *unloader = data;

	unloader->plugin = knell_plugin_unload(unloader->plugin);
	unloader->finis_inside = unloader->counting.finis;
}

/* Its own watcher unloads it: it goes on running, and it goes when that has returned. */
START_TEST(test_unloads_itself)
{
	struct story *s = story_begin();
	struct unloader unloader = { 0 };

	unloader.counting.on_exit = unload_inside;
	unloader.counting.data = &unloader;
	ck_assert_int_eq(knell_plugin_load(s->engine, &unloader.plugin, plugin_path("counting"),
					   args_of(&unloader.counting)),
			 0);
	tell_death(s);
	ck_assert_ptr_null(unloader.plugin);
	ck_assert_uint_eq(unloader.finis_inside, 0);
	ck_assert_uint_eq(unloader.counting.finis, 1);
	ck_assert_uint_eq(unloader.counting.frees, 0);
	expect_loaded("counting", false);
	tell_death(s);
	ck_assert_uint_eq(unloader.counting.exits, 1);
	story_end(s);
}
END_TEST

START_TEST(test_kinds)
{
	const uint32_t expected = KNELL_MASK(KNELL_EXIT) | KNELL_MASK(KNELL_FREE);
	uint32_t kinds = 0;

	ck_assert_int_eq(knell_plugin_kinds(plugin_path("counting"), &kinds), 0);
	ck_assert_uint_eq(kinds, expected);
	expect_loaded("counting", false);
	ck_assert_int_eq(knell_plugin_kinds(plugin_path("NULL_ENTRY"), &kinds), -EINVAL);
	ck_assert_uint_eq(kinds, expected);
}
END_TEST

static const struct {
	const char *name;
	int error;
	const char *why;
} refused[] = {
	{ "OTHER_ABI", -EINVAL, "of ABI 2 (size" },
	{ "OTHER_SIZE", -EINVAL, "(size" },
	{ "NO_INFO", -EINVAL, "no KNELL_PLUGIN() line" },
	{ "NO_TABLE", -EINVAL, "has no table" },
	{ "NO_NAME", -EINVAL, "has no name" },
	{ "NO_WATCHER", -EINVAL, "--whole-archive" },
	{ "NULL_ENTRY", -EINVAL, "has no function" },
	{ "OTHER_ENTRY", -EINVAL, "of ABI 2" },
	{ "WRONG_KIND", -EINVAL, "says that it is of exec" },
	{ "OTHER_TABLE", -EINVAL, "table of watchers is of ABI 2" },
	{ "UNRESOLVED", -ENOEXEC, "function_that_nobody_has" },
	{ "not-there", -ENOENT, "not-there.so" },
};

static void expect_refused(const char *path, const char *args, int error, const char *why)
{
	static char untouched;
	struct knell_plugin *plugin = (void *)&untouched;
	struct story *s = story_begin();

	ck_assert_int_eq(knell_plugin_load(s->engine, &plugin, path, args), error);
	ck_assert_ptr_eq(plugin, (void *)&untouched);
	ck_assert_msg(strstr(knell_last_error(), why), "'%s' does not say '%s'", knell_last_error(),
		      why);
	ck_assert(!knell_engine_wants(s->engine, KNELL_EXIT));
	tell_death(s);
	story_end(s);
}

START_TEST(test_refused)
{
	expect_refused(plugin_path(refused[_i].name), NULL, refused[_i].error, refused[_i].why);
	expect_loaded(refused[_i].name, false);
}
END_TEST

START_TEST(test_no_object)
{
	char path[] = "/tmp/knell-plugin.XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	expect_refused(path, NULL, -ENOEXEC, "the loader refuses");
	ck_assert_int_eq(write(fd, "\177ELF\002\001\001", 7), 7);
	expect_refused(path, NULL, -ENOEXEC, "the loader refuses");
	close(fd);
	unlink(path);
	expect_refused(path, NULL, -ENOENT, path);
	expect_refused("/tmp", NULL, -EINVAL, "is not a file");
	expect_refused("", NULL, -EINVAL, "path");
	expect_refused(NULL, NULL, -EINVAL, "path");
}
END_TEST

START_TEST(test_init_refuses)
{
	struct counting counting = { .refuse = -EACCES };

	expect_refused(plugin_path("counting"), args_of(&counting), -EACCES, "refuses to start");
	ck_assert_uint_eq(counting.finis, 0);
	expect_loaded("counting", false);
	expect_refused(plugin_path("counting"), NULL, -EINVAL, "(counting) refuses to start");
}
END_TEST

/* A name without a slash is a file here, and not looked for elsewhere. */
START_TEST(test_plain_name)
{
	struct story *s = story_begin();
	struct counting counting = { 0 };
	const char *folder = getenv("KNELL_TEST_PLUGINS");

	ck_assert(folder && chdir(folder) == 0);
	ck_assert_int_eq(knell_plugin_load(s->engine, NULL, "counting.so", args_of(&counting)), 0);
	ck_assert_int_eq(knell_plugin_load(s->engine, NULL, "libc.so.6", NULL), -ENOENT);
	story_end(s);
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("plugin");
	TCase *tcase = unit_case(suite, "plugin");

	tcase_add_test(tcase, test_loads_and_unloads);
	tcase_add_test(tcase, test_close_unloads);
	tcase_add_test(tcase, test_in_two_engines);
	tcase_add_test(tcase, test_unloads_itself);
	tcase_add_test(tcase, test_kinds);
	tcase_add_test(tcase, test_plain_name);
	tcase = unit_case(suite, "refused");
	tcase_add_loop_test(tcase, test_refused, 0, (int)(sizeof(refused) / sizeof(refused[0])));
	tcase_add_test(tcase, test_no_object);
	tcase_add_test(tcase, test_init_refuses);
	return suite;
}
