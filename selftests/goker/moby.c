// SPDX-License-Identifier: GPL-2.0-only
/* moby.c - bug kernels of Docker. */
#include "goker.h"

/* 4951: removing a device gives up the set's lock for a while, but not the device's, and takes it again. */
static gk_mutex set_4951, info_4951;
static atomic_int removing_4951;

static void delete_4951(void *arg)
{
	lock(&set_4951);
	lock(&info_4951);
	if (fixed)
		unlock(&info_4951);
	unlock(&set_4951);
	atomic_fetch_add(&removing_4951, 1);
	/* the other one comes, takes the set, and waits for the device */
	UNTIL(fixed || (held(&set_4951) && wanted(&info_4951)));
	lock(&set_4951);
	if (!fixed)
		unlock(&info_4951);
	unlock(&set_4951);
}

KERNEL(moby_4951, "first: mutex lock; second: mutex lock")
{
	go("first", delete_4951, NULL);
	UNTIL(removing_4951);
	go("second", delete_4951, NULL);
}

/* 7559: `continue` on an error, with the lock held, takes it again. */
static gk_mutex track_7559;

static void run_7559(void *arg)
{
	int i;

	for (i = 0; i < 2; i++) {
		lock(&track_7559);
		if (fixed)
			unlock(&track_7559);
	}
}

KERNEL(moby_7559, "proxy: EDEADLK")
{
	go("proxy", run_7559, NULL);
}

/* 17176: returns with the lock held when there is nothing to clean up. */
static gk_mutex devices_17176;
static gk_chan *deleted_17176;

static void delete_17176(void *arg)
{
	lock(&devices_17176);
	unlock(&devices_17176);
	try_send(deleted_17176, 1);
}

static void test_17176(void *arg)
{
	lock(&devices_17176);
	if (fixed)
		unlock(&devices_17176);
	go("deleter", delete_17176, NULL);
	gk_chan_recv_until(deleted_17176, NULL, gk_now() + 1 * MS);
}

KERNEL(moby_17176, "deleter: mutex lock")
{
	deleted_17176 = chan(1);
	go("test", test_17176, NULL);
}

/* 25348: waits for all plugins inside the loop that starts them. */
static gk_wg plugins_25348;

static void plugin_25348(void *arg)
{
	gk_wg_done(&plugins_25348);
}

static void init_25348(void *arg)
{
	int i;

	gk_wg_add(&plugins_25348, 2);
	for (i = 0; i < 2; i++) {
		go("plugin", plugin_25348, NULL);
		if (!fixed)
			gk_wg_wait(&plugins_25348);
	}
	gk_wg_wait(&plugins_25348);
}

KERNEL(moby_25348, "init: wait group")
{
	go("init", init_25348, NULL);
}

/* 28462: tells the monitor to stop, without a buffer and with the lock held that the monitor's probe takes. */
static gk_mutex container_28462;
static gk_chan *stop_28462;

static void monitor_28462(void *arg)
{
	while (!try_recv(stop_28462)) {
		UNTIL(fixed || held(&container_28462));
		lock(&container_28462);
		unlock(&container_28462);
		gk_yield();
	}
}

static void changed_28462(void *arg)
{
	/* on time: the monitor has seen that it is not to stop */
	lock(&container_28462);
	UNTIL(fixed || wanted(&container_28462));
	if (fixed)
		done(stop_28462);
	else
		send(stop_28462, 1);
	unlock(&container_28462);
}

KERNEL(moby_28462, "monitor: mutex lock; changed: chan send")
{
	stop_28462 = chan(0);
	go("monitor", monitor_28462, NULL);
	go("changed", changed_28462, NULL);
}

/* 36114: a function that takes the lock calls another that does. */
static gk_mutex vm_36114;

static void hot_add_36114(void *arg)
{
	lock(&vm_36114);
	if (!fixed)
		lock(&vm_36114);
	unlock(&vm_36114);
}

KERNEL(moby_36114, "adder: EDEADLK")
{
	go("adder", hot_add_36114, NULL);
}

/* 33781: the monitor is told to stop while a probe is under way, whose result nobody takes any more. */
static gk_chan *stop_33781, *results_33781;
static atomic_int stopped_33781;

static void probe_33781(void *arg)
{
	UNTIL(fixed || stopped_33781);
	send(results_33781, 1);
}

static void monitor_33781(void *arg)
{
	go("G3", probe_33781, NULL);
	while (first_of(stop_33781, results_33781))
		;
	stopped_33781 = 1;
}

static void stops_33781(void *arg)
{
	send(stop_33781, 1);
}

KERNEL(moby_33781, "G3: chan send")
{
	stop_33781 = chan(0);
	results_33781 = chan(fixed);
	go("G1", monitor_33781, NULL);
	go("G2", stops_33781, NULL);
}

/* 30408: waits to be active; a plugin that failed to become so tells nobody. */
static gk_mutex mu_30408;
static gk_cond active_30408;
static gk_chan *waited_30408;
static bool failed_30408;

static void waits_30408(void *arg)
{
	lock(&mu_30408);
	while (!failed_30408)
		CHECK_EQ(0, gk_cond_wait(&active_30408, &mu_30408));
	unlock(&mu_30408);
	done(waited_30408);
}

static void test_30408(void *arg)
{
	go("G2", waits_30408, NULL);
	if (fixed) {
		lock(&mu_30408);
		failed_30408 = true;
		gk_cond_broadcast(&active_30408);
		unlock(&mu_30408);
	}
	recv(waited_30408);
}

KERNEL(moby_30408, "G1: chan receive; G2: condition")
{
	waited_30408 = chan(0);
	go("G1", test_30408, NULL);
}

/* 27782: a reader of logs waits, under its lock, for an event that comes only when the file is removed. */
static gk_mutex logger_27782, watch_27782;
static gk_cond event_27782;
static bool removed_27782;

static void reader_27782(void *arg)
{
	lock(&logger_27782);
	lock(&watch_27782);
	while (!removed_27782)
		CHECK_EQ(0, gk_cond_wait(&event_27782, &watch_27782));
	unlock(&watch_27782);
	unlock(&logger_27782);
}

static void closes_27782(void *arg)
{
	UNTIL(fixed || held(&logger_27782));
	if (fixed) {
		lock(&watch_27782);
		removed_27782 = true;
		gk_cond_broadcast(&event_27782);
		unlock(&watch_27782);
	}
	lock(&logger_27782);
	unlock(&logger_27782);
}

KERNEL(moby_27782, "G2: condition; G1: mutex lock")
{
	go("G2", reader_27782, NULL);
	go("G1", closes_27782, NULL);
}

TEST_HARNESS_MAIN
