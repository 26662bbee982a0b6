// SPDX-License-Identifier: GPL-2.0-only
/* time.c - sleep, timers and tickers. */
#include "lib.h"

#include <sys/resource.h>

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
	CHECK(WAIT_FOR(n == !stopped));
	n = 0;
	t = gk_timer_start(0, notes, NULL);
	CHECK(WAIT_FOR(n == 1));
	CHECK_EQ(0, gk_timer_stop(t));
	CHECK_EQ(-EINVAL, gk_timer_stop(NULL));
	CHECK(!gk_timer_start(1, NULL, NULL));
	t = gk_timer_start(GK_FOREVER - 1, notes, NULL);
	CHECK_EQ(0, gk_timer_stop(t));
	t = gk_timer_start(GK_FOREVER, notes, NULL);
	CHECK_EQ(0, gk_timer_reset(t, 3600 * SEC));
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

/* ---- many -------------------------------------------------------------------------------------------------------- */

static long resident(void)
{
	long size, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2)
		CHECK(false);
	fclose(f);
	return pages * 4096;
}

#define MILLION 1000000

GK_TEST(a_million_timers_are_pending_at_the_price_of_their_structs, 2)
{
	gk_timer **t = malloc(MILLION * sizeof(*t));
	unsigned int seed = time(NULL);
	long before, bytes;
	int i, stopped = 0;

	fprintf(stderr, "# seed %u\n", seed);
	memset(t, 0, MILLION * sizeof(*t));
	before = resident();
	/* Every thousandth fires meanwhile, first of all others. */
	for (i = 0; i < MILLION; i++) {
		t[i] = gk_timer_start(i % 1000 ? 3600 * SEC + rand_r(&seed) : rand_r(&seed) % 1000000, notes, NULL);
		CHECK(t[i]);
	}
	bytes = (resident() - before) / MILLION;
	CHECK(bytes <= 128);
	CHECK(WAIT_FOR(n == MILLION / 1000));
	/* From the middle, and from the ends. */
	for (i = 0; i < MILLION; i++)
		stopped += gk_timer_stop(t[(i * 7919ll) % MILLION]);
	CHECK_EQ(MILLION - MILLION / 1000, stopped);
	CHECK_EQ(MILLION / 1000, n);
	free(t);
	return 0;
}

#define BURST 10000

static long thread_switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_nvcsw + u.ru_nivcsw;
}

/*
 * All are due at once: who yields gets turns in between, after a bounded number each time. That is, as long as its
 * thread is not kept from running: a yield during which the kernel switched from thread to thread says nothing.
 */
GK_TEST(a_burst_of_timers_does_not_hold_the_core, 1)
{
	static gk_timer *t[BURST];
	uint64_t when = gk_now() + 200 * MS, fired, was, most = 0;
	long i, switches;

	for (i = 0; i < BURST; i++)
		t[i] = gk_timer_start(when > gk_now() ? when - gk_now() : 0, notes, NULL);
	lib_burn(when > gk_now() ? when - gk_now() : 0);
	/* Nothing that takes long: it is to be the timers that use the core up, not this. */
	was = n;
	while (was < BURST) {
		switches = thread_switches();
		gk_yield();
		fired = n;
		if (fired - was > most && thread_switches() == switches)
			most = fired - was;
		was = fired;
	}
	CHECK(most < BURST / 20);
	for (i = 0; i < BURST; i++)
		CHECK_EQ(0, gk_timer_stop(t[i]));
	return 0;
}

/* Each of their tasks keeps its stack, so there are never enough: not one is lost. */
static gk_chan *gate;

static void notes_and_stays(void *arg)
{
	atomic_fetch_add(&n, 1);
	gk_chan_recv(gate, NULL);
}

static int stay(void *arg)
{
	static gk_timer *t[2000];
	long i;

	n = 0;
	gate = gk_chan_new(0, 0);
	for (i = 0; i < 2000; i++)
		t[i] = gk_timer_start(MS, notes_and_stays, NULL);
	CHECK(WAIT_FOR(n == 2000));
	gk_chan_close(gate);
	for (i = 0; i < 2000; i++)
		CHECK_EQ(0, gk_timer_stop(t[i]));
	CHECK(WAIT_FOR(lib_stats().tasks == 1));
	gk_chan_free(gate);
	return 0;
}

TEST(timers_whose_tasks_all_stay_fire)
{
	EXPECT_EQ(0, lib_run(1, stay, NULL));
	EXPECT_EQ(0, lib_run(2, stay, NULL));
}

static long address_space(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%ld", &pages) != 1)
		CHECK(false);
	fclose(f);
	return pages * 4096;
}

GK_TEST(without_memory_for_stacks_timers_wait_and_none_is_lost, 2)
{
	static gk_timer *t[1000];
	struct rlimit unlimited, limit;
	long i, some;

	gate = gk_chan_new(0, 0);
	/* All that will be needed but stacks. */
	CHECK_EQ(0, gk_sleep(20 * MS));
	getrlimit(RLIMIT_AS, &unlimited);
	for (i = 0; i < 1000; i++)
		t[i] = gk_timer_start(20 * MS, notes_and_stays, NULL);
	limit = unlimited;
	limit.rlim_cur = address_space();
	CHECK_EQ(0, setrlimit(RLIMIT_AS, &limit));
	gk_sleep(100 * MS);
	some = n;
	CHECK(some < 1000);
	/* Who sleeps is not kept by those that are due before. */
	CHECK_EQ(0, gk_sleep(MS));
	for (i = 900; i < 1000; i++)
		some = gk_timer_stop(t[i]);
	CHECK_EQ(1, some);
	setrlimit(RLIMIT_AS, &unlimited);
	CHECK(WAIT_FOR(n == 900));
	gk_sleep(5 * MS);
	CHECK_EQ(900, n);
	gk_chan_close(gate);
	return 0;
}

/* ---- reset ------------------------------------------------------------------------------------------------------- */

GK_TEST(a_timer_is_reset_before_and_after_it_fired, 2)
{
	gk_timer *t = gk_timer_start(3600 * SEC, notes, NULL);

	CHECK_EQ(-EINVAL, gk_timer_reset(NULL, 1));
	CHECK_EQ(1, gk_timer_reset(t, MS));
	CHECK(WAIT_FOR(n == 1));
	CHECK_EQ(0, gk_timer_reset(t, MS));
	CHECK(WAIT_FOR(n == 2));
	CHECK_EQ(0, gk_timer_reset(t, 3600 * SEC));
	CHECK_EQ(1, gk_timer_reset(t, GK_FOREVER));
	CHECK_EQ(0, gk_timer_reset(t, 3600 * SEC));
	CHECK_EQ(1, gk_timer_stop(t));
	CHECK_EQ(2, n);
	return 0;
}

static gk_timer *shared;
static atomic_long fired_before;

static void resets(void *arg)
{
	unsigned int seed = (long)arg;
	int i;

	for (i = 0; i < 2000; i++) {
		fired_before += !gk_timer_reset(shared, rand_r(&seed) % 20000);
		if (seed & 4)
			gk_yield();
		else if (seed & 8)
			gk_sleep(rand_r(&seed) % 20000);
	}
}

/* A reset that says that it has fired is one firing more; each of the others took one back. */
static int resets_race(void *arg)
{
	gk_task *t[4];
	long i;

	n = fired_before = 0;
	shared = gk_timer_start(1000, notes, NULL);
	for (i = 0; i < 4; i++)
		gk_spawn(&t[i], NULL, resets, (void *)(time(NULL) + i));
	for (i = 0; i < 4; i++)
		gk_join(t[i]);
	fired_before += !gk_timer_stop(shared);
	CHECK(WAIT_FOR(n == fired_before));
	gk_sleep(MS);
	CHECK_EQ(fired_before, n);
	return 0;
}

TEST(resets_that_race_tell_the_truth)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, resets_race, NULL));
}

/* ---- channels that get the time ---------------------------------------------------------------------------------- */

GK_TEST(after_gives_one_element_and_no_sooner, 2)
{
	uint64_t start = gk_now(), v = 0;
	gk_chan *c = gk_after(20 * MS);

	/* Unless it took so long to come here. */
	if (gk_chan_try_recv(c, &v) != 1)
		CHECK_EQ(1, gk_chan_recv(c, &v));
	CHECK(v >= start + 20 * MS);
	CHECK(v <= gk_now());
	CHECK_EQ(-ETIMEDOUT, gk_chan_recv_until(c, &v, gk_now() + 5 * MS));
	/* One that waits in it is not to be seen. */
	CHECK_EQ(0, gk_tick_reset(c, 1));
	gk_sleep(5 * MS);
	CHECK_EQ(0, gk_chan_len(c));
	CHECK_EQ(0, gk_chan_cap(c));
	CHECK_EQ(1, gk_chan_try_recv(c, &v));
	CHECK_EQ(0, gk_tick_stop(c));
	/* Never, and then soon. */
	CHECK_EQ(0, gk_tick_reset(c, GK_FOREVER));
	CHECK_EQ(-ETIMEDOUT, gk_chan_recv_until(c, &v, gk_now() + 5 * MS));
	CHECK_EQ(0, gk_tick_reset(c, MS));
	CHECK_EQ(1, gk_chan_recv(c, &v));
	CHECK_EQ(0, gk_chan_free(c));
	/* Given back before and after it is due. */
	c = gk_after(3600 * SEC);
	CHECK_EQ(-EAGAIN, gk_chan_try_recv(c, &v));
	CHECK_EQ(0, gk_chan_free(c));
	c = gk_after(1);
	gk_sleep(MS);
	CHECK_EQ(0, gk_chan_free(c));
	/* None of these. */
	c = gk_chan_new(8, 1);
	CHECK_EQ(-EINVAL, gk_tick_stop(c));
	CHECK_EQ(-EINVAL, gk_tick_reset(c, 1));
	CHECK_EQ(-EINVAL, gk_tick_stop(NULL));
	gk_chan_free(c);
	CHECK(!gk_ticker(0));
	return 0;
}

GK_TEST(a_ticker_keeps_its_grid_and_drops_what_nobody_takes, 2)
{
	uint64_t first, v, last;
	gk_chan *c = gk_ticker(2 * MS);
	int i;

	CHECK_EQ(1, gk_chan_recv(c, &first));
	last = first;
	for (i = 0; i < 20; i++) {
		if (i % 5 == 4)
			gk_sleep(7 * MS);
		CHECK_EQ(1, gk_chan_recv(c, &v));
		CHECK(v > last);
		CHECK(v <= gk_now());
		CHECK_EQ(0, (v - first) % (2 * MS));
		last = v;
	}
	/* However long nobody looks: one. */
	gk_sleep(20 * MS);
	CHECK_EQ(1, gk_tick_stop(c));
	CHECK_EQ(-ETIMEDOUT, gk_chan_recv_until(c, &v, gk_now() + 10 * MS));
	CHECK_EQ(-EINVAL, gk_tick_reset(c, 0));
	CHECK_EQ(0, gk_tick_reset(c, MS));
	CHECK_EQ(1, gk_chan_recv(c, &v));
	CHECK_EQ(1, gk_chan_recv(c, &last));
	CHECK_EQ(0, (last - v) % MS);
	CHECK_EQ(0, gk_chan_free(c));
	return 0;
}

/* Stops and resets at every moment of a firing, beside others: nothing of before comes. */
static void stops_and_resets(void *arg)
{
	unsigned int seed = (long)arg;
	uint64_t v, since, ns;
	gk_chan *c;
	int i;

	for (i = 0; i < 300; i++) {
		ns = 1 + rand_r(&seed) % 50000;
		c = rand_r(&seed) % 2 ? gk_after(ns) : gk_ticker(ns);
		switch (rand_r(&seed) % 4) {
		case 0:
			gk_sleep(rand_r(&seed) % 100000);
			break;
		case 1:
			lib_burn(rand_r(&seed) % 100000);
			break;
		case 2:
			gk_chan_recv_until(c, &v, gk_now() + rand_r(&seed) % 100000);
			break;
		}
		if (rand_r(&seed) % 2) {
			CHECK(gk_tick_stop(c) >= 0);
			CHECK_EQ(-EAGAIN, gk_chan_try_recv(c, &v));
			if (rand_r(&seed) % 4 == 0)
				CHECK_EQ(-ETIMEDOUT, gk_chan_recv_until(c, &v, gk_now() + 100000));
			CHECK_EQ(0, gk_tick_stop(c));
		}
		if (rand_r(&seed) % 2) {
			since = gk_now();
			ns = 1 + rand_r(&seed) % 50000;
			CHECK(gk_tick_reset(c, ns) >= 0);
			CHECK_EQ(1, gk_chan_recv(c, &v));
			CHECK(v >= since + ns);
		}
		CHECK_EQ(0, gk_chan_free(c));
	}
}

static int stale(void *arg)
{
	unsigned int seed = time(NULL);
	gk_task *t[6];
	int i;

	fprintf(stderr, "# seed %u\n", seed);
	for (i = 0; i < 6; i++)
		gk_spawn(&t[i], NULL, stops_and_resets, (void *)(long)(seed + i));
	for (i = 0; i < 6; i++)
		gk_join(t[i]);
	return 0;
}

TEST(no_stale_tick_comes_after_a_stop_or_a_reset)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, stale, NULL));
}

/*
 * One core arms it and fires it, another stops it at that moment: also where it has left the heap, and is not in the
 * channel yet.
 */
static gk_chan *aimed;
static atomic_ullong aim;

static void arms(void *arg)
{
	uint64_t now = gk_now(), end = now + 3 * SEC;
	int i;

	/* Where the two share a CPU each turn takes the kernel milliseconds. */
	for (i = 0; i < 10000 && now < end; i++) {
		now = gk_now();
		CHECK_EQ(0, gk_tick_reset(aimed, 3000));
		aim = now + 3000;
		while (aim)
			gk_yield();
	}
	aim = 1;
}

static void stops_at_that_moment(void *arg)
{
	unsigned int seed = (long)arg;
	uint64_t when, v;
	int k;

	for (;;) {
		while (!(when = aim))
			gk_yield();
		if (when == 1)
			return;
		when += rand_r(&seed) % 4000;
		while (gk_now() < when)
			;
		CHECK(gk_tick_stop(aimed) >= 0);
		for (k = 0; k < 20; k++)
			CHECK_EQ(-EAGAIN, gk_chan_try_recv(aimed, &v));
		aim = 0;
	}
}

GK_TEST(no_tick_comes_after_a_stop_amid_the_firing, 2)
{
	gk_task *t[2];

	aimed = gk_after(3600 * SEC);
	CHECK_EQ(1, gk_tick_stop(aimed));
	gk_spawn(&t[0], NULL, arms, NULL);
	gk_spawn(&t[1], NULL, stops_at_that_moment, (void *)(long)time(NULL));
	gk_join(t[0]);
	gk_join(t[1]);
	CHECK_EQ(0, gk_chan_free(aimed));
	return 0;
}

/* Many receive from one ticker while it is reset: what one gets, no other gets. */
static gk_chan *ticker;
static atomic_bool over;
static atomic_ullong newest;

static void receives(void *arg)
{
	uint64_t v, last = 0;

	while (!over) {
		if (gk_chan_recv_until(ticker, &v, gk_now() + MS) != 1)
			continue;
		CHECK(v > last);
		last = v;
		if (atomic_exchange(&newest, v) == v)
			atomic_fetch_add(&early, 1);
	}
}

GK_TEST(each_tick_is_received_once, 4)
{
	unsigned int seed = time(NULL);
	gk_task *t[4];
	int i;

	ticker = gk_ticker(20000);
	for (i = 0; i < 4; i++)
		gk_spawn(&t[i], NULL, receives, NULL);
	for (i = 0; i < 500; i++) {
		gk_sleep(rand_r(&seed) % 200000);
		CHECK(gk_tick_reset(ticker, 1000 + rand_r(&seed) % 40000) >= 0);
	}
	over = true;
	for (i = 0; i < 4; i++)
		gk_join(t[i]);
	CHECK_EQ(0, early);
	CHECK_EQ(0, gk_chan_free(ticker));
	return 0;
}

TEST_HARNESS_MAIN
