// SPDX-License-Identifier: GPL-2.0-only
/*
 * fence.pml - a core goes idle while another queues a task that it could take, and a third searches: fence (A) and its partners.
 *
 * vacant()    vacant() in kmod/sched.c, gk_core_settle() with set_idle() in core.c
 * pusher()    queued_more() and do_todo() in libgk, gk_core_wake() in core.c. With SPILL the task goes to the queue of all,
 *             under its lock (gq_put()); what the pusher's own core has queued is gone.
 * searcher()  search() in libgk/sched.c, on a third core. Its worker does not take what it missed: another of its core's has
 *             woken meanwhile, so it parks, and its core does not look.
 */
#define CPUS	3
#define WORDS	6

#define IDLE		0	/* the bit of the core in idle[] */
#define QUEUE		1	/* q_tail of the pusher's core, or gq_len */
#define SEARCHING	2
#define LOCKED		3	/* core->lock */
#define RUNNING		4	/* core->running, only under the lock */
#define GQ_LOCKED	5
#include "memory.pml"

bool about;			/* somebody will still do GK_IOC_WAKE, or has looked and will take the task */

/* GK_IOC_WAKE */
inline wake(cpu)
{
	lock(cpu, LOCKED);
	if
	:: load(cpu, RUNNING) == 0 -> plain(cpu, RUNNING, 1); plain(cpu, IDLE, 0)
	:: else
	fi;
	unlock(cpu, LOCKED)
}

#define finds_work(cpu)	((spill || mem[SEARCHING] == 0) && load(cpu, QUEUE) == 1)

proctype vacant(bool spill)
{
	bool saw;

	lock(0, LOCKED);
	plain(0, RUNNING, 0);
#ifdef MUTATE_LOOK_FIRST
	saw = finds_work(0);
	plain(0, IDLE, 1);
	fence(0);
#else
#ifdef MUTATE_WAS_SETTLE	/* gq_len is of gk_core_work(), which was looked at before, and not again */
	saw = spill && finds_work(0);
#endif
	plain(0, IDLE, 1);
#ifndef MUTATE_DROP_FENCE_A
	fence(0);
#endif
#ifdef MUTATE_WAS_SETTLE
	saw = saw || (!spill && finds_work(0));
#else
	/* gk_core_work() and gk_group_work() */
	saw = finds_work(0);
#endif
#endif
	if
	:: saw -> plain(0, IDLE, 0); plain(0, RUNNING, 1)
	:: else
	fi;
	unlock(0, LOCKED);
	going--
}

proctype pusher(bool spill)
{
	bool saw;

#ifdef MUTATE_LOOK_THEN_PUSH
	saw = load(1, IDLE) == 1 && load(1, SEARCHING) == 0;
#endif
	if
	:: spill -> lock(1, GQ_LOCKED); plain(1, QUEUE, 1); unlock(1, GQ_LOCKED)
	:: else -> plain(1, QUEUE, 1)
	fi;
#ifndef MUTATE_DROP_PUSH_FENCE
	fence(1);
#endif
#ifndef MUTATE_LOOK_THEN_PUSH
	saw = load(1, IDLE) == 1;
	saw = saw && load(1, SEARCHING) == 0;	/* who searches will see the task: wake nobody */
#endif
	if
	:: saw -> wake(1)
	:: else
	fi;
	going--
}

/* It has looked in vain, and gives up. */
proctype searcher()
{
#ifdef MUTATE_STOP_SEARCHING_LAST
	bool saw = (mem[QUEUE] == 1);
#endif

	plain(2, SEARCHING, 0);
#ifndef MUTATE_DROP_SEARCH_FENCE
	fence(2);
#endif
#ifdef MUTATE_WAS_TRUST_PARK		/* the look was going to the park, which does not if another runs */
	going--;
	false;
#endif
	if
#ifdef MUTATE_STOP_SEARCHING_LAST
	:: saw && mem[IDLE] == 1 -> wake(2)
#else
	:: mem[QUEUE] == 1 ->
		if
		:: mem[IDLE] == 1 -> wake(2)
		:: else
		fi
#endif
	:: else
	fi;
	going--
}

init {
	bool spill;

	atomic {
		mem[RUNNING] = 1;
		run drain(0);
		run drain(1);
		run drain(2);
		going = 2;
		if
		:: spill = true
		:: spill = false
		fi;
		run vacant(spill);
		run pusher(spill);
		if
		:: mem[SEARCHING] = 1; going++; run searcher()
		:: true
		fi
	}
	/* A queued task, an idle core, nobody looking, nobody coming: what must not be. */
	going == 0 && fence(0) && fence(1) && fence(2);
	assert(!(mem[QUEUE] == 1 && mem[RUNNING] == 0))
}
