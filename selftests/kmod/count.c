// SPDX-License-Identifier: GPL-2.0-only
/*
 * count.c - states, sequence numbers, grants and counters over very many block/unblock cycles.
 *
 * The kernel keeps its own account: a thread's voluntary context switches (ru_nvcsw). A worker that never parks has exactly
 * one for each BLOCKED; one that parks has at most one more for each grant. GK_COUNT=1000000 is the full run.
 *
 * Rule 12.
 */
#include "test.h"
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define QUICK	20000UL

struct pair {
	int fd[2];		/* eventfds: mine, the other's */
	unsigned long n;
	long nvcsw;		/* out: while counted */
	uint64_t blocks, seq, grants;
};

static long voluntary(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return u.ru_nvcsw;
}

/* n times: wait for the other, then wake it. All the counting is done by the worker itself, between two of its blocks. */
static void ping(struct rig_worker *w)
{
	struct gk_worker_page *p = rig_wp(w);
	struct pair *k = w->arg;
	unsigned long i;
	eventfd_t v;

	rig_wait_go(w);
	k->nvcsw = voluntary();
	k->blocks = p->blocks;
	k->seq = p->seq;
	k->grants = p->grants;
	for (i = 0; i < k->n; i++) {
		if (eventfd_read(k->fd[0], &v) || eventfd_write(k->fd[1], 1)) {
			atomic_store(&w->err, errno);
			break;
		}
		atomic_fetch_add(&w->beats, 1);
	}
	k->nvcsw = voluntary() - k->nvcsw;
	k->blocks = p->blocks - k->blocks;
	k->seq = p->seq - k->seq;
	k->grants = p->grants - k->grants;
	atomic_store(&w->aux, 1);
	rig_wait_go(w);
}

static void cycles(struct __test_metadata *_metadata, unsigned int bound, unsigned int pairs, unsigned int ncores)
{
	const struct rig_opt opt = { .bound = bound, .ncores = ncores };
	unsigned long n = rig_count(QUICK) / pairs / 2 + 1;
	uint64_t blocks, unblocks, parks, grants, sum_blocks = 0, sum_seq = 0, sum_grants = 0, sum_vol = 0, last, sum;
	struct rig_worker *w[16];
	struct pair k[16];
	unsigned int i, j;
	struct rig r;

	mlockall(MCL_CURRENT | MCL_FUTURE);
	ASSERT_EQ(0, rig_open(&r, &opt));
	for (i = 0; i < 2 * pairs; i += 2) {
		int a = eventfd(0, 0), b = eventfd(0, 0);

		ASSERT_LE(0, b);
		k[i] = (struct pair){ .fd = { a, b }, .n = n };
		k[i + 1] = (struct pair){ .fd = { b, a }, .n = n };
		for (j = i; j < i + 2; j++) {
			w[j] = rig_spawn(&r, j % ncores, ping, &k[j]);
			ASSERT_NE(NULL, w[j]);
		}
	}
	for (i = 0; i < 2 * pairs; i++) {
		ASSERT_STATE(w[i], GK_W_BLOCKED);
	}
	for (i = 0; i < 2 * pairs; i++)
		rig_go(w[i]);
	for (i = 0; i < 2 * pairs; i += 2) {
		ASSERT_EQ(0, eventfd_write(k[i].fd[0], 1));
	}
	/* As long as somebody gets on there is no time limit but the harness's. */
	do {
		for (i = 0, last = 0; i < 2 * pairs; i++)
			last += atomic_load(&w[i]->beats);
		ASSERT_TRUE(RIG_WAIT(({
			for (i = 0, sum = 0; i < 2 * pairs; i++)
				sum += atomic_load(&w[i]->beats);
			sum > last || sum == 2 * pairs * n;
		}))) TH_LOG("stuck at %llu of %lu", (unsigned long long)last, 2 * pairs * n);
	} while (sum < 2 * pairs * n);
	for (i = 0; i < 2 * pairs; i++) {
		ASSERT_TRUE(RIG_WAIT(atomic_load(&w[i]->aux)));
		EXPECT_EQ(0, atomic_load(&w[i]->err));
		ASSERT_STATE(w[i], GK_W_BLOCKED);
	}
	for (i = 0; i < 2 * pairs; i++) {
		/* A grant here is always one after a block over the bound: one more sleep, and one more transition. */
		EXPECT_EQ(2 * k[i].blocks + k[i].grants, k[i].seq) TH_LOG("worker %u", i);
		/* One that was granted before it was asleep has slept once less. */
		EXPECT_LE(k[i].blocks, (uint64_t)k[i].nvcsw) {
			TH_LOG("worker %u: %llu blocks, %ld voluntary switches", i, (unsigned long long)k[i].blocks,
			       k[i].nvcsw);
		}
		EXPECT_GE(k[i].blocks + k[i].grants, (uint64_t)k[i].nvcsw) {
			TH_LOG("worker %u: %llu blocks, %llu grants, %ld voluntary switches", i,
			       (unsigned long long)k[i].blocks, (unsigned long long)k[i].grants, k[i].nvcsw);
		}
		/* and over its whole life, from its page alone: entered (1), blocked now (an odd one out) */
		EXPECT_EQ(1 + 2 * rig_wp(w[i])->blocks + rig_wp(w[i])->grants - 1, rig_wp(w[i])->seq);
		sum_blocks += rig_wp(w[i])->blocks;
		sum_seq += rig_wp(w[i])->seq;
		sum_grants += rig_wp(w[i])->grants;
		sum_vol += k[i].nvcsw;
	}
	for (i = 0, blocks = unblocks = parks = grants = 0; i < ncores; i++) {
		struct gk_core_page *c = rig_core(&r, i);

		blocks += c->blocks;
		unblocks += c->unblocks;
		parks += c->parks_bound;
		grants += c->grants_ready;
		EXPECT_EQ(0, c->running);
		EXPECT_EQ(0, c->nready);
		EXPECT_EQ(0, c->grants_standby);
		EXPECT_EQ(0, c->preempts);
	}
	EXPECT_EQ(sum_blocks, blocks);
	EXPECT_EQ(blocks, unblocks + 2 * pairs) TH_LOG("each worker is blocked now");
	EXPECT_EQ(sum_grants, grants);
	EXPECT_EQ(parks, grants);
	if (bound == 0) {
		EXPECT_EQ(0, parks);
	}
	/* the run did what it is for */
	EXPECT_LE(n * pairs, sum_vol);
	TH_LOG("%llu blocks, %llu parked over the bound", (unsigned long long)blocks, (unsigned long long)parks);
	rig_close(&r);
}

TEST(cycles_of_one_pair_unbounded)
{
	cycles(_metadata, 0, 1, 1);
}

TEST(cycles_of_one_pair_bound_1)
{
	cycles(_metadata, 1, 1, 1);
}

TEST(cycles_of_eight_pairs_bound_1)
{
	cycles(_metadata, 1, 8, 1);
}

TEST(cycles_of_eight_pairs_bound_2)
{
	cycles(_metadata, 2, 8, 1);
}

TEST(cycles_of_eight_pairs_unbounded)
{
	cycles(_metadata, 0, 8, 1);
}

TEST(cycles_over_two_cores_bound_1)
{
	cycles(_metadata, 1, 8, 2);
}

TEST(cycles_over_four_cores_bound_2)
{
	cycles(_metadata, 2, 8, 4);
}

/*
 * Rule 12 and the UMCG mistake: whoever watches a worker sees its sequence grow only, and only states that exist. A watcher samples
 * while two workers ping.
 */
TEST(a_watcher_never_sees_a_sequence_fall)
{
	static struct rig r;
	struct rig_worker *w[2];
	unsigned long n = rig_count(QUICK) / 2;
	uint64_t seq[2] = { 0 }, blocks[2] = { 0 }, s, b;
	uint32_t state;
	struct pair k[2];
	int a = eventfd(0, 0), e = eventfd(0, 0), i;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	k[0] = (struct pair){ .fd = { a, e }, .n = n };
	k[1] = (struct pair){ .fd = { e, a }, .n = n };
	for (i = 0; i < 2; i++) {
		w[i] = rig_spawn(&r, 0, ping, &k[i]);
		ASSERT_NE(NULL, w[i]);
		ASSERT_STATE(w[i], GK_W_BLOCKED);
	}
	rig_go(w[0]);
	rig_go(w[1]);
	eventfd_write(a, 1);
	while (!atomic_load(&w[0]->aux) || !atomic_load(&w[1]->aux)) {
		for (i = 0; i < 2; i++) {
			s = READ_ONCE(rig_wp(w[i])->seq);
			b = READ_ONCE(rig_wp(w[i])->blocks);
			state = rig_state(w[i]);
			ASSERT_LE(seq[i], s);
			ASSERT_LE(blocks[i], b);
			ASSERT_TRUE(state == GK_W_RUNNING || state == GK_W_BLOCKED || state == GK_W_READY);
			seq[i] = s;
			blocks[i] = b;
		}
		sched_yield();
	}
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
