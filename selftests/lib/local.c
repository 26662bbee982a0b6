// SPDX-License-Identifier: GPL-2.0-only
/* local.c - values of a task that its children inherit. */
#include "lib.h"

static atomic_long destroyed;

static void destroys(void *value)
{
	destroyed += (long)value;
}

static gk_local a = { destroys }, b = { NULL };
static gk_chan *go;

static void sees_and_sets(void *arg)
{
	CHECK_EQ(arg, gk_local_get(&a));
	CHECK_EQ(7, (long)gk_local_get(&b));
	/* What a child sets is its own. */
	CHECK_EQ(0, gk_local_set(&b, (void *)8));
	CHECK_EQ(8, (long)gk_local_get(&b));
	CHECK_EQ(arg, gk_local_get(&a));
}

GK_TEST(children_inherit_and_what_they_set_is_theirs, 2)
{
	gk_task *t[16];
	long i;

	CHECK(!gk_local_get(&a));
	CHECK_EQ(-EINVAL, gk_local_set(NULL, &a));
	CHECK_EQ(0, gk_local_set(&a, NULL));
	CHECK_EQ(0, gk_local_set(&b, (void *)7));
	for (i = 0; i < 16; i++) {
		CHECK_EQ(0, gk_local_set(&a, (void *)(i + 1)));
		gk_spawn(&t[i], NULL, sees_and_sets, (void *)(i + 1));
	}
	for (i = 0; i < 16; i++)
		gk_join(t[i]);
	CHECK_EQ(7, (long)gk_local_get(&b));
	CHECK_EQ(16, (long)gk_local_get(&a));
	CHECK_EQ(0, gk_local_set(&a, NULL));
	CHECK(!gk_local_get(&a));
	CHECK_EQ(16 * 17 / 2, destroyed);
	return 0;
}

static void holds(void *arg)
{
	int v;

	gk_chan_recv(go, &v);
	CHECK_EQ(5, (long)gk_local_get(&a));
}

static void starts_one_that_holds(void *arg)
{
	gk_task **t = arg;

	CHECK_EQ(0, gk_local_set(&a, (void *)5));
	gk_spawn(t, NULL, holds, NULL);
}

GK_TEST(a_value_is_destroyed_by_the_last_task_that_has_it, 2)
{
	gk_task *t, *child;
	int v = 0;

	go = gk_chan_new(sizeof(v), 0);
	gk_spawn(&t, NULL, starts_one_that_holds, &child);
	gk_join(t);
	CHECK_EQ(0, destroyed);
	gk_chan_send(go, &v);
	gk_join(child);
	CHECK_EQ(5, destroyed);
	return 0;
}

static void exits_with(void *arg)
{
	CHECK_EQ(0, gk_local_set(&a, arg));
	gk_exit();
}

static void looks_in_timer(void *arg)
{
	CHECK_EQ(3, (long)gk_local_get(&a));
	gk_chan_close(go);
}

static void starts_timer(void *arg)
{
	gk_timer **timer = arg;

	CHECK_EQ(0, gk_local_set(&a, (void *)3));
	*timer = gk_timer_start(MS, looks_in_timer, NULL);
}

GK_TEST(timers_inherit_and_exits_destroy, 2)
{
	gk_timer *timer;
	gk_task *t;

	gk_spawn(&t, NULL, exits_with, (void *)2);
	gk_join(t);
	CHECK_EQ(2, destroyed);
	go = gk_chan_new(0, 0);
	gk_spawn(&t, NULL, starts_timer, &timer);
	gk_join(t);
	CHECK_EQ(0, gk_chan_recv(go, NULL));
	CHECK_EQ(0, gk_timer_stop(timer));
	CHECK(WAIT_FOR(destroyed == 5));
	return 0;
}

/* A tree of tasks, each with values of its own: as many are destroyed as were set. */
static atomic_long set;

static void grows(void *arg)
{
	long depth = (long)arg, i;
	gk_task *t[3];

	for (i = 0; i < 3; i++) {
		CHECK_EQ(0, gk_local_set(i % 2 ? &a : &b, (void *)1));
		set += i % 2;
		if (depth)
			CHECK_EQ(0, gk_spawn(&t[i], NULL, grows, (void *)(depth - 1)));
	}
	for (i = 0; i < 3 && depth; i++)
		gk_join(t[i]);
}

GK_TEST(none_is_lost_or_destroyed_twice, 4)
{
	gk_task *t;

	gk_spawn(&t, NULL, grows, (void *)7);
	gk_join(t);
	CHECK_EQ(set, destroyed);
	return 0;
}

TEST_HARNESS_MAIN
