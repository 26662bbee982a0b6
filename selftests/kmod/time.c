// SPDX-License-Identifier: GPL-2.0-only
/*
 * time.c - timers and network readiness reach a core whether somebody is idle or everybody computes.
 *
 * Rules 4 and 3 (kinds c and d of waiting work).
 */
#include "test.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static const struct rig_opt calm = { .bound = 1 };
static const struct rig_opt fast = { .bound = 1, .slice = MSEC, .grain = 100 * USEC };

/* Parks until the deadline it has set has passed; stamps when that was. */
static void timer_waiter(struct rig_worker *w)
{
	struct gk_core_page *c = rig_cp(w);
	uint64_t at;

	rig_wait_go(w);
	at = rig_now() + (uintptr_t)w->arg;
	WRITE_ONCE(c->deadline, at);
	while (!atomic_load(&w->stop) && rig_now() < at) {
		atomic_fetch_add(&w->seen, 1);
		w->ret = rig_park(w, GK_PARK_STANDBY);
		if (w->ret)
			break;
	}
	atomic_store(&w->aux, rig_now() - at);
	WRITE_ONCE(c->deadline, 0);
	atomic_store(&w->beats, 1);
	while (!atomic_load(&w->stop))
		rig_park(w, GK_PARK_STANDBY);
}

TEST(a_deadline_wakes_a_standby_on_an_empty_core)
{
	struct gk_core_page *c;
	struct rig_worker *w;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &calm));
	c = rig_core(&r, 0);
	w = rig_spawn(&r, 0, timer_waiter, (void *)(200 * MSEC));
	ASSERT_NE(NULL, w);
	ASSERT_STATE(w, GK_W_BLOCKED);
	rig_go(w);
	EXPECT_TRUE(RIG_WAIT(rig_state(w) == GK_W_STANDBY && READ_ONCE(c->armed)));
	EXPECT_EQ(c->deadline, c->armed);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->beats)));
	EXPECT_EQ(0, w->ret);
	EXPECT_EQ(1, atomic_load(&w->seen)) TH_LOG("woken before its time");
	EXPECT_GT(5 * NSEC, atomic_load(&w->aux)) TH_LOG("late by %lu ns", atomic_load(&w->aux));
	EXPECT_EQ(1, rig_wp(w)->grants);
	EXPECT_EQ(1, c->grants_standby);
	/* The deadline is gone, so the next park lasts and no timer runs. */
	EXPECT_STATE(w, GK_W_STANDBY);
	EXPECT_TRUE(RIG_WAIT(!READ_ONCE(c->armed)));
	rig_close(&r);
}

/* Somebody else moves the deadline of a core that sleeps: ARM. */
TEST(an_earlier_deadline_is_armed_by_a_call)
{
	struct gk_core_page *c;
	struct rig_worker *s;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	WRITE_ONCE(c->deadline, rig_now() + 3600 * NSEC);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
	EXPECT_TRUE(RIG_WAIT(READ_ONCE(c->armed) == c->deadline));
	EXPECT_EQ(0, rig_wp(s)->grants);
	WRITE_ONCE(c->deadline, rig_now() + 20 * MSEC);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
	EXPECT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(s)->grants)));
	WRITE_ONCE(c->deadline, 0);
	EXPECT_STATE(s, GK_W_STANDBY);
	rig_close(&r);
}

/* A deadline in the past is work that waits now. */
TEST(a_deadline_in_the_past_is_work)
{
	struct gk_core_page *c;
	struct rig_worker *s;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	WRITE_ONCE(c->deadline, 1);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
	EXPECT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(s)->grants)));
	WRITE_ONCE(c->deadline, 0);
	EXPECT_STATE(s, GK_W_STANDBY);
	rig_close(&r);
}

/* Parks whenever granted, and clears a deadline that has passed: the timer half of a scheduler. */
static void timer_server(struct rig_worker *w)
{
	struct gk_core_page *c = rig_cp(w);
	uint64_t d;

	while (!atomic_load(&w->stop)) {
		rig_park(w, GK_PARK_STANDBY);
		d = READ_ONCE(c->deadline);
		if (d && rig_now() >= d) {
			WRITE_ONCE(c->deadline, 0);
			atomic_fetch_add(&w->seen, 1);
		}
	}
}

TEST(a_deadline_preempts_a_hog_after_a_grain)
{
	const struct rig_opt opt = { .bound = 1, .slice = 10 * NSEC, .grain = 100 * USEC };
	unsigned long n, count = rig_count(0) ?: 100;
	struct gk_core_page *c;
	struct rig_worker *s, *h;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	s = rig_spawn(&r, 0, timer_server, NULL);
	ASSERT_NE(NULL, s);
	ASSERT_STATE(s, GK_W_STANDBY);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	for (n = 0; n < count; n++) {
		/* Or it would need no preemption. */
		ASSERT_STATE(s, GK_W_STANDBY);
		WRITE_ONCE(c->deadline, rig_now() + MSEC);
		ASSERT_EQ(0, rig_call(&r, GK_IOC_ARM, 0));
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->seen) > n))
			TH_LOG("deadline %lu: armed %llu now %llu", n, c->armed, (unsigned long long)rig_now());
	}
	EXPECT_LE(count, c->preempts);
	EXPECT_TRUE(rig_wait_beats(h, 1000));
	rig_close(&r);
}

/* --- the epoll file --- */

static int net_open(struct rig *r, int *fd)
{
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_EPOLL };
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };

	*fd = eventfd(0, EFD_NONBLOCK);
	set.epoll_fd = epoll_create1(0);
	if (*fd < 0 || set.epoll_fd < 0 || epoll_ctl(set.epoll_fd, EPOLL_CTL_ADD, *fd, &e))
		return -errno;
	return rig_call(r, GK_IOC_SET, (uintptr_t)&set) ?: set.epoll_fd;
}

/* Looks at the net as a library does: net_seen first, then the poll. `arg` is the epoll descriptor. */
static void net_server(struct rig_worker *w)
{
	struct gk_group_page *g = rig_group(w->rig);
	struct epoll_event e;

	while (!atomic_load(&w->stop)) {
		__atomic_store_n(&g->net_seen, READ_ONCE(g->net_seq), __ATOMIC_SEQ_CST);
		while (epoll_wait((int)(intptr_t)w->arg, &e, 1, 0) == 1)
			atomic_fetch_add(&w->seen, 1);
		rig_park(w, GK_PARK_STANDBY);
	}
}

TEST(the_epoll_file_wakes_an_idle_core)
{
	struct rig_worker *s;
	unsigned long n;
	struct rig r;
	int ep, fd;

	ASSERT_EQ(0, rig_open(&r, &fast));
	ep = net_open(&r, &fd);
	ASSERT_LE(0, ep);
	s = rig_spawn(&r, 0, net_server, (void *)(intptr_t)ep);
	ASSERT_NE(NULL, s);
	for (n = 0; n < 200; n++) {
		ASSERT_STATE(s, GK_W_STANDBY);
		ASSERT_EQ(0, eventfd_write(fd, 1));
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->seen) > n))
			TH_LOG("event %lu: net_seq %u net_seen %u", n, rig_group(&r)->net_seq, rig_group(&r)->net_seen);
	}
	EXPECT_LE(200, rig_group(&r)->net_seq);
	rig_close(&r);
}

TEST(the_epoll_file_preempts_a_hog)
{
	struct gk_core_page *c;
	struct rig_worker *s, *h;
	unsigned long n;
	struct rig r;
	int ep, fd;

	ASSERT_EQ(0, rig_open(&r, &fast));
	c = rig_core(&r, 0);
	ep = net_open(&r, &fd);
	ASSERT_LE(0, ep);
	s = rig_spawn(&r, 0, net_server, (void *)(intptr_t)ep);
	ASSERT_NE(NULL, s);
	ASSERT_STATE(s, GK_W_STANDBY);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	for (n = 0; n < 50; n++) {
		ASSERT_STATE(s, GK_W_STANDBY);
		ASSERT_EQ(0, eventfd_write(fd, 1));
		/* Nobody makes a call: the event itself arms the timer. */
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->seen) > n));
	}
	EXPECT_LE(50, c->preempts);
	EXPECT_TRUE(rig_wait_beats(h, 1000));
	rig_close(&r);
}

/* Has the epoll file of @r say what becomes of the eventfd @fd. */
static int net_watch(struct rig *r, int fd)
{
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_EPOLL, .epoll_fd = epoll_create1(0) };
	struct epoll_event e = { .events = EPOLLIN };

	if (set.epoll_fd < 0 || epoll_ctl(set.epoll_fd, EPOLL_CTL_ADD, fd, &e))
		return -errno;
	return rig_call(r, GK_IOC_SET, (uintptr_t)&set);
}

/*
 * The module tells a manager, of which the epoll file hears, of which the module hears, in a core with nobody to grant: so it
 * would tell the manager, all in interrupts, for ever.
 */
TEST(a_manager_in_an_epoll_file_is_not_told_for_ever)
{
	struct rig_opt o = { .bound = 1, .manager = true };
	struct rig_worker *w;
	struct rig r[2];
	unsigned int i, j, n;

	/* Of its own group, and two groups crosswise. */
	for (n = 1; n <= 2; n++) {
		for (i = 0; i < n; i++)
			ASSERT_EQ(0, rig_open(&r[i], &o));
		for (i = 0; i < n; i++)
			ASSERT_EQ(0, net_watch(&r[i], r[(i + 1) % n].manager_fd));
		for (j = 0; j < 20; j++)
			ASSERT_EQ(0, eventfd_write(r[0].manager_fd, 1));
		for (i = 0; i < n; i++) {
			EXPECT_GT(200, rig_core(&r[i], 0)->starved);
			EXPECT_GT(200, rig_group(&r[i])->net_seq);
			EXPECT_LT(0, rig_group(&r[i])->net_seq);
		}
		/* A worker comes and goes, and the manager is told again. */
		for (i = 0; i < n; i++) {
			uint64_t was, got;

			w = rig_spawn(&r[i], 0, rig_wait_go, NULL);
			ASSERT_NE(NULL, w);
			ASSERT_STATE(w, GK_W_BLOCKED);
			was = rig_core(&r[i], 0)->starved;
			ASSERT_EQ(sizeof(got), read(r[i].manager_fd, &got, sizeof(got)));
			ASSERT_EQ(0, eventfd_write(r[(i + 1) % n].manager_fd, 1));
			EXPECT_TRUE(RIG_WAIT(rig_core(&r[i], 0)->starved > was));
			EXPECT_EQ(sizeof(got), read(r[i].manager_fd, &got, sizeof(got)));
		}
		for (i = 0; i < n; i++)
			rig_close(&r[i]);
	}
}

/* A file that is ready when it is set counts as an event: nothing between poll and SET is lost. */
TEST(an_epoll_file_that_is_ready_already)
{
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_EPOLL };
	struct epoll_event e = { .events = EPOLLIN };
	struct rig_worker *s;
	struct rig r;
	int fd;

	ASSERT_EQ(0, rig_open(&r, &fast));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	fd = eventfd(1, EFD_NONBLOCK);
	set.epoll_fd = epoll_create1(0);
	ASSERT_EQ(0, epoll_ctl(set.epoll_fd, EPOLL_CTL_ADD, fd, &e));
	ASSERT_EQ(0, rig_call(&r, GK_IOC_SET, (uintptr_t)&set));
	EXPECT_TRUE(RIG_WAIT(READ_ONCE(rig_wp(s)->grants)));
	WRITE_ONCE(rig_group(&r)->net_seen, READ_ONCE(rig_group(&r)->net_seq));
	EXPECT_STATE(s, GK_W_STANDBY);
	rig_close(&r);
}

/* The module holds the file, not the descriptor; -1 forgets it; the file may be closed at any time. */
TEST(the_epoll_file_may_be_closed_and_forgotten)
{
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_EPOLL, .epoll_fd = -1 };
	struct rig_worker *s;
	uint32_t seq;
	struct rig r;
	int ep, fd, i;

	ASSERT_EQ(0, rig_open(&r, &fast));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	for (i = 0; i < 20; i++) {
		ep = net_open(&r, &fd);
		ASSERT_LE(0, ep);
		close(ep);
		if (i & 1) {
			ASSERT_EQ(0, rig_call(&r, GK_IOC_SET, (uintptr_t)&set));
		}
		eventfd_write(fd, 1);
		close(fd);
	}
	ep = net_open(&r, &fd);
	ASSERT_LE(0, ep);
	ASSERT_EQ(0, rig_call(&r, GK_IOC_SET, (uintptr_t)&set));
	seq = READ_ONCE(rig_group(&r)->net_seq);
	WRITE_ONCE(rig_group(&r)->net_seen, seq);
	ASSERT_EQ(0, eventfd_write(fd, 1));
	EXPECT_EQ(seq, READ_ONCE(rig_group(&r)->net_seq));
	EXPECT_STATE(s, GK_W_STANDBY);
	rig_close(&r);
}

/* Several epoll files in a row, and the group ends while one is set: whoever polls last cleans up. */
TEST(a_group_that_ends_with_its_epoll_file_set)
{
	struct rig r;
	int ep, fd, i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, rig_open(&r, &fast));
		ep = net_open(&r, &fd);
		ASSERT_LE(0, ep);
		rig_close(&r);
		EXPECT_EQ(0, eventfd_write(fd, 1));
		close(fd);
		close(ep);
	}
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
