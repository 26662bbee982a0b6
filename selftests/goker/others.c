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

/* istio 16224: the handler says that it is done with the lock held that the test takes before it listens. */
static gk_mutex lock_16224;
static gk_chan *event_16224, *done_16224;

static void controller_16224(void *arg)
{
	recv(event_16224);
	lock(&lock_16224);
	send(done_16224, 1);
	unlock(&lock_16224);
}

static void test_16224(void *arg)
{
	send(event_16224, 1);
	if (fixed)
		recv(done_16224);
	UNTIL(fixed || held(&lock_16224));
	lock(&lock_16224);
	unlock(&lock_16224);
	if (!fixed)
		recv(done_16224);
}

KERNEL(istio_16224, "controller: chan send; test: mutex lock")
{
	event_16224 = chan(0);
	done_16224 = chan(0);
	go("controller", controller_16224, NULL);
	go("test", test_16224, NULL);
}

/* istio 17860: the agent is cancelled; what watches its process has nobody to tell that it has ended. */
static gk_chan *status_17860, *context_17860;
static atomic_int ended_17860;

static void agent_17860(void *arg)
{
	while (!first_of(status_17860, context_17860))
		;
	ended_17860 = 1;
}

static void watches_17860(void *arg)
{
	UNTIL(fixed || ended_17860);
	send(status_17860, 1);
}

KERNEL(istio_17860, "wait: chan send")
{
	status_17860 = chan(fixed);
	context_17860 = chan(0);
	go("agent", agent_17860, NULL);
	go("wait", watches_17860, NULL);
	done(context_17860);
}

/* syncthing 5795: the dispatcher's own callback closes the connection, which waits until the dispatcher has ended. */
static gk_chan *inbox_5795, *closed_5795, *ended_5795;

static void dispatcher_5795(void *arg)
{
	if (!first_of(inbox_5795, closed_5795)) {
		done(closed_5795);
		if (!fixed)
			recv(ended_5795);
	}
	done(ended_5795);
}

static void test_5795(void *arg)
{
	send(inbox_5795, 1);
	recv(ended_5795);
}

KERNEL(syncthing_5795, "G2: chan receive; G1: chan receive")
{
	inbox_5795 = chan(0);
	closed_5795 = chan(0);
	ended_5795 = chan(0);
	go("G2", dispatcher_5795, NULL);
	go("G1", test_5795, NULL);
}

/* hugo 3251: waits for a resource's lock with the table's held, which who has the resource needs to give it up. */
static gk_rwlock table_3251;
static gk_mutex url_3251;

static void first_3251(void *arg)
{
	wrlock(&table_3251);
	lock(&url_3251);
	wrunlock(&table_3251);
	UNTIL(fixed || wanted(&url_3251));
	rdlock(&table_3251);
	unlock(&url_3251);
	rdunlock(&table_3251);
}

static void second_3251(void *arg)
{
	UNTIL(fixed || held(&url_3251));
	wrlock(&table_3251);
	if (fixed)
		wrunlock(&table_3251);
	lock(&url_3251);
	unlock(&url_3251);
	if (!fixed)
		wrunlock(&table_3251);
}

KERNEL(hugo_3251, "first: rwlock read; second: mutex lock")
{
	go("first", first_3251, NULL);
	go("second", second_3251, NULL);
}

/* syncthing 4829: clears its addresses under the lock, and notifies, which takes it for reading. */
static gk_rwlock rw_4829;

static void clear_4829(void *arg)
{
	wrlock(&rw_4829);
	if (fixed)
		wrunlock(&rw_4829);
	rdlock(&rw_4829);
	rdunlock(&rw_4829);
	if (!fixed)
		wrunlock(&rw_4829);
}

KERNEL(syncthing_4829, "G1: EDEADLK")
{
	go("G1", clear_4829, NULL);
}

TEST_HARNESS_MAIN
