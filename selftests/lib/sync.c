// SPDX-License-Identifier: GPL-2.0-only
/* sync.c - mutex and wait group. */
#include "chaos.h"

static gk_mutex m;
static gk_wg wg;
static long plain;

static void counts(void *arg)
{
	unsigned int seed = (long)arg;
	long i, v;

	for (i = 0; i < 5000; i++) {
		CHECK_EQ(0, gk_mutex_lock(&m));
		v = plain;
		if (rand_r(&seed) % 64 == 0)
			gk_yield();
		plain = v + 1;
		CHECK_EQ(0, gk_mutex_unlock(&m));
	}
	gk_wg_done(&wg);
}

static int exclusion(void *arg)
{
	long i;

	plain = 0;
	gk_wg_add(&wg, 10);
	for (i = 0; i < 10; i++)
		gk_go(counts, (void *)i);
	gk_wg_wait(&wg);
	CHECK_EQ(50000, plain);
	CHECK_EQ(0, gk_mutex_trylock(&m));
	CHECK_EQ(0, gk_mutex_unlock(&m));
	return 0;
}

TEST(one_holder_at_a_time)
{
	EXPECT_EQ(0, lib_run(1, exclusion, NULL));
	EXPECT_EQ(0, lib_run(2, exclusion, NULL));
	EXPECT_EQ(0, lib_run(4, exclusion, NULL));
}

static void is_not_the_holder(void *arg)
{
	CHECK_EQ(-EPERM, gk_mutex_unlock(&m));
	CHECK_EQ(-EBUSY, gk_mutex_trylock(&m));
}

GK_TEST(misuse_has_defined_errors, 2)
{
	gk_task *t;

	CHECK_EQ(-EPERM, gk_mutex_unlock(&m));
	CHECK_EQ(0, gk_mutex_lock(&m));
	CHECK_EQ(-EDEADLK, gk_mutex_lock(&m));
	CHECK_EQ(-EBUSY, gk_mutex_trylock(&m));
	gk_spawn(&t, NULL, is_not_the_holder, NULL);
	gk_join(t);
	CHECK_EQ(0, gk_mutex_unlock(&m));
	CHECK_EQ(-EPERM, gk_mutex_unlock(&m));
	CHECK_EQ(-EINVAL, gk_wg_add(&wg, -1));
	CHECK_EQ(-EINVAL, gk_wg_done(&wg));
	CHECK_EQ(0, gk_wg_wait(&wg));
	CHECK_EQ(0, gk_wg_add(&wg, INT64_MAX / 2));
	CHECK_EQ(-EINVAL, gk_wg_add(&wg, 1));
	CHECK_EQ(0, gk_wg_add(&wg, -(INT64_MAX / 2)));
	CHECK_EQ(-EINVAL, gk_wg_add(&wg, INT64_MIN));
	CHECK_EQ(-EINVAL, gk_wg_add(&wg, INT64_MAX));
	CHECK_EQ(0, gk_wg_wait(&wg));
	return 0;
}

/* The mutex is held over a sleep, its waiters wait, and the one who waited long gets it although the holder wants it again. */
static atomic_int stop, turns;

static void holds_nearly_always(void *arg)
{
	while (!stop) {
		gk_mutex_lock(&m);
		gk_sleep(2 * MS);
		gk_mutex_unlock(&m);
	}
}

static void wants_it_too(void *arg)
{
	int i;

	for (i = 0; i < 10; i++) {
		gk_mutex_lock(&m);
		atomic_fetch_add(&turns, 1);
		gk_mutex_unlock(&m);
	}
}

static int handoff(void *arg)
{
	gk_task *t, *u;

	stop = turns = 0;
	gk_spawn(&t, NULL, holds_nearly_always, NULL);
	gk_spawn(&u, NULL, wants_it_too, NULL);
	CHECK(WAIT_FOR(turns == 10));
	stop = 1;
	gk_join(t);
	gk_join(u);
	return 0;
}

TEST(a_waiter_is_not_starved)
{
	EXPECT_EQ(0, lib_run(1, handoff, NULL));
	EXPECT_EQ(0, lib_run(2, handoff, NULL));
}

/* Those who wait get it in the order in which they came, once the first has waited for 1 ms. */
static atomic_int order;

static void waits_for_its_turn(void *arg)
{
	CHECK_EQ(0, gk_mutex_lock(&m));
	CHECK_EQ((long)arg, order++);
	CHECK_EQ(0, gk_mutex_unlock(&m));
}

GK_TEST_IN_TURN(a_mutex_is_handed_over_in_the_order_of_waiting)
{
	gk_task *t[10];
	long i;

	order = 0;
	gk_mutex_lock(&m);
	for (i = 0; i < 10; i++) {
		gk_spawn(&t[i], NULL, waits_for_its_turn, (void *)i);
		CHECK(WAIT_FOR(chaos_listed(&m.waiters.queue) == i + 1));
	}
	gk_sleep(2 * MS);
	gk_mutex_unlock(&m);
	/* It was handed over: not to be had, although its new owner may not have run. */
	CHECK_EQ(-EBUSY, order ? -EBUSY : gk_mutex_trylock(&m));
	for (i = 0; i < 10; i++)
		gk_join(t[i]);
	CHECK(!m.owner);
	return 0;
}


/* The waiter is woken, finds it locked again, and is woken again: none of it takes another one off the list. */
static void locks_by_deadline(void *arg)
{
	int err = gk_mutex_lock_until(&m, *(uint64_t *)arg);

	CHECK(!err || err == -ETIMEDOUT);
	if (!err)
		CHECK_EQ(0, gk_mutex_unlock(&m));
}

static int woken_at_the_deadline(void *arg)
{
	unsigned int seed = chaos_seed();
	uint64_t deadline;
	gk_task *t, *u;
	int i;

	for (i = 0; i < 500; i++) {
		uint64_t never = GK_FOREVER;

		gk_mutex_lock(&m);
		deadline = gk_now() + 50000 + rand_r(&seed) % 20000;
		gk_spawn(&t, NULL, locks_by_deadline, &deadline);
		gk_spawn(&u, NULL, locks_by_deadline, &never);
		gk_yield();
		while (gk_now() + 1000 < deadline)
			gk_yield();
		/* Woken, but too late, as it is taken again at once. */
		gk_mutex_unlock(&m);
		if (!gk_mutex_trylock(&m)) {
			while (gk_now() < deadline)
				gk_yield();
			gk_mutex_unlock(&m);
		}
		gk_join(t);
		gk_join(u);
		CHECK(!m.owner);
	}
	return 0;
}

TEST(a_wakeup_is_not_lost_on_a_waiter_whose_deadline_passes)
{
	int cores;

	for (cores = 1; cores <= 3; cores++)
		EXPECT_EQ(0, lib_run(cores, woken_at_the_deadline, NULL));
}

static atomic_int holders;

static void use_mutex(unsigned int *seed)
{
	uint64_t deadline = chaos_deadline(seed);
	int err = deadline ? gk_mutex_lock_until(&m, deadline) : gk_mutex_trylock(&m);

	if (err == -EBUSY || !chaos_got(err))
		return;
	CHECK_EQ(1, ++holders);
	chaos_hold(seed);
	holders--;
	CHECK_EQ(0, gk_mutex_unlock(&m));
}

static int mutex_chaos(void *arg)
{
	chaos_run(use_mutex, 4, 150);
	chaos_run(use_mutex, 40, 150);
	CHECK(!m.owner);
	CHECK_EQ(0, chaos_listed(&m.waiters.queue));
	return 0;
}

TEST(deadlines_and_cancels_neither_break_exclusion_nor_lose_a_wakeup)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, mutex_chaos, NULL));
}

static atomic_int passed;

static void waits_for_the_group(void *arg)
{
	gk_wg_wait(&wg);
	atomic_fetch_add(&passed, 1);
}

static void is_done(void *arg)
{
	gk_wg_done(arg);
}

GK_TEST(a_wait_group_wakes_all_its_waiters, 2)
{
	int i, round;

	for (round = 0; round < 200; round++) {
		passed = 0;
		gk_wg_add(&wg, 5);
		for (i = 0; i < 20; i++)
			gk_go(waits_for_the_group, NULL);
		if (round % 2)
			gk_yield();
		for (i = 0; i < 5; i++) {
			CHECK_EQ(0, i < 4 || round ? 0 : passed);
			gk_go(is_done, &wg);
		}
		gk_wg_wait(&wg);
		CHECK(WAIT_FOR(passed == 20));
	}
	return 0;
}

/* Those of the second group wait for each other; none comes back before the last is done. */
static gk_wg one, two;

static void is_done_with_one(void *arg)
{
	gk_wg_done(&one);
	CHECK_EQ(0, gk_wg_wait(&two));
	passed++;
}

GK_TEST(nobody_comes_back_before_the_count_is_0, 4)
{
	int i, round;

	for (round = 0; round < 8; round++) {
		passed = 0;
		gk_wg_add(&one, 16);
		gk_wg_add(&two, 16);
		for (i = 0; i < 16; i++)
			gk_go(is_done_with_one, NULL);
		CHECK_EQ(0, gk_wg_wait(&one));
		for (i = 0; i < 16; i++) {
			CHECK_EQ(0, passed);
			CHECK_EQ(0, gk_wg_done(&two));
		}
		CHECK(WAIT_FOR(passed == 16));
		CHECK_EQ(0, one.word);
		CHECK_EQ(0, two.word);
	}
	return 0;
}

static void waits_and_may_be_late(void *arg)
{
	int err = gk_wg_wait(&wg);

	CHECK(!err || err == -EBUSY);
	*(int *)arg = err;
	gk_wg_done(&one);
}

/* It is added to before the waiter has run. */
GK_TEST_IN_TURN(to_use_a_group_again_before_all_have_come_back_is_ebusy)
{
	int i, err, late = 0;

	for (i = 0; i < 20; i++) {
		gk_wg_add(&one, 1);
		gk_wg_add(&wg, 1);
		gk_go(waits_and_may_be_late, &err);
		CHECK(WAIT_FOR(chaos_listed(&wg.waiters.queue) == 1));
		gk_wg_done(&wg);
		gk_wg_add(&wg, 1);
		gk_wg_wait(&one);
		late += err == -EBUSY;
		gk_wg_done(&wg);
		CHECK_EQ(0, gk_wg_wait(&wg));
	}
	CHECK(late);
	return 0;
}

static void use_wg(unsigned int *seed)
{
	int err = gk_wg_wait_until(&wg, chaos_deadline(seed));

	CHECK(!err || err == -ETIMEDOUT || err == -ECANCELED || err == -EBUSY);
	if (rand_r(seed) % 4 == 0) {
		CHECK_EQ(0, gk_wg_add(&wg, 3));
		chaos_hold(seed);
		CHECK_EQ(0, gk_wg_add(&wg, -2));
		CHECK_EQ(0, gk_wg_done(&wg));
	}
}

static int wg_chaos(void *arg)
{
	chaos_run(use_wg, 4, 100);
	chaos_run(use_wg, 40, 100);
	CHECK_EQ(0, wg.word);
	CHECK_EQ(0, chaos_listed(&wg.waiters.queue));
	return 0;
}

TEST(deadlines_and_cancels_leave_the_count_right)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, wg_chaos, NULL));
}

/* On the stack of the waiter, which is gone as soon as the wait is over. */
GK_TEST(a_wait_group_may_go_away_after_the_wait, 4)
{
	int i;

	for (i = 0; i < 20000; i++) {
		gk_wg mine = {};

		gk_wg_add(&mine, 2);
		gk_go(is_done, &mine);
		gk_go(is_done, &mine);
		gk_wg_wait(&mine);
		memset(&mine, 0xff, sizeof(mine));
		__asm__ __volatile__("" :: "r"(&mine) : "memory");
	}
	return 0;
}

/* Rule 6: a cold page under a mutex, a wait group, a handle or an element must not block the worker inside. */
GK_TEST(cold_user_memory_is_not_touched_inside, 1)
{
	char path[] = "/var/tmp/gk-sync-XXXXXX", *p;
	int i, fd = mkstemp(path);
	gk_task **handle;
	gk_chan *c;

	if (fd < 0) {
		strcpy(path, "/tmp/gk-sync-XXXXXX");
		fd = mkstemp(path);
	}
	CHECK_EQ(0, ftruncate(fd, 64 * 4096));
	unlink(path);
	p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	c = gk_chan_new(200, 4);
	for (i = 0; i < 8; i++) {
		gk_wg *w = (void *)(p + (i * 8 + 0) * 4096);
		gk_mutex *x = (void *)(p + (i * 8 + 1) * 4096);

		handle = (void *)(p + (i * 8 + 2) * 4096);
		gk_wg_add(w, 1);
		gk_go(is_done, w);
		gk_wg_wait((void *)(p + (i * 8 + 3) * 4096));
		gk_wg_wait(w);
		gk_mutex_lock(x);
		gk_mutex_unlock(x);
		gk_spawn(handle, NULL, waits_for_the_group, NULL);
		gk_join(*handle);
		gk_chan_send(c, p + (i * 8 + 4) * 4096);
		gk_chan_recv(c, p + (i * 8 + 5) * 4096);
	}
	CHECK_EQ(0, lib_stats().inside_blocks);
	CHECK_EQ(0, gk_chan_free(c));
	return 0;
}

TEST_HARNESS_MAIN
