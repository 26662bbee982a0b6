// SPDX-License-Identifier: GPL-2.0-only
/* sem.c - counting semaphores. */
#include "chaos.h"

static gk_sem s;
static gk_wg wg;
static atomic_int stop, order;

GK_TEST(misuse_has_defined_errors, 1)
{
	CHECK_EQ(-EINVAL, gk_sem_init(&s, -1));
	CHECK_EQ(-EINVAL, gk_sem_init(&s, INT64_MAX));
	CHECK_EQ(0, gk_sem_init(&s, 2));
	CHECK_EQ(-EINVAL, gk_sem_release(&s, 1));
	CHECK_EQ(-EINVAL, gk_sem_release(&s, INT64_MAX));
	CHECK_EQ(-EINVAL, gk_sem_acquire(&s, -1));
	CHECK_EQ(-EINVAL, gk_sem_release(&s, -1));
	CHECK_EQ(-EINVAL, gk_sem_acquire(&s, 3));
	CHECK_EQ(-EINVAL, gk_sem_try_acquire(&s, 3));
	CHECK_EQ(0, gk_sem_acquire(&s, 0));
	CHECK_EQ(0, gk_sem_acquire(&s, 2));
	CHECK_EQ(0, gk_sem_acquire(&s, 0));
	CHECK_EQ(0, gk_sem_release(&s, 0));
	CHECK_EQ(-EINVAL, gk_sem_release(&s, 3));
	CHECK_EQ(0, gk_sem_release(&s, 2));
	return 0;
}

GK_TEST(try_takes_what_is_there, 1)
{
	gk_sem two = GK_SEM_INIT(2), none = {};

	CHECK_EQ(0, gk_sem_acquire(&two, 1));
	CHECK_EQ(0, gk_sem_try_acquire(&two, 1));
	CHECK_EQ(-EAGAIN, gk_sem_try_acquire(&two, 1));
	CHECK_EQ(-ETIMEDOUT, gk_sem_acquire_until(&two, 1, 0));
	CHECK_EQ(-ETIMEDOUT, gk_sem_acquire_until(&two, 1, gk_now() + MS));
	CHECK_EQ(0, gk_sem_release(&two, 2));
	CHECK_EQ(0, gk_sem_try_acquire(&two, 1));
	CHECK_EQ(0, gk_sem_acquire_until(&two, 1, 0));
	CHECK_EQ(-EAGAIN, gk_sem_try_acquire(&two, 1));

	/* Of size 0: a count that begins with nothing. */
	CHECK_EQ(-EAGAIN, gk_sem_try_acquire(&none, 1));
	CHECK_EQ(0, gk_sem_release(&none, 1000));
	CHECK_EQ(0, gk_sem_try_acquire(&none, 999));
	CHECK_EQ(0, gk_sem_release(&none, INT64_MAX / 2 - 1));
	CHECK_EQ(-EINVAL, gk_sem_release(&none, 1));
	CHECK_EQ(0, gk_sem_acquire(&none, INT64_MAX / 2));
	CHECK_EQ(-EAGAIN, gk_sem_try_acquire(&none, 1));
	return 0;
}

/* One that can never be had does not stand in the way of others. */
GK_TEST(too_much_is_refused_at_once, 2)
{
	CHECK_EQ(0, gk_sem_init(&s, 2));
	CHECK_EQ(0, gk_sem_acquire(&s, 2));
	CHECK_EQ(-EINVAL, gk_sem_acquire(&s, 3));
	CHECK_EQ(0, gk_sem_release(&s, 1));
	CHECK_EQ(0, gk_sem_try_acquire(&s, 1));
	CHECK_EQ(0, gk_sem_release(&s, 2));
	return 0;
}

static void takes_and_gives_one(void *arg)
{
	while (!stop) {
		gk_sleep(100000);
		CHECK_EQ(0, gk_sem_release(&s, 1));
		CHECK_EQ(0, gk_sem_acquire(&s, 1));
	}
	CHECK_EQ(0, gk_sem_release(&s, 1));
	gk_wg_done(&wg);
}

static int large(void *arg)
{
	int i;

	stop = 0;
	CHECK_EQ(0, gk_sem_init(&s, 8));
	gk_wg_add(&wg, 8);
	for (i = 0; i < 8; i++) {
		CHECK_EQ(0, gk_sem_acquire(&s, 1));
		gk_go(takes_and_gives_one, NULL);
	}
	for (i = 0; i < 10; i++) {
		CHECK_EQ(0, gk_sem_acquire_until(&s, 8, gk_now() + PATIENCE));
		CHECK_EQ(0, gk_sem_release(&s, 8));
	}
	stop = 1;
	gk_wg_wait(&wg);
	CHECK_EQ(0, gk_sem_try_acquire(&s, 8));
	return 0;
}

TEST(who_wants_many_is_not_starved)
{
	EXPECT_EQ(0, lib_run(1, large, NULL));
	EXPECT_EQ(0, lib_run(2, large, NULL));
}

static void takes_and_notes(void *arg)
{
	CHECK_EQ(0, gk_sem_acquire(&s, 1 + (long)arg % 3));
	CHECK_EQ((long)arg, order++);
}

GK_TEST_IN_TURN(units_are_given_in_order)
{
	gk_task *t[9];
	long i, given;

	CHECK_EQ(0, gk_sem_init(&s, 0));
	for (i = 0; i < 9; i++) {
		gk_spawn(&t[i], NULL, takes_and_notes, (void *)i);
		CHECK(WAIT_FOR(chaos_listed(&s.waiters.queue) == i + 1));
	}
	for (i = 0; i < 9; i++) {
		for (given = 0; given < 1 + i % 3; given++) {
			CHECK_EQ(i, order);
			CHECK_EQ(0, gk_sem_release(&s, 1));
			CHECK_EQ(-EAGAIN, gk_sem_try_acquire(&s, 1));
		}
		CHECK(WAIT_FOR(order == i + 1));
	}
	for (i = 0; i < 9; i++)
		gk_join(t[i]);
	CHECK_EQ(0, s.word);
	return 0;
}

static void gives_up_many(void *arg)
{
	int err = gk_sem_acquire_until(&s, 10, arg ? GK_FOREVER : gk_now() + 10 * MS);

	CHECK_EQ(arg ? -ECANCELED : -ETIMEDOUT, err);
}

static void takes_one(void *arg)
{
	CHECK_EQ(0, gk_sem_acquire(&s, 1));
	CHECK_EQ(0, gk_sem_release(&s, 1));
}

GK_TEST(one_that_gives_up_lets_those_behind_it_have_what_is_there, 2)
{
	gk_task *t, *u;
	long round;

	for (round = 0; round < 2; round++) {
		CHECK_EQ(0, gk_sem_init(&s, 10));
		CHECK_EQ(0, gk_sem_acquire(&s, 1));
		gk_spawn(&t, NULL, gives_up_many, (void *)round);
		if (round)
			CHECK(WAIT_FOR(chaos_listed(&s.waiters.queue) == 1));
		gk_spawn(&u, NULL, takes_one, NULL);
		if (round) {
			CHECK(WAIT_FOR(chaos_listed(&s.waiters.queue) == 2));
			CHECK_EQ(0, gk_cancel(t));
		}
		CHECK_EQ(0, gk_join(t));
		CHECK_EQ(0, gk_join(u));
		CHECK_EQ(0, gk_sem_release(&s, 1));
		CHECK_EQ(0, gk_sem_try_acquire(&s, 10));
	}
	return 0;
}

static void releases(void *arg)
{
	gk_sem_release(arg, 1);
	gk_wg_done(&wg);
}

/* On the waiter's stack, which is used anew as soon as it has what it wants. */
GK_TEST(whoever_got_the_units_may_free_it, 4)
{
	int i;

	for (i = 0; i < 20000; i++) {
		gk_sem mine = {};

		gk_wg_add(&wg, 2);
		gk_go(releases, &mine);
		gk_go(releases, &mine);
		if (i % 2) {
			gk_sem_acquire(&mine, 2);
		} else {
			gk_sem_acquire(&mine, 1);
			gk_sem_acquire(&mine, 1);
		}
		memset(&mine, 0xff, sizeof(mine));
		__asm__ __volatile__("" :: "r"(&mine) : "memory");
		gk_wg_wait(&wg);
	}
	return 0;
}

#define UNITS 7
static atomic_int held;

static void use(unsigned int *seed)
{
	int n = rand_r(seed) % (UNITS + 1), give, err;
	uint64_t deadline = chaos_deadline(seed);

	err = deadline ? gk_sem_acquire_until(&s, n, deadline) : gk_sem_try_acquire(&s, n);
	if (err == -EAGAIN || !chaos_got(err))
		return;
	CHECK((held += n) <= UNITS);
	chaos_hold(seed);
	while (n) {
		give = 1 + rand_r(seed) % n;
		held -= give;
		CHECK_EQ(0, gk_sem_release(&s, give));
		n -= give;
	}
}

static int chaos_main(void *arg)
{
	CHECK_EQ(0, gk_sem_init(&s, UNITS));
	chaos_run(use, 4, 150);
	chaos_run(use, 40, 150);
	CHECK_EQ(0, held);
	CHECK_EQ(0, gk_sem_try_acquire(&s, UNITS));
	CHECK_EQ(0, s.word);
	return 0;
}

TEST(deadlines_and_cancels_neither_make_nor_lose_units)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, chaos_main, NULL));
}

TEST_HARNESS_MAIN
