// SPDX-License-Identifier: GPL-2.0-only
/*
 * context.c - what belongs to a task stays its own: errno, the FP control words, registers, its thread if it is pinned.
 *
 * The Makefile builds it a second time with link-time optimisation, over libgk too: compilers keep the address of errno.
 */
#include "lib.h"
#include <fenv.h>
#include <math.h>

static gk_wg wg;
static atomic_int moved;

/* Fills errno, gives way, and finds it as it was; in the same function, where a compiler may keep its address. */
static __attribute__((noinline)) void errno_over_calls(int mine, int how)
{
	pid_t tid = syscall(SYS_gettid);
	gk_task *t;
	long v = 0;

	errno = mine;
	switch (how) {
	case 0:
		gk_yield();
		break;
	case 1:
		gk_sleep(100000);
		break;
	case 2:
		gk_wg_add(&wg, 1);
		gk_wg_done(&wg);
		break;
	case 3:
		gk_chan_try_recv(NULL, &v);
		gk_yield();
		break;
	}
	CHECK_EQ(mine, errno);
	errno = 0;
	if (close(-1) < 0)
		CHECK_EQ(EBADF, errno);
	errno = mine;
	if (how == 1 && gk_spawn(&t, NULL, lib_yield, NULL) == 0) {
		CHECK_EQ(mine, errno);
		gk_join(t);
	}
	CHECK_EQ(mine, errno);
	if (syscall(SYS_gettid) != tid)
		atomic_fetch_add(&moved, 1);
}

static void keeps_errno(void *arg)
{
	int i, n = lib_count(300);

	CHECK_EQ(0, errno);
	for (i = 0; i < n; i++) {
		errno_over_calls((long)arg + 1, i % 4);
		if (i % 100 == 7) {
			errno = (long)arg + 1;
			/* The worker blocks, others run on another thread, and they go on in either. */
			if (usleep(100))
				errno = (long)arg + 1;	/* without the module a preemption may end it */
			gk_yield();
			CHECK_EQ((long)arg + 1, errno);
		}
	}
	gk_wg_done(&wg);
}

static int errno_kept(void *arg)
{
	long i;

	gk_wg_add(&wg, 16);
	for (i = 0; i < 16; i++)
		gk_go(keeps_errno, (void *)(i + 200));
	gk_wg_wait(&wg);
	return 0;
}

TEST(errno_is_the_tasks_own)
{
	EXPECT_EQ(0, lib_run(1, errno_kept, NULL));
	EXPECT_EQ(0, lib_run(2, errno_kept, NULL));
	EXPECT_NE(0, moved) TH_LOG("no task ever moved: this showed nothing");
}

/* One loop with nothing but errno and a yield: the compiler would hoist the address out of it. */
static atomic_int jumps;

static void hoists(void *arg)
{
	int i, mine = (long)arg, n = lib_count(4000);
	pid_t tid = syscall(SYS_gettid), now;

	for (i = 0; i < n; i++) {
		errno = mine;
		gk_yield();
		if (errno != mine) {
			CHECK_EQ(mine, errno);
			break;
		}
		now = syscall(SYS_gettid);
		if (now != tid)
			atomic_fetch_add(&jumps, 1);
		tid = now;
	}
	gk_wg_done(&wg);
}

static int hoisted(void *arg)
{
	long i;

	gk_wg_add(&wg, 12);
	for (i = 0; i < 12; i++)
		gk_go(hoists, (void *)(i + 100));
	gk_wg_wait(&wg);
	return 0;
}

TEST(errno_in_a_loop_of_yields_on_two_cores)
{
	int i;

	for (i = 0; i < 5 && !jumps; i++)
		EXPECT_EQ(0, lib_run(2, hoisted, NULL));
	EXPECT_NE(0, jumps) TH_LOG("no task ever moved: this showed nothing");
}

static const int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };

static void keeps_rounding(void *arg)
{
	int mode = modes[(long)arg % 4], i, n = lib_count(200);
	uint32_t mxcsr;
	volatile double one = 1, three = 3;
	double first;
	volatile long double lone = 1, lthree = 3;
	long double lfirst;

	fesetround(mode);
	first = one / three;
	lfirst = lone / lthree;
	for (i = 0; i < n; i++) {
		gk_yield();
		CHECK_EQ(mode, fegetround());
		CHECK(first == one / three);
		CHECK(lfirst == lone / lthree);
	}
	__asm__ __volatile__("stmxcsr %0" : "=m"(mxcsr));
	CHECK_EQ((mxcsr >> 13 & 3) << 10, mode);
	gk_wg_done(&wg);
}

static void sees_the_default(void *arg)
{
	CHECK_EQ(FE_TONEAREST, fegetround());
	gk_wg_done(&wg);
}

GK_TEST(the_rounding_mode_is_the_tasks_own, 2)
{
	long i;

	gk_wg_add(&wg, 40);
	for (i = 0; i < 20; i++) {
		gk_go(keeps_rounding, (void *)i);
		gk_go(sees_the_default, NULL);
	}
	gk_wg_wait(&wg);
	CHECK_EQ(FE_TONEAREST, fegetround());
	return 0;
}

static int (*yield)(void) = gk_yield;

/* rbx, rbp, r12 to r15 over a yield that goes to tasks with other values in them. */
static long regs_over_yield(long seed)
{
	long bad = 0;

	__asm__ __volatile__(
		"pushq %%rbp\n\t"
		"subq $136, %%rsp\n\t"
		"movq %1, 0(%%rsp)\n\t"
		"leaq 1(%1), %%rbx\n\t"
		"leaq 2(%1), %%rbp\n\t"
		"leaq 3(%1), %%r12\n\t"
		"leaq 4(%1), %%r13\n\t"
		"leaq 5(%1), %%r14\n\t"
		"leaq 6(%1), %%r15\n\t"
		"movq %%rsp, 8(%%rsp)\n\t"
		"call *%2\n\t"
		"xorl %%eax, %%eax\n\t"
		"movq 0(%%rsp), %%rcx\n\t"
		"subq %%rcx, %%rbx\n\t"
		"cmpq $1, %%rbx\n\t"
		"setne %%al\n\t"
		"subq %%rcx, %%rbp\n\t"
		"cmpq $2, %%rbp\n\t"
		"setne %%dl\n\t"
		"orb %%dl, %%al\n\t"
		"subq %%rcx, %%r12\n\t"
		"cmpq $3, %%r12\n\t"
		"setne %%dl\n\t"
		"orb %%dl, %%al\n\t"
		"subq %%rcx, %%r13\n\t"
		"cmpq $4, %%r13\n\t"
		"setne %%dl\n\t"
		"orb %%dl, %%al\n\t"
		"subq %%rcx, %%r14\n\t"
		"cmpq $5, %%r14\n\t"
		"setne %%dl\n\t"
		"orb %%dl, %%al\n\t"
		"subq %%rcx, %%r15\n\t"
		"cmpq $6, %%r15\n\t"
		"setne %%dl\n\t"
		"orb %%dl, %%al\n\t"
		"cmpq %%rsp, 8(%%rsp)\n\t"
		"setne %%dl\n\t"
		"orb %%dl, %%al\n\t"
		"addq $136, %%rsp\n\t"
		"popq %%rbp\n\t"
		"movzbl %%al, %%eax"
		: "=&a"(bad)
		: "S"(seed), "m"(yield)
		: "rbx", "rcx", "rdx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
	return bad;
}

static void keeps_registers(void *arg)
{
	int i, n = lib_count(400);

	for (i = 0; i < n; i++)
		CHECK_EQ(0, regs_over_yield((long)arg * 1000003 + i));
	gk_wg_done(&wg);
}

GK_TEST(callee_saved_registers_are_kept, 2)
{
	long i;

	gk_wg_add(&wg, 10);
	for (i = 0; i < 10; i++)
		gk_go(keeps_registers, (void *)i);
	gk_wg_wait(&wg);
	return 0;
}

/* Preempted in the middle of arithmetic in all kinds of registers, which goes on as if nothing had been. */
static uint64_t mix(uint64_t v, int depth)
{
	volatile double d = v % 1000;
	uint64_t a = v * 0x9e3779b97f4a7c15ull;

	if (depth)
		a ^= mix(a + depth, depth - 1);
	return a + (uint64_t)sqrt(d * d + 0.25);
}

static uint64_t a_long_computation(long seed)
{
	uint64_t v = seed;
	int i;

	for (i = 0; i < 4000; i++)
		v = mix(v + i, i % 100);
	return v;
}

static uint64_t expected[4];

/* Until there were as many preemptions as make a test; without the module, who came back from a block is not preempted. */
static void computes(void *arg)
{
	long i, k = (long)arg;

	for (i = 0; i < lib_count(60) && lib_stats().preempts < lib_count(100); i++)
		CHECK_EQ(expected[k % 4], a_long_computation(k % 4));
	gk_wg_done(&wg);
}

TEST(a_preempted_recursion_comes_out_right)
{
	int preempted(void *arg);
	long i;

	setenv("GK_SLICE_US", "1000", 1);
	for (i = 0; i < 4; i++)
		expected[i] = a_long_computation(i);
	EXPECT_EQ(0, lib_run(1, preempted, NULL));
	EXPECT_EQ(0, lib_run(2, preempted, NULL));
}

int preempted(void *arg)
{
	long i;

	gk_wg_add(&wg, 8);
	for (i = 0; i < 8; i++)
		gk_go(computes, (void *)i);
	gk_wg_wait(&wg);
	CHECK(lib_stats().preempts > 0);
	return 0;
}

static void stays_on_its_thread(void *arg)
{
	pid_t tid = syscall(SYS_gettid);
	int i;

	if (arg)
		gk_pin();
	for (i = 0; i < 200; i++) {
		switch (i % 5) {
		case 0:
			gk_yield();
			break;
		case 1:
			gk_sleep(50000);
			break;
		case 2:
			usleep(50);
			break;
		case 3:
			gk_chan_try_recv(NULL, NULL);
			break;
		case 4:
			lib_burn(20000);
			break;
		}
		CHECK_EQ(tid, syscall(SYS_gettid));
	}
	if (arg)
		CHECK_EQ(0, gk_unpin());
	gk_wg_done(&wg);
}

GK_TEST(a_pinned_task_stays_on_its_thread, 2)
{
	struct gk_attr attr = { .flags = GK_PINNED };
	long i;

	gk_wg_add(&wg, 20);
	for (i = 0; i < 10; i++) {
		CHECK_EQ(0, gk_spawn(NULL, &attr, stays_on_its_thread, NULL));
		CHECK_EQ(0, gk_go(stays_on_its_thread, &wg));
	}
	gk_wg_wait(&wg);
	CHECK_EQ(-EINVAL, gk_unpin());
	CHECK_EQ(0, gk_pin());
	CHECK_EQ(0, gk_pin());
	CHECK_EQ(0, gk_unpin());
	CHECK_EQ(0, gk_unpin());
	CHECK_EQ(-EINVAL, gk_unpin());
	return 0;
}

static void joins_and_locks(void *arg)
{
	static gk_mutex m;
	pid_t tid = syscall(SYS_gettid);
	gk_task *t;
	int i;

	for (i = 0; i < 100; i++) {
		gk_spawn(&t, NULL, lib_yield, NULL);
		gk_mutex_lock(&m);
		gk_yield();
		gk_mutex_unlock(&m);
		gk_join(t);
		CHECK_EQ(tid, syscall(SYS_gettid));
	}
	gk_wg_done(&wg);
}

static void done(void *arg)
{
	gk_wg_done(arg);
}

GK_TEST(pinned_tasks_wait_for_each_other, 2)
{
	struct gk_attr attr = { .flags = GK_PINNED };
	int i;

	gk_wg_add(&wg, 10);
	for (i = 0; i < 10; i++)
		gk_spawn(NULL, i % 3 ? &attr : NULL, i % 3 ? joins_and_locks : done, &wg);
	gk_wg_wait(&wg);
	return 0;
}

TEST_HARNESS_MAIN
