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
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"
#include "switch.h"

#define TURNS		61	/* switches between two looks at the clock and the queue of all */
#define QUEUED		64	/* tasks of a core's queue behind which timers that are due wait for a turn */
#define SPIN_NS		20000	/* how long a worker searches before it sleeps; a wake-up costs as much */
#define FUTILE_MAX	4096	/* new tasks, about, for which no core is woken after searches in vain */
#define RELAX		16	/* pauses between two looks */
#define AWAY_NS		1000000000ull	/* between two looks whether a core may go home */
#define PULLS		8	/* tries, the first a millisecond apart, each then twice as long after the last */
#define STEPPED		16	/* sequences interrupted in a row */
#define LOCK_PAUSES	128	/* most pauses between two looks at a lock */
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

/* Every thread of the process does a full fence, as far as it runs. Its partner needs none, only an order. Outside. */
void full_fence_everywhere(void)
{
	int err = errno;

	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	errno = err;
}

/* Whoever is waited for is on another core and brief, unless the kernel took its CPU away. */
void spin(unsigned int *spins)
{
	if (++*spins % 256)
		relax();
	else
		sched_yield();
}

/*
 * The holder is on another core and brief, unless the kernel took its CPU away. Each look takes the lock's line, and
 * what lies beside it, from a core that works there: so looks become rare fast. Who takes the lock again and again then
 * does so some times in a row, which is a fraction of the cost of taking turns.
 */
void lock_slow(uint32_t *l)
{
	unsigned int pauses = 1, i;

	while (load(l) || exchange(l, 1)) {
		for (i = 0; i < pauses; i++)
			relax();
		if (pauses < LOCK_PAUSES)
			pauses *= 2;
		else
			sched_yield();
	}
}

/* The worker's page does not say what it should. */
static inline bool stale(struct worker *w)
{
	return unlikely(load((uint64_t *)w->wp) != w->expect);
}

bool word_take_locked(struct worker *w)
{
	if (stale(w) || !cas(&w->cp->word, 0, w->mark))
		return false;
	if (!stale(w))
		return true;
	exchange(&w->cp->word, 0);
	if (load(&w->core->word_waiters))
		word_wake(w);
	return false;
}

/*
 * The same where sequences are interrupted again and again, as under a debugger that steps, or cannot be used, as the
 * worker is on another CPU. Once the atomic instruction has stored our mark, every sequence that saw the word free is
 * begun anew or has overwritten it.
 */
static bool word_take_stepped(struct worker *w)
{
	uint32_t *word = &w->cp->word;

	if (stale(w) || !cas(word, 0, w->mark))
		return false;
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0);
	if (!cas(word, w->mark, w->mark))
		return false;
	if (!stale(w))
		return true;
	exchange(word, 0);
	if (load(&w->core->word_waiters))
		word_wake(w);
	return false;
}

/*
 * The monitor took the worker for blocked, or gk.ko moved it to another core while its task was preempted: it becomes
 * what its page says. Outside.
 */
static void retarget(struct worker *w)
{
	uint32_t core;

	if (load(&w->wp->state) != GK_W_RUNNING)
		w->rt->be->unblocked(w);
	core = load(&w->wp->core);
	w->core = &w->rt->cores[core];
	w->cp = w->core->page;
	w->cpu = load(&w->cp->cpu);
	w->expect = (uint64_t)core << 32 | GK_W_RUNNING;
}

static bool pin_to(uint32_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/*
 * On another CPU than its core's: somebody changed its affinity, or that CPU is offline or no longer ours. Then the
 * kernel has put it elsewhere, and the core comes there, with its tasks, timers and workers. gk.ko sees all this by
 * itself, and the worker's page says so. False: try again. Outside.
 */
bool come_home(struct worker *w)
{
	struct core *core = &w->rt->cores[load(&w->wp->core)];
	uint32_t cpu = load(&core->page->cpu);
	int here;

	w->cpu = cpu;
	if (pin_to(cpu))
		return true;
	here = sched_getcpu();
	if (!w->rt->be->move || here < 0 || !pin_to(here) || w->rt->be->move(w->rt, core->id))
		return false;
	w->cpu = here;
	return true;
}

/*
 * The core is away from its home. Once in a while, when it is idle: is its CPU there again? Preempted tasks, whose
 * threads are pinned where they are, would be strays for as long as they compute. Outside.
 */
void take_core_home(struct worker *w)
{
	struct core *core = w->core;
	uint64_t now = now_ns(), last = load(&core->away);

	if (load(&core->page->running) > 1 || load(&core->page->nready) || now < last + AWAY_NS ||
	    !cas(&core->away, last, now))
		return;
	/* There it is a stray, and if no other runs the core follows. */
	if (pin_to(core->cpu) && w->rt->be->move(w->rt, core->id))
		pin_to(load(&core->page->cpu));
	w->cpu = load(&core->page->cpu);
}

/*
 * The core word could not be taken at once. If it is held, its holder is on this core and was preempted inside:
 * sleeping lets it run on.
 *
 * leave() clears the word and then reads word_waiters, without a fence. We count ourselves, have every CPU of the
 * process fence, and then look at the word: either the holder's 0 is visible by now, or it will see us waiting.
 *
 * Returns false if the runtime was stopped, maybe with the holder inside, and the worker has no task and is to leave.
 */
bool word_wait(struct worker *w)
{
	int err = *w->errno_location;
	unsigned int failed = 0;
	bool taken = false;
	struct core *core;
	uint32_t v;

	w->own++;
	for (;;) {
		if (load(&w->rt->page->stopping) && load(&w->wp->taskless)) {
			w->own--;
			return false;
		}
		if (stale(w))
			retarget(w);
		else if (w->rseq && rseq_cpu(w->rseq) != w->cpu && !come_home(w))
			failed = STEPPED;
		if (word_take(w))
			break;
		core = w->core;
		add_fetch(&core->word_waiters, 1);
		full_fence_everywhere();
		while (!stale(w) && !(taken = failed < STEPPED ? word_take(w) : word_take_stepped(w))) {
			if (load(&w->rt->page->stopping) && load(&w->wp->taskless)) {
				add_fetch(&core->word_waiters, -1);
				w->own--;
				return false;	/* main_finish() wakes everybody, all_gone() whoever slept later */
			}
			v = load(&w->cp->word);
			if (v) {
				count(&w->inside_waits);
				futex_wait(&w->cp->word, v, NULL);
			} else {
				failed++;
			}
		}
		add_fetch(&core->word_waiters, -1);
		if (taken)
			break;
		/* Moved to another core: a wake-up that it got is for the next one here. */
		if (load(&core->word_waiters))
			futex_wake(&core->page->word, 1);
	}
	w->own--;
	*w->errno_location = err;
	return true;
}

void word_wake(struct worker *w)
{
	int err = *w->errno_location;

	futex_wake(&w->cp->word, 1);
	*w->errno_location = err;
}

/* The worker's own loop goes inside. Returns false, outside, when the runtime was stopped. */
static bool enter_loop(struct worker *w)
{
	touch_stack();
	if (unlikely(!word_take(w)) && !word_wait(w))
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

/* The ring is full: its older half goes to the queue of all, and @t behind it. */
void queue_spill(struct worker *w, struct gk_task *t)
{
	struct gk_task *first = NULL, *last = NULL, *u;
	uint32_t n = 0;

	while (n < RING / 2 && (u = queue_get(w))) {
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
	gq_put(w->rt, first, t, n + 1);
}

static struct gk_task *gq_get(struct worker *w)
{
	struct runtime *rt = w->rt;
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

			if (queue_full(w))
				break;
			queue_put(w, u);
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

/*
 * A new task. Where a core is idle it goes there; else it runs next here. Cores that were woken for such a task of late
 * and found that it had run where it was started, as its starter waited for it, are not woken for the next few.
 */
void ready_new(struct worker *w, struct gk_task *t)
{
	struct core *core = w->core;

	if (core->alone || !any_idle(core)) {
		ready(w, t, true);
	} else if (core->spared) {
		core->spared--;
		ready(w, t, true);
	} else {
		core->spared = load(&w->rt->futile);
		ready_tail(w, t);
	}
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
	else if (!load(&core->page->turn))
		w->todo |= TODO_ARM;
}

/* It is the turn of the worker's own loop; it would find nothing there. */
__attribute__((noinline)) bool turn_is_idle(struct worker *w)
{
	if (load(&w->rt->page->gq_len) || load(&w->cp->deadline))
		return false;
	w->core->turns = TURNS;
	w->core->clock = now_coarse();
	return true;
}

/* The same, and then the queue of all. */
static struct gk_task *pick_any(struct worker *w)
{
	struct gk_task *t = pick(w);

	return t ? t : gq_get(w);
}

/*
 * Two tasks that wake each other are each other's `next`, and never compute for long. After a slice of this they go
 * behind the workers that wait with a preempted task.
 */
static __attribute__((noinline)) void end_of_turn(struct worker *w, uint64_t since)
{
	struct core *core = w->core;
	struct gk_task *t = core->next;

	if (now_ns() - since < w->rt->slice_ns)
		return;
	core->next = NULL;
	store(&core->page->q_next, 0);
	push(w, t);
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
	w->own++;
	if (todo & TODO_UNHOLD) {
		t = w->unhold;
		w->unhold = NULL;
		for (; t; t = next) {
			struct worker *owner = t->pinned;

			next = t->next;
			awake(rt);	/* its worker, which has taken itself off in hold() or is about to */
			store_release(&t->woken, 1);
			rt->be->unhold(rt, owner->id);
		}
	}
	if (todo & TODO_UNMAP) {
		t = w->unmap;
		w->unmap = NULL;
		for (; t; t = next) {
			next = t->next;
			task_unmap(rt, t);
		}
	}
	if (todo & TODO_STACKS)
		w->no_stacks = !stacks_more(rt);
	if (todo & TODO_INTERRUPT)
		interrupt_now(w);
	if (todo & TODO_WAKE)
		/* One that can run nobody, as its workers are all blocked, says so, and the next is tried. */
		for (core = idle_core(w->core, 0); core >= 0 && !rt->be->wake(rt, core);)
			core = idle_core(w->core, core + 1);
	if (todo & TODO_ARM)
		rt->be->arm(rt, w->core->id);
	w->own--;
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
	count(&core->steals);
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
	uint32_t i, at, futile, last_head = 0;

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
		/* Each look costs those whose queues it reads. */
		for (i = 0; i < RELAX; i++)
			relax();
		now = now_ns();
	} while (!found && now < end && load(&w->cp->running) == 1);
	for (i = 0; i < rt->ncores && !found; i++)
		if (&rt->cores[i] != w->core && load(&rt->cores[i].page->q_head) != load(&rt->cores[i].page->q_tail))
			found = &rt->cores[i];
	futile = load(&rt->futile);
	store(&rt->futile, found ? 0 : (futile < FUTILE_MAX ? 2 * futile + 1 : futile));
	/* A full fence. The looks at the rings come after it: here, and in the backend before this worker sleeps. */
	exchange(&rt->page->searching, 0);
	/*
	 * Whoever pushed meanwhile woke nobody, and we take from one place only: if more is left, the next one is woken
	 * for it. If nothing was found, too: the backend does not look where another worker of the core runs by now.
	 */
	for (i = 0; i < rt->ncores; i++)
		if (load(&rt->page->gq_len) || load(&rt->cores[i].page->q_head) != load(&rt->cores[i].page->q_tail))
			w->todo |= TODO_WAKE;
	if (!found && w->todo)
		do_todo(w);
	return found;
}

/*
 * A task that was preempted when it had its worker, mounted on it, waits on a core: have its worker come here. One that
 * has just been preempted cannot be moved before it has parked, for which it needs a little of its CPU's time. It gets
 * that when the scheduler finds it fair: after some ten milliseconds beside one that had slept. We look again, as long
 * as nobody else runs here.
 */
static void pull(struct worker *w)
{
	struct runtime *rt = w->rt;
	unsigned int i, tries;
	bool any = true;

	for (tries = 0; any && tries < PULLS && load(&w->cp->running) == 1; tries++) {
		if (tries)
			usleep(1000u << (tries - 1));
		any = false;
		for (i = 0; i < rt->ncores; i++) {
			if (&rt->cores[i] == w->core || !load(&rt->cores[i].page->nready) ||
			    !load(&rt->cores[i].page->running))
				continue;
			if (rt->be->pull(w, i) > 0) {
				store(&rt->futile, 0);
				return;
			}
			any = true;
		}
	}
}

/*
 * Where one was preempted for another there are two for this core. A core that is idle is woken, and pulls one: nobody
 * has told it, if what the other has was its starter's or its waker's `next`.
 */
static void spread(struct worker *w)
{
	struct core *core = w->core;

	if (!core->alone && any_idle(core) && !load(&core->rt->page->searching))
		w->todo |= TODO_WAKE;
}

/* ---- switching --------------------------------------------------------------------------------------------------- */

/*
 * The handle's other end, once in task_end(), and once more when nobody is on the task's stack: the joiner to be made
 * ready, or NULL. The task's lock is held.
 */
static struct gk_task *joiner_get(struct gk_task *t)
{
	struct waiter *v = t->joiner;

	if (!v || t->joined)
		return NULL;
	if (!claim(v->task)) {
		/* It gave up. The handle is its own still. */
		t->joiner = NULL;
		return NULL;
	}
	t->joined = true;
	v->task->result = 0;
	return v->task;
}

void task_dead(struct worker *w, struct gk_task *t)
{
	struct gk_task *joiner;
	bool release;

	lock(&t->lock);
	t->ended = true;
	joiner = joiner_get(t);
	release = t->detached || t->joined;
	if (unlikely(t->watched))
		timer_del(&t->again);
	unlock(&t->lock);
	count(&w->core->ended);
	if (release)
		task_free(w, t);
	if (joiner)
		ready(w, joiner, true);
}

/* A worker's own loop runs @t. Inside before and after. Returns false, outside, when the runtime was stopped first. */
static __attribute__((noinline)) bool run(struct worker *w, struct gk_task *t)
{
	uintptr_t note;

	store(&w->wp->taskless, 0);
	fence();	/* pairs with the one in the backend's stop(): it finds us with a task, or we see `stopping` */
	if (unlikely(load(&w->rt->page->stopping))) {
		store(&w->wp->taskless, 1);
		leave(w);
		return false;
	}
	set_task(w, t);
	announce_switch(&w->announced, &t->announced, false);
	note = context_switch(&w->home, t->sp, 0);
	announce_arrival(&w->announced);
	/* switch_to() set w->task to NULL, and taskless. */
	if (w->leaving)
		return false;
	finish(w, note);
	return true;
}

/* The first thing that a task executes, inside; @note is of whom it follows. */
__attribute__((used)) void task_begin(uintptr_t note)
{
	struct worker *w = self();
	struct gk_task *t = w->task;

	announce_arrival(&t->announced);
	finish(w, note);
	*w->errno_location = 0;
	if (unlikely(t->pins))
		t->pinned = w;
	leave(w);
}

/* The last. */
__attribute__((used, noreturn)) void task_end(void)
{
	struct gk_task *t = self()->task, *joiner;
	struct worker *w;

	if (unlikely(t->ending))
		task_ending(t);
	w = enter();
	if (unlikely(t == w->rt->main)) {
		leave(w);
		main_finish(w, 0);
	}
	lock(&t->lock);
	joiner = joiner_get(t);
	unlock(&t->lock);
	if (unlikely(t->pinned)) {
		/* Its worker is free for others again. */
		t->pinned = NULL;
		t->pins = 0;
	}
	/* It runs next here, most likely, and then finishes us before it looks at anything. */
	if (joiner)
		ready(w, joiner, true);
	if (unlikely(t->ending))
		scope_leave(w, t);
	switch_away(w, AFTER_DEAD);
	__builtin_unreachable();
}

TASK_ENTRY(task_entry, task_begin, task_end);

void gk_exit(void)
{
	if (!gk_self())
		die("gk_exit called outside a task");
	announce_exit(&gk_self()->announced);
	task_end();
}

/* It does not wait after all, for @err. */
__attribute__((noinline)) int wait_refused(struct worker *w, uint32_t *l, int err)
{
	store(&w->task->claim, CLAIMED);
	if (err == -ECANCELED)
		store(&w->task->interrupted, 0);
	unlock(l);
	leave(w);
	return err;
}

/* A deadline has passed. */
struct gk_task *wait_expired(struct worker *w, struct timer_node *node)
{
	struct gk_task *t = container_of(node, struct gk_task, timer);

	if (!claim(t))
		return NULL;
	t->result = -ETIMEDOUT;
	return t;
}

/* wait_here() with a deadline, or GK_FOREVER: -ETIMEDOUT when it has passed. Then the task may be on the list still. */
int wait_until(struct worker *w, uint32_t *l, enum why why, const void *on, uint64_t deadline)
{
	struct gk_task *t = w->task;
	struct core *core = w->core;

	if (deadline == GK_FOREVER)
		return wait_here(w, l, why, on);
	if (deadline <= now_ns())
		return wait_refused(w, l, -ETIMEDOUT);
	t->why = why;
	t->on = on;
	t->since = core->clock;
	store(&t->claim, t->claims);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);	/* as in wait_here() */
	if (unlikely(load(&t->cancelled)) && t->claims & CANCELLABLE)
		return wait_refused(w, l, -ECANCELED);
	/* It cannot expire before the switch is complete: only this core runs its timers, inside. */
	t->timer.when = deadline;
	t->timer.expire = wait_expired;
	lock(&core->timers_lock);
	timer_add(w, &t->timer);
	unlock(&core->timers_lock);
	t->after_lock = l;
	w = switch_away(w, AFTER_UNLOCK);
	timer_del(&t->timer);
	leave(w);
	return t->result;
}

/* A pinned task of this worker waits: the worker waits with it. Returns false when the runtime stops. */
static bool hold(struct worker *w, struct gk_task *t)
{
	leave(w);
	asleep(w->rt);
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
	uint64_t since = now_ns();
	bool turn, more, granted = true;

	w->home_fpu = fpu_get();
	if (!enter_loop(w))
		return;
	for (;;) {
		cp = w->cp;
		turn = !w->core->turns;
		w->core->turns = turn ? TURNS : w->core->turns - 1;
		/* Where tasks queue up already those of more timers would only stand behind them, and before others. */
		more = load(&cp->deadline) && (turn || load(&cp->q_tail) - load(&cp->q_head) < QUEUED) && timers_run(w);
		/* Granted, maybe for the queue of all: it is its turn. */
		turn |= granted;
		granted = false;
		if (load(&cp->nready) && w->core->next)
			end_of_turn(w, since);
		t = NULL;
		if (load(&cp->running) == 1) {
			if (turn)
				t = gq_get(w);
			if (!t && !ready_worker_first(w))
				t = pick_any(w);
			if (t && load(&cp->nready))
				spread(w);
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
		if (more && load(&cp->running) == 1 && !ready_worker_first(w)) {
			/* Timers are due still; first those who wait for the word, and what is to be done outside. */
			leave(w);
			if (!enter_loop(w))
				return;
			continue;
		}
		count(&w->core->parks);
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
		asleep(w->rt);
		if (w->rt->be->park(w, GK_PARK_STANDBY) < 0)
			return;
		awake(w->rt);
		if (!enter_loop(w))
			return;
		w->core->clock = now_coarse();
		granted = true;
		since = now_ns();
	}
}

/* switch_to(), as the task has it: what differs waits on its stack. */
struct worker *switch_differs(struct worker *w, struct gk_task *prev, struct gk_task *t, enum after after)
{
	struct fpu fpu = fpu_get();
	struct eh eh = *w->eh;
	bool handles = eh.caught || eh.uncaught;	/* w->eh is no thread's own where there is no C++ */

	fpu_set(&w->home_fpu);
	if (handles)
		*w->eh = (struct eh){};
	w = switch_over(w, prev, t, after);
	fpu_set(&fpu);
	if (handles)
		*w->eh = eh;
	return w;
}

/* ---- the calls --------------------------------------------------------------------------------------------------- */

static __attribute__((noinline)) struct worker *yield_slow(struct worker *w)
{
	if (!queued(w) && !load(&w->cp->nready) && !load(&w->rt->page->gq_len) && !load(&w->cp->deadline))
		return w;
	if (!w->task->pinned)
		return switch_away(w, AFTER_READY);
	leave(w);
	w->own++;
	w->rt->be->park(w, GK_PARK_READY);
	w->own--;
	return enter();
}

static always_inline int yield_to(struct worker *w, struct gk_task *t, enum after after)
{
	w->core->turns--;
	leave(switch_to(w, w->task, t, after));
	return 0;
}

int gk_yield(void)
{
	struct worker *w = enter();
	struct gk_task *t;
	int err;

	if (unlikely(!w))
		return -EPERM;
	/* Each way is compiled by itself: nothing is looked at twice. */
	if (likely(runs_alone(w) && !w->core->next && !w->task->pinned)) {
		if (w->core->alone) {
			t = queue_swap(w, w->task);
			if (likely(t))
				return yield_to(w, t, AFTER_NONE);
		} else {
			t = queue_get(w);
			if (likely(t))
				return yield_to(w, t, AFTER_YIELD);
		}
	}
	err = *w->errno_location;
	w = yield_slow(w);
	*w->errno_location = err;
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

/*
 * Not inside: the words are the worker's own, and the task stays on it until it makes a call that does more. The wish
 * names the count of switches, so whoever takes the worker next has not inherited it.
 */
int gk_nopreempt(void)
{
	struct worker *w = self();

	if (!w || !w->task)
		return -EPERM;
	w->task->nopreempts++;
	store(&w->wp->nopreempt, GK_NOPREEMPT(load(&w->wp->switches)));
	return 0;
}

int gk_preempt(void)
{
	struct worker *w = self();
	uint32_t wish;

	if (!w || !w->task)
		return -EPERM;
	if (!w->task->nopreempts)
		return -EINVAL;
	if (--w->task->nopreempts)
		return 0;
	wish = load(&w->wp->nopreempt);
	store(&w->wp->nopreempt, 0);
	/*
	 * A slice that is over from here on is ended, one that was over before is noted: the module does both on this
	 * CPU, in program order. The monitor's note may come too late to be seen; then what it granted ends by time.
	 */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(wish && wish == GK_NOPREEMPT(load(&w->wp->switches)) && load(&w->wp->overdue) == wish))
		return gk_yield();
	return 0;
}
