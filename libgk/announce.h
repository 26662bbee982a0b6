/* SPDX-License-Identifier: MIT */
/*
 * announce.h - tells AddressSanitizer, ThreadSanitizer and valgrind what they cannot see for themselves: which stack is
 * run on, and what of a stack may be touched. In a normal build all of it is empty, down to the structs.
 *
 * `make SANITIZE=address,undefined`, `SANITIZE=thread` and `SANITIZE=valgrind` (which only adds the announcements)
 * build it in. What else is different then:
 *   - ThreadSanitizer knows no restartable sequences, so the core word is taken with an atomic instruction, as it is
 *     where the C library registers none (restartable()). It is the library's only lock that needs to be told apart: a
 *     small lock that one core does not take (gk_alone) is elided because the core word is held, and that orders its
 *     holders for ThreadSanitizer, too.
 *   - Barriers that only one side executes (full_fence_everywhere(), fence()) order no plain data, only words that are
 *     loaded and stored as such. Nothing has to be said about them.
 *   - It delays signal handlers until the next call of the C library or atomic operation. So does preemption without
 *     the module: a task that computes with neither is not stopped.
 *
 * A task's fiber, of ThreadSanitizer, belongs to its stack and is the next task's there: to make one takes a
 * millisecond. Whoever ends on a stack gives it back, under the core word, before the next one begins there, so the
 * order that the two have in common with it is there anyway. Only the fiber's stack of calls has to be empty then:
 * after gk_exit() it is not, and another fiber is made.
 */
#ifndef GK_ANNOUNCE_H
#define GK_ANNOUNCE_H

#include <stdbool.h>
#include <stddef.h>

#ifndef GK_ASAN
#define GK_ASAN 0
#endif
#ifndef GK_TSAN
#define GK_TSAN 0
#endif

#if GK_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#elif GK_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(GK_VALGRIND)
#include <valgrind/valgrind.h>
#endif

/* Whether the core word may be taken by a restartable sequence. */
static inline bool restartable(void)
{
	return !GK_TSAN;
}

/* What handlers of signals need on top where the sanitizers' own run around them. */
#define ANNOUNCE_ALT_SIZE	(GK_ASAN || GK_TSAN ? 256u << 10 : 0u)

/* The stack of a task, or of a worker's own loop. */
struct announced {
#if GK_ASAN
	void *fake;			/* where its locals live that ASan keeps elsewhere; while it does not run */
	const void *bottom;
	size_t size;
	bool used;
#elif GK_TSAN
	void *fiber;
	bool spoilt;			/* it ended in the middle of calls */
#elif defined(GK_VALGRIND)
	unsigned int id;
#endif
};

#if GK_ASAN

/* The calling thread's own stack, on which its loop runs. */
static inline void announce_loop(struct announced *loop)
{
	extern int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr);	/* a GNU extension */
	pthread_attr_t attr;
	void *bottom;

	if (pthread_getattr_np(pthread_self(), &attr))
		return;
	pthread_attr_getstack(&attr, &bottom, &loop->size);
	pthread_attr_destroy(&attr);
	loop->bottom = bottom;
}

/* The calling stack is left for @to, for good if it @ends. */
static inline __attribute__((__always_inline__)) void announce_switch(struct announced *from, struct announced *to,
								      bool ends)
{
	__sanitizer_start_switch_fiber(ends ? NULL : &from->fake, to->bottom, to->size);
}

/* ... and that is what runs now. */
static inline __attribute__((__always_inline__)) void announce_arrival(struct announced *me)
{
	__sanitizer_finish_switch_fiber(me->fake, NULL, NULL);
}

/* A task's stack is new, without its guard: which LSan would read, as it is not marked in the list of mappings. */
static inline void announce_stack(struct announced *me, const void *stack, size_t size)
{
	me->bottom = stack;
	me->size = size;
	me->used = false;
	/* It may be all that points to what the task has allocated. */
	__lsan_register_root_region(stack, size);
}

/* It is about to be unmapped, and what is mapped there next is not for us to forbid. */
static inline void announce_stack_gone(struct announced *me)
{
	__lsan_unregister_root_region(me->bottom, me->size);
	ASAN_UNPOISON_MEMORY_REGION(me->bottom, me->size);
}

/*
 * A task is about to be made on it, for the first time or again: calls that never returned left their marks. Inside,
 * and yet it may allocate: the monitor takes no core from a worker that is inside.
 */
static inline void announce_start(struct announced *me)
{
	me->fake = NULL;
	if (me->used)
		ASAN_UNPOISON_MEMORY_REGION(me->bottom, me->size);
	me->used = true;
}

/* Inside: its task ended, and nobody runs on it. The part that tasks use most is not to be touched any more. */
#define ANNOUNCE_FORBID	(8ul << 10)

static inline void announce_end(struct announced *me, const void *top)
{
	ASAN_POISON_MEMORY_REGION((const char *)top - ANNOUNCE_FORBID, ANNOUNCE_FORBID);
}

static inline void announce_exit(struct announced *me)
{
}

#elif GK_TSAN

static inline void announce_loop(struct announced *loop)
{
	loop->fiber = __tsan_get_current_fiber();
}

/* What the compiler calls at the end of a function. */
#pragma redefine_extname tsan_func_exit __tsan_func_exit
extern void tsan_func_exit(void);

/* What runs before the switch is before what runs after it: 0, not __tsan_switch_to_fiber_no_sync. */
static inline __attribute__((__always_inline__)) void announce_switch(struct announced *from, struct announced *to,
								      bool ends)
{
	if (ends)
		tsan_func_exit();	/* of the function we are in, which has no end */
	__tsan_switch_to_fiber(to->fiber, 0);
}

static inline void announce_arrival(struct announced *me)
{
}

static inline void announce_stack(struct announced *me, const void *stack, size_t size)
{
	me->fiber = NULL;
	me->spoilt = false;
}

static inline void announce_stack_gone(struct announced *me)
{
	if (me->fiber)
		__tsan_destroy_fiber(me->fiber);
	me->fiber = NULL;
}

static inline void announce_start(struct announced *me)
{
	if (me->spoilt)
		announce_stack_gone(me);
	me->spoilt = false;
	if (!me->fiber)
		me->fiber = __tsan_create_fiber(0);
}

static inline void announce_end(struct announced *me, const void *top)
{
}

static inline void announce_exit(struct announced *me)
{
	me->spoilt = true;
}

#else

static inline void announce_loop(struct announced *loop)
{
}

static inline void announce_switch(struct announced *from, struct announced *to, bool ends)
{
}

static inline void announce_arrival(struct announced *me)
{
}

static inline void announce_stack(struct announced *me, const void *stack, size_t size)
{
#if defined(GK_VALGRIND)
	me->id = VALGRIND_STACK_REGISTER(stack, (const char *)stack + size - 1);
#endif
}

static inline void announce_stack_gone(struct announced *me)
{
#if defined(GK_VALGRIND)
	VALGRIND_STACK_DEREGISTER(me->id);
#endif
}

static inline void announce_start(struct announced *me)
{
}

static inline void announce_end(struct announced *me, const void *top)
{
}

static inline void announce_exit(struct announced *me)
{
}

#endif

/* A lock that code takes which is not checked, and what is checked runs under it. */
static inline void announce_locked(void *lock)
{
#if GK_TSAN
	__tsan_acquire(lock);
#endif
}

static inline void announce_unlock(void *lock)
{
#if GK_TSAN
	__tsan_release(lock);
#endif
}

#endif /* GK_ANNOUNCE_H */
