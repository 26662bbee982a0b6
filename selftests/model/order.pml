// SPDX-License-Identifier: GPL-2.0-only
/*
 * order.pml - each pair of ordered steps between two threads that is not in fence.pml, word.pml or ring.pml, by itself: -DP_x says
 * which. README says where in the code each is. What must not be is asserted when all are done, or where it would be done.
 */
#define CPUS	3
#define WORDS	6
#include "memory.pml"

#define A	0
#define B	1
#define C	2
#define D	3
#define E	4
#define F	5

/* Full fences, and ones that a mutation takes away. */
#define mb(cpu)		fence(cpu)

#if defined(MUTATE_DROP_FENCE_0)
#define mb_0(cpu)	true
#else
#define mb_0(cpu)	fence(cpu)
#endif
#if defined(MUTATE_DROP_FENCE_1)
#define mb_1(cpu)	true
#else
#define mb_1(cpu)	fence(cpu)
#endif
#if defined(MUTATE_DROP_FENCE_2)
#define mb_2(cpu)	true
#else
#define mb_2(cpu)	fence(cpu)
#endif
#if defined(MUTATE_DROP_RELEASE)
#define store_release(cpu, at, v)	plain(cpu, at, v)
#else
#define store_release(cpu, at, v)	release(cpu, at, v)
#endif

#ifdef P_GRANT
/*
 * grant() and gk_wake_flush(); wake_parked() after `closed` or `dead` is the same: 0 sets what the sleeper looks for, 1 is
 * park_sleep(). wake_up_process() has a full fence before it looks at the state of the task, which is C here.
 */
#define STATE	A
#define PARKED	B
#define TASK	C	/* 1: INTERRUPTIBLE */
#define RUNS	D	/* not asleep */

proctype granter()
{
	plain(0, STATE, 1);
	mb_0(0);
	if
	:: load(0, PARKED) ->
		fence(0);
		atomic {
			if
			:: load(0, TASK) == 1 -> mem[TASK] = 0; mem[RUNS] = 1
			:: else
			fi
		}
	:: else
	fi;
	going--
}

proctype parker()
{
	bool granted;

#ifdef MUTATE_PARKED_LATE
	plain(1, TASK, 1);
	mb_1(1);
	granted = load(1, STATE);
	plain(1, PARKED, 1);
#else
	plain(1, PARKED, 1);
#ifdef MUTATE_LOOK_FIRST
	granted = load(1, STATE);
#endif
	plain(1, TASK, 1);
	mb_1(1);			/* set_current_state() */
#ifndef MUTATE_LOOK_FIRST
	granted = load(1, STATE);
#endif
#endif
	if
	:: granted -> mem[RUNS] = 1
	:: else ->
		fence(1);		/* schedule() */
		if
		:: atomic { mem[TASK] == 0 -> mem[RUNS] = 1 }
		:: atomic { mem[TASK] == 1 -> mem[RUNS] = 0 }
		fi
	fi;
	going--
}

init {
	atomic { mem[RUNS] = 1; going = 2; run drain(0); run drain(1); run granter(); run parker() }
	going == 0;
	assert(mem[RUNS])
}
#endif

#ifdef P_KICK
/* gk_core_kick() and core_remote(): the csd is unlocked before its function runs. The spin lock in core_look() is a full fence. */
#define WORK	A
#define CSD	B
bool seen, raised;

proctype kicker(byte cpu)
{
	plain(cpu, WORK + 2 * cpu, 1);
	mb_0(cpu);
	atomic {
		if
		:: mem[CSD] == 0 -> mem[CSD] = 1; raised = true
		:: else
		fi
	}
	going--
}

/* An interrupt that was under way already. */
proctype handler()
{
	bool first = true, saw_0, saw_2;

end:	do
	:: atomic { first || raised -> first = false; raised = false }
#ifdef MUTATE_UNLOCK_LAST
		saw_0 = saw_0 || load(1, A);
		plain(1, CSD, 0);
		fence(1)
#else
		plain(1, CSD, 0);
		mb_1(1);
		saw_0 = saw_0 || load(1, A);
#endif
		seen = saw_0
	od
}

init {
	atomic { mem[CSD] = 1; going = 1; run drain(0); run drain(1); run kicker(0); run handler() }
	timeout;
	assert(seen)
}
#endif

#ifdef P_STOP
/*
 * gk_group_stop(): who has a task parks, who has none is spared and must not take one. 0 stops; 1 is a worker that takes a task,
 * with F_BEGINS one that has just entered. Its own CPU looks: in the interrupt that gk_group_stop() sends, and as it is switched
 * in. With F_MOVES that is elsewhere meanwhile, so the interrupt may come to the wrong CPU.
 * With F_MONITOR it is monitor_stop() that looks, from the other thread, and who has a task gets a signal.
 */
#define PAGE	A	/* page->stopping */
#define STOPPING B
#define TASKLESS C
#define ON	D	/* task_cpu() */
#define LISTED	E	/* rt->workers[] */
bool irq, irq_done, stopped, parked, has_task, in, saw;

/* gk_must_stop() on the worker's own CPU, or in its handler */
inline must_stop()
{
	if
	:: load(1, STOPPING) && !load(1, TASKLESS) -> parked = true
	:: else
	fi
}

proctype stopper()
{
#if defined(F_MONITOR)
	fence(0);
	mem[STOPPING] = 1;		/* exchange() */
#ifdef MUTATE_DROP_EXCHANGE
	plain(0, PAGE, 1);
#else
	mem[PAGE] = 1;			/* exchange() */
#endif
	if
	:: load(0, LISTED) && !load(0, TASKLESS) -> fence(0); irq = true; irq_done
	:: else
	fi;
#else
#ifdef MUTATE_SWAP
	plain(0, STOPPING, 1);
	fence(0);
	plain(0, PAGE, 1);
#elif defined(MUTATE_PAGE_LAST)
	plain(0, STOPPING, 1);
#else
	plain(0, PAGE, 1);
	mb_0(0);
	store_release(0, STOPPING, 1);
#endif
	mb_1(0);
	if
	:: load(0, ON) == 0 -> fence(0); irq = true; irq_done
	:: else				/* to a CPU where it is not */
	fi;
#ifdef MUTATE_PAGE_LAST
	plain(0, PAGE, 1);
	fence(0);
#endif
#endif
	stopped = true;
	going--
}

proctype worker()
{
#ifdef F_MOVES		/* the lock of the run queue, then its sched_in */
	plain(1, ON, 0);
	mb_2(1);
	atomic { in = true; must_stop() }
#endif
#ifdef F_BEGINS
	store_release(1, LISTED, 1);
#ifndef MUTATE_DROP_BEGIN_FENCE
	fence(1);
#endif
	if
	:: load(1, PAGE) -> goto out
	:: else
	fi;
#endif
#ifdef F_TASK
	has_task = true;	/* it goes on in it */
	goto out;
#endif
	/* run() in sched.c */
#ifdef MUTATE_LOOK_FIRST
	saw = load(1, PAGE);
#endif
	!parked;
	plain(1, TASKLESS, 0);
#ifndef MUTATE_DROP_RUN_FENCE
	fence(1);
#endif
#ifndef MUTATE_LOOK_FIRST
	saw = load(1, PAGE);
#endif
	if
	:: !saw -> has_task = true
	:: else -> plain(1, TASKLESS, 1)
	fi;
out:	going--
}

/* stop_cpu(), or the handler of SIGURG, between two of the worker's instructions */
proctype interrupt()
{
end:	atomic {
		irq ->
		if
		:: in -> must_stop()
		:: else			/* another is on that CPU; who is switched in there after it sees what came before it */
		fi;
		irq_done = true
	}
}

init {
	atomic {
#ifndef F_TASK
		mem[TASKLESS] = 1;
#endif
#ifdef F_MOVES
		mem[ON] = 1;
#else
		in = true;
#endif
#ifndef F_BEGINS
		mem[LISTED] = 1;
#endif
		going = 2;
		run drain(0);
		run drain(1);
		run stopper();
		run worker();
		run interrupt()
	}
	/* No user instruction of a task after it. */
	timeout;
	assert(!(stopped && has_task && !parked))
}
#endif

#ifdef P_ASLEEP
/* monitor.c: the monitor sleeps when nobody runs; monitor_awake() ends that. */
#define ASLEEP	A
#define RUNNING	B
bool sleeps;

proctype runner()
{
	bool was;

#ifdef MUTATE_LOOK_FIRST
	was = load(0, ASLEEP);
#endif
	plain(0, RUNNING, 1);
	mb_0(0);
#ifndef MUTATE_LOOK_FIRST
	was = load(0, ASLEEP);
#endif
	if
	:: was ->
		fence(0);
		atomic { was = mem[ASLEEP]; mem[ASLEEP] = 0 }
#ifdef MUTATE_NO_FUTEX_WAKE
		was = false;
#endif
		if
		:: was -> sleeps = false
		:: else
		fi
	:: else
	fi;
	going--
}

proctype monitor()
{
	bool busy;

#ifdef MUTATE_SLEEP_UNTOLD
	busy = load(1, RUNNING);
	plain(1, ASLEEP, 1);
	fence(1);
#else
	plain(1, ASLEEP, 1);
	mb_1(1);
	busy = load(1, RUNNING);
#endif
	if
#ifdef MUTATE_WAIT_BLINDLY
	:: !busy -> sleeps = true
#else
	:: !busy -> atomic { fence(1) -> sleeps = (mem[ASLEEP] == 1) }
#endif
	:: else
	fi;
	going--
}

init {
	atomic { going = 2; run drain(0); run drain(1); run runner(); run monitor() }
	going == 0;
	assert(!sleeps)
}
#endif

#ifdef P_CANCEL
/*
 * gk_cancel(), cancel_claim() and gk_interrupt() at 0; the task at 1: wait_here(), and finish() of who runs after it. What the task
 * has in its context must be there for whoever makes it run.
 */
#define CANCELLED	A
#define CLAIM		B	/* 0, 1 SWITCHING, 2 WAITING */
#define CONTEXT		C
#define INTERRUPTED	D
bool waits, goes_on, refused, was;

proctype canceller()
{
	plain(0, INTERRUPTED, 1);
	store_release(0, CANCELLED, 1);
#ifndef MUTATE_DROP_MEMBARRIER
	/* full_fence_everywhere() */
	fence(0);
	fence(1);
#endif
#ifndef MUTATE_NO_SPIN
	load(0, CLAIM) != 1;
#endif
	fence(0);
	atomic {
		if
		:: mem[CLAIM] == 2 -> mem[CLAIM] = 0; goes_on = true
		:: else
		fi
	}
	if
	:: goes_on -> assert(load(0, CONTEXT))
	:: else
	fi;
	going--
}

proctype task()
{
#ifdef MUTATE_LOOK_FIRST
	was = load(1, CANCELLED);
	plain(1, CLAIM, 1);
#else
	plain(1, CLAIM, 1);
	was = load(1, CANCELLED);
#endif
	if
	:: was -> plain(1, CLAIM, 0); refused = true; plain(1, INTERRUPTED, 0)
	:: else ->
#ifdef MUTATE_WAITING_FIRST
		plain(1, CLAIM, 2);
		fence(1);
		plain(1, CONTEXT, 1);
#elif defined(MUTATE_DROP_WAITING_RELEASE)
		plain(1, CONTEXT, 1);
		pending(1, CLAIM) == 0;
		plain(1, CLAIM, 2);
#else
		plain(1, CONTEXT, 1);
		release(1, CLAIM, 2);
#endif
		waits = true
	fi;
	going--
}

init {
	atomic { going = 2; run drain(0); run drain(1); run canceller(); run task() }
	going == 0 && fence(0) && fence(1);
	assert(goes_on || !waits);
	/* The request was answered, and does not stand any more. */
	assert(!refused || !mem[INTERRUPTED])
}
#endif

#ifdef P_PUBLISH
/*
 * One stores what another is to find, and then that it is there, with release; who has loaded that, with acquire, finds it. So
 * are: seq and state, private_data and the group, net->head and the entry on its list, node->core and the heap, tick->firing, q_tail
 * and the ring, workers[], main_done and the result, gone, nthreads, woken, stopped_at, a lock and what it guards.
 */
proctype writer()
{
#ifdef MUTATE_READY_FIRST
	plain(0, B, 1);
	fence(0);
	plain(0, A, 1);
#else
	plain(0, A, 1);
	store_release(0, B, 1);
#endif
	going--
}

proctype reader()
{
	bool there, ready;

#ifdef MUTATE_LOAD_FIRST		/* the loads swapped: no acquire */
	there = load(1, A);
	ready = load(1, B);
#else
	ready = load(1, B);
	there = load(1, A);
#endif
	assert(there || !ready);
	going--
}

init {
	atomic { going = 2; run drain(0); run writer(); run reader() }
}
#endif

#ifdef P_HELD
/* do_todo() at 0 makes a pinned task ready; hold() at 1 is its worker, which parks as HELD under its core's lock. */
#define LOCK	A
#define WOKEN	B
#define HELD	C
#define UNHELD	D

proctype unholder()
{
#ifdef MUTATE_UNHOLD_FIRST
	lock(0, LOCK);
	if
	:: load(0, HELD) -> plain(0, HELD, 0)
	:: else -> plain(0, UNHELD, 1)
	fi;
	unlock(0, LOCK);
	store_release(0, WOKEN, 1);
#else
	store_release(0, WOKEN, 1);
	lock(0, LOCK);
	if
	:: load(0, HELD) -> plain(0, HELD, 0)
	:: else ->
#ifndef MUTATE_FORGET
		plain(0, UNHELD, 1)
#endif
	fi;
	unlock(0, LOCK);
#endif
	going--
}

proctype holder()
{
	do
	:: load(1, WOKEN) -> break
	:: else ->
		lock(1, LOCK);
		if
		:: load(1, UNHELD) -> plain(1, UNHELD, 0)
		:: else -> plain(1, HELD, 1)
		fi;
		unlock(1, LOCK);
		load(1, HELD) == 0 && mem[LOCK] == 0	/* granted, under the lock */
	od;
	going--
}

init {
	atomic { going = 2; run drain(0); run drain(1); run unholder(); run holder() }
	timeout;
	assert(going == 0)
}
#endif

#ifdef P_ARM
/*
 * On one CPU: timer_add() makes a deadline and looks whether the timer is armed for it; queued_more() and ready_woken() queue a task
 * and look at `turn`, the same way. core_timer() comes in between.
 */
bool work, armed = true, fired, todo;

proctype library()
{
#ifdef MUTATE_LOOK_FIRST
	todo = !armed;
	work = true;
#else
	work = true;
	todo = !armed;
#endif
	if
	:: todo -> armed = true
	:: else
	fi;
	going--
}

proctype timer()
{
	do
	:: atomic {
		armed ->
		fired = work;
#ifdef MUTATE_DISARM_LATE
		skip
	   }
	   atomic {
#endif
		armed = false
	   }
	   if
	   :: fired -> break
	   :: else
	   fi
	od
}

init {
	atomic { going = 1; run library(); run timer() }
	timeout;
	assert(fired)
}
#endif

#ifdef P_SWAP
/* queue_swap(): the queue, of one task, never looks empty to an interrupt, which would see no need for the timer. */
byte head, tail = 1;

proctype library()
{
#ifdef MUTATE_HEAD_FIRST
	head++;
	tail++;
#else
	tail++;
	head++;
#endif
	going--
}

proctype timer()
{
	assert(head != tail)
}

init {
	atomic { going = 1; run library(); run timer() }
}
#endif

#ifdef P_NOPREEMPT
/* monitor.c, one thread and its handler: preempt_on() looks at `stopping` after it may be preempted again. */
bool nopreempt = true, stopping, signal, stops, saw;

proctype stopper()
{
	stopping = true;
	signal = true;
	going--
}

proctype thread()
{
#ifdef MUTATE_LOOK_FIRST
	saw = stopping;
	nopreempt = false;
#else
	nopreempt = false;
	saw = stopping;
#endif
	if
	:: saw -> stops = true
	:: else
	fi;
	going--
}

proctype handler()
{
end:	atomic {
		signal ->
		signal = false;
		if
		:: !nopreempt -> stops = stopping
		:: else
		fi
	}
}

init {
	atomic { going = 2; run stopper(); run thread(); run handler() }
	timeout;
	assert(stops)
}
#endif

#ifdef P_PULLED
/* gk_worker_lock(): w->core changes under the lock of the core that it leaves. 0 pulls the worker, 1 changes its state. */
#define CORE	A
#define LOCK_0	B
#define LOCK_1	C
byte at;
bool busy;

proctype puller()
{
	lock(0, LOCK_0);
	plain(0, CORE, 1);
	unlock(0, LOCK_0);
	lock(0, LOCK_1);
	assert(!busy);
	busy = true;
	busy = false;
	unlock(0, LOCK_1);
	going--
}

proctype other()
{
again:	at = load(1, CORE);
	if
	:: at == 0 -> lock(1, LOCK_0)
	:: else -> lock(1, LOCK_1)
	fi;
#ifndef MUTATE_NO_RECHECK
	if
	:: load(1, CORE) == at
	:: else ->
		if
		:: at == 0 -> unlock(1, LOCK_0)
		:: else -> unlock(1, LOCK_1)
		fi;
		goto again
	fi;
#endif
	assert(!busy);
	busy = true;
	busy = false;
	if
	:: at == 0 -> unlock(1, LOCK_0)
	:: else -> unlock(1, LOCK_1)
	fi;
	going--
}

init {
	atomic { going = 2; run drain(0); run drain(1); run puller(); run other() }
}
#endif

#ifdef P_TWICE
/*
 * gk_worker_pull() by two workers of core 1, of one of core 0, which a signal has run and park again meanwhile. Each locked section is
 * a step; what is between them is not. core and cpu are the worker's, `by` says whose PULL it is in (`pulled`).
 */
byte core, cpu, by;
bool ready = true, moving;

proctype puller(byte me)
{
	bool moved, lost;

	/* Under the lock of the core that it leaves */
	atomic {
		if
#ifdef MUTATE_WAS_PULL_TWICE
		:: core == 0 && ready && !moving -> moving = true
#else
		:: core == 0 && ready && !moving && by == 0 -> moving = true; by = me
#endif
		:: else -> goto out
		fi
	}
	/* set_cpus_allowed_ptr() */
	if
	:: cpu = 1; moved = true
	:: true
	fi;
	atomic {
		lost = (core != 0 || !moving);
		if
		:: !lost && moved -> core = 1
		:: !lost && !moved -> moving = false
		:: else
		fi
	}
	atomic {
		if
		:: !lost && moved && moving -> moving = false
		:: else
		fi
	}
	if
	:: lost && moved -> cpu = 0
	:: else
	fi;
	/* pull_done() */
	atomic { by = (by == me -> 0 : by) };
out:	going--
}

/* park_interrupted(), and its next park */
proctype worker()
{
	atomic { ready -> ready = false; moving = false }
	ready = true;
	going--
}

init {
	atomic { going = 3; run puller(1); run puller(2); run worker() }
	timeout;
	assert(going == 0 && ready && !moving && core == cpu)
}
#endif
