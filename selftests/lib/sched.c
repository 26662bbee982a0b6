// SPDX-License-Identifier: GPL-2.0-only
/* sched.c - fairness, preemption, work stealing, the core word under contention, statistics. */
#include "lib.h"

static atomic_int stop, started;
static atomic_long count[64];
static gk_wg wg;

static void yields(void *arg)
{
	while (!stop) {
		atomic_fetch_add(&count[(long)arg], 1);
		gk_yield();
	}
	gk_wg_done(&wg);
}

GK_TEST(yielding_tasks_take_turns, 1)
{
	long i, least = 1l << 60, most = 0;

	gk_wg_add(&wg, 10);
	for (i = 0; i < 10; i++)
		gk_go(yields, (void *)i);
	gk_sleep(200 * MS);
	stop = 1;
	gk_wg_wait(&wg);
	for (i = 0; i < 10; i++) {
		least = count[i] < least ? count[i] : least;
		most = count[i] > most ? count[i] : most;
	}
	CHECK(least > 0);
	CHECK(most <= least * 2);
	return 0;
}

static void hogs(void *arg)
{
	atomic_fetch_add(&started, 1);
	while (!stop)
		atomic_fetch_add_explicit(&count[(long)arg], 1, memory_order_relaxed);
	gk_wg_done(&wg);
}

static bool each_had_a_turn(int n)
{
	while (n-- && count[n])
		;
	return n < 0;
}

static int hogs_share(void *arg)
{
	int i, round, hogs_n = 3 * gk_cores();

	stop = started = 0;
	gk_wg_add(&wg, hogs_n);
	for (i = 0; i < hogs_n; i++)
		gk_go(hogs, (void *)(long)i);
	CHECK(WAIT_FOR(started == hogs_n));
	for (round = 0; round < 5; round++) {
		for (i = 0; i < hogs_n; i++)
			count[i] = 0;
		CHECK(WAIT_FOR(each_had_a_turn(hogs_n)));
	}
	stop = 1;
	gk_wg_wait(&wg);
	CHECK(lib_stats().preempts > 0);
	return 0;
}

TEST(hogs_share_their_core)
{
	EXPECT_EQ(0, lib_run(1, hogs_share, NULL));
	EXPECT_EQ(0, lib_run(2, hogs_share, NULL));
}

/* Every task is started although each computes until all have been, those of the queue of all too (more than a ring holds). */
static atomic_int shorts;

static void is_short(void *arg)
{
	atomic_fetch_add(&shorts, 1);
}

static void hogs_until_all(void *arg)
{
	while (shorts < 1000)
		;
}

static int overflow(void *arg)
{
	int i;

	shorts = 0;
	/* The ring overflows into the queue of all, and hogs lie everywhere in both. */
	for (i = 0; i < 1000; i++) {
		CHECK_EQ(0, gk_go(is_short, NULL));
		if (i % 100 == 50)
			CHECK_EQ(0, gk_go(hogs_until_all, NULL));
	}
	CHECK(WAIT_FOR(shorts == 1000));
	if (shorts != 1000)
		fprintf(stderr, "# only %d of 1000 ran on %d cores\n", shorts, gk_cores());
	return 0;
}

TEST(a_hog_starves_nobody_in_any_queue)
{
	EXPECT_EQ(0, lib_run(1, overflow, NULL));
	EXPECT_EQ(0, lib_run(2, overflow, NULL));
	EXPECT_EQ(0, lib_run(4, overflow, NULL));
}

static void pinned_yields(void *arg)
{
	while (shorts < 600)
		gk_yield();
}

static int pinned_starves(void *arg)
{
	struct gk_attr attr = { .flags = GK_PINNED };
	int i;

	shorts = 0;
	for (i = 0; i < 600; i++) {
		gk_go(is_short, NULL);
		if (i % 150 == 20)
			gk_spawn(NULL, &attr, pinned_yields, NULL);
	}
	CHECK(WAIT_FOR(shorts == 600));
	return 0;
}

TEST(a_pinned_task_that_yields_starves_nobody)
{
	EXPECT_EQ(0, lib_run(1, pinned_starves, NULL));
	EXPECT_EQ(0, lib_run(3, pinned_starves, NULL));
}

/* A hog that never makes a gk call, and tasks that wake each other beside it on the same core. */
static gk_chan *ping, *pong;

static void ponger(void *arg)
{
	long v;

	while (gk_chan_recv(ping, &v) == 1)
		gk_chan_send(pong, &v);
}

GK_TEST(messages_go_on_beside_a_hog, 1)
{
	uint64_t turns, before, end = gk_now() + PATIENCE;
	long v = 0;

	ping = gk_chan_new(sizeof(v), 0);
	pong = gk_chan_new(sizeof(v), 0);
	gk_wg_add(&wg, 1);
	gk_go(ponger, NULL);
	gk_go(hogs, NULL);
	CHECK(WAIT_FOR(started));
	before = lib_stats().preempts;
	do {
		gk_chan_send(ping, &v);
		gk_chan_recv(pong, &v);
		v++;
		/* Rarely: to add up the numbers of all workers takes longer than a round trip. */
		turns = v % 64 ? 0 : lib_stats().preempts - before;
	} while (turns < 20 && gk_now() < end);
	fprintf(stderr, "# %llu turns of the hog in %ld round trips\n", (unsigned long long)turns, v);
	/* Two tasks of three: at the very least a round trip for two of its turns. */
	CHECK(turns >= 20);
	CHECK(turns <= 2 * v);
	stop = 1;
	gk_wg_wait(&wg);
	return 0;
}

/* The timer of a core that is alone with one task is set for that deadline; it is to end a turn all the same. */
static void sleeps_long(void *arg)
{
	gk_sleep(3600 * SEC);
}

static void is_noticed(void *arg)
{
	atomic_store((atomic_int *)arg, 1);
}

GK_TEST(a_far_deadline_keeps_no_new_task_waiting, 1)
{
	atomic_int ran;
	uint64_t end;
	int i;

	gk_go(sleeps_long, NULL);
	gk_yield();
	for (i = 0; i < 20; i++) {
		usleep(5000);
		gk_yield();
		lib_burn(20 * MS);
		ran = 0;
		gk_go(is_noticed, &ran);
		end = gk_now() + PATIENCE;
		while (!ran && gk_now() < end)
			;
		CHECK_EQ(1, ran);
	}
	return 0;
}

static atomic_long on_cpu[256];

static int cpus_used(void)
{
	int i, used = 0;

	for (i = 0; i < 256; i++)
		used += on_cpu[i] > 100;
	return used;
}

/* Until every CPU has had its part: how long that takes is the host's business, as it may have fewer. */
static void computes_where_it_is(void *arg)
{
	uint64_t end = gk_now() + PATIENCE;
	int cpu;

	while (cpus_used() < gk_cores() && gk_now() < end) {
		cpu = sched_getcpu();
		if (cpu >= 0 && cpu < 256)
			atomic_fetch_add_explicit(&on_cpu[cpu], 1, memory_order_relaxed);
		gk_yield();
	}
	gk_wg_done(&wg);
}

GK_TEST(one_tasks_children_use_every_cpu, 0)
{
	int i;

	gk_wg_add(&wg, 40);
	for (i = 0; i < 40; i++)
		gk_go(computes_where_it_is, NULL);
	gk_wg_wait(&wg);
	CHECK_EQ(gk_cores(), cpus_used());
	if (gk_cores() > 1)
		CHECK(lib_stats().steals > 0);
	return 0;
}

/* Preempted tasks, mounted on their workers, spread to a core that became free. */
static void burns(void *arg)
{
	lib_burn(100 * MS);
	atomic_fetch_add(&on_cpu[sched_getcpu() & 255], 1);
	gk_wg_done(&wg);
}

GK_TEST(a_free_core_takes_over_preempted_tasks, 2)
{
	uint64_t start;
	int i;

	if (sched_getcpu() < 0)
		return 0;
	gk_wg_add(&wg, 8);
	for (i = 0; i < 8; i++)
		gk_go(burns, NULL);
	start = gk_now();
	gk_wg_wait(&wg);
	fprintf(stderr, "# 8 x 100 ms of wall time, preempted: %llu ms, %llu preempts\n",
		(unsigned long long)(gk_now() - start) / 1000000, (unsigned long long)lib_stats().preempts);
	return 0;
}

static void nothing(void *arg)
{
}

/*
 * A new task and the one that started it both compute. They share a core for a grain, at most for a slice, not for as long as
 * they compute, though new tasks were joined at once of late and so woke no other core.
 */
static void computes_apart(void *arg)
{
	while (!stop)
		*(atomic_int *)arg = sched_getcpu() + 1;
}

GK_TEST(a_new_task_and_its_starter_get_a_core_each, 2)
{
	bool apart = false;
	atomic_int cpu;
	cpu_set_t set;
	uint64_t end;
	int i, round;
	gk_task *t;

	sched_getaffinity(getpid(), sizeof(set), &set);	/* of the main thread, which is pinned nowhere */
	if (CPU_COUNT(&set) < 2 || sched_getcpu() < 0)
		return 0;
	for (round = 0; round < 10 && !apart; round++) {
		for (i = 0; i < 20000; i++) {
			gk_spawn(&t, NULL, nothing, NULL);
			gk_join(t);
		}
		cpu = stop = 0;
		gk_spawn(&t, NULL, computes_apart, &cpu);
		end = gk_now() + 300 * MS;
		while (!apart && gk_now() < end)
			apart = cpu && cpu != sched_getcpu() + 1;
		stop = 1;
		gk_join(t);
	}
	CHECK(apart);
	return 0;
}

/* Rule 6: many workers wake at once on one core and want its word. */
static void wakes_and_calls(void *arg)
{
	int i;

	for (i = 0; i < 100; i++) {
		usleep(100);
		gk_mutex_lock(arg);
		atomic_fetch_add(&count[0], 1);
		gk_mutex_unlock(arg);
		gk_yield();
		gk_wg_add(&wg, 1);
		gk_wg_done(&wg);
	}
	gk_wg_done(&wg);
}

static int contention(void *arg)
{
	static gk_mutex m;
	struct gk_stats s;
	int i;

	count[0] = 0;
	gk_wg_add(&wg, 100);
	for (i = 0; i < 100; i++)
		gk_go(wakes_and_calls, &m);
	gk_wg_wait(&wg);
	CHECK_EQ(10000, count[0]);
	s = lib_stats();
	CHECK_EQ(0, s.inside_blocks);
	CHECK(s.workers >= 2);
	CHECK(s.workers_peak >= s.workers);
	fprintf(stderr, "# inside_waits %llu, workers_peak %llu, blocks %llu\n", (unsigned long long)s.inside_waits,
		(unsigned long long)s.workers_peak, (unsigned long long)s.blocks);
	return 0;
}

TEST(a_hundred_woken_workers_share_the_core_word)
{
	EXPECT_EQ(0, lib_run(1, contention, NULL));
	EXPECT_EQ(0, lib_run(2, contention, NULL));
}

/* --- gk_nopreempt() --- */

static atomic_int others;

static void another(void *arg)
{
	atomic_fetch_add(&others, 1);
}

/* Preempted since @a, or asleep, as in a fault: then, too, others run. */
static bool interrupted(const struct gk_stats *a)
{
	struct gk_stats b = lib_stats();

	return b.preempts > a->preempts || b.blocks > a->blocks;
}

static int asks_not_to_be_preempted(void *arg)
{
	struct gk_stats a, b;
	uint64_t end;
	int i;

	CHECK_EQ(-EINVAL, gk_preempt());
	for (i = 1; i <= 5; i++) {
		others = 0;
		CHECK_EQ(0, gk_yield());	/* a new slice */
		a = lib_stats();
		CHECK_EQ(0, gk_nopreempt());
		CHECK_EQ(0, gk_nopreempt());
		CHECK_EQ(0, gk_go(another, NULL));
		end = gk_now() + PATIENCE;
		do
			b = lib_stats();
		while (b.deferred == a.deferred && !others && gk_now() < end);
		CHECK(b.deferred > a.deferred || b.blocks > a.blocks);
		/* It went on beyond its slice, unless it used up the other one as well before it looked. */
		CHECK(!others || interrupted(&a));
		CHECK_EQ(0, gk_preempt());
		/* The last gives way at once. */
		CHECK_EQ(0, gk_preempt());
		CHECK_EQ(1, others);
	}
	CHECK_EQ(-EINVAL, gk_preempt());
	/* And no longer than that, however long it asks. */
	others = 0;
	a = lib_stats();
	CHECK_EQ(0, gk_nopreempt());
	CHECK_EQ(0, gk_go(another, NULL));
	for (end = gk_now() + PATIENCE; !others && gk_now() < end;)
		;
	CHECK_EQ(1, others);
	b = lib_stats();
	CHECK(b.deferred > a.deferred || b.blocks > a.blocks);
	CHECK(interrupted(&a));
	/* What a task asked for is not for the next on its worker. */
	CHECK_EQ(0, gk_yield());
	CHECK_EQ(0, gk_preempt());
	return 0;
}

TEST(a_task_may_ask_for_one_slice_more)
{
	setenv("GK_SLICE_US", "50000", 1);
	EXPECT_EQ(-EPERM, gk_nopreempt());
	EXPECT_EQ(-EPERM, gk_preempt());
	EXPECT_EQ(0, lib_run(1, asks_not_to_be_preempted, NULL));
}

GK_TEST(statistics_are_plausible, 2)
{
	struct { struct gk_stats s; char more[64]; } big;
	struct gk_stats a = lib_stats(), b;
	uint64_t first = 99;
	gk_task *t;
	int i;

	CHECK_EQ(1, a.tasks);
	CHECK_EQ(1, a.started);
	CHECK(a.workers >= 1);		/* the others may be on their way still */
	for (i = 0; i < 1000; i++) {
		gk_spawn(&t, NULL, nothing, NULL);
		gk_join(t);
	}
	gk_sleep(MS);
	usleep(20000);
	b = lib_stats();
	CHECK_EQ(1, b.tasks);
	CHECK_EQ(1001, b.started);
	CHECK(b.switches - a.switches >= 1000);
	CHECK(b.timers >= 1);
	CHECK(b.workers >= 2);
	CHECK(b.workers_peak >= b.workers);
	if (lib_module())
		CHECK(b.blocks >= 1);
	CHECK_EQ(0, b.inside_blocks);
	/* a smaller and a larger struct */
	CHECK_EQ(0, gk_stats((struct gk_stats *)&first, 8));
	CHECK_EQ(1, first);
	memset(&big, 0xff, sizeof(big));
	CHECK_EQ(0, gk_stats(&big.s, sizeof(big)));
	CHECK_EQ(0, big.more[0]);
	CHECK_EQ(0, big.more[63]);
	CHECK_EQ(-EINVAL, gk_stats(&big.s, 0));
	return 0;
}

TEST_HARNESS_MAIN
