// SPDX-License-Identifier: GPL-2.0-only
/*
 * mix.c - tasks that do everything at random, for GK_SECONDS (3), and books that must balance at the end.
 *
 * GK_SEED repeats the choices, GK_CORES sets the cores, as always. What is conserved: every message sent is received or refused, every
 * mutex section counts once, every task started has ended, every timer fired or was stopped.
 */
#define LIB_TIMEOUT 3600	/* it has an alarm of its own, which knows GK_SECONDS */
#include "lib.h"

enum { CHANS = 4, LOCKS = 3, ROOTS = 24, DEPTH = 3 };

static unsigned int seed0;
static uint64_t end;
static gk_chan *chans[CHANS];
static gk_mutex locks[LOCKS];
static long guarded[LOCKS];
static atomic_long locked[LOCKS], sent[CHANS], received[CHANS], sent_sum[CHANS], received_sum[CHANS];
static atomic_long spawned, joined, timers, fired, stopped, ops;
static gk_wg wg;

struct who {
	unsigned int seed;
	int depth;
};

static void fire(void *arg)
{
	atomic_fetch_add(&fired, 1);
}

static void sends(unsigned int c, unsigned int v, bool wait)
{
	long e[9] = { v };
	int err = wait ? gk_chan_send(chans[c], e) : gk_chan_try_send(chans[c], e);

	if (!err) {
		atomic_fetch_add(&sent[c], 1);
		atomic_fetch_add(&sent_sum[c], v);
	} else {
		CHECK(err == -EPIPE || (!wait && err == -EAGAIN));
	}
}

static void gets(unsigned int c, bool wait)
{
	long e[9] = {};
	int got = wait ? gk_chan_recv(chans[c], e) : gk_chan_try_recv(chans[c], e);

	if (got == 1) {
		atomic_fetch_add(&received[c], 1);
		atomic_fetch_add(&received_sum[c], e[0]);
	} else {
		CHECK(!got || (!wait && got == -EAGAIN));
	}
}

static void mixes(void *arg);

static void spawns(struct who *w, unsigned int r)
{
	struct gk_attr attr = { .name = "leaf", .flags = r & 1, .stack_size = r & 2 ? 65536 : 0 };
	struct who child[4];
	gk_task *t[4];
	int i, n = r % 4 + 1;

	for (i = 0; i < n; i++) {
		child[i] = (struct who){ .seed = w->seed * 7 + i, .depth = w->depth + 1 };
		CHECK_EQ(0, gk_spawn(&t[i], &attr, mixes, &child[i]));
		atomic_fetch_add(&spawned, 1);
	}
	for (i = 0; i < n; i++) {
		CHECK_EQ(0, gk_join(t[i]));
		atomic_fetch_add(&joined, 1);
	}
}

static void one(struct who *w)
{
	unsigned int r = rand_r(&w->seed), op = rand_r(&w->seed) % 100, c = r % CHANS, l = r % LOCKS;
	gk_timer *t;
	long v;

	atomic_fetch_add(&ops, 1);
	if (op < 18) {
		sends(c, r % 1000, op < 6);
	} else if (op < 36) {
		gets(c, op < 24);
	} else if (op < 50) {
		if (op < 40 && gk_mutex_trylock(&locks[l]) < 0)
			return;
		if (op >= 40)
			CHECK_EQ(0, gk_mutex_lock(&locks[l]));
		v = guarded[l];
		if (r % 4 == 0)
			gk_yield();
		if (r % 64 == 1)
			usleep(50);
		guarded[l] = v + 1;
		atomic_fetch_add(&locked[l], 1);
		CHECK_EQ(0, gk_mutex_unlock(&locks[l]));
	} else if (op < 65) {
		gk_yield();
	} else if (op < 72) {
		gk_sleep(r % 1000000);
	} else if (op < 79) {
		usleep(r % 500);
	} else if (op < 86) {
		lib_burn(r % 50000);
	} else if (op < 90) {
		gk_pin();
		gk_yield();
		gk_sleep(r % 100000);
		gk_unpin();
	} else if (op < 91) {
		lib_burn(5 * MS);
	} else if (op < 95) {
		t = gk_timer_start(r % 2000000, fire, NULL);
		CHECK(t);
		if (r & 1)
			gk_sleep(r % 1000000);
		else
			gk_yield();
		atomic_fetch_add(&timers, 1);
		if (t)
			atomic_fetch_add(&stopped, gk_timer_stop(t));
	} else if (w->depth < DEPTH) {
		spawns(w, r);
	}
}

static void mixes(void *arg)
{
	struct who *w = arg;
	int i, n = w->depth ? 20 : INT32_MAX;

	for (i = 0; i < n && gk_now() < end; i++)
		one(w);
	if (!w->depth)
		gk_wg_done(&wg);
}

/* Ends the waits of those who are still in a channel when the time is over. */
static void drains(void *arg)
{
	long c = (long)arg;

	while (gk_now() < end)
		gk_sleep(5 * MS);
	CHECK_EQ(0, gk_chan_close(chans[c]));
	gk_wg_done(&wg);
}

static int mix(void *arg)
{
	static struct who root[ROOTS];
	struct gk_stats s;
	long i, left;
	long e[9];

	end = gk_now() + *(long *)arg * SEC;
	for (i = 0; i < CHANS; i++)
		chans[i] = gk_chan_new(i % 2 ? 8 : sizeof(e), i < 2 ? 0 : 5);
	gk_wg_add(&wg, ROOTS + CHANS);
	for (i = 0; i < CHANS; i++)
		gk_go(drains, (void *)i);
	for (i = 0; i < ROOTS; i++) {
		root[i].seed = seed0 + i;
		CHECK_EQ(0, gk_go(mixes, &root[i]));
	}
	gk_wg_wait(&wg);
	for (i = 0; i < CHANS; i++) {
		left = 0;
		while (gk_chan_recv(chans[i], e) == 1) {
			left++;
			atomic_fetch_add(&received_sum[i], e[0]);
		}
		CHECK_EQ(sent[i], received[i] + left);
		CHECK_EQ(sent_sum[i], received_sum[i]);
		CHECK_EQ(0, gk_chan_free(chans[i]));
	}
	for (i = 0; i < LOCKS; i++)
		CHECK_EQ(locked[i], guarded[i]);
	CHECK_EQ(spawned, joined);
	CHECK(WAIT_FOR(lib_stats().tasks == 1 && timers == fired + stopped));
	CHECK_EQ(timers, fired + stopped);
	s = lib_stats();
	CHECK_EQ(1, s.tasks);
	CHECK_EQ(0, s.inside_blocks);
	fprintf(stderr, "# %s, %d cores: %ld operations, %llu switches, %llu steals, %llu blocks, %llu preempts, %llu inside_waits, peak %llu\n",
		gk_backend(), gk_cores(), ops, (unsigned long long)s.switches, (unsigned long long)s.steals,
		(unsigned long long)s.blocks, (unsigned long long)s.preempts, (unsigned long long)s.inside_waits,
		(unsigned long long)s.workers_peak);
	return 0;
}

static int run_mix(int cores)
{
	long seconds = getenv("GK_SECONDS") ? atol(getenv("GK_SECONDS")) : 3;

	seed0 = getenv("GK_SEED") ? strtoul(getenv("GK_SEED"), NULL, 0) : (unsigned int)time(NULL) * 31 + getpid();
	fprintf(stderr, "# GK_SEED=%u GK_SECONDS=%ld\n", seed0, seconds);
	alarm(seconds * 3 + 60);
	return lib_run(cores, mix, &seconds);
}

TEST(everything_at_random_on_one_core)
{
	EXPECT_EQ(0, run_mix(1));
}

TEST(everything_at_random_on_two_cores)
{
	EXPECT_EQ(0, run_mix(2));
}

TEST(everything_at_random_on_four_cores)
{
	EXPECT_EQ(0, run_mix(4));
}

TEST_HARNESS_MAIN
