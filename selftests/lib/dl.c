// SPDX-License-Identifier: GPL-2.0-only
/* dl.c - libgk as part of a plugin: loaded, used and given back, while the program goes on. */
#include "lib.h"
#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>

static int (*run)(int (*fn)(void *arg), void *arg);
static int (*go)(void (*fn)(void *arg), void *arg);
static int (*set_cores)(int n);
static int (*yield)(void);
static atomic_int ran;

static void runs(void *arg)
{
	int i;

	for (i = 0; i < 10; i++)
		yield();
	atomic_fetch_add(&ran, 1);
}

static int app(void *arg)
{
	int i, before = ran;

	for (i = 0; i < 100; i++)
		go(runs, NULL);
	while (ran - before < 100)
		yield();
	return 3;
}

static void *thread(void *arg)
{
	uint64_t i, v = 0;

	for (i = 0; i < 1000000; i++)
		v += i * i;
	sched_yield();
	return (void *)(v & 1);
}

TEST(a_program_goes_on_without_it)
{
	char path[PATH_MAX] = "", *dir;
	pthread_t threads[4];
	int i, k, status;
	pid_t pid;
	void *lib;

	if (readlink("/proc/self/exe", path, sizeof(path) - 40) < 0)
		SKIP(return, "no /proc");
	dir = dirname(path);
	strcat(dir, "/../libgk/libgk.so.0");
	if (access(dir, R_OK) < 0)
		SKIP(return, "no %s", dir);
	for (i = 0; i < 20; i++) {
		lib = dlopen(dir, RTLD_NOW);
		ASSERT_NE(NULL, lib) TH_LOG("%s", dlerror());
		run = dlsym(lib, "gk_run");
		go = dlsym(lib, "gk_go");
		set_cores = dlsym(lib, "gk_set_cores");
		yield = dlsym(lib, "gk_yield");
		ASSERT_TRUE(run && go && set_cores && yield);
		set_cores(i % 3 + 1);
		EXPECT_EQ(3, run(app, NULL));
		EXPECT_EQ(0, dlclose(lib));
		/* What it may have left: threads that end, signal handlers, handlers of fork(). */
		for (k = 0; k < 4; k++)
			pthread_create(&threads[k], NULL, thread, NULL);
		for (k = 0; k < 4; k++)
			pthread_join(threads[k], NULL);
		raise(SIGURG);
		pid = fork();
		if (!pid)
			_exit(5);
		waitpid(pid, &status, 0);
		EXPECT_EQ(5, WEXITSTATUS(status));
	}
}

TEST_HARNESS_MAIN
