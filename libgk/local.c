// SPDX-License-Identifier: MIT
/*
 * local.c - values that belong to a task and that the tasks it starts inherit.
 *
 * A task's values are one array, shared with its children until one of them sets a value: who does that and is not
 * alone gets a copy. What a set puts in is shared by all arrays that have it, and destroyed with the last of them. So a
 * spawn costs a look at a pointer if there is none, and else one atomic addition.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct value {
	uint32_t refs;
	gk_local *key;
	void *value;
};

struct locals {
	uint32_t refs;
	uint32_t n;
	struct value *values[];
};

struct locals *locals_get(struct locals *l)
{
	if (l)
		__atomic_fetch_add(&l->refs, 1, __ATOMIC_RELAXED);
	return l;
}

static void value_put(struct value *v)
{
	if (__atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (v->key->destroy)
		v->key->destroy(v->value);
	free(v);
}

void locals_put(struct locals *l)
{
	uint32_t i;

	if (!l || __atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (i = 0; i < l->n; i++)
		value_put(l->values[i]);
	free(l);
}

void task_locals_end(struct gk_task *t)
{
	struct locals *l;

	/* A destructor may set some. */
	while ((l = t->locals)) {
		t->locals = NULL;
		locals_put(l);
	}
}

static uint32_t find(const struct locals *l, const gk_local *key)
{
	uint32_t i, n = l ? l->n : 0;

	for (i = 0; i < n && l->values[i]->key != key; i++)
		;
	return i;
}

void *gk_local_get(const gk_local *key)
{
	gk_task *t = gk_self();
	struct locals *l = t ? t->locals : NULL;
	uint32_t i = find(l, key);

	return l && i < l->n ? l->values[i]->value : NULL;
}

int gk_local_set(gk_local *key, void *value)
{
	gk_task *t = gk_self();
	struct locals *l, *was;
	struct value *v = NULL;
	uint32_t i, j, n;

	if (!key)
		return -EINVAL;
	if (!t)
		return -EPERM;
	was = t->locals;
	n = was ? was->n : 0;
	i = find(was, key);
	if (!value && i == n)
		return 0;
	l = malloc(sizeof(*l) + (n + 1) * sizeof(l->values[0]));
	if (value)
		v = malloc(sizeof(*v));
	if (!l || (value && !v)) {
		free(v);
		free(l);
		return -ENOMEM;
	}
	l->refs = 1;
	l->n = 0;
	for (j = 0; j < n; j++)
		if (j != i) {
			__atomic_fetch_add(&was->values[j]->refs, 1, __ATOMIC_RELAXED);
			l->values[l->n++] = was->values[j];
		}
	if (value) {
		v->refs = 1;
		v->key = key;
		v->value = value;
		l->values[l->n++] = v;
	}
	t->locals = l;
	t->ending |= ENDING_LOCALS;
	/* May call the destructor of the value before, which may look at what is set now. */
	locals_put(was);
	return 0;
}
