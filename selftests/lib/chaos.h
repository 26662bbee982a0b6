/* SPDX-License-Identifier: GPL-2.0-only */
/* chaos.h - random stress: tasks that use an object with random deadlines, and are cancelled at random times. */
#ifndef GK_TEST_CHAOS_H
#define GK_TEST_CHAOS_H

#include "lib.h"

static struct {
	void (*use)(unsigned int *seed);	/* once; returns when the task was cancelled, too */
	atomic_int stop;
	atomic_int slots;
} chaos;

static inline unsigned int chaos_seed(void)
{
	static unsigned int seed;

	if (!seed) {
		seed = getenv("GK_SEED") ? strtoul(getenv("GK_SEED"), NULL, 0) : (unsigned int)time(NULL) * 31 + getpid();
		fprintf(stderr, "# GK_SEED=%u\n", seed);
	}
	return seed++;
}

/* None, one that has passed, or one soon. */
static inline uint64_t chaos_deadline(unsigned int *seed)
{
	switch (rand_r(seed) % 4) {
	case 0: return GK_FOREVER;
	case 1: return 0;
	default: return gk_now() + rand_r(seed) % 300000;
	}
}

/* How many tasks are on a list, as far as nobody leaves it meanwhile: the link is the first that a waiter has. */
static inline int chaos_listed(struct gk_queue *q)
{
	void *v;
	int n = 0;

	for (v = __atomic_load_n(&q->first, __ATOMIC_ACQUIRE); v; v = __atomic_load_n((void **)v, __ATOMIC_ACQUIRE))
		n++;
	return n;
}

/* What a task does while it holds something. */
static inline void chaos_hold(unsigned int *seed)
{
	switch (rand_r(seed) % 8) {
	case 0: gk_yield(); break;
	case 1: gk_sleep(rand_r(seed) % 50000); break;
	case 2: lib_burn(rand_r(seed) % 20000); break;
	}
}

/* It gave up at a deadline or was cancelled, or it did not. */
static inline bool chaos_got(int err)
{
	if (err)
		CHECK(err == -ETIMEDOUT || err == -ECANCELED);
	return !err;
}

static void chaos_user(void *arg)
{
	unsigned int seed = (unsigned long)arg;

	while (!chaos.stop && !gk_cancelled())
		chaos.use(&seed);
}

/* One user after another; each is cancelled. */
static void chaos_slot(void *arg)
{
	unsigned int seed = (unsigned long)arg;
	gk_task *t;

	while (!chaos.stop) {
		CHECK_EQ(0, gk_spawn(&t, NULL, chaos_user, (void *)(unsigned long)rand_r(&seed)));
		gk_sleep(rand_r(&seed) % 1000000);
		gk_cancel(t);
		gk_join(t);
	}
	chaos.slots--;
}

/* @n tasks use it at a time, for @ms. All have ended when it returns: what was waited for has come. */
static inline void chaos_run(void (*use)(unsigned int *seed), int n, int ms)
{
	int i;

	chaos.use = use;
	chaos.stop = 0;
	chaos.slots = n;
	for (i = 0; i < n; i++)
		gk_go(chaos_slot, (void *)(unsigned long)chaos_seed());
	gk_sleep(lib_count(ms) * MS);
	chaos.stop = 1;
	CHECK(WAIT_FOR(!chaos.slots));
}

#endif
