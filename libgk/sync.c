// SPDX-License-Identifier: MIT
/*
 * sync.c - mutex and wait group.
 *
 * A mutex is its owner's address; bit 0 says that tasks wait, and is changed under waiters.lock only. Taking and giving
 * up a mutex for which nobody waits is one compare-and-swap, without going inside.
 */
#include "internal.h"

#define WAITED		1ul
#define STARVED_NS	1000000

static void waiters_put(struct gk_waiters *q, struct gk_task *t, bool front)
{
	struct gk_task *last = q->last;

	if (front) {
		t->next = q->first;
		q->first = t;
		if (!last)
			q->last = t;
		return;
	}
	t->next = NULL;
	if (last)
		last->next = t;
	else
		q->first = t;
	q->last = t;
}

static struct gk_task *waiters_get(struct gk_waiters *q)
{
	struct gk_task *t = q->first;

	if (t) {
		q->first = t->next;
		if (!q->first)
			q->last = NULL;
	}
	return t;
}

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

int gk_mutex_lock(gk_mutex *m)
{
	struct gk_task *t = gk_self();
	struct worker *w;
	uintptr_t owner;
	bool woken = false;

	if (unlikely(!t))
		return -EPERM;
	if (likely(cas(word_of(m), 0, (uintptr_t)t)))
		return 0;
	if ((load(word_of(m)) & ~WAITED) == (uintptr_t)t)
		return -EDEADLK;
	t->waiting_since = now_ns();
	for (;;) {
		w = enter();
		lock(&m->waiters.lock);
		owner = load(word_of(m));
		/* With waiters behind it, it stays marked. */
		if (!(owner & ~WAITED)) {
			if (cas(word_of(m), owner, (uintptr_t)t | (m->waiters.first ? WAITED : 0)))
				break;
		} else if (cas(word_of(m), owner, owner | WAITED)) {
			waiters_put(&m->waiters, t, woken);
			if (!wait_unlock(w, &m->waiters.lock))
				return 0;
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

int gk_mutex_unlock(gk_mutex *m)
{
	struct gk_task *t = gk_self(), *first;
	struct worker *w;

	if (unlikely(!t))
		return -EPERM;
	if (likely(cas(word_of(m), (uintptr_t)t, 0)))
		return 0;
	if ((load(word_of(m)) & ~WAITED) != (uintptr_t)t)
		return -EPERM;
	w = enter();
	lock(&m->waiters.lock);
	first = waiters_get(&m->waiters);
	if (!first || !m->waiters.first) {
		/*
		 * Nobody is left to be marked for. The last store is the one that gives it up: then another may free
		 * the mutex.
		 */
		if (!first || now_ns() - first->waiting_since <= STARVED_NS) {
			if (first)
				first->result = 1;
			store(word_of(m), (uintptr_t)t);
			unlock(&m->waiters.lock);
			if (first)
				ready(w, first, true);
			leave(w);
			return gk_mutex_unlock(m);
		}
	}
	if (first && now_ns() - first->waiting_since > STARVED_NS) {
		first->result = 0;
		store_release(word_of(m), (uintptr_t)first | (m->waiters.first ? WAITED : 0));
	} else {
		/* Whoever comes first; the woken one goes back to the front if it is not that. */
		if (first)
			first->result = 1;
		store_release(word_of(m), m->waiters.first ? WAITED : 0);
	}
	unlock(&m->waiters.lock);
	if (first)
		ready(w, first, true);
	leave(w);
	return 0;
}

/* Faults it in for writing: inside, nothing may fault. */
static void touch(gk_wg *wg)
{
	__atomic_fetch_or(&wg->waiters.pad, 0, __ATOMIC_RELAXED);
}

int gk_wg_add(gk_wg *wg, int64_t n)
{
	struct gk_task *t = NULL, *next;
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
	if (!count) {
		t = wg->waiters.first;
		wg->waiters.first = wg->waiters.last = NULL;
	}
	unlock(&wg->waiters.lock);
	for (; t; t = next) {
		next = t->next;
		ready(w, t, true);
	}
	leave(w);
	return 0;
}

int gk_wg_done(gk_wg *wg)
{
	return gk_wg_add(wg, -1);
}

int gk_wg_wait(gk_wg *wg)
{
	struct worker *w;

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
	w->task->result = 0;
	waiters_put(&wg->waiters, w->task, false);
	return wait_unlock(w, &wg->waiters.lock);
}
