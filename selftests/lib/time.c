// SPDX-License-Identifier: GPL-2.0-only
/* time.c - sleep and timers. */
#include "lib.h"

static gk_mutex m;
static int order[64], n_order;
static atomic_long n, early, worst;
static atomic_bool late;

static uint64_t slept_from;

static void sleeps(void *arg)
{
	long k = (long)arg;
	uint64_t deadline = slept_from + k * 10 * MS, now;

	gk_sleep_until(deadline);
	now = gk_now();
	CHECK(now >= deadline);
	gk_mutex_lock(&m);
	order[n_order++] = k;
	gk_mutex_unlock(&m);
	/* Only now: it may have been held up at any point on its way here. */
	if (gk_now() > deadline + 5 * MS)
		late = true;
}

/* On one core: on two, those that end together may be run side by side. */
GK_TEST(sleeps_end_in_order_and_not_early, 1)
{
	gk_task *t[20];
	long i;

	slept_from = gk_now();
	for (i = 0; i < 20; i++)
		gk_spawn(&t[i], NULL, sleeps, (void *)((i * 7) % 20 + 1));
	for (i = 0; i < 20; i++)
		gk_join(t[i]);
	/* One that was held up for longer than the distance to the next may be overtaken by it. */
	for (i = 1; i < 20 && !late; i++)
		CHECK(order[i - 1] < order[i]);
	return 0;
}

GK_TEST(a_sleep_of_nothing_or_into_the_past_returns, 1)
{
	uint64_t start = gk_now();
	int i;

	for (i = 0; i < 100; i++) {
		CHECK_EQ(0, gk_sleep(0));
		CHECK_EQ(0, gk_sleep_until(0));
		CHECK_EQ(0, gk_sleep_until(start));
	}
	return 0;
}

static void fires(void *arg)
{
	uint64_t now = gk_now(), when = *(uint64_t *)arg;
	long late = now - when, was;

	if (now < when)
		atomic_fetch_add(&early, 1);
	was = atomic_load(&worst);
	while (late > was && !atomic_compare_exchange_weak(&worst, &was, late))
		;
	atomic_fetch_add(&n, 1);
}

static int ten_thousand(void *arg)
{
	static uint64_t when[10000];
	static gk_timer *t[10000];
	unsigned int seed = 3;
	int i, stopped = 0;
	uint64_t ns;

	n = early = worst = 0;
	for (i = 0; i < 10000; i++) {
		ns = 100 * MS + rand_r(&seed) % 1000 * MS;
		when[i] = gk_now() + ns;
		t[i] = gk_timer_start(ns, fires, &when[i]);
		CHECK(t[i]);
	}
	for (i = 0; i < 10000; i += 3)
		stopped += gk_timer_stop(t[i]);
	CHECK(WAIT_FOR(n >= 10000 - stopped));
	gk_sleep(20 * MS);
	CHECK_EQ(10000 - stopped, n);
	CHECK_EQ(0, early);
	if (worst > 200 * (long)MS)
		fprintf(stderr, "# the latest timer was %ld us late\n", worst / 1000);
	for (i = 0; i < 10000; i++)
		if (i % 3)
			CHECK_EQ(0, gk_timer_stop(t[i]));
	CHECK(lib_stats().timers >= 10000u - stopped);
	CHECK(WAIT_FOR(lib_stats().tasks == 1));
	return 0;
}

TEST(ten_thousand_timers_fire_once_or_are_stopped)
{
	EXPECT_EQ(0, lib_run(1, ten_thousand, NULL));
	EXPECT_EQ(0, lib_run(2, ten_thousand, NULL));
}

static void notes(void *arg)
{
	atomic_fetch_add(&n, 1);
}

GK_TEST(a_timer_stopped_before_does_not_fire_and_after_has, 2)
{
	gk_timer *t;
	int stopped;

	t = gk_timer_start(50 * MS, notes, NULL);
	stopped = gk_timer_stop(t);
	gk_sleep(80 * MS);
	CHECK_EQ(!stopped, n);
	n = 0;
	t = gk_timer_start(0, notes, NULL);
	CHECK(WAIT_FOR(n == 1));
	CHECK_EQ(0, gk_timer_stop(t));
	CHECK_EQ(-EINVAL, gk_timer_stop(NULL));
	CHECK(!gk_timer_start(1, NULL, NULL));
	t = gk_timer_start(UINT64_MAX, notes, NULL);
	CHECK_EQ(1, gk_timer_stop(t));
	return 0;
}

/* The stop races with the firing, on another core. */
static void races(void *arg)
{
	unsigned int seed = (long)arg;
	long i, started = 0;
	gk_timer *t;

	for (i = 0; i < 1000; i++) {
		t = gk_timer_start(rand_r(&seed) % 100000, notes, NULL);
		if (seed & 1)
			gk_yield();
		else
			gk_sleep(rand_r(&seed) % 100000);
		started += !gk_timer_stop(t);
	}
	atomic_fetch_add(&early, started);
}

GK_TEST(a_stop_that_races_with_the_firing_tells_the_truth, 4)
{
	gk_task *t[8];
	long i;

	for (i = 0; i < 8; i++)
		gk_spawn(&t[i], NULL, races, (void *)i);
	for (i = 0; i < 8; i++)
		gk_join(t[i]);
	CHECK(WAIT_FOR(n == early));
	gk_sleep(10 * MS);
	CHECK_EQ(early, n);
	return 0;
}

/*
 * Rule 4: the core's only runner computes, a sleep ends all the same.
 *
 * In time is counted in turns of the hogs, as a host may take the CPU away for any time: the one that runs when the sleep is over is
 * stopped, then each may have its turn before who slept has it. A turn begins with a preemption; those of a hog while a sleep is
 * overdue count.
 */
enum { HOGS = 3, SLEEPS = 20 };

static atomic_ulong due, turns;
static atomic_int stop;

static void hogs(void *arg)
{
	uint64_t now, last = UINT64_MAX;

	while (!stop) {
		if (!due || gk_now() < due)
			continue;
		now = lib_stats().preempts;
		if (now != last)
			atomic_fetch_add(&turns, 1);
		last = now;
	}
}

static void sleeps_often(void *arg)
{
	uint64_t until;
	int i;

	/* In the first ones the core may have no worker to spare yet; one is made beside the hogs, which takes as long as it takes. */
	for (i = -5; i < SLEEPS; i++) {
		if (!i)
			turns = 0;
		until = gk_now() + 5 * MS;
		due = until;
		gk_sleep_until(until);
		due = 0;
	}
}

GK_TEST(a_sleep_ends_beside_hogs, 1)
{
	gk_task *h[HOGS], *t;
	int i;

	for (i = 0; i < HOGS; i++)
		gk_spawn(&h[i], NULL, hogs, NULL);
	gk_spawn(&t, NULL, sleeps_often, NULL);
	gk_join(t);
	stop = 1;
	for (i = 0; i < HOGS; i++)
		gk_join(h[i]);
	fprintf(stderr, "# %lu turns of %d hogs in %d sleeps that were over\n", turns, HOGS, SLEEPS);
	/* One more: who slept may be stopped, too, if its CPU is taken away just then. */
	CHECK(turns <= SLEEPS * (HOGS + 2));
	return 0;
}

/* ... and its only runner is asleep in the kernel, until the sleeps are over. */
static int fds[2];

static void sleeps_and_writes(void *arg)
{
	int i;

	for (i = 0; i < 20; i++)
		gk_sleep(5 * MS);
	CHECK_EQ(1, write(fds[1], "", 1));
}

GK_TEST(a_sleep_ends_while_the_core_is_blocked, 1)
{
	gk_task *t;
	char ch;

	CHECK_EQ(0, pipe(fds));
	gk_spawn(&t, NULL, sleeps_and_writes, NULL);
	gk_yield();
	CHECK_EQ(1, read(fds[0], &ch, 1));
	gk_join(t);
	return 0;
}

TEST_HARNESS_MAIN
