// SPDX-License-Identifier: GPL-2.0-only
/* chan.c - channels: the Go specification's, with error codes where Go panics. */
#include <sys/mman.h>

#include "lib.h"

static gk_chan *ch;
static atomic_long sent, got_n;

static void sends_one(void *arg)
{
	long v = (long)arg;

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
	lib_settled();
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
		lib_settled();
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
		lib_settled();
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

static void tries_one(void *arg)
{
	long v;

	CHECK_EQ(1, gk_chan_try_recv(arg, &v));
	gk_wg_done(&consumers);
}

/* A try may fail only if there is a moment of the call at which it could not be done. */
static int never_misses(void *arg)
{
	gk_chan *c;
	long i, v;

	for (i = 0; i < 5000; i++) {
		c = gk_chan_new(sizeof(v), 2);
		v = 1;
		gk_chan_send(c, &v);
		gk_wg_add(&consumers, 1);
		gk_go(tries_one, c);
		if (i % 2)
			gk_chan_close(c);
		else
			gk_chan_send(c, &v);
		gk_wg_wait(&consumers);
		CHECK_EQ(!(i % 2), gk_chan_try_recv(c, &v));
		CHECK_EQ(i % 2 ? 0 : -EAGAIN, gk_chan_try_recv(c, &v));
		CHECK_EQ(0, gk_chan_free(c));
	}
	return 0;
}

static atomic_int queued, taking;

static void queues_up(void *arg)
{
	long v = 1;

	atomic_fetch_add(&queued, 1);
	CHECK_EQ(0, gk_chan_send(ch, &v));
}

static void takes_half(void *arg)
{
	long i, v;

	for (i = 0; i < 500; i++) {
		CHECK_EQ(1, gk_chan_try_recv(ch, &v));
		if (i % 16 == 0)
			gk_yield();
	}
	taking = 0;
}

/* A buffer with senders behind it is not seen to be shorter, though each receive takes one out and puts one in. */
static int never_looks_empty(void *arg)
{
	long i, v = 0;
	gk_task *t;

	ch = gk_chan_new(sizeof(v), 1);
	gk_chan_send(ch, &v);
	queued = 0;
	taking = 1;
	for (i = 0; i < 1000; i++)
		gk_go(queues_up, NULL);
	CHECK(WAIT_FOR(queued == 1000));
	gk_spawn(&t, NULL, takes_half, NULL);
	while (taking) {
		for (i = 0; i < 1000; i++)
			CHECK_EQ(1, gk_chan_len(ch));
		gk_yield();
	}
	gk_join(t);
	for (i = 0; i < 501; i++)
		CHECK_EQ(1, gk_chan_recv(ch, &v));
	CHECK_EQ(-EAGAIN, gk_chan_try_recv(ch, &v));
	CHECK_EQ(0, gk_chan_free(ch));
	return 0;
}

TEST(a_try_never_misses_what_is_there)
{
	int cores;

	for (cores = 1; cores <= 4; cores++) {
		EXPECT_EQ(0, lib_run(cores, never_misses, NULL));
		EXPECT_EQ(0, lib_run(cores, never_looks_empty, NULL));
	}
}

/* The sender that waits has moved up when the receive returns. */
GK_TEST_IN_TURN(the_length_is_a_snapshot)
{
	long cap, v = 0;
	gk_task *t;

	for (cap = 1; cap < 4; cap++) {
		ch = gk_chan_new(sizeof(v), cap);
		CHECK_EQ(0, gk_chan_len(ch));
		while (gk_chan_try_send(ch, &v) == 0)
			;
		CHECK_EQ(cap, gk_chan_len(ch));
		gk_spawn(&t, NULL, sends_one, NULL);
		lib_settled();
		CHECK_EQ(1, gk_chan_recv(ch, &v));
		CHECK_EQ(cap, gk_chan_len(ch));
		gk_join(t);
		CHECK_EQ(0, gk_chan_free(ch));
	}
	return 0;
}

static void receives_closed(void *arg)
{
	int i;

	for (i = 0; i < 5000; i++) {
		CHECK_EQ(0, gk_chan_recv(arg, NULL));
		CHECK_EQ(0, gk_chan_try_recv(arg, NULL));
		CHECK_EQ(0, gk_chan_recv_until(arg, NULL, 0));
		CHECK_EQ(0, gk_chan_recv_many(arg, NULL, 3));
	}
}

GK_TEST(a_closed_channel_is_told_without_its_lock, 4)
{
	gk_task *t[4];
	int i;

	ch = gk_chan_new(8, 3);
	gk_chan_close(ch);
	for (i = 0; i < 4; i++)
		gk_spawn(&t[i], NULL, receives_closed, ch);
	for (i = 0; i < 4; i++)
		gk_join(t[i]);
	CHECK_EQ(0, gk_chan_free(ch));
	return 0;
}

static void holds_a_share(void *arg)
{
	long v;

	while (gk_chan_recv(arg, &v) == 1)
		atomic_fetch_add(&received, v);
	CHECK_EQ(0, gk_chan_free(arg));
}

GK_TEST(a_channel_lives_as_long_as_its_shares, 4)
{
	gk_task *t[3];
	gk_chan *c;
	long i, v;

	CHECK(!gk_chan_ref(NULL));
	for (i = 0; i < 500; i++) {
		received = 0;
		c = gk_chan_new(sizeof(v), i % 3);
		for (v = 0; v < 3; v++) {
			CHECK(gk_chan_ref(c) == c);
			gk_spawn(&t[v], NULL, holds_a_share, c);
		}
		for (v = 1; v <= 5; v++)
			gk_chan_send(c, &v);
		gk_chan_close(c);
		CHECK_EQ(0, gk_chan_free(c));
		for (v = 0; v < 3; v++)
			gk_join(t[v]);
		CHECK_EQ(15, received);
	}
	return 0;
}

GK_TEST_IN_TURN(the_last_share_is_not_taken_from_who_waits)
{
	gk_task *t[1];
	long v;

	ch = gk_chan_new(sizeof(v), 0);
	gk_chan_ref(ch);
	gk_spawn(&t[0], NULL, sends_one, (void *)5);
	lib_settled();
	CHECK_EQ(0, gk_chan_free(ch));
	CHECK_EQ(-EBUSY, gk_chan_free(ch));
	CHECK_EQ(1, gk_chan_recv(ch, &v));
	CHECK_EQ(5, v);
	gk_join(t[0]);
	CHECK_EQ(0, gk_chan_free(ch));
	return 0;
}

static void sends_many(void *arg)
{
	long i;

	for (i = 0; i < 1000; i++)
		if (gk_chan_send(ch, &i))
			break;
	gk_chan_close(ch);
}

GK_TEST_IN_TURN(many_are_received_at_once_in_order)
{
	long cap, n, i, want, v[400], most;
	gk_task *t;

	for (cap = 0; cap <= 500; cap += 250) {
		ch = gk_chan_new(sizeof(long), cap);
		CHECK_EQ(-EAGAIN, gk_chan_try_recv_many(ch, v, 400));
		CHECK_EQ(-ETIMEDOUT, gk_chan_recv_many_until(ch, v, 400, gk_now() + MS));
		CHECK_EQ(-EINVAL, gk_chan_recv_many(ch, v, 0));
		gk_spawn(&t, NULL, sends_many, NULL);
		most = 0;
		for (want = 0; (n = gk_chan_recv_many(ch, v, 400)) > 0;) {
			CHECK(n <= 400);
			most = n > most ? n : most;
			for (i = 0; i < n; i++, want++)
				CHECK_EQ(want, v[i]);
			gk_yield();
		}
		CHECK_EQ(0, n);
		CHECK_EQ(1000, want);
		CHECK(!cap || most >= 250);
		gk_join(t);
		CHECK_EQ(0, gk_chan_free(ch));
	}
	/* From senders that wait behind a full buffer, too. */
	ch = gk_chan_new(sizeof(long), 2);
	for (i = 0; i < 6; i++) {
		gk_go(sends_one, (void *)i);
		lib_settled();
	}
	CHECK_EQ(5, gk_chan_recv_many(ch, v, 5));
	for (i = 0; i < 5; i++)
		CHECK_EQ(i, v[i]);
	CHECK_EQ(1, gk_chan_len(ch));
	CHECK_EQ(1, gk_chan_try_recv_many(ch, NULL, 5));
	CHECK(WAIT_FOR(sent == 6));
	CHECK_EQ(0, gk_chan_free(ch));
	/* Of no size, and of more than 64 bytes. */
	ch = gk_chan_new(0, 5000);
	for (i = 0; i < 5000; i++)
		gk_chan_send(ch, NULL);
	CHECK_EQ(5000, gk_chan_recv_many(ch, NULL, INT32_MAX));
	CHECK_EQ(0, gk_chan_free(ch));
	ch = gk_chan_new(sizeof(v) / 4, 4);
	for (i = 0; i < 4; i++) {
		v[0] = i;
		gk_chan_send(ch, v);
	}
	CHECK_EQ(4, gk_chan_recv_many(ch, v, 9));
	for (i = 0; i < 4; i++)
		CHECK_EQ(i, v[i * 100]);
	CHECK_EQ(0, gk_chan_free(ch));
	return 0;
}

static gk_chan *results;

static void passes_on(void *arg)
{
	long v;

	while (gk_chan_recv(ch, &v) == 1) {
		if (v == (long)arg)
			gk_yield();
		CHECK_EQ(0, gk_chan_send(results, &v));
	}
	gk_wg_done(&consumers);
}

static void feeds(void *arg)
{
	long i;

	for (i = 0; i < 20000; i++)
		CHECK_EQ(0, gk_chan_send(ch, &(long){ i % 31 }));
	gk_chan_close(ch);
	gk_wg_wait(&consumers);
	gk_chan_close(results);
}

/* TestMultiConsumer */
GK_TEST(many_consumers_get_each_element_once, 4)
{
	long i, v, n = 0, s = 0, want = 0;

	ch = gk_chan_new(sizeof(v), 69);
	results = gk_chan_new(sizeof(v), 69);
	gk_wg_add(&consumers, 23);
	for (i = 0; i < 23; i++)
		gk_go(passes_on, (void *)i);
	gk_go(feeds, NULL);
	while (gk_chan_recv(results, &v) == 1) {
		n++;
		s += v;
	}
	for (i = 0; i < 20000; i++)
		want += i % 31;
	CHECK_EQ(20000, n);
	CHECK_EQ(want, s);
	return 0;
}

struct link {
	gk_chan *left, *right;
};

static void passes_left(void *arg)
{
	struct link l = *(struct link *)arg;
	long v;

	free(arg);
	CHECK_EQ(1, gk_chan_recv(l.right, &v));
	v++;
	CHECK_EQ(0, gk_chan_send(l.left, &v));
}

/* goroutines.go */
GK_TEST(a_long_chain, 2)
{
	gk_chan *leftmost = gk_chan_new(sizeof(long), 0), *left = leftmost;
	struct link *l;
	long i, v = 0;

	for (i = 0; i < 4000; i++) {
		l = malloc(sizeof(*l));
		l->left = left;
		l->right = left = gk_chan_new(sizeof(long), 0);
		CHECK_EQ(0, gk_go(passes_left, l));
	}
	CHECK_EQ(0, gk_chan_send(left, &v));
	CHECK_EQ(1, gk_chan_recv(leftmost, &v));
	CHECK_EQ(4000, v);
	return 0;
}

static void counts(void *arg)
{
	long i;

	for (i = 2; gk_chan_send(arg, &i) == 0; i++)
		;
}

static void filters(void *arg)
{
	struct link l = *(struct link *)arg;
	long prime, v;

	free(arg);
	CHECK_EQ(1, gk_chan_recv(l.right, &prime));
	CHECK_EQ(0, gk_chan_send(results, &prime));
	while (gk_chan_recv(l.right, &v) == 1)
		if (v % prime && gk_chan_send(l.left, &v))
			break;
}

/* sieve1.go */
GK_TEST(the_sieve, 2)
{
	static const long primes[] = { 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71 };
	gk_chan *in = gk_chan_new(sizeof(long), 0);
	struct link *l;
	unsigned int i;
	long v;

	results = gk_chan_new(sizeof(long), 0);
	gk_go(counts, in);
	for (i = 0; i < ARRAY_SIZE(primes); i++) {
		l = malloc(sizeof(*l));
		l->right = in;
		l->left = in = gk_chan_new(sizeof(long), 0);
		gk_go(filters, l);
		CHECK_EQ(1, gk_chan_recv(results, &v));
		CHECK_EQ(primes[i], v);
	}
	return 0;
}

/* ---- large elements, without a buffer: from the one task's memory to the other's ---------------------------------- */

enum { LARGE = 3000, ROUNDS = 400, SENDERS = 3, RECEIVERS = 3 };

struct large {
	long from, nth;
	unsigned char bytes[LARGE];
};

static void fill_large(struct large *l, long from, long nth)
{
	l->from = from;
	l->nth = nth;
	memset(l->bytes, from * 37 + nth * 11, sizeof(l->bytes));
}

static bool is_whole(const struct large *l)
{
	int want = (unsigned char)(l->from * 37 + l->nth * 11), i;

	for (i = 0; i < LARGE; i++)
		if (l->bytes[i] != want)
			return false;
	return true;
}

static struct large shared, target;

static void sends_shared(void *arg)
{
	struct gk_case k[] = { gk_case_send(ch, &shared), gk_case_recv(NULL, NULL), gk_case_send(ch, &shared) };

	if (!arg)
		CHECK_EQ(0, gk_chan_send(ch, &shared));
	else
		CHECK(gk_select(k, 3) >= 0);
}

static void receives_target(void *arg)
{
	struct gk_case k[] = { gk_case_recv(ch, &target), gk_case_recv(NULL, NULL), gk_case_recv(ch, &target) };

	if (!arg)
		CHECK_EQ(1, gk_chan_recv(ch, &target));
	else
		CHECK(gk_select(k, 3) >= 0);
}

/* What is written while its sender waits is what arrives; what is sent is there before its receiver runs. */
GK_TEST_IN_TURN(a_large_element_is_copied_once)
{
	struct large in[2];
	gk_task *t;
	long i;

	ch = gk_chan_new(sizeof(struct large), 0);
	for (i = 0; i < 6; i++) {
		struct gk_case k[] = { gk_case_recv(NULL, NULL), gk_case_recv(ch, &in[0]), gk_case_recv(ch, &in[0]) };

		fill_large(&shared, -1, -1);
		gk_spawn(&t, NULL, sends_shared, (void *)(i & 1));
		lib_settled();
		fill_large(&shared, i, 5);
		switch (i / 2) {
		case 0:
			CHECK_EQ(1, gk_chan_recv(ch, &in[0]));
			break;
		case 1:
			CHECK(gk_select(k, 3) >= 1);
			break;
		default:
			CHECK_EQ(1, gk_chan_recv_many(ch, in, 2));
		}
		CHECK(in[0].from == i && in[0].nth == 5 && is_whole(&in[0]));
		gk_join(t);
	}
	for (i = 0; i < 6; i++) {
		struct gk_case k[] = { gk_case_recv(NULL, NULL), gk_case_send(ch, &in[0]), gk_case_send(ch, &in[0]) };

		gk_spawn(&t, NULL, receives_target, (void *)(i & 1));
		lib_settled();
		fill_large(&in[0], i, 6);
		switch (i / 2) {
		case 0:
			CHECK_EQ(0, gk_chan_send(ch, &in[0]));
			break;
		case 1:
			CHECK_EQ(0, gk_chan_try_send(ch, &in[0]));
			break;
		default:
			CHECK(gk_select(k, 3) >= 1);
		}
		CHECK(target.from == i && target.nth == 6 && is_whole(&target));
		gk_join(t);
	}
	CHECK_EQ(0, gk_chan_free(ch));
	return 0;
}

static void sends_large(void *arg)
{
	long from = (long)arg, kind = from, i;
	struct large *l;
	int err;

	for (i = 0; i < ROUNDS; i++) {
		/* Cold memory: each copy faults. */
		l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		fill_large(l, from, i);
		struct gk_case k[] = { gk_case_send(ch, l), gk_case_recv(NULL, NULL), gk_case_send(ch, l) };

		do {
			/* Two that only try do not meet. */
			switch (kind++ % 5) {
			case 0:
				err = gk_chan_send(ch, l);
				break;
			case 1:
				err = gk_chan_send_until(ch, l, gk_now() + MS / 20);
				break;
			case 2:
				err = gk_chan_try_send(ch, l);
				break;
			case 3:
				err = gk_select(k, 3);
				break;
			default:
				err = gk_select_until(k, 3, gk_now() + MS / 20);
			}
		} while (err == -EAGAIN || err == -ETIMEDOUT);
		CHECK(err >= 0);
		munmap(l, sizeof(*l));
	}
	gk_wg_done(&producers);
}

static void receives_large(void *arg)
{
	long last[SENDERS], kind = (long)arg, n, s;
	struct large *l;

	for (s = 0; s < SENDERS; s++)
		last[s] = -1;
	for (;;) {
		l = mmap(NULL, 2 * sizeof(*l), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct gk_case k[] = { gk_case_recv(ch, l), gk_case_send(NULL, NULL), gk_case_recv(ch, l) };

		do {
			switch (kind++ % 6) {
			case 0:
				n = gk_chan_recv(ch, l);
				break;
			case 1:
				n = gk_chan_recv_until(ch, l, gk_now() + MS / 20);
				break;
			case 2:
				n = gk_chan_try_recv(ch, l);
				break;
			case 3:
				n = gk_select(k, 3);
				if (n >= 0)
					n = k[n].result;
				break;
			case 4:
				n = gk_select_until(k, 3, gk_now() + MS / 20);
				if (n >= 0)
					n = k[n].result;
				break;
			default:
				n = gk_chan_recv_many(ch, l, 2);
			}
		} while (n == -EAGAIN || n == -ETIMEDOUT);
		CHECK(n >= 0);
		for (s = 0; s < n; s++) {
			CHECK(is_whole(&l[s]));
			CHECK(l[s].from >= 0 && l[s].from < SENDERS);
			CHECK(l[s].nth > last[l[s].from]);
			last[l[s].from] = l[s].nth;
			atomic_fetch_add(&sum, l[s].from * ROUNDS + l[s].nth);
		}
		atomic_fetch_add(&received, n);
		munmap(l, 2 * sizeof(*l));
		if (!n)
			break;
	}
	gk_wg_done(&consumers);
}

GK_TEST(large_elements_pass_between_all_kinds_of_calls_once_and_whole, 2)
{
	long i, all = (long)SENDERS * ROUNDS;

	ch = gk_chan_new(sizeof(struct large), 0);
	sum = received = 0;
	gk_wg_add(&producers, SENDERS);
	gk_wg_add(&consumers, RECEIVERS);
	for (i = 0; i < SENDERS; i++)
		gk_go(sends_large, (void *)i);
	for (i = 0; i < RECEIVERS; i++)
		gk_go(receives_large, (void *)i);
	gk_wg_wait(&producers);
	CHECK_EQ(0, gk_chan_close(ch));
	gk_wg_wait(&consumers);
	CHECK_EQ(all, received);
	CHECK_EQ(all * (all - 1) / 2, sum);
	CHECK_EQ(0, gk_chan_free(ch));
	CHECK_EQ(0, lib_stats().inside_blocks);
	return 0;
}

TEST_HARNESS_MAIN
