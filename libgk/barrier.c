// SPDX-License-Identifier: MIT
/*
 * barrier.c - barriers.
 *
 * Everything is under waiters.lock. Who ends a round, or breaks it, takes all off the list and says so in each one's
 * waiter->data: also to those whose deadline or gk_cancel() ended the wait a moment before. They were counted, so for
 * them the round came about as well.
 */
#include "sync.h"

enum {
	PENDING,
	TRIPPED,
	BROKEN,
};

static void end_round(gk_barrier *b, struct wakes *k, intptr_t how)
{
	struct gk_queue *q = &b->waiters.queue;
	struct waiter *v;

	b->arrived = 0;
	while ((v = q->first)) {
		waiter_del(q, v);
		v->data = (void *)how;
		if (!claim(v->task))
			continue;
		v->task->result = how == TRIPPED ? 0 : -EPIPE;
		wakes_add(k, v->task);
	}
}

int gk_barrier_init(gk_barrier *b, unsigned int parties)
{
	if (!parties)
		return -EINVAL;
	*b = (gk_barrier)GK_BARRIER_INIT(parties);
	return 0;
}

int gk_barrier_wait(gk_barrier *b)
{
	return gk_barrier_wait_until(b, GK_FOREVER);
}

int gk_barrier_wait_until(gk_barrier *b, uint64_t deadline)
{
	struct wakes k = {};
	struct waiter *v;
	struct worker *w;
	intptr_t how;
	int err;

	if (!gk_self())
		return -EPERM;
	touch(b, sizeof(*b));
	w = enter();
	lock(&b->waiters.lock);
	if (!b->parties || b->broken) {
		err = b->parties ? -EPIPE : -EINVAL;
		unlock(&b->waiters.lock);
		leave(w);
		return err;
	}
	if (++b->arrived == b->parties) {
		end_round(b, &k, TRIPPED);
		unlock(&b->waiters.lock);
		wakes_ready(w, &k);
		leave(w);
		return 1;
	}
	v = &w->task->waiter;
	v->data = (void *)PENDING;
	waiter_put(&b->waiters.queue, v);
	err = wait_until(w, &b->waiters.lock, WHY_BARRIER, b, deadline);
	if (!err || err == -EPIPE)
		return err;
	w = enter();
	lock(&b->waiters.lock);
	how = (intptr_t)v->data;
	if (how == PENDING) {
		waiter_del(&b->waiters.queue, v);
		b->broken = 1;
		end_round(b, &k, BROKEN);
	}
	unlock(&b->waiters.lock);
	wakes_ready(w, &k);
	leave(w);
	return how == PENDING ? err : (how == TRIPPED ? 0 : -EPIPE);
}

int gk_barrier_reset(gk_barrier *b)
{
	struct wakes k = {};
	struct worker *w;

	if (!gk_self())
		return -EPERM;
	touch(b, sizeof(*b));
	w = enter();
	lock(&b->waiters.lock);
	end_round(b, &k, BROKEN);
	b->broken = 0;
	unlock(&b->waiters.lock);
	wakes_ready(w, &k);
	leave(w);
	return 0;
}
