/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * claims.c - a source's claims held against what it does, verdicts, and strangers; see claims.h.
 */
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "claims.h"

#define PATIENCE 30.0

static unsigned int unknown_cases[32];

/* Asked once: a probe uses the source for a moment, which takes its time. */
bool can(uint32_t bit)
{
	static struct knell_probe probe;

	for (unsigned int i = 0; !probe.name || strcmp(probe.name, test_source()) != 0; i++)
		ck_assert_msg(knell_probe(i, &probe) == 0, "no source %s", test_source());
	return probe.can & bit;
}

static unsigned int number_of(uint32_t bit)
{
	return (unsigned int)__builtin_ctz(bit);
}

void claim_case(uint32_t bit, bool known, const char *what)
{
	ck_assert_msg(known || !can(bit), "%s claims bit %u, but does not know: %s", test_source(),
		      number_of(bit), what);
	unknown_cases[number_of(bit)] += !known;
}

bool claim_holds(uint32_t bit)
{
	return can(bit) || unknown_cases[number_of(bit)];
}

void claim_settle(uint32_t bit)
{
	ck_assert_msg(claim_holds(bit), "%s does not claim bit %u, but knew in all cases",
		      test_source(), number_of(bit));
}

void expect_refused(int r, const char *what)
{
	ck_assert_msg(r == -ENOTSUP, "%s: %s instead of -ENOTSUP", what,
		      r < 0 ? strerror(-r) : "success");
	ck_assert_msg(*knell_last_error(), "%s is refused without a word", what);
}

void turn(struct ear *ear)
{
	struct pollfd pollfd = { .fd = knell_fd(ear->engine), .events = POLLIN };
	int r;

	if (poll(&pollfd, 1, 10) < 0)
		ck_assert_int_eq(errno, EINTR);
	r = knell_dispatch(ear->engine);
	ck_assert_msg(r >= 0, "knell_dispatch: %s: %s", strerror(-r), knell_last_error());
}

static bool is_readable(const struct ear *ear)
{
	struct pollfd pollfd = { .fd = knell_fd(ear->engine), .events = POLLIN };

	return poll(&pollfd, 1, 0) > 0;
}

/* The time may be over before the first turn: what there is by then is heard all the same. */
void turn_for(struct ear *ear, unsigned int ms)
{
	double end = now() + ms / 1000.0, last = end + test_seconds(PATIENCE);

	do
		turn(ear);
	while (now() < end || (is_readable(ear) && now() < last));
}

void turn_until(struct ear *ear, const unsigned int *count, unsigned int wanted, const char *what)
{
	double end = now() + test_seconds(PATIENCE);

	while (*count < wanted) {
		ck_assert_msg(now() < end, "%s: %u of %u", what, *count, wanted);
		turn(ear);
	}
}

void turn_until_heard(struct ear *ear, unsigned int kind, uint64_t wanted)
{
	double end = now() + test_seconds(PATIENCE);

	while (ear->heard[kind] < wanted) {
		ck_assert_msg(now() < end, "%llu of %llu '%s'",
			      (unsigned long long)ear->heard[kind], (unsigned long long)wanted,
			      knell_kind_name(kind));
		turn(ear);
	}
}

unsigned int count_records(const struct ear *ear, unsigned int kind, pid_t pid)
{
	unsigned int n = 0;

	for (size_t i = 0; i < ear->count; i++)
		n += ear->all[i].kind == kind && ear->all[i].scope == KNELL_PROCESS &&
		     ear->all[i].task.tgid == (uint32_t)pid;
	return n;
}

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_msg(memory != MAP_FAILED, "mmap: %s", strerror(errno));
	return memory;
}

/* ---- verdicts ---- */

static void on_verdict(struct knell_watch *watch, const struct knell_verdict *verdict,
		       void *userdata)
{
	struct verdict *mine = userdata;

	(void)watch;
	mine->count++;
	mine->kind = verdict->kind;
	mine->pid = verdict->pid;
	mine->cookie = verdict->cookie;
	memset(&mine->event, 0, sizeof(mine->event));
	ck_assert((verdict->kind == KNELL_EXITED) == (verdict->event != NULL));
	if (verdict->event)
		memcpy(&mine->event, verdict->event,
		       verdict->event->size < sizeof(mine->event) ? verdict->event->size
								  : sizeof(mine->event));
}

static struct knell_watch_options options_of(struct verdict *verdict, uint32_t flags,
					     uint32_t moment)
{
	static uint64_t cookie;

	cookie++;
	memset(verdict, 0, sizeof(*verdict));
	return (struct knell_watch_options){
		.size = sizeof(struct knell_watch_options),
		.flags = flags,
		.moment = moment,
		.cookie = cookie,
		.fn = on_verdict,
		.userdata = verdict,
	};
}

int watch_pid(struct ear *ear, struct verdict *verdict, pid_t pid, uint32_t flags, uint32_t moment)
{
	struct knell_watch_options options = options_of(verdict, flags, moment);

	return knell_watch_pid(ear->engine, NULL, pid, &options);
}

int watch_pidfd(struct ear *ear, struct verdict *verdict, int pidfd, uint32_t flags,
		uint32_t moment)
{
	struct knell_watch_options options = options_of(verdict, flags, moment);

	return knell_watch_pidfd(ear->engine, NULL, pidfd, &options);
}

void expect_verdict(const struct verdict *verdict, pid_t pid, int status)
{
	const struct knell_event *event = &verdict->event;

	ck_assert_msg(verdict->count == 1, "%u verdicts for %d", verdict->count, pid);
	ck_assert_int_eq(verdict->pid, pid);
	ck_assert_msg(verdict->kind != KNELL_ABSENT, "%d was there, but was called absent", pid);
	/* Else it is not the source that tells it. */
	if (can(KNELL_CAN_WATCH))
		claim_case(KNELL_CAN_STATUS, verdict->kind == KNELL_EXITED,
			   "the status in a verdict");
	if (verdict->kind == KNELL_GONE)
		return;
	ck_assert_uint_eq(event->kind, KNELL_EXIT);
	ck_assert_uint_eq(event->task.tgid, (uint32_t)pid);
	ck_assert(!(event->unknown & KNELL_U_STATUS));
	ck_assert_msg(event->u.exit.status == status, "%d ended with %#x, not %#x", pid,
		      (unsigned int)event->u.exit.status, (unsigned int)status);
}

void expect_record(struct ear *ear, pid_t pid)
{
	unsigned int wanted = can(KNELL_CAN_WATCH) ? 1 : 0, n;
	double end = now() + test_seconds(PATIENCE);

	/* A verdict may be faster than the record. */
	while ((n = count_records(ear, KNELL_EXIT, pid)) < wanted && now() < end)
		turn(ear);
	ck_assert_msg(n == wanted, "%u exit records of %d", n, pid);
}

/* ---- strangers ---- */

struct request {
	pid_t reap; /* else: make one */
	pid_t wanted;
	void (*life)(void *);
	void *arg;
};

void begin_life(void)
{
	signal(SIGTERM, SIG_DFL); /* the test's runner has its own ideas */
	signal(SIGINT, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	alarm((unsigned int)test_seconds(120));
}

void wait_to_be_killed(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

static pid_t fork_as(pid_t wanted)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&wanted,
		.set_tid_size = 1,
	};

	return wanted ? (pid_t)syscall(SYS_clone3, &args, sizeof(args)) : fork();
}

static int serve_request(const struct request *request)
{
	int status = 0;
	pid_t pid;

	if (request->reap) {
		while (waitpid(request->reap, &status, 0) < 0)
			if (errno != EINTR)
				return -errno;
		return status;
	}
	pid = fork_as(request->wanted);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		begin_life();
		request->life(request->arg);
		_exit(0);
	}
	return pid < 0 ? -errno : pid;
}

void nursery_open(struct nursery *nursery)
{
	struct request request;
	int sockets[2], reply;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	nursery->pid = fork();
	if (nursery->pid == 0) {
		begin_life();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(sockets[0]);
		while (read(sockets[1], &request, sizeof(request)) == sizeof(request)) {
			reply = serve_request(&request);
			if (write(sockets[1], &reply, sizeof(reply)) < 0)
				break;
		}
		_exit(0);
	}
	ck_assert_msg(nursery->pid >= 0, "fork: %s", strerror(errno));
	close(sockets[1]);
	nursery->socket = sockets[0];
}

void nursery_close(struct nursery *nursery)
{
	close(nursery->socket);
	ck_assert_int_eq(await_exit(nursery->pid), 0);
}

static void send_request(struct nursery *nursery, const struct request *request)
{
	ck_assert_int_eq(write(nursery->socket, request, sizeof(*request)), sizeof(*request));
}

static int take_reply(struct nursery *nursery)
{
	int reply;

	ck_assert_int_eq(read(nursery->socket, &reply, sizeof(reply)), sizeof(reply));
	return reply;
}

pid_t nursery_make(struct nursery *nursery, pid_t wanted, void (*life)(void *), void *arg)
{
	struct request request = { .wanted = wanted, .life = life, .arg = arg };

	send_request(nursery, &request);
	return take_reply(nursery);
}

void nursery_start_reaping(struct nursery *nursery, pid_t pid)
{
	struct request request = { .reap = pid };

	send_request(nursery, &request);
}

int nursery_reaped(struct nursery *nursery)
{
	int status = take_reply(nursery);

	ck_assert_msg(status >= 0, "the nursery cannot wait: %s", strerror(-status));
	return status;
}

int nursery_reap(struct nursery *nursery, pid_t pid)
{
	nursery_start_reaping(nursery, pid);
	return nursery_reaped(nursery);
}
