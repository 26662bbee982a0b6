// SPDX-License-Identifier: GPL-2.0-only
/* task.c - tasks: start, join, detach, names, attributes, stacks. */
#include "lib.h"

static void add_one(void *arg)
{
	atomic_fetch_add((atomic_long *)arg, 1);
}

static int spawn_and_join_100k(void *arg)
{
	gk_task *t[1000];
	atomic_long n = 0;
	int i, round;

	for (round = 0; round < 100; round++) {
		for (i = 0; i < 1000; i++)
			CHECK_EQ(0, gk_spawn(&t[i], NULL, add_one, &n));
		for (i = 0; i < 1000; i++)
			CHECK_EQ(0, gk_join(t[i]));
	}
	CHECK_EQ(100000, n);
	CHECK_EQ(1, lib_stats().tasks);
	CHECK_EQ(100001, lib_stats().started);
	return 0;
}

TEST(spawn_and_join_100k_tasks)
{
	EXPECT_EQ(0, lib_run(1, spawn_and_join_100k, NULL));
	EXPECT_EQ(0, lib_run(4, spawn_and_join_100k, NULL));
}

/* All alive at once, each on a stack of its own. */
static gk_chan *gate;

static void waits_at_the_gate(void *arg)
{
	char here[256];

	memset(here, (long)arg, sizeof(here));
	gk_chan_recv(gate, NULL);
	CHECK_EQ((char)(long)arg, here[0]);
	CHECK_EQ((char)(long)arg, here[255]);
}

GK_TEST(twenty_thousand_tasks_alive_at_once, 2)
{
	gk_task **t = calloc(20000, sizeof(*t));
	long i;

	gate = gk_chan_new(0, 0);
	for (i = 0; i < 20000; i++)
		CHECK_EQ(0, gk_spawn(&t[i], NULL, waits_at_the_gate, (void *)i));
	CHECK_EQ(20001, lib_stats().tasks);
	gk_chan_close(gate);
	for (i = 0; i < 20000; i++)
		CHECK_EQ(0, gk_join(t[i]));
	CHECK_EQ(1, lib_stats().tasks);
	free(t);
	return 0;
}

/* More than vm.max_map_count allows: an error, and all goes on. */
GK_TEST(too_many_tasks_are_enomem, 1)
{
	gk_task **t = calloc(100000, sizeof(*t));
	atomic_long one = 0;
	int i, n, err = 0;
	gk_task *again;

	gate = gk_chan_new(0, 0);
	for (n = 0; n < 100000; n++) {
		err = gk_spawn(&t[n], NULL, waits_at_the_gate, NULL);
		if (err)
			break;
	}
	if (n < 100000)
		CHECK_EQ(-ENOMEM, err);
	gk_chan_close(gate);
	for (i = 0; i < n; i++)
		CHECK_EQ(0, gk_join(t[i]));
	CHECK_EQ(0, gk_spawn(&again, NULL, add_one, &one));
	CHECK_EQ(0, gk_join(again));
	CHECK_EQ(1, one);
	free(t);
	return 0;
}

static void checks_its_name(void *arg)
{
	CHECK(!strcmp(arg, gk_name()));
	gk_yield();
	CHECK(!strcmp(arg, gk_name()));
	CHECK(gk_self());
	CHECK(gk_id() > 1);
}

GK_TEST(names, 2)
{
	char name[64] = "0123456789012345678901234567890123456789";
	char cut[32] = "0123456789012345678901234567890";
	struct gk_attr attr = { .name = name };
	gk_task *t, *u;

	CHECK(!strcmp("main", gk_name()) || !strcmp("", gk_name()));
	CHECK_EQ(1, gk_id());
	CHECK_EQ(0, gk_spawn(&t, &attr, checks_its_name, cut));
	strcpy(name, "overwritten");
	CHECK_EQ(0, gk_spawn(&u, NULL, checks_its_name, ""));
	CHECK_EQ(0, gk_join(t));
	CHECK_EQ(0, gk_join(u));
	return 0;
}

GK_TEST(wrong_attributes_are_einval, 1)
{
	struct gk_attr small = { .stack_size = 16383 }, huge = { .stack_size = (1ull << 30) + 1 }, flags = { .flags = 1u << 31 };
	struct gk_attr least = { .stack_size = 16384 };
	atomic_long n = 0;
	gk_task *t;

	CHECK_EQ(-EINVAL, gk_spawn(&t, &small, add_one, &n));
	CHECK_EQ(-EINVAL, gk_spawn(&t, &huge, add_one, &n));
	CHECK_EQ(-EINVAL, gk_spawn(&t, &flags, add_one, &n));
	CHECK_EQ(-EINVAL, gk_spawn(&t, NULL, NULL, &n));
	CHECK_EQ(-EINVAL, gk_go(NULL, NULL));
	CHECK_EQ(0, gk_spawn(&t, &least, add_one, &n));
	CHECK_EQ(0, gk_join(t));
	CHECK_EQ(1, n);
	return 0;
}

static void waits(void *arg)
{
	gk_chan_recv(arg, NULL);
}

GK_TEST(joining_oneself_is_edeadlk, 2)
{
	CHECK_EQ(-EDEADLK, gk_join(gk_self()));
	CHECK_EQ(-EINVAL, gk_join(NULL));
	CHECK_EQ(-EINVAL, gk_detach(NULL));
	return 0;
}

static gk_task *shared;

static void joins_shared(void *arg)
{
	atomic_store((atomic_int *)arg, gk_join(shared));
}

GK_TEST(the_second_joiner_gets_einval, 2)
{
	gk_chan *c = gk_chan_new(0, 0);
	atomic_int ret[2] = { 1, 1 };
	gk_task *u[2];
	int i;

	CHECK_EQ(0, gk_spawn(&shared, NULL, waits, c));
	for (i = 0; i < 2; i++)
		CHECK_EQ(0, gk_spawn(&u[i], NULL, joins_shared, &ret[i]));
	/* Whichever came second. */
	CHECK(WAIT_FOR(ret[0] == -EINVAL || ret[1] == -EINVAL));
	CHECK_EQ(-EINVAL, gk_detach(shared));
	gk_chan_send(c, NULL);
	for (i = 0; i < 2; i++)
		CHECK_EQ(0, gk_join(u[i]));
	CHECK_EQ(-EINVAL, ret[0] + ret[1]);
	CHECK_EQ(0, gk_chan_free(c));
	return 0;
}

static void exits_deep(int depth, void *arg)
{
	if (depth) {
		exits_deep(depth - 1, arg);
	} else {
		add_one(arg);
		gk_exit();
	}
	atomic_fetch_add((atomic_long *)arg, 1000);
}

static void exits(void *arg)
{
	exits_deep(10, arg);
}

GK_TEST(exit_ends_the_task_from_any_depth, 2)
{
	atomic_long n = 0;
	gk_task *t;
	int i;

	for (i = 0; i < 1000; i++) {
		CHECK_EQ(0, gk_spawn(&t, NULL, exits, &n));
		CHECK_EQ(0, gk_join(t));
	}
	CHECK_EQ(1000, n);
	return 0;
}

GK_TEST(detach_before_and_after_the_end, 2)
{
	atomic_long n = 0;
	gk_task *t;
	int i;

	for (i = 0; i < 2000; i++) {
		CHECK_EQ(0, gk_spawn(&t, NULL, add_one, &n));
		if (i % 2)
			gk_yield();
		CHECK_EQ(0, gk_detach(t));
	}
	for (i = 0; i < 1000; i++)
		CHECK_EQ(0, gk_go(add_one, &n));
	CHECK(WAIT_FOR(n == 3000 && lib_stats().tasks == 1));
	return 0;
}

/* A joiner and the end of its task race on two cores. */
static void joins_many(void *arg)
{
	atomic_long n = 0;
	gk_task *t;
	int i;

	for (i = 0; i < 5000; i++) {
		gk_spawn(&t, NULL, add_one, &n);
		if (i & 1)
			gk_yield();
		CHECK_EQ(0, gk_join(t));
		CHECK_EQ(i + 1, n);
	}
}

GK_TEST(join_races_with_the_end, 4)
{
	gk_task *t[8];
	int i;

	for (i = 0; i < 8; i++)
		gk_spawn(&t[i], NULL, joins_many, NULL);
	for (i = 0; i < 8; i++)
		gk_join(t[i]);
	return 0;
}

static atomic_uchar seen_id[1 << 16];

static void notes_its_id(void *arg)
{
	uint64_t id = gk_id();

	CHECK(id < sizeof(seen_id));
	if (id < sizeof(seen_id))
		CHECK_EQ(0, atomic_exchange(&seen_id[id], 1));
}

static void starts_ids(void *arg)
{
	gk_task *t;
	int i;

	for (i = 0; i < 1000; i++) {
		gk_spawn(&t, NULL, notes_its_id, NULL);
		gk_join(t);
	}
}

GK_TEST(ids_are_never_used_twice, 4)
{
	gk_task *t[8];
	int i;

	for (i = 0; i < 8; i++)
		gk_spawn(&t[i], NULL, starts_ids, NULL);
	for (i = 0; i < 8; i++)
		gk_join(t[i]);
	return 0;
}

static void fills_its_stack(void *arg)
{
	volatile char big[48 << 20];
	long i;

	for (i = sizeof(big) - 1; i >= 0; i -= 4096)
		big[i] = 1;
	*(volatile char *)arg = big[100] + 1;
}

GK_TEST(a_big_stack, 2)
{
	struct gk_attr attr = { .stack_size = 64 << 20 };
	gk_task *t;
	char done = 0;
	int i;

	for (i = 0; i < 5; i++) {
		CHECK_EQ(0, gk_spawn(&t, &attr, fills_its_stack, &done));
		CHECK_EQ(0, gk_join(t));
	}
	CHECK(done);
	return 0;
}

static __attribute__((noinline)) int recurse(int n)
{
	volatile char frame[512];

	frame[0] = n;
	return n < 0 ? 0 : recurse(n + 1) + frame[0];
}

static void overflows(void *arg)
{
	gk_yield();
	CHECK(recurse(1));
}

static int overflow_main(void *arg)
{
	struct gk_attr attr = { .name = "deep one", .stack_size = (size_t)arg };
	gk_task *t;

	gk_spawn(&t, &attr, overflows, NULL);
	gk_join(t);
	return 0;
}

static int run_overflow(void *arg)
{
	return gk_run(overflow_main, arg);
}

static int main_overflows(void *arg)
{
	return recurse(1);
}

static int run_main_overflow(void *arg)
{
	return gk_run(main_overflows, arg);
}

TEST(a_stack_overflow_names_the_task_and_aborts)
{
	static const size_t sizes[] = { 0, 16384, 65536, 1 << 20 };
	char said[2048];
	int i, status;

	for (i = 0; i < 4; i++) {
		status = lib_child(run_overflow, (void *)sizes[i], said, sizeof(said));
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) TH_LOG("status %x", status);
		EXPECT_NE(NULL, strstr(said, "deep one")) TH_LOG("said %s", said);
		EXPECT_NE(NULL, strstr(said, "overflowed its stack")) TH_LOG("said %s", said);
		if (sizes[i]) {
			char kib[32];

			sprintf(kib, "of %zu KiB", sizes[i] >> 10);
			EXPECT_NE(NULL, strstr(said, kib)) TH_LOG("asked for %zu, said %s", sizes[i], said);
		}
	}
	status = lib_child(run_main_overflow, NULL, said, sizeof(said));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	EXPECT_NE(NULL, strstr(said, "overflowed its stack"));
}

static void reads_null(void *arg)
{
	gk_yield();
	*(volatile int *)arg = 1;
}

static int crash_main(void *arg)
{
	gk_task *t;

	gk_spawn(&t, NULL, reads_null, (void *)8);
	gk_join(t);
	return 0;
}

static int run_crash(void *arg)
{
	return gk_run(crash_main, NULL);
}

TEST(another_segfault_is_one)
{
	char said[2048];
	int status = lib_child(run_crash, NULL, said, sizeof(said));

	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) TH_LOG("status %x: %s", status, said);
	EXPECT_EQ(NULL, strstr(said, "overflowed"));
}

TEST_HARNESS_MAIN
