// SPDX-License-Identifier: GPL-2.0-only
/*
 * limits.c - the caps: cores, workers and groups of one user, each reached, refused, and given back. Rule 14.
 */
#include "test.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void wait_go(struct rig_worker *w)
{
	rig_wait_go(w);
}

TEST(workers_of_a_group)
{
	struct rig_worker *w[5];
	struct rig r;
	int i;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1, .max_workers = 4 }));
	for (i = 0; i < 4; i++) {
		w[i] = rig_spawn(&r, 0, wait_go, NULL);
		ASSERT_NE(NULL, w[i]);
		EXPECT_EQ(i, w[i]->id);
	}
	EXPECT_EQ(NULL, rig_spawn(&r, 0, wait_go, NULL));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(4, rig_group(&r)->nworkers);
	/* One leaves: its id is given to the next. */
	ASSERT_TRUE(rig_join(w[2]));
	EXPECT_TRUE(RIG_WAIT((w[4] = rig_spawn(&r, 0, wait_go, NULL)) || errno != ENOSPC));
	ASSERT_NE(NULL, w[4]);
	EXPECT_EQ(2, w[4]->id);
	EXPECT_GE(2, rig_wp(w[4])->seq) {
		TH_LOG("a new worker starts anew: seq %llu", rig_wp(w[4])->seq);
	}
	for (i = 0; i < 4; i++) {
		rig_go(i == 2 ? w[4] : w[i]);
	}
}

TEST(as_many_cores_as_info_says)
{
	struct gk_info info = { .size = sizeof(info) };
	static uint32_t cpus[GK_MAX_CORES];
	struct gk_setup s = { .size = sizeof(s), .cpus = (uintptr_t)cpus, .manager_fd = -1 };
	struct gk_enter e = { .size = sizeof(e) };
	int fd = open(RIG_DEV, O_RDWR);
	unsigned char *map;
	unsigned int i;
	cpu_set_t set;

	ASSERT_EQ(0, ioctl(fd, GK_IOC_INFO, &info));
	for (i = 0; i < info.max_cores; i++) {
		cpus[i] = rig_nth_cpu(i);
	}
	s.ncores = info.max_cores;
	s.max_workers = info.max_workers;
	ASSERT_EQ(0, ioctl(fd, GK_IOC_SETUP, &s));
	map = mmap(NULL, s.map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	/* The last core works, and so do its bits. */
	e.core = info.max_cores - 1;
	EXPECT_EQ(1, ((struct gk_group_page *)map)->idle[e.core / 64] >> e.core % 64 & 1);
	/* On its CPU: elsewhere it would be a stray. */
	CPU_ZERO(&set);
	CPU_SET(cpus[e.core], &set);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
	ASSERT_EQ(0, ioctl(fd, GK_IOC_ENTER, &e));
	EXPECT_EQ(0, ((struct gk_group_page *)map)->idle[e.core / 64] >> e.core % 64 & 1);
	EXPECT_EQ(e.core, ((struct gk_worker_page *)(map + s.worker_off + e.id * s.worker_stride))->core);
	EXPECT_EQ(0, ioctl(fd, GK_IOC_EXIT, 0));
}

static int make_group(void)
{
	uint32_t cpu = rig_nth_cpu(0);
	struct gk_setup s = {
		.size = sizeof(s), .ncores = 1, .max_workers = 1, .cpus = (uintptr_t)&cpu, .manager_fd = -1,
	};
	int fd = open(RIG_DEV, O_RDWR | O_CLOEXEC), err;

	if (fd >= 0 && ioctl(fd, GK_IOC_SETUP, &s)) {
		err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

TEST(groups_of_a_user)
{
	struct rlimit lim = { 8192, 8192 };
	static int fd[8192];
	int n, i, max = 4096, again, tries;

	if (setrlimit(RLIMIT_NOFILE, &lim)) {
		max = 900;
	}
	/* Groups of the tests before may still be on their way out: the limit is where no more come in. */
	for (n = 0, tries = 0; n < max && tries < 500;) {
		fd[n] = make_group();
		if (fd[n] >= 0) {
			n++;
			tries = 0;
		} else if (errno != EUSERS) {
			break;
		} else {
			rig_nap();
			tries++;
		}
	}
	errno = tries ? EUSERS : errno;
	ASSERT_LT(n, max) {
		TH_LOG("%d groups and no end", n);
	}
	EXPECT_EQ(EUSERS, errno);
	EXPECT_LE(8, n);
	/* Still so, and a descriptor alone costs nothing. */
	EXPECT_EQ(-1, make_group());
	EXPECT_EQ(EUSERS, errno);
	i = open(RIG_DEV, O_RDWR);
	EXPECT_LE(0, i);
	close(i);
	/* One less, one more. It is given back when the group is freed, which may be after the close. */
	close(fd[--n]);
	EXPECT_TRUE(RIG_WAIT((again = make_group()) >= 0));
	EXPECT_EQ(-1, make_group());
	close(again);
	for (i = 0; i < n; i++) {
		close(fd[i]);
	}
	EXPECT_TRUE(RIG_WAIT((again = make_group()) >= 0));
	close(again);
}

/* Another user has a count of its own. */
TEST(groups_are_counted_per_user)
{
	int status, n;
	pid_t pid;

	if (geteuid()) {
		SKIP(return, "needs root");
	}
	for (n = 0; n < 4096 && make_group() >= 0; n++) {
		;
	}
	ASSERT_EQ(EUSERS, errno);
	pid = fork();
	if (!pid) {
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) {
			_exit(1);
		}
		/* The device needs no privilege. */
		_exit(make_group() >= 0 ? 0 : errno == EACCES ? 3 : 2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WEXITSTATUS(status) == 3) {
		SKIP(return, "the device is not open to all here");
	}
	EXPECT_EQ(0, status);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
