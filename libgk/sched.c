// SPDX-License-Identifier: MIT
/*
 * sched.c - which task runs next.
 *
 * Per core: `next`, one task that was just made ready by the one that runs, and a ring of 256 from which other cores
 * steal; one queue for all. A task that stops takes from the first two and switches straight to what it finds; every
 * 61st time, and whenever there is more to look at, it switches to the worker's own loop, which looks at timers and the
 * queue of all, then steals, then parks.
 *
 * Two designs were rejected. Handing woken tasks to the core they last ran on needs a message to a core that may be
 * busy for a whole slice. One queue for all, or queues under locks, cost a contended line a switch.
 *
 * No lost wake-up: who pushes to the ring stores the tail, then fences, then reads idle[] (push()). A core on which
 * nobody runs has its bit set by the backend, which then fences and reads every q_head and q_tail before it lets the
 * last worker sleep. One of the two sees the other. A searching worker stands in for the wake-up of others
 * (`searching`): it takes the mark back before it parks, and the backend's look comes after that.
 *
 * `next` is not to be stolen and wakes no other core: the task that made it ready usually waits soon. If it does not,
 * the backend's timer is armed, and preempts it.
 */
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define TURNS		61	/* switches between two looks at the clock and the queue of all */
#define NEXT_STREAK	16	/* times that `next` may go before the ring */
#define SPIN_NS		20000	/* how long a worker searches before it sleeps; a wake-up costs as much */
#define SEEN_TWICE_NS	1000	/* how long a lone task must have waited before another core takes it */

__thread struct worker *gk_worker_self __attribute__((tls_model("initial-exec"), used, externally_visible));

void futex_wait(uint32_t *p, uint32_t v, const uint64_t *deadline)
{
	struct timespec ts;

	if (deadline) {
		ts.tv_sec = *deadline / 1000000000;
		ts.tv_nsec = *deadline % 1000000000;
	}
	syscall(SYS_futex, p, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, v, deadline ? &ts : NULL, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(uint32_t *p, int n)
{
	syscall(SYS_futex, p, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n);
}

/* The holder is on another core and brief, unless the kernel took its CPU away. */
void lock_slow(uint32_t *l)
{
	unsigned int spins = 0;

	while (load(l) || exchange(l, 1)) {
		if (++spins % 256)
			relax();
		else
			sched_yield();
	}
}

/*
 * The core word is held: its holder is on this core and was preempted inside. Sleeping lets it run on.
 *
 * leave() clears the word and then reads word_waiters, without a fence. We count ourselves, have every CPU of the
 * process fence, and then look at the word: either the holder's 0 is visible by now, or it will see us waiting.
 *
 * Returns false if the runtime was stopped, maybe with the holder inside, and the worker has no task and is to leave.
 */
bool word_wait(struct worker *w)
{
	struct core *core = w->core;
	uint32_t *word = &w->cp->word, v;
	int err = *w->errno_location;

	w->inside_waits++;
	add_fetch(&core->word_waiters, 1);
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	while ((v = load(word)) || !cas(word, 0, w->id + 1)) {
		if (load(&w->rt->page->stopping) && load(&w->wp->taskless)) {
			add_fetch(&core->word_waiters, -1);
			return false;
		}
		if (v)
			futex_wait(word, v, NULL);
	}
	add_fetch(&core->word_waiters, -1);
	*w->errno_location = err;
	return true;
}

void word_wake(struct worker *w)
{
	int err = *w->errno_location;

	futex_wake(&w->cp->word, 1);
	*w->errno_location = err;
}

/*
 * The worker's page does not say what it should: the monitor took it for blocked, or gk.ko moved it to another core
 * while its task was preempted. Gives the word up and takes the right one.
 */
bool word_retake(struct worker *w)
{
	uint32_t core;

	do {
		exchange(&w->cp->word, 0);
		if (load(&w->core->word_waiters))
			word_wake(w);
		if (load(&w->wp->state) != GK_W_RUNNING)
			w->rt->be->unblocked(w);
		core = load(&w->wp->core);
		w->core = &w->rt->cores[core];
		w->cp = w->core->page;
		w->expect = (uint64_t)core << 32 | GK_W_RUNNING;
		if (!cas(&w->cp->word, 0, w->id + 1) && !word_wait(w))
			return false;
	} while (load((uint64_t *)w->wp) != w->expect);
	return true;
}

/* The worker's own loop goes inside. Returns false, outside, when the runtime was stopped. */
static bool enter_loop(struct worker *w)
{
	touch_stack();
	if (unlikely(!cas(&w->cp->word, 0, w->id + 1)) && !word_wait(w))
		return false;
	if (unlikely(load((uint64_t *)w->wp) != w->expect) && !word_retake(w))
		return false;
	if (unlikely(load(&w->rt->page->stopping))) {
		leave(w);
		return false;
	}
	return true;
}

/* ---- queues: all of these are called inside ---------------------------------------------------------------------- */

void gq_put(struct runtime *rt, struct gk_task *first, struct gk_task *last, uint32_t n)
{
	last->next = NULL;
	lock(&rt->gq_lock);
	if (rt->gq_last)
		rt->gq_last->next = first;
	else
		rt->gq_first = first;
	rt->gq_last = last;
	store(&rt->page->gq_len, rt->page->gq_len + n);
	unlock(&rt->gq_lock);
}

static inline __attribute__((always_inline)) bool ring_put(struct core *core, struct gk_task *t)
{
	struct gk_core_page *cp = core->page;
	uint32_t tail = cp->q_tail;

	if (unlikely(tail - load_acquire(&cp->q_head) >= RING))
		return false;
	store(&core->ring[tail % RING], t);
	store_release(&cp->q_tail, tail + 1);
	return true;
}

static inline __attribute__((always_inline)) struct gk_task *ring_get(struct core *core)
{
	struct gk_core_page *cp = core->page;
	struct gk_task *t;
	uint32_t head;

	for (;;) {
		head = load_acquire(&cp->q_head);
		if (head == cp->q_tail)
			return NULL;
		t = load(&core->ring[head % RING]);
		if (core->alone) {
			store(&cp->q_head, head + 1);
			return t;
		}
		if (likely(cas(&cp->q_head, head, head + 1)))
			return t;
	}
}

/* The ring is full: its older half goes to the queue of all, and @t behind it. */
static void ring_spill(struct core *core, struct gk_task *t)
{
	struct gk_task *first = NULL, *last = NULL, *u;
	uint32_t n = 0;

	while (n < RING / 2 && (u = ring_get(core))) {
		if (last)
			last->next = u;
		else
			first = u;
		last = u;
		n++;
	}
	if (last)
		last->next = t;
	else
		first = t;
	gq_put(core->rt, first, t, n + 1);
}

static struct gk_task *gq_get(struct core *core)
{
	struct runtime *rt = core->rt;
	struct gk_task *t, *u;
	uint32_t n;

	if (!load(&rt->page->gq_len))
		return NULL;
	lock(&rt->gq_lock);
	t = rt->gq_first;
	if (t) {
		/* A fair part of it, so that the lock is rare. */
		n = rt->page->gq_len / rt->ncores;
		rt->gq_first = t->next;
		store(&rt->page->gq_len, rt->page->gq_len - 1);
		for (n = n > RING / 2 ? RING / 2 : n; n > 1 && (u = rt->gq_first); n--) {
			struct gk_task *next = u->next;

			if (!ring_put(core, u))
				break;
			rt->gq_first = next;
			store(&rt->page->gq_len, rt->page->gq_len - 1);
		}
		if (!rt->gq_first)
			rt->gq_last = NULL;
	}
	unlock(&rt->gq_lock);
	return t;
}

/* A core other than @core, from number @from on, on which nobody runs, or -1. */
static int idle_core(struct core *core, unsigned int from)
{
	struct gk_group_page *page = core->rt->page;
	unsigned int i, n = (core->rt->ncores + 63) / 64;
	uint64_t bits;

	for (i = from / 64; i < n; i++) {
		bits = load(&page->idle[i]);
		if (i == from / 64)
			bits &= ~0ull << from % 64;
		if (core->id / 64 == i)
			bits &= ~(1ull << core->id % 64);
		if (bits)
			return i * 64 + __builtin_ctzll(bits);
	}
	return -1;
}

static inline bool queued(struct worker *w)
{
	return load(&w->cp->q_next) || load(&w->cp->q_head) != load(&w->cp->q_tail);
}

static inline __attribute__((always_inline)) void push(struct worker *w, struct gk_task *t)
{
	struct core *core = w->core;

	if (unlikely(!ring_put(core, t)))
		ring_spill(core, t);
	if (!load(&core->page->armed))
		w->todo |= TODO_ARM;
	if (!core->alone) {
		fence();	/* pairs with the one between idle[] and the look at the rings in the backend */
		if (idle_core(core, 0) >= 0 && !load(&core->rt->page->searching))
			w->todo |= TODO_WAKE;
	}
}

/* Behind what is queued, from where other cores may take it. */
static __attribute__((noinline)) void push_slow(struct worker *w, struct gk_task *t)
{
	push(w, t);
}

/* @t waited for something, with many others: in their order, behind what is queued. */
void ready_tail(struct worker *w, struct gk_task *t)
{
	if (t->pinned) {
		ready(w, t, true);
		return;
	}
	store(&w->cp->urgent, 1);
	push_slow(w, t);
}

/* A new task. Where a core is idle it goes there; else it runs next here. */
void ready_new(struct worker *w, struct gk_task *t)
{
	if (!w->core->alone && idle_core(w->core, 0) >= 0)
		ready_tail(w, t);
	else
		ready(w, t, true);
}

/* @t may run. @woken: it waited for something, so it should not wait for a whole slice of others. */
void ready(struct worker *w, struct gk_task *t, bool woken)
{
	struct core *core = w->core;
	struct gk_task *old = core->next;

	if (unlikely(t->pinned)) {
		t->next = w->unhold;
		w->unhold = t;
		w->todo |= TODO_UNHOLD;
		return;
	}
	if (woken)
		store(&core->page->urgent, 1);
	core->next = t;
	store(&core->page->q_next, 1);
	if (old)
		push_slow(w, old);
	else if (!load(&core->page->armed))
		w->todo |= TODO_ARM;
}

/* The next task of this core's own, or NULL. */
static inline __attribute__((always_inline)) struct gk_task *pick(struct worker *w)
{
	struct core *core = w->core;
	struct gk_core_page *cp = w->cp;
	struct gk_task *t = core->next;

	if (t && (core->streak++ < NEXT_STREAK || load(&cp->q_head) == cp->q_tail)) {
		core->next = NULL;
		store(&cp->q_next, 0);
	} else {
		core->streak = 0;
		t = ring_get(core);
	}
	if (load(&cp->urgent) && !queued(w))
		store(&cp->urgent, 0);
	return t;
}

/* The same, and then the queue of all. */
static struct gk_task *pick_any(struct worker *w)
{
	struct gk_task *t = pick(w);

	return t ? t : gq_get(w->core);
}

/* A READY worker has waited longer than any task of the queue. */
static bool ready_worker_first(struct worker *w)
{
	struct gk_core_page *cp = w->cp;

	return load(&cp->nready) && !w->core->next && (int32_t)(load(&cp->ready_pos) - load(&cp->q_head)) <= 0;
}

/* ---- outside ----------------------------------------------------------------------------------------------------- */

void do_todo(struct worker *w)
{
	struct runtime *rt = w->rt;
	uint32_t todo = w->todo;
	int err = *w->errno_location;
	struct gk_task *t, *next;
	int core;

	w->todo = 0;
	if (todo & TODO_UNHOLD) {
		t = w->unhold;
		w->unhold = NULL;
		for (; t; t = next) {
			struct worker *owner = t->pinned;

			next = t->next;
			store_release(&t->woken, 1);
			rt->be->unhold(rt, owner->id);
		}
	}
	if (todo & TODO_UNMAP) {
		t = w->unmap;
		w->unmap = NULL;
		for (; t; t = next) {
			next = t->next;
			task_unmap(t);
		}
	}
	if (todo & TODO_WAKE)
		/* One that can run nobody, as its workers are all blocked, says so, and the next is tried. */
		for (core = idle_core(w->core, 0); core >= 0 && !rt->be->wake(rt, core);)
			core = idle_core(w->core, core + 1);
	if (todo & TODO_ARM)
		rt->be->arm(rt, w->core->id);
	*w->errno_location = err;
}

/* Takes half of what @from has, into the empty ring of @w's core. Inside. */
static struct gk_task *steal(struct worker *w, struct core *from)
{
	struct core *core = w->core;
	struct gk_core_page *fp = from->page;
	struct gk_task *t, *batch[RING / 2];
	uint32_t head, n, i;

	for (;;) {
		head = load_acquire(&fp->q_head);
		n = load_acquire(&fp->q_tail) - head;
		n -= n / 2;
		if (!n)
			return NULL;
		if (n > RING / 2)	/* head and tail are not of one moment */
			continue;
		for (i = 0; i < n; i++)
			batch[i] = load(&from->ring[(head + i) % RING]);
		if (cas(&fp->q_head, head, head + n))
			break;
	}
	core->steals++;
	t = batch[0];
	for (i = 1; i < n; i++)
		push_slow(w, batch[i]);
	return t;
}

/*
 * Outside: looks for tasks of other cores, for a while. Takes none: returns the core to steal from, or NULL. Only one
 * worker of the process searches at a time.
 */
static struct core *search(struct worker *w)
{
	struct runtime *rt = w->rt;
	struct core *found = NULL, *last = NULL;
	uint64_t end, now, since = 0;
	uint32_t i, at, last_head = 0;

	if (rt->ncores == 1 || !cas(&rt->page->searching, 0, 1))
		return NULL;
	now = now_ns();
	end = now + SPIN_NS;
	do {
		w->seed = w->seed * 1664525 + 1013904223;
		at = w->seed >> 16;
		for (i = 0; i < rt->ncores && !found; i++) {
			struct core *core = &rt->cores[(at + i) % rt->ncores];
			uint32_t head = load(&core->page->q_head), n = load(&core->page->q_tail) - head;

			if (core == w->core || !n)
				continue;
			/* One that has just been queued is about to be run where it is, most of the time. */
			if (n > 1 || (core == last && head == last_head && now - since >= SEEN_TWICE_NS)) {
				found = core;
			} else if (core != last || head != last_head) {
				last = core;
				last_head = head;
				since = now;
			}
		}
		if (load(&rt->page->gq_len) || queued(w))
			found = w->core;
		relax();
		now = now_ns();
	} while (!found && now < end && load(&w->cp->running) == 1);
	for (i = 0; i < rt->ncores && !found; i++)
		if (&rt->cores[i] != w->core && load(&rt->cores[i].page->q_head) != load(&rt->cores[i].page->q_tail))
			found = &rt->cores[i];
	/* A full fence; the backend's look at the rings, before it lets this worker sleep, comes after it. */
	exchange(&rt->page->searching, 0);
	/*
	 * Whoever pushed meanwhile woke nobody, and we take from one place only: if more is left, the next one is woken
	 * for it.
	 */
	if (found)
		for (i = 0; i < rt->ncores; i++)
			if (load(&rt->page->gq_len) ||
			    load(&rt->cores[i].page->q_head) != load(&rt->cores[i].page->q_tail))
				w->todo |= TODO_WAKE;
	return found;
}

/* A task that was preempted when it had its worker, mounted on it, waits on a core: have its worker come here. */
static bool pull(struct worker *w)
{
	struct runtime *rt = w->rt;
	unsigned int i;

	for (i = 0; i < rt->ncores; i++)
		if (&rt->cores[i] != w->core && load(&rt->cores[i].page->nready) && load(&rt->cores[i].page->running) &&
		    rt->be->pull(w, i) > 0)
			return true;
	return false;
}

/* ---- switching --------------------------------------------------------------------------------------------------- */

static void task_dead(struct worker *w, struct gk_task *t)
{
	struct gk_task *joiner;
	bool release;

	lock(&t->lock);
	t->ended = true;
	/*
	 * One that came before gk_exit() looked was made ready there; one that came since waits. Both leave the rest to
	 * us.
	 */
	joiner = t->joined ? NULL : t->joiner;
	release = t->detached || t->joiner;
	unlock(&t->lock);
	w->core->ended++;
	if (release)
		task_free(w, t);
	if (joiner)
		ready(w, joiner, true);
}

/* Does what w->prev left to do, now that nobody is on its stack. Inside. */
static inline __attribute__((always_inline)) void finish(struct worker *w)
{
	struct gk_task *t = w->prev;
	uint32_t after;

	if (!t)
		return;
	w->prev = NULL;
	after = t->after;
	t->after = AFTER_NONE;
	switch (after) {
	case AFTER_UNLOCK:
		unlock(t->after_lock);
		break;
	case AFTER_READY:
		push(w, t);
		break;
	case AFTER_DEAD:
		task_dead(w, t);
		break;
	}
}

static inline void set_task(struct worker *w, struct gk_task *t)
{
	w->task = t;
	store(&w->wp->switches, w->wp->switches + 1);
	w->wp->cookie = (uintptr_t)t;
}

/* Puts the control words back to the worker's own, if the task that stops has others. */
static inline void fpu_leave(struct worker *w, struct gk_task *t)
{
	if (unlikely(t->fpu_own || fpu_cw() != w->home_fpu.cw)) {
		t->fpu = fpu_get();
		t->fpu_differs = true;
		fpu_set(&w->home_fpu);
	}
}

static inline void fpu_enter(struct gk_task *t)
{
	if (unlikely(t->fpu_differs)) {
		t->fpu_differs = false;
		fpu_set(&t->fpu);
	}
}

/*
 * The calling task stops running, as @after says. Inside before and after; what it returns is the worker on which the
 * task goes on. A worker beside which others run on its core takes no other task: it goes to its own loop, and parks.
 */
__attribute__((noinline)) struct worker *switch_away(struct worker *w, enum after after)
{
	struct gk_task *prev = w->task, *t = NULL;
	struct gk_core_page *cp = w->cp;

	prev->after = after;
	prev->err = *w->errno_location;
	fpu_leave(w, prev);
	if (unlikely(prev->pinned)) {
		w->mine = prev;
	} else if (likely(load(&cp->running) == 1 && !load(&cp->nready) && w->core->turns)) {
		w->core->turns--;
		t = pick(w);
	}
	w->prev = prev;
	set_task(w, t);
	if (unlikely(!t))
		store(&w->wp->taskless, 1);
	context_switch(&prev->sp, likely(t) ? t->sp : w->home);
	w = self();
	*w->errno_location = prev->err;
	finish(w);
	fpu_enter(prev);
	return w;
}

/* A worker's own loop runs @t. Inside before and after. Returns false, outside, when the runtime was stopped first. */
static __attribute__((noinline)) bool run(struct worker *w, struct gk_task *t)
{
	store(&w->wp->taskless, 0);
	fence();	/* pairs with the one in the backend's stop(): it finds us with a task, or we see `stopping` */
	if (unlikely(load(&w->rt->page->stopping))) {
		store(&w->wp->taskless, 1);
		leave(w);
		return false;
	}
	set_task(w, t);
	context_switch(&w->home, t->sp);
	/* switch_away() set w->task to NULL, and taskless. */
	if (w->leaving)
		return false;
	finish(w);
	return true;
}

/* The first thing that a task executes, inside; the last is never to return. */
static __attribute__((noinline, used)) void task_main(void)
{
	struct worker *w = self();
	struct gk_task *t = w->task;

	finish(w);
	*w->errno_location = 0;
	if (t->pins)
		t->pinned = w;
	leave(w);
	t->fn(t->arg);
	gk_exit();
}

void task_entry(void)
{
	task_main();
	__builtin_trap();
}

void gk_exit(void)
{
	struct worker *w = enter();
	struct gk_task *t, *joiner = NULL;

	if (!w)
		die("gk_exit called outside a task");
	t = w->task;
	if (t == w->rt->main) {
		leave(w);
		main_finish(w, 0);
	}
	lock(&t->lock);
	joiner = t->joiner;
	if (joiner)
		t->joined = true;
	unlock(&t->lock);
	if (t->pinned) {
		/* Its worker is free for others again. */
		t->pinned = NULL;
		t->pins = 0;
	}
	/* It runs next here, most likely, and then finishes us before it looks at anything. */
	if (joiner)
		ready(w, joiner, true);
	switch_away(w, AFTER_DEAD);
	__builtin_trap();
}

/* A pinned task of this worker waits: the worker waits with it. Returns false when the runtime stops. */
static bool hold(struct worker *w, struct gk_task *t)
{
	leave(w);
	while (!load_acquire(&t->woken))
		if (w->rt->be->park(w, GK_PARK_HELD) < 0)
			return false;
	if (!enter_loop(w))
		return false;
	t->woken = 0;
	w->mine = NULL;
	return true;
}

/* What a worker does without a task. Returns when the runtime stops. */
void worker_loop(struct worker *w)
{
	struct gk_core_page *cp;
	struct gk_task *t;
	struct core *from;
	bool turn;

	w->home_fpu = fpu_get();
	if (!enter_loop(w))
		return;
	for (;;) {
		cp = w->cp;
		if (load(&cp->deadline))
			timers_run(w);
		t = NULL;
		turn = !w->core->turns;
		if (turn)
			w->core->turns = TURNS;
		if (load(&cp->running) == 1) {
			if (turn)
				t = gq_get(w->core);
			if (!t && !ready_worker_first(w))
				t = pick_any(w);
		}
		while (t) {
			if (!run(w, t))
				return;
			t = w->mine;
			if (t && !hold(w, t))
				return;
		}
		cp = w->cp;
		if (load(&cp->running) == 1 && !ready_worker_first(w) && queued(w))
			continue;
		w->core->parks++;
		leave(w);
		if (load(&cp->running) == 1 && !load(&cp->nready)) {
			from = search(w);
			if (from) {
				if (!enter_loop(w))
					return;
				if (from != w->core && !queued(w)) {
					t = steal(w, from);
					if (t)
						ready(w, t, false);
				}
				continue;
			}
			pull(w);
		}
		if (w->rt->be->park(w, GK_PARK_STANDBY) < 0 || !enter_loop(w))
			return;
		/* Granted, maybe for the queue of all: it is its turn. */
		w->core->turns = 0;
	}
}

/* ---- the calls --------------------------------------------------------------------------------------------------- */

int gk_yield(void)
{
	struct worker *w = enter();

	if (!w)
		return -EPERM;
	if (unlikely(!queued(w)) && !load(&w->cp->nready) && !load(&w->rt->page->gq_len) && !load(&w->cp->deadline)) {
		leave(w);
		return 0;
	}
	if (unlikely(w->task->pinned)) {
		int err = *w->errno_location;

		leave(w);
		w->rt->be->park(w, GK_PARK_READY);
		*w->errno_location = err;
		return 0;
	}
	w = switch_away(w, AFTER_READY);
	leave(w);
	return 0;
}

int gk_pin(void)
{
	struct worker *w = enter();

	if (!w)
		return -EPERM;
	w->task->pinned = w;
	w->task->pins++;
	leave(w);
	return 0;
}

int gk_unpin(void)
{
	struct worker *w = enter();
	int err = 0;

	if (!w)
		return -EPERM;
	if (!w->task->pins)
		err = -EINVAL;
	else if (!--w->task->pins)
		w->task->pinned = NULL;
	leave(w);
	return err;
}
