// SPDX-License-Identifier: GPL-2.0-only
/*
 * sched.c - the preemption notifiers: how the module sees a worker block, wake and be preempted.
 *
 * sched_out is called with the rq lock held and interrupts off: it touches the module's own memory and core->lock,
 * wakes nobody, and leaves what must be woken to an irq_work, which fires right after the switch. sched_in is called
 * with interrupts on and preemption off: it may wake and may queue task_work.
 */
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/sched/jobctl.h>

#include "gk.h"
#include "trace.h"

/*
 * Stopped or frozen with its whole process: the others are, or will be, too. A single thread under a debugger is not.
 */
static bool stopped_with_group(void)
{
	unsigned int state = READ_ONCE(current->__state);

	/* It counts as frozen, too, but it may be the only one. */
	if (state & __TASK_TRACED)
		return READ_ONCE(current->jobctl) & JOBCTL_STOP_PENDING;
#ifdef CONFIG_CGROUPS
	if (current->frozen)
		return true;
#endif
	return (state & __TASK_STOPPED) || (state & TASK_FROZEN) ||
	       READ_ONCE(current->jobctl) & (JOBCTL_STOP_PENDING | JOBCTL_TRAP_FREEZE);
}

/* The scheduler has read the clock for its own account just now: no need to do it again. */
void gk_arrive(struct gk_worker *w)
{
	u64 arrival = gk_arrival(current);

	w->ran = current->se.sum_exec_runtime;
	/* Left as it was: the scheduler does not note it. */
	w->in_at = likely(arrival != w->arrival) ? arrival : gk_clock();
	w->arrival = arrival;
}

static void worker_died(struct gk_worker *w)
{
	struct gk_core *core;
	unsigned long flags;

	core = gk_worker_lock(w, &flags);
	if (core->stalled == w)
		core->stalled = NULL;
	trace_gk_exit(w, GK_WHY_DIED);
	gk_make_off(core, w, GK_W_DEAD);
	/* Not READY ones alone may wait: a deadline, too. */
	if (!core->running)
		irq_work_queue(&core->vacant_work);
	gk_worker_unlock(core, flags);
	gk_reap_worker(w);
}

/* The running count fell to 0, in sched_out. @next is what the CPU runs now. */
static void vacant(struct gk_core *core, struct task_struct *next)
{
	struct gk_worker *n = gk_worker_of(next);

	lockdep_assert_held(&core->lock);
	if (gk_counts_itself(core, next))
		return;
	/* Displaced, never parked, and here it is: no switch and no interrupt for what the scheduler has done. */
	if (n && n->core == core && n->state == GK_W_READY && !n->parked && !n->moving && !core->stalled &&
	    !READ_ONCE(core->group->stopping) && !stopped_with_group()) {
		trace_gk_handoff(n, GK_WHY_AFTER_BLOCK);
		core->page->grants_ready++;
		n->page->grants++;
		gk_make_running(core, n);
		return;
	}
	set_bit(core->id, (unsigned long *)core->group->page->idle);
	smp_mb__after_atomic();		/* (A) of core.c */
	if (stopped_with_group() || core->stalled) {
		trace_gk_idle(core, core->stalled ? GK_WHY_STALLED : GK_WHY_NOTHING);
		return;
	}
	if (gk_core_work(core) || gk_group_work(core)) {
		irq_work_queue(&core->vacant_work);
	} else {
		trace_gk_idle(core, GK_WHY_NOTHING);
		gk_core_rearm(core);
	}
}

/* In its sched_out, @w could go on, but its turn was over before. What it has begun since counts for it. */
static void displaced(struct gk_worker *w)
{
	struct gk_core *core = w->core;

	/* RUNNING, so nobody takes it to another core; the scheduler has interrupts off. */
	raw_spin_lock(&core->lock);
	if (w->displaced && core->running > 1 && w->seen_switches == READ_ONCE(w->page->switches) &&
	    !gk_core_inside(core, w) && !READ_ONCE(core->group->stopping))
		gk_preempt(core, w);
	w->displaced = false;
	gk_check_core(core);
	raw_spin_unlock(&core->lock);
}

static void gk_sched_out(struct preempt_notifier *pn, struct task_struct *next)
{
	struct gk_worker *w = container_of(pn, struct gk_worker, pn);
	struct gk_core *core;
	unsigned long flags;

	if (unlikely(READ_ONCE(current->__state) & TASK_DEAD)) {
		worker_died(w);
		return;
	}
	if (gk_runnable(current)) {
		if (READ_ONCE(w->displaced))
			displaced(w);
		return;
	}
	/* It blocks, and begins a new stint when it wakes: what it has used no longer counts. */
	if (w->parked && READ_ONCE(w->state) != GK_W_RUNNING)
		return;
	core = gk_worker_lock(w, &flags);
	switch (w->state) {
	case GK_W_RUNNING:
		if (gk_core_inside(core, w)) {
			core->stalled = w;
			core->page->stalls++;
		}
		trace_gk_block(w, core->stalled == w ? GK_WHY_INSIDE : GK_WHY_NONE);
		core->page->blocks++;
		w->page->blocks++;
		gk_make_off(core, w, GK_W_BLOCKED);
		if (!core->running)
			vacant(core, next);
		break;
	case GK_W_READY:
		/* Stopped where it would have parked: on SIGCONT it does. */
		if (stopped_with_group())
			break;
		/* It blocks on its way to the park: a grant would be lost on it. */
		trace_gk_block(w, GK_WHY_NONE);
		core->page->blocks++;
		w->page->blocks++;
		gk_make_off(core, w, GK_W_BLOCKED);
		break;
	}
	gk_worker_unlock(core, flags);
}

/*
 * A worker that was asleep in the kernel is about to go on. Returns true if it must park before it reaches user mode.
 */
static bool woken(struct gk_core *core, struct gk_worker *w)
{
	struct gk_group *g = core->group;
	unsigned int bound = READ_ONCE(g->bound);

	trace_gk_unblock(w, GK_WHY_NONE);
	core->page->unblocks++;
	if (core->stalled == w)
		core->stalled = NULL;
	if (gk_must_stop(w)) {
		gk_make_off(core, w, GK_W_STOPPED);
		return true;
	}
	if (bound && core->running >= bound && !gk_core_inside(core, w) && !READ_ONCE(g->stopping)) {
		core->page->parks_bound++;
		gk_make_ready(core, w, true);
		gk_core_rearm(core);
		return true;
	}
	if (core->running)
		core->page->wakes_over++;
	gk_make_running_in(core, w);
	gk_core_rearm(core);
	return false;
}

static void gk_sched_in(struct preempt_notifier *pn, int cpu)
{
	struct gk_worker *w = container_of(pn, struct gk_worker, pn);
	struct gk_group *g = w->group;
	struct gk_wake wake = {};
	struct gk_core *core;
	unsigned long flags;
	bool park = false;
	u8 state;

	gk_arrive(w);
	/* Another program now, or the file and its mapping are gone: it is to be no worker any more. */
	if (unlikely(current->mm != g->mm || READ_ONCE(g->dead))) {
		if (!(current->flags & PF_EXITING)) {
			w->leaving = true;
			gk_queue_park(w);
		}
		return;
	}
again:
	core = READ_ONCE(w->core);
	state = READ_ONCE(w->state);
	/* While it is RUNNING its core does not move: where that was before is seen. */
	smp_rmb();
	if (unlikely(w->stray || cpu != READ_ONCE(core->cpu))) {
		gk_worker_stray(w, cpu);
		if (w->stray) {
			if ((gk_must_stop(w) || READ_ONCE(w->state) == GK_W_READY) && !w->parked)
				gk_queue_park(w);
			return;
		}
	}
	/* The common return from a preemption: nobody else wants the core, or the timer looks after them. */
	if (state == GK_W_RUNNING && !gk_must_stop(w) && !READ_ONCE(w->repark) &&
	    !READ_ONCE(core->page->urgent) &&
	    (READ_ONCE(core->armed) || (READ_ONCE(core->running) == 1 && !gk_core_work(core) &&
					!READ_ONCE(core->page->deadline))))
		return;

	rcu_read_lock();
	core = gk_worker_lock(w, &flags);
	/* It has moved, just now. */
	if (unlikely(cpu != core->cpu)) {
		gk_worker_unlock(core, flags);
		rcu_read_unlock();
		goto again;
	}
	switch (w->state) {
	case GK_W_BLOCKED:
		park = woken(core, w);
		break;
	case GK_W_READY:
	case GK_W_STANDBY:
	case GK_W_HELD:
		/* Displaced; or it left its park for a stop signal and is back. */
		park = !w->parked;
		break;
	case GK_W_STOPPED:
		/* Out of its park for a signal handler, which has its time. */
		if (!w->parked && w->repark)
			gk_repark_start(w);
		else
			park = !w->parked;
		break;
	case GK_W_RUNNING:
		if (gk_must_stop(w)) {
			gk_make_off(core, w, GK_W_STOPPED);
			park = true;
			break;
		}
		if (gk_core_inside(core, w) || READ_ONCE(g->stopping))
			break;
		if (w->repark) {
			gk_repark_start(w);
		} else if (core->running == 1 && !core->stalled && READ_ONCE(core->page->urgent) &&
			   gk_core_work(core) && gk_stint(w) >= READ_ONCE(g->grain_ns) &&
			   !gk_core_defers(core, w)) {
			/*
			 * Those that woke beside it queued tasks and blocked again: their turn comes now, not at the
			 * tick.
			 */
			trace_gk_preempt(w, GK_WHY_GRAIN);
			core->page->preempts++;
			park = true;
		}
		if (park) {
			gk_make_ready(core, w, false);
			gk_core_settle(core, GK_AFTER_PARK, NULL, &wake);
			gk_check_settled(core, NULL);
			park = w->state == GK_W_READY;
		}
		gk_core_rearm_in(core, w);
		break;
	}
	gk_worker_unlock(core, flags);
	if (park)
		gk_queue_park(w);
	gk_wake_flush(&wake);
	rcu_read_unlock();
}

/* The core of @w, a stray and current, has come to it: as if it were switched in. With preemption off, as there. */
void gk_come_in(struct gk_worker *w)
{
	gk_sched_in(&w->pn, smp_processor_id());
}

struct preempt_ops gk_preempt_ops = {
	.sched_in = gk_sched_in,
	.sched_out = gk_sched_out,
};
