/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * pidfd.h - what a pidfd can tell of its process, on old and new kernels. Nothing here sets an
 * explanation or keeps anything.
 */
#ifndef KNELL_PIDFD_H
#define KNELL_PIDFD_H

#include <stdbool.h>
#include <sys/types.h>

#include <knell/event.h>

/*
 * A new pidfd, close-on-exec. -ESRCH: there is no such process; -EINVAL: it is a thread that leads
 * no process; -ENOSYS, -EMFILE, ...: as the system says.
 */
int knell_pidfd_open(pid_t pid);

/* 0, or -EBADF: it is not the pidfd of a process (but of nothing, or of a thread). */
int knell_pidfd_check(int pidfd);

/* Its pid in our pid namespace; 0: it has none there, or it was reaped. */
pid_t knell_pidfd_pid(int pidfd);

/* It is dead, though perhaps not yet waited for. */
bool knell_pidfd_dead(int pidfd);

/* Two pidfds of one process. Kernels before 6.9 cannot tell, and say yes. */
bool knell_pidfd_same(int a, int b);

/*
 * pidfd_send_signal(2); flags as there. 0, or -ESRCH: it was reaped; -ENOSYS: before 5.1; -EINVAL:
 * a flag that this kernel does not know.
 */
int knell_pidfd_send(int pidfd, int signo, unsigned int flags);

/* The process was released: its pid may belong to another one by now. */
bool knell_pidfd_reaped(int pidfd);

/*
 * The wait(2) status of the dead process: of a child of ours that nobody has waited for yet, or of
 * any process after it was reaped (Linux 6.15). -EAGAIN: not known, or not yet.
 */
int knell_pidfd_status(int pidfd, int *ret_status);

/* The second of the two only: one system call. */
int knell_pidfd_late_status(int pidfd, int *ret_status);

/*
 * Of one that is dead, and that nobody has waited for: what /proc tells to whom it would let trace
 * the process. -EAGAIN: it does not, or there is no such /proc. From Linux 6.15 on, as the above.
 */
int knell_pidfd_zombie_status(int pidfd, int *ret_status);

/* Will this kernel tell the status of a stranger's child after it was reaped? */
bool knell_pidfd_tells_late(void);

/*
 * The identity of a process that is not reaped. `start` is as exact as /proc has it, to a clock
 * tick, and 0 if it cannot be known. Checked against the pidfd: never that of another process.
 */
struct knell_task_id knell_pidfd_identity(int pidfd, pid_t pid);

/* Reads a small file of /proc/PID (or /proc/PID/task/TID) into text, NUL-terminated. 0 or -errno.
 */
int knell_proc_read(pid_t pid, const char *name, char *text, size_t size);

#endif
