// SPDX-License-Identifier: MIT
/*
 * mutex.c - a lock between tasks.
 *
 * The word is the owner's address, 0 when it is free, and two marks:
 *   WAITED	tasks may wait. Changed under waiters.lock only.
 *   WOKEN	one of them was woken to try again and has not yet come. Set by the owner as it unlocks, under
 *		waiters.lock; taken off by the woken task, when it has the mutex or is back on the list.
 * A mutex that is free and WAITED is WOKEN also: somebody is on the way who sees to those who wait. With WOKEN, an
 * unlock wakes nobody.
 *
 * Who is woken competes with those who come: on another core they may have locked and unlocked many times until it
 * runs. It goes back to the front of the list if it loses. But once it has waited for STARVED_NS, it is given the mutex
 * as its holder unlocks. To hand it over always is fair, and slow where the mutex is wanted all the time: each lock
 * then costs a switch, and the mutex is nobody's while its owner waits for a core.
 *
 * A wait that ended by its deadline or gk_cancel() was not woken: waiter_get() passes it over. One that was woken takes
 * the mutex if it is free, whatever the time; and if it is not, it takes WOKEN off before it gives up, so that the
 * holder wakes the next.
 */
#include "sync.h"

#define WAITED		1ul
#define WOKEN		2ul
#define MARKS		(WAITED | WOKEN)

static uintptr_t *word_of(gk_mutex *m)
{
	return (uintptr_t *)&m->owner;
}

bool mutex_is_mine(gk_mutex *m, struct gk_task *t)
{
	return (load(word_of(m)) & ~MARKS) == (uintptr_t)t;
}

int gk_mutex_trylock(gk_mutex *m)
{
	struct gk_task *t = gk_self();
	uintptr_t word;

	if (!t)
		return -EPERM;
	do {
		word = load(word_of(m));
		if (word & ~MARKS)
			return -EBUSY;
	} while (!cas(word_of(m), word, word | (uintptr_t)t));
	return 0;
}

static __attribute__((noinline)) int mutex_lock_slow(gk_mutex *m, struct gk_task *t, uint64_t deadline)
{
	struct waiter *v = &t->waiter;
	uintptr_t word, woken = 0;
	uint64_t since = 0;
	struct worker *w;
	int err;

	touch(m, sizeof(*m));
	for (;;) {
		word = load(word_of(m));
		if (!(word & ~MARKS)) {
			if (cas(word_of(m), word, (word & ~woken) | (uintptr_t)t))
				return 0;
			continue;
		}
		if (mutex_is_mine(m, t))
			return -EDEADLK;
		if (!since)
			since = now_ns();
		w = enter();
		lock(&m->waiters.lock);
		word = load(word_of(m));
		if (!(word & ~MARKS) || !cas(word_of(m), word, (word & ~woken) | WAITED)) {
			unlock(&m->waiters.lock);
			leave(w);
			continue;
		}
		v->data = &since;
		if (woken)
			waiter_put_front(&m->waiters.queue, v);
		else
			waiter_put(&m->waiters.queue, v);
		err = wait_until(w, &m->waiters.lock, WHY_MUTEX, m, deadline);
		if (!err)
			return 0;
		if (err < 0)
			break;
		woken = WOKEN;
	}
	w = enter();
	lock(&m->waiters.lock);
	waiter_del(&m->waiters.queue, v);
	unlock(&m->waiters.lock);
	leave(w);
	return err;
}

int gk_mutex_lock(gk_mutex *m)
{
	return gk_mutex_lock_until(m, GK_FOREVER);
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

/* Gives it up if nobody is to be woken. */
static bool released(gk_mutex *m)
{
	uintptr_t word;

	while (((word = load(word_of(m))) & MARKS) != WAITED)
		if (cas(word_of(m), word, word & MARKS))
			return true;
	return false;
}

struct gk_task *mutex_release(gk_mutex *m, struct gk_task *t)
{
	struct waiter *v;
	uintptr_t rest;

	while (!released(m)) {
		lock(&m->waiters.lock);
		v = waiter_get(&m->waiters.queue);
		if (v) {
			rest = m->waiters.queue.first ? WAITED : 0;
			if (now_ns() - *(uint64_t *)v->data > STARVED_NS) {
				v->task->result = 0;
				store_release(word_of(m), (uintptr_t)v->task | rest);
			} else {
				v->task->result = 1;
				store_release(word_of(m), rest | WOKEN);
			}
			unlock(&m->waiters.lock);
			return v->task;
		}
		/* All have given up. While we own it, the word changes under the lock only. */
		store(word_of(m), (uintptr_t)t);
		unlock(&m->waiters.lock);
	}
	return NULL;
}

static __attribute__((noinline)) int mutex_unlock_slow(gk_mutex *m, struct gk_task *t)
{
	struct worker *w;

	if (!mutex_is_mine(m, t))
		return -EPERM;
	if (released(m))
		return 0;
	w = enter();
	t = mutex_release(m, t);
	if (t)
		ready(w, t, true);
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
