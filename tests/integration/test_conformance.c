/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_conformance.c - the suite that every source of events has to pass, and the same for all. It
 * knows no source by name: what may be expected of one is what it claims (KNELL_CAN_*), and the
 * page of sources is made from the same claims. Here: records of lives, streams, and the traps in
 * counting lives. Watches are in conformance_watch.c, losses in conformance_loss.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "claims.h"
#include "conformance.h"

const char test_suite_name[] = "conformance";

/* An engine, with a watcher of its own for what an ear leaves out. */
struct keen_ear {
	struct ear ear;
	char file[256], args[256]; /* of the last exec */
	uint32_t args_len;
};

static int on_exec(const struct knell_event *event, void *userdata)
{
	struct keen_ear *keen = userdata;

	snprintf(keen->file, sizeof(keen->file), "%s", knell_exec_file(event));
	keen->args_len = event->u.exec.args_len;
	ck_assert_uint_lt(keen->args_len, sizeof(keen->args));
	if (!(event->unknown & KNELL_U_ARGS))
		memcpy(keen->args, knell_exec_args(event), keen->args_len);
	return 0;
}

static pid_t start_life(struct ear *ear, void (*life)(void *), void *arg)
{
	pid_t pid = knell_fork(ear->engine);

	ck_assert_msg(pid >= 0, "knell_fork: %s", knell_last_error());
	if (pid == 0) {
		begin_life();
		life(arg);
		_exit(0);
	}
	return pid;
}

/* Nothing was told of any but this one: whoever cannot FORK tells the child itself, or nothing. */
static void expect_at_most(const struct ear *ear, pid_t root)
{
	for (size_t i = 0; i < ear->count; i++)
		ck_assert_msg(ear->all[i].task.tgid == (uint32_t)root,
			      "it does not claim to hear subtrees, but heard of %u",
			      ear->all[i].task.tgid);
}

static const struct knell_event *the_only(const struct ear *ear, unsigned int kind, pid_t pid)
{
	ck_assert_msg(count_records(ear, kind, pid) == 1, "%u records of %s of process %d",
		      count_records(ear, kind, pid), knell_kind_name(kind), pid);
	return ear_find(ear, kind, pid);
}

static void expect_death(const struct ear *ear, pid_t pid, int status)
{
	const struct knell_event *event = the_only(ear, KNELL_EXIT, pid);
	bool known = !(event->unknown & KNELL_U_STATUS);

	claim_case(KNELL_CAN_STATUS, known, "the status of an exit");
	ck_assert_msg(!known || event->u.exit.status == status, "%d ended with %#x, not %#x", pid,
		      (unsigned int)event->u.exit.status, (unsigned int)status);
	ck_assert_msg(known || event->u.exit.status == 0, "unknown is not zero");
}

/* ---- a small tree ---- */

struct tree {
	pid_t middle, leaf;
	char program[200];
};

static void live_as_leaf(const struct tree *tree)
{
	execl(tree->program, "tiny", "5", NULL);
	_exit(198);
}

static void live_as_middle(struct tree *tree)
{
	pid_t pid;

	prctl(PR_SET_NAME, "kn-middle");
	pid = fork();
	if (pid == 0)
		live_as_leaf(tree);
	tree->leaf = pid; /* the page is shared: never in the child */
	waitpid(pid, NULL, 0);
	_exit(3);
}

static void live_as_root(void *arg)
{
	struct tree *tree = arg;
	pid_t pid = fork();

	if (pid == 0)
		live_as_middle(tree);
	tree->middle = pid;
	waitpid(pid, NULL, 0);
	_exit(6);
}

static bool name_is(const struct knell_event *event, const char *name)
{
	ck_assert_msg(event->unknown & KNELL_U_COMM || !strcmp(event->comm, name),
		      "the name in %s of %u is '%s', not '%s'", knell_kind_name(event->kind),
		      event->task.tgid, event->comm, name);
	return !(event->unknown & KNELL_U_COMM);
}

static void expect_parent(const struct knell_event *birth, const struct knell_event *parent)
{
	ck_assert(!(birth->unknown & KNELL_U_PARENT));
	ck_assert_uint_eq(birth->parent.tgid, parent->task.tgid);
	ck_assert_uint_eq(birth->parent.tid, parent->task.tid);
	ck_assert_msg(birth->parent.start == parent->task.start, "another identity of a parent");
}

static ino_t own_cgroup(void)
{
	char *text = read_file("/proc/self/cgroup"), path[600], *line;
	struct stat st;

	line = text ? strstr(text, "0::/") : NULL;
	if (!line)
		return 0;
	line[strcspn(line, "\n")] = '\0';
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s", line + 3);
	if (access("/sys/fs/cgroup/cgroup.procs", F_OK))
		snprintf(path, sizeof(path), "/sys/fs/cgroup/unified%s", line + 3);
	return stat(path, &st) ? 0 : st.st_ino;
}

/* What every record has. */
static void expect_heads(const struct ear *ear)
{
	ino_t cgroup = own_cgroup();

	for (size_t i = 0; i < ear->count; i++) {
		const struct knell_event *event = &ear->all[i];
		bool owned = !(event->unknown & (KNELL_U_UID | KNELL_U_GID));
		bool placed = !(event->unknown & KNELL_U_CGROUP);

		claim_case(KNELL_CAN_OWNER, owned, "uid and gid");
		claim_case(KNELL_CAN_CGROUP, placed, "the cgroup");
		ck_assert(!owned || (event->uid == geteuid() && event->gid == getegid()));
		ck_assert(!placed || !cgroup || event->cgroup == cgroup);
		ck_assert_uint_gt(event->time, 0);
		ck_assert_uint_gt(event->task.start, 0);
	}
	claim_settle(KNELL_CAN_OWNER);
	claim_settle(KNELL_CAN_CGROUP);
}

static void expect_exec(const struct keen_ear *keen, const struct tree *tree)
{
	const struct knell_event *event = the_only(&keen->ear, KNELL_EXEC, tree->leaf);
	bool file = !(event->unknown & KNELL_U_FILE), args = !(event->unknown & KNELL_U_ARGS);

	claim_case(KNELL_CAN_FILE, file, "the file of an exec");
	claim_case(KNELL_CAN_ARGS, args, "the arguments of an exec");
	claim_settle(KNELL_CAN_FILE);
	claim_settle(KNELL_CAN_ARGS);
	ck_assert_str_eq(keen->file, file ? tree->program : "");
	ck_assert_uint_eq(keen->args_len, args ? 7 : 0);
	ck_assert(!args || !memcmp(keen->args, "tiny\0005", 7));
	claim_case(KNELL_CAN_COMM, name_is(event, "tiny"), "the name at exec");
}

static void expect_names(const struct ear *ear, const struct tree *tree, pid_t root)
{
	char name[KNELL_COMM_LEN];

	prctl(PR_GET_NAME, name);
	claim_case(KNELL_CAN_COMM, name_is(ear_find(ear, KNELL_CLONE, root), name), "at birth");
	claim_case(KNELL_CAN_COMM, name_is(ear_find(ear, KNELL_CLONE, tree->leaf), "kn-middle"),
		   "at birth of a child of one that has another name");
	claim_case(KNELL_CAN_COMM, name_is(ear_find(ear, KNELL_EXIT, tree->leaf), "tiny"),
		   "at exit");
	claim_case(KNELL_CAN_COMM, name_is(ear_find(ear, KNELL_EXIT, tree->middle), "kn-middle"),
		   "at exit of one that took another name");
	claim_settle(KNELL_CAN_COMM);
}

START_TEST(small_tree)
{
	struct knell_options options = { .flags = KNELL_O_ARGS };
	struct tree *tree = shared_memory(sizeof(*tree));
	struct keen_ear keen = { .file = "" };
	struct ear *ear = &keen.ear;
	pid_t root;

	snprintf(tree->program, sizeof(tree->program), "%s", test_program("tiny"));
	ear_open(ear, &options);
	ck_assert_int_eq(knell_watcher_add(ear->engine, KNELL_MASK(KNELL_EXEC), on_exec, &keen), 0);
	root = start_life(ear, live_as_root, tree);
	ck_assert_int_eq(ear_serve(ear, root), W_EXITCODE(6, 0));
	turn_for(ear, 50);
	if (!can(KNELL_CAN_FORK)) {
		expect_at_most(ear, root);
		ear_close(ear);
		return;
	}
	ear_expect_whole_lives(ear);
	ck_assert_uint_eq(ear->heard[KNELL_CLONE], 3);
	ck_assert_uint_eq(ear->heard[KNELL_EXEC], 1);
	ck_assert_uint_eq(ear->heard[KNELL_GAP], 0);
	expect_death(ear, root, W_EXITCODE(6, 0));
	expect_death(ear, tree->middle, W_EXITCODE(3, 0));
	expect_death(ear, tree->leaf, W_EXITCODE(5, 0));
	ck_assert_uint_eq(ear_find(ear, KNELL_CLONE, root)->parent.tgid, (uint32_t)getpid());
	ck_assert(ear_find(ear, KNELL_CLONE, root)->flags & KNELL_F_ROOT);
	expect_parent(ear_find(ear, KNELL_CLONE, tree->middle), ear_find(ear, KNELL_CLONE, root));
	expect_parent(ear_find(ear, KNELL_CLONE, tree->leaf),
		      ear_find(ear, KNELL_CLONE, tree->middle));
	expect_exec(&keen, tree);
	expect_heads(ear);
	expect_names(ear, tree, root);
	ear_close(ear);
}
END_TEST

/* ---- deaths, their status and their cause ---- */

enum {
	DEATHS = 8
};

static const int how_they_die[DEATHS] = {
	W_EXITCODE(0, 0),       W_EXITCODE(1, 0),       W_EXITCODE(255, 0),
	W_EXITCODE(0, SIGTERM), W_EXITCODE(0, SIGKILL), W_EXITCODE(0, SIGSEGV),
	W_EXITCODE(0, SIGABRT), W_EXITCODE(0, SIGUSR1),
};

struct dead {
	pid_t pid;
	int status; /* as wait(2) had it */
};

/* Faults and aborts are its own, the others are killed by the parent. */
static void die_so(int how)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	volatile int *nowhere = NULL;

	setrlimit(RLIMIT_CORE, &unlimited);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	if (WIFEXITED(how))
		_exit(WEXITSTATUS(how));
	if (how == SIGABRT)
		abort();
	if (how == SIGSEGV) {
		__asm__("" : "+r"(nowhere));
		*nowhere = 1;
	}
	wait_to_be_killed(NULL);
}

static void let_them_die(void *arg)
{
	struct dead *dead = arg;

	for (int i = 0; i < DEATHS; i++) {
		int how = how_they_die[i];
		pid_t pid = fork();

		if (pid == 0)
			die_so(how);
		dead[i].pid = pid;
		if (WIFSIGNALED(how) && how != SIGSEGV && how != SIGABRT)
			kill(dead[i].pid, how);
		waitpid(dead[i].pid, &dead[i].status, 0);
	}
}

static void expect_cause(const struct knell_event *event, int status, pid_t parent)
{
	const struct knell_signal *killer = &event->u.exit.killer;
	bool known = !(event->unknown & KNELL_U_CAUSE), own;

	if (WIFEXITED(status)) {
		ck_assert(known && event->u.exit.reason == KNELL_R_NONE && !killer->signo);
		return;
	}
	own = WTERMSIG(status) == SIGSEGV;
	/* Who is not sure that a user sent it names no sender. */
	known = known && (own || killer->known & KNELL_S_PID);
	claim_case(KNELL_CAN_CAUSE, known, "who killed");
	ck_assert(killer->signo == WTERMSIG(status) || event->unknown & KNELL_U_STATUS);
	if (!known)
		return;
	ck_assert_uint_eq(event->u.exit.reason, own ? KNELL_R_FAULT : KNELL_R_USER);
	if (own)
		return;
	if (WTERMSIG(status) == SIGABRT)
		parent = (pid_t)event->task.tgid;
	ck_assert_int_eq((pid_t)killer->pid, parent);
	ck_assert(!(killer->known & KNELL_S_UID) || killer->uid == getuid());
}

START_TEST(status_and_cause)
{
	struct dead *dead = shared_memory(DEATHS * sizeof(*dead));
	struct ear ear;
	pid_t root;

	ear_open(&ear, NULL);
	root = start_life(&ear, let_them_die, dead);
	ck_assert_int_eq(ear_serve(&ear, root), 0);
	turn_for(&ear, 50);
	if (!can(KNELL_CAN_FORK)) {
		expect_at_most(&ear, root);
		ear_close(&ear);
		return;
	}
	ear_expect_whole_lives(&ear);
	ck_assert_uint_eq(ear.heard[KNELL_EXIT], DEATHS + 1);
	for (int i = 0; i < DEATHS; i++) {
		expect_death(&ear, dead[i].pid, dead[i].status);
		expect_cause(ear_find(&ear, KNELL_EXIT, dead[i].pid), dead[i].status, root);
	}
	claim_settle(KNELL_CAN_CAUSE);
	ear_close(&ear);
}
END_TEST

/* ---- what a process used ---- */

#define MEGABYTES 20

struct spender {
	pid_t pid;
	struct rusage usage; /* the kernel's account */
};

static double cpu_of(const struct rusage *usage)
{
	return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
	       (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

static void burn(void)
{
	volatile char *memory = malloc(MEGABYTES << 20);
	struct rusage usage;

	for (size_t i = 0; memory && i < MEGABYTES << 20; i += 512)
		memory[i] = 1;
	do
		getrusage(RUSAGE_SELF, &usage);
	while (cpu_of(&usage) < 0.2);
	_exit(0);
}

static void let_burn(void *arg)
{
	struct spender *spender = arg;
	pid_t pid = fork();

	if (pid == 0)
		burn();
	spender->pid = pid;
	wait4(spender->pid, NULL, 0, &spender->usage);
}

/* The last account that was told. */
static const struct knell_usage *account_of(const struct ear *ear, pid_t pid, uint32_t *ret_unknown)
{
	const struct knell_event *event = ear_find(ear, KNELL_FREE, pid);

	if (event) {
		*ret_unknown = event->unknown;
		return &event->u.free.usage;
	}
	event = ear_find(ear, KNELL_EXIT, pid);
	*ret_unknown = event->unknown;
	return &event->u.exit.usage;
}

START_TEST(usage)
{
	struct knell_options options = { .flags = KNELL_O_FREE };
	struct spender *spender = shared_memory(sizeof(*spender));
	const struct knell_usage *told;
	uint32_t unknown;
	struct ear ear;
	double cpu;
	pid_t root;

	ear_open(&ear, &options);
	root = start_life(&ear, let_burn, spender);
	ck_assert_int_eq(ear_serve(&ear, root), 0);
	if (can(KNELL_CAN_FREE))
		turn_until_heard(&ear, KNELL_FREE, 2);
	turn_for(&ear, 300);
	if (!can(KNELL_CAN_FORK)) {
		expect_at_most(&ear, root);
		ear_close(&ear);
		return;
	}
	told = account_of(&ear, spender->pid, &unknown);
	claim_case(KNELL_CAN_USAGE, !(unknown & KNELL_U_TIMES), "CPU time");
	claim_case(KNELL_CAN_USAGE, !(unknown & KNELL_U_RSS), "peak memory");
	claim_case(KNELL_CAN_USAGE, !(unknown & KNELL_U_FAULTS), "page faults");
	claim_settle(KNELL_CAN_USAGE);
	cpu = (double)(told->utime + told->stime) / 1e9;
	if (!(unknown & KNELL_U_TIMES)) {
		ck_assert_msg(cpu >= 0.2 - 1e-4, "%f s of CPU", cpu);
		/* What it took to give up its memory may be missing. */
		ck_assert_msg(cpu > cpu_of(&spender->usage) - 0.05 &&
				      cpu < cpu_of(&spender->usage) + 0.05,
			      "%f s of CPU, not %f", cpu, cpu_of(&spender->usage));
	}
	if (!(unknown & KNELL_U_RSS)) {
		uint64_t truth = (uint64_t)spender->usage.ru_maxrss * 1024, slack = 1u << 20;

		ck_assert_uint_ge(told->maxrss, (uint64_t)MEGABYTES << 20);
		ck_assert_uint_le(told->maxrss, truth + slack);
		ck_assert_uint_ge(told->maxrss + slack, truth);
	}
	if (!(unknown & KNELL_U_FAULTS)) {
		uint64_t truth = (uint64_t)spender->usage.ru_minflt;

		ck_assert_uint_le(told->minflt, truth);
		ck_assert_uint_ge(told->minflt + 16, truth);
		ck_assert_uint_eq(told->majflt, (uint64_t)spender->usage.ru_majflt);
	}
	/* Whoever cannot tell a free does not. */
	ck_assert_uint_eq(ear.heard[KNELL_FREE], can(KNELL_CAN_FREE) ? 2 : 0);
	ear_close(&ear);
}
END_TEST

/* ---- threads ---- */

static void expect_threads(const struct ear *ear, bool asked)
{
	if (!asked || !can(KNELL_CAN_THREADS)) {
		ck_assert_uint_eq(ear->threads[KNELL_CLONE], 0);
		ck_assert_uint_eq(ear->threads[KNELL_EXIT], 0);
		return;
	}
	ck_assert_uint_ge(ear->threads[KNELL_CLONE], 200);
	ck_assert_uint_le(ear->threads[KNELL_CLONE], 201);
	ck_assert_uint_eq(ear->threads[KNELL_EXIT], ear->threads[KNELL_CLONE]);
}

START_TEST(threads_if_asked_for)
{
	for (int asked = 0; asked < 2; asked++) {
		struct knell_options options = { .flags = asked ? KNELL_O_THREADS : 0 };
		struct ear ear;
		pid_t pid;

		ear_open(&ear, &options);
		pid = ear_start(&ear, LIST(test_program("threads"), "group", "200"));
		ck_assert_int_eq(ear_serve(&ear, pid), W_EXITCODE(9, 0));
		turn_for(&ear, 50);
		expect_threads(&ear, asked);
		ear_close(&ear);
	}
}
END_TEST

/* ---- ids ---- */

static void walk_ids(void *arg)
{
	(void)arg;
	if (setregid(11, 12) || setreuid(3, 4))
		_exit(1);
	_exit(0);
}

static void expect_step(const struct ear *ear, unsigned int kind, pid_t pid, uint32_t real,
			uint32_t effective)
{
	const struct knell_event *event = the_only(ear, kind, pid);

	ck_assert_uint_eq(event->u.ids.real, real);
	ck_assert_uint_eq(event->u.ids.effective, effective);
	ck_assert_msg(event < ear_find(ear, KNELL_EXIT, pid), "a change after the exit");
}

START_TEST(ids_if_asked_for)
{
	if (geteuid() != 0)
		test_skip("only root can change ids");
	for (int asked = 0; asked < 2; asked++) {
		struct knell_options options = { .flags = asked ? KNELL_O_IDS : 0 };
		const struct knell_event *last;
		struct ear ear;
		pid_t pid;

		ear_open(&ear, &options);
		pid = start_life(&ear, walk_ids, NULL);
		ck_assert_int_eq(ear_serve(&ear, pid), 0);
		turn_for(&ear, 50);
		if (asked && can(KNELL_CAN_IDS)) {
			expect_step(&ear, KNELL_GID, pid, 11, 12);
			expect_step(&ear, KNELL_UID, pid, 3, 4);
		} else {
			ck_assert_uint_eq(ear.heard[KNELL_UID] + ear.heard[KNELL_GID], 0);
		}
		last = ear_find(&ear, KNELL_EXIT, pid);
		if (last && !(last->unknown & (KNELL_U_UID | KNELL_U_GID)))
			ck_assert(last->uid == 4 && last->gid == 12);
		if (last)
			claim_case(KNELL_CAN_OWNER, !(last->unknown & (KNELL_U_UID | KNELL_U_GID)),
				   "who it is after it changed its ids");
		ear_close(&ear);
	}
}
END_TEST

/* ---- the whole system ---- */

/* False: it is refused, and must be. */
static bool open_stream(struct ear *ear)
{
	struct knell_options options = {
		.size = sizeof(options),
		.source = test_source(),
		.flags = KNELL_O_STREAM,
	};
	struct knell_engine *engine = NULL;

	if (can(KNELL_CAN_STREAM)) {
		ear_open(ear, &options);
		return true;
	}
	expect_refused(knell_open(&engine, &options), "a stream");
	return false;
}

START_TEST(storm_in_a_stream)
{
	char number[16];
	struct life *truth;
	struct ear ear;
	size_t count;
	pid_t pid;

	if (!open_stream(&ear))
		return;
	snprintf(number, sizeof(number), "%u", test_scaled(2000));
	pid = spawn(&(struct spawn){ .out = "out" },
		    LIST(test_program("storm"), "-j", "2", "-n", number, "--truth", "truth"));
	while (!process_state(pid) || process_state(pid) != 'Z')
		turn(&ear);
	ck_assert_int_eq(await_exit(pid), 0);
	turn_for(&ear, 300);
	truth = read_truth("truth", &count);
	ck_assert_uint_eq(ear.gap.births + ear.gap.deaths + ear.gap.others, 0);
	for (size_t i = 0; i < count; i++) {
		const struct knell_event *birth = the_only(&ear, KNELL_CLONE, truth[i].pid);

		ck_assert_msg(birth->unknown & KNELL_U_PARENT ||
				      birth->parent.tgid == (uint32_t)truth[i].ppid,
			      "another parent");
		expect_death(&ear, truth[i].pid, truth[i].status);
	}
	expect_death(&ear, pid, 0);
	free(truth);
	ear_close(&ear);
}
END_TEST

/* ---- traps: one program, heard in three ways; exactly one death, and its status ---- */

struct play {
	const char *const *argv;
	int status;
	volatile int *go;
};

/* A stranger that is watched before it begins. */
static void wait_and_run(void *arg)
{
	struct play *play = arg;
	struct timespec ts = { .tv_nsec = 1000000 };

	while (!*play->go)
		nanosleep(&ts, NULL);
	execv(play->argv[0], (char *const *)play->argv);
	_exit(198);
}

static void hear_child(struct play *play)
{
	struct ear ear;
	pid_t pid;

	ear_open(&ear, NULL);
	pid = ear_start(&ear, play->argv);
	ck_assert_int_eq(ear_serve(&ear, pid) & ~WCOREFLAG, play->status);
	turn_for(&ear, 50);
	if (can(KNELL_CAN_FORK | KNELL_CAN_WATCH)) {
		the_only(&ear, KNELL_CLONE, pid);
		expect_death(&ear, pid, play->status);
	}
	ck_assert_uint_le(ear.heard[KNELL_EXIT], 1);
	ear_close(&ear);
}

/* Not the root of what is watched: nothing helps but what is heard. */
static void run_below(void *arg)
{
	struct play *play = arg;
	pid_t pid = fork();

	if (pid == 0) {
		execv(play->argv[0], (char *const *)play->argv);
		_exit(198);
	}
	*play->go = pid;
	waitpid(pid, NULL, 0);
}

static void hear_grandchild(struct play *play)
{
	struct ear ear;
	pid_t pid;

	ear_open(&ear, NULL);
	pid = start_life(&ear, run_below, play);
	ck_assert_int_eq(ear_serve(&ear, pid), 0);
	if (can(KNELL_CAN_FORK)) {
		ck_assert_uint_eq(ear.heard[KNELL_EXIT], 2);
		expect_death(&ear, *play->go, play->status);
		ck_assert_uint_eq(the_only(&ear, KNELL_CLONE, *play->go)->task.start,
				  the_only(&ear, KNELL_EXIT, *play->go)->task.start);
	}
	ear_close(&ear);
}

static void hear_stranger(struct play *play)
{
	struct nursery nursery;
	struct verdict verdict;
	struct ear ear;
	pid_t pid;

	ear_open(&ear, NULL);
	*play->go = 0;
	nursery_open(&nursery);
	pid = nursery_make(&nursery, 0, wait_and_run, play);
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(watch_pid(&ear, &verdict, pid, 0, KNELL_AT_ANY), 0);
	*play->go = 1;
	nursery_start_reaping(&nursery, pid);
	turn_until(&ear, &verdict.count, 1, "a verdict");
	ck_assert_int_eq(nursery_reaped(&nursery) & ~WCOREFLAG, play->status);
	expect_record(&ear, pid);
	turn_for(&ear, 100);
	expect_verdict(&verdict, pid, play->status);
	expect_record(&ear, pid); /* and no more */
	nursery_close(&nursery);
	ear_close(&ear);
}

static void hear_in_stream(struct play *play)
{
	struct ear ear;
	pid_t pid;

	if (!open_stream(&ear))
		return;
	pid = spawn(&(struct spawn){ .out = "out" }, play->argv);
	ck_assert_int_eq(await_exit(pid) & ~WCOREFLAG, play->status);
	turn_for(&ear, 100);
	the_only(&ear, KNELL_CLONE, pid);
	expect_death(&ear, pid, play->status);
	ear_close(&ear);
}

static void hear_all_ways(int status, const char *const argv[])
{
	struct play *play = shared_memory(sizeof(*play));

	play->argv = argv;
	play->status = status;
	play->go = shared_memory(sizeof(int));
	hear_child(play);
	hear_grandchild(play);
	hear_stranger(play);
	hear_in_stream(play);
}

START_TEST(leader_exits_first)
{
	hear_all_ways(W_EXITCODE(7, 0), LIST(test_program("threads"), "leader-exits"));
}
END_TEST

START_TEST(exit_group_of_200)
{
	for (int i = 0; i < 3; i++)
		hear_all_ways(W_EXITCODE(9, 0), LIST(test_program("threads"), "group", "200"));
}
END_TEST

START_TEST(all_200_exit_at_once)
{
	for (int i = 0; i < 3; i++)
		hear_all_ways(W_EXITCODE(11, 0), LIST(test_program("threads"), "all-exit", "200"));
}
END_TEST

#define EXEC_BY_THREAD(mode)                                                                       \
	LIST(test_program("threads"), "--truth", "truth", mode, test_program("tiny"), "5")

/* Who called the second exec, as it was told; never a wrong one. 0: it is not known. */
static uint32_t hear_who_execed(const char *const argv[])
{
	size_t first = SIZE_MAX, last = 0;
	uint32_t told;
	struct ear ear;
	pid_t pid;

	unlink("truth");
	ear_open(&ear, NULL);
	pid = ear_start(&ear, argv);
	ck_assert_int_eq(ear_serve(&ear, pid), W_EXITCODE(5, 0));
	for (size_t i = 0; i < ear.count; i++) {
		if (ear.all[i].kind != KNELL_EXEC)
			continue;
		first = first < i ? first : i;
		last = i;
	}
	ck_assert_uint_eq(ear.heard[KNELL_EXEC], 2);
	/* It had no thread but the leader: everybody knows that. */
	ck_assert_uint_eq(ear.all[first].u.exec.old_tid, (uint32_t)pid);
	told = ear.all[last].u.exec.old_tid;
	if (told)
		ck_assert_uint_eq(told, (uint32_t)await_number("truth", "old_tid"));
	ck_assert_uint_eq(ear.all[last].task.tid, (uint32_t)pid);
	ck_assert_uint_eq(ear.all[last].task.start, the_only(&ear, KNELL_CLONE, pid)->task.start);
	ear_close(&ear);
	return told;
}

START_TEST(exec_by_another_thread)
{
	uint32_t told;

	hear_all_ways(W_EXITCODE(5, 0), EXEC_BY_THREAD("exec"));
	if (!can(KNELL_CAN_FORK))
		return;
	told = hear_who_execed(EXEC_BY_THREAD("exec"));
	/* The connector hears two threads end at once, in either order, and must not guess. */
	ck_assert(told || test_source_is("connector"));
}
END_TEST

/* The connector knows whom it hears alone, but exits may come late, in theory. */
START_TEST(exec_by_the_last_thread)
{
	uint32_t told = 0;

	hear_all_ways(W_EXITCODE(5, 0), EXEC_BY_THREAD("exec-last"));
	if (!can(KNELL_CAN_FORK))
		return;
	for (int try = 0; try < 4 && !told; try++) {
		told = hear_who_execed(EXEC_BY_THREAD("exec-last"));
		ck_assert(told || test_source_is("connector"));
	}
	ck_assert_uint_ne(told, 0);
}
END_TEST

/* Its status is hidden from whoever may not trace it. */
static void watch_a_zombie_unprivileged(void)
{
	if (geteuid() != 0)
		test_skip("who may not trace a process must be another user, so root is needed");
	ck_assert_int_eq(seteuid(65534), 0);
	watch_a_zombie();
	ck_assert_int_eq(seteuid(0), 0);
}

/* Over all that came before in this process: the traps are the cases that are hard to know. */
START_TEST(status_of_all)
{
	struct play *play = shared_memory(sizeof(*play));

	play->go = shared_memory(sizeof(int));
	play->argv = LIST(test_program("threads"), "leader-exits");
	play->status = W_EXITCODE(7, 0);
	hear_grandchild(play);
	hear_in_stream(play);
	watch_a_zombie();
	/* Before Linux 6.15 pidfd did not know that one either. */
	if (test_source_is("pidfd") && !claim_holds(KNELL_CAN_STATUS))
		watch_a_zombie_unprivileged();
	if (can(KNELL_CAN_FORK | KNELL_CAN_WATCH))
		claim_settle(KNELL_CAN_STATUS);
}
END_TEST

void add_tests(Suite *suite)
{
	TCase *tcase = test_case(suite, "lives", 60);

	tcase_add_test(tcase, small_tree);
	tcase_add_test(tcase, status_and_cause);
	tcase_add_test(tcase, usage);
	tcase_add_test(tcase, threads_if_asked_for);
	tcase_add_test(tcase, ids_if_asked_for);
	tcase_add_test(tcase, storm_in_a_stream);
	tcase_add_test(tcase, leader_exits_first);
	tcase_add_test(tcase, exit_group_of_200);
	tcase_add_test(tcase, all_200_exit_at_once);
	tcase_add_test(tcase, exec_by_another_thread);
	tcase_add_test(tcase, exec_by_the_last_thread);
	tcase_add_test(tcase, status_of_all);
	add_watch_tests(test_case(suite, "watches", 120));
	add_loss_tests(test_case(suite, "losses", 120));
}
