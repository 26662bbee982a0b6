/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bench.h - what the benchmarks share: clocks, work, and strands.
 *
 * A strand is a kernel thread or a gk task, as the first argument of the program says ("threads", "gk"), so that one
 * program is measured on both. A program prints one line: metric=value ...
 */
#ifndef GK_BENCH_H
#define GK_BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <gk.h>

#define NSEC		1000000000ULL
#define READ_ONCE(x)	(*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

#define die(fmt, ...) \
	do { \
		fprintf(stderr, "%s: " fmt "\n", program_invocation_short_name, ##__VA_ARGS__); \
		_exit(1); \
	} while (0)

/* A counter of one strand, alone on its cache line. */
struct counter {
	uint64_t n;
} __attribute__((aligned(128)));

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

static inline uint64_t now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static inline void nap(uint64_t ns)
{
	struct timespec t = { .tv_sec = ns / NSEC, .tv_nsec = ns % NSEC };

	nanosleep(&t, NULL);
}

static inline void count(struct counter *c)
{
	WRITE_ONCE(c->n, c->n + 1);
}

static inline uint64_t sum(struct counter *c, unsigned int n)
{
	uint64_t s = 0;

	while (n--)
		s += READ_ONCE(c[n].n);
	return s;
}

/* One unit of computing: some 500 instructions that depend on each other. */
static inline uint64_t unit(uint64_t x)
{
	unsigned int i;

	for (i = 0; i < 100; i++) {
		x ^= x << 13;
		x ^= x >> 7;
	}
	return x;
}

static inline unsigned int ncpus(void)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	return CPU_COUNT(&set);
}

/* ---- strands */

static bool on_threads;
static unsigned long strand_count;

static inline void strand_mode(const char *mode)
{
	on_threads = !strcmp(mode, "threads");
	if (!on_threads && strcmp(mode, "gk"))
		die("%s is neither threads nor gk", mode);
}

struct strand {
	void (*fn)(void *arg);
	void *arg;
};

static inline void *strand_thread(void *arg)
{
	struct strand s = *(struct strand *)arg;

	free(arg);
	s.fn(s.arg);
	return NULL;
}

static inline void strand_go(void (*fn)(void *arg), void *arg)
{
	struct strand *s;
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	strand_count++;
	if (!on_threads) {
		err = gk_go(fn, arg);
		if (err)
			die("gk_go: %s", strerror(-err));
		return;
	}
	s = malloc(sizeof(*s));
	s->fn = fn;
	s->arg = arg;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	err = pthread_create(&thread, &attr, strand_thread, s);
	if (err)
		die("pthread_create: %s", strerror(err));
	pthread_attr_destroy(&attr);
}

static inline int strand_run(int (*fn)(void *arg), void *arg)
{
	return on_threads ? fn(arg) : gk_run(fn, arg);
}

/* The most threads this process had, itself not counted. */
static inline unsigned long threads_peak(void)
{
	struct gk_stats s;

	if (on_threads || gk_stats(&s, sizeof(s)))
		return strand_count;
	return s.workers_peak;
}

#endif /* GK_BENCH_H */
