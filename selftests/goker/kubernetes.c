// SPDX-License-Identifier: GPL-2.0-only
/* kubernetes.c - bug kernels of Kubernetes. */
#include "goker.h"

/* 1321: distributes under the lock that a watcher needs to stop watching. */
static gk_mutex mux_1321;
static gk_chan *result_1321;

static void loop_1321(void *arg)
{
	lock(&mux_1321);
	if (fixed)
		unlock(&mux_1321);
	send(result_1321, 1);
	if (!fixed)
		unlock(&mux_1321);
}

static void watcher_1321(void *arg)
{
	UNTIL(fixed || held(&mux_1321));
	if (fixed)
		recv(result_1321);
	lock(&mux_1321);
	done(result_1321);
	unlock(&mux_1321);
}

KERNEL(kubernetes_1321, "loop: chan send; watcher: mutex lock")
{
	result_1321 = chan(0);
	go("loop", loop_1321, NULL);
	go("watcher", watcher_1321, NULL);
}

/* 6632: the monitor takes the lock before it closes the channel that a writer waits on, with the lock held. */
static gk_mutex write_6632;
static gk_chan *reset_6632, *close_6632;

static void monitor_6632(void *arg)
{
	recv(close_6632);
	if (fixed)
		recv(reset_6632);
	UNTIL(fixed || held(&write_6632));
	lock(&write_6632);
	done(reset_6632);
	unlock(&write_6632);
}

static void writer_6632(void *arg)
{
	lock(&write_6632);
	send(reset_6632, 1);
	unlock(&write_6632);
}

static void closer_6632(void *arg)
{
	send(close_6632, 1);
}

KERNEL(kubernetes_6632, "monitor: mutex lock; writer: chan send")
{
	reset_6632 = chan(0);
	close_6632 = chan(0);
	go("closer", closer_6632, NULL);
	go("monitor", monitor_6632, NULL);
	go("writer", writer_6632, NULL);
}

/* 10182: reports a status under the lock, to a task that takes it before it reads the next. */
static gk_mutex pods_10182;
static gk_chan *status_10182;
static atomic_int sets_n_10182;

static void syncs_10182(void *arg)
{
	int i;

	for (i = 0; i < 2; i++) {
		recv(status_10182);
		/* the second one has the lock by now */
		UNTIL(fixed || sets_n_10182 == 2);
		lock(&pods_10182);
		unlock(&pods_10182);
	}
}

static void sets_10182(void *arg)
{
	lock(&pods_10182);
	atomic_fetch_add(&sets_n_10182, 1);
	if (fixed)
		unlock(&pods_10182);
	send(status_10182, 1);
	if (!fixed)
		unlock(&pods_10182);
}

KERNEL(kubernetes_10182, "sync: mutex lock; set: chan send")
{
	status_10182 = chan(0);
	go("sync", syncs_10182, NULL);
	go("set", sets_10182, NULL);
	go("set", sets_10182, NULL);
}

/* 13135: caching starts with the lock held and is let go by a callback, under another lock; events take both, too. */
static gk_mutex cacher_13135, cache_13135;
static gk_wg initialized_13135;

static void replace_13135(void *arg)
{
	lock(&cacher_13135);
	UNTIL(fixed || held(&cache_13135));
	if (fixed)
		unlock(&cacher_13135);
	lock(&cache_13135);
	if (!fixed)
		unlock(&cacher_13135);
	unlock(&cache_13135);
}

static void add_13135(void *arg)
{
	lock(&cache_13135);
	UNTIL(fixed || held(&cacher_13135));
	lock(&cacher_13135);
	unlock(&cacher_13135);
	unlock(&cache_13135);
	gk_wg_done(&initialized_13135);
}

KERNEL(kubernetes_13135, "G2: mutex lock; G3: mutex lock")
{
	gk_wg_add(&initialized_13135, 1);
	go("G2", replace_13135, NULL);
	go("G3", add_13135, NULL);
}

/* 30872: queue's lock, then informer's, in the callback of a pop; informer's, then queue's, where it asks for sync. */
static gk_mutex informer_30872, fifo_30872;

static void pop_30872(void *arg)
{
	lock(&fifo_30872);
	UNTIL(fixed || held(&informer_30872));
	if (fixed)
		unlock(&fifo_30872);
	lock(&informer_30872);
	unlock(&informer_30872);
	if (!fixed)
		unlock(&fifo_30872);
}

static void synced_30872(void *arg)
{
	lock(&informer_30872);
	UNTIL(fixed || held(&fifo_30872));
	lock(&fifo_30872);
	unlock(&fifo_30872);
	unlock(&informer_30872);
}

static void stops_30872(void *arg)
{
	UNTIL(fixed || (wanted(&informer_30872) && wanted(&fifo_30872)));
	lock(&informer_30872);
	unlock(&informer_30872);
}

KERNEL(kubernetes_30872, "G2: mutex lock; G4: mutex lock; G3: mutex lock")
{
	go("G2", pop_30872, NULL);
	go("G4", synced_30872, NULL);
	go("G3", stops_30872, NULL);
}

/* 38669: the first events are sent to a channel without a buffer whose reader has stopped. */
static gk_chan *input_38669, *result_38669;

static void process_38669(void *arg)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (fixed)
			try_send(result_38669, i);
		else
			send(result_38669, i);
	}
	while (recv(input_38669))
		;
	done(result_38669);
}

KERNEL(kubernetes_38669, "watcher: chan send")
{
	input_38669 = chan(0);
	result_38669 = chan(0);
	go("watcher", process_38669, NULL);
	done(input_38669);
}

/* 5316: a request that took longer than its time limit has nobody to give its result to. */
static gk_chan *result_5316;
static atomic_int late_5316;

static void request_5316(void *arg)
{
	UNTIL(fixed || late_5316);
	send(result_5316, 1);
}

static void finish_5316(void *arg)
{
	go("G2", request_5316, NULL);
	if (gk_chan_recv_until(result_5316, NULL, gk_now() + 1000) != 1)
		late_5316 = 1;
}

KERNEL(kubernetes_5316, "G2: chan send")
{
	result_5316 = chan(fixed);
	/* the request is not done before its time is over */
	go("G1", finish_5316, NULL);
}

/* 25331: on an error the watch is cancelled, so that nobody is left who would take the result. */
static gk_chan *result_25331, *error_25331, *context_25331;

static void run_25331(void *arg)
{
	if (first_of(error_25331, context_25331))
		return;
	done(context_25331);
	send(result_25331, 1);
}

static void stop_25331(void *arg)
{
	send(error_25331, 1);
}

KERNEL(kubernetes_25331, "G1: chan send")
{
	result_25331 = chan(fixed);
	error_25331 = chan(0);
	context_25331 = chan(0);
	go("G1", run_25331, NULL);
	go("G2", stop_25331, NULL);
}

/* 70277: waits for a channel that is closed when the function returns in which it waits. */
static gk_chan *poll_70277, *stop_70277;

static void poller_70277(void *arg)
{
	first_of(poll_70277, stop_70277);
}

static void waits_70277(void *arg)
{
	go("poller", poller_70277, NULL);
	send(poll_70277, 1);
	if (fixed)
		done(stop_70277);
	recv(stop_70277);
	if (!fixed)
		done(stop_70277);
}

KERNEL(kubernetes_70277, "G1: chan receive")
{
	poll_70277 = chan(0);
	stop_70277 = chan(0);
	go("G1", waits_70277, NULL);
}

/* 62464: a state's method reads under the lock and calls another that does, with a writer between. */
static gk_rwlock rw_62464;

static void reconcile_62464(void *arg)
{
	rdlock(&rw_62464);
	UNTIL(fixed || wanted_by_writer(&rw_62464));
	if (!fixed) {
		rdlock(&rw_62464);
		rdunlock(&rw_62464);
	}
	rdunlock(&rw_62464);
}

static void remove_62464(void *arg)
{
	UNTIL(fixed || read_by_some(&rw_62464));
	wrlock(&rw_62464);
	wrunlock(&rw_62464);
}

KERNEL(kubernetes_62464, "reconcile: rwlock read; remove: rwlock write")
{
	go("reconcile", reconcile_62464, NULL);
	go("remove", remove_62464, NULL);
}

/* 58107: workers wait for work with the lock held for reading, and who would make work waits for it for writing. */
static gk_rwlock workers_58107;
static gk_mutex mu_58107;
static gk_cond work_58107;
static bool made_58107;

static void worker_58107(void *arg)
{
	rdlock(&workers_58107);
	if (fixed)
		rdunlock(&workers_58107);
	lock(&mu_58107);
	while (!made_58107)
		CHECK_EQ(0, gk_cond_wait(&work_58107, &mu_58107));
	unlock(&mu_58107);
	if (!fixed)
		rdunlock(&workers_58107);
}

static void sync_58107(void *arg)
{
	UNTIL(fixed || read_by_some(&workers_58107));
	wrlock(&workers_58107);
	lock(&mu_58107);
	made_58107 = true;
	gk_cond_broadcast(&work_58107);
	unlock(&mu_58107);
	wrunlock(&workers_58107);
}

KERNEL(kubernetes_58107, "G3: condition; G5: rwlock write")
{
	go("G3", worker_58107, NULL);
	go("G5", sync_58107, NULL);
}

TEST_HARNESS_MAIN
