/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * options.c - the command line of the init, in the dialect of the name that it was started by: its
 * own, or the letters and the environment of tini, dumb-init and catatonit, so that a symbolic link
 * takes their places. Each dialect is a table; what an option does is the same in all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

#define DEFAULT_GRACE 10
#define MAX_GRACE     86400

enum option_id {
	OPTION_FORWARD,
	OPTION_REWRITE,
	OPTION_MAP_EXIT,
	OPTION_PARENT_DEATH,
	OPTION_ORPHANS,
	OPTION_GRACE,
	OPTION_STATUS_FILE,
	OPTION_LOG_ORPHANS,
	OPTION_PLUGIN,
	OPTION_GROUP,
	OPTION_SUBREAPER,
	OPTION_SINGLE_CHILD,
	OPTION_PAUSE,
	OPTION_VERBOSE,
	OPTION_LICENSE,
	OPTION_VERSION,
	OPTION_HELP
};

struct option {
	char letter;      /* '\0': none */
	const char *name; /* NULL: none */
	bool has_value;
	enum option_id id;
};

static const struct option knell_options[] = {
	{ '\0', "forward", true, OPTION_FORWARD },
	{ 'r', "rewrite", true, OPTION_REWRITE },
	{ 'e', "map-exit", true, OPTION_MAP_EXIT },
	{ 'p', "parent-death", true, OPTION_PARENT_DEATH },
	{ '\0', "orphans", true, OPTION_ORPHANS },
	{ '\0', "grace", true, OPTION_GRACE },
	{ '\0', "status-file", true, OPTION_STATUS_FILE },
	{ 'w', "log-orphans", false, OPTION_LOG_ORPHANS },
	{ '\0', "plugin", true, OPTION_PLUGIN },
	{ 'g', NULL, false, OPTION_GROUP },
	{ 's', NULL, false, OPTION_SUBREAPER },
	{ 'v', "verbose", false, OPTION_VERBOSE },
	{ 'l', "license", false, OPTION_LICENSE },
	{ 'V', "version", false, OPTION_VERSION },
	{ 'h', "help", false, OPTION_HELP },
	{ 0 },
};

static const struct option tini_options[] = {
	{ 's', NULL, false, OPTION_SUBREAPER }, { 'p', NULL, true, OPTION_PARENT_DEATH },
	{ 'v', NULL, false, OPTION_VERBOSE },   { 'w', NULL, false, OPTION_LOG_ORPHANS },
	{ 'g', NULL, false, OPTION_GROUP },     { 'e', NULL, true, OPTION_MAP_EXIT },
	{ 'l', NULL, false, OPTION_LICENSE },   { '\0', "version", false, OPTION_VERSION },
	{ 'h', "help", false, OPTION_HELP },    { 0 },
};

static const struct option dumb_init_options[] = {
	{ 'c', "single-child", false, OPTION_SINGLE_CHILD },
	{ 'r', "rewrite", true, OPTION_REWRITE },
	{ 'v', "verbose", false, OPTION_VERBOSE },
	{ 'V', "version", false, OPTION_VERSION },
	{ 'h', "help", false, OPTION_HELP },
	{ 0 },
};

static const struct option catatonit_options[] = {
	{ 'g', NULL, false, OPTION_GROUP },   { 'P', NULL, false, OPTION_PAUSE },
	{ 'L', NULL, false, OPTION_LICENSE }, { 'V', "version", false, OPTION_VERSION },
	{ 'h', "help", false, OPTION_HELP },  { 0 },
};

static const struct option *const dialect_options[] = {
	[INIT_KNELL] = knell_options,
	[INIT_TINI] = tini_options,
	[INIT_DUMB_INIT] = dumb_init_options,
	[INIT_CATATONIT] = catatonit_options,
};

static const struct {
	const char *name;
	enum init_dialect dialect;
} programs[] = {
	{ "tini", INIT_TINI },
	{ "docker-init", INIT_TINI },
	{ "dumb-init", INIT_DUMB_INIT },
	{ "catatonit", INIT_CATATONIT },
	{ "podman-init", INIT_CATATONIT },
};

/* ---- dialects ---- */

static enum init_dialect dialect_of(const char *argv0)
{
	static const char suffix[] = "-static";
	const char *slash = strrchr(argv0, '/');
	const char *name = slash ? slash + 1 : argv0;

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		size_t len = strlen(programs[i].name);

		if (strncmp(name, programs[i].name, len) == 0 &&
		    (!name[len] || strcmp(name + len, suffix) == 0))
			return programs[i].dialect;
	}
	return INIT_KNELL;
}

bool init_is_dialect(const char *argv0)
{
	return dialect_of(argv0) != INIT_KNELL;
}

static void set_single_child(struct init_options *o)
{
	o->forward = FORWARD_CHILD;
	o->own_session = o->end_group = false;
}

static void take_tini_environment(struct init_options *o)
{
	const char *verbosity = getenv("TINI_VERBOSITY");
	uint32_t n;

	if (getenv("TINI_SUBREAPER"))
		o->subreaper = true;
	if (getenv("TINI_KILL_PROCESS_GROUP"))
		o->forward = FORWARD_GROUP;
	if (verbosity && init_number(verbosity, 100, &n))
		o->verbosity = (int)n;
}

static void take_dumb_init_environment(struct init_options *o)
{
	const char *debug = getenv("DUMB_INIT_DEBUG"), *session = getenv("DUMB_INIT_SETSID");

	if (debug && strcmp(debug, "1") == 0)
		o->verbosity = VERBOSE_DEBUG;
	if (session && strcmp(session, "0") == 0)
		set_single_child(o);
}

static void set_defaults(struct init_options *o)
{
	o->grace = DEFAULT_GRACE;
	o->verbosity = VERBOSE_WARNINGS;
	for (unsigned int i = 0; i < INIT_SIGNALS; i++)
		o->rewrite[i] = (unsigned char)i;
	for (unsigned int i = 0; i < 256; i++)
		o->exit_map[i] = (unsigned char)i;
	o->own_group = o->dialect != INIT_DUMB_INIT;
	o->own_session = o->end_group = o->follow_stop = o->dialect == INIT_DUMB_INIT;
	o->subreaper = o->dialect == INIT_KNELL || o->dialect == INIT_CATATONIT;
	if (o->dialect == INIT_TINI)
		take_tini_environment(o);
	if (o->dialect == INIT_DUMB_INIT) {
		o->forward = FORWARD_GROUP;
		take_dumb_init_environment(o);
	}
}

/*
 * What the dialect does with the signals that stop, where the user did not say: a session of its
 * own has no shell that could continue it, so the kernel would drop them; catatonit drops them
 * itself, and tini those of the background.
 */
static void settle_stops(struct init_options *o)
{
	static const int stops[] = { SIGTSTP, SIGTTIN, SIGTTOU };

	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
		int signo = stops[i];

		if (o->rewritten[signo])
			continue;
		if (o->own_session)
			o->rewrite[signo] = SIGSTOP;
		if (o->dialect == INIT_CATATONIT || (o->dialect == INIT_TINI && signo != SIGTSTP))
			o->rewrite[signo] = 0;
	}
}

/* ---- values ---- */

static int refuse(const char *option, const char *text, const char *expected)
{
	init_say(option, ": '", text, "' is not ", expected);
	return -EINVAL;
}

/* One of these words: its place. */
static int parse_word(const char *text, const char *const words[3])
{
	for (int i = 0; i < 3; i++) {
		if (strcmp(text, words[i]) == 0)
			return i;
	}
	return -1;
}

static int parse_forward(struct init_options *o, const char *text)
{
	static const char *const words[] = { "child", "group", "tree" };
	int word = parse_word(text, words);

	if (word < 0)
		return refuse("--forward", text, "one of child, group and tree");
	o->forward = (enum init_forward)word;
	return 0;
}

static int parse_orphans(struct init_options *o, const char *text)
{
	static const char *const words[] = { "leave", "wait", "kill" };
	int word = parse_word(text, words);

	if (word < 0)
		return refuse("--orphans", text, "one of leave, wait and kill");
	o->orphans = (enum init_orphans)word;
	return 0;
}

/* The part of "A:B" before the colon, in `ret`; returns B, or NULL. */
static const char *split(const char *text, char *ret, size_t size)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);

	if (len >= size)
		len = size - 1;
	memcpy(ret, text, len);
	ret[len] = '\0';
	return colon ? colon + 1 : NULL;
}

static int parse_rewrite(struct init_options *o, const char *text)
{
	char name[32];
	const char *second = split(text, name, sizeof(name));
	int from = signals_number(name);
	int to = !second ? -1 : strcmp(second, "0") == 0 ? 0 : signals_number(second);

	if (from == SIGKILL || from == SIGSTOP || from == SIGCHLD) {
		init_say("--rewrite: '", text, "': ", name, " is never passed on");
		return -EINVAL;
	}
	if (from < 0 || to < 0)
		return refuse("--rewrite", text, "FROM:TO, two signals such as TERM:QUIT or 15:0");
	o->rewrite[from] = (unsigned char)to;
	o->rewritten[from] = true;
	return 0;
}

static int parse_map_exit(struct init_options *o, const char *text)
{
	char code[16];
	const char *second = split(text, code, sizeof(code));
	uint32_t from, to = 0;

	if (!init_number(code, 255, &from) || (second && !init_number(second, 255, &to)))
		return refuse(o->dialect == INIT_TINI ? "-e" : "--map-exit", text,
			      "CODE or CODE:TO, numbers from 0 to 255");
	o->exit_map[from] = (unsigned char)to;
	return 0;
}

static int parse_parent_death(struct init_options *o, const char *text)
{
	int signo = signals_number(text);

	if (signo < 0)
		return refuse(o->dialect == INIT_TINI ? "-p" : "--parent-death", text,
			      "a signal such as TERM, SIGKILL or 15");
	o->parent_death = signo;
	return 0;
}

static int print(const char *const texts[], size_t count)
{
	struct init_line line = { .len = 0 };
	int r;

	for (size_t i = 0; i < count; i++)
		line_text(&line, texts[i]);
	r = init_print(line.text, line.len);
	return r < 0 ? r : 1;
}

/* First what the other one says, to the letter: there are programs that read it. */
static int print_version(const struct init_options *o)
{
	static const char *const as[] = {
		[INIT_KNELL] = "knell init ",
		[INIT_TINI] = "tini version 0.19.0 (knell init ",
		[INIT_DUMB_INIT] = "dumb-init v1.2.5 (knell init ",
		[INIT_CATATONIT] = "tini version 0.1.7_catatonit (knell init ",
	};
	const char *const texts[] = { as[o->dialect], KNELL_VERSION,
				      o->dialect == INIT_KNELL ? "\n" : ")\n" };

	return print(texts, 3);
}

static int print_license(void)
{
	static const char *const texts[] = { "BSD-2-Clause OR GPL-2.0-only\n" };

	return print(texts, 1);
}

static int add_plugin(struct init_options *o, const char *text)
{
	if (o->plugin_count == INIT_PLUGINS)
		return refuse("--plugin", text, "one of the first 16, and more do not fit");
	o->plugins[o->plugin_count++] = text;
	return 0;
}

static int apply(struct init_options *o, enum option_id id, const char *value)
{
	switch (id) {
	case OPTION_FORWARD:
		return parse_forward(o, value);
	case OPTION_REWRITE:
		return parse_rewrite(o, value);
	case OPTION_MAP_EXIT:
		return parse_map_exit(o, value);
	case OPTION_PARENT_DEATH:
		return parse_parent_death(o, value);
	case OPTION_ORPHANS:
		return parse_orphans(o, value);
	case OPTION_GRACE:
		if (!init_number(value, MAX_GRACE, &o->grace))
			return refuse("--grace", value, "a number from 0 to 86400");
		return 0;
	case OPTION_STATUS_FILE:
		o->status_file = value;
		return 0;
	case OPTION_LOG_ORPHANS:
		o->log_orphans = true;
		return 0;
	case OPTION_PLUGIN:
		return add_plugin(o, value);
	case OPTION_GROUP:
		o->forward = FORWARD_GROUP;
		return 0;
	case OPTION_SUBREAPER:
		o->subreaper = true;
		return 0;
	case OPTION_SINGLE_CHILD:
		set_single_child(o);
		return 0;
	case OPTION_PAUSE:
		o->pause = true;
		return 0;
	case OPTION_VERBOSE:
		o->verbosity = o->dialect == INIT_DUMB_INIT ? VERBOSE_DEBUG : o->verbosity + 1;
		return 0;
	case OPTION_LICENSE:
		return print_license();
	case OPTION_VERSION:
		return print_version(o);
	case OPTION_HELP:
		return init_help(o->dialect) < 0 ? -EINVAL : 1;
	}
	return -EINVAL;
}

/* ---- words ---- */

struct words {
	char **argv;
	int argc, next;
};

static int unknown(const char *word)
{
	init_say("there is no option '", word, "'; -h lists them");
	return -EINVAL;
}

static int no_value(const char *word)
{
	init_say("option '", word, "' needs a value; -h tells which");
	return -EINVAL;
}

static int parse_long(struct init_options *o, struct words *words, const char *word)
{
	const char *name = word + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const char *value = equals ? equals + 1 : NULL;

	for (const struct option *p = dialect_options[o->dialect]; p->letter || p->name; p++) {
		if (!p->name || strlen(p->name) != len || strncmp(p->name, name, len) != 0)
			continue;
		if (!p->has_value) {
			if (!value)
				return apply(o, p->id, "");
			init_say("option '--", p->name, "' takes no value");
			return -EINVAL;
		}
		if (!value && words->next < words->argc)
			value = words->argv[words->next++];
		return value ? apply(o, p->id, value) : no_value(word);
	}
	return unknown(word);
}

/* "-vvg", "-eCODE", "-e CODE" */
static int parse_letters(struct init_options *o, struct words *words, const char *word)
{
	for (const char *letter = word + 1; *letter; letter++) {
		const struct option *p = dialect_options[o->dialect];
		const char *value = "";
		int r;

		while ((p->letter || p->name) && p->letter != *letter)
			p++;
		if (!p->letter)
			return unknown(word);
		if (p->has_value) {
			value = letter[1] ? letter + 1 : words->argv[words->next];
			words->next += !letter[1];
			if (!value)
				return no_value(word);
		}
		r = apply(o, p->id, value);
		if (r != 0 || p->has_value)
			return r;
	}
	return 0;
}

int init_parse(struct init_options *ret, int argc, char **argv)
{
	struct words words = { .argv = argv, .argc = argc, .next = 1 };

	*ret = (struct init_options){ .dialect = argc ? dialect_of(argv[0]) : INIT_KNELL };
	set_defaults(ret);
	while (words.next < argc) {
		const char *word = argv[words.next];
		int r;

		if (word[0] != '-' || !word[1])
			break;
		words.next++;
		if (strcmp(word, "--") == 0)
			break;
		r = word[1] == '-' ? parse_long(ret, &words, word)
				   : parse_letters(ret, &words, word);
		if (r != 0)
			return r;
	}
	settle_stops(ret);
	ret->command = argv + (words.next < argc ? words.next : argc);
	if (!*ret->command && !ret->pause) {
		init_say("no command given; -h shows how");
		return -EINVAL;
	}
	return 0;
}
