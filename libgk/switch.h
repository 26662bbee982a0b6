/* SPDX-License-Identifier: MIT */
/*
 * switch.h - from one task to the next: what the calls that wait have inlined.
 *
 * The processor predicts a return by the call that came before it, on whatever stack that was. Where two tasks wait in
 * different calls, each level of calls between the wait and the switch costs a return that is predicted wrong, which is
 * more than the rest of the switch. So there is no such level in the calls that matter, and a task's first and last
 * function are entered by a jump.
 */
#ifndef GK_SWITCH_H
#define GK_SWITCH_H

#include "internal.h"

#define NEXT_STREAK	16	/* times that `next` may go before the ring */

/* ---- the core's queue: inside ------------------------------------------------------------------------------------ */

static always_inline void queue_put(struct worker *w, struct gk_task *t)
{
	uint32_t tail = w->cp->q_tail;

	store(&w->core->ring[tail % RING], t);
	store_release(&w->cp->q_tail, tail + 1);
}

static always_inline bool queue_full(struct worker *w)
{
	return w->cp->q_tail - load_acquire(&w->cp->q_head) >= RING;
}

static always_inline struct gk_task *queue_get(struct worker *w)
{
	struct gk_core_page *cp = w->cp;
	struct core *core = w->core;
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

/*
 * Takes one out and puts @t behind the others: before it is switched away from, so only where nobody steals. The queue
 * never looks empty meanwhile, to those who see to it that it is worked off.
 */
static always_inline struct gk_task *queue_swap(struct worker *w, struct gk_task *t)
{
	struct gk_core_page *cp = w->cp;
	uint32_t head = cp->q_head, tail = cp->q_tail;
	struct gk_task *first, **ring = w->core->ring;

	if (head == tail)
		return NULL;
	/* One address, rather than an offset that is added to each index. */
	__asm__(""
		: "+r"(ring));
	first = load(&ring[head % RING]);
	if (!first)
		__builtin_unreachable();
	store(&ring[tail % RING], t);
	store(&cp->q_tail, tail + 1);
	store_release(&cp->q_head, head + 1);
	return first;
}

static always_inline bool queued(struct worker *w)
{
	return load(&w->cp->q_next) || load(&w->cp->q_head) != load(&w->cp->q_tail);
}

/* A core is idle, maybe. */
static always_inline bool any_idle(struct core *core)
{
	struct gk_group_page *page = core->rt->page;
	unsigned int i;

	for (i = 0; i * 64 < core->rt->ncores; i++)
		if (load(&page->idle[i]))
			return true;
	return false;
}

/* A task was queued: the core's timer must see to it, and another core that is idle may take it. */
static always_inline void queued_more(struct worker *w)
{
	struct core *core = w->core;

	if (!load(&w->cp->turn))
		w->todo |= TODO_ARM;
	if (!core->alone) {
		fence();	/* pairs with the one between idle[] and the look at the rings in the backend */
		if (any_idle(core) && !load(&core->rt->page->searching))
			w->todo |= TODO_WAKE;
	}
}

static always_inline void push(struct worker *w, struct gk_task *t)
{
	if (unlikely(queue_full(w)))
		queue_spill(w, t);
	else
		queue_put(w, t);
	queued_more(w);
}

/* ready(w, t, true), where that is done all the time. */
static always_inline void ready_woken(struct worker *w, struct gk_task *t)
{
	struct core *core = w->core;

	if (unlikely(t->pinned || core->next)) {
		ready(w, t, true);
		return;
	}
	store(&w->cp->urgent, 1);
	core->next = t;
	store(&w->cp->q_next, 1);
	if (!load(&w->cp->turn))
		w->todo |= TODO_ARM;
}

/* The next task of this core's own, or NULL. */
static always_inline struct gk_task *pick(struct worker *w)
{
	struct core *core = w->core;
	struct gk_core_page *cp = w->cp;
	struct gk_task *t = core->next;

	if (t && (core->streak++ < NEXT_STREAK || load(&cp->q_head) == cp->q_tail)) {
		core->next = NULL;
		store(&cp->q_next, 0);
	} else {
		core->streak = 0;
		t = queue_get(w);
	}
	if (load(&cp->urgent) && !queued(w))
		store(&cp->urgent, 0);
	return t;
}

/* ---- switching --------------------------------------------------------------------------------------------------- */

/* What a task leaves to be done for it, and who it is: its address has bits to spare. */
static always_inline uintptr_t note_of(struct gk_task *t, enum after after)
{
	return (uintptr_t)t | after;
}

/* Does that, now that nobody is on its stack. Inside. */
static always_inline void finish(struct worker *w, uintptr_t note)
{
	struct gk_task *t = (struct gk_task *)(note & ~(uintptr_t)AFTER_MASK);

	/* gk_yield() on the only core, which is quick. */
	if (likely(!(note & AFTER_MASK)))
		return;
	switch (note & AFTER_MASK) {
	case AFTER_YIELD:
		queue_put(w, t);
		queued_more(w);
		break;
	case AFTER_UNLOCK:
		store_release(&t->claim, load(&t->claim) + (WAITING - SWITCHING));
		unlock(t->after_lock);
		break;
	case AFTER_READY:
		push(w, t);
		break;
	case AFTER_DEAD:
		task_dead(w, t);
		break;
	case AFTER_SELECT:
		select_parked(t);
		break;
	}
}

static always_inline void set_task(struct worker *w, struct gk_task *t)
{
	store(&w->task, t);
	count(&w->wp->switches);
	w->wp->cookie = (uintptr_t)t;
}

/*
 * It has other floating-point control words than its worker's own loop, or handles exceptions: the words are a task's
 * own, and so are the exceptions, which to the C++ library are its thread's.
 */
static always_inline bool differs(struct worker *w, struct gk_task *t)
{
	struct eh *eh = w->eh;

	return t->fpu_own || fpu_cw() != w->home_fpu.cw || ((uintptr_t)eh->caught | eh->uncaught);
}

static always_inline struct worker *switch_over(struct worker *w, struct gk_task *prev, struct gk_task *t,
						enum after after)
{
	uintptr_t note;

	set_task(w, t);
	if (unlikely(!t))
		store(&w->wp->taskless, 1);
	announce_switch(&prev->announced, t ? &t->announced : &w->announced, after == AFTER_DEAD);
	note = context_switch(&prev->sp, likely(t) ? t->sp : w->home, note_of(prev, after));
	announce_arrival(&prev->announced);
	w = self();
	*w->errno_location = w->task->err;	/* @prev's, without a register that would have to be kept */
	finish(w, note);
	return w;
}

/*
 * The calling task @prev stops running, as @after says, and @t goes on, or the worker's own loop. Inside before and
 * after; what it returns is the worker on which the calling task goes on.
 */
static always_inline struct worker *switch_to(struct worker *w, struct gk_task *prev, struct gk_task *t,
					      enum after after)
{
	prev->err = *w->errno_location;
	if (likely(!differs(w, prev)))
		return switch_over(w, prev, t, after);
	return switch_differs(w, prev, t, after);
}

/* One worker runs on this core, none is READY, and it is not the turn of something else than the core's queue. */
static always_inline bool runs_alone(struct worker *w)
{
	typedef uint64_t __attribute__((may_alias)) both;
	_Static_assert(offsetof(struct gk_core_page, running) % 8 == 0, "running, the lower half of a word");
	_Static_assert(offsetof(struct gk_core_page, nready) % 8 == 4, "nready, the upper half");

	return load((both *)&w->cp->running) == 1 && (w->core->turns || turn_is_idle(w));
}

/* The same, to whom it should be. A worker beside which others run takes no other task: in its own loop it parks. */
static always_inline struct worker *switch_away(struct worker *w, enum after after)
{
	struct gk_task *prev = w->task, *t = NULL;

	if (unlikely(prev->pinned)) {
		w->mine = prev;
	} else if (likely(runs_alone(w))) {
		w->core->turns--;
		t = pick(w);
	}
	return switch_to(w, prev, t, after);
}

/*
 * The calling task waits until somebody makes it ready; it is on a list already, whose lock is @l. Outside after it.
 * Returns what whoever ended the wait left in task->result, or -ECANCELED: then it may be on the list still.
 */
static always_inline int wait_here(struct worker *w, uint32_t *l, enum why why, const void *on)
{
	struct gk_task *t = w->task;

	t->why = why;
	t->on = on;
	t->since = w->core->clock;
	store(&t->claim, t->claims);
	/* gk_cancel() has every CPU fence between its store of `cancelled` and its look at `claim`. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(load(&t->cancelled)) && t->claims & CANCELLABLE)
		return wait_refused(w, l, -ECANCELED);
	t->after_lock = l;
	w = switch_away(w, AFTER_UNLOCK);
	leave(w);
	return t->result;
}

#endif /* GK_SWITCH_H */
