// SPDX-License-Identifier: GPL-2.0-only
/* scene.c - see scene.h. */
#include "scene.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* The subject's own, for its signal handlers. */
static struct scene *scene;

/* What the exec moments become: it has nothing to say. */
static void __attribute__((constructor(101))) after_exec(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		_exit(42);
}

void scene_exec(void)
{
	static char name[] = "/proc/self/exe", after[] = "--after-exec";
	char *const argv[] = { name, after, NULL };

	execv(argv[0], argv);
	_exit(43);
}

const char *scene_why(struct scene *sc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sc->why, sizeof(sc->why), fmt, ap);
	va_end(ap);
	return sc->why;
}

int file_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err = -errno;
	close(fd);
	return err;
}

/* --- workers --- */

/* One step in user mode. A function of its own, for breakpoints. */
void __attribute__((noinline)) scene_beat(struct rig_worker *w)
{
	struct scene *sc = w->arg;

	atomic_fetch_add_explicit(w == sc->victim ? &sc->steps : &w->beats, 1, memory_order_relaxed);
}

/* As the library does: inside to take a task, outside to run it. */
static void consume(struct scene *sc, struct rig_worker *w)
{
	struct gk_core_page *c = rig_cp(w);
	struct gk_worker_page *p = rig_wp(w);
	struct timespec t = { 0, 1000 };
	bool got;
	long ret;

	while (!atomic_load(&w->stop)) {
		uint32_t nobody = 0;

		scene_beat(w);
		if (!__atomic_compare_exchange_n(&c->word, &nobody, w->id + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			ret = rig_park(w, GK_PARK_READY);
		} else {
			if (atomic_fetch_add(&sc->inside[w->core], 1))
				atomic_store(&sc->two_inside, 1);
			got = rig_take(w->rig, w->core);
			atomic_fetch_sub(&sc->inside[w->core], 1);
			__atomic_store_n(&c->word, 0, __ATOMIC_SEQ_CST);
			if (got) {
				WRITE_ONCE(p->switches, p->switches + 1);
				if (atomic_fetch_add(&w->taken, 1) % 2)
					nanosleep(&t, NULL);
				atomic_fetch_add(&sc->served[w->core], 1);
				while (atomic_load(&sc->wanted) && w != sc->victim && w->core == sc->core)
					nanosleep(&t, NULL);
				continue;
			}
			ret = rig_park(w, GK_PARK_STANDBY);
		}
		if (ret < 0) {
			atomic_store(&w->err, -ret);
			return;
		}
	}
}

static void crew(struct rig_worker *w)
{
	consume(w->arg, w);
}

/* Keeps the core as a busy scheduler does, by ever new tasks; when it is loose, as a hog. */
static void busy(struct rig_worker *w)
{
	struct scene *sc = w->arg;
	struct gk_worker_page *p = rig_wp(w);

	while (!atomic_load_explicit(&sc->calm, memory_order_relaxed)) {
		if (!atomic_load_explicit(&sc->loose, memory_order_relaxed))
			WRITE_ONCE(p->switches, p->switches + 1);
		scene_beat(w);
	}
	consume(sc, w);
}

static void hog(struct scene *sc, struct rig_worker *w)
{
	while (!atomic_load_explicit(&sc->calm, memory_order_relaxed))
		scene_beat(w);
}

static void victim_hogs(struct scene *sc, struct rig_worker *w)
{
	hog(sc, w);
}

static void victim_inside(struct scene *sc, struct rig_worker *w)
{
	WRITE_ONCE(rig_cp(w)->word, w->id + 1);
	while (!atomic_load_explicit(&sc->loose, memory_order_relaxed))
		scene_beat(w);
	WRITE_ONCE(rig_cp(w)->word, 0);
	hog(sc, w);
}

static void victim_reads(struct scene *sc, struct rig_worker *w)
{
	char ch;

	while (rig_read_mark(sc->pipe[0], &ch, 1, &w->mark) != 1)
		;
	hog(sc, w);
}

static void victim_held(struct scene *sc, struct rig_worker *w)
{
	while (!atomic_load(&sc->calm) && !rig_park(w, GK_PARK_HELD))
		atomic_fetch_add(&sc->steps, 1);
}

static void victim_waits(struct scene *sc, struct rig_worker *w)
{
}

static void victim(struct rig_worker *w)
{
	struct scene *sc = w->arg;
	uint32_t mine = w->id + 1;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	if (!sigsetjmp(sc->base, 1))
		sc->state->victim(sc, w);
	else	/* Out of wherever it was, with all it held. */
		__atomic_compare_exchange_n(&rig_cp(w)->word, &mine, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	consume(sc, w);
}

/* --- states --- */

static const char *spawn_victim(struct scene *sc)
{
	struct rig *r = &sc->r;
	int i = r->nw;

	/* It may look for itself before rig_spawn() returns. */
	sc->victim = NULL;
	if (!rig_spawn(r, sc->core, victim, sc))
		return scene_why(sc, "no victim: %s", strerror(errno));
	sc->victim = r->w[i];
	sc->victim_tid = sc->victim->tid;
	return NULL;
}

static const char *victim_is(struct scene *sc, uint32_t state)
{
	if (rig_wait_state(sc->victim, state) &&
	    (state == GK_W_RUNNING ? RIG_WAIT(atomic_load(&sc->steps)) : RIG_WAIT(rig_task_state(sc->victim_tid) == 'S')))
		return NULL;
	return scene_why(sc, "the victim is %s, not %s", state_name(rig_state(sc->victim)), state_name(state));
}

static const char *spawn_busy(struct scene *sc)
{
	sc->busy = rig_spawn(&sc->r, sc->core, busy, sc);
	return sc->busy && rig_wait_beats(sc->busy, 1) ? NULL : "no busy worker";
}

static const char *make_running(struct scene *sc)
{
	return spawn_victim(sc) ?: victim_is(sc, GK_W_RUNNING);
}

static const char *make_blocked(struct scene *sc)
{
	return spawn_victim(sc) ?: victim_is(sc, GK_W_BLOCKED);
}

static const char *wake_victim(struct scene *sc)
{
	return write(sc->pipe[1], "x", 1) == 1 ? NULL : "the pipe is full";
}

static const char *make_beside(struct scene *sc)
{
	const char *why = make_blocked(sc) ?: spawn_busy(sc) ?: wake_victim(sc) ?: victim_is(sc, GK_W_RUNNING);

	return why ?: READ_ONCE(rig_core(&sc->r, sc->core)->running) == 2 ? NULL : "they do not run beside each other";
}

static const char *make_ready(struct scene *sc)
{
	return make_blocked(sc) ?: spawn_busy(sc) ?: wake_victim(sc) ?: victim_is(sc, GK_W_READY);
}

static const char *make_idle(struct scene *sc)
{
	return spawn_victim(sc) ?: victim_is(sc, GK_W_STANDBY);
}

static const char *make_standby(struct scene *sc)
{
	return make_idle(sc) ?: spawn_busy(sc);
}

static const char *make_held(struct scene *sc)
{
	return spawn_victim(sc) ?: victim_is(sc, GK_W_HELD);
}

#define STATE(s, _bound, _victim) \
	const struct scene_state scene_##s = { .name = #s, .bound = _bound, .make = make_##s, .victim = _victim }
#define make_inside make_running

STATE(running, 1, victim_hogs);
STATE(inside, 1, victim_inside);
STATE(beside, 2, victim_reads);		/* woken while another runs */
STATE(blocked, 1, victim_reads);
STATE(ready, 1, victim_reads);
STATE(standby, 1, victim_waits);	/* while another runs */
STATE(idle, 1, victim_waits);		/* while nobody does */
STATE(held, 1, victim_held);

/* --- the subject --- */

static void on_order(int sig)
{
	struct scene *sc = scene;

	if (syscall(SYS_gettid) != sc->victim_tid)
		return;
	sc->order(sc);
	atomic_store(&sc->ordered, 1);
}

static void on_jump(int sig)
{
	if (syscall(SYS_gettid) == scene->victim_tid)
		siglongjmp(scene->base, 1);
}

void scene_loosen(struct scene *sc)
{
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_SLICE | GK_SET_GRAIN, .slice_ns = MSEC,
			      .grain_ns = 100 * USEC };

	if (atomic_exchange(&sc->loose, 1))
		return;
	rig_call(&sc->r, GK_IOC_SET, (uintptr_t)&set);
}

const char *scene_order(struct scene *sc, void (*fn)(struct scene *sc))
{
	int naps = 0;

	sc->order = fn;
	atomic_store(&sc->ordered, 0);
	if (syscall(SYS_tgkill, getpid(), sc->victim_tid, SIGUSR1))
		return "the victim takes no signal";
	/*
	 * A handler in a READY worker has a tick or two, and is parked with the rest undone: then the others have to
	 * give way.
	 */
	if (RIG_WAIT(({
		if (++naps == 20)
			scene_loosen(sc);
		atomic_load(&sc->ordered);
	})))
		return NULL;
	return scene_why(sc, "the victim, %s, does not do what it is to do", state_name(rig_state(sc->victim)));
}

const char *scene_join_victim(struct scene *sc)
{
	struct rig *r = &sc->r;
	uint32_t mine = sc->victim->id + 1;
	unsigned int i;
	int naps = 0;

	sc->gone = true;
	/* As in scene_order(): parked on its way, it goes on when the others give way. */
	if (!RIG_WAIT(({
		if (++naps == 20)
			scene_loosen(sc);
		!pthread_tryjoin_np(sc->victim->thread, NULL);
	})))
		return scene_why(sc, "the victim, %s, does not end", state_name(rig_state(sc->victim)));
	/* It took the word along, if it had it. That is the library's to mend. */
	__atomic_compare_exchange_n(&rig_core(r, sc->core)->word, &mine, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	for (i = 0; i < r->nw && r->w[i] != sc->victim; i++)
		;
	r->w[i] = r->w[--r->nw];
	return NULL;
}

/* One task for each core whose last was taken. */
static void supply(struct scene *sc)
{
	unsigned int i;

	for (i = 0; i < sc->ncores; i++)
		if (READ_ONCE(rig_core(&sc->r, i)->q_head) == READ_ONCE(rig_core(&sc->r, i)->q_tail))
			rig_push(&sc->r, i);
}

static void repin(struct scene *sc)
{
	unsigned int i;
	cpu_set_t set;

	for (i = 0; i < sc->r.nw; i++) {
		CPU_ZERO(&set);
		CPU_SET(sc->r.cpu[sc->r.w[i]->core], &set);
		sched_setaffinity(sc->r.w[i]->tid, sizeof(set), &set);
	}
}

static const char *set_scene(struct scene *sc)
{
	struct sigaction order = { .sa_handler = on_order, .sa_flags = SA_RESTART };
	struct sigaction jump = { .sa_handler = on_jump };
	unsigned int i;

	sc->ncores = rig_ncpus() < SCENE_CORES ? 1 : SCENE_CORES;
	sc->core = sc->ncores - 1;
	scene = sc;
	sigaction(SIGUSR1, &order, NULL);
	sigaction(SIGINT, &jump, NULL);
	if (pipe2(sc->pipe, O_CLOEXEC))
		return "no pipe";
	i = -rig_open(&sc->r, &(struct rig_opt){ .ncores = sc->ncores, .bound = sc->state->bound });
	if (i)
		return scene_why(sc, "no group: %s", strerror(i));
	sc->cpu = sc->r.cpu[sc->core];
	for (i = 0; i < 2 * sc->ncores; i++) {
		struct rig_worker *w = rig_spawn(&sc->r, i % sc->ncores, crew, sc);

		if (!w || !rig_wait_state(w, GK_W_STANDBY))
			return "no crew";
	}
	return sc->state->make(sc);
}

static const char *count_states(struct scene *sc, unsigned int core)
{
	struct gk_core_page *c = rig_core(&sc->r, core);
	unsigned int i, n[GK_W_DEAD + 1] = { 0 }, all = 0;

	for (i = 0; i < sc->r.nw; i++) {
		if (sc->r.w[i]->core != core)
			continue;
		n[rig_state(sc->r.w[i]) % ARRAY_LEN(n)]++;
		all++;
	}
	if (n[GK_W_STANDBY] == all && c->nstandby == all && !c->running && !c->nready && rig_idle_bit(&sc->r, core))
		return NULL;
	return scene_why(sc, "core %u: %u workers, counts running %u ready %u standby %u idle %d, states %u %u %u, BLOCKED %u HELD %u",
			 core, all, c->running, c->nready, c->nstandby, rig_idle_bit(&sc->r, core), n[GK_W_RUNNING],
			 n[GK_W_READY], n[GK_W_STANDBY], n[GK_W_BLOCKED], n[GK_W_HELD]);
}

static const char *do_work(struct scene *sc, unsigned int n, const char *when)
{
	unsigned long before[SCENE_CORES];
	unsigned int i, k;

	for (i = 0; i < sc->ncores; i++)
		before[i] = atomic_load(&sc->served[i]) +
			READ_ONCE(rig_core(&sc->r, i)->q_tail) - READ_ONCE(rig_core(&sc->r, i)->q_head);
	for (k = 0; k < n; k++)
		for (i = 0; i < sc->ncores; i++)
			rig_push(&sc->r, i);
	for (i = 0; i < sc->ncores; i++) {
		struct gk_core_page *c = rig_core(&sc->r, i);

		/* A task that was taken and not done when we looked is one more. */
		if (!RIG_WAIT(atomic_load(&sc->served[i]) >= before[i] + n && c->q_head == c->q_tail))
			return scene_why(sc, "%s: core %u did %lu of %u, %u queued; running %u ready %u standby %u, word %x, victim %s",
					 when, i, atomic_load(&sc->served[i]) - before[i], n, c->q_tail - c->q_head, c->running,
					 c->nready, c->nstandby, c->word, sc->gone ? "gone" : state_name(rig_state(sc->victim)));
	}
	return NULL;
}

/* The questions at the head of scene.h. */
static const char *ask(struct scene *sc)
{
	unsigned long steps = atomic_load(&sc->steps);
	unsigned int i, bound = sc->state->bound;
	struct rig *r = &sc->r;
	const char *why;

	scene_loosen(sc);
	why = do_work(sc, 4, "beside those that hog");
	if (why)
		return why;
	for (i = 0; i < sc->ncores; i++)
		if (!RIG_WAIT(READ_ONCE(rig_core(r, i)->running) <= bound))
			return scene_why(sc, "%u run, the bound is %u", rig_core(r, i)->running, bound);

	atomic_store(&sc->calm, 1);
	if (write(sc->pipe[1], "x", 1) != 1)
		return "the pipe is full";
	/* It may be the last STANDBY that is needed. */
	atomic_store(&sc->wanted, !sc->gone);
	if (!sc->gone && !RIG_WAIT(({
		if (rig_state(sc->victim) == GK_W_HELD)
			rig_call(r, GK_IOC_UNHOLD, sc->victim->id);
		supply(sc);
		atomic_load(&sc->steps) != steps;
	})))
		return scene_why(sc, "the victim, %s, does not go on", state_name(rig_state(sc->victim)));
	atomic_store(&sc->wanted, 0);
	why = do_work(sc, 20, "all at work");
	if (why)
		return why;
	for (i = 0; i < sc->ncores; i++)
		if (!RIG_WAIT(!count_states(sc, i)))
			return sc->why;
	sc->why[0] = 0;
	for (i = 0; i < r->nw; i++)
		if (atomic_load(&r->w[i]->err))
			return scene_why(sc, "worker %d: %s", r->w[i]->id, strerror(atomic_load(&r->w[i]->err)));
	if (!RIG_WAIT(READ_ONCE(rig_group(r)->nworkers) == r->nw))
		return scene_why(sc, "%u workers of %u", rig_group(r)->nworkers, r->nw);
	return atomic_load(&sc->two_inside) ? "two workers were inside" : NULL;
}

static unsigned int threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned int n = 0;
	struct dirent *e;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

static const char *end_scene(struct scene *sc)
{
	struct rig *r = &sc->r;
	unsigned int i;

	for (i = 0; i < r->nw; i++)
		atomic_store(&r->w[i]->stop, 1);
	for (i = 0; i < r->nw; i++)
		if (!rig_join(r->w[i]))
			return scene_why(sc, "worker %d, %s, cannot be joined", r->w[i]->id, state_name(rig_state(r->w[i])));
	r->nw = 0;
	if (!RIG_WAIT(!READ_ONCE(rig_group(r)->nworkers)))
		return scene_why(sc, "%u workers stay", rig_group(r)->nworkers);
	if (!RIG_WAIT(threads() == 1))
		return scene_why(sc, "%u threads stay", threads() - 1);
	rig_close(r);
	return NULL;
}

static void subject(struct scene *sc)
{
	const struct moment *m = sc->moment;
	const char *why = m->prepare ? m->prepare(sc) : NULL;

	if (!why)
		why = set_scene(sc);
	if (why)
		goto out;
	for (sc->nthreads = 0; sc->nthreads < sc->r.nw; sc->nthreads++)
		sc->tids[sc->nthreads] = sc->r.w[sc->nthreads]->tid;
	atomic_store(&sc->step, SCENE_SET);
	if (m->inside)
		why = m->inside(sc);
	/* What takes the subject's end for granted waits for it here. */
	while (!why && atomic_load(&sc->step) != SCENE_GO_ON) {
		if (atomic_load(&sc->traffic)) {
			scene_loosen(sc);
			supply(sc);
		}
		if (atomic_exchange(&sc->repin, 0))
			repin(sc);
		rig_nap();
	}
	if (!why && !sc->closed) {
		repin(sc);
		why = ask(sc) ?: end_scene(sc);
	}
out:
	if (why && why != sc->why)
		scene_why(sc, "%s", why);
	_exit(why ? 1 : 0);
}

/* --- the test process --- */

static bool ended(struct scene *sc)
{
	if (!sc->over)
		sc->over = waitpid(sc->pid, &sc->status, WNOHANG) == sc->pid;
	return sc->over;
}

struct scene *scene_new(const struct moment *m, const struct scene_state *s)
{
	struct scene *sc = mmap(NULL, sizeof(*sc), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (sc == MAP_FAILED)
		return NULL;
	sc->state = s;
	sc->moment = m;
	return sc;
}

const char *scene_set(struct scene *sc)
{
	const char *why = sc->moment->before ? sc->moment->before(sc) : NULL;
	pid_t pid;

	if (why)
		return why;
	pid = fork();
	if (!pid)
		subject(sc);
	sc->pid = pid;
	return RIG_WAIT(ended(sc) || atomic_load(&sc->step) == SCENE_SET) ? NULL : "the scene is never set";
}

const char *scene_end(struct scene *sc, const char *why)
{
	const struct moment *m = sc->moment;

	if (!why && !m->status) {
		atomic_store(&sc->step, SCENE_GO_ON);
		/* Each of its own waits ends by itself. */
		while (!ended(sc))
			rig_nap();
	}
	if (!why && !RIG_WAIT(ended(sc)))
		why = "it does not end";
	if (sc->pid && !ended(sc)) {
		kill(sc->pid, SIGKILL);
		if (!RIG_WAIT(ended(sc)))
			why = "it cannot be killed";
	}
	if (!why && sc->why[0])
		why = sc->why;
	if (!why && sc->status != m->status)
		why = scene_why(sc, "status %#x, not %#x", sc->status, m->status);
	if (m->after)
		m->after(sc);
	return why;
}

const char *scene_play(const struct moment *m, const struct scene_state *s)
{
	struct scene *sc = scene_new(m, s);
	const char *why;

	if (!sc)
		return "no memory";
	why = scene_set(sc);
	if (!why && !ended(sc) && m->outside)
		why = m->outside(sc);
	why = scene_end(sc, why);
	if (!rig_no_leak() && !why)
		why = scene_why(sc, "refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);
	return why;
}

const char *scene_traffic(struct scene *sc, unsigned long n, bool all)
{
	unsigned int i, ncores = all && rig_ncpus() > 1 ? SCENE_CORES : 1;
	unsigned long before[SCENE_CORES];

	for (i = 0; i < ncores; i++)
		before[i] = atomic_load(&sc->served[i]);
	atomic_store(&sc->traffic, 1);
	for (i = 0; i < ncores; i++)
		if (!RIG_WAIT(atomic_load(&sc->served[i]) - before[i] >= n))
			return scene_why(sc, "core %u did %lu tasks of %lu meanwhile", i,
					 atomic_load(&sc->served[i]) - before[i], n);
	return NULL;
}

bool scene_threads_are(struct scene *sc, char want)
{
	char path[300], line[512], *p;
	bool all = true, any = false;
	struct dirent *e;
	FILE *f;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", sc->pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", sc->pid, e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		p = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
		fclose(f);
		any = true;
		all = all && p && p[2] == want;
	}
	if (d)
		closedir(d);
	return any && all;
}

const char *scene_patches(struct scene *sc)
{
	char line[256];
	bool tcg = false;
	FILE *f = fopen("/proc/cpuinfo", "r");

	while (f && fgets(line, sizeof(line), f))
		tcg |= !!strstr(line, "QEMU TCG");
	if (f)
		fclose(f);
	return tcg && rig_ncpus() > 1 ? SCENE_SKIP "QEMU's emulation of several CPUs breaks kernels that patch their code" : NULL;
}

/* --- cgroups --- */

const char *scene_cgroup(struct scene *sc)
{
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK))
		mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	snprintf(sc->cgroup, sizeof(sc->cgroup), "/sys/fs/cgroup/gk-scene-%d", getpid());
	return mkdir(sc->cgroup, 0755) ? SCENE_SKIP "no cgroup v2 this user may write" : NULL;
}

const char *scene_cgroup_put(struct scene *sc, const char *file, const char *text)
{
	char path[128];
	int err;

	snprintf(path, sizeof(path), "%s/%s", sc->cgroup, file);
	if (access(path, F_OK))
		return scene_why(sc, SCENE_SKIP "this kernel has no %s", file);
	err = file_put(path, text);
	return err ? scene_why(sc, "%s: %s", file, strerror(-err)) : NULL;
}

/* The number behind `key`, or the first in the file; -1 where there is none. */
long scene_cgroup_get(struct scene *sc, const char *file, const char *key)
{
	char path[128], buf[2048] = { 0 }, *p;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", sc->cgroup, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (read(fd, buf, sizeof(buf) - 1) < 0)
		buf[0] = 0;
	close(fd);
	p = key ? strstr(buf, key) : buf;
	return p ? strtol(p + (key ? strlen(key) : 0), NULL, 0) : -1;
}

/* Before the group is made: later the kernel gives its threads the affinity of the cpuset. */
const char *scene_join(struct scene *sc)
{
	return scene_cgroup_put(sc, "cgroup.procs", "0");
}

void scene_cgroup_end(struct scene *sc)
{
	if (sc->cgroup[0] && !RIG_WAIT(!rmdir(sc->cgroup)))
		fprintf(stderr, "%s stays\n", sc->cgroup);
}
