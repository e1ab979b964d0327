/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify_end.c - verify's last look: whoever is dead must have been told, and what was held back is
 * told, unless gaps explain it. It owns nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "verify_data.h"

#define PATIENCE UINT64_C(2000000000)
#define STEP_MS  10
#define LOOKS    50 /* at least: on a busy machine we may hardly have run in that time */

/* /proc has starts to a clock tick; a source may stamp them itself a little later. */
#define START_SLACK UINT64_C(20000000)

static bool read_stat(uint32_t pid, char *text, size_t size)
{
	char path[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* What is not certain is alive: /proc may be missing, or hide it. */
static bool lives(const struct knell_task_id *task)
{
	unsigned long long start_ticks = 0;
	long threads = 0;
	char text[1024], state = 0, *rest;

	if (!task->tgid)
		return true;
	if (kill((pid_t)task->tgid, 0) < 0 && errno == ESRCH)
		return false;
	if (!read_stat(task->tgid, text, sizeof(text)))
		return true;
	rest = strrchr(text, ')');
	/* NOLINTNEXTLINE(cert-err34-c): the kernel writes numbers */
	if (!rest || sscanf(rest + 1,
			    " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			    "%ld %*d %llu",
			    &state, &threads, &start_ticks) != 3)
		return true;
	/* A leader that ended first is a zombie while its process lives. */
	if ((state == 'Z' && threads <= 1) || state == 'X' || state == 'x')
		return false;
	return start_ticks * (1000000000ull / (unsigned long long)sysconf(_SC_CLK_TCK)) <=
	       task->start + START_SLACK;
}

static bool is_missing(const struct verify *v, const struct vf_life *life)
{
	const struct knell_task_id id = {
		.start = life->start,
		.tid = life->tgid,
		.tgid = life->tgid,
	};

	if (life->state >= VF_DEAD || !life->start)
		return false;
	return v->options.lives ? !v->options.lives(&id, v->options.userdata) : !lives(&id);
}

static void count_missing(struct verify *v, struct vf_shard *s, struct vf_life *life)
{
	(void)s;
	if (!is_missing(v, life) && !vf_threads_left(life)) {
		life->missing_since = 0;
		return;
	}
	v->missing++;
	if (!life->missing_since)
		life->missing_since = v->look;
}

static void tell_missing(struct verify *v, struct vf_shard *s, struct vf_life *life)
{
	(void)s;
	if (!life->missing_since || (v->engine && v->look - life->missing_since < PATIENCE / 2))
		return;
	if (life->state < VF_DEAD)
		vf_complain(v, VF_DEATH, life, NULL, "it is dead, but that was not told");
	vf_check_last_threads(v, life);
}

/* So many may be missing, for gaps have counted them. */
static bool is_explained(struct verify *v)
{
	bool explained;

	pthread_mutex_lock(&v->tell_lock);
	explained = v->endless[VF_DEATH] || v->endless[VF_NEVER] ||
		    v->missing <= v->lost[VF_DEATH] - v->excused[VF_DEATH] + v->lost[VF_NEVER] -
					  v->excused[VF_NEVER];
	pthread_mutex_unlock(&v->tell_lock);
	return explained;
}

/*
 * What is on its way may come. In a stream somebody dies all the time, so at the end only those are
 * missing that have been so for half of the time.
 */
void verify_last_look(struct verify *v)
{
	const uint64_t end = clock_ns(CLOCK_MONOTONIC) + PATIENCE;

	for (unsigned int looks = 1;; looks++) {
		struct pollfd pollfd = { .fd = -1, .events = POLLIN };

		v->missing = 0;
		v->look = clock_ns(CLOCK_MONOTONIC);
		vf_each(v, count_missing);
		if (is_explained(v) || !v->engine || (v->look > end && looks > LOOKS))
			return;
		pollfd.fd = knell_fd(v->engine);
		if (poll(&pollfd, 1, STEP_MS) < 0 && errno != EINTR)
			return;
		if (knell_dispatch(v->engine) < 0)
			return;
	}
}

uint64_t vf_end(struct verify *v)
{
	vf_each(v, tell_missing);
	vf_check_numbers_end(v);
	vf_check_balance(v);
	vf_settle(v, UINT64_MAX);
	return verify_violations(v);
}

uint64_t verify_check_end(struct verify *v)
{
	verify_last_look(v);
	return vf_end(v);
}
