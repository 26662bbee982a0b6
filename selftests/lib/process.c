// SPDX-License-Identifier: GPL-2.0-only
/* process.c - fork, exec, signals, and the end of the main task: nobody executes another instruction. */
#include "lib.h"
#include <spawn.h>

extern char **environ;

static gk_wg wg;

static void child_checks(void)
{
	int bad = 0;

	bad |= gk_yield() != -EPERM;
	bad |= gk_go(lib_yield, NULL) != -EPERM;
	bad |= gk_sleep(1) != -EPERM;
	bad |= gk_self() != NULL;
	bad |= gk_cores() != 0;
	_exit(bad ? 1 : 33);
}

static void forks(void *arg)
{
	int i, status;
	pid_t pid;

	for (i = 0; i < 10; i++) {
		pid = fork();
		if (!pid)
			child_checks();
		CHECK_EQ(pid, waitpid(pid, &status, 0));
		CHECK(WIFEXITED(status));
		CHECK_EQ(33, WEXITSTATUS(status));
		gk_yield();
	}
	gk_wg_done(&wg);
}

GK_TEST(fork_in_a_task, 2)
{
	int i;

	gk_wg_add(&wg, 5);
	for (i = 0; i < 5; i++)
		gk_go(forks, NULL);
	gk_wg_wait(&wg);
	return 0;
}

static int small_main(void *arg)
{
	gk_task *t;

	gk_spawn(&t, NULL, lib_yield, NULL);
	gk_join(t);
	return 5;
}

/* The child of a task starts a runtime of its own. */
GK_TEST(a_forked_child_may_run_its_own, 2)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		alarm(20);
		_exit(gk_run(small_main, NULL));
	}
	waitpid(pid, &status, 0);
	CHECK(WIFEXITED(status));
	CHECK_EQ(5, WEXITSTATUS(status));
	return 0;
}

static void spawns(void *arg)
{
	char *args[] = { "sh", "-c", "exit 7", NULL };
	int i, status;
	pid_t pid;

	for (i = 0; i < 5; i++) {
		CHECK_EQ(0, posix_spawnp(&pid, "sh", NULL, NULL, args, environ));
		CHECK_EQ(pid, waitpid(pid, &status, 0));
		CHECK_EQ(7, WEXITSTATUS(status));
		status = system("exit 3");
		CHECK_EQ(3, WEXITSTATUS(status));
		FILE *f = popen("echo hello", "r");
		char line[16] = "";

		CHECK(f && fgets(line, sizeof(line), f));
		CHECK(!strcmp("hello\n", line));
		pclose(f);
	}
	gk_wg_done(&wg);
}

GK_TEST(posix_spawn_system_and_popen_in_tasks, 2)
{
	int i;

	gk_wg_add(&wg, 4);
	for (i = 0; i < 4; i++)
		gk_go(spawns, NULL);
	gk_wg_wait(&wg);
	return 0;
}

static void hogs_for_ever(void *arg)
{
	for (;;)
		if (arg)
			atomic_fetch_add((atomic_long *)arg, 1);
}

static int execs(void *arg)
{
	gk_go(hogs_for_ever, NULL);
	gk_go(hogs_for_ever, NULL);
	gk_sleep(20 * MS);
	execlp("sh", "sh", "-c", "exit 9", NULL);
	return 1;
}

static int run_execs(void *arg)
{
	gk_set_cores(2);
	return gk_run(execs, NULL);
}

static void execs_in_a_task(void *arg)
{
	execlp("sh", "sh", "-c", "exit 9", NULL);
}

static int other_execs(void *arg)
{
	gk_go(execs_in_a_task, NULL);
	gk_sleep(30 * SEC);
	return 1;
}

static int run_other_execs(void *arg)
{
	gk_set_cores(2);
	return gk_run(other_execs, NULL);
}

TEST(exec_in_a_task)
{
	char said[256];
	int status;

	status = lib_child(run_execs, NULL, said, sizeof(said));
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 9) TH_LOG("status %x %s", status, said);
	status = lib_child(run_other_execs, NULL, said, sizeof(said));
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 9) TH_LOG("status %x %s", status, said);
}

static atomic_int handled;

static void handler(int sig)
{
	atomic_fetch_add(&handled, 1);
}

static void computes_and_waits(void *arg)
{
	uint64_t v = (long)arg, i, k;

	for (k = 0; k < 100; k++) {
		for (i = 0; i < 20000; i++)
			v = v * 6364136223846793005ull + 1442695040888963407ull;
		if (k % 3 == 0)
			gk_yield();
		if (k % 10 == 0)
			usleep(100);
	}
	for (i = 0, k = (long)arg; i < 100 * 20000; i++)
		k = k * 6364136223846793005ull + 1442695040888963407ull;
	CHECK_EQ(k, v);
	gk_wg_done(&wg);
}

static void *signals(void *arg)
{
	do {
		kill(getpid(), SIGUSR1);
		usleep(300);
	} while (!*(atomic_int *)arg);
	return NULL;
}

GK_TEST(signal_handlers_run_and_disturb_nothing, 2)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	atomic_int stop = 0;
	pthread_t t;
	long i;

	sigaction(SIGUSR1, &sa, NULL);
	gk_wg_add(&wg, 20);
	for (i = 0; i < 20; i++)
		gk_go(computes_and_waits, (void *)i);
	pthread_create(&t, NULL, signals, &stop);
	gk_wg_wait(&wg);
	stop = 1;
	pthread_join(t, NULL);
	CHECK(WAIT_FOR(handled > 0));
	return 0;
}

/* ---- the end ------------------------------------------------------------------------------------------------------ */

static atomic_long *ticks;		/* in memory that another process sees too */
static gk_mutex never;
static int fds[2];

static void ticks_hog(void *arg)
{
	for (;;)
		atomic_fetch_add(ticks, 1);
}

static void ticks_yield(void *arg)
{
	for (;;) {
		atomic_fetch_add(ticks, 1);
		gk_yield();
	}
}

static void ticks_sleep(void *arg)
{
	for (;;) {
		atomic_fetch_add(ticks, 1);
		gk_sleep(100000);
	}
}

static void ticks_usleep(void *arg)
{
	for (;;) {
		atomic_fetch_add(ticks, 1);
		usleep(100);
	}
}

static void ticks_read(void *arg)
{
	char ch;

	for (;;) {
		if (read(fds[0], &ch, 1) < 0 && errno != EINTR)
			atomic_fetch_add(ticks, 1000000);
		atomic_fetch_add(ticks, 1);
	}
}

static void ticks_write(void *arg)
{
	for (;;) {
		if (write(fds[1], "", 1) < 0 && errno != EINTR)
			atomic_fetch_add(ticks, 1000000);
		atomic_fetch_add(ticks, 1);
	}
}

static void ticks_lock(void *arg)
{
	for (;;) {
		gk_mutex_lock(&never);
		atomic_fetch_add(ticks, 1);
		gk_mutex_unlock(&never);
	}
}

static void ticks_spawn(void *arg)
{
	for (;;) {
		atomic_fetch_add(ticks, 1);
		gk_go(lib_yield, NULL);
		gk_yield();
	}
}

static void ticks_pinned(void *arg)
{
	gk_pin();
	for (;;) {
		atomic_fetch_add(ticks, 1);
		gk_sleep(50000);
	}
}

static void ticks_pread(void *arg)
{
	char some[4096];
	int fd = open("/dev/zero", O_RDONLY);

	for (;;) {
		atomic_fetch_add(ticks, 1);
		if (read(fd, some, sizeof(some)) < 0)
			return;
	}
}

static void (*const kinds[])(void *) = {
	ticks_hog, ticks_yield, ticks_sleep, ticks_usleep, ticks_read, ticks_write, ticks_lock, ticks_spawn, ticks_pinned,
	ticks_pread, ticks_hog,
};

static int ends_among_them(void *arg)
{
	unsigned int i, k;

	for (k = 0; k < 2; k++)
		for (i = 0; i < ARRAY_SIZE(kinds); i++)
			gk_go(kinds[i], NULL);
	gk_sleep(((long)arg % 5 + 1) * 20 * MS);
	return 11;
}

/* ThreadSanitizer keeps a signal back while it carries out an atomic operation, and may sleep there: each may do one more. */
#ifdef __SANITIZE_THREAD__
#define LATE	(2 * (long)ARRAY_SIZE(kinds))
#else
#define LATE	0
#endif

static int run_ends(void *arg)
{
	long before, after;
	int ret;

	ticks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe(fds) < 0)
		return 99;
	gk_set_cores((long)arg / 10);
	ret = gk_run(ends_among_them, arg);
	before = atomic_load(ticks);
	usleep(100000);
	after = atomic_load(ticks);
	if (ret != 11 || !before || after - before > LATE) {
		fprintf(stderr, "ret %d, %ld then %ld\n", ret, before, after);
		return 1;
	}
	return 0;
}

TEST(after_the_main_task_ended_no_task_runs)
{
	static const long cores[] = { 1, 2, 4 };
	char said[512];
	long i, k;
	int status;

	for (k = 0; k < 3; k++)
		for (i = 0; i < 5; i++) {
			status = lib_child(run_ends, (void *)(cores[k] * 10 + i), said, sizeof(said));
			EXPECT_EQ(0, status) TH_LOG("%ld cores, round %ld: status %x, %s", cores[k], i, status, said);
		}
}

/* ... and those of the first run do not begin again in the second. */
static int run_twice(void *arg)
{
	long before;
	int i, ret;

	ticks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe(fds) < 0)
		return 99;
	gk_set_cores((long)arg / 10);
	ret = gk_run(ends_among_them, arg);
	if (ret != 11)
		return 1;
	before = atomic_load(ticks);
	for (i = 0; i < 3; i++) {
		ret = gk_run(small_main, NULL);
		usleep(50000);
		if (ret != 5 || atomic_load(ticks) != before) {
			fprintf(stderr, "run %d: ret %d, %ld then %ld\n", i + 2, ret, before, atomic_load(ticks));
			return 2;
		}
	}
	/* A signal that the runtime uses for itself, from outside. */
	signal(SIGURG, SIG_IGN);
	kill(getpid(), SIGURG);
	return 0;
}

TEST(tasks_of_a_run_that_ended_stay_still_in_the_next)
{
	char said[512];
	long i;
	int status;

	for (i = 10; i < 30; i += i == 13 ? 7 : 1) {
		status = lib_child(run_twice, (void *)i, said, sizeof(said));
		EXPECT_EQ(0, status) TH_LOG("%ld cores: status %x, %s", i / 10, status, said);
		if (i == 23)
			break;
	}
}

static atomic_int urgs;

static void on_urg(int sig)
{
	atomic_fetch_add(&urgs, 1);
}

static int hears_urg(void *arg)
{
	int before = urgs;

	kill(getpid(), SIGURG);
	CHECK(WAIT_FOR(urgs > before));
	gk_go(hogs_for_ever, NULL);
	gk_sleep(20 * MS);
	return 0;
}

/* A program's own SIGURG handler still hears SIGURG from outside, in every run. */
static int run_urgs(void *arg)
{
	struct sigaction sa = { .sa_handler = on_urg };
	int i;

	sigaction(SIGURG, &sa, NULL);
	gk_set_cores(1);
	for (i = 0; i < 3; i++)
		if (gk_run(hears_urg, NULL))
			return 1;
	return lib_failures;
}

TEST(the_programs_own_sigurg_handler_is_called)
{
	char said[512];
	int status = lib_child(run_urgs, NULL, said, sizeof(said));

	EXPECT_EQ(0, status) TH_LOG("status %x, %s", status, said);
}

/* exit() from a task ends the process with its status, whatever the others do. */
static int exits(void *arg)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		gk_go(kinds[i], NULL);
	gk_sleep(20 * MS);
	exit(21);
}

static int run_exits(void *arg)
{
	ticks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe(fds) < 0)
		return 99;
	gk_set_cores(2);
	return gk_run(exits, NULL);
}

TEST(exit_in_a_task_ends_the_process)
{
	char said[512];
	int status = lib_child(run_exits, NULL, said, sizeof(said));

	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 21) TH_LOG("status %x", status);
}

TEST_HARNESS_MAIN
