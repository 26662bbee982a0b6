// SPDX-License-Identifier: GPL-2.0-only
/*
 * bound.c - what a worker that wakes from a block may do: go on, or park before its next user instruction.
 *
 * The instruction behind the system call that blocked stores a mark, so "executed nothing" is "the mark is 0".
 * Contract 2.
 */
#include "test.h"

struct shared {
	int fd[2];
	struct rig_worker *a;
};

static void reader(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	atomic_store(&w->stamp, rig_tick(w->rig));
	rig_wait_go(w);
}

static void put(int fd)
{
	if (write(fd, "x", 1) != 1)
		abort();
}

TEST(bound_1_the_woken_worker_executes_nothing_before_its_grant)
{
	const struct rig_opt opt = { .bound = 1 };
	struct rig_worker *a, *h;
	struct gk_core_page *c;
	struct rig r;
	uint64_t seq;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	h = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, h);
	a = rig_spawn(&r, 0, reader, fd);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	rig_push(&r, 0);
	ASSERT_TRUE(rig_wait_beats(h, 1));
	seq = rig_wp(a)->seq;

	put(fd[1]);
	ASSERT_STATE(a, GK_W_READY);
	/* The holder goes on, the woken worker sleeps in the kernel and its mark stays. */
	EXPECT_TRUE(RIG_WAIT(rig_task_state(a->tid) == 'S'));
	EXPECT_TRUE(rig_wait_beats(h, 100000));
	EXPECT_EQ(0, atomic_load(&a->mark));
	EXPECT_EQ(1, c->running);
	EXPECT_EQ(1, c->nready);
	EXPECT_EQ(1, c->parks_bound);
	EXPECT_EQ(0, rig_wp(a)->grants);
	/* BLOCKED to READY is one transition: it never was RUNNING. */
	EXPECT_EQ(seq + 1, rig_wp(a)->seq);

	atomic_store(&h->go, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&a->mark)));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&a->stamp)));
	EXPECT_EQ(1, a->ret);
	EXPECT_EQ(1, rig_wp(a)->grants);
	EXPECT_EQ(1, c->grants_ready);
	EXPECT_EQ(0, c->nready);
	rig_go(a);
	rig_close(&r);
}

static void within_bound(struct __test_metadata *_metadata, unsigned int bound, unsigned int readers)
{
	const struct rig_opt opt = { .bound = bound };
	struct rig_worker *a[8], *h;
	struct gk_core_page *c;
	struct rig r;
	int fd[8][2];
	unsigned int i;

	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	h = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, h);
	for (i = 0; i < readers; i++) {
		ASSERT_EQ(0, pipe(fd[i]));
		a[i] = rig_spawn(&r, 0, reader, fd[i]);
		ASSERT_NE(NULL, a[i]);
		ASSERT_STATE(a[i], GK_W_BLOCKED);
	}
	rig_push(&r, 0);
	ASSERT_TRUE(rig_wait_beats(h, 1));
	/* The holder holds the core until every reader has run beside it. */
	for (i = 0; i < readers; i++) {
		put(fd[i][1]);
		EXPECT_TRUE(RIG_WAIT(atomic_load(&a[i]->stamp)));
		EXPECT_EQ(1, atomic_load(&a[i]->mark));
		EXPECT_EQ(0, rig_wp(a[i])->grants);
	}
	EXPECT_EQ(GK_W_RUNNING, rig_state(h));
	EXPECT_EQ(0, c->parks_bound);
	EXPECT_LE(readers, c->wakes_over);
	atomic_store(&h->go, 1);
	rig_close(&r);
}

TEST(bound_2_the_woken_worker_goes_on_at_once)
{
	within_bound(_metadata, 2, 1);
}

TEST(bound_0_every_woken_worker_goes_on_at_once)
{
	within_bound(_metadata, 0, 8);
}

static void spinner(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	while (!atomic_load(&w->stop))
		atomic_fetch_add(&w->beats, 1);
}

/* Two run beside each other; the third that wakes parks, and goes on when one of the two blocks or parks. */
TEST(bound_2_the_third_parks)
{
	const struct rig_opt opt = { .bound = 2 };
	struct rig_worker *a, *b, *h;
	struct gk_core_page *c;
	struct rig r;
	int fd[2][2];

	ASSERT_EQ(0, pipe(fd[0]));
	ASSERT_EQ(0, pipe(fd[1]));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	h = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, h);
	a = rig_spawn(&r, 0, spinner, fd[0]);
	ASSERT_NE(NULL, a);
	b = rig_spawn(&r, 0, spinner, fd[1]);
	ASSERT_NE(NULL, b);
	ASSERT_STATE(a, GK_W_BLOCKED);
	ASSERT_STATE(b, GK_W_BLOCKED);
	rig_push(&r, 0);
	ASSERT_TRUE(rig_wait_beats(h, 1));
	put(fd[0][1]);
	ASSERT_TRUE(rig_wait_beats(a, 1000));
	EXPECT_EQ(2, c->running);
	put(fd[1][1]);
	ASSERT_STATE(b, GK_W_READY);
	EXPECT_TRUE(rig_wait_beats(a, 100000));
	EXPECT_EQ(0, atomic_load(&b->mark));
	EXPECT_EQ(2, c->running);
	atomic_store(&h->go, 1);	/* it parks: one runs, nobody is granted while one does */
	ASSERT_STATE(h, GK_W_STANDBY);
	EXPECT_EQ(1, c->running);
	EXPECT_EQ(GK_W_READY, rig_state(b));
	EXPECT_EQ(0, atomic_load(&b->mark));
	atomic_store(&a->stop, 1);	/* it leaves: nobody runs, and the ready one does */
	EXPECT_TRUE(rig_wait_beats(b, 1000));
	EXPECT_EQ(1, rig_wp(b)->grants);
	rig_close(&r);
}

/* SET changes the bound of a running group. */
TEST(bound_can_be_changed)
{
	const struct rig_opt opt = { .bound = 0 };
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_BOUND, .bound = 1 };
	struct rig_worker *a, *h;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	h = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, h);
	a = rig_spawn(&r, 0, spinner, fd);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	rig_push(&r, 0);
	ASSERT_TRUE(rig_wait_beats(h, 1));
	ASSERT_EQ(0, rig_call(&r, GK_IOC_SET, (uintptr_t)&set));
	put(fd[1]);
	ASSERT_STATE(a, GK_W_READY);
	EXPECT_TRUE(rig_wait_beats(h, 10000));
	EXPECT_EQ(0, atomic_load(&a->mark));
	atomic_store(&h->go, 1);
	EXPECT_TRUE(rig_wait_beats(a, 1));
	rig_close(&r);
}

/*
 * Contract 1: when the running worker BLOCKS, the oldest ready worker goes first, before a standby and before the queue.
 */
static void hold_then_block(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	rig_hold_core(w);
	if (read(fd[0], &ch, 1) != 1)
		atomic_store(&w->err, errno);
}

TEST(after_a_block_the_ready_worker_goes_before_a_standby)
{
	const struct rig_opt opt = { .bound = 1 };
	struct rig_worker *a, *h, *s;
	struct gk_core_page *c;
	struct rig r;
	int fd[2][2];

	ASSERT_EQ(0, pipe(fd[0]));
	ASSERT_EQ(0, pipe(fd[1]));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	h = rig_standby(&r, 0, hold_then_block, fd[1]);
	ASSERT_NE(NULL, h);
	a = rig_spawn(&r, 0, reader, fd[0]);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	rig_push(&r, 0);
	ASSERT_TRUE(rig_wait_beats(h, 1));
	s = rig_spawn(&r, 0, rig_consumer, NULL);
	ASSERT_NE(NULL, s);
	ASSERT_STATE(s, GK_W_STANDBY);
	/* A task queued before the reader becomes ready: the queue is older, and the reader goes first all the same. */
	rig_push_quiet(&r, 0);
	put(fd[0][1]);
	ASSERT_STATE(a, GK_W_READY);
	EXPECT_EQ(rig_core(&r, 0)->q_tail, c->ready_pos);
	atomic_store(&h->go, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&a->stamp)));
	/* Then the reader waits for go, which is a block: now the standby gets the task. */
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1));
	EXPECT_LT(atomic_load(&a->stamp), atomic_load(&s->stamp));
	put(fd[1][1]);
	rig_go(a);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
