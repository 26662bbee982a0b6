// SPDX-License-Identifier: GPL-2.0-only
/*
 * ring.pml - a core's ring: its owner puts and takes, another core steals half of it (libgk/switch.h, steal() in sched.c).
 *
 * owner()   queue_put(), queue_full() and queue_get() of a worker that is inside
 * thief()   steal(): reads head, then tail, then the slots, and takes them by a compare-and-swap of q_head. Two of them.
 * Each task is taken once, and none is lost. `slots` are what the tasks' contexts are, too: what the owner wrote before it queued a
 * task is there for the thief.
 */
#ifndef SIZE
#define SIZE	2		/* RING */
#endif
#ifndef COUNT
#define COUNT	3		/* tasks in all: the ring is full once, and a slot is used twice */
#endif
#define CPUS	3
#define WORDS	4
#define SLOT	0		/* .. 1 */
#define HEAD	2
#define TAIL	3
#include "memory.pml"

byte taken[COUNT + 1];		/* how often task n was, from 1 */

inline take(t)
{
	assert(t != 0);
	taken[t]++;
	assert(taken[t] == 1)
}

#ifdef MUTATE_PLAIN_CAS
#define cas_head(cpu, old, new)	{ ok = (load(cpu, HEAD) == (old)); if :: ok -> plain(cpu, HEAD, new) :: else fi }
#else
#define cas_head(cpu, old, new)	atomic { fence(cpu) -> ok = (mem[HEAD] == (old)); \
					 if :: ok -> mem[HEAD] = (new) :: else fi }
#endif

proctype owner()
{
	byte next = 1, tail, head, t;
	bool ok;

	do
	:: next <= COUNT ->
		tail = load(0, TAIL);
#ifndef MUTATE_NEVER_FULL
		if
		:: tail - load(0, HEAD) >= SIZE -> goto get
		:: else
		fi;
#endif
#ifdef MUTATE_TAIL_FIRST
		plain(0, TAIL, tail + 1);
		fence(0);
		plain(0, SLOT + tail % SIZE, next);
#else
		plain(0, SLOT + tail % SIZE, next);
#ifdef MUTATE_DROP_RELEASE
		plain(0, TAIL, tail + 1);
#else
		release(0, TAIL, tail + 1);
#endif
#endif
		next++
	:: true ->
get:		head = load(0, HEAD);
		if
		:: head == load(0, TAIL) ->
			if
			:: next > COUNT -> break
			:: else
			fi
		:: else ->
			t = load(0, SLOT + head % SIZE);
			cas_head(0, head, head + 1);
			if
			:: ok -> take(t)
			:: else
			fi;
			t = 0
		fi;
		head = 0
	od;
	going--
}

proctype thief(byte cpu)
{
	byte head, n, batch[2];
	bool ok;

#ifdef MUTATE_TAIL_THEN_HEAD
	n = load(cpu, TAIL);
	head = load(cpu, HEAD);
	n = n - head;
#else
	head = load(cpu, HEAD);
	n = load(cpu, TAIL) - head;
#endif
	n = n - n / 2;
#ifdef MUTATE_TAIL_THEN_HEAD
	if
	:: n > SIZE -> n = 0		/* head is past it */
	:: else
	fi;
#else
	assert(n <= COUNT);
#endif
	if
	:: n == 0 || n > SIZE		/* head and tail are not of one moment */
	:: else ->
#ifdef MUTATE_CAS_FIRST
		cas_head(cpu, head, head + n);
#endif
		batch[0] = load(cpu, SLOT + head % SIZE);
		if
		:: n > 1 -> batch[1] = load(cpu, SLOT + (head + 1) % SIZE)
		:: else
		fi;
#ifndef MUTATE_CAS_FIRST
		cas_head(cpu, head, head + n);
#endif
		if
		:: ok && n > 1 -> take(batch[0]); take(batch[1])
		:: ok && n == 1 -> take(batch[0])
		:: else
		fi
	fi;
	going--
}

init {
	byte i = 1;

	atomic { going = 3; run drain(0); run drain(1); run drain(2); run owner(); run thief(1); run thief(2) }
	timeout;
	assert(going == 0);
	d_step {
		do
		:: i <= COUNT -> assert(taken[i] == 1); i++
		:: else -> break
		od
	}
}
