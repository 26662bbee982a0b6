// SPDX-License-Identifier: GPL-2.0-only
/* cond.c - conditions. */
#include "chaos.h"

static gk_mutex m = GK_MUTEX_INIT;
static gk_cond c = GK_COND_INIT;
static gk_wg wg;
static gk_chan *running, *awake;

static void nobody_waits(void)
{
	CHECK(!c.waiters.queue.first);
	CHECK_EQ(0, gk_mutex_trylock(&m));
	CHECK_EQ(0, gk_mutex_unlock(&m));
}

GK_TEST(misuse_has_defined_errors, 1)
{
	CHECK_EQ(-EPERM, gk_cond_wait(&c, &m));
	CHECK_EQ(-EPERM, gk_cond_wait_until(&c, &m, 0));
	CHECK_EQ(0, gk_cond_signal(&c));
	CHECK_EQ(0, gk_cond_broadcast(&c));
	nobody_waits();
	return 0;
}

static void waits_once(void *arg)
{
	int i = (long)arg;

	gk_mutex_lock(&m);
	gk_chan_send(running, &i);
	CHECK_EQ(0, gk_cond_wait(&c, &m));
	gk_chan_send(awake, &i);
	gk_mutex_unlock(&m);
}

static int one_each(void *arg)
{
	int i, v;

	running = gk_chan_new(sizeof(int), 10);
	awake = gk_chan_new(sizeof(int), 10);
	for (i = 0; i < 10; i++)
		gk_go(waits_once, (void *)(long)i);
	for (i = 0; i < 10; i++)
		CHECK_EQ(1, gk_chan_recv(running, &v));
	for (i = 0; i < 10; i++) {
		CHECK_EQ(-EAGAIN, gk_chan_try_recv(awake, &v));
		gk_mutex_lock(&m);
		if (i % 2)
			gk_cond_signal(&c);
		gk_mutex_unlock(&m);
		if (!(i % 2))
			gk_cond_signal(&c);
		CHECK_EQ(1, gk_chan_recv(awake, &v));
		gk_yield();
		CHECK_EQ(-EAGAIN, gk_chan_try_recv(awake, &v));
	}
	gk_cond_signal(&c);
	gk_chan_free(running);
	gk_mutex_lock(&m);
	gk_mutex_unlock(&m);
	gk_chan_free(awake);
	nobody_waits();
	return 0;
}

TEST(a_signal_wakes_one)
{
	EXPECT_EQ(0, lib_run(1, one_each, NULL));
	EXPECT_EQ(0, lib_run(2, one_each, NULL));
	EXPECT_EQ(0, lib_run(4, one_each, NULL));
}

/* Each signal comes before the next one waits, and may run after it does. */
GK_TEST(a_signal_is_for_those_who_wait_when_it_comes, 4)
{
	int i, v = -1;

	running = gk_chan_new(sizeof(int), 100);
	awake = gk_chan_new(sizeof(int), 100);
	for (i = 0; i < 100; i++) {
		gk_go(waits_once, (void *)(long)i);
		if (i) {
			CHECK_EQ(1, gk_chan_recv(awake, &v));
			CHECK_EQ(i - 1, v);
		}
		CHECK_EQ(1, gk_chan_recv(running, &v));
		gk_mutex_lock(&m);
		gk_cond_signal(&c);
		gk_mutex_unlock(&m);
	}
	CHECK_EQ(1, gk_chan_recv(awake, &v));
	CHECK_EQ(99, v);
	return 0;
}

GK_TEST_IN_TURN(waiters_are_woken_in_their_order)
{
	int i, v, how;

	running = gk_chan_new(sizeof(int), 20);
	awake = gk_chan_new(sizeof(int), 20);
	for (how = 0; how < 2; how++) {
		for (i = 0; i < 20; i++) {
			gk_go(waits_once, (void *)(long)i);
			CHECK_EQ(1, gk_chan_recv(running, &v));
			CHECK_EQ(i, v);
			gk_mutex_lock(&m);
			gk_mutex_unlock(&m);
		}
		if (how)
			gk_cond_broadcast(&c);
		for (i = 0; i < 20; i++) {
			if (!how)
				gk_cond_signal(&c);
			CHECK_EQ(1, gk_chan_recv(awake, &v));
			CHECK_EQ(i, v);
		}
	}
	nobody_waits();
	return 0;
}

#define CROWD 50
static bool leave;

static void waits_until_told_to_leave(void *arg)
{
	int i = (long)arg;

	gk_mutex_lock(&m);
	while (!leave) {
		gk_chan_send(running, &i);
		CHECK_EQ(0, gk_cond_wait(&c, &m));
		gk_chan_send(awake, &i);
	}
	gk_mutex_unlock(&m);
	gk_wg_done(&wg);
}

static int everybody(void *arg)
{
	bool seen[CROWD];
	int i, round, v;

	leave = false;
	running = gk_chan_new(sizeof(int), CROWD);
	awake = gk_chan_new(sizeof(int), CROWD);
	gk_wg_add(&wg, CROWD);
	for (i = 0; i < CROWD; i++)
		gk_go(waits_until_told_to_leave, (void *)(long)i);
	for (round = 0; round < CROWD; round++) {
		for (i = 0; i < CROWD; i++)
			gk_chan_recv(running, &v);
		CHECK_EQ(-EAGAIN, gk_chan_try_recv(awake, &v));
		gk_mutex_lock(&m);
		leave = round == CROWD - 1;
		gk_cond_broadcast(&c);
		gk_mutex_unlock(&m);
		memset(seen, 0, sizeof(seen));
		for (i = 0; i < CROWD; i++) {
			gk_chan_recv(awake, &v);
			CHECK(!seen[v]);
			seen[v] = true;
		}
	}
	gk_wg_wait(&wg);
	CHECK_EQ(-EAGAIN, gk_chan_try_recv(running, &v));
	nobody_waits();
	return 0;
}

TEST(a_broadcast_wakes_each_one_once)
{
	EXPECT_EQ(0, lib_run(1, everybody, NULL));
	EXPECT_EQ(0, lib_run(2, everybody, NULL));
	EXPECT_EQ(0, lib_run(4, everybody, NULL));
}

/* A new waiter must not take the wake-up of the one that waited already. */
static void first(void *arg)
{
	int v = 0;

	gk_mutex_lock(&m);
	gk_chan_send(running, &v);
	CHECK_EQ(0, gk_cond_wait(&c, &m));
	gk_mutex_unlock(&m);
	gk_chan_send(awake, &v);
}

static void broadcasts(void *arg)
{
	gk_cond_broadcast(&c);
	gk_wg_done(&wg);
}

static void second(void *arg)
{
	gk_mutex_lock(&m);
	while (!leave)
		gk_cond_wait(&c, &m);
	gk_mutex_unlock(&m);
	gk_wg_done(&wg);
}

GK_TEST(a_later_waiter_does_not_steal_the_wakeup, 4)
{
	int i, v;

	running = gk_chan_new(sizeof(int), 0);
	awake = gk_chan_new(sizeof(int), 0);
	for (i = 0; i < 1000; i++) {
		leave = false;
		gk_go(first, NULL);
		gk_chan_recv(running, &v);
		gk_mutex_lock(&m);
		gk_mutex_unlock(&m);
		gk_wg_add(&wg, 2);
		gk_go(broadcasts, NULL);
		gk_go(second, NULL);
		CHECK_EQ(1, gk_chan_recv_until(awake, &v, gk_now() + PATIENCE));
		gk_mutex_lock(&m);
		leave = true;
		gk_mutex_unlock(&m);
		gk_cond_broadcast(&c);
		gk_wg_wait(&wg);
	}
	return 0;
}

static atomic_int state;

static void holds_on(void *arg)
{
	gk_mutex_lock(&m);
	state = 1;
	gk_sleep(20 * MS);
	state = 2;
	gk_mutex_unlock(&m);
}

static void is_cancelled_while_it_waits(void *arg)
{
	gk_mutex_lock(&m);
	state = -1;
	CHECK_EQ(-ECANCELED, gk_cond_wait(&c, &m));
	/* Another one had it at the time. */
	CHECK_EQ(2, state);
	CHECK_EQ(0, gk_mutex_unlock(&m));
	gk_mutex_lock(&m);
	CHECK_EQ(-ECANCELED, gk_cond_wait(&c, &m));
	CHECK_EQ(-ECANCELED, gk_cond_wait_until(&c, &m, gk_now() + SEC));
	CHECK_EQ(0, gk_cond_signal(&c));
	CHECK_EQ(0, gk_mutex_unlock(&m));
}

static int relocked(void *arg)
{
	gk_task *t, *u;

	state = 0;
	gk_mutex_lock(&m);
	CHECK_EQ(-ETIMEDOUT, gk_cond_wait_until(&c, &m, 0));
	CHECK_EQ(-ETIMEDOUT, gk_cond_wait_until(&c, &m, gk_now() + MS));
	gk_spawn(&t, NULL, holds_on, NULL);
	do {
		CHECK_EQ(-ETIMEDOUT, gk_cond_wait_until(&c, &m, gk_now() + 5 * MS));
		CHECK(state != 1);
	} while (state != 2);
	CHECK_EQ(0, gk_mutex_unlock(&m));
	gk_join(t);

	state = 0;
	gk_spawn(&u, NULL, is_cancelled_while_it_waits, NULL);
	CHECK(WAIT_FOR(state == -1));
	gk_spawn(&t, NULL, holds_on, NULL);
	CHECK(WAIT_FOR(state >= 1));
	gk_cancel(u);
	gk_join(u);
	gk_join(t);
	nobody_waits();
	return 0;
}

TEST(the_mutex_is_held_again_whatever_ended_the_wait)
{
	EXPECT_EQ(0, lib_run(1, relocked, NULL));
	EXPECT_EQ(0, lib_run(2, relocked, NULL));
}

/*
 * As many waits return 0 as there were signals, while others give up: SURE waiters have no deadline and are enough for
 * all signals.
 */
#define SURE 8
static atomic_int woken;

static void waits_for_sure(void *arg)
{
	gk_mutex_lock(&m);
	state++;
	CHECK_EQ(0, gk_cond_wait(&c, &m));
	gk_mutex_unlock(&m);
	woken++;
}

static void may_give_up(void *arg)
{
	int err;

	gk_mutex_lock(&m);
	state++;
	err = gk_cond_wait_until(&c, &m, *(uint64_t *)arg);
	gk_mutex_unlock(&m);
	if (!err)
		woken++;
	else
		CHECK(err == -ETIMEDOUT || err == -ECANCELED);
}

static int exactly(void *arg)
{
	unsigned int seed = chaos_seed();
	gk_task *t[2 * SURE];
	uint64_t deadline;
	int round, i;

	for (round = 0; round < 200; round++) {
		woken = state = 0;
		deadline = gk_now() + 200000 + rand_r(&seed) % 300000;
		for (i = 0; i < 2 * SURE; i++)
			gk_spawn(&t[i], NULL, i % 2 ? waits_for_sure : may_give_up, &deadline);
		CHECK(WAIT_FOR(state == 2 * SURE));
		while (gk_now() < deadline - 20000)
			gk_yield();
		for (i = 0; i < SURE; i++) {
			gk_mutex_lock(&m);
			gk_cond_signal(&c);
			gk_mutex_unlock(&m);
			if (round % 2)
				gk_cancel(t[2 * (rand_r(&seed) % SURE)]);
		}
		CHECK(WAIT_FOR(woken == SURE));
		/* Nobody got one that was not sent. */
		gk_yield();
		CHECK_EQ(SURE, woken);
		gk_cond_broadcast(&c);
		for (i = 0; i < 2 * SURE; i++)
			gk_join(t[i]);
		nobody_waits();
	}
	return 0;
}

TEST(no_signal_is_lost_on_a_waiter_that_gives_up)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, exactly, NULL));
}

/* Producers and consumers; what was put in and not taken out is there in the end. */
static long tokens, put, taken;
static gk_cond room;

static void use(unsigned int *seed)
{
	bool puts = rand_r(seed) % 2;
	int err = gk_mutex_lock_until(&m, chaos_deadline(seed));

	if (!chaos_got(err))
		return;
	while (!err && (puts ? tokens == 4 : !tokens))
		err = gk_cond_wait_until(puts ? &room : &c, &m, chaos_deadline(seed));
	if (chaos_got(err)) {
		CHECK(puts ? tokens < 4 : tokens > 0);
		if (puts) {
			tokens++;
			put++;
		} else {
			tokens--;
			taken++;
		}
		chaos_hold(seed);
		CHECK_EQ(0, gk_cond_signal(puts ? &c : &room));
	}
	CHECK_EQ(0, gk_mutex_unlock(&m));
}

static int chaos_main(void *arg)
{
	chaos_run(use, 4, 150);
	chaos_run(use, 40, 150);
	CHECK_EQ(put, taken + tokens);
	CHECK(!room.waiters.queue.first);
	nobody_waits();
	return 0;
}

TEST(producers_and_consumers_with_deadlines_and_cancels)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, chaos_main, NULL));
}

TEST_HARNESS_MAIN
