// SPDX-License-Identifier: GPL-2.0-only
/* interrupt.c - gk_interrupt(): ends the system call in which a task is blocked, and no other. */
#include "lib.h"

#include <netinet/in.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int fds[2];
static sem_t never;
static char fifo[64];

static int reads(void)
{
	char c;

	return read(fds[0], &c, 1);
}

static int sleeps(void)
{
	struct timespec ts = { .tv_sec = 3600 };

	return nanosleep(&ts, NULL);
}

static int accepts(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0), ret, err;

	if (bind(fd, (void *)&addr, sizeof(addr)) || listen(fd, 1))
		return 0;
	ret = accept(fd, NULL, NULL);
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

static int polls(void)
{
	struct pollfd p = { .fd = fds[0], .events = POLLIN };

	return poll(&p, 1, -1);
}

static int waits_for_semaphore(void)
{
	return sem_wait(&never);
}

static int opens_fifo(void)
{
	return open(fifo, O_RDONLY);
}

static int locks_file(void)
{
	int fd = open("/proc/self/exe", O_RDONLY), ret, err;

	ret = flock(fd, LOCK_EX);
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

static int (*const calls[])(void) = {
	reads, sleeps, accepts, polls, waits_for_semaphore, opens_fifo, locks_file,
};

#define CALLS ((long)(sizeof(calls) / sizeof(calls[0])))

static atomic_int begun, done;

static void makes_a_call(void *arg)
{
	int (*call)(void) = calls[(long)arg];
	int ret;

	begun++;
	/* What no handler lets go on may end for a signal that was another task's, as gk.h says. */
	do
		ret = call();
	while (ret == -1 && errno == EINTR && (call == sleeps || call == polls) && !gk_cancelled());
	CHECK_EQ(-1, ret);
	CHECK_EQ(EINTR, errno);
	CHECK_EQ(1, gk_cancelled());
	CHECK_EQ(-ECANCELED, gk_sleep(1));
	done++;
}

static int calls_end(void *arg)
{
	int locked = open("/proc/self/exe", O_RDONLY);
	gk_task *t[CALLS];
	long i, late;

	CHECK_EQ(0, pipe(fds));
	CHECK_EQ(0, flock(locked, LOCK_EX));
	sem_init(&never, 0, 0);
	snprintf(fifo, sizeof(fifo), "/tmp/gk-interrupt-%d", getpid());
	mkfifo(fifo, 0600);
	for (late = 0; late < 2; late++) {
		begun = done = 0;
		for (i = 0; i < CALLS; i++)
			gk_spawn(&t[i], NULL, makes_a_call, (void *)i);
		if (late) {
			CHECK(WAIT_FOR(begun == CALLS));
			gk_sleep(20 * MS);
			/* In no gk call: it would stay there. */
			for (i = 0; i < CALLS; i++)
				CHECK_EQ(0, gk_cancel(t[i]));
			gk_sleep(5 * MS);
			CHECK_EQ(0, done);
		}
		for (i = 0; i < CALLS; i++)
			CHECK_EQ(0, gk_interrupt(t[i]));
		for (i = 0; i < CALLS; i++)
			CHECK_EQ(0, gk_join(t[i]));
		CHECK_EQ(CALLS, done);
	}
	unlink(fifo);
	close(locked);
	return 0;
}

TEST(a_call_that_blocks_ends_with_eintr)
{
	EXPECT_EQ(0, lib_run(1, calls_end, NULL));
	EXPECT_EQ(0, lib_run(2, calls_end, NULL));
	EXPECT_EQ(0, lib_run(4, calls_end, NULL));
}

GK_TEST(the_callers_mistakes_are_told, 1)
{
	CHECK_EQ(-EINVAL, gk_interrupt(NULL));
	return 0;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool signalled;

static void waits_for_cond(void *arg)
{
	struct timespec ts;

	CHECK_EQ(0, pthread_mutex_lock(&mutex));
	begun++;
	while (!signalled && !arg)
		CHECK_EQ(0, pthread_cond_wait(&cond, &mutex));
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 3600;
	while (!signalled && arg)
		CHECK_EQ(0, pthread_cond_timedwait(&cond, &mutex, &ts));
	CHECK_EQ(0, pthread_mutex_unlock(&mutex));
	done++;
	/* A wait on a futex does not use the interruption up. */
	CHECK_EQ(-1, reads());
	CHECK_EQ(EINTR, errno);
}

GK_TEST(a_condition_variable_stays_whole, 2)
{
	gk_task *t[4];
	long i;

	CHECK_EQ(0, pipe(fds));
	for (i = 0; i < 4; i++)
		gk_spawn(&t[i], NULL, waits_for_cond, (void *)(i % 2));
	CHECK(WAIT_FOR(begun == 4));
	for (i = 0; i < 4; i++)
		CHECK_EQ(0, gk_interrupt(t[i]));
	gk_sleep(50 * MS);
	CHECK_EQ(0, done);
	pthread_mutex_lock(&mutex);
	signalled = true;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	for (i = 0; i < 4; i++)
		CHECK_EQ(0, gk_join(t[i]));
	CHECK_EQ(4, done);
	return 0;
}

static void reads_masked(void *arg)
{
	char c;

	gk_cancel_mask();
	begun++;
	CHECK_EQ(1, read(fds[0], &c, 1));
	gk_cancel_unmask();
	CHECK_EQ(-1, read(fds[0], &c, 1));
	CHECK_EQ(EINTR, errno);
}

static void reads_knowing(void *arg)
{
	char c;

	begun++;
	CHECK_EQ(-ECANCELED, gk_sleep(GK_FOREVER));
	CHECK_EQ(1, read(fds[0], &c, 1));
}

static void reads_twice(void *arg)
{
	char c;

	begun++;
	CHECK_EQ(-1, read(fds[0], &c, 1));
	CHECK_EQ(EINTR, errno);
	done++;
	CHECK_EQ(1, read(fds[0], &c, 1));
}

GK_TEST(not_while_masked_and_not_when_the_task_knows_and_once, 2)
{
	static void (*const fns[])(void *) = { reads_masked, reads_knowing, reads_twice };
	gk_task *t;
	int i;

	CHECK_EQ(0, pipe(fds));
	for (i = 0; i < 3; i++) {
		begun = done = 0;
		gk_spawn(&t, NULL, fns[i], NULL);
		CHECK(WAIT_FOR(begun));
		gk_sleep(5 * MS);
		CHECK_EQ(0, gk_interrupt(t));
		if (i == 2)
			CHECK(WAIT_FOR(done));
		gk_sleep(20 * MS);
		CHECK_EQ(1, write(fds[1], "x", 1));
		CHECK_EQ(0, gk_join(t));
	}
	return 0;
}

static void ends_at_some_time(void *arg)
{
	unsigned int seed = (long)arg;

	lib_burn(rand_r(&seed) % 100000);
}

/* A signal that was sent too late finds another task on the thread: its call goes on. */
static atomic_int tid;

static void reads_through_signals(void *arg)
{
	char c;

	tid = syscall(SYS_gettid);
	CHECK_EQ(1, read(fds[0], &c, 1));
	done++;
}

GK_TEST(the_signal_lets_a_call_of_another_task_go_on, 2)
{
	gk_task *t;
	int i;

	CHECK_EQ(0, pipe(fds));
	gk_spawn(&t, NULL, ends_at_some_time, NULL);
	CHECK_EQ(0, gk_interrupt(t));
	CHECK_EQ(0, gk_join(t));
	gk_spawn(&t, NULL, reads_through_signals, NULL);
	CHECK(WAIT_FOR(tid));
	for (i = 0; i < 20; i++) {
		gk_sleep(MS);
		CHECK_EQ(0, syscall(SYS_tgkill, getpid(), tid, SIGRTMIN + 4));
	}
	CHECK_EQ(0, done);
	CHECK_EQ(1, write(fds[1], "x", 1));
	CHECK_EQ(0, gk_join(t));
	CHECK_EQ(1, done);
	return 0;
}

/* The signal must not come too early, nor to the wrong one. */
static atomic_bool over;
static atomic_long turns;

static void reads_at_some_time(void *arg)
{
	unsigned int seed = (long)arg;
	char c;

	lib_burn(rand_r(&seed) % 200000);
	CHECK_EQ(-1, read(fds[0], &c, 1));
	CHECK_EQ(EINTR, errno);
}

static void reads_in_peace(void *arg)
{
	int *p = arg;
	char c;

	while (read(p[0], &c, 1) == 1)
		turns++;
	CHECK_EQ(true, over);
}

static void feeds(void *arg)
{
	int *p = arg;

	while (!over) {
		CHECK_EQ(1, write(p[1], "x", 1));
		gk_sleep(50000);
	}
	close(p[1]);
}

static int storm(void *arg)
{
	unsigned int seed = time(NULL);
	gk_task *t[8], *peaceful[4], *feeders[4];
	static int p[4][2];
	int i, round;

	fprintf(stderr, "# seed %u\n", seed);
	over = false;
	turns = 0;
	CHECK_EQ(0, pipe(fds));
	for (i = 0; i < 4; i++) {
		CHECK_EQ(0, pipe(p[i]));
		gk_spawn(&peaceful[i], NULL, reads_in_peace, p[i]);
		gk_spawn(&feeders[i], NULL, feeds, p[i]);
	}
	for (round = 0; round < 40; round++) {
		for (i = 0; i < 8; i++)
			gk_spawn(&t[i], NULL, i < 6 ? reads_at_some_time : ends_at_some_time, (void *)(long)rand_r(&seed));
		lib_burn(rand_r(&seed) % 100000);
		if (rand_r(&seed) % 2)
			gk_sleep(rand_r(&seed) % 2000000);
		for (i = 0; i < 8; i++)
			CHECK_EQ(0, gk_interrupt(t[i]));
		if (rand_r(&seed) % 2)
			for (i = 0; i < 8; i++)
				CHECK_EQ(0, gk_interrupt(t[i]));
		for (i = 0; i < 8; i++)
			CHECK_EQ(0, gk_join(t[i]));
	}
	CHECK(WAIT_FOR(turns));
	over = true;
	for (i = 0; i < 4; i++) {
		CHECK_EQ(0, gk_join(feeders[i]));
		CHECK_EQ(0, gk_join(peaceful[i]));
		close(p[i][0]);
	}
	close(fds[0]);
	close(fds[1]);
	return 0;
}

TEST(whenever_it_comes_it_ends_the_call_and_no_other_tasks)
{
	int cores;

	for (cores = 1; cores <= 4; cores++)
		EXPECT_EQ(0, lib_run(cores, storm, NULL));
}

TEST_HARNESS_MAIN
