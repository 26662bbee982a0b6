// SPDX-License-Identifier: GPL-2.0-only
/*
 * late.c - how late do strands wake that sleep 1 ms, beside four on each core that compute and never yield?
 *
 *   late threads|gk SLEEPERS [timer] [MS]
 *
 * They sleep in a plain blocking call; timer: in gk_sleep(), which threads do not have. Prints the median, the 99th
 * percentile and the worst of how much later than asked for each sleep ended, in us, and the sleeps and the units of
 * work a second.
 */
#include "bench.h"

#define SLEEP	1000000
#define HOGS	4		/* a core */
#define MAX	(1 << 20)

static struct counter work[256 * HOGS];
static unsigned int nhogs, nsleepers;
static bool timer;
static uint64_t window = NSEC;
static uint64_t late[MAX];
static unsigned int nlate;
static bool measuring;

static void hog(void *arg)
{
	uint64_t x = (uintptr_t)arg;

	for (;;) {
		x = unit(x);
		count(arg);
		__asm__ volatile("" : "+r"(x));
	}
}

static void sleeper(void *arg)
{
	unsigned int i;
	uint64_t t;

	for (;;) {
		t = now();
		if (timer)
			gk_sleep(SLEEP);
		else
			nap(SLEEP);
		t = now() - t;
		if (!__atomic_load_n(&measuring, __ATOMIC_ACQUIRE))
			continue;
		i = __atomic_fetch_add(&nlate, 1, __ATOMIC_RELAXED);
		if (i < MAX)
			__atomic_store_n(&late[i], t > SLEEP ? t - SLEEP : 1, __ATOMIC_RELEASE);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool all_there(void)
{
	unsigned int i;

	for (i = 0; i < nhogs; i++)
		if (!READ_ONCE(work[i].n))
			return false;
	return true;
}

/* No strand, so that it looks when it is time whoever is busy. */
static void *sample(void *arg)
{
	static uint64_t copy[MAX];
	uint64_t t = now(), w;
	unsigned int i, n, got;

	while (!all_there() && now() - t < 5 * NSEC)
		nap(window / 100);
	nap(window / 4);
	t = now();
	w = sum(work, nhogs);
	__atomic_store_n(&measuring, true, __ATOMIC_RELEASE);
	nap(window);
	__atomic_store_n(&measuring, false, __ATOMIC_RELEASE);
	t = now() - t;
	w = sum(work, nhogs) - w;
	n = __atomic_load_n(&nlate, __ATOMIC_ACQUIRE);
	if (n > MAX)
		n = MAX;
	/* One that counted itself and has not yet stored is no sample. */
	for (i = got = 0; i < n; i++) {
		copy[got] = __atomic_load_n(&late[i], __ATOMIC_ACQUIRE);
		got += !!copy[got];
	}
	n = got;
	if (!n)
		die("nobody woke in %llu ms", (unsigned long long)window / 1000000);
	qsort(copy, n, sizeof(copy[0]), compare);
	printf("median_us=%.1f p99_us=%.1f worst_us=%.1f sleeps=%.0f work=%.0f\n", copy[n / 2] / 1e3,
	       copy[n * 99ull / 100] / 1e3, copy[n - 1] / 1e3, n * 1e9 / t, w * 1e9 / t);
	fflush(stdout);
	_exit(0);
}

static int start(void *arg)
{
	unsigned int i;

	for (i = 0; i < nsleepers; i++)
		strand_go(sleeper, NULL);
	for (i = 0; i < nhogs; i++)
		strand_go(hog, &work[i]);
	for (;;)
		nap(3600 * NSEC);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t sampler;
	int i;

	if (argc < 3)
		die("usage: late threads|gk SLEEPERS [timer] [MS]");
	strand_mode(argv[1]);
	nsleepers = atoi(argv[2]);
	for (i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "timer"))
			timer = !on_threads;
		else
			window = atoi(argv[i]) * 1000000ULL;
	}
	nhogs = HOGS * ncpus();
	pthread_create(&sampler, NULL, sample, NULL);
	return strand_run(start, NULL);
}
