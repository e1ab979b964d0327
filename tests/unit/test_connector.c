/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * test_connector.c - the connector's messages, crafted: good ones, and all that a kernel would not
 * write; and the account of lost ones. No privilege is needed, but for the last tests, which listen
 * to the real thing where that is permitted: ids are heard before their task's exit.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/connector.h>
#include <linux/netlink.h>

#include "main.h"
#include "source/connector_msg.h"
#include "source/ids.h"

#define HEAD  (NLMSG_HDRLEN + sizeof(struct cn_msg))
#define WHOLE (HEAD + sizeof(struct proc_event))

/* A datagram under construction. */
struct datagram {
	unsigned char bytes[1024];
	size_t length;
};

struct craft {
	uint32_t kind;
	uint32_t sequence;
	uint32_t cpu;
	uint32_t index;      /* of the connector's user; 0: process events */
	uint16_t type;       /* of the netlink message; 0: "done" */
	size_t payload;      /* bytes after the connector's head; 0: a whole event */
	uint32_t claim;      /* what the connector's head says of it; 0: the truth */
	uint32_t claim_more; /* what the netlink head says; 0: the truth */
};

static void add(struct datagram *d, const struct craft *c)
{
	size_t payload = c->payload ? c->payload : sizeof(struct proc_event);
	struct nlmsghdr head = {
		.nlmsg_len = c->claim_more ? c->claim_more : (uint32_t)(HEAD + payload),
		.nlmsg_type = c->type ? c->type : NLMSG_DONE,
	};
	struct cn_msg msg = {
		.id = { .idx = c->index ? c->index : CN_IDX_PROC, .val = CN_VAL_PROC },
		.seq = c->sequence,
		.len = (uint16_t)(c->claim ? c->claim : payload),
	};
	struct proc_event event;

	memset(&event, 0, sizeof(event));
	memcpy(&event, &c->kind, sizeof(c->kind));
	event.cpu = c->cpu;
	event.timestamp_ns = 42;
	event.event_data.fork.parent_tgid = 7;
	event.event_data.fork.child_pid = 8;
	ck_assert_uint_le(d->length + NLMSG_ALIGN(HEAD + payload), sizeof(d->bytes));
	memcpy(d->bytes + d->length, &head, sizeof(head));
	memcpy(d->bytes + d->length + NLMSG_HDRLEN, &msg, sizeof(msg));
	memcpy(d->bytes + d->length + HEAD, &event,
	       payload < sizeof(event) ? payload : sizeof(event));
	d->length += NLMSG_ALIGN(HEAD + payload);
}

/* In memory of exactly this size, so that a sanitizer sees every byte read too many. */
static enum cn_read read_first(const void *bytes, size_t length, struct cn_message *message)
{
	unsigned char *copy = malloc(length ? length : 1);
	struct cn_reader reader = { .at = copy, .left = length };
	enum cn_read r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, length);
	r = cn_next(&reader, message);
	free(copy);
	return r;
}

static enum cn_read read_crafted(const struct craft *craft, struct cn_message *message)
{
	struct datagram d = { .length = 0 };

	add(&d, craft);
	return read_first(d.bytes, d.length, message);
}

START_TEST(a_whole_message)
{
	struct craft craft = { .kind = PROC_EVENT_FORK, .sequence = 5, .cpu = 3 };
	struct cn_message m;

	ck_assert_int_eq(read_crafted(&craft, &m), CN_MESSAGE);
	ck_assert_uint_eq(cn_kind(&m), PROC_EVENT_FORK);
	ck_assert_uint_eq(m.sequence, 5);
	ck_assert_uint_eq(m.event.cpu, 3);
	ck_assert_uint_eq(m.event.timestamp_ns, 42);
	ck_assert_int_eq(m.event.event_data.fork.parent_tgid, 7);
	ck_assert_int_eq(m.event.event_data.fork.child_pid, 8);
}
END_TEST

START_TEST(several_in_one_datagram)
{
	struct datagram d = { .length = 0 };
	struct cn_reader reader;
	struct cn_message m;

	for (uint32_t i = 0; i < 5; i++)
		add(&d, &(struct craft){ .kind = PROC_EVENT_EXEC, .sequence = i });
	reader = (struct cn_reader){ .at = d.bytes, .left = d.length };
	for (uint32_t i = 0; i < 5; i++) {
		ck_assert_int_eq(cn_next(&reader, &m), CN_MESSAGE);
		ck_assert_uint_eq(m.sequence, i);
	}
	ck_assert_int_eq(cn_next(&reader, &m), CN_END);
	ck_assert_int_eq(cn_next(&reader, &m), CN_END);
}
END_TEST

/* Cut anywhere, it is bad, and nothing beyond its end is read. */
START_TEST(cut_anywhere)
{
	struct datagram d = { .length = 0 };
	struct cn_message m;

	add(&d, &(struct craft){ .kind = PROC_EVENT_EXIT });
	ck_assert_int_eq(read_first(d.bytes, 0, &m), CN_END);
	for (size_t length = 1; length < WHOLE; length++)
		ck_assert_int_eq(read_first(d.bytes, length, &m), CN_BAD);
	ck_assert_int_eq(read_first(d.bytes, WHOLE, &m), CN_MESSAGE);
}
END_TEST

START_TEST(lengths_that_lie)
{
	static const uint32_t netlink[] = {
		1, 4, 15, 16, 17, 35, 51, 1000, 0x7fffffff, 0xffffffff
	};
	static const uint32_t connector[] = { 1, 4, 15, 16, 31, 41, 1000, 0xffff };
	struct craft craft = { .kind = PROC_EVENT_FORK };
	struct cn_message m;

	for (size_t i = 0; i < sizeof(netlink) / sizeof(*netlink); i++) {
		craft.claim_more = netlink[i];
		ck_assert_int_eq(read_crafted(&craft, &m), CN_BAD);
	}
	craft.claim_more = 0;
	for (size_t i = 0; i < sizeof(connector) / sizeof(*connector); i++) {
		craft.claim = connector[i];
		ck_assert_int_eq(read_crafted(&craft, &m), CN_BAD);
	}
}
END_TEST

/* Each kind needs what is read of it; the parent of an exit is younger than the rest. */
START_TEST(too_short_for_its_kind)
{
	static const struct {
		uint32_t kind;
		size_t needs;
	} kinds[] = {
		{ PROC_EVENT_FORK, 32 }, { PROC_EVENT_EXEC, 24 }, { PROC_EVENT_UID, 32 },
		{ PROC_EVENT_GID, 32 },  { PROC_EVENT_COMM, 40 }, { PROC_EVENT_EXIT, 32 },
		{ PROC_EVENT_NONE, 20 }, { PROC_EVENT_SID, 16 },
	};
	struct cn_message m;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct craft craft = { .kind = kinds[i].kind, .payload = kinds[i].needs };

		ck_assert_int_eq(read_crafted(&craft, &m), CN_MESSAGE);
		craft.payload--;
		ck_assert_int_eq(read_crafted(&craft, &m), CN_BAD);
	}
	ck_assert_int_eq(read_crafted(&(struct craft){ .kind = PROC_EVENT_EXIT, .payload = 32 },
				      &m),
			 CN_MESSAGE);
	ck_assert_int_eq(m.event.event_data.exit.parent_tgid, 0);
}
END_TEST

/* A newer kernel may write more, and kinds that we do not know: they count, but are not told. */
START_TEST(newer_kernels)
{
	struct craft craft = { .kind = 0x00000400, .sequence = 9, .payload = 64 };
	struct cn_message m;

	ck_assert_int_eq(read_crafted(&craft, &m), CN_MESSAGE);
	ck_assert_uint_eq(cn_kind(&m), 0x00000400);
	ck_assert_uint_eq(m.sequence, 9);
}
END_TEST

/* Other users of the connector, netlink's own messages: passed over. */
START_TEST(others_are_passed_over)
{
	struct datagram d = { .length = 0 };
	struct cn_reader reader;
	struct cn_message m;

	add(&d, &(struct craft){ .kind = PROC_EVENT_FORK, .index = 77 });
	add(&d, &(struct craft){ .kind = PROC_EVENT_FORK, .type = NLMSG_ERROR });
	add(&d, &(struct craft){ .kind = PROC_EVENT_FORK, .type = NLMSG_NOOP });
	add(&d, &(struct craft){ .kind = PROC_EVENT_FORK, .sequence = 3 });
	reader = (struct cn_reader){ .at = d.bytes, .left = d.length };
	ck_assert_int_eq(cn_next(&reader, &m), CN_MESSAGE);
	ck_assert_uint_eq(m.sequence, 3);
	ck_assert_int_eq(cn_next(&reader, &m), CN_END);
}
END_TEST

/* Whatever bytes come: an end, and none is read that is not there. */
START_TEST(noise)
{
	unsigned int seed = 1;

	for (unsigned int round = 0; round < 20000; round++) {
		struct datagram d = { .length = 0 };
		struct cn_reader reader;
		struct cn_message m;
		unsigned char *copy;
		unsigned int n = 0;

		add(&d, &(struct craft){ .kind = PROC_EVENT_COMM });
		add(&d, &(struct craft){ .kind = PROC_EVENT_EXIT });
		for (int i = 0; i < 3; i++)
			d.bytes[(unsigned int)rand_r(&seed) % d.length] =
				(unsigned char)rand_r(&seed);
		copy = malloc(d.length);
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, d.bytes, d.length);
		reader = (struct cn_reader){ .at = copy, .left = d.length };
		while (cn_next(&reader, &m) != CN_END)
			ck_assert_uint_lt(n++, 10);
		free(copy);
	}
}
END_TEST

START_TEST(a_name_always_ends)
{
	struct datagram d = { .length = 0 };
	struct cn_message m;

	add(&d, &(struct craft){ .kind = PROC_EVENT_COMM });
	memset(d.bytes + HEAD + offsetof(struct proc_event, event_data.comm.comm), 'x', 16);
	ck_assert_int_eq(read_first(d.bytes, d.length, &m), CN_MESSAGE);
	ck_assert_uint_eq(strlen(m.event.event_data.comm.comm), 15);
}
END_TEST

START_TEST(jumps_are_losses)
{
	struct cn_sequence s;

	ck_assert_int_eq(cn_sequence_open(&s, 2), 0);
	/* The first number of a CPU says nothing. */
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 1000), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 1, 5), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 1001), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 1005), 3);
	ck_assert_uint_eq(cn_sequence_heard(&s, 1, 6), 0);
	/* A CPU that nobody knew of; one that cannot be. */
	ck_assert_uint_eq(cn_sequence_heard(&s, 9, 4), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 9, 6), 1);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0xffffffff, 6), 0);
	/* Heard before. */
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 1004), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 1005), 0);
	cn_sequence_close(&s);
}
END_TEST

START_TEST(numbers_wrap)
{
	struct cn_sequence s;

	ck_assert_int_eq(cn_sequence_open(&s, 1), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 0xfffffffe), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 0xffffffff), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 0), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 0xfffffff0), 0);
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 5), 20);
	cn_sequence_close(&s);
}
END_TEST

START_TEST(suspects)
{
	struct cn_sequence s;

	ck_assert_int_eq(cn_sequence_open(&s, 3), 0);
	ck_assert(!cn_sequence_is_suspect(&s));
	cn_sequence_heard(&s, 0, 1);
	cn_sequence_suspect(&s);
	ck_assert(cn_sequence_is_suspect(&s));
	ck_assert_uint_eq(cn_sequence_heard(&s, 0, 10), 8);
	cn_sequence_heard(&s, 2, 1);
	ck_assert(cn_sequence_is_suspect(&s));
	cn_sequence_heard(&s, 1, 1);
	ck_assert(!cn_sequence_is_suspect(&s));
	cn_sequence_close(&s);
}
END_TEST

/* How often each process was heard to change its user; pids wrap, so it is counted in order. */
struct changes {
	unsigned char of[1 << 22];
	unsigned int others;
};

static void on_change(const struct ids_change *change, void *userdata)
{
	struct changes *changes = userdata;

	ck_assert_uint_ne(change->time, 0);
	if (change->tid != change->tgid)
		return; /* ThreadSanitizer's own thread, to which glibc passes the change on */
	if (change->kind != KNELL_UID || change->tgid >= sizeof(changes->of))
		changes->others++;
	else if (change->real == 1 || change->effective == 2)
		changes->of[change->tgid]++;
}

static void change_twice(void)
{
	if (setresuid(1, (uid_t)-1, (uid_t)-1) || setresuid((uid_t)-1, 2, (uid_t)-1))
		_exit(1);
	_exit(0);
}

/* Tasks that change their ids and die at once: when their death is known, both changes are. */
START_TEST(ids_come_before_the_exit)
{
	static struct changes changes;
	struct ids *ids;
	unsigned int late = 0;

	if (getuid() != 0 || ids_open(&ids, 0) < 0)
		return; /* not permitted here */
	for (unsigned int i = 0; i < 10000; i++) {
		pid_t pid = fork();
		int status;

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			change_twice();
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		ck_assert_int_eq(ids_drain(ids, on_change, &changes), 0);
		late += changes.of[pid] != 2;
		changes.of[pid] = 0;
	}
	ck_assert_uint_eq(late, 0);
	ck_assert_int_ge(ids_fd(ids), 0);
	ck_assert_ptr_null(ids_close(ids));
}
END_TEST

/* What does not fit is lost, and that is said; afterwards all is as before. */
START_TEST(ids_overflow)
{
	static struct changes changes;
	struct ids *ids;

	if (getuid() != 0 || ids_open(&ids, 16384) < 0)
		return;
	for (unsigned int i = 0; i < 300; i++) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			change_twice();
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	}
	ck_assert_int_eq(ids_drain(ids, on_change, &changes), -ENOBUFS);
	ck_assert_int_eq(ids_drain(ids, on_change, &changes), 0);
	ck_assert_ptr_null(ids_close(ids));
	ck_assert_ptr_null(ids_close(NULL));
}
END_TEST

Suite *unit_suite(void)
{
	Suite *suite = suite_create("connector");
	TCase *messages = unit_case(suite, "messages");
	TCase *losses = unit_case(suite, "losses");
	TCase *ids = unit_case(suite, "ids");

	tcase_add_test(messages, a_whole_message);
	tcase_add_test(messages, several_in_one_datagram);
	tcase_add_test(messages, cut_anywhere);
	tcase_add_test(messages, lengths_that_lie);
	tcase_add_test(messages, too_short_for_its_kind);
	tcase_add_test(messages, newer_kernels);
	tcase_add_test(messages, others_are_passed_over);
	tcase_add_test(messages, noise);
	tcase_add_test(messages, a_name_always_ends);
	tcase_add_test(losses, jumps_are_losses);
	tcase_add_test(losses, numbers_wrap);
	tcase_add_test(losses, suspects);
	tcase_set_timeout(ids, 60);
	tcase_add_test(ids, ids_come_before_the_exit);
	tcase_add_test(ids, ids_overflow);
	return suite;
}
