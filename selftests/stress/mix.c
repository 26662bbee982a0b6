// SPDX-License-Identifier: GPL-2.0-only
/*
 * mix.c - tasks that do everything at random, for GK_SECONDS (3), and books that must balance at the end.
 *
 * GK_SEED repeats the choices, GK_CORES sets the cores, as always. Waits have deadlines or none, and parents cancel some of their
 * children, which then do what needs no waiting. What is conserved: every message sent is received or refused, by a select, too; every
 * mutex section counts once; what a writer writes in two steps no reader sees after one; tokens and units are given back; every task
 * started has ended; every timer fired or was stopped.
 */
#define LIB_TIMEOUT 3600	/* it has an alarm of its own, which knows GK_SECONDS */
#include "lib.h"

enum { CHANS = 4, LOCKS = 3, ROOTS = 24, DEPTH = 3, TOKENS = 3, UNITS = 5 };

static unsigned int seed0;
static uint64_t end;
static gk_chan *chans[CHANS];
static gk_mutex locks[LOCKS];
static long guarded[LOCKS];
static atomic_long locked[LOCKS], sent[CHANS], received[CHANS], sent_sum[CHANS], received_sum[CHANS];
static atomic_long spawned, joined, timers, fired, stopped, ops;
static gk_wg wg;
static gk_rwlock rw;
static long twice[2], writes;
static gk_mutex bank;
static gk_cond paid;
static long tokens = TOKENS;
static gk_sem sem = GK_SEM_INIT(UNITS);
static atomic_int units;
static atomic_long gave_up, cancels;

struct who {
	unsigned int seed;
	int depth;
};

/* One that comes soon; seldom none, or in the end all wait for messages that nobody is left to send. */
static uint64_t deadline(unsigned int r)
{
	return r % 16 ? gk_now() + r % 400000 : GK_FOREVER;
}

static bool no_wait(int err)
{
	if (err != -ETIMEDOUT && err != -ECANCELED)
		return false;
	atomic_fetch_add(&gave_up, 1);
	return true;
}

static void fire(void *arg)
{
	atomic_fetch_add(&fired, 1);
}

static void was_sent(unsigned int c, unsigned int v, int err)
{
	if (!err) {
		atomic_fetch_add(&sent[c], 1);
		atomic_fetch_add(&sent_sum[c], v);
	} else {
		CHECK_EQ(-EPIPE, err);
	}
}

static void was_received(unsigned int c, long v, int got)
{
	if (got == 1) {
		atomic_fetch_add(&received[c], 1);
		atomic_fetch_add(&received_sum[c], v);
	} else {
		CHECK_EQ(0, got);
	}
}

static void sends(unsigned int c, unsigned int v, bool wait)
{
	long e[9] = { v };
	int err = wait ? gk_chan_send_until(chans[c], e, deadline(v)) : gk_chan_try_send(chans[c], e);

	if (!(wait ? no_wait(err) : err == -EAGAIN))
		was_sent(c, v, err);
}

static void gets(unsigned int c, unsigned int r, bool wait)
{
	long e[9] = {};
	int got = wait ? gk_chan_recv_until(chans[c], e, deadline(r)) : gk_chan_try_recv(chans[c], e);

	if (!(wait ? no_wait(got) : got == -EAGAIN))
		was_received(c, e[0], got);
}

/* Two to five cases, on any channels, in either direction, the same twice or none. */
static void selects(unsigned int *seed)
{
	unsigned int n = rand_r(seed) % 4 + 2, how = rand_r(seed) % 3, i, c[5];
	struct gk_case cases[5];
	long out[5][9] = {}, in[5][9] = {};
	int k;

	for (i = 0; i < n; i++) {
		c[i] = rand_r(seed) % CHANS;
		out[i][0] = rand_r(seed) % 1000;
		cases[i] = rand_r(seed) % 2 ? gk_case_send(chans[c[i]], out[i]) : gk_case_recv(chans[c[i]], in[i]);
		if (i && rand_r(seed) % 8 == 0)
			cases[i].chan = NULL;
	}
	k = how == 0 ? gk_select_try(cases, n) : gk_select_until(cases, n, deadline(rand_r(seed)));
	if (how == 0 ? k == -EAGAIN : no_wait(k))
		return;
	CHECK(k >= 0 && k < n && cases[k].chan);
	if (k < 0)
		return;
	if (cases[k].op == GK_CASE_SEND)
		was_sent(c[k], out[k][0], cases[k].result);
	else
		was_received(c[k], in[k][0], cases[k].result);
}

/* Between the two increments it may give way, sleep in the kernel or be preempted. */
static void reads_and_writes(unsigned int r)
{
	if (r % 4) {
		if (no_wait(gk_rwlock_rdlock_until(&rw, deadline(r))))
			return;
		CHECK_EQ(twice[0], twice[1]);
		if (r % 16 == 1)
			gk_yield();
		CHECK_EQ(twice[0], twice[1]);
		CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
		return;
	}
	if (no_wait(gk_rwlock_wrlock_until(&rw, deadline(r / 4))))
		return;
	twice[0]++;
	if (r % 16 == 0)
		gk_yield();
	if (r % 64 == 4)
		usleep(50);
	twice[1]++;
	writes++;
	CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
}

static void takes_a_token(unsigned int r)
{
	int err = 0;

	if (no_wait(gk_mutex_lock_until(&bank, deadline(r))))
		return;
	while (!tokens && !err)
		err = gk_cond_wait_until(&paid, &bank, gk_now() + r % 500000);
	CHECK(!err || no_wait(err));
	if (err) {
		CHECK_EQ(0, gk_mutex_unlock(&bank));
		return;
	}
	CHECK(tokens > 0 && tokens <= TOKENS);
	tokens--;
	CHECK_EQ(0, gk_mutex_unlock(&bank));
	if (r % 4 == 0)
		gk_yield();
	/* It has to be given back, cancelled or not. */
	gk_cancel_mask();
	CHECK_EQ(0, gk_mutex_lock(&bank));
	gk_cancel_unmask();
	tokens++;
	if (r % 8)
		gk_cond_signal(&paid);
	else
		gk_cond_broadcast(&paid);
	CHECK_EQ(0, gk_mutex_unlock(&bank));
}

static void takes_units(unsigned int r)
{
	int n = r % UNITS + 1;

	if (no_wait(gk_sem_acquire_until(&sem, n, deadline(r / 8))))
		return;
	CHECK(atomic_fetch_add(&units, n) + n <= UNITS);
	if (r % 32 == 3)
		gk_sleep(r % 50000);
	else if (r % 4 == 1)
		gk_yield();
	atomic_fetch_sub(&units, n);
	CHECK_EQ(0, gk_sem_release(&sem, n));
}

static void mixes(void *arg);

static void spawns(struct who *w, unsigned int r)
{
	struct gk_attr attr = { .name = "leaf", .flags = r & 1, .stack_size = r & 2 ? 65536 : 0 };
	struct who child[4];
	gk_task *t[4];
	int i, n = r % 4 + 1;

	for (i = 0; i < n; i++) {
		child[i] = (struct who){ .seed = w->seed * 7 + i, .depth = w->depth + 1 };
		CHECK_EQ(0, gk_spawn(&t[i], &attr, mixes, &child[i]));
		atomic_fetch_add(&spawned, 1);
	}
	if (r % 16 == 7) {
		gk_yield();
		CHECK_EQ(0, gk_cancel(t[r / 16 % n]));
		atomic_fetch_add(&cancels, 1);
	}
	/* They use this stack. */
	gk_cancel_mask();
	for (i = 0; i < n; i++) {
		if (gk_join_until(t[i], deadline(r)) == -ETIMEDOUT)
			CHECK_EQ(0, gk_join(t[i]));
		atomic_fetch_add(&joined, 1);
	}
	gk_cancel_unmask();
}

static void one(struct who *w)
{
	unsigned int r = rand_r(&w->seed), op = rand_r(&w->seed) % 130, c = r % CHANS, l = r % LOCKS;
	gk_timer *t;
	long v;

	atomic_fetch_add(&ops, 1);
	if (op < 18) {
		sends(c, r % 1000, op < 6);
	} else if (op < 36) {
		gets(c, r, op < 24);
	} else if (op < 50) {
		if (op < 40 && gk_mutex_trylock(&locks[l]) < 0)
			return;
		if (op >= 40 && no_wait(gk_mutex_lock_until(&locks[l], deadline(r))))
			return;
		v = guarded[l];
		if (r % 4 == 0)
			gk_yield();
		if (r % 64 == 1)
			usleep(50);
		guarded[l] = v + 1;
		atomic_fetch_add(&locked[l], 1);
		CHECK_EQ(0, gk_mutex_unlock(&locks[l]));
	} else if (op < 65) {
		gk_yield();
	} else if (op < 72) {
		gk_sleep(r % 1000000);
	} else if (op < 79) {
		usleep(r % 500);
	} else if (op < 86) {
		lib_burn(r % 50000);
	} else if (op < 90) {
		gk_pin();
		gk_yield();
		gk_sleep(r % 100000);
		gk_unpin();
	} else if (op < 91) {
		lib_burn(5 * MS);
	} else if (op < 95) {
		t = gk_timer_start(r % 2000000, fire, NULL);
		CHECK(t);
		if (r & 1)
			gk_sleep(r % 1000000);
		else
			gk_yield();
		atomic_fetch_add(&timers, 1);
		if (t)
			atomic_fetch_add(&stopped, gk_timer_stop(t));
	} else if (op < 105) {
		selects(&w->seed);
	} else if (op < 112) {
		reads_and_writes(r);
	} else if (op < 118) {
		takes_a_token(r);
	} else if (op < 124) {
		takes_units(r);
	} else if (w->depth < DEPTH) {
		spawns(w, r);
	}
}

static void mixes(void *arg)
{
	struct who *w = arg;
	int i, n = w->depth ? 20 : INT32_MAX;

	for (i = 0; i < n && gk_now() < end; i++)
		one(w);
	if (!w->depth)
		gk_wg_done(&wg);
}

/* Ends the waits of those who are still in a channel when the time is over. */
static void drains(void *arg)
{
	long c = (long)arg;

	while (gk_now() < end)
		gk_sleep(5 * MS);
	CHECK_EQ(0, gk_chan_close(chans[c]));
	gk_wg_done(&wg);
}

static int mix(void *arg)
{
	static struct who root[ROOTS];
	struct gk_stats s;
	long i, left;
	long e[9];

	end = gk_now() + *(long *)arg * SEC;
	for (i = 0; i < CHANS; i++)
		chans[i] = gk_chan_new(i % 2 ? 8 : sizeof(e), i < 2 ? 0 : 5);
	gk_wg_add(&wg, ROOTS + CHANS);
	for (i = 0; i < CHANS; i++)
		gk_go(drains, (void *)i);
	for (i = 0; i < ROOTS; i++) {
		root[i].seed = seed0 + i;
		CHECK_EQ(0, gk_go(mixes, &root[i]));
	}
	gk_wg_wait(&wg);
	for (i = 0; i < CHANS; i++) {
		left = 0;
		while (gk_chan_recv(chans[i], e) == 1) {
			left++;
			atomic_fetch_add(&received_sum[i], e[0]);
		}
		CHECK_EQ(sent[i], received[i] + left);
		CHECK_EQ(sent_sum[i], received_sum[i]);
		CHECK_EQ(0, gk_chan_free(chans[i]));
	}
	for (i = 0; i < LOCKS; i++)
		CHECK_EQ(locked[i], guarded[i]);
	CHECK_EQ(writes, twice[0]);
	CHECK_EQ(writes, twice[1]);
	CHECK_EQ(TOKENS, tokens);
	CHECK_EQ(0, units);
	CHECK_EQ(0, gk_sem_try_acquire(&sem, UNITS));
	CHECK_EQ(0, gk_sem_release(&sem, UNITS));
	CHECK_EQ(spawned, joined);
	CHECK(WAIT_FOR(lib_stats().tasks == 1 && timers == fired + stopped));
	CHECK_EQ(timers, fired + stopped);
	s = lib_stats();
	CHECK_EQ(1, s.tasks);
	/* A fault may have to wait for a lock of the kernel's, but hardly ever. */
	CHECK(s.inside_blocks <= 1 + s.blocks / 1000);
	fprintf(stderr, "# %ld waits given up, %ld tasks cancelled\n", gave_up, cancels);
	fprintf(stderr, "# %s, %d cores: %ld operations, %llu switches, %llu steals, %llu blocks, %llu preempts, %llu inside_waits, peak %llu\n",
		gk_backend(), gk_cores(), ops, (unsigned long long)s.switches, (unsigned long long)s.steals,
		(unsigned long long)s.blocks, (unsigned long long)s.preempts, (unsigned long long)s.inside_waits,
		(unsigned long long)s.workers_peak);
	return 0;
}

static int run_mix(int cores)
{
	long seconds = getenv("GK_SECONDS") ? atol(getenv("GK_SECONDS")) : 3;

	seed0 = getenv("GK_SEED") ? strtoul(getenv("GK_SEED"), NULL, 0) : (unsigned int)time(NULL) * 31 + getpid();
	fprintf(stderr, "# GK_SEED=%u GK_SECONDS=%ld\n", seed0, seconds);
	alarm(seconds * 3 + 60);
	return lib_run(cores, mix, &seconds);
}

TEST(everything_at_random_on_one_core)
{
	EXPECT_EQ(0, run_mix(1));
}

TEST(everything_at_random_on_two_cores)
{
	EXPECT_EQ(0, run_mix(2));
}

TEST(everything_at_random_on_four_cores)
{
	EXPECT_EQ(0, run_mix(4));
}

TEST_HARNESS_MAIN
