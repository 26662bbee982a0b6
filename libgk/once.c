// SPDX-License-Identifier: MIT
/*
 * once.c - something that is done once.
 *
 * The word is 0, then the address of the task that does it, with WAITED if others wait for that, then DONE. WAITED is
 * set and taken off under waiters.lock; only the task that does it takes it off.
 */
#include "sync.h"

#define WAITED	1ul
#define DONE	2ul

static uintptr_t *word_of(gk_once *o)
{
	return (uintptr_t *)&o->task;
}

static void finished(gk_once *o, struct gk_task *t)
{
	struct wakes k = {};
	struct worker *w;

	while (!cas(word_of(o), (uintptr_t)t, DONE)) {
		touch(o, sizeof(*o));
		w = enter();
		lock(&o->waiters.lock);
		/* If all have given up, another may free it once it is DONE: so we must not come to unlock() then. */
		store_release(word_of(o), wakes_take(&k, &o->waiters.queue, 0) ? DONE : (uintptr_t)t);
		unlock(&o->waiters.lock);
		wakes_ready(w, &k);
		leave(w);
		if (k.first)
			return;
	}
}

static int once_wait(gk_once *o, uint64_t deadline)
{
	uintptr_t word;
	struct waiter *v;
	struct worker *w;
	int err;

	touch(o, sizeof(*o));
	w = enter();
	lock(&o->waiters.lock);
	do {
		word = load(word_of(o));
		if (word == DONE) {
			unlock(&o->waiters.lock);
			leave(w);
			return 0;
		}
	} while (!(word & WAITED) && !cas(word_of(o), word, word | WAITED));
	v = &w->task->waiter;
	waiter_put(&o->waiters.queue, v);
	err = wait_until(w, &o->waiters.lock, WHY_ONCE, o, deadline);
	if (err) {
		w = enter();
		lock(&o->waiters.lock);
		waiter_del(&o->waiters.queue, v);
		unlock(&o->waiters.lock);
		leave(w);
	}
	return err;
}

int gk_once_do(gk_once *o, void (*fn)(void *arg), void *arg)
{
	return gk_once_do_until(o, fn, arg, GK_FOREVER);
}

int gk_once_do_until(gk_once *o, void (*fn)(void *arg), void *arg, uint64_t deadline)
{
	struct gk_task *t = gk_self();

	if (unlikely(!t))
		return -EPERM;
	if (likely(load_acquire(word_of(o)) == DONE))
		return 0;
	if (cas(word_of(o), 0, (uintptr_t)t)) {
		fn(arg);
		finished(o, t);
		return 0;
	}
	if ((load(word_of(o)) & ~WAITED) == (uintptr_t)t)
		return -EDEADLK;
	return once_wait(o, deadline);
}
