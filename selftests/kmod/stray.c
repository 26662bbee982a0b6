// SPDX-License-Identifier: GPL-2.0-only
/*
 * stray.c - a worker on a CPU that is not its core's, and a core whose CPU goes away.
 *
 * Rule 15.
 */
#include "test.h"
#include <fcntl.h>

static int pin(pid_t tid, unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(tid, sizeof(set), &set) ? -errno : 0;
}

TEST(a_worker_that_moves_is_marked_and_comes_back)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;
	int i;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(rig_wait_beats(h, 100));
		EXPECT_EQ(0, rig_wp(h)->flags & GK_WF_STRAY);
		ASSERT_EQ(0, pin(h->tid, r.cpu[0] == rig_nth_cpu(1) ? rig_nth_cpu(0) : rig_nth_cpu(1)));
		EXPECT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(h)->flags) & GK_WF_STRAY));
		ASSERT_TRUE(rig_wait_beats(h, 100)) TH_LOG("a stray worker goes on");
		ASSERT_EQ(0, pin(h->tid, r.cpu[0]));
		EXPECT_TRUE(RIG_WAIT(!(READ_ONCE(rig_wp(h)->flags) & GK_WF_STRAY)));
	}
	EXPECT_GE(1, c->running);
	rig_close(&r);
}

/* A stray holds no core: the tasks of its own core are somebody else's to run. */
TEST(a_stray_worker_takes_no_core)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_EQ(0, pin(h->tid, rig_nth_cpu(1)));
	ASSERT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(h)->flags) & GK_WF_STRAY));
	rig_push(&r, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1))
		TH_LOG("running %u, the stray one is %s", c->running, state_name(rig_state(h)));
	EXPECT_TRUE(rig_wait_beats(h, 100));
	rig_close(&r);
}

/* A parked worker that is moved gets its grant all the same, although it is on another CPU when it is switched in. */
TEST(a_parked_worker_that_is_moved_is_granted)
{
	const struct rig_opt opt = { .bound = 1, .ncores = 2 };
	struct rig_worker *s;
	unsigned long n;
	struct rig r;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &opt));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	for (n = 1; n <= 20; n++) {
		ASSERT_TRUE(RIG_WAIT(rig_parked(s, GK_W_STANDBY)));
		ASSERT_EQ(0, pin(s->tid, rig_nth_cpu(n & 1)));
		rig_push(&r, 0);
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken) == n))
			TH_LOG("move %lu: %s", n, state_name(rig_state(s)));
	}
	ASSERT_TRUE(RIG_WAIT(rig_state(s) == GK_W_STANDBY));
	rig_close(&r);
}

/* Goes away to the other CPU by itself, having blocked with the core word, and parks there. */
static void park_astray(struct rig_worker *w)
{
	rig_wait_go(w);
	WRITE_ONCE(rig_cp(w)->word, w->id + 1);
	rig_wait_go(w);
	WRITE_ONCE(rig_cp(w)->word, 0);
	rig_consumer(w);
}

/* Awake again, wherever it is, it stalls its core no longer. */
TEST(a_holder_of_the_word_that_wakes_astray_stalls_nobody)
{
	struct rig_worker *w, *s;
	struct rig r;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	w = rig_spawn(&r, 0, park_astray, NULL);
	ASSERT_NE(NULL, w);
	rig_go(w);
	ASSERT_TRUE(RIG_WAIT(READ_ONCE(rig_core(&r, 0)->stalls) == 1));
	ASSERT_EQ(0, pin(w->tid, rig_nth_cpu(1)));
	rig_go(w);
	ASSERT_TRUE(RIG_WAIT(rig_parked(w, GK_W_STANDBY)));
	EXPECT_NE(0, rig_wp(w)->flags & GK_WF_STRAY);
	rig_push(&r, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->taken) + atomic_load(&s->taken) == 1)) TH_LOG("the core is stalled");
	rig_close(&r);
}

/* Takes a task at once, and computes until it is told to stop. */
static void park_and_hog(struct rig_worker *w)
{
	rig_hold_core(w);
	while (!rig_take(w->rig, w->core) && !atomic_load(&w->stop))
		rig_park(w, GK_PARK_STANDBY);
	rig_hog(w);
}

/* Its park ends before it sleeps, with a grant of its own: its core is not taken by that. */
TEST(a_stray_whose_park_ends_at_once_takes_no_core)
{
	struct rig_worker *h, *s;
	struct rig r;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	h = rig_spawn(&r, 0, park_and_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_EQ(0, pin(h->tid, rig_nth_cpu(1)));
	ASSERT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(h)->flags) & GK_WF_STRAY));
	/* Waits for its core, so that the park returns; not in the queue yet, so that it parks. */
	WRITE_ONCE(rig_core(&r, 0)->q_next, 1);
	atomic_store(&h->go, 1);
	ASSERT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(h)->grants)));
	rig_push_quiet(&r, 0);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&h->beats) && READ_ONCE(rig_core(&r, 0)->q_head)));
	WRITE_ONCE(rig_core(&r, 0)->q_next, 0);
	EXPECT_EQ(GK_W_BLOCKED, rig_state(h));
	EXPECT_EQ(0, READ_ONCE(rig_core(&r, 0)->running));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	rig_push(&r, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1)) TH_LOG("the core is taken");
	EXPECT_TRUE(rig_wait_beats(h, 100));
	rig_close(&r);
}

static int online(unsigned int cpu, const char *v)
{
	char path[80];
	int fd, ret;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	ret = write(fd, v, 1) == 1 ? 0 : -errno;
	close(fd);
	return ret;
}

static void sleeper(struct rig_worker *w)
{
	struct timespec t = { 0, MSEC };

	while (!atomic_load(&w->stop)) {
		nanosleep(&t, NULL);
		atomic_fetch_add(&w->beats, 1);
	}
}

/* The CPU goes away under a hog, a sleeper and a standby: all get on elsewhere, marked, and can leave. */
TEST(a_cpu_goes_offline)
{
	const struct rig_opt opt = { .bound = 2, .ncores = 2, .slice = MSEC, .grain = 100 * USEC };
	struct rig_worker *h, *b, *s;
	struct rig r;
	int i;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	if (online(rig_nth_cpu(1), "1"))
		SKIP(return, "CPUs cannot be taken offline here");
	ASSERT_EQ(0, rig_open(&r, &opt));
	s = rig_standby(&r, 1, NULL, NULL);
	ASSERT_NE(NULL, s);
	b = rig_spawn(&r, 1, sleeper, NULL);
	ASSERT_NE(NULL, b);
	h = rig_spawn(&r, 1, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, online(r.cpu[1], "0"));
		EXPECT_TRUE(rig_wait_beats(h, 100));
		EXPECT_TRUE(rig_wait_beats(b, 20));
		EXPECT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(h)->flags) & GK_WF_STRAY));
		ASSERT_EQ(0, online(r.cpu[1], "1"));
		EXPECT_TRUE(rig_wait_beats(h, 100));
		EXPECT_TRUE(rig_wait_beats(b, 20));
	}
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
