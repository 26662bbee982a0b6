// SPDX-License-Identifier: GPL-2.0-only
/*
 * icount.c - how many instructions the paths through the kernel and gk.ko take. For a guest with qemu/run --icount: there the
 * time stamp counter counts instructions, and what it says is the same each time.
 *
 *   icount [SETTLE_SECONDS]
 *
 * Each figure is from a user instruction to another one. "Split" figures come from the kernel's trace points, one of them
 * enabled at a time; each is late by what it takes to note it, some 100 to 300 instructions.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/gk.h>

#include "bench.h"

#define N	300
#define CUT	20		/* the first of them, in which caches of all kinds fill */
#define TRACING	"/sys/kernel/tracing/"

static inline uint64_t tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (uint64_t)hi << 32 | lo;
}

static inline long sys3(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return ret;
}

/* ---- samples */

struct series {
	unsigned int n;
	uint64_t from[N], to[N];
};

static void sample(struct series *s, uint64_t from, uint64_t to)
{
	if (s->n < N) {
		s->from[s->n] = from;
		s->to[s->n++] = to;
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void show_values(const char *name, uint64_t *v, unsigned int n)
{
	if (!n) {
		printf("%-68s        -\n", name);
		return;
	}
	qsort(v, n, sizeof(*v), by_value);
	printf("%-68s %8lu %8lu %8lu %4u\n", name, v[n / 2], v[0], v[n - 1], n);
	fflush(stdout);
}

static void show(const char *name, struct series *s)
{
	uint64_t v[N];
	unsigned int i, n = 0;

	for (i = CUT; i < s->n; i++)
		v[n++] = s->to[i] - s->from[i];
	show_values(name, v, n);
}

/* ---- threads */

static void start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	cpu_set_t set;
	pthread_attr_t attr;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	if (pthread_create(t, &attr, fn, arg))
		die("pthread_create");
	pthread_attr_destroy(&attr);
}

static void both(void *(*a)(void *), void *(*b)(void *))
{
	pthread_t ta, tb;

	start(&ta, a, NULL);
	start(&tb, b, NULL);
	pthread_join(ta, NULL);
	pthread_join(tb, NULL);
}

static int pipe_a[2], pipe_b[2];
static volatile uint64_t stamp;
static volatile bool finished;
static struct series first, second, third;
static char byte;

static void reset(void)
{
	first.n = second.n = third.n = 0;
	stamp = 0;
	finished = false;
}

/* ---- a call that does not block */

static void calls(const char *name)
{
	struct series *s = &first;
	unsigned int i, j;
	uint64_t v[N], t;

	reset();
	for (i = 0; i < N; i++) {
		t = tsc();
		for (j = 0; j < 100; j++)
			sys3(SYS_getppid, 0, 0, 0);
		sample(s, t, tsc());
	}
	for (i = 0; i < N - CUT; i++)
		v[i] = (s->to[i + CUT] - s->from[i + CUT]) / 100;
	show_values(name, v, N - CUT);
}

static void *calls_thread(void *arg)
{
	calls("getppid in a thread");
	return NULL;
}

static int calls_main(void *arg)
{
	calls(!strcmp(gk_backend(), "gk.ko") ? "getppid in a task, gk.ko" : "getppid in a task, no module");
	return 0;
}

/* ---- plain threads: a switch */

static void *yielder(void *arg)
{
	unsigned int i;

	nap(10000000);
	for (i = 0; i < N; i++) {
		uint64_t old = stamp;

		if (old)
			sample(&first, old, tsc());
		stamp = tsc();
		sys3(SYS_sched_yield, 0, 0, 0);
	}
	stamp = 0;
	return NULL;
}

static void *blocker(void *arg)
{
	unsigned int i;

	for (i = 0; i < N; i++) {
		stamp = tsc();
		sys3(SYS_read, pipe_a[0], (long)&byte, 1);
	}
	finished = true;
	return NULL;
}

static void *runnable(void *arg)
{
	uint64_t seen = 0;

	while (!finished) {
		uint64_t s = stamp, t = tsc();

		if (s == seen)
			continue;
		seen = s;
		sample(&first, s, t);
		sys3(SYS_write, pipe_a[1], (long)&byte, 1);
	}
	return NULL;
}

static void *ping(void *arg)
{
	unsigned int i;

	for (i = 0; i < N; i++) {
		stamp = tsc();
		sys3(SYS_write, pipe_a[1], (long)&byte, 1);
		sys3(SYS_read, pipe_b[0], (long)&byte, 1);
	}
	return NULL;
}

static void *pong(void *arg)
{
	unsigned int i;

	for (i = 0; i < N; i++) {
		sys3(SYS_read, pipe_a[0], (long)&byte, 1);
		sample(&first, stamp, tsc());
		sys3(SYS_write, pipe_b[1], (long)&byte, 1);
	}
	return NULL;
}

static volatile uint64_t woke, sleeps;

static void *sleeper(void *arg)
{
	unsigned int i;

	for (i = 0; i < N; i++) {
		nap(1000000);
		woke = tsc();
		sleeps = woke;
	}
	nap(1000000);
	finished = true;
	return NULL;
}

static void *spinner(void *arg)
{
	uint64_t last = tsc(), seen = 0, t;

	while (!finished) {
		t = tsc();
		if (sleeps != seen) {
			seen = sleeps;
			/* Preempted behind the clock's reading, not before it. */
			if (t < seen) {
				last = t;
				t = tsc();
			}
			sample(&first, last, t);
			sample(&second, last, woke);
			sample(&third, seen, t);
		}
		last = t;
	}
	return NULL;
}

/* ---- workers, by the raw ABI */

static int fd;
static char *map;
static struct gk_setup setup;
static struct gk_core_page *core;

static bool group(unsigned int bound, uint64_t slice)
{
	uint32_t cpu = 0;

	fd = open("/dev/gk", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	setup = (struct gk_setup){
		.size = sizeof(setup), .ncores = 1, .max_workers = 8, .cpus = (uintptr_t)&cpu,
		.slice_ns = slice, .bound = bound, .manager_fd = -1,
	};
	if (ioctl(fd, GK_IOC_SETUP, &setup))
		die("GK_IOC_SETUP: %m");
	map = mmap(NULL, setup.map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		die("mmap: %m");
	core = (void *)(map + setup.core_off);
	reset();
	return true;
}

static void group_end(void)
{
	munmap(map, setup.map_size);
	close(fd);
}

static unsigned int enter(void)
{
	struct gk_enter e = { .size = sizeof(e) };

	if (ioctl(fd, GK_IOC_ENTER, &e))
		die("GK_IOC_ENTER: %m");
	return e.id;
}

static struct gk_worker_page *page_of(unsigned int id)
{
	return (void *)(map + setup.worker_off + id * setup.worker_stride);
}

static long park(enum gk_park how)
{
	return sys3(SYS_ioctl, fd, GK_IOC_PARK, how);
}

static void push(void)
{
	WRITE_ONCE(core->q_tail, core->q_tail + 1);
}

static bool take(void)
{
	if (READ_ONCE(core->q_head) == READ_ONCE(core->q_tail))
		return false;
	WRITE_ONCE(core->q_head, core->q_head + 1);
	return true;
}

static volatile unsigned int blocker_id;
static bool by_sleep;
static unsigned int turns;

/* The threads' pairs once more, as workers that both run. */
static void *raw_blocker_beside(void *arg)
{
	void *ret;

	enter();
	while (READ_ONCE(((struct gk_group_page *)map)->nworkers) != 2)
		nap(1000000);
	ret = blocker(arg);
	ioctl(fd, GK_IOC_EXIT, 0);
	return ret;
}

static void *raw_runnable(void *arg)
{
	void *ret;

	enter();
	ret = runnable(arg);
	ioctl(fd, GK_IOC_EXIT, 0);
	return ret;
}

static void *raw_sleeper(void *arg)
{
	enter();
	sleeper(arg);
	ioctl(fd, GK_IOC_EXIT, 0);
	return NULL;
}

static void *raw_spinner(void *arg)
{
	enter();
	spinner(arg);
	ioctl(fd, GK_IOC_EXIT, 0);
	return NULL;
}

/* Blocks while a task is queued; comes back when the other has parked, by a grant. */
static void *raw_blocker(void *arg)
{
	struct timespec t = { .tv_nsec = 2000000 };
	uint64_t granted;
	unsigned int i;

	blocker_id = enter();
	while (READ_ONCE(core->nstandby) != 1)
		nap(1000000);
	for (i = 0; i < turns; i++) {
		push();
		stamp = tsc();
		if (by_sleep)
			sys3(SYS_nanosleep, (long)&t, 0, 0);
		else
			sys3(SYS_read, pipe_a[0], (long)&byte, 1);
		granted = tsc();
		sample(&second, woke, granted);
	}
	finished = true;
	push();
	ioctl(fd, GK_IOC_EXIT, 0);
	return NULL;
}

static void *raw_standby(void *arg)
{
	uint64_t t;

	enter();
	while (!finished) {
		woke = tsc();
		park(GK_PARK_STANDBY);
		t = tsc();
		if (!take() || finished)
			continue;
		sample(&first, stamp, t);
		if (!by_sleep)
			sys3(SYS_write, pipe_a[1], (long)&byte, 1);
		/* Woken over the bound: it parks before it gets to user mode. */
		while (READ_ONCE(page_of(blocker_id)->state) != GK_W_READY)
			__asm__ volatile("");
	}
	ioctl(fd, GK_IOC_EXIT, 0);
	return NULL;
}

static void *raw_yielder(void *arg)
{
	unsigned int i;

	enter();
	while (READ_ONCE(((struct gk_group_page *)map)->nworkers) != 2)
		nap(1000000);
	for (i = 0; i < N; i++) {
		uint64_t old = stamp;

		if (old)
			sample(&first, old, tsc());
		stamp = tsc();
		park(GK_PARK_READY);
	}
	stamp = 0;
	ioctl(fd, GK_IOC_EXIT, 0);
	return NULL;
}

static volatile uint64_t ran_from, ran_to;

/* Each turn of its loop notes the time: one lasted as long as it was preempted. */
static void *raw_hog(void *arg)
{
	uint64_t last, t, seen = 0;
	unsigned int i;

	enter();
	while (READ_ONCE(core->nstandby) != 1)
		nap(1000000);
	for (i = 0; i < turns; i++) {
		push();
		if (!READ_ONCE(core->armed))
			ioctl(fd, GK_IOC_ARM, 0);
		t = tsc();
		do {
			last = t;
			t = tsc();
		} while (ran_to == seen);
		seen = ran_to;
		/* Preempted behind the clock's reading, not before it. */
		if (t < seen) {
			last = t;
			t = tsc();
		}
		sample(&first, last, t);
		sample(&second, last, ran_from);
		sample(&third, seen, t);
	}
	finished = true;
	push();
	ioctl(fd, GK_IOC_EXIT, 0);
	return NULL;
}

static void *raw_guest(void *arg)
{
	uint64_t t;

	enter();
	while (!finished) {
		park(GK_PARK_STANDBY);
		t = tsc();
		if (!take())
			continue;
		ran_from = t;
		ran_to = tsc();
	}
	ioctl(fd, GK_IOC_EXIT, 0);
	return NULL;
}

static void block_and_grant(unsigned int n)
{
	if (!group(1, NSEC))
		return;
	turns = n;
	both(raw_standby, raw_blocker);
	group_end();
}

static void preempt(unsigned int n)
{
	if (!group(0, 1000000))
		return;
	ran_to = 0;
	turns = n;
	both(raw_guest, raw_hog);
	group_end();
}

/*
 * Threads that start from now on are in a scheduling group of their session's, as sched(7) describes, or in none: each level of groups
 * costs the scheduler at every wake-up and sleep. cgroups with the cpu controller are the same.
 */
static bool autogroup(bool on)
{
	int f = open("/proc/sys/kernel/sched_autogroup_enabled", O_WRONLY | O_CLOEXEC);
	bool done = f >= 0 && write(f, on ? "1" : "0", 1) == 1;

	if (f >= 0)
		close(f);
	return done;
}

/* ---- libgk */

static gk_chan *chan;
static gk_wg wg;

static void task_blocks(void *arg)
{
	unsigned int i;

	for (i = 0; i < N; i++) {
		gk_chan_send(chan, &byte);
		stamp = tsc();
		sys3(SYS_read, pipe_a[0], (long)&byte, 1);
	}
	gk_wg_done(&wg);
}

static void task_waits(void *arg)
{
	char c;
	unsigned int i;

	for (i = 0; i < N; i++) {
		gk_chan_recv(chan, &c);
		sample(&first, stamp, tsc());
		sys3(SYS_write, pipe_a[1], (long)&byte, 1);
	}
	gk_wg_done(&wg);
}

static int block_main(void *arg)
{
	chan = gk_chan_new(1, 1);
	gk_wg_add(&wg, 2);
	gk_go(task_waits, NULL);
	gk_go(task_blocks, NULL);
	gk_wg_wait(&wg);
	return 0;
}

static void task_yields(void *arg)
{
	unsigned int i;

	for (i = 0; i < N; i++) {
		uint64_t old = stamp;

		if (old)
			sample(&first, old, tsc());
		stamp = tsc();
		gk_yield();
	}
	gk_wg_done(&wg);
}

static int yield_main(void *arg)
{
	gk_wg_add(&wg, 2);
	gk_go(task_yields, NULL);
	gk_go(task_yields, NULL);
	gk_wg_wait(&wg);
	return 0;
}

/* ---- trace points */

static void put(const char *file, const char *text)
{
	char path[256];
	int f;

	snprintf(path, sizeof(path), TRACING "%s", file);
	f = open(path, O_WRONLY | (text[0] ? 0 : O_TRUNC));
	if (f < 0 || write(f, text, strlen(text)) < 0)
		fprintf(stderr, "%s: %m\n", path);
	if (f >= 0)
		close(f);
}

/* Where in the intervals of @s lies the first (last) event whose line has @text? */
static void show_event(const char *name, struct series *s, const char *text, bool last)
{
	static uint64_t at[100000];
	uint64_t v[N];
	unsigned int i, n = 0, m = 0;
	char line[512], *p;
	FILE *f = fopen(TRACING "trace", "re");

	while (f && n < 100000 && fgets(line, sizeof(line), f)) {
		p = strstr(line, text);
		/* "task-pid [cpu] flags STAMP: event: ..." */
		p = p ? strstr(line, ": ") : NULL;
		if (!p || line[0] == '#')
			continue;
		while (p > line && p[-1] >= '0' && p[-1] <= '9')
			p--;
		at[n++] = strtoull(p, NULL, 10);
	}
	if (f)
		fclose(f);
	for (i = CUT; i < s->n; i++) {
		uint64_t hit = 0;
		unsigned int j;

		for (j = 0; j < n; j++)
			if (at[j] > s->from[i] && at[j] < s->to[i] && (last || !hit))
				hit = at[j] - s->from[i];
		if (hit)
			v[m++] = hit;
	}
	show_values(name, v, m);
}

static void split(void (*run)(unsigned int), struct series *s, const char *event, const char *text, const char *name, bool last)
{
	char file[128];

	snprintf(file, sizeof(file), "events/%s/enable", event);
	put("trace", "");
	put(file, "1");
	run(100);
	put(file, "0");
	show_event(name, s, text, last);
}

int main(int argc, char **argv)
{
	cpu_set_t set;
	pthread_t t;
	bool have;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
	nap((argc > 1 ? atoi(argv[1]) : 8) * NSEC);
	if (pipe(pipe_a) || pipe(pipe_b))
		die("pipe: %m");
	have = !access("/dev/gk", R_OK | W_OK);

	printf("%-68s %8s %8s %8s %4s\n", "instructions", "median", "min", "max", "n");
	start(&t, calls_thread, NULL);
	pthread_join(t, NULL);
	setenv("GK_KMOD", "off", 1);
	gk_run(calls_main, NULL);
	if (have) {
		setenv("GK_KMOD", "require", 1);
		gk_run(calls_main, NULL);
	}

	puts("\nthreads, without gk");
	reset();
	both(yielder, yielder);
	show("  sched_yield to the other's first instruction", &first);
	reset();
	both(runnable, blocker);
	show("  read() that blocks to the first of a runnable thread", &first);
	reset();
	both(pong, ping);
	show("  write() that wakes, to the first of the woken thread", &first);
	reset();
	both(spinner, sleeper);
	show("  a hog preempted by a sleeper: gap", &first);
	show("    its last to the woken thread's first", &second);
	show("    that one's next sleep to the hog's next", &third);
	if (!have) {
		puts("\nno /dev/gk, the rest is skipped");
		return 0;
	}

	puts("\ngk.ko, by the raw ABI");
	group(0, NSEC);
	both(raw_runnable, raw_blocker_beside);
	group_end();
	show("  read() that blocks to the first of a worker that runs beside", &first);
	group(0, NSEC);
	both(raw_spinner, raw_sleeper);
	group_end();
	show("  a hog preempted by a worker that slept: gap", &first);
	show("    its last to the woken worker's first", &second);
	show("    that one's next sleep to the hog's next", &third);
	block_and_grant(N);
	show("  read() that blocks to the next STANDBY's first", &first);
	show("  grant (PARK_STANDBY) to the READY worker's first", &second);
	by_sleep = true;
	block_and_grant(N);
	show("  nanosleep() to the next STANDBY's first", &first);
	show("  grant (PARK_STANDBY) to the READY worker's first, after nanosleep", &second);
	by_sleep = false;
	group(0, NSEC);
	both(raw_yielder, raw_yielder);
	group_end();
	show("  PARK_READY to the other READY worker's first", &first);
	preempt(N);
	show("  a hog preempted for one task and resumed: gap", &first);
	show("    its last to the STANDBY's first", &second);
	show("    that one's PARK_STANDBY to the hog's next", &third);

	if (autogroup(false)) {
		puts("\nin the scheduler's root group (no autogroup)");
		reset();
		both(spinner, sleeper);
		show("  threads: a hog preempted by a sleeper: gap", &first);
		preempt(N);
		show("  gk.ko: a hog preempted for one task and resumed: gap", &first);
		show("    its last to the STANDBY's first", &second);
		show("    that one's PARK_STANDBY to the hog's next", &third);
		autogroup(true);
	}

	if (getenv("GK_BENCH_SHORT"))
		return 0;
	puts("\nlibgk");
	setenv("GK_CORES", "1", 1);
	reset();
	gk_run(block_main, NULL);
	show("  a task's read() that blocks to the next task's first, gk.ko", &first);
	reset();
	gk_run(yield_main, NULL);
	show("  gk_yield to the next task's first, gk.ko", &first);
	setenv("GK_KMOD", "off", 1);
	reset();
	gk_run(yield_main, NULL);
	show("  gk_yield to the next task's first, no module", &first);

	if (access(TRACING "trace", R_OK | W_OK))
		return 0;
	put("trace_clock", "x86-tsc");
	puts("\nsplit: read() that blocks, from its call to");
	split(block_and_grant, &first, "raw_syscalls/sys_enter", "NR 0 ", "  the kernel's entry", false);
	split(block_and_grant, &first, "sched/sched_switch", "sched_switch", "  the switch away from it", false);
	split(block_and_grant, &first, "irq_vectors/irq_work_entry", "irq_work_entry", "  irq_work begins", false);
	split(block_and_grant, &first, "sched/sched_waking", "sched_waking", "  the STANDBY is being woken", false);
	split(block_and_grant, &first, "irq_vectors/irq_work_exit", "irq_work_exit", "  irq_work ends", false);
	split(block_and_grant, &first, "sched/sched_switch", "sched_switch", "  the switch to the STANDBY", true);
	puts("split: grant, from the call of PARK_STANDBY to");
	split(block_and_grant, &second, "raw_syscalls/sys_enter", "NR 16 ", "  the kernel's entry", false);
	split(block_and_grant, &second, "sched/sched_waking", "sched_waking", "  the READY worker is being woken", false);
	split(block_and_grant, &second, "sched/sched_switch", "sched_switch", "  the switch to it", true);
	puts("split: preempt and resume, from the hog's last instruction to");
	split(preempt, &first, "irq_vectors/local_timer_entry", "local_timer_entry", "  the timer interrupt", false);
	split(preempt, &first, "timer/hrtimer_expire_entry", "core_timer", "  gk.ko's timer function", false);
	split(preempt, &first, "sched/sched_waking", "sched_waking", "  the STANDBY is being woken", false);
	split(preempt, &first, "irq_vectors/local_timer_exit", "local_timer_exit", "  the end of the interrupt", false);
	split(preempt, &first, "sched/sched_switch", "sched_switch", "  the switch to the STANDBY", false);
	split(preempt, &first, "raw_syscalls/sys_enter", "NR 16 ", "  the STANDBY's next PARK_STANDBY", false);
	split(preempt, &first, "sched/sched_waking", "sched_waking", "  the hog is being woken", true);
	split(preempt, &first, "sched/sched_switch", "sched_switch", "  the switch to the hog", true);
	return 0;
}
