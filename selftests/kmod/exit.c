// SPDX-License-Identifier: GPL-2.0-only
/*
 * exit.c - a process or a worker ends in every state, in every way, and the module is left with nothing.
 *
 * The children do no clean-up at all. Contract 7; rules 8, 9, 13.
 */
#include "test.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* The program that exec tests become: it has nothing to say. */
static void __attribute__((constructor(101))) after_exec(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		_exit(42);
}

static void reader(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	while (!atomic_load(&w->stop))
		atomic_fetch_add(&w->beats, 1);
}

static void parker(struct rig_worker *w)
{
	for (;;)
		rig_park(w, (uintptr_t)w->arg);
}

static void exec_self(void)
{
	char *const argv[] = { "/proc/self/exe", "--after-exec", NULL };

	execv(argv[0], argv);
	_exit(43);
}

static void hog_exec(struct rig_worker *w)
{
	rig_wait_go(w);
	exec_self();
}

static void hog_exit(struct rig_worker *w)
{
	rig_wait_go(w);
	_exit(42);
}

static void hog_pthread_exit(struct rig_worker *w)
{
	rig_wait_go(w);
	atomic_store(&w->done, 1);
	pthread_exit(NULL);
}

/* One worker in state `s`, and whatever it takes to get it there. False when it does not come about. */
static bool enter_state(struct rig *r, uint32_t s)
{
	static const struct rig_opt opt = { .bound = 1 };
	struct rig_worker *w, *h;
	static int fd[2];

	if (pipe(fd) || rig_open(r, &opt))
		return false;
	switch (s) {
	case GK_W_RUNNING:
		w = rig_spawn(r, 0, rig_hog, NULL);
		return w && rig_wait_beats(w, 1);
	case GK_W_BLOCKED:
		w = rig_spawn(r, 0, reader, fd);
		break;
	case GK_W_READY:
		w = rig_spawn(r, 0, reader, fd);
		if (!w || !rig_wait_state(w, GK_W_BLOCKED))
			return false;
		h = rig_spawn(r, 0, rig_hog, NULL);
		if (!h || write(fd[1], "x", 1) != 1)
			return false;
		break;
	case GK_W_STANDBY:
		w = rig_spawn(r, 0, parker, (void *)GK_PARK_STANDBY);
		break;
	case GK_W_HELD:
		w = rig_spawn(r, 0, parker, (void *)GK_PARK_HELD);
		break;
	case GK_W_STOPPED:
		w = rig_spawn(r, 0, rig_hog, NULL);
		if (!w || rig_call(r, GK_IOC_STOP, 0))
			return false;
		break;
	default:
		return false;
	}
	return w && rig_wait_state(w, s) && (s == GK_W_STOPPED || RIG_WAIT(rig_task_state(w->tid) == 'S'));
}

enum way { EXIT, KILL, EXEC, ABORT, CLOSE };

static void end_in_state(struct __test_metadata *_metadata, uint32_t s, enum way way)
{
	static const int want[] = { [EXIT] = 42 << 8, [KILL] = SIGKILL, [EXEC] = 42 << 8, [ABORT] = SIGABRT,
				    [CLOSE] = 42 << 8 };
	struct rig r;
	int fd[2], status, i;
	pid_t pid;
	char ch;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pipe(fd));
		pid = fork();
		if (!pid) {
			if (!enter_state(&r, s))
				_exit(1);
			if (write(fd[1], "r", 1) != 1)
				_exit(2);
			switch (way) {
			case EXIT:
				_exit(42);
			case KILL:
				for (;;)
					pause();
			case EXEC:
				exec_self();
				break;
			case ABORT:
				abort();
			case CLOSE:
				munmap(r.map, r.s.map_size);
				close(r.fd);
				_exit(42);
			}
		}
		close(fd[1]);
		ASSERT_EQ(1, read(fd[0], &ch, 1)) TH_LOG("the worker never was %s", state_name(s));
		if (way == KILL)
			kill(pid, SIGKILL);
		ASSERT_TRUE(RIG_WAIT(waitpid(pid, &status, WNOHANG) == pid)) TH_LOG("the process does not end");
		EXPECT_EQ(want[way], status & (way == ABORT ? 0x7f : 0xffff));
		ASSERT_TRUE(rig_no_leak()) TH_LOG("refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);
		close(fd[0]);
	}
}

#define END_IN_STATE(word, state)						\
	TEST(exit_while_##word) { end_in_state(_metadata, state, EXIT); }	\
	TEST(kill_while_##word) { end_in_state(_metadata, state, KILL); }	\
	TEST(exec_while_##word) { end_in_state(_metadata, state, EXEC); }	\
	TEST(abort_while_##word) { end_in_state(_metadata, state, ABORT); }	\
	TEST(close_while_##word) { end_in_state(_metadata, state, CLOSE); }

END_IN_STATE(running, GK_W_RUNNING)
END_IN_STATE(blocked, GK_W_BLOCKED)
END_IN_STATE(ready, GK_W_READY)
END_IN_STATE(standby, GK_W_STANDBY)
END_IN_STATE(held, GK_W_HELD)
END_IN_STATE(stopped, GK_W_STOPPED)

/* --- a worker's own end, or the process's by a worker --- */

static void by_worker(struct __test_metadata *_metadata, rig_fn fn)
{
	static const struct rig_opt opt = { .bound = 1 };
	struct rig_worker *w;
	struct rig r;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		if (rig_open(&r, &opt) || !rig_standby(&r, 0, NULL, NULL))
			_exit(1);
		w = rig_spawn(&r, 0, fn, NULL);
		if (!w)
			_exit(2);
		rig_go(w);
		for (;;)
			pause();
	}
	ASSERT_TRUE(RIG_WAIT(waitpid(pid, &status, WNOHANG) == pid));
	EXPECT_EQ(42 << 8, status);
	EXPECT_TRUE(rig_no_leak()) TH_LOG("refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);
}

/* Notifiers survive execve: the module must not take the new program for its worker. */
TEST(exec_by_a_worker)
{
	by_worker(_metadata, hog_exec);
}

TEST(exit_by_a_worker)
{
	by_worker(_metadata, hog_exit);
}

/* A worker that ends without EXIT: its core goes on with the next, its id is free again. */
TEST(pthread_exit_without_leaving)
{
	const struct rig_opt opt = { .bound = 1, .max_workers = 2 };
	struct rig_worker *w, *s;
	unsigned long n;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	for (n = 1; n <= 50; n++) {
		errno = 0;
		ASSERT_TRUE(RIG_WAIT((w = rig_spawn(&r, 0, hog_pthread_exit, NULL)) || errno != ENOSPC));
		ASSERT_NE(NULL, w) TH_LOG("errno %d", errno);
		rig_push_quiet(&r, 0);
		rig_go(w);
		ASSERT_EQ(0, pthread_join(w->thread, NULL));
		/* nobody runs and a task waits: the standby has it */
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken) == n)) TH_LOG("%lu", n);
		ASSERT_TRUE(RIG_WAIT(rig_group(&r)->nworkers == 1));
		r.w[--r.nw] = NULL;
		free(w);
	}
	EXPECT_STATE(s, GK_W_STANDBY);
	EXPECT_TRUE(RIG_WAIT(rig_core(&r, 0)->running == 0));
	rig_close(&r);
}

static void leave_and_come_back(struct rig_worker *w)
{
	struct gk_enter e = { .size = sizeof(e), .core = 0 };

	while (!atomic_load(&w->stop)) {
		long ret;

		if (rig_call(w->rig, GK_IOC_EXIT, 0) || rig_call(w->rig, GK_IOC_EXIT, 0) != -EPERM) {
			atomic_store(&w->err, errno ?: 1);
			return;
		}
		/* Its id is given back a little later. */
		while ((ret = rig_call(w->rig, GK_IOC_ENTER, (uintptr_t)&e)) == -ENOSPC)
			rig_nap();
		if (ret) {
			atomic_store(&w->err, -ret);
			return;
		}
		__atomic_store_n(&w->id, e.id, __ATOMIC_SEQ_CST);
		atomic_fetch_add(&w->beats, 1);
	}
}

TEST(exit_and_enter_again)
{
	struct rig_worker *w;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1, .max_workers = 4 }));
	w = rig_spawn(&r, 0, leave_and_come_back, NULL);
	ASSERT_NE(NULL, w);
	EXPECT_TRUE(rig_wait_beats(w, rig_count(0) ?: 200));
	EXPECT_EQ(0, atomic_load(&w->err));
	EXPECT_TRUE(RIG_WAIT(rig_group(&r)->nworkers <= 1));
	rig_close(&r);
}

/*
 * Rule 13: descriptor and mapping go away under a worker that is READY. Nobody could grant it any more, so it is let go,
 * and so is the module.
 */
static void ready_reader(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	while (!atomic_load(&w->stop))
		atomic_fetch_add(&w->beats, 1);
	/* no gk call from here on: the descriptor is gone */
	atomic_store(&w->done, 1);
	pthread_exit(NULL);
}

static void stuck_hog(struct rig_worker *w)
{
	rig_hog(w);
	atomic_store(&w->done, 1);
	pthread_exit(NULL);
}

TEST(a_group_released_under_a_ready_worker_lets_it_go)
{
	struct rig_worker *a, *h;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	a = rig_spawn(&r, 0, ready_reader, fd);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, stuck_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	ASSERT_STATE(a, GK_W_READY);
	munmap(r.map, r.s.map_size);
	close(r.fd);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&a->mark)));
	EXPECT_TRUE(rig_wait_beats(h, 1000));
	EXPECT_TRUE(rig_wait_beats(a, 1000));
	atomic_store(&a->stop, 1);
	atomic_store(&h->stop, 1);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&a->done) && atomic_load(&h->done)));
	EXPECT_TRUE(rig_no_leak()) TH_LOG("refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);
}

/*
 * The same under workers that sleep in their own GK_IOC_PARK, which holds a reference to the file. A descriptor of many
 * changes nothing for them.
 */
static void parked_once(struct rig_worker *w)
{
	enum gk_park how = (uintptr_t)w->arg;

	do {
		w->ret = rig_park(w, how);
		atomic_fetch_add(&w->beats, 1);
	} while (!atomic_load(&w->stop));
	atomic_store(&w->done, 1);
	pthread_exit(NULL);
}

TEST(a_group_released_under_workers_in_their_park_call_lets_them_go)
{
	struct rig_worker *s, *h, *more;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	s = rig_spawn(&r, 0, parked_once, (void *)GK_PARK_STANDBY);
	ASSERT_NE(NULL, s);
	ASSERT_TRUE(RIG_WAIT(rig_parked(s, GK_W_STANDBY)));
	h = rig_spawn(&r, 0, parked_once, (void *)GK_PARK_HELD);
	ASSERT_NE(NULL, h);
	ASSERT_TRUE(RIG_WAIT(rig_parked(h, GK_W_HELD)));

	close(dup(r.fd));
	EXPECT_TRUE(RIG_WAIT(rig_parked(s, GK_W_STANDBY) && rig_parked(h, GK_W_HELD)));
	EXPECT_EQ(0, atomic_load(&s->beats));
	EXPECT_EQ(0, atomic_load(&h->beats));
	rig_push(&r, 0);
	EXPECT_TRUE(rig_wait_beats(s, 1));
	rig_drain(&r, 0);
	ASSERT_TRUE(RIG_WAIT(rig_parked(s, GK_W_STANDBY)));
	/* One that comes later. */
	more = rig_spawn(&r, 0, parked_once, (void *)GK_PARK_STANDBY);
	ASSERT_NE(NULL, more);
	ASSERT_TRUE(RIG_WAIT(rig_parked(more, GK_W_STANDBY)));

	atomic_store(&s->stop, 1);
	atomic_store(&h->stop, 1);
	atomic_store(&more->stop, 1);
	munmap(r.map, r.s.map_size);
	close(r.fd);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->done) && atomic_load(&h->done) && atomic_load(&more->done)));
	EXPECT_TRUE(rig_no_leak()) TH_LOG("refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);
}

TEST(the_first_close_is_the_last)
{
	struct rig_worker *s;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	s = rig_spawn(&r, 0, parked_once, (void *)GK_PARK_STANDBY);
	ASSERT_NE(NULL, s);
	ASSERT_TRUE(RIG_WAIT(rig_parked(s, GK_W_STANDBY)));
	atomic_store(&s->stop, 1);
	munmap(r.map, r.s.map_size);
	close(r.fd);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->done)));
	EXPECT_TRUE(rig_no_leak()) TH_LOG("refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);
}

/* A descriptor alone, or a mapping alone, keeps the group alive. */
TEST(the_mapping_outlives_the_descriptor)
{
	struct gk_group_page *g;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	g = rig_group(&r);
	close(r.fd);
	WRITE_ONCE(g->gq_len, 7);
	EXPECT_EQ(7, READ_ONCE(g->gq_len));
	EXPECT_LT(rig_refcnt_start, rig_refcnt());
	munmap(r.map, r.s.map_size);
	EXPECT_TRUE(rig_no_leak());
}

/* SIGKILL for processes full of everything at once, at any moment. */
static void churn_child(unsigned int seed)
{
	static const struct rig_opt opt = { .bound = 2, .ncores = 2, .slice = 200 * USEC, .grain = 50 * USEC };
	struct rig_worker *w;
	struct rig r;
	static int fd[2];
	unsigned int i;

	if (pipe(fd) || rig_open(&r, &opt))
		_exit(1);
	for (i = 0; i < 4; i++) {
		rig_spawn(&r, i & 1, rig_consumer, NULL);
		rig_spawn(&r, i & 1, parker, (void *)(uintptr_t)(rand_r(&seed) % 3));
		w = rig_spawn(&r, i & 1, i & 2 ? reader : rig_hog, fd);
		(void)w;
	}
	for (;;) {
		rig_push(&r, rand_r(&seed) & 1);
		rig_call(&r, GK_IOC_UNHOLD, rand_r(&seed) % 12);
		if (rand_r(&seed) % 4 == 0 && write(fd[1], "xx", 2) != 2)
			_exit(2);
	}
}

TEST(kill_at_any_moment)
{
	unsigned int i, n = rig_count(0) ? rig_count(0) / 100 + 20 : 20;
	struct timespec t = { 0, 0 };
	int status;
	pid_t pid;

	for (i = 0; i < n; i++) {
		pid = fork();
		if (!pid)
			churn_child(i);
		t.tv_nsec = (i * 7919 % 200) * MSEC;	/* any moment is as good as another: nothing is expected of it */
		nanosleep(&t, NULL);
		kill(pid, SIGKILL);
		ASSERT_TRUE(RIG_WAIT(waitpid(pid, &status, WNOHANG) == pid)) TH_LOG("run %u does not die", i);
		EXPECT_EQ(SIGKILL, status);
	}
	EXPECT_TRUE(rig_no_leak()) TH_LOG("refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
