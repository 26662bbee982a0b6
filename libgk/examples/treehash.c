// SPDX-License-Identifier: MIT
/*
 * treehash.c - prints the SHA-256 of every file below a directory, one task a file; the output is sha256sum's.
 *
 * Beside these tasks one a core does other work, and never yields. What it got done is the last line on stderr.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <gk.h>

#include "filework.h"

static long at_once;		/* files, 0: all */
static gk_chan *slots;		/* holds one element for each file in work */
static gk_chan *results;
static gk_wg working;
static atomic_long units;
static atomic_bool over;

static void hash_task(void *arg)
{
	struct result r;

	hash_file(&r, arg);
	gk_chan_send(results, &r);
	if (slots)
		gk_chan_recv(slots, NULL);
	gk_wg_done(&working);
}

static void start_file(char *path)
{
	if (slots)
		gk_chan_send(slots, NULL);
	gk_wg_add(&working, 1);
	if (gk_go(hash_task, path) < 0) {
		fprintf(stderr, "treehash: no memory for one more task, try -j\n");
		exit(EXIT_FAILURE);
	}
}

static void print_task(void *arg)
{
	struct result r;

	while (gk_chan_recv(results, &r) == 1)
		print_result(&r);
}

static void compute_task(void *arg)
{
	while (!over) {
		unit();
		units++;
	}
}

static int app(void *arg)
{
	struct gk_stats stats;
	gk_task *printer;
	int i;

	results = gk_chan_new(sizeof(struct result), 64);
	if (at_once)
		slots = gk_chan_new(0, at_once);
	gk_spawn(&printer, &(struct gk_attr){ .name = "printer" }, print_task, NULL);
	for (i = 0; i < gk_cores(); i++)
		gk_go(compute_task, NULL);

	walk(arg, start_file);
	gk_wg_wait(&working);
	gk_chan_close(results);
	gk_join(printer);
	over = true;

	gk_stats(&stats, sizeof(stats));
	fprintf(stderr, "\r%s: %ld files, %lu tasks on at most %lu threads, which blocked %lu times\n",
		gk_backend(), hashed, stats.started, stats.workers_peak, stats.blocks);
	fprintf(stderr, "units %ld\n", units);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "j:")) != -1) {
		at_once = c == 'j' ? atol(optarg) : 0;
		if (at_once <= 0)
			argc = 0;
	}
	if (optind != argc - 1) {
		fprintf(stderr, "usage: treehash [-j FILES_AT_ONCE] DIR\n");
		return 2;
	}
	return gk_run(app, argv[optind]);
}
