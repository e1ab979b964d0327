/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * plugin.c - plugins: shared objects that bring a table of watchers. Each engine owns those that
 * were loaded into it; knell_close() unloads them. Everything in the file is checked before any of
 * its functions is called, but for the constructors, which the loader runs.
 *
 * The order of unloading: its watchers leave, all walks that may have met them end, fini, dlclose.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "join.h"
#include "plugin.h"
#include "rcu.h"
#include "table.h"

#define INFO_SYMBOL "knell_plugin_info"

struct knell_plugin {
	struct retired retired; /* unloaded inside a watcher */
	struct knell_engine *engine;
	struct knell_plugin *next, **link; /* in engine->plugins */
	void *handle;
	const struct knell_plugin_info *info;
	void *userdata;
};

/* ---- opening ---- */

/* The loader's own words name the file, but not why it could not be read. */
static int check_file(const char *file)
{
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r = 0;

	if (fd < 0)
		return knell_fail(-errno, "cannot read the plugin '%s': %s", file, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		r = knell_fail(-EINVAL, "the plugin '%s' is not a file", file);
	close(fd);
	return r;
}

/* A name without a slash would be looked for in the system's folders. */
static int open_handle(void **ret, const char *file)
{
	char *path = NULL;
	void *handle;
	int r;

	if (!file || !*file)
		return knell_fail(-EINVAL, "a plugin needs the path of its file");
	if (asprintf(&path, "%s%s", strchr(file, '/') ? "" : "./", file) < 0)
		return knell_fail(-ENOMEM, "no memory for a plugin");
	r = check_file(path);
	if (r == 0) {
		handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		rcu_got_pages();
		if (handle)
			*ret = handle;
		else
			r = knell_fail(-ENOEXEC, "the loader refuses the plugin: %s", dlerror());
	}
	free(path);
	return r;
}

/* How many watchers it has, or -errno. */
static int check_info(const struct knell_plugin_info *info, const char *file, uint32_t *ret_kinds)
{
	int count;

	if (!info)
		return knell_fail(
			-EINVAL, "'%s' is no plugin of Knell: it has no KNELL_PLUGIN() line", file);
	if (info->abi != KNELL_WATCHER_ABI || info->size != sizeof(*info))
		return knell_fail(
			-EINVAL,
			"the plugin '%s' is of ABI %u (size %u), this libknell knows %u (%zu): "
			"compile it with this libknell's <knell/watcher.h>",
			file, info->abi, info->size, KNELL_WATCHER_ABI, sizeof(*info));
	if (!info->name || !info->table)
		return knell_fail(-EINVAL, "the plugin '%s' has no %s: use KNELL_PLUGIN()", file,
				  info->name ? "table" : "name");
	count = join_check(info->table, ret_kinds);
	if (count < 0)
		return knell_fail(count, "the plugin '%s': %s", file, knell_last_error());
	if (count == 0 && !info->init)
		return knell_fail(-EINVAL,
				  "the plugin '%s' has no watcher; one that was linked from a "
				  "static archive needs -Wl,--whole-archive",
				  file);
	return count;
}

static int open_plugin(void **ret_handle, const struct knell_plugin_info **ret_info,
		       const char *file, uint32_t *ret_kinds)
{
	const struct knell_plugin_info *info;
	void *handle = NULL;
	int r = open_handle(&handle, file);

	if (!handle)
		return r;
	info = dlsym(handle, INFO_SYMBOL);
	r = check_info(info, file, ret_kinds);
	if (r < 0) {
		dlclose(handle);
		return r;
	}
	*ret_handle = handle;
	*ret_info = info;
	return 0;
}

int knell_plugin_kinds(const char *file, uint32_t *ret_kinds)
{
	const struct knell_plugin_info *info;
	uint32_t kinds = 0;
	void *handle = NULL;
	int r = open_plugin(&handle, &info, file, &kinds);

	if (!handle)
		return r;
	dlclose(handle);
	*ret_kinds = kinds;
	return 0;
}

/* ---- in an engine ---- */

static void put_in(struct knell_engine *engine, struct knell_plugin *plugin)
{
	pthread_mutex_lock(&engine->plugin_lock);
	plugin->next = engine->plugins;
	plugin->link = &engine->plugins;
	if (plugin->next)
		plugin->next->link = &plugin->next;
	engine->plugins = plugin;
	pthread_mutex_unlock(&engine->plugin_lock);
}

static void take_out(struct knell_plugin *plugin)
{
	struct knell_engine *engine = plugin->engine;

	pthread_mutex_lock(&engine->plugin_lock);
	*plugin->link = plugin->next;
	if (plugin->next)
		plugin->next->link = plugin->link;
	pthread_mutex_unlock(&engine->plugin_lock);
}

static bool has_handle(struct knell_engine *engine, const void *handle)
{
	const struct knell_plugin *p;

	pthread_mutex_lock(&engine->plugin_lock);
	for (p = engine->plugins; p && p->handle != handle; p = p->next)
		;
	pthread_mutex_unlock(&engine->plugin_lock);
	return p;
}

/* Its watchers are gone, and nobody runs in it. */
static void end_plugin(struct knell_plugin *plugin)
{
	if (plugin->info->fini)
		plugin->info->fini(plugin->userdata);
	dlclose(plugin->handle);
	rcu_gave_pages_back();
	free(plugin);
}

static void end_retired(struct retired *retired)
{
	end_plugin((struct knell_plugin *)retired); /* its first member */
}

static int start(struct knell_plugin *plugin, const char *file, const char *args)
{
	const struct knell_plugin_info *info = plugin->info;
	int r;

	if (info->init) {
		r = info->init(plugin->engine, args ? args : "", &plugin->userdata);
		if (r < 0)
			return knell_fail(r, "the plugin '%s' (%s) refuses to start: %s", file,
					  info->name, strerror(-r));
	}
	r = knell_table_join(plugin->engine, info->table, plugin->userdata);
	if (r >= 0)
		return 0;
	if (info->fini)
		info->fini(plugin->userdata);
	return knell_fail(r, "the plugin '%s': %s", file, knell_last_error());
}

int knell_plugin_load(struct knell_engine *engine, struct knell_plugin **ret_plugin,
		      const char *file, const char *args)
{
	struct knell_plugin *plugin = calloc(1, sizeof(*plugin));
	int r;

	if (!plugin)
		return knell_fail(-ENOMEM, "no memory for a plugin");
	plugin->retired.free = end_retired;
	plugin->engine = engine;
	r = open_plugin(&plugin->handle, &plugin->info, file, NULL);
	if (!plugin->handle) {
		free(plugin);
		return r;
	}
	if (has_handle(engine, plugin->handle))
		r = knell_fail(-EEXIST, "the plugin '%s' is loaded already", file);
	else
		r = start(plugin, file, args);
	if (r < 0) {
		dlclose(plugin->handle);
		free(plugin);
		return r;
	}
	put_in(engine, plugin);
	if (ret_plugin)
		*ret_plugin = plugin;
	return 0;
}

struct knell_plugin *knell_plugin_unload(struct knell_plugin *plugin)
{
	bool inside = table_is_inside();
	struct table *table;

	if (!plugin)
		return NULL;
	table = plugin->engine->table;
	if (join_leave(plugin->engine, plugin->info->table) < 0)
		return plugin;
	take_out(plugin);
	if (inside) /* before it is settled, which another thread may do at once */
		table_retire(table, &plugin->retired);
	table_settle(table);
	if (!inside)
		end_plugin(plugin);
	return NULL;
}

/* Nobody walks the table any more, so that watchers that cannot leave it do no harm. */
void plugins_close(struct knell_engine *engine)
{
	struct knell_plugin *plugin;

	while ((plugin = engine->plugins) != NULL) {
		engine->plugins = plugin->next;
		if (plugin->next)
			plugin->next->link = &engine->plugins;
		join_leave(engine, plugin->info->table);
		table_settle(engine->table);
		end_plugin(plugin);
	}
}
