// SPDX-License-Identifier: GPL-2.0-only
/*
 * pthread.c - what is made for threads, used by tasks: locks of the C library held over gk calls, and waited for.
 *
 * A task that waits for one sleeps in the kernel, mounted on its thread. Its holder may be a task that waits in gk and
 * is on no thread at all: it has to run on another one, and unlocks there.
 */
#include "chaos.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static gk_wg wg;
static long plain;
static atomic_int waiting, moved;

static int tid(void)
{
	return syscall(SYS_gettid);
}

static void locks_too(void *arg)
{
	waiting = 1;
	pthread_mutex_lock(&lock);
	plain++;
	pthread_mutex_unlock(&lock);
	gk_wg_done(&wg);
}

/*
 * The deadlock of libraries that run many tasks on few threads: the one thread sleeps until the mutex is unlocked, and
 * only a task that this thread would have to run can do that.
 */
GK_TEST(a_mutex_held_over_a_yield_on_one_core, 1)
{
	int i, thread;

	for (i = 0; i < 20; i++) {
		waiting = 0;
		gk_wg_add(&wg, 1);
		pthread_mutex_lock(&lock);
		thread = tid();
		gk_go(locks_too, NULL);
		do
			gk_yield();
		while (!waiting);
		moved += tid() != thread;
		pthread_mutex_unlock(&lock);
		gk_wg_wait(&wg);
	}
	CHECK_EQ(20, plain);
	/* The thread that it locked it on slept in the other's call: each time, if no third was about. */
	CHECK(moved);
	return 0;
}

static void holds_it_over_gk_calls(void *arg)
{
	long v;

	pthread_mutex_lock(&lock);
	v = plain;
	switch ((long)arg % 3) {
	case 0: gk_yield(); break;
	case 1: gk_sleep(20000); break;
	}
	plain = v + 1;
	pthread_mutex_unlock(&lock);
	gk_wg_done(&wg);
}

static int crowd(void *arg)
{
	long i, n = (long)arg;

	plain = 0;
	gk_wg_add(&wg, n);
	for (i = 0; i < n; i++)
		gk_go(holds_it_over_gk_calls, (void *)i);
	gk_wg_wait(&wg);
	CHECK_EQ(n, plain);
	CHECK_EQ(0, lib_stats().inside_blocks);
	return 0;
}

TEST(hundreds_of_tasks_want_a_mutex_that_is_held_over_gk_calls)
{
	EXPECT_EQ(0, lib_run(1, crowd, (void *)300));
	EXPECT_EQ(0, lib_run(2, crowd, (void *)300));
	EXPECT_EQ(0, lib_run(4, crowd, (void *)200));
}

/* ---- conditions -------------------------------------------------------------------------------------------------- */

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t not_empty, not_full;
	long v[4];
	int n;
};

#define QUEUE_INIT { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, {}, 0 }

static struct queue q = QUEUE_INIT, back = QUEUE_INIT;

static void put(struct queue *to, long v)
{
	pthread_mutex_lock(&to->lock);
	while (to->n == 4)
		pthread_cond_wait(&to->not_full, &to->lock);
	to->v[to->n++] = v;
	pthread_cond_signal(&to->not_empty);
	pthread_mutex_unlock(&to->lock);
}

static long take(struct queue *from)
{
	long v;

	pthread_mutex_lock(&from->lock);
	while (!from->n)
		pthread_cond_wait(&from->not_empty, &from->lock);
	v = from->v[--from->n];
	pthread_cond_signal(&from->not_full);
	pthread_mutex_unlock(&from->lock);
	return v;
}

static atomic_long sum;

static void puts_some(void *arg)
{
	long i;

	for (i = 0; i < 20; i++) {
		put(&q, i);
		if (i % 5 == 0)
			gk_yield();
	}
	gk_wg_done(&wg);
}

static void takes_some(void *arg)
{
	long i;

	for (i = 0; i < 20; i++) {
		sum += take(&q);
		if (i % 7 == 0)
			gk_sleep(1000);
	}
	gk_wg_done(&wg);
}

static int pairs(void *arg)
{
	long i;

	sum = 0;
	gk_wg_add(&wg, 16);
	for (i = 0; i < 8; i++) {
		gk_go(puts_some, NULL);
		gk_go(takes_some, NULL);
	}
	gk_wg_wait(&wg);
	CHECK_EQ(8 * 190, sum);
	CHECK_EQ(0, q.n);
	return 0;
}

TEST(conditions_between_tasks)
{
	EXPECT_EQ(0, lib_run(1, pairs, NULL));
	EXPECT_EQ(0, lib_run(2, pairs, NULL));
}

static void *a_thread_puts(void *arg)
{
	long i;

	for (i = 0; i < 200; i++)
		put(&q, i);
	return NULL;
}

static void *a_thread_takes(void *arg)
{
	long i;

	for (i = 0; i < 200; i++)
		sum += take(&back);
	return NULL;
}

static void relays(void *arg)
{
	long i;

	for (i = 0; i < 50; i++) {
		put(&back, take(&q));
		gk_yield();
	}
	gk_wg_done(&wg);
}

static int threads_and_tasks(void *arg)
{
	pthread_t from, to;
	int i;

	sum = 0;
	CHECK_EQ(0, pthread_create(&from, NULL, a_thread_puts, NULL));
	gk_wg_add(&wg, 4);
	for (i = 0; i < 4; i++)
		gk_go(relays, NULL);
	CHECK_EQ(0, pthread_create(&to, NULL, a_thread_takes, NULL));
	gk_wg_wait(&wg);
	pthread_join(from, NULL);
	pthread_join(to, NULL);
	CHECK_EQ(200 * 199 / 2, sum);
	return 0;
}

TEST(conditions_between_tasks_and_threads)
{
	EXPECT_EQ(0, lib_run(1, threads_and_tasks, NULL));
	EXPECT_EQ(0, lib_run(2, threads_and_tasks, NULL));
}

static pthread_cond_t later = PTHREAD_COND_INITIALIZER;

static void signals_later(void *arg)
{
	gk_sleep(20 * MS);
	pthread_mutex_lock(&lock);
	plain = 1;
	pthread_cond_signal(&later);
	pthread_mutex_unlock(&lock);
}

GK_TEST(a_timed_wait_on_a_condition, 1)
{
	struct timespec ts;
	int err = 0;

	plain = 0;
	clock_gettime(CLOCK_REALTIME, &ts);
	pthread_mutex_lock(&lock);
	CHECK_EQ(ETIMEDOUT, pthread_cond_timedwait(&later, &lock, &ts));
	ts.tv_sec += 30;
	gk_go(signals_later, NULL);
	while (!plain && !err)
		err = pthread_cond_timedwait(&later, &lock, &ts);
	CHECK_EQ(0, err);
	pthread_mutex_unlock(&lock);
	return 0;
}

/* ---- kinds that know which thread holds them --------------------------------------------------------------------- */

static const struct kind {
	const char *name;
	int type, protocol, robust;
	bool knows;		/* whose it is, when it is unlocked */
} kinds[] = {
	{ "normal", PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, false },
	{ "adaptive", PTHREAD_MUTEX_ADAPTIVE_NP, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, false },
	{ "errorcheck", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, true },
	{ "recursive", PTHREAD_MUTEX_RECURSIVE, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, true },
	{ "inheriting", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, true },
	{ "robust", PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST, true },
	{ "robust, inheriting", PTHREAD_MUTEX_RECURSIVE, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST, true },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static pthread_mutex_t owned;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static gk_chan *wake;
static int in, out;

static bool make(const struct kind *k)
{
	pthread_mutexattr_t a;
	int err;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, k->type);
	pthread_mutexattr_setprotocol(&a, k->protocol);
	pthread_mutexattr_setrobust(&a, k->robust);
	err = pthread_mutex_init(&owned, &a);
	pthread_mutexattr_destroy(&a);
	if (err)
		fprintf(stderr, "# %s: %s\n", k->name, strerror(err));
	return !err;
}

/* Wakes the other task and then sleeps in the kernel, on the thread that the other was on, if that is free for it. */
static void takes_the_thread(void *arg)
{
	char c;

	gk_chan_send(wake, NULL);
	CHECK_EQ(1, read(out, &c, 1));
	gk_wg_done(&wg);
}

/* Waits in gk meanwhile. Whether it came back on another thread. */
static bool waits(void)
{
	int before = tid(), ret;

	gk_wg_add(&wg, 1);
	gk_go(takes_the_thread, NULL);
	gk_chan_recv(wake, NULL);
	ret = tid() != before;
	CHECK_EQ(1, write(in, "x", 1));
	return ret;
}

static void set_up(void)
{
	int fds[2];

	CHECK_EQ(0, pipe(fds));
	out = fds[0];
	in = fds[1];
	wake = gk_chan_new(0, 0);
}

static void holds_what_knows_its_owner(void *arg)
{
	int i;

	for (i = 0; i < (int)KINDS; i++) {
		if (!make(&kinds[i]))
			continue;
		CHECK_EQ(0, pthread_mutex_lock(&owned));
		if (kinds[i].type == PTHREAD_MUTEX_RECURSIVE)
			CHECK_EQ(0, pthread_mutex_lock(&owned));
		CHECK(!waits());
		gk_yield();
		gk_sleep(10000);
		if (kinds[i].type == PTHREAD_MUTEX_RECURSIVE)
			CHECK_EQ(0, pthread_mutex_unlock(&owned));
		CHECK_EQ(0, pthread_mutex_unlock(&owned));
		CHECK_EQ(0, pthread_mutex_trylock(&owned));
		CHECK_EQ(0, pthread_mutex_unlock(&owned));
		pthread_mutex_destroy(&owned);
	}
	CHECK_EQ(0, pthread_rwlock_wrlock(&rwlock));
	CHECK(!waits());
	CHECK_EQ(EDEADLK, pthread_rwlock_wrlock(&rwlock));
	CHECK_EQ(0, pthread_rwlock_unlock(&rwlock));
	CHECK_EQ(0, pthread_rwlock_trywrlock(&rwlock));
	CHECK_EQ(0, pthread_rwlock_unlock(&rwlock));
	CHECK_EQ(0, pthread_rwlock_rdlock(&rwlock));
	CHECK(!waits());
	CHECK_EQ(0, pthread_rwlock_unlock(&rwlock));
	CHECK_EQ(0, pthread_rwlock_trywrlock(&rwlock));
	CHECK_EQ(0, pthread_rwlock_unlock(&rwlock));
}

static int pinned(void *arg)
{
	struct gk_attr attr = { .flags = GK_PINNED };
	gk_task *t;

	set_up();
	CHECK_EQ(0, gk_spawn(&t, &attr, holds_what_knows_its_owner, NULL));
	gk_join(t);
	gk_pin();
	holds_what_knows_its_owner(NULL);
	gk_unpin();
	gk_wg_wait(&wg);
	return 0;
}

TEST(a_pinned_task_may_hold_what_knows_its_owner)
{
	EXPECT_EQ(0, lib_run(1, pinned, NULL));
	EXPECT_EQ(0, lib_run(2, pinned, NULL));
}

/* What libgk cannot see, these kinds say themselves; the others do not mind. */
GK_TEST_IN_TURN(an_unpinned_task_that_moved_is_told_by_the_kinds_that_check)
{
	int i;

	set_up();
	for (i = 0; i < (int)KINDS; i++) {
		if (!make(&kinds[i]))
			continue;
		CHECK_EQ(0, pthread_mutex_lock(&owned));
		CHECK(WAIT_FOR(waits()));
		CHECK_EQ(kinds[i].knows ? EPERM : 0, pthread_mutex_unlock(&owned));
		/* One that a thread still has is left to it. */
		gk_wg_wait(&wg);
		memset(&owned, 0, sizeof(owned));
	}
	return 0;
}

TEST_HARNESS_MAIN
