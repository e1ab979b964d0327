/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * none.c - the source that hears nothing: for those who want their children reaped where no other
 * source works, and say so. It owns nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "source.h"

static int none_probe(struct knell_probe *probe)
{
	(void)probe;
	return 0;
}

static int none_open(struct knell_source **ret_source, struct knell_engine *engine,
		     const struct knell_options *options)
{
	struct knell_source *source = calloc(1, sizeof(*source));

	(void)options;
	if (!source)
		return knell_fail(-ENOMEM, "no memory for a source");
	source->ops = &knell_source_none;
	source->engine = engine;
	*ret_source = source;
	return 0;
}

static void none_close(struct knell_source *source)
{
	free(source);
}

static int none_fd(const struct knell_source *source)
{
	(void)source;
	return -1;
}

const struct knell_source_ops knell_source_none = {
	.name = "none",
	.summary = "nothing is heard; children are reaped",
	.explicit_only = true,
	.probe = none_probe,
	.open = none_open,
	.close = none_close,
	.fd = none_fd,
};
