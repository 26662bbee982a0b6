// SPDX-License-Identifier: GPL-2.0-only
/*
 * fence.pml - the one race between two cores: a core goes idle while another queues a task that it could take.
 *
 * Each CPU has a store buffer (x86-TSO): a store goes into it and reaches memory some time later, in order; a full fence and a
 * locked instruction wait until it is empty. set_bit() is taken for a plain store, as it may be on other machines. The core lock
 * is taken with a locked instruction and given up with a plain store.
 *
 * vacant()    vacant() in kmod/sched.c and gk_core_settle() in core.c, fence (A)
 * pusher()    libgk: gk_go() and friends on another core; gk_core_wake() in core.c
 * searcher()  libgk: a worker of a third core that looks for work and gives up (gk.h, `searching`)
 */
#define IDLE		0	/* the bit of the core in idle[] */
#define QUEUE		1	/* q_tail of the pusher's core */
#define SEARCHING	2
#define LOCKED		3	/* core->lock */
#define RUNNING		4	/* core->running, only under the lock */
#define CPUS		3

byte mem[5];
chan buffer[CPUS] = [4] of { byte, byte };
byte left = CPUS;		/* CPUs that are not done */

#define store(cpu, at, value)	buffer[cpu] ! at, value
#define fence(cpu)		len(buffer[cpu]) == 0

/* A store leaves the buffer of @cpu. */
proctype drain(byte cpu)
{
	byte at, value;

end:	do
	:: atomic { buffer[cpu] ? at, value -> mem[at] = value; at = 0; value = 0 }
	od
}

#define lock(cpu)	atomic { fence(cpu) && mem[LOCKED] == 0 -> mem[LOCKED] = 1 }
#define unlock(cpu)	store(cpu, LOCKED, 0)

proctype vacant()
{
	lock(0);
	store(0, RUNNING, 0);
#ifdef MUTATE_LOOK_FIRST
	if
	:: mem[SEARCHING] == 0 && mem[QUEUE] == 1 -> store(0, RUNNING, 1)
	:: else -> store(0, IDLE, 1); fence(0)
	fi;
#else
	store(0, IDLE, 1);
#ifndef MUTATE_DROP_FENCE_A
	fence(0);
#endif
	if
	:: mem[SEARCHING] == 1
	:: mem[SEARCHING] == 0 && mem[QUEUE] == 1 -> store(0, IDLE, 0); store(0, RUNNING, 1)
	:: else
	fi;
#endif
	unlock(0);
	left--
}

proctype pusher()
{
	store(1, QUEUE, 1);
#ifndef MUTATE_DROP_PUSH_FENCE
	fence(1);
#endif
	if
	:: mem[SEARCHING] == 1		/* it will see the task: as Go does, wake nobody */
	:: mem[IDLE] == 1 ->
		lock(1);
		if
		:: mem[RUNNING] == 0 -> store(1, RUNNING, 1); store(1, IDLE, 0)
		:: else
		fi;
		unlock(1)
	:: mem[SEARCHING] == 0 && mem[IDLE] == 0
	fi;
	left--
}

/* Its core sleeps after this, so what it leaves behind is the business of the other idle core. */
proctype searcher()
{
	bool found;

#ifdef MUTATE_STOP_SEARCHING_LAST
	found = mem[QUEUE];
	store(2, SEARCHING, 0);
	fence(2);
#else
	store(2, SEARCHING, 0);
#ifndef MUTATE_DROP_SEARCH_FENCE
	fence(2);
#endif
	found = mem[QUEUE];
#endif
	if
	:: found -> store(2, QUEUE, 0)		/* it takes the task after all */
	:: else
	fi;
	left--
}

init {
	atomic {
		mem[RUNNING] = 1;
		run drain(0);
		run drain(1);
		run drain(2);
		run vacant();
		run pusher();
		if
		:: mem[SEARCHING] = 1; run searcher()
		:: left--
		fi
	}
	/* A queued task, an idle core, nobody looking, nobody coming: what must not be. */
	left == 0 && len(buffer[0]) == 0 && len(buffer[1]) == 0 && len(buffer[2]) == 0;
	assert(!(mem[QUEUE] == 1 && mem[RUNNING] == 0))
}
