// SPDX-License-Identifier: GPL-2.0-only
/* rwlock.c - many readers or one writer. */
#include "chaos.h"

#define ALL_WRITERS 10000

static gk_rwlock rw = GK_RWLOCK_INIT;
static gk_wg wg;
static atomic_int activity;		/* readers, and ALL_WRITERS for a writer */
static atomic_int readers_in, step, came;

static void is_free(void)
{
	CHECK_EQ(0, gk_rwlock_trywrlock(&rw));
	CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
	CHECK_EQ(0, gk_rwlock_tryrdlock(&rw));
	CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	CHECK_EQ(0, rw.word);
}

static void does_not_hold_it(void *arg)
{
	CHECK_EQ(-EPERM, gk_rwlock_wrunlock(&rw));
	CHECK_EQ(-EPERM, gk_rwlock_rdunlock(&rw));
	CHECK_EQ(-EBUSY, gk_rwlock_trywrlock(&rw));
	CHECK_EQ(-EBUSY, gk_rwlock_tryrdlock(&rw));
}

GK_TEST(misuse_has_defined_errors, 2)
{
	gk_task *t;

	CHECK_EQ(-EPERM, gk_rwlock_wrunlock(&rw));
	CHECK_EQ(-EPERM, gk_rwlock_rdunlock(&rw));
	CHECK_EQ(0, gk_rwlock_rdlock(&rw));
	CHECK_EQ(-EPERM, gk_rwlock_wrunlock(&rw));
	CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	CHECK_EQ(-EPERM, gk_rwlock_rdunlock(&rw));
	CHECK_EQ(0, gk_rwlock_wrlock(&rw));
	CHECK_EQ(-EPERM, gk_rwlock_rdunlock(&rw));
	CHECK_EQ(-EDEADLK, gk_rwlock_wrlock(&rw));
	CHECK_EQ(-EDEADLK, gk_rwlock_rdlock(&rw));
	gk_spawn(&t, NULL, does_not_hold_it, NULL);
	gk_join(t);
	CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
	CHECK_EQ(-EPERM, gk_rwlock_wrunlock(&rw));
	is_free();
	return 0;
}

GK_TEST(try_does_not_wait, 1)
{
	CHECK_EQ(0, gk_rwlock_trywrlock(&rw));
	CHECK_EQ(-EBUSY, gk_rwlock_trywrlock(&rw));
	CHECK_EQ(-EBUSY, gk_rwlock_tryrdlock(&rw));
	CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
	CHECK_EQ(0, gk_rwlock_tryrdlock(&rw));
	CHECK_EQ(0, gk_rwlock_tryrdlock(&rw));
	CHECK_EQ(-EBUSY, gk_rwlock_trywrlock(&rw));
	CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	CHECK_EQ(-EBUSY, gk_rwlock_trywrlock(&rw));
	CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	is_free();
	return 0;
}

/* Each holds it until all the others do. */
static void reads_with_the_others(void *arg)
{
	CHECK_EQ(0, gk_rwlock_rdlock(&rw));
	readers_in++;
	CHECK(WAIT_FOR(readers_in == (long)arg));
	CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	gk_wg_done(&wg);
}

static int parallel(void *arg)
{
	long i, n = (long)arg;

	readers_in = 0;
	gk_wg_add(&wg, n);
	for (i = 0; i < n; i++)
		gk_go(reads_with_the_others, arg);
	gk_wg_wait(&wg);
	is_free();
	return 0;
}

TEST(readers_hold_it_together)
{
	EXPECT_EQ(0, lib_run(4, parallel, (void *)1));
	EXPECT_EQ(0, lib_run(4, parallel, (void *)3));
	EXPECT_EQ(0, lib_run(2, parallel, (void *)40));
	EXPECT_EQ(0, lib_run(1, parallel, (void *)40));
}

static void reader(void *arg)
{
	int i, n;

	for (i = 0; i < (long)arg; i++) {
		CHECK_EQ(0, gk_rwlock_rdlock(&rw));
		n = ++activity;
		CHECK(n >= 1 && n < ALL_WRITERS);
		if (i % 16 == 0)
			gk_yield();
		activity--;
		CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	}
	gk_wg_done(&wg);
}

static void writer(void *arg)
{
	int i;

	for (i = 0; i < (long)arg; i++) {
		CHECK_EQ(0, gk_rwlock_wrlock(&rw));
		CHECK_EQ(ALL_WRITERS, activity += ALL_WRITERS);
		if (i % 16 == 0)
			gk_yield();
		activity -= ALL_WRITERS;
		CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
	}
	gk_wg_done(&wg);
}

static int hammer(void *arg)
{
	long i, n = (long)arg;

	gk_wg_add(&wg, n + 2);
	gk_go(writer, (void *)1000);
	for (i = 0; i < n; i++) {
		if (i == n / 2)
			gk_go(writer, (void *)1000);
		gk_go(reader, (void *)1000);
	}
	gk_wg_wait(&wg);
	is_free();
	return 0;
}

TEST(a_writer_is_alone)
{
	static const int cores[] = { 1, 2, 4 }, readers[] = { 1, 3, 10 };
	int i, j;

	for (i = 0; i < 3; i++)
		for (j = 0; j < 3; j++)
			EXPECT_EQ(0, lib_run(cores[i], hammer, (void *)(long)readers[j]));
}

static void takes_it_as_writer(void *arg)
{
	CHECK_EQ(0, gk_rwlock_wrlock(&rw));
	CHECK_EQ(1, ++step);
	CHECK_EQ(0, readers_in);
	CHECK(WAIT_FOR(chaos_listed(&rw.waiters.queue) == 8));
	CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
}

static void takes_it_as_second_writer(void *arg)
{
	CHECK_EQ(0, gk_rwlock_wrlock(&rw));
	/* Those who came before the first writer unlocked have had it, though they came after us. */
	CHECK_EQ(8, readers_in);
	CHECK_EQ(2, ++step);
	CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
}

static void comes_later_to_read(void *arg)
{
	CHECK_EQ(-EBUSY, gk_rwlock_tryrdlock(&rw));
	CHECK_EQ(-ETIMEDOUT, gk_rwlock_rdlock_until(&rw, gk_now() + MS));
	came++;
	CHECK_EQ(0, gk_rwlock_rdlock(&rw));
	CHECK_EQ(1, step);
	readers_in++;
	CHECK(WAIT_FOR(readers_in == 8));
	CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	gk_wg_done(&wg);
}

static int takes_turns(void *arg)
{
	gk_task *first, *second;
	int i;

	step = readers_in = came = 0;
	CHECK_EQ(0, gk_rwlock_rdlock(&rw));
	gk_spawn(&first, NULL, takes_it_as_writer, NULL);
	CHECK(WAIT_FOR(chaos_listed(&rw.writers) == 1));
	gk_spawn(&second, NULL, takes_it_as_second_writer, NULL);
	CHECK(WAIT_FOR(chaos_listed(&rw.writers) == 2));
	gk_wg_add(&wg, 8);
	for (i = 0; i < 8; i++)
		gk_go(comes_later_to_read, NULL);
	CHECK(WAIT_FOR(came == 8));
	CHECK_EQ(0, step);
	CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	gk_join(first);
	gk_join(second);
	gk_wg_wait(&wg);
	CHECK_EQ(2, step);
	is_free();
	return 0;
}

TEST(a_waiting_writer_keeps_readers_out_and_lets_them_in_before_the_next_writer)
{
	EXPECT_EQ(0, lib_run(1, takes_turns, NULL));
	EXPECT_EQ(0, lib_run(2, takes_turns, NULL));
}

static void gives_up_writing(void *arg)
{
	int err = gk_rwlock_wrlock_until(&rw, arg ? GK_FOREVER : gk_now() + 20 * MS);

	CHECK_EQ(arg ? -ECANCELED : -ETIMEDOUT, err);
}

static void reads_once(void *arg)
{
	CHECK_EQ(0, gk_rwlock_rdlock(&rw));
	CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	gk_wg_done(&wg);
}

GK_TEST(a_writer_that_gives_up_lets_the_readers_in_that_it_kept_out, 2)
{
	gk_task *t, *u;
	int i, round;

	for (round = 0; round < 2; round++) {
		CHECK_EQ(0, gk_rwlock_rdlock(&rw));
		gk_spawn(&u, NULL, gives_up_writing, (void *)1);
		CHECK(WAIT_FOR(__atomic_load_n(&rw.writers.first, __ATOMIC_RELAXED)));
		gk_spawn(&t, NULL, gives_up_writing, NULL);
		gk_wg_add(&wg, 10);
		for (i = 0; i < 10; i++)
			gk_go(reads_once, NULL);
		CHECK_EQ(0, gk_join(t));
		/* The other one still waits. */
		CHECK_EQ(-EBUSY, gk_rwlock_tryrdlock(&rw));
		CHECK_EQ(-ETIMEDOUT, gk_wg_wait_until(&wg, gk_now() + 5 * MS));
		CHECK_EQ(0, gk_cancel(u));
		CHECK_EQ(0, gk_join(u));
		CHECK_EQ(0, gk_wg_wait(&wg));
		CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
		is_free();
	}
	return 0;
}

static atomic_int stop;

static void reads_without_end(void *arg)
{
	while (!stop) {
		gk_rwlock_rdlock(&rw);
		gk_sleep(100000);
		gk_rwlock_rdunlock(&rw);
	}
	gk_wg_done(&wg);
}

static void writes_without_end(void *arg)
{
	while (!stop) {
		gk_rwlock_wrlock(&rw);
		gk_sleep(100000);
		gk_rwlock_wrunlock(&rw);
	}
	gk_wg_done(&wg);
}

GK_TEST(neither_readers_nor_writers_starve, 2)
{
	int i, who;

	for (who = 0; who < 2; who++) {
		stop = 0;
		gk_wg_add(&wg, 8);
		for (i = 0; i < 8; i++)
			gk_go(who ? reads_without_end : writes_without_end, NULL);
		for (i = 0; i < 20; i++) {
			CHECK_EQ(0, gk_rwlock_wrlock_until(&rw, gk_now() + PATIENCE));
			CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
			CHECK_EQ(0, gk_rwlock_rdlock_until(&rw, gk_now() + PATIENCE));
			CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
		}
		stop = 1;
		gk_wg_wait(&wg);
		is_free();
	}
	return 0;
}

/* A writer's lock on the stack is gone as soon as the reader has it, and the other way round. */
static void hands_over(void *arg)
{
	gk_rwlock *mine = arg;

	CHECK_EQ(0, gk_rwlock_wrlock(mine));
	gk_rwlock_wrunlock(mine);
}

GK_TEST(whoever_got_it_last_may_free_it, 4)
{
	int i;

	for (i = 0; i < 10000; i++) {
		gk_rwlock *mine = calloc(1, sizeof(*mine));
		gk_task *t;

		CHECK_EQ(0, gk_rwlock_rdlock(mine));
		gk_spawn(&t, NULL, hands_over, mine);
		gk_rwlock_rdunlock(mine);
		if (i % 2)
			gk_join(t);
		CHECK_EQ(0, gk_rwlock_wrlock(mine));
		CHECK_EQ(0, gk_rwlock_wrunlock(mine));
		if (!(i % 2))
			gk_join(t);
		memset(mine, 0xff, sizeof(*mine));
		free(mine);
	}
	return 0;
}

static void use(unsigned int *seed)
{
	uint64_t deadline = chaos_deadline(seed);
	int err;

	if (rand_r(seed) % 4) {
		err = deadline ? gk_rwlock_rdlock_until(&rw, deadline) : gk_rwlock_tryrdlock(&rw);
		if (err == -EBUSY || !chaos_got(err))
			return;
		CHECK(++activity < ALL_WRITERS);
		chaos_hold(seed);
		activity--;
		CHECK_EQ(0, gk_rwlock_rdunlock(&rw));
	} else {
		err = deadline ? gk_rwlock_wrlock_until(&rw, deadline) : gk_rwlock_trywrlock(&rw);
		if (err == -EBUSY || !chaos_got(err))
			return;
		CHECK_EQ(ALL_WRITERS, activity += ALL_WRITERS);
		chaos_hold(seed);
		activity -= ALL_WRITERS;
		CHECK_EQ(0, gk_rwlock_wrunlock(&rw));
	}
}

static int chaos_main(void *arg)
{
	chaos_run(use, 4, 150);
	chaos_run(use, 40, 150);
	CHECK_EQ(0, activity);
	is_free();
	return 0;
}

TEST(deadlines_and_cancels_neither_break_exclusion_nor_lose_a_wakeup)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, chaos_main, NULL));
}

TEST_HARNESS_MAIN
