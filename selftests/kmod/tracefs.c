// SPDX-License-Identifier: GPL-2.0-only
/*
 * tracefs.c - see tracefs.h.
 *
 * The layout of a page is the ring buffer's own ABI (Documentation/trace/ring-buffer-map.rst and
 * include/linux/ring_buffer.h); that of an event is in its format file.
 */
#include "tracefs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRACING		"/sys/kernel/tracing/"
#define PAGE		4096
#define COMMIT_MASK	((1U << 27) - 1)
#define MISSED		(1U << 31)
#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

const char *const trace_names[TRACE_KINDS] = {
	[TRACE_LOST] = "lost", [TRACE_STATE] = "gk_state", [TRACE_ENTER] = "gk_enter", [TRACE_EXIT] = "gk_exit",
	[TRACE_BLOCK] = "gk_block", [TRACE_UNBLOCK] = "gk_unblock", [TRACE_PARK] = "gk_park",
	[TRACE_GRANT] = "gk_grant", [TRACE_HANDOFF] = "gk_handoff", [TRACE_PREEMPT] = "gk_preempt",
	[TRACE_SIGNAL] = "gk_signal", [TRACE_STRAY] = "gk_stray", [TRACE_UNHOLD] = "gk_unhold",
	[TRACE_MOVE] = "gk_move", [TRACE_PULL] = "gk_pull", [TRACE_SPARE] = "gk_spare", [TRACE_IDLE] = "gk_idle",
	[TRACE_DEFER] = "gk_defer", [TRACE_TICK] = "gk_tick", [TRACE_REMOTE] = "gk_remote",
	[TRACE_REHOME] = "gk_rehome", [TRACE_STOP] = "gk_stop", [TRACE_WAKE] = "gk_wake",
};

/* Fields of all events, and where struct trace_event has them. */
static const struct {
	const char *name;
	size_t offset, size;
} fields[] = {
#define FIELD(_name, _member) { _name, offsetof(struct trace_event, _member), sizeof(((struct trace_event *)0)->_member) }
	FIELD("common_pid", current), FIELD("group", group), FIELD("core", core), FIELD("worker", worker),
	FIELD("pid", pid), FIELD("state", state), FIELD("from", state), FIELD("why", why), FIELD("to", why),
	FIELD("granted", why), FIELD("seq", seq), FIELD("running", running), FIELD("ready", ready),
	FIELD("standby", standby),
};

struct format {
	int id;
	struct {
		unsigned int offset, size;	/* size 0: the event has no such field */
	} field[ARRAY_LEN(fields)];
};

bool tracefs_there(void)
{
	return !access(TRACING "events/gk/gk_state/format", R_OK) && !access(TRACING "instances", W_OK);
}

static int put(struct tracefs *t, const char *file, const char *text)
{
	char path[256];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s", t->dir, file);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err = -errno;
	close(fd);
	return err;
}

/*
 * An instance has the options of the whole at the moment that it is made. Names of threads would be learnt from the scheduler's own
 * events: turning those on and off patches code that all CPUs are in, which QEMU does not bear. Ours are only turned on and off
 * while there is no worker to come by.
 */
static int make_instance(const char *dir)
{
	static const char option[] = TRACING "options/record-cmd";
	char was = '1';
	int err = 0, fd;

	fd = open(option, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (read(fd, &was, 1) != 1 || pwrite(fd, "0", 1, 0) != 1 || mkdir(dir, 0700) || pwrite(fd, &was, 1, 0) != 1)
		err = -errno;
	close(fd);
	return err;
}

int tracefs_open(struct tracefs *t, unsigned int kib)
{
	static unsigned int nth;
	char path[256];
	int err, fd;

	memset(t, 0, sizeof(*t));
	snprintf(t->dir, sizeof(t->dir), TRACING "instances/gk-%d-%u", (int)getpid(), nth++);
	err = make_instance(t->dir);
	if (err)
		return err;
	snprintf(path, sizeof(path), "%u", kib);
	err = put(t, "trace_clock", "counter") ?: put(t, "buffer_size_kb", path);
	while (!err && t->ncpus < TRACEFS_CPUS) {
		snprintf(path, sizeof(path), "%s/per_cpu/cpu%u/trace_pipe_raw", t->dir, t->ncpus);
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			break;
		t->fd[t->ncpus++] = fd;
	}
	if (!err && t->ncpus)
		return 0;
	err = err ?: -errno;
	tracefs_close(t);
	return err;
}

void tracefs_close(struct tracefs *t)
{
	unsigned int i;

	for (i = 0; i < t->ncpus; i++) {
		close(t->fd[i]);
		free(t->raw[i]);
	}
	tracefs_enable(t, false);
	rmdir(t->dir);
}

int tracefs_enable(struct tracefs *t, bool on)
{
	return put(t, "events/gk/enable", on ? "1" : "0");
}

/* Reads what @cpu has now; how many pages, or a negative errno. */
static int drain(struct tracefs *t, unsigned int cpu)
{
	ssize_t n;
	int pages;

	for (pages = 0;; pages++) {
		if (t->len[cpu] + PAGE > t->cap[cpu]) {
			size_t cap = t->cap[cpu] ? 2 * t->cap[cpu] : 256 * PAGE;
			unsigned char *raw = realloc(t->raw[cpu], cap);

			if (!raw)
				return -ENOMEM;
			t->raw[cpu] = raw;
			t->cap[cpu] = cap;
		}
		n = read(t->fd[cpu], t->raw[cpu] + t->len[cpu], PAGE);
		if (n < 0 && errno == EINTR)
			continue;
		if (!n || (n < 0 && errno == EAGAIN))
			return pages;
		if (n < 0)
			return -errno;
		memset(t->raw[cpu] + t->len[cpu] + n, 0, PAGE - n);
		t->len[cpu] += PAGE;
	}
}

static int drain_all(struct tracefs *t)
{
	int pages, sum = 0;
	unsigned int i;

	for (i = 0; i < t->ncpus; i++) {
		pages = drain(t, i);
		if (pages < 0)
			return pages;
		sum += pages;
	}
	return sum;
}

static void *reader(void *arg)
{
	struct timespec nap = { 0, 2000000 };
	struct tracefs *t = arg;
	int n;

	while (!atomic_load(&t->stop)) {
		n = drain_all(t);
		if (n < 0) {
			atomic_store(&t->err, -n);
			break;
		}
		nanosleep(&nap, NULL);
	}
	return NULL;
}

int tracefs_start(struct tracefs *t)
{
	int err = pthread_create(&t->reader, NULL, reader, t);

	t->reading = !err;
	return -err;
}

static int read_formats(struct format *formats)
{
	unsigned int kind, f, offset, size;
	char path[128], line[512], *p;
	FILE *file;

	for (kind = TRACE_STATE; kind < TRACE_KINDS; kind++) {
		struct format *fmt = &formats[kind];

		memset(fmt, 0, sizeof(*fmt));
		snprintf(path, sizeof(path), TRACING "events/gk/%s/format", trace_names[kind]);
		file = fopen(path, "re");
		if (!file)
			return -errno;
		while (fgets(line, sizeof(line), file)) {
			sscanf(line, "ID: %d", &fmt->id);
			p = strchr(line, ';');
			if (!strstr(line, "field:") || !p || sscanf(p, "; offset:%u; size:%u", &offset, &size) != 2)
				continue;
			*p = '\0';
			p = strrchr(line, ' ') + 1;
			for (f = 0; f < ARRAY_LEN(fields); f++) {
				if (strcmp(p, fields[f].name) || size > fields[f].size)
					continue;
				fmt->field[f].offset = offset;
				fmt->field[f].size = size;
			}
		}
		fclose(file);
	}
	return 0;
}

struct stream {
	struct trace_event *e;
	size_t n, cap, next;
};

static struct trace_event *more(struct stream *s)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 4096;
		struct trace_event *e = realloc(s->e, cap * sizeof(*e));

		if (!e)
			return NULL;
		s->e = e;
		s->cap = cap;
	}
	memset(&s->e[s->n], 0, sizeof(s->e[0]));
	return &s->e[s->n++];
}

static int decode(struct stream *s, const struct format *formats, const unsigned char *data, size_t size, uint64_t at,
		  unsigned int cpu)
{
	struct trace_event *e;
	unsigned int kind, f;
	uint16_t id;

	memcpy(&id, data, sizeof(id));
	for (kind = TRACE_STATE; kind < TRACE_KINDS && formats[kind].id != id; kind++)
		;
	if (kind == TRACE_KINDS)
		return -EPROTO;
	e = more(s);
	if (!e)
		return -ENOMEM;
	e->kind = kind;
	e->at = at;
	e->cpu = cpu;
	for (f = 0; f < ARRAY_LEN(fields); f++) {
		if (formats[kind].field[f].offset + formats[kind].field[f].size > size)
			return -EPROTO;
		memcpy((char *)e + fields[f].offset, data + formats[kind].field[f].offset, formats[kind].field[f].size);
	}
	return 0;
}

static int decode_page(struct stream *s, const struct format *formats, const unsigned char *page, unsigned int cpu)
{
	const unsigned char *p = page + 16, *end;
	uint32_t commit, head, len, word;
	uint64_t at;
	int err;

	memcpy(&at, page, sizeof(at));
	memcpy(&commit, page + 8, sizeof(commit));
	end = p + (commit & COMMIT_MASK);
	if (end > page + PAGE)
		return -EPROTO;
	if (commit & MISSED) {
		uint64_t from = s->n ? s->e[s->n - 1].at : 0;
		struct trace_event *e = more(s);

		if (!e)
			return -ENOMEM;
		*e = (struct trace_event){ .kind = TRACE_LOST, .cpu = cpu, .at = from, .until = at };
	}
	while (p + 4 <= end) {
		memcpy(&head, p, sizeof(head));
		p += 4;
		memcpy(&word, p, sizeof(word));
		switch (head & 31) {
		case 29:	/* nothing until the page's end, or an event that was taken back */
			if (!(head >> 5))
				return 0;
			at += head >> 5;
			p += word;
			continue;
		case 30:	/* a long time */
			at += (head >> 5) + ((uint64_t)word << 27);
			p += 4;
			continue;
		case 31:	/* the time as such */
			at = (at & ~((1ULL << 59) - 1)) | (head >> 5) | (uint64_t)word << 27;
			p += 4;
			continue;
		case 0:
			p += 4;
			len = word - 4;
			break;
		default:
			len = (head & 31) * 4;
		}
		at += head >> 5;
		if (p + len > end)
			return -EPROTO;
		err = decode(s, formats, p, len, at, cpu);
		if (err)
			return err;
		p += len;
	}
	return 0;
}

int tracefs_collect(struct tracefs *t, struct trace_event **events, size_t *n)
{
	struct stream stream[TRACEFS_CPUS] = {}, all = {};
	struct format formats[TRACE_KINDS] = {};
	unsigned int i, first;
	int err, pages;
	size_t off;

	if (t->reading) {
		atomic_store(&t->stop, 1);
		pthread_join(t->reader, NULL);
		t->reading = false;
	}
	err = -atomic_load(&t->err);
	pages = drain_all(t);
	err = err ?: (pages < 0 ? pages : read_formats(formats));
	for (i = 0; i < t->ncpus; i++)
		for (off = 0; !err && off < t->len[i]; off += PAGE)
			err = decode_page(&stream[i], formats, t->raw[i] + off, i);
	while (!err) {
		struct trace_event *e;

		first = TRACEFS_CPUS;
		for (i = 0; i < t->ncpus; i++)
			if (stream[i].next < stream[i].n &&
			    (first == TRACEFS_CPUS || stream[i].e[stream[i].next].at < stream[first].e[stream[first].next].at))
				first = i;
		if (first == TRACEFS_CPUS)
			break;
		e = more(&all);
		if (!e)
			err = -ENOMEM;
		else
			*e = stream[first].e[stream[first].next++];
	}
	for (i = 0; i < t->ncpus; i++)
		free(stream[i].e);
	if (err) {
		free(all.e);
		return err;
	}
	*events = all.e;
	*n = all.n;
	return 0;
}

uint32_t tracefs_group(int fd)
{
	char path[64], line[128];
	uint32_t id = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		sscanf(line, "gk-group: %u", &id);
	fclose(f);
	return id;
}

void trace_print(char *buf, size_t size, const struct trace_event *e)
{
	snprintf(buf, size, "%llu [%u] %s current=%d core=%u worker=%u pid=%d %u %u seq=%llu running=%u ready=%u standby=%u",
		 (unsigned long long)e->at, e->cpu, trace_names[e->kind], (int)e->current, e->core, e->worker, (int)e->pid,
		 e->state, e->why, (unsigned long long)e->seq, e->running, e->ready, e->standby);
}
