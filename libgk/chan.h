/* SPDX-License-Identifier: MIT */
/*
 * chan.h - what chan.c and select.c share: the channel, and what can be done with one without waiting.
 *
 * Invariants, under chan->lock:
 *   Senders wait only while the buffer is full, receivers only while it is empty. So at most one of the two lists has
 *   waiters, but those of one select that sends and receives on an unbuffered channel: it does not meet itself, as it
 *   looks for others before it puts itself on a list.
 *   A closed channel has no waiting task.
 *   A list may have waiters whose wait has ended otherwise (waiter_get() drops them).
 *   Who takes a waiter off a list and claims its task has done the whole of its operation: it copies the element, says
 *   which waiter it was (task->fired) and sets the result: 0 or -EPIPE for a sender, 1 or 0 for a receiver.
 *   len never shows less than what can be received: where an element comes for each that goes, it does not change.
 *
 * User memory may fault and is touched outside only:
 *   An element of up to SMALL bytes passes through the memory of who waits: its task->buf, or its select's own.
 *   A larger one on a channel without a buffer (`direct`) is copied once, from the one task's memory to the other's. In
 *   the place of the element who waits leaves the address that it gave its call, for sending or receiving. Who comes
 *   claims the wait under the lock, copies outside (hand_over()), and only then makes the other ready: that one is in
 *   its call until then, and so is its memory.
 *   A larger one on a channel with a buffer passes as a pointer to a copy of its own, which the receiver frees.
 */
#ifndef GK_CHAN_H
#define GK_CHAN_H

#include <stdlib.h>
#include <string.h>

#include "switch.h"

struct gk_chan {
	uint32_t lock;
	bool closed;
	bool word;			/* the elements have 8 bytes, as most have: they pass in a register */
	bool big;			/* the slots hold pointers to elements */
	bool direct;			/* there are no slots, and what passes is larger than a waiter's */
	size_t len, head, cap;		/* in slots */
	struct gk_queue senders, receivers;
	size_t elem_size;		/* as the user has it */
	size_t slot_size;
	size_t refs;
	struct tick *tick;		/* of gk_after(), gk_ticker(); or NULL */
	char slots[] __attribute__((aligned(64)));
};

/* How long a call may wait. */
enum when {
	NOW,
	UNTIL,
	EVER,
};

/* ---- looks without the lock: see chan.c for what they tell ------------------------------------------------------- */

static always_inline bool chan_full(const gk_chan *c)
{
	if (!c->cap)
		return !load_acquire(&c->receivers.first);
	return load_acquire(&c->len) == c->cap;
}

static always_inline bool chan_empty(const gk_chan *c)
{
	if (!c->cap)
		return !load_acquire(&c->senders.first);
	return !load_acquire(&c->len);
}

/* ---- without waiting: inside, the channel locked. @size is the slots' ------------------------------------------- */

static always_inline void copy(void *to, const void *from, size_t size)
{
	if (likely(size == 8))
		memcpy(to, from, 8);
	else if (size)		/* of nothing there need be no address */
		memcpy(to, from, size);
}

static always_inline char *chan_slot(gk_chan *c, size_t i, size_t size)
{
	return c->slots + i * size;
}

static always_inline size_t chan_index(gk_chan *c, size_t i)
{
	return i >= c->cap ? i - c->cap : i;
}

static always_inline struct gk_task *fire(struct waiter *v, int result)
{
	struct gk_task *t = v->task;

	t->fired = v;
	t->result = result;
	return t;
}

/* 0, and in *wake who is to be made ready, or NULL; -EPIPE; -EAGAIN. */
static always_inline int chan_put(gk_chan *c, const void *from, size_t size, struct gk_task **wake)
{
	struct waiter *v;

	*wake = NULL;
	if (unlikely(c->closed))
		return -EPIPE;
	v = waiter_get(&c->receivers);
	if (v) {
		copy(v->data, from, size);
		*wake = fire(v, 1);
		return 0;
	}
	if (unlikely(c->len >= c->cap))
		return -EAGAIN;
	copy(chan_slot(c, chan_index(c, c->head + c->len), size), from, size);
	store_release(&c->len, c->len + 1);
	return 0;
}

/* 1, and in *wake who is to be made ready, or NULL; 0 if closed and empty; -EAGAIN. */
static always_inline int chan_take(gk_chan *c, void *to, size_t size, struct gk_task **wake)
{
	struct waiter *v = waiter_get(&c->senders);
	char *slot;

	*wake = NULL;
	if (c->len) {
		slot = chan_slot(c, c->head, size);
		copy(to, slot, size);
		c->head = chan_index(c, c->head + 1);
		if (v)		/* the buffer is full: what was its first slot is its last now */
			copy(slot, v->data, size);
		else
			store_release(&c->len, c->len - 1);
	} else if (v) {
		copy(to, v->data, size);
	} else {
		return c->closed ? 0 : -EAGAIN;
	}
	if (v)
		*wake = fire(v, 0);
	return 1;
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

/* An element that was received, to the user's memory: outside. */
static inline void chan_unstage(void *from, void *elem, size_t elem_size, bool big)
{
	void *own;

	if (!big) {
		if (elem && elem_size)
			memcpy(elem, from, elem_size);
		return;
	}
	memcpy(&own, from, sizeof(own));
	if (elem)
		memcpy(elem, own, elem_size);
	free(own);
}

/*
 * The element of a direct channel, between the caller's memory @elem and @t's, whose wait the caller has claimed:
 * outside. NULL receives as well as any.
 */
static inline void hand_over(struct gk_task *t, bool send, void *elem, size_t elem_size)
{
	void *theirs;

	memcpy(&theirs, t->fired->data, sizeof(theirs));
	if (send && theirs)
		memcpy(theirs, elem, elem_size);
	else if (!send && elem)
		memcpy(elem, theirs, elem_size);
}

int chan_wait_null(enum when when, uint64_t deadline);

/* ---- select ------------------------------------------------------------------------------------------------------ */

/* A case of a select that waits, of a channel that exists. */
struct offer {
	struct waiter v;		/* v.data: the element to send, or the task's buf; if direct: its address */
	gk_chan *chan;
	size_t elem_size;
	uint32_t index;			/* the user's */
	uint32_t same;			/* if this is the last on its list: how many of the select's are there */
	struct waiter *first;		/* and the first of them */
	bool send;
	bool big;
	bool direct;
};

/* What task->on is when it waits for WHY_SELECT. */
struct select {
	struct offer *offers;
	struct offer **order;		/* the same by their channels' addresses: in which these are locked */
	uint32_t n;
};

#endif /* GK_CHAN_H */
