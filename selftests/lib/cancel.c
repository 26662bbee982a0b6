// SPDX-License-Identifier: GPL-2.0-only
/* cancel.c - deadlines and cancellation of every call that waits. */
#include "lib.h"

static gk_chan *full, *empty;
static gk_mutex held;
static gk_wg wg;
static gk_rwlock read_held, written;
static gk_mutex with_cond;
static gk_cond cond;
static gk_once begun;
static gk_sem sem = GK_SEM_INIT(1);
static gk_task *sleeper, *doer;

static void sleeps_for_long(void *arg)
{
	gk_sleep(3600ull * 1000 * MS);
}

/* What each of them does waits for ever. */
static int join(uint64_t deadline)
{
	return gk_join_until(sleeper, deadline);
}

static int sends(uint64_t deadline)
{
	int v = 1;

	return gk_chan_send_until(full, &v, deadline);
}

static int receives(uint64_t deadline)
{
	int v;

	return gk_chan_recv_until(empty, &v, deadline);
}

static int receives_from_null(uint64_t deadline)
{
	return gk_chan_recv_until(NULL, NULL, deadline);
}

static int locks(uint64_t deadline)
{
	return gk_mutex_lock_until(&held, deadline);
}

static int waits(uint64_t deadline)
{
	return gk_wg_wait_until(&wg, deadline);
}

static int reads(uint64_t deadline)
{
	return gk_rwlock_rdlock_until(&written, deadline);
}

static int writes(uint64_t deadline)
{
	return gk_rwlock_wrlock_until(&read_held, deadline);
}

static int waits_for_a_signal(uint64_t deadline)
{
	int err;

	gk_cancel_mask();
	CHECK_EQ(0, gk_mutex_lock(&with_cond));
	gk_cancel_unmask();
	err = gk_cond_wait_until(&cond, &with_cond, deadline);
	CHECK_EQ(0, gk_mutex_unlock(&with_cond));
	return err;
}

static int waits_for_what_is_begun(uint64_t deadline)
{
	return gk_once_do_until(&begun, sleeps_for_long, NULL, deadline);
}

static int acquires(uint64_t deadline)
{
	return gk_sem_acquire_until(&sem, 1, deadline);
}

static int waits_at_a_barrier(uint64_t deadline)
{
	gk_barrier b = GK_BARRIER_INIT(2);

	return gk_barrier_wait_until(&b, deadline);
}

static void begins(void *arg)
{
	gk_once_do(&begun, sleeps_for_long, NULL);
}

static int (*const calls[])(uint64_t) = {
	join, sends, receives, receives_from_null, locks, waits, reads, writes, waits_for_a_signal,
	waits_for_what_is_begun, acquires, waits_at_a_barrier,
};

#define CALLS ((long)(sizeof(calls) / sizeof(calls[0])))

static void set_up(void)
{
	int v = 1;

	full = gk_chan_new(sizeof(v), 1);
	gk_chan_send(full, &v);
	empty = gk_chan_new(sizeof(v), 1);
	gk_mutex_lock(&held);
	gk_wg_add(&wg, 1);
	gk_spawn(&sleeper, NULL, sleeps_for_long, NULL);
	CHECK_EQ(0, gk_rwlock_rdlock(&read_held));
	CHECK_EQ(0, gk_rwlock_wrlock(&written));
	CHECK_EQ(0, gk_sem_acquire(&sem, 1));
	memset(&begun, 0, sizeof(begun));
	gk_spawn(&doer, NULL, begins, NULL);
	CHECK(WAIT_FOR(__atomic_load_n(&begun.task, __ATOMIC_RELAXED)));
}

/* Nobody is left on a list: all that was waited for still works. */
static void all_work(void)
{
	int v = 0;

	CHECK_EQ(1, gk_chan_recv(full, &v));
	CHECK_EQ(1, v);
	CHECK_EQ(0, gk_chan_send(empty, &v));
	CHECK_EQ(1, gk_chan_recv(empty, &v));
	CHECK_EQ(0, gk_mutex_unlock(&held));
	CHECK_EQ(0, gk_mutex_lock(&held));
	CHECK_EQ(0, gk_mutex_unlock(&held));
	CHECK_EQ(0, gk_wg_done(&wg));
	CHECK_EQ(0, gk_wg_wait(&wg));
	CHECK_EQ(0, gk_rwlock_rdlock(&read_held));
	CHECK_EQ(0, gk_rwlock_rdunlock(&read_held));
	CHECK_EQ(0, gk_rwlock_rdunlock(&read_held));
	CHECK_EQ(0, gk_rwlock_wrlock(&read_held));
	CHECK_EQ(0, gk_rwlock_wrunlock(&read_held));
	CHECK_EQ(0, gk_rwlock_wrunlock(&written));
	CHECK_EQ(0, gk_rwlock_rdlock(&written));
	CHECK_EQ(0, gk_rwlock_rdunlock(&written));
	CHECK_EQ(0, gk_cond_signal(&cond));
	CHECK_EQ(0, gk_sem_release(&sem, 1));
	CHECK_EQ(0, gk_sem_acquire(&sem, 1));
	CHECK_EQ(0, gk_sem_release(&sem, 1));
	CHECK_EQ(0, gk_cancel(doer));
	CHECK_EQ(0, gk_join(doer));
	CHECK_EQ(0, gk_once_do(&begun, sleeps_for_long, NULL));
	CHECK_EQ(0, gk_cancel(sleeper));
	CHECK_EQ(0, gk_join(sleeper));
	CHECK_EQ(0, gk_chan_free(full));
	CHECK_EQ(0, gk_chan_free(empty));
}

static void times_out(void *arg)
{
	uint64_t start;
	long i;

	for (i = 0; i < CALLS; i++) {
		start = gk_now();
		CHECK_EQ(-ETIMEDOUT, calls[i](start + 5 * MS));
		CHECK(gk_now() - start >= 5 * MS);
		CHECK_EQ(-ETIMEDOUT, calls[i](0));
	}
}

GK_TEST(a_deadline_ends_every_wait, 2)
{
	gk_task *t;

	set_up();
	gk_spawn(&t, NULL, times_out, NULL);
	gk_join(t);
	all_work();
	return 0;
}

GK_TEST(what_needs_no_waiting_is_done_past_the_deadline, 2)
{
	int v = 0;

	set_up();
	CHECK_EQ(1, gk_chan_recv_until(full, &v, 0));
	CHECK_EQ(0, gk_chan_send_until(full, &v, 0));
	CHECK_EQ(0, gk_mutex_unlock(&held));
	CHECK_EQ(0, gk_mutex_lock_until(&held, 0));
	CHECK_EQ(0, gk_wg_done(&wg));
	CHECK_EQ(0, gk_wg_wait_until(&wg, 0));
	CHECK_EQ(0, gk_wg_add(&wg, 1));
	all_work();
	return 0;
}

static atomic_long results[16];

static void makes_a_call(void *arg)
{
	results[(long)arg] = calls[(long)arg](GK_FOREVER);
	CHECK_EQ(1, gk_cancelled());
	/* From now on none waits. */
	CHECK_EQ(-ECANCELED, calls[(long)arg](GK_FOREVER));
	CHECK_EQ(-ECANCELED, calls[(long)arg](gk_now() + 1000 * MS));
	CHECK_EQ(-ECANCELED, gk_sleep(1000 * MS));
}

GK_TEST(a_cancelled_task_waits_no_more, 2)
{
	gk_task *t[CALLS];
	long i, late;

	for (late = 0; late < 2; late++) {
		set_up();
		for (i = 0; i < CALLS; i++)
			CHECK_EQ(0, gk_spawn(&t[i], NULL, makes_a_call, (void *)i));
		if (late)
			gk_sleep(5 * MS);
		for (i = 0; i < CALLS; i++)
			CHECK_EQ(0, gk_cancel(t[i]));
		for (i = 0; i < CALLS; i++) {
			CHECK_EQ(0, gk_join(t[i]));
			CHECK_EQ(-ECANCELED, results[i]);
		}
		all_work();
	}
	return 0;
}

static void masks(void *arg)
{
	CHECK_EQ(-EINVAL, gk_cancel_unmask());
	CHECK_EQ(0, gk_cancel_mask());
	CHECK_EQ(0, gk_cancel_mask());
	CHECK_EQ(1, gk_chan_recv(arg, NULL));
	CHECK_EQ(0, gk_sleep(MS));
	CHECK_EQ(0, gk_cancelled());
	CHECK_EQ(0, gk_cancel_unmask());
	CHECK_EQ(0, gk_sleep(MS));
	CHECK_EQ(0, gk_cancel_unmask());
	CHECK_EQ(1, gk_cancelled());
	CHECK_EQ(-ECANCELED, gk_sleep(MS));
}

GK_TEST(a_mask_puts_cancellation_off, 2)
{
	gk_chan *cancelled = gk_chan_new(0, 0);
	gk_task *t;

	gk_spawn(&t, NULL, masks, cancelled);
	gk_sleep(5 * MS);
	CHECK_EQ(0, gk_cancel(t));
	CHECK_EQ(0, gk_chan_send(cancelled, NULL));
	CHECK_EQ(0, gk_join(t));
	CHECK_EQ(0, gk_chan_free(cancelled));
	return 0;
}

static gk_chan *in;
static atomic_long sent, received;

static void sends_until_cancelled(void *arg)
{
	uint64_t v = 1;
	int err;

	while (!(err = gk_chan_send_until(in, &v, gk_now() + rand() % 100 * 1000)) || err == -ETIMEDOUT)
		if (!err)
			sent++;
	CHECK_EQ(-ECANCELED, err);
}

static void receives_until_cancelled(void *arg)
{
	uint64_t v = 0;
	int got;

	while ((got = gk_chan_recv_until(in, &v, gk_now() + rand() % 100 * 1000)) == 1 || got == -ETIMEDOUT)
		if (got == 1)
			received += v;
	CHECK_EQ(-ECANCELED, got);
}

static int races(void *arg)
{
	long i, round, cap = (long)arg;
	gk_task *t[16];

	for (round = 0; round < 20; round++) {
		in = gk_chan_new(8, cap);
		sent = received = 0;
		for (i = 0; i < 16; i++)
			gk_spawn(&t[i], NULL, i % 2 ? sends_until_cancelled : receives_until_cancelled, NULL);
		gk_sleep(5 * MS);
		for (i = 0; i < 16; i++)
			CHECK_EQ(0, gk_cancel(t[i]));
		for (i = 0; i < 16; i++)
			CHECK_EQ(0, gk_join(t[i]));
		/* No element is lost with a send that says it failed, or a receive that says it got none. */
		CHECK_EQ(sent, received + (long)gk_chan_len(in));
		CHECK_EQ(0, gk_chan_free(in));
	}
	return 0;
}

TEST(deadlines_and_cancels_race_with_messages_and_lose_none)
{
	int cores;
	long cap;

	for (cores = 1; cores <= 3; cores++)
		for (cap = 0; cap < 3; cap++)
			EXPECT_EQ(0, lib_run(cores, races, (void *)cap));
}

TEST_HARNESS_MAIN
