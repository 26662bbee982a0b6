// SPDX-License-Identifier: GPL-2.0-only
/*
 * core.c - one core: its count of running workers, who is granted next, and its timer.
 *
 * The protocol, with its fences (selftests/model/core.pml is its model):
 *
 *   vacant side (here)                        queue side (the library)
 *   running = 0                               put the task where others see it
 *   set the bit in idle[]                     full fence
 *   full fence                      (A)       read idle[]
 *   read q_head/q_tail of the others          a bit set: GK_IOC_WAKE
 *
 *   Both sides missing the other is the outcome that (A) and its partner rule out: a queued task and a sleeping core.
 *
 * Within a core no fence is needed: the library's stores to its own core's words and our loads of them, in a notifier
 * or an interrupt of the same thread or CPU, are in program order.
 */
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <asm/irq_regs.h>

#include "gk.h"
#include "trace.h"

#define GK_RETRY_NS	(50 * NSEC_PER_USEC)	/* until a holder of the core word is looked at again */

u64 gk_clock(void)
{
	return local_clock();
}

/* CPU time of @w. For a worker on another CPU it is short of its present run. */
u64 gk_exec(struct gk_worker *w)
{
	if (w->task != current)
		return READ_ONCE(w->task->se.sum_exec_runtime);
	return w->ran + max_t(s64, gk_clock() - w->in_at, 0);
}

static void set_overdue(struct gk_worker *w, u32 overdue)
{
	w->overdue = overdue;
	WRITE_ONCE(w->page->overdue, overdue);
}

/* CPU time since @w was granted, or first seen with the task it has. */
u64 gk_stint(struct gk_worker *w)
{
	u64 switches = READ_ONCE(w->page->switches);
	u64 now = gk_exec(w);

	if (switches != w->seen_switches) {
		w->seen_switches = switches;
		w->stint = now;
		w->protect = 0;
		if (unlikely(w->overdue))
			set_overdue(w, 0);
	}
	/* The scheduler's account is without interrupts, the clock is not: a little less than nothing is nothing. */
	return max_t(s64, now - w->stint, 0);
}

static void publish_ready(struct gk_core *core)
{
	struct gk_core_page *page = core->page;

	WRITE_ONCE(page->nready, core->nready);
	if (core->nready)
		WRITE_ONCE(page->ready_pos, list_first_entry(&core->ready_list, struct gk_worker, node)->pos);
}

/* What counts the change is written before it: who sees the new state sees it counted. */
static __always_inline void set_state(struct gk_worker *w, u8 state)
{
	trace_gk_state(w, state);
	gk_check_transition(w, state);
	WRITE_ONCE(w->state, state);
	/* After its counters. */
	smp_store_release(&w->page->state, state);
	/* A reader that sees the new seq sees the state that goes with it, or a later one. */
	smp_store_release(&w->page->seq, ++w->seq);
}

/* Takes @w off the list of its state, and out of the count that goes with it. */
static __always_inline void leave_state(struct gk_core *core, struct gk_worker *w)
{
	lockdep_assert_held(&core->lock);
	switch (w->state) {
	case GK_W_RUNNING:
		hlist_del(&w->place);
		WRITE_ONCE(core->page->running, --core->running);
		w->displaced = false;
		break;
	case GK_W_READY:
		if (w->moving) {
			w->moving = false;
			break;
		}
		list_del(&w->node);
		core->nready--;
		core->nurgent -= w->urgent;
		w->urgent = false;
		publish_ready(core);
		break;
	case GK_W_STANDBY:
		hlist_del(&w->place);
		WRITE_ONCE(core->page->nstandby, --core->nstandby);
		break;
	}
}

static __always_inline void make_running(struct gk_core *core, struct gk_worker *w, u64 exec)
{
	struct gk_group *g = core->group;

	leave_state(core, w);
	hlist_add_head(&w->place, &core->running_list);
	/* A look is cheaper than a locked operation; who has spoilt the bit harms himself. */
	if (!core->running++ && test_bit(core->id, (unsigned long *)g->page->idle))
		clear_bit(core->id, (unsigned long *)g->page->idle);
	WRITE_ONCE(core->page->running, core->running);
	if (unlikely(READ_ONCE(g->net_told)))
		WRITE_ONCE(g->net_told, false);
	w->seen_switches = READ_ONCE(w->page->switches);
	w->stint = exec;
	w->protect = 0;
	if (unlikely(w->overdue))
		set_overdue(w, 0);
	set_state(w, GK_W_RUNNING);
}

void gk_make_running(struct gk_core *core, struct gk_worker *w)
{
	make_running(core, w, gk_exec(w));
}

/* In the sched_in of @w, after a block: it has used nothing yet, and no clock is read. */
void gk_make_running_in(struct gk_core *core, struct gk_worker *w)
{
	make_running(core, w, w->ran);
}

void gk_make_ready(struct gk_core *core, struct gk_worker *w, bool urgent)
{
	leave_state(core, w);
	list_add_tail(&w->node, &core->ready_list);
	core->nready++;
	w->urgent = urgent;
	core->nurgent += urgent;
	w->pos = READ_ONCE(core->page->q_tail);
	publish_ready(core);
	set_state(w, GK_W_READY);
}

void gk_make_standby(struct gk_core *core, struct gk_worker *w)
{
	leave_state(core, w);
	hlist_add_head(&w->place, &core->standby_list);
	WRITE_ONCE(core->page->nstandby, ++core->nstandby);
	set_state(w, GK_W_STANDBY);
}

/* BLOCKED, HELD, STOPPED or DEAD: on no list. */
void gk_make_off(struct gk_core *core, struct gk_worker *w, u8 state)
{
	leave_state(core, w);
	set_state(w, state);
}

/* READY, but on no list, until gk_worker_pull() puts it on one. */
void gk_make_moving(struct gk_core *core, struct gk_worker *w)
{
	trace_gk_move(w, GK_WHY_NONE);
	leave_state(core, w);
	w->moving = true;
}

/* Kind e of gk.h. Needs a full fence between the idle bit of @core and the loads here (A). */
bool gk_group_work(struct gk_core *core)
{
	struct gk_group *g = core->group;
	unsigned int i;

	if (READ_ONCE(g->page->searching))
		return false;
	for (i = 0; i < g->ncores; i++) {
		struct gk_core_page *page = g->cores[i].page;

		if (i != core->id && READ_ONCE(page->q_head) != READ_ONCE(page->q_tail))
			return true;
	}
	return false;
}

/*
 * The next worker for a core on which nobody runs, or NULL. @last, or NULL, is taken for the worker that became READY
 * last.
 */
static struct gk_worker *next_worker(struct gk_core *core, enum gk_cause cause, struct gk_worker *last)
{
	struct gk_worker *ready = list_first_entry_or_null(&core->ready_list, struct gk_worker, node) ?: last;
	struct gk_worker *standby = hlist_entry_safe(core->standby_list.first, struct gk_worker, place);
	struct gk_core_page *page = core->page;
	u32 pos;

	if (!ready || !standby)
		return ready ?: standby;
	/*
	 * One order for both: the READY worker goes first unless tasks that were queued before it still wait. What has
	 * no position in that order (a task in q_next, the queue of all, a timer, the network) takes turns with READY
	 * workers.
	 */
	if (cause == GK_AFTER_PARK) {
		pos = ready == last ? READ_ONCE(page->q_tail) : ready->pos;
		if (READ_ONCE(page->q_head) != READ_ONCE(page->q_tail) && (s32)(pos - READ_ONCE(page->q_head)) > 0)
			return standby;
		if (!core->passed && (READ_ONCE(page->q_next) || READ_ONCE(core->group->page->gq_len) ||
				      gk_deadline_passed(core) || gk_net_waits(core->group))) {
			core->passed = true;
			return standby;
		}
	}
	core->passed = false;
	return ready;
}

static void grant(struct gk_core *core, struct gk_worker *w, enum gk_cause cause, struct gk_worker *self,
		  struct gk_wake *wake)
{
	struct gk_group *g = core->group;

	trace_gk_grant(w, (enum gk_why)cause);
	gk_check_grant(core, w, cause);
	if (w->state == GK_W_READY)
		core->page->grants_ready++;
	else
		core->page->grants_standby++;
	w->page->grants++;
	gk_make_running(core, w);
	if (cause != GK_AFTER_BLOCK && gk_queue_waits(core))
		w->protect = READ_ONCE(g->grain_ns);
	if (w == self)
		return;
	/* Pairs with set_current_state() in park_sleep(): it sees RUNNING, or we see it parked. */
	smp_mb();
	if (READ_ONCE(w->parked))
		wake->task = w->task;
	if (!core->nstandby)
		wake->manager = g;
}

/* Nobody runs on @core: others may give it work, and what they have given before is seen from here on (A). */
static __always_inline void set_idle(struct gk_core *core, enum gk_why why)
{
	trace_gk_idle(core, why);
	set_bit(core->id, (unsigned long *)core->group->page->idle);
	smp_mb__after_atomic();		/* (A), pairs with the library's fence before it reads idle[] */
}

/*
 * If nobody runs on @core and work waits, grants one worker. Publishes the core as idle otherwise. @self is the worker
 * that asks, if it parks just now: that it is the last STANDBY is no reason to make another.
 */
void gk_core_settle(struct gk_core *core, enum gk_cause cause, struct gk_worker *self, struct gk_wake *wake)
{
	struct gk_group *g = core->group;
	struct gk_worker *w;

	lockdep_assert_held(&core->lock);
	if (core->running || READ_ONCE(g->stopping) || READ_ONCE(g->dead))
		return;
	if (core->stalled || (!self && gk_counts_itself(core, current))) {
		set_idle(core, core->stalled ? GK_WHY_STALLED : GK_WHY_COMING);
		return;
	}
	if (cause != GK_AFTER_WAKE && !gk_core_work(core)) {
		set_idle(core, GK_WHY_NOTHING);
		/* Others may have put a task into the queue of all before they could see the bit. */
		if (!READ_ONCE(g->page->gq_len) && !gk_group_work(core))
			return;
	}
	w = next_worker(core, cause, NULL);
	if (w) {
		grant(core, w, cause, self, wake);
		return;
	}
	set_idle(core, GK_WHY_STARVED);
	core->page->starved++;
	wake->manager = g;
}

/* What a worker of @core may use before it must let others run. */
static u64 turn(struct gk_core *core)
{
	return READ_ONCE(*(gk_core_urgent(core) ? &core->group->grain_ns : &core->group->slice_ns));
}

/*
 * What @w, whose turn is over, may use all the same, as it asked not to be preempted: a slice from when that was first
 * found, once a turn, however often it asks. 0: nothing.
 */
u64 gk_core_defers(struct gk_core *core, struct gk_worker *w)
{
	u64 stint = gk_stint(w), slice = READ_ONCE(core->group->slice_ns);
	u32 asks = READ_ONCE(w->page->nopreempt);

	lockdep_assert_held(&core->lock);
	if (likely(asks != GK_NOPREEMPT(w->seen_switches)))
		return 0;
	if (!w->overdue) {
		trace_gk_defer(w, GK_WHY_NONE);
		core->page->deferred++;
		w->deferred_until = stint + slice;
		set_overdue(w, asks);
	}
	/* The slice may have changed meanwhile; the tick may be early, as it may for a turn. */
	return stint + slice / 8 < w->deferred_until ? min(w->deferred_until - stint, slice) : 0;
}

/* @self has no task. Others run; if tasks are queued it takes the place of whoever else runs and is not protected. */
void gk_core_displace(struct gk_core *core, struct gk_worker *self)
{
	struct hlist_node *next;
	struct gk_worker *w;

	lockdep_assert_held(&core->lock);
	if (!(gk_queue_waits(core) || READ_ONCE(core->group->page->gq_len)) ||
	    READ_ONCE(core->group->stopping))
		return;
	hlist_for_each_entry_safe(w, next, &core->running_list, place) {
		/* Elsewhere it may be executing right now; here it cannot, we are. */
		if (w == self || task_cpu(w->task) != raw_smp_processor_id() || gk_core_inside(core, w))
			continue;
		if ((w->protect && gk_stint(w) < w->protect) || gk_core_defers(core, w))
			continue;
		trace_gk_preempt(w, GK_WHY_DISPLACED);
		core->page->displaced++;
		gk_make_ready(core, w, false);
	}
}

static void publish_armed(struct gk_core *core)
{
	WRITE_ONCE(core->page->armed, core->armed);
	WRITE_ONCE(core->page->turn, core->armed && core->armed_turn != U64_MAX);
}

/*
 * Sets core->armed to when the timer is to fire for what @core has to expect, if it is not armed for that or earlier,
 * and returns true if the caller is to start it; @len is the turn that the core's worker has. Never for the past, which
 * would repeat for ever: a deadline that has passed is work, which ends a turn, or is looked at again a moment later if
 * there is somebody to grant; where there is nobody, whoever next parks, enters or wakes finds it. The timer must fire
 * on the core's CPU, where the worker to preempt runs; from another CPU an interrupt has it armed there.
 */
static bool rearm(struct gk_core *core, u64 len)
{
	/* A user's number, and hrtimer_set_expires() takes any: what is negative as a time would be for the past. */
	u64 want = min_t(u64, READ_ONCE(core->page->deadline), KTIME_MAX), now, end;

	lockdep_assert_held(&core->lock);
	if (READ_ONCE(core->group->dead) || READ_ONCE(core->group->stopping))
		return false;
	/* Armed for no longer a turn than this one, and no deadline comes before that: the clock need not be read. */
	if (core->armed && core->armed_turn <= len && (!want || core->armed <= want))
		return false;
	now = ktime_get_mono_fast_ns();
	if (want && want <= now) {
		/* It may have passed since gk_core_settle() looked: then the timer, at once, looks again. */
		want = !core->running && !core->stalled && (core->nstandby || core->nready) ? now + GK_RETRY_NS : 0;
	}
	if (core->running > 1 || (core->running && gk_core_work(core))) {
		end = now + len;
		if (!want || want > end)
			want = end;
	} else {
		len = U64_MAX;
	}
	if (!want)
		return false;
	if (core->armed && core->armed <= want) {
		/* For a deadline, which comes first, and now for the end of a turn as well. */
		core->armed_turn = min(core->armed_turn, len);
		publish_armed(core);
		return false;
	}
	if (raw_smp_processor_id() != core->cpu &&
	    smp_call_function_single_async(core->cpu, &core->csd) != -ENXIO)
		return false;
	core->armed = want;
	core->armed_turn = len;
	publish_armed(core);
	return true;
}

void gk_core_rearm(struct gk_core *core)
{
	if (rearm(core, turn(core)))
		hrtimer_start(&core->timer, ns_to_ktime(core->armed), HRTIMER_MODE_ABS_PINNED_HARD);
	gk_check_armed(core);
}

/* As @w, RUNNING, is switched in: what is left of a turn that is over already, but for its wish, is no new turn. */
void gk_core_rearm_in(struct gk_core *core, struct gk_worker *w)
{
	u64 more = w->overdue ? gk_core_defers(core, w) : 0;

	/* Looked at again: with another task it is not overdue any more. */
	if (unlikely(w->overdue))
		more = max_t(u64, more, GK_RETRY_NS);
	if (rearm(core, more ?: turn(core)))
		hrtimer_start(&core->timer, ns_to_ktime(core->armed), HRTIMER_MODE_ABS_PINNED_HARD);
	gk_check_armed(core);
}

/* From here on @w may finish what it does in the kernel, no more. */
void gk_preempt(struct gk_core *core, struct gk_worker *w)
{
	trace_gk_preempt(w, GK_WHY_TURN);
	core->page->preempts++;
	gk_make_ready(core, w, false);
}

/*
 * The turn of @w, which the timer has hit, is over: the next one is granted, @w itself where there is nobody else.
 *
 * A STANDBY is granted beside @w where @w is in user mode: the scheduler is about to switch to it, and as it does @w
 * becomes READY (sched.c). So @w neither sleeps nor takes a detour on its way back, if the other parks soon. Where the
 * scheduler lets @w go on all the same it is RUNNING, and counted; at the next tick its turn is over again.
 *
 * Returns true if @w must park.
 */
static bool turn_over(struct gk_core *core, struct gk_worker *w, struct gk_wake *wake)
{
	struct pt_regs *regs = get_irq_regs();
	struct gk_worker *next;
	bool beside;

	if (core->running > 1 || READ_ONCE(core->group->dead)) {
		gk_preempt(core, w);
		return true;
	}
	/* It decides whose turn it is, once. */
	next = next_worker(core, GK_AFTER_PARK, w);
	beside = next->state == GK_W_STANDBY && !w->displaced && regs && user_mode(regs);
	if (!beside)
		gk_preempt(core, w);
	grant(core, next, GK_AFTER_PARK, NULL, wake);
	w->displaced = beside;
	return next != w && !beside;
}

/* The scheduler lets @w, displaced, go on: then it must park as it returns. */
static void displace_now(struct gk_core *core, struct gk_worker *w)
{
	raw_spin_lock(&core->lock);
	gk_preempt(core, w);
	gk_check_core(core);
	raw_spin_unlock(&core->lock);
	gk_queue_park(w);
}

/* The end of a slice, or a deadline. A hard timer: interrupts are off. */
static enum hrtimer_restart core_timer(struct hrtimer *timer)
{
	struct gk_core *core = container_of(timer, struct gk_core, timer);
	struct gk_worker *w = gk_worker_of(current);
	enum hrtimer_restart restart = HRTIMER_NORESTART;
	bool park = false, beside = false;
	struct gk_wake wake = {};
	u64 limit, more = 0;

	raw_spin_lock(&core->lock);
	core->armed = 0;
	trace_gk_tick(core, GK_WHY_NONE);
	core->page->ticks++;
	limit = turn(core);
	if (!core->running) {
		gk_core_settle(core, GK_AFTER_PARK, NULL, &wake);
	} else if (unlikely(raw_smp_processor_id() != core->cpu)) {
		/* Left behind as the core moved: it is armed anew, over there. */
	} else if (!w || w->core != core || w->state != GK_W_RUNNING || READ_ONCE(core->group->stopping)) {
		/* Others have the CPU. Our next sched_in arms the timer again. */
		goto out;
	} else if ((core->running > 1 || gk_core_work(core)) && !core->stalled && gk_stint(w) >= limit - limit / 8) {
		if (gk_core_inside(core, w)) {
			core->armed = ktime_get_mono_fast_ns() + GK_RETRY_NS;
			core->armed_turn = GK_RETRY_NS;
			restart = HRTIMER_RESTART;
		} else {
			more = gk_core_defers(core, w);
			if (!more)
				park = turn_over(core, w, &wake);
			beside = w->displaced;
		}
	}
	if (!more)
		more = beside ? limit : turn(core);
	if (rearm(core, more))
		restart = HRTIMER_RESTART;
	if (restart == HRTIMER_NORESTART)
		goto out;
	/* Started behind our back it can only be where its CPU went offline. */
	if (unlikely(hrtimer_is_queued(timer))) {
		hrtimer_start(timer, ns_to_ktime(core->armed), HRTIMER_MODE_ABS_PINNED_HARD);
		restart = HRTIMER_NORESTART;
	} else {
		hrtimer_set_expires(timer, ns_to_ktime(core->armed));
	}
out:
	publish_armed(core);
	gk_check_core(core);
	raw_spin_unlock(&core->lock);
	if (park)
		gk_queue_park(w);
	gk_wake_flush(&wake);
	if (beside && !need_resched())
		displace_now(core, w);
	return restart;
}

/* Looks at @core again, on its own CPU, in an interrupt. */
static void core_look(struct gk_core *core, enum gk_cause cause)
{
	struct gk_wake wake = {};
	unsigned long flags;

	rcu_read_lock();
	raw_spin_lock_irqsave(&core->lock, flags);
	gk_core_settle(core, cause, NULL, &wake);
	gk_check_settled(core, NULL);
	gk_core_rearm(core);
	gk_check_core(core);
	raw_spin_unlock_irqrestore(&core->lock, flags);
	gk_wake_flush(&wake);
	rcu_read_unlock();
}

static void core_vacant(struct irq_work *work)
{
	core_look(container_of(work, struct gk_core, vacant_work), GK_AFTER_BLOCK);
}

static void core_remote(void *info)
{
	struct gk_core *core = info;

	trace_gk_remote(core, GK_WHY_NONE);
	core->page->remote++;
	core_look(core, GK_AFTER_PARK);
}

/*
 * Has @core looked at again on its own CPU. Where the csd is still on its way nothing is lost: it is unlocked before
 * the function runs, so that one will see what the caller stored.
 */
void gk_core_kick(struct gk_core *core)
{
	unsigned long flags;
	unsigned int cpu;

	/* Pairs with csd_unlock() before core_remote(): it sees what we stored, or we find the csd free. */
	smp_mb();
	local_irq_save(flags);
	cpu = READ_ONCE(core->cpu);
	if (smp_processor_id() == cpu || smp_call_function_single_async(cpu, &core->csd) == -ENXIO)
		core_look(core, GK_AFTER_PARK);
	local_irq_restore(flags);
}

/*
 * Slice or grain have changed. The timer may be armed for the end of a turn that would be too long now: it counts as
 * armed for a deadline only, so that we, or whoever makes work next, arm it anew. It may fire once for nothing.
 */
void gk_core_new_turn(struct gk_core *core)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&core->lock, flags);
	if (core->armed) {
		core->armed_turn = U64_MAX;
		publish_armed(core);
	}
	raw_spin_unlock_irqrestore(&core->lock, flags);
	gk_core_kick(core);
}

/*
 * @core comes to our CPU, with all that waits for it. Not from under a worker that runs: it may be about to take the
 * core word, as one of the CPU that it is on. Any other is switched in, or looks, before it is RUNNING again, and is a
 * stray until it has followed. One that ran here as a stray would not be switched in: so it is here that the caller
 * must be, and nobody else is. Nor while one is on its way to its park, which is soon over: granted meanwhile it would
 * go on where it was stopped, maybe amid a sequence that takes the core word.
 */
static bool moves(struct gk_core *core)
{
	struct gk_worker *w;

	lockdep_assert_held(&core->lock);
	if (core->running)
		return false;
	list_for_each_entry(w, &core->ready_list, node)
		if (!READ_ONCE(w->parked) && !READ_ONCE(w->stray))
			return false;
	return true;
}

int gk_core_move(struct gk_core *core)
{
	struct gk_worker *w = gk_worker_of(current);
	unsigned long flags;
	unsigned int cpu;
	int err = 0;

	preempt_disable();
	raw_spin_lock_irqsave(&core->lock, flags);
	cpu = smp_processor_id();
	if (core->cpu != cpu && !moves(core)) {
		err = -EBUSY;
	} else if (core->cpu != cpu) {
		trace_gk_rehome(core, GK_WHY_NONE);
		/* Before anybody sends a csd there. */
		cpumask_set_cpu(cpu, core->group->cpus);
		WRITE_ONCE(core->cpu, cpu);
		WRITE_ONCE(core->page->cpu, cpu);
		/* The timer is on the other one, and void: whoever makes work next, or we, start it here. */
		core->armed = 0;
		publish_armed(core);
	}
	raw_spin_unlock_irqrestore(&core->lock, flags);
	if (!err && w && w->core == core && w->stray)
		gk_come_in(w);
	if (!err)
		gk_core_kick(core);
	preempt_enable();
	return err;
}

/*
 * Somebody has work to give away, or has just queued some here, or it is from @net. Returns 1 if a worker was granted
 * for it.
 */
int gk_core_wake(struct gk_core *core, bool net)
{
	struct gk_wake wake = { .net = net };
	unsigned long flags;
	int granted;

	rcu_read_lock();
	raw_spin_lock_irqsave(&core->lock, flags);
	granted = -core->running;
	gk_core_settle(core, GK_AFTER_WAKE, NULL, &wake);
	granted += core->running;
	trace_gk_wake(core, granted);
	gk_check_settled(core, NULL);
	gk_check_core(core);
	raw_spin_unlock_irqrestore(&core->lock, flags);
	gk_wake_flush(&wake);
	rcu_read_unlock();
	return granted;
}

void gk_core_init(struct gk_core *core, struct gk_group *g, unsigned int id, unsigned int cpu)
{
	raw_spin_lock_init(&core->lock);
	core->group = g;
	core->id = id;
	core->cpu = cpu;
	INIT_LIST_HEAD(&core->ready_list);
	gk_hrtimer_setup(&core->timer, core_timer, HRTIMER_MODE_ABS_PINNED_HARD);
	core->vacant_work = IRQ_WORK_INIT_HARD(core_vacant);
	INIT_CSD(&core->csd, core_remote, core);
	core->page->cpu = cpu;
	cpumask_set_cpu(cpu, g->cpus);
	set_bit(id, (unsigned long *)g->page->idle);
}

/* After the last worker left and the file is closed: nothing can start these again but each other. */
void gk_core_destroy(struct gk_core *core)
{
	irq_work_sync(&core->vacant_work);
	hrtimer_cancel(&core->timer);
}
