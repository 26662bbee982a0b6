// SPDX-License-Identifier: MIT
/*
 * dump.c - what the tasks do, for people: the deadlock report, gk_dump(), SIGQUIT, leaks at the end, hogs.
 *
 * A dump stops nobody. It reads tasks while they go on, so what it says of one task is of one moment, but two tasks may
 * be of different moments; a task that went on while its stack was read is said to have done so. What it reads is
 * libgk's own memory, which stays mapped while the dump holds `dumping` and own_lock, or is read through the kernel
 * (peek()), which does not fault. It neither allocates nor takes a lock of the C library: a task that sleeps may hold
 * it.
 *
 * The stack of
 *   a task that waits or is ready	begins where it switched away: task->sp;
 *   one that the monitor preempted	where the signal found it: worker->stopped_at;
 *   one that is asleep in the kernel	where /proc/self/task/TID/syscall says; registers other than two are unknown;
 *   one that runs			is copied by its own thread, in a signal handler (ask()).
 *
 * Deadlock. rt->awake counts, in its lower half, the workers that are not parked without a ready task: those that have
 * a task (running, preempted, blocked in the kernel), search, or are on their way. Its upper half counts how often one
 * was added. A worker takes itself off before it parks as STANDBY or HELD, and adds itself before it looks at anything
 * after that; for a HELD one, who makes its task ready does so, before that task can be found. So:
 *   - Only workers that count change a queue or a timer heap, and what a waiting task waits for.
 *   - Who takes the last one off (one read-modify-write: of two that park at once one is last) sees the queues as they
 *     are, as each worker's changes come before it took itself off. If they are empty, no deadline is set, and `awake`
 *     has not changed while it looked, then nothing runs and nothing will: no task is left that could make one ready.
 *   - If they are not empty, somebody will be granted for it, and parks later.
 * So the report is neither early nor forgotten, with either backend. Something outside of the tasks that may wake one
 * would have to count as awake.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "chan.h"
#include "symbol.h"

#define FRAMES		64
#define SHOWN		1000u		/* tasks of one dump with their stacks; more are counted */
#define STACK_COPY	(32u << 10)	/* of a running task's stack */
#define ENTRY_SIZE	48		/* of task_entry(), which nobody called */
#define OWN_STACK	(128u << 10)	/* of the thread that searches memory: more than that takes */
#define ANSWER_NS	500000000ull	/* for a thread that is to copy its stack */

/* ---- output ------------------------------------------------------------------------------------------------------ */

static struct {
	int fd;
	int err;
	size_t n;
	char buf[4096];
} out;

static void flush(void)
{
	size_t done = 0;
	ssize_t n;

	while (done < out.n && !out.err) {
		n = write(out.fd, out.buf + done, out.n - done);
		if (n >= 0)
			done += n;
		else if (errno != EINTR)
			out.err = -errno;
	}
	out.n = 0;
}

static void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void print(const char *fmt, ...)
{
	va_list ap;
	int n;

	if (sizeof(out.buf) - out.n < 1024)
		flush();
	va_start(ap, fmt);
	n = vsnprintf(out.buf + out.n, sizeof(out.buf) - out.n, fmt, ap);
	va_end(ap);
	if (n > 0)
		out.n += n < (int)(sizeof(out.buf) - out.n) ? n : (int)(sizeof(out.buf) - out.n) - 1;
}

/* ---- one dump at a time ------------------------------------------------------------------------------------------ */

#define BY_THREAD	1u
#define BY_WORKER	2u		/* may be stopped for good while it has it */
#define WAITED_FOR	4u

static uint32_t dumping;

static void dump_lock(void)
{
	uint32_t me = self() ? BY_WORKER : BY_THREAD, v;

	while (!cas(&dumping, 0, me)) {
		v = load(&dumping);
		me |= WAITED_FOR;
		if (v && (v & WAITED_FOR || cas(&dumping, v, v | WAITED_FOR)))
			futex_wait(&dumping, v | WAITED_FOR, NULL);
	}
	announce_locked(&dumping);
}

static void dump_unlock(void)
{
	announce_unlock(&dumping);
	if (exchange(&dumping, 0) & WAITED_FOR)
		futex_wake(&dumping, 1);
}

/* The same when no worker runs any more: one that had it never gives it back. */
static void dump_lock_last(void)
{
	uint32_t v;

	for (;;) {
		v = load(&dumping);
		if (!(v & BY_THREAD)) {
			if (cas(&dumping, v, BY_THREAD | (v & WAITED_FOR)))
				return;
		} else if (v & WAITED_FOR || cas(&dumping, v, v | WAITED_FOR)) {
			futex_wait(&dumping, v | WAITED_FOR, NULL);
		}
	}
}

/* ---- reading what may not be there ------------------------------------------------------------------------------- */

static bool peek(void *to, const void *from, size_t size)
{
	struct iovec local = { to, size }, remote = { (void *)from, size };
	int err = errno, fd;
	bool read;

	read = process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)size;
	if (!read && errno != EFAULT) {
		fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			read = pread(fd, to, size, (off_t)(uintptr_t)from) == (ssize_t)size;
			close(fd);
		}
	}
	errno = err;
	return read;
}

/* The task's struct is what lies above its stack. */
static bool on_stack(const struct gk_task *t, uintptr_t sp)
{
	return sp >= (uintptr_t)t->stack && sp < (uintptr_t)t && !(sp & 7);
}

static void print_name(const struct gk_task *t)
{
	char name[sizeof(t->name)];
	unsigned int i;

	memcpy(name, t->name, sizeof(name));
	name[sizeof(name) - 1] = 0;
	for (i = 0; name[i]; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			name[i] = '?';
	print("task %llu", (unsigned long long)load(&t->id));
	if (name[0])
		print(" '%s'", name);
}

/* A task that another's wait points to. */
static void print_other(const char *before, const void *p)
{
	struct gk_task t;

	if (!p || !peek(&t, p, sizeof(t)))
		return;
	print("%s", before);
	print_name(&t);
}

/* ---- threads that are elsewhere ---------------------------------------------------------------------------------- */

enum answer {
	ANSWER_NONE,
	ANSWER_WANTED,
	ANSWER_TAKEN,		/* its thread writes it */
	ANSWER_DONE,
};

/* To one thread at a time, by who holds `dumping`. */
static struct {
	uint32_t state;
	bool broken;		/* a thread never finished its answer: nobody is asked any more */
	struct worker *w;
	struct gk_task *task;
	struct regs regs;
	uintptr_t lo, hi;
	char bytes[STACK_COPY];
} request;

static struct sigaction old_sigurg;

/* SIGURG, in the thread that is asked; the monitor's and the program's own come after it. */
static void asked(int sig, siginfo_t *info, void *context)
{
	struct worker *w = self();
	int err = errno;
	bool ours = false;
	struct gk_task *t;
	uintptr_t sp;

	if (w && load(&request.w) == w && cas(&request.state, ANSWER_WANTED, ANSWER_TAKEN)) {
		t = w->task;
		regs_interrupted(&request.regs, context);
		sp = request.regs.v[DW_SP];
		request.task = t;
		request.lo = request.hi = 0;
		if (t && on_stack(t, sp & ~7ul)) {
			request.lo = sp & ~7ul;
			request.hi = (uintptr_t)t - request.lo > STACK_COPY ? request.lo + STACK_COPY : (uintptr_t)t;
			copy_raw(request.bytes, (void *)request.lo, request.hi - request.lo);
		}
		store_release(&request.state, ANSWER_DONE);
		futex_wake(&request.state, 1);
		ours = w->rt->be == &gk_backend_kern;
	}
	errno = err;
	if (ours)
		return;
	if (old_sigurg.sa_flags & SA_SIGINFO)
		old_sigurg.sa_sigaction(sig, info, context);
	else if (old_sigurg.sa_handler != SIG_DFL && old_sigurg.sa_handler != SIG_IGN)
		old_sigurg.sa_handler(sig);
}

static void handle_sigurg(void)
{
	struct sigaction sa = { .sa_sigaction = asked, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGURG, NULL, &old_sigurg);
	sigaction(SIGURG, &sa, NULL);
}

/* Has the worker's thread put where it is, and its stack, into `request`. */
static bool ask(struct worker *w)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint64_t deadline = now_ns() + ANSWER_NS;
	uint32_t state;

	if (request.broken)
		return false;
	pthread_once(&once, handle_sigurg);
	store(&request.w, w);
	store_release(&request.state, ANSWER_WANTED);
	if (syscall(SYS_tgkill, getpid(), w->tid, SIGURG))
		return false;
	while ((state = load_acquire(&request.state)) != ANSWER_DONE && now_ns() < deadline)
		futex_wait(&request.state, state, &deadline);
	if (state == ANSWER_WANTED && cas(&request.state, ANSWER_WANTED, ANSWER_NONE))
		return false;
	/* Its thread is in the handler, maybe without a CPU. */
	deadline += 4 * ANSWER_NS;
	while ((state = load_acquire(&request.state)) != ANSWER_DONE && now_ns() < deadline)
		futex_wait(&request.state, state, &deadline);
	request.broken = state != ANSWER_DONE;
	return !request.broken;
}

static bool read_proc(int tid, const char *what, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* Those that a task is likely to be asleep in. */
static const struct {
	int number;
	const char *name;
} calls[] = {
/* clang-format off */
#define CALL(name) { SYS_##name, #name }
	CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(pread64), CALL(pwrite64), CALL(open), CALL(openat),
	CALL(close), CALL(stat), CALL(newfstatat), CALL(fsync), CALL(fdatasync), CALL(getdents64), CALL(unlink),
	CALL(rename), CALL(flock), CALL(fcntl), CALL(ioctl), CALL(poll), CALL(ppoll), CALL(select), CALL(pselect6),
	CALL(epoll_wait), CALL(epoll_pwait), CALL(accept), CALL(accept4), CALL(connect), CALL(recvfrom), CALL(sendto),
	CALL(recvmsg), CALL(sendmsg), CALL(recvmmsg), CALL(sendmmsg), CALL(futex), CALL(nanosleep),
	CALL(clock_nanosleep), CALL(pause), CALL(wait4), CALL(waitid), CALL(rt_sigsuspend), CALL(rt_sigtimedwait),
	CALL(mmap), CALL(munmap), CALL(mprotect), CALL(madvise), CALL(msync), CALL(execve), CALL(io_uring_enter),
	CALL(splice), CALL(sendfile), CALL(copy_file_range), CALL(sched_yield),
#undef CALL
/* clang-format on */
};

static const char *call_name(long number)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i].number == number)
			return calls[i].name;
	return NULL;
}

/* ---- stacks ------------------------------------------------------------------------------------------------------ */

static void print_frame(int n, uintptr_t pc)
{
	struct place p;

	place_of(pc, &p);
	if (!p.module)
		print("    #%-2d %#lx\n", n, (unsigned long)pc);
	else if (!p.function)
		print("    #%-2d %s+%#lx\n", n, p.module, (unsigned long)p.offset);
	else if (!p.file)
		print("    #%-2d %s+%#lx (%s)\n", n, p.function, (unsigned long)p.offset, p.module);
	else
		print("    #%-2d %s+%#lx (%s:%u)\n", n, p.function, (unsigned long)p.offset, p.file, p.line);
}

static void print_stack(struct regs *regs, const struct stack_view *stack)
{
	static uintptr_t pcs[FRAMES];
	int i, n = unwind(regs, stack, pcs, FRAMES);

	for (i = 0; i < n && pcs[i] - (uintptr_t)task_entry >= ENTRY_SIZE; i++)
		print_frame(i, pcs[i]);
	if (n == FRAMES)
		print("    ...\n");
}

static void print_stack_in_place(const struct gk_task *t, struct regs *regs)
{
	struct stack_view stack = { (uintptr_t)t->stack, (uintptr_t)t, NULL };

	if (on_stack(t, regs->v[DW_SP] & ~7ul))
		print_stack(regs, &stack);
}

/* ---- one task ---------------------------------------------------------------------------------------------------- */

static const char *const reasons[] = {
	[WHY_NONE] = "nothing",
	[WHY_JOIN] = "join",
	[WHY_SLEEP] = "sleep",
	[WHY_CHAN_SEND] = "chan send",
	[WHY_CHAN_RECV] = "chan receive",
	[WHY_NULL_CHAN] = "chan of NULL, for ever",
	[WHY_SELECT] = "select",
	[WHY_MUTEX] = "mutex lock",
	[WHY_RWLOCK_READ] = "rwlock read",
	[WHY_RWLOCK_WRITE] = "rwlock write",
	[WHY_COND] = "condition",
	[WHY_WG] = "wait group",
	[WHY_ONCE] = "once",
	[WHY_SEM] = "semaphore",
	[WHY_BARRIER] = "barrier",
	[WHY_SCOPE] = "scope",
	[WHY_SCOPE_SLOT] = "scope slot",
};

static const char *reason(enum why why)
{
	return why < ARRAY_SIZE(reasons) && reasons[why] ? reasons[why] : "something";
}

static void print_time(const char *before, uint64_t ns)
{
	unsigned long long ms = ns / 1000000;

	if (ms < 1000)
		print("%s%llu ms", before, ms);
	else if (ms < 120000)
		print("%s%llu.%03llu s", before, ms / 1000, ms % 1000);
	else
		print("%s%llu min", before, ms / 60000);
}

static void print_age(uint64_t since)
{
	uint64_t now = now_ns();

	if (since && since <= now)
		print_time(", ", now - since);
}

static void print_deadline(const struct timer_node *timer)
{
	uint64_t when = load(&timer->when), now = now_ns();

	if (load(&timer->core))
		print_time(", deadline in ", when > now ? when - now : 0);
}

/* Who holds what the task waits for, as the word of that says it; NULL: nobody, or nobody in particular. */
static struct gk_task *holder(enum why why, const void *on)
{
	uintptr_t word, marks = 63;	/* a task's address is a multiple of 64 */

	switch (why) {
	case WHY_MUTEX:
	case WHY_ONCE:
	case WHY_RWLOCK_READ:
	case WHY_RWLOCK_WRITE:
		_Static_assert(!offsetof(gk_mutex, owner) && !offsetof(gk_once, task) && !offsetof(gk_rwlock, word),
			       "first");
		if (!peek(&word, on, sizeof(word)))
			return NULL;
		/* Of a lock with readers it is their number, and bit 0 is not set. */
		if ((why == WHY_RWLOCK_READ || why == WHY_RWLOCK_WRITE) && !(word & 1))
			return NULL;
		return (struct gk_task *)(word & ~marks);
	default:
		return NULL;
	}
}

static void print_select(const struct select *on)
{
	struct select s;
	struct offer o;
	uint32_t i;

	if (!peek(&s, on, sizeof(s)))
		return;
	for (i = 0; i < s.n && i < 8 && peek(&o, &s.offers[i], sizeof(o)); i++)
		print("%s%s %p", i ? ", " : " of ", o.send ? "send" : "receive", (void *)o.chan);
	if (i < s.n)
		print(" and %u more", s.n - i);
}

/* What it waits for, and since when. */
static void print_wait(const struct gk_task *t)
{
	enum why why = load(&t->why);
	const void *on = load(&t->on);

	print(": %s", reason(why));
	switch (why) {
	case WHY_JOIN:
		print_other(" of ", on);
		break;
	case WHY_SELECT:
		print_select(on);
		break;
	default:
		if (on)
			print(" on %p", on);
		print_other(" held by ", holder(why, on));
		break;
	}
	print_age(load(&t->since));
	print_deadline(&t->timer);
	if (load(&t->pinned))
		print(", pinned");
	if (load(&t->cancelled))
		print(", cancelled");
}

struct dump {
	struct runtime *rt;
	struct gk_task *skip;		/* has been shown */
	bool disturb;			/* a thread may have its call interrupted */
	unsigned int shown, more;
	struct mounted *mounted;
};

/* Tasks that workers have: a hash table by the task's address. */
struct mounted {
	size_t size, bytes;		/* a power of two */
	struct {
		const struct gk_task *task;
		struct worker *w;
	} entry[];
};

static size_t hash(const void *p)
{
	return (uintptr_t)p / 64 * 0x9e3779b97f4a7c15ull >> 20;
}

static struct mounted *mounted_tasks(struct runtime *rt)
{
	size_t size = 16, bytes, at;
	struct gk_task *t;
	struct mounted *m;
	struct worker *w;
	unsigned int i;

	while (size < 2 * rt->max_workers)
		size *= 2;
	bytes = sizeof(*m) + size * sizeof(m->entry[0]);
	m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return NULL;
	m->size = size;
	m->bytes = bytes;
	for (i = 0; i < load(&rt->nids); i++) {
		w = load_acquire(&rt->workers[i]);
		t = w && !load_acquire(&w->gone) ? load(&w->task) : NULL;
		if (!t)
			continue;
		for (at = hash(t) % size; m->entry[at].task; at = (at + 1) % size)
			;
		m->entry[at].task = t;
		m->entry[at].w = w;
	}
	return m;
}

static struct worker *mounted_on(const struct mounted *m, const struct gk_task *t)
{
	size_t at;

	if (!m)
		return NULL;
	for (at = hash(t) % m->size; m->entry[at].task; at = (at + 1) % m->size)
		if (m->entry[at].task == t)
			return m->entry[at].w;
	return NULL;
}

static void print_mounted(struct dump *d, struct gk_task *t, struct worker *w)
{
	unsigned int core = load(&w->wp->core), state = load(&w->wp->state);
	const void *stopped_at = load_acquire(&w->stopped_at);
	struct stack_view copy = {};
	ucontext_t context;
	struct regs regs = {};
	unsigned long sp, pc;
	char buf[256];
	char *p;
	long nr;

	if (w == self()) {
		/* The dump's own caller. */
		print(": running on core %u, this dump\n", core);
		regs_set(&regs, DW_PC, (uintptr_t)__builtin_return_address(0));
		regs_set(&regs, DW_FP, *(uintptr_t *)__builtin_frame_address(0));
		regs_set(&regs, DW_SP, (uintptr_t)__builtin_frame_address(0) + 16);
		print_stack_in_place(t, &regs);
		return;
	}
	if (stopped_at) {
		print(": preempted on core %u\n", core);
		/* It may go on meanwhile, and its handler's frame be gone. */
		if (peek(&context, stopped_at, sizeof(context)) && load_acquire(&w->stopped_at) == stopped_at) {
			regs_interrupted(&regs, &context);
			print_stack_in_place(t, &regs);
		} else {
			print("    (it went on)\n");
		}
		return;
	}
	nr = -2;
	sp = pc = 0;
	if (read_proc(w->tid, "syscall", buf, sizeof(buf)) && strncmp(buf, "running", 7)) {
		nr = strtol(buf, NULL, 10);
		p = strrchr(buf, ' ');
		if (p) {
			pc = strtoul(p, NULL, 16);
			*p = 0;
			p = strrchr(buf, ' ');
			sp = p ? strtoul(p, NULL, 16) : 0;
		}
	}
	if (state == GK_W_READY)
		print(": preempted on core %u\n", core);
	else if (nr == -1)
		print(": asleep in a page fault on core %u\n", core);
	else if (nr < 0)
		print(": running on core %u\n", core);
	else if (call_name(nr))
		print(": in %s() on core %u\n", call_name(nr), core);
	else
		print(": in system call %ld on core %u\n", nr, core);
	if ((nr == -2 || d->disturb || state == GK_W_READY) && ask(w)) {
		if (request.task == t && request.hi) {
			copy = (struct stack_view){ request.lo, request.hi, request.bytes };
			print_stack(&request.regs, &copy);
		} else {
			print(request.task == t ? "    (on another stack, in a signal handler)\n" : "    (it went on)\n");
		}
	} else if (pc && !on_stack(t, sp)) {
		print("    (on another stack, in a signal handler)\n");
	} else if (pc) {
		regs_set(&regs, DW_PC, pc);
		regs_set(&regs, DW_SP, sp);
		print_stack_in_place(t, &regs);
	}
}

static void print_task(struct dump *d, struct gk_task *t)
{
	struct worker *w = mounted_on(d->mounted, t);
	uint32_t claim = load_acquire(&t->claim);
	void **sp = load(&t->sp);
	uint64_t id = load(&t->id);
	struct regs regs;

	print_name(t);
	if (load(&t->ended)) {
		print(": ended, neither joined nor detached\n");
		return;
	}
	if (w && load(&w->task) == t) {
		print_mounted(d, t, w);
		return;
	}
	if (!on_stack(t, (uintptr_t)sp)) {
		print(": (it went on)\n");
		return;
	}
	regs_saved(&regs, sp);
	if (regs.v[DW_PC] == (uintptr_t)task_entry) {
		print(": not started yet\n");
		print_frame(0, context_fn(sp));
		return;
	}
	if (claim)
		print_wait(t);
	else
		print(": ready");
	print("\n");
	print_stack_in_place(t, &regs);
	if (load(&t->sp) != sp || load(&t->id) != id || load(&t->claim) != claim)
		print("    (it went on while this was read)\n");
}

static void dump_task(struct gk_task *t, void *arg)
{
	struct dump *d = arg;

	if (t == d->skip)
		return;
	if (d->shown >= SHOWN) {
		d->more++;
		return;
	}
	d->shown++;
	print("\n");
	print_task(d, t);
}

/* `dumping` held. */
static void dump_tasks(struct runtime *rt, bool disturb)
{
	struct dump d = { .rt = rt, .disturb = disturb };

	modules_load();
	d.mounted = mounted_tasks(rt);
	if (load(&rt->main->id))
		dump_task(rt->main, &d);
	d.skip = rt->main;
	if (!tasks_each(rt, false, dump_task, &d))
		print("\nTasks with a stack size of their own are not shown: their list is in use.\n");
	if (d.more)
		print("\n%u more tasks\n", d.more);
	if (d.mounted)
		munmap(d.mounted, d.mounted->bytes);
}

/* Outside, as every system call is. */
int gk_dump(int fd)
{
	struct runtime *rt;
	int err = errno;
	int ret = -ESRCH;

	dump_lock();
	rt = load(&gk_rt);
	if (rt && rt->main) {
		out.fd = fd;
		out.err = 0;
		dump_tasks(rt, false);
		flush();
		ret = out.err;
	}
	dump_unlock();
	errno = err;
	return ret;
}

/* ---- deadlock ---------------------------------------------------------------------------------------------------- */

/* Another worker is about, or a held one's task is made ready: before it can be found. */
void awake(struct runtime *rt)
{
	__atomic_add_fetch(&rt->awake, (1ull << 32) + 1, __ATOMIC_SEQ_CST);
}

static bool nothing_to_do(struct runtime *rt)
{
	unsigned int i;

	if (load_acquire(&rt->page->gq_len) || load_acquire(&rt->page->stopping))
		return false;
	for (i = 0; i < rt->ncores; i++) {
		struct gk_core_page *cp = rt->cores[i].page;

		if (load_acquire(&cp->q_next) || load_acquire(&cp->q_head) != load_acquire(&cp->q_tail) ||
		    load_acquire(&cp->deadline))
			return false;
	}
	return true;
}

/* The calling worker is about to park, or did not come about. Outside. */
void asleep(struct runtime *rt)
{
	uint64_t v = __atomic_sub_fetch(&rt->awake, 1, __ATOMIC_SEQ_CST);

	if ((uint32_t)v || !nothing_to_do(rt) || __atomic_load_n(&rt->awake, __ATOMIC_SEQ_CST) != v)
		return;
	dump_lock();
	out.fd = STDERR_FILENO;
	out.err = 0;
	print("gk: all tasks are asleep - deadlock!\n");
	dump_tasks(rt, false);
	flush();
	_exit(2);
}

/* ---- SIGQUIT ----------------------------------------------------------------------------------------------------- */

/* The manager's thread writes the dump: it is in no library when it looks. */
static void quit_handler(int sig)
{
	struct runtime *rt = load(&gk_rt);
	uint64_t one = 1;
	int err = errno;

	if (rt) {
		store(&rt->dump_wanted, 1);
		if (write(rt->manager_fd, &one, sizeof(one)) < 0)
			rt = NULL;
	}
	if (!rt) {
		signal(SIGQUIT, SIG_DFL);
		raise(SIGQUIT);
	}
	errno = err;
}

static bool env_is(const char *name, const char *value)
{
	const char *s = getenv(name);

	return s && !strcmp(s, value);
}

/* If the program has not made it its own. */
static void quit_on(void)
{
	struct sigaction sa = { .sa_handler = quit_handler, .sa_flags = SA_ONSTACK | SA_RESTART }, old;

	if (env_is("GK_SIGQUIT", "off") || sigaction(SIGQUIT, NULL, &old) || old.sa_flags & SA_SIGINFO ||
	    old.sa_handler != SIG_DFL)
		return;
	/* SIGURG, too: it is to find the task, not this handler on another stack. */
	sigfillset(&sa.sa_mask);
	sigaction(SIGQUIT, &sa, NULL);
}

static void quit_off(void)
{
	struct sigaction old;

	if (!sigaction(SIGQUIT, NULL, &old) && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == quit_handler)
		signal(SIGQUIT, SIG_DFL);
}

/* By the manager, when its eventfd was written. */
void dump_if_wanted(struct runtime *rt)
{
	bool go_on;

	if (!load(&rt->dump_wanted) || !exchange(&rt->dump_wanted, 0))
		return;
	go_on = env_is("GK_SIGQUIT", "continue");
	dump_lock();
	out.fd = STDERR_FILENO;
	out.err = 0;
	print("gk: SIGQUIT, %s backend, %u cores\n", rt->be->name, rt->ncores);
	dump_tasks(rt, !go_on);
	flush();
	if (!go_on)
		_exit(2);
	dump_unlock();
}

/* ---- hogs -------------------------------------------------------------------------------------------------------- */

/* CPU time, so that neither a busy machine nor a call that sleeps makes a hog. */
static uint64_t thread_time(int tid)
{
	struct timespec ts;

	if (clock_gettime((clockid_t)(~(unsigned int)tid << 3 | 6), &ts))
		return 0;
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void warn(struct runtime *rt, struct worker *w, struct gk_task *t, uint64_t ns)
{
	struct stack_view copy;

	dump_lock();
	out.fd = STDERR_FILENO;
	out.err = 0;
	modules_load();
	if (ask(w) && request.task == t) {
		print("gk: ");
		print_name(t);
		print(" has kept core %u for %llu ms\n", load(&w->wp->core), (unsigned long long)ns / 1000000);
		copy = (struct stack_view){ request.lo, request.hi, request.bytes };
		print_stack(&request.regs, &copy);
		flush();
	}
	dump_unlock();
}

static void watch(struct runtime *rt, struct worker *w)
{
	struct gk_task *t = load(&w->task);
	uint64_t switches, blocks, time;

	if (!t || load(&w->wp->taskless) || load_acquire(&w->gone))
		return;
	switches = load(&w->wp->switches);
	blocks = load(&w->wp->blocks);
	if (switches != w->hog.switches || blocks != w->hog.blocks) {
		w->hog.switches = switches;
		w->hog.blocks = blocks;
		w->hog.since = thread_time(w->tid);
		w->hog.warned = false;
		return;
	}
	if (w->hog.warned || load(&w->wp->state) != GK_W_RUNNING)
		return;
	time = thread_time(w->tid) - w->hog.since;
	if (time < rt->warn_hog_ns)
		return;
	w->hog.warned = true;
	warn(rt, w, t, time);
}

static void *watcher(void *arg)
{
	struct runtime *rt = arg;
	uint64_t deadline;
	unsigned int i;

	while (!load_acquire(&rt->main_done)) {
		for (i = 0; i < load(&rt->nids); i++) {
			struct worker *w = load_acquire(&rt->workers[i]);

			if (w)
				watch(rt, w);
		}
		deadline = now_ns() + rt->warn_hog_ns / 4;
		futex_wait(&rt->main_done, 0, &deadline);
	}
	return NULL;
}

static void hog_on(struct runtime *rt)
{
	sigset_t all, old;
	int err;

	if (!rt->warn_hog_ns)
		return;
	/* The program's signals are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&rt->watcher, NULL, watcher, rt);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		say("GK_WARN_HOG_MS: pthread_create: %s", strerror(err));
		rt->warn_hog_ns = 0;
	}
}

static void hog_off(struct runtime *rt)
{
	if (!rt->warn_hog_ns)
		return;
	futex_wake(&rt->main_done, INT32_MAX);
	pthread_join(rt->watcher, NULL);
}

/* ---- leaks: all workers but the caller's are stopped, nothing changes -------------------------------------------- */

/* A task that waits without a deadline. */
struct stuck {
	struct gk_task *t;
	bool live;			/* something that may run knows what it waits for */
	bool searched;			/* and its stack was looked through for more */
};

/* A channel that would end its wait. The address is kept inverted, so that the search does not find it here. */
struct wish {
	uintptr_t not_on;
	struct stuck *s;
};

struct range {
	uintptr_t lo, hi;
};

struct leaks {
	struct runtime *rt;
	struct mounted *mounted;
	size_t n, nwishes, nranges, alloc, alloc_wishes, alloc_ranges;
	struct stuck *stuck;		/* by t */
	struct wish *wishes;		/* by not_on */
	struct range *ranges;		/* of all stacks, in order */
	unsigned int live;		/* tasks that run, are ready or wait until a deadline */
	bool registers_known;		/* of those of them that have a thread */
	uintptr_t frame;		/* below it our own stack is of the search */
	bool changed;
};

static bool is_stuck(const struct leaks *l, const struct gk_task *t)
{
	return t->claim & WAITING && !t->timer.core && !mounted_on(l->mounted, t);
}

static void wish(struct leaks *l, struct stuck *s, const gk_chan *c)
{
	if (s && l->nwishes < l->alloc_wishes)
		l->wishes[l->nwishes++] = (struct wish){ ~(uintptr_t)c, s };
}

/* The channels that @t waits for, noted for @s if that is not NULL; how many. */
static size_t wishes(struct leaks *l, const struct gk_task *t, struct stuck *s)
{
	const struct select *on;
	size_t i;

	switch (t->why) {
	case WHY_CHAN_SEND:
	case WHY_CHAN_RECV:
		wish(l, s, t->on);
		return 1;
	case WHY_SELECT:
		on = t->on;
		for (i = 0; i < on->n; i++)
			wish(l, s, on->offers[i].chan);
		return on->n;
	default:
		return 0;
	}
}

static void count_task(struct gk_task *t, void *arg)
{
	struct leaks *l = arg;
	struct worker *w;

	l->alloc_ranges++;
	if (!t->id || t->ended || t == l->rt->main)
		return;
	if (is_stuck(l, t)) {
		l->alloc++;
		l->alloc_wishes += wishes(l, t, NULL);
		return;
	}
	l->live++;
	w = mounted_on(l->mounted, t);
	if (w && !load(&w->stopped_at))
		l->registers_known = false;
}

static void collect_task(struct gk_task *t, void *arg)
{
	struct leaks *l = arg;

	if (l->nranges < l->alloc_ranges)
		l->ranges[l->nranges++] = (struct range){ (uintptr_t)t->stack - 4096,
							  ((uintptr_t)t + sizeof(*t) + 4095) & ~4095ul };
	if (t->id && !t->ended && t != l->rt->main && is_stuck(l, t) && l->n < l->alloc)
		l->stuck[l->n++] = (struct stuck){ .t = t };
}

/* qsort() may allocate. */
/* clang-format off */
#define SORT(array, n, less) do {							\
	size_t _gap, _i, _j;								\
											\
	for (_gap = (n) / 2; _gap; _gap = _gap == 2 ? 1 : _gap * 5 / 11)		\
		for (_i = _gap; _i < (n); _i++) {					\
			__typeof__((array)[0]) _x = (array)[_i], *a = &_x, *b;		\
											\
			for (_j = _i; _j >= _gap; _j -= _gap) {				\
				b = &(array)[_j - _gap];				\
				if (!(less))						\
					break;						\
				(array)[_j] = *b;					\
			}								\
			(array)[_j] = _x;						\
		}									\
} while (0)
/* clang-format on */

static struct stuck *stuck_task(const struct leaks *l, const struct gk_task *t)
{
	size_t lo = 0, hi = l->n, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (l->stuck[mid].t < t)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < l->n && l->stuck[lo].t == t ? &l->stuck[lo] : NULL;
}

/* @word was found where something that may run can see it. */
static void found_word(struct leaks *l, uintptr_t word)
{
	size_t lo = 0, hi = l->nwishes, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (l->wishes[mid].not_on < ~word)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < l->nwishes && l->wishes[lo].not_on == ~word; lo++)
		if (!l->wishes[lo].s->live) {
			l->wishes[lo].s->live = true;
			l->changed = true;
		}
}

static void search_words(struct leaks *l, const uintptr_t *words, size_t n)
{
	uintptr_t min, max;

	if (!l->nwishes)
		return;
	min = ~l->wishes[l->nwishes - 1].not_on;
	max = ~l->wishes[0].not_on;
	for (; n--; words++)
		if (*words >= min && *words <= max)
			found_word(l, *words);
}

static bool in_stack(const struct leaks *l, uintptr_t page)
{
	size_t lo = 0, hi = l->nranges, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (l->ranges[mid].hi <= page)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < l->nranges && l->ranges[lo].lo <= page;
}

/* All that is written and is no task's stack, page by page; pages that were never touched are left alone. */
static void search_mapping(struct leaks *l, int pagemap, uintptr_t lo, uintptr_t hi)
{
	static uintptr_t page[4096 / sizeof(uintptr_t)] __attribute__((aligned(4096)));
	uint64_t present[64];
	unsigned int i, n;
	uintptr_t ours;
	ssize_t got;

	for (; lo < hi; lo += n * 4096ul) {
		n = hi - lo > 64 * 4096ul ? 64 : (hi - lo) / 4096;
		got = pagemap < 0 ? -1 : pread(pagemap, present, n * 8, lo / 4096 * 8);
		for (i = 0; i < n; i++) {
			uintptr_t at = lo + i * 4096ul;

			if ((got == (ssize_t)n * 8 && !(present[i] >> 62)) || in_stack(l, at) || at == (uintptr_t)page)
				continue;
			if (!peek(page, (void *)at, sizeof(page)))
				continue;
			/* Of our own stack, what the search has put there. */
			ours = 0;
			if (at < l->frame && l->frame - at <= OWN_STACK)
				ours = (l->frame - at) / sizeof(*page);
			if (ours > ARRAY_SIZE(page))
				ours = ARRAY_SIZE(page);
			search_words(l, page + ours, ARRAY_SIZE(page) - ours);
		}
	}
	memset(page, 0, sizeof(page));
}

static void search_memory(struct leaks *l)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	static char buf[8192];
	size_t have = 0;
	char *line, *end;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		have += n;
		buf[have] = 0;
		for (line = buf; (end = strchr(line, '\n')); line = end + 1) {
			unsigned long lo, hi;
			char r, w;

			*end = 0;
			if (sscanf(line, "%lx-%lx %c%c", &lo, &hi, &r, &w) == 4 && r == 'r' && w == 'w' &&
			    !strstr(line, "/dev/"))
				search_mapping(l, pagemap, lo, hi);
		}
		have -= line - buf;
		memmove(buf, line, have);
		if (have == sizeof(buf) - 1)
			have = 0;
	}
	if (fd >= 0)
		close(fd);
	if (pagemap >= 0)
		close(pagemap);
}

/* A task's stack is in use from its stack pointer; of one that has a thread we do not know that. */
static void search_stack(struct leaks *l, const struct gk_task *t)
{
	uintptr_t lo = (uintptr_t)t->sp;

	if (mounted_on(l->mounted, t) || !on_stack(t, lo))
		lo = (uintptr_t)t->stack;
	search_words(l, (const uintptr_t *)lo, ((uintptr_t)t - lo) / sizeof(uintptr_t));
}

static void search_live(struct gk_task *t, void *arg)
{
	struct leaks *l = arg;

	if (!t->ended && t != l->rt->main && !is_stuck(l, t))
		search_stack(l, t);
}

/* Whether a task that may run could end the wait by what it is: its end, its unlock. */
static bool freed_by_task(const struct leaks *l, const struct gk_task *t)
{
	struct stuck *s = stuck_task(l, t);
	uint64_t id;

	if (s)
		return s->live;
	return t != l->rt->main && peek(&id, &t->id, sizeof(id)) && id;
}

static void settle_waits(struct leaks *l)
{
	struct gk_task *owner;
	size_t i;

	for (i = 0; i < l->n; i++) {
		struct stuck *s = &l->stuck[i];
		bool live = s->live;

		if (live)
			continue;
		switch (s->t->why) {
		case WHY_NULL_CHAN:
		case WHY_SLEEP:		/* until GK_FOREVER */
			break;
		case WHY_CHAN_SEND:
		case WHY_CHAN_RECV:
			live = !l->registers_known;
			break;
		case WHY_SELECT:
			live = !l->registers_known && wishes(l, s->t, NULL);
			break;
		case WHY_JOIN:
			live = freed_by_task(l, s->t->on);
			break;
		case WHY_MUTEX:
		case WHY_ONCE:
		case WHY_RWLOCK_READ:
		case WHY_RWLOCK_WRITE:
			owner = holder(s->t->why, s->t->on);
			live = !owner || freed_by_task(l, owner);
			break;
		default:
			/* What is part of a larger object is known by other addresses than its own. */
			live = true;
			break;
		}
		if (live) {
			s->live = true;
			l->changed = true;
		}
	}
}

static void find_live(struct leaks *l)
{
	size_t i;

	search_memory(l);
	tasks_each(l->rt, false, search_live, l);
	do {
		l->changed = false;
		settle_waits(l);
		for (i = 0; i < l->n; i++)
			if (l->stuck[i].live && !l->stuck[i].searched) {
				l->stuck[i].searched = true;
				search_stack(l, l->stuck[i].t);
			}
	} while (l->changed);
}

static void *scratch(size_t n, size_t size)
{
	void *p = mmap(NULL, n * size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* `dumping` held. */
static __attribute__((noinline)) void report_leaks(struct runtime *rt)
{
	struct leaks l = {
		.rt = rt,
		.registers_known = true,
		.mounted = mounted_tasks(rt),
		.frame = (uintptr_t)__builtin_frame_address(0) & ~7ul,
	};
	struct dump d = { .rt = rt, .mounted = l.mounted };
	size_t i;

	out.fd = STDERR_FILENO;
	out.err = 0;
	tasks_each(rt, true, count_task, &l);
	if (!l.alloc && !l.live)
		goto out;
	l.stuck = scratch(l.alloc, sizeof(*l.stuck));
	l.wishes = scratch(l.alloc_wishes, sizeof(*l.wishes));
	l.ranges = scratch(l.alloc_ranges, sizeof(*l.ranges));
	if (!l.mounted || !l.stuck || !l.wishes || !l.ranges) {
		print("gk: %zu tasks still wait; no memory to say more\n", l.alloc);
		goto out;
	}
	tasks_each(rt, true, collect_task, &l);
	SORT(l.stuck, l.n, a->t < b->t);
	SORT(l.ranges, l.nranges, a->lo < b->lo);
	for (i = 0; i < l.n; i++)
		wishes(&l, l.stuck[i].t, &l.stuck[i]);
	SORT(l.wishes, l.nwishes, a->not_on < b->not_on);
	/* If nothing is left that may run, then nothing can wake a task, whoever knows it. */
	if (l.n && l.live)
		find_live(&l);

	print("gk: the main task has ended; %zu tasks wait for something without a deadline, %u others had not ended\n",
	      l.n, l.live);
	modules_load();
	for (i = 0; i < l.n && i < SHOWN; i++) {
		print("\n");
		print_task(&d, l.stuck[i].t);
		print("    %s that could end this wait\n", l.stuck[i].live ? "something may run" : "nothing was left");
	}
	if (i < l.n)
		print("\n%zu more tasks\n", l.n - i);
out:
	flush();
	if (l.mounted)
		munmap(l.mounted, l.mounted->bytes);
	if (l.stuck)
		munmap(l.stuck, l.alloc * sizeof(*l.stuck) + 1);
	if (l.wishes)
		munmap(l.wishes, l.alloc_wishes * sizeof(*l.wishes) + 1);
	if (l.ranges)
		munmap(l.ranges, l.alloc_ranges * sizeof(*l.ranges) + 1);
}

/* ---- the runtime's life ------------------------------------------------------------------------------------------ */

static int wanted_leaks = -1;

int gk_set_leaks(int on)
{
	wanted_leaks = on < 0 ? -1 : !!on;
	return 0;
}

/* Before the first worker starts. */
void dump_on(struct runtime *rt)
{
	rt->leaks = wanted_leaks < 0 ? env_is("GK_LEAKS", "1") : wanted_leaks;
	quit_on();
	hog_on(rt);
}

/* The main task has ended: after this nobody reads the runtime's memory. */
void dump_off(struct runtime *rt, bool started)
{
	dump_lock_last();
	if (started && rt->leaks)
		report_leaks(rt);
	store(&gk_rt, NULL);
	dump_unlock();
	quit_off();
	hog_off(rt);
}
