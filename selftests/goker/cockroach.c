// SPDX-License-Identifier: GPL-2.0-only
/* cockroach.c - bug kernels of CockroachDB. */
#include "goker.h"

/* 584: leaves its loop by break, with the lock held, and goes on to another that takes it. */
static gk_mutex gossip_584;

static void bootstrap_584(void *arg)
{
	int i;

	for (i = 0; i < 2; i++) {	/* bootstrap, manage */
		lock(&gossip_584);
		if (fixed)
			unlock(&gossip_584);
	}
}

KERNEL(cockroach_584, "gossip: EDEADLK")
{
	go("gossip", bootstrap_584, NULL);
}

/* 1055: quiescing waits for tasks to drain, which are never finished; all else waits for that. */
static gk_chan *stopper_1055, *done_1055;
static gk_wg stop_1055, drain_1055;
static gk_mutex mu_1055;
static atomic_int begun_1055;

static void worker_1055(void *arg)
{
	lock(&mu_1055);
	gk_wg_add(&drain_1055, 1);
	unlock(&mu_1055);
	atomic_fetch_add(&begun_1055, 1);
	if (fixed)
		gk_wg_done(&drain_1055);
	recv(stopper_1055);
	gk_wg_done(&stop_1055);
}

static void stops_1055(void *arg)
{
	UNTIL(begun_1055 == 2);
	lock(&mu_1055);
	gk_wg_wait(&drain_1055);
	done(stopper_1055);
	gk_wg_wait(&stop_1055);
	unlock(&mu_1055);
	done(done_1055);
}

static void test_1055(void *arg)
{
	recv(done_1055);
}

KERNEL(cockroach_1055, "G1: chan receive; worker: chan receive; worker: chan receive; G3: wait group")
{
	stopper_1055 = chan(0);
	done_1055 = chan(0);
	gk_wg_add(&stop_1055, 2);
	go("worker", worker_1055, NULL);
	go("worker", worker_1055, NULL);
	go("G3", stops_1055, NULL);
	go("G1", test_1055, NULL);
}

/* 7504: lease, then name cache; name cache, then lease. */
static gk_mutex table_7504, lease_7504, cache_7504;

static void by_name_7504(void *arg)
{
	lock(&cache_7504);
	UNTIL(fixed || held(&lease_7504));
	if (fixed)
		unlock(&cache_7504);
	lock(&lease_7504);
	unlock(&lease_7504);
	if (!fixed)
		unlock(&cache_7504);
}

static void release_7504(void *arg)
{
	lock(&table_7504);
	lock(&lease_7504);
	UNTIL(fixed || held(&cache_7504));
	lock(&cache_7504);
	unlock(&cache_7504);
	unlock(&lease_7504);
	unlock(&table_7504);
}

KERNEL(cockroach_7504, "acquire: mutex lock; release: mutex lock")
{
	go("acquire", by_name_7504, NULL);
	go("release", release_7504, NULL);
}

/* 9935: says an error while it holds the log's lock, by a function that takes it. */
static gk_mutex log_9935;

static void output_9935(void *arg)
{
	lock(&log_9935);
	if (fixed)
		unlock(&log_9935);
	lock(&log_9935);
	unlock(&log_9935);
}

KERNEL(cockroach_9935, "logger: EDEADLK")
{
	go("logger", output_9935, NULL);
}

/* 10214: heartbeats' lock, then raft's; raft's, then heartbeats'. */
static gk_mutex coalesced_10214, raft_10214, replica_10214;

static void heartbeats_10214(void *arg)
{
	lock(&coalesced_10214);
	UNTIL(fixed || held(&raft_10214));
	if (fixed)
		unlock(&coalesced_10214);
	lock(&raft_10214);
	unlock(&raft_10214);
	if (!fixed)
		unlock(&coalesced_10214);
}

static void tick_10214(void *arg)
{
	lock(&raft_10214);
	lock(&replica_10214);
	UNTIL(fixed || held(&coalesced_10214));
	lock(&coalesced_10214);
	unlock(&coalesced_10214);
	unlock(&replica_10214);
	unlock(&raft_10214);
}

KERNEL(cockroach_10214, "heartbeats: mutex lock; tick: mutex lock")
{
	go("heartbeats", heartbeats_10214, NULL);
	go("tick", tick_10214, NULL);
}

/* 13197: a transaction's task waits for its context, which is cancelled by a rollback that never comes. */
static gk_chan *context_13197;

static void await_13197(void *arg)
{
	recv(context_13197);
}

KERNEL(cockroach_13197, "tx: chan receive")
{
	context_13197 = chan(0);
	go("tx", await_13197, NULL);
	if (fixed)
		done(context_13197);
}

/* 13755: the same of the rows of a query that nobody closes. */
static gk_chan *context_13755;

static void await_13755(void *arg)
{
	while (recv(context_13755))
		;
}

KERNEL(cockroach_13755, "rows: chan receive")
{
	context_13755 = chan(0);
	go("rows", await_13755, NULL);
	if (fixed)
		done(context_13755);
}

/* 18101: the consumer stops when the context is cancelled; the producer has more than the buffer holds. */
static gk_chan *spans_18101, *context_18101;

static void split_18101(void *arg)
{
	int i;

	for (i = 0; i < 8; i++) {
		if (fixed && gk_chan_try_recv(context_18101, NULL) == 0)
			break;
		send(spans_18101, i);
	}
	done(spans_18101);
}

static void restore_18101(void *arg)
{
	go("splitter", split_18101, NULL);
	recv(spans_18101);
	recv(context_18101);
}

KERNEL(cockroach_18101, "splitter: chan send")
{
	/* one is taken: 8 are sent into 6 */
	spans_18101 = chan(6);
	context_18101 = chan(0);
	done(context_18101);
	if (fixed) {
		/* so that the consumer has one */
		send(spans_18101, 0);
	}
	go("restore", restore_18101, NULL);
}

/* 24808: starts by a send to a channel that is full already, before the worker is there that would read it. */
static gk_chan *compact_24808;

static void start_24808(void *arg)
{
	if (fixed)
		try_send(compact_24808, 1);
	else
		send(compact_24808, 1);
}

KERNEL(cockroach_24808, "G1: chan send")
{
	compact_24808 = chan(1);
	send(compact_24808, 1);
	go("G1", start_24808, NULL);
}

/* 25456: waits to be told to quiesce; the test stops otherwise. */
static gk_chan *quiescer_25456;

static void process_25456(void *arg)
{
	int i;

	for (i = 0; i < 2; i++)
		recv(quiescer_25456);
}

KERNEL(cockroach_25456, "G1: chan receive")
{
	quiescer_25456 = chan(0);
	go("G1", process_25456, NULL);
	if (fixed)
		done(quiescer_25456);
}

/* 35073: a consumer that goes away takes one row out for one blocked pusher; here nobody even marks it closed. */
static gk_chan *rows_35073;
static atomic_int consumer_closed_35073;

static void push_35073(void *arg)
{
	if (!consumer_closed_35073)
		send(rows_35073, 1);
}

KERNEL(cockroach_35073, "pusher: chan send; main pusher: chan send")
{
	int i;

	rows_35073 = chan(16);
	for (i = 0; i < 16; i++)
		send(rows_35073, i);
	consumer_closed_35073 = fixed;
	go("pusher", push_35073, NULL);
	go("main pusher", push_35073, NULL);
}

/* 35931: cancelling pushes an error to each receiver, and one has a full buffer. */
static gk_chan *left_35931, *right_35931;

static void cancel_35931(void *arg)
{
	if (fixed) {
		try_send(left_35931, 1);
		try_send(right_35931, 1);
		return;
	}
	send(left_35931, 1);
	send(right_35931, 1);
}

KERNEL(cockroach_35931, "cancel: chan send")
{
	left_35931 = chan(1);
	right_35931 = chan(1);
	send(left_35931, 1);
	go("cancel", cancel_35931, NULL);
}

/* 10790: a cancelled command leaves a task behind for each channel, whose sender has been cancelled, too. */
static gk_chan *chans_10790[2], *context_10790;

static void leftover_10790(void *arg)
{
	recv(arg);
}

static void begin_10790(void *arg)
{
	int i;

	for (i = 0; i < 2; i++)
		if (first_of(chans_10790[i], context_10790) && !fixed)
			go("G3", leftover_10790, chans_10790[i]);
}

static void cancel_10790(void *arg)
{
	done(context_10790);
}

KERNEL(cockroach_10790, "G3: chan receive; G3: chan receive")
{
	chans_10790[0] = chan(0);
	chans_10790[1] = chan(0);
	context_10790 = chan(0);
	go("G1", begin_10790, NULL);
	go("G2", cancel_10790, NULL);
}

/* 6181: prints a cache under its lock by a function that reads it again, while a writer waits between the two. */
static gk_rwlock rw_6181;

static void lookup_6181(void *arg)
{
	rdlock(&rw_6181);
	UNTIL(fixed || wanted_by_writer(&rw_6181));
	if (!fixed) {
		rdlock(&rw_6181);
		rdunlock(&rw_6181);
	}
	rdunlock(&rw_6181);
}

static void update_6181(void *arg)
{
	UNTIL(fixed || read_by_some(&rw_6181));
	wrlock(&rw_6181);
	wrunlock(&rw_6181);
}

KERNEL(cockroach_6181, "lookup: rwlock read; update: rwlock write")
{
	go("lookup", lookup_6181, NULL);
	go("update", update_6181, NULL);
}

/* 16167: a statement reads the configuration under the lock that it has as a condition's, with an update between. */
static gk_rwlock rw_16167;

static void executes_16167(void *arg)
{
	rdlock(&rw_16167);
	UNTIL(fixed || wanted_by_writer(&rw_16167));
	if (!fixed) {
		rdlock(&rw_16167);
		rdunlock(&rw_16167);
	}
	rdunlock(&rw_16167);
}

static void updates_16167(void *arg)
{
	UNTIL(fixed || read_by_some(&rw_16167));
	wrlock(&rw_16167);
	wrunlock(&rw_16167);
}

KERNEL(cockroach_16167, "G1: rwlock read; G2: rwlock write")
{
	go("G1", executes_16167, NULL);
	go("G2", updates_16167, NULL);
}

/* 3710: scans under the lock for reading; what it queues asks for it again, with the queue's lock held. */
static gk_rwlock store_3710;
static gk_mutex queue_3710;

static void scan_3710(void *arg)
{
	rdlock(&store_3710);
	UNTIL(fixed || wanted_by_writer(&store_3710));
	if (fixed)
		rdunlock(&store_3710);
	lock(&queue_3710);
	rdlock(&store_3710);
	rdunlock(&store_3710);
	unlock(&queue_3710);
	if (!fixed)
		rdunlock(&store_3710);
}

static void raft_3710(void *arg)
{
	UNTIL(fixed || read_by_some(&store_3710));
	wrlock(&store_3710);
	wrunlock(&store_3710);
}

KERNEL(cockroach_3710, "G1: rwlock read; G2: rwlock write")
{
	go("G1", scan_3710, NULL);
	go("G2", raft_3710, NULL);
}

TEST_HARNESS_MAIN
