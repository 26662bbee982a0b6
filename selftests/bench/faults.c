// SPDX-License-Identifier: GPL-2.0-only
/*
 * faults.c - strands that touch cold pages of a mapped file, in random order, each page once.
 *
 *   faults threads|gk STRANDS FILE [FAULTS]
 *
 * Prints major faults a second, and how many of the touches were major faults at all.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "bench.h"

#define PAGE	4096UL

static unsigned int nstrands;
static unsigned long npages, nfaults = 16384, left;
static unsigned char *map;
static struct counter seen[1024];
static uint64_t began, ended;

static unsigned long majors(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_majflt;
}

static void touch(void *arg)
{
	unsigned long first = (struct counter *)arg - seen, i;

	/* The multiplier is odd and npages a power of two: a permutation. */
	for (i = first; i < nfaults; i += nstrands) {
		((struct counter *)arg)->n += READ_ONCE(map[(i * 2654435761UL + 12345) % npages * PAGE]);
		if (__atomic_sub_fetch(&left, 1, __ATOMIC_ACQ_REL) == 0)
			WRITE_ONCE(ended, now());
	}
}

static int start(void *arg)
{
	unsigned long before = majors();
	unsigned int i;
	uint64_t t;

	began = now();
	for (i = 0; i < nstrands; i++)
		strand_go(touch, &seen[i]);
	while (!READ_ONCE(ended))
		nap(2000000);
	t = ended - began;
	printf("faults=%.0f major=%.3f threads=%lu\n", nfaults * 1e9 / t, (double)(majors() - before) / nfaults,
	       threads_peak());
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct stat st;
	int fd;

	if (argc < 4)
		die("usage: faults threads|gk STRANDS FILE [FAULTS]");
	strand_mode(argv[1]);
	nstrands = atoi(argv[2]);
	fd = open(argv[3], O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		die("%s: %m", argv[3]);
	for (npages = 1; npages * 2 * PAGE <= (unsigned long)st.st_size;)
		npages *= 2;
	if (argc > 4)
		nfaults = atoi(argv[4]);
	if (nfaults > npages || !nstrands || nstrands > 1024)
		die("%lu faults in %lu pages by %u strands", nfaults, npages, nstrands);
	left = nfaults;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	map = mmap(NULL, npages * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap: %m");
	/* One page a fault: no read-ahead, no fault-around of what others brought in. */
	madvise(map, npages * PAGE, MADV_RANDOM);
	return strand_run(start, NULL);
}
