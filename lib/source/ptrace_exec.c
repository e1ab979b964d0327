/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ptrace_exec.c - what has to be read out of a stopped task itself: the flags of its clone, from
 * its registers, and what it executes, from the stack that the kernel has just made for the new
 * program: argc, argv[], NULL, envp[], NULL, the auxiliary vector, then the strings, the arguments
 * first and the file name, as it was given to exec, last. Nobody else has written there yet.
 */
#include <elf.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "ptrace.h"

/* Holds all of the stack of most programs; what lies beyond is read separately. */
#define STACK_BYTES 8192u
#define FILE_BYTES  4096u

/* A system call and its first argument; false where we do not know the CPU's registers. */
struct call {
	bool compat; /* of a 32-bit task */
	uint64_t number;
	uint64_t argument;
};

#if defined(__x86_64__)
static bool read_call(pid_t tid, struct call *ret)
{
	/* As in struct user_regs_struct, the 32-bit one of the kernel being 17 words. */
	enum {
		DI = 14,
		ORIG_AX = 15,
		BX_32 = 0,
		ORIG_AX_32 = 11,
		WORDS_32 = 17
	};
	union {
		uint64_t wide[32];
		uint32_t narrow[64];
	} regs;
	struct iovec iov = { .iov_base = &regs, .iov_len = sizeof(regs) };

	if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &iov) < 0)
		return false;
	ret->compat = iov.iov_len == WORDS_32 * sizeof(uint32_t);
	ret->number = ret->compat ? regs.narrow[ORIG_AX_32] : regs.wide[ORIG_AX];
	ret->argument = ret->compat ? regs.narrow[BX_32] : regs.wide[DI];
	if (!ret->compat)
		ret->number &= ~(uint64_t)0x40000000; /* x32 */
	return true;
}

#define CLONE_32           120u
#define CLONE_64           56u
#define FORK_32            2u
#define FORK_64            57u
#define VFORK_32           190u
#define VFORK_64           58u
#define CLONE3_NR          435u
#define CHILD_HAS_ARGUMENT true
#elif defined(__aarch64__)
static bool read_call(pid_t tid, struct call *ret)
{
	/* struct user_pt_regs, or 18 words of a 32-bit task. */
	enum {
		X0 = 0,
		X8 = 8,
		R7 = 7,
		ORIG_R0 = 17,
		WORDS_32 = 18
	};
	union {
		uint64_t wide[34];
		uint32_t narrow[68];
	} regs;
	struct iovec iov = { .iov_base = &regs, .iov_len = sizeof(regs) };

	if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &iov) < 0)
		return false;
	ret->compat = iov.iov_len == WORDS_32 * sizeof(uint32_t);
	ret->number = ret->compat ? regs.narrow[R7] : regs.wide[X8];
	ret->argument = ret->compat ? regs.narrow[ORIG_R0] : regs.wide[X0];
	return true;
}

#define CLONE_32           120u
#define CLONE_64           220u
#define FORK_32            2u
#define FORK_64            (~0u) /* there is none */
#define VFORK_32           190u
#define VFORK_64           (~0u)
#define CLONE3_NR          435u
#define CHILD_HAS_ARGUMENT false /* its result is where the argument was */
#else
static bool read_call(pid_t tid, struct call *ret)
{
	(void)tid;
	(void)ret;
	return false;
}

#define CLONE_32           (~0u)
#define CLONE_64           (~0u)
#define FORK_32            (~0u)
#define FORK_64            (~0u)
#define VFORK_32           (~0u)
#define VFORK_64           (~0u)
#define CLONE3_NR          (~0u)
#define CHILD_HAS_ARGUMENT false
#endif

static size_t read_memory(pid_t tid, uint64_t address, void *to, size_t size)
{
	struct iovec local = { .iov_base = to, .iov_len = size };
	struct iovec remote = { .iov_base = (void *)(uintptr_t)address, .iov_len = size };
	ssize_t n = process_vm_readv(tid, &local, 1, &remote, 1, 0);

	return n > 0 ? (size_t)n : 0;
}

static bool read_flags(pid_t tid, uint64_t *ret_flags, uint64_t *ret_signal)
{
	struct call call;

	if (!read_call(tid, &call))
		return false;
	if (call.number == (call.compat ? FORK_32 : FORK_64)) {
		*ret_flags = 0;
		*ret_signal = SIGCHLD;
		return true;
	}
	if (call.number == (call.compat ? VFORK_32 : VFORK_64)) {
		*ret_flags = CLONE_VFORK | CLONE_VM;
		*ret_signal = SIGCHLD;
		return true;
	}
	if (call.number == (call.compat ? CLONE_32 : CLONE_64)) {
		*ret_flags = (uint32_t)call.argument & ~(uint64_t)CSIGNAL;
		*ret_signal = call.argument & CSIGNAL;
		return true;
	}
	if (call.number == CLONE3_NR) {
		struct clone_args args;

		if (read_memory(tid, call.argument, &args, CLONE_ARGS_SIZE_VER0) !=
		    CLONE_ARGS_SIZE_VER0)
			return false;
		*ret_flags = args.flags;
		*ret_signal = args.exit_signal;
		return true;
	}
	return false;
}

/*
 * The flags and the exit signal of a clone, at the event stop of the parent; or, with event 0, at
 * the first stop of the child, whose registers are a copy. False: not known.
 */
bool knell_pt_clone_flags(pid_t tid, unsigned int event, uint64_t *ret_flags,
			  uint32_t *ret_exit_signal)
{
	uint64_t flags, signal;
	unsigned int implied;

	if ((event == 0 && !CHILD_HAS_ARGUMENT) || !read_flags(tid, &flags, &signal))
		return false;
	/* Another thread may have overwritten what clone3 points to: the kernel's event decides. */
	if (flags & CLONE_VFORK)
		implied = PTRACE_EVENT_VFORK;
	else
		implied = signal == SIGCHLD ? PTRACE_EVENT_FORK : PTRACE_EVENT_CLONE;
	if (event != 0 && implied != event)
		return false;
	*ret_flags = flags;
	*ret_exit_signal = (uint32_t)signal;
	return true;
}

/* The beginning of the new stack, and how to read words from it. */
struct stack {
	pid_t tid;
	uint64_t base;
	size_t size;
	size_t word;
	size_t at;
	union {
		uint64_t align;
		char bytes[STACK_BYTES];
	} u;
};

/* What the stack points to; zero: not there. */
struct program {
	uint64_t arguments;
	uint64_t after_arguments;
	uint64_t file;
};

/* The next word; refills the buffer when it is used up, as a large environment does. */
static bool next_word(struct stack *stack, uint64_t *ret)
{
	uint32_t narrow;

	if (stack->at + stack->word > stack->size) {
		stack->base += stack->at;
		stack->size = read_memory(stack->tid, stack->base, stack->u.bytes, STACK_BYTES);
		stack->at = 0;
		if (stack->size < stack->word)
			return false;
	}
	if (stack->word == sizeof(*ret)) {
		memcpy(ret, stack->u.bytes + stack->at, sizeof(*ret));
	} else {
		memcpy(&narrow, stack->u.bytes + stack->at, sizeof(narrow));
		*ret = narrow;
	}
	stack->at += stack->word;
	return true;
}

/* Where the strings are. argv[0] and envp[0] point to the first of each kind: they lie in a row. */
static bool find_strings(struct stack *stack, struct program *ret)
{
	struct program program = { 0 };
	uint64_t argc, word, type = 0, environment = 0;

	if (!next_word(stack, &argc))
		return false;
	for (uint64_t i = 0; i < argc; i++) {
		if (!next_word(stack, &word))
			return false;
		if (i == 0)
			program.arguments = word;
	}
	if (!next_word(stack, &word) || word != 0)
		return false;
	do {
		if (!next_word(stack, &word))
			return false;
		if (!environment)
			environment = word;
	} while (word != 0);
	do {
		if (!next_word(stack, &type) || !next_word(stack, &word))
			return false;
		if (type == AT_EXECFN)
			program.file = word;
	} while (type != AT_NULL);
	if (!program.file)
		return false;
	program.after_arguments = environment ? environment : program.file;
	*ret = program;
	return true;
}

static bool open_stack(struct stack *stack, pid_t tid)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof(info), &info) < 0)
		return false;
	stack->tid = tid;
	stack->base = info.stack_pointer;
	stack->word = info.arch & __AUDIT_ARCH_64BIT ? 8 : 4;
	stack->size = stack->at = 0;
	return true;
}

/* Reads the file name to the end of the record. False: not known. */
static bool append_file(struct pt_source *source, const struct stack *stack, uint64_t address)
{
	struct knell_event *event = &source->scratch.event;
	char *to = source->scratch.bytes + event->size;
	const char *end = NULL;
	size_t size = 0;

	if (address >= stack->base && address < stack->base + stack->size) {
		size = (size_t)(stack->base + stack->size - address);
		if (size > FILE_BYTES)
			size = FILE_BYTES;
		memcpy(to, stack->u.bytes + (address - stack->base), size);
		end = memchr(to, '\0', size);
	}
	if (!end) {
		size = read_memory(stack->tid, address, to, FILE_BYTES);
		end = memchr(to, '\0', size);
	}
	if (!end && size < FILE_BYTES)
		return false;
	if (!end) {
		event->flags |= KNELL_F_TRUNCATED;
		end = to + size - 1;
		to[size - 1] = '\0';
	}
	event->u.exec.file_len = (__u32)(end - to);
	event->size += event->u.exec.file_len + 1;
	return true;
}

static bool append_arguments(struct pt_source *source, const struct program *program, pid_t tid)
{
	struct knell_event *event = &source->scratch.event;
	char *to = source->scratch.bytes + event->size;
	size_t room = KNELL_EVENT_MAX - event->size;
	uint64_t total = program->after_arguments - program->arguments;

	if (!program->arguments || program->after_arguments < program->arguments ||
	    total > UINT32_MAX)
		return false;
	event->u.exec.args_total = (__u32)total;
	event->u.exec.args_len = (__u32)(total < room ? total : room);
	if (read_memory(tid, program->arguments, to, event->u.exec.args_len) !=
	    event->u.exec.args_len) {
		event->u.exec.args_total = event->u.exec.args_len = 0;
		return false;
	}
	if (event->u.exec.args_len < total) {
		event->flags |= KNELL_F_TRUNCATED;
		to[event->u.exec.args_len - 1] = '\0';
	}
	event->size += event->u.exec.args_len;
	return true;
}

/* The kernel's own rule, but for a program that was given as a descriptor. */
static void set_comm(struct pt_process *process, struct knell_event *event)
{
	const char *file = knell_exec_file(event);
	const char *slash = strrchr(file, '/');
	const char *base = slash ? slash + 1 : file;

	memset(process->comm, 0, sizeof(process->comm));
	if (event->unknown & KNELL_U_FILE || strncmp(file, "/dev/fd/", 8) == 0)
		knell_pt_proc_comm(process->leader.tid, process->comm);
	else
		memcpy(process->comm, base, strnlen(base, sizeof(process->comm) - 1));
	knell_pt_fill_comm(process, event);
}

static void fill_program(struct pt_source *source, struct pt_process *process,
			 struct knell_event *event)
{
	struct stack stack;
	struct program program;
	bool known = open_stack(&stack, process->leader.tid) && find_strings(&stack, &program);

	event->unknown |= KNELL_U_ARGS;
	if (!known || !append_file(source, &stack, program.file)) {
		event->unknown |= KNELL_U_FILE;
		source->scratch.bytes[event->size++] = '\0';
	} else if (source->flags & KNELL_O_ARGS &&
		   append_arguments(source, &program, process->leader.tid)) {
		event->unknown &= ~KNELL_U_ARGS;
	}
	set_comm(process, event);
}

/* The old leader ended when another thread took its place. Nothing else tells of it. */
static void tell_replaced(struct pt_source *source, const struct pt_process *process)
{
	struct knell_event *event;

	if (!(source->flags & KNELL_O_THREADS))
		return;
	event = knell_pt_begin(source, KNELL_EXIT, KNELL_THREAD, &process->leader);
	event->flags |= KNELL_F_REPLACED;
	event->unknown |= KNELL_U_STATUS | KNELL_U_CAUSE | KNELL_U_TIMES | KNELL_U_RSS |
			  KNELL_U_FAULTS | KNELL_U_TERM;
	knell_pt_commit(source);
}

/* The exec stop of the process `tid`. Whichever thread called exec, it is the leader now. */
void knell_pt_execed(struct pt_source *source, pid_t tid)
{
	struct pt_process *process = knell_pt_find_process(&source->table, tid);
	unsigned long old_tid = (unsigned long)tid;
	struct knell_event *event;

	/*
	 * The kernel refuses all requests to a task whose number has changed while its event was
	 * not taken, but only looked at: they could be meant for the one that had it before.
	 */
	knell_pt_take_stop(tid);
	if (!process) {
		knell_pt_resume(tid, 0);
		return;
	}
	if (!knell_pt_single(process)) {
		struct pt_task *old;

		if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &old_tid) < 0)
			old_tid = (unsigned long)tid;
		old = knell_pt_find(&source->table, (pid_t)old_tid);
		/* The number may be a newcomer's already. */
		if (old && old != &process->leader && old->process == process) {
			tell_replaced(source, process);
			knell_pt_remove_thread(&source->table, old);
		}
	}
	event = knell_pt_begin(source, KNELL_EXEC, KNELL_PROCESS, &process->leader);
	event->u.exec.old_tid = (__u32)old_tid;
	fill_program(source, process, event);
	knell_pt_resume(tid, 0);
	knell_pt_commit(source);
}
