// SPDX-License-Identifier: GPL-2.0-only
/* grpc.c - bug kernels of gRPC. */
#include "goker.h"

/* 795: stopping twice takes the lock twice. */
static gk_mutex server_795;
static bool drain_795;

static void stop_795(void *arg)
{
	int i;

	for (i = 0; i < 3; i++) {
		lock(&server_795);
		if (drain_795 && !fixed)
			lock(&server_795);
		drain_795 = true;
		unlock(&server_795);
	}
}

KERNEL(grpc_795, "stop: EDEADLK")
{
	go("stop", stop_795, NULL);
}

/* 862: the connection is dropped before it is there, so nobody cancels what resets its transport. */
static gk_chan *context_862;
static void *conn_862;

static void reset_862(void *arg)
{
	recv(context_862);
}

static void dial_862(void *arg)
{
	go("reset", reset_862, NULL);
	if (conn_862)
		done(context_862);
}

KERNEL(grpc_862, "reset: chan receive")
{
	context_862 = chan(0);
	conn_862 = fixed ? &conn_862 : NULL;
	go("dial", dial_862, NULL);
}

/* 1275: closing a stream does not end a read of it. */
static gk_chan *buffer_1275, *ended_1275;

static void read_1275(void *arg)
{
	recv(buffer_1275);
	done(ended_1275);
}

static void closes_1275(void *arg)
{
	go("reader", read_1275, NULL);
	if (fixed)
		done(buffer_1275);
	gk_chan_recv_until(ended_1275, NULL, gk_now() + 300);
}

KERNEL(grpc_1275, "reader: chan receive")
{
	buffer_1275 = chan(0);
	ended_1275 = chan(0);
	go("closer", closes_1275, NULL);
}

/* 1424: the watcher ends at once, as its channel is closed, and does not close what the dialler waits for. */
static gk_chan *notify_1424, *watched_1424;

static void watch_1424(void *arg)
{
	while (recv(notify_1424))
		;
	if (fixed)
		done(watched_1424);
}

static void waits_1424(void *arg)
{
	go("watcher", watch_1424, NULL);
	recv(watched_1424);
}

KERNEL(grpc_1424, "dial: chan receive")
{
	notify_1424 = chan(0);
	watched_1424 = chan(0);
	go("dial", waits_1424, NULL);
	done(notify_1424);
}

/* 1460: sleeps on a channel with the lock held that who would wake it needs. */
static gk_mutex mu_1460;
static gk_chan *awaken_1460;
static int streams_1460;

static void keepalive_1460(void *arg)
{
	lock(&mu_1460);
	if (!streams_1460) {
		if (fixed)
			unlock(&mu_1460);
		recv(awaken_1460);
		if (fixed)
			lock(&mu_1460);
	}
	unlock(&mu_1460);
}

static void stream_1460(void *arg)
{
	UNTIL(fixed || held(&mu_1460));
	lock(&mu_1460);
	if (++streams_1460 == 1) {
		/* the fix gives the channel a buffer */
		if (fixed)
			send(awaken_1460, 1);
		else
			try_send(awaken_1460, 1);
	}
	unlock(&mu_1460);
}

KERNEL(grpc_1460, "keepalive: chan receive; stream: mutex lock")
{
	awaken_1460 = chan(fixed);
	go("keepalive", keepalive_1460, NULL);
	go("stream", stream_1460, NULL);
}

/* 3017: a timer that fired just before it was stopped finds itself cancelled, and returns with the lock held. */
static gk_mutex cache_3017;
static bool abort_3017;
static atomic_int expired_3017;

static void expires_3017(void *arg)
{
	lock(&cache_3017);
	expired_3017 = 1;
	if (abort_3017 && !fixed)
		return;
	unlock(&cache_3017);
}

static void updates_3017(void *arg)
{
	gk_timer *timer;

	lock(&cache_3017);
	timer = gk_timer_start(0, expires_3017, NULL);
	UNTIL(wanted(&cache_3017));
	abort_3017 = !gk_timer_stop(timer);
	unlock(&cache_3017);
	UNTIL(expired_3017);
	lock(&cache_3017);
	unlock(&cache_3017);
}

KERNEL(grpc_3017, "updater: mutex lock")
{
	go("updater", updates_3017, NULL);
}

/* 660: the client stops while a call is under way that tells it, without a buffer, that it is done. */
static gk_chan *stop_660, *called_660;
static atomic_int stopped_660;

static void call_660(void *arg)
{
	UNTIL(fixed || stopped_660);
	send(called_660, 1);
}

static void client_660(void *arg)
{
	go("G2", call_660, NULL);
	while (first_of(stop_660, called_660))
		;
	stopped_660 = 1;
}

static void stops_660(void *arg)
{
	send(stop_660, 1);
}

KERNEL(grpc_660, "G2: chan send")
{
	stop_660 = chan(0);
	called_660 = chan(fixed);
	go("G1", client_660, NULL);
	go("stop", stops_660, NULL);
}

TEST_HARNESS_MAIN
