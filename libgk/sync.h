/* SPDX-License-Identifier: MIT */
/*
 * sync.h - what the objects of "Synchronisation" have in common.
 *
 * Each object has one word and a list of waiters. The word says all there is to know as long as nobody waits, and is
 * then changed by compare-and-swap, without going inside. A mark in it, WAITED, says that tasks may wait; with it the
 * calls go inside and take the list's lock. What the word may do while it is marked, each file says.
 *
 * A task may free an object as soon as its own call has come back, if it knows that no other uses the object: so the
 * one whose call lets it come back must not touch the object after that. Two things do this:
 *   - without the mark, the compare-and-swap is the last access of the call that gives up;
 *   - with it, the tasks let go are made ready after the list's lock is dropped. If there turns out to be none, as all
 *     who waited have given up, then the mark is taken off first, and the word changed as above; or the mark stays,
 *     where each that gives up takes it off itself.
 */
#ifndef GK_SYNC_H
#define GK_SYNC_H

#include "switch.h"

/* How long a task waits before a lock is handed to it. 0: it always is; to measure what that costs. */
#ifndef STARVED_NS
#define STARVED_NS	1000000ull
#endif

/* Faults an object in for writing: inside, nothing may fault. It is on two pages at most. */
static inline void touch(void *object, size_t size)
{
	touch_byte(object);
	touch_byte((char *)object + size - 1);
}

/* Tasks whose wait the caller has ended, in the order in which they came. */
struct wakes {
	struct gk_task *first, *last;
};

static inline void wakes_add(struct wakes *k, struct gk_task *t)
{
	t->next = NULL;
	if (k->last)
		k->last->next = t;
	else
		k->first = t;
	k->last = t;
}

/* Lets them run: a single one next, more in their order. Inside, the object's lock dropped. */
static inline void wakes_ready(struct worker *w, struct wakes *k)
{
	struct gk_task *t = k->first, *next;

	if (t && !t->next) {
		ready(w, t, true);
		return;
	}
	for (; t; t = next) {
		next = t->next;
		ready_tail(w, t);
	}
}

/* Ends the waits of all who still wait on @q. Their number. */
static inline size_t wakes_take(struct wakes *k, struct gk_queue *q, int result)
{
	struct waiter *v;
	size_t n = 0;

	while ((v = waiter_get(q))) {
		v->task->result = result;
		wakes_add(k, v->task);
		n++;
	}
	return n;
}

/* mutex.c: for a condition. */
bool mutex_is_mine(gk_mutex *m, struct gk_task *t);
struct gk_task *mutex_release(gk_mutex *m, struct gk_task *t);	/* inside; whom to make ready, or NULL */

#endif /* GK_SYNC_H */
