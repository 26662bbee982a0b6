// SPDX-License-Identifier: GPL-2.0-only
/*
 * blockers.c - K strands that sleep 100 us in a plain blocking call, beside one per core that computes and never yields.
 *
 *   blockers threads|gk K [queue] [MS]
 *
 * queue: after each sleep a strand sends a number through a queue of 128 that one more strand drains: a channel of gk,
 * or a mutex and two condition variables. Prints units of work and calls a second, from a thread outside.
 */
#include "bench.h"

#define CAP	128
#define SLEEP	100000
#define MAX	1024
#define RAMP	(5 * NSEC)

static struct counter work[256], calls[MAX];
static unsigned int ncompute, nblock;
static bool queue;
static uint64_t window = NSEC;
static gk_chan *chan;
static struct counter received[1];

/* ---- what threads have for a channel */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t not_empty, not_full;
	unsigned int head, len;
	uint64_t slot[CAP];
} q = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.not_empty = PTHREAD_COND_INITIALIZER,
	.not_full = PTHREAD_COND_INITIALIZER,
};

static void q_send(uint64_t v)
{
	pthread_mutex_lock(&q.lock);
	while (q.len == CAP)
		pthread_cond_wait(&q.not_full, &q.lock);
	q.slot[(q.head + q.len++) % CAP] = v;
	if (q.len == 1)
		pthread_cond_signal(&q.not_empty);
	pthread_mutex_unlock(&q.lock);
}

static uint64_t q_recv(void)
{
	uint64_t v;

	pthread_mutex_lock(&q.lock);
	while (!q.len)
		pthread_cond_wait(&q.not_empty, &q.lock);
	v = q.slot[q.head++ % CAP];
	if (q.len-- == CAP)
		pthread_cond_broadcast(&q.not_full);
	pthread_mutex_unlock(&q.lock);
	return v;
}

/* ---- the strands */

static void compute(void *arg)
{
	uint64_t x = (uintptr_t)arg;

	for (;;) {
		x = unit(x);
		count(arg);
		__asm__ volatile("" : "+r"(x));
	}
}

static void block(void *arg)
{
	uint64_t v = 1;

	for (;;) {
		nap(SLEEP);
		if (queue) {
			if (on_threads)
				q_send(v);
			else if (gk_chan_send(chan, &v))
				die("gk_chan_send failed");
		}
		count(arg);
	}
}

static void drain(void *arg)
{
	uint64_t v;

	for (;;) {
		if (on_threads)
			v = q_recv();
		else if (gk_chan_recv(chan, &v) != 1)
			die("gk_chan_recv failed");
		WRITE_ONCE(received->n, received->n + v);
	}
}

static bool all_there(void)
{
	unsigned int i;

	for (i = 0; i < nblock; i++)
		if (!READ_ONCE(calls[i].n))
			return false;
	for (i = 0; i < ncompute; i++)
		if (!READ_ONCE(work[i].n))
			return false;
	return true;
}

/* No strand, so that it samples when it is time whoever is busy. */
static void *sample(void *arg)
{
	uint64_t t, w, c, ramp;

	/* Until each had its first turn, which takes many slices where few run at a time. */
	t = now();
	do {
		nap(window / 100);
		ramp = now() - t;
	} while (ramp < RAMP && !all_there());
	nap(window / 4);
	t = now();
	w = sum(work, ncompute);
	c = sum(calls, nblock);
	nap(window);
	t = now() - t;
	w = sum(work, ncompute) - w;
	c = sum(calls, nblock) - c;
	printf("work=%.0f calls=%.0f threads=%lu ramp_ms=%.0f", w * 1e9 / t, c * 1e9 / t, threads_peak(), ramp / 1e6);
	if (!on_threads) {
		struct gk_stats s;

		gk_stats(&s, sizeof(s));
		printf(" preempts=%lu inside_waits=%lu", s.preempts, s.inside_waits);
	}
	putchar('\n');
	fflush(stdout);
	_exit(0);
}

static int start(void *arg)
{
	unsigned int i;

	if (queue && !on_threads) {
		chan = gk_chan_new(sizeof(uint64_t), CAP);
		if (!chan)
			die("gk_chan_new failed");
	}
	if (queue)
		strand_go(drain, NULL);
	for (i = 0; i < nblock; i++)
		strand_go(block, &calls[i]);
	for (i = 0; i < ncompute; i++)
		strand_go(compute, &work[i]);
	for (;;)
		nap(3600 * NSEC);
}

int main(int argc, char **argv)
{
	pthread_t sampler;
	int i;

	if (argc < 3)
		die("usage: blockers threads|gk K [queue] [MS]");
	strand_mode(argv[1]);
	nblock = atoi(argv[2]);
	if (nblock > MAX)
		die("at most %d", MAX);
	for (i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "queue"))
			queue = true;
		else
			window = atoi(argv[i]) * 1000000ULL;
	}
	ncompute = ncpus();
	pthread_create(&sampler, NULL, sample, NULL);
	return strand_run(start, NULL);
}
