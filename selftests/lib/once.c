// SPDX-License-Identifier: GPL-2.0-only
/* once.c - something that is done once. */
#include "chaos.h"

static gk_once once = GK_ONCE_INIT;
static gk_wg wg;
static atomic_int times, finished;

static void slowly(void *arg)
{
	times++;
	gk_sleep(2 * MS);
	finished = 1;
}

static void never(void *arg)
{
	CHECK(false);
}

static void does_it(void *arg)
{
	CHECK_EQ(0, gk_once_do(&once, slowly, NULL));
	CHECK_EQ(1, finished);
	gk_wg_done(&wg);
}

static int all(void *arg)
{
	int i;

	times = finished = 0;
	memset(&once, 0, sizeof(once));
	gk_wg_add(&wg, 50);
	for (i = 0; i < 50; i++)
		gk_go(does_it, NULL);
	gk_wg_wait(&wg);
	CHECK_EQ(1, times);
	CHECK_EQ(0, gk_once_do(&once, never, NULL));
	CHECK_EQ(0, gk_once_do_until(&once, never, NULL, 0));
	return 0;
}

TEST(one_does_it_and_the_others_wait_for_that)
{
	EXPECT_EQ(0, lib_run(1, all, NULL));
	EXPECT_EQ(0, lib_run(2, all, NULL));
	EXPECT_EQ(0, lib_run(4, all, NULL));
}

static void does_it_again(void *arg)
{
	CHECK_EQ(-EDEADLK, gk_once_do(&once, never, NULL));
	CHECK_EQ(-EDEADLK, gk_once_do_until(&once, never, NULL, 0));
	times++;
}

GK_TEST(within_itself_it_is_edeadlk, 1)
{
	CHECK_EQ(0, gk_once_do(&once, does_it_again, NULL));
	CHECK_EQ(1, times);
	CHECK_EQ(0, gk_once_do(&once, never, NULL));
	return 0;
}

static gk_chan *go_on;

static void until_told(void *arg)
{
	times++;
	gk_chan_recv(go_on, NULL);
	finished = 1;
}

static void does_it_until_told(void *arg)
{
	CHECK_EQ(0, gk_once_do(&once, until_told, NULL));
}

static void is_cancelled(void *arg)
{
	CHECK_EQ(-ECANCELED, gk_once_do(&once, never, NULL));
}

GK_TEST(those_who_wait_may_give_up, 2)
{
	gk_task *t, *u;

	go_on = gk_chan_new(0, 0);
	gk_spawn(&t, NULL, does_it_until_told, NULL);
	CHECK(WAIT_FOR(times));
	CHECK_EQ(-ETIMEDOUT, gk_once_do_until(&once, never, NULL, 0));
	CHECK_EQ(-ETIMEDOUT, gk_once_do_until(&once, never, NULL, gk_now() + MS));
	gk_spawn(&u, NULL, is_cancelled, NULL);
	gk_cancel(u);
	gk_join(u);
	CHECK_EQ(0, finished);
	gk_chan_send(go_on, NULL);
	CHECK_EQ(0, gk_once_do(&once, never, NULL));
	CHECK_EQ(1, finished);
	gk_join(t);
	return 0;
}

#define ONCES 64
static gk_once many[ONCES];
static atomic_int done[ONCES];

static void counts(void *arg)
{
	unsigned int seed = (long)arg;

	chaos_hold(&seed);
	done[(long)arg]++;
}

static void use(unsigned int *seed)
{
	long i = rand_r(seed) % ONCES;

	if (chaos_got(gk_once_do_until(&many[i], counts, (void *)i, chaos_deadline(seed))))
		CHECK_EQ(1, done[i]);
	if (rand_r(seed) % 8 == 0)
		gk_yield();
}

static int chaos_main(void *arg)
{
	int i, round;

	for (round = 0; round < 20; round++) {
		memset(many, 0, sizeof(many));
		memset(done, 0, sizeof(done));
		chaos_run(use, 20, 5);
		for (i = 0; i < ONCES; i++) {
			CHECK(done[i] <= 1);
			CHECK_EQ(0, gk_once_do(&many[i], counts, (void *)(long)i));
			CHECK_EQ(1, done[i]);
		}
	}
	return 0;
}

TEST(deadlines_and_cancels_do_not_make_it_twice_or_never)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, chaos_main, NULL));
}

TEST_HARNESS_MAIN
