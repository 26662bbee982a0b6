// SPDX-License-Identifier: GPL-2.0-only
/* dump.c - the deadlock report, gk_dump(), SIGQUIT, the leak report, the warning of hogs. GO.md has the origins. */
#include "lib.h"

#define DEADLOCK	"gk: all tasks are asleep - deadlock!\n"

static char text[1 << 18];

static const char *dump(void)
{
	int fd = memfd_create("dump", 0);
	ssize_t n;

	CHECK_EQ(0, gk_dump(fd));
	n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = 0;
	close(fd);
	return text;
}

static void dump_here(void *arg)
{
	dump();
}

static int count(const char *in, const char *what)
{
	int n = 0;

	for (; (in = strstr(in, what)); in++)
		n++;
	return n;
}

static void waits_for_ever(void *arg)
{
	gk_chan_recv(NULL, NULL);
	CHECK(0);
}

static void named(const char *name, unsigned int flags, void (*fn)(void *), void *arg)
{
	struct gk_attr attr = { .name = name, .flags = flags };

	CHECK_EQ(0, gk_spawn(NULL, &attr, fn, arg));
}

/* Runs a program on so many cores; its stderr is in `text`. Returns its exit status, or -1. */
static int program(int cores, int (*fn)(void *), void *arg)
{
	int status;

	gk_set_cores(cores);
	/* Shells have their background jobs ignore it. */
	signal(SIGQUIT, SIG_DFL);
	status = lib_child(fn, arg, text, sizeof(text));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define PROGRAM(name, ...)								\
	static int name##_main(void *arg) __VA_ARGS__					\
	static int name(void *arg)							\
	{										\
		int ret = gk_run(name##_main, arg);					\
											\
		return lib_failures ? 99 : ret;						\
	}

/* ---- deadlock ---------------------------------------------------------------------------------------------------- */

PROGRAM(simple, {
	gk_chan_recv(NULL, NULL);
	return 7;
})

TEST(a_main_task_that_waits_for_ever_alone_is_a_deadlock)
{
	int cores;

	for (cores = 1; cores <= 3; cores++) {
		EXPECT_EQ(2, program(cores, simple, NULL));
		EXPECT_EQ(0, strncmp(text, DEADLOCK, strlen(DEADLOCK)));
		EXPECT_NE(NULL, strstr(text, "\ntask 1 'main': chan of NULL, for ever"));
		/* the runtime has no tasks of its own */
		EXPECT_EQ(1, count(text, "\ntask "));
		EXPECT_NE(NULL, strstr(text, "simple_main+"));
	}
}

PROGRAM(timers_set_to_never, {
	gk_chan *c = gk_after(GK_FOREVER);
	gk_timer *t = gk_timer_start(GK_FOREVER, lib_yield, NULL);

	CHECK_EQ(0, gk_timer_reset(t, 3600 * SEC));
	CHECK_EQ(1, gk_timer_reset(t, GK_FOREVER));
	gk_chan_recv(c, NULL);
	return 7;
})

TEST(a_timer_that_never_fires_hides_no_deadlock)
{
	int cores;

	for (cores = 1; cores <= 2; cores++) {
		EXPECT_EQ(2, program(cores, timers_set_to_never, NULL));
		EXPECT_EQ(0, strncmp(text, DEADLOCK, strlen(DEADLOCK)));
	}
}

PROGRAM(pinned, {
	gk_pin();
	gk_chan_recv(NULL, NULL);
	return 7;
})

PROGRAM(pinned_other, {
	named("other", GK_PINNED, waits_for_ever, NULL);
	gk_sleep(1 * MS);
	gk_chan_recv(NULL, NULL);
	return 7;
})

TEST(a_pinned_task_that_waits_for_ever_is_a_deadlock)
{
	int cores;

	for (cores = 1; cores <= 3; cores++) {
		EXPECT_EQ(2, program(cores, pinned, NULL));
		EXPECT_NE(NULL, strstr(text, DEADLOCK));
		EXPECT_NE(NULL, strstr(text, "pinned"));
		EXPECT_EQ(2, program(cores, pinned_other, NULL));
		EXPECT_NE(NULL, strstr(text, DEADLOCK));
		EXPECT_EQ(2, count(text, "for ever"));
	}
}

PROGRAM(exits, {
	gk_go(waits_for_ever, NULL);
	gk_go(lib_yield, NULL);
	gk_exit();
})

TEST(a_main_task_that_exits_ends_all_as_one_that_returns)
{
	EXPECT_EQ(0, program(2, exits, NULL));
	EXPECT_EQ(0, strlen(text));
}

GK_TEST(a_task_needs_a_function, 1)
{
	CHECK_EQ(-EINVAL, gk_go(NULL, NULL));
	return 0;
}

GK_TEST(the_main_task_is_number_1, 1)
{
	CHECK_EQ(1, gk_id());
	CHECK(strstr(dump(), "\ntask 1 'main': running"));
	CHECK_EQ(1, count(text, "\ntask "));
	return 0;
}

/* What is no deadlock: a plain call, for a thread or the kernel; a deadline; a timer; a task that computes. */
static int fds[2];

static void *writes_later(void *arg)
{
	usleep(30000);
	if (write(fds[1], "x", 1) != 1)
		abort();
	return NULL;
}

static void burns(void *arg)
{
	lib_burn(20 * MS);
	gk_chan_close(arg);
}

static void closes(void *arg)
{
	gk_chan_close(arg);
}

PROGRAM(no_deadlock, {
	gk_chan *ch = gk_chan_new(0, 0);
	gk_timer *timer;
	pthread_t thread;
	char c;

	CHECK_EQ(0, pipe(fds));
	named("waits", 0, waits_for_ever, NULL);
	named("pinned", GK_PINNED, waits_for_ever, NULL);
	pthread_create(&thread, NULL, writes_later, NULL);
	CHECK_EQ(1, read(fds[0], &c, 1));
	pthread_join(thread, NULL);
	gk_sleep(5 * MS);
	CHECK_EQ(-ETIMEDOUT, gk_chan_recv_until(ch, NULL, gk_now() + 5 * MS));
	timer = gk_timer_start(5 * MS, closes, ch);
	CHECK_EQ(0, gk_chan_recv(ch, NULL));
	gk_timer_stop(timer);
	ch = gk_chan_new(0, 0);
	gk_go(burns, ch);
	CHECK_EQ(0, gk_chan_recv(ch, NULL));
	gk_pin();
	ch = gk_chan_new(0, 0);
	gk_go(burns, ch);
	CHECK_EQ(0, gk_chan_recv(ch, NULL));
	return 5;
})

TEST(what_can_go_on_is_no_deadlock)
{
	int cores, i;

	for (cores = 1; cores <= 3; cores++)
		for (i = 0; i < 3; i++) {
			EXPECT_EQ(5, program(cores, no_deadlock, NULL));
			EXPECT_EQ(0, strlen(text));
		}
}

/*
 * The report is neither early nor forgotten, whatever the last tasks do: each does a number of things that park and wake
 * its worker, then waits for ever. Early: not all had been done. Forgotten: the process does not end.
 */
#define DOERS	6
#define THINGS	40

static atomic_int *things;
static gk_chan *pairs[DOERS / 2];

static void does_things(void *arg)
{
	unsigned int seed = (uintptr_t)arg, i;
	gk_chan *ch = pairs[seed / 2 % (DOERS / 2)];
	bool sends = seed % 2;
	int v = 0;

	for (i = 0; i < THINGS; i++) {
		seed = seed * 1664525 + 1013904223;
		switch (seed >> 28) {
		case 0:
			gk_sleep((seed >> 8) % 200000);
			break;
		case 1:
			gk_yield();
			break;
		case 2:
			usleep((seed >> 8) % 200);
			break;
		case 3:
			gk_pin();
			gk_sleep((seed >> 8) % 100000);
			gk_unpin();
			break;
		default:
			if (seed >> 28 == 4)
				gk_pin();
			CHECK_EQ(sends ? 0 : 1, sends ? gk_chan_send(ch, &v) : gk_chan_recv(ch, &v));
			if (seed >> 28 == 4)
				gk_unpin();
			atomic_fetch_add(things, 1);
			continue;
		}
		i--;
	}
	gk_chan_recv(NULL, NULL);
}

PROGRAM(doers, {
	uintptr_t seed = (uintptr_t)arg & ~1ul;
	long i;

	for (i = 0; i < DOERS / 2; i++)
		pairs[i] = gk_chan_new(sizeof(int), 0);
	for (i = 0; i < DOERS; i++)
		gk_go(does_things, (void *)(seed * DOERS + i));
	gk_chan_recv(NULL, NULL);
	return 7;
})

TEST(the_report_is_neither_early_nor_forgotten)
{
	unsigned long seed = getenv("GK_SEED") ? strtoul(getenv("GK_SEED"), NULL, 0) : time(NULL) ^ getpid();
	int i, cores, status;

	things = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	seed = seed % 100000 * 100;
	printf("# GK_SEED=%lu\n", seed);
	for (i = 0; i < 40; i++) {
		cores = i % 4 + 1;
		*things = 0;
		status = program(cores, doers, (void *)(seed + 2 * i));
		EXPECT_EQ(2, status);
		EXPECT_EQ(DOERS * THINGS, *things);
		EXPECT_EQ(DOERS + 1, count(text, "for ever"));
	}
}

/* ---- gk_dump() --------------------------------------------------------------------------------------------------- */

static gk_mutex mutex;
static gk_wg wg;
static gk_chan *chan;
static int stop;

static __attribute__((noinline)) int deep_in_here(int n)
{
	char page[200];

	memset(page, n, sizeof(page));
	if (!n)
		gk_chan_recv(chan, page);
	else
		deep_in_here(n - 1);
	return page[n];
}

static void holds(void *arg)
{
	gk_mutex_lock(&mutex);
	stop = deep_in_here(3);
	CHECK(0);
}

static void locks(void *arg)
{
	gk_mutex_lock(&mutex);
}

static void waits_for_group(void *arg)
{
	gk_wg_wait(&wg);
}

static void joins(void *arg)
{
	gk_join(arg);
}

static void sends(void *arg)
{
	char page[200] = {};

	gk_chan_send(arg, page);
}

static void sleeps(void *arg)
{
	gk_sleep(1000 * SEC);
}

static void reads(void *arg)
{
	char c;

	while (read(fds[0], &c, 1) < 0)
		;
}

static atomic_int burning;

static void burns_for_ever(void *arg)
{
	burning = 1;
	for (;;)
		__asm__ __volatile__("" ::: "memory");
}

/* Whether the dump has a task of that name, of which it says that. */
static bool says(const char *name, const char *what)
{
	char from[64];
	const char *p, *end, *at;

	snprintf(from, sizeof(from), " '%s': ", name);
	p = strstr(text, from);
	if (!p)
		return false;
	end = strstr(p, "\n\n");
	at = strstr(p, what);
	return at && (!end || at < end);
}

GK_TEST(a_dump_says_of_each_task_what_it_does_and_where, 3)
{
	struct gk_attr attr = { .name = "has its own stack", .stack_size = 100000 }, small = { .stack_size = 16384 };
	gk_task *joined, *t;

	CHECK_EQ(0, pipe(fds));
	chan = gk_chan_new(200, 0);
	gk_wg_add(&wg, 1);
	named("holds", 0, holds, NULL);
	CHECK(WAIT_FOR(mutex.owner));
	named("locks", 0, locks, NULL);
	named("waits", 0, waits_for_group, NULL);
	named("sends", 0, sends, gk_chan_new(200, 0));
	named("sleeps", 0, sleeps, NULL);
	named("reads", 0, reads, NULL);
	named("burns", 0, burns_for_ever, NULL);
	gk_spawn(&joined, &attr, waits_for_ever, NULL);
	named("joins", 0, joins, joined);
	named("pinned", GK_PINNED, waits_for_ever, NULL);
	CHECK(WAIT_FOR(burning));
	CHECK(WAIT_FOR((dump(), says("reads", "in read()") && says("joins", "join of task ") &&
				says("pinned", "for ever") && says("locks", "mutex lock") && says("sleeps", "sleep") &&
				says("waits", "wait group") && says("sends", "chan send") &&
				says("has its own stack", "for ever") && says("holds", "chan receive on 0x"))));
	CHECK(says("main", "this dump"));
	CHECK(says("main", "a_dump_says_of_each_task_what_it_does_and_where_main+"));
	CHECK(says("holds", "deep_in_here+"));
	CHECK(says("holds", "(dump.c:"));
	CHECK(says("holds", "holds+"));
	CHECK(says("locks", "' held by task ") || says("locks", " held by task "));
	CHECK(says("locks", "'holds'"));
	CHECK(says("sends", "sends+"));
	CHECK(says("reads", "reads+"));
	CHECK(says("joins", "'has its own stack'"));
	CHECK(says("has its own stack", "for ever"));
	CHECK(says("pinned", ", pinned"));
	/* where it is depends on who has the CPU, but not what it does there */
	CHECK(WAIT_FOR((dump(), says("burns", "burns_for_ever+"))));
	CHECK(says("burns", "running") || says("burns", "preempted"));
	/* what has ended is not shown, but for its handle */
	gk_spawn(&t, NULL, lib_yield, NULL);
	CHECK(WAIT_FOR(count(dump(), "ended, neither joined nor detached") == 1));
	gk_join(t);
	CHECK_EQ(0, count(dump(), "ended, neither joined nor detached"));
	/* it needs little stack */
	gk_spawn(&t, &small, dump_here, NULL);
	gk_join(t);
	CHECK_EQ(-EBADF, gk_dump(-1));
	return 0;
}

TEST(a_dump_needs_a_runtime)
{
	EXPECT_EQ(-ESRCH, gk_dump(2));
}

static void *dumps(void *arg)
{
	int fd = memfd_create("dump", 0);

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		lseek(fd, 0, SEEK_SET);
		CHECK_EQ(0, gk_dump(fd));
		atomic_fetch_add(things, 1);
	}
	close(fd);
	return NULL;
}

static void is_lively(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	gk_task *t;
	int v = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		seed = seed * 1664525 + 1013904223;
		switch (seed >> 29) {
		case 0:
			gk_sleep((seed >> 8) % 100000);
			break;
		case 1:
			gk_yield();
			break;
		case 2:
			usleep((seed >> 8) % 100);
			break;
		case 3:
			if (!gk_spawn(&t, &(struct gk_attr){ .stack_size = 65536 }, lib_yield, NULL))
				gk_join(t);
			break;
		case 4:
			lib_burn((seed >> 8) % 300000);
			break;
		default:
			gk_chan_send_until(chan, &v, gk_now() + 100000);
			gk_chan_recv_until(chan, &v, gk_now() + 100000);
			break;
		}
	}
	gk_wg_done(&wg);
}

/* Of stacks that change while they are read, threads that come and go, tasks that end. */
static int lively(void *arg)
{
	pthread_t threads[2];
	atomic_int n = 0;
	long i;

	things = &n;
	stop = 0;
	chan = gk_chan_new(sizeof(int), 0);
	gk_wg_add(&wg, 12);
	for (i = 0; i < 12; i++)
		gk_go(is_lively, (void *)(i * 7919));
	for (i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, dumps, NULL);
	for (i = 0; i < 2; i++) {
		gk_sleep(20 * MS);
		dump();
	}
	CHECK(WAIT_FOR(n >= 4));
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	gk_wg_wait(&wg);
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

TEST(a_dump_of_tasks_that_go_on_harms_nobody)
{
	int cores;

	for (cores = 1; cores <= 3; cores++)
		EXPECT_EQ(0, lib_run(cores, lively, NULL));
}

/* ---- SIGQUIT ----------------------------------------------------------------------------------------------------- */

static atomic_int quits;

static void own_handler(int sig)
{
	quits = 1;
}

static void waits_and_sleeps(void)
{
	named("waits", 0, waits_for_ever, NULL);
	named("sleeps", 0, sleeps, NULL);
	CHECK(WAIT_FOR(strstr(dump(), " 'waits': chan of NULL, for ever") && strstr(text, " 'sleeps': sleep")));
}

PROGRAM(quit, {
	struct sigaction sa;

	waits_and_sleeps();
	kill(getpid(), SIGQUIT);
	sigaction(SIGQUIT, NULL, &sa);
	if (sa.sa_handler != own_handler)
		gk_sleep(PATIENCE);
	CHECK(WAIT_FOR(quits));
	return 3;
})

/* Its stderr is a file, so that it sees when it has all been said. */
PROGRAM(quit_and_go_on, {
	int out = dup(2);
	int fd = memfd_create("stderr", 0);
	ssize_t n;

	waits_and_sleeps();
	dup2(fd, 2);
	kill(getpid(), SIGQUIT);
	CHECK(WAIT_FOR(pread(fd, text, 1, 0) == 1));
	/* One dump at a time. */
	dump();
	n = pread(fd, text, sizeof(text), 0);
	CHECK_EQ(n, write(out, text, n));
	dup2(out, 2);
	return 4;
})

static int quit_go_on(void *arg)
{
	setenv("GK_SIGQUIT", "continue", 1);
	return quit_and_go_on(arg);
}

static int quit_off(void *arg)
{
	setenv("GK_SIGQUIT", "off", 1);
	return quit(arg);
}

static int quit_own(void *arg)
{
	signal(SIGQUIT, own_handler);
	return quit(arg);
}

PROGRAM(quit_in_call, {
	char c;

	CHECK_EQ(0, pipe(fds));
	kill(getpid(), SIGQUIT);
	return read(fds[0], &c, 1);
})

TEST(sigquit_dumps_and_ends_the_program)
{
	EXPECT_EQ(2, program(2, quit_in_call, NULL));
	EXPECT_EQ(0, strncmp(text, "gk: SIGQUIT", 11));
	EXPECT_NE(NULL, strstr(text, "quit_in_call_main+"));
	EXPECT_EQ(4, program(2, quit_go_on, NULL));
	EXPECT_NE(NULL, strstr(text, "\ntask 1 'main': "));
	EXPECT_NE(NULL, strstr(text, " 'waits': chan of NULL, for ever"));
	EXPECT_NE(NULL, strstr(text, " 'sleeps': sleep"));
	EXPECT_EQ(-1, program(2, quit_off, NULL));
	EXPECT_EQ(0, strlen(text));
	EXPECT_EQ(3, program(2, quit_own, NULL));
	EXPECT_EQ(0, strlen(text));
}

/* ---- leaks ------------------------------------------------------------------------------------------------------- */

gk_chan *known, *known_too;	/* stores that the compiler must keep */

static void receives_from(void *arg)
{
	gk_chan_recv(arg, NULL);
}

static __attribute__((noinline)) void leak(const char *name, bool keep)
{
	gk_chan *ch = gk_chan_new(0, 0);

	if (keep)
		known = ch;
	named(name, 0, receives_from, ch);
}

static void selects_from(void *arg)
{
	struct gk_case cases[] = { gk_case_recv(arg, NULL), gk_case_recv(NULL, NULL), gk_case_send(arg, NULL) };

	gk_select(cases, 3);
}

static __attribute__((noinline)) void leak_select(const char *name, bool keep)
{
	gk_chan *ch = gk_chan_new(0, 0);

	if (keep)
		known_too = ch;
	named(name, 0, selects_from, ch);
}

static __attribute__((noinline)) void wipe_stack(void)
{
	char page[4096];

	memset(page, 0, sizeof(page));
	__asm__ __volatile__("" ::"r"(page) : "memory");
}

/* "global" could be woken by the sleeper, when it wakes; "lost" by nobody. */
PROGRAM(leaks, {
	gk_task *t;

	leak("lost", false);
	leak("global", true);
	leak_select("selects", false);
	leak_select("selects-global", true);
	gk_spawn(&t, NULL, waits_for_ever, NULL);
	named("joins", 0, joins, t);
	if (arg)
		named("sleeps", 0, sleeps, NULL);
	/* Who is on the way to its wait may run. */
	CHECK(WAIT_FOR((dump(), says("lost", "chan receive on") && says("global", "chan receive on") &&
				says("selects", " select") && says("selects-global", " select") &&
				says("joins", "join of task ") && strstr(text, "for ever"))));
	wipe_stack();
	return 0;
})

static int leaks_on(void *arg)
{
	gk_set_leaks(1);
	return leaks(arg);
}

static int leaks_by_environment(void *arg)
{
	setenv("GK_LEAKS", "1", 1);
	return leaks(arg);
}

static int leaks_off(void *arg)
{
	setenv("GK_LEAKS", "1", 1);
	gk_set_leaks(0);
	return leaks(arg);
}

#define NEVER	"nothing was left that could end this wait"

TEST(tasks_that_still_wait_at_the_end_are_reported_on_request)
{
	EXPECT_EQ(0, program(2, leaks, NULL));
	EXPECT_EQ(0, strlen(text));
	EXPECT_EQ(0, program(2, leaks_off, NULL));
	EXPECT_EQ(0, strlen(text));
	EXPECT_EQ(0, program(2, leaks_by_environment, NULL));
	EXPECT_EQ(6, count(text, NEVER));
	EXPECT_TRUE(says("lost", "chan receive on 0x"));
	EXPECT_TRUE(says("global", "chan receive on 0x"));
	EXPECT_TRUE(says("joins", "join of task "));
	/* one that sleeps may go on, and can reach what is global */
	EXPECT_EQ(0, program(2, leaks_on, (void *)1));
	EXPECT_TRUE(says("lost", NEVER));
	EXPECT_TRUE(says("joins", NEVER));
	EXPECT_TRUE(says("selects", NEVER));
	EXPECT_FALSE(says("global", NEVER));
	EXPECT_FALSE(says("selects-global", NEVER));
	EXPECT_EQ(4, count(text, NEVER));
	EXPECT_EQ(2, count(text, "something may run that could end this wait"));
}

/* ---- hogs -------------------------------------------------------------------------------------------------------- */

static uint64_t cpu_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * SEC + ts.tv_nsec;
}

static __attribute__((noinline)) void hogs_the_core(bool yields)
{
	uint64_t end = cpu_time() + 200 * MS;

	while (cpu_time() < end)
		if (yields)
			gk_yield();
}

PROGRAM(hog, {
	/* pinned: its time is its thread's; and another to which yields switch */
	gk_pin();
	hogs_the_core(arg != NULL);
	return 0;
})

static int hog_watched(void *arg)
{
	setenv("GK_WARN_HOG_MS", "50", 1);
	return hog(arg);
}

TEST(a_task_that_keeps_its_core_is_named_on_request)
{
	EXPECT_EQ(0, program(1, hog, NULL));
	EXPECT_EQ(0, strlen(text));
	EXPECT_EQ(0, program(1, hog_watched, NULL));
	EXPECT_EQ(1, count(text, "gk: task 1 'main' has kept core 0 for "));
	EXPECT_NE(NULL, strstr(text, "hogs_the_core+"));
	EXPECT_NE(NULL, strstr(text, "hog_main+"));
}

TEST_HARNESS_MAIN
