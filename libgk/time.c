// SPDX-License-Identifier: MIT
/*
 * time.c - the clock, sleep, and timers: one pairing heap a core, under its lock.
 *
 * The heap's first deadline stands in the core's page. The backend ends a sleep of the core for it, or preempts whoever
 * runs there, so timers never depend on someone being idle.
 */
#include <stdlib.h>
#include <time.h>

#include "switch.h"

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

/* ---- the heap: prev is the parent for a first child, else the left sibling --------------------------------------- */

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
	b->sibling = a->child;
	if (a->child)
		a->child->prev = b;
	b->prev = a;
	a->child = b;
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
		core->timers = merge(core->timers, rest);
		core->timers->prev = NULL;
	}
	n->child = n->sibling = n->prev = NULL;
	store_release(&n->core, NULL);
}

static void publish(struct core *core)
{
	store(&core->page->deadline, core->timers ? core->timers->when : 0);
}

void timer_add(struct worker *w, struct timer_node *node)
{
	struct core *core = w->core;
	uint64_t armed = load(&core->page->armed);

	node->child = node->sibling = node->prev = NULL;
	node->core = core;
	core->timers = merge(core->timers, node);
	core->timers->prev = NULL;
	publish(core);
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
	}
	unlock(&core->timers_lock);
	return was;
}

void timers_run(struct worker *w)
{
	struct core *core = w->core;
	struct timer_node *n;
	struct gk_task *t;
	uint64_t now = now_ns();

	core->clock = now;
	lock(&core->timers_lock);
	while ((n = core->timers) && n->when <= now) {
		t = n->expire(n);
		/* The last that we know of it: after this it may be used anew, or freed. */
		remove_node(core, n);
		publish(core);
		core->fired++;
		if (!t)
			continue;
		unlock(&core->timers_lock);
		ready_tail(w, t);
		lock(&core->timers_lock);
	}
	unlock(&core->timers_lock);
}

/* ---- sleep ------------------------------------------------------------------------------------------------------- */

int gk_sleep_until(uint64_t deadline)
{
	struct worker *w = enter();
	struct core *core;
	struct gk_task *t;
	int err;

	if (!w)
		return -EPERM;
	core = w->core;
	t = w->task;
	t->timer.when = deadline ? deadline : 1;
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

int gk_sleep(uint64_t ns)
{
	uint64_t now;

	if (!self() || !self()->task)
		return -EPERM;
	if (!ns)
		return 0;
	now = now_ns();
	return gk_sleep_until(ns > UINT64_MAX - now ? UINT64_MAX : now + ns);
}

/* ---- timers ------------------------------------------------------------------------------------------------------ */

/* Freed by gk_timer_stop(). */
struct gk_timer {
	struct timer_node node;
	struct gk_task *task;		/* made beforehand, as expiry must not fail */
};

static struct gk_task *timer_expired(struct timer_node *node)
{
	return container_of(node, struct gk_timer, node)->task;
}

gk_timer *gk_timer_start(uint64_t ns, void (*fn)(void *arg), void *arg)
{
	uint64_t now = now_ns();
	struct gk_timer *timer;
	struct gk_task *t;
	struct worker *w;
	int err;

	if (!gk_self() || !fn)
		return NULL;
	timer = calloc(1, sizeof(*timer));
	if (!timer)
		return NULL;
	w = task_get(STACK_SIZE, &t, &err);
	if (!w) {
		free(timer);
		return NULL;
	}
	timer->task = t;
	task_init(w, t, 0, fn, arg);
	timer->task->detached = true;
	timer->node.when = ns > UINT64_MAX - now ? UINT64_MAX : now + ns + !ns;
	timer->node.expire = timer_expired;
	lock(&w->core->timers_lock);
	timer_add(w, &timer->node);
	unlock(&w->core->timers_lock);
	leave(w);
	return timer;
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
	if (stopped) {
		w->core->ended++;
		task_free(w, timer->task);
	}
	leave(w);
	free(timer);
	return stopped;
}
