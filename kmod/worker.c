// SPDX-License-Identifier: GPL-2.0-only
/*
 * worker.c - a thread becomes a worker, parks, and leaves.
 *
 * A worker parks where it holds no lock of the kernel and owes it nothing more: in park_work(), a task_work callback
 * that runs when the thread is about to return to user mode, all of its system call or fault done; or, which is
 * shorter, in its own GK_IOC_PARK, which holds nothing but a reference to our file. That one would keep the group
 * alive after its last descriptor: so the first close ends the short way, see gk_group_close().
 */
#include <linux/freezer.h>
#include <linux/module.h>
#include <linux/sched/jobctl.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <asm/irq_regs.h>

#include "gk.h"
#include "trace.h"

#define GK_REPARK_NS	(50 * NSEC_PER_USEC)	/* what a signal handler has before its worker parks again */

/*
 * Has the current worker go through park_work() before its next user instruction. From its own context or an interrupt
 * on it, not from sched_out: task_work_add() may allocate in debug kernels. Returns false if the thread is past that,
 * exiting.
 */
bool gk_queue_park(struct gk_worker *w)
{
	if (xchg(&w->park_queued, 1))
		return true;
	if (!task_work_add(current, &w->park_work, TWA_RESUME))
		return true;
	WRITE_ONCE(w->park_queued, 0);
	return false;
}

/*
 * A fatal signal, exit_group or another thread's exec. do_exit() runs task_work before it sets PF_EXITING, and by then
 * no signal is pending that could end a park.
 */
static bool dying(void)
{
	struct signal_struct *signal = current->signal;

	return current->flags & PF_EXITING || READ_ONCE(signal->flags) & SIGNAL_GROUP_EXIT ||
	       READ_ONCE(signal->group_exec_task) || fatal_signal_pending(current);
}

/* A stop of the whole process. It changes nobody's state: each comes back to the park it left. */
static bool stop_pending(void)
{
	return READ_ONCE(current->jobctl) & (JOBCTL_STOP_PENDING | JOBCTL_TRAP_FREEZE) ||
	       sigismember(&current->signal->shared_pending.signal, SIGSTOP);
}

void gk_repark_start(struct gk_worker *w)
{
	hrtimer_start(&w->repark_timer, ns_to_ktime(GK_REPARK_NS), HRTIMER_MODE_REL_PINNED_HARD);
}

/* Parked, and a signal is pending: the thread must go and take it. */
static void park_interrupted(struct gk_worker *w)
{
	struct gk_core *core;
	unsigned long flags;
	bool again;

	core = gk_worker_lock(w, &flags);
	if (w->state == GK_W_RUNNING) {
		gk_worker_unlock(core, flags);
		return;
	}
	trace_gk_signal(w, GK_WHY_NONE);
	core->page->signals++;
	again = gk_must_stop(w) || (w->state == GK_W_READY && core->running);
	if (stop_pending() && !w->moving)
		again = true;
	else if (w->state != GK_W_STOPPED)
		/* It is counted as what it is, running; if that is one too many it will not be for long. */
		gk_make_running(core, w);
	w->repark = again && !dying() ? 2 : 0;
	if (w->repark)
		gk_repark_start(w);
	gk_core_rearm(core);
	gk_worker_unlock(core, flags);
}

/* If this does not hit the worker it is switched out, and its next sched_in starts the timer again. */
static enum hrtimer_restart repark(struct hrtimer *timer)
{
	struct gk_worker *w = container_of(timer, struct gk_worker, repark_timer);
	struct pt_regs *regs = get_irq_regs();
	struct gk_core *core;
	unsigned long flags;
	bool park = false;

	if (w->task != current)
		return HRTIMER_NORESTART;
	core = gk_worker_lock(w, &flags);
	if (!w->repark || w->state == GK_W_BLOCKED || w->state == GK_W_DEAD) {
		/* It parked, or took a place of its own. */
	} else if (w->state != GK_W_RUNNING && w->state != GK_W_STOPPED) {
		/* Back from a stop, to the park it left. */
		w->repark = 0;
		park = true;
	} else if ((regs && user_mode(regs) && --w->repark) || (regs && !user_mode(regs)) ||
		   gk_core_inside(core, w)) {
		gk_repark_start(w);
	} else {
		w->repark = 0;
		if (gk_must_stop(w)) {
			if (w->state == GK_W_RUNNING)
				gk_make_off(core, w, GK_W_STOPPED);
			park = true;
		} else if (core->running > 1 && !READ_ONCE(core->group->stopping)) {
			/* In a stopped group nobody would grant it. */
			trace_gk_preempt(w, GK_WHY_AGAIN);
			gk_make_ready(core, w, false);
			park = true;
		}
		gk_core_rearm(core);
	}
	gk_worker_unlock(core, flags);
	if (park)
		gk_queue_park(w);
	return HRTIMER_NORESTART;
}

/*
 * On another CPU than its core's, or back: away it is not counted as running and its core may run others, as if it had
 * blocked. From sched_in.
 */
void gk_worker_stray(struct gk_worker *w, unsigned int cpu)
{
	struct gk_core *core;
	unsigned long flags;
	bool left = false;

	core = gk_worker_lock(w, &flags);
	w->stray = cpu != core->cpu;
	trace_gk_stray(w, w->stray ? GK_WHY_AWAY : GK_WHY_BACK);
	WRITE_ONCE(w->page->flags, w->stray ? GK_WF_STRAY : 0);
	if (w->stray && w->state == GK_W_RUNNING && !gk_must_stop(w)) {
		gk_make_off(core, w, GK_W_BLOCKED);
		left = true;
	}
	/* It blocked with the core word. Awake again it is not counted here, and it may park before it is ever back. */
	if (w->stray && core->stalled == w) {
		core->stalled = NULL;
		left = true;
	}
	gk_worker_unlock(core, flags);
	if (left)
		gk_core_kick(core);
}

/*
 * A stopped worker runs no task again, so it takes no signal that another thread could: its handler would be cut off,
 * and the signal lost. But for the C library's own two, with which setuid() and pthread_cancel() wait for a thread.
 */
static void mask_signals(void)
{
	sigset_t set;

	siginitsetinv(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	sigdelset(&set, SIGRTMIN);
	sigdelset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* @in_call: by its own GK_IOC_PARK, with a reference to the file. */
static void park_sleep(struct gk_worker *w, bool in_call)
{
	bool signal = false, closed = false;
	u8 state;

	WRITE_ONCE(w->parked, true);
	for (;;) {
		/*
		 * Pairs with the fence before `parked` is read: a grant before this line is seen below, a later one
		 * wakes.
		 */
		set_current_state(TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		state = READ_ONCE(w->state);
		/* BLOCKED: granted, and switched in on another CPU than its core's. */
		if (state == GK_W_RUNNING || state == GK_W_BLOCKED || READ_ONCE(w->group->dead))
			break;
		signal = signal_pending(current);
		if (signal && gk_must_stop(w)) {
			mask_signals();
			signal = signal_pending(current);
		}
		if (signal) {
			park_interrupted(w);
			break;
		}
		closed = in_call && READ_ONCE(w->group->closed);
		if (closed)
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	WRITE_ONCE(w->parked, false);
	barrier();
	/* Granted, and displaced again before it was off this line: its sched_in still found it parked. */
	state = READ_ONCE(w->state);
	if ((state == GK_W_READY && !(signal && stop_pending())) || (state == GK_W_STOPPED && !signal) ||
	    (closed && state != GK_W_RUNNING && state != GK_W_BLOCKED))
		gk_queue_park(w);
}

static bool alone(struct gk_core *core, struct gk_worker *w)
{
	return core->running == 1 && w->state == GK_W_RUNNING;
}

/* Carries out what the worker asked for by GK_IOC_PARK. Not RUNNING after it: it is to sleep. */
static void park_requested(struct gk_worker *w, int how)
{
	struct gk_wake wake = {};
	struct gk_core *core;
	unsigned long flags;

	preempt_disable();
	core = gk_worker_lock(w, &flags);
	/* What it asked for was overtaken by a park of another kind. A stray is BLOCKED, and asks all the same. */
	if (w->state != GK_W_RUNNING && w->state != GK_W_BLOCKED)
		goto out;
	/* Under the lock that dismiss_one() takes: it finds the STANDBY, or we find the group stopping. */
	if (READ_ONCE(core->group->stopping)) {
		if (how == GK_PARK_STANDBY)
			WRITE_ONCE(w->dismissed, true);
		goto out;
	}
	switch (how) {
	case GK_PARK_STANDBY:
		if (core->running > 1)
			gk_core_displace(core, w);
		/* No fence: what this misses, the settling below finds. */
		if (alone(core, w) && !core->nready && !core->stalled && (gk_core_work(core) || gk_group_work(core)))
			goto out;
		trace_gk_park(w, GK_WHY_STANDBY);
		core->page->parks_standby++;
		gk_make_standby(core, w);
		break;
	case GK_PARK_READY:
		if (alone(core, w) && !gk_core_work(core))
			goto out;
		trace_gk_park(w, GK_WHY_READY);
		core->page->parks_ready++;
		gk_make_ready(core, w, false);
		break;
	case GK_PARK_HELD:
		if (w->unheld) {
			w->unheld = false;
			goto out;
		}
		trace_gk_park(w, GK_WHY_HELD);
		core->page->parks_held++;
		gk_make_off(core, w, GK_W_HELD);
		break;
	}
	w->repark = 0;
	gk_core_settle(core, GK_AFTER_PARK, w, &wake);
	gk_check_settled(core, w);
	gk_core_rearm(core);
out:
	gk_worker_unlock(core, flags);
	gk_wake_flush(&wake);
	preempt_enable();
}

static bool must_sleep(struct gk_worker *w)
{
	u8 state = READ_ONCE(w->state);

	return state != GK_W_RUNNING && state != GK_W_BLOCKED;
}

/*
 * Granted before it slept, so that no sched_in has seen it on its foreign CPU, or its core move to another: there it
 * counts for nobody.
 */
static void park_stray(struct gk_worker *w)
{
	/* After the state that it has been granted: while it is RUNNING its core moves no more. */
	smp_rmb();
	if (likely(!w->stray && raw_smp_processor_id() == READ_ONCE(READ_ONCE(w->core)->cpu)))
		return;
	preempt_disable();
	gk_worker_stray(w, smp_processor_id());
	/*
	 * The group stopped just now. One that is READY or STOPPED has left its park for a signal: that comes first,
	 * and get_signal() would never get to it.
	 */
	if (gk_must_stop(w) && READ_ONCE(w->state) == GK_W_RUNNING)
		gk_queue_park(w);
	preempt_enable();
}

static void park_work(struct callback_head *head)
{
	struct gk_worker *w = container_of(head, struct gk_worker, park_work);
	struct gk_group *g = w->group;
	/*
	 * What was queued before us runs after us, if we let it: closing of files, of which others wait for the effect.
	 */
	bool others = head->next;
	int how = w->request;
	struct gk_core *core;
	unsigned long flags;

	if (w->leaving || READ_ONCE(g->dead)) {
		/* park_queued stays: nobody can queue us behind our own end. */
		gk_worker_unregister(w);
		return;
	}
	WRITE_ONCE(w->park_queued, 0);
	if (dying() || current->mm != g->mm)
		return;
	if (others && !w->requeued) {
		w->requeued = true;
		gk_queue_park(w);
		return;
	}
	w->requeued = false;
	w->request = -1;
	if (how >= 0)
		park_requested(w, how);
	if (gk_must_stop(w)) {
		core = gk_worker_lock(w, &flags);
		if (w->state == GK_W_RUNNING || w->state == GK_W_BLOCKED)
			gk_make_off(core, w, GK_W_STOPPED);
		gk_worker_unlock(core, flags);
	}
	if (must_sleep(w))
		park_sleep(w, false);
	park_stray(w);
	/* The group ended while it slept: once more, and then as above. */
	if (READ_ONCE(g->dead))
		gk_queue_park(w);
}

int gk_worker_park(struct gk_worker *w, unsigned long how)
{
	struct gk_group *g = w->group;

	if (how > GK_PARK_HELD)
		return -EINVAL;
	if (READ_ONCE(g->stopping) && how == GK_PARK_STANDBY)
		return -ESHUTDOWN;
	/* A signal, or work that others wait for: on the way out, where both have their turn first. */
	if (unlikely(signal_pending(current) || task_work_pending(current) || READ_ONCE(g->stopping) ||
		     current->files != g->files || READ_ONCE(g->closed))) {
		w->request = how;
		return gk_queue_park(w) ? 0 : -EINTR;
	}
	park_requested(w, how);
	if (must_sleep(w))
		park_sleep(w, true);
	park_stray(w);
	return 0;
}

int gk_worker_unhold(struct gk_group *g, unsigned long id)
{
	struct gk_worker *w;
	struct gk_core *core = NULL;
	unsigned long flags;

	if (id >= g->max_workers)
		return -ENOENT;
	rcu_read_lock();
	w = rcu_dereference(g->workers[array_index_nospec(id, g->max_workers)]);
	if (w) {
		core = gk_worker_lock(w, &flags);
		if (w->state == GK_W_HELD) {
			trace_gk_unhold(w, GK_WHY_NONE);
			gk_make_ready(core, w, true);
		} else {
			w->unheld = true;
		}
		gk_worker_unlock(core, flags);
	}
	rcu_read_unlock();
	if (!core)
		return -ENOENT;
	gk_core_kick(core);
	return 0;
}

/* Its CPU is not moved any more: it may be pulled again. */
static void pull_done(struct gk_group *g, unsigned int id, struct task_struct *task)
{
	struct gk_worker *w;
	struct gk_core *core;
	unsigned long flags;

	rcu_read_lock();
	w = rcu_dereference(g->workers[id]);
	if (w && w->task == task) {
		core = gk_worker_lock(w, &flags);
		w->pulled = false;
		gk_worker_unlock(core, flags);
	}
	rcu_read_unlock();
}

/* The longest-READY worker of @from moves to the core of @to, the caller, and becomes READY there. */
int gk_worker_pull(struct gk_worker *to, struct gk_core *from)
{
	struct gk_core *core = to->core;
	struct gk_group *g = to->group;
	struct task_struct *task = NULL;
	struct gk_worker *w;
	unsigned long flags;
	/* Once: cores may move meanwhile. Then it is a stray, and follows. */
	unsigned int id = 0, was = 0, cpu = READ_ONCE(core->cpu);
	bool moved, lost;

	if (core == from)
		return -EINVAL;
	/* What the caller may run on, the rest of its process may too: the cpuset is kept. */
	if (!cpumask_test_cpu(cpu, current->cpus_ptr))
		return -EINVAL;
	raw_spin_lock_irqsave(&from->lock, flags);
	list_for_each_entry(w, &from->ready_list, node) {
		/* Only one that sleeps: a displaced one may be about to be switched in. */
		if (!READ_ONCE(w->parked) || w->pulled)
			continue;
		w->pulled = true;
		was = from->cpu;
		id = w->id;
		task = get_task_struct(w->task);
		gk_make_moving(from, w);
		break;
	}
	gk_check_core(from);
	raw_spin_unlock_irqrestore(&from->lock, flags);
	if (!task)
		return 0;

	/* On no list now, so nobody grants it. A signal may still make it run, on its old core; then it stays there. */
	moved = !set_cpus_allowed_ptr(task, cpumask_of(cpu));

	rcu_read_lock();
	w = rcu_dereference(g->workers[id]);
	lost = !w || w->task != task;
	if (!lost) {
		raw_spin_lock_irqsave(&from->lock, flags);
		lost = w->core != from || !w->moving;
		if (!lost && moved) {
			/* Still moving, and nobody looks for it on a list: the new core's lock takes over. */
			WRITE_ONCE(w->core, core);
			WRITE_ONCE(w->page->core, core->id);
		} else if (!lost) {
			gk_make_ready(from, w, false);
		}
		gk_check_core(from);
		raw_spin_unlock_irqrestore(&from->lock, flags);
	}
	if (!lost && moved) {
		raw_spin_lock_irqsave(&core->lock, flags);
		if (w->moving) {
			trace_gk_pull(w, GK_WHY_NONE);
			core->page->pulled++;
			gk_make_ready(core, w, false);
		}
		gk_check_core(core);
		raw_spin_unlock_irqrestore(&core->lock, flags);
	}
	rcu_read_unlock();
	if (lost) {
		if (moved)
			set_cpus_allowed_ptr(task, cpumask_of(was));
		moved = false;
	}
	pull_done(g, id, task);
	put_task_struct(task);
	if (moved)
		from = core;
	/* gk_group_stop() did not find it on a list. */
	if (READ_ONCE(g->stopping))
		gk_core_dismiss(from);
	gk_core_kick(from);
	return moved;
}

/* By the worker itself, in process context. */
void gk_worker_unregister(struct gk_worker *w)
{
	struct gk_wake wake = {};
	struct gk_core *core;
	unsigned long flags;

	rcu_read_lock();
	core = gk_worker_lock(w, &flags);
	if (core->stalled == w)
		core->stalled = NULL;
	/* From here on the notifiers find nothing to do. */
	trace_gk_exit(w, GK_WHY_LEFT);
	gk_make_off(core, w, GK_W_DEAD);
	gk_core_settle(core, GK_AFTER_BLOCK, NULL, &wake);
	gk_check_settled(core, NULL);
	gk_core_rearm(core);
	gk_worker_unlock(core, flags);
	gk_wake_flush(&wake);
	rcu_read_unlock();

	preempt_disable();
	preempt_notifier_unregister(&w->pn);
	preempt_enable();
	gk_reap_worker(w);
}

/* The rest happens in park_work(), which may be queued already and must not outlive the worker. */
int gk_worker_exit(struct gk_worker *w)
{
	w->leaving = true;
	gk_queue_park(w);
	return 0;
}

int gk_worker_enter(struct gk_group *g, struct gk_enter *arg)
{
	struct gk_core *core = gk_core_of_id(g, arg->core);
	struct gk_worker *w;
	unsigned long flags;
	int err;

	if (arg->flags & ~GK_ENTER_TASKLESS)
		return -EINVAL;
	if (!core)
		return -ENOENT;
	if (gk_worker_of(current))
		return -EBUSY;
	if (READ_ONCE(g->stopping))
		return -ESHUTDOWN;
	w = kzalloc(sizeof(*w), GFP_KERNEL_ACCOUNT);
	if (!w)
		return -ENOMEM;

	mutex_lock(&g->lock);
	w->id = find_first_zero_bit(g->ids, g->max_workers);
	if (w->id >= g->max_workers) {
		err = -ENOSPC;
		goto err_unlock;
	}
	__set_bit(w->id, g->ids);
	w->page = (void *)g->page + g->worker_off + w->id * GK_WORKER_STRIDE;
	memset(w->page, 0, offsetof(struct gk_worker_page, switches));
	WRITE_ONCE(w->page->taskless, arg->flags & GK_ENTER_TASKLESS);
	WRITE_ONCE(g->page->nworkers, ++g->nworkers);
	g->entered++;
	w->page->core = core->id;
	w->page->tid = task_pid_vnr(current);
	w->core = core;
	w->group = g;
	w->request = -1;
	w->task = get_task_struct(current);
	init_task_work(&w->park_work, park_work);
	gk_hrtimer_setup(&w->repark_timer, repark, HRTIMER_MODE_REL_PINNED_HARD);
	kref_get(&g->ref);
	__module_get(THIS_MODULE);
	rcu_assign_pointer(g->workers[w->id], w);
	mutex_unlock(&g->lock);

	arg->id = w->id;
	preempt_notifier_init(&w->pn, &gk_preempt_ops);
	/* Brings the scheduler's account of our CPU time up to date. */
	schedule();
	preempt_disable();
	preempt_notifier_register(&w->pn);
	gk_arrive(w);
	w->in_at = gk_clock();
	core = gk_worker_lock(w, &flags);
	trace_gk_enter(w, GK_WHY_NONE);
	gk_make_running(core, w);
	gk_core_rearm(core);
	gk_worker_unlock(core, flags);
	if (smp_processor_id() != core->cpu)
		gk_worker_stray(w, smp_processor_id());
	/* The group was stopped before anybody could see us. */
	if (gk_must_stop(w))
		gk_queue_park(w);
	preempt_enable();
	return 0;

err_unlock:
	mutex_unlock(&g->lock);
	kfree(w);
	return err;
}
