// SPDX-License-Identifier: MIT
/*
 * measure.c - runs treehash or treehash-threads, and says what it took: one row of the table of run-treehash.
 *
 * measure FILES OUTPUT PROGRAM ARG...: FILES is how many it has to hash, OUTPUT gets its stdout. What it writes to
 * stderr goes to ours, the row to stdout.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_MS 10	/* between two looks at the number of threads */

static void die(const char *what)
{
	perror(what);
	exit(125);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Time that all CPUs together had, and how much of it they were idle, in ticks. */
static void cpu_times(double *all, double *idle)
{
	double t[8] = {};
	FILE *f = fopen("/proc/stat", "re");
	int i;

	if (!f || fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf",
			 t, t + 1, t + 2, t + 3, t + 4, t + 5, t + 6, t + 7) != 8)
		die("/proc/stat");
	fclose(f);
	*all = 0;
	for (i = 0; i < 8; i++)
		*all += t[i];
	*idle = t[3] + t[4];	/* idle, and idle with a disk request under way */
}

static double disk_mib(void)
{
	FILE *f = fopen("/sys/block/vda/stat", "re");
	double sectors = 0;

	if (f) {
		if (fscanf(f, "%*f %*f %lf", &sectors) != 1)
			sectors = 0;
		fclose(f);
	}
	return sectors / 2048;
}

static long threads(int status_fd)
{
	char buf[4096], *p;
	ssize_t n = pread(status_fd, buf, sizeof(buf) - 1, 0);

	if (n <= 0)
		return 0;
	buf[n] = 0;
	p = strstr(buf, "\nThreads:");
	return p ? atol(p + 9) : 0;
}

int main(int argc, char **argv)
{
	double start, end, all[2], idle[2], disk[2];
	char path[64], buf[4096], last[8192] = "", *p;
	long most = 0, units = -1, n;
	int pipes[2], out, status, fd;
	struct rusage usage;
	struct pollfd pfd;
	pid_t pid;

	if (argc < 4)
		return 2;
	out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (out < 0 || pipe2(pipes, O_CLOEXEC) < 0)
		die(argv[2]);
	disk[0] = disk_mib();
	cpu_times(&all[0], &idle[0]);
	start = now();
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		dup2(out, STDOUT_FILENO);
		dup2(pipes[1], STDERR_FILENO);
		execv(argv[3], argv + 3);
		die(argv[3]);
	}
	close(pipes[1]);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	pfd = (struct pollfd){ .fd = pipes[0], .events = POLLIN };
	for (;;) {
		n = threads(fd);
		if (n > most)
			most = n;
		if (poll(&pfd, 1, SAMPLE_MS) != 1)
			continue;
		n = read(pipes[0], buf, sizeof(buf));
		if (n <= 0)
			break;
		if (write(STDERR_FILENO, buf, n) < 0)
			die("stderr");
		/* The end of what it wrote is enough to find its last line. */
		if (strlen(last) + n >= sizeof(last))
			last[0] = 0;
		strncat(last, buf, n);
	}
	if (wait4(pid, &status, 0, &usage) < 0)
		die("wait4");
	end = now();
	cpu_times(&all[1], &idle[1]);
	disk[1] = disk_mib();
	p = strstr(last, "units ");
	if (p)
		units = atol(p + 6);
	if (!WIFEXITED(status) || WEXITSTATUS(status) || units < 0) {
		fprintf(stderr, "measure: %s ended with status 0x%x\n", argv[3], status);
		return 1;
	}
	printf("%9.1f %9.0f %9.0f %9ld %9.1f %9.1f %9.0f\n",
	       end - start, atol(argv[1]) / (end - start), units / (end - start), most,
	       usage.ru_maxrss / 1024.0, 100 * (idle[1] - idle[0]) / (all[1] - all[0]), disk[1] - disk[0]);
	return 0;
}
