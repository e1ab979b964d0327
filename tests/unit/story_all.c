/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * story_all.c - a story that has every kind of record, every flag, every field known and every
 * field unknown; see story.h.
 */
#include <signal.h>
#include <string.h>

#include "story.h"

/* As it is, with all flags and one field after the other unknown, and with none known. */
static void tell_variants(struct story *s, struct knell_event *e)
{
	story_tell(s, e);
	for (unsigned int bit = 0; bit <= 16; bit++) {
		e->unknown = 1u << bit;
		story_tell(s, e);
	}
	e->flags = KNELL_F_ROOT | KNELL_F_REPLACED | KNELL_F_RECONCILED | KNELL_F_TRUNCATED |
		   KNELL_F_START_STAMP | KNELL_F_USAGE_FINAL;
	e->cookie = 7;
	e->scope = KNELL_THREAD;
	memcpy(e->comm, "\xff", 2);
	e->unknown = 0;
	story_tell(s, e);
	e->unknown = UINT32_MAX;
	story_tell(s, e);
}

static void tell_deaths(struct story *s)
{
	tell_variants(s, story_exit(s, 12, EXITED(255)));
	for (unsigned int reason = 0; reason <= KNELL_REASON_MAX; reason++) {
		struct knell_exit *death = &story_exit(s, 12, DUMPED(SIGABRT))->u.exit;

		death->reason = (uint8_t)reason;
		death->killer = story_signal(SIGABRT, 9, "k\xff", 0, 8, "p\xff");
		death->killer.code = -6;
		death->last_term = story_signal(SIGTERM, 9, "k\xff", 0, 8, "p\xff");
		death->last_term.reason = (uint8_t)reason;
		tell_variants(s, &s->record.event);
	}
}

void story_tell_all(struct story *s)
{
	static const char args[] = "cc\0-o\0\xff\0\"\\\x01\x7f";

	tell_variants(s, story_birth(s, 12, 11, "cc"));
	story_birth(s, 13, 12, "cc")->kind = KNELL_INIT;
	tell_variants(s, &s->record.event);
	tell_variants(s, story_exec_args(s, 12, "/\xff/\"", 4, args, sizeof(args)));
	tell_variants(s, story_exec(s, 12, "/bin/cc"));
	tell_variants(s, story_ids(s, 12, KNELL_UID));
	tell_variants(s, story_ids(s, 12, KNELL_GID));
	tell_deaths(s);
	tell_variants(s, story_free(s, 12));
	for (unsigned int cause = 0; cause <= KNELL_GAP_MISSED + 1; cause++)
		story_tell(s, story_gap(s, 1, 2, 3, cause));
}
