// SPDX-License-Identifier: MIT
/*
 * time.c - the clock, sleep, timers and tickers: one pairing heap a core, under its lock.
 *
 * The heap's first deadline stands in the core's page. The backend ends a sleep of the core for it, or preempts whoever
 * runs there, so timers never depend on someone being idle. Those that are due expire in order, BATCH at a time, as the
 * core's tasks are to have their turn in between.
 *
 * A timer costs its struct and nothing else while it is pending: the task that it starts gets its stack when it
 * expires. If none is free then, the timer stays first in the heap until the worker has mapped some, outside
 * (TODO_STACKS); if that fails it is tried again every RETRY_NS.
 *
 * Invariants:
 *   node->core changes under that core's timers_lock, from NULL by who adds the node: and that is one at a time, as the
 *   task itself is (a wait) or under node->lock (timers, ticks).
 *   No stale tick: a tick's element is put into its channel under node->lock, if `seq` is what it was when the node
 *   left the heap. Who stops or resets it does so under the same lock, with a new `seq`, and takes out an element that
 *   is there already. So each one comes before, and is gone, or finds another `seq`, and is none.
 *   Lock order: a tick's node->lock, then its channel's or a heap's.
 */
#include <stdlib.h>
#include <time.h>

#include "switch.h"

#define BATCH		48u		/* timers that expire in a row: fewer than TURNS, so that queues drain */
#define RETRY_NS	1000000

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint64_t now_coarse(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint64_t gk_now(void)
{
	return now_ns();
}

static uint32_t tick_leaves(struct timer_node *node);
static struct gk_task *tick_fire(struct worker *w, struct timer_node *node, uint32_t seq, uint64_t due, uint64_t now);

/* ---- the heap: prev is the parent for a first child, else the left sibling --------------------------------------- */

/* @b becomes @a's first child. */
static void link_first(struct timer_node *a, struct timer_node *b)
{
	b->sibling = a->child;
	if (a->child)
		a->child->prev = b;
	b->prev = a;
	a->child = b;
}

/*
 * As with a binary counter, what becomes a first child is merged with the one before if that has as many nodes, about
 * (`rank`). So a million timers that were added one by one leave twenty children to be merged when the first of them
 * expires, not a million: that would be paid at once, inside.
 */
static struct timer_node *merge(struct timer_node *a, struct timer_node *b)
{
	struct timer_node *t;

	if (!a || !b)
		return a ? a : b;
	if (b->when < a->when) {
		t = a;
		a = b;
		b = t;
	}
	while ((t = a->child) && t->rank == b->rank) {
		a->child = t->sibling;
		if (a->child)
			a->child->prev = a;
		if (b->when < t->when) {
			link_first(b, t);
		} else {
			link_first(t, b);
			b = t;
		}
		b->rank++;
	}
	link_first(a, b);
	return a;
}

/* The children of a removed node, as one heap: pairs from left to right, then all from right to left. */
static struct timer_node *merge_children(struct timer_node *n)
{
	struct timer_node *pairs = NULL, *a, *b, *heap = NULL;

	while (n) {
		a = n;
		b = a->sibling;
		n = b ? b->sibling : NULL;
		a->sibling = NULL;
		if (b)
			b->sibling = NULL;
		a = merge(a, b);
		a->sibling = pairs;
		pairs = a;
	}
	while (pairs) {
		a = pairs;
		pairs = a->sibling;
		a->sibling = NULL;
		heap = merge(heap, a);
	}
	if (heap)
		heap->prev = NULL;
	return heap;
}

static void remove_node(struct core *core, struct timer_node *n)
{
	struct timer_node *rest = merge_children(n->child);

	if (core->timers == n) {
		core->timers = rest;
	} else {
		if (n->prev->child == n)
			n->prev->child = n->sibling;
		else
			n->prev->sibling = n->sibling;
		if (n->sibling)
			n->sibling->prev = n->prev;
		n->sibling = NULL;
		core->timers = merge(core->timers, rest);
		core->timers->prev = NULL;
	}
}

static void publish(struct core *core)
{
	store(&core->page->deadline, core->timers ? core->timers->when : 0);
}

static void insert_node(struct core *core, struct timer_node *node)
{
	node->child = node->sibling = node->prev = NULL;
	node->rank = 0;
	core->timers = merge(core->timers, node);
	core->timers->prev = NULL;
	publish(core);
}

void timer_add(struct worker *w, struct timer_node *node)
{
	struct core *core = w->core;
	uint64_t armed;

	store(&node->core, core);
	insert_node(core, node);
	/* After the deadline was published: an interrupt that disarms the timer before this sees it. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	armed = load(&core->page->armed);
	if (core->timers == node && (!armed || armed > node->when))
		w->todo |= TODO_ARM;
}

bool timer_del(struct timer_node *node)
{
	struct core *core;
	bool was;

	/* It does not move to another heap; it only leaves the one it is in. */
	core = load_acquire(&node->core);
	if (!core)
		return false;
	lock(&core->timers_lock);
	was = node->core;
	if (was) {
		remove_node(core, node);
		publish(core);
		store_release(&node->core, NULL);
	}
	unlock(&core->timers_lock);
	return was;
}

/* The timer's first in the heap is due and has nothing to run its task on. True if it is to be tried again at once. */
static bool no_stack(struct worker *w, struct timer_node *n, uint64_t now)
{
	struct core *core = w->core;

	if (!w->no_stacks) {
		w->todo |= TODO_STACKS;
		return true;
	}
	/* There was no memory for more. Others behind it may be of tasks that sleep, and that end then. */
	remove_node(core, n);
	n->when = now + RETRY_NS;
	insert_node(core, n);
	return false;
}

bool timers_run(struct worker *w)
{
	struct core *core = w->core;
	uint64_t now = now_ns(), due;
	struct timer_node *n;
	unsigned int done;
	struct gk_task *t;
	uint32_t seq;
	bool more;

	core->clock = now;
	lock(&core->timers_lock);
	for (done = 0; (n = core->timers) && n->when <= now && done < BATCH; done++) {
		if (n->expire) {
			t = n->expire(w, n);
			if (t == NO_STACK) {
				if (no_stack(w, n, now))
					break;
				continue;
			}
			remove_node(core, n);
			count(&core->fired);
			if (n->when > now) {
				insert_node(core, n);
			} else {
				publish(core);
				/* The last that we know of it: after this it may be used anew, or freed. */
				store_release(&n->core, NULL);
			}
			if (!t)
				continue;
			unlock(&core->timers_lock);
		} else {
			due = n->when;
			seq = tick_leaves(n);
			remove_node(core, n);
			count(&core->fired);
			publish(core);
			store_release(&n->core, NULL);
			unlock(&core->timers_lock);
			t = tick_fire(w, n, seq, due, now);
		}
		if (t)
			ready_tail(w, t);
		lock(&core->timers_lock);
	}
	w->no_stacks = false;
	n = core->timers;
	more = n && n->when <= now;
	unlock(&core->timers_lock);
	return more;
}

/* ---- sleep ------------------------------------------------------------------------------------------------------- */

static int sleep_until(uint64_t deadline)
{
	struct worker *w = enter();
	struct core *core;
	struct gk_task *t;
	int err;

	if (!w)
		return -EPERM;
	core = w->core;
	t = w->task;
	if (deadline == GK_FOREVER) {
		lock(&t->lock);
		return wait_here(w, &t->lock, WHY_SLEEP, NULL);
	}
	t->timer.when = deadline;
	t->timer.expire = wait_expired;
	lock(&core->timers_lock);
	timer_add(w, &t->timer);
	err = wait_here(w, &core->timers_lock, WHY_SLEEP, NULL);
	if (err == -ETIMEDOUT)
		return 0;
	w = enter();
	timer_del(&t->timer);
	leave(w);
	return err;
}

int gk_sleep_until(uint64_t deadline)
{
	if (!gk_self())
		return -EPERM;
	return deadline <= now_ns() ? 0 : sleep_until(deadline);
}

/* When what lasts @ns from now ends. */
static uint64_t end_of(uint64_t ns)
{
	uint64_t now = now_ns();

	return ns >= GK_FOREVER - now ? GK_FOREVER : now + ns;
}

int gk_sleep(uint64_t ns)
{
	if (!gk_self())
		return -EPERM;
	return ns ? sleep_until(end_of(ns)) : 0;
}

/* ---- timers that start a task ------------------------------------------------------------------------------------ */

/* Freed by gk_timer_stop(). */
struct gk_timer {
	struct timer_node node;
	void (*fn)(void *arg);
	void *arg;
	struct locals *locals;		/* of who started it */
};

static struct gk_task *timer_expired(struct worker *w, struct timer_node *node)
{
	struct gk_timer *timer = container_of(node, struct gk_timer, node);
	struct gk_task *t = stack_get(w);

	if (!t)
		return NO_STACK;
	task_init(w, t, 0, timer->fn, timer->arg);
	task_inherit(t, timer->locals);
	t->detached = true;
	return t;
}

/* Never is no deadline: a core with nothing else to wait for is to see that, and so is who looks for a deadlock. */
static void timer_arm(struct worker *w, struct timer_node *node)
{
	if (node->when == GK_FOREVER)
		return;
	lock(&w->core->timers_lock);
	timer_add(w, node);
	unlock(&w->core->timers_lock);
}

gk_timer *gk_timer_start(uint64_t ns, void (*fn)(void *arg), void *arg)
{
	gk_task *t = gk_self();
	struct gk_timer *timer;
	struct worker *w;

	if (!t || !fn)
		return NULL;
	timer = malloc(sizeof(*timer));
	if (!timer)
		return NULL;
	timer->node.when = end_of(ns);
	timer->node.expire = timer_expired;
	timer->node.lock = 0;
	timer->node.core = NULL;
	timer->fn = fn;
	timer->arg = arg;
	timer->locals = locals_get(t->locals);
	w = enter();
	timer_arm(w, &timer->node);
	leave(w);
	return timer;
}

int gk_timer_reset(gk_timer *timer, uint64_t ns)
{
	uint64_t when = end_of(ns);
	struct worker *w;
	bool was;

	if (!timer)
		return -EINVAL;
	w = enter();
	if (!w)
		return -EPERM;
	lock(&timer->node.lock);
	was = timer_del(&timer->node);
	timer->node.when = when;
	timer_arm(w, &timer->node);
	unlock(&timer->node.lock);
	leave(w);
	return was;
}

int gk_timer_stop(gk_timer *timer)
{
	struct worker *w;
	bool stopped;

	if (!timer)
		return -EINVAL;
	w = enter();
	if (!w)
		return -EPERM;
	stopped = timer_del(&timer->node);
	leave(w);
	locals_put(timer->locals);
	free(timer);
	return stopped;
}

/* ---- channels that get the time ---------------------------------------------------------------------------------- */

struct tick {
	struct timer_node node;
	gk_chan *chan;
	uint64_t period;		/* 0: once */
	uint32_t seq;			/* changes with each stop and reset; while the node is in a heap it does not */
	uint32_t firing;		/* cores that have taken it out of a heap and are not done */
	bool armed;			/* an element will come */
};

/* It is due and leaves the heap, whose lock is held. */
static uint32_t tick_leaves(struct timer_node *node)
{
	struct tick *k = container_of(node, struct tick, node);

	__atomic_add_fetch(&k->firing, 1, __ATOMIC_RELAXED);
	return k->seq;
}

/* The same, when it has left. Inside. Returns whom to make ready, or NULL. */
static struct gk_task *tick_fire(struct worker *w, struct timer_node *node, uint32_t seq, uint64_t due, uint64_t now)
{
	struct tick *k = container_of(node, struct tick, node);
	struct gk_task *t = NULL;

	lock(&node->lock);
	if (k->seq == seq) {
		t = chan_offer(k->chan, &due);
		k->armed = k->period;
		if (k->period) {
			node->when = due + k->period * (1 + (now - due) / k->period);
			timer_arm(w, node);
		}
	}
	unlock(&node->lock);
	/* After this tick_free() may free it. */
	__atomic_sub_fetch(&k->firing, 1, __ATOMIC_RELEASE);
	return t;
}

/* No element that was due before comes, and none is in the channel. Its lock is held. True if one would have come. */
static bool tick_disarm(struct tick *k)
{
	bool was = k->armed;

	timer_del(&k->node);
	k->seq++;
	k->armed = false;
	return chan_drain(k->chan) || was;
}

static void tick_arm(struct worker *w, struct tick *k, uint64_t when)
{
	k->node.when = when;
	k->armed = when != GK_FOREVER;
	timer_arm(w, &k->node);
}

static gk_chan *tick_start(uint64_t ns, bool periodic)
{
	uint64_t when = end_of(ns);
	struct worker *w;
	struct tick *k;
	gk_chan *c;

	if (!gk_self() || (periodic && !ns))
		return NULL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	/* Of one element, which the receiver sees as coming at the moment: its length is 0 always. */
	c = gk_chan_new(sizeof(uint64_t), 1);
	if (!c) {
		free(k);
		return NULL;
	}
	k->chan = c;
	k->period = periodic ? ns : 0;
	chan_set_tick(c, k);
	w = enter();
	lock(&k->node.lock);
	tick_arm(w, k, when);
	unlock(&k->node.lock);
	leave(w);
	return c;
}

gk_chan *gk_after(uint64_t ns)
{
	return tick_start(ns, false);
}

gk_chan *gk_ticker(uint64_t ns)
{
	return tick_start(ns, true);
}

static int tick_change(gk_chan *c, bool rearm, uint64_t ns)
{
	struct worker *w;
	struct tick *k;
	bool was;

	k = c ? chan_tick(c) : NULL;
	if (!k || (rearm && k->period && !ns))
		return -EINVAL;
	w = enter();
	if (!w)
		return -EPERM;
	lock(&k->node.lock);
	was = tick_disarm(k);
	if (rearm) {
		if (k->period)
			k->period = ns;
		/* From now, not from before the lock: a tick does not come that is older than the one before. */
		tick_arm(w, k, end_of(ns));
	}
	unlock(&k->node.lock);
	leave(w);
	return was;
}

int gk_tick_stop(gk_chan *chan)
{
	return tick_change(chan, false, 0);
}

int gk_tick_reset(gk_chan *chan, uint64_t ns)
{
	return tick_change(chan, true, ns);
}

int tick_free(struct tick *k)
{
	struct worker *w = enter();
	unsigned int spins = 0;

	if (!w)
		return -EPERM;
	lock(&k->node.lock);
	tick_disarm(k);
	unlock(&k->node.lock);
	/* On another core, inside, and brief. */
	while (load_acquire(&k->firing))
		spin(&spins);
	leave(w);
	free(k);
	return 0;
}
