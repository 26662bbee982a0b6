// SPDX-License-Identifier: GPL-2.0-only
/*
 * pair.pml - two cores of a group, each on its CPU: queues from which the other steals, wake-ups across, the searcher, timers,
 * signals, PULL, the manager, and threads that end anywhere.
 *
 * What core.pml shows of one core is taken for granted here: a locked section is one step, a RUNNING worker takes its steps
 * whenever it likes, whoever is granted wakes. Two things that core.pml has as one step are two here, since another core comes
 * between: a core's idle bit is set, and then it looks at the queues of others (`held`, the lock is kept meanwhile); a task is
 * pushed, and then the pusher looks at the idle bits. That each sees the other's stores in this order is fence.pml's business.
 *
 * A worker's user steps need it RUNNING and on its core's CPU (`user`); the rest is the kernel's. Time passes at any time: a
 * deadline is SET, and then it is due; the tick comes at any time, too.
 *
 * MUTATE_ switches are mistakes, MUTATE_WAS_ those that were in the code once, as in core.pml.
 */
#ifndef N
#define N 3			/* workers: even ones begin on core 0, odd ones on core 1 */
#endif
#ifndef TASKS
#define TASKS 2			/* tasks at a time */
#endif
#ifndef SIGNALS
#define SIGNALS 1
#endif
#ifndef BOUND
#define BOUND 0
#endif
#ifdef TIMERS
#define may_set_timer	(timers > 0)
#define timer_is_set	timers--
#else				/* as many as there is time for */
#define may_set_timer	true
#define timer_is_set	skip
#endif
#define NOBODY 255

mtype:state = { NONE, RUNNING, BLOCKED, READY, STANDBY, DEAD };
mtype:cause = { AFTER_BLOCK, AFTER_PARK, AFTER_WAKE };
mtype:then = { NOTHING, VACANT, SETTLE };	/* who looks at the other core's queue */
mtype:deadline = { NEVER, SET, PASSED };
mtype:pc = { OUTSIDE, INSIDE, SEARCH, GIVE_UP, LOOK, STEAL, IDLES, PARK, PARKED, TASK, LEAVES, PUSHED, TODO,
	     PULL, PULL_MOVE, PULL_CORE, PULL_PUT, PULL_BACK, PULL_KICK, DYING, GONE };

/* struct gk_core, and what the library writes in its page */
byte running[2], nstandby[2];
chan ready0 = [N] of { byte };
chan ready1 = [N] of { byte };
bool passed[2], look[2], csd[2], armed[2], idle[2];
bool out[2];			/* the timer hit others: the next sched_in of who runs arms it */
bool held[2];			/* the lock, where it is kept over a step */
mtype:then then[2] = NOTHING;
byte q[2], word[2];
mtype:deadline deadline[2] = NEVER;
byte searching;			/* id + 1 */

/* struct gk_worker */
mtype:state st[N] = NONE;
mtype:pc pc[N] = OUTSIDE;
byte core[N], cpu[N];		/* its core; the CPU that it may run on */
byte view[N];			/* the core that the library takes for its own */
bool moving[N], repark[N];
#ifdef F_PULL
bool parked[N];			/* asleep in its park; without PULL nobody asks */
#define asleep(w)	parked[w]
#define set_parked(w, b) parked[w] = b
#else
#define asleep(w)	(st[w] != RUNNING)
#define set_parked(w, b) skip
#endif
byte puller[N];			/* id + 1 of who pulls it */
byte pulls[N];			/* ... and of how many do */
bool about[N];			/* it is about to look whether another core is to be woken */

/* The rest of the process */
byte ntasks;
bool told;			/* the manager */
byte starting = NOBODY;		/* the core on which it makes the last worker */
byte signals = SIGNALS;
#ifdef TIMERS
byte timers = TIMERS;
#endif

byte pick = NOBODY;		/* scratch of a locked section */

#define free(c)		(!held[c])
#define nready(c)	(c -> len(ready1) : len(ready0))
#define due(c)		(deadline[c] == PASSED)
#define core_work(c)	(nready(c) > 0 || q[c] > 0 || due(c))
#define inside(w)	(word[core[w]] == (w) + 1)
#define at_home(w)	(cpu[w] == core[w])
#define user(w)		(st[w] == RUNNING && !asleep(w) && at_home(w))
#define has_worker(c)	(nstandby[c] > 0 || nready(c) > 0)
#ifdef F_MANAGER
#define spare		(st[N - 1] == NONE)
#else
#define spare		false
#endif

#ifdef MUTATE_NO_GROUP_WORK
#define group_work(c)	false
#else
#define group_work(c)	(searching == 0 && q[1 - (c)] > 0)
#endif

/* ---- core.c ---- */

inline list_add(c, w)
{
	if
	:: c == 0 -> ready0 ! w
	:: else -> ready1 ! w
	fi
}

inline list_del(c, w)
{
	if
	:: c == 0 -> assert(ready0 ?? [eval(w)]); ready0 ?? eval(w)
	:: else -> assert(ready1 ?? [eval(w)]); ready1 ?? eval(w)
	fi
}

inline leave_state(w)
{
	if
	:: st[w] == RUNNING -> running[core[w]]--
	:: st[w] == READY && moving[w] -> moving[w] = false
	:: st[w] == READY && !moving[w] -> list_del(core[w], w)
	:: st[w] == STANDBY -> nstandby[core[w]]--
	:: else
	fi
}

inline make_running(w)
{
	leave_state(w);
	running[core[w]]++;
	idle[core[w]] = false;
	st[w] = RUNNING
}

inline make_ready(w)
{
	leave_state(w);
	list_add(core[w], w);
	st[w] = READY
}

inline make_standby(w)
{
	leave_state(w);
	nstandby[core[w]]++;
	st[w] = STANDBY
}

inline make_off(w, state)
{
	leave_state(w);
	st[w] = state
}

#define stands_by(w, c)	(st[w] == STANDBY && core[w] == c)

inline any_standby(c)
{
	if
	:: stands_by(0, c) -> pick = 0
	:: stands_by(1, c) -> pick = 1
	:: stands_by(2, c) -> pick = 2
#if N > 3
	:: stands_by(3, c) -> pick = 3
#endif
	fi
}

inline oldest(c)
{
	if
	:: c == 0 -> ready0 ? <pick>
	:: else -> ready1 ? <pick>
	fi
}

/* A READY worker, unless there are tasks that were queued before it: here, unless the STANDBY's turn has not been. */
inline next_worker(c, cause)
{
	if
	:: nready(c) > 0 && nstandby[c] > 0 && cause == AFTER_PARK && (q[c] > 0 || due(c)) && !passed[c] ->
		passed[c] = true;
		any_standby(c)
	:: nready(c) > 0 && !(nstandby[c] > 0 && cause == AFTER_PARK && (q[c] > 0 || due(c)) && !passed[c]) ->
		passed[c] = false;
		oldest(c)
	:: nready(c) == 0 && nstandby[c] > 0 -> any_standby(c)
	:: else
	fi
}

inline tell_manager()
{
#if defined(F_MANAGER) && !defined(MUTATE_NO_MANAGER)
	told = true
#else
	skip
#endif
}

inline choose(c, cause)
{
	next_worker(c, cause);
	if
	:: pick == NOBODY -> idle[c] = true; tell_manager()
	:: else ->
		make_running(pick);
		if
		:: nstandby[c] == 0 -> tell_manager()
		:: else
		fi;
		pick = NOBODY
	fi
}

/* Its second half is looker()'s. */
inline settle(c, cause)
{
	if
	:: running[c] > 0
	:: running[c] == 0 && (cause == AFTER_WAKE || core_work(c)) -> choose(c, cause)
	:: else ->
#ifndef MUTATE_LOOK_FIRST
		idle[c] = true;
#endif
		held[c] = true;
		then[c] = SETTLE
	fi
}

/* For what has passed it is armed only if that would have somebody granted. Not before the other core's queue was looked at. */
inline rearm(c)
{
	if
	:: !held[c] -> rearm_now(c)
	:: else			/* looker() does */
	fi
}

inline rearm_now(c)
{
#ifndef F_TIMERS
	skip
#else
	out[c] = false;
	if
	:: deadline[c] == SET -> armed[c] = true
#ifndef MUTATE_NO_RETRY
	:: due(c) && running[c] == 0 && has_worker(c) -> armed[c] = true
#endif
	:: else
	fi
#endif
}

/* The rest of vacant() and of gk_core_settle(): the bit is set, and fence (A) done. */
proctype looker(byte c)
{
#ifdef MUTATE_LOOK_FIRST
	bool looked;

#endif
end:	do
	:: atomic {
		held[c] ->
		if
		:: then[c] == VACANT && group_work(c) -> look[c] = true
		:: then[c] == VACANT && !group_work(c) -> rearm_now(c)
		:: then[c] == SETTLE && group_work(c) -> choose(c, AFTER_PARK); rearm_now(c)
#ifdef MUTATE_LOOK_FIRST		/* it has looked, and the bit is set only then */
		:: then[c] == SETTLE && !group_work(c) -> looked = true
		fi;
		held[c] = looked;
		then[c] = NOTHING
	   }
	   if
	   :: looked ->
		atomic {
			looked = false;
			idle[c] = true;
			rearm_now(c);
			held[c] = false
		}
	   :: else
	   fi
#else
		:: then[c] == SETTLE && !group_work(c) -> rearm_now(c)
		fi;
		held[c] = false;
		then[c] = NOTHING
	   }
#endif
	od
}

/* core_look(), by irq_work or by csd, on the core's own CPU */
proctype interrupt(byte c)
{
end:	do
	:: atomic {
		free(c) && (look[c] || csd[c]) ->
		if
		:: look[c] -> look[c] = false; settle(c, AFTER_BLOCK)
		:: else -> csd[c] = false; settle(c, AFTER_PARK)
		fi;
		rearm(c)
	   }
	od
}

#ifdef MUTATE_TICK_INSIDE
#define may_preempt(w, c)	(st[w] == RUNNING && core[w] == c && at_home(w))
#else
#define may_preempt(w, c)	(st[w] == RUNNING && core[w] == c && at_home(w) && !inside(w))
#endif

/* core_timer(). It hits whoever is on the CPU. */
proctype timer(byte c)
{
end:	do
	:: atomic {
		free(c) && (armed[c] || running[c] > 0) ->
		armed[c] = false;
		if
		:: running[c] == 0
		:: running[c] > 1 || (running[c] > 0 && core_work(c)) ->
			if
			:: may_preempt(0, c) -> make_ready(0)
			:: may_preempt(1, c) -> make_ready(1)
			:: may_preempt(2, c) -> make_ready(2)
#if N > 3
			:: may_preempt(3, c) -> make_ready(3)
#endif
			:: true		/* it is inside, or its slice is not over */
			fi
		:: else
		fi;
		settle(c, AFTER_PARK);
		rearm(c)
	   }
#ifdef F_TIMERS
	:: atomic { free(c) && armed[c] && running[c] > 0 -> armed[c] = false; out[c] = true }
	:: atomic { free(c) && out[c] && running[c] > 0 -> rearm(c) }
#endif
	od
}

/* Time passes. */
proctype clock(byte c)
{
end:	do
	:: atomic { deadline[c] == SET -> deadline[c] = PASSED }
	od
}

/* ---- the worker ---- */

/* In its task, or parked without one. In libgk's own code a thread ends only with the whole process, and the group with that. */
#define dies(w)		(w == 0 && (pc[w] == TASK || pc[w] == PARKED))

inline displace(c, self)
{
	if
	:: q[c] > 0 && running[c] > 1 ->
		if
		:: 0 != self && may_preempt(0, c) -> make_ready(0)
		:: 1 != self && may_preempt(1, c) -> make_ready(1)
		:: 2 != self && may_preempt(2, c) -> make_ready(2)
		:: true		/* protected, or elsewhere */
		fi
	:: else
	fi
}

#define alone(c)	(running[c] == 1)

#define may_take(w)	(running[core[w]] == 1)

/* A task was pushed: it is seen before `idle` is looked at. */
inline push(w)
{
	q[core[w]]++;
	about[w] = true
}

#ifdef MUTATE_IGNORE_SEARCHING
#define others_look	false
#else
#define others_look	(searching != 0)
#endif

/* word_take() looks at the worker's page, retarget() does what that says. */
#ifdef MUTATE_STALE
#define taken_for(w)	view[w]
#else
#define taken_for(w)	core[w]
#endif

proctype worker(byte id)
{
	bool found, moved, lost;
	byte target = NOBODY, from;
	mtype:pc after;		/* its look at idle[] */

end:	do
	/* -- in user mode -- */
	:: atomic {
		user(id) && pc[id] == OUTSIDE && word[taken_for(id)] == 0 ->	/* enter_loop() */
		assert(core[id] == taken_for(id));
		word[core[id]] = id + 1;
#ifdef MUTATE_STALE
		view[id] = core[id];
#endif
		pc[id] = INSIDE
	   }
	:: atomic {
		user(id) && pc[id] == INSIDE ->		/* worker_loop() */
		assert(inside(id));
		if
		:: due(core[id]) -> deadline[core[id]] = NEVER; push(id); after = INSIDE; pc[id] = PUSHED
		:: may_take(id) && q[core[id]] > 0 ->
			q[core[id]]--; word[core[id]] = 0; pc[id] = TASK
		:: !(may_take(id) && q[core[id]] > 0) && !due(core[id]) ->
			word[core[id]] = 0;
			if
			:: running[core[id]] == 1 && nready(core[id]) == 0 && searching == 0 -> searching = id + 1; pc[id] = SEARCH
			:: else -> pc[id] = IDLES
			fi
		fi
	   }
	:: atomic {
		user(id) && pc[id] == SEARCH ->		/* search(): the last look */
		found = (q[0] > 0 || q[1] > 0);
#ifdef MUTATE_WAS_TRUST_PARK
		found = q[1 - core[id]] > 0 || q[core[id]] > 0;
#endif
		pc[id] = GIVE_UP
	   }
	:: atomic {
		user(id) && pc[id] == GIVE_UP ->
		searching = 0;
		about[id] = true;
		pc[id] = LOOK
	   }
	:: atomic {
		user(id) && pc[id] == LOOK ->		/* whoever pushed while it searched woke nobody */
#ifdef MUTATE_WAS_TRUST_PARK
		about[id] = (found && (q[0] > 0 || q[1] > 0));
#elif defined(MUTATE_NO_LAST_LOOK)
		about[id] = false;
#else
		about[id] = (q[0] > 0 || q[1] > 0);
#endif
		after = (found -> STEAL : IDLES);
		pc[id] = (about[id] -> TODO : after);
		found = false
	   }
	:: atomic {
		user(id) && pc[id] == STEAL && word[core[id]] == 0 ->	/* steal(), inside: then as in the loop */
		word[core[id]] = id + 1;
		if
		:: q[core[id]] == 0 && q[1 - core[id]] > 0 -> q[1 - core[id]]--; q[core[id]]++
		:: else
		fi;
		pc[id] = INSIDE
	   }
#ifdef F_PULL
	:: atomic {
		user(id) && pc[id] == IDLES && running[core[id]] == 1 && nready(1 - core[id]) > 0 && running[1 - core[id]] > 0 ->
		pc[id] = PULL
	   }
	:: atomic {
		user(id) && pc[id] == IDLES &&
		!(running[core[id]] == 1 && nready(1 - core[id]) > 0 && running[1 - core[id]] > 0) -> pc[id] = PARK
	   }
#else
	:: atomic { user(id) && pc[id] == IDLES -> pc[id] = PARK }
#endif
	:: atomic {
		user(id) && pc[id] == TASK ->
		if
		:: skip					/* it computes, perhaps for ever */
		:: ntasks--; pc[id] = OUTSIDE
		:: ntasks < TASKS ->
#ifdef MUTATE_LOOK_THEN_PUSH
			found = idle[1 - core[id]] && !others_look;
#endif
			pc[id] = LEAVES
#ifdef F_TIMERS
		:: deadline[core[id]] == NEVER && may_set_timer ->	/* gk_sleep(), timer_add() */
			timer_is_set;
			deadline[core[id]] = SET;
#ifndef MUTATE_NO_ARM
			armed[core[id]] = true;
#endif
			pc[id] = OUTSIDE
#endif
#ifdef F_EXIT
		:: dies(id) -> pc[id] = DYING
#endif
		fi
	   }
	:: atomic {
		user(id) && pc[id] == LEAVES && word[taken_for(id)] == 0 ->	/* gk_go(), inside */
		assert(core[id] == taken_for(id));
		word[core[id]] = id + 1;
#ifdef MUTATE_STALE
		view[id] = core[id];
#endif
		ntasks++;
		push(id);
		after = TASK;
		pc[id] = PUSHED
	   }
	:: atomic {
		user(id) && pc[id] == PUSHED ->	/* queued_more(), then leave() */
		rearm(core[id]);			/* TODO_ARM */
		if
		:: after == INSIDE
		:: else -> word[core[id]] = 0
		fi;
#ifdef MUTATE_LOOK_THEN_PUSH
		about[id] = found;
		found = false;
#elif defined(MUTATE_NO_WAKE)
		about[id] = false;
#else
		about[id] = idle[1 - core[id]] && !others_look;
#endif
		/* In the loop, what is to be done is done when it is next outside. */
		pc[id] = (about[id] && after != INSIDE -> TODO : after);
		if
		:: after == INSIDE && about[id] -> word[core[id]] = 0; after = OUTSIDE; pc[id] = TODO
		:: else
		fi
	   }
	:: atomic {
		pc[id] == TODO && user(id) && !idle[1 - core[id]] -> about[id] = false; pc[id] = after
	   }
	:: atomic {
		pc[id] == TODO && user(id) && idle[1 - core[id]] && free(1 - core[id]) ->	/* GK_IOC_WAKE, gk_core_wake() */
		settle(1 - core[id], AFTER_WAKE);
		about[id] = false;
		pc[id] = after
	   }
	/* -- in the kernel -- */
	:: atomic {
		pc[id] == PARK && user(id) && free(core[id]) ->	/* park_requested() */
		repark[id] = false;
		displace(core[id], id);
		if
		:: alone(core[id]) && nready(core[id]) == 0 && core_work(core[id]) -> pc[id] = OUTSIDE
#ifndef MUTATE_PARK_BLINDLY
		:: alone(core[id]) && nready(core[id]) == 0 && !core_work(core[id]) && group_work(core[id]) ->
			pc[id] = OUTSIDE
		:: !(alone(core[id]) && nready(core[id]) == 0 && (core_work(core[id]) || group_work(core[id]))) ->
#else
		:: !(alone(core[id]) && nready(core[id]) == 0 && core_work(core[id])) ->
#endif
			make_standby(id);
			set_parked(id, true);
			pc[id] = PARKED;
#ifndef MUTATE_PARK_BLINDLY
			settle(core[id], AFTER_PARK);
#else
			idle[core[id]] = (running[core[id]] == 0);
#endif
			rearm(core[id])
		fi
	   }
	:: atomic { pc[id] == PARKED && user(id) -> pc[id] = OUTSIDE }
#ifdef F_PULL
	:: atomic { parked[id] && st[id] == RUNNING -> parked[id] = false }
	:: atomic { st[id] == READY && !parked[id] && (pc[id] < PULL_KICK || pc[id] > PULL) && pc[id] != DYING -> parked[id] = true }
#endif
	/* It blocks in a call of its task, and wakes. */
	:: atomic {
		user(id) && pc[id] == TASK && free(core[id]) ->
		make_off(id, BLOCKED);
		if
		:: running[core[id]] > 0
		:: running[core[id]] == 0 ->
			idle[core[id]] = true;
			if
			:: core_work(core[id]) -> look[core[id]] = true
			:: else -> held[core[id]] = true; then[core[id]] = VACANT
			fi
		fi
	   }
	:: atomic {
		st[id] == BLOCKED && at_home(id) && free(core[id]) ->	/* woken() */
		if
		:: BOUND && running[core[id]] >= BOUND && !inside(id) -> make_ready(id)
		:: else -> make_running(id)
		fi;
		rearm(core[id])
	   }
	/* On another CPU: gk_worker_stray(); the library brings it home. */
	:: atomic { st[id] == RUNNING && !asleep(id) && !at_home(id) && free(core[id]) -> make_off(id, BLOCKED); csd[core[id]] = true }
	:: atomic { st[id] == BLOCKED && !at_home(id) && pulls[id] == 0 -> cpu[id] = core[id] }
#ifdef F_SIGNALS
	/* park_interrupted(), repark() */
	:: atomic {
		signals > 0 && asleep(id) && (st[id] == READY || st[id] == STANDBY) && free(core[id]) ->
		signals--;
		repark[id] = (st[id] == READY && running[core[id]] > 0);
#ifdef MUTATE_KEEP_ON_LIST
		running[core[id]]++;
		st[id] = RUNNING;
#else
		make_running(id);
#endif
		set_parked(id, false);
		rearm(core[id])
	   }
	:: atomic {
		repark[id] && st[id] == RUNNING && at_home(id) && !inside(id) && free(core[id]) ->
		repark[id] = false;
		if
		:: running[core[id]] > 1 -> make_ready(id)
		:: else
		fi;
		rearm(core[id])
	   }
#endif
#ifdef F_EXIT
	/* A signal that ends it, in its park: park_interrupted() makes it RUNNING and it goes on to its end. */
	:: atomic {
		dies(id) && asleep(id) && (st[id] == READY || st[id] == STANDBY) && free(core[id]) ->
		make_running(id);
		set_parked(id, false);
		pc[id] = DYING;
		rearm(core[id])
	   }
	:: atomic { dies(id) && st[id] == BLOCKED && pc[id] == TASK -> pc[id] = DYING }
	/* gk_worker_unregister(), worker_died() */
	:: atomic {
		pc[id] == DYING && free(core[id]) ->
#ifdef MUTATE_DIE_LISTED
		if
		:: st[id] == RUNNING -> running[core[id]]--
		:: else
		fi;
		st[id] = DEAD;
#else
		make_off(id, DEAD);
#endif
		set_parked(id, false);
		repark[id] = false;
#ifndef MUTATE_DIED_SILENTLY
		settle(core[id], AFTER_BLOCK);
#endif
		pc[id] = GONE
	   }
#endif
#ifdef F_PULL
	/* gk_worker_pull(): a system call, it goes on when its slice is over */
	:: atomic {
		pc[id] == PULL && free(1 - core[id]) ->
		from = 1 - core[id];
		target = NOBODY;
#ifdef MUTATE_PULL_AWAKE
#define can_pull(t)	(core[t] == from && st[t] == READY && !moving[t] && puller[t] == 0)
#else
#define can_pull(t)	(core[t] == from && st[t] == READY && !moving[t] && parked[t] && puller[t] == 0)
#endif
		if
		:: can_pull(0) -> target = 0
		:: can_pull(1) -> target = 1
		:: can_pull(2) -> target = 2
#if N > 3
		:: can_pull(3) -> target = 3
#endif
		:: else
		fi;
		if
		:: target == NOBODY -> from = 0; pc[id] = PARK
		:: else ->
#ifndef MUTATE_PULL_LISTED
			leave_state(target);
#endif
			moving[target] = true;
			puller[target] = id + 1;
			pulls[target]++;
			pc[id] = PULL_MOVE
		fi
	   }
	:: atomic {
		pc[id] == PULL_MOVE ->			/* set_cpus_allowed_ptr() */
		if
		:: cpu[target] = core[id]; moved = true
		:: moved = false
		fi;
		pc[id] = PULL_CORE
	   }
	:: atomic {
		pc[id] == PULL_CORE && free(from) ->
#ifdef MUTATE_PULL_BLINDLY
		lost = false;
#else
		lost = (core[target] != from || !moving[target] || puller[target] != id + 1);
#endif
		if
		:: !lost && moved -> core[target] = core[id]
		:: !lost && !moved -> make_ready(target)
		:: else
		fi;
		pc[id] = (lost && moved -> PULL_BACK : (moved -> PULL_PUT : PULL_KICK))
	   }
	:: atomic {
		pc[id] == PULL_PUT && free(core[id]) ->
#ifdef MUTATE_PULL_BLINDLY
		make_ready(target);
#else
		if
		:: moving[target] -> make_ready(target)
		:: else
		fi;
#endif
		pc[id] = PULL_KICK
	   }
	:: atomic { pc[id] == PULL_BACK -> cpu[target] = from; moved = false; pc[id] = PULL_KICK }
	:: atomic {
		pc[id] == PULL_KICK ->
		if
		:: puller[target] == id + 1 -> puller[target] = 0
		:: else
		fi;
		pulls[target]--;
#ifndef MUTATE_PULL_NO_KICK
		csd[(moved -> core[id] : from)] = true;
#endif
		moved = false;
		lost = false;
		target = NOBODY;
		from = 0;
		pc[id] = PARK
	   }
#endif
	od
}

#ifdef F_MANAGER
/* manage(), grow(), worker_start(): the last worker is made where one is missing. */
proctype manager()
{
end:	do
	:: atomic {
		told && starting == NOBODY ->
		told = false;
		if
		:: spare && nstandby[0] == 0 && running[0] == 0 -> starting = 0
		:: spare && nstandby[1] == 0 && running[1] == 0 -> starting = 1
		:: spare && nstandby[0] == 0 && running[0] > 0 && !(nstandby[1] == 0 && running[1] == 0) -> starting = 0
		:: spare && nstandby[1] == 0 && running[1] > 0 && !(nstandby[0] == 0 && running[0] == 0) -> starting = 1
		:: else
		fi
	   }
	:: atomic {
		starting != NOBODY && free(starting) ->	/* gk_worker_enter() */
		core[N - 1] = starting;
		cpu[N - 1] = starting;
#ifdef MUTATE_STALE
		view[N - 1] = starting;
#endif
		make_running(N - 1);
		rearm(starting);
		starting = NOBODY
	   }
	od
}
#endif

init {
	byte i = 0;

	atomic {
		do
		:: i < N ->
			core[i] = i % 2;
			cpu[i] = i % 2;
#ifdef MUTATE_STALE
			view[i] = i % 2;
#endif
#ifdef F_MANAGER
			if
			:: i < N - 1 -> make_running(i)
			:: else
			fi;
#else
			make_running(i);
#endif
			run worker(i);
			i++
		:: i == N -> break
		od;
		i = 0;
		q[0] = 1;
		ntasks = 1;
		run looker(0);
		run looker(1);
		run interrupt(0);
		run interrupt(1);
		run timer(0);
		run timer(1);
#ifdef F_TIMERS
		run clock(0);
		run clock(1);
#endif
#ifdef F_MANAGER
		run manager()
#endif
	}
}

/* ---- properties ---- */

#if N > 3
#define all(p)		(p(0) && p(1) && p(2) && p(3))
#define any(p)		(p(0) || p(1) || p(2) || p(3))
#define count(p, c)	((p(0, c) -> 1 : 0) + (p(1, c) -> 1 : 0) + (p(2, c) -> 1 : 0) + (p(3, c) -> 1 : 0))
#else
#define all(p)		(p(0) && p(1) && p(2))
#define any(p)		(p(0) || p(1) || p(2))
#define count(p, c)	((p(0, c) -> 1 : 0) + (p(1, c) -> 1 : 0) + (p(2, c) -> 1 : 0))
#endif
#define runs(w, c)	(st[w] == RUNNING && core[w] == c)
#define waits(w, c)	(st[w] == READY && core[w] == c && !moving[w])
#define counted(c)	(running[c] == count(runs, c) && nready(c) == count(waits, c) && nstandby[c] == count(stands_by, c))
/* ?? says where it is, not whether. */
#define listed(w)	(!(ready0 ?? [w]) == !waits(w, 0) && !(ready1 ?? [w]) == !waits(w, 1))

/* (1) Within a core, as in core.pml. At the cap there is nobody to grant, and the library says so. */
#define is_kicking(w)	(pc[w] == PULL_KICK)
#define coming(c)	(look[c] || csd[c] || held[c] || starting == c || any(is_kicking))
#define nobody(c)	(!has_worker(c) && (told || starting != NOBODY || !spare))
#define a_while(c)	(armed[c] && q[c] == 0 && nready(c) == 0)
#define served(c)	(running[c] > 0 || !core_work(c) || coming(c) || nobody(c) || a_while(c))
/* A deadline that is to come has its timer, or who runs arms it as he gets the CPU back. */
#define timed(c)	(deadline[c] != SET || armed[c] || (out[c] && running[c] > 0) || held[c] || look[c])

/* (1) Across: a core that could run somebody is idle, a task is queued elsewhere, and nobody looks. */
#define is_about(w)	(about[w])
#define woken_for(c)	(running[c] > 0 || q[1 - (c)] == 0 || searching != 0 || coming(c) || any(is_about) || nobody(c))

/*
 * (2) Whoever is inside a core is of that core and runs, and nobody else can be: it is one word. BLOCKED, if PULL has taken its CPU
 * away after a signal had it run: a stray goes on as such.
 */
#define goes_on(w)	(st[w] == RUNNING || st[w] == BLOCKED)
#define in_its_core(w)	((word[0] != (w) + 1 || (core[w] == 0 && goes_on(w))) && (word[1] != (w) + 1 || (core[w] == 1 && goes_on(w))))
/* A worker is where its core is, as long as nobody moves it. */
#define placed(w)	(!(st[w] == READY && !moving[w]) || pulls[w] > 0 || at_home(w))
/* (7) Who has left holds nothing. */
#define lets_go(w)	(st[w] != DEAD || (word[0] != (w) + 1 && word[1] != (w) + 1 && searching != (w) + 1 && !moving[w] && \
					   !(ready0 ?? [w]) && !(ready1 ?? [w])))

#ifdef P_INVARIANT
never {
	do
	:: !(counted(0) && counted(1)) -> assert(counted(0) && counted(1))
	:: !all(listed) -> assert(all(listed))
	:: !(served(0) && served(1)) -> assert(served(0) && served(1))
	:: !(timed(0) && timed(1)) -> assert(timed(0) && timed(1))
	:: !(woken_for(0) && woken_for(1)) -> assert(woken_for(0) && woken_for(1))
	:: !all(in_its_core) -> assert(all(in_its_core))
	:: !all(placed) -> assert(all(placed))
	:: !all(lets_go) -> assert(all(lets_go))
	:: else
	od
}
#endif
