// SPDX-License-Identifier: GPL-2.0-only
/*
 * core.pml - one core of gk.ko on its CPU: block, wake, park, displace, tick, signal, exit, stop.
 *
 * A worker is a thread of the one CPU modelled: it takes a step only while it is on_cpu. Between any two steps the CPU may
 * switch to any runnable worker or to NOBODY, which is another process or the idle loop, or take an interrupt. A locked section is
 * one step: it has interrupts off, and the lock keeps other CPUs out. Other CPUs appear as remote(), unhold(), stop() and as the gap
 * between a grant and the wake-up that follows it.
 *
 * Left out, because the protocol may not depend on it: lengths of time (a stint is over or not, whichever hurts), which STANDBY is
 * taken (any), stray workers, the freezer and SIGSTOP. Two cores are in pair.pml, what is ordered by fences in fence.pml and order.pml.
 *
 * F_ switches add parts, so that each run is one small state space. Without FAIR whatever depends on time or order goes either
 * way: the timer may fire at any step, a worker may be protected or not, the library takes a task or parks. FAIR is for the
 * liveness properties: the timer fires when it is armed, each runnable thread has its turn, the library keeps to gk.h.
 *
 * A MUTATE_ switch is a mistake that the verifier must find. MUTATE_WAS_ ones were in the module once; what stands in
 * their place is the repair. ./run has the list, README the table from steps to C functions.
 */
#ifndef N
#define N 3			/* workers */
#endif
#ifndef QMAX
#define QMAX 1			/* tasks in the core's queue */
#endif
#ifndef BOUND
#define BOUND 0
#endif
#ifndef SIGNALS
#define SIGNALS 1		/* how many signals with a handler come */
#endif
#define NOBODY N
#define id _pid			/* of a worker: they are the first processes of the model */

mtype:state = { NONE, RUNNING, BLOCKED, READY, STANDBY, HELD, STOPPED, DEAD };
mtype:cause = { AFTER_BLOCK, AFTER_PARK, AFTER_WAKE };
mtype:park = { NO_PARK, PARK_STANDBY, PARK_READY, PARK_HELD, LEAVE };
mtype:task = { TASK_RUNNING, TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, TASK_TRACED };
mtype:event = { NO_EVENT, AWAITED, CAME };
mtype:signal = { NO_SIGNAL, HANDLER, KILL };
mtype:hands = { EMPTY, TASK, ASKED };	/* the library has no task, has one, has none and PARK has just returned */

/* struct gk_core */
byte running;
chan ready = [N] of { byte };
byte nstandby;
byte stalled = NOBODY;
bool armed, vacant_work, csd, idle;
bool passed;			/* a STANDBY was granted for `next` before a READY worker */

/* What the library writes */
byte q;				/* q_tail - q_head */
bool next;			/* q_next, a deadline that has passed, or the network */
bool gq;			/* work of the group, kind (e) of gk.h */
byte word;			/* id + 1 of the worker inside */

/* struct gk_worker */
mtype:state st[N] = NONE;
mtype:park req[N] = NO_PARK;
bool queued[N], parked[N], repark_timer[N], unheld[N], dismissed[N];
byte repark[N];
mtype:hands hands[N] = EMPTY;
#ifdef F_PULL
bool is_moving[N], pulling;		/* GK_IOC_PULL has it; and is not done */
#define moving(w)	is_moving[w]
#else
#define moving(w)	false
#endif
bool used[N];			/* its stint is over */
bool protect[N];
bool displaced[N];		/* its turn is over: READY as soon as the CPU switches to another */
byte ahead[N];			/* while READY: tasks that were queued before it */

/* The threads, the CPU, the rest of the process */
mtype:task task[N] = TASK_RUNNING;
mtype:event event[N] = NO_EVENT;
mtype:signal sig[N] = NO_SIGNAL;
bool onrq[N], exiting[N], nomm[N];
bool ran[N];			/* FAIR: had the CPU in this round */
byte cur = NOBODY;
bool switching;			/* the CPU has switched to cur, whose sched_in is still to come */
bool manager;			/* the manager was told */
#ifdef F_CLOSE
bool in_call[N];		/* parks in its GK_IOC_PARK, with a reference to the file */
bool closed, closing;		/* the last descriptor is closed; not all who park in their call are awake yet */
#else
#define closed	false
#endif
bool stopping, stopped, pushing, unholding;
#ifdef FAIR			/* cur is preempted when it has been in user mode, not on its few steps to a park or an exit */
bool in_user;
#define affordable	in_user
#else
#ifdef BUDGET			/* of ticks and of switches from a worker that could go on */
byte budget = BUDGET;
#define affordable	(budget > 0)
#else
#define affordable	true
#endif
#endif

byte pick = NOBODY;		/* scratch of a locked section */

/* struct gk_wake: whom each context has granted and is about to wake */
byte waking[N + 4] = NOBODY;
#define FROM_IRQ	N
#define FROM_SWITCH	(N + 1)
#define FROM_REMOTE	(N + 2)
#define FROM_PULL	(N + 3)

#define on_cpu		(cur == id && !switching)

/* irq_work fires as soon as interrupts are on again; without this, any time later. */
#ifdef PROMPT
#define irq_first	vacant_work
#else
#define irq_first	false
#endif

#define inside(w)	(word == (w) + 1)
#define core_work	(len(ready) > 0 || q > 0 || next)
#define taskless(w)	(hands[w] != TASK)
#define must_stop(w)	(stopping && !dismissed[w] && !taskless(w))

#ifdef MUTATE_WAS_EXITING	/* a thread past exit_mm() is BLOCKED, but its sched_in does not count it */
#define will_count(w)	(st[w] == BLOCKED)
#else
#define will_count(w)	(st[w] == BLOCKED && !nomm[w])
#endif

#if N > 2
#define any(cond)	(cond(0) || cond(1) || cond(2))
#define all(cond)	(cond(0) && cond(1) && cond(2))
#define count(cond)	((cond(0) -> 1 : 0) + (cond(1) -> 1 : 0) + (cond(2) -> 1 : 0))
#else
#define any(cond)	(cond(0) || cond(1))
#define all(cond)	(cond(0) && cond(1))
#define count(cond)	((cond(0) -> 1 : 0) + (cond(1) -> 1 : 0))
#endif
#define runnable(w)	onrq[w]
#define preempts(w)	(onrq[w] && cur != w)
#define has_not_run(w)	(onrq[w] && !ran[w])

/* ---- core.c ---- */

inline leave_state(w)
{
	if
	:: st[w] == RUNNING -> running--; used[w] = false; protect[w] = false; displaced[w] = false
#ifdef F_PULL
	:: st[w] == READY && moving(w) -> is_moving[w] = false; ahead[w] = 0
#endif
	:: st[w] == READY && !moving(w) -> assert(ready ?? [eval(w)]); ready ?? eval(w); ahead[w] = 0
	:: st[w] == STANDBY -> nstandby--
	:: else
	fi
}

inline make_running(w)
{
	leave_state(w);
	running++;
#ifdef F_REMOTE
	idle = false;
#endif
#ifndef F_MANAGER
	manager = false;	/* as good as not told: somebody runs */
#endif
	st[w] = RUNNING
}

inline make_ready(w)
{
	leave_state(w);
	ready ! w;
#ifdef FAIR
	ahead[w] = q;
#endif
	st[w] = READY
}

inline make_standby(w)
{
	leave_state(w);
	nstandby++;
	st[w] = STANDBY
}

inline make_off(w, state)
{
	leave_state(w);
	st[w] = state
}

inline any_standby()
{
	if
	:: st[0] == STANDBY -> pick = 0
	:: st[1] == STANDBY -> pick = 1
#if N > 2
	:: st[2] == STANDBY -> pick = 2
#endif
	fi
}

#define queued_before(w) (q > 0 && ahead[w] > 0)

/* What is in q_next, and a timer or the network, goes before a READY worker once; then it is the worker's turn. */
#ifdef MUTATE_WAS_NEXT_FIRST
#define overtaken	(next || gq)
#else
#define overtaken	((next || gq) && !passed)
#endif

inline next_worker(cause)
{
	if
	:: len(ready) > 0 && nstandby == 0 -> ready ? <pick>
	:: len(ready) > 0 && nstandby > 0 ->
		ready ? <pick>;
#ifdef FAIR
		if
		:: cause == AFTER_PARK && queued_before(pick) -> any_standby()
		:: cause == AFTER_PARK && !queued_before(pick) && overtaken ->
			passed = true;
			any_standby()
		:: else -> passed = false
		fi
#else
		if
		:: cause == AFTER_PARK && (q > 0 || next || gq) -> any_standby()
		:: true
		fi
#endif
	:: len(ready) == 0 && nstandby > 0 -> any_standby()
	:: else
	fi
}

inline tell_manager()
{
#ifdef MUTATE_NO_MANAGER
	skip
#else
	manager = true
#endif
}

#ifdef MUTATE_NO_STALLED
#define may_grant	true
#else
#define may_grant	(stalled == NOBODY)
#endif

inline grant(cause, self, from)
{
	assert(stalled == NOBODY);	/* gk.h: while its holder is blocked nobody else goes inside */
#ifdef MUTATE_WAKE_EARLY
	if
	:: pick == self -> make_running(pick)
	:: else -> waking[from] = pick
	fi;
#else
	make_running(pick);
#ifdef FAIR
	protect[pick] = (cause != AFTER_BLOCK && q > 0);
#endif
	if
	:: pick == self
	:: else ->
		waking[from] = pick;
#ifdef F_MANAGER
		if
		:: nstandby == 0 -> tell_manager()
		:: else
		fi
#endif
	fi;
#endif
	pick = NOBODY
}

inline idles()
{
#ifdef F_REMOTE
	idle = true
#else
	skip
#endif
}

inline settle(cause, self, from)
{
	if
	:: running > 0 || stopping
	:: else ->
		idles();
		if
		:: may_grant && (cause == AFTER_WAKE || core_work || gq) ->
			next_worker(cause);
			if
			:: pick == NOBODY -> tell_manager()
			:: else -> grant(cause, self, from)
			fi
		:: else
		fi
	fi
}

/* wake_up_process(): from here on the thread may be switched to. */
inline wake(w)
{
	task[w] = TASK_RUNNING;
	onrq[w] = true
}

/* gk_wake_flush(), a step of its own where others can come between */
inline flush(from)
{
	atomic {
		if
		:: waking[from] != NOBODY && task[waking[from]] != TASK_TRACED -> wake(waking[from])
		:: else
		fi;
#ifndef MUTATE_WAKE_EARLY
		waking[from] = NOBODY
#endif
	}
#ifdef MUTATE_WAKE_EARLY
	;
	atomic {
		if
		:: waking[from] == NOBODY
		:: else ->
			if
			:: st[waking[from]] == READY || st[waking[from]] == STANDBY -> make_running(waking[from])
			:: else
			fi
		fi;
		waking[from] = NOBODY
	}
#endif
}

inline rearm()
{
#if !defined(FAIR) || defined(MUTATE_NO_REARM)
	skip
#else
	if
	:: running > 0 && (running > 1 || core_work) && !stopping -> armed = true
	:: else
	fi
#endif
}

#ifdef MUTATE_DISPLACE_INSIDE
#define displaceable(w, self)	(w != self && st[w] == RUNNING)
#else
#define displaceable(w, self)	(w != self && st[w] == RUNNING && !inside(w))
#endif

inline displace_one(w, self)
{
	if
	:: displaceable(w, self) ->
		if
#ifdef FAIR
		:: protect[w] && !used[w]
		:: !protect[w] || used[w] -> make_ready(w)
#else
		:: true
		:: make_ready(w)
#endif
		fi
	:: else
	fi
}

#ifdef MUTATE_WAS_DISPLACE	/* a tick may have made the caller of PARK READY before it has the lock */
#define may_displace(self)	true
#else
#define may_displace(self)	(st[self] == RUNNING)
#endif

inline displace(self)
{
	if
	:: running > 1 && q > 0 && may_displace(self) ->
		displace_one(0, self);
		displace_one(1, self);
#if N > 2
		displace_one(2, self)
#endif
	:: else
	fi
}

/* core_look(): by irq_work, by csd, or by gk_core_kick() on the core's own CPU. An interrupt, whole. */
inline look(cause)
{
	if
#ifndef MUTATE_GRANT_TWICE
	:: cur != NOBODY && will_count(cur)
#endif
	:: else -> settle(cause, NOBODY, FROM_IRQ)
	fi;
	rearm();
	flush(FROM_IRQ)
}

inline retry()
{
#ifdef FAIR
	armed = true
#else
	skip
#endif
}

/*
 * turn_over(): the STANDBY that is next is granted beside cur, which goes on until the CPU switches. That it is in user
 * mode there is not needed.
 */
inline turn_over()
{
	make_ready(cur);
	next_worker(AFTER_PARK);
	if
	:: running == 0 && !stopping && pick != NOBODY && st[pick] == STANDBY ->
		make_running(cur);
		used[cur] = true;
		displaced[cur] = true;
		beside = true;
		grant(AFTER_PARK, NOBODY, FROM_IRQ)
	:: running == 0 && !stopping && pick != NOBODY ->
		grant(AFTER_PARK, NOBODY, FROM_IRQ);
		hit = true
	:: else -> pick = NOBODY; hit = true
	fi
}

/* displaced(), in the sched_out of w, which could go on */
#ifdef MUTATE_DISPLACED_INSIDE
#define gives_way(w)	(running > 1 && !stopping)
#else
#define gives_way(w)	(running > 1 && !inside(w) && !stopping)
#endif

inline displaced_out(w)
{
	if
	:: displaced[w] && gives_way(w) -> make_ready(w)
	:: else -> displaced[w] = false
	fi
}

/* core_timer() */
inline tick()
{
	armed = false;
	if
	:: running > 0 && cur != NOBODY && st[cur] == RUNNING && !stopping && (running > 1 || core_work) ->
		if
#ifdef FAIR
		:: !used[cur] -> used[cur] = true
#endif
#ifdef MUTATE_TICK_INSIDE
		:: make_ready(cur); hit = true
#else
		:: inside(cur) -> retry()
		:: !inside(cur) -> make_ready(cur); hit = true
		:: !inside(cur) && running == 1 && !displaced[cur] && stalled == NOBODY -> turn_over()
#endif
		fi
	:: running > 0 && (cur == NOBODY || st[cur] != RUNNING || stopping) -> others = true
	:: else
	fi;
	settle(AFTER_PARK, NOBODY, FROM_IRQ);
	if
	:: hit -> queued[cur] = (queued[cur] || st[cur] == READY); hit = false
	:: else
	fi;
	if
	:: others -> others = false	/* the next sched_in arms it */
	:: else -> rearm()
	fi;
	flush(FROM_IRQ);
	if
#ifdef MUTATE_WAS_DISPLACE_NOW	/* what an earlier tick found; it has gone inside since */
	:: cur != NOBODY && displaced[cur] -> make_ready(cur); queued[cur] = true
#else
	:: beside -> make_ready(cur); queued[cur] = true
#endif
	:: true				/* need_resched() */
	fi;
	beside = false
}

/* ---- sched.c ---- */

#ifdef MUTATE_TAKE_PARKED
#define displaced_here(w)	(st[w] == READY)
#else
#define displaced_here(w)	(st[w] == READY && !parked[w] && !moving(w))
#endif

/* running has fallen to 0, and the CPU is about to run `to`. */
inline vacant(to)
{
	if
	:: to != NOBODY && will_count(to)
	:: to != NOBODY && displaced_here(to) && stalled == NOBODY && !stopping -> make_running(to)
	:: else ->
		idles();
		if
		:: stalled == NOBODY && (core_work || gq) ->
#ifndef MUTATE_NO_IRQ_WORK
			vacant_work = true
#endif
		:: else -> rearm()
		fi
	fi
}

inline sched_out(w, to)
{
	if
	:: parked[w] && st[w] != RUNNING
	:: st[w] == RUNNING ->
		if
		:: inside(w) -> stalled = w
		:: else
		fi;
		make_off(w, BLOCKED);
		if
		:: running == 0 -> vacant(to)
		:: else
		fi
#ifndef MUTATE_READY_BLOCKS
	:: !parked[w] && st[w] == READY -> make_off(w, BLOCKED)
#endif
	:: else
	fi
}

inline unstall(w)
{
	if
	:: stalled == w -> stalled = NOBODY
	:: else
	fi
}

#ifdef MUTATE_BOUND_INSIDE
#define over_bound(w)	(BOUND && running >= BOUND)
#else
#define over_bound(w)	(BOUND && running >= BOUND && !inside(w))
#endif

inline woken(w)
{
	unstall(w);
	if
	:: must_stop(w) -> make_off(w, STOPPED); park = true
	:: !must_stop(w) && over_bound(w) && !stopping -> make_ready(w); rearm(); park = true
	:: else -> make_running(w); rearm()
	fi
}

inline running_in(w)
{
	if
	:: must_stop(w) -> make_off(w, STOPPED); park = true
	:: !must_stop(w) && (inside(w) || stopping)
	:: !must_stop(w) && !inside(w) && !stopping ->
		if
		:: repark[w] -> repark_timer[w] = true
		:: !repark[w] && running == 1 && q > 0 -> park = true	/* urgent, and its grain is over */
		:: !repark[w]
		fi;
		if
		:: park ->
			make_ready(w);
			settle(AFTER_PARK, NOBODY, FROM_SWITCH);
			park = (st[w] == READY)
		:: else
		fi;
		rearm()
	fi
}

inline sched_in(w)
{
	if
	:: nomm[w]
	:: !nomm[w] && st[w] == BLOCKED -> woken(w)
	:: !nomm[w] && (st[w] == READY || st[w] == STOPPED) ->
		if
		:: st[w] == STOPPED && !parked[w] && repark[w] -> repark_timer[w] = true
		:: else -> park = !parked[w]
		fi
#ifndef FAIR
	:: !nomm[w] && (st[w] == STANDBY || st[w] == HELD) -> park = !parked[w]	/* on its way to park_sleep() */
#endif
	:: !nomm[w] && st[w] == RUNNING -> running_in(w)
	:: else
	fi
}

/* ---- the kernel's scheduler ---- */

/* FAIR: each runnable thread has the CPU once a round, and NOBODY has it only if there is none. */
inline next_thread(idle_too)
{
#ifdef FAIR
	if
	:: any(has_not_run)
	:: else ->
		ran[0] = false;
		ran[1] = false;
#if N > 2
		ran[2] = false
#endif
	fi;
#define may_run(w)	has_not_run(w)
#define may_idle	(!any(runnable))
#else
#define may_run(w)	(onrq[w] && cur != w)
#define may_idle	idle_too
#endif
	if
	:: may_run(0) -> pick = 0
	:: may_run(1) -> pick = 1
#if N > 2
	:: may_run(2) -> pick = 2
#endif
	:: may_idle
	fi;
#ifdef FAIR
	if
	:: pick != NOBODY -> ran[pick] = true
	:: else
	fi
#endif
}

/* Last in its atomic: who was cur takes no further step. */
inline switch_to_pick()
{
	d_step {
		switching = (pick != NOBODY);
		cur = pick;
#ifdef FAIR
		in_user = false;
#endif
		pick = NOBODY
	}
}

/* schedule() called by `id`. One that was woken meanwhile, or is to take a signal, runs on. */
inline schedule()
{
	if
	:: task[id] == TASK_RUNNING
	:: task[id] == TASK_INTERRUPTIBLE && sig[id] != NO_SIGNAL -> task[id] = TASK_RUNNING
	:: else ->
		onrq[id] = false;
		next_thread(true);
		sched_out(id, pick);
		switch_to_pick();
		on_cpu
	fi
}

inline spend(really)
{
#ifdef BUDGET
	budget = (really -> budget - 1 : budget)
#else
	skip
#endif
}

proctype cpu()
{
	bool park;

	do
	:: atomic {
		switching && !irq_first ->
		sched_in(cur);
		queued[cur] = queued[cur] || park;
		park = false;
		flush(FROM_SWITCH);
		switching = false
	   }
	:: atomic {
		!switching && !irq_first && any(preempts) && (cur == NOBODY || affordable) ->
		spend(cur != NOBODY);
		next_thread(false);
		if
		:: pick == cur -> pick = NOBODY	/* FAIR: a new round */
		:: pick != cur && cur != NOBODY -> displaced_out(cur); switch_to_pick()
		:: pick != cur && cur == NOBODY -> switch_to_pick()
		fi
	   }
	od
}

proctype interrupt()
{
	mtype:cause cause = AFTER_PARK;

	do
	:: atomic {
		vacant_work || csd ->
		if
		:: vacant_work -> vacant_work = false; cause = AFTER_BLOCK
		:: csd -> csd = false
		fi;
		look(cause);
		cause = AFTER_PARK
	   }
	od
}

proctype timer()
{
	bool hit, beside, others;

	do
#ifdef FAIR
	:: atomic { armed -> tick() }
#else
	:: atomic { affordable && (running == 0 || cur != NOBODY) -> spend(true); tick() }
#endif
	od
}

/* ---- worker.c, and the library that calls it ---- */

#define again(yes)	((yes) && sig[id] != KILL -> 2 : 0)

inline park_interrupted()
{
	if
	:: st[id] == RUNNING
	:: st[id] == STOPPED -> repark[id] = again(must_stop(id))
	:: else ->
		repark[id] = again(must_stop(id) || (st[id] == READY && running > 0));
#ifdef MUTATE_KEEP_ON_LIST
		running++;
		st[id] = RUNNING
#else
		make_running(id)
#endif
	fi;
	repark_timer[id] = (repark[id] > 0)
}

/*
 * The hard timer of a park cut short. It hits the worker in user mode, or in the kernel; or another, and its sched_in starts it again.
 */
proctype repark_after(byte w)
{
	do
	:: atomic {
		repark_timer[w] ->
		repark_timer[w] = false;
		if
		:: cur != w || switching || repark[w] == 0 || st[w] == BLOCKED || st[w] == DEAD
		:: cur == w && !switching && repark[w] > 0 && st[w] != RUNNING && st[w] != STOPPED && st[w] != BLOCKED && st[w] != DEAD ->
			repark[w] = 0;
			queued[w] = true
		:: cur == w && !switching && repark[w] > 0 && (st[w] == RUNNING || st[w] == STOPPED) -> repark_timer[w] = true
		:: cur == w && !switching && repark[w] == 2 && (st[w] == RUNNING || st[w] == STOPPED) ->
			repark[w]--;
			repark_timer[w] = true
		:: cur == w && !switching && repark[w] == 1 && (st[w] == RUNNING || st[w] == STOPPED) && !inside(w) ->
			repark[w] = 0;
			if
			:: must_stop(w) ->
				if
				:: st[w] == RUNNING -> make_off(w, STOPPED)
				:: else
				fi;
				queued[w] = true
#ifdef MUTATE_WAS_REPARK
			:: !must_stop(w) && st[w] == RUNNING && running > 1 -> make_ready(w); queued[w] = true
#else
			:: !must_stop(w) && st[w] == RUNNING && running > 1 && !stopping -> make_ready(w); queued[w] = true
#endif
			:: else
			fi;
			rearm()
		fi
	   }
	od
}

/* Asleep in a call of its own: such that wake_up_process() ends it, as a fault or a read; or not, as under a debugger. */
#ifdef F_TRACED
#define TASK_ASLEEP	TASK_TRACED
#else
#define TASK_ASLEEP	TASK_UNINTERRUPTIBLE
#endif

inline start_block()
{
	event[id] = AWAITED;
	task[id] = TASK_ASLEEP
}

inline asked()
{
#ifdef FAIR
	hands[id] = ASKED
#else
	skip
#endif
}

/* A task is taken from the core's queue, in its order. */
inline pop()
{
	q--;
#ifdef FAIR
	ahead[0] = (ahead[0] > 0 -> ahead[0] - 1 : 0);
	ahead[1] = (ahead[1] > 0 -> ahead[1] - 1 : 0);
#if N > 2
	ahead[2] = (ahead[2] > 0 -> ahead[2] - 1 : 0);
#endif
#endif
	took_up()
}

inline took_up()
{
#if defined(FAIR) && defined(F_NEXT)
	took_next = false;
#endif
	used[id] = false;
	hands[id] = TASK
}

/* park_work(), up to what it was asked for */
inline park_work()
{
	how = req[id];
	req[id] = NO_PARK;
	if
	:: stopping && how == PARK_STANDBY -> dismissed[id] = true
	:: else
	fi;
	if
	:: must_stop(id) && st[id] == RUNNING -> make_off(id, STOPPED)
	:: else
	fi;
	if
	:: stopping -> how = NO_PARK
	:: else
	fi
}

#ifdef MUTATE_WAS_STOP	/* `stopping` was looked at before the lock was held, and dismiss_one() has gone by since */
#define too_late	false
#else
#define too_late	stopping
#endif

inline leave_call()
{
#ifdef F_CLOSE
	in_call[id] = false
#else
	skip
#endif
}

inline park_requested()
{
	if
	:: how == PARK_STANDBY && !too_late -> displace(id)
	:: else
	fi;
	if
	:: how == PARK_STANDBY && st[id] == RUNNING && too_late -> dismissed[id] = true; how = NO_PARK
	:: how == PARK_STANDBY && st[id] == RUNNING && !too_late &&
	   running == 1 && len(ready) == 0 && stalled == NOBODY && (core_work || gq) -> how = NO_PARK
	:: how == PARK_STANDBY && st[id] == RUNNING && !too_late &&
	   !(running == 1 && len(ready) == 0 && stalled == NOBODY && (core_work || gq)) -> make_standby(id)
	:: how == PARK_READY && st[id] == RUNNING && running == 1 && !core_work -> how = NO_PARK
	:: how == PARK_READY && st[id] == RUNNING && !(running == 1 && !core_work) -> make_ready(id)
	:: how == PARK_HELD && st[id] == RUNNING && unheld[id] -> unheld[id] = false; how = NO_PARK
	:: how == PARK_HELD && st[id] == RUNNING && !unheld[id] -> make_off(id, HELD)
	:: else -> how = NO_PARK
	fi;
	if
	:: how != NO_PARK ->
		repark[id] = 0;
#ifndef MUTATE_PARK_BLINDLY
		settle(AFTER_PARK, id, id);
#endif
		rearm()
	:: else
	fi;
	how = NO_PARK
}

inline unregister()
{
	unstall(id);
	make_off(id, DEAD);
	settle(AFTER_BLOCK, NOBODY, id)
}

/* The library's side of one order for READY workers and tasks. */
#define first_and_due(w)	(ready ? [w] && !queued_before(w))
#define ready_is_due		any(first_and_due)
#define anything		(q > 0 || next || gq)

active [N] proctype worker()
{
	mtype:park how = NO_PARK;
	bool in_handler, signalled;
	bool took_next;		/* FAIR: a chain of q_next does not hold up the queue */
	byte stage;		/* of exit */

	atomic {
		on_cpu;
		if
		:: st[id] == NONE -> make_running(id); rearm()	/* gk_worker_enter() */
		:: else
		fi
	}

	/*
	 * On its way to user mode, then in it. exit_to_user_mode_loop() calls get_signal(), which runs task_work before it
	 * looks for a signal.
	 */
user:	atomic {
	on_cpu;
	if
#ifdef F_KILL
	:: exiting[id] -> goto exit
	:: !exiting[id] && !queued[id] && sig[id] == KILL -> exiting[id] = true; goto exit
#endif
#ifdef F_LEAVE
	:: !exiting[id] && queued[id] && req[id] == LEAVE -> goto leave
#endif
	:: !exiting[id] && queued[id] && req[id] != LEAVE ->
		queued[id] = false;
		park_work();
#ifdef F_STOP
		goto parks
#else
		park_requested();
		goto parks_now
#endif
	:: !exiting[id] && !queued[id] && sig[id] == HANDLER -> sig[id] = NO_SIGNAL; in_handler = true
	:: else ->
		/*
		 * (6) and the promise of GK_IOC_STOP. Where a handler ends nobody sees: it has a tick or two, and so has what it
		 * broke into. If the task ends in that time its worker is STOPPED and has none: it goes on, to leave.
		 */
		assert(st[id] == RUNNING || (st[id] == STOPPED && (in_handler || repark[id] > 0 || taskless(id))));
		assert(!stopped || dismissed[id] || taskless(id) || in_handler || repark[id] > 0);
#ifdef FAIR
		in_user = true;
#endif
		if
		:: in_handler -> in_handler = false
		:: !in_handler && inside(id) ->
			if
			:: word = 0;
				if
				:: q > 0 && !stopping -> pop()
				:: else
				fi
#ifndef FAIR
			:: start_block(); goto block		/* a fault inside: must not be, but may */
#endif
			fi
		:: !in_handler && !inside(id) && hands[id] == TASK ->
			if
#ifndef NO_CALLS
			:: start_block(); goto block
#endif
			:: hands[id] = EMPTY
#ifdef F_YIELD
			:: how = PARK_READY; goto asks
#endif
#ifdef FAIR
			:: skip			/* it computes, perhaps for ever */
			:: q < QMAX -> q++; goto arm
#else
			:: q < QMAX -> q++
#endif
#ifdef F_NEXT
#ifdef FAIR
			:: !next -> next = true; goto arm
#else
			:: !next -> next = true
#endif
#endif
#ifdef F_HOLD
			:: id == 0 -> how = PARK_HELD; goto asks
#endif
#ifdef F_LEAVE
			:: req[id] = LEAVE; queued[id] = true
#endif
			fi
		:: !in_handler && !inside(id) && hands[id] != TASK ->
			if
#ifdef FAIR
			:: hands[id] == EMPTY && (ready_is_due || running > 1 || !anything) ->
				how = PARK_STANDBY; goto asks
			:: hands[id] == ASKED && !anything -> how = PARK_STANDBY; goto asks
			:: (hands[id] == ASKED || (!ready_is_due && running < 2)) && anything ->
#else
			:: how = PARK_STANDBY; goto asks
			:: anything && !stopping ->
#endif
				if
#ifdef F_INSIDE
				:: q > 0 && word == 0 && !stopping -> word = id + 1
				:: q > 0 && word != 0 && !stopping -> start_block(); goto block	/* a futex */
#else
				:: q > 0 && !stopping -> pop()		/* run() looks at `stopping` */
#endif
#if defined(FAIR) && defined(F_NEXT)
				:: next && !stopping && !(took_next && q > 0) -> next = false; took_up(); took_next = true
#else
				:: next && !stopping -> next = false; took_up()
#endif
				:: gq && !stopping -> gq = false; took_up()
				fi
			fi
		fi
	fi
	}
	goto user;

	/* In a call or a fault of its own. */
block:	atomic {
		on_cpu;
		schedule();
		if
		:: event[id] == CAME -> event[id] = NO_EVENT; goto user
		:: else -> task[id] = TASK_ASLEEP; goto block		/* woken for nothing */
		fi
	}

#ifdef FAIR
	/* GK_IOC_ARM, which is gk_core_kick() on the core's own CPU. */
arm:	atomic {
		on_cpu;
		if
		:: !armed -> look(AFTER_PARK)
		:: else
		fi
	}
	goto user;

#endif
	/* gk_worker_park() */
asks:	atomic {
		on_cpu;
		if
		:: how == PARK_STANDBY -> asked()
		:: else
		fi;
		if
		:: how == PARK_STANDBY && stopping -> how = NO_PARK; goto user
		:: !(how == PARK_STANDBY && stopping) && (sig[id] != NO_SIGNAL || queued[id] || stopping || closed) ->
			req[id] = how;
			queued[id] = true;
			how = NO_PARK;
			goto user
		:: else ->
#ifdef F_CLOSE
			in_call[id] = true;
#endif
#ifdef F_STOP
			goto parks
#else
			park_requested();
			goto parks_now
#endif
		fi
	}

#ifdef F_STOP
parks:	atomic {
		on_cpu;
		park_requested()
	}
#endif
	/* The end of park_work(), then park_sleep() */
parks_now:
	atomic {
		on_cpu;
		flush(id)
	}
	atomic {
		on_cpu;
		if
		:: st[id] == RUNNING || st[id] == BLOCKED -> leave_call(); goto user
		:: else -> parked[id] = true
		fi;
#ifdef MUTATE_CHECK_FIRST
	}
sleep:	if
	:: on_cpu && st[id] == RUNNING -> goto awake
	:: on_cpu && st[id] != RUNNING
	fi;
	atomic {
		on_cpu;
		task[id] = TASK_INTERRUPTIBLE
	}
#else
		task[id] = TASK_INTERRUPTIBLE
	}
sleep:	if
	:: on_cpu && st[id] == RUNNING -> goto awake
	:: on_cpu && st[id] != RUNNING
	fi;
#endif
	atomic {
		on_cpu;
#ifndef MUTATE_NO_SIGNAL_CHECK
		if
#if defined(FAIR) && defined(F_KILL)	/* the fatal signal is taken before the next tick or preemption: they are far apart */
		:: sig[id] == KILL ->
			park_interrupted();
			task[id] = TASK_RUNNING;
			parked[id] = false;
			exiting[id] = true;
			goto exit
		:: sig[id] == HANDLER -> park_interrupted(); signalled = true; goto awake
#else
		:: sig[id] != NO_SIGNAL -> park_interrupted(); signalled = true; goto awake
#endif
		:: else
		fi;
#endif
#if defined(F_CLOSE) && !defined(MUTATE_SLEEP_IN_CALL)
		if
		:: in_call[id] && closed -> goto awake
		:: else
		fi;
#endif
		schedule();
#ifndef MUTATE_CHECK_FIRST
		task[id] = TASK_INTERRUPTIBLE;
#endif
		goto sleep
	}
awake:	atomic {
		on_cpu;
		task[id] = TASK_RUNNING;
		parked[id] = false
	}
	atomic {
		on_cpu;
		if
#ifdef MUTATE_WAS_TRUST_PARKED	/* displaced since it saw its grant, and its sched_in still found it parked */
#elif defined(MUTATE_WAS_TRUST_SIGNAL)	/* the same after a signal that ended its park as a STANDBY */
		:: (st[id] == READY || st[id] == STOPPED) && !signalled -> queued[id] = true
#else
		:: st[id] == READY || (st[id] == STOPPED && !signalled) -> queued[id] = true
#endif
#ifdef F_CLOSE
		:: in_call[id] && closed && st[id] != RUNNING && st[id] != BLOCKED -> queued[id] = true
#endif
		:: else
		fi;
		leave_call();
		signalled = false
	}
	goto user;

#ifdef F_LEAVE
	/* gk_worker_unregister() for GK_IOC_EXIT; the thread goes on as none of ours. */
leave:	atomic {
		on_cpu;
		unregister()
	}
	atomic {
		on_cpu;
		flush(id)
	}
gone:	atomic {
		on_cpu;
		onrq[id] = false;
		next_thread(true);
		switch_to_pick()
	}
	false;
#endif
#ifdef F_KILL
	/* do_exit(): it may sleep before and after exit_mm(), and its task_work does nothing. */
exit:	atomic {
		on_cpu;
		stage++;
		if
		:: stage == 1 -> start_block(); goto block
		:: stage == 1
		:: stage == 2 -> nomm[id] = true; start_block(); goto block
		:: stage == 2 -> nomm[id] = true
		:: stage > 2 -> goto dead
		fi
	}
	goto exit;

	/* The last sched_out, with TASK_DEAD: worker_died() */
dead:	atomic {
		on_cpu;
		onrq[id] = false;
		next_thread(true);
		unstall(id);
		make_off(id, DEAD);
		if
		:: running == 0 ->
#ifndef MUTATE_DIED_SILENTLY
			vacant_work = true
#endif
		:: else
		fi;
		switch_to_pick()
	}
	false;

#endif
end:	false
}

/* ---- what happens to the workers ---- */

/* What a worker sleeps for comes. */
proctype event_for(byte w)
{
	do
	:: atomic { event[w] == AWAITED -> event[w] = CAME; wake(w) }
	od
}

inline signal(w, what)
{
	sig[w] = what;
	if
	:: task[w] == TASK_INTERRUPTIBLE -> wake(w)
	:: else
	fi
}

#define alive(w)	(st[w] != NONE && st[w] != DEAD && !exiting[w])

proctype signals()
{
	byte left = SIGNALS;

	do
	:: atomic { left > 0 && alive(0) && sig[0] == NO_SIGNAL -> left--; signal(0, HANDLER) }
	:: atomic { left > 0 && alive(1) && sig[1] == NO_SIGNAL -> left--; signal(1, HANDLER) }
	od
}

proctype killer()
{
	atomic { alive(0) && sig[0] != KILL -> signal(0, KILL) }
}

/* Another core has a task to give away: it is visible before idle[] is read (fence.pml). Or takes it back. */
proctype remote()
{
	do
	:: atomic { !gq -> gq = true; pushing = idle }
	   if
	   :: pushing ->
		atomic {
			settle(AFTER_WAKE, NOBODY, FROM_REMOTE);
			pushing = false
		}
		flush(FROM_REMOTE)
	   :: else
	   fi
	:: atomic { gq -> gq = false }
	od
}

/* net_wake() and gk_net_work() */
proctype network()
{
	do
	:: atomic { !next -> next = true; csd = true }
	od
}

inline unhold(w)
{
	atomic {
		if
		:: st[w] == HELD -> make_ready(w)
		:: else -> unheld[w] = true
		fi;
		unholding = true
	}
	atomic {
		unholding = false;
#ifndef MUTATE_UNHOLD_NO_KICK
		csd = true
#endif
	}
}

proctype unholder()
{
	do
	:: st[0] == HELD || !unheld[0] -> unhold(0)
	od
}

#define to_dismiss(w)	(st[w] == READY && !moving(w) && taskless(w))

/* dismiss_one(), until there is none */
inline dismiss(from)
{
	do
	:: atomic {
		nstandby > 0 || any(to_dismiss) ->
		if
		:: nstandby > 0 -> any_standby()
		:: nstandby == 0 && to_dismiss(0) -> pick = 0
		:: nstandby == 0 && to_dismiss(1) -> pick = 1
#if N > 2
		:: nstandby == 0 && to_dismiss(2) -> pick = 2
#endif
		fi;
		dismissed[pick] = true;
		make_running(pick);
		waking[from] = pick;
		pick = NOBODY
	   }
	   flush(from)
	:: nstandby == 0 && !any(to_dismiss) -> break
	od
}

#ifdef F_PULL
/* gk_worker_pull() of worker 0, by another core, to which it comes not; or that pulls it back. */
proctype puller()
{
	do
	:: atomic {
		st[0] == READY && parked[0] && !moving(0) ->
		ready ?? eval(0);
		ahead[0] = 0;
		is_moving[0] = true;
		pulling = true
	   }
	   atomic {
		if
#ifdef MUTATE_PULL_BLINDLY
		:: true -> make_ready(0)
#else
		:: moving(0) -> make_ready(0)
		:: else
#endif
		fi
	   }
#if defined(F_STOP) && !defined(MUTATE_WAS_PULL_STOPPED)
	   if
	   :: stopping -> dismiss(FROM_PULL)
	   :: else
	   fi;
#endif
	   atomic {
		pulling = false;
#ifndef MUTATE_PULL_NO_KICK
		csd = true
#endif
	   }
	od
}
#endif

/* gk_group_stop() by a thread on another CPU */
proctype stop()
{
	stopping = true;
	atomic {
		if
		:: cur != NOBODY && st[cur] != NONE && st[cur] != DEAD && must_stop(cur) -> queued[cur] = true
		:: else
		fi
	}
	dismiss(FROM_REMOTE);
	stopped = true
}

#ifdef F_CLOSE
/* gk_group_close() */
proctype closer()
{
	atomic { closed = true; closing = true }
#ifndef MUTATE_CLOSE_NO_WAKE
	atomic {
		if
		:: parked[0] && task[0] == TASK_INTERRUPTIBLE -> wake(0)
		:: else
		fi
	}
	atomic {
		if
		:: parked[1] && task[1] == TASK_INTERRUPTIBLE -> wake(1)
		:: else
		fi
	}
#endif
	closing = false
}

#endif
/* The thread that makes workers. */
proctype maker()
{
	atomic { manager && st[N - 1] == NONE -> manager = false; onrq[N - 1] = true }
}

inline start(w)
{
#ifdef F_MANAGER
	if
	:: w < N - 1 -> running++; st[w] = RUNNING; onrq[w] = true
	:: else
	fi;
#else
	running++;
	st[w] = RUNNING;
	onrq[w] = true;
#endif
	run event_for(w);
#ifdef F_SIGNALS
	run repark_after(w)
#endif
}

init {
	atomic {
		start(0);
		start(1);
#if N > 2
		start(2);
#endif
		q = 1;
		armed = true;
		run cpu();
		run interrupt();
		run timer();
#ifdef F_SIGNALS
		run signals();
#endif
#ifdef F_KILL
		run killer();
#endif
#ifdef F_REMOTE
		run remote();
#endif
#ifdef F_NET
		run network();
#endif
#ifdef F_HOLD
		run unholder();
#endif
#ifdef F_STOP
		run stop();
#endif
#ifdef F_PULL
		run puller();
#endif
#ifdef F_CLOSE
		run closer();
#endif
#ifdef F_MANAGER
		run maker();
#endif
	}
}

/* ---- properties ---- */

/* (5) The count is the number of RUNNING workers, and each is on the list of its state. */
#define is_running(w)	(st[w] == RUNNING)
#define is_ready(w)	(st[w] == READY && !moving(w))
#define is_standby(w)	(st[w] == STANDBY)
#define on_ready(w)	(st[w] != READY || moving(w) || ready ?? [w])
#define counted		(running == count(is_running) && len(ready) == count(is_ready) && \
			 nstandby == count(is_standby) && all(on_ready))

/* (1) Who counts as running can run, or is about to be woken; who is blocked will be woken. */
#if N > 2
#define wakes_up(w)	(waking[0] == w || waking[1] == w || waking[2] == w || waking[3] == w || waking[4] == w || \
			 waking[5] == w || waking[6] == w)
#else
#define wakes_up(w)	(waking[0] == w || waking[1] == w || waking[2] == w || waking[3] == w || waking[4] == w || \
			 waking[5] == w)
#endif
#define can_run(w)	(st[w] != RUNNING || onrq[w] || wakes_up(w))
#define will_wake(w)	(st[w] != BLOCKED || onrq[w] || event[w] == AWAITED || wakes_up(w))

/* (1) Work, nobody running, and nobody on the way: the invariant in kmod/gk.h, word for word. */
#define enters		(st[N - 1] == NONE && onrq[N - 1])
#ifdef F_PULL
#define kick_comes	pulling
#else
#define kick_comes	false
#endif
#define on_the_way	(kick_comes || vacant_work || csd || unholding || pushing || \
			 (cur != NOBODY && switching && st[cur] == BLOCKED && !nomm[cur]) || \
			 (len(ready) == 0 && nstandby == 0 && (manager || enters)))
#define served		(running > 0 || stopping || stalled != NOBODY || !(core_work || gq) || on_the_way)

/* (2) The core word is held by nobody who waits for a grant. */
#define holder_goes_on(w) (!inside(w) || st[w] == RUNNING || st[w] == BLOCKED)

/* Nobody waits for the work of a stopped group. */
#define let_go		(!stopped || (nstandby == 0 && (kick_comes || !any(to_dismiss))))

/* Whose turn is over and who goes on is RUNNING. */
#define goes_on(w)	(!displaced[w] || st[w] == RUNNING)

/* Nobody sleeps with a reference to a file that is closed. */
#ifdef F_CLOSE
#define lets_file_go(w)	(!closed || closing || !in_call[w] || onrq[w])
#else
#define lets_file_go(w)	true
#endif

#ifdef P_INVARIANT
never {
	do
	:: !counted -> assert(counted)
	:: !all(can_run) -> assert(all(can_run))
	:: !all(will_wake) -> assert(all(will_wake))
	:: !served -> assert(served)
	:: !all(holder_goes_on) -> assert(all(holder_goes_on))
	:: !let_go -> assert(let_go)
	:: !all(goes_on) -> assert(all(goes_on))
	:: !all(lets_file_go) -> assert(all(lets_file_go))
	:: else
	od
}
#endif
#ifdef P_GRANTED	/* (3) */
ltl granted { [] (st[0] == READY -> <> (st[0] != READY)) }
#endif
#ifdef P_DIES		/* (4) */
ltl dies { [] (sig[0] == KILL -> <> (st[0] == DEAD)) }
#endif
