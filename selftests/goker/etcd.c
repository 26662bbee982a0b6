// SPDX-License-Identifier: GPL-2.0-only
/* etcd.c - bug kernels of etcd. */
#include "goker.h"

/* 6873: stop() holds the lock while it waits for the loop to end, whose last round takes the lock. */
static gk_mutex mu_6873;
static gk_chan *update_6873, *ended_6873;

static void coalesces_6873(void *arg)
{
	while (recv(update_6873)) {
		UNTIL(fixed || held(&mu_6873));
		lock(&mu_6873);
		unlock(&mu_6873);
	}
	done(ended_6873);
}

static void stop_6873(void *arg)
{
	lock(&mu_6873);
	done(update_6873);
	if (fixed)
		unlock(&mu_6873);
	recv(ended_6873);
	if (!fixed)
		unlock(&mu_6873);
}

KERNEL(etcd_6873, "broadcast: mutex lock; stop: chan receive")
{
	update_6873 = chan(1);
	ended_6873 = chan(0);
	try_send(update_6873, 1);
	go("broadcast", coalesces_6873, NULL);
	go("stop", stop_6873, NULL);
}

/* 7902: followers wait for the leader's round while they hold the lock that the leader needs to end it. */
static gk_mutex mu_7902;
static gk_chan *next_7902;
static gk_wg wg_7902;

static void client_7902(void *arg)
{
	long i = (long)arg;
	gk_chan *mine = next_7902;

	if (!fixed && !i)
		UNTIL(held(&mu_7902));	/* a follower is first */
	lock(&mu_7902);
	if (!i)
		done(next_7902);
	if (fixed)
		unlock(&mu_7902);
	recv(mine);
	if (!fixed)
		unlock(&mu_7902);
	gk_wg_done(&wg_7902);
}

static void rounds_7902(void *arg)
{
	long i;

	gk_wg_add(&wg_7902, 3);
	for (i = 0; i < 3; i++)
		go(i ? "follower" : "leader", client_7902, (void *)i);
	gk_wg_wait(&wg_7902);
}

KERNEL(etcd_7902, "rounds: wait group; leader: mutex lock; follower: chan receive; follower: mutex lock")
{
	next_7902 = chan(0);
	go("rounds", rounds_7902, NULL);
}

/* 6857: a status is asked for after the node has stopped. */
static gk_chan *status_6857, *reply_6857, *stop_6857, *gone_6857;

static void node_6857(void *arg)
{
	while (!first_of(status_6857, stop_6857))
		send(reply_6857, 1);
	done(gone_6857);
}

static void asks_6857(void *arg)
{
	if (!fixed)
		recv(gone_6857);
	while (fixed && !try_send(status_6857, 1)) {
		if (try_recv(gone_6857))
			return;
		gk_yield();
	}
	if (!fixed)
		send(status_6857, 1);
	recv(reply_6857);
}

static void stops_6857(void *arg)
{
	send(stop_6857, 1);
	recv(gone_6857);
}

KERNEL(etcd_6857, "G2: chan send")
{
	status_6857 = chan(0);
	reply_6857 = chan(0);
	stop_6857 = chan(0);
	gone_6857 = chan(0);
	go("G1", node_6857, NULL);
	go("G2", asks_6857, NULL);
	go("G3", stops_6857, NULL);
}

/* 6708: syncs under the lock, and on the way asks for the leader, which takes it for reading. */
static gk_rwlock rw_6708;

static void sync_6708(void *arg)
{
	wrlock(&rw_6708);
	if (fixed)
		wrunlock(&rw_6708);
	rdlock(&rw_6708);
	rdunlock(&rw_6708);
	if (!fixed)
		wrunlock(&rw_6708);
}

KERNEL(etcd_6708, "sync: EDEADLK")
{
	go("sync", sync_6708, NULL);
}

/* 10492: renewing a lease under the lock makes a checkpoint, which takes it. */
static gk_rwlock rw_10492;

static void renew_10492(void *arg)
{
	wrlock(&rw_10492);
	if (fixed)
		wrunlock(&rw_10492);
	wrlock(&rw_10492);
	wrunlock(&rw_10492);
}

KERNEL(etcd_10492, "renew: EDEADLK")
{
	go("renew", renew_10492, NULL);
}

/* 5509: returns with the lock held for reading when the client has been closed. */
static gk_rwlock rw_5509;
static gk_chan *left_5509;

static void acquire_5509(void *arg)
{
	rdlock(&rw_5509);
	if (fixed)
		rdunlock(&rw_5509);
	done(left_5509);
}

static void close_5509(void *arg)
{
	recv(left_5509);
	wrlock(&rw_5509);
	wrunlock(&rw_5509);
}

KERNEL(etcd_5509, "close: rwlock write")
{
	left_5509 = chan(0);
	go("acquire", acquire_5509, NULL);
	go("close", close_5509, NULL);
}

TEST_HARNESS_MAIN
