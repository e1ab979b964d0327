/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify.c - opens and closes verify, and hands each record to the rules; see verify.h. Owns struct
 * verify.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "verify_data.h"

#define DEAD_DEFAULT 16384u

int verify_hear(struct verify *v, const struct knell_event *e)
{
	if (verify_unjudged(v))
		return -ENOMEM;
	if (!vf_check_shape(v, e))
		return 0;
	vf_check_number(v, e);
	if (e->kind == KNELL_GAP) {
		vf_hear_gap(v, e);
	} else {
		__atomic_fetch_add(&v->heard, 1, __ATOMIC_RELAXED);
		if (e->scope == KNELL_PROCESS)
			vf_hear_process(v, e);
		else
			vf_hear_thread(v, e);
	}
	vf_settle_old(v, e->time);
	return verify_unjudged(v) ? -ENOMEM : 0;
}

static int on_event(const struct knell_event *e, void *userdata)
{
	return verify_hear(userdata, e);
}

/* What is to be expected of this engine. */
static void ask_engine(struct verify *v)
{
	struct knell_options options = { .size = sizeof(options) };
	struct knell_stats stats;

	v->can = v->options.can;
	v->flags = v->options.opened;
	v->fresh = true;
	if (v->engine) {
		knell_get_options(v->engine, &options);
		knell_get_stats(v->engine, &stats);
		v->can = knell_can(v->engine);
		v->flags = options.flags;
		v->filtered = options.filter.match;
		v->fresh = !stats.records && !stats.lost_births && !stats.lost_deaths &&
			   !stats.lost_others;
		/* It counts messages, whatever they told. */
		v->mixed = strcmp(knell_source(v->engine), "connector") == 0;
	}
	v->mixed |= v->options.flags & VERIFY_MIXED_GAPS;
	v->births = v->can & KNELL_CAN_FORK;
	v->ids = v->flags & KNELL_O_IDS && v->can & KNELL_CAN_IDS && v->can & KNELL_CAN_OWNER;
}

int verify_open(struct verify **ret_verify, struct knell_engine *engine,
		const struct verify_options *options)
{
	struct verify *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	v->engine = engine;
	if (options)
		v->options = *options;
	v->dead_max =
		((v->options.dead ? v->options.dead : DEAD_DEFAULT) + VF_SHARDS - 1) / VF_SHARDS;
	ask_engine(v);
	v->opened_at = clock_ns(CLOCK_BOOTTIME);
	pthread_mutex_init(&v->tell_lock, NULL);
	r = vf_table_open(v);
	if (r == 0 && engine)
		r = knell_watcher_add(engine, KNELL_MASK_ALL, on_event, v);
	if (r < 0) {
		verify_close(v);
		return r;
	}
	*ret_verify = v;
	return 0;
}

struct verify *verify_close(struct verify *v)
{
	if (!v)
		return NULL;
	vf_table_close(v);
	vf_numbers_close(v);
	for (uint32_t i = 0; i < v->held_count; i++)
		free(v->held[i].text);
	for (size_t i = 0; i < v->text_count; i++)
		free(v->texts[i]);
	pthread_mutex_destroy(&v->tell_lock);
	free(v);
	return NULL;
}

uint64_t verify_violations(const struct verify *v)
{
	return __atomic_load_n(&v->violations, __ATOMIC_RELAXED);
}

uint64_t verify_unjudged(const struct verify *v)
{
	return __atomic_load_n(&v->unjudged, __ATOMIC_RELAXED);
}

const char *verify_text(const struct verify *v, size_t index)
{
	return index < v->text_count ? v->texts[index] : NULL;
}

int verify_with_open(void **ret_verify, struct knell_engine *engine, const char *options)
{
	struct verify_options o = { 0 };
	struct verify *v;
	int r;

	if (options && strcmp(options, "reapers") == 0)
		o.flags = VERIFY_REAPERS;
	else if (options && *options)
		return -EINVAL;
	r = verify_open(&v, engine, &o);
	if (r == 0)
		*ret_verify = v;
	return r;
}

int verify_with_close(void *verify, verify_fn say, void *userdata)
{
	struct verify *v = verify;
	uint64_t count = vf_end(v);
	int r = count > INT_MAX ? INT_MAX : (int)count;

	for (size_t i = 0; say && i < v->text_count; i++)
		say(v->texts[i], userdata);
	if (r == 0 && verify_unjudged(v))
		r = -ENOMEM;
	verify_close(v);
	return r;
}
