// SPDX-License-Identifier: GPL-2.0-only
/*
 * moments-sched.c - where, when and under whose eyes the kernel runs a worker: affinity, cpusets, CPUs that go away,
 * priorities, quotas, a machine that sleeps, tracers of the kernel; in every state of a worker (scene.h).
 *
 * Contract 7; rule 15.
 */
#include "moment.h"
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define ROUNDS	4

/* --- where --- */

static const char *second_cpu(void)
{
	return rig_ncpus() < 2 ? SCENE_SKIP "one CPU" : NULL;
}

static const char *move(struct scene *sc)
{
	const char *why = second_cpu();
	cpu_set_t set;
	int i;

	/* Ends at home; there is no telling how far it came in between. */
	for (i = 0; i < 10 * ROUNDS && !why; i++) {
		CPU_ZERO(&set);
		CPU_SET(i % 2 ? sc->cpu : rig_nth_cpu(0), &set);
		if (sched_setaffinity(sc->victim_tid, sizeof(set), &set))
			why = "no affinity";
	}
	return why;
}

MOMENT(setaffinity, .inside = move)

/* Where it is away for a while, work of its core is done by others. */
static const char *stray(struct scene *sc)
{
	const char *why = second_cpu();
	int i;

	for (i = 0; i < ROUNDS && !why; i++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(rig_nth_cpu(0), &set);
		if (sched_setaffinity(sc->victim_tid, sizeof(set), &set))
			return "no affinity";
		why = scene_traffic(sc, 5, true);
		atomic_store(&sc->repin, 1);
		if (!why && !RIG_WAIT(!atomic_load(&sc->repin)))
			why = "the subject is stuck";
		why = why ?: scene_traffic(sc, 5, true);
	}
	return why;
}

MOMENT(stray_under_load, .outside = stray)

/* The cpuset takes the CPU away from all, and gives it back. */
static const char *cpuset(struct scene *sc)
{
	const char *why = second_cpu();
	char all[32], one[16];
	int i;

	snprintf(one, sizeof(one), "%u", rig_nth_cpu(0));
	snprintf(all, sizeof(all), "%u,%u", rig_nth_cpu(0), sc->cpu);
	for (i = 0; i < ROUNDS && !why; i++) {
		why = scene_cgroup_put(sc, "cpuset.cpus", one) ?: scene_traffic(sc, 3, false) ?:
			scene_cgroup_put(sc, "cpuset.cpus", all);
		/* Up to 6.1 their own affinity is not remembered. */
		atomic_store(&sc->repin, 1);
		why = why ?: scene_traffic(sc, 3, true);
	}
	return why;
}

MOMENT(cpuset, .before = scene_cgroup, .prepare = scene_join, .outside = cpuset, .after = scene_cgroup_end)

static int online(unsigned int cpu, const char *v)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	return file_put(path, v);
}

static const char *offline(struct scene *sc)
{
	const char *why = second_cpu();
	int i;

	if (!why && online(sc->cpu, "1"))
		return SCENE_SKIP "CPUs cannot be taken offline here";
	for (i = 0; i < 2 && !why; i++) {
		int err = online(sc->cpu, "0");

		why = err ? scene_why(sc, "offline: %s", strerror(-err)) : scene_traffic(sc, 3, false);
		if (online(sc->cpu, "1"))
			return "it stays offline";
		atomic_store(&sc->repin, 1);
		why = why ?: scene_traffic(sc, 3, true);
	}
	return why;
}

MOMENT(cpu_offline, .outside = offline)

/* --- how --- */

static const char *priority(struct scene *sc)
{
	int i;

	for (i = -20; i < 20; i++)
		if (setpriority(PRIO_PROCESS, sc->victim_tid, i))
			return SCENE_SKIP "this user may not raise priorities";
	return setpriority(PRIO_PROCESS, sc->victim_tid, 0) ? "no way back" : NULL;
}

MOMENT(setpriority, .inside = priority)

/* The main thread stays above: with one CPU nobody would end what a real-time hog has begun. */
static const char *policy(struct scene *sc, int policy, int prio)
{
	struct sched_param up = { .sched_priority = 50 }, param = { .sched_priority = prio }, none = { 0 };
	const char *why = NULL;
	unsigned int i, k;

	if (sched_setscheduler(0, SCHED_FIFO, &up))
		return SCENE_SKIP "this user may not be real-time";
	for (i = 0; i < ROUNDS && !why; i++) {
		if (sched_setscheduler(sc->victim_tid, policy, &param))
			why = scene_why(sc, "policy %d: %s", policy, strerror(errno));
		/* All of its turns end beside one of another class. */
		scene_loosen(sc);
		for (k = 0; k < sc->ncores && !why; k++) {
			unsigned long n = atomic_load(&sc->served[k]);

			rig_push(&sc->r, k);
			if (!RIG_WAIT(atomic_load(&sc->served[k]) > n))
				why = scene_why(sc, "core %u does nothing beside a worker of policy %d", k, policy);
		}
		if (sched_setscheduler(sc->victim_tid, SCHED_OTHER, &none))
			why = "no way back";
	}
	sched_setscheduler(0, SCHED_OTHER, &none);
	return why;
}

static const char *fifo(struct scene *sc)
{
	return policy(sc, SCHED_FIFO, 1);
}

MOMENT(sched_fifo, .inside = fifo)

static const char *idle(struct scene *sc)
{
	return policy(sc, SCHED_IDLE, 0);
}

MOMENT(sched_idle, .inside = idle)

static const char *batch(struct scene *sc)
{
	return policy(sc, SCHED_BATCH, 0);
}

MOMENT(sched_batch, .inside = batch)

/* The quota is used up several times over: all threads stand still in user mode, by no fault of theirs. */
static const char *throttle(struct scene *sc)
{
	const char *why = scene_cgroup_put(sc, "cpu.max", "2000 20000");
	long times = scene_cgroup_get(sc, "cpu.stat", "nr_throttled ");

	if (!why) {
		atomic_store(&sc->traffic, 1);
		if (!RIG_WAIT(scene_cgroup_get(sc, "cpu.stat", "nr_throttled ") >= times + 5))
			why = "it is not throttled";
	}
	return why ?: scene_traffic(sc, 1, true) ?: scene_cgroup_put(sc, "cpu.max", "max");
}

MOMENT(throttled, .before = scene_cgroup, .prepare = scene_join, .outside = throttle, .after = scene_cgroup_end)

/* --- under whose eyes --- */

#define TRACING "/sys/kernel/tracing/"

static const char *tracing(struct scene *sc)
{
	return access(TRACING "current_tracer", W_OK) ? SCENE_SKIP "no tracefs this user may write" : scene_patches(sc);
}

static void tracing_end(struct scene *sc)
{
	if (!sc->pid)
		return;
	file_put(TRACING "current_tracer", "nop");
	file_put(TRACING "set_ftrace_filter", "\n");
	file_put(TRACING "events/enable", "0");
	file_put(TRACING "trace", "\n");
}

static const char *function_tracer(struct scene *sc, const char *name)
{
	/* Every function of ours and those around a switch. */
	if (file_put(TRACING "set_ftrace_filter", ":mod:gk") || file_put(TRACING "set_ftrace_filter", "schedule* "))
		return SCENE_SKIP "no function tracer here";
	if (file_put(TRACING "current_tracer", name))
		return scene_why(sc, SCENE_SKIP "no tracer %s here", name);
	return scene_traffic(sc, 10, true);
}

static const char *ftrace(struct scene *sc)
{
	return function_tracer(sc, "function");
}

MOMENT(function_tracer, .before = tracing, .outside = ftrace, .after = tracing_end)

static const char *graph(struct scene *sc)
{
	return function_tracer(sc, "function_graph");
}

MOMENT(function_graph, .before = tracing, .outside = graph, .after = tracing_end)

/* Each event of the scheduler, of signals, of timers and of interrupts. */
static const char *events(struct scene *sc)
{
	static const char *const sets[] = { "sched", "signal", "timer", "irq", "irq_vectors", "ipi", "raw_syscalls", "gk" };
	char path[80];
	unsigned int i, on = 0;

	for (i = 0; i < ARRAY_LEN(sets); i++) {
		snprintf(path, sizeof(path), TRACING "events/%s/enable", sets[i]);
		on += !file_put(path, "1");
	}
	return on ? scene_traffic(sc, 10, true) : SCENE_SKIP "no events here";
}

MOMENT(trace_events, .before = tracing, .outside = events, .after = tracing_end)

static const char *kprobes(struct scene *sc)
{
	static const char *const probes[] = {
		"p:gk_out gk:gk_sched_out\n", "r:gk_out_ret gk:gk_sched_out\n", "p:gk_in gk:gk_sched_in\n",
		"r:gk_in_ret gk:gk_sched_in\n", "p:gk_park gk:park_sleep\n", "p:gk_tick gk:core_timer\n",
	};
	unsigned int i;
	int fd = open(TRACING "kprobe_events", O_WRONLY | O_APPEND | O_CLOEXEC);
	const char *why = NULL;

	if (fd < 0)
		return SCENE_SKIP "no kprobes here";
	for (i = 0; i < ARRAY_LEN(probes) && !why; i++)
		if (write(fd, probes[i], strlen(probes[i])) < 0)
			why = scene_why(sc, SCENE_SKIP "no kprobe %s: %s", probes[i], strerror(errno));
	close(fd);
	if (!why && file_put(TRACING "events/kprobes/enable", "1"))
		why = "the kprobes cannot be enabled";
	return why ?: scene_traffic(sc, 10, true);
}

static void kprobes_end(struct scene *sc)
{
	if (!sc->pid)
		return;
	tracing_end(sc);
	file_put(TRACING "events/kprobes/enable", "0");
	close(open(TRACING "kprobe_events", O_WRONLY | O_TRUNC | O_CLOEXEC));
}

MOMENT(kprobes, .before = tracing, .outside = kprobes, .after = kprobes_end)

static int perf_open(uint64_t config, pid_t pid, int cpu)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(a), .config = config,
		.sample_period = config == PERF_COUNT_SW_CPU_CLOCK ? 100 * USEC : 1, .wakeup_events = 1,
		.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CALLCHAIN,
	};

	return syscall(SYS_perf_event_open, &a, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static void perf_end(struct scene *sc)
{
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(sc->fds) && sc->fds[i]; i++)
		close(sc->fds[i]);
}

static const char *perf(struct scene *sc)
{
	static const uint64_t configs[] = {
		PERF_COUNT_SW_CONTEXT_SWITCHES, PERF_COUNT_SW_CPU_CLOCK, PERF_COUNT_SW_CPU_MIGRATIONS,
	};
	unsigned int i, n = 0;
	void *ring;

	/* The victim wherever it goes, and its CPU whoever is on it. */
	for (i = 0; i < 2 * ARRAY_LEN(configs); i++) {
		bool cpu = i % 2;
		int fd = perf_open(configs[i / 2], cpu ? -1 : sc->victim_tid, cpu ? (int)sc->cpu : -1);

		if (fd < 0)
			return SCENE_SKIP "no software events this user may have";
		sc->fds[n++] = fd;
		/* Without a ring nothing is sampled. */
		ring = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (ring == MAP_FAILED)
			return "no ring";
	}
	return scene_traffic(sc, 20, true);
}

MOMENT(perf_events, .before = scene_patches, .outside = perf, .after = perf_end)

static int bpf_attach(const char *tracepoint, int *prog)
{
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr a = { 0 };

	a.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
	a.insns = (uintptr_t)insns;
	a.insn_cnt = ARRAY_LEN(insns);
	a.license = (uintptr_t)"GPL";
	*prog = syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
	if (*prog < 0)
		return -1;
	memset(&a, 0, sizeof(a));
	a.raw_tracepoint.name = (uintptr_t)tracepoint;
	a.raw_tracepoint.prog_fd = *prog;
	return syscall(SYS_bpf, BPF_RAW_TRACEPOINT_OPEN, &a, sizeof(a));
}

static const char *bpf(struct scene *sc)
{
	static const char *const points[] = { "sched_switch", "sched_wakeup", "signal_generate", "hrtimer_expire_entry" };
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(points); i++) {
		int prog, fd = bpf_attach(points[i], &prog);

		if (fd < 0)
			return scene_why(sc, SCENE_SKIP "no bpf program on %s: %s", points[i], strerror(errno));
		sc->fds[2 * i] = fd;
		sc->fds[2 * i + 1] = prog;
	}
	return scene_traffic(sc, 20, true);
}

MOMENT(bpf_programs, .before = scene_patches, .outside = bpf, .after = perf_end)

/* --- the machine sleeps: once, under workers in all states --- */

#define SLEEP_S		"+10"	/* must not be over before the machine sleeps: then nothing would wake it */

#define ALL(m, s)	&scene_##s,

TEST(suspend_to_ram_in_every_state)
{
	static const struct scene_state *const all[] = { SCENE_STATES(ALL, ) };
	static const struct moment moment = { .name = "suspend" };
	struct scene *sc[ARRAY_LEN(all)];
	char states[64] = "";
	const char *why;
	unsigned int i;
	int fd, err;

	why = scene_patches(NULL);
	if (why)
		SKIP(return, "%s", why + strlen(SCENE_SKIP));
	fd = open("/sys/power/state", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, states, sizeof(states) - 1) <= 0 || !strstr(states, "mem"))
		SKIP(return, "this machine has no suspend to RAM: it has %s", states[0] ? states : "none");
	close(fd);
	if (file_put("/sys/class/rtc/rtc0/wakealarm", "0"))
		SKIP(return, "no clock to wake the machine");
	for (i = 0; i < ARRAY_LEN(all); i++) {
		sc[i] = scene_new(&moment, all[i]);
		ASSERT_NE(NULL, sc[i]);
		why = scene_set(sc[i]);
		ASSERT_EQ(NULL, why) TH_LOG("%s: %s", all[i]->name, why);
	}
	ASSERT_EQ(0, file_put("/sys/class/rtc/rtc0/wakealarm", SLEEP_S));
	err = file_put("/sys/power/state", "mem");
	EXPECT_EQ(0, err) TH_LOG("suspend: %s", strerror(-err));
	for (i = 0; i < ARRAY_LEN(all); i++) {
		why = scene_end(sc[i], NULL);
		EXPECT_EQ(NULL, why) TH_LOG("%s: %s", all[i]->name, why);
	}
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
