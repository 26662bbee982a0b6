// SPDX-License-Identifier: MIT
/*
 * chan.c - channels: the Go specification's, with error codes where Go panics.
 *
 * Invariants, under chan->lock:
 *   Senders wait only while the buffer is full, receivers only while it is empty, so at most one of the two lists has
 *   tasks.
 *   A closed channel has no waiting task.
 *   A list may have waiters whose wait has ended otherwise (waiter_get() drops them).
 *   Who takes a task off a list has done the whole of its operation: it copies the element and sets its result.
 *
 * Elements pass through task->buf, as user memory may fault and is touched outside only. An element of more than SMALL
 * bytes passes as a pointer to a copy of its own, which the receiver frees.
 */
#include <stdlib.h>
#include <string.h>

#include "switch.h"

struct gk_chan {
	uint32_t lock;
	bool closed;
	bool big;			/* the slots hold pointers to elements */
	size_t elem_size;		/* as the user has it */
	size_t slot_size;
	size_t cap, len, head;
	struct gk_queue senders, receivers;
	struct tick *tick;		/* of gk_after(), gk_ticker(); or NULL */
	char slots[] __attribute__((aligned(64)));
};

/* How long a call may wait. */
enum when {
	NOW,
	UNTIL,
	EVER,
};

gk_chan *gk_chan_new(size_t elem_size, size_t cap)
{
	bool big = elem_size > SMALL;
	size_t slot_size = big ? sizeof(void *) : elem_size, bytes;
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
	c->elem_size = elem_size;
	c->slot_size = slot_size;
	c->cap = cap;
	return c;
}

int gk_chan_free(gk_chan *c)
{
	struct worker *w;
	size_t i;

	if (!c)
		return 0;
	w = enter();
	if (w)
		lock(&c->lock);
	if (c->senders.first || c->receivers.first) {
		if (w) {
			unlock(&c->lock);
			leave(w);
		}
		return -EBUSY;
	}
	if (w) {
		unlock(&c->lock);
		leave(w);
	}
	if (c->tick && tick_free(c->tick))
		return -EPERM;
	for (i = 0; c->big && i < c->len; i++)
		free(*(void **)(c->slots + (c->head + i) % c->cap * c->slot_size));
	free(c);
	return 0;
}

static inline void copy(void *to, const void *from, size_t size)
{
	if (likely(size == 8))
		memcpy(to, from, 8);
	else if (size)		/* of nothing there need be no address */
		memcpy(to, from, size);
}

static inline char *slot(gk_chan *c, size_t i)
{
	i += c->head;
	if (i >= c->cap)
		i -= c->cap;
	return c->slots + i * c->slot_size;
}

/* Takes the calling task's waiter off, whose wait ended without the channel. */
static void unlist(gk_chan *c, struct gk_queue *q, struct waiter *v)
{
	struct worker *w = enter();

	lock(&c->lock);
	waiter_del(q, v);
	unlock(&c->lock);
	leave(w);
}

/* A channel that does not exist is never ready. */
static int wait_for_ever(enum when when, uint64_t deadline)
{
	struct worker *w;

	if (when == NOW)
		return -EAGAIN;
	w = enter();
	if (!w)
		return -EPERM;
	lock(&w->task->lock);
	return wait_until(w, &w->task->lock, WHY_NULL_CHAN, NULL, deadline);
}

static always_inline int wait_on(struct worker *w, gk_chan *c, struct gk_queue *q, enum when when, uint64_t deadline)
{
	enum why why = q == &c->senders ? WHY_CHAN_SEND : WHY_CHAN_RECV;
	struct waiter *v = &w->task->waiter;
	int err;

	v->data = w->task->buf;
	waiter_put(q, v);
	if (likely(when == EVER))
		err = wait_here(w, &c->lock, why, c);
	else
		err = wait_until(w, &c->lock, why, c, deadline);
	if (unlikely(err == -ECANCELED || err == -ETIMEDOUT))
		unlist(c, q, v);
	return err;
}

static always_inline int send(gk_chan *c, const void *elem, enum when when, uint64_t deadline)
{
	struct gk_task *t = gk_self(), *other;
	struct waiter *v;
	struct worker *w;
	int err = 0;
	bool big;

	if (unlikely(!t))
		return -EPERM;
	if (unlikely(!c))
		return wait_for_ever(when, deadline);
	big = c->big;		/* after a wait the channel may be gone */
	if (unlikely(big)) {
		void *own = malloc(c->elem_size);

		if (!own)
			return -ENOMEM;
		memcpy(own, elem, c->elem_size);
		memcpy(t->buf, &own, sizeof(own));
	} else {
		copy(t->buf, elem, c->slot_size);
	}

	w = enter();
	lock(&c->lock);
	if (unlikely(c->closed)) {
		err = -EPIPE;
		goto out_unlock;
	}
	v = waiter_get(&c->receivers);
	if (v) {
		other = v->task;
		copy(v->data, t->buf, c->slot_size);
		other->result = 1;
		unlock(&c->lock);
		ready(w, other, true);
		leave(w);
		return 0;
	}
	if (c->len < c->cap) {
		copy(slot(c, c->len), t->buf, c->slot_size);
		c->len++;
	} else if (when != NOW) {
		err = wait_on(w, c, &c->senders, when, deadline);
		goto out;
	} else {
		err = -EAGAIN;
	}
out_unlock:
	unlock(&c->lock);
	leave(w);
out:
	if (unlikely(err && big))
		free(*(void **)t->buf);
	return err;
}

static always_inline int recv(gk_chan *c, void *elem, enum when when, uint64_t deadline)
{
	struct gk_task *t = gk_self(), *other = NULL;
	size_t elem_size, slot_size;
	struct waiter *v;
	struct worker *w;
	int got = 1;
	bool big;

	if (unlikely(!t))
		return -EPERM;
	if (unlikely(!c))
		return wait_for_ever(when, deadline);
	big = c->big;		/* after a wait the channel may be gone */
	elem_size = c->elem_size;
	slot_size = c->slot_size;
	w = enter();
	lock(&c->lock);
	if (c->len) {
		copy(t->buf, slot(c, 0), c->slot_size);
		c->head = c->head + 1 == c->cap ? 0 : c->head + 1;
		c->len--;
		v = waiter_get(&c->senders);
		if (v) {
			copy(slot(c, c->len), v->data, c->slot_size);
			c->len++;
		}
	} else {
		v = waiter_get(&c->senders);
		if (v) {
			copy(t->buf, v->data, c->slot_size);
		} else if (c->closed) {
			got = 0;
		} else if (when != NOW) {
			got = wait_on(w, c, &c->receivers, when, deadline);
			goto out;
		} else {
			got = -EAGAIN;
		}
	}
	if (v) {
		other = v->task;
		other->result = 0;
	}
	unlock(&c->lock);
	if (other)
		ready(w, other, true);
	leave(w);
out:
	if (likely(got == 1)) {
		if (unlikely(big)) {
			void *own = *(void **)t->buf;

			if (elem)
				memcpy(elem, own, elem_size);
			free(own);
		} else if (elem) {
			copy(elem, t->buf, slot_size);
		}
	}
	return got;
}

int gk_chan_send(gk_chan *c, const void *elem)
{
	return send(c, elem, EVER, GK_FOREVER);
}

int gk_chan_recv(gk_chan *c, void *elem)
{
	return recv(c, elem, EVER, GK_FOREVER);
}

int gk_chan_try_send(gk_chan *c, const void *elem)
{
	return send(c, elem, NOW, 0);
}

int gk_chan_try_recv(gk_chan *c, void *elem)
{
	return recv(c, elem, NOW, 0);
}

int gk_chan_send_until(gk_chan *c, const void *elem, uint64_t deadline)
{
	return send(c, elem, UNTIL, deadline);
}

int gk_chan_recv_until(gk_chan *c, void *elem, uint64_t deadline)
{
	return recv(c, elem, UNTIL, deadline);
}

int gk_chan_close(gk_chan *c)
{
	struct gk_task *first = NULL, **last = &first, *t;
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
	c->closed = true;
	while ((v = waiter_get(&c->receivers))) {
		v->task->result = 0;
		*last = v->task;
		last = &v->task->next;
	}
	while ((v = waiter_get(&c->senders))) {
		v->task->result = -EPIPE;
		*last = v->task;
		last = &v->task->next;
	}
	*last = NULL;
	unlock(&c->lock);
	while ((t = first)) {
		first = t->next;
		ready(w, t, true);
	}
	leave(w);
	return 0;
}

/* An element that nobody gets is not kept: as if a task had tried to send it. */
struct gk_task *chan_offer(gk_chan *c, const uint64_t *elem)
{
	struct gk_task *t = NULL;
	struct waiter *v;

	lock(&c->lock);
	v = c->closed ? NULL : waiter_get(&c->receivers);
	if (v) {
		memcpy(v->data, elem, sizeof(*elem));
		t = v->task;
		t->result = 1;
	} else if (!c->closed && c->len < c->cap) {
		memcpy(slot(c, c->len), elem, sizeof(*elem));
		c->len++;
	}
	unlock(&c->lock);
	return t;
}

bool chan_drain(gk_chan *c)
{
	bool was;

	lock(&c->lock);
	was = c->len;
	c->len = 0;
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
