/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_samples.c - the modules of samples/: what an owner of shared memory leaves behind is freed,
 * once, however and with how many others it dies.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shm-owner/shm-owner.h>

#include "support.h"

#define BYTES 8192

static int shm_open_device(void)
{
	int device;

	ck_assert_int_eq(other_load(SHM_OWNER, ""), 0);
	device = open(SHM_OWNER_DEVICE, O_RDWR | O_CLOEXEC);
	ck_assert_msg(device >= 0, "%s: %s", SHM_OWNER_DEVICE, strerror(errno));
	return device;
}

/* A new segment of a process (0: ourselves): its id, or -errno. */
static int64_t segment_of(int device, pid_t pid)
{
	struct shm_owner_register request = { .bytes = BYTES, .pid = (uint32_t)pid };

	return ioctl(device, SHM_OWNER_REGISTER, &request) ? -errno : (int64_t)request.id;
}

/* A descriptor, or -errno. */
static int segment_open(int device, int64_t id)
{
	struct shm_owner_open request = { .id = (uint64_t)id };

	return ioctl(device, SHM_OWNER_OPEN, &request) ? -errno : request.fd;
}

static bool segment_exists(int device, int64_t id)
{
	int fd = segment_open(device, id);

	ck_assert(fd >= 0 || fd == -ENOENT);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static struct shm_owner_counts counts_of(int device)
{
	struct shm_owner_counts counts;

	ck_assert_int_eq(ioctl(device, SHM_OWNER_COUNTS, &counts), 0);
	return counts;
}

/* Waits until so many segments were freed; no more may follow, and so many owners are left. */
static void await_freed(int device, uint64_t freed, uint64_t owners)
{
	int tries;

	for (tries = 0; tries < 600 && counts_of(device).freed < freed; tries++)
		usleep(50000);
	usleep(100000);
	ck_assert_uint_eq(counts_of(device).freed, freed);
	ck_assert_uint_eq(counts_of(device).owners, owners);
}

/*
 * A child that registers so many segments itself, tells, closes the device, and waits at the gate;
 * NULL: until it is killed. (Who is forked after a gate was made holds it shut.)
 */
static pid_t owner_at(const struct gate *gate, int device, int segments, int64_t ids[])
{
	int told[2], i;
	pid_t pid;

	ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
	pid = spawn();
	if (!pid) {
		for (i = 0; i < segments; i++) {
			int64_t id = segment_of(device, 0);

			if (write(told[1], &id, sizeof(id)) != sizeof(id))
				_exit(98);
		}
		close(told[1]);
		close(device);
		if (gate)
			gate_wait(gate);
		else
			pause();
		_exit(0);
	}
	close(told[1]);
	for (i = 0; i < segments; i++) {
		ck_assert_int_eq(read(told[0], &ids[i], sizeof(ids[i])), sizeof(ids[i]));
		ck_assert_int_gt(ids[i], 0);
	}
	close(told[0]);
	return pid;
}

START_TEST(one_owner_one_user)
{
	int device = shm_open_device(), fd;
	struct gate gate;
	char *memory;
	int64_t id;
	pid_t pid;

	gate_make(&gate);
	pid = owner_at(&gate, device, 1, &id);
	fd = segment_open(device, id);
	ck_assert_int_ge(fd, 0);
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	close(fd);
	memset(memory, 'x', BYTES);
	ck_assert_uint_eq(counts_of(device).segments, 1);
	gate_open(&gate);
	reap(pid);
	await_freed(device, 1, 0);
	ck_assert(!segment_exists(device, id));
	ck_assert_int_eq(memory[BYTES - 1], 'x'); /* whoever has it mapped keeps the memory */
	munmap(memory, BYTES);
	close(device);
}
END_TEST

START_TEST(two_owners_two_users)
{
	int device = shm_open_device(), i, j;
	int64_t ids[2];
	pid_t owners[2], users[2];

	for (i = 0; i < 2; i++)
		owners[i] = owner_at(NULL, device, 1, &ids[i]);
	for (i = 0; i < 2; i++) {
		users[i] = spawn();
		if (users[i])
			continue;
		for (j = 0; j < 2; j++) {
			int fd = segment_open(device, ids[j]);
			char *memory = mmap(NULL, BYTES, PROT_WRITE, MAP_SHARED, fd, 0);

			if (memory == MAP_FAILED)
				_exit(1);
			memory[i] = 'y';
		}
		_exit(0);
	}
	for (i = 0; i < 2; i++)
		ck_assert_int_eq(reap(users[i]), 0);
	for (i = 0; i < 2; i++) {
		kill(owners[i], SIGKILL);
		reap(owners[i]);
		await_freed(device, (uint64_t)i + 1, 1 - (uint64_t)i);
		ck_assert(!segment_exists(device, ids[i]));
		ck_assert(i || segment_exists(device, ids[1]));
	}
	close(device);
}
END_TEST

START_TEST(hundreds_at_once)
{
	enum {
		OWNERS = 300,
		EACH = 3
	};
	static int64_t ids[OWNERS][EACH];
	static pid_t pids[OWNERS];
	int device = shm_open_device(), i, j;
	pid_t survivor;
	int64_t left;
	struct gate gate;

	survivor = owner_at(NULL, device, 1, &left);
	gate_make(&gate);
	for (i = 0; i < OWNERS; i++)
		pids[i] = owner_at(&gate, device, EACH, ids[i]);
	ck_assert_uint_eq(counts_of(device).owners, OWNERS + 1);
	gate_open(&gate);
	for (i = 0; i < OWNERS; i++)
		reap(pids[i]);
	await_freed(device, (uint64_t)OWNERS * EACH, 1);
	for (i = 0; i < OWNERS; i++)
		for (j = 0; j < EACH; j++)
			ck_assert(!segment_exists(device, ids[i][j]));
	ck_assert(segment_exists(device, left));
	kill(survivor, SIGKILL);
	reap(survivor);
	await_freed(device, (uint64_t)OWNERS * EACH + 1, 0);
	close(device);
}
END_TEST

/* Owners die as fast as they can be made, registered by another process. */
START_TEST(waves)
{
	enum {
		WAVES = 10,
		OWNERS = 200
	};
	static pid_t pids[OWNERS];
	int device = shm_open_device(), i, wave;
	struct gate gate;

	for (wave = 0; wave < WAVES; wave++) {
		gate_make(&gate);
		for (i = 0; i < OWNERS; i++) {
			pids[i] = spawn_at(&gate, 0);
			ck_assert_int_gt(segment_of(device, pids[i]), 0);
			ck_assert_int_gt(segment_of(device, pids[i]), 0);
		}
		gate_open(&gate);
		for (i = 0; i < OWNERS; i++)
			reap(pids[i]);
	}
	await_freed(device, 2ull * WAVES * OWNERS, 0);
	ck_assert_uint_eq(counts_of(device).segments, 0);
	close(device);
}
END_TEST

/* Another process has the number of a dead owner: it is another owner. */
START_TEST(number_used_again)
{
	int device = shm_open_device(), i;
	struct gate gate;
	int64_t first, second;
	pid_t owner, pid = 0;

	write_text("/proc/sys/kernel/pid_max", "400");
	gate_make(&gate);
	owner = owner_at(&gate, device, 1, &first);
	gate_open(&gate);
	reap(owner);
	gate_make(&gate);
	for (i = 0; i < 5000 && pid != owner; i++) {
		if (pid) {
			kill(pid, SIGKILL);
			reap(pid);
		}
		pid = spawn_at(&gate, 0);
	}
	ck_assert_int_eq(pid, owner);
	second = segment_of(device, pid);
	ck_assert_int_gt(second, first);
	await_freed(device, 1, 1);
	ck_assert(segment_exists(device, second));
	gate_open(&gate);
	reap(pid);
	await_freed(device, 2, 0);
	close(device);
}
END_TEST

static void *exec_sleep(void *unused)
{
	(void)unused;
	execl("/bin/sleep", "sleep", "1000", (char *)NULL);
	_exit(99);
}

/* exec(2), also by a thread that is not the leader, is no death. */
START_TEST(exec_keeps)
{
	int device = shm_open_device(), told[2];
	char byte;
	int64_t id;
	pid_t pid;

	ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0); /* closed by exec */
	pid = spawn();
	if (!pid) {
		pthread_t thread;

		id = segment_of(device, 0);
		if (id < 0 || write(told[1], &id, sizeof(id)) != sizeof(id))
			_exit(98);
		if (!_i)
			exec_sleep(NULL);
		pthread_create(&thread, NULL, exec_sleep, NULL);
		for (;;)
			pause();
	}
	close(told[1]);
	ck_assert_int_eq(read(told[0], &id, sizeof(id)), sizeof(id));
	ck_assert_int_eq(read(told[0], &byte, 1), 0);
	close(told[0]);
	usleep(200000);
	ck_assert_uint_eq(counts_of(device).freed, 0);
	ck_assert(segment_exists(device, id));
	kill(pid, SIGKILL);
	ck_assert_int_eq(reap(pid), SIGKILL);
	await_freed(device, 1, 0);
	close(device);
}
END_TEST

/* Somebody registers for a process that dies meanwhile: freed, or refused. */
START_TEST(registered_while_dying)
{
	int device = shm_open_device(), i, times = 0, refused = 0;

	for (i = 0; i < 300; i++) {
		struct gate gate;
		pid_t pid;

		gate_make(&gate);
		pid = spawn_at(&gate, 0);
		gate_open(&gate);
		for (;;) {
			int64_t id = segment_of(device, pid);

			if (id > 0) {
				times++;
				continue;
			}
			ck_assert_int_eq(id, -ESRCH);
			refused++;
			break;
		}
		reap(pid);
	}
	ck_assert_int_eq(refused, 300);
	ck_assert_int_gt(times, 0);
	await_freed(device, (uint64_t)times, 0);
	ck_assert_uint_eq(counts_of(device).segments, 0);
	close(device);
}
END_TEST

static int shared_device;

static void *register_on(void *unused)
{
	(void)unused;
	for (;;)
		segment_of(shared_device, 0);
	return NULL;
}

/* Threads register until the whole process is killed. */
START_TEST(killed_while_registering)
{
	int i, device = shared_device = shm_open_device();
	struct shm_owner_counts counts;

	for (i = 0; i < 20; i++) {
		uint64_t before = counts_of(device).registered;
		pid_t pid = spawn();

		if (!pid) {
			pthread_t thread;

			pthread_create(&thread, NULL, register_on, NULL);
			register_on(NULL);
		}
		while (counts_of(device).registered < before + 20)
			usleep(1000);
		kill(pid, SIGKILL);
		reap(pid);
	}
	counts = counts_of(device);
	ck_assert_uint_ge(counts.registered, 400);
	await_freed(device, counts.registered, 0);
	close(device);
}
END_TEST

START_TEST(not_unloaded_while_owners_live)
{
	int device, tries, error;
	struct gate gate;
	int64_t id;
	pid_t pid;

	ck_assert_int_eq(module_unload(), 0);
	ck_assert_int_eq(other_load(SHM_OWNER, ""), -ENOENT); /* knell.ko comes first */
	ck_assert_int_eq(module_load(""), 0);
	device = shm_open_device();
	gate_make(&gate);
	pid = owner_at(&gate, device, 1, &id);
	close(device); /* nobody has it open: it is the watch that holds the module */
	ck_assert_int_eq(other_unload("shm_owner"), -EWOULDBLOCK);
	ck_assert_int_eq(module_unload(), -EWOULDBLOCK);
	gate_open(&gate);
	reap(pid);
	for (tries = 0; tries < 600; tries++) {
		error = other_unload("shm_owner");
		if (error != -EWOULDBLOCK)
			break;
		usleep(50000);
	}
	ck_assert_int_eq(error, 0);
	ck_assert_int_eq(module_unload(), 0);
}
END_TEST

START_TEST(bad_requests)
{
	int device = shm_open_device();
	struct shm_owner_register request = { .bytes = 0 };

	ck_assert_int_eq(ioctl(device, SHM_OWNER_REGISTER, &request), -1);
	ck_assert_int_eq(errno, EINVAL);
	request.bytes = 1ull << 40;
	ck_assert_int_eq(ioctl(device, SHM_OWNER_REGISTER, &request), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(ioctl(device, SHM_OWNER_REGISTER, NULL), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_int_eq(segment_of(device, 32000), -ESRCH);
	ck_assert_int_eq(segment_open(device, 1), -ENOENT);
	ck_assert_uint_eq(counts_of(device).registered, 0);
	close(device);
}
END_TEST

void add_sample_tests(Suite *suite)
{
	TCase *tests = kmod_case(suite, "shm-owner", 60);

	tcase_add_test(tests, one_owner_one_user);
	tcase_add_test(tests, two_owners_two_users);
	tcase_add_test(tests, hundreds_at_once);
	tcase_add_test(tests, waves);
	tcase_add_test(tests, number_used_again);
	tcase_add_loop_test(tests, exec_keeps, 0, 2);
	tcase_add_test(tests, registered_while_dying);
	tcase_add_test(tests, killed_while_registering);
	tcase_add_test(tests, not_unloaded_while_owners_live);
	tcase_add_test(tests, bad_requests);
}
