// SPDX-License-Identifier: GPL-2.0-only
/* chan.c - channels: the Go specification's, with error codes where Go panics. */
#include "lib.h"

static gk_chan *ch;
static atomic_long arrived, sent, got_n;

/* Lets the others run until @n have come as far as their wait: in turn, as GK_TEST_IN_TURN() has it. */
static void until_they_wait(long n)
{
	while (arrived < n)
		gk_yield();
}

static void sends_one(void *arg)
{
	long v = (long)arg;

	atomic_fetch_add(&arrived, 1);
	CHECK_EQ(0, gk_chan_send(ch, &v));
	atomic_fetch_add(&sent, 1);
}

GK_TEST_IN_TURN(a_send_without_buffer_waits_for_its_receive)
{
	gk_task *t;
	long v = 0;

	ch = gk_chan_new(sizeof(v), 0);
	CHECK_EQ(-EAGAIN, gk_chan_try_send(ch, &v));
	CHECK_EQ(-EAGAIN, gk_chan_try_recv(ch, &v));
	gk_spawn(&t, NULL, sends_one, (void *)77);
	until_they_wait(1);
	CHECK_EQ(0, sent);
	CHECK_EQ(0, gk_chan_len(ch));
	CHECK_EQ(-EBUSY, gk_chan_free(ch));
	CHECK_EQ(1, gk_chan_recv(ch, &v));
	CHECK_EQ(77, v);
	gk_join(t);
	CHECK_EQ(1, sent);
	/* try_recv takes from a waiting sender, and try_send gives to a waiting receiver */
	gk_spawn(&t, NULL, sends_one, (void *)78);
	CHECK(WAIT_FOR(gk_chan_try_recv(ch, &v) == 1));
	CHECK_EQ(78, v);
	gk_join(t);
	CHECK_EQ(0, gk_chan_free(ch));
	return 0;
}

GK_TEST(a_buffer_is_fifo_and_bounded, 1)
{
	long i, v, round;

	for (round = 1; round <= 5; round++) {
		ch = gk_chan_new(sizeof(v), round);
		CHECK_EQ(round, gk_chan_cap(ch));
		for (v = 0; v < round; v++)
			CHECK_EQ(0, gk_chan_send(ch, &v));
		CHECK_EQ(round, gk_chan_len(ch));
		CHECK_EQ(-EAGAIN, gk_chan_try_send(ch, &v));
		for (i = 0; i < 20; i++) {
			CHECK_EQ(1, gk_chan_recv(ch, &v));
			CHECK_EQ(i, v);
			v = i + round;
			CHECK_EQ(0, gk_chan_try_send(ch, &v));
		}
		CHECK_EQ(0, gk_chan_free(ch));
	}
	return 0;
}

GK_TEST_IN_TURN(waiting_senders_are_served_in_order)
{
	long i, v;

	ch = gk_chan_new(sizeof(v), 1);
	v = -1;
	gk_chan_send(ch, &v);
	for (i = 0; i < 20; i++) {
		gk_go(sends_one, (void *)i);
		until_they_wait(i + 1);
	}
	for (i = -1; i < 20; i++) {
		CHECK_EQ(1, gk_chan_recv(ch, &v));
		CHECK_EQ(i, v);
	}
	return 0;
}

static long order[20];

static void receives_one(void *arg)
{
	long v;

	atomic_fetch_add(&arrived, 1);
	CHECK_EQ(1, gk_chan_recv(ch, &v));
	order[(long)arg] = v;
	atomic_fetch_add(&got_n, 1);
}

GK_TEST_IN_TURN(waiting_receivers_are_served_in_order)
{
	long i;

	ch = gk_chan_new(sizeof(i), 0);
	for (i = 0; i < 20; i++) {
		gk_go(receives_one, (void *)i);
		until_they_wait(i + 1);
	}
	for (i = 0; i < 20; i++)
		CHECK_EQ(0, gk_chan_try_send(ch, &i));
	CHECK(WAIT_FOR(got_n == 20));
	for (i = 0; i < 20; i++)
		CHECK_EQ(i, order[i]);
	return 0;
}

static atomic_int epipe, closed_recv;

static void sends_into_close(void *arg)
{
	long v = 1;

	if (gk_chan_send(ch, &v) == -EPIPE)
		atomic_fetch_add(&epipe, 1);
}

static void receives_into_close(void *arg)
{
	long v = 5;

	if (gk_chan_recv(ch, &v) == 0)
		atomic_fetch_add(&closed_recv, 1);
}

GK_TEST(close_drains_then_tells_everybody, 2)
{
	long v;
	int i;

	ch = gk_chan_new(sizeof(v), 3);
	for (v = 0; v < 3; v++)
		gk_chan_send(ch, &v);
	for (i = 0; i < 10; i++)
		gk_go(sends_into_close, NULL);
	gk_sleep(20 * MS);
	CHECK_EQ(0, gk_chan_close(ch));
	CHECK(WAIT_FOR(epipe == 10));
	CHECK_EQ(-EPIPE, gk_chan_close(ch));
	CHECK_EQ(-EPIPE, gk_chan_send(ch, &v));
	CHECK_EQ(-EPIPE, gk_chan_try_send(ch, &v));
	for (i = 0; i < 3; i++) {
		CHECK_EQ(1, gk_chan_recv(ch, &v));
		CHECK_EQ(i, v);
	}
	CHECK_EQ(0, gk_chan_recv(ch, &v));
	CHECK_EQ(0, gk_chan_try_recv(ch, &v));
	CHECK_EQ(0, gk_chan_free(ch));

	ch = gk_chan_new(sizeof(v), 0);
	for (i = 0; i < 10; i++)
		gk_go(receives_into_close, NULL);
	gk_sleep(20 * MS);
	CHECK_EQ(0, gk_chan_close(ch));
	CHECK(WAIT_FOR(closed_recv == 10));
	CHECK_EQ(0, gk_chan_free(ch));
	CHECK_EQ(-EINVAL, gk_chan_close(NULL));
	return 0;
}

static void waits_for_ever(void *arg)
{
	long v = 0;

	if (arg)
		gk_chan_recv(NULL, &v);
	else
		gk_chan_send(NULL, &v);
	CHECK(!"came back from a NULL channel");
}

GK_TEST(a_null_channel_waits_for_ever, 2)
{
	long v = 0;

	CHECK_EQ(-EAGAIN, gk_chan_try_send(NULL, &v));
	CHECK_EQ(-EAGAIN, gk_chan_try_recv(NULL, &v));
	CHECK_EQ(0, gk_chan_len(NULL));
	CHECK_EQ(0, gk_chan_cap(NULL));
	gk_go(waits_for_ever, NULL);
	gk_go(waits_for_ever, &v);
	gk_sleep(50 * MS);
	CHECK_EQ(3, lib_stats().tasks);
	return 0;
}

TEST(sizes_that_overflow_are_null)
{
	EXPECT_EQ(NULL, gk_chan_new(8, SIZE_MAX / 8 + 1));
	EXPECT_EQ(NULL, gk_chan_new(64, SIZE_MAX / 64));
	EXPECT_EQ(NULL, gk_chan_new(SIZE_MAX, SIZE_MAX));
	EXPECT_EQ(NULL, gk_chan_new(8, 1ull << 56));
	EXPECT_EQ(0, gk_chan_free(NULL));
}

static size_t elem_size;

static void fill(unsigned char *p, unsigned int seed)
{
	size_t i;

	for (i = 0; i < elem_size; i++)
		p[i] = seed + i * 7;
}

static void sends_patterns(void *arg)
{
	unsigned char *p = malloc(elem_size + 1);
	int i;

	for (i = 0; i < 1000; i++) {
		fill(p, i);
		CHECK_EQ(0, gk_chan_send(ch, p));
		memset(p, 0xee, elem_size);
	}
	free(p);
	CHECK_EQ(0, gk_chan_close(ch));
}

GK_TEST(elements_of_every_size_arrive_whole, 2)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 24, 64, 65, 4096 };
	unsigned char *want = malloc(4097), *p = malloc(4097);
	size_t cap;
	unsigned int s;
	gk_task *t;
	int i;

	for (s = 0; s < ARRAY_SIZE(sizes); s++)
		for (cap = 0; cap < 20; cap += 7) {
			elem_size = sizes[s];
			ch = gk_chan_new(elem_size, cap);
			gk_spawn(&t, NULL, sends_patterns, NULL);
			for (i = 0; i < 1000; i++) {
				p[elem_size] = 0xaa;
				CHECK_EQ(1, gk_chan_recv(ch, i % 5 ? p : NULL));
				fill(want, i);
				if (i % 5)
					CHECK(!memcmp(want, p, elem_size));
				CHECK_EQ(0xaa, p[elem_size]);
			}
			CHECK_EQ(0, gk_chan_recv(ch, p));
			gk_join(t);
			CHECK_EQ(0, gk_chan_free(ch));
		}
	/* with elements left in it */
	elem_size = 4096;
	ch = gk_chan_new(elem_size, 4);
	for (i = 0; i < 3; i++)
		gk_chan_send(ch, p);
	CHECK_EQ(0, gk_chan_free(ch));
	free(want);
	free(p);
	return 0;
}

enum { PRODUCERS = 8, CONSUMERS = 8, EACH = 3000 };
static atomic_long sum, received;
static gk_wg producers, consumers;

static void produces(void *arg)
{
	unsigned int seed = (long)arg;
	long i, v;

	for (i = 1; i <= EACH; i++) {
		v = i;
		CHECK_EQ(0, gk_chan_send(ch, &v));
		if (rand_r(&seed) % 8 == 0)
			gk_yield();
	}
	gk_wg_done(&producers);
}

static void consumes(void *arg)
{
	unsigned int seed = (long)arg * 31;
	long v, n = 0, s = 0;

	while (gk_chan_recv(ch, &v) == 1) {
		s += v;
		n++;
		if (rand_r(&seed) % 8 == 0)
			gk_yield();
	}
	atomic_fetch_add(&sum, s);
	atomic_fetch_add(&received, n);
	gk_wg_done(&consumers);
}

static int many_to_many(void *arg)
{
	static const int caps[] = { 0, 1, 16 };
	long i, k;

	for (k = 0; k < 3; k++) {
		ch = gk_chan_new(sizeof(long), caps[k]);
		sum = received = 0;
		gk_wg_add(&producers, PRODUCERS);
		gk_wg_add(&consumers, CONSUMERS);
		for (i = 0; i < PRODUCERS; i++)
			gk_go(produces, (void *)i);
		for (i = 0; i < CONSUMERS; i++)
			gk_go(consumes, (void *)i);
		gk_wg_wait(&producers);
		CHECK_EQ(0, gk_chan_close(ch));
		gk_wg_wait(&consumers);
		CHECK_EQ(PRODUCERS * EACH, received);
		CHECK_EQ(PRODUCERS * (EACH * (EACH + 1l) / 2), sum);
		CHECK_EQ(0, gk_chan_free(ch));
	}
	CHECK_EQ(0, lib_stats().inside_blocks);
	return 0;
}

TEST(many_to_many_loses_and_doubles_nothing)
{
	EXPECT_EQ(0, lib_run(1, many_to_many, NULL));
	EXPECT_EQ(0, lib_run(2, many_to_many, NULL));
	EXPECT_EQ(0, lib_run(4, many_to_many, NULL));
}

/* Whoever was the last to need the channel may free it at once. */
static void sends_last(void *arg)
{
	long v = 1;

	gk_chan_send(arg, &v);
}

GK_TEST(freed_by_the_receiver_at_once, 4)
{
	gk_chan *c;
	long i, v;

	for (i = 0; i < 20000; i++) {
		c = gk_chan_new(sizeof(v), i & 1);
		gk_go(sends_last, c);
		CHECK_EQ(1, gk_chan_recv(c, &v));
		if (gk_chan_free(c))
			CHECK(!"a channel nobody waits on is busy");
	}
	return 0;
}

TEST_HARNESS_MAIN
