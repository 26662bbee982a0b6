// SPDX-License-Identifier: GPL-2.0-only
/* scope.c - scopes: what is started in one ends in it. */
#include "lib.h"

static atomic_long running, ended;

static int succeeds(void *arg)
{
	gk_yield();
	ended++;
	return (long)arg;
}

static int fails(void *arg)
{
	gk_sleep(MS);
	return (long)arg;
}

/* Until it is cancelled. */
static int waits(void *arg)
{
	int err;

	running++;
	err = gk_sleep(GK_FOREVER);
	CHECK_EQ(-ECANCELED, err);
	running--;
	ended++;
	return err;
}

GK_TEST(wait_returns_when_all_have_ended, 2)
{
	gk_scope *s;
	long i;

	CHECK_EQ(0, gk_scope_open(&s, NULL));
	for (i = 0; i < 1000; i++)
		CHECK_EQ(0, gk_scope_go(s, succeeds, (void *)i));
	CHECK_EQ(0, gk_scope_wait(s));
	CHECK_EQ(1000, ended);
	CHECK_EQ(0, gk_scope_open(&s, NULL));
	CHECK_EQ(0, gk_scope_wait(s));
	return 0;
}

GK_TEST(the_first_error_cancels_the_others_and_is_the_result, 2)
{
	gk_scope *s;
	int i;

	CHECK_EQ(0, gk_scope_open(&s, NULL));
	for (i = 0; i < 100; i++)
		CHECK_EQ(0, gk_scope_go(s, waits, NULL));
	CHECK_EQ(0, gk_scope_go(s, fails, (void *)-EBADF));
	CHECK_EQ(-EBADF, gk_scope_wait(s));
	CHECK_EQ(100, ended);
	return 0;
}

GK_TEST(a_supervisor_lets_the_others_go_on, 2)
{
	struct gk_scope_attr attr = { .flags = GK_SCOPE_SUPERVISOR };
	gk_scope *s;
	int i;

	CHECK_EQ(0, gk_scope_open(&s, &attr));
	for (i = 0; i < 10; i++)
		CHECK_EQ(0, gk_scope_go(s, fails, (void *)-EBADF));
	gk_sleep(20 * MS);
	for (i = 0; i < 10; i++)
		CHECK_EQ(0, gk_scope_go(s, succeeds, NULL));
	CHECK_EQ(-EBADF, gk_scope_wait(s));
	CHECK_EQ(10, ended);
	return 0;
}

/* Starts as many as @n, of which it returns how many: the deadline of @s may pass meanwhile. */
static int start(gk_scope *s, int n, int (*fn)(void *arg))
{
	int i, err = 0;

	for (i = 0; i < n && !(err = gk_scope_go(s, fn, NULL)); i++)
		;
	CHECK(!err || err == -ETIMEDOUT);
	return i;
}

GK_TEST(a_deadline_cancels_and_is_the_result, 2)
{
	struct gk_scope_attr attr = { .deadline = gk_now() + 10 * MS };
	gk_scope *s;
	int n;

	CHECK_EQ(0, gk_scope_open(&s, &attr));
	n = start(s, 10, waits);
	/* Also while the owner does something else. */
	CHECK(WAIT_FOR(gk_now() >= attr.deadline && ended == n));
	CHECK_EQ(-ETIMEDOUT, gk_scope_go(s, waits, NULL));
	CHECK_EQ(-ETIMEDOUT, gk_scope_try_go(s, waits, NULL));
	CHECK_EQ(-ETIMEDOUT, gk_scope_wait(s));
	/* It is over before: nothing to cancel. */
	attr.deadline = gk_now() + 3600 * SEC;
	CHECK_EQ(0, gk_scope_open(&s, &attr));
	CHECK_EQ(0, gk_scope_go(s, succeeds, NULL));
	CHECK_EQ(0, gk_scope_wait(s));
	/* It has passed. */
	attr.deadline = 1;
	CHECK_EQ(0, gk_scope_open(&s, &attr));
	CHECK_EQ(-ETIMEDOUT, gk_scope_go(s, waits, NULL));
	CHECK_EQ(-ETIMEDOUT, gk_scope_wait(s));
	/* Of the wait. */
	CHECK_EQ(0, gk_scope_open(&s, NULL));
	CHECK_EQ(0, gk_scope_go(s, waits, NULL));
	CHECK_EQ(-ETIMEDOUT, gk_scope_wait_until(s, gk_now() + MS));
	CHECK_EQ(n + 2, ended);
	return 0;
}

/* Whether a cancellation may come before all have been started. */
static bool at_any_time;

/* Three levels, each of which waits for the next. */
static int nests(void *arg)
{
	long depth = (long)arg;
	gk_scope *s;
	int i, err;

	CHECK_EQ(0, gk_scope_open(&s, NULL));
	for (i = 0; i < 3; i++) {
		err = gk_scope_go(s, depth ? nests : waits, (void *)(depth - 1));
		CHECK(!err || (at_any_time && err == -ECANCELED));
	}
	err = gk_scope_wait(s);
	CHECK_EQ(-ECANCELED, err);
	return err;
}

static void owns_nested(void *arg)
{
	nests((void *)3);
	CHECK_EQ(81, ended);
	CHECK_EQ(0, running);
	/* Cancelled as it was: it starts no more, and says so. */
	CHECK_EQ(1, gk_cancelled());
}

GK_TEST(cancelling_who_waits_reaches_all_below, 2)
{
	struct gk_scope_attr attr = {};
	gk_scope *s;
	gk_task *t;

	gk_spawn(&t, NULL, owns_nested, NULL);
	CHECK(WAIT_FOR(running == 81));
	CHECK_EQ(0, gk_cancel(t));
	CHECK_EQ(0, gk_join(t));
	/* By a deadline at the top, too; and by an error next to it. */
	at_any_time = true;
	attr.deadline = gk_now() + 50 * MS;
	CHECK_EQ(0, gk_scope_open(&s, &attr));
	if (gk_scope_go(s, nests, (void *)3) == 0) {
		CHECK_EQ(-ETIMEDOUT, gk_scope_wait(s));
		CHECK_EQ(0, running);
	}
	at_any_time = false;
	ended = 0;
	CHECK_EQ(0, gk_scope_open(&s, NULL));
	CHECK_EQ(0, gk_scope_go(s, nests, (void *)3));
	CHECK(WAIT_FOR(running == 81));
	CHECK_EQ(0, gk_scope_go(s, fails, (void *)-EIO));
	CHECK_EQ(-EIO, gk_scope_wait(s));
	CHECK_EQ(81, ended);
	return 0;
}

/* It does not heed its cancellation for a while: it is waited for. */
static atomic_bool released;

static int stubborn(void *arg)
{
	gk_cancel_mask();
	running++;
	while (!released)
		gk_sleep(200000);
	running--;
	ended++;
	gk_cancel_unmask();
	return 0;
}

static void owns_stubborn(void *arg)
{
	gk_scope *s;

	CHECK_EQ(0, gk_scope_open(&s, NULL));
	CHECK_EQ(0, gk_scope_go(s, stubborn, NULL));
	CHECK_EQ(-ECANCELED, gk_scope_wait(s));
	CHECK_EQ(1, ended);
	/* When it opens another, nothing starts. */
	CHECK_EQ(0, gk_scope_open(&s, NULL));
	CHECK_EQ(-ECANCELED, gk_scope_go(s, stubborn, NULL));
	CHECK_EQ(-ECANCELED, gk_scope_wait(s));
	CHECK_EQ(1, ended);
}

GK_TEST(nobody_leaks_though_the_owner_is_cancelled, 2)
{
	gk_task *t;

	gk_spawn(&t, NULL, owns_stubborn, NULL);
	CHECK(WAIT_FOR(running));
	CHECK_EQ(0, gk_cancel(t));
	CHECK_EQ(-ETIMEDOUT, gk_join_until(t, gk_now() + 10 * MS));
	CHECK_EQ(0, ended);
	released = true;
	CHECK_EQ(0, gk_join(t));
	return 0;
}

static void forgets(void *arg)
{
	gk_scope *s, *inner;

	CHECK_EQ(0, gk_scope_open(&s, NULL));
	CHECK_EQ(0, gk_scope_open(&inner, NULL));
	CHECK_EQ(0, gk_scope_go(s, waits, NULL));
	CHECK_EQ(0, gk_scope_go(inner, waits, NULL));
	CHECK_EQ(0, gk_scope_go(inner, stubborn, NULL));
	if (arg)
		gk_exit();
}

GK_TEST(nobody_leaks_though_the_owner_ends, 2)
{
	gk_task *t;
	long i;

	for (i = 0; i < 2; i++) {
		ended = 0;
		released = false;
		gk_spawn(&t, NULL, forgets, (void *)i);
		CHECK_EQ(-ETIMEDOUT, gk_join_until(t, gk_now() + 10 * MS));
		released = true;
		CHECK_EQ(0, gk_join(t));
		CHECK_EQ(3, ended);
		CHECK_EQ(0, running);
	}
	return 0;
}

static int exits(void *arg)
{
	ended++;
	gk_exit();
}

static gk_scope *shared;

static int starts_more(void *arg)
{
	long n = (long)arg;

	ended++;
	while (n-- > 0)
		CHECK_EQ(0, gk_scope_go(shared, starts_more, (void *)n));
	CHECK_EQ(-EPERM, gk_scope_wait(shared));
	return 0;
}

GK_TEST(tasks_may_start_others_and_exit_anywhere, 2)
{
	struct gk_attr attr = { .name = "one", .stack_size = 64 << 10 };
	gk_scope *s;
	int i;

	CHECK_EQ(-EINVAL, gk_scope_open(NULL, NULL));
	CHECK_EQ(-EINVAL, gk_scope_open(&s, &(struct gk_scope_attr){ .flags = 64 }));
	CHECK_EQ(-EINVAL, gk_scope_wait(NULL));
	CHECK_EQ(-EINVAL, gk_scope_cancel(NULL));
	CHECK_EQ(0, gk_scope_open(&shared, NULL));
	CHECK_EQ(-EINVAL, gk_scope_go(shared, NULL, NULL));
	CHECK_EQ(-EINVAL, gk_scope_spawn(shared, &(struct gk_attr){ .flags = 64 }, exits, NULL));
	CHECK_EQ(0, gk_scope_go(shared, starts_more, (void *)8));
	for (i = 0; i < 100; i++)
		CHECK_EQ(0, gk_scope_spawn(shared, &attr, exits, NULL));
	CHECK_EQ(0, gk_scope_wait(shared));
	CHECK_EQ(256 + 100, ended);
	return 0;
}

static atomic_long most;

static int counts(void *arg)
{
	long n = ++running, was = most;

	while (n > was && !atomic_compare_exchange_weak(&most, &was, n))
		;
	if ((long)arg % 3)
		gk_sleep(100000);
	running--;
	ended++;
	return 0;
}

GK_TEST(a_limit_holds_starters_back, 4)
{
	struct gk_scope_attr attr = { .limit = 3 };
	gk_scope *s;
	long i;

	CHECK_EQ(0, gk_scope_open(&s, &attr));
	for (i = 0; i < 300; i++)
		CHECK_EQ(0, gk_scope_go(s, counts, (void *)i));
	CHECK_EQ(0, gk_scope_wait(s));
	CHECK_EQ(300, ended);
	CHECK(most <= 3);
	CHECK_EQ(0, gk_scope_open(&s, &attr));
	for (i = 0; i < 3; i++)
		CHECK_EQ(0, gk_scope_try_go(s, waits, NULL));
	CHECK_EQ(-EAGAIN, gk_scope_try_go(s, waits, NULL));
	CHECK_EQ(-ETIMEDOUT, gk_scope_spawn_until(s, NULL, waits, NULL, gk_now() + MS));
	CHECK_EQ(0, gk_scope_cancel(s));
	CHECK_EQ(-ECANCELED, gk_scope_try_go(s, waits, NULL));
	CHECK_EQ(-ECANCELED, gk_scope_go(s, waits, NULL));
	CHECK_EQ(-ECANCELED, gk_scope_wait(s));
	CHECK_EQ(303, ended);
	return 0;
}

static int fds[2];

static int reads(void *arg)
{
	char c;

	running++;
	CHECK_EQ(-1, read(fds[0], &c, 1));
	CHECK_EQ(EINTR, errno);
	ended++;
	return gk_cancelled() ? -ECANCELED : 0;
}

GK_TEST(a_scope_may_interrupt_system_calls, 2)
{
	struct gk_scope_attr attr = { .flags = GK_SCOPE_INTERRUPT };
	gk_scope *s;
	int i, n;

	CHECK_EQ(0, pipe(fds));
	/* By a deadline, whenever it passes, and by a cancellation of all. */
	attr.deadline = gk_now() + 20 * MS;
	CHECK_EQ(0, gk_scope_open(&s, &attr));
	n = start(s, 20, reads);
	CHECK_EQ(-ETIMEDOUT, gk_scope_wait(s));
	CHECK_EQ(n, ended);
	attr.deadline = 0;
	running = ended = 0;
	CHECK_EQ(0, gk_scope_open(&s, &attr));
	for (i = 0; i < 20; i++)
		CHECK_EQ(0, gk_scope_go(s, reads, NULL));
	CHECK(WAIT_FOR(running == 20));
	CHECK_EQ(0, gk_scope_cancel(s));
	CHECK_EQ(-ECANCELED, gk_scope_wait(s));
	CHECK_EQ(20, ended);
	return 0;
}

/*
 * A random tree of scopes with errors, deadlines, cancels and limits, whose tasks use memory of their parents' frames:
 * whatever happens first, each ends before its parent goes on, and the results fit.
 */
struct node {
	unsigned int seed;
	atomic_uint seeds;		/* of those below */
	int depth;
	atomic_int alive;
};

static atomic_long nodes;

static int random_node(void *arg)
{
	struct node *up = arg, me = { .depth = up->depth - 1 };
	struct gk_scope_attr attr = {};
	bool error = false;
	gk_scope *s;
	int i, n, err = 0;

	me.seed = me.seeds = atomic_fetch_add(&up->seeds, 7919) * 2654435761u;
	up->alive++;
	nodes++;
	switch (rand_r(&me.seed) % 4) {
	case 0:
		err = gk_sleep(rand_r(&me.seed) % 1000000);
		break;
	case 1:
		gk_yield();
		break;
	}
	n = me.depth ? rand_r(&me.seed) % 5 : 0;
	if (n) {
		if (rand_r(&me.seed) % 3 == 0)
			attr.deadline = gk_now() + rand_r(&me.seed) % 2000000;
		if (rand_r(&me.seed) % 3 == 0)
			attr.limit = 1 + rand_r(&me.seed) % 2;
		if (rand_r(&me.seed) % 4 == 0)
			attr.flags |= GK_SCOPE_SUPERVISOR;
		if (rand_r(&me.seed) % 4 == 0)
			attr.flags |= GK_SCOPE_INTERRUPT;
		CHECK_EQ(0, gk_scope_open(&s, &attr));
		for (i = 0; i < n; i++)
			error |= gk_scope_go(s, random_node, &me) < 0;
		if (rand_r(&me.seed) % 8 == 0)
			gk_scope_cancel(s);
		err = gk_scope_wait(s);
		CHECK(!error || err < 0);
		CHECK_EQ(0, me.alive);
	}
	if (rand_r(&me.seed) % 16 == 0)
		err = -EIO;
	up->alive--;
	return err;
}

static int trees(void *arg)
{
	struct node root = { .seed = time(NULL) + (long)arg, .depth = 6 };
	int i;

	root.seeds = root.seed;
	fprintf(stderr, "# seed %u\n", root.seed);
	for (i = 0; i < 100; i++) {
		gk_scope *s;

		CHECK_EQ(0, gk_scope_open(&s, NULL));
		CHECK_EQ(0, gk_scope_go(s, random_node, &root));
		if (i % 2) {
			gk_sleep(rand_r(&root.seed) % 3000000);
			gk_scope_cancel(s);
		}
		gk_scope_wait(s);
		CHECK_EQ(0, root.alive);
	}
	CHECK(WAIT_FOR(lib_stats().tasks == 1));
	return 0;
}

TEST(random_trees_of_scopes_leak_nothing)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, trees, (void *)(long)cores));
}

/* The deadline and the end of the last task at the same moment: one or the other, and both agree. */
static int sleeps_until(void *arg)
{
	uint64_t *deadline = arg;

	return gk_sleep_until(*deadline);
}

static int races(void *arg)
{
	struct gk_scope_attr attr = {};
	long round;
	uint64_t end[3];
	gk_scope *s;
	int i, err;

	for (round = 0; round < 200; round++) {
		attr.deadline = gk_now() + 300000;
		CHECK_EQ(0, gk_scope_open(&s, &attr));
		for (i = 0; i < 3; i++) {
			end[i] = attr.deadline - 20000 + i * 10000;
			gk_scope_go(s, sleeps_until, &end[i]);
		}
		err = gk_scope_wait(s);
		CHECK(!err || err == -ETIMEDOUT);
	}
	CHECK(WAIT_FOR(lib_stats().tasks == 1));
	return 0;
}

TEST(a_deadline_races_with_the_result)
{
	int cores;

	for (cores = 1; cores <= 3; cores++)
		EXPECT_EQ(0, lib_run(cores, races, NULL));
}

TEST_HARNESS_MAIN
