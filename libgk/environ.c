// SPDX-License-Identifier: MIT
/* environ.c - what the environment and the cgroup say: texts of others, of which nothing is taken for granted. */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static bool read_file(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return false;
	n = fread(buf, 1, size - 1, f);
	fclose(f);
	buf[n] = 0;
	return n > 0;
}

/* The CPUs' worth of time that the cgroup and its parents allow, rounded up; 0: no limit. cgroup v2 only. */
int cgroup_cpus(void)
{
	char line[4096], path[4200], max[64], *p;
	long quota, period, n;
	int least = 0;

	if (!read_file("/proc/self/cgroup", line, sizeof(line)))
		return 0;
	p = strstr(line, "0::/");
	if (!p)
		return 0;
	p += 3;
	p[strcspn(p, "\n")] = 0;
	for (;;) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", p);
		if (read_file(path, max, sizeof(max)) && sscanf(max, "%ld %ld", &quota, &period) == 2 && period > 0) {
			n = quota / period + (quota % period > 0);
			if (n > 0 && (!least || n < least))
				least = n < INT_MAX ? n : INT_MAX;
		}
		if (!strrchr(p, '/') || !*p)
			return least;
		*strrchr(p, '/') = 0;
	}
}

/* A number from the environment, or @otherwise. */
int env_number(const char *name, unsigned long min, unsigned long max, unsigned long otherwise, unsigned long *out)
{
	const char *s = getenv(name);
	char *end;

	*out = otherwise;
	if (!s || !*s)
		return 0;
	errno = 0;
	*out = strtoul(s, &end, 10);
	if (errno || *end || *s < '0' || *s > '9' || *out < min || *out > max) {
		say("%s=%s is not a number from %lu to %lu", name, s, min, max);
		return -EINVAL;
	}
	return 0;
}
