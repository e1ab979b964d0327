/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * sleep.c - see sleep.h. It owns the epoll set and the timer.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "sleep.h"
#include "source.h"

void sleep_init(struct source_sleep *sleep)
{
	*sleep = (struct source_sleep){ .epoll_fd = -1, .timer_fd = -1, .heard_fd = -1 };
}

int sleep_open(struct source_sleep *sleep, int heard_fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	sleep->heard_fd = heard_fd;
	sleep->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	sleep->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (sleep->epoll_fd < 0 || sleep->timer_fd < 0 ||
	    epoll_ctl(sleep->epoll_fd, EPOLL_CTL_ADD, sleep->timer_fd, &event) < 0)
		return knell_fail(-errno, "cannot make the descriptors to sleep on: %s",
				  strerror(errno));
	sleep_listen(sleep, true);
	return 0;
}

void sleep_close(struct source_sleep *sleep)
{
	if (sleep->epoll_fd >= 0)
		close(sleep->epoll_fd);
	if (sleep->timer_fd >= 0)
		close(sleep->timer_fd);
	sleep_init(sleep);
}

void sleep_count_wakeup(struct source_sleep *sleep)
{
	uint64_t expirations;

	if (sleep->listening || read(sleep->timer_fd, &expirations, sizeof(expirations)) > 0)
		sleep->wakeups++;
}

void sleep_listen(struct source_sleep *sleep, bool listen)
{
	struct epoll_event event = { .events = EPOLLIN };

	if (listen != sleep->listening &&
	    epoll_ctl(sleep->epoll_fd, listen ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, sleep->heard_fd,
		      &event) == 0)
		sleep->listening = listen;
}
