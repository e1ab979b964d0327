/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * why_find.c - hears a log line by line and keeps the deaths that are asked for; see why.h. Owns
 * the table of processes and the rings of deaths.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "watchers/words.h"
#include "why.h"

int why_open(struct why *why, const struct why_options *options)
{
	memset(why, 0, sizeof(*why));
	why->options = *options;
	why->doubted_end = &why->doubted;
	for (int i = 0; i < WHY_CLASSES; i++) {
		why->rings[i].size = options->newest;
		why->rings[i].at = calloc(options->newest, sizeof(struct why_death));
		if (!why->rings[i].at) {
			why_close(why);
			return -ENOMEM;
		}
	}
	if (why_lives_new(&why->lives) < 0) {
		why_close(why);
		return -ENOMEM;
	}
	return 0;
}

static void drop_death(struct why_death *death)
{
	why_life_unref(death->life);
	why_life_unref(death->sender);
	memset(death, 0, sizeof(*death));
}

void why_close(struct why *why)
{
	for (int i = 0; i < WHY_CLASSES; i++) {
		for (uint32_t n = 0; why->rings[i].at && n < why->rings[i].size; n++)
			drop_death(&why->rings[i].at[n]);
		free(why->rings[i].at);
		why->rings[i].at = NULL;
	}
	while (why->doubted) {
		struct why_life *life = why->doubted;

		why->doubted = life->doubt;
		why_life_unref(life);
	}
	why->lives = why_lives_free(why->lives);
	why_account_done(&why->account);
}

static bool is_asked(const struct why *why, uint64_t time)
{
	return time >= why->options.since && time <= why->options.until;
}

/* ---- names ---- */

/* Of a longer name the kernel keeps the first 15 bytes. */
bool why_is_name(const struct why_options *options, const char *comm)
{
	return options->name && *comm && strncmp(options->name, comm, KNELL_COMM_LEN - 1) == 0;
}

bool why_is_path(const struct why_options *options, const char *path)
{
	if (!options->name)
		return false;
	return strcmp(options->name, strchr(options->name, '/') ? path : words_basename(path)) == 0;
}

/* The name that it was born under is its parent's: it counts once nothing else comes of it. */
static void take_comm(struct why *why, struct why_life *life, const struct knell_event *e)
{
	bool born = e->kind == KNELL_CLONE || e->kind == KNELL_INIT;
	bool asked;

	if (e->unknown & KNELL_U_COMM)
		return;
	words_copy_comm(life->comm, e->comm);
	if (born)
		words_copy_comm(life->born_as, e->comm);
	life->flags |= WHY_NAMED;
	asked = why_is_name(&why->options, life->comm);
	if (asked && born && !(e->flags & KNELL_F_RECONCILED))
		life->flags |= WHY_INHERITED;
	else if (asked && (life->flags & (WHY_EXECED | WHY_INHERITED)) != (WHY_INHERITED))
		life->flags |= WHY_MATCH;
}

static enum why_class class_of(const struct why *why, const struct why_death *death)
{
	const struct why_life *life = death->life;
	const struct knell_event *e = &death->event;
	bool born_only = life->flags & WHY_INHERITED && life->flags & WHY_EXECED &&
			 !(life->flags & WHY_MATCH);

	if (born_only && !why->options.all)
		return WHY_ONLY_BORN;
	if (death->fate != WHY_DIED || !why->options.name || why->options.all ||
	    e->unknown & KNELL_U_STATUS || words_failed(&e->u.exit, e->unknown) ||
	    words_was_warned(&e->u.exit, e->unknown))
		return WHY_NOTABLE;
	return WHY_CLEAN;
}

static bool is_wanted(const struct why *why, const struct why_life *life)
{
	if (!why->options.name)
		return life->pid == why->options.pid;
	return life->flags & (WHY_MATCH | WHY_INHERITED);
}

/* ---- deaths ---- */

/* Takes the references that `death` has. */
static void keep_death(struct why *why, struct why_death *death)
{
	struct why_ring *ring = &why->rings[class_of(why, death)];
	struct why_death *place = &ring->at[ring->total % ring->size];

	drop_death(place);
	death->number = ++why->number;
	*place = *death;
	ring->total++;
	ring->last = death->time;
}

/* Somebody who was alive at `heard` is not any more. */
static void keep_unheard(struct why *why, struct why_life *life, enum why_fate fate, uint64_t heard,
			 uint64_t time)
{
	struct why_death death = {
		.fate = fate,
		.time = time,
		.heard = heard,
		.event.unknown = ~0u,
		.losses = why_losses_since(&why->account.sum, &life->losses),
	};

	if (!is_wanted(why, life) || !is_asked(why, time))
		return;
	death.life = why_life_ref(life);
	keep_death(why, &death);
}

/* Who sent it, if the log knows more of it than the record: the number alone could mislead. */
static struct why_life *find_sender(struct why *why, const struct knell_signal *signal)
{
	struct why_life *life;

	if (!(signal->known & KNELL_S_PID) || !signal->pid || !signal->time)
		return NULL;
	life = why_lives_at(why->lives, signal->pid, signal->time);
	if (!life)
		return NULL;
	if (signal->known & KNELL_S_COMM && life->flags & WHY_NAMED &&
	    memcmp(life->comm, signal->comm, KNELL_COMM_LEN) != 0)
		return NULL;
	return why_life_ref(life);
}

static void keep_heard(struct why *why, struct why_life *life, const struct knell_event *e)
{
	struct why_death death = {
		.fate = WHY_DIED,
		.time = e->time,
		.losses = why_losses_since(&why->account.sum, &life->losses),
	};
	const struct knell_signal *signal =
		e->u.exit.killer.known ? &e->u.exit.killer : &e->u.exit.last_term;

	if (!is_wanted(why, life))
		return;
	memcpy(&death.event, e, sizeof(death.event));
	death.life = why_life_ref(life);
	death.sender = find_sender(why, signal);
	keep_death(why, &death);
}

/* The kernel's final account comes shortly after the death. */
static void take_account(struct why *why, const struct why_life *life, const struct knell_event *e)
{
	const uint32_t bits = KNELL_U_TIMES | KNELL_U_RSS | KNELL_U_FAULTS;

	if ((e->unknown & bits) == bits)
		return;
	for (int i = 0; i < WHY_CLASSES; i++) {
		struct why_ring *ring = &why->rings[i];

		for (uint64_t n = ring->total; n > 0 && ring->total - n < ring->size; n--) {
			struct why_death *death = &ring->at[(n - 1) % ring->size];

			if (death->life != life)
				continue;
			death->event.u.exit.usage = e->u.free.usage;
			death->event.unknown = (death->event.unknown & ~bits) | (e->unknown & bits);
			return;
		}
	}
}

/* ---- lives ---- */

/*
 * Whoever had this number before is dead. That may be told yet: in a batch births come first, and
 * only what one process does to another is in order.
 */
static void doubt_namesakes(struct why *why, uint32_t pid, uint64_t time)
{
	struct why_life *other;

	while ((other = why_lives_superseded(why->lives, pid))) {
		other->flags |= WHY_DOUBTED;
		other->gone = time;
		*why->doubted_end = why_life_ref(other);
		why->doubted_end = &other->doubt;
	}
}

/* No more deaths of before that time will come: who is doubted since then died unheard. */
static void end_doubts(struct why *why, uint64_t time)
{
	struct why_life *life;

	while ((life = why->doubted) && life->gone < time) {
		why->doubted = life->doubt;
		if (!why->doubted)
			why->doubted_end = &why->doubted;
		life->doubt = NULL;
		if (!(life->flags & WHY_DEAD)) {
			keep_unheard(why, life, WHY_REUSED, life->start, life->gone);
			why_lives_forget(why->lives, life);
		}
		why_life_unref(life);
	}
}

/* A parent that was not heard of itself: a child is born under its parent's name. */
static struct why_life *find_parent(struct why *why, const struct knell_event *e)
{
	struct why_life *parent;

	if (e->unknown & KNELL_U_PARENT || !e->parent.tgid)
		return NULL;
	parent = why_lives_find(why->lives, e->parent.tgid, e->parent.start, why->run);
	if (!parent) {
		parent = why_lives_add(why->lives, e->parent.tgid, e->parent.start, why->run);
		if (!parent) {
			why->memory = true;
			return NULL;
		}
		parent->losses = why->account.sum;
		doubt_namesakes(why, parent->pid, e->time);
	}
	if (!(parent->flags & WHY_NAMED) && e->kind == KNELL_CLONE &&
	    !(e->flags & KNELL_F_RECONCILED) && !(e->unknown & KNELL_U_COMM))
		words_copy_comm(parent->comm, e->comm);
	return parent;
}

/* NULL: no memory. */
static struct why_life *find_life(struct why *why, const struct knell_event *e)
{
	struct why_life *life = why_lives_find(why->lives, e->task.tgid, e->task.start, why->run);

	if (!life) {
		life = why_lives_add(why->lives, e->task.tgid, e->task.start, why->run);
		if (!life) {
			why->memory = true;
			return NULL;
		}
		life->losses = why->account.sum;
		doubt_namesakes(why, life->pid, e->time);
	}
	if (!life->parent)
		why_life_set_parent(life, find_parent(why, e));
	if (!(e->unknown & KNELL_U_CGROUP))
		life->cgroup = e->cgroup;
	if (!(e->unknown & KNELL_U_UID)) {
		life->uid = e->uid;
		life->flags |= WHY_UID;
	}
	return life;
}

static void hear_birth(struct why_life *life, const struct knell_event *e)
{
	if (!(e->flags & KNELL_F_RECONCILED))
		life->flags |= WHY_HEARD;
}

static void *copy(const void *from, size_t size)
{
	void *to = malloc(size);

	if (to)
		memcpy(to, from, size);
	return to;
}

static void hear_exec(struct why *why, struct why_life *life, const struct knell_event *e)
{
	life->flags |= WHY_EXECED;
	life->flags &= ~WHY_ARGS;
	free(life->path);
	free(life->args);
	life->path = life->args = NULL;
	life->args_len = 0;
	if (!(e->unknown & KNELL_U_FILE)) {
		life->path = copy(knell_exec_file(e), e->u.exec.file_len + 1ul);
		why->memory = why->memory || !life->path;
		if (life->path && why_is_path(&why->options, life->path))
			life->flags |= WHY_MATCH;
	}
	if (!(e->unknown & KNELL_U_ARGS) && e->u.exec.args_len) {
		life->args = copy(knell_exec_args(e), e->u.exec.args_len);
		why->memory = why->memory || !life->args;
		if (life->args) {
			life->args_len = e->u.exec.args_len;
			life->flags |= WHY_ARGS;
		}
	}
}

static void hear_exit(struct why *why, struct why_life *life, const struct knell_event *e)
{
	if (life->flags & WHY_DEAD)
		return; /* nobody dies twice: the same file was given twice */
	life->died = e->time;
	life->flags |= WHY_DEAD;
	if (is_asked(why, e->time)) {
		why->deaths++;
		keep_heard(why, life, e);
	}
	why_lives_died(why->lives, life);
}

static void hear_process(struct why *why, const struct knell_event *e)
{
	struct why_life *life;

	if (e->scope != KNELL_PROCESS)
		return;
	if (e->kind == KNELL_FREE) {
		life = why_lives_find(why->lives, e->task.tgid, e->task.start, why->run);
		if (life && life->flags & WHY_DEAD)
			take_account(why, life, e);
		return;
	}
	if (why->doubted && e->time > WHY_PATIENCE)
		end_doubts(why, e->time - WHY_PATIENCE);
	life = find_life(why, e);
	if (!life)
		return;
	if (e->kind == KNELL_EXEC)
		hear_exec(why, life, e);
	take_comm(why, life, e);
	if (e->kind == KNELL_CLONE || e->kind == KNELL_INIT)
		hear_birth(life, e);
	else if (e->kind == KNELL_EXIT)
		hear_exit(why, life, e);
}

/* ---- the log itself ---- */

static void lose(struct why *why, const struct why_losses *losses, uint64_t time)
{
	why_losses_add(&why->account.sum, losses);
	if (is_asked(why, time))
		why_losses_add(&why->account.span, losses);
}

static void end_of_boot(struct why_life *life, void *userdata)
{
	struct why *why = userdata;

	keep_unheard(why, life, WHY_REBOOT, why->end, why->end);
}

static void hear_start(struct why *why, const struct json_line *line)
{
	bool reboot =
		why->boot_id[0] && line->boot_id[0] && strcmp(why->boot_id, line->boot_id) != 0;

	if (line->boot_id[0])
		memcpy(why->boot_id, line->boot_id, sizeof(why->boot_id));
	if (line->continued)
		return;
	if (!reboot) {
		if (!why->restart && why->lines > 1)
			why->stopped = why->end;
		why->restart = why->lines > 1;
		why->began = line->time;
		return;
	}
	why_account_restart(&why->account, why->end, line->time, true);
	end_doubts(why, UINT64_MAX);
	why_lives_each(why->lives, end_of_boot, why);
	why_lives_forget_all(why->lives);
	why->restart = false;
	why->run++;
}

/* `before`: when the line before this one was written. */
static int hear_number(struct why *why, const struct knell_event *e, uint64_t before)
{
	struct why_losses losses = { 0 };
	int order = why_account_number(&why->account, e, why->restart, &losses.missing);

	why->restart = false;
	if (order == WHY_NEW_RUN) {
		uint64_t from = why->stopped ? why->stopped : before;

		why_account_restart(&why->account, from,
				    why->began >= from ? why->began
				    : e->time          ? e->time
						       : from,
				    false);
		why->run++;
		why->stopped = 0;
	} else if (order == WHY_JUMP) {
		lose(why, &losses, e->time);
	}
	return order < 0 ? order : 0;
}

static int hear_event(struct why *why, const struct knell_event *e, uint64_t before)
{
	int error = hear_number(why, e, before);

	if (error < 0)
		return error;
	if (e->kind == KNELL_GAP) {
		const struct why_losses losses = {
			.births = e->u.gap.births,
			.deaths = e->u.gap.deaths,
			.others = e->u.gap.others,
		};

		lose(why, &losses, e->time ? e->time : before);
	} else {
		hear_process(why, e);
	}
	return why->memory ? -ENOMEM : 0;
}

int why_hear(struct why *why, const struct json_line *line)
{
	struct why_losses losses = { 0 };
	uint64_t before = why->end;
	int error = 0;

	why->lines++;
	if (!why->begin)
		why->begin = line->time;
	switch (line->kind) {
	case JSON_LINE_EVENT:
		error = hear_event(why, &line->event, before);
		break;
	case JSON_LINE_START:
		hear_start(why, line);
		break;
	case JSON_LINE_SUPPRESSED:
		losses.suppressed = line->count;
		lose(why, &losses, line->time);
		break;
	case JSON_LINE_SUMMARY:
		losses.unwritten = line->count;
		lose(why, &losses, line->time);
		why->restart = true;
		why->stopped = line->time ? line->time : before;
		break;
	case JSON_LINE_OTHER:
		break;
	}
	if (line->time > why->end)
		why->end = line->time;
	return error;
}

/* ---- the end ---- */

/* Where the clock was set since, starts do not compare: its death is not certain. */
static bool is_namesake(const struct why_life *life)
{
	struct why_process process;

	return why_process_is(life->pid, 0, &process) &&
	       memcmp(process.comm, life->comm, KNELL_COMM_LEN) == 0;
}

static void settle(struct why_life *life, void *userdata)
{
	struct why *why = userdata;
	struct why_process process;

	if (!is_wanted(why, life) ||
	    (life->flags & WHY_INHERITED && life->flags & WHY_EXECED && !(life->flags & WHY_MATCH)))
		return;
	if (!why->this_boot)
		why->unsettled++;
	else if (!why_process_is(life->pid, life->start, &process) && !is_namesake(life))
		keep_unheard(why, life, WHY_STOPPED, why->end, why->end);
}

/* Without a boot id, a log that was written since this machine was started is taken for its own. */
void why_finish(struct why *why, const char *boot_id, uint64_t booted)
{
	if (why->boot_id[0] && boot_id)
		why->this_boot = strcmp(why->boot_id, boot_id) == 0;
	else
		why->this_boot = why->begin >= booted;
	why->booted = booted;
	end_doubts(why, UINT64_MAX);
	why_lives_each(why->lives, settle, why);
	why_find_alive(why);
}

bool why_is_here(const struct why *why, uint64_t time)
{
	return why->this_boot && time >= why->booted;
}

/* Who died unheard was added late. */
static int by_time(const void *a, const void *b)
{
	const struct why_death *x = *(const struct why_death *const *)a,
			       *y = *(const struct why_death *const *)b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

uint32_t why_select(const struct why *why, const struct why_death **ret, enum why_class *ret_class)
{
	for (int class = 0; class < WHY_CLASSES; class ++) {
		const struct why_ring *ring = &why->rings[class];
		uint32_t count = ring->total < ring->size ? (uint32_t)ring->total : ring->size;

		if (!count)
			continue;
		for (uint32_t i = 0; i < count; i++)
			ret[i] = &ring->at[i];
		qsort(ret, count, sizeof(const struct why_death *), by_time);
		*ret_class = (enum why_class) class;
		return count;
	}
	return 0;
}
