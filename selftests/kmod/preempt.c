// SPDX-License-Identifier: GPL-2.0-only
/*
 * preempt.c - the slice: a hog gives way when work waits, with its registers intact, and is left alone when none does.
 *
 * Contract 6; rules 5, 6, 9, 17.
 */
#include "test.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define SLICE	MSEC

static const struct rig_opt fast = { .bound = 1, .slice = SLICE, .grain = 100 * USEC };

/* --- registers --- */

struct regs {
	uint64_t gpr[15];		/* rax rbx rcx rdx rsi rdi rbp r8-r15 */
	uint64_t flags;
	uint64_t xmm[16][2];
	uint32_t mxcsr;
	uint16_t x87;
};

struct regs regs_in, regs_out;
atomic_ulong regs_beats;
atomic_int regs_stop;

/*
 * Fills every register, then spins touching none of them until told to stop, then stores what it finds. Flags: the loop leaves
 * those of its compare; what must survive beside them is the direction flag, which is set.
 */
void regs_spin(void);
asm(".text\n"
    "regs_spin:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "	ldmxcsr regs_in+384(%rip)\n"
    "	fldcw regs_in+388(%rip)\n"
#define X(n) "	movdqu regs_in+128+16*" #n "(%rip), %xmm" #n "\n"
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#undef X
    "	mov regs_in+0(%rip), %rax; mov regs_in+8(%rip), %rbx; mov regs_in+16(%rip), %rcx; mov regs_in+24(%rip), %rdx\n"
    "	mov regs_in+32(%rip), %rsi; mov regs_in+40(%rip), %rdi; mov regs_in+48(%rip), %rbp\n"
    "	mov regs_in+56(%rip), %r8; mov regs_in+64(%rip), %r9; mov regs_in+72(%rip), %r10; mov regs_in+80(%rip), %r11\n"
    "	mov regs_in+88(%rip), %r12; mov regs_in+96(%rip), %r13; mov regs_in+104(%rip), %r14\n"
    "	mov regs_in+112(%rip), %r15\n"
    "	std\n"
    "1:	lock incq regs_beats(%rip)\n"
    "	cmpl $0, regs_stop(%rip)\n"
    "	je 1b\n"
    "	mov %rax, regs_out+0(%rip); mov %rbx, regs_out+8(%rip); mov %rcx, regs_out+16(%rip)\n"
    "	mov %rdx, regs_out+24(%rip); mov %rsi, regs_out+32(%rip); mov %rdi, regs_out+40(%rip)\n"
    "	mov %rbp, regs_out+48(%rip); mov %r8, regs_out+56(%rip); mov %r9, regs_out+64(%rip)\n"
    "	mov %r10, regs_out+72(%rip); mov %r11, regs_out+80(%rip); mov %r12, regs_out+88(%rip)\n"
    "	mov %r13, regs_out+96(%rip); mov %r14, regs_out+104(%rip); mov %r15, regs_out+112(%rip)\n"
    "	pushf; pop %rax; mov %rax, regs_out+120(%rip)\n"
    "	cld\n"
#define X(n) "	movdqu %xmm" #n ", regs_out+128+16*" #n "(%rip)\n"
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#undef X
    "	stmxcsr regs_out+384(%rip)\n"
    "	fnstcw regs_out+388(%rip)\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n");

static void regs_hog(struct rig_worker *w)
{
	uint32_t mxcsr;
	uint16_t cw;

	asm volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(cw));
	regs_spin();
	asm volatile("ldmxcsr %0; fldcw %1" : : "m"(mxcsr), "m"(cw));
	(void)w;
}

TEST(registers_survive_preemption)
{
	unsigned long n, count = rig_count(0) ?: 300;
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	unsigned int i;
	struct rig r;

	for (i = 0; i < 15; i++)
		regs_in.gpr[i] = 0x0123456789abcdefULL * (i + 3) + i;
	for (i = 0; i < 16; i++) {
		regs_in.xmm[i][0] = 0xfedcba9876543211ULL * (i + 5);
		regs_in.xmm[i][1] = ~regs_in.xmm[i][0] + i;
	}
	regs_in.mxcsr = 0x1f80 | 0x6000;	/* round towards zero */
	regs_in.x87 = 0x0f7f;			/* 64 bits, towards zero, all masked */

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, regs_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&regs_beats)));
	for (n = 0; n < count; n++) {
		/* While it looks for more it would need nobody's core. */
		ASSERT_STATE(s, GK_W_STANDBY);
		rig_push(&r, 0);
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken) > n))
			TH_LOG("preemption %lu: hog %s, preempts %llu, ticks %llu, armed %llu", n,
			       state_name(rig_state(h)), c->preempts, c->ticks, c->armed);
	}
	EXPECT_LE(count, c->preempts);
	EXPECT_LE(count, rig_wp(h)->grants + 1);
	atomic_store(&regs_stop, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&h->done)));
	for (i = 0; i < 15; i++) {
		EXPECT_EQ(regs_in.gpr[i], regs_out.gpr[i]) TH_LOG("general register %u", i);
	}
	for (i = 0; i < 16; i++) {
		EXPECT_EQ(regs_in.xmm[i][0], regs_out.xmm[i][0]) TH_LOG("xmm%u low", i);
		EXPECT_EQ(regs_in.xmm[i][1], regs_out.xmm[i][1]) TH_LOG("xmm%u high", i);
	}
	EXPECT_EQ(regs_in.mxcsr, regs_out.mxcsr);
	EXPECT_EQ(regs_in.x87, regs_out.x87);
	EXPECT_EQ(0x400, regs_out.flags & 0x400) TH_LOG("direction flag");
	rig_close(&r);
}

/* --- the slice --- */

/* Rule 5: whoever makes work for a running core looks at `armed`, finds 0, makes one call; then the hog gives way. */
TEST(a_hog_gives_way_when_a_task_is_queued)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(rig_wait_beats(h, 1000));
	EXPECT_EQ(0, c->armed);
	/* The word protects the one that runs instead, however long we take to look. */
	c->word = s->id + 1;
	rig_push_quiet(&r, 0);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	EXPECT_EQ(GK_W_READY, rig_state(h));
	EXPECT_EQ(1, c->preempts);
	EXPECT_LE(1, c->ticks);
	EXPECT_EQ(1, c->grants_standby);
	EXPECT_EQ(1, c->running);
	atomic_store(&s->go, 1);
	EXPECT_TRUE(rig_wait_beats(h, 1000));
	EXPECT_EQ(1, rig_wp(h)->grants);
	EXPECT_EQ(1, c->grants_ready);
	WRITE_ONCE(c->word, 0);
	rig_close(&r);
}

/* A preempted hog makes no step until its grant. */
TEST(a_preempted_hog_is_still)
{
	const struct rig_opt opt = { .bound = 1 };
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_SLICE | GK_SET_GRAIN, .slice_ns = SLICE,
			      .grain_ns = 100 * USEC };
	struct rig_worker *h, *s;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	ASSERT_EQ(0, rig_call(&r, GK_IOC_SET, (uintptr_t)&set));
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	/* The word protects the one that runs instead, however long it takes. */
	rig_core(&r, 0)->word = s->id + 1;
	rig_push(&r, 0);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	ASSERT_STATE(h, GK_W_READY);
	ASSERT_TRUE(RIG_WAIT(rig_task_state(h->tid) == 'S'));
	EXPECT_TRUE(rig_is_still(h, 50));
	EXPECT_EQ(GK_W_READY, rig_state(h));
	WRITE_ONCE(rig_core(&r, 0)->word, 0);
	EXPECT_TRUE(rig_wait_beats(h, 1));
	rig_close(&r);
}

/* Two hogs that wait for each other's slices: both get on, for many slices, with nobody else's help. */
TEST(two_hogs_share_a_core)
{
	unsigned long count = rig_count(0) ?: 200;
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	uint64_t th, ts;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	rig_push(&r, 0);
	ASSERT_TRUE(RIG_WAIT(c->preempts >= count)) TH_LOG("preempts %llu", c->preempts);
	th = rig_cpu_time(h);
	ts = rig_cpu_time(s);
	EXPECT_LT(th / 4, ts) TH_LOG("%llu against %llu ns", (unsigned long long)th, (unsigned long long)ts);
	EXPECT_LT(ts / 4, th) TH_LOG("%llu against %llu ns", (unsigned long long)th, (unsigned long long)ts);
	atomic_store(&s->go, 1);
	rig_close(&r);
}

/* Nothing waits: not one tick, however long the hog runs. */
TEST(no_tick_when_nothing_waits)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	EXPECT_TRUE(rig_wait_cpu(h, 100 * SLICE));
	EXPECT_EQ(0, c->ticks);
	EXPECT_EQ(0, c->armed);
	EXPECT_EQ(0, c->preempts);
	EXPECT_EQ(0, rig_wp(s)->grants);
	/* An idle core neither. */
	ASSERT_TRUE(rig_join(h));
	EXPECT_TRUE(RIG_WAIT(!c->running));
	rig_close(&r);
}

TEST(no_tick_on_an_idle_core)
{
	const struct rig_opt opt = { .bound = 1, .ncores = 2, .slice = SLICE, .grain = 100 * USEC };
	struct rig_worker *s, *h;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	s = rig_standby(&r, 1, NULL, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	EXPECT_TRUE(rig_wait_cpu(h, 50 * SLICE));
	EXPECT_EQ(0, rig_core(&r, 1)->ticks);
	EXPECT_EQ(0, rig_core(&r, 1)->armed);
	EXPECT_EQ(1, rig_wp(s)->seq - 1) TH_LOG("entered and parked: two transitions");
	rig_close(&r);
}

/* How many of our timers the kernel has queued, by its own list; -1 if it does not show it. */
static int our_timers(void)
{
	FILE *f = fopen("/proc/timer_list", "r");
	char line[256];
	int n = 0;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "core_timer") || strstr(line, ", repark");
	fclose(f);
	return n;
}

/* Neither an idle group nor one task alone on its core has a timer that could interrupt anybody. */
TEST(no_timer_is_queued_when_nothing_waits)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	if (our_timers() < 0)
		SKIP(return, "no /proc/timer_list for this user");
	ASSERT_EQ(0, our_timers()) TH_LOG("somebody else uses the module");
	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	EXPECT_EQ(0, our_timers());
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(rig_wait_cpu(h, 50 * SLICE));
	EXPECT_EQ(0, our_timers());
	EXPECT_EQ(0, c->ticks);
	/* When two share it there is one, and none when they are done. */
	rig_push(&r, 0);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	EXPECT_TRUE(RIG_WAIT(our_timers() == 1));
	atomic_store(&s->go, 1);
	EXPECT_STATE(s, GK_W_STANDBY);
	EXPECT_TRUE(RIG_WAIT(our_timers() == 0));
	ASSERT_TRUE(rig_join(h));
	EXPECT_EQ(0, our_timers());
	rig_close(&r);
}

static void switcher(struct rig_worker *w)
{
	struct gk_worker_page *p = rig_wp(w);

	/* go: stop counting switches */
	while (!atomic_load(&w->stop)) {
		atomic_fetch_add(&w->beats, 1);
		if (!atomic_load(&w->go))
			WRITE_ONCE(p->switches, p->switches + 1);
	}
}

/* Rule 5: a worker that switches tasks has scheduled since; one that stops doing so has used its slice. */
TEST(switches_say_scheduled_since)
{
	/* Long, so that a guest whose CPU is taken away for a while between two looks does not count as a slice. */
	const struct rig_opt opt = { .bound = 1, .slice = 100 * MSEC };
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, switcher, NULL);
	ASSERT_NE(NULL, h);
	rig_push(&r, 0);
	EXPECT_TRUE(rig_wait_cpu(h, 10 * opt.slice));
	EXPECT_EQ(0, c->preempts);
	EXPECT_EQ(0, atomic_load(&s->taken));
	atomic_store(&h->go, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	EXPECT_LE(1, c->preempts);
	atomic_store(&s->go, 1);
	rig_close(&r);
}

/*
 * A shorter slice holds at once, also where the timer is armed for the end of a longer one. The old one is so long that only
 * the new one can explain the preemption.
 */
TEST(a_shorter_slice_holds_at_once)
{
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_SLICE, .slice_ns = 100 * USEC };
	const struct rig_opt opt = { .bound = 1, .slice = 10 * NSEC };
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	uint64_t cpu;
	struct rig r;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, rig_open(&r, &opt));
		c = rig_core(&r, 0);
		s = rig_standby(&r, 0, rig_hold_core, NULL);
		ASSERT_NE(NULL, s);
		h = rig_spawn(&r, 0, rig_hog, NULL);
		ASSERT_NE(NULL, h);
		rig_push(&r, 0);
		ASSERT_TRUE(RIG_WAIT(READ_ONCE(c->turn)));
		if (i) {
			/* Armed for what is over, and for the next task to find. */
			rig_drain(&r, 0);
			ASSERT_NE(0, READ_ONCE(c->turn));
		}
		cpu = rig_cpu_time(h);
		ASSERT_EQ(0, rig_call(&r, GK_IOC_SET, (uintptr_t)&set));
		if (i)
			rig_push(&r, 0);
		EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
		EXPECT_LE(1, c->preempts);
		EXPECT_GT(5 * NSEC, rig_cpu_time(h) - cpu);
		atomic_store(&s->go, 1);
		rig_close(&r);
	}
}

/* `urgent`: a grain is enough. The slice is so long that only the grain can explain the preemption. */
TEST(urgent_work_waits_a_grain)
{
	const struct rig_opt opt = { .bound = 1, .slice = 10 * NSEC, .grain = 100 * USEC };
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	uint64_t cpu;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	rig_push(&r, 0);
	EXPECT_TRUE(rig_wait_cpu(h, 100 * MSEC));
	EXPECT_EQ(0, c->preempts);
	cpu = rig_cpu_time(h);
	WRITE_ONCE(c->urgent, 1);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	EXPECT_LE(1, c->preempts);
	EXPECT_GT(5 * NSEC, rig_cpu_time(h) - cpu);
	WRITE_ONCE(c->urgent, 0);
	atomic_store(&s->go, 1);
	rig_close(&r);
}

/* --- a task that asks not to be preempted --- */

/* Asks, by what its arg is added to, for as long as it is not told to stop asking; then takes it back, as gk.h says. */
static void asks(struct rig_worker *w)
{
	struct gk_worker_page *p = rig_wp(w);

	while (!atomic_load(&w->stop)) {
		if (!atomic_load(&w->aux)) {
			WRITE_ONCE(p->nopreempt, GK_NOPREEMPT(p->switches + (uintptr_t)w->arg));
		} else if (p->nopreempt) {
			uint32_t wish = p->nopreempt;

			WRITE_ONCE(p->nopreempt, 0);
			atomic_store(&w->seen, 1 + (READ_ONCE(p->overdue) == wish));
			if (p->overdue)
				rig_park(w, GK_PARK_READY);
		}
		atomic_fetch_add(&w->beats, 1);
	}
}

#define LONG	(100 * MSEC)

static const struct rig_opt slow = { .bound = 1, .slice = LONG, .grain = LONG };

TEST(a_worker_that_asks_has_one_slice_more)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &slow));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, asks, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(rig_wait_beats(h, 100));
	WRITE_ONCE(c->word, s->id + 1);		/* so that the other is not preempted for it */
	rig_push(&r, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	EXPECT_STATE(h, GK_W_READY);
	/* Not sooner. */
	EXPECT_LE(LONG * 3 / 2, rig_cpu_time(h));
	EXPECT_EQ(1, c->deferred);
	EXPECT_EQ(1, c->preempts);
	EXPECT_EQ(GK_NOPREEMPT(rig_wp(h)->switches), rig_wp(h)->overdue);
	WRITE_ONCE(c->word, 0);
	atomic_store(&h->aux, 1);
	atomic_store(&s->go, 1);
	/* A new turn: nothing is overdue. */
	EXPECT_TRUE(RIG_WAIT(atomic_load(&h->seen)));
	EXPECT_EQ(1, atomic_load(&h->seen));
	rig_close(&r);
}

TEST(a_worker_that_is_overdue_gives_way_when_it_is_done)
{
	const struct rig_opt opt = { .bound = 1, .slice = 10 * NSEC, .grain = MSEC };
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, asks, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(rig_wait_beats(h, 100));
	WRITE_ONCE(c->urgent, 1);		/* its turn is a grain, and what it may have more ten seconds */
	rig_push(&r, 0);
	ASSERT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(h)->overdue)));
	EXPECT_EQ(1, c->deferred);
	EXPECT_TRUE(rig_wait_cpu(h, 20 * MSEC));
	EXPECT_EQ(0, atomic_load(&s->taken));
	EXPECT_EQ(0, c->preempts);
	WRITE_ONCE(c->urgent, 0);
	atomic_store(&h->aux, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	EXPECT_EQ(2, atomic_load(&h->seen));
	EXPECT_EQ(0, c->preempts);
	EXPECT_EQ(1, c->deferred);
	atomic_store(&s->go, 1);
	EXPECT_TRUE(rig_wait_beats(h, 100));
	EXPECT_EQ(0, rig_wp(h)->overdue);
	rig_close(&r);
}

/* Who asks all the time, and takes nothing back, has it once a turn. */
TEST(who_asks_for_ever_is_preempted_as_often_as_it_is_let_go_on)
{
	struct rig_worker *h, *other;
	struct gk_core_page *c;
	uint64_t deferred;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	h = rig_spawn(&r, 0, asks, NULL);
	ASSERT_NE(NULL, h);
	other = rig_spawn(&r, 0, asks, NULL);
	ASSERT_NE(NULL, other);
	EXPECT_TRUE(RIG_WAIT(READ_ONCE(c->preempts) >= 50));
	EXPECT_LT(0, atomic_load(&h->beats));
	EXPECT_LT(0, atomic_load(&other->beats));
	/* Each of the two may be in such a turn just now. */
	deferred = READ_ONCE(c->deferred);
	EXPECT_LE(deferred, READ_ONCE(c->preempts) + 2);
	EXPECT_LT(0, deferred);
	rig_close(&r);
}

/* What the task before has asked for is not for the next. */
TEST(the_wish_of_another_task_counts_for_nothing)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, asks, (void *)(uintptr_t)-1);
	ASSERT_NE(NULL, h);
	rig_push(&r, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	EXPECT_LE(1, c->preempts);
	EXPECT_EQ(0, c->deferred);
	EXPECT_EQ(0, rig_wp(h)->overdue);
	rig_close(&r);
}

/* Nor does a STANDBY take its place. */
static void reads_then_consumes(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	rig_consumer(w);
}

TEST(a_standby_does_not_take_the_place_of_one_that_asks)
{
	const struct rig_opt opt = { .bound = 2, .slice = 10 * NSEC, .grain = 10 * NSEC };
	struct rig_worker *h, *a;
	struct gk_core_page *c;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	a = rig_spawn(&r, 0, reads_then_consumes, fd);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, asks, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(rig_wait_beats(h, 100));
	/* Seen by the module, but by no look of the worker's before it parks. */
	WRITE_ONCE(c->q_next, 1);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	EXPECT_STATE(a, GK_W_STANDBY);
	EXPECT_EQ(0, c->displaced);
	EXPECT_EQ(1, c->deferred);
	EXPECT_EQ(GK_W_RUNNING, rig_state(h));
	WRITE_ONCE(c->q_next, 0);
	rig_close(&r);
}

/* Rule 6: the worker in the core word finishes first; another id there protects nobody. */
TEST(the_holder_of_the_word_is_not_preempted)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	uint64_t ticks;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	WRITE_ONCE(c->word, h->id + 1);
	ticks = c->ticks;
	rig_push(&r, 0);
	EXPECT_TRUE(rig_wait_cpu(h, 50 * SLICE));
	EXPECT_EQ(0, c->preempts);
	EXPECT_EQ(0, atomic_load(&s->taken));
	EXPECT_LT(ticks, c->ticks) TH_LOG("the timer must go on looking");
	WRITE_ONCE(c->word, 0x80000000u | (h->id + 1));	/* the library's bit changes nothing */
	EXPECT_TRUE(rig_wait_cpu(h, 20 * SLICE));
	EXPECT_EQ(0, c->preempts);
	WRITE_ONCE(c->word, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	EXPECT_LE(1, c->preempts);
	atomic_store(&s->go, 1);
	rig_close(&r);
}

TEST(another_id_in_the_word_protects_nobody)
{
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	WRITE_ONCE(c->word, s->id + 1);		/* whose worker is parked */
	rig_push(&r, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	WRITE_ONCE(c->word, 0);
	atomic_store(&s->go, 1);
	rig_close(&r);
}

/* Rule 6: the holder blocks all the same: no standby is granted until it is back, and `stalls` counts it. */
static void block_inside(struct rig_worker *w)
{
	struct gk_core_page *c = rig_cp(w);
	int *fd = w->arg;
	char ch;

	rig_wait_go(w);
	WRITE_ONCE(c->word, w->id + 1);
	rig_push_quiet(w->rig, w->core);
	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	WRITE_ONCE(c->word, 0);
	rig_wait_go(w);
}

TEST(a_holder_that_blocks_stalls_its_core_and_is_counted)
{
	const struct rig_opt opt = { .bound = 1 };
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, block_inside, fd);
	ASSERT_NE(NULL, h);
	ASSERT_STATE(h, GK_W_BLOCKED);
	rig_go(h);
	ASSERT_TRUE(RIG_WAIT(c->word && rig_state(h) == GK_W_BLOCKED && c->running == 0));
	EXPECT_TRUE(RIG_WAIT(c->stalls == 1));
	EXPECT_TRUE(rig_is_still(s, 50));
	EXPECT_EQ(0, atomic_load(&s->taken));
	EXPECT_EQ(GK_W_STANDBY, rig_state(s));
	/* Asking does not help either. */
	EXPECT_EQ(0, rig_call(&r, GK_IOC_WAKE, 0));
	EXPECT_EQ(GK_W_STANDBY, rig_state(s));
	ASSERT_EQ(1, write(fd[1], "x", 1));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&h->mark)));
	/* Back and out: its next block (for go) lets the standby have the task. */
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1));
	rig_go(h);
	rig_close(&r);
}

/* --- rule 17: a hog inside the kernel --- */

struct khog {
	int fd;
	struct iovec iov[128];
	size_t len;
	char *buf;
};

static void khog_zero(struct rig_worker *w)
{
	struct khog *k = w->arg;

	rig_wait_go(w);
	atomic_store(&w->seen, 1);
	w->ret = rig_syscall_mark(SYS_readv, k->fd, (long)k->iov, ARRAY_LEN(k->iov), &w->mark);
	atomic_store(&w->stamp, rig_tick(w->rig));
}

static void khog_random(struct rig_worker *w)
{
	struct khog *k = w->arg;

	rig_wait_go(w);
	atomic_store(&w->seen, 1);
	w->ret = rig_syscall_mark(SYS_getrandom, (long)k->buf, k->len, 0, &w->mark);
	atomic_store(&w->stamp, rig_tick(w->rig));
}

static void kernel_hog(struct __test_metadata *_metadata, rig_fn fn, size_t want)
{
	static struct khog k;
	struct rig_worker *h, *s;
	uint64_t cpu;
	struct gk_core_page *c;
	unsigned int i;
	struct rig r;

	k.fd = open("/dev/zero", O_RDONLY);
	ASSERT_LE(0, k.fd);
	k.len = 15 << 20;
	k.buf = mmap(NULL, k.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)k.buf);
	for (i = 0; i < ARRAY_LEN(k.iov); i++) {
		k.iov[i].iov_base = k.buf;
		k.iov[i].iov_len = k.len;
	}
	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, rig_hold_core, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, fn, &k);
	ASSERT_NE(NULL, h);
	ASSERT_STATE(h, GK_W_BLOCKED);
	rig_go(h);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&h->seen)));
	WRITE_ONCE(c->word, s->id + 1);		/* so that only the hog is ever preempted */
	rig_push(&r, 0);
	/* The standby runs user code while the hog is inside its call. */
	ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
	ASSERT_TRUE(rig_wait_beats(s, 1000));
	EXPECT_EQ(0, atomic_load(&h->mark)) TH_LOG("the call was over too soon to tell");
	EXPECT_LE(1, c->preempts);
	/* It finishes its call, and then parks before its next instruction. */
	do
		cpu = rig_cpu_time(h);
	while (RIG_WAIT(rig_task_state(h->tid) == 'S' || rig_cpu_time(h) - cpu >= 10 * MSEC) &&
	       rig_task_state(h->tid) != 'S' && !atomic_load(&h->mark));
	EXPECT_EQ('S', rig_task_state(h->tid));
	EXPECT_EQ(GK_W_READY, rig_state(h));
	EXPECT_EQ(0, atomic_load(&h->mark));
	WRITE_ONCE(c->word, 0);
	atomic_store(&s->go, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&h->stamp)));
	EXPECT_EQ((long)want, h->ret) TH_LOG("no EINTR, no short call");
	rig_close(&r);
}

TEST(a_hog_inside_read_does_not_hold_the_core)
{
	kernel_hog(_metadata, khog_zero, (15UL << 20) * 128);
}

TEST(a_hog_inside_getrandom_does_not_hold_the_core)
{
	kernel_hog(_metadata, khog_random, 15UL << 20);
}

/*
 * Rule 9: a park must not hold back the other work of the same return to user mode. The closer drops the last writers of
 * many pipes in one call that outlasts its slice; while it is parked behind that call every reader sees the end.
 */
#define PIPES	4000

struct closer {
	int rd[PIPES];
	int first, last;
};

static void close_many(struct rig_worker *w)
{
	struct closer *k = w->arg;

	rig_wait_go(w);
	atomic_store(&w->seen, 1);
	w->ret = rig_syscall_mark(SYS_close_range, k->first, k->last, 0, &w->mark);
	while (!atomic_load(&w->stop))
		atomic_fetch_add(&w->beats, 1);
}

TEST(a_park_holds_back_no_delayed_close)
{
	const struct rig_opt opt = { .bound = 1, .slice = 100 * USEC, .grain = 50 * USEC };
	struct rlimit lim = { 4 * PIPES, 4 * PIPES };
	static struct closer k;
	struct rig_worker *h, *s;
	struct gk_core_page *c;
	int fd[2], i, open_ends, tries, caught = 0;
	struct rig r;

	if (setrlimit(RLIMIT_NOFILE, &lim))
		SKIP(return, "no %d descriptors for this user", 4 * PIPES);
	for (tries = 0; tries < 10 && !caught; tries++) {
		ASSERT_EQ(0, rig_open(&r, &opt));
		c = rig_core(&r, 0);
		k.first = 2 * PIPES;
		k.last = k.first + PIPES - 1;
		for (i = 0; i < PIPES; i++) {
			ASSERT_EQ(0, pipe(fd));
			ASSERT_EQ(k.first + i, dup2(fd[1], k.first + i));
			close(fd[1]);
			k.rd[i] = fd[0];
		}
		s = rig_standby(&r, 0, rig_hold_core, NULL);
		ASSERT_NE(NULL, s);
		h = rig_spawn(&r, 0, close_many, &k);
		ASSERT_NE(NULL, h);
		ASSERT_STATE(h, GK_W_BLOCKED);
		WRITE_ONCE(c->word, s->id + 1);
		rig_push_quiet(&r, 0);
		rig_go(h);
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken)));
		ASSERT_TRUE(RIG_WAIT(rig_parked(h, GK_W_READY)));
		/* Preempted inside or behind the call: then its mark is 0 and every writer must be gone. */
		caught = atomic_load(&h->seen) && !atomic_load(&h->mark) && fcntl(k.last, F_GETFD) < 0;
		if (caught) {
			for (i = 0, open_ends = 0; i < PIPES; i++) {
				struct pollfd p = { .fd = k.rd[i] };

				if (poll(&p, 1, 0) != 1 || !(p.revents & POLLHUP))
					open_ends++;
			}
			EXPECT_EQ(0, open_ends);
			EXPECT_EQ(GK_W_READY, rig_state(h));
			EXPECT_EQ(0, atomic_load(&h->mark));
		}
		WRITE_ONCE(c->word, 0);
		atomic_store(&s->go, 1);
		rig_close(&r);
		for (i = 0; i < PIPES; i++)
			close(k.rd[i]);
		syscall(SYS_close_range, k.first, k.last, 0);
	}
	if (!caught)
		SKIP(return, "the slice never ended inside the call");
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
