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

/* ---- GK_IOC_MOVE ------------------------------------------------------------------------------------------------- */

/* Goes to the CPU that w->arg says, by itself, brings its core there, and computes. */
static void mover(struct rig_worker *w)
{
	unsigned int cpu = (uintptr_t)w->arg;

	pin(0, cpu);
	while (!(READ_ONCE(rig_wp(w)->flags) & GK_WF_STRAY))
		;
	w->ret = rig_call(w->rig, GK_IOC_MOVE, w->core);
	/* By the very next instruction it counts. */
	if (rig_state(w) != GK_W_RUNNING || rig_wp(w)->flags || READ_ONCE(rig_cp(w)->cpu) != cpu)
		w->ret = 1;
	atomic_store(&w->mark, 1);
	rig_hog(w);
}

TEST(a_stray_brings_its_core)
{
	const struct rig_opt opt = { .bound = 1, .slice = MSEC, .grain = MSEC };
	unsigned int other = rig_nth_cpu(1);
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &opt));
	ASSERT_NE(other, r.cpu[0]);
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, mover, (void *)(uintptr_t)other);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&h->mark)));
	EXPECT_EQ(0, h->ret);
	EXPECT_EQ(other, c->cpu);
	EXPECT_EQ(1, c->running);
	/* The other follows, and then the two share the core as ever: the timer has come along. */
	rig_push(&r, 0);
	ASSERT_EQ(0, pin(s->tid, other));
	ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1));
	ASSERT_TRUE(RIG_WAIT(!(READ_ONCE(rig_wp(s)->flags) & GK_WF_STRAY)));
	EXPECT_TRUE(rig_wait_beats(s, 100));
	EXPECT_TRUE(rig_wait_beats(h, 100));
	EXPECT_TRUE(rig_wait_beats(s, 100));
	EXPECT_LE(1, c->preempts);
	rig_close(&r);
}

/* Takes tasks, on whatever CPU its core is. */
static void follower(struct rig_worker *w)
{
	unsigned int cpu;

	while (!atomic_load(&w->stop)) {
		while (READ_ONCE(rig_wp(w)->flags) & GK_WF_STRAY) {
			cpu = READ_ONCE(rig_cp(w)->cpu);
			if (!pin(0, cpu) && sched_getcpu() == (int)cpu)
				sched_yield();
		}
		if (rig_take(w->rig, w->core)) {
			if (w->job)
				w->job(w);
			atomic_fetch_add(&w->taken, 1);
		} else {
			rig_park(w, GK_PARK_STANDBY);
		}
	}
}

TEST(a_core_moves_while_nobody_runs_there)
{
	struct rig_worker *w;
	struct gk_core_page *c;
	unsigned long n;
	unsigned int i;
	struct rig r;
	long ret = 0;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	c = rig_core(&r, 0);
	w = rig_spawn(&r, 0, follower, NULL);
	ASSERT_NE(NULL, w);
	for (n = 1; n <= 20; n++) {
		ASSERT_TRUE(RIG_WAIT(rig_parked(w, GK_W_STANDBY)));
		ASSERT_EQ(0, pin(0, rig_nth_cpu(n & 1)));
		/* A task, or a deadline that the timer was set for on the old CPU: each is heard of on the new one. */
		ASSERT_TRUE(RIG_WAIT(({
			if (!(n % 3)) {
				WRITE_ONCE(c->deadline, rig_now() + 50 * MSEC);
				rig_call(&r, GK_IOC_ARM, 0);
			}
			ret = rig_call(&r, GK_IOC_MOVE, 0);
			if (ret)
				WRITE_ONCE(c->deadline, 0);
			!ret;
		}))) TH_LOG("%ld", ret);
		EXPECT_EQ(rig_nth_cpu(n & 1), c->cpu);
		if (n % 3)
			rig_push(&r, 0);
		else
			rig_push_quiet(&r, 0);
		ASSERT_TRUE(RIG_WAIT(atomic_load(&w->taken) == n)) TH_LOG("move %lu: %s", n, state_name(rig_state(w)));
		WRITE_ONCE(c->deadline, 0);
	}
	/* To where it is: nothing happens. */
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, rig_call(&r, GK_IOC_MOVE, 0));
	rig_close(&r);
}

TEST(a_core_is_not_moved_from_under_its_worker)
{
	struct rig_worker *h;
	struct rig r;
	int i;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(rig_wait_beats(h, 100));
	ASSERT_EQ(0, pin(0, r.cpu[0] == rig_nth_cpu(1) ? rig_nth_cpu(0) : rig_nth_cpu(1)));
	for (i = 0; i < 100; i++)
		ASSERT_EQ(-EBUSY, rig_call(&r, GK_IOC_MOVE, 0));
	EXPECT_EQ(r.cpu[0], rig_core(&r, 0)->cpu);
	EXPECT_TRUE(rig_wait_beats(h, 100));
	rig_close(&r);
}

/* Blocks and computes, a little of each. */
static void bit_of_both(struct rig_worker *w)
{
	struct timespec t = { 0, 1000 };
	volatile unsigned long x = 0;
	unsigned long i;

	for (i = 0; i < (atomic_load(&w->taken) % 4) * 20000; i++)
		x += i;
	nanosleep(&t, NULL);
}

static unsigned long taken_by_all(struct rig *r)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < r->nw; i++)
		sum += atomic_load(&r->w[i]->taken);
	return sum;
}

/* Cores go to and fro while tasks are queued, blocked on and preempted; none is lost. */
TEST(cores_move_all_the_time)
{
	const struct rig_opt opt = { .bound = 2, .ncores = 2, .slice = MSEC, .grain = 100 * USEC };
	unsigned long i, n = rig_count(400), moved = 0;
	unsigned int k, was;
	struct rig r;
	long ret;

	if (rig_ncpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, rig_open(&r, &opt));
	for (k = 0; k < 6; k++) {
		ASSERT_NE(NULL, rig_spawn(&r, k % 2, follower, NULL));
		r.w[k]->job = bit_of_both;
	}
	for (i = 1; i <= n; i++) {
		for (k = 0; k < 2; k++) {
			ASSERT_EQ(0, pin(0, rig_nth_cpu((i + k) & 1)));
			was = rig_core(&r, k)->cpu;
			ret = rig_call(&r, GK_IOC_MOVE, k);
			ASSERT_TRUE(ret == 0 || ret == -EBUSY) TH_LOG("%ld", ret);
			moved += was != rig_core(&r, k)->cpu;
			rig_push(&r, k);
		}
		/* A few may wait, so that workers run at any time. */
		ASSERT_TRUE(RIG_WAIT(taken_by_all(&r) + 8 >= 2 * i))
			TH_LOG("%lu of %lu tasks, then nobody goes on", taken_by_all(&r), 2 * i);
	}
	EXPECT_TRUE(RIG_WAIT(taken_by_all(&r) == 2 * n)) TH_LOG("%lu of %lu tasks", taken_by_all(&r), 2 * n);
	EXPECT_LE(1, moved);
	for (k = 0; k < 6; k++) {
		EXPECT_STATE(r.w[k], GK_W_STANDBY);
	}
	EXPECT_EQ(0, rig_core(&r, 0)->running);
	EXPECT_EQ(0, rig_core(&r, 1)->running);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
