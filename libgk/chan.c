// SPDX-License-Identifier: MIT
/*
 * chan.c - channels: the Go specification's, with error codes where Go panics. The invariants stand in chan.h.
 *
 * What is decided without the lock, and why that is right:
 *
 *   A try to send fails if the channel is open and full. The two are read one after the other, in any order. A closed
 *   channel does not become full from not full, and an open one was not closed before: so if it was seen open, and seen
 *   full, there is a moment of the call at which it was both.
 *
 *   A try to receive fails if the channel is empty and then open, in this order: as no channel is opened again, it was
 *   open when it was empty. The other order could see it open, then closed and drained. The loads of `len` and of the
 *   list are acquires and pair with the stores that empty them: close() stores `closed` before it empties the list of
 *   senders, so who sees that list empty because of it sees `closed`.
 *
 *   A receive, tried or not, returns 0 if the channel is closed and then empty: nothing is sent after the close, so
 *   what is empty then stays so. The load of `closed` pairs with the store in close(): what the closer did before is
 *   seen.
 *
 *   In each case the looks err to one side only: a list may be seen with waiters whose wait has ended, and then the
 *   lock is taken to find out. No sender or receiver is lost as these paths change nothing.
 */
#include <stdlib.h>

#include "chan.h"

gk_chan *gk_chan_new(size_t elem_size, size_t cap)
{
	bool large = elem_size > SMALL, big = large && cap, direct = large && !cap;
	size_t slot_size = large ? big * sizeof(void *) : elem_size, bytes;
	gk_chan *c;

	if (__builtin_mul_overflow(slot_size, cap, &bytes) || bytes > SIZE_MAX / 2 - sizeof(*c))
		return NULL;
	/* Rounded up, as aligned_alloc() asks; and touched, so that it does not fault inside. */
	bytes = (sizeof(*c) + bytes + 63) & ~63ul;
	c = aligned_alloc(64, bytes);
	if (!c)
		return NULL;
	memset(c, 0, bytes);
	c->big = big;
	c->direct = direct;
	c->word = elem_size == 8;
	c->elem_size = elem_size;
	c->slot_size = slot_size;
	c->cap = cap;
	c->refs = 1;
	return c;
}

gk_chan *gk_chan_ref(gk_chan *c)
{
	if (c)
		__atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

/* Somebody waits on it, or is about to leave a wait. */
static bool is_waited_for(gk_chan *c)
{
	struct worker *w = enter();
	bool is;

	if (w)
		lock(&c->lock);
	is = c->senders.first || c->receivers.first;
	if (w) {
		unlock(&c->lock);
		leave(w);
	}
	return is;
}

int gk_chan_free(gk_chan *c)
{
	size_t refs, i;

	if (!c)
		return 0;
	do {
		/* Pairs with the others' decrements: what they did with the channel is done. */
		refs = load_acquire(&c->refs);
		if (refs == 1) {
			if (is_waited_for(c))
				return -EBUSY;
			if (c->tick && tick_free(c->tick))
				return -EPERM;
			for (i = 0; c->big && i < c->len; i++)
				free(*(void **)chan_slot(c, chan_index(c, c->head + i), sizeof(void *)));
			free(c);
			return 0;
		}
	} while (!cas(&c->refs, refs, refs - 1));
	return 0;
}

/*
 * Takes the calling task's waiter off, whose wait ended without the channel. What that was is in the task, so that the
 * wait has less to keep across the switch.
 */
static __attribute__((noinline)) void unlist(struct gk_task *t)
{
	struct worker *w = enter();
	gk_chan *c = (gk_chan *)t->on;

	lock(&c->lock);
	waiter_del(t->why == WHY_CHAN_SEND ? &c->senders : &c->receivers, &t->waiter);
	unlock(&c->lock);
	leave(w);
}

/* A channel that does not exist is never ready. */
__attribute__((noinline)) int chan_wait_null(enum when when, uint64_t deadline)
{
	struct worker *w;

	w = self();
	if (!w || !w->task)
		return -EPERM;
	if (when == NOW)
		return -EAGAIN;
	w = enter();
	lock(&w->task->lock);
	return wait_until(w, &w->task->lock, WHY_NULL_CHAN, NULL, deadline);
}

static always_inline int wait_on(struct worker *w, struct gk_task *t, gk_chan *c, enum why why, enum when when,
				 uint64_t deadline)
{
	struct waiter *v = &t->waiter;
	int err;

	t->why = why;
	t->on = c;
	v->data = t->buf;
	waiter_put(why == WHY_CHAN_SEND ? &c->senders : &c->receivers, v);
	if (likely(when == EVER))
		err = wait_here(w, &c->lock, why, c);
	else
		err = wait_until(w, &c->lock, why, c, deadline);
	if (unlikely(err == -ECANCELED || err == -ETIMEDOUT))
		unlist(t);
	return err;
}

/* The element of a send, to where it may be touched inside; @word: it is a word. */
static always_inline int stage(gk_chan *c, void *to, const void *elem, bool word)
{
	void *own;

	if (word) {
		memcpy(to, elem, 8);
	} else if (likely(!c->big)) {
		if (c->slot_size)
			memcpy(to, elem, c->slot_size);
	} else {
		own = malloc(c->elem_size);
		if (!own)
			return -ENOMEM;
		memcpy(own, elem, c->elem_size);
		memcpy(to, &own, sizeof(own));
	}
	return 0;
}

/* A direct channel's: see chan.h. What is put and taken has a size of 0. */
static __attribute__((noinline)) int pass(gk_chan *c, bool send, void *elem, enum when when, uint64_t deadline)
{
	size_t elem_size = c->elem_size;	/* after a wait the channel may be gone */
	struct worker *w = self();
	struct gk_task *t = w->task, *wake;
	int done;

	memcpy(t->buf, &elem, sizeof(elem));
	go_inside(w);
	lock(&c->lock);
	done = send ? chan_put(c, NULL, 0, &wake) : chan_take(c, NULL, 0, &wake);
	if (done == -EAGAIN && when != NOW)
		return wait_on(w, t, c, send ? WHY_CHAN_SEND : WHY_CHAN_RECV, when, deadline);
	unlock(&c->lock);
	leave(w);
	if (wake) {
		hand_over(wake, send, elem, elem_size);
		w = enter();
		ready_woken(w, wake);
		leave(w);
	}
	return done;
}

static always_inline int send(gk_chan *c, const void *elem, enum when when, uint64_t deadline, bool word)
{
	struct worker *w = self();
	struct gk_task *t, *wake;
	size_t size;
	uint64_t v;
	void *from;
	bool big;
	int err;

	if (unlikely(!w || !w->task))
		return -EPERM;
	if (when == NOW && !load(&c->closed) && chan_full(c))
		return -EAGAIN;
	if (!word && c->direct)
		return pass(c, true, (void *)elem, when, deadline);
	t = w->task;
	size = word ? 8 : c->slot_size;
	big = !word && c->big;		/* after a wait the channel may be gone */
	from = word ? (void *)&v : t->buf;
	err = stage(c, from, elem, word);
	if (unlikely(err))
		return err;

	go_inside(w);
	lock(&c->lock);
	err = chan_put(c, from, size, &wake);
	if (err == -EAGAIN && when != NOW) {
		if (word)
			memcpy(t->buf, &v, 8);
		err = wait_on(w, t, c, WHY_CHAN_SEND, when, deadline);
	} else {
		unlock(&c->lock);
		if (wake)
			ready_woken(w, wake);
		leave(w);
	}
	if (unlikely(err) && big)
		free(*(void **)t->buf);
	return err;
}

static always_inline int recv(gk_chan *c, void *elem, enum when when, uint64_t deadline, bool word)
{
	struct worker *w = self();
	struct gk_task *t, *wake;
	size_t elem_size, size;
	uint64_t v = 0;
	void *to;
	bool big;
	int got;

	if (unlikely(!w || !w->task))
		return -EPERM;
	if (when == NOW && chan_empty(c) && !load_acquire(&c->closed))
		return -EAGAIN;
	if (unlikely(load_acquire(&c->closed)) && chan_empty(c))
		return 0;
	if (!word && c->direct)
		return pass(c, false, elem, when, deadline);
	t = w->task;
	big = !word && c->big;		/* after a wait the channel may be gone */
	elem_size = word ? 8 : c->elem_size;
	size = word ? 8 : c->slot_size;
	to = word ? (void *)&v : t->buf;

	go_inside(w);
	lock(&c->lock);
	got = chan_take(c, to, size, &wake);
	if (got == -EAGAIN && when != NOW) {
		got = wait_on(w, t, c, WHY_CHAN_RECV, when, deadline);
		if (word)
			memcpy(&v, t->buf, 8);
	} else {
		unlock(&c->lock);
		if (wake)
			ready_woken(w, wake);
		leave(w);
	}
	if (unlikely(got != 1))
		return got;
	if (!word)
		chan_unstage(t->buf, elem, elem_size, big);
	else if (likely(elem))
		memcpy(elem, &v, 8);
	return 1;
}

/* Both kinds are inlined, and the wait with them: see switch.h. */
static always_inline int send_any(gk_chan *c, const void *elem, enum when when, uint64_t deadline)
{
	if (unlikely(!c))
		return chan_wait_null(when, deadline);
	if (likely(c->word))
		return send(c, elem, when, deadline, true);
	return send(c, elem, when, deadline, false);
}

static always_inline int recv_any(gk_chan *c, void *elem, enum when when, uint64_t deadline)
{
	if (unlikely(!c))
		return chan_wait_null(when, deadline);
	if (likely(c->word))
		return recv(c, elem, when, deadline, true);
	return recv(c, elem, when, deadline, false);
}

int gk_chan_send(gk_chan *c, const void *elem)
{
	return send_any(c, elem, EVER, GK_FOREVER);
}

int gk_chan_recv(gk_chan *c, void *elem)
{
	return recv_any(c, elem, EVER, GK_FOREVER);
}

int gk_chan_try_send(gk_chan *c, const void *elem)
{
	return send_any(c, elem, NOW, 0);
}

int gk_chan_try_recv(gk_chan *c, void *elem)
{
	return recv_any(c, elem, NOW, 0);
}

int gk_chan_send_until(gk_chan *c, const void *elem, uint64_t deadline)
{
	return send_any(c, elem, UNTIL, deadline);
}

int gk_chan_recv_until(gk_chan *c, void *elem, uint64_t deadline)
{
	return recv_any(c, elem, UNTIL, deadline);
}

/* Makes them ready, in their order. Inside, no lock held. */
static void wake_all(struct worker *w, struct gk_task *first)
{
	struct gk_task *t;

	if (first && !first->next) {
		ready(w, first, true);
		return;
	}
	while ((t = first)) {
		first = t->next;
		ready_tail(w, t);
	}
}

/*
 * Takes up to @n elements that are there to @chunk, or those of a direct channel to @elems. Returns how many; if none,
 * *why is 0 or -EAGAIN.
 */
static int take_many(gk_chan *c, char *chunk, char *elems, int n, int *why)
{
	struct gk_task *first = NULL, **last = &first, *wake;
	struct worker *w = enter();
	size_t size = c->slot_size;
	int i;

	lock(&c->lock);
	for (i = 0; i < n; i++) {
		*why = chan_take(c, chunk + i * size, size, &wake);
		if (*why != 1)
			break;
		if (wake) {
			*last = wake;
			last = &wake->next;
		}
	}
	unlock(&c->lock);
	*last = NULL;
	if (c->direct && first) {
		leave(w);
		for (wake = first; wake; wake = wake->next) {
			hand_over(wake, false, elems, c->elem_size);
			if (elems)
				elems += c->elem_size;
		}
		w = enter();
	}
	wake_all(w, first);
	leave(w);
	return i;
}

static int recv_many(gk_chan *c, void *buf, int n, enum when when, uint64_t deadline)
{
	char chunk[1024] __attribute__((aligned(16)));	/* less than touch_stack() sees to */
	int done = 0, part, got, i, why = -EAGAIN;
	size_t elem_size, size;
	char *to = buf;

	if (n < 1)
		return -EINVAL;
	if (!gk_self())
		return -EPERM;
	if (!c)
		return chan_wait_null(when, deadline);
	elem_size = c->elem_size;
	size = c->slot_size;
	do {
		part = n - done;
		if (part * size > sizeof(chunk))
			part = sizeof(chunk) / size;
		got = take_many(c, chunk, to, part, &why);
		for (i = 0; i < got; i++) {
			if (!c->direct)
				chan_unstage(chunk + i * size, to, elem_size, c->big);
			if (to)
				to += elem_size;
		}
		done += got;
	} while (got == part && done < n);
	if (done || !why)
		return done;
	/* The one that is waited for is all: after a wait the channel may be gone. */
	switch (when) {
	case NOW:
		return -EAGAIN;
	case UNTIL:
		return gk_chan_recv_until(c, buf, deadline);
	default:
		return gk_chan_recv(c, buf);
	}
}

int gk_chan_recv_many(gk_chan *c, void *buf, int n)
{
	return recv_many(c, buf, n, EVER, GK_FOREVER);
}

int gk_chan_try_recv_many(gk_chan *c, void *buf, int n)
{
	return recv_many(c, buf, n, NOW, 0);
}

int gk_chan_recv_many_until(gk_chan *c, void *buf, int n, uint64_t deadline)
{
	return recv_many(c, buf, n, UNTIL, deadline);
}

int gk_chan_close(gk_chan *c)
{
	struct gk_task *first = NULL, **last = &first;
	struct waiter *v;
	struct worker *w;

	if (!c)
		return -EINVAL;
	w = enter();
	if (!w)
		return -EPERM;
	lock(&c->lock);
	if (c->closed) {
		unlock(&c->lock);
		leave(w);
		return -EPIPE;
	}
	/* Before the lists are empty: see the top of this file. */
	store_release(&c->closed, true);
	while ((v = waiter_get(&c->receivers))) {
		*last = fire(v, 0);
		last = &v->task->next;
	}
	while ((v = waiter_get(&c->senders))) {
		*last = fire(v, -EPIPE);
		last = &v->task->next;
	}
	*last = NULL;
	unlock(&c->lock);
	wake_all(w, first);
	leave(w);
	return 0;
}

/* An element that nobody gets is not kept: as if a task had tried to send it. */
struct gk_task *chan_offer(gk_chan *c, const uint64_t *elem)
{
	struct gk_task *wake;

	lock(&c->lock);
	chan_put(c, elem, sizeof(*elem), &wake);
	unlock(&c->lock);
	return wake;
}

bool chan_drain(gk_chan *c)
{
	bool was;

	lock(&c->lock);
	was = c->len;
	store_release(&c->len, 0);
	unlock(&c->lock);
	return was;
}

void chan_set_tick(gk_chan *c, struct tick *tick)
{
	c->tick = tick;
}

struct tick *chan_tick(gk_chan *c)
{
	return c->tick;
}

size_t gk_chan_len(const gk_chan *c)
{
	return c && !c->tick ? load(&c->len) : 0;
}

size_t gk_chan_cap(const gk_chan *c)
{
	return c && !c->tick ? c->cap : 0;
}
