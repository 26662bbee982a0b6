/* SPDX-License-Identifier: MIT */
/*
 * filework.h - the work that treehash and treehash-threads have in common: plain C that blocks where it has to and
 * knows nothing about who calls it.
 */
#ifndef FILEWORK_H
#define FILEWORK_H

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/types.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <sha2.h>

#define SMALL 4096	/* bytes up to which a file is read; larger ones are mapped */

struct result {
	char *path;
	char hash[SHA256_DIGEST_STRING_LENGTH];
	int err;
};

/* Puts path's SHA-256 into r. r->path belongs to the caller. */
static void hash_file(struct result *r, char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buf[SMALL], *map = buf;
	ssize_t n = -1;
	struct stat st;
	SHA2_CTX sha;

	r->path = path;
	r->err = 0;
	SHA256Init(&sha);
	if (fd < 0 || fstat(fd, &st) < 0)
		goto out;
	if (st.st_size <= SMALL) {
		while ((n = read(fd, buf, SMALL)) > 0)
			SHA256Update(&sha, (uint8_t *)buf, n);
	} else {
		map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED)
			goto out;
		SHA256Update(&sha, (uint8_t *)map, st.st_size);
		n = munmap(map, st.st_size);
	}
out:
	if (n < 0)
		r->err = errno;
	if (fd >= 0)
		close(fd);
	SHA256End(&sha, r->hash);
}

static long hashed, failed;

/* A line as sha256sum prints it, and now and then how far it has come. By one at a time. Frees r->path. */
static void print_result(struct result *r)
{
	static time_t last;
	time_t now = time(NULL);

	if (r->err) {
		fprintf(stderr, "%s: %s\n", r->path, strerror(r->err));
		failed++;
	} else {
		printf("%s  %s\n", r->hash, r->path);
		hashed++;
	}
	if (now != last)
		fprintf(stderr, "\r%ld files", hashed);
	last = now;
	free(r->path);
}

/* Calls found() for each regular file below dir, with a path that found() is to free. */
static void walk(const char *dir, void (*found)(char *path))
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char *path;

	if (!d) {
		perror(dir);
		exit(EXIT_FAILURE);
	}
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (asprintf(&path, "%s/%s", dir, e->d_name) < 0)
			abort();
		if (e->d_type == DT_REG) {
			found(path);
			continue;
		}
		if (e->d_type == DT_DIR)
			walk(path, found);
		free(path);
	}
	closedir(d);
}

static volatile uint64_t unit_sink;

/* The other work: some 100,000 instructions. */
static void unit(void)
{
	uint64_t x = 88172645463325252;
	int i;

	for (i = 0; i < 15000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	unit_sink = x;
}

#endif /* FILEWORK_H */
