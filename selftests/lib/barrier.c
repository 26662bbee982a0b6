// SPDX-License-Identifier: GPL-2.0-only
/* barrier.c - barriers. */
#include "chaos.h"

#define PARTIES 10
#define ROUNDS 200

static gk_barrier b = GK_BARRIER_INIT(PARTIES);
static atomic_int came[ROUNDS], last[ROUNDS], broken;
static gk_wg wg;

GK_TEST(misuse_has_defined_errors, 1)
{
	gk_barrier none = {}, one = GK_BARRIER_INIT(1);

	CHECK_EQ(-EINVAL, gk_barrier_wait(&none));
	CHECK_EQ(-EINVAL, gk_barrier_init(&none, 0));
	CHECK_EQ(1, gk_barrier_wait(&one));
	CHECK_EQ(1, gk_barrier_wait_until(&one, 0));
	return 0;
}

static void comes_each_round(void *arg)
{
	int i, ret;

	for (i = 0; i < ROUNDS; i++) {
		came[i]++;
		if ((i + (long)arg) % 7 == 0)
			gk_yield();
		ret = gk_barrier_wait(&b);
		CHECK(ret == 0 || ret == 1);
		last[i] += ret;
		CHECK_EQ(PARTIES, came[i]);
	}
	gk_wg_done(&wg);
}

static int rounds(void *arg)
{
	long i;

	memset(came, 0, sizeof(came));
	memset(last, 0, sizeof(last));
	gk_wg_add(&wg, PARTIES);
	for (i = 0; i < PARTIES; i++)
		gk_go(comes_each_round, (void *)i);
	gk_wg_wait(&wg);
	for (i = 0; i < ROUNDS; i++)
		CHECK_EQ(1, last[i]);
	return 0;
}

TEST(nobody_goes_on_before_all_have_come_and_one_was_the_last)
{
	EXPECT_EQ(0, lib_run(1, rounds, NULL));
	EXPECT_EQ(0, lib_run(2, rounds, NULL));
	EXPECT_EQ(0, lib_run(4, rounds, NULL));
}

static void finds_it_broken(void *arg)
{
	CHECK_EQ(-EPIPE, gk_barrier_wait(&b));
	CHECK_EQ(-EPIPE, gk_barrier_wait(&b));
	broken++;
}

static void is_cancelled(void *arg)
{
	CHECK_EQ(-ECANCELED, gk_barrier_wait(&b));
}

GK_TEST(one_that_gives_up_breaks_it_until_it_is_reset, 2)
{
	gk_task *t, *u[4];
	int i, how;

	for (how = 0; how < 3; how++) {
		broken = 0;
		for (i = 0; i < 4; i++)
			gk_spawn(&u[i], NULL, finds_it_broken, NULL);
		CHECK(WAIT_FOR(chaos_listed(&b.waiters.queue) == 4));
		if (how) {
			CHECK_EQ(-ETIMEDOUT, gk_barrier_wait_until(&b, how == 1 ? 0 : gk_now() + MS));
		} else {
			gk_spawn(&t, NULL, is_cancelled, NULL);
			CHECK(WAIT_FOR(chaos_listed(&b.waiters.queue) == 5));
			gk_cancel(t);
			gk_join(t);
		}
		for (i = 0; i < 4; i++)
			gk_join(u[i]);
		CHECK_EQ(4, broken);
		CHECK_EQ(0, gk_barrier_reset(&b));
		rounds(NULL);
	}
	return 0;
}

static void is_reset(void *arg)
{
	CHECK_EQ(-EPIPE, gk_barrier_wait(&b));
}

GK_TEST(a_reset_sends_those_away_who_wait, 2)
{
	gk_task *t;

	gk_spawn(&t, NULL, is_reset, NULL);
	CHECK(WAIT_FOR(chaos_listed(&b.waiters.queue) == 1));
	CHECK_EQ(0, gk_barrier_reset(&b));
	gk_join(t);
	rounds(NULL);
	return 0;
}

/* Either all of a round get through, or it is broken by one and all the others know. */
static atomic_int results[4], seeds;

static void may_give_up(void *arg)
{
	unsigned int seed = seeds++;
	int ret = gk_barrier_wait_until(&b, *(uint64_t *)arg + rand_r(&seed) % 2000);

	results[ret >= 0 ? ret : (ret == -EPIPE ? 2 : 3)]++;
	CHECK(ret >= 0 || ret == -EPIPE || ret == -ETIMEDOUT || ret == -ECANCELED);
}

static int chaos_main(void *arg)
{
	unsigned int seed = chaos_seed();
	gk_task *t[PARTIES];
	uint64_t deadline;
	int round, i;

	seeds = seed;
	for (round = 0; round < 300; round++) {
		memset(results, 0, sizeof(results));
		deadline = gk_now() + 20000 + rand_r(&seed) % 200000;
		for (i = 0; i < PARTIES; i++) {
			gk_spawn(&t[i], NULL, may_give_up, &deadline);
			if (rand_r(&seed) % 4 == 0)
				gk_sleep(rand_r(&seed) % 40000);
			if (rand_r(&seed) % 32 == 0)
				gk_cancel(t[rand_r(&seed) % (i + 1)]);
		}
		for (i = 0; i < PARTIES; i++)
			gk_join(t[i]);
		if (results[1]) {
			CHECK_EQ(1, results[1]);
			CHECK_EQ(PARTIES - 1, results[0]);
			CHECK_EQ(0, b.broken);
		} else {
			CHECK_EQ(1, results[3]);
			CHECK_EQ(PARTIES - 1, results[2]);
			CHECK_EQ(1, b.broken);
		}
		CHECK_EQ(0, chaos_listed(&b.waiters.queue));
		CHECK_EQ(0, b.arrived);
		gk_barrier_reset(&b);
	}
	return 0;
}

TEST(a_round_comes_about_for_all_or_for_none)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, chaos_main, NULL));
}

TEST_HARNESS_MAIN
