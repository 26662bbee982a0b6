// SPDX-License-Identifier: MIT
/* kern.c - the backend that asks gk.ko: the only file that calls /dev/gk. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

static int kern_start(struct runtime *rt)
{
	struct gk_setup setup = {
		.size = sizeof(setup),
		.ncores = rt->ncores,
		.max_workers = rt->max_workers,
		.slice_ns = rt->slice_ns,
		.grain_ns = rt->grain_ns,
		.bound = rt->bound,
		.manager_fd = rt->manager_fd,
	};
	uint32_t cpus[GK_MAX_CORES];
	unsigned int i;
	char *map;
	int fd, err;

	fd = open("/dev/gk", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (i = 0; i < rt->ncores; i++)
		cpus[i] = rt->cores[i].cpu;
	setup.cpus = (uintptr_t)cpus;
	if (ioctl(fd, GK_IOC_SETUP, &setup) < 0)
		goto err_close;
	map = mmap(NULL, setup.map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		goto err_close;
	rt->fd = fd;
	rt->map = map;
	rt->map_size = setup.map_size;
	rt->page = (void *)map;
	rt->worker_off = setup.worker_off;
	rt->worker_stride = setup.worker_stride;
	for (i = 0; i < rt->ncores; i++)
		rt->cores[i].page = (void *)(map + setup.core_off + i * setup.core_stride);
	return 0;

err_close:
	err = -errno;
	close(fd);
	return err;
}

static int kern_enter(struct worker *w, unsigned int core)
{
	struct runtime *rt = w->rt;
	struct gk_enter enter = { .size = sizeof(enter), .flags = GK_ENTER_TASKLESS, .core = core };

	if (ioctl(rt->fd, GK_IOC_ENTER, &enter) < 0)
		return -errno;
	w->id = enter.id;
	w->wp = (void *)(rt->map + rt->worker_off + enter.id * rt->worker_stride);
	return 0;
}

static int kern_park(struct worker *w, enum gk_park how)
{
	if (unlikely(load(&w->cp->cpu) != w->core->cpu) && how == GK_PARK_STANDBY)
		take_core_home(w);
	/* A worker that PULL moved comes back on another core. */
	if (ioctl(w->rt->fd, GK_IOC_PARK, how) < 0 && errno != EINTR)
		return -errno;
	/* Let go because the group was stopped, not granted. */
	return load_acquire(&w->rt->page->stopping) ? -ESHUTDOWN : 0;
}

/* It runs, and gk.ko says that it is BLOCKED: on a CPU that is not its core's. */
static void kern_unblocked(struct worker *w)
{
	if (load(&w->wp->flags) & GK_WF_STRAY && !come_home(w))
		usleep(1000);
}

static int kern_move(struct runtime *rt, unsigned int core)
{
	return ioctl(rt->fd, GK_IOC_MOVE, core) ? -errno : 0;
}

static int kern_wake(struct runtime *rt, unsigned int core)
{
	return ioctl(rt->fd, GK_IOC_WAKE, core) > 0;
}

static void kern_arm(struct runtime *rt, unsigned int core)
{
	ioctl(rt->fd, GK_IOC_ARM, core);
}

static void kern_unhold(struct runtime *rt, unsigned int worker)
{
	ioctl(rt->fd, GK_IOC_UNHOLD, worker);
}

static int kern_pull(struct worker *w, unsigned int core)
{
	return ioctl(w->rt->fd, GK_IOC_PULL, core);
}

static bool kern_asleep(struct worker *w)
{
	return load(&w->wp->state) == GK_W_BLOCKED;
}

static void kern_exit(struct worker *w)
{
	ioctl(w->rt->fd, GK_IOC_EXIT, 0);
}

static void kern_stop(struct runtime *rt)
{
	ioctl(rt->fd, GK_IOC_STOP, 0);
}

static void kern_quit(struct runtime *rt)
{
}

static void kern_finish(struct runtime *rt)
{
	munmap(rt->map, rt->map_size);
	close(rt->fd);
}

const struct backend gk_backend_kern = {
	.name = "gk.ko",
	.start = kern_start,
	.enter = kern_enter,
	.park = kern_park,
	.unblocked = kern_unblocked,
	.wake = kern_wake,
	.arm = kern_arm,
	.unhold = kern_unhold,
	.pull = kern_pull,
	.move = kern_move,
	.asleep = kern_asleep,
	.exit = kern_exit,
	.stop = kern_stop,
	.quit = kern_quit,
	.finish = kern_finish,
};
