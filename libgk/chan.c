// SPDX-License-Identifier: MIT
/*
 * chan.c - channels: the Go specification's, with error codes where Go panics.
 *
 * Invariants, under chan->lock:
 *   Senders wait only while the buffer is full, receivers only while it is empty, so at most one of the two lists has
 *   tasks.
 *   A closed channel has no waiting task.
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
	struct list senders, receivers;	/* of task->wait */
	char slots[] __attribute__((aligned(64)));
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
	list_init(&c->senders);
	list_init(&c->receivers);
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
	if (!list_empty(&c->senders) || !list_empty(&c->receivers)) {
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
	for (i = 0; c->big && i < c->len; i++)
		free(*(void **)(c->slots + (c->head + i) % c->cap * c->slot_size));
	free(c);
	return 0;
}

static inline void copy(void *to, const void *from, size_t size)
{
	if (likely(size == 8))
		memcpy(to, from, 8);
	else
		memcpy(to, from, size);
}

static inline char *slot(gk_chan *c, size_t i)
{
	i += c->head;
	if (i >= c->cap)
		i -= c->cap;
	return c->slots + i * c->slot_size;
}

static struct gk_task *first_waiter(struct list *l)
{
	struct gk_task *t;

	if (list_empty(l))
		return NULL;
	t = container_of(l->next, struct gk_task, wait);
	list_del(&t->wait);
	return t;
}

static always_inline int wait_on(struct worker *w, gk_chan *c, struct list *l)
{
	list_add_tail(&w->task->wait, l);
	return wait_unlock_here(w, &c->lock);
}

static int wait_for_ever(void)
{
	struct worker *w = enter();

	if (!w)
		return -EPERM;
	w = switch_away(w, AFTER_NONE);
	leave(w);
	return -EPIPE;
}

static int send(gk_chan *c, const void *elem, bool wait)
{
	struct gk_task *t = gk_self(), *r;
	struct worker *w;
	int err = 0;
	bool big;

	if (unlikely(!t))
		return -EPERM;
	if (unlikely(!c))
		return wait ? wait_for_ever() : -EAGAIN;
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
	r = first_waiter(&c->receivers);
	if (r) {
		copy(r->buf, t->buf, c->slot_size);
		r->result = 1;
		unlock(&c->lock);
		ready(w, r, true);
		leave(w);
		return 0;
	}
	if (c->len < c->cap) {
		copy(slot(c, c->len), t->buf, c->slot_size);
		c->len++;
	} else if (wait) {
		err = wait_on(w, c, &c->senders);
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

static int recv(gk_chan *c, void *elem, bool wait)
{
	struct gk_task *t = gk_self(), *s = NULL;
	size_t elem_size, slot_size;
	struct worker *w;
	int got = 1;
	bool big;

	if (unlikely(!t))
		return -EPERM;
	if (unlikely(!c))
		return wait ? wait_for_ever() : -EAGAIN;
	big = c->big;		/* after a wait the channel may be gone */
	elem_size = c->elem_size;
	slot_size = c->slot_size;
	w = enter();
	lock(&c->lock);
	if (c->len) {
		copy(t->buf, slot(c, 0), c->slot_size);
		c->head = c->head + 1 == c->cap ? 0 : c->head + 1;
		c->len--;
		s = first_waiter(&c->senders);
		if (s) {
			copy(slot(c, c->len), s->buf, c->slot_size);
			c->len++;
			s->result = 0;
		}
	} else {
		s = first_waiter(&c->senders);
		if (s) {
			copy(t->buf, s->buf, c->slot_size);
			s->result = 0;
		} else if (c->closed) {
			got = 0;
		} else if (wait) {
			got = wait_on(w, c, &c->receivers);
			goto out;
		} else {
			got = -EAGAIN;
		}
	}
	unlock(&c->lock);
	if (s)
		ready(w, s, true);
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
	return send(c, elem, true);
}

int gk_chan_recv(gk_chan *c, void *elem)
{
	return recv(c, elem, true);
}

int gk_chan_try_send(gk_chan *c, const void *elem)
{
	return send(c, elem, false);
}

int gk_chan_try_recv(gk_chan *c, void *elem)
{
	return recv(c, elem, false);
}

int gk_chan_close(gk_chan *c)
{
	struct list waiting;
	struct gk_task *t;
	struct worker *w;

	if (!c)
		return -EINVAL;
	w = enter();
	if (!w)
		return -EPERM;
	list_init(&waiting);
	lock(&c->lock);
	if (c->closed) {
		unlock(&c->lock);
		leave(w);
		return -EPIPE;
	}
	c->closed = true;
	while ((t = first_waiter(&c->receivers))) {
		t->result = 0;
		list_add_tail(&t->wait, &waiting);
	}
	while ((t = first_waiter(&c->senders))) {
		t->result = -EPIPE;
		list_add_tail(&t->wait, &waiting);
	}
	unlock(&c->lock);
	while ((t = first_waiter(&waiting)))
		ready(w, t, true);
	leave(w);
	return 0;
}

size_t gk_chan_len(const gk_chan *c)
{
	return c ? load(&c->len) : 0;
}

size_t gk_chan_cap(const gk_chan *c)
{
	return c ? c->cap : 0;
}
