// SPDX-License-Identifier: GPL-2.0-only
/* poll.c - gk_poll(): deadlines and cancellation for file descriptors. */
#include "lib.h"
#include "chaos.h"

#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#define MANY	200

static int fds[2];
static atomic_int polling, result;

static struct pollfd readable(int fd)
{
	return (struct pollfd){ .fd = fd, .events = POLLIN };
}

/* How many descriptors this process has. */
static int descriptors(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void polls(void *arg)
{
	struct pollfd p = readable(fds[0]);

	atomic_fetch_add(&polling, 1);
	atomic_store(&result, gk_poll(&p, 1));
}

/* So many threads are in ppoll(2), or about to sleep there. */
static bool asleep(int n)
{
	DIR *dir = opendir("/proc/self/task");
	char path[300], line[64];
	struct dirent *e;
	FILE *f;

	while (dir && n > 0 && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/syscall", e->d_name);
		f = fopen(path, "re");
		if (f && fgets(line, sizeof(line), f))
			n -= atoi(line) == SYS_ppoll;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return n <= 0;
}

GK_TEST(what_is_ready_is_told, 2)
{
	struct pollfd p[3];
	char c;

	CHECK_EQ(0, pipe(fds));
	p[0] = readable(fds[0]);
	p[1] = (struct pollfd){ .fd = fds[1], .events = POLLOUT };
	p[2] = readable(-1);
	CHECK_EQ(1, gk_poll(p, 3));
	CHECK_EQ(0, p[0].revents);
	CHECK_EQ(POLLOUT, p[1].revents);
	CHECK_EQ(0, p[2].revents);
	CHECK_EQ(1, write(fds[1], "x", 1));
	CHECK_EQ(2, gk_poll(p, 3));
	CHECK_EQ(POLLIN, p[0].revents);
	/* Also where the deadline is over. */
	CHECK_EQ(2, gk_poll_until(p, 3, 0));
	CHECK_EQ(1, read(fds[0], &c, 1));
	close(fds[1]);
	CHECK_EQ(1, gk_poll(p, 1));
	CHECK_EQ(POLLHUP, p[0].revents);
	close(fds[0]);
	p[0].fd = fds[0];
	CHECK_EQ(1, gk_poll(p, 1));
	CHECK_EQ(POLLNVAL, p[0].revents);
	return 0;
}

static void writes(void *arg)
{
	CHECK(WAIT_FOR(polling));
	gk_sleep(MS);
	CHECK_EQ(1, write(fds[1], "x", 1));
}

GK_TEST(it_waits_until_something_is_ready, 2)
{
	struct pollfd p;
	gk_task *t;

	CHECK_EQ(0, pipe(fds));
	p = readable(fds[0]);
	CHECK_EQ(0, gk_spawn(&t, NULL, writes, NULL));
	polling = 1;
	errno = EXDEV;
	CHECK_EQ(1, gk_poll(&p, 1));
	CHECK_EQ(EXDEV, errno);
	CHECK_EQ(POLLIN, p.revents);
	CHECK_EQ(0, gk_join(t));
	return 0;
}

GK_TEST(a_deadline_ends_it, 1)
{
	uint64_t begin = gk_now(), end = begin + 20 * MS;
	struct pollfd p;

	CHECK_EQ(0, pipe(fds));
	p = readable(fds[0]);
	CHECK_EQ(-ETIMEDOUT, gk_poll_until(&p, 1, end));
	CHECK(gk_now() >= end);
	CHECK_EQ(0, p.revents);
	CHECK_EQ(-ETIMEDOUT, gk_poll_until(&p, 1, begin));
	CHECK_EQ(-ETIMEDOUT, gk_poll_until(&p, 1, 0));
	/* No descriptor is a sleep. */
	end = gk_now() + 5 * MS;
	CHECK_EQ(-ETIMEDOUT, gk_poll_until(NULL, 0, end));
	CHECK(gk_now() >= end);
	return 0;
}

static void ticks(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void many_tick(void *arg)
{
	int i;

	for (i = 0; i < 100; i++) {
		ticks(arg);
		gk_yield();
	}
	CHECK_EQ(1, write(fds[1], "x", 1));
}

GK_TEST(others_run_meanwhile_on_its_core, 1)
{
	atomic_int n = 0;
	struct pollfd p;

	CHECK_EQ(0, pipe(fds));
	p = readable(fds[0]);
	CHECK_EQ(0, gk_go(many_tick, &n));
	CHECK_EQ(1, gk_poll(&p, 1));
	CHECK_EQ(100, n);
	return 0;
}

GK_TEST(a_cancel_ends_it, 2)
{
	gk_task *t;

	CHECK_EQ(0, pipe(fds));
	CHECK_EQ(0, gk_spawn(&t, NULL, polls, NULL));
	CHECK(WAIT_FOR(asleep(1)));
	CHECK_EQ(0, gk_cancel(t));
	CHECK_EQ(0, gk_join(t));
	CHECK_EQ(-ECANCELED, result);
	return 0;
}

static void polls_cancelled(void *arg)
{
	struct pollfd p = readable(fds[0]), out = { .fd = fds[1], .events = POLLOUT };
	gk_task *me = gk_self();

	CHECK_EQ(0, gk_cancel(me));
	CHECK_EQ(-ECANCELED, gk_poll(&p, 1));
	CHECK_EQ(-ECANCELED, gk_poll_until(&p, 1, gk_now() + SEC));
	/* What needs no wait is done. */
	CHECK_EQ(1, gk_poll(&out, 1));
	CHECK_EQ(0, gk_cancel_mask());
	CHECK_EQ(-ETIMEDOUT, gk_poll_until(&p, 1, gk_now() + MS));
	CHECK_EQ(0, gk_cancel_unmask());
	CHECK_EQ(-ECANCELED, gk_poll(&p, 1));
}

GK_TEST(a_cancelled_task_does_not_wait, 1)
{
	gk_task *t;

	CHECK_EQ(0, pipe(fds));
	CHECK_EQ(0, gk_spawn(&t, NULL, polls_cancelled, NULL));
	CHECK_EQ(0, gk_join(t));
	return 0;
}

static void polls_masked(void *arg)
{
	struct pollfd p = readable(fds[0]);

	CHECK_EQ(0, gk_cancel_mask());
	atomic_store(&polling, 1);
	CHECK_EQ(1, gk_poll(&p, 1));
	CHECK_EQ(0, gk_cancel_unmask());
	CHECK_EQ(1, gk_cancelled());
}

GK_TEST(a_masked_cancel_does_not_end_it, 2)
{
	gk_task *t;

	CHECK_EQ(0, pipe(fds));
	CHECK_EQ(0, gk_spawn(&t, NULL, polls_masked, NULL));
	CHECK(WAIT_FOR(polling && asleep(1)));
	CHECK_EQ(0, gk_cancel(t));
	gk_sleep(5 * MS);
	CHECK_EQ(1, write(fds[1], "x", 1));
	CHECK_EQ(0, gk_join(t));
	return 0;
}

GK_TEST(an_interrupt_is_a_cancel, 2)
{
	gk_task *t;

	CHECK_EQ(0, pipe(fds));
	CHECK_EQ(0, gk_spawn(&t, NULL, polls, NULL));
	CHECK(WAIT_FOR(asleep(1)));
	CHECK_EQ(0, gk_interrupt(t));
	CHECK_EQ(0, gk_join(t));
	CHECK_EQ(-ECANCELED, result);
	return 0;
}

static int polls_in_scope(void *arg)
{
	struct pollfd p = readable(fds[0]);

	return gk_poll(&p, 1);
}

static int fails(void *arg)
{
	CHECK(WAIT_FOR(asleep(8)));
	return -EIO;
}

GK_TEST(a_scope_that_fails_ends_it, 2)
{
	gk_scope *s;
	int i;

	CHECK_EQ(0, pipe(fds));
	CHECK_EQ(0, gk_scope_open(&s, NULL));
	for (i = 0; i < 8; i++)
		CHECK_EQ(0, gk_scope_go(s, polls_in_scope, NULL));
	CHECK_EQ(0, gk_scope_go(s, fails, NULL));
	CHECK_EQ(-EIO, gk_scope_wait(s));
	return 0;
}

static void nothing(int sig)
{
}

static atomic_int over;

static void *storm(void *arg)
{
	while (!atomic_load(&over)) {
		syscall(SYS_tgkill, getpid(), *(int *)arg, SIGUSR1);
		usleep(100);
	}
	return NULL;
}

GK_TEST(signals_do_not_end_it, 1)
{
	struct sigaction sa = { .sa_handler = nothing };
	int tid = syscall(SYS_gettid);
	struct pollfd p;
	pthread_t thread;
	uint64_t end;

	CHECK_EQ(0, pipe(fds));
	p = readable(fds[0]);
	CHECK_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	CHECK_EQ(0, pthread_create(&thread, NULL, storm, &tid));
	end = gk_now() + 50 * MS;
	CHECK_EQ(-ETIMEDOUT, gk_poll_until(&p, 1, end));
	CHECK(gk_now() >= end);
	atomic_store(&over, 1);
	pthread_join(thread, NULL);
	return 0;
}

/* More than there is room for on a task's stack. */
GK_TEST(many_descriptors, 2)
{
	struct pollfd p[MANY];
	int i, fd[MANY];
	uint64_t one = 1;

	for (i = 0; i < MANY; i++) {
		fd[i] = eventfd(0, 0);
		CHECK(fd[i] >= 0);
		p[i] = readable(fd[i]);
	}
	CHECK_EQ(-ETIMEDOUT, gk_poll_until(p, MANY, gk_now() + MS));
	for (i = 0; i < MANY; i += 50)
		CHECK_EQ((int)sizeof(one), write(fd[i], &one, sizeof(one)));
	CHECK_EQ(MANY / 50, gk_poll_until(p, MANY, gk_now() + MS));
	for (i = 0; i < MANY; i++)
		CHECK_EQ(i % 50 ? 0 : POLLIN, p[i].revents);
	return 0;
}

GK_TEST(wrong_arguments, 1)
{
	struct rlimit limit;
	struct pollfd *p;

	CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	/* valgrind has a few more for itself, and says nothing of them. */
	p = calloc(2 * limit.rlim_cur, sizeof(*p));
	CHECK_EQ(-EINVAL, gk_poll(p, 2 * limit.rlim_cur));
	free(p);
	return 0;
}

GK_TEST(a_wild_pointer_is_efault, 1)
{
	CHECK_EQ(-EFAULT, gk_poll((void *)8, 1));
	return 0;
}

TEST(outside_a_task_it_is_eperm)
{
	struct pollfd p = readable(0);

	EXPECT_EQ(-EPERM, gk_poll(&p, 1));
	EXPECT_EQ(-EPERM, gk_poll_until(&p, 1, 0));
}

/* ---- a cancel against a deadline, against what becomes ready, against nothing */

static atomic_int odd, ended[3];

static void polls_briefly(void *arg)
{
	struct pollfd p = readable(fds[0]);
	uintptr_t us = (uintptr_t)arg;
	int ret = gk_poll_until(&p, 1, us ? gk_now() + us * 1000 : GK_FOREVER);

	atomic_fetch_add(ret == -ECANCELED ? &ended[0] : ret == -ETIMEDOUT ? &ended[1] : ret == 1 ? &ended[2] : &odd, 1);
}

GK_TEST(cancels_at_any_moment, 2)
{
	int i, before = descriptors(), n = lib_count(500), round;
	unsigned int seed = chaos_seed();
	gk_task *t[4];

	CHECK_EQ(0, pipe(fds));
	for (round = 0; round < n; round++) {
		for (i = 0; i < 4; i++)
			CHECK_EQ(0, gk_spawn(&t[i], NULL, polls_briefly, (void *)(uintptr_t)(i ? rand_r(&seed) % 100 : 0)));
		for (i = rand_r(&seed) % 4; i; i--)
			gk_yield();
		if (rand_r(&seed) % 4 == 0)
			gk_sleep(rand_r(&seed) % 50000);
		for (i = 0; i < 4; i++)
			CHECK_EQ(0, gk_cancel(t[i]));
		for (i = 0; i < 4; i++)
			CHECK_EQ(0, gk_join(t[i]));
	}
	CHECK_EQ(0, odd);
	CHECK_EQ(4 * n, ended[0] + ended[1]);
	CHECK(ended[0] >= n);
	/* One for each worker at most, beside the pipe. */
	CHECK(descriptors() <= before + 2 + (int)lib_stats().workers_peak);
	return 0;
}

static int run_polls(void *arg)
{
	struct pollfd p = readable(fds[0]);

	return gk_poll_until(&p, 1, gk_now() + MS);
}

TEST(runs_leave_no_descriptor)
{
	int i, before;

	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-ETIMEDOUT, gk_run(run_polls, NULL));
	before = descriptors();
	for (i = 0; i < 20; i++)
		EXPECT_EQ(-ETIMEDOUT, gk_run(run_polls, NULL));
	EXPECT_EQ(before, descriptors());
}

TEST_HARNESS_MAIN
