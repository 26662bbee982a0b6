// SPDX-License-Identifier: GPL-2.0-only
/* others.c - bug kernels of Knative Serving, Istio, Hugo and Syncthing. */
#include "goker.h"

/* serving 2137: a request's place in the queue of the active ones is taken before the one whose lock is released. */
static gk_chan *pending_2137, *active_2137, *accepted_2137[2];
static gk_mutex lock_2137[2];
static atomic_int ready_2137;

static void request_2137(void *arg)
{
	long i = (long)arg;

	if (!fixed && !i)
		UNTIL(ready_2137);	/* the second request comes first */
	CHECK(try_send(pending_2137, 1));
	send(active_2137, 1);
	ready_2137 = 1;
	lock(&lock_2137[i]);
	unlock(&lock_2137[i]);
	recv(active_2137);
	recv(pending_2137);
	send(accepted_2137[i], 1);
}

static void test_2137(void *arg)
{
	long i;

	for (i = 0; i < 2; i++) {
		lock(&lock_2137[i]);
		go(i ? "second" : "first", request_2137, (void *)i);
	}
	UNTIL(fixed || (wanted(&lock_2137[1]) && gk_chan_len(pending_2137) == 2));
	if (fixed) {
		unlock(&lock_2137[0]);
		unlock(&lock_2137[1]);
	}
	for (i = 0; i < 2; i++) {
		if (!fixed)
			unlock(&lock_2137[i]);
		recv(accepted_2137[i]);
	}
}

KERNEL(serving_2137, "first: chan send; second: mutex lock; test: chan receive")
{
	pending_2137 = chan(2);
	active_2137 = chan(1);
	accepted_2137[0] = chan(1);
	accepted_2137[1] = chan(1);
	go("test", test_2137, NULL);
}

TEST_HARNESS_MAIN
