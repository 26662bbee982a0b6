// SPDX-License-Identifier: GPL-2.0-only
/*
 * disturb.c - what interrupts the sequence that takes a core's word: signals, moves to another CPU, a debugger's steps; and
 * runs in which there is no such sequence.
 */
#include "lib.h"
#include <dirent.h>
#include <limits.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>

#define TASKS	8

static gk_wg wg;
static gk_chan *chan;
static atomic_int over, done;
static atomic_long received, handled;
static long sums[TASKS], in_lock;

/* ---- traffic, of which it is known what it comes to ------------------------------------------------------------- */

/* What is not atomic here is under the mutex or the task's own. */
static void sends(void *arg)
{
	static gk_mutex m;
	long i, v, k = (long)arg;
	gk_task *t;

	for (i = 0; !over; i++) {
		gk_yield();
		v = i;
		if (gk_chan_send(chan, &v) == 0)
			sums[k] += i;
		gk_mutex_lock(&m);
		__atomic_store_n(&in_lock, in_lock + 1, __ATOMIC_RELAXED);
		gk_mutex_unlock(&m);
		/* Blocks, so that several workers of a core run and want its word. */
		if (i % 64 == k)
			usleep(1500);
		if (i % 50 == 0 && gk_spawn(&t, NULL, lib_yield, NULL) == 0)
			gk_join(t);
	}
	atomic_fetch_add(&received, -i);	/* as often as it was in the lock */
	gk_wg_done(&wg);
}

static void receives(void *arg)
{
	long v, sum = 0;

	while (gk_chan_recv(chan, &v) == 1) {
		sum += v;
		if (v % 3 == 0)
			gk_yield();
	}
	atomic_fetch_add((atomic_long *)arg, sum);
	gk_wg_done(&wg);
}

static int traffic(uint64_t ns)
{
	atomic_long got = 0;
	long i, sent = 0;

	over = 0;
	received = in_lock = 0;
	memset(sums, 0, sizeof(sums));
	chan = gk_chan_new(sizeof(long), 3);
	gk_wg_add(&wg, TASKS);
	for (i = 0; i < TASKS; i++)
		CHECK_EQ(0, gk_go(sends, (void *)i));
	for (i = 0; i < 3; i++)
		CHECK_EQ(0, gk_go(receives, &got));
	gk_sleep(ns);
	CHECK(WAIT_FOR(__atomic_load_n(&in_lock, __ATOMIC_RELAXED) > 100));
	over = 1;
	gk_wg_wait(&wg);
	gk_wg_add(&wg, 3);
	gk_chan_close(chan);
	gk_wg_wait(&wg);
	for (i = 0; i < TASKS; i++)
		sent += sums[i];
	CHECK_EQ(sent, got);
	CHECK_EQ(0, in_lock + received);
	CHECK_EQ(0, gk_chan_free(chan));
	return 0;
}

/* Calls @what for every other thread of the process until `done`. */
static void *disturbs(void *what)
{
	void (*fn)(pid_t tid) = what;
	pid_t self = syscall(SYS_gettid), tid;
	struct dirent *d;
	cpu_set_t set;
	DIR *dir;
	int i;

	/* Anywhere, not where the worker is that started it. */
	sched_getaffinity(getpid(), sizeof(set), &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (!done) {
		dir = opendir("/proc/self/task");
		if (!dir)
			break;
		while ((d = readdir(dir))) {
			tid = atoi(d->d_name);
			for (i = 0; i < 4 && tid > 0 && tid != self && tid != getpid() && !done; i++) {
				fn(tid);
				usleep(50);
			}
		}
		closedir(dir);
	}
	return NULL;
}

static int disturbed(void *what)
{
	pthread_t t;

	done = 0;
	pthread_create(&t, NULL, disturbs, what);
	traffic(500 * MS);
	done = 1;
	/* It is no task's: the main task's worker waits for it. */
	pthread_join(t, NULL);
	return 0;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static void handler(int sig)
{
	atomic_fetch_add(&handled, 1);
}

static void sends_a_signal(pid_t tid)
{
	int i;

	for (i = 0; i < 5; i++)
		syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
}

TEST(a_storm_of_signals)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	int cores;

	sigaction(SIGUSR1, &sa, NULL);
	for (cores = 1; cores <= 4; cores *= 2)
		EXPECT_EQ(0, lib_run(cores, disturbed, sends_a_signal));
	EXPECT_GT(handled, 100);
}

/* ---- moves to other CPUs ----------------------------------------------------------------------------------------- */

static cpu_set_t all;

static void moves(pid_t tid)
{
	static unsigned int seed = 1;
	cpu_set_t set;
	int cpu, n;

	/* To some CPU, or to any: then the kernel does it. */
	n = rand_r(&seed) % (CPU_COUNT(&all) + 1);
	set = all;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && n-- == 0) {
			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
		}
	sched_setaffinity(tid, sizeof(set), &set);
}

TEST(workers_are_moved_about)
{
	int cores;

	sched_getaffinity(0, sizeof(all), &all);
	for (cores = 1; cores <= 4; cores *= 2)
		EXPECT_EQ(0, lib_run(cores, disturbed, moves));
}

/* ---- a CPU that goes away ---------------------------------------------------------------------------------------- */

#define KINDS	6

struct goes_on {
	int kind;
	atomic_long beats;
};

static struct goes_on goes_on[2 * KINDS];
static int taken_away;
static atomic_int back_there;

static int online(int cpu, bool on)
{
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	ret = write(fd, on ? "1" : "0", 1) == 1 ? 0 : -errno;
	close(fd);
	return ret;
}

/* Each in another way: preempted, queued, timed, blocked, waiting for a lock, bound to its thread. */
static void goes(void *arg)
{
	static gk_mutex m;
	struct goes_on *g = arg;

	while (!over) {
		switch (g->kind) {
		case 0:
			lib_burn(100000);
			break;
		case 1:
		case 5:
			gk_yield();
			break;
		case 2:
			gk_sleep(1 * MS);
			break;
		case 3:
			usleep(1000);
			break;
		case 4:
			gk_mutex_lock(&m);
			gk_yield();
			gk_mutex_unlock(&m);
			break;
		}
		atomic_fetch_add(&g->beats, 1);
	}
	gk_wg_done(&wg);
}

static long slowest(const long *before)
{
	long least = LONG_MAX;
	int i;

	for (i = 0; i < 2 * KINDS; i++)
		if (goes_on[i].beats - before[i] < least)
			least = goes_on[i].beats - before[i];
	return least;
}

static void all_go_on(void)
{
	long before[2 * KINDS];
	int i;

	for (i = 0; i < 2 * KINDS; i++)
		before[i] = goes_on[i].beats;
	CHECK(WAIT_FOR(slowest(before) >= 5));
}

static void looks_where(void *arg)
{
	lib_burn(1 * MS);
	if (sched_getcpu() == taken_away)
		back_there = 1;
	gk_wg_done(&wg);
}

static bool somebody_is_back(void)
{
	int i;

	gk_wg_add(&wg, 4);
	for (i = 0; i < 4; i++)
		gk_go(looks_where, NULL);
	gk_wg_wait(&wg);
	return back_there;
}

static int away_and_back(void *arg)
{
	struct gk_attr pinned = { .flags = GK_PINNED };
	gk_task *t;
	int round, i;

	for (round = 0; round < 3; round++) {
		over = back_there = 0;
		gk_wg_add(&wg, 2 * KINDS);
		for (i = 0; i < 2 * KINDS; i++) {
			goes_on[i].kind = i % KINDS;
			CHECK_EQ(0, gk_spawn(&t, goes_on[i].kind == 5 ? &pinned : NULL, goes, &goes_on[i]));
			CHECK_EQ(0, gk_detach(t));
		}
		all_go_on();
		CHECK_EQ(0, online(taken_away, false));
		all_go_on();
		/* All end while it is away, or when it is back. */
		if (round % 2) {
			over = 1;
			gk_wg_wait(&wg);
			traffic(50 * MS);
		}
		CHECK_EQ(0, online(taken_away, true));
		if (!(round % 2)) {
			all_go_on();
			over = 1;
			gk_wg_wait(&wg);
		}
		traffic(50 * MS);
		/* Without sequences and without the module nobody minds where a worker is. */
		if (lib_module() || __rseq_size)
			CHECK(WAIT_FOR(somebody_is_back()));
	}
	return 0;
}

/* The CPU is a guest's, and back at the end whatever happens. */
TEST(a_cpu_goes_away_and_comes_back)
{
	int fds[2], n = 0;
	pid_t guard;
	char c;

	sched_getaffinity(0, sizeof(all), &all);
	for (taken_away = 0; taken_away < CPU_SETSIZE && (!CPU_ISSET(taken_away, &all) || n++ < 1); taken_away++)
		;
	if (taken_away == CPU_SETSIZE)
		SKIP(return, "one CPU");
	if (access("/dev/gk", F_OK) || online(taken_away, true))
		SKIP(return, "no guest whose CPUs can be taken offline");
	ASSERT_EQ(0, pipe(fds));
	guard = fork();
	if (!guard) {
		setsid();	/* the harness ends a test that takes too long with all its group */
		close(fds[1]);
		if (read(fds[0], &c, 1) < 0)
			perror("# read");
		_exit(online(taken_away, true) ? 1 : 0);
	}
	close(fds[0]);
	EXPECT_EQ(0, lib_run(2, away_and_back, NULL));
	close(fds[1]);
	waitpid(guard, &n, 0);
	EXPECT_EQ(0, n);
}

/* ---- a debugger's steps ------------------------------------------------------------------------------------------ */

struct stepped {
	atomic_int tid, go, calls, ended;
	int others;
};

static void yields(void *arg)
{
	struct stepped *s = arg;

	while (!s->ended)
		gk_yield();
}

static int is_stepped(void *arg)
{
	struct stepped *s = arg;
	long v = 1;
	int i;

	chan = gk_chan_new(sizeof(v), 1);
	for (i = 0; i < s->others; i++)
		gk_go(yields, s);
	gk_yield();
	s->tid = syscall(SYS_gettid);
	while (!s->go)
		;
	for (i = 0; i < 40; i++) {
		CHECK_EQ(0, gk_yield());
		s->calls++;
		CHECK_EQ(0, gk_chan_try_send(chan, &v));
		s->calls++;
		CHECK_EQ(1, gk_chan_try_recv(chan, &v));
		s->calls++;
	}
	s->ended = 1;
	return 0;
}

static int steps(int others)
{
	struct stepped *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status, sig = 0, calls;
	uint64_t end;
	long count = 0;
	pid_t child;

	s->others = others;
	/* Nobody is to be preempted, or an unstepped worker goes on with the task. */
	setenv("GK_SLICE_US", "10000000", 1);
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		_exit(lib_run(1, is_stepped, s));
	}
	while (!s->tid)
		usleep(1000);
	if (ptrace(PTRACE_SEIZE, s->tid, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL) < 0 ||
	    waitpid(s->tid, &status, __WALL) < 0) {
		perror("# ptrace");
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		return -1;
	}
	s->go = 1;
	end = gk_now() + 20 * SEC;
	for (; !s->ended && gk_now() < end; count++) {
		if (ptrace(PTRACE_SINGLESTEP, s->tid, NULL, sig) < 0 || waitpid(s->tid, &status, __WALL) < 0 ||
		    !WIFSTOPPED(status))
			break;
		sig = WSTOPSIG(status) == SIGTRAP || status >> 16 ? 0 : WSTOPSIG(status);
	}
	calls = s->calls;
	ptrace(PTRACE_DETACH, s->tid, NULL, 0);
	waitpid(child, &status, 0);
	fprintf(stderr, "# %d calls in %ld steps, status %x\n", calls, count, status);
	munmap(s, 4096);
	return status ? -1 : calls;
}

TEST(a_stepped_worker_gets_on)
{
	/* All 120 of them, but where a step takes milliseconds. */
	EXPECT_GE(steps(0), 1);
}

/* With the module a stopped worker is a blocked one, and another goes on with its tasks. */
TEST(a_stepped_worker_gets_on_among_others)
{
	if (!getenv("GK_KMOD") || strcmp(getenv("GK_KMOD"), "off"))
		SKIP(return, "with the monitor only");
	EXPECT_GE(steps(2), 1);
}

/* ---- no sequences ------------------------------------------------------------------------------------------------ */

static int runs(void *arg)
{
	return traffic(200 * MS);
}

TEST(glibc_was_told_to_register_none)
{
	const char *tunables = getenv("GLIBC_TUNABLES");

	if (!tunables || !strstr(tunables, "rseq=0"))
		SKIP(return, "it was not");
	EXPECT_EQ(0, __rseq_size);
	EXPECT_EQ(0, lib_run(2, runs, NULL));
}

TEST_HARNESS_MAIN
