// SPDX-License-Identifier: GPL-2.0-only
/*
 * crowd.c - many strands of which only a few block at once: how many threads does that take?
 *
 *   crowd threads|gk STRANDS FEW
 *
 * Each strand takes one of FEW tokens from a channel, sleeps 1 ms in a plain blocking call and gives the token back.
 */
#include "bench.h"

static unsigned int nstrands, few;
static unsigned long left, now_blocked, most_blocked;
static gk_chan *tokens;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t free_token = PTHREAD_COND_INITIALIZER;
static unsigned int ntokens;

static void take(char *token)
{
	if (!on_threads) {
		gk_chan_recv(tokens, token);
		return;
	}
	pthread_mutex_lock(&lock);
	while (!ntokens)
		pthread_cond_wait(&free_token, &lock);
	ntokens--;
	pthread_mutex_unlock(&lock);
}

static void give(char *token)
{
	if (!on_threads) {
		gk_chan_send(tokens, token);
		return;
	}
	pthread_mutex_lock(&lock);
	ntokens++;
	pthread_cond_signal(&free_token);
	pthread_mutex_unlock(&lock);
}

static void one(void *arg)
{
	unsigned long n, m;
	char token;

	take(&token);
	n = __atomic_add_fetch(&now_blocked, 1, __ATOMIC_RELAXED);
	m = __atomic_load_n(&most_blocked, __ATOMIC_RELAXED);
	while (n > m && !__atomic_compare_exchange_n(&most_blocked, &m, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	nap(1000000);
	__atomic_sub_fetch(&now_blocked, 1, __ATOMIC_RELAXED);
	give(&token);
	__atomic_sub_fetch(&left, 1, __ATOMIC_ACQ_REL);
}

static int start(void *arg)
{
	unsigned long peak;
	uint64_t t = now();
	unsigned int i;
	char token = 0;

	if (!on_threads)
		tokens = gk_chan_new(1, few);
	for (i = 0; i < nstrands; i++)
		strand_go(one, NULL);
	/* All of them are there before the first may go on. */
	peak = threads_peak();
	for (i = 0; i < few; i++)
		give(&token);
	while (__atomic_load_n(&left, __ATOMIC_ACQUIRE))
		nap(5000000);
	if (!on_threads)
		peak = threads_peak();
	printf("threads=%lu blocked=%lu ms=%.0f\n", peak, most_blocked, (now() - t) / 1e6);
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		die("usage: crowd threads|gk STRANDS FEW");
	strand_mode(argv[1]);
	left = nstrands = atoi(argv[2]);
	few = atoi(argv[3]);
	return strand_run(start, NULL);
}
