/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * rcu.h - readers that never wait, and writers that wait until no reader has the old version any
 * more: liburcu's "bulletproof" flavour, in which any thread may read without having registered.
 * This is the only place that knows it, because ThreadSanitizer does not see what liburcu does: the
 * library is not instrumented, and the readers' side has compiler barriers only.
 */
#ifndef KNELL_RCU_H
#define KNELL_RCU_H

#include <stdbool.h>

#if defined(__SANITIZE_THREAD__)
#define KNELL_RCU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KNELL_RCU_TSAN 1
#endif
#endif

#ifdef KNELL_RCU_TSAN
#include <sanitizer/tsan_interface.h>
#endif
/*
 * Not inline where it would be looked at: the analyzer does not see who registers a thread, and
 * liburcu's places of readers are less aligned than their type says, which the sanitizer of
 * undefined behaviour tells.
 */
#if defined(KNELL_RCU_TSAN) || defined(__SANITIZE_ADDRESS__) || defined(__clang_analyzer__)
#include <urcu/urcu-bp.h>
#else
/* The readers' side inline: some instructions instead of calls. */
#define _LGPL_SOURCE /* NOLINT: liburcu's name for that */
#include <urcu/urcu-bp.h>
#undef _LGPL_SOURCE

#ifdef CONFIG_RCU_TLS
/*
 * The thread's own state, four times in each walk: at a place that the loader knows from the start,
 * as this library is loaded with liburcu-bp. Else each is a call of __tls_get_addr().
 */
extern __thread struct urcu_bp_reader *urcu_bp_reader __attribute__((tls_model("initial-exec")));
#endif
#endif

/*
 * What a reader did happens before what a writer does after rcu_wait(). It is not known for which
 * data a reader is one, so there is one mark for all.
 */
#ifdef KNELL_RCU_TSAN
extern char knell_rcu_mark;
#endif

static inline void rcu_enter(void)
{
	urcu_bp_read_lock();
}

/* Pairs with rcu_wait(). */
static inline void rcu_leave(void)
{
#ifdef KNELL_RCU_TSAN
	__tsan_release(&knell_rcu_mark);
#endif
	urcu_bp_read_unlock();
}

/* Is this thread a reader now? Then it must not wait for readers. */
static inline bool rcu_inside(void)
{
	return urcu_bp_read_ongoing() != 0;
}

/* Until all who are readers now no longer are. */
static inline void rcu_wait(void)
{
	urcu_bp_synchronize_rcu();
#ifdef KNELL_RCU_TSAN
	__tsan_acquire(&knell_rcu_mark);
#endif
}

/*
 * A page that one thread gave back to the kernel, another may get from the loader, whose mmap(2)
 * ThreadSanitizer does not see: for it this is still the first thread's page. Call the one after
 * munmap(2), the other after dlopen(3).
 */
static inline void rcu_gave_pages_back(void)
{
#ifdef KNELL_RCU_TSAN
	__tsan_release(&knell_rcu_mark);
#endif
}

static inline void rcu_got_pages(void)
{
#ifdef KNELL_RCU_TSAN
	__tsan_acquire(&knell_rcu_mark);
#endif
}

/* Publishes what `to` points to. Pairs with rcu_get(). */
#define rcu_set(place, to) __atomic_store_n(place, to, __ATOMIC_RELEASE)

/* Pairs with rcu_set(). */
#define rcu_get(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)

#endif
