// SPDX-License-Identifier: GPL-2.0-only
/*
 * calls.c - what WAKE, ARM, PULL and STOP do.
 */
#include "test.h"
#include <signal.h>

static const struct rig_opt plain = { .bound = 1 };
static const struct rig_opt two = { .bound = 1, .ncores = 2 };

TEST(wake_grants_one_when_nobody_runs)
{
	struct rig_worker *s, *h;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &two));
	EXPECT_EQ(0, rig_call(&r, GK_IOC_WAKE, 0)) TH_LOG("a core without workers");
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	rig_push_quiet(&r, 0);
	EXPECT_EQ(GK_W_STANDBY, rig_state(s)) TH_LOG("the module has not been told");
	EXPECT_EQ(1, rig_call(&r, GK_IOC_WAKE, 0));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1));
	EXPECT_EQ(1, rig_core(&r, 0)->grants_standby);
	ASSERT_STATE(s, GK_W_STANDBY);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	rig_push_quiet(&r, 0);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_WAKE, 0)) TH_LOG("a hog runs there");
	EXPECT_EQ(1, atomic_load(&s->taken));
	rig_close(&r);
}

static void reader(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	w->aux = sched_getcpu();
	atomic_store(&w->stamp, rig_tick(w->rig));
}

/* A second WAKE while the first's worker is on its way grants nobody: one running worker per core. */
TEST(wake_twice_grants_once)
{
	unsigned long n, total, count = rig_count(0) ?: 500;
	struct rig_worker *s[3];
	struct rig r;
	int i;

	ASSERT_EQ(0, rig_open(&r, &plain));
	for (i = 0; i < 3; i++) {
		s[i] = rig_standby(&r, 0, NULL, NULL);
		ASSERT_NE(NULL, s[i]);
	}
	for (n = 1; n <= count; n++) {
		rig_push_quiet(&r, 0);
		rig_call(&r, GK_IOC_WAKE, 0);
		rig_call(&r, GK_IOC_WAKE, 0);
		rig_call(&r, GK_IOC_WAKE, 0);
		ASSERT_TRUE(RIG_WAIT(rig_core(&r, 0)->nstandby == 3 && !rig_core(&r, 0)->running));
		for (i = 0, total = 0; i < 3; i++)
			total += atomic_load(&s[i]->taken);
		ASSERT_EQ(n, total);
		/* at most one grant a task and one that came after it was done */
		ASSERT_GE(n * 3, rig_core(&r, 0)->grants_standby);
	}
	rig_close(&r);
}

/* ARM with nothing to do arms nothing. */
TEST(arm_without_work_or_deadline_arms_nothing)
{
	struct rig_worker *h;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &two));
	EXPECT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
	EXPECT_EQ(0, rig_core(&r, 0)->armed);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
	EXPECT_EQ(0, rig_core(&r, 0)->armed);
	rig_push_quiet(&r, 0);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
	EXPECT_TRUE(RIG_WAIT(READ_ONCE(rig_core(&r, 0)->armed)));
	EXPECT_LT(rig_now(), rig_core(&r, 0)->armed);
	EXPECT_EQ(0, rig_core(&r, 1)->armed);
	rig_drain(&r, 0);
	rig_close(&r);
}

/* --- PULL --- */

/* On go: pulls from core `arg`, keeps the answer; then parks when stopped. */
static void puller(struct rig_worker *w)
{
	for (;;) {
		rig_wait_go(w);
		if (atomic_load(&w->stop))
			return;
		w->ret = rig_call(w->rig, GK_IOC_PULL, (uintptr_t)w->arg);
		atomic_fetch_add(&w->seen, 1);
	}
}

TEST(pull_moves_the_longest_ready_worker)
{
	struct rig_worker *a, *b, *h, *p;
	int fa[2], fb[2];
	struct rig r;

	ASSERT_EQ(0, pipe(fa));
	ASSERT_EQ(0, pipe(fb));
	ASSERT_EQ(0, rig_open(&r, &two));
	a = rig_spawn(&r, 0, reader, fa);
	ASSERT_NE(NULL, a);
	b = rig_spawn(&r, 0, reader, fb);
	ASSERT_NE(NULL, b);
	p = rig_spawn(&r, 1, puller, (void *)0);
	ASSERT_NE(NULL, p);
	ASSERT_STATE(a, GK_W_BLOCKED);
	ASSERT_STATE(b, GK_W_BLOCKED);
	ASSERT_STATE(p, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);

	rig_go(p);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&p->seen) == 1));
	EXPECT_EQ(0, p->ret) TH_LOG("nobody is READY there");

	ASSERT_EQ(1, write(fb[1], "x", 1));
	ASSERT_TRUE(RIG_WAIT(rig_parked(b, GK_W_READY)));
	ASSERT_EQ(1, write(fa[1], "x", 1));
	ASSERT_TRUE(RIG_WAIT(rig_parked(a, GK_W_READY)));
	rig_go(p);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&p->seen) == 2));
	EXPECT_EQ(1, p->ret);
	/* b was READY first; it runs on core 1 once the puller has blocked, while the hog still has core 0. */
	EXPECT_TRUE(RIG_WAIT(atomic_load(&b->stamp)));
	EXPECT_EQ(1, rig_wp(b)->core);
	EXPECT_EQ(r.cpu[1], b->aux);
	EXPECT_EQ(1, rig_core(&r, 1)->pulled);
	EXPECT_EQ(0, atomic_load(&a->mark));
	EXPECT_EQ(GK_W_READY, rig_state(a));
	EXPECT_EQ(0, rig_wp(a)->core);
	EXPECT_EQ(1, rig_core(&r, 0)->nready);
	EXPECT_EQ(0, rig_wp(b)->flags & GK_WF_STRAY);
	EXPECT_EQ(GK_W_RUNNING, rig_state(h));
	b->core = 1;
	rig_close(&r);
}

TEST(pull_from_its_own_core_or_a_missing_one)
{
	struct rig_worker *p, *q;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &two));
	p = rig_spawn(&r, 1, puller, (void *)2);
	ASSERT_NE(NULL, p);
	rig_go(p);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&p->seen) == 1));
	EXPECT_EQ(-ENOENT, p->ret);
	q = rig_spawn(&r, 1, puller, (void *)1);
	ASSERT_NE(NULL, q);
	rig_go(q);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&q->seen) == 1));
	EXPECT_TRUE(q->ret == 0 || q->ret == -EINVAL) TH_LOG("%ld", q->ret);
	rig_close(&r);
}

/* --- STOP --- */

static void standby_only(struct rig_worker *w)
{
	while (!(w->ret = rig_park(w, GK_PARK_STANDBY)))
		;
	atomic_store(&w->seen, 1);
}

static void held_only(struct rig_worker *w)
{
	w->ret = rig_syscall_mark(SYS_ioctl, w->rig->fd, GK_IOC_PARK, GK_PARK_HELD, &w->mark);
}

static void stopper(struct rig_worker *w)
{
	rig_wait_go(w);
	w->ret = rig_call(w->rig, GK_IOC_STOP, 0);
	atomic_store(&w->seen, 1);
	while (!atomic_load(&w->stop))
		atomic_fetch_add(&w->beats, 1);
}

/*
 * One worker in every state. After STOP the caller goes on, standbys leave with ESHUTDOWN, and no other worker executes another
 * user instruction: not the hog, not the ready one, not the held one, nor the blocked one when its call is over.
 */
static void stop_everyone(struct __test_metadata *_metadata, bool by_worker)
{
	const struct rig_opt opt = { .bound = 1, .ncores = 2 };
	struct rig_worker *ready, *blocked, *held, *standby, *hog, *caller;
	struct rig_worker *still[3];
	unsigned long beats;
	int fr[2], fb[2];
	unsigned int i;
	struct rig r;

	ASSERT_EQ(0, pipe(fr));
	ASSERT_EQ(0, pipe(fb));
	ASSERT_EQ(0, rig_open(&r, &opt));
	standby = rig_spawn(&r, 0, standby_only, NULL);
	ASSERT_NE(NULL, standby);
	held = rig_spawn(&r, 0, held_only, NULL);
	ASSERT_NE(NULL, held);
	ready = rig_spawn(&r, 0, reader, fr);
	ASSERT_NE(NULL, ready);
	blocked = rig_spawn(&r, 0, reader, fb);
	ASSERT_NE(NULL, blocked);
	caller = rig_spawn(&r, 1, stopper, NULL);
	ASSERT_NE(NULL, caller);
	ASSERT_STATE(standby, GK_W_STANDBY);
	ASSERT_STATE(held, GK_W_HELD);
	ASSERT_STATE(blocked, GK_W_BLOCKED);
	ASSERT_STATE(ready, GK_W_BLOCKED);
	ASSERT_STATE(caller, GK_W_BLOCKED);
	hog = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, hog);
	ASSERT_EQ(1, write(fr[1], "x", 1));
	ASSERT_STATE(ready, GK_W_READY);

	if (by_worker) {
		rig_go(caller);
		ASSERT_TRUE(RIG_WAIT(atomic_load(&caller->seen)));
		EXPECT_EQ(0, caller->ret);
	} else {
		ASSERT_EQ(0, rig_call(&r, GK_IOC_STOP, 0));
	}
	beats = atomic_load(&hog->beats);
	still[0] = ready;
	still[1] = held;
	still[2] = blocked;
	EXPECT_EQ(1, rig_group(&r)->stopping);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&standby->seen)));
	EXPECT_EQ(-ESHUTDOWN, standby->ret);
	EXPECT_STATE(hog, GK_W_STOPPED);
	/* Those that are parked may stay what they are: nobody is granted any more. */
	EXPECT_TRUE(rig_state(ready) == GK_W_STOPPED || rig_state(ready) == GK_W_READY);
	EXPECT_TRUE(rig_state(held) == GK_W_STOPPED || rig_state(held) == GK_W_HELD);
	ASSERT_EQ(1, write(fb[1], "x", 1));
	EXPECT_STATE(blocked, GK_W_STOPPED);
	/* STOP returned: from then on the hog's beats stand still. */
	EXPECT_EQ(beats, atomic_load(&hog->beats)) TH_LOG("the hog ran on after STOP had returned");
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, atomic_load(&still[i]->mark)) TH_LOG("worker %d", still[i]->id);
	}
	if (by_worker) {
		EXPECT_TRUE(rig_wait_beats(caller, 1000));
		EXPECT_EQ(GK_W_RUNNING, rig_state(caller));
	}
	EXPECT_TRUE(rig_is_still(hog, 50));
	/* Nobody comes back: not by WAKE, not by UNHOLD, not by queued work; nobody new comes in. */
	rig_push_quiet(&r, 0);
	rig_call(&r, GK_IOC_WAKE, 0);
	rig_call(&r, GK_IOC_UNHOLD, held->id);
	EXPECT_TRUE(rig_is_still(hog, 20));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, atomic_load(&still[i]->mark));
	}
	EXPECT_EQ(NULL, rig_spawn(&r, 0, rig_hog, NULL));
	EXPECT_EQ(ESHUTDOWN, errno);
	/* A second STOP has nothing to do. The process's end takes the stopped ones along: TEST_NO_LEAK looks. */
	EXPECT_LE(-ESHUTDOWN, rig_call(&r, GK_IOC_STOP, 0));
}

TEST(stop_by_a_worker)
{
	stop_everyone(_metadata, true);
}

TEST(stop_by_another_thread)
{
	stop_everyone(_metadata, false);
}

/* A stopped worker still takes fatal signals: see exit.c. */
static void on_usr1(int sig)
{
	(void)sig;
}

TEST(a_signal_does_not_bring_a_stopped_worker_back)
{
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };
	struct rig_worker *hog;
	struct rig r;
	int i;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	ASSERT_EQ(0, rig_open(&r, &plain));
	hog = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, hog);
	ASSERT_TRUE(rig_wait_beats(hog, 1000));
	ASSERT_EQ(0, rig_call(&r, GK_IOC_STOP, 0));
	ASSERT_STATE(hog, GK_W_STOPPED);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, pthread_kill(hog->thread, SIGUSR1));
		EXPECT_TRUE(RIG_WAIT(rig_state(hog) == GK_W_STOPPED && rig_task_state(hog->tid) == 'S' &&
				     rig_is_still(hog, 10)));
	}
}

/* While nobody else takes one of the process it waits, and its handler is not begun in a thread that cannot end it. */
static atomic_int handled;

static void burns_and_counts(int sig)
{
	uint64_t end = rig_now() + 5 * MSEC;

	(void)sig;
	while (rig_now() < end)
		;
	atomic_fetch_add(&handled, 1);
}

TEST(a_stopped_worker_takes_no_signal_from_another_thread)
{
	struct sigaction sa = { .sa_handler = burns_and_counts };
	struct rig_worker *hog;
	sigset_t set;
	struct rig r;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	ASSERT_EQ(0, rig_open(&r, &plain));
	hog = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, hog);
	ASSERT_TRUE(rig_wait_beats(hog, 1000));
	ASSERT_EQ(0, rig_call(&r, GK_IOC_STOP, 0));
	ASSERT_STATE(hog, GK_W_STOPPED);
	ASSERT_TRUE(RIG_WAIT(rig_task_state(hog->tid) == 'S'));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_TRUE(rig_is_still(hog, 20));
	EXPECT_EQ(0, atomic_load(&handled));
	ASSERT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	EXPECT_EQ(1, atomic_load(&handled));
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
