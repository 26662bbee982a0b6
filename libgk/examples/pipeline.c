// SPDX-License-Identifier: MIT
/*
 * pipeline.c - prime numbers: each stage is a task that takes numbers from one channel and gives those its prime does
 * not divide to the next.
 */
#include <stdio.h>
#include <stdlib.h>
#include <gk.h>

struct stage {
	int prime;
	gk_chan *in, *out;
};

static void numbers(void *arg)
{
	int n;

	for (n = 2; !gk_chan_send(arg, &n); n++)
		;
}

static void sieve(void *arg)
{
	struct stage *s = arg;
	int n;

	while (gk_chan_recv(s->in, &n) == 1)
		if (n % s->prime && gk_chan_send(s->out, &n))
			break;
}

static int app(void *arg)
{
	gk_chan *chan = gk_chan_new(sizeof(int), 16);
	int i, count = atoi(arg);
	struct stage *s;

	gk_go(numbers, chan);
	for (i = 0; i < count; i++) {
		s = malloc(sizeof(*s));
		s->in = chan;
		s->out = gk_chan_new(sizeof(int), 16);
		gk_chan_recv(chan, &s->prime);
		printf("%d\n", s->prime);
		gk_go(sieve, s);
		chan = s->out;
	}
	return 0;
}

int main(int argc, char **argv)
{
	return gk_run(app, argc > 1 ? argv[1] : "100");
}
