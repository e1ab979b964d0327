/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * audit_options.c - reads the options of an audit log: file=PATH, syslog, journal, fsync=, rate=,
 * queue=, args, separated by commas. Owns nothing.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "audit_out.h"
#include "audit_queue.h"

#define DEFAULT_QUEUE (UINT64_C(16) << 20)
#define MAX_QUEUE     (UINT64_C(16) << 30)
#define MAX_SECONDS   86400u
#define DEV_LOG       "/dev/log"
#define JOURNAL       "/run/systemd/journal/socket"

/* One option: "name" or "name=value"; `value` is NULL without one. */
struct option {
	const char *name;
	size_t name_len;
	const char *value;
	size_t value_len;
};

struct parse {
	struct audit_options *o;
	bool has_target;
	char *why;
	size_t size;
};

static bool is(const struct option *option, const char *name)
{
	return strlen(name) == option->name_len &&
	       memcmp(name, option->name, option->name_len) == 0;
}

static int refuse(struct parse *p, const struct option *option, const char *expected)
{
	snprintf(p->why, p->size, "%.*s='%.*s': %s", (int)option->name_len, option->name,
		 option->value ? (int)option->value_len : 0, option->value ? option->value : "",
		 expected);
	return -EINVAL;
}

static int take_target(struct parse *p, const struct option *option, enum audit_kind kind,
		       const char *path)
{
	size_t len = option->value ? option->value_len : strlen(path);

	if (p->has_target)
		return refuse(p, option,
			      "one target only: file, syslog or journal (--with may be repeated)");
	if (option->value)
		path = option->value;
	if (len == 0 || len >= AUDIT_PATH_MAX)
		return refuse(p, option, "a path is needed");
	p->has_target = true;
	p->o->kind = kind;
	memcpy(p->o->path, path, len);
	p->o->path[len] = '\0';
	return 0;
}

/* Decimal digits and, with `units`, one of k, M and G. */
static bool number(const struct option *option, uint64_t max, bool units, uint64_t *ret)
{
	uint64_t value = 0;
	size_t i = 0, shift = 0;

	for (; i < option->value_len && option->value[i] >= '0' && option->value[i] <= '9'; i++) {
		if (value > max)
			return false;
		value = value * 10 + (uint64_t)(option->value[i] - '0');
	}
	if (i > 0 && units && i + 1 == option->value_len) {
		const char *unit = strchr("kMG", option->value[i]);

		shift = unit ? (size_t)(unit - "kMG" + 1) * 10 : 0;
		i += unit != NULL;
	}
	if (i == 0 || i < option->value_len || value > max >> shift)
		return false;
	*ret = value << shift;
	return true;
}

static bool value_is(const struct option *option, const char *text)
{
	return strlen(text) == option->value_len &&
	       memcmp(text, option->value, option->value_len) == 0;
}

static int take_sync(struct parse *p, const struct option *option)
{
	uint64_t seconds;

	if (option->value && value_is(option, "never")) {
		p->o->sync = AUDIT_SYNC_NEVER;
	} else if (option->value && value_is(option, "each")) {
		p->o->sync = AUDIT_SYNC_EACH;
	} else if (option->value && number(option, MAX_SECONDS, false, &seconds) && seconds) {
		p->o->sync = AUDIT_SYNC_SECONDS;
		p->o->sync_seconds = (uint32_t)seconds;
	} else {
		return refuse(p, option, "never, each, or seconds from 1 to 86400");
	}
	return 0;
}

static int take_rate(struct parse *p, const struct option *option)
{
	uint64_t rate;

	if (!option->value || !number(option, UINT32_MAX, true, &rate) || !rate)
		return refuse(p, option, "records per second, at least 1");
	p->o->rate = (uint32_t)rate;
	return 0;
}

static int take_queue(struct parse *p, const struct option *option)
{
	if (!option->value || !number(option, MAX_QUEUE, true, &p->o->queue) ||
	    p->o->queue < AUDIT_QUEUE_MIN)
		return refuse(p, option, "bytes, such as 64k, 16M or 1G; from 64k to 16G");
	return 0;
}

static int take_option(struct parse *p, const struct option *option)
{
	if (is(option, "file"))
		return take_target(p, option, AUDIT_FILE, "");
	if (is(option, "syslog"))
		return take_target(p, option, AUDIT_SYSLOG, DEV_LOG);
	if (is(option, "journal"))
		return take_target(p, option, AUDIT_JOURNAL, JOURNAL);
	if (is(option, "fsync"))
		return take_sync(p, option);
	if (is(option, "rate"))
		return take_rate(p, option);
	if (is(option, "queue"))
		return take_queue(p, option);
	if (is(option, "args") && !option->value) {
		p->o->args = true;
		return 0;
	}
	snprintf(p->why, p->size,
		 "'%.*s' is none of file=PATH, syslog, journal, fsync=, rate=, queue= and args",
		 (int)option->name_len, option->name);
	return -EINVAL;
}

static struct option split(const char *text, size_t len)
{
	const char *sign = memchr(text, '=', len);
	struct option option = { .name = text, .name_len = len };

	if (sign) {
		option.name_len = (size_t)(sign - text);
		option.value = sign + 1;
		option.value_len = len - option.name_len - 1;
	}
	return option;
}

int audit_parse(struct audit_options *ret_options, const char *text, char *why, size_t size)
{
	struct audit_options o = { .queue = DEFAULT_QUEUE, .path = AUDIT_DEFAULT_PATH };
	struct parse p = { .o = &o, .size = size };

	p.why = why;
	while (text && *text) {
		size_t len = strcspn(text, ",");
		struct option option = split(text, len);
		int r = take_option(&p, &option);

		if (r < 0)
			return r;
		text += len;
		text += *text == ',';
	}
	*ret_options = o;
	return 0;
}
