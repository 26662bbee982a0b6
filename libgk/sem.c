// SPDX-License-Identifier: MIT
/*
 * sem.c - counting semaphores.
 *
 * The word is twice the number of units that are there, and WAITED: the list is not empty, or somebody who was on it
 * has given up and will come to take the mark off. Without the mark, taking and giving back is one compare-and-swap;
 * with it the word changes under waiters.lock only. Units are given to the first on the list, when there are enough for
 * it, and to nobody else: so one who wants many is not starved by those who want few. Who gives up at the head of the
 * list may have kept the next from units that are there.
 */
#include "sync.h"

#define WAITED		1
#define UNITS_MAX	(INT64_MAX / 2)

/* Gives what is there, and takes the mark off when it is known that no one relies on it. Under waiters.lock. */
static void grant(gk_sem *s, int64_t units, struct wakes *k, bool gave_up)
{
	struct gk_queue *q = &s->waiters.queue;
	struct waiter *v;

	while ((v = q->first) && (intptr_t)v->data <= units) {
		waiter_del(q, v);
		if (!claim(v->task))
			continue;
		units -= (intptr_t)v->data;
		v->task->result = 0;
		wakes_add(k, v->task);
	}
	store_release(&s->word, units << 1 | (q->first || !(k->first || gave_up) ? WAITED : 0));
}

static int sem_wait(gk_sem *s, int64_t n, uint64_t deadline)
{
	struct gk_queue *q = &s->waiters.queue;
	struct wakes k = {};
	struct waiter *v;
	struct worker *w;
	int64_t word;
	int err;

	touch(s, sizeof(*s));
	w = enter();
	lock(&s->waiters.lock);
	for (;;) {
		word = load(&s->word);
		if (word >> 1 < n || q->first) {
			if (word & WAITED || cas(&s->word, word, word | WAITED))
				break;
		} else if (cas(&s->word, word, word - 2 * n)) {
			unlock(&s->waiters.lock);
			leave(w);
			return 0;
		}
	}
	v = &w->task->waiter;
	v->data = (void *)(intptr_t)n;
	waiter_put(q, v);
	err = wait_until(w, &s->waiters.lock, WHY_SEM, s, deadline);
	if (!err)
		return 0;
	w = enter();
	lock(&s->waiters.lock);
	waiter_del(q, v);
	word = load(&s->word);
	if (word & WAITED)
		grant(s, word >> 1, &k, true);
	unlock(&s->waiters.lock);
	wakes_ready(w, &k);
	leave(w);
	return err;
}

/* 0 if it could be had, else -EAGAIN, or why not. */
static int acquire_now(gk_sem *s, int64_t n)
{
	int64_t word;

	if (unlikely(!gk_self()))
		return -EPERM;
	if (unlikely(n < 0 || n > UNITS_MAX || (s->size && n > s->size)))
		return -EINVAL;
	if (!n)
		return 0;
	do {
		word = load(&s->word);
		if (word & WAITED || word >> 1 < n)
			return -EAGAIN;
	} while (!cas(&s->word, word, word - 2 * n));
	return 0;
}

int gk_sem_init(gk_sem *s, int64_t size)
{
	if (size < 0 || size > UNITS_MAX)
		return -EINVAL;
	*s = (gk_sem)GK_SEM_INIT(size);
	return 0;
}

int gk_sem_try_acquire(gk_sem *s, int64_t n)
{
	return acquire_now(s, n);
}

int gk_sem_acquire(gk_sem *s, int64_t n)
{
	return gk_sem_acquire_until(s, n, GK_FOREVER);
}

int gk_sem_acquire_until(gk_sem *s, int64_t n, uint64_t deadline)
{
	int err = acquire_now(s, n);

	return likely(err != -EAGAIN) ? err : sem_wait(s, n, deadline);
}

static __attribute__((noinline)) int sem_release_slow(gk_sem *s, int64_t n, int64_t most)
{
	struct wakes k = {};
	struct worker *w;
	int64_t word;
	int err = 0;

	touch(s, sizeof(*s));
	w = enter();
	lock(&s->waiters.lock);
	word = load(&s->word);
	if (!(word & WAITED))
		err = -EAGAIN;
	else if (n > most - (word >> 1))
		err = -EINVAL;
	else
		grant(s, (word >> 1) + n, &k, false);
	unlock(&s->waiters.lock);
	wakes_ready(w, &k);
	leave(w);
	return err;
}

int gk_sem_release(gk_sem *s, int64_t n)
{
	int64_t word, most = s->size ? s->size : UNITS_MAX;
	int err;

	if (unlikely(!gk_self()))
		return -EPERM;
	if (unlikely(n < 0))
		return -EINVAL;
	if (!n)
		return 0;
	for (;;) {
		word = load(&s->word);
		if (unlikely(word & WAITED)) {
			err = sem_release_slow(s, n, most);
			if (err != -EAGAIN)
				return err;
		} else if (unlikely(n > most - (word >> 1))) {
			return -EINVAL;
		} else if (likely(cas(&s->word, word, word + 2 * n))) {
			return 0;
		}
	}
}
