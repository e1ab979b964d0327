/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bpf_load.c - loads the BPF programs into the kernel, sized for this machine, maps what they share
 * with us, and says in plain words what is missing where the kernel refuses. Owns the skeleton and
 * the mappings.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "bpf.h"
#include "knell.skel.h"

#define PID_MAX_LIMIT (4u << 20)  /* include/linux/threads.h, 64 bit */
#define INIT_USER_INO 0xEFFFFFFDu /* PROC_USER_INIT_INO: the initial user namespace */
#define INIT_PID_INO  0xEFFFFFFCu /* PROC_PID_INIT_INO: the initial pid namespace */

/*
 * Of maps, programs, links and libbpf's trials, beside one for each CPU; a few more than it takes:
 * 28 in all with two CPUs, on Linux 6.18.
 */
#define DESCRIPTORS 30

/* libbpf's last complaint while it worked for this thread: the best explanation that there is. */
static _Thread_local char complaint[256];

static int keep_complaint(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN && !complaint[0])
		vsnprintf(complaint, sizeof(complaint), format, args);
	return 0;
}

/* Elsewhere whoever has all capabilities has none that bpf(2) asks for. */
static bool in_initial_user_ns(void)
{
	struct stat ns;

	return stat("/proc/self/ns/user", &ns) < 0 || ns.st_ino == INIT_USER_INO;
}

/* What to say, and what to do, for an error that loading ended in. */
static void explain(int error, struct knell_probe *probe)
{
	const char *reason = complaint, *remedy = "see the kernel's log, or use --source=ptrace";

	complaint[strcspn(complaint, "\n")] = 0;
	if (knell_remedy(error)) { /* a limit: libbpf takes it for much else */
		snprintf(complaint, sizeof(complaint), "cannot load BPF programs: %s",
			 strerror(-error));
		remedy = knell_remedy(error);
	} else if (error == -EPERM) { /* EACCES is the verifier's: see the complaint */
		reason = "loading BPF programs is not permitted";
		remedy = in_initial_user_ns()
				 ? "run as root, or give the program CAP_BPF and CAP_PERFMON "
				   "(setcap cap_bpf,cap_perfmon+ep)"
				 : "run it outside of this user namespace: capabilities in it do "
				   "not count for BPF";
	} else if (access("/sys/kernel/btf/vmlinux", R_OK) < 0) {
		reason = "the kernel has no readable BTF (/sys/kernel/btf/vmlinux)";
		remedy = "use a kernel with CONFIG_DEBUG_INFO_BTF, as Debian's, and mount /sys";
	} else if (error == -ENOSYS) {
		reason = "the kernel has no bpf(2), or a seccomp filter hides it";
		remedy = "allow bpf(2) in the container's seccomp profile";
	} else if (error == -ENOMEM) {
		reason = "no memory for the tables";
		remedy = "ask for a smaller reserve, or raise the memory cgroup's limit";
	} else if (!complaint[0]) {
		reason = strerror(-error);
	}
	snprintf(probe->reason, sizeof(probe->reason), "%s", reason);
	snprintf(probe->remedy, sizeof(probe->remedy), "%s", remedy);
}

/* The largest number that a process can get, in the kernel's own numbers. */
static uint32_t pid_max(void)
{
	struct stat ns;
	char text[32] = "";
	uint32_t max = 0;
	ssize_t n;
	int fd;

	/* In another pid namespace /proc may tell that namespace's limit. */
	if (stat("/proc/self/ns/pid", &ns) < 0 || ns.st_ino != INIT_PID_INO)
		return PID_MAX_LIMIT;
	fd = open("/proc/sys/kernel/pid_max", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return PID_MAX_LIMIT;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 0)
		max = (uint32_t)strtoul(text, NULL, 10);
	return max > 0 && max < PID_MAX_LIMIT ? max : PID_MAX_LIMIT;
}

/* A stream may tell of every process: all bits are set, and no program has to ask more. */
static int set_all_hints(const struct knell_bpf *skel)
{
	size_t size = 0;
	void *all;
	int r;

	bpf_map__initial_value(skel->maps.data_hints, &size);
	all = malloc(size);
	if (!all)
		return -ENOMEM;
	memset(all, 0xff, size);
	r = bpf_map__set_initial_value(skel->maps.data_hints, all, size);
	free(all);
	return r;
}

static int configure(struct bpf_source *s, bool trampolines)
{
	struct knell_bpf *skel = s->skel;

	skel->rodata->cpu_count = s->cpus;
	skel->rodata->ring_size = s->options.ring_size;
	skel->rodata->page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	skel->rodata->want_threads = s->options.flags & KNELL_O_THREADS;
	skel->rodata->want_args = s->options.flags & KNELL_O_ARGS;
	if (s->options.flags & KNELL_O_STREAM) {
		const struct knell_filter *filter = &s->options.filter;

		skel->rodata->stream = true;
		skel->rodata->filter.match = filter->match;
		skel->rodata->filter.uid = filter->uid;
		skel->rodata->filter.cgroup = filter->cgroup;
		memcpy((char *)skel->rodata->filter.comm, filter->comm, KNELL_COMM_LEN - 1);
	}
	bpf_program__set_autoattach(skel->progs.adopt, false);
	bpf_program__set_autoload(skel->progs.recredited, trampolines);
	bpf_map__set_max_entries(skel->maps.interest, s->interest_count);
	bpf_map__set_max_entries(skel->maps.slots, s->slot_count);
	bpf_map__set_max_entries(skel->maps.heads, s->cpus);
	bpf_map__set_max_entries(skel->maps.rings, s->cpus);
	bpf_map__set_max_entries(skel->maps.bell, (uint32_t)sysconf(_SC_PAGESIZE));
	return s->options.flags & KNELL_O_STREAM ? set_all_hints(skel) : 0;
}

static int create_rings(struct bpf_source *s)
{
	s->rings = calloc(s->cpus, sizeof(*s->rings));
	if (!s->rings)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->cpus; i++) {
		int r = ring_create(&s->rings[i], s->options.ring_size);

		if (r < 0)
			return r;
	}
	/* The table of rings takes only rings of the size that it was made for. */
	return bpf_map__set_inner_map_fd(s->skel->maps.rings, s->rings[0].fd);
}

/*
 * All at once: an update of a table of maps waits for an RCU grace period, some 10 to 20 ms, and
 * a batch waits for one. (Before 6.7 a batch does not wait at all: nothing runs yet that could see
 * an old entry.)
 */
static int place_rings(struct bpf_source *s)
{
	uint32_t *keys = calloc(s->cpus, sizeof(*keys));
	int *fds = calloc(s->cpus, sizeof(*fds));
	uint32_t count = s->cpus;
	int r = -ENOMEM;

	if (keys && fds) {
		for (uint32_t i = 0; i < s->cpus; i++) {
			keys[i] = i;
			fds[i] = s->rings[i].fd;
		}
		r = bpf_map_update_batch(bpf_map__fd(s->skel->maps.rings), keys, fds, &count, NULL);
	}
	free(keys);
	free(fds);
	return r;
}

static size_t mapped_size(const struct bpf_map *map)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t value = (bpf_map__value_size(map) + 7) & ~7ul;

	return (value * bpf_map__max_entries(map) + page - 1) & ~(page - 1);
}

static void *map_array(const struct bpf_map *map)
{
	void *at = mmap(NULL, mapped_size(map), PROT_READ | PROT_WRITE, MAP_SHARED,
			bpf_map__fd(map), 0);

	return at == MAP_FAILED ? NULL : at;
}

static void *unmap_array(void *at, const struct bpf_map *map)
{
	if (at)
		munmap(at, mapped_size(map));
	return NULL;
}

static int map_arrays(struct bpf_source *s)
{
	s->interest = map_array(s->skel->maps.interest);
	s->slots = map_array(s->skel->maps.slots);
	s->heads = map_array(s->skel->maps.heads);
	s->watches = map_array(s->skel->maps.watches);
	if (!s->interest || !s->slots || !s->heads || !s->watches)
		return -errno;
	return ring_map(&s->bell, bpf_map__fd(s->skel->maps.bell), (size_t)sysconf(_SC_PAGESIZE));
}

static int load(struct bpf_source *s, bool trampolines)
{
	uint32_t tgid, tid;
	int r;

	s->skel = knell_bpf__open();
	if (!s->skel)
		return -errno;
	r = configure(s, trampolines);
	if (r == 0)
		r = create_rings(s);
	if (r == 0)
		r = knell_bpf__load(s->skel);
	if (r == 0)
		r = place_rings(s);
	if (r == 0)
		r = map_arrays(s);
	if (r == 0)
		r = bpf_source_whoami(s, &tgid, &tid); /* tells the programs our pid namespace */
	if (r == 0)
		r = slots_init(s);
	if (r == 0)
		r = knell_bpf__attach(s->skel);
	return r;
}

static void unload(struct bpf_source *s)
{
	if (!s->skel)
		return;
	knell_bpf__detach(s->skel);
	s->interest = unmap_array(s->interest, s->skel->maps.interest);
	s->slots = unmap_array(s->slots, s->skel->maps.slots);
	s->heads = unmap_array(s->heads, s->skel->maps.heads);
	s->watches = unmap_array(s->watches, s->skel->maps.watches);
	ring_destroy(&s->bell, false);
	for (uint32_t i = 0; s->rings && i < s->cpus; i++)
		ring_destroy(&s->rings[i], true);
	free(s->rings);
	s->rings = NULL;
	knell_bpf__destroy(s->skel);
	s->skel = NULL;
	slots_destroy(s);
}

/*
 * What libbpf has no descriptor to try with it takes for not supported, and something else fails
 * then: "Invalid argument". So who has few is told that. Only after a failure, and after unload().
 */
static bool descriptors_are_few(const struct bpf_source *s)
{
	unsigned int wanted = DESCRIPTORS + s->cpus, got = 0;
	int *fds = calloc(wanted, sizeof(*fds));
	bool few;

	while (fds && got < wanted && (fds[got] = open("/", O_PATH | O_CLOEXEC)) >= 0)
		got++;
	few = fds && got < wanted && (errno == EMFILE || errno == ENFILE);
	while (got)
		close(fds[--got]);
	free(fds);
	return few;
}

static int count_failed(int error)
{
	if (knell_remedy(error))
		return knell_fail(error, "cannot count CPUs: %s", strerror(-error));
	return knell_fail(error, "cannot count CPUs: is /sys mounted?");
}

int bpf_source_load(struct bpf_source *s)
{
	libbpf_print_fn_t print;
	struct knell_probe probe;
	int cpus, r;

	complaint[0] = 0;
	print = libbpf_set_print(keep_complaint);
	cpus = libbpf_num_possible_cpus();
	if (cpus <= 0) {
		libbpf_set_print(print);
		return count_failed(cpus);
	}
	s->cpus = (uint32_t)cpus;
	s->interest_count = pid_max() + 1;
	s->slot_count = s->options.reserve + 1;
	r = load(s, s->options.flags & KNELL_O_IDS);
	if (r < 0 && s->options.flags & KNELL_O_IDS) {
		/* Without trampolines the ids come from elsewhere: see bpf.c. */
		unload(s);
		complaint[0] = 0;
		r = load(s, false);
	} else if (r == 0) {
		s->hears_ids = s->options.flags & KNELL_O_IDS;
	}
	libbpf_set_print(print);
	if (r == 0)
		return 0;
	unload(s);
	if (r != -EPERM && descriptors_are_few(s))
		r = -EMFILE;
	explain(r, &probe);
	return knell_fail(r, "%s; %s", probe.reason, probe.remedy);
}

void bpf_source_unload(struct bpf_source *s)
{
	unload(s);
}

/* Loads it all, small, and lets it go again. */
int bpf_source_probe(struct knell_probe *probe)
{
	struct bpf_source s = {
		.options = { .size = sizeof(s.options),
			     .reserve = 1,
			     .ring_size = (uint32_t)sysconf(_SC_PAGESIZE) },
	};
	int r = bpf_source_load(&s);

	if (r < 0)
		explain(r, probe);
	bpf_source_unload(&s);
	return r;
}

/* Each home's ring is its bell, or there is one for all. */
void bpf_source_own_bells(struct bpf_source *s, bool own)
{
	__atomic_store_n(&s->skel->bss->own_bells, own, __ATOMIC_RELEASE);
}

uint64_t bpf_source_missed(const struct bpf_source *s)
{
	struct bpf_program *program;
	uint64_t missed = 0;

	bpf_object__for_each_program(program, s->skel->obj)
	{
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info);
		int fd = bpf_program__fd(program);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0)
			missed += info.recursion_misses;
	}
	return missed;
}

int bpf_source_whoami(const struct bpf_source *s, uint32_t *ret_tgid, uint32_t *ret_tid)
{
	LIBBPF_OPTS(bpf_test_run_opts, options);
	int r = bpf_prog_test_run_opts(bpf_program__fd(s->skel->progs.whoami), &options);

	if (r < 0)
		return r;
	*ret_tgid = s->skel->bss->own_tgid;
	*ret_tid = s->skel->bss->own_tid;
	return 0;
}
