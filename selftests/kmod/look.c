// SPDX-License-Identifier: GPL-2.0-only
/*
 * look.c - what can be seen of a group from outside: fdinfo, debugfs, trace events through perf and BPF. All of it tells the
 * truth, and may be looked at while groups come and go.
 */
#include "test.h"
#include "tracefs.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define DEBUGFS	"/sys/kernel/debug/gk"

/* The whole of a file, for the caller to free; NULL if it cannot be read. */
static char *contents(const char *path)
{
	size_t len = 0, cap = 1 << 16;
	char *text = malloc(cap);
	int fd = open(path, O_RDONLY);
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, text + len, cap - len - 1)) > 0) {
		len += n;
		if (cap - len < 4096)
			text = realloc(text, cap *= 2);
	}
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

/* The number behind `name` at its first place after `from`, or -1. */
/* Counters are 64 bits that wrap: programs that spoil theirs may have been here before. */
static long number(const char *from, const char *name)
{
	const char *p = from ? strstr(from, name) : NULL;

	return p ? (long)strtoull(p + strlen(name), NULL, 10) : -1;
}

static long fdinfo(struct rig *r, const char *name)
{
	char path[64], key[64], *text;
	long n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", r->fd);
	snprintf(key, sizeof(key), "gk-%s:\t", name);
	text = contents(path);
	n = number(text, key);
	free(text);
	return n;
}

static char *group_file(struct rig *r)
{
	char path[64];

	snprintf(path, sizeof(path), DEBUGFS "/%ld", fdinfo(r, "group"));
	return contents(path);
}

static void held(struct rig_worker *w)
{
	rig_park(w, GK_PARK_HELD);
}

/* One worker in each state that lasts. */
struct zoo {
	struct rig r;
	struct rig_worker *hog, *ready, *standby, *held, *blocked;
};

static void ready(struct rig_worker *w)
{
	rig_wait_go(w);
	rig_park(w, GK_PARK_READY);
}

static bool zoo_open(struct zoo *z)
{
	if (rig_open(&z->r, &(struct rig_opt){ .bound = 1, .ncores = 2 }))
		return false;
	z->standby = rig_standby(&z->r, 1, NULL, NULL);
	z->held = rig_spawn(&z->r, 1, held, NULL);
	z->blocked = rig_spawn(&z->r, 1, rig_wait_go, NULL);
	z->ready = rig_spawn(&z->r, 0, ready, NULL);
	if (!z->standby || !z->held || !z->blocked || !z->ready || !rig_wait_state(z->ready, GK_W_BLOCKED))
		return false;
	z->hog = rig_spawn(&z->r, 0, rig_hog, NULL);
	if (!z->hog)
		return false;
	/* Over the bound: READY as it wakes. */
	rig_go(z->ready);
	return rig_wait_state(z->ready, GK_W_READY) && rig_wait_state(z->held, GK_W_HELD) &&
	       rig_wait_state(z->blocked, GK_W_BLOCKED) && rig_wait_state(z->hog, GK_W_RUNNING) &&
	       RIG_WAIT(rig_parked(z->ready, GK_W_READY)) && RIG_WAIT(rig_parked(z->standby, GK_W_STANDBY));
}

TEST(fdinfo_counts_workers_and_what_they_did)
{
	static struct zoo z;
	struct rig none = { .fd = open(RIG_DEV, O_RDWR) };

	ASSERT_LE(0, none.fd);
	EXPECT_EQ(-1, fdinfo(&none, "group")) TH_LOG("before SETUP there is no group");
	close(none.fd);
	ASSERT_TRUE(zoo_open(&z));
	EXPECT_LT(0, fdinfo(&z.r, "group"));
	EXPECT_EQ(2, fdinfo(&z.r, "cores"));
	EXPECT_EQ(5, fdinfo(&z.r, "workers"));
	EXPECT_EQ(1, fdinfo(&z.r, "running"));
	EXPECT_EQ(1, fdinfo(&z.r, "blocked"));
	EXPECT_EQ(1, fdinfo(&z.r, "ready"));
	EXPECT_EQ(1, fdinfo(&z.r, "standby"));
	EXPECT_EQ(1, fdinfo(&z.r, "held"));
	EXPECT_EQ(0, fdinfo(&z.r, "stopped"));
	EXPECT_EQ(rig_core(&z.r, 0)->blocks + rig_core(&z.r, 1)->blocks, fdinfo(&z.r, "blocks"));
	EXPECT_EQ(1, fdinfo(&z.r, "parks_bound"));
	EXPECT_EQ(1, fdinfo(&z.r, "parks_held"));
	EXPECT_EQ(0, fdinfo(&z.r, "pulled"));
	rig_close(&z.r);
}

static void expect_worker(struct __test_metadata *_metadata, const char *text, struct rig_worker *w, const char *state,
			  const char *flags)
{
	char line[128];
	const char *p;

	snprintf(line, sizeof(line), "worker=%d tid=%d core=%u state=%s seq=%llu flags", w->id, w->tid, w->core, state,
		 (unsigned long long)rig_wp(w)->seq);
	p = strstr(text, line);
	EXPECT_NE(NULL, p) TH_LOG("no \"%s\" in\n%s", line, text);
	if (p) {
		EXPECT_EQ(0, strncmp(p + strlen(line), flags, strlen(flags))) TH_LOG("not \"%s\" in\n%s", flags, text);
	}
}

TEST(debugfs_shows_cores_and_workers)
{
	static struct zoo z;
	char *text, line[128];
	long id;

	if (access(DEBUGFS, R_OK))
		SKIP(return, "no debugfs");
	ASSERT_TRUE(zoo_open(&z));
	id = fdinfo(&z.r, "group");
	text = group_file(&z.r);
	ASSERT_NE(NULL, text);
	snprintf(line, sizeof(line), "group=%ld pid=%d cores=2 workers=5 max_workers=%d entered=5 ", id, getpid(), RIG_WORKERS);
	EXPECT_EQ(text, strstr(text, line)) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, " bound=1 net_seq=0 stopping=0 closed=0 dead=0 broken=0\n")) TH_LOG("%s", text);
	snprintf(line, sizeof(line), "core=0 cpu=%u running=1 ready=1 urgent=1 standby=0 stalled_by=-1 armed_ns=", z.r.cpu[0]);
	EXPECT_NE(NULL, strstr(text, line)) TH_LOG("%s", text);
	/* A turn has to end there. */
	EXPECT_EQ(1, number(strstr(text, line), " turn="));
	snprintf(line, sizeof(line), "core=1 cpu=%u running=0 ready=0 urgent=0 standby=1 stalled_by=-1 armed_ns=- turn=0", z.r.cpu[1]);
	EXPECT_NE(NULL, strstr(text, line)) TH_LOG("%s", text);
	EXPECT_EQ(rig_core(&z.r, 1)->blocks, number(strstr(text, "core=1"), " blocks="));
	EXPECT_EQ(1, number(strstr(text, "core=1"), " parks_held="));
	expect_worker(_metadata, text, z.hog, "running", "=-\n");
	expect_worker(_metadata, text, z.ready, "ready", "=parked,urgent\n");
	expect_worker(_metadata, text, z.standby, "standby", "=parked\n");
	expect_worker(_metadata, text, z.held, "held", "=parked\n");
	expect_worker(_metadata, text, z.blocked, "blocked", "=-\n");
	free(text);
	rig_close(&z.r);
	/* The file goes with the group, and what it had counted stays. */
	snprintf(line, sizeof(line), DEBUGFS "/%ld", id);
	EXPECT_TRUE(RIG_WAIT(access(line, F_OK)));
}

TEST(stats_are_of_all_groups_since_the_beginning)
{
	long groups, ever, entered, blocks;
	static struct zoo z;
	char *text;

	text = contents(DEBUGFS "/stats");
	if (!text)
		SKIP(return, "no debugfs");
	groups = number(text, "groups ");
	ever = number(text, "groups_ever ");
	entered = number(text, "workers_ever ");
	blocks = number(text, "\nblocks ");
	free(text);
	ASSERT_TRUE(zoo_open(&z));
	text = contents(DEBUGFS "/stats");
	ASSERT_NE(NULL, text);
	EXPECT_EQ(groups + 1, number(text, "groups "));
	EXPECT_EQ(ever + 1, number(text, "groups_ever "));
	EXPECT_LE(5, number(text, "workers "));
	EXPECT_EQ(entered + 5, number(text, "workers_ever "));
	free(text);
	rig_close(&z.r);
	EXPECT_TRUE(RIG_WAIT(({
		text = contents(DEBUGFS "/stats");
		long now = number(text, "groups ");

		free(text);
		now == groups;
	})));
	text = contents(DEBUGFS "/stats");
	EXPECT_EQ(ever + 1, number(text, "groups_ever "));
	EXPECT_EQ(entered + 5, number(text, "workers_ever "));
	EXPECT_LT(0, (long)(number(text, "\nblocks ") - (unsigned long)blocks)) TH_LOG("counters of a group that is gone are kept");
	free(text);
}

/* ---- while groups die */

static atomic_int over;
static atomic_ulong files_read, lines_read;

static void *look_at_all(void *arg)
{
	char path[300], *text, *p;
	struct dirent *e;
	DIR *d;

	while (!atomic_load(&over)) {
		d = opendir(DEBUGFS);
		while (d && (e = readdir(d))) {
			if (e->d_name[0] == '.' || !strcmp(e->d_name, "plant"))
				continue;
			snprintf(path, sizeof(path), DEBUGFS "/%s", e->d_name);
			text = contents(path);
			if (!text)
				continue;	/* gone */
			atomic_fetch_add(&files_read, 1);
			for (p = text; (p = strstr(p, "worker=")); p++)
				atomic_fetch_add(&lines_read, 1);
			free(text);
		}
		if (d)
			closedir(d);
		rig_nap();
	}
	return NULL;
}

/* Killed in the middle of it, or leaving as it should. */
static void one_group(bool tidy)
{
	struct rig r;
	int i;

	if (rig_open(&r, &(struct rig_opt){ .bound = 1, .slice = MSEC, .grain = 100 * USEC }))
		_exit(1);
	for (i = 0; i < 4; i++)
		if (!rig_spawn(&r, 0, rig_consumer, NULL))
			_exit(1);
	for (i = 0; i < 50; i++)
		rig_push(&r, 0);
	if (!tidy)
		kill(getpid(), SIGKILL);
	rig_close(&r);
	_exit(0);
}

TEST(groups_may_be_looked_at_while_they_die)
{
	unsigned long n = rig_count(40);
	unsigned int i;
	pthread_t t[2];
	int status;
	pid_t pid;

	if (access(DEBUGFS, R_OK))
		SKIP(return, "no debugfs");
	for (i = 0; i < ARRAY_LEN(t); i++) {
		ASSERT_EQ(0, pthread_create(&t[i], NULL, look_at_all, NULL));
	}
	for (i = 0; i < (n < 400 ? n : 400); i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			one_group(i & 1);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(i & 1 ? WIFEXITED(status) && !WEXITSTATUS(status) : WIFSIGNALED(status));
	}
	atomic_store(&over, 1);
	for (i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	EXPECT_LT(0, atomic_load(&files_read));
	TH_LOG("%lu files, %lu lines of workers", atomic_load(&files_read), atomic_load(&lines_read));
}

/* ---- perf and BPF: on every CPU, since the scheduler has put a thread's own events away before the notifiers run */

static long event_id(const char *name)
{
	char path[128], *text;
	long id;

	snprintf(path, sizeof(path), "/sys/kernel/tracing/events/gk/%s/id", name);
	text = contents(path);
	id = text ? atol(text) : -1;
	free(text);
	return id;
}

static int perf_open(long id, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = id,
	};

	return syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static void blocks_often(struct rig_worker *w)
{
	struct timespec t = { 0, 1000 };
	int i;

	rig_wait_go(w);
	for (i = 0; i < 200; i++)
		nanosleep(&t, NULL);
	atomic_store(&w->aux, 1);
	rig_wait_go(w);
}

TEST(perf_counts_what_the_page_counts)
{
	uint64_t events, sum = 0, blocks;
	struct rig_worker *w;
	int fd[TRACEFS_CPUS];
	struct rig r;
	unsigned int i, n = rig_ncpus();
	long id = event_id("gk_block");

	if (id < 0)
		SKIP(return, "no trace events gk:*");
	fd[0] = perf_open(id, rig_nth_cpu(0));
	if (fd[0] < 0)
		SKIP(return, "no perf events here");
	for (i = 1; i < n; i++) {
		fd[i] = perf_open(id, rig_nth_cpu(i));
		ASSERT_LE(0, fd[i]);
	}
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	w = rig_spawn(&r, 0, blocks_often, NULL);
	ASSERT_NE(NULL, w);
	rig_go(w);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&w->aux)));
	ASSERT_STATE(w, GK_W_BLOCKED);
	blocks = rig_wp(w)->blocks;
	EXPECT_NE(0, blocks);
	for (i = 0; i < n; i++) {
		ASSERT_EQ(sizeof(events), read(fd[i], &events, sizeof(events)));
		sum += events;
		close(fd[i]);
	}
	EXPECT_EQ(blocks, sum);
	rig_close(&r);
}

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

#define INSN(_code, _dst, _src, _off, _imm) \
	((struct bpf_insn){ .code = (_code), .dst_reg = (_dst), .src_reg = (_src), .off = (_off), .imm = (_imm) })

/* Counts in map[0] the events whose u32 at `offset` is `value`. */
static int bpf_counter(int map, int offset, int value)
{
	struct bpf_insn prog[] = {
		INSN(BPF_LDX | BPF_MEM | BPF_W, 6, 1, offset, 0),
		INSN(BPF_JMP | BPF_JNE | BPF_K, 6, 0, 9, value),
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
		INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 1),
		INSN(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_TRACEPOINT, .insns = (uintptr_t)prog, .insn_cnt = ARRAY_LEN(prog),
		.license = (uintptr_t)"GPL",
	};

	return bpf(BPF_PROG_LOAD, &attr);
}

/* As bpftrace does: 'tracepoint:gk:gk_state /args->to == 2/ { @ = count() }'. Fields are where the format file has them. */
TEST(bpf_reads_the_fields)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1 };
	int map, prog, fd[TRACEFS_CPUS], n = rig_ncpus(), i;
	long id = event_id("gk_state");
	uint64_t count = 0, blocks;
	struct rig_worker *w;
	uint32_t key = 0;
	char *format;
	struct rig r;

	if (id < 0)
		SKIP(return, "no trace events gk:*");
	map = bpf(BPF_MAP_CREATE, &attr);
	if (map < 0)
		SKIP(return, "no BPF here");
	format = contents("/sys/kernel/tracing/events/gk/gk_state/format");
	ASSERT_NE(NULL, format);
	prog = bpf_counter(map, number(strstr(format, "u32 to;"), "offset:"), GK_W_BLOCKED);
	free(format);
	ASSERT_LE(0, prog) TH_LOG("%s", strerror(errno));
	for (i = 0; i < n; i++) {
		fd[i] = perf_open(id, rig_nth_cpu(i));
		if (fd[i] < 0)
			SKIP(return, "no perf events here");
		if (ioctl(fd[i], PERF_EVENT_IOC_SET_BPF, prog)) {
			/* One program does for the event, on whatever CPU. */
			ASSERT_EQ(EEXIST, errno);
		}
		ASSERT_EQ(0, ioctl(fd[i], PERF_EVENT_IOC_ENABLE, 0));
	}
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	w = rig_spawn(&r, 0, blocks_often, NULL);
	ASSERT_NE(NULL, w);
	rig_go(w);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&w->aux)));
	ASSERT_STATE(w, GK_W_BLOCKED);
	blocks = rig_wp(w)->blocks;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&count;
	ASSERT_EQ(0, bpf(BPF_MAP_LOOKUP_ELEM, &attr));
	EXPECT_EQ(blocks, count);
	for (i = 0; i < n; i++)
		close(fd[i]);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
