// SPDX-License-Identifier: MIT
/*
 * cond.c - conditions.
 *
 * A task puts itself on the list, then unlocks the mutex, then waits, all under waiters.lock: so whoever locks the
 * mutex after it finds it there. A signal ends the wait of the first on the list whose wait has not ended otherwise, so
 * none is lost on a task that gives up at the same time: that one returns its error, and the next gets the signal.
 *
 * This is the one place where a small lock, the mutex's, nests in another object's.
 */
#include "sync.h"

static int cond_wait(gk_cond *c, gk_mutex *m, uint64_t deadline)
{
	struct gk_task *t = gk_self(), *next;
	uint32_t claims;
	struct waiter *v;
	struct worker *w;
	int err;

	if (!t || !mutex_is_mine(m, t))
		return -EPERM;
	touch(c, sizeof(*c));
	touch(m, sizeof(*m));
	v = &t->waiter;
	w = enter();
	lock(&c->waiters.lock);
	waiter_put(&c->waiters.queue, v);
	next = mutex_release(m, t);
	if (next)
		ready(w, next, true);
	err = wait_until(w, &c->waiters.lock, WHY_COND, c, deadline);
	if (err) {
		w = enter();
		lock(&c->waiters.lock);
		waiter_del(&c->waiters.queue, v);
		unlock(&c->waiters.lock);
		leave(w);
	}
	/* The caller unlocks it, come what may. */
	claims = t->claims;
	t->claims = SWITCHING;
	gk_mutex_lock(m);
	t->claims = claims;
	return err;
}

int gk_cond_wait(gk_cond *c, gk_mutex *m)
{
	return cond_wait(c, m, GK_FOREVER);
}

int gk_cond_wait_until(gk_cond *c, gk_mutex *m, uint64_t deadline)
{
	return cond_wait(c, m, deadline);
}

int gk_cond_signal(gk_cond *c)
{
	struct waiter *v;
	struct worker *w;

	if (!gk_self())
		return -EPERM;
	/* A wait that came before this was listed before its mutex was unlocked. */
	if (!load(&c->waiters.queue.first))
		return 0;
	touch(c, sizeof(*c));
	w = enter();
	lock(&c->waiters.lock);
	v = waiter_get(&c->waiters.queue);
	if (v)
		v->task->result = 0;
	unlock(&c->waiters.lock);
	if (v)
		ready(w, v->task, true);
	leave(w);
	return 0;
}

int gk_cond_broadcast(gk_cond *c)
{
	struct wakes k = {};
	struct worker *w;

	if (!gk_self())
		return -EPERM;
	if (!load(&c->waiters.queue.first))
		return 0;
	touch(c, sizeof(*c));
	w = enter();
	lock(&c->waiters.lock);
	wakes_take(&k, &c->waiters.queue, 0);
	unlock(&c->waiters.lock);
	wakes_ready(w, &k);
	leave(w);
	return 0;
}
