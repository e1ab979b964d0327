// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * watchers.c - the test module's watchers, one for each kind and some more, to be told apart:
 *
 *   reserve  at load: they join, with this reserve; 0: they do not
 *   follow   the process whose story is written down, one letter for each call
 *   slow     each watcher of an exit sleeps so many ms
 *   story    read: those letters
 *   sums     read: BORN DEAD LOST_BORN LOST_DEAD LOST_OTHERS FILTERED ERRORS
 *   where    read: an address in the code of a watcher
 *   scratch  written: tries to write to an entry of the table; EROFS: it faulted, as it should
 *
 * Owns what they hear. Calls of one table never overlap, which is checked, so nothing is locked.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <knell/watcher.h>

#include "watchers.h"

static unsigned int reserve;
module_param(reserve, uint, 0400);
MODULE_PARM_DESC(reserve, "the watchers' reserve; 0: they do not join");
static unsigned int follow;
module_param(follow, uint, 0600);
MODULE_PARM_DESC(follow, "whose story is written down");
static unsigned int slow;
module_param(slow, uint, 0600);
MODULE_PARM_DESC(slow, "each watcher of an exit sleeps so many ms");

static int mark; /* its address is the watchers' userdata */
static atomic_t inside;
static char story[64];
static unsigned int length;
static u64 born, dead, lost_born, lost_dead, lost_others, filtered, errors;
static unsigned long where;

static void write_down(const struct knell_event *event, char letter)
{
	if (event->task.tgid == follow && length < sizeof(story) - 1)
		story[length++] = letter;
}

/* What holds of each call. */
static void begin(const struct knell_event *event, const void *userdata, u8 kind)
{
	if (atomic_inc_return(&inside) != 1 || userdata != &mark || event->kind != kind ||
	    !(current->flags & PF_KTHREAD) || in_atomic())
		errors++;
}

static int end(void)
{
	atomic_dec(&inside);
	return 0;
}

static int simple(const struct knell_event *event, const void *userdata, u8 kind, char letter)
{
	begin(event, userdata, kind);
	write_down(event, letter);
	return end();
}

static int on_init(const struct knell_event *event, void *userdata)
{
	return simple(event, userdata, KNELL_INIT, 'I');
}
KNELL_WATCHER(init, on_init);

static int on_clone(const struct knell_event *event, void *userdata)
{
	born++;
	return simple(event, userdata, KNELL_CLONE, event->flags & KNELL_F_RECONCILED ? 'R' : 'C');
}
KNELL_WATCHER(clone, on_clone);

static int on_exec(const struct knell_event *event, void *userdata)
{
	return simple(event, userdata, KNELL_EXEC, 'E');
}
KNELL_WATCHER(exec, on_exec);

static int on_uid(const struct knell_event *event, void *userdata)
{
	return simple(event, userdata, KNELL_UID, 'U');
}
KNELL_WATCHER(uid, on_uid);

static int on_gid(const struct knell_event *event, void *userdata)
{
	return simple(event, userdata, KNELL_GID, 'G');
}
KNELL_WATCHER(gid, on_gid);

static int on_free(const struct knell_event *event, void *userdata)
{
	return simple(event, userdata, KNELL_FREE, 'F');
}
KNELL_WATCHER(free, on_free);

/* Those of the exit are written in another order than they are to be called in. */
static int exit_last(const struct knell_event *event, void *userdata)
{
	simple(event, userdata, KNELL_EXIT, '4');
	return event->task.tgid == follow ? -EIO : 0; /* changes nothing */
}
KNELL_WATCHER_PRIORITY(exit, exit_last, 10);

static int exit_b(const struct knell_event *event, void *userdata)
{
	return simple(event, userdata, KNELL_EXIT, '3');
}
KNELL_WATCHER(exit, exit_b);

static int exit_a(const struct knell_event *event, void *userdata)
{
	where = _THIS_IP_;
	dead++;
	begin(event, userdata, KNELL_EXIT);
	write_down(event, '2');
	if (slow)
		msleep(slow);
	if (event->task.tgid == follow && knell_table_leave(KNELL_TABLE) != -EDEADLK)
		errors++;
	return end();
}
KNELL_WATCHER(exit, exit_a);

static int exit_first(const struct knell_event *event, void *userdata)
{
	return simple(event, userdata, KNELL_EXIT, '1');
}
KNELL_WATCHER_PRIORITY(exit, exit_first, -10);

static bool by_signal(const struct knell_event *event)
{
	return event->u.exit.status & 0x7f;
}

static int on_signal(const struct knell_event *event, void *userdata)
{
	filtered++;
	return simple(event, userdata, KNELL_EXIT, 'S');
}
KNELL_WATCHER_FILTER(exit, on_signal, -20, by_signal);

static int on_gap(const struct knell_event *event, void *userdata)
{
	lost_born += event->u.gap.births;
	lost_dead += event->u.gap.deaths;
	lost_others += event->u.gap.others;
	return simple(event, userdata, KNELL_GAP, 'L');
}
KNELL_WATCHER(gap, on_gap);

/* ---- parameters ---- */

static int print_story(char *buffer, const struct kernel_param *param)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n", story);
}

static int print_sums(char *buffer, const struct kernel_param *param)
{
	return scnprintf(buffer, PAGE_SIZE, "%llu %llu %llu %llu %llu %llu %llu\n", born, dead,
			 lost_born, lost_dead, lost_others, filtered, errors);
}

static int print_where(char *buffer, const struct kernel_param *param)
{
	return scnprintf(buffer, PAGE_SIZE, "%#lx\n", where);
}

static int write_entry(const char *text, const struct kernel_param *param)
{
	void *entry = (void *)KNELL_TABLE->of[KNELL_EXIT].first;
	u32 value = ~0u;

	pagefault_disable();
	__put_kernel_nofault(entry, &value, u32, fault);
	pagefault_enable();
	return -EILSEQ;
fault:
	pagefault_enable();
	return -EROFS;
}

static const struct kernel_param_ops story_ops = { .get = print_story };
static const struct kernel_param_ops sums_ops = { .get = print_sums };
static const struct kernel_param_ops where_ops = { .get = print_where };
static const struct kernel_param_ops scratch_ops = { .set = write_entry };
module_param_cb(story, &story_ops, NULL, 0400);
MODULE_PARM_DESC(story, "a letter for each call");
module_param_cb(sums, &sums_ops, NULL, 0400);
MODULE_PARM_DESC(sums, "what was heard");
module_param_cb(where, &where_ops, NULL, 0400);
MODULE_PARM_DESC(where, "an address in the code of a watcher");
module_param_cb(scratch, &scratch_ops, NULL, 0200);
MODULE_PARM_DESC(scratch, "tries to write to an entry of the table");

/* ---- loading ---- */

int watchers_join(void)
{
	int count;

	if (!reserve)
		return 0;
	count = knell_table_join(KNELL_TABLE, reserve, &mark);
	if (count < 0)
		return count;
	if (knell_table_join(KNELL_TABLE, reserve, &mark) != -EEXIST)
		errors++;
	return count == 12 ? 0 : -EILSEQ;
}

void watchers_leave(void)
{
	int error = knell_table_leave(KNELL_TABLE);

	WARN_ON(error != (reserve ? 0 : -ENOENT) || atomic_read(&inside));
	WARN_ON(knell_table_leave(KNELL_TABLE) != -ENOENT);
}
