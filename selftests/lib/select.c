// SPDX-License-Identifier: GPL-2.0-only
/* select.c - select: the Go specification's. GO.md names the Go tests whose behaviour is tested here. */
#include <malloc.h>

#include "lib.h"

#define COUNT(a)	((long)(sizeof(a) / sizeof((a)[0])))

static long take(gk_chan *c)
{
	long v = -1;

	CHECK_EQ(1, gk_chan_recv(c, &v));
	return v;
}

static void put(gk_chan *c, long v)
{
	CHECK_EQ(0, gk_chan_send(c, &v));
}

static gk_chan *chan(size_t cap)
{
	return gk_chan_new(sizeof(long), cap);
}

static gk_chan *closed_chan(void)
{
	gk_chan *c = chan(0);

	gk_chan_close(c);
	return c;
}

/* ---- what it returns --------------------------------------------------------------------------------------------- */

GK_TEST(the_ready_case_is_done, 1)
{
	long got[2] = { -1, -1 }, send = 5;
	gk_chan *a = chan(1), *b = chan(1), *d = chan(1);
	struct gk_case cases[] = { gk_case_recv(a, &got[0]), gk_case_recv(b, &got[1]), gk_case_send(d, &send) };

	put(d, 1);
	put(b, 42);
	CHECK_EQ(1, gk_select(cases, 3));
	CHECK_EQ(1, cases[1].result);
	CHECK_EQ(42, got[1]);
	CHECK_EQ(-1, got[0]);	/* of a case that is not done nothing is written */
	CHECK_EQ(1, take(d));
	CHECK_EQ(2, gk_select(cases, 3));
	CHECK_EQ(0, cases[2].result);
	CHECK_EQ(5, take(d));
	put(a, 7);
	put(d, 7);
	CHECK_EQ(0, gk_select_try(cases, 3));
	CHECK_EQ(7, got[0]);
	CHECK_EQ(42, got[1]);
	CHECK_EQ(-EAGAIN, gk_select_try(cases, 3));
	cases[0].elem = NULL;
	put(a, 8);
	CHECK_EQ(0, gk_select(cases, 3));
	CHECK_EQ(7, got[0]);
	CHECK_EQ(0, gk_chan_free(a));
	CHECK_EQ(0, gk_chan_free(b));
	CHECK_EQ(0, gk_chan_free(d));
	return 0;
}

GK_TEST(a_closed_channel_is_ready, 1)
{
	gk_chan *closed = closed_chan(), *open = chan(0);
	long v = 3;
	struct gk_case recv[] = { gk_case_recv(open, &v), gk_case_recv(closed, &v) };
	struct gk_case send[] = { gk_case_send(open, &v), gk_case_send(closed, &v) };

	CHECK_EQ(1, gk_select(recv, 2));
	CHECK_EQ(0, recv[1].result);
	CHECK_EQ(3, v);
	CHECK_EQ(1, gk_select_try(recv, 2));
	CHECK_EQ(1, gk_select(send, 2));
	CHECK_EQ(-EPIPE, send[1].result);
	CHECK_EQ(1, gk_select_until(send, 2, 0));
	CHECK_EQ(0, gk_select(send + 1, 1));
	CHECK_EQ(-EPIPE, send[1].result);
	return 0;
}

TEST(bad_arguments_are_refused)
{
	struct gk_case k = { NULL, NULL, 0, 0 };

	EXPECT_EQ(-EPERM, gk_select(&k, 1));
	EXPECT_EQ(-EPERM, gk_select_try(&k, 0));
	EXPECT_EQ(-EPERM, gk_select_until(&k, 1, 0));
}

GK_TEST(bad_cases_are_refused, 1)
{
	gk_chan *c = chan(1);
	struct gk_case k = { c, NULL, 7, 0 };

	CHECK_EQ(-EINVAL, gk_select(&k, 1));
	CHECK_EQ(-EINVAL, gk_select_try(&k, 1));
	CHECK_EQ(-EINVAL, gk_select(&k, (size_t)1 << 31));
	CHECK_EQ(0, gk_chan_free(c));
	return 0;
}

/* ---- what waits, what does not (select3.go) ---------------------------------------------------------------------- */

static gk_chan *none, *shut, *idle, *room, *stocked;

static int never_ready(int which, long *v, struct gk_case *k)
{
	switch (which) {
	case 0:
		return 0;	/* select {} */
	case 1:
		k[0] = gk_case_recv(none, v);
		return 1;
	case 2:
		k[0] = gk_case_send(none, v);
		return 1;
	case 3:
		k[0] = gk_case_recv(none, v);
		k[1] = gk_case_send(none, v);
		return 2;
	case 4:
		k[0] = gk_case_recv(idle, v);
		return 1;
	case 5:
		k[0] = gk_case_send(idle, v);
		return 1;
	case 6:			/* it does not meet itself */
		k[0] = gk_case_send(idle, v);
		k[1] = gk_case_recv(idle, v);
		return 2;
	case 7:
		k[0] = gk_case_recv(idle, v);
		k[1] = gk_case_recv(none, v);
		k[2] = gk_case_recv(idle, v);
		return 3;
	}
	return -1;
}

static int ready(int which, long *v, struct gk_case *k)
{
	k[0] = gk_case_recv(none, v);
	k[1] = gk_case_send(none, v);
	k[2] = gk_case_recv(idle, v);
	switch (which) {
	case 0:
		k[3] = gk_case_send(room, v);
		return 4;
	case 1:
		k[3] = gk_case_recv(stocked, v);
		return 4;
	case 2:
		k[3] = gk_case_recv(shut, v);
		return 4;
	case 3:
		k[3] = gk_case_send(shut, v);
		return 4;
	}
	return -1;
}

GK_TEST(it_waits_for_what_is_not_ready_and_only_for_that, 2)
{
	struct gk_case k[4];
	uint64_t start;
	long v = 1;
	int i, n;

	shut = closed_chan();
	idle = chan(0);
	for (i = 0; (n = never_ready(i, &v, k)) >= 0; i++) {
		CHECK_EQ(-EAGAIN, gk_select_try(k, n));
		start = gk_now();
		CHECK_EQ(-ETIMEDOUT, gk_select_until(k, n, start + 3 * MS));
		CHECK(gk_now() - start >= 3 * MS);
		CHECK_EQ(-ETIMEDOUT, gk_select_until(k, n, 0));
	}
	room = chan(1);
	stocked = chan(1);
	put(stocked, 1);
	for (i = 0; (n = ready(i, &v, k)) >= 0; i++) {
		/* past the deadline, too */
		CHECK_EQ(3, i % 2 ? gk_select_until(k, n, 0) : gk_select_try(k, n));
	}
	CHECK_EQ(0, gk_chan_free(idle));
	CHECK_EQ(0, gk_chan_free(shut));
	CHECK_EQ(0, gk_chan_free(room));
	CHECK_EQ(0, gk_chan_free(stocked));
	return 0;
}

static atomic_int back;

static void selects_nothing(void *arg)
{
	CHECK_EQ(-ECANCELED, gk_select(NULL, 0));
	back++;
}

GK_TEST(a_select_of_nothing_ends_when_cancelled_only, 2)
{
	gk_task *t;

	gk_spawn(&t, NULL, selects_nothing, NULL);
	gk_sleep(5 * MS);
	CHECK_EQ(0, back);
	gk_cancel(t);
	gk_join(t);
	CHECK_EQ(1, back);
	return 0;
}

/* ---- all shapes (select5.go) ------------------------------------------------------------------------------------- */

/* Beside the case that is ready: every set of what is not, in every rotation, with and without the default. */
GK_TEST(every_combination_beside_a_ready_case_does_that_case, 1)
{
	gk_chan *c = chan(1), *dummy = chan(0);
	struct gk_case all[5], k[5];
	long n = 1, v = 0, other = -7;
	int set, turn, send, try, i, m, at, got;

	for (send = 0; send < 2; send++)
		for (set = 0; set < 16; set++)
			for (turn = 0; turn < 5; turn++)
				for (try = 0; try < 2; try++, n++) {
					all[0] = send ? gk_case_send(c, &n) : gk_case_recv(c, &v);
					all[1] = gk_case_send(dummy, &other);
					all[2] = gk_case_recv(dummy, &other);
					all[3] = gk_case_send(NULL, &other);
					all[4] = gk_case_recv(NULL, &other);
					if (!send)
						put(c, n);
					for (i = m = 0, at = -1; i < 5; i++) {
						int j = (i + turn) % 5;

						if (!j)
							at = m;
						if (!j || set & 1 << (j - 1))
							k[m++] = all[j];
					}
					got = try ? gk_select_try(k, m) : gk_select(k, m);
					CHECK_EQ(at, got);
					if (send)
						v = take(c);
					CHECK_EQ(n, v);
					CHECK_EQ(-7, other);
					CHECK_EQ(0, gk_chan_len(c));
				}
	CHECK_EQ(0, gk_chan_free(c));
	CHECK_EQ(0, gk_chan_free(dummy));
	return 0;
}

/* select.go: as cases are done their channels are taken out */
GK_TEST(a_case_without_a_channel_takes_no_part, 1)
{
	gk_chan *a = chan(1), *b = chan(1);
	long v[2] = { 1, 2 };
	struct gk_case k[] = { gk_case_send(a, &v[0]), gk_case_send(b, &v[1]) };
	int n, at;

	for (n = 0; (at = gk_select_try(k, 2)) >= 0; n++)
		k[at].chan = NULL;
	CHECK_EQ(-EAGAIN, at);
	CHECK_EQ(2, n);
	CHECK_EQ(1, take(a));
	CHECK_EQ(2, take(b));
	k[0].chan = a;
	CHECK_EQ(0, gk_select(k, 2));
	CHECK_EQ(-EAGAIN, gk_select_try(k, 2));
	CHECK_EQ(0, gk_chan_free(a));
	CHECK_EQ(0, gk_chan_free(b));
	return 0;
}

/* ---- two sides meet ---------------------------------------------------------------------------------------------- */

static gk_chan *meet, *unmet[2];

static void recv_alone(void *arg)
{
	CHECK_EQ(1, take(meet));
}

static void recv_select(void *arg)
{
	long v = 0;
	struct gk_case k[] = { gk_case_recv(meet, &v), gk_case_recv(unmet[0], &v) };

	CHECK_EQ(0, gk_select(k, arg ? 2 : 1));
	CHECK_EQ(1, k[0].result);
	CHECK_EQ(1, v);
}

/* select7.go */
GK_TEST(plain_and_select_meet_from_either_side, 2)
{
	void (*const fns[])(void *) = { recv_alone, recv_select, recv_select };
	struct gk_case k[2];
	long v = 1, i, how, first;
	gk_task *t;

	meet = chan(0);
	unmet[0] = chan(0);
	unmet[1] = chan(0);
	for (first = 0; first < 2; first++)
		for (how = 0; how < 3; how++)
			for (i = 0; i < 3; i++) {
				gk_spawn(&t, NULL, fns[i], (void *)(i / 2));
				if (first)
					gk_sleep(MS);
				k[0] = gk_case_send(meet, &v);
				k[1] = gk_case_send(unmet[1], &v);
				if (how)
					CHECK_EQ(0, gk_select(k, how));
				else
					put(meet, 1);
				gk_join(t);
			}
	CHECK_EQ(0, gk_chan_free(meet));
	CHECK_EQ(0, gk_chan_free(unmet[0]));
	CHECK_EQ(0, gk_chan_free(unmet[1]));
	return 0;
}

static gk_chan *c1, *c2, *c3;

static void takes_c1(void *arg)
{
	take(c1);
}

static void selects_c1_c2(void *arg)
{
	long v;
	struct gk_case k[] = { gk_case_recv(c1, &v), gk_case_recv(c2, &v) };

	CHECK_EQ(1, gk_select(k, 2));
	put(c3, 1);
	take(c1);
}

/* select6.go */
GK_TEST(losers_are_dequeued_from_the_middle, 2)
{
	gk_task *t[2];

	c1 = chan(0);
	c2 = chan(0);
	c3 = chan(0);
	gk_spawn(&t[0], NULL, takes_c1, NULL);
	gk_sleep(MS);
	gk_spawn(&t[1], NULL, selects_c1_c2, NULL);
	gk_sleep(MS);
	gk_go(takes_c1, NULL);
	gk_sleep(MS);
	put(c2, 1);
	CHECK_EQ(1, take(c3));
	put(c1, 1);
	put(c1, 1);
	put(c1, 1);
	gk_join(t[0]);
	gk_join(t[1]);
	gk_sleep(MS);
	CHECK_EQ(0, gk_chan_free(c1));
	return 0;
}

static void selects_c_c_d(void *arg)
{
	long v = 0;
	struct gk_case k[] = { gk_case_recv(c1, &v), gk_case_recv(c1, &v), gk_case_recv(c2, &v) };

	CHECK_EQ(2, gk_select(k, 3));
	CHECK_EQ(7, v);
	put(c3, 9);
}

/* TestSelectDuplicateChannel */
GK_TEST(one_channel_twice_leaves_its_list_whole, 2)
{
	gk_task *t;

	c1 = chan(0);
	c2 = chan(0);
	c3 = chan(0);
	gk_go(selects_c_c_d, NULL);
	gk_sleep(MS);
	gk_spawn(&t, NULL, takes_c1, NULL);
	gk_sleep(MS);
	put(c2, 7);
	CHECK_EQ(9, take(c3));
	put(c1, 8);
	gk_join(t);
	CHECK_EQ(0, gk_chan_free(c1));
	CHECK_EQ(0, gk_chan_free(c2));
	CHECK_EQ(0, gk_chan_free(c3));
	return 0;
}

static size_t self_cap;

static void selects_itself(void *arg)
{
	long me = (long)arg, i, v;

	for (i = 0; i < 1000; i++) {
		struct gk_case k[] = { gk_case_send(meet, &me), gk_case_recv(meet, &v) };
		struct gk_case swapped[] = { k[1], k[0] };
		bool swap = me && i % 2;
		int got = swap ? gk_select(swapped, 2) : gk_select(k, 2);

		CHECK(got >= 0);
		if (got == !swap && !self_cap)
			CHECK_EQ(!me, v);
	}
}

/* TestSelfSelect */
GK_TEST(both_directions_of_one_channel_do_not_meet_themselves, 2)
{
	gk_task *t[2];

	for (self_cap = 0; self_cap <= 10; self_cap += 10) {
		meet = chan(self_cap);
		gk_spawn(&t[0], NULL, selects_itself, (void *)0);
		gk_spawn(&t[1], NULL, selects_itself, (void *)1);
		gk_join(t[0]);
		gk_join(t[1]);
		CHECK_EQ(0, gk_chan_free(meet));
	}
	return 0;
}

static atomic_long order[8];

static void selects_in_turn(void *arg)
{
	long v;
	struct gk_case k[] = { gk_case_recv(c2, &v), gk_case_recv(c1, &v) };

	if ((long)arg % 2) {
		CHECK_EQ(1, gk_select(k, 2));
	} else {
		v = take(c1);
	}
	order[(long)arg] = v;
}

GK_TEST_IN_TURN(selects_and_plain_receivers_are_served_in_order)
{
	gk_task *t[8];
	long i;

	c1 = chan(0);
	c2 = chan(0);
	for (i = 0; i < 8; i++) {
		gk_spawn(&t[i], NULL, selects_in_turn, (void *)i);
		lib_settled();
	}
	for (i = 0; i < 8; i++)
		CHECK_EQ(0, gk_chan_try_send(c1, &i));
	for (i = 0; i < 8; i++) {
		gk_join(t[i]);
		CHECK_EQ(i, order[i]);
	}
	CHECK_EQ(0, gk_chan_free(c1));
	CHECK_EQ(0, gk_chan_free(c2));
	return 0;
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

/* TestSelectFairness; ten standard deviations */
GK_TEST(each_ready_case_is_as_likely_as_another, 1)
{
	enum { TRIALS = 10000, N = 5 };
	long hits[N] = {}, v[N], i, s, locked;
	struct gk_case k[N + 2];
	gk_chan *c[N], *idle_c = chan(0);

	for (locked = 0; locked < 2; locked++) {
		for (i = 0; i < N; i++) {
			c[i] = chan(1);
			k[i] = gk_case_send(c[i], &v[i]);
			hits[i] = 0;
		}
		k[N] = gk_case_recv(idle_c, NULL);
		k[N + 1] = gk_case_recv(NULL, NULL);
		for (i = 0; i < TRIALS; i++) {
			s = gk_select(k, N + 2);
			hits[s]++;
			gk_chan_recv(c[s], NULL);
			/* Case 1 of five is taken out for a while: the other four share. */
			if (locked)
				k[1].chan = NULL;
		}
		for (i = 0; i < N; i++) {
			double n = locked ? N - 1 : N, mean = TRIALS / n, off = hits[i] - mean;

			if (locked && i == 1) {
				CHECK(hits[i] <= 1);
				continue;
			}
			if (off * off > 100 * mean * (1 - 1 / n))
				CHECK_EQ((long)mean, hits[i]);
		}
	}
	return 0;
}

static void receives_yielding(void *arg)
{
	long *got = arg, i;

	for (i = 0; i < 200; i++) {
		gk_yield();
		got[take(meet)]++;
	}
}

/* TestPseudoRandomSend */
GK_TEST(one_channel_in_two_cases_gets_either, 2)
{
	long zero = 0, one = 1, got[2], cap, i;
	gk_task *t;

	for (cap = 0; cap <= 200; cap += 200) {
		meet = chan(cap);
		struct gk_case k[] = { gk_case_send(meet, &one), gk_case_send(meet, &zero) };

		got[0] = got[1] = 0;
		gk_spawn(&t, NULL, receives_yielding, got);
		for (i = 0; i < 200; i++)
			gk_select(k, 2);
		gk_join(t);
		CHECK_EQ(200, got[0] + got[1]);
		/* Also where the select is there first: which of its waiters is found first is left to chance. */
		CHECK(got[0] > 20 && got[1] > 20);
		CHECK_EQ(0, gk_chan_free(meet));
	}
	return 0;
}

static gk_chan *race1, *race2, *race_done;

static void tries_both(void *arg)
{
	long v, ok;
	struct gk_case k[] = { gk_case_recv(race1, &v), gk_case_recv(race2, &v) };

	ok = gk_select_try(k, 2) >= 0;
	put(race_done, ok);
}

/* TestNonblockSelectRace and 2: at each moment one of the two is ready */
static int never_default(void *arg)
{
	bool close = arg;
	long i, v;

	race_done = chan(1);
	for (i = 0; i < 5000; i++) {
		race1 = chan(1);
		race2 = chan(!close);
		put(race1, 1);
		gk_go(tries_both, NULL);
		if (close)
			gk_chan_close(race2);
		else
			put(race2, 1);
		gk_chan_try_recv(race1, &v);
		CHECK_EQ(1, take(race_done));
		CHECK_EQ(0, gk_chan_free(race1));
		CHECK_EQ(0, gk_chan_free(race2));
	}
	return 0;
}

static atomic_int shuttling;
static gk_chan *shuttle[4];

/* A token that is always somewhere: one is put into the next channel before one is taken out. */
static void shuttles(void *arg)
{
	long i, at;

	for (i = 0; shuttling; i++) {
		put(shuttle[(i + 1) % 4], 1);
		for (at = i; gk_chan_try_recv(shuttle[at % 4], NULL) != 1; at++)
			;
		if (i % 64 == 0)
			gk_yield();
	}
}

static int never_default_of_four(void *arg)
{
	struct gk_case k[4];
	long i, n, got;
	gk_task *t;

	for (i = 0; i < 4; i++) {
		shuttle[i] = chan(4);
		k[i] = gk_case_recv(shuttle[i], NULL);
	}
	put(shuttle[0], 1);
	shuttling = 1;
	gk_spawn(&t, NULL, shuttles, NULL);
	for (n = 0; n < 20000; n++) {
		got = gk_select_try(k, 4);
		if (got < 0)
			CHECK_EQ(0, got);
		else
			put(shuttle[got], 1);	/* so it is back at the next look */
		if (n % 64 == 0)
			gk_yield();
	}
	shuttling = 0;
	gk_join(t);
	for (i = 0; i < 4; i++)
		CHECK_EQ(0, gk_chan_free(shuttle[i]));
	return 0;
}

TEST(the_default_is_not_taken_while_one_case_after_another_is_ready)
{
	int cores;

	for (cores = 1; cores <= 4; cores++) {
		EXPECT_EQ(0, lib_run(cores, never_default, (void *)0));
		EXPECT_EQ(0, lib_run(cores, never_default, (void *)1));
		EXPECT_EQ(0, lib_run(cores, never_default_of_four, NULL));
	}
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

static size_t elem_size;

static void fill(unsigned char *p, unsigned int seed)
{
	size_t i;

	for (i = 0; i < elem_size; i++)
		p[i] = seed + i * 7;
}

static void sends_patterns(void *arg)
{
	unsigned char *p = malloc(elem_size + 1), *q = malloc(elem_size + 1);
	gk_chan **c = arg;
	int i;

	for (i = 0; i < 400; i++) {
		struct gk_case k[] = { gk_case_send(c[0], p), gk_case_send(c[1], q), gk_case_send(NULL, p) };

		fill(p, i);
		fill(q, i);
		CHECK(gk_select(k, 3) >= 0);
		memset(p, 0xee, elem_size);
		memset(q, 0xee, elem_size);
	}
	free(p);
	free(q);
	CHECK_EQ(0, gk_chan_close(c[0]));
	CHECK_EQ(0, gk_chan_close(c[1]));
}

GK_TEST(elements_of_every_size_arrive_whole, 2)
{
	static const size_t sizes[] = { 0, 1, 8, 24, 64, 65, 4096 };
	unsigned char want[4096], p[2][4097];
	int i, at, s, cap, n[2];
	gk_chan *c[2];
	gk_task *t;

	for (s = 0; s < COUNT(sizes); s++)
		for (cap = 0; cap < 4; cap += 3) {
			elem_size = sizes[s];
			for (i = 0; i < 2; i++) {
				c[i] = gk_chan_new(elem_size, cap);
				p[i][elem_size] = 0xaa;
				n[i] = -1;
			}
			gk_spawn(&t, NULL, sends_patterns, c);
			struct gk_case k[] = { gk_case_recv(c[0], p[0]), gk_case_recv(c[1], p[1]) };

			for (i = 0; i < 400; i++) {
				at = gk_select(k, 2);
				CHECK(at == 0 || at == 1);
				if (!k[at].result) {
					/* closed, and the rest is in the other one */
					k[at].chan = NULL;
					i--;
					continue;
				}
				/* In each channel in order; over both of them each once. */
				if (cap == 0 && elem_size) {
					fill(want, i);
					CHECK(!memcmp(want, p[at], elem_size));
				}
				CHECK_EQ(0xaa, p[at][elem_size]);
				n[at]++;
			}
			CHECK_EQ(398, n[0] + n[1]);
			gk_join(t);
			CHECK_EQ(0, gk_chan_free(c[0]));
			CHECK_EQ(0, gk_chan_free(c[1]));
		}
	return 0;
}

/* ---- many cases -------------------------------------------------------------------------------------------------- */

enum { MANY = 3000 };
static gk_chan *many[MANY];

static void serves_many(void *arg)
{
	unsigned int seed = 7;
	long i, at;

	for (i = 0; i < 300; i++) {
		at = rand_r(&seed) % MANY;
		if (at % 2)
			put(many[at], at);
		else
			CHECK_EQ(at, take(many[at]));
	}
}

static int selects_many(void *arg)
{
	struct gk_case *k = malloc(sizeof(*k) * MANY);
	long *v = malloc(sizeof(*v) * MANY), i, at, n[2] = {};
	gk_task *t;

	for (i = 0; i < MANY; i++) {
		many[i] = chan(0);
		v[i] = i;
		k[i] = i % 2 ? gk_case_recv(many[i], &v[i]) : gk_case_send(many[i], &v[i]);
	}
	CHECK_EQ(-EAGAIN, gk_select_try(k, MANY));
	CHECK_EQ(-ETIMEDOUT, gk_select_until(k, MANY, gk_now() + MS));
	gk_spawn(&t, NULL, serves_many, NULL);
	for (i = 0; i < 300; i++) {
		at = gk_select(k, MANY);
		CHECK(at >= 0 && at < MANY);
		CHECK_EQ(at % 2, k[at].result);
		CHECK_EQ(at, v[at]);
		n[at % 2]++;
	}
	CHECK_EQ(300, n[0] + n[1]);
	gk_join(t);
	/* Nobody is left on any list. */
	for (i = 0; i < MANY; i++)
		CHECK_EQ(0, gk_chan_free(many[i]));
	free(k);
	free(v);
	return 0;
}

TEST(thousands_of_cases)
{
	EXPECT_EQ(0, lib_run(1, selects_many, NULL));
	EXPECT_EQ(0, lib_run(3, selects_many, NULL));
}

static gk_chan *popular, *own[100];
enum { EACH = 100 };

static void selects_popular(void *arg)
{
	struct gk_case k[] = { gk_case_recv(popular, NULL), gk_case_recv(own[(long)arg], NULL) };
	int i;

	for (i = 0; i < EACH; i++)
		CHECK_EQ(1, gk_select(k, 2));
	gk_chan_recv(own[(long)arg], NULL);
}

/* BenchmarkChanPopular, select2.go: a channel on which many lose all the time does not grow */
GK_TEST(losers_do_not_pile_up, 2)
{
	long i, j;

	popular = chan(0);
	for (i = 0; i < COUNT(own); i++) {
		own[i] = gk_chan_new(0, 0);
		gk_go(selects_popular, (void *)i);
	}
	for (j = 0; j < EACH; j++)
		for (i = 0; i < COUNT(own); i++)
			CHECK_EQ(0, gk_chan_send(own[i], NULL));
	/* All are out of their selects: they wait for this. */
	for (i = 0; i < COUNT(own); i++) {
		CHECK_EQ(0, gk_chan_send(own[i], NULL));
		CHECK_EQ(0, gk_chan_free(own[i]));
	}
	CHECK_EQ(0, gk_chan_free(popular));
	return 0;
}

static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks;
}

/* Bookkeeping and copies that are malloc()ed, however the select ends. */
static int copies(void *arg)
{
	static char big[200];
	struct gk_case k[20];
	size_t before = 0;
	long i, v;

	c1 = gk_chan_new(sizeof(big), 1);
	c2 = chan(1);
	gk_chan_send(c1, big);
	for (i = 0; i < COUNT(k); i++)
		k[i] = gk_case_send(c1, big);
	k[7] = gk_case_recv(c2, &v);
	for (i = 0; i < 600; i++) {
		if (i == 200)
			before = in_use();
		CHECK_EQ(-EAGAIN, gk_select_try(k, COUNT(k)));
		CHECK_EQ(-ETIMEDOUT, gk_select_until(k, COUNT(k), gk_now() + 1000));
		put(c2, i);
		CHECK_EQ(7, gk_select(k, COUNT(k)));
		gk_chan_recv(c1, NULL);
		CHECK(gk_select(k, COUNT(k)) != 7);
	}
	/* One block a select would be 80 KiB at least. What threads keep in reserve is less. */
	CHECK(in_use() < before + 16384);
	return 0;
}

TEST(what_a_select_copies_is_given_back)
{
	mallopt(M_ARENA_MAX, 1);	/* mallinfo2() knows of one only */
	EXPECT_EQ(0, lib_run(1, copies, NULL));
}

/* ---- many tasks -------------------------------------------------------------------------------------------------- */

static gk_chan *sc[4];
static long stress_n;
static gk_wg stress_wg;

static void stress_sends(void *arg)
{
	long i;

	for (i = 0; i < stress_n; i++)
		put(arg, 0);
	gk_wg_done(&stress_wg);
}

static void stress_receives(void *arg)
{
	long i;

	for (i = 0; i < stress_n; i++)
		take(arg);
	gk_wg_done(&stress_wg);
}

static void stress_selects(void *arg)
{
	struct gk_case k[4];
	long n[4] = {}, v = 0, i, at;

	for (i = 0; i < 4; i++)
		k[i] = arg ? gk_case_send(sc[3 - i], &v) : gk_case_recv(sc[i], &v);
	for (i = 0; i < 4 * stress_n; i++) {
		at = gk_select(k, 4);
		CHECK(at >= 0 && k[at].result == !arg);
		if (++n[at] == stress_n)
			k[at].chan = NULL;
	}
	gk_wg_done(&stress_wg);
}

/* TestSelectStress: it ends, with as many received as sent */
static int select_stress(void *arg)
{
	long i;

	stress_n = 1000;
	for (i = 0; i < 4; i++)
		sc[i] = chan(i < 2 ? 0 : i);
	gk_wg_add(&stress_wg, 10);
	for (i = 0; i < 4; i++) {
		gk_go(stress_sends, sc[i]);
		gk_go(stress_receives, sc[i]);
	}
	gk_go(stress_selects, NULL);
	gk_go(stress_selects, sc);
	gk_wg_wait(&stress_wg);
	for (i = 0; i < 4; i++) {
		CHECK_EQ(0, gk_chan_len(sc[i]));
		CHECK_EQ(0, gk_chan_free(sc[i]));
	}
	CHECK_EQ(0, lib_stats().inside_blocks);
	return 0;
}

TEST(selects_and_plain_calls_meet_one_to_one)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, select_stress, NULL));
}

static gk_chan *fan[4], *mux;
static gk_wg mux_wg;

static void fans_out(void *arg)
{
	struct gk_case k[4];
	long i, v;

	for (i = 0; i < 4; i++)
		k[i] = gk_case_send(fan[i], &v);
	for (v = 0; v < 3000; v++)
		CHECK(gk_select(k, 4) >= 0);
	for (i = 0; i < 4; i++)
		gk_chan_close(fan[i]);
}

static void muxes(void *arg)
{
	long v;

	while (gk_chan_recv(arg, &v) == 1)
		put(mux, v);
	gk_wg_done(&mux_wg);
}

static void closes_mux(void *arg)
{
	gk_wg_wait(&mux_wg);
	gk_chan_close(mux);
}

/* doubleselect.go */
static int no_element_twice(void *arg)
{
	static unsigned char seen[3000];
	long i, v, n = 0;

	memset(seen, 0, sizeof(seen));
	mux = chan(0);
	gk_wg_add(&mux_wg, 4);
	for (i = 0; i < 4; i++)
		fan[i] = chan(0);
	gk_go(fans_out, NULL);
	for (i = 0; i < 4; i++)
		gk_go(muxes, fan[i]);
	gk_go(closes_mux, NULL);
	while (gk_chan_recv(mux, &v) == 1) {
		CHECK(!seen[v]++);
		n++;
	}
	CHECK_EQ(3000, n);
	return 0;
}

TEST(a_select_sends_its_element_once)
{
	EXPECT_EQ(0, lib_run(2, no_element_twice, NULL));
	EXPECT_EQ(0, lib_run(4, no_element_twice, NULL));
}

/* ---- ends of waits ----------------------------------------------------------------------------------------------- */

static atomic_int results[3];

static void selects_until_told(void *arg)
{
	long v = 0;
	struct gk_case k[] = { gk_case_recv(c1, &v), gk_case_send(c2, &v), gk_case_recv(c1, &v) };
	int got;

	got = gk_select(k, 3);
	results[0] = got;
	results[1] = got >= 0 ? k[got].result : 0;
	results[2] = v;
}

GK_TEST_IN_TURN(close_and_cancel_end_the_wait)
{
	gk_task *t;
	int how;

	for (how = 0; how < 3; how++) {
		c1 = chan(0);
		c2 = chan(0);
		gk_spawn(&t, NULL, selects_until_told, NULL);
		lib_settled();
		CHECK_EQ(-EBUSY, gk_chan_free(c1));
		CHECK_EQ(-EBUSY, gk_chan_free(c2));
		switch (how) {
		case 0:
			gk_chan_close(c1);
			break;
		case 1:
			gk_chan_close(c2);
			break;
		case 2:
			gk_cancel(t);
			break;
		}
		gk_join(t);
		switch (how) {
		case 0:
			CHECK(results[0] == 0 || results[0] == 2);
			CHECK_EQ(0, results[1]);
			break;
		case 1:
			CHECK_EQ(1, results[0]);
			CHECK_EQ(-EPIPE, results[1]);
			break;
		case 2:
			CHECK_EQ(-ECANCELED, results[0]);
			break;
		}
		/* Off all lists. */
		CHECK_EQ(0, gk_chan_free(c1));
		CHECK_EQ(0, gk_chan_free(c2));
	}
	return 0;
}

static void selects_cancelled(void *arg)
{
	long v = 1;
	struct gk_case k[] = { gk_case_recv(c1, &v), gk_case_send(c2, &v) };

	while (!gk_cancelled())
		gk_yield();
	CHECK_EQ(1, gk_select(k, 2));		/* what need not wait is done all the same */
	CHECK_EQ(-ECANCELED, gk_select(k, 2));
	CHECK_EQ(-ECANCELED, gk_select(k, 1));
	CHECK_EQ(-EAGAIN, gk_select_try(k, 2));
	CHECK_EQ(-ECANCELED, gk_select_until(k, 2, gk_now() + SEC));
	CHECK_EQ(0, gk_cancel_mask());
	CHECK_EQ(-ETIMEDOUT, gk_select_until(k, 2, gk_now() + MS));
}

GK_TEST(a_cancelled_task_selects_without_waiting, 2)
{
	gk_task *t;

	c1 = chan(0);
	c2 = chan(1);
	gk_spawn(&t, NULL, selects_cancelled, NULL);
	gk_cancel(t);
	gk_join(t);
	CHECK_EQ(0, gk_chan_free(c1));
	CHECK_EQ(0, gk_chan_free(c2));
	return 0;
}

static gk_chan *loser;

static void replies(void *arg)
{
	long v = 1;
	struct gk_case k[] = { gk_case_recv(loser, NULL), gk_case_send(arg, &v) };

	CHECK_EQ(1, gk_select(k, 2));
}

/* A reply is sent by a select; who got it frees the channel at once. */
GK_TEST(freed_by_the_receiver_at_once, 4)
{
	gk_chan *c;
	long i;

	loser = chan(0);
	for (i = 0; i < 10000; i++) {
		c = chan(0);
		gk_go(replies, c);
		take(c);
		if (gk_chan_free(c))
			CHECK(!"a channel nobody waits on is busy");
	}
	return 0;
}

/* ---- at random --------------------------------------------------------------------------------------------------- */

enum { CHANS = 6, TASKS = 24 };

static const struct {
	size_t size, cap;
} kinds[CHANS] = { { 8, 0 }, { 8, 1 }, { 24, 0 }, { 100, 2 }, { 100, 0 }, { 8, 5 } };

/* In and out of each channel: how many and their sum. */
static struct {
	gk_chan *c;
	atomic_ulong sent, sent_sum, got, got_sum;
} pool[CHANS];

static atomic_int stop;
static atomic_ulong serial, fired;
static unsigned int base_seed;

struct elem {
	uint64_t w[13];
};

static void make(struct elem *e, int i)
{
	unsigned int k;

	e->w[0] = atomic_fetch_add(&serial, 1);
	for (k = 1; k < kinds[i].size / 8; k++)
		e->w[k] = e->w[0] * (k + 1);
}

static void sent_to(int i, const struct elem *e)
{
	atomic_fetch_add(&pool[i].sent, 1);
	atomic_fetch_add(&pool[i].sent_sum, e->w[0]);
}

static void got_from(int i, const struct elem *e)
{
	unsigned int k;

	atomic_fetch_add(&pool[i].got, 1);
	atomic_fetch_add(&pool[i].got_sum, e->w[0]);
	for (k = 1; k < kinds[i].size / 8; k++)
		CHECK_EQ(e->w[0] * (k + 1), e->w[k]);
}

static void any_send(int i, int how, uint64_t deadline)
{
	struct elem e;
	int err;

	make(&e, i);
	err = how == 0 ? gk_chan_send_until(pool[i].c, &e, deadline) : gk_chan_try_send(pool[i].c, &e);
	if (!err)
		sent_to(i, &e);
}

static void any_recv(int i, int how, uint64_t deadline)
{
	struct elem e = {};
	unsigned char buf[5 * 100];
	int k, got;

	switch (how) {
	case 0:
		got = gk_chan_recv_until(pool[i].c, &e, deadline);
		break;
	case 1:
		got = gk_chan_try_recv(pool[i].c, &e);
		break;
	default:
		got = gk_chan_recv_many_until(pool[i].c, buf, 5, deadline);
		for (k = 0; k < got; k++) {
			memcpy(&e, buf + k * kinds[i].size, kinds[i].size);
			got_from(i, &e);
		}
		return;
	}
	if (got == 1)
		got_from(i, &e);
}

static void any_select(unsigned int *seed, int how, uint64_t deadline)
{
	int n = rand_r(seed) % 12, i, at, of[12];
	struct gk_case k[12];
	struct elem e[12];

	for (i = 0; i < n; i++) {
		of[i] = rand_r(seed) % CHANS;
		if (rand_r(seed) % 2) {
			make(&e[i], of[i]);
			k[i] = gk_case_send(pool[of[i]].c, &e[i]);
		} else {
			k[i] = gk_case_recv(pool[of[i]].c, &e[i]);
		}
		if (rand_r(seed) % 8 == 0)
			k[i].chan = NULL;
	}
	at = how ? gk_select_until(k, n, deadline) : gk_select_try(k, n);
	if (at < 0) {
		CHECK(at == -EAGAIN || at == -ETIMEDOUT || at == -ECANCELED);
		return;
	}
	CHECK(at < n && k[at].chan);
	fired++;
	if (k[at].op == GK_CASE_SEND) {
		CHECK(!k[at].result || k[at].result == -EPIPE);
		if (!k[at].result)
			sent_to(of[at], &e[at]);
	} else if (k[at].result) {
		CHECK_EQ(1, k[at].result);
		got_from(of[at], &e[at]);
	}
}

static void does_anything(void *arg)
{
	unsigned int seed = base_seed * 64 + (long)arg;

	while (!stop && !gk_cancelled()) {
		/* Most wait for each other; some give up soon, some at the end only. */
		uint64_t deadline = rand_r(&seed) % 4 ? gk_now() + rand_r(&seed) % 300 * 1000 : GK_FOREVER;
		int i = rand_r(&seed) % CHANS;

		switch (rand_r(&seed) % 8) {
		case 0:
			any_send(i, rand_r(&seed) % 2, deadline);
			break;
		case 1:
			any_recv(i, rand_r(&seed) % 3, deadline);
			break;
		case 2:
			gk_yield();
			break;
		default:
			if (deadline == GK_FOREVER)	/* its channels might be none */
				deadline = gk_now() + 20 * MS;
			any_select(&seed, rand_r(&seed) % 4, deadline);
		}
	}
}

static bool all_used(void)
{
	int i;

	for (i = 0; i < CHANS; i++)
		if (!pool[i].got)
			return false;
	return fired;
}

static int stress(void *arg)
{
	uint64_t end = gk_now() + 150 * MS;
	unsigned int seed = base_seed;
	gk_task *t[TASKS];
	struct elem e;
	long i;

	stop = fired = 0;
	for (i = 0; i < CHANS; i++) {
		pool[i].c = gk_chan_new(kinds[i].size, kinds[i].cap);
		pool[i].sent = pool[i].sent_sum = pool[i].got = pool[i].got_sum = 0;
	}
	for (i = 0; i < TASKS; i++)
		gk_spawn(&t[i], NULL, does_anything, (void *)i);
	while (gk_now() < end || !all_used()) {
		i = rand_r(&seed) % TASKS;
		gk_sleep(rand_r(&seed) % 500 * 1000);
		gk_cancel(t[i]);
		gk_join(t[i]);
		gk_spawn(&t[i], NULL, does_anything, (void *)(i + rand_r(&seed) % 1000));
	}
	/* The channels end one after the other, under way. */
	for (i = 0; i < CHANS; i++) {
		gk_sleep(rand_r(&seed) % 2000 * 1000);
		CHECK_EQ(0, gk_chan_close(pool[i].c));
	}
	stop = 1;
	for (i = 0; i < TASKS; i++)
		gk_join(t[i]);
	for (i = 0; i < CHANS; i++) {
		while (gk_chan_recv(pool[i].c, &e) == 1)
			got_from(i, &e);
		CHECK_EQ(pool[i].sent, pool[i].got);
		CHECK_EQ(pool[i].sent_sum, pool[i].got_sum);
		CHECK_EQ(0, gk_chan_free(pool[i].c));
	}
	CHECK_EQ(0, lib_stats().inside_blocks);
	return 0;
}

TEST(random_calls_lose_and_double_nothing)
{
	const char *seed = getenv("GK_SEED");
	int round, cores;

	base_seed = seed ? (unsigned int)strtoul(seed, NULL, 0) : (unsigned int)time(NULL);
	fprintf(stderr, "# GK_SEED=%u\n", base_seed);
	for (round = 0; round < 2; round++)
		for (cores = 1; cores <= 4; cores++, base_seed++)
			EXPECT_EQ(0, lib_run(cores, stress, NULL));
}

TEST_HARNESS_MAIN
