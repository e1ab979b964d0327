/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * spawn.c - knell_nursery_* and knell_spawn(): checks what it is asked for, makes ready what a
 * child needs to know, and has it made at the home of the CPU that it is called on. See
 * <knell/spawn.h>.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "home.h"
#include "options.h"
#include "pidfd.h"
#include "source/source.h"

#define ALL_SPAWN_FLAGS (KNELL_SPAWN_GROUPS * 2 - 1)
#define DEFAULT_PATH    "/bin:/usr/bin" /* as execvp(3) */
#define TRIES           2               /* a helper may be killed at any moment */
#define LOOK_NS         1000000000u     /* how often spawners look after idle homes */

/* ---- the nursery ---- */

int knell_nursery_open(struct knell_nursery **ret_nursery,
		       const struct knell_nursery_options *options)
{
	struct knell_nursery_options o = { 0 };
	struct knell_nursery *nursery;
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	int r;

	if (options) {
		r = knell_take_options(&o, sizeof(o), options, sizeof(o.size),
				       "knell_nursery_options");
		if (r < 0)
			return r;
	}
	if (o.flags & ~KNELL_NURSERY_WAIT)
		return knell_fail(-EINVAL, "knell_nursery_options.flags has unknown bits %#x",
				  o.flags & ~KNELL_NURSERY_WAIT);
	if (cpus <= 0)
		return knell_fail(-ENOSYS, "cannot count CPUs: is /sys mounted?");
	r = knell_pidfd_open(getpid());
	if (r < 0)
		return knell_fail(r, "cannot open a pidfd: %s", strerror(-r));
	close(r);
	nursery = calloc(1, sizeof(*nursery));
	if (!nursery)
		return knell_fail(-ENOMEM, "no memory for a nursery");
	nursery->options = o;
	nursery->owner = getpid();
	nursery->by_kernel = !(o.flags & KNELL_NURSERY_WAIT) && knell_pidfd_tells_late();
	nursery->cpus = (unsigned int)cpus;
	nursery->homes = calloc(nursery->cpus, sizeof(struct home *));
	if (!nursery->homes) {
		free(nursery);
		return knell_fail(-ENOMEM, "no memory for a nursery");
	}
	pthread_mutex_init(&nursery->lock, NULL);
	*ret_nursery = nursery;
	return 0;
}

struct knell_nursery *knell_nursery_close(struct knell_nursery *nursery)
{
	if (!nursery)
		return NULL;
	/* In a forked child there are no threads to end, and all else is a copy. */
	if (nursery->owner == getpid()) {
		__atomic_store_n(&nursery->closing, true, __ATOMIC_SEQ_CST);
		for (unsigned int cpu = 0; cpu < nursery->cpus; cpu++)
			home_stop(nursery->homes[cpu]);
		/* Only now does no callback run that could look for a home. */
		for (unsigned int cpu = 0; cpu < nursery->cpus; cpu++)
			home_free(nursery->homes[cpu]);
		pthread_mutex_destroy(&nursery->lock);
	}
	free(nursery->homes);
	free(nursery);
	return NULL;
}

static struct home *home_at(struct knell_nursery *nursery, unsigned int cpu)
{
	return cpu < nursery->cpus ? __atomic_load_n(&nursery->homes[cpu], __ATOMIC_ACQUIRE) : NULL;
}

/* ---- draining ---- */

static int64_t left_ns(const struct timespec *end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)(end->tv_sec - now.tv_sec) * 1000000000 + (end->tv_nsec - now.tv_nsec);
}

/* Until this home has had no child for a moment. */
static int drain_home(struct home *home, const struct timespec *end)
{
	uint32_t n;

	/* Acquire: pairs with one_less(): what the callbacks did is seen. */
	while ((n = __atomic_load_n(&home->children, __ATOMIC_ACQUIRE)) != 0) {
		int64_t left = end ? left_ns(end) : 0;
		struct timespec timeout = { .tv_sec = left / 1000000000,
					    .tv_nsec = left % 1000000000 };

		if (end && left <= 0)
			return -ETIMEDOUT;
		syscall(SYS_futex, &home->children, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, n,
			end ? &timeout : NULL, NULL, 0);
	}
	return 0;
}

static bool has_children(struct knell_nursery *nursery)
{
	for (unsigned int cpu = 0; cpu < nursery->cpus; cpu++) {
		struct home *home = home_at(nursery, cpu);

		if (home && __atomic_load_n(&home->children, __ATOMIC_ACQUIRE))
			return true;
	}
	return false;
}

int knell_nursery_drain(struct knell_nursery *nursery, int timeout_ms)
{
	struct timespec end;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += timeout_ms / 1000;
	end.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	while (r == 0 && has_children(nursery)) {
		for (unsigned int cpu = 0; r == 0 && cpu < nursery->cpus; cpu++) {
			struct home *home = home_at(nursery, cpu);

			if (home)
				r = drain_home(home, timeout_ms < 0 ? NULL : &end);
		}
	}
	return r;
}

/* ---- what a child needs to know ---- */

static int check_actions(const struct knell_spawn_options *o)
{
	for (size_t i = 0; i < o->action_count; i++) {
		const struct knell_file_action *a = &o->actions[i];

		if (a->kind < KNELL_FILE_DUP || a->kind > KNELL_FILE_OPEN || a->fd < 0 ||
		    (a->kind == KNELL_FILE_DUP && a->from < 0) ||
		    (a->kind == KNELL_FILE_OPEN && !a->path))
			return knell_fail(-EINVAL, "file action %zu is no valid one", i);
	}
	return 0;
}

/* A list that is not there. */
static int check_lists(const struct knell_spawn_options *o)
{
	const char *missing = NULL;

	if (o->action_count && !o->actions)
		missing = "actions";
	else if (o->rlimit_count && !o->rlimits)
		missing = "rlimits";
	else if (o->flags & KNELL_SPAWN_GROUPS && o->group_count && !o->groups)
		missing = "groups";
	else if (o->flags & KNELL_SPAWN_CPUS && (!o->cpus || !o->cpus_size))
		missing = "cpus";
	return missing ? knell_fail(-EINVAL, "knell_spawn_options.%s is NULL or empty", missing)
		       : 0;
}

static int take_options(struct knell_spawn_options *ret, const struct knell_spawn_options *given)
{
	struct knell_spawn_options o = { 0 };
	int r = knell_take_options(&o, sizeof(o), given, sizeof(o.size), "knell_spawn_options");

	if (r < 0)
		return r;
	if (o.flags & ~ALL_SPAWN_FLAGS)
		return knell_fail(-EINVAL, "knell_spawn_options.flags has unknown bits %#x",
				  o.flags & ~ALL_SPAWN_FLAGS);
	if (!o.argv || (!o.file && !o.argv[0]))
		return knell_fail(-EINVAL, "knell_spawn: no argv");
	if (!o.file) {
		o.file = o.argv[0];
		o.flags |= KNELL_SPAWN_PATH;
	}
	/* To setresuid(2) that means: as it is. */
	if ((o.flags & KNELL_SPAWN_UID && o.uid == (uid_t)-1) ||
	    (o.flags & KNELL_SPAWN_GID && o.gid == (gid_t)-1))
		return knell_fail(-EINVAL, "knell_spawn_options: -1 is no uid or gid");
	if (o.parent_death < 0 || o.parent_death > 64)
		return knell_fail(-EINVAL, "knell_spawn: %d is no signal", o.parent_death);
	r = check_lists(&o);
	if (r == 0)
		r = check_actions(&o);
	if (r == 0)
		*ret = o;
	return r;
}

/*
 * The files to be tried, in one piece of memory: a table, and the texts behind it. NULL: no memory,
 * or none that could be tried (errno).
 */
static char *const *find_paths(const struct knell_spawn_options *o)
{
	const char *path = getenv("PATH");
	size_t count = 1, length = strlen(o->file);
	char **table, *text;

	if (!length) {
		errno = ENOENT;
		return NULL;
	}
	if (!(o->flags & KNELL_SPAWN_PATH) || strchr(o->file, '/'))
		path = "";
	else if (!path)
		path = DEFAULT_PATH;
	for (const char *p = path; *p; p++)
		count += *p == ':';
	table = malloc((count + 1) * sizeof(*table) + strlen(path) + count * (length + 2));
	if (!table)
		return NULL;
	text = (char *)(table + count + 1);
	for (size_t i = 0; i < count; i++) {
		size_t n = strcspn(path, ":");

		table[i] = text;
		memcpy(text, path, n);
		text += n;
		if (n)
			*text++ = '/';
		memcpy(text, o->file, length + 1);
		text += length + 1;
		path += n + (path[n] == ':');
	}
	table[count] = NULL;
	return table;
}

/* The calling thread's, or what was asked for. */
static void take_mask(struct birth *birth)
{
	sigset_t own;

	pthread_sigmask(SIG_SETMASK, NULL, &own);
	memcpy(&birth->mask, &own, sizeof(birth->mask)); /* the kernel's part of it comes first */
	if (birth->options->flags & KNELL_SPAWN_MASK)
		birth->mask = birth->options->mask;
}

static int take_cpus(struct birth *birth, unsigned char *own, size_t size)
{
	const struct knell_spawn_options *o = birth->options;
	long n;

	if (o->flags & KNELL_SPAWN_CPUS) {
		birth->cpus = o->cpus;
		birth->cpus_size = o->cpus_size;
		return 0;
	}
	n = syscall(SYS_sched_getaffinity, 0, size, own);
	if (n < 0)
		return -errno;
	birth->cpus = own;
	birth->cpus_size = (size_t)n;
	return 0;
}

/* ---- the spawn ---- */

/*
 * Reapers without work do not notice that they were moved, and idle helpers not that the
 * application has given up rights: it is not to have any in its memory that still have them. Homes
 * that are busy with a spawn look at that themselves.
 */
static void look_after_homes(struct knell_nursery *nursery, const struct home *but)
{
	struct nest_identity now;

	nest_identity(&now);
	for (unsigned int cpu = 0; cpu < nursery->cpus; cpu++) {
		struct home *home = home_at(nursery, cpu);

		if (!home || home == but || pthread_mutex_trylock(&home->lock) != 0)
			continue;
		home_look(home, &now);
		pthread_mutex_unlock(&home->lock);
	}
}

static void look_when_due(struct knell_nursery *nursery)
{
	struct timespec t;
	uint64_t now, due = __atomic_load_n(&nursery->next_look, __ATOMIC_RELAXED);

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	if (now >= due && __atomic_compare_exchange_n(&nursery->next_look, &due, now + LOOK_NS,
						      false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		look_after_homes(nursery, NULL);
}

/* The child runs, but nobody would hear of its death: it must not stay. */
static void give_up(struct home *home, const struct birth *birth)
{
	if (nest_kill(birth->pidfd) && !home->nursery->by_kernel)
		nest_wait(home->nest, birth->pid);
	nest_close_pidfd(birth->pidfd, birth->moved);
}

/* Which of the wishes could not be fulfilled. */
static int tell_failure(const struct birth *birth)
{
	static const char *const steps[] = {
		[BIRTH_CPUS] = "cpus",
		[BIRTH_FORK] = "a new process",
		[BIRTH_FILES] = "files of its own",
		[BIRTH_SESSION] = "a new session",
		[BIRTH_GROUP] = "group",
		[BIRTH_NICE] = "nice",
		[BIRTH_RLIMIT] = "rlimits",
		[BIRTH_DIRECTORY] = "directory",
		[BIRTH_ACTION] = "file action",
		[BIRTH_GROUPS] = "groups",
		[BIRTH_GID] = "gid",
		[BIRTH_UID] = "uid",
		[BIRTH_PARENT_DEATH] = "parent_death",
	};
	const struct knell_spawn_options *o = birth->options;
	const char *why = strerror(birth->error), *step;

	if (birth->step == BIRTH_EXEC)
		return knell_fail(-birth->error, "cannot run '%s': %s", o->file, why);
	step = steps[birth->step];
	if (birth->step == BIRTH_DIRECTORY)
		return knell_fail(-birth->error, "cannot start '%s': directory '%s': %s", o->file,
				  o->directory, why);
	if (birth->step == BIRTH_ACTION || birth->step == BIRTH_RLIMIT)
		return knell_fail(-birth->error, "cannot start '%s': %s %zu: %s", o->file, step,
				  birth->index, why);
	if (birth->step == BIRTH_FORK && o->flags & KNELL_SPAWN_CGROUP)
		step = "a new process in the cgroup of cgroup_fd";
	return knell_fail(-birth->error, "cannot start '%s': %s: %s", o->file, step, why);
}

static int make_child(struct home *home, struct birth *birth, struct child *child)
{
	int r = -ESRCH;

	if (__atomic_load_n(&home->nursery->closing, __ATOMIC_SEQ_CST))
		return knell_fail(-ECANCELED, "the nursery is being closed");
	for (int i = 0; r == -ESRCH && i < TRIES; i++) {
		bool replaced = false;

		r = home_ready(home, &replaced);
		if (r == -EBADF)
			return knell_fail(r, "the nursery's descriptors were closed behind its "
					     "back: close it, and open another one");
		if (r < 0)
			return knell_fail(r, "cannot start a nursery helper: %s", strerror(-r));
		if (replaced)
			look_after_homes(home->nursery, home);
		r = nest_spawn(home->nest, birth);
	}
	if (r < 0)
		return knell_fail(-EAGAIN, "nursery helpers are killed faster than they start");
	if (birth->error)
		return tell_failure(birth);
	child->pid = birth->pid;
	child->pidfd = birth->pidfd;
	child->moved = birth->moved;
	r = home_adopt(home, child);
	if (r < 0) {
		give_up(home, birth);
		return knell_fail(r, "cannot watch the child: %s", strerror(-r));
	}
	return 0;
}

static int spawn_at(struct home *home, struct birth *birth, struct child *child)
{
	int r;

	pthread_mutex_lock(&home->lock);
	r = make_child(home, birth, child);
	__atomic_add_fetch(r < 0 ? &home->failed : &home->spawned, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&home->lock);
	return r;
}

static int spawn(struct knell_nursery *nursery, pid_t *ret_pid, const struct knell_spawn_options *o,
		 struct child *child)
{
	unsigned char cpus[NEST_CPUS / 8];
	struct birth birth = { .options = o, .envp = o->envp ? o->envp : environ };
	struct home *home;
	unsigned int cpu = 0;
	int r;

	take_mask(&birth);
	r = take_cpus(&birth, cpus, sizeof(cpus));
	if (r < 0)
		return knell_fail(r, "cannot ask for the thread's affinity: %s", strerror(-r));
	birth.paths = find_paths(o);
	if (!birth.paths)
		return knell_fail(-errno, "cannot run '%s': %s", o->file, strerror(errno));
	getcpu(&cpu, NULL);
	home = home_of(nursery, cpu % nursery->cpus);
	r = home ? spawn_at(home, &birth, child)
		 : knell_fail(-ENOMEM, "no memory for a CPU's reaper");
	free((void *)(uintptr_t)birth.paths);
	if (r == 0 && ret_pid)
		*ret_pid = birth.pid;
	return r;
}

int knell_spawn(struct knell_nursery *nursery, pid_t *ret_pid,
		const struct knell_spawn_options *options)
{
	struct knell_spawn_options o = { 0 };
	struct child *child;
	int r = take_options(&o, options);

	if (r < 0)
		return r;
	if (!nursery)
		return knell_fail(-EINVAL, "knell_spawn: no nursery");
	if (nursery->owner != getpid())
		return knell_fail(-EPERM, "this nursery is the parent's; open one after fork()");
	child = calloc(1, sizeof(*child));
	if (!child)
		return knell_fail(-ENOMEM, "no memory for a child");
	child->fn = o.fn;
	child->userdata = o.userdata;
	child->word = o.word;
	look_when_due(nursery);
	r = spawn(nursery, ret_pid, &o, child);
	if (r < 0)
		free(child);
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the reaper frees it */
	return r;
}

/* ---- statistics ---- */

static void add_stats(struct knell_nursery_stats *sum, struct home *home)
{
#define ADD(field) (sum->field += __atomic_load_n(&home->field, __ATOMIC_RELAXED))
	uint64_t slowest = __atomic_load_n(&home->slowest_ns, __ATOMIC_RELAXED);

	ADD(spawned);
	ADD(failed);
	ADD(replaced);
	ADD(by_kernel);
	ADD(by_wait);
	ADD(unknown);
	ADD(wakeups);
	ADD(children);
	if (slowest > sum->slowest_ns)
		sum->slowest_ns = slowest;
	sum->reapers += __atomic_load_n(&home->tid, __ATOMIC_RELAXED) != 0;
#undef ADD
}

void knell_nursery_get_stats(struct knell_nursery *nursery, struct knell_nursery_stats *ret_stats)
{
	struct knell_nursery_stats sum = { 0 };

	for (unsigned int cpu = 0; cpu < nursery->cpus; cpu++) {
		struct home *home = home_at(nursery, cpu);

		if (home)
			add_stats(&sum, home);
	}
	*ret_stats = sum;
}

int knell_nursery_get_cpu_stats(struct knell_nursery *nursery, unsigned int cpu,
				struct knell_nursery_stats *ret_stats)
{
	struct knell_nursery_stats sum = { 0 };
	struct home *home = home_at(nursery, cpu);

	if (!home)
		return -ENOENT;
	add_stats(&sum, home);
	*ret_stats = sum;
	return 0;
}
