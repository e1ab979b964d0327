/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * support.h - what the integration tests share: where things are, starting programs and waiting for
 * them with a limit, `knell run` and the JSON lines that it writes, the truth that our own programs
 * write, and skipping with a reason. Each test runs in a process and a scratch directory (its
 * current one) of its own, which the runner removes.
 *
 * From the environment: KNELL_BIN and KNELL_TEST_PROGRAMS (the knell binary and the folder of our
 * programs), KNELL_TEST_SCALE (percent of the full size of storms: 100, but 10 where KNELL_VM is
 * set, for a machine may be emulated), CK_TIMEOUT_MULTIPLIER (as Check has it), KNELL_TEST_KEEP
 * (keep scratch directories).
 */
#ifndef KNELL_TEST_SUPPORT_H
#define KNELL_TEST_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Each test source has one of these; the runner's main() calls it. */
void add_tests(Suite *suite);
extern const char test_suite_name[];

/* Adds a case with a limit for each of its tests, and returns it. */
TCase *test_case(Suite *suite, const char *name, double seconds);

const char *test_source(void); /* "bpf", "ptrace", "none" */
bool test_source_is(const char *source);
bool test_source_in_kernel(void); /* hears in the kernel itself: bpf, kmod */
const char *test_knell(void);
const char *test_program(const char *name);
unsigned int test_scaled(unsigned int n);
double test_seconds(double seconds); /* times the multiplier */

/*
 * Skips this test unless other users may run what is tested: a build folder below /root is closed
 * to them.
 */
void need_open_build(void);

/* Ends this test as skipped. */
void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

double now(void); /* monotonic seconds */
void sleep_ms(unsigned int ms);

/* realloc(3) that never fails. */
void *grow(void *memory, size_t size);

/* A file's contents and a NUL; NULL if it cannot be read. */
char *read_file(const char *path);
void write_file(const char *path, const char *text);
bool file_exists(const char *path);

/* How many names there are in a folder, . and .. included: /proc/self/fd, /proc/self/task. */
unsigned int count_entries(const char *path);

/* No more threads than that, soon: one that was joined may be seen for a moment. */
void await_threads(unsigned int most);

/* Waits until a line in `path` begins with `word`, and scans the numbers after it. */
int await_line(const char *path, const char *word, int numbers[], int count);
int await_number(const char *path, const char *word);

/* Waits until this process group is the foreground of the terminal. */
void await_foreground(int terminal, pid_t pgid);

/* Waits until /proc says that the process is in one of these states ("TtZ"). "": it is gone. */
bool await_state(pid_t pid, const char *states);

/* Waits until it has this name, as after an exec. */
void await_name(pid_t pid, const char *name);
char process_state(pid_t pid); /* 0: there is no such process */
char shown_state(pid_t pid);   /* for messages: '-' then */

/* A NULL-terminated list of strings, in place. */
#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

struct spawn {
	const char *in, *out, *err; /* files; NULL: in is /dev/null, the others stay */
	void (*prepare)(void);      /* called in the child before it execs */
};

pid_t spawn(const struct spawn *how, const char *const argv[]);

/*
 * For `prepare`, or the body of one: as PID 1 of a pid namespace, or as another one there, with a
 * /proc that is not its own. What these need is refused to others than root: exit status 199.
 */
void become_first_blind(void);
void become_blind(void);

/* Waits for a child; after a generous limit kills it and fails the test. */
int await_exit(pid_t pid);
int await_exit_for(pid_t pid, double seconds);

/* Lines of JSON. Texts are "" and numbers 0 where the line did not have them. */
struct sender {
	bool known;
	int pid, uid;
	char comm[20];
};

struct record {
	char *text; /* the line */
	char event[12];
	bool thread, has_code, core, oom;
	int pid, ppid, tid;
	char start[40];
	char name[48];
	char *path;
	int code, signal;
	char reason[16];
	struct sender sender;
	int term_signal;
	char term_reason[16];
	struct sender term_sender;
	int old_tid, args_total;
	bool root, truncated;
	uint64_t births, deaths, others; /* gap */
	int64_t events, lost;            /* summary; -1: not there */
};

struct records {
	struct record *all;
	size_t count;
};

/* Every line must be JSON and have its event; the last is the summary. Else the test fails. */
void read_records(struct records *records, const char *path);

/* After the last of them. */
const struct record *records_end(const struct records *records);

bool is_event(const struct record *record, const char *event); /* of a process */
size_t count_events(const struct records *records, const char *event);
struct record *find_record(const struct records *records, const char *event, pid_t pid);
int record_status(const struct record *exit); /* as wait(2) has it */

/*
 * `knell run` under verify: a violation fails the test. With JSON to NAME.json, stdout and stderr
 * to NAME.out and NAME.err.
 */
struct run {
	const char *name;           /* NULL: "run" */
	const char *source;         /* NULL: the suite's */
	const char *const *options; /* besides --source and --json; may be NULL */
	const char *const *command;
	const char *json; /* NULL: NAME.json; "": none */
	struct spawn how;
	bool parents_may_be_unknown; /* for expect_truth(): but never wrong */
	pid_t pid;
	int status; /* as wait(2) has it */
	char *err;
	struct records records;
};

void run_start(struct run *run);
void run_wait(struct run *run); /* and reads the JSON and stderr */
void run_knell(struct run *run);

/* Fails the test, showing stderr, unless knell ended with this wait status. */
void expect_status(const struct run *run, int status);
void expect_exit(const struct run *run, int code);

/* The truth, as storm and traps write it. */
struct life {
	pid_t pid, ppid;
	int status;
	char name[48];
};

struct life *read_truth(const char *path, size_t *ret_count);

/* The summary says that nothing was lost, and how many records there are. */
void expect_no_loss(const struct records *records);

/* Each birth has exactly one death of the same identity, after it; nobody else dies. */
void expect_whole_lives(const struct records *records);

/*
 * Births and deaths below the command are those of the truth, one for one, each with its parent at
 * birth, its name at death and its status.
 */
void expect_truth(const struct run *run, const struct life *truth, size_t count);

/* How often `pattern` occurs in `text`. */
unsigned int count_of(const char *text, const char *pattern);

#endif
