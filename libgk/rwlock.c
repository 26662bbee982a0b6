// SPDX-License-Identifier: MIT
/*
 * rwlock.c - many readers or one writer: Go's sync.RWMutex.
 *
 * The word is 0 when it is free, the number of readers times READER, or the writer's address and WRITER; and two marks:
 *   WAITED	tasks may wait. From then on the word changes under waiters.lock only, and nobody new comes in without.
 *   WOKEN	a writer was woken to try again, as in mutex.c; it is free or another writer's meanwhile. With WAITED
 *		only.
 *
 * Under the lock:
 *   - Readers wait only while it is a writer's, or a writer waits, was woken, or has just given up and will come to let
 *     them in (gave_up()).
 *   - When a writer unlocks, all readers that wait get in, and writers after them; only if there are none, the first
 *     writer is woken, or handed the lock if it has waited STARVED_NS.
 *   - When the last reader unlocks, the first writer is handed the lock.
 *   - It is free and WAITED only if it is WOKEN.
 */
#include "sync.h"

#define WRITER		1ul
#define WAITED		2ul
#define WOKEN		4ul
#define READER		64ul		/* the lowest bit of a task's address that is not 0 */
#define MARKS		(READER - 1)

static uintptr_t *word_of(gk_rwlock *rw)
{
	return (uintptr_t *)&rw->word;
}

static bool writes(gk_rwlock *rw, struct gk_task *t)
{
	return (load(word_of(rw)) & (~MARKS | WRITER)) == ((uintptr_t)t | WRITER);
}

/* It is WAITED if anybody is listed. */
static uintptr_t waited(gk_rwlock *rw)
{
	return rw->writers.first || rw->waiters.queue.first ? WAITED : 0;
}

/*
 * Tells whether the last who holds it has let somebody in, or left it to the writer that was woken. If not, all who
 * waited have given up: it is held as before, and nobody waits. Under the lock.
 */
static bool pass(gk_rwlock *rw, struct wakes *k, bool from_writer)
{
	uintptr_t word = load(word_of(rw));
	struct waiter *v = NULL;
	bool hand_over = true;
	size_t n = 0;

	if (!from_writer && !(word & WOKEN))
		v = waiter_get(&rw->writers);
	if (!v && (from_writer || !(word & WOKEN)))
		n = wakes_take(k, &rw->waiters.queue, 0);
	if (n) {
		word &= WOKEN;
		store_release(word_of(rw), n * READER | word | (word ? WAITED : waited(rw)));
		return true;
	}
	if (word & WOKEN) {
		store_release(word_of(rw), WAITED | WOKEN);
		return true;
	}
	if (from_writer) {
		v = waiter_get(&rw->writers);
		hand_over = v && now_ns() - *(uint64_t *)v->data > STARVED_NS;
	}
	if (!v) {
		store(word_of(rw), word & ~WAITED);
		return false;
	}
	v->task->result = !hand_over;
	wakes_add(k, v->task);
	store_release(word_of(rw), hand_over ? (uintptr_t)v->task | WRITER | waited(rw) : WAITED | WOKEN);
	return true;
}

/* The calling task waits no more. If it kept readers from coming in, they do. */
static void gave_up(gk_rwlock *rw, struct gk_queue *q, struct waiter *v)
{
	struct worker *w = enter();
	struct wakes k = {};
	uintptr_t word;

	lock(&rw->waiters.lock);
	waiter_del(q, v);
	word = load(word_of(rw));
	if ((word & (WAITED | WRITER | WOKEN)) == WAITED && !rw->writers.first)
		store_release(word_of(rw), (word & ~WAITED) + wakes_take(&k, &rw->waiters.queue, 0) * READER);
	unlock(&rw->waiters.lock);
	wakes_ready(w, &k);
	leave(w);
}

/* ---- readers ----------------------------------------------------------------------------------------------------- */

int gk_rwlock_tryrdlock(gk_rwlock *rw)
{
	uintptr_t word;

	if (unlikely(!gk_self()))
		return -EPERM;
	do {
		word = load(word_of(rw));
		if (unlikely(word & (WRITER | WAITED)))
			return -EBUSY;
	} while (unlikely(!cas(word_of(rw), word, word + READER)));
	return 0;
}

static __attribute__((noinline)) int read_wait(gk_rwlock *rw, struct gk_task *t, uint64_t deadline)
{
	struct waiter *v = &t->waiter;
	struct worker *w;
	uintptr_t word;
	int err;

	if (writes(rw, t))
		return -EDEADLK;
	touch(rw, sizeof(*rw));
	w = enter();
	lock(&rw->waiters.lock);
	for (;;) {
		word = load(word_of(rw));
		if (!(word & (WRITER | WOKEN)) && !rw->writers.first) {
			if (!cas(word_of(rw), word, word + READER))
				continue;
			unlock(&rw->waiters.lock);
			leave(w);
			return 0;
		}
		if (word & WAITED || cas(word_of(rw), word, word | WAITED))
			break;
	}
	waiter_put(&rw->waiters.queue, v);
	err = wait_until(w, &rw->waiters.lock, WHY_RWLOCK_READ, rw, deadline);
	if (err)
		gave_up(rw, &rw->waiters.queue, v);
	return err;
}

int gk_rwlock_rdlock(gk_rwlock *rw)
{
	return gk_rwlock_rdlock_until(rw, GK_FOREVER);
}

int gk_rwlock_rdlock_until(gk_rwlock *rw, uint64_t deadline)
{
	int err = gk_rwlock_tryrdlock(rw);

	return likely(err != -EBUSY) ? err : read_wait(rw, gk_self(), deadline);
}

/* Returns false if it is to be tried again. */
static __attribute__((noinline)) bool read_unlock_slow(gk_rwlock *rw)
{
	struct wakes k = {};
	struct worker *w;
	bool done = false;
	uintptr_t word;

	touch(rw, sizeof(*rw));
	w = enter();
	lock(&rw->waiters.lock);
	word = load(word_of(rw));
	if ((word & (WAITED | WRITER)) == WAITED && word >= 2 * READER) {
		store_release(word_of(rw), word - READER);
		done = true;
	} else if ((word & (WAITED | WRITER)) == WAITED && word >= READER) {
		done = pass(rw, &k, false);
	}
	unlock(&rw->waiters.lock);
	wakes_ready(w, &k);
	leave(w);
	return done;
}

int gk_rwlock_rdunlock(gk_rwlock *rw)
{
	uintptr_t word;

	if (unlikely(!gk_self()))
		return -EPERM;
	for (;;) {
		word = load(word_of(rw));
		if (unlikely(word & WRITER || word < READER))
			return -EPERM;
		if (unlikely(word & WAITED)) {
			if (read_unlock_slow(rw))
				return 0;
		} else if (likely(cas(word_of(rw), word, word - READER))) {
			return 0;
		}
	}
}

/* ---- the writer -------------------------------------------------------------------------------------------------- */

int gk_rwlock_trywrlock(gk_rwlock *rw)
{
	struct gk_task *t = gk_self();

	if (unlikely(!t))
		return -EPERM;
	return cas(word_of(rw), 0, (uintptr_t)t | WRITER) ? 0 : -EBUSY;
}

static __attribute__((noinline)) int write_wait(gk_rwlock *rw, struct gk_task *t, uint64_t deadline)
{
	struct waiter *v = &t->waiter;
	uintptr_t word, mine, woken = 0;
	uint64_t since = now_ns();
	struct worker *w;
	int err;

	if (writes(rw, t))
		return -EDEADLK;
	touch(rw, sizeof(*rw));
	for (;;) {
		w = enter();
		lock(&rw->waiters.lock);
		for (;;) {
			word = load(word_of(rw));
			if (word & ~MARKS) {
				if (cas(word_of(rw), word, (word & ~woken) | WAITED))
					break;
				continue;
			}
			mine = (uintptr_t)t | WRITER | (woken ? waited(rw) : word);
			if (cas(word_of(rw), word, mine)) {
				unlock(&rw->waiters.lock);
				leave(w);
				return 0;
			}
		}
		v->data = &since;
		if (woken)
			waiter_put_front(&rw->writers, v);
		else
			waiter_put(&rw->writers, v);
		err = wait_until(w, &rw->waiters.lock, WHY_RWLOCK_WRITE, rw, deadline);
		if (!err)
			return 0;
		if (err < 0) {
			gave_up(rw, &rw->writers, v);
			return err;
		}
		woken = WOKEN;
	}
}

int gk_rwlock_wrlock(gk_rwlock *rw)
{
	return gk_rwlock_wrlock_until(rw, GK_FOREVER);
}

int gk_rwlock_wrlock_until(gk_rwlock *rw, uint64_t deadline)
{
	int err = gk_rwlock_trywrlock(rw);

	return likely(err != -EBUSY) ? err : write_wait(rw, gk_self(), deadline);
}

int gk_rwlock_wrunlock(gk_rwlock *rw)
{
	struct gk_task *t = gk_self();
	struct wakes k = {};
	struct worker *w;
	bool done;

	if (unlikely(!t))
		return -EPERM;
	if (likely(cas(word_of(rw), (uintptr_t)t | WRITER, 0)))
		return 0;
	if (!writes(rw, t))
		return -EPERM;
	do {
		touch(rw, sizeof(*rw));
		w = enter();
		lock(&rw->waiters.lock);
		done = pass(rw, &k, true);
		unlock(&rw->waiters.lock);
		wakes_ready(w, &k);
		leave(w);
	} while (!done && !cas(word_of(rw), (uintptr_t)t | WRITER, 0));
	return 0;
}
