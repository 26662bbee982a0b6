// SPDX-License-Identifier: GPL-2.0-only
/* sync.c - mutex and wait group. */
#include "lib.h"

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
	return 0;
}

TEST_HARNESS_MAIN
