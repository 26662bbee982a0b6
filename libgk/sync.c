// SPDX-License-Identifier: MIT
/*
 * sync.c - mutex and wait group.
 *
 * A mutex is its owner's address; bit 0 says that tasks wait, and is changed under waiters.lock only. Taking and giving
 * up a mutex for which nobody waits is one compare-and-swap, without going inside.
 */
#include "switch.h"

#define WAITED		1ul
#define STARVED_NS	1000000

static uintptr_t *word_of(gk_mutex *m)
{
	return (uintptr_t *)&m->owner;
}

int gk_mutex_trylock(gk_mutex *m)
{
	struct gk_task *t = gk_self();

	uintptr_t owner;

	if (!t)
		return -EPERM;
	/* Marked, but nobody's: between an unlock and the one that it woke. */
	do
		owner = load(word_of(m));
	while (!(owner & ~WAITED) && !cas(word_of(m), owner, (uintptr_t)t | owner));
	return owner & ~WAITED ? -EBUSY : 0;
}

static __attribute__((noinline)) int mutex_lock_slow(gk_mutex *m, struct gk_task *t, uint64_t deadline)
{
	struct waiter *v = &t->waiter;
	uint64_t since = now_ns();
	bool woken = false;
	struct worker *w;
	uintptr_t owner;
	int err;

	if ((load(word_of(m)) & ~WAITED) == (uintptr_t)t)
		return -EDEADLK;
	for (;;) {
		w = enter();
		lock(&m->waiters.lock);
		owner = load(word_of(m));
		/* With waiters behind it, it stays marked. */
		if (!(owner & ~WAITED)) {
			if (cas(word_of(m), owner, (uintptr_t)t | (m->waiters.queue.first ? WAITED : 0)))
				break;
		} else if (cas(word_of(m), owner, owner | WAITED)) {
			v->data = &since;
			if (woken)
				waiter_put_front(&m->waiters.queue, v);
			else
				waiter_put(&m->waiters.queue, v);
			err = wait_until(w, &m->waiters.lock, WHY_MUTEX, m, deadline);
			if (!err)
				return 0;
			if (err < 0) {
				/* Marked for us or not: whoever unlocks it looks. */
				w = enter();
				lock(&m->waiters.lock);
				waiter_del(&m->waiters.queue, v);
				unlock(&m->waiters.lock);
				leave(w);
				return err;
			}
			woken = true;
			continue;
		}
		unlock(&m->waiters.lock);
		leave(w);
	}
	unlock(&m->waiters.lock);
	leave(w);
	return 0;
}

int gk_mutex_lock(gk_mutex *m)
{
	struct gk_task *t = gk_self();

	if (unlikely(!t))
		return -EPERM;
	if (likely(cas(word_of(m), 0, (uintptr_t)t)))
		return 0;
	return mutex_lock_slow(m, t, GK_FOREVER);
}

int gk_mutex_lock_until(gk_mutex *m, uint64_t deadline)
{
	struct gk_task *t = gk_self();

	if (unlikely(!t))
		return -EPERM;
	if (likely(cas(word_of(m), 0, (uintptr_t)t)))
		return 0;
	return mutex_lock_slow(m, t, deadline);
}

static __attribute__((noinline)) int mutex_unlock_slow(gk_mutex *m, struct gk_task *t)
{
	struct waiter *v;
	struct worker *w;
	bool hand_over;

	if ((load(word_of(m)) & ~WAITED) != (uintptr_t)t)
		return -EPERM;
	w = enter();
	lock(&m->waiters.lock);
	v = waiter_get(&m->waiters.queue);
	hand_over = v && now_ns() - *(uint64_t *)v->data > STARVED_NS;
	if (v)
		v->task->result = !hand_over;
	if (hand_over) {
		store_release(word_of(m), (uintptr_t)v->task | (m->waiters.queue.first ? WAITED : 0));
	} else if (m->waiters.queue.first) {
		/* Whoever comes first; the woken one goes back to the front if it is not that. */
		store_release(word_of(m), WAITED);
	} else {
		/*
		 * Nobody is left to be marked for. The last store is the one that gives it up: then another may free
		 * the mutex.
		 */
		store(word_of(m), (uintptr_t)t);
		unlock(&m->waiters.lock);
		if (v)
			ready(w, v->task, true);
		leave(w);
		return gk_mutex_unlock(m);
	}
	unlock(&m->waiters.lock);
	if (v)
		ready(w, v->task, true);
	leave(w);
	return 0;
}

int gk_mutex_unlock(gk_mutex *m)
{
	struct gk_task *t = gk_self();

	if (unlikely(!t))
		return -EPERM;
	if (likely(cas(word_of(m), (uintptr_t)t, 0)))
		return 0;
	return mutex_unlock_slow(m, t);
}

/* Faults it in for writing: inside, nothing may fault. */
static void touch(gk_wg *wg)
{
	__atomic_fetch_or(&wg->waiters.pad, 0, __ATOMIC_RELAXED);
}

int gk_wg_add(gk_wg *wg, int64_t n)
{
	struct gk_task *first = NULL, **last = &first, *t;
	struct waiter *v;
	struct worker *w;
	int64_t count;

	touch(wg);
	w = enter();
	if (!w)
		return -EPERM;
	lock(&wg->waiters.lock);
	if (__builtin_add_overflow(wg->count, n, &count) || count < 0) {
		unlock(&wg->waiters.lock);
		leave(w);
		return -EINVAL;
	}
	wg->count = count;
	while (!count && (v = waiter_get(&wg->waiters.queue))) {
		v->task->result = 0;
		*last = v->task;
		last = &v->task->next;
	}
	*last = NULL;
	unlock(&wg->waiters.lock);
	while ((t = first)) {
		first = t->next;
		ready(w, t, true);
	}
	leave(w);
	return 0;
}

int gk_wg_done(gk_wg *wg)
{
	return gk_wg_add(wg, -1);
}

static int wg_wait(gk_wg *wg, uint64_t deadline)
{
	struct waiter *v;
	struct worker *w;
	int err;

	touch(wg);
	w = enter();
	if (!w)
		return -EPERM;
	lock(&wg->waiters.lock);
	if (!wg->count) {
		unlock(&wg->waiters.lock);
		leave(w);
		return 0;
	}
	v = &w->task->waiter;
	waiter_put(&wg->waiters.queue, v);
	err = wait_until(w, &wg->waiters.lock, WHY_WG, wg, deadline);
	if (err) {
		w = enter();
		lock(&wg->waiters.lock);
		waiter_del(&wg->waiters.queue, v);
		unlock(&wg->waiters.lock);
		leave(w);
	}
	return err;
}

int gk_wg_wait(gk_wg *wg)
{
	return wg_wait(wg, GK_FOREVER);
}

int gk_wg_wait_until(gk_wg *wg, uint64_t deadline)
{
	return wg_wait(wg, deadline);
}
