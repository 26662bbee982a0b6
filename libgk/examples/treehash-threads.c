// SPDX-License-Identifier: MIT
/*
 * treehash-threads.c - treehash with threads, to compare: one a core that hash what a queue gives them, or one for each
 * file, so many at once. One thread a core that computes runs beside them here, too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "filework.h"

#define QUEUE 64	/* files that wait for one of the threads a core */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char *queue[QUEUE];
static unsigned int head, tail;
static long at_once;		/* files, each with its thread; 0: a thread a core */
static sem_t slots;
static long found;
static atomic_long units;
static atomic_bool over;

static void hash(char *path)
{
	struct result r;

	hash_file(&r, path);
	pthread_mutex_lock(&lock);
	print_result(&r);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void *file_thread(void *arg)
{
	hash(arg);
	sem_post(&slots);
	return NULL;
}

static void *queue_thread(void *arg)
{
	char *path;

	for (;;) {
		pthread_mutex_lock(&lock);
		while (head == tail)
			pthread_cond_wait(&changed, &lock);
		path = queue[head++ % QUEUE];
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
		hash(path);
	}
	return NULL;
}

static void *compute_thread(void *arg)
{
	while (!over) {
		unit();
		units++;
	}
	return NULL;
}

static void start(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, fn, arg);

	if (err) {
		fprintf(stderr, "pthread_create: %s\n", strerror(err));
		exit(EXIT_FAILURE);
	}
	pthread_detach(thread);
}

static void start_file(char *path)
{
	found++;
	if (at_once) {
		sem_wait(&slots);
		start(file_thread, path);
		return;
	}
	pthread_mutex_lock(&lock);
	while (tail - head == QUEUE)
		pthread_cond_wait(&changed, &lock);
	queue[tail++ % QUEUE] = path;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;
	int i, c;

	while ((c = getopt(argc, argv, "j:")) != -1) {
		at_once = c == 'j' ? atol(optarg) : 0;
		if (at_once <= 0)
			argc = 0;
	}
	if (optind != argc - 1) {
		fprintf(stderr, "usage: treehash-threads [-j FILES_AT_ONCE] DIR\n");
		return 2;
	}
	sem_init(&slots, 0, at_once);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	for (i = 0; i < CPU_COUNT(&cpus); i++) {
		start(compute_thread, NULL);
		if (!at_once)
			start(queue_thread, NULL);
	}

	walk(argv[optind], start_file);
	pthread_mutex_lock(&lock);
	while (hashed + failed < found)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	over = true;

	fprintf(stderr, "\rthreads: %ld files\n", hashed);
	fprintf(stderr, "units %ld\n", units);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
