// SPDX-License-Identifier: GPL-2.0-only
/*
 * park.c - the three parks, who is granted next, displacement, idle bits, and what happens when nobody is left.
 *
 * Contract 1 and 3; rules 1, 3, 7, 12.
 */
#include "test.h"
#include <poll.h>
#include <sys/eventfd.h>

static const struct rig_opt plain = { .bound = 1 };

/* Parks as `arg` says for ever; stamps each return. */
static void parker(struct rig_worker *w)
{
	while (!atomic_load(&w->stop)) {
		w->ret = rig_park(w, (uintptr_t)w->arg);
		if (w->ret) {
			atomic_store(&w->err, -w->ret);
			return;
		}
		atomic_store(&w->stamp, rig_tick(w->rig));
		atomic_fetch_add(&w->seen, 1);
	}
}

/* --- rule 1: a park is only a request --- */

/* Once per go: one park of the kind in `arg`; counts the returns. */
static void park_once(struct rig_worker *w)
{
	while (!atomic_load(&w->stop)) {
		rig_wait_go(w);
		if (atomic_load(&w->stop))
			break;
		w->ret = rig_park(w, (uintptr_t)w->arg);
		atomic_fetch_add(&w->seen, 1);
	}
}

TEST(standby_returns_at_once_when_work_waits_and_nobody_runs)
{
	struct gk_core_page *c;
	struct rig_worker *w;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &plain));
	c = rig_core(&r, 0);
	w = rig_spawn(&r, 0, park_once, (void *)GK_PARK_STANDBY);
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_BLOCKED);
	/* each kind of waiting work in turn */
	rig_push_quiet(&r, 0);
	rig_go(w);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 1)) TH_LOG("a task in the queue");
	EXPECT_EQ(0, w->ret);
	rig_drain(&r, 0);
	WRITE_ONCE(c->q_next, 1);
	rig_go(w);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 2)) TH_LOG("q_next");
	WRITE_ONCE(c->q_next, 0);
	WRITE_ONCE(c->deadline, 1);
	rig_go(w);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 3)) TH_LOG("a deadline");
	WRITE_ONCE(c->deadline, 0);
	WRITE_ONCE(rig_group(&r)->net_seen, rig_group(&r)->net_seq - 1);
	rig_go(w);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 4)) TH_LOG("the net");
	WRITE_ONCE(rig_group(&r)->net_seen, rig_group(&r)->net_seq);
	WRITE_ONCE(rig_group(&r)->gq_len, 1);
	rig_go(w);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 5)) TH_LOG("the global queue");
	WRITE_ONCE(rig_group(&r)->gq_len, 0);
	rig_go(w);
	EXPECT_STATE(w, GK_W_STANDBY);
	EXPECT_EQ(5, atomic_load(&w->seen));
	rig_close(&r);
}

/* Rule 3: work that can be stolen waits for every empty core, unless somebody is looking for it already. */
TEST(stealable_work_of_another_core)
{
	const struct rig_opt opt = { .bound = 1, .ncores = 2 };
	struct rig_worker *w, *h;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	w = rig_spawn(&r, 1, park_once, (void *)GK_PARK_STANDBY);
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_BLOCKED);
	rig_push_quiet(&r, 0);
	rig_go(w);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 1)) TH_LOG("core 0 has a task, nobody looks");
	WRITE_ONCE(rig_group(&r)->searching, 1);
	rig_go(w);
	ASSERT_STATE(w, GK_W_STANDBY);
	EXPECT_EQ(1, atomic_load(&w->seen)) TH_LOG("somebody looks for it already");
	WRITE_ONCE(rig_group(&r)->searching, 0);
	EXPECT_EQ(1, rig_call(&r, GK_IOC_WAKE, 1));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 2));
	/* q_next is for its own core only: no reason for another one to wake up. */
	rig_drain(&r, 0);
	WRITE_ONCE(rig_core(&r, 0)->q_next, 1);
	rig_go(w);
	ASSERT_STATE(w, GK_W_STANDBY);
	EXPECT_EQ(2, atomic_load(&w->seen));
	WRITE_ONCE(rig_core(&r, 0)->q_next, 0);
	rig_close(&r);
}

TEST(ready_returns_at_once_when_nobody_else_could_run)
{
	struct gk_core_page *c;
	struct rig_worker *w;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &plain));
	c = rig_core(&r, 0);
	w = rig_spawn(&r, 0, parker, (void *)GK_PARK_READY);
	ASSERT_NE(NULL, w);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) > 1000));
	EXPECT_EQ(GK_W_RUNNING, rig_state(w));
	EXPECT_EQ(0, c->grants_ready);
	rig_close(&r);
}

/* --- held --- */

TEST(held_until_unhold)
{
	struct gk_core_page *c;
	struct rig_worker *w;
	struct rig r;
	uint64_t seq;

	ASSERT_EQ(0, rig_open(&r, &plain));
	c = rig_core(&r, 0);
	w = rig_spawn(&r, 0, park_once, (void *)GK_PARK_HELD);
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_BLOCKED);
	rig_go(w);
	ASSERT_STATE(w, GK_W_HELD);
	EXPECT_EQ(1, c->parks_held);
	seq = rig_wp(w)->seq;
	/* Work that waits is none of its business. */
	rig_push_quiet(&r, 0);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_WAKE, 0));
	EXPECT_EQ(GK_W_HELD, rig_state(w));
	EXPECT_EQ(seq, rig_wp(w)->seq);
	rig_drain(&r, 0);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_UNHOLD, w->id));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 1));
	EXPECT_EQ(0, w->ret);
	/* HELD to READY, READY to RUNNING by a grant (then RUNNING to BLOCKED: it waits for go). */
	ASSERT_STATE(w, GK_W_BLOCKED);
	EXPECT_EQ(seq + 3, rig_wp(w)->seq);
	EXPECT_EQ(1, rig_wp(w)->grants);
	rig_close(&r);
}

TEST(unhold_before_held_is_remembered_once)
{
	struct rig_worker *w;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &plain));
	w = rig_spawn(&r, 0, park_once, (void *)GK_PARK_HELD);
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_BLOCKED);
	/* twice, and it still counts once */
	EXPECT_EQ(0, rig_call(&r, GK_IOC_UNHOLD, w->id));
	EXPECT_EQ(0, rig_call(&r, GK_IOC_UNHOLD, w->id));
	rig_go(w);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 1));
	rig_go(w);
	ASSERT_STATE(w, GK_W_HELD);
	EXPECT_EQ(1, atomic_load(&w->seen));
	EXPECT_EQ(0, rig_call(&r, GK_IOC_UNHOLD, w->id));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 2));
	rig_close(&r);
}

/* The core is busy: UNHOLD makes the worker READY, and it waits for its turn. */
TEST(unhold_on_a_busy_core_makes_it_ready)
{
	struct rig_worker *w, *h;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &plain));
	w = rig_spawn(&r, 0, parker, (void *)GK_PARK_HELD);
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_HELD);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_UNHOLD, w->id));
	EXPECT_STATE(w, GK_W_READY);
	EXPECT_TRUE(rig_wait_beats(h, 10000));
	EXPECT_EQ(0, atomic_load(&w->seen));
	EXPECT_EQ(1, rig_core(&r, 0)->nready);
	atomic_store(&h->stop, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->seen) == 1));
	rig_close(&r);
}

/* --- order --- */

static void reader(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	atomic_store(&w->stamp, rig_tick(w->rig));
}

TEST(ready_workers_are_granted_in_the_order_they_became_ready)
{
	enum { N = 8 };
	static const int order[N] = { 3, 0, 7, 5, 1, 6, 2, 4 };
	struct rig_worker *w[N], *h;
	struct gk_core_page *c;
	int fd[N][2], i;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &plain));
	c = rig_core(&r, 0);
	for (i = 0; i < N; i++) {
		ASSERT_EQ(0, pipe(fd[i]));
		w[i] = rig_spawn(&r, 0, reader, fd[i]);
		ASSERT_NE(NULL, w[i]);
		ASSERT_STATE(w[i], GK_W_BLOCKED);
	}
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	for (i = 0; i < N; i++) {
		ASSERT_EQ(1, write(fd[order[i]][1], "x", 1));
		ASSERT_STATE(w[order[i]], GK_W_READY);
		EXPECT_EQ(i + 1, c->nready);
	}
	atomic_store(&h->stop, 1);		/* it leaves; each reader leaves in its turn */
	for (i = 0; i < N; i++) {
		EXPECT_TRUE(RIG_WAIT(atomic_load(&w[i]->done)));
	}
	for (i = 1; i < N; i++) {
		EXPECT_LT(atomic_load(&w[order[i - 1]]->stamp), atomic_load(&w[order[i]]->stamp))
			TH_LOG("place %d", i);
	}
	EXPECT_EQ(N, c->grants_ready);
	rig_close(&r);
}

/* The queue and the READY list share one order: a task queued before a worker became READY goes first when one parks. */
static void hog_then_park(struct rig_worker *w)
{
	rig_hold_core(w);
	rig_park(w, GK_PARK_STANDBY);
	rig_consumer(w);
}

static void ready_or_queue(struct __test_metadata *_metadata, bool queue_first)
{
	struct rig_worker *w, *h, *s;
	struct gk_core_page *c;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &plain));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	w = rig_spawn(&r, 0, reader, fd);
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, hog_then_park, NULL);
	ASSERT_NE(NULL, h);
	if (queue_first)
		rig_push_quiet(&r, 0);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	ASSERT_STATE(w, GK_W_READY);
	if (!queue_first)
		rig_push_quiet(&r, 0);
	EXPECT_EQ(queue_first ? 1 : 0, c->ready_pos);
	atomic_store(&h->go, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->done)));
	/* Whichever of the two parked workers gets the task. */
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) + atomic_load(&h->taken) == 1));
	s = atomic_load(&s->taken) ? s : h;
	EXPECT_EQ(queue_first, atomic_load(&s->stamp) < atomic_load(&w->stamp));
	rig_close(&r);
}

TEST(a_task_queued_before_a_worker_became_ready_goes_first)
{
	ready_or_queue(_metadata, true);
}

TEST(a_worker_ready_before_a_task_was_queued_goes_first)
{
	ready_or_queue(_metadata, false);
}

/* --- direct handoff --- */

static atomic_int last_turn;

/* Yields for ever; `seen` counts turns, `aux` those that came straight after another turn of its own. */
static void turn_taker(struct rig_worker *w)
{
	while (!atomic_load(&w->stop)) {
		if (atomic_exchange(&last_turn, w->id + 1) == w->id + 1)
			atomic_fetch_add(&w->aux, 1);
		atomic_fetch_add(&w->seen, 1);
		rig_park(w, GK_PARK_READY);
	}
}

/* Two that yield to each other take turns strictly, one grant a turn, and the core is never without a runner. */
TEST(park_ready_hands_the_core_to_the_other)
{
	unsigned long again, n = rig_count(0) ?: 5000;
	struct rig_worker *a, *b;
	struct gk_core_page *c;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &plain));
	c = rig_core(&r, 0);
	a = rig_spawn(&r, 0, turn_taker, NULL);
	ASSERT_NE(NULL, a);
	b = rig_spawn(&r, 0, turn_taker, NULL);
	ASSERT_NE(NULL, b);
	/* Both are in the game: from here on every turn ends with a grant to the other. */
	ASSERT_TRUE(RIG_WAIT(atomic_load(&a->seen) && rig_wp(a)->grants > 10 && rig_wp(b)->grants > 10));
	again = atomic_load(&a->aux) + atomic_load(&b->aux);
	EXPECT_TRUE(RIG_WAIT(c->grants_ready >= n)) TH_LOG("grants %llu", c->grants_ready);
	EXPECT_EQ(again, atomic_load(&a->aux) + atomic_load(&b->aux)) TH_LOG("one went twice in a row");
	EXPECT_EQ(0, c->grants_standby);
	/* It is set for a moment at each hand-over. */
	EXPECT_TRUE(RIG_WAIT(!rig_idle_bit(&r, 0)));
	rig_close(&r);
}

/* --- displacement --- */

/* Blocks, then has nothing to do: parks as STANDBY beside a hog while a task is queued. */
static void comes_back_empty(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = read(fd[0], &ch, 1);
	rig_consumer(w);
}

/* The same, and what it finds after the park keeps it busy until the controller says go. */
static void comes_back_to_work(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = read(fd[0], &ch, 1);
	rig_park(w, GK_PARK_STANDBY);
	rig_hold_core(w);
	rig_consumer(w);
}

TEST(a_standby_takes_the_place_of_a_hog_when_tasks_are_queued)
{
	const struct rig_opt opt = { .bound = 2 };
	struct rig_worker *s, *h;
	struct gk_core_page *c;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	s = rig_spawn(&r, 0, comes_back_to_work, fd);
	ASSERT_NE(NULL, s);
	ASSERT_STATE(s, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(rig_wait_beats(h, 1000));
	WRITE_ONCE(c->q_next, 1);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	/* It parked with work waiting: the park returned, and the hog is READY where it stands, ten seconds before its slice ends. */
	ASSERT_STATE(h, GK_W_READY);
	EXPECT_EQ(1, c->displaced);
	EXPECT_EQ(0, c->preempts);
	WRITE_ONCE(c->q_next, 0);
	atomic_store(&s->go, 1);
	EXPECT_TRUE(RIG_WAIT(rig_state(s) == GK_W_STANDBY));
	/* nothing is queued now: the hog has the core again */
	EXPECT_TRUE(rig_wait_beats(h, 1000));
	EXPECT_EQ(1, rig_wp(h)->grants);
	rig_close(&r);
}

TEST(a_standby_parks_beside_a_hog_when_nothing_is_queued)
{
	const struct rig_opt opt = { .bound = 2 };
	struct rig_worker *s, *h;
	struct gk_core_page *c;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	s = rig_spawn(&r, 0, comes_back_empty, fd);
	ASSERT_NE(NULL, s);
	ASSERT_STATE(s, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	ASSERT_STATE(s, GK_W_STANDBY);
	EXPECT_TRUE(rig_wait_beats(h, 10000));
	EXPECT_EQ(GK_W_RUNNING, rig_state(h));
	EXPECT_EQ(0, c->displaced);
	rig_close(&r);
}

/* --- idle bits --- */

TEST(idle_bits_follow_running)
{
	const struct rig_opt opt = { .bound = 1, .ncores = 3 };
	struct rig_worker *w, *h;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	w = rig_spawn(&r, 1, reader, fd);
	ASSERT_NE(NULL, w);
	h = rig_spawn(&r, 2, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_STATE(w, GK_W_BLOCKED);
	EXPECT_TRUE(rig_idle_bit(&r, 1)) TH_LOG("its only worker is blocked");
	EXPECT_EQ(0, rig_core(&r, 1)->running);
	EXPECT_FALSE(rig_idle_bit(&r, 2)) TH_LOG("a hog runs");
	EXPECT_EQ(1, rig_core(&r, 2)->running);
	EXPECT_EQ(2, rig_group(&r)->nworkers);
	ASSERT_TRUE(rig_join(h));
	EXPECT_TRUE(rig_idle_bit(&r, 2)) TH_LOG("its worker left");
	EXPECT_TRUE(RIG_WAIT(rig_group(&r)->nworkers == 1));
	ASSERT_EQ(1, write(fd[1], "x", 1));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->done)));
	EXPECT_TRUE(RIG_WAIT(!rig_group(&r)->nworkers));
	EXPECT_TRUE(rig_idle_bit(&r, 1));
	rig_close(&r);
}

/* --- rule 7 --- */

static bool manager_called(struct rig *r)
{
	eventfd_t v;

	return RIG_WAIT(!eventfd_read(r->manager_fd, &v));
}

static bool manager_quiet(struct rig *r)
{
	struct pollfd p = { .fd = r->manager_fd, .events = POLLIN };

	return poll(&p, 1, 0) == 0;
}

static void block_with_work(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	rig_wait_go(w);
	rig_push_quiet(w->rig, w->core);
	w->ret = read(fd[0], &ch, 1);
}

TEST(taking_the_last_standby_calls_the_manager)
{
	const struct rig_opt opt = { .bound = 1, .manager = true };
	struct rig_worker *w, *s[2];
	struct gk_core_page *c;
	unsigned int i, first;
	eventfd_t v;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	w = rig_spawn(&r, 0, block_with_work, fd);
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_BLOCKED);
	for (i = 0; i < 2; i++) {
		s[i] = rig_standby(&r, 0, rig_hold_core, NULL);
		ASSERT_NE(NULL, s[i]);
	}
	EXPECT_EQ(2, c->nstandby);
	/* Asleep: one that is only about to be would find the task by itself, and WAKE grant the other as well. */
	ASSERT_TRUE(RIG_WAIT(rig_parked(s[0], GK_W_STANDBY) && rig_parked(s[1], GK_W_STANDBY)));
	eventfd_read(r.manager_fd, &v);
	/* One of two is taken: no reason to call. */
	rig_push(&r, 0);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&s[0]->taken) + atomic_load(&s[1]->taken) == 1));
	EXPECT_EQ(1, c->nstandby);
	EXPECT_TRUE(manager_quiet(&r)) TH_LOG("one standby is left");
	/* It leaves for good; the other is the last one, and is taken when the worker blocks with work. */
	first = atomic_load(&s[0]->taken) ? 0 : 1;
	atomic_store(&s[first]->stop, 1);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&s[first]->done)));
	EXPECT_EQ(GK_W_STANDBY, rig_state(s[!first]));
	EXPECT_TRUE(manager_quiet(&r));
	rig_go(w);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&s[!first]->taken) == 1));
	EXPECT_EQ(0, c->nstandby);
	EXPECT_TRUE(manager_called(&r));
	atomic_store(&s[!first]->go, 1);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	rig_close(&r);
}

TEST(a_core_with_work_and_nobody_is_starved_and_says_so)
{
	const struct rig_opt opt = { .bound = 1, .manager = true };
	struct rig_worker *w, *s;
	struct gk_core_page *c;
	eventfd_t v;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	w = rig_spawn(&r, 0, block_with_work, fd);
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_BLOCKED);
	eventfd_read(r.manager_fd, &v);
	EXPECT_EQ(0, c->starved);
	rig_go(w);
	EXPECT_TRUE(manager_called(&r));
	EXPECT_TRUE(RIG_WAIT(c->starved >= 1));
	/* What the manager does about it: a new worker, which finds the work. */
	s = rig_spawn(&r, 0, rig_consumer, NULL);
	ASSERT_NE(NULL, s);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1));
	EXPECT_EQ(GK_W_BLOCKED, rig_state(w));
	ASSERT_EQ(1, write(fd[1], "x", 1));
	rig_close(&r);
}

/* --- grants --- */

/* A standby that is granted and parks again, many times: seq and grants say exactly that. */
TEST(seq_and_grants_of_a_standby)
{
	unsigned long n, count = rig_count(0) ?: 2000;
	struct gk_core_page *c;
	struct rig_worker *s;
	struct rig r;
	uint64_t seq;

	ASSERT_EQ(0, rig_open(&r, &plain));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	seq = rig_wp(s)->seq;
	for (n = 0; n < count; n++) {
		/* Asleep: one that is only about to be would find the task by itself, and WAKE grant it once more. */
		ASSERT_TRUE(RIG_WAIT(rig_parked(s, GK_W_STANDBY)));
		rig_push(&r, 0);
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken) > n && rig_state(s) == GK_W_STANDBY));
	}
	/* RUNNING by a grant, STANDBY by a park: two a task. Blocks of its own would be two more each. */
	EXPECT_EQ(seq + 2 * count, rig_wp(s)->seq - 2 * rig_wp(s)->blocks);
	EXPECT_EQ(count, rig_wp(s)->grants);
	EXPECT_EQ(count, c->grants_standby);
	EXPECT_EQ(count + 1, c->parks_standby);
	EXPECT_EQ(1, c->nstandby);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
