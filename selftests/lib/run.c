// SPDX-License-Identifier: GPL-2.0-only
/* run.c - gk_run(): its result, its errors, its settings, and that it leaves nothing behind. */
#include "lib.h"
#include <dirent.h>
#include <malloc.h>

static int forty_two(void *arg)
{
	*(int *)arg += 1;
	return 42;
}

static int nothing(void *arg)
{
	return 0;
}

TEST(returns_what_the_main_task_returned)
{
	int n = 0;

	EXPECT_EQ(42, gk_run(forty_two, &n));
	EXPECT_EQ(42, gk_run(forty_two, &n));
	EXPECT_EQ(2, n);
	EXPECT_EQ(-EINVAL, gk_run(NULL, NULL));
}

static int runs_gk_run(void *arg)
{
	return gk_run(nothing, NULL);
}

TEST(gk_run_in_a_task_is_eperm)
{
	EXPECT_EQ(-EPERM, gk_run(runs_gk_run, NULL));
}

static void *thread_runs(void *arg)
{
	return (void *)(long)gk_run(nothing, NULL);
}

GK_TEST(gk_run_of_a_second_thread_is_ebusy, 2)
{
	pthread_t t;
	void *ret;

	CHECK_EQ(0, pthread_create(&t, NULL, thread_runs, NULL));
	pthread_join(t, &ret);
	CHECK_EQ(-EBUSY, (long)ret);
	CHECK_EQ(-EBUSY, gk_set_cores(3));
	CHECK_EQ(2, gk_cores());
	return 0;
}

static gk_mutex a_mutex;
static gk_wg a_wg = GK_WG_INIT(1);
static gk_rwlock an_rwlock;
static gk_cond a_cond;
static gk_once a_once;
static gk_sem a_sem = GK_SEM_INIT(1);
static gk_barrier a_barrier = GK_BARRIER_INIT(1);
static gk_chan *a_chan;

static void a_task(void *arg)
{
}

static void every_call_is_eperm(void)
{
	gk_task *t;
	long v = 0;

	CHECK_EQ(-EPERM, gk_go(a_task, NULL));
	CHECK_EQ(-EPERM, gk_spawn(&t, NULL, a_task, NULL));
	CHECK_EQ(-EPERM, gk_yield());
	CHECK_EQ(-EPERM, gk_pin());
	CHECK_EQ(-EPERM, gk_unpin());
	CHECK_EQ(-EPERM, gk_sleep(1));
	CHECK_EQ(-EPERM, gk_sleep(0));
	CHECK_EQ(-EPERM, gk_sleep_until(1));
	CHECK_EQ(-EPERM, gk_mutex_lock(&a_mutex));
	CHECK_EQ(-EPERM, gk_mutex_trylock(&a_mutex));
	CHECK_EQ(-EPERM, gk_mutex_unlock(&a_mutex));
	CHECK_EQ(-EPERM, gk_wg_add(&a_wg, 1));
	CHECK_EQ(-EPERM, gk_wg_wait(&a_wg));
	CHECK_EQ(-EPERM, gk_rwlock_rdlock(&an_rwlock));
	CHECK_EQ(-EPERM, gk_rwlock_rdunlock(&an_rwlock));
	CHECK_EQ(-EPERM, gk_rwlock_wrlock(&an_rwlock));
	CHECK_EQ(-EPERM, gk_rwlock_wrunlock(&an_rwlock));
	CHECK_EQ(-EPERM, gk_cond_wait(&a_cond, &a_mutex));
	CHECK_EQ(-EPERM, gk_cond_signal(&a_cond));
	CHECK_EQ(-EPERM, gk_cond_broadcast(&a_cond));
	CHECK_EQ(-EPERM, gk_once_do(&a_once, a_task, NULL));
	CHECK_EQ(-EPERM, gk_sem_acquire(&a_sem, 1));
	CHECK_EQ(-EPERM, gk_sem_try_acquire(&a_sem, 1));
	CHECK_EQ(-EPERM, gk_sem_release(&a_sem, 1));
	CHECK_EQ(-EPERM, gk_barrier_wait(&a_barrier));
	CHECK_EQ(-EPERM, gk_barrier_reset(&a_barrier));
	CHECK_EQ(-EPERM, gk_chan_send(a_chan, &v));
	CHECK_EQ(-EPERM, gk_chan_recv(a_chan, &v));
	CHECK_EQ(-EPERM, gk_chan_try_send(a_chan, &v));
	CHECK_EQ(-EPERM, gk_chan_try_recv(a_chan, &v));
	CHECK_EQ(-EPERM, gk_chan_send(NULL, &v));
	CHECK_EQ(-EPERM, gk_chan_recv(NULL, &v));
	CHECK_EQ(-EPERM, gk_chan_close(a_chan));
	CHECK(!gk_timer_start(1, a_task, NULL));
	CHECK(!gk_self());
	CHECK_EQ(0, gk_id());
	CHECK(!gk_name());
	CHECK_EQ(0, gk_chan_len(a_chan));
	CHECK_EQ(1, gk_chan_cap(a_chan));
}

TEST(without_a_runtime_every_call_is_eperm)
{
	struct gk_stats s;

	a_chan = gk_chan_new(8, 1);
	every_call_is_eperm();
	EXPECT_EQ(0, gk_cores());
	EXPECT_STREQ("none", gk_backend());
	EXPECT_EQ(-ESRCH, gk_stats(&s, sizeof(s)));
	EXPECT_EQ(-EINVAL, gk_stats(&s, 0));
	EXPECT_EQ(-EINVAL, gk_stats(NULL, sizeof(s)));
	EXPECT_EQ(0, gk_chan_free(a_chan));
	EXPECT_EQ(0, atomic_load(&lib_failures));
}

static void *thread_calls(void *arg)
{
	every_call_is_eperm();
	return NULL;
}

GK_TEST(in_a_plain_thread_every_call_is_eperm, 2)
{
	pthread_t t;

	a_chan = gk_chan_new(8, 1);
	CHECK_EQ(0, pthread_create(&t, NULL, thread_calls, NULL));
	pthread_join(t, NULL);
	CHECK_EQ(0, gk_chan_free(a_chan));
	return 0;
}

static int exits(void *arg)
{
	gk_exit();
}

static int exits_outside(void *arg)
{
	gk_exit();
}

TEST(gk_exit_of_the_main_task_is_0_and_outside_it_aborts)
{
	char said[512];
	int status;

	EXPECT_EQ(0, gk_run(exits, NULL));
	status = lib_child(exits_outside, NULL, said, sizeof(said));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	EXPECT_NE(NULL, strstr(said, "gk_exit"));
}

static const char *const bad[][2] = {
	{ "GK_CORES", "0" }, { "GK_CORES", "257" }, { "GK_CORES", "-1" }, { "GK_CORES", "two" }, { "GK_CORES", "2x" },
	{ "GK_CORES", " -1" }, { "GK_CORES", "99999999999999999999999" },
	{ "GK_KMOD", "maybe" }, { "GK_SLICE_US", "1" }, { "GK_SLICE_US", "abc" }, { "GK_BOUND", "-1" },
	{ "GK_WORKERS", "0" }, { "GK_WORKERS", "1000000" },
};

static int run_nothing(void *arg)
{
	return gk_run(nothing, NULL) != -EINVAL;
}

TEST(a_bad_variable_is_einval_and_named)
{
	char said[1024];
	unsigned int i;
	int status;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		char *old = getenv(bad[i][0]);

		old = old ? strdup(old) : NULL;
		setenv(bad[i][0], bad[i][1], 1);
		status = lib_child(run_nothing, NULL, said, sizeof(said));
		EXPECT_EQ(0, status) TH_LOG("%s=%s", bad[i][0], bad[i][1]);
		EXPECT_NE(NULL, strstr(said, bad[i][0])) TH_LOG("%s=%s says: %s", bad[i][0], bad[i][1], said);
		unsetenv(bad[i][0]);
		if (old)
			setenv(bad[i][0], old, 1);
	}
	/* and after an error a good one works */
	EXPECT_EQ(0, gk_run(nothing, NULL));
}

static int cores(void *arg)
{
	return gk_cores();
}

TEST(the_number_of_cores)
{
	cpu_set_t set;
	int n;

	sched_getaffinity(0, sizeof(set), &set);
	n = CPU_COUNT(&set);
	unsetenv("GK_CORES");
	EXPECT_GE(n, gk_run(cores, NULL));
	setenv("GK_CORES", "3", 1);
	EXPECT_EQ(3, gk_run(cores, NULL));
	EXPECT_EQ(0, gk_set_cores(5));
	EXPECT_EQ(5, gk_run(cores, NULL));
	EXPECT_EQ(-EINVAL, gk_set_cores(-1));
	EXPECT_EQ(-EINVAL, gk_set_cores(257));
	EXPECT_EQ(0, gk_set_cores(0));
	EXPECT_EQ(3, gk_run(cores, NULL));
	EXPECT_EQ(0, gk_set_cores(256));
	EXPECT_EQ(256, gk_run(cores, NULL));
	EXPECT_EQ(0, gk_cores());
}

static int count_dir(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int count_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	int c, n = 0;

	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

/* In pages: all mappings / those in memory, but for files. */
static long mem(int which)
{
	long v[7] = {};
	FILE *f = fopen("/proc/self/statm", "r");

	if (fscanf(f, "%ld %ld %ld %ld %ld %ld %ld", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6) < 7)
		v[0] = 0;
	fclose(f);
	return which ? v[1] - v[2] : v[0];
}

static void add_one(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static int some_tasks(void *arg)
{
	struct gk_attr big = { .stack_size = 1 << 20 };
	gk_task *t[20];
	int i;

	for (i = 0; i < 20; i++)
		CHECK_EQ(0, gk_spawn(&t[i], i % 2 ? &big : NULL, add_one, arg));
	usleep(100);
	for (i = 0; i < 20; i++)
		gk_join(t[i]);
	return 7;
}

static void settle(int threads)
{
	uint64_t end = gk_now() + PATIENCE;

	while (count_dir("/proc/self/task") > threads && gk_now() < end)
		usleep(10000);
}

TEST(fifty_runs_leave_no_thread_descriptor_mapping_or_memory)
{
	int i, threads = 0, fds = 0, maps = 0, before = count_dir("/proc/self/task");
	long vm = 0, rss = 0;
	atomic_int n = 0;

	/* Not an arena of 64 MiB for each thread that meets another in malloc(). */
	mallopt(M_ARENA_MAX, 1);
	if (!LIB_SANITIZED)
		EXPECT_EQ(3, before) TH_LOG("., .. and this one");
	gk_set_cores(2);
	for (i = 0; i < 60; i++) {
		if (i == 10) {
			settle(before);
			/* A sanitizer's own starts with the first. */
			if (LIB_SANITIZED)
				before = count_dir("/proc/self/task");
			threads = count_dir("/proc/self/task");
			fds = count_dir("/proc/self/fd");
			maps = count_maps();
			vm = mem(0);
			rss = mem(1);
		}
		ASSERT_EQ(7, gk_run(some_tasks, &n));
	}
	settle(before);
	EXPECT_EQ(1200, atomic_load(&n));
	EXPECT_EQ(before, threads);
	EXPECT_EQ(before, count_dir("/proc/self/task"));
	EXPECT_EQ(fds, count_dir("/proc/self/fd"));
	EXPECT_EQ(0, atomic_load(&lib_failures));
	/* What was freed stays with a sanitizer for a while. */
	if (LIB_SANITIZED)
		return;
	EXPECT_GE(maps + 8, count_maps()) TH_LOG("were %d", maps);
	/* In pages. The C library keeps the stacks of as many dead threads as there were at once, of 256 KiB each. */
	EXPECT_GE(vm + 4096, mem(0)) TH_LOG("pages were %ld", vm);
	EXPECT_GE(rss + 200, mem(1)) TH_LOG("pages were %ld", rss);
}

/* --- at rest --- */

/* How often threads of this process, but for the caller, went to sleep; and how often gk.ko's timers fired, if it tells. */
static unsigned long wakings(void)
{
	unsigned long sum = 0, n;
	char path[300], line[256];
	struct dirent *e;
	DIR *d = opendir("/proc/self/task");
	FILE *f;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || atoi(e->d_name) == syscall(SYS_gettid))
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
				sum += n;
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	f = lib_module() ? fopen("/sys/kernel/debug/gk/stats", "r") : NULL;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "ticks %lu", &n) == 1)
			sum += n;
	if (f)
		fclose(f);
	return sum;
}

static int rest_pipe[2];
static gk_chan *rest_chan;
static atomic_int resting;

static void reads_for_long(void *arg)
{
	char c;

	CHECK_EQ(1, read(rest_pipe[0], &c, 1));
}

/* Tasks wait in a channel and for a timer that is far away; in a call, too, where nobody has to look whether they do. */
static int rests(void *arg)
{
	char c;

	rest_chan = gk_chan_new(1, 0);
	if (lib_module())
		CHECK_EQ(0, gk_go(reads_for_long, NULL));
	atomic_store(&resting, 1);
	gk_chan_recv_until(rest_chan, &c, gk_now() + 3600 * SEC);
	return 1;
}

static void *looks_on(void *arg)
{
	uint64_t end = gk_now() + PATIENCE;
	bool at_rest;
	unsigned long n;

	while (!atomic_load(&resting))
		usleep(1000);
	/* It comes to rest, whenever that is: for a second, in which who ticks ticks a thousand times. */
	do {
		n = wakings();
		sleep(1);
		at_rest = wakings() == n;
	} while (!at_rest && gk_now() < end);
	CHECK(at_rest);
	/* The test is over: who waits, waits for ever. */
	_exit(atomic_load(&lib_failures) ? KSFT_FAIL : KSFT_PASS);
}

TEST(nobody_is_woken_while_nothing_is_to_be_done)
{
	pthread_t thread;

	ASSERT_EQ(0, pipe(rest_pipe));
	ASSERT_EQ(0, pthread_create(&thread, NULL, looks_on, NULL));
	EXPECT_EQ(0, lib_run(2, rests, NULL)) TH_LOG("it ended by itself");
}

TEST_HARNESS_MAIN
