/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lib.h - how the tests of libgk are written: the kselftest harness outside, CHECK() inside tasks.
 *
 * The harness runs each test in a process of its own. Its EXPECT macros leave the function they are in, which a task on another
 * thread must not; CHECK() only counts, and the test fails at the end of its gk_run().
 */
#ifndef GK_TEST_LIB_H
#define GK_TEST_LIB_H

/*
 * libgk ends a program that is deadlocked with status 2. To the harness that is a failure that was expected, which counts as none; no
 * test here has such.
 */
#include <kselftest.h>
#undef KSFT_XFAIL
#define KSFT_XFAIL 99

#include <kselftest_harness.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <gk.h>

/* The seconds that the harness gives a test; a program may have had another idea before. */
#ifndef LIB_TIMEOUT
#define LIB_TIMEOUT 90
#endif
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT LIB_TIMEOUT

#define MS	1000000ull
#define SEC	1000000000ull

/* Built for a sanitizer: which has memory, threads and handlers of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIB_SANITIZED 1
#else
#define LIB_SANITIZED 0
#endif

static atomic_int lib_failures;

static inline void lib_fail(const char *file, int line, const char *what, long long got, long long want)
{
	if (atomic_fetch_add(&lib_failures, 1) < 10)
		fprintf(stderr, "# %s:%d: %s: got %lld, want %lld\n", file, line, what, got, want);
}

#define CHECK_EQ(want, got) do {							\
	long long _want = (long long)(want), _got = (long long)(got);			\
											\
	if (_want != _got)								\
		lib_fail(__FILE__, __LINE__, #got, _got, _want);			\
} while (0)

#define CHECK(cond) do {								\
	if (!(cond))									\
		lib_fail(__FILE__, __LINE__, #cond, 0, 1);				\
} while (0)

/*
 * How long a wait may take, in ns: longer than any host takes, as what is late is not wrong. It ends only tests that fail; in a guest
 * with more CPUs than its host, tens of milliseconds may pass between two instructions.
 */
#define PATIENCE	(40 * SEC)

/* Waits as a task for something that another task does. */
#define WAIT_FOR(cond) ({								\
	uint64_t _end = gk_now() + PATIENCE;						\
	bool _is;									\
											\
	while (!(_is = (cond)) && gk_now() < _end)					\
		gk_sleep(200000);							\
	_is;										\
})

/* What the run that ended has left allocated and nobody can reach, by AddressSanitizer's account. */
static inline int lib_leaks(void)
{
#ifdef __SANITIZE_ADDRESS__
	extern int __lsan_do_recoverable_leak_check(void);

	return __lsan_do_recoverable_leak_check();
#else
	return 0;
#endif
}

static inline int lib_run(int cores, int (*fn)(void *arg), void *arg)
{
	int ret;

	/* A line that a child process prints as well would be counted twice. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	gk_set_cores(cores);
	ret = gk_run(fn, arg);
	if (ret)
		fprintf(stderr, "# gk_run: %d\n", ret);
	CHECK_EQ(0, lib_leaks());
	return ret ? ret : atomic_load(&lib_failures);
}

/* A test whose body is the main task, on so many cores (0: the default); it returns 0. */
#define GK_TEST(name, cores)								\
	static int name##_main(void *arg);						\
	TEST(name)									\
	{										\
		EXPECT_EQ(0, lib_run(cores, name##_main, NULL));			\
	}										\
	static int name##_main(void *arg)

/*
 * The same on one core, where no task is preempted: what runs there runs until it waits or blocks. A page fault may block, too: that
 * the others have come as far as their wait is what lib_settled() finds out.
 */
#define GK_TEST_IN_TURN(name)								\
	static int name##_main(void *arg);						\
	TEST(name)									\
	{										\
		setenv("GK_SLICE_US", "10000000", 1);					\
		EXPECT_EQ(0, lib_run(1, name##_main, NULL));				\
	}										\
	static int name##_main(void *arg)

static inline struct gk_stats lib_stats(void)
{
	struct gk_stats s = {};

	gk_stats(&s, sizeof(s));
	return s;
}

/*
 * Waits as a task until every other task waits for something without a deadline, or has ended: as the dump has it, while which was
 * written nobody went on.
 */
static inline void lib_settled(void)
{
	static const char *const moving[] = { ": ready", ": not started", ", deadline in ", ": preempted",
					      ": asleep in", "(it went on", ": in " };
	static char text[1 << 16];
	const char *p, *line;
	struct gk_stats before;
	int fd = memfd_create("dump", 0);
	size_t i;
	bool moves;

	do {
		gk_sleep(1 * MS);
		CHECK_EQ(0, ftruncate(fd, 0));
		lseek(fd, 0, SEEK_SET);
		before = lib_stats();
		CHECK_EQ(0, gk_dump(fd));
		moves = lib_stats().switches != before.switches;
		text[pread(fd, text, sizeof(text) - 1, 0)] = 0;
		for (i = 0; i < sizeof(moving) / sizeof(moving[0]); i++)
			moves |= strstr(text, moving[i]) != NULL;
		for (line = text; (p = strstr(line, ": running")); line = p + 1)
			moves |= strncmp(strchr(p, '\n') - 9, "this dump", 9) != 0;
	} while (moves);
	close(fd);
}

/* How often, where the test is not about how often: GK_TIMES (1) times @n; make soak has 5. */
static inline int lib_count(int n)
{
	const char *times = getenv("GK_TIMES");

	return times && atoi(times) > 0 ? n * atoi(times) : n;
}

static inline bool lib_module(void)
{
	return !strcmp(gk_backend(), "gk.ko");
}

static inline void lib_burn(uint64_t ns)
{
	uint64_t end = gk_now() + ns;

	while (gk_now() < end)
		;
}

/* A task that ends soon. */
static inline void lib_yield(void *arg)
{
	gk_yield();
}

/* Runs fn(arg) in a child process, its stderr into buf; returns the wait status. */
static inline int lib_child(int (*fn)(void *), void *arg, char *buf, size_t size)
{
	int status, fds[2];
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	if (pipe(fds) < 0)
		return -1;
	fflush(stdout);
	fflush(stderr);
	pid = fork();
	if (!pid) {
		alarm(60);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		_exit(fn(arg));
	}
	close(fds[1]);
	while (n < size - 1 && (got = read(fds[0], buf + n, size - 1 - n)) > 0)
		n += got;
	buf[n] = 0;
	close(fds[0]);
	waitpid(pid, &status, 0);
	return status;
}

#endif
