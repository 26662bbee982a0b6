// SPDX-License-Identifier: GPL-2.0-only
/* rig.c - see rig.h. */
#include "rig.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

long rig_refcnt_start = -1;

static void __attribute__((constructor)) rig_init(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	rig_refcnt_start = rig_refcnt();
}

uint64_t rig_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

uint64_t rig_patience(void)
{
	static uint64_t ns;

	if (!ns) {
		const char *s = getenv("GK_PATIENCE");	/* seconds */

		ns = (s && atoi(s) > 0 ? atoi(s) : 40) * NSEC;
	}
	return ns;
}

void rig_nap(void)
{
	struct timespec t = { 0, 200 * USEC };

	nanosleep(&t, NULL);
}

unsigned long rig_count(unsigned long dflt)
{
	const char *s = getenv("GK_COUNT");

	return s && *s ? strtoul(s, NULL, 0) : dflt;
}

static cpu_set_t *rig_cpus(void)
{
	static cpu_set_t set;

	if (!CPU_COUNT(&set) && sched_getaffinity(getpid(), sizeof(set), &set))
		CPU_SET(0, &set);
	return &set;
}

unsigned int rig_ncpus(void)
{
	return CPU_COUNT(rig_cpus());
}

unsigned int rig_nth_cpu(unsigned int n)
{
	unsigned int cpu;

	n %= rig_ncpus();
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, rig_cpus()) && !n--)
			return cpu;
	return 0;
}

long rig_refcnt(void)
{
	long n = -1;
	FILE *f = fopen("/sys/module/gk/refcnt", "r");

	if (f) {
		if (fscanf(f, "%ld", &n) != 1)
			n = -1;
		fclose(f);
	}
	return n;
}

bool rig_no_leak(void)
{
	return RIG_WAIT(rig_refcnt() <= rig_refcnt_start);
}

const char *rig_dir(void)
{
	const char *s = getenv("GK_DISK");

	return s && *s && !access(s, W_OK) ? s : NULL;
}

char rig_task_state(pid_t tid)
{
	char name[64], line[512], *p;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/self/task/%d/stat", tid);
	f = fopen(name, "r");
	if (!f)
		return 0;
	p = fgets(line, sizeof(line), f);
	fclose(f);
	p = p ? strrchr(line, ')') : NULL;
	return p ? p[2] : 0;
}

int rig_setup(struct rig *r, const struct rig_opt *o)
{
	uint32_t cpus[RIG_CORES];
	struct gk_setup *s = &r->s;
	unsigned int i;
	int err;

	memset(s, 0, sizeof(*s));
	s->size = sizeof(*s);
	s->ncores = o->ncores ?: 1;
	s->max_workers = o->max_workers ?: RIG_WORKERS;
	s->cpus = (uintptr_t)cpus;
	s->slice_ns = o->slice ?: 10 * NSEC;
	s->grain_ns = o->grain ?: s->slice_ns;
	s->bound = o->bound;
	s->manager_fd = r->manager_fd;
	for (i = 0; i < s->ncores && i < RIG_CORES; i++) {
		r->cpu[i] = rig_nth_cpu(i);
		cpus[i] = r->cpu[i];
	}
	/* A group that was closed is counted until its last piece has been freed, a little later. */
	RIG_WAIT(!(err = ioctl(r->fd, GK_IOC_SETUP, s) ? -errno : 0) || err != -EUSERS);
	if (err)
		return err;
	r->map = mmap(NULL, s->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (r->map == MAP_FAILED)
		return -errno;
	return 0;
}

int rig_open(struct rig *r, const struct rig_opt *o)
{
	int err;

	memset(r, 0, sizeof(*r));
	r->manager_fd = -1;
	r->fd = open(RIG_DEV, O_RDWR | O_CLOEXEC);
	if (r->fd < 0)
		return -errno;
	if (o->manager) {
		r->manager_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (r->manager_fd < 0) {
			err = -errno;
			goto err_close;
		}
	}
	err = rig_setup(r, o);
	if (!err)
		return 0;
	if (r->manager_fd >= 0)
		close(r->manager_fd);
err_close:
	close(r->fd);
	return err;
}

static void *rig_thread(void *arg)
{
	struct rig_worker *w = arg;
	struct gk_enter e = { .size = sizeof(e), .core = w->core };

	w->tid = syscall(SYS_gettid);
	if (ioctl(w->rig->fd, GK_IOC_ENTER, &e)) {
		atomic_store(&w->err, errno);
		atomic_store(&w->done, 1);
		return NULL;
	}
	__atomic_store_n(&w->id, (int)e.id, __ATOMIC_RELEASE);
	w->fn(w);
	/* A function that was cut short by STOP or that left by itself has nothing to leave. */
	ioctl(w->rig->fd, GK_IOC_EXIT, 0);
	atomic_store(&w->done, 1);
	return NULL;
}

static struct rig_worker *rig_start(struct rig *r, unsigned int core, rig_fn fn, rig_fn job, void *arg)
{
	struct rig_worker *w;
	pthread_attr_t attr;
	cpu_set_t set;
	int err;

	if (r->nw == RIG_WORKERS) {
		errno = ENOSPC;
		return NULL;
	}
	w = aligned_alloc(64, (sizeof(*w) + 63) & ~63UL);
	if (!w)
		return NULL;
	memset(w, 0, sizeof(*w));
	w->rig = r;
	w->core = core;
	w->fn = fn;
	w->job = job;
	w->arg = arg;
	w->id = -1;
	CPU_ZERO(&set);
	CPU_SET(r->cpu[core < RIG_CORES ? core : 0], &set);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	err = pthread_create(&w->thread, &attr, rig_thread, w);
	pthread_attr_destroy(&attr);
	if (err) {
		free(w);
		errno = err;
		return NULL;
	}
	if (!RIG_WAIT(__atomic_load_n(&w->id, __ATOMIC_ACQUIRE) >= 0 || atomic_load(&w->err))) {
		errno = ETIMEDOUT;
		return NULL;
	}
	if (w->id < 0) {
		err = atomic_load(&w->err);
		pthread_join(w->thread, NULL);
		free(w);
		errno = err;
		return NULL;
	}
	r->w[r->nw++] = w;
	return w;
}

struct rig_worker *rig_spawn(struct rig *r, unsigned int core, rig_fn fn, void *arg)
{
	return rig_start(r, core, fn, NULL, arg);
}

struct rig_worker *rig_standby(struct rig *r, unsigned int core, rig_fn job, void *arg)
{
	struct rig_worker *w = rig_start(r, core, rig_consumer, job, arg);

	return w && rig_wait_state(w, GK_W_STANDBY) ? w : NULL;
}

bool rig_join(struct rig_worker *w)
{
	bool ok;

	atomic_store(&w->stop, 1);
	rig_go(w);
	ok = RIG_WAIT(({
		switch (rig_state(w)) {
		case GK_W_HELD:
			rig_call(w->rig, GK_IOC_UNHOLD, w->id);
			break;
		case GK_W_STANDBY:
		case GK_W_READY:
			/* A task that nobody means to run: it makes the module grant somebody. */
			if (!READ_ONCE(rig_cp(w)->running)) {
				if (READ_ONCE(rig_cp(w)->q_head) == READ_ONCE(rig_cp(w)->q_tail))
					rig_push_quiet(w->rig, w->core);
				rig_call(w->rig, GK_IOC_WAKE, w->core);
			}
			break;
		}
		atomic_load(&w->done);
	}));
	if (ok)
		pthread_join(w->thread, NULL);
	return ok;
}

void rig_close(struct rig *r)
{
	unsigned int i;

	for (i = 0; i < r->nw; i++)
		atomic_store(&r->w[i]->stop, 1);
	for (i = 0; i < r->nw; i++)
		if (!rig_join(r->w[i]))
			return;		/* the process's end is the better clean-up */
	for (i = 0; i < r->nw; i++)
		free(r->w[i]);
	munmap(r->map, r->s.map_size);
	if (r->manager_fd >= 0)
		close(r->manager_fd);
	close(r->fd);
}

void rig_push_quiet(struct rig *r, unsigned int core)
{
	__atomic_fetch_add(&rig_core(r, core)->q_tail, 1, __ATOMIC_SEQ_CST);
}

void rig_push(struct rig *r, unsigned int core)
{
	struct gk_core_page *c = rig_core(r, core);

	rig_push_quiet(r, core);
	/* Pairs with the fence in the module between its last decrement of `running` and its look at the queue. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!READ_ONCE(c->running))
		rig_call(r, GK_IOC_WAKE, core);
	else if (!READ_ONCE(c->turn))
		rig_call(r, GK_IOC_ARM, core);
}

bool rig_take(struct rig *r, unsigned int core)
{
	struct gk_core_page *c = rig_core(r, core);
	uint32_t h = __atomic_load_n(&c->q_head, __ATOMIC_ACQUIRE);

	while (h != __atomic_load_n(&c->q_tail, __ATOMIC_ACQUIRE))
		if (__atomic_compare_exchange_n(&c->q_head, &h, h + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
	return false;
}

void rig_drain(struct rig *r, unsigned int core)
{
	while (rig_take(r, core))
		;
}

void rig_consumer(struct rig_worker *w)
{
	struct gk_worker_page *p = rig_wp(w);
	long ret;

	while (!atomic_load(&w->stop)) {
		if (rig_take(w->rig, w->core)) {
			WRITE_ONCE(p->switches, p->switches + 1);
			atomic_store(&w->stamp, rig_tick(w->rig));
			atomic_fetch_add(&w->taken, 1);
			if (w->job)
				w->job(w);
			continue;
		}
		ret = rig_park(w, GK_PARK_STANDBY);
		if (ret < 0) {
			atomic_store(&w->err, -ret);
			return;
		}
	}
}

void rig_hog(struct rig_worker *w)
{
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed))
		atomic_fetch_add_explicit(&w->beats, 1, memory_order_relaxed);
}

void rig_hold_core(struct rig_worker *w)
{
	while (!atomic_load_explicit(&w->go, memory_order_relaxed) && !atomic_load_explicit(&w->stop, memory_order_relaxed))
		atomic_fetch_add_explicit(&w->beats, 1, memory_order_relaxed);
	atomic_store(&w->go, 0);
}

void rig_wait_go(struct rig_worker *w)
{
	int n;

	for (;;) {
		n = atomic_load(&w->go);
		if (n > 0) {
			atomic_fetch_sub(&w->go, 1);
			return;
		}
		syscall(SYS_futex, &w->go, FUTEX_WAIT_PRIVATE, n, NULL, NULL, 0);
	}
}

void rig_go(struct rig_worker *w)
{
	atomic_fetch_add(&w->go, 1);
	syscall(SYS_futex, &w->go, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

long rig_syscall_mark(long nr, long a, long b, long c, atomic_ulong *mark)
{
	long ret;

	asm volatile("syscall\n\t"
		     "movq $1, (%[mark])\n\t"
		     : "=a"(ret)
		     : "a"(nr), "D"(a), "S"(b), "d"(c), [mark] "b"(mark)
		     : "rcx", "r11", "memory");
	return ret;
}

long rig_read_mark(int fd, void *buf, size_t len, atomic_ulong *mark)
{
	return rig_syscall_mark(SYS_read, fd, (long)buf, len, mark);
}

uint64_t rig_cpu_time(struct rig_worker *w)
{
	struct timespec t;
	clockid_t id;

	if (pthread_getcpuclockid(w->thread, &id) || clock_gettime(id, &t))
		return 0;
	return t.tv_sec * NSEC + t.tv_nsec;
}

bool rig_wait_cpu(struct rig_worker *w, uint64_t ns)
{
	uint64_t start = rig_cpu_time(w);

	return RIG_WAIT(rig_cpu_time(w) - start >= ns);
}

bool rig_wait_beats(struct rig_worker *w, unsigned long n)
{
	unsigned long start = atomic_load(&w->beats);

	return RIG_WAIT(atomic_load(&w->beats) - start >= n);
}

bool rig_is_still(struct rig_worker *w, unsigned int n)
{
	unsigned long start = atomic_load(&w->beats);

	while (n--) {
		rig_nap();
		if (atomic_load(&w->beats) != start)
			return false;
	}
	return true;
}
