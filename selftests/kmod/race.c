// SPDX-License-Identifier: GPL-2.0-only
/*
 * race.c - the windows where a wake-up could get lost or doubled, entered very often.
 *
 * A task that is lost is a task that nobody takes: the controller then waits in vain. GK_COUNT sets how often.
 * Rules 1, 2, 3, 8, 10.
 */
#include "test.h"
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define QUICK	5000UL

static unsigned long taken_by(struct rig *r)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < r->nw; i++)
		sum += atomic_load(&r->w[i]->taken);
	return sum;
}

/* Rule 1: push against park. The controller pushes at the moment the only worker finds nothing and parks. */
TEST(push_against_park)
{
	unsigned long i, n = rig_count(QUICK);
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	ASSERT_NE(NULL, rig_spawn(&r, 0, rig_consumer, NULL));
	for (i = 1; i <= n; i++) {
		rig_push(&r, 0);
		while (taken_by(&r) < i)
			if (rig_state(r.w[0]) == GK_W_STANDBY && taken_by(&r) < i) {
				ASSERT_TRUE(RIG_WAIT(taken_by(&r) >= i)) TH_LOG("task %lu is lost", i);
			}
	}
	EXPECT_EQ(n, taken_by(&r));
	rig_close(&r);
}

static void short_block(struct rig_worker *w)
{
	struct timespec t = { 0, 1000 };

	nanosleep(&t, NULL);
	(void)w;
}

/*
 * Rule 2: push against block. Workers take tasks that block; `running` falls to 0 at any time. Several pushers on other CPUs use the
 * library's half of the protocol and nothing else.
 */
struct pusher {
	struct rig *r;
	unsigned long n;
	unsigned int core;
};

static void *push_many(void *arg)
{
	struct pusher *p = arg;
	unsigned long i;

	for (i = 0; i < p->n; i++) {
		rig_push(p->r, p->core);
		/* Not to outrun the takers by more than the counters can tell: a queue of 64. */
		while (READ_ONCE(rig_core(p->r, p->core)->q_tail) - READ_ONCE(rig_core(p->r, p->core)->q_head) > 64)
			rig_nap();
	}
	return NULL;
}

static void push_against_block(struct __test_metadata *_metadata, unsigned int bound, unsigned int ncores, rig_fn job)
{
	const struct rig_opt opt = { .bound = bound, .ncores = ncores, .slice = MSEC, .grain = 100 * USEC };
	unsigned long n = rig_count(QUICK) / 2, last;
	struct pusher p[8];
	pthread_t t[8];
	unsigned int i;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	for (i = 0; i < 4 * ncores; i++) {
		struct rig_worker *w = rig_spawn(&r, i % ncores, rig_consumer, NULL);

		ASSERT_NE(NULL, w);
		w->job = job;
	}
	for (i = 0; i < 2 * ncores; i++) {
		p[i] = (struct pusher){ .r = &r, .n = n / (2 * ncores), .core = i % ncores };
		ASSERT_EQ(0, pthread_create(&t[i], NULL, push_many, &p[i]));
	}
	n = n / (2 * ncores) * 2 * ncores;
	do {
		last = taken_by(&r);
		ASSERT_TRUE(RIG_WAIT(taken_by(&r) > last || last == n))
			TH_LOG("%lu of %lu tasks, then nobody goes on: running %u ready %u standby %u", last, n,
			       rig_core(&r, 0)->running, rig_core(&r, 0)->nready, rig_core(&r, 0)->nstandby);
	} while (last < n);
	for (i = 0; i < 2 * ncores; i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(n, taken_by(&r));
	/* Nobody is lost either: all come to rest as standbys, and the counts say so. */
	for (i = 0; i < r.nw; i++) {
		EXPECT_STATE(r.w[i], GK_W_STANDBY);
	}
	for (i = 0; i < ncores; i++) {
		EXPECT_TRUE(RIG_WAIT(rig_core(&r, i)->nstandby == 4));
		EXPECT_EQ(0, rig_core(&r, i)->running);
		EXPECT_EQ(0, rig_core(&r, i)->nready);
		EXPECT_TRUE(rig_idle_bit(&r, i));
		EXPECT_EQ(rig_core(&r, i)->blocks, rig_core(&r, i)->unblocks);
	}
	rig_close(&r);
}

TEST(push_against_block_bound_1)
{
	push_against_block(_metadata, 1, 1, short_block);
}

TEST(push_against_block_bound_2)
{
	push_against_block(_metadata, 2, 1, short_block);
}

TEST(push_against_block_unbounded)
{
	push_against_block(_metadata, 0, 1, short_block);
}

TEST(push_against_block_two_cores)
{
	push_against_block(_metadata, 1, 2, short_block);
}

TEST(push_against_block_four_cores)
{
	push_against_block(_metadata, 2, 4, short_block);
}

/* Tasks that compute for more than a slice, block, and yield, in a fixed mix. */
static void mixed(struct rig_worker *w)
{
	unsigned long i, n = atomic_load(&w->taken);
	volatile unsigned long x = 0;

	switch (n % 4) {
	case 0:
		short_block(w);
		break;
	case 1:
		for (i = 0; i < 200000; i++)
			x += i;
		break;
	case 2:
		rig_park(w, GK_PARK_READY);
		break;
	}
}

TEST(everything_at_once_bound_1)
{
	push_against_block(_metadata, 1, 2, mixed);
}

TEST(everything_at_once_bound_2)
{
	push_against_block(_metadata, 2, 2, mixed);
}

/* UNHOLD against HELD: each UNHOLD lets exactly one park through, whichever comes first. */
static void holder(struct rig_worker *w)
{
	while (!atomic_load(&w->stop)) {
		rig_park(w, GK_PARK_HELD);
		atomic_fetch_add(&w->seen, 1);
	}
}

TEST(unhold_against_held)
{
	unsigned long i, n = rig_count(QUICK);
	struct rig_worker *w;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	w = rig_spawn(&r, 0, holder, NULL);
	ASSERT_NE(NULL, w);
	for (i = 1; i <= n; i++) {
		ASSERT_EQ(0, rig_call(&r, GK_IOC_UNHOLD, w->id));
		while (atomic_load(&w->seen) < i)
			if (rig_state(w) == GK_W_HELD && atomic_load(&w->seen) < i) {
				ASSERT_TRUE(RIG_WAIT(atomic_load(&w->seen) >= i)) TH_LOG("unhold %lu is lost", i);
			}
		ASSERT_EQ(i, atomic_load(&w->seen));
	}
	rig_close(&r);
}

/* Rule 8: signals against grants. A worker that leaves its park for a handler at the moment of its grant is not lost. */
static atomic_ulong handled;

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&handled, 1);
}

TEST(signals_against_grants)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	unsigned long i, n = rig_count(QUICK);
	struct rig r;

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1, .slice = MSEC, .grain = 100 * USEC }));
	for (i = 0; i < 3; i++) {
		ASSERT_NE(NULL, rig_spawn(&r, 0, rig_consumer, NULL));
		r.w[i]->job = mixed;
	}
	for (i = 1; i <= n; i++) {
		pthread_kill(r.w[i % 3]->thread, SIGUSR1);
		rig_push(&r, 0);
		pthread_kill(r.w[(i + 1) % 3]->thread, SIGUSR1);
		ASSERT_TRUE(RIG_WAIT(taken_by(&r) >= i)) TH_LOG("task %lu is lost", i);
	}
	/* All at the same time: the last signal may still be on its way to one of them. */
	EXPECT_TRUE(RIG_WAIT(READ_ONCE(rig_core(&r, 0)->nstandby) == 3 && !READ_ONCE(rig_core(&r, 0)->running)))
		TH_LOG("running %u, STANDBY %u", rig_core(&r, 0)->running, rig_core(&r, 0)->nstandby);
	rig_close(&r);
}

/*
 * Rule 10: A wakes B on its own CPU and blocks; B is switched in at once. The core never needed a standby although work waits
 * all the time. Other threads of the guest may get in between now and then; they are not the rule.
 */
struct relay {
	int mine, other;
	unsigned long n;
};

static void relay(struct rig_worker *w)
{
	struct relay *k = w->arg;
	eventfd_t v;

	rig_wait_go(w);
	while (atomic_load(&w->beats) < k->n) {
		/* Work waits whenever one of the two blocks. */
		WRITE_ONCE(rig_cp(w)->q_next, 1);
		if (eventfd_read(k->mine, &v))
			break;
		atomic_fetch_add(&w->beats, 1);
		eventfd_write(k->other, 1);
	}
	/* The other may be waiting for one more. */
	eventfd_write(k->other, 1);
	atomic_store(&w->aux, 1);
	rig_wait_go(w);
}

static void next_taker(struct rig_worker *w)
{
	while (!atomic_load(&w->stop)) {
		WRITE_ONCE(rig_cp(w)->q_next, 0);
		rig_park(w, GK_PARK_STANDBY);
	}
}

TEST(a_worker_that_is_switched_in_at_once_needs_no_standby)
{
	unsigned long n = rig_count(QUICK), grants;
	int a = eventfd(0, 0), b = eventfd(0, 0), end = 0;
	struct relay k[2] = { { a, b, n }, { b, a, n } };
	struct rig_worker *w[2], *s;
	struct sched_param sp = { 0 };
	struct gk_core_page *c;
	struct rig r;

	mlockall(MCL_CURRENT | MCL_FUTURE);
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	c = rig_core(&r, 0);
	w[0] = rig_spawn(&r, 0, relay, &k[0]);
	w[1] = rig_spawn(&r, 0, relay, &k[1]);
	ASSERT_TRUE(w[0] && w[1]);
	ASSERT_STATE(w[0], GK_W_BLOCKED);
	ASSERT_STATE(w[1], GK_W_BLOCKED);
	/* Batch threads do not preempt the one that wakes them: it reaches its own block first. */
	pthread_setschedparam(w[0]->thread, SCHED_BATCH, &sp);
	pthread_setschedparam(w[1]->thread, SCHED_BATCH, &sp);
	s = rig_spawn(&r, 0, next_taker, NULL);
	ASSERT_NE(NULL, s);
	ASSERT_STATE(s, GK_W_STANDBY);
	rig_go(w[0]);
	rig_go(w[1]);
	ASSERT_TRUE(RIG_WAIT(!c->running && rig_state(w[0]) == GK_W_BLOCKED && rig_state(w[1]) == GK_W_BLOCKED));
	grants = c->grants_standby;
	eventfd_write(a, 1);
	while (!end) {
		struct timespec t = { 0, 20 * MSEC };
		unsigned long beats = atomic_load(&w[0]->beats);

		nanosleep(&t, NULL);	/* the controller keeps out of the way */
		end = atomic_load(&w[0]->aux) && atomic_load(&w[1]->aux);
		if (!end) {
			ASSERT_TRUE(RIG_WAIT(atomic_load(&w[0]->beats) > beats || atomic_load(&w[0]->aux)));
		}
	}
	WRITE_ONCE(c->q_next, 0);
	grants = c->grants_standby - grants;
	EXPECT_GT(n / 5, grants) TH_LOG("%lu grants of a standby in %lu handovers", grants, 2 * n);
	EXPECT_LE(n, c->blocks);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
