// SPDX-License-Identifier: MIT
/*
 * wg.c - wait groups.
 *
 * The word is twice the count, and WAITED: the list is not empty, or somebody who was on it has given up and will come
 * to take the mark off. Without the mark, adding and taking off is one compare-and-swap; with it the word changes under
 * waiters.lock only, and the count is not 0 but for those who have given up.
 */
#include "sync.h"

#define WAITED		1
#define COUNT_MAX	(INT64_MAX / 2)

/* The count is @count + @n, if that is one. */
static bool sum(int64_t word, int64_t n, int64_t *count)
{
	return !__builtin_add_overflow(word >> 1, n, count) && *count >= 0 && *count <= COUNT_MAX;
}

static __attribute__((noinline)) int wg_add_slow(gk_wg *wg, int64_t n)
{
	struct wakes k = {};
	struct worker *w;
	int64_t word, count;
	int err = 0;

	touch(wg, sizeof(*wg));
	w = enter();
	lock(&wg->waiters.lock);
	word = load(&wg->word);
	if (!(word & WAITED)) {
		err = -EAGAIN;
	} else if (!sum(word, n, &count)) {
		err = -EINVAL;
	} else {
		/* At 0 with nobody to let go, those who were listed have given up: see sync.h. */
		count = count << 1 | WAITED;
		if (count == WAITED && wakes_take(&k, &wg->waiters.queue, 0))
			count = 0;
		store_release(&wg->word, count);
	}
	unlock(&wg->waiters.lock);
	wakes_ready(w, &k);
	leave(w);
	return err;
}

int gk_wg_add(gk_wg *wg, int64_t n)
{
	int64_t word, count;
	int err;

	if (unlikely(!gk_self()))
		return -EPERM;
	for (;;) {
		word = load(&wg->word);
		if (unlikely(word & WAITED)) {
			err = wg_add_slow(wg, n);
			if (err != -EAGAIN)
				return err;
		} else if (unlikely(!sum(word, n, &count))) {
			return -EINVAL;
		} else if (likely(cas(&wg->word, word, count << 1))) {
			return 0;
		}
	}
}

int gk_wg_done(gk_wg *wg)
{
	return gk_wg_add(wg, -1);
}

static __attribute__((noinline)) int wg_wait_slow(gk_wg *wg, uint64_t deadline)
{
	struct waiter *v;
	struct worker *w;
	int64_t word;
	int err;

	touch(wg, sizeof(*wg));
	w = enter();
	lock(&wg->waiters.lock);
	do {
		word = load_acquire(&wg->word);	/* what is done may have been so without the lock */
		if (!(word >> 1)) {
			unlock(&wg->waiters.lock);
			leave(w);
			return 0;
		}
	} while (!(word & WAITED) && !cas(&wg->word, word, word | WAITED));
	v = &w->task->waiter;
	waiter_put(&wg->waiters.queue, v);
	err = wait_until(w, &wg->waiters.lock, WHY_WG, wg, deadline);
	if (!err)
		/* Those whose count it was have gone. If there is one again, it is of the next use. */
		return load(&wg->word) ? -EBUSY : 0;
	w = enter();
	lock(&wg->waiters.lock);
	waiter_del(&wg->waiters.queue, v);
	word = load(&wg->word);
	if (word & WAITED && !wg->waiters.queue.first)
		store(&wg->word, word & ~WAITED);
	unlock(&wg->waiters.lock);
	leave(w);
	return err;
}

int gk_wg_wait(gk_wg *wg)
{
	return gk_wg_wait_until(wg, GK_FOREVER);
}

int gk_wg_wait_until(gk_wg *wg, uint64_t deadline)
{
	if (unlikely(!gk_self()))
		return -EPERM;
	if (!load_acquire(&wg->word))
		return 0;
	return wg_wait_slow(wg, deadline);
}
