// SPDX-License-Identifier: GPL-2.0-only
/*
 * block.c - anything that blocks: the core goes on.
 *
 * One core, N tasks that block, one that computes and yields. All must be in their block at the same time, which ends only then, and the
 * computing task must get on meanwhile. gk.ko sees a block at once, the monitor after a tick, one block after the other.
 */
#include "lib.h"
#include <netdb.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { N = 20 };

static atomic_int stop, done, inside;
static atomic_long work;
static gk_wg wg;
static char dir[64];

static void computes(void *arg)
{
	while (!stop) {
		atomic_fetch_add(&work, 1);
		gk_yield();
	}
	gk_wg_done(&wg);
}

static void waits_for_a_child(void *arg);

/* Starts N of @fn, lets @release(arg) end their block when all are in it; the computing task must have worked. */
static void beside(void (*fn)(void *), void (*release)(void))
{
	long before;
	int i;

	stop = done = inside = 0;
	work = 0;
	gk_wg_add(&wg, N + 1);
	gk_go(computes, NULL);
	for (i = 0; i < N; i++)
		CHECK_EQ(0, gk_go(fn, (void *)(long)i));
	if (release) {
		CHECK(WAIT_FOR(inside == N));
		before = work;
		CHECK(WAIT_FOR(work > before + 10));
		CHECK_EQ(0, done);
		release();
	}
	CHECK(WAIT_FOR(done == N));
	CHECK(work > 0);
	stop = 1;
	gk_wg_wait(&wg);
	/* fork() makes every page copy on write, and its faults wait for it: that one may block inside. */
	if (fn != waits_for_a_child)
		CHECK_EQ(0, lib_stats().inside_blocks);
}

static void finished(void)
{
	atomic_fetch_add(&done, 1);
	gk_wg_done(&wg);
}

static int fds[2];

static void reads_a_pipe(void *arg)
{
	char ch;

	atomic_fetch_add(&inside, 1);
	CHECK_EQ(1, read(fds[0], &ch, 1));
	finished();
}

static void fills_the_pipe(void)
{
	char some[N] = {};

	CHECK_EQ(N, write(fds[1], some, N));
}

GK_TEST(read_of_a_pipe, 1)
{
	CHECK_EQ(0, pipe(fds));
	beside(reads_a_pipe, fills_the_pipe);
	return 0;
}

static int sleeper[N];
static atomic_bool released;

static void sleeps_in_the_kernel(void *arg)
{
	sleeper[(long)arg] = syscall(SYS_gettid);
	atomic_fetch_add(&inside, 1);
	/* Without the module a preemption may end it, too. */
	while (!released)
		sleep(60);
	finished();
}

static void wakes(int sig)
{
}

/* Until they are awake: the last may not have been asleep yet. */
static void wakes_them(void)
{
	struct sigaction sa = { .sa_handler = wakes };
	int i;

	sigaction(SIGUSR1, &sa, NULL);
	released = true;
	do {
		for (i = 0; i < N; i++)
			syscall(SYS_tgkill, getpid(), sleeper[i], SIGUSR1);
		gk_sleep(MS);
	} while (done < N);
}

GK_TEST(sleep_in_the_kernel, 1)
{
	beside(sleeps_in_the_kernel, wakes_them);
	return 0;
}

static pthread_mutex_t pm = PTHREAD_MUTEX_INITIALIZER;

static void locks_a_pthread_mutex(void *arg)
{
	atomic_fetch_add(&inside, 1);
	pthread_mutex_lock(&pm);
	pthread_mutex_unlock(&pm);
	finished();
}

static void unlocks_it(void)
{
	pthread_mutex_unlock(&pm);
}

GK_TEST(pthread_mutex, 1)
{
	gk_pin();
	pthread_mutex_lock(&pm);
	beside(locks_a_pthread_mutex, unlocks_it);
	gk_unpin();
	return 0;
}

static void make_dir(void)
{
	strcpy(dir, "/tmp/gk-block-XXXXXX");
	CHECK(mkdtemp(dir));
	CHECK_EQ(0, chdir(dir));
}

static int lock_fd;

static void flocks(void *arg)
{
	int fd = open("lock", O_RDWR | O_CLOEXEC);

	atomic_fetch_add(&inside, 1);
	CHECK_EQ(0, flock(fd, LOCK_EX));
	close(fd);
	finished();
}

static void unflocks(void)
{
	flock(lock_fd, LOCK_UN);
}

GK_TEST(file_lock, 1)
{
	make_dir();
	lock_fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(0, flock(lock_fd, LOCK_EX));
	beside(flocks, unflocks);
	unlink("lock");
	rmdir(dir);
	return 0;
}

static void opens_a_fifo(void *arg)
{
	int fd;

	atomic_fetch_add(&inside, 1);
	fd = open("fifo", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	atomic_fetch_add(&done, 1);
	gk_wg_done(&wg);
}

static void opens_it_to_write(void)
{
	open("fifo", O_WRONLY | O_CLOEXEC);
}

GK_TEST(open_of_a_fifo, 1)
{
	make_dir();
	CHECK_EQ(0, mkfifo("fifo", 0600));
	beside(opens_a_fifo, opens_it_to_write);
	unlink("fifo");
	rmdir(dir);
	return 0;
}

static void waits_for_a_child(void *arg)
{
	pid_t pid = fork();

	if (!pid) {
		usleep(100000);
		_exit((long)arg);
	}
	int status = 0;

	CHECK_EQ(pid, waitpid(pid, &status, 0));
	CHECK_EQ((long)arg, WEXITSTATUS(status));
	finished();
}

GK_TEST(waitpid_of_a_child, 1)
{
	beside(waits_for_a_child, NULL);
	return 0;
}

static void polls(void *arg)
{
	struct pollfd p = { .fd = fds[0], .events = POLLIN };

	int n;

	atomic_fetch_add(&inside, 1);
	do
		n = poll(&p, 1, -1);
	while (n < 0 && errno == EINTR);
	CHECK_EQ(1, n);
	finished();
}

GK_TEST(poll_for_a_pipe, 1)
{
	CHECK_EQ(0, pipe(fds));
	beside(polls, fills_the_pipe);
	return 0;
}

/* Page faults of a file mapping whose pages are not in memory, if there is a disk to read from. */
static char *mapping;
static size_t mapping_size;

static void touches(void *arg)
{
	unsigned long sum = 0;
	size_t i;

	for (i = (long)arg * 4096; i < mapping_size; i += N * 4096)
		sum += mapping[i];
	CHECK(sum != 1);
	finished();
}

GK_TEST(page_faults, 1)
{
	char path[] = "/var/tmp/gk-block-XXXXXX", *zeros;
	int fd = mkstemp(path);

	if (fd < 0) {
		strcpy(path, "/disk/gk-block-XXXXXX");
		fd = mkstemp(path);
	}
	if (fd < 0) {
		strcpy(path, "/tmp/gk-block-XXXXXX");
		fd = mkstemp(path);
	}
	mapping_size = 4 << 20;
	zeros = calloc(1, mapping_size);
	CHECK_EQ(mapping_size, write(fd, zeros, mapping_size));
	free(zeros);
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	mapping = mmap(NULL, mapping_size, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(mapping != MAP_FAILED);
	madvise(mapping, mapping_size, MADV_RANDOM);
	beside(touches, NULL);
	unlink(path);
	return 0;
}

/* A task holds a pthread mutex over a yield: on one core its waiter must not keep it from going on. */
static void holds_over_yields(void *arg)
{
	int i;

	for (i = 0; i < 50; i++) {
		pthread_mutex_lock(&pm);
		gk_yield();
		pthread_mutex_unlock(&pm);
		gk_yield();
	}
	finished();
}

GK_TEST(a_pthread_mutex_held_over_a_pinned_yield, 1)
{
	struct gk_attr attr = { .flags = GK_PINNED };
	int i;

	gk_wg_add(&wg, 4);
	for (i = 0; i < 4; i++)
		gk_spawn(NULL, &attr, holds_over_yields, NULL);
	CHECK(WAIT_FOR(done == 4));
	return 0;
}

/* The same without pins: a default pthread mutex does not know which thread holds it. */
GK_TEST(a_pthread_mutex_held_over_a_yield, 1)
{
	int i;

	gk_wg_add(&wg, 4);
	for (i = 0; i < 4; i++)
		gk_go(holds_over_yields, NULL);
	CHECK(WAIT_FOR(done == 4));
	return 0;
}

static long plain;

static void counts_under_it(void *arg)
{
	int i;

	for (i = 0; i < 5; i++) {
		pthread_mutex_lock(&pm);
		plain++;
		if (i == 2)
			usleep(100);
		pthread_mutex_unlock(&pm);
	}
	atomic_fetch_add(&done, 1);
}

static int hundreds(void *arg)
{
	int i;

	plain = 0;
	done = 0;
	pthread_mutex_lock(&pm);
	for (i = 0; i < 300; i++)
		gk_go(counts_under_it, NULL);
	usleep(300000);
	pthread_mutex_unlock(&pm);
	CHECK(WAIT_FOR(done == 300));
	CHECK_EQ(1500, plain);
	return 0;
}

TEST(hundreds_of_tasks_on_one_pthread_mutex)
{
	EXPECT_EQ(0, lib_run(1, hundreds, NULL));
	EXPECT_EQ(0, lib_run(2, hundreds, NULL));
}

/* The cap on workers: said once, not silent, and over as soon as one comes back. */
static int four_workers(void *arg)
{
	atomic_int *ran = arg;
	char some[16] = {};
	int i;

	CHECK_EQ(0, pipe(fds));
	gk_wg_add(&wg, 8);
	for (i = 0; i < 8; i++)
		gk_go(reads_a_pipe, NULL);
	/* All workers are in read(), this one in usleep(). */
	usleep(200000);
	CHECK(lib_stats().workers <= 4);
	for (i = 0; i < 8; i++) {
		CHECK_EQ(1, write(fds[1], some, 1));
		usleep(5000);
	}
	CHECK(WAIT_FOR(done == 8));
	*ran = done;
	return lib_failures;
}

static atomic_int listens;

/* When it has been said, which is what they are all there for. */
static void *writes_late(void *arg)
{
	int out = dup(2), said = memfd_create("stderr", 0);
	uint64_t end = gk_now() + PATIENCE;
	char text[2048] = {}, some[8] = {};
	long n = 0;

	dup2(said, 2);
	atomic_store(&listens, 1);
	while (!strstr(text, "GK_WORKERS") && gk_now() < end) {
		usleep(1000);
		n = pread(said, text, sizeof(text) - 1, 0);
	}
	dup2(out, 2);
	CHECK_EQ(n, write(out, text, n));
	return (void *)(long)write(*(int *)arg, some, 8);
}

static int all_blocked(void *arg)
{
	pthread_t t;
	void *ret;
	int i;

	CHECK_EQ(0, pipe(fds));
	gk_wg_add(&wg, 8);
	CHECK_EQ(0, pthread_create(&t, NULL, writes_late, &fds[1]));
	CHECK(WAIT_FOR(listens));
	for (i = 0; i < 8; i++)
		gk_go(reads_a_pipe, NULL);
	gk_wg_wait(&wg);
	CHECK_EQ(8, done);
	pthread_join(t, &ret);
	return lib_failures;
}

static int run_capped(void *arg)
{
	atomic_int ran = 0;
	int ret;

	gk_set_cores(1);
	setenv("GK_WORKERS", "4", 1);
	ret = gk_run(four_workers, &ran);
	return ret || ran != 8;
}

static int run_all_blocked(void *arg)
{
	gk_set_cores(1);
	setenv("GK_WORKERS", "4", 1);
	return gk_run(all_blocked, NULL);
}

TEST(the_cap_on_workers_is_reported_and_is_no_deadlock)
{
	char said[2048];

	EXPECT_EQ(0, lib_child(run_all_blocked, NULL, said, sizeof(said))) TH_LOG("said %s", said);
	EXPECT_NE(NULL, strstr(said, "GK_WORKERS")) TH_LOG("said '%s'", said);
	EXPECT_EQ(0, lib_child(run_capped, NULL, said, sizeof(said))) TH_LOG("said %s", said);
}

static int run_one_worker(void *arg)
{
	gk_set_cores(1);
	setenv("GK_WORKERS", "1", 1);
	return gk_run(arg, NULL);
}

static int yields_and_sleeps(void *arg)
{
	gk_yield();
	gk_sleep(MS);
	return 0;
}

TEST(one_worker_is_enough_and_starts_quietly)
{
	char said[2048];

	EXPECT_EQ(0, lib_child(run_one_worker, yields_and_sleeps, said, sizeof(said)));
	EXPECT_STREQ("", said);
}

/* Far fewer threads than tasks where not all block at once. */
static void mostly_waits(void *arg)
{
	int i;

	for (i = 0; i < 5; i++) {
		gk_sleep(10 * MS);
		usleep(10);
	}
	gk_wg_done(&wg);
}

GK_TEST(a_thousand_tasks_need_few_threads, 1)
{
	int i;

	gk_wg_add(&wg, 1000);
	for (i = 0; i < 1000; i++)
		gk_go(mostly_waits, NULL);
	gk_wg_wait(&wg);
	fprintf(stderr, "# workers_peak %llu\n", (unsigned long long)lib_stats().workers_peak);
	CHECK(lib_stats().workers_peak < 500);
	return 0;
}

TEST_HARNESS_MAIN
