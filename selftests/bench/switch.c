// SPDX-License-Identifier: GPL-2.0-only
/*
 * switch.c - what the library's own operations cost: ns and CPU ns an operation.
 *
 *   switch WHAT [COUNT]
 *
 *   yield      two tasks on each core that yield to each other; per yield, per core
 *   spawn      a task started and joined, one after another
 *   spawnmany  1000 tasks started, then all waited for
 *   message    an element through an unbuffered channel, from one task to another
 *   buffered   the same through a buffer of 128
 *   mutex      a mutex locked and unlocked, for which nobody waits
 *   rwlock     a rwlock read-locked and unlocked, the same
 *   contended  four tasks on each core want one mutex, for 100 ns of work at a time
 *   readers    the same with a rwlock, where each tenth is a writer
 *   select     the same through one of four unbuffered channels in turn, where the receiver selects over all
 *   ready      the same where all four have buffers of 128 and the sender is ahead
 *   tries      a select over four with a default, which is taken
 *   queue      two senders and two receivers on each core, one channel with a buffer of 128
 *   rendezvous the same, unbuffered
 */
#include "bench.h"

static uint64_t n;
static gk_chan *chan;
static gk_wg wg;
static double per = 1;		/* operations at the same time */

static void yielder(void *arg)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		gk_yield();
	gk_wg_done(&wg);
}

static uint64_t yields(void)
{
	unsigned int tasks = 2 * gk_cores(), i;

	gk_wg_add(&wg, tasks);
	for (i = 0; i < tasks; i++)
		gk_go(yielder, NULL);
	gk_wg_wait(&wg);
	per = gk_cores();
	return n * tasks;
}

static void nothing(void *arg)
{
}

static uint64_t spawn(void)
{
	gk_task *t;
	uint64_t i;

	for (i = 0; i < n; i++) {
		if (gk_spawn(&t, NULL, nothing, NULL))
			die("gk_spawn failed");
		gk_join(t);
	}
	return n;
}

static void done(void *arg)
{
	gk_wg_done(&wg);
}

static uint64_t spawnmany(void)
{
	uint64_t i, j;

	for (i = 0; i < n / 1000; i++) {
		gk_wg_add(&wg, 1000);
		for (j = 0; j < 1000; j++)
			gk_go(done, NULL);
		gk_wg_wait(&wg);
	}
	return n / 1000 * 1000;
}

static void sender(void *arg)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		gk_chan_send(chan, &i);
	gk_chan_close(chan);
}

static uint64_t messages(size_t cap)
{
	uint64_t v, got = 0;

	chan = gk_chan_new(sizeof(v), cap);
	gk_go(sender, NULL);
	while (gk_chan_recv(chan, &v) == 1)
		got++;
	gk_chan_free(chan);
	return got;
}

static gk_mutex mutex;
static gk_rwlock rwlock;

static uint64_t mutexes(void)
{
	uint64_t i;

	for (i = 0; i < n; i++) {
		gk_mutex_lock(&mutex);
		gk_mutex_unlock(&mutex);
	}
	return n;
}

static uint64_t rwlocks(void)
{
	uint64_t i;

	for (i = 0; i < n; i++) {
		gk_rwlock_rdlock(&rwlock);
		gk_rwlock_rdunlock(&rwlock);
	}
	return n;
}

static void work(void)
{
	volatile int i;

	for (i = 0; i < 60; i++)
		;
}

static void locker(void *arg)
{
	uint64_t i;

	for (i = 0; i < n; i++) {
		gk_mutex_lock(&mutex);
		work();
		gk_mutex_unlock(&mutex);
		work();
	}
	gk_wg_done(&wg);
}

static void reader(void *arg)
{
	uint64_t i;

	for (i = 0; i < n; i++) {
		if (i % 10) {
			gk_rwlock_rdlock(&rwlock);
			work();
			gk_rwlock_rdunlock(&rwlock);
		} else {
			gk_rwlock_wrlock(&rwlock);
			work();
			gk_rwlock_wrunlock(&rwlock);
		}
		work();
	}
	gk_wg_done(&wg);
}

static uint64_t crowd(void (*fn)(void *arg))
{
	unsigned int tasks = 4 * gk_cores(), i;
	uint64_t all = n;

	n /= tasks;
	gk_wg_add(&wg, tasks);
	for (i = 0; i < tasks; i++)
		gk_go(fn, NULL);
	gk_wg_wait(&wg);
	i = n * tasks;
	n = all;
	return i;
}

static gk_chan *four[4];

static void sends_to_four(void *arg)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		gk_chan_send(four[i % 4], &i);
	for (i = 0; i < 4; i++)
		gk_chan_close(four[i]);
}

static uint64_t selects(size_t cap)
{
	struct gk_case cases[4];
	uint64_t v[4], got = 0;
	int i, open = 4;

	for (i = 0; i < 4; i++) {
		four[i] = gk_chan_new(sizeof(uint64_t), cap);
		cases[i] = gk_case_recv(four[i], &v[i]);
	}
	gk_go(sends_to_four, NULL);
	while (open) {
		i = gk_select(cases, 4);
		if (cases[i].result) {
			got++;
		} else {
			cases[i].chan = NULL;
			open--;
		}
	}
	for (i = 0; i < 4; i++)
		gk_chan_free(four[i]);
	return got;
}

static uint64_t tries(void)
{
	struct gk_case cases[4];
	uint64_t v[4], i;

	for (i = 0; i < 4; i++) {
		four[i] = gk_chan_new(sizeof(uint64_t), 1);
		cases[i] = gk_case_recv(four[i], &v[i]);
	}
	for (i = 0; i < n; i++)
		if (gk_select_try(cases, 4) != -EAGAIN)
			die("an empty channel is ready");
	for (i = 0; i < 4; i++)
		gk_chan_free(four[i]);
	return n;
}

static uint64_t share;

static void sends_its_share(void *arg)
{
	uint64_t i;

	for (i = 0; i < share; i++)
		gk_chan_send(chan, &i);
	gk_wg_done(&wg);
}

static void receives_its_share(void *arg)
{
	uint64_t i, v;

	for (i = 0; i < share; i++)
		gk_chan_recv(chan, &v);
	gk_wg_done(&wg);
}

static uint64_t queue(size_t cap)
{
	unsigned int tasks = 2 * gk_cores(), i;

	share = n / tasks;
	chan = gk_chan_new(sizeof(uint64_t), cap);
	gk_wg_add(&wg, 2 * tasks);
	for (i = 0; i < tasks; i++) {
		gk_go(sends_its_share, NULL);
		gk_go(receives_its_share, NULL);
	}
	gk_wg_wait(&wg);
	gk_chan_free(chan);
	return share * tasks;
}

static uint64_t once(const char *what)
{
	if (!strcmp(what, "yield"))
		return yields();
	if (!strcmp(what, "spawn"))
		return spawn();
	if (!strcmp(what, "spawnmany"))
		return spawnmany();
	if (!strcmp(what, "message"))
		return messages(0);
	if (!strcmp(what, "buffered"))
		return messages(128);
	if (!strcmp(what, "mutex"))
		return mutexes();
	if (!strcmp(what, "rwlock"))
		return rwlocks();
	if (!strcmp(what, "contended"))
		return crowd(locker);
	if (!strcmp(what, "readers"))
		return crowd(reader);
	if (!strcmp(what, "select"))
		return selects(0);
	if (!strcmp(what, "ready"))
		return selects(128);
	if (!strcmp(what, "tries"))
		return tries();
	if (!strcmp(what, "queue"))
		return queue(128);
	if (!strcmp(what, "rendezvous"))
		return queue(0);
	die("no %s", what);
}

static int start(void *arg)
{
	uint64_t all = n, wall, cpu, ops;

	n = all / 10 < 1000 ? 1000 : all / 10;
	once(arg);
	n = all;
	wall = now();
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	ops = once(arg);
	wall = now() - wall;
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("ns=%.2f cpu=%.2f\n", wall * per / ops, (double)cpu / ops);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		die("usage: switch WHAT [COUNT]");
	n = argc > 2 ? strtoull(argv[2], NULL, 0) : 1000000;
	return gk_run(start, argv[1]);
}
